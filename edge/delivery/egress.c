/* egress.c - see egress.h */
#include "edge/delivery/egress.h"

#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

void egress_init(struct egress *out, const char *name, const char *hostname, const struct config_list *addresses)
{
    *out = (struct egress){ .name = xstrdup(name), .hostname = xstrdup(hostname), .addresses = xcalloc(addresses->count + 1, sizeof *out->addresses) };
    for (size_t i = 0; i < addresses->count; i++)
        out->count += netaddr_parse(&out->addresses[out->count], addresses->items[i]);
}

void egress_copy(struct egress *out, const struct egress *from)
{
    *out = (struct egress){ .name = xstrdup(from->name), .hostname = xstrdup(from->hostname), .count = from->count };
    out->addresses = xcalloc(from->count + 1, sizeof *out->addresses);
    memcpy(out->addresses, from->addresses, from->count * sizeof *out->addresses);
}

void egress_fini(struct egress *egress)
{
    free(egress->name);
    free(egress->hostname);
    free(egress->addresses);
    *egress = (struct egress){ 0 };
}

bool egress_is_same(const struct egress *a, const struct egress *b)
{
    bool same = strcmp(a->name, b->name) == 0 && strcmp(a->hostname, b->hostname) == 0 && a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = netaddr_equal(&a->addresses[i], &b->addresses[i]);
    return same;
}

const struct netaddr *egress_source(const struct egress *egress, int family, unsigned turn)
{
    size_t fit = 0;
    for (size_t i = 0; i < egress->count; i++)
        fit += egress->addresses[i].family == family;
    if (fit == 0)
        return NULL;
    size_t wanted = turn % fit, at = 0;
    while (egress->addresses[at].family != family || wanted-- > 0)
        at++;
    return &egress->addresses[at];
}

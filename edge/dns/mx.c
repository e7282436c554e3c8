/*
 * mx.c - see mx.h
 */
#include "edge/dns/mx.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/memory.h"

/* ---- records ---- */

static int compare_preference(const void *a, const void *b)
{
    const struct dns_mx *left = a, *right = b;
    return (left->preference > right->preference) - (left->preference < right->preference);
}

void mx_sort(struct dns_mx *records, size_t count, mx_random *random, void *arg)
{
    qsort(records, count, sizeof *records, compare_preference);
    for (size_t start = 0, end; start < count; start = end) {
        for (end = start + 1; end < count && records[end].preference == records[start].preference;)
            end++;
        for (size_t left = end - start; left > 1; left--) {
            struct dns_mx *last = &records[start + left - 1], *drawn = &records[start + random(arg, (uint32_t)left)], swap = *last;
            *last = *drawn;
            *drawn = swap;
        }
    }
}

static bool is_own_name(const struct mx_self *self, const char *name)
{
    if (self->hostname != NULL && strcasecmp(self->hostname, name) == 0)
        return true;
    for (size_t i = 0; self->names != NULL && i < self->names->count; i++)
        if (strcasecmp(self->names->items[i], name) == 0)
            return true;
    return false;
}

enum mx_status mx_keep_usable(struct dns_mx *records, size_t *count, const struct mx_self *self)
{
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++)
        if (records[i].host[0] != '\0')
            records[kept++] = records[i];
    if (kept == 0)
        return MX_NULL;
    *count = kept;
    for (size_t i = 0; i < *count; i++) {
        if (!is_own_name(self, records[i].host))
            continue;
        while (i > 0 && records[i - 1].preference == records[i].preference)
            i--;
        *count = i;
    }
    return *count > 0 ? MX_OK : MX_LOOP;
}

/* ---- candidates ---- */

static bool is_unspecified(const struct netaddr *address)
{
    static const uint8_t zero[16];
    return memcmp(address->bytes, zero, address->family == AF_INET ? 4 : 16) == 0;
}

static bool is_loopback(const struct netaddr *address)
{
    static const uint8_t one[16] = { [15] = 1 };
    return address->family == AF_INET ? address->bytes[0] == 127 : memcmp(address->bytes, one, 16) == 0;
}

/* Listeners on [::] have IPv6 only (net_bind()), so each family is by itself. Connecting to the address of all zeros is connecting to loopback. */
static bool leads_to(const struct netaddr *own, const struct netaddr *address)
{
    if (own->port != address->port || own->family != address->family)
        return false;
    return netaddr_equal(own, address) || (is_unspecified(own) && is_loopback(address)) || (is_unspecified(address) && is_loopback(own));
}

bool mx_is_own_address(const struct mx_self *self, const struct netaddr *address)
{
    for (size_t i = 0; i < self->address_count; i++)
        if (leads_to(&self->addresses[i], address))
            return true;
    return false;
}

static bool is_own_host(const struct mx_self *self, const struct mx_host *host, uint16_t port)
{
    for (size_t i = 0; i < host->address_count; i++) {
        struct netaddr address = host->addresses[i];
        address.port = port;
        if (mx_is_own_address(self, &address))
            return true;
    }
    return false;
}

/* How many hosts are better than the best that is ourselves. */
static size_t hosts_before_us(const struct mx_plan *plan, const struct mx_self *self, uint16_t port)
{
    for (size_t i = 0; i < plan->host_count; i++) {
        if (!is_own_host(self, &plan->hosts[i], port))
            continue;
        while (i > 0 && plan->hosts[i - 1].preference == plan->hosts[i].preference)
            i--;
        return i;
    }
    return plan->host_count;
}

static void shuffle(struct netaddr *addresses, size_t count, mx_random *random, void *arg)
{
    for (; count > 1; count--) {
        struct netaddr *drawn = &addresses[random(arg, (uint32_t)count)], swap = addresses[count - 1];
        addresses[count - 1] = *drawn;
        *drawn = swap;
    }
}

static const struct netaddr *next_of(const struct mx_host *host, size_t *at, int family)
{
    while (*at < host->address_count && host->addresses[*at].family != family)
        ++*at;
    return *at < host->address_count ? &host->addresses[(*at)++] : NULL;
}

static void add(struct mx_plan *plan, const struct mx_host *host, const struct netaddr *address, uint16_t port, size_t limit, bool *more)
{
    if (address == NULL)
        return;
    if (plan->candidate_count == limit) {
        *more = true;
        return;
    }
    struct mx_candidate *candidate = &plan->candidates[plan->candidate_count++];
    *candidate = (struct mx_candidate){ host, *address };
    candidate->address.port = port;
}

static void add_host(struct mx_plan *plan, const struct mx_host *host, uint16_t port, size_t limit, bool *more)
{
    const struct netaddr *six, *four;
    size_t six_at = 0, four_at = 0;
    do {
        six = next_of(host, &six_at, AF_INET6);
        add(plan, host, six, port, limit, more);
        four = next_of(host, &four_at, AF_INET);
        add(plan, host, four, port, limit, more);
    } while (six != NULL || four != NULL);
}

void mx_plan_finish(struct mx_plan *plan, const struct mx_self *self, uint16_t port, size_t limit, bool *more, mx_random *random,
                    void *arg)
{
    size_t usable = hosts_before_us(plan, self, port);
    bool failed = false;
    *more = false;
    if (usable == 0 && plan->host_count > 0) {
        plan->status = MX_LOOP;
        return;
    }
    free(plan->candidates);
    plan->candidates = xcalloc(limit, sizeof *plan->candidates);
    plan->candidate_count = 0;
    for (size_t i = 0; i < usable; i++) {
        struct mx_host *host = &plan->hosts[i];
        failed |= host->status == DNS_FAILED;
        if (host->status != DNS_OK)
            continue;
        shuffle(host->addresses, host->address_count, random, arg);
        add_host(plan, host, port, limit, more);
    }
    plan->status = plan->candidate_count > 0 ? MX_OK : failed ? MX_FAILED : MX_NO_ADDRESS;
}

enum mx_tlsa mx_tlsa_place(bool secure, const char *name, const char *canonical)
{
    bool is_alias = strcasecmp(canonical, name) != 0;
    if (secure)
        return is_alias && canonical[0] != '\0' ? MX_TLSA_CANONICAL : MX_TLSA_NAME;
    return is_alias ? MX_TLSA_ASK_ALIAS : MX_TLSA_NOWHERE;
}

void mx_plan_fini(struct mx_plan *plan)
{
    for (size_t i = 0; i < plan->host_count; i++) {
        free(plan->hosts[i].addresses);
        free(plan->hosts[i].tlsa_packet);
    }
    free(plan->hosts);
    free(plan->candidates);
    *plan = (struct mx_plan){ 0 };
}

size_t mx_plan_format(char *out, size_t cap, const struct mx_plan *plan)
{
    static const char *const dane[] = { [MX_DANE_NONE] = "", [MX_DANE_ENCRYPT] = " dane-encrypt", [MX_DANE_VERIFY] = " dane" };
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < plan->candidate_count; i++) {
        const struct mx_candidate *candidate = &plan->candidates[i];
        char ip[NETADDR_TEXT_MAX];
        int added = snprintf(out + len, cap - len, "%u %s[%s]:%u%s\n", candidate->host->preference, candidate->host->name,
                             netaddr_format(&candidate->address, ip), candidate->address.port, dane[candidate->host->dane]);
        if (added < 0 || (size_t)added >= cap - len)
            return cap - 1;
        len += (size_t)added;
    }
    return len;
}

#ifndef WEIR_EDGE_EGRESS_H
#define WEIR_EDGE_EGRESS_H
/*
 * egress.h - a pool of addresses that some mail goes out from, so that what the world thinks of it falls on them alone; pure
 */
#include <stdbool.h>
#include "common/config.h"
#include "common/netaddr.h"

struct egress {
    char *name, *hostname; /* [egress "NAME"]; what is said in EHLO */
    struct netaddr *addresses;
    size_t count;
};

/* The list's addresses were checked when the file was read; copies all. */
void egress_init(struct egress *out, const char *name, const char *hostname, const struct config_list *addresses);
void egress_copy(struct egress *out, const struct egress *from);
void egress_fini(struct egress *egress);
bool egress_is_same(const struct egress *a, const struct egress *b);
/* One of its addresses that can reach one of that family, the next one with each turn; NULL: there is none. Borrowed. */
const struct netaddr *egress_source(const struct egress *egress, int family, unsigned turn);

#endif

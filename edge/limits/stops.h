#ifndef WEIR_EDGE_LIMITS_STOPS_H
#define WEIR_EDGE_LIMITS_STOPS_H
/*
 * stops.h - accounts and inside hosts that the cluster slows down or stops (outbound protection), as its state last said; pure
 */
#include <stddef.h>
#include <stdint.h>
#include "common/policy/limits.h"
#include "proto/wire.h"

struct stop {
    Weir__OutboundState state;
    uint64_t amount; /* THROTTLED: recipients an hour */
    char subject[];  /* "account alice@example.edu", "host 192.0.2.7", "host 2001:db8::/64" */
};

struct stops { /* all zeros: nobody */
    struct stop **items; /* by subject */
    size_t count;
};

void stops_fini(struct stops *stops);
/* told may be NULL: nobody. */
void stops_set(struct stops *stops, const Weir__OutboundStops *told);
/* Who is stopped, as an account or (login NULL) a host, an IPv6 one by its /64; NULL: nobody. Borrowed until the next stops_set(). */
const struct stop *stops_find(const struct stops *stops, const char *login, const struct netaddr *client);
/* The bucket of who is THROTTLED, and its subject. */
void stop_rule(const struct stop *stop, struct limit_rule *rule, char subject[LIMIT_SUBJECT_MAX]);

#endif

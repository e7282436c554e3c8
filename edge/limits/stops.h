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

struct pooled { /* whose mail goes out from other addresses */
    char pool[WIRE_NAME_MAX + 1];
    char subject[];
};

struct beyond { /* who is told by a digest only */
    uint64_t digest;
    Weir__OutboundState state; /* HELD, REFUSED or FULL */
};

struct stops { /* all zeros: nobody */
    struct stop **items; /* by subject */
    size_t count;
    struct beyond *beyond;  /* others who are stopped, by digest */
    size_t beyond_count;
    struct stop *one_beyond; /* the one that was asked about last */
    struct pooled **pooled; /* by subject */
    size_t pooled_count;
};

void stops_fini(struct stops *stops);
/* told, pools may be NULL: nobody. */
void stops_set(struct stops *stops, const Weir__OutboundStops *told, const Weir__OutboundPools *pools);
/* Who is stopped, as an account or (login NULL) a host, an IPv6 one by its /64; NULL: nobody. Whose state
 * the coordinator did not tell with his digest is HELD: what that is in truth the database knows. Borrowed until the next stops_set() or stops_find(). */
const struct stop *stops_find(struct stops *stops, const char *login, const struct netaddr *client);
/* The egress pool that operators moved him to; NULL: none. Borrowed as that. */
const char *stops_pool(const struct stops *stops, const char *login, const struct netaddr *client);
/* The bucket of who is THROTTLED, and its subject. */
void stop_rule(const struct stop *stop, struct limit_rule *rule, char subject[LIMIT_SUBJECT_MAX]);

#endif

#ifndef WEIR_COORDINATOR_DNS_PUSH_H
#define WEIR_COORDINATOR_DNS_PUSH_H
/*
 * dns_push.h - the leader keeps the edges' name right in the DNS: the addresses of those that are healthy, and no others
 *
 * Which they are the database knows (functions/dns.sql), and what the server has been given. A push is one process (nsupdate.h) and one message; it is due at
 * once when an edge is to leave, when addresses are to come back and dns_ttl has passed since the last push (an edge that comes and goes does not keep
 * the server busy), every dns_interval, when operators ask, and for a new leader. One that failed is tried again after a pause. The empty set is never
 * pushed: it would take the site off; the last one stays, which is counted and logged. When dns_name becomes another one, the addresses of the one before
 * are taken away dns_former_wait later, in a message of its own. A coordinator that leads no more ends its push.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "common/settings.h"
#include "coordinator/db.h"

struct dns_push;

struct dns_push_options {
    struct event_base *base;
    struct db *db;
    const char *name; /* this coordinator; borrowed */
    const struct dns_settings *settings; /* borrowed */
    uint64_t node_timeout_ms;
    struct metrics *metrics;
};

struct dns_push *dns_push_new(const struct dns_push_options *options);
void dns_push_free(struct dns_push **push); /* after the db */
void dns_push_lead(struct dns_push *push, bool leads); /* whether this coordinator does */

#endif

#ifndef WEIR_EDGE_DNS_H
#define WEIR_EDGE_DNS_H
/*
 * dns.h - names to addresses on the event loop, by libunbound's event API
 *
 * Uses the system's resolvers (resolv.conf) and hosts file. Answers are cached by libunbound. An IP address given as name is answered
 * without a query. One context per worker.
 */
#include <stdbool.h>
#include <event2/event.h>
#include "common/error.h"
#include "common/netaddr.h"

struct dns;
struct dns_query;

enum dns_status { DNS_OK, DNS_NOT_FOUND /* NXDOMAIN or no address */, DNS_FAILED /* SERVFAIL, time-out: try later */ };

struct dns *dns_new(struct event_base *base, struct error *why);
void dns_free(struct dns **dns);
/* A and AAAA. done is called once, never from inside dns_addresses(); addresses are borrowed, port 0; IPv6 first when both. */
struct dns_query *dns_addresses(struct dns *dns, const char *name,
                                void (*done)(void *arg, enum dns_status status, const struct netaddr *addresses, size_t count),
                                void *arg);
void dns_cancel(struct dns_query **query);

#endif

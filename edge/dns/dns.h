#ifndef WEIR_EDGE_DNS_H
#define WEIR_EDGE_DNS_H
/*
 * dns.h - questions to the DNS on the event loop, by libunbound's event API
 *
 * Whom it asks: the system's resolvers (resolv.conf) and hosts file, or those of `dns_forward`, or the root servers; zones of `dns_stub` at
 * servers of their own. Answers are cached by libunbound for as long as they say. With `dns_trust_anchor` they are validated, and one
 * that does not hold is a failure. One context per worker of an edge; a coordinator's last for one round of lookups (coordinator/blocklist.c).
 */
#include <stdbool.h>
#include <event2/event.h>
#include "common/error.h"
#include "common/metrics.h"
#include "common/netaddr.h"
#include "common/settings.h"
#include "edge/dns/packet.h"

struct dns;
struct dns_question;
struct dns_query;

enum dns_status { DNS_OK, DNS_NOT_FOUND /* no such name, or no address */, DNS_FAILED /* SERVFAIL, bogus, time-out: try later */ };

struct dns_answer {
    enum dns_status status; /* OK: the name exists, though there may be no record of the type */
    bool secure;            /* validated by DNSSEC, its absence too */
    const uint8_t *packet;  /* OK only; borrowed */
    size_t len;
};

/* The dns_ keys of settings, whose forms were checked when they were read, are used now and never again; of metrics the series are kept. NULL: why. */
struct dns *dns_new(struct event_base *base, const struct edge_settings *settings, struct metrics *metrics, struct error *why);
/* Questions under way end without a word. */
void dns_free(struct dns **dns);
struct event_base *dns_base(const struct dns *dns);

/* One question; a name in UTF-8 is asked in its ASCII form. done is called once, never from inside dns_ask(), after dns_timeout at the latest. */
struct dns_question *dns_ask(struct dns *dns, const char *name, int type, void (*done)(void *arg, const struct dns_answer *answer),
                             void *arg);
void dns_question_cancel(struct dns_question **question);

/* A and AAAA; an IP address given as name is answered without a question. done is called once, never from inside dns_addresses(); addresses
 * are borrowed, port 0; IPv6 first when both. One kind is enough for success. */
struct dns_query *dns_addresses(struct dns *dns, const char *name,
                                void (*done)(void *arg, enum dns_status status, const struct netaddr *addresses, size_t count),
                                void *arg);
void dns_cancel(struct dns_query **query);

#endif

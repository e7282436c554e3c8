#ifndef WEIR_EDGE_DNS_DNSBL_H
#define WEIR_EDGE_DNS_DNSBL_H
/*
 * dnsbl.h - lists of client addresses in the DNS (RFC 5782): which of them name a client, and what that adds up to
 *
 * How a list is written: common/dnsbl_site.h. Without
 * a pattern every answer in 127.0.0.0/8 is a listing. Never one: 127.255.255.0/24, by which lists say that they do not answer whom they
 * were asked by, and what is not in 127.0.0.0/8, which is somebody's search page. A negative weight makes a list of friends.
 *
 * A list that does not answer in time, or fails, adds nothing, and for pause_ms (dnsbl_pause) nobody waits for it again. But where a list of friends is silent nobody
 * can be refused for good whom it might have named: its weight is told as missing.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/config.h"
#include "common/dnsbl_site.h"
#include "common/error.h"
#include "common/metrics.h"
#include "edge/dns/dns.h"

#define DNSBL_ZONES_MAX 512

struct dnsbl;
struct dnsbl_query;

struct dnsbl_verdict {
    int score;                   /* the sum of the weights of the lists that name the client */
    int missing;                 /* never above 0: what lists with negative weights that gave no answer might have added */
    char zones[DNSBL_ZONES_MAX]; /* those with a weight above 0, as "a.example, b.example" */
};

/* NULL: why; no lists are fine. */
struct dnsbl *dnsbl_new(const struct config_list *lists, uint64_t pause_ms, struct error *why);
/* Without queries under way. */
void dnsbl_free(struct dnsbl **dnsbl);
/* Pure. Whether an address that a list answered with is a listing. *error: it says that the list does not serve us. */
bool dnsbl_counts(const struct dnsbl_site *site, const struct netaddr *answer, bool *error);
enum dnsbl_says { DNSBL_LISTED, DNSBL_CLEAN, DNSBL_ERROR /* it does not serve us, or is no list */ };
/* Pure. What an answer that came (DNS_OK, DNS_NOT_FOUND) says by all of its addresses. *by: for LISTED, the one that says so. */
enum dnsbl_says dnsbl_judge(const struct dnsbl_site *site, const struct dns_answer *answer, struct netaddr *by);
/* Pure: "7.2.0.192.ZONE", or 32 nibbles before it. Returns out. */
char *dnsbl_name(char out[DNS_NAME_MAX], const struct netaddr *client, const char *zone);

/* NULL: there is nobody to ask. done is called once, never from inside, after timeout_ms at the latest. */
struct dnsbl_query *dnsbl_lookup(struct dnsbl *dnsbl, struct dns *dns, struct metrics *metrics, const struct netaddr *client, uint64_t timeout_ms,
                                 void (*done)(void *arg, const struct dnsbl_verdict *verdict), void *arg);
/* Before dns_free() and dnsbl_free(). */
void dnsbl_cancel(struct dnsbl_query **query);

#endif

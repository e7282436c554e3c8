/*
 * dns.c - names to addresses by libunbound on the event loop
 *
 * A query asks for A and AAAA together and is answered when both are. libunbound answers at once from its cache and from the hosts file,
 * so answers are always handed on by an event of our own. Its queries cannot be called back: one that was cancelled stays in the list,
 * without anybody to tell, until its answers are in.
 */
#include "edge/dns/dns.h"
#include <stdlib.h>
#include <string.h>
#include <unbound.h>
#include <unbound-event.h>
#include <event2/event_struct.h>
#include "common/memory.h"
#include "edge/dns/packet.h"

#define ADDRESSES_MAX 16 /* of each kind; more are not tried */
enum { RCODE_NOERROR = 0, RCODE_NXDOMAIN = 3, CLASS_INTERNET = 1 };

struct dns {
    struct ub_ctx *context;
    struct event_base *base;
    struct dns_query *first;
};

/* One of the two questions. */
struct question {
    struct dns_query *query;
    int type;
    bool answered, failed;
    struct netaddr addresses[ADDRESSES_MAX];
    size_t count;
};

struct dns_query {
    struct dns *dns;
    struct dns_query *next, **link;
    struct event answer;
    void (*done)(void *arg, enum dns_status status, const struct netaddr *addresses, size_t count); /* NULL: cancelled */
    void *arg;
    struct question six, four;
};

struct dns *dns_new(struct event_base *base, struct error *why)
{
    struct ub_ctx *context = ub_ctx_create_event(base);
    if (context == NULL) {
        error_set(why, "cannot make a DNS context");
        return NULL;
    }
    /* Either file may be missing: without resolv.conf libunbound asks the root itself, without hosts there are no local names. */
    int code = ub_ctx_resolvconf(context, NULL);
    if (code == 0 || code == UB_READFILE)
        code = ub_ctx_hosts(context, NULL);
    if (code != 0 && code != UB_READFILE) {
        error_set(why, "DNS: %s", ub_strerror(code));
        ub_ctx_delete(context);
        return NULL;
    }
    struct dns *dns = xcalloc(1, sizeof *dns);
    dns->context = context;
    dns->base = base;
    return dns;
}

static void query_destroy(struct dns_query *query)
{
    event_del(&query->answer);
    *query->link = query->next;
    if (query->next != NULL)
        query->next->link = query->link;
    free(query);
}

void dns_free(struct dns **dnsp)
{
    struct dns *dns = *dnsp;
    *dnsp = NULL;
    if (dns == NULL)
        return;
    ub_ctx_delete(dns->context); /* no callback comes after this */
    while (dns->first != NULL)
        query_destroy(dns->first);
    free(dns);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dns_query *query = arg;
    struct netaddr all[2 * ADDRESSES_MAX];
    size_t count = query->six.count + query->four.count;
    enum dns_status status = count > 0 ? DNS_OK : query->six.failed || query->four.failed ? DNS_FAILED : DNS_NOT_FOUND;
    memcpy(all, query->six.addresses, query->six.count * sizeof *all);
    memcpy(all + query->six.count, query->four.addresses, query->four.count * sizeof *all);
    void (*done)(void *, enum dns_status, const struct netaddr *, size_t) = query->done;
    void *done_arg = query->arg;
    query_destroy(query);
    if (done != NULL)
        done(done_arg, status, all, count);
}

static void question_answered(struct question *question)
{
    struct dns_query *query = question->query;
    question->answered = true;
    if (query->six.answered && query->four.answered)
        event_active(&query->answer, EV_TIMEOUT, 0);
}

static void on_resolved(void *arg, int rcode, void *packet, int packet_len, int security, char *why_bogus, int was_ratelimited)
{
    (void)security, (void)why_bogus, (void)was_ratelimited; /* validation matters for DANE, not for addresses */
    struct question *question = arg;
    if (rcode == RCODE_NOERROR && packet != NULL && packet_len > 0)
        question->count = dns_packet_addresses(packet, (size_t)packet_len, question->type, question->addresses, ADDRESSES_MAX);
    question->failed = rcode != RCODE_NOERROR && rcode != RCODE_NXDOMAIN;
    question_answered(question);
}

static void question_ask(struct question *question, struct dns_query *query, const char *name, int type)
{
    question->query = query;
    question->type = type;
    if (ub_resolve_event(query->dns->context, name, type, CLASS_INTERNET, question, on_resolved, NULL) != 0) {
        question->failed = true;
        question_answered(question);
    }
}

struct dns_query *dns_addresses(struct dns *dns, const char *name,
                                void (*done)(void *arg, enum dns_status status, const struct netaddr *addresses, size_t count),
                                void *arg)
{
    struct dns_query *query = xcalloc(1, sizeof *query);
    struct netaddr address;
    query->dns = dns;
    query->done = done;
    query->arg = arg;
    event_assign(&query->answer, dns->base, -1, 0, on_answer, query);
    query->next = dns->first;
    query->link = &dns->first;
    if (query->next != NULL)
        query->next->link = &query->next;
    dns->first = query;
    if (netaddr_parse(&address, name)) {
        address.port = 0;
        query->four.addresses[0] = address;
        query->four.count = 1;
        event_active(&query->answer, EV_TIMEOUT, 0);
    } else {
        question_ask(&query->six, query, name, DNS_TYPE_AAAA);
        question_ask(&query->four, query, name, DNS_TYPE_A);
    }
    return query;
}

void dns_cancel(struct dns_query **queryp)
{
    struct dns_query *query = *queryp;
    *queryp = NULL;
    if (query != NULL)
        query->done = NULL;
}

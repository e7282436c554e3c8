/*
 * dns.c - questions to the DNS by libunbound on the event loop
 *
 * libunbound answers at once from its cache and from the hosts file, so answers are always handed on by an event of our own. Its questions
 * cannot be called back: one that was cancelled, or took too long, stays in the list, without anybody to tell, until its answer is in.
 */
#include "edge/dns/dns.h"
#include <stdlib.h>
#include <string.h>
#include <unbound-event.h>
#include <event2/event_struct.h>
#include "common/memory.h"
#include "common/idn.h"
#include "edge/dns/resolver.h"

#define ADDRESSES_MAX 16 /* of each kind; more are not tried */
enum { RCODE_NOERROR = 0, RCODE_NXDOMAIN = 3, CLASS_INTERNET = 1, SECURITY_BOGUS = 1, SECURITY_SECURE = 2 };

enum result { RESULT_OK, RESULT_NODATA, RESULT_NXDOMAIN, RESULT_FAILED, RESULT_BOGUS, RESULT_TIMEOUT, RESULT_COUNT };

static const struct {
    int type;
    const char *name;
} types[] = { { DNS_TYPE_A, "a" },   { DNS_TYPE_AAAA, "aaaa" }, { DNS_TYPE_MX, "mx" },
              { DNS_TYPE_PTR, "ptr" }, { DNS_TYPE_TLSA, "tlsa" }, { DNS_TYPE_CNAME, "cname" } };
#define TYPE_COUNT (sizeof types / sizeof *types)

struct dns {
    struct ub_ctx *context;
    struct event_base *base;
    struct dns_question *first;
    struct dns_query *queries;
    uint64_t timeout_ms;
    struct metric *lookups[TYPE_COUNT][RESULT_COUNT]; /* weir_dns_lookups_total */
};

struct dns_question {
    struct dns *dns;
    struct dns_question *next, **link;
    struct event answer; /* it is here; or, before that: the end of patience */
    void (*done)(void *arg, const struct dns_answer *answer); /* NULL: cancelled, or told */
    void *arg;
    int type;
    bool answered, secure;
    enum result result;
    uint8_t *packet;
    size_t len;
};

static void make_metrics(struct dns *dns, struct metrics *metrics)
{
    static const char *const results[] = { "ok", "nodata", "nxdomain", "failed", "bogus", "timeout" };
    for (size_t t = 0; t < TYPE_COUNT; t++)
        for (size_t r = 0; r < RESULT_COUNT; r++)
            dns->lookups[t][r] =
                metrics_counter(metrics, "weir_dns_lookups_total", "type=\"%s\",result=\"%s\"", types[t].name, results[r]);
}

struct dns *dns_new(struct event_base *base, const struct edge_settings *settings, struct metrics *metrics, struct error *why)
{
    struct ub_ctx *context = resolver_new(base, settings, why);
    if (context == NULL)
        return NULL;
    struct dns *dns = xcalloc(1, sizeof *dns);
    dns->context = context;
    dns->base = base;
    dns->timeout_ms = settings->dns_timeout;
    make_metrics(dns, metrics);
    return dns;
}

static void query_destroy(struct dns_query *query);

static void question_destroy(struct dns_question *question)
{
    event_del(&question->answer);
    *question->link = question->next;
    if (question->next != NULL)
        question->next->link = question->link;
    free(question->packet);
    free(question);
}

void dns_free(struct dns **dnsp)
{
    struct dns *dns = *dnsp;
    *dnsp = NULL;
    if (dns == NULL)
        return;
    ub_ctx_delete(dns->context); /* no callback comes after this */
    while (dns->queries != NULL)
        query_destroy(dns->queries);
    while (dns->first != NULL)
        question_destroy(dns->first);
    free(dns);
}

struct event_base *dns_base(const struct dns *dns)
{
    return dns->base;
}

static void count(struct dns_question *question)
{
    for (size_t t = 0; t < TYPE_COUNT; t++)
        if (types[t].type == question->type)
            metric_add(question->dns->lookups[t][question->result], 1);
}

/* The answer is here, or too late. */
static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dns_question *question = arg;
    void (*done)(void *, const struct dns_answer *) = question->done;
    question->done = NULL;
    if (done != NULL) {
        if (!question->answered)
            question->result = RESULT_TIMEOUT;
        count(question);
        struct dns_answer answer = {
            .status = question->result <= RESULT_NODATA      ? DNS_OK
                      : question->result == RESULT_NXDOMAIN ? DNS_NOT_FOUND
                                                            : DNS_FAILED,
            .secure = question->secure,
            .packet = question->packet,
            .len = question->len,
        };
        done(question->arg, &answer);
    }
    if (question->answered)
        question_destroy(question);
}

/* libunbound says a code of its own where it has no answer; what an answer says is in its header. */
static enum result result_of(int rcode, const uint8_t *packet, size_t len, int security)
{
    if (security == SECURITY_BOGUS)
        return RESULT_BOGUS;
    if (rcode == RCODE_NOERROR && packet != NULL && len >= 12)
        rcode = packet[3] & 15;
    if (rcode == RCODE_NXDOMAIN)
        return RESULT_NXDOMAIN;
    if (rcode != RCODE_NOERROR || packet == NULL || len < 12)
        return RESULT_FAILED;
    return packet[6] == 0 && packet[7] == 0 ? RESULT_NODATA : RESULT_OK; /* ANCOUNT */
}

static void on_resolved(void *arg, int rcode, void *packet, int packet_len, int security, char *why_bogus, int was_ratelimited)
{
    (void)why_bogus, (void)was_ratelimited;
    struct dns_question *question = arg;
    size_t len = packet_len > 0 ? (size_t)packet_len : 0;
    question->answered = true;
    question->result = result_of(rcode, packet, len, security);
    question->secure = security == SECURITY_SECURE;
    if (question->result <= RESULT_NODATA) {
        question->packet = xmemdup(packet, len);
        question->len = len;
    }
    event_active(&question->answer, EV_TIMEOUT, 0);
}

struct dns_question *dns_ask(struct dns *dns, const char *name, int type, void (*done)(void *arg, const struct dns_answer *answer),
                             void *arg)
{
    struct dns_question *question = xcalloc(1, sizeof *question);
    question->dns = dns;
    question->done = done;
    question->arg = arg;
    question->type = type;
    event_assign(&question->answer, dns->base, -1, 0, on_answer, question);
    question->next = dns->first;
    question->link = &dns->first;
    if (question->next != NULL)
        question->next->link = &question->next;
    dns->first = question;
    event_add(&question->answer,
              &(struct timeval){ (time_t)(dns->timeout_ms / 1000), (suseconds_t)(dns->timeout_ms % 1000 * 1000) });
    char ascii[DNS_NAME_MAX];
    if (!idn_to_ascii(ascii, name))
        on_resolved(question, RCODE_NXDOMAIN, NULL, 0, 0, NULL, 0);
    else if (ub_resolve_event(dns->context, ascii, type, CLASS_INTERNET, question, on_resolved, NULL) != 0)
        on_resolved(question, -1, NULL, 0, 0, NULL, 0);
    return question;
}

void dns_question_cancel(struct dns_question **questionp)
{
    struct dns_question *question = *questionp;
    *questionp = NULL;
    if (question != NULL)
        question->done = NULL;
}

/* ---- addresses ---- */

struct side { /* one of the two questions */
    struct dns_query *query;
    struct dns_question *question;
    int type;
    enum dns_status status;
    struct netaddr addresses[ADDRESSES_MAX];
    size_t count;
};

struct dns_query {
    struct dns_query *next, **link; /* dns->queries */
    struct event literal; /* an address was given as name */
    void (*done)(void *arg, enum dns_status status, const struct netaddr *addresses, size_t count);
    void *arg;
    struct side six, four;
};

static void query_destroy(struct dns_query *query)
{
    event_del(&query->literal);
    *query->link = query->next;
    if (query->next != NULL)
        query->next->link = query->link;
    dns_question_cancel(&query->six.question);
    dns_question_cancel(&query->four.question);
    free(query);
}

static void query_done(struct dns_query *query)
{
    struct netaddr all[2 * ADDRESSES_MAX];
    size_t number = query->six.count + query->four.count;
    bool failed = query->six.status == DNS_FAILED || query->four.status == DNS_FAILED;
    enum dns_status status = number > 0 ? DNS_OK : failed ? DNS_FAILED : DNS_NOT_FOUND;
    memcpy(all, query->six.addresses, query->six.count * sizeof *all);
    memcpy(all + query->six.count, query->four.addresses, query->four.count * sizeof *all);
    void (*done)(void *, enum dns_status, const struct netaddr *, size_t) = query->done;
    void *done_arg = query->arg;
    query_destroy(query);
    done(done_arg, status, all, number);
}

static void on_literal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    query_done(arg);
}

static void on_side(void *arg, const struct dns_answer *answer)
{
    struct side *side = arg;
    side->question = NULL;
    side->status = answer->status;
    if (answer->status == DNS_OK)
        side->count = dns_packet_addresses(answer->packet, answer->len, side->type, side->addresses, ADDRESSES_MAX);
    if (side->query->six.question == NULL && side->query->four.question == NULL)
        query_done(side->query);
}

static void side_ask(struct side *side, struct dns *dns, struct dns_query *query, const char *name, int type)
{
    side->query = query;
    side->type = type;
    side->question = dns_ask(dns, name, type, on_side, side);
}

struct dns_query *dns_addresses(struct dns *dns, const char *name,
                                void (*done)(void *arg, enum dns_status status, const struct netaddr *addresses, size_t count),
                                void *arg)
{
    struct dns_query *query = xcalloc(1, sizeof *query);
    struct netaddr address;
    query->done = done;
    query->arg = arg;
    event_assign(&query->literal, dns->base, -1, 0, on_literal, query);
    query->next = dns->queries;
    query->link = &dns->queries;
    if (query->next != NULL)
        query->next->link = &query->next;
    dns->queries = query;
    if (netaddr_parse(&address, name)) {
        address.port = 0;
        query->four.addresses[0] = address;
        query->four.count = 1;
        event_active(&query->literal, EV_TIMEOUT, 0);
    } else {
        side_ask(&query->six, dns, query, name, DNS_TYPE_AAAA);
        side_ask(&query->four, dns, query, name, DNS_TYPE_A);
    }
    return query;
}

void dns_cancel(struct dns_query **queryp)
{
    struct dns_query *query = *queryp;
    *queryp = NULL;
    if (query != NULL)
        query_destroy(query);
}

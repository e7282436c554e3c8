/*
 * mx_lookup.c - asks the DNS everything that mail for a domain needs
 *
 *   MX -> for each host: A and AAAA -> (CNAME ->) TLSA, where DNSSEC vouches for all before -> done
 *
 * All hosts are asked about at once. One whose questions fail is left out: mail waits only for those that answer, at most dns_timeout for each
 * step. TLSA records that cannot be had are a failure of their host, never a reason to go without (RFC 7672 2.1.2): else who can make the
 * lookup fail could turn DANE off.
 */
#include "edge/dns/mx_lookup.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <event2/event_struct.h>
#include "common/memory.h"
#include "common/idn.h"

#define ADDRESSES_MAX 16 /* of each kind */

struct host_query {
    struct mx_query *query;
    struct mx_host *host;                  /* in the plan */
    struct dns_question *six, *four, *alias, *tlsa;
    bool six_failed, four_failed, insecure;
    char canonical[DNS_NAME_MAX];          /* where CNAMEs led */
    bool asked_canonical;                  /* TLSA: under that name first */
};

struct mx_query {
    struct dns *dns;
    const struct mx_options *options;
    uint16_t port;
    void (*done)(void *arg, struct mx_plan *taken);
    void *arg;
    struct event ready;                    /* an answer without a question: told from the loop all the same */
    struct dns_question *mx;
    struct host_query *hosts;
    size_t pending;                        /* hosts not done yet */
    struct mx_plan plan;
};

static uint32_t draw(void *arg, uint32_t below)
{
    (void)arg;
    return arc4random_uniform(below);
}

static void query_destroy(struct mx_query *query)
{
    event_del(&query->ready);
    dns_question_cancel(&query->mx);
    for (size_t i = 0; query->hosts != NULL && i < query->plan.host_count; i++) {
        dns_question_cancel(&query->hosts[i].six);
        dns_question_cancel(&query->hosts[i].four);
        dns_question_cancel(&query->hosts[i].alias);
        dns_question_cancel(&query->hosts[i].tlsa);
    }
    free(query->hosts);
    mx_plan_fini(&query->plan);
    free(query);
}

static void query_tell(struct mx_query *query)
{
    struct mx_plan plan = query->plan;
    void (*done)(void *, struct mx_plan *) = query->done;
    void *arg = query->arg;
    free(query->hosts); /* nothing of them is under way any more */
    query->hosts = NULL;
    query->plan = (struct mx_plan){ 0 };
    query_destroy(query);
    done(arg, &plan);
}

static void query_tell_status(struct mx_query *query, enum mx_status status)
{
    query->plan.status = status;
    query_tell(query);
}

static void query_finish(struct mx_query *query)
{
    const struct mx_options *options = query->options;
    bool more;
    mx_plan_finish(&query->plan, &options->self, query->port, options->address_limit, &more, draw, NULL);
    if (more)
        metric_add(options->addresses_cut, 1);
    query_tell(query);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    query_finish(arg);
}

static void host_done(struct host_query *hq)
{
    if (--hq->query->pending == 0)
        query_finish(hq->query);
}

/* ---- TLSA ---- */

static void on_tlsa(void *arg, const struct dns_answer *answer);

static void host_ask_tlsa(struct host_query *hq, const char *base)
{
    char name[DNS_NAME_MAX + 16];
    snprintf(name, sizeof name, "_%u._tcp.%s", hq->query->port, base);
    strcpy(hq->host->tlsa_base, base);
    hq->tlsa = dns_ask(hq->query->dns, name, DNS_TYPE_TLSA, on_tlsa, hq);
}

static void host_take_tlsa(struct mx_host *host, const struct dns_answer *answer)
{
    struct dns_tlsa found[MX_TLSA_MAX];
    host->tlsa_packet = xmemdup(answer->packet, answer->len);
    size_t count = dns_packet_tlsa(host->tlsa_packet, answer->len, found, MX_TLSA_MAX);
    for (size_t i = 0; i < count; i++)
        if (dns_tlsa_is_usable(&found[i]))
            host->tlsa[host->tlsa_count++] = found[i];
    host->dane = host->tlsa_count > 0 ? MX_DANE_VERIFY : MX_DANE_ENCRYPT;
}

static void on_tlsa(void *arg, const struct dns_answer *answer)
{
    struct host_query *hq = arg;
    char owner[DNS_NAME_MAX];
    hq->tlsa = NULL;
    if (answer->status == DNS_FAILED) {
        hq->host->status = DNS_FAILED;
    } else if (answer->status == DNS_OK && answer->secure && dns_packet_owner(answer->packet, answer->len, DNS_TYPE_TLSA, owner)) {
        host_take_tlsa(hq->host, answer);
    } else if (hq->asked_canonical) { /* RFC 7672 2.2.3: then under the name in the MX record */
        hq->asked_canonical = false;
        host_ask_tlsa(hq, hq->host->name);
        return;
    }
    host_done(hq);
}

/* An answer is secure only when all of it is, so the first of its CNAMEs is asked for by itself. One that cannot be had is a failure of the host,
 * as TLSA records are. */
static void on_alias(void *arg, const struct dns_answer *answer)
{
    struct host_query *hq = arg;
    char owner[DNS_NAME_MAX];
    hq->alias = NULL;
    if (answer->status == DNS_OK && answer->secure && dns_packet_owner(answer->packet, answer->len, DNS_TYPE_CNAME, owner)) {
        host_ask_tlsa(hq, hq->host->name);
        return;
    }
    if (answer->status == DNS_FAILED)
        hq->host->status = DNS_FAILED;
    host_done(hq);
}

/* RFC 7672 2.2.2: its hosts' records count for a domain whose MX records are secure, and for one that has none and so is a host itself. */
static bool query_wants_dane(const struct mx_query *query)
{
    return query->options->dane && (query->plan.secure || query->plan.implicit);
}

/* ---- addresses ---- */

static void host_has_addresses(struct host_query *hq)
{
    struct mx_host *host = hq->host;
    bool failed = hq->six_failed || hq->four_failed;
    host->status = host->address_count > 0 ? DNS_OK : failed ? DNS_FAILED : DNS_NOT_FOUND;
    host->secure = host->status == DNS_OK && !hq->insecure;
    bool wanted = host->status == DNS_OK && query_wants_dane(hq->query);
    switch (wanted ? mx_tlsa_place(host->secure, host->name, hq->canonical) : MX_TLSA_NOWHERE) {
    case MX_TLSA_NOWHERE:
        host_done(hq);
        break;
    case MX_TLSA_ASK_ALIAS:
        hq->alias = dns_ask(hq->query->dns, host->name, DNS_TYPE_CNAME, on_alias, hq);
        break;
    case MX_TLSA_NAME:
        host_ask_tlsa(hq, host->name);
        break;
    case MX_TLSA_CANONICAL:
        hq->asked_canonical = true;
        host_ask_tlsa(hq, hq->canonical);
        break;
    }
}

static void host_take_addresses(struct host_query *hq, const struct dns_answer *answer, int type)
{
    struct mx_host *host = hq->host;
    struct netaddr found[ADDRESSES_MAX];
    size_t count = dns_packet_addresses(answer->packet, answer->len, type, found, ADDRESSES_MAX);
    if (count == 0)
        return;
    host->addresses = xrealloc(host->addresses, (host->address_count + count) * sizeof *host->addresses);
    memcpy(host->addresses + host->address_count, found, count * sizeof *found);
    host->address_count += count;
    hq->insecure |= !answer->secure;
    if (!dns_packet_owner(answer->packet, answer->len, type, hq->canonical))
        hq->canonical[0] = '\0';
}

static void on_six(void *arg, const struct dns_answer *answer)
{
    struct host_query *hq = arg;
    hq->six = NULL;
    hq->six_failed = answer->status == DNS_FAILED;
    if (answer->status == DNS_OK)
        host_take_addresses(hq, answer, DNS_TYPE_AAAA);
    if (hq->four == NULL)
        host_has_addresses(hq);
}

static void on_four(void *arg, const struct dns_answer *answer)
{
    struct host_query *hq = arg;
    hq->four = NULL;
    hq->four_failed = answer->status == DNS_FAILED;
    if (answer->status == DNS_OK)
        host_take_addresses(hq, answer, DNS_TYPE_A);
    if (hq->six == NULL)
        host_has_addresses(hq);
}

static void query_ask_hosts(struct mx_query *query)
{
    query->pending = query->plan.host_count;
    query->hosts = xcalloc(query->plan.host_count, sizeof *query->hosts);
    for (size_t i = 0; i < query->plan.host_count; i++) {
        struct host_query *hq = &query->hosts[i];
        hq->query = query;
        hq->host = &query->plan.hosts[i];
        hq->six = dns_ask(query->dns, hq->host->name, DNS_TYPE_AAAA, on_six, hq);
        hq->four = dns_ask(query->dns, hq->host->name, DNS_TYPE_A, on_four, hq);
    }
}

/* ---- MX ---- */

static struct mx_host *query_only_host(struct mx_query *query)
{
    query->plan.hosts = xcalloc(1, sizeof *query->plan.hosts);
    query->plan.host_count = 1;
    strcpy(query->plan.hosts->name, query->plan.domain);
    return query->plan.hosts;
}

static enum mx_status query_take_records(struct mx_query *query, struct dns_mx *records, size_t count, bool more)
{
    const struct mx_options *options = query->options;
    mx_sort(records, count, draw, NULL);
    enum mx_status status = mx_keep_usable(records, &count, &options->self);
    if (status != MX_OK)
        return status;
    if (more || count > options->host_limit)
        metric_add(options->hosts_cut, 1);
    query->plan.host_count = count < options->host_limit ? count : options->host_limit;
    query->plan.hosts = xcalloc(query->plan.host_count, sizeof *query->plan.hosts);
    for (size_t i = 0; i < query->plan.host_count; i++) {
        query->plan.hosts[i].preference = records[i].preference;
        strcpy(query->plan.hosts[i].name, records[i].host);
    }
    return MX_OK;
}

static void on_mx(void *arg, const struct dns_answer *answer)
{
    struct mx_query *query = arg;
    char owner[DNS_NAME_MAX];
    bool more;
    query->mx = NULL;
    if (answer->status != DNS_OK) {
        query_tell_status(query, answer->status == DNS_NOT_FOUND ? MX_NO_DOMAIN : MX_FAILED);
        return;
    }
    query->plan.secure = answer->secure;
    if (answer->secure && dns_packet_owner(answer->packet, answer->len, DNS_TYPE_MX, owner) && strcasecmp(owner, query->plan.domain) != 0)
        strcpy(query->plan.expanded, owner);
    struct dns_mx *records = xcalloc(MX_RECORDS_MAX, sizeof *records);
    size_t count = dns_packet_mx(answer->packet, answer->len, records, MX_RECORDS_MAX, &more);
    enum mx_status status = MX_OK;
    if (count > 0) {
        status = query_take_records(query, records, count, more);
    } else if (dns_packet_owner(answer->packet, answer->len, DNS_TYPE_MX, owner)) {
        status = MX_NO_ADDRESS; /* there are records, and no host can have such a name */
    } else {
        query->plan.implicit = true;
        query_only_host(query);
    }
    free(records);
    if (status == MX_OK)
        query_ask_hosts(query);
    else
        query_tell_status(query, status);
}

struct mx_query *mx_lookup(struct dns *dns, const char *domain, uint16_t port, const struct mx_options *options,
                           void (*done)(void *arg, struct mx_plan *taken), void *arg)
{
    struct mx_query *query = xcalloc(1, sizeof *query);
    struct netaddr address;
    query->dns = dns;
    query->options = options;
    query->port = port;
    query->done = done;
    query->arg = arg;
    if (!idn_to_ascii(query->plan.domain, domain)) /* there is no such domain, which the answer will say */
        query->plan.domain[0] = '\0';
    event_assign(&query->ready, dns_base(dns), -1, 0, on_ready, query);
    if (!netaddr_parse(&address, domain)) {
        query->mx = dns_ask(dns, domain, DNS_TYPE_MX, on_mx, query);
        return query;
    }
    struct mx_host *host = query_only_host(query);
    host->addresses = xmemdup(&address, sizeof address);
    host->address_count = 1;
    host->status = DNS_OK;
    event_active(&query->ready, EV_TIMEOUT, 0);
    return query;
}

void mx_cancel(struct mx_query **queryp)
{
    struct mx_query *query = *queryp;
    *queryp = NULL;
    if (query != NULL)
        query_destroy(query);
}

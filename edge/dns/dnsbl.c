/*
 * dnsbl.c - see dnsbl.h
 */
#include "edge/dns/dnsbl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <event2/event_struct.h>
#include "common/clock.h"
#include "common/dnsbl_site.h"
#include "common/log.h"
#include "common/memory.h"


struct list {
    struct dnsbl_site site;
    uint64_t silent_until_ms;
};

struct dnsbl {
    struct list *lists;
    size_t count;
    uint64_t pause_ms;
};

enum result { RESULT_LISTED, RESULT_CLEAN, RESULT_ERROR, RESULT_FAILED, RESULT_TIMEOUT, RESULT_SKIPPED, RESULT_COUNT };

struct dnsbl *dnsbl_new(const struct config_list *lists, uint64_t pause_ms, struct error *why)
{
    struct dnsbl *dnsbl = xcalloc(1, sizeof *dnsbl);
    dnsbl->count = lists->count;
    dnsbl->pause_ms = pause_ms;
    dnsbl->lists = xcalloc(lists->count + 1, sizeof *dnsbl->lists);
    bool good = lists->count <= DNSBL_MAX;
    if (!good)
        error_set(why, "%zu lists; at most %d", lists->count, DNSBL_MAX);
    for (size_t i = 0; good && i < lists->count; i++)
        good = dnsbl_site_parse(&dnsbl->lists[i].site, lists->items[i], why);
    if (!good)
        dnsbl_free(&dnsbl);
    return dnsbl;
}

void dnsbl_free(struct dnsbl **dnsblp)
{
    struct dnsbl *dnsbl = *dnsblp;
    *dnsblp = NULL;
    if (dnsbl == NULL)
        return;
    free(dnsbl->lists);
    free(dnsbl);
}

bool dnsbl_counts(const struct dnsbl_site *site, const struct netaddr *answer, bool *error)
{
    const uint8_t *b = answer->bytes;
    *error = answer->family != AF_INET || b[0] != 127 || (b[1] == 255 && b[2] == 255);
    if (*error)
        return false;
    for (size_t i = 0; !site->any && i < 4; i++)
        if ((site->pattern[i].set[b[i] / 64] >> b[i] % 64 & 1) == 0)
            return false;
    return true;
}

enum dnsbl_says dnsbl_judge(const struct dnsbl_site *site, const struct dns_answer *answer, struct netaddr *by)
{
    struct netaddr found[16];
    size_t count = answer->status == DNS_OK ? dns_packet_addresses(answer->packet, answer->len, DNS_TYPE_A, found, 16) : 0;
    bool error = false, any_error = false;
    for (size_t i = 0; i < count; i++) {
        if (dnsbl_counts(site, &found[i], &error)) {
            *by = found[i];
            return DNSBL_LISTED;
        }
        any_error |= error;
    }
    return any_error ? DNSBL_ERROR : DNSBL_CLEAN;
}

char *dnsbl_name(char out[DNS_NAME_MAX], const struct netaddr *client, const char *zone)
{
    const uint8_t *b = client->bytes;
    char *at = out;
    if (client->family == AF_INET) {
        at += sprintf(at, "%u.%u.%u.%u.", b[3], b[2], b[1], b[0]);
    } else {
        for (int i = 15; i >= 0; i--)
            at += sprintf(at, "%x.%x.", b[i] & 15, b[i] >> 4);
    }
    snprintf(at, DNS_NAME_MAX - (size_t)(at - out), "%s", zone);
    return out;
}

/* ---- asking them ---- */

struct asked {
    struct dnsbl_query *query;
    size_t list;
    struct dns_question *question; /* NULL: answered, or not asked */
};

struct dnsbl_query {
    struct dnsbl *dnsbl;
    struct metrics *metrics;
    struct dnsbl_verdict verdict;
    void (*done)(void *arg, const struct dnsbl_verdict *verdict);
    void *arg;
    struct event patience;
    size_t missing;
    struct asked asked[DNSBL_MAX];
};

static void count(struct metrics *metrics, const char *zone, enum result result)
{
    static const char *const names[RESULT_COUNT] = { "listed", "clean", "error", "failed", "timeout", "skipped" };
    metric_add(metrics_counter(metrics, "weir_dnsbl_lookups_total", "zone=\"%s\",result=\"%s\"", zone, names[result]), 1);
}

static void query_end(struct dnsbl_query *query)
{
    struct dnsbl_verdict verdict = query->verdict;
    void (*done)(void *, const struct dnsbl_verdict *) = query->done;
    void *arg = query->arg;
    dnsbl_cancel(&query);
    done(arg, &verdict);
}

static void leave_out(struct dnsbl *dnsbl, struct list *list, const char *why)
{
    uint64_t now = clock_ms();
    if (list->silent_until_ms <= now)
        log_write(LOG_WARNING, "dnsbl %s: %s: not asked for %llu s", list->site.zone, why, (unsigned long long)dnsbl->pause_ms / 1000);
    list->silent_until_ms = now + dnsbl->pause_ms;
}

static void add_missing(struct dnsbl_query *query, size_t list)
{
    int weight = query->dnsbl->lists[list].site.weight;
    query->verdict.missing += weight < 0 ? weight : 0;
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dnsbl_query *query = arg;
    for (size_t i = 0; i < query->dnsbl->count; i++) {
        if (query->asked[i].question == NULL)
            continue;
        leave_out(query->dnsbl, &query->dnsbl->lists[i], "no answer in time");
        add_missing(query, i);
        count(query->metrics, query->dnsbl->lists[i].site.zone, RESULT_TIMEOUT);
    }
    query_end(query);
}

static void add_listing(struct dnsbl_query *query, size_t list, int weight)
{
    struct dnsbl_verdict *verdict = &query->verdict;
    verdict->score += weight;
    size_t len = strlen(verdict->zones);
    if (weight > 0)
        snprintf(verdict->zones + len, sizeof verdict->zones - len, "%s%s", len > 0 ? ", " : "", query->dnsbl->lists[list].site.zone);
}

static enum result take_answer(struct dnsbl_query *query, size_t list, const struct dns_answer *answer)
{
    struct netaddr by;
    const struct dnsbl_site *site = &query->dnsbl->lists[list].site;
    switch (dnsbl_judge(site, answer, &by)) {
    case DNSBL_LISTED:
        add_listing(query, list, site->weight);
        return RESULT_LISTED;
    case DNSBL_ERROR:
        leave_out(query->dnsbl, &query->dnsbl->lists[list], "it answers with an error (127.255.255.x) or with what is no list's answer");
        add_missing(query, list);
        return RESULT_ERROR;
    default:
        return RESULT_CLEAN;
    }
}

static void on_answer(void *arg, const struct dns_answer *answer)
{
    struct asked *asked = arg;
    struct dnsbl_query *query = asked->query;
    struct list *list = &query->dnsbl->lists[asked->list];
    asked->question = NULL;
    if (answer->status == DNS_FAILED) {
        leave_out(query->dnsbl, list, "its name servers fail");
        add_missing(query, asked->list);
        count(query->metrics, list->site.zone, RESULT_FAILED);
    } else {
        count(query->metrics, list->site.zone, take_answer(query, asked->list, answer));
    }
    if (--query->missing == 0)
        query_end(query);
}

struct dnsbl_query *dnsbl_lookup(struct dnsbl *dnsbl, struct dns *dns, struct metrics *metrics, const struct netaddr *client, uint64_t timeout_ms,
                                 void (*done)(void *arg, const struct dnsbl_verdict *verdict), void *arg)
{
    uint64_t now = clock_ms();
    struct dnsbl_query *query = xcalloc(1, sizeof *query);
    *query = (struct dnsbl_query){ .dnsbl = dnsbl, .metrics = metrics, .done = done, .arg = arg };
    for (size_t i = 0; i < dnsbl->count; i++) {
        char name[DNS_NAME_MAX];
        if (now < dnsbl->lists[i].silent_until_ms) {
            count(metrics, dnsbl->lists[i].site.zone, RESULT_SKIPPED);
            add_missing(query, i);
            continue;
        }
        query->asked[i] = (struct asked){ .query = query, .list = i };
        query->asked[i].question = dns_ask(dns, dnsbl_name(name, client, dnsbl->lists[i].site.zone), DNS_TYPE_A, on_answer, &query->asked[i]);
        query->missing++;
    }
    if (query->missing == 0) {
        free(query);
        return NULL;
    }
    evtimer_assign(&query->patience, dns_base(dns), on_patience, query);
    event_add(&query->patience, &(struct timeval){ (time_t)(timeout_ms / 1000), (suseconds_t)(timeout_ms % 1000 * 1000) });
    return query;
}

void dnsbl_cancel(struct dnsbl_query **queryp)
{
    struct dnsbl_query *query = *queryp;
    *queryp = NULL;
    if (query == NULL)
        return;
    for (size_t i = 0; i < query->dnsbl->count; i++)
        dns_question_cancel(&query->asked[i].question);
    event_del(&query->patience);
    free(query);
}

/*
 * dnsbl.c - see dnsbl.h
 */
#include "edge/dns/dnsbl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <event2/event_struct.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#define SILENT_MS 60000 /* a list that did not answer is left out for so long */
#define WEIGHT_MAX 100
#define NIBBLES_MAX 64 /* in front of a zone: 32 of them with their dots */

struct octet {
    uint64_t set[4]; /* one bit for each value */
};

struct list {
    char zone[DNS_NAME_MAX];
    bool any; /* no pattern */
    struct octet pattern[4];
    int weight;
    uint64_t silent_until_ms;
};

struct dnsbl {
    struct list *lists;
    size_t count;
};

enum result { RESULT_LISTED, RESULT_CLEAN, RESULT_ERROR, RESULT_FAILED, RESULT_TIMEOUT, RESULT_SKIPPED, RESULT_COUNT };

/* ---- lists as they are written ---- */

static bool parse_number(const char **at, unsigned *value)
{
    char *end;
    if (**at < '0' || **at > '9')
        return false;
    unsigned long number = strtoul(*at, &end, 10);
    *at = end;
    *value = (unsigned)number;
    return number <= 255;
}

static bool octet_add(struct octet *octet, unsigned from, unsigned to)
{
    for (unsigned value = from; value <= to; value++)
        octet->set[value / 64] |= UINT64_C(1) << value % 64;
    return from <= to;
}

static bool parse_octet(const char **at, struct octet *octet)
{
    unsigned from, to;
    if (**at != '[')
        return parse_number(at, &from) && octet_add(octet, from, from);
    do {
        ++*at;
        if (!parse_number(at, &from))
            return false;
        to = from;
        if (strncmp(*at, "..", 2) == 0) {
            *at += 2;
            if (!parse_number(at, &to))
                return false;
        }
        if (!octet_add(octet, from, to))
            return false;
    } while (**at == ';');
    return *(*at)++ == ']';
}

static bool parse_pattern(const char **at, struct octet pattern[4])
{
    for (size_t i = 0; i < 4; i++) {
        if (i > 0 && *(*at)++ != '.')
            return false;
        if (!parse_octet(at, &pattern[i]))
            return false;
    }
    return true;
}

static bool parse_zone(struct list *list, const char *text, size_t len)
{
    if (len > 0 && text[len - 1] == '.')
        len--;
    if (len == 0 || len >= DNS_NAME_MAX - NIBBLES_MAX)
        return false;
    for (size_t i = 0, label = 0; i < len; i++) {
        char c = text[i];
        bool dot = c == '.', letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        label = dot ? 0 : label + 1;
        if ((!dot && !letter) || (dot && (i == 0 || text[i - 1] == '.')) || label > 63)
            return false;
        list->zone[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return true;
}

static bool parse_list(struct list *list, const char *text, struct error *why)
{
    const char *at = text + strcspn(text, "=*");
    list->weight = 1;
    list->any = *at != '=';
    if (!parse_zone(list, text, (size_t)(at - text))) {
        error_set(why, "[edge] dnsbl: \"%s\" does not begin with the name of a zone, as zen.example.org", text);
        return false;
    }
    if (*at == '=' && (at++, !parse_pattern(&at, list->pattern))) {
        error_set(why, "[edge] dnsbl: \"%s\": behind = comes an address or a pattern, as 127.0.0.[2..11] or 127.0.[0;2].4", text);
        return false;
    }
    if (*at == '*') {
        char *end;
        long weight = strtol(at + 1, &end, 10);
        if (end == at + 1 || weight == 0 || weight < -WEIGHT_MAX || weight > WEIGHT_MAX) {
            error_set(why, "[edge] dnsbl: \"%s\": behind * comes a weight, from -%d to %d but not 0", text, WEIGHT_MAX, WEIGHT_MAX);
            return false;
        }
        list->weight = (int)weight;
        at = end;
    }
    if (*at != '\0')
        error_set(why, "[edge] dnsbl: \"%s\": \"%s\" at its end; a list is zone[=pattern][*weight]", text, at);
    return *at == '\0';
}

struct dnsbl *dnsbl_new(const struct config_list *lists, struct error *why)
{
    struct dnsbl *dnsbl = xcalloc(1, sizeof *dnsbl);
    dnsbl->count = lists->count;
    dnsbl->lists = xcalloc(lists->count + 1, sizeof *dnsbl->lists);
    bool good = lists->count <= DNSBL_MAX;
    if (!good)
        error_set(why, "[edge] dnsbl: %zu lists; at most %d", lists->count, DNSBL_MAX);
    for (size_t i = 0; good && i < lists->count; i++)
        good = parse_list(&dnsbl->lists[i], lists->items[i], why);
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

bool dnsbl_counts(const struct dnsbl *dnsbl, size_t list, const struct netaddr *answer, int *weight, bool *error)
{
    const struct list *l = &dnsbl->lists[list];
    const uint8_t *b = answer->bytes;
    *error = answer->family != AF_INET || b[0] != 127 || (b[1] == 255 && b[2] == 255);
    if (*error)
        return false;
    for (size_t i = 0; !l->any && i < 4; i++)
        if ((l->pattern[i].set[b[i] / 64] >> b[i] % 64 & 1) == 0)
            return false;
    *weight = l->weight;
    return true;
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

static void leave_out(struct list *list, const char *why)
{
    uint64_t now = clock_ms();
    if (list->silent_until_ms <= now)
        log_write(LOG_WARNING, "dnsbl %s: %s: not asked for a minute", list->zone, why);
    list->silent_until_ms = now + SILENT_MS;
}

static void add_missing(struct dnsbl_query *query, size_t list)
{
    int weight = query->dnsbl->lists[list].weight;
    query->verdict.missing += weight < 0 ? weight : 0;
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dnsbl_query *query = arg;
    for (size_t i = 0; i < query->dnsbl->count; i++) {
        if (query->asked[i].question == NULL)
            continue;
        leave_out(&query->dnsbl->lists[i], "no answer in time");
        add_missing(query, i);
        count(query->metrics, query->dnsbl->lists[i].zone, RESULT_TIMEOUT);
    }
    query_end(query);
}

static void add_listing(struct dnsbl_query *query, size_t list, int weight)
{
    struct dnsbl_verdict *verdict = &query->verdict;
    verdict->score += weight;
    size_t len = strlen(verdict->zones);
    if (weight > 0)
        snprintf(verdict->zones + len, sizeof verdict->zones - len, "%s%s", len > 0 ? ", " : "", query->dnsbl->lists[list].zone);
}

static enum result take_answer(struct dnsbl_query *query, size_t list, const struct dns_answer *answer)
{
    struct netaddr found[16];
    size_t count = answer->status == DNS_OK ? dns_packet_addresses(answer->packet, answer->len, DNS_TYPE_A, found, 16) : 0;
    bool error = false, any_error = false;
    int weight;
    for (size_t i = 0; i < count; i++) {
        if (dnsbl_counts(query->dnsbl, list, &found[i], &weight, &error)) {
            add_listing(query, list, weight);
            return RESULT_LISTED;
        }
        any_error |= error;
    }
    if (any_error) {
        leave_out(&query->dnsbl->lists[list], "it answers with an error (127.255.255.x) or with what is no list's answer");
        add_missing(query, list);
    }
    return any_error ? RESULT_ERROR : RESULT_CLEAN;
}

static void on_answer(void *arg, const struct dns_answer *answer)
{
    struct asked *asked = arg;
    struct dnsbl_query *query = asked->query;
    struct list *list = &query->dnsbl->lists[asked->list];
    asked->question = NULL;
    if (answer->status == DNS_FAILED) {
        leave_out(list, "its name servers fail");
        add_missing(query, asked->list);
        count(query->metrics, list->zone, RESULT_FAILED);
    } else {
        count(query->metrics, list->zone, take_answer(query, asked->list, answer));
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
            count(metrics, dnsbl->lists[i].zone, RESULT_SKIPPED);
            add_missing(query, i);
            continue;
        }
        query->asked[i] = (struct asked){ .query = query, .list = i };
        query->asked[i].question = dns_ask(dns, dnsbl_name(name, client, dnsbl->lists[i].zone), DNS_TYPE_A, on_answer, &query->asked[i]);
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

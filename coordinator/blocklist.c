/*
 * blocklist.c - see blocklist.h
 *
 *     look (a query) --due--> questions, PARALLEL at a time --the last answer--> result (a query)
 *
 * Each round has a DNS context of its own: nothing is cached from one to the next, so who asks by hand hears what is so now.
 */
#include "coordinator/blocklist.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/dnsbl_site.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/rows.h"
#include "edge/dns/dns.h"
#include "edge/dns/dnsbl.h"

#define LOOK_MS      1000
#define LOOK_NONE_MS 60000 /* without lists: what was known is to be forgotten */
#define PARALLEL     32    /* questions at once */
#define LEASE_MORE_MS 60000 /* beyond what the questions may take: the database's time to hear of it */

enum result { RESULT_LISTED, RESULT_CLEAN, RESULT_ERROR, RESULT_FAILED, RESULT_COUNT };

static const char *const results[RESULT_COUNT] = { "listed", "clean", "error", "failed" };

struct zone {
    struct dnsbl_site site;
    struct metric *lookups[RESULT_COUNT]; /* weir_own_address_lookups_total */
    size_t unknown;                       /* in this round */
};

struct asked { /* one question under way */
    struct blocklist *blocklist;
    size_t address, zone;
    struct dns_question *question; /* NULL: the place is free */
};

struct round { /* one that was claimed; claim NULL: there is none */
    char *claim, *asked;
    struct netaddr *addresses;
    size_t count, next; /* next: question, count * zone_count in all */
    size_t pending;
    json_t *told;
    struct dns *dns;
};

struct blocklist {
    struct blocklist_options options;
    struct zone *zones;
    size_t zone_count;
    uint64_t looked_ms;
    bool asking; /* the database */
    struct round round;
    struct asked asked[PARALLEL];
};

struct blocklist *blocklist_new(const struct blocklist_options *options)
{
    struct blocklist *blocklist = xcalloc(1, sizeof *blocklist);
    const struct config_list *lists = &options->settings->blocklist_zones;
    struct error why;
    blocklist->options = *options;
    blocklist->zones = xcalloc(lists->count + 1, sizeof *blocklist->zones);
    for (size_t i = 0; i < lists->count; i++) {
        struct zone *zone = &blocklist->zones[blocklist->zone_count++];
        weir_assert(dnsbl_site_parse(&zone->site, lists->items[i], &why)); /* its form was checked */
        for (enum result result = 0; result < RESULT_COUNT; result++)
            zone->lookups[result] =
                metrics_counter(options->metrics, "weir_own_address_lookups_total", "zone=\"%s\",result=\"%s\"", zone->site.zone, results[result]);
    }
    for (size_t i = 0; i < PARALLEL; i++)
        blocklist->asked[i].blocklist = blocklist;
    return blocklist;
}

static void end_round(struct blocklist *blocklist)
{
    struct round *round = &blocklist->round;
    for (size_t i = 0; i < PARALLEL; i++)
        dns_question_cancel(&blocklist->asked[i].question);
    dns_free(&round->dns);
    json_decref(round->told);
    free(round->claim);
    free(round->asked);
    free(round->addresses);
    *round = (struct round){ 0 };
}

void blocklist_free(struct blocklist **freed)
{
    struct blocklist *blocklist = *freed;
    *freed = NULL;
    if (blocklist == NULL)
        return;
    end_round(blocklist);
    free(blocklist->zones);
    free(blocklist);
}

/* ---- what came of it ---- */

static void on_told(void *arg, const PGresult *result)
{
    (void)arg;
    for (int row = 0; row < PQntuples(result); row++) {
        const char *address = PQgetvalue(result, row, 1), *zone = PQgetvalue(result, row, 2), *answer = PQgetvalue(result, row, 4);
        if (strcmp(PQgetvalue(result, row, 0), "t") != 0)
            log_write(LOG_INFO, "blocklist: the result came late; another coordinator asks");
        else if (strcmp(PQgetvalue(result, row, 3), "t") == 0)
            log_write(LOG_WARNING, "blocklist: own address %s is listed in %s (%s): others may refuse its mail", address, zone, answer);
        else
            log_write(LOG_NOTICE, "blocklist: own address %s is not listed in %s any more", address, zone);
    }
}

static void on_tell_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct blocklist *blocklist = arg;
    blocklist->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: blocklist: %s", error->why.text);
    end_round(blocklist); /* where the database did not hear of it the claim is still ours, and the next look begins anew */
}

static void log_unknown(struct blocklist *blocklist)
{
    for (size_t i = 0; i < blocklist->zone_count; i++) {
        struct zone *zone = &blocklist->zones[i];
        if (zone->unknown > 0)
            log_write(LOG_NOTICE, "blocklist: %s does not say of %zu of %zu own addresses whether they are listed: no answer, or an error (127.255.255.x)",
                      zone->site.zone, zone->unknown, blocklist->round.count);
        zone->unknown = 0;
    }
}

static void tell(struct blocklist *blocklist)
{
    struct round *round = &blocklist->round;
    log_unknown(blocklist);
    char *told = json_dumps(round->told, JSON_COMPACT);
    if (told == NULL)
        fatal("out of memory");
    const char *const values[] = { blocklist->options.name, round->claim, round->asked, told };
    blocklist->asking = true;
    struct db_unit *unit = db_begin(blocklist->options.db, on_tell_done, blocklist);
    db_query(unit, "SELECT mine, address, zone, listed, answer FROM blocklist_result($1, $2::bigint, $3::bigint, $4::json)", sizeof values / sizeof *values, values,
             on_told);
    db_commit(unit);
    free(told);
}

/* ---- asking ---- */

static void note(struct blocklist *blocklist, size_t address, size_t zone_at, enum result result, const struct netaddr *by)
{
    struct zone *zone = &blocklist->zones[zone_at];
    char address_text[NETADDR_TEXT_MAX], by_text[NETADDR_TEXT_MAX] = "";
    netaddr_format(&blocklist->round.addresses[address], address_text);
    if (result == RESULT_LISTED)
        netaddr_format(by, by_text);
    zone->unknown += result == RESULT_ERROR || result == RESULT_FAILED;
    metric_add(zone->lookups[result], 1);
    json_array_append_new(blocklist->round.told,
                          json_pack("{ssssssss}", "address", address_text, "zone", zone->site.zone, "result", results[result], "answer", by_text));
}

static void ask_more(struct blocklist *blocklist);

static void on_answer(void *arg, const struct dns_answer *answer)
{
    struct asked *asked = arg;
    struct blocklist *blocklist = asked->blocklist;
    enum result result = RESULT_FAILED;
    struct netaddr by = { 0 };
    if (answer->status != DNS_FAILED) {
        enum dnsbl_says says = dnsbl_judge(&blocklist->zones[asked->zone].site, answer, &by);
        result = says == DNSBL_LISTED ? RESULT_LISTED : says == DNSBL_CLEAN ? RESULT_CLEAN : RESULT_ERROR;
    }
    asked->question = NULL;
    blocklist->round.pending--;
    note(blocklist, asked->address, asked->zone, result, &by);
    ask_more(blocklist);
}

/* The lists take turns: one that is dead does not fill all places. */
static void ask_more(struct blocklist *blocklist)
{
    struct round *round = &blocklist->round;
    for (size_t i = 0; i < PARALLEL && round->next < round->count * blocklist->zone_count; i++) {
        struct asked *asked = &blocklist->asked[i];
        char name[DNS_NAME_MAX];
        if (asked->question != NULL)
            continue;
        asked->address = round->next / blocklist->zone_count;
        asked->zone = round->next++ % blocklist->zone_count;
        asked->question = dns_ask(round->dns, dnsbl_name(name, &round->addresses[asked->address], blocklist->zones[asked->zone].site.zone), DNS_TYPE_A, on_answer, asked);
        round->pending++;
    }
    if (round->pending == 0)
        tell(blocklist);
}

static void begin(struct blocklist *blocklist)
{
    const struct coordinator_settings *settings = blocklist->options.settings;
    struct round *round = &blocklist->round;
    struct edge_settings how = { .dns_forward = settings->blocklist_forward, .dns_stub = settings->blocklist_stub, .dns_timeout = settings->blocklist_timeout };
    struct error why;
    round->told = json_array();
    round->dns = dns_new(blocklist->options.base, &how, blocklist->options.metrics, &why);
    if (round->dns == NULL) {
        log_write(LOG_ERR, "blocklist: %s", why.text);
        for (; round->next < round->count * blocklist->zone_count; round->next++)
            note(blocklist, round->next / blocklist->zone_count, round->next % blocklist->zone_count, RESULT_FAILED, NULL);
    }
    ask_more(blocklist);
}

/* ---- looking ---- */

static void on_claimed(void *arg, const PGresult *result)
{
    struct round *round = &((struct blocklist *)arg)->round;
    json_error_t why;
    size_t i;
    const json_t *address;
    if (PQntuples(result) == 0)
        return;
    json_t *addresses = json_loads(PQgetvalue(result, 0, 2), 0, &why);
    *round = (struct round){ .claim = xstrdup(PQgetvalue(result, 0, 0)), .asked = xstrdup(PQgetvalue(result, 0, 1)),
                             .addresses = xcalloc(json_array_size(addresses) + 1, sizeof *round->addresses) };
    json_array_foreach(addresses, i, address)
        if (netaddr_parse(&round->addresses[round->count], json_string_value(address)))
            round->count++;
    json_decref(addresses);
}

static void on_claim_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct blocklist *blocklist = arg;
    blocklist->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: blocklist: %s", error->why.text);
    if (outcome != DB_OK) /* a claim that was made all the same is of our name: we may have it again */
        end_round(blocklist);
    else if (blocklist->round.claim != NULL)
        begin(blocklist);
}

static void add_item(struct rows *rows, const char *item)
{
    rows_string(rows, item);
    rows_end(rows);
}

static uint64_t lease_ms(const struct blocklist *blocklist)
{
    const struct coordinator_settings *settings = blocklist->options.settings;
    return (settings->blocklist_addresses * blocklist->zone_count / PARALLEL + 1) * settings->blocklist_timeout + LEASE_MORE_MS;
}

void blocklist_look(struct blocklist *blocklist)
{
    const struct coordinator_settings *settings = blocklist->options.settings;
    uint64_t now = clock_ms(), pause = blocklist->zone_count > 0 ? LOOK_MS : LOOK_NONE_MS;
    if (blocklist->asking || blocklist->round.claim != NULL || (blocklist->looked_ms != 0 && now - blocklist->looked_ms < pause))
        return;
    blocklist->looked_ms = now;
    blocklist->asking = true;
    char silence[32], every[32], lease[32], most[24];
    struct rows own, zones;
    rows_init(&own, 1);
    rows_init(&zones, 1);
    for (size_t i = 0; i < settings->own_addresses.count; i++)
        add_item(&own, settings->own_addresses.items[i]);
    for (size_t i = 0; i < blocklist->zone_count; i++)
        add_item(&zones, blocklist->zones[i].site.zone);
    snprintf(silence, sizeof silence, "%llu ms", (unsigned long long)blocklist->options.node_timeout_ms);
    snprintf(every, sizeof every, "%llu ms", (unsigned long long)settings->blocklist_interval);
    snprintf(lease, sizeof lease, "%llu ms", (unsigned long long)lease_ms(blocklist));
    snprintf(most, sizeof most, "%llu", (unsigned long long)settings->blocklist_addresses);
    const char *const values[] = { blocklist->options.name, silence, every, lease, *rows_values(&own), *rows_values(&zones), most, settings->blocklist_private ? "true" : "false" };
    struct db_unit *unit = db_begin(blocklist->options.db, on_claim_done, blocklist);
    db_query(unit, "SELECT round, asked, addresses FROM blocklist_claim($1, $2::interval, $3::interval, $4::interval, $5::text[], $6::text[], $7::bigint, $8::boolean)",
             sizeof values / sizeof *values, values, on_claimed);
    db_commit(unit);
    rows_fini(&own);
    rows_fini(&zones);
}

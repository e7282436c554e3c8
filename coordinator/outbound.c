/*
 * outbound.c - see outbound.h
 */
#include "coordinator/outbound.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#define TURN_MS 500
#define TIDY_MS 60000
#define LOOK_MS 2000 /* metrics: each look adds up all held mail */
#define MOST    20000 /* counts in one turn */
#define MOST_FREED 500 /* messages let go in one transaction: others wait for their rows */

enum kind { KIND_THROTTLED, KIND_HELD, KIND_REFUSED, KIND_FREE, KINDS };

struct outbound {
    struct db *db;
    struct event *timer;
    const struct coordinator_settings *settings;
    uint64_t tidy_at_ms, look_at_ms;
    bool leads;
    bool more; /* messages to be let go */
    struct metric *throttled, *held, *dry, *messages, *bytes, *filled, *deleted;
    struct metric *decided[KINDS][2]; /* in earnest, dry run */
};

static const char *const kinds[KINDS] = { "throttled", "held", "refused", "free" };

static void on_timer(evutil_socket_t fd, short what, void *arg);

static void schedule(struct outbound *outbound)
{
    event_add(outbound->timer, &(struct timeval){ 0, outbound->more ? 0 : TURN_MS * 1000 });
}

struct outbound *outbound_new(struct event_base *base, struct db *db, const struct coordinator_settings *settings, struct metrics *metrics)
{
    struct outbound *outbound = xcalloc(1, sizeof *outbound);
    outbound->db = db;
    outbound->settings = settings;
    outbound->timer = evtimer_new(base, on_timer, outbound);
    outbound->throttled = metrics_gauge(metrics, "weir_outbound_stopped", "state=\"throttled\"");
    outbound->held = metrics_gauge(metrics, "weir_outbound_stopped", "state=\"held\"");
    outbound->dry = metrics_gauge(metrics, "weir_outbound_stopped", "state=\"dry-run\"");
    outbound->messages = metrics_gauge(metrics, "weir_outbound_held_messages", NULL);
    outbound->bytes = metrics_gauge(metrics, "weir_outbound_held_bytes", NULL);
    outbound->filled = metrics_gauge(metrics, "weir_outbound_full", NULL);
    outbound->deleted = metrics_counter(metrics, "weir_outbound_senders_deleted_total", NULL);
    for (int kind = 0; kind < KINDS; kind++)
        for (int dry = 0; dry < 2; dry++)
            outbound->decided[kind][dry] =
                metrics_counter(metrics, "weir_outbound_decisions_total", "state=\"%s\",result=\"%s\"", kinds[kind], dry ? "dry-run" : "done");
    return outbound;
}

void outbound_free(struct outbound **freed)
{
    struct outbound *outbound = *freed;
    *freed = NULL;
    if (outbound == NULL)
        return;
    event_free(outbound->timer);
    free(outbound);
}

/* What outbound_counts() tells, in its order; NULL: nothing. */
static void set_gauges(struct outbound *outbound, const PGresult *result)
{
    struct metric *const gauges[] = { outbound->throttled, outbound->held, outbound->dry, outbound->messages, outbound->bytes, outbound->filled };
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        metric_set(gauges[i], result != NULL ? strtod(PQgetvalue(result, 0, (int)i), NULL) : 0);
}

void outbound_lead(struct outbound *outbound, bool leads)
{
    if (leads == outbound->leads)
        return;
    outbound->leads = leads;
    outbound->more = false;
    outbound->look_at_ms = 0;
    if (!leads)
        set_gauges(outbound, NULL); /* whoever leads now has them */
    else
        schedule(outbound);
}

/* What a judgement goes by, as JSON: numbers and words of the configuration, so nothing has to be escaped. */
static char *judged_by(const struct coordinator_settings *s)
{
    static const char *const modes[] = { [OUTBOUND_ON] = "on", [OUTBOUND_DRY_RUN] = "dry_run", [OUTBOUND_OFF] = "off" };
    return xasprintf("{\"mode\": \"%s\", \"action\": \"%s\", \"account_recipients\": %llu, \"host_recipients\": %llu, \"registered_recipients\": %llu, \"rise\": %llu,"
                     " \"rise_least\": %llu, \"viruses\": %llu, \"bad_share\": %llu, \"bad_least\": %llu, \"hold_factor\": %llu, \"held_messages\": %llu,"
                     " \"held_bytes\": %llu, \"held_all\": %llu}",
                     modes[s->outbound], s->outbound_action == OUTBOUND_HOLD ? "hold" : "refuse", (unsigned long long)s->outbound_account_recipients,
                     (unsigned long long)s->outbound_host_recipients, (unsigned long long)s->outbound_registered_recipients, (unsigned long long)s->outbound_rise,
                     (unsigned long long)s->outbound_rise_least, (unsigned long long)s->outbound_viruses, (unsigned long long)s->outbound_bad_share,
                     (unsigned long long)s->outbound_bad_least, (unsigned long long)s->outbound_hold_factor, (unsigned long long)s->outbound_held_messages,
                     (unsigned long long)s->outbound_held_bytes, (unsigned long long)(s->spool_max_bytes / 100 * s->outbound_held_share));
}

static void on_judged(void *arg, const PGresult *result)
{
    struct outbound *outbound = arg;
    for (int row = 0; row < PQntuples(result); row++) {
        const char *subject = PQgetvalue(result, row, 0), *was = PQgetvalue(result, row, 1), *state = PQgetvalue(result, row, 2);
        bool dry = PQgetvalue(result, row, 3)[0] == 't';
        int kind = 0;
        while (kind < KIND_FREE && strcmp(state, kinds[kind]) != 0)
            kind++;
        metric_add(outbound->decided[kind][dry], 1);
        log_write(kind == KIND_FREE ? LOG_NOTICE : LOG_WARNING, "outbound: %s%s is %s%s%s: %s", dry ? "dry run: " : "", subject, kinds[kind],
                  *was != '\0' ? ", was " : "", was, PQgetvalue(result, row, 4));
    }
}

static void on_counts(void *arg, const PGresult *result)
{
    struct outbound *outbound = arg;
    if (outbound->leads && PQntuples(result) == 1)
        set_gauges(outbound, result);
}

static void on_tidied(void *arg, const PGresult *result)
{
    struct outbound *outbound = arg;
    metric_add(outbound->deleted, strtod(PQgetvalue(result, 0, 0), NULL));
}

static void on_freed(void *arg, const PGresult *result)
{
    struct outbound *outbound = arg;
    outbound->more = PQntuples(result) == 1 && atoi(PQgetvalue(result, 0, 0)) >= MOST_FREED;
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct outbound *outbound = arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: outbound: %s", error->why.text);
    if (outcome == DB_OK && clock_ms() >= outbound->tidy_at_ms)
        outbound->tidy_at_ms = clock_ms() + TIDY_MS;
    if (outcome != DB_OK)
        outbound->more = false;
    if (outbound->leads)
        schedule(outbound);
}

/* Not with the judgement: whatever changes the cluster state waits for the end of that. Senders are locked before messages, as a release does. */
static void on_judgement_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct outbound *outbound = arg;
    if (outcome != DB_OK || !outbound->leads) {
        on_done(outbound, outcome, error);
        return;
    }
    char most[16], freed[16], entries[24];
    snprintf(most, sizeof most, "%d", MOST);
    snprintf(freed, sizeof freed, "%d", MOST_FREED);
    snprintf(entries, sizeof entries, "%llu", (unsigned long long)outbound->settings->outbound_senders);
    const char *const tidied[] = { entries, most }, *const let_go[] = { freed };
    struct db_unit *unit = db_begin(outbound->db, on_done, outbound);
    if (clock_ms() >= outbound->tidy_at_ms)
        db_query(unit, "SELECT outbound_tidy($1::bigint, $2::integer)", 2, tidied, on_tidied);
    db_query(unit, "SELECT outbound_free($1::integer)", 1, let_go, on_freed);
    if (clock_ms() >= outbound->look_at_ms) {
        outbound->look_at_ms = clock_ms() + LOOK_MS;
        db_query(unit, "SELECT throttled, held, dry, messages, bytes, filled FROM outbound_counts()", 0, NULL, on_counts);
    }
    db_commit(unit);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct outbound *outbound = arg;
    if (!outbound->leads)
        return;
    char *by = judged_by(outbound->settings), most[16];
    snprintf(most, sizeof most, "%d", MOST);
    const char *const judged[] = { by, most };
    struct db_unit *unit = db_begin(outbound->db, on_judgement_done, outbound);
    db_query(unit, "SELECT subject, was, state, dry, reason FROM outbound_judge($1::jsonb, $2::integer)", 2, judged, on_judged);
    db_commit(unit);
    free(by);
}

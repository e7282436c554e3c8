/*
 * gauges.c - what is in the spool, asked of the database now and then
 *
 * Counting looks at all of the queue, so it is done the more rarely the longer it takes: at most 2 % of the time, but at least once a minute.
 */
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/spool/internal.h"

#define EVERY_MS          2000
#define AT_LEAST_EVERY_MS 60000
#define SHARE             50

static const char *const states[] = { "incoming", "ready", "deferred", "leased", "held" };
#define STATES (sizeof states / sizeof *states)

struct gauges {
    struct spool *spool;
    struct event *timer;
    uint64_t asked_ms;
    uint64_t took_ms; /* the last count; 0: there was none */
    bool known;
    double count[STATES], oldest[STATES];
    double messages, bytes, difference, down, suspects;
};

static void again(struct gauges *gauges, uint64_t ms)
{
    event_add(gauges->timer, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
}

static void on_counted(void *arg, const PGresult *result)
{
    struct gauges *gauges = arg;
    memset(gauges->count, 0, sizeof gauges->count);
    memset(gauges->oldest, 0, sizeof gauges->oldest);
    for (int row = 0; row < PQntuples(result); row++) {
        for (size_t i = 0; i < STATES; i++) {
            if (strcmp(states[i], PQgetvalue(result, row, 0)) != 0)
                continue;
            gauges->count[i] = strtod(PQgetvalue(result, row, 1), NULL);
            gauges->oldest[i] = strtod(PQgetvalue(result, row, 2), NULL);
        }
    }
}

static void on_summed(void *arg, const PGresult *result)
{
    struct gauges *gauges = arg;
    if (PQntuples(result) != 1)
        return;
    gauges->messages = strtod(PQgetvalue(result, 0, 0), NULL);
    gauges->bytes = strtod(PQgetvalue(result, 0, 1), NULL);
    gauges->difference = strtod(PQgetvalue(result, 0, 2), NULL);
    gauges->down = strtod(PQgetvalue(result, 0, 3), NULL);
    gauges->suspects = strtod(PQgetvalue(result, 0, 4), NULL);
    gauges->known = true;
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct gauges *gauges = arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "spool: cannot be counted: %s %s", error->sqlstate, error->why.text);
    /* Slow once is a database that was away or busy; slow twice is a large spool. */
    uint64_t took = outcome == DB_OK ? clock_ms() - gauges->asked_ms : 0;
    uint64_t pause = SHARE * (took < gauges->took_ms ? took : gauges->took_ms);
    gauges->took_ms = took;
    again(gauges, pause < EVERY_MS ? EVERY_MS : pause > AT_LEAST_EVERY_MS ? AT_LEAST_EVERY_MS : pause);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct gauges *gauges = arg;
    gauges->asked_ms = clock_ms();
    struct db_unit *unit = db_begin(leases_db(gauges->spool->leases), on_done, gauges);
    db_query(unit, "SELECT state, amount, oldest FROM spool_states()", 0, NULL, on_counted);
    db_query(unit, "SELECT messages, bytes, difference, down, suspects FROM spool_sums()", 0, NULL, on_summed);
    db_commit(unit);
}

struct gauges *gauges_new(struct spool *spool)
{
    struct gauges *gauges = xcalloc(1, sizeof *gauges);
    gauges->spool = spool;
    gauges->timer = evtimer_new(spool->options.base, on_timer, gauges);
    again(gauges, 0);
    return gauges;
}

void gauges_free(struct gauges **freed)
{
    struct gauges *gauges = *freed;
    *freed = NULL;
    if (gauges == NULL)
        return;
    event_free(gauges->timer);
    free(gauges);
}

void gauges_expose(const struct gauges *gauges, struct exposition *exposition)
{
    if (!gauges->known)
        return;
    for (size_t i = 0; i < STATES; i++) {
        exposition_add_gauge(exposition, "weir_spool_messages", gauges->count[i], "state=\"%s\"", states[i]);
        exposition_add_gauge(exposition, "weir_spool_oldest_age_seconds", gauges->oldest[i], "state=\"%s\"", states[i]);
    }
    exposition_add_gauge(exposition, "weir_spool_stored_messages", gauges->messages, "%s", "");
    exposition_add_gauge(exposition, "weir_spool_bytes", gauges->bytes, "%s", "");
    exposition_add_gauge(exposition, "weir_spool_destinations_down", gauges->down, "%s", "");
    exposition_add_gauge(exposition, "weir_spool_suspects", gauges->suspects, "%s", "");
    /* I9: what the edges gave here and is neither settled nor still here. Alarms look at one name. */
    exposition_add_gauge(exposition, "weir_conservation_difference", gauges->difference, "node=\"spool\"");
}

json_t *gauges_counts(const struct gauges *gauges)
{
    if (!gauges->known)
        return NULL;
    json_t *by_state = json_object();
    for (size_t i = 0; i < STATES; i++)
        json_object_set_new(by_state, states[i], json_pack("{s:f, s:f}", "count", gauges->count[i], "oldest", gauges->oldest[i]));
    return json_pack("{s:f, s:f, s:f, s:f, s:o}", "messages", gauges->messages, "bytes", gauges->bytes, "destinations_down", gauges->down, "suspects", gauges->suspects, "states", by_state);
}

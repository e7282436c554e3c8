/*
 * turns.c - see turns.h
 */
#include "coordinator/turns.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/config_form.h"
#include "common/log.h"
#include "common/memory.h"

#define LOOK_AGAIN_MS 500 /* while somebody has or waits for a turn */
#define DAY_MINUTES   (24 * 60)

struct turns {
    struct turns_options options;
    struct event *again;
    bool leads, asking, under_way;
    struct metric *began, *ended[3]; /* by result */
    struct metric *waiting, *held, *running, *failed, *oldest;
};

static const char *const results[] = { "done", "lost", "timeout" };

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    turns_look(arg);
}

struct turns *turns_new(const struct turns_options *options)
{
    struct turns *turns = xcalloc(1, sizeof *turns);
    turns->options = *options;
    turns->again = evtimer_new(options->base, on_again, turns);
    turns->began = metrics_counter(options->metrics, "weir_housekeeping_turns_total", "reason=\"gc\",result=\"began\"");
    for (size_t s = 0; s < 3; s++)
        turns->ended[s] = metrics_counter(options->metrics, "weir_housekeeping_turns_total", "reason=\"gc\",result=\"%s\"", results[s]);
    turns->waiting = metrics_gauge(options->metrics, "weir_housekeeping_waiting", NULL);
    turns->held = metrics_gauge(options->metrics, "weir_housekeeping_held_by_load", NULL);
    turns->running = metrics_gauge(options->metrics, "weir_housekeeping_running", NULL);
    turns->failed = metrics_gauge(options->metrics, "weir_housekeeping_failed", NULL);
    turns->oldest = metrics_gauge(options->metrics, "weir_housekeeping_oldest_wait_seconds", NULL);
    return turns;
}

void turns_free(struct turns **freed)
{
    struct turns *turns = *freed;
    *freed = NULL;
    if (turns == NULL)
        return;
    event_free(turns->again);
    free(turns);
}

void turns_lead(struct turns *turns, bool leads)
{
    if (turns->leads && !leads) { /* the next leader tells */
        event_del(turns->again);
        turns->under_way = false;
        metric_set(turns->waiting, 0);
        metric_set(turns->held, 0);
        metric_set(turns->running, 0);
        metric_set(turns->failed, 0);
        metric_set(turns->oldest, 0);
    }
    turns->leads = leads;
}

/* ---- when ---- */

/* The last moment not after `now` that the clocks here show so many minutes of a day; -1: the system knows none. */
static time_t last_time_of_day(unsigned minutes, time_t now)
{
    for (int days = 0; days < 3; days++) { /* a day may lack that hour */
        struct tm tm;
        localtime_r(&now, &tm);
        tm.tm_mday -= days;
        tm.tm_hour = (int)(minutes / 60);
        tm.tm_min = (int)(minutes % 60);
        tm.tm_sec = 0;
        tm.tm_isdst = -1;
        time_t at = mktime(&tm);
        if (at != -1 && at <= now)
            return at;
    }
    return -1;
}

uint64_t turns_due_ms(const struct config_list *schedule, time_t now)
{
    uint64_t least = 0;
    for (size_t i = 0; i < schedule->count; i++) {
        unsigned minutes;
        uint64_t ms = 0;
        if (form_time_of_day(&minutes, schedule->items[i])) {
            time_t at = last_time_of_day(minutes, now);
            ms = at != -1 ? (uint64_t)(now - at) * 1000 + 1 : 0;
        } else if (!config_parse_duration(schedule->items[i], &ms)) {
            ms = 0;
        }
        if (ms > 0 && (least == 0 || ms < least))
            least = ms;
    }
    return least;
}

/* ---- looking ---- */

static void note(struct turns *turns, const char *node, const char *reason, const char *cause, const char *became, double seconds)
{
    size_t s = 0;
    while (s < 3 && strcmp(results[s], became) != 0)
        s++;
    metric_add(s == 3 ? turns->began : turns->ended[s], 1);
    if (s == 3)
        log_write(LOG_NOTICE, "housekeeping: %s has its turn reason=%s cause=%s waited=%.1fs", node, reason, cause, seconds);
    else
        log_write(s == 0 ? LOG_NOTICE : LOG_WARNING, "housekeeping: the turn of %s is over reason=%s cause=%s result=%s after=%.1fs%s", node, reason, cause, became,
                  seconds, s == 2 ? ": it made no new generation, and goes on with its old one" : "");
}

static void on_happened(void *arg, const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++)
        note(arg, PQgetvalue(result, row, 0), PQgetvalue(result, row, 1), PQgetvalue(result, row, 2), PQgetvalue(result, row, 3),
             strtod(PQgetvalue(result, row, 4), NULL));
}

static void on_sums(void *arg, const PGresult *result)
{
    struct turns *turns = arg;
    if (PQntuples(result) != 1 || !turns->leads)
        return;
    struct metric *const gauges[] = { turns->waiting, turns->held, turns->running, turns->failed, turns->oldest };
    double values[5];
    for (int i = 0; i < 5; i++) {
        values[i] = strtod(PQgetvalue(result, 0, i), NULL);
        metric_set(gauges[i], values[i]);
    }
    turns->under_way = values[0] + values[2] > 0;
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct turns *turns = arg;
    turns->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: turns of scanners: %s", error->why.text);
    else if (turns->leads && turns->under_way)
        event_add(turns->again, &(struct timeval){ 0, LOOK_AGAIN_MS * 1000 });
}

void turns_look(struct turns *turns)
{
    const struct coordinator_settings *settings = turns->options.settings;
    if (!turns->leads || turns->asking)
        return;
    turns->asking = true;
    char silence[32], most[32], unavailable[24], margin[24], due[24], growth[24], messages[24];
    snprintf(silence, sizeof silence, "%llu ms", (unsigned long long)turns->options.node_timeout_ms);
    snprintf(most, sizeof most, "%llu ms", (unsigned long long)settings->turn_timeout);
    snprintf(unavailable, sizeof unavailable, "%llu", (unsigned long long)settings->max_unavailable);
    snprintf(margin, sizeof margin, "%llu", (unsigned long long)settings->turn_margin);
    snprintf(due, sizeof due, "%llu", (unsigned long long)turns_due_ms(&settings->gc_schedule, (time_t)(clock_wall_ms() / 1000)));
    snprintf(growth, sizeof growth, "%llu", (unsigned long long)settings->gc_memory_growth);
    snprintf(messages, sizeof messages, "%llu", (unsigned long long)settings->gc_messages);
    const char *const values[] = { silence, most, unavailable, margin, due, growth, messages };
    struct db_unit *unit = db_begin(turns->options.db, on_done, turns);
    db_query(unit,
             "SELECT node, reason, cause, became, seconds"
             " FROM turns_look($1::interval, $2::interval, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bigint)",
             7, values, on_happened);
    db_query(unit, "SELECT waiting, held_by_load, running, failed, oldest FROM turns_sums()", 0, NULL, on_sums);
    db_commit(unit);
}

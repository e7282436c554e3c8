/*
 * quarantine.c - see quarantine.h
 */
#include "coordinator/quarantine/quarantine.h"
#include <stdio.h>
#include <stdlib.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#define LOOK_MS    5000
#define MOST       200   /* copies in one transaction: others wait for their rows */
#define COUNT_MS   60000 /* all copies are counted so often, and more rarely where that takes long: at most 1 % of the time */
#define COUNT_SHARE 100

struct quarantine {
    struct db *db;
    struct digest *digest;
    const struct coordinator_settings *settings;
    bool tidying, counting, more;
    uint64_t look_at_ms, count_at_ms, asked_ms;
    struct metric *expired;
};

struct quarantine *quarantine_new(struct db *db, const struct coordinator_settings *settings, struct digest *digest, struct metrics *metrics)
{
    struct quarantine *quarantine = xcalloc(1, sizeof *quarantine);
    quarantine->db = db;
    quarantine->digest = digest;
    quarantine->settings = settings;
    quarantine->expired = metrics_counter(metrics, "weir_quarantine_expired_total", NULL);
    return quarantine;
}

void quarantine_free(struct quarantine **quarantine)
{
    free(*quarantine);
    *quarantine = NULL;
}

static void on_tidied(void *arg, const PGresult *result)
{
    struct quarantine *quarantine = arg;
    double expired = strtod(PQgetvalue(result, 0, 0), NULL);
    metric_add(quarantine->expired, expired);
    quarantine->more = PQgetvalue(result, 0, 1)[0] == 't';
    if (expired > 0)
        log_write(LOG_INFO, "quarantine: %.0f copies were here for %llu days and are gone", expired, (unsigned long long)quarantine->settings->quarantine_days);
}

static void on_tidy_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct quarantine *quarantine = arg;
    quarantine->tidying = false;
    if (outcome == DB_FAILED) {
        quarantine->more = false;
        log_write(LOG_ERR, "quarantine: housekeeping: %s %s", error->sqlstate, error->why.text);
    }
    quarantine->look_at_ms = quarantine->more ? 0 : clock_ms() + LOOK_MS;
}

static void on_count_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct quarantine *quarantine = arg;
    uint64_t now = clock_ms(), pause = COUNT_SHARE * (now - quarantine->asked_ms);
    quarantine->counting = false;
    quarantine->count_at_ms = now + (pause > COUNT_MS ? pause : COUNT_MS);
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "quarantine: cannot be counted: %s %s", error->sqlstate, error->why.text);
}

static void tidy(struct quarantine *quarantine)
{
    char life[32], memory[32], most[16];
    quarantine->tidying = true;
    snprintf(life, sizeof life, "%llu days", (unsigned long long)quarantine->settings->quarantine_days);
    snprintf(memory, sizeof memory, "%llu days", (unsigned long long)quarantine->settings->audit_days);
    snprintf(most, sizeof most, "%d", MOST);
    const char *const values[] = { life, memory, most };
    struct db_unit *unit = db_begin(quarantine->db, on_tidy_done, quarantine);
    db_query(unit, "SELECT expired, more FROM quarantine_tidy($1::interval, $2::interval, $3::integer)", 3, values, on_tidied);
    db_commit(unit);
}

static void count(struct quarantine *quarantine)
{
    quarantine->counting = true;
    quarantine->asked_ms = clock_ms();
    struct db_unit *unit = db_begin(quarantine->db, on_count_done, quarantine);
    db_query(unit, "SELECT quarantine_recount()", 0, NULL, NULL);
    db_commit(unit);
}

void quarantine_turn(struct quarantine *quarantine)
{
    digest_turn(quarantine->digest);
    if (!quarantine->tidying && clock_ms() >= quarantine->look_at_ms)
        tidy(quarantine);
    if (!quarantine->counting && clock_ms() >= quarantine->count_at_ms)
        count(quarantine);
}

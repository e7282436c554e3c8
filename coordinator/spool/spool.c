/*
 * spool.c - mail at rest: put together
 */
#include "coordinator/spool/spool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/spool/internal.h"

static void write_words(struct spool_words *words, const struct coordinator_settings *settings)
{
    snprintf(words->max_messages, sizeof words->max_messages, "%llu", (unsigned long long)settings->spool_max_messages);
    snprintf(words->max_bytes, sizeof words->max_bytes, "%llu", (unsigned long long)settings->spool_max_bytes);
    snprintf(words->quarantine_messages, sizeof words->quarantine_messages, "%llu", (unsigned long long)settings->quarantine_max_messages);
    snprintf(words->quarantine_bytes, sizeof words->quarantine_bytes, "%llu", (unsigned long long)settings->quarantine_max_bytes);
    snprintf(words->per_destination, sizeof words->per_destination, "%llu",
             (unsigned long long)settings->spool_per_destination);
    snprintf(words->warning, sizeof words->warning, "%llu ms", (unsigned long long)settings->spool_delay_warning);
    snprintf(words->life, sizeof words->life, "%llu ms", (unsigned long long)settings->spool_life);
    snprintf(words->retry_min, sizeof words->retry_min, "%llu ms", (unsigned long long)settings->spool_retry_min);
    snprintf(words->retry_max, sizeof words->retry_max, "%llu ms", (unsigned long long)settings->spool_retry_max);
    snprintf(words->lease, sizeof words->lease, "%llu ms", (unsigned long long)settings->spool_lease);
}

struct spool *spool_new(const struct spool_options *options)
{
    struct spool *spool = xcalloc(1, sizeof *spool);
    spool->options = *options;
    write_words(&spool->words, options->settings);
    spool->leases = leases_new(spool);
    spool->stores = stores_new(spool);
    spool->results = results_new(spool);
    spool->gauges = gauges_new(spool);
    return spool;
}

void spool_database_up(struct spool *spool)
{
    for (size_t i = 0; i < SPOOL_CONNECTIONS; i++)
        db_start(spool->connections[i]);
}

bool spool_is_up(const struct spool *spool)
{
    for (size_t i = 0; i < SPOOL_CONNECTIONS; i++)
        if (!db_is_up(spool->connections[i]))
            return false;
    return true;
}

void spool_drain(struct spool *spool)
{
    leases_drain(spool->leases);
}

void spool_free(struct spool **freed)
{
    struct spool *spool = *freed;
    *freed = NULL;
    if (spool == NULL)
        return;
    stores_free(&spool->stores);
    results_free(&spool->results);
    leases_free(&spool->leases);
    gauges_free(&spool->gauges);
    free(spool);
}

void spool_expose(const struct spool *spool, struct exposition *exposition)
{
    gauges_expose(spool->gauges, exposition);
}

json_t *spool_counts(const struct spool *spool)
{
    return gauges_counts(spool->gauges);
}

struct db *spool_connect(struct spool *spool, const char *role, void (*up)(void *), void (*down)(void *),
                         void (*notified)(void *, const char *), void *arg)
{
    char *application = xasprintf("weir %s %s", spool->options.name, role);
    /* Whoever turned synchronous_commit off did not think of mail. Plans are kept for long, and may be made while the
     * spool is empty: they must be those for a full one, which are by index throughout; so nothing is won by making them
     * anew for each call's arrays, which PostgreSQL does unless told, at a quarter of a batch's cost.
     * A lock that another coordinator does not let go of is no database that does not answer: half of its timeout. */
    char *setup = xasprintf("SELECT set_config('synchronous_commit', 'on', false)"
                            " WHERE current_setting('synchronous_commit') = 'off';"
                            " SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;"
                            " SET plan_cache_mode = force_generic_plan; SET lock_timeout = %llu; %s",
                            (unsigned long long)spool->options.settings->database_timeout / 2 + 1, notified != NULL ? "LISTEN weir_spool;" : "");
    char *labels = xasprintf("connection=\"%s\"", role);
    struct db_options options = {
        .conninfo = spool->options.conninfo,
        .application_name = application,
        .setup = setup,
        .lineage = spool->options.lineage,
        .later = true,
        .labels = labels,
        .metrics = spool->options.metrics,
        .connect_timeout_ms = spool->options.settings->database_connect_timeout,
        .answer_timeout_ms = spool->options.settings->database_timeout,
        .session_timeout_ms = spool->options.settings->database_session,
        .up = up,
        .down = down,
        .notified = notified,
        .arg = arg,
    };
    struct db *db = db_new(spool->options.base, &options);
    weir_assert(spool->connection_count < SPOOL_CONNECTIONS);
    spool->connections[spool->connection_count++] = db;
    free(application);
    free(setup);
    free(labels);
    return db;
}

void spool_types_ask(struct db *db, db_rows_handler rows, db_done_handler done, void *arg)
{
    struct db_unit *unit = db_begin(db, done, arg);
    db_query(unit,
             "SELECT 'spool_new_message'::regtype::oid, 'spool_new_part'::regtype::oid, 'spool_new_recipient'::regtype::oid, "
             "'spool_new_entry'::regtype::oid",
             0, NULL, rows);
    db_commit(unit);
}

void spool_types_take(struct spool *spool, const PGresult *result)
{
    for (int i = 0; i < SPOOL_TYPES; i++)
        spool->types[i] = (uint32_t)strtoul(PQgetvalue(result, 0, i), NULL, 10);
    spool->types_known = true;
    results_go_on(spool->results);
}

bool spool_types_are_others(struct spool *spool, const struct db_error *error)
{
    bool others = strcmp(error->sqlstate, "42804") == 0; /* datatype_mismatch: they are of another database */
    if (others)
        spool->types_known = false;
    return others;
}

void spool_disk_full(struct spool *spool)
{
    spool->options.disk_full(spool->options.arg);
}

char *spool_clean(const ProtobufCBinaryData *bytes)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, bytes->data, bytes->len, SPOOL_TEXT_MAX);
    char *copy = xstrdup(clean.data);
    text_fini(&clean);
    return copy;
}

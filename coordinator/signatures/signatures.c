/*
 * signatures.c - see signatures.h
 *
 * A look:  nothing --due--> RESTORING --what there is--> LOOKING (a process) --files--> STORING --set--> nothing
 *                                                           \-- nothing new, or failed --------------> nothing
 */
#include "coordinator/signatures/signatures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/signatures/look.h"
#include "coordinator/signatures/restore.h"
#include "coordinator/signatures/serve.h"
#include "coordinator/signatures/store.h"
#include "coordinator/text.h"

#define SOON_MS 300 /* from step to step while a set is on its way */

struct signatures {
    struct signatures_options options;
    struct serve *serve;
    struct restore *restore;
    struct look *look;
    struct store *store;
    bool stepping, under_way; /* under_way: a set is on its way to the scanners */
    struct event *soon;
    char *number; /* of the look that is due, or under way; NULL: none */
    char words[512];     /* what failed of it */
    struct metric *looks_ok, *looks_failed, *sets, *restored;
};

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    signatures_turn(arg);
}

struct signatures *signatures_new(const struct signatures_options *options)
{
    struct signatures *signatures = xcalloc(1, sizeof *signatures);
    signatures->options = *options;
    signatures->soon = evtimer_new(options->base, on_soon, signatures);
    signatures->serve = serve_new(options->db, options->questions, options->metrics);
    signatures->looks_ok = metrics_counter(options->metrics, "weir_signature_looks_total", "result=\"ok\"");
    signatures->looks_failed = metrics_counter(options->metrics, "weir_signature_looks_total", "result=\"failed\"");
    signatures->sets = metrics_counter(options->metrics, "weir_signature_sets_made_total", NULL);
    signatures->restored = metrics_counter(options->metrics, "weir_signature_files_restored_total", NULL);
    return signatures;
}

static void forget_look(struct signatures *signatures)
{
    free(signatures->number);
    signatures->number = NULL;
}

void signatures_rest(struct signatures *signatures)
{
    event_del(signatures->soon);
    restore_abandon(&signatures->restore);
    look_free(&signatures->look);
    store_abandon(&signatures->store);
    forget_look(signatures);
}

void signatures_free(struct signatures **freed)
{
    struct signatures *signatures = *freed;
    *freed = NULL;
    if (signatures == NULL)
        return;
    signatures_rest(signatures);
    event_free(signatures->soon);
    serve_free(&signatures->serve);
    free(signatures);
}

/* --- a look --- */

/* Where this is lost the next turn finds the look not ended, and does it again. */
static void on_looked(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    (void)arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: signatures: %s", error->why.text);
}

static void end_look(struct signatures *signatures, const char *how, const char *words)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, words, strlen(words), sizeof signatures->words);
    const char *const values[] = { signatures->number, how, clean.data };
    struct db_unit *unit = db_begin(signatures->options.db, on_looked, NULL);
    db_query(unit, "SELECT signature_looked($1::bigint, $2, $3)", 3, values, NULL);
    db_commit(unit);
    text_fini(&clean);
    if (strcmp(how, "off") != 0)
        metric_add(strcmp(how, "ok") == 0 ? signatures->looks_ok : signatures->looks_failed, 1);
    forget_look(signatures);
}

static void on_stored(void *arg, const char *how, const char *words)
{
    struct signatures *signatures = arg;
    signatures->store = NULL;
    if (how != NULL && (strcmp(how, "new") == 0 || strcmp(how, "again") == 0)) {
        metric_add(signatures->sets, 1);
        log_write(LOG_NOTICE, "signatures: the mirrors have a set that is not in use");
        event_add(signatures->soon, &(struct timeval){ 0, 0 });
    }
    if (how != NULL && strcmp(how, "stale") == 0) {
        size_t used = strlen(signatures->words);
        snprintf(signatures->words + used, sizeof signatures->words - used, "; %s has older files of these or none: no set is made", signatures->options.name);
    }
    if (how == NULL) {
        log_write(LOG_ERR, "signatures: not stored: %s", words);
        end_look(signatures, "failed", words);
    } else {
        end_look(signatures, signatures->words[0] == '\0' ? "ok" : "failed", signatures->words);
    }
}

static void on_found(void *arg, const struct look_result *result)
{
    struct signatures *signatures = arg;
    signatures->look = NULL;
    memcpy(signatures->words, result->words, sizeof signatures->words);
    if (result->count == 0) {
        end_look(signatures, "failed", result->words[0] != '\0' ? result->words : "there are no signature files");
        return;
    }
    char *folder = xasprintf("%s/set", signatures->options.settings->signature_work);
    signatures->store = store_new(signatures->options.db, signatures->options.name, folder, result, on_stored, signatures);
    free(folder);
}

static void on_restored(void *arg, const char *failure)
{
    struct signatures *signatures = arg;
    struct error why;
    signatures->restore = NULL;
    if (failure != NULL)
        log_write(LOG_WARNING, "signatures: what the database has is not taken from there: %s", failure);
    signatures->look = look_new(signatures->options.base, signatures->options.settings, on_found, signatures, &why);
    if (signatures->look == NULL) {
        log_write(LOG_ERR, "signatures: %s", why.text);
        end_look(signatures, "failed", why.text);
    }
}

static void begin_look(struct signatures *signatures)
{
    const struct coordinator_settings *settings = signatures->options.settings;
    signatures->words[0] = '\0';
    if (settings->signature_mirrors.count == 0 && settings->signature_urls.count == 0 && settings->signature_folder[0] == '\0') {
        end_look(signatures, "off", "no signature_mirrors, signature_urls or signature_folder in this coordinator's configuration");
        return;
    }
    signatures->restore = restore_new(signatures->options.db, settings, signatures->restored, on_restored, signatures);
}

/* --- a step --- */

static void on_steps(void *arg, const PGresult *result)
{
    struct signatures *signatures = arg;
    signatures->under_way = false;
    for (int row = 0; row < PQntuples(result); row++) {
        signatures->under_way = signatures->under_way || PQgetvalue(result, row, 2)[0] == 't';
        if (PQgetisnull(result, row, 1))
            continue;
        log_write(PQgetvalue(result, row, 0)[0] == 't' ? LOG_ERR : LOG_NOTICE, "signatures: %s", PQgetvalue(result, row, 1));
    }
}

static void on_due(void *arg, const PGresult *result)
{
    struct signatures *signatures = arg;
    if (PQntuples(result) == 1)
        signatures->number = xstrdup(PQgetvalue(result, 0, 0));
}

static void on_stepped(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct signatures *signatures = arg;
    signatures->stepping = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: signatures: %s", error->why.text);
    bool begun = signatures->restore != NULL || signatures->look != NULL || signatures->store != NULL;
    if (outcome == DB_OK && signatures->number != NULL && !begun)
        begin_look(signatures);
    else if (outcome != DB_OK && !begun)
        forget_look(signatures);
    if (outcome == DB_OK && signatures->under_way)
        event_add(signatures->soon, &(struct timeval){ 0, SOON_MS * 1000 });
}

void signatures_turn(struct signatures *signatures)
{
    const struct coordinator_settings *settings = signatures->options.settings;
    char silence[32], trial[32], patience[32], keep[24], ends[24], loads[24], every[32];
    if (signatures->stepping)
        return;
    snprintf(silence, sizeof silence, "%llu ms", (unsigned long long)signatures->options.node_timeout_ms);
    snprintf(trial, sizeof trial, "%llu ms", (unsigned long long)settings->signature_canary_time);
    snprintf(patience, sizeof patience, "%llu ms", (unsigned long long)settings->signature_load_time);
    snprintf(keep, sizeof keep, "%llu", (unsigned long long)settings->signature_sets);
    snprintf(ends, sizeof ends, "%llu", (unsigned long long)settings->signature_canary_ends);
    snprintf(loads, sizeof loads, "%llu", (unsigned long long)settings->signature_loads);
    snprintf(every, sizeof every, "%llu ms", (unsigned long long)settings->signature_interval);
    const char *const step[] = { silence, trial, patience, keep, ends, loads };
    const char *const look[] = { signatures->options.name, every };
    signatures->stepping = true;
    struct db_unit *unit = db_begin(signatures->options.db, on_stepped, signatures);
    db_query(unit, "SELECT failed, words, under_way FROM signature_step($1::interval, $2::interval, $3::interval, $4::integer, $5::integer, $6::bigint)", 6, step, on_steps);
    if (signatures->number == NULL)
        db_query(unit, "SELECT number FROM signature_look($1, $2::interval) AS number WHERE number IS NOT NULL", 2, look, on_due);
    db_commit(unit);
}

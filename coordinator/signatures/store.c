/*
 * store.c - see store.h
 *
 * One unit of work at a time: which files are missing; then for each of them one chunk after the other; then the set.
 */
#include "coordinator/signatures/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/memory.h"
#include "coordinator/rows.h"
#include "proto/wire.h"

struct store {
    struct db *db;
    char *coordinator, *folder;
    struct look_result result;
    store_done_handler done; /* NULL: nobody waits any more */
    void *arg;
    uint64_t next[SIGNATURE_FILES_MAX]; /* chunk of each file that is to be stored; UINT64_MAX: none */
    size_t file;                        /* the one under way */
    int fd;
    char *chunk;
    char *how;
};

static void store_free(struct store *store)
{
    if (store->fd >= 0)
        close(store->fd);
    free(store->chunk);
    free(store->how);
    free(store->folder);
    free(store->coordinator);
    free(store);
}

static void finish(struct store *store, const char *words)
{
    if (store->done != NULL)
        store->done(store->arg, words == NULL ? store->how : NULL, words != NULL ? words : "");
    store_free(store);
}

void store_abandon(struct store **store)
{
    if (*store != NULL)
        (*store)->done = NULL;
    *store = NULL;
}

/* true: it goes on. */
static bool succeeded(struct store *store, enum db_outcome outcome, const struct db_error *error)
{
    if (outcome == DB_OK && store->done != NULL)
        return true;
    finish(store, outcome == DB_FAILED ? error->why.text : "the database went away");
    return false;
}

/* --- the set --- */

static void on_how(void *arg, const PGresult *result)
{
    struct store *store = arg;
    if (PQntuples(result) == 1)
        store->how = xstrdup(PQgetvalue(result, 0, 0));
}

static void on_added(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct store *store = arg;
    if (succeeded(store, outcome, error))
        finish(store, store->how == NULL || strcmp(store->how, "incomplete") == 0 ? "what was stored is not complete" : NULL);
}

static void add_set(struct store *store)
{
    struct rows rows, doubts;
    rows_init(&rows, 2);
    rows_init(&doubts, 1);
    for (size_t i = 0; i < store->result.doubt_count; i++) {
        rows_string(&doubts, store->result.doubts[i]);
        rows_end(&doubts);
    }
    for (size_t i = 0; i < store->result.count; i++) {
        rows_string(&rows, store->result.files[i].name);
        rows_string(&rows, store->result.files[i].hash);
        rows_end(&rows);
    }
    const char *const *columns = rows_values(&rows);
    const char *const values[] = { store->coordinator, store->result.id, columns[0], columns[1], rows_values(&doubts)[0] };
    struct db_unit *unit = db_begin(store->db, on_added, store);
    db_query(unit, "SELECT signature_add($1, $2, $3::text[], $4::text[], $5::text[])", 5, values, on_how);
    db_commit(unit);
    rows_fini(&doubts);
    rows_fini(&rows);
}

/* --- its files --- */

static void go_on(struct store *store);

static void on_put(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct store *store = arg;
    if (succeeded(store, outcome, error))
        go_on(store);
}

/* 0: the file has ended, -1: errno. */
static ssize_t read_chunk(struct store *store)
{
    const struct signature_file *file = &store->result.files[store->file];
    if (store->fd < 0) {
        char *path = xasprintf("%s/%s", store->folder, file->name);
        store->fd = open(path, O_RDONLY | O_CLOEXEC);
        free(path);
    }
    return store->fd < 0 ? -1 : pread(store->fd, store->chunk, WIRE_SIGNATURE_CHUNK, (off_t)(store->next[store->file] * WIRE_SIGNATURE_CHUNK));
}

static void put_chunk(struct store *store, size_t len)
{
    char place[24];
    snprintf(place, sizeof place, "%llu", (unsigned long long)store->next[store->file]++);
    const struct db_value values[] = { { .data = store->result.files[store->file].hash }, { .data = place },
                                       { .data = store->chunk, .len = len, .binary = true } };
    struct db_unit *unit = db_begin(store->db, on_put, store);
    db_query_values(unit, "SELECT signature_put($1, $2::integer, $3)", 3, values, false, NULL);
    db_commit(unit);
}

static void go_on(struct store *store)
{
    for (; store->file < store->result.count; store->file++) {
        if (store->next[store->file] == UINT64_MAX)
            continue;
        ssize_t len = read_chunk(store);
        if (len > 0) {
            put_chunk(store, (size_t)len);
            return;
        }
        if (len < 0) {
            finish(store, strerror(errno));
            return;
        }
        close(store->fd);
        store->fd = -1;
    }
    add_set(store);
}

static void on_missing(void *arg, const PGresult *result)
{
    struct store *store = arg;
    for (int row = 0; row < PQntuples(result); row++)
        for (size_t i = 0; i < store->result.count; i++)
            if (strcmp(store->result.files[i].hash, PQgetvalue(result, row, 0)) == 0) {
                store->next[i] = strtoull(PQgetvalue(result, row, 1), NULL, 10);
                break; /* the same file under a second name is stored once */
            }
}

static void on_begun(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct store *store = arg;
    if (succeeded(store, outcome, error))
        go_on(store);
}

struct store *store_new(struct db *db, const char *coordinator, const char *folder, const struct look_result *result, store_done_handler done, void *arg)
{
    struct store *store = xcalloc(1, sizeof *store);
    *store = (struct store){ .db = db, .coordinator = xstrdup(coordinator), .folder = xstrdup(folder), .result = *result, .done = done, .arg = arg, .fd = -1,
                             .chunk = xmalloc(WIRE_SIGNATURE_CHUNK) };
    struct rows rows;
    rows_init(&rows, 3);
    for (size_t i = 0; i < result->count; i++) {
        store->next[i] = UINT64_MAX;
        rows_string(&rows, result->files[i].hash);
        rows_number(&rows, (int64_t)result->files[i].size);
        rows_number(&rows, (int64_t)result->files[i].time_ms);
        rows_end(&rows);
    }
    struct db_unit *unit = db_begin(db, on_begun, store);
    db_query(unit, "SELECT file, chunks FROM signature_missing($1::text[], $2::bigint[], $3::bigint[])", 3, rows_values(&rows), on_missing);
    db_commit(unit);
    rows_fini(&rows);
    return store;
}

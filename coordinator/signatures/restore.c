/*
 * restore.c - see restore.h
 *
 * One unit of work at a time: the list, then one chunk after the other of each file that is missing here.
 */
#include "coordinator/signatures/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/signature_set.h"
#include "coordinator/signatures/sources.h"

struct restore {
    struct db *db;
    const struct coordinator_settings *settings;
    struct metric *restored;
    restore_done_handler done; /* NULL: nobody waits any more */
    void *arg;
    struct signature_file files[SIGNATURE_FILES_MAX];
    size_t count, file; /* the one under way */
    int fd;             /* of its .part */
    uint64_t have, position;
    ssize_t got; /* bytes of the chunk that came; 0: there is none, -1: errno */
    int got_errno;
};

static void ask_chunk(struct restore *restore);

static char *file_path(const struct restore *restore, const char *ending)
{
    const struct signature_file *file = &restore->files[restore->file];
    return xasprintf("%s/" RESTORE_FOLDER "/%s.%s%s", restore->settings->signature_work, file->hash, file->name, ending);
}

static void finish(struct restore *restore, const char *failure)
{
    if (restore->done != NULL)
        restore->done(restore->arg, failure);
    if (restore->fd >= 0)
        close(restore->fd);
    free(restore);
}

void restore_abandon(struct restore **restore)
{
    if (*restore != NULL)
        (*restore)->done = NULL;
    *restore = NULL;
}

static bool succeeded(struct restore *restore, enum db_outcome outcome, const struct db_error *error)
{
    if (outcome == DB_OK && restore->done != NULL)
        return true;
    finish(restore, outcome == DB_FAILED ? error->why.text : "the database went away");
    return false;
}

/* --- which --- */

/* As old as the stored one, or younger: what freshclam fetched here. */
static bool is_there(const char *folder, const char *name, uint64_t time_ms)
{
    struct stat st;
    char *path = xasprintf("%s/%s", folder, name);
    bool there = name[0] != '\0' && stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_mtim.tv_sec * 1000 >= time_ms;
    free(path);
    return there;
}

static bool is_missing(const struct restore *restore, const struct signature_file *file)
{
    const struct coordinator_settings *settings = restore->settings;
    const char *other = source_other_form(file->name);
    if (!source_is_wanted(file->name, settings->signature_mirrors.count > 0, settings->signature_urls.items, settings->signature_urls.count))
        return false;
    if (settings->signature_folder[0] != '\0' && is_there(settings->signature_folder, file->name, 0))
        return false; /* it is most likely the site's, which is in the set in place of the mirror's */
    char *db = xasprintf("%s/db", settings->signature_work);
    bool missing = !is_there(db, file->name, file->time_ms) && (other == NULL || !is_there(db, other, file->time_ms));
    free(db);
    return missing;
}

static void on_list(void *arg, const PGresult *rows)
{
    struct restore *restore = arg;
    for (int row = 0; row < PQntuples(rows) && restore->count < SIGNATURE_FILES_MAX; row++) {
        struct signature_file *file = &restore->files[restore->count];
        snprintf(file->name, sizeof file->name, "%s", PQgetvalue(rows, row, 0));
        snprintf(file->hash, sizeof file->hash, "%s", PQgetvalue(rows, row, 1));
        file->size = strtoull(PQgetvalue(rows, row, 2), NULL, 10);
        file->time_ms = strtoull(PQgetvalue(rows, row, 3), NULL, 10);
        if (signature_name_is_valid(file->name) && is_missing(restore, file))
            restore->count++;
    }
}

/* --- their bytes --- */

/* false: why not. */
static bool begin_file(struct restore *restore)
{
    char *folder = xasprintf("%s/" RESTORE_FOLDER, restore->settings->signature_work), *path = file_path(restore, ".part");
    mkdir(restore->settings->signature_work, 0700);
    mkdir(folder, 0700);
    restore->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    restore->have = restore->position = 0;
    free(path);
    free(folder);
    return restore->fd >= 0;
}

static bool end_file(struct restore *restore)
{
    const struct signature_file *file = &restore->files[restore->file];
    char *part = file_path(restore, ".part"), *path = file_path(restore, "");
    struct timespec time = { .tv_sec = (time_t)(file->time_ms / 1000) };
    bool fine = futimens(restore->fd, (struct timespec[]){ time, time }) == 0 && rename(part, path) == 0;
    close(restore->fd);
    restore->fd = -1;
    restore->file++;
    free(part);
    free(path);
    if (fine)
        metric_add(restore->restored, 1);
    return fine;
}

static void go_on(struct restore *restore)
{
    for (bool fine = true; fine; fine = end_file(restore)) {
        if (restore->file == restore->count) {
            finish(restore, NULL);
            return;
        }
        if (restore->fd < 0 && !begin_file(restore))
            break;
        if (restore->have < restore->files[restore->file].size) {
            ask_chunk(restore);
            return;
        }
    }
    finish(restore, strerror(errno));
}

static void on_chunk(void *arg, const PGresult *rows)
{
    struct restore *restore = arg;
    if (PQntuples(rows) != 1)
        return;
    int len = PQgetlength(rows, 0, 1);
    restore->got = write(restore->fd, PQgetvalue(rows, 0, 1), (size_t)len);
    restore->got_errno = restore->got < 0 ? errno : ENOSPC;
    if (restore->got != len)
        restore->got = -1;
}

static void on_asked(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct restore *restore = arg;
    if (!succeeded(restore, outcome, error))
        return;
    if (restore->got <= 0) {
        finish(restore, restore->got < 0 ? strerror(restore->got_errno) : "it was removed meanwhile");
        return;
    }
    restore->have += (uint64_t)restore->got;
    restore->position++;
    go_on(restore);
}

static void ask_chunk(struct restore *restore)
{
    char place[24];
    snprintf(place, sizeof place, "%llu", (unsigned long long)restore->position);
    const struct db_value values[] = { { .data = restore->files[restore->file].hash }, { .data = place } };
    restore->got = 0;
    struct db_unit *unit = db_begin(restore->db, on_asked, restore);
    db_query_values(unit, "SELECT size, data FROM signature_fetch($1, $2::integer)", 2, values, true, on_chunk);
    db_commit(unit);
}

static void on_listed(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct restore *restore = arg;
    if (!succeeded(restore, outcome, error))
        return;
    if (restore->count > 0)
        log_write(LOG_NOTICE, "signatures: %zu files are taken from the database, so that the mirrors are asked only what is new since", restore->count);
    go_on(restore);
}

struct restore *restore_new(struct db *db, const struct coordinator_settings *settings, struct metric *files, restore_done_handler done, void *arg)
{
    struct restore *restore = xcalloc(1, sizeof *restore);
    *restore = (struct restore){ .db = db, .settings = settings, .restored = files, .done = done, .arg = arg, .fd = -1 };
    struct db_unit *unit = db_begin(db, on_listed, restore);
    db_query(unit, "SELECT name, hash, size, time_ms FROM signature_list(signature_newest())", 0, NULL, on_list);
    db_commit(unit);
    return restore;
}

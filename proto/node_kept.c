/*
 * node_kept.c - audit rows that nobody had acknowledged when a process ended, in a file for the next one
 *
 *     magic | (u32 length of the frame | u64 FNV-1a of it | frame)... | u32 0
 *
 * in host order; each frame is a Report as it would go to a coordinator, so what is read has been through wire_decode().
 * A checksum for each, and not one at the end: then a file of any size is read in one go and with little memory.
 */
#include "proto/node_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "proto/node_cache.h"

#define MAGIC     "weir-audit-1\n"
#define MAGIC_LEN (sizeof MAGIC - 1)

struct node_kept {
    const char *folder, *name;
    unsigned worker, workers;
    unsigned next, end; /* whose file is to be looked for next; end: all were */
    struct node_reports *reports;
    char *path;    /* whose rows are being handed in; NULL: none */
    size_t handed; /* rows of it that were taken up */
    struct metric *damaged;
};

static char *path_of(const struct node_kept *kept, unsigned worker)
{
    return xasprintf("%s/%s.%u.audit", kept->folder, kept->name, worker);
}

/* --- reading --- */

static bool get(FILE *file, void *bytes, size_t len, struct error *why)
{
    if (fread(bytes, 1, len, file) == len)
        return true;
    error_set(why, "%s", ferror(file) ? strerror(errno) : "it ends too early");
    return false;
}

static bool damaged(struct error *why)
{
    error_set(why, "damaged");
    return false;
}

static bool take_frame(struct node_kept *kept, const uint8_t *bytes, size_t len, struct error *why)
{
    Weir__Frame *frame = wire_decode(bytes, len, 0, why);

    if (frame == NULL)
        return false;
    bool ours = frame->body_case == WEIR__FRAME__BODY_REPORT && wire_equal(&frame->report->node, kept->name);
    if (!ours)
        error_set(why, "these are not %s's", kept->name);
    for (size_t i = 0; ours && i < frame->report->n_rows; i++, kept->handed++)
        node_reports_add_kept(kept->reports, frame->report->rows[i]);
    wire_free(&frame);
    return ours;
}

static bool take_file(struct node_kept *kept, FILE *file, struct error *why)
{
    char magic[MAGIC_LEN];
    uint32_t len;
    uint64_t sum;

    if (!get(file, magic, sizeof magic, why))
        return false;
    if (memcmp(magic, MAGIC, sizeof magic) != 0)
        return damaged(why);
    uint8_t *bytes = xmalloc(WIRE_FRAME_MAX);
    bool ok;
    while ((ok = get(file, &len, sizeof len, why)) && len != 0) {
        ok = (len <= WIRE_FRAME_MAX || damaged(why)) && get(file, &sum, sizeof sum, why) && get(file, bytes, len, why) &&
             (sum == node_cache_checksum(bytes, len) || damaged(why)) && take_frame(kept, bytes, len, why);
        if (!ok)
            break;
    }
    free(bytes);
    return ok && (fgetc(file) == EOF || damaged(why));
}

/* NULL: why. */
static FILE *open_file(const char *path, struct error *why)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);

    if (fd < 0) {
        error_set(why, "%s", strerror(errno));
        return NULL;
    }
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        error_set(why, "not a file");
        close(fd);
        return NULL;
    }
    FILE *file = fdopen(fd, "r");
    if (file == NULL)
        fatal("out of memory");
    return file;
}

static void set_aside(struct node_kept *kept, const char *path, const struct error *why)
{
    char *aside = xasprintf("%s.damaged", path);
    bool moved = rename(path, aside) == 0;

    log_write(LOG_ERR, "report: audit rows of a former process in %s are of no use after %zu rows: %s; %s %s", path, kept->handed,
              why->text, moved ? "set aside as" : "it cannot be renamed to", aside);
    metric_add(kept->damaged, 1);
    free(aside);
}

/* Of one worker. Sets kept->path where there are rows to hand in from a file that stays meanwhile. */
static void take_up(struct node_kept *kept, unsigned worker)
{
    struct error why;
    char *path = path_of(kept, worker);
    struct stat status;

    if (lstat(path, &status) != 0 && errno == ENOENT) {
        free(path);
        return;
    }
    FILE *file = open_file(path, &why);
    if (file != NULL && take_file(kept, file, &why)) {
        log_write(LOG_NOTICE, "report: %zu audit rows of a former process are taken up from %s", kept->handed, path);
        kept->path = path;
    } else {
        set_aside(kept, path, &why);
        free(path);
    }
    if (file != NULL)
        fclose(file);
}

void node_kept_look(struct node_kept *kept)
{
    while (node_reports_kept_count(kept->reports) == 0) {
        if (kept->path != NULL) {
            log_write(LOG_NOTICE, "report: the %zu audit rows of %s are handed in", kept->handed, kept->path);
            if (unlink(kept->path) != 0)
                log_write(LOG_ERR, "report: %s: %s; it will be handed in again, which changes nothing", kept->path,
                          strerror(errno));
            free(kept->path);
            kept->path = NULL;
        }
        if (kept->next >= kept->end)
            return;
        unsigned worker = kept->next;
        kept->next = worker == 0 ? kept->workers : worker + 1;
        kept->handed = 0;
        take_up(kept, worker);
    }
}

/* --- writing --- */

struct writer {
    const struct node_kept *kept;
    FILE *file;
};

static bool put_report(void *arg, Weir__Report *report)
{
    const struct writer *writer = arg;
    Weir__Frame frame = WEIR__FRAME__INIT;
    size_t len;

    report->node = wire_text(writer->kept->name);
    report->worker = writer->kept->worker;
    frame.body_case = WEIR__FRAME__BODY_REPORT;
    frame.report = report;
    uint8_t *bytes = wire_encode(&frame, &len);
    weir_assert(bytes != NULL); /* its rows are a frame's worth */
    uint32_t head = (uint32_t)len;
    uint64_t sum = node_cache_checksum(bytes, len);
    bool ok = fwrite(&head, sizeof head, 1, writer->file) == 1 && fwrite(&sum, sizeof sum, 1, writer->file) == 1 &&
              fwrite(bytes, len, 1, writer->file) == 1;
    free(bytes);
    return ok;
}

static bool write_rows(const struct node_kept *kept, FILE *file)
{
    struct writer writer = { kept, file };
    uint32_t end = 0;

    return fwrite(MAGIC, MAGIC_LEN, 1, file) == 1 && node_reports_each(kept->reports, put_report, &writer) &&
           fwrite(&end, sizeof end, 1, file) == 1 && fflush(file) == 0 && fsync(fileno(file)) == 0;
}

static bool write_file(const struct node_kept *kept, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (file == NULL) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool ok = write_rows(kept, file);
    int error = errno;
    ok = fclose(file) == 0 && ok;
    errno = ok ? 0 : error != 0 ? error : errno;
    return ok;
}

/* So that the new name outlives a power cut, too. */
static bool sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return ok;
}

/* The own file now has all that waits; another worker's that was being handed in has said what it had to say. */
static void replace_path(struct node_kept *kept, char *path)
{
    if (kept->path != NULL && strcmp(kept->path, path) != 0)
        unlink(kept->path);
    free(kept->path);
    kept->path = path;
}

bool node_kept_write(struct node_kept *kept, struct error *why)
{
    char *path = path_of(kept, kept->worker), *fresh = xasprintf("%s.new", path);
    size_t rows = node_reports_pending_count(kept->reports);
    bool ok = write_file(kept, fresh) && rename(fresh, path) == 0 && sync_folder(kept->folder);

    if (ok) {
        log_write(LOG_NOTICE, "report: %zu audit rows that no coordinator took are in %s, for the next start", rows, path);
        replace_path(kept, path);
    } else {
        error_set(why, "%s: %s", path, strerror(errno));
        unlink(fresh);
        free(path);
    }
    free(fresh);
    return ok;
}

/* --- beginning and end --- */

struct node_kept *node_kept_new(const char *folder, const char *name, unsigned worker, unsigned workers,
                                struct node_reports *reports, struct metrics *metrics)
{
    struct node_kept *kept = xcalloc(1, sizeof *kept);

    kept->folder = folder;
    kept->name = name;
    kept->worker = worker;
    kept->reports = reports;
    kept->damaged = metrics_counter(metrics, "weir_reports_files_damaged_total", NULL);
    kept->workers = workers > 0 ? workers : 1;
    kept->next = worker;
    kept->end = worker == 0 ? NODE_KEPT_WORKERS_MAX : worker + 1;
    node_kept_look(kept);
    return kept;
}

void node_kept_free(struct node_kept **taken)
{
    if (*taken == NULL)
        return;
    free((*taken)->path);
    free(*taken);
    *taken = NULL;
}

/*
 * node_kept.c - audit rows that nobody had acknowledged when a process ended, in a file for the next one
 *
 *     magic | (u32 length of the frame | u64 FNV-1a of it | frame)... | u32 0
 *
 * in host order; each frame is a Report as it would go to a coordinator, so what is read has been through wire_decode().
 * A checksum for each, and not one at the end: then a file of any size is read with little memory, and from any frame on.
 *
 * Of a file, some rows are in memory: a window. It leaves half of the buffer to newer rows, but has one row at least; and
 * has no more than WINDOW_MAX, for the loop waits while they are read. When none of it is left in memory, the next window
 * begins behind it; or at the same row, where so many newer rows came that some were pushed out all the same: what is
 * handed in twice makes no second audit row. The file ends as long as the rows that come while a window is handed in are
 * fewer than half of the buffer has room for.
 */
#include "proto/node_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/kept_file.h"
#include "common/log.h"
#include "common/memory.h"
#include "proto/wire.h"

#define MAGIC     "weir-audit-1\n"
#define MAGIC_LEN (sizeof MAGIC - 1)
#define WINDOW_MAX ((size_t)2 * WIRE_ROWS_MAX) /* rows; over one batch, so that the first is full and goes out at once */

/* Where a frame begins in its file, and how many rows are in front of it. */
struct place {
    long at;
    size_t row;
};

struct node_kept {
    const char *folder, *name;
    unsigned worker, workers;
    unsigned next_worker, end; /* whose file is to be looked for next; end: all were */
    struct node_reports *reports;
    char *path;               /* whose rows are being handed in; NULL: none */
    size_t from, to;          /* of it: the rows of the window, the last one not included */
    struct place first, next; /* the frames with those two rows */
    size_t left;              /* at least so many rows are behind the window */
    bool told;                /* that some were pushed out */
    bool told_closed;         /* that it cannot be opened for now */
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

struct reader {
    struct node_kept *kept;
    FILE *file;
    size_t row;                  /* the next one's number */
    size_t have_from, have_to;   /* rows in memory or acknowledged, the last one not included */
    size_t taken, left;          /* left: no room, or no part of the window */
    size_t left_row;             /* the first of those */
    struct place left_place;     /* its frame */
    bool to_end;                 /* up to the last place of the buffer; and counts all that are left */
    bool closed;                 /* it could not be opened for now, and stays */
};

static bool window_goes_on(const struct reader *reader)
{
    return reader->taken == 0 || (reader->taken < WINDOW_MAX && node_reports_half_is_free(reader->kept->reports));
}

static void take_row(struct reader *reader, const Weir__AuditRow *row, struct place place)
{
    size_t number = reader->row++;

    if (number < reader->kept->from || (number >= reader->have_from && number < reader->have_to))
        return;
    if (reader->left == 0 && (reader->to_end || window_goes_on(reader)) && node_reports_add_kept(reader->kept->reports, row)) {
        reader->taken++;
        return;
    }
    if (reader->left++ == 0)
        reader->left_row = number, reader->left_place = place;
}

static bool take_frame(struct reader *reader, const uint8_t *bytes, size_t len, struct place place, struct error *why)
{
    Weir__Frame *frame = wire_decode(bytes, len, 0, why);

    if (frame == NULL)
        return false;
    bool ours = frame->body_case == WEIR__FRAME__BODY_REPORT && wire_equal(&frame->report->node, reader->kept->name);
    if (!ours)
        error_set(why, "these are not %s's", reader->kept->name);
    for (size_t i = 0; ours && i < frame->report->n_rows; i++)
        take_row(reader, frame->report->rows[i], place);
    wire_free(&frame);
    return ours;
}

static bool take_frames(struct reader *reader, struct error *why)
{
    uint8_t *bytes = xmalloc(WIRE_FRAME_MAX);
    FILE *file = reader->file;
    uint32_t len = 0;
    uint64_t sum;
    bool ok = true, end = false;

    while (ok && !end && (reader->left == 0 || reader->to_end)) {
        struct place place = { ftell(file), reader->row };
        ok = get(file, &len, sizeof len, why);
        end = ok && len == 0;
        if (ok && !end)
            ok = (len <= WIRE_FRAME_MAX || damaged(why)) && get(file, &sum, sizeof sum, why) && get(file, bytes, len, why) &&
                 (sum == kept_file_sum(bytes, len) || damaged(why)) && take_frame(reader, bytes, len, place, why);
    }
    free(bytes);
    return ok && (!end || fgetc(file) == EOF || damaged(why));
}

static bool take_file(struct reader *reader, struct error *why)
{
    char magic[MAGIC_LEN];
    const struct place *first = &reader->kept->first;

    if (!get(reader->file, magic, sizeof magic, why))
        return false;
    if (memcmp(magic, MAGIC, sizeof magic) != 0 || fseek(reader->file, first->at, SEEK_SET) != 0)
        return damaged(why);
    reader->row = first->row;
    return take_frames(reader, why);
}

static bool says_nothing_of_the_file(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR;
}

/* NULL: why; closed: it is not the file's fault. */
static FILE *open_file(const char *path, bool *closed, struct error *why)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);

    if (fd < 0) {
        *closed = says_nothing_of_the_file(errno);
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

static void forget_file(struct node_kept *kept)
{
    free(kept->path);
    kept->path = NULL;
    kept->left = 0;
}

static void set_aside(struct node_kept *kept, size_t rows, const struct error *why)
{
    char *aside = xasprintf("%s.damaged", kept->path);
    bool moved = rename(kept->path, aside) == 0;

    log_write(LOG_ERR, "report: audit rows of a former process in %s are of no use after %zu rows: %s; %s %s", kept->path, rows,
              why->text, moved ? "set aside as" : "it cannot be renamed to", aside);
    metric_add(kept->damaged, 1);
    free(aside);
    forget_file(kept);
}

static void tell_closed(struct node_kept *kept, const struct error *why)
{
    if (!kept->told_closed)
        log_write(LOG_WARNING, "report: %s, with audit rows of a former process, cannot be opened for now: %s", kept->path, why->text);
    kept->told_closed = true;
}

/* Takes up rows from the window's first one on. false: the file is closed; or of no use, and no longer kept->path. */
static bool read_file(struct reader *reader)
{
    struct node_kept *kept = reader->kept;
    struct error why;
    bool good = (reader->file = open_file(kept->path, &reader->closed, &why)) != NULL && take_file(reader, &why);

    if (reader->file != NULL)
        fclose(reader->file);
    if (reader->closed)
        tell_closed(kept, &why);
    else if (!good)
        set_aside(kept, reader->row, &why);
    return good;
}

/* false: there is no room, or no way to read, for now. */
static bool take_window(struct node_kept *kept)
{
    struct reader reader = { .kept = kept };

    if (!read_file(&reader)) {
        if (reader.closed) /* an empty window */
            kept->to = kept->from, kept->next = kept->first, kept->left = 1;
        return !reader.closed;
    }
    kept->left = reader.left;
    kept->to = reader.left > 0 ? reader.left_row : reader.row;
    kept->next = reader.left_place;
    return reader.taken > 0 || reader.left == 0;
}

/* Of one worker. Sets kept->path where there are rows to hand in from a file that stays meanwhile. */
static void take_up(struct node_kept *kept, unsigned worker)
{
    struct stat status;

    kept->path = path_of(kept, worker);
    if (lstat(kept->path, &status) != 0 && errno == ENOENT) {
        forget_file(kept);
        return;
    }
    kept->from = 0;
    kept->first = (struct place){ MAGIC_LEN, 0 };
    kept->told = kept->told_closed = false;
    take_window(kept);
    if (kept->path != NULL)
        log_write(LOG_NOTICE, "report: %zu audit rows of a former process are taken up from %s%s", kept->to, kept->path,
                  kept->left > 0 ? ", and more when there is room" : "");
}

static void end_file(struct node_kept *kept)
{
    log_write(LOG_NOTICE, "report: the %zu audit rows of %s are handed in", kept->to, kept->path);
    if (unlink(kept->path) != 0)
        log_write(LOG_ERR, "report: %s: %s; it will be handed in again, which changes nothing", kept->path, strerror(errno));
    forget_file(kept);
}

/* Nothing of the window is in memory any more. false: there is no room for more now. */
static bool go_on(struct node_kept *kept, size_t pushed_out)
{
    if (pushed_out > 0 && !kept->told) {
        log_write(LOG_NOTICE, "report: %zu of the audit rows of %s made room for newer ones; they are taken up again", pushed_out, kept->path);
        kept->told = true;
    }
    if (pushed_out == 0 && kept->left == 0) {
        end_file(kept);
        return true;
    }
    if (pushed_out == 0)
        kept->from = kept->to, kept->first = kept->next;
    return take_window(kept);
}

void node_kept_look(struct node_kept *kept)
{
    while (node_reports_kept_count(kept->reports) == 0) {
        size_t pushed_out = node_reports_take_pushed_out(kept->reports).count;
        if (kept->path != NULL) {
            if (!go_on(kept, pushed_out))
                return;
            continue;
        }
        node_reports_count_dropped(kept->reports, pushed_out); /* the rest of a damaged file */
        if (kept->next_worker >= kept->end)
            return;
        unsigned worker = kept->next_worker;
        kept->next_worker = worker == 0 ? kept->workers : worker + 1;
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
    uint64_t sum = kept_file_sum(bytes, len);
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

/* Rows that are in the file and not in memory, as far as there is room; missing: how many found none. false: it cannot be read for now. */
static bool fetch_missing(struct node_kept *kept, size_t *missing, struct error *why)
{
    struct node_reports_pushed_out pushed_out = node_reports_take_pushed_out(kept->reports);

    *missing = kept->path == NULL ? pushed_out.count : 0;
    if (kept->path == NULL || (pushed_out.count == 0 && kept->left == 0))
        return true;
    struct reader reader = { .kept = kept, .have_from = kept->from + pushed_out.end, .have_to = kept->to, .to_end = true };
    node_reports_end_batch(kept->reports);
    if (!read_file(&reader) && reader.closed)
        error_set(why, "%s cannot be read, and stays", kept->path);
    *missing = reader.left;
    return !reader.closed;
}

/* The own file now has all that waits; another worker's that was being handed in has said what it had to say, or stays. */
static void replace_path(struct node_kept *kept, char *path, size_t missing)
{
    bool others = kept->path != NULL && strcmp(kept->path, path) != 0;

    if (others && missing == 0)
        unlink(kept->path);
    if (!others)
        node_reports_count_dropped(kept->reports, missing);
    forget_file(kept);
    kept->path = path;
}

bool node_kept_write(struct node_kept *kept, struct error *why)
{
    size_t missing;
    if (!fetch_missing(kept, &missing, why)) /* what is unread there must not be replaced by what is newer */
        return false;
    char *path = path_of(kept, kept->worker), *fresh = xasprintf("%s.new", path);
    size_t rows = node_reports_pending_count(kept->reports);
    bool ok = write_file(kept, fresh) && rename(fresh, path) == 0 && sync_folder(kept->folder);

    if (ok) {
        log_write(LOG_NOTICE, "report: %zu audit rows that no coordinator took are in %s, for the next start", rows, path);
        replace_path(kept, path, missing);
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
    kept->next_worker = worker;
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

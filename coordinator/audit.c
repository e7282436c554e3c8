/*
 * audit.c - reports of edges into the audit table, acknowledged when they are committed
 *
 * A batch holds the reports of one transaction. When PostgreSQL refuses a batch because of what is in it, its reports
 * are sent again one by one, so that only the guilty one is given up.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/audit.h"
#include "coordinator/records.h"
#include "coordinator/rows.h"

#define COLUMNS 32
#define BRINGS  3 /* columns of what messages brought */
#define BATCHES_MAX 2 /* transactions in flight; the second one only when it is large */
#define BATCH_LARGE 500
#define BATCH_ROWS  5000
#define GATHER_MS   20 /* for those of other edges: a transaction costs the database as much as twenty rows, and a write of its disk, and nobody waits for it */
#define GATHER_TIMES 4 /* and so many times what the last one took: where the database is slow, mail that waits for it comes first */
#define GATHER_MAX_MS 200
#define INDEXED_MAX 1024 /* bytes: an index entry has an upper limit, and exceeding it would fail the batch */
#define TEXT_MAX    2048

struct report {
    struct records rows;
    struct rows brings;
    uint64_t batch;
    audit_done_handler done;
    void *arg;
    STAILQ_ENTRY(report) link;
};
STAILQ_HEAD(report_list, report);

struct batch {
    struct audit *audit;
    struct report_list reports;
    size_t rows;
    double inserted; /* counted when they are committed */
    uint64_t begun_ms;
};

struct audit {
    struct db *db;
    struct event *timer;
    struct report_list waiting, alone; /* alone: one transaction each */
    size_t rows_max, pending, in_flight;
    size_t waiting_rows;
    uint64_t gather_ms;
    uint32_t type; /* OID of audit_new, which each database has its own of; 0: to be asked for */
    bool asking;
    bool hunt; /* what messages brought is written down, too */
    uint64_t retry_ms, retry_at_ms; /* retry_ms 0: the last batch was taken */
    struct metric *inserted, *rejected, *dropped, *failed, *pending_gauge;
};

static void on_timer(evutil_socket_t fd, short what, void *arg);

struct audit *audit_new(struct event_base *base, struct db *db, size_t rows_max, bool hunt, struct metrics *metrics)
{
    struct audit *audit = xcalloc(1, sizeof *audit);
    audit->db = db;
    audit->rows_max = rows_max;
    audit->hunt = hunt;
    audit->gather_ms = GATHER_MS;
    audit->timer = evtimer_new(base, on_timer, audit);
    STAILQ_INIT(&audit->waiting);
    STAILQ_INIT(&audit->alone);
    audit->inserted = metrics_counter(metrics, "weir_audit_rows_total", NULL);
    audit->rejected = metrics_counter(metrics, "weir_audit_rejected_total", NULL);
    audit->dropped = metrics_counter(metrics, "weir_audit_reports_dropped_total", NULL);
    audit->failed = metrics_counter(metrics, "weir_audit_batches_failed_total", NULL);
    audit->pending_gauge = metrics_gauge(metrics, "weir_audit_rows_pending", NULL);
    return audit;
}

size_t audit_pending(const struct audit *audit)
{
    return audit->pending;
}

static void report_finish(struct audit *audit, struct report *report, bool committed)
{
    audit->pending -= report->rows.count;
    metric_set(audit->pending_gauge, (double)audit->pending);
    report->done(report->arg, report->batch, committed);
    records_fini(&report->rows);
    rows_fini(&report->brings);
    free(report);
}

static struct report *report_pop(struct report_list *list)
{
    struct report *report = STAILQ_FIRST(list);
    STAILQ_REMOVE_HEAD(list, link);
    return report;
}

void audit_free(struct audit **freed)
{
    struct audit *audit = *freed;
    *freed = NULL;
    if (audit == NULL)
        return;
    while (!STAILQ_EMPTY(&audit->waiting))
        report_finish(audit, report_pop(&audit->waiting), false);
    while (!STAILQ_EMPTY(&audit->alone))
        report_finish(audit, report_pop(&audit->alone), false);
    event_free(audit->timer);
    free(audit);
}

static void schedule(struct audit *audit)
{
    if (!STAILQ_EMPTY(&audit->alone) || audit->waiting_rows >= BATCH_LARGE)
        event_add(audit->timer, &(struct timeval){ 0, 0 });
    else if (!STAILQ_EMPTY(&audit->waiting) && !event_pending(audit->timer, EV_TIMEOUT, NULL))
        event_add(audit->timer, &(struct timeval){ 0, (suseconds_t)audit->gather_ms * 1000 });
}

static void add_text(struct records *rows, const ProtobufCBinaryData *bytes)
{
    records_text(rows, bytes->data, bytes->len, TEXT_MAX);
}

static void add_indexed(struct records *rows, const ProtobufCBinaryData *bytes)
{
    records_text(rows, bytes->data, bytes->len, INDEXED_MAX);
}

/* In the order of audit_new's attributes (sql/0082). Ranges were checked when the frame was decoded. */
static void add_row(struct records *rows, const Weir__Report *report, const Weir__AuditRow *row)
{
    add_indexed(rows, &row->id);
    records_integer(rows, (int32_t)row->recipient_index);
    records_bigint(rows, (int64_t)(row->time_ms != 0 ? row->time_ms : clock_wall_ms()));
    add_text(rows, &report->node);
    records_integer(rows, (int32_t)report->worker);
    add_text(rows, &row->listener);
    add_text(rows, &row->client);
    add_text(rows, &row->helo);
    add_text(rows, &row->tls);
    add_indexed(rows, &row->sender);
    add_indexed(rows, &row->recipient);
    add_indexed(rows, &row->message_id);
    records_bigint(rows, (int64_t)row->size);
    add_text(rows, &row->disposition);
    records_integer(rows, (int32_t)row->reply_code);
    add_text(rows, &row->reply);
    add_text(rows, &row->verdict);
    add_text(rows, &row->signature);
    add_text(rows, &row->scanner);
    add_text(rows, &row->engine);
    add_text(rows, &row->signatures);
    add_text(rows, &row->next_hop);
    add_text(rows, &row->next_hop_reply);
    records_bigint(rows, (int64_t)row->duration_ms);
    records_bigint(rows, (int64_t)row->policy_epoch);
    add_text(rows, &row->rule);
    add_indexed(rows, &row->login);
    add_indexed(rows, &row->given);
    records_smallint(rows, (int16_t)row->origin);
    records_boolean(rows, row->first);
    add_text(rows, &row->host);
    records_bigint(rows, (int64_t)row->override);
    records_end(rows);
}

/* In the order of attachment_take()'s. */
static void add_attachments(struct rows *rows, const Weir__AuditRow *row)
{
    char packed[2 * WIRE_ATTACHMENTS_MAX * WIRE_ATTACHMENT_LEN + 1] = "";
    if (row->attachments.len == 0)
        return;
    for (size_t i = 0; i < row->attachments.len / WIRE_ATTACHMENT_LEN * WIRE_ATTACHMENT_LEN; i++)
        sprintf(packed + 2 * i, "%02x", row->attachments.data[i]);
    rows_text(rows, row->id.data, row->id.len, INDEXED_MAX);
    rows_number(rows, (int64_t)(row->time_ms != 0 ? row->time_ms : clock_wall_ms()));
    rows_string(rows, packed);
    rows_end(rows);
}

static const char insert_sql[] = "SELECT audit_add($1::audit_new[])";

static void log_row(const Weir__Report *report, const Weir__AuditRow *row)
{
    log_write(LOG_DEBUG, "%.*s: to be written down: recipient %u %.*s, says %.*s", (int)row->id.len, (const char *)row->id.data,
              row->recipient_index, (int)row->disposition.len, (const char *)row->disposition.data, (int)report->node.len,
              (const char *)report->node.data);
}

void audit_take(struct audit *audit, const Weir__Report *frame, audit_done_handler done, void *arg)
{
    struct report *report = xcalloc(1, sizeof *report);
    *report = (struct report){ .batch = frame->batch, .done = done, .arg = arg };
    records_init(&report->rows, COLUMNS);
    rows_init(&report->brings, BRINGS);
    bool paused = audit->retry_ms != 0 && clock_ms() < audit->retry_at_ms;
    if (audit->pending + frame->n_rows > audit->rows_max || !db_is_up(audit->db) || paused) {
        metric_add(audit->dropped, 1); /* no rows in it: the batch tells it was not committed */
    } else {
        for (size_t i = 0; i < frame->n_rows; i++) {
            add_row(&report->rows, frame, frame->rows[i]);
            if (audit->hunt)
                add_attachments(&report->brings, frame->rows[i]);
            log_row(frame, frame->rows[i]);
        }
    }
    audit->pending += report->rows.count;
    metric_set(audit->pending_gauge, (double)audit->pending);
    audit->waiting_rows += report->rows.count;
    STAILQ_INSERT_TAIL(&audit->waiting, report, link);
    schedule(audit);
}

/* --- the batch --- */

static void on_inserted(void *arg, const PGresult *result)
{
    struct batch *batch = arg;
    batch->inserted = strtod(PQgetvalue(result, 0, 0), NULL);
}

static char *shown(const struct records *rows, size_t row, size_t field)
{
    size_t len;
    const char *bytes = records_field(rows, row, field, &len);
    return xstrndup(bytes, len);
}

static void give_up(struct audit *audit, struct report *report, const struct db_error *error)
{
    metric_add(audit->rejected, (double)report->rows.count);
    for (size_t row = 0; row < report->rows.count; row++) {
        char *id = shown(&report->rows, row, 0), *sender = shown(&report->rows, row, 9);
        char *recipient = shown(&report->rows, row, 10), *disposition = shown(&report->rows, row, 13);
        log_write(LOG_ERR, "audit: the database will never take this row (%s %s): id=%s sender=%s recipient=%s disposition=%s", error->sqlstate,
                  error->why.text, id, sender, recipient, disposition);
        free(id);
        free(sender);
        free(recipient);
        free(disposition);
    }
}

/* Edges repeat what is not acknowledged by themselves; all of them at once would only fill the log. */
static void wait_before_retry(struct audit *audit)
{
    metric_add(audit->failed, 1);
    if (clock_ms() < audit->retry_at_ms)
        return; /* others that were in flight with the first one */
    audit->retry_ms = audit->retry_ms == 0                       ? AUDIT_RETRY_MS
                      : audit->retry_ms * 2 > AUDIT_RETRY_MAX_MS ? AUDIT_RETRY_MAX_MS
                                                                 : audit->retry_ms * 2;
    audit->retry_at_ms = clock_ms() + audit->retry_ms;
    log_write(LOG_ERR, "audit: edges keep their rows; the next try is in %llu ms", (unsigned long long)audit->retry_ms);
}

static void gather(struct audit *audit, uint64_t took_ms)
{
    uint64_t ms = GATHER_TIMES * took_ms;
    audit->gather_ms = ms < GATHER_MS ? GATHER_MS : ms > GATHER_MAX_MS ? GATHER_MAX_MS : ms;
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct batch *batch = arg;
    struct audit *audit = batch->audit;
    bool poisoned = outcome == DB_FAILED && db_error_is_of_values(error);
    bool was_alone = STAILQ_FIRST(&batch->reports) != NULL && STAILQ_NEXT(STAILQ_FIRST(&batch->reports), link) == NULL;
    audit->in_flight--;
    gather(audit, clock_ms() - batch->begun_ms);
    if (outcome == DB_OK)
        metric_add(audit->inserted, batch->inserted);
    if (outcome != DB_OK)
        audit->type = 0; /* it may be another database by now */
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "audit: %zu rows not written: %s %s", batch->rows, error->sqlstate, error->why.text);
    if (outcome == DB_OK || poisoned)
        audit->retry_ms = 0;
    else if (outcome == DB_FAILED)
        wait_before_retry(audit);
    while (!STAILQ_EMPTY(&batch->reports)) {
        struct report *report = report_pop(&batch->reports);
        if (poisoned && !was_alone) {
            STAILQ_INSERT_TAIL(&audit->alone, report, link);
            continue;
        }
        if (poisoned)
            give_up(audit, report, error);
        report_finish(audit, report, outcome == DB_OK || poisoned);
    }
    free(batch);
    schedule(audit);
}

static void send_batch(struct audit *audit, struct report_list *from, size_t reports_max)
{
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->audit = audit;
    STAILQ_INIT(&batch->reports);
    struct records all;
    struct rows brings;
    records_init(&all, COLUMNS);
    rows_init(&brings, BRINGS);
    for (size_t n = 0; n < reports_max && !STAILQ_EMPTY(from) && all.count < BATCH_ROWS; n++) {
        struct report *report = report_pop(from);
        audit->waiting_rows -= from == &audit->waiting ? report->rows.count : 0;
        records_append(&all, &report->rows);
        rows_append(&brings, &report->brings);
        STAILQ_INSERT_TAIL(&batch->reports, report, link);
    }
    batch->rows = all.count;
    batch->begun_ms = clock_ms();
    audit->in_flight++;
    struct db_unit *unit = db_begin(audit->db, on_done, batch);
    struct db_value value = records_value(&all, audit->type);
    db_query_values(unit, insert_sql, 1, &value, false, on_inserted);
    if (brings.count > 0)
        db_query(unit, "SELECT attachment_take($1::text[], $2::bigint[], $3::text[])", BRINGS, rows_values(&brings), NULL);
    db_commit(unit);
    records_fini(&all);
    rows_fini(&brings);
}

static void on_type(void *arg, const PGresult *result)
{
    struct audit *audit = arg;
    audit->type = (uint32_t)strtoul(PQgetvalue(result, 0, 0), NULL, 10);
}

static void on_type_asked(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct audit *audit = arg;
    audit->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "audit: the type of its rows is not to be had: %s %s", error->sqlstate, error->why.text);
    while (outcome != DB_OK && !STAILQ_EMPTY(&audit->waiting)) { /* edges repeat them */
        audit->waiting_rows -= STAILQ_FIRST(&audit->waiting)->rows.count;
        report_finish(audit, report_pop(&audit->waiting), false);
    }
    event_add(audit->timer, &(struct timeval){ outcome == DB_OK ? 0 : 1, 0 });
}

static void ask_type(struct audit *audit)
{
    if (audit->asking)
        return;
    audit->asking = true;
    struct db_unit *unit = db_begin(audit->db, on_type_asked, audit);
    db_query(unit, "SELECT 'audit_new'::regtype::oid", 0, NULL, on_type);
    db_commit(unit);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct audit *audit = arg;
    /* Refused ones are in front of nobody. */
    struct report *report = STAILQ_FIRST(&audit->waiting);
    while (report != NULL) {
        struct report *next = STAILQ_NEXT(report, link);
        if (report->rows.count == 0) {
            STAILQ_REMOVE(&audit->waiting, report, report, link);
            report_finish(audit, report, false);
        }
        report = next;
    }
    if (audit->type == 0) {
        if (!STAILQ_EMPTY(&audit->alone) || !STAILQ_EMPTY(&audit->waiting))
            ask_type(audit);
        return;
    }
    while (audit->in_flight < BATCHES_MAX && !STAILQ_EMPTY(&audit->alone))
        send_batch(audit, &audit->alone, 1);
    while (!STAILQ_EMPTY(&audit->waiting) && audit->in_flight < (audit->waiting_rows >= BATCH_LARGE ? BATCHES_MAX : 1))
        send_batch(audit, &audit->waiting, SIZE_MAX);
}

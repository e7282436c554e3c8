/* node_reports.c - audit rows on their way to a coordinator */
#include "proto/node_reports.h"

#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "proto/wire_rules.h"

#define BATCH_BYTES (WIRE_FRAME_MAX - 1024u) /* the frame's own fields take less than that */
#define ROW_HEAD    8u                       /* tag and length in front of a row, at most */
#define LOG_MS      10000

struct row {
    struct row *next;
    size_t packed;            /* bytes on the wire, with its head */
    size_t size;              /* bytes in memory */
    uint64_t policy_epoch, override;              /* these as given: the row has them or not, */
    ProtobufCBinaryData rule, login, given, host, attachments; /* by who is to get it */
    Weir__Origin origin;
    bool first;
    Weir__AuditRow row;
    uint8_t texts[];
};

struct node_reports {
    struct row *first, *last;
    struct row *kept_last; /* of the rows out of a file, which are in front of all others; NULL: none is left */
    size_t count, size, packed, kept;
    struct node_reports_pushed_out pushed_out;
    size_t kept_removed; /* since pushed_out began, in whichever way */
    size_t rows_max, size_max;
    size_t batch_rows; /* at the front: under way */
    uint64_t batch;    /* its number */
    Weir__AuditRow *rows[WIRE_ROWS_MAX];
    uint64_t logged_ms;
    uint64_t dropped_unlogged;
    struct metric *buffered, *dropped, *invalid, *acknowledged, *kept_gauge, *kept_acknowledged;
};

struct node_reports *node_reports_new(size_t rows, struct metrics *metrics)
{
    struct node_reports *reports = xcalloc(1, sizeof *reports);

    reports->rows_max = rows > 0 ? rows : 1;
    reports->size_max = reports->rows_max * NODE_REPORTS_ROW_BYTES;
    reports->buffered = metrics_gauge(metrics, "weir_reports_buffered", NULL);
    reports->dropped = metrics_counter(metrics, "weir_reports_dropped_total", "reason=\"overflow\"");
    reports->invalid = metrics_counter(metrics, "weir_reports_dropped_total", "reason=\"invalid\"");
    reports->acknowledged = metrics_counter(metrics, "weir_reports_acknowledged_total", NULL);
    reports->kept_gauge = metrics_gauge(metrics, "weir_reports_kept", NULL);
    reports->kept_acknowledged = metrics_counter(metrics, "weir_reports_kept_acknowledged_total", NULL);
    return reports;
}

static void remove_first(struct node_reports *reports)
{
    struct row *row = reports->first;

    reports->first = row->next;
    if (reports->first == NULL)
        reports->last = NULL;
    reports->count--;
    reports->size -= row->size;
    reports->packed -= row->packed;
    if (reports->batch_rows > 0)
        reports->batch_rows--;
    if (reports->kept > 0)
        reports->kept--, reports->kept_removed++;
    if (row == reports->kept_last)
        reports->kept_last = NULL;
    free(row);
}

static void show_counts(const struct node_reports *reports)
{
    metric_set(reports->buffered, (double)reports->count);
    metric_set(reports->kept_gauge, (double)reports->kept);
}

void node_reports_free(struct node_reports **taken)
{
    if (*taken == NULL)
        return;
    while ((*taken)->first != NULL)
        remove_first(*taken);
    free(*taken);
    *taken = NULL;
}

static ProtobufCBinaryData *text_of(const Weir__AuditRow *row, const struct wire_rule *rule)
{
    return (ProtobufCBinaryData *)((uintptr_t)row + rule->offset);
}

static bool is_text(const struct wire_rule *rule)
{
    return rule->kind == WIRE_RULE_TEXT || rule->kind == WIRE_RULE_ID;
}

static size_t cut_len(const ProtobufCBinaryData *text, const struct wire_rule *rule)
{
    return text->len < rule->max ? text->len : (size_t)rule->max;
}

/* A row and its texts in one block. */
static struct row *copy_row(const Weir__AuditRow *from)
{
    size_t len = 0;

    for (const struct wire_rule *rule = wire_audit_row_table.rules; rule->field != NULL; rule++)
        if (is_text(rule))
            len += cut_len(text_of(from, rule), rule);
    struct row *row = xmalloc(sizeof *row + len);
    row->next = NULL;
    row->size = sizeof *row + len;
    row->row = *from;
    row->row.base.n_unknown_fields = 0;
    row->row.base.unknown_fields = NULL;
    uint8_t *at = row->texts;
    for (const struct wire_rule *rule = wire_audit_row_table.rules; rule->field != NULL; rule++) {
        if (!is_text(rule))
            continue;
        ProtobufCBinaryData *text = text_of(&row->row, rule);
        text->len = cut_len(text, rule);
        if (text->len > 0)
            memcpy(at, text->data, text->len);
        text->data = at;
        at += text->len;
    }
    row->policy_epoch = row->row.policy_epoch;
    row->rule = row->row.rule;
    row->login = row->row.login;
    row->given = row->row.given;
    row->origin = row->row.origin;
    row->first = row->row.first;
    row->host = row->row.host;
    row->override = row->row.override;
    row->attachments = row->row.attachments;
    row->packed = weir__audit_row__get_packed_size(&row->row) + ROW_HEAD;
    return row;
}

static void fit_to_version(struct row *row, uint32_t version)
{
    bool known = version >= WIRE_VERSION_RULE;

    row->row.policy_epoch = known ? row->policy_epoch : 0;
    row->row.rule = known ? row->rule : wire_bytes(NULL, 0);
    row->row.login = known ? row->login : wire_bytes(NULL, 0);
    row->row.given = known ? row->given : wire_bytes(NULL, 0);
    row->row.origin = known ? row->origin : WEIR__ORIGIN__ORIGIN_UNSPECIFIED;
    row->row.first = known && row->first;
    row->row.host = known ? row->host : wire_bytes(NULL, 0);
    row->row.override = known ? row->override : 0;
    row->row.attachments = version >= WIRE_VERSION_ATTACHMENTS ? row->attachments : wire_bytes(NULL, 0);
}

void node_reports_count_dropped(struct node_reports *reports, size_t count)
{
    uint64_t now = clock_ms();

    if (count == 0)
        return;
    metric_add(reports->dropped, (double)count);
    reports->dropped_unlogged += count;
    if (reports->logged_ms != 0 && now - reports->logged_ms < LOG_MS)
        return;
    log_write(LOG_ERR, "report: no coordinator takes audit rows and the buffer of %zu is full: %llu dropped",
              reports->rows_max, (unsigned long long)reports->dropped_unlogged);
    reports->logged_ms = now;
    reports->dropped_unlogged = 0;
}

/* NULL: it was dropped. */
static struct row *copy_valid_row(struct node_reports *reports, const Weir__AuditRow *given)
{
    struct row *row = copy_row(given);
    struct error why;

    if (wire_audit_row_is_valid(&row->row, &why))
        return row;
    log_write(LOG_ERR, "report: dropped an audit row: %s", why.text);
    metric_add(reports->invalid, 1);
    free(row);
    return NULL;
}

static bool has_room(const struct node_reports *reports, const struct row *row)
{
    return reports->first == NULL || (reports->count < reports->rows_max && reports->size + row->size <= reports->size_max);
}

static void make_room(struct node_reports *reports, const struct row *row)
{
    while (!has_room(reports, row)) {
        bool kept = reports->kept > 0; /* those are in front */
        remove_first(reports);
        if (kept)
            reports->pushed_out.count++, reports->pushed_out.end = reports->kept_removed;
        else
            node_reports_count_dropped(reports, 1);
    }
}

/* after: NULL for the front. */
static void link_row(struct node_reports *reports, struct row *row, struct row *after)
{
    struct row **next = after != NULL ? &after->next : &reports->first;

    row->next = *next;
    *next = row;
    if (row->next == NULL)
        reports->last = row;
    reports->count++;
    reports->size += row->size;
    reports->packed += row->packed;
}

void node_reports_add(struct node_reports *reports, const Weir__AuditRow *given)
{
    struct row *row = copy_valid_row(reports, given);

    if (row != NULL) {
        make_room(reports, row);
        link_row(reports, row, reports->last);
    }
    show_counts(reports);
}

bool node_reports_add_kept(struct node_reports *reports, const Weir__AuditRow *given)
{
    weir_assert(reports->batch_rows == 0);
    struct row *row = copy_valid_row(reports, given);

    if (row == NULL)
        return true;
    if (!has_room(reports, row)) {
        free(row);
        return false;
    }
    link_row(reports, row, reports->kept_last);
    reports->kept_last = row;
    reports->kept++;
    show_counts(reports);
    return true;
}

bool node_reports_half_is_free(const struct node_reports *reports)
{
    return reports->count < reports->rows_max / 2 && reports->size < reports->size_max / 2;
}

struct node_reports_pushed_out node_reports_take_pushed_out(struct node_reports *reports)
{
    struct node_reports_pushed_out taken = reports->pushed_out;

    reports->pushed_out = (struct node_reports_pushed_out){ 0, 0 };
    reports->kept_removed = 0;
    return taken;
}

void node_reports_end_batch(struct node_reports *reports)
{
    reports->batch_rows = 0;
}

size_t node_reports_kept_count(const struct node_reports *reports)
{
    return reports->kept;
}

size_t node_reports_pending_count(const struct node_reports *reports)
{
    return reports->count;
}

bool node_reports_are_full(const struct node_reports *reports)
{
    return reports->packed >= BATCH_BYTES || reports->count >= WIRE_ROWS_MAX;
}

/* A frame's worth of rows, limit at most, from *from on, which becomes the row after them. */
static size_t collect(struct node_reports *reports, struct row **from, size_t limit, uint32_t version)
{
    size_t count = 0, packed = 0;

    for (; *from != NULL && count < limit; *from = (*from)->next) {
        packed += (*from)->packed;
        if (packed > BATCH_BYTES)
            break;
        fit_to_version(*from, version);
        reports->rows[count++] = &(*from)->row;
    }
    return count;
}

bool node_reports_batch(struct node_reports *reports, uint32_t version, Weir__Report *report)
{
    bool again = reports->batch_rows > 0;
    struct row *from = reports->first;
    size_t count = collect(reports, &from, again ? reports->batch_rows : WIRE_ROWS_MAX, version);

    if (count == 0)
        return false;
    if (!again)
        reports->batch++;
    reports->batch_rows = count;
    report->batch = reports->batch;
    report->rows = reports->rows;
    report->n_rows = count;
    return true;
}

bool node_reports_each(struct node_reports *reports, bool (*take)(void *arg, Weir__Report *report), void *arg)
{
    struct row *from = reports->first;
    bool going_on = true;

    while (going_on && from != NULL) {
        Weir__Report report = WEIR__REPORT__INIT;
        report.n_rows = collect(reports, &from, WIRE_ROWS_MAX, PROTO_VERSION);
        report.rows = reports->rows;
        going_on = take(arg, &report);
    }
    return going_on;
}

bool node_reports_acknowledge(struct node_reports *reports, uint64_t batch)
{
    if (reports->batch_rows == 0 || batch != reports->batch)
        return false;
    size_t kept = reports->kept;
    metric_add(reports->acknowledged, (double)reports->batch_rows);
    for (size_t left = reports->batch_rows; left > 0; left--)
        remove_first(reports);
    metric_add(reports->kept_acknowledged, (double)(kept - reports->kept));
    show_counts(reports);
    return true;
}

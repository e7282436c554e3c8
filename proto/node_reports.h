#ifndef WEIR_PROTO_NODE_REPORTS_H
#define WEIR_PROTO_NODE_REPORTS_H
/*
 * node_reports.h - audit rows on their way to a coordinator: a bounded queue, of which the front is the batch under way
 * (internal to node.c)
 *
 * One batch is under way at a time and keeps its number until it is acknowledged, to whichever coordinator it is sent.
 * A full queue loses its oldest rows: the newest are what an operator looks for. Rows that a former process left in a
 * file (node_kept.h) are in front of all others, being older; those that make room are counted apart, for they are in
 * that file still.
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/metrics.h"
#include "proto/wire.h"

#define NODE_REPORTS_ROW_BYTES 1024 /* the queue's bytes are bounded too, to so many for each row that it may have */

struct node_reports;

struct node_reports *node_reports_new(size_t rows, struct metrics *metrics);
void node_reports_free(struct node_reports **reports);
/* Copies the row, texts cut to what the wire takes. A row that it would refuse all the same is dropped and counted. */
void node_reports_add(struct node_reports *reports, const Weir__AuditRow *row);
/* The same for the next row out of a file. Only while no batch is under way: it would be in front of that. false: there is
 * no room for it, and no other row was moved. */
bool node_reports_add_kept(struct node_reports *reports, const Weir__AuditRow *row);
/* Half of the queue's places and half of its bytes are not taken. */
bool node_reports_half_is_free(const struct node_reports *reports);
/* Of the rows out of a file, how many are neither acknowledged nor pushed out by newer ones. */
size_t node_reports_kept_count(const struct node_reports *reports);
/* Since the last call: how many of those newer ones have pushed out; and how many were gone when the last of them was, the
 * acknowledged ones included. So, when none was there at the last call, all behind the first `end` were acknowledged or wait. */
struct node_reports_pushed_out {
    size_t count, end;
};
struct node_reports_pushed_out node_reports_take_pushed_out(struct node_reports *reports);
/* For rows out of a file that will not be taken up again: counts and logs them as rows that a full queue loses. */
void node_reports_count_dropped(struct node_reports *reports, size_t count);
size_t node_reports_pending_count(const struct node_reports *reports);
/* A whole frame's worth waits. */
bool node_reports_are_full(const struct node_reports *reports);
/* Sets batch and rows of report: the batch under way, or a new one. Borrowed until the next call of any function here.
 * version: of the receiver's frames; rows have the fields that it knows. false: nothing. */
bool node_reports_batch(struct node_reports *reports, uint32_t version, Weir__Report *report);
/* Gives all rows to take, oldest first, a frame's worth at a time in report->rows (borrowed for the call), until it says
 * false; what the last one said. Batches are not touched. */
bool node_reports_each(struct node_reports *reports, bool (*take)(void *arg, Weir__Report *report), void *arg);
/* No batch is under way any more: its rows wait again, and an answer to it comes late. */
void node_reports_end_batch(struct node_reports *reports);
/* false: not the batch under way (a late answer). */
bool node_reports_acknowledge(struct node_reports *reports, uint64_t batch);

#endif

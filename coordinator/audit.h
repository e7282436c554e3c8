#ifndef WEIR_COORDINATOR_AUDIT_H
#define WEIR_COORDINATOR_AUDIT_H
/*
 * audit.h - reports of edges into the audit table, acknowledged when they are committed
 *
 * What came within some milliseconds is one transaction; while it runs, the next one collects. A report is told committed
 * exactly once, and only after the commit's result; one that is told not committed is repeated by its edge (rows have
 * an id: a repeat makes no second row). A report that PostgreSQL will never take because of what is in it is written to
 * the log and told committed, or its edge would be stuck behind it for ever. Where PostgreSQL takes none (a missing
 * table or right), edges keep theirs; meanwhile one try after another is made, with growing pauses.
 */
#include <stdbool.h>
#include <event2/event.h>
#include "coordinator/db.h"
#include "proto/wire.h"

#define AUDIT_RETRY_MS     1000 /* doubles up to: */
#define AUDIT_RETRY_MAX_MS 10000

struct audit;

typedef void (*audit_done_handler)(void *arg, uint64_t batch, bool committed);

/* rows_max: received and not committed; over it reports are told not committed at once. hunt: what attachments messages brought
 * is written down with them. */
struct audit *audit_new(struct event_base *base, struct db *db, size_t rows_max, bool hunt, struct metrics *metrics);
void audit_free(
    struct audit **audit); /* after the db: then nothing is in flight. Waiting reports are told not committed */
/* Copies the report. done is never called from inside. */
void audit_take(struct audit *audit, const Weir__Report *report, audit_done_handler done, void *arg);
size_t audit_pending(const struct audit *audit); /* rows */

#endif

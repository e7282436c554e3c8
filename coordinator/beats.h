#ifndef WEIR_COORDINATOR_BEATS_H
#define WEIR_COORDINATOR_BEATS_H
/*
 * beats.h - heartbeats of many processes, written to the database in batches
 *
 * Heartbeats carry absolute values, so only the newest of each process is kept, and nothing is lost when one is not
 * written. What came since the last batch goes out as one transaction, at most every 250 ms and one at a time.
 */
#include <event2/event.h>
#include "coordinator/db.h"
#include "proto/wire.h"

#define BEATS_INTERVAL_MS 250

struct beats;
struct beat; /* one process; made by its first heartbeat */

struct beats *beats_new(struct event_base *base, struct db *db, const char *coordinator, uint64_t node_timeout_ms,
                        struct metrics *metrics);
void beats_free(struct beats **beats);
/* *beat is NULL for the first one. Copies everything. Name and role were checked against the sender's key. */
void beats_hear(struct beats *beats, struct beat **beat, const Weir__Heartbeat *heartbeat);
/* The process's link is gone. What it said last is still written. */
void beats_forget(struct beats *beats, struct beat **beat);

#endif

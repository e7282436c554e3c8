#ifndef WEIR_COORDINATOR_LEADER_H
#define WEIR_COORDINATOR_LEADER_H
/*
 * leader.h - what one coordinator must do for all: fold metrics of ended processes, delete old audit rows and what was
 * left in the spool
 *
 * Whoever holds a session advisory lock of the database is the leader. The lock goes with the connection, so there is
 * never a second one.
 */
#include <event2/event.h>
#include "coordinator/db.h"

struct leader;

/* spool_leftover_ms: incomplete messages of the spool nobody went on with for so long are removed. */
struct leader *leader_new(struct event_base *base, struct db *db, uint64_t audit_days, uint64_t spool_leftover_ms,
                          struct metrics *metrics);
void leader_free(struct leader **leader); /* after the db */
void leader_database_down(struct leader *leader);

#endif

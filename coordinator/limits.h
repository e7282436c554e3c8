#ifndef WEIR_COORDINATOR_LIMITS_H
#define WEIR_COORDINATOR_LIMITS_H
/*
 * limits.h - what edges take from the cluster's token buckets (LimitAsk)
 *
 * The questions that come while the database works on others go to it together, in one statement. One that cannot be answered because the database is away
 * is UNAVAILABLE: the edge asks another coordinator, and then counts for itself.
 */
#include "coordinator/db.h"
#include "coordinator/questions.h"

#define LIMITS_CONNECTIONS 2

struct limits_room;

/* Registers for the question. dbs: for nothing else. */
struct limits_room *limits_new(struct event_base *base, struct db *const dbs[LIMITS_CONNECTIONS], struct questions *questions, struct metrics *metrics);
void limits_free(struct limits_room **room); /* after its dbs */

#endif

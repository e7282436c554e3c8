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

struct limits_room;

/* Registers for the question. */
struct limits_room *limits_new(struct event_base *base, struct db *db, struct questions *questions, struct metrics *metrics);
void limits_free(struct limits_room **room); /* after the db */

#endif

#ifndef WEIR_COORDINATOR_TURNS_H
#define WEIR_COORDINATOR_TURNS_H
/*
 * turns.h - the leader lets one scanner after the other make a new generation: garbage collection
 *
 * What is wanted is in rows of the table `turn`, and sql/functions/turns.sql decides; so a turn goes on where it was when another coordinator leads. Others
 * ask with turn_ask() in SQL (weirctl). Scanners that load a new set of signatures (coordinator/signatures) count as having one. A scanner has its turn while fewer than max_unavailable have one and the others' workers,
 * less turn_margin, do what all do now; it has its turn until it has told of the new generation, is lost, or turn_timeout is over.
 *
 * By itself the leader asks for scanners by gc_schedule, gc_memory_growth and gc_messages.
 */
#include <event2/event.h>
#include <time.h>
#include "common/settings.h"
#include "coordinator/db.h"

struct turns;

struct turns_options {
    struct event_base *base;
    struct db *db;
    const struct coordinator_settings *settings; /* borrowed */
    uint64_t node_timeout_ms;
    struct metrics *metrics;
};

struct turns *turns_new(const struct turns_options *options);
void turns_free(struct turns **turns); /* after the db */
void turns_lead(struct turns *turns, bool leads); /* whether this coordinator does */
/* It leads: looks, unless it is looking. To be called every few seconds; while somebody has or waits for a turn it looks more often by itself. */
void turns_look(struct turns *turns);

/* Milliseconds since the schedule last said so, at least 1; 0: it never does. Times of day are local. */
uint64_t turns_due_ms(const struct config_list *schedule, time_t now);

#endif

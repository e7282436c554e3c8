#ifndef WEIR_COORDINATOR_SIGNATURES_SIGNATURES_H
#define WEIR_COORDINATOR_SIGNATURES_SIGNATURES_H
/*
 * signatures.h - the leader's duty for virus signatures: looks at the mirrors, and takes sets to the scanners one step further
 *
 * What a look found is stored (store.h), and known to be a set, before it is told to have ended; until then the next leader does it again.
 */
#include <event2/event.h>
#include "common/settings.h"
#include "coordinator/db.h"
#include "coordinator/questions.h"

struct signatures;

struct signatures_options {
    struct event_base *base;
    struct db *db;
    struct questions *questions;
    const char *name;                            /* this coordinator; borrowed */
    const struct coordinator_settings *settings; /* borrowed */
    uint64_t node_timeout_ms;
    struct metrics *metrics;
};

struct signatures *signatures_new(const struct signatures_options *options);
void signatures_free(struct signatures **signatures); /* after the db */
/* It leads: one step, and a look when that is due. To be called every few seconds. */
void signatures_turn(struct signatures *signatures);
/* It does not lead any more: a look under way ends. */
void signatures_rest(struct signatures *signatures);

#endif

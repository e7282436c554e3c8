#ifndef WEIR_COORDINATOR_LEARN_LEARN_H
#define WEIR_COORDINATOR_LEARN_LEARN_H
/*
 * learn.h - what the native spam engine is taught: messages given to scanners to be looked at, and the model that the leader makes of what they say
 *
 * Every coordinator answers scanners, from the database; the leader makes the model.
 */
#include "common/metrics.h"
#include "common/settings.h"
#include "coordinator/db.h"
#include "coordinator/questions.h"

struct learn;

/* All is borrowed. name: of this coordinator. */
struct learn *learn_new(struct db *db, struct questions *questions, const struct coordinator_settings *settings, const char *name, struct metrics *metrics);
void learn_free(struct learn **learn); /* after the db */

void learn_turn(struct learn *learn); /* of the leader, every second or so */

#endif

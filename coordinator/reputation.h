#ifndef WEIR_COORDINATOR_REPUTATION_H
#define WEIR_COORDINATOR_REPUTATION_H
/*
 * reputation.h - tells edges who is throttled or refused; sql/functions/reputation.sql counts, and decides
 *
 * An edge's question stands here until the database says that something has changed, at most for the wait_ms that it names. Nothing is kept here: each
 * answer is read from the database, one read for all who ask, so every coordinator says the same.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "common/settings.h"
#include "coordinator/db.h"
#include "coordinator/questions.h"

struct reputation_room;

/* desk: for what looks at all that was counted. */
struct reputation_room *reputation_new(struct event_base *base, struct db *db, struct db *desk, struct questions *questions, const struct coordinator_settings *settings,
                                       struct metrics *metrics); /* all borrowed */
void reputation_free(struct reputation_room **room); /* after the database: nothing is under way */
/* A NOTIFY came, or the database is back: those whose questions stand may have to be told something. */
void reputation_changed(struct reputation_room *room);
/* Answers what stands, so that edges turn to another coordinator. */
void reputation_drain(struct reputation_room *room);
/* The leader's part of one turn, in units of its own: what it looks through takes long, and locks of the leader's other work would be kept so long. */
void reputation_turn(struct reputation_room *room);
bool reputation_has_more(const struct reputation_room *room); /* its last turn did not come to an end */
/* SQL that tells a connection of ours the configuration's numbers. Caller frees. */
char *reputation_setup(const struct coordinator_settings *settings);

#endif

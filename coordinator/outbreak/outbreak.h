#ifndef WEIR_COORDINATOR_OUTBREAK_H
#define WEIR_COORDINATOR_OUTBREAK_H
/*
 * outbreak.h - attachments that many suddenly send and nobody sent before: what edges ask (OutbreakAsk), and what the leader does about mail that is held
 *
 * What counts as one, and all that is known of it, is SQL (sql/functions/outbreak.sql). Questions that come while the database works on others go to it together.
 */
#include "coordinator/db.h"
#include "coordinator/questions.h"
#include "common/settings.h"

struct outbreak_room;

/* Registers for the question. All borrowed. desk: for what takes long, which answers must not wait for. */
struct outbreak_room *outbreak_room_new(struct event_base *base, struct db *db, struct db *desk, struct questions *questions, const struct coordinator_settings *settings, struct metrics *metrics);
void outbreak_room_free(struct outbreak_room **room); /* after the db */
/* Called again and again while this coordinator leads. */
void outbreak_turn(struct outbreak_room *room);
void outbreak_lead(struct outbreak_room *room, bool leads);

#endif

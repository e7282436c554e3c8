#ifndef WEIR_COORDINATOR_PERSONAL_H
#define WEIR_COORDINATOR_PERSONAL_H
/*
 * personal.h - edges ask whether recipients' own lists have a sender (PersonalAsk)
 *
 * What a list says is SQL (sql/functions/personal.sql). A store asks the safe lists itself, in its own transaction.
 */
#include "common/metrics.h"
#include "coordinator/db.h"
#include "coordinator/questions.h"

struct personal;

/* Borrowed: all. */
struct personal *personal_new(struct db *db, struct questions *questions, struct metrics *metrics);
void personal_free(struct personal **personal); /* after the db */

#endif

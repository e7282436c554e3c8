#ifndef WEIR_COORDINATOR_LEARN_ANSWER_H
#define WEIR_COORDINATOR_LEARN_ANSWER_H
/* answer.h - what scanners ask about learning: which model to use, which message to look at; and what they saw in it */
#include "common/metrics.h"
#include "coordinator/db.h"
#include "coordinator/questions.h"

struct answers;

struct answers *answers_new(struct db *db, struct questions *questions, struct metrics *metrics); /* borrows db */
void answers_free(struct answers **answers);                                                       /* after the db */

#endif

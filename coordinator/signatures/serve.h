#ifndef WEIR_COORDINATOR_SIGNATURES_SERVE_H
#define WEIR_COORDINATOR_SIGNATURES_SERVE_H
/*
 * serve.h - what scanners ask: which files a set has, and their bytes
 *
 * Every coordinator answers, from the database. A scanner asks for a few chunks at a time, so what is under way is bounded by their number.
 */
#include "common/metrics.h"
#include "coordinator/db.h"
#include "coordinator/questions.h"

struct serve;

struct serve *serve_new(struct db *db, struct questions *questions, struct metrics *metrics); /* borrows db */
void serve_free(struct serve **serve);                                                        /* after the db */

#endif

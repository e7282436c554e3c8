#ifndef WEIR_COORDINATOR_VERIFY_H
#define WEIR_COORDINATOR_VERIFY_H
/*
 * verify.h - what next hops said of recipients, kept for all edges
 *
 * Edges ask before they ask a next hop (VerifyAsk), and tell what they heard there (VerifyTell). How long an answer counts is decided here.
 */
#include "common/settings.h"
#include "coordinator/db.h"
#include "coordinator/questions.h"

struct verify;

/* Registers for both questions. settings are borrowed for its life. */
struct verify *verify_new(struct db *db, struct questions *questions, const struct coordinator_settings *settings, struct metrics *metrics);
void verify_free(struct verify **verify); /* after the db */

#endif

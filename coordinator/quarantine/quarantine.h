#ifndef WEIR_COORDINATOR_QUARANTINE_H
#define WEIR_COORDINATOR_QUARANTINE_H
/*
 * quarantine.h - the leader's part of the quarantine: what is past its time goes, and all of it is counted
 *
 * What comes into the quarantine and leaves it is SQL (sql/functions/quarantine.sql), called by stores and results of the spool and by operators. Here
 * are the turns of who leads: copies that have expired, in small transactions, each by itself; and now and then a count of all copies, against the sums
 * of what came and went (I9); and recipients are told (digest.h).
 */
#include "common/metrics.h"
#include "common/settings.h"
#include "coordinator/db.h"
#include "coordinator/quarantine/digest.h"

struct quarantine;

/* All are borrowed. */
struct quarantine *quarantine_new(struct db *db, const struct coordinator_settings *settings, struct digest *digest, struct metrics *metrics);
void quarantine_free(struct quarantine **quarantine); /* after the db */
/* Called again and again while this coordinator leads. */
void quarantine_turn(struct quarantine *quarantine);

#endif

#ifndef WEIR_COORDINATOR_OUTBOUND_H
#define WEIR_COORDINATOR_OUTBOUND_H
/*
 * outbound.h - the leader's judgement of what accounts and inside hosts send (S63): who is slowed down, stopped, or let go
 *
 * Everybody counts, in the transactions of reports and of spooled mail; who leads judges, twice a second, in one transaction (sql/functions/outbound.sql),
 * which also is what nodes hear of. Mail of who is free again goes on in others behind it, of 500 messages each. Each decision is a line of the log at warning; the gauges are of the leader.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "common/settings.h"
#include "coordinator/db.h"

struct outbound;

/* db and settings are borrowed. */
struct outbound *outbound_new(struct event_base *base, struct db *db, const struct coordinator_settings *settings, struct metrics *metrics);
void outbound_free(struct outbound **outbound); /* after the db */
void outbound_lead(struct outbound *outbound, bool leads); /* whether this coordinator does */

#endif

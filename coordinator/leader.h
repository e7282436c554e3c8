#ifndef WEIR_COORDINATOR_LEADER_H
#define WEIR_COORDINATOR_LEADER_H
/*
 * leader.h - what one coordinator must do for all: fold metrics of ended processes, delete old audit rows, what was
 * left in the spool, and what next hops said of recipients too long ago; look which listeners are to be tested (relay_test.h), and
 * which scanners are to make new generations (turns.h); judge reputations anew whose time is over; judge who sends too much (outbound.h); keep the edges' name
 * right in the DNS (dns_push.h); look whether the site's own addresses are to be looked up in lists of the DNS (blocklist.h);
 * end what is in the quarantine for too long (quarantine/quarantine.h); make a model of what the spam engine was taught (learn/learn.h);
 * release what was held as an outbreak (outbreak/outbreak.h)
 *
 * Whoever holds a session advisory lock of the database is the leader. The lock goes with the connection, so there is
 * never a second one.
 */
#include <event2/event.h>
#include "common/settings.h"
#include "coordinator/blocklist.h"
#include "coordinator/db.h"
#include "coordinator/dns_push.h"
#include "coordinator/learn/learn.h"
#include "coordinator/outbound.h"
#include "coordinator/dashboard/dashboard.h"
#include "coordinator/outbreak/outbreak.h"
#include "coordinator/quarantine/quarantine.h"
#include "coordinator/relay_test.h"
#include "coordinator/reputation.h"
#include "coordinator/signatures/signatures.h"
#include "coordinator/turns.h"

struct leader;

/* settings, relay_test, reputation, turns, signatures, outbound, dns_push, blocklist, quarantine, dashboard, learn and outbreak are borrowed for its life. */
struct leader *leader_new(struct event_base *base, struct db *db, const struct coordinator_settings *settings,
                          struct relay_test *relay_test, struct reputation_room *reputation, struct turns *turns, struct signatures *signatures, struct outbound *outbound,
                          struct dns_push *dns_push, struct blocklist *blocklist, struct quarantine *quarantine, struct dashboard *dashboard, struct learn *learn, struct outbreak_room *outbreak, struct metrics *metrics);
void leader_free(struct leader **leader); /* after the db */
void leader_database_down(struct leader *leader);

#endif

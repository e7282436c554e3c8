#ifndef WEIR_COORDINATOR_BLOCKLIST_H
#define WEIR_COORDINATOR_BLOCKLIST_H
/*
 * blocklist.h - the leader's lookups of the site's own addresses in lists of the DNS, every blocklist_interval
 *
 * Who is listed finds his mail refused elsewhere, and had better hear of it here first. A round asks every list of blocklist_zones about every address:
 * own_addresses, or those that edges tell. It is claimed and committed before the first question, so however coordinators come and go, no two ask. What the lists
 * said is rows: every coordinator shows them (weirctl blocklist status, metrics by http.c). The first listing and the end of one are logged by who asked.
 * A list that does not answer in blocklist_timeout, or answers with an error (127.255.255.x), says nothing: what was known stays.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "common/settings.h"
#include "coordinator/db.h"

struct blocklist;

struct blocklist_options {
    struct event_base *base;
    struct db *db;
    const char *name; /* this coordinator; borrowed */
    const struct coordinator_settings *settings; /* borrowed */
    uint64_t node_timeout_ms;
    struct metrics *metrics;
};

struct blocklist *blocklist_new(const struct blocklist_options *options);
void blocklist_free(struct blocklist **blocklist); /* after the db */
/* It leads: looks whether a round is due, unless one is under way or it looked within this second. To be called every few seconds. */
void blocklist_look(struct blocklist *blocklist);

#endif

#ifndef WEIR_COMMON_POLICY_HOSTS_H
#define WEIR_COMMON_POLICY_HOSTS_H
/*
 * hosts.h - the registered hosts: inside hosts that may send mail, and whose they are
 *
 *     192.0.2.7       owner=library   reason="catalogue server"
 *     192.0.2.64/28   owner=printing  reason="printers of the east wing"
 *
 *     192.0.2.9       owner=physics   reason="experiment" approved_by=postmaster expires=2026-12-31
 *
 * One line a host or network, owner and reason needed: who is asked when a host misbehaves, and why it is there. approved_by is for people; from `expires` on (as
 * of exceptions: the last day, or a moment) the line is as if it were not there, so that a shorter prefix around it decides. To be registered grants nothing by itself: a host
 * is inside by `networks`. What the words give is a name in reports, and leave to send where a listener asks for it (unregistered = refuse).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "common/policy/prefixes.h"

struct registered_host {
    struct netaddr_prefix prefix;
    const char *owner, *reason, *approved_by; /* approved_by: NULL where it is not said */
    int64_t expires;                          /* seconds since 1970: from then on it has no effect; INT64_MAX: it has no end */
    unsigned line;
};

struct hosts {
    struct registered_host *rules;
    size_t count, room;
    struct prefixes prefixes; /* to the index of a rule */
};

/* All zeros is the empty set: add rules, then finish once, then ask. */
void hosts_fini(struct hosts *hosts);
/* One line of the file, edited in place; the rule points into it. */
bool hosts_add(struct hosts *hosts, char *text, unsigned line, struct error *why);
/* false: two lines for the same network; *line is the later one. */
bool hosts_finish(struct hosts *hosts, unsigned *line, struct error *why);
/* The longest one in force at `now`, seconds since 1970; NULL: the address is not registered. */
const struct registered_host *hosts_find(const struct hosts *hosts, const struct netaddr *address, int64_t now);

#endif

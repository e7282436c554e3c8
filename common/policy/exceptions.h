#ifndef WEIR_COMMON_POLICY_EXCEPTIONS_H
#define WEIR_COMMON_POLICY_EXCEPTIONS_H
/*
 * exceptions.h - other limits for registered hosts and networks, until a day that is written beside them
 *
 *     192.0.2.7  max_message_size=100MiB max_recipients=500 reason="scans of the archive" owner=library approved_by=postmaster expires=2026-12-31
 *
 *     192.0.2.64/28       limits=10x  reason="mass mail of the press office" owner=press approved_by=postmaster expires=2026-12-31
 *     account:newsletter  limits=none reason="the weekly letter"             owner=press approved_by=postmaster expires=2026-12-31
 *
 * limits: lines of the file `limits` allow so many times as much, or anything (see parties.h); an account has no other exceptions.
 * Of lines for networks within each other the longest decides; of `limits` the longest that says anything of them.
 * One line a network or account; at least one limit, and all of reason, owner, approved_by and expires: nobody has to remember why a line is there, whom to
 * ask, or to take it out. `expires` is the last day in force, or a moment (2026-12-31T18:00:00Z); days are those of UTC, as the edges of one
 * cluster may be set to different zones. An expired line is as if it were not there, so that a shorter prefix around it decides.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "common/policy/domains.h"
#include "common/policy/prefixes.h"

#define EXCEPTION_NO_LIMITS  UINT_MAX
#define EXCEPTION_TIMES_MOST 1000

struct exception {
    struct netaddr_prefix prefix;
    const char *account;       /* lower case; NULL: it is the prefix's */
    unsigned limits;           /* times; 0: as the lines say; EXCEPTION_NO_LIMITS: none of them counts */
    uint64_t max_message_size; /* bytes; 0: the listener's */
    uint64_t max_recipients;   /* 0: the listener's */
    int64_t expires;           /* seconds since 1970: from then on it has no effect */
    const char *reason, *owner, *approved_by;
    unsigned line;
};

struct exceptions {
    struct exception *rules;
    size_t count, room;
    struct prefixes prefixes; /* to the index of a rule */
    struct domains accounts;  /* likewise */
};

/* All zeros is the empty set: add rules, then finish once, then ask. */
void exceptions_fini(struct exceptions *exceptions);
/* One line of the file, edited in place; the rule points into it. */
bool exceptions_add(struct exceptions *exceptions, char *text, unsigned line, struct error *why);
/* false: two lines for the same network; *line is the later one. */
bool exceptions_finish(struct exceptions *exceptions, unsigned *line, struct error *why);
/* The longest one in force at `now`, seconds since 1970; NULL: none. */
const struct exception *exceptions_find(const struct exceptions *exceptions, const struct netaddr *address, int64_t now);
/* The longest one in force that has `limits`, and is no longer than bits: a line about something else does not hide that of the network around it. */
const struct exception *exceptions_find_limits(const struct exceptions *exceptions, const struct netaddr *address, unsigned bits, int64_t now);
const struct exception *exceptions_find_account(const struct exceptions *exceptions, const char *account, int64_t now);

#endif

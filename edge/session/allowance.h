#ifndef WEIR_EDGE_SESSION_ALLOWANCE_H
#define WEIR_EDGE_SESSION_ALLOWANCE_H
/*
 * allowance.h - how much a client may bring: its listener's limits, or those of a policy's exception in force
 *
 * Pure. Asked for at EHLO and at MAIL; a transaction keeps what MAIL was told.
 */
#include "common/policy/policy.h"
#include "common/settings.h"

struct allowance {
    uint64_t max_message_size, max_recipients;
    unsigned line; /* of `exceptions`; 0: the listener's own */
};

/* now: seconds since 1970. */
struct allowance allowance_of(const struct listener_settings *listener, const struct policy *policy, const struct netaddr *client, int64_t now);
/* Whether a message needed more than the listener allows. */
bool allowance_was_needed(const struct allowance *allowance, const struct listener_settings *listener, uint64_t size, unsigned recipients);

#endif

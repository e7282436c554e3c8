#ifndef WEIR_COMMON_POLICY_PARTIES_H
#define WEIR_COMMON_POLICY_PARTIES_H
/*
 * parties.h - in whose bucket something counts by a line of `limits`, and what `exceptions` and `hosts` say to that
 *
 * An exception of a network or account multiplies what its lines allow, or ends them (limits=10x, limits=none). In a bucket that is shared with others (of a prefix, a
 * line of `networks` or `hosts`; of an IPv6 client, which is a /64) it would use up what is theirs, so there whoever is excepted has a bucket of his own, called as the exception's network.
 * What is allowed so many times has buckets of its own in any case (limit_bucket_name):
 * when the exception ends, what was taken by it is not owed at the rate of before. A sender's domain is said by anybody, and has no exceptions.
 */
#include "common/policy/policy.h"

struct limit_party {
    const struct netaddr *client; /* NULL: nobody's */
    const char *login, *domain;   /* NULL: none; the domain as it is compared */
    int64_t now;                  /* seconds since 1970 */
};

/* false: no such bucket is about the party. excepted: whose `limits` counts there; NULL: none does. Borrowed. */
bool limit_subject(char out[LIMIT_SUBJECT_MAX], const struct exception **excepted, const struct policy *policy, enum limit_by by, const struct limit_party *party);
/* What the line allows then. false: anything. excepted: or NULL. */
bool limit_for(struct limit_rule *out, const struct limit_rule *rule, const struct exception *excepted);

#endif

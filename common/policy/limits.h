#ifndef WEIR_COMMON_POLICY_LIMITS_H
#define WEIR_COMMON_POLICY_LIMITS_H
/*
 * limits.h - how much mail may come in what time: one bucket a rule and client, prefix, host, account or sender domain, for the whole cluster
 *
 *     inbound     client  connections  60/minute
 *     inbound     domain  messages     1000/hour  burst 200
 *     submission  account recipients   500/day    dry_run
 *     handoff     host    bytes        1GiB/day   refuse
 *
 * direction: inbound and outbound (relay listeners: from outside, and from inside networks or who logged in), submission, handoff. Of whom: client (an address; of
 * IPv6 its /64), prefix (its /24, /48), host (the line of `networks` it is in), account (who logged in), domain (of the sender; the null sender has none),
 * registered (the line of `hosts` it is in), unregistered (an inside address that is in none). Of what:
 * connections, messages, recipients (each RCPT that is not refused anyway), bytes (of messages). How much in a second, minute, hour or day; burst: what may come at once (else that same amount).
 * dry_run: over it nobody is refused, it is only logged and counted. Handoff's devices cannot come again, so a line of theirs says dry_run or refuse.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "common/netaddr.h"
#include "common/policy/bucket.h"
#include "common/policy/networks.h"

enum limit_direction { LIMIT_INBOUND, LIMIT_OUTBOUND, LIMIT_SUBMISSION, LIMIT_HANDOFF, LIMIT_DIRECTIONS };
enum limit_by { LIMIT_BY_CLIENT, LIMIT_BY_PREFIX, LIMIT_BY_HOST, LIMIT_BY_ACCOUNT, LIMIT_BY_DOMAIN, LIMIT_BY_REGISTERED, LIMIT_BY_UNREGISTERED, LIMIT_BYS };
enum limit_what { LIMIT_OF_CONNECTIONS, LIMIT_OF_MESSAGES, LIMIT_OF_RECIPIENTS, LIMIT_OF_BYTES, LIMIT_WHATS };

struct limit_rule {
    enum limit_direction direction;
    enum limit_by by;
    enum limit_what what;
    struct bucket_rate rate;
    unsigned times; /* what the line says, by an exception (parties.h); 0: as it says */
    bool dry_run;
    unsigned line;
};

#define LIMITS_MOST 64 /* lines: each message is counted in all that are about it */

struct limits {
    struct limit_rule rules[LIMITS_MOST];
    size_t count;
};

/* One line of the file, edited in place. */
bool limits_add(struct limits *limits, char *text, unsigned line, struct error *why);

const char *limit_direction_name(enum limit_direction direction);
const char *limit_by_name(enum limit_by by);
const char *limit_what_name(enum limit_what what);

/* Whose bucket it is, as text, by client, prefix or host (parties.h is for all): "192.0.2.7", "2001:db8::/64". network: the line of `networks` that the client is in, or NULL. false: the client has none of these. */
#define LIMIT_SUBJECT_MAX 256
bool limit_subject_of_client(char out[LIMIT_SUBJECT_MAX], enum limit_by by, const struct netaddr *client, const struct network *network);
bool limit_subject_of_prefix(char out[LIMIT_SUBJECT_MAX], const struct netaddr_prefix *prefix); /* true */
/* "inbound client messages/60 192.0.2.7": the same for lines that differ in how much and burst only, so that those may be changed while it is counted.
 * "inbound client messages/60x10 192.0.2.7" by an exception of 10x: in a bucket that fills at two rates, who has the lower one would wait for what the other took. */
#define LIMIT_BUCKET_MAX (LIMIT_SUBJECT_MAX + 64)
char *limit_bucket_name(char out[LIMIT_BUCKET_MAX], const struct limit_rule *rule, const char *subject);
/* "100/minute burst 200". */
#define LIMIT_RATE_TEXT_MAX 80
char *limit_rate_text(char out[LIMIT_RATE_TEXT_MAX], const struct limit_rule *rule);

#endif

#ifndef WEIR_COMMON_POLICY_SPAM_H
#define WEIR_COMMON_POLICY_SPAM_H
/*
 * spam.h - what a spam score means for a domain's mail: one line of the policy file `spam`
 *
 *     example.edu       inbound   tag>=40 quarantine>=50 discard>90
 *     .example.edu      inbound   action=tag
 *     .                 outbound  quarantine>=off
 *     q.example.edu     to        quarantine>=off discard>off
 *
 * A domain as in mailertable (".": all others); inbound it is the recipient's, outbound the sender's; to: inbound, and before the
 * sender's line for mail from inside, too. Scores are 0 to 100 with two decimals, or off. What a line
 * does not say is as [spam] says. action is what happens at `quarantine`: quarantine, tag or reject.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"

enum spam_given { SPAM_GIVEN_TAG = 1, SPAM_GIVEN_QUARANTINE = 2, SPAM_GIVEN_DISCARD = 4, SPAM_GIVEN_ACTION = 8 };

struct spam_rule {
    unsigned given; /* enum spam_given: which of these it says */
    uint32_t tag, quarantine, discard; /* hundredths, SCORE_OFF */
    int action;     /* enum spam_action */
    bool outbound, to; /* neither: inbound; not both */
    unsigned line;
};

/* What stands behind the domain; edited in place. false: why. */
bool spam_rule_parse(struct spam_rule *rule, char *text, struct error *why);

#endif

#ifndef WEIR_EDGE_SPAM_BANDS_H
#define WEIR_EDGE_SPAM_BANDS_H
/*
 * bands.h - what a spam score means for one recipient's copy
 *
 * Pure. A virus is never judged by it: that was decided before.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/policy/policy.h"
#include "common/settings.h"
#include "proto/weir.pb-c.h"

enum spam_fate { SPAM_FATE_DELIVER, SPAM_FATE_TAG, SPAM_FATE_QUARANTINE, SPAM_FATE_REJECT, SPAM_FATE_DISCARD };
#define SPAM_FATES 5
const char *spam_fate_name(enum spam_fate fate); /* in metrics; static */

struct spam_bands { /* hundredths, SCORE_OFF: none */
    uint32_t tag;        /* from it on */
    uint32_t quarantine; /* from it on: action */
    uint32_t discard;    /* over it */
    enum spam_action action;
};

/* Those of [spam], and over them what the policy's file `spam` says of the mail's domains, which are in their canonical spelling
 * ("": the null sender's): inbound the recipient's, outbound the sender's, where no line is of mail to the recipient's. policy NULL: none yet. */
void spam_bands_of(struct spam_bands *bands, const struct spam_settings *settings, const struct policy *policy, bool outbound, const char *sender, const char *recipient);
enum spam_fate spam_fate(const struct spam_bands *bands, uint32_t score);
/* An engine was asked and said nothing: spam_failure decides. A message that is too large for it is no failure. */
bool spam_is_incomplete(const Weir__SpamResult *result);

#endif

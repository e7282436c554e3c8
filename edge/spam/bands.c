/* bands.c - see bands.h */
#include "edge/spam/bands.h"
#include "common/score.h"

static const struct spam_rule *rule_of(const struct policy *policy, bool outbound, const char *sender, const char *recipient)
{
    const struct spam_rule *inbound = policy_spam(policy, false, recipient);
    return outbound && (inbound == NULL || !inbound->to) ? policy_spam(policy, true, sender) : inbound;
}

void spam_bands_of(struct spam_bands *bands, const struct spam_settings *settings, const struct policy *policy, bool outbound, const char *sender, const char *recipient)
{
    *bands = (struct spam_bands){ .action = (enum spam_action)settings->spam_action };
    score_threshold_parse(&bands->tag, settings->tag_score); /* their form is checked */
    score_threshold_parse(&bands->quarantine, settings->quarantine_score);
    score_threshold_parse(&bands->discard, settings->discard_score);
    const struct spam_rule *rule = policy != NULL ? rule_of(policy, outbound, sender, recipient) : NULL;
    if (rule == NULL)
        return;
    if (rule->given & SPAM_GIVEN_TAG)
        bands->tag = rule->tag;
    if (rule->given & SPAM_GIVEN_QUARANTINE)
        bands->quarantine = rule->quarantine;
    if (rule->given & SPAM_GIVEN_DISCARD)
        bands->discard = rule->discard;
    if (rule->given & SPAM_GIVEN_ACTION)
        bands->action = (enum spam_action)rule->action;
}

enum spam_fate spam_fate(const struct spam_bands *bands, uint32_t score)
{
    static const enum spam_fate by_action[] = { [SPAM_QUARANTINE] = SPAM_FATE_QUARANTINE, [SPAM_TAG] = SPAM_FATE_TAG, [SPAM_REJECT] = SPAM_FATE_REJECT };
    if (score > bands->discard)
        return SPAM_FATE_DISCARD;
    if (score >= bands->quarantine)
        return by_action[bands->action];
    return score >= bands->tag ? SPAM_FATE_TAG : SPAM_FATE_DELIVER;
}

const char *spam_fate_name(enum spam_fate fate)
{
    static const char *const names[SPAM_FATES] = { "deliver", "tag", "quarantine", "reject", "discard" };
    return names[fate];
}

bool spam_is_incomplete(const Weir__SpamResult *result)
{
    for (size_t i = 0; i < result->n_engines; i++)
        if (result->engines[i]->state != WEIR__SPAM_STATE__SPAM_OK && result->engines[i]->state != WEIR__SPAM_STATE__SPAM_SIZE)
            return true;
    return false;
}

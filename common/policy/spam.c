/* spam.c - see spam.h */
#include "common/policy/spam.h"
#include <string.h>
#include "common/score.h"
#include "common/settings.h"

#define FORM "expected DOMAIN inbound|outbound|to and tag>=40, quarantine>=50, discard>90, action=quarantine|tag|reject, as example.edu inbound quarantine>=60"

static bool take_score(struct spam_rule *rule, const char *word, struct error *why)
{
    static const struct {
        const char *name;
        unsigned given;
    } scores[] = { { "tag>=", SPAM_GIVEN_TAG }, { "quarantine>=", SPAM_GIVEN_QUARANTINE }, { "discard>", SPAM_GIVEN_DISCARD } };
    uint32_t *const to[] = { &rule->tag, &rule->quarantine, &rule->discard };

    for (size_t i = 0; i < sizeof scores / sizeof *scores; i++) {
        size_t len = strlen(scores[i].name);
        if (strncmp(word, scores[i].name, len) != 0)
            continue;
        if (!score_threshold_parse(to[i], word + len)) {
            error_set(why, "'%.80s': a score from 0 to 100 with at most two decimals, or off", word);
            return false;
        }
        if (rule->given & scores[i].given) {
            error_set(why, "'%.80s': said twice", word);
            return false;
        }
        rule->given |= scores[i].given;
        return true;
    }
    error_set(why, "'%.80s': " FORM, word);
    return false;
}

static bool take_action(struct spam_rule *rule, const char *name, struct error *why)
{
    static const char *const names[] = { [SPAM_QUARANTINE] = "quarantine", [SPAM_TAG] = "tag", [SPAM_REJECT] = "reject" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0 && (rule->given & SPAM_GIVEN_ACTION) == 0) {
            rule->action = (int)i;
            rule->given |= SPAM_GIVEN_ACTION;
            return true;
        }
    error_set(why, "'action=%.80s': one of quarantine, tag and reject, once", name);
    return false;
}

bool spam_rule_parse(struct spam_rule *rule, char *text, struct error *why)
{
    char *rest = text, *word = strtok_r(text, " \t\r\n", &rest);
    bool good = word != NULL && (strcmp(word, "inbound") == 0 || strcmp(word, "outbound") == 0 || strcmp(word, "to") == 0);

    *rule = (struct spam_rule){ .outbound = good && *word == 'o', .to = good && *word == 't' };
    if (!good) {
        error_set(why, FORM);
        return false;
    }
    while (good && (word = strtok_r(NULL, " \t\r\n", &rest)) != NULL)
        good = strncmp(word, "action=", 7) == 0 ? take_action(rule, word + 7, why) : take_score(rule, word, why);
    if (good && rule->given == 0)
        error_set(why, FORM);
    return good && rule->given != 0;
}

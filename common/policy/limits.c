/* limits.c - see limits.h */
#include "common/policy/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/config.h"

static const char *const directions[LIMIT_DIRECTIONS] = { "inbound", "outbound", "submission", "handoff" };
static const char *const bys[LIMIT_BYS] = { "client", "prefix", "host", "account", "domain", "registered", "unregistered" };
static const char *const whats[LIMIT_WHATS] = { "connections", "messages", "recipients", "bytes" };

static const struct period {
    const char *name, *brief;
    uint64_t ms;
} periods[] = { { "second", "s", 1000 }, { "minute", "min", 60000 }, { "hour", "h", 3600000 }, { "day", "d", BUCKET_PERIOD_MAX } };
#define PERIODS (sizeof periods / sizeof *periods)

const char *limit_direction_name(enum limit_direction direction)
{
    return directions[direction];
}

const char *limit_by_name(enum limit_by by)
{
    return bys[by];
}

const char *limit_what_name(enum limit_what what)
{
    return whats[what];
}

/* The next word of *text, which moves behind it; "" at its end. */
static char *next_word(char **text)
{
    char *word = *text;
    size_t len = strcspn(word, " \t");

    *text += len + strspn(word + len, " \t");
    word[len] = '\0';
    return word;
}

static bool find_word(int *out, const char *word, const char *const *names, int count, const char *of, struct error *why)
{
    char all[120] = "";

    for (int i = 0; i < count; i++) {
        if (strcmp(word, names[i]) == 0) {
            *out = i;
            return true;
        }
        size_t len = strlen(all);
        snprintf(all + len, sizeof all - len, "%s%s", i == 0 ? "" : i == count - 1 ? " or " : ", ", names[i]);
    }
    error_set(why, "'%.80s' is no %s: %s, as in inbound client messages 100/minute", word, of, all);
    return false;
}

static bool take_amount(uint64_t *out, const char *word, enum limit_what what, struct error *why)
{
    size_t digits = strspn(word, "0123456789");
    bool fine = what == LIMIT_OF_BYTES ? config_parse_size(word, out) : digits > 0 && digits <= 12 && word[digits] == '\0';

    if (fine && what != LIMIT_OF_BYTES)
        *out = strtoull(word, NULL, 10);
    if (fine && *out >= 1 && *out <= BUCKET_AMOUNT_MAX)
        return true;
    error_set(why, what == LIMIT_OF_BYTES ? "'%.80s': a size from 1 to 100000000000 bytes, as 500MiB" : "'%.80s': a number from 1 to 100000000000", word);
    return false;
}

/* "100/minute" */
static bool take_rate(struct limit_rule *rule, char *word, struct error *why)
{
    char *unit = strchr(word, '/');

    if (unit == NULL) {
        error_set(why, "'%.80s' is no rate: an amount and its time, as %s", word, rule->what == LIMIT_OF_BYTES ? "500MiB/hour" : "100/minute");
        return false;
    }
    *unit++ = '\0';
    for (size_t i = 0; i < PERIODS; i++)
        if (strcmp(unit, periods[i].name) == 0 || strcmp(unit, periods[i].brief) == 0) {
            rule->rate.period_ms = periods[i].ms;
            return take_amount(&rule->rate.amount, word, rule->what, why);
        }
    error_set(why, "'/%.80s' is no time: /second, /minute, /hour or /day (/s, /min, /h, /d)", unit);
    return false;
}

/* What could never be met would look like protection. */
static bool check_meaning(const struct limit_rule *rule, struct error *why)
{
    bool of_connections = rule->what == LIMIT_OF_CONNECTIONS;

    if (of_connections && (rule->by == LIMIT_BY_ACCOUNT || rule->by == LIMIT_BY_DOMAIN)) {
        error_set(why, "%s connections: when a client connects, nobody has logged in or named a sender; those are limited by client, prefix or host", bys[rule->by]);
        return false;
    }
    if (rule->direction == LIMIT_INBOUND && rule->by != LIMIT_BY_CLIENT && rule->by != LIMIT_BY_PREFIX && rule->by != LIMIT_BY_DOMAIN) {
        error_set(why, "inbound %s: what comes from %s is outbound", bys[rule->by],
                  rule->by == LIMIT_BY_HOST ? "a line of networks" : rule->by == LIMIT_BY_ACCOUNT ? "who logged in" : "inside hosts");
        return false;
    }
    return true;
}

static bool take_options(struct limit_rule *rule, char *text, struct error *why)
{
    bool refuse = false;

    while (*text != '\0') {
        char *word = next_word(&text);
        if (strcmp(word, "burst") == 0 && rule->rate.burst == 0) {
            if (!take_amount(&rule->rate.burst, next_word(&text), rule->what, why))
                return false;
        } else if (strcmp(word, "dry_run") == 0 && !rule->dry_run && !refuse) {
            rule->dry_run = true;
        } else if (strcmp(word, "refuse") == 0 && !rule->dry_run && !refuse && rule->direction == LIMIT_HANDOFF) {
            refuse = true;
        } else {
            error_set(why, "'%.80s' is not understood here: behind the rate there may be burst N, and %s, each once", word,
                      rule->direction == LIMIT_HANDOFF ? "dry_run or refuse" : "dry_run");
            return false;
        }
    }
    if (rule->direction == LIMIT_HANDOFF && !rule->dry_run && !refuse) {
        error_set(why, "handoff: its devices cannot send again what is refused: say refuse at the end of the line, or dry_run to have it only logged and counted");
        return false;
    }
    if (rule->rate.burst == 0)
        rule->rate.burst = rule->rate.amount;
    return true;
}

static bool is_same(const struct limit_rule *a, const struct limit_rule *b)
{
    return a->direction == b->direction && a->by == b->by && a->what == b->what && a->rate.period_ms == b->rate.period_ms;
}

bool limits_add(struct limits *limits, char *text, unsigned line, struct error *why)
{
    struct limit_rule rule = { .line = line };
    int direction = 0, by = 0, what = 0;

    if (!find_word(&direction, next_word(&text), directions, LIMIT_DIRECTIONS, "direction", why) ||
        !find_word(&by, next_word(&text), bys, LIMIT_BYS, "party", why) ||
        !find_word(&what, next_word(&text), whats, LIMIT_WHATS, "quantity", why))
        return false;
    rule.direction = (enum limit_direction)direction;
    rule.by = (enum limit_by)by;
    rule.what = (enum limit_what)what;
    if (!take_rate(&rule, next_word(&text), why) || !take_options(&rule, text, why) || !check_meaning(&rule, why))
        return false;
    for (size_t i = 0; i < limits->count; i++)
        if (is_same(&limits->rules[i], &rule)) {
            error_set(why, "line %u limits the same in the same time already", limits->rules[i].line);
            return false;
        }
    if (limits->count == LIMITS_MOST) {
        error_set(why, "more than %d limits", LIMITS_MOST);
        return false;
    }
    limits->rules[limits->count++] = rule;
    return true;
}

static void prefix_text(char out[LIMIT_SUBJECT_MAX], const struct netaddr *address, unsigned bits)
{
    struct netaddr base = *address;
    char text[NETADDR_TEXT_MAX];

    for (unsigned bit = bits; bit < (base.family == AF_INET6 ? 128u : 32u); bit++)
        base.bytes[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
    snprintf(out, LIMIT_SUBJECT_MAX, "%s/%u", netaddr_format(&base, text), bits);
}

bool limit_subject_of_prefix(char out[LIMIT_SUBJECT_MAX], const struct netaddr_prefix *prefix)
{
    prefix_text(out, &prefix->address, prefix->bits);
    return true;
}

bool limit_subject_of_client(char out[LIMIT_SUBJECT_MAX], enum limit_by by, const struct netaddr *client, const struct network *network)
{
    bool is_v6 = client->family == AF_INET6;
    char text[NETADDR_TEXT_MAX];

    if (by == LIMIT_BY_HOST && network != NULL && !network->excluded)
        prefix_text(out, &network->prefix.address, network->prefix.bits);
    else if (by == LIMIT_BY_PREFIX)
        prefix_text(out, client, is_v6 ? 48 : 24);
    else if (by == LIMIT_BY_CLIENT && is_v6) /* a host has as many addresses as it likes */
        prefix_text(out, client, 64);
    else if (by == LIMIT_BY_CLIENT)
        snprintf(out, LIMIT_SUBJECT_MAX, "%s", netaddr_format(client, text));
    else
        return false;
    return true;
}

char *limit_bucket_name(char out[LIMIT_BUCKET_MAX], const struct limit_rule *rule, const char *subject)
{
    char times[16] = "";
    if (rule->times > 1)
        snprintf(times, sizeof times, "x%u", rule->times);
    snprintf(out, LIMIT_BUCKET_MAX, "%s %s %s/%u%s %s", directions[rule->direction], bys[rule->by], whats[rule->what], (unsigned)(rule->rate.period_ms / 1000), times, subject);
    return out;
}

char *limit_rate_text(char out[LIMIT_RATE_TEXT_MAX], const struct limit_rule *rule)
{
    const char *period = "";

    for (size_t i = 0; i < PERIODS; i++)
        if (periods[i].ms == rule->rate.period_ms)
            period = periods[i].name;
    snprintf(out, LIMIT_RATE_TEXT_MAX, "%llu/%s burst %llu", (unsigned long long)rule->rate.amount, period, (unsigned long long)rule->rate.burst);
    return out;
}

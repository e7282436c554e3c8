/* exceptions.c - see exceptions.h */
#include "common/policy/exceptions.h"

#include <stdlib.h>
#include <string.h>
#include "common/config.h"
#include "common/memory.h"
#include "common/policy/pairs.h"

#define SIZE_LEAST     1024
#define SIZE_MOST      (1ull << 40) /* as the listeners' max_message_size and max_recipients */
#define RECIPIENTS_MOST 100000
#define ACCOUNT "account:"
#define EXCEPTION_ACCOUNT_MAX 256

void exceptions_fini(struct exceptions *exceptions)
{
    prefixes_fini(&exceptions->prefixes);
    domains_fini(&exceptions->accounts);
    free(exceptions->rules);
    *exceptions = (struct exceptions){ 0 };
}

static bool take_size(struct exception *out, const char *value, struct error *why)
{
    if (config_parse_size(value, &out->max_message_size) && out->max_message_size >= SIZE_LEAST && out->max_message_size <= SIZE_MOST)
        return true;
    error_set(why, "max_message_size=%.80s: a size from 1KiB to 1TiB, as 100MiB", value);
    return false;
}

static bool take_recipients(struct exception *out, const char *value, struct error *why)
{
    size_t digits = strspn(value, "0123456789");

    out->max_recipients = digits > 0 && digits <= 6 && value[digits] == '\0' ? strtoul(value, NULL, 10) : 0;
    if (out->max_recipients >= 1 && out->max_recipients <= RECIPIENTS_MOST)
        return true;
    error_set(why, "max_recipients=%.80s: a number from 1 to %d", value, RECIPIENTS_MOST);
    return false;
}

static bool take_limits(struct exception *out, const char *value, struct error *why)
{
    size_t digits = strspn(value, "0123456789");

    if (strcmp(value, "none") == 0) {
        out->limits = EXCEPTION_NO_LIMITS;
        return true;
    }
    out->limits = digits > 0 && digits <= 4 && strcmp(value + digits, "x") == 0 ? (unsigned)strtoul(value, NULL, 10) : 0;
    if (out->limits >= 2 && out->limits <= EXCEPTION_TIMES_MOST)
        return true;
    error_set(why, "limits=%.80s: how many times as much as the lines of limits say, from 2x to %dx, or none", value, EXCEPTION_TIMES_MOST);
    return false;
}

enum { KEY_SIZE, KEY_RECIPIENTS, KEY_LIMITS, KEY_REASON, KEY_OWNER, KEY_APPROVED_BY, KEY_EXPIRES, KEYS };

static const char *const keys[KEYS] = { "max_message_size", "max_recipients", "limits", "reason", "owner", "approved_by", "expires" };

static bool take_value(struct exception *out, int key, const char *value, struct error *why)
{
    switch (key) {
    case KEY_SIZE:
        return take_size(out, value, why);
    case KEY_RECIPIENTS:
        return take_recipients(out, value, why);
    case KEY_LIMITS:
        return take_limits(out, value, why);
    case KEY_REASON:
        return pairs_take_words(&out->reason, keys[key], value, why);
    case KEY_OWNER:
        return pairs_take_words(&out->owner, keys[key], value, why);
    case KEY_APPROVED_BY:
        return pairs_take_words(&out->approved_by, keys[key], value, why);
    default:
        return pairs_take_end(&out->expires, value, why);
    }
}

static bool take_pairs(struct exception *out, char *text, struct error *why)
{
    unsigned given = 0;

    while (*text != '\0') {
        char *name, *value;
        int key = 0;
        if (!pairs_next(&text, &name, &value, why))
            return false;
        while (key < KEYS && strcmp(name, keys[key]) != 0)
            key++;
        if (key == KEYS || (given >> key & 1)) {
            error_set(why, key < KEYS ? "%.80s is given twice"
                                      : "unknown key '%.80s': those are max_message_size, max_recipients, limits, reason, owner, approved_by and expires",
                      name);
            return false;
        }
        given |= 1u << key;
        if (!take_value(out, key, value, why))
            return false;
    }
    if ((given & (1u << KEY_SIZE | 1u << KEY_RECIPIENTS | 1u << KEY_LIMITS)) == 0) {
        error_set(why, "it changes no limit: give max_message_size=, max_recipients= or limits=");
        return false;
    }
    if (out->account != NULL && (given & (1u << KEY_SIZE | 1u << KEY_RECIPIENTS)) != 0) {
        error_set(why, "an account has limits= only: max_message_size and max_recipients count before anybody has logged in, and are a network's");
        return false;
    }
    for (int key = KEY_REASON; key < KEYS; key++)
        if (!(given >> key & 1)) {
            error_set(why, "%s= is missing: an exception has reason, owner, approved_by and expires", keys[key]);
            return false;
        }
    return true;
}

/* "account:joe", as edges know logins. */
static bool take_account(struct exception *rule, char *word, struct error *why)
{
    if (*word == '\0' || strlen(word) >= EXCEPTION_ACCOUNT_MAX) {
        error_set(why, "account:%.80s: the name of an account, as account:newsletter", word);
        return false;
    }
    for (char *at = word; *at != '\0'; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at | 0x20);
    rule->account = word;
    return true;
}

static bool take_party(struct exceptions *exceptions, struct exception *rule, char *word, struct error *why)
{
    if (strncmp(word, ACCOUNT, sizeof ACCOUNT - 1) != 0)
        return netaddr_prefix_parse(&rule->prefix, word, why);
    if (!take_account(rule, word + sizeof ACCOUNT - 1, why))
        return false;
    uint32_t known = domains_find(&exceptions->accounts, rule->account);
    if (known != DOMAINS_NONE)
        error_set(why, "account:%s has an exception already, in line %u", rule->account, exceptions->rules[known].line);
    return known == DOMAINS_NONE;
}

bool exceptions_add(struct exceptions *exceptions, char *text, unsigned line, struct error *why)
{
    struct exception rule = { .line = line };
    size_t len = strcspn(text, " \t");
    char *rest = text + len + strspn(text + len, " \t");

    text[len] = '\0';
    if (!take_party(exceptions, &rule, text, why) || !take_pairs(&rule, rest, why))
        return false;
    if (exceptions->count == exceptions->room) {
        exceptions->room = exceptions->room > 0 ? 2 * exceptions->room : 16;
        exceptions->rules = xrealloc(exceptions->rules, exceptions->room * sizeof *exceptions->rules);
    }
    if (rule.account != NULL)
        domains_add(&exceptions->accounts, rule.account, (uint32_t)exceptions->count);
    else
        prefixes_add(&exceptions->prefixes, &rule.prefix, (uint32_t)exceptions->count);
    exceptions->rules[exceptions->count++] = rule;
    return true;
}

bool exceptions_finish(struct exceptions *exceptions, unsigned *line, struct error *why)
{
    const struct prefix_entry *entries = exceptions->prefixes.entries;

    prefixes_sort(&exceptions->prefixes);
    for (size_t i = 1; i < exceptions->prefixes.count; i++) {
        const struct exception *a = &exceptions->rules[entries[i - 1].value], *b = &exceptions->rules[entries[i].value];
        char text[NETADDR_TEXT_MAX];
        if (!prefixes_equal(&a->prefix, &b->prefix))
            continue;
        error_set(why, "%s/%u has an exception already, in line %u", netaddr_format(&b->prefix.address, text), b->prefix.bits, a->line);
        *line = b->line;
        return false;
    }
    return true;
}

static const struct exception *find(const struct exceptions *exceptions, const struct netaddr *address, unsigned bits, int64_t now, bool with_limits)
{
    const struct prefix_entry *entry = prefixes_find(&exceptions->prefixes, address, bits);

    while (entry != NULL && (exceptions->rules[entry->value].expires <= now || (with_limits && exceptions->rules[entry->value].limits == 0)))
        entry = entry->prefix.bits > 0 ? prefixes_find(&exceptions->prefixes, address, entry->prefix.bits - 1u) : NULL;
    return entry != NULL ? &exceptions->rules[entry->value] : NULL;
}

const struct exception *exceptions_find(const struct exceptions *exceptions, const struct netaddr *address, int64_t now)
{
    return find(exceptions, address, PREFIXES_LONGEST, now, false);
}

const struct exception *exceptions_find_limits(const struct exceptions *exceptions, const struct netaddr *address, unsigned bits, int64_t now)
{
    return find(exceptions, address, bits, now, true);
}

const struct exception *exceptions_find_account(const struct exceptions *exceptions, const char *account, int64_t now)
{
    uint32_t index = exceptions->accounts.count > 0 ? domains_find(&exceptions->accounts, account) : DOMAINS_NONE;

    return index != DOMAINS_NONE && exceptions->rules[index].expires > now ? &exceptions->rules[index] : NULL;
}

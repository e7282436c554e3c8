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

void exceptions_fini(struct exceptions *exceptions)
{
    prefixes_fini(&exceptions->prefixes);
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

enum { KEY_SIZE, KEY_RECIPIENTS, KEY_REASON, KEY_OWNER, KEY_APPROVED_BY, KEY_EXPIRES, KEYS };

static const char *const keys[KEYS] = { "max_message_size", "max_recipients", "reason", "owner", "approved_by", "expires" };

static bool take_value(struct exception *out, int key, const char *value, struct error *why)
{
    switch (key) {
    case KEY_SIZE:
        return take_size(out, value, why);
    case KEY_RECIPIENTS:
        return take_recipients(out, value, why);
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
                                      : "unknown key '%.80s': those are max_message_size, max_recipients, reason, owner, approved_by and expires",
                      name);
            return false;
        }
        given |= 1u << key;
        if (!take_value(out, key, value, why))
            return false;
    }
    if ((given & (1u << KEY_SIZE | 1u << KEY_RECIPIENTS)) == 0) {
        error_set(why, "it changes no limit: give max_message_size= or max_recipients=");
        return false;
    }
    for (int key = KEY_REASON; key < KEYS; key++)
        if (!(given >> key & 1)) {
            error_set(why, "%s= is missing: an exception has reason, owner, approved_by and expires", keys[key]);
            return false;
        }
    return true;
}

bool exceptions_add(struct exceptions *exceptions, char *text, unsigned line, struct error *why)
{
    struct exception rule = { .line = line };
    size_t len = strcspn(text, " \t");
    char *rest = text + len + strspn(text + len, " \t");

    text[len] = '\0';
    if (!netaddr_prefix_parse(&rule.prefix, text, why) || !take_pairs(&rule, rest, why))
        return false;
    if (exceptions->count == exceptions->room) {
        exceptions->room = exceptions->room > 0 ? 2 * exceptions->room : 16;
        exceptions->rules = xrealloc(exceptions->rules, exceptions->room * sizeof *exceptions->rules);
    }
    prefixes_add(&exceptions->prefixes, &rule.prefix, (uint32_t)exceptions->count);
    exceptions->rules[exceptions->count++] = rule;
    return true;
}

bool exceptions_finish(struct exceptions *exceptions, unsigned *line, struct error *why)
{
    const struct prefix_entry *entries = exceptions->prefixes.entries;

    prefixes_sort(&exceptions->prefixes);
    for (size_t i = 1; i < exceptions->count; i++) {
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

const struct exception *exceptions_find(const struct exceptions *exceptions, const struct netaddr *address, int64_t now)
{
    const struct prefix_entry *entry = prefixes_find(&exceptions->prefixes, address, PREFIXES_LONGEST);

    while (entry != NULL && exceptions->rules[entry->value].expires <= now)
        entry = entry->prefix.bits > 0 ? prefixes_find(&exceptions->prefixes, address, entry->prefix.bits - 1u) : NULL;
    return entry != NULL ? &exceptions->rules[entry->value] : NULL;
}

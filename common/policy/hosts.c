/* hosts.c - see hosts.h */
#include "common/policy/hosts.h"

#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "common/policy/pairs.h"

void hosts_fini(struct hosts *hosts)
{
    prefixes_fini(&hosts->prefixes);
    free(hosts->rules);
    *hosts = (struct hosts){ 0 };
}

static bool take_pairs(struct registered_host *out, char *text, struct error *why)
{
    out->expires = INT64_MAX;
    while (*text != '\0') {
        char *key, *value;
        if (!pairs_next(&text, &key, &value, why))
            return false;
        bool ends = strcmp(key, "expires") == 0;
        const char **place = strcmp(key, "owner") == 0 ? &out->owner : strcmp(key, "reason") == 0 ? &out->reason : strcmp(key, "approved_by") == 0 ? &out->approved_by : NULL;
        if ((place == NULL && !ends) || (ends ? out->expires != INT64_MAX : *place != NULL)) {
            error_set(why, place != NULL || ends ? "%.80s is given twice" : "unknown key '%.80s': those are owner, reason, approved_by and expires", key);
            return false;
        }
        if (ends ? !pairs_take_end(&out->expires, value, why) : !pairs_take_words(place, key, value, why))
            return false;
    }
    if (out->owner != NULL && out->reason != NULL)
        return true;
    error_set(why, "%s= is missing: a registered host has owner and reason", out->owner == NULL ? "owner" : "reason");
    return false;
}

bool hosts_add(struct hosts *hosts, char *text, unsigned line, struct error *why)
{
    struct registered_host rule = { .line = line };
    size_t len = strcspn(text, " \t");
    char *rest = text + len + strspn(text + len, " \t");

    text[len] = '\0';
    if (!netaddr_prefix_parse(&rule.prefix, text, why) || !take_pairs(&rule, rest, why))
        return false;
    if (rule.prefix.bits == 0) {
        error_set(why, "%s would register every host", text);
        return false;
    }
    if (hosts->count == hosts->room) {
        hosts->room = hosts->room > 0 ? 2 * hosts->room : 64;
        hosts->rules = xrealloc(hosts->rules, hosts->room * sizeof *hosts->rules);
    }
    prefixes_add(&hosts->prefixes, &rule.prefix, (uint32_t)hosts->count);
    hosts->rules[hosts->count++] = rule;
    return true;
}

bool hosts_finish(struct hosts *hosts, unsigned *line, struct error *why)
{
    const struct prefix_entry *entries = hosts->prefixes.entries;

    prefixes_sort(&hosts->prefixes);
    for (size_t i = 1; i < hosts->count; i++) {
        const struct registered_host *a = &hosts->rules[entries[i - 1].value], *b = &hosts->rules[entries[i].value];
        char text[NETADDR_TEXT_MAX];
        if (!prefixes_equal(&a->prefix, &b->prefix))
            continue;
        error_set(why, "%s/%u is registered already, in line %u", netaddr_format(&b->prefix.address, text), b->prefix.bits, a->line);
        *line = b->line;
        return false;
    }
    return true;
}

const struct registered_host *hosts_find(const struct hosts *hosts, const struct netaddr *address, int64_t now)
{
    const struct prefix_entry *entry = prefixes_find(&hosts->prefixes, address, PREFIXES_LONGEST);

    while (entry != NULL && hosts->rules[entry->value].expires <= now)
        entry = entry->prefix.bits > 0 ? prefixes_find(&hosts->prefixes, address, entry->prefix.bits - 1u) : NULL;
    return entry != NULL ? &hosts->rules[entry->value] : NULL;
}

/* networks.c - see networks.h */
#include "common/policy/networks.h"

#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

#define NAME_MAX_LEN 63
#define NAME_BYTES   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@+"

/* Bits. What is shorter belongs to no site; two lines with one bit each would be everybody. fc00::/7 is of IPv6 what 10.0.0.0/8 is. */
#define SHORTEST_V4 8
#define SHORTEST_V6 7

void networks_fini(struct networks *networks)
{
    prefixes_fini(&networks->prefixes);
    free(networks->rules);
    *networks = (struct networks){ 0 };
}

/* What follows the network on its line. A second network would be taken for a name otherwise, so a name begins with a letter. */
static bool take_name(struct network *rule, const char *text, const char *network, struct error *why)
{
    size_t len = strspn(text, NAME_BYTES);

    if (*text == '\0')
        return true;
    if (text[len] != '\0' || len > NAME_MAX_LEN || strchr("0123456789._-", *text) != NULL) {
        error_set(why, "'%s' after %.80s: one network a line, and behind it at most its name: a letter, then letters, digits, '.', '_', '-', or a mail address", text,
                  network);
        return false;
    }
    rule->name = text;
    return true;
}

bool networks_add(struct networks *networks, char *text, unsigned line, struct error *why)
{
    struct network rule = { .line = line, .excluded = *text == '!' };

    if (rule.excluded)
        text += 1 + strspn(text + 1, " \t");
    size_t len = strcspn(text, " \t,");
    char *rest = text + len + strspn(text + len, " \t");
    if (text[len] == ',') {
        error_set(why, "'%s' after %.*s: one network a line", text + len, (int)(len < 80 ? len : 80), text);
        return false;
    }
    text[len] = '\0';
    if (!netaddr_prefix_parse(&rule.prefix, text, why) || !take_name(&rule, rest, text, why))
        return false;
    if (rule.prefix.bits == 0 && !rule.excluded) {
        error_set(why, "%s would make every host an inside one, and this an open relay", text);
        return false;
    }
    if (networks->count == networks->room) {
        networks->room = networks->room > 0 ? 2 * networks->room : 64;
        networks->rules = xrealloc(networks->rules, networks->room * sizeof *networks->rules);
    }
    prefixes_add(&networks->prefixes, &rule.prefix, (uint32_t)networks->count);
    networks->rules[networks->count++] = rule;
    return true;
}

bool networks_finish(struct networks *networks, unsigned *line, struct error *why)
{
    const struct prefix_entry *entries = networks->prefixes.entries;

    prefixes_sort(&networks->prefixes);
    for (size_t i = 1; i < networks->count; i++) {
        const struct network *a = &networks->rules[entries[i - 1].value], *b = &networks->rules[entries[i].value];
        if (!prefixes_equal(&a->prefix, &b->prefix) || a->excluded == b->excluded)
            continue;
        char text[NETADDR_TEXT_MAX];
        error_set(why, "%s/%u is inside and excluded: line %u says the opposite", netaddr_format(&b->prefix.address, text),
                  b->prefix.bits, a->line);
        *line = b->line;
        return false;
    }
    return true;
}

static bool has_another_name(const struct network *a, const struct network *b)
{
    return prefixes_equal(&a->prefix, &b->prefix) && strcmp(a->name != NULL ? a->name : "", b->name != NULL ? b->name : "") != 0;
}

bool networks_doubt(const struct networks *networks, unsigned *line, struct error *why)
{
    const struct prefix_entry *entries = networks->prefixes.entries;

    for (size_t i = 0; i < networks->count; i++) {
        const struct network *rule = &networks->rules[entries[i].value], *before = i > 0 ? &networks->rules[entries[i - 1].value] : NULL;
        bool too_short = !rule->excluded && rule->prefix.bits < (rule->prefix.address.family == AF_INET6 ? SHORTEST_V6 : SHORTEST_V4);
        char text[NETADDR_TEXT_MAX];
        if (!too_short && (before == NULL || !has_another_name(before, rule)))
            continue;
        netaddr_format(&rule->prefix.address, text);
        if (too_short)
            error_set(why, "%s/%u is no site's: inside networks have /8 and longer, or /7 and longer of IPv6", text, rule->prefix.bits);
        else
            error_set(why, "%s/%u has another name in line %u", text, rule->prefix.bits, before->line);
        *line = rule->line;
        return true;
    }
    return false;
}

const struct network *networks_find(const struct networks *networks, const struct netaddr *address)
{
    const struct prefix_entry *entry = prefixes_find(&networks->prefixes, address, PREFIXES_LONGEST);

    return entry != NULL ? &networks->rules[entry->value] : NULL;
}

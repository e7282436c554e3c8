/* networks.c - see networks.h */
#include "common/policy/networks.h"

#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

void networks_fini(struct networks *networks)
{
    free(networks->rules);
    *networks = (struct networks){ 0 };
}

bool networks_add(struct networks *networks, char *text, unsigned line, struct error *why)
{
    struct network rule = { .line = line, .excluded = *text == '!' };

    if (rule.excluded)
        text += 1 + strspn(text + 1, " \t");
    size_t len = strcspn(text, " \t,");
    if (text[len] != '\0') {
        error_set(why, "'%s' after %.*s: one network a line", text + len, (int)(len < 80 ? len : 80), text);
        return false;
    }
    if (!netaddr_prefix_parse(&rule.prefix, text, why))
        return false;
    if (rule.prefix.bits == 0 && !rule.excluded) {
        error_set(why, "%s would make every host an inside one, and this an open relay", text);
        return false;
    }
    if (networks->count == networks->room) {
        networks->room = networks->room > 0 ? 2 * networks->room : 64;
        networks->rules = xrealloc(networks->rules, networks->room * sizeof *networks->rules);
    }
    networks->rules[networks->count++] = rule;
    return true;
}

static int compare_prefixes(const struct netaddr_prefix *a, const struct netaddr_prefix *b)
{
    if (a->address.family != b->address.family)
        return a->address.family < b->address.family ? -1 : 1;
    if (a->bits != b->bits)
        return a->bits > b->bits ? -1 : 1;
    return memcmp(a->address.bytes, b->address.bytes, sizeof a->address.bytes);
}

static int compare_rules(const void *left, const void *right)
{
    const struct network *a = left, *b = right;
    int order = compare_prefixes(&a->prefix, &b->prefix);

    return order != 0 ? order : a->line < b->line ? -1 : a->line > b->line;
}

bool networks_finish(struct networks *networks, unsigned *line, struct error *why)
{
    if (networks->count == 0)
        return true;
    qsort(networks->rules, networks->count, sizeof *networks->rules, compare_rules);
    for (size_t i = 1; i < networks->count; i++) {
        const struct network *a = &networks->rules[i - 1], *b = &networks->rules[i];
        if (compare_prefixes(&a->prefix, &b->prefix) != 0 || a->excluded == b->excluded)
            continue;
        char text[NETADDR_TEXT_MAX];
        error_set(why, "%s/%u is inside and excluded: line %u says the opposite", netaddr_format(&b->prefix.address, text),
                  b->prefix.bits, a->line);
        *line = b->line;
        return false;
    }
    return true;
}

/* The first `bits` of address, the rest cleared. */
static struct netaddr_prefix mask(const struct netaddr *address, uint8_t bits)
{
    struct netaddr_prefix prefix = { .address = { .family = address->family }, .bits = bits };

    memcpy(prefix.address.bytes, address->bytes, bits / 8);
    if (bits % 8 != 0)
        prefix.address.bytes[bits / 8] = address->bytes[bits / 8] & (uint8_t)(0xff00 >> bits % 8);
    return prefix;
}

/* The first rule not before the wanted prefix, at or behind `from`. */
static size_t lower_bound(const struct networks *networks, size_t from, const struct netaddr_prefix *wanted)
{
    size_t low = from, high = networks->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_prefixes(&networks->rules[middle].prefix, wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct network *networks_find(const struct networks *networks, const struct netaddr *address)
{
    const unsigned longest = address->family == AF_INET6 ? 128 : 32;
    struct netaddr_prefix wanted = mask(address, (uint8_t)longest);
    size_t at = lower_bound(networks, 0, &wanted);

    /* Where nothing matches, `at` is the next rule in order: its length is the next one that occurs. */
    while (at < networks->count && networks->rules[at].prefix.address.family == address->family) {
        const struct network *rule = &networks->rules[at];
        if (compare_prefixes(&rule->prefix, &wanted) == 0)
            return rule;
        if (rule->prefix.bits < wanted.bits) {
            wanted = mask(address, rule->prefix.bits);
        } else {
            /* passed within this length: on to the first shorter one */
            if (wanted.bits == 0)
                return NULL;
            wanted = mask(address, (uint8_t)(wanted.bits - 1));
        }
        at = lower_bound(networks, at, &wanted);
    }
    return NULL;
}

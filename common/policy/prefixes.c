/* prefixes.c - see prefixes.h */
#include "common/policy/prefixes.h"

#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

void prefixes_fini(struct prefixes *prefixes)
{
    free(prefixes->entries);
    *prefixes = (struct prefixes){ 0 };
}

void prefixes_add(struct prefixes *prefixes, const struct netaddr_prefix *prefix, uint32_t value)
{
    if (prefixes->count == prefixes->room) {
        prefixes->room = prefixes->room > 0 ? 2 * prefixes->room : 64;
        prefixes->entries = xrealloc(prefixes->entries, prefixes->room * sizeof *prefixes->entries);
    }
    prefixes->entries[prefixes->count++] = (struct prefix_entry){ *prefix, value };
}

static int compare_prefixes(const struct netaddr_prefix *a, const struct netaddr_prefix *b)
{
    if (a->address.family != b->address.family)
        return a->address.family < b->address.family ? -1 : 1;
    if (a->bits != b->bits)
        return a->bits > b->bits ? -1 : 1;
    return memcmp(a->address.bytes, b->address.bytes, sizeof a->address.bytes);
}

static int compare_entries(const void *left, const void *right)
{
    const struct prefix_entry *a = left, *b = right;
    int order = compare_prefixes(&a->prefix, &b->prefix);

    return order != 0 ? order : a->value < b->value ? -1 : a->value > b->value;
}

void prefixes_sort(struct prefixes *prefixes)
{
    if (prefixes->count > 0)
        qsort(prefixes->entries, prefixes->count, sizeof *prefixes->entries, compare_entries);
}

bool prefixes_equal(const struct netaddr_prefix *a, const struct netaddr_prefix *b)
{
    return compare_prefixes(a, b) == 0;
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

/* The first entry not before the wanted prefix, at or behind `from`. */
static size_t lower_bound(const struct prefixes *prefixes, size_t from, const struct netaddr_prefix *wanted)
{
    size_t low = from, high = prefixes->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_prefixes(&prefixes->entries[middle].prefix, wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct prefix_entry *prefixes_find(const struct prefixes *prefixes, const struct netaddr *address, unsigned bits)
{
    const unsigned longest = address->family == AF_INET6 ? 128 : 32;
    struct netaddr_prefix wanted = mask(address, (uint8_t)(bits < longest ? bits : longest));
    size_t at = lower_bound(prefixes, 0, &wanted);

    /* Where nothing matches, `at` is the next entry in order: its length is the next one that occurs. */
    while (at < prefixes->count && prefixes->entries[at].prefix.address.family == address->family) {
        const struct prefix_entry *entry = &prefixes->entries[at];
        if (compare_prefixes(&entry->prefix, &wanted) == 0)
            return entry;
        if (entry->prefix.bits < wanted.bits) {
            wanted = mask(address, entry->prefix.bits);
        } else {
            /* passed within this length: on to the first shorter one */
            if (wanted.bits == 0)
                return NULL;
            wanted = mask(address, (uint8_t)(wanted.bits - 1));
        }
        at = lower_bound(prefixes, at, &wanted);
    }
    return NULL;
}

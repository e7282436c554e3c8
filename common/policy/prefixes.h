#ifndef WEIR_COMMON_POLICY_PREFIXES_H
#define WEIR_COMMON_POLICY_PREFIXES_H
/*
 * prefixes.h - a set of networks, asked for the longest that an address is in
 *
 * Entries are sorted by family, length and address; a lookup is one binary search for each length that occurs, longest first.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/netaddr.h"

struct prefix_entry {
    struct netaddr_prefix prefix;
    uint32_t value;
};

struct prefixes {
    struct prefix_entry *entries;
    size_t count, room;
};

#define PREFIXES_LONGEST 128

/* All zeros is the empty set: add entries, then sort once, then ask. */
void prefixes_fini(struct prefixes *prefixes);
void prefixes_add(struct prefixes *prefixes, const struct netaddr_prefix *prefix, uint32_t value);
/* Entries of one prefix are neighbours then, the lowest value first. */
void prefixes_sort(struct prefixes *prefixes);
bool prefixes_equal(const struct netaddr_prefix *a, const struct netaddr_prefix *b);
/* The longest entry that has address and is no longer than bits; NULL: none. */
const struct prefix_entry *prefixes_find(const struct prefixes *prefixes, const struct netaddr *address, unsigned bits);

#endif

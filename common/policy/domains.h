#ifndef WEIR_COMMON_POLICY_DOMAINS_H
#define WEIR_COMMON_POLICY_DOMAINS_H
/*
 * domains.h - a hash table of domains and ".domain" patterns, asked for the longest match
 *
 * Hashes are taken from a name's end to its front, so one pass over a domain gives the hashes of all its parents: a lookup costs one probe
 * for each label. Keys are borrowed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

struct domain_slot {
    const char *key; /* NULL: free */
    uint32_t hash;
    uint32_t value;
};

struct domains {
    struct domain_slot *slots;
    size_t size, count;
};

#define DOMAINS_NONE UINT32_MAX

/* All zeros is an empty table. */
void domains_fini(struct domains *domains);
/* Adds key with value; when it is there already, nothing changes and its value is returned, else DOMAINS_NONE. */
uint32_t domains_add(struct domains *domains, const char *key, uint32_t value);
uint32_t domains_find(const struct domains *domains, const char *key);
/* The value of domain itself, else of the longest ".parent", else DOMAINS_NONE; "." is not looked at. */
uint32_t domains_find_longest(const struct domains *domains, const char *domain);

/* Lower-cases in place and takes one trailing dot off. false: not a domain (labels of 1..63 letters, digits, '-', '_' or UTF-8; 253 in all). */
bool domain_normalise(char *domain, struct error *why);

#endif

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
#include "common/idn.h"

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

/* The key that equals key, as it was added, or NULL. */
const char *domains_key(const struct domains *domains, const char *key);

/* Spellings that have no room where the name was written. All zeros is empty. */
struct domain_spellings {
    char **items;
    size_t count, room;
};

void domain_spellings_fini(struct domain_spellings *made);
/* The one spelling in which domains are compared: ASCII (common/idn.h), lower case, without a trailing dot. *domain is edited in place, or becomes one of
 * made. false: not a domain (labels of 1..63 letters, digits, '-', '_', or what IDNA makes of other letters; 253 in all). */
bool domain_normalise(char **domain, struct domain_spellings *made, struct error *why);
/* The same for "domain" or ".domain". */
bool domain_pattern_normalise(char **pattern, struct domain_spellings *made, struct error *why);

#endif

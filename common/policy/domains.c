/* domains.c - see domains.h */
#include "common/policy/domains.h"

#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

#define LABEL_MAX 63
#define DOMAIN_MAX 253
#define LABELS_MAX 128 /* more do not fit into 255 bytes */

#define HASH_START 0x811c9dc5u /* FNV-1a; keys are the operator's, so nobody can choose collisions */

static uint32_t hash_byte(uint32_t hash, char byte)
{
    return (hash ^ (unsigned char)byte) * 0x01000193u;
}

static uint32_t hash_all(const char *key, size_t len)
{
    uint32_t hash = HASH_START;

    while (len-- > 0)
        hash = hash_byte(hash, key[len]);
    return hash;
}

/* FNV's low bits are its weak ones. */
static size_t first_slot(const struct domains *domains, uint32_t hash)
{
    return (hash ^ hash >> 15) & (domains->size - 1);
}

static struct domain_slot *probe(const struct domains *domains, const char *key, uint32_t hash)
{
    size_t i = first_slot(domains, hash);

    while (domains->slots[i].key != NULL && (domains->slots[i].hash != hash || strcmp(domains->slots[i].key, key) != 0))
        i = (i + 1) & (domains->size - 1);
    return &domains->slots[i];
}

static void grow(struct domains *domains)
{
    struct domains old = *domains;

    domains->size = old.size > 0 ? 2 * old.size : 64;
    domains->slots = xcalloc(domains->size, sizeof *domains->slots);
    for (size_t i = 0; i < old.size; i++)
        if (old.slots[i].key != NULL)
            *probe(domains, old.slots[i].key, old.slots[i].hash) = old.slots[i];
    free(old.slots);
}

void domains_fini(struct domains *domains)
{
    free(domains->slots);
    *domains = (struct domains){ 0 };
}

uint32_t domains_add(struct domains *domains, const char *key, uint32_t value)
{
    uint32_t hash = hash_all(key, strlen(key));

    if (2 * domains->count >= domains->size)
        grow(domains);
    struct domain_slot *slot = probe(domains, key, hash);
    if (slot->key != NULL)
        return slot->value;
    *slot = (struct domain_slot){ .key = key, .hash = hash, .value = value };
    domains->count++;
    return DOMAINS_NONE;
}

static uint32_t find_hashed(const struct domains *domains, const char *key, uint32_t hash)
{
    const struct domain_slot *slot = probe(domains, key, hash);

    return slot->key != NULL ? slot->value : DOMAINS_NONE;
}

uint32_t domains_find(const struct domains *domains, const char *key)
{
    return domains->count > 0 ? find_hashed(domains, key, hash_all(key, strlen(key))) : DOMAINS_NONE;
}

uint32_t domains_find_longest(const struct domains *domains, const char *domain)
{
    struct {
        const char *key;
        uint32_t hash;
    } parents[LABELS_MAX]; /* shortest first */
    size_t count = 0;
    uint32_t hash = HASH_START, value;

    if (domains->count == 0)
        return DOMAINS_NONE;
    for (size_t i = strlen(domain); i-- > 0;) {
        hash = hash_byte(hash, domain[i]);
        if (domain[i] == '.' && count < LABELS_MAX)
            parents[count].key = domain + i, parents[count++].hash = hash;
    }
    value = find_hashed(domains, domain, hash);
    while (value == DOMAINS_NONE && count-- > 0)
        value = find_hashed(domains, parents[count].key, parents[count].hash);
    return value;
}

const char *domains_key(const struct domains *domains, const char *key)
{
    return domains->count > 0 ? probe(domains, key, hash_all(key, strlen(key)))->key : NULL;
}

/* ---- spellings ---- */

void domain_spellings_fini(struct domain_spellings *made)
{
    for (size_t i = 0; i < made->count; i++)
        free(made->items[i]);
    free(made->items);
    *made = (struct domain_spellings){ 0 };
}

static char *spell(struct domain_spellings *made, const char *prefix, const char *domain)
{
    if (made->count == made->room) {
        made->room = made->room > 0 ? 2 * made->room : 16;
        made->items = xrealloc(made->items, made->room * sizeof *made->items);
    }
    return made->items[made->count++] = xasprintf("%s%s", prefix, domain);
}

static const bool is_label_byte[256] = { ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['-'] = true, ['_'] = true };

static bool is_domain(const char *ascii, size_t len)
{
    size_t label = 0; /* where it begins */

    if (len == 0 || len > DOMAIN_MAX)
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && is_label_byte[(unsigned char)ascii[i]])
            continue;
        if ((i < len && ascii[i] != '.') || i == label || i - label > LABEL_MAX || ascii[label] == '-' || ascii[i - 1] == '-')
            return false;
        label = i + 1;
    }
    return true;
}

/* domain: in *whole, behind what is kept of it (its "." or nothing). */
static bool normalise(char **whole, char *domain, struct domain_spellings *made, struct error *why)
{
    char ascii[IDN_NAME_MAX];
    size_t len = strlen(domain);

    if (len > 0 && domain[len - 1] == '.')
        domain[--len] = '\0';
    bool plain = idn_is_ascii(domain);
    if (!plain && !idn_to_ascii(ascii, domain)) {
        error_set(why, "'%.300s' is not a domain: it has characters, perhaps invisible, that none has (RFC 5892); write letters and digits, or its xn-- form", domain);
        return false;
    }
    if (!is_domain(plain ? domain : ascii, plain ? len : strlen(ascii))) {
        error_set(why, "'%.300s' is not a domain", domain);
        return false;
    }
    if (!plain)
        *whole = spell(made, domain > *whole ? "." : "", ascii);
    for (char *p = *whole; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return true;
}

bool domain_normalise(char **domain, struct domain_spellings *made, struct error *why)
{
    return normalise(domain, *domain, made, why);
}

bool domain_pattern_normalise(char **pattern, struct domain_spellings *made, struct error *why)
{
    return normalise(pattern, *pattern + (**pattern == '.'), made, why);
}

/* domains.c - see domains.h */
#include "common/policy/domains.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "common/utf8.h"

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

static bool label_is_good(const char *label, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t code;
        size_t size = utf8_read(label + i, len - i, &code);
        if (size == 0 || (size == 1 && !isalnum((int)code) && code != '-' && code != '_') || (code > 0x7f && code < 0xa0))
            return false;
        i += size;
    }
    return len > 0 && len <= LABEL_MAX && label[0] != '-' && label[len - 1] != '-';
}

bool domain_normalise(char *domain, struct error *why)
{
    size_t len = strlen(domain);

    if (len > 0 && domain[len - 1] == '.')
        domain[--len] = '\0';
    bool good = len > 0 && len <= DOMAIN_MAX;
    for (const char *label = domain; good && label != NULL;) {
        const char *dot = strchr(label, '.');
        good = label_is_good(label, dot != NULL ? (size_t)(dot - label) : strlen(label));
        label = dot != NULL ? dot + 1 : NULL;
    }
    if (!good) {
        error_set(why, "'%.300s' is not a domain", domain);
        return false;
    }
    for (char *p = domain; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return true;
}

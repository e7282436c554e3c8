/* memory.c - see memory.h */
#include "edge/verify/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/memory.h"

#define BUCKETS_MIN 256u /* a power of 2; doubled as the memory fills */

struct remembered {
    TAILQ_ENTRY(remembered) age; /* the last used first */
    struct remembered *next;     /* in its bucket */
    uint32_t hash;
    uint64_t until_ms;
    enum verify_result result;
    int code;
    char enhanced[12];
    char *text;
    char key[];
};

TAILQ_HEAD(remembered_list, remembered);

struct verify_memory {
    struct remembered_list ages;
    struct remembered **buckets;
    size_t size, count;
};

/* FNV-1a. */
uint32_t verify_hash(const char *key)
{
    uint32_t hash = 0x811c9dc5u;
    while (*key != '\0')
        hash = (hash ^ (unsigned char)*key++) * 0x01000193u;
    return hash ^ hash >> 15;
}

struct verify_memory *verify_memory_new(void)
{
    struct verify_memory *memory = xcalloc(1, sizeof *memory);
    TAILQ_INIT(&memory->ages);
    memory->size = BUCKETS_MIN;
    memory->buckets = xcalloc(memory->size, sizeof *memory->buckets);
    return memory;
}

static struct remembered **link_of(struct verify_memory *memory, const char *key, uint32_t hash)
{
    struct remembered **link = &memory->buckets[hash & (memory->size - 1)];
    while (*link != NULL && ((*link)->hash != hash || strcmp((*link)->key, key) != 0))
        link = &(*link)->next;
    return link;
}

static void forget(struct verify_memory *memory, struct remembered **link)
{
    struct remembered *one = *link;
    *link = one->next;
    TAILQ_REMOVE(&memory->ages, one, age);
    memory->count--;
    free(one->text);
    free(one);
}

void verify_memory_free(struct verify_memory **taken)
{
    struct verify_memory *memory = *taken;
    struct remembered *one;
    *taken = NULL;
    if (memory == NULL)
        return;
    while ((one = TAILQ_FIRST(&memory->ages)) != NULL)
        forget(memory, link_of(memory, one->key, one->hash));
    free(memory->buckets);
    free(memory);
}

static void grow(struct verify_memory *memory)
{
    struct remembered *one;
    memory->size *= 2;
    memory->buckets = xrealloc(memory->buckets, memory->size * sizeof *memory->buckets);
    memset(memory->buckets, 0, memory->size * sizeof *memory->buckets);
    TAILQ_FOREACH(one, &memory->ages, age)
    {
        struct remembered **bucket = &memory->buckets[one->hash & (memory->size - 1)];
        one->next = *bucket;
        *bucket = one;
    }
}

void verify_memory_put(struct verify_memory *memory, const char *key, const struct verify_opinion *opinion, uint64_t until_ms, size_t most)
{
    uint32_t hash = verify_hash(key);
    struct remembered **link = link_of(memory, key, hash), *oldest;
    if (*link != NULL)
        forget(memory, link);
    while (memory->count >= most && (oldest = TAILQ_LAST(&memory->ages, remembered_list)) != NULL)
        forget(memory, link_of(memory, oldest->key, oldest->hash));
    if (memory->count >= memory->size)
        grow(memory);
    size_t len = strlen(key) + 1;
    struct remembered *one = xcalloc(1, sizeof *one + len), **bucket = &memory->buckets[hash & (memory->size - 1)];
    one->hash = hash;
    one->until_ms = until_ms;
    one->result = opinion->result;
    one->code = opinion->code;
    memcpy(one->enhanced, opinion->enhanced, sizeof one->enhanced);
    one->text = xstrdup(opinion->text);
    memcpy(one->key, key, len);
    one->next = *bucket;
    *bucket = one;
    TAILQ_INSERT_HEAD(&memory->ages, one, age);
    memory->count++;
}

bool verify_memory_find(struct verify_memory *memory, const char *key, uint64_t now_ms, struct verify_opinion *opinion)
{
    struct remembered **link = link_of(memory, key, verify_hash(key)), *one = *link;
    if (one == NULL)
        return false;
    if (now_ms >= one->until_ms) {
        forget(memory, link);
        return false;
    }
    TAILQ_REMOVE(&memory->ages, one, age);
    TAILQ_INSERT_HEAD(&memory->ages, one, age);
    verify_opinion_set(opinion, one->result, one->code, one->enhanced, one->text);
    return true;
}

size_t verify_memory_count(const struct verify_memory *memory)
{
    return memory->count;
}

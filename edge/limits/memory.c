/* memory.c - see memory.h */
#include "edge/limits/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/error.h"
#include "common/memory.h"

#define HASHES_MIN 256u /* a power of 2; doubled as the memory fills */

TAILQ_HEAD(held_list, held);

struct limit_memory {
    struct held_list ages; /* the last asked for first */
    struct held **hashes;
    size_t size, count;
    uint32_t seed; /* names are of strangers' making: they shall not know what falls on what */
};

static uint32_t hash_of(const struct limit_memory *memory, const char *name)
{
    uint32_t hash = memory->seed;
    while (*name != '\0') /* FNV-1a */
        hash = (hash ^ (unsigned char)*name++) * 0x01000193u;
    return hash ^ hash >> 15;
}

struct limit_memory *limit_memory_new(void)
{
    struct limit_memory *memory = xcalloc(1, sizeof *memory);
    TAILQ_INIT(&memory->ages);
    memory->size = HASHES_MIN;
    memory->hashes = xcalloc(memory->size, sizeof(struct held *));
    if (getrandom(&memory->seed, sizeof memory->seed, 0) != sizeof memory->seed)
        fatal("no random numbers");
    return memory;
}

void limit_memory_free(struct limit_memory **taken)
{
    struct limit_memory *memory = *taken;
    struct held *held;
    *taken = NULL;
    if (memory == NULL)
        return;
    while ((held = TAILQ_FIRST(&memory->ages)) != NULL) {
        TAILQ_REMOVE(&memory->ages, held, age);
        free(held);
    }
    free(memory->hashes);
    free(memory);
}

static struct held **link_of(struct limit_memory *memory, const char *name, uint32_t hash)
{
    struct held **link = &memory->hashes[hash & (memory->size - 1)];
    while (*link != NULL && ((*link)->hash != hash || strcmp((*link)->name, name) != 0))
        link = &(*link)->next;
    return link;
}

static void forget_oldest(struct limit_memory *memory)
{
    struct held *oldest = TAILQ_LAST(&memory->ages, held_list);
    *link_of(memory, oldest->name, oldest->hash) = oldest->next;
    TAILQ_REMOVE(&memory->ages, oldest, age);
    memory->count--;
    free(oldest);
}

static void grow(struct limit_memory *memory)
{
    struct held *held;
    free(memory->hashes);
    memory->size *= 2;
    memory->hashes = xcalloc(memory->size, sizeof(struct held *));
    TAILQ_FOREACH(held, &memory->ages, age)
    {
        struct held **link = &memory->hashes[held->hash & (memory->size - 1)];
        held->next = *link;
        *link = held;
    }
}

static struct held *held_new(struct limit_memory *memory, const char *name, uint32_t hash)
{
    size_t len = strlen(name) + 1;
    if (memory->count >= memory->size)
        grow(memory);
    struct held *held = xcalloc(1, sizeof *held + len);
    memcpy(held->name, name, len);
    held->hash = hash;
    struct held **link = &memory->hashes[hash & (memory->size - 1)];
    held->next = *link;
    *link = held;
    memory->count++;
    TAILQ_INSERT_HEAD(&memory->ages, held, age);
    return held;
}

struct held *limit_memory_get(struct limit_memory *memory, const char *name, const struct bucket_rate *rate, size_t most)
{
    uint32_t hash = hash_of(memory, name);
    struct held *held = *link_of(memory, name, hash);
    if (held == NULL) {
        while (memory->count > 0 && memory->count >= most)
            forget_oldest(memory);
        held = held_new(memory, name, hash);
    } else {
        TAILQ_REMOVE(&memory->ages, held, age);
        TAILQ_INSERT_HEAD(&memory->ages, held, age);
    }
    if (held->rate.amount != rate->amount || held->rate.burst != rate->burst)
        held->spare = held->full_until_ms = 0;
    held->rate = *rate;
    return held;
}

struct held *limit_memory_find(struct limit_memory *memory, const char *name)
{
    return *link_of(memory, name, hash_of(memory, name));
}

size_t limit_memory_count(const struct limit_memory *memory)
{
    return memory->count;
}

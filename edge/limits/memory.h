#ifndef WEIR_EDGE_LIMITS_MEMORY_H
#define WEIR_EDGE_LIMITS_MEMORY_H
/*
 * memory.h - what one worker knows of buckets, bounded; pure
 *
 * The one that was asked for longest ago is forgotten first.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include "common/policy/bucket.h"

struct held {
    TAILQ_ENTRY(held) age;
    struct held *next; /* of its hash */
    uint32_t hash;
    struct bucket_rate rate; /* as it was last asked about */
    struct bucket own;       /* what passed here: decides while nobody answers */
    uint64_t spare, spare_until_ms; /* tokens taken in advance */
    uint64_t full_cost, full_until_ms; /* that much was refused, and would be until then */
    uint64_t asked_since_ms;
    unsigned asked;          /* since then */
    uint64_t told_ms;        /* when a dry run was last written down; 0: never */
    char name[];
};

struct limit_memory;

struct limit_memory *limit_memory_new(void);
void limit_memory_free(struct limit_memory **memory);
/* Never NULL: a new one is a full bucket. Lives until `most` others were asked for. With another rate all but what passed here is forgotten. */
struct held *limit_memory_get(struct limit_memory *memory, const char *name, const struct bucket_rate *rate, size_t most);
/* NULL: not there any more. */
struct held *limit_memory_find(struct limit_memory *memory, const char *name);
size_t limit_memory_count(const struct limit_memory *memory);

#endif

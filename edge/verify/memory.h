#ifndef WEIR_EDGE_VERIFY_MEMORY_H
#define WEIR_EDGE_VERIFY_MEMORY_H
/*
 * memory.h - the last opinions of a worker, bounded; pure: time is passed in
 *
 * The one that was put in or found longest ago is forgotten first.
 */
#include <stddef.h>
#include <stdint.h>
#include "edge/verify/opinion.h"

struct verify_memory;

struct verify_memory *verify_memory_new(void);
void verify_memory_free(struct verify_memory **memory);
/* Copies both. Until: ms; in place of an older one of the key. most: entries to be kept with it. */
void verify_memory_put(struct verify_memory *memory, const char *key, const struct verify_opinion *opinion, uint64_t until_ms, size_t most);
/* false: nothing, or it was put in to be forgotten by now. */
bool verify_memory_find(struct verify_memory *memory, const char *key, uint64_t now_ms, struct verify_opinion *opinion);
size_t verify_memory_count(const struct verify_memory *memory);

uint32_t verify_hash(const char *key);

#endif

/* arena.c - see arena.h */
#include "scanner/mime/arena.h"
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

#define BLOCK_SIZE ((size_t)128 << 10)
#define KEEP_BYTES ((size_t)1 << 20)

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    alignas(max_align_t) char bytes[];
};

static struct arena_block *block_new(size_t size)
{
    struct arena_block *block = xmalloc(sizeof *block + size);
    block->next = NULL;
    block->size = size;
    block->used = 0;
    return block;
}

static size_t aligned(size_t size)
{
    return (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
}

void *arena_take(struct arena *arena, size_t size)
{
    size_t room = aligned(size);
    while (arena->used != NULL && arena->used->size - arena->used->used < room && arena->used->next != NULL)
        arena->used = arena->used->next;
    if (arena->used == NULL || arena->used->size - arena->used->used < room) {
        struct arena_block *block = block_new(room > BLOCK_SIZE ? room : BLOCK_SIZE);
        if (arena->used == NULL)
            arena->first = block;
        else
            arena->used->next = block;
        arena->used = block;
    }
    void *piece = arena->used->bytes + arena->used->used;
    arena->used->used += room;
    return piece;
}

void *arena_copy(struct arena *arena, const void *bytes, size_t len)
{
    char *copy = arena_take(arena, len);
    if (len > 0)
        memcpy(copy, bytes, len);
    return copy;
}

void arena_trim(struct arena *arena, const void *newest, size_t len)
{
    arena->used->used = (size_t)((const char *)newest - arena->used->bytes) + aligned(len);
}

static void free_blocks(struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_reset(struct arena *arena)
{
    size_t kept = 0;
    for (struct arena_block *block = arena->first; block != NULL; block = block->next) {
        block->used = 0;
        kept += block->size;
        if (block->next != NULL && kept + block->next->size > KEEP_BYTES) {
            free_blocks(block->next);
            block->next = NULL;
        }
    }
    arena->used = arena->first;
}

void arena_fini(struct arena *arena)
{
    free_blocks(arena->first);
    *arena = (struct arena){ 0 };
}

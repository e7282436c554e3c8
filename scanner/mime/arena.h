#ifndef WEIR_SCANNER_MIME_ARENA_H
#define WEIR_SCANNER_MIME_ARENA_H
/*
 * arena.h - memory of one message, given back all at once
 *
 * Blocks are kept for the next message, so a parser that has seen a few messages no longer asks the system for memory.
 */
#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *first; /* all blocks, the one in use and those behind it free */
    struct arena_block *used;
};

/* Aligned for any type; not cleared. Never NULL: out of memory ends the process. */
void *arena_take(struct arena *arena, size_t size);
void *arena_copy(struct arena *arena, const void *bytes, size_t len);
/* Gives back the end of the newest piece, of which only len bytes are kept. */
void arena_trim(struct arena *arena, const void *newest, size_t len);
/* All pieces become invalid. Blocks beyond the first few are freed: one large message must not stay in memory. */
void arena_reset(struct arena *arena);
void arena_fini(struct arena *arena);

#endif

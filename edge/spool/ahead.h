#ifndef WEIR_EDGE_SPOOL_AHEAD_H
#define WEIR_EDGE_SPOOL_AHEAD_H
/*
 * ahead.h - what of a large message is under way between this worker and the coordinators
 *
 * A body goes into the spool and comes out of it in chunks of SPOOL_CHUNK. Of each message one may be under way at any time; those behind it are asked
 * ahead, so that the next one is there when the last was dealt with: at most AHEAD_MAX of a message, and as many of all messages of a worker
 * as fit into its spool_ahead (I4).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include "proto/node.h"

#define SPOOL_CHUNK (1024u * 1024)
#define AHEAD_MAX   1u /* each is here up to three times on its way: a large message stays below 8 MiB of memory */

struct spool_ahead { /* of a worker */
    uint64_t max;    /* bytes; may change at any time */
    uint64_t used;   /* kept by ahead.c */
};

struct ahead_piece { /* one chunk that was asked for */
    struct ahead_window *window;
    struct node_question *question; /* the asker's to set; NULL once it is answered */
    uint64_t offset, end;           /* of the body; end: as far as the asker can know */
    bool asked_ahead;               /* the asker's to set: what is said of it may be meant so */
    TAILQ_ENTRY(ahead_piece) link;
};
TAILQ_HEAD(ahead_pieces, ahead_piece);

struct ahead_window { /* of a message */
    struct spool_ahead *ahead;
    void *owner;
    struct ahead_pieces pieces; /* by offset; the first one was not asked ahead, or is not ahead any more */
    size_t count;
    bool single; /* something was not as expected: no more is asked ahead for this message */
};

void ahead_window_init(struct ahead_window *window, struct spool_ahead *ahead, void *owner); /* both borrowed for its life */
/* One more, behind all others. NULL: it would be one ahead, and there is no room for that. */
struct ahead_piece *ahead_window_add(struct ahead_window *window, uint64_t offset, uint64_t end);
/* Forgets this one and all behind it. Their questions are cancelled. */
void ahead_window_cut(struct ahead_window *window, struct ahead_piece *piece);
/* The body is dealt with up to here: forgets what begins before it, and what is left if that does not begin here. */
void ahead_window_advance(struct ahead_window *window, uint64_t offset);
/* Forgets all. */
void ahead_window_clear(struct ahead_window *window);

#endif

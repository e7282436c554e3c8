/*
 * ahead.c - see ahead.h
 *
 * Invariant: a window's share of spool_ahead is one chunk for each of its pieces but the first.
 */
#include "edge/spool/ahead.h"
#include <stdlib.h>
#include "common/memory.h"

void ahead_window_init(struct ahead_window *window, struct spool_ahead *ahead, void *owner)
{
    *window = (struct ahead_window){ .ahead = ahead, .owner = owner };
    TAILQ_INIT(&window->pieces);
}

static bool take(struct ahead_window *window)
{
    struct spool_ahead *ahead = window->ahead;
    if (window->single || window->count > AHEAD_MAX || ahead->max < SPOOL_CHUNK || ahead->used > ahead->max - SPOOL_CHUNK)
        return false;
    ahead->used += SPOOL_CHUNK;
    return true;
}

struct ahead_piece *ahead_window_add(struct ahead_window *window, uint64_t offset, uint64_t end)
{
    if (window->count > 0 && !take(window))
        return NULL;
    struct ahead_piece *piece = xcalloc(1, sizeof *piece);
    *piece = (struct ahead_piece){ .window = window, .offset = offset, .end = end };
    TAILQ_INSERT_TAIL(&window->pieces, piece, link);
    window->count++;
    return piece;
}

static void forget(struct ahead_window *window, struct ahead_piece *piece)
{
    node_question_cancel(&piece->question);
    TAILQ_REMOVE(&window->pieces, piece, link);
    free(piece);
    if (--window->count > 0)
        window->ahead->used -= SPOOL_CHUNK;
}

void ahead_window_cut(struct ahead_window *window, struct ahead_piece *piece)
{
    struct ahead_piece *last;
    while ((last = TAILQ_LAST(&window->pieces, ahead_pieces)) != piece)
        forget(window, last);
    forget(window, piece);
}

void ahead_window_advance(struct ahead_window *window, uint64_t offset)
{
    struct ahead_piece *first;
    while ((first = TAILQ_FIRST(&window->pieces)) != NULL && first->offset < offset)
        forget(window, first);
    if (first != NULL && first->offset != offset) {
        window->single = true;
        ahead_window_clear(window);
    }
}

void ahead_window_clear(struct ahead_window *window)
{
    struct ahead_piece *first = TAILQ_FIRST(&window->pieces);
    if (first != NULL)
        ahead_window_cut(window, first);
}

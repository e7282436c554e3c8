#ifndef WEIR_EDGE_NET_TURNS_H
#define WEIR_EDGE_NET_TURNS_H
/*
 * turns.h - whose bytes are read next (private to this room)
 *
 * Each byte that is read costs the loop more: it is parsed, kept, sent on. So sockets of clients are not read as they become readable but in turns, in
 * which sources share (common/fair.h), some bytes in each turn of the loop, which looks at everything else in between. Who is alone is read all the time.
 * Nothing is kept for a source.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <event2/event.h>

struct turn {
    uint64_t source;  /* 0: none; then it must not wait */
    uint64_t at, cost;
    size_t guess;     /* bytes that will come: as many as last time */
    bool waits;
    TAILQ_ENTRY(turn) link;
};

/* Does what the turn was for: returns how many bytes that was, or was worth; 0: nothing. May free the turn, and others. */
typedef size_t turn_taken(struct turn *turn);

/* Waits, if it does not yet: it is taken in this turn of the loop or a later one. Everybody gives the same `taken`. */
void turn_wait(struct turn *turn, struct event_base *base, turn_taken *taken);
/* If it waits, then no more. */
void turn_leave(struct turn *turn);

#endif

#ifndef WEIR_PROTO_NODE_CHOICE_H
#define WEIR_PROTO_NODE_CHOICE_H
/*
 * node_choice.h - which coordinator a node talks to
 *
 * A state machine without sockets, clock or log: it is told what happened and when (milliseconds of a clock that never
 * steps back), and says whom to talk to.
 *
 * - Whoever falls silent or whose link goes down is left at once, for one that reads its database rather than one of
 *   which nothing is known, and for that rather than one that lost its database. Who was left for silence comes last
 *   for 10 s.
 * - One that answers but lost its database is left for one that still reads its own: after a second, so that a
 *   database which is gone for all (they notice one after the other) moves hardly anybody, and at a random moment of the
 *   second after that, so that a thousand nodes do not come at once. Not again within 10 s, and never when nobody is
 *   better: then what it has goes on.
 * - Nobody is left for being better than before: there is no way back to a first choice.
 *
 * Among equals the choice is random, so that the nodes of one that died come to all the others.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_CHOICE_NOBODY SIZE_MAX

enum node_standing { NODE_LAGS, NODE_UNHEARD, NODE_READS }; /* as it published last; the later the better */

struct node_candidate {
    bool up;
    enum node_standing standing;
    uint64_t said_ms;   /* when it published that */
    uint64_t silent_ms; /* when it was left for silence; 0: it was not, or has a new link since */
};

struct node_choice {
    struct node_candidate *candidates;
    size_t count;
    size_t current;      /* NODE_CHOICE_NOBODY: no link is up */
    uint64_t silence_ms; /* one that has not answered for longer is left */
    uint64_t heard_ms;   /* from current; when asking: since when */
    uint64_t lags_ms;    /* since when current is known to lag; 0: it is not */
    uint64_t leave_ms;   /* not before that: drawn when it began to lag */
    uint64_t moved_ms;   /* when one was last left for lagging; 0: never */
    bool lagged;         /* the last turn left one that answered but had lost its database */
    uint64_t random;     /* state of the generator */
};

/* seed: random bits of this process. */
void node_choice_init(struct node_choice *choice, size_t count, uint64_t silence_ms, uint64_t seed);
void node_choice_fini(struct node_choice *choice);

/* What happened, and at the tick what time it is. true: the node turns to choice->current (a new one, the same one once
 * more, or nobody) and says hello. */
bool node_choice_up(struct node_choice *choice, size_t who, uint64_t now_ms);
bool node_choice_down(struct node_choice *choice, size_t who, uint64_t now_ms);
bool node_choice_tick(struct node_choice *choice, uint64_t now_ms);
void node_choice_answered(struct node_choice *choice, size_t who, uint64_t now_ms);
/* It published a cluster state; reads: that it was just read from the database, and not from a former primary. */
void node_choice_published(struct node_choice *choice, size_t who, bool reads, uint64_t now_ms);

#endif

/*
 * turns.c - whose bytes are read next
 */
#include "edge/net/turns.h"
#include <sys/random.h>
#include <event2/event_struct.h>
#include "common/error.h"
#include "common/fair.h"

#define LOOP_BYTES (128u * 1024) /* in one turn of the loop, then it looks at everything else: half a millisecond of work, about */
#define EACH_BYTES 4096u         /* what a command costs beside its own bytes */

TAILQ_HEAD(turns, turn);

static struct { /* a process has one loop */
    struct turns waiting; /* in the order of turns */
    struct fair fair;
    turn_taken *taken;
    struct event event;
    bool begun, due; /* due: the event comes */
} line;

/* Behind all whose turn is not later. One of a flood comes last, one that comes alone is among the first: so it is looked for from both ends. */
static void insert(struct turn *turn)
{
    struct turn *last = TAILQ_LAST(&line.waiting, turns), *next = TAILQ_FIRST(&line.waiting);
    if (last == NULL || last->at <= turn->at) {
        TAILQ_INSERT_TAIL(&line.waiting, turn, link);
        return;
    }
    while (next->at <= turn->at)
        next = TAILQ_NEXT(next, link);
    TAILQ_INSERT_BEFORE(next, turn, link);
}

static size_t take(struct turn *turn)
{
    uint64_t source = turn->source, at = turn->at, cost = turn->cost;
    size_t guess = turn->guess;
    TAILQ_REMOVE(&line.waiting, turn, link);
    turn->waits = false;
    fair_serve(&line.fair, at);
    size_t bytes = line.taken(turn); /* may have freed it */
    if (bytes == 0)
        fair_give_back(&line.fair, source, at, cost);
    else if (bytes > guess)
        fair_turn(&line.fair, source, bytes - guess);
    return bytes + EACH_BYTES;
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    struct turn *first;
    size_t sum = 0;
    while (sum < LOOP_BYTES && (first = TAILQ_FIRST(&line.waiting)) != NULL)
        sum += take(first);
    line.due = !TAILQ_EMPTY(&line.waiting);
    if (line.due)
        event_add(&line.event, &(struct timeval){ 0, 0 }); /* when the loop has looked at its sockets, from which an earlier turn may come */
}

static void begin(turn_taken *taken)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        fatal("getrandom: %m");
    fair_init(&line.fair, seed);
    TAILQ_INIT(&line.waiting);
    line.taken = taken;
    line.begun = true;
}

void turn_wait(struct turn *turn, struct event_base *base, turn_taken *taken)
{
    if (turn->waits)
        return;
    if (!line.begun)
        begin(taken);
    turn->waits = true;
    turn->cost = EACH_BYTES + turn->guess;
    turn->at = fair_turn(&line.fair, turn->source, turn->cost);
    insert(turn);
    if (line.due)
        return;
    line.due = true;
    event_assign(&line.event, base, -1, 0, on_due, NULL);
    event_active(&line.event, EV_TIMEOUT, 0); /* behind all that this turn of the loop has found */
}

void turn_leave(struct turn *turn)
{
    if (!turn->waits)
        return;
    turn->waits = false;
    TAILQ_REMOVE(&line.waiting, turn, link);
    fair_give_back(&line.fair, turn->source, turn->at, turn->cost);
}

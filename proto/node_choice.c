/*
 * node_choice.c - which coordinator a node talks to
 */
#include "proto/node_choice.h"

#include <stdlib.h>
#include "common/memory.h"

#define SETTLE_MS 1000  /* coordinators notice the loss of one database within this time of each other */
#define SPREAD_MS 1000  /* nodes leave one that lags within this time after that */
#define REST_MS   10000 /* between leaving two for lagging; and as long is one that was silent the last choice */

void node_choice_init(struct node_choice *choice, size_t count, uint64_t silence_ms, uint64_t seed)
{
    *choice = (struct node_choice){ .count = count, .current = NODE_CHOICE_NOBODY, .silence_ms = silence_ms };
    choice->candidates = xcalloc(count + 1, sizeof *choice->candidates);
    choice->random = seed | 1; /* the generator stands still at 0 */
    for (size_t i = 0; i < count; i++)
        choice->candidates[i].standing = NODE_UNHEARD;
}

void node_choice_fini(struct node_choice *choice)
{
    free(choice->candidates);
    *choice = (struct node_choice){ .current = NODE_CHOICE_NOBODY };
}

/* xorshift64*: good enough to spread nodes. */
static uint64_t draw(struct node_choice *choice, uint64_t below)
{
    choice->random ^= choice->random >> 12;
    choice->random ^= choice->random << 25;
    choice->random ^= choice->random >> 27;
    return (choice->random * 0x2545F4914F6CDD1Du >> 33) % below;
}

static void begin_to_lag(struct node_choice *choice, uint64_t now)
{
    choice->lags_ms = now;
    choice->leave_ms = now + SETTLE_MS + draw(choice, SPREAD_MS);
}

static bool turn_to(struct node_choice *choice, size_t who, uint64_t now)
{
    choice->current = who;
    choice->heard_ms = now;
    choice->lags_ms = 0;
    choice->lagged = false;
    if (who != NODE_CHOICE_NOBODY && choice->candidates[who].standing == NODE_LAGS)
        begin_to_lag(choice, now);
    return true;
}

static bool was_silent(const struct node_candidate *candidate, uint64_t now)
{
    return candidate->silent_ms != 0 && now - candidate->silent_ms < REST_MS;
}

/* < 0: a is the worse choice; 0: equals. */
static int compare(const struct node_candidate *a, const struct node_candidate *b, uint64_t now)
{
    bool a_silent = was_silent(a, now), b_silent = was_silent(b, now);
    if (a_silent != b_silent)
        return a_silent ? -1 : 1;
    if (a_silent && a->silent_ms != b->silent_ms) /* each in turn: the longest ago may be back */
        return a->silent_ms > b->silent_ms ? -1 : 1;
    return (int)a->standing - (int)b->standing;
}

/* The best whose link is up, which may be the current one; nobody when none is. */
static size_t best(struct node_choice *choice, uint64_t now)
{
    size_t found = NODE_CHOICE_NOBODY;
    uint64_t equals = 0;

    for (size_t i = 0; i < choice->count; i++) {
        if (!choice->candidates[i].up)
            continue;
        int order = found == NODE_CHOICE_NOBODY ? 1 : compare(&choice->candidates[i], &choice->candidates[found], now);
        equals = order > 0 ? 1 : equals + (order == 0);
        if (order > 0 || (order == 0 && draw(choice, equals) == 0))
            found = i;
    }
    return found;
}

bool node_choice_up(struct node_choice *choice, size_t who, uint64_t now)
{
    choice->candidates[who].up = true;
    /* One that was asked already gets its time; the tick goes on to another. */
    return (choice->current == NODE_CHOICE_NOBODY || choice->current == who) && turn_to(choice, who, now);
}

bool node_choice_down(struct node_choice *choice, size_t who, uint64_t now)
{
    /* Who comes back may have been started anew. */
    choice->candidates[who] = (struct node_candidate){ .standing = NODE_UNHEARD };
    return choice->current == who && turn_to(choice, best(choice, now), now);
}

void node_choice_answered(struct node_choice *choice, size_t who, uint64_t now)
{
    if (choice->current == who)
        choice->heard_ms = now;
}

void node_choice_published(struct node_choice *choice, size_t who, bool reads, uint64_t now)
{
    struct node_candidate *candidate = &choice->candidates[who];

    candidate->standing = reads ? NODE_READS : NODE_LAGS;
    candidate->said_ms = now;
    if (who != choice->current)
        return;
    if (reads)
        choice->lags_ms = 0;
    else if (choice->lags_ms == 0)
        begin_to_lag(choice, now);
}

/* It must have read since the current one could not, and be alive: what it said before says nothing. */
static bool is_better(const struct node_choice *choice, const struct node_candidate *candidate, uint64_t now)
{
    return candidate->standing == NODE_READS && candidate->said_ms >= choice->lags_ms && !was_silent(candidate, now);
}

bool node_choice_tick(struct node_choice *choice, uint64_t now)
{
    if (choice->current == NODE_CHOICE_NOBODY)
        return false;
    if (now - choice->heard_ms > choice->silence_ms) {
        choice->candidates[choice->current].silent_ms = now;
        return turn_to(choice, best(choice, now), now);
    }
    if (choice->lags_ms == 0 || now < choice->leave_ms || (choice->moved_ms != 0 && now - choice->moved_ms < REST_MS))
        return false;
    size_t other = best(choice, now);
    if (other == NODE_CHOICE_NOBODY || !is_better(choice, &choice->candidates[other], now))
        return false;
    choice->moved_ms = now;
    (void)turn_to(choice, other, now);
    return choice->lagged = true;
}

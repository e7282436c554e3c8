#ifndef WEIR_EDGE_SESSION_WHEEL_H
#define WEIR_EDGE_SESSION_WHEEL_H
/*
 * wheel.h - one coarse timer wheel for the deadlines of all sessions
 *
 * A deadline that moves later costs nothing: the entry comes up at its old time and its owner puts it back (every byte of a client moves its
 * idle deadline). Only a deadline that moves earlier has to be told. An entry further away than one turn comes up once a turn.
 * Pure: time is given.
 */
#include <stddef.h>
#include <stdint.h>

#define WHEEL_SLOT_MS 100u
#define WHEEL_SLOTS 512u /* a turn is 51 s */

struct wheel_entry {
    struct wheel_entry *next, **link; /* link NULL: not in a wheel */
    uint64_t due_ms;
};

struct wheel {
    uint64_t tick; /* the next tick to be looked at: its slot holds what is due in [tick, tick + 1) * WHEEL_SLOT_MS */
    struct wheel_entry *slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, uint64_t now_ms);
/* Adds the entry, or moves it when due_ms is earlier than where it is. */
void wheel_set(struct wheel *wheel, struct wheel_entry *entry, uint64_t due_ms);
void wheel_remove(struct wheel_entry *entry);
/* Takes out one entry whose slot has passed; NULL when there is none. Its owner sets it again. */
struct wheel_entry *wheel_pop(struct wheel *wheel, uint64_t now_ms);
/* Calls visit for every entry; visit may set or remove the entry it is given. */
void wheel_each(struct wheel *wheel, void (*visit)(void *arg, struct wheel_entry *entry), void *arg);

#endif

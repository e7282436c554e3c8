/*
 * wheel.c - see wheel.h
 */
#include "edge/session/wheel.h"

void wheel_init(struct wheel *wheel, uint64_t now_ms)
{
    *wheel = (struct wheel){ .tick = now_ms / WHEEL_SLOT_MS };
}

void wheel_remove(struct wheel_entry *entry)
{
    if (entry->link == NULL)
        return;
    *entry->link = entry->next;
    if (entry->next != NULL)
        entry->next->link = entry->link;
    entry->link = NULL;
}

void wheel_set(struct wheel *wheel, struct wheel_entry *entry, uint64_t due_ms)
{
    if (entry->link != NULL && entry->due_ms <= due_ms)
        return;
    wheel_remove(entry);
    uint64_t tick = due_ms / WHEEL_SLOT_MS;
    if (tick < wheel->tick)
        tick = wheel->tick;
    if (tick >= wheel->tick + WHEEL_SLOTS) {
        tick = wheel->tick + WHEEL_SLOTS - 1;
        due_ms = tick * WHEEL_SLOT_MS;
    }
    struct wheel_entry **slot = &wheel->slots[tick % WHEEL_SLOTS];
    entry->due_ms = due_ms;
    entry->next = *slot;
    entry->link = slot;
    if (*slot != NULL)
        (*slot)->link = &entry->next;
    *slot = entry;
}

struct wheel_entry *wheel_pop(struct wheel *wheel, uint64_t now_ms)
{
    /* A slot is looked at when its time has passed, so that nothing comes up before it is due. */
    uint64_t now = now_ms / WHEEL_SLOT_MS;
    if (now > wheel->tick + WHEEL_SLOTS)
        wheel->tick = now - WHEEL_SLOTS; /* the process was stopped: one whole turn finds everything */
    while (wheel->tick < now) {
        struct wheel_entry *entry = wheel->slots[wheel->tick % WHEEL_SLOTS];
        if (entry != NULL) {
            wheel_remove(entry);
            return entry;
        }
        wheel->tick++;
    }
    return NULL;
}

void wheel_each(struct wheel *wheel, void (*visit)(void *arg, struct wheel_entry *entry), void *arg)
{
    for (size_t i = 0; i < WHEEL_SLOTS; i++) {
        /* The visitor may move an entry to the front of this or a later slot: then it is visited twice, which is harmless; it
         * never hides its successor, which is kept before. */
        for (struct wheel_entry *entry = wheel->slots[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            visit(arg, entry);
        }
    }
}

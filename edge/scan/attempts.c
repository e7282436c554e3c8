/*
 * attempts.c - the table of attempts: an answer finds its scan by the random number of the attempt it answers
 *
 * Chained through the scans themselves, so adding and removing allocates nothing; it only grows. Attempt numbers are
 * random, so they are their own hash.
 */
#include <stdlib.h>
#include "common/memory.h"
#include "edge/scan/state.h"

#define BUCKETS_MIN 64 /* a power of two */

static struct scan **bucket_of(const struct machine *machine, uint64_t attempt)
{
    return &machine->attempts[attempt & (machine->attempt_buckets - 1)];
}

void attempts_init(struct machine *machine)
{
    machine->attempt_buckets = BUCKETS_MIN;
    machine->attempts = xcalloc(BUCKETS_MIN, sizeof *machine->attempts);
    machine->attempt_count = 0;
}

void attempts_fini(struct machine *machine)
{
    free(machine->attempts);
    machine->attempts = NULL;
}

static void attempts_grow(struct machine *machine)
{
    struct scan **old = machine->attempts;
    size_t old_buckets = machine->attempt_buckets;
    machine->attempt_buckets *= 2;
    machine->attempts = xcalloc(machine->attempt_buckets, sizeof *machine->attempts);
    for (size_t i = 0; i < old_buckets; i++)
        for (struct scan *scan = old[i], *next; scan != NULL; scan = next) {
            next = scan->next_attempt;
            struct scan **bucket = bucket_of(machine, scan->attempt);
            scan->next_attempt = *bucket;
            *bucket = scan;
        }
    free(old);
}

void attempts_add(struct machine *machine, struct scan *scan)
{
    if (machine->attempt_count >= machine->attempt_buckets)
        attempts_grow(machine);
    struct scan **bucket = bucket_of(machine, scan->attempt);
    scan->next_attempt = *bucket;
    *bucket = scan;
    machine->attempt_count++;
}

void attempts_remove(struct machine *machine, struct scan *scan)
{
    struct scan **at = bucket_of(machine, scan->attempt);
    while (*at != scan) {
        weir_assert(*at != NULL);
        at = &(*at)->next_attempt;
    }
    *at = scan->next_attempt;
    scan->next_attempt = NULL;
    machine->attempt_count--;
}

struct scan *attempts_find(const struct machine *machine, uint64_t attempt)
{
    struct scan *scan = *bucket_of(machine, attempt);
    while (scan != NULL && scan->attempt != attempt)
        scan = scan->next_attempt;
    return scan;
}

#ifndef WEIR_COORDINATOR_SPOOL_PACE_H
#define WEIR_COORDINATOR_SPOOL_PACE_H
/*
 * pace.h - for how many stores the next transaction waits, and how long
 *
 * store.c says why. Pure.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_pace {
    size_t gather;    /* messages and chunks that may be there soon */
    bool halves;      /* so many are sent although another transaction is in flight */
    uint64_t wait_us; /* for them, while none is */
};

/* After a transaction of `done` messages and chunks, with `next` waiting and `sent` in flight behind it. took_us: until its commit was answered, without the time
 * that it was behind another one; work_us of that: the statement of its new messages, 0 where it had none. */
struct store_pace store_pace(size_t done, size_t next, size_t sent, uint64_t work_us, uint64_t took_us);

#endif

/*
 * pace.c - see pace.h
 */
#include "coordinator/spool/pace.h"

#define GATHER_PART 4    /* of the time the last transaction took */
#define GATHER_US   5000 /* at most */

struct store_pace store_pace(size_t done, size_t next, size_t sent, uint64_t work_us, uint64_t took_us)
{
    bool halves = 2 * work_us > took_us;
    uint64_t part = took_us / GATHER_PART;
    return (struct store_pace){ .halves = halves, .gather = halves ? (done + next + sent + 1) / 2 : done + next,
                                .wait_us = part < GATHER_US ? part : GATHER_US };
}

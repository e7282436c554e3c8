#ifndef WEIR_EDGE_SPOOL_LEASE_H
#define WEIR_EDGE_SPOOL_LEASE_H
/*
 * lease.h - until when a lease may be used, by this edge's own monotonic clock
 *
 * Pure. The database counts a lease from when it wrote it down; we count from when the question for it was sent, which was earlier, and stop a
 * margin before the end. So ours is over first whatever the network did, and a process that was stopped for a while finds it over when it wakes.
 */
#include <stdbool.h>
#include <stdint.h>

struct lease_time {
    uint64_t asked_ms;  /* clock_ms() when the claim, or the last renewal that was granted, was sent */
    uint64_t length_ms; /* from then on */
};

/* The last moment to begin what cannot be taken back: an eighth, at most 5 s, is kept for what is on its way. */
static inline uint64_t lease_end(const struct lease_time *lease)
{
    uint64_t margin = lease->length_ms / 8 < 5000 ? lease->length_ms / 8 : 5000;
    return lease->asked_ms + lease->length_ms - margin;
}
static inline bool lease_is_live(const struct lease_time *lease, uint64_t now_ms)
{
    return now_ms < lease_end(lease);
}
/* A third is over: time for two more tries. */
static inline bool lease_wants_renewal(const struct lease_time *lease, uint64_t now_ms)
{
    return now_ms >= lease->asked_ms + lease->length_ms / 3;
}

#endif

#ifndef WEIR_COORDINATOR_AUTH_HELPERS_H
#define WEIR_COORDINATOR_AUTH_HELPERS_H
/*
 * helpers.h - a few processes for work that takes its time: hashing passwords, asking a directory
 *
 * A helper is this program again (fork and exec, PITFALLS: nothing of ZeroMQ's threads is taken along), told on a
 * socket what to do, one job at a time. One that takes longer than timeout_ms, or dies, is ended and replaced, and its
 * job is not done. What waits for a free helper is bounded in number and in time. Helpers end when the coordinator
 * does.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "coordinator/auth/packet.h"

struct helpers;

/* Called once, from the loop. fields: what the helper answered, borrowed; count 0: it was not done. */
typedef void (*helpers_done_handler)(void *arg, const char *const *fields, size_t count);

struct helpers_options {
    struct event_base *base;
    const char *kind; /* of helpers_serve(); borrowed, static */
    unsigned count;
    size_t queue_max;           /* jobs waiting or under way */
    uint64_t timeout_ms;        /* of one job; also the longest it may wait */
    const struct packet *setup; /* what each helper is told first; copied */
    struct metrics *metrics;
};

struct helpers *helpers_new(const struct helpers_options *options);
void helpers_free(struct helpers **helpers); /* jobs under way are told that they were not done */
/* false: too many jobs; done is not called. Copies the packet. */
bool helpers_ask(struct helpers *helpers, const struct packet *job, helpers_done_handler done, void *arg);

/* --- in the helper process --- */
#define HELPERS_FD   3
#define HELPERS_WORD "serve" /* argv[1]; argv[2] is the kind */
/* Serves until the coordinator is gone; returns the exit status. */
int helpers_serve(const char *kind);

#endif

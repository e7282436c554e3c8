#ifndef WEIR_COORDINATOR_PROBES_PROBER_H
#define WEIR_COORDINATOR_PROBES_PROBER_H
/*
 * prober.h - the probes of probes.h, asked of one server over TCP
 *
 * One connection at a time, in a libevent loop; nothing blocks. Bounded in time (reply_ms for each step, total_ms for all of it) and in bytes: a server that
 * says more than a reply's lines may have is left.
 */
#include <event2/event.h>
#include <stdint.h>
#include "coordinator/probes/probes.h"

struct prober;

struct prober_options {
    struct event_base *base;
    struct netaddr target; /* with its port */
    struct netaddr source; /* of the connections; no family: the system's choice */
    struct probes_options probes;
    uint64_t reply_ms, total_ms;
    void (*done)(void *arg, struct prober *prober); /* once, from the loop; may free the prober */
    void *arg;
};

struct prober *prober_new(const struct prober_options *options);
void prober_free(struct prober **prober);
const struct probes *prober_probes(const struct prober *prober); /* DONE inside done() */
/* The address that connections came from: as seen here, before any translation. No family: there was none. */
const struct netaddr *prober_local(const struct prober *prober);

#endif

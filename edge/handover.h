#ifndef WEIR_EDGE_HANDOVER_H
#define WEIR_EDGE_HANDOVER_H
/*
 * handover.h - connections that a drained edge passes on to another edge
 *
 * A client that knows one edge by its own name and cannot use another (it has no round robin, or no retry) would only hear 421 while that edge is
 * drained. With `drain_to` its connection is passed on, byte for byte, to an edge that is not, behind a PROXY header (version 2) that says who it
 * is: the other edge has to list this one in `proxy_from`. TLS goes through as it is. A connection that is passed on stays so until its end; a client that
 * ends its own half hears all its replies.
 */
#include <stdbool.h>
#include <stddef.h>
#include <event2/event.h>
#include "common/metrics.h"
#include "common/netaddr.h"

struct handovers;

struct handovers *handovers_new(struct event_base *base, struct metrics *metrics);
/* Cuts those that are left, and logs how many. */
void handovers_free(struct handovers **handovers);
unsigned handovers_count(const struct handovers *handovers);

/* Takes fd, the fresh connection of `client`, whom no edge of `peers` (count > 0, copied) has said anything to yet. They are tried in turn, each time
 * beginning with another one. hostname: for the 421 4.3.2 when none of them can be reached; NULL: closed without a word (implicit TLS). */
void handovers_take(struct handovers *handovers, int fd, const struct netaddr *client, const struct netaddr *peers, size_t count, const char *hostname);

#endif

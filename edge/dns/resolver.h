#ifndef WEIR_EDGE_DNS_RESOLVER_H
#define WEIR_EDGE_DNS_RESOLVER_H
/* resolver.h - a libunbound context as the dns_ keys want it (private to this room) */
#include <unbound.h>
#include <event2/event.h>
#include "common/error.h"
#include "common/settings.h"

/* NULL: why. The caller deletes it. */
struct ub_ctx *resolver_new(struct event_base *base, const struct edge_settings *settings, struct error *why);

#endif

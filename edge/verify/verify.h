#ifndef WEIR_EDGE_VERIFY_H
#define WEIR_EDGE_VERIFY_H
/*
 * verify.h - whether a recipient exists, as its next hop says (call-forward), for sessions that would else accept whoever is named
 *
 * Asked are, in this order: this worker's memory, the coordinators (where all edges tell what they heard), the next hop itself: MAIL, RCPT and RSET on
 * a pooled connection, no message. However many ask about one recipient at once, it is one question. Without a coordinator the next hop is asked. What
 * is done with the answer is the session's business.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "common/settings.h"
#include "edge/delivery/delivery.h"
#include "edge/verify/opinion.h"
#include "proto/node.h"

struct verifier;
struct verify_wait;

/* Called once, from the loop. wait is gone when it returns, and here to be compared. */
typedef void (*verify_handler)(void *arg, const struct verify_wait *wait, const struct verify_opinion *opinion);

/* All borrowed. The node is set later, and until then nobody knows anything. */
struct verifier *verifier_new(struct event_base *base, struct delivery_pool *pool, const struct edge_settings *settings, struct metrics *metrics);
void verifier_set_node(struct verifier *verifier, struct node *node);
void verifier_reload(struct verifier *verifier, const struct edge_settings *settings); /* for what begins from now on */
void verifier_free(struct verifier **verifier); /* nobody waits any more; before pool and node */

/* Known at once: NULL, and *opinion says it. Else handler is called within verify_timeout, unless cancelled. address is canonical. */
struct verify_wait *verifier_ask(struct verifier *verifier, const struct next_hop *hop, const char *address, struct verify_opinion *opinion,
                                 verify_handler handler, void *arg);
void verify_wait_cancel(struct verify_wait **wait); /* takes NULL inside */

#endif

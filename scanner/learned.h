#ifndef WEIR_SCANNER_LEARNED_H
#define WEIR_SCANNER_LEARNED_H
/*
 * learned.h - the cluster's model of spam at this scanner: fetched, proved, kept over a restart, given to the workers; and messages looked at for those who teach it
 *
 * Each second a coordinator is asked which model is in use, and whether a message waits to be looked at. A model that is another one is fetched in chunks; what is not what its
 * name says, or no model of this version, is refused: the old one stays, weir_learned_refused is 1 and it is tried again after a minute. Without any coordinator
 * the last one serves.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "proto/node.h"
#include "scanner/service.h"

struct learned;

/* state_dir: where the model is kept; "": nowhere. All is borrowed but state_dir. */
struct learned *learned_new(struct event_base *base, struct node *node, struct service *service, const char *name, const char *state_dir, struct metrics *metrics);
void learned_free(struct learned **learned); /* before the node and the service */

#endif

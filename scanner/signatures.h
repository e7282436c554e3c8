#ifndef WEIR_SCANNER_SIGNATURES_H
#define WEIR_SCANNER_SIGNATURES_H
/*
 * signatures.h - a scanner that follows the cluster's sets of signatures (signature_source = cluster)
 *
 * The cluster state says which set this node is to use. Files that are not there yet are fetched from whichever coordinator answers, in chunks, each kept by its hash
 * in signature_store; a set is a folder of links to them. It is loaded as a new generation; what that loads is summed up again, so that a torn file is never
 * taken for the set. What cannot be fetched is tried again (1 s to a minute); what cannot be loaded is told, and not tried before the cluster says so again.
 * The old set serves meanwhile. It is known over a restart, and used then without any coordinator.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "proto/node.h"
#include "scanner/pool.h"

struct signatures;

struct signatures_options {
    struct event_base *base;
    const char *node;  /* this scanner; borrowed */
    const char *store; /* signature_store; copied */
    struct metrics *metrics;
    void (*changed)(void *arg); /* what it tells has changed; from the loop */
    void *arg;
};

/* Makes the store's folders. NULL: why. */
struct signatures *signatures_new(const struct signatures_options *options, struct error *why);
void signatures_free(struct signatures **signatures); /* before the node */

/* Where the pool loads from: the set that was used last, or NULL: there is none yet. Borrowed until the loop's next turn. */
const char *signatures_folder(const struct signatures *signatures);
const char *signatures_set(const struct signatures *signatures); /* its name; "" with none */

/* Both are there from now on. fallback: the folder where there is no set; borrowed. */
void signatures_start(struct signatures *signatures, struct node *node, struct pool *pool, const char *fallback);
void signatures_fall_back(struct signatures *signatures, const char *fallback); /* another one, after a reload */

void signatures_on_state(struct signatures *signatures, const Weir__ClusterState *state);
/* Fills it in, with hashes and words that are borrowed until the next loop turn. */
void signatures_tell(struct signatures *signatures, Weir__SignatureState *told);

#endif

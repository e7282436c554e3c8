#ifndef WEIR_EDGE_SPOOL_STORE_H
#define WEIR_EDGE_SPOOL_STORE_H
/*
 * store.h - one message on its way into the spool
 *
 * Asks a coordinator to store envelope, recipients and body, the body in chunks. Those between the first and the last are asked ahead (ahead.h), so
 * that none waits for the commit of the one in front of it; the last one, after which the message is in the spool, is asked for when all others are
 * taken. Every question may be repeated (node_ask() does), as the message is known by its queue id and each chunk by its offset: one that comes before
 * those in front of it is not taken. The message is in the spool when, and only when, the answer says `complete`: then its commit is done (I1).
 */
#include "edge/message/message.h"
#include "edge/spool/ahead.h"
#include "proto/node.h"

enum spool_stored {
    SPOOL_STORED,      /* committed: 250 may be said */
    SPOOL_FULL,        /* no room for it: 452 4.3.1 */
    SPOOL_UNAVAILABLE, /* no coordinator or no database, or no answer in time: it may be stored all the same, under its id */
    SPOOL_STORED_COUNT
};

struct spool_store_options { /* borrowed for the call, but base, node, ahead and message */
    struct event_base *base;
    struct node *node;
    struct spool_ahead *ahead;
    Weir__SpoolEnvelope *envelope;           /* size is filled in */
    const Weir__SpoolRecipients *recipients;
    const char *prefix;                      /* header lines that come before the message, with their CRLF */
    size_t prefix_len;
    const struct message *message;           /* complete; borrowed until the end */
    uint64_t skip;                           /* bytes of it that the prefix stands for: an edited header */
    bool always;                             /* its client cannot come again: a full quarantine takes it, too */
    uint64_t timeout_ms;                     /* for the answer to each chunk, and for room to ask (NODE_QUESTION_BYTES) */
};

struct spool_store;
/* Called once, from the loop; the store is freed right after it returns. why: words for the log when it is not stored, else "". */
typedef void (*spool_stored_handler)(void *arg, enum spool_stored stored, const char *why);

/* Never NULL; nothing is called from inside. */
struct spool_store *spool_store_new(const struct spool_store_options *options, spool_stored_handler stored, void *arg);
/* The last chunk was asked for: from now on it may be in the spool whatever happens here. */
bool spool_store_is_late(const struct spool_store *store);
/* From inside the handler, of what is SPOOL_STORED: whether the recipient of this index was for the quarantine and goes on to the next hop, as its own list
 * wants. */
bool spool_store_let_in(const struct spool_store *store, uint32_t index);
/* No event follows. What was stored of it stays invisible and is removed by its age, unless the last chunk was on its way. */
void spool_store_cancel(struct spool_store **store);

#endif

#ifndef WEIR_EDGE_REPUTATION_FEED_H
#define WEIR_EDGE_REPUTATION_FEED_H
/*
 * feed.h - what the cluster knows of clients and accounts, kept up to date in one worker
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "edge/reputation/book.h"
#include "proto/node.h"

struct feed;

struct feed *feed_new(struct event_base *base, struct metrics *metrics);
void feed_free(struct feed **feed); /* before the node */
/* The list is kept in a file, of at most `most` entries, and what is there counts until a coordinator has told all; `writes`: by this worker, the others only read
 * it. Before feed_set_node(). */
void feed_keep(struct feed *feed, const char *path, size_t most, bool writes);
/* Begins to ask; borrowed. */
void feed_set_node(struct feed *feed, struct node *node);
/* What decides for a client, a registered host, or who has logged in, now; NULL: nothing. Borrowed until the loop's next turn; told_ms may be written. */
struct book_entry *feed_client(const struct feed *feed, const struct netaddr *client);
struct book_entry *feed_host(const struct feed *feed, const struct netaddr_prefix *host);
struct book_entry *feed_login(const struct feed *feed, const char *login);

#endif

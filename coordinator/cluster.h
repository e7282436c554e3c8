#ifndef WEIR_COORDINATOR_CLUSTER_H
#define WEIR_COORDINATOR_CLUSTER_H
/*
 * cluster.h - the cluster state and the policy: read from the database, kept, published
 *
 * Every coordinator reads the same rows, so all publish the same state under the same epoch. It is read again 20 ms
 * after a NOTIFY and every publish_interval, and published at every change and every publish_interval. While the
 * database is gone the last state goes on being published, marked as not fresh. Nothing is published before the first read: an empty state
 * would take every scanner away. Whether the spool is full is read and published with it, by the same rules; that the
 * database's disk was found full, however, is this coordinator's own knowledge, and each publishes its own: a full disk
 * would not take it. Edges go by the coordinator that their stores go to.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>
#include "common/signature_set.h"
#include "coordinator/db.h"
#include "proto/files.h"
#include "proto/link.h"

struct cluster;

struct cluster_node {
    char *name, *endpoint;
    Weir__Role role;
    Weir__NodeState state;
    bool drain, lost;
    uint64_t gc, drain_number;
    uint64_t signature_number;
    uint8_t signature_set[SIGNATURE_HASH_LEN]; /* with has_signatures: which it is to use */
    bool has_signatures;
    bool has_key;
    uint8_t public_key[CURVE_KEY_LEN];
};

struct cluster_stop {
    char *subject;
    Weir__OutboundState state;
};

struct cluster_pool {
    char *subject, *pool;
};

struct cluster_view {
    uint64_t epoch; /* 0: never read */
    bool spool_full; /* read with it, but under no epoch: it changes with every message */
    uint64_t policy_epoch;
    char *policy_digest;
    char *identity; /* of the database */
    struct cluster_node *nodes;
    size_t node_count;
    struct link_allowed_key *keys;
    size_t key_count;
    struct cluster_stop *stops; /* accounts and inside hosts that are slowed down or stopped */
    size_t stop_count;
    uint64_t *beyond;           /* wire_subject_digest() of others who are stopped */
    size_t beyond_count;
    uint8_t *beyond_states;     /* of each its Weir__OutboundState */
    bool personal_blocks; /* some recipient has a block list */
    struct cluster_pool *pools; /* those whose mail operators moved to an egress pool */
    size_t pool_count;
};

struct cluster_policy {
    uint64_t epoch; /* 0: none was applied */
    char *digest;   /* of its files; NULL with epoch 0 */
    size_t count;
    struct wire_file files[WIRE_PAYLOADS_MAX]; /* owned */
};

struct cluster_options {
    struct event_base *base;
    struct db *db;
    struct link_hub *hub; /* gets the allowed keys */
    struct link_publisher *publisher;
    const char *name; /* this coordinator; borrowed */
    uint64_t publish_interval_ms;
    uint64_t node_timeout_ms;
    uint64_t outbound_throttle; /* recipients an hour for who is slowed down, as edges are told */
    uint64_t spool_max_messages, spool_max_bytes; /* reached: what is published says that the spool is full */
    struct metrics *metrics;
};

struct cluster *cluster_new(const struct cluster_options *options);
void cluster_free(struct cluster **cluster);
void cluster_database_up(
    struct cluster *cluster);                  /* read at once; nobody is called lost before nodes could report again */
void cluster_database_down(struct cluster *cluster); /* says at once that what is published is not fresh any more */
void cluster_changed(struct cluster *cluster); /* a NOTIFY came */
/* The database's disk was found full: what is published says that the spool is full, from now for so long. Again: longer. */
void cluster_disk_full(struct cluster *cluster, uint64_t ms);
/* Calls done when a read that began after this has ended: what was committed before is in force here then, unless the
 * database went. Never from inside. */
typedef void (*cluster_read_handler)(void *arg);
void cluster_when_read(struct cluster *cluster, cluster_read_handler done, void *arg);
const struct cluster_view *cluster_view(const struct cluster *cluster);     /* borrowed until the loop's next turn */
const struct cluster_policy *cluster_policy(const struct cluster *cluster); /* same */
/* The nearest known node name to a misspelt one, or NULL. Borrowed like the view. */
const char *cluster_nearest_name(const struct cluster *cluster, const char *name);

/* From the JSON of the database's cluster_state(). false: why says what is missing. Exposed for tests. */
bool cluster_view_parse(struct cluster_view *view, const char *json, struct error *why);
void cluster_view_clear(struct cluster_view *view);

const char *role_text(Weir__Role role); /* "edge", "scanner", "coordinator", "operator", "unknown" */
Weir__Role role_parse(const char *text);
const char *state_text(Weir__NodeState state); /* "unknown", "starting", "active", "draining", "drained" */

#endif

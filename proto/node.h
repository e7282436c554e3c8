#ifndef WEIR_PROTO_NODE_H
#define WEIR_PROTO_NODE_H
/*
 * node.h - what an edge worker or a scanner says to the coordinators, and hears from them
 *
 * Talks to one coordinator at a time (the first that answers; another within a second when it falls silent or its link
 * goes down), subscribes to all. Sends a heartbeat every heartbeat_interval, metrics with one a second. Keeps the
 * newest cluster state and policy, and writes both to state_dir (atomically, 0600), so that a process that starts while
 * no coordinator answers goes on with the last ones. Reports are kept in a bounded buffer, sent in batches (every 100
 * ms, or when a frame is full), repeated with the same batch number until acknowledged; what overflows is dropped
 * oldest first, counted and logged. Calls link_hub_allow() with the state's keys by itself.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/metrics.h"
#include "common/settings.h"
#include "proto/link.h"

struct node;

struct node_coordinator {
    char *listen; /* endpoints */
    char *publish;
    uint8_t public_key[CURVE_KEY_LEN];
};

struct node_options {
    const char *name; /* "edge-1" */
    Weir__Role role;
    unsigned worker;
    const char *endpoint; /* scanners: advertised; else NULL */
    const struct cluster_settings *cluster;
    const struct node_coordinator *coordinators; /* borrowed for the life of the node */
    size_t coordinator_count;
    size_t report_buffer; /* rows */
    struct link_hub *hub;
    struct metrics *metrics; /* sent with heartbeats; node adds its own: weir_reports_buffered, _dropped_total, ... */
};

struct node_policy_file {
    const char *name;
    const char *text; /* NUL-terminated */
    size_t len;
};

struct node_handlers {
    /* A newer cluster state (also once at start, from the cache). entry: this node's own, or NULL when not in it. */
    void (*state)(void *arg, const Weir__ClusterState *state, const Weir__NodeEntry *entry);
    /* A newer policy: names and texts, borrowed. May be NULL (scanners): then none is asked for. */
    void (*policy)(void *arg, uint64_t epoch, const struct node_policy_file *files, size_t count);
    /* Fill in what changes in a heartbeat: state, gc_done, generation, signatures, in_flight. Borrowed bytes must live
     * until it returns. */
    void (*heartbeat)(void *arg, Weir__Heartbeat *beat);
};

struct node *node_new(struct event_base *base, const struct node_options *options, const struct node_handlers *handlers,
                      void *arg);
void node_free(struct node **node);
bool node_is_connected(const struct node *node); /* a coordinator answered lately */
void node_heartbeat_soon(struct node *node);     /* own state changed: tell at once */
/* Copies the row. */
void node_report(struct node *node, const Weir__AuditRow *row);
/* Rows not yet acknowledged; a drain waits for 0 for a while. */
size_t node_reports_pending(const struct node *node);

#endif

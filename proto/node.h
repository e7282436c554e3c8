#ifndef WEIR_PROTO_NODE_H
#define WEIR_PROTO_NODE_H
/*
 * node.h - what an edge worker or a scanner says to the coordinators, and hears from them
 *
 * Talks to one coordinator at a time: the first that is reachable, another one at once when its link goes down or when
 * it has not answered for a second (or two heartbeats, if that is longer), and within two seconds when it publishes that
 * it lost its database while another still reads it (node_choice.h). Subscribes to all. Sends a heartbeat every
 * heartbeat_interval, metrics with one a second; series that do not fit one frame follow with the next heartbeats.
 *
 * Keeps the newest cluster state and policy: a state with an older epoch is ignored, whoever publishes it and however
 * long (a coordinator without its database goes on with its last one), unless it was just read from another database
 * (made anew, restored, a standby that took over) and for 10 s nothing newer came; with the same epoch the coordinator
 * we talk to is believed. Worker 0 writes both to
 * state_dir/NAME.state and .policy (by rename, 0600) when they change, and a process that starts goes on with them
 * until a coordinator says otherwise. A policy is kept once it was parsed; one that cannot be used changes nothing (node_policy.h). Calls link_hub_allow() with the state's keys by itself.
 *
 * Reports are kept in a buffer bounded in rows (and in bytes: 1 KiB for each), sent in batches (every 100 ms, or when
 * a frame is full), one at a time, repeated with the same batch number until acknowledged; what overflows is dropped
 * oldest first, counted and logged. What is not acknowledged at the end can be kept in state_dir/NAME.WORKER.audit
 * (node_keep_reports()), from where the next process hands it in: once, as the store knows each row by id and recipient.
 *
 * All handlers are called from the loop. A node is not freed inside them.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/metrics.h"
#include "common/settings.h"
#include "proto/files.h"
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
    unsigned worker, workers; /* its number, from 0, of how many */
    const char *endpoint; /* scanners: advertised; else NULL */
    const struct cluster_settings *cluster;
    const struct node_coordinator *coordinators; /* borrowed for the life of the node */
    size_t coordinator_count;
    size_t report_buffer; /* rows; 0: it makes no reports */
    struct link_hub *hub;
    struct metrics *metrics; /* sent with heartbeats; node adds its own: weir_reports_*, weir_node_* */
};

struct node_handlers {
    /* A newer cluster state (also once at start, from the cache). entry: this node's own, or NULL when not in it. When
     * it returns, the state that heartbeats tell follows entry->drain. */
    void (*state)(void *arg, const Weir__ClusterState *state, const Weir__NodeEntry *entry);
    /* What policy() is to be given, made from a policy's files (borrowed). Called in a thread of its own, so it may use nothing but its arguments.
     * NULL, and why: this node cannot use it, and the last one stays. */
    void *(*policy_parse)(const struct wire_file *files, size_t count, struct error *why);
    /* Another policy, which it takes. May be NULL with the two beside it (scanners): then none is asked for. */
    void (*policy)(void *arg, uint64_t epoch, void *taken);
    void (*policy_free)(void *parsed); /* one that policy() is not given any more: the node ends */
    /* Fill in what changes in a heartbeat: state, gc_done, generation, signatures, in_flight. Borrowed bytes must live
     * until it returns. */
    void (*heartbeat)(void *arg, Weir__Heartbeat *beat);
};

struct node *node_new(struct event_base *base, const struct node_options *options, const struct node_handlers *handlers,
                      void *arg);
void node_free(struct node **node);
bool node_is_connected(const struct node *node); /* a coordinator answered lately */
/* That one would answer a store FULL, as it last published. What others say does not count: each finds out for itself, and
 * it is the one that will be asked. */
bool node_spool_is_full(const struct node *node);
void node_heartbeat_soon(struct node *node);     /* own state changed: tell at once */
/* Asks whichever coordinator answers: sent at once (or when a link is up); repeated with the same request number to the
 * next coordinator that is up when the link goes, when node turns to another, when it was not answered for
 * question_repeat (what stands, as a claim: its wait_ms longer), or when the answer is UNAVAILABLE and another one may know better.
 * answer is called once, from the loop, never inside node_ask(): with the answer (any status), or with NULL when none
 * came within timeout_ms (to a tenth of a second); then it may or may not have been done. It may ask and cancel; the
 * question is gone when it is called. Question and payloads are copied; question->request is filled in. At most
 * NODE_QUESTIONS_MAX and NODE_QUESTION_BYTES are under way: over it, and for a question that the rules of its type
 * refuse (logged: a bug of the caller), NULL is returned and no answer follows. */
#define NODE_QUESTIONS_MAX  4096
#define NODE_QUESTION_BYTES (64u * 1024 * 1024)
struct node_question;
typedef void (*node_answer_handler)(void *arg, const Weir__Answer *answer, const struct link_payload *payloads,
                                    size_t count);
struct node_question *node_ask(struct node *node, Weir__Question *question, const struct link_payload *payloads,
                               size_t count, uint64_t timeout_ms, node_answer_handler answer, void *arg);
/* No answer follows; it may be done all the same. Takes NULL inside. */
void node_question_cancel(struct node_question **question);
/* Copies the row, with texts cut to the lengths of wire.h. */
void node_report(struct node *node, const Weir__AuditRow *row);
/* Rows not yet acknowledged; a drain waits for 0 for a while. */
size_t node_reports_pending(const struct node *node);
/* At an end: writes those rows (1 KiB each at most) to state_dir and waits for the disk. false: why, and they are lost
 * with the process, except for what it had from a file itself. */
bool node_keep_reports(struct node *node, struct error *why);

#endif

#ifndef WEIR_EDGE_SESSION_SESSION_H
#define WEIR_EDGE_SESSION_SESSION_H
/*
 * session.h - the SMTP server of one edge worker, seen from outside
 *
 * A server holds what all sessions of a worker share: configuration, policy, the scan farm, the delivery pool, the budget of message bytes,
 * counters and the timer wheel. A port is one listener section; sessions come in through it and end by themselves.
 */
#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>
#include "common/metrics.h"
#include "common/policy/policy.h"
#include "edge/delivery/delivery.h"
#include "edge/scan/scan.h"
#include "edge/session/census.h"
#include "edge/session/edge_config.h"
#include "edge/limits/limiter.h"
#include "edge/reputation/feed.h"
#include "edge/smtp/address.h"
#include "edge/spool/readers.h"
#include "edge/verify/verify.h"
#include "proto/node.h"

struct server;
struct port;
struct outbreak;

struct server_options { /* all borrowed for the server's life, but config: counted */
    struct event_base *base;
    struct edge_config *config;
    const char *node;            /* "edge-1" */
    unsigned worker;
    struct census *census;
    struct metrics *metrics;
    struct scan_farm *farm;      /* NULL: scanning is turned off by name */
    struct delivery_pool *pool;
    struct dns *dns;             /* NULL: clients' names are not looked up */
    struct verifier *verifier;   /* asked about recipients where the policy's `verify` says so */
    struct limiter *limiter;     /* asked where the policy's `limits` says so; NULL: nothing is limited */
    struct feed *feed;           /* who is throttled or refused; NULL: nobody */
    struct outbreak *outbreak;   /* asked about what may be an outbreak; NULL: nothing is held */
};

struct server *server_new(const struct server_options *options);
void server_free(struct server **server); /* breaks off its sessions */
/* Ends all sessions without a word; messages that had begun are written down. Not from inside a callback of a session. */
void server_break_off(struct server *server);
/* What EHLO offers as XWEIR, by which the cluster's edges know each other. "": nothing is said. */
void server_set_cluster(struct server *server, const char *mark);
/* The names that edges of this cluster say in Authentication-Results: nobody else may. */
void server_set_names(struct server *server, const Weir__ClusterState *state);
/* Up to a NULL; NULL: not known. Borrowed until they are set again. */
const char *const *server_names(const struct server *server);
/* Some recipient has a block list of his own: they are asked about. */
void server_set_personal(struct server *server, bool blocks);
/* Whom outbound protection slows down or stops now, and whose mail operators moved to an egress pool; NULL: nobody. */
void server_set_stops(struct server *server, const Weir__OutboundStops *told, const Weir__OutboundPools *pools);
/* The egress pool that spooled mail goes out from; "": as the kernel chooses. Borrowed until the configuration or the cluster state is another. */
const char *server_egress(struct server *server, const Weir__SpoolEnvelope *envelope);
/* Audit rows go here; set once, before the first session. */
void server_set_node(struct server *server, struct node *node);
/* name: the instance of [listener "NAME"]; must be in the configuration given to server_new(). Lives as long as the server. */
struct port *server_port(struct server *server, const char *name);
/* A new client: takes fd. Answers 421 at once where it may not come in. */
void server_accept(struct port *port, int fd, const struct netaddr *peer);

/* false: this configuration lacks a listener whose sockets are open, why. Nothing is changed. */
bool server_accepts_config(const struct server *server, const struct edge_config *config, struct error *why);
/* Sessions that begin from now on use it; it must be accepted. */
void server_set_config(struct server *server, struct edge_config *config);
/* taken: *policy becomes NULL. epoch: for the audit. Before the first one every client is answered 421 4.3.0. */
void server_set_policy(struct server *server, struct policy **taken, uint64_t epoch);
/* Draining: a new client is answered 421 4.3.2, the others finish: a session gets 421 4.3.2 when it has been idle between messages for
 * some seconds, and at the latest after drain_timeout, when the message under way is done. drained is called (from the loop) when the last session
 * is gone, at once when there is none. */
void server_drain(struct server *server, void (*drained)(void *arg), void *arg);
void server_undrain(struct server *server);
unsigned server_sessions(const struct server *server);
/* Over a budget (max_sessions, message_memory): a new client is answered 421. */
bool server_is_full(const struct server *server);
struct spool_route;
struct spam_bands;
/* What the worker's part of the spool shares with its sessions. */
struct message_budget *server_budget(struct server *server);
struct spool_ahead *server_ahead(struct server *server);
struct queue_id_source *server_ids(struct server *server);
/* Whom mail that we send ourselves goes to, by the present policy: the address, or all it stands for as an alias that have a next hop. */
enum readers_found server_readers(const struct server *server, const char *address, struct readers *readers);
/* For the spool (edge/spool/runner.h): the policy in force, and where it routes an address that was accepted before. */
uint64_t server_policy_epoch(const struct server *server);
void server_route(const struct server *server, const char *address, struct spool_route *out);
/* By what its recipient's copy is judged, as in a session. address: canonical. */
void server_spam_bands(const struct server *server, const Weir__SpoolEnvelope *envelope, const char *address, struct spam_bands *out);
/* Sets the gauges that are measured rather than counted. */
void server_observe(struct server *server);

#endif

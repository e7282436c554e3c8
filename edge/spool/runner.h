#ifndef WEIR_EDGE_SPOOL_RUNNER_H
#define WEIR_EDGE_SPOOL_RUNNER_H
/*
 * runner.h - one worker's share of the spool: leases what is due, scans what is not scanned, delivers, reports
 *
 * A claim stands at a coordinator while there is room for more leases; each lease (one message, one destination) becomes a job that ends with a
 * result, repeated until it is taken, or with the lease. Where all places were taken the next claim is made once half of them are free, or with
 * the next tick of 100 ms. At most spool_concurrency jobs, whose bytes count into the worker's message budget; while all of those stand still for a
 * tick, as where their next hop hangs, up to spool_spare more, of a second claim: one for each destination that has none here.
 * The chunks of a large message are asked ahead (ahead.h).
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "common/queue_id.h"
#include "edge/delivery/delivery.h"
#include "edge/scan/scan.h"
#include "edge/smtp/address.h"
#include "edge/spam/bands.h"
#include "edge/spool/ahead.h"
#include "edge/spool/readers.h"
#include "proto/node.h"

struct spool_runner;

struct spool_route { /* of an address, by the policy in force */
    enum { SPOOL_ROUTE_NONE, SPOOL_ROUTE_TO, SPOOL_ROUTE_DISCARD, SPOOL_ROUTE_ERROR } kind; /* NONE: the policy says nothing of it */
    char to[NEXT_HOP_TEXT_MAX];                                                             /* TO */
    int code;                                                                               /* ERROR */
    char enhanced[12], text[SMTP_ADDRESS_MAX + 260];
};

struct outbreak;

struct spool_runner_options { /* all borrowed for the runner's life */
    struct event_base *base;
    struct node *node;
    struct scan_farm *farm;          /* NULL: scanning is turned off by name */
    struct delivery_pool *pool;
    const struct edge_settings *settings;
    const struct spam_settings *spam;
    const char *contact;             /* for DSNs, "" */
    const char *name;                /* "edge-1" */
    unsigned worker;
    struct message_budget *budget;
    struct spool_ahead *ahead;
    struct outbreak *outbreak;       /* NULL: nothing is held */
    struct queue_id_source *ids;     /* for DSNs */
    struct metrics *metrics;
    /* Whom mail for this address goes to, and where, by the present policy. */
    enum readers_found (*readers)(void *arg, const char *address, struct readers *readers);
    /* The policy in force, and where it routes an address that is final: no alias is looked up again, and nobody is asked whether it may be relayed. */
    uint64_t (*policy_epoch)(void *arg);
    /* The egress pool that it goes out from; "": the kernel chooses. Borrowed for the call. */
    const char *(*egress)(void *arg, const Weir__SpoolEnvelope *envelope);
    /* As struct dress has them; borrowed for the call. */
    const char *const *(*cluster_names)(void *arg);
    void (*route)(void *arg, const char *address, struct spool_route *out);
    /* By what this recipient's copy is judged where spam engines have a score. */
    void (*spam_bands)(void *arg, const Weir__SpoolEnvelope *envelope, const char *address, struct spam_bands *out);
    /* A message was found bad here (its client had a 250 already); all borrowed for the call. Once for each destination whose lease found it. */
    void (*virus)(void *arg, const Weir__SpoolEnvelope *envelope, const char *signature);
    /* While drained and without a job: again and again. */
    void (*idle)(void *arg);
    void *arg;
};

/* Takes nothing before spool_runner_resume(). */
struct spool_runner *spool_runner_new(const struct spool_runner_options *options);
/* Breaks everything off: what a next hop may have is reported by nobody, and the leases run out. */
void spool_runner_free(struct spool_runner **runner);
/* For what begins from now on. */
void spool_runner_reload(struct spool_runner *runner, const struct edge_settings *settings, const struct spam_settings *spam, const char *contact);
void spool_runner_resume(struct spool_runner *runner);
/* Takes no more; gives back what no next hop has been given, finishes the rest. */
void spool_runner_drain(struct spool_runner *runner);
/* Leases held or not yet reported. */
unsigned spool_runner_jobs(const struct spool_runner *runner);

#endif

#ifndef WEIR_SCANNER_SERVICE_H
#define WEIR_SCANNER_SERVICE_H
/*
 * service.h - the scan conversation, server side: edges in, verdicts out
 *
 * Owns the ROUTER socket, the scans, the admission and the pool of workers.
 *
 *     OPEN -> UPLOADING -> QUEUED -> RUNNING -> answered
 *         \-> (whole) -----^            BUSY, CANCEL, a peer that is gone and a deadline end it anywhere on the way
 */
#include <stdbool.h>
#include <stddef.h>
#include <event2/event.h>
#include "common/error.h"
#include "common/metrics.h"
#include "common/settings.h"
#include "proto/link.h"
#include "scanner/pool.h"

struct service;

struct service_options {
    const char *node;        /* "scanner-1"; borrowed for the service's life, as is settings */
    const char *endpoint;    /* to bind */
    const struct scanner_settings *settings;
    const struct spam_settings *spam; /* copied */
    struct pool_options pool;
};

/* changed: state, generation, gc_done, or the last scan has ended. */
struct service *service_new(struct event_base *base, struct link_hub *hub, const struct service_options *options,
                            struct metrics *metrics, void (*changed)(void *arg), void *arg, struct error *why);
void service_free(struct service **service);

/* New settings, after a reload; the endpoint stays. The pool uses them from its next generation on. */
void service_configure(struct service *service, const struct service_options *options);

/* Draining: every OPEN is answered BUSY, what is here is finished. Can be turned off again. */
void service_drain(struct service *service, bool drain);
Weir__NodeState service_state(const struct service *service);
size_t service_in_flight(const struct service *service);
struct pool *service_pool(struct service *service);

/*
 * A message of our own, which goes the way of all: admission, a turn, a worker with its sandbox, the spam engines. Nobody waits for it but who examines it.
 */
struct examined {
    const char *why; /* it could not be looked at, or is not clean; NULL: the rest is there. All is borrowed for the call */
    bool again;      /* why is no matter of the message: it may be looked at later, or elsewhere */
    const Weir__SpamResult *spam;             /* where `learn` was not said; NULL: no engine is configured */
    const struct packet_features *features;   /* where it was */
};
typedef void (*examined_handler)(void *arg, const struct examined *examined);

/* open: what is known of its envelope (client, helo, sender, spam). The handler is called once, perhaps before this returns, unless it is forgotten before. NULL: not now. */
struct examination *service_examine(struct service *service, const Weir__ScanOpen *open, const void *bytes, size_t len, bool learn, examined_handler done, void *arg);
void service_forget(struct examination **examination); /* may be NULL inside; nothing is told any more */

#endif

#ifndef WEIR_EDGE_DELIVERY_INTERNAL_H
#define WEIR_EDGE_DELIVERY_INTERNAL_H
/*
 * internal.h - what the three parts of this room know of each other
 *
 * A delivery (delivery.c) owns a transaction, a hopconn (hopconn.c) a connection, the pool (pool.c) decides which delivery gets which
 * connection. Events go up from hopconn to its owner as delivery_on_*() calls, always from the loop.
 */
#include <event2/event_struct.h>
#include "common/fair.h"
#include "edge/delivery/delivery.h"
#include "edge/delivery/dialog.h"
#include "edge/dns/dns.h"
#include "edge/dns/mx_lookup.h"

#define HOP_BUCKETS 64

enum hopconn_use { HOPCONN_CONNECTING, HOPCONN_BUSY, HOPCONN_IDLE, HOPCONN_USES };

struct hopconn;

/* One next hop: (host, port), or (domain, port) with the hosts of its MX records. Lives while it has connections or deliveries, or something worth remembering. */
struct hop {
    struct delivery_pool *pool;
    struct hop *next;
    struct next_hop name;
    char *egress;                           /* from which pool of addresses; "": the kernel chooses */
    struct hopconn *connections;            /* all of them */
    unsigned count;                         /* how many */
    struct hopconn *idle;                   /* the last used first: the others get old and are closed */
    struct delivery *waiting;               /* by turn */
    struct fair *fair;                      /* whose turn it is; NULL: nobody waits */
    unsigned deliveries;                    /* that refer to it */
    uint64_t no_tls_until;                  /* ms: a handshake failed a while ago */
    struct netaddr no_tls_at;               /* with mx: at this address; another host of the domain is not trusted less for it */
    struct smtp_reply *down;                /* why no connection could be made; NULL: none failed since the last that worked */
    uint64_t down_until;                    /* ms: nobody tries before; then one at a time */
    struct event forget;                    /* kept only to remember: until then */
};

enum attempt_result { ATTEMPT_DELIVERED, ATTEMPT_DEFERRED, ATTEMPT_REJECTED, ATTEMPT_UNREACHABLE, ATTEMPT_CANCELLED, ATTEMPT_RESULTS };

struct delivery_metrics {
    struct metric *attempts[DELIVERY_CLASSES][ATTEMPT_RESULTS];
    struct metric *duration;
    struct metric *connections[HOPCONN_USES];
    struct metric *tls_established, *tls_failed, *tls_declined, *tls_not_offered;
    struct metric *dane_verified, *dane_encrypted, *dane_failed; /* weir_next_hop_dane_total */
    struct metric *maybe_duplicates;
    struct metric *egress_unknown;
    struct metric *waited_too_long, *replayed, *found_down, *given_back;
};

struct delivery_pool {
    struct event_base *base;
    const struct edge_settings *settings;
    struct dns *dns;
    struct mx_options mx;                   /* of the present settings */
    char cluster[SMTP_CLUSTER_MARK_MAX];    /* our own mark; "": none known yet */
    struct net_tls *tls;                    /* NULL: next_hop_tls = none */
    unsigned generation;                    /* of what connections introduce and encrypt themselves with */
    enum next_hop_tls made_tls;             /* what this generation was made of: copies, the settings may be gone */
    char *made_ca_file, *made_hostname;
    struct delivery_metrics metrics;
    struct metrics *registry;
    struct egress *egresses;                /* own copies */
    size_t egress_count;
    unsigned egress_turn;                   /* of their addresses */
    struct hop *buckets[HOP_BUCKETS];
    uint64_t seed;                          /* of the turns */
};

struct hopconn {
    struct hop *hop;
    struct hopconn *next, **link;           /* hop->connections */
    struct hopconn *idle_next;              /* hop->idle */
    struct delivery *owner;                 /* NULL: idle, or on its way to be */
    enum hopconn_use use;
    struct net_conn *net;
    struct net_tls *tls;                    /* counted: a reload while it connects does not take it away */
    unsigned generation;                    /* the pool's when it was introduced */
    struct hop_dialog dialog;
    struct smtp_reply_parser parser;
    struct event timer;                     /* for a reply; idle: until QUIT */
    struct dns_query *query;
    struct mx_query *mx_query;
    struct netaddr *addresses;              /* to be tried, in order; without mx */
    struct mx_plan plan;                    /* the same with mx */
    const struct mx_host *host;             /* in the plan: the one being tried; NULL without mx */
    bool must_verify;                       /* its certificate: next_hop_tls = require, or DANE */
    bool dane_unusable;                     /* the host's TLSA records look right, and OpenSSL can make nothing of any */
    size_t address_count, address_next;
    struct smtp_reply *failure;             /* why the last address did not work */
    bool unasked;                           /* one was not tried, for a reason of our own */
    uint64_t began_ms;
    unsigned transactions;                  /* begun on it */
    bool heard;                             /* a reply came in this transaction */
    bool in_clear;                          /* the handshake failed: the same address is tried without TLS */
    unsigned busy;                          /* callbacks of this connection on the stack */
    bool freed;                             /* closed meanwhile */
    char text[sizeof((struct next_hop *)0)->host + NETADDR_TEXT_MAX + 16];
};

/* ---- hopconn.c ---- */

/* Starts to connect; delivery_on_ready() or delivery_on_unreachable() follows for its owner. */
struct hopconn *hopconn_new(struct hop *hop, struct delivery *owner);
/* Sends what the dialog has to say, and waits for the answer with a time limit. */
void hopconn_flush(struct hopconn *conn);
/* The owner leaves; what is open is reset. The connection goes to the next delivery, to the idle ones, or is closed. */
void hopconn_release(struct hopconn *conn);
/* Closes it, with QUIT where it is ready. */
void hopconn_close(struct hopconn *conn);
/* Takes it from the idle ones for a transaction. */
void hopconn_take(struct hopconn *conn, struct delivery *owner);

/* ---- pool.c ---- */

/* Counts one more delivery. */
struct hop *pool_hop(struct delivery_pool *pool, const struct next_hop *name, const char *egress);
/* NULL: the edge has none of that name. Borrowed until the pools are set again. */
const struct egress *pool_egress(const struct delivery_pool *pool, const char *name);
void pool_hop_leave(struct hop *hop);
/* A ready connection, or NULL: then delivery->conn connects, or the delivery waits in line. fresh: not one that was used before. */
struct hopconn *pool_acquire(struct hop *hop, struct delivery *delivery, bool fresh);
/* Why the hop should not be asked now: it cannot be reached, and it is too early to try again, or somebody does. NULL: go on. Borrowed. */
const struct smtp_reply *pool_down(const struct hop *hop);
/* conn, not closed yet, could not be made: remembered, where the hop has no other that works, and those in line are told. */
void pool_unreachable(struct hopconn *conn, const struct smtp_reply *reply);
void pool_reached(struct hop *hop);
/* While more wait than connections are on their way to them: those that were held longest for slow clients are given back. */
void pool_press(struct hop *hop);
void pool_leave_line(struct hop *hop, struct delivery *delivery);
/* conn is ready and has no owner: the first in line gets it, or it becomes idle. */
void pool_give(struct hopconn *conn);
void pool_take_idle(struct hopconn *conn);
/* A connection has ended: there is room for one more. May free the hop. */
void pool_closed(struct hop *hop);
void pool_count(struct hopconn *conn, enum hopconn_use use);

/* ---- delivery.c ---- */

struct recipient {
    char *address, *orcpt;
    unsigned notify;
    enum recipient_state { RECIPIENT_NEW, RECIPIENT_ACCEPTED, RECIPIENT_REJECTED } state;
};

enum delivery_state {
    DELIVERY_PARKED,     /* no connection, and none wanted before there is something to say */
    DELIVERY_WAITING,    /* in line */
    DELIVERY_CONNECTING,
    DELIVERY_OPEN,       /* has a connection that is ready */
    DELIVERY_FAILED,     /* `failure` is the answer to everything */
};

struct delivery {
    struct delivery_pool *pool;
    struct hop *hop;
    struct delivery *line_next;       /* hop->waiting */
    uint64_t source, turn;            /* in that line */
    struct hopconn *conn;
    const struct delivery_handlers *handlers;
    void *arg;
    enum delivery_state state;
    char *sender;
    uint64_t size;
    bool eightbit, smtputf8;
    char ret, *envid;
    enum delivery_class class;
    uint64_t deadline_ms;             /* no final dot after it; 0: none */
    bool hop_takes_dsn;
    uint64_t hop_size;        /* 0: any, or not known */
    struct recipient *recipients;
    unsigned count, room;
    unsigned accepted;
    unsigned sent, answered;          /* on this connection: the first recipient not sent, not answered yet */
    unsigned told;                    /* recipients whose answer the owner has, ever */
    bool mail_sent;                   /* on this connection */
    bool spoiled;                     /* repeated on another connection, the answers were not the same: nothing may be sent any more */
    bool need_fresh;                  /* after a used connection turned out dead */
    unsigned replays;
    uint64_t held_since;              /* ms: OPEN, all recipients answered, and the owner has nothing more to say; else 0 */
    bool sending;                     /* delivery_send() was called */
    uint64_t skip;                    /* bytes of the message that the prefix stands for */
    bool dot_sent;
    uint64_t send_at;                 /* us */
    char *prefix;
    size_t prefix_len;
    const struct message *message;
    uint64_t offset;                  /* of the message on the wire */
    bool prefix_sent, at_line_start;
    struct smtp_reply *failure;
    struct event kick;                /* works off what the owner asked for, from the loop */
    struct event timer;               /* WAITING: the end of patience; OPEN: next_hop_hold */
    unsigned busy;
    bool freed;
    char hop_text[sizeof((struct hopconn *)0)->text];
    char tls_text[64];
};

/* It holds its connection only for a slow client: lets go; the envelope is repeated when there is more. */
void delivery_give_back(struct delivery *delivery);
/* Looks in so many ms whether somebody else needs its connection. */
void delivery_press(struct delivery *delivery, uint64_t ms);
/* conn is the delivery's now; goes on from the loop, not from inside. */
void delivery_on_ready(struct delivery *delivery, struct hopconn *conn);
void delivery_on_unreachable(struct delivery *delivery, const struct smtp_reply *reply);
void delivery_on_sender(struct delivery *delivery, const struct smtp_reply *reply);
void delivery_on_recipient(struct delivery *delivery, const struct smtp_reply *reply);
void delivery_on_go_ahead(struct delivery *delivery);
void delivery_on_drained(struct delivery *delivery);
void delivery_on_answer(struct delivery *delivery, const struct smtp_reply *reply);
/* The connection ended; it is no longer the delivery's. reply: what the host said at its end, code 0 when nothing. unsent: the last bytes
 * written have not reached it. */
void delivery_on_lost(struct delivery *delivery, const struct smtp_reply *reply, bool used_before, bool unsent);

/* reply->code and text, as our own words; enhanced and text may be NULL. */
void reply_set(struct smtp_reply *reply, int code, const char *enhanced, const char *text, ...) __attribute__((format(printf, 4, 5)));

#endif

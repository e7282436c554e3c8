#ifndef WEIR_PROTO_LINK_INTERNAL_H
#define WEIR_PROTO_LINK_INTERNAL_H
/*
 * link_internal.h - what link_hub.c, link_client.c and link_server.c share; no other room includes it
 *
 * Sockets with all their options set, the socket monitor, receiving a multipart whole, sending one.
 */
#include <zmq.h>
#include "proto/link.h"
#include "proto/zwatch.h"

#define LINK_LINGER_MS   200  /* for the last words at an orderly end */
#define SERVER_LINGER_MS 1000 /* the same of a server: the last verdict of a scanner that drains, on a machine that is busy */

enum link_drop {
    LINK_DROP_PARTS,     /* more frames in one message than allowed */
    LINK_DROP_TRUNCATED, /* fewer than needed */
    LINK_DROP_OVERSIZED,
    LINK_DROP_INVALID,    /* wire_decode() said no */
    LINK_DROP_UNKNOWN,    /* empty, or a message of a later version */
    LINK_DROP_REVOKED,    /* from a key that is not allowed any more */
    LINK_DROP_UNFINISHED, /* the beginning of a message over link_message: its connection was ended */
    LINK_DROP_PEERS,      /* a server has as many peers as it may */
    LINK_DROP_OWN,        /* ours, not sent: over a limit */
    LINK_DROP_COUNT,
};

struct link_hub {
    struct event_base *base;
    void *context;
    struct curve_keypair pair;
    void *zap;
    struct zwatch *zap_watch;
    struct link_allowed_key *allowed; /* sorted by key */
    size_t allowed_count;
    int send_mark, receive_mark, heartbeat_ms, timeout_ms;
    uint64_t silence_ms; /* a server's peer that says nothing for so long is gone */
    size_t peers_max;
    uint64_t message_max; /* bytes of one message with all its parts */
    struct link_flows *flows;
    struct link_server *servers;
    struct link_publisher *publishers;
    uint64_t monitors;  /* made so far: names them */
    uint64_t logged_ms; /* when a peer's misbehaviour was last logged: once a second is enough */
    struct metric *dropped[LINK_DROP_COUNT];
    struct metric *refused, *full, *lost, *ended, *silent, *links_up, *peers, *rebinds;
};

/* NULL: no such key. Borrowed until the next link_hub_allow(). */
const struct link_allowed_key *link_hub_find(const struct link_hub *hub, const uint8_t key[CURVE_KEY_LEN]);
/* Counts, and logs with the reason's name unless something was logged within the last second. */
void link_hub_dropped(struct link_hub *hub, enum link_drop reason, const char *peer, const char *detail);
bool link_hub_may_log(struct link_hub *hub);

/* A socket of that type, for that endpoint, with everything set but its role in CURVE; NULL: why says what failed (out
 * of descriptors). */
void *link_socket_new(struct link_hub *hub, int type, const char *endpoint, struct error *why);
void link_socket_as_client(struct link_hub *hub, void *sock, const uint8_t server_key[CURVE_KEY_LEN]);
void link_socket_as_server(struct link_hub *hub, void *sock);
/* Binds and gives the endpoint as bound (malloced). NULL: why says what failed. */
char *link_socket_bind(void *sock, const char *endpoint, struct error *why);
void link_socket_close(void **sock, int linger_ms);

struct link_monitor {
    void *pair; /* NULL: closed */
    struct zwatch *watch;
    void (*on_event)(void *arg, unsigned event, unsigned value);
    void *arg;
};
void link_monitor_open(struct link_monitor *monitor, struct link_hub *hub, void *sock, int events,
                       void (*on_event)(void *arg, unsigned event, unsigned value), void *arg);
void link_monitor_close(struct link_monitor *monitor, void *sock);

/* Connections whose unfinished messages are watched (link_flow.c). */
struct link_flows *link_flows_new(struct link_hub *hub);
void link_flows_free(struct link_flows **flows);
void link_flow_open(struct link_flows *flows, int fd); /* a monitor said that fd is a connection */
void link_flow_close(struct link_flows *flows, int fd);
void link_flow_moved(struct link_flows *flows, int fd); /* a whole message came over it */

/* All parts of one message; those past `max` are read off and not kept. */
struct link_inbox {
    zmq_msg_t parts[2 + WIRE_PAYLOADS_MAX];
    size_t count;
    bool overflow;
};
/* false: nothing there. */
bool link_inbox_receive(struct link_inbox *inbox, void *sock, size_t max);
void link_inbox_clear(struct link_inbox *inbox);
/* Decodes the frame at parts[first] and the payloads behind it into message, which borrows from the inbox. NULL: bad,
 * counted. Free the frame with wire_free(). */
Weir__Frame *link_inbox_decode(struct link_hub *hub, struct link_inbox *inbox, size_t first, const char *peer,
                               struct link_message *message);

/* Sends to the routing id (NULL: none). */
enum link_status link_transmit(struct link_hub *hub, void *sock, const void *id, size_t id_len, Weir__Frame *frame,
                               const struct link_payload *payloads, size_t count);

/* The same with a frame that is packed already, without an id. */
enum link_status link_transmit_packed(struct link_hub *hub, void *sock, const void *frame, size_t len, const struct link_payload *payloads, size_t count);

/* In link_server.c: ends the connections of a key that `keys` no longer has; before the hub's list is replaced. */
bool link_server_revoke(struct link_server *server);
void link_publisher_revoke(struct link_publisher *publisher);
struct link_server *link_server_next(struct link_server *server);
struct link_publisher *link_publisher_next(struct link_publisher *publisher);

#endif

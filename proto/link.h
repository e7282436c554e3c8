#ifndef WEIR_PROTO_LINK_H
#define WEIR_PROTO_LINK_H
/*
 * link.h - encrypted conversations over ZeroMQ: a client side (DEALER), a server side (ROUTER), a publisher and a
 * subscriber
 *
 * A link_hub owns the process's ZeroMQ context, its key pair and the ZAP handler, all on one loop. Servers accept only
 * keys that are in the hub's allowed list (answered from memory); links go up and down by the socket monitor's events,
 * so a peer's death is known at once; reconnecting is automatic (100 ms; 500 ms after a refusal). Each connection has a
 * socket and a routing id of its own: nothing sent on one appears on the next. Bad frames (undecodable, oversized,
 * truncated multiparts) are dropped and counted (weir_link_dropped_total{reason}), never fatal; a frame over twice
 * WIRE_PAYLOAD_MAX ends its connection before it is read (weir_link_ended_total, as all that end).
 * Nothing here is queued without bound: sending is LINK_FULL at the mark and the caller keeps the message. All
 * callbacks come from the loop, except where a function says otherwise; a link or server may be freed inside its own
 * callbacks.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>
#include "common/error.h"
#include "common/metrics.h"
#include "common/settings.h"
#include "proto/curve.h"
#include "proto/wire.h"

struct link_hub;
struct link;
struct link_server;
struct link_publisher;
struct link_subscriber;

struct link_payload {
    const void *data; /* borrowed: copied by the send */
    size_t len;
};

/* What arrived. Everything is borrowed for the time of the callback. */
struct link_message {
    const Weir__Frame *frame;
    struct link_payload payloads[WIRE_PAYLOADS_MAX];
    size_t payload_count;
};

enum link_status {
    LINK_OK,   /* handed to ZeroMQ, which is no proof of delivery */
    LINK_FULL, /* at the high-water mark: keep it and try again after on_writable or later */
    LINK_GONE, /* not connected, or (server) no such peer */
};

/* --- hub --- */
/* metrics: the weir_link_* series are made in it. pair is copied. */
struct link_hub *link_hub_new(struct event_base *base, const struct curve_keypair *pair, struct metrics *metrics);
void link_hub_free(struct link_hub **hub); /* free links and servers first */
const uint8_t *link_hub_public_key(const struct link_hub *hub);
/* [cluster] link_*, for links and servers made from now on; without it the defaults of common/settings.c. Marks count
 * messages per peer, not bytes: what a conversation may have under way in bytes is its own business. Publishers keep
 * 16: a state is replaced by the next. */
void link_hub_configure(struct link_hub *hub, const struct cluster_settings *settings);

struct link_allowed_key {
    uint8_t key[CURVE_KEY_LEN];
    char name[64];
    Weir__Role role;
};
/* Replaces the allowed list (copied). A server one of whose peers has a key that is gone, or that now belongs to
 * another name or role, closes and binds again: all its connections end and all its peers are `gone` (from the loop,
 * soon); the others come back by themselves within the reconnect interval, as new peers. Publishers, which cannot know
 * who listens, do so whenever a key goes. Returns true when anything was closed. */
bool link_hub_allow(struct link_hub *hub, const struct link_allowed_key *keys, size_t count);

/* --- client side --- */
struct link_handlers {
    void (*up)(void *arg, struct link *link); /* handshake done */
    /* Connection lost, or (also without an `up` before) the server refused us; it will reconnect. All that had arrived
     * was handed out before. */
    void (*down)(void *arg, struct link *link);
    void (*message)(void *arg, struct link *link, const struct link_message *message);
    void (*writable)(void *arg, struct link *link); /* after LINK_FULL: there is room again; may be NULL */
};
struct link *link_new(struct link_hub *hub, const char *endpoint, const uint8_t server_key[CURVE_KEY_LEN],
                      const struct link_handlers *handlers, void *arg);
void link_free(struct link **link);
bool link_is_up(const struct link *link);
/* In down(): whether we were refused because the server has heard of no keys at all since it started. */
bool link_server_knows_no_keys(const struct link *link);
/* Sets frame->version. Payloads are copied. A frame or payload over its limit is a bug of the caller: it is logged,
 * counted, dropped and LINK_OK, because sending it again cannot help. */
enum link_status link_send(struct link *link, Weir__Frame *frame, const struct link_payload *payloads, size_t count);
/* The same with a frame that wire_encode() made. */
enum link_status link_send_packed(struct link *link, const void *frame, size_t len, const struct link_payload *payloads, size_t count);

/* --- server side --- */
struct link_peer; /* one connected client: alive from its first message until `gone` */
const char *link_peer_name(const struct link_peer *peer); /* from the allowed list: the authenticated name */
Weir__Role link_peer_role(const struct link_peer *peer);
const uint8_t *link_peer_key(const struct link_peer *peer);
void *link_peer_data(const struct link_peer *peer); /* the owner's own pointer, NULL at first */
void link_peer_set_data(struct link_peer *peer, void *data);

struct link_server_handlers {
    void (*message)(void *arg, struct link_peer *peer, const struct link_message *message);
    /* Not reachable any more, silent for link_silence, or revoked; last use of peer. */
    void (*gone)(void *arg, struct link_peer *peer);
};
/* Binds. endpoint "tcp://127.0.0.1:7100"; a port "*" is chosen by the system. NULL: why says what failed. */
struct link_server *link_server_new(struct link_hub *hub, const char *endpoint,
                                    const struct link_server_handlers *handlers, void *arg, struct error *why);
/* Does not call `gone`: where peers carry data, let go of it with link_server_each() first. */
void link_server_free(struct link_server **server);
const char *link_server_endpoint(const struct link_server *server); /* as bound, the port filled in */
enum link_status link_server_send(struct link_server *server, struct link_peer *peer, Weir__Frame *frame,
                                  const struct link_payload *payloads, size_t count);
/* Calls visit for every peer alive. */
void link_server_each(struct link_server *server, void (*visit)(void *arg, struct link_peer *peer), void *arg);

/* --- cluster state by PUB/SUB --- */
struct link_publisher *link_publisher_new(struct link_hub *hub, const char *endpoint, struct error *why);
void link_publisher_free(struct link_publisher **publisher);
const char *link_publisher_endpoint(const struct link_publisher *publisher);
/* To all who listen now; whoever does not read misses some. */
void link_publish(struct link_publisher *publisher, Weir__Frame *frame);

struct link_subscriber *link_subscriber_new(struct link_hub *hub, const char *endpoint,
                                            const uint8_t server_key[CURVE_KEY_LEN],
                                            void (*message)(void *arg, const struct link_message *message), void *arg);
void link_subscriber_free(struct link_subscriber **subscriber);

#endif

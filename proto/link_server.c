/*
 * link_server.c - the binding side: ROUTER servers with their table of peers, and the PUB of the cluster state
 *
 * A peer is one connection: routing ids are made by the ROUTER, or by a client that wants one, and every message
 * carries the key that the handshake proved (User-Id). A known routing id with another key is another connection; what
 * a peer says of itself decides nothing here. Peers are removed, and `gone` called, only from the loop: at the sweep,
 * or before a message of their successor.
 *
 * libzmq cannot end one connection, so revoking a key closes the socket and binds a new one; the kernel may give the
 * port back a moment later, so binding is tried again until it works.
 */
#include "proto/link_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#define SWEEP_MS          1000
#define REBIND_MS         5
#define REBIND_GRUMBLE_MS 2000 /* still not bound: say so */
#define PROBE_MS          20 /* from the monitor's word that a descriptor closed to asking the socket who is missing */
#define SUSPECT_SWEEPS    2 /* asked again so often: the socket may learn later than the monitor that a connection ended */
#define CLOSED_MAX        64 /* descriptors closed within that time; more: all peers are asked for */
#define BUCKETS_MIN       64
#define SERVER_EVENTS     (ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED)

struct link_peer {
    struct link_peer *next_in_bucket;
    struct link_peer *previous, *next; /* all of the server's */
    struct link_allowed_key who;
    char user_id[CURVE_HEX_LEN + 1];
    void *data;
    uint64_t heard_ms;
    int fd;    /* of the connection: a hint, descriptors are used again */
    bool lost; /* cannot be reached any more; `gone` is due */
    unsigned suspect; /* sweeps in which to ask once more whether it can */
    uint32_t hash;
    uint8_t id_len;
    uint8_t id[];
};

struct link_server {
    struct link_hub *hub;
    struct link_server *next;
    char *endpoint;
    struct link_server_handlers handlers;
    void *arg;
    void *sock; /* NULL between revoking and binding again */
    struct zwatch *watch;
    struct link_monitor monitor;
    struct event *sweep, *soon, *probe;
    struct link_peer **buckets;
    size_t bucket_count; /* a power of two */
    struct link_peer *peers;
    size_t peer_count;
    uint32_t seed; /* so that nobody can choose ids that share a bucket */
    int closed[CLOSED_MAX];
    size_t closed_count; /* CLOSED_MAX + 1: more than we noted */
    uint64_t unbound_ms; /* since when there is no socket; 0: bound, or said so */
    unsigned calls;      /* of the owner's handlers we are inside of */
    bool dead;           /* freed in one of them */
};

/* --- the table of peers --- */

static uint32_t hash_id(const struct link_server *server, const uint8_t *id, size_t len)
{
    uint32_t hash = 2166136261u ^ server->seed; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ id[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static struct link_peer **bucket_of(const struct link_server *server, uint32_t hash)
{
    return &server->buckets[hash & (server->bucket_count - 1)];
}

static struct link_peer *peer_find(const struct link_server *server, const uint8_t *id, size_t len)
{
    uint32_t hash = hash_id(server, id, len);

    for (struct link_peer *peer = *bucket_of(server, hash); peer != NULL; peer = peer->next_in_bucket)
        if (peer->hash == hash && peer->id_len == len && memcmp(peer->id, id, len) == 0)
            return peer;
    return NULL;
}

static void table_grow(struct link_server *server)
{
    server->bucket_count = server->bucket_count == 0 ? BUCKETS_MIN : server->bucket_count * 2;
    free(server->buckets);
    server->buckets = xcalloc(server->bucket_count, sizeof(struct link_peer *));
    for (struct link_peer *peer = server->peers; peer != NULL; peer = peer->next) {
        struct link_peer **bucket = bucket_of(server, peer->hash);
        peer->next_in_bucket = *bucket;
        *bucket = peer;
    }
}

static struct link_peer *peer_new(struct link_server *server, const uint8_t *id, size_t len,
                                  const struct link_allowed_key *who, const char *user_id)
{
    struct link_peer *peer = xcalloc(1, sizeof *peer + len);

    peer->who = *who;
    peer->heard_ms = clock_ms();
    memcpy(peer->user_id, user_id, sizeof peer->user_id);
    peer->id_len = (uint8_t)len;
    memcpy(peer->id, id, len);
    peer->hash = hash_id(server, id, len);
    if (server->peer_count >= server->bucket_count)
        table_grow(server);
    struct link_peer **bucket = bucket_of(server, peer->hash);
    peer->next_in_bucket = *bucket;
    *bucket = peer;
    peer->next = server->peers;
    if (peer->next != NULL)
        peer->next->previous = peer;
    server->peers = peer;
    server->peer_count++;
    metric_add(server->hub->peers, 1);
    return peer;
}

static void peer_unlink(struct link_server *server, struct link_peer *peer)
{
    struct link_peer **at = bucket_of(server, peer->hash);

    while (*at != peer)
        at = &(*at)->next_in_bucket;
    *at = peer->next_in_bucket;
    if (peer->previous != NULL)
        peer->previous->next = peer->next;
    else
        server->peers = peer->next;
    if (peer->next != NULL)
        peer->next->previous = peer->previous;
    server->peer_count--;
    metric_add(server->hub->peers, -1);
}

const char *link_peer_name(const struct link_peer *peer)
{
    return peer->who.name;
}

Weir__Role link_peer_role(const struct link_peer *peer)
{
    return peer->who.role;
}

const uint8_t *link_peer_key(const struct link_peer *peer)
{
    return peer->who.key;
}

void *link_peer_data(const struct link_peer *peer)
{
    return peer->data;
}

void link_peer_set_data(struct link_peer *peer, void *data)
{
    peer->data = data;
}

/* --- life and death --- */

static void server_destroy(struct link_server *server)
{
    while (server->peers != NULL) {
        struct link_peer *peer = server->peers;
        peer_unlink(server, peer);
        free(peer);
    }
    free(server->buckets);
    free(server->endpoint);
    free(server);
}

/* After a call of the owner's: false when the server is no more. */
static bool server_survived(struct link_server *server)
{
    server->calls--;
    if (!server->dead)
        return true;
    if (server->calls == 0)
        server_destroy(server);
    return false;
}

static void server_close(struct link_server *server, int linger_ms)
{
    if (server->sock == NULL)
        return;
    link_monitor_close(&server->monitor, server->sock);
    zwatch_free(&server->watch);
    link_socket_close(&server->sock, linger_ms);
}

static void peer_lose(struct link_server *server, struct link_peer *peer)
{
    peer->lost = true;
    event_add(server->soon, &(struct timeval){ 0, 0 });
}

/* Ends every connection; the loop's next turn tells of the peers and binds again. */
static void server_end_all(struct link_server *server)
{
    server_close(server, 0);
    for (struct link_peer *peer = server->peers; peer != NULL; peer = peer->next)
        peer->lost = true;
    event_add(server->soon, &(struct timeval){ 0, 0 });
}

/* Tells the owner and forgets the peer. false: the server is no more. */
static bool peer_remove(struct link_server *server, struct link_peer *peer)
{
    peer_unlink(server, peer);
    server->calls++;
    server->handlers.gone(server->arg, peer);
    free(peer);
    return server_survived(server);
}

static struct link_peer *first_gone(const struct link_server *server, struct link_peer *from, uint64_t now)
{
    for (struct link_peer *peer = from; peer != NULL; peer = peer->next)
        if (peer->lost || now - peer->heard_ms > server->hub->silence_ms)
            return peer;
    return NULL;
}

static bool server_sweep(struct link_server *server)
{
    uint64_t now = clock_ms();
    struct link_peer *peer = first_gone(server, server->peers, now);

    while (peer != NULL) {
        if (!peer->lost) {
            metric_add(server->hub->silent, 1);
            log_write(LOG_NOTICE, "link: %s said nothing for %g s", peer->who.name,
                      (double)server->hub->silence_ms / 1000);
        }
        struct link_peer *next = peer->next; /* owners cannot remove peers, so it stays */
        if (!peer_remove(server, peer))
            return false;
        peer = first_gone(server, next, now);
    }
    return true;
}

/* --- messages --- */

/* The peer with that routing id, if it is still the connection with that key. */
static struct link_peer *peer_known(struct link_server *server, struct link_inbox *inbox, const char *user_id)
{
    struct link_peer *peer = peer_find(server, zmq_msg_data(&inbox->parts[0]), zmq_msg_size(&inbox->parts[0]));

    return peer != NULL && !peer->lost && user_id != NULL && strcmp(peer->user_id, user_id) == 0 ? peer : NULL;
}

/* The first message of a connection. NULL: nobody who may speak, or the server is no more. */
static struct link_peer *peer_meet(struct link_server *server, struct link_inbox *inbox, const char *user_id)
{
    const uint8_t *id = zmq_msg_data(&inbox->parts[0]);
    size_t id_len = zmq_msg_size(&inbox->parts[0]);
    const struct link_allowed_key *who = NULL;
    uint8_t key[CURVE_KEY_LEN];

    struct link_peer *former = peer_find(server, id, id_len);
    if (former != NULL && !peer_remove(server, former))
        return NULL;
    if (curve_key_parse(key, user_id))
        who = link_hub_find(server->hub, key);
    if (who == NULL) { /* its handshake was answered before the key was revoked */
        link_hub_dropped(server->hub, LINK_DROP_REVOKED, server->endpoint, "key is not allowed any more");
        server_end_all(server);
        return NULL;
    }
    if (server->peer_count >= server->hub->peers_max || id_len > UINT8_MAX) {
        link_hub_dropped(server->hub, LINK_DROP_PEERS, who->name, "too many peers");
        return NULL;
    }
    struct link_peer *peer = peer_new(server, id, id_len, who, user_id);
    peer->fd = zmq_msg_get(&inbox->parts[1], ZMQ_SRCFD);
    return peer;
}

static void serve(struct link_server *server, struct link_inbox *inbox)
{
    const char *user_id = inbox->count > 1 ? zmq_msg_gets(&inbox->parts[1], "User-Id") : NULL;
    struct link_peer *peer = peer_known(server, inbox, user_id);
    struct link_message message;

    if (peer != NULL)
        peer->heard_ms = clock_ms();
    Weir__Frame *frame =
        link_inbox_decode(server->hub, inbox, 1, peer != NULL ? peer->who.name : server->endpoint, &message);
    if (frame == NULL)
        return;
    if (peer == NULL)
        peer = peer_meet(server, inbox, user_id);
    if (peer != NULL)
        server->handlers.message(server->arg, peer, &message);
    wire_free(&frame);
}

static void on_server_message(void *arg)
{
    struct link_server *server = arg;
    struct link_inbox inbox;

    if (!link_inbox_receive(&inbox, server->sock, 2 + WIRE_PAYLOADS_MAX))
        return;
    if (inbox.count > 1)
        link_flow_moved(server->hub->flows, zmq_msg_get(&inbox.parts[1], ZMQ_SRCFD));
    server->calls++;
    serve(server, &inbox);
    server_survived(server);
    link_inbox_clear(&inbox);
}

enum link_status link_server_send(struct link_server *server, struct link_peer *peer, Weir__Frame *frame,
                                  const struct link_payload *payloads, size_t count)
{
    if (server->sock == NULL || peer->lost)
        return LINK_GONE;
    enum link_status status = link_transmit(server->hub, server->sock, peer->id, peer->id_len, frame, payloads, count);
    if (status == LINK_GONE)
        peer_lose(server, peer);
    zwatch_kick(server->watch);
    return status;
}

void link_server_each(struct link_server *server, void (*visit)(void *arg, struct link_peer *peer), void *arg)
{
    struct link_peer *next;

    for (struct link_peer *peer = server->peers; peer != NULL; peer = next) {
        next = peer->next;
        visit(arg, peer);
    }
}

/* --- connections that ended --- */

/* The ROUTER says who it cannot reach when a routing id is sent; where it can, an empty message completes what was
 * begun. */
static void peer_probe(struct link_server *server, struct link_peer *peer)
{
    if (zmq_send(server->sock, peer->id, peer->id_len, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        zmq_send(server->sock, "", 0, ZMQ_DONTWAIT);
    else if (zmq_errno() == EHOSTUNREACH)
        peer_lose(server, peer);
}

static bool was_closed(const struct link_server *server, int fd)
{
    if (server->closed_count > CLOSED_MAX || fd < 0)
        return true;
    for (size_t i = 0; i < server->closed_count; i++)
        if (server->closed[i] == fd)
            return true;
    return false;
}

/* Lets the socket learn of what ended. false: there is none. */
static bool server_catch_up(struct link_server *server)
{
    int events;
    size_t size = sizeof events;

    return server->sock != NULL && zmq_getsockopt(server->sock, ZMQ_EVENTS, &events, &size) == 0;
}

static void on_probe(evutil_socket_t fd, short what, void *arg)
{
    struct link_server *server = arg;

    (void)fd, (void)what;
    if (!server_catch_up(server))
        return;
    for (struct link_peer *peer = server->peers; peer != NULL; peer = peer->next)
        if (!peer->lost && was_closed(server, peer->fd)) {
            peer->suspect = SUSPECT_SWEEPS;
            peer_probe(server, peer);
        }
    server->closed_count = 0;
    zwatch_kick(server->watch);
}

static void probe_suspects(struct link_server *server)
{
    if (!server_catch_up(server))
        return;
    for (struct link_peer *peer = server->peers; peer != NULL; peer = peer->next)
        if (!peer->lost && peer->suspect > 0) {
            peer->suspect--;
            peer_probe(server, peer);
        }
    zwatch_kick(server->watch);
}

static void on_server_event(void *arg, unsigned event, unsigned value)
{
    struct link_server *server = arg;

    if (event == ZMQ_EVENT_ACCEPTED) {
        link_flow_open(server->hub->flows, (int)value);
        return;
    }
    link_flow_close(server->hub->flows, (int)value);
    metric_add(server->hub->ended, 1);
    if (server->closed_count < CLOSED_MAX)
        server->closed[server->closed_count++] = (int)value;
    else
        server->closed_count = CLOSED_MAX + 1;
    if (!event_pending(server->probe, EV_TIMEOUT, NULL))
        event_add(server->probe, &(struct timeval){ 0, PROBE_MS * 1000 });
}

/* --- binding --- */

static bool server_open(struct link_server *server, struct error *why)
{
    static const struct zwatch_handlers handlers = { .on_message = on_server_message };

    void *sock = link_socket_new(server->hub, ZMQ_ROUTER, server->endpoint, why);
    if (sock == NULL)
        return false;
    int mandatory = 1;
    if (zmq_setsockopt(sock, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof mandatory) != 0)
        fatal("link: cannot set ZMQ_ROUTER_MANDATORY: %s", zmq_strerror(zmq_errno()));
    link_socket_as_server(server->hub, sock);
    link_monitor_open(&server->monitor, server->hub, sock, SERVER_EVENTS, on_server_event, server);
    char *bound = link_socket_bind(sock, server->endpoint, why);
    if (bound == NULL) {
        link_monitor_close(&server->monitor, sock);
        link_socket_close(&sock, 0);
        return false;
    }
    free(server->endpoint);
    server->endpoint = bound;
    server->sock = sock;
    server->closed_count = 0;
    server->watch = zwatch_new(server->hub->base, sock, &handlers, server);
    return true;
}

static void server_rebind(struct link_server *server)
{
    struct error why;

    if (server->unbound_ms == 0)
        server->unbound_ms = clock_ms();
    if (server_open(server, &why)) {
        metric_add(server->hub->rebinds, 1);
        server->unbound_ms = 0;
        return;
    }
    if (clock_ms() - server->unbound_ms > REBIND_GRUMBLE_MS && link_hub_may_log(server->hub))
        log_write(LOG_ERR, "link: still trying: %s", why.text);
    event_add(server->soon, &(struct timeval){ 0, REBIND_MS * 1000 });
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    struct link_server *server = arg;

    (void)fd, (void)what;
    if (server_sweep(server) && server->sock == NULL)
        server_rebind(server);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    probe_suspects(arg);
    server_sweep(arg);
}

struct link_server *link_server_new(struct link_hub *hub, const char *endpoint,
                                    const struct link_server_handlers *handlers, void *arg, struct error *why)
{
    struct link_server *server = xcalloc(1, sizeof *server);

    server->hub = hub;
    server->endpoint = xstrdup(endpoint);
    server->handlers = *handlers;
    server->arg = arg;
    if (getrandom(&server->seed, sizeof server->seed, 0) != sizeof server->seed)
        fatal("link: no random numbers");
    table_grow(server);
    if (!server_open(server, why)) {
        server_destroy(server);
        return NULL;
    }
    server->sweep = event_new(hub->base, -1, EV_PERSIST, on_sweep, server);
    server->soon = event_new(hub->base, -1, 0, on_soon, server);
    server->probe = event_new(hub->base, -1, 0, on_probe, server);
    if (server->sweep == NULL || server->soon == NULL || server->probe == NULL ||
        event_add(server->sweep, &(struct timeval){ SWEEP_MS / 1000, 0 }) != 0)
        fatal("out of memory");
    server->next = hub->servers;
    hub->servers = server;
    return server;
}

void link_server_free(struct link_server **taken)
{
    struct link_server *server = *taken;

    *taken = NULL;
    if (server == NULL)
        return;
    server_close(server, SERVER_LINGER_MS);
    event_free(server->sweep);
    event_free(server->soon);
    event_free(server->probe);
    struct link_server **at = &server->hub->servers;
    while (*at != server)
        at = &(*at)->next;
    *at = server->next;
    server->dead = true;
    if (server->calls == 0)
        server_destroy(server);
}

const char *link_server_endpoint(const struct link_server *server)
{
    return server->endpoint;
}

struct link_server *link_server_next(struct link_server *server)
{
    return server->next;
}

bool link_server_revoke(struct link_server *server)
{
    bool revoked = false;

    for (struct link_peer *peer = server->peers; peer != NULL && !revoked; peer = peer->next) {
        const struct link_allowed_key *now = link_hub_find(server->hub, peer->who.key);
        revoked = now == NULL || now->role != peer->who.role || strcmp(now->name, peer->who.name) != 0;
        if (revoked)
            log_write(LOG_NOTICE, "link: %s is revoked or changed: ending all connections to %s", peer->who.name,
                      server->endpoint);
    }
    if (!revoked)
        return false;
    server_end_all(server);
    return true;
}

/* --- publisher --- */

struct link_publisher {
    struct link_hub *hub;
    struct link_publisher *next;
    char *endpoint;
    void *sock; /* NULL between revoking and binding again */
    struct link_monitor monitor;
    struct event *soon;
};

static void on_publisher_event(void *arg, unsigned event, unsigned value)
{
    struct link_publisher *publisher = arg;

    if (event == ZMQ_EVENT_ACCEPTED) {
        link_flow_open(publisher->hub->flows, (int)value);
        return;
    }
    link_flow_close(publisher->hub->flows, (int)value);
    metric_add(publisher->hub->ended, 1);
}

static void publisher_close(struct link_publisher *publisher, int linger_ms)
{
    if (publisher->sock == NULL)
        return;
    link_monitor_close(&publisher->monitor, publisher->sock);
    link_socket_close(&publisher->sock, linger_ms);
}

static bool publisher_open(struct link_publisher *publisher, struct error *why)
{
    void *sock = link_socket_new(publisher->hub, ZMQ_PUB, publisher->endpoint, why);
    if (sock == NULL)
        return false;
    link_socket_as_server(publisher->hub, sock);
    link_monitor_open(&publisher->monitor, publisher->hub, sock, SERVER_EVENTS, on_publisher_event, publisher);
    char *bound = link_socket_bind(sock, publisher->endpoint, why);
    if (bound == NULL) {
        link_monitor_close(&publisher->monitor, sock);
        link_socket_close(&sock, 0);
        return false;
    }
    free(publisher->endpoint);
    publisher->endpoint = bound;
    publisher->sock = sock;
    return true;
}

static void on_publisher_soon(evutil_socket_t fd, short what, void *arg)
{
    struct link_publisher *publisher = arg;
    struct error why;

    (void)fd, (void)what;
    if (publisher_open(publisher, &why))
        return;
    if (link_hub_may_log(publisher->hub))
        log_write(LOG_DEBUG, "link: still trying: %s", why.text);
    event_add(publisher->soon, &(struct timeval){ 0, REBIND_MS * 1000 });
}

struct link_publisher *link_publisher_new(struct link_hub *hub, const char *endpoint, struct error *why)
{
    struct link_publisher *publisher = xcalloc(1, sizeof *publisher);

    publisher->hub = hub;
    publisher->endpoint = xstrdup(endpoint);
    if (!publisher_open(publisher, why)) {
        free(publisher->endpoint);
        free(publisher);
        return NULL;
    }
    publisher->soon = event_new(hub->base, -1, 0, on_publisher_soon, publisher);
    if (publisher->soon == NULL)
        fatal("out of memory");
    publisher->next = hub->publishers;
    hub->publishers = publisher;
    return publisher;
}

void link_publisher_free(struct link_publisher **taken)
{
    struct link_publisher *publisher = *taken;

    *taken = NULL;
    if (publisher == NULL)
        return;
    publisher_close(publisher, LINK_LINGER_MS);
    event_free(publisher->soon);
    struct link_publisher **at = &publisher->hub->publishers;
    while (*at != publisher)
        at = &(*at)->next;
    *at = publisher->next;
    free(publisher->endpoint);
    free(publisher);
}

const char *link_publisher_endpoint(const struct link_publisher *publisher)
{
    return publisher->endpoint;
}

struct link_publisher *link_publisher_next(struct link_publisher *publisher)
{
    return publisher->next;
}

void link_publisher_revoke(struct link_publisher *publisher)
{
    publisher_close(publisher, 0);
    event_add(publisher->soon, &(struct timeval){ 0, 0 });
}

void link_publish(struct link_publisher *publisher, Weir__Frame *frame)
{
    if (publisher->sock != NULL) /* else: whoever comes back gets the next one */
        (void)link_transmit(publisher->hub, publisher->sock, NULL, 0, frame, NULL, 0);
}

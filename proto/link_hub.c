/*
 * link_hub.c - the ZeroMQ context of a process, its key pair, and who may come in
 *
 * The ZAP handler (RFC 27 of ZeroMQ) answers each handshake from the allowed list in memory, on the loop, and gives the
 * peer's key as User-Id, which libzmq attaches to every message of that connection: the one proof of who speaks. Each
 * server socket has a ZAP domain and enforces it, without which libzmq lets everybody in who knows the server's public
 * key.
 */
#include "proto/link_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define ZAP_DOMAIN   "weir"
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN                                                                                         \
    93 /* in zmq.h only among the drafts, but every 4.3 library knows it; fatal where not                              \
        */
#endif

#define SOCKETS_MAX  16384 /* each link is two, each watched socket two more */
#define STATE_MARK   16
#define HANDSHAKE_MS 5000
#define CONNECT_MS   2000
#define RECONNECT_MS 3600000 /* never: the link makes a new socket long before */
#define BACKLOG      1024
/* libzmq ends the connection at once for a larger frame; between WIRE_PAYLOAD_MAX and this one is read off and counted.
 */
#define WIRE_HARD_MAX (2 * WIRE_PAYLOAD_MAX)

static const char *const drop_names[LINK_DROP_COUNT] = {
    [LINK_DROP_PARTS] = "parts",     [LINK_DROP_TRUNCATED] = "truncated", [LINK_DROP_OVERSIZED] = "oversized",
    [LINK_DROP_INVALID] = "invalid", [LINK_DROP_UNKNOWN] = "unknown",     [LINK_DROP_UNFINISHED] = "unfinished",
    [LINK_DROP_REVOKED] = "revoked", [LINK_DROP_PEERS] = "peers",         [LINK_DROP_OWN] = "own",
};

/* --- ZAP --- */

enum zap_field {
    ZAP_VERSION,
    ZAP_REQUEST,
    ZAP_DOMAIN_FIELD,
    ZAP_ADDRESS,
    ZAP_IDENTITY,
    ZAP_MECHANISM,
    ZAP_KEY,
    ZAP_FIELDS
};

static bool zap_send(void *sock, const void *bytes, size_t len, int flags)
{
    while (zmq_send(sock, bytes, len, flags | ZMQ_DONTWAIT) < 0)
        if (zmq_errno() != EINTR)
            return false;
    return true;
}

static void zap_reply(struct link_hub *hub, const zmq_msg_t *request, const struct link_allowed_key *entry)
{
    char user[CURVE_HEX_LEN + 1] = "";
    bool knows = hub->allowed != NULL;
    const char *status = entry != NULL ? "200" : knows ? "400" : "500"; /* RFC 27: fine, authentication, internal */
    const char *text = entry != NULL ? "OK" : knows ? "unknown key" : "no keys known yet";
    zmq_msg_t *id = (zmq_msg_t *)(uintptr_t)request;

    if (entry != NULL)
        curve_key_format(entry->key, user);
    bool ok = zap_send(hub->zap, "1.0", 3, ZMQ_SNDMORE) &&
              zap_send(hub->zap, zmq_msg_data(id), zmq_msg_size(id), ZMQ_SNDMORE) &&
              zap_send(hub->zap, status, strlen(status), ZMQ_SNDMORE) &&
              zap_send(hub->zap, text, strlen(text), ZMQ_SNDMORE) &&
              zap_send(hub->zap, user, strlen(user), ZMQ_SNDMORE) && zap_send(hub->zap, "", 0, 0);
    if (!ok) /* the asking session is gone: its handshake ends by itself */
        log_write(LOG_DEBUG, "link: a handshake ended before its answer: %s", zmq_strerror(zmq_errno()));
}

static bool part_equals(zmq_msg_t *part, const char *text)
{
    size_t len = strlen(text);

    return zmq_msg_size(part) == len && memcmp(zmq_msg_data(part), text, len) == 0;
}

static void on_zap_request(void *arg)
{
    struct link_hub *hub = arg;
    struct link_inbox inbox;
    const struct link_allowed_key *entry = NULL;

    if (!link_inbox_receive(&inbox, hub->zap, ZAP_FIELDS))
        return;
    if (inbox.count <=
        ZAP_REQUEST) { /* libzmq makes the requests, so this is not one; a REP must answer all the same */
        zap_send(hub->zap, "", 0, 0);
        link_inbox_clear(&inbox);
        return;
    }
    if (inbox.count == ZAP_FIELDS && !inbox.overflow && part_equals(&inbox.parts[ZAP_DOMAIN_FIELD], ZAP_DOMAIN) &&
        part_equals(&inbox.parts[ZAP_MECHANISM], "CURVE") && zmq_msg_size(&inbox.parts[ZAP_KEY]) == CURVE_KEY_LEN)
        entry = link_hub_find(hub, zmq_msg_data(&inbox.parts[ZAP_KEY]));
    zap_reply(hub, &inbox.parts[ZAP_REQUEST], entry);
    if (entry == NULL) {
        metric_add(hub->refused, 1);
        if (link_hub_may_log(hub) && inbox.count == ZAP_FIELDS)
            log_write(LOG_WARNING, "link: refused a peer %s from %.*s",
                      hub->allowed != NULL ? "with an unknown key" : "as no keys are known yet",
                      (int)zmq_msg_size(&inbox.parts[ZAP_ADDRESS]),
                      (const char *)zmq_msg_data(&inbox.parts[ZAP_ADDRESS]));
    }
    link_inbox_clear(&inbox);
}

static void zap_open(struct link_hub *hub)
{
    static const struct zwatch_handlers handlers = { .on_message = on_zap_request };
    int linger = 0;

    hub->zap = zmq_socket(hub->context, ZMQ_REP);
    if (hub->zap == NULL || zmq_setsockopt(hub->zap, ZMQ_LINGER, &linger, sizeof linger) != 0 ||
        zmq_bind(hub->zap, ZAP_ENDPOINT) != 0)
        fatal("link: cannot start the ZAP handler: %s", zmq_strerror(zmq_errno()));
    hub->zap_watch = zwatch_new(hub->base, hub->zap, &handlers, hub);
}

/* --- hub --- */

static void make_metrics(struct link_hub *hub, struct metrics *metrics)
{
    for (int reason = 0; reason < LINK_DROP_COUNT; reason++)
        hub->dropped[reason] = metrics_counter(metrics, "weir_link_dropped_total", "reason=\"%s\"", drop_names[reason]);
    hub->refused = metrics_counter(metrics, "weir_link_refused_total", NULL);
    hub->full = metrics_counter(metrics, "weir_link_full_total", NULL);
    hub->lost = metrics_counter(metrics, "weir_link_lost_total", NULL);
    hub->ended = metrics_counter(metrics, "weir_link_ended_total", NULL);
    hub->silent = metrics_counter(metrics, "weir_link_silent_total", NULL);
    hub->rebinds = metrics_counter(metrics, "weir_link_rebinds_total", NULL);
    hub->links_up = metrics_gauge(metrics, "weir_links_up", NULL);
    hub->peers = metrics_gauge(metrics, "weir_link_peers", NULL);
}

void link_hub_configure(struct link_hub *hub, const struct cluster_settings *settings)
{
    hub->send_mark = (int)settings->link_send_mark;
    hub->receive_mark = (int)settings->link_receive_mark;
    hub->heartbeat_ms = (int)settings->link_heartbeat;
    hub->timeout_ms = (int)settings->link_timeout;
    hub->silence_ms = settings->link_silence;
    hub->peers_max = settings->link_peers;
    hub->message_max = settings->link_message;
}

/* The defaults have one place, the table of settings. */
static void configure_by_default(struct link_hub *hub)
{
    struct cluster_settings settings = { 0 };
    struct error why;
    struct config *config = config_load(NULL, settings_tables, NULL, 0, &why);

    if (config == NULL || !config_fill(config, "cluster", NULL, &settings, &why))
        fatal("link: %s", why.text);
    link_hub_configure(hub, &settings);
    config_clear(settings_table("cluster"), &settings);
    config_free(&config);
}

struct link_hub *link_hub_new(struct event_base *base, const struct curve_keypair *pair, struct metrics *metrics)
{
    struct link_hub *hub = xcalloc(1, sizeof *hub);

    hub->base = base;
    hub->pair = *pair;
    configure_by_default(hub);
    hub->context = zmq_ctx_new();
    if (hub->context == NULL || zmq_ctx_set(hub->context, ZMQ_MAX_SOCKETS, SOCKETS_MAX) != 0)
        fatal("link: cannot make a ZeroMQ context: %s", zmq_strerror(zmq_errno()));
    make_metrics(hub, metrics);
    zap_open(hub);
    hub->flows = link_flows_new(hub);
    return hub;
}

void link_hub_free(struct link_hub **taken)
{
    struct link_hub *hub = *taken;

    *taken = NULL;
    if (hub == NULL)
        return;
    weir_assert(hub->servers == NULL && hub->publishers == NULL);
    link_flows_free(&hub->flows);
    zwatch_free(&hub->zap_watch);
    link_socket_close(&hub->zap, 0);
    while (zmq_ctx_term(hub->context) != 0 && zmq_errno() == EINTR)
        ;
    explicit_bzero(&hub->pair, sizeof hub->pair);
    free(hub->allowed);
    free(hub);
}

const uint8_t *link_hub_public_key(const struct link_hub *hub)
{
    return hub->pair.public_key;
}

/* --- the allowed list --- */

static int compare_keys(const void *a, const void *b)
{
    return memcmp(((const struct link_allowed_key *)a)->key, ((const struct link_allowed_key *)b)->key, CURVE_KEY_LEN);
}

const struct link_allowed_key *link_hub_find(const struct link_hub *hub, const uint8_t key[CURVE_KEY_LEN])
{
    struct link_allowed_key wanted;

    if (hub->allowed_count == 0)
        return NULL;
    memcpy(wanted.key, key, CURVE_KEY_LEN);
    return bsearch(&wanted, hub->allowed, hub->allowed_count, sizeof *hub->allowed, compare_keys);
}

static int compare_entries(const void *a, const void *b)
{
    int order = compare_keys(a, b);

    return order != 0 ? order
                      : strcmp(((const struct link_allowed_key *)a)->name, ((const struct link_allowed_key *)b)->name);
}

/* A sorted copy in which each key is there once. */
static void set_allowed(struct link_hub *hub, const struct link_allowed_key *keys, size_t count)
{
    hub->allowed = xcalloc(count > 0 ? count : 1, sizeof *keys);
    hub->allowed_count = 0;
    if (count > 0)
        memcpy(hub->allowed, keys, count * sizeof *keys);
    for (size_t i = 0; i < count; i++)
        hub->allowed[i].name[sizeof hub->allowed[i].name - 1] = '\0';
    qsort(hub->allowed, count, sizeof *hub->allowed, compare_entries);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || compare_keys(&hub->allowed[i], &hub->allowed[hub->allowed_count - 1]) != 0)
            hub->allowed[hub->allowed_count++] = hub->allowed[i];
}

static bool some_key_is_gone(const struct link_hub *hub, const struct link_allowed_key *old, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct link_allowed_key *now = link_hub_find(hub, old[i].key);
        if (now == NULL || now->role != old[i].role || strcmp(now->name, old[i].name) != 0)
            return true;
    }
    return false;
}

bool link_hub_allow(struct link_hub *hub, const struct link_allowed_key *keys, size_t count)
{
    struct link_allowed_key *old = hub->allowed;
    size_t old_count = hub->allowed_count;
    bool closed = false;

    set_allowed(hub, keys, count);
    bool gone = some_key_is_gone(hub, old, old_count);
    free(old);
    if (!gone)
        return false;
    for (struct link_server *server = hub->servers; server != NULL; server = link_server_next(server))
        closed = link_server_revoke(server) || closed;
    for (struct link_publisher *publisher = hub->publishers; publisher != NULL;
         publisher = link_publisher_next(publisher)) {
        link_publisher_revoke(publisher);
        closed = true;
    }
    return closed;
}

/* --- trouble --- */

bool link_hub_may_log(struct link_hub *hub)
{
    uint64_t now = clock_ms();

    if (hub->logged_ms != 0 && now - hub->logged_ms < 1000)
        return false;
    hub->logged_ms = now;
    return true;
}

void link_hub_dropped(struct link_hub *hub, enum link_drop reason, const char *peer, const char *detail)
{
    metric_add(hub->dropped[reason], 1);
    if (link_hub_may_log(hub))
        log_write(LOG_WARNING, "link: dropped a message (%s) %s %s: %s", drop_names[reason],
                  reason == LINK_DROP_OWN ? "for" : "from", peer, detail);
}

/* --- sockets --- */

static void set_int(void *sock, int option, int value)
{
    if (zmq_setsockopt(sock, option, &value, sizeof value) != 0)
        fatal("link: cannot set ZeroMQ option %d: %s", option, zmq_strerror(zmq_errno()));
}

static void set_bytes(void *sock, int option, const void *bytes, size_t len)
{
    if (zmq_setsockopt(sock, option, bytes, len) != 0)
        fatal("link: cannot set ZeroMQ option %d: %s", option, zmq_strerror(zmq_errno()));
}

/* With ZMQ_IPV6 an IPv4 address would be bound, and shown, as an IPv4-mapped one. */
static bool is_ipv4(const char *endpoint)
{
    static const char scheme[] = "tcp://";

    if (strncmp(endpoint, scheme, sizeof scheme - 1) != 0)
        return false;
    const char *host = endpoint + sizeof scheme - 1;
    size_t len = strspn(host, "0123456789.");
    return len > 0 && host[len] == ':';
}

void *link_socket_new(struct link_hub *hub, int type, const char *endpoint, struct error *why)
{
    void *sock = zmq_socket(hub->context, type);
    int64_t max_size = WIRE_HARD_MAX;
    bool is_state = type == ZMQ_PUB || type == ZMQ_SUB;

    if (sock == NULL) {
        error_set(why, "cannot make a ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
        return NULL;
    }
    set_int(sock, ZMQ_LINGER, 0);
    set_bytes(sock, ZMQ_MAXMSGSIZE, &max_size, sizeof max_size);
    set_int(sock, ZMQ_SNDHWM, is_state ? STATE_MARK : hub->send_mark);
    set_int(sock, ZMQ_RCVHWM, is_state ? STATE_MARK : hub->receive_mark);
    set_int(sock, ZMQ_IPV6, is_ipv4(endpoint) ? 0 : 1);
    set_int(sock, ZMQ_BACKLOG, BACKLOG);
    set_int(sock, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    set_int(sock, ZMQ_HEARTBEAT_IVL, hub->heartbeat_ms);
    set_int(sock, ZMQ_HEARTBEAT_TIMEOUT, hub->timeout_ms);
    set_int(sock, ZMQ_CONNECT_TIMEOUT, CONNECT_MS);
    return sock;
}

void link_socket_as_client(struct link_hub *hub, void *sock, const uint8_t server_key[CURVE_KEY_LEN])
{
    /* Neither ZMQ_IMMEDIATE nor an interval of -1: with either libzmq throws away what had arrived and was not read yet
     * when the connection ends. Links send only while they are up, so nothing waits for the next connection here. */
    set_int(sock, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    set_bytes(sock, ZMQ_CURVE_SERVERKEY, server_key, CURVE_KEY_LEN);
    set_bytes(sock, ZMQ_CURVE_PUBLICKEY, hub->pair.public_key, CURVE_KEY_LEN);
    set_bytes(sock, ZMQ_CURVE_SECRETKEY, hub->pair.secret_key, CURVE_KEY_LEN);
}

void link_socket_as_server(struct link_hub *hub, void *sock)
{
    set_int(sock, ZMQ_CURVE_SERVER, 1);
    set_bytes(sock, ZMQ_CURVE_SECRETKEY, hub->pair.secret_key, CURVE_KEY_LEN);
    set_bytes(sock, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen(ZAP_DOMAIN));
    set_int(sock, ZMQ_ZAP_ENFORCE_DOMAIN, 1);
}

char *link_socket_bind(void *sock, const char *endpoint, struct error *why)
{
    char bound[WIRE_ENDPOINT_MAX + 1];
    size_t len = sizeof bound;

    if (zmq_bind(sock, endpoint) == 0 && zmq_getsockopt(sock, ZMQ_LAST_ENDPOINT, bound, &len) == 0)
        return xstrdup(bound);
    error_set(why, "cannot bind %s: %s", endpoint, zmq_strerror(zmq_errno()));
    return NULL;
}

void link_socket_close(void **sock, int linger_ms)
{
    if (*sock == NULL)
        return;
    set_int(*sock, ZMQ_LINGER, linger_ms);
    zmq_close(*sock);
    *sock = NULL;
}

/* --- socket monitor --- */

static void on_monitor_message(void *arg)
{
    struct link_monitor *monitor = arg;
    struct link_inbox inbox;
    uint16_t event;
    uint32_t value;

    if (!link_inbox_receive(&inbox, monitor->pair, 2))
        return;
    bool ok = inbox.count > 0 && zmq_msg_size(&inbox.parts[0]) == sizeof event + sizeof value;
    if (ok) {
        const uint8_t *bytes = zmq_msg_data(&inbox.parts[0]);
        memcpy(&event, bytes, sizeof event);
        memcpy(&value, bytes + sizeof event, sizeof value);
    }
    link_inbox_clear(&inbox);
    if (ok)
        monitor->on_event(monitor->arg, event, value);
}

void link_monitor_open(struct link_monitor *monitor, struct link_hub *hub, void *sock, int events,
                       void (*on_event)(void *arg, unsigned event, unsigned value), void *arg)
{
    static const struct zwatch_handlers handlers = { .on_message = on_monitor_message };
    char endpoint[64];

    snprintf(endpoint, sizeof endpoint, "inproc://monitor-%" PRIu64, ++hub->monitors);
    monitor->on_event = on_event;
    monitor->arg = arg;
    monitor->pair = zmq_socket(hub->context, ZMQ_PAIR);
    if (monitor->pair == NULL)
        fatal("link: cannot make a ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    set_int(monitor->pair, ZMQ_LINGER, 0);
    /* libzmq's own thread writes the events and would wait, with a lock held, where the queue is full. */
    set_int(monitor->pair, ZMQ_RCVHWM, 0);
    if (zmq_socket_monitor(sock, endpoint, events) != 0 || zmq_connect(monitor->pair, endpoint) != 0)
        fatal("link: cannot monitor a ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    monitor->watch = zwatch_new(hub->base, monitor->pair, &handlers, monitor);
}

void link_monitor_close(struct link_monitor *monitor, void *sock)
{
    if (monitor->pair == NULL)
        return;
    zwatch_free(&monitor->watch);
    zmq_socket_monitor(sock, NULL, 0);
    link_socket_close(&monitor->pair, 0);
}

/* --- one message --- */

bool link_inbox_receive(struct link_inbox *inbox, void *sock, size_t max)
{
    zmq_msg_t spare;
    bool more = true;

    inbox->count = 0;
    inbox->overflow = false;
    while (more) {
        zmq_msg_t *part = inbox->count < max ? &inbox->parts[inbox->count] : &spare;
        zmq_msg_init(part);
        int len;
        while ((len = zmq_msg_recv(part, sock, ZMQ_DONTWAIT)) < 0 && zmq_errno() == EINTR)
            ;
        if (len < 0) { /* parts of one message come all or none, so this is only ever the first */
            zmq_msg_close(part);
            link_inbox_clear(inbox);
            return false;
        }
        more = zmq_msg_more(part) != 0;
        if (part == &spare) {
            inbox->overflow = true;
            zmq_msg_close(part);
        } else {
            inbox->count++;
        }
    }
    return true;
}

void link_inbox_clear(struct link_inbox *inbox)
{
    while (inbox->count > 0)
        zmq_msg_close(&inbox->parts[--inbox->count]);
}

Weir__Frame *link_inbox_decode(struct link_hub *hub, struct link_inbox *inbox, size_t first, const char *peer,
                               struct link_message *message)
{
    struct error why;

    if (inbox->overflow) {
        link_hub_dropped(hub, LINK_DROP_PARTS, peer, "too many frames");
        return NULL;
    }
    if (inbox->count <= first) {
        link_hub_dropped(hub, LINK_DROP_TRUNCATED, peer, "frames are missing");
        return NULL;
    }
    message->payload_count = inbox->count - first - 1;
    for (size_t i = 0; i < message->payload_count; i++) {
        zmq_msg_t *part = &inbox->parts[first + 1 + i];
        message->payloads[i] = (struct link_payload){ zmq_msg_data(part), zmq_msg_size(part) };
        if (message->payloads[i].len > WIRE_PAYLOAD_MAX) {
            link_hub_dropped(hub, LINK_DROP_OVERSIZED, peer, "payload over the limit");
            return NULL;
        }
    }
    size_t len = zmq_msg_size(&inbox->parts[first]);
    Weir__Frame *frame = wire_decode(zmq_msg_data(&inbox->parts[first]), len, message->payload_count, &why);
    if (frame == NULL) {
        enum link_drop reason = len > WIRE_FRAME_MAX                  ? LINK_DROP_OVERSIZED
                                : strcmp(why.text, WIRE_UNKNOWN) == 0 ? LINK_DROP_UNKNOWN
                                                                      : LINK_DROP_INVALID;
        link_hub_dropped(hub, reason, peer, why.text);
    }
    message->frame = frame;
    return frame;
}

static int send_bytes(void *sock, const void *bytes, size_t len, int flags)
{
    int sent;

    while ((sent = zmq_send(sock, bytes, len, flags | ZMQ_DONTWAIT)) < 0 && zmq_errno() == EINTR)
        ;
    return sent;
}

static int send_part(void *sock, zmq_msg_t *part, int flags)
{
    int sent;

    while ((sent = zmq_msg_send(part, sock, flags | ZMQ_DONTWAIT)) < 0 && zmq_errno() == EINTR)
        ;
    return sent;
}

static bool fits(const struct link_hub *hub, size_t frame, const struct link_payload *payloads, size_t count)
{
    uint64_t sum = frame;

    if (count > WIRE_PAYLOADS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (payloads[i].len > WIRE_PAYLOAD_MAX)
            return false;
        sum += payloads[i].len;
    }
    return sum <= hub->message_max;
}

/* A frame for so many bytes. false: it may not be sent with these payloads, which is told. */
static bool frame_begin(struct link_hub *hub, zmq_msg_t *frame, size_t len, const struct link_payload *payloads, size_t count)
{
    if (len == 0 || !fits(hub, len, payloads, count)) {
        link_hub_dropped(hub, LINK_DROP_OWN, "a peer", "over the limit of a frame or its payloads");
        return false;
    }
    if (zmq_msg_init_size(frame, len) != 0)
        fatal("out of memory");
    return true;
}

/* Takes the frame. */
static enum link_status send_all(struct link_hub *hub, void *sock, const void *id, size_t id_len, zmq_msg_t *frame, const struct link_payload *payloads,
                                 size_t count)
{
    /* Only the first part can meet the mark: ZeroMQ counts whole messages. */
    int first = id != NULL ? send_bytes(sock, id, id_len, ZMQ_SNDMORE) : 0;
    if (first >= 0)
        first = send_part(sock, frame, count > 0 ? ZMQ_SNDMORE : 0);
    int error = first < 0 ? zmq_errno() : 0;
    zmq_msg_close(frame);
    if (first < 0 && error == EAGAIN) {
        metric_add(hub->full, 1);
        return LINK_FULL;
    }
    if (first < 0)
        return LINK_GONE;
    for (size_t i = 0; i < count; i++)
        if (send_bytes(sock, payloads[i].data, payloads[i].len, i + 1 < count ? ZMQ_SNDMORE : 0) < 0)
            return LINK_GONE; /* the connection ended in between; ZeroMQ forgets the parts it had */
    return LINK_OK;
}

enum link_status link_transmit(struct link_hub *hub, void *sock, const void *id, size_t id_len, Weir__Frame *frame,
                               const struct link_payload *payloads, size_t count)
{
    zmq_msg_t part;

    if (!frame_begin(hub, &part, wire_packed_size(frame), payloads, count))
        return LINK_OK;
    wire_pack(frame, zmq_msg_data(&part)); /* in place: no copy */
    return send_all(hub, sock, id, id_len, &part, payloads, count);
}

enum link_status link_transmit_packed(struct link_hub *hub, void *sock, const void *frame, size_t len, const struct link_payload *payloads, size_t count)
{
    zmq_msg_t part;

    if (!frame_begin(hub, &part, len, payloads, count))
        return LINK_OK;
    memcpy(zmq_msg_data(&part), frame, len);
    return send_all(hub, sock, NULL, 0, &part, payloads, count);
}

/*
 * link_client.c - the connecting side: DEALER links and the SUB of the cluster state
 *
 * A ZeroMQ socket lives here for one connection only. libzmq would reconnect by itself, but it keeps the routing id
 * (which a server that has not noticed the loss still holds, and then ignores the newcomer for ever), and it gives up
 * silently after a refusal or a frame it did not like. So each loss closes the socket and a timer makes the next.
 *
 *     closed --timer--> connecting --handshake--> up --lost--> closed (100 ms)
 *                           |`--refused--> closed (500 ms)
 *                           `--nobody there--> closed (100 ms)
 *
 * What had arrived when a connection ended is still handed out, before `down`: a server that stops says its last words
 * and closes, and a loop that is busy hears of both at once.
 */
#include "proto/link_internal.h"

#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"

#define ZAP_INTERNAL     500 /* the status of a server that cannot tell (link_hub.c) */
#define AGAIN_LOST_MS    100
#define AGAIN_REFUSED_MS 500

#define CLIENT_EVENTS                                                                                                  \
    (ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |        \
     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct link {
    struct link_hub *hub;
    char *endpoint;
    uint8_t server_key[CURVE_KEY_LEN];
    struct link_handlers handlers;
    void *arg;
    int type; /* ZMQ_DEALER or ZMQ_SUB */
    void *sock;
    struct zwatch *watch;
    struct link_monitor monitor;
    struct event *again;
    int fd; /* -1: not connected */
    bool up;
    bool server_knows_no_keys;
    bool full;      /* told LINK_FULL: `writable` is owed */
    bool grumbled;  /* trouble in connecting is logged once until it works */
    unsigned calls; /* of the owner's handlers we are inside of */
    bool dead;      /* freed in one of them */
};

static void link_destroy(struct link *link)
{
    free(link->endpoint);
    free(link);
}

/* After a call of the owner's: false when the link is no more. */
static bool link_survived(struct link *link)
{
    link->calls--;
    if (!link->dead)
        return true;
    if (link->calls == 0)
        link_destroy(link);
    return false;
}

static void link_close(struct link *link, int linger_ms)
{
    if (link->up)
        metric_add(link->hub->links_up, -1);
    link->up = link->full = false;
    link_flow_close(link->hub->flows, link->fd);
    link->fd = -1;
    if (link->sock == NULL)
        return;
    link_monitor_close(&link->monitor, link->sock);
    zwatch_free(&link->watch);
    link_socket_close(&link->sock, linger_ms);
}

static void link_again(struct link *link, unsigned milliseconds)
{
    event_add(link->again, &(struct timeval){ 0, milliseconds * 1000 });
}

/* Hands out one message. false: there is none. The caller counts as inside the owner's handlers. */
static bool link_take(struct link *link)
{
    struct link_inbox inbox;
    struct link_message message;

    if (!link_inbox_receive(&inbox, link->sock, 1 + WIRE_PAYLOADS_MAX))
        return false;
    link_flow_moved(link->hub->flows, link->fd);
    Weir__Frame *frame = NULL;
    /* An empty message is a server's question whether we can be reached (link_server.c); it says nothing. */
    if (inbox.count != 1 || zmq_msg_size(&inbox.parts[0]) != 0)
        frame = link_inbox_decode(link->hub, &inbox, 0, link->endpoint, &message);
    if (frame != NULL)
        link->handlers.message(link->arg, link, &message);
    wire_free(&frame);
    link_inbox_clear(&inbox);
    return true;
}

/* The connection is over, so no more comes than ZeroMQ holds. false: the link is no more. */
static bool link_hear_out(struct link *link)
{
    link->calls++;
    while (link->sock != NULL && link_take(link)) /* NULL: freed in its own handler */
        ;
    return link_survived(link);
}

static void link_lost(struct link *link, bool refused, const char *what)
{
    bool was_up = link->up;

    if (was_up && !link_hear_out(link))
        return;
    link_close(link, 0);
    link_again(link, refused ? AGAIN_REFUSED_MS : AGAIN_LOST_MS);
    if (was_up)
        metric_add(link->hub->lost, 1);
    if (was_up || !link->grumbled) {
        log_write(was_up ? LOG_NOTICE : LOG_WARNING, "link: %s: %s", link->endpoint, what);
        link->grumbled = true;
    }
    if (!was_up && !refused)
        return;
    link->calls++;
    link->handlers.down(link->arg, link);
    link_survived(link);
}

static void on_link_event(void *arg, unsigned event, unsigned value)
{
    struct link *link = arg;
    int events;
    size_t size = sizeof events;

    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        link_flow_open(link->hub->flows, link->fd = (int)value);
        return;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        if (link->up)
            return;
        link->up = true;
        link->grumbled = false;
        metric_add(link->hub->links_up, 1);
        log_write(LOG_INFO, "link: %s: connected", link->endpoint);
        /* The connection is waiting in the socket's mailbox: let the socket take it, so that `up` can send at once. */
        (void)zmq_getsockopt(link->sock, ZMQ_EVENTS, &events, &size);
        zwatch_kick(link->watch);
        link->calls++;
        link->handlers.up(link->arg, link);
        link_survived(link);
        return;
    case ZMQ_EVENT_CONNECT_RETRIED: /* nobody there: what libzmq would do after its interval, we do now */
        link_close(link, 0);
        link_again(link, AGAIN_LOST_MS);
        return;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        link->server_knows_no_keys = value == ZAP_INTERNAL;
        link_lost(link, true,
                  value == ZAP_INTERNAL ? "the server knows no keys yet" : "the server does not know our key");
        return;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        link_lost(link, true, "handshake failed (is the server's key right?)");
        return;
    default:
        link_lost(link, false, "connection lost");
        return;
    }
}

static void on_link_message(void *arg)
{
    struct link *link = arg;

    link->calls++;
    (void)link_take(link);
    link_survived(link);
}

static bool link_wants_to_write(void *arg)
{
    return ((struct link *)arg)->full;
}

static bool on_link_writable(void *arg)
{
    struct link *link = arg;

    link->full = false;
    if (link->handlers.writable == NULL)
        return true;
    link->calls++;
    link->handlers.writable(link->arg, link);
    return !link_survived(link) || !link->full;
}

static void link_open(struct link *link)
{
    static const struct zwatch_handlers handlers = {
        .on_message = on_link_message,
        .on_writable = on_link_writable,
        .wants_to_write = link_wants_to_write,
    };
    struct error why;

    link->sock = link_socket_new(link->hub, link->type, link->endpoint, &why);
    if (link->sock == NULL) {
        link_lost(link, false, why.text);
        return;
    }
    link_socket_as_client(link->hub, link->sock, link->server_key);
    if (link->type == ZMQ_SUB && zmq_setsockopt(link->sock, ZMQ_SUBSCRIBE, "", 0) != 0)
        fatal("link: cannot subscribe: %s", zmq_strerror(zmq_errno()));
    link_monitor_open(&link->monitor, link->hub, link->sock, CLIENT_EVENTS, on_link_event, link);
    link->watch = zwatch_new(link->hub->base, link->sock, &handlers, link);
    if (zmq_connect(link->sock, link->endpoint) != 0) /* an endpoint that nobody can connect to: it came from a peer */
        link_lost(link, false, zmq_strerror(zmq_errno()));
}

static void on_link_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    link_open(arg);
}

static struct link *link_make(struct link_hub *hub, int type, const char *endpoint,
                              const uint8_t server_key[CURVE_KEY_LEN], const struct link_handlers *handlers, void *arg)
{
    struct link *link = xcalloc(1, sizeof *link);

    link->hub = hub;
    link->type = type;
    link->fd = -1;
    link->endpoint = xstrdup(endpoint);
    memcpy(link->server_key, server_key, CURVE_KEY_LEN);
    link->handlers = *handlers;
    link->arg = arg;
    link->again = event_new(hub->base, -1, 0, on_link_again, link);
    if (link->again == NULL)
        fatal("out of memory");
    link_open(link);
    return link;
}

struct link *link_new(struct link_hub *hub, const char *endpoint, const uint8_t server_key[CURVE_KEY_LEN],
                      const struct link_handlers *handlers, void *arg)
{
    return link_make(hub, ZMQ_DEALER, endpoint, server_key, handlers, arg);
}

void link_free(struct link **taken)
{
    struct link *link = *taken;

    *taken = NULL;
    if (link == NULL)
        return;
    link_close(link, LINK_LINGER_MS);
    event_free(link->again);
    link->dead = true;
    if (link->calls == 0)
        link_destroy(link);
}

bool link_server_knows_no_keys(const struct link *link)
{
    return link->server_knows_no_keys;
}

bool link_is_up(const struct link *link)
{
    return link->up;
}

static enum link_status link_sent(struct link *link, enum link_status status)
{
    if (status == LINK_FULL)
        link->full = true;
    zwatch_kick(link->watch); /* the send may have swallowed the wake-up of a message that waits */
    return status;
}

enum link_status link_send(struct link *link, Weir__Frame *frame, const struct link_payload *payloads, size_t count)
{
    return link->up ? link_sent(link, link_transmit(link->hub, link->sock, NULL, 0, frame, payloads, count)) : LINK_GONE;
}

enum link_status link_send_packed(struct link *link, const void *frame, size_t len, const struct link_payload *payloads, size_t count)
{
    return link->up ? link_sent(link, link_transmit_packed(link->hub, link->sock, frame, len, payloads, count)) : LINK_GONE;
}

/* --- subscriber: a link that only listens --- */

struct link_subscriber {
    struct link *link;
    void (*message)(void *arg, const struct link_message *message);
    void *arg;
};

static void on_subscriber_change(void *arg, struct link *link)
{
    (void)arg, (void)link;
}

static void on_subscriber_message(void *arg, struct link *link, const struct link_message *message)
{
    struct link_subscriber *subscriber = arg;

    (void)link;
    subscriber->message(subscriber->arg, message);
}

struct link_subscriber *link_subscriber_new(struct link_hub *hub, const char *endpoint,
                                            const uint8_t server_key[CURVE_KEY_LEN],
                                            void (*message)(void *arg, const struct link_message *message), void *arg)
{
    static const struct link_handlers handlers = {
        .up = on_subscriber_change,
        .down = on_subscriber_change,
        .message = on_subscriber_message,
    };
    struct link_subscriber *subscriber = xcalloc(1, sizeof *subscriber);

    subscriber->message = message;
    subscriber->arg = arg;
    subscriber->link = link_make(hub, ZMQ_SUB, endpoint, server_key, &handlers, subscriber);
    return subscriber;
}

void link_subscriber_free(struct link_subscriber **taken)
{
    if (*taken == NULL)
        return;
    link_free(&(*taken)->link);
    free(*taken);
    *taken = NULL;
}

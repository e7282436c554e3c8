/*
 * zwatch.c - one ZeroMQ socket inside a libevent loop
 *
 * ZMQ_FD says that something changed, once; it is not "a message waits", and it is always watched for READ, even to
 * send. ZMQ_EVENTS is the truth, and any zmq_send or zmq_recv may swallow a wake-up meant for the other direction. So
 * every wake-up looks until ZMQ_EVENTS says nothing, and stops after a budget so that the loop's other sockets get
 * their turn.
 */
#include "proto/zwatch.h"

#include <stdlib.h>
#include <zmq.h>
#include "common/error.h"
#include "common/memory.h"

#define PUMP_BUDGET 64
/* POLLOUT of a ROUTER does not say which peer has room, so a full peer is looked at again after a while. */
#define FULL_RETRY_US 20000

struct zwatch {
    void *sock;
    struct zwatch_handlers handlers;
    void *arg;
    struct event *readable; /* ZMQ_FD */
    struct event *again;    /* nobody will wake us, so we do */
    bool pumping;
    bool dead; /* freed inside its own handler */
};

static void look_again(struct zwatch *watch, long microseconds)
{
    event_add(watch->again, &(struct timeval){ 0, microseconds });
}

static void destroy(struct zwatch *watch)
{
    event_free(watch->readable);
    event_free(watch->again);
    free(watch);
}

static bool read_events(struct zwatch *watch, int *events)
{
    size_t size = sizeof *events;

    while (zmq_getsockopt(watch->sock, ZMQ_EVENTS, events, &size) != 0) {
        if (zmq_errno() == EINTR)
            continue;
        if (watch->handlers.on_error != NULL)
            watch->handlers.on_error(watch->arg, zmq_errno()); /* ETERM: the context is going away */
        return false;
    }
    return true;
}

static bool wants_to_write(struct zwatch *watch)
{
    return watch->handlers.on_writable != NULL && watch->handlers.wants_to_write != NULL &&
           watch->handlers.wants_to_write(watch->arg);
}

static void pump_until_dry(struct zwatch *watch)
{
    bool peer_full = false;
    int events;

    for (int turn = 0; turn < PUMP_BUDGET; turn++) {
        if (watch->dead || !read_events(watch, &events))
            return;
        bool in = (events & ZMQ_POLLIN) != 0;
        bool out = (events & ZMQ_POLLOUT) != 0 && !peer_full && wants_to_write(watch);
        if (!in && !out) {
            if (peer_full)
                look_again(watch, FULL_RETRY_US);
            return;
        }
        if (out)
            peer_full = !watch->handlers.on_writable(watch->arg);
        if (in && !watch->dead)
            watch->handlers.on_message(watch->arg);
    }
    if (!watch->dead)
        look_again(watch, 0);
}

static void on_wakeup(evutil_socket_t fd, short what, void *arg)
{
    struct zwatch *watch = arg;

    (void)fd, (void)what;
    watch->pumping = true;
    pump_until_dry(watch);
    watch->pumping = false;
    if (watch->dead)
        destroy(watch);
}

struct zwatch *zwatch_new(struct event_base *base, void *zmq_socket, const struct zwatch_handlers *handlers, void *arg)
{
    struct zwatch *watch = xcalloc(1, sizeof *watch);
    int fd;
    size_t size = sizeof fd;

    if (zmq_getsockopt(zmq_socket, ZMQ_FD, &fd, &size) != 0)
        fatal("cannot watch a ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    watch->sock = zmq_socket;
    watch->handlers = *handlers;
    watch->arg = arg;
    watch->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_wakeup, watch);
    watch->again = event_new(base, -1, 0, on_wakeup, watch);
    if (watch->readable == NULL || watch->again == NULL || event_add(watch->readable, NULL) != 0)
        fatal("cannot watch a ZeroMQ socket: out of memory");
    look_again(watch, 0); /* what came before us raised the descriptor already */
    return watch;
}

void zwatch_free(struct zwatch **taken)
{
    struct zwatch *watch = *taken;

    *taken = NULL;
    if (watch == NULL)
        return;
    event_del(watch->readable);
    event_del(watch->again);
    watch->dead = true;
    if (!watch->pumping)
        destroy(watch);
}

void zwatch_kick(struct zwatch *watch)
{
    if (!watch->pumping) /* the pump looks again by itself */
        look_again(watch, 0);
}

#ifndef WEIR_PROTO_ZWATCH_H
#define WEIR_PROTO_ZWATCH_H
/*
 * zwatch.h - one ZeroMQ socket inside a libevent loop, with the edge-triggered ZMQ_FD handled once and for all
 *
 * See PITFALLS of zmq_getsockopt(ZMQ_FD, ZMQ_EVENTS). The owner receives in on_message (all parts of one message,
 * DONTWAIT) and sends in on_writable (one message; false when zmq_send said EAGAIN, true otherwise). After own sends
 * outside these handlers call zwatch_kick(). zwatch does not own the socket.
 */
#include <stdbool.h>
#include <event2/event.h>

struct zwatch;

struct zwatch_handlers {
    void (*on_message)(void *arg);
    bool (*on_writable)(void *arg);         /* may be NULL: nothing is ever queued */
    bool (*wants_to_write)(void *arg);      /* may be NULL */
    void (*on_error)(void *arg, int error); /* ETERM and the like */
};

struct zwatch *zwatch_new(struct event_base *base, void *zmq_socket, const struct zwatch_handlers *handlers, void *arg);
void zwatch_free(struct zwatch **watch); /* safe inside its own handlers: takes effect when the pump returns */
void zwatch_kick(struct zwatch *watch);  /* look again in the next loop turn */

#endif

/*
 * http_door.c - see http_door.h
 *
 * evhttp has no limit of its own and does not say when a connection ends. So one connection is accepted in a loop turn, its
 * descriptor is read in the next one (evhttp sets it when on_newcomer has returned), and it counts for as long as that
 * descriptor is the same socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <event2/bufferevent.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/http_door.h"

#define REST_MS      100
#define LOG_EVERY_MS 10000

struct connection {
    int fd;
    uint64_t cookie; /* the kernel's number of this socket, which no other one gets */
};

struct http_door {
    struct evconnlistener *listener;
    struct event again;        /* accepts again */
    struct bufferevent *(*make)(struct event_base *base, void *arg); /* NULL: plain ones */
    void *make_arg;
    struct bufferevent *fresh; /* a reference to what came in this loop turn */
    struct connection *open;   /* the oldest first */
    size_t count, max;
    uint64_t log_at_ms;
    struct metric *connections, *ended;
};

static struct http_door *door_here; /* libevent hands evhttp's argument to on_accept_failed */

static bool socket_cookie(int fd, uint64_t *cookie)
{
    socklen_t size = sizeof *cookie;
    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &size) == 0;
}

void http_door_count(struct http_door *door)
{
    size_t kept = 0;
    for (size_t i = 0; i < door->count; i++) {
        uint64_t cookie;
        if (socket_cookie(door->open[i].fd, &cookie) && cookie == door->open[i].cookie)
            door->open[kept++] = door->open[i];
    }
    door->count = kept;
    metric_set(door->connections, (double)kept);
}

static void end_oldest(struct http_door *door)
{
    shutdown(door->open[0].fd, SHUT_RDWR); /* evhttp reads its end, and frees it */
    memmove(door->open, door->open + 1, --door->count * sizeof *door->open);
    metric_add(door->ended, 1);
}

static void note_newcomer(struct http_door *door)
{
    struct bufferevent *fresh = door->fresh;
    door->fresh = NULL;
    if (fresh == NULL)
        return;
    struct connection connection = { .fd = bufferevent_getfd(fresh) };
    http_door_count(door);
    if (socket_cookie(connection.fd, &connection.cookie)) {
        if (door->count == door->max)
            end_oldest(door);
        door->open[door->count++] = connection;
    }
    bufferevent_decref(fresh);
}

static void accept_later(struct http_door *door, int milliseconds)
{
    evconnlistener_disable(door->listener);
    event_add(&door->again, &(struct timeval){ 0, milliseconds * 1000 });
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http_door *door = arg;
    note_newcomer(door);
    evconnlistener_enable(door->listener);
}

/* CLOSE_ON_FREE: a connection that ends before it is noted keeps its descriptor for as long as we have our reference. */
static struct bufferevent *on_newcomer(struct event_base *base, void *arg)
{
    struct http_door *door = arg;
    struct bufferevent *fresh = door->make != NULL ? door->make(base, door->make_arg) : bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (fresh == NULL)
        fatal("http: libevent makes no connection");
    bufferevent_incref(fresh);
    door->fresh = fresh;
    accept_later(door, 0);
    return fresh;
}

/* Out of descriptors, mostly. Who waits stays in the kernel's queue, and a level-triggered socket would spin the loop. */
static void on_accept_failed(struct evconnlistener *listener, void *arg)
{
    (void)listener, (void)arg;
    struct http_door *door = door_here;
    int code = errno;
    uint64_t now = clock_ms();
    if (now >= door->log_at_ms) {
        log_write(LOG_WARNING, "http: accept: %s; resting for %d ms", strerror(code), REST_MS);
        door->log_at_ms = now + LOG_EVERY_MS;
    }
    accept_later(door, REST_MS);
}

struct http_door *http_door_new(struct event_base *base, struct evhttp *server, struct evhttp_bound_socket *bound, size_t max,
                                struct metrics *metrics)
{
    struct http_door *door = door_here = xcalloc(1, sizeof *door);
    door->listener = evhttp_bound_socket_get_listener(bound);
    door->max = max;
    door->open = xcalloc(max, sizeof *door->open);
    door->connections = metrics_gauge(metrics, "weir_http_connections", NULL);
    door->ended = metrics_counter(metrics, "weir_http_connections_ended_total", NULL);
    event_assign(&door->again, base, -1, 0, on_again, door);
    evhttp_set_bevcb(server, on_newcomer, door);
    evconnlistener_set_error_cb(door->listener, on_accept_failed);
    return door;
}

void http_door_make_by(struct http_door *door, struct bufferevent *(*make)(struct event_base *base, void *arg), void *arg)
{
    door->make = make;
    door->make_arg = arg;
}

void http_door_free(struct http_door **freed)
{
    struct http_door *door = *freed;
    *freed = door_here = NULL;
    if (door == NULL)
        return;
    event_del(&door->again);
    evconnlistener_disable(door->listener);
    if (door->fresh != NULL)
        bufferevent_decref(door->fresh);
    free(door->open);
    free(door);
}

/*
 * listener.c - listening sockets: bound in the master, accepted from in a worker
 *
 * Every worker has a socket of its own (SO_REUSEPORT) that the master made, so that connections which wait in a dead worker's queue are
 * taken by its successor. Bound is not listening: the kernel takes connections only when the worker is there to answer them. When descriptors run out the listener rests for a moment: the connections wait in the kernel's queue, and a
 * level-triggered socket would otherwise spin the loop.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <event2/event_struct.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/net/net.h"

#define ACCEPT_BURST 64       /* then the other sockets get a turn */
#define ACCEPT_REST_MS 100
#define ACCEPT_LOG_EVERY_MS 10000

struct net_listener {
    struct event readable, rest;
    void (*accepted)(void *arg, int fd, const struct netaddr *peer, const struct netaddr *local);
    void *arg;
    int fd;
    bool enabled, resting;
    bool busy, freed; /* freed from inside `accepted` */
    uint64_t logged_at;
};

static bool set_reuse(int fd, int on)
{
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
}

/* The kernel gives away the port of a socket that has SO_REUSEADDR and does not listen: another edge could take it while this one is about to listen, or drained.
 * So it is on while somebody listens, for those who connect: what is left of their connections (TIME_WAIT) must not be in the way of the next edge. */
int net_bind(const struct netaddr *address, struct error *why)
{
    char text[NETADDR_TEXT_MAX];
    struct sockaddr_storage at;
    socklen_t at_len = netaddr_to_sockaddr(address, &at);
    int one = 1;
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set(why, "cannot make a socket: %s", strerror(errno));
        return -1;
    }
    bool ready = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0 &&
                 (at.ss_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0);
    bool bound = ready && bind(fd, (struct sockaddr *)&at, at_len) == 0;
    if (ready && !bound && errno == EADDRINUSE) /* by connections of a program that had no SO_REUSEPORT, and has ended */
        bound = set_reuse(fd, 1) && bind(fd, (struct sockaddr *)&at, at_len) == 0 && set_reuse(fd, 0);
    if (!bound) {
        error_set(why, "cannot listen on %s: %s", netaddr_format_endpoint(address, text), strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

/* SO_REUSEADDR, or connections of an edge that just ended (TIME_WAIT) would be in the way. */
bool net_is_free(const struct netaddr *address, struct error *why)
{
    char text[NETADDR_TEXT_MAX];
    struct sockaddr_storage at;
    socklen_t at_len = netaddr_to_sockaddr(address, &at);
    int one = 1;
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool free = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
                (at.ss_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0) &&
                bind(fd, (struct sockaddr *)&at, at_len) == 0;
    if (!free)
        error_set(why, "cannot listen on %s: %s", netaddr_format_endpoint(address, text), strerror(errno));
    if (fd >= 0)
        close(fd);
    return free;
}

static void listener_watch(struct net_listener *listener)
{
    if (listener->enabled && !listener->resting)
        event_add(&listener->readable, NULL);
    else
        event_del(&listener->readable);
}

static void listener_rest(struct net_listener *listener, int code)
{
    uint64_t now = clock_ms();
    if (listener->logged_at == 0 || now - listener->logged_at >= ACCEPT_LOG_EVERY_MS) {
        log_write(LOG_WARNING, "accept: %s; resting for %d ms", strerror(code), ACCEPT_REST_MS);
        listener->logged_at = now;
    }
    listener->resting = true;
    listener_watch(listener);
    event_add(&listener->rest, &(struct timeval){ 0, ACCEPT_REST_MS * 1000 });
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct net_listener *listener = arg;
    listener->resting = false;
    listener_watch(listener);
}

static void listener_destroy(struct net_listener *listener)
{
    event_del(&listener->readable);
    event_del(&listener->rest);
    close(listener->fd);
    free(listener);
}

static void on_acceptable(evutil_socket_t listening, short what, void *arg)
{
    (void)what;
    struct net_listener *listener = arg;
    listener->busy = true;
    for (int turn = 0; turn < ACCEPT_BURST && listener->enabled && !listener->freed; turn++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        struct netaddr peer = { 0 }, local = { 0 };
        int fd = accept4(listening, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                listener_rest(listener, errno);
            if (errno == ECONNABORTED || errno == EINTR)
                continue; /* that one went away; the next may be there */
            break;
        }
        netaddr_from_sockaddr(&peer, (struct sockaddr *)&address);
        len = sizeof address;
        if (getsockname(fd, (struct sockaddr *)&address, &len) == 0)
            netaddr_from_sockaddr(&local, (struct sockaddr *)&address);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        listener->accepted(listener->arg, fd, &peer, &local);
    }
    listener->busy = false;
    if (listener->freed)
        listener_destroy(listener);
}

struct net_listener *net_listen(struct event_base *base, int fd, void (*accepted)(void *arg, int fd, const struct netaddr *peer,
                                                                                 const struct netaddr *local), void *arg)
{
    if (!set_reuse(fd, 1) || listen(fd, SOMAXCONN) != 0)
        return NULL;
    struct net_listener *listener = xcalloc(1, sizeof *listener);
    listener->fd = fd;
    listener->accepted = accepted;
    listener->arg = arg;
    listener->enabled = true;
    event_assign(&listener->readable, base, fd, EV_READ | EV_PERSIST, on_acceptable, listener);
    event_assign(&listener->rest, base, -1, 0, on_rested, listener);
    listener_watch(listener);
    return listener;
}

void net_stop_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof listening;
    /* Never on one that does not listen: the kernel would keep the mark, and whoever is accepted later could not be read. */
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening)
        shutdown(fd, SHUT_RD);
    set_reuse(fd, 0);
}

void net_listener_enable(struct net_listener *listener, bool on)
{
    listener->enabled = on;
    listener_watch(listener);
}

void net_listener_free(struct net_listener **listenerp)
{
    struct net_listener *listener = *listenerp;
    *listenerp = NULL;
    if (listener == NULL)
        return;
    listener->freed = true;
    if (!listener->busy)
        listener_destroy(listener);
}

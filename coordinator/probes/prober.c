/*
 * prober.c - see prober.h
 */
#include "coordinator/probes/prober.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/error.h"
#include "common/memory.h"

#define PAUSE_MS 500 /* before another connection to a server that ended one */

struct prober {
    struct prober_options options;
    struct probes probes;
    struct netaddr local;
    struct bufferevent *connection; /* NULL: none */
    struct event *step, *total, *again;
    bool finished;
};

static void arm(struct event *timer, uint64_t ms)
{
    event_add(timer, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
}

static void disconnect(struct prober *prober)
{
    if (prober->connection != NULL)
        bufferevent_free(prober->connection);
    prober->connection = NULL;
    event_del(prober->step);
}

/* What the machine wants now. The last thing of every callback: done() may free the prober. */
static void follow(struct prober *prober, uint64_t pause_ms)
{
    size_t len;
    const char *bytes = probes_output(&prober->probes, &len);
    if (prober->probes.state == PROBES_CLOSE) {
        disconnect(prober);
        probes_closed(&prober->probes);
    }
    if (prober->probes.state == PROBES_DONE) {
        disconnect(prober);
        event_del(prober->total);
        event_del(prober->again);
        if (!prober->finished) {
            prober->finished = true;
            prober->options.done(prober->options.arg, prober);
        }
    } else if (prober->probes.state == PROBES_CONNECT) {
        disconnect(prober);
        arm(prober->again, pause_ms);
    } else {
        if (len > 0)
            bufferevent_write(prober->connection, bytes, len);
        arm(prober->step, prober->options.reply_ms);
    }
}

static void lose(struct prober *prober, const char *why)
{
    disconnect(prober);
    probes_lost(&prober->probes, why);
    follow(prober, PAUSE_MS);
}

static void on_readable(struct bufferevent *connection, void *arg)
{
    struct prober *prober = arg;
    struct evbuffer *in = bufferevent_get_input(connection);
    size_t len = evbuffer_get_length(in);
    size_t used = probes_input(&prober->probes, (const char *)evbuffer_pullup(in, -1), len);
    evbuffer_drain(in, used);
    bool closing = prober->probes.state == PROBES_CLOSE && prober->probes.dead > 0;
    follow(prober, closing ? PAUSE_MS : 0);
}

static void note_addresses(struct prober *prober)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (getsockname(bufferevent_getfd(prober->connection), (struct sockaddr *)&address, &len) == 0)
        netaddr_from_sockaddr(&prober->local, (struct sockaddr *)&address);
}

static void on_event(struct bufferevent *connection, short what, void *arg)
{
    struct prober *prober = arg;
    if (what & BEV_EVENT_CONNECTED) {
        note_addresses(prober);
        probes_connected(&prober->probes, &prober->options.target);
        arm(prober->step, prober->options.reply_ms);
        bufferevent_enable(connection, EV_READ | EV_WRITE);
        return;
    }
    bool connected = prober->probes.state != PROBES_CONNECT;
    char why[128];
    int error = EVUTIL_SOCKET_ERROR();
    if (what & BEV_EVENT_EOF)
        snprintf(why, sizeof why, "the server closed the connection");
    else
        snprintf(why, sizeof why, "%s: %s", connected ? "the connection was lost" : "no connection", strerror(error));
    lose(prober, why);
}

/* A socket, from the source address where there is one. -1: errno. */
static int open_socket(const struct prober *prober)
{
    struct sockaddr_storage address;
    int fd = socket(prober->options.target.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || prober->options.source.family == 0)
        return fd;
    socklen_t len = netaddr_to_sockaddr(&prober->options.source, &address);
    if (bind(fd, (struct sockaddr *)&address, len) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void connect_now(struct prober *prober)
{
    struct sockaddr_storage address;
    char why[192], source[NETADDR_TEXT_MAX];
    int fd = open_socket(prober);
    if (fd < 0) {
        snprintf(why, sizeof why, "no socket%s%s: %s", prober->options.source.family != 0 ? " from " : "",
                 prober->options.source.family != 0 ? netaddr_format(&prober->options.source, source) : "", strerror(errno));
        probes_give_up(&prober->probes, why);
        follow(prober, 0);
        return;
    }
    socklen_t len = netaddr_to_sockaddr(&prober->options.target, &address);
    prober->connection = bufferevent_socket_new(prober->options.base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (prober->connection == NULL)
        fatal("out of memory");
    bufferevent_setcb(prober->connection, on_readable, NULL, on_event, prober);
    arm(prober->step, prober->options.reply_ms);
    if (bufferevent_socket_connect(prober->connection, (struct sockaddr *)&address, (int)len) != 0)
        lose(prober, "no connection");
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    connect_now(arg);
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct prober *prober = arg;
    lose(prober, prober->probes.state == PROBES_CONNECT ? "no connection in time" : "no reply in time");
}

static void on_total(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct prober *prober = arg;
    probes_give_up(&prober->probes, "the server takes too long");
    follow(prober, 0);
}

struct prober *prober_new(const struct prober_options *options)
{
    struct prober *prober = xcalloc(1, sizeof *prober);
    prober->options = *options;
    probes_init(&prober->probes, &options->probes);
    prober->step = evtimer_new(options->base, on_step, prober);
    prober->total = evtimer_new(options->base, on_total, prober);
    prober->again = evtimer_new(options->base, on_again, prober);
    arm(prober->total, options->total_ms);
    arm(prober->again, 0);
    return prober;
}

void prober_free(struct prober **freed)
{
    struct prober *prober = *freed;
    *freed = NULL;
    if (prober == NULL)
        return;
    disconnect(prober);
    event_free(prober->step);
    event_free(prober->total);
    event_free(prober->again);
    free(prober);
}

const struct probes *prober_probes(const struct prober *prober)
{
    return &prober->probes;
}

const struct netaddr *prober_local(const struct prober *prober)
{
    return &prober->local;
}

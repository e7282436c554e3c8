/*
 * handover.c - see handover.h
 */
#include "edge/handover.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/net/net.h"
#include "edge/session/proxy.h"

/* No keys for these two: edges stand beside each other, and a client's own limits are those of the edge it talks to (idle_timeout, session_timeout), which
 * are shorter; IDLE_MS ends what nobody ends, as when a host is gone. */
#define CONNECT_MS 3000
#define IDLE_MS 900000
#define UNSENT_MOST (256u << 10) /* bytes for one side that the other may be ahead */

struct handover {
    struct handovers *all;
    struct handover *next, **link;
    struct net_conn *client, *peer;
    struct netaddr from;
    struct netaddr *peers;
    size_t count, tried, at;
    char *hostname; /* NULL: nothing can be said in clear */
};

struct handovers {
    struct event_base *base;
    struct handover *first;
    unsigned count;
    size_t turn;
    struct metric *now, *passed, *failed;
};

struct handovers *handovers_new(struct event_base *base, struct metrics *metrics)
{
    struct handovers *handovers = xcalloc(1, sizeof *handovers);
    handovers->base = base;
    handovers->now = metrics_gauge(metrics, "weir_handovers", NULL);
    handovers->passed = metrics_counter(metrics, "weir_handovers_total", "result=\"passed\"");
    handovers->failed = metrics_counter(metrics, "weir_handovers_total", "result=\"failed\"");
    return handovers;
}

static void handover_free(struct handover *handover)
{
    struct handovers *all = handover->all;
    net_free(&handover->client);
    net_free(&handover->peer);
    *handover->link = handover->next;
    if (handover->next != NULL)
        handover->next->link = handover->link;
    all->count--;
    metric_set(all->now, all->count);
    free(handover->peers);
    free(handover->hostname);
    free(handover);
}

void handovers_free(struct handovers **handoversp)
{
    struct handovers *handovers = *handoversp;
    *handoversp = NULL;
    if (handovers == NULL)
        return;
    if (handovers->count > 0)
        log_write(LOG_WARNING, "drain_to: %u connections that were passed on are cut", handovers->count);
    while (handovers->first != NULL)
        handover_free(handovers->first);
    free(handovers);
}

unsigned handovers_count(const struct handovers *handovers)
{
    return handovers->count;
}

/* ---- the other edge ---- */

static const struct net_handlers peer_handlers;

static void try_next(struct handover *handover)
{
    net_free(&handover->peer);
    if (handover->tried < handover->count) {
        const struct netaddr *peer = &handover->peers[(handover->at + handover->tried++) % handover->count];
        handover->peer = net_connect(handover->all->base, peer, NULL, CONNECT_MS, &peer_handlers, handover);
        return;
    }
    char text[NETADDR_TEXT_MAX], line[512];
    log_write(LOG_WARNING, "drain_to: no other edge takes %s: 421", netaddr_format(&handover->from, text));
    metric_add(handover->all->failed, 1);
    int len = snprintf(line, sizeof line, "421 4.3.2 %s Service is being drained, try another host\r\n",
                       handover->hostname != NULL ? handover->hostname : "");
    if (handover->hostname != NULL)
        net_write(handover->client, line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1);
    net_close_after_flush(&handover->client);
    handover_free(handover);
}

static void on_peer_connected(void *arg)
{
    struct handover *handover = arg;
    char header[PROXY_HEADER_WRITTEN_MAX], text[2][NETADDR_TEXT_MAX];
    size_t len = proxy_header_write(header, &handover->from, net_local(handover->client));
    log_write(LOG_INFO, "drain_to: %s goes on at %s", netaddr_format(&handover->from, text[0]),
              netaddr_format_endpoint(net_peer(handover->peer), text[1]));
    metric_add(handover->all->passed, 1);
    net_set_timeout(handover->peer, 0, IDLE_MS); /* it says nothing during a message, however long that takes: the client's silence counts */
    net_set_timeout(handover->client, IDLE_MS, IDLE_MS);
    net_write(handover->peer, header, len);
    net_resume(handover->client);
}

static size_t pass(struct net_conn *from, struct net_conn *to, const char *buf, size_t len)
{
    net_write(to, buf, len);
    if (net_unsent(to) > UNSENT_MOST)
        net_pause(from);
    return len;
}

static size_t on_peer_bytes(void *arg, const char *buf, size_t len)
{
    struct handover *handover = arg;
    return pass(handover->peer, handover->client, buf, len);
}

static size_t on_client_bytes(void *arg, const char *buf, size_t len)
{
    struct handover *handover = arg;
    return pass(handover->client, handover->peer, buf, len);
}

static void on_peer_drained(void *arg)
{
    struct handover *handover = arg;
    net_resume(handover->client);
}

static void on_client_drained(void *arg)
{
    struct handover *handover = arg;
    if (handover->peer != NULL)
        net_resume(handover->peer);
}

static void on_peer_gone(void *arg, enum net_end end, const char *why)
{
    struct handover *handover = arg;
    if (end == NET_CONNECT_FAILED) {
        char text[NETADDR_TEXT_MAX];
        const struct netaddr *peer = &handover->peers[(handover->at + handover->tried - 1) % handover->count];
        log_write(LOG_INFO, "drain_to: %s: %s", netaddr_format_endpoint(peer, text), why);
        try_next(handover);
        return;
    }
    net_close_after_flush(&handover->client);
    handover_free(handover);
}

/* It may still read: answers to what it sent before come, and the other edge closes behind them. From here on the client's silence tells nothing. */
static void on_client_ended(void *arg)
{
    struct handover *handover = arg;
    net_end_output(handover->peer);
    net_set_timeout(handover->peer, IDLE_MS, IDLE_MS);
}

static void on_client_gone(void *arg, enum net_end end, const char *why)
{
    (void)end, (void)why;
    struct handover *handover = arg;
    if (handover->peer != NULL)
        net_close_after_flush(&handover->peer);
    handover_free(handover);
}

static const struct net_handlers peer_handlers = { .connected = on_peer_connected, .bytes = on_peer_bytes, .drained = on_peer_drained,
                                                   .gone = on_peer_gone };
static const struct net_handlers client_handlers = { .bytes = on_client_bytes, .drained = on_client_drained, .ended = on_client_ended,
                                                     .gone = on_client_gone };

/* ---- the client ---- */

void handovers_take(struct handovers *handovers, int fd, const struct netaddr *client, const struct netaddr *peers, size_t count, const char *hostname)
{
    struct handover *handover = xcalloc(1, sizeof *handover);
    handover->all = handovers;
    handover->from = *client;
    handover->peers = xmemdup(peers, count * sizeof *peers);
    handover->count = count;
    handover->at = handovers->turn++ % count;
    handover->hostname = hostname != NULL ? xstrdup(hostname) : NULL;
    handover->next = handovers->first;
    handover->link = &handovers->first;
    if (handover->next != NULL)
        handover->next->link = &handover->next;
    handovers->first = handover;
    metric_set(handovers->now, ++handovers->count);
    handover->client = net_accept(handovers->base, fd, &client_handlers, handover);
    net_pause(handover->client);
    try_next(handover);
}

/*
 * balancer.c - a session that comes by way of a load balancer, until it is known whose it is
 *
 *     accepted -> ST_PROXY --the header names a client--> as if that one had connected: session_begin()
 *                          --it names none--------------> the same, but unnamed: a health check
 *                          --wrong, late----------------> 421, or under implicit_tls nothing, and closed
 *
 * What a health check does is nobody's news: it leaves no line in the log, whichever way it ends.
 */
#include "common/log.h"
#include "edge/session/internal.h"
#include "edge/session/proxy.h"

void balancer_begin(struct session *session)
{
    session->unnamed = true;
    session->balancer = session->client;
    session_enter(session, ST_PROXY);
    net_offer_most(session->conn, PROXY_HEADER_LEAST);
}

static void give_up(struct session *session, enum proxied result, const char *enhanced, const char *why)
{
    log_write(LOG_WARNING, "no PROXY header from load balancer %s at listener \"%s\": %s", session->client_text, session->port->name, why);
    metric_add(session->port->proxied[result], 1);
    server_refuse(session, enhanced, "A load balancer has to say whom it speaks for");
}

/* Its own end of this connection: a check by version 1, which has no word for it that does not also stand for clients. */
static bool speaks_for_itself(const struct session *session, const struct netaddr *client)
{
    return netaddr_equal(client, &session->balancer) && client->port == session->balancer.port;
}

size_t balancer_bytes(struct session *session, const char *buf, size_t len)
{
    struct proxy_header header;
    enum proxy_event event = proxy_header_read(&header, buf, len);
    if (event == PROXY_NEED_MORE) {
        net_offer_most(session->conn, header.len);
        return 0;
    }
    if (event == PROXY_BAD) {
        give_up(session, PROXIED_BAD, "4.3.5", header.why);
        return len;
    }
    session->unnamed = event == PROXY_LOCAL || speaks_for_itself(session, &header.client);
    metric_add(session->port->proxied[session->unnamed ? PROXIED_LOCAL : PROXIED_CLIENT], 1);
    if (server_readmit(session, session->unnamed ? &session->balancer : &header.client)) {
        metric_add(session->port->accepted, 1);
        session_begin(session);
    }
    return header.len;
}

uint64_t balancer_on_time(struct session *session, uint64_t now)
{
    uint64_t due = session->entered_ms + session->limits->proxy_timeout;
    if (now >= due) {
        server_count_limit(session->server, LIMIT_TIME);
        give_up(session, PROXIED_LATE, "4.4.2", "it did not come in time");
    }
    return due;
}

/*
 * hopconn.c - one connection to a next hop: found, connected, introduced, encrypted, then used for many transactions
 *
 * All addresses of the host, or of the MX hosts of the domain, are tried in turn until one says it is ready. A failed TLS handshake is tried once more in clear where TLS is
 * opportunistic (next_hop_tls = may), and that is remembered for a while. Invariant: `owner` is NULL or has this connection as its `conn`.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/delivery/internal.h"

static void hopconn_try_next(struct hopconn *conn);

void reply_set(struct smtp_reply *reply, int code, const char *enhanced, const char *text, ...)
{
    va_list args;
    va_start(args, text);
    reply->code = code;
    reply->own = true;
    reply->closing = reply->silent = reply->unasked = false;
    snprintf(reply->enhanced, sizeof reply->enhanced, "%s", enhanced != NULL ? enhanced : "");
    vsnprintf(reply->text, sizeof reply->text, text, args);
    va_end(args);
}

static const struct edge_settings *settings_of(const struct hopconn *conn)
{
    return conn->hop->pool->settings;
}

static void hopconn_enter(struct hopconn *conn)
{
    conn->busy++;
}

static void hopconn_leave(struct hopconn *conn)
{
    if (--conn->busy == 0 && conn->freed)
        free(conn);
}

static void hopconn_set_timer(struct hopconn *conn, uint64_t ms)
{
    event_add(&conn->timer, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
}

void hopconn_close(struct hopconn *conn)
{
    if (conn->freed)
        return;
    struct hop *hop = conn->hop;
    if (conn->use == HOPCONN_IDLE)
        pool_take_idle(conn);
    if (conn->net != NULL && conn->dialog.state == HOP_READY) {
        hop_dialog_quit(&conn->dialog);
        net_write(conn->net, conn->dialog.out, conn->dialog.out_len);
        net_close_after_flush(&conn->net);
    }
    net_free(&conn->net);
    net_tls_unref(&conn->tls);
    dns_cancel(&conn->query);
    mx_cancel(&conn->mx_query);
    mx_plan_fini(&conn->plan);
    conn->host = NULL;
    event_del(&conn->timer);
    pool_count(conn, HOPCONN_USES);
    *conn->link = conn->next;
    if (conn->next != NULL)
        conn->next->link = conn->link;
    free(conn->addresses);
    conn->addresses = NULL;
    free(conn->failure);
    conn->failure = NULL;
    conn->owner = NULL;
    conn->freed = true;
    if (conn->busy == 0)
        free(conn);
    pool_closed(hop);
}

/* Ends the connection and tells its owner. */
static void hopconn_lost(struct hopconn *conn, const struct smtp_reply *said)
{
    struct delivery *owner = conn->owner;
    bool used_before = conn->transactions > 1 && !conn->heard;
    bool unsent = conn->net != NULL && net_unsent(conn->net) > 0;
    struct smtp_reply reply = *said; /* it may be inside conn */
    conn->dialog.state = HOP_CLOSED;
    conn->owner = NULL;
    hopconn_enter(conn);
    hopconn_close(conn);
    if (owner != NULL)
        delivery_on_lost(owner, &reply, used_before, unsent);
    hopconn_leave(conn);
}

static void hopconn_lost_because(struct hopconn *conn, bool silent, const char *why)
{
    struct smtp_reply reply;
    reply_set(&reply, 0, NULL, "%s", why);
    reply.silent = silent;
    hopconn_lost(conn, &reply);
}

static void hopconn_ready(struct hopconn *conn)
{
    conn->heard = false;
    event_del(&conn->timer);
    mx_plan_fini(&conn->plan); /* a connection may be kept for long, and its way here is of no use any more */
    conn->host = NULL;
    pool_reached(conn->hop);
    if (conn->owner == NULL) {
        pool_give(conn);
        return;
    }
    pool_count(conn, HOPCONN_BUSY);
    conn->transactions++;
    delivery_on_ready(conn->owner, conn);
}

void hopconn_take(struct hopconn *conn, struct delivery *owner)
{
    pool_count(conn, HOPCONN_BUSY);
    event_del(&conn->timer);
    conn->owner = owner;
    conn->heard = false;
    conn->transactions++;
}

void hopconn_release(struct hopconn *conn)
{
    conn->owner = NULL;
    if (conn->use == HOPCONN_CONNECTING)
        return; /* whoever is in line then, or the next delivery, has use for it */
    bool ready = hop_dialog_reset(&conn->dialog);
    if (conn->dialog.state == HOP_CLOSED)
        hopconn_close(conn);
    else if (ready)
        pool_give(conn);
    else
        hopconn_flush(conn);
}

void hopconn_flush(struct hopconn *conn)
{
    net_write(conn->net, conn->dialog.out, conn->dialog.out_len);
    conn->dialog.out_len = 0;
    if (conn->use == HOPCONN_CONNECTING)
        return; /* greeting_timeout is for all of it, or a slow host could hold its client for each step anew */
    switch (conn->dialog.state) {
    case HOP_READY:
    case HOP_CLOSED:
    case HOP_BODY: /* net watches that the message moves */
        event_del(&conn->timer);
        break;
    case HOP_RCPT:
        if (conn->dialog.rcpt_unanswered == 0) {
            event_del(&conn->timer);
            break;
        }
        hopconn_set_timer(conn, settings_of(conn)->reply_timeout);
        break;
    case HOP_FINAL:
        hopconn_set_timer(conn, settings_of(conn)->data_done_timeout);
        break;
    default:
        hopconn_set_timer(conn, settings_of(conn)->reply_timeout);
        break;
    }
}

/* ---- getting there ---- */

/* This address does not work: the host said so (reply), or we do. On to the next. */
static void hopconn_failed(struct hopconn *conn, const struct smtp_reply *reply)
{
    if (conn->failure == NULL)
        conn->failure = xcalloc(1, sizeof *conn->failure);
    *conn->failure = *reply;
    net_free(&conn->net);
    event_del(&conn->timer);
    hopconn_try_next(conn);
}

static void hopconn_failed_because(struct hopconn *conn, const char *enhanced, const char *why)
{
    struct smtp_reply reply;
    log_write_as("smtp", LOG_INFO, "connect to %s: %s", conn->text, why);
    reply_set(&reply, 451, enhanced, "%s: %s", conn->text, why);
    hopconn_failed(conn, &reply);
}

/* What a host says at its greeting or to EHLO is about us, not about anybody's mail: a 5xx must not bounce all of it for good (Postfix:
 * smtp_skip_5xx_greeting). Where another address failed for a while that is the better news; where one led home it is not. The host is named
 * with what it says: there may be several, and no transaction in which one of them is the next hop. */
static void hopconn_refused(struct hopconn *conn, const struct smtp_reply *reply)
{
    struct smtp_reply own = *reply;
    if (reply->code >= 500 && conn->failure != NULL && conn->failure->code < 500)
        own = *conn->failure;
    else
        reply_set(&own, reply->code >= 500 ? 451 : reply->code, reply->code >= 500 ? "4.4.1" : reply->enhanced, "%s says: %d %s%s%.800s",
                  conn->text, reply->code, reply->enhanced, reply->enhanced[0] != '\0' ? " " : "", reply->text);
    hopconn_failed(conn, &own);
}

static void hopconn_give_up(struct hopconn *conn)
{
    struct delivery *owner = conn->owner;
    struct smtp_reply reply = *conn->failure;
    reply.unasked = conn->unasked;
    conn->owner = NULL;
    hopconn_enter(conn);
    pool_unreachable(conn, &reply);
    hopconn_close(conn);
    if (owner != NULL)
        delivery_on_unreachable(owner, &reply);
    hopconn_leave(conn);
}

/* A host as good as the one we are at, or better, was left out because the DNS did not say where it is. */
static bool hopconn_misses_hosts(const struct hopconn *conn)
{
    const struct mx_plan *plan = &conn->plan;
    for (size_t i = 0; conn->host != NULL && i < plan->host_count && plan->hosts[i].preference <= conn->host->preference; i++)
        if (plan->hosts[i].status == DNS_FAILED)
            return true;
    return false;
}

/* Without MX records all addresses are the next hop's own, so none is left. */
static void hopconn_leave_out_worse(struct hopconn *conn)
{
    size_t end = conn->address_next;
    while (conn->host != NULL && end < conn->address_count && conn->plan.candidates[end].host->preference == conn->host->preference)
        end++;
    conn->address_count = end;
}

/* Mail that is sent there comes back here. Hosts that are worse than ourselves are not tried. Equal ones are, which RFC 5321 5.1 discards, too (and mx.c,
 * where our name or address is among them): here only a connection showed who we are, chance decides which of them comes first, and mail that one order
 * delivers must not be returned in the other. One that is better may only have been away, or its address not to be had, which is for it to get over. */
static void hopconn_loops(struct hopconn *conn)
{
    log_write_as("smtp", LOG_WARNING, "mail for %s loops back to this cluster at %s", conn->hop->name.host, conn->text);
    if (conn->failure == NULL) {
        conn->failure = xcalloc(1, sizeof *conn->failure);
        if (hopconn_misses_hosts(conn))
            reply_set(conn->failure, 451, "4.4.3", "%s: Mail loops back to this cluster, and a host that may take it was not found, try again later",
                      conn->text);
        else
            reply_set(conn->failure, 554, "5.4.6", "%s: Mail loops back to this cluster", conn->text);
    }
    if (conn->net != NULL) {
        hop_dialog_quit(&conn->dialog);
        net_write(conn->net, conn->dialog.out, conn->dialog.out_len);
        net_close_after_flush(&conn->net);
    }
    event_del(&conn->timer);
    hopconn_leave_out_worse(conn);
    hopconn_try_next(conn);
}

/* Another edge, or ourselves by an address that is not ours: a load balancer's, or one that is translated. Asked when the host is ready: what it
 * said before STARTTLS anybody may have said, and would have all mail for it returned. */
static bool hopconn_leads_home(const struct hopconn *conn)
{
    const char *own = conn->hop->pool->cluster;
    return *own != '\0' && strcmp(conn->dialog.extensions.cluster, own) == 0;
}

static bool hopconn_obeys_dane(const struct hopconn *conn)
{
    return conn->host != NULL && conn->host->dane == MX_DANE_VERIFY && !conn->dane_unusable;
}

static void hopconn_tls_failed(struct hopconn *conn, const char *why)
{
    struct delivery_pool *pool = conn->hop->pool;
    metric_add(pool->metrics.tls_failed, 1);
    if (hopconn_obeys_dane(conn))
        metric_add(pool->metrics.dane_failed, 1);
    log_write_as("smtp", LOG_WARNING, "TLS with %s: %s%s", conn->text, why,
              conn->dialog.tls == NEXT_HOP_TLS_REQUIRE ? "" : "; going on without it");
    if (conn->dialog.tls != NEXT_HOP_TLS_REQUIRE) {
        conn->hop->no_tls_until = clock_ms() + settings_of(conn)->next_hop_no_tls;
        conn->hop->no_tls_at = *net_peer(conn->net);
        conn->in_clear = true;
        conn->address_next--; /* the same address once more */
        net_free(&conn->net);
        event_del(&conn->timer);
        hopconn_try_next(conn);
        return;
    }
    hopconn_failed_because(conn, "4.7.5",
                           hopconn_obeys_dane(conn) ? "its TLSA records (DANE) ask for TLS, which failed" : "TLS is required and failed");
}

static const char *host_name(const struct hopconn *conn)
{
    return conn->host != NULL ? conn->host->name : conn->hop->name.host;
}

/* RFC 7672 3.2.2: the certificate may be for the name the records are at, the MX host, or the domain, also under the name it is an alias of. */
static bool hopconn_start_dane(struct hopconn *conn, bool *unusable, struct error *why)
{
    const struct mx_host *host = conn->host;
    struct net_tlsa records[MX_TLSA_MAX];
    for (size_t i = 0; i < host->tlsa_count; i++)
        records[i] = (struct net_tlsa){ host->tlsa[i].usage, host->tlsa[i].selector, host->tlsa[i].matching, host->tlsa[i].data,
                                        host->tlsa[i].len };
    const char *expanded = conn->plan.expanded[0] != '\0' ? conn->plan.expanded : NULL;
    struct net_dane dane = { host->tlsa_base, { host->name, conn->plan.domain, expanded }, records, host->tlsa_count };
    return net_start_tls_dane(conn->net, conn->tls, &dane, unusable, why);
}

static void hopconn_start_tls(struct hopconn *conn)
{
    struct error why;
    bool begun = false;
    if (hopconn_obeys_dane(conn)) {
        begun = hopconn_start_dane(conn, &conn->dane_unusable, &why);
        if (conn->dane_unusable) { /* RFC 7672 2.2: as with records of a kind that nobody uses, so TLS all the same */
            log_write_as("smtp", LOG_NOTICE, "TLS with %s: %s; its certificate is not verified by them", conn->text, why.text);
            conn->must_verify = settings_of(conn)->next_hop_tls == NEXT_HOP_TLS_REQUIRE;
        }
    }
    if (!begun && !hopconn_obeys_dane(conn)) {
        /* The name goes along even where nobody verifies: hosts choose their certificate by it. */
        begun = net_start_tls(conn->net, conn->tls, false, host_name(conn));
        error_set(&why, "bytes in clear behind the reply to STARTTLS");
    }
    if (!begun)
        hopconn_tls_failed(conn, why.text);
}

static void hopconn_tls_impossible(struct hopconn *conn)
{
    struct delivery_metrics *metrics = &conn->hop->pool->metrics;
    metric_add(conn->dialog.extensions.starttls ? metrics->tls_declined : metrics->tls_not_offered, 1);
    if (hopconn_obeys_dane(conn))
        metric_add(metrics->dane_failed, 1);
    hopconn_failed_because(conn, "4.7.5",
                           hopconn_obeys_dane(conn) ? "its TLSA records (DANE) ask for TLS, which is not offered"
                                                    : "TLS is required and not offered");
}

static void on_event(struct hopconn *conn, enum hop_event event, const struct smtp_reply *reply)
{
    struct delivery_metrics *metrics = &conn->hop->pool->metrics;
    char words[64];
    switch (event) {
    case HOP_NOTHING:
        hopconn_flush(conn);
        break;
    case HOP_START_TLS:
        hopconn_start_tls(conn);
        break;
    case HOP_IS_READY:
        if (conn->use == HOPCONN_CONNECTING && hopconn_leads_home(conn)) {
            hopconn_loops(conn);
            break;
        }
        if (conn->use == HOPCONN_CONNECTING && conn->dialog.tls != NEXT_HOP_TLS_NONE && !conn->dialog.secure)
            metric_add(conn->dialog.extensions.starttls ? metrics->tls_declined : metrics->tls_not_offered, 1);
        hopconn_ready(conn);
        break;
    case HOP_SENDER_OK:
    case HOP_SENDER_REFUSED:
        hopconn_flush(conn);
        delivery_on_sender(conn->owner, reply);
        break;
    case HOP_RECIPIENT:
        hopconn_flush(conn);
        delivery_on_recipient(conn->owner, reply);
        break;
    case HOP_GO_AHEAD:
        hopconn_flush(conn);
        delivery_on_go_ahead(conn->owner);
        break;
    case HOP_ANSWER:
        if (net_unsent(conn->net) > 0) {
            /* It cannot have the whole message yet: its 250 is worth nothing, and what is still to be sent would be taken for commands. */
            conn->dialog.state = HOP_CLOSED;
            if (reply->code < 300) {
                hopconn_lost_because(conn, false, "message answered before its end");
                break;
            }
        }
        hopconn_flush(conn);
        delivery_on_answer(conn->owner, reply);
        break;
    case HOP_REFUSED:
        log_write_as("smtp", LOG_INFO, "connect to %s: host says: %d %s", conn->text, reply->code, reply->text);
        hopconn_refused(conn, reply);
        break;
    case HOP_TLS_IMPOSSIBLE:
        hopconn_tls_impossible(conn);
        break;
    case HOP_LOST:
        if (conn->use == HOPCONN_CONNECTING) {
            snprintf(words, sizeof words, "unexpected reply %d", reply->code);
            hopconn_failed_because(conn, "4.4.1", reply->code != 0 ? words : reply->text);
        } else if (reply->code == 421) {
            hopconn_lost(conn, reply);
        } else {
            hopconn_lost_because(conn, false, "unexpected reply");
        }
        break;
    }
}

static size_t on_bytes(void *arg, const char *buf, size_t len)
{
    struct hopconn *conn = arg;
    const struct net_conn *net = conn->net;
    size_t at = 0;
    hopconn_enter(conn);
    while (at < len && !conn->freed && conn->net == net) {
        size_t used;
        enum smtp_reply_status status = smtp_reply_parser_next(&conn->parser, buf + at, len - at, &used);
        at += used;
        if (status == SMTP_REPLY_MORE)
            break;
        if (status == SMTP_REPLY_BROKEN)
            reply_set(&conn->parser.reply, 0, NULL, "not an SMTP reply");
        /* An owner that leaves in here gives the connection away or back; the reply stays where it is until we return. */
        struct smtp_reply_parser parser = conn->parser;
        smtp_reply_parser_init(&conn->parser);
        conn->heard |= parser.reply.code != 421; /* "go away" on a connection kept for long is no answer */
        on_event(conn, hop_dialog_reply(&conn->dialog, &parser.reply), &parser.reply);
        if (conn->dialog.state == HOP_SECURING)
            break; /* anything behind the reply is left over: net ends the connection */
    }
    hopconn_leave(conn);
    return at;
}

static void on_connected(void *arg)
{
    struct hopconn *conn = arg;
    net_set_timeout(conn->net, 0, (unsigned)settings_of(conn)->reply_timeout);
    hopconn_set_timer(conn, settings_of(conn)->greeting_timeout);
}

static void on_secured(void *arg)
{
    struct hopconn *conn = arg;
    struct delivery_metrics *metrics = &conn->hop->pool->metrics;
    if (conn->must_verify && !net_tls_verified(conn->net)) {
        hopconn_enter(conn);
        hopconn_tls_failed(conn, "certificate not trusted");
        hopconn_leave(conn);
        return;
    }
    metric_add(metrics->tls_established, 1);
    if (hopconn_obeys_dane(conn)) {
        metric_add(metrics->dane_verified, 1);
        log_write_as("smtp", LOG_INFO, "Verified TLS (DANE) connection established to %s: %s", conn->text, net_tls_text(conn->net));
    } else if (conn->host != NULL && conn->host->dane != MX_DANE_NONE) {
        metric_add(metrics->dane_encrypted, 1);
    }
    smtp_reply_parser_init(&conn->parser);
    hop_dialog_secured(&conn->dialog);
    hopconn_flush(conn);
}

static void on_drained(void *arg)
{
    struct hopconn *conn = arg;
    hopconn_enter(conn);
    if (conn->owner != NULL && conn->dialog.state == HOP_BODY)
        delivery_on_drained(conn->owner);
    hopconn_leave(conn);
}

/* Before the host was ready: the next address. Later: lost. */
static void hopconn_broke(struct hopconn *conn, bool silent, const char *why)
{
    if (conn->use == HOPCONN_CONNECTING)
        hopconn_failed_because(conn, "4.4.1", why);
    else
        hopconn_lost_because(conn, silent, why);
}

static void on_gone(void *arg, enum net_end end, const char *why)
{
    struct hopconn *conn = arg;
    hopconn_enter(conn);
    conn->unasked |= end == NET_NO_SOURCE;
    if (conn->dialog.state == HOP_SECURING)
        hopconn_tls_failed(conn, end == NET_TLS_FAILED ? why : "connection lost in the handshake");
    else
        hopconn_broke(conn, end == NET_TIMEOUT, why);
    hopconn_leave(conn);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct hopconn *conn = arg;
    hopconn_enter(conn);
    if (conn->use == HOPCONN_IDLE)
        hopconn_close(conn);
    else if (conn->dialog.state == HOP_SECURING)
        hopconn_tls_failed(conn, "time-out in the handshake");
    else
        hopconn_broke(conn, true, conn->query != NULL ? "no answer from the DNS" : "no reply in time");
    hopconn_leave(conn);
}

static const struct net_handlers handlers = { on_connected, on_secured, on_bytes, on_drained, NULL, on_gone };

static struct netaddr hopconn_next_address(struct hopconn *conn)
{
    size_t at = conn->address_next++;
    if (conn->hop->name.mx) {
        conn->host = conn->plan.candidates[at].host;
        return conn->plan.candidates[at].address;
    }
    struct netaddr address = conn->addresses[at];
    address.port = conn->hop->name.port;
    return address;
}

static enum next_hop_tls hopconn_wanted_tls(struct hopconn *conn, const struct netaddr *address)
{
    const struct hop *hop = conn->hop;
    enum next_hop_tls tls = (enum next_hop_tls)settings_of(conn)->next_hop_tls;
    bool by_records = tls != NEXT_HOP_TLS_NONE && conn->host != NULL && conn->host->dane != MX_DANE_NONE;
    conn->dane_unusable = false;
    conn->must_verify = tls == NEXT_HOP_TLS_REQUIRE || (by_records && hopconn_obeys_dane(conn));
    if (by_records)
        return NEXT_HOP_TLS_REQUIRE;
    bool failed_here = clock_ms() < hop->no_tls_until && (!hop->name.mx || netaddr_equal(&hop->no_tls_at, address));
    bool clear = failed_here || conn->in_clear; /* the next try at least, however short the memory */
    conn->in_clear = false;
    return tls == NEXT_HOP_TLS_MAY && clear ? NEXT_HOP_TLS_NONE : tls;
}

/* From which address, and as whom; NULL: as the kernel chooses, and as always. false: not from here, which was said. */
static bool hopconn_egress(struct hopconn *conn, const struct netaddr *address, const struct netaddr **source, const char **hello)
{
    struct delivery_pool *pool = conn->hop->pool;
    const char *name = conn->hop->egress;
    *source = NULL;
    *hello = settings_of(conn)->hostname;
    if (*name == '\0')
        return true;
    const struct egress *egress = pool_egress(pool, name);
    if (egress == NULL) {
        conn->unasked = true;
        metric_add(pool->metrics.egress_unknown, 1);
        hopconn_failed_because(conn, "4.3.5", "it is to be reached from an [egress] that this edge does not have");
        return false;
    }
    *source = egress_source(egress, address->family, pool->egress_turn++);
    *hello = egress->hostname;
    if (*source == NULL) {
        conn->unasked = true;
        hopconn_failed_because(conn, "4.4.1", "no address of the egress pool can reach it");
        return false;
    }
    metric_add(metrics_counter(pool->registry, "weir_egress_connections_total", "pool=\"%s\"", name), 1);
    return true;
}

static void hopconn_try_next(struct hopconn *conn)
{
    if (conn->address_next >= conn->address_count) {
        hopconn_give_up(conn);
        return;
    }
    struct hop *hop = conn->hop;
    struct netaddr address = hopconn_next_address(conn);
    char ip[NETADDR_TEXT_MAX];
    snprintf(conn->text, sizeof conn->text, "%s[%s]:%u", host_name(conn), netaddr_format(&address, ip), address.port);
    const struct netaddr *source;
    const char *hello;
    if (!hopconn_egress(conn, &address, &source, &hello))
        return;
    hop_dialog_init(&conn->dialog, hello, hopconn_wanted_tls(conn, &address));
    net_tls_unref(&conn->tls);
    conn->tls = hop->pool->tls != NULL ? net_tls_ref(hop->pool->tls) : NULL;
    conn->generation = hop->pool->generation;
    smtp_reply_parser_init(&conn->parser);
    conn->net = net_connect(hop->pool->base, &address, source, (unsigned)settings_of(conn)->connect_timeout, &handlers, conn);
}

static bool hopconn_is_at_home(const struct hopconn *conn)
{
    for (size_t i = 0; i < conn->address_count; i++) {
        struct netaddr address = conn->addresses[i];
        address.port = conn->hop->name.port;
        if (mx_is_own_address(&conn->hop->pool->mx.self, &address))
            return true;
    }
    return false;
}

static void on_addresses(void *arg, enum dns_status status, const struct netaddr *addresses, size_t count)
{
    struct hopconn *conn = arg;
    conn->query = NULL;
    event_del(&conn->timer);
    hopconn_enter(conn);
    if (status == DNS_OK) {
        conn->addresses = xmemdup(addresses, count * sizeof *addresses);
        conn->address_count = count;
        if (hopconn_is_at_home(conn))
            hopconn_loops(conn);
        else
            hopconn_try_next(conn);
    } else if (status == DNS_FAILED) {
        hopconn_failed_because(conn, "4.4.3", "name resolution failed, try again later");
    } else {
        hopconn_failed_because(conn, "4.4.1", "next hop has no address");
    }
    hopconn_leave(conn);
}

/* Nobody takes mail for this domain, or it is not known who does. */
static void hopconn_no_host(struct hopconn *conn, enum mx_status status)
{
    static const struct {
        int code;
        const char *enhanced, *words;
    } replies[] = {
        [MX_NO_DOMAIN] = { 550, "5.1.2", "Domain not found" },
        [MX_NO_ADDRESS] = { 550, "5.4.4", "Domain has no mail server: no MX or address record leads to one" },
        [MX_NULL] = { 556, "5.1.10", "Domain does not accept mail (null MX)" },
        [MX_LOOP] = { 554, "5.4.6", "Mail for this domain loops back to this host" },
        [MX_FAILED] = { 451, "4.4.3", "name resolution failed, try again later" },
    };
    struct smtp_reply reply;
    const char *domain = conn->hop->name.host;
    log_write_as("smtp", LOG_INFO, "no host for %s: %s", domain, replies[status].words);
    reply_set(&reply, replies[status].code, replies[status].enhanced, "%s: %s", domain, replies[status].words);
    hopconn_failed(conn, &reply);
}

static void log_plan(const struct hopconn *conn)
{
    char text[2048];
    if (!log_wants(LOG_DEBUG))
        return;
    mx_plan_format(text, sizeof text, &conn->plan);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        log_write_as("smtp", LOG_DEBUG, "host for %s: %.*s", conn->hop->name.host, (int)(end - line), line);
}

static void on_plan(void *arg, struct mx_plan *taken)
{
    struct hopconn *conn = arg;
    conn->mx_query = NULL;
    conn->plan = *taken;
    hopconn_enter(conn);
    if (conn->plan.status == MX_OK) {
        log_plan(conn);
        conn->address_count = conn->plan.candidate_count;
        hopconn_try_next(conn);
    } else {
        hopconn_no_host(conn, conn->plan.status);
    }
    hopconn_leave(conn);
}

struct hopconn *hopconn_new(struct hop *hop, struct delivery *owner)
{
    struct hopconn *conn = xcalloc(1, sizeof *conn);
    conn->hop = hop;
    conn->owner = owner;
    conn->use = HOPCONN_USES; /* not counted yet */
    conn->began_ms = clock_ms();
    conn->next = hop->connections;
    conn->link = &hop->connections;
    if (conn->next != NULL)
        conn->next->link = &conn->next;
    hop->connections = conn;
    hop->count++;
    snprintf(conn->text, sizeof conn->text, "%s:%u", hop->name.host, hop->name.port);
    event_assign(&conn->timer, hop->pool->base, -1, 0, on_timer, conn);
    pool_count(conn, HOPCONN_CONNECTING);
    if (hop->name.mx) { /* its questions have a time limit of their own */
        conn->mx_query = mx_lookup(hop->pool->dns, hop->name.host, hop->name.port, &hop->pool->mx, on_plan, conn);
        return conn;
    }
    conn->query = dns_addresses(hop->pool->dns, hop->name.host, on_addresses, conn);
    hopconn_set_timer(conn, settings_of(conn)->connect_timeout);
    return conn;
}

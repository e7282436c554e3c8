/*
 * delivery.c - one transaction with a next hop, beside the client's own
 *
 * What the owner asks for is noted and worked off from the loop (`kick`), so a client's pipelined group becomes one here. The state says where
 * the connection is:
 *
 *   PARKED -> [WAITING ->] CONNECTING -> OPEN -> done
 *   OPEN -> PARKED       the client is slow (next_hop_hold), or the connection ended while nothing was asked of it
 *   OPEN -> CONNECTING   lost before the final dot was out: the envelope is repeated on a fresh connection, once
 *   any -> FAILED        `failure` answers every recipient, and the message
 *
 * Invariants: recipients are answered in order, each once, by what the next hop said to it first. The message goes out only in a transaction
 * that holds all accepted recipients and no other, so when a repeated envelope is answered differently, it goes nowhere (`spoiled`). After
 * the final dot nothing is ever repeated: the next hop may have the message.
 */
#include "edge/delivery/delivery.h"
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/idn.h"
#include "common/memory.h"
#include "edge/delivery/internal.h"

#define CHUNK (64 * 1024)          /* of the message, looked at at once */
#define UNSENT_HIGH (256 * 1024)   /* most bytes of it waiting in the connection */
#define REPLAYS_MAX 1

static void delivery_pump(struct delivery *delivery);

static void on_kick(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);

static void delivery_kick(struct delivery *delivery)
{
    event_active(&delivery->kick, EV_TIMEOUT, 0);
}

static void set_timer(struct delivery *delivery, uint64_t ms)
{
    event_add(&delivery->timer, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
}

/* ---- made and ended ---- */

static void delivery_count(const struct delivery *delivery, enum attempt_result result)
{
    metric_add(delivery->pool->metrics.attempts[delivery->class][result], 1);
}

struct delivery *delivery_new(struct delivery_pool *pool, const struct next_hop *hop, const struct delivery_envelope *envelope,
                              const struct delivery_handlers *handlers, void *arg)
{
    struct delivery *delivery = xcalloc(1, sizeof *delivery);
    delivery->pool = pool;
    delivery->hop = pool_hop(pool, hop, envelope->egress != NULL ? envelope->egress : "");
    delivery->handlers = handlers;
    delivery->arg = arg;
    delivery->sender = xstrdup(envelope->sender);
    delivery->size = envelope->size;
    delivery->eightbit = envelope->eightbit;
    delivery->smtputf8 = envelope->smtputf8;
    delivery->ret = envelope->ret;
    delivery->class = envelope->class;
    delivery->source = envelope->source;
    delivery->envid = xstrdup(envelope->envid != NULL ? envelope->envid : "");
    event_assign(&delivery->kick, pool->base, -1, 0, on_kick, delivery);
    event_assign(&delivery->timer, pool->base, -1, 0, on_timer, delivery);
    return delivery;
}

static void delivery_destroy(struct delivery *delivery)
{
    for (unsigned i = 0; i < delivery->count; i++) {
        free(delivery->recipients[i].address);
        free(delivery->recipients[i].orcpt);
    }
    free(delivery->recipients);
    free(delivery->sender);
    free(delivery->envid);
    free(delivery->prefix);
    free(delivery->failure);
    free(delivery);
}

/* Lets go of the connection or the place in line. */
static void delivery_detach(struct delivery *delivery)
{
    struct hopconn *conn = delivery->conn;
    event_del(&delivery->timer);
    delivery->held_since = 0;
    if (delivery->state == DELIVERY_WAITING)
        pool_leave_line(delivery->hop, delivery);
    delivery->conn = NULL;
    delivery->state = DELIVERY_PARKED;
    if (conn != NULL)
        hopconn_release(conn);
}

static void delivery_end(struct delivery *delivery)
{
    if (delivery->freed)
        return;
    delivery_detach(delivery);
    event_del(&delivery->kick);
    pool_hop_leave(delivery->hop);
    delivery->freed = true;
    if (delivery->busy == 0)
        delivery_destroy(delivery);
}

static void delivery_enter(struct delivery *delivery)
{
    delivery->busy++;
}

static void delivery_leave(struct delivery *delivery)
{
    if (--delivery->busy == 0 && delivery->freed)
        delivery_destroy(delivery);
}

void delivery_cancel(struct delivery **deliveryp)
{
    struct delivery *delivery = *deliveryp;
    *deliveryp = NULL;
    if (delivery == NULL || delivery->freed)
        return;
    delivery_count(delivery, ATTEMPT_CANCELLED);
    delivery_end(delivery);
}

bool delivery_take_back(struct delivery **delivery)
{
    const struct delivery *asked = *delivery;
    if (asked->dot_sent && (asked->conn == NULL || net_unsent(asked->conn->net) == 0))
        return false;
    delivery_cancel(delivery);
    return true;
}

/* A 421 speaks of the next hop's connection, not of ours: the client may go on with its session. */
static struct smtp_reply reply_for_client(const struct smtp_reply *reply)
{
    struct smtp_reply own = *reply;
    if (own.code == 421) {
        own.code = 450;
        own.closing = true;
        if (own.enhanced[0] == '\0')
            strcpy(own.enhanced, "4.3.2");
    }
    if (own.code == 0) {
        reply_set(&own, 451, "4.4.2", "connection to the next hop lost: %.900s", reply->text);
        own.silent = reply->silent;
    }
    return own;
}

/* The message's end: says so, and is gone. */
static void delivery_finish(struct delivery *delivery, const struct smtp_reply *reply, bool maybe)
{
    struct delivery_metrics *metrics = &delivery->pool->metrics;
    struct smtp_reply own = reply_for_client(reply);
    delivery_count(delivery, own.code < 300 ? ATTEMPT_DELIVERED : own.code < 500 ? ATTEMPT_DEFERRED : ATTEMPT_REJECTED);
    metric_observe(metrics->duration, (double)(clock_us() - delivery->send_at) / 1e6);
    if (maybe)
        metric_add(metrics->maybe_duplicates, 1);
    delivery_detach(delivery);
    delivery->handlers->done(delivery->arg, &own, maybe);
    delivery_end(delivery);
}

static void delivery_finish_with(struct delivery *delivery, int code, const char *enhanced, const char *text)
{
    struct smtp_reply reply;
    reply_set(&reply, code, enhanced, "%s", text);
    delivery_finish(delivery, &reply, false);
}

/* Every recipient not answered yet, and every later one, gets this reply; so does the message, as a 4xx: some recipient was promised. */
static void delivery_fail(struct delivery *delivery, const struct smtp_reply *reply)
{
    delivery_detach(delivery);
    if (delivery->failure == NULL)
        delivery->failure = xmalloc(sizeof *delivery->failure);
    *delivery->failure = reply_for_client(reply);
    delivery->state = DELIVERY_FAILED;
    delivery_pump(delivery);
}

static void delivery_tell(struct delivery *delivery, const struct smtp_reply *reply)
{
    struct recipient *recipient = &delivery->recipients[delivery->told];
    bool accepted = reply->code >= 200 && reply->code < 300;
    recipient->state = accepted ? RECIPIENT_ACCEPTED : RECIPIENT_REJECTED;
    delivery->accepted += accepted;
    if (!accepted) { /* never said again */
        free(recipient->address);
        free(recipient->orcpt);
        recipient->address = recipient->orcpt = NULL;
    }
    delivery->handlers->recipient(delivery->arg, delivery->told++, reply);
}

/* ---- what the owner asks for ---- */

void delivery_rcpt(struct delivery *delivery, const struct delivery_recipient *recipient)
{
    if (delivery->count == delivery->room) {
        delivery->room = delivery->room == 0 ? 4 : 2 * delivery->room;
        delivery->recipients = xrealloc(delivery->recipients, delivery->room * sizeof *delivery->recipients);
    }
    delivery->recipients[delivery->count++] = (struct recipient){
        .address = xstrdup(recipient->address),
        .orcpt = recipient->orcpt != NULL && *recipient->orcpt != '\0' ? xstrdup(recipient->orcpt) : NULL,
        .notify = recipient->notify,
    };
    delivery_kick(delivery);
}

void delivery_send(struct delivery *delivery, const char *header_prefix, size_t prefix_len, const struct message *message, uint64_t skip)
{
    weir_assert(!delivery->sending);
    delivery->sending = true;
    delivery->send_at = clock_us();
    delivery->prefix = xmemdup(header_prefix, prefix_len);
    delivery->prefix_len = prefix_len;
    delivery->message = message;
    delivery->skip = skip;
    delivery_kick(delivery);
}

const char *delivery_next_hop_text(const struct delivery *delivery)
{
    return delivery->hop_text;
}

void delivery_set_deadline(struct delivery *delivery, uint64_t deadline_ms)
{
    delivery->deadline_ms = deadline_ms;
}

static bool is_too_late(const struct delivery *delivery)
{
    return delivery->deadline_ms != 0 && clock_ms() >= delivery->deadline_ms;
}

bool delivery_hop_takes_dsn(const struct delivery *delivery)
{
    return delivery->hop_takes_dsn;
}

uint64_t delivery_size_limit(const struct delivery *delivery)
{
    return delivery->hop_size;
}

bool delivery_is_of_rcpt(const struct delivery *delivery)
{
    return delivery->state == DELIVERY_OPEN;
}

const char *delivery_tls_text(const struct delivery *delivery)
{
    return delivery->tls_text;
}

/* ---- the envelope ---- */

/* The next recipient for this connection: those refused before are not in the transaction any more. */
static bool next_unsent(struct delivery *delivery)
{
    while (delivery->sent < delivery->count && delivery->recipients[delivery->sent].state == RECIPIENT_REJECTED)
        delivery->sent++;
    return delivery->sent < delivery->count;
}

static bool has_work(struct delivery *delivery)
{
    return delivery->told < delivery->count || delivery->sending;
}

/* Up to the empty line, which all headers end with; what cannot be read is found when it is sent. */
static bool has_utf8_header(const struct message *message)
{
    char bytes[4096];
    struct error why;
    ssize_t got;
    unsigned ends = 2; /* of "\r\n\r\n": the beginning is that of a line */
    for (uint64_t offset = 0; (got = message_read(message, offset, bytes, sizeof bytes, &why)) > 0; offset += (uint64_t)got)
        for (ssize_t i = 0; i < got; i++) {
            if ((unsigned char)bytes[i] >= 0x80)
                return true;
            ends = bytes[i] == "\r\n\r\n"[ends] ? ends + 1 : bytes[i] == '\r';
            if (ends == 4)
                return false;
        }
    return false;
}

/* A client that says SMTPUTF8 may have meant nothing by it (RFC 6531 3.5: asking for more than is needed would keep mail from hosts that can
 * well take it). Addresses of recipients are looked at one by one. */
static bool needs_smtputf8(const struct delivery *delivery)
{
    return delivery->smtputf8 && (!idn_is_ascii(delivery->sender) || (delivery->sending && has_utf8_header(delivery->message)));
}

/* What the host cannot take is known before MAIL is said; but for the header, which comes later. */
static bool host_can_take_it(struct delivery *delivery, struct smtp_reply *why)
{
    const struct smtp_extensions *host = &delivery->conn->dialog.extensions;
    uint64_t size = delivery->size;
    if (delivery->sending)
        size = message_size(delivery->message) - delivery->skip + delivery->prefix_len;
    if (!host->smtputf8 && needs_smtputf8(delivery)) {
        reply_set(why, 550, "5.6.7", "%s does not take internationalized addresses", delivery->hop_text);
        return false;
    }
    if (host->has_size && host->size != 0 && size > host->size) {
        reply_set(why, 552, "5.3.4", "message too large for %s (limit %llu bytes)", delivery->hop_text, host->size);
        return false;
    }
    return true;
}

static void delivery_attach(struct delivery *delivery, struct hopconn *conn)
{
    delivery->conn = conn;
    delivery->state = DELIVERY_OPEN;
    delivery->mail_sent = delivery->dot_sent = delivery->need_fresh = false;
    delivery->sent = delivery->answered = 0;
    event_del(&delivery->timer);
    delivery->hop_takes_dsn = conn->dialog.extensions.dsn;
    delivery->hop_size = conn->dialog.extensions.has_size ? conn->dialog.extensions.size : 0;
    memcpy(delivery->hop_text, conn->text, sizeof delivery->hop_text);
    snprintf(delivery->tls_text, sizeof delivery->tls_text, "%s", net_tls_text(conn->net));
}

/* The next one in the transaction has its answer: its owner is told, or was, when the envelope is repeated. */
static void settle_recipient(struct delivery *delivery, const struct smtp_reply *reply)
{
    while (delivery->answered < delivery->told && delivery->recipients[delivery->answered].state == RECIPIENT_REJECTED)
        delivery->answered++;
    bool repeated = delivery->answered < delivery->told;
    delivery->answered++;
    if (!repeated) {
        struct smtp_reply own = reply_for_client(reply);
        delivery_tell(delivery, &own);
    } else if (reply->code >= 300) {
        delivery->spoiled = true;
    }
}

/* Sends of the envelope what may be sent now; DATA when all is answered and the owner wants the message sent. */
static void delivery_talk(struct delivery *delivery)
{
    struct hopconn *conn = delivery->conn;
    struct smtp_reply why;
    if (!delivery->mail_sent && !host_can_take_it(delivery, &why)) {
        if (delivery->sending && delivery->told == delivery->count)
            delivery_finish(delivery, &why, false); /* about the message, as behind DATA: a 4xx would come again for ever */
        else
            delivery_fail(delivery, &why);
        return;
    }
    bool held = delivery->held_since != 0;
    bool waiting = conn->dialog.state == HOP_DATA || conn->dialog.state == HOP_BODY || conn->dialog.state == HOP_FINAL;
    while (!waiting && hop_dialog_may_send(&conn->dialog)) {
        if (!delivery->mail_sent) {
            hop_dialog_mail(&conn->dialog, &(struct hop_mail){ delivery->sender, delivery->size, delivery->eightbit,
                                                               delivery->smtputf8, delivery->ret, delivery->envid });
            delivery->mail_sent = true;
        } else if (next_unsent(delivery) && !conn->dialog.extensions.smtputf8 && !idn_is_ascii(delivery->recipients[delivery->sent].address)) {
            if (conn->dialog.rcpt_unanswered > 0)
                break; /* answers come in their order */
            delivery->sent++;
            reply_set(&why, 550, "5.6.7", "%s does not take internationalized addresses", delivery->hop_text);
            settle_recipient(delivery, &why);
            if (delivery->freed || delivery->state != DELIVERY_OPEN)
                return;
            continue;
        } else if (next_unsent(delivery)) {
            const struct recipient *next = &delivery->recipients[delivery->sent++];
            hop_dialog_rcpt(&conn->dialog, &(struct hop_rcpt){ next->address, next->notify, next->orcpt });
        } else {
            break;
        }
        event_del(&delivery->timer);
        delivery->held_since = 0;
        hopconn_flush(conn);
    }
    bool settled = conn->dialog.state == HOP_RCPT && conn->dialog.rcpt_unanswered == 0 && !next_unsent(delivery);
    if (!settled) {
        if (held)
            pool_press(delivery->hop); /* others may have to be given back in its place */
        return;
    }
    delivery->held_since = 0;
    if (!delivery->sending) {
        delivery->held_since = clock_ms();
        set_timer(delivery, delivery->pool->settings->next_hop_hold);
        pool_press(delivery->hop);
    } else if (delivery->spoiled || delivery->accepted == 0) {
        delivery_finish_with(delivery, 451, "4.4.2", "the next hop changed its answers, try again later");
    } else if (!host_can_take_it(delivery, &why)) {
        delivery_finish(delivery, &why, false);
    } else if (is_too_late(delivery)) {
        delivery_finish_with(delivery, 451, "4.3.0", "the time to deliver is over");
    } else {
        event_del(&delivery->timer);
        hop_dialog_data(&conn->dialog);
        hopconn_flush(conn);
        if (held)
            pool_press(delivery->hop);
    }
}

static void delivery_pump(struct delivery *delivery)
{
    if (delivery->freed || !has_work(delivery))
        return;
    if (delivery->state == DELIVERY_PARKED && delivery->spoiled) {
        struct smtp_reply reply;
        reply_set(&reply, 451, "4.4.2", "the next hop changed its answers, try again later");
        delivery_fail(delivery, &reply);
        return;
    }
    if (delivery->state == DELIVERY_PARKED) {
        const struct smtp_reply *down = pool_down(delivery->hop);
        if (down != NULL) {
            metric_add(delivery->pool->metrics.found_down, 1);
            delivery_fail(delivery, down);
            return;
        }
        struct hopconn *conn = pool_acquire(delivery->hop, delivery, delivery->need_fresh);
        if (conn != NULL)
            delivery_attach(delivery, conn);
        else if (delivery->state == DELIVERY_WAITING)
            set_timer(delivery, delivery->pool->settings->next_hop_wait);
    }
    if (delivery->state == DELIVERY_OPEN) {
        delivery_talk(delivery);
    } else if (delivery->state == DELIVERY_FAILED) {
        while (delivery->told < delivery->count && !delivery->freed)
            delivery_tell(delivery, delivery->failure);
        if (delivery->sending && !delivery->freed) {
            if (delivery->failure->code < 500)
                delivery_finish(delivery, delivery->failure, false);
            else
                delivery_finish_with(delivery, 451, "4.4.2", delivery->failure->text);
        }
    }
}

void delivery_on_ready(struct delivery *delivery, struct hopconn *conn)
{
    delivery_attach(delivery, conn);
    delivery_kick(delivery);
}

void delivery_on_unreachable(struct delivery *delivery, const struct smtp_reply *reply)
{
    delivery_enter(delivery);
    delivery->conn = NULL;
    delivery->state = DELIVERY_PARKED;
    delivery_count(delivery, ATTEMPT_UNREACHABLE);
    delivery_fail(delivery, reply);
    delivery_leave(delivery);
}

void delivery_on_sender(struct delivery *delivery, const struct smtp_reply *reply)
{
    delivery_enter(delivery);
    if (reply->code < 300)
        delivery_talk(delivery);
    else
        delivery_fail(delivery, reply);
    delivery_leave(delivery);
}

void delivery_on_recipient(struct delivery *delivery, const struct smtp_reply *reply)
{
    delivery_enter(delivery);
    settle_recipient(delivery, reply);
    if (!delivery->freed && delivery->state == DELIVERY_OPEN)
        delivery_talk(delivery);
    delivery_leave(delivery);
}

/* ---- the message ---- */

static char raw[CHUNK], stuffed[2 * CHUNK]; /* in use only inside delivery_feed() */

static void feed(struct delivery *delivery, const char *data, size_t len)
{
    while (len > 0) {
        size_t piece = len < CHUNK ? len : CHUNK;
        net_write(delivery->conn->net, stuffed, smtp_dot_stuff(stuffed, data, piece, &delivery->at_line_start));
        data += piece;
        len -= piece;
    }
}

/* Puts on the wire what fits; the rest follows when that has moved. */
static void delivery_feed(struct delivery *delivery)
{
    struct hopconn *conn = delivery->conn;
    if (!delivery->prefix_sent) {
        delivery->prefix_sent = true;
        feed(delivery, delivery->prefix, delivery->prefix_len);
    }
    while (net_unsent(conn->net) < UNSENT_HIGH) {
        size_t len;
        const char *data = message_peek(delivery->message, delivery->offset, CHUNK, &len);
        if (data == NULL) {
            struct error why;
            ssize_t got = message_read(delivery->message, delivery->offset, raw, CHUNK, &why);
            if (got < 0) { /* the dot must never follow: finishing leaves BODY, and that closes the connection */
                delivery_finish_with(delivery, 451, "4.3.0", why.text);
                return;
            }
            data = raw;
            len = (size_t)got;
        }
        if (len == 0) {
            /* What is written leaves when the peer reads; so with a deadline the dot waits until all else has left, and is looked at then. */
            if (delivery->deadline_ms != 0 && net_unsent(conn->net) > 0)
                return;
            if (is_too_late(delivery)) {
                delivery_finish_with(delivery, 451, "4.3.0", "the time to deliver is over");
                return;
            }
            const char *end = delivery->at_line_start ? ".\r\n" : "\r\n.\r\n";
            net_write(conn->net, end, strlen(end));
            hop_dialog_body_sent(&conn->dialog);
            delivery->dot_sent = true;
            hopconn_flush(conn);
            return;
        }
        feed(delivery, data, len);
        delivery->offset += len;
    }
}

void delivery_on_go_ahead(struct delivery *delivery)
{
    delivery_enter(delivery);
    delivery->offset = delivery->skip;
    delivery->prefix_sent = false;
    delivery->at_line_start = true;
    delivery_feed(delivery);
    delivery_leave(delivery);
}

void delivery_on_drained(struct delivery *delivery)
{
    delivery_enter(delivery);
    delivery_feed(delivery);
    delivery_leave(delivery);
}

void delivery_on_answer(struct delivery *delivery, const struct smtp_reply *reply)
{
    delivery_enter(delivery);
    delivery_finish(delivery, reply, false);
    delivery_leave(delivery);
}

/* ---- when the connection does not last ---- */

void delivery_on_lost(struct delivery *delivery, const struct smtp_reply *reply, bool used_before, bool unsent)
{
    delivery_enter(delivery);
    bool dot_out = delivery->dot_sent && !unsent;
    delivery->dot_sent = dot_out; /* what was not out is sent anew, or taken back */
    event_del(&delivery->timer);
    delivery->held_since = 0;
    delivery->conn = NULL;
    delivery->state = DELIVERY_PARKED;
    if (dot_out) {
        delivery_finish(delivery, reply, true);
    } else if (has_work(delivery)) {
        /* A connection that was dead all the time costs nothing; one that dies under us is replaced once. "Go away" is not asked again. */
        bool again = used_before || (reply->code == 0 && delivery->replays < REPLAYS_MAX);
        if (again) {
            delivery->replays += !used_before;
            delivery->need_fresh = true;
            metric_add(delivery->pool->metrics.replayed, 1);
            delivery_pump(delivery);
        } else {
            delivery_fail(delivery, reply);
        }
    }
    delivery_leave(delivery);
}

void delivery_give_back(struct delivery *delivery)
{
    metric_add(delivery->pool->metrics.given_back, 1);
    delivery_detach(delivery);
}

void delivery_press(struct delivery *delivery, uint64_t ms)
{
    set_timer(delivery, ms);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct delivery *delivery = arg;
    delivery_enter(delivery);
    delivery_pump(delivery);
    delivery_leave(delivery);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct delivery *delivery = arg;
    struct smtp_reply reply;
    delivery_enter(delivery);
    if (delivery->state == DELIVERY_WAITING) {
        metric_add(delivery->pool->metrics.waited_too_long, 1);
        reply_set(&reply, 451, "4.4.5", "all connections to %s are in use, try again later", delivery->hop->name.host);
        delivery_fail(delivery, &reply);
    } else if (delivery->state == DELIVERY_OPEN && !delivery->sending) {
        uint64_t held = clock_ms() - delivery->held_since, hold = delivery->pool->settings->next_hop_hold;
        if (held >= hold) {
            delivery_give_back(delivery);
        } else { /* pressed: it is still held after that only when nobody needs it any more */
            set_timer(delivery, hold - held);
            pool_press(delivery->hop);
        }
    }
    delivery_leave(delivery);
}

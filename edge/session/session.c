/*
 * session.c - one connection: bytes become commands and message bytes, words become replies, and time passes
 *
 * Commands are obeyed in order. Only the answers of RCPT come later, from the next hop; until they are all given every other command is left
 * in the connection (COMMAND_HOLD) and offered again, so replies cannot get out of order. Input is taken only while session_wants_input();
 * the rest stays in the kernel and slows the client down.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/dns/client_name.h"
#include "edge/session/internal.h"
#include "edge/smtp/leniency.h"

#define UNREAD_REPLIES_MAX (64u * 1024) /* a client that pipelines but does not read is not obeyed any further */
#define COMMANDS_AT_ONCE (16u * 1024)
#define UNANSWERED_MAX 256u /* recipients under way to the next hop at once */

/* ---- state ---- */

void session_enter(struct session *session, enum session_state state)
{
    session->state = state;
    session->entered_ms = clock_ms();
    if (session->conn != NULL) /* bytes of a message are used at once, commands may have to wait */
        net_offer_most(session->conn, state & (ST_DATA | ST_CHUNK | ST_SKIP) ? SIZE_MAX
                                      : session->limits->max_command_line > COMMANDS_AT_ONCE ? session->limits->max_command_line
                                                                                             : COMMANDS_AT_ONCE);
    server_schedule(session, session->entered_ms + WHEEL_SLOT_MS); /* deadlines differ from state to state */
}

bool session_between_messages(const struct session *session)
{
    return (session->state & (ST_GREETED | ST_READY)) != 0;
}

static bool session_wants_input(const struct session *session)
{
    return !session->choked && !session->pressed && !session->leaving &&
           (session->tx == NULL || transaction_unanswered(session->tx) < UNANSWERED_MAX) &&
           (session->state & (ST_CONNECTED | ST_VERDICT | ST_SECURING | ST_CHECK | ST_LIMIT | ST_CLOSED)) == 0;
}

const char *session_tls(const struct session *session)
{
    return session->conn != NULL ? net_tls_text(session->conn) : "";
}

bool session_offers_starttls(const struct session *session)
{
    return session->limits->starttls && session->config->server_tls != NULL && !net_is_tls(session->conn);
}

bool session_is_lenient(const struct session *session)
{
    return session->limits->profile == PROFILE_HANDOFF;
}

void session_take_helo(struct session *session, const char *helo)
{
    char literal[NETADDR_TEXT_MAX + 8]; /* RFC 5321 4.1.3: what a host without a name should have said */
    snprintf(literal, sizeof literal, "[%s%s]", session->client.family == AF_INET6 ? "IPv6:" : "", session->client_text);
    free(session->helo);
    session->helo = xstrdup(session->told_helo != NULL ? session->told_helo : *helo != '\0' ? helo : literal);
}

/* ---- replies ---- */

static const int counted_codes[] = { 211, 214, 220, 221, 250, 251, 252, 354, 421, 450, 451, 452, 454, 455, 500, 501, 502, 503,
                                     504, 521, 530, 535, 538, 550, 551, 552, 553, 554, 555, 556 };
#define COUNTED_CODES (sizeof counted_codes / sizeof *counted_codes)

static void count_reply(struct session *session, unsigned stage, int code)
{
    static const char *const names[] = { [STAGE_CONNECT] = "CONNECT", [STAGE_MESSAGE] = "MESSAGE", [STAGE_SESSION] = "SESSION" };
    struct port *port = session->port;
    size_t at = 0;
    while (at < COUNTED_CODES && counted_codes[at] != code)
        at++;
    bool known = at < COUNTED_CODES;
    if (!known)
        at += (size_t)(code / 100); /* a next hop may say any number: those share a series by their class */
    struct metric **series = &port->replies[stage][at];
    if (*series == NULL) {
        const char *name = stage < SMTP_VERB_COUNT ? smtp_verb_name((enum smtp_verb)stage) : names[stage];
        char label[8];
        snprintf(label, sizeof label, known ? "%d" : "%dxx", known ? code : code / 100);
        *series = metrics_counter(session->server->metrics, "weir_smtp_replies_total",
                                  "listener=\"%s\",stage=\"%s\",code=\"%s\"", port->name, name, label);
    }
    metric_add(*series, 1);
}

/* Who is refused for good, by us or by a next hop, is told whom to ask; not who broke the protocol (500 to 504), or has yet to log in. To a recipient
 * or a message next hops and routes (error:) may say any code. */
static void add_contact(const struct session *session, unsigned stage, int code, char *text, size_t cap)
{
    bool refused = code >= (stage == SMTP_VERB_RCPT || stage == STAGE_MESSAGE ? 505 : 550);
    const char *contact = session->config->cluster.contact;
    size_t len = strlen(text);
    if (refused && contact != NULL && *contact != '\0')
        snprintf(text + len, cap - len, " %s", contact);
}

void session_reply(struct session *session, unsigned stage, int code, const char *enhanced, const char *format, ...)
{
    char text[2 * SMTP_REPLY_TEXT_MAX], wire[4 * SMTP_REPLY_TEXT_MAX];
    va_list args;
    if (session->conn == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, SMTP_REPLY_TEXT_MAX, format, args);
    va_end(args);
    add_contact(session, stage, code, text, sizeof text);
    size_t len = smtp_reply_format(wire, sizeof wire, code, enhanced, text);
    net_write(session->conn, wire, len);
    count_reply(session, stage, code);
    if (code < 400 && code != 354) {
        if (stage == STAGE_MESSAGE) /* the 250 belongs to the DATA or BDAT that began it */
            stage = session->chunked ? SMTP_VERB_BDAT : SMTP_VERB_DATA;
        if (stage < SMTP_VERB_COUNT)
            session->obeyed[stage]++;
    }
    if (net_unsent(session->conn) > UNREAD_REPLIES_MAX)
        session->choked = true;
}

void session_reply_in_order(struct session *session, unsigned stage, int code, const char *enhanced, const char *text)
{
    if (session->tx != NULL && transaction_unanswered(session->tx) > 0)
        transaction_answer(session->tx, stage, code, enhanced, text);
    else
        session_reply(session, stage, code, enhanced, "%s", text);
}

void session_close(struct session *session)
{
    if (session->state == ST_CLOSED)
        return;
    session_enter(session, ST_CLOSED);
    if (session->conn != NULL)
        net_close_after_flush(&session->conn);
}

void session_dismiss(struct session *session, enum farewell farewell, const char *enhanced, const char *words)
{
    session->farewell = farewell;
    session_reply(session, STAGE_SESSION, 421, enhanced, "%s %s", session->config->hostname, words);
    session_close(session);
}

/* ---- the beginning ---- */

static void session_greet(struct session *session)
{
    bool again = session->greeted; /* the answer to XCLIENT */
    session->greeted = true;
    session_enter(session, ST_GREETED);
    session_reply(session, again ? SMTP_VERB_XCLIENT : STAGE_CONNECT, 220, NULL, "%s ESMTP Weir", session->config->hostname);
}

const char *session_client_name(const struct session *session)
{
    return session->client_name != NULL ? session->client_name : "unknown";
}

void session_stop_lookup(struct session *session)
{
    client_name_cancel(&session->name_query);
    if (!session->connect_told)
        report_connect(session);
    session->connect_told = true;
}

static uint64_t session_banner_due(const struct session *session)
{
    return session->arrived_ms + (session->greeted ? 0 : session->limits->banner_delay);
}

/* Whoever comes too often is not kept waiting, and we with it, for what nobody needs any more. */
static void session_refuse_overrun(struct session *session)
{
    session_stop_lookup(session);
    dnsbl_cancel(&session->dnsbl_query);
    report_reject(session, NULL, "CONNECT", 421, "4.7.0", session->overrun, NULL, NULL);
    server_refuse(session, "4.7.0", session->overrun);
}

/* Greets the client when nothing keeps the banner any longer; else says when to look again. */
static uint64_t session_greet_in_time(struct session *session, uint64_t now)
{
    uint64_t banner = session_banner_due(session);
    uint64_t name = session->arrived_ms + session->config->edge.ptr_wait;
    uint64_t lists = session->arrived_ms + session->config->edge.dnsbl_timeout; /* by then the query has ended by itself */
    if (session->overrun != NULL) {
        session_refuse_overrun(session);
        return now;
    }
    if (session->name_query == NULL || now >= name)
        session_stop_lookup(session);
    if (now >= banner && session->name_query == NULL && session->dnsbl_query == NULL && session->limit_query == NULL) {
        session_greet(session);
        return now;
    }
    uint64_t due = now < banner ? banner : session->dnsbl_query != NULL && now < lists ? lists : now + 100;
    return session->name_query != NULL && name < due ? name : due;
}

/* A lookup is over: the banner may have waited for it. */
static void session_looked_up(struct session *session)
{
    if (session->state == ST_CONNECTED) {
        uint64_t due = session_greet_in_time(session, clock_ms());
        if (session->state == ST_CONNECTED)
            server_schedule(session, due);
    }
    session_settle(session);
}

static void on_dnsbl(void *arg, const struct dnsbl_verdict *verdict)
{
    struct session *session = arg;
    session->dnsbl_query = NULL;
    int threshold = (int)session->config->edge.dnsbl_threshold;
    session->listed_refused = verdict->score >= threshold && session->config->edge.dnsbl_action == DNSBL_REJECT;
    if (verdict->score > 0) {
        session->listed = xstrdup(verdict->zones);
        session->listed_surely = verdict->score + verdict->missing >= threshold;
        log_write(LOG_INFO, "dnsbl: [%s] is listed by %s, score %d", session->client_text, verdict->zones, verdict->score);
    }
    session_looked_up(session);
}

/* Own clients may well have addresses that lists do not like; whoever logs in is asked for a password on the other listeners. */
static void session_look_up_lists(struct session *session)
{
    struct server *server = session->server;
    const struct edge_settings *edge = &session->config->edge;
    if (edge->dnsbl.count > 0 && session->limits->profile == PROFILE_RELAY && server->policy != NULL && !policy_is_inside(server->policy, &session->client))
        session->dnsbl_query =
            dnsbl_lookup(session->config->dnsbl, server->dns, server->metrics, &session->client, edge->dnsbl_timeout, on_dnsbl, session);
}

static void on_client_name(void *arg, const char *name)
{
    struct session *session = arg;
    session->name_query = NULL;
    session->client_name = name != NULL ? xstrdup(name) : NULL;
    session_stop_lookup(session);
    session_looked_up(session);
}

static void note_overrun(struct session *session, const struct limit_verdict *verdict)
{
    char text[SMTP_REPLY_TEXT_MAX];
    if (verdict->refused)
        session->overrun = xstrdup(limits_text(text, verdict));
}

void session_limited_at_connect(struct session *session, const struct limit_verdict *verdict)
{
    note_overrun(session, verdict);
    session_looked_up(session);
}

static void session_welcome(struct session *session)
{
    struct limit_verdict verdict;
    bool looks_up = session->server->dns != NULL && !session->unnamed;
    limits_cancel(session);
    if (!limits_at_connect(session, &verdict))
        note_overrun(session, &verdict);
    looks_up = looks_up && session->overrun == NULL;
    if (looks_up && session->config->edge.ptr_wait > 0 && session->client_name == NULL && !session->name_told)
        session->name_query = client_name_lookup(session->server->dns, &session->client, on_client_name, session);
    dnsbl_cancel(&session->dnsbl_query);
    free(session->listed); /* of whom the session was before XCLIENT */
    session->listed = NULL;
    if (looks_up)
        session_look_up_lists(session);
    session_enter(session, ST_CONNECTED);
    uint64_t due = session_greet_in_time(session, clock_ms());
    if (session->state == ST_CONNECTED)
        server_schedule(session, due);
}

/* Only banner_delay is a test that a client fails by talking: for its name we wait on our own account. */
static bool session_talks_early(const struct session *session)
{
    return session->state == ST_CONNECTED && clock_ms() < session_banner_due(session);
}

void session_look_at_trust(struct session *session)
{
    const struct edge_listener *listener = edge_config_listener(session->config, session->port->name);
    session->trusted = !session->unnamed && edge_peers_contain(&listener->speakers, &session->client);
}

void session_begin(struct session *session)
{
    session_look_at_trust(session);
    session->arrived_ms = clock_ms();
    if (!session->limits->implicit_tls) {
        session_welcome(session);
        return;
    }
    session_enter(session, ST_SECURING);
    if (session->config->server_tls == NULL || !net_start_tls(session->conn, session->config->server_tls, true, NULL))
        session_close(session);
    session_settle(session);
}

static void session_forget_hello(struct session *session)
{
    free(session->helo);
    session->helo = NULL;
    session->esmtp = false;
}

void session_greet_again(struct session *session)
{
    session_forget_hello(session);
    free(session->listed);
    session->listed = NULL;
    session->arrived_ms = clock_ms();
    session_welcome(session);
}

/* RFC 5321 4.3.1: the client waits for the banner. One that does not is no mail server. */
static void session_is_early(struct session *session)
{
    session_stop_lookup(session);
    session_reply(session, STAGE_CONNECT, 554, "5.5.1", "%s Talked before the banner", session->config->hostname);
    report_reject(session, NULL, "CONNECT", 554, "5.5.1", "Talked before the banner", NULL, NULL);
    reputation_note_abuse(session, 554, "5.5.1", "Talked before the banner");
    session_close(session);
}

/* ---- bytes ---- */

static void session_bad_line(struct session *session, enum smtp_bad bad)
{
    static const char *const words[] = {
        [SMTP_BAD_NONE] = "Syntax error",
        [SMTP_BAD_TOO_LONG] = "Line too long",
        [SMTP_BAD_BARE_LF] = "Lines must end in CRLF",
        [SMTP_BAD_BARE_CR] = "Bare CR in command",
        [SMTP_BAD_NUL] = "NUL in command",
    };
    /* While recipients are asked the reply has to wait for theirs, and so has the end. */
    if ((session->tx == NULL || transaction_unanswered(session->tx) == 0) && session_end_excess(session))
        return;
    session->commands++;
    if (session->state == ST_AUTH && bad != SMTP_BAD_BARE_LF) {
        auth_bad_line(session);
        return;
    }
    session->errors++;
    if (bad != SMTP_BAD_BARE_LF) {
        session_reply_in_order(session, SMTP_VERB_UNKNOWN, 500, "5.5.2", words[bad]);
        return;
    }
    /* One that ends its lines in LF never sends the CRLF we wait for: told and left, or both would wait for each other. */
    session->leaving = true;
    report_reject(session, NULL, "COMMAND", 521, "5.5.2", words[bad], NULL, NULL);
    session_reply_in_order(session, SMTP_VERB_UNKNOWN, 521, "5.5.2", words[bad]);
    if (session->tx == NULL || transaction_unanswered(session->tx) == 0)
        session_close(session);
}

/* The final dot, or the last byte of a chunk: RFC 3030 wants one reply for each chunk. */
static void session_on_end(struct session *session)
{
    if (session->state == ST_SKIP) {
        session->errors++;
        session_enter(session, session->after_skip);
        session_reply(session, SMTP_VERB_BDAT, session->tx == NULL ? 503 : 554, "5.5.1",
                      session->tx == NULL ? "Bad sequence of commands" : "No valid recipients");
    } else if (session->state == ST_DATA || session->last_chunk) {
        transaction_complete(session->tx);
    } else if (transaction_chunk(session->tx)) {
        session_enter(session, ST_BDAT);
        session_reply(session, SMTP_VERB_BDAT, 250, "2.0.0", "Ok: %llu octets received",
                      (unsigned long long)transaction_size(session->tx));
    }
}

/* false: the token is to be offered again later. */
static bool session_take_token(struct session *session, const struct smtp_token *token, size_t more)
{
    switch (token->event) {
    case SMTP_COMMAND:
        return session_command(session, token->bytes, token->len, more) == COMMAND_DONE;
    case SMTP_BAD_LINE:
        session_bad_line(session, token->bad);
        break;
    case SMTP_BODY:
        if (session->state == ST_SKIP)
            session->skipped += token->len;
        else
            transaction_body(session->tx, token->bytes, token->len);
        break;
    case SMTP_END_OF_DATA:
        session_on_end(session);
        break;
    case SMTP_NEED_MORE:
        break;
    }
    return true;
}

static bool session_on_token(struct session *session, const struct smtp_token *token, size_t more)
{
    bool greeted = session->state == ST_GREETED;
    unsigned errors = session->errors;
    bool taken = session_take_token(session, token, more);
    session->nonsense |= greeted && session->errors > errors;
    return taken;
}

static size_t on_bytes(void *arg, const char *buf, size_t len)
{
    struct session *session = arg;
    session->input_ms = clock_ms();
    size_t used = session->state == ST_PROXY ? balancer_bytes(session, buf, len) : 0;
    bool whole = session->state == ST_PROXY; /* everything that is a token was used */

    if (used < len && session_talks_early(session)) {
        if (session_forgives_haste(session))
            session_forgive(session, SMTP_LENIENCY_NO_WAIT); /* read when the banner is out */
        else
            session_is_early(session);
    }
    while (!whole && session_wants_input(session)) {
        struct smtp_token token;
        size_t n = smtp_parser_next(&session->parser, buf + used, len - used, &token);
        whole = token.event == SMTP_NEED_MORE;
        if (!session_on_token(session, &token, len - used - n)) {
            used = (size_t)(token.bytes - buf); /* the rest of a bad line before it was skipped: offered again it would be commands */
            break;
        }
        used += n;
    }
    session_forgive(session, session->parser.forgiven);
    if (session->state == ST_CLOSED)
        used = len;
    else if (!whole && used < len && session->conn != NULL && session->state != ST_SECURING) {
        session->held = true;
        net_pause(session->conn);
    }
    session_settle(session);
    return used;
}

/* What was received is finished and answered, then there is nothing to wait for. */
static void leave_ended(struct session *session)
{
    if (session->tx != NULL)
        log_write(LOG_INFO, "lost connection from %s[%s] inside a transaction: it sends no more", session_client_name(session), session->client_text);
    session->farewell = FAREWELL_CLIENT_GONE;
    session_close(session);
}

void session_resume(struct session *session)
{
    if (!session->held || !session_wants_input(session) || session->conn == NULL)
        return;
    session->held = false;
    net_resume(session->conn);
}

void session_settle(struct session *session)
{
    if (session->ended && !session->held && session_wants_input(session) &&
        (session->tx == NULL || transaction_unanswered(session->tx) == 0))
        leave_ended(session);
    if (session->state == ST_CLOSED) {
        server_bury(session);
        return;
    }
    bool wanted = session_wants_input(session) && (session->tx == NULL || transaction_unanswered(session->tx) == 0);
    if (session->held && wanted && session->conn != NULL) {
        session->held = false;
        net_resume(session->conn);
    }
}

/* ---- the other events of the connection ---- */

static void count_handshake(struct session *session, const char *tls, const char *result)
{
    metric_add(metrics_counter(session->server->metrics, "weir_tls_handshakes_total", "version=\"%.*s\",result=\"%s\"",
                               (int)strcspn(tls, " "), tls, result),
               1);
}

static void on_secured(void *arg)
{
    struct session *session = arg;
    count_handshake(session, session_tls(session), "ok");
    session_forget_hello(session); /* RFC 3207 4.2: what was said in clear is forgotten */
    auth_free(&session->auth);
    session->input_ms = clock_ms();
    if (session->greeted)
        session_enter(session, ST_GREETED);
    else
        session_welcome(session);
    session_settle(session);
}

static void on_drained(void *arg)
{
    struct session *session = arg;
    session->choked = false;
    session_settle(session);
}

/* A client may shut its side down behind its last command or the final dot, and read the replies. */
static void on_ended(void *arg)
{
    struct session *session = arg;
    session->ended = true;
    session_settle(session);
}

static void on_gone(void *arg, enum net_end end, const char *why)
{
    struct session *session = arg;
    static const char *const words[] = {
        [NET_CLOSED] = "lost connection",
        [NET_RESET] = "connection reset",
        [NET_TIMEOUT] = "timeout",
        [NET_TLS_FAILED] = "TLS failed",
        [NET_CONNECT_FAILED] = "lost connection",
        [NET_NO_SOURCE] = "lost connection",
    };
    net_free(&session->conn);
    if (session->state == ST_SECURING && !session->unnamed)
        count_handshake(session, "", "failed");
    if (session->state != ST_CLOSED) {
        if (session->tx != NULL)
            log_write(LOG_INFO, "%s from %s[%s] inside a transaction: %s", words[end], session_client_name(session), session->client_text, why);
        else if (end == NET_TLS_FAILED && !session->unnamed)
            log_write(LOG_INFO, "%s from %s[%s]: %s", words[end], session_client_name(session), session->client_text, why);
        if (session->tx == NULL || !transaction_outlives_client(session->tx))
            session_enter(session, ST_CLOSED);
    }
    session_settle(session);
}

const struct net_handlers session_net_handlers = {
    .secured = on_secured,
    .bytes = on_bytes,
    .drained = on_drained,
    .ended = on_ended,
    .gone = on_gone,
};

/* ---- time ---- */

static void time_is_up(struct session *session, const char *words)
{
    server_count_limit(session->server, LIMIT_TIME);
    log_write(LOG_INFO, "timeout after %s from %s[%s]: %s",
              session->state & (ST_DATA | ST_CHUNK | ST_BDAT) ? "DATA" : "command", session_client_name(session), session->client_text, words);
    session_dismiss(session, FAREWELL_TIMEOUT, "4.4.2", words);
}

/* min_data_rate for a chunk that is only read to its end, from its beginning. */
static bool skip_is_slow(const struct session *session, uint64_t now, uint64_t *look)
{
    const struct listener_settings *limits = session->limits;
    uint64_t elapsed = now - session->entered_ms;
    *look = now + limits->data_rate_grace;
    if (elapsed < limits->data_rate_grace)
        *look = session->entered_ms + limits->data_rate_grace;
    return limits->min_data_rate > 0 && elapsed >= limits->data_rate_grace && elapsed > 0 &&
           session->skipped * 1000 / elapsed < limits->min_data_rate;
}

/* session_timeout leaves out a message that is coming, for which min_data_rate is enough, unless it is only read to its end. */
static bool session_may_be_too_old(const struct session *session)
{
    return (session->state & (ST_DATA | ST_CHUNK | ST_BDAT)) == 0 || transaction_is_refused(session->tx);
}

/* The deadlines of a session that waits for its client. Returns when to look again; the session may be closed by then. */
static uint64_t session_waits_for_client(struct session *session, uint64_t now)
{
    const struct listener_settings *limits = session->limits;
    uint64_t next = session->input_ms + limits->idle_timeout;
    if (now >= next) {
        time_is_up(session, "Timeout, closing connection");
        return next;
    }
    if (session_may_be_too_old(session)) {
        uint64_t end = session->began_ms + limits->session_timeout;
        if (now >= end) {
            time_is_up(session, "Session has lasted too long");
            return next;
        }
        next = end < next ? end : next;
    }
    if (session->state & (ST_DATA | ST_CHUNK | ST_BDAT | ST_SKIP)) {
        uint64_t look;
        if (session->state == ST_SKIP ? skip_is_slow(session, now, &look) : transaction_is_slow(session->tx, now, &look)) {
            server_count_limit(session->server, LIMIT_RATE);
            log_write(LOG_INFO, "too slow: message from %s[%s]", session_client_name(session), session->client_text);
            session_dismiss(session, FAREWELL_TOO_SLOW, "4.4.2", "Message comes too slowly");
            return next;
        }
        next = look < next ? look : next;
    }
    if (session->server->draining) {
        uint64_t look;
        if (server_drain_is_over(session, now, &look)) {
            session_dismiss(session, FAREWELL_DRAIN, "4.3.2", "Service is being drained, try another host");
            return next;
        }
        next = look < next ? look : next;
    }
    return next;
}

void session_on_time(struct session *session, uint64_t now)
{
    uint64_t next = now + WHEEL_SLOT_MS * WHEEL_SLOTS; /* at the latest once a turn */
    uint64_t due = next;
    switch (session->state) {
    case ST_CONNECTED:
        due = session_greet_in_time(session, now);
        break;
    case ST_PROXY:
        due = balancer_on_time(session, now);
        break;
    case ST_SECURING:
        due = session->entered_ms + session->limits->tls_timeout;
        if (now >= due) {
            count_handshake(session, "", "timeout");
            session_close(session);
        }
        break;
    case ST_VERDICT: /* scan, delivery and question have deadlines of their own */
    case ST_CHECK:
    case ST_LIMIT:
    case ST_CLOSED:
        break;
    default:
        if (session->pressed || (session->tx != NULL && transaction_unanswered(session->tx) > 0))
            session->input_ms = now; /* it is we who keep the client waiting */
        due = session_waits_for_client(session, now);
    }
    if (due <= now)
        due = now + WHEEL_SLOT_MS;
    server_schedule(session, due < next ? due : next);
    session_settle(session);
}

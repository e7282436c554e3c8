/*
 * sink_session.c - the sink's side of one SMTP conversation
 *
 * Lenient where a test may want to see what comes: violations of the message are written down, not refused. With
 * --moods the recipient's local part can ask for misbehaviour (see `habits`). While an answer is delayed the connection
 * is paused and what the client pipelined waits.
 */
#include "deploy/tools/sink.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/memory.h"
#include "edge/smtp/command.h"
#include "edge/smtp/parser.h"
#include "edge/smtp/reply.h"

#define COMMAND_LINE_MAX 4096
#define RECIPIENTS_MAX   10000
#define SLOW_MS          2000

enum habit {
    HABIT_LATE = 1,       /* 550 after the message */
    HABIT_LATE_DEFER = 2, /* 451 after the message */
    HABIT_DROP = 4,       /* no answer after the message: the connection ends */
    HABIT_SLOW = 8,       /* the answer comes SLOW_MS later */
};

/* By the start of a recipient's local part; code 0: the recipient is taken and the habit kept for later. */
static const struct {
    const char *prefix;
    int code;
    const char *enhanced, *text;
    unsigned habit;
} habits[] = {
    { "unknown-", 550, "5.1.1", "User unknown", 0 },
    { "full-", 452, "4.2.2", "Mailbox full", 0 },
    { "four21-", 421, "4.3.2", "Service not available", 0 },
    { "late-", 0, NULL, NULL, HABIT_LATE },
    { "latedefer-", 0, NULL, NULL, HABIT_LATE_DEFER },
    { "drop-", 0, NULL, NULL, HABIT_DROP },
    { "slow-", 0, NULL, NULL, HABIT_SLOW },
};

struct sink_session {
    struct sink *sink;
    struct sink_session *next, **link; /* in the sink's list; link is what points to this one */
    struct net_conn *conn;
    struct event *timer; /* the delayed greeting or answer; NULL until needed */
    struct smtp_parser parser;
    struct sink_message message;
    char client[NETADDR_TEXT_MAX];
    char *helo, *sender, *mail_params; /* NULL: not said yet */
    char **recipients, **rcpt_params;
    size_t recipient_count;
    unsigned habits;
    int answer; /* code of the delayed answer, 0: the greeting */
    bool esmtp, utf8, waiting, receiving, bdat, bdat_last, closed;
};

static void reply(struct sink_session *s, int code, const char *enhanced, const char *text)
{
    char line[1024];
    net_write(s->conn, line, smtp_reply_format(line, sizeof line, code, enhanced, text));
}

static void transaction_reset(struct sink_session *s)
{
    sink_message_drop(&s->message, s->sink->options.dir);
    free(s->sender);
    free(s->mail_params);
    s->sender = s->mail_params = NULL;
    for (size_t i = 0; i < s->recipient_count; i++) {
        free(s->recipients[i]);
        free(s->rcpt_params[i]);
    }
    free(s->recipients);
    free(s->rcpt_params);
    s->recipients = s->rcpt_params = NULL;
    s->recipient_count = 0;
    s->habits = 0;
    s->receiving = s->bdat = s->utf8 = false;
}

static void session_free(struct sink_session *s)
{
    transaction_reset(s);
    net_free(&s->conn);
    if (s->timer != NULL)
        event_free(s->timer);
    free(s->helo);
    s->sink->counts.sessions_open--;
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    free(s);
}

/* Ends it after what was written; the session itself is freed where its callback ends. */
static void session_close(struct sink_session *s)
{
    s->closed = true;
    transaction_reset(s); /* first: who sees the connection end finds no half message */
    net_close_after_flush(&s->conn);
}

static void greet(struct sink_session *s)
{
    reply(s, 220, NULL, "weir-sink ESMTP");
}

static void on_timer(evutil_socket_t fd, short what, void *arg);

static void wait_for(struct sink_session *s, uint64_t ms)
{
    if (s->timer == NULL)
        s->timer = event_new(s->sink->base, -1, 0, on_timer, s);
    s->waiting = true;
    net_pause(s->conn);
    event_add(s->timer, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
}

static void final_answer(struct sink_session *s)
{
    struct sink_counts *counts = &s->sink->counts;
    char text[128];
    switch (s->answer) {
    case 250:
        snprintf(text, sizeof text, "Ok: queued as %s", s->message.name);
        reply(s, 250, "2.0.0", text);
        break;
    case 550:
        counts->refused_messages++;
        reply(s, 550, "5.7.1", "Message refused");
        break;
    case 451:
        counts->refused_messages++;
        reply(s, 451, "4.3.0", "Try again later");
        break;
    default:
        counts->refused_messages++;
        reply(s, 452, "4.3.1", "Cannot store the message");
    }
    transaction_reset(s);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct sink_session *s = arg;
    s->waiting = false;
    if (s->answer == 0)
        greet(s);
    else
        final_answer(s);
    net_resume(s->conn);
}

static bool message_store(struct sink_session *s)
{
    char protocol[16];
    bool tls = net_is_tls(s->conn);
    snprintf(protocol, sizeof protocol, "%sSMTP%s", s->esmtp ? "E" : "", tls ? "S" : "");
    const struct sink_envelope envelope = {
        .sender = s->sender,
        .mail_params = s->mail_params,
        .recipients = s->recipients,
        .rcpt_params = s->rcpt_params,
        .recipient_count = s->recipient_count,
        .client = s->client,
        .helo = s->helo != NULL ? s->helo : "",
        .protocol = protocol,
        .tls = net_tls_text(s->conn),
        .bdat = s->bdat,
        .violations = s->parser.violations,
    };
    return sink_message_store(&s->message, s->sink->options.dir, &envelope);
}

static void message_done(struct sink_session *s)
{
    struct sink_counts *counts = &s->sink->counts;
    uint64_t delay = s->sink->options.delay_ms + ((s->habits & HABIT_SLOW) != 0 ? SLOW_MS : 0);
    s->receiving = false;
    if (s->parser.violations != 0)
        counts->violations++;
    if ((s->habits & HABIT_DROP) != 0) {
        counts->dropped++;
        session_close(s);
        return;
    }
    if ((s->habits & HABIT_LATE) != 0) {
        s->answer = 550;
    } else if ((s->habits & HABIT_LATE_DEFER) != 0) {
        s->answer = 451;
    } else if (message_store(s)) {
        s->answer = 250;
        counts->messages++;
        counts->recipients += s->recipient_count;
        counts->bytes += s->message.size;
    } else {
        s->answer = 452;
        counts->store_errors++;
    }
    if (delay > 0)
        wait_for(s, delay);
    else
        final_answer(s);
}

static void on_hello(struct sink_session *s, const struct smtp_command *command)
{
    const struct sink_options *options = &s->sink->options;
    bool ehlo = command->verb == SMTP_VERB_EHLO;
    if (ehlo && options->helo_only) {
        reply(s, 502, "5.5.1", "Command not implemented");
        return;
    }
    transaction_reset(s);
    free(s->helo);
    s->helo = xstrdup(command->domain);
    s->esmtp = ehlo;
    char text[256];
    snprintf(text, sizeof text, "weir-sink\nENHANCEDSTATUSCODES\nSIZE 0%s%s%s%s%s",
             options->pipelining ? "\nPIPELINING" : "", options->eightbitmime ? "\n8BITMIME" : "",
             options->smtputf8 ? "\nSMTPUTF8" : "", options->chunking ? "\nCHUNKING" : "",
             options->tls != NULL && !net_is_tls(s->conn) ? "\nSTARTTLS" : "");
    reply(s, 250, NULL, ehlo ? text : "weir-sink");
}

/* What stands between the brackets, and behind them, as it came. */
static void split_path(const char *line, size_t len, char **path, char **params)
{
    struct smtp_address address;
    size_t used;
    const char *open = memchr(line, '<', len);
    size_t rest = len - (size_t)(open - line);
    smtp_path_parse(&address, open, rest, true, &used);
    *path = xstrndup(open + 1, used - 2);
    while (used < rest && open[used] == ' ')
        used++;
    *params = xstrndup(open + used, rest - used);
}

static void on_mail(struct sink_session *s, const struct smtp_command *command, const char *line, size_t len)
{
    const struct sink_options *options = &s->sink->options;
    if (s->helo == NULL || s->sender != NULL) {
        reply(s, 503, "5.5.1", s->helo == NULL ? "Say EHLO first" : "Nested MAIL");
    } else if ((command->smtputf8 && !options->smtputf8) ||
               (command->body == SMTP_BODY_8BITMIME && !options->eightbitmime)) {
        reply(s, 555, "5.5.4", "Parameter not recognized");
    } else {
        split_path(line, len, &s->sender, &s->mail_params);
        s->utf8 = command->smtputf8;
        reply(s, 250, "2.1.0", "Ok");
    }
}

static void on_rcpt(struct sink_session *s, const struct smtp_command *command, const char *line, size_t len)
{
    if (s->sender == NULL) {
        reply(s, 503, "5.5.1", "Say MAIL first");
        return;
    }
    if (s->recipient_count == RECIPIENTS_MAX) {
        reply(s, 452, "4.5.3", "Too many recipients");
        return;
    }
    for (size_t i = 0; s->sink->options.moods && i < sizeof habits / sizeof habits[0]; i++) {
        if (strncasecmp(command->address.local, habits[i].prefix, strlen(habits[i].prefix)) != 0)
            continue;
        s->habits |= habits[i].habit;
        if (habits[i].code == 0)
            break;
        s->sink->counts.refused_recipients++;
        reply(s, habits[i].code, habits[i].enhanced, habits[i].text);
        if (habits[i].code == 421)
            session_close(s);
        return;
    }
    size_t count = s->recipient_count;
    if ((count & (count - 1)) == 0) { /* room for the next power of two */
        size_t room = count == 0 ? 1 : 2 * count;
        s->recipients = xrealloc(s->recipients, room * sizeof *s->recipients);
        s->rcpt_params = xrealloc(s->rcpt_params, room * sizeof *s->rcpt_params);
    }
    split_path(line, len, &s->recipients[count], &s->rcpt_params[count]);
    s->recipient_count++;
    reply(s, 250, "2.1.5", "Ok");
}

static void on_data(struct sink_session *s)
{
    if (s->recipient_count == 0 || s->receiving) {
        reply(s, s->recipient_count == 0 ? 554 : 503, "5.5.1", s->receiving ? "BDAT has begun" : "No valid recipients");
        return;
    }
    sink_message_begin(&s->message, s->sink->options.dir);
    s->receiving = true;
    smtp_parser_enter_data(&s->parser);
    reply(s, 354, NULL, "End data with <CR><LF>.<CR><LF>");
}

/* The bytes come whether we want them or not; what we do not want is read and forgotten. */
static void on_bdat(struct sink_session *s, const struct smtp_command *command)
{
    bool wanted = s->recipient_count > 0 && s->sink->options.chunking;
    smtp_parser_enter_bdat(&s->parser, command->size, !s->bdat);
    if (wanted && !s->receiving) {
        sink_message_begin(&s->message, s->sink->options.dir);
        s->receiving = true;
    }
    s->bdat = true;
    s->bdat_last = command->last;
}

static void on_end_of_data(struct sink_session *s)
{
    if (!s->bdat) {
        message_done(s);
    } else if (!s->receiving) {
        s->bdat = false;
        reply(s, 503, "5.5.1", "Nobody to send it to");
    } else if (s->bdat_last) {
        message_done(s);
    } else {
        reply(s, 250, "2.0.0", "Chunk taken");
    }
}

static void on_starttls(struct sink_session *s)
{
    if (s->sink->options.tls == NULL || net_is_tls(s->conn)) {
        reply(s, 502, "5.5.1", "TLS not available");
        return;
    }
    reply(s, 220, "2.0.0", "Go ahead");
    if (!net_start_tls(s->conn, s->sink->options.tls, true, NULL))
        session_close(s);
}

static void on_secured(void *arg)
{
    struct sink_session *s = arg;
    transaction_reset(s); /* RFC 3207 4.2: all that was said before is forgotten */
    free(s->helo);
    s->helo = NULL;
}

static void on_command(struct sink_session *s, const char *line, size_t len)
{
    struct smtp_command command;
    struct smtp_complaint complaint = smtp_command_parse(&command, line, len, s->utf8, false);
    if (complaint.code != 0) {
        reply(s, complaint.code, complaint.enhanced, complaint.text);
        return;
    }
    switch (command.verb) {
    case SMTP_VERB_EHLO:
    case SMTP_VERB_HELO:
        on_hello(s, &command);
        break;
    case SMTP_VERB_MAIL:
        on_mail(s, &command, line, len);
        break;
    case SMTP_VERB_RCPT:
        on_rcpt(s, &command, line, len);
        break;
    case SMTP_VERB_DATA:
        on_data(s);
        break;
    case SMTP_VERB_BDAT:
        on_bdat(s, &command);
        break;
    case SMTP_VERB_RSET:
        transaction_reset(s);
        reply(s, 250, "2.0.0", "Ok");
        break;
    case SMTP_VERB_NOOP:
        reply(s, 250, "2.0.0", "Ok");
        break;
    case SMTP_VERB_VRFY:
        reply(s, 252, "2.5.0", "Send some mail");
        break;
    case SMTP_VERB_STARTTLS:
        on_starttls(s);
        break;
    case SMTP_VERB_QUIT:
        reply(s, 221, "2.0.0", "Bye");
        session_close(s);
        break;
    default:
        reply(s, 502, "5.5.1", "Command not implemented");
    }
}

/* Without PIPELINING a client waits for each answer; the message behind BDAT is no command. */
static bool is_improper(const struct sink_session *s, const struct smtp_token *token, size_t behind)
{
    bool bdat = token->len >= 4 && strncasecmp(token->bytes, "BDAT", 4) == 0;
    return token->event == SMTP_COMMAND && behind > 0 && !bdat && !s->sink->options.pipelining;
}

static size_t on_bytes(void *arg, const char *buf, size_t len)
{
    struct sink_session *s = arg;
    size_t total = 0;
    struct smtp_token token = { .event = SMTP_COMMAND };
    while (!s->waiting && !s->closed && token.event != SMTP_NEED_MORE) {
        total += smtp_parser_next(&s->parser, buf + total, len - total, &token);
        if (is_improper(s, &token, len - total)) {
            reply(s, 503, "5.5.0", "Improper pipelining");
            session_close(s);
            break;
        }
        switch (token.event) {
        case SMTP_COMMAND:
            on_command(s, token.bytes, token.len);
            break;
        case SMTP_BODY:
            if (s->receiving)
                sink_message_add(&s->message, token.bytes, token.len);
            break;
        case SMTP_END_OF_DATA:
            on_end_of_data(s);
            break;
        case SMTP_BAD_LINE:
            reply(s, 500, "5.5.2", "Bad line");
            session_close(s);
            break;
        case SMTP_NEED_MORE:
            break;
        }
    }
    if (s->closed) {
        session_free(s);
        return len;
    }
    return total;
}

static void on_gone(void *arg, enum net_end end, const char *why)
{
    (void)end, (void)why;
    session_free(arg);
}

void sink_session_start(struct sink *sink, int fd, const struct netaddr *peer)
{
    static const struct net_handlers handlers = { .secured = on_secured, .bytes = on_bytes, .gone = on_gone };
    struct sink_session *s = xcalloc(1, sizeof *s);
    s->sink = sink;
    s->message.fd = -1;
    s->next = sink->first;
    s->link = &sink->first;
    if (s->next != NULL)
        s->next->link = &s->next;
    sink->first = s;
    s->conn = net_accept(sink->base, fd, &handlers, s);
    netaddr_format(peer, s->client);
    smtp_parser_init(&s->parser, COMMAND_LINE_MAX, 0);
    sink->counts.sessions++;
    sink->counts.sessions_open++;
    net_set_timeout(s->conn, (unsigned)sink->options.close_idle_ms, 0);
    if (sink->options.greeting_delay_ms > 0)
        wait_for(s, sink->options.greeting_delay_ms);
    else
        greet(s);
}

void sink_sessions_end(struct sink *sink)
{
    while (sink->first != NULL)
        session_free(sink->first);
}

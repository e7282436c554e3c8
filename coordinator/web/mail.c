/*
 * mail.c - commands by mail: an SMTP server, for the edges that bring them
 *
 * Only addresses of commands are here. Says 250 to whatever it does not obey, too: whether a token opens something is nobody's business, and who wrote to it is never written back to. The answer goes to whose token it
 * is, by the cluster (web_mail() in functions/web.sql), in the transaction that does what was asked for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/web/mail_command.h"
#include "coordinator/web/web.h"
#include "edge/net/net.h"
#include "edge/smtp/command.h"
#include "edge/smtp/parser.h"
#include "edge/smtp/reply.h"

#define COMMAND_LINE_MAX 4096
#define IDLE_MS          300000
#define WRITE_MS         60000

struct session {
    struct web_mail *mail;
    struct session *next, **link;
    struct net_conn *conn; /* NULL: it is gone, and the database is still asked */
    struct smtp_parser parser;
    struct text message;
    char local[SMTP_LOCAL_MAX + 1];
    char outcome[24];
    bool greeted, sender, null_sender, recipient, utf8, receiving, asking, closed;
};

struct web_mail {
    struct web *web;
    struct net_listener *listener;
    struct session *sessions;
    size_t count;
    char waiting[24];
    struct metric *gauge;
};

static void reply(struct session *s, int code, const char *enhanced, const char *text)
{
    char line[1024];
    net_write(s->conn, line, smtp_reply_format(line, sizeof line, code, enhanced, text));
}

static void reset(struct session *s)
{
    text_reset(&s->message);
    s->sender = s->null_sender = s->recipient = s->utf8 = s->receiving = false;
}

static void session_free(struct session *s)
{
    if (s->conn != NULL)
        net_free(&s->conn);
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    metric_set(s->mail->gauge, (double)--s->mail->count);
    text_fini(&s->message);
    free(s);
}

static void count(struct session *s, const char *outcome)
{
    metric_add(metrics_counter(&s->mail->web->metrics, "weir_web_mail_total", "outcome=\"%s\"", outcome), 1);
}

/* ---- a command ---- */

static void on_obeyed(void *arg, const PGresult *result)
{
    struct session *s = arg;
    snprintf(s->outcome, sizeof s->outcome, "%s", PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "");
}

static void on_obeyed_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct session *s = arg;
    s->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "command: %s %s", error->sqlstate, error->why.text);
    bool busy = outcome == DB_OK && strcmp(s->outcome, "busy") == 0;
    bool told = strcmp(s->outcome, "unknown") == 0 || strcmp(s->outcome, "silent") == 0;
    count(s, outcome != DB_OK ? "failed" : told || busy ? s->outcome : "obeyed");
    if (s->conn == NULL) {
        session_free(s);
        return;
    }
    if (outcome != DB_OK || busy)
        reply(s, 451, busy ? "4.3.1" : "4.3.0", busy ? "Too many commands wait for their answers" : "The database cannot be asked; try again later");
    else
        reply(s, 250, "2.0.0", "Ok");
    reset(s);
    net_resume(s->conn);
}

static void obey(struct session *s)
{
    struct web *web = s->mail->web;
    struct mail_command command;
    char hash[TOKEN_HASH_LEN + 1];
    s->receiving = false;
    if (s->message.len > web->config->own.web_mail_size) {
        count(s, "large");
        reply(s, 552, "5.3.4", "Too large for a command");
        reset(s);
        return;
    }
    mail_command_read(&command, web->parser, s->local, s->message.data, s->message.len);
    if (!command.has_token || command.automatic || s->null_sender) {
        count(s, command.automatic || s->null_sender ? "automatic" : "unknown");
        reply(s, 250, "2.0.0", "Ok");
        reset(s);
        return;
    }
    token_hash(hash, command.token);
    const struct db_value values[] = {
        { .data = hash }, { .data = command.word }, { .data = web->list_entries }, { .data = s->mail->waiting },
        { .data = command.attached.len > 0 ? command.attached.bytes : command.unusable ? "" : NULL, .len = command.attached.len, .binary = true },
    };
    s->asking = true;
    net_pause(s->conn);
    struct db_unit *unit = db_begin(web->db, on_obeyed_done, s);
    db_query_values(unit, "SELECT web_mail($1, $2, $3::integer, $4::integer, $5::bytea)", 5, values, false, on_obeyed);
    db_commit(unit);
}

/* ---- the conversation ---- */

static void on_hello(struct session *s, const struct smtp_command *command)
{
    char text[128];
    reset(s);
    s->greeted = true;
    snprintf(text, sizeof text, "weir-web\nPIPELINING\nENHANCEDSTATUSCODES\n8BITMIME\nSMTPUTF8\nSIZE %llu", (unsigned long long)s->mail->web->config->own.web_mail_size);
    reply(s, 250, NULL, command->verb == SMTP_VERB_EHLO ? text : "weir-web");
}

static void on_mail(struct session *s, const struct smtp_command *command)
{
    if (!s->greeted || s->sender) {
        reply(s, 503, "5.5.1", s->greeted ? "Nested MAIL" : "Say EHLO first");
    } else if (command->size > s->mail->web->config->own.web_mail_size) {
        count(s, "large");
        reply(s, 552, "5.3.4", "Too large for a command");
    } else {
        s->sender = true;
        s->null_sender = command->address.kind == SMTP_ADDRESS_NULL;
        s->utf8 = command->smtputf8;
        reply(s, 250, "2.1.0", "Ok");
    }
}

/* web_mail's own, with anything behind its "+", or a token. Without web_mail it is not known. */
static bool is_for_commands(const struct session *s, const char *local)
{
    const char *own = s->mail->web->config->own.web_mail;
    char token[TOKEN_LEN + 1];
    size_t len = strcspn(own, "@");
    return len == 0 || token_parse(token, local, strlen(local)) || (strncasecmp(local, own, len) == 0 && (local[len] == '\0' || local[len] == '+'));
}

static void on_rcpt(struct session *s, const struct smtp_command *command)
{
    if (!s->sender || s->recipient) {
        reply(s, s->sender ? 452 : 503, s->sender ? "4.5.3" : "5.5.1", s->sender ? "One at a time" : "Say MAIL first");
        return;
    }
    if (!is_for_commands(s, command->address.local)) {
        reply(s, 550, "5.1.1", "No such address: commands are not sent to it");
        return;
    }
    s->recipient = true;
    snprintf(s->local, sizeof s->local, "%s", command->address.local);
    reply(s, 250, "2.1.5", "Ok");
}

static void on_command(struct session *s, const struct smtp_token *token)
{
    struct smtp_command command;
    struct smtp_complaint complaint = smtp_command_parse(&command, token->bytes, token->len, s->utf8, false);
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
        on_mail(s, &command);
        break;
    case SMTP_VERB_RCPT:
        on_rcpt(s, &command);
        break;
    case SMTP_VERB_DATA:
        s->receiving = s->recipient;
        if (s->receiving)
            smtp_parser_enter_data(&s->parser);
        reply(s, s->receiving ? 354 : 503, s->receiving ? NULL : "5.5.1", s->receiving ? "End data with <CR><LF>.<CR><LF>" : "Say RCPT first");
        break;
    case SMTP_VERB_RSET:
        reset(s);
        reply(s, 250, "2.0.0", "Ok");
        break;
    case SMTP_VERB_NOOP:
        reply(s, 250, "2.0.0", "Ok");
        break;
    case SMTP_VERB_QUIT:
        reply(s, 221, "2.0.0", "Bye");
        s->closed = true;
        break;
    case SMTP_VERB_BDAT: /* its bytes follow in any case */
    case SMTP_VERB_HTTP:
        reply(s, 502, "5.5.1", "Command not implemented");
        s->closed = true;
        break;
    default:
        reply(s, 502, "5.5.1", "Command not implemented");
    }
}

static void on_token(struct session *s, const struct smtp_token *token)
{
    size_t most = (size_t)s->mail->web->config->own.web_mail_size + 1; /* one byte more says that it is too large */
    switch (token->event) {
    case SMTP_COMMAND:
        on_command(s, token);
        break;
    case SMTP_BODY:
        text_add(&s->message, token->bytes, token->len < most - s->message.len ? token->len : most - s->message.len);
        break;
    case SMTP_END_OF_DATA:
        obey(s);
        break;
    case SMTP_BAD_LINE:
        reply(s, 500, "5.5.2", "Line too long, or not ended by CRLF");
        break;
    default:
        break;
    }
}

static size_t on_bytes(void *arg, const char *buf, size_t len)
{
    struct session *s = arg;
    struct smtp_token token = { .event = SMTP_COMMAND };
    size_t all = 0;
    while (!s->closed && !s->asking && token.event != SMTP_NEED_MORE) {
        size_t used = smtp_parser_next(&s->parser, buf, len, &token);
        buf += used, len -= used, all += used;
        on_token(s, &token);
    }
    if (s->closed) {
        net_close_after_flush(&s->conn);
        session_free(s);
    }
    return all;
}

static void on_gone(void *arg, enum net_end end, const char *why)
{
    (void)end, (void)why;
    struct session *s = arg;
    net_free(&s->conn);
    if (!s->asking)
        session_free(s);
}

static void on_accepted(void *arg, int fd, const struct netaddr *peer, const struct netaddr *local)
{
    static const struct net_handlers handlers = { .bytes = on_bytes, .gone = on_gone };
    struct web_mail *mail = arg;
    (void)peer, (void)local;
    struct session *s = xcalloc(1, sizeof *s);
    s->mail = mail;
    s->next = mail->sessions;
    s->link = &mail->sessions;
    if (s->next != NULL)
        s->next->link = &s->next;
    mail->sessions = s;
    metric_set(mail->gauge, (double)++mail->count);
    text_init(&s->message);
    smtp_parser_init(&s->parser, COMMAND_LINE_MAX, 0);
    s->conn = net_accept(mail->web->base, fd, &handlers, s);
    net_set_timeout(s->conn, IDLE_MS, WRITE_MS);
    if (mail->count > mail->web->config->own.web_mail_sessions) {
        count(s, "sessions");
        reply(s, 421, "4.3.2", "Too many sessions");
        net_close_after_flush(&s->conn);
        session_free(s);
        return;
    }
    reply(s, 220, NULL, "weir-web ESMTP");
}

struct web_mail *web_mail_new(struct web *web, struct error *why)
{
    struct netaddr address;
    if (!netaddr_parse_endpoint(&address, web->config->own.web_mail_listen, why))
        return NULL;
    int fd = net_is_free(&address, why) ? net_bind(&address, why) : -1;
    if (fd < 0)
        return NULL;
    struct web_mail *mail = xcalloc(1, sizeof *mail);
    mail->web = web;
    mail->gauge = metrics_gauge(&web->metrics, "weir_web_mail_sessions", NULL);
    snprintf(mail->waiting, sizeof mail->waiting, "%llu", (unsigned long long)web->config->own.web_answers);
    mail->listener = net_listen(web->base, fd, on_accepted, mail);
    if (mail->listener == NULL) {
        error_set(why, "web_mail_listen = %s: cannot listen", web->config->own.web_mail_listen);
        close(fd);
        free(mail);
        return NULL;
    }
    return mail;
}

void web_mail_free(struct web_mail **freed)
{
    struct web_mail *mail = *freed;
    *freed = NULL;
    if (mail == NULL)
        return;
    net_listener_free(&mail->listener);
    while (mail->sessions != NULL)
        session_free(mail->sessions);
    net_fini();
    free(mail);
}

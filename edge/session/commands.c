/*
 * commands.c - the SMTP verbs, and the table that says when each is allowed
 */
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/session/internal.h"
#include "edge/smtp/leniency.h"
#include "edge/smtp/xclient.h"

#define ST_ANY (ST_GREETED | ST_READY | ST_MAIL | ST_RCPT | ST_BDAT)

struct verb_rule {
    unsigned allowed;   /* states */
    bool ends_group;    /* RFC 2920 3.1: nothing may wait behind it */
    void (*obey)(struct session *session, const struct smtp_command *command);
};

static struct allowance allowance_now(const struct session *session)
{
    return allowance_of(session->limits, session->server->policy, &session->client, (int64_t)(clock_wall_ms() / 1000));
}

static void obey_hello(struct session *session, const struct smtp_command *command)
{
    const char *cluster = session->server->cluster;
    transaction_free(&session->tx, FAREWELL_RESET);
    session_take_helo(session, command->domain);
    session->esmtp = session->told_proto != TOLD_NOTHING ? session->told_proto == TOLD_ESMTP : command->verb == SMTP_VERB_EHLO;
    session_enter(session, ST_READY);
    if (command->verb == SMTP_VERB_HELO) {
        session_reply(session, command->verb, 250, NULL, "%s", session->config->hostname);
        return;
    }
    session_reply(session, command->verb, 250, NULL,
                  "%s\nPIPELINING\nSIZE %llu\n8BITMIME\nCHUNKING\nENHANCEDSTATUSCODES\nSMTPUTF8\nDSN%s%s%s%s%s", session->config->hostname,
                  (unsigned long long)allowance_now(session).max_message_size, session_offers_starttls(session) ? "\nSTARTTLS" : "",
                  session_offers_auth(session) ? "\nAUTH PLAIN LOGIN" : "",
                  session->trusted ? "\nXCLIENT " SMTP_XCLIENT_KEYWORDS : "", *cluster != '\0' ? "\nXWEIR " : "", cluster);
}

static void obey_starttls(struct session *session, const struct smtp_command *command)
{
    if (!session_offers_starttls(session)) {
        bool already = net_is_tls(session->conn);
        session->errors++;
        session_reply(session, command->verb, already ? 503 : 502, "5.5.1", "%s",
                      already ? "TLS is already on" : "STARTTLS is not available");
        return;
    }
    session_enter(session, ST_SECURING);
    session_reply(session, command->verb, 220, "2.0.0", "Ready to start TLS");
    if (!net_start_tls(session->conn, session->config->server_tls, true, NULL))
        session_close(session);
}

/* Its message would be read for nothing. A spool that is away is no full one: what then can be done is known after the message only. */
static bool has_no_room(const struct session *session)
{
    const struct server *server = session->server;
    return session->limits->profile != PROFILE_RELAY && server->node != NULL && node_spool_is_full(server->node);
}

static void refuse_mail(struct session *session, const struct smtp_command *command, int code, const char *enhanced, const char *text)
{
    char sender[SMTP_ADDRESS_MAX];
    report_reject(session, NULL, "MAIL", code, enhanced, text, smtp_address_format(&command->address, sender), NULL);
    session_reply(session, command->verb, code, enhanced, "%s", text);
}

/* What outbound protection says of a client whose mail is not taken. Before the message, so that nobody sends it for nothing. */
static bool is_stopped(struct session *session, const struct smtp_command *command)
{
    const struct stop *stop = session_stop(session);
    char text[SMTP_REPLY_TEXT_MAX];
    bool refused = stop != NULL && stop->state == WEIR__OUTBOUND_STATE__OUTBOUND_REFUSED && session->limits->profile != PROFILE_HANDOFF;
    if (!refused && (stop == NULL || stop->state != WEIR__OUTBOUND_STATE__OUTBOUND_FULL))
        return false;
    metric_add(session->server->stopped[0], 1);
    if (refused)
        snprintf(text, sizeof text, "Mail from %s is stopped, as too much of it came or was refused", stop->subject);
    else
        snprintf(text, sizeof text, "Mail from %s is held, and as much of it as there is room for; try again later", stop->subject);
    refuse_mail(session, command, refused ? 550 : 450, refused ? "5.7.1" : "4.7.1", text);
    return true;
}

void session_mail(struct session *session, const struct smtp_command *command, const struct limit_verdict *verdict)
{
    char text[SMTP_REPLY_TEXT_MAX];
    if (verdict->refused) {
        if (reputation_of_verdict(verdict) != NULL)
            server_count_stopped(session->server, LAYER_THROTTLE);
        refuse_mail(session, command, 450, "4.7.1", limits_text(text, verdict));
        return;
    }
    struct allowance allowance = allowance_now(session);
    session->tx = transaction_new(session, command, &allowance);
    session_enter(session, ST_MAIL);
    session_reply(session, command->verb, 250, "2.1.0", "Ok");
}

static void obey_mail(struct session *session, const struct smtp_command *command)
{
    if (session->unnamed) { /* what it may do depends on who it is; the address of whoever speaks for it must not decide */
        session->errors++;
        report_reject(session, NULL, "MAIL", 450, "4.7.1", "Nobody says who the client is", NULL, NULL);
        session_reply(session, command->verb, 450, "4.7.1", "Nobody says who the client is");
        return;
    }
    if (session->helo == NULL) { /* only a lenient session comes here without */
        session_take_helo(session, "");
        session_forgive(session, SMTP_LENIENCY_HELO);
    }
    if (command->address.kind == SMTP_ADDRESS_POSTMASTER) {
        session->errors++;
        session_reply(session, command->verb, 553, "5.1.7", "Sender address needs a domain");
        return;
    }
    struct allowance allowance = allowance_now(session);
    if (command->size > allowance.max_message_size) {
        server_count_limit(session->server, LIMIT_SIZE);
        session_reply(session, command->verb, 552, "5.3.4", "Message size exceeds the limit of %llu bytes",
                      (unsigned long long)allowance.max_message_size);
        return;
    }
    if (!auth_may_send(session, command))
        return;
    if (reputation_stops_login(session)) {
        server_count_stopped(session->server, LAYER_REPUTATION);
        refuse_mail(session, command, 550, "5.7.1", "Your account may not send mail for now");
        return;
    }
    if (has_no_room(session)) {
        server_count_limit(session->server, LIMIT_SPOOL);
        refuse_mail(session, command, 452, "4.3.1", "Insufficient system storage");
        return;
    }
    if (is_stopped(session, command))
        return;
    struct limit_verdict verdict;
    if (!limits_at_mail(session, command, &verdict))
        session_mail(session, command, &verdict);
}

static void obey_rcpt(struct session *session, const struct smtp_command *command)
{
    if (session->state != ST_RCPT)
        session_enter(session, ST_RCPT);
    struct limit_verdict verdict;
    if (!limits_at_rcpt(session, command, &verdict))
        transaction_rcpt(session->tx, command, &verdict);
}

static void obey_data(struct session *session, const struct smtp_command *command)
{
    if (!transaction_has_recipients(session->tx)) {
        session->errors++;
        session_reply(session, command->verb, 554, "5.5.1", "No valid recipients");
        return;
    }
    session->chunked = false;
    smtp_parser_enter_data(&session->parser);
    transaction_begin_message(session->tx);
    session_enter(session, ST_DATA);
    session_reply(session, command->verb, 354, NULL, "End data with <CR><LF>.<CR><LF>");
}

#define CHUNK_MIN 1024 /* bytes: one that is shorter counts as a command, and a message may have no more of them than of commands */

/* The chunk follows whatever we think of it, so it is always read (RFC 3030 2). */
static void obey_bdat(struct session *session, const struct smtp_command *command)
{
    bool wanted = session->state == ST_BDAT || (session->state == ST_RCPT && transaction_has_recipients(session->tx));
    uint64_t most = allowance_now(session).max_message_size;
    smtp_parser_enter_bdat(&session->parser, command->size, session->state != ST_BDAT);
    if (!wanted && command->size > most) { /* nothing that is worth reading to its end */
        server_count_limit(session->server, LIMIT_SIZE);
        session->farewell = FAREWELL_REFUSED;
        session_reply(session, command->verb, 552, "5.3.4", "Chunk out of place, and larger than %llu bytes",
                      (unsigned long long)most);
        session_close(session);
        return;
    }
    if (!wanted) {
        session->skipped = 0;
        session->after_skip = session->state;
        session_enter(session, ST_SKIP);
        return;
    }
    session->chunked = true;
    session->last_chunk = command->last;
    session->chunks += command->size >= CHUNK_MIN;
    if (session->state != ST_BDAT)
        transaction_begin_message(session->tx);
    session_enter(session, ST_CHUNK);
}

static void obey_rset(struct session *session, const struct smtp_command *command)
{
    transaction_free(&session->tx, FAREWELL_RESET);
    if (session->state != ST_GREETED)
        session_enter(session, ST_READY);
    session_reply(session, command->verb, 250, "2.0.0", "Ok");
}

static void obey_noop(struct session *session, const struct smtp_command *command)
{
    session_reply(session, command->verb, 250, "2.0.0", "Ok");
}

static void obey_vrfy(struct session *session, const struct smtp_command *command)
{
    session_reply(session, command->verb, 252, "2.1.5", "Send some mail, it will be tried");
}

static void obey_help(struct session *session, const struct smtp_command *command)
{
    session_reply(session, command->verb, 214, "2.0.0", "See RFC 5321");
}

static void obey_quit(struct session *session, const struct smtp_command *command)
{
    session->farewell = FAREWELL_RESET;
    session_reply(session, command->verb, 221, "2.0.0", "Bye");
    session_close(session);
}

static void obey_not(struct session *session, const struct smtp_command *command)
{
    session->errors++;
    session_reply(session, command->verb, 502, "5.5.1", "Command not implemented");
}

/* A browser or proxy that was made to talk to us would go on with a body; every line of it could be a command. */
static void obey_http(struct session *session, const struct smtp_command *command)
{
    report_reject(session, NULL, "HTTP", 554, "5.5.1", "Not a web server", NULL, NULL);
    session_reply(session, command->verb, 554, "5.5.1", "Not a web server");
    session_close(session);
}

static const struct verb_rule rules[SMTP_VERB_COUNT] = {
    /* verb                 allowed in               ends a group  handler */
    [SMTP_VERB_UNKNOWN]  = { ST_ANY,                  false,       obey_not },
    [SMTP_VERB_EHLO]     = { ST_ANY,                  true,        obey_hello },
    [SMTP_VERB_HELO]     = { ST_ANY,                  true,        obey_hello },
    [SMTP_VERB_STARTTLS] = { ST_READY,                true,        obey_starttls },
    [SMTP_VERB_MAIL]     = { ST_READY,                false,       obey_mail },
    [SMTP_VERB_RCPT]     = { ST_MAIL | ST_RCPT,       false,       obey_rcpt },
    [SMTP_VERB_DATA]     = { ST_RCPT,                 true,        obey_data },
    [SMTP_VERB_BDAT]     = { ST_ANY,                  false,       obey_bdat },
    [SMTP_VERB_RSET]     = { ST_ANY,                  false,       obey_rset },
    [SMTP_VERB_NOOP]     = { ST_ANY,                  false,       obey_noop },
    [SMTP_VERB_QUIT]     = { ST_ANY,                  false,       obey_quit },
    [SMTP_VERB_VRFY]     = { ST_ANY,                  false,       obey_vrfy },
    [SMTP_VERB_EXPN]     = { ST_ANY,                  false,       obey_not },
    [SMTP_VERB_HELP]     = { ST_ANY,                  false,       obey_help },
    [SMTP_VERB_AUTH]     = { ST_READY,                true,        auth_command },
    [SMTP_VERB_XCLIENT]  = { ST_ANY,                  true,        xclient_command },
    [SMTP_VERB_HTTP]     = { ST_ANY,                  false,       obey_http },
};

static const char *out_of_order_words(const struct session *session, enum smtp_verb verb)
{
    if (session->state == ST_GREETED)
        return "Send EHLO first";
    if (session->state == ST_BDAT)
        return verb == SMTP_VERB_DATA ? "DATA cannot follow BDAT" : "The message has begun: send BDAT or RSET";
    switch (verb) {
    case SMTP_VERB_MAIL:
        return "Nested MAIL command";
    case SMTP_VERB_RCPT:
        return "Need MAIL first";
    case SMTP_VERB_DATA:
        return session->state == ST_MAIL ? "Need RCPT first" : "Need MAIL first";
    default:
        return "Bad sequence of commands";
    }
}

static void complain(struct session *session, enum smtp_verb verb, int code, const char *enhanced, const char *text)
{
    session->errors++;
    if (verb == SMTP_VERB_MAIL || verb == SMTP_VERB_RCPT)
        report_reject(session, NULL, smtp_verb_name(verb), code, enhanced, text, NULL, NULL);
    session_reply_in_order(session, verb, code, enhanced, text);
}

enum excess { EXCESS_NONE, EXCESS_ERRORS, EXCESS_COMMANDS, EXCESS_UNKNOWN };

static enum excess session_excess(const struct session *session)
{
    const struct listener_settings *limits = session->limits;
    if (limits->max_errors > 0 && session->errors >= limits->max_errors)
        return EXCESS_ERRORS;
    if (limits->max_unknown_recipients > 0 && session->unknown >= limits->max_unknown_recipients)
        return EXCESS_UNKNOWN;
    /* A client that sends much mail in one session meets this limit between two messages, never inside one; inside, max_recipients and
     * max_errors hold, and of chunks max_message_size, but for tiny ones. */
    unsigned commands = session->commands - session->chunks;
    if (limits->max_commands > 0 && commands >= limits->max_commands &&
        (session->tx == NULL || commands >= limits->max_commands + 2 * transaction_max_recipients(session->tx)))
        return EXCESS_COMMANDS;
    return EXCESS_NONE;
}

static void end_excess(struct session *session, enum excess excess)
{
    static const struct {
        const char *words;
        enum limit limit;
    } excesses[] = {
        [EXCESS_ERRORS] = { "Too many errors", LIMIT_ERRORS },
        [EXCESS_COMMANDS] = { "Too many commands", LIMIT_COMMANDS },
        [EXCESS_UNKNOWN] = { "Too many unknown recipients", LIMIT_UNKNOWN },
    };
    const char *words = excesses[excess].words;
    server_count_limit(session->server, excesses[excess].limit);
    log_write(LOG_INFO, "%s from %s[%s]", words, session_client_name(session), session->client_text);
    if (excess == EXCESS_ERRORS)
        reputation_note_abuse(session, 421, "4.7.0", words);
    session_dismiss(session, FAREWELL_REFUSED, "4.7.0", words);
}

bool session_end_excess(struct session *session)
{
    enum excess excess = session_excess(session);
    if (excess != EXCESS_NONE)
        end_excess(session, excess);
    return excess != EXCESS_NONE;
}

static struct smtp_complaint parse_command(const struct session *session, struct smtp_command *command, const char *line, size_t len)
{
    bool utf8 = session->tx != NULL && transaction_is_utf8(session->tx);
    if (!session_is_lenient(session))
        return smtp_command_parse(command, line, len, utf8, true);
    const char *domain = session->limits->qualify_domain;
    return smtp_command_parse_lenient(command, line, len, utf8, *domain != '\0' ? domain : session->config->hostname);
}

/* What came behind a verb that ends a group was said without its answer. Of EHLO a device needs none, and what is behind a DATA that is obeyed is the
 * message, whenever it was sent. A client that began with nonsense is no device: somebody makes another program talk to us, and it may go on without
 * EHLO. */
static bool forgives_haste(const struct session *session, enum smtp_verb verb)
{
    bool hello = verb == SMTP_VERB_EHLO || verb == SMTP_VERB_HELO;
    return session_forgives_haste(session) && !session->nonsense && (verb == SMTP_VERB_DATA || (hello && session->errors == 0));
}

static void obey(struct session *session, const struct smtp_command *command, const struct smtp_complaint *complaint, size_t more)
{
    const struct verb_rule *rule = &rules[command->verb];
    unsigned allowed = rule->allowed;
    if (command->verb == SMTP_VERB_MAIL && session_is_lenient(session))
        allowed |= ST_GREETED;

    if (complaint->code != 0 && command->verb != SMTP_VERB_HTTP) {
        complain(session, command->verb, complaint->code, complaint->enhanced, complaint->text);
        if (command->verb == SMTP_VERB_BDAT)
            session_close(session); /* how many bytes follow is not known: they must not be taken for commands */
        return;
    }
    if ((allowed & session->state) == 0) {
        complain(session, command->verb, 503, "5.5.1", out_of_order_words(session, command->verb));
        return;
    }
    /* A DATA that is refused anyway may have commands behind it: nothing can be taken for a message. */
    if (rule->ends_group && more > 0 && (command->verb != SMTP_VERB_DATA || transaction_has_recipients(session->tx))) {
        if (!forgives_haste(session, command->verb)) {
            complain(session, command->verb, 554, "5.5.0", "Improper command pipelining");
            log_write(LOG_INFO, "improper command pipelining after %s from %s[%s]", smtp_verb_name(command->verb),
                      session_client_name(session), session->client_text);
            session_close(session);
            return;
        }
        session_forgive(session, SMTP_LENIENCY_NO_WAIT);
    }
    rule->obey(session, command);
}

enum obeyed session_command(struct session *session, const char *line, size_t len, size_t more)
{
    if (session->state == ST_AUTH) { /* whatever it looks like */
        session->commands++;
        auth_line(session, line, len);
        return COMMAND_DONE;
    }
    struct smtp_command *command = &session->server->command;
    struct transaction *tx = session->tx;
    struct smtp_complaint complaint = parse_command(session, command, line, len);
    enum excess excess = session_excess(session);

    if (tx != NULL && transaction_unanswered(tx) > 0 &&
        (command->verb != SMTP_VERB_RCPT || excess != EXCESS_NONE || transaction_may_be_full(tx)))
        return COMMAND_HOLD;
    if (excess != EXCESS_NONE) {
        end_excess(session, excess);
        return COMMAND_DONE;
    }
    session->commands++;
    session->said[command->verb]++;
    session_forgive(session, command->forgiven);
    obey(session, command, &complaint, more);
    /* A device may send its message all the same, now or in a moment, and no line of that may be taken for a command. */
    if (command->verb == SMTP_VERB_DATA && session->state != ST_DATA && session_is_lenient(session))
        session_close(session);
    return COMMAND_DONE;
}

/*
 * auth.c - who a session is, once it has said and proved it
 *
 *     READY --AUTH--> ST_AUTH (a challenge waits for its answer) --> ST_CHECK (a coordinator is asked) --> READY
 *
 * A password lives here from the client's line to the question, and is in no log, metric or reply.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/session/internal.h"

struct auth {
    struct sasl sasl;
    const char *asked;              /* the mechanism, for the log; static */
    struct node_question *question; /* under way */
    char *login;                    /* proved, canonical; NULL: not yet */
    char **senders;                 /* addresses, or "@domain" */
    size_t sender_count;
    bool assumed;                   /* nobody proved it: a peer said so (XCLIENT) */
};

bool session_offers_auth(const struct session *session)
{
    return listener_auth(session->limits) != AUTH_OFF && net_is_tls(session->conn);
}

const char *session_login(const struct session *session)
{
    return session->auth != NULL ? session->auth->login : NULL;
}

const char *session_sasl_method(const struct session *session)
{
    if (session_login(session) != NULL && session->auth->assumed)
        return "XCLIENT";
    return session_login(session) != NULL ? sasl_mechanism_name(session->auth->sasl.mechanism) : "";
}

void auth_free(struct auth **taken)
{
    struct auth *auth = *taken;
    *taken = NULL;
    if (auth == NULL)
        return;
    node_question_cancel(&auth->question);
    sasl_clear(&auth->sasl);
    for (size_t i = 0; i < auth->sender_count; i++)
        free(auth->senders[i]);
    free(auth->senders);
    free(auth->login);
    free(auth);
}

void auth_assume(struct session *session, const char *login)
{
    auth_free(&session->auth);
    if (*login == '\0')
        return;
    struct auth *auth = session->auth = xcalloc(1, sizeof *auth);
    auth->assumed = true;
    auth->login = xstrdup(login);
    for (char *p = auth->login; *p != '\0'; p++) /* as coordinators fold what was proved: a trace finds both */
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p | 0x20);
    auth->senders = xcalloc(1, sizeof *auth->senders);
    auth->senders[0] = xstrdup(auth->login);
    auth->sender_count = 1;
}

/* ---- replies ---- */

enum result { RESULT_ACCEPTED, RESULT_WRONG, RESULT_LIMITED, RESULT_UNAVAILABLE, RESULT_MALFORMED };

static void count(const struct session *session, enum result result)
{
    static const char *const names[] = {
        [RESULT_ACCEPTED] = "accepted",
        [RESULT_WRONG] = "wrong",
        [RESULT_LIMITED] = "limited",
        [RESULT_UNAVAILABLE] = "unavailable",
        [RESULT_MALFORMED] = "malformed",
    };
    metric_add(metrics_counter(session->server->metrics, "weir_auth_total", "listener=\"%s\",result=\"%s\"",
                               session->port->name, names[result]),
               1);
}

static void fail(struct session *session, enum result result, int code, const char *enhanced, const char *text)
{
    struct auth *auth = session->auth;
    /* What was typed where the name belongs may be the password: an unproved name is not logged. */
    log_write(LOG_INFO, "warning: %s[%s]: SASL %s authentication failed: %s", session_client_name(session), session->client_text,
              auth->asked, text);
    count(session, result);
    session->errors++;
    auth_free(&session->auth);
    session_enter(session, ST_READY);
    session_reply(session, SMTP_VERB_AUTH, code, enhanced, "%s", text);
}

static void fail_temporarily(struct session *session)
{
    fail(session, RESULT_UNAVAILABLE, 454, "4.7.0", "Temporary authentication failure");
}

static void accept_login(struct session *session, const Weir__AuthResult *result)
{
    struct auth *auth = session->auth;
    auth->login = xstrndup((const char *)result->account.data, result->account.len);
    auth->senders = xcalloc(result->n_senders + 1, sizeof *auth->senders);
    auth->sender_count = result->n_senders;
    for (size_t i = 0; i < result->n_senders; i++)
        auth->senders[i] = xstrndup((const char *)result->senders[i].data, result->senders[i].len);
    explicit_bzero(auth->sasl.password, sizeof auth->sasl.password);
    count(session, RESULT_ACCEPTED);
    session_enter(session, ST_READY);
    session_reply(session, SMTP_VERB_AUTH, 235, "2.7.0", "Authentication successful");
}

static void on_answer(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t payload_count)
{
    (void)payloads, (void)payload_count;
    struct session *session = arg;
    session->auth->question = NULL;
    if (session->state != ST_CHECK) /* closed meanwhile, and about to be freed */
        return;
    if (answer == NULL || answer->body_case != WEIR__ANSWER__BODY_AUTH_RESULT) {
        fail_temporarily(session);
    } else {
        switch (answer->auth_result->outcome) {
        case WEIR__AUTH_OUTCOME__AUTH_ACCEPTED:
            accept_login(session, answer->auth_result);
            break;
        case WEIR__AUTH_OUTCOME__AUTH_WRONG:
            fail(session, RESULT_WRONG, 535, "5.7.8", "Authentication credentials invalid");
            break;
        case WEIR__AUTH_OUTCOME__AUTH_LIMITED:
            fail(session, RESULT_LIMITED, 454, "4.7.0", "Too many failed attempts, try again later");
            break;
        default:
            fail_temporarily(session);
        }
    }
    session_settle(session);
}

/* ---- the exchange ---- */

static void ask(struct session *session)
{
    struct auth *auth = session->auth;
    Weir__AuthCheck check = WEIR__AUTH_CHECK__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    check.login = wire_text(auth->sasl.login);
    check.password = wire_text(auth->sasl.password);
    check.client = wire_text(session->client_text);
    check.listener = wire_text(session->port->name);
    check.inside = session_origin(session) != WEIR__ORIGIN__ORIGIN_OUTSIDE;
    question.body_case = WEIR__QUESTION__BODY_AUTH_CHECK;
    question.auth_check = &check;
    if (session->server->node != NULL)
        auth->question = node_ask(session->server->node, &question, NULL, 0, session->config->edge.auth_timeout, on_answer,
                                  session);
    explicit_bzero(auth->sasl.password, sizeof auth->sasl.password);
    if (auth->question == NULL)
        fail_temporarily(session);
    else
        session_enter(session, ST_CHECK);
}

static void go_on(struct session *session, enum sasl_result result)
{
    const struct sasl *sasl = &session->auth->sasl;
    switch (result) {
    case SASL_CHALLENGE:
        session_enter(session, ST_AUTH);
        session_reply(session, SMTP_VERB_AUTH, sasl->code, sasl->enhanced, "%s", sasl->text);
        break;
    case SASL_COMPLETE:
        ask(session);
        break;
    case SASL_REFUSED:
        fail(session, RESULT_MALFORMED, sasl->code, sasl->enhanced, sasl->text);
        break;
    }
}

static void refuse(struct session *session, int code, const char *enhanced, const char *text)
{
    session->errors++;
    session_reply(session, SMTP_VERB_AUTH, code, enhanced, "%s", text);
}

void auth_command(struct session *session, const struct smtp_command *command)
{
    if (listener_auth(session->limits) == AUTH_OFF) {
        refuse(session, 502, "5.5.1", "Authentication is not available");
    } else if (!net_is_tls(session->conn)) {
        refuse(session, 538, "5.7.11", "Encryption required for requested authentication mechanism");
    } else if (session_login(session) != NULL) {
        refuse(session, 503, "5.5.1", "Already authenticated");
    } else {
        session->auth = xcalloc(1, sizeof *session->auth);
        session->auth->asked = sasl_asked_name(command->arguments, command->arguments_len);
        go_on(session, sasl_begin(&session->auth->sasl, command->arguments, command->arguments_len));
    }
}

void auth_line(struct session *session, const char *line, size_t len)
{
    go_on(session, sasl_next(&session->auth->sasl, line, len));
}

void auth_bad_line(struct session *session)
{
    fail(session, RESULT_MALFORMED, 500, "5.5.6", "Authentication exchange line is too long, or no line");
}

/* ---- MAIL ---- */

bool auth_may_send(struct session *session, const struct smtp_command *mail)
{
    char sender[SMTP_ADDRESS_MAX];
    const char *login = session_login(session);
    if (login == NULL && listener_auth(session->limits) == AUTH_REQUIRE) {
        const char *text = net_is_tls(session->conn) ? "Authentication required" : "Must issue a STARTTLS command first";
        session->errors++;
        report_reject(session, NULL, "MAIL", 530, "5.7.0", text, NULL, NULL);
        session_reply(session, SMTP_VERB_MAIL, 530, "5.7.0", "%s", text);
        return false;
    }
    /* The null sender claims to be nobody (RFC 5321 4.5.5: receipts are sent with it). */
    if (login == NULL || !session->limits->sender_login_match || mail->address.kind == SMTP_ADDRESS_NULL)
        return true;
    smtp_address_format(&mail->address, sender);
    if (relay_owns_sender((const char *const *)session->auth->senders, session->auth->sender_count, sender))
        return true;
    session->errors++;
    report_reject(session, NULL, "MAIL", 553, "5.7.1", "Sender address rejected: not owned by this login", sender, NULL);
    session_reply(session, SMTP_VERB_MAIL, 553, "5.7.1", "<%s>: Sender address rejected: not owned by %s", sender, login);
    return false;
}

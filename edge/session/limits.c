/*
 * limits.c - the policy's limits at the four places where a session meets them: connect, MAIL, RCPT, and the end of a message
 *
 *     CONNECTED (the banner waits), or   MAIL, RCPT --> ST_LIMIT --> obeyed, or 450 4.7.1;   end of the message --> VERDICT --> goes on, or 450 4.7.1
 *
 * Bytes are known when they have come. So MAIL asks whether there are any left, and the end of the message takes them, even more than are left: that is a debt, and the
 * next message waits until it is paid.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/idn.h"
#include "common/memory.h"
#include "common/policy/parties.h"
#include "edge/session/transaction.h"

struct gathered {
    struct limit_rule reputation, excepted[LIMITS_MOST];
    struct limit_cost costs[LIMITS_MOST];
    size_t count;
};

static enum limit_direction direction_of(const struct session *session)
{
    const struct policy *policy = session->server->policy;
    if (session->limits->profile != PROFILE_RELAY)
        return session->limits->profile == PROFILE_SUBMISSION ? LIMIT_SUBMISSION : LIMIT_HANDOFF;
    return session_login(session) != NULL || policy_is_inside(policy, &session->client) ? LIMIT_OUTBOUND : LIMIT_INBOUND;
}

/* The null sender has no domain, so reports that come back to somebody are never held up for whoever else they came from. */
static bool domain_of(char out[LIMIT_SUBJECT_MAX], const char *sender)
{
    const char *at = sender != NULL ? strrchr(sender, '@') : NULL;
    if (at == NULL)
        return false;
    if (idn_is_ascii(at + 1) || !idn_to_ascii(out, at + 1))
        snprintf(out, LIMIT_SUBJECT_MAX, "%s", at + 1);
    return true;
}

/* Strangers may say MAIL with anybody's domain as often as they like: only a recipient whom we would accept makes it a message of that domain. */
static bool is_taken_with_recipient(const struct limit_rule *rule)
{
    return rule->direction == LIMIT_INBOUND && rule->by == LIMIT_BY_DOMAIN && rule->what == LIMIT_OF_MESSAGES;
}

/* with_recipient: of those lines only; else of all others. sender: NULL before MAIL. */
static void gather_some(struct gathered *out, const struct session *session, bool with_recipient, enum limit_what what, uint64_t amount, const char *sender)
{
    const struct policy *policy = session->server->policy;
    const struct limit_rule *rule;
    char domain[LIMIT_SUBJECT_MAX];
    struct limit_party party = { &session->client, session_login(session), domain_of(domain, sender) ? domain : NULL, (int64_t)(clock_wall_ms() / 1000) };
    for (size_t i = 0; policy != NULL && (rule = policy_limit_at(policy, i)) != NULL; i++) {
        struct limit_cost *cost = &out->costs[out->count];
        const struct exception *exception;
        if (out->count == LIMITS_MOST || rule->what != what || is_taken_with_recipient(rule) != with_recipient || rule->direction != direction_of(session) ||
            !limit_subject(cost->subject, &exception, policy, rule->by, &party) || !limit_for(&out->excepted[out->count], rule, exception))
            continue;
        cost->rule = &out->excepted[out->count];
        cost->cost = amount;
        cost->way = what == LIMIT_OF_BYTES ? BUCKET_DEBT : BUCKET_WHOLE;
        out->count++;
    }
}

static void gather(struct gathered *out, const struct session *session, enum limit_what what, uint64_t amount, const char *sender)
{
    gather_some(out, session, false, what, amount, sender);
}

static void after_rcpt(struct session *session, const struct smtp_command *command, const struct limit_verdict *verdict)
{
    session->tx->counted |= !verdict->refused;
    transaction_rcpt(session->tx, command, verdict);
}

static void on_verdict(void *arg, const struct limit_verdict *verdict)
{
    struct session *session = arg;
    enum limit_place place = session->limit_place;
    session->limit_query = NULL;
    if (place == LIMIT_AT_CONNECT) {
        session_limited_at_connect(session, verdict);
    } else if (place == LIMIT_AT_END && session->state == ST_VERDICT) {
        transaction_limited(session->tx, verdict);
    } else if (session->state == ST_LIMIT) {
        struct smtp_command *command = session->limit_command;
        session->limit_command = NULL;
        session_enter(session, session->after_limit);
        if (place == LIMIT_AT_MAIL)
            session_mail(session, command, verdict);
        else
            after_rcpt(session, command, verdict);
        free(command);
        session_resume(session);
    }
    session->input_ms = clock_ms(); /* until now the client waited for us */
    session_settle(session);
}

const struct stop *session_stop(const struct session *session)
{
    struct server *server = session->server;
    if (server->stops.count + server->stops.beyond_count == 0)
        return NULL;
    const char *login = session_login(session);
    if (login == NULL && (server->policy == NULL || !policy_is_inside(server->policy, &session->client)))
        return NULL;
    return stops_find(&server->stops, login, &session->client);
}

/* Devices cannot come again, so nothing slows them down. */
static void gather_throttle(struct gathered *out, const struct session *session, struct limit_rule *rule)
{
    const struct stop *stop = session_stop(session);
    if (stop == NULL || stop->state != WEIR__OUTBOUND_STATE__OUTBOUND_THROTTLED || session->limits->profile == PROFILE_HANDOFF || out->count == LIMITS_MOST)
        return;
    struct limit_cost *cost = &out->costs[out->count++];
    stop_rule(stop, rule, cost->subject);
    cost->rule = rule;
    cost->cost = 1;
    cost->way = BUCKET_WHOLE;
}

/* true: it waits, and on_verdict() goes on. */
static bool take(struct session *session, const struct gathered *gathered, enum limit_place place, struct limit_verdict *verdict)
{
    *verdict = (struct limit_verdict){ .refused = false };
    if (gathered->count == 0 || session->server->limiter == NULL)
        return false;
    session->limit_place = place;
    session->limit_query = limiter_take(session->server->limiter, gathered->costs, gathered->count, verdict, on_verdict, session);
    return session->limit_query != NULL;
}

static void hold(struct session *session, const struct smtp_command *command)
{
    session->limit_command = xmemdup(command, sizeof *command);
    session->after_limit = session->state;
    session_enter(session, ST_LIMIT);
}

bool limits_at_connect(struct session *session, struct limit_verdict *verdict)
{
    struct gathered gathered;
    gathered.count = 0;
    if (!session->unnamed && !session->trusted) /* who speaks for others is none of the clients */
        gather(&gathered, session, LIMIT_OF_CONNECTIONS, 1, NULL);
    return take(session, &gathered, LIMIT_AT_CONNECT, verdict);
}

bool limits_at_mail(struct session *session, const struct smtp_command *command, struct limit_verdict *verdict)
{
    struct gathered gathered;
    gathered.count = 0;
    char sender[SMTP_ADDRESS_MAX];
    smtp_address_format(&command->address, sender);
    if (reputation_cost(session, &gathered.costs[0], &gathered.reputation)) /* before the policy's: with as many lines as there may be one is not asked */
        gathered.count++;
    gather(&gathered, session, LIMIT_OF_MESSAGES, 1, sender);
    gather(&gathered, session, LIMIT_OF_BYTES, 0, sender);
    bool waits = take(session, &gathered, LIMIT_AT_MAIL, verdict);
    if (waits)
        hold(session, command);
    return waits;
}

bool limits_at_rcpt(struct session *session, const struct smtp_command *command, struct limit_verdict *verdict)
{
    struct gathered gathered;
    gathered.count = 0;
    struct limit_rule throttle;
    gather(&gathered, session, LIMIT_OF_RECIPIENTS, 1, session->tx->sender);
    gather_throttle(&gathered, session, &throttle);
    if (!session->tx->counted)
        gather_some(&gathered, session, true, LIMIT_OF_MESSAGES, 1, session->tx->sender);
    if (gathered.count > 0 && !transaction_may_take(session->tx, command))
        gathered.count = 0;
    bool waits = take(session, &gathered, LIMIT_AT_RCPT, verdict);
    if (waits)
        hold(session, command);
    else if (gathered.count > 0 && !verdict->refused)
        session->tx->counted = true;
    return waits;
}

bool limits_at_end(struct session *session, struct limit_verdict *verdict)
{
    struct gathered gathered;
    gathered.count = 0;
    gather(&gathered, session, LIMIT_OF_BYTES, session->tx->size, session->tx->sender);
    return take(session, &gathered, LIMIT_AT_END, verdict);
}

void limits_cancel(struct session *session)
{
    limit_query_cancel(&session->limit_query);
    free(session->limit_command);
    session->limit_command = NULL;
}

char *limits_text(char out[SMTP_REPLY_TEXT_MAX], const struct limit_verdict *verdict)
{
    const char *ill = reputation_of_verdict(verdict);
    if (ill != NULL)
        snprintf(out, SMTP_REPLY_TEXT_MAX, "Too many messages for the reputation of %s, try again later", ill);
    else if (verdict->rule.line == 0) /* no line of `limits` */
        snprintf(out, SMTP_REPLY_TEXT_MAX, "Mail from %s %s is slowed down, as too much of it came or was refused; try again later",
                 verdict->rule.by == LIMIT_BY_ACCOUNT ? "account" : "host", verdict->subject);
    else
        snprintf(out, SMTP_REPLY_TEXT_MAX, "Too many %s from %s %s, try again later", limit_what_name(verdict->rule.what), limit_by_name(verdict->rule.by),
             verdict->subject);
    return out;
}

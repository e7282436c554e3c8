/*
 * leniency.c - which devices need what a handoff listener forgives: a counter for all of them, a line for each session
 */
#include <stdio.h>
#include "common/log.h"
#include "edge/session/internal.h"
#include "edge/smtp/leniency.h"

bool session_forgives_haste(const struct session *session)
{
    const struct policy *policy = session->server->policy;
    return session_is_lenient(session) && !session->unnamed && policy != NULL && policy_is_inside(policy, &session->client);
}

void session_forgive(struct session *session, unsigned leniencies)
{
    unsigned first = leniencies & ~session->forgiven;
    if (first == 0 || !session_is_lenient(session))
        return;
    session->forgiven |= first;
    for (unsigned i = 0; i < SMTP_LENIENCY_COUNT; i++)
        if (first & 1u << i)
            metric_add(metrics_counter(session->server->metrics, "weir_leniencies_total", "listener=\"%s\",kind=\"%s\"", session->port->name,
                                       smtp_leniency_name(i)),
                       1);
}

void report_leniencies(const struct session *session)
{
    char kinds[256] = "";
    size_t len = 0;
    for (unsigned i = 0; i < SMTP_LENIENCY_COUNT; i++)
        if (session->forgiven & 1u << i)
            len += (size_t)snprintf(kinds + len, sizeof kinds - len, "%s%s", len > 0 ? "," : "", smtp_leniency_name(i));
    if (len > 0)
        log_write(LOG_INFO, "lenient: %s[%s] helo=<%s> needed %s", session_client_name(session), session->client_text,
                  session->helo != NULL ? session->helo : "", kinds);
}

/*
 * report.c - what is written down: log lines in Postfix's shape, and one audit row per message and recipient
 *
 * Text from peers goes into lines as it is: log_write() escapes every line as a whole. Only addresses don't: in quotes they may have what ends them.
 */
#include <stdio.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "edge/session/internal.h"

#define SHOWN_MAX (4 * SMTP_ADDRESS_MAX)

static const char *show(char out[SHOWN_MAX], const char *address)
{
    return log_bracketed(out, SHOWN_MAX, address, strlen(address));
}

static const char *session_proto(const struct session *session)
{
    return session->esmtp ? "ESMTP" : "SMTP";
}

static int session_log_level(const struct session *session)
{
    return session->unnamed && session->balancer.family != 0 ? LOG_DEBUG : LOG_INFO; /* a health check is nobody's news */
}

void report_connect(const struct session *session)
{
    char balancer[NETADDR_TEXT_MAX] = "";
    if (session->balancer.family != 0) /* with the port by which the balancer's own log knows this connection */
        netaddr_format_endpoint(&session->balancer, balancer);
    log_write(session_log_level(session), "connect from %s[%s]%s%s", session_client_name(session), session->client_text,
              *balancer != '\0' ? " proxy=" : "", balancer);
}

void report_disconnect(const struct session *session)
{
    report_leniencies(session);
    char counts[512];
    size_t len = 0;
    if (!log_wants(session_log_level(session)))
        return;
    counts[0] = '\0';
    for (int verb = 1; verb < SMTP_VERB_COUNT; verb++) {
        unsigned said = session->said[verb], obeyed = session->obeyed[verb];
        if (said == 0)
            continue;
        char name[16];
        const char *upper = smtp_verb_name((enum smtp_verb)verb);
        size_t i = 0;
        for (; upper[i] != '\0' && i < sizeof name - 1; i++)
            name[i] = (char)(upper[i] | 0x20);
        name[i] = '\0';
        len += (size_t)snprintf(counts + len, sizeof counts - len, obeyed < said ? " %s=%u/%u" : " %s=%u", name,
                                obeyed < said ? obeyed : said, said);
        if (len > sizeof counts - 64)
            break;
    }
    log_write(session_log_level(session), "disconnect from %s[%s]%s commands=%u", session_client_name(session), session->client_text, counts, session->commands);
}

void report_reject(const struct session *session, const char *id, const char *stage, int code, const char *enhanced,
                   const char *text, const char *sender, const char *to)
{
    char from_to[2 * SHOWN_MAX + 32] = "", from[SHOWN_MAX], shown_to[SHOWN_MAX];
    if (sender != NULL)
        snprintf(from_to, sizeof from_to, " from=<%s>%s%s%s", show(from, sender), to != NULL ? " to=<" : "", to != NULL ? show(shown_to, to) : "",
                 to != NULL ? ">" : "");
    const char *login = session_login(session);
    log_write(LOG_INFO, "%s: reject: %s from %s[%s]: %d %s %s;%s proto=%s helo=<%s>%s%s%s", id != NULL ? id : "NOQUEUE", stage,
              session_client_name(session), session->client_text, code, enhanced, text, from_to, session_proto(session),
              session->helo != NULL ? session->helo : "", login != NULL ? " sasl_username=<" : "", login != NULL ? login : "",
              login != NULL ? ">" : "");
}

void report_message_begins(const struct session *session, const char *id)
{
    const char *login = session_login(session);
    if (login != NULL)
        log_write(LOG_INFO, "%s: client=%s[%s], sasl_method=%s, sasl_username=%s", id, session_client_name(session), session->client_text,
                  session_sasl_method(session), login);
    else
        log_write(LOG_INFO, "%s: client=%s[%s]", id, session_client_name(session), session->client_text);
    uint64_t override = reputation_override(session);
    if (override != 0)
        log_write(LOG_INFO, "%s: override=%llu", id, (unsigned long long)override);
}

/* Counters of Postfix's logs take from= and to= of qmgr and smtp for mail that was taken and sent on, and look in smtpd's lines only for clients and
 * for what was refused. So what the client keeps is written as smtpd, however much the lines say about it. */
void report_message(const struct report *report, const struct outcome *outcome)
{
    const struct session *session = report->session;
    char from[SHOWN_MAX];
    if (*report->message_id != '\0')
        log_write(LOG_INFO, "%s: message-id=%s", report->id, report->message_id);
    if (outcome->disposition == DISPOSITION_SPOOLED)
        return; /* from= comes when it is taken up, to= with each recipient's end: edge/spool */
    log_write_as(outcome->disposition == DISPOSITION_DELIVERED ? "qmgr" : "smtpd", LOG_INFO,
                 "%s: from=<%s>, size=%llu, nrcpt=%u", report->id, show(from, report->sender), (unsigned long long)report->size, report->rcpt_count);
    if (outcome->disposition == DISPOSITION_DISCARDED || outcome->disposition == DISPOSITION_QUARANTINED)
        log_write(LOG_INFO, "%s: %s: END-OF-MESSAGE from %s[%s]: %s; from=<%s> proto=%s helo=<%s>", report->id,
                  outcome->disposition == DISPOSITION_DISCARDED ? "discard" : "hold", session_client_name(session), session->client_text, outcome->why, show(from, report->sender), session_proto(session), session->helo);
    else if (outcome->disposition != DISPOSITION_DELIVERED && outcome->code > 0)
        report_reject(session, report->id, "END-OF-MESSAGE", outcome->code, outcome->enhanced, outcome->text, report->sender, NULL);
}

static const struct registered_host *session_host(const struct session *session)
{
    const struct policy *policy = session->server->policy;
    bool inside = session_login(session) == NULL && policy != NULL && policy_is_inside(policy, &session->client);
    return inside ? policy_host(policy, &session->client, (int64_t)(clock_wall_ms() / 1000)) : NULL;
}

Weir__Origin session_origin(const struct session *session)
{
    const struct policy *policy = session->server->policy;
    if (session_login(session) != NULL)
        return WEIR__ORIGIN__ORIGIN_LOGIN;
    if (policy == NULL)
        return WEIR__ORIGIN__ORIGIN_UNSPECIFIED;
    if (!policy_is_inside(policy, &session->client))
        return WEIR__ORIGIN__ORIGIN_OUTSIDE;
    return session_host(session) != NULL ? WEIR__ORIGIN__ORIGIN_REGISTERED : WEIR__ORIGIN__ORIGIN_INSIDE;
}

static void audit(const struct report *report, unsigned index, const char *recipient, const struct outcome *outcome)
{
    const struct session *session = report->session;
    if (session->server->node == NULL)
        return;
    char disposition[64], reply[SMTP_REPLY_TEXT_MAX + 32], host[NETADDR_TEXT_MAX];
    const struct registered_host *registered = session_host(session);
    snprintf(disposition, sizeof disposition, "%s%s%s", disposition_name(outcome->disposition), *outcome->why ? ":" : "",
             outcome->why);
    snprintf(reply, sizeof reply, "%d %s %s", outcome->code, outcome->enhanced, outcome->text);

    Weir__AuditRow row = WEIR__AUDIT_ROW__INIT;
    row.id = wire_text(report->id);
    row.recipient_index = index;
    row.recipient = wire_text(recipient);
    row.sender = wire_text(report->sender);
    row.disposition = wire_text(disposition);
    row.reply_code = (uint32_t)outcome->code;
    row.reply = wire_text(outcome->code > 0 ? reply : "");
    row.client = wire_text(session->client_text);
    row.helo = wire_text(session->helo != NULL ? session->helo : "");
    row.listener = wire_text(session->port->name);
    row.message_id = wire_text(report->message_id);
    row.size = report->size;
    row.verdict = wire_text(report->verdict);
    if (report->scan != NULL) {
        row.signature = wire_text(report->scan->signature);
        row.scanner = wire_text(report->scan->scanner);
        row.engine = wire_text(report->scan->engine);
        row.signatures = wire_text(report->scan->signatures);
    }
    row.next_hop = wire_text(report->next_hop);
    row.next_hop_reply = wire_text(report->next_hop_reply);
    row.time_ms = clock_wall_ms();
    row.duration_ms = (uint32_t)(clock_ms() - report->began_ms);
    row.tls = wire_text(session_tls(session));
    row.policy_epoch = report->policy_epoch;
    row.rule = wire_text(report->rule);
    row.login = wire_text(session_login(session));
    row.given = wire_text(report->given);
    row.origin = session_origin(session);
    row.first = report->first;
    row.host = wire_text(registered != NULL ? netaddr_prefix_format(&registered->prefix, host) : "");
    row.override = reputation_override(session);
    uint8_t attachments[WIRE_ATTACHMENTS_MAX * WIRE_ATTACHMENT_LEN];
    if (report->first && report->scan != NULL)
        row.attachments = wire_bytes(attachments, scan_pack_attachments(report->scan, attachments));
    node_report(session->server->node, &row);
}

void report_recipient_refused(const struct report *report, unsigned index, const char *recipient, const struct outcome *outcome)
{
    audit(report, index, recipient, outcome);
}

void report_recipient(const struct report *report, unsigned index, const char *recipient, const struct outcome *outcome)
{
    static const char *const status[DISPOSITION_COUNT] = {
        [DISPOSITION_DELIVERED] = "sent",
        [DISPOSITION_DISCARDED] = "discarded",
        [DISPOSITION_QUARANTINED] = "quarantined",
        [DISPOSITION_REFUSED] = "bounced",
        [DISPOSITION_DEFERRED] = "deferred",
    };
    audit(report, index, recipient, outcome);
    if (!log_wants(LOG_INFO) || outcome->disposition == DISPOSITION_SPOOLED)
        return;
    /* delays=a/b/c/d: until the last byte, scan, 0 (connection times are the pool's), from the verdict to the answer. */
    uint64_t now = clock_ms(), received = report->received_ms != 0 ? report->received_ms : now;
    double scan = report->scan != NULL ? (double)(report->scan->scan_us + report->scan->queue_us) / 1e6 : 0;
    double total = (double)(now - report->began_ms) / 1e3, body = (double)(received - report->began_ms) / 1e3;
    double rest = total - body - scan > 0 ? total - body - scan : 0;
    bool says_next_hop = *report->next_hop_reply != '\0';
    char to[SHOWN_MAX], given[SHOWN_MAX];
    log_write_as(outcome->disposition == DISPOSITION_DELIVERED ? "smtp" : "smtpd", LOG_INFO,
                 "%s: to=<%s>,%s%s%s relay=%s, delay=%.2f, delays=%.2f/%.2f/0/%.2f, dsn=%s, status=%s (%s%s%s)",
                 report->id, show(to, recipient), report->given != NULL ? " orig_to=<" : "", report->given != NULL ? show(given, report->given) : "",
                 report->given != NULL ? ">," : "", *report->next_hop ? report->next_hop : "none", total, body, scan, rest,
                 *outcome->enhanced ? outcome->enhanced : "4.4.2", status[outcome->disposition], outcome->why, *outcome->why ? ": " : "",
                 says_next_hop ? report->next_hop_reply : outcome->text);
}

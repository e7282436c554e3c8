/*
 * reputation.c - what the cluster thinks of a client or an account (edge/reputation), where a session meets it: at connect, and at MAIL
 */
#include <stdio.h>
#include <string.h>
#include "common/clock.h"
#include "edge/session/internal.h"

#define NOTE_AGAIN_MS 60000
#define MINUTE_MS     60000

/* In front of who is throttled, in the names of buckets: apart from those of the policy's lines. */
static const char prefix[] = "reputation:";

/* Who speaks for others answers for none of them; load balancers' own checks come from their addresses. */
static bool speaks_for_others(const struct port *port, const struct netaddr *client)
{
    const struct edge_listener *listener = edge_config_listener(port->server->config, port->name);
    return edge_peers_contain(&listener->speakers, client) || edge_peers_contain(&listener->balancers, client);
}

/* Without a policy nobody knows who is inside. Of the inside only who is registered is judged: as one host, whichever of its addresses it comes from. */
static struct book_entry *entry_of_client(const struct port *port, const struct netaddr *client)
{
    const struct server *server = port->server;
    if (server->feed == NULL || server->policy == NULL || !listener_uses_reputation(&edge_config_listener(server->config, port->name)->settings))
        return NULL;
    struct book_entry *entry = feed_client(server->feed, client);
    if (policy_is_inside(server->policy, client)) {
        const struct registered_host *host = policy_host(server->policy, client, (int64_t)(clock_wall_ms() / 1000));
        entry = host != NULL ? feed_host(server->feed, &host->prefix) : NULL;
    }
    return entry != NULL && !speaks_for_others(port, client) ? entry : NULL;
}

struct book_entry *reputation_against(const struct port *port, const struct netaddr *client)
{
    struct book_entry *entry = entry_of_client(port, client);
    return entry != NULL && entry->action == REPUTATION_REJECT ? entry : NULL;
}

void reputation_note(const struct port *port, struct book_entry *entry, const char *client, const char *words)
{
    struct server *server = port->server;
    uint64_t now = clock_ms();
    char reply[256];
    if (server->node == NULL || entry == NULL || (entry->told_ms != 0 && now - entry->told_ms < NOTE_AGAIN_MS))
        return;
    entry->told_ms = now;
    struct queue_id id = queue_id_next(&server->ids, clock_wall_ms());
    Weir__AuditRow row = WEIR__AUDIT_ROW__INIT;
    snprintf(reply, sizeof reply, "554 5.7.1 %s (%s %s)", words, entry->by_operator ? "an operator refuses" : "the score of", entry->key);
    row.id = wire_text(id.text);
    row.disposition = wire_text("refused:reputation");
    row.reply_code = 554;
    row.reply = wire_text(reply);
    row.client = wire_text(client);
    row.listener = wire_text(port->name);
    row.time_ms = clock_wall_ms();
    row.policy_epoch = server->policy_epoch;
    row.override = entry->override;
    node_report(server->node, &row);
}

void reputation_note_abuse(const struct session *session, int code, const char *enhanced, const char *words)
{
    struct server *server = session->server;
    const struct port *port = session->port;
    char reply[256];
    bool judged = listener_uses_reputation(&edge_config_listener(server->config, port->name)->settings) && session_origin(session) == WEIR__ORIGIN__ORIGIN_OUTSIDE;
    if (server->node == NULL || session->unnamed || !judged || speaks_for_others(port, &session->client))
        return;
    struct queue_id id = queue_id_next(&server->ids, clock_wall_ms());
    Weir__AuditRow row = WEIR__AUDIT_ROW__INIT;
    snprintf(reply, sizeof reply, "%d %s %s", code, enhanced, words);
    row.id = wire_text(id.text);
    row.disposition = wire_text("refused:protocol");
    row.reply_code = (uint32_t)code;
    row.reply = wire_text(reply);
    row.client = wire_text(session->client_text);
    row.helo = wire_text(session->helo != NULL ? session->helo : "");
    row.listener = wire_text(port->name);
    row.time_ms = clock_wall_ms();
    row.policy_epoch = server->policy_epoch;
    row.tls = wire_text(session_tls(session));
    row.origin = WEIR__ORIGIN__ORIGIN_OUTSIDE;
    node_report(server->node, &row);
}

/* Who has proved who it is answers for itself, wherever it comes from. */
static struct book_entry *entry_of(const struct session *session)
{
    const char *login = session_login(session);
    if (login != NULL)
        return session->server->feed != NULL ? feed_login(session->server->feed, login) : NULL;
    return session->unnamed ? NULL : entry_of_client(session->port, &session->client);
}

bool reputation_is_ill(const struct session *session)
{
    const struct book_entry *entry = entry_of(session);
    return entry != NULL && entry->action == REPUTATION_THROTTLE;
}

uint64_t reputation_override(const struct session *session)
{
    const struct book_entry *entry = entry_of(session);
    return entry != NULL && entry->by_operator ? entry->override : 0;
}

bool reputation_stops_login(const struct session *session)
{
    const struct book_entry *entry = session_login(session) != NULL ? entry_of(session) : NULL;
    return entry != NULL && entry->action == REPUTATION_REJECT;
}

/* Of IPv4: its addresses are of people who have nothing to do with each other, and one of them could empty a bucket of all. */
static bool is_network_by_score(const struct book_entry *entry)
{
    return !entry->login && !entry->host && !entry->by_operator && entry->family == AF_INET && entry->bits < 32;
}

bool reputation_cost(const struct session *session, struct limit_cost *cost, struct limit_rule *rule)
{
    const struct book_entry *entry = entry_of(session);
    uint64_t rate = session->config->edge.reputation_rate;
    if (entry == NULL || entry->action == REPUTATION_ALLOW)
        return false;
    /* One bucket, whatever listener it comes by, and one for each address of an IPv4 network. A client refused since it came in is still here: it may send no more than others with middling ones. */
    *rule = (struct limit_rule){
        .direction = entry->login ? LIMIT_SUBMISSION : entry->host ? LIMIT_OUTBOUND : LIMIT_INBOUND,
        .by = entry->login ? LIMIT_BY_ACCOUNT : LIMIT_BY_CLIENT,
        .what = LIMIT_OF_MESSAGES,
        .rate = { .amount = rate, .period_ms = MINUTE_MS, .burst = rate },
    };
    *cost = (struct limit_cost){ .rule = rule, .cost = 1, .way = BUCKET_WHOLE };
    if (is_network_by_score(entry))
        snprintf(cost->subject, sizeof cost->subject, "%s%s in %s", prefix, session->client_text, entry->key);
    else
        snprintf(cost->subject, sizeof cost->subject, "%s%.*s", prefix, (int)(sizeof cost->subject - sizeof prefix), entry->key);
    return true;
}

const char *reputation_of_verdict(const struct limit_verdict *verdict)
{
    bool ours = verdict->rule.line == 0 && strncmp(verdict->subject, prefix, sizeof prefix - 1) == 0;
    return ours ? verdict->subject + sizeof prefix - 1 : NULL;
}

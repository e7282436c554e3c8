/*
 * egress.c - from which pool of addresses a message goes out: as operators said of its sender, else by what kind of mail it is
 */
#include <string.h>
#include "edge/session/internal.h"

struct kind {
    bool report, handoff, inside; /* a DSN of ours; from a handoff listener; from an inside host */
    const char *login;            /* NULL: nobody has logged in */
    const struct netaddr *client; /* family 0: not known */
};

/* The first of these that has a pool. */
static const char *pool_of(struct server *server, const struct kind *kind)
{
    bool ours = kind->login != NULL || kind->inside;
    const char *moved = ours && !kind->report ? stops_pool(&server->stops, kind->login, kind->client) : NULL;
    const struct stop *stop = ours && !kind->report ? stops_find(&server->stops, kind->login, kind->client) : NULL;
    const bool is[EGRESS_CLASSES] = {
        [EGRESS_REPORTS] = kind->report,
        [EGRESS_SUSPECT] = stop != NULL,
        [EGRESS_HANDOFF] = !kind->report && kind->handoff,
        [EGRESS_SUBMISSION] = !kind->report && kind->login != NULL,
        [EGRESS_OUTBOUND] = !kind->report && ours,
        [EGRESS_INBOUND] = !kind->report && !ours,
    };
    static const enum egress_class order[] = { EGRESS_REPORTS, EGRESS_SUSPECT, EGRESS_HANDOFF, EGRESS_SUBMISSION, EGRESS_OUTBOUND, EGRESS_INBOUND };
    if (moved != NULL)
        return moved;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (is[order[i]] && server->config->egress_for[order[i]] != NULL)
            return server->config->egress_for[order[i]]->name;
    return "";
}

const char *session_egress(const struct session *session)
{
    struct server *server = session->server;
    return pool_of(server, &(struct kind){ .handoff = session->limits->profile == PROFILE_HANDOFF,
                                           .inside = server->policy != NULL && policy_is_inside(server->policy, &session->client),
                                           .login = session_login(session),
                                           .client = &session->client });
}

const char *server_egress(struct server *server, const Weir__SpoolEnvelope *envelope)
{
    char login[WIRE_LOGIN_MAX + 1], listener[WIRE_NAME_MAX + 1], text[WIRE_CLIENT_MAX + 1];
    struct netaddr client = { 0 };
    bool known = netaddr_parse(&client, wire_string(text, sizeof text, &envelope->client));
    const struct edge_listener *from = edge_config_listener(server->config, wire_string(listener, sizeof listener, &envelope->listener));
    wire_string(login, sizeof login, &envelope->login);
    return pool_of(server, &(struct kind){ .report = envelope->dsn,
                                           .handoff = from != NULL && from->settings.profile == PROFILE_HANDOFF,
                                           .inside = known && server->policy != NULL && policy_is_inside(server->policy, &client),
                                           .login = *login != '\0' ? login : NULL,
                                           .client = &client });
}

/*
 * relay.c - see relay.h
 */
#include "edge/session/relay.h"
#include <stdio.h>
#include <string.h>

#define SMTP_PORT 25

static void refuse(struct relay_answer *out, const char *why, int code, const char *enhanced, const char *text)
{
    out->result = RELAY_REFUSED;
    out->why = why;
    out->code = code;
    snprintf(out->enhanced, sizeof out->enhanced, "%s", enhanced);
    snprintf(out->text, sizeof out->text, "<%s>: %s", out->address, text);
}

/* The recipient's domain, as the DNS knows it. An address literal is its own host, unless it is ourselves: that is looked at there, too. */
static void to_domain(struct relay_answer *out, const struct smtp_address *recipient, const char *domain)
{
    char literal[NETADDR_TEXT_MAX];
    bool is_literal = recipient->kind == SMTP_ADDRESS_LITERAL;
    if (is_literal && recipient->literal.family == 0) {
        refuse(out, "no-route", 550, "5.1.2", "Unknown kind of address literal");
        return;
    }
    out->result = RELAY_TO_NEXT_HOP;
    snprintf(out->hop.host, sizeof out->hop.host, "%s", is_literal ? netaddr_format(&recipient->literal, literal) : domain);
    out->hop.port = SMTP_PORT;
    out->hop.mx = true;
}

/* false: there is none. */
static bool follow_route(struct relay_answer *out, const struct route *route)
{
    switch (route->kind) {
    case ROUTE_SMTP:
        out->result = RELAY_TO_NEXT_HOP;
        memcpy(out->hop.host, route->host, sizeof out->hop.host);
        out->hop.port = route->port;
        out->hop.mx = route->mx;
        return true;
    case ROUTE_DISCARD:
        out->result = RELAY_DISCARD;
        return true;
    case ROUTE_ERROR:
        refuse(out, "route", route->code, route->enhanced, route->text);
        return true;
    case ROUTE_NONE:
        break;
    }
    return false;
}

static void name_rule(struct relay_answer *out, const char *file, unsigned line)
{
    if (file != NULL)
        snprintf(out->rule, sizeof out->rule, "%s:%u", file, line);
}

/* By the policy's route for the domain, else by its MX records. */
static void to_next_hop(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient,
                        const char *domain)
{
    struct route route = policy_route(policy, domain);
    name_rule(out, route.file, route.line);
    if (follow_route(out, &route))
        return;
    if (policy_is_own_domain(policy, domain)) /* our own fault, so 4xx: the operator adds the route and nothing is lost */
        refuse(out, "config", 451, "4.3.5", "No route is configured for this domain");
    else if (mx_delivery)
        to_domain(out, recipient, domain);
    else
        refuse(out, "no-route", 550, "5.4.4", "No route to this domain");
}

static void answer_init(struct relay_answer *out, const struct smtp_address *recipient)
{
    out->hop = (struct next_hop){ 0 };
    out->decision = (struct relay_decision){ 0 };
    out->rule[0] = '\0';
    smtp_address_format(recipient, out->address);
}

void relay_route(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient)
{
    answer_init(out, recipient);
    to_next_hop(out, policy, mx_delivery, recipient, recipient->domain);
}

void relay_decide(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct netaddr *client,
                  bool authenticated, const struct smtp_address *recipient)
{
    const char *domain = recipient->domain;
    answer_init(out, recipient);

    if (recipient->kind == SMTP_ADDRESS_NULL) {
        refuse(out, "relay", 550, "5.1.3", "The null address receives no mail");
        return;
    }
    if (recipient->kind == SMTP_ADDRESS_POSTMASTER) {
        /* RFC 5321 4.5.1: bare <postmaster> is always accepted; it is the postmaster of our first own domain. */
        domain = policy_first_own_domain(policy);
        if (domain == NULL) {
            refuse(out, "config", 550, "5.1.1", "This host has no domain of its own");
            return;
        }
        snprintf(out->address, sizeof out->address, "postmaster@%s", domain);
    }

    struct relay_decision decision = out->decision = policy_relay(policy, client, authenticated, domain);
    /* A local part that asks for routing (user%there@here) would be sent on by a lenient next hop: we would be its open relay. Insiders
     * and the authenticated may send anywhere anyway. */
    if (!decision.allowed || (*recipient->reroute != '\0' && !authenticated && !policy_is_inside(policy, client))) {
        if (!decision.allowed)
            name_rule(out, decision.file, decision.line);
        refuse(out, "relay", 550, "5.7.1", "Relay access denied");
        return;
    }
    to_next_hop(out, policy, mx_delivery, recipient, domain);
}

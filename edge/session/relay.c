/*
 * relay.c - see relay.h
 */
#include "edge/session/relay.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/idn.h"
#include "common/memory.h"

#define SMTP_PORT 25

static void refuse(struct relay_answer *out, const char *why, int code, const char *enhanced, const char *text)
{
    out->result = RELAY_REFUSED;
    out->why = why;
    out->code = code;
    snprintf(out->enhanced, sizeof out->enhanced, "%s", enhanced);
    snprintf(out->text, sizeof out->text, "<%s>: %s", out->asked, text);
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
    const char *host = is_literal ? netaddr_format(&recipient->literal, literal) : domain;
    if (!idn_to_ascii(out->hop.host, host)) /* one spelling for one host: connections, limits and back-off are counted by it */
        snprintf(out->hop.host, sizeof out->hop.host, "%s", host);
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
    size_t len = strlen(out->rule);
    if (file != NULL)
        snprintf(out->rule + len, sizeof out->rule - len, "%s%s:%u", len > 0 ? ", " : "", file, line);
}

/* By the policy's route for the domain, else by its MX records. */
static void choose_next_hop(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient,
                            const char *domain)
{
    struct route route = policy_route(policy, domain);
    name_rule(out, route.file, route.line);
    if (follow_route(out, &route))
        return;
    if (policy_knows_mailboxes(policy, domain))
        refuse(out, "no-user", 550, "5.1.1", "User unknown");
    else if (policy_is_own_domain(policy, domain)) /* our own fault, so 4xx: the operator adds the route and nothing is lost */
        refuse(out, "config", 451, "4.3.5", "No route is configured for this domain");
    else if (mx_delivery)
        to_domain(out, recipient, domain);
    else
        refuse(out, "no-route", 550, "5.4.4", "No route to this domain");
}

static void to_next_hop(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient,
                        const char *domain)
{
    choose_next_hop(out, policy, mx_delivery, recipient, domain);
    unsigned line = out->result == RELAY_TO_NEXT_HOP && !out->role ? policy_verifies(policy, domain) : 0;
    out->verify = line > 0;
    if (line > 0)
        name_rule(out, "verify", line);
}

static void answer_init(struct relay_answer *out, const struct smtp_address *recipient)
{
    out->hop = (struct next_hop){ 0 };
    out->decision = (struct relay_decision){ 0 };
    out->rule[0] = out->owner[0] = '\0';
    out->verify = out->role = false;
    smtp_address_format(recipient, out->address);
    memcpy(out->asked, out->address, sizeof out->asked);
}

/* ---- aliases ---- */

struct target {
    char *address;      /* canonical */
    const char *domain; /* borrowed */
};

struct targets { /* whom an alias stands for, each once */
    struct target *items;
    uint32_t count, room;
    struct domains seen; /* addresses */
};

static void on_target(void *arg, const char *local, const char *domain)
{
    struct targets *targets = arg;
    struct smtp_address mailbox = { .kind = SMTP_ADDRESS_MAILBOX };
    char address[SMTP_ADDRESS_MAX];
    snprintf(mailbox.local, sizeof mailbox.local, "%s", local);
    snprintf(mailbox.domain, sizeof mailbox.domain, "%s", domain);
    smtp_address_format(&mailbox, address);
    if (domains_find(&targets->seen, address) != DOMAINS_NONE)
        return;
    if (targets->count == targets->room) {
        targets->room = targets->room > 0 ? 2 * targets->room : 4;
        targets->items = xrealloc(targets->items, targets->room * sizeof *targets->items);
    }
    struct target *target = &targets->items[targets->count++];
    *target = (struct target){ xstrdup(address), domain };
    domains_add(&targets->seen, target->address, 1);
}

static void targets_fini(struct targets *targets)
{
    for (uint32_t i = 0; i < targets->count; i++)
        free(targets->items[i].address);
    free(targets->items);
    domains_fini(&targets->seen);
}

/* Reports about a list go to its owner, who can do something about a dead address; not to whoever wrote to it. */
static void name_owner(struct relay_answer *out, const struct policy *policy, const char *local, const char *domain)
{
    struct smtp_address owner = { .kind = SMTP_ADDRESS_MAILBOX };
    const char *name = policy_alias_name(policy, local, domain);
    int len = snprintf(owner.local, sizeof owner.local, "owner-%s", name != NULL ? name : local);
    if (len >= (int)sizeof owner.local || policy_alias(policy, owner.local, domain, NULL, NULL) == 0 || !idn_to_ascii(owner.domain, domain))
        return;
    smtp_address_format(&owner, out->owner);
}

static void to_target(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct target *target)
{
    static const struct smtp_address mailbox = { .kind = SMTP_ADDRESS_MAILBOX };
    snprintf(out->address, sizeof out->address, "%s", target->address);
    to_next_hop(out, policy, mx_delivery, &mailbox, target->domain);
}

bool relay_is_role(const char *local)
{
    return strcasecmp(local, "postmaster") == 0 || strcasecmp(local, "abuse") == 0;
}

/* Who must be reachable at every domain of ours (RFC 5321 4.5.1, RFC 2142). */
static bool is_reserved(const struct policy *policy, const char *local, const char *domain)
{
    return relay_is_role(local) && policy_is_local(policy, domain);
}

static bool has_route(const struct policy *policy, const char *domain)
{
    enum route_kind kind = policy_route(policy, domain).kind;
    return kind == ROUTE_SMTP || kind == ROUTE_DISCARD;
}

/* The line of the alias; 0: there is none. A domain's abuse@ is its postmaster's, where nothing else is said. */
static unsigned find_targets(struct targets *targets, const struct policy *policy, const char *local, const char *domain)
{
    unsigned line = policy_alias(policy, local, domain, on_target, targets);
    if (line == 0 && is_reserved(policy, local, domain) && !has_route(policy, domain))
        line = policy_alias(policy, "postmaster", domain, on_target, targets);
    return line;
}

/* postmaster@ or abuse@ of a domain with neither an alias for it nor a route: the postmaster of the first domain is ours, too. Without even
 * that it is our own fault, so 4xx: nothing is lost when the operator adds one. */
static void to_first_postmaster(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient)
{
    const char *first = policy_first_own_domain(policy);
    if (first == NULL || !has_route(policy, first)) {
        refuse(out, "config", 451, "4.3.5", "No alias or route is configured for this domain's postmaster");
        return;
    }
    snprintf(out->address, sizeof out->address, "postmaster@%s", first);
    to_next_hop(out, policy, mx_delivery, recipient, first);
}

/* Where a mailbox's mail goes: by an alias, or by its domain's route. */
static void to_mailbox(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient,
                       const char *local, const char *domain)
{
    struct targets targets = { 0 };
    out->role = relay_is_role(local) && policy_is_own_domain(policy, domain);
    unsigned line = find_targets(&targets, policy, local, domain);
    if (line == 0) {
        if (is_reserved(policy, local, domain) && !has_route(policy, domain))
            to_first_postmaster(out, policy, mx_delivery, recipient);
        else
            to_next_hop(out, policy, mx_delivery, recipient, domain);
        return;
    }
    name_rule(out, "aliases", line);
    name_owner(out, policy, local, domain);
    if (targets.count == 1)
        to_target(out, policy, mx_delivery, &targets.items[0]);
    else
        out->result = RELAY_SEVERAL;
    targets_fini(&targets);
}

void relay_expand(const struct relay_answer *several, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient,
                  relay_handler each, void *arg)
{
    struct targets targets = { 0 };
    bool bare = recipient->kind == SMTP_ADDRESS_POSTMASTER;
    const char *first = policy_first_own_domain(policy);
    find_targets(&targets, policy, bare ? "postmaster" : recipient->local, bare && first != NULL ? first : recipient->domain);
    for (uint32_t i = 0; i < targets.count; i++) {
        struct relay_answer answer = *several;
        to_target(&answer, policy, mx_delivery, &targets.items[i]);
        each(arg, &answer);
    }
    targets_fini(&targets);
}

/* ---- deciding ---- */

void relay_route(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient)
{
    answer_init(out, recipient);
    to_mailbox(out, policy, mx_delivery, recipient, recipient->local, recipient->domain);
}

void relay_route_again(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient)
{
    answer_init(out, recipient);
    choose_next_hop(out, policy, mx_delivery, recipient, recipient->domain);
}

static bool listener_allows(const struct relay_client *client, bool inside, bool own)
{
    const struct listener_settings *listener = client->listener;
    if (listener->profile == PROFILE_HANDOFF && !inside)
        return false;
    if (listener->profile == PROFILE_SUBMISSION && !inside && !client->authenticated)
        return false;
    if (listener->direction == DIRECTION_OUTBOUND && !inside && !client->authenticated)
        return false;
    return listener->direction != DIRECTION_INBOUND || own;
}

void relay_decide(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct relay_client *client,
                  const struct smtp_address *recipient)
{
    const char *local = recipient->local, *domain = recipient->domain;
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
        local = "postmaster";
        snprintf(out->address, sizeof out->address, "postmaster@%s", domain);
        memcpy(out->asked, out->address, sizeof out->asked);
    }

    /* Where hosts have to be registered, one that is not is a stranger, who may send to own domains. */
    bool unknown = !client->authenticated && client->listener->unregistered == UNREGISTERED_REFUSE && policy_is_inside(policy, client->address) &&
                   policy_host(policy, client->address, client->now) == NULL;
    bool inside = !unknown && policy_is_inside(policy, client->address), own = policy_is_own_domain(policy, domain);
    bool anywhere = (inside || client->authenticated) && client->listener->direction != DIRECTION_INBOUND;

    /* A local part that asks for routing (user%there@here) would be sent on by a lenient next hop: we would be its open relay. Who may send
     * anywhere gains nothing by it. */
    struct relay_decision decision = out->decision = policy_relay(policy, client->address, client->authenticated, domain);
    if (unknown && !(own && listener_allows(client, false, true) && *recipient->reroute == '\0')) {
        name_rule(out, decision.file, decision.line);
        refuse(out, "unregistered", 550, "5.7.1", "This host is not registered to send mail");
        return;
    }
    if (!decision.allowed || !listener_allows(client, inside, own) || (*recipient->reroute != '\0' && !anywhere)) {
        if (!decision.allowed)
            name_rule(out, decision.file, decision.line);
        refuse(out, "relay", 550, "5.7.1", "Relay access denied");
        return;
    }
    to_mailbox(out, policy, mx_delivery, recipient, local, domain);
}

void relay_address_ascii(char out[SMTP_ADDRESS_MAX], const char *address)
{
    char domain[IDN_NAME_MAX];
    const char *at = strrchr(address, '@');
    if (at != NULL && idn_to_ascii(domain, at + 1))
        snprintf(out, SMTP_ADDRESS_MAX, "%.*s@%s", (int)(at - address), address, domain);
    else
        snprintf(out, SMTP_ADDRESS_MAX, "%s", address);
}

bool relay_owns_sender(const char *const *senders, size_t count, const char *address)
{
    char asked[SMTP_ADDRESS_MAX], owned[SMTP_ADDRESS_MAX];
    relay_address_ascii(asked, address);
    const char *domain = strrchr(asked, '@');
    for (size_t i = 0; i < count; i++) {
        relay_address_ascii(owned, senders[i]);
        if (strcasecmp(owned, owned[0] == '@' && domain != NULL ? domain : asked) == 0)
            return true;
    }
    return false;
}

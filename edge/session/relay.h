#ifndef WEIR_EDGE_SESSION_RELAY_H
#define WEIR_EDGE_SESSION_RELAY_H
/*
 * relay.h - may this client send to this recipient through us, and where does it go (I3: default deny)
 *
 * Pure. The decision is made on the parsed address, never on how it was spelled.
 */
#include "common/netaddr.h"
#include "common/policy/policy.h"
#include "common/settings.h"
#include "edge/delivery/delivery.h"
#include "edge/smtp/address.h"

#define RELAY_RULE_MAX 64

enum relay_result { RELAY_TO_NEXT_HOP, RELAY_DISCARD, RELAY_REFUSED, RELAY_SEVERAL /* an alias for several addresses: relay_expand() */ };

struct relay_answer {
    enum relay_result result;
    char asked[SMTP_ADDRESS_MAX];   /* canonical: who was named */
    char address[SMTP_ADDRESS_MAX]; /* what the next hop is told: that, or whom it stands for as an alias */
    char owner[SMTP_ADDRESS_MAX];   /* whom reports go to in place of the sender, as the alias has an owner; "": none */
    struct next_hop hop;            /* RELAY_TO_NEXT_HOP */
    bool verify;                    /* and it is to be asked about the address first */
    bool role;                      /* `asked` is postmaster or abuse of an own domain: never verified */
    int code;                       /* RELAY_REFUSED */
    char enhanced[12];
    char text[SMTP_ADDRESS_MAX + 260];
    struct relay_decision decision; /* of relay_decide(): what granted it, or why not */
    char rule[RELAY_RULE_MAX];      /* the policy's lines that decided, "mailertable:3", "aliases:7, mailertable:3"; or "": none */
    const char *why;                /* RELAY_REFUSED: "relay", "route", "no-route", "config": for the audit row; static */
};

/* The second half of it: where the recipient's mail goes, whoever sends it. A mailbox. postmaster@ and abuse@ of each domain of
 * local-host-names are accepted where anything is: by their alias, the domain's route, the postmaster's alias or the first domain's postmaster. mx_delivery: a domain without a route goes to its MX; off: it is
 * refused. */
void relay_route(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient);

/* The route of a recipient that is whom an alias stands for, or none: by the domain alone. What was accepted before is looked at so when the policy changed. */
void relay_route_again(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient);

struct relay_client {
    const struct netaddr *address;
    const struct listener_settings *listener; /* it came in by */
    bool authenticated;
    int64_t now; /* seconds since 1970 */
};

/* The first half, too. What the listener is for may forbid more than the policy does: a handoff listener takes from insiders only, a submission
 * listener from the authenticated (and from insiders, where `auth` lets them in without), and `direction` holds on each. */
void relay_decide(struct relay_answer *out, const struct policy *policy, bool mx_delivery, const struct relay_client *client,
                  const struct smtp_address *recipient);

/* The address with its domain in the spelling that domains are compared in (common/idn.h); "@domain" as well. What has no such spelling stays as it is. */
void relay_address_ascii(char out[SMTP_ADDRESS_MAX], const char *address);

/* sender_login_match: whether a login that owns senders (addresses, or "@domain") may send as address, which is not the null one. */
bool relay_owns_sender(const char *const *senders, size_t count, const char *address);

/* RELAY_SEVERAL: an answer for each address that asked stands for, each once. */
typedef void (*relay_handler)(void *arg, const struct relay_answer *target);
void relay_expand(const struct relay_answer *several, const struct policy *policy, bool mx_delivery, const struct smtp_address *recipient,
                  relay_handler each, void *arg);

/* Pure. postmaster or abuse (RFC 2142): who is refused wrongly must be able to say so. */
bool relay_is_role(const char *local);

#endif

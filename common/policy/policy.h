#ifndef WEIR_COMMON_POLICY_H
#define WEIR_COMMON_POLICY_H
/*
 * policy.h - the operators' text files, parsed: who is inside, which domains are ours, and where mail goes
 *
 * Files (each may be absent): `mailertable` (sendmail form: "domain<white space>mailer:host"; ".domain" for subdomains; "." for everything
 * else; smtp:[host]:port, relay:domain (its MX hosts), error:5.1.1:550 text, discard:), `local-host-names` (one domain a line), `networks` (CIDR of inside
 * hosts, perhaps with a name, "!" excludes, longest prefix wins), `exceptions` (other limits for some networks, see exceptions.h), `aliases` (whom
 * local parts of own domains stand for, see aliases.h) and the files it includes, `verify` (whose recipients are verified: domains as the
 * keys of mailertable, "!" excludes), `recipient_delimiter` (what tags of aliases' names begin with), `limits` (how much mail may come in what time, see limits.h), `hosts`
 * (registered hosts and their owners, see hosts.h), `spam` (what spam scores mean for a domain, see spam.h). '#' starts a comment; leading white space continues a line. A policy
 * is immutable once made; edges swap whole ones. Pure: text in, structure out.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "common/netaddr.h"
#include "common/policy/aliases.h"
#include "common/policy/exceptions.h"
#include "common/policy/hosts.h"
#include "common/policy/limits.h"
#include "common/policy/networks.h"
#include "common/policy/spam.h"

struct policy;

struct policy_file {
    const char *name;
    const char *text;
    size_t len;
};

/* NULL: why is "NAME:LINE: error: ...", with what would be right. A name that is not a policy file is an error too. */
struct policy *policy_parse(const struct policy_file *files, size_t count, struct error *why);
/* What nobody may apply any more, though a policy that was stored before may have it, and is used: true: why is "NAME:LINE: error: ...". */
bool policy_doubt(const struct policy *policy, struct error *why);
/* A policy that can be used, and yet is not meant: true: why is "NAME:LINE: warning: ...", with what to add. */
bool policy_warns(const struct policy *policy, struct error *why);
/* The same of the first line of `limits` that lets strangers use up what others may send. */
bool policy_warns_of_limits(const struct policy *policy, struct error *why);
/* The same of the first line of `hosts` that is of no inside host. */
bool policy_warns_of_hosts(const struct policy *policy, struct error *why);
/* The same of the first alias for several of which one is refused in any case: by a route, or as an own domain has none. The first own domain is what names
 * without a domain are in. */
bool policy_warns_of_aliases(const struct policy *policy, struct error *why);
void policy_free(struct policy **policy);
/* The names that a file may have, from 0; NULL past the end. Besides, there are those that aliases includes. */
const char *policy_file_name(size_t index);
#define POLICY_NAME_MAX 63
/* The files that the aliases file includes, as far as it can be read: at most room. */
size_t policy_included(const struct policy_file *aliases, char names[][POLICY_NAME_MAX + 1], size_t room);

enum route_kind { ROUTE_NONE, ROUTE_SMTP, ROUTE_ERROR, ROUTE_DISCARD };

struct route {
    enum route_kind kind;
    char host[256];       /* SMTP: name or address, without brackets, lower case, ASCII */
    uint16_t port;        /* 25 by default */
    bool mx;              /* no brackets: it is a domain, and mail goes to the hosts of its MX records */
    int code;             /* ERROR */
    char enhanced[12];
    char text[256];
    const char *file;     /* which rule: static or owned by the policy */
    unsigned line;
    bool catch_all;       /* came from "." */
};

/* A domain that is asked for is lower case, without a trailing dot; internationalized ones in any spelling (common/idn.h): keys are compared in ASCII.
 * Longest match; ROUTE_NONE when nothing matches. */
struct route policy_route(const struct policy *policy, const char *domain);

struct relay_decision {
    bool allowed;
    const char *grant;    /* "authenticated", "inside", "own-domain", "route", or why not: "outside" */
    const char *file;     /* rule, or NULL */
    unsigned line;
};

/* I3, default deny: from the authenticated and from inside networks to anywhere; from anyone to own domains and to domains with an explicit mailertable key
 * (the catch-all grants nothing, nor does a key for a top-level domain). */
struct relay_decision policy_relay(const struct policy *policy, const struct netaddr *client, bool authenticated,
                                   const char *domain);
bool policy_is_inside(const struct policy *policy, const struct netaddr *client);
/* The line of `networks` that decides for a client; NULL: none, and it is outside. */
const struct network *policy_network(const struct policy *policy, const struct netaddr *client);
bool policy_is_own_domain(const struct policy *policy, const char *domain); /* local-host-names, or a route that grants */
bool policy_is_local(const struct policy *policy, const char *domain);      /* local-host-names alone */
/* The first line of local-host-names: whose postmaster the bare <postmaster> is. NULL when there is none. Borrowed. */
const char *policy_first_own_domain(const struct policy *policy);

/* Gives each whom a mailbox of an own domain (local-host-names) stands for; NULL: nothing is given. Returns the line of aliases; 0: no alias. Both texts
 * as the client wrote the mailbox: unquoted, the domain canonical. What is given is borrowed from the policy, its domains in ASCII. */
unsigned policy_alias(const struct policy *policy, const char *local, const char *domain, alias_handler each, void *arg);
/* What that alias is called, without a tag that the mailbox has (see aliases.h). Borrowed; NULL: no alias. */
const char *policy_alias_name(const struct policy *policy, const char *local, const char *domain);
/* The domain's mailboxes are decided by aliases: one that has no alias and no route does not exist. */
bool policy_knows_mailboxes(const struct policy *policy, const char *domain);
/* The line of `verify` that asks for the domain's recipients to be verified at their next hop before they are accepted, by the longest match; 0: none. */
unsigned policy_verifies(const struct policy *policy, const char *domain);
/* The line of `spam` for a domain's mail in that direction, by the longest match; NULL: none. Borrowed. */
const struct spam_rule *policy_spam(const struct policy *policy, bool outbound, const char *domain);
/* What makes other limits for the client than its listener's, now in seconds since 1970; NULL: nothing. Borrowed. */
const struct exception *policy_exception(const struct policy *policy, const struct netaddr *client, int64_t now);
const struct exception *policy_exception_of_limits(const struct policy *policy, const struct netaddr *address, unsigned bits, int64_t now); /* of at most so many bits */
const struct exception *policy_exception_of_account(const struct policy *policy, const char *account, int64_t now);
/* All of them, expired or not, in the order of their lines, from 0; NULL past the end. */
const struct exception *policy_exception_at(const struct policy *policy, size_t index);
/* The line of `hosts` that a client is registered by, now in seconds since 1970; NULL: none. Borrowed. */
const struct registered_host *policy_host(const struct policy *policy, const struct netaddr *client, int64_t now);
/* All of them, expired or not, in the order of their lines, from 0; NULL past the end. */
const struct registered_host *policy_host_at(const struct policy *policy, size_t index);
/* The lines of `limits` in their order, from 0; NULL past the end. Borrowed. */
const struct limit_rule *policy_limit_at(const struct policy *policy, size_t index);

#endif

/*
 * policy.c - see policy.h
 *
 * Each file's text is copied once and edited in place; rules point into it. Rules are small, and a struct route is made when one is asked
 * for: a table of 100,000 domains costs its text and about 100 bytes a line.
 */
#include "common/policy/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/memory.h"
#include "common/policy/aliases.h"
#include "common/policy/domains.h"
#include "common/policy/exceptions.h"
#include "common/policy/hosts.h"
#include "common/policy/limits.h"
#include "common/policy/lines.h"
#include "common/policy/mailertable.h"
#include "common/policy/networks.h"
#include "common/policy/spam.h"

struct rule {
    struct mailer mailer;
    const char *written; /* its key, in the file's spelling */
    unsigned line;
    bool grants; /* its key is no top-level domain: a route for all of .com must not make us everybody's relay to it (I3) */
};

struct verify_rule {
    const char *written; /* as in struct rule */
    unsigned line;
    bool excluded; /* not this one */
};

enum { MAILERTABLE, LOCAL_HOST_NAMES, NETWORKS, EXCEPTIONS, ALIASES, VERIFY, LIMITS, RECIPIENT_DELIMITER, HOSTS, SPAM, FILES };

static const char *const file_names[FILES] = { "mailertable", "local-host-names", "networks", "exceptions", "aliases", "verify", "limits",
                                               "recipient_delimiter", "hosts", "spam" };

struct policy {
    char *texts[FILES]; /* NULL: not given */
    struct rule *rules;
    size_t rule_count, rule_room;
    struct domains routes;    /* to the index of a rule; not "." */
    size_t catch_all;         /* index + 1 */
    struct domains own;       /* to the line */
    const char *first_own;
    struct networks networks;
    struct exceptions exceptions;
    struct aliases aliases;
    struct limits limits;
    struct hosts hosts;
    struct domains verified;  /* to the index of a verify rule; also "." */
    struct verify_rule *verify_rules;
    size_t verify_count, verify_room;
    struct domains judged[2]; /* inbound and outbound, to the index of a spam rule; also "." */
    struct spam_rule *spam_rules;
    size_t spam_count, spam_room;
    char **included; /* texts, as aliases.includes */
    struct domain_spellings made;
    struct error doubt; /* policy_doubt()'s words about a line that is not used; "": none */
};

/* An internationalized domain may stand there once in each of its spellings: releases that took them for different domains needed it so. Where those say
 * different things the first counts, and policy_doubt() tells. Case in ASCII makes no other spelling. */
static bool is_other_spelling(const char *written, const char *before)
{
    return strcasecmp(written, before) != 0;
}

static void doubt_line(struct policy *policy, int which, unsigned line, const char *key, const char *words, unsigned before)
{
    if (policy->doubt.text[0] == '\0')
        error_set(&policy->doubt, "%s:%u: error: '%s' %s already, in line %u", file_names[which], line, key, words, before);
}

static bool add_rule(struct policy *policy, const struct rule *rule, const char *key, struct error *why)
{
    uint32_t index = DOMAINS_NONE;

    if (strcmp(key, ".") != 0)
        index = domains_add(&policy->routes, key, (uint32_t)policy->rule_count);
    else if (policy->catch_all > 0)
        index = (uint32_t)policy->catch_all - 1;
    else
        policy->catch_all = policy->rule_count + 1;
    if (index != DOMAINS_NONE) {
        const struct rule *before = &policy->rules[index];
        if (is_other_spelling(rule->written, before->written)) {
            if (!mailer_equal(&rule->mailer, &before->mailer))
                doubt_line(policy, MAILERTABLE, rule->line, key, "has a route", before->line);
            return true;
        }
        error_set(why, "'%s' has a route already, in line %u", key, before->line);
        return false;
    }
    if (policy->rule_count == policy->rule_room) {
        policy->rule_room = policy->rule_room > 0 ? 2 * policy->rule_room : 64;
        policy->rules = xrealloc(policy->rules, policy->rule_room * sizeof *policy->rules);
    }
    policy->rules[policy->rule_count++] = *rule;
    return true;
}

/* "domain<white space>mailer:host" */
static bool add_route(struct policy *policy, char *text, unsigned line, struct error *why)
{
    struct rule rule = { .written = text, .line = line };
    size_t key_len = strcspn(text, " \t");
    char *value = text + key_len + strspn(text + key_len, " \t");

    if (*value == '\0') {
        error_set(why, "'%s' has no route: write domain, white space, mailer:host, as %.100s smtp:[mail.example.edu]", text, text);
        return false;
    }
    text[key_len] = '\0';
    if (!mailertable_key_normalise(&text, &policy->made, why) || !mailer_parse(&rule.mailer, value, &policy->made, why))
        return false;

    rule.grants = strchr(text + (*text == '.'), '.') != NULL;
    return add_rule(policy, &rule, text, why);
}

/* A domain twice says nothing new, so it is no error. */
static bool add_own_domain(struct policy *policy, char *text, unsigned line, struct error *why)
{
    if (text[strcspn(text, " \t")] != '\0') {
        error_set(why, "'%s': one domain a line", text);
        return false;
    }
    if (text[0] == '.' || text[0] == '*') {
        error_set(why, "'%s': a whole domain only; subdomains get a line each, or a route in mailertable", text);
        return false;
    }
    if (strchr(text, '@') != NULL) {
        error_set(why, "'%s': a domain, without a mailbox", text);
        return false;
    }
    if (!domain_normalise(&text, &policy->made, why))
        return false;
    domains_add(&policy->own, text, line);
    if (policy->first_own == NULL)
        policy->first_own = text;
    return true;
}

/* "domain", ".domain" or ".", with "!" in front: not this one */
static bool add_verified(struct policy *policy, char *text, unsigned line, struct error *why)
{
    bool excluded = *text == '!';
    struct verify_rule rule = { .written = text + excluded, .line = line, .excluded = excluded };

    text += excluded;
    if (text[strcspn(text, " \t")] != '\0') {
        error_set(why, "'%s': one domain a line, as example.edu, .example.edu or !guests.example.edu", text);
        return false;
    }
    if (!mailertable_key_normalise(&text, &policy->made, why))
        return false;
    uint32_t index = domains_add(&policy->verified, text, (uint32_t)policy->verify_count);
    if (index != DOMAINS_NONE) {
        const struct verify_rule *before = &policy->verify_rules[index];
        if (is_other_spelling(rule.written, before->written)) {
            if (rule.excluded != before->excluded)
                doubt_line(policy, VERIFY, line, text, "is there", before->line);
            return true;
        }
        error_set(why, "'%s' is there already, in line %u", text, before->line);
        return false;
    }
    if (policy->verify_count == policy->verify_room) {
        policy->verify_room = policy->verify_room > 0 ? 2 * policy->verify_room : 64;
        policy->verify_rules = xrealloc(policy->verify_rules, policy->verify_room * sizeof *policy->verify_rules);
    }
    policy->verify_rules[policy->verify_count++] = rule;
    return true;
}

static bool add_network(struct policy *policy, char *text, unsigned line, struct error *why)
{
    return networks_add(&policy->networks, text, line, why);
}

static bool add_exception(struct policy *policy, char *text, unsigned line, struct error *why)
{
    return exceptions_add(&policy->exceptions, text, line, why);
}

static bool add_alias(struct policy *policy, char *text, unsigned line, struct error *why)
{
    return aliases_add(&policy->aliases, text, line, why);
}

static bool add_limit(struct policy *policy, char *text, unsigned line, struct error *why)
{
    return limits_add(&policy->limits, text, line, why);
}

static bool add_delimiters(struct policy *policy, char *text, unsigned line, struct error *why)
{
    (void)line;
    return aliases_set_delimiters(&policy->aliases, text, why);
}

static bool add_host(struct policy *policy, char *text, unsigned line, struct error *why)
{
    return hosts_add(&policy->hosts, text, line, why);
}

/* A spelling more of the same domain would be a second opinion about it. */
static bool add_spam(struct policy *policy, char *text, unsigned line, struct error *why)
{
    struct spam_rule rule;
    size_t key_len = strcspn(text, " \t\r\n");
    char *words = text + key_len + (text[key_len] != '\0');

    text[key_len] = '\0';
    if (!spam_rule_parse(&rule, words, why) || !mailertable_key_normalise(&text, &policy->made, why))
        return false;
    rule.line = line;
    uint32_t index = domains_add(&policy->judged[rule.outbound], text, (uint32_t)policy->spam_count);
    if (index != DOMAINS_NONE) {
        error_set(why, "'%s %s' is there already, in line %u", text, rule.outbound ? "outbound" : "inbound or to", policy->spam_rules[index].line);
        return false;
    }
    if (policy->spam_count == policy->spam_room) {
        policy->spam_room = policy->spam_room > 0 ? 2 * policy->spam_room : 16;
        policy->spam_rules = xrealloc(policy->spam_rules, policy->spam_room * sizeof *policy->spam_rules);
    }
    policy->spam_rules[policy->spam_count++] = rule;
    return true;
}

static bool (*const line_parsers[FILES])(struct policy *, char *, unsigned, struct error *) = {
    [MAILERTABLE] = add_route,
    [LOCAL_HOST_NAMES] = add_own_domain,
    [NETWORKS] = add_network,
    [EXCEPTIONS] = add_exception,
    [ALIASES] = add_alias,
    [VERIFY] = add_verified,
    [LIMITS] = add_limit,
    [RECIPIENT_DELIMITER] = add_delimiters,
    [HOSTS] = add_host,
    [SPAM] = add_spam,
};

static bool parse_lines(struct policy *policy, int which, size_t len, unsigned *line, struct error *why)
{
    struct lines lines;
    enum lines_status status;
    char *text;

    lines_init(&lines, policy->texts[which], len);
    while ((status = lines_next(&lines, &text, line, why)) == LINES_LINE)
        if (!line_parsers[which](policy, text, *line, why))
            return false;
    return status == LINES_END && (which != NETWORKS || networks_finish(&policy->networks, line, why)) &&
           (which != EXCEPTIONS || exceptions_finish(&policy->exceptions, line, why)) &&
           (which != HOSTS || hosts_finish(&policy->hosts, line, why));
}

static char *copy_text(const struct policy_file *file)
{
    char *text = xmalloc(file->len + 1);

    if (file->len > 0)
        memcpy(text, file->text, file->len);
    text[file->len] = '\0';
    return text;
}

/* FILES: none of them. */
static int which_file(const char *name)
{
    int which = 0;

    while (which < FILES && strcmp(name, file_names[which]) != 0)
        which++;
    return which;
}

static bool parse_file(struct policy *policy, const struct policy_file *file, struct error *why)
{
    struct error reason = { "" };
    unsigned line = 0;
    int which = which_file(file->name);

    if (which == FILES) /* perhaps one that aliases includes */
        return true;
    if (policy->texts[which] != NULL) {
        error_set(why, "%s: error: given twice", file->name);
        return false;
    }
    policy->texts[which] = copy_text(file);
    if (parse_lines(policy, which, file->len, &line, &reason))
        return true;
    error_set(why, "%s:%u: error: %s", file->name, line, reason.text);
    return false;
}

static bool parse_included(struct policy *policy, size_t which, const struct policy_file *file, struct error *why)
{
    struct lines lines;
    enum lines_status status;
    struct error reason = { "" };
    char *text;
    unsigned line = 0;

    policy->included[which] = copy_text(file);
    lines_init(&lines, policy->included[which], file->len);
    while ((status = lines_next(&lines, &text, &line, &reason)) == LINES_LINE)
        if (!aliases_add_included(&policy->aliases, which, text, line, &reason))
            break;
    if (status != LINES_END)
        error_set(why, "%s:%u: error: %s", file->name, line, reason.text);
    return status == LINES_END;
}

static const struct policy_file *find_file(const struct policy_file *files, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(files[i].name, name) == 0)
            return &files[i];
    return NULL;
}

static bool parse_includes(struct policy *policy, const struct policy_file *files, size_t count, struct error *why)
{
    policy->included = xcalloc(policy->aliases.include_count + 1, sizeof *policy->included);
    for (size_t i = 0; i < policy->aliases.include_count; i++) {
        const struct alias_include *include = &policy->aliases.includes[i];
        const struct policy_file *file = which_file(include->name) == FILES ? find_file(files, count, include->name) : NULL;
        if (file == NULL) {
            error_set(why, "aliases:%u: error: :include:%s: there is no such file in the policy's folder", include->line, include->name);
            return false;
        }
        if (!parse_included(policy, i, file, why))
            return false;
    }
    return true;
}

/* A misspelt name would be a policy without that file, and pass. */
static bool check_names(const struct policy *policy, const struct policy_file *files, size_t count, struct error *why)
{
    for (size_t i = 0; i < count; i++) {
        bool known = which_file(files[i].name) != FILES, twice = find_file(files, count, files[i].name) != &files[i];
        for (size_t k = 0; k < policy->aliases.include_count && !known; k++)
            known = strcmp(policy->aliases.includes[k].name, files[i].name) == 0;
        if (!known || twice) {
            error_set(why, known ? "%s: error: given twice"
                                 : "%s: error: not a policy file, and not included by aliases; those are mailertable, local-host-names, networks, "
                                   "exceptions, aliases, verify, limits, recipient_delimiter, hosts and spam", files[i].name);
            return false;
        }
    }
    return true;
}

static bool check_aliases(struct policy *policy, struct error *why)
{
    struct error reason = { "" };
    unsigned line = 0;

    if (aliases_check(&policy->aliases, &policy->own, &line, &reason))
        return true;
    error_set(why, "aliases:%u: error: %s", line, reason.text);
    return false;
}

struct policy *policy_parse(const struct policy_file *files, size_t count, struct error *why)
{
    struct policy *policy = xcalloc(1, sizeof *policy);
    bool fine = true;

    for (size_t i = 0; i < count && fine; i++)
        fine = parse_file(policy, &files[i], why);
    if (!fine || !check_names(policy, files, count, why) || !parse_includes(policy, files, count, why) || !check_aliases(policy, why))
        policy_free(&policy);
    return policy;
}

bool policy_doubt(const struct policy *policy, struct error *why)
{
    struct error reason = { "" };
    unsigned line = 0;

    if (networks_doubt(&policy->networks, &line, &reason))
        error_set(why, "networks:%u: error: %s", line, reason.text);
    else if (policy->doubt.text[0] != '\0')
        *why = policy->doubt;
    else
        return false;
    return true;
}

bool policy_warns(const struct policy *policy, struct error *why)
{
    const char *first = policy->first_own;
    enum route_kind kind = first != NULL ? policy_route(policy, first).kind : ROUTE_NONE;
    if (first == NULL || kind == ROUTE_SMTP || kind == ROUTE_DISCARD || policy_alias(policy, "postmaster", first, NULL, NULL) > 0)
        return false;
    error_set(why, "local-host-names:%u: warning: mail to postmaster@%.100s is answered 451 4.3.5: add a line postmaster: you@there.%.100s to aliases, or "
              "a route for %.100s to mailertable", domains_find(&policy->own, first), first, first, first);
    return true;
}

bool policy_warns_of_limits(const struct policy *policy, struct error *why)
{
    for (size_t i = 0; i < policy->limits.count; i++) {
        const struct limit_rule *rule = &policy->limits.rules[i];
        if (rule->direction != LIMIT_INBOUND || rule->by != LIMIT_BY_DOMAIN || rule->dry_run)
            continue;
        error_set(why, "limits:%u: warning: inbound domain: the sender's domain is a stranger's word, who names it can use up what its owner may send: "
                  "better say client or prefix, or dry_run", rule->line);
        return true;
    }
    return false;
}

bool policy_warns_of_hosts(const struct policy *policy, struct error *why)
{
    for (size_t i = 0; i < policy->hosts.count; i++) {
        const struct registered_host *host = &policy->hosts.rules[i];
        char text[NETADDR_TEXT_MAX];
        if (policy_is_inside(policy, &host->prefix.address))
            continue;
        error_set(why, "hosts:%u: warning: %s/%u is registered and not inside: a line of networks lets it send", host->line,
                  netaddr_format(&host->prefix.address, text), host->prefix.bits);
        return true;
    }
    return false;
}

struct refused_targets {
    const struct policy *policy;
    struct error first;
    unsigned count;
};

/* As an edge that finds its way by MX decides (edge/session/relay.h); without, it refuses more. */
static void note_refused_target(void *arg, const char *local, const char *domain)
{
    struct refused_targets *refused = arg;
    struct route route = policy_route(refused->policy, domain);
    const char *reason = route.kind == ROUTE_ERROR                                                           ? route.text
                         : route.kind != ROUTE_NONE || !policy_is_own_domain(refused->policy, domain)        ? NULL
                         : policy_knows_mailboxes(refused->policy, domain)                                   ? "its domain has no route, and it is no alias"
                                                                                                             : "its domain has no route";
    if (reason != NULL && refused->count++ == 0)
        error_set(&refused->first, "<%.64s@%.100s>, which is refused (%.100s)", local, domain, reason);
}

bool policy_warns_of_aliases(const struct policy *policy, struct error *why)
{
    for (size_t i = 0; policy->first_own != NULL && i < policy->aliases.count; i++) {
        const struct alias *alias = &policy->aliases.rules[i];
        struct refused_targets refused = { .policy = policy };
        if (alias->total > 1)
            policy_alias(policy, alias->name, policy->first_own, note_refused_target, &refused);
        if (refused.count == 0)
            continue;
        error_set(why, "aliases:%u: warning: '%s' stands for %s%s%s: %u of its %u addresses are to be taken out, or need a route", alias->line, alias->name,
                  refused.first.text, refused.count == alias->total ? ", as all others are: so is all mail to " : ", and each message to it returns a report to its sender or to owner-",
                  alias->name, refused.count, alias->total);
        return true;
    }
    return false;
}

/* Whether it is worth while to take the aliases apart: it costs as much as a parse. */
static bool may_include(const struct policy_file *aliases)
{
    const char *end = aliases->text + aliases->len, *colon = aliases->text;

    while ((colon = memchr(colon, ':', (size_t)(end - colon))) != NULL) {
        if ((size_t)(end - colon) >= strlen(ALIAS_INCLUDE) && strncasecmp(colon, ALIAS_INCLUDE, strlen(ALIAS_INCLUDE)) == 0)
            return true;
        colon++;
    }
    return false;
}

size_t policy_included(const struct policy_file *aliases, char names[][POLICY_NAME_MAX + 1], size_t room)
{
    struct lines lines;
    struct error why;
    struct aliases parsed = { 0 };
    unsigned line;
    size_t count = 0;

    if (aliases->len == 0 || !may_include(aliases))
        return 0;
    char *copy = copy_text(aliases), *text;
    lines_init(&lines, copy, aliases->len);
    while (lines_next(&lines, &text, &line, &why) == LINES_LINE && aliases_add(&parsed, text, line, &why))
        ;
    for (; count < parsed.include_count && count < room; count++)
        snprintf(names[count], POLICY_NAME_MAX + 1, "%s", parsed.includes[count].name);
    aliases_fini(&parsed);
    free(copy);
    return count;
}

void policy_free(struct policy **policy)
{
    struct policy *p = *policy;

    if (p == NULL)
        return;
    domains_fini(&p->routes);
    domains_fini(&p->own);
    domains_fini(&p->verified);
    domains_fini(&p->judged[0]);
    domains_fini(&p->judged[1]);
    networks_fini(&p->networks);
    exceptions_fini(&p->exceptions);
    hosts_fini(&p->hosts);
    for (size_t i = 0; p->included != NULL && i < p->aliases.include_count; i++)
        free(p->included[i]);
    free(p->included);
    aliases_fini(&p->aliases);
    domain_spellings_fini(&p->made);
    free(p->rules);
    free(p->verify_rules);
    free(p->spam_rules);
    for (int i = 0; i < FILES; i++)
        free(p->texts[i]);
    free(p);
    *policy = NULL;
}

/* A domain that is asked for, spelled as keys are. What has no such spelling stays as it is, and is no key. */
static const char *as_key(const char *domain, char room[IDN_NAME_MAX])
{
    return !idn_is_ascii(domain) && idn_to_ascii(room, domain) ? room : domain;
}

static uint32_t find_own(const struct policy *policy, const char *domain)
{
    char room[IDN_NAME_MAX];

    return domains_find(&policy->own, as_key(domain, room));
}

/* An address literal and the empty domain are no domains: no key of the table can mean them. */
static const struct rule *find_explicit(const struct policy *policy, const char *asked)
{
    char room[IDN_NAME_MAX];
    const char *domain = as_key(asked, room);
    uint32_t index = domain[0] != '[' && domain[0] != '\0' && domain[0] != '.' ? domains_find_longest(&policy->routes, domain)
                                                                                  : DOMAINS_NONE;

    return index != DOMAINS_NONE ? &policy->rules[index] : NULL;
}

struct route policy_route(const struct policy *policy, const char *domain)
{
    struct route route = { .kind = ROUTE_NONE };
    const struct rule *rule = find_explicit(policy, domain);

    if (rule == NULL && policy->catch_all > 0 && domain[0] != '\0') {
        rule = &policy->rules[policy->catch_all - 1];
        route.catch_all = true;
    }
    if (rule == NULL)
        return route;
    route.kind = rule->mailer.kind;
    route.port = rule->mailer.port;
    route.mx = rule->mailer.mx;
    route.code = rule->mailer.code;
    route.file = file_names[MAILERTABLE];
    route.line = rule->line;
    if (rule->mailer.host != NULL)
        snprintf(route.host, sizeof route.host, "%s", rule->mailer.host);
    if (rule->mailer.text != NULL)
        snprintf(route.text, sizeof route.text, "%s", rule->mailer.text);
    memcpy(route.enhanced, rule->mailer.enhanced, sizeof route.enhanced);
    return route;
}

struct relay_decision policy_relay(const struct policy *policy, const struct netaddr *client, bool authenticated,
                                   const char *domain)
{
    const struct network *network = networks_find(&policy->networks, client);
    struct relay_decision refused = { .allowed = false, .grant = "outside" };

    if (authenticated)
        return (struct relay_decision){ true, "authenticated", NULL, 0 };
    if (network != NULL && !network->excluded)
        return (struct relay_decision){ true, "inside", file_names[NETWORKS], network->line };
    uint32_t line = find_own(policy, domain);
    if (line != DOMAINS_NONE)
        return (struct relay_decision){ true, "own-domain", file_names[LOCAL_HOST_NAMES], line };
    const struct rule *rule = find_explicit(policy, domain);
    if (rule != NULL && rule->grants)
        return (struct relay_decision){ true, "route", file_names[MAILERTABLE], rule->line };
    if (network != NULL) /* the exclusion is the rule that decided */
        refused.file = file_names[NETWORKS], refused.line = network->line;
    return refused;
}

unsigned policy_alias(const struct policy *policy, const char *local, const char *domain, alias_handler each, void *arg)
{
    char room[IDN_NAME_MAX];
    const char *own = domains_key(&policy->own, as_key(domain, room));

    return own != NULL ? aliases_expand(&policy->aliases, &policy->own, local, own, each, arg) : 0;
}

const char *policy_alias_name(const struct policy *policy, const char *local, const char *domain)
{
    return policy_is_local(policy, domain) ? aliases_name(&policy->aliases, local) : NULL;
}

unsigned policy_verifies(const struct policy *policy, const char *asked)
{
    char room[IDN_NAME_MAX];
    const char *domain = as_key(asked, room);

    if (policy->verified.count == 0 || domain[0] == '[' || domain[0] == '\0' || domain[0] == '.')
        return 0;
    uint32_t index = domains_find_longest(&policy->verified, domain);
    if (index == DOMAINS_NONE)
        index = domains_find(&policy->verified, ".");
    return index == DOMAINS_NONE || policy->verify_rules[index].excluded ? 0 : policy->verify_rules[index].line;
}

const struct spam_rule *policy_spam(const struct policy *policy, bool outbound, const char *asked)
{
    const struct domains *judged = &policy->judged[outbound];
    char room[IDN_NAME_MAX];
    const char *domain = as_key(asked, room);
    bool named = domain[0] != '[' && domain[0] != '\0' && domain[0] != '.';

    if (judged->count == 0)
        return NULL;
    uint32_t index = named ? domains_find_longest(judged, domain) : DOMAINS_NONE;
    if (index == DOMAINS_NONE)
        index = domains_find(judged, ".");
    return index != DOMAINS_NONE ? &policy->spam_rules[index] : NULL;
}

bool policy_knows_mailboxes(const struct policy *policy, const char *domain)
{
    return policy->texts[ALIASES] != NULL && find_own(policy, domain) != DOMAINS_NONE;
}

const struct exception *policy_exception(const struct policy *policy, const struct netaddr *client, int64_t now)
{
    return exceptions_find(&policy->exceptions, client, now);
}

const struct exception *policy_exception_of_limits(const struct policy *policy, const struct netaddr *address, unsigned bits, int64_t now)
{
    return exceptions_find_limits(&policy->exceptions, address, bits, now);
}

const struct exception *policy_exception_of_account(const struct policy *policy, const char *account, int64_t now)
{
    return exceptions_find_account(&policy->exceptions, account, now);
}

const struct exception *policy_exception_at(const struct policy *policy, size_t index)
{
    return index < policy->exceptions.count ? &policy->exceptions.rules[index] : NULL;
}

const struct registered_host *policy_host(const struct policy *policy, const struct netaddr *client, int64_t now)
{
    return hosts_find(&policy->hosts, client, now);
}

const struct registered_host *policy_host_at(const struct policy *policy, size_t index)
{
    return index < policy->hosts.count ? &policy->hosts.rules[index] : NULL;
}

const struct limit_rule *policy_limit_at(const struct policy *policy, size_t index)
{
    return index < policy->limits.count ? &policy->limits.rules[index] : NULL;
}

const struct network *policy_network(const struct policy *policy, const struct netaddr *client)
{
    return networks_find(&policy->networks, client);
}

const char *policy_file_name(size_t index)
{
    return index < FILES ? file_names[index] : NULL;
}

bool policy_is_inside(const struct policy *policy, const struct netaddr *client)
{
    const struct network *network = networks_find(&policy->networks, client);

    return network != NULL && !network->excluded;
}

bool policy_is_own_domain(const struct policy *policy, const char *domain)
{
    const struct rule *rule = find_explicit(policy, domain);

    return find_own(policy, domain) != DOMAINS_NONE || (rule != NULL && rule->grants);
}

bool policy_is_local(const struct policy *policy, const char *domain)
{
    return find_own(policy, domain) != DOMAINS_NONE;
}

const char *policy_first_own_domain(const struct policy *policy)
{
    return policy->first_own;
}

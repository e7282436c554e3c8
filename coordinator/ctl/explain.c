/*
 * explain.c - see explain.h
 *
 * Each answer is made as JSON first, for programs; what people read is printed from that.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "common/memory.h"
#include "coordinator/ctl/explain.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"
#include "common/settings.h"
#include "edge/session/relay.h"

#define SENDERS_MAX 256

/* --- the policy --- */

void explained_policy_clear(struct explained_policy *policy)
{
    policy_free(&policy->parsed);
    json_decref(policy->accounts);
    free(policy->contact);
    for (size_t i = 0; i < policy->count; i++) {
        free(policy->files[i].name);
        free(policy->files[i].text);
    }
    free(policy->files);
    *policy = (struct explained_policy){ 0 };
}

static void add_file(struct explained_policy *policy, const char *name, const char *text, size_t len)
{
    policy->files = xrealloc(policy->files, (policy->count + 1) * sizeof *policy->files);
    policy->files[policy->count++] = (struct request_file){ .name = xstrdup(name), .text = text_copy(text, len), .len = len };
}

static bool parse(struct explained_policy *policy, struct error *why)
{
    struct policy_file *files = xcalloc(policy->count + 1, sizeof *files);
    for (size_t i = 0; i < policy->count; i++)
        files[i] = (struct policy_file){ policy->files[i].name, policy->files[i].text, policy->files[i].len };
    policy->parsed = policy_parse(files, policy->count, why);
    free(files);
    if (policy->parsed == NULL)
        explained_policy_clear(policy);
    return policy->parsed != NULL;
}

bool explained_policy_take(struct explained_policy *out, const char *body, struct error *why)
{
    json_error_t error;
    json_t *root = json_loads(body != NULL ? body : "", 0, &error), *file;
    size_t i;
    *out = (struct explained_policy){ .epoch = json_integer_value(json_object_get(root, "epoch")) };
    if (root == NULL) {
        error_set(why, "the coordinator's policy is not JSON: %s", error.text);
        return false;
    }
    json_array_foreach(json_object_get(root, "files"), i, file)
    {
        const char *name = json_string_value(json_object_get(file, "name"));
        const json_t *content = json_object_get(file, "content");
        if (name != NULL && json_is_string(content))
            add_file(out, name, json_string_value(content), json_string_length(content));
    }
    json_decref(root);
    return parse(out, why);
}

bool explained_policy_parse(struct explained_policy *out, const struct request_file *files, size_t count, struct error *why)
{
    *out = (struct explained_policy){ 0 };
    for (size_t i = 0; i < count; i++)
        add_file(out, files[i].name, files[i].text, files[i].len);
    return parse(out, why);
}

/* --- deciding --- */

/* The line as it stands in its file, without the lines that continue it. Owned by the caller. */
static char *text_of_line(const struct explained_policy *policy, const char *name, unsigned line)
{
    for (size_t i = 0; i < policy->count; i++) {
        const char *at = policy->files[i].text;
        if (strcmp(policy->files[i].name, name) != 0)
            continue;
        for (unsigned number = 1; number < line && at != NULL; number++)
            at = strchr(at, '\n') != NULL ? strchr(at, '\n') + 1 : NULL;
        if (at != NULL)
            return xstrndup(at, strcspn(at, "\r\n"));
    }
    return xstrdup("");
}

json_t *explain_rule(const struct explained_policy *policy, const char *file, unsigned line)
{
    if (file == NULL || line == 0)
        return json_null();
    char *rule = xasprintf("%s:%u", file, line), *text = text_of_line(policy, file, line);
    struct text clean;
    text_init(&clean);
    text_add_clean_line(&clean, text, strlen(text), 200);
    json_t *out = json_pack("{s:s, s:s}", "rule", rule, "text", clean.data);
    text_fini(&clean);
    free(rule);
    free(text);
    return out;
}

/* From "mailertable:3", as answers have it. */
static json_t *rule_json_of(const struct explained_policy *policy, const char *rule)
{
    const char *colon = strrchr(rule, ':');
    if (colon == NULL)
        return json_null();
    char *file = xstrndup(rule, (size_t)(colon - rule));
    json_t *out = explain_rule(policy, file, (unsigned)strtoul(colon + 1, NULL, 10));
    free(file);
    return out;
}

/* All of "aliases:7, mailertable:3". */
static json_t *rules_json(const struct explained_policy *policy, const char *rules)
{
    json_t *out = json_array();
    while (*rules != '\0') {
        size_t len = strcspn(rules, ",");
        char *rule = xstrndup(rules, len);
        json_array_append_new(out, rule_json_of(policy, rule));
        free(rule);
        rules += len;
        rules += strspn(rules, ", ");
    }
    return out;
}

static bool parse_path(struct smtp_address *out, const char *text, const char *refused, struct error *why)
{
    size_t used = 0;
    char *path = *text == '<' ? xstrdup(text) : xasprintf("<%s>", text);
    enum smtp_address_error error = smtp_path_parse(out, path, strlen(path), true, &used);
    bool fine = error == SMTP_ADDRESS_OK && path[used] == '\0';
    if (!fine)
        error_set(why, "'%.200s' is not an address: an edge answers 501 %s to it", text, refused);
    free(path);
    return fine;
}

static json_t *answer_json(const struct explained_policy *policy, const struct relay_answer *answer)
{
    static const char *const results[] = { [RELAY_TO_NEXT_HOP] = "deliver", [RELAY_DISCARD] = "discard", [RELAY_REFUSED] = "refuse", [RELAY_SEVERAL] = "expand" };
    json_t *out = json_pack("{s:I, s:s, s:s}", "policy", (json_int_t)policy->epoch, "recipient", answer->asked, "result",
                            results[answer->result]);
    json_object_set_new(out, "decided_by", rules_json(policy, answer->rule));
    if (*answer->owner != '\0')
        json_object_set_new(out, "owner", json_string(answer->owner));
    if (strcmp(answer->address, answer->asked) != 0)
        json_object_set_new(out, "stands_for", json_string(answer->address));
    if (answer->result == RELAY_TO_NEXT_HOP)
        json_object_set_new(out, "next_hop", json_pack("{s:s, s:i, s:b}", "host", answer->hop.host, "port", (int)answer->hop.port, "mx", answer->hop.mx));
    if (answer->verify)
        json_object_set_new(out, "verify", json_true());
    if (answer->result == RELAY_REFUSED)
        json_object_set_new(out, "reply", json_pack("{s:i, s:s, s:s, s:s}", "code", answer->code, "enhanced", answer->enhanced, "text",
                                                    answer->text, "why", answer->why));
    return out;
}

struct gathered {
    const struct explained_policy *policy;
    json_t *targets;
};

static void on_target(void *arg, const struct relay_answer *target)
{
    struct gathered *gathered = arg;
    json_t *one = answer_json(gathered->policy, target);
    json_object_del(one, "owner"); /* said once, of the alias */
    json_array_append_new(gathered->targets, one);
}

/* The addresses of an alias for several. */
static void add_targets(json_t *out, const struct explained_policy *policy, const struct relay_answer *answer, const struct smtp_address *recipient)
{
    struct gathered gathered = { policy, json_array() };
    if (answer->result == RELAY_SEVERAL)
        relay_expand(answer, policy->parsed, policy->mx_delivery, recipient, on_target, &gathered);
    json_object_set_new(out, "targets", gathered.targets);
}

char *explain_moment(char out[32], int64_t seconds)
{
    time_t moment = (time_t)seconds;
    struct tm tm;
    if (gmtime_r(&moment, &tm) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
    return out;
}

static json_t *exception_json(const struct explained_policy *policy, const struct exception *exception, int64_t now)
{
    char address[NETADDR_TEXT_MAX], moment[32];
    char times[16], *network = exception->account != NULL ? xasprintf("account:%s", exception->account)
                                                          : xasprintf("%s/%u", netaddr_format(&exception->prefix.address, address), exception->prefix.bits);
    snprintf(times, sizeof times, exception->limits == EXCEPTION_NO_LIMITS ? "none" : "%ux", exception->limits);
    json_t *out = json_pack("{s:s, s:b, s:s, s:s, s:s, s:s}", "network", network, "in_force", exception->expires > now, "reason",
                            exception->reason, "owner", exception->owner, "approved_by", exception->approved_by, "expires",
                            explain_moment(moment, exception->expires));
    json_object_set_new(out, "max_message_size",
                        exception->max_message_size > 0 ? json_integer((json_int_t)exception->max_message_size) : json_null());
    json_object_set_new(out, "max_recipients",
                        exception->max_recipients > 0 ? json_integer((json_int_t)exception->max_recipients) : json_null());
    json_object_set_new(out, "limits", exception->limits != 0 ? json_string(times) : json_null());
    json_object_set_new(out, "line", explain_rule(policy, "exceptions", exception->line));
    free(network);
    return out;
}

/* Of the account, where it is known; else the login itself, where that is an address (a directory may know more). */
static bool owns(const struct explained_policy *policy, const char *login, const char *sender)
{
    const char *senders[SENDERS_MAX];
    size_t i, count = 0;
    const json_t *account, *list = NULL;
    json_array_foreach(policy->accounts, i, account)
    {
        const char *name = json_string_value(json_object_get(account, "login"));
        if (name != NULL && strcasecmp(name, login) == 0)
            list = json_object_get(account, "senders");
    }
    for (i = 0; i < json_array_size(list) && count < SENDERS_MAX; i++)
        senders[count++] = json_string_value(json_array_get(list, i));
    if (list == NULL && strchr(login, '@') != NULL)
        senders[count++] = login;
    return relay_owns_sender(senders, count, sender);
}

/* What MAIL is answered with; without a reply it is accepted. As edge/session/auth.c decides. */
static json_t *sender_json(const struct explained_client *client, const struct listener_settings *listener, const struct explained_policy *policy,
                           const struct smtp_address *sender)
{
    char address[SMTP_ADDRESS_MAX];
    bool is_null = sender->kind == SMTP_ADDRESS_NULL;
    smtp_address_format(sender, address);
    json_t *out = json_pack("{s:s, s:b}", "address", is_null ? "<>" : address, "null", is_null);
    bool owned = !is_null && client->login != NULL && owns(policy, client->login, address);
    json_object_set_new(out, "login", client->login != NULL ? json_string(client->login) : json_null());
    json_object_set_new(out, "owned", is_null || client->login == NULL ? json_null() : json_boolean(owned));
    if (!client->authenticated && listener_auth(listener) == AUTH_REQUIRE) {
        json_object_set_new(out, "reply", json_pack("{s:i, s:s, s:s}", "code", 530, "enhanced", "5.7.0", "text", "Authentication required"));
    } else if (client->login != NULL && listener->sender_login_match && !is_null && !owned) {
        char *text = xasprintf("<%s>: Sender address rejected: not owned by %s", address, client->login);
        json_object_set_new(out, "reply", json_pack("{s:i, s:s, s:s, s:s}", "code", 553, "enhanced", "5.7.1", "text", text, "why", "sender"));
        free(text);
    }
    return out;
}

static void add_client(json_t *out, const struct explained_policy *policy, const char *text, const struct netaddr *client, int64_t now)
{
    const struct network *network = policy_network(policy->parsed, client);
    const struct exception *exception = policy_exception(policy->parsed, client, now);
    json_t *of_client = json_pack("{s:s, s:b}", "address", text, "inside", policy_is_inside(policy->parsed, client));
    json_object_set_new(of_client, "network", network != NULL && network->name != NULL ? json_string(network->name) : json_null());
    json_object_set_new(of_client, "line", explain_rule(policy, "networks", network != NULL ? network->line : 0));
    json_object_set_new(out, "client", of_client);
    json_object_set_new(out, "exception", exception != NULL ? exception_json(policy, exception, now) : json_null());
}

/* A refused MAIL has no RCPT: what would be said there is nobody's answer. */
static void add_sender(json_t *out, json_t *sender)
{
    json_t *reply = json_object_get(sender, "reply");
    if (json_is_true(json_object_get(sender, "null")) || json_is_object(reply)) /* a list's owner does not stand in for nobody */
        json_object_del(out, "owner");
    if (json_is_object(reply)) {
        json_object_set_new(out, "result", json_string("refuse"));
        json_object_set(out, "reply", reply);
        json_object_del(out, "next_hop");
        json_array_clear(json_object_get(out, "decided_by"));
        json_array_clear(json_object_get(out, "targets"));
    }
    json_object_set_new(out, "sender", sender);
}

/* As edge/session/session.c does behind RCPT. */
static void add_contact(json_t *body, const char *contact)
{
    json_t *reply = json_object_get(body, "reply"), *target;
    json_int_t code = json_integer_value(json_object_get(reply, "code"));
    const char *text = json_string_value(json_object_get(reply, "text"));
    size_t i;
    if (text != NULL && code >= 505) {
        char *said = xasprintf("%s %s", text, contact);
        json_object_set_new(reply, "text", json_string(said));
        free(said);
    }
    json_array_foreach(json_object_get(body, "targets"), i, target) add_contact(target, contact);
}

json_t *explain_relay(const struct explained_policy *policy, const struct explained_client *asked, const char *recipient_text, int64_t now,
                      struct error *why)
{
    static const struct listener_settings relay = { .profile = PROFILE_RELAY, .direction = DIRECTION_BOTH };
    const struct listener_settings *listener = policy->listener != NULL ? policy->listener : &relay;
    struct netaddr client;
    struct smtp_address recipient, sender;
    struct relay_answer answer;
    if (!netaddr_parse(&client, asked->address)) {
        error_set(why, "'%.80s' is not an IP address: write 192.0.2.7 or 2001:db8::7", asked->address);
        return NULL;
    }
    if (!parse_path(&recipient, recipient_text, "5.1.3", why) ||
        (asked->sender != NULL && !parse_path(&sender, asked->sender, "5.1.7", why)))
        return NULL;
    bool authenticated = asked->authenticated || asked->login != NULL;
    relay_decide(&answer, policy->parsed, policy->mx_delivery, &(struct relay_client){ &client, listener, authenticated, now }, &recipient);

    json_t *out = answer_json(policy, &answer);
    add_targets(out, policy, &answer, &recipient);
    json_object_set_new(out, "grant",
                        answer.decision.allowed ? json_pack("{s:s, s:o}", "by", answer.decision.grant, "line",
                                                            explain_rule(policy, answer.decision.file, answer.decision.line))
                                                : json_null());
    if (answer.decision.allowed && *recipient.reroute != '\0')
        json_object_set_new(out, "asks_to_be_sent_on_to", json_string(recipient.reroute));
    add_client(out, policy, asked->address, &client, now);
    if (asked->sender != NULL)
        add_sender(out, sender_json(&(struct explained_client){ asked->address, asked->login, authenticated, NULL }, listener, policy, &sender));
    if (policy->contact != NULL && *policy->contact != '\0')
        add_contact(out, policy->contact);
    return out;
}

json_t *explain_route(const struct explained_policy *policy, const char *address, struct error *why)
{
    struct smtp_address recipient;
    struct relay_answer answer;
    if (!parse_path(&recipient, address, "5.1.3", why))
        return NULL;
    if (recipient.kind == SMTP_ADDRESS_NULL || recipient.kind == SMTP_ADDRESS_POSTMASTER) {
        error_set(why, "'%.200s' has no domain, so no route", address);
        return NULL;
    }
    relay_route(&answer, policy->parsed, policy->mx_delivery, &recipient);
    json_t *out = answer_json(policy, &answer);
    add_targets(out, policy, &answer, &recipient);
    return out;
}

json_t *explain_exceptions(const struct explained_policy *policy, int64_t now)
{
    json_t *out = json_array();
    const struct exception *exception;
    for (size_t i = 0; (exception = policy_exception_at(policy->parsed, i)) != NULL; i++)
        json_array_append_new(out, exception_json(policy, exception, now));
    return out;
}

/* --- comparing --- */

static const struct request_file *file_of(const struct explained_policy *policy, const char *name)
{
    for (size_t i = 0; i < policy->count; i++)
        if (strcmp(policy->files[i].name, name) == 0)
            return &policy->files[i];
    return NULL;
}

/* Lines of one, but for empty ones, that other has not. Both may be NULL. */
static json_t *lines_without(const struct request_file *one, const struct request_file *other)
{
    char *known = xstrdup(other != NULL ? other->text : ""), *lines = xstrdup(one != NULL ? one->text : ""), *rest = known;
    struct domains seen = { 0 };
    json_t *out = json_array();
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        domains_add(&seen, line, 1);
    rest = lines;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (*line != '\0' && domains_find(&seen, line) == DOMAINS_NONE) {
            struct text clean;
            text_init(&clean);
            text_add_clean_line(&clean, line, strlen(line), 1000);
            json_array_append_new(out, json_string(clean.data));
            text_fini(&clean);
        }
    domains_fini(&seen);
    free(known);
    free(lines);
    return out;
}

static void add_difference(json_t *out, const char *name, const struct request_file *before, const struct request_file *after)
{
    if (before == NULL || after == NULL || strcmp(before->text, after->text) != 0)
        json_array_append_new(out, json_pack("{s:s, s:o, s:o}", "file", name, "removed", lines_without(before, after), "added",
                                             lines_without(after, before)));
}

json_t *explain_difference(const struct explained_policy *in_force, const struct explained_policy *folder)
{
    json_t *out = json_array();
    for (size_t i = 0; i < in_force->count; i++)
        add_difference(out, in_force->files[i].name, &in_force->files[i], file_of(folder, in_force->files[i].name));
    for (size_t i = 0; i < folder->count; i++)
        if (file_of(in_force, folder->files[i].name) == NULL)
            add_difference(out, folder->files[i].name, NULL, &folder->files[i]);
    return out;
}

/* --- printing --- */

static void put_line(const char *title, const json_t *line, FILE *out)
{
    if (json_is_object(line))
        fprintf(out, "%-10s %s: %s\n", title, view_word(line, "rule"), view_word(line, "text"));
}

static void print_answer(const json_t *body, FILE *out)
{
    const json_t *hop = json_object_get(body, "next_hop"), *reply = json_object_get(body, "reply");
    const json_t *line, *target;
    size_t i;
    json_array_foreach(json_object_get(body, "decided_by"), i, line)
        put_line(i == 0 ? "decided by" : "", line, out);
    if (*view_word(body, "owner") != '\0')
        fprintf(out, "reports to %s\n", view_word(body, "owner"));
    if (*view_word(body, "stands_for") != '\0')
        fprintf(out, "stands for %s\n", view_word(body, "stands_for"));
    if (strcmp(view_word(body, "result"), "expand") == 0) {
        fputs("reply      250 2.1.5 Ok, where not all below are refused; then the message goes into the spool, and a report says who was\n", out);
        json_array_foreach(json_object_get(body, "targets"), i, target)
        {
            fputs("\n", out);
            print_answer(target, out);
        }
    } else if (json_is_object(hop))
        fprintf(out, "next hop   %s%s port %d\n%sreply      the next hop's own; 250 2.1.5 where it takes it\n",
                json_is_true(json_object_get(hop, "mx")) ? "the MX hosts of " : "", view_word(hop, "host"),
                (int)json_integer_value(json_object_get(hop, "port")),
                json_is_true(json_object_get(body, "verify")) ? "verified   there first: one it does not know gets 550 5.1.1\n" : "");
    else if (json_is_object(reply))
        fprintf(out, "reply      %d %s %s\n", (int)json_integer_value(json_object_get(reply, "code")), view_word(reply, "enhanced"),
                view_word(reply, "text"));
    else
        fputs("reply      250 2.1.5 Ok, and the message is discarded\n", out);
}

static void print_exception_use(const json_t *exception, FILE *out)
{
    const json_t *size = json_object_get(exception, "max_message_size"), *recipients = json_object_get(exception, "max_recipients");
    fputs("limits    ", out);
    if (json_is_integer(size))
        fprintf(out, " max_message_size=%lld", (long long)json_integer_value(size));
    if (json_is_integer(recipients))
        fprintf(out, " max_recipients=%lld", (long long)json_integer_value(recipients));
    if (*view_word(exception, "limits") != '\0')
        fprintf(out, " limits=%s", view_word(exception, "limits"));
    fprintf(out, " until %s\n", view_word(exception, "expires"));
    put_line("", json_object_get(exception, "line"), out);
}

static void print_policy(const json_t *body, FILE *out)
{
    long long epoch = json_integer_value(json_object_get(body, "policy"));
    if (epoch > 0)
        fprintf(out, "policy     %lld\n", epoch);
    else
        fputs("policy     of the folder; not applied\n", out);
}

static void print_sender(const json_t *sender, FILE *out)
{
    const json_t *owned = json_object_get(sender, "owned");
    fprintf(out, "from       %s", view_word(sender, "address"));
    if (json_is_boolean(owned))
        fprintf(out, json_is_true(owned) ? ", owned by %s" : ", not owned by %s: refused where sender_login_match is on", view_word(sender, "login"));
    fputs("\n", out);
}

static void print_relay(const json_t *body, FILE *out)
{
    const json_t *client = json_object_get(body, "client"), *grant = json_object_get(body, "grant");
    const json_t *exception = json_object_get(body, "exception");
    print_policy(body, out);
    fprintf(out, "client     %s is %s%s%s\n", view_word(client, "address"), json_is_true(json_object_get(client, "inside")) ? "inside" : "outside",
            *view_word(client, "network") != '\0' ? ": " : "", view_word(client, "network"));
    put_line("", json_object_get(client, "line"), out);
    if (json_is_object(json_object_get(body, "sender")))
        print_sender(json_object_get(body, "sender"), out);
    fprintf(out, "to         %s\n", view_word(body, "recipient"));
    if (json_is_object(grant)) {
        fprintf(out, "granted by %s\n", view_word(grant, "by"));
        put_line("", json_object_get(grant, "line"), out);
    } else {
        fputs("granted by nothing: no inside network, no login, no own domain, no route with a key of its own\n", out);
    }
    if (*view_word(body, "asks_to_be_sent_on_to") != '\0')
        fprintf(out, "asks to be sent on to %s: for inside networks and who has logged in\n", view_word(body, "asks_to_be_sent_on_to"));
    if (json_is_object(exception))
        print_exception_use(exception, out);
    print_answer(body, out);
}

static void print_route(const json_t *body, FILE *out)
{
    print_policy(body, out);
    fprintf(out, "to         %s\n", view_word(body, "recipient"));
    print_answer(body, out);
}

static void print_exceptions(const json_t *body, FILE *out)
{
    static const char *const titles[] = { "LINE", "NETWORK", ">SIZE", ">RECIPIENTS", ">LIMITS", "EXPIRES", "STATE", "OWNER", "APPROVED BY", "REASON" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *one;
    json_array_foreach(body, i, one)
    {
        static const char *const limits[] = { "max_message_size", "max_recipients" };
        table_add(table, view_word(json_object_get(one, "line"), "rule"));
        table_add(table, view_word(one, "network"));
        for (size_t k = 0; k < 2; k++) {
            const json_t *limit = json_object_get(one, limits[k]);
            char *text = json_is_integer(limit) ? xasprintf("%lld", (long long)json_integer_value(limit)) : NULL;
            table_add(table, text);
            free(text);
        }
        table_add(table, view_word(one, "limits"));
        table_add(table, view_word(one, "expires"));
        table_add(table, json_is_true(json_object_get(one, "in_force")) ? "in force" : "expired");
        table_add(table, view_word(one, "owner"));
        table_add(table, view_word(one, "approved_by"));
        table_add(table, view_word(one, "reason"));
    }
    table_print(table, out);
    table_free(&table);
}

static void print_lines(const json_t *change, const char *key, char mark, FILE *out)
{
    size_t i;
    const json_t *line;
    json_array_foreach(json_object_get(change, key), i, line)
        fprintf(out, "%s: %c %s\n", view_word(change, "file"), mark, json_string_value(line));
}

static void print_difference(const json_t *body, FILE *out)
{
    size_t i;
    const json_t *change;
    json_array_foreach(body, i, change)
    {
        print_lines(change, "removed", '-', out);
        print_lines(change, "added", '+', out);
    }
    if (json_array_size(body) == 0)
        fputs("no difference\n", out);
}

void explain_print(const char *verb, const json_t *body, FILE *out)
{
    if (strcmp(verb, "policy diff") == 0)
        print_difference(body, out);
    else if (strcmp(verb, "relay explain") == 0)
        print_relay(body, out);
    else if (strcmp(verb, "route explain") == 0)
        print_route(body, out);
    else
        print_exceptions(body, out);
}

/* reputation.c - see reputation.h */
#include "coordinator/ctl/reputation.h"

#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/memory.h"
#include "coordinator/ctl/override.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"

static void add_number(struct table *table, const json_t *object, const char *key)
{
    char text[32];
    snprintf(text, sizeof text, "%.1f", json_number_value(json_object_get(object, key)));
    table_add(table, text);
}

static void print_counts(const json_t *counts, FILE *out)
{
    static const char *const titles[] = { "KIND", "KEY", ">SCORE", "BY SCORE", ">GOOD", ">VIRUS", ">SPAM", ">UNKNOWN", ">AUTH", ">ABUSE" };
    static const char *const numbers[] = { "good", "virus", "spam", "unknown", "auth", "abuse" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    const json_t *one;
    size_t i;
    json_array_foreach(counts, i, one)
    {
        table_add(table, view_word(one, "kind"));
        table_add(table, view_word(one, "key"));
        add_number(table, one, "score");
        table_add(table, view_word(one, "action"));
        for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
            add_number(table, one, numbers[n]);
    }
    if (json_array_size(counts) == 0)
        fputs("nothing was counted\n", out);
    else
        table_print(table, out);
    table_free(&table);
}

static void print_standings(const json_t *standings, FILE *out)
{
    static const char *const titles[] = { "KEY", "EDGES", "BY", "UNTIL", "WHO", "OWNER", "REASON" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    const json_t *one;
    size_t i;
    json_array_foreach(standings, i, one)
    {
        char until[32];
        table_add(table, view_word(one, "key"));
        table_add(table, view_word(one, "action"));
        table_add(table, view_word(one, "by"));
        table_add(table, view_time(until, view_word(one, "expires_at")));
        table_add(table, view_word(one, "who"));
        table_add(table, view_word(one, "owner"));
        table_add(table, view_word(one, "reason"));
    }
    if (json_array_size(standings) > 0) {
        fputs("\n", out);
        table_print(table, out);
    }
    table_free(&table);
}

void reputation_print(const json_t *body, FILE *out)
{
    print_counts(json_object_get(body, "counts"), out);
    print_standings(json_object_get(body, "standings"), out);
}

void reputation_print_set(const json_t *body, FILE *out)
{
    char until[32];
    if (!override_print_pending(body, out))
        fprintf(out, "%s: %s until %s\n", view_word(body, "key"), view_word(body, "action"), view_time(until, view_word(body, "expires_at")));
}

void reputation_print_forgotten(const json_t *body, FILE *out)
{
    if (override_print_pending(body, out))
        return;
    bool counted = json_is_true(json_object_get(body, "counted")), lifted = json_integer_value(json_object_get(body, "lifted")) > 0;
    if (json_object_get(body, "key") == NULL) { /* of many */
        fprintf(out, "the counts of %lld are forgotten, and edges let %lld in\n", (long long)json_integer_value(json_object_get(body, "counted")),
                (long long)json_integer_value(json_object_get(body, "lifted")));
        return;
    }
    fprintf(out, "%s: %s\n", view_word(body, "key"),
            counted && lifted ? "its counts are forgotten, and edges let it in"
            : counted         ? "its counts are forgotten"
            : lifted          ? "edges let it in"
                              : "nothing was known");
}

void reputation_forget_on(struct requester *requester, const char *span, struct reply *reply)
{
    json_error_t error;
    json_t *sum = json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error), *next = json_incref(json_object_get(sum, "next"));
    while (json_is_string(next)) {
        const char *const args[] = { span != NULL ? span : "", json_string_value(next) };
        reply_clear(reply);
        requester_ask(requester, "reputation forget-all", args, 2, NULL, 0, reply);
        json_t *part = reply->status == 0 ? json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error) : NULL;
        json_decref(next);
        next = json_incref(json_object_get(part, "next"));
        static const char *const sums[] = { "counted", "lifted" };
        for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
            json_object_set_new(sum, sums[i], json_integer(json_integer_value(json_object_get(sum, sums[i])) + json_integer_value(json_object_get(part, sums[i]))));
        json_decref(part);
    }
    json_decref(next);
    if (reply->status == 0) {
        json_object_del(sum, "next");
        free(reply->body);
        reply->body = json_dumps(sum, JSON_ENCODE_ANY);
    } else {
        char *words = xasprintf("the counts of %lld were forgotten, then: %s", (long long)json_integer_value(json_object_get(sum, "counted")), reply->error != NULL ? reply->error : "?");
        free(reply->error);
        reply->error = words;
    }
    json_decref(sum);
}

/* ---- explained ---- */

const char *explained_key(const struct explained_policy *policy, const char *wanted, char out[HOST_KEY_MAX])
{
    struct netaddr client;
    char prefix[NETADDR_TEXT_MAX];
    if (!netaddr_parse(&client, wanted) || !policy_is_inside(policy->parsed, &client))
        return wanted;
    const struct registered_host *host = policy_host(policy->parsed, &client, (int64_t)(clock_wall_ms() / 1000));
    if (host == NULL)
        return wanted;
    snprintf(out, HOST_KEY_MAX, "host:%s", netaddr_prefix_format(&host->prefix, prefix));
    return out;
}

/* The line of hosts that a key is of; 0: it has none. */
static unsigned host_line(const struct explained_policy *policy, const char *key)
{
    struct netaddr_prefix wanted;
    const struct registered_host *host;
    struct error why;
    if (!netaddr_prefix_parse(&wanted, key + strlen("host:"), &why))
        return 0;
    for (size_t i = 0; (host = policy_host_at(policy->parsed, i)) != NULL; i++)
        if (host->prefix.bits == wanted.bits && netaddr_equal(&host->prefix.address, &wanted.address))
            return host->line;
    return 0;
}

json_t *explain_reputation(const struct explained_policy *policy, const char *text, struct error *why)
{
    json_error_t error;
    struct netaddr client;
    json_t *body = json_loads(text != NULL ? text : "", 0, &error);
    if (body == NULL) {
        error_set(why, "the coordinator's answer is not JSON: %s", error.text);
        return NULL;
    }
    if (strcmp(view_word(body, "kind"), "host") == 0) {
        unsigned line = host_line(policy, view_word(body, "key"));
        json_object_set_new(body, "line", line > 0 ? explain_rule(policy, "hosts", line) : json_null());
    }
    bool inside = netaddr_parse(&client, view_word(body, "key")) && policy_is_inside(policy->parsed, &client);
    json_object_set_new(body, "inside", json_boolean(inside));
    if (inside)
        json_object_set_new(body, "line", explain_rule(policy, "networks", policy_network(policy->parsed, &client)->line));
    return body;
}

static void print_formula(const json_t *one, FILE *out)
{
    double bad = json_number_value(json_object_get(one, "bad")), good = json_number_value(json_object_get(one, "good"));
    double proof = json_number_value(json_object_get(one, "proof"));
    fprintf(out, "score of %s %s: 100 * %.1f bad / (%.1f bad + %.1f good + %.0f proof) = %.1f: %s\n", view_word(one, "kind"), view_word(one, "key"), bad, bad, good, proof,
            json_number_value(json_object_get(one, "score")), view_word(one, "action"));
}

static void print_threshold(const char *name, double score, const char *rest, FILE *out)
{
    if (score > 0)
        fprintf(out, "%s from %.0f on%s", name, score, rest);
    else
        fprintf(out, "%s never%s", name, rest);
}

static void print_decision(const json_t *body, FILE *out)
{
    bool account = strcmp(view_word(body, "kind"), "account") == 0;
    const char *action = view_word(body, "action"), *by = view_word(body, "by");
    fprintf(out, "\nedges now: ");
    if (strcmp(view_word(body, "kind"), "host") == 0 && json_is_null(json_object_get(body, "line")))
        fputs("nobody is judged by it, as the policy file hosts has no such line\n", out);
    else if (json_is_true(json_object_get(body, "inside")))
        fprintf(out, "allow, as it is inside (%s)\n", view_word(json_object_get(body, "line"), "rule"));
    else if (*by == '\0')
        fputs("allow, as nothing speaks against it\n", out);
    else
        fprintf(out, "%s, by %s%s\n", action, strcmp(by, "operator") == 0 ? "an operator's word" : "its score",
                strcmp(action, "reject") == 0     ? (account ? ": 550 5.7.1 to MAIL" : ": 554 5.7.1 in place of the banner")
                : strcmp(action, "throttle") == 0 ? ": 450 4.7.1 to MAIL over reputation_rate a minute"
                                                  : "");
}

void explain_reputation_print(const char *verb, const json_t *body, FILE *out)
{
    (void)verb;
    const json_t *one, *counts = json_object_get(body, "counts");
    size_t i;
    print_counts(counts, out);
    if (json_array_size(counts) > 0)
        fputs("\nbad = 5 * virus + 3 * spam + 2 * abuse + unknown + auth\n", out);
    json_array_foreach(counts, i, one) print_formula(one, out);
    fprintf(out, "counts halve in %.0f s; ", json_number_value(json_object_get(body, "half_life")));
    print_threshold("throttled", json_number_value(json_object_get(body, "throttle")), ", ", out);
    print_threshold("refused", json_number_value(json_object_get(body, "reject")), "\n", out);
    print_standings(json_object_get(body, "standings"), out);
    print_decision(body, out);
}

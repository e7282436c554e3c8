/*
 * hosts.c - see hosts.h
 */
#include "coordinator/ctl/hosts.h"
#include <stdbool.h>
#include <string.h>
#include "common/clock.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"

#define CELL_MAX 60

static json_t *prefix_text(const struct netaddr_prefix *prefix)
{
    char address[NETADDR_TEXT_MAX];
    return json_sprintf("%s/%u", netaddr_format(&prefix->address, address), prefix->bits);
}

static int64_t now_s(void)
{
    return (int64_t)(clock_wall_ms() / 1000);
}

static void explain_host(json_t *entry, const struct registered_host *host)
{
    char moment[32];
    json_object_set_new(entry, "registered", json_boolean(host != NULL));
    if (host == NULL)
        return;
    json_object_set_new(entry, "owner", json_string(host->owner));
    json_object_set_new(entry, "reason", json_string(host->reason));
    if (host->approved_by != NULL)
        json_object_set_new(entry, "approved_by", json_string(host->approved_by));
    if (host->expires != INT64_MAX)
        json_object_set_new(entry, "expires", json_string(explain_moment(moment, host->expires)));
    json_object_set_new(entry, "line", json_sprintf("hosts:%u", host->line));
}

static const struct registered_host *explain_client(json_t *entry, const struct policy *policy)
{
    struct netaddr client;
    const char *text = json_string_value(json_object_get(entry, "client"));
    if (text == NULL || !netaddr_parse(&client, text))
        return NULL;
    const struct registered_host *host = policy_host(policy, &client, now_s());
    explain_host(entry, host);
    json_object_set_new(entry, "inside", json_boolean(policy_is_inside(policy, &client)));
    return host;
}

/* Registered, and none of those that were seen is of this line. */
static void add_unseen(json_t *listed, const struct policy *policy, const json_t *seen_lines)
{
    const struct registered_host *host;
    for (size_t i = 0; (host = policy_host_at(policy, i)) != NULL; i++) {
        char line[24];
        snprintf(line, sizeof line, "%u", host->line);
        if (json_object_get(seen_lines, line) != NULL || host->expires <= now_s())
            continue;
        json_t *entry = json_object();
        json_object_set_new(entry, "client", prefix_text(&host->prefix));
        explain_host(entry, host);
        json_object_set_new(entry, "inside", json_boolean(policy_is_inside(policy, &host->prefix.address)));
        json_array_append_new(listed, entry);
    }
}

json_t *hosts_list(const json_t *body, const struct explained_policy *policy, bool unregistered, size_t most)
{
    json_t *listed = json_array(), *seen_lines = json_object(), *seen = json_object_get(body, "seen"), *entry;
    size_t i;
    json_array_foreach(seen, i, entry)
    {
        const struct registered_host *host = explain_client(entry, policy->parsed);
        char line[24];
        if (host != NULL) {
            snprintf(line, sizeof line, "%u", host->line);
            json_object_set_new(seen_lines, line, json_true());
        }
        if (host == NULL || !unregistered)
            json_array_append(listed, entry);
    }
    if (!unregistered)
        add_unseen(listed, policy->parsed, seen_lines);
    json_decref(seen_lines);
    while (most > 0 && json_array_size(listed) > most)
        json_array_remove(listed, json_array_size(listed) - 1);
    json_t *out = json_object();
    json_object_set_new(out, "policy", json_integer(policy->epoch));
    json_object_set(out, "hosts", json_object_get(body, "hosts"));
    json_object_set_new(out, "listed", listed);
    return out;
}

void hosts_explain(json_t *body, const struct explained_policy *policy)
{
    explain_client(body, policy->parsed);
}

json_t *hosts_export(const struct explained_policy *policy)
{
    const struct registered_host *host;
    json_t *prefixes = json_array(), *out = json_object();
    for (size_t i = 0; (host = policy_host_at(policy->parsed, i)) != NULL; i++)
        if (host->expires > now_s())
            json_array_append_new(prefixes, prefix_text(&host->prefix));
    json_object_set_new(out, "policy", json_integer(policy->epoch));
    json_object_set_new(out, "prefixes", prefixes);
    return out;
}

/* --- printing --- */

static void add_number(struct table *table, const json_t *entry, const char *key)
{
    const json_t *value = json_object_get(entry, key);
    char text[32];
    snprintf(text, sizeof text, "%.0f", json_number_value(value));
    table_add(table, value != NULL ? text : NULL);
}

/* Of its messages. */
static void add_tls(struct table *table, const json_t *entry)
{
    double messages = json_number_value(json_object_get(entry, "messages"));
    char text[16];
    snprintf(text, sizeof text, "%.0f%%", messages > 0 ? 100 * json_number_value(json_object_get(entry, "tls")) / messages : 0);
    table_add(table, messages > 0 ? text : NULL);
}

static void add_volume(struct table *table, const json_t *entry)
{
    static const char *const keys[] = { "messages", "recipients", "bytes" }, *const more[] = { "refused", "viruses" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        add_number(table, entry, keys[i]);
    add_tls(table, entry);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        add_number(table, entry, more[i]);
}

static void print_list(const json_t *body, FILE *out)
{
    static const char *const titles[] = { "HOST", "REGISTERED", "OWNER", "FIRST", "LAST", ">MESSAGES", ">RECIPIENTS", ">BYTES", ">TLS", ">REFUSED", ">VIRUSES",
                                          "LISTENER", "HELO" };
    const json_t *listed = json_object_get(body, "listed"), *entry;
    size_t i;
    char when[32];
    long long seen = (long long)json_integer_value(json_object_get(body, "hosts"));
    fprintf(out, "%lld host%s seen\n", seen, view_plural(seen));
    if (json_array_size(listed) == 0)
        return;
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(listed, i, entry)
    {
        table_add(table, view_word(entry, "client"));
        table_add(table, json_is_true(json_object_get(entry, "registered")) ? view_word(entry, "line") : json_is_true(json_object_get(entry, "inside")) ? "no" : "no, outside");
        table_add_clean(table, view_word(entry, "owner"), CELL_MAX);
        table_add(table, view_time(when, json_string_value(json_object_get(entry, "first_seen"))));
        table_add(table, view_time(when, json_string_value(json_object_get(entry, "last_seen"))));
        add_volume(table, entry);
        table_add_clean(table, view_word(entry, "listener"), CELL_MAX);
        table_add_clean(table, view_word(entry, "helo"), CELL_MAX);
    }
    table_print(table, out);
    table_free(&table);
}

static void print_field(FILE *out, const char *name, const char *value)
{
    struct text clean;
    if (*value == '\0')
        return;
    text_init(&clean);
    text_add_clean(&clean, value, strlen(value), SIZE_MAX);
    fprintf(out, "%-11s %s\n", name, clean.data);
    text_fini(&clean);
}

static void print_show(const json_t *body, FILE *out)
{
    static const char *const titles[] = { "DAY", ">MESSAGES", ">RECIPIENTS", ">BYTES", ">TLS", ">REFUSED", ">VIRUSES", ">UNREGISTERED" };
    const json_t *days = json_object_get(body, "by_day"), *day;
    size_t i;
    char when[32];
    print_field(out, "host", view_word(body, "client"));
    print_field(out, "registered", json_is_true(json_object_get(body, "registered")) ? view_word(body, "line") : "no");
    print_field(out, "inside", json_is_true(json_object_get(body, "inside")) ? "yes" : "no");
    print_field(out, "owner", view_word(body, "owner"));
    print_field(out, "reason", view_word(body, "reason"));
    print_field(out, "approved", view_word(body, "approved_by"));
    print_field(out, "expires", view_word(body, "expires"));
    if (json_object_get(body, "last_seen") == NULL) {
        print_field(out, "seen", "never");
        return;
    }
    print_field(out, "first seen", view_time(when, view_word(body, "first_seen")));
    print_field(out, "last seen", view_time(when, view_word(body, "last_seen")));
    print_field(out, "listener", view_word(body, "listener"));
    print_field(out, "helo", view_word(body, "helo"));
    if (json_array_size(days) == 0)
        return;
    fputs("\n", out);
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(days, i, day)
    {
        table_add(table, view_word(day, "day"));
        add_volume(table, day);
        add_number(table, day, "unregistered");
    }
    table_print(table, out);
    table_free(&table);
}

void hosts_print(const char *verb, const json_t *body, FILE *out)
{
    if (strcmp(verb, "hosts list") == 0)
        print_list(body, out);
    else
        print_show(body, out);
}

static void print_set(const json_t *prefixes, bool v6, FILE *out)
{
    const json_t *prefix;
    size_t i, count = 0;
    fprintf(out, "add set inet weir registered%d { type ipv%d_addr; flags interval; auto-merge; }\nflush set inet weir registered%d\n", v6 ? 6 : 4, v6 ? 6 : 4, v6 ? 6 : 4);
    json_array_foreach(prefixes, i, prefix)
    {
        if ((strchr(json_string_value(prefix), ':') != NULL) != v6)
            continue;
        if (count++ == 0)
            fprintf(out, "add element inet weir registered%d {\n", v6 ? 6 : 4);
        fprintf(out, "    %s,\n", json_string_value(prefix));
    }
    if (count > 0)
        fputs("}\n", out);
}

void hosts_print_export(const json_t *body, bool nftables, FILE *out)
{
    const json_t *prefixes = json_object_get(body, "prefixes"), *prefix;
    size_t i;
    if (nftables) {
        fprintf(out, "# registered hosts of policy %lld\nadd table inet weir\n", (long long)json_integer_value(json_object_get(body, "policy")));
        print_set(prefixes, false, out);
        print_set(prefixes, true, out);
        return;
    }
    json_array_foreach(prefixes, i, prefix)
        fprintf(out, "%s\n", json_string_value(prefix));
}

/*
 * report.c - see report.h
 */
#include <stdbool.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/ctl/report.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"

#define CELL_MAX 60

static void explain_client(json_t *entry, const struct policy *policy, int64_t now)
{
    struct netaddr client;
    const char *text = json_string_value(json_object_get(entry, "client"));
    if (text == NULL || !netaddr_parse(&client, text))
        return;
    const struct network *network = policy_network(policy, &client);
    const struct exception *exception = policy_exception(policy, &client, now);
    json_object_set_new(entry, "inside", json_boolean(policy_is_inside(policy, &client)));
    if (network != NULL) {
        json_object_set_new(entry, "network", network->name != NULL ? json_string(network->name) : json_null());
        json_object_set_new(entry, "line", json_sprintf("networks:%u", network->line));
    }
    if (exception != NULL)
        json_object_set_new(entry, "owner", json_string(exception->owner));
}

void report_explain(json_t *body, const struct explained_policy *policy, int64_t now)
{
    static const char *const lists[] = { "refused", "viruses" };
    for (size_t k = 0; k < 2; k++) {
        size_t i;
        json_t *entry;
        json_array_foreach(json_object_get(body, lists[k]), i, entry)
            explain_client(entry, policy->parsed, now);
    }
}

/* --- printing --- */

static void add_list(struct table *table, const json_t *list)
{
    struct text text;
    size_t i;
    const json_t *one;
    text_init(&text);
    json_array_foreach(list, i, one)
        text_printf(&text, "%s%s", i > 0 ? ", " : "", json_string_value(one));
    table_add_clean(table, text.data, CELL_MAX);
    text_fini(&text);
}

static void add_common(struct table *table, const json_t *entry, const char *count)
{
    char when[32], number[24];
    const char *place = *view_word(entry, "network") != '\0' ? view_word(entry, "network") : view_word(entry, "line");
    table_add(table, view_word(entry, "client"));
    table_add_clean(table, *place != '\0' ? place : json_is_true(json_object_get(entry, "inside")) ? "inside" : "outside", CELL_MAX);
    snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(entry, count)));
    table_add(table, number);
    table_add(table, view_time(when, view_word(entry, "first")));
    table_add(table, view_time(when, view_word(entry, "last")));
    add_list(table, json_object_get(entry, "listeners"));
}

static void print_title(const json_t *body, const char *key, const char *what, FILE *out)
{
    long long clients = (long long)json_integer_value(json_object_get(body, key));
    fprintf(out, "%lld client%s %s, last %lld h\n", clients, view_plural(clients), what,
            (long long)json_integer_value(json_object_get(body, "hours")));
}

void report_print(const json_t *body, FILE *out)
{
    static const char *const refused_titles[] = { "CLIENT", "NETWORK", ">RECIPIENTS", "FIRST", "LAST", "LISTENER", "HELO", "FROM", "TO" };
    static const char *const virus_titles[] = { "CLIENT", "NETWORK", ">MESSAGES", "FIRST", "LAST", "LISTENER", "OWNER", "NEWEST", "FOUND", "FROM" };
    const json_t *refused = json_object_get(body, "refused"), *viruses = json_object_get(body, "viruses"), *entry;
    size_t i;
    print_title(body, "refused_clients", "may not relay and tried", out);
    if (json_array_size(refused) > 0) {
        struct table *table = table_new(refused_titles, sizeof refused_titles / sizeof *refused_titles);
        json_array_foreach(refused, i, entry)
        {
            add_common(table, entry, "recipients");
            table_add_clean(table, view_word(entry, "helo"), CELL_MAX);
            table_add_clean(table, view_word(entry, "sender"), CELL_MAX);
            table_add_clean(table, view_word(entry, "recipient"), CELL_MAX);
        }
        table_print(table, out);
        table_free(&table);
    }
    fputs("\n", out);
    print_title(body, "virus_clients", "sent viruses", out);
    if (json_array_size(viruses) == 0)
        return;
    struct table *table = table_new(virus_titles, sizeof virus_titles / sizeof *virus_titles);
    json_array_foreach(viruses, i, entry)
    {
        add_common(table, entry, "messages");
        table_add_clean(table, view_word(entry, "owner"), CELL_MAX);
        table_add(table, view_word(entry, "newest"));
        add_list(table, json_object_get(entry, "signatures"));
        add_list(table, json_object_get(entry, "senders"));
    }
    table_print(table, out);
    table_free(&table);
}

/*
 * outbreak.c - see outbreak.h
 */
#include "coordinator/ctl/outbreak.h"
#include <string.h>
#include "common/config.h"
#include "coordinator/ctl/override.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"

#define CELL_MAX 60
#define HASH_SHOWN 16 /* digits in a table: enough to name it by */

bool outbreak_is_verb(const char *verb)
{
    return strncmp(verb, "outbreak ", 9) == 0 || strcmp(verb, "hunt") == 0;
}

/* "" where none is given; else it was checked. */
static const char *age(char out[32], const char *given)
{
    uint64_t ms = 0;
    out[0] = '\0';
    if (given != NULL && config_parse_duration(given, &ms))
        snprintf(out, 32, "%llu ms", (unsigned long long)ms);
    return out;
}

void outbreak_ask(const struct options *options, struct requester *requester, struct reply *reply)
{
    const char *verb = options->verb->name, *args[4];
    char since[32], block[32], limit[16];
    size_t count = 0;
    if (strcmp(verb, "hunt") == 0) {
        args[count++] = options->arg_count > 0 ? options->args[0] : "";
        args[count++] = options->signature != NULL ? options->signature : "";
        args[count++] = age(since, options->since);
        if (options->given & OPTION_LIMIT) {
            snprintf(limit, sizeof limit, "%u", options->limit);
            args[count++] = limit;
        }
    } else if (options->arg_count > 0) {
        args[count++] = options->args[0];
    }
    if (options->verb->flags & OPTION_REASON)
        args[count++] = options->reason != NULL ? options->reason : "";
    if (options->block != NULL)
        args[count++] = age(block, options->block);
    requester_ask(requester, verb, args, count, NULL, 0, reply);
}

static long long number(const json_t *object, const char *key)
{
    return (long long)json_number_value(json_object_get(object, key));
}

static void add_number(struct table *table, const json_t *entry, const char *key)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", number(entry, key));
    table_add(table, text);
}

static void add_time(struct table *table, const json_t *entry, const char *key)
{
    char when[32];
    table_add(table, *view_word(entry, key) != '\0' ? view_time(when, view_word(entry, key)) : "");
}

static void add_hash(struct table *table, const json_t *entry)
{
    char hash[HASH_SHOWN + 1];
    snprintf(hash, sizeof hash, "%s", view_word(entry, "hash"));
    table_add(table, hash);
}

void outbreak_print_list(const json_t *list, FILE *out)
{
    static const char *const titles[] = { "HASH", "KIND", "STATE", "SINCE", ">SEEN", ">HELD", "UNTIL", "BY", "WHY" };
    const json_t *entry;
    size_t i;
    if (json_array_size(list) == 0) {
        fputs("no attachment is, or was, an outbreak\n", out);
        return;
    }
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(list, i, entry)
    {
        add_hash(table, entry);
        table_add(table, view_word(entry, "kind"));
        table_add(table, view_word(entry, "state"));
        add_time(table, entry, "since");
        add_number(table, entry, "messages");
        add_number(table, entry, "held");
        add_time(table, entry, strcmp(view_word(entry, "state"), "blocked") == 0 ? "blocked_until" : "until");
        table_add_clean(table, view_word(entry, "who"), CELL_MAX);
        table_add_clean(table, view_word(entry, "why"), CELL_MAX);
    }
    table_print(table, out);
    table_free(&table);
}

void outbreak_print_one(const json_t *body, FILE *out)
{
    static const char *const titles[] = { "ID", "HELD", "UNTIL", "STATE", "CLIENT", "FROM", "TO" };
    const json_t *copies = json_object_get(body, "copies"), *copy;
    char first[32], since[32];
    size_t i;
    fprintf(out, "hash        %s\nkind        %s, %lld bytes\nfirst seen  %s, in %lld message%s until it was known\nstate       %s", view_word(body, "hash"), view_word(body, "kind"),
            number(body, "size"), view_time(first, view_word(body, "first_at")), number(body, "messages"), view_plural(number(body, "messages")), view_word(body, "state"));
    if (*view_word(body, "since") != '\0')
        fprintf(out, " since %s", view_time(since, view_word(body, "since")));
    fprintf(out, "\nheld        %lld\n", number(body, "held"));
    if (json_array_size(copies) == 0)
        return;
    fputs("\n", out);
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(copies, i, copy)
    {
        table_add(table, view_word(copy, "id"));
        add_time(table, copy, "held_at");
        add_time(table, copy, "until");
        table_add(table, view_word(copy, "state"));
        table_add_clean(table, view_word(copy, "client"), CELL_MAX);
        table_add_clean(table, view_word(copy, "sender"), CELL_MAX);
        table_add_clean(table, view_word(copy, "recipient"), CELL_MAX);
    }
    table_print(table, out);
    table_free(&table);
}

void outbreak_print_act(const json_t *body, FILE *out)
{
    char until[32];
    if (override_print_pending(body, out))
        return;
    if (json_object_get(body, "deleted") == NULL) {
        fprintf(out, "%s, which was %s, is good: %lld held cop%s scanned again and delivered now\n", view_word(body, "hash"), view_word(body, "was"), number(body, "held"),
                number(body, "held") == 1 ? "y is" : "ies are");
        return;
    }
    fprintf(out, "%s: %lld held cop%s deleted", view_word(body, "hash"), number(body, "deleted"), number(body, "deleted") == 1 ? "y" : "ies");
    if (number(body, "held") > 0)
        fprintf(out, ", %lld more within seconds", number(body, "held"));
    if (strcmp(view_word(body, "state"), "blocked") == 0)
        fprintf(out, "; what comes is as a virus until %s", view_time(until, view_word(body, "blocked_until")));
    fputs("\n", out);
}

void outbreak_print_hunt(const json_t *body, FILE *out)
{
    static const char *const titles[] = { "TIME", "ID", "FROM", "TO", "BECAME", "KIND", "HASH", "FOUND" };
    const json_t *rows = json_object_get(body, "rows"), *row;
    long long received = 0;
    size_t i;
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(rows, i, row)
    {
        received += json_is_true(json_object_get(row, "received"));
        add_time(table, row, "time");
        table_add(table, view_word(row, "id"));
        table_add_clean(table, view_word(row, "sender"), CELL_MAX);
        table_add_clean(table, view_word(row, "recipient"), CELL_MAX);
        table_add(table, view_word(row, "disposition"));
        table_add(table, view_word(row, "kind"));
        add_hash(table, row);
        table_add_clean(table, view_word(row, "signature"), CELL_MAX);
    }
    table_print(table, out);
    table_free(&table);
    fprintf(out, "%lld of %zu received it%s\n", received, json_array_size(rows), json_is_true(json_object_get(body, "more")) ? "; there are more: --limit N" : "");
}

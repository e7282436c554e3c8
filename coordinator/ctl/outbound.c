/*
 * outbound.c - see outbound.h
 */
#include "coordinator/ctl/outbound.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "coordinator/ctl/override.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"

#define CELL_MAX 70

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

/* Why nothing is done about it. */
static const char *rests(const json_t *entry)
{
    return json_is_true(json_object_get(entry, "dry")) ? " (dry run)" : json_is_true(json_object_get(entry, "idle")) ? " (off)" : "";
}

static void add_state(struct table *table, const json_t *entry)
{
    char text[48];
    snprintf(text, sizeof text, "%s%s%s", view_word(entry, "state"), rests(entry), json_is_true(json_object_get(entry, "full")) ? ", full" : "");
    table_add(table, text);
}

void outbound_print_list(const json_t *list, FILE *out)
{
    static const char *const titles[] = { "WHO", "STATE", "SINCE", ">HELD", ">THIS HOUR", ">USUAL", ">VIRUSES", ">BAD", "POOL", "WHY" };
    const json_t *entry;
    size_t i;
    char when[32];
    if (json_array_size(list) == 0) {
        fputs("nobody is slowed down or stopped, or moved to a pool\n", out);
        return;
    }
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(list, i, entry)
    {
        table_add_clean(table, view_word(entry, "subject"), CELL_MAX);
        add_state(table, entry);
        table_add(table, view_time(when, view_word(entry, "since")));
        add_number(table, entry, "held_messages");
        add_number(table, entry, "recipients");
        add_number(table, entry, "usual");
        add_number(table, entry, "viruses");
        add_number(table, entry, "bad");
        table_add(table, view_word(entry, "pool"));
        table_add_clean(table, view_word(entry, "reason"), CELL_MAX);
    }
    table_print(table, out);
    table_free(&table);
}

static void print_newest(const json_t *rows, FILE *out)
{
    static const char *const titles[] = { "TIME", "ID", "CLIENT", "FROM", "TO", "BECAME", "REPLY" };
    const json_t *row;
    size_t i;
    char when[32];
    if (json_array_size(rows) == 0)
        return;
    fputs("\n", out);
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(rows, i, row)
    {
        table_add(table, view_time(when, view_word(row, "time")));
        table_add(table, view_word(row, "id"));
        table_add(table, view_word(row, "client"));
        table_add_clean(table, view_word(row, "sender"), CELL_MAX);
        table_add_clean(table, view_word(row, "recipient"), CELL_MAX);
        table_add(table, view_word(row, "disposition"));
        table_add_clean(table, view_word(row, "reply"), CELL_MAX);
    }
    table_print(table, out);
    table_free(&table);
}

static void print_held(const json_t *rows, FILE *out)
{
    static const char *const titles[] = { "HELD", "ARRIVED", ">SIZE", "FROM", ">RECIPIENTS" };
    const json_t *row;
    size_t i;
    char when[32];
    if (json_array_size(rows) == 0)
        return;
    fputs("\n", out);
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(rows, i, row)
    {
        table_add(table, view_word(row, "id"));
        table_add(table, view_time(when, view_word(row, "arrived_at")));
        add_number(table, row, "size");
        table_add_clean(table, view_word(row, "sender"), CELL_MAX);
        add_number(table, row, "recipients");
    }
    table_print(table, out);
    table_free(&table);
}

void outbound_print_one(const json_t *body, FILE *out)
{
    char when[32];
    struct text who;
    text_init(&who);
    text_add_clean(&who, view_word(body, "subject"), strlen(view_word(body, "subject")), SIZE_MAX);
    fprintf(out, "who         %s\nstate       %s%s%s", who.data, view_word(body, "state"), rests(body), json_is_true(json_object_get(body, "full")) ? ", no more is taken" : "");
    text_fini(&who);
    if (*view_word(body, "reason") != '\0')
        fprintf(out, " since %s: %s", view_time(when, view_word(body, "since")), view_word(body, "reason"));
    if (*view_word(body, "pool") != '\0')
        fprintf(out, "\ngoes out    from [egress \"%s\"], since %s, by %s: %s", view_word(body, "pool"), view_time(when, view_word(body, "pool_at")),
                view_word(body, "pool_who"), view_word(body, "pool_reason"));
    fprintf(out, "\nthis hour   %lld recipients, %lld viruses, %lld refused or bounced; usual are %lld an hour\nheld        %lld message%s, %lld bytes\n", number(body, "recipients"),
            number(body, "viruses"), number(body, "bad"), number(body, "usual"), number(body, "held_messages"), view_plural(number(body, "held_messages")),
            number(body, "held_bytes"));
    print_held(json_object_get(body, "held"), out);
    print_newest(json_object_get(body, "newest"), out);
}

void outbound_print_release(const json_t *body, FILE *out)
{
    if (override_print_pending(body, out))
        return;
    struct text who;
    text_init(&who);
    text_add_clean(&who, view_word(body, "subject"), strlen(view_word(body, "subject")), SIZE_MAX);
    fprintf(out, "%s was %s: %lld message%s released, %lld deleted", who.data, view_word(body, "was"), number(body, "released"), view_plural(number(body, "released")),
            number(body, "deleted"));
    if (number(body, "left") > 0)
        fprintf(out, "; %lld left, which are being stored or delivered: it stays stopped, ask again", number(body, "left"));
    fputs("\n", out);
    text_fini(&who);
}

void outbound_print_pool(const json_t *body, FILE *out)
{
    struct text who;
    text_init(&who);
    text_add_clean(&who, view_word(body, "subject"), strlen(view_word(body, "subject")), SIZE_MAX);
    if (*view_word(body, "pool") != '\0')
        fprintf(out, "mail of %s goes out from [egress \"%s\"]\n", who.data, view_word(body, "pool"));
    else
        fprintf(out, "mail of %s goes out as that of its kind\n", who.data);
    text_fini(&who);
}

void outbound_print_status(const json_t *counts, FILE *out)
{
    long long throttled = number(counts, "throttled"), held = number(counts, "held"), dry = number(counts, "dry"), messages = number(counts, "messages");
    if (throttled + held + messages > 0)
        fprintf(out, "problem       outbound: %lld stopped, %lld slowed down, %lld message%s held (weirctl outbound list)\n", held, throttled, messages,
                view_plural(messages));
    if (dry > 0)
        fprintf(out, "outbound      dry run: %lld would be slowed down or stopped (weirctl outbound list)\n", dry);
}

/* override.c - see override.h */
#include "coordinator/ctl/override.h"

#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/ctl/operators.h"
#include "coordinator/ctl/outbound.h"
#include "coordinator/ctl/outbreak.h"
#include "coordinator/ctl/quarantine.h"
#include "coordinator/ctl/reputation.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"

#define CELL_MAX 60

static long long number(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

/* "allow 192.0.2.0/24", "release account alice@example.edu", "add a key of operator carol". */
static char *act_of(const json_t *one)
{
    const json_t *detail = json_object_get(one, "detail");
    bool release = strcmp(view_word(one, "kind"), "outbound release") == 0 || strcmp(view_word(one, "kind"), "outbreak release") == 0;
    const char *verb = !release ? view_word(detail, "action") : json_is_true(json_object_get(detail, "deletes")) ? "release, and delete what is held," : "release";
    return xasprintf("%s %s", verb, view_word(one, "subject"));
}

void override_print_list(const json_t *body, FILE *out)
{
    static const char *const titles[] = { ">ID", "STATE", "WHAT", "UNTIL", "ASKED BY", "DECIDED BY", "OWNER", "REASON" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    const json_t *one;
    size_t i;
    json_array_foreach(body, i, one)
    {
        char id[24], until[32];
        char *act = act_of(one);
        const char *end = view_word(one, *view_word(one, "pending_until") != '\0' ? "pending_until" : "expires_at");
        snprintf(id, sizeof id, "%lld", number(one, "id"));
        table_add(table, id);
        table_add(table, view_word(one, "state"));
        table_add_clean(table, act, CELL_MAX);
        table_add(table, *end != '\0' ? view_time(until, end) : "");
        table_add(table, view_word(one, "requested_by"));
        table_add(table, view_word(one, "decided_by"));
        table_add_clean(table, view_word(one, "owner"), CELL_MAX);
        table_add_clean(table, view_word(one, "reason"), CELL_MAX);
        free(act);
    }
    if (json_array_size(body) == 0)
        fputs("no override waits for a second operator\n", out);
    else
        table_print(table, out);
    table_free(&table);
}

void override_print_decided(const json_t *body, FILE *out)
{
    if (json_object_get(body, "released") != NULL)
        outbound_print_release(body, out);
    else if (json_object_get(body, "infected") != NULL)
        quarantine_print_act(body, out);
    else if (json_object_get(body, "hash") != NULL)
        outbreak_print_act(body, out);
    else if (json_object_get(body, "counted") != NULL)
        reputation_print_forgotten(body, out);
    else if (json_object_get(body, "role") != NULL)
        fprintf(out, "a key of %s is let in as %s\n", view_word(body, "name"), view_word(body, "role"));
    else if (json_object_get(body, "usable") != NULL)
        operators_print(body, out);
    else if (json_object_get(body, "key") != NULL)
        reputation_print_set(body, out);
    else
        fprintf(out, "override %lld is refused\n", number(body, "id"));
}

bool override_print_pending(const json_t *body, FILE *out)
{
    char until[32];
    if (json_object_get(body, "pending") == NULL)
        return false;
    fprintf(out, "override %lld does nothing until another operator says \"weirctl override approve %lld\", before %s\n", number(body, "pending"),
            number(body, "pending"), view_time(until, view_word(body, "until")));
    return true;
}

static void put_words(const char *words, FILE *out)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, words, strlen(words), SIZE_MAX);
    fputs(clean.data, out);
    text_fini(&clean);
}

void override_print_trace(const json_t *row, FILE *out)
{
    const json_t *said = json_object_get(row, "overridden");
    if (!json_is_object(said))
        return;
    fprintf(out, "  override=%lld ", number(said, "id"));
    put_words(view_word(said, "reason"), out);
    fprintf(out, " (%s ", *view_word(said, "action") != '\0' ? view_word(said, "action") : "released");
    put_words(view_word(said, "subject"), out);
    fprintf(out, ", by %s", view_word(said, "requested_by"));
    if (*view_word(said, "approved_by") != '\0')
        fprintf(out, ", approved by %s", view_word(said, "approved_by"));
    fputs(")\n", out);
}

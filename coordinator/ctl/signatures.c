/*
 * signatures.c - see signatures.h
 */
#include "coordinator/ctl/signatures.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"

#define SHORT_LEN 12 /* of a set's name: enough to tell it from others, and to name it by */

static bool is(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static void add_short(struct table *table, const char *id)
{
    char *cut = xstrndup(id, SHORT_LEN);
    table_add(table, cut);
    free(cut);
}

static void add_time(struct table *table, const char *time)
{
    char when[32];
    table_add(table, time[0] != '\0' ? view_time(when, time) : NULL);
}

/* Words of freshclam and libclamav. */
static void put(FILE *out, const char *label, const char *words)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, words, strlen(words), SIZE_MAX);
    fprintf(out, "%s%s\n", label, clean.data);
    text_fini(&clean);
}

static void print_look(const json_t *look, FILE *out)
{
    char when[32];
    const char *result = view_word(look, "result");
    fprintf(out, "mirrors  %s", result[0] == '\0' ? "never looked at" : strcmp(result, "off") == 0 ? "none" : strcmp(result, "ok") == 0 ? "looked at" : "failed");
    if (result[0] != '\0')
        fprintf(out, " at %s by %s", view_time(when, view_word(look, "done_at")), view_word(look, "started_by"));
    fputs(is(look, "under_way") ? "; a look is under way\n" : "\n", out);
    if (view_word(look, "words")[0] != '\0')
        put(out, "         ", view_word(look, "words"));
}

static void print_sets(const json_t *sets, FILE *out)
{
    static const char *const titles[] = { "SET", "STATE", "SINCE", "NEWEST FILE", ">FILES", ">BYTES", "WHY" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *set;
    json_array_foreach(sets, i, set)
    {
        char number[32];
        add_short(table, view_word(set, "id"));
        table_add(table, view_word(set, "state"));
        add_time(table, view_word(set, "changed_at"));
        add_time(table, view_word(set, "newest"));
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(set, "files")));
        table_add(table, number);
        snprintf(number, sizeof number, "%.0f", json_number_value(json_object_get(set, "bytes")));
        table_add(table, number);
        char *tries = xasprintf("%s tries it", view_word(set, "canary"));
        table_add(table, view_word(set, "why")[0] == '\0' && strcmp(view_word(set, "state"), "canary") == 0 ? tries : view_word(set, "why"));
        free(tries);
    }
    table_print(table, out);
    table_free(&table);
}

static const char *course(const json_t *scanner)
{
    if (!is(scanner, "heard"))
        return "lost";
    if (!is(scanner, "follows"))
        return "a folder of its own";
    if (is(scanner, "failed"))
        return "refuses the set it is to use";
    return strcmp(view_word(scanner, "loaded"), view_word(scanner, "target")) == 0 || view_word(scanner, "target")[0] == '\0' ? "as it is to be" : "takes another set";
}

static void print_scanners(const json_t *scanners, FILE *out)
{
    static const char *const titles[] = { "SCANNER", "SET", "VERSION", ">AGE", "COURSE", "WHY" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *scanner;
    json_array_foreach(scanners, i, scanner)
    {
        char age[32];
        double seconds = json_number_value(json_object_get(scanner, "age_seconds"));
        snprintf(age, sizeof age, seconds < 7200 ? "%.0fs" : "%.0fh", seconds < 7200 ? seconds : seconds / 3600);
        table_add(table, view_word(scanner, "node"));
        add_short(table, view_word(scanner, "loaded"));
        table_add(table, view_word(scanner, "version"));
        table_add(table, json_is_number(json_object_get(scanner, "age_seconds")) ? age : NULL);
        table_add(table, course(scanner));
        table_add(table, view_word(scanner, "why"));
    }
    table_print(table, out);
    table_free(&table);
}

void signatures_print(const json_t *body, FILE *out)
{
    const json_t *pinned = json_object_get(body, "pinned"), *sets = json_object_get(body, "sets"), *scanners = json_object_get(body, "scanners");
    print_look(json_object_get(body, "look"), out);
    if (json_is_object(pinned))
        fprintf(out, "pinned   %.*s by %s\n", SHORT_LEN, view_word(pinned, "id"), view_word(pinned, "by"));
    if (json_array_size(sets) > 0) {
        fputs("\n", out);
        print_sets(sets, out);
    }
    if (json_array_size(scanners) > 0) {
        fputs("\n", out);
        print_scanners(scanners, out);
    }
}

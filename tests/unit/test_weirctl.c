/* test_weirctl.c - weirctl's command line, tables and times */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/ctl/options.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"

static const struct {
    const char *line; /* words by blanks */
    const char *verb; /* NULL: refused */
    const char *said; /* in the words of the refusal, or the first argument */
} line_table[] = {
    { "-c f status", "status", NULL },
    { "-c f node list", "node list", NULL },
    { "--json -c f drain --wait scanner-1", "drain", "scanner-1" },
    { "drain scanner-1 -c f --timeout=5 --force", "drain", "scanner-1" },
    { "-c f gc --timeout 5 --wait s", "gc", "s" },
    { "keys generate file", "keys generate", "file" },
    { "policy check dir", "policy check", "dir" },
    { "-c f trace -- -odd-", "trace", "-odd-" },
    { "-c f policy show", "policy show", NULL },
    { "", NULL, "--help" },
    { "status", NULL, "-c FILE" },
    { "-c", NULL, "-c needs a value" },
    { "-c f drain", NULL, "drain NODE" },
    { "-c f drain a b", NULL, "drain NODE" },
    { "-c f nod list", NULL, "node list" },
    { "-c f status --force", NULL, "takes no --force" },
    { "-c f gc --force s", NULL, "takes no --force" },
    { "-c f drain s --timeout 0", NULL, "1 to 1000000" },
    { "-c f drain s --timeout 5x", NULL, "1 to 1000000" },
    { "-c f drain s --timeout", NULL, "needs a value" },
    { "-c f policy rollback 12", "policy rollback", "12" },
    { "-c f policy rollback x", NULL, "an epoch is a number" },
    { "-c f policy rollback 1x", NULL, "an epoch is a number" },
    { "-c f policy show 99999999999999999999", NULL, "an epoch is a number" },
    { "-c f --frobnicate status", NULL, "--frobnicate" },
    { "-c f config show --defaults --changed", NULL, "not both" },
    { "-c f keys add a b c d e f g h i", NULL, "too many" },
};

START_TEST(test_line)
{
    char *copy = strdup(line_table[_i].line), *argv[20] = { (char *)"weirctl" }, *next = copy;
    int argc = 1;
    for (char *word; (word = strsep(&next, " ")) != NULL;)
        if (*word != '\0')
            argv[argc++] = word;
    struct options options;
    struct error why = { "" };
    bool fine = options_parse(&options, argc, argv, &why);
    if (line_table[_i].verb == NULL) {
        ck_assert(!fine);
        ck_assert_msg(strstr(why.text, line_table[_i].said) != NULL, "%s", why.text);
    } else {
        ck_assert_msg(fine, "%s", why.text);
        ck_assert_str_eq(options.verb->name, line_table[_i].verb);
        if (line_table[_i].said != NULL)
            ck_assert_str_eq(options.args[0], line_table[_i].said);
    }
    options_clear(&options);
    free(copy);
}
END_TEST

static char *printed(void (*print)(FILE *out, const void *arg), const void *arg)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    print(out, arg);
    fclose(out);
    return text;
}

static void print_table(FILE *out, const void *arg)
{
    table_print(arg, out);
}

START_TEST(test_table)
{
    static const char *const titles[] = { "NAME", ">COUNT", "LAST" };
    struct table *table = table_new(titles, 3);
    static const char *const cells[] = { "a",
                                         "7",
                                         "x",
                                         "gr\xc3\xbc\xc3\x9f"
                                         "e",
                                         "1000000",
                                         NULL,
                                         "\x1b[2J",
                                         "",
                                         "y\nz" };
    for (size_t i = 0; i < 9; i++)
        table_add(table, cells[i]);
    char *text = printed(print_table, table);
    ck_assert_str_eq(text, "NAME       COUNT  LAST\n"
                           "a              7  x\n"
                           "gr\xc3\xbc\xc3\x9f"
                           "e    1000000  -\n"
                           "\\x1B[2J        -  y\\x0Az\n");
    free(text);
    table_free(&table);
    ck_assert_ptr_null(table);
}
END_TEST

START_TEST(test_time)
{
    char out[32];
    setenv("TZ", "UTC", 1);
    ck_assert_str_eq(view_time(out, "2026-11-21T19:20:38.337087+00:00"), "2026-11-21 19:20:38");
    ck_assert_str_eq(view_time(out, "2026-01-01T00:30:00+02:00"), "2025-12-31 22:30:00");
    ck_assert_str_eq(view_time(out, "2026-01-01T00:30:00.5-05"), "2026-01-01 05:30:00");
    ck_assert_str_eq(view_time(out, NULL), "-");
    ck_assert_str_eq(view_time(out, "yesterday"), "-");
}
END_TEST

struct view {
    const char *verb;
    json_t *body;
};

static void print_view(FILE *out, const void *arg)
{
    const struct view *view = arg;
    view_print(view->verb, view->body, "coordinator-1", out);
}

/* Whatever a coordinator answers, weirctl prints something and does not crash. */
START_TEST(test_views_take_any_json)
{
    static const char *const bodies[] = { "null",
                                          "[]",
                                          "{}",
                                          "[null]",
                                          "[{}]",
                                          "[[]]",
                                          "3",
                                          "{\"nodes\":[{}],\"changes\":[{}],\"files\":[{}]}",
                                          "[{\"id\":\"x\",\"time\":\"2026-11-21T19:20:38.1\"}]" };
    for (const struct verb *verb = options_verbs; verb->name != NULL; verb++) {
        for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
            struct view view = { verb->name, json_loads(bodies[i], JSON_DECODE_ANY, NULL) };
            free(printed(print_view, &view));
            json_decref(view.body);
        }
    }
}
END_TEST

/* PostgreSQL leaves out zeros at the end of a time. */
START_TEST(test_views)
{
    static const struct {
        const char *verb, *body, *said;
    } rows[] = {
        { "trace", "[{\"id\":\"x\",\"time\":\"2026-11-21T19:20:38.337087+00:00\"}]", "x  2026-11-21 19:20:38.337  0" },
        { "trace", "[{\"id\":\"x\",\"time\":\"2026-11-21T19:20:38.8+00:00\"}]", "x  2026-11-21 19:20:38.800  0" },
        { "trace", "[{\"id\":\"x\",\"time\":\"2026-11-21T19:20:38.05+00:00\"}]", "x  2026-11-21 19:20:38.050  0" },
        { "trace", "[{\"id\":\"x\",\"time\":\"2026-11-21T19:20:38+00:00\"}]", "x  2026-11-21 19:20:38.000  0" },
        { "node show", "{\"name\":\"e\",\"role\":\"edge\",\"state\":\"active\"}", "e is an edge, active" },
        { "node show", "{\"name\":\"s\",\"role\":\"scanner\",\"state\":\"lost\"}", "s is a scanner, lost" },
    };
    setenv("TZ", "UTC", 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct view view = { rows[i].verb, json_loads(rows[i].body, 0, NULL) };
        char *text = printed(print_view, &view);
        ck_assert_msg(strncmp(text, rows[i].said, strlen(rows[i].said)) == 0, "%s", text);
        free(text);
        json_decref(view.body);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weirctl");
    TCase *tests = tcase_create("weirctl");
    tcase_add_loop_test(tests, test_line, 0, sizeof line_table / sizeof *line_table);
    tcase_add_test(tests, test_table);
    tcase_add_test(tests, test_time);
    tcase_add_test(tests, test_views_take_any_json);
    tcase_add_test(tests, test_views);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

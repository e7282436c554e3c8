/* test_exposition.c - sums of nodes' series and their Prometheus text */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/exposition.h"
#include "tests/unit/suite.h"

static const struct {
    const char *labels;
    bool valid;
} label_table[] = {
    { "", true },
    { "a=\"b\"", true },
    { "a=\"b\",c_1=\"\"", true },
    { "a=\"x\\\"y\\\\z\\n\"", true },
    { "node=\"edge-1\"", false },
    { "a=\"b\",", false },
    { "a=b", false },
    { "a=\"b", false },
    { "a=\"b\\\"", false },
    { "a=\"b\\q\"", false },
    { "=\"b\"", false },
    { "1a=\"b\"", false },
    { "a=\"b\"c=\"d\"", false },
    { "a=\"b\nc\"", false },
    { "a=\"b\"}\nfake 1\n#", false },
};

START_TEST(test_labels)
{
    /* A copy of exactly its length, so that a sanitizer sees one byte read too far. */
    size_t len = strlen(label_table[_i].labels);
    char *copy = malloc(len + (len == 0));
    memcpy(copy, label_table[_i].labels, len);
    ck_assert_msg(exposition_labels_are_valid(copy, len) == label_table[_i].valid, "%s", label_table[_i].labels);
    free(copy);
}
END_TEST

static char *rendered(struct exposition *exposition)
{
    static struct text out;
    if (out.data == NULL)
        text_init(&out);
    text_reset(&out);
    exposition_render(exposition, &out);
    return out.data;
}

static void add(struct exposition *exposition, const char *node, bool live, const char *json)
{
    struct error why;
    ck_assert_msg(exposition_add_json(exposition, node, live, json, &why), "%s", why.text);
}

START_TEST(test_sums)
{
    struct exposition *exposition = exposition_new();
    add(exposition, "edge-1", true,
        "[{\"n\":\"weir_a_total\",\"l\":\"x=\\\"1\\\"\",\"k\":0,\"v\":1.5},{\"n\":\"weir_g\",\"l\":\"\",\"k\":1,\"v\":"
        "7}]");
    add(exposition, "edge-1", false,
        "[{\"n\":\"weir_a_total\",\"l\":\"x=\\\"1\\\"\",\"k\":0,\"v\":2},{\"n\":\"weir_g\",\"l\":\"\",\"k\":1,\"v\":"
        "100}]");
    add(exposition, "edge-2", true, "[{\"n\":\"weir_a_total\",\"l\":\"x=\\\"1\\\"\",\"k\":0,\"v\":1}]");
    const char *text = rendered(exposition);
    ck_assert_ptr_nonnull(strstr(text, "# TYPE weir_a_total counter\nweir_a_total{node=\"edge-1\",x=\"1\"} "
                                       "3.5\nweir_a_total{node=\"edge-2\",x=\"1\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(text, "# TYPE weir_g gauge\nweir_g{node=\"edge-1\"} 7\n"));
    ck_assert_uint_eq(exposition_conflicts(exposition), 0);
    exposition_free(&exposition);
    ck_assert_ptr_null(exposition);
}
END_TEST

START_TEST(test_least_of_processes)
{
    struct exposition *exposition = exposition_new();
    for (const char *const *one = (const char *const[]){ "7", "5", "6", NULL }; *one != NULL; one++) {
        char json[64];
        snprintf(json, sizeof json, "[{\"n\":\"weir_node_epoch\",\"l\":\"\",\"k\":1,\"v\":%s}]", *one);
        add(exposition, "edge-1", true, json);
    }
    add(exposition, "edge-1", false, "[{\"n\":\"weir_node_epoch\",\"l\":\"\",\"k\":1,\"v\":1}]");
    ck_assert_ptr_nonnull(strstr(rendered(exposition), "weir_node_epoch{node=\"edge-1\"} 5\n"));
    exposition_free(&exposition);
}
END_TEST

START_TEST(test_histogram_is_cumulative)
{
    struct exposition *exposition = exposition_new();
    const char *one = "[{\"n\":\"weir_h\",\"l\":\"\",\"k\":2,\"v\":10,\"c\":6,\"b\":[0.005,1],\"u\":[1,2]}]";
    add(exposition, "s", true, one);
    add(exposition, "s", false, one);
    ck_assert_str_eq(strstr(rendered(exposition), "weir_h_bucket"),
                     "weir_h_bucket{node=\"s\",le=\"0.005\"} 2\nweir_h_bucket{node=\"s\",le=\"1\"} 6\n"
                     "weir_h_bucket{node=\"s\",le=\"+Inf\"} 12\nweir_h_sum{node=\"s\"} 20\n"
                     "weir_h_count{node=\"s\"} 12\n");
    exposition_free(&exposition);
}
END_TEST

START_TEST(test_contradictions_are_left_out)
{
    struct exposition *exposition = exposition_new();
    add(exposition, "b", true,
        "[{\"n\":\"weir_x\",\"l\":\"\",\"k\":1,\"v\":1},{\"n\":\"weir_h\",\"l\":\"\",\"k\":2,\"v\":1,\"c\":1,\"b\":[1],"
        "\"u\":[1]}]");
    add(exposition, "a", true, "[{\"n\":\"weir_x\",\"l\":\"\",\"k\":0,\"v\":1}]");
    add(exposition, "b", false, "[{\"n\":\"weir_h\",\"l\":\"\",\"k\":2,\"v\":1,\"c\":1,\"b\":[2],\"u\":[1]}]");
    const char *text = rendered(exposition);
    ck_assert_ptr_nonnull(strstr(text, "# TYPE weir_x gauge\nweir_x{node=\"b\"} 1\n"));
    ck_assert_ptr_null(strstr(text, "node=\"a\""));
    ck_assert_ptr_nonnull(strstr(text, "weir_h_count{node=\"b\"} 1\n"));
    ck_assert_uint_eq(exposition_conflicts(exposition), 2);
    exposition_free(&exposition);
}
END_TEST

START_TEST(test_conservation)
{
    struct exposition *exposition = exposition_new();
    add(exposition, "e1", true,
        "[{\"n\":\"weir_recipients_accepted_total\",\"l\":\"listener=\\\"a\\\"\",\"k\":0,\"v\":10},"
        "{\"n\":\"weir_recipients_accepted_total\",\"l\":\"listener=\\\"b\\\"\",\"k\":0,\"v\":1},"
        "{\"n\":\"weir_recipients_total\",\"l\":\"disposition=\\\"delivered\\\"\",\"k\":0,\"v\":7},"
        "{\"n\":\"weir_recipients_total\",\"l\":\"disposition=\\\"discarded:virus\\\"\",\"k\":0,\"v\":2},"
        "{\"n\":\"weir_recipients_total\",\"l\":\"disposition=\\\"refused\\\"\",\"k\":0,\"v\":50}]");
    add(exposition, "e2", true, "[{\"n\":\"weir_recipients_accepted_total\",\"l\":\"\",\"k\":0,\"v\":0}]");
    exposition_add_conservation(exposition);
    const char *text = rendered(exposition);
    ck_assert_ptr_nonnull(
        strstr(text, "weir_conservation_difference{node=\"e1\"} 2\nweir_conservation_difference{node=\"e2\"} 0\n"));
    exposition_free(&exposition);
}
END_TEST

START_TEST(test_versions)
{
    static const char *const told[] = { "0.1.0", "0.2.0", "0.1.0" };
    struct exposition *exposition = exposition_new();
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        char json[128], node[] = { 'e', (char)('1' + i), '\0' };
        snprintf(json, sizeof json, "[{\"n\":\"weir_build_info\",\"l\":\"version=\\\"%s\\\"\",\"k\":1,\"v\":1}]", told[i]);
        add(exposition, node, true, json);
        add(exposition, "ended", false, "[{\"n\":\"weir_build_info\",\"l\":\"version=\\\"0.0.1\\\"\",\"k\":1,\"v\":1}]");
    }
    exposition_add_versions(exposition);
    ck_assert_ptr_nonnull(strstr(rendered(exposition), "weir_versions 2\n"));
    exposition_free(&exposition);
}
END_TEST

static const char *const bad_json[] = {
    "",
    "{}",
    "[",
    "[1]",
    "[{\"n\":\"a b\",\"l\":\"\",\"k\":0,\"v\":1}]",
    "[{\"n\":\"a\",\"l\":\"x\",\"k\":0,\"v\":1}]",
    "[{\"n\":\"a\",\"l\":\"\",\"k\":9,\"v\":1}]",
    "[{\"n\":\"a\",\"l\":\"\",\"k\":2,\"v\":1,\"c\":1,\"b\":[1,2],\"u\":[1]}]",
    "[{\"n\":\"a\",\"l\":\"\",\"k\":2,\"b\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17],\"u\":[]}]"
};

START_TEST(test_bad_json_is_refused)
{
    struct exposition *exposition = exposition_new();
    struct error why;
    ck_assert(!exposition_add_json(exposition, "e", true, bad_json[_i], &why));
    ck_assert_str_eq(rendered(exposition), "");
    exposition_free(&exposition);
}
END_TEST

START_TEST(test_help_is_sorted)
{
    ck_assert_str_eq(exposition_help("process_cpu_seconds_total"), "User and system CPU time spent in seconds.");
    ck_assert_str_eq(exposition_help("weir_links_up"), "Connections this process made that are up.");
    ck_assert_str_eq(exposition_help("weir_node_state"), "1 for the state a node is in.");
    ck_assert_str_eq(exposition_help("weir_workers"), "Worker processes.");
    ck_assert_str_eq(exposition_help("weir_db_up"), "Whether PostgreSQL is connected.");
    ck_assert_str_eq(exposition_help("weir_nodes"), "Nodes by role and state.");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exposition");
    TCase *tests = tcase_create("exposition");
    tcase_add_loop_test(tests, test_labels, 0, sizeof label_table / sizeof *label_table);
    tcase_add_test(tests, test_sums);
    tcase_add_test(tests, test_least_of_processes);
    tcase_add_test(tests, test_histogram_is_cumulative);
    tcase_add_test(tests, test_contradictions_are_left_out);
    tcase_add_test(tests, test_conservation);
    tcase_add_test(tests, test_versions);
    tcase_add_loop_test(tests, test_bad_json_is_refused, 0, sizeof bad_json / sizeof *bad_json);
    tcase_add_test(tests, test_help_is_sorted);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

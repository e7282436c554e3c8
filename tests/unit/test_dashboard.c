/* test_dashboard.c - fields of forms, cookies, escaping, and pages made of hostile documents */
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/dashboard/form.h"
#include "coordinator/dashboard/page.h"
#include "suite.h"

static const struct {
    const char *form, *name, *value; /* NULL: there is no such field */
} fields[] = {
    { "a=1&b=2", "a", "1" },
    { "a=1&b=2", "b", "2" },
    { "a=1&b=2", "c", NULL },
    { "ab=1&b=2", "a", NULL },
    { "a=", "a", "" },
    { "a", "a", NULL },
    { "", "a", NULL },
    { "&&&a=1&", "a", "1" },
    { "a=1&a=2", "a", NULL },
    { "a=x+y%20z%26", "a", "x y z&" },
    { "a=%c3%a4%C3%A4", "a", "\xc3\xa4\xc3\xa4" },
    { "a=%", "a", NULL },
    { "a=%4", "a", NULL },
    { "a=%4&b=1", "a", NULL },
    { "a=%zz", "a", NULL },
    { "a=%00", "a", NULL },
    { "a=%0a", "a", NULL },
    { "a=%ff", "a", NULL },
    { "a=1234567", "a", "1234567" },
    { "a=12345678", "a", NULL },
    { "a=%31234567", "a", "1234567" },
    { "a==", "a", "=" },
};

START_TEST(test_fields)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        size_t len = strlen(fields[i].form);
        char out[8], *exact = xmalloc(len > 0 ? len : 1); /* without a NUL behind, so that ASan sees one byte too far */
        memcpy(exact, fields[i].form, len);
        bool found = form_field(exact, len, fields[i].name, out, sizeof out);
        ck_assert_msg(found == (fields[i].value != NULL), "%s", fields[i].form);
        ck_assert_str_eq(out, fields[i].value != NULL ? fields[i].value : "");
        free(exact);
    }
}
END_TEST

START_TEST(test_cookies)
{
    static const char *const rows[][2] = {
        { "k=1", "1" }, { "a=2; k=1", "1" }, { "k=1; a=2", "1" }, { "k=1 ;a=2", "1" }, { "xk=1", NULL }, { "k", NULL }, { "k=", "" }, { "", NULL }, { ";;; k=1", "1" }, { "k=12345678", NULL }, { "k=1; k=2", "1" },
    };
    char out[8];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_msg(form_cookie(rows[i][0], "k", out, sizeof out) == (rows[i][1] != NULL), "%s", rows[i][0]);
        ck_assert_str_eq(out, rows[i][1] != NULL ? rows[i][1] : "");
    }
    ck_assert(!form_cookie(NULL, "k", out, sizeof out));
}
END_TEST

START_TEST(test_where_a_form_comes_from)
{
    ck_assert(form_is_own("same-origin", NULL, "a"));
    ck_assert(form_is_own("none", "https://evil.example", "a"));
    ck_assert(!form_is_own("cross-site", "http://a", "a"));
    ck_assert(!form_is_own("same-site", NULL, "a"));
    ck_assert(form_is_own(NULL, "http://a:7080", "a:7080") && form_is_own(NULL, "https://a", "a"));
    ck_assert(!form_is_own(NULL, "http://a:7081", "a:7080") && !form_is_own(NULL, "null", "a") && !form_is_own(NULL, "http://a", NULL) && !form_is_own(NULL, "ftp://a", "a"));
    ck_assert(form_is_own(NULL, NULL, "a"));
    ck_assert(form_same("abc", "abc") && !form_same("abc", "abd") && !form_same("abc", "ab") && !form_same("abc", "abca") && !form_same("abc", "") && form_same("", ""));
}
END_TEST

/* Nothing of what strangers wrote begins an element or ends an attribute, wherever the document has it. */
START_TEST(test_pages_of_hostile_documents)
{
#define S(key) "\"" key "\": \"" "\\\"'><script>x</script>\\u0007\\u202e" "\""
    const char *json = "{" S("time") "," S("database") ", \"epoch\": 1, \"policy\": {\"epoch\": 1," S("applied_at") "}, \"alerts\": [{" S("level") "," S("words") "}],"
                       "\"flow\": {\"fresh\": true, \"now\": {\"in\": 1.5}, \"hour\": {\"clean\": 3, \"bad\": 1}, \"minutes\": [{\"in\": 1}, {\"in\": 2}]},"
                       "\"nodes\": [{" S("name") "," S("role") "," S("state") "," S("drain_step") "," S("version") ", \"drain\": true}, 7, null],"
                       "\"quarantine\": [{\"name\": \"quarantined\"," S("labels") ", \"value\": 2}], \"spool\": {\"messages\": 2, \"states\": {\"ready\": {\"count\": 2, \"oldest\": 3}}},"
                       "\"signatures\": {\"sets\": [{\"state\": \"failed\"," S("why") ", \"id\": \"0011\"}], \"scanners\": [{" S("node") "," S("version") "}]},"
                       "\"stopped\": [{" S("subject") "," S("reason") "," S("state") "}], \"overrides\": [{\"id\": 4," S("kind") "," S("subject") "," S("requested_by") "," S("reason") "}],"
                       "\"actions\": [{" S("at") "," S("who") "," S("action") "," S("target") "," S("reason") "}]}";
    const char *entries = "[{" S("id") "," S("state") "," S("sender") "," S("destination") "," S("arrived_at") "," S("reply") ", \"recipients\": [\"<script>\", 7]}, null]";
    const char *evil = "\"'><script>x</script>\a\xe2\x80\xae";
    json_error_t why;
    json_t *doc = json_loads(json, 0, &why), *list = json_loads(entries, 0, &why), *nothing = json_object();
    struct page_who who = { .cluster = evil, .coordinator = evil, .operator = evil, .csrf = "00", .database = false };
    struct page_filters filters = { 0 };
    struct page_act act = { .act = "00" };
    struct text out;
    ck_assert_ptr_nonnull(doc);
    ck_assert_ptr_nonnull(list);
    strcpy(filters.from, evil);
    strcpy(act.target, evil);
    strcpy(act.reason, evil);
    strcpy(act.verb, evil);
    strcpy(act.back, "\"'><script>");
    for (int page = 0; page < 8; page++) {
        text_init(&out);
        switch (page) {
        case 0: page_overview(&out, &who, doc, "00"); break;
        case 1: page_spool(&out, &who, list, &filters, evil, "00"); break;
        case 2: page_login(&out, &who, evil); break;
        case 3: page_done(&out, &who, &act, false, evil, true); break;
        case 4: page_words(&out, &who, evil, evil); break;
        case 5: page_overview(&out, &who, NULL, "00"); break;
        case 6: page_overview(&out, &who, nothing, "00"); break;
        default: who.operator = NULL; page_overview(&out, &who, doc, "00");
        }
        ck_assert_ptr_null(strstr(out.data, "<script>"));
        ck_assert_msg(strstr(out.data, "\xe2\x80\xae") == NULL, "nothing turns the direction of what stands behind it");
        ck_assert_ptr_null(strchr(out.data, '\a'));
        ck_assert_msg(strstr(out.data, "\"'>") == NULL, "page %d", page);
        ck_assert_ptr_nonnull(strstr(out.data, "&lt;script&gt;"));
        ck_assert_ptr_nonnull(strstr(out.data, "</html>"));
        text_fini(&out);
    }
    json_decref(doc);
    json_decref(list);
    json_decref(nothing);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dashboard");
    TCase *tests = tcase_create("dashboard");
    tcase_add_test(tests, test_fields);
    tcase_add_test(tests, test_cookies);
    tcase_add_test(tests, test_where_a_form_comes_from);
    tcase_add_test(tests, test_pages_of_hostile_documents);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

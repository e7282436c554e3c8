/* test_coordinator_rows.c - text and array literals for PostgreSQL, the turned conninfo, spellings, the migrations and the
 * cluster state's JSON */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/arrays.h"
#include "coordinator/cluster.h"
#include "coordinator/db.h"
#include "coordinator/lineage.h"
#include "coordinator/migrate.h"
#include "coordinator/records.h"
#include "coordinator/rows.h"
#include "coordinator/spelling.h"
#include "coordinator/spool/pace.h"
#include "proto/identity.h"
#include "tests/unit/suite.h"

static const struct {
    const char *in;
    size_t len, max;
    const char *out;
    size_t valid;
} text_table[] = {
    { "plain", 5, 99, "plain", 5 },
    { "", 0, 99, "", 0 },
    { "a\0b", 3, 99, "a\\x00b", 1 },
    { "t\tn\n", 4, 99, "t\\x09n\\x0A", 4 },
    { "\xc3\xa9", 2, 99, "\xc3\xa9", 2 },
    { "\xc3", 1, 99, "\\xC3", 0 },
    { "\xc0\x80", 2, 99, "\\xC0\\x80", 0 },
    { "\xed\xa0\x80", 3, 99, "\\xED\\xA0\\x80", 0 },
    { "\xf4\x90\x80\x80", 4, 99, "\\xF4\\x90\\x80\\x80", 0 },
    { "\xf0\x9f\x92\x8c", 4, 99, "\xf0\x9f\x92\x8c", 4 },
    { "ab\xc3\xa9", 4, 3, "ab", 4 },
    { "abc\x01", 4, 6, "abc", 4 },
    { "a\xc2\x80\xc2\x9f\xc2\xa0", 7, 99, "a\\xC2\\x80\\xC2\\x9F\xc2\xa0", 7 },
    { "a\xc2\x9b", 3, 8, "a", 3 },
};

static const struct {
    const char *typed, *address, *destination; /* destination NULL: as typed */
} spelling_table[] = {
    { "alice@Example.EDU", "alice@Example.EDU", NULL },
    { "J\u00fcrgen", "J\u00fcrgen\nxn--jrgen-kva", "xn--jrgen-kva" },
    { "Alice@b\u00fccher.example", "Alice@b\u00fccher.example\nAlice@xn--bcher-kva.example", NULL },
    { "a@xn--bcher-kva.example", "a@xn--bcher-kva.example\na@b\u00fccher.example", NULL },
    { "a@B\u00dcCHER.example", "a@B\u00dcCHER.example\na@xn--bcher-kva.example\na@b\u00fccher.example", NULL },
    { "<a@bu\u0308cher.example>", "<a@bu\u0308cher.example>\n<a@xn--bcher-kva.example>\n<a@b\u00fccher.example>", NULL },
    { "@*.b\u00fccher.example", "@*.b\u00fccher.example\n@*.xn--bcher-kva.example", "@*.xn--bcher-kva.example" },
    { "*@b\u00fc*.example", "*@b\u00fc*.example", NULL },
    { "\u00fc@example.edu", "\u00fc@example.edu", "\u00fc@example.edu" },
    { "[b\u00fccher.example]:25", "[b\u00fccher.example]:25\n[xn--bcher-kva.example]:25", "[xn--bcher-kva.example]:25" },
    { "a@xn--zz.example", "a@xn--zz.example", NULL },
    { "<>", "<>", NULL },
    { "", "", NULL },
    { "a@x\n*", "a@x\r*", NULL },
    { "a@b\u00fccher.\n*", "a@b\u00fccher.\r*\na@xn--bcher-kva.\r*", NULL },
};

START_TEST(test_spellings)
{
    const char *destination = spelling_table[_i].destination != NULL ? spelling_table[_i].destination : spelling_table[_i].typed;
    char *made = address_spellings(spelling_table[_i].typed);
    ck_assert_str_eq(made, spelling_table[_i].address);
    free(made);
    made = destination_spelling(spelling_table[_i].typed);
    ck_assert_str_eq(made, destination);
    free(made);
}
END_TEST

START_TEST(test_clean)
{
    struct text text;
    char *copy = malloc(text_table[_i].len + 1);
    memcpy(copy, text_table[_i].in, text_table[_i].len);
    text_init(&text);
    text_add_clean(&text, copy, text_table[_i].len, text_table[_i].max);
    ck_assert_str_eq(text.data, text_table[_i].out);
    ck_assert_uint_eq(text_valid_prefix(copy, text_table[_i].len), text_table[_i].valid);
    text_fini(&text);
    free(copy);
}
END_TEST

START_TEST(test_json_string)
{
    struct text text;
    text_init(&text);
    text_add_json(&text, "a\"b\\c\n", 6);
    ck_assert_str_eq(text.data, "\"a\\\"b\\\\c\\\\x0A\"");
    text_fini(&text);
}
END_TEST

START_TEST(test_rows)
{
    struct rows rows, more;
    rows_init(&rows, 2);
    rows_init(&more, 2);
    rows_text(&rows, "a,\"}\\{", 6, 99);
    rows_number(&rows, -7);
    rows_end(&rows);
    rows_string(&more, NULL);
    rows_number(&more, INT64_MIN);
    rows_end(&more);
    rows_string(&more, "");
    rows_number(&more, 1);
    rows_end(&more);
    rows_append(&rows, &more);
    ck_assert_uint_eq(rows.count, 3);
    const char *const *values = rows_values(&rows);
    ck_assert_str_eq(values[0], "{\"a,\\\"}\\\\{\",NULL,\"\"}");
    ck_assert_str_eq(values[1], "{-7,-9223372036854775808,1}");
    ck_assert_str_eq(rows_values(&rows)[1], "{-7,-9223372036854775808,1}");
    rows_reset(&rows);
    rows_append(&rows, &more);
    ck_assert_str_eq(rows_values(&rows)[0], "{NULL,\"\"}");
    rows_reset(&rows);
    ck_assert_str_eq(rows_values(&rows)[1], "{}");
    rows_fini(&rows);
    rows_fini(&more);
}
END_TEST

/* As PostgreSQL sends and takes such an array: the integration tests store mail with it. */
START_TEST(test_records)
{
    static const char one[] = "\0\0\0\1\0\0\0\0\0\1\0\2\0\0\0\1\0\0\0\1\0\0\0\x4a\0\0\0\6"
                              "\0\0\0\x19\0\0\0\5a\\x01"           /* text, cleaned */
                              "\0\0\0\x11\0\0\0\2\1\0"             /* bytea */
                              "\0\0\0\x10\0\0\0\1\1"               /* boolean */
                              "\0\0\0\x15\0\0\0\2\xff\xfe"         /* smallint */
                              "\0\0\0\x17\0\0\0\4\0\0\1\0"         /* integer */
                              "\0\0\0\x14\0\0\0\x8\xff\xff\xff\xff\xff\xff\xff\xff"; /* bigint */
    static const char two[] = "\0\0\0\1\0\0\0\0\0\1\0\2\0\0\0\2\0\0\0\1"
                              "\0\0\0\x0c\0\0\0\1\0\0\0\x19\xff\xff\xff\xff\0\0\0\x0c\0\0\0\1\0\0\0\x19\xff\xff\xff\xff"; /* NULL */
    static const char none[] = "\0\0\0\0\0\0\0\0\0\0\0\7";
    struct records records, more;
    size_t len;
    records_init(&records, 6);
    struct db_value value = records_value(&records, 7);
    ck_assert_uint_eq(value.len, sizeof none - 1);
    ck_assert_mem_eq(value.data, none, value.len);
    records_text(&records, "a\1b", 3, 5); /* with the b it is too long */
    records_bytes(&records, "\1", 2);
    records_boolean(&records, true);
    records_smallint(&records, -2);
    records_integer(&records, 256);
    records_bigint(&records, -1);
    records_end(&records);
    value = records_value(&records, 0x10002);
    ck_assert(value.binary);
    ck_assert_uint_eq(value.len, sizeof one - 1);
    ck_assert_mem_eq(value.data, one, value.len);
    ck_assert_mem_eq(records_field(&records, 0, 0, &len), "a\\x01", 5);
    ck_assert_uint_eq(len, 5);
    ck_assert_mem_eq(records_field(&records, 0, 5, &len), "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    records_fini(&records);
    records_init(&records, 1);
    records_init(&more, 1);
    records_string(&more, NULL);
    records_end(&more);
    records_append(&records, &more);
    records_append(&records, &more);
    ck_assert_uint_eq(records.count, 2);
    value = records_value(&records, 0x10002);
    ck_assert_uint_eq(value.len, sizeof two - 1);
    ck_assert_mem_eq(value.data, two, value.len);
    records_field(&records, 1, 0, &len);
    ck_assert_uint_eq(len, 0);
    records_fini(&records);
    records_fini(&more);
}
END_TEST

/* As PostgreSQL takes and sends them: decisions of limits are made with such. */
START_TEST(test_arrays)
{
    static const char texts[] = "\0\0\0\1\0\0\0\0\0\0\0\x19\0\0\0\3\0\0\0\1"
                                "\0\0\0\5a\\x01\0\0\0\0\0\0\0\x0aplain text"; /* the first cleaned, and cut */
    static const char none[] = "\0\0\0\0\0\0\0\0\0\0\0\x17";
    static const enum array_type types[] = { ARRAY_BOOLEAN, ARRAY_INTEGER, ARRAY_BIGINT };
    static const int64_t numbers[][2] = { { 1, 0 }, { INT32_MIN, 256 }, { INT64_MIN, 1 } };
    struct array array;
    array_init(&array, ARRAY_TEXT);
    array_text(&array, "a\1b", 3, 5);
    array_text(&array, NULL, 0, 5);
    array_text(&array, "plain text", 10, 10);
    struct db_value value = array_value(&array);
    ck_assert(value.binary);
    ck_assert_uint_eq(value.len, sizeof texts - 1);
    ck_assert_mem_eq(value.data, texts, value.len);
    array_fini(&array);
    for (int i = 0; i < 3; i++) {
        array_init(&array, types[i]);
        for (int n = 0; n < 2; n++) {
            if (types[i] == ARRAY_BOOLEAN)
                array_boolean(&array, numbers[i][n] != 0);
            else if (types[i] == ARRAY_INTEGER)
                array_integer(&array, (int32_t)numbers[i][n]);
            else
                array_bigint(&array, numbers[i][n]);
        }
        value = array_value(&array);
        PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
        PGresAttDesc column = { .name = (char *)"it", .format = 1 };
        ck_assert(PQsetResultAttrs(result, 1, &column) && PQsetvalue(result, 0, 0, (char *)(uintptr_t)value.data, (int)value.len) && PQsetvalue(result, 1, 0, NULL, -1) &&
                  PQsetvalue(result, 2, 0, (char *)(uintptr_t)value.data, (int)value.len - 1));
        const char *elements = array_elements(result, 0, 0, types[i], 2);
        ck_assert_ptr_nonnull(elements);
        for (size_t n = 0; n < 2; n++)
            ck_assert_int_eq(array_at(elements, types[i], n), numbers[i][n]);
        ck_assert_ptr_null(array_elements(result, 0, 0, types[i], 1)); /* not so many */
        ck_assert_ptr_null(array_elements(result, 0, 0, types[(i + 1) % 3], 2));
        ck_assert_ptr_null(array_elements(result, 1, 0, types[i], 2)); /* NULL */
        ck_assert_ptr_null(array_elements(result, 2, 0, types[i], 2)); /* cut */
        PQclear(result);
        array_fini(&array);
    }
    array_init(&array, ARRAY_INTEGER);
    array_integer(&array, 1);
    array_reset(&array);
    value = array_value(&array);
    ck_assert_uint_eq(value.len, sizeof none - 1);
    ck_assert_mem_eq(value.data, none, value.len);
    array_fini(&array);
}
END_TEST

static const struct {
    const char *conninfo;
    unsigned turns;
    const char *part;
} conninfo_table[] = {
    { "host=a,b,c dbname=weir", 0, "host='a,b,c'" },
    { "host=a,b,c dbname=weir", 1, "host='b,c,a'" },
    { "host=a,b,c port=1,2,3", 5, "port='3,1,2'" },
    { "host=a,b port=5432", 1, "port='5432'" },
    { "postgresql://u@x:1,y:2/weir?target_session_attrs=read-write", 1, "host='y,x'" },
    { "postgresql://u@x:1,y:2/weir?target_session_attrs=read-write", 1, "target_session_attrs='read-write'" },
    { "host=a password='it''s'", 0, NULL },
    { "host=a password='it\\'s \\\\'", 0, "password='it\\'s \\\\'" },
    { "password=a,b,c host=x", 1, "password='a,b,c'" },
    { "nonsense", 0, NULL },
    { "hots=a", 0, NULL },
};

START_TEST(test_conninfo)
{
    struct error why = { "" };
    char *turned = db_conninfo_rotate(conninfo_table[_i].conninfo, conninfo_table[_i].turns, &why);
    if (conninfo_table[_i].part == NULL) {
        ck_assert_ptr_null(turned);
        ck_assert_str_ne(why.text, "");
    } else {
        ck_assert_ptr_nonnull(turned);
        ck_assert_msg(strstr(turned, conninfo_table[_i].part) != NULL, "%s", turned);
    }
    free(turned);
}
END_TEST

static const struct {
    const char *identity, *than;
    bool behind;
} identity_table[] = {
    { "u/7/00000001", "u/7/00000002", true },
    { "u/7/00000009", "u/7/0000000A", true },
    { "u/7/00000002", "u/7/00000002", false },
    { "u/7/00000002", "u/7/00000001", false },
    { "u/7/00000001", "u/8/00000002", false }, /* files of another initdb: pg_upgrade, or a dump that was restored */
    { "v/7/00000001", "u/7/00000002", false }, /* an operator said that it is another one */
    { "u/7/00000001", "uu/7/00000002", false },
    { "u/7/00000001", "", false },
    { "", "u/7/00000002", false },
    { "u/7/standby", "u/7/00000002", false },
    { "u/7/1", "u/7/00000002", false },
    { "u/7/000000010", "u/7/00000002", false },
    { "00000001", "00000002", false },
};

START_TEST(test_former_primary)
{
    const char *identity = identity_table[_i].identity, *than = identity_table[_i].than;
    struct lineage lineage = { "" };
    ck_assert_int_eq(identity_is_behind(identity, than), identity_table[_i].behind);
    ck_assert(lineage_accept(&lineage, than));
    ck_assert_int_eq(lineage_is_past(&lineage, identity), identity_table[_i].behind);
    ck_assert_int_eq(lineage_accept(&lineage, identity), !identity_table[_i].behind);
    ck_assert_str_eq(lineage.newest, identity_table[_i].behind ? than : identity);

    struct lineage told = { "" };
    ck_assert(lineage_accept(&told, identity));
    ck_assert_int_eq(lineage_hear(&told, than), identity_table[_i].behind); /* only a later one of the same is heard of */
    ck_assert_str_eq(told.newest, identity_table[_i].behind ? than : identity);
    ck_assert(!lineage_hear(&told, than));
}
END_TEST

static const struct {
    size_t done, next, sent;
    uint64_t work_us, took_us;
    struct store_pace pace;
} paces[] = {
    { 20, 0, 0, 400, 8000, { 20, false, 2000 } },    /* the commit is slow: all that come back go together */
    { 12, 8, 0, 400, 8000, { 20, false, 2000 } },
    { 20, 0, 0, 3000, 4000, { 10, true, 1000 } },    /* it is quick: half of them */
    { 10, 2, 9, 1500, 2000, { 11, true, 500 } },     /* with those in flight: of 21 */
    { 1, 0, 0, 300, 400, { 1, true, 100 } },
    { 5, 0, 0, 0, 4000, { 5, false, 1000 } },        /* chunks alone tell nothing */
    { 20, 0, 0, 100, 400000, { 20, false, 5000 } },  /* nobody waits for long */
    { 20, 0, 0, 2000, 4000, { 20, false, 1000 } },   /* as long as its work */
};

START_TEST(test_store_pace)
{
    struct store_pace pace = store_pace(paces[_i].done, paces[_i].next, paces[_i].sent, paces[_i].work_us, paces[_i].took_us);
    ck_assert_uint_eq(pace.gather, paces[_i].pace.gather);
    ck_assert_int_eq(pace.halves, paces[_i].pace.halves);
    ck_assert_uint_eq(pace.wait_us, paces[_i].pace.wait_us);
}
END_TEST

START_TEST(test_migrations)
{
    int last = 0; /* numbers that were given and not used are left out */
    for (const struct migration *m = migrations; m->version != 0; m++) {
        ck_assert_int_gt(m->version, last);
        last = m->version;
        ck_assert_ptr_null(strstr(m->sql, "$migration$"));
        ck_assert_ptr_null(strchr(m->name, '\''));
        ck_assert_msg(strstr(m->sql, "OR REPLACE") == NULL, "%s: what can be replaced is in functions/", m->name);
    }
    ck_assert_int_gt(last, 2);
    char *script = migrate_script();
    ck_assert_ptr_nonnull(strstr(script, "pg_advisory_xact_lock"));
    for (const struct function_file *f = function_files; f->name != NULL; f++)
        ck_assert_ptr_nonnull(strstr(script, f->sql));
    free(script);
}
END_TEST

/* Where the next line that begins with start is, behind it; NULL: there is none. */
static const char *next_line(const char *text, const char *start)
{
    char *pattern = xasprintf("\n%s", start);
    const char *found = strstr(text, pattern);
    if (found != NULL)
        found += strlen(pattern);
    free(pattern);
    return found;
}

/* Those whose name and parameters are these; another with that name but other parameters is for the version before. */
static int count_functions(const char *signature, size_t length)
{
    int count = 0;
    for (const struct function_file *f = function_files; f->name != NULL; f++)
        for (const char *at = f->sql; (at = next_line(at, "CREATE OR REPLACE FUNCTION ")) != NULL;)
            count += strncmp(at, signature, length) == 0;
    return count;
}

START_TEST(test_functions)
{
    for (const struct function_file *f = function_files; f->name != NULL; f++) {
        ck_assert_uint_eq(strlen(f->digest), 64);
        ck_assert_ptr_null(strstr(f->sql, "$migration$"));
        ck_assert_ptr_null(strchr(f->name, '\''));
        for (const char *at = f->sql; (at = next_line(at, "CREATE ")) != NULL;)
            ck_assert_msg(strncmp(at, "OR REPLACE ", 11) == 0, "%s is run again: %.60s", f->name, at);
        for (const char *at = f->sql; (at = next_line(at, "CREATE OR REPLACE FUNCTION ")) != NULL;) {
            size_t length = strcspn(at, ")") + 1;
            ck_assert_msg(count_functions(at, length) == 1, "%.*s is written once", (int)length, at);
        }
    }
}
END_TEST

START_TEST(test_cluster_view)
{
    struct cluster_view view;
    struct error why;
    ck_assert(
        cluster_view_parse(&view,
                           "{\"epoch\":5,\"identity\":\"here\",\"policy_epoch\":2,\"nodes\":[{\"name\":\"scanner-1\",\"role\":\"scanner\","
                           "\"state\":\"draining\","
                           "\"drain\":true,\"gc\":3,\"lost\":false,\"endpoint\":\"tcp://x:1\",\"public_key\":\"\"}],"
                           "\"keys\":[{\"key\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\","
                           "\"name\":\"op\",\"role\":\"operator\"},"
                           "{\"key\":\"12\",\"name\":\"bad\",\"role\":\"edge\"},{\"name\":\"none\"}],"
                           "\"beyond\":[\"account a\",\"account b\",\"account c\",\"account d\"],\"beyond_states\":\"hrf\"}",
                           &why));
    ck_assert_uint_eq(view.epoch, 5);
    ck_assert_uint_eq(view.policy_epoch, 2);
    ck_assert_str_eq(view.identity, "here");
    ck_assert_uint_eq(view.node_count, 1);
    ck_assert_str_eq(view.nodes[0].name, "scanner-1");
    ck_assert_int_eq(view.nodes[0].state, WEIR__NODE_STATE__NODE_DRAINING);
    ck_assert(view.nodes[0].drain && !view.nodes[0].lost && !view.nodes[0].has_key && view.nodes[0].gc == 3);
    ck_assert_uint_eq(view.key_count, 1);
    ck_assert_int_eq(view.keys[0].role, WEIR__ROLE__ROLE_OPERATOR);
    static const uint8_t beyond[] = { WEIR__OUTBOUND_STATE__OUTBOUND_HELD, WEIR__OUTBOUND_STATE__OUTBOUND_REFUSED, WEIR__OUTBOUND_STATE__OUTBOUND_FULL,
                                      WEIR__OUTBOUND_STATE__OUTBOUND_HELD };
    ck_assert_uint_eq(view.beyond_count, sizeof beyond);
    ck_assert_mem_eq(view.beyond_states, beyond, sizeof beyond);
    ck_assert_uint_eq(view.beyond[1], wire_subject_digest("account b"));
    cluster_view_clear(&view);
    static const char *const bad[] = { "", "[]", "{}", "{\"epoch\":0,\"nodes\":[],\"keys\":[]}",
                                       "{\"epoch\":1,\"nodes\":{},\"keys\":[]}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert(!cluster_view_parse(&view, bad[i], &why));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("coordinator_rows");
    TCase *tests = tcase_create("rows");
    tcase_add_loop_test(tests, test_clean, 0, sizeof text_table / sizeof *text_table);
    tcase_add_test(tests, test_json_string);
    tcase_add_loop_test(tests, test_spellings, 0, sizeof spelling_table / sizeof *spelling_table);
    tcase_add_test(tests, test_rows);
    tcase_add_test(tests, test_records);
    tcase_add_test(tests, test_arrays);
    tcase_add_loop_test(tests, test_conninfo, 0, sizeof conninfo_table / sizeof *conninfo_table);
    tcase_add_loop_test(tests, test_former_primary, 0, sizeof identity_table / sizeof *identity_table);
    tcase_add_loop_test(tests, test_store_pace, 0, sizeof paces / sizeof *paces);
    tcase_add_test(tests, test_migrations);
    tcase_add_test(tests, test_functions);
    tcase_add_test(tests, test_cluster_view);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/* test_weirctl.c - weirctl's command line, tables and times */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/ctl/cases.h"
#include "coordinator/ctl/explain.h"
#include "coordinator/ctl/options.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "tests/unit/suite.h"

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
    { "-c f account senders lists @a.edu b@c.edu", "account senders", "lists" },
    { "-c f account senders lists", NULL, "LOGIN SENDER..." },
    { "policy check dir", "policy check", "dir" },
    { "-c f trace -- -odd-", "trace", "-odd-" },
    { "-c f policy show", "policy show", NULL },
    { "-c f relay explain 192.0.2.1 u@example.edu", "relay explain", "192.0.2.1" },
    { "relay explain --policy dir 192.0.2.1 u@example.edu", "relay explain", "192.0.2.1" },
    { "relay explain 192.0.2.1 u@example.edu", NULL, "-c FILE" },
    { "-c f relay explain 192.0.2.1", NULL, "CLIENT RECIPIENT" },
    { "route explain --policy dir u@example.edu", "route explain", "u@example.edu" },
    { "relay test mx.example.edu:25", "relay test", "mx.example.edu:25" },
    { "-c f relay test --from-address 192.0.2.7 --client 2001:db8::7 --timeout 60", "relay test", NULL },
    { "relay test --domain example.edu --outside=far.test host", "relay test", "host" },
    { "relay test", NULL, "-c FILE is missing" },
    { "relay test --from-address host host", NULL, "an IP address is needed" },
    { "relay test --client= host", NULL, "an IP address is needed" },
    { "relay test --outside a@b host", NULL, "--outside a@b: expected" },
    { "-c f status --outside far.test", NULL, "takes no --" },
    { "-c f policy show --policy dir", NULL, "takes no --policy" },
    { "", NULL, "--help" },
    { "status", NULL, "-c FILE" },
    { "-c", NULL, "-c needs a value" },
    { "-c f drain", NULL, "usage: weirctl -c FILE drain [--wait] [--timeout S] [--force] [--now] NODE" },
    { "-c f gc", NULL, "gc takes the name of a scanner, or --all" },
    { "-c f gc --all s", NULL, "gc takes the name of a scanner, or --all" },
    { "-c f gc a b", NULL, "usage: weirctl -c FILE gc [--all|--rolling] [--wait] [--timeout S] [NODE]" },
    { "-c f gc --all --rolling --wait", "gc", NULL },
    { "-c f gc --rolling s", "gc", "s" },
    { "-c f gc status", "gc status", NULL },
    { "-c f gc status --all", NULL, "gc status takes no --all" },
    { "-c f drain --rolling s", NULL, "takes no --" },
    { "policy check", NULL, "usage: weirctl policy check DIR" },
    { "-c f queue list --older 90m", "queue list", NULL },
    { "-c f queue delete --older 0h", NULL, "an age with its unit" },
    { "-c f queue delete --older -1h", NULL, "an age with its unit" },
    { "-c f queue delete --older 60", NULL, "an age with its unit" },
    { "-c f drain a b", NULL, "] NODE" },
    { "-c f drain --now a", "drain", "a" },
    { "-c f undrain --now a", NULL, "undrain takes no --now" },
    { "-c f blocklist check --timeout 5", "blocklist check", NULL },
    { "-c f blocklist status --timeout 5", NULL, "blocklist status takes no --timeout" },
    { "-c f dns", "dns", NULL },
    { "-c f dns push --dry-run", "dns push", NULL },
    { "-c f dns --dry-run", NULL, "dns takes no --dry-run" },
    { "-c f dns pull", NULL, "usage: weirctl -c FILE dns" },
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

static void print_explained(FILE *out, const void *arg)
{
    const struct view *view = arg;
    explain_print(view->verb, view->body, out);
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
        { "trace", "[{\"id\":\"x\",\"time\":\"2026-11-21T19:20:38+00:00\",\"login\":\"al\\u001bice\"}]",
          "x  2026-11-21 19:20:38.000  0 bytes\n  from      <>  (no Message-ID)\n  client    ?, HELO -, in clear; listener - of ?/0\n"
          "  login     al\\x1Bice\n" },
        { "policy apply", "{\"epoch\":7,\"changes\":[{\"file\":\"networks\",\"removed\":[\"10.1.0.0/16\\tx\\u001b\"],\"added\":[\"\"]}]}",
          "networks: - 10.1.0.0/16\tx\\x1B\nnetworks: + \npolicy 7 is in force\n" },
        { "policy show", "{\"epoch\":7,\"applied_by\":\"a\",\"files\":[{\"name\":\"networks\",\"content\":\"10.1.0.0/16\\tx\\n\\ny\\u001b\"}]}",
          "# policy 7, applied at - by a\n\n# --- networks ---\n10.1.0.0/16\tx\n\ny\\x1B\n" },
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

/* What relay explain says, by the paths of its JSON. */
static const struct {
    const char *client, *recipient, *result, *grant, *grant_rule, *decided_by, *text;
    int code;
    bool auth;
} explanations[] = {
    { "10.1.2.3", "u@anywhere.org", "deliver", "inside", "networks:1", "mailertable:5", ". smtp:[out]", 0, false },
    { "10.9.1.1", "u@anywhere.org", "refuse", NULL, NULL, "networks:2", "!10.9.0.0/16 guests", 550, false },
    { "192.0.2.1", "u@anywhere.org", "refuse", NULL, NULL, NULL, NULL, 550, false },
    { "192.0.2.1", "<U@Example.EDU.>", "deliver", "own-domain", "local-host-names:1", "mailertable:1", "example.edu\tsmtp:[mail]  # \\xC3 \xc3\xbc", 0, false },
    { "192.0.2.1", "postmaster", "deliver", "own-domain", "local-host-names:1", "mailertable:1", NULL, 0, false },
    { "192.0.2.1", "u@x.cs.example.edu", "deliver", "route", "mailertable:2", "mailertable:2", ".cs.example.edu smtp:[cs]", 0, false },
    { "192.0.2.1", "a%b@example.edu", "refuse", "own-domain", "local-host-names:1", NULL, NULL, 550, false },
    { "10.1.2.3", "u@[10.1.2.3]", "deliver", "inside", "networks:1", "mailertable:5", NULL, 0, false },
    { "192.0.2.1", "u@anywhere.org", "deliver", "authenticated", NULL, "mailertable:5", NULL, 0, true },
    { "192.0.2.1", "List@example.edu", "expand", "own-domain", "local-host-names:1", "aliases:2", "list: a@old.edu, b@x.cs.example.edu", 0, false },
    { "192.0.2.1", "one@example.edu", "deliver", "own-domain", "local-host-names:1", "aliases:1", "one: b@x.cs.example.edu", 0, false },
    { "192.0.2.1", "u@old.edu", "refuse", "route", "mailertable:3", "mailertable:3", NULL, 551, false },
    { "192.0.2.1", "u@hole.edu", "discard", "route", "mailertable:4", "mailertable:4", NULL, 0, false },
};

static const struct request_file explained_files[] = {
    { (char *)"mailertable", (char *)"example.edu\tsmtp:[mail]  # \xc3 \xc3\xbc\n.cs.example.edu smtp:[cs]\nold.edu error:5.1.6:551 moved\nhole.edu discard:\n. smtp:[out]\n", 0 },
    { (char *)"local-host-names", (char *)"example.edu\n", 0 },
    { (char *)"networks", (char *)"10.0.0.0/8 campus\n!10.9.0.0/16 guests\n", 0 },
    { (char *)"exceptions", (char *)"10.1.2.3 max_recipients=7 reason=r owner=o approved_by=a expires=1970-01-01\n", 0 },
    { (char *)"aliases", (char *)"one: b@x.cs.example.edu\nlist: a@old.edu, b@x.cs.example.edu\nowner-list: one\ndead: a@old.edu, b@old.edu\n", 0 },
};

static struct explained_policy explained_policy(void)
{
    struct request_file files[5];
    struct explained_policy policy;
    struct error why;
    for (size_t i = 0; i < 5; i++) {
        files[i] = explained_files[i];
        files[i].len = strlen(files[i].text);
    }
    ck_assert_msg(explained_policy_parse(&policy, files, 5, &why), "%s", why.text);
    return policy;
}

static const char *text_at(const json_t *object, const char *key, const char *inner)
{
    return json_string_value(json_object_get(json_object_get(object, key), inner));
}

START_TEST(s69_explained)
{
    struct explained_policy policy = explained_policy();
    struct error why = { "" };
    json_t *body = explain_relay(&policy, &(struct explained_client){ .address = explanations[_i].client, .authenticated = explanations[_i].auth }, explanations[_i].recipient, 0, &why);
    ck_assert_msg(body != NULL, "%s", why.text);
    ck_assert_str_eq(json_string_value(json_object_get(body, "result")), explanations[_i].result);
    ck_assert_pstr_eq(text_at(body, "grant", "by"), explanations[_i].grant);
    ck_assert_pstr_eq(text_at(json_object_get(body, "grant"), "line", "rule"), explanations[_i].grant_rule);
    const json_t *line = json_array_get(json_object_get(body, "decided_by"), 0);
    ck_assert_pstr_eq(json_string_value(json_object_get(line, "rule")), explanations[_i].decided_by);
    if (explanations[_i].text != NULL)
        ck_assert_pstr_eq(json_string_value(json_object_get(line, "text")), explanations[_i].text);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(body, "reply"), "code")), explanations[_i].code);
    struct view view = { "relay explain", body };
    free(printed(print_explained, &view));
    json_decref(body);
    explained_policy_clear(&policy);
}
END_TEST

/* MAIL: who may send as whom. */
static const struct sender_case {
    const char *login, *sender;
    int profile;
    bool match;
    int code; /* 0: accepted */
    bool owned;
} senders[] = {
    { NULL, "x@anywhere.org", PROFILE_RELAY, false, 0, false },
    { NULL, "<>", PROFILE_RELAY, true, 0, false },
    { NULL, "x@anywhere.org", PROFILE_SUBMISSION, true, 530, false },
    { "joe", "joe@example.edu", PROFILE_SUBMISSION, true, 0, true },
    { "JOE", "anybody@LISTS.example.edu", PROFILE_SUBMISSION, true, 0, true },
    { "joe", "sue@example.edu", PROFILE_SUBMISSION, true, 553, false },
    { "joe", "sue@example.edu", PROFILE_SUBMISSION, false, 0, false },
    { "joe", "<>", PROFILE_SUBMISSION, true, 0, false },
    { "sue@example.edu", "sue@example.edu", PROFILE_SUBMISSION, true, 0, true }, /* of a directory: itself */
    { "nobody", "sue@example.edu", PROFILE_SUBMISSION, true, 553, false },
};

START_TEST(s69_sender_explained)
{
    const struct sender_case *row = &senders[_i];
    struct explained_policy policy = explained_policy();
    struct listener_settings listener = { .profile = row->profile, .sender_login_match = row->match };
    struct error why = { "" };
    policy.listener = &listener;
    policy.accounts = json_pack("[{s:s, s:[s, s]}]", "login", "joe", "senders", "joe@example.edu", "@lists.example.edu");
    json_t *body = explain_relay(&policy, &(struct explained_client){ .address = "192.0.2.1", .login = row->login, .sender = row->sender },
                                 "list@example.edu", 0, &why);
    ck_assert_msg(body != NULL, "%s", why.text);
    const json_t *sender = json_object_get(body, "sender");
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(sender, "reply"), "code")), row->code);
    ck_assert_int_eq(json_is_true(json_object_get(sender, "owned")), row->owned);
    ck_assert_str_eq(json_string_value(json_object_get(body, "result")), row->code != 0 ? "refuse" : "expand");
    ck_assert_int_eq(json_object_get(body, "owner") != NULL, row->code == 0 && strcmp(row->sender, "<>") != 0); /* reports about what comes from nobody go to nobody */
    struct view view = { "relay explain", body };
    char *text = printed(print_explained, &view);
    ck_assert_ptr_nonnull(strstr(text, "from       "));
    free(text);
    json_decref(body);
    policy.contact = strdup("Ask the help desk");
    body = explain_relay(&policy, &(struct explained_client){ .address = "192.0.2.1" }, "u@anywhere.org", 0, &why);
    ck_assert_str_eq(text_at(body, "reply", "text"), "<u@anywhere.org>: Relay access denied Ask the help desk");
    json_decref(body);
    ck_assert_ptr_null(explain_relay(&policy, &(struct explained_client){ .address = "192.0.2.1", .sender = "a@@b" }, "list@example.edu", 0, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "501 5.1.7"));
    explained_policy_clear(&policy);
}
END_TEST

/* Each holds; with a '!' in front of it the line does not. */
static const char *const cases[] = {
    "10.1.2.3 - - alice@example.edu -> smtp:[mail]",
    "10.1.2.3 - - alice@example.edu -> smtp:[mail]:25   # as people write it",
    "10.1.2.3 - - alice@example.edu -> accept",
    "10.1.2.3 - - alice@example.edu -> 250",
    "192.0.2.1 - <> u@anywhere.org -> 550 5.7.1",
    "192.0.2.1 - <> u@anywhere.org -> refuse",
    "192.0.2.1 joe joe@example.edu u@anywhere.org -> smtp:[out]",
    "192.0.2.1 - - u@hole.edu -> discard:",
    "192.0.2.1 - - u@old.edu -> 551",
    "192.0.2.1 - - one@example.edu -> to b@x.cs.example.edu",
    "192.0.2.1 - - one@example.edu -> smtp:[cs]",
    "192.0.2.1 - - owner-list@example.edu -> to b@x.cs.example.edu",
    "192.0.2.1 - - u@@x -> 501",
    "192.0.2.1 - - list@example.edu -> accept", /* one of its addresses is refused, and fails alone */
    "192.0.2.1 - - dead@example.edu -> 551",    /* all are */
    "192.0.2.1 - - dead@example.edu -> 551 5.1.6",
    "!10.1.2.3 - - alice@example.edu -> smtp:mail",
    "!10.1.2.3 - - alice@example.edu -> smtp:[mail]:587",
    "!10.1.2.3 - - alice@example.edu -> discard:",
    "!10.1.2.3 - - alice@example.edu -> refuse",
    "!192.0.2.1 - - u@anywhere.org -> 550 5.7.2",
    "!192.0.2.1 - - u@anywhere.org -> to u@anywhere.org",
    "!192.0.2.1 - - one@example.edu -> to b@x.cs.example.edu c@x.cs.example.edu",
    "!192.0.2.1 - - u@@x -> accept",
    "!192.0.2.1 - - dead@example.edu -> accept",
    "!192.0.2.1 - - list@example.edu -> refuse",
    "!192.0.2.1 - - \u00fc@@x -> accept",
};

static void print_cases(FILE *out, const void *arg)
{
    cases_print(arg, out);
}

START_TEST(policy_test_cases)
{
    struct explained_policy policy = explained_policy();
    struct error why = { "" };
    bool fails = cases[_i][0] == '!';
    char text[200], expected[80];
    snprintf(text, sizeof text, "# a comment\n\n%s\n10.1.2.3 - - alice@example.edu\n  -> accept\n", cases[_i] + fails);
    json_t *body = cases_run(&policy, "campus.cases", text, strlen(text), 0, &why);
    ck_assert_msg(body != NULL, "%s", why.text);
    ck_assert_int_eq(json_integer_value(json_object_get(body, "cases")), 2);
    ck_assert_msg(json_array_size(json_object_get(body, "failed")) == fails, "%s", cases[_i]);
    char *told = printed(print_cases, body);
    snprintf(expected, sizeof expected, "2 cases, %d not as expected\n", fails);
    ck_assert_msg(strstr(told, expected) != NULL && (strncmp(told, "campus.cases:3: ", 16) == 0) == fails, "%s", told);
    free(told);
    json_decref(body);
    explained_policy_clear(&policy);
}
END_TEST

START_TEST(policy_test_says_what_is_no_case)
{
    static const char *const wrong[] = { "10.1.2.3 - alice@example.edu -> accept", "printer - - alice@example.edu -> accept",
                                         "10.1.2.3 - - alice@example.edu -> perhaps", "10.1.2.3 - - alice@example.edu ->",
                                         "10.1.2.3 - - alice@example.edu -> to", "10.1.2.3 - - alice@example.edu -> error:5.1.1:550 no",
                                         "10.1.2.3 - - alice@example.edu -> 999", "10.1.2.3 - - \xfc@example.edu -> refuse" };
    struct explained_policy policy = explained_policy();
    struct error why;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[120];
        snprintf(text, sizeof text, "\n%s\n", wrong[i]);
        ck_assert_ptr_null(cases_run(&policy, "c", text, strlen(text), 0, &why));
        ck_assert_msg(strncmp(why.text, "c:2: error: ", 12) == 0, "%s", why.text);
    }
    char nothing[] = "";
    json_t *body = cases_run(&policy, "c", nothing, 0, 0, &why);
    ck_assert_int_eq(json_integer_value(json_object_get(body, "cases")), 0);
    json_decref(body);
    explained_policy_clear(&policy);
}
END_TEST

START_TEST(s69_explained_as_people_read_it)
{
    struct explained_policy policy = explained_policy();
    struct error why = { "" };
    struct view view = { "relay explain", explain_relay(&policy, &(struct explained_client){ .address = "10.1.2.3" }, "u@old.edu", 0, &why) };
    char *text = printed(print_explained, &view);
    ck_assert_str_eq(text, "policy     of the folder; not applied\n"
                           "client     10.1.2.3 is inside: campus\n"
                           "           networks:1: 10.0.0.0/8 campus\n"
                           "to         u@old.edu\n"
                           "granted by inside\n"
                           "           networks:1: 10.0.0.0/8 campus\n"
                           "limits     max_recipients=7 until 1970-01-02T00:00:00Z\n"
                           "           exceptions:1: 10.1.2.3 max_recipients=7 reason=r owner=o approved_by=a expires=1970-01-01\n"
                           "decided by mailertable:3: old.edu error:5.1.6:551 moved\n"
                           "reply      551 5.1.6 <u@old.edu>: moved\n");
    free(text);
    json_decref(view.body);
    view = (struct view){ "route explain", explain_route(&policy, "u@example.edu", &why) };
    text = printed(print_explained, &view);
    ck_assert_msg(strstr(text, "next hop   mail port 25\n") != NULL, "%s", text);
    free(text);
    json_decref(view.body);
    view = (struct view){ "route explain", explain_route(&policy, "list@example.edu", &why) };
    text = printed(print_explained, &view);
    ck_assert_str_eq(text, "policy     of the folder; not applied\n"
                           "to         list@example.edu\n"
                           "decided by aliases:2: list: a@old.edu, b@x.cs.example.edu\n"
                           "reports to owner-list@example.edu\n"
                           "reply      250 2.1.5 Ok, where not all below are refused; then the message goes into the spool, and a report says who was\n"
                           "\n"
                           "decided by aliases:2: list: a@old.edu, b@x.cs.example.edu\n"
                           "           mailertable:3: old.edu error:5.1.6:551 moved\n"
                           "stands for a@old.edu\n"
                           "reply      551 5.1.6 <list@example.edu>: moved\n"
                           "\n"
                           "decided by aliases:2: list: a@old.edu, b@x.cs.example.edu\n"
                           "           mailertable:2: .cs.example.edu smtp:[cs]\n"
                           "stands for b@x.cs.example.edu\n"
                           "next hop   cs port 25\n"
                           "reply      the next hop's own; 250 2.1.5 where it takes it\n");
    free(text);
    json_decref(view.body);
    view = (struct view){ "exception list", explain_exceptions(&policy, 86400) };
    text = printed(print_explained, &view);
    ck_assert_msg(strstr(text, "  expired  ") != NULL, "%s", text);
    free(text);
    json_decref(view.body);

    static const char *const wrong[][3] = { { "printer", "u@example.edu", "is not an IP address" }, { "10.1.2.3", "u@@x", "501 5.1.3" },
                                            { "10.1.2.3", "<u@x> y", "501 5.1.3" }, { NULL, "postmaster", "has no domain" } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_ptr_null(wrong[i][0] != NULL ? explain_relay(&policy, &(struct explained_client){ .address = wrong[i][0] }, wrong[i][1], 0, &why) : explain_route(&policy, wrong[i][1], &why));
        ck_assert_msg(strstr(why.text, wrong[i][2]) != NULL, "%s", why.text);
    }
    explained_policy_clear(&policy);

    struct explained_policy other;
    static const struct request_file others[] = { { (char *)"networks", (char *)"# all\n10.0.0.0/8 campus\n\n", 0 }, { (char *)"aliases", (char *)"a: b\n", 0 } };
    struct request_file copies[2] = { others[0], others[1] }, mine = others[0];
    for (size_t i = 0; i < 2; i++)
        copies[i].len = strlen(copies[i].text);
    mine.text = (char *)"10.0.0.0/8 campus\n10.9.0.0/16\n";
    mine.len = strlen(mine.text);
    ck_assert(explained_policy_parse(&policy, &mine, 1, &why) && explained_policy_parse(&other, copies, 2, &why));
    view = (struct view){ "policy diff", explain_difference(&policy, &other) };
    text = printed(print_explained, &view);
    ck_assert_str_eq(text, "networks: - 10.9.0.0/16\nnetworks: + # all\naliases: + a: b\n");
    free(text);
    json_decref(view.body);
    view = (struct view){ "policy diff", explain_difference(&policy, &policy) };
    text = printed(print_explained, &view);
    ck_assert_str_eq(text, "no difference\n");
    free(text);
    json_decref(view.body);
    explained_policy_clear(&policy);
    explained_policy_clear(&other);

    /* without a policy a domain goes to its MX, or nowhere */
    ck_assert(explained_policy_parse(&policy, NULL, 0, &why));
    policy.mx_delivery = true;
    view = (struct view){ "route explain", explain_route(&policy, "u@example.net", &why) };
    text = printed(print_explained, &view);
    ck_assert_msg(strstr(text, "next hop   the MX hosts of example.net port 25\n") != NULL, "%s", text);
    free(text);
    json_decref(view.body);
    policy.mx_delivery = false;
    view = (struct view){ "route explain", explain_route(&policy, "u@example.net", &why) };
    text = printed(print_explained, &view);
    ck_assert_msg(strstr(text, "reply      550 5.4.4 ") != NULL, "%s", text);
    free(text);
    json_decref(view.body);
    explained_policy_clear(&policy);

    /* what a coordinator may say */
    static const char *const bodies[] = { "", "[]", "{\"files\":[{\"name\":\"networks\",\"content\":\"x\"}]}" };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        if (explained_policy_take(&policy, bodies[i], &why))
            explained_policy_clear(&policy);
    ck_assert(strstr(why.text, "networks:1: error:") != NULL);
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
    tcase_add_loop_test(tests, s69_explained, 0, sizeof explanations / sizeof *explanations);
    tcase_add_loop_test(tests, s69_sender_explained, 0, sizeof senders / sizeof *senders);
    tcase_add_loop_test(tests, policy_test_cases, 0, sizeof cases / sizeof *cases);
    tcase_add_test(tests, policy_test_says_what_is_no_case);
    tcase_add_test(tests, s69_explained_as_people_read_it);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

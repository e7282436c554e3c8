/*
 * test_auth.c - helper processes: real ones, which are this program again; and what a login may not do to a directory
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "coordinator/auth/helpers.h"
#include "coordinator/auth/kinds.h"
#include "tests/unit/suite.h"

/* --- templates --- */

struct expansion {
    const char *template, *login, *dn, *filter; /* NULL: it does not fit */
};

static const struct expansion expansions[] = {
    { "uid=%u,dc=x", "alice", "uid=alice,dc=x", "uid=alice,dc=x" },
    { "uid=%u,ou=%d", "alice@example.edu", "uid=alice,ou=example.edu", "uid=alice,ou=example.edu" },
    { "(mail=%s)", "a@b@c", "(mail=a@b@c)", "(mail=a@b@c)" },
    { "%u|%d", "a@b@c", "a@b|c", "a@b|c" },
    { "uid=%u,x", "alice,ou=admins", "uid=alice\\2cou\\3dadmins,x", "uid=alice,ou=admins,x" },
    { "(uid=%u)", "*", "(uid=*)", "(uid=\\2a)" },
    { "(uid=%u)", "a)(uid=*", "(uid=a)(uid\\3d*)", "(uid=a\\29\\28uid=\\2a)" },
    { "(uid=%u)", "a\\", "(uid=a\\5c)", "(uid=a\\5c)" },
    { "uid=%u", " a ", "uid=\\20a\\20", "uid= a " },
    { "uid=%u", "#\"<>;+", "uid=\\23\\22\\3c\\3e\\3b\\2b", "uid=#\"<>;+" },
    { "100%", "a", "100%", "100%" },
    { "%x%u", "a", "%xa", "%xa" },
    { "012345678901234567890123456789%u", "0123456789012345678901234567890123", NULL, NULL },
};

START_TEST(test_expand)
{
    const struct expansion *row = &expansions[_i];
    char out[64];
    bool fits = directory_expand_dn(out, sizeof out, row->template, row->login);

    ck_assert_int_eq(fits, row->dn != NULL);
    if (fits)
        ck_assert_str_eq(out, row->dn);
    fits = directory_expand_filter(out, sizeof out, row->template, row->login);
    ck_assert_int_eq(fits, row->filter != NULL);
    if (fits)
        ck_assert_str_eq(out, row->filter);
}
END_TEST

static const struct {
    const char *template;
    enum directory_login login;
} looks[] = {
    { "uid=%u,dc=x", DIRECTORY_LOGIN_USER },
    { "(&(uid=%u)(objectClass=person))", DIRECTORY_LOGIN_USER },
    { "(mail=%s)", DIRECTORY_LOGIN_WHOLE },
    { "(|(mail=%s)(alias=%s))", DIRECTORY_LOGIN_WHOLE },
    { "uid=%u,ou=%d,dc=x", DIRECTORY_LOGIN_WHOLE },
    { "(&(uid=%u)(mail=%s))", DIRECTORY_LOGIN_WHOLE },
    { "(|(uid=%u)(mail=%s))", DIRECTORY_LOGIN_USER },
    { "( | (uid=%u) (mail=%s))", DIRECTORY_LOGIN_USER },
    { "(ou=%d)", DIRECTORY_LOGIN_NOTHING },
    { "(uid=alice)", DIRECTORY_LOGIN_NOTHING },
    { "100%", DIRECTORY_LOGIN_NOTHING },
    { "", DIRECTORY_LOGIN_NOTHING },
};

START_TEST(test_what_of_a_login_decides)
{
    ck_assert_msg(directory_login_of(looks[_i].template) == looks[_i].login, "%s", looks[_i].template);
}
END_TEST

START_TEST(test_packets)
{
    static struct packet packet;
    static char longer[PACKET_MAX];
    const char *fields[PACKET_FIELDS_MAX];

    packet.len = 0;
    ck_assert_uint_eq(packet_fields(&packet, fields), 0);
    packet_add(&packet, "a");
    packet_add(&packet, "");
    packet_add(&packet, "c");
    ck_assert_uint_eq(packet_fields(&packet, fields), 3);
    ck_assert_str_eq(fields[1], "");
    ck_assert_str_eq(fields[2], "c");
    memset(longer, 'x', sizeof longer - 1);
    packet_add(&packet, longer);
    ck_assert_uint_eq(packet_fields(&packet, fields), 0);
    packet_clear(&packet);
    for (int i = 0; i <= PACKET_FIELDS_MAX; i++)
        packet_add(&packet, "");
    ck_assert_uint_eq(packet_fields(&packet, fields), 0);
}
END_TEST

/* --- helpers --- */

static struct event_base *base;
static struct metrics metrics;
static struct helpers *helpers;

struct told {
    unsigned done, failed;
    char first[256];
};

static void on_done(void *arg, const char *const *fields, size_t count)
{
    struct told *told = arg;

    told->done++;
    told->failed += count == 0;
    snprintf(told->first, sizeof told->first, "%s", count > 0 ? fields[0] : "");
}

static void start(const char *kind, unsigned count, size_t queue_max, uint64_t timeout_ms, const struct packet *setup)
{
    struct helpers_options options = {
        .base = base,
        .kind = kind,
        .count = count,
        .queue_max = queue_max,
        .timeout_ms = timeout_ms,
        .setup = setup,
        .metrics = &metrics,
    };
    helpers = helpers_new(&options);
}

static bool ask(struct told *told, const char *a, const char *b, const char *c)
{
    struct packet packet = { .len = 0 };

    packet_add(&packet, a);
    packet_add(&packet, b);
    if (c != NULL)
        packet_add(&packet, c);
    return helpers_ask(helpers, &packet, on_done, told);
}

#define WAIT(condition)                                                                                                \
    do {                                                                                                               \
        uint64_t end_ = clock_ms() + 60000;                                                                            \
        while (!(condition)) {                                                                                         \
            event_base_loopexit(base, &(struct timeval){ 0, 5000 });                                                   \
            event_base_loop(base, EVLOOP_ONCE);                                                                        \
            ck_assert_msg(clock_ms() < end_, "%s", #condition);                                                        \
        }                                                                                                              \
    } while (0)

static void setup(void)
{
    log_open(&(struct log_options){ .ident = "test", .node = "test", .level = LOG_CRIT });
    signal(SIGPIPE, SIG_IGN);
    base = event_base_new();
    metrics_init(&metrics);
}

static void teardown(void)
{
    helpers_free(&helpers);
    metrics_fini(&metrics);
    event_base_free(base);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* none is left */
}

static double value_of(const char *name)
{
    double sum = 0; /* over the kinds */
    for (struct metric *metric = metrics.first; metric != NULL; metric = metric->next)
        if (strcmp(metric->name, name) == 0)
            sum += metric->value;
    return sum;
}

static const struct packet nothing = { .len = 1, .bytes = "" };

START_TEST(test_passwords)
{
    struct told told = { 0 };
    char hash[256];

    start("passwords", 2, 100, 60000, &nothing);
    ck_assert(ask(&told, "make", "wonderland", NULL));
    WAIT(told.done == 1);
    ck_assert_msg(strncmp(told.first, "$y$", 3) == 0, "%s", told.first);
    snprintf(hash, sizeof hash, "%s", told.first);
    ask(&told, "check", hash, "wonderland");
    WAIT(told.done == 2);
    ck_assert_str_eq(told.first, "yes");
    ask(&told, "check", hash, "wonderlane");
    WAIT(told.done == 3);
    ck_assert_str_eq(told.first, "no");
    ask(&told, "check", "!no hash", "wonderland");
    WAIT(told.done == 4);
    ck_assert_str_eq(told.first, "no");
    for (int i = 0; i < 20; i++)
        ck_assert(ask(&told, "check", hash, "wonderland"));
    WAIT(told.done == 24);
    ck_assert_uint_eq(told.failed, 0);
}
END_TEST

START_TEST(test_a_helper_that_dies_is_replaced)
{
    struct told told = { 0 };

    start("passwords", 1, 100, 20000, &nothing);
    ask(&told, "what", "is this", NULL); /* a helper that cannot answer ends */
    WAIT(told.done == 1);
    ck_assert_uint_eq(told.failed, 1);
    ck_assert(value_of("weir_auth_helper_deaths_total") == 1);
    ask(&told, "make", "wonderland", NULL); /* waits for its successor */
    WAIT(told.done == 2);
    ck_assert_uint_eq(told.failed, 1);
}
END_TEST

START_TEST(test_waiting_is_bounded)
{
    struct told told = { 0 };
    struct packet config = { .len = 0 };
    const char *fields[DIRECTORY_FIELDS] = {
        "ldap://127.0.0.1:1", "off", "", "uid=%u", "", "", "", "", "mail", "60000"
    };

    for (size_t i = 0; i < DIRECTORY_FIELDS; i++)
        packet_add(&config, fields[i]);
    start("directory", 1, 2, 20000, &config);
    ask(&told, "alice", "wonderland", NULL);
    WAIT(told.done == 1);
    ck_assert_str_eq(told.first, "unavailable"); /* nobody listens there */
    helpers_free(&helpers);
    start("passwords", 1, 2, 1, &nothing); /* nothing is that fast */
    ck_assert(ask(&told, "make", "a", NULL));
    ck_assert(ask(&told, "make", "b", NULL));
    ck_assert(!ask(&told, "make", "c", NULL));
    WAIT(told.done == 3);
    ck_assert_uint_eq(told.failed, 2);
    ck_assert(value_of("weir_auth_timeouts_total") >= 1);
    ask(&told, "make", "d", NULL);
    helpers_free(&helpers); /* who waits is told */
    ck_assert_uint_eq(told.done, 4);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], HELPERS_WORD) == 0)
        return helpers_serve(argv[2]);
    Suite *suite = suite_create("auth");
    TCase *tcase = tcase_create("auth");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_expand, 0, sizeof expansions / sizeof *expansions);
    tcase_add_loop_test(tcase, test_what_of_a_login_decides, 0, sizeof looks / sizeof *looks);
    tcase_add_test(tcase, test_packets);
    tcase_add_test(tcase, test_passwords);
    tcase_add_test(tcase, test_a_helper_that_dies_is_replaced);
    tcase_add_test(tcase, test_waiting_is_bounded);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

/*
 * test_fair.c - whose turn it is, in a line that is kept in the order of turns
 */
#include <check.h>
#include <stdbool.h>
#include <string.h>
#include "common/fair.h"
#include "tests/unit/suite.h"

#define LINE_MAX 4096

struct waiting {
    uint64_t turn;
    char who;
};

static struct fair fair;
static struct waiting line[LINE_MAX];
static size_t length;

static void set_up(void)
{
    fair_init(&fair, 0x123456789abcdef);
    length = 0;
}

static uint64_t source_of(char who)
{
    char address[] = "192.0.2.1";
    address[8] = who;
    return fair_source(address, strlen(address));
}

static void come(char who, uint64_t cost)
{
    struct waiting new = { fair_turn(&fair, source_of(who), cost), who };
    size_t at = length++;
    ck_assert_uint_lt(at, LINE_MAX);
    for (; at > 0 && line[at - 1].turn > new.turn; at--)
        line[at] = line[at - 1];
    line[at] = new;
}

static char serve(void)
{
    struct waiting first = line[0];
    memmove(line, line + 1, --length * sizeof *line);
    fair_serve(&fair, first.turn);
    return first.who;
}

START_TEST(orders)
{
    /* Who comes, a letter each ('.': one is served meanwhile), and the order in which all are served. */
    static const struct {
        const char *come, *served;
    } rows[] = {
        { "aaaa", "aaaa" },
        { "abcd", "abcd" },
        { "aaaab", "abaaa" },
        { "aaaabb", "ababaa" },
        { "aaaaaabbbccd", "abcdabcabaaa" },
        { "aaaaaa...b", "aaabaaa" },
        { "aaaaaa......b", "aaaaaab" },
        { "aaaaaa......aab", "aaaaaabaa" },
        { "aaaa..bbbb..cc", "aababcabcb" },
    };
    const char *served = rows[_i].served;
    for (const char *at = rows[_i].come; *at != '\0'; at++)
        if (*at == '.')
            ck_assert_int_eq(serve(), *served++);
        else
            come(*at, 10);
    while (length > 0)
        ck_assert_int_eq(serve(), *served++);
    (void)served;
}
END_TEST

/* However much one has in line, whoever comes with one is next after what has the turn that is served. */
START_TEST(a_flood_is_nobody_elses)
{
    for (int i = 0; i < 2000; i++)
        come('a', fair_mail_cost(1 << 20));
    for (char who = 'b'; who <= 'z'; who++) {
        ck_assert_int_eq(serve(), 'a');
        come(who, fair_mail_cost(4096));
        come(who, fair_mail_cost(4096));
        ck_assert_int_eq(serve(), who);
        ck_assert_int_eq(serve(), who); /* two of these cost less than one of the others */
    }
}
END_TEST

START_TEST(shares_are_by_cost)
{
    uint64_t a = 0, b = 0;
    for (int i = 0; i < 1000; i++)
        come('a', 100);
    for (int i = 0; i < 100; i++)
        come('b', 1000);
    for (int i = 0; i < 550; i++)
        *(serve() == 'a' ? &a : &b) += 1;
    ck_assert_uint_ge(a, 495);
    ck_assert_uint_ge(b, 49);
}
END_TEST

START_TEST(sources)
{
    static const struct {
        const char *one, *other;
        bool same;
        uint64_t bits4, bits6; /* 0: as they are */
    } rows[] = {
        { "192.0.2.1", "192.0.2.1", true, 0, 0 },      { "192.0.2.1", "192.0.2.2", false, 0, 0 }, { "2001:db8::1", "2001:db8::ffff:2", true, 0, 0 },
        { "2001:db8::1", "2001:db8:0:1::1", false, 0, 0 }, { "", "", true, 0, 0 },                { "", "192.0.2.1", false, 0, 0 },
        { "unknown", "unknowns", false, 0, 0 },
        { "192.0.2.1", "192.0.2.255", true, 24, 64 },  { "192.0.2.1", "192.0.3.1", false, 24, 64 },
        { "192.0.2.1", "192.0.3.255", true, 23, 64 },  { "192.0.2.1", "192.0.4.1", false, 23, 64 },
        { "2001:db8:1::1", "2001:db8:1:ffff::1", true, 24, 48 }, { "2001:db8:1::1", "2001:db8:2::1", false, 24, 48 },
        { "2001:db8::1", "2001:db8::2", false, 8, 128 },
    };
    if (rows[_i].bits4 != 0)
        fair_set_prefixes(rows[_i].bits4, rows[_i].bits6);
    ck_assert_int_eq(fair_source(rows[_i].one, strlen(rows[_i].one)) == fair_source(rows[_i].other, strlen(rows[_i].other)), rows[_i].same);
    ck_assert_uint_eq(fair_source(NULL, 0), fair_source("", 0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fair");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_loop_test(tests, orders, 0, 9);
    tcase_add_test(tests, a_flood_is_nobody_elses);
    tcase_add_test(tests, shares_are_by_cost);
    tcase_add_loop_test(tests, sources, 0, 14);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/*
 * test_turns.c - when a schedule last said that scanners make new generations
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/config_form.h"
#include "common/memory.h"
#include "coordinator/turns.h"
#include "tests/unit/suite.h"

#define MINUTE 60000ull
#define HOUR   (60 * MINUTE)

/* In Berlin clocks skipped from 02:00 to 03:00 on 29 March 2026, and had 02:00 to 03:00 twice on 25 October. */
static const struct {
    const char *items[3];
    const char *now; /* local time and its offset, as date prints them */
    uint64_t due_ms;
} due_table[] = {
    { { NULL }, "2026-11-22 12:00:00 +0100", 0 },
    { { "12h" }, "2026-11-22 12:00:00 +0100", 12 * HOUR },
    { { "03:30" }, "2026-11-22 03:30:00 +0100", 1 },
    { { "03:30" }, "2026-11-22 03:29:00 +0100", 24 * HOUR - MINUTE + 1 },
    { { "03:30" }, "2026-11-22 12:00:00 +0100", 8 * HOUR + 30 * MINUTE + 1 },
    { { "03:30", "11:45" }, "2026-11-22 12:00:00 +0100", 15 * MINUTE + 1 },
    { { "03:30", "1h" }, "2026-11-22 12:00:00 +0100", HOUR },
    { { "23:59" }, "2026-01-01 00:00:00 +0100", MINUTE + 1 },
    { { "04:00" }, "2026-03-29 04:00:00 +0200", 1 },
    { { "04:00" }, "2026-03-29 03:59:00 +0200", 23 * HOUR - MINUTE + 1 },
    { { "04:00" }, "2026-10-25 03:59:00 +0100", 25 * HOUR - MINUTE + 1 },
};

START_TEST(test_due)
{
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    char *items[3];
    struct config_list schedule = { .items = items };
    for (; schedule.count < 3 && due_table[_i].items[schedule.count] != NULL; schedule.count++)
        items[schedule.count] = xstrdup(due_table[_i].items[schedule.count]);
    struct tm tm = { 0 };
    const char *end = strptime(due_table[_i].now, "%Y-%m-%d %H:%M:%S", &tm);
    ck_assert_ptr_nonnull(end);
    time_t now = timegm(&tm) - (strcmp(end, " +0200") == 0 ? 7200 : 3600);
    ck_assert_uint_eq(turns_due_ms(&schedule, now), due_table[_i].due_ms);
    while (schedule.count > 0)
        free(items[--schedule.count]);
}
END_TEST

static const struct {
    const char *text;
    bool fine;
} form_table[] = {
    { "03:30", true }, { "00:00", true }, { "23:59", true },  { "12h", true },   { "1m", true },    { "24:00", false }, { "23:60", false }, { "3:30", false },
    { "03:3", false }, { "", false },     { "03:300", false }, { "+3:30", false }, { " 3:30", false }, { "59s", false },   { "0", false },     { "noon", false },
};

START_TEST(test_form)
{
    struct error why = { 0 };
    ck_assert_msg(form_schedule(form_table[_i].text, &why) == form_table[_i].fine, "%s: %s", form_table[_i].text, why.text);
    ck_assert(form_table[_i].fine || strncmp(why.text, "expected ", 9) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("turns");
    TCase *tcase = tcase_create("schedule");
    tcase_add_loop_test(tcase, test_due, 0, (int)(sizeof due_table / sizeof *due_table));
    tcase_add_loop_test(tcase, test_form, 0, (int)(sizeof form_table / sizeof *form_table));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

/*
 * test_command.c - the command line of the daemons: a table of what is said and what it means
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include "common/command.h"
#include "tests/unit/suite.h"

static bool check_only, also;

static const struct command_flag flags[] = { { "check", &check_only }, { "also", &also }, { NULL, NULL } };

static const struct command_syntax syntax = {
    .program = "weir-test",
    .forms = "       weir-test go [--check]\n",
    .name = "whose",
    .help = "  go                does it\n",
    .signals = "TERM ends it",
    .words_max = 2,
    .flags = flags,
};

static const struct {
    const char *line; /* words, a blank between them */
    int status;       /* -1: goes on */
    const char *config, *name, *last_override;
    size_t overrides, words;
    bool test, check;
} cases[] = {
    { "-c f --name n", -1, "f", "n", NULL, 0, 0, false, false },
    { "--config f --name=n --test", -1, "f", "n", NULL, 0, 0, true, false },
    { "-cf --name n -t", -1, "f", "n", NULL, 0, 0, true, false },
    { "--name n --set a=1 -c f --set b.c=2", -1, "f", "n", "b.c=2", 2, 0, false, false },
    { "go --check -c f --name n on", -1, "f", "n", NULL, 0, 2, false, true },
    { "-c f --name n -- --set", -1, "f", "n", NULL, 0, 1, false, false },
    { "-c f --name 012345678901234567890123456789012345678901234567", -1, "f",
      "012345678901234567890123456789012345678901234567", NULL, 0, 0, false, false },
    { "-c f --name 0123456789012345678901234567890123456789012345678", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "-c f --name=", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "-c f", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "--name n", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "--name n -c", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "-c f --name n --set", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "-c f --name n -x", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "-c f --name n --nothing", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "-c f --name n --check=1", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "-c f --name n one two three", EX_USAGE, NULL, NULL, NULL, 0, 0, false, false },
    { "--help", EXIT_SUCCESS, NULL, NULL, NULL, 0, 0, false, false },
    { "-h --nothing", EXIT_SUCCESS, NULL, NULL, NULL, 0, 0, false, false },
    { "--set a=1 --version", EXIT_SUCCESS, NULL, NULL, NULL, 0, 0, false, false },
};

START_TEST(test_lines)
{
    char line[256] = "weir-test ", *argv[16] = { NULL };
    int argc = 0, status = -1;
    struct command command;

    strcat(line, cases[_i].line);
    for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    check_only = also = false;
    bool goes_on = command_parse(&command, &syntax, argc, argv, &status);
    ck_assert_msg(goes_on == (cases[_i].status == -1), "%s", cases[_i].line);
    ck_assert_int_eq(status, cases[_i].status);
    ck_assert_pstr_eq(command.config_path, cases[_i].config);
    ck_assert_pstr_eq(command.name, cases[_i].name);
    ck_assert_uint_eq(command.override_count, cases[_i].overrides);
    if (cases[_i].last_override != NULL)
        ck_assert_str_eq(command.overrides[command.override_count - 1], cases[_i].last_override);
    ck_assert_uint_eq(command.word_count, cases[_i].words);
    ck_assert(command.test == cases[_i].test && check_only == cases[_i].check && !also);
    command_fini(&command);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("command");
    TCase *tcase = tcase_create("lines");

    if (freopen("/dev/null", "w", stderr) == NULL) /* the words are not what is tested */
        return EXIT_FAILURE;
    tcase_add_loop_test(tcase, test_lines, 0, sizeof cases / sizeof *cases);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

/* test_log.c - the shapes of a log line, and that no peer can forge one */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/log.h"
#include "tests/unit/suite.h"

static char path[64];
static char content[200000];

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/weir-test-log-XXXXXX");
    close(mkstemp(path));
}

static void teardown(void)
{
    log_open(&(struct log_options){ .ident = "test", .node = "test" });
    unlink(path);
}

static void open_log(enum log_format format, int level)
{
    log_open(&(struct log_options){
        .ident = "weir/edge-1/smtpd", .node = "edge-1", .file = path, .format = format, .level = level });
}

static const char *read_log(void)
{
    int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, content, sizeof content - 1);

    close(fd);
    content[len > 0 ? len : 0] = '\0';
    return content;
}

static void check_matches(const char *text, const char *pattern)
{
    regex_t regex;

    ck_assert_int_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    ck_assert_msg(regexec(&regex, text, 0, NULL, 0) == 0, "'%s' does not match %s", text, pattern);
    regfree(&regex);
}

START_TEST(text_shape)
{
    open_log(LOG_FORMAT_TEXT, LOG_INFO);
    log_write(LOG_INFO, "%s: client=%s", "06FZQ7XKC3ABCDEFGHJK", "unknown[192.0.2.7]");
    check_matches(read_log(), "^(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [^ ]+ "
                              "weir/edge-1/smtpd\\[[0-9]+\\]: 06FZQ7XKC3ABCDEFGHJK: client=unknown\\[192\\.0\\.2\\.7\\]\n$");
}
END_TEST

START_TEST(json_shape)
{
    open_log(LOG_FORMAT_JSON, LOG_INFO);
    log_write(LOG_WARNING, "a \"quoted\" \\ back\tslash");
    check_matches(read_log(), "^\\{\"time\":\"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z\",\"schema\":1,\"event\":\"log\",\"id\":\"\",\"level\":\"warning\","
                              "\"node\":\"edge-1\",\"ident\":\"weir/edge-1/smtpd\",\"pid\":[0-9]+,"
                              "\"message\":\"a \\\\\"quoted\\\\\" \\\\\\\\ back\\\\\\\\x09slash\"\\}\n$");
}
END_TEST

static const struct {
    const char *line, *event, *id;
} events[] = {
    { "connect from unknown[192.0.2.7]", "connect", "" },
    { "xclient: unknown[192.0.2.7] speaks for a.example[192.0.2.8]", "xclient", "" },
    { "lenient: unknown[192.0.2.7] helo=<x> needed lf", "lenient", "" },
    { "06FZQ7XKC3ABCDEFGHJK: client=unknown[192.0.2.7]", "message_begins", "06FZQ7XKC3ABCDEFGHJK" },
    { "06FZQ7XKC3ABCDEFGHJK: to=<a@example.edu>, relay=none", "recipient", "06FZQ7XKC3ABCDEFGHJK" },
    { "06FZQ7XKC3ABCDEFGHJK: from=<x: to=<y>", "message", "06FZQ7XKC3ABCDEFGHJK" },
    { "06FZQ7XKC3ABCDEFGHJK: removed", "removed", "06FZQ7XKC3ABCDEFGHJK" },
    { "06FZQ7XKC3ABCDEFGHJK: verdict=clean size=1200", "verdict", "06FZQ7XKC3ABCDEFGHJK" },
    { "06FZQ7XKC3ABCDEFGHJK: stored for edge-1", "stored", "06FZQ7XKC3ABCDEFGHJK" },
    { "06FZQ7XKC3ABCDEFGHJK: settled by edge-1/0", "settled", "06FZQ7XKC3ABCDEFGHJK" },
    { "06FZQ7XKC3ABCDEFGHJK: to be written down: recipient 0 delivered, says edge-1", "audit", "06FZQ7XKC3ABCDEFGHJK" },
    { "06FZQ7XKC3ABCDEFGHJK: chunk at 12 does not fit", "log", "06FZQ7XKC3ABCDEFGHJK" },
    { "06FZQ7XKC3ABCDEFGHJK: something else", "log", "06FZQ7XKC3ABCDEFGHJK" },
    { "NOQUEUE: reject: RCPT from unknown[192.0.2.7]", "reject", "" },
    { "06FZQ7XKC3ABCDEFGHJ!: to=<a@example.edu>", "log", "" },
    { "06FZQ7XKC3ABCDEFGHJK", "log", "" },
    { "spool: to=<a@example.edu>", "log", "" },
    { "", "log", "" },
};

START_TEST(json_events)
{
    char wanted[128];

    open_log(LOG_FORMAT_JSON, LOG_INFO);
    log_write(LOG_INFO, "%s", events[_i].line);
    snprintf(wanted, sizeof wanted, "\"schema\":1,\"event\":\"%s\",\"id\":\"%s\",\"level\":\"info\"", events[_i].event, events[_i].id);
    ck_assert_ptr_nonnull(strstr(read_log(), wanted));
}
END_TEST

START_TEST(another_program)
{
    open_log(_i == 0 ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON, LOG_INFO);
    errno = ENOENT;
    log_write_as("smtp", LOG_INFO, "to=<%s>", "a@example.edu");
    log_write_as("smtp", LOG_DEBUG, "dropped");
    ck_assert_int_eq(errno, ENOENT);
    if (_i == 0)
        check_matches(read_log(), "^[^\n]* weir/edge-1/smtp\\[[0-9]+\\]: to=<a@example.edu>\n$");
    else
        check_matches(read_log(), "^[^\n]*\"ident\":\"weir/edge-1/smtp\",\"pid\":[0-9]+,\"message\":\"to=<a@example.edu>\"\\}\n$");
}
END_TEST

START_TEST(levels)
{
    open_log(LOG_FORMAT_TEXT, LOG_NOTICE);
    ck_assert(!log_wants(LOG_INFO));
    ck_assert(log_wants(LOG_NOTICE));
    ck_assert(log_wants(LOG_CRIT));
    log_write(LOG_INFO, "dropped");
    log_write(LOG_DEBUG, "dropped");
    ck_assert_str_eq(read_log(), "");
    log_write(LOG_ERR, "kept");
    ck_assert_ptr_nonnull(strstr(read_log(), "]: kept\n"));
}
END_TEST

static const struct {
    const char *in, *text, *escaped; /* as a log line; by log_escape() */
} escapes[] = {
    { "plain", "plain", "plain" },
    { "forged\r\nNov 21 18:48:48 host x[1]: lie", "forged\\x0d\\x0aNov 21 18:48:48 host x[1]: lie",
      "forged\\x0d\\x0aNov 21 18:48:48 host x[1]: lie" },
    { "\x1b[2J", "\\x1b[2J", "\\x1b[2J" },
    { "say \"hi\" \\o/", "say \"hi\" \\o/", "say \\x22hi\\x22 \\x5co/" },
    { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
    { "bad \xff\xc3", "bad \\xff\\xc3", "bad \\xff\\xc3" },
    { "nel \xc2\x85 ls \xe2\x80\xa8", "nel \\xc2\\x85 ls \\xe2\\x80\\xa8", "nel \\xc2\\x85 ls \\xe2\\x80\\xa8" },
    { "del \x7f", "del \\x7f", "del \\x7f" },
    { "trailing\n", "trailing", "trailing\\x0a" },
};

START_TEST(escaping)
{
    char out[256], line[300];

    ck_assert_str_eq(log_escape(out, sizeof out, escapes[_i].in, strlen(escapes[_i].in)), escapes[_i].escaped);
    open_log(LOG_FORMAT_TEXT, LOG_INFO);
    log_write(LOG_INFO, "%s", escapes[_i].in);
    snprintf(line, sizeof line, "]: %s\n", escapes[_i].text);
    const char *text = read_log();
    ck_assert_ptr_nonnull(strstr(text, line));
    ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(escape_is_cut_at_a_whole_character)
{
    char out[16];

    memset(out, 'x', sizeof out);
    log_escape(out, 6, "ab\n\n", 4);
    ck_assert_str_eq(out, "ab");
    log_escape(out, 4, "ab\xc3\xa9", 4);
    ck_assert_str_eq(out, "ab");
    log_escape(out, 5, "ab\xc3\xa9", 4);
    ck_assert_str_eq(out, "ab\xc3\xa9");
    log_bracketed(out, 8, "\"><\"", 4);
    ck_assert_str_eq(out, "\"\\x3e");
    log_escape(out, 1, "ab", 2);
    ck_assert_str_eq(out, "");
    out[0] = 'x';
    log_escape(out, 0, "ab", 2);
    ck_assert_int_eq(out[0], 'x');
    log_escape(out, sizeof out, "a\0b", 3);
    ck_assert_str_eq(out, "a\\x00b");
}
END_TEST

START_TEST(longest_line)
{
    static char text[20000];

    memset(text, '\x01', sizeof text - 1);
    open_log(_i == 0 ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON, LOG_INFO);
    log_write(LOG_INFO, "%s", text);
    const char *line = read_log();
    ck_assert_uint_gt(strlen(line), 16000);
    ck_assert_ptr_nonnull(strstr(line, _i == 0 ? "\\x01...\n" : "\\x01...\"}\n"));
    ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
}
END_TEST

START_TEST(reopening_follows_a_rename)
{
    char renamed[80];

    snprintf(renamed, sizeof renamed, "%s.1", path);
    open_log(LOG_FORMAT_TEXT, LOG_INFO);
    log_write(LOG_INFO, "before");
    ck_assert_int_eq(rename(path, renamed), 0);
    log_write(LOG_INFO, "still the old one");
    log_reopen();
    log_write(LOG_INFO, "after");
    ck_assert_ptr_nonnull(strstr(read_log(), "]: after\n"));
    ck_assert_ptr_null(strstr(content, "old one"));
    unlink(renamed);
}
END_TEST

START_TEST(unwritable_file_keeps_the_old_log)
{
    open_log(LOG_FORMAT_TEXT, LOG_INFO);
    log_open(&(struct log_options){ .ident = "x", .node = "x", .file = "/nonexistent/weir.log", .level = LOG_INFO });
    log_write(LOG_INFO, "not lost");
    ck_assert_ptr_nonnull(strstr(read_log(), "cannot open log file /nonexistent/weir.log: No such file or directory\n"));
    ck_assert_ptr_nonnull(strstr(content, "not lost\n"));
}
END_TEST

START_TEST(processes_do_not_mix_lines)
{
    static char text[3000];

    memset(text, 'y', sizeof text - 1);
    open_log(LOG_FORMAT_TEXT, LOG_INFO);
    for (int child = 0; child < 4; child++)
        if (fork() == 0) {
            for (int i = 0; i < 10; i++)
                log_write(LOG_INFO, "%s.", text);
            _exit(0);
        }
    for (int child = 0; child < 4; child++)
        wait(NULL);
    int lines = 0;
    read_log();
    for (char *line = strtok(content, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++)
        check_matches(line, "\\]: y+\\.$");
    ck_assert_int_eq(lines, 40);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tests = tcase_create("log");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, text_shape);
    tcase_add_test(tests, json_shape);
    tcase_add_loop_test(tests, json_events, 0, sizeof events / sizeof events[0]);
    tcase_add_loop_test(tests, another_program, 0, 2);
    tcase_add_test(tests, levels);
    tcase_add_loop_test(tests, escaping, 0, sizeof escapes / sizeof escapes[0]);
    tcase_add_test(tests, escape_is_cut_at_a_whole_character);
    tcase_add_loop_test(tests, longest_line, 0, 2);
    tcase_add_test(tests, reopening_follows_a_rename);
    tcase_add_test(tests, unwritable_file_keeps_the_old_log);
    tcase_add_test(tests, processes_do_not_mix_lines);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

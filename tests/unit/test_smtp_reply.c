/*
 * test_smtp_reply.c - replies written and read, EHLO keywords, dot stuffing
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/parser.h"
#include "edge/smtp/reply.h"
#include "tests/unit/suite.h"

#define X100 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X400 X100 X100 X100 X100
#define X500 X400 X100

static const struct {
    size_t cap;
    int code;
    const char *enhanced, *text, *expected;
} formats[] = {
    { 512, 250, "2.0.0", "Ok", "250 2.0.0 Ok\r\n" },
    { 512, 220, NULL, "mx ESMTP", "220 mx ESMTP\r\n" },
    { 512, 250, NULL, "mx\nSIZE 1\nPIPELINING", "250-mx\r\n250-SIZE 1\r\n250 PIPELINING\r\n" },
    { 512, 550, "5.7.1", "one\ntwo", "550-5.7.1 one\r\n550 5.7.1 two\r\n" },
    { 512, 550, "5.7.1", "a\rb\tc\x7f", "550 5.7.1 a?b?c?\r\n" },
    { 512, 550, "5.7.1", "", "550 5.7.1 \r\n" },
    { 512, 250, NULL, "a\n", "250-a\r\n250 \r\n" },
    { 2048, 550, "5.7.1", X500, "550 5.7.1 " X500 "\r\n" }, /* 512 octets with CRLF */
    { 2048, 550, "5.7.1", X500 "yz\nb", "550-5.7.1 " X500 "\r\n550-5.7.1 yz\r\n550 5.7.1 b\r\n" },
    { 2048, 550, "5.7.1", X400 " " X400, "550-5.7.1 " X400 "\r\n550 5.7.1 " X400 "\r\n" },
    { 2048, 550, NULL, X500 "12345\u00fcz", "550-" X500 "12345\r\n550 \u00fcz\r\n" }, /* not one half of it */
    { 18, 250, NULL, "a\nb\nc", "250-a\r\n250 b\r\n" },
    { 21, 250, NULL, "a\nb\nc", "250-a\r\n250-b\r\n250 c\r\n" },
    { 13, 250, NULL, "a\nb\nc", "250 a\r\n" },
    { 9, 250, NULL, "abcdef", "250 abc\r\n" },
    { 6, 250, NULL, "abcdef", "250 \r\n" },
    { 5, 250, NULL, "abcdef", "" },
};

START_TEST(test_format)
{
    char *out = malloc(formats[_i].cap);
    ck_assert_ptr_nonnull(out);
    size_t len = smtp_reply_format(out, formats[_i].cap, formats[_i].code, formats[_i].enhanced, formats[_i].text);
    ck_assert_uint_eq(len, strlen(formats[_i].expected));
    ck_assert_int_eq(memcmp(out, formats[_i].expected, len), 0);
    free(out);
}
END_TEST

struct row {
    const char *input;
    size_t len;
    enum smtp_reply_status status;
    int code;
    const char *enhanced, *text;
    size_t rest; /* bytes behind the reply */
};
#define DONE(input, code, enhanced, text, rest)                                                                        \
    {                                                                                                                  \
        input, sizeof(input) - 1, SMTP_REPLY_DONE, code, enhanced, text, rest                                          \
    }
#define MORE(input)                                                                                                    \
    {                                                                                                                  \
        input, sizeof(input) - 1, SMTP_REPLY_MORE, 0, "", "", 0                                                        \
    }
#define BROKEN(input)                                                                                                  \
    {                                                                                                                  \
        input, sizeof(input) - 1, SMTP_REPLY_BROKEN, 0, "", "", 0                                                      \
    }

static const struct row rows[] = {
    DONE("250 Ok\r\n", 250, "", "Ok", 0),
    DONE("250 Ok\n", 250, "", "Ok", 0),
    DONE("250\r\n", 250, "", "", 0),
    DONE("250 \r\n", 250, "", "", 0),
    DONE("250 Ok\r\n354 Go\r\n", 250, "", "Ok", 8),
    DONE("250-a\r\n250-b\r\n250 c\r\n", 250, "", "a\nb\nc", 0),
    DONE("250-\r\n250 c\r\n", 250, "", "\nc", 0),
    DONE("550 5.1.1 No such user\r\n", 550, "5.1.1", "No such user", 0),
    DONE("550-5.1.1 No\r\n550 5.1.1 such user\r\n", 550, "5.1.1", "No\nsuch user", 0),
    DONE("550 5.1.1\r\n", 550, "5.1.1", "", 0),
    DONE("550 4.1.1 No\r\n", 550, "", "4.1.1 No", 0),
    DONE("550 5.1.1x No\r\n", 550, "", "5.1.1x No", 0),
    DONE("550 5.1234.1 No\r\n", 550, "", "5.1234.1 No", 0),
    DONE("550 5.1. No\r\n", 550, "", "5.1. No", 0),
    DONE("550 5.123.456 No\r\n", 550, "5.123.456", "No", 0),
    DONE("354 3.0.0 Go\r\n", 354, "", "3.0.0 Go", 0),
    DONE("250 a\0b\x1b[c\r\n", 250, "", "a?b?[c", 0),
    DONE("250 a\r\r\n", 250, "", "a?", 0),
    DONE("599 x\r\n", 599, "", "x", 0),
    MORE(""),
    MORE("2"),
    MORE("250 Ok"),
    MORE("250 Ok\r"),
    MORE("250-Ok\r\n"),
    MORE("250-Ok\r\n250"),
    BROKEN("\r\n"),
    BROKEN("25\r\n"),
    BROKEN("abc\r\n"),
    BROKEN("250_Ok\r\n"),
    BROKEN("2500 Ok\r\n"),
    BROKEN("199 x\r\n"),
    BROKEN("600 x\r\n"),
    BROKEN("000 x\r\n"),
    BROKEN("250-a\r\n550 b\r\n"),
    BROKEN("250-a\r\nb\r\n"),
    BROKEN(" 250 a\r\n"),
};

/* Feeds step bytes at a time, keeping only what was not used, in a heap copy of exactly its size. Returns the bytes
 * behind the reply. */
static size_t feed(struct smtp_reply_parser *parser, const char *input, size_t len, size_t step,
                   enum smtp_reply_status *status)
{
    size_t start = 0;
    smtp_reply_parser_init(parser);
    *status = SMTP_REPLY_MORE;
    for (size_t end = 0; end < len && *status == SMTP_REPLY_MORE;) {
        end = len - end < step ? len : end + step;
        char *copy = malloc(end - start + 1);
        ck_assert_ptr_nonnull(copy);
        memmove(copy + 1, input + start, end - start);
        size_t used;
        *status = smtp_reply_parser_next(parser, copy + 1, end - start, &used);
        ck_assert_uint_le(used, end - start);
        start += used;
        free(copy);
    }
    return len - start;
}

START_TEST(test_rows)
{
    static const size_t steps[] = { 10000, 1, 2, 5 };
    const struct row *row = &rows[_i];
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct smtp_reply_parser parser;
        enum smtp_reply_status status;
        size_t rest = feed(&parser, row->input, row->len, steps[i], &status);
        ck_assert_msg(status == row->status, "%s: status %d", row->input, status);
        if (status != SMTP_REPLY_DONE)
            continue;
        ck_assert_int_eq(parser.reply.code, row->code);
        ck_assert_str_eq(parser.reply.enhanced, row->enhanced);
        ck_assert_str_eq(parser.reply.text, row->text);
        ck_assert_uint_eq(rest, row->rest);
    }
}
END_TEST

START_TEST(test_limits)
{
    struct smtp_reply_parser parser;
    enum smtp_reply_status status;
    static char text[SMTP_REPLY_LINES_MAX * 8 + 4096];

    memset(text, 'a', sizeof text);
    memcpy(text, "250 ", 4);
    memcpy(text + SMTP_REPLY_LINE_MAX - 2, "\r\n", 2);
    feed(&parser, text, SMTP_REPLY_LINE_MAX, 10000, &status);
    ck_assert_int_eq(status, SMTP_REPLY_DONE);
    ck_assert_uint_eq(strlen(parser.reply.text), SMTP_REPLY_TEXT_MAX - 1);
    memset(text, 'a', sizeof text);
    memcpy(text, "250 ", 4);
    for (size_t step = 1; step < 10000; step += 9000) {
        feed(&parser, text, SMTP_REPLY_LINE_MAX - 1, step, &status);
        ck_assert_int_eq(status, SMTP_REPLY_MORE);
        feed(&parser, text, SMTP_REPLY_LINE_MAX, step, &status);
        ck_assert_int_eq(status, SMTP_REPLY_BROKEN);
    }

    size_t len = 0;
    for (int i = 0; i < SMTP_REPLY_LINES_MAX; i++) {
        memcpy(text + len, "250-ab\r\n", 8);
        len += 8;
    }
    feed(&parser, text, len, 10000, &status);
    ck_assert_int_eq(status, SMTP_REPLY_MORE);
    memcpy(text + len, "250 c\r\n", 7);
    feed(&parser, text, len + 7, 10000, &status);
    ck_assert_int_eq(status, SMTP_REPLY_BROKEN);
    text[len - 5] = ' ';
    feed(&parser, text, len, 1, &status);
    ck_assert_int_eq(status, SMTP_REPLY_DONE);
}
END_TEST

static struct smtp_extensions offers(const char *wire)
{
    struct smtp_reply_parser parser;
    enum smtp_reply_status status;
    feed(&parser, wire, strlen(wire), 1, &status);
    ck_assert_int_eq(status, SMTP_REPLY_DONE);
    return parser.reply.extensions;
}

START_TEST(test_extensions)
{
    struct smtp_extensions e;
    e = offers("250-mx.example.edu PIPELINING\r\n250-pipelining\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-STARTTLS\r\n250-CHUNKING\r\n"
               "250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-SIZE 52428800\r\n250-AUTH PLAIN\r\n250 X-FOO\r\n");
    ck_assert(e.pipelining && e.eightbitmime && e.smtputf8 && e.starttls && e.chunking && e.enhanced_status && e.dsn &&
              e.has_size);
    ck_assert(e.size == 52428800);
    e = offers("250 PIPELINING\r\n");
    ck_assert(!e.pipelining && !e.has_size);
    e = offers("250\r\n");
    ck_assert(!e.pipelining);
    e = offers("250-mx\r\n250-PIPELININGS\r\n250-8BITMIM\r\n250-DSN x\r\n250 SIZE\r\n");
    ck_assert(!e.pipelining && !e.eightbitmime && e.dsn && e.has_size && e.size == 0);
    e = offers("250-mx\r\n250 SIZE 1k\r\n");
    ck_assert(!e.has_size);
    e = offers("250-mx\r\n250 SIZE 99999999999999999999999\r\n");
    ck_assert(e.has_size && e.size == UINT64_MAX);
    e = offers("250-mx\r\n250-\r\n250-\r\n250 DSN\r\n");
    ck_assert(e.dsn);
    e = offers("220-mx\r\n220 DSN\r\n");
    ck_assert(!e.dsn);
    e = offers("250-mx\r\n250-xweir 0123456789abcdef\r\n250 DSN\r\n");
    ck_assert_str_eq(e.cluster, "0123456789abcdef");
    e = offers("250-mx\r\n250-XWEIR\r\n250-XWEIRD x\r\n250 DSN\r\n");
    ck_assert_str_eq(e.cluster, "");
    e = offers("250-mx\r\n250 XWEIR 0123456789abcdef0123456789abcdef0\r\n"); /* longer than ours may be */
    ck_assert_str_eq(e.cluster, "");
}
END_TEST

/* What comes after the text is full counts as well. */
START_TEST(test_many_extensions)
{
    char wire[8192];
    int len = sprintf(wire, "250-mx\r\n");
    for (int i = 0; i < 60; i++)
        len += sprintf(wire + len, "250-X-VENDOR-EXTENSION-NUMBER-%02d WITH PARAMETERS\r\n", i);
    sprintf(wire + len, "250-SIZE 1000\r\n250-PIPELINING\r\n250 STARTTLS\r\n");
    struct smtp_extensions e = offers(wire);
    ck_assert(e.pipelining && e.starttls && e.has_size && e.size == 1000);
}
END_TEST

static const char *const stuffs[][2] = {
    { "", "" },
    { ".", ".." },
    { "a.b\r\n", "a.b\r\n" },
    { ".\r\n", "..\r\n" },
    { "a\r\n.\r\n..\r\n.b\r\n\r\n.", "a\r\n..\r\n...\r\n..b\r\n\r\n.." },
};

/* In pieces of every size; and the server's parser gives back what was put in. */
START_TEST(test_dot_stuff)
{
    const char *in = stuffs[_i][0];
    size_t len = strlen(in);
    for (size_t step = 1; step <= len + 1; step++) {
        char out[64];
        size_t used = 0;
        bool at_line_start = true;
        for (size_t pos = 0; pos < len; pos += step) {
            size_t piece = len - pos < step ? len - pos : step;
            char *copy = malloc(piece), *stuffed = malloc(2 * piece);
            ck_assert(copy != NULL && stuffed != NULL);
            memcpy(copy, in + pos, piece);
            size_t written = smtp_dot_stuff(stuffed, copy, piece, &at_line_start);
            memcpy(out + used, stuffed, written);
            used += written;
            free(copy);
            free(stuffed);
        }
        out[used] = '\0';
        ck_assert_str_eq(out, stuffs[_i][1]);

        memcpy(out + used, "\r\n.\r\n", 5);
        struct smtp_parser parser;
        struct smtp_token token;
        char back[64];
        size_t back_len = 0, pos = 0;
        smtp_parser_init(&parser, 64, 0);
        smtp_parser_enter_data(&parser);
        do {
            pos += smtp_parser_next(&parser, out + pos, used + 5 - pos, &token);
            if (token.event == SMTP_BODY) {
                memcpy(back + back_len, token.bytes, token.len);
                back_len += token.len;
            }
        } while (token.event == SMTP_BODY);
        ck_assert_int_eq(token.event, SMTP_END_OF_DATA);
        ck_assert_uint_eq(pos, used + 5);
        ck_assert_uint_eq(back_len, len + 2);
        ck_assert_int_eq(memcmp(back, in, len), 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("smtp_reply");
    TCase *tcase = tcase_create("reply");
    tcase_add_loop_test(tcase, test_format, 0, sizeof formats / sizeof formats[0]);
    tcase_add_loop_test(tcase, test_rows, 0, sizeof rows / sizeof rows[0]);
    tcase_add_test(tcase, test_limits);
    tcase_add_test(tcase, test_extensions);
    tcase_add_test(tcase, test_many_extensions);
    tcase_add_loop_test(tcase, test_dot_stuff, 0, sizeof stuffs / sizeof stuffs[0]);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

/*
 * test_smtp_lenient.c - what the handoff listener forgives, and what it makes of it: parser, header, command lines
 *
 * Every input whole and in pieces of 1, 2, 3 and 7 bytes, from heap copies of exact size: the same result. Tokens are written as "C(line)",
 * "B(body)", "E" and "X(line)"; CR, LF and NUL as \r, \n, \0.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "edge/smtp/command.h"
#include "edge/smtp/leniency.h"
#include "edge/smtp/mend.h"
#include "edge/smtp/parser.h"
#include "tests/unit/suite.h"

struct text {
    char bytes[16384];
    size_t len;
};

static void put(struct text *text, const char *bytes, size_t len)
{
    ck_assert_uint_lt(text->len + len, sizeof text->bytes);
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
    text->bytes[text->len] = '\0';
}

static void put_escaped(struct text *text, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] == '\r')
            put(text, "\\r", 2);
        else if (bytes[i] == '\n')
            put(text, "\\n", 2);
        else if (bytes[i] == '\0')
            put(text, "\\0", 2);
        else
            put(text, bytes + i, 1);
}

struct script {
    struct smtp_parser parser;
    struct text out;
    bool in_body, between_chunks;
};

static void on_token(struct script *s, const struct smtp_token *token)
{
    char line[64], last[8] = "";
    unsigned long long size;
    if (s->in_body && token->event != SMTP_BODY && token->event != SMTP_NEED_MORE) {
        put(&s->out, ")", 1);
        s->in_body = false;
    }
    switch (token->event) {
    case SMTP_COMMAND:
        snprintf(line, sizeof line, "%.*s", (int)token->len, token->bytes);
        put(&s->out, "C(", 2);
        put_escaped(&s->out, token->bytes, token->len);
        put(&s->out, ")", 1);
        if (strcmp(line, "DATA") == 0) {
            smtp_parser_enter_data(&s->parser);
        } else if (sscanf(line, "BDAT %llu %7s", &size, last) >= 1) {
            smtp_parser_enter_bdat(&s->parser, size, !s->between_chunks);
            s->between_chunks = strcmp(last, "LAST") != 0;
        }
        return;
    case SMTP_BODY:
        ck_assert_uint_gt(token->len, 0);
        if (!s->in_body)
            put(&s->out, "B(", 2);
        s->in_body = true;
        put_escaped(&s->out, token->bytes, token->len);
        return;
    case SMTP_END_OF_DATA:
        ck_assert_uint_eq(s->parser.violations, 0);
        put(&s->out, s->parser.eightbit ? "E8" : "E", s->parser.eightbit ? 2 : 1);
        return;
    case SMTP_BAD_LINE:
        put(&s->out, "X(", 2);
        put_escaped(&s->out, token->bytes, token->len);
        put(&s->out, ")", 1);
        return;
    case SMTP_NEED_MORE:
        return;
    }
}

static void play(struct script *s, const char *input, size_t len, size_t step)
{
    char *left = NULL;
    size_t left_len = 0;
    *s = (struct script){ 0 };
    smtp_parser_init(&s->parser, 24, 30);
    s->parser.lenient = true;
    for (size_t pos = 0; pos < len; pos += step) {
        size_t add = len - pos < step ? len - pos : step;
        char *buf = xmalloc(left_len + add);
        if (left_len > 0)
            memcpy(buf, left, left_len);
        memcpy(buf + left_len, input + pos, add);
        free(left);
        left = buf;
        left_len += add;
        struct smtp_token token;
        do {
            size_t used = smtp_parser_next(&s->parser, left, left_len, &token);
            ck_assert_uint_le(used, left_len);
            on_token(s, &token);
            char *rest = xmalloc(left_len - used + 1);
            memcpy(rest, left + used, left_len - used);
            rest = xrealloc(rest, left_len - used > 0 ? left_len - used : 1);
            free(left);
            left = rest;
            left_len -= used;
        } while (token.event != SMTP_NEED_MORE);
        ck_assert_uint_le(left_len, 24);
    }
    if (s->in_body)
        put(&s->out, ")", 1);
    free(left);
}

#define TEN "1234567890"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LINE_995 HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN "12345"
#define ROW(name, input, expected) { name, input, sizeof(input) - 1, expected }

static const struct {
    const char *name, *input;
    size_t len;
    const char *expected;
} rows[] = {
    ROW("commands in LF", "HELO a\nNOOP\r\nRSET\n", "C(HELO a)C(NOOP)C(RSET)"),
    ROW("CRs before the end", "NOOP\r\r\nRSET\r\r\r\n", "C(NOOP)C(RSET)"),
    ROW("CR inside", "NO\rOP\nRSET\n", "X(NO\\rOP)C(RSET)"),
    ROW("NUL in a command", "NO\0OP\nRSET\n", "X(NO\\0OP)C(RSET)"),
    ROW("too long", "1234567890123456789012345\nRSET\n", "X(123456789012345678901234)C(RSET)"),

    ROW("all in LF", "DATA\na: b\n\nc\n.\nQUIT\n", "C(DATA)B(a: b\\r\\n\\r\\nc\\r\\n)EC(QUIT)"),
    ROW("LF in the message only", "DATA\r\na\n\nc\n.\nQUIT\r\n", "C(DATA)B(a\\r\\n\\r\\nc\\r\\n)EC(QUIT)"),
    ROW("LF, ended by LF.CRLF", "DATA\r\na\nc\n.\r\nQUIT\r\n", "C(DATA)B(a\\r\\nc\\r\\n)EC(QUIT)"),
    ROW("LF, ended by CRLF.CRLF", "DATA\r\na\nc\r\n.\r\nQUIT\r\n", "C(DATA)B(a\\r\\nc\\r\\n)EC(QUIT)"),
    ROW("correct", "DATA\r\na\r\n..b\r\n.\r\nQUIT\r\n", "C(DATA)B(a\\r\\n.b\\r\\n)EC(QUIT)"),
    ROW("empty", "DATA\r\n.\r\nQUIT\r\n", "C(DATA)EC(QUIT)"),
    ROW("empty in LF", "DATA\n.\nQUIT\n", "C(DATA)EC(QUIT)"),
    ROW("stuffed in LF", "DATA\n..\n..b\n.c\n.\n", "C(DATA)B(.\\r\\n.b\\r\\nc\\r\\n)E"),
    ROW("CR CRLF", "DATA\r\na\r\r\nb\r\r\r\n.\r\n", "C(DATA)B(a\\r\\nb\\r\\n)E"),
    ROW("all in CR CRLF", "DATA\r\r\na: b\r\r\n\r\r\n..c\r\r\n.\r\r\nQUIT\r\r\n", "C(DATA)B(a: b\\r\\n\\r\\n.c\\r\\n)EC(QUIT)"),
    ROW("CR CRLF in the message only", "DATA\r\na\r\r\n.\r\r\nQUIT\r\n", "C(DATA)B(a\\r\\n)EC(QUIT)"),
    ROW("more CRs in front of LF", "DATA\r\na\r\r\r\n.\r\r\nQUIT\r\n", "C(DATA)B(a\\r\\n)EC(QUIT)"),
    ROW("empty in CR CRLF", "DATA\r\r\n.\r\r\nQUIT\r\r\n", "C(DATA)EC(QUIT)"),
    ROW("CR alone", "DATA\r\na\rb\r\r\rc\r\n.\r\n", "C(DATA)B(a b c\\r\\n)E"),
    ROW("NUL", "DATA\r\n\0a\0\0b\0\r\n.\r\n", "C(DATA)B(ab\\r\\n)E"),
    ROW("eight bits", "DATA\r\n\xe4\r\n.\r\nDATA\r\na\r\n.\r\n", "C(DATA)B(\xe4\\r\\n)E8C(DATA)B(a\\r\\n)E"),
    ROW("longest line", "DATA\r\n" LINE_995 "678\r\n.\r\n", "C(DATA)B(" LINE_995 "678\\r\\n)E"),
    ROW("one too long", "DATA\r\n" LINE_995 "6789\r\n.\r\n", "C(DATA)B(" LINE_995 "678\\r\\n 9\\r\\n)E"),
    ROW("longest line in LF", "DATA\n" LINE_995 "678\n.\n", "C(DATA)B(" LINE_995 "678\\r\\n)E"),
    ROW("a character at the border", "DATA\r\n" LINE_995 "\xf0\x9f\x90\x9fz\r\n.\r\n",
        "C(DATA)B(" LINE_995 "\\r\\n \xf0\x9f\x90\x9fz\\r\\n)E8"),
    ROW("bare CR at the border", "DATA\r\n" LINE_995 "678\r9\r\n.\r\n", "C(DATA)B(" LINE_995 "678\\r\\n 9\\r\\n)E"),
    ROW("a dot at the border", "DATA\r\n" LINE_995 "678.\r\n.\r\n", "C(DATA)B(" LINE_995 "678\\r\\n .\\r\\n)E"),

    /* smuggling: a client that ends its lines in CRLF has one end of data, whatever it passes on */
    ROW("LF . LF", "DATA\r\na\r\nb\n.\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\nb\\r\\n.\\r\\nRSET\\r\\n)E"),
    ROW("LF . CRLF", "DATA\r\na\r\nb\n.\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\nb\\r\\n.\\r\\nRSET\\r\\n)E"),
    ROW("CRLF . LF", "DATA\r\na\r\n.\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n\\r\\nRSET\\r\\n)E"),
    ROW("CR . CR", "DATA\r\na\r.\rRSET\r\n.\r\n", "C(DATA)B(a . RSET\\r\\n)E"),
    ROW("CR . CRLF", "DATA\r\na\r.\r\nRSET\r\n.\r\n", "C(DATA)B(a .\\r\\nRSET\\r\\n)E"),
    ROW("CR . LF", "DATA\r\na\r.\nRSET\r\n.\r\n", "C(DATA)B(a .\\r\\nRSET\\r\\n)E"),
    ROW("CRLF . CR", "DATA\r\na\r\n.\rRSET\r\n.\r\n", "C(DATA)B(a\\r\\n RSET\\r\\n)E"),
    ROW("CRLF . CR CRLF", "DATA\r\na\r\n.\r\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n\\r\\nRSET\\r\\n)E"),
    ROW("CRLF NUL . CRLF", "DATA\r\na\r\n\0.\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n.\\r\\nRSET\\r\\n)E"),
    ROW("CRLF . NUL CRLF", "DATA\r\na\r\n.\0\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n\\r\\nRSET\\r\\n)E"),
    ROW("CR NUL LF . CRLF", "DATA\r\na\r\nb\r\0\n.\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\nb \\r\\n.\\r\\nRSET\\r\\n)E"),
    ROW("all in LF: NUL . LF, . NUL LF", "DATA\n\0.\n.\0\n.\n", "C(DATA)B(.\\r\\n\\r\\n)E"),

    ROW("CR CRLF . CR CRLF behind a line in CRLF", "DATA\r\na\r\nb\r\r\n.\r\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\nb\\r\\n\\r\\nRSET\\r\\n)E"),
    ROW("CR CRLF . CR CRLF behind a line in LF", "DATA\r\na\nb\r\r\n.\r\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\nb\\r\\n\\r\\nRSET\\r\\n)E"),
    ROW("CR CRLF . CR CR CRLF", "DATA\r\na\r\r\n.\r\r\r\nRSET\r\r\n.\r\r\n", "C(DATA)B(a\\r\\n\\r\\nRSET\\r\\n)E"),
    ROW("CR CRLF . CR LF CR LF", "DATA\r\na\r\r\n.\r\nRSET\r\n", "C(DATA)B(a\\r\\n)EC(RSET)"),
    ROW("CR CRLF . LF", "DATA\r\na\r\r\n.\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n\\r\\nRSET\\r\\n)E"),
    ROW("CR LF CR . CR CR LF", "DATA\r\na\r\r\n\r.\r\r\nb\r\r\n.\r\r\n", "C(DATA)B(a\\r\\n .\\r\\nb\\r\\n)E"),

    /* a dot behind a bare LF */
    ROW("all in LF: undone", "DATA\n.a\n..b\n...\n.\n", "C(DATA)B(a\\r\\n.b\\r\\n..\\r\\n)E"),
    ROW("LF within lines in CRLF: stays", "DATA\r\na\r\nb\n.c\n..d\n...\r\n..e\r\n.\r\n",
        "C(DATA)B(a\\r\\nb\\r\\n.c\\r\\n..d\\r\\n...\\r\\n.e\\r\\n)E"),
    ROW("header in CRLF, text in LF: stays", "DATA\r\na: b\r\n\r\n.c\n.d\n..\r\n.\r\n", "C(DATA)B(a: b\\r\\n\\r\\nc\\r\\n.d\\r\\n..\\r\\n)E"),
    ROW("LF up to the first CRLF", "DATA\n..a\n..b\r\nc\n..d\r\n.\r\n", "C(DATA)B(.a\\r\\n.b\\r\\nc\\r\\n..d\\r\\n)E"),
    ROW("LF within lines in CR CRLF: stays", "DATA\r\na\r\r\nb\n.c\r\r\n.\r\n", "C(DATA)B(a\\r\\nb\\r\\n.c\\r\\n)E"),

    ROW("chunk", "BDAT 9 LAST\r\n.\na\0b\rc\r\nNOOP\r\n", "C(BDAT 9 LAST)B(.\\r\\nab c\\r\\n)EC(NOOP)"),
    ROW("CRLF over a border", "BDAT 2\r\na\rBDAT 2 LAST\r\n\nbNOOP\n", "C(BDAT 2)B(a)EC(BDAT 2 LAST)B(\\r\\nb)EC(NOOP)"),
    ROW("CR at a border", "BDAT 2\r\na\rBDAT 1 LAST\r\nbNOOP\n", "C(BDAT 2)B(a)EC(BDAT 1 LAST)B( b)EC(NOOP)"),
    ROW("only NULs", "BDAT 2\r\n\0\0BDAT 0 LAST\r\nNOOP\n", "C(BDAT 2)EC(BDAT 0 LAST)EC(NOOP)"),
};

static const size_t steps[] = { 100000, 1, 2, 3, 7 };

START_TEST(test_rows)
{
    static struct script script;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        play(&script, rows[_i].input, rows[_i].len, steps[i]);
        ck_assert_msg(strcmp(script.out.bytes, rows[_i].expected) == 0, "%s, step %zu: %s", rows[_i].name, steps[i], script.out.bytes);
    }
}
END_TEST

/* What ends a run is found wherever it stands: text is looked at eight bytes at a time, and one by one where there are not so many. */
START_TEST(test_every_place)
{
    static const char *const found[] = { "\r\n.\r", "\n.", "\r\r\n.", "\ra", "\t\x0f\x10", "\xc3\xa9", "\xf0\x9f\x90\x9f", ".", "\x80\xff" };
    static struct script whole, single;
    char input[1100] = "DATA\r\n";
    for (size_t before = 8 * (size_t)_i; before < 8 * (size_t)_i + 8; before++)
        for (size_t i = 0; i <= sizeof found / sizeof *found; i++) {
            size_t len = 6, add = i == 0 ? 1 : strlen(found[i - 1]);
            memset(input + len, 'x', before);
            memcpy(input + (len += before), i == 0 ? "" : found[i - 1], add); /* the first: a NUL */
            memset(input + (len += add), 'y', 17);
            memcpy(input + (len += 17), "\r\n.\r\n", 5);
            play(&whole, input, len + 5, sizeof input);
            play(&single, input, len + 5, 4); /* at most 3 wait for what comes behind them */
            ck_assert_msg(strcmp(whole.out.bytes, single.out.bytes) == 0, "%zu behind %zu: %s", i, before, whole.out.bytes);
            ck_assert_uint_eq(whole.parser.forgiven, single.parser.forgiven);
        }
}
END_TEST

/* A correct message goes through in one piece, not line by line. */
START_TEST(test_one_piece)
{
    struct smtp_parser parser;
    struct smtp_token token;
    static const char text[] = "Subject: a\r\n\r\nb\r\nc\r\n.\r\n";
    smtp_parser_init(&parser, 2048, 0);
    parser.lenient = true;
    smtp_parser_enter_data(&parser);
    ck_assert_uint_eq(smtp_parser_next(&parser, text, sizeof text - 1, &token), sizeof text - 4);
    ck_assert_ptr_eq(token.bytes, text);
}
END_TEST

/* ---- header ---- */

#define D "Date: now\r\n"
#define I "Message-ID: <id>\r\n"
#define F "From: <a@b>\r\n"

static const struct {
    const char *name, *input, *expected;
} headers[] = {
    { "whole", "From: x\r\nDate: y\r\nMessage-Id: z\r\n\r\nbody\r\n", "From: x\r\nDate: y\r\nMessage-Id: z\r\n\r\nbody\r\n" },
    { "all is missing", "Subject: s\r\n\r\nbody\r\n", "Subject: s\r\n" D I F "\r\nbody\r\n" },
    { "nothing at all", "", D I F "\r\n" },
    { "no header", "hello\r\nyou\r\n", D I F "\r\nhello\r\nyou\r\n" },
    { "text with a blank", "hello you: all\r\n", D I F "\r\nhello you: all\r\n" },
    { "no text", "\r\n", D I F "\r\n" },
    { "only a header", "date: y\r\n", "date: y\r\n" I F "\r\n" },
    { "an unended field", "date: y", "date: y\r\n" I F "\r\n" },
    { "an unended line that is none", "date: y\r\nabc", "date: y\r\n" I F "\r\nabc" },
    { "no separator", "Date: y\r\nhello you\r\nSubject: no\r\n", "Date: y\r\n" I F "\r\nhello you\r\nSubject: no\r\n" },
    { "no name", ": y\r\n\r\n", D I F "\r\n: y\r\n\r\n" },
    { "not ASCII", "Gr\xc3\xb6sse: y\r\n", D I F "\r\nGr\xc3\xb6sse: y\r\n" },
    { "twice, folded", "Date: 1\r\n 1\r\nDATE: 2\r\n\t2\r\nmessage-id: 3\r\nX: y\r\n z\r\nMessage-ID : 4\r\nFrom: a\r\nFrom: b\r\n\r\nDate: 5\r\n",
      "Date: 1\r\n 1\r\nmessage-id: 3\r\nX: y\r\n z\r\nFrom: a\r\nFrom: b\r\n\r\nDate: 5\r\n" },
    { "white space before the colon", "Date \t: 1\r\nX : y\r\n\r\n", "Date \t: 1\r\nX : y\r\n" I F "\r\n" },
    { "begins with white space", " a: b\r\nc: d\r\n", D I F "\r\n a: b\r\nc: d\r\n" },
    { "mbox line", "From me Mon Jan 1\r\nDate: 1\r\nFrom you Tue\r\n", "Date: 1\r\n" I F "\r\nFrom you Tue\r\n" },
    { "names that only begin so", "Dated: 1\r\nFromm: 2\r\n\r\n", "Dated: 1\r\nFromm: 2\r\n" D I F "\r\n" },
    { "longest name", LINE_995 "67\r\n", D I F "\r\n" LINE_995 "67\r\n" },
    { "a long name", LINE_995 "67:\r\n\r\n", LINE_995 "67:\r\n" D I F "\r\n" },
};

static void on_put(void *arg, const char *bytes, size_t len)
{
    ck_assert_uint_gt(len, 0);
    put(arg, bytes, len);
}

START_TEST(test_header)
{
    static struct text out;
    size_t len = strlen(headers[_i].input);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct smtp_mender mender = { .missing = { D, I, F }, .single = true, .put = on_put, .arg = &out };
        out.len = 0;
        out.bytes[0] = '\0';
        for (size_t pos = 0; pos < len; pos += steps[i]) {
            size_t piece = len - pos < steps[i] ? len - pos : steps[i];
            char *copy = xmemdup(headers[_i].input + pos, piece);
            smtp_mender_feed(&mender, copy, piece);
            free(copy);
        }
        smtp_mender_finish(&mender);
        ck_assert_msg(strcmp(out.bytes, headers[_i].expected) == 0, "%s, step %zu: %s", headers[_i].name, steps[i], out.bytes);
    }
}
END_TEST

/* As for submission: nothing goes, and From is not our business. */
START_TEST(test_header_keeps)
{
    static struct text out;
    struct smtp_mender mender = { .missing = { D, I, NULL }, .put = on_put, .arg = &out };
    out.len = 0;
    smtp_mender_feed(&mender, "Date: 1\r\nDate: 2\r\nBcc: b@c\r\n\r\n", 30);
    smtp_mender_finish(&mender);
    ck_assert_str_eq(out.bytes, "Date: 1\r\nDate: 2\r\nBcc: b@c\r\n" I "\r\n");
}
END_TEST

/* ---- commands ---- */

static const struct {
    const char *line;
    int code, strict_code;
    const char *said; /* address or domain */
} commands[] = {
    { "HELO printer", 0, 0, "printer" },
    { "HELO", 0, 501, "" },
    { "EHLO my printer", 0, 501, "my" },
    { "EHLO \xff", 0, 501, "" },
    { "MAIL FROM:<a@b.test>", 0, 0, "a@b.test" },
    { "MAIL FROM:<>", 0, 0, "" },
    { "MAIL FROM:a@b.test", 0, 501, "a@b.test" },
    { "MAIL FROM: a@b.test SIZE=10", 0, 501, "a@b.test" },
    { "MAIL FROM : <a@b.test> SIZE=10", 0, 501, "a@b.test" },
    { "mail from:< a@b.test > BODY=8BITMIME", 0, 501, "a@b.test" },
    { "MAIL FROM:root", 0, 501, "root@site.test" },
    { "MAIL FROM:<root>", 0, 501, "root@site.test" },
    { "MAIL FROM:\"a b\"@b.test", 0, 501, "\"a b\"@b.test" },
    { "MAIL FROM:<\"a>b\"@b.test> SIZE=1", 0, 0, "\"a>b\"@b.test" },
    { "RCPT TO:postmaster", 0, 501, "postmaster" },
    { "RCPT TO:<postmaster>", 0, 0, "postmaster" },
    { "RCPT TO:u@b.test NOTIFY=NEVER", 0, 501, "u@b.test" },
    { "RCPT TO:u", 0, 501, "u@site.test" },
    { "RCPT TO:<@x.test:u@b.test>", 0, 0, "u@b.test" },
    { "MAIL FROM:", 501, 501, NULL },
    { "MAIL FROM", 501, 501, NULL },
    { "RCPT TO:<>", 501, 501, NULL },
    { "RCPT TO:<u@b.test", 501, 501, NULL },
    { "RCPT TO:u@b.test>", 501, 501, NULL },
    { "RCPT TO:<u v@b.test>", 501, 501, NULL },
    { "RCPT TO:<u@b.test>x", 501, 501, NULL },
    { "RCPT TO:u@b.test, v@b.test", 501, 501, NULL },
    { "RCPT TO:u@b..test", 501, 501, NULL },
    { "MAIL FROM:\xc3\xb6@b.test", 553, 501, NULL },
    { "MAIL FROM:a@b.test NONSENSE", 555, 501, NULL },
    { "NONSENSE", 500, 500, NULL },
};

START_TEST(test_commands)
{
    struct smtp_command command;
    char address[SMTP_ADDRESS_MAX];
    const char *line = commands[_i].line;
    char *copy = xmemdup(line, strlen(line));
    struct smtp_complaint lenient = smtp_command_parse_lenient(&command, copy, strlen(line), false, "site.test");
    ck_assert_msg(lenient.code == commands[_i].code, "%s: %d %s", line, lenient.code, lenient.text);
    if (commands[_i].said != NULL)
        ck_assert_str_eq(command.verb == SMTP_VERB_MAIL || command.verb == SMTP_VERB_RCPT ? smtp_address_format(&command.address, address)
                                                                                       : command.domain, commands[_i].said);
    struct smtp_complaint strict = smtp_command_parse(&command, copy, strlen(line), false, true);
    ck_assert_msg(strict.code == commands[_i].strict_code, "strictly, %s: %d %s", line, strict.code, strict.text);
    free(copy);
}
END_TEST

/* ---- what was needed ---- */

static const struct {
    char how; /* 'D' data, 'C' a command line, 'L' its bytes, 'H' a header */
    const char *input;
    size_t len;
    unsigned needed;
} needs[] = {
#define NEED(how, input, needed) { how, input, sizeof input - 1, needed }
    NEED('L', "NOOP\r\n", 0),
    NEED('L', "NOOP\n", SMTP_LENIENCY_LF),
    NEED('L', "NOOP\r\r\n", SMTP_LENIENCY_CR),
    NEED('D', "a\r\n.b\r\n..\r\n\r\n.\r\n", 0),
    NEED('D', LINE_995 "678\r\n.\r\n", 0),
    NEED('D', LINE_995 "6789\r\n.\r\n", SMTP_LENIENCY_LONG_LINE),
    NEED('D', "a\nb\r\n.\r\n", SMTP_LENIENCY_LF),
    NEED('D', "a\n.\n", SMTP_LENIENCY_LF | SMTP_LENIENCY_LF_END),
    NEED('D', "a\n.\r\n", SMTP_LENIENCY_LF | SMTP_LENIENCY_LF_END),
    NEED('D', "a\rb\r\n.\r\n", SMTP_LENIENCY_CR),
    NEED('D', "a\r\r\n.\r\n", SMTP_LENIENCY_CR),
    NEED('D', "a\0\r\n.\r\n", SMTP_LENIENCY_NUL),
    NEED('D', "a\r\r\n.\r\r\n", SMTP_LENIENCY_CR | SMTP_LENIENCY_CR_END),
    NEED('D', ".\r\r\n", SMTP_LENIENCY_CR_END),
    NEED('C', "MAIL FROM:<a@b.test>", 0),
    NEED('C', "MAIL FROM: <a@b.test> SIZE=1", 0),
    NEED('C', "MAIL FROM:<>", 0),
    NEED('C', "RCPT TO:<postmaster>", 0),
    NEED('C', "EHLO client.test", 0),
    NEED('C', "MAIL FROM:a@b.test", SMTP_LENIENCY_PATH),
    NEED('C', "MAIL FROM:< a@b.test >", SMTP_LENIENCY_PATH),
    NEED('C', "MAIL FROM : <a@b.test>", SMTP_LENIENCY_PATH),
    NEED('C', "RCPT TO:<u>", SMTP_LENIENCY_DOMAIN),
    NEED('C', "RCPT TO:u", SMTP_LENIENCY_PATH | SMTP_LENIENCY_DOMAIN),
    NEED('C', "HELO", SMTP_LENIENCY_HELO),
    NEED('C', "HELO two words", SMTP_LENIENCY_HELO),
    NEED('H', D I F "\r\nx\r\n", 0),
    NEED('H', D I "\r\nx\r\n", SMTP_LENIENCY_MISSING_FIELD),
    NEED('H', D D I F "\r\nx\r\n", SMTP_LENIENCY_REPEATED_FIELD),
    NEED('H', D I F "x y\r\n", SMTP_LENIENCY_SEPARATOR),
    NEED('H', D I F, SMTP_LENIENCY_SEPARATOR),
    NEED('H', "From me Mon\r\n" D I F "\r\n", SMTP_LENIENCY_MBOX),
};

static unsigned needed_by_bytes(bool data, const char *input, size_t len, size_t step)
{
    struct smtp_parser parser;
    struct smtp_token token;
    smtp_parser_init(&parser, 1000, 0);
    parser.lenient = true;
    if (data)
        smtp_parser_enter_data(&parser);
    for (size_t at = 0, have = 0; have < len;) {
        have = len - have < step ? len : have + step;
        do
            at += smtp_parser_next(&parser, input + at, have - at, &token);
        while (token.event != SMTP_NEED_MORE && at < have);
    }
    return parser.forgiven;
}

START_TEST(test_what_was_needed)
{
    static struct text out;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct smtp_mender mender = { .missing = { D, I, F }, .single = true, .put = on_put, .arg = &out };
        struct smtp_command command;
        unsigned needed;
        out.len = 0;
        if (needs[_i].how == 'H') {
            smtp_mender_feed(&mender, needs[_i].input, needs[_i].len);
            smtp_mender_finish(&mender);
            needed = mender.forgiven;
        } else if (needs[_i].how == 'C') {
            ck_assert_int_eq(smtp_command_parse_lenient(&command, needs[_i].input, needs[_i].len, false, "site.test").code, 0);
            needed = command.forgiven;
        } else {
            needed = needed_by_bytes(needs[_i].how == 'D', needs[_i].input, needs[_i].len, steps[i]);
        }
        ck_assert_msg(needed == needs[_i].needed, "%s, step %zu: %x", needs[_i].input, steps[i], needed);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("smtp_lenient");
    TCase *tcase = tcase_create("lenient");
    tcase_add_loop_test(tcase, test_rows, 0, sizeof rows / sizeof rows[0]);
    tcase_add_loop_test(tcase, test_every_place, 0, 3);
    tcase_add_loop_test(tcase, test_every_place, SMTP_TEXT_LINE_MAX / 8 - 4, SMTP_TEXT_LINE_MAX / 8 + 1); /* where a line gets full */
    tcase_add_test(tcase, test_one_piece);
    tcase_add_loop_test(tcase, test_header, 0, sizeof headers / sizeof headers[0]);
    tcase_add_test(tcase, test_header_keeps);
    tcase_add_loop_test(tcase, test_what_was_needed, 0, sizeof needs / sizeof needs[0]);
    tcase_add_loop_test(tcase, test_commands, 0, sizeof commands / sizeof commands[0]);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

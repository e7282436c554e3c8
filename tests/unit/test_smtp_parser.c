/*
 * test_smtp_parser.c - every input whole and in pieces of 1, 2, 3 and 7 bytes, from heap copies of exact size: the same
 * tokens
 *
 * A script plays the session: the line DATA enters data, "BDAT n" a first or further chunk, "BDAT n LAST" the last one.
 * Tokens are written as text: "C(line)", "B(body)", "E" with the violations (L F, R CR, N UL, W too long) and "-" when
 * the end is not CRLF, "X" with the reason.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/parser.h"
#include "tests/unit/suite.h"

#define MAX_COMMAND 20
#define MAX_TEXT    40

struct script {
    struct smtp_parser parser;
    bool between_chunks; /* a message in BDAT has begun */
    bool in_body;        /* the last thing written is an open "B(" */
    bool last_chunk;
    char text[4096];
    size_t len;
};

static void put(struct script *s, const char *text)
{
    size_t len = strlen(text);
    ck_assert_uint_lt(s->len + len, sizeof s->text);
    memcpy(s->text + s->len, text, len + 1);
    s->len += len;
}

static void put_bytes(struct script *s, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char piece[8];
        switch (bytes[i]) {
        case '\r':
            put(s, "\\r");
            break;
        case '\n':
            put(s, "\\n");
            break;
        case '\0':
            put(s, "\\0");
            break;
        default:
            snprintf(piece, sizeof piece, "%c", bytes[i]);
            put(s, piece);
        }
    }
}

static void on_command(struct script *s, const char *line, size_t len)
{
    char copy[MAX_COMMAND + 1], last[8] = "";
    unsigned long long size;
    snprintf(copy, sizeof copy, "%.*s", (int)len, line);
    if (strcmp(copy, "DATA") == 0) {
        smtp_parser_enter_data(&s->parser);
        s->last_chunk = true;
    } else if (sscanf(copy, "BDAT %llu %7s", &size, last) >= 1) {
        smtp_parser_enter_bdat(&s->parser, size, !s->between_chunks);
        s->last_chunk = strcmp(last, "LAST") == 0;
        s->between_chunks = !s->last_chunk;
    }
}

static void on_token(struct script *s, const struct smtp_token *token)
{
    static const char *const bad[] = { "", "long", "lf", "cr", "nul" };
    if (s->in_body && token->event != SMTP_BODY && token->event != SMTP_NEED_MORE) {
        put(s, ")");
        s->in_body = false;
    }
    switch (token->event) {
    case SMTP_NEED_MORE:
        break;
    case SMTP_COMMAND:
        put(s, "C(");
        put_bytes(s, token->bytes, token->len);
        put(s, ")");
        on_command(s, token->bytes, token->len);
        break;
    case SMTP_BODY:
        ck_assert_uint_gt(token->len, 0);
        put(s, s->in_body ? "" : "B(");
        s->in_body = true;
        put_bytes(s, token->bytes, token->len);
        break;
    case SMTP_END_OF_DATA:
        put(s, "E");
        put(s, s->parser.violations & SMTP_VIOLATION_BARE_LF ? "L" : "");
        put(s, s->parser.violations & SMTP_VIOLATION_BARE_CR ? "R" : "");
        put(s, s->parser.violations & SMTP_VIOLATION_NUL ? "N" : "");
        put(s, s->parser.violations & SMTP_VIOLATION_LINE_TOO_LONG ? "W" : "");
        put(s, s->parser.ended_with_crlf ? "" : "-");
        break;
    case SMTP_BAD_LINE:
        put(s, "X");
        put(s, bad[token->bad]);
        put(s, "(");
        put_bytes(s, token->bytes, token->len);
        put(s, ")");
        break;
    }
}

static void play(struct script *s, const char *input, size_t len, size_t step)
{
    char *left = NULL; /* what the parser did not use yet, in an allocation of exactly its size */
    size_t left_len = 0;
    *s = (struct script){ 0 };
    smtp_parser_init(&s->parser, MAX_COMMAND, MAX_TEXT);
    for (size_t pos = 0; pos < len; pos += step) {
        size_t add = len - pos < step ? len - pos : step;
        char *buf = malloc(left_len + add);
        ck_assert_ptr_nonnull(buf);
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
            char *rest = malloc(left_len - used + (left_len == used));
            ck_assert_ptr_nonnull(rest);
            memcpy(rest, left + used, left_len - used);
            free(left);
            left = rest;
            left_len -= used;
        } while (token.event != SMTP_NEED_MORE);
        ck_assert_uint_le(left_len, MAX_COMMAND); /* what a caller must keep is bounded */
    }
    if (s->in_body)
        put(s, ")");
    free(left);
}

struct row {
    const char *name, *input;
    size_t len;
    const char *expected;
};
#define ROW(name, input, expected)                                                                                     \
    {                                                                                                                  \
        name, input, sizeof(input) - 1, expected                                                                       \
    }

static const struct row rows[] = {
    ROW("commands", "EHLO a\r\nNOOP\r\n\r\n", "C(EHLO a)C(NOOP)C()"),
    ROW("half a command", "EHLO a\r", ""),
    ROW("bare LF", "EHLO a\nNOOP\r\nRSET\r\n", "Xlf(EHLO a)C(RSET)"),
    ROW("LF alone", "\n\r\nRSET\r\n", "Xlf()C(RSET)"),
    ROW("two bare LF in one line", "A\nMAIL\nB\r\nRSET\r\n", "Xlf(A)C(RSET)"),
    ROW("bare CR", "EHLO a\rb\r\nRSET\r\n", "Xcr(EHLO a\\rb)C(RSET)"),
    ROW("CR before CRLF", "NOOP\r\r\nRSET\r\n", "Xcr(NOOP\\r)C(RSET)"),
    ROW("NUL", "NO\0OP\r\nRSET\r\n", "Xnul(NO\\0OP)C(RSET)"),
    ROW("longest line", "123456789012345678\r\nRSET\r\n", "C(123456789012345678)C(RSET)"),
    ROW("one too long", "1234567890123456789\r\nRSET\r\n", "Xlong(1234567890123456789\\r)C(RSET)"),
    ROW("much too long", "12345678901234567890123456789\r0\n\r\nRSET\r\n", "Xlong(12345678901234567890)C(RSET)"),
    ROW("too long, unended", "1234567890123456789012345\r", "Xlong(12345678901234567890)"),
    ROW("too long with a bare LF within", "1234567890\n12345678901234567890\r\nRSET\r\n", "Xlf(1234567890)C(RSET)"),

    ROW("empty message", "DATA\r\n.\r\nQUIT\r\n", "C(DATA)EC(QUIT)"),
    ROW("message", "DATA\r\na\r\n\r\nb\r\n.\r\nQUIT\r\n", "C(DATA)B(a\\r\\n\\r\\nb\\r\\n)EC(QUIT)"),
    ROW("dots unstuffed", "DATA\r\n..\r\n.a\r\na.\r\n...\r\n.\r\n", "C(DATA)B(.\\r\\na\\r\\na.\\r\\n..\\r\\n)E"),
    ROW("two messages", "DATA\r\na\n\r\n.\r\nDATA\r\nb\r\n.\r\n", "C(DATA)B(a\\n\\r\\n)ELC(DATA)B(b\\r\\n)E"),
    ROW("NUL in data", "DATA\r\na\0b\r\n.\r\n", "C(DATA)B(a\\0b\\r\\n)EN"),
    ROW("longest text line", "DATA\r\n12345678901234567890123456789012345678\r\n.\r\n",
        "C(DATA)B(12345678901234567890123456789012345678\\r\\n)E"),
    ROW("stuffed dot not counted", "DATA\r\n..2345678901234567890123456789012345678\r\n.\r\n",
        "C(DATA)B(.2345678901234567890123456789012345678\\r\\n)E"),
    ROW("text line too long", "DATA\r\n123456789012345678901234567890123456789\r\na\r\n.\r\n",
        "C(DATA)B(123456789012345678901234567890123456789\\r\\na\\r\\n)EW"),

    /* smuggling: none of these ends the message, and each leaves its mark */
    ROW("LF . LF", "DATA\r\na\n.\nRSET\r\n.\r\n", "C(DATA)B(a\\n.\\nRSET\\r\\n)EL"),
    ROW("LF . CRLF", "DATA\r\na\n.\r\nRSET\r\n.\r\n", "C(DATA)B(a\\n.\\r\\nRSET\\r\\n)EL"),
    ROW("CRLF . LF", "DATA\r\na\r\n.\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n\\nRSET\\r\\n)EL"),
    ROW("CR . CR", "DATA\r\na\r.\rRSET\r\n.\r\n", "C(DATA)B(a\\r.\\rRSET\\r\\n)ER"),
    ROW("CR . CRLF", "DATA\r\na\r.\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r.\\r\\nRSET\\r\\n)ER"),
    ROW("CRLF . CR", "DATA\r\na\r\n.\rRSET\r\n.\r\n", "C(DATA)B(a\\r\\n\\rRSET\\r\\n)ER"),
    ROW("CR . LF", "DATA\r\na\r.\nRSET\r\n.\r\n", "C(DATA)B(a\\r.\\nRSET\\r\\n)ELR"),
    ROW("LF . CR", "DATA\r\na\n.\rRSET\r\n.\r\n", "C(DATA)B(a\\n.\\rRSET\\r\\n)ELR"),
    ROW("CRLF . CR CRLF", "DATA\r\na\r\n.\r\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n\\r\\r\\nRSET\\r\\n)ER"),
    ROW("CR CRLF . CRLF", "DATA\r\na\r\r\n.\r\nRSET\r\n", "C(DATA)B(a\\r\\r\\n)ERC(RSET)"),
    ROW("CRLF . NUL CRLF", "DATA\r\na\r\n.\0\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n\\0\\r\\nRSET\\r\\n)EN"),
    ROW("CRLF NUL . CRLF", "DATA\r\na\r\n\0.\r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n\\0.\\r\\nRSET\\r\\n)EN"),
    ROW("LF first", "DATA\r\n\n.\r\nRSET\r\n.\r\n", "C(DATA)B(\\n.\\r\\nRSET\\r\\n)EL"),
    ROW("CR first", "DATA\r\n\r.\r\nRSET\r\n.\r\n", "C(DATA)B(\\r.\\r\\nRSET\\r\\n)ER"),
    ROW("space behind the dot", "DATA\r\na\r\n. \r\nRSET\r\n.\r\n", "C(DATA)B(a\\r\\n \\r\\nRSET\\r\\n)E"),

    ROW("chunk", "BDAT 3 LAST\r\nab\nNOOP\r\n", "C(BDAT 3 LAST)B(ab\\n)EL-C(NOOP)"),
    ROW("chunk keeps dots", "BDAT 8 LAST\r\n.\r\n..a\r\nNOOP\r\n", "C(BDAT 8 LAST)B(.\\r\\n..a\\r\\n)EC(NOOP)"),
    ROW("chunks", "BDAT 2\r\nabBDAT 3\r\nc\r\nBDAT 0 LAST\r\nNOOP\r\n",
        "C(BDAT 2)B(ab)E-C(BDAT 3)B(c\\r\\n)EC(BDAT 0 LAST)EC(NOOP)"),
    ROW("empty chunk alone", "BDAT 0 LAST\r\nNOOP\r\n", "C(BDAT 0 LAST)EC(NOOP)"),
    ROW("CRLF over a border", "BDAT 2\r\na\rBDAT 1 LAST\r\n\nNOOP\r\n",
        "C(BDAT 2)B(a\\r)ER-C(BDAT 1 LAST)B(\\n)EC(NOOP)"),
    ROW("CR at a border", "BDAT 2\r\na\rBDAT 1 LAST\r\nbNOOP\r\n", "C(BDAT 2)B(a\\r)ER-C(BDAT 1 LAST)B(b)ER-C(NOOP)"),
    ROW("CR at the end", "BDAT 2\r\na\rBDAT 0 LAST\r\nNOOP\r\n", "C(BDAT 2)B(a\\r)ER-C(BDAT 0 LAST)ER-C(NOOP)"),
    ROW("a bad line between chunks", "BDAT 2\r\na\r12345678901234567890123\r\nBDAT 1 LAST\r\n\n",
        "C(BDAT 2)B(a\\r)ER-Xlong(12345678901234567890)C(BDAT 1 LAST)B(\\n)E"),
    ROW("violations go over chunks", "BDAT 2\r\na\nBDAT 2 LAST\r\n\r\n",
        "C(BDAT 2)B(a\\n)EL-C(BDAT 2 LAST)B(\\r\\n)EL"),
    ROW("next message starts anew", "BDAT 2 LAST\r\na\nBDAT 2 LAST\r\n\r\n",
        "C(BDAT 2 LAST)B(a\\n)EL-C(BDAT 2 LAST)B(\\r\\n)E"),
    ROW("long line over chunks", "BDAT 30\r\n123456789012345678901234567890BDAT 12 LAST\r\n1234567890\r\n",
        "C(BDAT 30)B(123456789012345678901234567890)E-C(BDAT 12 LAST)B(1234567890\\r\\n)EW"),
    ROW("data after chunks", "BDAT 1 LAST\r\naDATA\r\n.\r\n", "C(BDAT 1 LAST)B(a)E-C(DATA)E"),
};

START_TEST(test_rows)
{
    static const size_t steps[] = { 100000, 1, 2, 3, 7 };
    static struct script script;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        play(&script, rows[_i].input, rows[_i].len, steps[i]);
        ck_assert_msg(strcmp(script.text, rows[_i].expected) == 0, "%s, step %zu: %s", rows[_i].name, steps[i],
                      script.text);
    }
}
END_TEST

/* A body without line ends and dots goes through in one piece, not line by line. */
START_TEST(test_one_piece)
{
    struct smtp_parser parser;
    struct smtp_token token;
    static const char text[] = "Subject: a\r\n\r\nb\r\nc\r\n.\r\n";
    smtp_parser_init(&parser, 2048, 0);
    smtp_parser_enter_data(&parser);
    ck_assert_uint_eq(smtp_parser_next(&parser, text, sizeof text - 1, &token), sizeof text - 4);
    ck_assert_int_eq(token.event, SMTP_BODY);
    ck_assert_ptr_eq(token.bytes, text);
}
END_TEST

/* A caller that is not ready for a command keeps it, and only it: not the rest of the bad line before it. */
START_TEST(test_command_put_off)
{
    static const char text[] = "junk\nQUIT\r\nNOOP\r\n";
    struct smtp_parser parser;
    struct smtp_token token;
    smtp_parser_init(&parser, 2048, 0);
    size_t used = smtp_parser_next(&parser, text, sizeof text - 1, &token);
    ck_assert_int_eq(token.bad, SMTP_BAD_BARE_LF);
    ck_assert_uint_eq(used, 5);
    smtp_parser_next(&parser, text + used, sizeof text - 1 - used, &token);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(token.event, SMTP_COMMAND);
        ck_assert_uint_eq(token.len, 4);
        ck_assert_ptr_eq(token.bytes, text + 11);
        smtp_parser_next(&parser, token.bytes, 6, &token);
    }
}
END_TEST

/* A line without end is not kept. */
START_TEST(test_endless_line)
{
    struct smtp_parser parser;
    struct smtp_token token;
    static char text[4096];
    memset(text, 'a', sizeof text);
    smtp_parser_init(&parser, 2048, 0);
    ck_assert_uint_eq(smtp_parser_next(&parser, text, sizeof text, &token), 2048);
    ck_assert_int_eq(token.bad, SMTP_BAD_TOO_LONG);
    for (int i = 0; i < 100; i++) {
        ck_assert_uint_eq(smtp_parser_next(&parser, text, sizeof text, &token), sizeof text);
        ck_assert_int_eq(token.event, SMTP_NEED_MORE);
    }
    ck_assert_uint_eq(smtp_parser_next(&parser, "\r\nNOOP\r\n", 8, &token), 8);
    ck_assert_int_eq(token.event, SMTP_COMMAND);
    ck_assert_uint_eq(token.len, 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("smtp_parser");
    TCase *tcase = tcase_create("parser");
    tcase_add_loop_test(tcase, test_rows, 0, sizeof rows / sizeof rows[0]);
    tcase_add_test(tcase, test_one_piece);
    tcase_add_test(tcase, test_command_put_off);
    tcase_add_test(tcase, test_endless_line);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

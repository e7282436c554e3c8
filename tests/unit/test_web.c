/*
 * test_web.c - what recipients read and write: tokens, letters, pages, commands by mail, requests of a client
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/quarantine/letter.h"
#include "coordinator/web/mail_command.h"
#include "coordinator/web/pages.h"
#include "coordinator/web/rate.h"
#include "tests/unit/suite.h"

#define TOKEN "0123456789abcdefghjkmnpqrstvwxyz"
#define MAIL_TOKEN "hsc436f56mb5jjq7a3erctk2fjtsv7ew" /* of addresses, made of it */

START_TEST(test_tokens)
{
    char token[TOKEN_LEN + 1], other[TOKEN_LEN + 1], hash[TOKEN_HASH_LEN + 1], form[TOKEN_HASH_LEN + 1];
    token_make(token);
    token_make(other);
    ck_assert_str_ne(token, other);
    ck_assert(token_parse(other, token, TOKEN_LEN));
    ck_assert_str_eq(token, other);
    ck_assert(token_parse(other, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", TOKEN_LEN));
    ck_assert_str_eq(other, TOKEN);
    ck_assert(!token_parse(other, TOKEN, TOKEN_LEN - 1));
    ck_assert(!token_parse(other, TOKEN "0", TOKEN_LEN + 1));
    ck_assert(!token_parse(other, "0123456789abcdefghjkmnpqrstvwxyi", TOKEN_LEN));
    ck_assert(!token_parse(other, "0123456789abcdefghjkmnpqrstvwxy\0", TOKEN_LEN));
    token_hash(hash, TOKEN);
    token_form(form, TOKEN);
    token_mail(other, TOKEN);
    ck_assert_str_eq(other, MAIL_TOKEN);
    ck_assert_str_ne(hash, form);
    ck_assert_uint_eq(strlen(hash), TOKEN_HASH_LEN);
}
END_TEST

static const struct {
    const char *local, *message, *word;
    bool has_token, automatic;
} commands[] = {
    { "commands+" TOKEN, "Subject: release\r\n\r\n", "release", true, false },
    { "commands+" TOKEN, "Subject: RE: AW: Delete it\r\n\r\n", "delete", true, false },
    { "commands+" TOKEN, "Subject: hello\r\n\r\n\r\n> release\r\nblock\r\n", "block", true, false },
    { "commands+" TOKEN, "Subject: hello\r\n\r\nplease release\r\nrelease\r\n", "list", true, false },
    { "commands", "Subject: safe " TOKEN "\r\n\r\n", "safe", true, false },
    { "commands", "Subject: =?utf-8?q?safe_" TOKEN "?=\r\n\r\n", "safe", true, false },
    { "commands", "\r\nrelease " TOKEN "\r\n", "release", true, false },
    { "commands", "Content-Type: text/html\r\n\r\n<p>release " TOKEN "</p>", "release", true, false },
    { "commands", "Subject: release\r\n\r\n", "release", false, false },
    { "commands+" TOKEN, "Subject: spam\r\n\r\n", "spam", true, false },
    { "commands+" TOKEN, "Subject: [SPAM] Re: spam\r\n\r\n", "spam", true, false },
    { "commands+" TOKEN, "Subject: Ham\r\n\r\n", "ham", true, false },
    { "commands+short", "Subject: released\r\n\r\n", "list", false, false },
    { TOKEN, "Subject: list\r\nAuto-Submitted: no\r\n\r\n", "list", true, false },
    { TOKEN, "Subject: list\r\nAuto-Submitted: auto-replied\r\n\r\n", "list", true, true },
    { TOKEN, "Subject: list\r\nPrecedence: Bulk\r\n\r\n", "list", true, true },
    { TOKEN, "Subject: list\r\nList-Id: <x>\r\n\r\n", "list", true, true },
    { TOKEN, "Subject: list\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x--\r\n", "list", true, true },
};

START_TEST(test_commands)
{
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    struct mail_command command;
    mail_command_read(&command, parser, commands[_i].local, commands[_i].message, strlen(commands[_i].message));
    ck_assert_str_eq(command.word, commands[_i].word);
    ck_assert_int_eq(command.has_token, commands[_i].has_token);
    ck_assert_int_eq(command.automatic, commands[_i].automatic);
    if (command.has_token)
        ck_assert_str_eq(command.token, TOKEN);
    mime_parser_free(&parser);
}
END_TEST

START_TEST(test_attached_message)
{
    static const char head[] = "Subject: spam\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nsee this\r\n--x\r\nContent-Type: ",
                      inner[] = "Subject: You won\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nrelease\r\n--y--\r\n", tail[] = "\r\n--x--\r\n",
                      base64[] = "U3ViamVjdDogWW91IHdvbg0KQ29udGVudC1UeXBlOiBtdWx0aXBhcnQvbWl4ZWQ7IGJvdW5k\r\nYXJ5PXkNCg0KLS15DQoNCnJlbGVhc2UNCi0teS0tDQo=",
                      qp[] = "Subject: You won\r\nContent-Type: multipart/mixed; boundary=3Dy\r\n\r\n--=\r\ny\r\n\r\nrelease\r\n--y--\r\n";
    static const struct {
        const char *type, *body;
        bool taken, unusable;
    } cases[] = {
        { "message/rfc822\r\n", inner, true, false },
        { "message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n", inner, true, false },
        { "message/rfc822\r\nContent-Transfer-Encoding: base64\r\n", base64, true, false },
        { "message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n", qp, true, false },
        { "message/global\r\n", inner, true, false },
        { "message/rfc822\r\nContent-Transfer-Encoding: base64\r\n", "", false, true },
        { "message/partial\r\n", inner, false, true },
        { "application/octet-stream; name=x.eml\r\nContent-Transfer-Encoding: base64\r\n", base64, false, true },
        { "text/plain\r\nContent-Disposition: attachment\r\n", inner, false, true },
        { "text/plain\r\n", "Regards", false, false },
        { "application/octet-stream\r\n\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n", inner, true, false },
    };
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mail_command command;
        char *mail = xasprintf("%s%s\r\n%s%s", head, cases[i].type, cases[i].body, tail);
        mail_command_read(&command, parser, "commands+" TOKEN, mail, strlen(mail));
        ck_assert_str_eq(command.word, "spam");
        ck_assert_msg(command.unusable == cases[i].unusable, "%s", cases[i].type);
        if (cases[i].taken) /* perhaps with the end of line before the boundary */
            ck_assert_msg(command.attached.len - strlen(inner) <= 2 && memcmp(command.attached.bytes, inner, strlen(inner)) == 0, "%s", cases[i].type);
        else
            ck_assert_uint_eq(command.attached.len, 0);
        free(mail);
    }
    mime_parser_free(&parser);
}
END_TEST

/* What a stranger wrote is no command. */
START_TEST(test_attached_words)
{
    static const char mail[] = "Subject: Fwd\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nrelease\r\n--x--\r\n";
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    struct mail_command command;
    mail_command_read(&command, parser, "commands+" TOKEN, mail, strlen(mail));
    ck_assert_str_eq(command.word, "list");
    mime_parser_free(&parser);
}
END_TEST

START_TEST(test_rate)
{
    struct rate *rate = rate_new(2, 60);
    for (int i = 0; i < 60; i++)
        ck_assert(rate_take(rate, 1, 1000));
    ck_assert(!rate_take(rate, 1, 1000));
    ck_assert(rate_take(rate, 2, 1000));
    ck_assert(rate_take(rate, 1, 2000)); /* a second gives one more */
    ck_assert(!rate_take(rate, 1, 2000));
    ck_assert(rate_take(rate, 3, 2000)); /* 2 is forgotten, as 1 was here later */
    ck_assert_uint_eq(rate_count(rate), 2);
    ck_assert(!rate_take(rate, 1, 2000));
    ck_assert(rate_take(rate, 1, 1000000));
    rate_free(&rate);
}
END_TEST

static const char hostile[] = "<script>alert(1)</script>\"'&\xe2\x80\xae\xff\x1b[31m\xc2\x85";

/* Nothing of it but as text. */
static void check_harmless(const char *html)
{
    ck_assert_ptr_null(strstr(html, "<script"));
    ck_assert_ptr_null(strstr(html, "<img"));
    ck_assert_ptr_null(strstr(html, "=\"javascript:"));
    ck_assert_ptr_null(strstr(html, "\xe2\x80\xae"));
    ck_assert_ptr_null(strchr(html, '\x1b'));
    ck_assert_ptr_nonnull(strstr(html, "&#60;script&#62;alert(1)"));
}

START_TEST(test_pages_show_text)
{
    struct text out;
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    const struct page page = { .prefix = "", .token = TOKEN, .whole = true, .form = "f", .who = hostile, .contact = hostile };
    const struct page_entry entry = { .id = "06GZZKKERVG5QKZAZA8B", .when = "now", .sender = hostile, .reason = "spam", .score = "61.50", .subject = hostile, .releasable = true };
    char *bytes = xasprintf("From: %s <a@b.example>\r\nX-%s: 1\r\nContent-Type: text/html; name=\"%s\"\r\n\r\n<p>seen<img src=x onerror=alert(1)><a href=\"javascript:alert(1)\">x</a>"
                            "<script>alert(2)</script>&lt;script&gt;alert(1)", hostile, hostile, "x");
    const struct page_message message = { .entry = entry, .author = hostile, .bytes = bytes, .len = strlen(bytes), .cut = true };
    char *longest = xmalloc(321);
    memset(longest, 'a', 320);
    longest[320] = '\0';
    longest[300] = '@';
    const struct page_sender senders[] = { { hostile, "safe" }, { longest, "block" } };
    text_init(&out);
    page_list(&out, &page, &entry, 1, "", true);
    check_harmless(out.data);
    text_reset(&out);
    page_message(&out, &page, parser, &message);
    check_harmless(out.data);
    ck_assert_ptr_null(strstr(out.data, "<img"));
    text_reset(&out);
    page_senders(&out, &page, senders, 2); /* shown as text, and given back as they are */
    ck_assert_ptr_null(strstr(out.data, "<script"));
    ck_assert_ptr_nonnull(strstr(out.data, "name=\"sender\" value=\"&#60;script&#62;alert(1)&#60;/script&#62;&#34;&#39;&#38;\xe2\x80\xae"));
    ck_assert_ptr_nonnull(strstr(strstr(out.data, "value=\"aaa"), longest));
    free(longest);
    text_fini(&out);
    free(bytes);
    mime_parser_free(&parser);
}
END_TEST

START_TEST(test_letter)
{
    size_t len;
    const struct letter_entry entry = { .id = "x", .when = "2026-11-22 14:03", .until = "2026-12-06", .sender = (char *)hostile, .subject = (char *)hostile, .reason = "spam",
                                        .score = "61.50", .releasable = true, .token = TOKEN };
    const struct letter_entry linked = { .id = "y", .when = "", .until = "", .sender = "", .subject = "Pay at HTTPS:\xe2\x80\x8e//evil.example WWW.evil.example a@evil.example", .reason = "spam", .token = TOKEN };
    const struct letter_entry entries[] = { entry, linked };
    const struct letter letter = { .id = "06GZZKKERVG5QKZAZA8B", .from = "q@example.edu", .to = "bob@example.edu", .date = "Sun, 22 Nov 2026 15:00:00 +0000", .url = "https://q.example.edu",
                                   .mail = "c@q.example.edu", .contact = "Help", .page = TOKEN, .entries = entries, .count = 2, .total = 4 };
    char *bytes = letter_format(&letter, &len);
    struct mime_parser *parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    const struct mime_message *message = mime_parse(parser, bytes, len);
    ck_assert(mime_is_strict(message));
    ck_assert_uint_eq(message->part_count, 3);
    char *html = xstrndup(message->parts[2].text.bytes, message->parts[2].text.len), *plain = xstrndup(message->parts[1].text.bytes, message->parts[1].text.len);
    check_harmless(html);
    ck_assert_ptr_nonnull(strstr(plain, "https://q.example.edu/m/" TOKEN));
    ck_assert_ptr_nonnull(strstr(plain, "and 2 more"));
    ck_assert_ptr_null(strstr(plain, "c+" TOKEN));
    ck_assert_ptr_nonnull(strstr(plain, "Pay at HTTPS: //evil.example www .evil.example a (at) evil.example"));
    ck_assert_ptr_nonnull(strstr(html, "Pay at HTTPS: //evil.example www .evil.example a (at) evil.example"));
    ck_assert_ptr_nonnull(strstr(html, "mailto:c%2B" MAIL_TOKEN "@q.example.edu?subject=release"));
    for (char *line = bytes; *line != '\0'; line = strstr(line, "\r\n") + 2)
        ck_assert_uint_le(strcspn(line, "\r"), 998);
    free(html);
    free(plain);
    free(bytes);
    mime_parser_free(&parser);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("web");
    TCase *tests = tcase_create("web");
    tcase_add_test(tests, test_tokens);
    tcase_add_loop_test(tests, test_commands, 0, sizeof commands / sizeof *commands);
    tcase_add_test(tests, test_attached_message);
    tcase_add_test(tests, test_attached_words);
    tcase_add_test(tests, test_rate);
    tcase_add_test(tests, test_pages_show_text);
    tcase_add_test(tests, test_letter);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/*
 * test_smtp_command.c - command lines, right and wrong, from heap copies of exact size
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/command.h"
#include "tests/unit/suite.h"

static struct smtp_complaint parse_len(struct smtp_command *command, const char *line, size_t len, bool smtputf8,
                                       bool dsn)
{
    char *copy = malloc(len + (len == 0));
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, line, len);
    struct smtp_complaint complaint = smtp_command_parse(command, copy, len, smtputf8, dsn);
    free(copy);
    return complaint;
}

static struct smtp_complaint parse(struct smtp_command *command, const char *line)
{
    return parse_len(command, line, strlen(line), false, true);
}

static const struct {
    const char *line;
    enum smtp_verb verb;
    int code;
    const char *enhanced;
} rows[] = {
    { "", SMTP_VERB_UNKNOWN, 500, "5.5.2" },
    { " EHLO a", SMTP_VERB_UNKNOWN, 500, "5.5.2" },
    { "EHLO\ta", SMTP_VERB_UNKNOWN, 500, "5.5.2" },
    { "FOO", SMTP_VERB_UNKNOWN, 500, "5.5.2" },
    { "MAILFROM:<a@b>", SMTP_VERB_UNKNOWN, 500, "5.5.2" },
    { "GET / HTTP/1.1", SMTP_VERB_HTTP, 554, "5.5.1" },
    { "POST /", SMTP_VERB_HTTP, 554, "5.5.1" },
    { "CONNECT mx:25 HTTP/1.0", SMTP_VERB_HTTP, 554, "5.5.1" },
    { "EHLO mx.example.edu", SMTP_VERB_EHLO, 0, NULL },
    { "ehlo [192.0.2.1]", SMTP_VERB_EHLO, 0, NULL },
    { "EHLO my_printer!", SMTP_VERB_EHLO, 0, NULL },
    { "EHLO  a  ", SMTP_VERB_EHLO, 0, NULL },
    { "EHLO", SMTP_VERB_EHLO, 501, "5.5.4" },
    { "EHLO ", SMTP_VERB_EHLO, 501, "5.5.4" },
    { "EHLO a b", SMTP_VERB_EHLO, 501, "5.5.4" },
    { "EHLO a\x01", SMTP_VERB_EHLO, 501, "5.5.4" },
    { "EHLO a\xff", SMTP_VERB_EHLO, 501, "5.5.4" },
    { "HELO a", SMTP_VERB_HELO, 0, NULL },
    { "HELO", SMTP_VERB_HELO, 501, "5.5.4" },
    { "DATA", SMTP_VERB_DATA, 0, NULL },
    { "data  ", SMTP_VERB_DATA, 0, NULL },
    { "DATA x", SMTP_VERB_DATA, 501, "5.5.4" },
    { "RSET x", SMTP_VERB_RSET, 501, "5.5.4" },
    { "QUIT x", SMTP_VERB_QUIT, 501, "5.5.4" },
    { "NOOP anything at all", SMTP_VERB_NOOP, 0, NULL },
    { "HELP", SMTP_VERB_HELP, 0, NULL },
    { "VRFY", SMTP_VERB_VRFY, 501, "5.5.4" },
    { "VRFY a", SMTP_VERB_VRFY, 0, NULL },
    { "EXPN list", SMTP_VERB_EXPN, 0, NULL },
    { "STARTTLS", SMTP_VERB_STARTTLS, 0, NULL },
    { "STARTTLS now", SMTP_VERB_STARTTLS, 501, "5.5.4" },
    { "AUTH PLAIN abc", SMTP_VERB_AUTH, 0, NULL },
    { "AUTH", SMTP_VERB_AUTH, 501, "5.5.4" },

    { "MAIL FROM:<a@b>", SMTP_VERB_MAIL, 0, NULL },
    { "mail from:<a@b>", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL FROM: <a@b>", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL FROM:   <a@b>  ", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL FROM:<>", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL FROM: <> SIZE=1", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM :<a@b>", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM <a@b>", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL TO:<a@b>", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:a@b", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:Joe <a@b>", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b", SMTP_VERB_MAIL, 501, "5.1.7" },
    { "MAIL FROM:<a>", SMTP_VERB_MAIL, 501, "5.1.7" },
    { "MAIL FROM:<postmaster>", SMTP_VERB_MAIL, 501, "5.1.7" },
    { "MAIL FROM:<a@b>SIZE=1", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b>>", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x AUTH=<>", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL FROM:<a@b>  SIZE=1   BODY=7bit", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL FROM:<a@b> SIZE=12345678901234567890", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL FROM:<a@b> SIZE=123456789012345678901", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> SIZE=", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> SIZE", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> SIZE=-1", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> SIZE=1x", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> SIZE=1=2", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> SIZE=1 size=2", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> BODY=BINARYMIME", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> BODY", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> SMTPUTF8=yes", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> SMTPUTF8=", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> FOO", SMTP_VERB_MAIL, 555, "5.5.4" },
    { "MAIL FROM:<a@b> FOO=1", SMTP_VERB_MAIL, 555, "5.5.4" },
    { "MAIL FROM:<a@b> =1", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> -A=1", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> NOTIFY=NEVER", SMTP_VERB_MAIL, 555, "5.5.4" },
    { "MAIL FROM:<a@b> RET=ALL", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> ENVID=a+0Ab", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> ENVID=j+C3+B6", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> ENVID=a+20b+7E", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL FROM:<a@b> ENVID=a+7Fb", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> ENVID=a+2", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<a@b> AUTH=", SMTP_VERB_MAIL, 501, "5.5.4" },
    { "MAIL FROM:<j\u00f6@b>", SMTP_VERB_MAIL, 553, "5.6.7" },
    { "MAIL FROM:<j\u00f6@b> SMTPUTF8", SMTP_VERB_MAIL, 0, NULL },
    { "MAIL FROM:<j\xc3@b> SMTPUTF8", SMTP_VERB_MAIL, 501, "5.1.7" },

    { "RCPT TO:<a@b>", SMTP_VERB_RCPT, 0, NULL },
    { "RCPT TO: <Postmaster>", SMTP_VERB_RCPT, 0, NULL },
    { "RCPT TO:<@x:a@b>", SMTP_VERB_RCPT, 0, NULL },
    { "RCPT TO:<>", SMTP_VERB_RCPT, 501, "5.1.3" },
    { "RCPT TO:<a>", SMTP_VERB_RCPT, 501, "5.1.3" },
    { "RCPT TO:a@b", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT FROM:<a@b>", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> SIZE=1", SMTP_VERB_RCPT, 555, "5.5.4" },
    { "RCPT TO:<a@b> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb@c", SMTP_VERB_RCPT, 0, NULL },
    { "RCPT TO:<a@b> NOTIFY=NEVER", SMTP_VERB_RCPT, 0, NULL },
    { "RCPT TO:<a@b> NOTIFY=NEVER,DELAY", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> NOTIFY=DELAY,DELAY", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> NOTIFY=DELAY,", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> NOTIFY", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> ORCPT=a@b", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> ORCPT=;a", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> ORCPT=rfc822;a+0D+0Ab", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> ORCPT=rfc822;j+C3+B6@c", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> ORCPT=x400;j+C3+B6", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> ORCPT=utf-8;j\u00f6@c", SMTP_VERB_RCPT, 0, NULL },
    { "RCPT TO:<a@b> ORCPT=utf-8;a\\x{0A}b", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<a@b> ORCPT=utf-8;a\\x{D800}", SMTP_VERB_RCPT, 501, "5.5.4" },
    { "RCPT TO:<j\u00f6@b>", SMTP_VERB_RCPT, 553, "5.6.7" },

    { "BDAT 0", SMTP_VERB_BDAT, 0, NULL },
    { "BDAT 1000 LAST", SMTP_VERB_BDAT, 0, NULL },
    { "bdat 1000 last ", SMTP_VERB_BDAT, 0, NULL },
    { "BDAT", SMTP_VERB_BDAT, 501, "5.5.4" },
    { "BDAT LAST", SMTP_VERB_BDAT, 501, "5.5.4" },
    { "BDAT -1", SMTP_VERB_BDAT, 501, "5.5.4" },
    { "BDAT +1", SMTP_VERB_BDAT, 501, "5.5.4" },
    { "BDAT 0x10", SMTP_VERB_BDAT, 501, "5.5.4" },
    { "BDAT 1 FIRST", SMTP_VERB_BDAT, 501, "5.5.4" },
    { "BDAT 1 LAST LAST", SMTP_VERB_BDAT, 501, "5.5.4" },
    { "BDAT 123456789012345678901", SMTP_VERB_BDAT, 501, "5.5.4" },
};

START_TEST(test_rows)
{
    struct smtp_command command;
    struct smtp_complaint complaint = parse(&command, rows[_i].line);
    ck_assert_msg(command.verb == rows[_i].verb, "%s: verb %s", rows[_i].line, smtp_verb_name(command.verb));
    ck_assert_msg(complaint.code == rows[_i].code, "%s: %d %s", rows[_i].line, complaint.code, complaint.text);
    if (rows[_i].code != 0) {
        ck_assert_msg(strcmp(complaint.enhanced, rows[_i].enhanced) == 0, "%s: %s", rows[_i].line, complaint.enhanced);
        ck_assert_ptr_nonnull(complaint.text);
    }
}
END_TEST

START_TEST(test_mail)
{
    struct smtp_command command;
    ck_assert_int_eq(
        parse(&command, "MAIL FROM:<@r:Bob@A.Edu.> size=50 BODY=8BITMIME RET=full ENVID=a+2Bb+3D AUTH=e+2Bf@g").code,
        0);
    ck_assert_str_eq(command.address.local, "Bob");
    ck_assert_str_eq(command.address.domain, "a.edu");
    ck_assert(command.has_size && command.size == 50);
    ck_assert_int_eq(command.body, SMTP_BODY_8BITMIME);
    ck_assert(!command.smtputf8);
    ck_assert_int_eq(command.ret, 'F');
    ck_assert_str_eq(command.envid, "a+b=");
    ck_assert_str_eq(command.auth, "e+f@g");
    ck_assert_int_eq(parse(&command, "MAIL FROM:<>").code, 0);
    ck_assert_int_eq(command.address.kind, SMTP_ADDRESS_NULL);
    ck_assert(!command.has_size);
    ck_assert_int_eq(parse(&command, "MAIL FROM:<a@b> SIZE=18446744073709551615").code, 0);
    ck_assert(command.size == UINT64_MAX);
    ck_assert_int_eq(parse(&command, "MAIL FROM:<a@b> SIZE=99999999999999999999").code, 0);
    ck_assert(command.size == UINT64_MAX);
}
END_TEST

START_TEST(test_rcpt)
{
    struct smtp_command command;
    ck_assert_int_eq(parse(&command, "RCPT TO:<a@b> ORCPT=rfc822;a+2Bb@c NOTIFY=success,Delay").code, 0);
    ck_assert_str_eq(command.orcpt, "rfc822;a+b@c");
    ck_assert_uint_eq(command.notify, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY);
    ck_assert_int_eq(parse(&command, "RCPT TO:<a@b> ORCPT=utf-8;j\\x{F6}\\x{1F600}@c").code, 0);
    ck_assert_str_eq(command.orcpt, "utf-8;j\u00f6\U0001f600@c");
    ck_assert_int_eq(parse(&command, "RCPT TO:<a@b>").code, 0);
    ck_assert_str_eq(command.orcpt, "");
    ck_assert_uint_eq(command.notify, 0);

    static const char utf8[] = "RCPT TO:<j\u00f6@b>";
    ck_assert_int_eq(parse_len(&command, utf8, sizeof utf8 - 1, true, false).code, 0);
    ck_assert_str_eq(command.address.local, "j\u00f6");
}
END_TEST

/* Where DSN is not offered its parameters are unknown ones. */
START_TEST(test_no_dsn)
{
    static const char *const lines[] = { "MAIL FROM:<a@b> RET=FULL", "MAIL FROM:<a@b> ENVID=x",
                                         "RCPT TO:<a@b> NOTIFY=NEVER", "RCPT TO:<a@b> ORCPT=rfc822;a@b" };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct smtp_command command;
        ck_assert_int_eq(parse_len(&command, lines[i], strlen(lines[i]), false, false).code, 555);
    }
}
END_TEST

START_TEST(test_bdat)
{
    struct smtp_command command;
    ck_assert_int_eq(parse(&command, "BDAT 86 LAST").code, 0);
    ck_assert(command.size == 86 && command.last);
    ck_assert_int_eq(parse(&command, "BDAT 0").code, 0);
    ck_assert(command.size == 0 && !command.last);
}
END_TEST

START_TEST(test_limits)
{
    struct smtp_command command;
    char line[2048];
    memset(line, 'a', sizeof line);
    memcpy(line, "EHLO ", 5);
    ck_assert_int_eq(parse_len(&command, line, 5 + SMTP_DOMAIN_MAX, false, true).code, 0);
    ck_assert_uint_eq(strlen(command.domain), SMTP_DOMAIN_MAX);
    ck_assert_int_eq(parse_len(&command, line, 5 + SMTP_DOMAIN_MAX + 1, false, true).code, 501);

    memset(line, 'a', sizeof line);
    memcpy(line, "MAIL FROM:<a@b> ENVID=", 22);
    ck_assert_int_eq(parse_len(&command, line, 22 + 100, false, true).code, 0);
    ck_assert_int_eq(parse_len(&command, line, 22 + 101, false, true).code, 501);
    memcpy(line, "MAIL FROM:<a@b> AUTH=a", 22);
    ck_assert_int_eq(parse_len(&command, line, 21 + 500, false, true).code, 0);
    ck_assert_int_eq(parse_len(&command, line, 21 + 501, false, true).code, 501);
    memcpy(line, "RCPT TO:<a@b> ORCPT=rfc822;", 27);
    ck_assert_int_eq(parse_len(&command, line, 20 + 500, false, true).code, 0);
    ck_assert_int_eq(parse_len(&command, line, 20 + 501, false, true).code, 501);

    size_t len = (size_t)snprintf(line, sizeof line, "MAIL FROM:<a@b>");
    for (int i = 0; i < 17; i++)
        len += (size_t)snprintf(line + len, sizeof line - len, " X%d", i);
    ck_assert_int_eq(parse_len(&command, line, len, false, true).code, 555);
    ck_assert_int_eq(parse_len(&command, "EHLO a\0b", 8, false, true).code, 501);
    ck_assert_int_eq(parse_len(&command, "MAIL FROM:<a@b>\0", 16, false, true).code, 501);
}
END_TEST

START_TEST(test_names)
{
    ck_assert_str_eq(smtp_verb_name(SMTP_VERB_MAIL), "MAIL");
    ck_assert_str_eq(smtp_verb_name(SMTP_VERB_HTTP), "HTTP");
    ck_assert_str_eq(smtp_verb_name(SMTP_VERB_UNKNOWN), "UNKNOWN");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("smtp_command");
    TCase *tcase = tcase_create("command");
    tcase_add_loop_test(tcase, test_rows, 0, sizeof rows / sizeof rows[0]);
    tcase_add_test(tcase, test_mail);
    tcase_add_test(tcase, test_rcpt);
    tcase_add_test(tcase, test_no_dsn);
    tcase_add_test(tcase, test_bdat);
    tcase_add_test(tcase, test_limits);
    tcase_add_test(tcase, test_names);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

/*
 * test_sendmail.c - the pure parts of weir-sendmail: recipients, messages, command lines
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include "deploy/sendmail/addresses.h"
#include "deploy/sendmail/mail.h"
#include "deploy/sendmail/options.h"
#include "edge/smtp/command.h"
#include "tests/unit/suite.h"

static const struct {
    const char *text, *found; /* found: addresses with a blank behind each; "!" before one that is none */
} lists[] = {
    { "alice@example.edu", "alice@example.edu " },
    { "alice", "alice@here.example " },
    { " alice , bob@EXAMPLE.org,alice", "alice@here.example bob@example.org " },
    { "Alice Liddell <alice@example.edu>, \"B, C\" <bob@example.org>", "alice@example.edu bob@example.org " },
    { "\"a@b\" <carol@example.org>", "carol@example.org " },
    { "(a, comment (nested, \\) one)) alice@example.edu (more)", "alice@example.edu " },
    { "Friends: a@example.org, B <b@example.org>;, c@example.org", "a@example.org b@example.org c@example.org " },
    { "undisclosed-recipients:;", "" },
    { "alice @ example . edu", "alice@example.edu " },
    { "alice\r\n\t@example.edu,\r\n bob@example.org\r\n", "alice@example.edu bob@example.org " },
    { "\"john doe\"@example.org", "\"john doe\"@example.org " },
    { "\"plain\"@example.org", "plain@example.org " },
    { "a@[192.0.2.1]", "a@[192.0.2.1] " },
    { "<@relay.example:a@example.org>", "a@example.org " },
    { "j\303\266rg@example.org", "j\303\266rg@example.org " },
    { "", "" },
    { " ,,; ", "" },
    { "a b@example.org", "!a b@example.org " },
    { "<>", "! " },
    { "<a@example.org", "!a@example.org " },
    { "a@example.org>", "!a@example.org " },
    { "<a@example.org> <b@example.org>", "!a@example.orgb@example.org " },
    { "<a@example.org>: x", "!a@example.org " },
    { "\"open@example.org", "!\"open@example.org " },
    { "a@b@example.org", "!a@b@example.org " },
    { "a@example.org\x01, good@example.org", "!a@example.org\x01 good@example.org " },
    { "a@example.org>\r\nRCPT TO:<b@example.org", "!b@example.org " }, /* a group's name, and a bracket that does not close */
};

START_TEST(test_address_lists)
{
    struct recipients recipients = { 0 };
    char found[512] = "";
    size_t len = strlen(lists[_i].text);
    char *exact = malloc(len + 1); /* one byte read too far is seen */
    memcpy(exact, lists[_i].text, len);
    exact = realloc(exact, len > 0 ? len : 1);
    recipients_add(&recipients, exact, len, "here.example");
    for (size_t i = 0; i < recipients.count; i++) {
        const struct recipient *one = &recipients.items[i];
        if (one->state == RECIPIENT_PENDING)
            ck_assert_ptr_null(strpbrk(one->address, "\r\n"));
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s ", one->state == RECIPIENT_PENDING ? "" : "!", one->address);
    }
    ck_assert_str_eq(found, lists[_i].found);
    recipients_fini(&recipients);
    free(exact);
}
END_TEST

#define ADDED "From: <me@here.example>\r\nDate: D\r\nMessage-ID: <I>\r\n"

static const struct {
    const char *name, *input, *output, *found; /* found NULL: without -t */
    bool dot_ends;
    size_t max_line;
} mails[] = {
    { "body only", "hello\n", ADDED "\r\nhello\r\n", NULL, false, 0 },
    { "nothing at all", "", ADDED "\r\n", NULL, false, 0 },
    { "nothing to find recipients in", "", ADDED "\r\n", "", false, 0 },
    { "header and body", "Subject: x\n\nhello\n", "Subject: x\r\n" ADDED "\r\nhello\r\n", NULL, false, 0 },
    { "complete", "From: a\nDate: b\nMessage-Id: c\n\nx", "From: a\r\nDate: b\r\nMessage-Id: c\r\n\r\nx\r\n", NULL, false, 0 },
    { "line ends", "Subject: x\r\n\r\na\rb\nc\r\n\r\n\nd", "Subject: x\r\n" ADDED "\r\na\r\nb\r\nc\r\n\r\n\r\nd\r\n", NULL, false, 0 },
    { "mailbox line", "From me Mon\nSubject: x\n\nb\n", "Subject: x\r\n" ADDED "\r\nb\r\n", NULL, false, 0 },
    { "header ends by itself", "Subject: x\nno header\nTo: y@z\n", "Subject: x\r\n" ADDED "\r\nno header\r\nTo: y@z\r\n", "", false, 0 },
    { "begins with white space", " Subject: x\n\nb\n", ADDED "\r\n Subject: x\r\n\r\nb\r\n", NULL, false, 0 },
    { "dot ends", "a\n.\nb\n", ADDED "\r\na\r\n", NULL, true, 0 },
    { "dot is data", "a\n.\nb\n", ADDED "\r\na\r\n.\r\nb\r\n", NULL, false, 0 },
    { "two dots end nothing", "..\n. \n.\r\nb\n", ADDED "\r\n..\r\n. \r\n", NULL, true, 0 },
    { "recipients", "To: a@x.example,\n B <b@x.example>\nCC: c@x.example\nBcc: d@x.example,\n\te\nSubject: s\n\n",
      "To: a@x.example,\r\n B <b@x.example>\r\nCC: c@x.example\r\nSubject: s\r\n" ADDED "\r\n",
      "a@x.example b@x.example c@x.example d@x.example e@here.example ", false, 0 },
    { "old spelling of Bcc", "Bcc : d@x.example\n\n", ADDED "\r\n", "d@x.example ", false, 0 },
    { "Bcc goes without -t, too", "BCC: d@x.example\nReturn-Path: <x>\n\n", ADDED "\r\n", NULL, false, 0 },
    { "resent", "To: a@x.example\nResent-To: r@x.example\nResent-Bcc: s@x.example\n\n", "To: a@x.example\r\nResent-To: r@x.example\r\n" ADDED "\r\n",
      "r@x.example s@x.example ", false, 0 },
    { "recipients in the body are none", "Subject: x\n\nTo: a@x.example\n", "Subject: x\r\n" ADDED "\r\nTo: a@x.example\r\n", "", false, 0 },
    { "long body line", "\n01234567890123456789\n", ADDED "\r\n0123456789\r\n 012345678\r\n 9\r\n", NULL, false, 10 },
    { "long line of UTF-8", "\n012345678\303\274x\n", ADDED "\r\n012345678\r\n \303\274x\r\n", NULL, false, 10 },
    { "as long as may be", "\n0123456789\n", ADDED "\r\n0123456789\r\n", NULL, false, 10 },
};

static char *made(size_t row, size_t step, char *found, size_t cap)
{
    struct mail_lines lines = { .max = 4096, .dot_ends = mails[row].dot_ends };
    struct recipients recipients = { 0 };
    struct mail_facts facts = { .from = "me@here.example", .name = "", .domain = "here.example", .date = "D", .message_id = "I" };
    struct mail mail;
    size_t len = strlen(mails[row].input);

    for (size_t at = 0; at < len; at += step)
        if (!mail_lines_add(&lines, mails[row].input + at, len - at < step ? len - at : step))
            break;
    mail_lines_finish(&lines);
    facts.max_line = mails[row].max_line;
    mail_make(&mail, &lines, &facts, mails[row].found != NULL ? &recipients : NULL);
    found[0] = '\0';
    for (size_t i = 0; i < recipients.count; i++)
        snprintf(found + strlen(found), cap - strlen(found), "%s ", recipients.items[i].address);
    char *text = calloc(1, mail.header.len + mail.body_len + 1);
    memcpy(text, mail.header.bytes, mail.header.len);
    if (mail.body_len > 0)
        memcpy(text + mail.header.len, mail.body, mail.body_len);
    mail_fini(&mail);
    text_fini(&lines.text);
    recipients_fini(&recipients);
    return text;
}

START_TEST(test_mails)
{
    for (size_t step = 1; step < 5000; step *= 5000 - 1) { /* one byte at a time, then whole */
        char found[512], *text = made((size_t)_i, step, found, sizeof found);
        ck_assert_msg(strcmp(text, mails[_i].output) == 0, "%s: %s", mails[_i].name, text);
        ck_assert_str_eq(found, mails[_i].found != NULL ? mails[_i].found : "");
        free(text);
    }
}
END_TEST

START_TEST(test_nul_bytes_go)
{
    struct mail_lines lines = { .max = 100 };
    ck_assert(mail_lines_add(&lines, "a\0b\r\0\nc\0", 8));
    mail_lines_finish(&lines);
    ck_assert_uint_eq(lines.text.len, 7);
    ck_assert_mem_eq(lines.text.bytes, "ab\r\nc\r\n", 7);
    text_fini(&lines.text);
}
END_TEST

START_TEST(test_too_large)
{
    struct mail_lines lines = { .max = 10 };
    ck_assert(!mail_lines_add(&lines, "0123456789a\n", 12));
    ck_assert(lines.too_large);
    text_fini(&lines.text);
}
END_TEST

/* A long field is folded at its white space, so that it means the same; the names that we write are safe whatever they hold. */
START_TEST(test_header_folding_and_names)
{
    static const struct {
        const char *name, *from;
    } names[] = {
        { "Alice \"The\" \\", "From: \"Alice \\\"The\\\" \\\\\" <me@here.example>\r\n" },
        { "J\303\266rg", "From: =?utf-8?B?SsO2cmc=?= <me@here.example>\r\n" },
        { "x\r\nBcc: y", "From: =?utf-8?B?eCAgQmNjOiB5?= <me@here.example>\r\n" },
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct mail_lines lines = { .max = 4096 };
        struct mail_facts facts = { .from = "me@here.example", .name = names[i].name, .domain = "here.example", .date = "D", .message_id = "I",
                                    .max_line = 78 };
        struct mail mail;
        char subject[256] = "Subject:";
        for (int word = 0; word < 20; word++)
            strcat(subject, " word-word");
        mail_lines_add(&lines, subject, strlen(subject));
        mail_lines_finish(&lines);
        mail_make(&mail, &lines, &facts, NULL);
        text_add(&mail.header, "", 1);
        ck_assert_ptr_nonnull(strstr(mail.header.bytes, names[i].from));
        ck_assert_ptr_nonnull(strstr(mail.header.bytes, "word-word\r\n word-word"));
        for (char *line = mail.header.bytes; *line != '\0'; line = strchr(line, '\n') + 1)
            ck_assert_int_le((int)strcspn(line, "\r"), 78);
        mail_fini(&mail);
        text_fini(&lines.text);
    }
}
END_TEST

#define X25 "xxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
    const char *line; /* words, a blank between them */
    int status;       /* -1: goes on */
    enum sendmail_mode mode;
    bool from_header, dot_is_data;
    const char *sender, *name;
    int words;
} commands[] = {
    { "sendmail -t -i", -1, MODE_MAIL, true, true, NULL, NULL, 0 },
    { "/usr/sbin/sendmail -i -FCronDaemon -oem root", -1, MODE_MAIL, false, true, NULL, "CronDaemon", 1 },
    { "sendmail -oi -f a@b -- rcpt", -1, MODE_MAIL, false, true, "a@b", NULL, 1 },
    { "sendmail -oi -oem -odi -fa@b -B8BITMIME -Am -v x y", -1, MODE_MAIL, false, true, "a@b", NULL, 2 },
    { "sendmail -r a@b -- -f", -1, MODE_MAIL, false, false, "a@b", NULL, 1 },
    { "sendmail rcpt -f", -1, MODE_MAIL, false, false, NULL, NULL, 2 },
    { "sendmail -bs", -1, MODE_SMTP, false, false, NULL, NULL, 0 },
    { "sendmail -bp", -1, MODE_QUEUE, false, false, NULL, NULL, 0 },
    { "/usr/bin/mailq", -1, MODE_QUEUE, false, false, NULL, NULL, 0 },
    { "newaliases", -1, MODE_ALIASES, false, false, NULL, NULL, 0 },
    { "sendmail -bi", -1, MODE_ALIASES, false, false, NULL, NULL, 0 },
    { "sendmail -q", EX_OK, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -q15m", EX_OK, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -N success,delay -R hdrs -V id1 x", -1, MODE_MAIL, false, false, NULL, NULL, 1 },
    { "sendmail -N never,delay x", EX_USAGE, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -N sometimes x", EX_USAGE, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -V j\303\266 x", EX_USAGE, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -V a\tb x", EX_USAGE, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -V " X25 X25 X25 X25 "x x", EX_USAGE, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -V " X25 X25 X25 X25 " x", -1, MODE_MAIL, false, false, NULL, NULL, 1 },
    { "sendmail -R half x", EX_USAGE, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -bd", EX_USAGE, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -f", EX_USAGE, MODE_MAIL, false, false, NULL, NULL, 0 },
    { "sendmail -Z", EX_USAGE, MODE_MAIL, false, false, NULL, NULL, 0 },
};

START_TEST(test_commands)
{
    char line[256], *argv[16] = { NULL };
    int argc = 0, status = -1;
    struct sendmail_options options;
    snprintf(line, sizeof line, "%s", commands[_i].line);
    for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    optind = 0; /* getopt() begins anew */
    bool goes_on = sendmail_options_parse(&options, argc, argv, &status);
    ck_assert_int_eq(goes_on ? -1 : status, commands[_i].status);
    if (!goes_on)
        return;
    ck_assert_int_eq(options.mode, commands[_i].mode);
    ck_assert_int_eq(options.from_header, commands[_i].from_header);
    ck_assert_int_eq(options.dot_is_data, commands[_i].dot_is_data);
    ck_assert_pstr_eq(options.sender, commands[_i].sender);
    ck_assert_pstr_eq(options.name, commands[_i].name);
    ck_assert_int_eq(options.word_count, commands[_i].words);
    if (options.notify != 0) {
        ck_assert_uint_eq(options.notify, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY);
        ck_assert_int_eq(options.ret, 'H');
        ck_assert_str_eq(options.envid, "id1");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sendmail");
    TCase *tcase = tcase_create("sendmail");
    tcase_add_loop_test(tcase, test_address_lists, 0, sizeof lists / sizeof lists[0]);
    tcase_add_loop_test(tcase, test_mails, 0, sizeof mails / sizeof mails[0]);
    tcase_add_test(tcase, test_nul_bytes_go);
    tcase_add_test(tcase, test_too_large);
    tcase_add_test(tcase, test_header_folding_and_names);
    tcase_add_loop_test(tcase, test_commands, 0, sizeof commands / sizeof commands[0]);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

/*
 * test_dialog.c - the SMTP client's side without sockets: what is said, and what replies mean
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "edge/delivery/dialog.h"
#include "edge/smtp/command.h"
#include "edge/smtp/xtext.h"
#include "tests/unit/suite.h"

/* A script of steps divided by blanks: "220" a reply with that code; "MAIL", "RCPT", "DATA", "DOT", "RESET", "TLS" (the handshake is done):
 * what the user does, `!` before it: only if it may (else "-" is noted). Expected: what was said and what happened, in order. */
static const struct {
    const char *name, *extensions, *script, *expected;
    enum next_hop_tls tls;
} dialogs[] = {
    { "plain", "PIPELINING", "220 250", "EHLO ready ", NEXT_HOP_TLS_MAY },
    { "a message", "PIPELINING", "220 250 !MAIL !RCPT !RCPT 250 250 550 !DATA 354 DOT 250",
      "EHLO ready MAIL RCPT RCPT sender recipient recipient DATA go answer ", NEXT_HOP_TLS_MAY },
    { "not pipelined", "8BITMIME", "220 250 !MAIL !RCPT 250 !RCPT !RCPT 250 !RCPT 250 !DATA 354 DOT 250",
      "EHLO ready MAIL - sender RCPT - recipient RCPT recipient DATA go answer ", NEXT_HOP_TLS_MAY },
    { "no ESMTP", "", "220 502 250 !MAIL !RCPT 250", "EHLO HELO ready MAIL - sender ", NEXT_HOP_TLS_MAY },
    { "no SMTP at all", "", "220 502 502", "EHLO HELO refused ", NEXT_HOP_TLS_MAY },
    { "unwelcome", "", "554", "refused ", NEXT_HOP_TLS_MAY },
    { "busy", "", "421", "refused ", NEXT_HOP_TLS_MAY },
    { "busy after EHLO", "", "220 421", "EHLO refused ", NEXT_HOP_TLS_MAY },
    { "STARTTLS", "STARTTLS", "220 250 220 TLS 250", "EHLO STARTTLS tls EHLO ready ", NEXT_HOP_TLS_MAY },
    { "STARTTLS not wanted", "STARTTLS", "220 250", "EHLO ready ", NEXT_HOP_TLS_NONE },
    { "STARTTLS declined", "STARTTLS", "220 250 454", "EHLO STARTTLS ready ", NEXT_HOP_TLS_MAY },
    { "STARTTLS declined but required", "STARTTLS", "220 250 454", "EHLO STARTTLS tls-impossible ", NEXT_HOP_TLS_REQUIRE },
    { "STARTTLS required, not offered", "", "220 250", "EHLO tls-impossible ", NEXT_HOP_TLS_REQUIRE },
    { "STARTTLS required, no ESMTP", "", "220 500 250", "EHLO HELO tls-impossible ", NEXT_HOP_TLS_REQUIRE },
    { "a reply while the handshake runs", "STARTTLS", "220 250 220 250", "EHLO STARTTLS tls lost ", NEXT_HOP_TLS_MAY },
    { "sender refused", "", "220 250 !MAIL 550 !MAIL 250", "EHLO ready MAIL no-sender MAIL sender ", NEXT_HOP_TLS_MAY },
    { "sender refused, recipients behind it", "PIPELINING", "220 250 !MAIL !RCPT !RCPT 550 503 503 250 !MAIL",
      "EHLO ready MAIL RCPT RCPT RSET no-sender ready MAIL ", NEXT_HOP_TLS_MAY },
    { "given up in the middle of a group", "PIPELINING", "220 250 !MAIL !RCPT !RCPT 250 RESET !MAIL 250 550 250 !MAIL",
      "EHLO ready MAIL RCPT RCPT sender RSET - ready MAIL ", NEXT_HOP_TLS_MAY },
    { "given up, not pipelined", "", "220 250 !MAIL 250 !RCPT RESET 550 250", "EHLO ready MAIL sender RCPT RSET ready ",
      NEXT_HOP_TLS_MAY },
    { "given up with nothing open", "", "220 250 RESET !MAIL", "EHLO ready none MAIL ", NEXT_HOP_TLS_MAY },
    { "RSET refused", "PIPELINING", "220 250 !MAIL 250 RESET 500", "EHLO ready MAIL sender RSET lost ", NEXT_HOP_TLS_MAY },
    { "DATA refused", "PIPELINING", "220 250 !MAIL !RCPT 250 250 !DATA 451 250", "EHLO ready MAIL RCPT sender recipient DATA RSET answer ready ",
      NEXT_HOP_TLS_MAY },
    { "DATA answered 250", "", "220 250 !MAIL 250 !RCPT 250 !DATA 250", "EHLO ready MAIL sender RCPT recipient DATA lost ", NEXT_HOP_TLS_MAY },
    { "421 to the final dot", "", "220 250 !MAIL 250 !RCPT 250 !DATA 354 DOT 421",
      "EHLO ready MAIL sender RCPT recipient DATA go answer ", NEXT_HOP_TLS_MAY },
    { "421 in the envelope", "PIPELINING", "220 250 !MAIL !RCPT 250 421", "EHLO ready MAIL RCPT sender lost ", NEXT_HOP_TLS_MAY },
    { "421 while idle", "", "220 250 421", "EHLO ready lost ", NEXT_HOP_TLS_MAY },
    { "a reply nobody asked for", "", "220 250 !MAIL 250 250", "EHLO ready MAIL sender lost ", NEXT_HOP_TLS_MAY },
    { "250 in the middle of the message", "", "220 250 !MAIL 250 !RCPT 250 !DATA 354 250",
      "EHLO ready MAIL sender RCPT recipient DATA go lost ", NEXT_HOP_TLS_MAY },
    { "552 in the middle of the message", "", "220 250 !MAIL 250 !RCPT 250 !DATA 354 552",
      "EHLO ready MAIL sender RCPT recipient DATA go answer ", NEXT_HOP_TLS_MAY },
    { "354 to MAIL", "", "220 250 !MAIL 354", "EHLO ready MAIL lost ", NEXT_HOP_TLS_MAY },
};

static const char *const event_names[] = {
    [HOP_NOTHING] = "",           [HOP_START_TLS] = "tls ",    [HOP_IS_READY] = "ready ",
    [HOP_SENDER_OK] = "sender ",  [HOP_SENDER_REFUSED] = "no-sender ", [HOP_RECIPIENT] = "recipient ",
    [HOP_GO_AHEAD] = "go ",       [HOP_ANSWER] = "answer ",    [HOP_REFUSED] = "refused ",
    [HOP_TLS_IMPOSSIBLE] = "tls-impossible ", [HOP_LOST] = "lost ",
};

/* Notes the verbs of what was said. */
static void note_said(struct hop_dialog *d, char *log)
{
    for (size_t at = 0; at < d->out_len;) {
        const char *line = d->out + at, *end = memchr(line, '\n', d->out_len - at);
        ck_assert_ptr_nonnull(end);
        strncat(log, line, strcspn(line, " \r"));
        strcat(log, " ");
        at = (size_t)(end - d->out) + 1;
    }
    d->out_len = 0;
}

/* What the parser makes of a host that offers these. */
static struct smtp_reply says(int code, const char *extensions)
{
    char text[512], wire[1024];
    struct smtp_reply_parser parser;
    size_t used;
    snprintf(text, sizeof text, "host.test\n%s", extensions);
    smtp_reply_parser_init(&parser);
    ck_assert_int_eq(smtp_reply_parser_next(&parser, wire, smtp_reply_format(wire, sizeof wire, code, NULL, text), &used), SMTP_REPLY_DONE);
    return parser.reply;
}

START_TEST(dialog)
{
    char log[512] = "", *script = xstrdup(dialogs[_i].script), *rest = script;
    struct hop_dialog d;
    hop_dialog_init(&d, "edge.test", dialogs[_i].tls);
    for (char *step; (step = strsep(&rest, " ")) != NULL;) {
        enum hop_event event = HOP_NOTHING;
        if (step[0] == '!' && !hop_dialog_may_send(&d)) {
            strcat(log, "- ");
            continue;
        }
        step += step[0] == '!';
        if (step[0] >= '0' && step[0] <= '9') {
            struct smtp_reply reply = says(atoi(step), dialogs[_i].extensions);
            event = hop_dialog_reply(&d, &reply);
        } else if (strcmp(step, "TLS") == 0) {
            hop_dialog_secured(&d);
            ck_assert(!d.extensions.starttls);
        } else if (strcmp(step, "MAIL") == 0) {
            hop_dialog_mail(&d, &(struct hop_mail){ .sender = "a@example.com" });
        } else if (strcmp(step, "RCPT") == 0) {
            hop_dialog_rcpt(&d, &(struct hop_rcpt){ .address = "b@example.org" });
        } else if (strcmp(step, "DATA") == 0) {
            hop_dialog_data(&d);
        } else if (strcmp(step, "DOT") == 0) {
            hop_dialog_body_sent(&d);
        } else if (strcmp(step, "RESET") == 0) {
            strcat(log, hop_dialog_reset(&d) ? "none " : "");
        }
        note_said(&d, log);
        strcat(log, event_names[event]);
    }
    free(script);
    ck_assert_msg(strcmp(log, dialogs[_i].expected) == 0, "%s:\n is  %s\n not %s", dialogs[_i].name, log, dialogs[_i].expected);
}
END_TEST

/* What MAIL says depends on what is offered. */
static const struct {
    const char *extensions, *sender, *expected;
    uint64_t size;
    bool eightbit, smtputf8;
    char ret;
    const char *envid;
} mails[] = {
    { "SIZE\n8BITMIME\nSMTPUTF8", "a@b", "MAIL FROM:<a@b> SIZE=77 BODY=8BITMIME SMTPUTF8\r\n", 77, true, true, 'F', "id" },
    { "SIZE 1000\n8BITMIME\nSMTPUTF8", "", "MAIL FROM:<>\r\n", 0, false, false, 0, "" },
    { "PIPELINING", "a@b", "MAIL FROM:<a@b>\r\n", 77, true, false, 0, NULL },
    { "PIPELINING", "a@b>\r\nRCPT TO:<x", "MAIL FROM:<a@b>??RCPT TO:<x>\r\n", 0, false, false, 0, NULL },
    { "DSN", "a@b", "MAIL FROM:<a@b> RET=HDRS ENVID=one+2B1+3D2\r\n", 0, false, false, 'H', "one+1=2" },
    { "DSN", "", "MAIL FROM:<> RET=FULL\r\n", 0, false, false, 'F', "" },
};

START_TEST(mail)
{
    struct hop_dialog d;
    struct smtp_reply reply = { .code = 220 };
    hop_dialog_init(&d, "edge.test", NEXT_HOP_TLS_NONE);
    ck_assert_int_eq(hop_dialog_reply(&d, &reply), HOP_NOTHING);
    ck_assert(d.out_len == 16 && memcmp(d.out, "EHLO edge.test\r\n", 16) == 0);
    d.out_len = 0;
    reply = says(250, mails[_i].extensions);
    ck_assert_int_eq(hop_dialog_reply(&d, &reply), HOP_IS_READY);
    hop_dialog_mail(&d, &(struct hop_mail){ mails[_i].sender, mails[_i].size, mails[_i].eightbit, mails[_i].smtputf8, mails[_i].ret, mails[_i].envid });
    ck_assert_uint_eq(d.out_len, strlen(mails[_i].expected));
    ck_assert(memcmp(d.out, mails[_i].expected, d.out_len) == 0);
}
END_TEST

static const struct {
    const char *extensions, *address, *orcpt, *expected;
    unsigned notify;
} rcpts[] = {
    { "PIPELINING", "a@b", "rfc822;x@y", "RCPT TO:<a@b>\r\n", SMTP_NOTIFY_NEVER },
    { "DSN", "a@b", "rfc822;x+y@z", "RCPT TO:<a@b> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@z\r\n", SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE },
    { "DSN", "a@b", "utf-8;\xc3\xa4@z\\", "RCPT TO:<a@b> NOTIFY=NEVER ORCPT=utf-8;\\x{E4}@z\\x{5C}\r\n", SMTP_NOTIFY_NEVER },
    { "DSN", "a@b", "", "RCPT TO:<a@b> NOTIFY=DELAY\r\n", SMTP_NOTIFY_DELAY },
    { "DSN", "a@b", NULL, "RCPT TO:<a@b>\r\n", 0 },
    { "DSN", "a@b", "no type", "RCPT TO:<a@b>\r\n", 0 },
};

START_TEST(rcpt)
{
    struct hop_dialog d;
    struct smtp_reply reply = { .code = 220 };
    hop_dialog_init(&d, "edge.test", NEXT_HOP_TLS_NONE);
    hop_dialog_reply(&d, &reply);
    reply = says(250, rcpts[_i].extensions);
    ck_assert_int_eq(hop_dialog_reply(&d, &reply), HOP_IS_READY);
    d.out_len = 0;
    hop_dialog_rcpt(&d, &(struct hop_rcpt){ rcpts[_i].address, rcpts[_i].notify, rcpts[_i].orcpt });
    ck_assert_uint_eq(d.out_len, strlen(rcpts[_i].expected));
    ck_assert(memcmp(d.out, rcpts[_i].expected, d.out_len) == 0);
}
END_TEST

/* The longest values a client may send come out again in full; one that would get longer than that goes without. */
START_TEST(long_values)
{
    char text[SMTP_ORCPT_TEXT_MAX], out[SMTP_ORCPT_TEXT_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    memcpy(text, "rfc822;", 7);
    ck_assert(smtp_orcpt_encode(out, sizeof out, text));
    ck_assert_str_eq(out, text);
    text[sizeof text - 2] = '+';
    ck_assert(!smtp_orcpt_encode(out, sizeof out, text));
    ck_assert_str_eq(out, "");
    text[sizeof text - 4] = '+';
    text[sizeof text - 3] = '\0';
    ck_assert(smtp_orcpt_encode(out, sizeof out, text));
    ck_assert_str_eq(out + sizeof out - 4, "+2B");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dialog");
    TCase *tests = tcase_create("dialog");
    tcase_add_loop_test(tests, dialog, 0, (int)(sizeof dialogs / sizeof *dialogs));
    tcase_add_loop_test(tests, mail, 0, (int)(sizeof mails / sizeof *mails));
    tcase_add_loop_test(tests, rcpt, 0, (int)(sizeof rcpts / sizeof *rcpts));
    tcase_add_test(tests, long_values);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/*
 * test_dsn.c - reports to senders: who gets one, and that it is well-formed whatever a host or a message says
 *
 * Python's email parser reads them in tests/integration/test_spool.py.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "edge/smtp/command.h"
#include "edge/spool/dsn.h"
#include "edge/spool/lease.h"
#include "proto/wire.h"
#include "tests/unit/suite.h"

static const struct {
    unsigned notify;
    bool failed, delayed, relayed;
} dues[] = {
    { 0, true, true, false },
    { SMTP_NOTIFY_NEVER, false, false, false },
    { SMTP_NOTIFY_SUCCESS, false, false, true },
    { SMTP_NOTIFY_FAILURE, true, false, false },
    { SMTP_NOTIFY_DELAY, false, true, false },
    { SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY, true, true, true },
};

START_TEST(due)
{
    ck_assert_int_eq(dsn_is_due(dues[_i].notify, DSN_FAILED), dues[_i].failed);
    ck_assert_int_eq(dsn_is_due(dues[_i].notify, DSN_DELAYED), dues[_i].delayed);
    ck_assert_int_eq(dsn_is_due(dues[_i].notify, DSN_RELAYED), dues[_i].relayed);
}
END_TEST

static const struct {
    const char *text;
    size_t max, expected;
} headers[] = {
    { "", 100, 0 },
    { "A: b\r\n\r\nbody\r\n", 100, 6 },
    { "A: b\r\nC: d\r\n", 100, 12 },
    { "A: b\r\nC: d", 100, 6 },
    { "A: b\r\nC: d\r\n\r\n", 10, 6 },
    { "\r\nbody", 100, 0 },
    { "A: b\n\nbody", 100, 5 },
};

START_TEST(header_length)
{
    size_t len = strlen(headers[_i].text);
    char *exact = xmemdup(headers[_i].text, len); /* so that a byte too far is seen */
    ck_assert_uint_eq(dsn_header_length(exact, len, headers[_i].max), headers[_i].expected);
    free(exact);
}
END_TEST

static const struct dsn_recipient gone = {
    .action = DSN_FAILED, .address = "gone@example.org", .original = "rfc822;old@example.org", .enhanced = "5.1.1",
    .code = 550, .text = "no such user\nsee http://example.org/\ntoday", .remote = "mx.example.org[192.0.2.9]:25"
};

static struct dsn usual(const struct dsn_recipient *recipients, size_t count)
{
    return (struct dsn){
        .id = "06GZYZYCR1PM1BG2PG4N", .about = "06GZYZYCR1PM1BG2PG4M", .hostname = "edge-1.weir.test", .contact = "help@example.edu",
        .sender = "sender@example.edu", .envid = "QQ+1", .arrival = "Sat, 21 Nov 2026 18:48:48 +0000", .date = "Sat, 21 Nov 2026 19:48:48 +0000",
        .recipients = recipients, .count = count, .returned = "Subject: x\r\n", .returned_len = 12,
    };
}

static char *format(const struct dsn *dsn)
{
    size_t len;
    char *bytes = dsn_format(dsn, &len);
    for (size_t i = 0, column = 0; i < len; i++) { /* strict: CRLF and nothing else, no line too long */
        if (bytes[i] == '\n')
            ck_assert(i > 0 && bytes[i - 1] == '\r');
        if (bytes[i] == '\r')
            ck_assert(i + 1 < len && bytes[i + 1] == '\n');
        column = bytes[i] == '\n' ? 0 : column + 1;
        ck_assert_uint_le(column, 999);
    }
    bytes = xrealloc(bytes, len + 1);
    bytes[len] = '\0';
    return bytes;
}

static void expect(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text);
}

START_TEST(failure)
{
    struct dsn dsn = usual(&gone, 1);
    char *text = format(&dsn);
    expect(text, "From: Mail Delivery System <MAILER-DAEMON@edge-1.weir.test>\r\nTo: <sender@example.edu>\r\nSubject: Undelivered Mail");
    expect(text, "Auto-Submitted: auto-replied\r\nX-Weir-Queue-ID: 06GZYZYCR1PM1BG2PG4M\r\n");
    expect(text, "Content-Type: multipart/report; report-type=delivery-status;\r\n");
    expect(text, "For help: help@example.edu\r\n");
    expect(text, "Reporting-MTA: dns; edge-1.weir.test\r\nOriginal-Envelope-Id: QQ+1\r\n");
    expect(text, "\r\n\r\nOriginal-Recipient: rfc822; old@example.org\r\nFinal-Recipient: rfc822; gone@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
                 "Remote-MTA: dns; mx.example.org\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n    see http://example.org/\r\n    today\r\n");
    expect(text, "Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n");
    ck_assert(!dsn_needs_8bit(&dsn) && strstr(text, "8bit") == NULL);
    free(text);
}
END_TEST

START_TEST(mixed)
{
    struct dsn_recipient recipients[3] = { gone, gone, gone };
    recipients[0].action = DSN_RELAYED;
    recipients[1].action = DSN_DELAYED;
    recipients[2].remote = "";
    struct dsn dsn = usual(recipients, 3);
    char *text = format(&dsn);
    expect(text, "Subject: Undelivered Mail");
    expect(text, "Action: relayed");
    expect(text, "Action: delayed");
    expect(text, "Action: failed\r\nStatus: 5.1.1\r\n\r\n--"); /* our own words are nobody's diagnostic */
    free(text);
    dsn.count = 2;
    text = format(&dsn);
    expect(text, "Subject: Delayed Mail");
    free(text);
    dsn.count = 1;
    text = format(&dsn);
    expect(text, "Subject: Mail Relayed");
    free(text);
}
END_TEST

/* Words that are too long, not ASCII or full of controls; a message that contains the boundary. */
START_TEST(hostile)
{
    char words[5000], body[200];
    struct dsn_recipient bad = gone;
    memset(words, 'x', sizeof words - 1);
    words[sizeof words - 1] = '\0';
    memcpy(words + 100, "\r\x01\xc3\xa4\x7f", 5);
    bad.text = words;
    struct dsn dsn = usual(&bad, 1);
    snprintf(body, sizeof body, "Subject: x\r\n\r\n--=_%s.0--\r\n\xff\r\n", dsn.id);
    dsn.returned = body;
    dsn.returned_len = strlen(body);
    dsn.whole = true;
    char *text = format(&dsn);
    expect(text, "boundary=\"=_06GZYZYCR1PM1BG2PG4N.1\"");
    expect(text, "x?????x");
    expect(text, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n");
    ck_assert(dsn_needs_8bit(&dsn) && !dsn_needs_smtputf8(&dsn));
    free(text);
}
END_TEST

/* Words of nothing but line ends, the longest addresses, and as much of the message as settings allow to return. */
START_TEST(largest_fits_a_payload)
{
    static char words[1024], address[WIRE_ADDRESS_MAX + 1], remote[336], body[1024 * 1024];
    static struct dsn_recipient recipients[DSN_RECIPIENTS_MAX];
    memset(words, '\n', sizeof words - 1);
    memset(address, 'a', sizeof address - 1);
    memset(remote, 'r', sizeof remote - 1);
    memset(body, 'b', sizeof body);
    for (size_t i = 0; i < DSN_RECIPIENTS_MAX; i++)
        recipients[i] = (struct dsn_recipient){ .action = DSN_FAILED, .address = address, .original = address, .enhanced = "5.123.123",
                                                .code = 550, .text = words, .remote = remote };
    struct dsn dsn = usual(recipients, DSN_RECIPIENTS_MAX);
    dsn.returned = body;
    dsn.returned_len = sizeof body;
    size_t len;
    free(dsn_format(&dsn, &len));
    ck_assert_uint_le(len, WIRE_PAYLOAD_MAX);
}
END_TEST

START_TEST(utf8)
{
    struct dsn_recipient recipient = gone;
    recipient.address = "j\xc3\xbcrgen@example.org";
    recipient.original = "";
    struct dsn dsn = usual(&recipient, 1);
    char *text = format(&dsn);
    expect(text, "Content-Type: message/global-delivery-status\r\n");
    expect(text, "Final-Recipient: utf-8; j\xc3\xbcrgen@example.org\r\n");
    ck_assert(dsn_needs_smtputf8(&dsn));
    free(text);
}
END_TEST

/* Our clock says "over" before the database's, which began to count later; and whoever slept through the end finds it over. */
START_TEST(lease)
{
    struct lease_time time = { .asked_ms = 1000, .length_ms = 30000 };
    ck_assert(lease_is_live(&time, 1000) && !lease_wants_renewal(&time, 10999) && lease_wants_renewal(&time, 11000));
    ck_assert(lease_is_live(&time, 27249) && !lease_is_live(&time, 27250) && !lease_is_live(&time, UINT64_MAX));
    time.length_ms = 600000;
    ck_assert(lease_is_live(&time, 595999) && !lease_is_live(&time, 596000));
    time.length_ms = 0;
    ck_assert(!lease_is_live(&time, 1000));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dsn");
    TCase *tests = tcase_create("dsn");
    tcase_add_loop_test(tests, due, 0, (int)(sizeof dues / sizeof *dues));
    tcase_add_loop_test(tests, header_length, 0, (int)(sizeof headers / sizeof *headers));
    tcase_add_test(tests, failure);
    tcase_add_test(tests, mixed);
    tcase_add_test(tests, hostile);
    tcase_add_test(tests, largest_fits_a_payload);
    tcase_add_test(tests, utf8);
    tcase_add_test(tests, lease);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

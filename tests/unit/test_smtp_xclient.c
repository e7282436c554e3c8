/*
 * test_smtp_xclient.c - what stands behind XCLIENT
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/xclient.h"
#include "tests/unit/suite.h"

static const struct {
    const char *arguments;
    const char *told; /* NULL: 501 */
} rows[] = {
    { "NAME=spike.example ADDR=192.0.2.7", "NAME=spike.example ADDR=192.0.2.7:0" },
    { "name=SPIKE.Example. addr=192.0.2.7 port=4000", "NAME=spike.example ADDR=192.0.2.7:4000 PORT" },
    { "PORT=4000 ADDR=IPV6:2001:db8::7", "ADDR=[2001:db8::7]:4000 PORT" },
    { "ADDR=ipv6:::ffff:192.0.2.7", "ADDR=192.0.2.7:0" },
    { "NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]", "NAME= ADDR= PORT HELO= LOGIN=" },
    { "NAME=[tempunavail]", "NAME=" },
    { "PROTO=ESMTP", "PROTO=ESMTP" },
    { "PROTO=smtp HELO=[192.0.2.7]", "PROTO=SMTP HELO=[192.0.2.7]" },
    { "HELO=a+2Bb", "HELO=a+b" },
    { "LOGIN=alice@example.edu", "LOGIN=alice@example.edu" },
    { "DESTADDR=198.51.100.1 DESTPORT=25", "DEST=198.51.100.1:25" },
    { "DESTADDR=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]", "DEST=" },
    { "HELO=a  LOGIN=b", "HELO=a LOGIN=b" },
    { " ", NULL },
    { "HELO", NULL },
    { "=a", NULL },
    { "HELO=", NULL },
    { "HELO=a+20b", NULL },
    { "HELO=a+0D+0Ab", NULL },
    { "HELO=a+0", NULL },
    { "HELO=a=b", NULL },
    { "HELO=a HELO=b", NULL },
    { "IDENT=a", NULL },
    { "NAME=two..dots", NULL },
    { "NAME=(comment)", NULL },
    { "ADDR=host.example", NULL },
    { "ADDR=2001:db8::7", NULL },
    { "ADDR=IPV6:192.0.2.7", NULL },
    { "ADDR=192.0.2.7/24", NULL },
    { "PORT=65536", NULL },
    { "PORT=-1", NULL },
    { "PORT=", NULL },
    { "PROTO=HTTP", NULL },
    { "PROTO=[UNAVAILABLE]", NULL },
    { "DESTADDR=x", NULL },
    { "DESTPORT=1000000", NULL },
    { "HELO=a IDENT=b", NULL },
};

static void add(char *out, const char *key, const char *value)
{
    sprintf(out + strlen(out), "%s%s%s", *out != '\0' ? " " : "", key, value);
}

static const char *endpoint(const struct netaddr *address, char *text)
{
    return address->family != 0 ? netaddr_format_endpoint(address, text) : "";
}

START_TEST(parses)
{
    struct smtp_xclient told;
    char text[2048] = "", address[NETADDR_TEXT_MAX];
    size_t len = strlen(rows[_i].arguments);
    char *copy = malloc(len + 1); /* ends where it ends, so that a sanitizer sees a byte read too far */
    memcpy(copy + 1, rows[_i].arguments, len);
    struct smtp_complaint complaint = smtp_xclient_parse(&told, copy + 1, len);
    free(copy);
    ck_assert_msg((complaint.code == 0) == (rows[_i].told != NULL), "%s: %d %s", rows[_i].arguments, complaint.code, complaint.text != NULL ? complaint.text : "");
    if (complaint.code != 0) {
        ck_assert_int_eq(complaint.code, 501);
        return;
    }
    if (told.given & SMTP_XCLIENT_NAME)
        add(text, "NAME=", told.name);
    if (told.given & SMTP_XCLIENT_ADDR)
        add(text, "ADDR=", endpoint(&told.client, address));
    if (told.given & SMTP_XCLIENT_PORT)
        add(text, "PORT", "");
    if (told.given & SMTP_XCLIENT_PROTO)
        add(text, "PROTO=", told.esmtp ? "ESMTP" : "SMTP");
    if (told.given & SMTP_XCLIENT_HELO)
        add(text, "HELO=", told.helo);
    if (told.given & SMTP_XCLIENT_LOGIN)
        add(text, "LOGIN=", told.login);
    if ((told.given & SMTP_XCLIENT_DESTADDR) && (told.given & SMTP_XCLIENT_DESTPORT))
        add(text, "DEST=", endpoint(&told.server, address));
    ck_assert_str_eq(text, rows[_i].told);
}
END_TEST

START_TEST(long_values)
{
    struct smtp_xclient told;
    char arguments[600] = "HELO=";
    memset(arguments + 5, 'x', SMTP_DOMAIN_MAX);
    ck_assert_int_eq(smtp_xclient_parse(&told, arguments, 5 + SMTP_DOMAIN_MAX).code, 0);
    arguments[5 + SMTP_DOMAIN_MAX] = 'x';
    ck_assert_int_eq(smtp_xclient_parse(&told, arguments, 6 + SMTP_DOMAIN_MAX).code, 501);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("smtp_xclient");
    TCase *tests = tcase_create("xclient");
    tcase_add_loop_test(tests, parses, 0, sizeof rows / sizeof rows[0]);
    tcase_add_test(tests, long_values);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

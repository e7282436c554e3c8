/*
 * test_proxy.c - headers of load balancers: read as the caller does it, with no more bytes than were asked for, and whole
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "edge/session/proxy.h"
#include "tests/unit/suite.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define TCP4 "\xc0\x00\x02\x07\xc6\x33\x64\x01\x9c\x40\x00\x19"
#define SIXTEEN(last) "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0" last
#define TCP6 SIXTEEN("\x07") SIXTEEN("\x01") "\x9c\x40\x00\x19"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x07" "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x01" "\x9c\x40\x00\x19"
#define ZEROS_72 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define TLS_TLV "\x20\x00\x0f\x01\0\0\0\0\x21\x00\x07TLSv1.2"
#define V1_LONG "PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0007 2001:0db8:0000:0000:0000:0000:0000:0001 40000 25\r\n"
#define ROW(text) text, sizeof text - 1

static const struct {
    const char *name, *bytes;
    size_t len;
    enum proxy_event event;
    const char *client, *server; /* PROXY_CLIENT */
} headers[] = {
    { "1, IPv4", ROW("PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"), PROXY_CLIENT, "192.0.2.7:40000", "198.51.100.1:25" },
    { "1, IPv6", ROW("PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n"), PROXY_CLIENT, "[2001:db8::7]:40000", "[2001:db8::1]:25" },
    { "1, the longest IPv6", ROW(V1_LONG), PROXY_CLIENT, "[2001:db8::7]:40000", "[2001:db8::1]:25" },
    { "1, the shortest", ROW("PROXY TCP6 :: :: 1 0\r\n"), PROXY_CLIENT, "[::]:1", "[::]:0" },
    { "1, IPv4 written as IPv6", ROW("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n"), PROXY_CLIENT, "192.0.2.7:1", "[::1]:25" },
    { "1, unknown", ROW("PROXY UNKNOWN\r\n"), PROXY_LOCAL, "", "" },
    { "1, unknown with more", ROW("PROXY UNKNOWN ffff:f 1 65535 x\r\n"), PROXY_LOCAL, "", "" },
    { "1, LF alone", ROW("PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\n"), PROXY_BAD, "", "" },
    { "1, too long", ROW("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"), PROXY_BAD, "", "" },
    { "1, no family", ROW("PROXY \r\n........."), PROXY_BAD, "", "" },
    { "1, two spaces", ROW("PROXY TCP4  192.0.2.7 198.51.100.1 40000 25\r\n"), PROXY_BAD, "", "" },
    { "1, a space at the end", ROW("PROXY TCP4 192.0.2.7 198.51.100.1 40000 25 \r\n"), PROXY_BAD, "", "" },
    { "1, a field too many", ROW("PROXY TCP4 192.0.2.7 198.51.100.1 40000 25 7\r\n"), PROXY_BAD, "", "" },
    { "1, a field too few", ROW("PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n"), PROXY_BAD, "", "" },
    { "1, a port too large", ROW("PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n"), PROXY_BAD, "", "" },
    { "1, a port that is none", ROW("PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n"), PROXY_BAD, "", "" },
    { "1, the wrong family", ROW("PROXY TCP4 2001:db8::7 198.51.100.1 40000 25\r\n"), PROXY_BAD, "", "" },
    { "1, the other wrong family", ROW("PROXY TCP6 192.0.2.7 2001:db8::1 40000 25\r\n"), PROXY_BAD, "", "" },
    { "1, no address", ROW("PROXY TCP4 host.example 198.51.100.1 40000 25\r\n"), PROXY_BAD, "", "" },
    { "1, NUL in a word", ROW("PROXY TCP4 192.0.2.7\0x 198.51.100.1 40000 25\r\n"), PROXY_BAD, "", "" },
    { "1, another family", ROW("PROXY UDP4 192.0.2.7 198.51.100.1 40000 25\r\n"), PROXY_BAD, "", "" },
    { "1, in small letters", ROW("proxy TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"), PROXY_BAD, "", "" },
    { "2, IPv4", ROW(V2 "\x21\x11\x00\x0c" TCP4), PROXY_CLIENT, "192.0.2.7:40000", "198.51.100.1:25" },
    { "2, IPv6", ROW(V2 "\x21\x21\x00\x24" TCP6), PROXY_CLIENT, "[2001:db8::7]:40000", "[2001:db8::1]:25" },
    { "2, IPv4 written as IPv6", ROW(V2 "\x21\x21\x00\x24" MAPPED), PROXY_CLIENT, "192.0.2.7:40000", "198.51.100.1:25" },
    { "2, with what it says about TLS", ROW(V2 "\x21\x11\x00\x1e" TCP4 TLS_TLV), PROXY_CLIENT, "192.0.2.7:40000", "198.51.100.1:25" },
    { "2, local", ROW(V2 "\x20\x00\x00\x00"), PROXY_LOCAL, "", "" },
    { "2, local with addresses", ROW(V2 "\x20\x11\x00\x0c" TCP4), PROXY_LOCAL, "", "" },
    { "2, unspecified", ROW(V2 "\x21\x00\x00\x00"), PROXY_LOCAL, "", "" },
    { "2, UNIX", ROW(V2 "\x21\x31\x00\xd8" ZEROS_72 ZEROS_72 ZEROS_72), PROXY_LOCAL, "", "" },
    { "2, UNIX too short", ROW(V2 "\x21\x31\x00\x0c" TCP4), PROXY_BAD, "", "" },
    { "2, IPv4 too short", ROW(V2 "\x21\x11\x00\x0b" TCP4), PROXY_BAD, "", "" },
    { "2, IPv6 too short", ROW(V2 "\x21\x21\x00\x0c" TCP4), PROXY_BAD, "", "" },
    { "2, UDP", ROW(V2 "\x21\x12\x00\x0c" TCP4), PROXY_BAD, "", "" },
    { "2, another family", ROW(V2 "\x21\x41\x00\x0c" TCP4), PROXY_BAD, "", "" },
    { "2, another version", ROW(V2 "\x11\x11\x00\x0c" TCP4), PROXY_BAD, "", "" },
    { "2, another command", ROW(V2 "\x22\x11\x00\x0c" TCP4), PROXY_BAD, "", "" },
    { "2, too long", ROW(V2 "\x21\x11\x0f\xf1" TCP4), PROXY_BAD, "", "" },
    { "2, almost its start", ROW("\r\n\r\n\0\r\nQUIT\r\n.."), PROXY_BAD, "", "" },
    { "no header", ROW("EHLO client.test\r\n"), PROXY_BAD, "", "" },
    { "a TLS handshake", ROW("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03zzzzzz"), PROXY_BAD, "", "" },
};

static enum proxy_event read_exactly(struct proxy_header *out, const char *bytes, size_t len)
{
    char *copy = malloc(len + 1); /* the header ends at its end, so that a sanitizer sees a byte read too far */
    memcpy(copy + 1, bytes, len);
    enum proxy_event event = proxy_header_read(out, copy + 1, len);
    free(copy);
    return event;
}

/* step 0: as many bytes as are asked for; else so many more each time, as they came. */
static enum proxy_event read_header(struct proxy_header *out, const char *bytes, size_t len, size_t step)
{
    for (size_t have = 0;;) {
        enum proxy_event event = read_exactly(out, bytes, have);
        if (event != PROXY_NEED_MORE)
            return event;
        ck_assert_uint_gt(out->len, have);
        ck_assert_uint_le(out->len, PROXY_HEADER_MAX);
        ck_assert_uint_lt(have, len);
        have = step > 0 ? have + step : out->len;
        have = have < len ? have : len;
    }
}

START_TEST(reads_headers)
{
    char text[NETADDR_TEXT_MAX];
    for (size_t step = 0; step <= headers[_i].len; step++) {
        struct proxy_header header;
        ck_assert_msg(read_header(&header, headers[_i].bytes, headers[_i].len, step) == headers[_i].event, "%s, by %zu", headers[_i].name, step);
        if (headers[_i].event == PROXY_BAD) {
            ck_assert_ptr_nonnull(header.why);
            continue;
        }
        ck_assert_msg(header.len == headers[_i].len, "%s, by %zu: %zu bytes", headers[_i].name, step, header.len);
        if (headers[_i].event == PROXY_CLIENT) {
            ck_assert_str_eq(netaddr_format_endpoint(&header.client, text), headers[_i].client);
            ck_assert_str_eq(netaddr_format_endpoint(&header.server, text), headers[_i].server);
        } else {
            ck_assert_uint_eq(header.client.family, 0);
        }
    }
}
END_TEST

/* What stands behind the header is not asked for, and is not counted to it where it is there. */
START_TEST(leaves_what_is_behind)
{
    if (headers[_i].event == PROXY_BAD)
        return;
    struct proxy_header header;
    size_t len = headers[_i].len + 7;
    char *bytes = malloc(len);
    memcpy(bytes, headers[_i].bytes, headers[_i].len);
    memcpy(bytes + headers[_i].len, "\r\n\nEHLO", 7);
    ck_assert_msg(read_header(&header, bytes, len, 0) == headers[_i].event, "%s", headers[_i].name);
    ck_assert_uint_eq(header.len, headers[_i].len);
    ck_assert_msg(read_exactly(&header, bytes, len) == headers[_i].event, "%s", headers[_i].name);
    ck_assert_uint_eq(header.len, headers[_i].len);
    free(bytes);
}
END_TEST

static const struct {
    const char *client, *server;
    size_t len;
    const char *read_client, *read_server;
} written[] = {
    { "192.0.2.7:4711", "192.0.2.25:25", 28, "192.0.2.7:4711", "192.0.2.25:25" },
    { "[2001:db8::7]:4711", "[2001:db8::25]:465", 52, "[2001:db8::7]:4711", "[2001:db8::25]:465" },
    { "[2001:db8::7]:4711", "192.0.2.25:25", 52, "[2001:db8::7]:4711", "192.0.2.25:25" }, /* mapped, and read as what it stands for */
};

START_TEST(writes_what_it_reads)
{
    struct netaddr client, server;
    struct proxy_header header;
    char bytes[PROXY_HEADER_WRITTEN_MAX], text[NETADDR_TEXT_MAX];
    ck_assert(netaddr_parse_endpoint(&client, written[_i].client, NULL) && netaddr_parse_endpoint(&server, written[_i].server, NULL));
    ck_assert_uint_eq(proxy_header_write(bytes, &client, &server), written[_i].len);
    ck_assert_int_eq(proxy_header_read(&header, bytes, written[_i].len), PROXY_CLIENT);
    ck_assert_str_eq(netaddr_format_endpoint(&header.client, text), written[_i].read_client);
    ck_assert_str_eq(netaddr_format_endpoint(&header.server, text), written[_i].read_server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy");
    TCase *tests = tcase_create("proxy");
    tcase_add_loop_test(tests, reads_headers, 0, sizeof headers / sizeof headers[0]);
    tcase_add_loop_test(tests, leaves_what_is_behind, 0, sizeof headers / sizeof headers[0]);
    tcase_add_loop_test(tests, writes_what_it_reads, 0, sizeof written / sizeof written[0]);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

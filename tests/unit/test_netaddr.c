/* test_netaddr.c - addresses, endpoints and prefixes */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "common/netaddr.h"
#include "tests/unit/suite.h"

static const struct {
    const char *text, *formatted; /* NULL: not an address */
} addresses[] = {
    { "192.0.2.1", "192.0.2.1" },
    { "2001:DB8::1", "2001:db8::1" },
    { "::", "::" },
    { "::ffff:192.0.2.1", "192.0.2.1" },
    { "", NULL },
    { "192.0.2", NULL },
    { "192.0.2.256", NULL },
    { "192.0.2.01", NULL },
    { " 192.0.2.1", NULL },
    { "192.0.2.1:25", NULL },
    { "0x7f.1", NULL },
    { "2001:db8::1::", NULL },
    { "[::1]", NULL },
    { "fe80::1%eth0", NULL },
    { "example.edu", NULL },
};

START_TEST(parses_addresses)
{
    struct netaddr address;
    char text[NETADDR_TEXT_MAX];
    bool expected = addresses[_i].formatted != NULL;

    ck_assert_int_eq(netaddr_parse(&address, addresses[_i].text), expected);
    if (expected) {
        ck_assert_str_eq(netaddr_format(&address, text), addresses[_i].formatted);
        ck_assert_uint_eq(address.port, 0);
    }
}
END_TEST

static const struct {
    const char *text, *formatted, *why; /* one of the two is NULL */
} endpoints[] = {
    { "192.0.2.1:25", "192.0.2.1:25", NULL },
    { "[2001:db8::1]:2525", "[2001:db8::1]:2525", NULL },
    { "*:25", "0.0.0.0:25", NULL },
    { "[::]:65535", "[::]:65535", NULL },
    { "[::ffff:192.0.2.1]:25", "192.0.2.1:25", NULL },
    { "192.0.2.1", NULL, "'192.0.2.1' has no port: write ADDRESS:PORT, as 192.0.2.1:25 or [2001:db8::1]:25" },
    { "[::1]", NULL, "'[::1]' has no port: write ADDRESS:PORT, as 192.0.2.1:25 or [2001:db8::1]:25" },
    { "::1:25", NULL, "'::1:25': an IPv6 address is written in brackets: [::1]:25" },
    { "[192.0.2.1]:25", NULL, "'[192.0.2.1]:25': '192.0.2.1' is not an IP address" },
    { "192.0.2.1:0", NULL, "'192.0.2.1:0': the port is a number from 1 to 65535" },
    { "192.0.2.1:65536", NULL, "'192.0.2.1:65536': the port is a number from 1 to 65535" },
    { "192.0.2.1:+25", NULL, "'192.0.2.1:+25': the port is a number from 1 to 65535" },
    { "192.0.2.1:", NULL, "'192.0.2.1:': the port is a number from 1 to 65535" },
    { "[*]:25", NULL, "'[*]:25': '*' is not an IP address" },
    { "[]:25", NULL, "'[]:25': '' is not an IP address" },
    { ":25", NULL, "':25': '' is not an IP address" },
    { "mail.example.edu:25", NULL, "'mail.example.edu:25': 'mail.example.edu' is not an IP address" },
    { "[:25", NULL, "'[:25' has no port: write ADDRESS:PORT, as 192.0.2.1:25 or [2001:db8::1]:25" },
    { "0000000000000000000000000000000000000000000000000000000000000000000:25", NULL,
      "'0000000000000000000000000000000000000000000000000000000000000000000:25': the address is too long" },
};

START_TEST(parses_endpoints)
{
    struct netaddr address;
    struct error why = { "" };
    char text[NETADDR_TEXT_MAX];

    if (netaddr_parse_endpoint(&address, endpoints[_i].text, &why)) {
        ck_assert_ptr_nonnull(endpoints[_i].formatted);
        ck_assert_str_eq(netaddr_format_endpoint(&address, text), endpoints[_i].formatted);
    } else {
        ck_assert_ptr_nonnull(endpoints[_i].why);
        ck_assert_str_eq(why.text, endpoints[_i].why);
    }
}
END_TEST

static const struct {
    const char *prefix, *why;    /* why NULL: it parses */
    const char *inside, *outside;
} prefixes[] = {
    { "192.0.2.0/24", NULL, "192.0.2.255", "192.0.3.0" },
    { "192.0.2.7", NULL, "192.0.2.7", "192.0.2.6" },
    { "192.0.2.128/25", NULL, "192.0.2.129", "192.0.2.127" },
    { "0.0.0.0/0", NULL, "255.255.255.255", "::1" },
    { "2001:db8::/32", NULL, "2001:db8:ffff::1", "2001:db9::" },
    { "2001:db8::/33", NULL, "2001:db8:7fff::1", "2001:db8:8000::" },
    { "::1", NULL, "::1", "::2" },
    { "::/0", NULL, "2001:db8::1", "192.0.2.1" },
    { "::ffff:192.0.2.0/120", NULL, "192.0.2.9", "192.0.3.9" },
    { "192.0.2.7/24", "'192.0.2.7/24' has bits set behind the prefix: write 192.0.2.0/24", NULL, NULL },
    { "2001:db8::1/64", "'2001:db8::1/64' has bits set behind the prefix: write 2001:db8::/64", NULL, NULL },
    { "192.0.2.0/33", "'192.0.2.0/33': the prefix length is a number from 0 to 32", NULL, NULL },
    { "::/129", "'::/129': the prefix length is a number from 0 to 128", NULL, NULL },
    { "192.0.2.0/", "'192.0.2.0/': the prefix length is a number from 0 to 32", NULL, NULL },
    { "192.0.2.0/-1", "'192.0.2.0/-1': the prefix length is a number from 0 to 32", NULL, NULL },
    { "192.0.2.0/99999999999999999999", "'192.0.2.0/99999999999999999999': the prefix length is a number from 0 to 32", NULL, NULL },
    { "::ffff:192.0.2.0/24", "'::ffff:192.0.2.0/24': the prefix length is a number from 96 to 128", NULL, NULL },
    { "192.0.2/24", "'192.0.2/24' is not an IP address or network: write 192.0.2.0/24 or 2001:db8::/32", NULL, NULL },
    { "", "'' is not an IP address or network: write 192.0.2.0/24 or 2001:db8::/32", NULL, NULL },
};

START_TEST(parses_prefixes)
{
    struct netaddr_prefix prefix;
    struct netaddr address;
    struct error why = { "" };

    if (!netaddr_prefix_parse(&prefix, prefixes[_i].prefix, &why)) {
        ck_assert_ptr_nonnull(prefixes[_i].why);
        ck_assert_str_eq(why.text, prefixes[_i].why);
        return;
    }
    ck_assert_ptr_null(prefixes[_i].why);
    ck_assert(netaddr_parse(&address, prefixes[_i].inside));
    ck_assert(netaddr_prefix_contains(&prefix, &address));
    ck_assert(netaddr_parse(&address, prefixes[_i].outside));
    ck_assert(!netaddr_prefix_contains(&prefix, &address));
    ck_assert(!netaddr_prefix_contains(&prefix, &(struct netaddr){ 0 }));
    ck_assert(!netaddr_prefix_contains(&(struct netaddr_prefix){ 0 }, &(struct netaddr){ 0 }));
}
END_TEST

START_TEST(goes_through_sockaddr)
{
    static const char *const texts[] = { "192.0.2.1:25", "[2001:db8::1]:2525" };
    struct netaddr in, out;
    struct sockaddr_storage storage;

    for (size_t i = 0; i < 2; i++) {
        ck_assert(netaddr_parse_endpoint(&in, texts[i], NULL));
        socklen_t len = netaddr_to_sockaddr(&in, &storage);
        ck_assert_uint_eq(len, i == 0 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        ck_assert(netaddr_from_sockaddr(&out, (struct sockaddr *)&storage));
        ck_assert(netaddr_equal(&in, &out));
        ck_assert_uint_eq(in.port, out.port);
    }
    ck_assert_uint_eq(netaddr_to_sockaddr(&(struct netaddr){ 0 }, &storage), 0);
    struct sockaddr local = { .sa_family = AF_UNIX };
    ck_assert(!netaddr_from_sockaddr(&out, &local));
    ck_assert_uint_eq(out.family, 0);
}
END_TEST

START_TEST(mapped_addresses_are_ipv4)
{
    struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons(25) };
    struct netaddr address;
    char text[NETADDR_TEXT_MAX];

    ck_assert_int_eq(inet_pton(AF_INET6, "::ffff:192.0.2.1", &mapped.sin6_addr), 1);
    ck_assert(netaddr_from_sockaddr(&address, (struct sockaddr *)&mapped));
    ck_assert_int_eq(address.family, AF_INET);
    ck_assert_str_eq(netaddr_format_endpoint(&address, text), "192.0.2.1:25");
    ck_assert_str_eq(netaddr_format(&(struct netaddr){ 0 }, text), "unknown");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("netaddr");
    TCase *tests = tcase_create("netaddr");

    tcase_add_loop_test(tests, parses_addresses, 0, sizeof addresses / sizeof addresses[0]);
    tcase_add_loop_test(tests, parses_endpoints, 0, sizeof endpoints / sizeof endpoints[0]);
    tcase_add_loop_test(tests, parses_prefixes, 0, sizeof prefixes / sizeof prefixes[0]);
    tcase_add_test(tests, goes_through_sockaddr);
    tcase_add_test(tests, mapped_addresses_are_ipv4);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/*
 * test_mx.c - MX records to candidates: order, chance, ourselves, limits; the packets they come in
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "edge/dns/client_name.h"
#include "edge/dns/mx.h"
#include "tests/unit/suite.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Chance as told: always the last place, so nothing moves; or always the first. */
static uint32_t last_place(void *arg, uint32_t below)
{
    (void)arg;
    return below - 1;
}

static uint32_t first_place(void *arg, uint32_t below)
{
    (void)arg, (void)below;
    return 0;
}

static uint32_t any_place(void *arg, uint32_t below)
{
    unsigned *seed = arg;
    return (uint32_t)rand_r(seed) % below;
}

/* "10 a, 20 b" */
static size_t parse_records(struct dns_mx *out, const char *text)
{
    size_t count = 0;
    char *copy = strdup(text), *save = NULL;
    for (char *item = strtok_r(copy, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save)) {
        unsigned preference;
        char host[100] = "";
        ck_assert_int_ge(sscanf(item, "%u %99s", &preference, host), 1);
        out[count].preference = (uint16_t)preference;
        strcpy(out[count++].host, strcmp(host, ".") == 0 ? "" : host);
    }
    free(copy);
    return count;
}

static const char *format_records(const struct dns_mx *records, size_t count)
{
    static char text[1000];
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        sprintf(text + strlen(text), "%s%u %s", i > 0 ? ", " : "", records[i].preference, records[i].host);
    return text;
}

static char *own_names[] = { "mx.weir.edu", "mx2.weir.edu" };
static const struct config_list own_list = { own_names, 2 };

static const struct {
    const char *records, *expected;
    enum mx_status status;
    mx_random *random;
} orders[] = {
    { "10 a", "10 a", MX_OK, last_place },
    { "30 c, 10 a, 20 b", "10 a, 20 b, 30 c", MX_OK, last_place },
    { "0 a, 65535 b", "0 a, 65535 b", MX_OK, last_place },
    { "10 a, 10 b, 5 c", "5 c, 10 b, 10 a", MX_OK, first_place },
    { "0 .", "", MX_NULL, last_place },
    { "0 ., 10 .", "", MX_NULL, last_place },
    { "0 ., 10 a", "10 a", MX_OK, last_place }, /* RFC 7505 3: only a lone "." says anything */
    { "10 a, 20 mx.weir.edu, 30 b", "10 a", MX_OK, last_place },
    { "10 a, 20 b, 20 MX2.weir.edu", "10 a", MX_OK, last_place }, /* equal ones go, too */
    { "10 a, 20 b, 20 mx2.weir.edu", "10 a", MX_OK, first_place },
    { "10 mx.weir.edu, 20 a", "", MX_LOOP, last_place },
    { "10 a, 10 Edge-1.weir.edu", "", MX_LOOP, last_place },
    { "20 a, 10 edge-1.weir.edu", "", MX_LOOP, last_place },
};

START_TEST(order)
{
    struct dns_mx records[10];
    struct mx_self self = { .hostname = "edge-1.weir.edu", .names = &own_list };
    size_t count = parse_records(records, orders[_i].records);
    mx_sort(records, count, orders[_i].random, NULL);
    enum mx_status status = mx_keep_usable(records, &count, &self);
    ck_assert_msg(status == orders[_i].status, "%s: status %d", orders[_i].records, status);
    if (status == MX_OK)
        ck_assert_str_eq(format_records(records, count), orders[_i].expected);
}
END_TEST

/* Each of three equal hosts comes first about as often, and never before a better one. */
START_TEST(equal_ones_are_shuffled)
{
    unsigned seed = 1, first[3] = { 0 };
    for (int round = 0; round < 3000; round++) {
        struct dns_mx records[5];
        size_t count = parse_records(records, "10 a, 10 b, 20 d, 10 c, 5 e");
        mx_sort(records, count, any_place, &seed);
        ck_assert_str_eq(records[0].host, "e");
        ck_assert_str_eq(records[4].host, "d");
        first[records[1].host[0] - 'a']++;
    }
    for (int i = 0; i < 3; i++)
        ck_assert_msg(first[i] > 800 && first[i] < 1200, "%u %u %u", first[0], first[1], first[2]);
}
END_TEST

/* Hosts as "PREFERENCE NAME ADDRESS...": without addresses "-" not found, "!" failed. */
static const struct {
    const char *name;
    const char *hosts[4];
    size_t limit;
    const char *expected; /* the plan's text; else the status */
    enum mx_status status;
    bool more;
} plans[] = {
    { "IPv6 and IPv4 in turn", { "10 a 192.0.2.1 192.0.2.2 2001:db8::1" }, 5,
      "10 a[2001:db8::1]:25\n10 a[192.0.2.1]:25\n10 a[192.0.2.2]:25\n", MX_OK, false },
    { "all hosts, in order", { "10 a 192.0.2.1", "20 b 192.0.2.2 192.0.2.3" }, 5,
      "10 a[192.0.2.1]:25\n20 b[192.0.2.2]:25\n20 b[192.0.2.3]:25\n", MX_OK, false },
    { "limit", { "10 a 192.0.2.1", "20 b 192.0.2.2 192.0.2.3" }, 2, "10 a[192.0.2.1]:25\n20 b[192.0.2.2]:25\n", MX_OK, true },
    { "one without address", { "10 a -", "20 b 192.0.2.2" }, 5, "20 b[192.0.2.2]:25\n", MX_OK, false },
    { "one that failed", { "10 a !", "20 b 192.0.2.2" }, 5, "20 b[192.0.2.2]:25\n", MX_OK, false },
    { "none has an address", { "10 a -", "20 b -" }, 5, "", MX_NO_ADDRESS, false },
    { "may have one", { "10 a -", "20 b !" }, 5, "", MX_FAILED, false },
    { "ourselves", { "10 a 198.51.100.1" }, 5, "", MX_LOOP, false },
    { "ourselves, second", { "10 a 192.0.2.1", "20 b 198.51.100.1", "30 c 192.0.2.3" }, 5, "10 a[192.0.2.1]:25\n", MX_OK, false },
    { "ourselves among equals", { "10 a 192.0.2.1", "20 b 192.0.2.2", "20 c 192.0.2.9 198.51.100.1" }, 5, "10 a[192.0.2.1]:25\n", MX_OK,
      false },
    { "better ones failed, then ourselves", { "10 a !", "20 b 198.51.100.1" }, 5, "", MX_FAILED, false },
    { "nowhere is here", { "10 a 0.0.0.0" }, 5, "", MX_LOOP, false },
    { "nowhere is here, IPv6", { "10 a ::" }, 5, "", MX_LOOP, false },
    { "another port of ours is somebody else", { "10 a 198.51.100.2" }, 5, "10 a[198.51.100.2]:25\n", MX_OK, false },
    { "loopback of a listener everywhere", { "10 a 127.0.0.9" }, 5, "", MX_LOOP, false },
};

static void add_host(struct mx_plan *plan, const char *text)
{
    char *copy = strdup(text), *save = NULL;
    plan->hosts = xrealloc(plan->hosts, (plan->host_count + 1) * sizeof *plan->hosts);
    struct mx_host *host = &plan->hosts[plan->host_count++];
    memset(host, 0, sizeof *host);
    host->preference = (uint16_t)atoi(strtok_r(copy, " ", &save));
    strcpy(host->name, strtok_r(NULL, " ", &save));
    for (char *word; (word = strtok_r(NULL, " ", &save)) != NULL;) {
        struct netaddr address;
        if (!netaddr_parse(&address, word)) {
            host->status = *word == '!' ? DNS_FAILED : DNS_NOT_FOUND;
            continue;
        }
        host->addresses = xrealloc(host->addresses, (host->address_count + 1) * sizeof *host->addresses);
        host->addresses[host->address_count++] = address;
    }
    free(copy);
}

START_TEST(plan)
{
    struct netaddr own[4];
    struct error why;
    struct mx_plan made = { 0 };
    char text[1000];
    bool more;
    ck_assert(netaddr_parse_endpoint(&own[0], "198.51.100.1:25", &why));
    ck_assert(netaddr_parse_endpoint(&own[1], "198.51.100.2:587", &why));
    ck_assert(netaddr_parse_endpoint(&own[2], "*:25", &why));
    ck_assert(netaddr_parse_endpoint(&own[3], "[::1]:25", &why));
    struct mx_self self = { .hostname = "edge", .addresses = own, .address_count = COUNT(own) };
    for (size_t i = 0; i < 4 && plans[_i].hosts[i] != NULL; i++)
        add_host(&made, plans[_i].hosts[i]);
    mx_plan_finish(&made, &self, 25, plans[_i].limit, &more, last_place, NULL);
    ck_assert_msg(made.status == plans[_i].status, "%s: status %d", plans[_i].name, made.status);
    mx_plan_format(text, sizeof text, &made);
    if (made.status == MX_OK)
        ck_assert_str_eq(text, plans[_i].expected);
    ck_assert_msg(more == plans[_i].more, "%s: more", plans[_i].name);
    mx_plan_fini(&made);
}
END_TEST

START_TEST(plan_text_is_cut)
{
    struct mx_plan made = { 0 };
    struct mx_self self = { .hostname = "edge" };
    char text[24];
    bool more;
    add_host(&made, "10 a 192.0.2.1 192.0.2.2");
    made.hosts[0].dane = MX_DANE_VERIFY;
    mx_plan_finish(&made, &self, 25, 5, &more, last_place, NULL);
    ck_assert_uint_eq(mx_plan_format(text, sizeof text, &made), sizeof text - 1);
    ck_assert_int_eq(strncmp(text, "10 a[192.0.2.1]:25 dane", 23), 0);
    mx_plan_fini(&made);
}
END_TEST

static const struct {
    const char *name, *canonical;
    bool secure;
    enum mx_tlsa place;
} places[] = {
    { "mx.example", "mx.example", true, MX_TLSA_NAME },
    { "mx.example", "MX.example", true, MX_TLSA_NAME },
    { "mx.example", "", true, MX_TLSA_NAME }, /* the records stand under something that is no host's name */
    { "mx.example", "host.example", true, MX_TLSA_CANONICAL },
    { "mx.example", "mx.example", false, MX_TLSA_NOWHERE },
    { "mx.example", "", false, MX_TLSA_ASK_ALIAS }, /* forged, perhaps */
    { "mx.example", "host.plain", false, MX_TLSA_ASK_ALIAS },
};

START_TEST(tlsa_place)
{
    ck_assert_int_eq(mx_tlsa_place(places[_i].secure, places[_i].name, places[_i].canonical), places[_i].place);
}
END_TEST

/* ---- packets ---- */

#define HEADER(answers) "\x12\x34\x81\x80\0\1\0" answers "\0\0\0\0"
#define QUESTION(type) "\7example\3edu\0\0" type "\0\1"
#define OWNER "\xc0\x0c"
#define RECORD(type, len) OWNER "\0" type "\0\1\0\0\1\x2c\0" len
#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *name, *packet;
    size_t len;
    const char *expected;
} mx_packets[] = {
    { "two", BYTES(HEADER("\2") QUESTION("\x0f") RECORD("\x0f", "\x09") "\0\x0a\4Mail" OWNER RECORD("\x0f", "\x04") "\0\x14" OWNER),
      "10 mail.example.edu, 20 example.edu" },
    { "null MX", BYTES(HEADER("\1") QUESTION("\x0f") RECORD("\x0f", "\3") "\0\0\0"), "0 " },
    { "a dot inside a label", BYTES(HEADER("\1") QUESTION("\x0f") RECORD("\x0f", "\7") "\0\x0a\3a.b\0"), "" },
    { "a blank inside a label", BYTES(HEADER("\1") QUESTION("\x0f") RECORD("\x0f", "\7") "\0\x0a\3a b\0"), "" },
    { "a pointer to itself", BYTES(HEADER("\1") QUESTION("\x0f") RECORD("\x0f", "\4") "\0\x0a\xc0\x2b"), "" },
    { "too short", BYTES(HEADER("\1") QUESTION("\x0f") RECORD("\x0f", "\2") "\0\x0a"), "" },
};

START_TEST(mx_packet)
{
    struct dns_mx out[4];
    bool more;
    for (size_t cut = 0; cut <= mx_packets[_i].len; cut++) {
        uint8_t *copy = xmemdup(mx_packets[_i].packet, mx_packets[_i].len - cut);
        size_t count = dns_packet_mx(copy, mx_packets[_i].len - cut, out, COUNT(out), &more);
        free(copy);
        if (cut == 0)
            ck_assert_str_eq(format_records(out, count), mx_packets[_i].expected);
    }
}
END_TEST

START_TEST(mx_packet_with_more_than_fit)
{
    struct dns_mx out[1];
    bool more;
    ck_assert_uint_eq(dns_packet_mx((const uint8_t *)mx_packets[0].packet, mx_packets[0].len, out, 1, &more), 1);
    ck_assert(more);
}
END_TEST

START_TEST(name_too_long)
{
    uint8_t packet[700] = HEADER("\1") QUESTION("\x0f");
    size_t at = 12 + sizeof(QUESTION("\x0f")) - 1;
    struct dns_mx out[1];
    bool more;
    memcpy(packet + at, RECORD("\x0f", "\0") "\0\x0a", 14);
    packet[at + 10] = 1; /* 2 + 5 * 64 + 1 bytes of data */
    packet[at + 11] = 0x43;
    at += 14;
    for (int label = 0; label < 5; label++, at += 64) {
        packet[at] = 63;
        memset(packet + at + 1, 'a', 63);
    }
    ck_assert_uint_eq(dns_packet_mx(packet, at + 1, out, 1, &more), 0);
}
END_TEST

START_TEST(tlsa_packet)
{
    static const char packet[] = HEADER("\2") QUESTION("\x34") RECORD("\x34", "\5") "\3\1\0ab" RECORD("\x34", "\3") "\3\1\1";
    struct dns_tlsa out[4];
    char owner[DNS_NAME_MAX];
    ck_assert_uint_eq(dns_packet_tlsa((const uint8_t *)packet, sizeof packet - 1, out, 4), 1); /* one without data is none */
    ck_assert(out[0].usage == 3 && out[0].selector == 1 && out[0].matching == 0 && out[0].len == 2 && memcmp(out[0].data, "ab", 2) == 0);
    ck_assert(dns_packet_owner((const uint8_t *)packet, sizeof packet - 1, DNS_TYPE_TLSA, owner));
    ck_assert_str_eq(owner, "example.edu");
    ck_assert(!dns_packet_owner((const uint8_t *)packet, sizeof packet - 1, DNS_TYPE_MX, owner));
}
END_TEST

static const struct {
    struct dns_tlsa tlsa;
    bool usable;
} tlsas[] = {
    { { 3, 1, 1, NULL, 32 }, true },  { { 2, 0, 2, NULL, 64 }, true },  { { 3, 0, 0, NULL, 900 }, true },  { { 0, 1, 1, NULL, 32 }, false },
    { { 1, 1, 1, NULL, 32 }, false }, { { 3, 2, 1, NULL, 32 }, false }, { { 3, 1, 1, NULL, 31 }, false }, { { 3, 1, 3, NULL, 32 }, false },
    { { 4, 1, 1, NULL, 32 }, false }, { { 3, 1, 2, NULL, 32 }, false },
};

START_TEST(tlsa_usable)
{
    ck_assert(dns_tlsa_is_usable(&tlsas[_i].tlsa) == tlsas[_i].usable);
}
END_TEST

START_TEST(ptr_packet)
{
    static const char packet[] = HEADER("\2") QUESTION("\x0c") RECORD("\x0c", "\7") "\4Host" OWNER RECORD("\x0c", "\1") "\0";
    char out[3][DNS_NAME_MAX], reverse[DNS_NAME_MAX];
    struct netaddr address;
    ck_assert_uint_eq(dns_packet_ptr((const uint8_t *)packet, sizeof packet - 1, out, 3), 1);
    ck_assert_str_eq(out[0], "host.example.edu");
    ck_assert(netaddr_parse(&address, "192.0.2.7"));
    ck_assert_str_eq(client_name_reverse(reverse, &address), "7.2.0.192.in-addr.arpa");
    ck_assert(netaddr_parse(&address, "2001:db8::1f"));
    ck_assert_str_eq(client_name_reverse(reverse, &address),
                     "f.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mx");
    TCase *pure = tcase_create("mx");
    tcase_add_loop_test(pure, order, 0, (int)COUNT(orders));
    tcase_add_test(pure, equal_ones_are_shuffled);
    tcase_add_loop_test(pure, plan, 0, (int)COUNT(plans));
    tcase_add_test(pure, plan_text_is_cut);
    tcase_add_loop_test(pure, tlsa_place, 0, (int)COUNT(places));
    tcase_add_loop_test(pure, mx_packet, 0, (int)COUNT(mx_packets));
    tcase_add_test(pure, mx_packet_with_more_than_fit);
    tcase_add_test(pure, name_too_long);
    tcase_add_test(pure, tlsa_packet);
    tcase_add_loop_test(pure, tlsa_usable, 0, (int)COUNT(tlsas));
    tcase_add_test(pure, ptr_packet);
    suite_add_tcase(suite, pure);
    return run_suite(suite);
}

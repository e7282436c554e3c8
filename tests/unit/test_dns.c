/*
 * test_dns.c - packets in wire format, and names that need no resolver
 */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/dns/dns.h"
#include "edge/dns/dnsbl.h"
#include "edge/dns/packet.h"
#include "tests/unit/suite.h"

#define HEADER(questions, answers) "\x12\x34\x81\x80\0" questions "\0" answers "\0\0\0\0"
#define QUESTION "\3mx1\4test\0\0\1\0\1"
#define A_RECORD "\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4"
#define AAAA_RECORD "\xc0\x0c\0\x1c\0\1\0\0\1\x2c\0\x10"
#define CNAME_RECORD "\xc0\x0c\0\5\0\1\0\0\1\x2c\0\2\xc0\x0c"

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *name, *packet;
    size_t len;
    int type;
    const char *expected; /* addresses with blanks between */
} packets[] = {
    { "one address", BYTES(HEADER("\1", "\1") QUESTION A_RECORD "\xc0\0\2\1"), DNS_TYPE_A, "192.0.2.1" },
    { "two, behind a CNAME", BYTES(HEADER("\1", "\3") QUESTION CNAME_RECORD A_RECORD "\xc0\0\2\1" A_RECORD "\xc0\0\2\2"), DNS_TYPE_A,
      "192.0.2.1 192.0.2.2" },
    { "IPv6", BYTES(HEADER("\1", "\1") QUESTION AAAA_RECORD "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"), DNS_TYPE_AAAA, "2001:db8::1" },
    { "the other type", BYTES(HEADER("\1", "\1") QUESTION A_RECORD "\xc0\0\2\1"), DNS_TYPE_AAAA, "" },
    { "no answer", BYTES(HEADER("\1", "\0") QUESTION), DNS_TYPE_A, "" },
    { "says more than there is", BYTES(HEADER("\1", "\7") QUESTION A_RECORD "\xc0\0\2\1"), DNS_TYPE_A, "192.0.2.1" },
    { "data cut", BYTES(HEADER("\1", "\1") QUESTION A_RECORD "\xc0\0"), DNS_TYPE_A, "" },
    { "wrong data length", BYTES(HEADER("\1", "\1") QUESTION "\xc0\x0c\0\1\0\1\0\0\1\x2c\0\5\1\2\3\4\5"), DNS_TYPE_A, "" },
    { "name without end", BYTES(HEADER("\1", "\1") "\x3f"
                                                   "abc"),
      DNS_TYPE_A, "" },
    { "reserved label kind", BYTES(HEADER("\1", "\1") "\x80\0\0\1\0\1"), DNS_TYPE_A, "" },
    { "header only", BYTES(HEADER("\0", "\1")), DNS_TYPE_A, "" },
    { "nothing", BYTES(""), DNS_TYPE_A, "" },
};

START_TEST(packet)
{
    struct netaddr out[4];
    char text[256] = "", one[NETADDR_TEXT_MAX];
    /* whole, from a heap copy of exactly its length, so that one byte read too far is seen; then every shorter one */
    for (size_t cut = 0; cut <= packets[_i].len; cut++) {
        uint8_t *copy = xmemdup(packets[_i].packet, packets[_i].len - cut);
        size_t count = dns_packet_addresses(copy, packets[_i].len - cut, packets[_i].type, out, 4);
        free(copy);
        for (size_t i = 0; cut == 0 && i < count; i++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > 0 ? " " : "", netaddr_format(&out[i], one));
    }
    ck_assert_msg(strcmp(text, packets[_i].expected) == 0, "%s: \"%s\"", packets[_i].name, text);
}
END_TEST

START_TEST(packet_with_more_than_fit)
{
    struct netaddr out[1];
    static const char two[] = HEADER("\1", "\2") QUESTION A_RECORD "\xc0\0\2\1" A_RECORD "\xc0\0\2\2";
    ck_assert_uint_eq(dns_packet_addresses((const uint8_t *)two, sizeof two - 1, DNS_TYPE_A, out, 1), 1);
}
END_TEST

static struct event_base *base;
static struct dns *dns;
static struct metrics metrics;
static enum dns_status status;
static char found[256];
static unsigned answers;

static void on_done(void *arg, enum dns_status outcome, const struct netaddr *addresses, size_t count)
{
    char one[NETADDR_TEXT_MAX];
    ck_assert_ptr_eq(arg, &found);
    status = outcome;
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(addresses[i].port, 0);
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s ", netaddr_format(&addresses[i], one));
    }
    answers++;
}

static void setup(void)
{
    struct error why;
    base = event_base_new();
    metrics_init(&metrics);
    dns = dns_new(base, &(struct edge_settings){ .dns_timeout = 10000 }, &metrics, &why);
    ck_assert_msg(dns != NULL, "%s", why.text);
    answers = 0;
    found[0] = '\0';
}

static void teardown(void)
{
    dns_free(&dns);
    event_base_free(base);
    metrics_fini(&metrics);
}

static void run_until_answered(void)
{
    uint64_t stop = clock_ms() + 60000;
    while (answers == 0 && clock_ms() < stop) {
        struct timeval soon = { 0, 10000 };
        event_base_loopexit(base, &soon);
        event_base_dispatch(base);
    }
    ck_assert_uint_eq(answers, 1);
}

static const struct {
    const char *name, *expected; /* expected to be among the addresses */
} names[] = { { "192.0.2.7", "192.0.2.7 " }, { "2001:db8::7", "2001:db8::7 " }, { "localhost", "127.0.0.1 " } };

START_TEST(name)
{
    ck_assert_ptr_nonnull(dns_addresses(dns, names[_i].name, on_done, &found));
    ck_assert_uint_eq(answers, 0);
    run_until_answered();
    ck_assert_int_eq(status, DNS_OK);
    ck_assert_msg(strstr(found, names[_i].expected) != NULL, "%s", found);
}
END_TEST

/* The machine's own name, or whichever comes first in the hosts file: not a name that libunbound knows by itself. */
START_TEST(name_in_hosts_file)
{
    char line[256], host[128] = "", address[64];
    FILE *file = fopen("/etc/hosts", "r");
    while (file != NULL && host[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%63[0-9.] %127s", address, host) != 2 || strncmp(host, "localhost", 9) == 0)
            host[0] = '\0';
    }
    if (file != NULL)
        fclose(file);
    if (host[0] == '\0')
        return;
    dns_addresses(dns, host, on_done, &found);
    run_until_answered();
    ck_assert_int_eq(status, DNS_OK);
    ck_assert_msg(strstr(found, address) != NULL, "%s: %s", host, found);
}
END_TEST

START_TEST(name_that_cannot_be_one)
{
    char label[80];
    memset(label, 'a', sizeof label - 1);
    label[sizeof label - 1] = '\0';
    dns_addresses(dns, label, on_done, &found); /* a label has at most 63 octets */
    run_until_answered();
    ck_assert_int_ne(status, DNS_OK);
}
END_TEST

static const struct {
    char *forward, *stub, *anchor;
    const char *why; /* NULL: fine */
} options[] = {
    { NULL, NULL, NULL, NULL },
    { "root", "example.edu=192.0.2.1", NULL, NULL },
    { "192.0.2.1", NULL, NULL, NULL },
    { "[2001:db8::1]:5353", "test=[2001:db8::1]:5353", NULL, NULL },
    { NULL, NULL, "/nonexistent", "dns_trust_anchor = /nonexistent: No such file or directory" },
};

START_TEST(settings)
{
    char *forward[] = { options[_i].forward }, *stub[] = { options[_i].stub };
    struct edge_settings edge = { .dns_timeout = 1000,
                                  .dns_forward = { forward, forward[0] != NULL },
                                  .dns_stub = { stub, stub[0] != NULL },
                                  .dns_trust_anchor = options[_i].anchor };
    struct error why = { "" };
    struct dns *made = dns_new(base, &edge, &metrics, &why);
    ck_assert((options[_i].why == NULL) == (made != NULL));
    ck_assert_str_eq(why.text, options[_i].why != NULL ? options[_i].why : "");
    dns_free(&made);
}
END_TEST

/* A name server that says nothing: it is our time limit that counts, and libunbound's own answer may come ever so late. */
START_TEST(a_silent_server)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    char text[40], *forward[] = { text };
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(at.sin_port));
    struct edge_settings edge = { .dns_timeout = 200, .dns_forward = { forward, 1 } };
    struct error why;
    dns_free(&dns);
    dns = dns_new(base, &edge, &metrics, &why);
    ck_assert_msg(dns != NULL, "%s", why.text);
    dns_addresses(dns, "host.example", on_done, &found);
    run_until_answered();
    ck_assert_int_eq(status, DNS_FAILED);
    ck_assert_double_eq(metrics_counter(&metrics, "weir_dns_lookups_total", "type=\"a\",result=\"timeout\"")->value, 1);
    close(fd);
}
END_TEST

static void on_verdict(void *arg, const struct dnsbl_verdict *verdict)
{
    (void)arg;
    ck_assert_int_eq(verdict->score, 0);
    answers++;
}

static const struct {
    uint64_t pause_ms;
    bool asked_again; /* soon */
} pauses[] = { { 3600000, false }, { 1, true } };

START_TEST(dnsbl_that_is_silent)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    char text[40], *forward[] = { text }, *lists[] = { "bl.example" };
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(at.sin_port));
    struct edge_settings edge = { .dns_timeout = 60000, .dns_forward = { forward, 1 } };
    struct error why = { "" };
    dns_free(&dns);
    dns = dns_new(base, &edge, &metrics, &why);
    struct dnsbl *dnsbl = dnsbl_new(&(struct config_list){ lists, 1 }, pauses[_i].pause_ms, &why);
    ck_assert_msg(dns != NULL && dnsbl != NULL, "%s", why.text);
    struct netaddr client;
    netaddr_parse(&client, "192.0.2.7");
    ck_assert_ptr_nonnull(dnsbl_lookup(dnsbl, dns, &metrics, &client, 20, on_verdict, NULL));
    run_until_answered();
    struct dnsbl_query *again = dnsbl_lookup(dnsbl, dns, &metrics, &client, 60000, on_verdict, NULL);
    for (uint64_t stop = clock_ms() + 60000; pauses[_i].asked_again && again == NULL && clock_ms() < stop; usleep(1000))
        again = dnsbl_lookup(dnsbl, dns, &metrics, &client, 60000, on_verdict, NULL);
    ck_assert((again != NULL) == pauses[_i].asked_again);
    dnsbl_cancel(&again);
    dnsbl_free(&dnsbl);
    close(fd);
}
END_TEST

START_TEST(cancelled)
{
    struct dns_query *query = dns_addresses(dns, "localhost", on_done, &found);
    struct dns_query *pending = dns_addresses(dns, "nowhere.invalid.", on_done, &found);
    dns_cancel(&query);
    dns_cancel(&pending);
    ck_assert_ptr_null(query);
    struct timeval soon = { 0, 50000 };
    event_base_loopexit(base, &soon);
    event_base_dispatch(base);
    ck_assert_uint_eq(answers, 0);
}
END_TEST

START_TEST(freed_with_queries_under_way)
{
    dns_addresses(dns, "host.example.", on_done, &found);
    dns_addresses(dns, "192.0.2.1", on_done, &found);
    dns_free(&dns);
    ck_assert_uint_eq(answers, 0);
}
END_TEST

static struct dnsbl *one_list(const char *text, struct error *why)
{
    char *item = xstrdup(text);
    struct dnsbl *dnsbl = dnsbl_new(&(struct config_list){ &item, 1 }, 60000, why);
    free(item);
    return dnsbl;
}

static const struct {
    const char *list, *answer;
    const char *expected; /* the weight; "error": the list does not serve us; "": not a listing */
} listings[] = {
    { "bl.example", "127.0.0.2", "1" },
    { "BL.Example.", "127.0.0.255", "1" },
    { "bl.example*3", "127.9.9.9", "3" },
    { "bl.example=127.0.0.2", "127.0.0.2", "1" },
    { "bl.example=127.0.0.2", "127.0.0.3", "" },
    { "bl.example=127.0.0.[2..11]*3", "127.0.0.2", "3" },
    { "bl.example=127.0.0.[2..11]*3", "127.0.0.11", "3" },
    { "bl.example=127.0.0.[2..11]*3", "127.0.0.12", "" },
    { "bl.example=127.0.0.[2;4;10..11]", "127.0.0.4", "1" },
    { "bl.example=127.0.0.[2;4;10..11]", "127.0.0.5", "" },
    { "wl.example=127.0.[0..255].[1..3]*-2", "127.0.15.3", "-2" },
    { "bl.example", "127.255.255.254", "error" },
    { "bl.example=127.255.255.[0..255]", "127.255.255.252", "error" },
    { "bl.example", "192.0.2.1", "error" },
    { "bl.example", "2001:db8::1", "error" },
};

START_TEST(dnsbl_listing)
{
    struct error why;
    struct dnsbl_site site;
    ck_assert_msg(dnsbl_site_parse(&site, listings[_i].list, &why), "%s", why.text);
    struct netaddr answer;
    bool error;
    ck_assert(netaddr_parse(&answer, listings[_i].answer));
    char text[16] = "";
    if (dnsbl_counts(&site, &answer, &error))
        snprintf(text, sizeof text, "%d", site.weight);
    else if (error)
        strcpy(text, "error");
    ck_assert_msg(strcmp(text, listings[_i].expected) == 0, "%s %s: \"%s\"", listings[_i].list, listings[_i].answer, text);
}
END_TEST

static const char *const bad_lists[] = { "", "=127.0.0.2", "bl..example", "bl example", "bl.example=", "bl.example=127.0.0", "bl.example=127.0.0.256",
                                         "bl.example=127.0.0.[2..", "bl.example=127.0.0.[3..2]", "bl.example=127.0.0.[]", "bl.example=127.0.0.2x",
                                         "bl.example*", "bl.example*0", "bl.example*101", "bl.example*2*2", "bl.example=127.0.0.99999999999999999999" };

START_TEST(dnsbl_bad_list)
{
    struct error why = { "" };
    ck_assert_msg(one_list(bad_lists[_i], &why) == NULL, "%s is taken", bad_lists[_i]);
    ck_assert_msg(strncmp(why.text, "expected ", 9) == 0, "%s", why.text);
}
END_TEST

/* A packet whose answers are addresses of host.example, in that order. */
static size_t make_packet(uint8_t *bytes, const char *const *addresses)
{
    static const uint8_t head[] = { 0, 0, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 4, 'h', 'o', 's', 't', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0, 0, 1, 0, 1 };
    size_t len = sizeof head;
    memcpy(bytes, head, len);
    for (; *addresses != NULL; addresses++, bytes[7]++) {
        static const uint8_t record[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4 };
        struct netaddr address;
        ck_assert(netaddr_parse(&address, *addresses));
        memcpy(bytes + len, record, sizeof record);
        memcpy(bytes + len + sizeof record, address.bytes, 4);
        len += sizeof record + 4;
    }
    return len;
}

static const struct {
    enum dns_status status;
    const char *addresses[4];
    enum dnsbl_says says;
    const char *by;
} judged[] = {
    { DNS_OK, { "127.0.0.20", "127.0.0.3" }, DNSBL_LISTED, "127.0.0.3" },
    { DNS_OK, { "127.255.255.254", "127.0.0.3" }, DNSBL_LISTED, "127.0.0.3" },
    { DNS_OK, { "127.255.255.254", "127.0.0.20" }, DNSBL_ERROR, NULL },
    { DNS_OK, { "127.0.0.20" }, DNSBL_CLEAN, NULL },
    { DNS_OK, { NULL }, DNSBL_CLEAN, NULL },
    { DNS_NOT_FOUND, { NULL }, DNSBL_CLEAN, NULL },
};

START_TEST(dnsbl_judgement)
{
    struct error why;
    struct dnsbl_site site;
    struct netaddr by = { 0 };
    uint8_t bytes[128];
    char text[NETADDR_TEXT_MAX] = "";
    ck_assert_msg(dnsbl_site_parse(&site, "bl.example=127.0.0.[2..11]", &why), "%s", why.text);
    struct dns_answer answer = { .status = judged[_i].status, .packet = bytes, .len = make_packet(bytes, judged[_i].addresses) };
    ck_assert_int_eq(dnsbl_judge(&site, &answer, &by), judged[_i].says);
    if (judged[_i].by != NULL)
        ck_assert_str_eq(netaddr_format(&by, text), judged[_i].by);
}
END_TEST

START_TEST(dnsbl_names)
{
    struct netaddr client;
    char text[DNS_NAME_MAX];
    ck_assert(netaddr_parse(&client, "192.0.2.7"));
    ck_assert_str_eq(dnsbl_name(text, &client, "bl.example"), "7.2.0.192.bl.example");
    ck_assert(netaddr_parse(&client, "2001:db8::567:89ab"));
    ck_assert_str_eq(dnsbl_name(text, &client, "bl.example"), "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dns");
    TCase *pure = tcase_create("packet"), *loop = tcase_create("names");
    tcase_add_loop_test(pure, dnsbl_listing, 0, (int)(sizeof listings / sizeof *listings));
    tcase_add_loop_test(pure, dnsbl_bad_list, 0, (int)(sizeof bad_lists / sizeof *bad_lists));
    tcase_add_loop_test(pure, dnsbl_judgement, 0, (int)(sizeof judged / sizeof *judged));
    tcase_add_test(pure, dnsbl_names);
    tcase_add_loop_test(pure, packet, 0, (int)(sizeof packets / sizeof *packets));
    tcase_add_test(pure, packet_with_more_than_fit);
    tcase_add_checked_fixture(loop, setup, teardown);
    tcase_set_timeout(loop, 30);
    tcase_add_loop_test(loop, name, 0, (int)(sizeof names / sizeof *names));
    tcase_add_test(loop, name_in_hosts_file);
    tcase_add_test(loop, name_that_cannot_be_one);
    tcase_add_loop_test(loop, settings, 0, (int)(sizeof options / sizeof *options));
    tcase_add_test(loop, a_silent_server);
    tcase_add_loop_test(loop, dnsbl_that_is_silent, 0, (int)(sizeof pauses / sizeof *pauses));
    tcase_add_test(loop, cancelled);
    tcase_add_test(loop, freed_with_queries_under_way);
    suite_add_tcase(suite, pure);
    suite_add_tcase(suite, loop);
    return run_suite(suite);
}

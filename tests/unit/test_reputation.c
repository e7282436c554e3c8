/*
 * test_reputation.c - what a worker knows of reputations: the book, with made-up times, and how it is kept up to date, with a node and a clock of our own
 */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/reputation/book.h"
#include "edge/reputation/feed.h"
#include "edge/reputation/kept.h"
#include "proto/wire.h"
#include "tests/unit/suite.h"

/* ---- the node, and time ---- */

struct node_question {
    node_answer_handler answer;
    void *arg;
    char source[64];
    uint64_t have;
    bool loading;
};

static struct {
    uint64_t now_ms;
    bool connected;
    struct node_question *question;
    unsigned questions;
    struct event_base *base;
    struct metrics metrics;
    struct feed *feed;
} d;

uint64_t clock_ms(void)
{
    return d.now_ms;
}

uint64_t clock_wall_ms(void)
{
    return d.now_ms + 1700000000000;
}

bool node_is_connected(const struct node *node)
{
    (void)node;
    return d.connected;
}

struct node_question *node_ask(struct node *node, Weir__Question *question, const struct link_payload *payloads, size_t count, uint64_t timeout_ms,
                               node_answer_handler answer, void *arg)
{
    (void)node, (void)payloads;
    ck_assert(count == 0 && timeout_ms > question->reputation_ask->wait_ms && d.question == NULL);
    d.question = xcalloc(1, sizeof *d.question);
    *d.question = (struct node_question){ .answer = answer, .arg = arg, .have = question->reputation_ask->have, .loading = question->reputation_ask->loading };
    wire_string(d.question->source, sizeof d.question->source, &question->reputation_ask->source);
    d.questions++;
    return d.question;
}

void node_question_cancel(struct node_question **question)
{
    if (*question != NULL)
        d.question = NULL;
    free(*question);
    *question = NULL;
}

/* ---- the book ---- */

static const char *client_says(const struct book *book, const char *text, uint64_t now)
{
    static const char *const words[] = { "allow", "throttle", "reject" };
    struct netaddr client;
    ck_assert(netaddr_parse(&client, text));
    const struct book_entry *entry = book_client(book, &client, now);
    return entry != NULL ? words[entry->action] : "nothing";
}

START_TEST(test_who_decides)
{
    static const struct {
        const char *key;
        bool by_operator;
        enum reputation_action action;
        uint64_t until;
    } put[] = {
        { "192.0.2.7", false, REPUTATION_REJECT, 200 },       { "192.0.2.0/24", false, REPUTATION_THROTTLE, 300 },
        { "192.0.2.9", true, REPUTATION_ALLOW, 200 },         { "198.51.100.0/22", true, REPUTATION_REJECT, 300 },
        { "198.51.101.0/24", true, REPUTATION_ALLOW, 200 },   { "198.51.101.77", false, REPUTATION_REJECT, 300 },
        { "2001:db8::/64", false, REPUTATION_REJECT, 300 },   { "2001:db8:0:1::/65", true, REPUTATION_THROTTLE, 300 },
        { "203.0.113.1", false, REPUTATION_THROTTLE, 300 },
    };
    static const struct {
        const char *client, *before, *after; /* before 200, and from then on */
    } cases[] = {
        { "192.0.2.7", "reject", "throttle" },       { "192.0.2.8", "throttle", "throttle" }, { "192.0.2.9", "allow", "throttle" },
        { "192.0.3.7", "nothing", "nothing" },       { "198.51.100.1", "reject", "reject" },  { "198.51.101.77", "allow", "reject" },
        { "198.51.104.1", "nothing", "nothing" },    { "2001:db8::7", "reject", "reject" },   { "2001:db8:0:1::1", "throttle", "throttle" },
        { "2001:db8:0:1:8000::1", "nothing", "nothing" }, { "::ffff:1:2", "nothing", "nothing" }, { "203.0.113.1", "throttle", "throttle" },
    };
    struct book *book = book_new();
    for (size_t i = 0; i < sizeof put / sizeof *put; i++)
        ck_assert(book_put(book, put[i].key, false, put[i].by_operator, put[i].action, put[i].until, 0, 100));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_str_eq(client_says(book, cases[i].client, 199), cases[i].before);
        ck_assert_str_eq(client_says(book, cases[i].client, 200), cases[i].after);
        ck_assert_str_eq(client_says(book, cases[i].client, 300), "nothing");
    }
    ck_assert(!book_put(book, "192.0.2.7/24", false, false, REPUTATION_REJECT, 200, 0, 100) && !book_put(book, "", true, false, REPUTATION_REJECT, 200, 0, 100));
    book_free(&book);
}
END_TEST

START_TEST(test_logins_are_no_addresses)
{
    struct book *book = book_new();
    ck_assert(book_put(book, "alice", true, false, REPUTATION_THROTTLE, 200, 0, 100) && book_put(book, "10.0.0.1", true, false, REPUTATION_REJECT, 200, 0, 100));
    ck_assert_int_eq(book_login(book, "alice", 150)->action, REPUTATION_THROTTLE);
    ck_assert_str_eq(client_says(book, "10.0.0.1", 150), "nothing");
    ck_assert_int_eq(book_login(book, "10.0.0.1", 150)->action, REPUTATION_REJECT);
    book_put(book, "alice", true, true, REPUTATION_ALLOW, 180, 0, 100);
    ck_assert_int_eq(book_login(book, "alice", 150)->action, REPUTATION_ALLOW);
    ck_assert_int_eq(book_login(book, "alice", 180)->action, REPUTATION_THROTTLE);
    ck_assert_ptr_null(book_login(book, "alice", 200));
    ck_assert_ptr_null(book_login(book, "bob", 150));
    book_free(&book);
}
END_TEST

/* A registered host is none of its addresses, and they are not it. */
START_TEST(test_hosts_are_no_addresses)
{
    struct netaddr_prefix host, other;
    struct error why;
    struct book *book = book_new();
    ck_assert(netaddr_prefix_parse(&host, "192.0.2.64/28", &why) && netaddr_prefix_parse(&other, "192.0.2.64/27", &why));
    ck_assert(book_put(book, "host:192.0.2.64/28", false, false, REPUTATION_THROTTLE, 200, 0, 100));
    ck_assert_str_eq(client_says(book, "192.0.2.65", 150), "nothing");
    ck_assert_int_eq(book_host(book, &host, 150)->action, REPUTATION_THROTTLE);
    ck_assert_ptr_null(book_host(book, &other, 150));
    ck_assert(book_put(book, "host:192.0.2.64/28", false, true, REPUTATION_REJECT, 180, 17, 100));
    ck_assert(book_put(book, "192.0.2.64/27", false, true, REPUTATION_ALLOW, 200, 18, 100));
    ck_assert_uint_eq(book_host(book, &host, 150)->override, 17);
    ck_assert_int_eq(book_host(book, &host, 180)->action, REPUTATION_THROTTLE);
    ck_assert(!book_put(book, "host:192.0.2.65/28", false, false, REPUTATION_REJECT, 200, 0, 100) && !book_put(book, "host:", false, false, REPUTATION_REJECT, 200, 0, 100));
    for (unsigned part = 0; part < 60; part++)
        book_sweep(book, 60, 200);
    ck_assert_uint_eq(book_count(book), 0);
    book_free(&book);
}
END_TEST

/* It grows, is taken out again, and what has ended leaves by itself. */
START_TEST(test_many)
{
    struct book *book = book_new();
    char key[32];
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        ck_assert(book_put(book, key, false, false, REPUTATION_REJECT, i % 2 ? 200 : 300, 0, 100));
    }
    ck_assert_uint_eq(book_count(book), 20000);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "10.0.%u.%u", i >> 8, i & 255);
        ck_assert_str_eq(client_says(book, key, 150), "reject");
        ck_assert(book_put(book, key, false, false, REPUTATION_ALLOW, 0, 0, 150));
        ck_assert_str_eq(client_says(book, key, 150), "nothing");
    }
    ck_assert_uint_eq(book_count(book), 19000);
    for (unsigned part = 0; part < 60; part++)
        book_sweep(book, 60, 200);
    ck_assert_uint_eq(book_count(book), 9500);
    book_free(&book);
}
END_TEST

/* ---- news ---- */

static void setup(void)
{
    memset(&d, 0, sizeof d);
    d.now_ms = 1000000;
    d.connected = true;
    d.base = event_base_new();
    metrics_init(&d.metrics);
    d.feed = feed_new(d.base, &d.metrics);
    feed_set_node(d.feed, (struct node *)&d);
}

static void teardown(void)
{
    feed_free(&d.feed);
    ck_assert_ptr_null(d.question);
    metrics_fini(&d.metrics);
    event_base_free(d.base);
}

/* keys: those that are refused now; left_ms 0 lifts. */
static void tell(const char *source, uint64_t number, bool whole, bool more, const char *const *keys, size_t count, uint64_t left_ms)
{
    struct node_question *question = d.question;
    Weir__ReputationEntry entries[4], *pointers[4];
    Weir__ReputationNews news = WEIR__REPUTATION_NEWS__INIT;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    for (size_t i = 0; i < count; i++) {
        weir__reputation_entry__init(pointers[i] = &entries[i]);
        entries[i].key = wire_text(keys[i]);
        entries[i].action = WEIR__REPUTATION_ACTION__REPUTATION_REJECT;
        entries[i].left_ms = left_ms;
    }
    news.source = wire_text(source);
    news.number = number;
    news.whole = whole;
    news.more = more;
    news.entries = pointers;
    news.n_entries = count;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_REPUTATION_NEWS;
    answer.reputation_news = &news;
    d.question = NULL;
    question->answer(question->arg, &answer, NULL, 0);
    free(question);
}

static bool is_refused(const char *text)
{
    struct netaddr client;
    ck_assert(netaddr_parse(&client, text));
    const struct book_entry *entry = feed_client(d.feed, &client);
    return entry != NULL && entry->action == REPUTATION_REJECT;
}

START_TEST(test_changes_come_one_after_the_other)
{
    ck_assert(d.question != NULL && d.question->have == 0 && *d.question->source == '\0');
    tell("db", 7, true, false, (const char *const[]){ "192.0.2.1", "192.0.2.2" }, 2, 5000);
    ck_assert(is_refused("192.0.2.1") && is_refused("192.0.2.2"));
    ck_assert(d.question->have == 7 && strcmp(d.question->source, "db") == 0);
    tell("db", 7, false, false, NULL, 0, 0); /* nothing in all the time that it stood */
    tell("db", 8, false, false, (const char *const[]){ "192.0.2.1" }, 1, 0);
    ck_assert(!is_refused("192.0.2.1") && is_refused("192.0.2.2"));
    ck_assert_uint_eq(d.question->have, 8);
    d.now_ms += 5000;
    ck_assert(!is_refused("192.0.2.2"));
}
END_TEST

/* Another database: what is known counts until all of the other is here. */
START_TEST(test_all_anew)
{
    tell("db", 7, true, false, (const char *const[]){ "192.0.2.1" }, 1, 5000);
    tell("other", 3, true, true, (const char *const[]){ "192.0.2.3" }, 1, 5000);
    ck_assert(is_refused("192.0.2.1") && !is_refused("192.0.2.3"));
    ck_assert(d.question->have == 3 && d.question->loading && strcmp(d.question->source, "other") == 0);
    tell("other", 4, false, false, (const char *const[]){ "192.0.2.4" }, 1, 5000);
    ck_assert(!is_refused("192.0.2.1") && is_refused("192.0.2.3") && is_refused("192.0.2.4") && !d.question->loading);
    tell("third", 9, true, true, (const char *const[]){ "192.0.2.9" }, 1, 5000);
    tell("db", 9, false, false, (const char *const[]){ "192.0.2.5" }, 1, 5000); /* not what was begun: asked from the beginning */
    ck_assert(d.question->have == 0 && *d.question->source == '\0');
    ck_assert(is_refused("192.0.2.4") && !is_refused("192.0.2.9") && !is_refused("192.0.2.5"));
}
END_TEST

/* ---- kept ---- */

static char folder[] = "/tmp/weir-reputation.XXXXXX";
static char kept_path[64];

static void kept_setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(kept_path, sizeof kept_path, "%s/edge-1.reputation", folder);
}

static void kept_teardown(void)
{
    unlink(kept_path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else was left there */
}

START_TEST(test_the_list_is_kept)
{
    struct error why;
    uint64_t age;
    struct book *book = book_new();
    ck_assert_ptr_null(kept_read(kept_path, 0, 0, &age, &why));
    ck_assert_str_eq(why.text, "");
    ck_assert(book_put(book, "192.0.2.1", false, false, REPUTATION_REJECT, 5000, 0, 1000) && book_put(book, "192.0.2.2", false, false, REPUTATION_REJECT, 9000, 0, 1000));
    ck_assert(book_put(book, "192.0.2.0/24", false, false, REPUTATION_THROTTLE, 9000, 0, 1000) && book_put(book, "192.0.2.2", false, true, REPUTATION_ALLOW, 9000, 17, 1000));
    ck_assert(book_put(book, "alice", true, false, REPUTATION_THROTTLE, 9000, 0, 1000) && book_put(book, "host:10.0.0.0/28", false, true, REPUTATION_REJECT, 9000, 18, 1000));
    ck_assert(kept_write(kept_path, book, 100, 1000, 1700000000000, &why));
    struct book *kept = kept_read(kept_path, 100, 1700000004000, &age, &why); /* 4 s later, by another clock */
    ck_assert_msg(kept != NULL, "%s", why.text);
    ck_assert_uint_eq(age, 4000);
    ck_assert_uint_eq(book_count(kept), 5); /* the first one had 4 s left */
    ck_assert_str_eq(client_says(kept, "192.0.2.1", 200), "throttle");
    ck_assert_str_eq(client_says(kept, "192.0.2.2", 4099), "allow");
    ck_assert_str_eq(client_says(kept, "192.0.2.2", 4100), "nothing");
    ck_assert_int_eq(book_login(kept, "alice", 200)->action, REPUTATION_THROTTLE);
    ck_assert_uint_eq(book_host(kept, &(struct netaddr_prefix){ { AF_INET, 0, { 10 } }, 28 }, 200)->override, 18);
    book_free(&kept);
    ck_assert(kept_write(kept_path, book, 3, 1000, 1700000000000, &why)); /* those that matter most */
    kept = kept_read(kept_path, 100, 1600000000000, &age, &why);
    ck_assert(age == 0 && book_count(kept) == 3);
    ck_assert_str_eq(client_says(kept, "192.0.2.2", 200), "allow");
    ck_assert_str_eq(client_says(kept, "192.0.2.77", 200), "nothing");
    book_free(&kept);
    book_free(&book);
}
END_TEST

/* Every byte of the file, and every length that it may be cut to. */
START_TEST(test_a_damaged_list_is_none)
{
    struct error why;
    uint64_t age;
    uint8_t bytes[256], other;
    struct book *book = book_new();
    ck_assert(book_put(book, "192.0.2.1", false, false, REPUTATION_REJECT, 5000, 0, 1000) && book_put(book, "alice", true, true, REPUTATION_ALLOW, 5000, 7, 1000));
    ck_assert(kept_write(kept_path, book, 100, 1000, 1700000000000, &why));
    book_free(&book);
    int fd = open(kept_path, O_RDWR);
    ssize_t len = read(fd, bytes, sizeof bytes);
    ck_assert(len > 60 && (size_t)len < sizeof bytes);
    for (ssize_t at = 0; at < len; at++) {
        other = bytes[at] ^ 0x41;
        ck_assert_int_eq(pwrite(fd, &other, 1, at), 1);
        ck_assert_ptr_null(kept_read(kept_path, 100, 1700000000000, &age, &why));
        ck_assert_str_eq(why.text, "damaged");
        ck_assert_int_eq(pwrite(fd, &bytes[at], 1, at), 1);
    }
    book = kept_read(kept_path, 100, 1700000000000, &age, &why);
    ck_assert_uint_eq(book_count(book), 2);
    book_free(&book);
    while (len-- > 0) {
        ck_assert_int_eq(ftruncate(fd, len), 0);
        ck_assert_ptr_null(kept_read(kept_path, 100, 1700000000000, &age, &why));
    }
    close(fd);
}
END_TEST

/* It counts until all that a coordinator has is there, and is written when that changed, as much of it as is to be kept. */
START_TEST(test_a_start_without_coordinators)
{
    struct error why;
    uint64_t age;
    struct book *book = book_new();
    ck_assert(book_put(book, "192.0.2.1", false, false, REPUTATION_REJECT, 60000, 0, 1000) && kept_write(kept_path, book, 100, 1000, clock_wall_ms(), &why));
    book_free(&book);
    feed_keep(d.feed, kept_path, _i == 0 ? 100 : 1, true);
    ck_assert(is_refused("192.0.2.1") && d.question != NULL && d.question->have == 0 && *d.question->source == '\0');
    tell("db", 7, true, true, (const char *const[]){ "192.0.2.2" }, 1, 60000);
    ck_assert(is_refused("192.0.2.1") && !is_refused("192.0.2.2"));
    tell("db", 8, false, false, (const char *const[]){ "192.0.2.3" }, 1, 60000);
    ck_assert(!is_refused("192.0.2.1") && is_refused("192.0.2.2"));
    feed_free(&d.feed);
    book = kept_read(kept_path, d.now_ms, clock_wall_ms(), &age, &why);
    ck_assert_uint_eq(book_count(book), _i == 0 ? 2 : 1);
    book_free(&book);
}
END_TEST

START_TEST(test_nobody_answers)
{
    tell("db", 7, true, false, (const char *const[]){ "192.0.2.1" }, 1, 60000);
    struct node_question *question = d.question;
    d.question = NULL;
    question->answer(question->arg, NULL, NULL, 0);
    free(question);
    ck_assert(d.question == NULL && is_refused("192.0.2.1"));
    unsigned before = d.questions;
    while (d.question == NULL)
        event_base_loop(d.base, EVLOOP_ONCE);
    ck_assert(d.questions == before + 1 && d.question->have == 7);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reputation");
    TCase *book = tcase_create("book"), *feed = tcase_create("feed"), *kept = tcase_create("kept"), *start = tcase_create("start");
    tcase_set_timeout(book, 60); /* a machine that is busy with something else */
    tcase_set_timeout(feed, 60);
    tcase_add_test(book, test_who_decides);
    tcase_add_test(book, test_logins_are_no_addresses);
    tcase_add_test(book, test_hosts_are_no_addresses);
    tcase_add_test(book, test_many);
    tcase_add_checked_fixture(kept, kept_setup, kept_teardown);
    tcase_add_test(kept, test_the_list_is_kept);
    tcase_add_test(kept, test_a_damaged_list_is_none);
    tcase_add_checked_fixture(start, kept_setup, kept_teardown);
    tcase_add_checked_fixture(start, setup, teardown);
    tcase_add_loop_test(start, test_a_start_without_coordinators, 0, 2);
    tcase_add_checked_fixture(feed, setup, teardown);
    tcase_add_test(feed, test_changes_come_one_after_the_other);
    tcase_add_test(feed, test_all_anew);
    tcase_add_test(feed, test_nobody_answers);
    suite_add_tcase(suite, book);
    suite_add_tcase(suite, feed);
    suite_add_tcase(suite, kept);
    suite_add_tcase(suite, start);
    return run_suite(suite);
}

/*
 * test_limiter.c - the arithmetic of buckets, the worker's memory of them, and who decides: coordinators, a lot, memory, the worker
 *
 * The limiter runs against doubles of the coordinators and of the clock.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/limits/limiter.h"
#include "edge/limits/memory.h"
#include "edge/limits/stops.h"
#include "proto/wire.h"
#include "tests/unit/suite.h"

/* ---- stops ---- */

static void tell(struct stops *stops, const char *const *subjects, size_t count)
{
    Weir__OutboundStop items[8], *all[8];
    Weir__OutboundStops told = WEIR__OUTBOUND_STOPS__INIT;
    for (size_t i = 0; i < count; i++) {
        weir__outbound_stop__init(&items[i]);
        items[i].subject = wire_text(subjects[i]);
        items[i].state = WEIR__OUTBOUND_STATE__OUTBOUND_THROTTLED;
        items[i].amount = 100 * i;
        all[i] = &items[i];
    }
    told.stops = all;
    told.n_stops = count;
    stops_set(stops, count > 0 ? &told : NULL, NULL);
}

START_TEST(test_pools)
{
    static const char *const told[][2] = { { "host 192.0.2.7", "suspect" }, { "account alice@example.edu", "bulk" }, { "host 2001:db8::/64", "bulk" } };
    struct stops stops = { 0 };
    struct netaddr client;
    Weir__OutboundPool items[3], *pointers[3];
    Weir__OutboundPools pools = WEIR__OUTBOUND_POOLS__INIT;
    for (size_t i = 0; i < 3; i++) {
        weir__outbound_pool__init(pointers[i] = &items[i]);
        items[i].subject = wire_text(told[i][0]);
        items[i].pool = wire_text(told[i][1]);
    }
    pools.pools = pointers;
    pools.n_pools = 3;
    netaddr_parse(&client, "192.0.2.7");
    ck_assert_ptr_null(stops_pool(&stops, NULL, &client));
    stops_set(&stops, NULL, &pools);
    ck_assert_str_eq(stops_pool(&stops, NULL, &client), "suspect");
    ck_assert_ptr_null(stops_find(&stops, NULL, &client));
    ck_assert_str_eq(stops_pool(&stops, "alice@example.edu", &client), "bulk");
    ck_assert_ptr_null(stops_pool(&stops, "bob@example.edu", &client));
    netaddr_parse(&client, "2001:db8::77");
    ck_assert_str_eq(stops_pool(&stops, NULL, &client), "bulk");
    stops_set(&stops, NULL, NULL);
    ck_assert_ptr_null(stops_pool(&stops, NULL, &client));
    stops_fini(&stops);
}
END_TEST

/* Those whose names were too many: what they are told to be, or held; nobody else. */
START_TEST(test_stopped_beyond_those_told)
{
    struct stops stops = { 0 };
    struct netaddr client;
    uint64_t beyond[] = { wire_subject_digest("host 192.0.2.9"), wire_subject_digest("account bob"), wire_subject_digest("host 2001:db8::/64") };
    Weir__OutboundStop one = WEIR__OUTBOUND_STOP__INIT, *pointers[] = { &one };
    Weir__OutboundStops told = WEIR__OUTBOUND_STOPS__INIT;
    one.subject = wire_text("account alice");
    one.state = WEIR__OUTBOUND_STATE__OUTBOUND_REFUSED;
    told.stops = pointers;
    told.beyond = beyond;
    told.n_beyond = 3;
    uint8_t states[] = { WEIR__OUTBOUND_STATE__OUTBOUND_FULL, WEIR__OUTBOUND_STATE__OUTBOUND_REFUSED, 99 };
    told.beyond_states = wire_bytes(states, sizeof states);
    stops_set(&stops, &told, NULL);
    netaddr_parse(&client, "192.0.2.9");
    ck_assert_int_eq(stops_find(&stops, NULL, &client)->state, WEIR__OUTBOUND_STATE__OUTBOUND_FULL);
    ck_assert_int_eq(stops_find(&stops, "bob", &client)->state, WEIR__OUTBOUND_STATE__OUTBOUND_REFUSED);
    netaddr_parse(&client, "2001:db8::5");
    ck_assert_int_eq(stops_find(&stops, NULL, &client)->state, WEIR__OUTBOUND_STATE__OUTBOUND_HELD);
    told.beyond_states = wire_bytes(NULL, 0);
    for (told.n_stops = 0; told.n_stops < 2; told.n_stops++) {
        stops_set(&stops, &told, NULL);
        netaddr_parse(&client, "192.0.2.9");
        const struct stop *found = stops_find(&stops, NULL, &client);
        ck_assert(found != NULL && found->state == WEIR__OUTBOUND_STATE__OUTBOUND_HELD);
        ck_assert_str_eq(found->subject, "host 192.0.2.9");
        ck_assert_str_eq(stops_find(&stops, "bob", &client)->subject, "account bob");
        netaddr_parse(&client, "2001:db8::5");
        ck_assert_str_eq(stops_find(&stops, NULL, &client)->subject, "host 2001:db8::/64");
        ck_assert_ptr_null(stops_find(&stops, "carol", &client));
        netaddr_parse(&client, "192.0.2.8");
        ck_assert_ptr_null(stops_find(&stops, NULL, &client));
        ck_assert((stops_find(&stops, "alice", &client) != NULL) == (told.n_stops == 1));
    }
    stops_fini(&stops);
}
END_TEST

static const struct stop *find(struct stops *stops, const char *login, const char *client)
{
    struct netaddr address;
    ck_assert(netaddr_parse(&address, client));
    return stops_find(stops, login, &address);
}

START_TEST(test_who_is_stopped)
{
    static const char *const subjects[] = { "host 192.0.2.7", "account zoe@b.test", "account alice@b.test", "host 192.0.2.70", "host 2001:db8::/64" };
    struct stops stops = { 0 };
    struct limit_rule rule;
    char subject[LIMIT_SUBJECT_MAX], name[LIMIT_BUCKET_MAX];
    ck_assert_ptr_null(find(&stops, NULL, "192.0.2.7"));
    tell(&stops, subjects, 5);
    for (size_t i = 0; i < 5; i++) {
        bool account = subjects[i][0] == 'a';
        const char *who = strchr(subjects[i], ' ') + 1;
        const char *client = account ? "192.0.2.99" : strchr(who, ':') != NULL ? "2001:db8::1:2:3" : who;
        const struct stop *stop = find(&stops, account ? who : NULL, client);
        ck_assert_ptr_nonnull(stop);
        ck_assert_uint_eq(stop->amount, 100 * i);
        ck_assert_ptr_null(find(&stops, account ? NULL : who, client)); /* another kind */
        stop_rule(stop, &rule, subject);
        ck_assert_str_eq(subject, who);
        ck_assert_int_eq(rule.by, account ? LIMIT_BY_ACCOUNT : LIMIT_BY_CLIENT);
        ck_assert(rule.rate.amount == (i == 0 ? 2 : 200 * i) && rule.rate.period_ms == 7200000 && rule.rate.burst == (i == 0 ? 1 : 10 * i));
    }
    ck_assert_str_eq(limit_bucket_name(name, &rule, subject), "outbound client recipients/7200 2001:db8::/64");
    ck_assert_ptr_null(find(&stops, "alice", "192.0.2.7")); /* who logged in is not the host */
    ck_assert_ptr_null(find(&stops, NULL, "192.0.2.8"));
    ck_assert_ptr_null(find(&stops, NULL, "2001:db8:0:1::7"));
    tell(&stops, subjects, 1);
    ck_assert_ptr_null(find(&stops, "zoe@b.test", "192.0.2.9"));
    ck_assert_ptr_nonnull(find(&stops, NULL, "192.0.2.7"));
    tell(&stops, subjects, 0);
    ck_assert(stops.count == 0 && find(&stops, NULL, "192.0.2.7") == NULL);
    stops_fini(&stops);
}
END_TEST

/* ---- buckets ---- */

START_TEST(test_a_bucket_fills_with_time)
{
    static const struct bucket_rate rate = { .amount = 3, .period_ms = 1000, .burst = 5 };
    struct bucket bucket = { 0 };
    ck_assert(bucket_fits(&bucket, &rate, 0, 5, BUCKET_WHOLE) && !bucket_fits(&bucket, &rate, 0, 6, BUCKET_WHOLE));
    ck_assert(bucket_left(&bucket, &rate, 0) == 5 && bucket_wait(&bucket, &rate, 0, 5) == 0);
    bucket_take(&bucket, &rate, 0, 5);
    ck_assert(bucket_left(&bucket, &rate, 333) == 0 && bucket_left(&bucket, &rate, 334) == 1);
    ck_assert(bucket_wait(&bucket, &rate, 0, 1) == 334 && bucket_wait(&bucket, &rate, 0, 5) == 1667);
    ck_assert(bucket_fits(&bucket, &rate, 0, 0, BUCKET_WHOLE));
    ck_assert(!bucket_fits(&bucket, &rate, 333, 1, BUCKET_WHOLE) && bucket_fits(&bucket, &rate, 334, 1, BUCKET_WHOLE));
    for (uint64_t now = 334; now <= 1000; now += 333) /* three in that second, none lost to the thirds */
        bucket_take(&bucket, &rate, now, 1);
    ck_assert(!bucket_fits(&bucket, &rate, 1000, 1, BUCKET_WHOLE));
    ck_assert(!bucket_fits(&bucket, &rate, 999, 1, BUCKET_WHOLE)); /* a clock that goes back */
    ck_assert(bucket_fits(&bucket, &rate, UINT64_MAX, 5, BUCKET_WHOLE));
    ck_assert(!bucket_fits(&bucket, &rate, UINT64_MAX, 6, BUCKET_WHOLE));
}
END_TEST

START_TEST(test_a_debt_is_paid_before_the_next)
{
    static const struct bucket_rate rate = { .amount = 10, .period_ms = 1000, .burst = 10 };
    struct bucket bucket = { 0 };
    bucket_take(&bucket, &rate, 0, 9);
    ck_assert(bucket_fits(&bucket, &rate, 0, 1000, BUCKET_DEBT));
    bucket_take(&bucket, &rate, 0, 21); /* 20 owed */
    ck_assert(!bucket_fits(&bucket, &rate, 2000, 0, BUCKET_DEBT) && bucket_fits(&bucket, &rate, 2001, 0, BUCKET_DEBT));
    bucket_take(&bucket, &rate, 2001, UINT64_MAX);
    ck_assert(!bucket_fits(&bucket, &rate, 2001 + 86400000, 0, BUCKET_DEBT));
}
END_TEST

/* However it is asked: never more than burst + amount * time. The largest numbers too. */
START_TEST(test_no_more_is_taken_than_the_bucket_gives)
{
    static const struct bucket_rate rates[] = {
        { 1, 86400000, 1 }, { 7, 1000, 3 }, { 999, 60000, 1000 }, { BUCKET_AMOUNT_MAX, BUCKET_PERIOD_MAX, BUCKET_AMOUNT_MAX }, { BUCKET_AMOUNT_MAX, 1000, 1 },
    };
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct bucket bucket = { 0 };
        uint64_t now = 1000, taken = 0;
        unsigned seed = 1;
        for (int turn = 0; turn < 20000; turn++) {
            seed = seed * 1103515245u + 12345u;
            now += seed >> 16 & 63;
            uint64_t cost = 1 + (seed >> 8) % (rates[i].burst < 5 ? rates[i].burst : 5);
            if (!bucket_fits(&bucket, &rates[i], now, cost, BUCKET_WHOLE))
                continue;
            bucket_take(&bucket, &rates[i], now, cost);
            taken += cost;
        }
        double most = (double)rates[i].burst + (double)rates[i].amount * (double)(now - 1000) / (double)rates[i].period_ms;
        ck_assert_msg((double)taken <= most, "rate %zu: %llu of %f", i, (unsigned long long)taken, most);
    }
}
END_TEST

START_TEST(test_memory_is_bounded)
{
    static const struct bucket_rate rate = { 1, 1000, 1 }, other = { 2, 1000, 1 };
    struct limit_memory *memory = limit_memory_new();
    char name[32];
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "bucket %u", i);
        limit_memory_get(memory, name, &rate, 2000)->spare = i;
    }
    ck_assert_uint_eq(limit_memory_count(memory), 2000);
    ck_assert_ptr_null(limit_memory_find(memory, "bucket 999"));
    ck_assert_uint_eq(limit_memory_get(memory, "bucket 1000", &rate, 2000)->spare, 1000); /* and so it is not the next to go */
    limit_memory_get(memory, "new", &rate, 2000);
    ck_assert_ptr_null(limit_memory_find(memory, "bucket 1001"));
    ck_assert_uint_eq(limit_memory_get(memory, "bucket 1000", &other, 2000)->spare, 0); /* another rate */
    limit_memory_free(&memory);
}
END_TEST

/* ---- doubles ---- */

struct node_question {
    node_answer_handler answer;
    void *arg;
    char asked[1024]; /* "BUCKET COST+SPARE[!][~], ..." */
    size_t count;
};

static struct {
    uint64_t now_ms;
    bool connected;
    struct node_question *question;
    unsigned questions, answers;
    struct limit_verdict verdict;
    struct limiter *limiter;
    struct metrics metrics;
    struct edge_settings settings;
} d;

uint64_t clock_ms(void)
{
    return d.now_ms;
}

bool node_is_connected(const struct node *node)
{
    (void)node;
    return d.connected;
}

struct node_question *node_ask(struct node *node, Weir__Question *question, const struct link_payload *payloads, size_t count, uint64_t timeout_ms,
                               node_answer_handler answer, void *arg)
{
    (void)node, (void)payloads, (void)count, (void)timeout_ms;
    struct error why;
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_QUESTION;
    frame.question = question;
    size_t len;
    uint8_t *bytes = wire_encode(&frame, &len);
    Weir__Frame *checked = wire_decode(bytes, len, 0, &why);
    ck_assert_msg(checked != NULL, "%s", why.text);
    struct node_question *asked = d.question = xcalloc(1, sizeof *asked);
    *asked = (struct node_question){ .answer = answer, .arg = arg, .count = checked->question->limit_ask->n_costs };
    for (size_t i = 0; i < asked->count; i++) {
        const Weir__LimitCost *cost = checked->question->limit_ask->costs[i];
        size_t used = strlen(asked->asked);
        snprintf(asked->asked + used, sizeof asked->asked - used, "%s%.*s %llu+%llu%s%s", i > 0 ? ", " : "", (int)cost->bucket.len, (const char *)cost->bucket.data,
                 (unsigned long long)cost->cost, (unsigned long long)cost->spare, cost->debt ? "!" : "", cost->dry_run ? "~" : "");
    }
    wire_free(&checked);
    free(bytes);
    d.questions++;
    return asked;
}

void node_question_cancel(struct node_question **question)
{
    free(*question);
    if (*question != NULL)
        d.question = NULL;
    *question = NULL;
}

static void on_verdict(void *arg, const struct limit_verdict *verdict)
{
    (void)arg;
    d.verdict = *verdict;
    d.answers++;
}

static void setup(void)
{
    memset(&d, 0, sizeof d);
    d.now_ms = 1000000;
    d.connected = true;
    d.settings = (struct edge_settings){ .limit_timeout = 1000, .limit_memory = 1000, .limit_lot = 32, .limit_lot_time = 1000 };
    metrics_init(&d.metrics);
    d.limiter = limiter_new(&d.settings, &d.metrics);
    static int node;
    limiter_set_node(d.limiter, (struct node *)&node);
}

static void teardown(void)
{
    ck_assert_ptr_null(d.question);
    limiter_free(&d.limiter);
    metrics_fini(&d.metrics);
}

static const struct limit_rule by_client = { .direction = LIMIT_INBOUND, .what = LIMIT_OF_MESSAGES, .rate = { 60, 60000, 3 }, .line = 1 };
static const struct limit_rule by_domain = { .direction = LIMIT_INBOUND, .by = LIMIT_BY_DOMAIN, .what = LIMIT_OF_MESSAGES, .rate = { 9, 1000, 2 }, .line = 2 };
static const struct limit_rule dry = { .direction = LIMIT_INBOUND, .by = LIMIT_BY_PREFIX, .what = LIMIT_OF_MESSAGES, .rate = { 1, 1000, 1 }, .dry_run = true, .line = 3 };

/* true: it is asked; else d.verdict is the answer. */
static struct limit_query *take(const struct limit_rule *rule, const struct limit_rule *second)
{
    struct limit_cost costs[2] = { { rule, "192.0.2.7", 1, BUCKET_WHOLE }, { second, "b.example", 1, BUCKET_WHOLE } };
    return limiter_take(d.limiter, costs, second != NULL ? 2 : 1, &d.verdict, on_verdict, NULL);
}

/* One letter a cost: y fits, n does not, for 5 s; a digit: fits, and so many spare. "": nobody answers. */
static void answer(const char *states)
{
    struct node_question asked = *d.question;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__LimitTaken taken = WEIR__LIMIT_TAKEN__INIT;
    Weir__LimitState state[8], *pointers[8];
    for (size_t i = 0; states[i] != '\0'; i++) {
        weir__limit_state__init(&state[i]);
        state[i].fits = states[i] != 'n';
        state[i].wait_ms = states[i] == 'n' ? 5000 : 0;
        state[i].spare = states[i] >= '0' && states[i] <= '9' ? (uint64_t)(states[i] - '0') : 0;
        pointers[i] = &state[i];
        taken.n_states++;
    }
    taken.states = pointers;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_LIMIT_TAKEN;
    answer.limit_taken = &taken;
    free(d.question);
    d.question = NULL;
    asked.answer(asked.arg, *states != '\0' ? &answer : NULL, NULL, 0);
}

static void expect_passed(const char *states)
{
    ck_assert_ptr_nonnull(take(&by_client, NULL));
    answer(states);
    ck_assert(!d.verdict.refused);
}

START_TEST(test_coordinators_decide)
{
    ck_assert_ptr_nonnull(take(&by_client, &by_domain));
    ck_assert_str_eq(d.question->asked, "inbound client messages/60 192.0.2.7 1+0, inbound domain messages/1 b.example 1+0");
    answer("yy");
    ck_assert(d.answers == 1 && !d.verdict.refused);
    take(&by_client, &by_domain);
    answer("yn");
    ck_assert(d.answers == 2 && d.verdict.refused);
    ck_assert_uint_eq(d.verdict.rule.line, 2);
    ck_assert_str_eq(d.verdict.subject, "b.example");
    /* It is believed for a second, and says nothing of the others. */
    ck_assert_ptr_null(take(&by_client, &by_domain));
    ck_assert(d.verdict.refused && d.questions == 2);
    expect_passed("y");
    d.now_ms += 1000;
    ck_assert_ptr_nonnull(take(&by_domain, NULL));
    answer("y");
    ck_assert(!d.verdict.refused);
}
END_TEST

static double dry_runs(void)
{
    return metrics_counter(&d.metrics, "weir_rate_limited_total", "limit=\"inbound prefix messages\",result=\"dry-run\"")->value;
}

START_TEST(test_a_dry_run_stops_nothing)
{
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_nonnull(take(&by_client, &dry));
        ck_assert_str_eq(d.question->asked, i == 0 ? "inbound client messages/60 192.0.2.7 1+0, inbound prefix messages/1 b.example 1+0~"
                                                   : "inbound client messages/60 192.0.2.7 1+0"); /* it is known to be over */
        answer(i == 0 ? "yn" : "y");
        ck_assert(!d.verdict.refused);
    }
    ck_assert_double_eq(dry_runs(), 2);
}
END_TEST

/* 0: the coordinators refuse by the other line; 1: memory does, 2: the worker alone. */
START_TEST(test_a_dry_run_is_not_counted_where_another_line_refuses)
{
    ck_assert_ptr_nonnull(take(&dry, &by_domain));
    answer(_i == 2 ? "yy" : "nn");
    if (_i == 0) {
        ck_assert(d.verdict.refused && d.verdict.rule.line == 2);
    } else if (_i == 1) {
        ck_assert_ptr_null(take(&dry, &by_domain));
        ck_assert(d.verdict.refused && d.verdict.rule.line == 2);
    } else {
        d.connected = false;
        take(&by_client, &by_domain);
        ck_assert(!d.verdict.refused);
        take(&dry, &by_domain);
        ck_assert(d.verdict.refused && d.verdict.rule.line == 2);
    }
    ck_assert_double_eq(dry_runs(), 0);
}
END_TEST

START_TEST(test_who_asks_often_gets_a_lot)
{
    for (int i = 0; i < 4; i++)
        expect_passed("y");
    ck_assert_ptr_nonnull(take(&by_client, NULL));
    ck_assert_str_eq(d.question->asked, "inbound client messages/60 192.0.2.7 1+32");
    answer("2");
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_null(take(&by_client, NULL));
        ck_assert(!d.verdict.refused);
    }
    ck_assert_uint_eq(d.questions, 5);
    ck_assert_ptr_nonnull(take(&by_client, NULL));
    answer("9");
    /* Not used where another limit refuses. */
    ck_assert_ptr_nonnull(take(&by_client, &by_domain));
    ck_assert_str_eq(d.question->asked, "inbound domain messages/1 b.example 1+0");
    answer("n");
    ck_assert(d.verdict.refused);
    for (int i = 0; i < 9; i++)
        ck_assert_ptr_null(take(&by_client, NULL));
    ck_assert_ptr_nonnull(take(&by_client, NULL));
    answer("9");
    d.now_ms += 1000; /* too late: others may have it meanwhile */
    ck_assert_ptr_nonnull(take(&by_client, NULL));
    ck_assert_str_eq(d.question->asked, "inbound client messages/60 192.0.2.7 1+0");
    answer("y");
}
END_TEST

/* Bytes: each message asks twice, and how large it is says only the second question. */
START_TEST(test_a_question_that_takes_nothing_makes_no_lot)
{
    static const struct limit_rule bytes = { .direction = LIMIT_INBOUND, .what = LIMIT_OF_BYTES, .rate = { 1000, 1000, 1000 }, .line = 1 };
    for (int i = 0; i < 10; i++) {
        struct limit_cost cost = { &bytes, "192.0.2.7", i % 2 == 0 ? 0 : 100, BUCKET_DEBT };
        ck_assert_ptr_nonnull(limiter_take(d.limiter, &cost, 1, &d.verdict, on_verdict, NULL));
        ck_assert_str_eq(d.question->asked, i % 2 == 0 ? "inbound client bytes/1 192.0.2.7 0+0!" : i < 9 ? "inbound client bytes/1 192.0.2.7 100+0!" : "inbound client bytes/1 192.0.2.7 100+3200!");
        answer("y");
    }
}
END_TEST

/* 0: not connected; 1: no answer in time; 2: an answer to something else. */
START_TEST(test_a_worker_alone_counts_for_itself)
{
    expect_passed("y");
    d.connected = _i > 0;
    for (int i = 0; i < 4; i++) {
        struct limit_query *query = take(&by_client, NULL);
        ck_assert((query != NULL) == (_i == 2 || (_i == 1 && i < 2))); /* another may answer; not soon again when two were silent */
        if (query != NULL)
            answer(_i == 1 ? "" : "yy");
        ck_assert_int_eq(d.verdict.refused, i >= 2); /* one of three passed before */
    }
    d.now_ms += 1000;
    d.connected = false;
    take(&by_client, NULL);
    ck_assert(!d.verdict.refused); /* one a second */
    take(&by_client, NULL);
    ck_assert(d.verdict.refused);
    take(&dry, NULL);
    take(&dry, NULL);
    ck_assert(!d.verdict.refused);
    d.now_ms += 5000;
    d.connected = true;
    expect_passed("y");
}
END_TEST

/* Where several clients wait, one coordinator that hangs leaves all of them without an answer at once: that says nothing of the others. */
START_TEST(test_one_silence_says_nothing_of_the_others)
{
    for (int round = 0; round < 3; round++) {
        ck_assert_ptr_nonnull(take(&by_client, NULL));
        struct node_question *first = d.question;
        ck_assert_ptr_nonnull(take(&by_domain, NULL));
        answer("");
        d.question = first;
        answer("");
        ck_assert_ptr_nonnull(take(&by_client, NULL)); /* of another one */
        answer("y");
    }
    ck_assert_uint_eq(d.questions, 9);
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_nonnull(take(&by_client, NULL));
        answer("");
    }
    ck_assert_ptr_null(take(&by_client, NULL));
}
END_TEST

START_TEST(test_cancelled)
{
    struct limit_query *query = take(&by_client, NULL), *none = NULL;
    limit_query_cancel(&query);
    limit_query_cancel(&none);
    ck_assert(query == NULL && d.answers == 0);
    ck_assert_ptr_null(limiter_take(d.limiter, NULL, 0, &d.verdict, on_verdict, NULL));
    ck_assert(!d.verdict.refused);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("limiter");
    TCase *pure = tcase_create("pure"), *made = tcase_create("limiter");
    tcase_add_test(pure, test_a_bucket_fills_with_time);
    tcase_add_test(pure, test_a_debt_is_paid_before_the_next);
    tcase_add_test(pure, test_no_more_is_taken_than_the_bucket_gives);
    tcase_add_test(pure, test_memory_is_bounded);
    suite_add_tcase(suite, pure);
    tcase_add_checked_fixture(made, setup, teardown);
    tcase_add_test(made, test_coordinators_decide);
    tcase_add_test(made, test_a_dry_run_stops_nothing);
    tcase_add_loop_test(made, test_a_dry_run_is_not_counted_where_another_line_refuses, 0, 3);
    tcase_add_test(made, test_who_asks_often_gets_a_lot);
    tcase_add_test(made, test_a_question_that_takes_nothing_makes_no_lot);
    tcase_add_loop_test(made, test_a_worker_alone_counts_for_itself, 0, 3);
    tcase_add_test(made, test_one_silence_says_nothing_of_the_others);
    tcase_add_test(made, test_cancelled);
    tcase_add_test(made, test_who_is_stopped);
    tcase_add_test(made, test_pools);
    tcase_add_test(made, test_stopped_beyond_those_told);
    suite_add_tcase(suite, made);
    return run_suite(suite);
}

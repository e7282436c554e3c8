/*
 * test_verify.c - what a next hop's words mean, the memory's bounds, and the way of a question: who is asked, how often, and what becomes of it
 *
 * The verifier runs against doubles of next hops and coordinators.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/verify/course.h"
#include "edge/verify/memory.h"
#include "edge/verify/verify.h"
#include "proto/wire.h"
#include "tests/unit/suite.h"

/* ---- pure parts ---- */

static const struct {
    int code;
    const char *enhanced;
    bool of_rcpt;
    enum verify_result result;
} replies[] = {
    { 250, "2.1.5", true, VERIFY_EXISTS },   { 251, "", true, VERIFY_EXISTS },        { 550, "5.1.1", true, VERIFY_MISSING },
    { 550, "", true, VERIFY_MISSING },       { 553, "", true, VERIFY_MISSING },       { 550, "5.2.1", true, VERIFY_MISSING },
    { 550, "5.0.0", true, VERIFY_MISSING },  { 556, "5.1.10", true, VERIFY_MISSING }, { 552, "", true, VERIFY_UNKNOWN },
    { 552, "5.2.2", true, VERIFY_UNKNOWN },  { 550, "5.7.1", true, VERIFY_UNKNOWN },  { 501, "", true, VERIFY_UNKNOWN },
    { 503, "5.5.1", true, VERIFY_UNKNOWN },  { 555, "", true, VERIFY_UNKNOWN },       { 450, "4.2.0", true, VERIFY_UNKNOWN },
    { 421, "4.3.2", true, VERIFY_UNKNOWN },  { 0, "", false, VERIFY_UNKNOWN },        { 550, "5.1.1", false, VERIFY_UNKNOWN },
    { 550, "5.1.8", false, VERIFY_UNKNOWN }, { 550, "5.1.8", true, VERIFY_UNKNOWN }, { 553, "5.1.7", true, VERIFY_UNKNOWN }, { 250, "2.1.0", false, VERIFY_UNKNOWN },
};

START_TEST(test_opinion)
{
    struct smtp_reply reply = { .code = replies[_i].code, .text = "two\nlines" };
    struct verify_opinion opinion;
    snprintf(reply.enhanced, sizeof reply.enhanced, "%s", replies[_i].enhanced);
    verify_opinion_of(&opinion, &reply, replies[_i].of_rcpt);
    ck_assert_int_eq(opinion.result, replies[_i].result);
    ck_assert_int_eq(opinion.code, replies[_i].code);
    ck_assert_str_eq(opinion.text, "two lines");
}
END_TEST

static const struct {
    enum verify_state state;
    enum verify_event event;
    enum verify_state next;
    unsigned acts;
} steps[] = {
    { VERIFY_LOOKING, VERIFY_KNOWN, VERIFY_OVER, VERIFY_ANSWER },
    { VERIFY_LOOKING, VERIFY_KNOWN_OLD, VERIFY_PROBING, VERIFY_ANSWER | VERIFY_PROBE },
    { VERIFY_LOOKING, VERIFY_NOT_KNOWN, VERIFY_PROBING, VERIFY_PROBE },
    { VERIFY_PROBING, VERIFY_SAID, VERIFY_TELLING, VERIFY_ANSWER | VERIFY_TELL },
    { VERIFY_PROBING, VERIFY_SAID_NOTHING, VERIFY_OVER, VERIFY_ANSWER },
    { VERIFY_TELLING, VERIFY_TOLD, VERIFY_OVER, 0 },
};

START_TEST(test_course)
{
    struct verify_step step = verify_next(steps[_i].state, steps[_i].event);
    ck_assert_int_eq(step.next, steps[_i].next);
    ck_assert_uint_eq(step.acts, steps[_i].acts);
}
END_TEST

static void put(struct verify_memory *memory, unsigned number, uint64_t until, size_t most)
{
    struct verify_opinion opinion = { .result = VERIFY_MISSING, .code = (int)number, .enhanced = "5.1.1", .text = "no" };
    char key[32];
    snprintf(key, sizeof key, "u%u@example.edu", number);
    verify_memory_put(memory, key, &opinion, until, most);
}

static int find(struct verify_memory *memory, unsigned number, uint64_t now)
{
    struct verify_opinion opinion;
    char key[32];
    snprintf(key, sizeof key, "u%u@example.edu", number);
    if (!verify_memory_find(memory, key, now, &opinion))
        return -1;
    ck_assert_int_eq(opinion.result, VERIFY_MISSING);
    ck_assert_str_eq(opinion.text, "no");
    return opinion.code;
}

START_TEST(test_memory)
{
    struct verify_memory *memory = verify_memory_new();
    ck_assert_int_eq(find(memory, 1, 0), -1);
    for (unsigned i = 0; i < 3000; i++) /* beyond its first size */
        put(memory, i, 100, 2000);
    ck_assert_uint_eq(verify_memory_count(memory), 2000);
    ck_assert_int_eq(find(memory, 999, 0), -1);
    ck_assert_int_eq(find(memory, 1000, 0), 1000); /* and so it is not the next to go */
    put(memory, 3000, 100, 2000);
    ck_assert_int_eq(find(memory, 1001, 0), -1);
    ck_assert_int_eq(find(memory, 1000, 99), 1000);
    ck_assert_int_eq(find(memory, 1000, 100), -1); /* its time is over */
    put(memory, 3000, 200, 10); /* a smaller limit, and a key that is there */
    ck_assert_uint_eq(verify_memory_count(memory), 10);
    ck_assert_int_eq(find(memory, 3000, 150), 3000);
    verify_memory_free(&memory);
}
END_TEST

/* ---- doubles ---- */

#define MANY 8

struct delivery {
    struct next_hop hop;
    const struct delivery_handlers *handlers;
    void *arg;
    char sender[64], address[128];
    bool utf8, of_rcpt;
};

struct node_question {
    node_answer_handler answer;
    void *arg;
    Weir__Question__BodyCase kind;
    char address[128], destination[128], words[128];
    bool exists;
    uint64_t timeout_ms;
};

static struct {
    uint64_t now_ms;
    struct delivery *probes[MANY];
    struct node_question *questions[MANY];
    unsigned probed, cancelled;
    bool connected, full;
} d;

struct delivery *delivery_new(struct delivery_pool *pool, const struct next_hop *hop, const struct delivery_envelope *envelope,
                              const struct delivery_handlers *handlers, void *arg)
{
    size_t at = 0;
    (void)pool;
    while (d.probes[at] != NULL)
        ck_assert_uint_lt(++at, MANY);
    d.probes[at] = xcalloc(1, sizeof *d.probes[at]);
    *d.probes[at] = (struct delivery){ .hop = *hop, .handlers = handlers, .arg = arg, .utf8 = envelope->smtputf8 };
    snprintf(d.probes[at]->sender, sizeof d.probes[at]->sender, "%s", envelope->sender);
    d.probed++;
    return d.probes[at];
}

void delivery_rcpt(struct delivery *delivery, const struct delivery_recipient *recipient)
{
    snprintf(delivery->address, sizeof delivery->address, "%s", recipient->address);
}

void delivery_cancel(struct delivery **delivery)
{
    if (*delivery == NULL)
        return;
    for (size_t i = 0; i < MANY; i++)
        if (d.probes[i] == *delivery)
            d.probes[i] = NULL;
    d.cancelled++;
    free(*delivery);
    *delivery = NULL;
}

bool delivery_is_of_rcpt(const struct delivery *delivery)
{
    return delivery->of_rcpt;
}

bool node_is_connected(const struct node *node)
{
    (void)node;
    return d.connected;
}

struct node_question *node_ask(struct node *node, Weir__Question *question, const struct link_payload *payloads, size_t count,
                               uint64_t timeout_ms, node_answer_handler answer, void *arg)
{
    (void)node, (void)payloads, (void)count;
    if (d.full)
        return NULL;
    Weir__Frame frame = WEIR__FRAME__INIT; /* a coordinator would take it */
    frame.body_case = WEIR__FRAME__BODY_QUESTION;
    frame.question = question;
    size_t len, at = 0;
    uint8_t *bytes = wire_encode(&frame, &len);
    Weir__Frame *back = wire_decode(bytes, len, 0, NULL);
    ck_assert_ptr_nonnull(back);
    wire_free(&back);
    free(bytes);
    while (d.questions[at] != NULL)
        ck_assert_uint_lt(++at, MANY);
    struct node_question *asked = d.questions[at] = xcalloc(1, sizeof *asked);
    *asked = (struct node_question){ .answer = answer, .arg = arg, .kind = question->body_case, .timeout_ms = timeout_ms };
    bool ask = question->body_case == WEIR__QUESTION__BODY_VERIFY_ASK;
    wire_string(asked->address, sizeof asked->address, ask ? &question->verify_ask->address : &question->verify_tell->address);
    wire_string(asked->destination, sizeof asked->destination, ask ? &question->verify_ask->destination : &question->verify_tell->destination);
    if (!ask) {
        asked->exists = question->verify_tell->exists;
        wire_string(asked->words, sizeof asked->words, &question->verify_tell->text);
    }
    return asked;
}

void node_question_cancel(struct node_question **question)
{
    if (*question == NULL)
        return;
    for (size_t i = 0; i < MANY; i++)
        if (d.questions[i] == *question)
            d.questions[i] = NULL;
    free(*question);
    *question = NULL;
}

uint64_t clock_ms(void)
{
    return d.now_ms;
}

/* ---- the verifier ---- */

static struct event_base *base;
static struct metrics metrics;
static struct edge_settings settings;
static struct verifier *verifier;
static const struct next_hop hop = { .host = "mail.example.edu", .port = 25 }, other_hop = { .host = "other.example.edu", .port = 25 };

struct client {
    struct verify_wait *wait;
    unsigned told;
    struct verify_opinion opinion;
    bool asks_again;
};

static struct client clients[MANY];

static void on_opinion(void *arg, const struct verify_wait *wait, const struct verify_opinion *opinion);

static void ask(unsigned who, const struct next_hop *where, const char *address)
{
    struct client *client = &clients[who];
    client->wait = verifier_ask(verifier, where, address, &client->opinion, on_opinion, client);
    client->told += client->wait == NULL;
}

static void on_opinion(void *arg, const struct verify_wait *wait, const struct verify_opinion *opinion)
{
    struct client *client = arg;
    ck_assert_ptr_eq(client->wait, wait);
    client->wait = NULL;
    client->told++;
    client->opinion = *opinion;
    if (client->asks_again) { /* what comes from inside an answer */
        client->asks_again = false;
        ask((unsigned)(client - clients), &hop, "u@example.edu");
    }
}

static void setup(void)
{
    memset(&d, 0, sizeof d);
    memset(clients, 0, sizeof clients);
    d.now_ms = 1000;
    d.connected = true;
    base = event_base_new();
    metrics_init(&metrics);
    static char nobody[] = "";
    settings = (struct edge_settings){ .verify_sender = nobody, .verify_timeout = 200, .verify_probes = 2, .verify_memory = 100, .verify_memory_time = 1000 };
    verifier = verifier_new(base, NULL, &settings, &metrics);
    static int node;
    verifier_set_node(verifier, (struct node *)&node);
}

static void teardown(void)
{
    for (unsigned i = 0; i < MANY; i++)
        verify_wait_cancel(&clients[i].wait);
    verifier_free(&verifier);
    for (unsigned i = 0; i < MANY; i++)
        ck_assert(d.probes[i] == NULL && d.questions[i] == NULL);
    metrics_fini(&metrics);
    event_base_free(base);
}

static void turn(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
}

/* The coordinators answer the first question. known: "exists", "missing", "old", or NULL: they do not know; "away": nobody can say. */
static void coordinators_say(const char *known)
{
    struct node_question asked = *d.questions[0];
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__VerifyKnown body = WEIR__VERIFY_KNOWN__INIT;
    free(d.questions[0]);
    memmove(d.questions, d.questions + 1, sizeof d.questions - sizeof *d.questions);
    d.questions[MANY - 1] = NULL;
    body.known = known != NULL;
    body.exists = known != NULL && strcmp(known, "missing") != 0;
    body.refresh = known != NULL && strcmp(known, "old") == 0;
    body.code = body.exists ? 250 : 550;
    body.text = wire_text("from the cluster");
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    if (asked.kind == WEIR__QUESTION__BODY_VERIFY_ASK) {
        answer.body_case = WEIR__ANSWER__BODY_VERIFY_KNOWN;
        answer.verify_known = &body;
    }
    asked.answer(asked.arg, known != NULL && strcmp(known, "away") == 0 ? NULL : &answer, NULL, 0);
}

static void next_hop_says(unsigned which, int code, const char *enhanced, bool of_rcpt)
{
    struct smtp_reply reply = { .code = code, .text = "its words" };
    snprintf(reply.enhanced, sizeof reply.enhanced, "%s", enhanced);
    d.probes[which]->of_rcpt = of_rcpt;
    d.probes[which]->handlers->recipient(d.probes[which]->arg, 0, &reply);
}

static double count_of(const char *name, const char *labels)
{
    return metrics_counter(&metrics, name, *labels != '\0' ? "%s" : NULL, labels)->value;
}

START_TEST(test_one_question_for_many)
{
    for (unsigned i = 0; i < 3; i++)
        ask(i, &hop, "u@example.edu");
    ck_assert(d.questions[0] != NULL && d.questions[1] == NULL && d.probed == 0);
    ck_assert_str_eq(d.questions[0]->destination, "[mail.example.edu]:25");
    coordinators_say(NULL);
    ck_assert_uint_eq(d.probed, 1);
    ck_assert_str_eq(d.probes[0]->sender, "");
    ck_assert_str_eq(d.probes[0]->address, "u@example.edu");
    ask(3, &hop, "u@example.edu"); /* while it is under way */
    ask(4, &other_hop, "u@example.edu"); /* another next hop is another question */
    verify_wait_cancel(&clients[1].wait);
    next_hop_says(0, 550, "5.1.1", true);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(clients[i].told, i != 1);
    ck_assert_int_eq(clients[3].opinion.result, VERIFY_MISSING);
    ck_assert_str_eq(clients[3].opinion.text, "its words");
    ck_assert_uint_eq(d.cancelled, 1); /* the connection is given back */
    ck_assert(d.questions[1] != NULL && d.questions[1]->kind == WEIR__QUESTION__BODY_VERIFY_TELL);
    ck_assert(!d.questions[1]->exists);
    ck_assert_str_eq(d.questions[1]->words, "its words");
    ask(5, &hop, "u@example.edu"); /* remembered */
    ck_assert_uint_eq(clients[5].told, 1);
    d.now_ms += 1000;
    ask(6, &hop, "u@example.edu"); /* forgotten, but still being told to the coordinators */
    ck_assert_uint_eq(clients[6].told, 1);
    ck_assert_uint_eq(d.probed, 1);
}
END_TEST

START_TEST(test_the_cluster_knows)
{
    ask(0, &hop, "u@example.edu");
    coordinators_say("missing");
    ck_assert_uint_eq(clients[0].told, 1);
    ck_assert_int_eq(clients[0].opinion.result, VERIFY_MISSING);
    ck_assert_str_eq(clients[0].opinion.text, "from the cluster");
    ck_assert_uint_eq(d.probed, 0);
    ask(1, &hop, "u@example.edu");
    ck_assert_uint_eq(clients[1].told, 1);
    ck_assert_double_eq(count_of("weir_verify_answers_total", "source=\"cluster\",result=\"missing\""), 1);
    ck_assert_double_eq(count_of("weir_verify_answers_total", "source=\"memory\",result=\"missing\""), 1);
}
END_TEST

START_TEST(test_what_gets_old)
{
    ask(0, &hop, "u@example.edu");
    coordinators_say("old");
    ck_assert_uint_eq(clients[0].told, 1); /* nobody waits for the second opinion */
    ck_assert_int_eq(clients[0].opinion.result, VERIFY_EXISTS);
    ck_assert_uint_eq(d.probed, 1);
    next_hop_says(0, 451, "4.3.0", true);
    ask(1, &hop, "u@example.edu"); /* it did not say: the old one counts */
    ck_assert_int_eq(clients[1].opinion.result, VERIFY_EXISTS);
    ck_assert_ptr_null(d.questions[0]);
    d.now_ms += 1000;
    ask(2, &hop, "u@example.edu");
    coordinators_say("old");
    next_hop_says(0, 550, "5.1.1", true);
    ck_assert(!d.questions[0]->exists);
    coordinators_say("away");
    ask(3, &hop, "u@example.edu");
    ck_assert_int_eq(clients[3].opinion.result, VERIFY_MISSING);
}
END_TEST

/* 0: no coordinator, 1: no room for a question, 2: no answer */
START_TEST(test_no_database)
{
    d.connected = _i != 0;
    d.full = _i == 1;
    ask(0, &hop, "u@example.edu");
    ck_assert_uint_eq(d.probed, 0); /* nothing happens inside */
    if (_i == 2)
        coordinators_say("away");
    turn();
    ck_assert_uint_eq(d.probed, 1);
    next_hop_says(0, 250, "2.1.5", true);
    ck_assert_uint_eq(clients[0].told, 1);
    ck_assert_int_eq(clients[0].opinion.result, VERIFY_EXISTS);
    ck_assert((d.questions[0] != NULL) == (_i == 2));
    ask(1, &hop, "u@example.edu");
    ck_assert_uint_eq(clients[1].told, 1);
}
END_TEST

/* A refusal of the null sender says nothing of the recipient, nor does a host that is not there. Not told to anybody, and not asked again at once. */
START_TEST(test_it_does_not_say)
{
    ask(0, &hop, "u@example.edu");
    coordinators_say(NULL);
    next_hop_says(0, 550, "5.1.1", false);
    ck_assert_int_eq(clients[0].opinion.result, VERIFY_UNKNOWN);
    ck_assert_ptr_null(d.questions[0]);
    ask(1, &hop, "u@example.edu");
    ck_assert_uint_eq(clients[1].told, 1);
    d.now_ms += 1000;
    ask(2, &hop, "u@example.edu");
    coordinators_say(NULL);
    ck_assert_uint_eq(d.probed, 2);
}
END_TEST

START_TEST(test_too_many_at_one_next_hop)
{
    char address[32];
    for (unsigned i = 0; i < 3; i++) {
        snprintf(address, sizeof address, "u%u@example.edu", i);
        ask(i, &hop, address);
        coordinators_say(NULL);
    }
    ck_assert_uint_eq(d.probed, 2);
    ck_assert_uint_eq(clients[2].told, 1);
    ck_assert_int_eq(clients[2].opinion.result, VERIFY_UNKNOWN);
    ck_assert_double_eq(count_of("weir_verify_limited_total", ""), 1);
    ask(3, &other_hop, "u@example.edu"); /* which keeps nobody from another one */
    coordinators_say(NULL);
    ck_assert_uint_eq(d.probed, 3);
    next_hop_says(0, 250, "", true);
    ask(4, &hop, "u2@example.edu"); /* it is not remembered that there was no room */
    coordinators_say(NULL);
    coordinators_say(NULL);
    ck_assert_uint_eq(d.probed, 4);
}
END_TEST

START_TEST(test_a_slow_next_hop)
{
    ask(0, &hop, "u@example.edu");
    coordinators_say(NULL);
    event_base_loop(base, EVLOOP_ONCE); /* verify_timeout */
    ck_assert_uint_eq(clients[0].told, 1);
    ck_assert_int_eq(clients[0].opinion.result, VERIFY_UNKNOWN);
    ck_assert_double_eq(count_of("weir_verify_timeouts_total", ""), 1);
    ask(1, &hop, "u@example.edu"); /* the same probe */
    ck_assert_uint_eq(d.probed, 1);
    next_hop_says(0, 250, "2.1.5", true);
    ck_assert_int_eq(clients[1].opinion.result, VERIFY_EXISTS);
}
END_TEST

START_TEST(test_asked_from_inside_an_answer)
{
    settings.verify_memory_time = 0;
    clients[0].asks_again = true;
    ask(0, &hop, "u@example.edu");
    coordinators_say("exists");
    ck_assert_uint_eq(clients[0].told, 2);
    clients[1].asks_again = true;
    ask(1, &hop, "u@example.edu");
    coordinators_say(NULL);
    next_hop_says(0, 250, "2.1.5", true);
    ck_assert_uint_eq(clients[1].told, 2);
    ck_assert_uint_eq(d.probed, 1);
}
END_TEST

START_TEST(test_an_internationalized_address)
{
    static char sender[] = "verify@example.edu";
    settings.verify_sender = sender;
    ask(0, &hop, "m\xc3\xbcller@example.edu");
    coordinators_say(NULL);
    ck_assert(d.probes[0]->utf8);
    ck_assert_str_eq(d.probes[0]->sender, sender);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("verify");
    TCase *pure = tcase_create("pure"), *made = tcase_create("verifier");
    tcase_add_loop_test(pure, test_opinion, 0, sizeof replies / sizeof *replies);
    tcase_add_loop_test(pure, test_course, 0, sizeof steps / sizeof *steps);
    tcase_add_test(pure, test_memory);
    tcase_add_checked_fixture(made, setup, teardown);
    tcase_add_test(made, test_one_question_for_many);
    tcase_add_test(made, test_the_cluster_knows);
    tcase_add_test(made, test_what_gets_old);
    tcase_add_loop_test(made, test_no_database, 0, 3);
    tcase_add_test(made, test_it_does_not_say);
    tcase_add_test(made, test_too_many_at_one_next_hop);
    tcase_add_test(made, test_a_slow_next_hop);
    tcase_add_test(made, test_asked_from_inside_an_answer);
    tcase_add_test(made, test_an_internationalized_address);
    suite_add_tcase(suite, pure);
    suite_add_tcase(suite, made);
    return run_suite(suite);
}

/*
 * test_node.c - a node and coordinators that are played by the test, over real sockets on loopback
 *
 * A coordinator here acknowledges heartbeats and reports and publishes the state it is told to; each can fall silent or
 * go away.
 */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "proto/node.h"
#include "proto/node_reports.h"
#include "tests/unit/suite.h"

#define COORDINATORS 2
#define ID           "01HQ0000000000000000"

struct coordinator {
    struct curve_keypair pair;
    struct metrics metrics;
    struct link_hub *hub;
    struct link_server *server;
    struct link_publisher *publisher;
    char listen[64], publish[64];
    bool silent, no_report_acks;
    unsigned hellos, heartbeats, reports, rows, policy_requests;
    char last_database[WIRE_WORD_MAX + 1]; /* as its last hello said */
    unsigned samples, partial;
    uint64_t last_batch, batches_seen;
    Weir__NodeState last_state;
    uint64_t last_policy_epoch, last_drain_number;
    char first_sender[1100];
    unsigned questions;
    bool no_answers, no_policies;
    Weir__AnswerStatus answer; /* 0: OK */
    uint64_t last_request;
};

static struct event_base *base;
static struct coordinator coordinators[COORDINATORS];
static struct curve_keypair node_pair;
static struct metrics node_metrics;
static struct link_hub *node_hub;
static struct node *node;
static struct node_coordinator known[COORDINATORS];
static struct cluster_settings settings;
static char folder[64];

static unsigned states, policies;
static uint64_t state_epoch, policy_epoch;
static bool has_entry, entry_drain;
static char policy_text[64];

/* --- the loop --- */

static bool passed(uint64_t end)
{
    event_base_loopexit(base, &(struct timeval){ 0, 5000 });
    event_base_loop(base, EVLOOP_ONCE);
    return clock_ms() >= end;
}

static void run_for(unsigned milliseconds)
{
    uint64_t end = clock_ms() + milliseconds;

    while (!passed(end))
        ;
}

/* --- coordinators --- */

static uint64_t policy_sent = 5;          /* what coordinators give */
static const char *policy_digest = "";
static const char *policy_mailertable = "example.edu smtp:[x]\n";

static void send_policy(struct coordinator *c, struct link_peer *peer)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__Policy policy = WEIR__POLICY__INIT;
    ProtobufCBinaryData names[] = { wire_text("mailertable"), wire_text("networks") };
    struct link_payload payloads[] = { { policy_mailertable, strlen(policy_mailertable) }, { NULL, 0 } };

    policy.epoch = policy_sent;
    policy.digest = wire_text(policy_digest);
    policy.files = names;
    policy.n_files = 2;
    frame.body_case = WEIR__FRAME__BODY_POLICY;
    frame.policy = &policy;
    link_server_send(c->server, peer, &frame, payloads, 2);
}

static void on_heartbeat(struct coordinator *c, struct link_peer *peer, const Weir__Heartbeat *beat)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__HeartbeatAck ack = WEIR__HEARTBEAT_ACK__INIT;

    c->heartbeats++;
    c->samples += (unsigned)beat->n_metrics;
    c->partial += beat->metrics_partial;
    c->last_state = beat->state;
    c->last_policy_epoch = beat->policy_epoch;
    c->last_drain_number = beat->drain_number;
    ck_assert(wire_equal(&beat->node, "edge-1"));
    ack.sequence = beat->sequence;
    frame.body_case = WEIR__FRAME__BODY_HEARTBEAT_ACK;
    frame.heartbeat_ack = &ack;
    if (!c->silent)
        link_server_send(c->server, peer, &frame, NULL, 0);
}

static void on_report(struct coordinator *c, struct link_peer *peer, const Weir__Report *report)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__ReportAck ack = WEIR__REPORT_ACK__INIT;

    c->reports++;
    if (report->batch != c->last_batch) {
        c->batches_seen++;
        c->rows += (unsigned)report->n_rows;
    }
    c->last_batch = report->batch;
    if (c->first_sender[0] == '\0')
        wire_string(c->first_sender, sizeof c->first_sender, &report->rows[0]->sender);
    ack.batch = report->batch;
    frame.body_case = WEIR__FRAME__BODY_REPORT_ACK;
    frame.report_ack = &ack;
    if (!c->silent && !c->no_report_acks)
        link_server_send(c->server, peer, &frame, NULL, 0);
}

/* Answers with what was asked for: the login is the account, the first chunk's length is what is stored. */
static void on_question(struct coordinator *c, struct link_peer *peer, const struct link_message *message)
{
    const Weir__Question *question = message->frame->question;
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__AuthResult result = WEIR__AUTH_RESULT__INIT;
    Weir__SpoolStored stored = WEIR__SPOOL_STORED__INIT;

    c->questions++;
    c->last_request = question->request;
    answer.request = question->request;
    answer.status = c->answer != 0 ? c->answer : WEIR__ANSWER_STATUS__ANSWER_OK;
    if (answer.status != WEIR__ANSWER_STATUS__ANSWER_OK) {
        answer.why = wire_text("words");
    } else if (question->body_case == WEIR__QUESTION__BODY_AUTH_CHECK) {
        result.outcome = WEIR__AUTH_OUTCOME__AUTH_ACCEPTED;
        result.account = question->auth_check->login;
        answer.body_case = WEIR__ANSWER__BODY_AUTH_RESULT;
        answer.auth_result = &result;
    } else if (question->body_case == WEIR__QUESTION__BODY_SPOOL_STORE) {
        ck_assert_uint_eq(message->payload_count, 2);
        stored.id = question->spool_store->envelope->id;
        stored.have = message->payloads[1].len;
        answer.body_case = WEIR__ANSWER__BODY_SPOOL_STORED;
        answer.spool_stored = &stored;
    }
    frame.body_case = WEIR__FRAME__BODY_ANSWER;
    frame.answer = &answer;
    if (!c->silent && !c->no_answers)
        link_server_send(c->server, peer, &frame, NULL, 0);
}

static void coordinator_message(void *arg, struct link_peer *peer, const struct link_message *message)
{
    struct coordinator *c = arg;

    switch (message->frame->body_case) {
    case WEIR__FRAME__BODY_NODE_HELLO:
        c->hellos++;
        wire_string(c->last_database, sizeof c->last_database, &message->frame->node_hello->database);
        break;
    case WEIR__FRAME__BODY_HEARTBEAT:
        on_heartbeat(c, peer, message->frame->heartbeat);
        break;
    case WEIR__FRAME__BODY_REPORT:
        on_report(c, peer, message->frame->report);
        break;
    case WEIR__FRAME__BODY_POLICY_REQUEST:
        c->policy_requests++;
        if (!c->silent && !c->no_policies)
            send_policy(c, peer);
        break;
    case WEIR__FRAME__BODY_QUESTION:
        on_question(c, peer, message);
        break;
    default:
        ck_abort_msg("unexpected message");
    }
}

static void coordinator_gone(void *arg, struct link_peer *peer)
{
    (void)arg, (void)peer;
}

static void coordinator_start(struct coordinator *c)
{
    static const struct link_server_handlers handlers = { .message = coordinator_message, .gone = coordinator_gone };
    struct error why = { "" };

    for (int i = 0; i < 100 && c->server == NULL; i++) { /* a port is given back a moment after its socket closed */
        c->server = link_server_new(c->hub, c->listen, &handlers, c, &why);
        run_for(c->server == NULL ? 5 : 0);
    }
    ck_assert_msg(c->server != NULL, "%s", why.text);
    for (int i = 0; i < 100 && c->publisher == NULL; i++) {
        c->publisher = link_publisher_new(c->hub, c->publish, &why);
        run_for(c->publisher == NULL ? 5 : 0);
    }
    ck_assert_msg(c->publisher != NULL, "%s", why.text);
    snprintf(c->listen, sizeof c->listen, "%s", link_server_endpoint(c->server));
    snprintf(c->publish, sizeof c->publish, "%s", link_publisher_endpoint(c->publisher));
}

static void coordinator_stop(struct coordinator *c)
{
    link_server_free(&c->server);
    link_publisher_free(&c->publisher);
}

static void coordinator_init(struct coordinator *c)
{
    struct link_allowed_key key = { .name = "edge-1", .role = WEIR__ROLE__ROLE_EDGE };

    memset(c, 0, sizeof *c);
    snprintf(c->listen, sizeof c->listen, "tcp://127.0.0.1:*");
    snprintf(c->publish, sizeof c->publish, "tcp://127.0.0.1:*");
    curve_keypair_generate(&c->pair);
    metrics_init(&c->metrics);
    c->hub = link_hub_new(base, &c->pair, &c->metrics);
    memcpy(key.key, node_pair.public_key, CURVE_KEY_LEN);
    link_hub_allow(c->hub, &key, 1);
    coordinator_start(c);
}

static const char *database = "one"; /* what coordinators publish from, and whether they still hear it */
static bool fresh = true, spool_full;

static void publish(struct coordinator *c, uint64_t epoch, bool drain, uint64_t policy)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__ClusterState state = WEIR__CLUSTER_STATE__INIT;
    Weir__NodeEntry entry = WEIR__NODE_ENTRY__INIT, *entries[] = { &entry };
    Weir__AllowedKey key = WEIR__ALLOWED_KEY__INIT, *keys[] = { &key };

    entry.node = wire_text("edge-1");
    entry.role = WEIR__ROLE__ROLE_EDGE;
    entry.drain = drain;
    entry.drain_number = epoch + 1;
    key.public_key = wire_bytes(node_pair.public_key, CURVE_KEY_LEN);
    key.name = wire_text("edge-1");
    key.role = WEIR__ROLE__ROLE_EDGE;
    state.epoch = epoch;
    state.coordinator = wire_text(c == &coordinators[0] ? "coordinator-1" : "coordinator-2");
    state.nodes = entries;
    state.n_nodes = 1;
    state.keys = keys;
    state.n_keys = 1;
    state.policy_epoch = policy;
    state.policy_digest = wire_text(policy_digest);
    state.identity = wire_text(database);
    state.fresh = fresh;
    state.spool_full = spool_full;
    frame.body_case = WEIR__FRAME__BODY_CLUSTER_STATE;
    frame.cluster_state = &state;
    link_publish(c->publisher, &frame);
}

/* --- the node's owner --- */

static void node_state(void *arg, const Weir__ClusterState *state, const Weir__NodeEntry *entry)
{
    (void)arg;
    states++;
    state_epoch = state->epoch;
    has_entry = entry != NULL;
    entry_drain = entry != NULL && entry->drain;
}

/* In a thread of its own: no check here, and no global is written. */
static void *node_policy_parse(const struct wire_file *files, size_t count, struct error *why)
{
    if (count == 2 && strcmp(files[0].name, "mailertable") == 0 && files[1].len == 0 && strncmp(files[0].text, "broken", 6) != 0)
        return xstrndup(files[0].text, 60);
    error_set(why, "mailertable:1: error: broken");
    return NULL;
}

static void node_policy(void *arg, uint64_t epoch, void *taken)
{
    (void)arg;
    policies++;
    policy_epoch = epoch;
    snprintf(policy_text, sizeof policy_text, "%s", (const char *)taken);
    free(taken);
}

static void node_heartbeat(void *arg, Weir__Heartbeat *beat)
{
    (void)arg;
    beat->state = WEIR__NODE_STATE__NODE_ACTIVE;
    beat->in_flight = 7;
}

static void node_start(size_t report_buffer)
{
    static const struct node_handlers handlers = { .state = node_state,
                                                   .policy_parse = node_policy_parse,
                                                   .policy = node_policy,
                                                   .policy_free = free,
                                                   .heartbeat = node_heartbeat };
    struct node_options options = {
        .name = "edge-1",
        .role = WEIR__ROLE__ROLE_EDGE,
        .cluster = &settings,
        .coordinators = known,
        .coordinator_count = COORDINATORS,
        .report_buffer = report_buffer,
        .hub = node_hub,
        .metrics = &node_metrics,
    };

    node = node_new(base, &options, &handlers, NULL);
}

static void setup(void)
{
    log_open(&(struct log_options){ .ident = "test", .node = "test", .level = LOG_CRIT });
    base = event_base_new();
    curve_keypair_generate(&node_pair);
    metrics_init(&node_metrics);
    node_hub = link_hub_new(base, &node_pair, &node_metrics);
    snprintf(folder, sizeof folder, "/tmp/test_node.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    settings.state_dir = folder;
    settings.heartbeat_interval = 200;
    settings.question_repeat = 400;
    for (int i = 0; i < COORDINATORS; i++) {
        coordinator_init(&coordinators[i]);
        known[i].listen = coordinators[i].listen;
        known[i].publish = coordinators[i].publish;
        memcpy(known[i].public_key, coordinators[i].pair.public_key, CURVE_KEY_LEN);
    }
}

static void teardown(void)
{
    char path[128];

    node_free(&node);
    link_hub_free(&node_hub);
    metrics_fini(&node_metrics);
    for (int i = 0; i < COORDINATORS; i++) {
        coordinator_stop(&coordinators[i]);
        link_hub_free(&coordinators[i].hub);
        metrics_fini(&coordinators[i].metrics);
    }
    event_base_free(base);
    snprintf(path, sizeof path, "%s/edge-1.state", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/edge-1.policy", folder);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else was left there */
}

/* Runs the loop until the condition holds; fails after a minute. */
#define WAIT(condition)                                                                                                \
    do {                                                                                                               \
        uint64_t end_ = clock_ms() + 60000;                                                                             \
        while (!(condition))                                                                                           \
            ck_assert_msg(!passed(end_), "%s", #condition);                                                            \
    } while (0)

static double value_of(const char *name, const char *labels)
{
    for (struct metric *metric = node_metrics.first; metric != NULL; metric = metric->next)
        if (strcmp(metric->name, name) == 0 && strcmp(metric->labels, labels) == 0)
            return metric->value;
    return -1;
}

static struct coordinator *current(void)
{
    static unsigned before[COORDINATORS];

    for (int i = 0; i < COORDINATORS; i++)
        before[i] = coordinators[i].heartbeats;
    for (;;) {
        run_for(10);
        for (int i = 0; i < COORDINATORS; i++)
            if (coordinators[i].heartbeats > before[i])
                return &coordinators[i];
    }
}

static void report_one(const char *sender)
{
    Weir__AuditRow row = WEIR__AUDIT_ROW__INIT;

    row.id = wire_text(ID);
    row.sender = wire_text(sender);
    row.disposition = wire_text("delivered");
    node_report(node, &row);
}

/* --- tests --- */

START_TEST(test_hello_and_heartbeats)
{
    node_start(100);
    ck_assert(!node_is_connected(node));
    WAIT(node_is_connected(node));
    struct coordinator *c = current();
    WAIT(c->heartbeats >= 3);
    ck_assert_uint_ge(c->hellos, 1);
    ck_assert_int_eq(c->last_state, WEIR__NODE_STATE__NODE_ACTIVE);
    ck_assert_uint_gt(c->samples, 0);
    ck_assert_uint_eq(c->partial, 0);
    unsigned before = c->heartbeats;
    node_heartbeat_soon(node);
    node_heartbeat_soon(node);
    WAIT(c->heartbeats > before);
    ck_assert_uint_le(c->heartbeats, before + 2);
}
END_TEST

START_TEST(test_many_series_go_in_several_heartbeats)
{
    for (int i = 0; i < 500; i++)
        metrics_histogram(&node_metrics, "weir_test_seconds", metrics_seconds_bounds, metrics_seconds_count, "i=\"%d\"",
                          i);
    node_start(100);
    WAIT(node_is_connected(node));
    WAIT(coordinators[0].samples + coordinators[1].samples >= 500);
    ck_assert_uint_ge(coordinators[0].partial + coordinators[1].partial, 2);
    ck_assert(value_of("weir_link_dropped_total", "reason=\"own\"") == 0);
}
END_TEST

START_TEST(test_silent_coordinator_is_left)
{
    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = current(), *other = c == &coordinators[0] ? &coordinators[1] : &coordinators[0];
    unsigned before = other->heartbeats;
    c->silent = true;
    WAIT(other->heartbeats > before && node_is_connected(node));
    ck_assert(value_of("weir_node_coordinator_failovers_total", "") >= 1);
}
END_TEST

START_TEST(test_dead_coordinator_is_left_at_once)
{
    settings.heartbeat_interval = 10000; /* its end is what it is left for: 20 s of silence would be needed */
    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = &coordinators[coordinators[0].hellos > 0 ? 0 : 1], *other = &coordinators[coordinators[0].hellos > 0 ? 1 : 0];
    uint64_t began = clock_ms();
    coordinator_stop(c);
    WAIT(other->hellos > 0 && node_is_connected(node));
    ck_assert_uint_lt(clock_ms() - began, 19000);
    coordinator_stop(other);
    WAIT(!node_is_connected(node));
    coordinator_start(c);
    WAIT(node_is_connected(node));
}
END_TEST

START_TEST(test_state_and_epochs)
{
    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = current(), *other = c == &coordinators[0] ? &coordinators[1] : &coordinators[0];
    WAIT((publish(c, 10, false, 0), run_for(20), states > 0));
    ck_assert_uint_eq(states, 1);
    ck_assert_uint_eq(state_epoch, 10);
    ck_assert(has_entry && !entry_drain);
    publish(other, 10, false, 0); /* the same from another */
    publish(c, 9, true, 0);       /* older */
    publish(other, 10, true, 0);  /* another's view under the same epoch */
    run_for(200);
    ck_assert_uint_eq(states, 1);
    publish(other, 11, true, 0);
    WAIT(states == 2);
    ck_assert(entry_drain);
    WAIT(c->last_drain_number == 12);
    publish(c, 11, false, 0); /* the coordinator we talk to is believed */
    WAIT(states == 3);
    ck_assert(!entry_drain);
}
END_TEST

static struct coordinator *start_with_epoch_1000(void)
{
    database = "one";
    fresh = true;
    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = current();
    WAIT((publish(c, 1000, false, 0), run_for(20), states > 0));
    return c;
}

START_TEST(test_coordinator_that_lags_behind_is_never_believed)
{
    struct coordinator *c = start_with_epoch_1000();
    uint64_t began = clock_ms();
    while (clock_ms() - began < 11500) {
        database = "one"; /* cut off from it, or hung while it read */
        fresh = (clock_ms() & 1) != 0;
        publish(c, 999, true, 0);
        database = "other"; /* one that was there before */
        fresh = false;
        publish(c, 999, true, 0);
        publish(c, 1001, true, 0);
        run_for(100);
    }
    ck_assert_uint_eq(states, 1);
    ck_assert(!entry_drain);
    database = "one";
    WAIT((publish(c, 1001, true, 0), run_for(20), states == 2));
}
END_TEST

START_TEST(test_coordinator_without_database_is_left_for_one_that_has_it)
{
    struct coordinator *c = start_with_epoch_1000(), *other = c == &coordinators[0] ? &coordinators[1] : &coordinators[0];
    unsigned before = other->heartbeats;
    uint64_t began = clock_ms();
    while (other->heartbeats == before && clock_ms() - began < 45000) {
        fresh = false;
        publish(c, 1000, false, 0);
        fresh = true;
        publish(other, 1001, true, 0);
        run_for(50);
    }
    ck_assert_uint_gt(other->heartbeats, before);
    ck_assert_uint_ge(clock_ms() - began, 900);
    WAIT(node_is_connected(node));
    WAIT(other->last_drain_number == 1002);
    ck_assert(value_of("weir_node_coordinator_failovers_total", "") == 1);
    fresh = false; /* now neither has one: it stays */
    for (int i = 0; i < 60; i++) {
        publish(c, 1000, false, 0);
        publish(other, 1001, true, 0);
        run_for(50);
    }
    ck_assert(value_of("weir_node_coordinator_failovers_total", "") == 1);
}
END_TEST

/* Its standby was promoted behind its back: both say that they read their database, and its epochs grow as the other's do. */
START_TEST(test_former_primary_is_not_believed)
{
    struct coordinator *c = start_with_epoch_1000(), *other = c == &coordinators[0] ? &coordinators[1] : &coordinators[0];
    unsigned before = other->heartbeats;
    uint64_t began = clock_ms();
    database = "one/7/00000001";
    WAIT((publish(c, 1001, false, 0), run_for(20), states == 2));
    database = "one/7/00000002";
    WAIT((publish(other, 1001, true, 0), run_for(20), states == 3 && entry_drain)); /* it had all, and is news at once */
    while (other->heartbeats == before && clock_ms() - began < 30000) {
        database = "one/7/00000001";
        publish(c, 2000, false, 0);
        database = "one/7/00000002";
        publish(other, 1001, true, 0);
        run_for(50);
    }
    ck_assert_uint_gt(other->heartbeats, before);
    ck_assert_uint_eq(state_epoch, 1001);
    ck_assert(entry_drain);
    ck_assert(value_of("weir_node_states_of_former_primary_total", "") >= 1);
    WAIT(strcmp(c->last_database, "one/7/00000002") == 0); /* it is told what it does not know */
}
END_TEST

START_TEST(test_another_database_is_believed_after_a_while)
{
    struct coordinator *c = start_with_epoch_1000();
    uint64_t began = clock_ms();
    database = "other";
    while (states == 1 && clock_ms() - began < 45000) {
        publish(c, 3, true, 0);
        run_for(100);
    }
    ck_assert_uint_eq(state_epoch, 3);
    ck_assert_uint_ge(clock_ms() - began, 9900);
}
END_TEST

static void publish_full(struct coordinator *c, uint64_t epoch, bool full)
{
    spool_full = full;
    publish(c, epoch, false, 0);
    spool_full = false;
}

/* Says it until it is heard; a subscription may begin later than the conversation. */
#define PUBLISH_UNTIL(c, epoch, full, condition) \
    WAIT((publish_full(c, epoch, full), run_for(20), condition))

/* Only one coordinator has found the disk full, or room again. The one that is asked to store is believed, however old the rest of its state is. */
START_TEST(test_a_full_spool_is_what_the_coordinator_in_use_says)
{
    settings.heartbeat_interval = 10000; /* on a busy machine nobody is left for silence */
    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = &coordinators[coordinators[0].hellos > 0 ? 0 : 1], *other = &coordinators[coordinators[0].hellos > 0 ? 1 : 0];
    PUBLISH_UNTIL(other, 10, true, states == 1);
    ck_assert(!node_spool_is_full(node));
    PUBLISH_UNTIL(c, 10, true, node_spool_is_full(node));
    ck_assert_uint_eq(states, 1); /* no news of the cluster */
    PUBLISH_UNTIL(other, 11, false, state_epoch == 11);
    ck_assert(node_spool_is_full(node));
    PUBLISH_UNTIL(c, 10, false, !node_spool_is_full(node));
    PUBLISH_UNTIL(other, 12, true, state_epoch == 12);
    ck_assert(!node_spool_is_full(node));
    PUBLISH_UNTIL(c, 9, true, node_spool_is_full(node));
    ck_assert_uint_eq(state_epoch, 12);
    PUBLISH_UNTIL(c, 12, false, !node_spool_is_full(node));

    coordinator_stop(c); /* and with another one what that said counts, at once */
    WAIT(node_is_connected(node) && node_spool_is_full(node));
    PUBLISH_UNTIL(other, 12, false, !node_spool_is_full(node));
    PUBLISH_UNTIL(other, 12, true, node_spool_is_full(node));
    coordinator_stop(other);
    WAIT(!node_is_connected(node));
    ck_assert(!node_spool_is_full(node)); /* it is away: other words for that */
}
END_TEST

/* A start without coordinators, from what was kept: nobody says it. */
START_TEST(test_a_full_spool_is_not_kept)
{
    settings.heartbeat_interval = 10000;
    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = &coordinators[coordinators[0].hellos > 0 ? 0 : 1];
    PUBLISH_UNTIL(c, 10, true, node_spool_is_full(node) && states == 1);
    node_free(&node);
    states = 0;
    node_start(100);
    WAIT(states == 1 && node_is_connected(node));
    ck_assert(!node_spool_is_full(node));
}
END_TEST

START_TEST(test_policy)
{
    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = current();
    WAIT((publish(c, 10, false, 5), run_for(20), states > 0));
    WAIT(policies == 1);
    ck_assert_uint_eq(policy_epoch, 5);
    ck_assert_str_eq(policy_text, "example.edu smtp:[x]\n");
    WAIT(c->last_policy_epoch == 5);
    ck_assert_uint_eq(c->policy_requests, 1);
}
END_TEST

static void publish_until(unsigned wanted, uint64_t epoch, uint64_t policy)
{
    WAIT((publish(current(), epoch, false, policy), run_for(20), policies >= wanted));
    ck_assert_uint_eq(policies, wanted);
}

/* A large one is on its way for longer than the first pause. */
START_TEST(test_policy_asked_for_ever_more_seldom)
{
    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = current();
    c->no_policies = true;
    uint64_t began = clock_ms();
    WAIT((publish(c, 10, false, 5), run_for(20), c->policy_requests > 0));
    WAIT(c->policy_requests >= 3); /* after 1 s and 2 s more */
    uint64_t third = clock_ms();
    ck_assert_uint_ge(third - began, 2900);
    run_for(1500);
    ck_assert(c->policy_requests == 3 || clock_ms() - third > 3500); /* but not yet after another 4 s */
    c->no_policies = false;
    publish(c, 11, false, 6); /* news is asked for at once */
    policy_sent = 6;
    WAIT(policies == 1);
    ck_assert_uint_eq(policy_epoch, 6);
}
END_TEST

START_TEST(test_policy_of_another_database)
{
    node_start(100);
    WAIT(node_is_connected(node));
    policy_digest = "aa";
    publish_until(1, 10, 5);
    publish(current(), 11, false, 5);
    run_for(300);
    ck_assert_uint_eq(policies, 1); /* the same again is no news */
    policy_digest = "bb";           /* a backup was restored, and another policy applied since */
    policy_mailertable = "example.edu smtp:[y]\n";
    publish_until(2, 12, 5);
    ck_assert_uint_eq(policy_epoch, 5);
    ck_assert_str_eq(policy_text, "example.edu smtp:[y]\n");
}
END_TEST

START_TEST(test_policy_that_cannot_be_used)
{
    node_start(100);
    WAIT(node_is_connected(node));
    policy_digest = "aa";
    publish_until(1, 10, 5);
    policy_digest = "bb";
    policy_mailertable = "broken\n";
    policy_sent = 6;
    struct coordinator *c = current();
    unsigned asked = c->policy_requests;
    WAIT((publish(c, 11, false, 6), run_for(20), value_of("weir_node_policy_refused", "") == 1));
    for (int i = 0; i < 15; i++) { /* longer than an unanswered request waits */
        publish(c, 11, false, 6);
        run_for(100);
    }
    ck_assert_uint_eq(c->policy_requests, asked + 1);
    ck_assert_uint_eq(policies, 1);
    ck_assert_uint_eq(c->last_policy_epoch, 5); /* what heartbeats tell is what is in force */
    ck_assert(value_of("weir_node_policy_epoch", "") == 5);

    for (int i = 0; i < COORDINATORS; i++)
        coordinators[i].silent = true;
    node_free(&node); /* whoever starts now goes on with what was good */
    policy_text[0] = '\0';
    node_start(100);
    WAIT(policies == 2);
    ck_assert_str_eq(policy_text, "example.edu smtp:[x]\n");
    for (int i = 0; i < COORDINATORS; i++)
        coordinators[i].silent = false;

    policy_digest = "cc";
    policy_mailertable = "example.edu smtp:[z]\n";
    policy_sent = 7;
    WAIT(node_is_connected(node));
    publish_until(3, 12, 7);
    ck_assert_str_eq(policy_text, "example.edu smtp:[z]\n");
    ck_assert(value_of("weir_node_policy_refused", "") == 0);
}
END_TEST

START_TEST(test_files_in_pieces)
{
    ProtobufCBinaryData names[WIRE_PAYLOADS_MAX];
    struct link_payload payloads[WIRE_PAYLOADS_MAX];
    struct wire_files joined;
    static const size_t sizes[] = { 0, 1, WIRE_PAYLOAD_MAX - 1, WIRE_PAYLOAD_MAX, WIRE_PAYLOAD_MAX + 1, 3 * (size_t)WIRE_PAYLOAD_MAX, 10 };
    static const size_t pieces[] = { 1, 1, 1, 1, 2, 3, 1 };
    enum { COUNT = sizeof sizes / sizeof *sizes };
    struct wire_file files[COUNT];
    static const char *const file_names[COUNT] = { "a", "b", "c", "d", "e", "f", "g" };
    size_t all = 0;

    char *text = malloc(3 * (size_t)WIRE_PAYLOAD_MAX);
    for (size_t i = 0; i < 3 * (size_t)WIRE_PAYLOAD_MAX; i++)
        text[i] = (char)('a' + i % 23);
    for (size_t i = 0; i < COUNT; i++) {
        files[i] = (struct wire_file){ file_names[i], text, sizes[i] };
        all += pieces[i];
    }
    ck_assert_uint_eq(wire_files_split(files, COUNT, names, payloads), all);
    wire_files_join(&joined, names, payloads, all);
    ck_assert_uint_eq(joined.count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert_str_eq(joined.items[i].name, file_names[i]);
        ck_assert_uint_eq(joined.items[i].len, sizes[i]);
        ck_assert_int_eq(memcmp(joined.items[i].text, text, sizes[i]), 0);
        ck_assert_int_eq(joined.items[i].text[sizes[i]], '\0');
    }
    wire_files_free(&joined);
    static const struct wire_file huge = { "h", "", (size_t)WIRE_PAYLOADS_MAX * WIRE_PAYLOAD_MAX + 1 };
    ck_assert_uint_eq(wire_files_split(&huge, 1, names, payloads), 0);
    free(text);
}
END_TEST

START_TEST(test_start_without_coordinators)
{
    char path[128];
    struct stat status;

    node_start(100);
    WAIT(node_is_connected(node));
    WAIT((publish(current(), 10, true, 5), run_for(20), policies > 0));
    node_free(&node);
    snprintf(path, sizeof path, "%s/edge-1.state", folder);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    for (int i = 0; i < COORDINATORS; i++)
        coordinator_stop(&coordinators[i]);
    states = policies = 0;
    entry_drain = false;
    node_start(100);
    WAIT(states == 1 && policies == 1);
    ck_assert(entry_drain);
    ck_assert_uint_eq(state_epoch, 10);
    ck_assert_uint_eq(policy_epoch, 5);
    ck_assert(!node_is_connected(node));
}
END_TEST

START_TEST(test_damaged_cache_is_ignored)
{
    char path[128];

    node_start(100);
    WAIT(node_is_connected(node));
    WAIT((publish(current(), 10, true, 5), run_for(20), policies > 0));
    node_free(&node);
    for (int i = 0; i < COORDINATORS; i++)
        coordinator_stop(&coordinators[i]);
    snprintf(path, sizeof path, "%s/edge-1.state", folder);
    FILE *file = fopen(path, "r+");
    fseek(file, 40, SEEK_SET);
    fputc('!', file);
    fclose(file);
    snprintf(path, sizeof path, "%s/edge-1.policy", folder);
    ck_assert_int_eq(truncate(path, 30), 0);
    states = policies = 0;
    node_start(100);
    run_for(100);
    ck_assert_uint_eq(states, 0);
    ck_assert_uint_eq(policies, 0);
}
END_TEST

START_TEST(test_reports_are_repeated_until_acknowledged)
{
    node_start(1000);
    WAIT(node_is_connected(node));
    struct coordinator *c = current(), *other = c == &coordinators[0] ? &coordinators[1] : &coordinators[0];
    c->no_report_acks = true;
    for (int i = 0; i < 10; i++)
        report_one("a@example.edu");
    WAIT(c->reports == 1);
    ck_assert_uint_eq(c->rows, 10);
    report_one("b@example.edu");
    run_for(300);
    ck_assert_uint_eq(c->reports, 1); /* one batch at a time */
    ck_assert_uint_eq(node_reports_pending(node), 11);
    WAIT(c->reports == 2); /* after 2 s, with its number */
    ck_assert_uint_eq(c->batches_seen, 1);
    coordinator_stop(c);
    WAIT(node_reports_pending(node) == 0);
    ck_assert_uint_eq(other->rows, 11);
    ck_assert_uint_eq(other->batches_seen, 2);
}
END_TEST

START_TEST(test_many_reports)
{
    node_start(20000);
    for (int i = 0; i < 20000; i++)
        report_one("somebody.with.a.long.name@department.example.edu");
    WAIT(node_reports_pending(node) == 0);
    ck_assert_uint_eq(coordinators[0].rows + coordinators[1].rows, 20000);
    ck_assert(value_of("weir_reports_acknowledged_total", "") == 20000);
    ck_assert(value_of("weir_link_dropped_total", "reason=\"own\"") == 0);
}
END_TEST

START_TEST(test_full_buffer_loses_the_oldest)
{
    for (int i = 0; i < COORDINATORS; i++)
        coordinator_stop(&coordinators[i]);
    node_start(10);
    char sender[32];
    for (int i = 0; i < 25; i++) {
        snprintf(sender, sizeof sender, "%d@example.edu", i);
        report_one(sender);
    }
    ck_assert_uint_eq(node_reports_pending(node), 10);
    ck_assert(value_of("weir_reports_dropped_total", "reason=\"overflow\"") == 15);
    ck_assert(value_of("weir_reports_buffered", "") == 10);
    coordinator_start(&coordinators[1]);
    WAIT(node_reports_pending(node) == 0);
    ck_assert_str_eq(coordinators[1].first_sender, "15@example.edu");
}
END_TEST

START_TEST(test_long_texts_are_cut_and_bad_rows_dropped)
{
    static char longer[5000];

    memset(longer, 'x', sizeof longer - 1);
    node_start(10);
    report_one(longer);
    WAIT(coordinators[0].rows + coordinators[1].rows == 1);
    struct coordinator *c = coordinators[0].rows == 1 ? &coordinators[0] : &coordinators[1];
    ck_assert_uint_eq(strlen(c->first_sender), WIRE_ADDRESS_MAX);
    Weir__AuditRow row = WEIR__AUDIT_ROW__INIT;
    row.id = wire_text("short");
    row.disposition = wire_text("delivered");
    node_report(node, &row);
    ck_assert(value_of("weir_reports_dropped_total", "reason=\"invalid\"") == 1);
}
END_TEST

/* A coordinator of before takes few fields in a frame that it does not know; another gets them all the same. */
START_TEST(test_rows_fit_the_version_of_who_gets_them)
{
    struct node_reports *reports = node_reports_new(10, &node_metrics);
    Weir__AuditRow row = WEIR__AUDIT_ROW__INIT;

    row.id = wire_text(ID);
    row.disposition = wire_text("delivered");
    row.policy_epoch = 3;
    row.rule = wire_text("mailertable:2");
    row.login = wire_text("alice");
    row.given = wire_text("sysadm@example.edu");
    row.origin = WEIR__ORIGIN__ORIGIN_LOGIN;
    row.first = true;
    row.attachments = wire_text("0123456789abcdef0123456789abcdef\x03");
    node_reports_add(reports, &row);
    for (uint32_t version = 1; version <= PROTO_VERSION; version++) {
        Weir__Report report = WEIR__REPORT__INIT;
        ck_assert(node_reports_batch(reports, version, &report));
        ck_assert_uint_eq(report.batch, 1);
        ck_assert_uint_eq(report.rows[0]->policy_epoch, version >= WIRE_VERSION_RULE ? 3 : 0);
        ck_assert_uint_eq(report.rows[0]->rule.len, version >= WIRE_VERSION_RULE ? 13 : 0);
        ck_assert_uint_eq(report.rows[0]->login.len, version >= WIRE_VERSION_RULE ? 5 : 0);
        ck_assert_uint_eq(report.rows[0]->given.len, version >= WIRE_VERSION_RULE ? 18 : 0);
        ck_assert_int_eq(report.rows[0]->origin, version >= WIRE_VERSION_RULE ? WEIR__ORIGIN__ORIGIN_LOGIN : 0);
        ck_assert_int_eq(report.rows[0]->first, version >= WIRE_VERSION_RULE);
        ck_assert_uint_eq(report.rows[0]->attachments.len, version >= WIRE_VERSION_ATTACHMENTS ? WIRE_ATTACHMENT_LEN : 0);
    }
    ck_assert(node_reports_acknowledge(reports, 1));
    node_reports_free(&reports);
}
END_TEST

/* --- questions --- */

struct asked {
    unsigned answers, nothing;
    Weir__AnswerStatus status;
    char account[64];
    uint64_t stored;
    unsigned ask_again; /* that many more from inside the answer */
    struct node_question **cancel;
};

static struct node_question *ask_who(const char *login, uint64_t timeout_ms, struct asked *asked);

static void on_asked(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct asked *asked = arg;

    (void)payloads, (void)count;
    asked->answers++;
    if (asked->cancel != NULL)
        node_question_cancel(asked->cancel);
    if (answer == NULL) {
        asked->nothing++;
    } else {
        asked->status = answer->status;
        if (answer->body_case == WEIR__ANSWER__BODY_AUTH_RESULT)
            wire_string(asked->account, sizeof asked->account, &answer->auth_result->account);
        if (answer->body_case == WEIR__ANSWER__BODY_SPOOL_STORED)
            asked->stored = answer->spool_stored->have;
    }
    if (asked->ask_again > 0) {
        asked->ask_again--;
        ck_assert_ptr_nonnull(ask_who("again", 5000, asked));
    }
}

static struct node_question *ask_who(const char *login, uint64_t timeout_ms, struct asked *asked)
{
    Weir__Question question = WEIR__QUESTION__INIT;
    Weir__AuthCheck check = WEIR__AUTH_CHECK__INIT;

    check.login = wire_text(login);
    check.password = wire_text("wonderland");
    question.body_case = WEIR__QUESTION__BODY_AUTH_CHECK;
    question.auth_check = &check;
    return node_ask(node, &question, NULL, 0, timeout_ms, on_asked, asked);
}

static struct node_question *ask_store(const void *body, size_t len, struct asked *asked)
{
    Weir__Question question = WEIR__QUESTION__INIT;
    Weir__SpoolStore store = WEIR__SPOOL_STORE__INIT;
    Weir__SpoolEnvelope envelope = WEIR__SPOOL_ENVELOPE__INIT;
    struct link_payload payloads[] = { { NULL, 0 }, { body, len } };

    envelope.id = wire_text(ID);
    store.envelope = &envelope;
    question.body_case = WEIR__QUESTION__BODY_SPOOL_STORE;
    question.spool_store = &store;
    return node_ask(node, &question, payloads, 2, 20000, on_asked, asked);
}

START_TEST(test_question_is_answered_once)
{
    struct asked asked = { .ask_again = 2 }, store = { 0 };
    char *body = calloc(1, 100000);

    node_start(100);
    ck_assert_ptr_nonnull(ask_who("alice", 5000, &asked)); /* no link is up yet */
    ck_assert_ptr_nonnull(ask_store(body, 100000, &store));
    free(body);
    ck_assert(value_of("weir_questions_in_flight", "") == 2);
    WAIT(asked.answers == 1);
    ck_assert_str_eq(asked.account, "alice");
    WAIT(asked.answers == 3 && store.answers == 1);
    ck_assert_str_eq(asked.account, "again");
    ck_assert_uint_eq(store.stored, 100000);
    run_for(600);
    ck_assert_uint_eq(asked.answers, 3);
    ck_assert_uint_eq(coordinators[0].questions + coordinators[1].questions, 4);
    ck_assert(value_of("weir_questions_total", "result=\"ok\"") == 4);
    ck_assert(value_of("weir_questions_in_flight", "") == 0);
}
END_TEST

START_TEST(test_question_outlives_its_coordinator)
{
    struct asked asked = { 0 };

    settings.question_repeat = 60000;
    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = current(), *other = c == &coordinators[0] ? &coordinators[1] : &coordinators[0];
    c->no_answers = true;
    ask_who("alice", 20000, &asked);
    WAIT(c->questions == 1);
    uint64_t request = c->last_request;
    coordinator_stop(c);
    WAIT(asked.answers == 1);
    ck_assert_int_eq(asked.status, WEIR__ANSWER_STATUS__ANSWER_OK);
    ck_assert_uint_eq(other->questions, 1);
    ck_assert_uint_eq(other->last_request, request);
    ck_assert(value_of("weir_questions_repeated_total", "") >= 1);
    coordinator_stop(other); /* nobody is there: it waits until somebody is */
    WAIT(!node_is_connected(node));
    asked = (struct asked){ 0 };
    ask_who("bob", 20000, &asked);
    run_for(300);
    c->no_answers = false;
    coordinator_start(c);
    WAIT(asked.answers == 1);
    ck_assert_str_eq(asked.account, "bob");
}
END_TEST

START_TEST(test_question_without_an_answer_is_repeated_to_the_next)
{
    struct asked asked = { 0 };

    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = current(), *other = c == &coordinators[0] ? &coordinators[1] : &coordinators[0];
    c->no_answers = true; /* but heartbeats are acknowledged */
    uint64_t began = clock_ms();
    ask_who("alice", 20000, &asked);
    WAIT(asked.answers == 1);
    ck_assert_uint_ge(clock_ms() - began, 350);
    ck_assert_uint_eq(c->questions, 1);
    ck_assert_uint_eq(other->questions, 1);
    ck_assert(value_of("weir_node_coordinator_failovers_total", "") <= 1);
}
END_TEST

START_TEST(test_question_is_asked_of_one_who_knows)
{
    struct asked asked = { 0 };

    node_start(100);
    WAIT(node_is_connected(node));
    struct coordinator *c = current(), *other = c == &coordinators[0] ? &coordinators[1] : &coordinators[0];
    c->answer = WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE;
    WAIT(value_of("weir_links_up", "") < 0 || value_of("weir_links_up", "") >= 2);
    ask_who("alice", 20000, &asked);
    WAIT(asked.answers == 1);
    ck_assert_int_eq(asked.status, WEIR__ANSWER_STATUS__ANSWER_OK);
    other->answer = WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE; /* nobody does */
    ask_who("alice", 20000, &asked);
    WAIT(asked.answers == 2);
    ck_assert_int_eq(asked.status, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
    ck_assert_uint_eq(c->questions + other->questions, 4);
    c->answer = other->answer = WEIR__ANSWER_STATUS__ANSWER_REFUSED;
    ask_who("alice", 20000, &asked);
    WAIT(asked.answers == 3);
    ck_assert_int_eq(asked.status, WEIR__ANSWER_STATUS__ANSWER_REFUSED);
    ck_assert_uint_eq(c->questions + other->questions, 5);
}
END_TEST

START_TEST(test_questions_end)
{
    struct asked asked = { 0 }, other = { 0 }, never = { 0 };

    for (int i = 0; i < COORDINATORS; i++)
        coordinator_stop(&coordinators[i]);
    node_start(100);
    struct node_question *second;
    ck_assert_ptr_nonnull(ask_who("alice", 300, &asked));
    second = ask_who("bob", 300, &other); /* expires in the same tick, but is cancelled by the first */
    asked.cancel = &second;
    struct node_question *third = ask_who("carol", 60000, &never);
    node_question_cancel(&third);
    ck_assert_ptr_null(third);
    node_question_cancel(&third);
    WAIT(asked.answers == 1);
    ck_assert_uint_eq(asked.nothing, 1);
    run_for(200);
    ck_assert_uint_eq(other.answers + never.answers, 0);
    ck_assert(value_of("weir_questions_total", "result=\"timeout\"") == 1);
    ck_assert(value_of("weir_questions_total", "result=\"cancelled\"") == 2);
    ask_who("dave", 60000, &never); /* nor does an answer follow when the node goes */
}
END_TEST

START_TEST(test_questions_are_bounded)
{
    struct asked asked = { 0 };
    char *body = calloc(1, WIRE_PAYLOAD_MAX);

    for (int i = 0; i < COORDINATORS; i++)
        coordinator_stop(&coordinators[i]);
    node_start(100);
    unsigned taken = 0;
    while (taken < 100 && ask_store(body, WIRE_PAYLOAD_MAX, &asked) != NULL)
        taken++;
    ck_assert_uint_eq(taken, NODE_QUESTION_BYTES / WIRE_PAYLOAD_MAX - 1); /* their own bytes count, too */
    while (taken < 2 * NODE_QUESTIONS_MAX && ask_who("alice", 60000, &asked) != NULL)
        taken++;
    ck_assert_uint_eq(taken, NODE_QUESTIONS_MAX);
    ck_assert(value_of("weir_questions_total", "result=\"limit\"") == 2);
    ck_assert_ptr_null(ask_who("", 60000, &asked)); /* a bug of ours that nobody would answer */
    ck_assert(value_of("weir_questions_total", "result=\"invalid\"") == 1);
    ck_assert_uint_eq(asked.answers, 0);
    free(body);
}
END_TEST

START_TEST(test_many_questions_reach_a_slow_link)
{
    static struct asked asked;

    memset(&asked, 0, sizeof asked);
    node_start(100);
    for (int i = 0; i < NODE_QUESTIONS_MAX; i++) /* more than a link's mark */
        ck_assert_ptr_nonnull(ask_who("alice", 60000, &asked));
    WAIT(asked.answers == NODE_QUESTIONS_MAX); /* those whose answer found our link full, too: they are asked again */
    ck_assert_uint_eq(asked.nothing, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node");
    TCase *tcase = tcase_create("loopback");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_hello_and_heartbeats);
    tcase_add_test(tcase, test_many_series_go_in_several_heartbeats);
    tcase_add_test(tcase, test_silent_coordinator_is_left);
    tcase_add_test(tcase, test_dead_coordinator_is_left_at_once);
    tcase_add_test(tcase, test_state_and_epochs);
    tcase_add_test(tcase, test_coordinator_that_lags_behind_is_never_believed);
    tcase_add_test(tcase, test_coordinator_without_database_is_left_for_one_that_has_it);
    tcase_add_test(tcase, test_former_primary_is_not_believed);
    tcase_add_test(tcase, test_another_database_is_believed_after_a_while);
    tcase_add_test(tcase, test_a_full_spool_is_what_the_coordinator_in_use_says);
    tcase_add_test(tcase, test_a_full_spool_is_not_kept);
    tcase_add_test(tcase, test_policy);
    tcase_add_test(tcase, test_policy_asked_for_ever_more_seldom);
    tcase_add_test(tcase, test_policy_of_another_database);
    tcase_add_test(tcase, test_policy_that_cannot_be_used);
    tcase_add_test(tcase, test_files_in_pieces);
    tcase_add_test(tcase, test_start_without_coordinators);
    tcase_add_test(tcase, test_damaged_cache_is_ignored);
    tcase_add_test(tcase, test_reports_are_repeated_until_acknowledged);
    tcase_add_test(tcase, test_many_reports);
    tcase_add_test(tcase, test_full_buffer_loses_the_oldest);
    tcase_add_test(tcase, test_rows_fit_the_version_of_who_gets_them);
    tcase_add_test(tcase, test_long_texts_are_cut_and_bad_rows_dropped);
    tcase_add_test(tcase, test_question_is_answered_once);
    tcase_add_test(tcase, test_question_outlives_its_coordinator);
    tcase_add_test(tcase, test_question_without_an_answer_is_repeated_to_the_next);
    tcase_add_test(tcase, test_question_is_asked_of_one_who_knows);
    tcase_add_test(tcase, test_questions_end);
    tcase_add_test(tcase, test_questions_are_bounded);
    tcase_add_test(tcase, test_many_questions_reach_a_slow_link);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

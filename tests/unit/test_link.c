/*
 * test_link.c - links over real sockets on loopback: who gets in, what happens to rubbish, and who notices whose death
 *
 * Each test has its own hubs on one loop: the server's, the client's, and where a peer must misbehave a raw DEALER that
 * speaks CURVE but not our language.
 */
#include <check.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>
#include "common/clock.h"
#include "common/log.h"
#include "proto/link.h"
#include "tests/unit/link_settings.h"
#include "tests/unit/suite.h"

#define LOOPBACK "tcp://127.0.0.1:*"

/* One process in the cluster: a hub with its key and its metrics. */
struct party {
    struct curve_keypair pair;
    struct metrics metrics;
    struct link_hub *hub;
};

struct seen {
    struct link_server *server;
    struct link *link;
    unsigned up, down, from_server, writable;
    unsigned messages, gone;
    char last_name[64];
    char gone_name[64];
    size_t last_payload;
    unsigned full; /* answers that met the mark */
    bool echo, free_in_message, free_link_in_message;
    struct link_peer *last_peer;
};

static struct event_base *base;
static struct party server_side, client_side, other_side;
static struct seen seen;

static void party_init(struct party *party)
{
    curve_keypair_generate(&party->pair);
    metrics_init(&party->metrics);
    party->hub = link_hub_new(base, &party->pair, &party->metrics);
}

static void party_fini(struct party *party)
{
    link_hub_free(&party->hub);
    metrics_fini(&party->metrics);
}

/* A process for a server of its own, forked before there are ZeroMQ's threads: a child forked beside them may find a lock that one of
 * them held. It waits for the keys, and ends with the pipe. */
static struct {
    pid_t pid;
    int to, from;
} spare;

static void spare_run(int from, int to);

static void spare_start(void)
{
    int there[2], back[2];

    ck_assert_int_eq(pipe(there), 0);
    ck_assert_int_eq(pipe(back), 0);
    spare.pid = fork();
    ck_assert_int_ge(spare.pid, 0);
    if (spare.pid == 0) {
        close(there[1]);
        close(back[0]);
        spare_run(there[0], back[1]);
        _exit(1);
    }
    close(there[0]);
    close(back[1]);
    spare.to = there[1];
    spare.from = back[0];
}

static void spare_end(void)
{
    close(spare.to);
    close(spare.from);
    kill(spare.pid, SIGKILL);
    waitpid(spare.pid, NULL, 0);
}

static void setup(void)
{
    log_open(&(struct log_options){ .ident = "test", .node = "test", .level = LOG_CRIT });
    memset(&seen, 0, sizeof seen);
    spare_start();
    base = event_base_new();
    party_init(&server_side);
    party_init(&client_side);
    party_init(&other_side);
}

static void teardown(void)
{
    link_free(&seen.link);
    link_server_free(&seen.server);
    party_fini(&other_side);
    party_fini(&client_side);
    party_fini(&server_side);
    event_base_free(base);
    spare_end();
}

static double value_of(struct party *party, const char *name, const char *labels)
{
    for (struct metric *metric = party->metrics.first; metric != NULL; metric = metric->next)
        if (strcmp(metric->name, name) == 0 && strcmp(metric->labels, labels) == 0)
            return metric->value;
    return -1;
}

static double dropped(struct party *party, const char *reason)
{
    char labels[64];

    snprintf(labels, sizeof labels, "reason=\"%s\"", reason);
    return value_of(party, "weir_link_dropped_total", labels);
}

/* Runs the loop until *counter has reached wanted; false after the deadline. */
static bool wait_for(const unsigned *counter, unsigned wanted, unsigned milliseconds)
{
    uint64_t end = clock_ms() + milliseconds;

    while (*counter < wanted && clock_ms() < end) {
        event_base_loopexit(base, &(struct timeval){ 0, 5000 });
        event_base_loop(base, EVLOOP_ONCE);
    }
    return *counter >= wanted;
}

static void run_for(unsigned milliseconds)
{
    static const unsigned never = 0;

    wait_for(&never, 1, milliseconds);
}

static bool wait_dropped(struct party *party, const char *reason, double wanted)
{
    for (int i = 0; i < 4000 && dropped(party, reason) < wanted; i++)
        run_for(5);
    return dropped(party, reason) >= wanted;
}

static void allow(struct party *server, const struct party *one, const char *one_name, const struct party *two,
                  const char *two_name)
{
    struct link_allowed_key keys[2] = { 0 };
    size_t count = 0;

    if (one != NULL) {
        memcpy(keys[count].key, one->pair.public_key, CURVE_KEY_LEN);
        snprintf(keys[count].name, sizeof keys[count].name, "%s", one_name);
        keys[count++].role = WEIR__ROLE__ROLE_EDGE;
    }
    if (two != NULL) {
        memcpy(keys[count].key, two->pair.public_key, CURVE_KEY_LEN);
        snprintf(keys[count].name, sizeof keys[count].name, "%s", two_name);
        keys[count++].role = WEIR__ROLE__ROLE_SCANNER;
    }
    link_hub_allow(server->hub, keys, count);
}

/* --- the owners --- */

static enum link_status answer(struct link_server *server, struct link_peer *peer, const struct link_payload *payload)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__AdminReply reply = WEIR__ADMIN_REPLY__INIT;

    frame.body_case = WEIR__FRAME__BODY_ADMIN_REPLY;
    frame.admin_reply = &reply;
    return link_server_send(server, peer, &frame, payload, payload != NULL ? 1 : 0);
}

static void server_message(void *arg, struct link_peer *peer, const struct link_message *message)
{
    struct seen *s = arg;

    s->messages++;
    s->last_peer = peer;
    snprintf(s->last_name, sizeof s->last_name, "%s", link_peer_name(peer));
    s->last_payload = message->payload_count > 0 ? message->payloads[0].len : 0;
    link_peer_set_data(peer, s);
    if (s->echo && answer(s->server, peer, message->payload_count > 0 ? message->payloads : NULL) == LINK_FULL)
        s->full++;
    if (s->free_in_message)
        link_server_free(&s->server);
}

static void server_gone(void *arg, struct link_peer *peer)
{
    struct seen *s = arg;

    ck_assert_ptr_eq(link_peer_data(peer), s);
    s->gone++;
    snprintf(s->gone_name, sizeof s->gone_name, "%s", link_peer_name(peer));
    if (s->last_peer == peer)
        s->last_peer = NULL;
}

static const struct link_server_handlers server_handlers = { .message = server_message, .gone = server_gone };

static void link_up(void *arg, struct link *link)
{
    struct seen *s = arg;

    (void)link;
    s->up++;
}

static void link_down(void *arg, struct link *link)
{
    struct seen *s = arg;

    (void)link;
    s->down++;
}

static void link_message(void *arg, struct link *link, const struct link_message *message)
{
    struct seen *s = arg;

    (void)link;
    ck_assert_int_eq(message->frame->body_case, WEIR__FRAME__BODY_ADMIN_REPLY);
    s->from_server++;
    s->last_payload = message->payload_count > 0 ? message->payloads[0].len : 0;
    if (s->free_link_in_message)
        link_free(&s->link);
}

static void link_writable(void *arg, struct link *link)
{
    struct seen *s = arg;

    (void)link;
    s->writable++;
}

static const struct link_handlers link_handlers = {
    .up = link_up,
    .down = link_down,
    .message = link_message,
    .writable = link_writable,
};

static void serve_at(const char *endpoint)
{
    struct error why = { "" };

    for (int i = 0; i < 100 && seen.server == NULL; i++) { /* a port is given back a moment after its socket closed */
        seen.server = link_server_new(server_side.hub, endpoint, &server_handlers, &seen, &why);
        run_for(seen.server == NULL ? 5 : 0);
    }
    ck_assert_msg(seen.server != NULL, "%s", why.text);
}

static struct link *connect_as(struct party *party, struct seen *owner)
{
    return link_new(party->hub, link_server_endpoint(seen.server), server_side.pair.public_key, &link_handlers, owner);
}

static enum link_status say_hello(struct link *link)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__ScanHello hello = WEIR__SCAN_HELLO__INIT;

    frame.body_case = WEIR__FRAME__BODY_SCAN_HELLO;
    frame.scan_hello = &hello;
    hello.node = wire_text("edge-1/0");
    return link_send(link, &frame, NULL, 0);
}

static enum link_status send_file(struct link *link, const void *data, size_t len)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__AdminRequest request = WEIR__ADMIN_REQUEST__INIT;
    ProtobufCBinaryData name = wire_text("file");
    struct link_payload payload = { data, len };

    frame.body_case = WEIR__FRAME__BODY_ADMIN_REQUEST;
    frame.admin_request = &request;
    request.verb = wire_text("echo");
    request.files = &name;
    request.n_files = 1;
    return link_send(link, &frame, &payload, 1);
}

/* --- conversations --- */

static void configure(const char *one, const char *two)
{
    link_settings(server_side.hub, one, two);
}

static void with_patience(void)
{
    link_settings_of_patience(server_side.hub);
    link_settings_of_patience(client_side.hub);
}

START_TEST(test_there_and_back)
{
    static char data[100000];

    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.echo = true;
    seen.link = connect_as(&client_side, &seen);
    ck_assert(!link_is_up(seen.link));
    ck_assert_int_eq(say_hello(seen.link), LINK_GONE);
    ck_assert(wait_for(&seen.up, 1, 60000));
    ck_assert(link_is_up(seen.link));
    ck_assert_int_eq(send_file(seen.link, data, sizeof data), LINK_OK);
    ck_assert(wait_for(&seen.from_server, 1, 60000));
    ck_assert_uint_eq(seen.last_payload, sizeof data);
    ck_assert_str_eq(seen.last_name, "edge-1");
    ck_assert_int_eq(link_peer_role(seen.last_peer), WEIR__ROLE__ROLE_EDGE);
    ck_assert_mem_eq(link_peer_key(seen.last_peer), client_side.pair.public_key, CURVE_KEY_LEN);
}
END_TEST

START_TEST(test_ipv6)
{
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at("tcp://[::1]:*");
    ck_assert_int_eq(strncmp(link_server_endpoint(seen.server), "tcp://[::1]:", 12), 0);
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    say_hello(seen.link);
    ck_assert(wait_for(&seen.messages, 1, 60000));
}
END_TEST

START_TEST(test_many_messages_all_arrive)
{
    static char data[4096];
    unsigned sent = 0;

    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.echo = true;
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    while (sent < 3000) {
        enum link_status status = send_file(seen.link, data, sizeof data);
        ck_assert_int_ne(status, LINK_GONE);
        if (status == LINK_OK)
            sent++;
        else
            ck_assert(wait_for(&seen.writable, seen.writable + 1, 60000));
    }
    ck_assert(wait_for(&seen.messages, 3000, 20000));
    ck_assert(wait_for(&seen.from_server, 3000 - seen.full, 20000));
}
END_TEST

START_TEST(test_unknown_key_is_refused_until_it_is_known)
{
    allow(&server_side, &other_side, "edge-2", NULL, NULL);
    serve_at(LOOPBACK);
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.down, 2, 60000)); /* told, and it goes on trying */
    ck_assert_uint_eq(seen.up, 0);
    ck_assert(value_of(&server_side, "weir_link_refused_total", "") >= 2);
    allow(&server_side, &client_side, "edge-1", &other_side, "edge-2");
    ck_assert(wait_for(&seen.up, 1, 60000));
}
END_TEST

START_TEST(test_wrong_server_key)
{
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.link =
        link_new(client_side.hub, link_server_endpoint(seen.server), other_side.pair.public_key, &link_handlers, &seen);
    ck_assert(wait_for(&seen.down, 1, 60000));
    ck_assert_uint_eq(seen.up, 0);
    ck_assert_uint_eq(seen.messages, 0);
}
END_TEST

START_TEST(test_unusable_endpoint_is_no_crash)
{
    seen.link = link_new(client_side.hub, "nonsense", other_side.pair.public_key, &link_handlers, &seen);
    run_for(300);
    ck_assert_uint_eq(seen.up, 0);
    ck_assert(!link_is_up(seen.link));
}
END_TEST

/* --- rubbish --- */

/* A peer with a good key that speaks CURVE but not our language. */
struct raw {
    void *context, *sock;
};

static void raw_connect(struct raw *raw, const struct party *party, int receive_mark)
{
    int linger = 0, buffer = 16384;

    raw->context = zmq_ctx_new();
    raw->sock = zmq_socket(raw->context, ZMQ_DEALER);
    zmq_setsockopt(raw->sock, ZMQ_CURVE_SERVERKEY, server_side.pair.public_key, CURVE_KEY_LEN);
    zmq_setsockopt(raw->sock, ZMQ_CURVE_PUBLICKEY, party->pair.public_key, CURVE_KEY_LEN);
    zmq_setsockopt(raw->sock, ZMQ_CURVE_SECRETKEY, party->pair.secret_key, CURVE_KEY_LEN);
    zmq_setsockopt(raw->sock, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(raw->sock, ZMQ_RCVHWM, &receive_mark, sizeof receive_mark);
    zmq_setsockopt(raw->sock, ZMQ_RCVBUF, &buffer, sizeof buffer);
    ck_assert_int_eq(zmq_connect(raw->sock, link_server_endpoint(seen.server)), 0);
}

static void raw_close(struct raw *raw)
{
    zmq_close(raw->sock);
    zmq_ctx_term(raw->context);
}

static void raw_send(void *sock, const void *bytes, size_t len, int flags)
{
    ck_assert_int_ge(zmq_send(sock, bytes, len, flags | ZMQ_DONTWAIT), 0);
}

static size_t hello_bytes(uint8_t *out)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__ScanHello hello = WEIR__SCAN_HELLO__INIT;

    frame.body_case = WEIR__FRAME__BODY_SCAN_HELLO;
    frame.scan_hello = &hello;
    hello.node = wire_text("edge-1/0");
    size_t len = wire_packed_size(&frame);
    wire_pack(&frame, out);
    return len;
}

struct rubbish {
    const char *reason;
    size_t frame; /* bytes in the first frame; 0: a right hello; or one of: */
#define EMPTY  SIZE_MAX
#define FUTURE (SIZE_MAX - 1) /* a frame of this version with a message that it does not know */
    size_t parts;             /* payload frames */
    size_t payload;
};

static const struct rubbish rubbish_rows[] = {
    { "invalid", 10, 0, 0 },                   /* garbage */
    { "invalid", 0, 1, 5 },                    /* a payload too many for the type */
    { "oversized", WIRE_FRAME_MAX + 1, 0, 0 }, /* control frame */
    { "oversized", WIRE_STATE_MAX * 2, 0, 0 },
    { "oversized", 0, 1, WIRE_PAYLOAD_MAX + 1 },
    { "parts", 0, WIRE_PAYLOADS_MAX + 1, 3 },
    { "parts", 5, 1000, 3 },
    { "invalid", 1, 2, 0 }, /* as an odd multipart: tiny and empty frames */
    { "unknown", EMPTY, 0, 0 },
    { "unknown", EMPTY, 3, 5 },
    { "unknown", FUTURE, 0, 0 },
};

START_TEST(test_rubbish_is_dropped_and_counted)
{
    const struct rubbish *row = &rubbish_rows[_i];
    static const uint8_t future[] = { 0x08, 0x01, 0xa2, 0x3f, 0x00 }; /* version 1, field 1012, empty */
    uint8_t hello[64];
    size_t hello_len = hello_bytes(hello);
    uint8_t *bytes = malloc(WIRE_PAYLOAD_MAX + 1);
    struct raw raw;

    memset(bytes, 0xff, WIRE_PAYLOAD_MAX + 1);
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    raw_connect(&raw, &client_side, 100);
    const void *first = row->frame == 0 ? hello : row->frame == FUTURE ? future : bytes;
    size_t len = row->frame == 0        ? hello_len
                 : row->frame == EMPTY  ? 0
                 : row->frame == FUTURE ? sizeof future
                                        : row->frame;
    raw_send(raw.sock, first, len, row->parts > 0 ? ZMQ_SNDMORE : 0);
    for (size_t i = 1; i <= row->parts; i++)
        raw_send(raw.sock, bytes, row->payload, i < row->parts ? ZMQ_SNDMORE : 0);
    ck_assert(wait_dropped(&server_side, row->reason, 1));
    ck_assert_uint_eq(seen.messages, 0);
    raw_send(raw.sock, hello, hello_len, 0); /* and the conversation goes on */
    ck_assert(wait_for(&seen.messages, 1, 60000));
    ck_assert(dropped(&server_side, row->reason) == 1);
    raw_close(&raw);
    free(bytes);
}
END_TEST

START_TEST(test_huge_frame_ends_the_connection_only)
{
    size_t len = 3 * WIRE_PAYLOAD_MAX;
    uint8_t *bytes = calloc(1, len), hello[64];
    struct seen good = { 0 };
    struct raw raw;

    allow(&server_side, &client_side, "edge-1", &other_side, "edge-2");
    serve_at(LOOPBACK);
    good.link = connect_as(&other_side, &good);
    ck_assert(wait_for(&good.up, 1, 60000));
    raw_connect(&raw, &client_side, 100);
    raw_send(raw.sock, hello, hello_bytes(hello), 0);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    raw_send(raw.sock, bytes, len, 0);
    ck_assert(wait_for(&seen.gone, 1, 60000)); /* at once, by the monitor, not after 10 s */
    ck_assert(value_of(&server_side, "weir_link_ended_total", "") == 1);
    ck_assert_int_eq(say_hello(good.link), LINK_OK);
    ck_assert(wait_for(&seen.messages, 2, 60000));
    ck_assert_str_eq(seen.last_name, "edge-2");
    ck_assert_uint_eq(good.down, 0);
    raw_close(&raw);
    link_free(&good.link);
    free(bytes);
}
END_TEST

START_TEST(test_peer_that_never_reads)
{
    static char data[4096];
    uint8_t hello[64];
    struct link_payload payload = { data, sizeof data };
    enum link_status status = LINK_OK;
    unsigned sent = 0;
    struct raw raw;

    configure("link_send_mark=50", "link_receive_mark=50");
    allow(&server_side, &client_side, "edge-1", &other_side, "edge-2");
    serve_at(LOOPBACK);
    raw_connect(&raw, &client_side, 1);
    raw_send(raw.sock, hello, hello_bytes(hello), 0);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    for (int round = 0; round < 100 && status != LINK_FULL; round++) {
        while (sent < 100000 && (status = answer(seen.server, seen.last_peer, &payload)) == LINK_OK)
            sent++;
        ck_assert_int_ne(status, LINK_GONE);
        if (status == LINK_FULL && round < 5) { /* the kernel's buffers fill first */
            run_for(20);
            status = LINK_OK;
        }
    }
    ck_assert_int_eq(status, LINK_FULL);
    ck_assert_uint_lt(sent, 5000);
    ck_assert(value_of(&server_side, "weir_link_full_total", "") >= 1);
    raw_close(&raw);
    ck_assert(wait_for(&seen.gone, 1, 60000));
}
END_TEST

/* --- death and return --- */

START_TEST(test_server_restart)
{
    char endpoint[128];

    with_patience();
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    snprintf(endpoint, sizeof endpoint, "%s", link_server_endpoint(seen.server));
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    link_server_free(&seen.server);
    uint64_t began = clock_ms();
    ck_assert(wait_for(&seen.down, 1, 60000));
    ck_assert_uint_lt(clock_ms() - began, LINK_AT_ONCE_MS);
    ck_assert_int_eq(say_hello(seen.link), LINK_GONE);
    run_for(300);
    ck_assert_uint_eq(seen.down, 1); /* refused connects are not news */
    serve_at(endpoint);
    ck_assert(wait_for(&seen.up, 2, 60000));
    ck_assert_int_eq(say_hello(seen.link), LINK_OK);
    ck_assert(wait_for(&seen.messages, 1, 60000));
}
END_TEST

/* A server that says something and stops, while the client's loop is busy: that one finds the words and the end together. */
static void last_words(unsigned count)
{
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    ck_assert_int_eq(say_hello(seen.link), LINK_OK);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(answer(seen.server, seen.last_peer, NULL), LINK_OK);
    link_server_free(&seen.server);
    link_hub_free(&server_side.hub); /* sends what lingers and closes the connection */
    usleep(300000);                  /* not run_for(): no loop turns */
}

START_TEST(test_last_words_are_heard)
{
    last_words(100);
    ck_assert(wait_for(&seen.down, 1, 60000));
    ck_assert_uint_eq(seen.from_server, 100);
    run_for(300);
    ck_assert_uint_eq(seen.from_server, 100);
    ck_assert_uint_eq(seen.down, 1);
}
END_TEST

START_TEST(test_free_link_inside_last_words)
{
    seen.free_link_in_message = true;
    last_words(2);
    ck_assert(wait_for(&seen.from_server, 1, 60000));
    ck_assert_ptr_null(seen.link);
    run_for(50);
    ck_assert_uint_eq(seen.from_server, 1);
    ck_assert_uint_eq(seen.down, 0);
}
END_TEST

START_TEST(test_client_death_is_known_at_once)
{
    with_patience();
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    say_hello(seen.link);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    ck_assert(value_of(&server_side, "weir_link_peers", "") == 1);
    link_free(&seen.link);
    uint64_t began = clock_ms();
    ck_assert(wait_for(&seen.gone, 1, 60000));
    ck_assert_uint_lt(clock_ms() - began, LINK_AT_ONCE_MS);
    ck_assert(value_of(&server_side, "weir_link_peers", "") == 0);
}
END_TEST

START_TEST(test_same_name_again_is_a_new_peer)
{
    struct seen second = { 0 };

    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.echo = true;
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    say_hello(seen.link);
    ck_assert(wait_for(&seen.from_server, 1, 60000));
    struct link_peer *first = seen.last_peer;
    second.link = connect_as(&client_side, &second); /* while the first is still there, as after a half-open loss */
    ck_assert(wait_for(&second.up, 1, 60000));
    say_hello(second.link);
    ck_assert(wait_for(&second.from_server, 1, 60000));
    ck_assert_ptr_ne(seen.last_peer, first);
    ck_assert_uint_eq(seen.from_server, 1);
    link_free(&second.link);
    ck_assert(wait_for(&seen.gone, 1, 60000));
    say_hello(seen.link);
    ck_assert(wait_for(&seen.from_server, 2, 60000));
}
END_TEST

START_TEST(test_send_to_the_dead)
{
    enum link_status status = LINK_OK;

    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    say_hello(seen.link);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    struct link_peer *peer = seen.last_peer;
    link_free(&seen.link);
    for (int i = 0; i < 2000 && status == LINK_OK && seen.gone == 0; i++) {
        status = answer(seen.server, peer, NULL);
        run_for(5);
    }
    ck_assert(status == LINK_GONE || seen.gone == 1);
    ck_assert(wait_for(&seen.gone, 1, 60000));
}
END_TEST

START_TEST(test_revocation)
{
    struct seen good = { 0 };

    allow(&server_side, &client_side, "edge-1", &other_side, "edge-2");
    serve_at(LOOPBACK);
    seen.link = connect_as(&client_side, &seen);
    good.link = connect_as(&other_side, &good);
    ck_assert(wait_for(&seen.up, 1, 5000) && wait_for(&good.up, 1, 60000));
    say_hello(seen.link);
    say_hello(good.link);
    ck_assert(wait_for(&seen.messages, 2, 60000));
    allow(&server_side, NULL, NULL, &other_side, "edge-2");
    ck_assert_int_eq(answer(seen.server, seen.last_peer, NULL), LINK_GONE);
    ck_assert_uint_eq(seen.gone, 0); /* from the loop only */
    ck_assert(wait_for(&seen.gone, 2, 60000));
    ck_assert(wait_for(&good.up, 2, 60000));
    say_hello(good.link);
    ck_assert(wait_for(&seen.messages, 3, 60000));
    ck_assert(wait_for(&seen.down, 3, 60000)); /* lost, refused, refused */
    ck_assert_uint_eq(seen.up, 1);
    ck_assert_uint_eq(good.up, 2);
    allow(&server_side, NULL, NULL, &other_side, "edge-2"); /* the same again closes nothing */
    run_for(200);
    ck_assert_uint_eq(good.down, 1);
    link_free(&good.link);
}
END_TEST

START_TEST(test_allowing_more_disturbs_nobody)
{
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    say_hello(seen.link);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    allow(&server_side, &client_side, "edge-1", &other_side, "edge-2");
    run_for(200);
    ck_assert_uint_eq(seen.down, 0);
    ck_assert_uint_eq(seen.gone, 0);
}
END_TEST

START_TEST(test_key_listed_twice_is_stable)
{
    allow(&server_side, &client_side, "edge-1", &client_side, "edge-2");
    serve_at(LOOPBACK);
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    say_hello(seen.link);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    ck_assert_str_eq(seen.last_name, "edge-1");
    allow(&server_side, &client_side, "edge-1", &client_side, "edge-2");
    run_for(100);
    ck_assert_uint_eq(seen.down, 0);
}
END_TEST

START_TEST(test_renamed_key_comes_back_under_its_name)
{
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    say_hello(seen.link);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    allow(&server_side, &client_side, "edge-9", NULL, NULL);
    ck_assert(wait_for(&seen.up, 2, 60000));
    ck_assert_uint_eq(seen.gone, 1);
    ck_assert_str_eq(seen.gone_name, "edge-1");
    say_hello(seen.link);
    ck_assert(wait_for(&seen.messages, 2, 60000));
    ck_assert_str_eq(seen.last_name, "edge-9");
}
END_TEST

START_TEST(test_key_revoked_before_its_first_message)
{
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    allow(&server_side, NULL, NULL, NULL, NULL);
    say_hello(seen.link);
    ck_assert(wait_for(&seen.down, 2, 60000));
    ck_assert_uint_eq(seen.messages, 0);
    ck_assert(dropped(&server_side, "revoked") == 1);
}
END_TEST

START_TEST(test_free_inside_callbacks)
{
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.free_in_message = true;
    seen.link = connect_as(&client_side, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    say_hello(seen.link);
    say_hello(seen.link);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    ck_assert_ptr_null(seen.server);
    ck_assert(wait_for(&seen.down, 1, 60000));
    ck_assert_uint_eq(seen.messages, 1);
}
END_TEST

static void free_link_in_up(void *arg, struct link *link)
{
    struct seen *s = arg;

    (void)link;
    s->up++;
    link_free(&s->link);
}

START_TEST(test_free_link_inside_up)
{
    struct link_handlers handlers = link_handlers;

    handlers.up = free_link_in_up;
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.link =
        link_new(client_side.hub, link_server_endpoint(seen.server), server_side.pair.public_key, &handlers, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    ck_assert_ptr_null(seen.link);
    run_for(50);
}
END_TEST

/* --- another process: hung, then killed --- */

static void spare_run(int from, int to)
{
    struct curve_keypair pairs[2];
    char endpoint[128] = "";

    if (read(from, pairs, sizeof pairs) != (ssize_t)sizeof pairs)
        return;
    server_side.pair = pairs[0];
    client_side.pair = pairs[1];
    base = event_base_new();
    metrics_init(&server_side.metrics);
    server_side.hub = link_hub_new(base, &server_side.pair, &server_side.metrics);
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    seen.echo = true;
    snprintf(endpoint, sizeof endpoint, "%s", link_server_endpoint(seen.server));
    if (write(to, endpoint, sizeof endpoint) == (ssize_t)sizeof endpoint)
        event_base_dispatch(base);
}

static pid_t spare_serve(char endpoint[128])
{
    const struct curve_keypair pairs[2] = { server_side.pair, client_side.pair };

    ck_assert_int_eq(write(spare.to, pairs, sizeof pairs), (int)sizeof pairs);
    ck_assert_int_eq(read(spare.from, endpoint, 128), 128);
    return spare.pid;
}

START_TEST(test_hung_and_killed_server)
{
    char endpoint[128];
    pid_t child = spare_serve(endpoint);

    seen.link = link_new(client_side.hub, endpoint, server_side.pair.public_key, &link_handlers, &seen);
    ck_assert(wait_for(&seen.up, 1, 60000));
    ck_assert_int_eq(say_hello(seen.link), LINK_OK);
    ck_assert(wait_for(&seen.from_server, 1, 60000));
    kill(child, SIGSTOP);
    ck_assert(wait_for(&seen.down, 1, 20000)); /* ZeroMQ's own heartbeats */
    kill(child, SIGCONT);
    ck_assert(wait_for(&seen.up, 2, 60000));
    ck_assert_int_eq(say_hello(seen.link), LINK_OK);
    ck_assert(wait_for(&seen.from_server, 2, 60000));
    link_free(&seen.link);
    with_patience();
    seen.link = link_new(client_side.hub, endpoint, server_side.pair.public_key, &link_handlers, &seen);
    ck_assert(wait_for(&seen.up, 3, 60000));
    unsigned down = seen.down;
    uint64_t began = clock_ms();
    kill(child, SIGKILL);
    ck_assert(wait_for(&seen.down, down + 1, 60000));
    ck_assert_uint_lt(clock_ms() - began, LINK_AT_ONCE_MS);
}
END_TEST

START_TEST(test_message_that_does_not_end)
{
    size_t part = 128 * 1024, parts = 2000;
    uint8_t *bytes = calloc(1, part), hello[64];
    struct seen good = { 0 };
    struct raw raw;

    configure("link_message=2MiB", "link_silence=1h");
    allow(&server_side, &client_side, "edge-1", &other_side, "edge-2");
    serve_at(LOOPBACK);
    good.link = connect_as(&other_side, &good);
    ck_assert(wait_for(&good.up, 1, 20000));
    raw_connect(&raw, &client_side, 100);
    raw_send(raw.sock, hello, hello_bytes(hello), 0);
    ck_assert(wait_for(&seen.messages, 1, 20000));
    for (size_t i = 0; i < parts; i++) /* whole in the end, but 250 MiB long */
        raw_send(raw.sock, bytes, part, i + 1 < parts ? ZMQ_SNDMORE : 0);
    ck_assert(wait_dropped(&server_side, "unfinished", 1));
    ck_assert(wait_for(&seen.gone, 1, 20000));
    ck_assert_int_eq(say_hello(good.link), LINK_OK);
    ck_assert(wait_for(&seen.messages, 2, 20000));
    ck_assert_uint_eq(good.down, 0);
    raw_close(&raw);
    link_free(&good.link);
    free(bytes);
}
END_TEST

START_TEST(test_silence_is_a_setting)
{
    struct raw raw;
    uint8_t hello[64];

    configure("link_silence=1s", "link_heartbeat=500ms");
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    raw_connect(&raw, &client_side, 100);
    raw_send(raw.sock, hello, hello_bytes(hello), 0);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    ck_assert(wait_for(&seen.gone, 1, 4000));
    ck_assert(value_of(&server_side, "weir_link_silent_total", "") == 1);
    raw_close(&raw);
}
END_TEST

START_TEST(test_one_peer_too_many)
{
    struct raw raw, one_more;
    uint8_t hello[64];

    configure("link_peers=1", "link_silence=1h");
    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    raw_connect(&raw, &client_side, 100);
    raw_send(raw.sock, hello, hello_bytes(hello), 0);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    raw_connect(&one_more, &client_side, 100);
    raw_send(one_more.sock, hello, hello_bytes(hello), 0);
    ck_assert(wait_dropped(&server_side, "peers", 1));
    ck_assert_uint_eq(seen.messages, 1);
    raw_close(&raw); /* makes room */
    ck_assert(wait_for(&seen.gone, 1, 60000));
    raw_send(one_more.sock, hello, hello_bytes(hello), 0);
    ck_assert(wait_for(&seen.messages, 2, 60000));
    raw_close(&one_more);
}
END_TEST

START_TEST(test_silent_peer_is_gone_after_ten_seconds)
{
    struct raw raw;
    uint8_t hello[64];

    allow(&server_side, &client_side, "edge-1", NULL, NULL);
    serve_at(LOOPBACK);
    raw_connect(&raw, &client_side, 100);
    raw_send(raw.sock, hello, hello_bytes(hello), 0);
    ck_assert(wait_for(&seen.messages, 1, 60000));
    uint64_t heard = clock_ms();
    run_for(8000);
    ck_assert(seen.gone == 0 || clock_ms() - heard > 9500); /* or we were not there for a while */
    ck_assert(wait_for(&seen.gone, 1, 60000));
    raw_send(raw.sock, hello, hello_bytes(hello), 0); /* the connection is still there: speaking makes a peer again */
    ck_assert(wait_for(&seen.messages, 2, 60000));
    raw_close(&raw);
}
END_TEST

/* --- cluster state --- */

static unsigned states;
static uint64_t last_epoch;
static size_t last_nodes;

static void on_state(void *arg, const struct link_message *message)
{
    (void)arg;
    ck_assert_int_eq(message->frame->body_case, WEIR__FRAME__BODY_CLUSTER_STATE);
    last_epoch = message->frame->cluster_state->epoch;
    last_nodes = message->frame->cluster_state->n_nodes;
    states++;
}

static void publish_state(struct link_publisher *publisher, uint64_t epoch, size_t nodes)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__ClusterState state = WEIR__CLUSTER_STATE__INIT;
    Weir__NodeEntry *entries = calloc(nodes + 1, sizeof *entries);
    Weir__NodeEntry **pointers = calloc(nodes + 1, sizeof *pointers);

    for (size_t i = 0; i < nodes; i++) {
        weir__node_entry__init(&entries[i]);
        entries[i].node = wire_text("scanner-1");
        entries[i].role = WEIR__ROLE__ROLE_SCANNER;
        entries[i].state = WEIR__NODE_STATE__NODE_ACTIVE;
        entries[i].endpoint = wire_text("tcp://192.0.2.1:7100");
        entries[i].public_key = wire_bytes(client_side.pair.public_key, CURVE_KEY_LEN);
        pointers[i] = &entries[i];
    }
    state.epoch = epoch;
    state.coordinator = wire_text("coordinator-1");
    state.nodes = pointers;
    state.n_nodes = nodes;
    frame.body_case = WEIR__FRAME__BODY_CLUSTER_STATE;
    frame.cluster_state = &state;
    link_publish(publisher, &frame);
    free(entries);
    free(pointers);
}

static bool publish_until(struct link_publisher *publisher, uint64_t epoch, size_t nodes, unsigned milliseconds)
{
    for (unsigned i = 0; i < milliseconds / 20 && last_epoch != epoch; i++) {
        publish_state(publisher, epoch, nodes);
        run_for(20);
    }
    return last_epoch == epoch;
}

START_TEST(test_publish_and_subscribe)
{
    struct error why;

    states = 0;
    last_epoch = 0;
    allow(&server_side, &client_side, "edge-1", &other_side, "edge-2");
    struct link_publisher *publisher = link_publisher_new(server_side.hub, LOOPBACK, &why);
    ck_assert_ptr_nonnull(publisher);
    struct link_subscriber *subscriber = link_subscriber_new(client_side.hub, link_publisher_endpoint(publisher),
                                                             server_side.pair.public_key, on_state, NULL);
    ck_assert(publish_until(publisher, 1, 0, 60000));
    ck_assert(publish_until(publisher, 2, 2000, 60000)); /* over 64 KiB */
    ck_assert_uint_eq(last_nodes, 2000);
    allow(&server_side, &client_side, "edge-1", NULL, NULL); /* another's key goes: we come back */
    ck_assert(publish_until(publisher, 3, 1, 60000));
    allow(&server_side, NULL, NULL, &other_side, "edge-2"); /* ours goes */
    ck_assert(!publish_until(publisher, 4, 1, 1000));
    link_subscriber_free(&subscriber);
    link_publisher_free(&publisher);
}
END_TEST

START_TEST(test_bind_twice_fails_with_words)
{
    struct error why = { "" };

    serve_at(LOOPBACK);
    ck_assert_ptr_null(
        link_server_new(server_side.hub, link_server_endpoint(seen.server), &server_handlers, &seen, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "cannot bind"));
}
END_TEST

static bool has_ipv6(void)
{
    struct sockaddr_in6 loopback = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0;

    if (fd >= 0)
        close(fd);
    return ok;
}

int main(void)
{
    Suite *suite = suite_create("link");
    TCase *tcase = tcase_create("loopback");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_there_and_back);
    if (has_ipv6())
        tcase_add_test(tcase, test_ipv6);
    tcase_add_test(tcase, test_many_messages_all_arrive);
    tcase_add_test(tcase, test_unknown_key_is_refused_until_it_is_known);
    tcase_add_test(tcase, test_wrong_server_key);
    tcase_add_test(tcase, test_unusable_endpoint_is_no_crash);
    tcase_add_loop_test(tcase, test_rubbish_is_dropped_and_counted, 0, sizeof rubbish_rows / sizeof *rubbish_rows);
    tcase_add_test(tcase, test_huge_frame_ends_the_connection_only);
    tcase_add_test(tcase, test_peer_that_never_reads);
    tcase_add_test(tcase, test_server_restart);
    tcase_add_test(tcase, test_last_words_are_heard);
    tcase_add_test(tcase, test_free_link_inside_last_words);
    tcase_add_test(tcase, test_client_death_is_known_at_once);
    tcase_add_test(tcase, test_same_name_again_is_a_new_peer);
    tcase_add_test(tcase, test_send_to_the_dead);
    tcase_add_test(tcase, test_revocation);
    tcase_add_test(tcase, test_allowing_more_disturbs_nobody);
    tcase_add_test(tcase, test_key_listed_twice_is_stable);
    tcase_add_test(tcase, test_renamed_key_comes_back_under_its_name);
    tcase_add_test(tcase, test_key_revoked_before_its_first_message);
    tcase_add_test(tcase, test_free_inside_callbacks);
    tcase_add_test(tcase, test_free_link_inside_up);
    tcase_add_test(tcase, test_hung_and_killed_server);
    tcase_add_test(tcase, test_message_that_does_not_end);
    tcase_add_test(tcase, test_silence_is_a_setting);
    tcase_add_test(tcase, test_one_peer_too_many);
    tcase_add_test(tcase, test_silent_peer_is_gone_after_ten_seconds);
    tcase_add_test(tcase, test_publish_and_subscribe);
    tcase_add_test(tcase, test_bind_twice_fails_with_words);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

/*
 * test_scan_farm.c - the farm over real links on loopback, with scanners that misbehave
 *
 * The honest scanner puts every message together, compares its bytes, and calls it bad. The others say clean. So a
 * clean result anywhere is a message that left unscanned (I2), and every other result says who answered.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/scan/scan.h"
#include "tests/unit/link_settings.h"
#include "tests/unit/suite.h"

#define CHUNK     (16u * 1024)
#define SCANS_MAX 64
#define PEERS_MAX 4
#define LATE_MAX  64

enum mode {
    HONEST,
    BUSY,       /* refuses everything */
    DEAF,       /* its load until it is asked something, then nothing at all */
    SILENT,     /* its load, but no answers */
    DYING,      /* goes at the second frame of a message, comes back soon */
    WRONG_ID,   /* clean, for another message */
    WRONG_SIZE, /* clean, for one byte more */
    LATE,       /* hangs until the edge has given it up, then says clean to all it was asked meanwhile, and hangs again */
    EARLY,      /* clean, before it has all */
    RUBBISH,  /* frames that scanners do not send, credits and grants for nothing, clean for attempts that never were */
    CRASHING, /* its worker dies on everything */
    MODES
};

struct upload { /* one attempt at the honest scanner */
    uint64_t attempt, size;
    uint8_t *bytes;
    struct upload *next;
};

struct fake {
    enum mode mode;
    char name[16];
    char endpoint[64];
    struct link_server *server;
    struct link_peer *peers[PEERS_MAX];
    struct upload *uploads;
    struct late {
        struct link_peer *peer;
        char id[QUEUE_ID_LEN + 1];
        uint64_t attempt, size;
    } late[LATE_MAX];
    size_t late_count;
    uint64_t hung_since;
    unsigned frames, opens, verdicts;
    bool revive;
};

struct item {
    struct scan *scan;
    struct message *message;
    struct queue_id id;
    uint64_t size, fed;
    unsigned ends;
    bool is_busy, paused;
    struct scan_result result;
};

static struct {
    struct event_base *base;
    struct metrics metrics;
    struct curve_keypair edge_keys, scanner_keys;
    struct link_hub *edge_hub, *scanner_hub;
    struct edge_settings settings;
    struct message_budget budget;
    struct scan_farm *farm;
    struct fake fakes[3];
    size_t fake_count;
    struct event *loads;
    struct item items[SCANS_MAX];
    size_t item_count;
} t;

/* What message number n has at an offset. */
static uint8_t byte_of(size_t n, uint64_t offset)
{
    return (uint8_t)(n * 31 + offset % 251 + offset / 4099);
}

/* --- fake scanners --- */

static void fake_send(struct fake *fake, struct link_peer *peer, int kind, void *body)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = (Weir__Frame__BodyCase)kind;
    frame.scan_grant = body;
    link_server_send(fake->server, peer, &frame, NULL, 0);
}

static void fake_grant(struct fake *fake, struct link_peer *peer, ProtobufCBinaryData id, uint64_t attempt, uint64_t to)
{
    Weir__ScanGrant body = WEIR__SCAN_GRANT__INIT;
    body.id = id;
    body.attempt = attempt;
    body.allowed = to;
    fake_send(fake, peer, WEIR__FRAME__BODY_SCAN_GRANT, &body);
}

static void fake_verdict(struct fake *fake, struct link_peer *peer, ProtobufCBinaryData id, uint64_t attempt,
                         uint64_t size)
{
    Weir__ScanVerdict body = WEIR__SCAN_VERDICT__INIT;
    body.id = id;
    body.attempt = attempt;
    body.size = size;
    body.verdict = WEIR__VERDICT__VERDICT_CLEAN;
    if (fake->mode == HONEST) {
        body.verdict = WEIR__VERDICT__VERDICT_BAD;
        body.signature = wire_text("Honest.Work");
    } else if (fake->mode == CRASHING) {
        body.verdict = WEIR__VERDICT__VERDICT_UNKNOWN;
        body.reason = WEIR__UNKNOWN_REASON__UNKNOWN_CRASH;
    }
    body.scanner = wire_text(fake->name);
    fake->verdicts++;
    fake_send(fake, peer, WEIR__FRAME__BODY_SCAN_VERDICT, &body);
}

static void fake_load(struct fake *fake)
{
    Weir__ScannerLoad body = WEIR__SCANNER_LOAD__INIT;
    body.node = wire_text(fake->name);
    body.state = WEIR__NODE_STATE__NODE_ACTIVE;
    body.slots = 100;
    body.bytes = 1 << 30;
    if ((fake->mode == DEAF && fake->frames > 0) || fake->hung_since != 0)
        return;
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (fake->peers[i] != NULL)
            fake_send(fake, fake->peers[i], WEIR__FRAME__BODY_SCANNER_LOAD, &body);
}

static struct upload *honest_upload(struct fake *fake, uint64_t attempt)
{
    struct upload *at = fake->uploads;
    while (at != NULL && at->attempt != attempt)
        at = at->next;
    if (at == NULL) {
        at = xcalloc(1, sizeof *at);
        at->attempt = attempt;
        at->next = fake->uploads;
        fake->uploads = at;
    }
    return at;
}

static void honest_bytes(struct fake *fake, ProtobufCBinaryData id, uint64_t attempt,
                         const struct link_payload *payload, uint64_t offset)
{
    char text[QUEUE_ID_LEN + 1];
    size_t n = strtoul(wire_string(text, sizeof text, &id) + 16, NULL, 10);
    struct upload *upload = honest_upload(fake, attempt);
    ck_assert_uint_eq(upload->size, offset);
    const uint8_t *bytes = payload->data;
    size_t same = 0;
    while (same < payload->len && bytes[same] == byte_of(n, offset + same))
        same++;
    ck_assert_msg(same == payload->len, "message %zu differs at %zu of chunk %llu", n, same,
                  (unsigned long long)offset);
    upload->size += payload->len;
}

/* Clean, in the way that this one gets it wrong. */
static void wrong_answer(struct fake *fake, struct link_peer *peer, ProtobufCBinaryData id, uint64_t attempt,
                         uint64_t size)
{
    Weir__ScanHello hello = WEIR__SCAN_HELLO__INIT;
    switch (fake->mode) {
    case WRONG_ID:
        fake_verdict(fake, peer, wire_text("01ABCDEFGH0000009999"), attempt, size);
        break;
    case WRONG_SIZE:
        fake_verdict(fake, peer, id, attempt, size + 1);
        break;
    case LATE:
        if (fake->late_count < LATE_MAX) {
            fake->late[fake->late_count++] = (struct late){ .peer = peer, .attempt = attempt, .size = size };
            wire_string(fake->late[fake->late_count - 1].id, sizeof fake->late->id, &id);
        }
        if (fake->hung_since == 0)
            fake->hung_since = clock_ms();
        break;
    case RUBBISH:
        fake_verdict(fake, peer, id, attempt + 1, size);
        fake_grant(fake, peer, id, attempt + 2, 1 << 20);
        fake_verdict(fake, peer, wire_text("01ABCDEFGH0000009999"), 0, size);
        hello.node = wire_text(fake->name);
        fake_send(fake, peer, WEIR__FRAME__BODY_SCAN_HELLO, &hello);
        break;
    default:
        fake_verdict(fake, peer, id, attempt, size);
        break;
    }
}

static void fake_die(struct fake *fake)
{
    link_server_free(&fake->server);
    memset(fake->peers, 0, sizeof fake->peers);
    fake->revive = true;
}

static void fake_open(struct fake *fake, struct link_peer *peer, const Weir__ScanOpen *open,
                      const struct link_payload *payload)
{
    fake->opens++;
    if (fake->mode == BUSY) {
        Weir__ScanBusy body = WEIR__SCAN_BUSY__INIT;
        body.id = open->id;
        body.attempt = open->attempt;
        body.reason = WEIR__BUSY_REASON__BUSY_SLOTS;
        fake_send(fake, peer, WEIR__FRAME__BODY_SCAN_BUSY, &body);
    } else if (open->whole) {
        if (fake->mode == HONEST)
            honest_bytes(fake, open->id, open->attempt, payload, 0);
        wrong_answer(fake, peer, open->id, open->attempt, payload->len);
    } else if (fake->mode == EARLY) {
        fake_verdict(fake, peer, open->id, open->attempt, open->size_hint);
    } else {
        fake_grant(fake, peer, open->id, open->attempt, 2 * CHUNK);
    }
}

static void fake_chunk(struct fake *fake, struct link_peer *peer, const Weir__ScanChunk *chunk,
                       const struct link_payload *payload)
{
    uint64_t end = chunk->offset + payload->len;
    if (fake->mode == HONEST)
        honest_bytes(fake, chunk->id, chunk->attempt, payload, chunk->offset);
    if (chunk->last) {
        wrong_answer(fake, peer, chunk->id, chunk->attempt, end);
        return;
    }
    Weir__ScanCredit body = WEIR__SCAN_CREDIT__INIT;
    body.id = chunk->id;
    body.attempt = chunk->attempt;
    body.allowed = end + 2 * CHUNK;
    fake_send(fake, peer, WEIR__FRAME__BODY_SCAN_CREDIT, &body);
}

static void fake_message(void *arg, struct link_peer *peer, const struct link_message *message)
{
    struct fake *fake = arg;
    const Weir__Frame *frame = message->frame;
    if (frame->body_case == WEIR__FRAME__BODY_SCAN_HELLO) {
        for (size_t i = 0; i < PEERS_MAX && fake->peers[i] != peer; i++)
            if (fake->peers[i] == NULL) {
                fake->peers[i] = peer;
                break;
            }
        fake_load(fake);
        return;
    }
    fake->frames++;
    if (fake->mode == DEAF || fake->mode == SILENT || frame->body_case == WEIR__FRAME__BODY_SCAN_CANCEL)
        return;
    if (fake->mode == DYING && fake->frames % 2 == 0)
        fake_die(fake);
    else if (frame->body_case == WEIR__FRAME__BODY_SCAN_OPEN)
        fake_open(fake, peer, frame->scan_open, &message->payloads[0]);
    else if (frame->body_case == WEIR__FRAME__BODY_SCAN_CHUNK)
        fake_chunk(fake, peer, frame->scan_chunk, &message->payloads[0]);
}

static void fake_gone(void *arg, struct link_peer *peer)
{
    struct fake *fake = arg;
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (fake->peers[i] == peer)
            fake->peers[i] = NULL;
}

static const struct link_server_handlers fake_handlers = { fake_message, fake_gone };

static void fake_speak_late(struct fake *fake)
{
    bool given_up = metrics_gauge(&t.metrics, "weir_scanners_live", NULL)->value < (double)t.fake_count;
    if (fake->hung_since == 0 || clock_ms() - fake->hung_since < 400 || !given_up)
        return;
    for (size_t i = 0; i < fake->late_count; i++)
        fake_verdict(fake, fake->late[i].peer, wire_text(fake->late[i].id), fake->late[i].attempt, fake->late[i].size);
    fake->late_count = 0;
    fake->hung_since = 0;
}

/* The port of one that comes back may be another program's by now: then it stays away a little longer. */
static void fake_serve(struct fake *fake)
{
    struct error why;
    fake->server = link_server_new(t.scanner_hub, fake->endpoint, &fake_handlers, fake, &why);
    ck_assert_msg(fake->server != NULL || fake->revive, "%s", why.text);
    if (fake->server == NULL)
        return;
    snprintf(fake->endpoint, sizeof fake->endpoint, "%s", link_server_endpoint(fake->server));
}

static void on_loads(evutil_socket_t fd, short events, void *arg)
{
    (void)fd, (void)events, (void)arg;
    for (size_t i = 0; i < t.fake_count; i++) {
        if (t.fakes[i].revive && t.fakes[i].server == NULL)
            fake_serve(&t.fakes[i]);
        fake_speak_late(&t.fakes[i]);
        if (t.fakes[i].server != NULL)
            fake_load(&t.fakes[i]);
    }
}

static void add_fake(enum mode mode)
{
    struct fake *fake = &t.fakes[t.fake_count++];
    fake->mode = mode;
    snprintf(fake->name, sizeof fake->name, "scanner-%zu", t.fake_count);
    snprintf(fake->endpoint, sizeof fake->endpoint, "tcp://127.0.0.1:*");
    fake_serve(fake);
}

/* --- the edge's side --- */

static void on_done(void *arg, const struct scan_result *result)
{
    struct item *item = arg;
    item->ends++;
    item->result = *result;
    item->scan = NULL;
}

static void on_busy(void *arg, const char *why)
{
    (void)why;
    struct item *item = arg;
    item->ends++;
    item->is_busy = true;
    item->scan = NULL;
}

static void on_pressure(void *arg, bool full)
{
    struct item *item = arg;
    item->paused = full;
}

static const struct scan_handlers handlers = { on_done, on_busy, on_pressure };

static void setup(void)
{
    memset(&t, 0, sizeof t);
    t.settings =
        (struct edge_settings){ .scan_wait = 1200, .scan_stall = 500, .scan_timeout = 2400, .scan_chunk = CHUNK };
    t.budget = (struct message_budget){
        .memory_max = 64u << 20, .disk_max = 64u << 20, .threshold = 4 * CHUNK, .tmp_dir = "/tmp"
    };
    t.base = event_base_new();
    metrics_init(&t.metrics);
    curve_keypair_generate(&t.edge_keys);
    curve_keypair_generate(&t.scanner_keys);
    t.edge_hub = link_hub_new(t.base, &t.edge_keys, &t.metrics);
    t.scanner_hub = link_hub_new(t.base, &t.scanner_keys, &t.metrics);
    struct link_allowed_key key = { .name = "edge-1", .role = WEIR__ROLE__ROLE_EDGE };
    memcpy(key.key, t.edge_keys.public_key, CURVE_KEY_LEN);
    link_hub_allow(t.scanner_hub, &key, 1);
    t.farm = scan_farm_new(t.base, t.edge_hub, &t.settings, "edge-1", 0, &t.metrics);
    t.loads = event_new(t.base, -1, EV_PERSIST, on_loads, NULL);
    event_add(t.loads, &(struct timeval){ 0, 50000 });
}

static void teardown(void)
{
    for (size_t i = 0; i < t.item_count; i++) {
        scan_cancel(&t.items[i].scan);
        message_free(&t.items[i].message);
    }
    scan_farm_free(&t.farm);
    for (size_t i = 0; i < t.fake_count; i++) {
        link_server_free(&t.fakes[i].server);
        for (struct upload *at = t.fakes[i].uploads, *next; at != NULL; at = next) {
            next = at->next;
            free(at);
        }
    }
    event_free(t.loads);
    link_hub_free(&t.edge_hub);
    link_hub_free(&t.scanner_hub);
    event_base_free(t.base);
    metrics_fini(&t.metrics);
}

static void tell_state_of(bool allowed)
{
    Weir__NodeEntry entries[3], *nodes[3];
    for (size_t i = 0; i < t.fake_count; i++) {
        entries[i] = (Weir__NodeEntry)WEIR__NODE_ENTRY__INIT;
        entries[i].node = wire_text(t.fakes[i].name);
        entries[i].role = WEIR__ROLE__ROLE_SCANNER;
        entries[i].state = WEIR__NODE_STATE__NODE_ACTIVE;
        entries[i].endpoint = wire_text(t.fakes[i].endpoint);
        entries[i].public_key = wire_bytes(t.scanner_keys.public_key, CURVE_KEY_LEN);
        nodes[i] = &entries[i];
    }
    Weir__AllowedKey key = WEIR__ALLOWED_KEY__INIT, *keys[] = { &key };
    key.public_key = wire_bytes(t.scanner_keys.public_key, CURVE_KEY_LEN);
    key.role = allowed ? WEIR__ROLE__ROLE_SCANNER : WEIR__ROLE__ROLE_EDGE;
    Weir__ClusterState state = WEIR__CLUSTER_STATE__INIT;
    state.n_nodes = t.fake_count;
    state.nodes = nodes;
    state.n_keys = 1;
    state.keys = keys;
    scan_farm_update(t.farm, &state);
}

static bool run_until(bool (*fact)(void), unsigned ms)
{
    uint64_t end = clock_ms() + ms;
    while (!fact() && clock_ms() < end)
        event_base_loop(t.base, EVLOOP_ONCE);
    return fact();
}

static bool never(void)
{
    return false;
}

static bool farm_is_live(void)
{
    return scan_farm_has_live(t.farm) && scan_farm_has_room(t.farm);
}

static bool both_are_up(void)
{
    return metrics_gauge(&t.metrics, "weir_scanners_live", NULL)->value == 2 && scan_farm_has_room(t.farm);
}

static bool farm_is_dead(void)
{
    return !scan_farm_has_live(t.farm);
}

/* Feeds what is not paused, a chunk and a half at a time, as a client would. */
static bool all_ended(void)
{
    bool all = true;
    for (size_t n = 0; n < t.item_count; n++) {
        struct item *item = &t.items[n];
        uint8_t piece[CHUNK + CHUNK / 2];
        struct error why;
        if (item->fed < item->size && !item->paused) {
            size_t len = item->size - item->fed < sizeof piece ? (size_t)(item->size - item->fed) : sizeof piece;
            for (size_t i = 0; i < len; i++)
                piece[i] = byte_of(n, item->fed + i);
            ck_assert_int_eq(message_append(item->message, piece, len, &why), MESSAGE_OK);
            item->fed += len;
            scan_feed(item->scan);
            if (item->fed == item->size)
                scan_finish(item->scan);
        }
        all = all && item->ends > 0;
    }
    return all;
}

static bool first_is_asked(void)
{
    all_ended(); /* feeds */
    return t.fakes[0].frames > 0;
}

static void start(uint64_t size)
{
    size_t n = t.item_count++;
    struct item *item = &t.items[n];
    snprintf(item->id.text, sizeof item->id.text, "01ABCDEFGH%010zu", n);
    item->message = message_new(&t.budget);
    item->size = size;
    struct scan_facts facts = { .client = "192.0.2.1", .helo = "h", .sender = "s@example.org", .recipients = 1 };
    item->scan = scan_start(t.farm, &item->id, item->message, &facts, &handlers, item);
}

static void start_many(void)
{
    for (int i = 0; i < 20; i++)
        start(4096 + (uint64_t)i);
    for (int i = 0; i < 6; i++)
        start(20 * CHUNK + (uint64_t)i); /* above the memory threshold: from the file */
}

static unsigned count_ends(bool is_busy, Weir__Verdict verdict, Weir__UnknownReason reason)
{
    unsigned count = 0;
    for (size_t i = 0; i < t.item_count; i++) {
        const struct item *item = &t.items[i];
        ck_assert_uint_eq(item->ends, 1);
        if (item->is_busy || is_busy)
            count += item->is_busy && is_busy;
        else
            count += item->result.verdict == verdict && item->result.reason == reason;
    }
    return count;
}

static unsigned count_bad(void)
{
    return count_ends(false, WEIR__VERDICT__VERDICT_BAD, 0);
}

static unsigned count_unknown(Weir__UnknownReason reason)
{
    return count_ends(false, WEIR__VERDICT__VERDICT_UNKNOWN, reason);
}

static struct metric *awaited;

static bool was_counted(void)
{
    return awaited->value > 0;
}

static void check_dropped(const char *reason)
{
    if (reason == NULL)
        return;
    awaited = metrics_counter(&t.metrics, "weir_scan_answers_dropped_total", "reason=\"%s\"", reason);
    ck_assert_msg(run_until(was_counted, 30000), "no answer was dropped as %s", reason);
}

/* --- each kind beside an honest one, and alone --- */

/* clang-format off */
static const struct {
    enum mode mode;
    bool beside_all_bad; /* beside an honest one every message is scanned by that; else some end as alone */
    bool busy;           /* alone, some may end with busy(), for one that only waits when the machine is slow enough to take it for dead */
    Weir__UnknownReason unknown; /* ... and some as unknown */
    const char *dropped; /* its answers are counted as that */
} rows[] = {
    { BUSY,       true,  true,  0,                                              NULL },
    { DEAF,       true,  true,  0,                                              NULL },
    { SILENT,     false, true,  WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT,          NULL },
    { WRONG_ID,   true,  false, WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL,         "id" },
    { WRONG_SIZE, true,  false, WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL,         "size" },
    { LATE,       true,  true,  WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT,          "late" },
    { RUBBISH,    false, true,  WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT,          "kind" },
    { CRASHING,   true,  false, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE,      NULL },
};
/* clang-format on */
#define ROWS (sizeof rows / sizeof *rows)

/* For tests in which nothing waits for a time: on a slow machine nobody is to be left as one that hangs. */
static void with_patience(void)
{
    t.settings.scan_wait = t.settings.scan_stall = 10000;
    t.settings.scan_timeout = 30000;
    scan_farm_reload(t.farm, &t.settings);
}

START_TEST(beside_an_honest_one)
{
    with_patience();
    if (rows[_i].busy) { /* the one that hangs is waited for, and the honest one is not to be taken for another */
        t.settings.scan_stall = 1500;
        t.settings.scan_wait = 3600;
        t.settings.scan_timeout = 7200;
        scan_farm_reload(t.farm, &t.settings);
    }
    add_fake(rows[_i].mode);
    add_fake(HONEST);
    tell_state_of(true);
    ck_assert(run_until(both_are_up, 30000));
    start_many();
    ck_assert(run_until(all_ended, 30000));
    ck_assert_uint_gt(t.fakes[0].frames, 0);
    unsigned bad = count_bad();
    ck_assert_uint_gt(bad, 0);
    run_until(never, 500);
    check_dropped(rows[_i].dropped);
    if (!rows[_i].beside_all_bad)
        bad += count_unknown(rows[_i].unknown);
    ck_assert_uint_eq(bad, t.item_count);
}
END_TEST

START_TEST(alone)
{
    if (!rows[_i].busy)
        with_patience();
    add_fake(rows[_i].mode);
    tell_state_of(true);
    ck_assert(run_until(farm_is_live, 30000));
    start_many();
    ck_assert(run_until(all_ended, 30000));
    check_dropped(rows[_i].dropped);
    unsigned expected = rows[_i].busy ? count_ends(true, 0, 0) : 0;
    if (rows[_i].unknown != 0)
        expected += count_unknown(rows[_i].unknown);
    ck_assert_uint_eq(expected, t.item_count);
}
END_TEST

START_TEST(honest_ones_share)
{
    with_patience();
    add_fake(HONEST);
    add_fake(HONEST);
    tell_state_of(true);
    ck_assert(run_until(both_are_up, 30000));
    start_many();
    ck_assert(run_until(all_ended, 30000));
    ck_assert_uint_eq(count_bad(), t.item_count);
    ck_assert_uint_gt(t.fakes[0].verdicts, 0);
    ck_assert_uint_gt(t.fakes[1].verdicts, 0);
    ck_assert_uint_eq(t.fakes[0].verdicts + t.fakes[1].verdicts, t.item_count);
}
END_TEST

/* It says clean early; what is asked again goes to the honest one when the message is complete. */
START_TEST(clean_before_the_end_is_no_verdict)
{
    with_patience();
    add_fake(EARLY);
    add_fake(HONEST);
    tell_state_of(true);
    ck_assert(run_until(both_are_up, 30000));
    for (int i = 0; i < 20; i++)
        start(20 * CHUNK);
    ck_assert(run_until(all_ended, 30000));
    ck_assert_uint_gt(t.fakes[0].opens, 0);
    ck_assert_uint_eq(count_bad(), t.item_count);
}
END_TEST

/* Dies in the middle of messages, again and again, and says clean to others; what it answers in time counts as its
 * word, so large messages only: it dies before their end. */
START_TEST(dying_mid_scan)
{
    with_patience();
    add_fake(DYING);
    add_fake(HONEST);
    tell_state_of(true);
    ck_assert(run_until(both_are_up, 30000));
    for (int i = 0; i < 20; i++)
        start(20 * CHUNK);
    ck_assert(run_until(all_ended, 30000));
    ck_assert_uint_gt(t.fakes[0].opens, 0);
    ck_assert_uint_eq(count_bad(), t.item_count);
}
END_TEST

START_TEST(farm_dies_and_comes_back)
{
    link_settings_of_patience(t.edge_hub);
    link_settings_of_patience(t.scanner_hub);
    t.settings.scan_wait = 20000;
    t.settings.scan_stall = t.settings.scan_timeout = 60000; /* nor is it left for its silence */
    scan_farm_reload(t.farm, &t.settings);
    add_fake(HONEST);
    tell_state_of(true);
    ck_assert(run_until(farm_is_live, 30000));
    fake_die(&t.fakes[0]);
    t.fakes[0].revive = false;
    uint64_t from = clock_ms();
    ck_assert(run_until(farm_is_dead, 60000));
    ck_assert_uint_lt(clock_ms() - from, LINK_AT_ONCE_MS); /* by the connection's end */
    run_until(never, 1000);
    start(4096);
    from = clock_ms();
    ck_assert(run_until(all_ended, 30000));
    ck_assert_uint_eq(count_ends(true, 0, 0), 1);
    ck_assert_uint_lt(clock_ms() - from, t.settings.scan_wait); /* nobody for more than a second: at once */
    t.fakes[0].revive = true;
    ck_assert(run_until(farm_is_live, 30000));
    t.item_count = 1;
    message_free(&t.items[0].message);
    memset(&t.items[0], 0, sizeof t.items[0]);
    t.item_count = 0;
    start(4096);
    ck_assert(run_until(all_ended, 30000));
    ck_assert_uint_eq(count_bad(), 1);
}
END_TEST

START_TEST(a_revoked_scanner_is_left_at_once)
{
    add_fake(SILENT);
    tell_state_of(true);
    ck_assert(run_until(farm_is_live, 30000));
    start(4096);
    ck_assert(run_until(first_is_asked, 30000));
    ck_assert(!all_ended());
    ck_assert_uint_eq(t.fakes[0].opens + t.fakes[0].frames, 1);
    tell_state_of(false);
    ck_assert(!scan_farm_has_room(t.farm));
    ck_assert(run_until(all_ended, 30000));
    ck_assert_uint_eq(count_ends(true, 0, 0), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scan_farm");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, honest_ones_share);
    tcase_add_loop_test(tcase, beside_an_honest_one, 0, ROWS);
    tcase_add_loop_test(tcase, alone, 0, ROWS);
    tcase_add_test(tcase, clean_before_the_end_is_no_verdict);
    tcase_add_test(tcase, dying_mid_scan);
    tcase_add_test(tcase, farm_dies_and_comes_back);
    tcase_add_test(tcase, a_revoked_scanner_is_left_at_once);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

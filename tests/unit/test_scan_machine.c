/*
 * test_scan_machine.c - the scan conversation, driven by tables: frames and times in, frames and results out
 *
 * No sockets: a fake link keeps what was sent. What matters most is I2: no row may end clean unless the answer had the
 * right attempt, link, id and size, for a message sent to its last byte.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "edge/scan/state.h"
#include "tests/unit/suite.h"

#define CHUNK    (64u * 1024)
#define MS       1000u
#define LINKS    4
#define SENT_MAX 4096

struct sent {
    size_t link;
    int kind;
    uint64_t attempt, offset, size_hint;
    size_t len;
    bool whole, complete, last;
    unsigned crashes;
};

struct watched { /* one scan and what it was told */
    struct scan *scan;
    struct message *message;
    struct queue_id id;
    unsigned done, busy, paused, resumed;
    struct scan_result result;
    char why[64];
    bool cancel_when_paused;
};

static struct {
    struct edge_settings settings;
    struct metrics metrics;
    struct message_budget budget;
    struct machine *machine;
    size_t names[LINKS]; /* their addresses are the links */
    struct scanner *scanners[LINKS];
    size_t scanner_count;
    enum link_status status[LINKS];
    struct sent sent[SENT_MAX];
    size_t sent_count;
    uint64_t random, clock;
    unsigned wakes, ids;
} t;

static enum link_status fake_send(void *arg, void *link, Weir__Frame *frame, const struct link_payload *payloads,
                                  size_t count)
{
    (void)arg;
    size_t index = *(size_t *)link;
    if (t.status[index] != LINK_OK)
        return t.status[index];
    ck_assert_uint_lt(t.sent_count, SENT_MAX);
    struct sent *sent = &t.sent[t.sent_count++];
    *sent = (struct sent){ .link = index, .kind = (int)frame->body_case };
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += payloads[i].len;
    sent->len = len;
    switch (frame->body_case) {
    case WEIR__FRAME__BODY_SCAN_OPEN:
        sent->attempt = frame->scan_open->attempt;
        sent->whole = frame->scan_open->whole;
        sent->complete = frame->scan_open->complete;
        sent->size_hint = frame->scan_open->size_hint;
        sent->crashes = frame->scan_open->crashes;
        ck_assert_uint_eq(count, sent->whole ? 1 : 0);
        ck_assert_uint_gt(frame->scan_open->deadline_ms, 0);
        break;
    case WEIR__FRAME__BODY_SCAN_CHUNK:
        sent->attempt = frame->scan_chunk->attempt;
        sent->offset = frame->scan_chunk->offset;
        sent->last = frame->scan_chunk->last;
        ck_assert_uint_eq(count, 1);
        break;
    default:
        ck_assert_int_eq(frame->body_case, WEIR__FRAME__BODY_SCAN_CANCEL);
        sent->attempt = frame->scan_cancel->attempt;
        break;
    }
    return LINK_OK;
}

static uint64_t fake_random(void *arg)
{
    (void)arg;
    t.random = t.random * 6364136223846793005u + 1442695040888963407u;
    return t.random ^ (t.random >> 29);
}

static void fake_wake(void *arg)
{
    (void)arg;
    t.wakes++;
}

static const struct scan_io fake_io = { fake_send, fake_random, fake_wake };

static void on_done(void *arg, const struct scan_result *result)
{
    struct watched *w = arg;
    w->done++;
    w->result = *result;
    scan_cancel(&w->scan); /* allowed, and nothing */
}

static void on_busy(void *arg, const char *why)
{
    struct watched *w = arg;
    w->busy++;
    snprintf(w->why, sizeof w->why, "%s", why);
    w->scan = NULL;
}

static void on_pressure(void *arg, bool full)
{
    struct watched *w = arg;
    if (full)
        w->paused++;
    else
        w->resumed++;
    if (full && w->cancel_when_paused)
        machine_cancel(&w->scan);
}

static const struct scan_handlers handlers = { on_done, on_busy, on_pressure };

/* --- small words for the tests below --- */

static void advance(uint64_t us)
{
    while (us > 0) {
        uint64_t step = us < MACHINE_TICK_MS * MS ? us : MACHINE_TICK_MS * MS;
        t.clock += step;
        us -= step;
        machine_time(t.machine, t.clock);
        machine_tick(t.machine);
        machine_deliver(t.machine);
    }
}

static void say(size_t link, int kind, void *body)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = (Weir__Frame__BodyCase)kind;
    frame.scan_grant = body;
    struct link_message message = { .frame = &frame };
    machine_time(t.machine, t.clock);
    machine_message(t.machine, t.scanners[link], &message);
    machine_deliver(t.machine);
}

static void load_as(size_t link, Weir__NodeState state, uint32_t slots, uint32_t used)
{
    Weir__ScannerLoad load = WEIR__SCANNER_LOAD__INIT;
    load.state = state;
    load.slots = slots;
    load.slots_used = used;
    load.bytes = 1 << 30;
    say(link, WEIR__FRAME__BODY_SCANNER_LOAD, &load);
}

static void load(size_t link, uint32_t slots, uint32_t used)
{
    load_as(link, WEIR__NODE_STATE__NODE_ACTIVE, slots, used);
}

static void grant(size_t link, const struct watched *w, uint64_t attempt, uint64_t allowed)
{
    Weir__ScanGrant body = WEIR__SCAN_GRANT__INIT;
    body.id = wire_text(w->id.text);
    body.attempt = attempt;
    body.allowed = allowed;
    say(link, WEIR__FRAME__BODY_SCAN_GRANT, &body);
}

static void credit(size_t link, const struct watched *w, uint64_t attempt, uint64_t allowed)
{
    Weir__ScanCredit body = WEIR__SCAN_CREDIT__INIT;
    body.id = wire_text(w->id.text);
    body.attempt = attempt;
    body.allowed = allowed;
    say(link, WEIR__FRAME__BODY_SCAN_CREDIT, &body);
}

static void busy(size_t link, const struct watched *w, uint64_t attempt, Weir__BusyReason reason)
{
    Weir__ScanBusy body = WEIR__SCAN_BUSY__INIT;
    body.id = wire_text(w->id.text);
    body.attempt = attempt;
    body.reason = reason;
    say(link, WEIR__FRAME__BODY_SCAN_BUSY, &body);
}

static void verdict_for(size_t link, const char *id, uint64_t attempt, uint64_t size, Weir__Verdict verdict,
                        Weir__UnknownReason reason)
{
    Weir__ScanVerdict body = WEIR__SCAN_VERDICT__INIT;
    body.id = wire_text(id);
    body.attempt = attempt;
    body.size = size;
    body.verdict = verdict;
    body.reason = reason;
    body.signature = wire_text(verdict == WEIR__VERDICT__VERDICT_BAD ? "Test.Virus" : "");
    body.scanner = wire_text("somebody-else");
    say(link, WEIR__FRAME__BODY_SCAN_VERDICT, &body);
}

static void clean(size_t link, const struct watched *w, uint64_t attempt, uint64_t size)
{
    verdict_for(link, w->id.text, attempt, size, WEIR__VERDICT__VERDICT_CLEAN, 0);
}

static void crash(size_t link, const struct watched *w, uint64_t attempt, uint64_t size)
{
    verdict_for(link, w->id.text, attempt, size, WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_CRASH);
}

static double value_of(const char *name, const char *labels)
{
    return metrics_counter(&t.metrics, name, labels[0] != '\0' ? "%s" : NULL, labels)->value;
}

static double dropped(const char *reason)
{
    char labels[64];
    snprintf(labels, sizeof labels, "reason=\"%s\"", reason);
    return value_of("weir_scan_answers_dropped_total", labels);
}

static double replays(const char *why)
{
    char labels[64];
    snprintf(labels, sizeof labels, "why=\"%s\"", why);
    return value_of("weir_scan_replays_total", labels);
}

static const struct sent *last_sent(void)
{
    ck_assert_uint_gt(t.sent_count, 0);
    return &t.sent[t.sent_count - 1];
}

static size_t count_sent(int kind)
{
    size_t count = 0;
    for (size_t i = 0; i < t.sent_count; i++)
        count += t.sent[i].kind == kind;
    return count;
}

static void add_scanner(uint32_t slots, uint32_t used)
{
    size_t i = t.scanner_count++;
    char name[32];
    snprintf(name, sizeof name, "scanner-%zu", i + 1);
    t.scanners[i] = machine_scanner_add(t.machine, name, &t.names[i]);
    machine_up(t.machine, t.scanners[i]);
    load(i, slots, used);
}

static const char *client = "192.0.2.1"; /* whose the next message is */

static void watch_hint(struct watched *w, size_t bytes, uint64_t hint)
{
    static char zeroes[CHUNK * 40];
    memset(w, 0, sizeof *w);
    snprintf(w->id.text, sizeof w->id.text, "01ABCDEFGH%010u", ++t.ids);
    w->message = message_new(&t.budget);
    struct error why;
    ck_assert_int_eq(message_append(w->message, zeroes, bytes, &why), MESSAGE_OK);
    struct scan_facts facts = { .client = client, .helo = "h", .sender = "", .recipients = 1, .size_hint = hint };
    w->scan = machine_start(t.machine, &w->id, w->message, &facts, &handlers, w);
}

static void watch(struct watched *w, size_t bytes)
{
    watch_hint(w, bytes, 0);
}

static void feed(struct watched *w, size_t bytes)
{
    static char zeroes[CHUNK * 40];
    struct error why;
    ck_assert_int_eq(message_append(w->message, zeroes, bytes, &why), MESSAGE_OK);
    machine_time(t.machine, t.clock);
    machine_feed(w->scan);
    machine_deliver(t.machine);
}

static void finish(struct watched *w)
{
    machine_time(t.machine, t.clock);
    machine_finish(w->scan);
    machine_deliver(t.machine);
}

static void unwatch(struct watched *w)
{
    machine_cancel(&w->scan);
    message_free(&w->message);
}

static void setup(void)
{
    memset(&t, 0, sizeof t);
    t.settings =
        (struct edge_settings){ .scan_wait = 2000, .scan_stall = 500, .scan_timeout = 20000, .scan_chunk = CHUNK };
    t.budget = (struct message_budget){
        .memory_max = 64u << 20, .disk_max = 64u << 20, .threshold = 256u << 10, .tmp_dir = "/tmp"
    };
    metrics_init(&t.metrics);
    for (size_t i = 0; i < LINKS; i++)
        t.names[i] = i;
    t.machine = machine_new(&t.settings, &fake_io, NULL, &t.metrics);
    t.clock = 1000000000;
    machine_time(t.machine, t.clock);
}

static void teardown(void)
{
    for (size_t i = 0; i < t.scanner_count; i++)
        if (t.scanners[i] != NULL)
            machine_scanner_remove(t.machine, &t.scanners[i]);
    machine_free(&t.machine);
    metrics_fini(&t.metrics);
}

/* --- the normal paths --- */

START_TEST(small_message_in_one_frame)
{
    static const size_t sizes[] = { 0, 1, 4096, CHUNK };
    struct watched w;
    add_scanner(8, 0);
    watch(&w, sizes[_i]);
    machine_feed(w.scan);
    ck_assert_uint_eq(t.sent_count, 0);
    finish(&w);
    ck_assert_uint_eq(t.sent_count, 1);
    ck_assert(last_sent()->whole);
    ck_assert_uint_eq(last_sent()->len, sizes[_i]);
    ck_assert_uint_eq(last_sent()->size_hint, sizes[_i]);
    ck_assert_uint_eq(t.scanners[0]->used, 1);
    clean(0, &w, last_sent()->attempt, sizes[_i]);
    ck_assert_uint_eq(w.done, 1);
    ck_assert_int_eq(w.result.verdict, WEIR__VERDICT__VERDICT_CLEAN);
    ck_assert_str_eq(w.result.scanner, "scanner-1"); /* whose link it was, not what it calls itself */
    ck_assert_uint_eq(t.scanners[0]->used, 0);
    unwatch(&w);
}
END_TEST

START_TEST(bad_and_unknown_verdicts)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    verdict_for(0, w.id.text, last_sent()->attempt, 10, WEIR__VERDICT__VERDICT_BAD, 0);
    ck_assert_int_eq(w.result.verdict, WEIR__VERDICT__VERDICT_BAD);
    ck_assert_str_eq(w.result.signature, "Test.Virus");
    unwatch(&w);
    watch(&w, 10);
    finish(&w);
    verdict_for(0, w.id.text, last_sent()->attempt, 10, WEIR__VERDICT__VERDICT_UNKNOWN,
                WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS);
    ck_assert_int_eq(w.result.verdict, WEIR__VERDICT__VERDICT_UNKNOWN);
    ck_assert_int_eq(w.result.reason, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS);
    ck_assert(value_of("weir_scan_unknown_total", "reason=\"limits\"") == 1);
    unwatch(&w);
}
END_TEST

START_TEST(large_message_is_streamed_within_its_window)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, CHUNK);
    machine_feed(w.scan);
    ck_assert_uint_eq(t.sent_count, 0);
    feed(&w, 1);
    ck_assert_uint_eq(t.sent_count, 1);
    ck_assert(!last_sent()->whole && !last_sent()->complete);
    uint64_t attempt = last_sent()->attempt;
    feed(&w, 2 * CHUNK);
    ck_assert_uint_eq(t.sent_count, 1);
    grant(0, &w, attempt, 2 * CHUNK + 100);
    ck_assert_uint_eq(t.sent_count, 4); /* two chunks, and what is left of the window */
    ck_assert_uint_eq(t.sent[2].offset, CHUNK);
    ck_assert_uint_eq(t.sent[3].len, 100);
    ck_assert_uint_eq(w.paused, 0);
    feed(&w, CHUNK);
    ck_assert_uint_eq(w.paused, 1);
    credit(0, &w, attempt, 2 * CHUNK + 50); /* shrinking: ignored */
    credit(0, &w, attempt, 40 * CHUNK);
    ck_assert_uint_eq(w.resumed, 1);
    ck_assert_uint_eq(last_sent()->len, CHUNK);
    finish(&w);
    ck_assert(last_sent()->last);
    ck_assert_uint_eq(last_sent()->offset + last_sent()->len, 4 * CHUNK + 1);
    clean(0, &w, attempt, 4 * CHUNK + 1);
    ck_assert_uint_eq(w.done, 1);
    ck_assert_int_eq(w.result.verdict, WEIR__VERDICT__VERDICT_CLEAN);
    unwatch(&w);
}
END_TEST

START_TEST(last_chunk_may_be_empty_and_needs_no_window)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 0);
    feed(&w, 2 * CHUNK);
    uint64_t attempt = last_sent()->attempt;
    grant(0, &w, attempt, 2 * CHUNK);
    ck_assert_uint_eq(t.sent_count, 3);
    finish(&w);
    ck_assert(last_sent()->last);
    ck_assert_uint_eq(last_sent()->len, 0);
    ck_assert_uint_eq(last_sent()->offset, 2 * CHUNK);
    unwatch(&w);
    ck_assert_int_eq(last_sent()->kind, WEIR__FRAME__BODY_SCAN_CANCEL);
}
END_TEST

/* --- every event in every state: what state follows, and never clean but in one place --- */

enum happening {
    E_GRANT,
    E_CREDIT,
    E_BUSY,
    E_CLEAN,
    E_SIZE,
    E_ID,
    E_ATTEMPT,
    E_LINK,
    E_DOWN,
    E_SILENCE,
    E_FINISH,
    E_CANCEL
};
static const char *const event_names[] = { "grant",   "credit", "busy", "clean",   "size",   "id",
                                           "attempt", "link",   "down", "silence", "finish", "cancel" };

#define Q SCAN_QUIET
#define S SCAN_SEEKING
#define O SCAN_OPENED
#define R SCAN_STREAMING
#define A SCAN_ASKED
#define E SCAN_ENDED
/* clang-format off */
static const struct {
    enum scan_state from;
    enum scan_state to[12]; /* with one scanner that takes everything; the other one is draining */
} transitions[] = {
    /*     grant credit busy clean size id attempt link down silence finish cancel */
    { Q, { Q,    Q,     Q,   Q,    Q,   Q, Q,      Q,   Q,   Q,      A,     E } },
    { S, { S,    S,     S,   S,    S,   S, S,      S,   S,   S,      O,     E } }, /* more than a chunk */
    { O, { R,    O,     S,   Q,    Q,   Q, O,      O,   S,   S,      O,     E } },
    { R, { R,    R,     S,   Q,    Q,   Q, R,      R,   S,   S,      R,     E } },
    { A, { A,    A,     S,   E,    A,   A, A,      A,   S,   S,      A,     E } },
};
/* clang-format on */
#undef Q
#undef S
#undef O
#undef R
#undef A
#undef E

static void bring_to(struct watched *w, enum scan_state state)
{
    watch(w, 100);
    if (state == SCAN_QUIET)
        return;
    if (state == SCAN_SEEKING)
        load(0, 8, 8);
    if (state == SCAN_ASKED) {
        finish(w);
    } else {
        feed(w, CHUNK * 2);
        if (state == SCAN_STREAMING)
            grant(0, w, last_sent()->attempt, CHUNK);
    }
    ck_assert_int_eq(w->scan->state, state);
}

static void happen(struct watched *w, enum happening event)
{
    uint64_t attempt = w->scan->attempt, size = message_size(w->message);
    switch (event) {
    case E_GRANT:
        grant(0, w, attempt, CHUNK);
        break;
    case E_CREDIT:
        credit(0, w, attempt, CHUNK);
        break;
    case E_BUSY:
        busy(0, w, attempt, WEIR__BUSY_REASON__BUSY_SLOTS);
        break;
    case E_CLEAN:
        clean(0, w, attempt, size);
        break;
    case E_SIZE:
        clean(0, w, attempt, size + 1);
        break;
    case E_ID:
        verdict_for(0, "01ABCDEFGH9999999999", attempt, size, WEIR__VERDICT__VERDICT_CLEAN, 0);
        break;
    case E_ATTEMPT:
        clean(0, w, attempt + 1, size);
        break;
    case E_LINK:
        clean(1, w, attempt, size);
        break;
    case E_DOWN:
        machine_down(t.machine, t.scanners[0]);
        machine_deliver(t.machine);
        break;
    case E_SILENCE:
        advance(600 * MS);
        break;
    case E_FINISH:
        finish(w);
        break;
    case E_CANCEL:
        machine_cancel(&w->scan);
        break;
    }
}

START_TEST(every_event_in_every_state)
{
    size_t from = (size_t)_i / 12;
    enum happening event = (enum happening)(_i % 12);
    enum scan_state to = transitions[from].to[event];
    struct watched w;
    add_scanner(8, 0);
    add_scanner(0, 0);
    load_as(1, WEIR__NODE_STATE__NODE_DRAINING, 8, 0); /* up, but takes nothing */
    bring_to(&w, transitions[from].from);
    happen(&w, event);
    bool right = transitions[from].from == SCAN_ASKED && event == E_CLEAN;
    ck_assert_msg(w.done == (right ? 1 : 0), "state %zu, %s: done %u", from, event_names[event], w.done);
    if (to == SCAN_ENDED)
        ck_assert_ptr_null(w.scan);
    else
        ck_assert_msg(w.scan->state == to, "state %zu, %s: to %d", from, event_names[event], w.scan->state);
    unwatch(&w);
    ck_assert_uint_eq(t.machine->attempt_count, 0);
    ck_assert_uint_eq(t.machine->scan_count, 0);
}
END_TEST

/* --- answers that are not for this question --- */

START_TEST(wrong_answers_are_dropped_and_counted)
{
    struct watched w;
    add_scanner(8, 0);
    add_scanner(8, 8);
    watch(&w, 10);
    finish(&w);
    uint64_t first = last_sent()->attempt;
    clean(0, &w, first ^ 1, 10);
    ck_assert(dropped("late") == 1);
    clean(1, &w, first, 10);
    ck_assert(dropped("scanner") == 1);
    grant(0, &w, first, 10);
    ck_assert(dropped("state") == 1);
    ck_assert_uint_eq(w.done, 0);
    clean(0, &w, first, 11); /* wrong size: this scanner's attempt is over; asked again with another number */
    ck_assert(dropped("size") == 1);
    ck_assert(replays("protocol") == 1);
    ck_assert_uint_eq(w.done, 0);
    ck_assert_int_eq(last_sent()->kind, WEIR__FRAME__BODY_SCAN_OPEN);
    uint64_t second = last_sent()->attempt;
    ck_assert_uint_ne(first, second);
    size_t link = last_sent()->link;
    ck_assert_uint_eq(link, 1); /* full, but the other one lied */
    clean(0, &w, first, 10);    /* late, right in all but the attempt */
    ck_assert(dropped("late") == 2);
    clean(1, &w, second, 9);
    ck_assert_uint_eq(w.done, 1);
    ck_assert_int_eq(w.result.verdict, WEIR__VERDICT__VERDICT_UNKNOWN);
    ck_assert_int_eq(w.result.reason, WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL);
    ck_assert(value_of("weir_scan_unknown_total", "reason=\"protocol\"") == 1);
    unwatch(&w);
}
END_TEST

START_TEST(early_verdict_waits_for_the_end_of_the_message)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 0);
    feed(&w, CHUNK + 1);
    uint64_t attempt = last_sent()->attempt;
    clean(0, &w, attempt, CHUNK + 1);
    clean(0, &w, attempt, CHUNK + 1);
    ck_assert(dropped("early") == 1);
    ck_assert(dropped("late") == 1);
    size_t opens = count_sent(WEIR__FRAME__BODY_SCAN_OPEN);
    feed(&w, CHUNK * 3);
    ck_assert_uint_eq(count_sent(WEIR__FRAME__BODY_SCAN_OPEN), opens);
    finish(&w);
    ck_assert_uint_eq(count_sent(WEIR__FRAME__BODY_SCAN_OPEN), opens + 1);
    ck_assert_uint_eq(last_sent()->size_hint, 4 * CHUNK + 1);
    clean(0, &w, last_sent()->attempt, 4 * CHUNK + 1); /* not a byte was sent */
    ck_assert_uint_eq(w.done, 1);
    ck_assert_int_eq(w.result.reason, WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL);
    unwatch(&w);
}
END_TEST

START_TEST(frames_that_scanners_do_not_send)
{
    add_scanner(8, 0);
    Weir__ScanHello hello = WEIR__SCAN_HELLO__INIT;
    say(0, WEIR__FRAME__BODY_SCAN_HELLO, &hello);
    ck_assert(dropped("kind") == 1);
}
END_TEST

/* --- crashes --- */

START_TEST(a_crash_is_tried_once_elsewhere)
{
    struct watched w;
    size_t scanners = (size_t)_i + 1;
    for (size_t i = 0; i < scanners; i++)
        add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    size_t first = last_sent()->link;
    ck_assert_uint_eq(last_sent()->crashes, 0);
    crash(first, &w, last_sent()->attempt, 10);
    ck_assert_uint_eq(w.done, 0);
    ck_assert_uint_eq(last_sent()->crashes, 1);
    if (scanners > 1)
        ck_assert_uint_ne(last_sent()->link, first);
    else
        ck_assert_uint_eq(last_sent()->link, first);
    crash(last_sent()->link, &w, last_sent()->attempt, 10);
    ck_assert_uint_eq(w.done, 1);
    ck_assert_int_eq(w.result.verdict, WEIR__VERDICT__VERDICT_UNKNOWN);
    ck_assert_int_eq(w.result.reason, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE);
    ck_assert_uint_eq(w.result.replays, 1);
    unwatch(&w);
}
END_TEST

START_TEST(after_a_crash_the_other_one_is_waited_for)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    add_scanner(8, 8);
    crash(0, &w, last_sent()->attempt, 10);
    ck_assert_uint_eq(last_sent()->link, 1); /* full as it seems */
    busy(1, &w, last_sent()->attempt, WEIR__BUSY_REASON__BUSY_SLOTS);
    ck_assert_int_eq(w.scan->state, SCAN_SEEKING);
    advance(100 * MS);
    load(0, 8, 0);
    ck_assert_int_eq(w.scan->state, SCAN_SEEKING);
    load(1, 8, 7);
    ck_assert_uint_eq(last_sent()->link, 1);
    ck_assert(last_sent()->whole);
    unwatch(&w);
}
END_TEST

/* A scanner whose engine fails must not make its failure everybody's: asked once elsewhere, then it is the answer. */
START_TEST(a_failed_engine_is_tried_once_elsewhere)
{
    struct watched w, lucky;
    add_scanner(8, 0);
    add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    size_t first = last_sent()->link;
    verdict_for(first, w.id.text, last_sent()->attempt, 10, WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE);
    ck_assert_uint_eq(w.done, 0);
    ck_assert_uint_ne(last_sent()->link, first);
    ck_assert_uint_eq(last_sent()->crashes, 0);
    verdict_for(last_sent()->link, w.id.text, last_sent()->attempt, 10, WEIR__VERDICT__VERDICT_UNKNOWN,
                WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE);
    ck_assert_uint_eq(w.done, 1);
    ck_assert_int_eq(w.result.verdict, WEIR__VERDICT__VERDICT_UNKNOWN);
    ck_assert_int_eq(w.result.reason, WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE);
    ck_assert(value_of("weir_scan_replays_total", "why=\"engine\"") == 1);
    unwatch(&w);
    watch(&lucky, 10);
    finish(&lucky);
    verdict_for(last_sent()->link, lucky.id.text, last_sent()->attempt, 10, WEIR__VERDICT__VERDICT_UNKNOWN,
                WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE);
    clean(last_sent()->link, &lucky, last_sent()->attempt, 10);
    ck_assert_int_eq(lucky.result.verdict, WEIR__VERDICT__VERDICT_CLEAN);
    unwatch(&lucky);
}
END_TEST

/* --- scanners that die, stall, drain --- */

START_TEST(a_lost_scanner_is_replaced_at_once)
{
    struct watched w;
    add_scanner(8, 0);
    add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    size_t first = last_sent()->link;
    uint64_t attempt = last_sent()->attempt;
    machine_down(t.machine, t.scanners[first]);
    ck_assert_uint_ne(last_sent()->link, first);
    ck_assert_uint_ne(last_sent()->attempt, attempt);
    ck_assert(replays("down") == 1);
    clean(last_sent()->link, &w, attempt, 10); /* even from a live link: another attempt's number is nothing */
    ck_assert_uint_eq(w.done, 0);
    clean(last_sent()->link, &w, last_sent()->attempt, 10);
    ck_assert_uint_eq(w.done, 1);
    ck_assert_uint_eq(w.result.replays, 1);
    unwatch(&w);
}
END_TEST

START_TEST(a_silent_scanner_is_left_until_it_speaks)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 0);
    feed(&w, 3 * CHUNK);
    uint64_t attempt = last_sent()->attempt;
    grant(0, &w, attempt, CHUNK);
    ck_assert_uint_eq(w.paused, 1);
    add_scanner(8, 0);
    for (int i = 0; i < 12; i++) {
        advance(50 * MS);
        load(1, 8, 0);
    }
    ck_assert(replays("stall") == 1);
    ck_assert_uint_eq(w.resumed, 1);
    ck_assert_int_eq(w.scan->state, SCAN_OPENED);
    ck_assert_uint_eq(last_sent()->link, 1);
    ck_assert_uint_eq(count_sent(WEIR__FRAME__BODY_SCAN_CANCEL), 1);
    ck_assert(!scanner_is_live(t.machine, t.scanners[0]));
    credit(0, &w, attempt, 3 * CHUNK);
    ck_assert(dropped("late") == 1);
    ck_assert(scanner_is_live(t.machine, t.scanners[0]));
    unwatch(&w);
}
END_TEST

START_TEST(an_unanswered_open_is_left)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 0);
    feed(&w, 3 * CHUNK);
    for (int i = 0; i < 12; i++) {
        advance(50 * MS);
        load(0, 8, 0); /* alive, but not for us */
    }
    ck_assert(replays("unanswered") == 1);
    unwatch(&w);
}
END_TEST

START_TEST(a_window_that_never_opens_is_left)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 0);
    feed(&w, 3 * CHUNK);
    grant(0, &w, last_sent()->attempt, CHUNK);
    for (int i = 0; i < 60; i++) {
        advance(50 * MS);
        load(0, 8, 0);
    }
    ck_assert(replays("window") == 1);
    unwatch(&w);
}
END_TEST

START_TEST(our_own_pause_is_nobody_elses_silence)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    t.clock += 60000000; /* stopped for a minute */
    machine_time(t.machine, t.clock);
    ck_assert(machine_has_live(t.machine));
    machine_tick(t.machine);
    ck_assert_int_eq(w.scan->state, SCAN_ASKED);
    ck_assert(replays("stall") == 0);
    clean(0, &w, last_sent()->attempt, 10);
    ck_assert_uint_eq(w.done, 1);
    unwatch(&w);
}
END_TEST

START_TEST(drained_lost_and_removed)
{
    struct watched w, later;
    add_scanner(8, 0);
    add_scanner(8, 7);
    watch(&w, 10);
    finish(&w);
    size_t first = last_sent()->link, other = 1 - first;
    uint64_t attempt = last_sent()->attempt;
    machine_scanner_set(t.machine, t.scanners[first], true, false);
    watch(&later, 10);
    finish(&later);
    ck_assert_uint_eq(last_sent()->link, other);
    clean(first, &w, attempt, 10); /* drained: what it has it finishes */
    ck_assert_uint_eq(w.done, 1);
    unwatch(&w);

    machine_scanner_set(t.machine, t.scanners[first], false, true);
    load(other, 8, 0);
    for (int i = 0; i < 20; i++) {
        watch(&w, 10);
        finish(&w);
        ck_assert_uint_eq(last_sent()->link, other); /* lost: not while another one is live */
        load(other, 8, 0);
        unwatch(&w);
    }
    machine_down(t.machine, t.scanners[other]);
    ck_assert_uint_eq(last_sent()->link, first); /* but it speaks, so rather it than a refusal */
    machine_scanner_remove(t.machine, &t.scanners[first]);
    ck_assert(replays("removed") == 1);
    ck_assert_int_eq(later.scan->state, SCAN_SEEKING);
    unwatch(&later);
}
END_TEST

START_TEST(a_scanner_that_says_it_drains_gets_nothing)
{
    static const Weir__NodeState states[] = { WEIR__NODE_STATE__NODE_STARTING, WEIR__NODE_STATE__NODE_DRAINING,
                                              WEIR__NODE_STATE__NODE_DRAINED };
    struct watched w;
    add_scanner(8, 0);
    load_as(0, states[_i], 8, 0);
    ck_assert(machine_has_live(t.machine)); /* a moment's grace */
    advance(350 * MS);
    ck_assert(!machine_has_live(t.machine));
    watch(&w, 10);
    finish(&w);
    ck_assert_uint_eq(t.sent_count, 0);
    load(0, 8, 0);
    ck_assert_uint_eq(t.sent_count, 1);
    unwatch(&w);
}
END_TEST

START_TEST(busy_words_change_what_we_think)
{
    static const struct {
        Weir__BusyReason reason;
        bool live, room;
    } rows[] = { { WEIR__BUSY_REASON__BUSY_SLOTS, true, false },
                 { WEIR__BUSY_REASON__BUSY_BYTES, true, true },
                 { WEIR__BUSY_REASON__BUSY_DRAINING, false, false },
                 { WEIR__BUSY_REASON__BUSY_STARTING, false, false } };
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    busy(0, &w, last_sent()->attempt, rows[_i].reason);
    ck_assert(scanner_is_live(t.machine, t.scanners[0]) == rows[_i].live);
    ck_assert(machine_has_room(t.machine) == rows[_i].room);
    unwatch(&w);
}
END_TEST

/* --- busy --- */

START_TEST(busy_tries_the_next_then_waits_then_gives_up)
{
    struct watched w;
    for (int i = 0; i < 3; i++)
        add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    bool asked[3] = { false };
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(t.sent_count, (size_t)i + 1);
        ck_assert(!asked[last_sent()->link]);
        asked[last_sent()->link] = true;
        busy(last_sent()->link, &w, last_sent()->attempt, WEIR__BUSY_REASON__BUSY_SLOTS);
    }
    ck_assert_uint_eq(t.sent_count, 3);
    load(1, 8, 7);
    ck_assert_uint_eq(t.sent_count, 3); /* refused less than 50 ms ago */
    advance(50 * MS);
    ck_assert_uint_eq(t.sent_count, 4);
    ck_assert_uint_eq(last_sent()->link, 1);
    busy(1, &w, last_sent()->attempt, WEIR__BUSY_REASON__BUSY_SLOTS);
    for (int i = 0; i < 36; i++) {
        advance(50 * MS);
        for (size_t s = 0; s < 3; s++)
            load(s, 8, 8);
        ck_assert_uint_eq(w.busy, 0);
    }
    for (int i = 0; i < 5; i++) {
        advance(50 * MS);
        for (size_t s = 0; s < 3; s++)
            load(s, 8, 8);
    }
    ck_assert_uint_eq(w.busy, 1);
    ck_assert_str_eq(w.why, "every scanner is busy");
    ck_assert_uint_eq(t.sent_count, 4);
    unwatch(&w);
}
END_TEST

START_TEST(before_giving_up_everyone_is_asked)
{
    struct watched ahead, w;
    add_scanner(8, 8);
    watch(&ahead, 10);
    finish(&ahead);
    busy(0, &ahead, last_sent()->attempt, WEIR__BUSY_REASON__BUSY_SLOTS);
    watch(&w, 10);
    finish(&w);
    ck_assert_uint_eq(t.sent_count, 1); /* behind another one, and it looks full */
    for (int i = 0; i < 39; i++) {
        advance(50 * MS);
        load(0, 8, 8);
    }
    ck_assert_uint_eq(w.busy, 0);
    advance(50 * MS);
    ck_assert_uint_eq(ahead.busy, 1);
    ck_assert_uint_eq(w.busy, 0);
    ck_assert_uint_eq(t.sent_count, 2);
    /* And it had room after all. */
    clean(0, &w, last_sent()->attempt, 10);
    ck_assert_uint_eq(w.done, 1);
    unwatch(&w);
    unwatch(&ahead);
}
END_TEST

START_TEST(no_scanner_at_all)
{
    struct watched w;
    watch(&w, 10);
    machine_finish(w.scan);
    ck_assert_uint_eq(w.busy, 0); /* not from inside the call */
    ck_assert_uint_gt(t.wakes, 0);
    machine_deliver(t.machine);
    ck_assert_uint_eq(w.busy, 1);
    ck_assert_str_eq(w.why, "no scanner is live");
    unwatch(&w);

    add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    machine_down(t.machine, t.scanners[0]);
    advance(900 * MS);
    ck_assert_uint_eq(w.busy, 0); /* links come back: a moment's patience */
    machine_up(t.machine, t.scanners[0]);
    load(0, 8, 0);
    ck_assert_int_eq(w.scan->state, SCAN_ASKED);
    machine_down(t.machine, t.scanners[0]);
    advance(1100 * MS);
    ck_assert_uint_eq(w.busy, 1);
    unwatch(&w);
}
END_TEST

START_TEST(waiting_is_first_in_first_out)
{
    enum { COUNT = 20 };
    struct watched w[COUNT];
    add_scanner(COUNT, 0);
    watch(&w[0], 10);
    finish(&w[0]); /* placed, and will come back to its place in the queue */
    uint64_t first = last_sent()->attempt;
    load(0, COUNT, COUNT);
    for (int i = 1; i < COUNT; i++)
        watch(&w[i], 10);
    for (int i = 1; i < COUNT; i++)
        finish(&w[(i * 7) % 19 + 1]);
    ck_assert_uint_eq(t.sent_count, 2); /* the first of them asks, though it looks full */
    busy(0, &w[8], last_sent()->attempt, WEIR__BUSY_REASON__BUSY_SLOTS);
    ck_assert_uint_eq(t.sent_count, 2);
    busy(0, &w[0], first, WEIR__BUSY_REASON__BUSY_SLOTS);
    for (int i = 0; i < COUNT; i++) {
        int expected = i == 0 ? 0 : (i * 7) % 19 + 1;
        advance(60 * MS);
        load(0, COUNT, COUNT - 1);
        ck_assert_int_eq(w[expected].scan->state, SCAN_ASKED);
        const struct scan *asking = t.machine->asking; /* who is first now; all others wait */
        for (int k = i + 1; k < COUNT; k++) {
            struct watched *other = &w[(k * 7) % 19 + 1];
            ck_assert_int_eq(other->scan->state, other->scan == asking ? SCAN_ASKED : SCAN_SEEKING);
            ck_assert(other->scan != asking || k == i + 1);
        }
        if (asking != NULL)
            busy(0, &w[((i + 1) * 7) % 19 + 1], asking->attempt, WEIR__BUSY_REASON__BUSY_SLOTS);
    }
    for (int i = 0; i < COUNT; i++)
        unwatch(&w[i]);
}
END_TEST

/* However many one client has waiting, of another's only those before have to be taken first. One that gave up is no turn lost. */
START_TEST(clients_take_turns)
{
    static const struct {
        const char *client;
        int place;
    } rows[] = { { "192.0.2.1", 0 }, { "192.0.2.1", 2 }, { "192.0.2.1", 4 }, { "192.0.2.1", 5 },
                 { "192.0.2.1", -1 }, { "192.0.2.2", 1 }, { "192.0.2.2", 3 } };
    enum { COUNT = 7, GIVEN_UP = 4 };
    struct watched w[COUNT];
    add_scanner(1, 1);
    t.status[0] = LINK_FULL; /* so that nobody asks */
    for (int i = 0; i < COUNT; i++) {
        client = rows[i].client;
        watch(&w[i], 10);
        finish(&w[i]);
        if (i == GIVEN_UP)
            unwatch(&w[i]);
    }
    t.status[0] = LINK_OK;
    machine_writable(t.machine, t.scanners[0]);
    load(0, 1, 0);
    size_t sent = 0; /* in this order they are sent */
    for (int place = 0; place < COUNT - 1; place++) {
        int i = 0;
        while (rows[i].place != place)
            i++;
        ck_assert_int_eq(w[i].scan->state, SCAN_ASKED);
        while (t.sent[sent].attempt != w[i].scan->attempt)
            ck_assert_uint_lt(++sent, t.sent_count);
        clean(0, &w[i], w[i].scan->attempt, 10);
        ck_assert_uint_eq(w[i].done, 1);
    }
    client = "192.0.2.1";
    for (int i = 0; i < COUNT; i++)
        if (i != GIVEN_UP)
            message_free(&w[i].message);
}
END_TEST

START_TEST(busy_while_receiving_is_no_failure)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 0);
    feed(&w, 2 * CHUNK);
    busy(0, &w, last_sent()->attempt, WEIR__BUSY_REASON__BUSY_SLOTS);
    feed(&w, CHUNK);
    advance(3000 * MS);
    ck_assert_uint_eq(t.sent_count, 1);
    ck_assert_uint_eq(w.busy, 0);
    load(0, 8, 0);
    ck_assert_uint_eq(t.sent_count, 2);
    grant(0, &w, last_sent()->attempt, CHUNK);
    size_t sent = t.sent_count;
    busy(0, &w, last_sent()->attempt, WEIR__BUSY_REASON__BUSY_BYTES); /* it could not go on with it */
    feed(&w, CHUNK);
    load(0, 8, 0);
    ck_assert_int_eq(w.scan->state, SCAN_QUIET); /* room is for those that end first: again when it is complete */
    ck_assert_uint_eq(t.sent_count, sent);
    finish(&w);
    ck_assert_int_eq(w.scan->state, SCAN_OPENED);
    ck_assert_uint_eq(last_sent()->size_hint, 4 * CHUNK);
    ck_assert(last_sent()->complete); /* no client can slow it down */
    unwatch(&w);
}
END_TEST

/* --- limits of time, of links, of promises --- */

START_TEST(no_verdict_in_time)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 10);
    finish(&w);
    for (int i = 0; i < 399; i++) {
        advance(50 * MS);
        load(0, 8, 1);
    }
    ck_assert_uint_eq(w.done, 0);
    uint64_t attempt = last_sent()->attempt;
    advance(50 * MS);
    ck_assert_uint_eq(w.done, 1);
    ck_assert_int_eq(w.result.verdict, WEIR__VERDICT__VERDICT_UNKNOWN);
    ck_assert_int_eq(w.result.reason, WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT);
    ck_assert_int_eq(last_sent()->kind, WEIR__FRAME__BODY_SCAN_CANCEL);
    ck_assert_uint_eq(last_sent()->attempt, attempt);
    clean(0, &w, attempt, 10);
    ck_assert(dropped("late") == 1);
    unwatch(&w);
}
END_TEST

START_TEST(a_full_link_is_waited_for)
{
    struct watched w, small;
    add_scanner(8, 0);
    watch(&w, 0);
    feed(&w, 4 * CHUNK);
    t.status[0] = LINK_FULL;
    grant(0, &w, last_sent()->attempt, 40 * CHUNK);
    ck_assert_uint_eq(t.sent_count, 1);
    ck_assert_uint_eq(w.paused, 1);
    watch(&small, 10);
    finish(&small);
    ck_assert_int_eq(small.scan->state, SCAN_SEEKING);
    uint64_t attempt = w.scan->attempt;
    unwatch(&w); /* its CANCEL waits as well */
    ck_assert_uint_eq(t.sent_count, 1);
    t.status[0] = LINK_OK;
    machine_writable(t.machine, t.scanners[0]);
    ck_assert_uint_eq(t.sent_count, 3);
    ck_assert_int_eq(t.sent[1].kind, WEIR__FRAME__BODY_SCAN_CANCEL);
    ck_assert_uint_eq(t.sent[1].attempt, attempt);
    ck_assert(t.sent[2].whole);
    unwatch(&small);
}
END_TEST

START_TEST(streaming_goes_on_when_the_link_drains)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 0);
    feed(&w, 4 * CHUNK);
    t.status[0] = LINK_FULL;
    grant(0, &w, last_sent()->attempt, 40 * CHUNK);
    ck_assert_uint_eq(w.paused, 1);
    t.status[0] = LINK_OK;
    advance(50 * MS); /* a missed writable event is made up for by the next tick */
    ck_assert_uint_eq(count_sent(WEIR__FRAME__BODY_SCAN_CHUNK), 4);
    ck_assert_uint_eq(w.resumed, 1);
    unwatch(&w);
}
END_TEST

START_TEST(cancels_for_a_full_link_are_bounded)
{
    struct watched w;
    add_scanner(2000, 0);
    for (int i = 0; i < 300; i++) {
        t.status[0] = LINK_OK;
        machine_writable(t.machine, t.scanners[0]);
        watch(&w, 10);
        finish(&w);
        t.scanners[0]->full = true;
        unwatch(&w);
        t.scanners[0]->full = true;
        t.status[0] = LINK_FULL;
        machine_writable(t.machine, t.scanners[0]);
        ck_assert_uint_le(t.scanners[0]->cancel_count, 256);
    }
}
END_TEST

START_TEST(a_client_that_announced_too_little)
{
    struct watched w;
    add_scanner(8, 0);
    watch_hint(&w, 0, CHUNK);
    feed(&w, CHUNK + 1);
    ck_assert_uint_gt(last_sent()->size_hint, CHUNK);
    uint64_t promised = last_sent()->size_hint;
    feed(&w, CHUNK);
    ck_assert_uint_gt(message_size(w.message), promised);
    ck_assert(replays("outgrew") == 1);
    ck_assert_int_eq(last_sent()->kind, WEIR__FRAME__BODY_SCAN_OPEN);
    ck_assert_uint_eq(last_sent()->size_hint, 0);
    unwatch(&w);
}
END_TEST

START_TEST(the_less_loaded_of_two)
{
    struct watched w;
    unsigned count[3] = { 0 };
    add_scanner(100, 10);
    add_scanner(100, 50);
    add_scanner(100, 90);
    for (int i = 0; i < 300; i++) {
        watch(&w, 10);
        finish(&w);
        count[last_sent()->link]++;
        unwatch(&w);
    }
    ck_assert_uint_gt(count[0], count[1]);
    ck_assert_uint_gt(count[1], 0);
    ck_assert_uint_eq(count[2], 0); /* two random ones: the fullest of three never wins */
}
END_TEST

START_TEST(own_scans_count_before_the_next_load)
{
    struct watched w[40];
    unsigned count[2] = { 0 };
    add_scanner(20, 0);
    add_scanner(20, 0);
    for (int i = 0; i < 40; i++) {
        watch(&w[i], 10);
        finish(&w[i]);
        ck_assert(last_sent()->whole);
        count[last_sent()->link]++;
    }
    ck_assert_uint_eq(count[0], 20);
    ck_assert_uint_eq(count[1], 20);
    ck_assert(!machine_has_room(t.machine));
    for (int i = 0; i < 40; i++)
        unwatch(&w[i]);
}
END_TEST

START_TEST(cancelled_while_it_is_told_of_pressure)
{
    struct watched w;
    add_scanner(8, 0);
    watch(&w, 0);
    w.cancel_when_paused = true;
    feed(&w, 4 * CHUNK);
    grant(0, &w, last_sent()->attempt, CHUNK);
    ck_assert_uint_eq(w.paused, 1);
    ck_assert_ptr_null(w.scan);
    unwatch(&w);
}
END_TEST

START_TEST(many_attempts_find_their_scans)
{
    enum { COUNT = 1000 };
    static struct watched w[COUNT];
    static uint64_t attempts[COUNT];
    add_scanner(COUNT, 0);
    for (int i = 0; i < COUNT; i++) {
        watch(&w[i], 10);
        finish(&w[i]);
        attempts[i] = last_sent()->attempt;
    }
    for (int i = COUNT - 1; i >= 0; i--)
        clean(0, &w[i], attempts[i], 10);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(w[i].done, 1);
        unwatch(&w[i]);
    }
    ck_assert_uint_eq(t.scanners[0]->used, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scan_machine");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, small_message_in_one_frame, 0, 4);
    tcase_add_test(tcase, bad_and_unknown_verdicts);
    tcase_add_test(tcase, large_message_is_streamed_within_its_window);
    tcase_add_test(tcase, last_chunk_may_be_empty_and_needs_no_window);
    tcase_add_loop_test(tcase, every_event_in_every_state, 0, 5 * 12);
    tcase_add_test(tcase, wrong_answers_are_dropped_and_counted);
    tcase_add_test(tcase, early_verdict_waits_for_the_end_of_the_message);
    tcase_add_test(tcase, frames_that_scanners_do_not_send);
    tcase_add_loop_test(tcase, a_crash_is_tried_once_elsewhere, 0, 2);
    tcase_add_test(tcase, after_a_crash_the_other_one_is_waited_for);
    tcase_add_test(tcase, a_failed_engine_is_tried_once_elsewhere);
    tcase_add_test(tcase, a_lost_scanner_is_replaced_at_once);
    tcase_add_test(tcase, a_silent_scanner_is_left_until_it_speaks);
    tcase_add_test(tcase, an_unanswered_open_is_left);
    tcase_add_test(tcase, a_window_that_never_opens_is_left);
    tcase_add_test(tcase, our_own_pause_is_nobody_elses_silence);
    tcase_add_test(tcase, drained_lost_and_removed);
    tcase_add_loop_test(tcase, a_scanner_that_says_it_drains_gets_nothing, 0, 3);
    tcase_add_loop_test(tcase, busy_words_change_what_we_think, 0, 4);
    tcase_add_test(tcase, busy_tries_the_next_then_waits_then_gives_up);
    tcase_add_test(tcase, before_giving_up_everyone_is_asked);
    tcase_add_test(tcase, no_scanner_at_all);
    tcase_add_test(tcase, waiting_is_first_in_first_out);
    tcase_add_test(tcase, clients_take_turns);
    tcase_add_test(tcase, busy_while_receiving_is_no_failure);
    tcase_add_test(tcase, no_verdict_in_time);
    tcase_add_test(tcase, a_full_link_is_waited_for);
    tcase_add_test(tcase, streaming_goes_on_when_the_link_drains);
    tcase_add_test(tcase, cancels_for_a_full_link_are_bounded);
    tcase_add_test(tcase, a_client_that_announced_too_little);
    tcase_add_test(tcase, the_less_loaded_of_two);
    tcase_add_test(tcase, own_scans_count_before_the_next_load);
    tcase_add_test(tcase, cancelled_while_it_is_told_of_pressure);
    tcase_add_test(tcase, many_attempts_find_their_scans);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

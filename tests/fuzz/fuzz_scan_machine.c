/*
 * fuzz_scan_machine.c - any order of events, and the harness knows the truth
 *
 * Two bytes make an event: links come and go, scanners answer rightly and wrongly, clients feed, finish and leave, time
 * passes. What must hold: a clean result comes only out of a right verdict for the newest, complete, not abandoned
 * attempt (I2); what is sent is in order, whole and within what was granted; every finished scan ends exactly once, in
 * bounded time; nothing is left over.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "edge/scan/state.h"

#define CHUNK    4096u
#define LINKS    3
#define SLOTS    8
#define ATTEMPTS 128
#define TICK_US  (MACHINE_TICK_MS * 1000u)

#define MUST(fact)                                                                                                     \
    do {                                                                                                               \
        if (!(fact)) {                                                                                                 \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #fact);                                                 \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct slot {
    struct scan *scan;
    struct message *message;
    struct queue_id id;
    bool finished;
    unsigned ends;
    uint64_t newest; /* attempt */
};

struct attempt {
    uint64_t number, bytes, allowed, promised;
    size_t link, slot;
    bool complete, over, whole;
};

static struct {
    struct machine *machine;
    struct metrics metrics;
    struct message_budget budget;
    struct edge_settings settings;
    size_t names[LINKS];
    struct scanner *scanners[LINKS];
    bool up[LINKS];
    enum link_status status[LINKS];
    struct slot slots[SLOTS];
    struct attempt attempts[ATTEMPTS];
    size_t attempt_count;         /* ever; the table is a ring */
    const struct attempt *honest; /* whose true verdict is being delivered */
    uint64_t clock, random;
    unsigned ids;
} t;

static struct attempt *attempt_of(uint64_t number)
{
    for (size_t i = 0; i < ATTEMPTS && i < t.attempt_count; i++)
        if (t.attempts[i].number == number)
            return &t.attempts[i];
    return NULL;
}

static size_t slot_of(const ProtobufCBinaryData *id)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (t.slots[i].scan != NULL && wire_equal(id, t.slots[i].id.text))
            return i;
    abort();
}

static void note_open(size_t link, const Weir__ScanOpen *open, const struct link_payload *payloads, size_t count)
{
    struct attempt *a = &t.attempts[t.attempt_count++ % ATTEMPTS];
    MUST(attempt_of(open->attempt) == NULL);
    *a = (struct attempt){ .number = open->attempt,
                           .link = link,
                           .slot = slot_of(&open->id),
                           .whole = open->whole,
                           .promised = open->size_hint };
    struct slot *slot = &t.slots[a->slot];
    struct attempt *before = attempt_of(slot->newest);
    if (before != NULL)
        before->over = true;
    slot->newest = a->number;
    MUST(count == (open->whole ? 1 : 0));
    MUST(open->deadline_ms > 0 && open->crashes <= 1);
    if (open->whole) {
        MUST(slot->finished && payloads[0].len == message_size(slot->message) && open->size_hint == payloads[0].len);
        a->bytes = payloads[0].len;
        a->complete = true;
    }
}

static void note_chunk(const Weir__ScanChunk *chunk, const struct link_payload *payloads, size_t count)
{
    struct attempt *a = attempt_of(chunk->attempt);
    MUST(count == 1);
    if (a == NULL)
        return; /* older than the ring */
    MUST(!a->whole && !a->complete && !a->over && chunk->offset == a->bytes);
    a->bytes += payloads[0].len;
    MUST(payloads[0].len <= CHUNK && a->bytes <= a->allowed);
    a->complete = chunk->last;
    MUST(!chunk->last || (t.slots[a->slot].finished && a->bytes == message_size(t.slots[a->slot].message)));
}

static enum link_status fake_send(void *arg, void *link, Weir__Frame *frame, const struct link_payload *payloads,
                                  size_t count)
{
    (void)arg;
    size_t index = *(size_t *)link;
    MUST(t.up[index]);
    if (t.status[index] != LINK_OK)
        return t.status[index];
    if (frame->body_case == WEIR__FRAME__BODY_SCAN_OPEN) {
        note_open(index, frame->scan_open, payloads, count);
    } else if (frame->body_case == WEIR__FRAME__BODY_SCAN_CHUNK) {
        note_chunk(frame->scan_chunk, payloads, count);
    } else {
        MUST(frame->body_case == WEIR__FRAME__BODY_SCAN_CANCEL);
        struct attempt *a = attempt_of(frame->scan_cancel->attempt);
        if (a != NULL)
            a->over = true;
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
}

static const struct scan_io fake_io = { fake_send, fake_random, fake_wake };

static void end(struct slot *slot)
{
    MUST(slot->finished && slot->ends == 0);
    slot->ends++;
    slot->scan = NULL;
}

static void on_done(void *arg, const struct scan_result *result)
{
    struct slot *slot = arg;
    end(slot);
    if (result->verdict != WEIR__VERDICT__VERDICT_CLEAN)
        return;
    MUST(t.honest != NULL && t.honest->complete && !t.honest->over && t.honest->number == slot->newest);
    MUST(&t.slots[t.honest->slot] == slot && t.honest->bytes == message_size(slot->message));
}

static void on_busy(void *arg, const char *why)
{
    (void)why;
    end(arg);
}

static void on_pressure(void *arg, bool full)
{
    const struct slot *slot = arg;
    MUST(slot->ends == 0 && (!full || !slot->finished));
}

static const struct scan_handlers handlers = { on_done, on_busy, on_pressure };

/* --- events --- */

static void say(size_t link, Weir__Frame__BodyCase kind, void *body)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = kind;
    frame.scan_grant = body;
    struct link_message message = { .frame = &frame };
    if (t.up[link])
        machine_message(t.machine, t.scanners[link], &message);
    machine_deliver(t.machine);
}

static void say_verdict(size_t link, ProtobufCBinaryData id, uint64_t attempt, uint64_t size,
                        Weir__UnknownReason reason)
{
    Weir__ScanVerdict body = WEIR__SCAN_VERDICT__INIT;
    body.id = id;
    body.attempt = attempt;
    body.size = size;
    body.reason = reason;
    body.verdict = reason == 0 ? WEIR__VERDICT__VERDICT_CLEAN : WEIR__VERDICT__VERDICT_UNKNOWN;
    say(link, WEIR__FRAME__BODY_SCAN_VERDICT, &body);
}

static void link_down(size_t link)
{
    for (size_t i = 0; i < ATTEMPTS && i < t.attempt_count; i++)
        t.attempts[i].over = t.attempts[i].over || t.attempts[i].link == link;
    t.up[link] = false;
}

static void answer(struct attempt *a, unsigned how)
{
    ProtobufCBinaryData id = wire_bytes(t.slots[a->slot].id.text, QUEUE_ID_LEN);
    uint64_t size = a->bytes;
    switch (how % 12) {
    case 0:
    case 1:
        if (a->complete) {
            t.honest = a;
            say_verdict(a->link, id, a->number, size, 0);
            t.honest = NULL;
            a->over = true;
        } else if (!a->whole && a->allowed == 0) {
            Weir__ScanGrant grant = WEIR__SCAN_GRANT__INIT;
            grant.id = id;
            grant.attempt = a->number;
            grant.allowed = a->allowed = 2 * CHUNK + 100;
            say(a->link, WEIR__FRAME__BODY_SCAN_GRANT, &grant);
        }
        break;
    case 2:
        if (a->allowed > 0) {
            Weir__ScanCredit credit = WEIR__SCAN_CREDIT__INIT;
            credit.id = id;
            credit.attempt = a->number;
            credit.allowed = a->allowed = a->allowed + CHUNK + 7;
            say(a->link, WEIR__FRAME__BODY_SCAN_CREDIT, &credit);
        }
        break;
    case 3: {
        Weir__ScanBusy busy = WEIR__SCAN_BUSY__INIT;
        busy.id = id;
        busy.attempt = a->number;
        busy.reason = (Weir__BusyReason)(1 + how / 12 % 4);
        say(a->link, WEIR__FRAME__BODY_SCAN_BUSY, &busy);
        a->over = true;
        break;
    }
    case 4:
        say_verdict(a->link, id, a->number ^ 1, size, 0);
        break;
    case 5:
        say_verdict(a->link, id, a->number, size + 1, 0);
        a->over = true;
        break;
    case 6:
        say_verdict(a->link, wire_text("01ABCDEFGH9999999999"), a->number, size, 0);
        a->over = true;
        break;
    case 7:
        say_verdict((a->link + 1) % LINKS, id, a->number, size, 0);
        break;
    case 8:
        if (!a->complete && t.slots[a->slot].message != NULL) {
            say_verdict(a->link, id, a->number, message_size(t.slots[a->slot].message), 0);
            a->over = true;
        }
        break;
    case 9:
        say_verdict(a->link, id, a->number, size, WEIR__UNKNOWN_REASON__UNKNOWN_CRASH);
        a->over = true;
        break;
    case 10:
        say_verdict(a->link, id, a->number, size, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS);
        a->over = true;
        break;
    default:
        say(a->link, WEIR__FRAME__BODY_SCAN_HELLO, NULL);
        break;
    }
}

static void say_load(size_t link, unsigned arg)
{
    Weir__ScannerLoad load = WEIR__SCANNER_LOAD__INIT;
    load.state = (Weir__NodeState)(arg & 8 ? 1 + (arg >> 4) % 4 : WEIR__NODE_STATE__NODE_ACTIVE);
    load.slots = 3;
    load.slots_used = arg & 3;
    load.bytes = 1000;
    say(link, WEIR__FRAME__BODY_SCANNER_LOAD, &load);
}

static void slot_clear(struct slot *slot)
{
    struct attempt *a = attempt_of(slot->newest);
    if (a != NULL)
        a->over = true;
    machine_cancel(&slot->scan);
    message_free(&slot->message);
    *slot = (struct slot){ .id = slot->id }; /* late answers still come for it */
}

static void slot_start(struct slot *slot, unsigned arg)
{
    slot_clear(slot);
    for (size_t i = 0; i < ATTEMPTS; i++) /* nobody answers for a slot's former message */
        if (&t.slots[t.attempts[i].slot] == slot)
            t.attempts[i] = (struct attempt){ .over = true };
    snprintf(slot->id.text, sizeof slot->id.text, "01ABCDEFGH%010u", ++t.ids);
    slot->message = message_new(&t.budget);
    struct scan_facts facts = { .client = "192.0.2.1", .recipients = 1, .size_hint = arg & 1 ? arg * 100u : 0 };
    slot->scan = machine_start(t.machine, &slot->id, slot->message, &facts, &handlers, slot);
}

static void pass_time(unsigned ticks)
{
    while (ticks-- > 0) {
        t.clock += TICK_US;
        machine_time(t.machine, t.clock);
        machine_tick(t.machine);
        machine_deliver(t.machine);
    }
}

static void scanner_new(size_t link)
{
    char name[] = "scanner-0";
    name[8] = (char)('1' + link);
    t.scanners[link] = machine_scanner_add(t.machine, name, &t.names[link]);
}

static void scanner_event(size_t link, unsigned event, unsigned arg)
{
    switch (event) {
    case 0:
        link_down(link); /* a link that comes up twice was down in between */
        t.up[link] = true;
        t.status[link] = LINK_OK;
        machine_up(t.machine, t.scanners[link]);
        break;
    case 1:
        link_down(link);
        machine_down(t.machine, t.scanners[link]);
        break;
    case 2:
        say_load(link, arg);
        break;
    case 3:
        t.status[link] = (enum link_status)(arg % 3);
        if (t.up[link] && t.status[link] == LINK_OK)
            machine_writable(t.machine, t.scanners[link]);
        break;
    case 4:
        machine_scanner_set(t.machine, t.scanners[link], arg & 4, arg & 8);
        break;
    default:
        link_down(link);
        machine_scanner_remove(t.machine, &t.scanners[link]);
        scanner_new(link);
        break;
    }
}

static void slot_event(struct slot *slot, unsigned event, unsigned arg)
{
    static const char zeroes[256 * 100];
    struct error why;
    if (slot->scan == NULL || event == 0) {
        slot_start(slot, arg);
    } else if (event == 1 && !slot->finished) {
        if (message_append(slot->message, zeroes, arg * 100u, &why) == MESSAGE_OK)
            machine_feed(slot->scan);
    } else if (event == 2 && !slot->finished) {
        slot->finished = true;
        machine_finish(slot->scan);
    } else if (event == 3) {
        slot_clear(slot);
    }
}

static void happen(unsigned event, unsigned arg)
{
    machine_time(t.machine, t.clock);
    if (event < 6 * LINKS)
        scanner_event(event % LINKS, event / LINKS, arg);
    else if (event < 64)
        slot_event(&t.slots[event % SLOTS], event / SLOTS % 4, arg);
    else if (event < 80)
        pass_time(arg);
    else if (event < 84)
        t.clock += arg * 1000000u;
    else if (t.attempt_count > 0 && !t.attempts[event % ATTEMPTS].over && t.attempts[event % ATTEMPTS].number != 0)
        answer(&t.attempts[event % ATTEMPTS], arg);
    else if (t.attempt_count > 0 && t.attempts[(t.attempt_count - 1) % ATTEMPTS].number != 0)
        answer(&t.attempts[(t.attempt_count - 1) % ATTEMPTS], arg);
    machine_deliver(t.machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_open(&(struct log_options){ .ident = "fuzz", .level = LOG_CRIT });
    memset(&t, 0, sizeof t);
    t.settings =
        (struct edge_settings){ .scan_wait = 2000, .scan_stall = 500, .scan_timeout = 5000, .scan_chunk = CHUNK };
    t.budget = (struct message_budget){ .memory_max = 1 << 22, .threshold = 1 << 22, .tmp_dir = "/tmp" };
    metrics_init(&t.metrics);
    t.machine = machine_new(&t.settings, &fake_io, NULL, &t.metrics);
    for (size_t i = 0; i < LINKS; i++) {
        t.names[i] = i;
        scanner_new(i);
    }
    size_t pairs = size / 2 < 2000 ? size / 2 : 2000;
    for (size_t i = 0; i < pairs; i++)
        happen(data[2 * i], data[2 * i + 1]);

    pass_time(2 * 5000 / MACHINE_TICK_MS);
    for (size_t i = 0; i < SLOTS; i++) {
        MUST(t.slots[i].ends == (t.slots[i].finished ? 1 : 0));
        slot_clear(&t.slots[i]);
    }
    MUST(t.machine->scan_count == 0 && t.machine->attempt_count == 0 && t.machine->asking == NULL);
    for (size_t i = 0; i < LINKS; i++)
        machine_scanner_remove(t.machine, &t.scanners[i]);
    machine_free(&t.machine);
    metrics_fini(&t.metrics);
    return 0;
}

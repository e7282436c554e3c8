/*
 * machine.c - what a scan does next
 *
 * Every event ends in one of few moves: scan_enter() (the only writer of a scan's state, and of the list it stands in),
 * scan_restart() (this attempt is over, look for another scanner), scan_end() (the result is known). Looking for a
 * scanner is done for all who wait, in order, by machine_seek(), at the end of every event that may have made room.
 *
 * Invariant (I2): a result other than busy or unknown comes only from a verdict whose attempt, link, id and size are
 * those of a message that was sent to its last byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/scan/state.h"

#define STEP_MAX_US    250000u        /* see machine.h */
#define NONE_LIVE_US   1000000u       /* no scanner at all for that long: a finished message is not kept waiting */
#define LIVE_GRACE_US  300000u        /* links break for 100 ms when some node's key is revoked: no reason for a 421 */
#define CHUNK_MAX      (1024u * 1024) /* what scanners are ready for */
#define NO_DEADLINE_MS (24u * 3600 * 1000) /* of a message still being received: it gets CANCEL, not an alarm clock */
#define CANCELS_MAX    256                 /* kept for a full link; a scanner forgets the others by their deadlines */

static void scan_leave_place(struct scan *scan)
{
    if (scan->state == SCAN_SEEKING)
        TAILQ_REMOVE(scan->finished ? &scan->machine->waiting : &scan->machine->receiving, scan, place);
    else if (scan->state >= SCAN_OPENED && scan->state <= SCAN_ASKED)
        TAILQ_REMOVE(&scan->scanner->scans, scan, place);
}

/* Behind all whose turn is not later. One of a flood comes last, one of a client that has nothing else here among the first: so it is looked for
 * from both ends. Who comes back keeps its turn. */
static void waiting_insert(struct machine *machine, struct scan *scan)
{
    if (scan->order == 0) {
        scan->cost = fair_mail_cost(message_size(scan->message));
        scan->order = fair_turn(&machine->fair, scan->source, scan->cost);
    }
    struct scan *last = TAILQ_LAST(&machine->waiting, scan_list), *next = TAILQ_FIRST(&machine->waiting);
    if (last == NULL || last->order <= scan->order) {
        TAILQ_INSERT_TAIL(&machine->waiting, scan, place);
        return;
    }
    while (next->order <= scan->order)
        next = TAILQ_NEXT(next, place);
    TAILQ_INSERT_BEFORE(next, scan, place);
}

static void scan_tell(struct scan *scan)
{
    struct machine *machine = scan->machine;
    if (!scan->in_tells) {
        TAILQ_INSERT_TAIL(&machine->tells, scan, tell);
        scan->in_tells = true;
        machine->io->wake(machine->arg);
    }
}

/* Full: the client should be paused, because more than a chunk waits and the scanner takes none. Before a grant it
 * comes at once, and while nobody takes the message it is kept until it is finished, so only streaming pauses. */
static void scan_review_pressure(struct scan *scan)
{
    bool full = scan->state == SCAN_STREAMING && !scan->finished &&
                (scan->sent >= scan->allowed || scan->scanner->full) &&
                message_size(scan->message) - scan->sent > scan->machine->chunk;
    scan->full = full;
    if (full != scan->told_full && scan->handlers.pressure != NULL)
        scan_tell(scan);
}

void scan_enter(struct scan *scan, enum scan_state state)
{
    scan_leave_place(scan);
    if (scan->state == SCAN_SEEKING && state == SCAN_ENDED && scan->finished)
        fair_give_back(&scan->machine->fair, scan->source, scan->order, scan->cost);
    scan->state = state;
    if (state == SCAN_SEEKING && scan->finished)
        waiting_insert(scan->machine, scan);
    else if (state == SCAN_SEEKING)
        TAILQ_INSERT_TAIL(&scan->machine->receiving, scan, place);
    else if (state >= SCAN_OPENED && state <= SCAN_ASKED)
        TAILQ_INSERT_TAIL(&scan->scanner->scans, scan, place);
    scan_review_pressure(scan);
}

/* --- the end of an attempt, and of a scan --- */

static bool scan_has_attempt(const struct scan *scan)
{
    return scan->state >= SCAN_OPENED && scan->state <= SCAN_ASKED;
}

static enum link_status scanner_send_cancel(struct machine *machine, struct scanner *scanner,
                                            const struct pending_cancel *which)
{
    Weir__ScanCancel cancel = WEIR__SCAN_CANCEL__INIT;
    cancel.id = wire_bytes(which->id.text, QUEUE_ID_LEN);
    cancel.attempt = which->attempt;
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_SCAN_CANCEL;
    frame.scan_cancel = &cancel;
    return machine->io->send(machine->arg, scanner->link, &frame, NULL, 0);
}

static void scanner_cancel(struct machine *machine, struct scanner *scanner, const struct scan *scan)
{
    struct pending_cancel which = { .id = scan->id, .attempt = scan->attempt };
    if (!scanner->up)
        return;
    if (!scanner->full && scanner_send_cancel(machine, scanner, &which) != LINK_FULL)
        return;
    scanner->full = true;
    if (scanner->cancel_count == CANCELS_MAX)
        return;
    if (scanner->cancel_count == scanner->cancel_cap) {
        scanner->cancel_cap = scanner->cancel_cap != 0 ? scanner->cancel_cap * 2 : 8;
        scanner->cancels = xrealloc(scanner->cancels, scanner->cancel_cap * sizeof *scanner->cancels);
    }
    scanner->cancels[scanner->cancel_count++] = which;
}

/* The attempt is over for us; `cancel` where the scanner may not know it yet. The scan stands nowhere until it enters a
 * state. */
void scan_drop_attempt(struct scan *scan, bool cancel, enum scan_state next)
{
    struct machine *machine = scan->machine;
    struct scanner *scanner = scan->scanner;
    if (cancel)
        scanner_cancel(machine, scanner, scan);
    attempts_remove(machine, scan);
    if (machine->asking == scan)
        machine->asking = NULL;
    if (scanner->used > 0)
        scanner->used--;
    scan_enter(scan, next); /* leaves the scanner's list, so before the pointer goes */
    scan->scanner = NULL;
    scan->sent = scan->allowed = 0;
}

/* Where a scan without an attempt belongs. One whose scanner answered wrongly while it was still being received is left
 * alone until it is finished: one more wrong answer is its last. So is one that starved: its room is for the others. */
enum scan_state scan_resting_state(const struct scan *scan)
{
    bool streamed = scan->faults == 0 && !scan->starved;
    bool wanted = scan->finished || (streamed && message_size(scan->message) > scan->machine->chunk);
    return wanted ? SCAN_SEEKING : SCAN_QUIET;
}

static void scan_forget_refusals(struct scan *scan)
{
    scan->refusal_count = 0;
    scan->seeking_since = scan->machine->now;
}

void scan_restart(struct scan *scan, enum replay_why why, bool cancel)
{
    scan->result.replays++;
    metric_add(scan->machine->replays[why], 1);
    scan_forget_refusals(scan);
    scan_drop_attempt(scan, cancel, scan_resting_state(scan));
}

static void scan_end(struct scan *scan, bool cancel)
{
    if (scan_has_attempt(scan))
        scan_drop_attempt(scan, cancel, SCAN_ENDED);
    else
        scan_enter(scan, SCAN_ENDED);
    TAILQ_REMOVE(&scan->machine->finished, scan, age);
    scan_tell(scan);
}

void scan_end_verdict(struct scan *scan, bool cancel)
{
    struct machine *machine = scan->machine;
    const struct scan_result *result = &scan->result;
    metric_observe(machine->duration[result->verdict], (double)(machine->now - scan->finished_at) / 1e6);
    if (result->verdict == WEIR__VERDICT__VERDICT_UNKNOWN)
        metric_add(machine->unknown[result->reason], 1);
    fair_serve(&machine->fair, scan->order); /* not when it is sent: a scanner may say BUSY, and then nobody was served */
    scan_end(scan, cancel);
}

void scan_end_unknown(struct scan *scan, Weir__UnknownReason reason, const char *words, bool cancel)
{
    scan->result.verdict = WEIR__VERDICT__VERDICT_UNKNOWN;
    scan->result.reason = reason;
    snprintf(scan->result.signature, sizeof scan->result.signature, "%s", words);
    if (scan->scanner != NULL)
        snprintf(scan->result.scanner, sizeof scan->result.scanner, "%s", scan->scanner->name);
    scan_end_verdict(scan, cancel);
}

static void scan_end_busy(struct scan *scan, struct metric *counter, const char *why)
{
    metric_add(counter, 1);
    scan->busy_why = why;
    scan_end(scan, false);
}

/* --- sending --- */

/* Bytes of the message, borrowed from it or copied to the scratch buffer. NULL: the file cannot be read. */
static const void *scan_bytes(struct scan *scan, uint64_t offset, size_t len, struct error *why)
{
    struct machine *machine = scan->machine;
    size_t got = 0;
    const void *bytes = message_peek(scan->message, offset, len, &got);
    if (len == 0 || (bytes != NULL && got == len))
        return len == 0 ? "" : bytes;
    for (got = 0; got < len;) {
        ssize_t n = message_read(scan->message, offset + got, machine->scratch + got, len - got, why);
        if (n <= 0) {
            if (n == 0)
                error_set(why, "the file ends at %llu", (unsigned long long)(offset + got));
            return NULL;
        }
        got += (size_t)n;
    }
    return machine->scratch;
}

/* Our own disk failed: nothing that a scanner could answer for. Told when the client has finished. */
static void scan_unreadable(struct scan *scan, const struct error *why)
{
    log_write(LOG_ERR, "%s: cannot read the message back for scanning: %s", scan->id.text, why->text);
    if (scan->finished) {
        scan_end_unknown(scan, WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE, "cannot read the message back",
                         scan_has_attempt(scan));
        return;
    }
    scan->faults++;
    if (scan_has_attempt(scan))
        scan_drop_attempt(scan, true, SCAN_QUIET);
}

static uint32_t scan_deadline_ms(const struct scan *scan)
{
    const struct machine *machine = scan->machine;
    if (!scan->finished)
        return NO_DEADLINE_MS;
    uint64_t end = scan->finished_at + machine->scan_timeout;
    uint64_t left = end > machine->now ? (end - machine->now) / 1000 : 0;
    return left == 0 ? 1 : left > NO_DEADLINE_MS ? NO_DEADLINE_MS : (uint32_t)left;
}

/* What the client announced, with room for what clients forget to count (line ends, our own header). 0: it said nothing
 * useful. */
static uint64_t scan_promise(const struct scan *scan)
{
    if (scan->finished)
        return message_size(scan->message);
    if (scan->size_hint == 0 || scan->size_hint > WIRE_SIZE_MAX / 2)
        return 0;
    uint64_t hint = scan->size_hint + scan->size_hint / 16 + 4096;
    return message_size(scan->message) <= hint ? hint : 0;
}

/* Sends OPEN, with the message where that is complete and fits one frame. false: it was not sent. */
static bool scan_open(struct scan *scan, struct scanner *scanner)
{
    struct machine *machine = scan->machine;
    uint64_t size = message_size(scan->message);
    Weir__ScanOpen open = WEIR__SCAN_OPEN__INIT;
    open.id = wire_bytes(scan->id.text, QUEUE_ID_LEN);
    do
        open.attempt = machine->io->random(machine->arg);
    while (open.attempt == 0 || attempts_find(machine, open.attempt) != NULL);
    open.size_hint = scan_promise(scan);
    open.deadline_ms = scan_deadline_ms(scan);
    open.whole = scan->finished && size <= machine->chunk;
    open.complete = scan->finished;
    open.crashes = scan->crashes;
    open.client = wire_text_cut(scan->client, WIRE_CLIENT_MAX);
    open.helo = wire_text_cut(scan->helo, WIRE_ADDRESS_MAX);
    open.sender = wire_text_cut(scan->sender, WIRE_ADDRESS_MAX);
    open.recipients = scan->recipients;
    open.spam = scan->spam;
    open.attachments = scan->names_attachments;
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_SCAN_OPEN;
    frame.scan_open = &open;

    struct link_payload payload = { 0 };
    if (open.whole) {
        struct error why;
        payload.len = (size_t)size;
        payload.data = scan_bytes(scan, 0, payload.len, &why);
        if (payload.data == NULL) {
            scan_unreadable(scan, &why);
            return false;
        }
    }
    enum link_status status = machine->io->send(machine->arg, scanner->link, &frame, &payload, open.whole ? 1 : 0);
    if (status != LINK_OK) {
        scanner->full = true; /* a link that is gone says so itself soon; until then it takes nothing either */
        return false;
    }
    scan->attempt = open.attempt;
    scan->scanner = scanner;
    scan->promised = open.size_hint;
    scan->allowed = 0;
    scan->sent = open.whole ? size : 0;
    scan->progress_at = machine->now;
    scanner->used++;
    attempts_add(machine, scan);
    scan_enter(scan, open.whole ? SCAN_ASKED : SCAN_OPENED);
    return true;
}

/* Sends one chunk. false: none can be sent now. */
static bool scan_send_chunk(struct scan *scan)
{
    struct machine *machine = scan->machine;
    uint64_t unsent = message_size(scan->message) - scan->sent;
    uint64_t window = scan->allowed > scan->sent ? scan->allowed - scan->sent : 0;
    uint64_t len = unsent < window ? unsent : window;
    if (len > machine->chunk)
        len = machine->chunk;
    bool last = scan->finished && len == unsent;
    if (scan->scanner->full || (!last && (len == 0 || (len < machine->chunk && len < window))))
        return false; /* a part of a chunk only at the end of the message or of the window */

    struct error why;
    const void *bytes = scan_bytes(scan, scan->sent, (size_t)len, &why);
    if (bytes == NULL) {
        scan_unreadable(scan, &why);
        return false;
    }
    Weir__ScanChunk chunk = WEIR__SCAN_CHUNK__INIT;
    chunk.id = wire_bytes(scan->id.text, QUEUE_ID_LEN);
    chunk.attempt = scan->attempt;
    chunk.offset = scan->sent;
    chunk.last = last;
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_SCAN_CHUNK;
    frame.scan_chunk = &chunk;
    struct link_payload payload = { .data = bytes, .len = (size_t)len };
    if (machine->io->send(machine->arg, scan->scanner->link, &frame, &payload, 1) != LINK_OK) {
        scan->scanner->full = true;
        return false;
    }
    scan->sent += len;
    scan->progress_at = machine->now;
    if (last)
        scan_enter(scan, SCAN_ASKED);
    return true;
}

void scan_stream(struct scan *scan)
{
    while (scan->state == SCAN_STREAMING && scan_send_chunk(scan))
        ;
    if (scan->state == SCAN_STREAMING)
        scan_review_pressure(scan);
}

/* --- looking for a scanner --- */

static void scan_seek(struct scan *scan, enum choice choice)
{
    struct scanner *scanner;
    while (scan->state == SCAN_SEEKING && (scanner = scanners_choose(scan->machine, scan, choice)) != NULL)
        scan_open(scan, scanner);
}

static void seek_list(struct machine *machine, struct scan_list *list)
{
    for (struct scan *scan = TAILQ_FIRST(list), *next; scan != NULL && scanners_some_room(machine); scan = next) {
        next = TAILQ_NEXT(scan, place);
        scan_seek(scan, CHOICE_ROOM);
    }
}

/* Finished messages first, the longest waiting first. The first of those left also asks scanners that look full, one
 * after the other: the load is up to 200 ms old. Nobody else asks meanwhile: he would overtake it, and most answers are
 * BUSY, each for a message sent in vain. */
void machine_seek(struct machine *machine)
{
    seek_list(machine, &machine->waiting);
    struct scan *first = TAILQ_FIRST(&machine->waiting);
    if (first != NULL && machine->asking == NULL) {
        scan_seek(first, CHOICE_ASK);
        if (scan_has_attempt(first))
            machine->asking = first;
    }
    seek_list(machine, &machine->receiving);
}

/* Gives up where nobody is left to ask: at the end of scan_wait, or as soon as there has been no scanner for a second.
 */
static void scan_give_up_if_due(struct scan *scan)
{
    struct machine *machine = scan->machine;
    uint64_t none_wait = machine->scan_wait < NONE_LIVE_US ? machine->scan_wait : NONE_LIVE_US;
    if (!scanners_some_live(machine)) {
        if (machine->now - machine->live_at >= none_wait)
            scan_end_busy(scan, machine->given_up_none, "no scanner is live");
        return;
    }
    if (machine->now - scan->seeking_since < machine->scan_wait)
        return;
    scan_seek(scan, CHOICE_ASK); /* whoever has not said BUSY yet */
    if (scan->state == SCAN_SEEKING)
        scan_end_busy(scan, machine->given_up_busy, "every scanner is busy");
}

/* --- scanners come, go and fall silent --- */

static void scanner_lose_scans(struct scanner *scanner, enum replay_why why, bool cancel)
{
    struct scan *scan;
    while ((scan = TAILQ_FIRST(&scanner->scans)) != NULL)
        scan_restart(scan, why, cancel);
}

struct scanner *machine_scanner_add(struct machine *machine, const char *name, void *link)
{
    struct scanner *scanner = xcalloc(1, sizeof *scanner);
    scanner->serial = ++machine->last_serial;
    snprintf(scanner->name, sizeof scanner->name, "%s", name);
    scanner->link = link;
    TAILQ_INIT(&scanner->scans);
    TAILQ_INSERT_TAIL(&machine->scanners, scanner, next);
    machine->scanner_count++;
    machine->candidates = xrealloc(machine->candidates, machine->scanner_count * sizeof(struct scanner *));
    return scanner;
}

static void scanner_free(struct machine *machine, struct scanner *scanner)
{
    TAILQ_REMOVE(&machine->scanners, scanner, next);
    machine->scanner_count--;
    free(scanner->cancels);
    free(scanner);
}

void machine_scanner_remove(struct machine *machine, struct scanner **scanner)
{
    if (*scanner == NULL)
        return;
    scanners_some_live(machine);
    (*scanner)->up = false;
    scanner_lose_scans(*scanner, REPLAY_REMOVED, false);
    scanner_free(machine, *scanner);
    *scanner = NULL;
    machine_seek(machine);
}

void machine_scanner_set(struct machine *machine, struct scanner *scanner, bool drained, bool lost)
{
    scanners_some_live(machine);
    scanner->drained = drained;
    scanner->lost = lost;
    machine_seek(machine);
}

void machine_up(struct machine *machine, struct scanner *scanner)
{
    scanner_lose_scans(scanner, REPLAY_DOWN, false); /* a new connection: the old one's attempts are gone */
    scanner->up = true;
    scanner->full = false;
    scanner->state = WEIR__NODE_STATE__NODE_UNSPECIFIED; /* it may be another process than before: it will say */
    scanner->cancel_count = 0;
    machine_seek(machine);
}

void machine_down(struct machine *machine, struct scanner *scanner)
{
    scanners_some_live(machine);
    scanner->up = false;
    scanner_lose_scans(scanner, REPLAY_DOWN, false);
    machine_seek(machine);
}

void machine_writable(struct machine *machine, struct scanner *scanner)
{
    scanner->full = false;
    size_t sent = 0;
    while (sent < scanner->cancel_count && !scanner->full)
        if (scanner_send_cancel(machine, scanner, &scanner->cancels[sent]) == LINK_FULL)
            scanner->full = true;
        else
            sent++;
    scanner->cancel_count -= sent;
    if (scanner->cancel_count > 0)
        memmove(scanner->cancels, scanner->cancels + sent, scanner->cancel_count * sizeof *scanner->cancels);
    for (struct scan *scan = TAILQ_FIRST(&scanner->scans), *next; scan != NULL; scan = next) {
        next = TAILQ_NEXT(scan, place);
        scan_stream(scan);
    }
    machine_seek(machine);
}

/* --- time --- */

void machine_time(struct machine *machine, uint64_t now_us)
{
    uint64_t step = now_us > machine->real ? now_us - machine->real : 0;
    machine->real = now_us;
    machine->now += step < STEP_MAX_US ? step : STEP_MAX_US;
}

/* One scan is stuck at a scanner that is otherwise well: OPEN is answered at once, and a window that stays shut for
 * longer than a message may look for a scanner is no better than BUSY. */
static void scanner_leave_stuck(struct machine *machine, struct scanner *scanner)
{
    for (struct scan *scan = TAILQ_FIRST(&scanner->scans), *next; scan != NULL; scan = next) {
        next = TAILQ_NEXT(scan, place);
        uint64_t idle = machine->now - scan->progress_at;
        if (scan->state == SCAN_OPENED && idle > machine->scan_stall)
            scan_restart(scan, REPLAY_UNANSWERED, true);
        else if (scan->state == SCAN_STREAMING && scan->sent >= scan->allowed &&
                 message_size(scan->message) > scan->sent && idle > machine->scan_wait + machine->scan_stall)
            scan_restart(scan, REPLAY_WINDOW, true);
    }
}

static void scanner_tick(struct machine *machine, struct scanner *scanner)
{
    if (machine->now - scanner->heard > machine->scan_stall)
        scanner_lose_scans(scanner, REPLAY_STALL, true);
    else
        scanner_leave_stuck(machine, scanner);
    if (scanner->up && scanner->full)
        machine_writable(machine, scanner);
}

void machine_tick(struct machine *machine)
{
    scanners_some_live(machine);
    struct scanner *scanner;
    size_t live = 0;
    TAILQ_FOREACH(scanner, &machine->scanners, next)
    {
        scanner_tick(machine, scanner);
        live += scanner_is_live(machine, scanner);
    }
    struct scan *scan, *next;
    while ((scan = TAILQ_FIRST(&machine->finished)) != NULL &&
           machine->now - scan->finished_at >= machine->scan_timeout) {
        if (scan->state == SCAN_SEEKING)
            scan_end_busy(scan, machine->given_up_busy, "every scanner is busy");
        else
            scan_end_unknown(scan, WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT, "no verdict in time", true);
    }
    machine_seek(machine);
    size_t waiting = 0;
    for (scan = TAILQ_FIRST(&machine->waiting); scan != NULL; scan = next) {
        next = TAILQ_NEXT(scan, place);
        scan_give_up_if_due(scan);
        waiting++;
    }
    metric_set(machine->live, (double)live);
    metric_set(machine->waiting_gauge, (double)waiting);
    metric_set(machine->in_flight, (double)machine->scan_count);
}

bool machine_has_live(struct machine *machine)
{
    return scanners_some_live(machine) || machine->now - machine->live_at < LIVE_GRACE_US;
}

bool machine_has_room(struct machine *machine)
{
    return scanners_some_room(machine);
}

/* --- scans, as their owners see them --- */

struct scan *machine_start(struct machine *machine, const struct queue_id *id, const struct message *message,
                           const struct scan_facts *facts, const struct scan_handlers *handlers, void *arg)
{
    const char *texts[3] = { facts->client, facts->helo, facts->sender };
    size_t lens[3], all = 0;
    for (size_t i = 0; i < 3; i++) {
        lens[i] = texts[i] != NULL ? strlen(texts[i]) : 0;
        all += lens[i] + 1;
    }
    struct scan *scan = xcalloc(1, sizeof *scan + all);
    char *copy = (char *)(scan + 1);
    const char **copies[3] = { &scan->client, &scan->helo, &scan->sender };
    for (size_t i = 0; i < 3; i++) {
        *copies[i] = copy;
        if (lens[i] > 0)
            memcpy(copy, texts[i], lens[i]);
        copy += lens[i] + 1;
    }
    scan->machine = machine;
    scan->state = SCAN_QUIET;
    scan->id = *id;
    scan->message = message;
    scan->handlers = *handlers;
    scan->arg = arg;
    scan->source = fair_source(scan->client, lens[0]);
    scan->recipients = facts->recipients;
    scan->size_hint = facts->size_hint;
    scan->names_attachments = facts->attachments;
    scan->spam = facts->spam != NULL ? wire_copy(&facts->spam->base) : NULL;
    machine->scan_count++;
    return scan;
}

struct machine *machine_of(const struct scan *scan)
{
    return scan->machine;
}

/* The client announced less than it sends, so the scanner has put aside too little: it must hear the truth. */
static void scan_leave_if_outgrown(struct scan *scan)
{
    if (!scan_has_attempt(scan) || scan->promised == 0 || message_size(scan->message) <= scan->promised)
        return;
    scan->size_hint = 0;
    scan_restart(scan, REPLAY_OUTGREW, true);
}

void machine_feed(struct scan *scan)
{
    struct machine *machine = scan->machine;
    if (scan->finished)
        return;
    scan_leave_if_outgrown(scan);
    if (scan->state == SCAN_QUIET && scan_resting_state(scan) == SCAN_SEEKING)
        scan_enter(scan, SCAN_SEEKING);
    scan_stream(scan);
    if (scan->state == SCAN_SEEKING)
        machine_seek(machine);
}

void machine_finish(struct scan *scan)
{
    struct machine *machine = scan->machine;
    if (scan->finished)
        return;
    if (!scan_has_attempt(scan))
        scan_enter(scan, SCAN_QUIET); /* out of the list of those being received */
    scan->finished = true;
    scan->finished_at = machine->now;
    TAILQ_INSERT_TAIL(&machine->finished, scan, age);
    scan_forget_refusals(scan);
    if (!scan_has_attempt(scan)) {
        scan_enter(scan, SCAN_SEEKING);
    } else {
        scan_leave_if_outgrown(scan);
        scan_stream(scan);
        scan_review_pressure(scan);
    }
    machine_seek(machine);
    if (scan->state == SCAN_SEEKING)
        scan_give_up_if_due(scan);
}

static void scan_free(struct scan *scan)
{
    scan->machine->scan_count--;
    free(scan->refusals);
    if (scan->spam != NULL)
        weir__spam_facts__free_unpacked(scan->spam, NULL);
    if (scan->result.spam != NULL)
        weir__spam_result__free_unpacked(scan->result.spam, NULL);
    free(scan);
}

void machine_cancel(struct scan **ptr)
{
    struct scan *scan = *ptr;
    *ptr = NULL;
    if (scan == NULL || scan->state == SCAN_TELLING)
        return;
    struct machine *machine = scan->machine;
    if (scan->in_tells)
        TAILQ_REMOVE(&machine->tells, scan, tell);
    scan->in_tells = true; /* nothing is told any more */
    if (scan->finished && scan->state != SCAN_ENDED)
        TAILQ_REMOVE(&machine->finished, scan, age);
    if (scan_has_attempt(scan))
        scan_drop_attempt(scan, true, SCAN_ENDED);
    else
        scan_enter(scan, SCAN_ENDED);
    scan_free(scan);
    machine_seek(machine); /* its slot is free */
}

void machine_deliver(struct machine *machine)
{
    struct scan *scan;
    while ((scan = TAILQ_FIRST(&machine->tells)) != NULL) {
        TAILQ_REMOVE(&machine->tells, scan, tell);
        scan->in_tells = false;
        if (scan->state != SCAN_ENDED) {
            bool changed = scan->full != scan->told_full;
            scan->told_full = scan->full;
            if (changed)
                scan->handlers.pressure(scan->arg, scan->full); /* may cancel the scan */
            continue;
        }
        scan_enter(scan, SCAN_TELLING);
        if (scan->busy_why != NULL)
            scan->handlers.busy(scan->arg, scan->busy_why);
        else
            scan->handlers.done(scan->arg, &scan->result);
        scan_free(scan);
    }
}

/* --- the machine --- */

void machine_set_times(struct machine *machine, const struct edge_settings *settings)
{
    machine->scan_wait = settings->scan_wait * 1000;
    machine->scan_stall = settings->scan_stall * 1000;
    machine->scan_timeout = settings->scan_timeout * 1000;
}

struct machine *machine_new(const struct edge_settings *settings, const struct scan_io *io, void *arg,
                            struct metrics *metrics)
{
    struct machine *machine = xcalloc(1, sizeof *machine);
    machine->io = io;
    machine->arg = arg;
    machine->now = NONE_LIVE_US; /* so that a start does not count as a scanner seen just now */
    machine_set_times(machine, settings);
    machine->chunk = settings->scan_chunk < CHUNK_MAX ? settings->scan_chunk : CHUNK_MAX;
    machine->scratch = xmalloc((size_t)machine->chunk);
    TAILQ_INIT(&machine->scanners);
    TAILQ_INIT(&machine->waiting);
    TAILQ_INIT(&machine->receiving);
    TAILQ_INIT(&machine->finished);
    TAILQ_INIT(&machine->tells);
    fair_init(&machine->fair, io->random(arg));
    attempts_init(machine);
    machine_make_metrics(machine, metrics);
    return machine;
}

void machine_free(struct machine **ptr)
{
    struct machine *machine = *ptr;
    if (machine == NULL)
        return;
    weir_assert(machine->scan_count == 0);
    struct scanner *scanner;
    while ((scanner = TAILQ_FIRST(&machine->scanners)) != NULL)
        scanner_free(machine, scanner);
    attempts_fini(machine);
    free(machine->candidates);
    free(machine->scratch);
    free(machine);
    *ptr = NULL;
}

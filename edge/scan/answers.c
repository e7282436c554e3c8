/*
 * answers.c - what scanners say, and which of it is believed
 *
 * An answer finds its scan by the attempt's number. It counts only from the scanner that was asked, for this message's id, in a state
 * that it fits, and a verdict only for the size that was sent; anything else is dropped and counted, and costs the attempt.
 */
#include <stdio.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/scan/state.h"
#include "proto/wire.h"

#define FAULTS_MAX 2

static void drop_answer(struct machine *machine, enum drop_reason reason)
{
    metric_add(machine->dropped[reason], 1);
}

/* An answer to this attempt that cannot be true. The attempt is worth nothing any more; a second such answer ends the
 * scan. */
static void scan_fault(struct scan *scan, enum drop_reason reason, const char *what)
{
    struct scanner *scanner = scan->scanner;
    drop_answer(scan->machine, reason);
    log_write(LOG_WARNING, "%s: scanner %s: dropped an answer: %s", scan->id.text, scanner->name, what);
    scan->faults++;
    scan->avoid = scanner->serial;
    if (scan->finished && scan->faults >= FAULTS_MAX)
        scan_end_unknown(scan, WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL, what, true);
    else
        scan_restart(scan, REPLAY_PROTOCOL, true);
}

/* The scan an answer is for; NULL after dropping it. */
static struct scan *scan_of_answer(struct machine *machine, const struct scanner *scanner,
                                   const ProtobufCBinaryData *id, uint64_t attempt)
{
    struct scan *scan = attempts_find(machine, attempt);
    if (scan == NULL) {
        drop_answer(machine, DROP_LATE); /* over, or never ours */
        return NULL;
    }
    if (scan->scanner != scanner) {
        drop_answer(machine, DROP_SCANNER);
        return NULL;
    }
    if (!wire_equal(id, scan->id.text)) {
        scan_fault(scan, DROP_ID, "it is for another message");
        return NULL;
    }
    return scan;
}

static void on_grant(struct scan *scan, const Weir__ScanGrant *grant)
{
    if (scan->state != SCAN_OPENED) {
        drop_answer(scan->machine, DROP_STATE);
        return;
    }
    if (scan->machine->asking == scan)
        scan->machine->asking = NULL;
    scan->allowed = grant->allowed;
    scan->progress_at = scan->machine->now;
    scan_enter(scan, SCAN_STREAMING);
    scan_stream(scan);
}

static void on_credit(struct scan *scan, const Weir__ScanCredit *credit)
{
    if (scan->state == SCAN_OPENED) {
        drop_answer(scan->machine, DROP_STATE);
        return;
    }
    if (credit->allowed <= scan->allowed)
        return;
    scan->allowed = credit->allowed;
    scan->progress_at = scan->machine->now;
    scan_stream(scan);
}

static void scan_note_refusal(struct scan *scan, const struct scanner *scanner)
{
    size_t i = 0;
    while (i < scan->refusal_count && scan->refusals[i].serial != scanner->serial)
        i++;
    if (i == scan->refusal_count) {
        scan->refusals = xrealloc(scan->refusals, (i + 1) * sizeof *scan->refusals);
        scan->refusals[i].serial = scanner->serial;
        scan->refusal_count++;
    }
    scan->refusals[i].at = scan->machine->now;
}

static void on_busy(struct scan *scan, const Weir__ScanBusy *busy)
{
    struct scanner *scanner = scan->scanner;
    metric_add(scan->machine->busy[busy->reason], 1);
    scan_note_refusal(scan, scanner);
    if (scan->state == SCAN_STREAMING && busy->reason == WEIR__BUSY_REASON__BUSY_BYTES)
        scan->starved = true;
    scan_drop_attempt(scan, false, scan_resting_state(scan));
    if (busy->reason == WEIR__BUSY_REASON__BUSY_SLOTS && scanner->used < scanner->slots)
        scanner->used = scanner->slots;
    else if (busy->reason == WEIR__BUSY_REASON__BUSY_DRAINING)
        scanner->state = WEIR__NODE_STATE__NODE_DRAINING;
    else if (busy->reason == WEIR__BUSY_REASON__BUSY_STARTING)
        scanner->state = WEIR__NODE_STATE__NODE_STARTING;
}

static void scan_take_result(struct scan *scan, const Weir__ScanVerdict *verdict)
{
    struct scan_result *result = &scan->result;
    result->verdict = verdict->verdict;
    result->reason = verdict->verdict == WEIR__VERDICT__VERDICT_UNKNOWN ? verdict->reason
                                                                        : WEIR__UNKNOWN_REASON__UNKNOWN_UNSPECIFIED;
    wire_string(result->signature, sizeof result->signature, &verdict->signature);
    snprintf(result->scanner, sizeof result->scanner, "%s", scan->scanner->name); /* not what it calls itself */
    wire_string(result->engine, sizeof result->engine, &verdict->engine);
    wire_string(result->signatures, sizeof result->signatures, &verdict->signatures);
    result->spam = verdict->spam != NULL ? wire_copy(&verdict->spam->base) : NULL;
    result->attachment_count = (unsigned)verdict->n_attachments;
    for (size_t i = 0; i < verdict->n_attachments; i++) {
        const Weir__Attachment *attachment = verdict->attachments[i];
        result->attachments[i] = (struct scan_attachment){ .kind = attachment->kind, .size = attachment->size };
        memcpy(result->attachments[i].hash, attachment->hash.data, WIRE_HASH_LEN);
    }
    result->scan_us = verdict->scan_us;
    result->queue_us = verdict->queue_us;
}

static void on_verdict(struct scan *scan, const Weir__ScanVerdict *verdict)
{
    if (scan->state != SCAN_ASKED) {
        scan_fault(scan, DROP_EARLY, "a verdict before the message's last byte was sent");
        return;
    }
    if (verdict->size != message_size(scan->message)) {
        scan_fault(scan, DROP_SIZE, "the verdict is for another size");
        return;
    }
    if (verdict->verdict == WEIR__VERDICT__VERDICT_UNKNOWN && verdict->reason == WEIR__UNKNOWN_REASON__UNKNOWN_CRASH) {
        scan->crashes++;
        if (scan->crashes == 1) {
            scan->avoid = scan->scanner->serial;
            scan_restart(scan, REPLAY_CRASH, false);
            return;
        }
        scan_take_result(scan, verdict);
        scan->result.reason = WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE; /* the second worker it killed */
    } else if (verdict->verdict == WEIR__VERDICT__VERDICT_UNKNOWN && verdict->reason == WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE &&
               !scan->engine_failed) {
        /* Its disk may be full, or its engine broken: then it fails fast, and looks the least loaded of all. */
        scan->engine_failed = true;
        scan->avoid = scan->scanner->serial;
        scan_restart(scan, REPLAY_ENGINE, false);
        return;
    } else {
        scan_take_result(scan, verdict);
    }
    scan_end_verdict(scan, false);
}

void machine_message(struct machine *machine, struct scanner *scanner, const struct link_message *message)
{
    const Weir__Frame *frame = message->frame;
    struct scan *scan;
    scanner->heard = machine->now;
    switch (frame->body_case) {
    case WEIR__FRAME__BODY_SCANNER_LOAD:
        scanners_some_live(machine);
        scanner_on_load(scanner, frame->scanner_load);
        if (machine->asking != NULL && machine->asking->scanner == scanner)
            machine->asking = NULL; /* BUSY would have come first: it was taken */
        break;
    case WEIR__FRAME__BODY_SCAN_GRANT:
        scan = scan_of_answer(machine, scanner, &frame->scan_grant->id, frame->scan_grant->attempt);
        if (scan != NULL)
            on_grant(scan, frame->scan_grant);
        break;
    case WEIR__FRAME__BODY_SCAN_CREDIT:
        scan = scan_of_answer(machine, scanner, &frame->scan_credit->id, frame->scan_credit->attempt);
        if (scan != NULL)
            on_credit(scan, frame->scan_credit);
        break;
    case WEIR__FRAME__BODY_SCAN_BUSY:
        scan = scan_of_answer(machine, scanner, &frame->scan_busy->id, frame->scan_busy->attempt);
        if (scan != NULL)
            on_busy(scan, frame->scan_busy);
        break;
    case WEIR__FRAME__BODY_SCAN_VERDICT:
        scan = scan_of_answer(machine, scanner, &frame->scan_verdict->id, frame->scan_verdict->attempt);
        if (scan != NULL)
            on_verdict(scan, frame->scan_verdict);
        break;
    default:
        drop_answer(machine, DROP_KIND);
        break;
    }
    machine_seek(machine);
}

/*
 * service.c - the scan conversation, server side: edges in, verdicts out
 *
 * Every OPEN is answered at once, from memory. What a peer may make us hold is reserved before it is allowed to send it; a chunk that
 * was not allowed ends its scan. Answers that ZeroMQ has no room for are kept with their scan and tried again; there are at most as
 * many of them as slots, after that the answer to an OPEN is BUSY.
 */
#include "scanner/service.h"
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "proto/wire.h"
#include "scanner/engine.h"
#include "scanner/scans.h"
#include "scanner/spam/spam.h"

#define HELLO_MS 5000    /* a peer that has not said hello for longer gets no load broadcasts */
#define TICK_MS 50       /* while answers wait or uploads starve */
#define ENGINE_FAILURES_MAX 3 /* messages in a row: then it is hardly them */
#define STARVE_MS 10000  /* an upload that gets no more bytes for that long is given back to the edge */

struct service_metrics {
    struct metric *clean, *bad, *unknown;
    struct metric *unknown_reasons[WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL + 1];
    struct metric *busy[WEIR__BUSY_REASON__BUSY_STARTING + 1];
    struct metric *scan_seconds, *queue_seconds;
    struct metric *uploading, *queued, *running, *answering, *free_slots, *credits;
    struct metric *memory, *disk;
    struct metric *spare, *narrowed, *expired, *cancelled, *gave_way, *bad_chunks, *bad_opens;
};

struct service {
    struct event_base *base;
    struct service_options options;
    struct link_server *server;
    struct pool *pool;
    struct spam *spam; /* NULL: no engines */
    struct metrics *metrics;
    struct service_metrics m;
    void (*changed)(void *arg);
    void *arg;
    struct admission admission;
    struct scans scans;
    size_t verdicts_owed;
    size_t starved;
    bool draining;
    unsigned engine_failures;            /* in a row */
    char failed_id[QUEUE_ID_LEN + 1];    /* the last of them */
    Weir__NodeState told; /* the state in the last broadcast */
    uint64_t told_gc;
    struct event *load;
    struct event *tick;
};

struct peer {
    uint64_t hello_ms;
};

static void service_dispatch(struct service *service);

/* --- answers --- */

static enum link_status send_busy(struct service *service, struct link_peer *peer, const char *id, uint64_t attempt,
                                  Weir__BusyReason reason)
{
    Weir__ScanBusy busy = WEIR__SCAN_BUSY__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;
    busy.id = wire_bytes(id, QUEUE_ID_LEN);
    busy.attempt = attempt;
    busy.reason = reason;
    frame.body_case = WEIR__FRAME__BODY_SCAN_BUSY;
    frame.scan_busy = &busy;
    metric_add(service->m.busy[reason], 1);
    return link_server_send(service->server, peer, &frame, NULL, 0);
}

static enum link_status send_allowed(struct service *service, const struct scan *scan, bool grant)
{
    Weir__ScanGrant granted = WEIR__SCAN_GRANT__INIT;
    Weir__ScanCredit credit = WEIR__SCAN_CREDIT__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;
    if (grant) {
        granted.id = wire_bytes(scan->id, QUEUE_ID_LEN);
        granted.attempt = scan->attempt;
        granted.allowed = scan->allowed;
        frame.body_case = WEIR__FRAME__BODY_SCAN_GRANT;
        frame.scan_grant = &granted;
    } else {
        credit.id = wire_bytes(scan->id, QUEUE_ID_LEN);
        credit.attempt = scan->attempt;
        credit.allowed = scan->allowed;
        frame.body_case = WEIR__FRAME__BODY_SCAN_CREDIT;
        frame.scan_credit = &credit;
    }
    return link_server_send(service->server, scan->peer, &frame, NULL, 0);
}

static void name_attachments(const struct scan *scan, Weir__ScanVerdict *verdict, Weir__Attachment attachments[], Weir__Attachment *list[])
{
    if (scan->verdict == WEIR__VERDICT__VERDICT_UNKNOWN)
        return;
    for (uint32_t i = 0; i < scan->attachment_count; i++) {
        const struct packet_attachment *attachment = &scan->attachments[i];
        list[i] = &attachments[i];
        weir__attachment__init(list[i]);
        list[i]->hash = wire_bytes(attachment->hash, sizeof attachment->hash);
        list[i]->kind = (Weir__AttachmentKind)attachment->kind;
        list[i]->size = attachment->size;
    }
    verdict->attachments = list;
    verdict->n_attachments = scan->attachment_count;
}

static enum link_status send_verdict(struct service *service, const struct scan *scan)
{
    Weir__ScanVerdict verdict = WEIR__SCAN_VERDICT__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;
    verdict.id = wire_bytes(scan->id, QUEUE_ID_LEN);
    verdict.attempt = scan->attempt;
    verdict.verdict = scan->verdict;
    verdict.reason = scan->reason;
    verdict.signature = wire_text(scan->name);
    verdict.size = scan->size;
    verdict.scan_us = scan->scan_us;
    verdict.queue_us = scan->queue_us;
    verdict.engine = wire_text(scan->engine);
    verdict.signatures = wire_text(scan->signatures);
    verdict.generation = scan->generation;
    verdict.scanner = wire_text(service->options.node);
    if (scan->spam != NULL && scan->verdict == WEIR__VERDICT__VERDICT_CLEAN)
        verdict.spam = (Weir__SpamResult *)(uintptr_t)spam_check_result(scan->spam);
    Weir__Attachment attachments[CHANNEL_ATTACHMENTS_MAX], *list[CHANNEL_ATTACHMENTS_MAX];
    name_attachments(scan, &verdict, attachments, list);
    frame.body_case = WEIR__FRAME__BODY_SCAN_VERDICT;
    frame.scan_verdict = &verdict;
    return link_server_send(service->server, scan->peer, &frame, NULL, 0);
}

static void service_tick_soon(struct service *service)
{
    if (!event_pending(service->tick, EV_TIMEOUT, NULL))
        event_add(service->tick, &(struct timeval){ 0, TICK_MS * 1000 });
}

/* --- messages of our own --- */

struct examination {
    bool learn, has_features;
    struct packet_features features;
    examined_handler done; /* NULL: nobody wants to know any more */
    void *arg;
};

/* No scanner would find more, or it has killed a worker, and is to kill no other for the sake of what is learned of it. */
static bool is_of_message(Weir__UnknownReason reason)
{
    return reason == WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS || reason == WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE || reason == WEIR__UNKNOWN_REASON__UNKNOWN_CRASH;
}

static void examination_end(struct scan *scan)
{
    struct examination *examination = scan->examination;
    struct examined examined = { .why = NULL };
    scan->examination = NULL;
    if (!scan->judged)
        examined.why = "the scanner has no room";
    else if (scan->verdict != WEIR__VERDICT__VERDICT_CLEAN)
        examined.why = scan->name;
    else if (examination->learn && !examination->has_features)
        examined.why = "the native engine says nothing of it";
    examined.again = !scan->judged || (scan->verdict == WEIR__VERDICT__VERDICT_UNKNOWN && !is_of_message(scan->reason));
    if (examination->learn)
        examined.features = &examination->features;
    else if (scan->spam != NULL && examined.why == NULL)
        examined.spam = spam_check_result(scan->spam);
    if (examination->done != NULL)
        examination->done(examination->arg, &examined);
    free(examination);
}

void service_forget(struct examination **examination)
{
    if (*examination != NULL)
        (*examination)->done = NULL;
    *examination = NULL;
}

/* --- the end of a scan --- */

static void scan_feed(struct service *service, struct scan *scan)
{
    if (scan->starved_ms != 0)
        service->starved--;
    scan->starved_ms = 0;
}

static void scan_remove(struct service *service, struct scan *scan)
{
    scan_feed(service, scan);
    if (scan->owes == OWES_VERDICT)
        service->verdicts_owed--;
    if (scan->examination != NULL)
        examination_end(scan);
    spam_check_free(&scan->spam); /* it may be reading the body */
    free(scan->spam_facts);
    free(scan->attachments);
    admission_release(&service->admission, &scan->share);
    scans_remove(&service->scans, scan);
    if (service->starved > 0)
        service_tick_soon(service);
    if (service->draining && service->scans.count == 0)
        service->changed(service->arg);
}

static void scan_busy(struct service *service, struct scan *scan, Weir__BusyReason reason)
{
    if (scan->peer != NULL)
        send_busy(service, scan->peer, scan->id, scan->attempt, reason);
    scan_remove(service, scan);
}

/* Nobody waits for the answer any more. A worker cannot be told to stop, so a running scan keeps its slot until it ends. */
static void scan_abandon(struct service *service, struct scan *scan)
{
    if (scan->share.state == ADMISSION_RUNNING && !scan->judged) {
        spam_check_free(&scan->spam);
        scans_orphan(&service->scans, scan);
        pool_abandon(service->pool, scan);
    } else {
        scan_remove(service, scan);
    }
}

static void scan_answer(struct service *service, struct scan *scan)
{
    /* The bytes and the slot are free from here on; a verdict that cannot be sent yet is counted by itself. */
    if (scan->verdict != WEIR__VERDICT__VERDICT_CLEAN)
        spam_check_free(&scan->spam); /* nobody asks any more */
    admission_release(&service->admission, &scan->share);
    body_close(&scan->body);
    if (scan->peer != NULL && send_verdict(service, scan) == LINK_FULL) {
        scan->owes = OWES_VERDICT;
        service->verdicts_owed++;
        service_tick_soon(service);
        return;
    }
    scan_remove(service, scan);
}

static void scan_count(struct service *service, const struct scan *scan)
{
    switch (scan->verdict) {
    case WEIR__VERDICT__VERDICT_CLEAN:
        metric_add(service->m.clean, 1);
        log_write(LOG_INFO, "%s: verdict=clean size=%llu", scan->id, (unsigned long long)scan->size);
        break;
    case WEIR__VERDICT__VERDICT_BAD:
        metric_add(service->m.bad, 1);
        log_write(LOG_INFO, "%s: verdict=bad signature=%s size=%llu", scan->id, scan->name, (unsigned long long)scan->size);
        break;
    default:
        metric_add(service->m.unknown, 1);
        metric_add(service->m.unknown_reasons[scan->reason], 1);
        log_write(LOG_NOTICE, "%s: verdict=unknown why=\"%s\" size=%llu", scan->id, scan->name, (unsigned long long)scan->size);
        break;
    }
    metric_observe(service->m.scan_seconds, scan->scan_us / 1e6);
    metric_observe(service->m.queue_seconds, scan->queue_us / 1e6);
}

static void scan_unknown(struct scan *scan, Weir__UnknownReason reason, const char *words)
{
    scan->verdict = WEIR__VERDICT__VERDICT_UNKNOWN;
    scan->reason = reason;
    strcpy(scan->name, words); /* literals, shorter than name */
}

static void scan_take_outcome(struct scan *scan, const struct pool_outcome *outcome)
{
    scan->scan_us = outcome->scan_us;
    scan->generation = outcome->generation;
    memcpy(scan->engine, outcome->info->engine, sizeof scan->engine);
    memcpy(scan->signatures, outcome->info->signatures, sizeof scan->signatures);
    switch (outcome->end) {
    case POOL_ANSWERED:
        scan->verdict = outcome->verdict;
        scan->reason = outcome->reason;
        memcpy(scan->name, outcome->name, sizeof scan->name);
        break;
    case POOL_TIMEOUT:
        scan_unknown(scan, WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT, "killed: scan time over");
        break;
    default:
        if (scan->crashes > 0)
            scan_unknown(scan, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE, "killed two workers");
        else
            scan_unknown(scan, WEIR__UNKNOWN_REASON__UNKNOWN_CRASH, "killed its worker");
        break;
    }
}

/* One message may have come from several edges, or again: it counts once. */
static void service_watch_engine(struct service *service, const struct scan *scan)
{
    if (scan->verdict != WEIR__VERDICT__VERDICT_UNKNOWN) {
        service->engine_failures = 0;
    } else if (scan->reason == WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE && strcmp(scan->id, service->failed_id) != 0) {
        memcpy(service->failed_id, scan->id, sizeof service->failed_id);
        if (++service->engine_failures >= ENGINE_FAILURES_MAX) {
            service->engine_failures = 0;
            pool_suspect(service->pool);
        }
    }
}

/* A clean message waits for its spam engines, which were asked when the worker was: mostly they have answered. */
static void scan_settle(struct service *service, struct scan *scan)
{
    if (!scan->judged || (scan->verdict == WEIR__VERDICT__VERDICT_CLEAN && scan->spam != NULL && !spam_check_is_done(scan->spam)))
        return;
    if (scan->peer != NULL)
        scan_count(service, scan);
    scan_answer(service, scan);
}

static void on_spam(void *arg)
{
    struct scan *scan = arg;
    scan_settle(scan->service, scan);
}

/* The message is complete. */
static void scan_ask_spam(struct service *service, struct scan *scan)
{
    const struct body *body = &scan->body;
    struct spam_message message = { .bytes = body->bytes, .fd = body->fd, .offset = ENGINE_MAIL_PREFIX_LEN, .size = body->len };
    scan->service = service;
    if (scan->spam_facts != NULL && service->spam != NULL && (scan->examination == NULL || !scan->examination->learn))
        scan->spam = spam_check_new(service->spam, &scan->spam_facts, &message, on_spam, scan);
}

static void scan_take_attachments(struct scan *scan, const struct packet_findings *findings)
{
    if (!scan->names_attachments || findings == NULL || findings->attachment_count == 0)
        return;
    scan->attachment_count = findings->attachment_count;
    scan->attachments = xmemdup(findings->attachments, findings->attachment_count * sizeof *findings->attachments);
}

static void on_pool_done(void *arg, void *job, const struct pool_outcome *outcome)
{
    struct service *service = arg;
    struct scan *scan = job;
    if (outcome->end == POOL_LOST) { /* not its doing: the edge asks another scanner, and no crash is counted */
        scan_busy(service, scan, WEIR__BUSY_REASON__BUSY_STARTING);
        return;
    }
    scan_take_outcome(scan, outcome);
    service_watch_engine(service, scan);
    scan->judged = true;
    if (scan->examination != NULL && outcome->features != NULL) {
        scan->examination->features = *outcome->features;
        scan->examination->has_features = true;
    }
    if (scan->spam != NULL)
        spam_check_take_native(scan->spam, outcome->native);
    scan_take_attachments(scan, outcome->findings);
    scan_settle(service, scan);
    service_dispatch(service);
}

/* --- from the queue to a worker --- */

static uint32_t wall_ms(const struct scanner_settings *settings, uint64_t size)
{
    uint64_t mib = (size + (1u << 20) - 1) >> 20;
    uint64_t ms = settings->scan_time + settings->scan_time_per_mib * mib;
    return ms > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)ms;
}

static bool scan_is_expired(const struct scan *scan, uint64_t now_us)
{
    return scan->deadline_ms != 0 && now_us - scan->complete_us > (uint64_t)scan->deadline_ms * 1000;
}

static struct scan *scan_of(struct admission_share *share)
{
    return (struct scan *)((char *)share - offsetof(struct scan, share));
}

/* Who is next in a lane, for an idle worker of which kind. While others are scanned there a newcomer gets a spare worker, which comes before theirs. */
static struct admission_share *service_next(const struct service *service, enum lane lane, bool *spare)
{
    const struct admission *admission = &service->admission;
    struct admission_share *next = NULL;
    *spare = true;
    if (admission->runs[lane] != NULL && pool_has_idle(service->pool, lane, true))
        next = admission_next(admission, lane, true);
    if (next != NULL)
        return next;
    *spare = false;
    return pool_has_idle(service->pool, lane, false) ? admission_next(admission, lane, false) : NULL;
}

static void service_dispatch_lane(struct service *service, enum lane lane)
{
    struct admission_share *next;
    bool spare;
    while ((next = service_next(service, lane, &spare)) != NULL) {
        struct scan *scan = scan_of(next);
        uint64_t now = clock_us();
        if (scan_is_expired(scan, now)) { /* the edge has given it up */
            metric_add(service->m.expired, 1);
            scan_remove(service, scan);
            continue;
        }
        uint64_t waited = now - scan->complete_us;
        scan->queue_us = waited > UINT32_MAX ? UINT32_MAX : (uint32_t)waited;
        struct packet_facts facts;
        struct pool_message message = { .bytes = scan->body.bytes, .fd = scan->body.fd, .size = body_size(&scan->body) };
        if (scan->spam == NULL || !spam_check_tells_native(scan->spam, &facts))
            memset(&facts, 0, sizeof facts);
        facts.attachments = scan->names_attachments;
        if (facts.wanted || facts.attachments)
            message.facts = &facts;
        if (scan->examination != NULL && scan->examination->learn) {
            spam_facts_tell(scan->spam_facts, &facts);
            facts.learn = true;
            message.facts = &facts;
        }
        if (!pool_run(service->pool, lane, spare, &message, wall_ms(service->options.settings, scan->size), scan))
            return;
        admission_run(&service->admission, next);
        metric_add(service->m.spare, spare);
    }
}

static void service_dispatch(struct service *service)
{
    for (int lane = 0; lane < LANES; lane++)
        service_dispatch_lane(service, (enum lane)lane);
}

/* --- uploads --- */

static bool upload_extend(struct service *service, struct scan *scan)
{
    struct error why;
    if (!admission_extend(&service->admission, &scan->share))
        return false;
    if (scan->share.on_disk && !scan->body.on_disk && !body_move_to_disk(&scan->body, service->options.settings->spool_dir, &why)) {
        log_write(LOG_ERR, "%s: %s", scan->id, why.text);
        return false;
    }
    return true;
}

/*
 * Allows the sender what is reserved, a window ahead of what has come. A sender that comes near the end of a reservation that does not
 * hold the whole message gets another window, when the budget has one. false: it can send nothing more for now.
 */
static bool upload_allow(struct service *service, struct scan *scan)
{
    uint64_t window = admission_window(&service->admission, &scan->share), len = scan->body.len;
    bool whole_reserved = scan->share.reserved >= scan->size_hint && len < scan->size_hint;
    if (!whole_reserved && scan->share.reserved - len < service->options.settings->window / 2)
        upload_extend(service, scan);
    uint64_t allowed = scan->share.reserved - len < window ? scan->share.reserved : len + window;
    if (scan->body.fd < 0)
        return false;
    if (allowed > scan->allowed && (allowed - scan->allowed >= window / 4 || len == scan->allowed || allowed == scan->share.reserved)) {
        scan->allowed = allowed;
        if (send_allowed(service, scan, false) == LINK_FULL) {
            scan->owes = OWES_CREDIT;
            service_tick_soon(service);
        }
    }
    admission_set_ahead(&service->admission, &scan->share, scan->allowed > len ? scan->allowed - len : 0);
    return scan->allowed > len;
}

/* After bytes came, and again while it starves. */
static void upload_go_on(struct service *service, struct scan *scan)
{
    if (upload_allow(service, scan)) {
        scan_feed(service, scan);
    } else if (scan->body.fd < 0) { /* lost on its way to disk */
        scan_busy(service, scan, WEIR__BUSY_REASON__BUSY_BYTES);
    } else if (scan->starved_ms == 0) {
        scan->starved_ms = clock_ms();
        service->starved++;
        service_tick_soon(service);
    } else if (clock_ms() - scan->starved_ms >= STARVE_MS) {
        scan_busy(service, scan, WEIR__BUSY_REASON__BUSY_BYTES);
    }
}

/* Of a client that has taken all slots the last message goes back to its edge, which keeps it in line, for one whose turn is before it. */
static bool service_make_way(struct service *service, const struct scan *scan, uint64_t size)
{
    struct admission_share *last = admission_give_way(&service->admission, &scan->share, size);
    if (last == NULL)
        return false;
    metric_add(service->m.gave_way, 1);
    scan_busy(service, scan_of(last), WEIR__BUSY_REASON__BUSY_SLOTS);
    return true;
}

static void upload_complete(struct service *service, struct scan *scan)
{
    scan_feed(service, scan);
    scan->size = scan->body.len;
    scan->complete_us = clock_us();
    scan->owes = OWES_NOTHING;
    if (admission_complete(&service->admission, &scan->share, scan->size) ||
        (service_make_way(service, scan, scan->size) && admission_complete(&service->admission, &scan->share, scan->size))) {
        scan_ask_spam(service, scan);
        service_dispatch(service);
    } else {
        scan_busy(service, scan, WEIR__BUSY_REASON__BUSY_SLOTS);
    }
}

/* --- frames --- */

static bool admission_refused(struct service *service, struct link_peer *peer, const Weir__ScanOpen *open,
                              enum admission_answer answer)
{
    if (answer == ADMISSION_OK)
        return false;
    send_busy(service, peer, (const char *)open->id.data, open->attempt,
              answer == ADMISSION_NO_SLOT ? WEIR__BUSY_REASON__BUSY_SLOTS : WEIR__BUSY_REASON__BUSY_BYTES);
    return true;
}

static bool service_takes_new(struct service *service, Weir__BusyReason *reason)
{
    if (service->draining)
        *reason = WEIR__BUSY_REASON__BUSY_DRAINING;
    else if (!pool_is_serving(service->pool))
        *reason = WEIR__BUSY_REASON__BUSY_STARTING;
    else if (service->verdicts_owed >= service->admission.limits.slots)
        *reason = WEIR__BUSY_REASON__BUSY_SLOTS;
    else
        return true;
    return false;
}

static void scan_start(struct service *service, struct scan *scan, const struct link_payload *whole)
{
    struct error why;
    const char *spool_dir = service->options.settings->spool_dir;
    bool kept = whole != NULL ? body_keep(&scan->body, whole->data, whole->len, scan->share.on_disk, spool_dir, &why)
                              : body_open(&scan->body, scan->share.on_disk, spool_dir, &why);
    if (!kept) {
        log_write(LOG_ERR, "%s: %s", scan->id, why.text);
        scan_busy(service, scan, WEIR__BUSY_REASON__BUSY_BYTES);
        return;
    }
    if (whole != NULL) {
        scan->size = whole->len;
        scan->complete_us = clock_us();
        scan_ask_spam(service, scan);
        service_dispatch(service);
        return;
    }
    uint64_t window = admission_window(&service->admission, &scan->share);
    scan->allowed = scan->share.reserved < window ? scan->share.reserved : window;
    admission_set_ahead(&service->admission, &scan->share, scan->allowed);
    metric_add(service->m.narrowed, window < service->options.settings->window);
    if (send_allowed(service, scan, true) == LINK_FULL) {
        scan->owes = OWES_GRANT;
        service_tick_soon(service);
    }
}

static enum admission_answer scan_admit(struct service *service, struct scan *scan, const Weir__ScanOpen *open, const struct link_payload *whole)
{
    return whole != NULL ? admission_take_whole(&service->admission, &scan->share, whole->len)
                         : admission_take_upload(&service->admission, &scan->share, open->size_hint, open->complete);
}

static void on_open(struct service *service, struct link_peer *peer, const struct link_message *message)
{
    const Weir__ScanOpen *open = message->frame->scan_open;
    const char *id = (const char *)open->id.data;
    const struct link_payload *whole = open->whole ? &message->payloads[0] : NULL;
    Weir__BusyReason reason;
    if (!service_takes_new(service, &reason)) {
        send_busy(service, peer, id, open->attempt, reason);
        return;
    }
    struct scan *scan = scans_add(&service->scans, peer, id, open->attempt);
    if (scan == NULL) { /* the same attempt twice: the first one goes on */
        metric_add(service->m.bad_opens, 1);
        return;
    }
    scan->size_hint = open->size_hint;
    scan->crashes = open->crashes;
    scan->deadline_ms = open->deadline_ms;
    scan->spam_facts = open->spam != NULL && service->spam != NULL ? spam_facts_new(open) : NULL;
    scan->names_attachments = open->attachments;
    scan->share.source = fair_source((const char *)open->client.data, open->client.len);
    scan->share.network = fair_network((const char *)open->client.data, open->client.len);
    enum admission_answer answer = scan_admit(service, scan, open, whole);
    if (answer == ADMISSION_NO_SLOT && open->complete && service_make_way(service, scan, whole != NULL ? whole->len : open->size_hint))
        answer = scan_admit(service, scan, open, whole);
    if (admission_refused(service, peer, open, answer))
        scan_remove(service, scan);
    else
        scan_start(service, scan, whole);
}

struct examination *service_examine(struct service *service, const Weir__ScanOpen *open, const void *bytes, size_t len, bool learn, examined_handler done, void *arg)
{
    const struct link_payload whole = { bytes, len };
    Weir__BusyReason reason;
    struct scan *scan = service_takes_new(service, &reason) ? scans_add(&service->scans, NULL, (const char *)open->id.data, open->attempt) : NULL;
    if (scan == NULL)
        return NULL;
    scan->spam_facts = spam_facts_new(open);
    scan->share.source = fair_source((const char *)open->client.data, open->client.len);
    if (scan_admit(service, scan, open, &whole) != ADMISSION_OK) {
        scan_remove(service, scan);
        return NULL;
    }
    struct examination *examination = scan->examination = xcalloc(1, sizeof *examination);
    *examination = (struct examination){ .learn = learn, .done = done, .arg = arg };
    scan_start(service, scan, &whole);
    return examination;
}

static void on_chunk(struct service *service, struct link_peer *peer, const struct link_message *message)
{
    const Weir__ScanChunk *chunk = message->frame->scan_chunk;
    const struct link_payload *payload = &message->payloads[0];
    struct scan *scan = scans_find(&service->scans, peer, (const char *)chunk->id.data, chunk->attempt);
    struct error why;
    if (scan == NULL || scan->share.state != ADMISSION_UPLOADING) { /* normal after a BUSY: chunks were under way */
        metric_add(service->m.bad_chunks, 1);
        return;
    }
    if (body_check_chunk(scan->body.len, scan->allowed, chunk->offset, payload->len) != BODY_CHUNK_OK) {
        metric_add(service->m.bad_chunks, 1);
        log_write(LOG_WARNING, "%s: chunk at %llu does not fit: %llu have come, %llu are allowed", scan->id,
                  (unsigned long long)chunk->offset, (unsigned long long)scan->body.len, (unsigned long long)scan->allowed);
        scan_busy(service, scan, WEIR__BUSY_REASON__BUSY_BYTES); /* it can never become whole here */
        return;
    }
    if (!body_append(&scan->body, payload->data, payload->len, &why)) {
        log_write(LOG_ERR, "%s: %s", scan->id, why.text);
        scan_busy(service, scan, WEIR__BUSY_REASON__BUSY_BYTES);
    } else if (chunk->last) {
        upload_complete(service, scan);
    } else {
        upload_go_on(service, scan);
    }
}

static void on_cancel(struct service *service, struct link_peer *peer, const struct link_message *message)
{
    const Weir__ScanCancel *cancel = message->frame->scan_cancel;
    struct scan *scan = scans_find(&service->scans, peer, (const char *)cancel->id.data, cancel->attempt);
    if (scan == NULL)
        return; /* crossed our answer */
    metric_add(service->m.cancelled, 1);
    scan_abandon(service, scan);
}

/* --- load --- */

static void send_load(struct service *service, struct link_peer *peer)
{
    const struct admission *admission = &service->admission;
    const struct engine_info *info = pool_info(service->pool);
    Weir__ScannerLoad load = WEIR__SCANNER_LOAD__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;
    load.node = wire_text(service->options.node);
    load.state = service_state(service);
    load.slots = (uint32_t)admission->limits.slots;
    load.slots_used = (uint32_t)admission_used(admission);
    load.bytes = admission->limits.memory + admission->limits.disk;
    load.bytes_used = admission->memory + admission->disk;
    load.generation = pool_generation(service->pool);
    load.signatures = wire_text(info != NULL ? info->signatures : NULL);
    frame.body_case = WEIR__FRAME__BODY_SCANNER_LOAD;
    frame.scanner_load = &load;
    link_server_send(service->server, peer, &frame, NULL, 0); /* lost ones do not matter */
}

static void send_load_if_greeted(void *arg, struct link_peer *peer)
{
    const struct peer *data = link_peer_data(peer);
    if (data != NULL && clock_ms() - data->hello_ms <= HELLO_MS)
        send_load(arg, peer);
}

static void service_show(struct service *service)
{
    const struct admission *admission = &service->admission;
    uint64_t used = admission_used(admission), slots = admission->limits.slots;
    double free_slots = used < slots ? (double)(slots - used) : 0;
    metric_set(service->m.uploading, (double)(admission->uploads + admission->held));
    metric_set(service->m.queued, (double)admission->queued);
    metric_set(service->m.running, (double)admission->running);
    metric_set(service->m.answering, (double)service->verdicts_owed);
    metric_set(service->m.free_slots, free_slots);
    metric_set(service->m.credits, service_state(service) == WEIR__NODE_STATE__NODE_ACTIVE ? free_slots : 0);
    metric_set(service->m.memory, (double)admission->memory);
    metric_set(service->m.disk, (double)admission->disk);
}

static void service_broadcast(struct service *service)
{
    service->told = service_state(service);
    service_show(service);
    link_server_each(service->server, send_load_if_greeted, service);
}

static void on_load_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    service_broadcast(arg);
}

static void on_hello(struct service *service, struct link_peer *peer)
{
    struct peer *data = link_peer_data(peer);
    bool first = data == NULL;
    if (first) {
        data = xcalloc(1, sizeof *data);
        link_peer_set_data(peer, data);
    }
    data->hello_ms = clock_ms();
    if (first)
        send_load(service, peer);
}

/* --- the link --- */

static void on_message(void *arg, struct link_peer *peer, const struct link_message *message)
{
    struct service *service = arg;
    if (link_peer_role(peer) != WEIR__ROLE__ROLE_EDGE) { /* scanners and coordinators have no mail */
        metric_add(service->m.bad_opens, 1);
        return;
    }
    switch (message->frame->body_case) {
    case WEIR__FRAME__BODY_SCAN_HELLO:
        on_hello(service, peer);
        break;
    case WEIR__FRAME__BODY_SCAN_OPEN:
        on_open(service, peer, message);
        break;
    case WEIR__FRAME__BODY_SCAN_CHUNK:
        on_chunk(service, peer, message);
        break;
    case WEIR__FRAME__BODY_SCAN_CANCEL:
        on_cancel(service, peer, message);
        break;
    default: /* a valid frame of another conversation */
        metric_add(service->m.bad_opens, 1);
        break;
    }
}

static void on_gone(void *arg, struct link_peer *peer)
{
    struct service *service = arg;
    for (struct scan *scan = service->scans.first, *next; scan != NULL; scan = next) {
        next = scan->next;
        if (scan->peer == peer)
            scan_abandon(service, scan);
    }
    free(link_peer_data(peer));
    link_peer_set_data(peer, NULL);
    service_dispatch(service);
}

/* --- time --- */

static void scan_send_owed(struct service *service, struct scan *scan)
{
    if (scan->owes == OWES_VERDICT) {
        if (send_verdict(service, scan) != LINK_FULL)
            scan_remove(service, scan);
    } else if (send_allowed(service, scan, scan->owes == OWES_GRANT) != LINK_FULL) {
        scan->owes = OWES_NOTHING;
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct service *service = arg;
    bool owing = false;
    for (struct scan *scan = service->scans.first, *next; scan != NULL; scan = next) {
        next = scan->next;
        if (scan->owes != OWES_NOTHING) {
            owing = true;
            scan_send_owed(service, scan);
        } else if (scan->starved_ms != 0) {
            upload_go_on(service, scan);
        }
    }
    if (owing || service->starved > 0)
        service_tick_soon(service);
}

/* No generation serves: whatever waits for one is better off elsewhere. */
static void service_send_away(struct service *service)
{
    for (struct scan *scan = service->scans.first, *next; scan != NULL; scan = next) {
        next = scan->next;
        if (scan->share.state == ADMISSION_QUEUED || scan->share.state == ADMISSION_UPLOADING)
            scan_busy(service, scan, WEIR__BUSY_REASON__BUSY_STARTING);
    }
}

static void on_pool_changed(void *arg)
{
    struct service *service = arg;
    if (!pool_is_serving(service->pool))
        service_send_away(service);
    service_dispatch(service);
    if (service_state(service) != service->told || pool_gc_done(service->pool) != service->told_gc) {
        service->told_gc = pool_gc_done(service->pool);
        service_broadcast(service);
        service->changed(service->arg);
    } else {
        service_show(service);
    }
}

/* --- life --- */

static struct admission_limits limits_of(const struct scanner_settings *settings)
{
    return (struct admission_limits){ .slots = settings->slots, .memory = settings->memory,
                                      .memory_threshold = settings->memory_threshold, .disk = settings->disk,
                                      .window = settings->window, .source_window = settings->source_window, .large_message = settings->large_message };
}

static void service_make_metrics(struct service *service)
{
    static const char *const unknown[] = { NULL, "limits", "timeout", "crash", "unscannable", "engine", "protocol" };
    static const char *const busy[] = { NULL, "slots", "bytes", "draining", "starting" };
    struct metrics *metrics = service->metrics;
    service->m.clean = metrics_counter(metrics, "weir_scans_total", "verdict=\"clean\"");
    service->m.bad = metrics_counter(metrics, "weir_scans_total", "verdict=\"bad\"");
    service->m.unknown = metrics_counter(metrics, "weir_scans_total", "verdict=\"unknown\"");
    for (size_t i = 1; i < sizeof unknown / sizeof unknown[0]; i++)
        service->m.unknown_reasons[i] = metrics_counter(metrics, "weir_scan_unknown_total", "reason=\"%s\"", unknown[i]);
    for (size_t i = 1; i < sizeof busy / sizeof busy[0]; i++)
        service->m.busy[i] = metrics_counter(metrics, "weir_scan_busy_total", "reason=\"%s\"", busy[i]);
    service->m.scan_seconds =
        metrics_histogram(metrics, "weir_engine_scan_seconds", metrics_seconds_bounds, metrics_seconds_count, NULL);
    service->m.queue_seconds =
        metrics_histogram(metrics, "weir_scan_queue_seconds", metrics_seconds_bounds, metrics_seconds_count, NULL);
    service->m.uploading = metrics_gauge(metrics, "weir_scanner_slots", "state=\"uploading\"");
    service->m.queued = metrics_gauge(metrics, "weir_scanner_slots", "state=\"queued\"");
    service->m.running = metrics_gauge(metrics, "weir_scanner_slots", "state=\"running\"");
    service->m.answering = metrics_gauge(metrics, "weir_scanner_slots", "state=\"answering\"");
    service->m.free_slots = metrics_gauge(metrics, "weir_scanner_slots", "state=\"free\"");
    service->m.credits = metrics_gauge(metrics, "weir_scanner_credits", NULL);
    service->m.memory = metrics_gauge(metrics, "weir_scanner_bytes", "kind=\"memory\"");
    service->m.disk = metrics_gauge(metrics, "weir_scanner_bytes", "kind=\"disk\"");
    service->m.spare = metrics_counter(metrics, "weir_scans_spare_total", NULL);
    service->m.narrowed = metrics_counter(metrics, "weir_scan_uploads_narrowed_total", NULL);
    service->m.expired = metrics_counter(metrics, "weir_scans_dropped_total", "why=\"deadline\"");
    service->m.cancelled = metrics_counter(metrics, "weir_scans_dropped_total", "why=\"cancelled\"");
    service->m.gave_way = metrics_counter(metrics, "weir_scans_dropped_total", "why=\"gave_way\"");
    service->m.bad_chunks = metrics_counter(metrics, "weir_scan_frames_dropped_total", "why=\"chunk\"");
    service->m.bad_opens = metrics_counter(metrics, "weir_scan_frames_dropped_total", "why=\"unexpected\"");
}

static void service_set_load_interval(struct service *service)
{
    uint64_t ms = service->options.settings->load_interval;
    event_add(service->load, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000 });
}

struct service *service_new(struct event_base *base, struct link_hub *hub, const struct service_options *options,
                            struct metrics *metrics, void (*changed)(void *arg), void *arg, struct error *why)
{
    static const struct link_server_handlers link_handlers = { .message = on_message, .gone = on_gone };
    static const struct pool_handlers pool_handlers = { .done = on_pool_done, .changed = on_pool_changed };
    struct service *service = xcalloc(1, sizeof *service);
    struct admission_limits limits = limits_of(options->settings);
    service->base = base;
    service->options = *options;
    service->metrics = metrics;
    service->changed = changed;
    service->arg = arg;
    service->told = WEIR__NODE_STATE__NODE_STARTING;
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        fatal("getrandom: %m");
    admission_init(&service->admission, &limits, seed);
    service->server = link_server_new(hub, options->endpoint, &link_handlers, service, why);
    if (service->server == NULL) {
        free(service);
        return NULL;
    }
    service_make_metrics(service);
    service->tick = evtimer_new(base, on_tick, service);
    service->load = event_new(base, -1, EV_PERSIST, on_load_time, service);
    service_set_load_interval(service);
    service->spam = spam_new(base, options->spam, metrics);
    service->pool = pool_new(base, &options->pool, metrics, &pool_handlers, service);
    return service;
}

static void free_peer_data(void *arg, struct link_peer *peer)
{
    (void)arg;
    free(link_peer_data(peer));
    link_peer_set_data(peer, NULL);
}

void service_free(struct service **service_at)
{
    struct service *service = *service_at;
    if (service == NULL)
        return;
    pool_free(&service->pool);
    service->draining = false;
    while (service->scans.first != NULL)
        scan_remove(service, service->scans.first);
    spam_free(&service->spam);
    link_server_each(service->server, free_peer_data, NULL);
    link_server_free(&service->server);
    event_free(service->tick);
    event_free(service->load);
    free(service);
    *service_at = NULL;
}

void service_configure(struct service *service, const struct service_options *options)
{
    service->options = *options;
    service->admission.limits = limits_of(options->settings);
    pool_configure(service->pool, &options->pool);
    spam_free(&service->spam);
    service->spam = spam_new(service->base, options->spam, service->metrics);
    service_set_load_interval(service);
}

void service_drain(struct service *service, bool drain)
{
    if (service->draining == drain)
        return;
    service->draining = drain;
    log_write(LOG_NOTICE, drain ? "draining: %zu scans to finish" : "takes new scans again (%zu running)", service->scans.count);
    service_broadcast(service);
    service->changed(service->arg);
}

Weir__NodeState service_state(const struct service *service)
{
    if (service->draining)
        return service->scans.count == 0 ? WEIR__NODE_STATE__NODE_DRAINED : WEIR__NODE_STATE__NODE_DRAINING;
    return pool_is_serving(service->pool) ? WEIR__NODE_STATE__NODE_ACTIVE : WEIR__NODE_STATE__NODE_STARTING;
}

size_t service_in_flight(const struct service *service)
{
    return service->scans.count;
}

struct pool *service_pool(struct service *service)
{
    return service->pool;
}

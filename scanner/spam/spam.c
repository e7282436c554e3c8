/* spam.c - see spam.h */
#include "scanner/spam/spam.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/queue_id.h"
#include "common/score.h"
#include "common/spam_engine.h"
#include "proto/wire.h"
#include "scanner/native/native.h"
#include "scanner/spam/shared.h"

_Static_assert(SPAM_ENGINE_KINDS <= WIRE_SPAM_ENGINES_MAX && SPAM_SYMBOLS_MAX <= WIRE_SPAM_SYMBOLS_MAX && SPAM_NAME_MAX <= WIRE_NAME_MAX &&
                   SPAM_DETAIL_MAX <= WIRE_WORD_MAX && SPAM_AUTH_MAX <= WIRE_REPLY_MAX && SPAM_SIGNATURE_MAX <= WIRE_REPLY_MAX &&
                   SPAM_SIGNATURES_MAX <= WIRE_SPAM_SIGNATURES_MAX,
               "what engines say fits a verdict");

struct engine {
    enum spam_engine_kind kind;
    unsigned weight;
    struct spam_client *client; /* NULL: native */
    uint64_t failures;       /* in a row, of different messages */
    char failed[QUEUE_ID_LEN + 1]; /* the last of those */
    uint64_t paused_until;   /* clock_ms(); 0: it is asked */
    bool probing;            /* one message finds out */
    struct metric *seconds, *timeouts, *errors, *garbage, *skipped_paused, *skipped_size, *paused;
};

struct spam {
    unsigned refs; /* the scanner's, and one for each check */
    struct event_base *base;
    struct engine engines[SPAM_ENGINE_KINDS];
    size_t count;
    enum spam_combine combine;
    uint64_t size_max, failures_max, pause_ms;
    bool sign;
};

struct slot { /* one engine of a check */
    struct spam_check *check;
    struct engine *engine;
    struct spam_call *call; /* NULL: it is not asked, or has ended */
    uint64_t began_us;
    bool probe;
    Weir__SpamState state;
    struct spam_answer *answer; /* NULL: none */
};

struct spam_check {
    struct spam *spam;
    struct spam_facts *facts;
    struct slot slots[SPAM_ENGINE_KINDS];
    size_t pending;
    bool done;
    spam_check_handler handler;
    void *arg;
    struct event *soon; /* nobody was asked: told from the loop all the same */
    /* spam_check_result()'s */
    Weir__SpamResult result;
    Weir__SpamEngine engines[SPAM_ENGINE_KINDS], *engine_list[SPAM_ENGINE_KINDS];
    Weir__SpamSymbol symbols[SPAM_SYMBOLS_MAX], *symbol_list[SPAM_SYMBOLS_MAX];
    ProtobufCBinaryData signatures[SPAM_SIGNATURES_MAX];
};

/* ---- facts ---- */

static char *put(char **at, const ProtobufCBinaryData *bytes)
{
    char *text = *at;
    if (bytes->len > 0)
        memcpy(text, bytes->data, bytes->len);
    text[bytes->len] = '\0'; /* one inside of it ends it earlier */
    *at += bytes->len + 1;
    return text;
}

struct spam_facts *spam_facts_new(const Weir__ScanOpen *open)
{
    const Weir__SpamFacts *told = open->spam;
    size_t count = told->n_recipients;
    size_t bytes = open->id.len + open->client.len + told->client_name.len + open->helo.len + open->sender.len + told->login.len + told->edge.len + told->listed.len + 8;
    for (size_t i = 0; i < count; i++)
        bytes += told->recipients[i].len + 1;
    struct spam_facts *facts = xcalloc(1, sizeof *facts + count * sizeof *facts->recipients + bytes);
    facts->recipients = (const char **)(facts + 1);
    char *at = (char *)(facts->recipients + count);
    facts->id = put(&at, &open->id);
    facts->client = put(&at, &open->client);
    facts->client_name = put(&at, &told->client_name);
    facts->listed = put(&at, &told->listed);
    facts->ill_reputed = told->ill_reputed;
    facts->helo = put(&at, &open->helo);
    facts->sender = put(&at, &open->sender);
    facts->login = put(&at, &told->login);
    facts->edge = put(&at, &told->edge);
    for (size_t i = 0; i < count; i++)
        facts->recipients[i] = put(&at, &told->recipients[i]);
    facts->recipient_count = count;
    facts->killed = open->crashes > 0;
    facts->outbound = told->direction == WEIR__DIRECTION__DIRECTION_OUTBOUND;
    return facts;
}

/* ---- engines ---- */

static double points_of(const char *text)
{
    int32_t points = 0;
    score_points_parse(&points, text); /* its form is checked */
    return points / 100.0;
}

static void engine_make_metrics(struct engine *engine, struct metrics *metrics)
{
    const char *name = spam_engine_name(engine->kind);
    engine->seconds = metrics_histogram(metrics, "weir_spam_engine_seconds", metrics_seconds_bounds, metrics_seconds_count, "engine=\"%s\"", name);
    engine->timeouts = metrics_counter(metrics, "weir_spam_engine_failures_total", "engine=\"%s\",reason=\"timeout\"", name);
    engine->errors = metrics_counter(metrics, "weir_spam_engine_failures_total", "engine=\"%s\",reason=\"connection\"", name);
    engine->garbage = metrics_counter(metrics, "weir_spam_engine_failures_total", "engine=\"%s\",reason=\"garbage\"", name);
    engine->skipped_paused = metrics_counter(metrics, "weir_spam_engine_skipped_total", "engine=\"%s\",why=\"paused\"", name);
    engine->skipped_size = metrics_counter(metrics, "weir_spam_engine_skipped_total", "engine=\"%s\",why=\"size\"", name);
    engine->paused = metrics_gauge(metrics, "weir_spam_engine_paused", "engine=\"%s\"", name);
    metric_set(engine->paused, 0);
}

static struct spam_sharing sharing_of(const struct spam_settings *settings, struct metrics *metrics)
{
    struct spam_sharing sharing = { .from = settings->rspamd_shared_memory, .max = settings->rspamd_shared_memory_max, .pause_ms = settings->spam_pause };
    struct error why;
    if (sharing.from == 0)
        return sharing;
    if (!spam_shared_group(&sharing.group, settings->rspamd_shared_memory_group, &why)) { /* it was there at the start */
        log_write(LOG_ERR, "rspamd_shared_memory_group: %s: messages go in the questions", why.text);
        sharing.from = 0;
    }
    static const char name[] = "weir_spam_shared_memory_total";
    sharing.bytes = metrics_gauge(metrics, "weir_spam_shared_memory_bytes", NULL);
    sharing.used = metrics_counter(metrics, name, "result=\"used\"");
    sharing.refused = metrics_counter(metrics, name, "result=\"refused\"");
    sharing.full = metrics_counter(metrics, name, "result=\"full\"");
    sharing.failed = metrics_counter(metrics, name, "result=\"failed\"");
    return sharing;
}

static void engine_init(struct spam *spam, const struct spam_engine_entry *entry, const struct spam_settings *settings, struct metrics *metrics)
{
    bool rspamd = entry->kind == SPAM_ENGINE_RSPAMD;
    struct engine *engine = &spam->engines[spam->count++];
    *engine = (struct engine){ .kind = entry->kind, .weight = entry->weight };
    engine_make_metrics(engine, metrics);
    if (entry->kind == SPAM_ENGINE_NATIVE)
        return;
    engine->client = spam_client_new(spam->base, &(struct spam_client_options){
        .server = rspamd ? settings->rspamd : settings->spamd,
        .protocol = rspamd ? &rspamd_protocol : &spamd_protocol,
        .scale = { .half = points_of(settings->rspamd_spam), .most = points_of(settings->rspamd_reject) },
        .connections = settings->spam_connections,
        .timeout_ms = settings->spam_timeout,
        .reply_max = settings->spam_reply_size,
        .sharing = rspamd ? sharing_of(settings, metrics) : (struct spam_sharing){ .from = 0 },
    });
}

struct spam *spam_new(struct event_base *base, const struct spam_settings *settings, struct metrics *metrics)
{
    if (settings->spam_engines.count == 0)
        return NULL;
    struct spam *spam = xcalloc(1, sizeof *spam);
    spam->refs = 1;
    spam->base = base;
    spam->combine = (enum spam_combine)settings->spam_combine;
    spam->size_max = settings->spam_size;
    spam->failures_max = settings->spam_failures;
    spam->pause_ms = settings->spam_pause;
    spam->sign = settings->dkim_sign;
    for (size_t i = 0; i < settings->spam_engines.count; i++) {
        struct spam_engine_entry entry;
        if (spam_engine_parse(&entry, settings->spam_engines.items[i], NULL)) /* its form is checked, and that none is there twice */
            engine_init(spam, &entry, settings, metrics);
    }
    return spam;
}

static void spam_unref(struct spam *spam)
{
    if (--spam->refs > 0)
        return;
    for (size_t i = 0; i < spam->count; i++)
        spam_client_free(&spam->engines[i].client);
    free(spam);
}

void spam_free(struct spam **spam_at)
{
    struct spam *spam = *spam_at;
    *spam_at = NULL;
    if (spam != NULL)
        spam_unref(spam);
}

/* ---- when an engine fails ---- */

static bool engine_may_be_asked(struct engine *engine, bool *probe)
{
    *probe = engine->paused_until != 0;
    if (!*probe)
        return true;
    if (engine->probing || clock_ms() < engine->paused_until)
        return false;
    engine->probing = true;
    return true;
}

static void engine_failed(const struct spam *spam, struct engine *engine, const char *id, enum spam_call_end end, const char *why)
{
    metric_add(end == SPAM_CALL_TIMEOUT ? engine->timeouts : end == SPAM_CALL_FAILED ? engine->errors : engine->garbage, 1);
    log_write(LOG_WARNING, "%s: %s says nothing: %s", id, spam_engine_name(engine->kind), why);
    /* Whoever writes a message can have it answered at too great a length, or never, and send it again and again: that is no reason to ask about nobody else's. */
    if (end == SPAM_CALL_GARBAGE || (engine->failures > 0 && strcmp(engine->failed, id) == 0))
        return;
    snprintf(engine->failed, sizeof engine->failed, "%s", id);
    if (++engine->failures < spam->failures_max)
        return;
    if (engine->paused_until == 0)
        log_write(LOG_ERR, "%s failed %llu times in a row and is left alone for a while", spam_engine_name(engine->kind), (unsigned long long)engine->failures);
    engine->paused_until = clock_ms() + spam->pause_ms;
    metric_set(engine->paused, 1);
}

static void engine_answered(struct engine *engine)
{
    if (engine->paused_until != 0)
        log_write(LOG_NOTICE, "%s answers again", spam_engine_name(engine->kind));
    engine->failures = engine->paused_until = 0;
    metric_set(engine->paused, 0);
}

/* ---- a check ---- */

static void check_finish(struct spam_check *check)
{
    check->done = true;
    check->handler(check->arg);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    check_finish(arg);
}

static void on_answer(void *arg, enum spam_call_end end, struct spam_answer *answer, const char *why)
{
    struct slot *slot = arg;
    struct spam_check *check = slot->check;
    slot->call = NULL; /* freed right after this */
    if (slot->probe)
        slot->engine->probing = false;
    metric_observe(slot->engine->seconds, (double)(clock_us() - slot->began_us) / 1e6);
    if (end == SPAM_CALL_ANSWERED) {
        slot->state = WEIR__SPAM_STATE__SPAM_OK;
        slot->answer = xmemdup(answer, sizeof *answer);
        engine_answered(slot->engine);
    } else {
        slot->state = end == SPAM_CALL_TIMEOUT ? WEIR__SPAM_STATE__SPAM_TIMEOUT : WEIR__SPAM_STATE__SPAM_ERROR;
        engine_failed(check->spam, slot->engine, check->facts->id, end, why);
    }
    if (--check->pending == 0)
        check_finish(check);
}

static void slot_ask(struct slot *slot, const struct spam_message *message)
{
    struct spam_check *check = slot->check;
    if (message->size > check->spam->size_max) {
        slot->state = WEIR__SPAM_STATE__SPAM_SIZE;
        metric_add(slot->engine->skipped_size, 1);
    } else if (slot->engine->client == NULL && check->facts->killed) {
        slot->state = WEIR__SPAM_STATE__SPAM_ERROR;
        metric_add(slot->engine->errors, 1);
        log_write(LOG_WARNING, "%s: a worker died of it: it is scanned without %s", check->facts->id, spam_engine_name(slot->engine->kind));
    } else if (slot->engine->client == NULL) {
        slot->began_us = clock_us();
        check->pending++; /* until spam_check_take_native() */
    } else if (!engine_may_be_asked(slot->engine, &slot->probe)) {
        slot->state = WEIR__SPAM_STATE__SPAM_PAUSED;
        metric_add(slot->engine->skipped_paused, 1);
    } else {
        slot->began_us = clock_us();
        slot->call = spam_client_ask(slot->engine->client, check->facts, message, on_answer, slot);
        check->pending++;
    }
}

struct spam_check *spam_check_new(struct spam *spam, struct spam_facts **facts, const struct spam_message *message, spam_check_handler done, void *arg)
{
    struct spam_check *check = xcalloc(1, sizeof *check);
    check->spam = spam;
    spam->refs++;
    check->facts = *facts;
    *facts = NULL;
    check->facts->size = message->size;
    check->handler = done;
    check->arg = arg;
    check->soon = evtimer_new(spam->base, on_soon, check);
    for (size_t i = 0; i < spam->count; i++) {
        check->slots[i].check = check;
        check->slots[i].engine = &spam->engines[i];
        slot_ask(&check->slots[i], message);
    }
    if (check->pending == 0)
        event_add(check->soon, &(struct timeval){ 0, 0 });
    return check;
}

/* The native engine's slot, while it waits for its answer. */
static struct slot *native_slot(struct spam_check *check)
{
    for (size_t i = 0; i < check->spam->count; i++)
        if (check->slots[i].engine->client == NULL && check->slots[i].state == WEIR__SPAM_STATE__SPAM_UNSPECIFIED)
            return &check->slots[i];
    return NULL;
}

bool spam_check_tells_native(const struct spam_check *check, struct packet_facts *out)
{
    if (native_slot((struct spam_check *)(uintptr_t)check) == NULL)
        return false;
    spam_facts_tell(check->facts, out);
    return true;
}

void spam_facts_tell(const struct spam_facts *facts, struct packet_facts *out)
{
    memset(out, 0, sizeof *out);
    out->wanted = true;
    out->outbound = facts->outbound;
    out->authenticated = *facts->login != '\0';
    snprintf(out->client, sizeof out->client, "%s", facts->client);
    snprintf(out->client_name, sizeof out->client_name, "%s", facts->client_name);
    snprintf(out->helo, sizeof out->helo, "%s", facts->helo);
    snprintf(out->listed, sizeof out->listed, "%s", facts->listed);
    out->ill_reputed = facts->ill_reputed;
    snprintf(out->sender, sizeof out->sender, "%s", facts->sender);
    for (size_t i = 0; i < facts->recipient_count && i < CHANNEL_RECIPIENTS_MAX; i++)
        snprintf(out->recipients[out->recipient_count++], sizeof out->recipients[0], "%s", facts->recipients[i]);
}

void spam_check_take_native(struct spam_check *check, const struct packet_native *native)
{
    struct slot *slot = native_slot(check);
    if (slot == NULL)
        return;
    metric_observe(slot->engine->seconds, (double)(clock_us() - slot->began_us) / 1e6);
    slot->state = native != NULL ? WEIR__SPAM_STATE__SPAM_OK : WEIR__SPAM_STATE__SPAM_ERROR;
    if (native != NULL) {
        slot->answer = xcalloc(1, sizeof *slot->answer);
        slot->answer->score = native->score;
        for (uint32_t i = 0; i < native->symbol_count; i++)
            if (strcmp(native->symbols[i].name, NATIVE_NOT_ALL_SEEN) == 0 && strcmp(native->symbols[i].detail, NATIVE_LATE) == 0)
                metric_add(slot->engine->timeouts, 1); /* it has answered, though, by what it saw */
        for (uint32_t i = 0; i < native->symbol_count; i++)
            spam_answer_add(slot->answer, native->symbols[i].name, native->symbols[i].weight, native->symbols[i].detail);
    } else {
        metric_add(slot->engine->errors, 1);
    }
    check->done = --check->pending == 0;
}

bool spam_check_is_done(const struct spam_check *check)
{
    return check->done;
}

void spam_check_free(struct spam_check **check_at)
{
    struct spam_check *check = *check_at;
    *check_at = NULL;
    if (check == NULL)
        return;
    for (size_t i = 0; i < check->spam->count; i++) {
        struct slot *slot = &check->slots[i];
        if (slot->call != NULL && slot->probe)
            slot->engine->probing = false; /* nobody found out: the next one does */
        spam_call_cancel(&slot->call);
        if (slot->answer != NULL)
            spam_answer_fini(slot->answer);
        free(slot->answer);
    }
    event_free(check->soon);
    free(check->facts);
    spam_unref(check->spam);
    free(check);
}

/* ---- the result ---- */

/* Of those that answered. */
static uint32_t combined(const struct spam_check *check)
{
    uint64_t sum = 0, weights = 0;
    uint32_t most = 0;
    for (size_t i = 0; i < check->spam->count; i++) {
        const struct slot *slot = &check->slots[i];
        if (slot->answer == NULL)
            continue;
        sum += (uint64_t)slot->answer->score * slot->engine->weight;
        weights += slot->engine->weight;
        most = slot->answer->score > most ? slot->answer->score : most;
    }
    return check->spam->combine == SPAM_COMBINE_MAX ? most : weights > 0 ? (uint32_t)((sum + weights / 2) / weights) : 0;
}

static void put_symbols(struct spam_check *check, const struct slot *slot, size_t room)
{
    const struct spam_answer *answer = slot->answer;
    Weir__SpamResult *result = &check->result;
    for (size_t k = 0; k < answer->symbol_count && k < room; k++) {
        Weir__SpamSymbol *symbol = &check->symbols[result->n_symbols];
        weir__spam_symbol__init(symbol);
        symbol->name = wire_text(answer->symbols[k].name);
        symbol->detail = wire_text(answer->symbols[k].detail);
        symbol->weight = answer->symbols[k].weight;
        symbol->engine = wire_text(spam_engine_name(slot->engine->kind));
        check->symbol_list[result->n_symbols++] = symbol;
    }
}

static void put_rspamds(struct spam_check *check, const struct spam_answer *answer)
{
    Weir__SpamResult *result = &check->result;
    result->authentication = wire_text(answer->authentication);
    if (!check->spam->sign || !check->facts->outbound)
        return;
    for (size_t k = 0; k < answer->signature_count; k++)
        check->signatures[result->n_signatures++] = wire_text(answer->signatures[k]);
}

static struct spam_answer *answer_of(const struct spam_check *check, enum spam_engine_kind kind)
{
    for (size_t i = 0; i < check->spam->count; i++)
        if (check->slots[i].engine->kind == kind)
            return check->slots[i].answer;
    return NULL;
}

const Weir__SpamResult *spam_check_result(struct spam_check *check)
{
    Weir__SpamResult *result = &check->result;
    size_t count = check->spam->count;
    struct spam_answer *native = answer_of(check, SPAM_ENGINE_NATIVE), *rspamd = answer_of(check, SPAM_ENGINE_RSPAMD);
    if (native != NULL && rspamd != NULL)
        spam_answer_settle(native, rspamd->authentication);
    weir__spam_result__init(result);
    result->score = combined(check);
    result->engines = check->engine_list;
    result->symbols = check->symbol_list;
    result->signatures = check->signatures;
    for (size_t i = 0; i < count; i++) {
        const struct slot *slot = &check->slots[i];
        Weir__SpamEngine *engine = &check->engines[i];
        weir__spam_engine__init(engine);
        engine->name = wire_text(spam_engine_name(slot->engine->kind));
        engine->state = slot->state;
        engine->score = slot->answer != NULL ? slot->answer->score : 0;
        check->engine_list[result->n_engines++] = engine;
        if (slot->answer == NULL)
            continue;
        put_symbols(check, slot, SPAM_SYMBOLS_MAX / count);
        if (slot->engine->kind == SPAM_ENGINE_RSPAMD)
            put_rspamds(check, slot->answer);
    }
    return result;
}

/* limiter.c - see limiter.h */
#include "edge/limits/limiter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/limits/memory.h"
#include "proto/wire.h"

/* No keys: how often a bucket is asked about in a second to be worth a lot; for how long a refusal is believed, so that what operators change holds within a second; and
 * how long nobody is asked after two questions in a row had no answer, so that a database that hangs costs few clients limit_timeout. */
#define OFTEN     4u
#define SECOND_MS 1000u
#define SILENT_MS 5000u

enum source { SOURCE_CLUSTER, SOURCE_LOT, SOURCE_MEMORY, SOURCE_WORKER, SOURCES };

struct limiter {
    const struct edge_settings *settings;
    struct node *node;
    struct metrics *metrics;
    struct limit_memory *memory;
    bool alone; /* the last that was asked about, nobody else decided */
    bool unanswered; /* the last question; one coordinator may hang where another does not, and the next question goes to that */
    uint64_t silent_until_ms;
    struct metric *decisions[SOURCES][2]; /* passed, refused */
    struct metric *limited[LIMIT_DIRECTIONS][LIMIT_BYS][LIMIT_WHATS][2]; /* refused, dry run; NULL: not yet */
    struct metric *remembered;
};

struct part {
    struct limit_rule rule;
    char bucket[LIMIT_BUCKET_MAX];
    uint64_t cost;
    enum bucket_way way;
    enum { PART_ASKED, PART_SPARE /* from what was taken in advance */, PART_MISFIT, PART_OVER /* a dry run that did not fit, told already */ } kind;
};

struct limit_query {
    struct limiter *limiter;
    struct node_question *question;
    limit_handler handler;
    void *arg;
    size_t count, asked;
    bool second; /* the one before it had no answer already when it was asked */
    struct part parts[];
};

struct limiter *limiter_new(const struct edge_settings *settings, struct metrics *metrics)
{
    static const char *const sources[SOURCES] = { "cluster", "lot", "memory", "worker" };
    struct limiter *limiter = xcalloc(1, sizeof *limiter);
    *limiter = (struct limiter){ .settings = settings, .metrics = metrics, .memory = limit_memory_new() };
    for (int i = 0; i < SOURCES; i++) {
        limiter->decisions[i][0] = metrics_counter(metrics, "weir_limit_decisions_total", "source=\"%s\",result=\"passed\"", sources[i]);
        limiter->decisions[i][1] = metrics_counter(metrics, "weir_limit_decisions_total", "source=\"%s\",result=\"refused\"", sources[i]);
    }
    limiter->remembered = metrics_gauge(metrics, "weir_limit_remembered", NULL);
    return limiter;
}

void limiter_free(struct limiter **taken)
{
    struct limiter *limiter = *taken;
    *taken = NULL;
    if (limiter == NULL)
        return;
    limit_memory_free(&limiter->memory);
    free(limiter);
}

void limiter_set_node(struct limiter *limiter, struct node *node)
{
    limiter->node = node;
}

void limiter_reload(struct limiter *limiter, const struct edge_settings *settings)
{
    limiter->settings = settings;
}

/* ---- parts ---- */

static const char *subject_of(const struct part *part)
{
    return strrchr(part->bucket, ' ') + 1;
}

static struct held *held_of(const struct limiter *limiter, const struct part *part)
{
    return limit_memory_get(limiter->memory, part->bucket, &part->rule.rate, (size_t)limiter->settings->limit_memory);
}

static void count_limited(struct limiter *limiter, const struct limit_rule *rule, bool dry_run)
{
    struct metric **metric = &limiter->limited[rule->direction][rule->by][rule->what][dry_run];
    if (*metric == NULL)
        *metric = metrics_counter(limiter->metrics, "weir_rate_limited_total", "limit=\"%s %s %s\",result=\"%s\"", limit_direction_name(rule->direction),
                                  limit_by_name(rule->by), limit_what_name(rule->what), dry_run ? "dry-run" : "refused");
    metric_add(*metric, 1);
}

/* At most once a second each: a flood must not become one of the log. */
static void part_is_over(struct limiter *limiter, struct part *part, uint64_t now)
{
    char rate[LIMIT_RATE_TEXT_MAX];
    struct held *held = held_of(limiter, part);
    part->kind = PART_OVER;
    count_limited(limiter, &part->rule, true);
    if (held->told_ms != 0 && now - held->told_ms < SECOND_MS)
        return;
    held->told_ms = now;
    log_write(LOG_INFO, "limits:%u: dry run: too many %s from %s %s: over %s", part->rule.line, limit_what_name(part->rule.what), limit_by_name(part->rule.by),
              subject_of(part), limit_rate_text(rate, &part->rule));
}

static bool has_spare(const struct held *held, uint64_t cost, uint64_t now)
{
    return now < held->spare_until_ms && held->spare > 0 && held->spare >= cost;
}

/* ---- deciding ---- */

static void give_back_spare(struct limit_query *query)
{
    for (size_t i = 0; i < query->count; i++) {
        struct part *part = &query->parts[i];
        struct held *held = part->kind == PART_SPARE ? limit_memory_find(query->limiter->memory, part->bucket) : NULL;
        if (held != NULL) /* it lasts no longer for that */
            held->spare += part->cost;
    }
}

static void refuse(struct limit_query *query, const struct part *part, enum source source, struct limit_verdict *verdict)
{
    give_back_spare(query);
    count_limited(query->limiter, &part->rule, false);
    metric_add(query->limiter->decisions[source][1], 1);
    verdict->refused = true;
    verdict->rule = part->rule;
    snprintf(verdict->subject, sizeof verdict->subject, "%s", subject_of(part));
}

/* A dry run is told only where nothing else refuses: it would not have been the one to stop it. true: refused. */
static bool settle_misfits(struct limit_query *query, enum source source, uint64_t now, struct limit_verdict *verdict)
{
    for (size_t i = 0; i < query->count; i++) {
        if (query->parts[i].kind == PART_MISFIT && !query->parts[i].rule.dry_run) {
            refuse(query, &query->parts[i], source, verdict);
            return true;
        }
    }
    for (size_t i = 0; i < query->count; i++)
        if (query->parts[i].kind == PART_MISFIT)
            part_is_over(query->limiter, &query->parts[i], now);
    return false;
}

static void pass(struct limit_query *query, enum source source, uint64_t now, struct limit_verdict *verdict)
{
    for (size_t i = 0; i < query->count; i++) {
        struct part *part = &query->parts[i];
        if (part->kind != PART_OVER)
            bucket_take(&held_of(query->limiter, part)->own, &part->rule.rate, now, part->cost);
    }
    metric_add(query->limiter->decisions[source][0], 1);
    verdict->refused = false;
}

static void set_alone(struct limiter *limiter, bool alone)
{
    if (alone != limiter->alone)
        log_write(alone ? LOG_WARNING : LOG_NOTICE, alone ? "limits: no coordinator answers, this worker counts for itself" : "limits: the cluster counts again");
    limiter->alone = alone;
}

/* Nobody else says anything. */
static void decide_alone(struct limit_query *query, uint64_t now, struct limit_verdict *verdict)
{
    struct limiter *limiter = query->limiter;
    set_alone(limiter, true);
    for (size_t i = 0; i < query->count; i++) {
        struct part *part = &query->parts[i];
        if (part->kind == PART_ASKED && !bucket_fits(&held_of(limiter, part)->own, &part->rule.rate, now, part->cost, part->way))
            part->kind = PART_MISFIT;
    }
    if (!settle_misfits(query, SOURCE_WORKER, now, verdict))
        pass(query, SOURCE_WORKER, now, verdict);
}

/* What was refused a moment ago would be again. true: by one that refuses. */
static bool is_refused_already(struct limit_query *query, uint64_t now, struct limit_verdict *verdict)
{
    for (size_t i = 0; i < query->count; i++) {
        struct part *part = &query->parts[i];
        const struct held *held = held_of(query->limiter, part);
        if (now < held->full_until_ms && part->cost >= held->full_cost)
            part->kind = PART_MISFIT;
    }
    return settle_misfits(query, SOURCE_MEMORY, now, verdict);
}

static void take_spare(struct limit_query *query, uint64_t now)
{
    for (size_t i = 0; i < query->count; i++) {
        struct part *part = &query->parts[i];
        struct held *held = held_of(query->limiter, part);
        if (part->kind != PART_ASKED)
            continue;
        if (has_spare(held, part->cost, now)) {
            part->kind = PART_SPARE;
            held->spare -= part->cost;
        } else {
            query->asked++;
        }
    }
}

/* ---- asking ---- */

static void take_state(struct limit_query *query, struct part *part, const Weir__LimitState *state, uint64_t now)
{
    struct held *held = held_of(query->limiter, part);
    if (state->fits && state->spare > 0) {
        held->spare = (now < held->spare_until_ms ? held->spare : 0) + state->spare;
        held->spare_until_ms = now + query->limiter->settings->limit_lot_time;
    } else if (!state->fits) {
        held->full_cost = part->cost;
        held->full_until_ms = now + (state->wait_ms < SECOND_MS ? state->wait_ms : SECOND_MS);
    }
}

/* false: these are not the states that were asked for. */
static bool use_states(struct limit_query *query, const Weir__LimitTaken *taken, uint64_t now, struct limit_verdict *verdict)
{
    size_t at = 0;
    if (taken->n_states != query->asked)
        return false;
    for (size_t i = 0; i < query->count; i++) {
        struct part *part = &query->parts[i];
        if (part->kind != PART_ASKED)
            continue;
        const Weir__LimitState *state = taken->states[at++];
        take_state(query, part, state, now);
        if (!state->fits)
            part->kind = PART_MISFIT;
    }
    set_alone(query->limiter, false);
    if (!settle_misfits(query, SOURCE_CLUSTER, now, verdict))
        pass(query, SOURCE_CLUSTER, now, verdict);
    return true;
}

static void on_answer(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t payload_count)
{
    (void)payloads, (void)payload_count;
    struct limit_query *query = arg;
    struct limit_verdict verdict = { .refused = false };
    uint64_t now = clock_ms();
    bool said = answer != NULL && answer->body_case == WEIR__ANSWER__BODY_LIMIT_TAKEN && use_states(query, answer->limit_taken, now, &verdict);
    if (answer == NULL && query->second && query->limiter->unanswered)
        query->limiter->silent_until_ms = now + SILENT_MS;
    query->limiter->unanswered = answer == NULL;
    if (!said)
        decide_alone(query, now, &verdict);
    limit_handler handler = query->handler;
    void *handler_arg = query->arg;
    free(query);
    handler(handler_arg, &verdict);
}

static uint64_t welcome_spare(const struct limiter *limiter, struct held *held, uint64_t cost, uint64_t now)
{
    if (now - held->asked_since_ms >= SECOND_MS) {
        held->asked_since_ms = now;
        held->asked = 0;
    }
    if (cost == 0) /* only whether it is in debt: nothing comes yet */
        return 0;
    uint64_t lot = ++held->asked > OFTEN ? limiter->settings->limit_lot : 0;
    return lot > WIRE_SIZE_MAX / cost ? WIRE_SIZE_MAX : lot * cost;
}

static void ask(struct limit_query *query, uint64_t now)
{
    struct limiter *limiter = query->limiter;
    Weir__Question question = WEIR__QUESTION__INIT;
    Weir__LimitAsk asked = WEIR__LIMIT_ASK__INIT;
    Weir__LimitCost costs[LIMITS_MOST], *pointers[LIMITS_MOST];
    if (limiter->node == NULL || !node_is_connected(limiter->node) || now < limiter->silent_until_ms)
        return;
    for (size_t i = 0; i < query->count; i++) {
        const struct part *part = &query->parts[i];
        if (part->kind != PART_ASKED)
            continue;
        Weir__LimitCost *cost = pointers[asked.n_costs] = &costs[asked.n_costs];
        asked.n_costs++;
        weir__limit_cost__init(cost);
        cost->bucket = wire_text(part->bucket);
        cost->cost = part->cost < WIRE_SIZE_MAX ? part->cost : WIRE_SIZE_MAX;
        cost->amount = part->rule.rate.amount;
        cost->period_ms = part->rule.rate.period_ms;
        cost->burst = part->rule.rate.burst;
        cost->spare = welcome_spare(limiter, held_of(limiter, part), part->cost, now);
        cost->debt = part->way == BUCKET_DEBT;
        cost->dry_run = part->rule.dry_run;
    }
    asked.costs = pointers;
    query->second = limiter->unanswered;
    question.body_case = WEIR__QUESTION__BODY_LIMIT_ASK;
    question.limit_ask = &asked;
    query->question = node_ask(limiter->node, &question, NULL, 0, limiter->settings->limit_timeout, on_answer, query);
}

static struct limit_query *query_new(struct limiter *limiter, const struct limit_cost *costs, size_t count)
{
    struct limit_query *query = xcalloc(1, sizeof *query + count * sizeof *query->parts);
    query->limiter = limiter;
    query->count = count;
    for (size_t i = 0; i < count; i++) {
        struct part *part = &query->parts[i];
        part->rule = *costs[i].rule;
        part->cost = costs[i].cost;
        part->way = costs[i].way;
        limit_bucket_name(part->bucket, costs[i].rule, costs[i].subject);
    }
    return query;
}

struct limit_query *limiter_take(struct limiter *limiter, const struct limit_cost *costs, size_t count, struct limit_verdict *verdict, limit_handler handler, void *arg)
{
    uint64_t now = clock_ms();
    *verdict = (struct limit_verdict){ .refused = false };
    if (count == 0)
        return NULL;
    weir_assert(count <= LIMITS_MOST);
    struct limit_query *query = query_new(limiter, costs, count);
    query->handler = handler;
    query->arg = arg;
    if (!is_refused_already(query, now, verdict)) {
        take_spare(query, now);
        if (query->asked > 0)
            ask(query, now);
        if (query->asked == 0)
            pass(query, SOURCE_LOT, now, verdict);
        else if (query->question == NULL)
            decide_alone(query, now, verdict);
    }
    metric_set(limiter->remembered, (double)limit_memory_count(limiter->memory));
    if (query->question != NULL)
        return query;
    free(query);
    return NULL;
}

void limit_query_cancel(struct limit_query **taken)
{
    struct limit_query *query = *taken;
    *taken = NULL;
    if (query == NULL)
        return;
    node_question_cancel(&query->question);
    give_back_spare(query);
    free(query);
}

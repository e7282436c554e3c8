/*
 * verifier.c - see verify.h
 *
 * A job is one question about one recipient at one next hop, on its way through course.h. Sessions wait for it, each for its own time; a job whose
 * waiters are gone goes on, so that the next one finds an answer. A probe that hangs is ended by the time limits of edge/delivery.
 */
#include "edge/verify/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/verify/course.h"
#include "edge/verify/memory.h"
#include "proto/wire.h"

#define BUCKETS   256u /* a power of 2 */
/* No keys: what a client waits is verify_timeout, which these are a part of, or nothing. What the coordinators do not say in LOOKUP_MS the next hop is asked;
 * an answer that they do not take in TELL_MS is one asked again later. */
#define LOOKUP_MS 1000u
#define TELL_MS   5000u

struct verify_wait {
    TAILQ_ENTRY(verify_wait) order;
    struct job *job;
    struct event *timer;
    verify_handler handler;
    void *arg;
};

TAILQ_HEAD(wait_list, verify_wait);

struct job {
    struct job *next; /* in its bucket */
    TAILQ_ENTRY(job) all;
    struct verifier *verifier;
    enum verify_state state;
    struct wait_list waits;
    struct event *start;            /* without a coordinator: nothing happens inside verifier_ask() */
    struct node_question *question; /* LOOKING, TELLING */
    struct delivery *delivery;      /* PROBING; NULL: it is over */
    struct next_hop hop;
    char hop_text[NEXT_HOP_TEXT_MAX];
    bool has_opinion;
    struct verify_opinion opinion;
    char *address, key[];
};

TAILQ_HEAD(job_list, job);

enum source { SOURCE_MEMORY, SOURCE_CLUSTER, SOURCE_NEXT_HOP, SOURCE_NOBODY };

struct verifier {
    struct event_base *base;
    struct delivery_pool *pool;
    struct node *node;
    const struct edge_settings *settings;
    struct metrics *metrics;
    struct verify_memory *memory;
    struct job *buckets[BUCKETS];
    struct job_list jobs;
    struct metric *probes, *probes_done[3], *limited, *timeouts, *remembered;
};

static const char *const result_names[] = { [VERIFY_EXISTS] = "exists", [VERIFY_MISSING] = "missing", [VERIFY_UNKNOWN] = "unknown" };

struct verifier *verifier_new(struct event_base *base, struct delivery_pool *pool, const struct edge_settings *settings, struct metrics *metrics)
{
    struct verifier *verifier = xcalloc(1, sizeof *verifier);
    *verifier = (struct verifier){ .base = base, .pool = pool, .settings = settings, .metrics = metrics, .memory = verify_memory_new() };
    TAILQ_INIT(&verifier->jobs);
    verifier->probes = metrics_gauge(metrics, "weir_verify_probes", NULL);
    for (int i = 0; i < 3; i++)
        verifier->probes_done[i] = metrics_counter(metrics, "weir_verify_probes_total", "result=\"%s\"", result_names[i]);
    verifier->limited = metrics_counter(metrics, "weir_verify_limited_total", NULL);
    verifier->timeouts = metrics_counter(metrics, "weir_verify_timeouts_total", NULL);
    verifier->remembered = metrics_gauge(metrics, "weir_verify_remembered", NULL);
    return verifier;
}

void verifier_set_node(struct verifier *verifier, struct node *node)
{
    verifier->node = node;
}

void verifier_reload(struct verifier *verifier, const struct edge_settings *settings)
{
    verifier->settings = settings;
}

/* ---- jobs ---- */

static struct job **job_link(struct verifier *verifier, const char *key)
{
    struct job **link = &verifier->buckets[verify_hash(key) & (BUCKETS - 1)];
    while (*link != NULL && strcmp((*link)->key, key) != 0)
        link = &(*link)->next;
    return link;
}

static void job_free(struct job *job)
{
    struct verifier *verifier = job->verifier;
    *job_link(verifier, job->key) = job->next;
    TAILQ_REMOVE(&verifier->jobs, job, all);
    node_question_cancel(&job->question);
    if (job->delivery != NULL)
        metric_add(verifier->probes, -1);
    delivery_cancel(&job->delivery);
    event_free(job->start);
    free(job->address);
    free(job);
}

void verifier_free(struct verifier **taken)
{
    struct verifier *verifier = *taken;
    struct job *job;
    *taken = NULL;
    if (verifier == NULL)
        return;
    while ((job = TAILQ_FIRST(&verifier->jobs)) != NULL) {
        weir_assert(TAILQ_EMPTY(&job->waits));
        job_free(job);
    }
    verify_memory_free(&verifier->memory);
    free(verifier);
}

/* ---- those who wait ---- */

static void count_answer(struct verifier *verifier, enum source source, enum verify_result result)
{
    static const char *const names[] = { "memory", "cluster", "next-hop", "nobody" };
    metric_add(metrics_counter(verifier->metrics, "weir_verify_answers_total", "source=\"%s\",result=\"%s\"", names[source],
                               result_names[result]),
               1);
}

void verify_wait_cancel(struct verify_wait **taken)
{
    struct verify_wait *wait = *taken;
    *taken = NULL;
    if (wait == NULL)
        return;
    TAILQ_REMOVE(&wait->job->waits, wait, order);
    event_free(wait->timer);
    free(wait);
}

static void wait_end(struct verify_wait *wait, enum source source, const struct verify_opinion *opinion)
{
    TAILQ_REMOVE(&wait->job->waits, wait, order);
    event_free(wait->timer);
    count_answer(wait->job->verifier, source, opinion->result);
    wait->handler(wait->arg, wait, opinion);
    free(wait);
}

static void on_wait_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct verify_wait *wait = arg;
    struct verify_opinion opinion;
    metric_add(wait->job->verifier->timeouts, 1);
    verify_opinion_set(&opinion, VERIFY_UNKNOWN, 0, "", "no answer in time");
    wait_end(wait, SOURCE_NOBODY, &opinion);
}

static struct verify_wait *wait_new(struct job *job, verify_handler handler, void *arg)
{
    struct verifier *verifier = job->verifier;
    struct verify_wait *wait = xcalloc(1, sizeof *wait);
    uint64_t ms = verifier->settings->verify_timeout;
    *wait = (struct verify_wait){ .job = job, .handler = handler, .arg = arg };
    wait->timer = event_new(verifier->base, -1, 0, on_wait_timer, wait);
    if (wait->timer == NULL || event_add(wait->timer, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) }) != 0)
        fatal("out of memory");
    TAILQ_INSERT_TAIL(&job->waits, wait, order);
    return wait;
}

/* ---- on its way ---- */

static void job_probe(struct job *job);
static void job_tell(struct job *job);

static void job_remember(const struct job *job)
{
    struct verifier *verifier = job->verifier;
    const struct edge_settings *settings = verifier->settings;
    if (settings->verify_memory_time > 0)
        verify_memory_put(verifier->memory, job->key, &job->opinion, clock_ms() + settings->verify_memory_time, (size_t)settings->verify_memory);
    metric_set(verifier->remembered, (double)verify_memory_count(verifier->memory));
}

/* The job may be gone when it returns. */
static void job_step(struct job *job, enum verify_event event, enum source source)
{
    struct verify_step step = verify_next(job->state, event);
    struct verify_wait *wait;
    job->state = step.next;
    if (step.acts & VERIFY_ANSWER)
        while ((wait = TAILQ_FIRST(&job->waits)) != NULL)
            wait_end(wait, source, &job->opinion);
    if (step.acts & VERIFY_PROBE)
        job_probe(job);
    else if (step.acts & VERIFY_TELL)
        job_tell(job);
    else if (job->state == VERIFY_OVER)
        job_free(job);
}

/* ---- the next hop ---- */

static void on_rcpt_answer(void *arg, unsigned index, const struct smtp_reply *reply)
{
    struct job *job = arg;
    struct verifier *verifier = job->verifier;
    struct verify_opinion opinion;
    (void)index;
    verify_opinion_of(&opinion, reply, delivery_is_of_rcpt(job->delivery));
    log_write(LOG_INFO, "verify: <%s> at %s: %s: %d %s %s", job->address, job->hop_text, result_names[opinion.result], opinion.code, opinion.enhanced,
              opinion.text);
    delivery_cancel(&job->delivery);
    metric_add(verifier->probes, -1);
    metric_add(verifier->probes_done[opinion.result], 1);
    if (opinion.result != VERIFY_UNKNOWN || !job->has_opinion) /* what is known counts until it expires, whatever ails the next hop now */
        job->opinion = opinion;
    job->has_opinion = true;
    job_remember(job);
    job_step(job, opinion.result != VERIFY_UNKNOWN ? VERIFY_SAID : VERIFY_SAID_NOTHING, SOURCE_NEXT_HOP);
}

static const struct delivery_handlers probe_handlers = { .recipient = on_rcpt_answer };

static bool may_probe(const struct verifier *verifier, const struct next_hop *hop)
{
    uint64_t count = 0;
    const struct job *job;
    TAILQ_FOREACH(job, &verifier->jobs, all)
    count += job->delivery != NULL && next_hop_is_same(&job->hop, hop);
    return count < verifier->settings->verify_probes;
}

static bool is_ascii(const char *text)
{
    while (*text != '\0' && (unsigned char)*text < 0x80)
        text++;
    return *text == '\0';
}

static void job_probe(struct job *job)
{
    struct verifier *verifier = job->verifier;
    if (!may_probe(verifier, &job->hop)) {
        metric_add(verifier->limited, 1);
        if (!job->has_opinion)
            verify_opinion_set(&job->opinion, VERIFY_UNKNOWN, 0, "", "the next hop is asked about too many recipients");
        job_step(job, VERIFY_SAID_NOTHING, SOURCE_NOBODY);
        return;
    }
    struct delivery_envelope envelope = { .class = DELIVERY_PROBE, .sender = verifier->settings->verify_sender, .smtputf8 = !is_ascii(job->address) };
    job->delivery = delivery_new(verifier->pool, &job->hop, &envelope, &probe_handlers, job);
    delivery_rcpt(job->delivery, &(struct delivery_recipient){ .address = job->address });
    metric_add(verifier->probes, 1);
}

/* ---- the coordinators ---- */

static void on_told(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct job *job = arg;
    (void)answer, (void)payloads, (void)count;
    job->question = NULL;
    job_step(job, VERIFY_TOLD, SOURCE_CLUSTER);
}

static bool is_connected(const struct verifier *verifier)
{
    return verifier->node != NULL && node_is_connected(verifier->node);
}

static void job_tell(struct job *job)
{
    struct verifier *verifier = job->verifier;
    Weir__VerifyTell tell = WEIR__VERIFY_TELL__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    tell.address = wire_text(job->address);
    tell.destination = wire_text(job->hop_text);
    tell.exists = job->opinion.result == VERIFY_EXISTS;
    tell.code = (uint32_t)job->opinion.code;
    tell.enhanced = wire_text(job->opinion.enhanced);
    tell.text = wire_text(job->opinion.text);
    question.body_case = WEIR__QUESTION__BODY_VERIFY_TELL;
    question.verify_tell = &tell;
    if (is_connected(verifier))
        job->question = node_ask(verifier->node, &question, NULL, 0, TELL_MS, on_told, job);
    if (job->question == NULL)
        job_step(job, VERIFY_TOLD, SOURCE_CLUSTER);
}

static void on_known(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct job *job = arg;
    char text[VERIFY_TEXT_MAX], enhanced[sizeof job->opinion.enhanced];
    (void)payloads, (void)count;
    job->question = NULL;
    const Weir__VerifyKnown *known = answer != NULL && answer->body_case == WEIR__ANSWER__BODY_VERIFY_KNOWN ? answer->verify_known : NULL;
    if (known == NULL || !known->known) {
        job_step(job, VERIFY_NOT_KNOWN, SOURCE_CLUSTER);
        return;
    }
    verify_opinion_set(&job->opinion, known->exists ? VERIFY_EXISTS : VERIFY_MISSING, (int)known->code,
                       wire_string(enhanced, sizeof enhanced, &known->enhanced), wire_string(text, sizeof text, &known->text));
    job->has_opinion = true;
    job_remember(job);
    job_step(job, known->refresh ? VERIFY_KNOWN_OLD : VERIFY_KNOWN, SOURCE_CLUSTER);
}

static void on_start(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    job_step(arg, VERIFY_NOT_KNOWN, SOURCE_CLUSTER);
}

static void job_look(struct job *job)
{
    struct verifier *verifier = job->verifier;
    Weir__VerifyAsk ask = WEIR__VERIFY_ASK__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    ask.address = wire_text(job->address);
    ask.destination = wire_text(job->hop_text);
    question.body_case = WEIR__QUESTION__BODY_VERIFY_ASK;
    question.verify_ask = &ask;
    if (is_connected(verifier))
        job->question = node_ask(verifier->node, &question, NULL, 0, LOOKUP_MS, on_known, job);
    if (job->question == NULL)
        event_add(job->start, &(struct timeval){ 0, 0 });
}

/* ---- asking ---- */

static struct job *job_new(struct verifier *verifier, const struct next_hop *hop, const char *address, const char *hop_text, const char *key)
{
    size_t len = strlen(key) + 1;
    struct job *job = xcalloc(1, sizeof *job + len);
    job->verifier = verifier;
    job->hop = *hop;
    snprintf(job->hop_text, sizeof job->hop_text, "%s", hop_text);
    job->address = xstrdup(address);
    memcpy(job->key, key, len);
    TAILQ_INIT(&job->waits);
    job->start = event_new(verifier->base, -1, 0, on_start, job);
    if (job->start == NULL)
        fatal("out of memory");
    struct job **bucket = &verifier->buckets[verify_hash(key) & (BUCKETS - 1)];
    job->next = *bucket;
    *bucket = job;
    TAILQ_INSERT_TAIL(&verifier->jobs, job, all);
    return job;
}

struct verify_wait *verifier_ask(struct verifier *verifier, const struct next_hop *hop, const char *address, struct verify_opinion *opinion,
                                 verify_handler handler, void *arg)
{
    char hop_text[NEXT_HOP_TEXT_MAX];
    char *key = xasprintf("%s %s", next_hop_format(hop_text, hop), address);
    struct verify_wait *wait = NULL;
    if (verify_memory_find(verifier->memory, key, clock_ms(), opinion)) {
        count_answer(verifier, SOURCE_MEMORY, opinion->result);
    } else {
        struct job *job = *job_link(verifier, key);
        if (job != NULL && job->state >= VERIFY_TELLING) {
            *opinion = job->opinion;
            count_answer(verifier, SOURCE_NEXT_HOP, opinion->result);
        } else {
            bool begun = job != NULL;
            if (!begun)
                job = job_new(verifier, hop, address, hop_text, key);
            wait = wait_new(job, handler, arg);
            if (!begun)
                job_look(job);
        }
    }
    free(key);
    return wait;
}

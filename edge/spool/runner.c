/*
 * runner.c - see runner.h
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/spool/internal.h"

#define TICK_MS 100u
#define REST_MS 1000u
#define CLAIM_WAIT_MS 10000u     /* a claim stands so long, but never for more than a third of a lease */
#define CLAIM_FIRST_WAIT_MS 500u /* before the length of leases is known */
#define ANSWER_MS 10000u         /* more than the wait: for an answer at all */
#define CLAIM_PART 2u            /* of spool_concurrency that is free before jobs that ended make a claim: each is a transaction */

static void on_tick(evutil_socket_t fd, short what, void *arg);
static void on_freed(evutil_socket_t fd, short what, void *arg);
static void claim(struct spool_runner *runner);
static void claim_others(struct spool_runner *runner);

struct spool_runner *spool_runner_new(const struct spool_runner_options *options)
{
    static const char *const results[] = {
        [WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED] = "delivered", [WEIR__SPOOL_DISPOSITION__SPOOL_FAILED] = "bounced",
        [WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED] = "deferred",   [WEIR__SPOOL_DISPOSITION__SPOOL_DISCARDED] = "discarded",
        [WEIR__SPOOL_DISPOSITION__SPOOL_RELEASED] = "released",
        [WEIR__SPOOL_DISPOSITION__SPOOL_REROUTED] = "rerouted",
        [WEIR__SPOOL_DISPOSITION__SPOOL_QUARANTINED] = "quarantined",
    };
    struct spool_runner *runner = xcalloc(1, sizeof *runner);
    struct runner_metrics *m = &runner->metrics;
    runner->options = *options;
    runner->claim = (struct runner_claim){ .runner = runner };
    runner->spare = (struct runner_claim){ .runner = runner, .others = true };
    if (getrandom(&runner->boot, sizeof runner->boot, 0) != sizeof runner->boot)
        fatal("getrandom: %m");
    m->leases = metrics_counter(options->metrics, "weir_edge_spool_leases_total", NULL);
    m->lost = metrics_counter(options->metrics, "weir_edge_spool_leases_lost_total", NULL);
    m->maybe_duplicates = metrics_counter(options->metrics, "weir_edge_spool_maybe_duplicates_total", NULL);
    m->dsn = metrics_counter(options->metrics, "weir_edge_spool_dsn_total", NULL);
    m->dsn_dropped = metrics_counter(options->metrics, "weir_edge_spool_dsn_dropped_total", NULL);
    m->jobs = metrics_gauge(options->metrics, "weir_edge_spool_jobs", NULL);
    m->spare_jobs = metrics_gauge(options->metrics, "weir_edge_spool_spare_jobs", NULL);
    for (size_t i = WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED; i < sizeof results / sizeof *results; i++)
        m->recipients[i] = metrics_counter(options->metrics, "weir_edge_spool_recipients_total", "result=\"%s\"", results[i]);
    for (size_t i = 0; i < SPAM_FATES; i++)
        m->spam_fates[i] = metrics_counter(options->metrics, "weir_spam_recipients_total", "fate=\"%s\"", spam_fate_name((enum spam_fate)i));
    m->spam_incomplete = metrics_counter(options->metrics, "weir_spam_incomplete_total", NULL);
    runner->tick = event_new(options->base, -1, EV_PERSIST, on_tick, runner);
    event_add(runner->tick, &(struct timeval){ 0, TICK_MS * 1000 });
    runner->freed = event_new(options->base, -1, 0, on_freed, runner);
    return runner;
}

void spool_runner_free(struct spool_runner **runnerp)
{
    struct spool_runner *runner = *runnerp;
    *runnerp = NULL;
    if (runner == NULL)
        return;
    node_question_cancel(&runner->claim.question);
    node_question_cancel(&runner->spare.question);
    node_question_cancel(&runner->renewal);
    while (runner->jobs != NULL)
        job_free(runner->jobs);
    event_free(runner->tick);
    event_free(runner->freed);
    free(runner);
}

void spool_runner_reload(struct spool_runner *runner, const struct edge_settings *settings, const struct spam_settings *spam, const char *contact)
{
    runner->options.settings = settings;
    runner->options.spam = spam;
    runner->options.contact = contact;
}

void spool_runner_resume(struct spool_runner *runner)
{
    runner->running = true;
    claim(runner);
}

void spool_runner_drain(struct spool_runner *runner)
{
    runner->running = false;
    for (struct job *job = runner->jobs, *next; job != NULL; job = next) {
        next = job->next;
        job_release(job, "this edge is being drained");
    }
}

unsigned spool_runner_jobs(const struct spool_runner *runner)
{
    return runner->count;
}

void runner_rest(struct spool_runner *runner)
{
    runner->rest_until_ms = clock_ms() + REST_MS;
}

void runner_remove(struct spool_runner *runner, struct job *job)
{
    *job->link = job->next;
    if (job->next != NULL)
        job->next->link = job->link;
    runner->count--;
    runner->spares -= job->spare;
    runner->moved |= !job->spare;
    metric_set(runner->metrics.jobs, runner->count);
    metric_set(runner->metrics.spare_jobs, runner->spares);
    uint64_t places = runner->options.settings->spool_concurrency;
    if (!job->spare && runner->count - runner->spares + places / CLAIM_PART <= places)
        event_add(runner->freed, &(struct timeval){ 0, 0 }); /* for all that end in this loop turn */
}

/* ---- claims: one for whatever is due; one more for destinations that nothing is held of, while all else stands still ---- */

/* A lease that cannot even be read is left to run out: a coordinator that sends such cannot be told anything either. */
static void take_lease(const struct runner_claim *claim, const Weir__SpoolLease *lease, const struct link_payload *payload)
{
    struct spool_runner *runner = claim->runner;
    struct error why;
    Weir__SpoolRecipients *recipients = wire_recipients_decode(payload->data, payload->len, &why);
    if (recipients == NULL || recipients->n_recipients == 0) {
        log_write(LOG_ERR, "spool: a lease without recipients: %s", recipients == NULL ? why.text : "none");
        wire_recipients_free(&recipients);
        return;
    }
    Weir__SpoolLease *copy = wire_copy(&lease->base);
    metric_add(runner->metrics.leases, 1);
    runner->lease_ms = lease->lease_ms;
    job_begin(runner, copy, recipients, &(struct lease_time){ claim->sent_ms, lease->lease_ms }, claim->others);
}

static void on_claimed(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct runner_claim *answered = arg;
    struct spool_runner *runner = answered->runner;
    answered->question = NULL;
    if (answer == NULL || answer->status != WEIR__ANSWER_STATUS__ANSWER_OK || answer->body_case != WEIR__ANSWER__BODY_SPOOL_LEASES) {
        runner_rest(runner);
        return;
    }
    const Weir__SpoolLeases *leases = answer->spool_leases;
    for (size_t i = 0; i < leases->n_leases && i < count; i++)
        take_lease(answered, leases->leases[i], &payloads[i]);
    if (!runner->running) /* drained while it stood */
        spool_runner_drain(runner);
    else if (answered->others)
        claim_others(runner);
    else
        claim(runner);
}

static void ask_for(struct runner_claim *claim, uint64_t room)
{
    struct spool_runner *runner = claim->runner;
    const struct spool_runner_options *options = &runner->options;
    uint64_t now = clock_ms();
    if (!runner->running || claim->question != NULL || now < runner->rest_until_ms || room == 0 || !node_is_connected(options->node))
        return;
    bool scanners = options->farm == NULL || (scan_farm_has_live(options->farm) && now >= runner->no_scan_until_ms);
    uint64_t wait = runner->lease_ms == 0 ? CLAIM_FIRST_WAIT_MS : runner->lease_ms / 3;
    wait = wait < CLAIM_WAIT_MS ? wait : CLAIM_WAIT_MS;
    if (!scanners && wait > REST_MS) /* soon there may be some */
        wait = REST_MS;

    Weir__SpoolClaim body = WEIR__SPOOL_CLAIM__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    body.node = wire_text(options->name);
    body.worker = options->worker;
    body.boot = runner->boot;
    body.room = (uint32_t)(room < WIRE_LEASES_MAX ? room : WIRE_LEASES_MAX);
    body.scanners = scanners;
    body.wait_ms = (uint32_t)wait;
    body.others = claim->others;
    body.senders = true;
    question.body_case = WEIR__QUESTION__BODY_SPOOL_CLAIM;
    question.spool_claim = &body;
    claim->sent_ms = now;
    claim->question = node_ask(options->node, &question, NULL, 0, wait + ANSWER_MS, on_claimed, claim);
    if (claim->question == NULL)
        runner_rest(runner);
}

static uint64_t places_free(const struct spool_runner *runner)
{
    uint64_t places = runner->options.settings->spool_concurrency, taken = runner->count - runner->spares;
    return taken < places ? places - taken : 0;
}

static void claim(struct spool_runner *runner)
{
    ask_for(&runner->claim, places_free(runner));
}

/* All places may be taken by next hops that hang. Where jobs come to an end none is needed: each would cost the database claims for nothing. */
static void claim_others(struct spool_runner *runner)
{
    const struct edge_settings *settings = runner->options.settings;
    if (settings->spool_concurrency > 0 && places_free(runner) == 0 && !runner->moved && runner->spares < settings->spool_spare)
        ask_for(&runner->spare, settings->spool_spare - runner->spares);
}

/* ---- renewals ---- */

static const Weir__SpoolHeld *find_held(const Weir__SpoolRenewed *renewed, const struct job *job)
{
    for (size_t i = 0; i < renewed->n_held; i++) {
        const Weir__SpoolHeld *held = renewed->held[i];
        if (held->token == job->lease->token && wire_equal(&held->id, job->id) && wire_equal(&held->destination, job->destination))
            return held;
    }
    return NULL;
}

static void on_renewed(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct spool_runner *runner = arg;
    (void)payloads, (void)count;
    runner->renewal = NULL;
    if (answer == NULL || answer->status != WEIR__ANSWER_STATUS__ANSWER_OK || answer->body_case != WEIR__ANSWER__BODY_SPOOL_RENEWED)
        return;
    const Weir__SpoolRenewed *renewed = answer->spool_renewed;
    struct lease_time time = { runner->renewal_ms, renewed->lease_ms };
    for (struct job *job = runner->jobs, *next; job != NULL; job = next) {
        next = job->next;
        if (job->state == JOB_REPORTING || job->lost || job->time.asked_ms > runner->renewal_ms)
            continue; /* it was not asked for */
        if (find_held(renewed, job) != NULL)
            job_renewed(job, &time);
        else if (job->asked) /* and not ours any more */
            job_end_lease(job);
    }
}

static void renew(struct spool_runner *runner, uint64_t now)
{
    Weir__SpoolHeld held[WIRE_HELD_MAX], *pointers[WIRE_HELD_MAX];
    Weir__SpoolRenew body = WEIR__SPOOL_RENEW__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    body.held = pointers;
    if (runner->renewal != NULL)
        return;
    for (struct job *job = runner->jobs; job != NULL; job = job->next) {
        job->asked = job->state != JOB_REPORTING && !job->lost && lease_wants_renewal(&job->time, now) && body.n_held < WIRE_HELD_MAX;
        if (!job->asked)
            continue;
        Weir__SpoolHeld *one = &held[body.n_held];
        weir__spool_held__init(one);
        one->id = wire_text(job->id);
        one->destination = wire_text(job->destination);
        one->token = job->lease->token;
        pointers[body.n_held++] = one;
    }
    if (body.n_held == 0)
        return;
    question.body_case = WEIR__QUESTION__BODY_SPOOL_RENEW;
    question.spool_renew = &body;
    runner->renewal_ms = now;
    runner->renewal = node_ask(runner->options.node, &question, NULL, 0, runner->lease_ms / 3 + TICK_MS, on_renewed, runner);
}

static void on_freed(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    claim(arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct spool_runner *runner = arg;
    uint64_t now = clock_ms();
    for (struct job *job = runner->jobs, *next; job != NULL; job = next) {
        next = job->next;
        if (job->state != JOB_REPORTING && !job->lost && !lease_is_live(&job->time, now))
            job_end_lease(job);
    }
    renew(runner, now);
    claim(runner);
    claim_others(runner);
    runner->moved = false;
    if (!runner->running && runner->count == 0)
        runner->options.idle(runner->options.arg);
}

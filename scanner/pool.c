/*
 * pool.c - generations of workers, seen from the master
 *
 * A generation:  LOADING -> FILLING -> SERVING -> RETIRING -> gone
 *                   \-> DOOMED  \-> DOOMED  \-> gone (its zygote died)
 *   LOADING   the zygote loads and tests; FILLING: its workers start; SERVING: takes new scans; RETIRING: finishes them;
 *   DOOMED    failed before it served; killed. A generation is gone when its zygote is reaped: with it all its workers have died.
 *
 * A worker:  FORKING -> STARTING -> IDLE <-> BUSY -> (channel closed or killed) LEAVING -> gone with the zygote's DIED
 *
 * A worker's death is known by the zygote's DIED, which carries the exit status; what it said before still counts.
 */
#include "scanner/pool_parts.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "scanner/scratch.h"

#define RETRY_MAX_S 60
#define SUSPECT_AGAIN_US 60000000
#define OWN_LIMIT_SHARE 9 / 10 /* of the wall clock: libclamav's own limit, so that a worker usually survives */

void pool_soon(struct pool *pool)
{
    event_add(pool->again, &(struct timeval){ 0, 0 });
}

void descriptor_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Neither it nor a new one works: better to scan nothing than to fail on everything. */
static void pool_stop_serving(struct pool *pool)
{
    struct generation *generation = pool->serving;
    pool->serving = NULL;
    pool->suspected = false;
    metric_set(pool->m.generation, 0);
    log_write(LOG_ERR, "generation %llu fails and serves no more", (unsigned long long)generation->number);
    generation->state = GENERATION_RETIRING;
    generation_check(generation);
    pool_soon(pool);
}

void pool_failed(struct pool *pool, const struct generation *generation, const char *why)
{
    if (strcmp(pool->failure.set, generation->set) != 0)
        pool->failures = 0;
    pool->failures++;
    memcpy(pool->failure.set, generation->set, sizeof pool->failure.set);
    snprintf(pool->failure.why, sizeof pool->failure.why, "%s", why);
    pool->failure.damaged = generation->damaged;
    metric_add(pool->m.failures, 1);
    if (pool->suspected && pool->serving != NULL)
        pool_stop_serving(pool);
    log_write(LOG_ERR, "no new generation: %s%s", why, pool->serving != NULL ? "; the old one goes on" : "");
    if (pool->serving == NULL || pool->gc_wanted > pool->gc_done) {
        event_add(pool->retry, &(struct timeval){ pool->retry_s, 0 });
        pool->retry_s = pool->retry_s * 2 > RETRY_MAX_S ? RETRY_MAX_S : pool->retry_s * 2;
    }
}

/* What is missing without it says whoever needs it. */
void pool_keep_folder(struct pool *pool)
{
    struct error why;
    if (!scratch_keep(pool->options.run_dir, pool->options.run_lock, &why))
        log_write(LOG_ERR, "%s", why.text);
}

void pool_show_serving(struct pool *pool)
{
    const struct engine_info *info = &pool->serving->info;
    if (pool->m.version == NULL)
        pool->m.version = metrics_gauge(pool->metrics, "weir_signature_version_info", NULL);
    metric_relabel(pool->m.version, "db=\"clamav\",version=\"%s\"", info->signatures);
    metric_set(pool->m.version, 1);
    metric_set(pool->m.count, info->count);
    metric_set(pool->m.huge, (double)info->huge_bytes);
    metric_set(pool->m.seccomp, pool->serving->layers.seccomp);
    metric_set(pool->m.landlock, pool->serving->layers.landlock);
    metric_set(pool->m.namespace, pool->serving->layers.namespace);
    metric_set(pool->m.generation, (double)pool->serving->number);
    metric_set(pool->m.age, (double)clock_wall_ms() / 1000 - (double)info->newest);
}

/* A generation is a whole engine in memory: never more than the one that serves and one other. */
static void pool_make_next(struct pool *pool)
{
    if (pool->serving != NULL && !pool->renew && pool->gc_wanted <= pool->gc_done)
        return;
    if (event_pending(pool->retry, EV_TIMEOUT, NULL) && !pool->renew)
        return;
    for (const struct generation *g = pool->generations; g != NULL; g = g->next) {
        if (g != pool->serving)
            return;
    }
    generation_new(pool);
}

static void pool_count_workers(struct pool *pool)
{
    for (int lane = 0; lane < LANES; lane++)
        metric_set(pool->m.workers[lane],
                   pool->serving == NULL ? 0 : (double)(generation_count(pool->serving, (enum lane)lane, false, true) + generation_count(pool->serving, (enum lane)lane, true, true)));
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *pool = arg;
    pool_make_next(pool);
    pool_count_workers(pool);
    pool->handlers.changed(pool->arg);
}

static void on_refill(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *pool = arg;
    for (struct generation *g = pool->generations; g != NULL; g = g->next)
        generation_fill(g);
}

static void on_child(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *pool = arg;
    for (struct generation *g = pool->generations, *next; g != NULL; g = next) {
        next = g->next;
        if (waitpid(g->pid, NULL, WNOHANG) == g->pid)
            generation_gone(g);
    }
}

static void on_minute(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct pool *pool = arg;
    if (pool->serving != NULL)
        metric_set(pool->m.age, (double)clock_wall_ms() / 1000 - (double)pool->serving->info.newest);
}

static void pool_make_metrics(struct pool *pool)
{
    struct metrics *metrics = pool->metrics;
    pool->m.workers[LANE_SMALL] = metrics_gauge(metrics, "weir_workers", "lane=\"small\"");
    pool->m.workers[LANE_LARGE] = metrics_gauge(metrics, "weir_workers", "lane=\"large\"");
    pool->m.death_crash = metrics_counter(metrics, "weir_worker_deaths_total", "why=\"crash\"");
    pool->m.death_timeout = metrics_counter(metrics, "weir_worker_deaths_total", "why=\"timeout\"");
    pool->m.death_cancelled = metrics_counter(metrics, "weir_worker_deaths_total", "why=\"cancelled\"");
    pool->m.death_sandbox = metrics_counter(metrics, "weir_worker_deaths_total", "why=\"sandbox\"");
    pool->m.death_start = metrics_counter(metrics, "weir_worker_deaths_total", "why=\"start\"");
    pool->m.generation = metrics_gauge(metrics, "weir_generation", NULL);
    pool->m.failures = metrics_counter(metrics, "weir_generation_failures_total", NULL);
    pool->m.suspicions = metrics_counter(metrics, "weir_engine_suspicions_total", NULL);
    pool->m.age = metrics_gauge(metrics, "weir_signature_age_seconds", "db=\"clamav\"");
    pool->m.count = metrics_gauge(metrics, "weir_signatures", NULL);
    pool->m.huge = metrics_gauge(metrics, "weir_engine_huge_page_bytes", NULL);
    pool->m.seccomp = metrics_gauge(metrics, "weir_sandbox", "layer=\"seccomp\"");
    pool->m.landlock = metrics_gauge(metrics, "weir_sandbox", "layer=\"landlock\"");
    pool->m.namespace = metrics_gauge(metrics, "weir_sandbox", "layer=\"namespace\"");
}

struct pool *pool_new(struct event_base *base, const struct pool_options *options, struct metrics *metrics,
                      const struct pool_handlers *handlers, void *arg)
{
    struct pool *pool = xcalloc(1, sizeof *pool);
    pool->base = base;
    pool->options = *options;
    pool->metrics = metrics;
    pool->handlers = *handlers;
    pool->arg = arg;
    pool->retry_s = RETRY_FIRST_S;
    pool->model = -1;
    pool_make_metrics(pool);
    pool->again = evtimer_new(base, on_again, pool);
    pool->retry = evtimer_new(base, on_again, pool);
    pool_use_begin(pool);
    pool->refill = evtimer_new(base, on_refill, pool);
    pool->child = evsignal_new(base, SIGCHLD, on_child, pool);
    pool->minute = event_new(base, -1, EV_PERSIST, on_minute, pool);
    event_add(pool->child, NULL);
    event_add(pool->minute, &(struct timeval){ 60, 0 });
    pool_soon(pool);
    return pool;
}

void pool_free(struct pool **pool_at)
{
    struct pool *pool = *pool_at;
    if (pool == NULL)
        return;
    pool->serving = NULL;
    while (pool->generations != NULL) {
        struct generation *generation = pool->generations;
        kill(generation->pid, SIGKILL);
        waitpid(generation->pid, NULL, 0);
        for (struct worker *w = generation->workers; w != NULL; w = w->next)
            w->job = NULL;
        generation->state = GENERATION_DOOMED;
        generation_gone(generation);
    }
    event_free(pool->again);
    event_free(pool->retry);
    event_free(pool->refill);
    event_free(pool->child);
    event_free(pool->minute);
    descriptor_close(&pool->model);
    free(pool);
    *pool_at = NULL;
}

void pool_configure(struct pool *pool, const struct pool_options *options)
{
    pool->options = *options;
}

void pool_use_signatures(struct pool *pool, const char *folder, const char *set)
{
    struct engine_options *engine = &pool->options.config.engine;
    snprintf(engine->signatures, sizeof engine->signatures, "%s", folder);
    snprintf(engine->set, sizeof engine->set, "%s", set);
}

void pool_use_model(struct pool *pool, int fd)
{
    descriptor_close(&pool->model);
    pool->model = fd;
    pool->model_number++;
}

const char *pool_signature_set(const struct pool *pool)
{
    return pool->serving != NULL ? pool->serving->set : "";
}

uint64_t pool_failures(const struct pool *pool, const char *set, const struct pool_failure **failure)
{
    if (failure != NULL)
        *failure = &pool->failure;
    return strcmp(pool->failure.set, set) == 0 ? pool->failures : 0;
}

void pool_renew(struct pool *pool)
{
    pool->renew = true;
    pool_soon(pool);
}

void pool_suspect(struct pool *pool)
{
    uint64_t now = clock_us();
    if (pool->suspected || pool->serving == NULL || (pool->suspected_us != 0 && now - pool->suspected_us < SUSPECT_AGAIN_US))
        return;
    log_write(LOG_ERR, "generation %llu fails on one message after the other: to be replaced", (unsigned long long)pool->serving->number);
    metric_add(pool->m.suspicions, 1);
    pool->suspected = true;
    pool->suspected_us = now;
    pool_renew(pool);
}

void pool_want_gc(struct pool *pool, uint64_t request)
{
    bool first = !pool->gc_heard;
    pool->gc_heard = true;
    if (request <= pool->gc_wanted)
        return;
    pool->gc_wanted = request;
    if (first) { /* all that were asked for so far are older than this process, and so than what it has loaded */
        for (struct generation *g = pool->generations; g != NULL; g = g->next)
            g->gc = request;
        if (pool->serving != NULL)
            pool->gc_done = request;
    }
    pool_soon(pool);
}

uint64_t pool_gc_done(const struct pool *pool)
{
    return pool->gc_done;
}

bool pool_is_serving(const struct pool *pool)
{
    return pool->serving != NULL;
}

uint64_t pool_generation(const struct pool *pool)
{
    return pool->serving != NULL ? pool->serving->number : 0;
}

const struct engine_info *pool_info(const struct pool *pool)
{
    return pool->serving != NULL ? &pool->serving->info : NULL;
}

/* An aged worker still works when no other is free. */
static struct worker *pool_idle(const struct pool *pool, enum lane lane, bool spare)
{
    struct worker *aged = NULL;
    if (pool->serving == NULL)
        return NULL;
    for (struct worker *w = pool->serving->workers; w != NULL; w = w->next) {
        if (w->lane != lane || w->spare != spare || w->state != WORKER_IDLE)
            continue;
        if (!w->aged)
            return w;
        aged = w;
    }
    return aged;
}

bool pool_has_idle(const struct pool *pool, enum lane lane, bool spare)
{
    return pool_idle(pool, lane, spare) != NULL;
}

bool pool_run(struct pool *pool, enum lane lane, bool spare, const struct pool_message *message, uint32_t wall_ms, void *job)
{
    struct worker *worker;
    while ((worker = pool_idle(pool, lane, spare)) != NULL) {
        if (!worker_has_folder(worker)) {
            log_write(LOG_WARNING, "worker %d has lost its folder and is replaced", worker->pid);
            worker_replace(worker);
            continue;
        }
        struct packet_scan scan = { .type = PACKET_SCAN, .time_ms = (uint32_t)((uint64_t)wall_ms * OWN_LIMIT_SHARE),
                                    .scan = ++pool->last_serial, .size = message->size };
        if (message->facts != NULL)
            scan.facts = *message->facts;
        if (worker_scan(worker, &scan, message, wall_ms, job))
            return true;
        worker_replace(worker); /* it is dying */
    }
    return false;
}

void pool_abandon(struct pool *pool, void *job)
{
    for (struct generation *g = pool->generations; g != NULL; g = g->next) {
        for (struct worker *w = g->workers; w != NULL; w = w->next) {
            if (w->job == job)
                worker_abandon(w);
        }
    }
}

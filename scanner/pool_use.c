/*
 * pool_use.c - how much a generation has to do, and how it has grown
 *
 * Who decides when a scanner gets a new generation is elsewhere (coordinator/turns.h); it needs to know whether the others could do this one's work, and
 * what this one has become since it was loaded.
 *
 * Memory is what the kernel counts as resident of the zygote, and what each worker has beyond what it had when it was ready. Workers begin as copies of
 * the zygote, so their whole sizes would count the engine once for each. Pages that a worker writes to and so has for itself are not seen: what that
 * hides is less than what finding it out costs, a walk through all page tables of a large engine.
 */
#include <stdio.h>
#include <unistd.h>
#include "common/clock.h"
#include "scanner/pool_parts.h"

#define MEAN_US  10e6
#define LOOK_US  500000 /* less says little of what a worker does */
#define WEIGH_MS 5000

static uint64_t resident(pid_t pid)
{
    char path[32];
    unsigned long long size, pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0; /* it just died */
    bool fine = fscanf(file, "%llu %llu", &size, &pages) == 2;
    fclose(file);
    return fine ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t weigh(const struct generation *generation)
{
    uint64_t bytes = resident(generation->pid);
    for (const struct worker *w = generation->workers; w != NULL; w = w->next) {
        uint64_t now = w->ready_bytes > 0 ? resident(w->pid) : 0;
        bytes += now > w->ready_bytes ? now - w->ready_bytes : 0;
    }
    return bytes;
}

void pool_use_begin(struct pool *pool)
{
    struct pool_use_state *state = &pool->use;
    state->looked_us = clock_us();
    state->loaded = metrics_gauge(pool->metrics, "weir_generation_memory_bytes", "when=\"loaded\"");
    state->now = metrics_gauge(pool->metrics, "weir_generation_memory_bytes", "when=\"now\"");
    state->scanned = metrics_gauge(pool->metrics, "weir_generation_messages", NULL);
    state->busy[LANE_SMALL] = metrics_gauge(pool->metrics, "weir_scanner_busy_workers", "lane=\"small\"");
    state->busy[LANE_LARGE] = metrics_gauge(pool->metrics, "weir_scanner_busy_workers", "lane=\"large\"");
}

void pool_use_took_over(struct generation *generation)
{
    generation->served_ms = clock_ms();
    generation->loaded_bytes = weigh(generation);
}

void pool_use_ready(struct worker *worker)
{
    worker->ready_bytes = resident(worker->pid);
}

void pool_use_job_done(const struct worker *worker, bool answered)
{
    worker->generation->pool->use.ended_us[worker->lane] += clock_us() - worker->job_since_us;
    worker->generation->scanned += answered;
}

/* The time that workers of a lane were at work until now, whatever generation they are of. */
static uint64_t busy_us(const struct pool *pool, enum lane lane, uint64_t now_us)
{
    uint64_t sum = pool->use.ended_us[lane];
    for (const struct generation *g = pool->generations; g != NULL; g = g->next) {
        for (const struct worker *w = g->workers; w != NULL; w = w->next)
            sum += w->job != NULL && w->lane == lane ? now_us - w->job_since_us : 0;
    }
    return sum;
}

static void look(struct pool *pool)
{
    struct pool_use_state *state = &pool->use;
    uint64_t now_us = clock_us(), since_us = now_us - state->looked_us;
    if (since_us < LOOK_US)
        return;
    state->looked_us = now_us;
    for (int lane = 0; lane < LANES; lane++) {
        uint64_t busy = busy_us(pool, (enum lane)lane, now_us);
        double at_work = (double)(busy - state->busy_us[lane]) / (double)since_us;
        state->busy_us[lane] = busy;
        state->mean[lane] += (at_work - state->mean[lane]) * (double)since_us / ((double)since_us + MEAN_US);
        metric_set(state->busy[lane], state->mean[lane]);
    }
}

/* Spare workers share the cores with the others, which are what a scanner can do. */
static uint32_t capacity(const struct generation *generation, enum lane lane)
{
    size_t ready = generation_count(generation, lane, false, true);
    return (uint32_t)(ready > 0 ? ready : generation_count(generation, lane, true, true) > 0);
}

void pool_use(struct pool *pool, struct pool_use *use)
{
    struct pool_use_state *state = &pool->use;
    const struct generation *generation = pool->serving;
    *use = (struct pool_use){ 0 };
    look(pool);
    for (int lane = 0; lane < LANES; lane++)
        use->busy[lane] = (uint32_t)(state->mean[lane] * 100);
    if (generation == NULL)
        return;
    uint64_t now_ms = clock_ms();
    if (state->generation != generation->number || now_ms - state->weighed_ms >= WEIGH_MS) {
        state->generation = generation->number;
        state->weighed_ms = now_ms;
        state->memory = weigh(generation);
        metric_set(state->loaded, (double)generation->loaded_bytes);
        metric_set(state->now, (double)state->memory);
    }
    metric_set(state->scanned, (double)generation->scanned);
    for (int lane = 0; lane < LANES; lane++)
        use->workers[lane] = capacity(generation, (enum lane)lane);
    use->memory = state->memory;
    use->memory_loaded = generation->loaded_bytes;
    use->scanned = generation->scanned;
    use->serving_ms = now_ms - generation->served_ms + 1; /* never 0 */
}

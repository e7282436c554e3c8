/*
 * pool_generation.c - one generation, seen from the master: its zygote, and when it serves and goes
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/supervisor.h"
#include "scanner/pool_parts.h"
#include "scanner/scratch.h"

#define ZYGOTE_FD 3
#define PROGRAM "/proc/self/exe" /* the very same, even when the file was replaced by an upgrade meanwhile */
#define LOAD_LIMIT_S 900         /* the largest sets take a minute */
#define FILL_LIMIT_S 30          /* from asking for a worker to its READY */
#define RETIRE_LIMIT_S 5         /* from a zygote's dismissal to its end */
#define EARLY_DEATHS_MAX 3       /* workers that die before READY while filling: the generation is no good */

static void generation_stop_events(struct generation *generation)
{
    if (generation->readable != NULL)
        event_free(generation->readable);
    generation->readable = NULL;
    event_del(generation->clock);
    descriptor_close(&generation->channel);
}

/* Before it has served. SIGKILL ends the zygote, and that its workers. */
static void generation_doom(struct generation *generation, const char *why)
{
    if (generation->state == GENERATION_DOOMED)
        return;
    generation->state = GENERATION_DOOMED;
    generation_stop_events(generation);
    kill(generation->pid, SIGKILL);
    pool_failed(generation->pool, generation, why);
}

size_t generation_count(const struct generation *generation, enum lane lane, bool spare, bool ready_only)
{
    size_t count = 0;
    for (const struct worker *w = generation->workers; w != NULL; w = w->next)
        count += w->lane == lane && w->spare == spare && !w->aged && w->state != WORKER_LEAVING &&
                 (!ready_only || w->state == WORKER_IDLE || w->state == WORKER_BUSY);
    return count;
}

static bool generation_fork(struct generation *generation, enum lane lane, bool spare)
{
    struct worker *worker = worker_new(generation, lane, spare);
    pool_keep_folder(generation->pool);
    struct packet_fork request = { .type = PACKET_FORK, .worker = worker->number, .lane = (uint32_t)lane, .spare = spare };
    if (!channel_send(generation->channel, &request, sizeof request, NULL, 0)) {
        worker_free(worker); /* the zygote is dying: SIGCHLD says so, or it is not, and the refill timer tries again */
        event_add(generation->pool->refill, &(struct timeval){ 0, REFILL_DELAY_MS * 1000 });
        return false;
    }
    if (!event_pending(generation->clock, EV_TIMEOUT, NULL))
        event_add(generation->clock, &(struct timeval){ FILL_LIMIT_S, 0 });
    return true;
}

void generation_fill(struct generation *generation)
{
    if (generation->state != GENERATION_FILLING && generation->state != GENERATION_SERVING)
        return;
    for (int kind = 0; kind < LANES * 2; kind++) {
        enum lane lane = (enum lane)(kind / 2);
        bool spare = kind % 2;
        for (size_t have = generation_count(generation, lane, spare, false); have < generation->wanted[lane][spare]; have++)
            if (!generation_fork(generation, lane, spare))
                return;
    }
}

static void generation_retire(struct generation *generation)
{
    generation->state = GENERATION_RETIRING;
    generation_check(generation);
}

static void generation_take_over(struct generation *generation)
{
    struct pool *pool = generation->pool;
    struct generation *old = pool->serving;
    generation->state = GENERATION_SERVING;
    event_del(generation->clock);
    pool->serving = generation;
    pool->suspected = false;
    pool->retry_s = RETRY_FIRST_S;
    if (generation->gc > pool->gc_done)
        pool->gc_done = generation->gc;
    pool_use_took_over(generation);
    pool_show_serving(pool);
    log_write(LOG_NOTICE, "generation %llu serves: %s, %u signatures, version %s", (unsigned long long)generation->number,
              generation->info.engine, generation->info.count, generation->info.signatures);
    if (old != NULL)
        generation_retire(old);
    else
        supervisor_tell("READY=1");
    pool_soon(pool);
}

static bool generation_is_full(const struct generation *generation)
{
    for (int kind = 0; kind < LANES * 2; kind++) {
        if (generation_count(generation, (enum lane)(kind / 2), kind % 2, true) < generation->wanted[kind / 2][kind % 2])
            return false;
    }
    return true;
}

/* After any change in its workers: what follows from it. */
void generation_check(struct generation *generation)
{
    switch (generation->state) {
    case GENERATION_FILLING:
        if (generation->early_deaths >= EARLY_DEATHS_MAX)
            generation_doom(generation, "its workers die at their start");
        else if (generation_is_full(generation))
            generation_take_over(generation);
        break;
    case GENERATION_SERVING:
        if (!event_pending(generation->pool->refill, EV_TIMEOUT, NULL))
            generation_fill(generation);
        if (generation_is_full(generation))
            event_del(generation->clock);
        for (struct worker *w = generation->workers; w != NULL; w = w->next) {
            if (w->aged && w->state == WORKER_IDLE && generation_count(generation, w->lane, w->spare, true) >= generation->wanted[w->lane][w->spare])
                worker_dismiss(w);
        }
        break;
    case GENERATION_RETIRING: {
        for (struct worker *w = generation->workers; w != NULL; w = w->next) {
            if (w->state == WORKER_IDLE || w->state == WORKER_STARTING)
                worker_dismiss(w);
        }
        bool busy = false;
        for (struct worker *w = generation->workers; w != NULL; w = w->next)
            busy = busy || w->job != NULL;
        if (!busy && generation->channel >= 0) {
            generation_stop_events(generation); /* the zygote ends at the end of its channel, */
            event_add(generation->clock, &(struct timeval){ RETIRE_LIMIT_S, 0 }); /* or it hangs */
        }
        break;
    }
    case GENERATION_LOADING:
    case GENERATION_DOOMED:
        break;
    }
}

/* Its zygote is reaped: none of its processes is left. */
void generation_gone(struct generation *generation)
{
    struct pool *pool = generation->pool;
    bool was_serving = pool->serving == generation, was_new = generation->state <= GENERATION_FILLING;
    generation->state = GENERATION_DOOMED; /* nothing is forked or retired any more */
    struct generation **at = &pool->generations;
    while (*at != generation)
        at = &(*at)->next;
    *at = generation->next;
    if (was_serving) {
        pool->serving = NULL;
        metric_set(pool->m.generation, 0);
        log_write(LOG_ERR, "generation %llu: its zygote died", (unsigned long long)generation->number);
    }
    while (generation->workers != NULL) {
        struct pool_outcome outcome = { .end = POOL_LOST };
        struct worker *worker = generation->workers;
        if (worker->job != NULL && worker->readable != NULL)
            worker_receive(worker);
        if (worker->job != NULL)
            worker_job_done(worker, &outcome);
        worker_free(worker);
    }
    generation_stop_events(generation);
    event_free(generation->clock);
    scratch_remove(generation->run_dir); /* normally gone with the zygote */
    if (was_new)
        pool_failed(pool, generation, "its zygote died");
    free(generation);
    pool_soon(pool);
}

static void generation_on_forked(struct generation *generation, const struct packet_forked *forked, int *fds, size_t fd_count)
{
    struct worker *worker = generation->workers;
    while (worker != NULL && worker->number != forked->worker)
        worker = worker->next;
    if (worker == NULL || worker->state != WORKER_FORKING || forked->pid <= 0 || fd_count != 2) {
        while (fd_count > 0)
            close(fds[--fd_count]);
        /* The zygote is out of processes, or we are out of descriptors (then the end of its channel ends it): again, later. */
        if (worker != NULL && worker->state == WORKER_FORKING) {
            log_write(LOG_WARNING, "no new worker: %s", forked->pid > 0 ? "no descriptors left for it" : "its fork failed");
            worker_free(worker);
            generation->early_deaths++;
            event_add(generation->pool->refill, &(struct timeval){ 0, REFILL_DELAY_MS * 1000 });
            generation_check(generation);
        }
        return;
    }
    worker_started(worker, forked->pid, fds[0], fds[1]);
    if (generation->state == GENERATION_RETIRING)
        generation_check(generation);
}

static void generation_on_died(struct generation *generation, const struct packet_died *died)
{
    for (struct worker *w = generation->workers; w != NULL; w = w->next) {
        if (w->number == died->worker) {
            worker_died(w, died->status);
            return;
        }
    }
}

static void generation_on_loaded(struct generation *generation, const struct packet_loaded *loaded)
{
    generation->info = loaded->info;
    generation->layers = loaded->layers;
    generation->state = GENERATION_FILLING;
    event_del(generation->clock);
    generation_fill(generation);
}

static void on_zygote_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct generation *generation = arg;
    union {
        uint32_t type;
        struct packet_loaded loaded;
        struct packet_load_failed failed;
        struct packet_forked forked;
        struct packet_died died;
    } packet;
    int fds[CHANNEL_FDS_MAX];
    size_t fd_count;
    ssize_t len = channel_receive(generation->channel, &packet, sizeof packet, fds, &fd_count, MSG_DONTWAIT);
    if (len < 0 && errno == EAGAIN)
        return;
    if (len == (ssize_t)sizeof packet.loaded && packet.type == PACKET_LOADED && generation->state == GENERATION_LOADING) {
        generation_on_loaded(generation, &packet.loaded);
    } else if (len == (ssize_t)sizeof packet.failed && packet.type == PACKET_LOAD_FAILED) {
        packet.failed.why[sizeof packet.failed.why - 1] = '\0';
        generation->damaged = packet.failed.damaged;
        generation_doom(generation, packet.failed.why);
    } else if (len == (ssize_t)sizeof packet.forked && packet.type == PACKET_FORKED) {
        generation_on_forked(generation, &packet.forked, fds, fd_count);
    } else if (len == (ssize_t)sizeof packet.died && packet.type == PACKET_DIED) {
        generation_on_died(generation, &packet.died);
    } else {
        event_del(generation->readable); /* the end: SIGCHLD follows */
        if (len > 0 || (len < 0 && errno != ECONNRESET))
            kill(generation->pid, SIGKILL);
    }
}

static void on_generation_clock(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct generation *generation = arg;
    switch (generation->state) {
    case GENERATION_LOADING:
        generation_doom(generation, "loading takes too long");
        break;
    case GENERATION_FILLING:
        generation_doom(generation, "its workers do not start");
        break;
    case GENERATION_SERVING:
        log_write(LOG_ERR, "generation %llu makes no more workers: to be replaced", (unsigned long long)generation->number);
        pool_renew(generation->pool);
        break;
    case GENERATION_RETIRING:
    case GENERATION_DOOMED:
        kill(generation->pid, SIGKILL);
        break;
    }
}

/* The zygote is this program again: forking with ZeroMQ's threads around is only safe with an exec right behind it. */
static bool generation_spawn(struct generation *generation, int zygote_end, struct error *why)
{
    char parent[16];
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    char name[] = "weir-scanner", option[] = "--zygote";
    char *const argv[] = { name, option, parent, NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, zygote_end, ZYGOTE_FD);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int status = posix_spawn(&generation->pid, PROGRAM, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (status != 0)
        error_set(why, "cannot start a zygote: %s", strerror(status));
    return status == 0;
}

static bool generation_start(struct pool *pool, struct generation *generation, struct error *why)
{
    int ends[2];
    struct packet_config *config = xmemdup(&pool->options.config, sizeof *config);
    snprintf(generation->run_dir, sizeof generation->run_dir, "%.4000s/g%llu", pool->options.run_dir,
             (unsigned long long)generation->number);
    config->type = PACKET_CONFIG;
    config->generation = generation->number;
    memcpy(config->run_dir, generation->run_dir, sizeof config->run_dir);
    if (pool->serving == NULL) /* mail that is no longer clean must not keep a scanner from its only signatures */
        config->clean[0] = '\0';
    bool done = false;
    pool_keep_folder(pool);
    if (mkdir(generation->run_dir, 0700) != 0 || !channel_pair(ends)) {
        error_set(why, "%s: %s", generation->run_dir, strerror(errno));
    } else {
        generation->channel = ends[0];
        done = generation_spawn(generation, ends[1], why);
        close(ends[1]);
        if (done && (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0 || !channel_send(ends[0], config, sizeof *config, NULL, 0)))
            log_write(LOG_WARNING, "zygote: %s", strerror(errno)); /* it is dead already: SIGCHLD says so */
    }
    free(config);
    return done;
}

void generation_new(struct pool *pool)
{
    struct error why;
    struct generation *generation = xcalloc(1, sizeof *generation);
    generation->pool = pool;
    generation->number = ++pool->last_generation;
    generation->gc = pool->gc_wanted;
    generation->channel = -1;
    memcpy(generation->set, pool->options.config.engine.set, sizeof generation->set);
    for (int lane = 0; lane < LANES; lane++) {
        uint64_t all = pool->options.workers[lane], spare = pool->options.spare < all ? pool->options.spare : all;
        generation->wanted[lane][0] = all - spare;
        generation->wanted[lane][1] = spare;
    }
    pool->renew = false;
    if (!generation_start(pool, generation, &why)) {
        pool_failed(pool, generation, why.text);
        descriptor_close(&generation->channel);
        scratch_remove(generation->run_dir);
        free(generation);
        return;
    }
    generation->readable = event_new(pool->base, generation->channel, EV_READ | EV_PERSIST, on_zygote_readable, generation);
    generation->clock = evtimer_new(pool->base, on_generation_clock, generation);
    event_add(generation->readable, NULL);
    event_add(generation->clock, &(struct timeval){ LOAD_LIMIT_S, 0 });
    generation->next = pool->generations;
    pool->generations = generation;
    log_write(LOG_INFO, "generation %llu loads %s", (unsigned long long)generation->number, pool->options.config.engine.signatures);
}

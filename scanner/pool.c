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
#include "scanner/pool.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "scanner/scratch.h"

#define ZYGOTE_FD 3
#define PROGRAM "/proc/self/exe" /* the very same, even when the file was replaced by an upgrade meanwhile */
#define LOAD_LIMIT_S 900       /* the largest sets take a minute */
#define FILL_LIMIT_S 30        /* from asking for a worker to its READY */
#define RETIRE_LIMIT_S 5       /* from a zygote's dismissal to its end */
#define EARLY_DEATHS_MAX 3     /* workers that die before READY while filling: the generation is no good */
#define RETRY_FIRST_S 1
#define RETRY_MAX_S 60
#define REFILL_DELAY_MS 200    /* between forks after a worker died before READY */
#define SUSPECT_AGAIN_US 60000000
#define ABANDON_US 1000000     /* a scan that nobody waits for may run that long, before and after that is known */
#define OWN_LIMIT_SHARE 9 / 10 /* of the wall clock: libclamav's own limit, so that a worker usually survives */

enum generation_state { GENERATION_LOADING, GENERATION_FILLING, GENERATION_SERVING, GENERATION_RETIRING, GENERATION_DOOMED };
enum worker_state { WORKER_FORKING, WORKER_STARTING, WORKER_IDLE, WORKER_BUSY, WORKER_LEAVING };
enum death { DEATH_NONE, DEATH_TIMEOUT, DEATH_CANCELLED };

struct worker {
    struct generation *generation;
    struct worker *next;
    uint32_t number;
    enum lane lane;
    enum worker_state state;
    bool aged; /* has done worker_scans: leaves when its replacement is ready */
    int32_t pid;
    int pidfd;
    int channel;
    struct event *readable;
    struct event *clock; /* until job_until_us */
    uint64_t scans;
    uint64_t serial; /* of the scan under way */
    void *job;
    uint64_t job_since_us, job_until_us;
    bool abandoned; /* nobody waits for the job any more */
    enum death killed_for;
};

struct generation {
    struct pool *pool;
    struct generation *next;
    uint64_t number;
    uint64_t gc; /* request number that it fulfils */
    enum generation_state state;
    pid_t pid;
    int channel;
    struct event *readable;
    struct event *clock;
    char run_dir[PATH_MAX];
    struct engine_info info;
    struct sandbox_layers layers;
    uint64_t wanted[LANES];
    uint32_t last_worker;
    unsigned early_deaths;
    struct worker *workers;
};

struct pool_metrics {
    struct metric *workers[LANES];
    struct metric *death_crash, *death_timeout, *death_cancelled, *death_sandbox, *death_start;
    struct metric *generation, *failures, *suspicions;
    struct metric *version; /* the one that is 1 */
    struct metric *age, *count;
    struct metric *huge;
    struct metric *seccomp, *landlock, *namespace;
};

struct pool {
    struct event_base *base;
    struct pool_options options;
    struct pool_handlers handlers;
    void *arg;
    struct metrics *metrics;
    struct pool_metrics m;
    struct generation *generations; /* all that have a process */
    struct generation *serving;     /* NULL: none */
    uint64_t last_generation, last_serial;
    uint64_t gc_wanted, gc_done;
    bool gc_heard; /* a request number, since the start of this process */
    bool renew;
    bool suspected; /* the generation that serves, until another has taken over */
    uint64_t suspected_us;
    unsigned retry_s;
    struct event *retry;  /* pending: wait before the next attempt */
    struct event *refill;
    struct event *again;  /* calls `changed` from the loop, and makes the next generation */
    struct event *child;  /* SIGCHLD */
    struct event *minute; /* signatures grow older */
};

static void generation_check(struct generation *generation);

static void pool_soon(struct pool *pool)
{
    event_add(pool->again, &(struct timeval){ 0, 0 });
}

static void closed(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* --- workers --- */

static void worker_stop_events(struct worker *worker)
{
    if (worker->readable != NULL)
        event_free(worker->readable);
    worker->readable = NULL;
    event_del(worker->clock);
    closed(&worker->channel);
}

static void worker_free(struct worker *worker)
{
    struct worker **at = &worker->generation->workers;
    while (*at != worker)
        at = &(*at)->next;
    *at = worker->next;
    worker_stop_events(worker);
    event_free(worker->clock);
    closed(&worker->pidfd);
    free(worker);
}

static void worker_kill(struct worker *worker)
{
    if (worker->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
}

/* It has nothing to do: the end of its channel makes it exit. */
static void worker_dismiss(struct worker *worker)
{
    worker->state = WORKER_LEAVING;
    worker_stop_events(worker);
}

static void worker_job_done(struct worker *worker, struct pool_outcome *outcome)
{
    struct pool *pool = worker->generation->pool;
    void *job = worker->job;
    worker->job = NULL;
    worker->abandoned = false;
    event_del(worker->clock);
    outcome->generation = worker->generation->number;
    outcome->info = &worker->generation->info;
    pool->handlers.done(pool->arg, job, outcome);
}

/* Which words a worker may put into our answers: printable ASCII. */
static void copy_name(char out[256], const char name[256])
{
    size_t len = strnlen(name, 255);
    for (size_t i = 0; i < len; i++)
        out[i] = name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?';
    out[len] = '\0';
}

static bool result_is_valid(const struct worker *worker, const struct packet_result *result)
{
    if (result->scan != worker->serial || worker->state != WORKER_BUSY)
        return false;
    switch (result->verdict) {
    case WEIR__VERDICT__VERDICT_CLEAN:
        return true;
    case WEIR__VERDICT__VERDICT_BAD:
        return result->name[0] != '\0';
    case WEIR__VERDICT__VERDICT_UNKNOWN:
        return result->reason == WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS || result->reason == WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT ||
               result->reason == WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE || result->reason == WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE;
    default:
        return false;
    }
}

static void worker_on_result(struct worker *worker, const struct packet_result *result)
{
    struct generation *generation = worker->generation;
    struct pool_outcome outcome = { .end = POOL_ANSWERED, .verdict = (Weir__Verdict)result->verdict, .scan_us = result->scan_us };
    if (outcome.verdict == WEIR__VERDICT__VERDICT_UNKNOWN)
        outcome.reason = (Weir__UnknownReason)result->reason;
    if (outcome.verdict != WEIR__VERDICT__VERDICT_CLEAN)
        copy_name(outcome.name, result->name);
    worker->state = WORKER_IDLE;
    worker->scans++;
    if (generation->pool->options.worker_scans != 0 && worker->scans >= generation->pool->options.worker_scans)
        worker->aged = true;
    worker_job_done(worker, &outcome);
    generation_check(generation);
}

static void worker_on_ready(struct worker *worker)
{
    worker->state = WORKER_IDLE;
    worker->generation->early_deaths = 0;
    pool_soon(worker->generation->pool);
    generation_check(worker->generation);
}

/* Takes one packet, if there is one. */
static void worker_receive(struct worker *worker)
{
    union {
        uint32_t type;
        struct packet_result result;
    } packet;
    int fds[CHANNEL_FDS_MAX];
    size_t fd_count;
    ssize_t len = channel_receive(worker->channel, &packet, sizeof packet, fds, &fd_count, MSG_DONTWAIT);
    if (len < 0 && errno == EAGAIN)
        return;
    while (len > 0 && fd_count > 0) /* workers have none to give */
        close(fds[--fd_count]);
    if (len == (ssize_t)sizeof(struct packet_ready) && packet.type == PACKET_READY && worker->state == WORKER_STARTING) {
        worker_on_ready(worker);
        return;
    }
    if (len == (ssize_t)sizeof packet.result && packet.type == PACKET_RESULT && result_is_valid(worker, &packet.result)) {
        worker_on_result(worker, &packet.result);
        return;
    }
    if (len > 0 || (len < 0 && errno != ECONNRESET)) {
        log_write(LOG_ERR, "worker %d says nonsense and is killed", worker->pid);
        worker_kill(worker);
    }
    if (worker->readable != NULL) /* its end is told by the zygote */
        event_del(worker->readable);
}

static void on_worker_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    worker_receive(arg);
}

static void on_worker_clock(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct worker *worker = arg;
    worker->killed_for = worker->abandoned ? DEATH_CANCELLED : DEATH_TIMEOUT;
    log_write(worker->abandoned ? LOG_INFO : LOG_WARNING, "worker %d has been scanning for %llu ms and is killed%s", worker->pid,
              (unsigned long long)((clock_us() - worker->job_since_us) / 1000), worker->abandoned ? ": nobody waits for it" : "");
    worker_kill(worker);
}

static void worker_set_clock(struct worker *worker, uint64_t us)
{
    worker->job_until_us = clock_us() + us;
    event_add(worker->clock, &(struct timeval){ (time_t)(us / 1000000), (suseconds_t)(us % 1000000) });
}

static struct worker *worker_new(struct generation *generation, enum lane lane)
{
    struct worker *worker = xcalloc(1, sizeof *worker);
    worker->generation = generation;
    worker->number = ++generation->last_worker;
    worker->lane = lane;
    worker->state = WORKER_FORKING;
    worker->pidfd = worker->channel = -1;
    worker->clock = evtimer_new(generation->pool->base, on_worker_clock, worker);
    worker->next = generation->workers;
    generation->workers = worker;
    return worker;
}

static void worker_died(struct worker *worker, int status)
{
    struct generation *generation = worker->generation;
    struct pool *pool = generation->pool;
    struct pool_outcome outcome = { .end = POOL_CRASHED };
    bool early = worker->state == WORKER_STARTING, expected = worker->state == WORKER_LEAVING && worker->job == NULL;
    int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (worker->job != NULL && worker->readable != NULL)
        worker_receive(worker); /* an answer may have come just before the end */
    if (worker->killed_for == DEATH_TIMEOUT || signal_number == SIGXCPU) {
        outcome.end = POOL_TIMEOUT;
        metric_add(pool->m.death_timeout, 1);
    } else if (worker->killed_for == DEATH_CANCELLED) {
        metric_add(pool->m.death_cancelled, 1);
    } else if (!expected) {
        metric_add(early ? pool->m.death_start : signal_number == SIGSYS ? pool->m.death_sandbox : pool->m.death_crash, 1);
        log_write(LOG_ERR, "worker %d died%s: %s %d%s", worker->pid, worker->job != NULL ? " on a message" : "",
                  signal_number != 0 ? "signal" : "exit status", signal_number != 0 ? signal_number : WEXITSTATUS(status),
                  signal_number == SIGSYS ? " (a system call outside the sandbox)" : "");
    }
    if (early) {
        generation->early_deaths++;
        event_add(pool->refill, &(struct timeval){ 0, REFILL_DELAY_MS * 1000 });
    }
    outcome.scan_us = worker->job != NULL ? (uint32_t)(clock_us() - worker->job_since_us) : 0;
    if (worker->job != NULL)
        worker_job_done(worker, &outcome);
    worker_free(worker);
    pool_soon(pool);
    generation_check(generation);
}

/* --- generations --- */

static void generation_stop_events(struct generation *generation)
{
    if (generation->readable != NULL)
        event_free(generation->readable);
    generation->readable = NULL;
    event_del(generation->clock);
    closed(&generation->channel);
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

static void pool_failed(struct pool *pool, const char *why)
{
    metric_add(pool->m.failures, 1);
    if (pool->suspected && pool->serving != NULL)
        pool_stop_serving(pool);
    log_write(LOG_ERR, "no new generation: %s%s", why, pool->serving != NULL ? "; the old one goes on" : "");
    if (pool->serving == NULL || pool->gc_wanted > pool->gc_done) {
        event_add(pool->retry, &(struct timeval){ pool->retry_s, 0 });
        pool->retry_s = pool->retry_s * 2 > RETRY_MAX_S ? RETRY_MAX_S : pool->retry_s * 2;
    }
}

/* Before it has served. SIGKILL ends the zygote, and that its workers. */
static void generation_doom(struct generation *generation, const char *why)
{
    if (generation->state == GENERATION_DOOMED)
        return;
    generation->state = GENERATION_DOOMED;
    generation_stop_events(generation);
    kill(generation->pid, SIGKILL);
    pool_failed(generation->pool, why);
}

static size_t generation_count(const struct generation *generation, enum lane lane, bool ready_only)
{
    size_t count = 0;
    for (const struct worker *w = generation->workers; w != NULL; w = w->next)
        count += w->lane == lane && !w->aged && w->state != WORKER_LEAVING &&
                 (!ready_only || w->state == WORKER_IDLE || w->state == WORKER_BUSY);
    return count;
}

/* What is missing without it says whoever needs it. */
static void pool_keep_folder(struct pool *pool)
{
    struct error why;
    if (!scratch_keep(pool->options.run_dir, pool->options.run_lock, &why))
        log_write(LOG_ERR, "%s", why.text);
}

static void generation_fill(struct generation *generation)
{
    if (generation->state != GENERATION_FILLING && generation->state != GENERATION_SERVING)
        return;
    for (int lane = 0; lane < LANES; lane++) {
        for (size_t have = generation_count(generation, (enum lane)lane, false); have < generation->wanted[lane]; have++) {
            struct worker *worker = worker_new(generation, (enum lane)lane);
            pool_keep_folder(generation->pool);
            struct packet_fork request = { .type = PACKET_FORK, .worker = worker->number, .lane = (uint32_t)lane };
            if (!channel_send(generation->channel, &request, sizeof request, NULL, 0)) {
                worker_free(worker); /* the zygote is dying: SIGCHLD says so, or it is not, and the refill timer tries again */
                event_add(generation->pool->refill, &(struct timeval){ 0, REFILL_DELAY_MS * 1000 });
                return;
            }
            if (!event_pending(generation->clock, EV_TIMEOUT, NULL))
                event_add(generation->clock, &(struct timeval){ FILL_LIMIT_S, 0 });
        }
    }
}

static void generation_retire(struct generation *generation)
{
    generation->state = GENERATION_RETIRING;
    generation_check(generation);
}

static void pool_show_serving(struct pool *pool)
{
    const struct engine_info *info = &pool->serving->info;
    if (pool->m.version == NULL)
        pool->m.version = metrics_gauge(pool->metrics, "weir_signature_version_info", NULL);
    metric_relabel(pool->m.version, "version=\"%s\"", info->signatures);
    metric_set(pool->m.version, 1);
    metric_set(pool->m.count, info->count);
    metric_set(pool->m.huge, (double)info->huge_bytes);
    metric_set(pool->m.seccomp, pool->serving->layers.seccomp);
    metric_set(pool->m.landlock, pool->serving->layers.landlock);
    metric_set(pool->m.namespace, pool->serving->layers.namespace);
    metric_set(pool->m.generation, (double)pool->serving->number);
    metric_set(pool->m.age, (double)clock_wall_ms() / 1000 - (double)info->newest);
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
    pool_show_serving(pool);
    log_write(LOG_NOTICE, "generation %llu serves: %s, %u signatures, version %s", (unsigned long long)generation->number,
              generation->info.engine, generation->info.count, generation->info.signatures);
    if (old != NULL)
        generation_retire(old);
    pool_soon(pool);
}

static bool generation_is_full(const struct generation *generation)
{
    for (int lane = 0; lane < LANES; lane++) {
        if (generation_count(generation, (enum lane)lane, true) < generation->wanted[lane])
            return false;
    }
    return true;
}

/* After any change in its workers: what follows from it. */
static void generation_check(struct generation *generation)
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
            if (w->aged && w->state == WORKER_IDLE && generation_count(generation, w->lane, true) >= generation->wanted[w->lane])
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
static void generation_gone(struct generation *generation)
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
        pool_failed(pool, "its zygote died");
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
    worker->pid = forked->pid;
    worker->channel = fds[0];
    worker->pidfd = fds[1];
    worker->state = WORKER_STARTING;
    /* A worker that reads nothing must not stop the master. */
    if (fcntl(worker->channel, F_SETFL, O_NONBLOCK) != 0)
        log_write(LOG_WARNING, "worker %d: %s", worker->pid, strerror(errno));
    worker->readable = event_new(generation->pool->base, worker->channel, EV_READ | EV_PERSIST, on_worker_readable, worker);
    event_add(worker->readable, NULL);
    log_write(LOG_DEBUG, "worker %d started, generation %llu, %s messages", worker->pid, (unsigned long long)generation->number,
              worker->lane == LANE_LARGE ? "large" : "small");
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

static void generation_new(struct pool *pool)
{
    struct error why;
    struct generation *generation = xcalloc(1, sizeof *generation);
    generation->pool = pool;
    generation->number = ++pool->last_generation;
    generation->gc = pool->gc_wanted;
    generation->channel = -1;
    memcpy(generation->wanted, pool->options.workers, sizeof generation->wanted);
    pool->renew = false;
    if (!generation_start(pool, generation, &why)) {
        pool_failed(pool, why.text);
        closed(&generation->channel);
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

/* --- the pool --- */

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
                   pool->serving == NULL ? 0 : (double)generation_count(pool->serving, (enum lane)lane, true));
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
    pool->m.age = metrics_gauge(metrics, "weir_signature_age_seconds", NULL);
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
    pool_make_metrics(pool);
    pool->again = evtimer_new(base, on_again, pool);
    pool->retry = evtimer_new(base, on_again, pool);
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
    free(pool);
    *pool_at = NULL;
}

void pool_configure(struct pool *pool, const struct pool_options *options)
{
    pool->options = *options;
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
static struct worker *pool_idle(const struct pool *pool, enum lane lane)
{
    struct worker *aged = NULL;
    if (pool->serving == NULL)
        return NULL;
    for (struct worker *w = pool->serving->workers; w != NULL; w = w->next) {
        if (w->lane != lane || w->state != WORKER_IDLE)
            continue;
        if (!w->aged)
            return w;
        aged = w;
    }
    return aged;
}

bool pool_has_idle(const struct pool *pool, enum lane lane)
{
    return pool_idle(pool, lane) != NULL;
}

static bool worker_send(struct worker *worker, const struct packet_scan *scan, const struct pool_message *message)
{
    return message->bytes != NULL ? channel_send_body(worker->channel, scan, sizeof *scan, message->bytes, (size_t)message->size)
                                  : channel_send(worker->channel, scan, sizeof *scan, &message->fd, 1);
}

/* Without its folder it fails on whatever it should unpack; another folder of that name is none that it may use. */
static bool worker_has_folder(const struct worker *worker)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%.4000s/w%u", worker->generation->run_dir, worker->number);
    return access(folder, F_OK) == 0;
}

static void worker_replace(struct worker *worker)
{
    worker_kill(worker); /* the zygote will say so */
    worker->state = WORKER_LEAVING;
}

bool pool_run(struct pool *pool, enum lane lane, const struct pool_message *message, uint32_t wall_ms, void *job)
{
    struct worker *worker;
    while ((worker = pool_idle(pool, lane)) != NULL) {
        if (!worker_has_folder(worker)) {
            log_write(LOG_WARNING, "worker %d has lost its folder and is replaced", worker->pid);
            worker_replace(worker);
            continue;
        }
        struct packet_scan scan = { .type = PACKET_SCAN, .time_ms = (uint32_t)((uint64_t)wall_ms * OWN_LIMIT_SHARE),
                                    .scan = ++pool->last_serial, .size = message->size };
        if (worker_send(worker, &scan, message)) {
            worker->state = WORKER_BUSY;
            worker->serial = scan.scan;
            worker->job = job;
            worker->job_since_us = clock_us();
            worker_set_clock(worker, (uint64_t)wall_ms * 1000);
            return true;
        }
        worker_replace(worker); /* it is dying */
    }
    return false;
}

static void worker_abandon(struct worker *worker)
{
    uint64_t now = clock_us();
    worker->abandoned = true;
    if (now - worker->job_since_us > ABANDON_US)
        worker_set_clock(worker, 0);
    else if (worker->job_until_us > now + ABANDON_US)
        worker_set_clock(worker, ABANDON_US);
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

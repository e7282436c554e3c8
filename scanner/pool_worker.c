/*
 * pool_worker.c - one worker, seen from the master: what it says, how long it may take, how it ends
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/score.h"
#include "proto/wire.h"
#include "scanner/pool_parts.h"

#define ABANDON_US 1000000 /* a scan that nobody waits for may run that long, before and after that is known */

static void worker_stop_events(struct worker *worker)
{
    if (worker->readable != NULL)
        event_free(worker->readable);
    worker->readable = NULL;
    event_del(worker->clock);
    descriptor_close(&worker->channel);
}

void worker_free(struct worker *worker)
{
    struct worker **at = &worker->generation->workers;
    while (*at != worker)
        at = &(*at)->next;
    *at = worker->next;
    worker_stop_events(worker);
    event_free(worker->clock);
    descriptor_close(&worker->pidfd);
    free(worker);
}

static void worker_kill(struct worker *worker)
{
    if (worker->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
}

/* It has nothing to do: the end of its channel makes it exit. */
void worker_dismiss(struct worker *worker)
{
    worker->state = WORKER_LEAVING;
    worker_stop_events(worker);
}

void worker_job_done(struct worker *worker, struct pool_outcome *outcome)
{
    struct pool *pool = worker->generation->pool;
    void *job = worker->job;
    pool_use_job_done(worker, outcome->end == POOL_ANSWERED);
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

static bool native_is_valid(const struct packet_native *native)
{
    bool good = native->score <= SCORE_MAX && native->symbol_count <= CHANNEL_SYMBOLS_MAX;
    for (uint32_t i = 0; good && i < native->symbol_count; i++)
        good = memchr(native->symbols[i].name, '\0', sizeof native->symbols[i].name) != NULL &&
               memchr(native->symbols[i].detail, '\0', sizeof native->symbols[i].detail) != NULL;
    return good;
}

static bool features_are_valid(const struct packet_features *features)
{
    bool good = features->count <= NATIVE_FEATURES_MAX && features->words <= features->count && features->language < NATIVE_LANGUAGES;
    for (uint32_t i = 0; good && i < features->count; i++)
        good = features->buckets[i] < NATIVE_BUCKETS;
    return good;
}

static bool findings_are_valid(const struct packet_findings *findings)
{
    bool good = findings->attachment_count <= CHANNEL_ATTACHMENTS_MAX && (!findings->scored || native_is_valid(&findings->native));
    for (uint32_t i = 0; good && i < findings->attachment_count; i++)
        good = findings->attachments[i].kind > WEIR__ATTACHMENT_KIND__ATTACHMENT_UNSPECIFIED &&
               findings->attachments[i].kind <= WEIR__ATTACHMENT_KIND__ATTACHMENT_PDF && findings->attachments[i].size <= WIRE_SIZE_MAX;
    return good;
}

/* findings, features: NULL: none came. */
static void worker_on_result(struct worker *worker, const struct packet_result *result, const struct packet_findings *findings, const struct packet_features *features)
{
    struct generation *generation = worker->generation;
    struct pool_outcome outcome = { .end = POOL_ANSWERED, .verdict = (Weir__Verdict)result->verdict, .scan_us = result->scan_us, .findings = findings, .features = features,
                                    .native = findings != NULL && findings->scored ? &findings->native : NULL };
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
    pool_use_ready(worker);
    worker->generation->early_deaths = 0;
    pool_soon(worker->generation->pool);
    generation_check(worker->generation);
}

/* Takes one packet, if there is one. */
void worker_receive(struct worker *worker)
{
    union {
        uint32_t type;
        struct packet_result result;
        struct {
            struct packet_result result;
            struct packet_findings findings;
            struct packet_features features;
        } all;
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
    bool all = len == (ssize_t)sizeof packet.all, finds = all || len == (ssize_t)offsetof(typeof(packet.all), features);
    if ((finds || len == (ssize_t)sizeof packet.result) && packet.type == PACKET_RESULT && result_is_valid(worker, &packet.result) &&
        (!finds || findings_are_valid(&packet.all.findings)) && (!all || features_are_valid(&packet.all.features))) {
        worker_on_result(worker, &packet.result, finds ? &packet.all.findings : NULL, all ? &packet.all.features : NULL);
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

struct worker *worker_new(struct generation *generation, enum lane lane, bool spare)
{
    struct worker *worker = xcalloc(1, sizeof *worker);
    worker->generation = generation;
    worker->number = ++generation->last_worker;
    worker->lane = lane;
    worker->spare = spare;
    worker->state = WORKER_FORKING;
    worker->pidfd = worker->channel = -1;
    worker->clock = evtimer_new(generation->pool->base, on_worker_clock, worker);
    worker->next = generation->workers;
    generation->workers = worker;
    return worker;
}

void worker_started(struct worker *worker, int32_t pid, int channel, int pidfd)
{
    const struct generation *generation = worker->generation;
    worker->pid = pid;
    worker->channel = channel;
    worker->pidfd = pidfd;
    worker->state = WORKER_STARTING;
    /* A worker that reads nothing must not stop the master. */
    if (fcntl(worker->channel, F_SETFL, O_NONBLOCK) != 0)
        log_write(LOG_WARNING, "worker %d: %s", worker->pid, strerror(errno));
    worker->readable = event_new(generation->pool->base, worker->channel, EV_READ | EV_PERSIST, on_worker_readable, worker);
    event_add(worker->readable, NULL);
    log_write(LOG_DEBUG, "worker %d started, generation %llu, %s messages", worker->pid, (unsigned long long)generation->number,
              worker->lane == LANE_LARGE ? "large" : "small");
}

void worker_died(struct worker *worker, int status)
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

/* The model of the day, before the first scan that is to use it. */
static bool worker_send_model(struct worker *worker)
{
    const struct pool *pool = worker->generation->pool;
    const struct packet_model packet = { .type = PACKET_MODEL };
    if (worker->model == pool->model_number)
        return true;
    worker->model = pool->model_number;
    return channel_send(worker->channel, &packet, sizeof packet, &pool->model, pool->model >= 0 ? 1 : 0);
}

bool worker_scan(struct worker *worker, const struct packet_scan *scan, const struct pool_message *message, uint32_t wall_ms, void *job)
{
    if (!worker_send_model(worker))
        return false;
    bool sent = message->bytes != NULL
                    ? channel_send_body(worker->channel, scan, sizeof *scan, message->bytes, (size_t)message->size)
                    : channel_send(worker->channel, scan, sizeof *scan, &message->fd, 1);
    if (!sent)
        return false;
    worker->state = WORKER_BUSY;
    worker->serial = scan->scan;
    worker->job = job;
    worker->job_since_us = clock_us();
    worker_set_clock(worker, (uint64_t)wall_ms * 1000);
    return true;
}

/* Without its folder it fails on whatever it should unpack; another folder of that name is none that it may use. */
bool worker_has_folder(const struct worker *worker)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%.4000s/w%u", worker->generation->run_dir, worker->number);
    return access(folder, F_OK) == 0;
}

void worker_replace(struct worker *worker)
{
    worker_kill(worker); /* the zygote will say so */
    worker->state = WORKER_LEAVING;
}

void worker_abandon(struct worker *worker)
{
    uint64_t now = clock_us();
    worker->abandoned = true;
    if (now - worker->job_since_us > ABANDON_US)
        worker_set_clock(worker, 0);
    else if (worker->job_until_us > now + ABANDON_US)
        worker_set_clock(worker, ABANDON_US);
}

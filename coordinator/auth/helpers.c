/*
 * helpers.c - helper processes: started, given one job each, and replaced
 *
 *     gone --spawn timer--> idle --job--> busy --answer--> idle
 *                            |              |--time-out--> killed
 *                            '--its socket ends----------> gone
 */
#include "coordinator/auth/helpers.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/auth/kinds.h"

#define SPAWN_PAUSE_MS 500 /* between a helper's end and its successor: one that cannot live must not keep us busy */

struct job {
    TAILQ_ENTRY(job) order;
    helpers_done_handler done;
    void *arg;
    uint64_t since_ms;
    struct packet packet;
};

TAILQ_HEAD(job_list, job);

struct helper {
    struct helpers *owner;
    pid_t pid;
    int fd; /* -1: gone */
    struct event *readable, *spawn;
    struct job *job; /* NULL: idle */
};

struct helpers {
    struct event_base *base;
    char *kind;
    size_t queue_max, jobs;
    uint64_t timeout_ms;
    struct packet setup;
    struct job_list queue;
    struct helper *helpers;
    unsigned count;
    struct event *work; /* a helper is idle, or a job has waited too long */
    struct metric *waiting, *deaths, *timeouts;
};

static void on_readable(evutil_socket_t fd, short what, void *arg);

static struct timeval after_ms(uint64_t milliseconds)
{
    return (struct timeval){ (time_t)(milliseconds / 1000), (suseconds_t)(milliseconds % 1000 * 1000) };
}

static void look_soon(struct helpers *helpers)
{
    event_add(helpers->work, &(struct timeval){ 0, 0 });
}

static void job_end(struct helpers *helpers, struct job *job, const char *const *fields, size_t count)
{
    helpers_done_handler done = job->done;
    void *arg = job->arg;

    packet_clear(&job->packet);
    free(job);
    metric_set(helpers->waiting, (double)--helpers->jobs);
    done(arg, fields, count);
}

/* --- processes --- */

static bool spawn(struct helper *helper)
{
    struct helpers *helpers = helper->owner;
    char program[] = "weir-coordinator", word[] = HELPERS_WORD;
    char *const argv[] = { program, word, helpers->kind, NULL };
    int pair[2];
    posix_spawn_file_actions_t actions;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], HELPERS_FD);
    int failed = posix_spawn(&helper->pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    evutil_make_socket_nonblocking(pair[0]);
    if (failed != 0 || send(pair[0], helpers->setup.bytes, helpers->setup.len, MSG_NOSIGNAL) < 0) {
        if (failed == 0) {
            kill(helper->pid, SIGKILL);
            waitpid(helper->pid, NULL, 0);
        }
        close(pair[0]);
        return false;
    }
    helper->fd = pair[0];
    helper->readable = event_new(helpers->base, helper->fd, EV_READ | EV_PERSIST, on_readable, helper);
    if (helper->readable == NULL || event_add(helper->readable, NULL) != 0)
        fatal("out of memory");
    return true;
}

static void on_spawn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct helper *helper = arg;

    if (!spawn(helper)) {
        log_write(LOG_ERR, "auth: cannot start a helper for %s: %s", helper->owner->kind, strerror(errno));
        event_add(helper->spawn, &(struct timeval){ 0, SPAWN_PAUSE_MS * 1000 });
        return;
    }
    look_soon(helper->owner);
}

/* Ends the process for sure, and with it what it is at. */
static void helper_end(struct helper *helper)
{
    if (helper->fd < 0)
        return;
    event_free(helper->readable);
    helper->readable = NULL;
    close(helper->fd);
    helper->fd = -1;
    kill(helper->pid, SIGKILL);
    waitpid(helper->pid, NULL, 0);
}

static void helper_replace(struct helper *helper)
{
    struct job *job = helper->job;

    helper_end(helper);
    helper->job = NULL;
    event_add(helper->spawn, &(struct timeval){ 0, SPAWN_PAUSE_MS * 1000 });
    if (job != NULL)
        job_end(helper->owner, job, NULL, 0);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct helper *helper = arg;
    struct helpers *helpers = helper->owner;
    struct packet answer;
    const char *fields[PACKET_FIELDS_MAX];

    if (what & EV_TIMEOUT) {
        log_write(LOG_WARNING, "auth: %s: no answer within %llu ms", helpers->kind,
                  (unsigned long long)helpers->timeout_ms);
        metric_add(helpers->timeouts, 1);
        helper_replace(helper);
        return;
    }
    ssize_t got = recv(fd, answer.bytes, sizeof answer.bytes, MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    answer.len = got > 0 && (size_t)got <= sizeof answer.bytes ? (size_t)got : 0;
    size_t count = packet_fields(&answer, fields);
    if (count == 0 || helper->job == NULL) { /* its end, or nothing that a helper says */
        log_write(LOG_ERR, "auth: a helper for %s died", helpers->kind);
        metric_add(helpers->deaths, 1);
        helper_replace(helper);
        return;
    }
    struct job *job = helper->job;
    helper->job = NULL;
    event_del(helper->readable); /* and its time-out with it */
    event_add(helper->readable, NULL);
    look_soon(helpers);
    job_end(helpers, job, fields, count);
}

/* --- jobs --- */

static struct helper *idle_helper(struct helpers *helpers)
{
    for (unsigned i = 0; i < helpers->count; i++)
        if (helpers->helpers[i].fd >= 0 && helpers->helpers[i].job == NULL)
            return &helpers->helpers[i];
    return NULL;
}

static void give(struct helper *helper, struct job *job)
{
    struct timeval limit = after_ms(helper->owner->timeout_ms);

    helper->job = job;
    if (send(helper->fd, job->packet.bytes, job->packet.len, MSG_NOSIGNAL) < 0)
        helper_replace(helper);
    else
        event_add(helper->readable, &limit);
}

static void on_work(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct helpers *helpers = arg;
    uint64_t now = clock_ms();
    struct helper *helper;
    struct job *job;

    while ((job = TAILQ_FIRST(&helpers->queue)) != NULL && now - job->since_ms >= helpers->timeout_ms) {
        TAILQ_REMOVE(&helpers->queue, job, order);
        metric_add(helpers->timeouts, 1);
        job_end(helpers, job, NULL, 0);
    }
    while ((job = TAILQ_FIRST(&helpers->queue)) != NULL && (helper = idle_helper(helpers)) != NULL) {
        TAILQ_REMOVE(&helpers->queue, job, order);
        give(helper, job);
    }
    if ((job = TAILQ_FIRST(&helpers->queue)) != NULL) {
        uint64_t due = job->since_ms + helpers->timeout_ms;
        struct timeval wait = after_ms(due > now ? due - now : 0);
        event_add(helpers->work, &wait);
    }
}

bool helpers_ask(struct helpers *helpers, const struct packet *packet, helpers_done_handler done, void *arg)
{
    if (helpers->jobs >= helpers->queue_max)
        return false;
    struct job *job = xmalloc(sizeof *job);
    job->done = done;
    job->arg = arg;
    job->since_ms = clock_ms();
    job->packet.len = packet->len;
    memcpy(job->packet.bytes, packet->bytes, packet->len);
    TAILQ_INSERT_TAIL(&helpers->queue, job, order);
    metric_set(helpers->waiting, (double)++helpers->jobs);
    look_soon(helpers);
    return true;
}

/* --- beginning and end --- */

struct helpers *helpers_new(const struct helpers_options *options)
{
    struct helpers *helpers = xcalloc(1, sizeof *helpers);

    helpers->base = options->base;
    helpers->kind = xstrdup(options->kind);
    helpers->queue_max = options->queue_max;
    helpers->timeout_ms = options->timeout_ms;
    helpers->setup.len = options->setup->len;
    memcpy(helpers->setup.bytes, options->setup->bytes, options->setup->len);
    TAILQ_INIT(&helpers->queue);
    helpers->waiting = metrics_gauge(options->metrics, "weir_auth_jobs", "kind=\"%s\"", options->kind);
    helpers->deaths = metrics_counter(options->metrics, "weir_auth_helper_deaths_total", "kind=\"%s\"", options->kind);
    helpers->timeouts = metrics_counter(options->metrics, "weir_auth_timeouts_total", "kind=\"%s\"", options->kind);
    helpers->work = event_new(helpers->base, -1, 0, on_work, helpers);
    helpers->count = options->count;
    helpers->helpers = xcalloc(helpers->count, sizeof *helpers->helpers);
    for (unsigned i = 0; i < helpers->count; i++) {
        struct helper *helper = &helpers->helpers[i];
        *helper = (struct helper){ .owner = helpers, .fd = -1 };
        helper->spawn = event_new(helpers->base, -1, 0, on_spawn, helper);
        event_add(helper->spawn, &(struct timeval){ 0, 0 });
    }
    return helpers;
}

void helpers_free(struct helpers **taken)
{
    struct helpers *helpers = *taken;
    struct job *job;

    *taken = NULL;
    if (helpers == NULL)
        return;
    helpers->queue_max = 0; /* what is told of the end asks nothing new */
    for (unsigned i = 0; i < helpers->count; i++) {
        struct helper *helper = &helpers->helpers[i];
        job = helper->job;
        helper_end(helper);
        event_free(helper->spawn);
        if (job != NULL)
            job_end(helpers, job, NULL, 0);
    }
    while ((job = TAILQ_FIRST(&helpers->queue)) != NULL) {
        TAILQ_REMOVE(&helpers->queue, job, order);
        job_end(helpers, job, NULL, 0);
    }
    event_free(helpers->work);
    packet_clear(&helpers->setup);
    free(helpers->helpers);
    free(helpers->kind);
    free(helpers);
}

/* --- in the helper --- */

/* Nothing of the coordinator's is left but the socket; what is in memory here are passwords. */
static void confine(void)
{
    close_range(HELPERS_FD + 1, ~0u, 0);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is for the coordinator, whose end is ours */
}

static bool receive(struct packet *packet)
{
    ssize_t got;

    do
        got = recv(HELPERS_FD, packet->bytes, sizeof packet->bytes, MSG_TRUNC);
    while (got < 0 && errno == EINTR);
    packet->len = got > 0 && (size_t)got <= sizeof packet->bytes ? (size_t)got : 0;
    return packet->len > 0;
}

int helpers_serve(const char *kind)
{
    static struct packet job, answer, setup; /* the setup is borrowed by the kind */
    const char *fields[PACKET_FIELDS_MAX];
    bool directory = strcmp(kind, "directory") == 0;

    confine();
    if ((!directory && strcmp(kind, "passwords") != 0) || !receive(&setup))
        return EXIT_FAILURE;
    if (directory && !directory_setup(fields, packet_fields(&setup, fields)))
        return EXIT_FAILURE;
    while (receive(&job)) {
        answer.len = 0;
        size_t count = packet_fields(&job, fields);
        if (directory)
            directory_serve(fields, count, &answer);
        else
            passwords_serve(fields, count, &answer);
        packet_clear(&job);
        if (answer.len == 0 || send(HELPERS_FD, answer.bytes, answer.len, MSG_NOSIGNAL) < 0)
            return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

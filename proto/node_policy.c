/* node_policy.c - see node_policy.h */
#include "proto/node_policy.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "proto/files.h"
#include "proto/node_cache.h"

#define AGAIN_MS     1000  /* from the first time it is asked for to the second; each pause is twice the one before, as large ones take long */
#define AGAIN_MAX_MS 30000
#define THREAD_STACK (1u << 20)

struct version {
    uint64_t epoch;
    char digest[WIRE_WORD_MAX + 1]; /* "": not told */
};

/* One policy on its way through the thread, which has all of it for itself until it says so. */
struct job {
    pthread_t thread;
    bool threaded; /* else the loop ran it */
    int done_fd;
    struct version version;
    void *(*parse)(const struct wire_file *files, size_t count, struct error *why);
    struct wire_files files;
    char *path; /* where it is kept; NULL: it is not */
    void *parsed;
    struct error why;       /* parsed is NULL: what is wrong with it */
    struct error cache_why; /* "": nothing */
};

struct node_policy {
    struct node_handlers handlers;
    void *arg;
    char *path;
    void (*told)(void *arg);
    void *told_arg;
    struct version have, wanted, refused;
    uint64_t asked_ms, again_ms; /* 0: not asked */
    struct job *job; /* NULL: none under way */
    int done_fd;
    struct event *done;
    struct metric *epoch_gauge, *refused_gauge;
};

static bool is_version(const struct version *version, const struct version *other)
{
    bool told = version->digest[0] != '\0' && other->digest[0] != '\0';

    return version->epoch == other->epoch && (!told || strcmp(version->digest, other->digest) == 0);
}

/* A cache without a digest is from before digests were told, and says nothing against a policy that has one. */
static bool is_same(const struct version *have, const struct version *wanted)
{
    return is_version(have, wanted) && (wanted->digest[0] == '\0' || have->digest[0] != '\0');
}

static void version_set(struct version *version, uint64_t epoch, const ProtobufCBinaryData *digest)
{
    version->epoch = epoch;
    wire_string(version->digest, sizeof version->digest, digest);
}

/* ---- the thread ---- */

static void keep(struct job *job)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__Policy policy = WEIR__POLICY__INIT;
    ProtobufCBinaryData names[WIRE_PAYLOADS_MAX];
    struct link_payload payloads[WIRE_PAYLOADS_MAX];
    size_t count = wire_files_split(job->files.items, job->files.count, names, payloads);

    policy.epoch = job->version.epoch;
    policy.digest = wire_text(job->version.digest);
    policy.files = names;
    policy.n_files = count;
    frame.body_case = WEIR__FRAME__BODY_POLICY;
    frame.policy = &policy;
    node_cache_write(job->path, &frame, payloads, count, &job->cache_why);
}

static void *job_run(void *arg)
{
    struct job *job = arg;
    uint64_t one = 1;

    job->parsed = job->parse(job->files.items, job->files.count, &job->why);
    if (job->parsed != NULL && job->path != NULL)
        keep(job);
    ssize_t told = write(job->done_fd, &one, sizeof one);
    (void)told; /* an eventfd that is read after each job takes it */
    return NULL;
}

/* Signals are the loop's. Without a thread the loop stands still meanwhile, but the policy counts. */
static void job_start(struct job *job)
{
    sigset_t all, before;
    pthread_attr_t attributes;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    int status = pthread_create(&job->thread, &attributes, job_run, job);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    job->threaded = status == 0;
    if (job->threaded) {
        pthread_setname_np(job->thread, "weir-policy");
        return;
    }
    log_write(LOG_WARNING, "node: no thread to parse a policy, so all else waits for it: %s", strerror(status));
    job_run(job);
}

static void job_join(const struct job *job)
{
    if (job->threaded)
        pthread_join(job->thread, NULL);
}

static void job_free(struct job *job)
{
    wire_files_free(&job->files);
    free(job->path);
    free(job);
}

/* ---- the loop ---- */

static void on_done(evutil_socket_t fd, short what, void *arg)
{
    struct node_policy *policy = arg;
    struct job *job = policy->job;
    uint64_t count;

    (void)what;
    if (read(fd, &count, sizeof count) != sizeof count || job == NULL)
        return;
    job_join(job);
    policy->job = NULL;
    if (job->cache_why.text[0] != '\0')
        log_write(LOG_WARNING, "node: cannot keep what the coordinators said: %s", job->cache_why.text);
    if (job->parsed != NULL) {
        policy->have = job->version;
        metric_set(policy->epoch_gauge, (double)job->version.epoch);
        policy->handlers.policy(policy->arg, job->version.epoch, job->parsed);
    } else {
        policy->refused = job->version;
        log_write(LOG_ERR, "node: policy %llu is not usable here, the last one stays: %s", (unsigned long long)job->version.epoch, job->why.text);
    }
    metric_set(policy->refused_gauge, job->parsed == NULL ? 1 : 0);
    job_free(job);
    policy->told(policy->told_arg);
}

struct node_policy *node_policy_new(struct event_base *base, const struct node_handlers *handlers, void *arg, const char *path,
                                    struct metrics *metrics, void (*told)(void *told_arg), void *told_arg)
{
    struct node_policy *policy = xcalloc(1, sizeof *policy);

    policy->handlers = *handlers;
    policy->arg = arg;
    policy->path = path != NULL ? xstrdup(path) : NULL;
    policy->told = told;
    policy->told_arg = told_arg;
    policy->epoch_gauge = metrics_gauge(metrics, "weir_node_policy_epoch", NULL);
    policy->refused_gauge = metrics_gauge(metrics, "weir_node_policy_refused", NULL);
    policy->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    policy->done = policy->done_fd >= 0 ? event_new(base, policy->done_fd, EV_READ | EV_PERSIST, on_done, policy) : NULL;
    if (policy->done == NULL || event_add(policy->done, NULL) != 0)
        fatal("node: no eventfd: %m");
    return policy;
}

void node_policy_free(struct node_policy **taken)
{
    struct node_policy *policy = *taken;

    *taken = NULL;
    if (policy == NULL)
        return;
    if (policy->job != NULL) {
        job_join(policy->job);
        if (policy->job->parsed != NULL)
            policy->handlers.policy_free(policy->job->parsed);
        job_free(policy->job);
    }
    event_free(policy->done);
    close(policy->done_fd);
    free(policy->path);
    free(policy);
}

uint64_t node_policy_epoch(const struct node_policy *policy)
{
    return policy->have.epoch;
}

void node_policy_want(struct node_policy *policy, uint64_t epoch, const ProtobufCBinaryData *digest)
{
    struct version wanted;

    version_set(&wanted, epoch, digest);
    if (!is_version(&wanted, &policy->wanted) && policy->again_ms > AGAIN_MS) /* news need not wait as long as what was asked for before */
        policy->again_ms = AGAIN_MS;
    policy->wanted = wanted;
}

bool node_policy_is_due(const struct node_policy *policy, uint64_t now, Weir__PolicyRequest *request)
{
    const struct version *wanted = &policy->wanted;

    if (policy->handlers.policy == NULL || policy->job != NULL || wanted->epoch == 0 || is_same(&policy->have, wanted) ||
        is_same(&policy->refused, wanted) || (policy->asked_ms != 0 && now - policy->asked_ms < policy->again_ms))
        return false;
    request->have = policy->have.epoch;
    request->have_digest = wire_text(policy->have.digest);
    return true;
}

void node_policy_asked(struct node_policy *policy, uint64_t now)
{
    uint64_t longer = policy->again_ms == 0 ? AGAIN_MS : 2 * policy->again_ms;

    policy->asked_ms = now;
    policy->again_ms = now == 0 ? 0 : longer < AGAIN_MAX_MS ? longer : AGAIN_MAX_MS;
}

void node_policy_take(struct node_policy *policy, const struct link_message *message, bool cached)
{
    const Weir__Policy *told = message->frame->policy;
    struct version version;

    version_set(&version, told->epoch, &told->digest);
    if (policy->handlers.policy == NULL || policy->job != NULL || is_same(&policy->have, &version) || is_same(&policy->refused, &version))
        return;
    if (version.epoch < policy->have.epoch && !is_version(&version, &policy->wanted))
        return; /* a late answer */
    if (!cached)
        log_write(LOG_NOTICE, "node: policy %llu", (unsigned long long)version.epoch);
    node_policy_asked(policy, 0);
    struct job *job = policy->job = xcalloc(1, sizeof *job);
    job->version = version;
    job->done_fd = policy->done_fd;
    job->parse = policy->handlers.policy_parse;
    job->path = policy->path != NULL && !cached ? xstrdup(policy->path) : NULL;
    wire_files_join(&job->files, told->files, message->payloads, told->n_files);
    job_start(job);
}

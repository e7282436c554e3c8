/*
 * zygote.c - one generation: the process that loads the signatures once and forks workers that share them
 *
 *     CONFIG -> load -> self-test -> LOADED -> (FORK -> FORKED)* (DIED)* -> end of channel -> kill and reap what is left -> exit
 *            \-> LOAD_FAILED, exit 1
 *
 * Single-threaded and without a library loop: fork() must find a quiet process, and there are two things to wait for. The one exception
 * is the loader, a thread that is joined before the first fork: loading takes a core for many seconds, so it runs niced, and on Linux
 * only a thread of its own can be niced without the zygote, and with it all workers, staying so for ever.
 */
#include "scanner/zygote.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/signature_set.h"
#include "scanner/channel.h"
#include "scanner/engine.h"
#include "scanner/hugepages.h"
#include "scanner/sandbox.h"
#include "scanner/scratch.h"
#include "scanner/worker.h"

#define LOADER_NICE 15 /* a tenth of a core where workers want all of it, so that loading still ends */
#define LOADER_STACK (8u << 20)
#define SELF_TEST_MS 30000
#define CLEAN_MAIL_MAX (4 << 20)
#define CLEAN_SCANS_FROM 1000 /* even: behind those of engine_test_message() */
#define SELF_TEST_WORKER 0 /* real workers have numbers from 1 */

struct child {
    pid_t pid;
    uint32_t worker;
    struct child *next;
};

struct zygote {
    int channel; /* to the master */
    int signals; /* signalfd: SIGCHLD */
    struct packet_config config;
    struct engine *engine;
    struct child *children;
};

static void worker_folder(const struct zygote *zygote, uint32_t worker, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%.*s/w%u", PATH_MAX - 16, zygote->config.run_dir, worker);
}

static struct worker_options worker_options(const struct zygote *zygote, uint32_t worker, enum lane lane, bool spare)
{
    struct worker_options options = {
        .memory = zygote->config.worker_memory,
        .file_size = zygote->config.engine.max_scan_size,
        .mime = zygote->config.mime,
        .native_us = zygote->config.native_us,
        .sandbox = zygote->config.sandbox,
        .lane = lane,
        .spare = spare,
        .parent = getpid(),
    };
    worker_folder(zygote, worker, options.tmp_dir);
    return options;
}

/* The generation's folder, too, when somebody has removed it. */
static bool make_folder(const struct zygote *zygote, const char *path)
{
    return mkdir(path, 0700) == 0 ||
           (errno == ENOENT && mkdir(zygote->config.run_dir, 0700) == 0 && mkdir(path, 0700) == 0);
}

/* Forks a worker. Gives our end of its channel and a pidfd, both the caller's; 0 when that fails. */
static pid_t zygote_fork(struct zygote *zygote, uint32_t worker, enum lane lane, bool spare, int fds[2])
{
    struct worker_options options = worker_options(zygote, worker, lane, spare);
    int ends[2];
    if (!make_folder(zygote, options.tmp_dir) || !channel_pair(ends)) {
        log_write(LOG_ERR, "cannot make worker %u: %s", worker, strerror(errno));
        return 0;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        close(zygote->channel);
        close(zygote->signals);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        worker_run(&options, zygote->engine, ends[1]);
    }
    close(ends[1]);
    int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (pidfd < 0) {
        log_write(LOG_ERR, "cannot make worker %u: %s", worker, strerror(errno));
        close(ends[0]);
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
        scratch_remove(options.tmp_dir);
        return 0;
    }
    fds[0] = ends[0];
    fds[1] = pidfd;
    struct child *child = xmalloc(sizeof *child);
    *child = (struct child){ .pid = pid, .worker = worker, .next = zygote->children };
    zygote->children = child;
    return pid;
}

static void child_gone(struct zygote *zygote, struct child **at)
{
    struct child *child = *at;
    char folder[PATH_MAX];
    worker_folder(zygote, child->worker, folder);
    scratch_remove(folder);
    *at = child->next;
    free(child);
}

/* --- self-test --- */

static bool self_test_receive(int channel, void *packet, size_t len, struct error *why)
{
    struct pollfd wait = { .fd = channel, .events = POLLIN };
    int fds[CHANNEL_FDS_MAX];
    size_t fd_count = 0;
    if (poll(&wait, 1, SELF_TEST_MS) != 1) {
        error_set(why, "self-test: no answer within %d s", SELF_TEST_MS / 1000);
        return false;
    }
    if (channel_receive(channel, packet, len, fds, &fd_count, 0) != (ssize_t)len) {
        error_set(why, "self-test: the worker died");
        return false;
    }
    return true;
}

/* In both ways that messages come, one after the other. */
static bool self_test_send(int channel, const struct packet_scan *scan, const char *text)
{
    if (scan->scan % 2 == 0)
        return channel_send_body(channel, scan, sizeof *scan, text, (size_t)scan->size);
    int fd = memfd_create("self-test", MFD_CLOEXEC);
    bool sent = fd >= 0 && write(fd, text, (size_t)scan->size) == (ssize_t)scan->size &&
                channel_send(channel, scan, sizeof *scan, &fd, 1);
    if (fd >= 0)
        close(fd);
    return sent;
}

static bool self_test_one(int channel, size_t index, const char *text, size_t len, Weir__Verdict expected, struct error *why)
{
    struct packet_scan scan = { .type = PACKET_SCAN, .time_ms = SELF_TEST_MS, .scan = index, .size = len };
    struct packet_result result = { 0 };
    if (!self_test_send(channel, &scan, text)) {
        error_set(why, "self-test: %s", strerror(errno));
        return false;
    }
    if (!self_test_receive(channel, &result, sizeof result, why))
        return false;
    if (result.verdict != (uint32_t)expected) {
        error_set(why, "self-test: %s (%.200s)", expected == WEIR__VERDICT__VERDICT_BAD
                  ? "the EICAR test virus is not found: is its signature in the set?" : "a clean mail is not found clean",
                  result.name);
        return false;
    }
    return true;
}

/* In either way, by the message's size: a packet holds no more. */
static bool self_test_mail(int channel, int folder, const char *name, uint64_t scan, struct error *why)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    char *text = NULL;
    bool passed = false;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size > CLEAN_MAIL_MAX) {
        error_set(why, "self-test: %s: %s", name, fd < 0 ? strerror(errno) : "larger than 4 MiB");
    } else {
        size_t size = (size_t)st.st_size + ENGINE_MAIL_PREFIX_LEN;
        text = xmalloc(size);
        memcpy(text, ENGINE_MAIL_PREFIX, ENGINE_MAIL_PREFIX_LEN);
        if (pread(fd, text + ENGINE_MAIL_PREFIX_LEN, (size_t)st.st_size, 0) != st.st_size)
            error_set(why, "self-test: %s cannot be read", name);
        else
            passed = self_test_one(channel, size > CHANNEL_BODY_MAX ? scan | 1 : scan, text, size, WEIR__VERDICT__VERDICT_CLEAN, why);
    }
    if (!passed) {
        struct error words = *why;
        error_set(why, "%.200s: %.250s", name, words.text);
    }
    free(text);
    if (fd >= 0)
        close(fd);
    return passed;
}

/* Mail that the site keeps for this: a set that finds something in it would refuse good mail. */
static bool self_test_clean(int channel, const char *folder, struct error *why)
{
    DIR *dir = folder[0] != '\0' ? opendir(folder) : NULL;
    bool passed = folder[0] == '\0' || dir != NULL;
    if (!passed)
        error_set(why, "self-test: %s: %s", folder, strerror(errno));
    uint64_t scan = CLEAN_SCANS_FROM;
    for (const struct dirent *entry; passed && dir != NULL && (entry = readdir(dir)) != NULL;) {
        size_t len = strlen(entry->d_name);
        if (entry->d_name[0] == '.' || len < 4 || strcmp(entry->d_name + len - 4, ".eml") != 0)
            continue;
        passed = self_test_mail(channel, dirfd(dir), entry->d_name, scan, why);
        scan += 2;
    }
    if (dir != NULL)
        closedir(dir);
    return passed;
}

/* Through a real worker with its whole sandbox: what does not work there must not take mail. */
static bool self_test(struct zygote *zygote, struct error *why)
{
    int fds[2];
    if (zygote_fork(zygote, SELF_TEST_WORKER, LANE_SMALL, false, fds) == 0) {
        error_set(why, "self-test: cannot fork a worker");
        return false;
    }
    struct packet_ready ready;
    bool passed = self_test_receive(fds[0], &ready, sizeof ready, why) && ready.type == PACKET_READY;
    char text[1024];
    size_t len;
    Weir__Verdict expected;
    for (size_t i = 0; passed && engine_test_message(i, text, sizeof text, &len, &expected); i++)
        passed = self_test_one(fds[0], i, text, len, expected, why);
    passed = passed && self_test_clean(fds[0], zygote->config.clean, why);
    kill(zygote->children->pid, SIGKILL);
    waitpid(zygote->children->pid, NULL, 0);
    child_gone(zygote, &zygote->children);
    close(fds[0]);
    close(fds[1]);
    return passed;
}

/* --- life --- */

static bool zygote_read_config(struct zygote *zygote)
{
    int fds[CHANNEL_FDS_MAX];
    size_t fd_count;
    ssize_t len = channel_receive(zygote->channel, &zygote->config, sizeof zygote->config, fds, &fd_count, 0);
    if (len != (ssize_t)sizeof zygote->config || zygote->config.type != PACKET_CONFIG)
        return false;
    char ident[160];
    snprintf(ident, sizeof ident, "weir/%s/zygote", zygote->config.node);
    log_open(&(struct log_options){ .ident = ident, .node = zygote->config.node, .file = zygote->config.log_file,
                                    .format = (enum log_format)zygote->config.log_format,
                                    .level = zygote->config.log_level });
    return true;
}

struct loader {
    struct zygote *zygote;
    struct engine_info *info;
    bool *damaged;
    struct error *why;
};

/* Summed up again at each load: what is in the folder is what was fetched, whatever happened to the disk since. */
static bool loader_verify(const struct engine_options *options, bool *damaged, struct error *why)
{
    if (options->set[0] == '\0')
        return true;
    struct signature_file *files = xcalloc(SIGNATURE_FILES_MAX, sizeof *files);
    char name[SIGNATURE_HEX_LEN + 1] = "";
    int count = signature_folder_read(options->signatures, files, UINT64_MAX, why);
    if (count >= 0)
        signature_set_name(files, (size_t)count, name);
    free(files);
    *damaged = strcmp(name, options->set) != 0;
    if (*damaged && count >= 0)
        error_set(why, "%s: the files are not those of the set", options->signatures);
    return !*damaged;
}

static void *loader_run(void *arg)
{
    struct loader *loader = arg;
    pthread_setname_np(pthread_self(), "weir-loader");
    if (setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + LOADER_NICE) != 0)
        log_write(LOG_DEBUG, "nice: %s", strerror(errno));
    const struct engine_options *options = &loader->zygote->config.engine;
    if (loader_verify(options, loader->damaged, loader->why))
        loader->zygote->engine = engine_load(options, loader->info, loader->why);
    if (loader->zygote->engine != NULL && loader->zygote->config.huge_pages)
        loader->info->huge_bytes = hugepages_collapse(); /* the other thread only waits for this one */
    return NULL;
}

/* Loads at low priority; the process has one thread again when this returns. */
static void zygote_load_niced(struct zygote *zygote, struct engine_info *info, bool *damaged, struct error *why)
{
    struct loader loader = { .zygote = zygote, .info = info, .damaged = damaged, .why = why };
    pthread_attr_t attributes;
    pthread_t thread;
    mallopt(M_ARENA_MAX, 1); /* one heap: the engine must not stand in the arena of a thread that is gone */
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, LOADER_STACK);
    int status = pthread_create(&thread, &attributes, loader_run, &loader);
    if (status == 0)
        pthread_join(thread, NULL);
    else
        error_set(why, "cannot start the loader: %s", strerror(status));
    pthread_attr_destroy(&attributes);
}

static bool zygote_load(struct zygote *zygote)
{
    struct packet_loaded loaded = { .type = PACKET_LOADED };
    struct error why = { "" };
    bool damaged = false;
    loaded.layers.namespace = sandbox_isolate();
    loaded.layers.seccomp = zygote->config.sandbox;
    loaded.layers.landlock = zygote->config.sandbox && sandbox_has_landlock();
    if (!loaded.layers.landlock)
        log_write(LOG_WARNING, zygote->config.sandbox ? "this kernel has no Landlock: only permissions keep workers from other files"
                                                      : "the sandbox is turned off: workers may do whatever this user may");
    zygote_load_niced(zygote, &loaded.info, &damaged, &why);
    if (zygote->engine == NULL || !self_test(zygote, &why)) {
        struct packet_load_failed failed = { .type = PACKET_LOAD_FAILED, .damaged = damaged };
        snprintf(failed.why, sizeof failed.why, "%s", why.text);
        channel_send(zygote->channel, &failed, sizeof failed, NULL, 0);
        return false;
    }
    return channel_send(zygote->channel, &loaded, sizeof loaded, NULL, 0);
}

/* false: the master is gone, or talks nonsense. */
static bool zygote_on_packet(struct zygote *zygote)
{
    struct packet_fork request;
    int unused[CHANNEL_FDS_MAX], fds[2] = { -1, -1 };
    size_t fd_count;
    ssize_t len = channel_receive(zygote->channel, &request, sizeof request, unused, &fd_count, 0);
    if (len != (ssize_t)sizeof request || request.type != PACKET_FORK || request.lane >= LANES)
        return false;
    pid_t pid = zygote_fork(zygote, request.worker, (enum lane)request.lane, request.spare, fds);
    struct packet_forked reply = { .type = PACKET_FORKED, .worker = request.worker, .pid = pid };
    bool sent = channel_send(zygote->channel, &reply, sizeof reply, fds, pid > 0 ? 2 : 0);
    if (pid > 0) {
        close(fds[0]);
        close(fds[1]);
    }
    return sent;
}

static bool zygote_reap(struct zygote *zygote)
{
    struct signalfd_siginfo info;
    while (read(zygote->signals, &info, sizeof info) > 0)
        ;
    pid_t pid;
    int status;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child **at = &zygote->children;
        while (*at != NULL && (*at)->pid != pid)
            at = &(*at)->next;
        if (*at == NULL)
            continue;
        struct packet_died died = { .type = PACKET_DIED, .worker = (*at)->worker, .status = status };
        child_gone(zygote, at);
        if (!channel_send(zygote->channel, &died, sizeof died, NULL, 0))
            return false;
    }
    return true;
}

static void zygote_run(struct zygote *zygote)
{
    struct pollfd waits[] = { { .fd = zygote->channel, .events = POLLIN }, { .fd = zygote->signals, .events = POLLIN } };
    for (;;) {
        if (poll(waits, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return;
        }
        if (waits[1].revents != 0 && !zygote_reap(zygote))
            return;
        if (waits[0].revents != 0 && !zygote_on_packet(zygote))
            return;
    }
}

static void zygote_end(struct zygote *zygote)
{
    for (struct child *child = zygote->children; child != NULL; child = child->next)
        kill(child->pid, SIGKILL);
    while (zygote->children != NULL) {
        waitpid(zygote->children->pid, NULL, 0);
        child_gone(zygote, &zygote->children);
    }
    scratch_remove(zygote->config.run_dir);
}

int zygote_main(int channel, int32_t parent)
{
    struct zygote zygote = { .channel = channel };
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_NAME, "weir-zygote");
    close_range((unsigned)channel + 1, ~0u, 0);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_SETMASK, &chld, NULL);
    zygote.signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    if (zygote.signals < 0 || !zygote_read_config(&zygote))
        return 1;
    /* The terminal's ^C and a service manager's TERM to the whole group are for the master to decide about. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        return 1;
    bool loaded = zygote_load(&zygote);
    if (loaded)
        zygote_run(&zygote);
    zygote_end(&zygote);
    return loaded ? 0 : 1;
}

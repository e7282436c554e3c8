/*
 * master.c - binds the listeners, starts the workers, and starts a new one for each that dies
 *
 * Every worker has sockets of its own (SO_REUSEPORT), and the master holds them all: connections waiting in a dead worker's queue are taken by
 * its successor; where none comes (the edge ends) the master ends listening. The master speaks no SMTP, opens no ZeroMQ context and has no event library, so forking is safe at any time.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/open_files.h"
#include "common/process_watch.h"
#include "common/supervisor.h"
#include "edge/edge.h"

#define BACKOFF_FIRST_MS 50u    /* a worker that died is missed at once */
#define BACKOFF_LAST_MS 10000u  /* one that dies again and again does not burn the machine */
#define STEADY_MS 10000u        /* after that long a worker counts as healthy again */
#define KILL_AFTER_MS 60000u    /* beyond drain_timeout, for workers that do not end */
#define PORT_WAIT_MS 3000u      /* for the workers of a master that was killed to be gone from our ports */
#define PORT_LOOK_US 20000u
#define LOOK_MS 250u            /* between two looks at whether the workers' loops turn */
#define START_FACTOR 3u         /* a starting worker may take so many times worker_watchdog until its loop turns */

struct child {
    pid_t pid;           /* 0: not running */
    bool ready, hung, ticked;
    uint32_t ticks;      /* at the last look */
    uint64_t silent_ms;  /* since they changed, as far as it and the master could run */
    struct process_watch watch;
    uint64_t started_ms;
    uint64_t start_at_ms;
    uint64_t backoff_ms;
};

struct master {
    const struct command *command;
    struct edge_config *config; /* of the start: names the sockets */
    uint64_t drain_timeout, worker_watchdog; /* of the last HUP whose file was right */
    struct edge_socket *sockets;
    size_t socket_count;
    struct child *children;
    unsigned workers;
    struct census *census;
    int ready_pipe[2];
    int signal_fd;
    sigset_t old_mask;
    bool told_ready, stopping;
    uint64_t kill_at_ms, looked_ms;
    uint64_t ping_every_ms, ping_at_ms; /* WATCHDOG=1 for systemd; 0: not wanted */
};

static void raise_descriptor_limit(const struct edge_config *config)
{
    unsigned workers = edge_config_workers(config);
    /* A worker's. Drained, it has sessions that go on, and connections that are passed on: two sockets each. */
    open_files_raise(config->edge.max_sessions / workers + 2 * edge_config_handovers(config, workers) + config->edge.next_hop_connections + 64,
                     "max_sessions, next_hop_connections");
}

static void bind_one(struct master *master, const char *listener, const struct netaddr *address)
{
    struct error why;
    char text[NETADDR_TEXT_MAX];
    uint64_t until = clock_ms() + PORT_WAIT_MS;
    while (!net_is_free(address, &why)) {
        if (clock_ms() >= until)
            fatal("[listener \"%s\"]: %s", listener, why.text);
        usleep(PORT_LOOK_US);
    }
    master->sockets = xrealloc(master->sockets, (master->socket_count + 1) * sizeof *master->sockets);
    struct edge_socket *socket = &master->sockets[master->socket_count++];
    *socket = (struct edge_socket){ .listener = listener, .address = *address };
    socket->fds = xcalloc(master->workers, sizeof *socket->fds);
    for (unsigned w = 0; w < master->workers; w++)
        if ((socket->fds[w] = net_bind(address, &why)) < 0)
            fatal("[listener \"%s\"]: %s", listener, why.text);
    log_write(LOG_INFO, "listener \"%s\" on %s, %u workers", listener, netaddr_format_endpoint(address, text), master->workers);
}

static void bind_all(struct master *master)
{
    const struct edge_config *config = master->config;
    for (size_t l = 0; l < config->listener_count; l++) {
        const struct config_list *listen = &config->listeners[l].settings.listen;
        for (size_t i = 0; i < listen->count; i++) {
            struct error why;
            struct netaddr address;
            if (!netaddr_parse_endpoint(&address, listen->items[i], &why))
                fatal("[listener \"%s\"] listen: %s", config->listeners[l].name, why.text);
            bind_one(master, config->listeners[l].name, &address);
        }
    }
}

/* Nobody will accept from this worker's sockets any more: clients are refused, instead of waiting in a queue until the last worker ends. */
static void end_listening(const struct master *master, unsigned worker)
{
    for (size_t s = 0; s < master->socket_count; s++)
        shutdown(master->sockets[s].fds[worker], SHUT_RD);
}

static void start_child(struct master *master, unsigned worker)
{
    struct child *child = &master->children[worker];
    pid_t parent = getpid();
    child->ready = child->hung = child->ticked = false;
    child->ticks = census_ticks(master->census, worker);
    child->silent_ms = 0;
    child->watch = (struct process_watch){ 0 };
    child->started_ms = clock_ms();
    child->pid = fork();
    if (child->pid < 0) {
        child->pid = 0;
        child->start_at_ms = clock_ms() + BACKOFF_LAST_MS;
        log_write(LOG_ERR, "cannot start a worker: %s", strerror(errno));
        return;
    }
    if (child->pid > 0)
        return;

    /* The child. A worker must never outlive its master: nobody would replace or end it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(EXIT_FAILURE);
    close(master->signal_fd);
    close(master->ready_pipe[0]);
    for (size_t s = 0; s < master->socket_count; s++)
        for (unsigned w = 0; w < master->workers; w++)
            if (w != worker)
                close(master->sockets[s].fds[w]);
    struct edge_process process = {
        .command = master->command,
        .config = master->config,
        .sockets = master->sockets,
        .socket_count = master->socket_count,
        .worker = worker,
        .workers = master->workers,
        .census = master->census,
        .mask = &master->old_mask,
        .ready_fd = master->ready_pipe[1],
    };
    worker_run(&process);
}

static void signal_children(const struct master *master, int signal)
{
    for (unsigned w = 0; w < master->workers; w++)
        if (master->children[w].pid > 0)
            kill(master->children[w].pid, signal);
}

static void reap_children(struct master *master)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (unsigned w = 0; w < master->workers; w++) {
            struct child *child = &master->children[w];
            if (child->pid != pid)
                continue;
            uint64_t now = clock_ms();
            bool steady = now - child->started_ms >= STEADY_MS;
            child->pid = 0;
            uint32_t orphans = census_note_orphans(master->census, w);
            census_begin(master->census, w); /* its sessions died with it */
            census_note_end(master->census, w, child->hung ? CENSUS_HUNG : CENSUS_DIED);
            if (orphans > 0) /* where the next hop had said 250, the client's second try is a second copy */
                log_write(LOG_WARNING, "worker %u left %u messages that the next hop was given and no client was answered", w, orphans);
            if (master->stopping) {
                end_listening(master, w);
                continue;
            }
            child->backoff_ms = steady || child->backoff_ms == 0 ? BACKOFF_FIRST_MS : 2 * child->backoff_ms;
            if (child->backoff_ms > BACKOFF_LAST_MS)
                child->backoff_ms = BACKOFF_LAST_MS;
            child->start_at_ms = now + child->backoff_ms;
            log_write(LOG_ERR, "worker %u (pid %d) %s %d; the next starts in %llu ms", w, (int)pid,
                      WIFSIGNALED(status) ? "was ended by signal" : "ended with status",
                      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (unsigned long long)child->backoff_ms);
        }
    }
}

static unsigned children_running(const struct master *master)
{
    unsigned running = 0;
    for (unsigned w = 0; w < master->workers; w++)
        running += master->children[w].pid > 0;
    return running;
}

static void begin_stop(struct master *master)
{
    if (master->stopping) { /* asked twice: someone is in a hurry */
        log_write(LOG_WARNING, "asked to end a second time: sessions are broken off");
        signal_children(master, SIGKILL);
        return;
    }
    master->stopping = true;
    master->kill_at_ms = clock_ms() + master->drain_timeout + KILL_AFTER_MS;
    supervisor_tell("STOPPING=1");
    log_write(LOG_NOTICE, "draining, then ending");
    for (unsigned w = 0; w < master->workers; w++)
        if (master->children[w].pid == 0) /* it died, and its successor does not start any more */
            end_listening(master, w);
    signal_children(master, SIGTERM);
}

static void take_settings(struct master *master, const struct edge_config *config)
{
    master->drain_timeout = config->edge.drain_timeout;
    master->worker_watchdog = config->edge.worker_watchdog;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

static bool same_cluster(const struct cluster_settings *a, const struct cluster_settings *b)
{
    return same_text(a->name, b->name) && same_text(a->key_file, b->key_file) && same_text(a->state_dir, b->state_dir) &&
           a->heartbeat_interval == b->heartbeat_interval && a->node_timeout == b->node_timeout &&
           a->link_send_mark == b->link_send_mark && a->link_receive_mark == b->link_receive_mark &&
           a->link_heartbeat == b->link_heartbeat && a->link_timeout == b->link_timeout && a->link_silence == b->link_silence &&
           a->link_peers == b->link_peers && a->link_message == b->link_message;
}

static bool same_coordinators(const struct edge_config *a, const struct edge_config *b)
{
    bool same = a->coordinator_count == b->coordinator_count;
    for (size_t i = 0; same && i < a->coordinator_count; i++)
        same = same_text(a->coordinators[i].listen, b->coordinators[i].listen) &&
               same_text(a->coordinators[i].publish, b->coordinators[i].publish) &&
               memcmp(a->coordinators[i].public_key, b->coordinators[i].public_key, sizeof a->coordinators[i].public_key) == 0;
    return same;
}

static bool same_list(const struct config_list *a, const struct config_list *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

static bool same_dns(const struct edge_settings *a, const struct edge_settings *b)
{
    return same_list(&a->dns_forward, &b->dns_forward) && same_list(&a->dns_stub, &b->dns_stub) &&
           same_text(a->dns_trust_anchor, b->dns_trust_anchor) && same_text(a->dns_root_hints, b->dns_root_hints) &&
           a->dns_timeout == b->dns_timeout;
}

/* An operator who changed one of these, and reads "reloaded", would wait for it for ever. */
static void tell_restart(const struct edge_config *was, const struct edge_config *now)
{
    const struct {
        const char *what;
        bool same;
    } keys[] = {
        { "workers", edge_config_workers(was) == edge_config_workers(now) },
        { "tmp_dir", same_text(was->edge.tmp_dir, now->edge.tmp_dir) },
        { "scan", was->edge.scan == now->edge.scan },
        { "scan_chunk", was->edge.scan_chunk == now->edge.scan_chunk },
        { "report_buffer", was->edge.report_buffer == now->edge.report_buffer },
        { "dns_*", same_dns(&was->edge, &now->edge) },
        { "[cluster]", same_cluster(&was->cluster, &now->cluster) },
        { "[coordinator]", same_coordinators(was, now) },
    };
    static const char words[] = "reload: %s%s has changed: that counts from the next start on";
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!keys[i].same)
            log_write(LOG_WARNING, words, keys[i].what, "");
    for (size_t i = 0; i < now->listener_count; i++) {
        const struct edge_listener *before = edge_config_listener(was, now->listeners[i].name);
        if (before == NULL || !same_list(&before->settings.listen, &now->listeners[i].settings.listen))
            log_write(LOG_WARNING, words, "listen of listener ", now->listeners[i].name);
    }
}

static void reload(struct master *master)
{
    char text[96];
    struct error why; /* each worker says what is wrong; the master changes nothing then, either */
    struct edge_config *config =
        edge_config_load(master->command->config_path, master->command->overrides, master->command->override_count, &why);
    if (config != NULL) {
        take_settings(master, config);
        tell_restart(master->config, config);
        edge_config_unref(&config);
    }
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_us());
    supervisor_tell(text);
    signal_children(master, SIGHUP);
    supervisor_tell("READY=1");
}

static void on_signals(struct master *master)
{
    struct signalfd_siginfo info;
    while (read(master->signal_fd, &info, sizeof info) == sizeof info) {
        switch (info.ssi_signo) {
        case SIGCHLD:
            reap_children(master);
            break;
        case SIGHUP:
            reload(master);
            break;
        case SIGUSR1:
            log_reopen();
            signal_children(master, SIGUSR1);
            break;
        default:
            begin_stop(master);
        }
    }
}

static void on_ready(struct master *master)
{
    unsigned char worker;
    bool all = true;
    while (read(master->ready_pipe[0], &worker, 1) == 1)
        if (worker < master->workers)
            master->children[worker].ready = true;
    for (unsigned w = 0; w < master->workers; w++)
        all &= master->children[w].ready;
    if (all && !master->told_ready) {
        master->told_ready = true;
        log_write(LOG_NOTICE, "ready: %u workers accept sessions", master->workers);
        supervisor_tell("READY=1");
    }
}

/* A worker that hangs keeps its share of new connections (SO_REUSEPORT): nobody would serve these. One that says its last has none, and kill_at_ms
 * is its end. The time is counted in looks, so that a master that was stopped itself, with its workers, does not take their silence for a fault; a look at a worker that got no processor does not count. */
static void watch_children(struct master *master)
{
    uint64_t limit = master->worker_watchdog, now = clock_ms(), passed = now - master->looked_ms;
    if (limit == 0 || passed < LOOK_MS)
        return;
    master->looked_ms = now;
    for (unsigned w = 0; w < master->workers; w++) {
        struct child *child = &master->children[w];
        uint32_t ticks = census_ticks(master->census, w);
        if (child->pid == 0 || child->hung)
            continue;
        bool starved = process_watch_look(&child->watch, child->pid);
        if (ticks != child->ticks) {
            child->ticked = true;
            child->silent_ms = 0;
        } else if (!starved) {
            child->silent_ms += passed < 2 * LOOK_MS ? passed : 2 * LOOK_MS;
        }
        child->ticks = ticks;
        if (child->silent_ms < (child->ticked ? limit : START_FACTOR * limit) || census_says_last(master->census, w))
            continue;
        log_write(LOG_ERR, "worker %u (pid %d) hangs: silent for %llu ms, killed", w, (int)child->pid, (unsigned long long)child->silent_ms);
        child->hung = true;
        kill(child->pid, SIGKILL);
    }
}

/* systemd's WatchdogSec=, see sd_watchdog_enabled(3): half the time it allows. */
static void begin_pings(struct master *master)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid()))
        return;
    master->ping_every_ms = strtoull(usec, NULL, 10) / 2000;
    master->ping_at_ms = clock_ms();
}

static void ping(struct master *master)
{
    uint64_t now = clock_ms();
    if (master->ping_every_ms == 0 || now < master->ping_at_ms)
        return;
    supervisor_tell("WATCHDOG=1");
    master->ping_at_ms = now + master->ping_every_ms;
}

/* Starts what is due. Returns how long to sleep, -1: until something happens. */
static int start_children(struct master *master)
{
    uint64_t now = clock_ms(), next = UINT64_MAX;
    if (master->stopping)
        next = master->kill_at_ms;
    for (unsigned w = 0; w < master->workers && !master->stopping; w++) {
        struct child *child = &master->children[w];
        if (child->pid == 0 && child->start_at_ms <= now)
            start_child(master, w);
        if (child->pid == 0 && child->start_at_ms < next)
            next = child->start_at_ms;
    }
    if (master->worker_watchdog > 0 && master->looked_ms + LOOK_MS < next)
        next = master->looked_ms + LOOK_MS;
    if (master->ping_every_ms > 0 && master->ping_at_ms < next)
        next = master->ping_at_ms;
    if (next == UINT64_MAX)
        return -1;
    return next > now ? (int)(next - now) : 0;
}

static void open_signals(struct master *master)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, &master->old_mask);
    sigdelset(&master->old_mask, SIGHUP); /* held since main() */
    sigdelset(&master->old_mask, SIGUSR1);
    master->signal_fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    if (master->signal_fd < 0 || pipe2(master->ready_pipe, O_NONBLOCK | O_CLOEXEC) != 0)
        fatal("cannot start: %s", strerror(errno));
}

int master_run(const struct command *command, struct edge_config *config)
{
    struct master master = { .command = command, .config = config, .workers = edge_config_workers(config) };
    if (master.workers > 255)
        fatal("workers: %u are too many (255 at most)", master.workers);
    take_settings(&master, config);
    open_signals(&master);
    raise_descriptor_limit(config);
    master.children = xcalloc(master.workers, sizeof *master.children);
    master.census = census_new(master.workers);
    bind_all(&master);
    begin_pings(&master);
    master.looked_ms = clock_ms();

    while (!master.stopping || children_running(&master) > 0) {
        struct pollfd fds[] = { { .fd = master.signal_fd, .events = POLLIN }, { .fd = master.ready_pipe[0], .events = POLLIN } };
        int sleep_ms = start_children(&master);
        if (poll(fds, 2, sleep_ms) < 0 && errno != EINTR)
            fatal("poll: %s", strerror(errno));
        on_signals(&master);
        on_ready(&master);
        watch_children(&master);
        ping(&master);
        if (master.stopping && clock_ms() >= master.kill_at_ms) {
            log_write(LOG_ERR, "workers do not end: killed");
            master.kill_at_ms = clock_ms() + KILL_AFTER_MS;
            signal_children(&master, SIGKILL);
        }
    }
    log_write(LOG_NOTICE, "ended");
    for (size_t s = 0; s < master.socket_count; s++) {
        for (unsigned w = 0; w < master.workers; w++)
            close(master.sockets[s].fds[w]);
        free(master.sockets[s].fds);
    }
    free(master.sockets);
    free(master.children);
    census_free(&master.census);
    edge_config_unref(&master.config);
    return EXIT_SUCCESS;
}

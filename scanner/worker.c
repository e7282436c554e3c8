/*
 * worker.c - a process that scans one message after another, and owns nothing else
 *
 * It lives as long as its channel: the master closes it to end the worker, and the kernel closes it when the master dies.
 * A worker that a message has taken over can do no more than lie about that message and the next ones, until it is recycled.
 */
#include "scanner/worker.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "scanner/attachments.h"
#include "scanner/findings.h"
#include "scanner/sandbox.h"
#include "scanner/worker_native.h"

/* Who hands out mail, and whoever else is on this machine, comes before who scans it for tens of milliseconds at a time; small before large, and newcomers'
 * mail (the second column) before that of a flood, which has the cores: a kernel that lets a scan run until its next tick adds 4 ms to each step of others. */
static const int niceness[LANES][2] = { [LANE_SMALL] = { 10, 0 }, [LANE_LARGE] = { 15, 5 } };

/* libclamav names temporary files with rand(), whose state all forks share. */
static void seed_rand(void)
{
    unsigned seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = (unsigned)getpid() ^ (unsigned)clock_us();
    srand(seed);
}

static bool worker_lock(const struct worker_options *options, struct error *why)
{
    if (!options->sandbox)
        return true;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) {
        error_set(why, "/dev/null: %s", strerror(errno));
        return false;
    }
    if (!sandbox_lock(options->tmp_dir, why))
        return false;
    /* Whoever holds the log can forge and cut it. What matters of a scan is in its result. */
    log_open(&(struct log_options){ .level = LOG_ERR });
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    close(null);
    return true;
}

/* Its character sets are in files, which the sandbox closes. */
static bool worker_set_up(const struct worker_options *options, struct engine *engine, struct native **native, struct error *why)
{
    prctl(PR_SET_NAME, options->lane == LANE_LARGE ? "weir-scan-large" : "weir-scan-small");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL); /* a temporary file at its limit must end the scan, not look like a short write */
    if (nice(niceness[options->lane][options->spare]) == -1 && errno != 0)
        log_write(LOG_DEBUG, "nice: %s", strerror(errno));
    seed_rand();
    memory_keep_free(); /* libclamav takes and frees some hundred KiB twice for even the smallest message */
    tzset();
    *native = native_new(&options->mime);
    native_limit_time(*native, clock_cpu_us, options->native_us);
    attachments_begin();
    struct sandbox_limits limits = { .memory = options->memory, .file_size = options->file_size };
    return engine_set_tmp_dir(engine, options->tmp_dir, why) && sandbox_limit(&limits, why) &&
           worker_lock(options, why);
}

/* The kernel kills us with the zygote; it may have died before we could ask for that. */
static bool tie_to_parent(int32_t parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

union scan_packet {
    uint32_t type;
    struct packet_scan scan;
    char room[sizeof(struct packet_scan) + CHANNEL_BODY_MAX];
};

static const char *scan_body(const union scan_packet *packet)
{
    return packet->room + sizeof packet->scan;
}

/* Both engines look at the same bytes, one after the other: they are in the cache, and take turns at one core anyway. What a virus came in is named, too: others may
 * have got it before its signature was there. false: nothing is said. */
static bool look(struct native *native, const struct native_model *model, const union scan_packet *packet, int fd, uint32_t verdict, struct packet_findings *out,
                 struct packet_features *features)
{
    const struct packet_scan *scan = &packet->scan;
    bool clean = verdict == WEIR__VERDICT__VERDICT_CLEAN, named = scan->facts.attachments && (clean || verdict == WEIR__VERDICT__VERDICT_BAD);
    if ((!named && !(clean && scan->facts.wanted)) || scan->size < ENGINE_MAIL_PREFIX_LEN)
        return false;
    if (fd >= 0)
        return findings_make_file(native, &scan->facts, model, clean, fd, ENGINE_MAIL_PREFIX_LEN, scan->size, out, features);
    findings_make(native, &scan->facts, model, clean, scan_body(packet) + ENGINE_MAIL_PREFIX_LEN, (size_t)scan->size - ENGINE_MAIL_PREFIX_LEN, out, features);
    return true;
}

/* fd: -1 where the bytes are in the packet. */
static void scan_one(struct engine *engine, const union scan_packet *packet, int fd, struct packet_result *result)
{
    const struct packet_scan *scan = &packet->scan;
    struct engine_result found;
    uint64_t start = clock_us();
    sandbox_limit_cpu(scan->time_ms / 1000 + 1);
    if (fd >= 0)
        engine_scan_file(engine, fd, scan->size, scan->time_ms, &found);
    else
        engine_scan(engine, scan_body(packet), (size_t)scan->size, scan->time_ms, &found);
    uint64_t took = clock_us() - start;
    memset(result, 0, sizeof *result);
    result->type = PACKET_RESULT;
    result->scan = scan->scan;
    result->verdict = (uint32_t)found.verdict;
    result->reason = (uint32_t)found.reason;
    result->scan_us = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    memcpy(result->name, found.name, sizeof result->name);
}

static bool scan_is_valid(const union scan_packet *packet, size_t len, size_t fd_count)
{
    if (len < sizeof packet->scan || packet->scan.type != PACKET_SCAN || fd_count > 1)
        return false;
    const struct packet_facts *facts = &packet->scan.facts;
    if (facts->recipient_count > CHANNEL_RECIPIENTS_MAX)
        return false;
    return len - sizeof packet->scan == (fd_count == 1 ? 0 : packet->scan.size);
}

_Noreturn void worker_run(const struct worker_options *options, struct engine *engine, int channel)
{
    struct error why;
    struct native *native = NULL;
    const struct native_model *model = NULL;
    if (!tie_to_parent(options->parent))
        _exit(0);
    if (!worker_set_up(options, engine, &native, &why)) {
        log_write(LOG_ERR, "worker cannot start: %s", why.text);
        _exit(1);
    }
    struct packet_ready ready = { .type = PACKET_READY };
    if (!channel_send(channel, &ready, sizeof ready, NULL, 0))
        _exit(0);
    for (;;) {
        static union scan_packet packet;
        int fds[CHANNEL_FDS_MAX];
        size_t fd_count;
        ssize_t len = channel_receive(channel, &packet, sizeof packet, fds, &fd_count, 0);
        if (len <= 0)
            _exit(0);
        if ((size_t)len == sizeof(struct packet_model) && packet.type == PACKET_MODEL) {
            worker_native_take_model(&model, fd_count > 0 ? fds[0] : -1);
            while (fd_count > 0)
                close(fds[--fd_count]);
            continue;
        }
        if (!scan_is_valid(&packet, (size_t)len, fd_count))
            _exit(1);
        static struct {
            struct packet_result result;
            struct packet_findings findings;
            struct packet_features features;
        } answer;
        int fd = fd_count > 0 ? fds[0] : -1;
        scan_one(engine, &packet, fd, &answer.result);
        bool looked = look(native, model, &packet, fd, answer.result.verdict, &answer.findings, &answer.features);
        if (fd_count > 0)
            close(fds[0]);
        size_t told = !looked ? sizeof answer.result : packet.scan.facts.learn && answer.findings.scored ? sizeof answer : offsetof(typeof(answer), features);
        if (!channel_send(channel, &answer, told, NULL, 0))
            _exit(0);
    }
}

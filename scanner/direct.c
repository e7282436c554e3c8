/*
 * direct.c - weir-scan-direct: how fast libclamav itself is on this machine, and libclamav and rspamd together
 *
 * The limit that a scanner is measured against: N forked processes that scan messages from memory with the scanner's own engine,
 * options and scan function, and do nothing else. Prints one line "key=value ...", or JSON.
 *
 *     weir-scan-direct --signatures DIR [--mail DIR | --size BYTES] [--count N | --seconds S] [--processes N] [--rspamd SOCKET] [--tmp DIR] [--json]
 *
 * --rspamd: each message is also shown to the rspamd at this unix socket, while it is scanned, with what a scanner would tell of it; of the answer only its
 * end is looked at. Blocking, one connection at a time: nobody calls it for less.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "scanner/engine.h"
#include "scanner/scratch.h"

#define SCAN_MS 600000
#define UNIQUE_LEN 16

struct message {
    char *bytes; /* behind ENGINE_MAIL_PREFIX, as a scanner has them */
    size_t len;
    size_t unique_at; /* UNIQUE_LEN hex digits there are changed for every scan; 0: none */
};

struct workload {
    struct message *messages;
    size_t count;
};

/* When a process stops: after so many messages, or at the first one that would begin after so long. */
struct amount {
    size_t count;
    double seconds; /* 0: count */
};

struct tally {
    uint64_t scans, bytes, bad, unknown, start_us, end_us;
};

static char *message_room(size_t len)
{
    char *room = xmalloc(ENGINE_MAIL_PREFIX_LEN + len);
    memcpy(room, ENGINE_MAIL_PREFIX, ENGINE_MAIL_PREFIX_LEN);
    return room + ENGINE_MAIL_PREFIX_LEN;
}

static void message_free(struct message *message)
{
    free(message->bytes - ENGINE_MAIL_PREFIX_LEN);
}

/* Text in lines of 76 letters without any meaning, base64-like in its entropy. */
static struct message made_message(size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789";
    static const char head[] = "From: a@example.org\r\nTo: b@example.edu\r\nSubject: benchmark\r\nMessage-ID: <";
    static const char tail[] = "@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n";
    struct message message = { .len = size };
    size_t fixed = sizeof head - 1 + UNIQUE_LEN + sizeof tail - 1;
    if (message.len < fixed)
        message.len = fixed;
    message.bytes = message_room(message.len);
    memcpy(message.bytes, head, sizeof head - 1);
    message.unique_at = sizeof head - 1;
    memset(message.bytes + message.unique_at, '0', UNIQUE_LEN);
    memcpy(message.bytes + message.unique_at + UNIQUE_LEN, tail, sizeof tail - 1);
    uint64_t state = 88172645463325252u;
    for (size_t i = fixed; i < message.len; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift: the same text in every run */
        size_t column = (i - fixed) % 78;
        message.bytes[i] = column == 76 ? '\r' : column == 77 ? '\n' : letters[state % (sizeof letters - 1)];
    }
    return message;
}

static void add_file(struct workload *work, int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        struct message message = { .bytes = message_room((size_t)st.st_size), .len = (size_t)st.st_size };
        if (read(fd, message.bytes, message.len) == st.st_size) {
            work->messages = xrealloc(work->messages, (work->count + 1) * sizeof *work->messages);
            work->messages[work->count++] = message;
        } else {
            message_free(&message);
        }
    }
    if (fd >= 0)
        close(fd);
}

static void add_folder(struct workload *work, const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        fatal("%s: %s", path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        add_file(work, dirfd(dir), entry->d_name);
    closedir(dir);
    if (work->count == 0)
        fatal("%s: no messages", path);
}

/* The question, on a connection of its own: rspamd 3.4 keeps none. */
static int ask_rspamd(const struct sockaddr_un *server, const struct message *message)
{
    char head[400];
    int len = snprintf(head, sizeof head, "POST /checkv2 HTTP/1.1\r\nHost: rspamd\r\nContent-Length: %zu\r\nQueue-Id: 0000000000000000000Z\r\nIP: 127.0.0.1\r\n"
                       "Helo: load.weir.invalid\r\nFrom: sender@example.org\r\nRcpt: alice@example.edu\r\nMTA-Name: edge-1.weir.test\r\n\r\n", message->len);
    struct iovec parts[2] = { { head, (size_t)len }, { message->bytes, message->len } };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)server, sizeof *server) != 0)
        fatal("%s: %s", server->sun_path, strerror(errno));
    if (writev(fd, parts, 2) != (ssize_t)(parts[0].iov_len + parts[1].iov_len)) /* a blocking socket takes all of it */
        fatal("%s: it does not take a message", server->sun_path);
    return fd;
}

static void end_rspamd(int fd)
{
    static const char good[] = "HTTP/1.1 200 ";
    char answer[65536];
    size_t len = 0;
    ssize_t got;
    while (len < sizeof answer && (got = read(fd, answer + len, sizeof answer - len)) > 0)
        len += (size_t)got;
    if (len < sizeof good || memcmp(answer, good, sizeof good - 1) != 0)
        fatal("no answer of rspamd: %.*s", (int)len, answer);
    close(fd);
}

static void scan_message(struct engine *engine, const struct message *message, const struct sockaddr_un *rspamd, struct tally *tally)
{
    struct engine_result result;
    int asked = rspamd->sun_family == AF_UNIX ? ask_rspamd(rspamd, message) : -1;
    engine_scan(engine, message->bytes - ENGINE_MAIL_PREFIX_LEN, ENGINE_MAIL_PREFIX_LEN + message->len, SCAN_MS, &result);
    if (asked >= 0)
        end_rspamd(asked);
    tally->scans++;
    tally->bytes += message->len;
    tally->bad += result.verdict == WEIR__VERDICT__VERDICT_BAD;
    tally->unknown += result.verdict == WEIR__VERDICT__VERDICT_UNKNOWN;
}

_Noreturn static void run_process(struct engine *engine, struct workload *work, const char *tmp, unsigned process,
                                  const struct amount *amount, const struct sockaddr_un *rspamd, int go, int report)
{
    struct tally tally = { 0 };
    struct error why;
    unsigned seed = (unsigned)getpid();
    char *folder = xasprintf("%s/%u", tmp, process), start;
    srand(seed); /* libclamav names temporary files with rand() */
    if (mkdir(folder, 0700) != 0 || !engine_set_tmp_dir(engine, folder, &why))
        fatal("%s: %s", folder, strerror(errno));
    if (read(go, &start, 1) < 0)
        fatal("%s", strerror(errno));
    tally.start_us = clock_us();
    uint64_t until_us = tally.start_us + (uint64_t)(amount->seconds * 1e6);
    for (size_t i = 0; amount->seconds > 0 ? clock_us() < until_us : i < amount->count; i++) {
        struct message *message = &work->messages[(i + process) % work->count];
        if (message->unique_at != 0) {
            char unique[UNIQUE_LEN + 1];
            snprintf(unique, sizeof unique, "%08x%08x", process, (unsigned)i);
            memcpy(message->bytes + message->unique_at, unique, UNIQUE_LEN);
        }
        scan_message(engine, message, rspamd, &tally);
    }
    tally.end_us = clock_us();
    _exit(write(report, &tally, sizeof tally) == (ssize_t)sizeof tally ? 0 : 1);
}

static void print_result(unsigned processes, const struct tally *all, bool json)
{
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    double seconds = (double)(all->end_us - all->start_us) / 1e6;
    double cpu = (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf(json ? "{\"processes\": %u, \"messages\": %llu, \"bytes\": %llu, \"bad\": %llu, \"unknown\": %llu, \"seconds\": %.3f, "
                  "\"rate\": %.1f, \"cpu_ms\": %.4f}\n"
                : "processes=%u messages=%llu bytes=%llu bad=%llu unknown=%llu seconds=%.3f rate=%.1f cpu_ms=%.4f\n",
           processes, (unsigned long long)all->scans, (unsigned long long)all->bytes, (unsigned long long)all->bad,
           (unsigned long long)all->unknown, seconds, (double)all->scans / seconds, cpu * 1000 / (double)all->scans);
}

static void run_all(struct engine *engine, struct workload *work, const char *tmp, unsigned processes,
                    const struct amount *amount, const struct sockaddr_un *rspamd, bool json)
{
    int go[2], report[2], status;
    if (pipe2(go, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0)
        fatal("%s", strerror(errno));
    for (unsigned i = 0; i < processes; i++) {
        pid_t pid = fork();
        if (pid < 0)
            fatal("%s", strerror(errno));
        if (pid == 0) {
            close(go[1]);
            run_process(engine, work, tmp, i, amount, rspamd, go[0], report[1]);
        }
    }
    close(report[1]);
    close(go[0]);
    close(go[1]); /* all start: read() gives 0 */
    struct tally all = { .start_us = UINT64_MAX }, one;
    while (read(report[0], &one, sizeof one) == (ssize_t)sizeof one) {
        all.scans += one.scans, all.bytes += one.bytes, all.bad += one.bad, all.unknown += one.unknown;
        all.start_us = one.start_us < all.start_us ? one.start_us : all.start_us;
        all.end_us = one.end_us > all.end_us ? one.end_us : all.end_us;
    }
    while (wait(&status) > 0)
        ;
    close(report[0]);
    if (all.scans == 0)
        fatal("nothing was scanned: --count must be at least --processes");
    print_result(processes, &all, json);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "signatures", required_argument, NULL, 's' }, { "mail", required_argument, NULL, 'm' },
        { "size", required_argument, NULL, 'b' },       { "count", required_argument, NULL, 'n' },
        { "processes", required_argument, NULL, 'p' },  { "tmp", required_argument, NULL, 't' },
        { "seconds", required_argument, NULL, 'd' },    { "rspamd", required_argument, NULL, 'r' },
        { "json", no_argument, NULL, 'j' },
        { NULL, 0, NULL, 0 },
    };
    /* the scanner's defaults */
    struct engine_options how = { .max_scan_size = 400u << 20, .max_file_size = 100u << 20, .max_files = 10000,
                                  .max_recursion = 17 };
    const char *mail = NULL, *tmp = "/dev/shm";
    size_t size = 4096;
    struct amount amount = { .count = 1000 };
    struct sockaddr_un rspamd = { .sun_family = AF_UNSPEC };
    bool json = false;
    unsigned processes = 2;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's':
            snprintf(how.signatures, sizeof how.signatures, "%s", optarg);
            break;
        case 'm':
            mail = optarg;
            break;
        case 'b':
            size = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            amount.count = strtoull(optarg, NULL, 10);
            break;
        case 'p':
            processes = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 't':
            tmp = optarg;
            break;
        case 'd':
            amount.seconds = strtod(optarg, NULL);
            break;
        case 'r':
            rspamd.sun_family = AF_UNIX;
            strncpy(rspamd.sun_path, optarg, sizeof rspamd.sun_path - 1);
            break;
        case 'j':
            json = true;
            break;
        default:
            return 64;
        }
    }
    if (how.signatures[0] == '\0' || optind != argc || processes == 0) {
        fputs("usage: weir-scan-direct --signatures DIR [--mail DIR | --size BYTES] [--count N | --seconds S] [--processes N] "
              "[--rspamd SOCKET] [--tmp DIR] [--json]\n", stderr);
        return 64;
    }
    struct workload work = { 0 };
    struct engine_info info;
    struct error why;
    char folder[PATH_MAX];
    int lock;
    if (mail != NULL) {
        add_folder(&work, mail);
    } else {
        work.messages = xmalloc(sizeof *work.messages);
        work.messages[0] = made_message(size);
        work.count = 1;
    }
    struct engine *engine = engine_load(&how, &info, &why);
    if (engine == NULL || !scratch_new(tmp, folder, &lock, &why))
        fatal("%s", why.text);
    amount.count /= processes;
    run_all(engine, &work, folder, processes, &amount, &rspamd, json);
    scratch_remove(folder);
    close(lock);
    engine_free(&engine);
    for (size_t i = 0; i < work.count; i++)
        message_free(&work.messages[i]);
    free(work.messages);
    return 0;
}

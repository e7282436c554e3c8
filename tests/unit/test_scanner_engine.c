/*
 * test_scanner_engine.c - libclamav behind engine.h, and a real sandboxed worker on top of it
 *
 * The signature set is made here: one signature for the EICAR test file, written as hex, so that no file of ours is what virus
 * scanners look for. With WEIR_CORPUS (a folder with clamav/EXPECTED.tsv) every file of ClamAV's own tests goes through a worker.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>
#include "common/memory.h"
#include "scanner/channel.h"
#include "scanner/engine.h"
#include "scanner/scratch.h"
#include "scanner/worker.h"
#include "tests/unit/suite.h"

#define BAD WEIR__VERDICT__VERDICT_BAD
#define CLEAN WEIR__VERDICT__VERDICT_CLEAN
#define UNKNOWN WEIR__VERDICT__VERDICT_UNKNOWN
#define SCAN_MS 60000

static char folder[PATH_MAX];
static int folder_lock;

static void set_up(void)
{
    struct error why;
    ck_assert_msg(scratch_new("/dev/shm", folder, &folder_lock, &why), "%s", why.text);
    char path[PATH_MAX], eicar[256];
    size_t len;
    Weir__Verdict expected;
    snprintf(path, sizeof path, "%.4000s/set", folder);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%.4000s/tmp", folder);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%.4000s/set/eicar.ndb", folder);
    FILE *file = fopen(path, "w");
    ck_assert(engine_test_message(0, eicar, sizeof eicar, &len, &expected));
    fprintf(file, "Eicar-Test-Signature:0:*:");
    for (size_t i = 0; i < len; i++)
        fprintf(file, "%02x", (unsigned char)eicar[i]);
    fputc('\n', file);
    fclose(file);
}

static void tear_down(void)
{
    scratch_remove(folder);
    close(folder_lock);
}

static struct engine_options default_options(void)
{
    struct engine_options options = { .max_scan_size = 400u << 20, .max_file_size = 100u << 20, .max_files = 10000,
                                      .max_recursion = 17 };
    snprintf(options.signatures, sizeof options.signatures, "%.4000s/set", folder);
    return options;
}

static struct engine *load(const struct engine_options *options)
{
    struct error why;
    struct engine_info info;
    struct engine *engine = engine_load(options, &info, &why);
    ck_assert_msg(engine != NULL, "%s", why.text);
    char tmp[PATH_MAX];
    snprintf(tmp, sizeof tmp, "%.4000s/tmp", folder);
    ck_assert(engine_set_tmp_dir(engine, tmp, &why));
    return engine;
}

static int message_fd(const char *bytes, size_t len)
{
    int fd = memfd_create("message", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    for (size_t done = 0; done < len;) {
        ssize_t written = write(fd, bytes + done, len - done);
        ck_assert_int_gt(written, 0);
        done += (size_t)written;
    }
    return fd;
}

static struct engine_result scan(struct engine *engine, const char *bytes, size_t len, uint32_t time_ms)
{
    struct engine_result result;
    int fd = message_fd(bytes, len);
    engine_scan_file(engine, fd, len, time_ms, &result);
    close(fd);
    return result;
}

/* The base64 part of the self-test's second message: EICAR, encoded. */
static char *eicar_part(void)
{
    char text[1024];
    size_t len;
    Weir__Verdict expected;
    ck_assert(engine_test_message(1, text, sizeof text - 1, &len, &expected));
    text[len] = '\0';
    return xstrdup(strstr(text, "\r\n\r\n") + 4);
}

START_TEST(self_test_messages)
{
    struct engine_options options = default_options();
    struct engine *engine = load(&options);
    char text[1024];
    size_t len, count = 0;
    Weir__Verdict expected;
    for (; engine_test_message(count, text, sizeof text, &len, &expected); count++) {
        struct engine_result result = scan(engine, text, len, SCAN_MS);
        ck_assert_int_eq(result.verdict, expected);
        if (expected == BAD)
            ck_assert_str_eq(result.name, "Eicar-Test-Signature.UNOFFICIAL");
    }
    ck_assert_uint_eq(count, 3);
    engine_free(&engine);
    ck_assert_ptr_null(engine);
}
END_TEST

/* Whatever stands in the first line, the parts are decoded. */
START_TEST(prefix_makes_it_mail)
{
    static const char *const first_lines[] = {
        "Subject: x\r\n", "X-Any: thing\r\n", "From someone Mon Jan  1 00:00:00 2001\r\n", "\r\n", "  folded\r\n", "no header\r\n",
        "", "\xff\xfe\r\n", "PK\x03\x04: x\r\n",
    };
    struct engine_options options = default_options();
    struct engine *engine = load(&options);
    char *part = eicar_part();
    for (size_t i = 0; i < sizeof first_lines / sizeof first_lines[0]; i++) {
        char *mail = xasprintf(ENGINE_MAIL_PREFIX "%sContent-Type: application/octet-stream\r\n"
                               "Content-Transfer-Encoding: base64\r\n\r\n%s", first_lines[i], part);
        struct engine_result result = scan(engine, mail, strlen(mail), SCAN_MS);
        ck_assert_msg(result.verdict == BAD, "first line %zu: %s", i, result.name);
        /* the reason the prefix is there: one such line alone hides the part */
        if (i == 1)
            ck_assert_int_eq(scan(engine, mail + ENGINE_MAIL_PREFIX_LEN, strlen(mail) - ENGINE_MAIL_PREFIX_LEN, SCAN_MS).verdict,
                             CLEAN);
        free(mail);
    }
    free(part);
    engine_free(&engine);
}
END_TEST

/* parts plain text parts in one mail, a virus last when asked for. */
static char *mail_of_parts(size_t parts, size_t part_len, bool virus)
{
    char *encoded = eicar_part();
    size_t cap = 512 + parts * (part_len + 128), len;
    char *mail = xmalloc(cap);
    len = (size_t)snprintf(mail, cap, ENGINE_MAIL_PREFIX "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n");
    for (size_t i = 0; i < parts; i++) {
        len += (size_t)snprintf(mail + len, cap - len, "--b\r\nContent-Type: application/octet-stream\r\n\r\n");
        memset(mail + len, 'a' + (int)(i % 26), part_len);
        len += part_len;
        len += (size_t)snprintf(mail + len, cap - len, "\r\n");
    }
    if (virus)
        len += (size_t)snprintf(mail + len, cap - len, "--b\r\nContent-Type: application/octet-stream\r\n"
                                "Content-Transfer-Encoding: base64\r\n\r\n%s", encoded);
    snprintf(mail + len, cap - len, "--b--\r\n");
    free(encoded);
    return mail;
}

START_TEST(limits_are_unknown)
{
    const struct {
        const char *name;
        uint64_t scan_size, file_size;
        uint32_t files, time_ms;
        bool virus;
        Weir__Verdict verdict;
        Weir__UnknownReason reason;
    } rows[] = {
        { "within", 400u << 20, 100u << 20, 100, SCAN_MS, false, CLEAN, 0 },
        { "message over max_file_size", 400u << 20, 10000, 100, SCAN_MS, false, UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS },
        { "max_scan_size", 100000, 100u << 20, 100, SCAN_MS, false, UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS },
        { "max_files", 400u << 20, 100u << 20, 3, SCAN_MS, false, UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS },
        { "virus within", 400u << 20, 100u << 20, 100, SCAN_MS, true, BAD, 0 },
        { "time", 400u << 20, 100u << 20, 100, 1, false, UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct engine_options options = default_options();
        options.max_scan_size = rows[i].scan_size;
        options.max_file_size = rows[i].file_size;
        options.max_files = rows[i].files;
        struct engine *engine = load(&options);
        char *mail = mail_of_parts(20, rows[i].time_ms == 1 ? 1u << 20 : 9000, rows[i].virus);
        struct engine_result result = scan(engine, mail, strlen(mail), rows[i].time_ms);
        ck_assert_msg(result.verdict == rows[i].verdict, "%s: %d %s", rows[i].name, (int)result.verdict, result.name);
        ck_assert_msg(result.reason == rows[i].reason, "%s: %d %s", rows[i].name, (int)result.reason, result.name);
        free(mail);
        engine_free(&engine);
    }
}
END_TEST

/* gzip of 100,000 zero bytes */
static const char bomb[] =
    "H4sIAAAAAAACA+3BMQEAAADCoPVPbQ0PoAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n"
    "AAAAAAAAAIBXA32VEdSghgEA\r\n";

START_TEST(virus_beside_a_limit_is_bad)
{
    struct engine_options options = default_options();
    options.max_file_size = 30000;
    struct engine *engine = load(&options);
    char *virus = eicar_part();
    static const char part[] = "--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    const struct {
        const char *first, *second;
        Weir__Verdict verdict;
    } rows[] = { { bomb, bomb, UNKNOWN }, { bomb, virus, BAD }, { virus, bomb, BAD } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *mail = xasprintf(ENGINE_MAIL_PREFIX "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n"
                               "%s%s%s%s--b--\r\n", part, rows[i].first, part, rows[i].second);
        struct engine_result result = scan(engine, mail, strlen(mail), SCAN_MS);
        ck_assert_msg(result.verdict == rows[i].verdict, "row %zu: %d %s", i, (int)result.verdict, result.name);
        if (result.verdict == UNKNOWN)
            ck_assert_int_eq(result.reason, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS);
        free(mail);
    }
    free(virus);
    engine_free(&engine);
}
END_TEST

/* One part of a split message says nothing about the whole, whatever stands beside it. */
START_TEST(message_partial_is_unscannable)
{
    static const char text[] = ENGINE_MAIL_PREFIX "From: a@example.org\r\nMIME-Version: 1.0\r\n"
                               "Content-Type: message/partial; id=\"1@example.org\"; number=%d; total=2\r\n\r\n%s\r\n";
    char *virus = eicar_part();
    char *inner = xasprintf("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n%s", virus);
    const struct {
        bool block;
        int number;
        const char *body;
        Weir__Verdict verdict;
    } rows[] = { { true, 1, "Hello.", UNKNOWN }, { true, 2, "Second half.", UNKNOWN }, { true, 1, inner, UNKNOWN },
                 { false, 1, "Hello.", CLEAN },  { false, 2, "Second half.", CLEAN } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct engine_options options = default_options();
        options.block_partial = rows[i].block;
        struct engine *engine = load(&options);
        char *mail = xasprintf(text, rows[i].number, rows[i].body);
        for (int again = 0; again < 2; again++) {
            struct engine_result result = scan(engine, mail, strlen(mail), SCAN_MS);
            ck_assert_msg(result.verdict == rows[i].verdict, "row %zu: %d %s", i, (int)result.verdict, result.name);
            if (result.verdict == UNKNOWN)
                ck_assert_int_eq(result.reason, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE);
        }
        free(mail);
        engine_free(&engine);
    }
    free(inner);
    free(virus);
}
END_TEST

/* A link that is not what it says, to the name of a bank that a set knows: none of our business, unless a site wants it. */
START_TEST(phishing_is_a_virus_where_it_is_to_be)
{
    static const char mail[] = ENGINE_MAIL_PREFIX "From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n"
                               "<html><body><a href=\"http://www.evil.example/x\">https://www.bank.example/</a></body></html>\r\n";
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/set/names.pdb", folder);
    FILE *file = fopen(path, "w");
    fputs("H:bank.example\n", file);
    fclose(file);
    for (int on = 0; on < 2; on++) {
        struct engine_options options = default_options();
        options.detect_phishing = on;
        struct engine *engine = load(&options);
        struct engine_result result = scan(engine, mail, sizeof mail - 1, SCAN_MS);
        ck_assert_msg(result.verdict == (on ? BAD : CLEAN), "%d: %d %s", on, (int)result.verdict, result.name);
        ck_assert(!on || strncmp(result.name, "Heuristics.Phishing.", 20) == 0);
        engine_free(&engine);
    }
}
END_TEST

START_TEST(broken_sets_do_not_load)
{
    struct error why;
    struct engine_info info;
    struct engine_options options = default_options();
    snprintf(options.signatures, sizeof options.signatures, "%.4000s/tmp", folder);
    ck_assert_ptr_null(engine_load(&options, &info, &why));
    snprintf(options.signatures, sizeof options.signatures, "%.4000s/nowhere", folder);
    ck_assert_ptr_null(engine_load(&options, &info, &why));
    options = default_options();
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/set/broken.ndb", folder);
    FILE *file = fopen(path, "w");
    fputs("this is no signature\n", file);
    fclose(file);
    ck_assert_ptr_null(engine_load(&options, &info, &why));
    ck_assert_uint_gt(strlen(why.text), 0);
}
END_TEST

START_TEST(set_names)
{
    struct error why;
    struct engine_info first, again, other;
    struct engine_options options = default_options();
    struct engine *engine = engine_load(&options, &first, &why);
    engine_free(&engine);
    engine = engine_load(&options, &again, &why);
    engine_free(&engine);
    ck_assert_str_eq(first.signatures, again.signatures);
    ck_assert_uint_eq(first.count, 1);
    ck_assert_int_gt(first.newest, 0);
    ck_assert_int_eq(strncmp(first.engine, "ClamAV ", 7), 0);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/set/more.hdb", folder);
    FILE *file = fopen(path, "w");
    fputs("44d88612fea8a8f36de82e1278abb02f:68:Another\n", file);
    fclose(file);
    engine = engine_load(&options, &other, &why);
    engine_free(&engine);
    ck_assert_uint_eq(other.count, 2);
    ck_assert_str_ne(first.signatures, other.signatures);
}
END_TEST

/* --- a worker process --- */

struct test_worker {
    pid_t pid;
    int channel;
    struct engine *engine;
};

static void receive(int channel, void *packet, size_t len)
{
    int fds[CHANNEL_FDS_MAX];
    size_t fd_count;
    struct pollfd wait = { .fd = channel, .events = POLLIN };
    ck_assert_int_eq(poll(&wait, 1, SCAN_MS), 1);
    ck_assert_int_eq(channel_receive(channel, packet, len, fds, &fd_count, 0), (ssize_t)len);
}

static struct test_worker worker_start(const struct engine_options *options, uint64_t file_size)
{
    struct test_worker worker = { .engine = load(options) };
    struct worker_options how = { .memory = 1u << 30, .file_size = file_size, .sandbox = true, .parent = getpid() };
    snprintf(how.tmp_dir, sizeof how.tmp_dir, "%.4000s/tmp", folder);
    int ends[2];
    ck_assert(channel_pair(ends));
    worker.pid = fork();
    if (worker.pid == 0) {
        close(ends[0]);
        worker_run(&how, worker.engine, ends[1]);
    }
    close(ends[1]);
    worker.channel = ends[0];
    struct packet_ready ready;
    receive(worker.channel, &ready, sizeof ready);
    ck_assert_uint_eq(ready.type, PACKET_READY);
    return worker;
}

static int worker_stop(struct test_worker *worker)
{
    int status;
    close(worker->channel);
    ck_assert_int_eq(waitpid(worker->pid, &status, 0), worker->pid);
    engine_free(&worker->engine);
    return status;
}

static void worker_send(struct test_worker *worker, int fd, uint64_t size, uint64_t number)
{
    struct packet_scan request = { .type = PACKET_SCAN, .time_ms = SCAN_MS, .scan = number, .size = size };
    ck_assert(channel_send(worker->channel, &request, sizeof request, &fd, 1));
}

static void worker_send_text(struct test_worker *worker, const char *text, size_t len, uint64_t number, bool in_packet)
{
    struct packet_scan request = { .type = PACKET_SCAN, .time_ms = SCAN_MS, .scan = number, .size = len };
    if (in_packet) {
        ck_assert(channel_send_body(worker->channel, &request, sizeof request, text, len));
        return;
    }
    int fd = message_fd(text, len);
    worker_send(worker, fd, len, number);
    close(fd);
}

START_TEST(worker_answers_in_order)
{
    struct engine_options options = default_options();
    struct test_worker worker = worker_start(&options, 400u << 20);
    for (size_t round = 0; round < 30; round++) {
        char text[1024];
        size_t len;
        Weir__Verdict expected;
        ck_assert(engine_test_message(round % 3, text, sizeof text, &len, &expected));
        worker_send_text(&worker, text, len, 1000 + round, round % 2 == 0);
        struct packet_result result;
        receive(worker.channel, &result, sizeof result);
        ck_assert_uint_eq(result.type, PACKET_RESULT);
        ck_assert_uint_eq(result.scan, 1000 + round);
        ck_assert_uint_eq(result.verdict, (uint32_t)expected);
    }
    int status = worker_stop(&worker);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

/* Room for temporary files runs out: libclamav goes on without the part that it could not unpack, and that is not clean. */
START_TEST(no_room_is_not_clean)
{
    struct engine_options options = default_options();
    struct engine *engine = load(&options);
    char tmp[PATH_MAX], fill[PATH_MAX];
    struct error why;
    snprintf(tmp, sizeof tmp, "%.4000s/full", folder);
    ck_assert_int_eq(mkdir(tmp, 0700), 0);
    if (mount("full", tmp, "tmpfs", 0, "size=64k") != 0) {
        fprintf(stderr, "SKIP no_room_is_not_clean: cannot mount a small tmpfs: %s\n", strerror(errno));
        engine_free(&engine);
        return;
    }
    ck_assert(engine_set_tmp_dir(engine, tmp, &why));
    char *small = mail_of_parts(0, 0, true), *large = mail_of_parts(3, 20000, true);
    ck_assert_int_eq(scan(engine, small, strlen(small), SCAN_MS).verdict, BAD);
    snprintf(fill, sizeof fill, "%.4000s/full/fill", folder);
    int fd = open(fill, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, folder, sizeof folder) > 0)
        ;
    close(fd);
    struct engine_result small_result = scan(engine, small, strlen(small), SCAN_MS);
    struct engine_result large_result = scan(engine, large, strlen(large), SCAN_MS);
    umount2(tmp, MNT_DETACH);
    ck_assert_msg(small_result.verdict != CLEAN, "small: clean although a part could not be unpacked");
    ck_assert_msg(large_result.verdict != CLEAN, "large: clean although a part could not be unpacked");
    free(small);
    free(large);
    engine_free(&engine);
}
END_TEST

/* The same with a limit on the size of one file, in a worker: it dies of it. */
START_TEST(file_limit_is_not_clean)
{
    struct engine_options options = default_options();
    struct test_worker worker = worker_start(&options, 1000);
    char *mail = mail_of_parts(2, 9000, true);
    int fd = message_fd(mail, strlen(mail));
    worker_send(&worker, fd, strlen(mail), 1);
    close(fd);
    struct packet_result result = { 0 };
    int fds[CHANNEL_FDS_MAX];
    size_t fd_count;
    ssize_t len = channel_receive(worker.channel, &result, sizeof result, fds, &fd_count, 0);
    ck_assert_msg(len <= 0 || result.verdict != CLEAN, "clean although a part could not be unpacked");
    free(mail);
    worker_stop(&worker);
}
END_TEST

START_TEST(worker_refuses_nonsense)
{
    struct engine_options options = default_options();
    struct packet_scan request = { .type = PACKET_SCAN, .time_ms = SCAN_MS, .scan = 1, .size = 4 };
    const struct {
        const void *body;
        size_t len;
    } rows[] = { { "nons", 3 }, { "nonse", 5 }, { "", 0 } };
    for (size_t i = 0; i < 4; i++) {
        struct test_worker worker = worker_start(&options, 400u << 20);
        if (i == 3)
            ck_assert(channel_send(worker.channel, "nonsense", 8, NULL, 0));
        else
            ck_assert(channel_send_body(worker.channel, &request, sizeof request, rows[i].body, rows[i].len));
        int status = worker_stop(&worker);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    }
}
END_TEST

/* WEIR_CORPUS is the unpacked vectors, or a folder with them in vectors/. NULL: not given. Give it to free(). */
static char *corpus_folder(void)
{
    const char *corpus = getenv("WEIR_CORPUS");
    char *below = corpus != NULL ? xasprintf("%s/vectors", corpus) : NULL;
    if (below != NULL && access(below, X_OK) == 0)
        return below;
    free(below);
    return corpus != NULL ? xstrdup(corpus) : NULL;
}

START_TEST(corpus)
{
    char *root = corpus_folder();
    if (root == NULL) {
        fprintf(stderr, "SKIP corpus: WEIR_CORPUS (a folder with clamav/EXPECTED.tsv) is not set\n");
        return;
    }
    struct engine_options options = default_options();
    char path[PATH_MAX], line[PATH_MAX];
    snprintf(path, sizeof path, "%.2000s/set/clamav.hdb", folder);
    char *copy = xasprintf("rm '%s/set/eicar.ndb' && cp '%s/clamav/repo/input/clamav.hdb' '%s'", folder, root, path);
    ck_assert_int_eq(system(copy), 0);
    free(copy);
    struct test_worker worker = worker_start(&options, 400u << 20);
    snprintf(path, sizeof path, "%.2000s/clamav/EXPECTED.tsv", root);
    FILE *list = fopen(path, "r");
    ck_assert_ptr_nonnull(list);
    size_t files = 0, found = 0, wrong = 0;
    while (fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        char *expected = strrchr(line, '\t');
        if (expected == NULL || strncmp(line, "file\t", 5) == 0)
            continue;
        *expected++ = '\0';
        snprintf(path, sizeof path, "%.1000s/clamav/%.2000s", root, line);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        ck_assert_msg(fd >= 0 && fstat(fd, &st) == 0, "%s: %s", path, strerror(errno));
        worker_send(&worker, fd, (uint64_t)st.st_size, files);
        close(fd);
        struct packet_result result;
        receive(worker.channel, &result, sizeof result);
        bool same = strcmp(expected, "OK") == 0 ? result.verdict == CLEAN
                                                : result.verdict == BAD && strcmp(result.name, expected) == 0;
        if (!same)
            fprintf(stderr, "%s: expected %s, got %u %s\n", line, expected, result.verdict, result.name);
        wrong += !same;
        found += result.verdict == BAD;
        files++;
    }
    fclose(list);
    free(root);
    fprintf(stderr, "corpus: %zu files, %zu found, %zu wrong\n", files, found, wrong);
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_gt(files, 100);
    int status = worker_stop(&worker);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scanner engine");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, self_test_messages);
    tcase_add_test(tests, prefix_makes_it_mail);
    tcase_add_test(tests, limits_are_unknown);
    tcase_add_test(tests, virus_beside_a_limit_is_bad);
    tcase_add_test(tests, message_partial_is_unscannable);
    tcase_add_test(tests, phishing_is_a_virus_where_it_is_to_be);
    tcase_add_test(tests, broken_sets_do_not_load);
    tcase_add_test(tests, set_names);
    tcase_add_test(tests, worker_answers_in_order);
    tcase_add_test(tests, no_room_is_not_clean);
    tcase_add_test(tests, file_limit_is_not_clean);
    tcase_add_test(tests, worker_refuses_nonsense);
    tcase_add_test(tests, corpus);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

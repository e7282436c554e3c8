/*
 * test_scanner_process.c - a real weir-scanner with its zygote and workers, seen by an edge and a coordinator
 *
 * An argument names the one test to run.
 */
#include <ctype.h>
#include "tests/unit/scanner_harness.h"
#include "tests/unit/suite.h"

START_TEST(verdicts)
{
    size_t len;
    char *virus = virus_mail(0, &len);
    scanner_active(NULL);
    struct answer *answer = wait_answer(send_whole(clean_mail, sizeof clean_mail - 1), VERDICT);
    ck_assert_int_eq(answer->verdict, WEIR__VERDICT__VERDICT_CLEAN);
    ck_assert_uint_eq(answer->size, sizeof clean_mail - 1);
    ck_assert_str_eq(answer->id, ID);
    ck_assert_str_eq(answer->name, "");
    ck_assert_uint_eq(answer->generation, 1);
    answer = wait_answer(send_whole(virus, len), VERDICT);
    ck_assert_int_eq(answer->verdict, WEIR__VERDICT__VERDICT_BAD);
    ck_assert_str_eq(answer->name, "Eicar-Test-Signature.UNOFFICIAL");
    ck_assert_uint_eq(answer->size, len);
    free(virus);
    static const size_t pads[] = { 1000, 60000, 66000, 200000 }; /* sent to the worker, and handed over */
    for (size_t i = 0; i < sizeof pads / sizeof pads[0]; i++) {
        virus = virus_mail(pads[i], &len);
        answer = wait_answer(send_whole(virus, len), VERDICT);
        ck_assert_int_eq(answer->verdict, WEIR__VERDICT__VERDICT_BAD);
        ck_assert_uint_eq(answer->size, len);
        free(virus);
    }
    WAIT_FOR(t.slots_used == 0 && t.bytes_used == 0);
}
END_TEST

START_TEST(streams)
{
    static const struct {
        size_t pad;
        bool hint_known, hint_wrong;
        size_t chunk;
    } rows[] = {
        { 300000, true, false, 262144 }, { 300000, false, false, 65536 }, { 5000000, true, false, 262144 },
        { 5000000, false, false, 262144 }, { 5000000, true, true, 100000 }, { 3000000, false, false, 1000000 },
    };
    scanner_active(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len;
        char *virus = virus_mail(rows[i].pad, &len);
        struct answer *answer = stream(virus, len, rows[i].hint_known ? (rows[i].hint_wrong ? len / 3 : len) : 0, rows[i].chunk);
        ck_assert_msg(answer->verdict == WEIR__VERDICT__VERDICT_BAD, "row %zu: %d %s", i, answer->verdict, answer->name);
        ck_assert_uint_eq(answer->size, len);
        free(virus);
    }
    WAIT_FOR(t.slots_used == 0 && t.bytes_used == 0);
}
END_TEST

START_TEST(bad_chunks)
{
    scanner_active(NULL);
    send_chunk(4711, 0, "x", 1, true); /* of no scan */
    uint64_t gap = send_open(0, false, NULL, 0, 0, 60000);
    wait_answer(gap, GRANT);
    send_chunk(gap, 5, "x", 1, false);
    assert_busy(gap, WEIR__BUSY_REASON__BUSY_BYTES);
    char *much = xcalloc(1, 2u << 20);
    uint64_t overflow = send_open(0, false, NULL, 0, 0, 60000);
    wait_answer(overflow, GRANT);
    send_chunk(overflow, 0, much, (1u << 20) + 1, false);
    assert_busy(overflow, WEIR__BUSY_REASON__BUSY_BYTES);
    free(much);
    assert_scans();
    WAIT_FOR(t.slots_used == 0 && t.bytes_used == 0);
}
END_TEST

START_TEST(slots_and_cancel)
{
    static const char *const extra[] = { "slots=3", NULL };
    scanner_active(extra);
    signal_workers(SIGSTOP);
    uint64_t attempts[4];
    for (size_t i = 0; i < 4; i++)
        attempts[i] = send_whole(clean_mail, sizeof clean_mail - 1);
    assert_busy(attempts[3], WEIR__BUSY_REASON__BUSY_SLOTS);
    WAIT_FOR(t.slots_used == 3);
    send_cancel(attempts[2]); /* queued: gone at once */
    WAIT_FOR(t.slots_used == 2);
    pause_ms(1200);
    send_cancel(attempts[0]); /* running for more than a second: its worker is killed */
    WAIT_FOR(t.slots_used == 1);
    signal_workers(SIGCONT);
    ck_assert_int_eq(wait_answer(attempts[1], VERDICT)->verdict, WEIR__VERDICT__VERDICT_CLEAN);
    ck_assert_ptr_null(answer_to(attempts[0], 0));
    ck_assert_ptr_null(answer_to(attempts[2], 0));
    WAIT_FOR(t.slots_used == 0 && t.bytes_used == 0);
    assert_scans();
}
END_TEST

/* With every slot taken, an upload hears BUSY when it is complete, or at once where its edge has all of it. */
START_TEST(uploads_and_slots)
{
    static const char *const extra[] = { "slots=2", NULL };
    scanner_active(extra);
    signal_workers(SIGSTOP);
    uint64_t first = send_whole(clean_mail, sizeof clean_mail - 1), second = send_whole(clean_mail, sizeof clean_mail - 1);
    WAIT_FOR(t.slots_used == 2);
    uint64_t slow = send_open(0, false, NULL, 0, 0, 60000);
    wait_answer(slow, GRANT);
    send_chunk(slow, 0, clean_mail, sizeof clean_mail - 1, true);
    assert_busy(slow, WEIR__BUSY_REASON__BUSY_SLOTS);
    assert_busy(send_complete(sizeof clean_mail - 1), WEIR__BUSY_REASON__BUSY_SLOTS);
    signal_workers(SIGCONT);
    wait_answer(first, VERDICT);
    wait_answer(second, VERDICT);
    WAIT_FOR(t.slots_used == 0 && t.bytes_used == 0);
    uint64_t held = send_complete(sizeof clean_mail - 1);
    wait_answer(held, GRANT);
    WAIT_FOR(t.slots_used == 1);
    send_chunk(held, 0, clean_mail, sizeof clean_mail - 1, true);
    ck_assert_int_eq(wait_answer(held, VERDICT)->verdict, WEIR__VERDICT__VERDICT_CLEAN);
    WAIT_FOR(t.slots_used == 0 && t.bytes_used == 0);
}
END_TEST

START_TEST(lanes_and_deadlines)
{
    size_t len;
    scanner_active(NULL);
    char *large = virus_mail(2u << 20, &len);
    pid_t pids[PIDS_MAX];
    ck_assert_uint_eq(worker_pids("weir-scan-large", pids), 1);
    kill(pids[0], SIGSTOP);
    uint64_t held = send_whole(large, len), late = send_open(len, true, large, len, 0, 300);
    for (int i = 0; i < 10; i++)
        assert_scans(); /* small mail does not wait */
    pause_ms(500);
    ck_assert_ptr_null(answer_to(held, 0));
    kill(pids[0], SIGCONT);
    ck_assert_int_eq(wait_answer(held, VERDICT)->verdict, WEIR__VERDICT__VERDICT_BAD);
    WAIT_FOR(t.slots_used == 0);
    ck_assert_ptr_null(answer_to(late, 0)); /* its edge has given up */
    free(large);
}
END_TEST

/* Slow clients that announce much and send nothing keep no room from a message that is there. */
START_TEST(promises_and_disk)
{
    static const char *const extra[] = { "memory=1MiB", "disk=8MiB", NULL };
    scanner_active(extra);
    for (int i = 0; i < 4; i++)
        wait_answer(send_open(4u << 20, false, NULL, 0, 0, 60000), GRANT);
    WAIT_FOR(t.bytes_used == 4u << 20);
    assert_busy(send_open(0, false, NULL, 0, 0, 60000), WEIR__BUSY_REASON__BUSY_BYTES);
    t.client = "192.0.2.2"; /* the window of a client is for all of its uploads */
    uint64_t complete = send_complete(4u << 20);
    wait_answer(complete, GRANT);
    size_t len;
    char *mail = virus_mail(1u << 20, &len);
    send_chunk(complete, 0, mail, 1u << 20, true);
    ck_assert_int_eq(wait_answer(complete, VERDICT)->verdict, WEIR__VERDICT__VERDICT_BAD);
    free(mail);
}
END_TEST

START_TEST(starved_upload)
{
    static const char *const extra[] = { "memory=1MiB", "disk=4MiB", NULL };
    scanner_active(extra);
    size_t len;
    char *mail = virus_mail(3u << 20, &len);
    uint64_t big = send_complete(3u << 20);
    wait_answer(big, GRANT);
    t.client = "192.0.2.2"; /* the window of a client is for all of its uploads */
    uint64_t grows = send_open(0, false, NULL, 0, 0, 60000);
    ck_assert_uint_eq(wait_answer(grows, GRANT)->allowed, 1u << 20);
    uint64_t refused = send_open(2u << 20, false, NULL, 0, 0, 60000);
    assert_busy(refused, WEIR__BUSY_REASON__BUSY_BYTES);
    send_chunk(grows, 0, mail, 1u << 20, false);
    pause_ms(300);
    ck_assert_ptr_null(answer_to(grows, WEIR__FRAME__BODY_SCAN_CREDIT)); /* no room: it waits */
    send_cancel(big);
    WAIT_FOR(answer_to(grows, WEIR__FRAME__BODY_SCAN_CREDIT) != NULL);
    send_chunk(grows, 1u << 20, "", 0, true);
    ck_assert_int_eq(wait_answer(grows, VERDICT)->verdict, WEIR__VERDICT__VERDICT_BAD);
    /* and when no room comes, it is sent away */
    t.client = NULL;
    big = send_complete(3u << 20);
    wait_answer(big, GRANT);
    t.client = "192.0.2.2";
    grows = send_open(0, false, NULL, 0, 0, 60000);
    wait_answer(grows, GRANT);
    send_chunk(grows, 0, mail, 1u << 20, false);
    assert_busy(grows, WEIR__BUSY_REASON__BUSY_BYTES);
    free(mail);
}
END_TEST

/* An answer for a part of a split message must not be taken for nonsense of its worker. */
START_TEST(message_partial)
{
    static const char mail[] = "From: a@example.org\r\nMIME-Version: 1.0\r\n"
                               "Content-Type: message/partial; id=\"1@example.org\"; number=1; total=2\r\n\r\nFrom: a@example.org\r\n\r\nx\r\n";
    pid_t before[PIDS_MAX], after[PIDS_MAX];
    scanner_active(NULL);
    ck_assert_uint_eq(worker_pids("weir-scan-small", before), 2);
    for (int i = 0; i < 4; i++)
        assert_unknown(send_whole(mail, sizeof mail - 1), WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE);
    ck_assert_uint_eq(worker_pids("weir-scan-small", after), 2);
    ck_assert_mem_eq(before, after, 2 * sizeof *before);
}
END_TEST

/* Nobody waits for it: a worker may not be held for the whole wall clock, however early that was said. */
START_TEST(cancelled_early)
{
    scanner_active(NULL);
    signal_workers(SIGSTOP);
    uint64_t attempt = send_whole(clean_mail, sizeof clean_mail - 1), start = clock_ms();
    WAIT_FOR(t.slots_used == 1);
    send_cancel(attempt);
    WAIT_FOR(t.slots_used == 0);
    ck_assert_uint_ge(clock_ms() - start, 1000);
    signal_workers(SIGCONT);
    assert_scans();
}
END_TEST

/* A process that has parsed mail must not be able to stop the master by reading nothing. */
START_TEST(channels_do_not_block)
{
    char folder[64];
    size_t channels = 0;
    scanner_active(NULL);
    int scanner = (int)syscall(SYS_pidfd_open, t.scanner, 0);
    snprintf(folder, sizeof folder, "/proc/%d/fd", (int)t.scanner);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        int type = 0, fd = entry->d_name[0] == '.' ? -1 : (int)syscall(SYS_pidfd_getfd, scanner, atoi(entry->d_name), 0);
        socklen_t len = sizeof type;
        if (fd < 0)
            continue;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET) { /* as only our channels are */
            ck_assert_msg(fcntl(fd, F_GETFL) & O_NONBLOCK, "descriptor %s blocks", entry->d_name);
            channels++;
        }
        close(fd);
    }
    closedir(dir);
    close(scanner);
    ck_assert_uint_eq(channels, 4); /* the zygote's and three workers' */
}
END_TEST

/* Whoever has parsed mail may hold nothing but its channel: a log in its hands could be forged or cut. */
START_TEST(workers_hold_no_log)
{
    pid_t pids[PIDS_MAX];
    char *log = in_folder("log"), *file = xasprintf("log.file=%s", log), path[PATH_MAX], target[PATH_MAX];
    const char *const extra[] = { file, NULL };
    scanner_active(extra);
    assert_scans();
    ck_assert_uint_ge(worker_pids("weir-scan-small", pids), 1);
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pids[0]);
    DIR *dir = opendir(path);
    size_t files = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%d/fd/%.16s", (int)pids[0], entry->d_name);
        ssize_t len = readlink(path, target, sizeof target - 1);
        target[len > 0 ? len : 0] = '\0';
        if (entry->d_name[0] == '.')
            continue;
        ck_assert_msg(strcmp(target, "/dev/null") == 0 || strncmp(target, "socket:", 7) == 0, "%s is %s", entry->d_name, target);
        files++;
    }
    closedir(dir);
    ck_assert_uint_ge(files, 4);
    WAIT_FOR(t.seccomp);
    free(file);
    free(log);
}
END_TEST

/* Of /proc/PID/status; 0: it has no such line. */
static unsigned long long status_of(pid_t pid, const char *key)
{
    char path[64], line[256];
    unsigned long long value = 0;
    size_t len = strlen(key);
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, len) == 0 && line[len] == ':')
            value = strtoull(line + len + 1, NULL, 10);
    }
    fclose(file);
    return value;
}

static struct rlimit limit_of(pid_t pid, int resource)
{
    struct rlimit limit;
    ck_assert_int_eq(prlimit(pid, resource, NULL, &limit), 0);
    return limit;
}

static void assert_limit(pid_t pid, int resource, uint64_t value)
{
    struct rlimit limit = limit_of(pid, resource);
    ck_assert_uint_eq(limit.rlim_cur, value);
    ck_assert_uint_eq(limit.rlim_max, value);
}

/* After a scan of at most 20 s. */
static void assert_locked(pid_t pid)
{
    const uint64_t memory = 1u << 30;
    ck_assert_uint_eq(status_of(pid, "Seccomp"), 2);
    ck_assert_uint_eq(status_of(pid, "NoNewPrivs"), 1);
    assert_limit(pid, RLIMIT_CORE, 0);
    assert_limit(pid, RLIMIT_NOFILE, 256);
    assert_limit(pid, RLIMIT_FSIZE, 300u << 20);
    /* on top of what it had when it began, which was no more than it ever had */
    struct rlimit space = limit_of(pid, RLIMIT_AS), cpu = limit_of(pid, RLIMIT_CPU);
    ck_assert_uint_eq(space.rlim_cur, space.rlim_max);
    ck_assert_uint_gt(space.rlim_cur, memory);
    ck_assert_uint_le(space.rlim_cur, memory + status_of(pid, "VmPeak") * 1024);
    /* on top of what it had used before the scan */
    ck_assert_uint_ge(cpu.rlim_cur, 2);
    ck_assert_uint_le(cpu.rlim_cur, 20 + 2 + PATIENCE_MS / 1000);
}

/* Each worker, of either lane, has its whole sandbox while it holds a message. */
START_TEST(workers_are_locked)
{
    static const char *const extra[] = { "worker_memory=1GiB", "max_scan_size=300MiB", "scan_time=20s", "scan_time_per_mib=0", NULL };
    pid_t small[PIDS_MAX], large[PIDS_MAX];
    uint64_t attempts[3];
    size_t len;
    char *mail = virus_mail(2u << 20, &len);
    scanner_active(extra);
    ck_assert_uint_eq(worker_pids("weir-scan-small", small), 2);
    ck_assert_uint_eq(worker_pids("weir-scan-large", large), 1);
    signal_workers(SIGSTOP); /* so that each of them gets one */
    attempts[0] = send_whole(clean_mail, sizeof clean_mail - 1);
    attempts[1] = send_whole(clean_mail, sizeof clean_mail - 1);
    attempts[2] = send_open(len, true, mail, len, 0, 60000);
    WAIT_FOR(t.slots_used == 3);
    signal_workers(SIGCONT);
    for (size_t i = 0; i < 3; i++)
        wait_answer(attempts[i], VERDICT);
    assert_locked(small[0]);
    assert_locked(small[1]);
    assert_locked(large[0]);
    free(mail);
}
END_TEST

static size_t highest_file(pid_t pid)
{
    char folder[64];
    size_t highest = 0;
    snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t number = strtoul(entry->d_name, NULL, 10);
        highest = number > highest ? number : highest;
    }
    closedir(dir);
    return highest;
}

/* No descriptors left for a new worker: it comes when there are some, and nothing else is lost. */
START_TEST(out_of_descriptors)
{
    pid_t pids[PIDS_MAX];
    struct rlimit low, old;
    scanner_active(NULL);
    pid_t zygote = zygote_pid();
    ck_assert_uint_eq(worker_pids("weir-scan-small", pids), 2);
    ck_assert_int_eq(prlimit(t.scanner, RLIMIT_NOFILE, NULL, &old), 0);
    ck_assert_uint_eq(old.rlim_cur, old.rlim_max);
    low = old;
    low.rlim_cur = 3; /* nothing new, whatever is closed */
    ck_assert_uint_gt(highest_file(t.scanner), low.rlim_cur);
    ck_assert_int_eq(prlimit(t.scanner, RLIMIT_NOFILE, &low, NULL), 0);
    kill(pids[0], SIGKILL);
    pause_ms(800);
    ck_assert_int_eq(prlimit(t.scanner, RLIMIT_NOFILE, &old, NULL), 0);
    WAIT_FOR(worker_pids("weir-scan-small", pids) == 2);
    ck_assert_int_eq(zygote_pid(), zygote);
    assert_scans();
}
END_TEST

/* A gc that was asked for in an earlier life of this node is fulfilled by its start. */
START_TEST(old_gc_is_fulfilled)
{
    want(false, 7);
    scanner_active(NULL);
    WAIT_FOR(t.gc_done == 7);
    pause_ms(500);
    ck_assert_uint_eq(t.generation, 1);
    want(false, 8);
    WAIT_FOR(t.gc_done == 8);
    ck_assert_uint_eq(t.generation, 2);
}
END_TEST

static void assert_finds(void)
{
    size_t len;
    char *virus = virus_mail(0, &len);
    ck_assert_int_eq(wait_answer(send_whole(virus, len), VERDICT)->verdict, WEIR__VERDICT__VERDICT_BAD);
    free(virus);
}

/* The scanner's folder, and what is in it: systemd-tmpfiles and the like take away what looks old. */
START_TEST(folders_removed)
{
    scanner_active(NULL);
    char *tmp = in_folder("tmp");
    for (int i = 0; i < 2; i++) {
        scratch_remove(tmp);
        ck_assert_int_eq(mkdir(tmp, 0700), 0);
        if (i == 1) {
            want(false, 1);
            WAIT_FOR(t.gc_done == 1);
        }
        for (int k = 0; k < 4; k++)
            assert_finds();
    }
    free(tmp);
}
END_TEST

static int spoil(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st;
    bool worker = kind == FTW_D && path[walk->base] == 'w' && isdigit((unsigned char)path[walk->base + 1]);
    return worker ? chmod(path, 0500) : 0;
}

/* Three messages in a row on which the engine fails. */
static void fail_engine(void)
{
    static const char *const ids[] = { "01ARYZ6S41TSV4RRFFQ7", "01ARYZ6S41TSV4RRFFQ8", "01ARYZ6S41TSV4RRFFQ9" };
    size_t len;
    char *virus = virus_mail(0, &len), *tmp = in_folder("tmp");
    ck_assert_int_eq(nftw(tmp, spoil, 16, FTW_PHYS), 0);
    for (size_t i = 0; i < 3; i++) {
        t.id = ids[i];
        assert_unknown(send_whole(virus, len), WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE);
    }
    t.id = NULL;
    free(virus);
    free(tmp);
}

START_TEST(failing_engine_is_replaced)
{
    scanner_active(NULL);
    fail_engine();
    WAIT_FOR(t.generation == 2 && t.load_state == WEIR__NODE_STATE__NODE_ACTIVE);
    assert_finds();
}
END_TEST

START_TEST(failing_engine_is_not_trusted)
{
    scanner_active(NULL);
    remove_signatures("eicar.ndb");
    fail_engine();
    WAIT_FOR(t.load_state == WEIR__NODE_STATE__NODE_STARTING);
    assert_busy(send_whole(clean_mail, sizeof clean_mail - 1), WEIR__BUSY_REASON__BUSY_STARTING);
    write_signatures("eicar.ndb", true);
    WAIT_FOR(t.load_state == WEIR__NODE_STATE__NODE_ACTIVE);
    assert_finds();
}
END_TEST

START_TEST(worker_killed)
{
    scanner_active(NULL);
    signal_workers(SIGSTOP);
    uint64_t first = send_whole(clean_mail, sizeof clean_mail - 1);
    uint64_t second = send_open(sizeof clean_mail - 1, true, clean_mail, sizeof clean_mail - 1, 1, 60000);
    WAIT_FOR(t.slots_used == 2);
    signal_workers(SIGKILL);
    assert_unknown(first, WEIR__UNKNOWN_REASON__UNKNOWN_CRASH);
    assert_unknown(second, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE);
    for (int i = 0; i < 5; i++)
        assert_scans();
    pid_t pids[PIDS_MAX];
    WAIT_FOR(worker_pids("weir-scan-small", pids) == 2 && worker_pids("weir-scan-large", pids) == 1);
}
END_TEST

START_TEST(worker_hangs)
{
    static const char *const extra[] = { "scan_time=300ms", "scan_time_per_mib=0", NULL };
    scanner_active(extra);
    signal_workers(SIGSTOP);
    uint64_t start = clock_ms(), attempt = send_whole(clean_mail, sizeof clean_mail - 1);
    assert_unknown(attempt, WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT);
    ck_assert_uint_ge(clock_ms() - start, 290);
    signal_workers(SIGCONT);
    assert_scans();
}
END_TEST

START_TEST(workers_are_recycled)
{
    static const char *const extra[] = { "worker_scans=20", NULL };
    pid_t before[PIDS_MAX], after[PIDS_MAX];
    scanner_active(extra);
    ck_assert_uint_eq(worker_pids("weir-scan-small", before), 2);
    for (int i = 0; i < 200; i++)
        assert_scans();
    WAIT_FOR(worker_pids("weir-scan-small", after) == 2);
    /* one after the other: the same worker is asked each time, so the second one may still be young */
    ck_assert((after[0] != before[0] && after[0] != before[1]) || (after[1] != before[0] && after[1] != before[1]));
    ck_assert_uint_eq(t.generation, 1);
}
END_TEST

/* Mail flows all the time, and none of it notices. */
static void assert_scans_until(uint64_t generation)
{
    uint64_t until = clock_ms() + 3 * PATIENCE_MS; /* the loader is niced, and has other tests beside it */
    while (t.generation < generation) {
        ck_assert_uint_lt(clock_ms(), until);
        assert_scans();
        t.answer_count = 0;
    }
}

START_TEST(gc_has_no_gap)
{
    scanner_active(NULL);
    want(false, 3);
    assert_scans_until(2);
    WAIT_FOR(t.gc_done == 3);
    ck_assert_uint_eq(t.generation, 2);
    pause_ms(300);
    ck_assert_uint_eq(t.generation, 2); /* level-triggered, but done */
    want(false, 4);
    want(false, 5);
    assert_scans_until(3);
    WAIT_FOR(t.gc_done == 5);
    kill(t.scanner, SIGHUP);
    assert_scans_until(t.generation + 1);
    assert_scans();
    pid_t pids[PIDS_MAX];
    WAIT_FOR(children_of(t.scanner, "weir-zygote", pids) == 1);
}
END_TEST

/* What it tells for turns of housekeeping is of the generation that serves, and begins anew with the next one. */
START_TEST(tells_how_it_is_used)
{
    scanner_active(NULL);
    for (int i = 0; i < 5; i++)
        assert_scans();
    WAIT_FOR(t.use.scanned == 5 && t.use.small_workers == 2 && t.use.large_workers == 1);
    ck_assert(t.use.serving_ms > 0 && t.use.memory_loaded > 1 << 20 && t.use.memory >= t.use.memory_loaded / 2);
    ck_assert_uint_eq(t.use.large_busy, 0);
    signal_workers(SIGSTOP);
    send_whole(clean_mail, sizeof clean_mail - 1);
    WAIT_FOR(t.use.small_busy >= 5); /* of the one that is at it, while it is */
    ck_assert_uint_le(t.use.small_busy, 100);
    signal_workers(SIGCONT);
    WAIT_FOR(t.use.scanned == 6);
    want(false, 1);
    WAIT_FOR(t.gc_done == 1 && t.use.scanned == 0 && t.use.memory_loaded > 1 << 20);
}
END_TEST

/* How much nicer than we a process's thread of that name is; 99: it has none. */
static int nice_of(pid_t pid, const char *name)
{
    char folder[64];
    int found = 99;
    snprintf(folder, sizeof folder, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        pid_t parent, thread = atoi(entry->d_name);
        char its_name[32];
        if (thread > 0 && read_stat(thread, &parent, its_name) && strcmp(its_name, name) == 0)
            found = getpriority(PRIO_PROCESS, (id_t)thread) - getpriority(PRIO_PROCESS, 0);
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

START_TEST(loads_niced)
{
    pid_t zygotes[PIDS_MAX], workers[PIDS_MAX];
    scanner_active(NULL);
    write_many_signatures("many.hdb", 400000);
    want(false, 1);
    WAIT_FOR(children_of(t.scanner, "weir-zygote", zygotes) == 2 &&
             (nice_of(zygotes[0], "weir-loader") == 15 || nice_of(zygotes[1], "weir-loader") == 15));
    assert_scans_until(2);
    WAIT_FOR(zygote_pid() != 0);
    ck_assert_int_eq(nice_of(zygote_pid(), "weir-loader"), 99);
    ck_assert_int_eq(nice_of(zygote_pid(), "weir-zygote"), 0);
    ck_assert_uint_ge(worker_pids("weir-scan-small", workers), 1);
    ck_assert_int_eq(nice_of(workers[0], "weir-scan-small"), 10);
    ck_assert_uint_ge(worker_pids("weir-scan-large", workers), 1);
    ck_assert_int_eq(nice_of(workers[0], "weir-scan-large"), 15);
}
END_TEST

/* S67. Its worker is less niced than those that scan a flood, so it does not wait for these at the cores. */
START_TEST(newcomers_come_first)
{
    static const char *const extra[] = { "spare_workers=1", NULL };
    pid_t pids[PIDS_MAX], spare = 0;
    scanner_active(extra);
    size_t count = worker_pids("weir-scan-small", pids);
    ck_assert_uint_eq(count, 3);
    for (size_t i = 0; i < count; i++) {
        int niced = nice_of(pids[i], "weir-scan-small");
        ck_assert(niced == 10 || (niced == 0 && spare == 0));
        spare = niced == 0 ? pids[i] : spare;
    }
    ck_assert_int_ne(spare, 0);
    signal_workers(SIGSTOP);
    uint64_t flood[4];
    for (size_t i = 0; i < 4; i++)
        flood[i] = send_whole(clean_mail, sizeof clean_mail - 1);
    t.client = "198.51.100.1";
    uint64_t other = send_whole(clean_mail, sizeof clean_mail - 1);
    WAIT_FOR(t.slots_used == 5);
    kill(spare, SIGCONT); /* only this one: it has nothing of the flood */
    ck_assert_int_eq(wait_answer(other, VERDICT)->verdict, WEIR__VERDICT__VERDICT_CLEAN);
    WAIT_FOR(t.slots_used == 4); /* and takes nothing of it */
    signal_workers(SIGCONT);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(wait_answer(flood[i], VERDICT)->verdict, WEIR__VERDICT__VERDICT_CLEAN);
}
END_TEST

START_TEST(broken_signatures_keep_the_old)
{
    scanner_active(NULL);
    write_signatures("broken.ndb", false);
    want(false, 1);
    WAIT_FOR(t.failures > 0);
    ck_assert_uint_eq(t.gc_done, 0);
    ck_assert_uint_eq(t.generation, 1);
    assert_scans();
    remove_signatures("broken.ndb"); /* and it comes right by itself */
    WAIT_FOR(t.gc_done == 1);
    ck_assert_uint_ge(t.generation, 2);
    assert_scans();
}
END_TEST

START_TEST(no_signatures_at_start)
{
    remove_signatures("eicar.ndb");
    scanner_start(NULL);
    WAIT_FOR(t.load_state == WEIR__NODE_STATE__NODE_STARTING && t.state == WEIR__NODE_STATE__NODE_STARTING);
    assert_busy(send_whole(clean_mail, sizeof clean_mail - 1), WEIR__BUSY_REASON__BUSY_STARTING);
    write_signatures("eicar.ndb", true);
    WAIT_FOR(t.load_state == WEIR__NODE_STATE__NODE_ACTIVE);
    assert_scans();
}
END_TEST

START_TEST(drain_and_back)
{
    scanner_active(NULL);
    signal_workers(SIGSTOP);
    uint64_t held = send_whole(clean_mail, sizeof clean_mail - 1);
    WAIT_FOR(t.slots_used == 1);
    want(true, 0);
    WAIT_FOR(t.load_state == WEIR__NODE_STATE__NODE_DRAINING && t.state == WEIR__NODE_STATE__NODE_DRAINING);
    assert_busy(send_whole(clean_mail, sizeof clean_mail - 1), WEIR__BUSY_REASON__BUSY_DRAINING);
    signal_workers(SIGCONT);
    ck_assert_int_eq(wait_answer(held, VERDICT)->verdict, WEIR__VERDICT__VERDICT_CLEAN);
    WAIT_FOR(t.state == WEIR__NODE_STATE__NODE_DRAINED);
    want(false, 0);
    WAIT_FOR(t.state == WEIR__NODE_STATE__NODE_ACTIVE && t.load_state == WEIR__NODE_STATE__NODE_ACTIVE);
    assert_scans();
}
END_TEST

START_TEST(terminate_finishes)
{
    scanner_active(NULL);
    signal_workers(SIGSTOP);
    uint64_t held = send_whole(clean_mail, sizeof clean_mail - 1);
    WAIT_FOR(t.slots_used == 1);
    pid_t zygote = zygote_pid();
    kill(t.scanner, SIGTERM);
    WAIT_FOR(t.load_state == WEIR__NODE_STATE__NODE_DRAINING);
    signal_workers(SIGCONT);
    ck_assert_int_eq(wait_answer(held, VERDICT)->verdict, WEIR__VERDICT__VERDICT_CLEAN);
    int status = scanner_wait();
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_ne(kill(zygote, 0), 0);
    char *tmp = in_folder("tmp");
    ck_assert_int_eq(rmdir(tmp), 0); /* nothing left in it */
    free(tmp);
}
END_TEST

START_TEST(drain_timeout_ends_it)
{
    static const char *const extra[] = { "drain_timeout=300ms", NULL };
    scanner_active(extra);
    signal_workers(SIGSTOP);
    send_whole(clean_mail, sizeof clean_mail - 1);
    WAIT_FOR(t.slots_used == 1);
    kill(t.scanner, SIGTERM);
    int status = scanner_wait();
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}
END_TEST

START_TEST(nothing_outlives_the_master)
{
    pid_t pids[PIDS_MAX], zygote;
    scanner_active(NULL);
    zygote = zygote_pid();
    size_t count = worker_pids("weir-scan-small", pids);
    ck_assert_uint_eq(count, 2);
    signal_workers(SIGSTOP); /* even those that cannot notice */
    kill(t.scanner, SIGKILL);
    scanner_wait();
    pid_t parent;
    char name[32];
    WAIT_FOR(!read_stat(zygote, &parent, name) && !read_stat(pids[0], &parent, name) && !read_stat(pids[1], &parent, name));
    /* the next one cleans up behind it */
    WAIT_FOR(!link_is_up(t.edge));
    t.state = t.load_state = 0;
    scanner_active(NULL);
    char *tmp = in_folder("tmp");
    DIR *dir = opendir(tmp);
    size_t entries = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        entries += entry->d_name[0] != '.';
    closedir(dir);
    free(tmp);
    ck_assert_uint_eq(entries, 1);
    assert_scans();
}
END_TEST

START_TEST(zygote_killed)
{
    scanner_active(NULL);
    signal_workers(SIGSTOP);
    uint64_t held = send_whole(clean_mail, sizeof clean_mail - 1);
    WAIT_FOR(t.slots_used == 1);
    kill(zygote_pid(), SIGKILL);
    assert_busy(held, WEIR__BUSY_REASON__BUSY_STARTING); /* not this message's doing: another scanner may have it */
    WAIT_FOR(t.generation == 2 && t.load_state == WEIR__NODE_STATE__NODE_ACTIVE);
    assert_scans();
    WAIT_FOR(t.slots_used == 0 && t.bytes_used == 0);
}
END_TEST

/* A zygote that hangs makes no more workers: it is replaced by a new generation, and killed. */
START_TEST(zygote_hangs)
{
    scanner_active(NULL);
    pid_t zygote = zygote_pid(), pids[PIDS_MAX], parent;
    char name[32];
    kill(zygote, SIGSTOP);
    want(false, 1);
    WAIT_FOR(t.gc_done == 1);
    assert_scans();
    WAIT_FOR(!read_stat(zygote, &parent, name));
    ck_assert_uint_eq(children_of(t.scanner, "weir-zygote", pids), 1);
    want(false, 2);
    WAIT_FOR(t.gc_done == 2);
    assert_scans();
}
END_TEST

START_TEST(edge_gone)
{
    scanner_active(NULL);
    signal_workers(SIGSTOP);
    send_whole(clean_mail, sizeof clean_mail - 1);
    send_open(3000000, false, NULL, 0, 0, 60000);
    WAIT_FOR(t.slots_used == 1 && t.bytes_used >= 1000000); /* a window of it */
    link_free(&t.edge);
    static const struct link_handlers edge_handlers = { .up = on_up, .down = on_down, .message = on_edge_message };
    char *scanner = xasprintf("tcp://127.0.0.1:%d", t.ports[2]);
    t.edge = link_new(t.hub, scanner, t.scanner_key.public_key, &edge_handlers, NULL);
    free(scanner);
    t.bytes_used = 1;
    WAIT_FOR(t.bytes_used < 100000); /* the upload at once */
    signal_workers(SIGCONT);
    WAIT_FOR(t.slots_used == 0 && t.bytes_used == 0);
    assert_scans();
}
END_TEST

/* Workers and zygotes die at random, generations change: every scan has one answer, and a virus is never clean. */
START_TEST(chaos)
{
    enum { OUTSTANDING = 16, ALL = 5000 };
    size_t virus_len, sent = 0, clean = 0, bad = 0, other = 0;
    uint64_t first, next_blow;
    char *virus = virus_mail(2000, &virus_len);
    static bool answered[ALL];
    scanner_active(NULL);
    srand(4711);
    first = t.attempts + 1;
    next_blow = clock_ms() + 20;
    while (clean + bad + other < ALL) {
        while (sent < ALL && sent - clean - bad - other < OUTSTANDING) {
            bool is_virus = sent++ % 2 == 1;
            send_whole(is_virus ? virus : clean_mail, is_virus ? virus_len : sizeof clean_mail - 1);
        }
        uint64_t patience = clock_ms() + PATIENCE_MS;
        while (t.answer_count == 0) {
            ck_assert_msg(clock_ms() < patience, "%zu scans have no answer", sent - clean - bad - other);
            turn(50);
        }
        for (size_t i = 0; i < t.answer_count; i++) {
            const struct answer *answer = &t.answers[i];
            uint64_t number = 0;
            while (number < sent && (first + number) * ATTEMPT_STEP != answer->attempt)
                number++;
            ck_assert_uint_lt(number, sent);
            ck_assert_msg(!answered[number], "answered twice");
            answered[number] = true;
            if (answer->kind == VERDICT && answer->verdict == WEIR__VERDICT__VERDICT_CLEAN) {
                ck_assert_msg(number % 2 == 0, "a virus is called clean");
                clean++;
            } else if (answer->kind == VERDICT && answer->verdict == WEIR__VERDICT__VERDICT_BAD) {
                ck_assert_uint_eq(number % 2, 1);
                bad++;
            } else {
                other++;
            }
        }
        t.answer_count = 0;
        if (clock_ms() >= next_blow) {
            pid_t pids[PIDS_MAX];
            size_t count = worker_pids("weir-scan-small", pids);
            int blow = rand() % 8;
            pid_t zygote = zygote_pid(); /* asked once: 0 would be our own group */
            if (blow == 0 && zygote != 0)
                kill(zygote, SIGKILL);
            else if (blow == 1)
                kill(t.scanner, SIGHUP);
            else if (count > 0)
                kill(pids[(size_t)rand() % count], SIGKILL);
            next_blow = clock_ms() + 20;
        }
    }
    ck_assert_uint_gt(clean, 0);
    ck_assert_uint_gt(bad, 0);
    free(virus);
    WAIT_FOR(t.slots_used == 0 && t.bytes_used == 0);
}
END_TEST

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        const TTest *test;
    } tests[] = {
#define TEST(name) { #name, name }
        TEST(verdicts), TEST(streams), TEST(bad_chunks), TEST(slots_and_cancel), TEST(uploads_and_slots), TEST(lanes_and_deadlines), TEST(promises_and_disk), TEST(starved_upload),
        TEST(message_partial), TEST(cancelled_early),
        TEST(channels_do_not_block), TEST(workers_hold_no_log), TEST(workers_are_locked), TEST(out_of_descriptors),
        TEST(old_gc_is_fulfilled), TEST(folders_removed), TEST(failing_engine_is_replaced),
        TEST(failing_engine_is_not_trusted), TEST(worker_killed), TEST(worker_hangs), TEST(workers_are_recycled), TEST(gc_has_no_gap), TEST(tells_how_it_is_used), TEST(loads_niced), TEST(newcomers_come_first),
        TEST(broken_signatures_keep_the_old), TEST(no_signatures_at_start), TEST(drain_and_back), TEST(terminate_finishes),
        TEST(drain_timeout_ends_it), TEST(nothing_outlives_the_master), TEST(zygote_killed), TEST(zygote_hangs),
        TEST(edge_gone), TEST(chaos),
    };
    Suite *suite = suite_create("scanner process");
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (argc > 1 && strcmp(argv[1], tests[i].name) != 0)
            continue;
        TCase *one = tcase_create(tests[i].name);
        tcase_set_timeout(one, 90);
        tcase_add_checked_fixture(one, set_up, tear_down);
        tcase_add_test(one, tests[i].test);
        suite_add_tcase(suite, one);
    }
    return run_suite(suite);
}

/*
 * test_scanner_sandbox.c - what a locked process can and cannot do; each row in a process of its own
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "scanner/sandbox.h"
#include "scanner/scratch.h"
#include "tests/unit/suite.h"

#define MEMORY (64u << 20)

static char folder[PATH_MAX];

/* What the process tries; its exit status. */
static int use_own_folder(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/dir", folder);
    if (mkdir(path, 0700) != 0)
        return 1;
    snprintf(path, sizeof path, "%.4000s/dir/file", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || lseek(fd, 0, SEEK_SET) != 0 || close(fd) != 0 || unlink(path) != 0)
        return 2;
    snprintf(path, sizeof path, "%.4000s/dir", folder);
    return rmdir(path) == 0 ? 0 : 3;
}

static int open_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) < 0;
}

static int start_program(void)
{
    execl("/bin/true", "true", (char *)NULL);
    return 1;
}

static int fork_process(void)
{
    return fork() < 0;
}

static int signal_parent(void)
{
    return kill(getppid(), 0);
}

static int trace_parent(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) != 0;
}

static int executable_memory(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int make_executable(void)
{
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(memory, 4096, PROT_READ | PROT_EXEC);
}

static int raise_limit(void)
{
    struct rlimit limit = { 1 << 20, 1 << 20 };
    return setrlimit(RLIMIT_NOFILE, &limit);
}

static int limit_another(void)
{
    struct rlimit limit = { 1, 1 };
    return prlimit(getppid(), RLIMIT_CPU, &limit, NULL);
}

static int change_user(void)
{
    return (int)syscall(SYS_setuid, 1);
}

static int too_much_memory(void)
{
    return mmap(NULL, 2 * (size_t)MEMORY, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? 0 : 1;
}

static int too_large_file(void)
{
    char path[PATH_MAX], bytes[8192] = { 0 };
    snprintf(path, sizeof path, "%.4000s/large", folder);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 4; i++) {
        if (write(fd, bytes, sizeof bytes) < 0)
            return 1;
    }
    return 0;
}

static int too_many_files(void)
{
    for (int i = 0; i < 300; i++) {
        if (dup(1) < 0)
            return errno == EMFILE ? 0 : 1;
    }
    return 2;
}

static int too_much_time(void)
{
    sandbox_limit_cpu(0);
    volatile unsigned long spins = 0;
    while (spins < ~0ul)
        spins++;
    return 1;
}

/* The kernel would send any signal to any process of the same user. */
static int own_signals(void)
{
    return fcntl(0, F_SETOWN, getppid());
}

static int choose_signal(void)
{
    return fcntl(0, F_SETSIG, SIGKILL);
}

static int ask_for_signals(void)
{
    return fcntl(0, F_SETFL, O_ASYNC);
}

static int harmless_fcntl(void)
{
    int flags = fcntl(0, F_GETFL), copy = fcntl(0, F_DUPFD_CLOEXEC, 10);
    return flags >= 0 && fcntl(0, F_SETFL, flags) == 0 && fcntl(copy, F_GETFD) == FD_CLOEXEC && fcntl(copy, F_SETFD, 0) == 0 ? 0 : 1;
}

/* Neither refused nor done. */
static int change_mode(void)
{
    struct stat before, after;
    if (stat(folder, &before) != 0 || chmod(folder, 0777) != 0 || fchmodat(AT_FDCWD, folder, 0777, 0) != 0)
        return 1;
    return stat(folder, &after) == 0 && before.st_mode == after.st_mode ? 0 : 2;
}

static int open_without_a_mode(void)
{
    return open("/dev/null", O_ACCMODE) < 0;
}

static int openat_without_a_mode(void)
{
    return (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_ACCMODE | O_TRUNC, 0) < 0;
}

static int truncate_own_file(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.4000s/own", folder);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || write(fd, "xyz", 3) != 3 || ftruncate(fd, 1) != 0)
        return 1;
    return open(path, O_WRONLY | O_TRUNC) >= 0 && lseek(fd, 0, SEEK_END) == 0 ? 0 : 2;
}

static int run(int (*what)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct error why;
        struct sandbox_limits limits = { .memory = MEMORY, .file_size = 20000 };
        if (!sandbox_limit(&limits, &why) || !sandbox_lock(folder, &why))
            _exit(99);
        _exit(what());
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

START_TEST(allowed_and_denied)
{
    static const struct {
        const char *name;
        int (*what)(void);
        int ended_by; /* a signal, or 0: exit status 0 */
    } rows[] = {
        { "files in the own folder", use_own_folder, 0 },
        { "socket", open_socket, SIGSYS },
        { "exec", start_program, SIGSYS },
        { "fork", fork_process, SIGSYS },
        { "kill", signal_parent, SIGSYS },
        { "ptrace", trace_parent, SIGSYS },
        { "mmap executable", executable_memory, SIGSYS },
        { "mprotect executable", make_executable, SIGSYS },
        { "own limits", raise_limit, SIGSYS },
        { "another's limits", limit_another, SIGSYS },
        { "setuid", change_user, SIGSYS },
        { "fcntl F_SETOWN", own_signals, SIGSYS },
        { "fcntl F_SETSIG", choose_signal, SIGSYS },
        { "fcntl O_ASYNC", ask_for_signals, SIGSYS },
        { "fcntl", harmless_fcntl, 0 },
        { "chmod", change_mode, 0 },
        { "open without a mode", open_without_a_mode, SIGSYS },
        { "openat without a mode", openat_without_a_mode, SIGSYS },
        { "truncate an own file", truncate_own_file, 0 },
        { "memory", too_much_memory, 0 },
        { "file size", too_large_file, SIGXFSZ },
        { "open files", too_many_files, 0 },
        { "CPU time", too_much_time, SIGXCPU },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int status = run(rows[i].what);
        if (rows[i].ended_by != 0)
            ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == rows[i].ended_by, "%s: status %x", rows[i].name, status);
        else
            ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %x", rows[i].name, status);
    }
}
END_TEST

static int read_elsewhere(void)
{
    return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 1;
}

static int write_elsewhere(void)
{
    return open("/dev/shm/weir-test-sandbox", O_WRONLY | O_CREAT, 0600) < 0 && errno == EACCES ? 0 : 1;
}

START_TEST(files_elsewhere)
{
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0) {
        fprintf(stderr, "SKIP files_elsewhere: this kernel has no Landlock\n");
        return;
    }
    ck_assert_int_eq(run(read_elsewhere), 0);
    ck_assert_int_eq(run(write_elsewhere), 0);
}
END_TEST

static int locked;

static void set_up(void)
{
    struct error why;
    ck_assert_msg(scratch_new("/dev/shm", folder, &locked, &why), "%s", why.text);
}

static void tear_down(void)
{
    scratch_remove(folder);
    close(locked);
}

int main(void)
{
    Suite *suite = suite_create("scanner sandbox");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, allowed_and_denied);
    tcase_add_test(tests, files_elsewhere);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/*
 * sandbox.c - a process that parses hostile bytes can do that and nothing else
 */
#include "scanner/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "common/log.h"

#define OPEN_FILES 256

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return done;
}

static bool refused(const char *what)
{
    log_write(LOG_DEBUG, "sandbox: no own %s: %s", what, strerror(errno));
    return false;
}

bool sandbox_isolate(void)
{
    if (geteuid() == 0) {
        if (unshare(CLONE_NEWNET | CLONE_NEWIPC) != 0)
            return refused("network namespace");
        return true;
    }
    /* Without privileges a user namespace is the way to the others. We stay who we are in it, or no file could be made. */
    unsigned uid = geteuid(), gid = getegid();
    char map[64];
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) != 0)
        return refused("namespaces");
    snprintf(map, sizeof map, "%u %u 1", uid, uid);
    bool mapped = write_file("/proc/self/uid_map", map) && write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", gid, gid);
    if (!mapped || !write_file("/proc/self/gid_map", map))
        log_write(LOG_WARNING, "sandbox: cannot map own user in its namespace: %s", strerror(errno));
    return true;
}

static uint64_t address_space(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;
    if (file != NULL) {
        if (fscanf(file, "%llu", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool sandbox_limit(const struct sandbox_limits *limits, struct error *why)
{
    uint64_t space = address_space() + limits->memory;
    const struct {
        int resource;
        uint64_t value;
    } table[] = {
        { RLIMIT_CORE, 0 },
        { RLIMIT_NOFILE, OPEN_FILES },
        { RLIMIT_FSIZE, limits->file_size },
        { RLIMIT_AS, space },
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].resource == RLIMIT_AS && limits->memory == 0)
            continue;
        struct rlimit limit = { .rlim_cur = table[i].value, .rlim_max = table[i].value };
        if (setrlimit(table[i].resource, &limit) != 0) {
            error_set(why, "cannot set resource limit %d: %s", table[i].resource, strerror(errno));
            return false;
        }
    }
    return true;
}

void sandbox_limit_cpu(uint32_t seconds)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    struct rlimit limit = { .rlim_cur = (rlim_t)used.tv_sec + seconds + 1, .rlim_max = RLIM_INFINITY };
    setrlimit(RLIMIT_CPU, &limit);
}

static bool drop_capabilities(struct error *why)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_capset, &header, none) != 0) {
        error_set(why, "cannot drop privileges: %s", strerror(errno));
        return false;
    }
    return true;
}

/* The kernel's structure as of ABI 6; older kernels take the longer one as long as what they do not know is zero. */
struct landlock_rules {
    uint64_t files;
    uint64_t net;
    uint64_t scoped;
};
#define RIGHT_TRUNCATE (UINT64_C(1) << 14) /* ABI 3 */
#define SCOPE_ABSTRACT_SOCKETS (UINT64_C(1) << 0) /* ABI 6 */
#define SCOPE_SIGNALS (UINT64_C(1) << 1)

/* 0: none. */
static int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return version > 0 ? (int)version : 0;
}

bool sandbox_has_landlock(void)
{
    return landlock_version() > 0;
}

/* Kernels without Landlock are fine: then the file system's own permissions are what protects. */
static bool confine_files(const char *tmp_dir, struct error *why)
{
    int version = landlock_version();
    struct landlock_rules rules = {
        .files = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
                 LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                 LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                 LANDLOCK_ACCESS_FS_MAKE_SYM | (version >= 3 ? RIGHT_TRUNCATE : 0),
        .scoped = version >= 6 ? SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS : 0,
    };
    if (version == 0)
        return true;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
    if (ruleset < 0) {
        error_set(why, "landlock: %s", strerror(errno));
        return false;
    }
    int folder = open(tmp_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct landlock_path_beneath_attr own = {
        .allowed_access = rules.files &
                          ~(uint64_t)(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                      LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                      LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM),
        .parent_fd = folder,
    };
    bool done = folder >= 0 && syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &own, 0) == 0 &&
                syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    if (!done)
        error_set(why, "landlock for %s: %s", tmp_dir, strerror(errno));
    if (folder >= 0)
        close(folder);
    close(ruleset);
    return done;
}

static const int allowed_calls[] = {
    /* memory */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    /* files: made, read, written and removed below the temporary folder */
    SCMP_SYS(close), SCMP_SYS(read), SCMP_SYS(pread64), SCMP_SYS(readv), SCMP_SYS(write),
    SCMP_SYS(pwrite64), SCMP_SYS(writev), SCMP_SYS(lseek), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename), SCMP_SYS(ftruncate), SCMP_SYS(getdents64), SCMP_SYS(fadvise64), SCMP_SYS(dup),
    SCMP_SYS(dup2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getcwd),
    /* the channel to the master */
    SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
    /* time, chance, who am I */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(times),
    SCMP_SYS(getrusage), SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(gettid), SCMP_SYS(getuid),
    SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(sysinfo), SCMP_SYS(uname),
    /* signals and the end; abort() and a caught fault stay what they are for the one who reads the exit status */
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(futex),
    SCMP_SYS(sched_yield), SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

/* Not O_ACCMODE itself: that mode needs no right to the file, and can still truncate it. */
static bool allow_open(scmp_filter_ctx filter)
{
    static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };
    bool done = true;
    for (size_t i = 0; done && i < sizeof modes / sizeof modes[0]; i++) {
        scmp_datum_t mode = (scmp_datum_t)modes[i];
        done = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(open), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, O_ACCMODE, mode)) == 0 &&
               seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE, mode)) == 0;
    }
    return done;
}

/* Not F_SETOWN, F_SETSIG and O_ASYNC: with them the kernel sends a signal of one's choice to any process of the same user. */
static bool allow_fcntl(scmp_filter_ctx filter)
{
    static const int commands[] = { F_GETFD, F_SETFD, F_GETFL, F_DUPFD, F_DUPFD_CLOEXEC, F_GETLK, F_SETLK, F_SETLKW };
    bool done = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 2, SCMP_A1(SCMP_CMP_EQ, F_SETFL),
                                 SCMP_A2(SCMP_CMP_MASKED_EQ, O_ASYNC, 0)) == 0;
    for (size_t i = 0; done && i < sizeof commands / sizeof commands[0]; i++)
        done = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)commands[i])) == 0;
    return done;
}

/* Landlock does not look at modes. libclamav sets those of what it has unpacked, where nobody needs them: told that it is done. */
static bool pretend_chmod(scmp_filter_ctx filter)
{
    static const int calls[] = { SCMP_SYS(chmod), SCMP_SYS(fchmod), SCMP_SYS(fchmodat) };
    bool done = true;
    for (size_t i = 0; done && i < sizeof calls / sizeof calls[0]; i++)
        done = seccomp_rule_add(filter, SCMP_ACT_ERRNO(0), calls[i], 0) == 0;
    return done;
}

static bool allow_with_arguments(scmp_filter_ctx filter)
{
    /* New memory is never executable. The CPU limit is renewed for each scan; other limits and other processes are not touched. */
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) == 0 &&
           seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) == 0 &&
           seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, SCMP_A0(SCMP_CMP_EQ, 0),
                            SCMP_A1(SCMP_CMP_EQ, RLIMIT_CPU)) == 0 &&
           seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setrlimit), 1, SCMP_A0(SCMP_CMP_EQ, RLIMIT_CPU)) == 0 &&
           seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                            SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())) == 0 && /* abort() */
           seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 0) == 0 && /* stdio asks whether it writes to a terminal */
           allow_open(filter) && allow_fcntl(filter) && pretend_chmod(filter);
}

bool sandbox_lock(const char *tmp_dir, struct error *why)
{
    if (!drop_capabilities(why) || !confine_files(tmp_dir, why))
        return false;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    bool done = filter != NULL;
    for (size_t i = 0; done && i < sizeof allowed_calls / sizeof allowed_calls[0]; i++)
        done = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0) == 0;
    done = done && allow_with_arguments(filter) && seccomp_load(filter) == 0;
    if (filter != NULL)
        seccomp_release(filter);
    if (!done)
        error_set(why, "seccomp: the kernel does not take the filter");
    return done;
}

/*
 * nsupdate.c - see nsupdate.h
 */
#include "coordinator/nsupdate.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/memory.h"
#include "coordinator/text.h"

#define SAID_MAX      1000
#define KILL_AFTER_MS 2000 /* behind its own time-out, whose words say more */

struct nsupdate {
    pid_t pid;
    int ended_fd, said_fd; /* a pidfd; a pipe of what it says */
    bool killed;
    uint64_t timeout_ms;
    struct event *ended, *late;
    nsupdate_done_handler done;
    void *arg;
};

static void forget(struct nsupdate *nsupdate)
{
    event_free(nsupdate->ended);
    event_free(nsupdate->late);
    close(nsupdate->ended_fd);
    close(nsupdate->said_fd);
    free(nsupdate);
}

/* In one line, as it goes into a log and an error. */
static void take_words(struct text *out, int fd)
{
    char said[SAID_MAX];
    ssize_t len = read(fd, said, sizeof said), start = 0;
    while (len > 0 && (said[len - 1] == '\n' || said[len - 1] == ' '))
        len--;
    for (ssize_t i = 0; i < len; i++)
        if (said[i] == '\n' || said[i] == '\t')
            said[i] = ' ';
    while (start < len && (said[start] == ';' || said[start] == ' '))
        start++;
    if (len > start)
        text_add_clean(out, said + start, (size_t)(len - start), SAID_MAX);
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct nsupdate *nsupdate = arg;
    nsupdate_done_handler done = nsupdate->done;
    void *done_arg = nsupdate->arg;
    struct text words;
    int status = 0;

    text_init(&words);
    waitpid(nsupdate->pid, &status, 0);
    bool fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!fine)
        take_words(&words, nsupdate->said_fd);
    if (!fine && nsupdate->killed)
        text_printf(&words, "%snsupdate had no answer after %llu ms", words.len > 0 ? "; " : "", (unsigned long long)nsupdate->timeout_ms);
    else if (!fine && words.len == 0)
        text_printf(&words, "nsupdate ended with status %d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    forget(nsupdate);
    done(done_arg, fine ? NULL : words.data);
    text_fini(&words);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct nsupdate *nsupdate = arg;
    nsupdate->killed = true;
    kill(nsupdate->pid, SIGKILL);
}

/* A file that is read from its beginning; -1: errno. */
static int script_file(const char *script)
{
    size_t len = strlen(script);
    int fd = memfd_create("nsupdate", MFD_CLOEXEC);
    if (fd >= 0 && (write(fd, script, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* An errno; 0: *pid runs. None of our descriptors is its own, and no signal that we hold back or ignore. */
static int spawn(pid_t *pid, int in, int out, char *const argv[])
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, ignored;

    sigemptyset(&none);
    sigemptyset(&ignored);
    sigaddset(&ignored, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &ignored);
    int failed = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

struct nsupdate *nsupdate_start(struct event_base *base, const char *script, const char *key_file, uint64_t timeout_ms, nsupdate_done_handler done, void *arg,
                                struct error *why)
{
    char program[] = "nsupdate", tcp[] = "-v", timeout[] = "-t", seconds[24], key[] = "-k", *file = xstrdup(key_file);
    char *const argv[] = { program, tcp, timeout, seconds, *file != '\0' ? key : NULL, file, NULL };
    int said[2] = { -1, -1 }, in = script_file(script), ended = -1, failed = errno;
    pid_t pid = -1;

    snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)(timeout_ms + 999) / 1000);
    if (in >= 0 && pipe2(said, O_CLOEXEC | O_NONBLOCK) != 0)
        failed = errno;
    if (in >= 0 && said[1] >= 0)
        failed = spawn(&pid, in, said[1], argv);
    if (pid > 0 && failed == 0 && (ended = pidfd_open(pid, 0)) < 0) {
        failed = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    free(file);
    if (in >= 0)
        close(in);
    if (said[1] >= 0)
        close(said[1]);
    if (ended < 0) {
        error_set(why, "nsupdate (of the package bind9-dnsutils) cannot be started: %s", strerror(failed));
        if (said[0] >= 0)
            close(said[0]);
        return NULL;
    }
    struct nsupdate *nsupdate = xcalloc(1, sizeof *nsupdate);
    *nsupdate = (struct nsupdate){ .pid = pid, .ended_fd = ended, .said_fd = said[0], .timeout_ms = timeout_ms, .done = done, .arg = arg };
    nsupdate->ended = event_new(base, ended, EV_READ, on_ended, nsupdate);
    nsupdate->late = evtimer_new(base, on_late, nsupdate);
    uint64_t late_ms = timeout_ms + KILL_AFTER_MS;
    event_add(nsupdate->ended, NULL);
    event_add(nsupdate->late, &(struct timeval){ (time_t)(late_ms / 1000), (suseconds_t)(late_ms % 1000 * 1000) });
    return nsupdate;
}

void nsupdate_free(struct nsupdate **freed)
{
    struct nsupdate *nsupdate = *freed;
    *freed = NULL;
    if (nsupdate == NULL)
        return;
    kill(nsupdate->pid, SIGKILL);
    waitpid(nsupdate->pid, NULL, 0);
    forget(nsupdate);
}

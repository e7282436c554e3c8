/*
 * look.c - see look.h
 *
 * The process hears on its stdin, and says on its stdout, lines of a word and what belongs to it:
 *
 *     work, folder, freshclam, size, mirror*, url*        in: the settings
 *     log TEXT  trouble TEXT  doubt NAME  file HASH SIZE TIME NAME  end     out: for our log, what failed, what may be old or missing for that,
 *                                                                         each file of the set, and that it got to its end
 *
 * URLs may hold a customer's number, so they are not in an argument, which all users of the machine could read.
 */
#include "coordinator/signatures/look.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/auth/helpers.h"

#define LINE_MAX_LEN 4096

struct look {
    struct event_base *base;
    look_done_handler done;
    void *arg;
    pid_t pid;
    int fd; /* its stdout */
    struct event *readable, *limit;
    char line[LINE_MAX_LEN];
    size_t line_len;
    bool ended;
    struct look_result result;
};

/* Its whole group: freshclam, too. */
static void look_kill(struct look *look)
{
    if (look->pid <= 0)
        return;
    kill(-look->pid, SIGKILL);
    waitpid(look->pid, NULL, 0);
    look->pid = 0;
}

void look_free(struct look **freed)
{
    struct look *look = *freed;
    *freed = NULL;
    if (look == NULL)
        return;
    look_kill(look);
    if (look->readable != NULL)
        event_free(look->readable);
    if (look->limit != NULL)
        event_free(look->limit);
    if (look->fd >= 0)
        close(look->fd);
    free(look);
}

static void look_trouble(struct look *look, const char *words)
{
    char *to = look->result.words;
    size_t used = strlen(to), cap = sizeof look->result.words;
    snprintf(to + used, cap - used, "%s%s", used > 0 ? "; " : "", words);
    log_write(LOG_WARNING, "signatures: %s", words);
}

static void look_finish(struct look *look)
{
    look_done_handler done = look->done;
    void *arg = look->arg;
    if (!look->ended) {
        look->result.count = 0;
        look_trouble(look, "the look at the mirrors broke off");
    }
    if (look->result.count > 0)
        signature_set_name(look->result.files, look->result.count, look->result.id);
    struct look_result *result = xmemdup(&look->result, sizeof look->result);
    look_free(&look);
    done(arg, result);
    free(result);
}

static void take_file(struct look *look, const char *text)
{
    unsigned long long size, time;
    struct signature_file *file = &look->result.files[look->result.count];
    uint8_t hash[SIGNATURE_HASH_LEN];
    if (look->result.count < SIGNATURE_FILES_MAX && sscanf(text, "%64s %llu %llu %63s", file->hash, &size, &time, file->name) == 4 &&
        signature_unhex(hash, file->hash) && signature_name_is_valid(file->name)) {
        file->size = size;
        file->time_ms = time;
        look->result.count++;
    }
}

static void take_doubt(struct look *look, const char *name)
{
    if (look->result.doubt_count < SIGNATURE_FILES_MAX && signature_name_is_valid(name))
        snprintf(look->result.doubts[look->result.doubt_count++], sizeof look->result.doubts[0], "%.*s", SIGNATURE_NAME_MAX, name);
}

static void take_line(struct look *look, const char *line)
{
    if (strncmp(line, "log ", 4) == 0)
        log_write(LOG_INFO, "signatures: %s", line + 4);
    else if (strncmp(line, "trouble ", 8) == 0)
        look_trouble(look, line + 8);
    else if (strncmp(line, "doubt ", 6) == 0)
        take_doubt(look, line + 6);
    else if (strncmp(line, "file ", 5) == 0)
        take_file(look, line + 5);
    else if (strcmp(line, "end") == 0)
        look->ended = true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct look *look = arg;
    ssize_t len = read(fd, look->line + look->line_len, sizeof look->line - 1 - look->line_len);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len <= 0) {
        look_finish(look);
        return;
    }
    look->line_len += (size_t)len;
    char *from = look->line, *end;
    while ((end = memchr(from, '\n', look->line_len - (size_t)(from - look->line))) != NULL) {
        *end = '\0';
        take_line(look, from);
        from = end + 1;
    }
    look->line_len -= (size_t)(from - look->line);
    memmove(look->line, from, look->line_len);
    if (look->line_len == sizeof look->line - 1) /* no line of ours is that long */
        look->line_len = 0;
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct look *look = arg;
    look_trouble(look, "it takes longer than signature_time");
    look_finish(look);
}

static int write_setup(const struct coordinator_settings *settings)
{
    int fd = memfd_create("signatures", MFD_CLOEXEC);
    FILE *file = fd >= 0 ? fdopen(dup(fd), "w") : NULL;
    if (file == NULL)
        return fd;
    fprintf(file, "work %s\nfolder %s\nfreshclam %s\nsize %llu\n", settings->signature_work, settings->signature_folder, settings->freshclam,
            (unsigned long long)settings->signature_size);
    for (size_t i = 0; i < settings->signature_mirrors.count; i++)
        fprintf(file, "mirror %s\n", settings->signature_mirrors.items[i]);
    for (size_t i = 0; i < settings->signature_urls.count; i++)
        fprintf(file, "url %s\n", settings->signature_urls.items[i]);
    fclose(file);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static bool look_spawn(struct look *look, int setup, struct error *why)
{
    char program[] = "weir-coordinator", word[] = HELPERS_WORD, kind[] = LOOK_WORD;
    char *const argv[] = { program, word, kind, NULL };
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        error_set(why, "pipe: %s", strerror(errno));
        return false;
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, setup, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int status = posix_spawn(&look->pid, "/proc/self/exe", &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    look->fd = ends[0];
    fcntl(look->fd, F_SETFL, O_NONBLOCK);
    if (status != 0) {
        look->pid = 0;
        error_set(why, "cannot start a process: %s", strerror(status));
    }
    return status == 0;
}

struct look *look_new(struct event_base *base, const struct coordinator_settings *settings, look_done_handler done, void *arg, struct error *why)
{
    struct look *look = xcalloc(1, sizeof *look);
    *look = (struct look){ .base = base, .done = done, .arg = arg, .fd = -1 };
    int setup = write_setup(settings);
    bool fine = setup >= 0 && look_spawn(look, setup, why);
    if (setup < 0)
        error_set(why, "memfd_create: %s", strerror(errno));
    else
        close(setup);
    if (!fine) {
        look_free(&look);
        return NULL;
    }
    look->readable = event_new(base, look->fd, EV_READ | EV_PERSIST, on_readable, look);
    look->limit = evtimer_new(base, on_limit, look);
    event_add(look->readable, NULL);
    event_add(look->limit, &(struct timeval){ (time_t)(settings->signature_time / 1000), (suseconds_t)(settings->signature_time % 1000 * 1000) });
    return look;
}

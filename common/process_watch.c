/* process_watch.c - see process_watch.h */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "common/process_watch.h"

bool process_watch_take(struct process_watch *watch, const char *stat)
{
    const char *name_end = strrchr(stat, ')'); /* the name may have spaces and brackets itself */
    char state;
    unsigned long long user, system;
    if (name_end == NULL || sscanf(name_end + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &state, &user, &system) != 3)
        return false;
    bool starved = watch->seen && state == 'R' && user + system == watch->used;
    *watch = (struct process_watch){ .seen = true, .used = user + system };
    return starved;
}

bool process_watch_look(struct process_watch *watch, pid_t pid)
{
    char path[64], stat[1024];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)pid, (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, stat, sizeof stat - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (len < 0)
        return false;
    stat[len] = '\0';
    return process_watch_take(watch, stat);
}

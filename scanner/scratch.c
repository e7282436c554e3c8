/*
 * scratch.c - folders for temporary files that nobody forgets
 */
#include "scanner/scratch.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"

#define SCRATCH_PREFIX "weir-scanner."
#define SCRATCH_TRIES 8
#define WALK_FDS 16

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    if (remove(path) != 0 && errno != ENOENT)
        log_write(LOG_WARNING, "cannot remove %s: %s", path, strerror(errno));
    return 0;
}

void scratch_remove(const char *folder)
{
    nftw(folder, remove_entry, WALK_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void sweep(const char *tmp_dir)
{
    DIR *dir = opendir(tmp_dir);
    if (dir == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct stat st;
        if (strncmp(entry->d_name, SCRATCH_PREFIX, sizeof SCRATCH_PREFIX - 1) != 0)
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            char path[PATH_MAX];
            snprintf(path, sizeof path, "%s/%s", tmp_dir, entry->d_name);
            log_write(LOG_INFO, "removing %s, which a killed scanner left behind", path);
            scratch_remove(path);
        }
        close(fd);
    }
    closedir(dir);
}

bool scratch_new(const char *tmp_dir, char out[PATH_MAX], int *lock, struct error *why)
{
    sweep(tmp_dir);
    for (int i = 0; i < SCRATCH_TRIES; i++) {
        if (snprintf(out, PATH_MAX, "%s/" SCRATCH_PREFIX "XXXXXX", tmp_dir) >= PATH_MAX - 64) {
            error_set(why, "%s: too long a path", tmp_dir);
            return false;
        }
        if (mkdtemp(out) == NULL) {
            error_set(why, "cannot make a folder in %s: %s", tmp_dir, strerror(errno));
            return false;
        }
        /* Another scanner that starts now may sweep it away before it is locked; then once more. */
        struct stat named, locked;
        int fd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && stat(out, &named) == 0 && fstat(fd, &locked) == 0 &&
            named.st_ino == locked.st_ino) {
            *lock = fd;
            return true;
        }
        if (fd >= 0)
            close(fd);
    }
    error_set(why, "cannot lock a folder in %s", tmp_dir);
    return false;
}

bool scratch_keep(const char *folder, int *lock, struct error *why)
{
    struct stat named, locked;
    if (stat(folder, &named) == 0 && fstat(*lock, &locked) == 0 && named.st_ino == locked.st_ino)
        return true;
    /* In a folder that all may write to, another may have been first with the name. */
    bool made = mkdir(folder, 0700) == 0 || errno == EEXIST;
    int fd = made ? open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0 || fstat(fd, &locked) != 0 || locked.st_uid != geteuid() || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        error_set(why, "cannot make %s again: %s", folder, fd >= 0 ? "it belongs to somebody else" : strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    log_write(LOG_WARNING, "%s was removed: made again", folder);
    close(*lock);
    *lock = fd;
    return true;
}

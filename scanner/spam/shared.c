/* shared.c - see shared.h */
#include "scanner/spam/shared.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"

#define SHARED_FOLDER "/dev/shm" /* where shm_open() has its names */
#define SECRET_BYTES  16

bool spam_shared_group(gid_t *group, const char *name, struct error *why)
{
    *group = (gid_t)-1;
    if (*name == '\0')
        return true;
    const struct group *found = getgrnam(name);
    if (found == NULL) {
        error_set(why, "this machine has no group %s", name);
        return false;
    }
    *group = found->gr_gid;
    int count = getgroups(0, NULL);
    gid_t *ours = xcalloc((size_t)(count > 0 ? count : 0) + 1, sizeof *ours);
    count = getgroups(count, ours);
    bool in = geteuid() == 0 || getegid() == *group;
    for (int i = 0; !in && i < count; i++)
        in = ours[i] == *group;
    free(ours);
    if (!in)
        error_set(why, "the user of this process is not in the group %s: add it there (usermod -aG %s USER)", name, name);
    return in;
}

static void make_name(char out[SPAM_SHARED_NAME_MAX + 1])
{
    unsigned char secret[SECRET_BYTES];
    if (getrandom(secret, sizeof secret, 0) != sizeof secret)
        fatal("getrandom: %m");
    size_t len = (size_t)snprintf(out, SPAM_SHARED_NAME_MAX + 1, "/" SPAM_SHARED_PREFIX "%ld.", (long)getpid());
    for (size_t i = 0; i < sizeof secret; i++)
        len += (size_t)snprintf(out + len, SPAM_SHARED_NAME_MAX + 1 - len, "%02x", secret[i]);
}

/* false: errno. Nothing that ends early is taken for the message. */
static bool copy_message(int to, const struct spam_message *message)
{
    off_t from = (off_t)message->offset;
    for (uint64_t left = message->size; left > 0;) {
        ssize_t done = message->bytes != NULL ? write(to, message->bytes + from, left) : sendfile(to, message->fd, &from, left);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            errno = done == 0 ? EIO : errno;
            return false;
        }
        from += message->bytes != NULL ? done : 0;
        left -= (uint64_t)done;
    }
    return true;
}

/* Last of all: who finds the name finds all of it, and locked, so that no scanner that starts at this moment takes it for what a dead one left. */
static bool give_name(const struct spam_shared *shared)
{
    char from[40], to[sizeof SHARED_FOLDER + SPAM_SHARED_NAME_MAX + 1];
    snprintf(from, sizeof from, "/proc/self/fd/%d", shared->fd);
    snprintf(to, sizeof to, SHARED_FOLDER "%s", shared->name);
    return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0;
}

bool spam_shared_put(struct spam_shared *shared, const struct spam_message *message, gid_t group, struct error *why)
{
    const char *what = "make";
    make_name(shared->name);
    shared->size = message->size;
    shared->fd = open(SHARED_FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    bool good = shared->fd >= 0 && flock(shared->fd, LOCK_EX | LOCK_NB) == 0;
    if (good) {
        what = "write";
        good = copy_message(shared->fd, message);
    }
    if (good) {
        what = "give its group";
        good = (group == (gid_t)-1 || fchown(shared->fd, (uid_t)-1, group) == 0) && fchmod(shared->fd, 0440) == 0;
    }
    if (good) {
        what = "name";
        good = give_name(shared);
    }
    if (!good) {
        error_set(why, "cannot %s shared memory: %s", what, strerror(errno));
        if (shared->fd >= 0) {
            close(shared->fd);
            shared->fd = -1;
        }
    }
    return good;
}

void spam_shared_end(struct spam_shared *shared)
{
    if (shared->fd < 0)
        return;
    shm_unlink(shared->name);
    close(shared->fd);
    shared->fd = -1;
}

unsigned spam_shared_sweep(void)
{
    DIR *dir = opendir(SHARED_FOLDER);
    unsigned count = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct stat st;
        if (strncmp(entry->d_name, SPAM_SHARED_PREFIX, sizeof SPAM_SHARED_PREFIX - 1) != 0)
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(dirfd(dir), entry->d_name, 0) == 0)
            count++;
        close(fd);
    }
    if (dir != NULL)
        closedir(dir);
    if (count > 0)
        log_write(LOG_INFO, "removed %u messages from " SHARED_FOLDER ", which a killed scanner left behind", count);
    return count;
}

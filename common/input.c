/* input.c - see input.h */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/input.h"

/* False with errno when nothing came. A writer that came and went counts: that is the end of the text. */
static bool wait_for_writer(int fd)
{
    struct pollfd pipe = { .fd = fd, .events = POLLIN };
    int ready;
    do
        ready = poll(&pipe, 1, INPUT_WAIT_MS);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        errno = ETIMEDOUT;
    return ready > 0;
}

int input_open(const char *path, struct error *why)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    bool fine = fd >= 0 && fstat(fd, &status) == 0 && (!S_ISFIFO(status.st_mode) || wait_for_writer(fd)) &&
                fcntl(fd, F_SETFL, 0) == 0; /* from now on it may wait */
    if (fine)
        return fd;
    int code = errno;
    if (code == ETIMEDOUT)
        error_set(why, "a pipe into which nobody has written for %d s", INPUT_WAIT_MS / 1000);
    else
        error_set(why, "%s", strerror(code));
    if (fd >= 0)
        close(fd);
    errno = code;
    return -1;
}

bool input_read_line(const char *path, char *out, size_t cap, struct error *why)
{
    size_t len = 0;
    ssize_t got = 1;
    int fd = input_open(path, why);
    if (fd < 0)
        return false;
    while (got > 0 && len < cap && memchr(out, '\n', len) == NULL) {
        do
            got = read(fd, out + len, cap - len);
        while (got < 0 && errno == EINTR);
        len += got > 0 ? (size_t)got : 0;
    }
    const char *end = memchr(out, '\n', len);
    if (got < 0)
        error_set(why, "%s", strerror(errno));
    else if (len == cap && end == NULL)
        error_set(why, "its first line has more than %zu bytes", cap - 1);
    close(fd);
    if (got < 0 || (len == cap && end == NULL))
        return false;
    out[end != NULL ? (size_t)(end - out) : len] = '\0';
    out[strcspn(out, "\r")] = '\0';
    return true;
}

bool input_is_no_pipe(const char *path, struct error *why)
{
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISFIFO(status.st_mode))
        return true;
    error_set(why, "is a pipe, and must be a file: it is read more than once");
    return false;
}

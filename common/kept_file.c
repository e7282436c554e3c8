/* kept_file.c - see kept_file.h */
#include "common/kept_file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/memory.h"

uint64_t kept_file_sum(const uint8_t *bytes, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

static bool write_all(const char *path, const uint8_t *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    while (len > 0) {
        ssize_t done = write(fd, bytes, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            int error = errno;
            close(fd);
            errno = error;
            return false;
        }
        bytes += done;
        len -= (size_t)done;
    }
    return close(fd) == 0;
}

bool kept_file_write(const char *path, const uint8_t *bytes, size_t len, struct error *why)
{
    char *temporary = xasprintf("%s.%ld", path, (long)getpid());
    bool ok = write_all(temporary, bytes, len) && rename(temporary, path) == 0;
    if (!ok) {
        error_set(why, "%s: %s", path, strerror(errno));
        unlink(temporary);
    }
    free(temporary);
    return ok;
}

uint8_t *kept_file_read(const char *path, size_t max, size_t *len, struct error *why)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_set(why, "%s", errno == ENOENT ? "" : strerror(errno));
        return NULL;
    }
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size < 0 ||
        (size_t)status.st_size > max) {
        error_set(why, "%s is no file that a node keeps", path);
        close(fd);
        return NULL;
    }
    uint8_t *bytes = xmalloc((size_t)status.st_size + 1);
    ssize_t got;
    *len = 0;
    while (*len < (size_t)status.st_size && (got = read(fd, bytes + *len, (size_t)status.st_size - *len)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        *len += (size_t)got;
    }
    close(fd);
    return bytes;
}

/*
 * body.c - the bytes of one message, as a worker can take them
 */
#include "scanner/body.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>
#include "common/memory.h"
#include "scanner/engine.h"

enum body_chunk body_check_chunk(uint64_t len, uint64_t allowed, uint64_t offset, uint64_t chunk)
{
    if (offset != len)
        return BODY_CHUNK_GAP;
    if (len > allowed || chunk > allowed - len)
        return BODY_CHUNK_OVERFLOW;
    return BODY_CHUNK_OK;
}

/* A file without a name. Not every file system has O_TMPFILE. */
static int open_unnamed(const char *folder)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    char *path = xasprintf("%s/weir-message.XXXXXX", folder);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    free(path);
    return fd;
}

static int open_file(bool on_disk, const char *spool_dir, struct error *why)
{
    int fd = on_disk ? open_unnamed(spool_dir) : memfd_create("weir-message", MFD_CLOEXEC);
    if (fd < 0)
        error_set(why, "cannot make a file for a message in %s: %s", on_disk ? spool_dir : "memory", strerror(errno));
    return fd;
}

static bool write_all(int fd, const void *data, size_t len, struct error *why)
{
    const char *bytes = data;
    while (len > 0) {
        ssize_t written = write(fd, bytes, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            error_set(why, "cannot keep a message: %s", strerror(errno));
            return false;
        }
        bytes += written;
        len -= (size_t)written;
    }
    return true;
}

bool body_keep(struct body *body, const void *data, size_t len, bool on_disk, const char *spool_dir, struct error *why)
{
    if (on_disk || len > CHANNEL_BODY_MAX - ENGINE_MAIL_PREFIX_LEN)
        return body_open(body, on_disk, spool_dir, why) && body_append(body, data, len, why);
    *body = (struct body){ .fd = -1, .bytes = xmalloc(ENGINE_MAIL_PREFIX_LEN + len), .len = len };
    memcpy(body->bytes, ENGINE_MAIL_PREFIX, ENGINE_MAIL_PREFIX_LEN);
    if (len > 0)
        memcpy(body->bytes + ENGINE_MAIL_PREFIX_LEN, data, len);
    return true;
}

bool body_open(struct body *body, bool on_disk, const char *spool_dir, struct error *why)
{
    *body = (struct body){ .fd = open_file(on_disk, spool_dir, why), .on_disk = on_disk };
    if (body->fd >= 0 && write_all(body->fd, ENGINE_MAIL_PREFIX, ENGINE_MAIL_PREFIX_LEN, why))
        return true;
    body_close(body);
    return false;
}

bool body_append(struct body *body, const void *data, size_t len, struct error *why)
{
    if (!write_all(body->fd, data, len, why)) {
        body_close(body);
        return false;
    }
    body->len += len;
    return true;
}

static bool copy_all(int to, int from, uint64_t len, struct error *why)
{
    off_t at = 0;
    while ((uint64_t)at < len) {
        ssize_t sent = sendfile(to, from, &at, (size_t)(len - (uint64_t)at));
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0) {
            error_set(why, "cannot move a message to disk: %s", sent == 0 ? "it ends early" : strerror(errno));
            return false;
        }
    }
    return true;
}

bool body_move_to_disk(struct body *body, const char *spool_dir, struct error *why)
{
    int fd = open_file(true, spool_dir, why);
    bool moved = fd >= 0 && copy_all(fd, body->fd, body_size(body), why);
    uint64_t len = body->len;
    body_close(body);
    if (!moved) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    *body = (struct body){ .fd = fd, .on_disk = true, .len = len };
    return true;
}

void body_close(struct body *body)
{
    if (body->fd >= 0)
        close(body->fd);
    body->fd = -1;
    free(body->bytes);
    body->bytes = NULL;
}

uint64_t body_size(const struct body *body)
{
    return body->len + ENGINE_MAIL_PREFIX_LEN;
}

/*
 * message.c - see message.h
 *
 * The budget is charged with the bytes a message holds, in memory or in its file, never in both: a message that moves into a file gives
 * its memory back. An append that fails leaves message and budget as they were. The buffer has at most as much room again as it holds
 * bytes, and never more than the threshold, so real memory stays below twice the budget.
 */
#include "edge/message/message.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/memory.h"

#define FIRST_ROOM 4096

struct message {
    struct message_budget *budget;
    uint64_t size;
    char *memory; /* all bytes while fd < 0 */
    size_t room;
    int fd;
};

struct message *message_new(struct message_budget *budget)
{
    struct message *message = xcalloc(1, sizeof *message);

    message->budget = budget;
    message->fd = -1;
    return message;
}

void message_free(struct message **message)
{
    struct message *m = *message;

    if (m == NULL)
        return;
    if (m->fd >= 0) {
        m->budget->disk_used -= m->size;
        close(m->fd);
    } else {
        m->budget->memory_used -= m->size;
    }
    free(m->memory);
    free(m);
    *message = NULL;
}

/* A file without a name, so that it goes with the process however that ends. -1: why. */
static int open_unlinked(const char *folder, struct error *why)
{
    char path[PATH_MAX];
    int fd = open(folder, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600); /* O_EXCL: it never gets a name */

    if (fd >= 0)
        return fd;
    /* file systems without O_TMPFILE (NFS, old overlayfs) answer in several ways; a real trouble shows again here */
    if (snprintf(path, sizeof path, "%s/weir-message-XXXXXX", folder) >= (int)sizeof path)
        errno = ENAMETOOLONG;
    else if ((fd = mkostemp(path, O_CLOEXEC)) >= 0)
        unlink(path);
    if (fd < 0)
        error_set(why, "cannot make a temporary file in %s: %s", folder, strerror(errno));
    return fd;
}

static bool write_all(int fd, const char *data, size_t len, uint64_t offset, struct error *why)
{
    while (len > 0) {
        ssize_t put = pwrite(fd, data, len, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            error_set(why, "cannot write a temporary file: %s", put < 0 ? strerror(errno) : "nothing was written");
            return false;
        }
        data += put, len -= (size_t)put, offset += (uint64_t)put;
    }
    return true;
}

static enum message_status append_memory(struct message *message, const void *data, size_t len)
{
    struct message_budget *budget = message->budget;
    uint64_t size = message->size + len;

    if (len > budget->memory_max || budget->memory_used > budget->memory_max - len)
        return MESSAGE_OVER_BUDGET;
    if (size > message->room) {
        uint64_t room = message->room > 0 ? 2 * (uint64_t)message->room : FIRST_ROOM;
        if (room > budget->threshold)
            room = budget->threshold;
        if (room < size)
            room = size;
        message->memory = xrealloc(message->memory, room);
        message->room = room;
    }
    memcpy(message->memory + message->size, data, len);
    message->size = size;
    budget->memory_used += len;
    return MESSAGE_OK;
}

/* The bytes that were in memory go in front. Either all of it has happened in the end, or nothing. */
static enum message_status move_to_file(struct message *message, const void *data, size_t len, struct error *why)
{
    struct message_budget *budget = message->budget;
    int fd = open_unlinked(budget->tmp_dir, why);

    if (fd < 0)
        return MESSAGE_DISK_ERROR;
    if (!write_all(fd, message->memory, message->size, 0, why) || !write_all(fd, data, len, message->size, why)) {
        close(fd);
        return MESSAGE_DISK_ERROR;
    }
    budget->memory_used -= message->size;
    budget->disk_used += message->size + len;
    free(message->memory);
    message->memory = NULL;
    message->room = 0;
    message->fd = fd;
    message->size += len;
    return MESSAGE_OK;
}

static enum message_status append_file(struct message *message, const void *data, size_t len, struct error *why)
{
    if (!write_all(message->fd, data, len, message->size, why)) {
        /* A full disk may have taken a part. That it stays behind the end does no harm but to the others on the disk. */
        (void)!ftruncate(message->fd, (off_t)message->size);
        return MESSAGE_DISK_ERROR;
    }
    message->budget->disk_used += len;
    message->size += len;
    return MESSAGE_OK;
}

enum message_status message_append(struct message *message, const void *data, size_t len, struct error *why)
{
    struct message_budget *budget = message->budget;
    enum message_status status;

    if (len == 0)
        return MESSAGE_OK;
    if (message->fd < 0 && len <= budget->threshold && message->size <= budget->threshold - len) {
        status = append_memory(message, data, len);
        if (status == MESSAGE_OVER_BUDGET)
            error_set(why, "messages in memory hold %llu of %llu bytes", (unsigned long long)budget->memory_used,
                      (unsigned long long)budget->memory_max);
        return status;
    }
    uint64_t grows = message->fd < 0 ? message->size + len : len;
    if (grows > budget->disk_max || budget->disk_used > budget->disk_max - grows) {
        error_set(why, "messages in temporary files hold %llu of %llu bytes", (unsigned long long)budget->disk_used,
                  (unsigned long long)budget->disk_max);
        return MESSAGE_OVER_BUDGET;
    }
    return message->fd < 0 ? move_to_file(message, data, len, why) : append_file(message, data, len, why);
}

uint64_t message_size(const struct message *message)
{
    return message->size;
}

ssize_t message_read(const struct message *message, uint64_t offset, void *out, size_t len, struct error *why)
{
    size_t done = 0;

    if (offset >= message->size)
        return 0;
    if (len > message->size - offset)
        len = message->size - offset;
    if (message->fd < 0) {
        memcpy(out, message->memory + offset, len);
        return (ssize_t)len;
    }
    while (done < len) {
        ssize_t got = pread(message->fd, (char *)out + done, len - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            error_set(why, "cannot read a temporary file: %s", got < 0 ? strerror(errno) : "it is shorter than what was written");
            return -1;
        }
        done += (size_t)got;
    }
    return (ssize_t)len;
}

const void *message_peek(const struct message *message, uint64_t offset, size_t max, size_t *len)
{
    *len = 0;
    if (message->fd >= 0 || offset >= message->size)
        return NULL;
    *len = message->size - offset < max ? message->size - offset : max;
    return message->memory + offset;
}

/*
 * channel.c - packets and descriptors between master, zygote and workers
 *
 * Descriptors arrive close-on-exec. What does not fit is closed at once: a peer must not be able to fill our descriptor table.
 */
#include "scanner/channel.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool channel_pair(int ends[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0;
}

static bool send_all(int channel, const struct msghdr *message, size_t len)
{
    ssize_t sent;
    do
        sent = sendmsg(channel, message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)len;
}

bool channel_send_body(int channel, const void *packet, size_t len, const void *body, size_t body_len)
{
    struct iovec parts[] = { { .iov_base = (void *)(uintptr_t)packet, .iov_len = len },
                             { .iov_base = (void *)(uintptr_t)body, .iov_len = body_len } };
    return send_all(channel, &(struct msghdr){ .msg_iov = parts, .msg_iovlen = 2 }, len + body_len);
}

bool channel_send(int channel, const void *packet, size_t len, const int *fds, size_t fd_count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
    } control = { 0 };
    struct iovec part = { .iov_base = (void *)(uintptr_t)packet, .iov_len = len };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (fd_count > 0) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
    }
    return send_all(channel, &message, len);
}

static void take_descriptors(struct msghdr *message, int *fds, size_t *fd_count, bool *incomplete)
{
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            if (*fd_count < CHANNEL_FDS_MAX) {
                fds[(*fd_count)++] = fd;
            } else {
                close(fd);
                *incomplete = true;
            }
        }
    }
}

ssize_t channel_receive(int channel, void *packet, size_t cap, int *fds, size_t *fd_count, int flags)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
    } control;
    struct iovec part = { .iov_base = packet, .iov_len = cap };
    struct msghdr message = { .msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = control.space,
                              .msg_controllen = sizeof control.space };
    *fd_count = 0;
    ssize_t len;
    do
        len = recvmsg(channel, &message, flags | MSG_CMSG_CLOEXEC);
    while (len < 0 && errno == EINTR);
    if (len < 0)
        return -1;
    bool incomplete = (message.msg_flags & MSG_CTRUNC) != 0;
    take_descriptors(&message, fds, fd_count, &incomplete);
    if (incomplete || (message.msg_flags & MSG_TRUNC) != 0) {
        while (*fd_count > 0)
            close(fds[--*fd_count]);
    }
    if ((message.msg_flags & MSG_TRUNC) != 0) {
        errno = EBADMSG;
        return -1;
    }
    return len;
}

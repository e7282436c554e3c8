/* through.c - see through.h */
#include "deploy/sendmail/through.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include "deploy/sendmail/internal.h"

#define PIECE 16384 /* also what one TLS record holds */

static bool write_out(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        bytes += written, len -= (size_t)written;
    }
    return true;
}

/* From the edge to stdout. false: the conversation is over. */
static bool pass_back(struct host *host, int *status)
{
    char bytes[PIECE];
    struct error why;
    ssize_t len = wire_read(&host->wire, bytes, sizeof bytes, &why);
    if (len < 0) {
        host_tell(host->name, why.text);
        *status = EX_TEMPFAIL;
    }
    return len > 0 && write_out(bytes, (size_t)len);
}

static bool pass_on(struct host *host, bool *ended, int *status)
{
    char bytes[PIECE];
    struct error why;
    ssize_t len = read(STDIN_FILENO, bytes, sizeof bytes);
    if (len < 0 && errno == EINTR)
        return true;
    if (len <= 0) {
        *ended = true;
        wire_end(&host->wire);
        return true;
    }
    if (wire_send(&host->wire, bytes, (size_t)len, &why))
        return true;
    host_tell(host->name, why.text);
    *status = EX_TEMPFAIL;
    return false;
}

struct conversation {
    const struct sendmail_settings *settings;
    int status;
};

static bool converse(struct host *host, void *arg)
{
    struct conversation *conversation = arg;
    char banner[512];
    bool ended = false, going = true;

    conversation->status = EX_OK;
    int len = snprintf(banner, sizeof banner, "220 %.200s ESMTP weir-sendmail\r\n", conversation->settings->hostname);
    going = write_out(banner, (size_t)len);
    while (going) {
        struct pollfd fds[] = { { .fd = host->wire.fd, .events = POLLIN }, { .fd = ended ? -1 : STDIN_FILENO, .events = POLLIN } };
        bool waiting = host->wire.ssl != NULL && SSL_pending(host->wire.ssl) > 0;
        int ready = poll(fds, 2, waiting ? 0 : ended ? (int)conversation->settings->reply_timeout : -1);
        if (ready < 0 && errno != EINTR)
            break;
        if (ready == 0 && !waiting) /* the edge had its time to answer what was said before the end */
            break;
        if (waiting || (ready > 0 && fds[0].revents != 0))
            going = pass_back(host, &conversation->status);
        else if (ready > 0 && fds[1].revents != 0)
            going = pass_on(host, &ended, &conversation->status);
    }
    host->dialog.state = HOP_CLOSED; /* the client said QUIT, or nobody can any more */
    host_close(host);
    return false;
}

int through(const struct sendmail_settings *settings)
{
    struct conversation conversation = { .settings = settings, .status = -1 };
    static const char busy[] = "421 4.3.0 No mail server can be reached now\r\n";

    host_visit_all(settings, converse, &conversation);
    if (conversation.status >= 0)
        return conversation.status;
    write_out(busy, sizeof busy - 1);
    return EX_TEMPFAIL;
}

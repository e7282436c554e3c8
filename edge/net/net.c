/*
 * net.c - one connection: bytes in, bytes out, in clear and under TLS
 *
 * Written on plain events and OpenSSL's socket calls instead of bufferevents: STARTTLS changes a connection in place, an idle connection
 * holds no buffer at all (input is read into one buffer shared by all connections of the process, what the owner leaves is kept aside),
 * and the end of a connection is told apart (closed, reset, timed out, TLS).
 *
 *   CONNECTING -> OPEN -> FLUSHING_CLEAR -> HANDSHAKE -> OPEN       STARTTLS
 *                 OPEN -> CLOSING -> LINGERING                      net_close_after_flush(): no owner any more
 *   any -> GONE                                                     `gone` was said; waits for net_free()
 *
 * Invariants: handlers are called only from this file's event callbacks, never from inside a function the owner calls. `unsent` counts
 * down only when the kernel (under TLS: a whole record) took the bytes, so what it still counts has not reached the peer.
 */
#include "edge/net/net.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <event2/event_struct.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/net/tls.h"
#include "edge/net/turns.h"

#define SCRATCH_SIZE (128 * 1024)  /* most bytes offered at once; also the most an owner can leave unused while not pausing */
#define OUT_GROW_MIN 512
#define CLOSE_FLUSH_MS 10000       /* net_close_after_flush(): for what is queued */
#define LINGER_MS 2000             /* then for the peer to close */
#define HANDSHAKE_BYTES (256 * 1024) /* as many could be read in the time that a step of a handshake takes, about */

enum conn_state { CONN_CONNECTING, CONN_OPEN, CONN_FLUSHING_CLEAR, CONN_HANDSHAKE, CONN_CLOSING, CONN_LINGERING, CONN_GONE };

struct secure {
    SSL *ssl;
    char text[64];
    bool has_name;             /* the certificate was compared with a host name */
    bool read_wants_write;     /* OpenSSL may have to write in order to read, and the other way round (key update) */
    bool write_wants_read;
};

struct net_conn {
    struct event readable, writable, timer;
    struct turn turn;                    /* to be read; without a source it needs none */
    const struct net_handlers *handlers; /* NULL: nobody listens any more */
    void *arg;
    struct secure *secure;               /* NULL in clear */
    struct net_tls *tls_wanted;          /* FLUSHING_CLEAR: what to begin with */
    char *tls_host;
    SSL *tls_prepared;                   /* FLUSHING_CLEAR with DANE: the session to begin with */
    char *in;                            /* bytes the owner has not used yet */
    size_t in_len;
    char *out;                           /* unsent bytes are out[out_start .. out_start + out_len) */
    size_t out_start, out_len, out_cap;
    size_t clear_left;                   /* FLUSHING_CLEAR: so many of them go in clear */
    size_t most;                         /* bytes offered at once */
    size_t offering;                     /* bytes being offered right now */
    uint64_t read_at, write_at;          /* ms: last progress */
    uint64_t timer_at;                   /* ms: when `timer` fires, 0: not set */
    uint64_t give_up_at;                 /* ms: CONNECTING, CLOSING, LINGERING; 0: never */
    unsigned read_ms, write_ms;
    struct netaddr peer, local;          /* family 0: not asked yet */
    int fd;
    int connect_error;                   /* CONNECTING: errno of a connect() that failed at once */
    enum conn_state state;
    bool no_source;                      /* connect_error is for want of an address to connect from */
    bool tls_server;
    bool reading, writing;               /* the event is added */
    bool paused;
    bool offer_again;                    /* resumed: offer `in` before reading */
    bool more_inside;                    /* OpenSSL holds bytes that make no socket event */
    bool ended;                          /* the peer said that it sends no more */
    bool draining;                       /* inside `drained` */
    bool ending, end_said;               /* net_end_output(): the peer hears the end when all is sent; has heard it */
    struct net_conn *closing_next, **closing_link; /* CLOSING, LINGERING: in `closing` */
    bool busy, freed;                    /* inside a callback of this connection; net_free() came meanwhile */
};

static char scratch[SCRATCH_SIZE]; /* never in use by two: handlers are not called from inside other calls */

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);

static struct net_conn *conn_new(struct event_base *base, int fd, const struct net_handlers *handlers, void *arg)
{
    struct net_conn *conn = xcalloc(1, sizeof *conn);
    conn->fd = fd;
    conn->most = SCRATCH_SIZE;
    conn->handlers = handlers;
    conn->arg = arg;
    event_assign(&conn->readable, base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->writable, base, fd, EV_WRITE | EV_PERSIST, on_writable, conn);
    event_assign(&conn->timer, base, -1, 0, on_timer, conn);
    return conn;
}

static struct net_conn *closing; /* those without an owner: a process has one loop */

static void conn_destroy(struct net_conn *conn)
{
    if (conn->closing_link != NULL) {
        *conn->closing_link = conn->closing_next;
        if (conn->closing_next != NULL)
            conn->closing_next->closing_link = conn->closing_link;
    }
    turn_leave(&conn->turn);
    event_del(&conn->readable);
    event_del(&conn->writable);
    event_del(&conn->timer);
    if (conn->secure != NULL)
        SSL_free(conn->secure->ssl);
    free(conn->secure);
    net_tls_unref(&conn->tls_wanted);
    free(conn->tls_host);
    SSL_free(conn->tls_prepared);
    free(conn->in);
    free(conn->out);
    if (conn->fd >= 0)
        close(conn->fd);
    free(conn);
}

static void conn_want_read(struct net_conn *conn, bool want)
{
    want = want && !conn->ended; /* an end of file is readable for ever */
    if (want == conn->reading)
        return;
    conn->reading = want;
    if (want)
        event_add(&conn->readable, NULL);
    else
        event_del(&conn->readable);
}

static void conn_want_write(struct net_conn *conn, bool want)
{
    if (want == conn->writing)
        return;
    conn->writing = want;
    if (want)
        event_add(&conn->writable, NULL);
    else
        event_del(&conn->writable);
}

/* Runs on_writable in this turn of the loop, after the callback that runs now: what several calls write goes out in one system call.
 * An owner that refills in `drained` waits for the socket instead, or a fast reader of a large message would starve everybody else. */
static void conn_flush_soon(struct net_conn *conn)
{
    if (conn->draining)
        conn_want_write(conn, true);
    else if (!conn->writing)
        event_active(&conn->writable, EV_WRITE, 0);
}

/* When this connection's patience ends, as things are now; 0: it does not. */
static uint64_t conn_deadline(const struct net_conn *conn)
{
    uint64_t at = conn->give_up_at;
    bool reads = (conn->state == CONN_OPEN && !conn->paused && !conn->ended) || conn->state == CONN_HANDSHAKE;
    if (conn->read_ms != 0 && reads && (at == 0 || conn->read_at + conn->read_ms < at))
        at = conn->read_at + conn->read_ms;
    if (conn->write_ms != 0 && conn->out_len != 0 && conn->state != CONN_CONNECTING &&
        (at == 0 || conn->write_at + conn->write_ms < at))
        at = conn->write_at + conn->write_ms;
    return at;
}

/* The timer is set early rather than moved: progress is common, time-outs are not. on_timer() looks at the real deadline. */
static void conn_arm_timer(struct net_conn *conn)
{
    uint64_t at = conn_deadline(conn);
    if (at == 0 || conn->state == CONN_GONE || (conn->timer_at != 0 && conn->timer_at <= at))
        return;
    uint64_t now = clock_ms(), wait = at > now ? at - now : 0;
    conn->timer_at = at;
    event_add(&conn->timer, &(struct timeval){ (time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000) });
}

static void conn_gone(struct net_conn *conn, enum net_end end, const char *why)
{
    if (conn->state == CONN_GONE)
        return;
    conn->state = CONN_GONE;
    turn_leave(&conn->turn);
    conn_want_read(conn, false);
    conn_want_write(conn, false);
    event_del(&conn->writable); /* may be active without having been added */
    event_del(&conn->readable);
    event_del(&conn->timer);
    conn->handlers->gone(conn->arg, end, why);
}

static void conn_leave(struct net_conn *conn)
{
    conn->busy = false;
    if (conn->freed)
        conn_destroy(conn);
}

static void conn_go_on_closing(struct net_conn *conn);

/* ---- made and ended ---- */

struct net_conn *net_accept(struct event_base *base, int fd, const struct net_handlers *handlers, void *arg)
{
    struct net_conn *conn = conn_new(base, fd, handlers, arg);
    conn->state = CONN_OPEN;
    conn->read_at = clock_ms();
    conn_want_read(conn, true);
    return conn;
}

/* The port is chosen when it is known where to: so one address has as many connections as without. */
static bool bind_source(int fd, const struct netaddr *source)
{
    struct sockaddr_storage from;
    struct netaddr any_port = *source;
    any_port.port = 0;
    socklen_t len = netaddr_to_sockaddr(&any_port, &from);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int));
    return bind(fd, (struct sockaddr *)&from, len) == 0;
}

struct net_conn *net_connect(struct event_base *base, const struct netaddr *address, const struct netaddr *source, unsigned timeout_ms,
                             const struct net_handlers *handlers, void *arg)
{
    struct sockaddr_storage to;
    socklen_t to_len = netaddr_to_sockaddr(address, &to);
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct net_conn *conn = conn_new(base, fd, handlers, arg);
    conn->state = CONN_CONNECTING;
    conn->peer = *address;
    if (timeout_ms != 0)
        conn->give_up_at = clock_ms() + timeout_ms;
    if (fd < 0) {
        conn->connect_error = errno;
    } else {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        bool bound = source == NULL || bind_source(fd, source);
        if (!bound || connect(fd, (struct sockaddr *)&to, to_len) != 0)
            conn->connect_error = errno;
        /* connect() says EADDRNOTAVAIL where that address has no port left, EINVAL from loopback to elsewhere. */
        conn->no_source = !bound || (source != NULL && (conn->connect_error == EADDRNOTAVAIL || conn->connect_error == EINVAL));
    }
    if (conn->connect_error == EINPROGRESS) {
        conn->connect_error = 0;
        conn_want_write(conn, true);
        conn_arm_timer(conn);
    } else {
        conn_flush_soon(conn); /* decided already, one way or the other, but told in a callback as ever */
    }
    return conn;
}

void net_free(struct net_conn **connp)
{
    struct net_conn *conn = *connp;
    *connp = NULL;
    if (conn == NULL)
        return;
    conn->handlers = NULL;
    conn->freed = true;
    if (!conn->busy)
        conn_destroy(conn);
}

void net_close_after_flush(struct net_conn **connp)
{
    struct net_conn *conn = *connp;
    if (conn == NULL)
        return;
    if (conn->state == CONN_FLUSHING_CLEAR)
        conn->out_len = conn->clear_left; /* the rest was meant to be encrypted */
    else if (conn->state != CONN_OPEN) {
        net_free(connp);
        return;
    }
    *connp = NULL;
    conn->handlers = NULL;
    conn->state = CONN_CLOSING;
    conn->closing_next = closing;
    conn->closing_link = &closing;
    if (closing != NULL)
        closing->closing_link = &conn->closing_next;
    closing = conn;
    conn->give_up_at = clock_ms() + CLOSE_FLUSH_MS;
    turn_leave(&conn->turn);
    conn_want_read(conn, false);
    free(conn->in);
    conn->in = NULL;
    conn->in_len = 0;
    /* At once where it fits, so that the last words of a process that ends are out, too. */
    bool outer = conn->busy;
    conn->busy = true;
    conn_go_on_closing(conn);
    if (!outer)
        conn_leave(conn);
}

void net_fini(void)
{
    while (closing != NULL)
        conn_destroy(closing);
}

/* ---- output ---- */

void net_write(struct net_conn *conn, const void *data, size_t len)
{
    if (len == 0 || conn->state == CONN_GONE)
        return;
    weir_assert(!conn->ending);
    if (conn->out_start + conn->out_len + len > conn->out_cap) {
        size_t need = conn->out_len + len, cap = conn->out_cap;
        if (cap < need) {
            cap = need < 2 * cap ? 2 * cap : need;
            cap = cap < OUT_GROW_MIN ? OUT_GROW_MIN : cap;
        }
        if (cap == conn->out_cap) {
            memmove(conn->out, conn->out + conn->out_start, conn->out_len);
        } else {
            char *out = xmalloc(cap);
            if (conn->out_len != 0)
                memcpy(out, conn->out + conn->out_start, conn->out_len);
            free(conn->out);
            conn->out = out;
            conn->out_cap = cap;
        }
        conn->out_start = 0;
    }
    memcpy(conn->out + conn->out_start + conn->out_len, data, len);
    if (conn->out_len == 0)
        conn->write_at = clock_ms();
    conn->out_len += len;
    if (conn->state == CONN_OPEN) {
        conn_flush_soon(conn);
        conn_arm_timer(conn);
    }
}

void net_end_output(struct net_conn *conn)
{
    conn->ending = true;
    if (conn->state == CONN_OPEN) /* else as soon as it is */
        conn_flush_soon(conn);
}

/* All is sent: the peer hears so. Where that fails the connection is gone, which reading tells. */
static void conn_say_end(struct net_conn *conn)
{
    conn->end_said = true;
    if (conn->secure != NULL)
        tls_close(conn->secure->ssl);
    shutdown(conn->fd, SHUT_WR);
}

size_t net_unsent(const struct net_conn *conn)
{
    return conn->out_len;
}

/* Input that the owner left and paused for will be answered, too: answers to a group of commands travel together (RFC 2920 3.2) and wake
 * the peer once. The kernel waits 200 ms for the rest, no longer. */
static bool conn_has_more_to_say(const struct net_conn *conn)
{
    return conn->in_len > 0 && (conn->paused || conn->offer_again) && conn->state == CONN_OPEN && !conn->ended;
}

/* Writes up to len bytes of what is queued. -1: the connection is broken, why. */
static ssize_t conn_send(struct net_conn *conn, size_t len, struct error *why)
{
    const char *data = conn->out + conn->out_start;
    if (conn->secure == NULL) {
        ssize_t sent = send(conn->fd, data, len, MSG_NOSIGNAL | (conn_has_more_to_say(conn) ? MSG_MORE : 0));
        if (sent >= 0)
            return sent;
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        error_set(why, "%s", strerror(errno));
        return -1;
    }
    size_t sent = 0;
    enum tls_outcome outcome = tls_write(conn->secure->ssl, data, len, &sent, why);
    conn->secure->write_wants_read = outcome == TLS_WANT_READ;
    return outcome >= TLS_CLOSED ? -1 : (ssize_t)sent;
}

/* Sends until nothing is left (true) or the socket is full; conn_want_write() is right afterwards. `limit`: bytes to send at most. */
static bool conn_flush(struct net_conn *conn, size_t *limit, struct error *why, bool *broken)
{
    *broken = false;
    while (*limit > 0) {
        ssize_t sent = conn_send(conn, *limit, why);
        if (sent < 0) {
            *broken = true;
            return false;
        }
        if (sent == 0) {
            /* write_wants_read: what OpenSSL waits for comes by `readable`, and the socket may well be writable now */
            conn_want_write(conn, conn->secure == NULL || !conn->secure->write_wants_read);
            return false;
        }
        conn->out_start += (size_t)sent;
        conn->out_len -= (size_t)sent;
        if (limit != &conn->out_len)
            *limit -= (size_t)sent;
        conn->write_at = clock_ms();
    }
    conn_want_write(conn, false);
    if (conn->out_len == 0) {
        free(conn->out);
        conn->out = NULL;
        conn->out_start = conn->out_cap = 0;
    }
    return true;
}

/* ---- input ---- */

void net_pause(struct net_conn *conn)
{
    conn->paused = true; /* `readable` is only taken off when it fires meanwhile: most pauses end before */
}

void net_resume(struct net_conn *conn)
{
    if (!conn->paused)
        return;
    conn->paused = false;
    conn->read_at = clock_ms();
    if (conn->state != CONN_OPEN)
        return;
    conn_want_read(conn, true);
    conn_arm_timer(conn);
    conn->offer_again = true;
    if (conn->in_len > 0 || conn->secure != NULL || conn->offering > 0)
        event_active(&conn->readable, EV_READ, 0);
}

void net_set_timeout(struct net_conn *conn, unsigned read_ms, unsigned write_ms)
{
    conn->read_ms = read_ms;
    conn->write_ms = write_ms;
    conn->read_at = conn->write_at = clock_ms();
    conn_arm_timer(conn);
}

void net_set_source(struct net_conn *conn, uint64_t source)
{
    bool waited = conn->turn.waits;
    turn_leave(&conn->turn);
    conn->turn.source = source;
    if (waited)
        event_active(&conn->readable, EV_READ, 0);
}

void net_offer_most(struct net_conn *conn, size_t most)
{
    conn->most = most < SCRATCH_SIZE ? most : SCRATCH_SIZE;
}

size_t net_buffered(const struct net_conn *conn)
{
    return conn->offering > 0 ? conn->offering : conn->in_len;
}

enum received { RECEIVED, RECEIVED_NOTHING, RECEIVED_END };

/* Reads into out. RECEIVED_END: *end and why say which; bytes read before it have been given as RECEIVED. */
static enum received conn_receive(struct net_conn *conn, char *out, size_t len, size_t *done, enum net_end *end, struct error *why)
{
    *done = 0;
    if (conn->secure == NULL) {
        ssize_t got = recv(conn->fd, out, len, 0);
        if (got > 0) {
            *done = (size_t)got;
            return RECEIVED;
        }
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return RECEIVED_NOTHING;
        *end = got == 0 ? NET_CLOSED : NET_RESET;
        error_set(why, "%s", got == 0 ? "connection closed" : strerror(errno));
        return RECEIVED_END;
    }
    enum tls_outcome outcome = tls_read(conn->secure->ssl, out, len, done, why);
    conn->secure->read_wants_write = outcome == TLS_WANT_WRITE;
    if (outcome == TLS_WANT_WRITE)
        conn_want_write(conn, true);
    if (*done > 0) {
        conn->more_inside = outcome != TLS_WANT_READ && outcome != TLS_WANT_WRITE; /* a full buffer, or an end to be told next */
        return RECEIVED;
    }
    if (outcome < TLS_CLOSED)
        return RECEIVED_NOTHING;
    *end = outcome == TLS_CLOSED ? NET_CLOSED : outcome == TLS_RESET ? NET_RESET : NET_TLS_FAILED;
    return RECEIVED_END;
}

/* Offers scratch[0 .. len), keeps what is left of it. */
static void conn_offer(struct net_conn *conn, size_t len)
{
    conn->turn.guess = len;
    free(conn->in);
    conn->in = NULL;
    conn->in_len = 0;
    conn->offering = len;
    size_t used = conn->handlers->bytes(conn->arg, scratch, len);
    conn->offering = 0;
    if (conn->handlers == NULL || conn->state == CONN_GONE)
        return;
    weir_assert(used <= len);
    if (used < len) {
        conn->in_len = len - used;
        conn->in = xmemdup(scratch + used, conn->in_len);
        if (conn->state == CONN_FLUSHING_CLEAR) {
            /* Bytes sent in clear behind STARTTLS must never be taken for encrypted ones (CVE-2011-0411). */
            conn_gone(conn, NET_TLS_FAILED, "bytes in clear behind STARTTLS");
            return;
        }
        /* An owner that neither uses a full buffer nor pauses is not asked again before it resumes. */
        if (conn->in_len >= conn->most)
            conn->paused = true;
    }
}

static void conn_read(struct net_conn *conn)
{
    if (conn->paused) {
        conn_want_read(conn, false);
        return;
    }
    if (conn->in_len > 0)
        memcpy(scratch, conn->in, conn->in_len);
    if (conn->offer_again) {
        conn->offer_again = false;
        if (conn->in_len > 0) {
            conn_offer(conn, conn->in_len);
            if (conn->secure != NULL && conn->state == CONN_OPEN && !conn->paused)
                conn->more_inside = true; /* bytes decrypted before the pause make no event */
            return;
        }
    }
    if (conn->ended)
        return;
    if (conn->in_len >= conn->most) { /* `most` became smaller */
        conn->paused = true;
        return;
    }
    struct error why;
    enum net_end end = NET_CLOSED;
    size_t got;
    conn->more_inside = false;
    switch (conn_receive(conn, scratch + conn->in_len, conn->most - conn->in_len, &got, &end, &why)) {
    case RECEIVED:
        conn->read_at = clock_ms();
        conn_offer(conn, conn->in_len + got);
        break;
    case RECEIVED_NOTHING:
        break;
    case RECEIVED_END:
        if (end != NET_CLOSED || conn->handlers->ended == NULL) {
            conn_gone(conn, end, why.text);
            break;
        }
        conn->ended = true;
        conn_want_read(conn, false);
        conn->handlers->ended(conn->arg);
        break;
    }
}

/* A write failed: the peer may have said why before it closed (a 421 or 552 in the middle of a message), so its last words are read. */
static void conn_broken(struct net_conn *conn, const char *why)
{
    while (conn->state == CONN_OPEN && conn->handlers != NULL && !conn->paused) {
        struct error read_why;
        enum net_end end;
        size_t got;
        if (conn->in_len > 0)
            memcpy(scratch, conn->in, conn->in_len);
        if (conn_receive(conn, scratch + conn->in_len, SCRATCH_SIZE - conn->in_len, &got, &end, &read_why) != RECEIVED)
            break;
        conn_offer(conn, conn->in_len + got);
    }
    if (conn->handlers != NULL)
        conn_gone(conn, NET_RESET, why);
}

/* Bytes inside OpenSSL are read in the next turn, after the other sockets were looked at. */
static void conn_read_more_soon(struct net_conn *conn)
{
    if (!conn->more_inside || conn->state != CONN_OPEN || conn->paused || conn->freed)
        return;
    conn->timer_at = 1; /* earlier than any deadline */
    event_add(&conn->timer, &(struct timeval){ 0, 0 });
}

/* ---- TLS ---- */

static void conn_handshake(struct net_conn *conn)
{
    struct error why;
    enum tls_outcome outcome = tls_handshake(conn->secure->ssl, &why);
    conn->read_at = clock_ms();
    conn_want_write(conn, outcome == TLS_WANT_WRITE);
    if (outcome == TLS_WANT_READ || outcome == TLS_WANT_WRITE)
        return;
    if (outcome != TLS_DONE) {
        conn_gone(conn, NET_TLS_FAILED, why.text);
        return;
    }
    snprintf(conn->secure->text, sizeof conn->secure->text, "%s %s", SSL_get_version(conn->secure->ssl),
             SSL_get_cipher_name(conn->secure->ssl));
    conn->state = CONN_OPEN;
    conn->write_at = conn->read_at;
    conn->more_inside = SSL_has_pending(conn->secure->ssl) != 0;
    if (conn->out_len > 0 || conn->ending)
        conn_flush_soon(conn);
    if (conn->handlers->secured != NULL)
        conn->handlers->secured(conn->arg);
}

static void conn_begin_handshake(struct net_conn *conn)
{
    struct error why;
    bool prepared = conn->tls_prepared != NULL;
    SSL *ssl = prepared ? conn->tls_prepared : tls_session_new(conn->tls_wanted, conn->fd, conn->tls_server, conn->tls_host, &why);
    conn->tls_prepared = NULL;
    net_tls_unref(&conn->tls_wanted);
    if (ssl == NULL) {
        conn_gone(conn, NET_TLS_FAILED, why.text);
        return;
    }
    conn->secure = xcalloc(1, sizeof *conn->secure);
    conn->secure->ssl = ssl;
    conn->secure->has_name = prepared || (conn->tls_host != NULL && !conn->tls_server);
    free(conn->tls_host);
    conn->tls_host = NULL;
    conn->state = CONN_HANDSHAKE;
    conn_want_read(conn, true);
    conn_handshake(conn);
    conn_arm_timer(conn);
}

bool net_start_tls(struct net_conn *conn, struct net_tls *tls, bool server, const char *host_name)
{
    if (conn->state != CONN_OPEN || conn->secure != NULL || conn->in_len > 0)
        return false;
    conn->tls_wanted = net_tls_ref(tls);
    conn->tls_server = server;
    conn->tls_host = host_name != NULL ? xstrdup(host_name) : NULL;
    conn->clear_left = conn->out_len;
    conn->state = CONN_FLUSHING_CLEAR;
    conn_want_read(conn, false); /* until the handshake, which begins when the bytes before it are sent */
    conn_flush_soon(conn);
    return true;
}

bool net_start_tls_dane(struct net_conn *conn, struct net_tls *tls, const struct net_dane *dane, bool *unusable, struct error *why)
{
    SSL *ssl = tls_session_new_dane(tls, conn->fd, dane, unusable, why);
    if (ssl == NULL)
        return false;
    if (!net_start_tls(conn, tls, false, NULL)) {
        SSL_free(ssl);
        error_set(why, "bytes in clear behind the reply to STARTTLS");
        return false;
    }
    conn->tls_prepared = ssl;
    return true;
}

bool net_is_tls(const struct net_conn *conn)
{
    return conn->secure != NULL && conn->secure->text[0] != '\0';
}

const char *net_tls_text(const struct net_conn *conn)
{
    return conn->secure != NULL ? conn->secure->text : "";
}

bool net_tls_verified(const struct net_conn *conn)
{
    return net_is_tls(conn) && conn->secure->has_name && SSL_get0_peer_certificate(conn->secure->ssl) != NULL &&
           SSL_get_verify_result(conn->secure->ssl) == X509_V_OK;
}

/* ---- the loop's callbacks ---- */

static void conn_finish_connect(struct net_conn *conn)
{
    int code = conn->connect_error;
    conn_want_write(conn, false);
    if (code == 0) {
        socklen_t len = sizeof code;
        if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &code, &len) != 0)
            code = errno;
    }
    if (code != 0) {
        conn_gone(conn, conn->no_source ? NET_NO_SOURCE : NET_CONNECT_FAILED, strerror(code));
        return;
    }
    conn->state = CONN_OPEN;
    conn->give_up_at = 0;
    conn->read_at = conn->write_at = clock_ms();
    conn_want_read(conn, true);
    if (conn->out_len > 0 || conn->ending)
        conn_flush_soon(conn);
    conn_arm_timer(conn);
    if (conn->handlers->connected != NULL)
        conn->handlers->connected(conn->arg);
}

/* Sends what is left. Then says the end to the peer and waits for it to close, reading what it still sends: closing a socket with unread
 * bytes would reset the connection, and the reset could overtake the reply we have just sent. */
static void conn_go_on_closing(struct net_conn *conn)
{
    struct error why;
    bool broken;
    if (!conn_flush(conn, &conn->out_len, &why, &broken)) {
        conn->freed = broken;
        if (!broken)
            conn_arm_timer(conn);
        return;
    }
    if (conn->secure != NULL && !conn->end_said)
        tls_close(conn->secure->ssl);
    conn->state = CONN_LINGERING;
    conn->give_up_at = clock_ms() + LINGER_MS;
    if (shutdown(conn->fd, SHUT_WR) != 0 || conn->ended) { /* nothing of the peer's is left to be read */
        conn->freed = true;
        return;
    }
    conn_want_read(conn, true);
    conn_arm_timer(conn);
}

static void conn_discard(struct net_conn *conn)
{
    ssize_t got = recv(conn->fd, scratch, sizeof scratch, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        conn->freed = true;
}

/* What is readable is read. */
static void conn_take_input(struct net_conn *conn)
{
    if (conn->state == CONN_HANDSHAKE)
        conn_handshake(conn);
    else
        conn_read(conn);
    if (conn->secure != NULL && conn->secure->write_wants_read && conn->state == CONN_OPEN)
        conn_flush_soon(conn);
    conn_read_more_soon(conn);
}

static size_t on_turn(struct turn *turn)
{
    struct net_conn *conn = (struct net_conn *)((char *)turn - offsetof(struct net_conn, turn));
    size_t worth = conn->state == CONN_HANDSHAKE ? HANDSHAKE_BYTES : 0;
    if (conn->state != CONN_OPEN && conn->state != CONN_HANDSHAKE)
        return 0; /* in clear, and about to be encrypted */
    conn->busy = true;
    conn_want_read(conn, true);
    turn->guess = 0;
    conn_take_input(conn);
    worth += turn->guess;
    conn_leave(conn);
    return worth;
}

/* A socket stays readable as long as it waits for its turn: who was told so twice need not be told again. */
static void conn_wait_for_turn(struct net_conn *conn)
{
    if (conn->turn.source == 0 || (conn->state == CONN_OPEN && conn->paused))
        conn_take_input(conn);
    else if (conn->turn.waits)
        conn_want_read(conn, false);
    else
        turn_wait(&conn->turn, event_get_base(&conn->readable), on_turn);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct net_conn *conn = arg;
    conn->busy = true;
    switch (conn->state) {
    case CONN_OPEN:
    case CONN_HANDSHAKE:
        conn_wait_for_turn(conn);
        break;
    case CONN_LINGERING:
        conn_discard(conn);
        break;
    default: /* an event that was active already when the state changed */
        break;
    }
    conn_leave(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct net_conn *conn = arg;
    struct error why;
    bool broken = false;
    conn->busy = true;
    switch (conn->state) {
    case CONN_CONNECTING:
        conn_finish_connect(conn);
        break;
    case CONN_FLUSHING_CLEAR:
        if (conn_flush(conn, &conn->clear_left, &why, &broken))
            conn_begin_handshake(conn);
        break;
    case CONN_HANDSHAKE:
        conn_handshake(conn);
        break;
    case CONN_OPEN:
        if (conn->secure != NULL && conn->secure->read_wants_write) {
            conn->secure->read_wants_write = false;
            conn->more_inside = true;
        }
        if (conn_flush(conn, &conn->out_len, &why, &broken)) {
            if (conn->ending && !conn->end_said)
                conn_say_end(conn);
            if (conn->handlers->drained != NULL) {
                conn->draining = true;
                conn->handlers->drained(conn->arg);
                conn->draining = false;
            }
        }
        break;
    case CONN_CLOSING:
        conn_go_on_closing(conn);
        break;
    default:
        break;
    }
    if (broken)
        conn_broken(conn, why.text);
    else
        conn_read_more_soon(conn);
    conn_leave(conn);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct net_conn *conn = arg;
    conn->busy = true;
    conn->timer_at = 0;
    if (conn->more_inside && conn->state == CONN_OPEN)
        conn_wait_for_turn(conn);
    uint64_t at = conn->state == CONN_GONE || conn->freed ? 0 : conn_deadline(conn);
    if (at != 0 && at <= clock_ms()) {
        if (conn->state == CONN_CLOSING || conn->state == CONN_LINGERING)
            conn->freed = true;
        else
            conn_gone(conn, conn->state == CONN_CONNECTING ? NET_CONNECT_FAILED : NET_TIMEOUT, strerror(ETIMEDOUT));
    } else if (!conn->freed) {
        conn_arm_timer(conn);
    }
    conn_leave(conn);
}

/* ---- addresses ---- */

typedef int address_call(int fd, struct sockaddr *address, socklen_t *len);

/* Asked for when first wanted: a session that knows them from its listener never pays for the system call. */
static const struct netaddr *conn_address(const struct net_conn *conn, const struct netaddr *known, address_call *ask)
{
    if (known->family == 0 && conn->fd >= 0) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        if (ask(conn->fd, (struct sockaddr *)&address, &len) == 0)
            netaddr_from_sockaddr((struct netaddr *)known, (struct sockaddr *)&address);
    }
    return known;
}

const struct netaddr *net_peer(const struct net_conn *conn)
{
    return conn_address(conn, &conn->peer, getpeername);
}

const struct netaddr *net_local(const struct net_conn *conn)
{
    return conn_address(conn, &conn->local, getsockname);
}

/* wire.c - see wire.h */
#include "deploy/sendmail/wire.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

static bool connect_within(int fd, const struct addrinfo *address, uint64_t ms)
{
    struct pollfd writable = { .fd = fd, .events = POLLOUT };
    int failed = 0;
    socklen_t size = sizeof failed;

    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return true;
    if (errno != EINPROGRESS)
        return false;
    int ready = poll(&writable, 1, (int)ms);
    if (ready == 0)
        errno = ETIMEDOUT;
    if (ready <= 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0)
        return false;
    errno = failed;
    return failed == 0;
}

bool wire_connect(struct wire *wire, const struct addrinfo *address, uint64_t connect_ms, uint64_t reply_ms, struct error *why)
{
    struct timeval limit = { .tv_sec = (time_t)(reply_ms / 1000), .tv_usec = (suseconds_t)(reply_ms % 1000 * 1000) };

    *wire = (struct wire){ .fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) };
    if (wire->fd < 0 || !connect_within(wire->fd, address, connect_ms)) {
        error_set(why, "cannot connect: %s", strerror(errno));
        wire_close(wire);
        return false;
    }
    fcntl(wire->fd, F_SETFL, 0); /* blocking from here on */
    setsockopt(wire->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(wire->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return true;
}

static void tls_error(const struct wire *wire, int result, struct error *why)
{
    int saved = errno;
    long verified = SSL_get_verify_result(wire->ssl);
    unsigned long code = ERR_peek_error();
    int kind = SSL_get_error(wire->ssl, result);

    if (verified != X509_V_OK && SSL_get_verify_mode(wire->ssl) != SSL_VERIFY_NONE)
        error_set(why, "TLS: the certificate: %s", X509_verify_cert_error_string(verified));
    else if (kind == SSL_ERROR_SSL && code != 0)
        error_set(why, "TLS: %s", ERR_reason_error_string(code) != NULL ? ERR_reason_error_string(code) : "failed");
    else if (kind == SSL_ERROR_SYSCALL && saved != 0)
        error_set(why, "TLS: %s", strerror(saved));
    else
        error_set(why, kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE ? "TLS: timed out" : "TLS: connection lost");
}

bool wire_secure(struct wire *wire, SSL_CTX *context, const char *host, bool verify, struct error *why)
{
    if (wire->in_len > 0) {
        error_set(why, "TLS: bytes in clear behind STARTTLS");
        return false;
    }
    ERR_clear_error();
    wire->ssl = SSL_new(context);
    if (wire->ssl == NULL || SSL_set_fd(wire->ssl, wire->fd) != 1) {
        error_set(why, "TLS: no memory");
        return false;
    }
    bool is_address = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(wire->ssl), host) == 1;
    if (!is_address && (SSL_set1_host(wire->ssl, host) != 1 || SSL_set_tlsext_host_name(wire->ssl, host) != 1)) {
        error_set(why, "TLS: %s cannot be a host's name", host);
        return false;
    }
    SSL_set_verify(wire->ssl, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    ERR_clear_error();
    errno = 0;
    int result = SSL_connect(wire->ssl);
    if (result != 1)
        tls_error(wire, result, why);
    return result == 1;
}

bool wire_send(struct wire *wire, const char *bytes, size_t len, struct error *why)
{
    while (len > 0) {
        ssize_t sent;
        if (wire->ssl != NULL) {
            ERR_clear_error();
            errno = 0;
            sent = SSL_write(wire->ssl, bytes, (int)(len < 65536 ? len : 65536));
            if (sent <= 0) {
                tls_error(wire, (int)sent, why);
                return false;
            }
        } else {
            sent = send(wire->fd, bytes, len, MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR)
                continue;
            if (sent < 0) {
                error_set(why, errno == EAGAIN ? "timed out" : "connection lost: %s", strerror(errno));
                return false;
            }
        }
        bytes += sent, len -= (size_t)sent;
    }
    return true;
}

ssize_t wire_read(struct wire *wire, char *out, size_t cap, struct error *why)
{
    if (wire->ssl != NULL) {
        ERR_clear_error();
        errno = 0;
        int len = SSL_read(wire->ssl, out, (int)cap);
        if (len > 0 || SSL_get_error(wire->ssl, len) == SSL_ERROR_ZERO_RETURN)
            return len > 0 ? len : 0;
        tls_error(wire, len, why);
        return -1;
    }
    for (;;) {
        ssize_t len = recv(wire->fd, out, cap, 0);
        if (len >= 0 || errno != EINTR) {
            if (len < 0)
                error_set(why, errno == EAGAIN ? "timed out" : "connection lost: %s", strerror(errno));
            return len;
        }
    }
}

bool wire_reply(struct wire *wire, struct smtp_reply *reply, struct error *why)
{
    struct smtp_reply_parser parser;
    smtp_reply_parser_init(&parser);
    for (;;) {
        size_t used;
        enum smtp_reply_status status = smtp_reply_parser_next(&parser, wire->in, wire->in_len, &used);
        memmove(wire->in, wire->in + used, wire->in_len - used);
        wire->in_len -= used;
        if (status == SMTP_REPLY_DONE) {
            *reply = parser.reply;
            return true;
        }
        if (status == SMTP_REPLY_BROKEN || wire->in_len == sizeof wire->in) {
            error_set(why, "its reply is not SMTP");
            return false;
        }
        ssize_t len = wire_read(wire, wire->in + wire->in_len, sizeof wire->in - wire->in_len, why);
        if (len == 0)
            error_set(why, "connection closed");
        if (len <= 0)
            return false;
        wire->in_len += (size_t)len;
    }
}

void wire_end(struct wire *wire)
{
    if (wire->ssl != NULL)
        SSL_shutdown(wire->ssl);
    else
        shutdown(wire->fd, SHUT_WR);
}

void wire_close(struct wire *wire)
{
    SSL_free(wire->ssl);
    if (wire->fd >= 0)
        close(wire->fd);
    wire->ssl = NULL, wire->fd = -1, wire->in_len = 0;
}

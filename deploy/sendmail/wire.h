#ifndef WEIR_SENDMAIL_WIRE_H
#define WEIR_SENDMAIL_WIRE_H
/*
 * wire.h - one connection to an edge, in clear or TLS; blocking, with a limit on each wait
 *
 * A command that sends one message has nothing else to do while it waits, so there is no event loop here.
 */
#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/ssl.h>
#include "common/error.h"
#include "edge/smtp/reply.h"

struct wire {
    int fd;             /* -1: not connected */
    SSL *ssl;           /* NULL: in clear */
    char in[SMTP_REPLY_LINE_MAX * 2];
    size_t in_len;      /* bytes read and not used yet */
};

/* false: not connected, why says so. */
bool wire_connect(struct wire *wire, const struct addrinfo *address, uint64_t connect_ms, uint64_t reply_ms, struct error *why);
/* The handshake; verify: host must be whom its certificate names. Bytes that came in clear behind STARTTLS are an error. */
bool wire_secure(struct wire *wire, SSL_CTX *context, const char *host, bool verify, struct error *why);
bool wire_send(struct wire *wire, const char *bytes, size_t len, struct error *why);
/* What is there, at least a byte; 0 at the end, -1 with an error or a time-out. */
ssize_t wire_read(struct wire *wire, char *out, size_t cap, struct error *why);
/* One whole reply. */
bool wire_reply(struct wire *wire, struct smtp_reply *reply, struct error *why);
/* Nothing more will be sent; answers still come. */
void wire_end(struct wire *wire);
void wire_close(struct wire *wire);

#endif

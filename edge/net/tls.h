#ifndef WEIR_EDGE_NET_TLS_H
#define WEIR_EDGE_NET_TLS_H
/*
 * tls.h - OpenSSL sessions for net.c (private to this room)
 *
 * Every call empties OpenSSL's error queue first: an entry left there by one connection would be blamed on the next.
 */
#include <openssl/ssl.h>
#include "edge/net/net.h"

enum tls_outcome { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_CLOSED /* by the peer, with or without close_notify */,
                   TLS_RESET /* the connection below is broken */, TLS_ERROR };

/* A session on fd (not taken). host_name: client only, checked against the certificate and sent as SNI unless an address; may be NULL.
 * NULL: why. */
SSL *tls_session_new(struct net_tls *tls, int fd, bool server, const char *host_name, struct error *why);
/* A client session that trusts what the records say and nothing else. NULL: why; *unusable: it is that
 * none of them can be used. */
SSL *tls_session_new_dane(struct net_tls *tls, int fd, const struct net_dane *dane, bool *unusable, struct error *why);
enum tls_outcome tls_handshake(SSL *ssl, struct error *why);
/* *done: bytes moved, may be less than len. A read goes on until len bytes are here or OpenSSL has no more; then the outcome says why it
 * stopped, which may be an end even with *done > 0. */
enum tls_outcome tls_read(SSL *ssl, char *out, size_t len, size_t *done, struct error *why);
enum tls_outcome tls_write(SSL *ssl, const char *data, size_t len, size_t *done, struct error *why);
/* Sends close_notify if there is room for it. */
void tls_close(SSL *ssl);

#endif

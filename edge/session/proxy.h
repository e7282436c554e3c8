#ifndef WEIR_EDGE_SESSION_PROXY_H
#define WEIR_EDGE_SESSION_PROXY_H
/*
 * proxy.h - what a load balancer says in front of a client's bytes: the PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt)
 *
 * Pure. The caller has all bytes of the connection from its first one on, and takes in no more than it is told to: what stands behind the header may be
 * a TLS handshake, and belongs to somebody else.
 */
#include <stddef.h>
#include "common/netaddr.h"

#define PROXY_HEADER_LEAST 15  /* bytes of the shortest header, "PROXY UNKNOWN" */
#define PROXY_HEADER_MAX 4096  /* of version 2 with what it has to say besides; over it PROXY_BAD. HAProxy's own limit is 536 */

enum proxy_event {
    PROXY_NEED_MORE,
    PROXY_CLIENT, /* the header says who the client is */
    PROXY_LOCAL,  /* it says that nobody is (LOCAL: a health check), or nothing we could use (UNKNOWN, UNSPEC, a socket of UNIX) */
    PROXY_BAD,
};

struct proxy_header {
    struct netaddr client, server; /* PROXY_CLIENT: who connected, and where to; with their ports. Else zero */
    size_t len;                    /* PROXY_NEED_MORE: the header has at least so many bytes, always more than were given. Else: its bytes */
    const char *why;               /* PROXY_BAD; static */
};

/* Type-length-values are skipped, the one about TLS between client and balancer included: it proves nothing to us. */
enum proxy_event proxy_header_read(struct proxy_header *out, const char *buf, size_t len);

/* The other side: a header of version 2 that says who connected, and where to; addresses of two families as IPv6. Returns its bytes. */
#define PROXY_HEADER_WRITTEN_MAX 52
size_t proxy_header_write(char out[PROXY_HEADER_WRITTEN_MAX], const struct netaddr *client, const struct netaddr *server);

#endif

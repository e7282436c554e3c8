#ifndef WEIR_EDGE_SESSION_RECEIVED_H
#define WEIR_EDGE_SESSION_RECEIVED_H
/*
 * received.h - the trace headers: reading those a message brings, writing ours
 *
 * Pure. The message itself is relayed byte for byte; what Weir adds stands in front of it: X-Virus-Scanned, then Received.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/netaddr.h"
#include "edge/scan/stamp.h"

#define HEADER_MESSAGE_ID_MAX 250

/* Looks at a message's header while it streams by: counts hops, finds the Message-ID and the header's end. */
struct header_scan {
    unsigned hops;   /* Received: fields */
    uint64_t size;   /* header bytes so far */
    bool ended;      /* at the empty line, or at a line that is no header field */
    char message_id[HEADER_MESSAGE_ID_MAX + 1]; /* the first one, as it stands, without white space around; cut when longer */
    /* private */
    enum { HEADER_LINE_START, HEADER_NAME, HEADER_AFTER_NAME, HEADER_VALUE, HEADER_SKIP } state;
    bool in_message_id, has_message_id, first_line_done;
    uint8_t name_len, id_len;
    char name[12]; /* as much as "message-id" needs */
};

void header_scan_init(struct header_scan *scan);
void header_scan_feed(struct header_scan *scan, const char *bytes, size_t len);

/* What the Received header of RFC 5321 4.4 says. Strings are borrowed. */
struct received {
    const char *helo;            /* as said */
    const struct netaddr *client;
    const char *client_name;     /* "unknown" */
    const char *tls;             /* "TLSv1.3 TLS_AES_256_GCM_SHA384", or "" */
    const char *hostname;
    const char *id;
    const char *recipient;       /* only where there is just one (RFC 5321 7.2: others' addresses are nobody's business), else NULL */
    const char *date;            /* RFC 5322 date-time */
    bool esmtp, smtputf8, authenticated;
};

#define RECEIVED_MAX 2048

/* Writes the whole header with its last CRLF; no line is longer than RFC 5322's 998. Returns the length. */
size_t received_format(char out[RECEIVED_MAX], const struct received *received);

/* "ESMTPSA" and the like: the registered "with" protocol types of RFC 3848 and RFC 6531 4.3. Static. */
const char *received_protocol(bool esmtp, bool tls, bool smtputf8, bool authenticated);

#endif

#ifndef WEIR_EDGE_SMTP_XCLIENT_H
#define WEIR_EDGE_SMTP_XCLIENT_H
/*
 * xclient.h - XCLIENT: what a peer says about the client it speaks for (Postfix's XCLIENT_README)
 *
 * Pure. Whether the peer is believed is the session's business.
 */
#include "common/netaddr.h"
#include "edge/smtp/command.h"

enum {
    SMTP_XCLIENT_NAME = 1, SMTP_XCLIENT_ADDR = 2, SMTP_XCLIENT_PORT = 4, SMTP_XCLIENT_PROTO = 8,
    SMTP_XCLIENT_HELO = 16, SMTP_XCLIENT_LOGIN = 32, SMTP_XCLIENT_DESTADDR = 64, SMTP_XCLIENT_DESTPORT = 128,
};

#define SMTP_XCLIENT_KEYWORDS "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT" /* as EHLO announces them */
#define SMTP_XCLIENT_LOGIN_MAX 255

/* What was said to be [UNAVAILABLE] or [TEMPUNAVAIL] is "", or an address of no family, or port 0. */
struct smtp_xclient {
    unsigned given;                         /* SMTP_XCLIENT_*: only these count */
    char name[SMTP_DOMAIN_MAX + 1];         /* lower case */
    char helo[SMTP_DOMAIN_MAX + 1];         /* as said */
    char login[SMTP_XCLIENT_LOGIN_MAX + 1];
    bool esmtp;                             /* PROTO */
    struct netaddr client, server;          /* with their ports; ADDR, PORT, DESTADDR, DESTPORT */
};

/* arguments: what stands behind the verb. A complaint: nothing of it counts. */
struct smtp_complaint smtp_xclient_parse(struct smtp_xclient *out, const char *arguments, size_t len);

#endif

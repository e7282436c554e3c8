#ifndef WEIR_EDGE_DELIVERY_DIALOG_H
#define WEIR_EDGE_DELIVERY_DIALOG_H
/*
 * dialog.h - the client's side of an SMTP conversation, without sockets
 *
 * Fed with whole replies, it says what they mean for the transaction and puts the commands to send into `out`. It keeps count of commands
 * under way, so that a pipelined group, or one given up in the middle, stays in step with its replies (RFC 2920).
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/settings.h"
#include "edge/smtp/address.h"
#include "edge/smtp/reply.h"

/* What the oldest unanswered command is, or what may come next.
 *
 *   GREETING -> EHLO -> READY -> MAIL -> RCPT -> DATA -> BODY -> FINAL -> READY
 *               EHLO -> HELO -> READY                  no ESMTP
 *               EHLO -> STARTTLS -> SECURING -> EHLO
 *               MAIL, RCPT, DATA (refused) -> RSET -> READY
 *   any -> CLOSED                                      421, or a reply that makes no sense here
 */
enum hop_state {
    HOP_GREETING, HOP_EHLO, HOP_HELO, HOP_STARTTLS, HOP_SECURING, HOP_READY, HOP_MAIL, HOP_RCPT, HOP_DATA, HOP_BODY, HOP_FINAL,
    HOP_RSET, HOP_CLOSED, HOP_STATES
};

enum hop_event {
    HOP_NOTHING,          /* go on */
    HOP_START_TLS,        /* begin the handshake; then hop_dialog_secured() */
    HOP_IS_READY,         /* a transaction may begin */
    HOP_SENDER_OK,
    HOP_SENDER_REFUSED,   /* the transaction is over */
    HOP_RECIPIENT,        /* the answer to the oldest unanswered RCPT */
    HOP_GO_AHEAD,         /* 354: send the message */
    HOP_ANSWER,           /* to the message; from DATA on. The transaction is over; in CLOSED so is the connection */
    HOP_REFUSED,          /* the host does not want us: its greeting or EHLO was refused */
    HOP_TLS_IMPOSSIBLE,   /* TLS is required and not to be had */
    HOP_LOST,             /* of no use any more: 421, or out of step */
};

struct hop_mail {
    const char *sender;   /* canonical, without brackets */
    uint64_t size;        /* 0: not known */
    bool eightbit, smtputf8;
    char ret;             /* RFC 3461: 'F', 'H' or 0 */
    const char *envid;    /* decoded, "" when there is none; NULL is "" */
};

struct hop_rcpt {
    const char *address;  /* canonical, without brackets */
    unsigned notify;      /* SMTP_NOTIFY_*, 0: not said */
    const char *orcpt;    /* decoded: "rfc822;a@b"; "" or NULL: none */
};

struct hop_dialog {
    enum hop_state state;
    char hello_name[256];     /* a copy: the configuration may change between EHLO and the one after STARTTLS */
    enum next_hop_tls tls;    /* wanted */
    bool secure;
    struct smtp_extensions extensions;
    unsigned rcpt_unanswered; /* RCPTs under way */
    unsigned skip;            /* RSET: replies that come before its own */
    bool rset_owed;           /* RSET: to be sent when they are in (no PIPELINING) */
    char out[2 * SMTP_ADDRESS_MAX + 1024]; /* commands to send: the caller empties it after each call */
    size_t out_len;
};

void hop_dialog_init(struct hop_dialog *dialog, const char *hello_name, enum next_hop_tls tls);
/* One whole reply of the host. */
enum hop_event hop_dialog_reply(struct hop_dialog *dialog, const struct smtp_reply *reply);
/* The handshake is done: everything said before is forgotten (RFC 3207 4.2). */
void hop_dialog_secured(struct hop_dialog *dialog);
/* Whether MAIL (in READY), RCPT or DATA may be sent now: always with PIPELINING, else one at a time. */
bool hop_dialog_may_send(const struct hop_dialog *dialog);
/* Parameters go only to hosts that offer them. A control byte in an address would go out as '?'. */
void hop_dialog_mail(struct hop_dialog *dialog, const struct hop_mail *mail);
void hop_dialog_rcpt(struct hop_dialog *dialog, const struct hop_rcpt *rcpt);
/* Only when all recipients are answered. */
void hop_dialog_data(struct hop_dialog *dialog);
/* The final dot is on its way. */
void hop_dialog_body_sent(struct hop_dialog *dialog);
/* Gives the transaction up; HOP_IS_READY follows, at once when there was none (true). In DATA, BODY and FINAL there is no way back: CLOSED. */
bool hop_dialog_reset(struct hop_dialog *dialog);
void hop_dialog_quit(struct hop_dialog *dialog);

#endif

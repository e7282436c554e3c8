#ifndef WEIR_SENDMAIL_MAIL_H
#define WEIR_SENDMAIL_MAIL_H
/*
 * mail.h - what a program wrote on stdin, made into a message that may travel
 *
 * Pure. First the bytes become lines that end in CRLF: LF, CR and CRLF each end one, NUL bytes go (RFC 5322 2.3 has neither a lone CR nor a
 * NUL). Then the header is looked at: mailbox "From " line, Bcc, Resent-Bcc and Return-Path go, and what every message must have is
 * added. The header ends at an empty line, or before the first line that cannot belong to one.
 */
#include <stdbool.h>
#include <stddef.h>
#include "deploy/sendmail/addresses.h"
#include "deploy/sendmail/text.h"

struct mail_lines {
    struct text text;  /* whole lines, and the one that is being read */
    size_t max;        /* bytes; over it `too_large`, and no more is kept */
    bool dot_ends;     /* a line of one dot ends the message */
    bool ended, too_large;
    size_t line_start; /* private */
    bool after_cr;
};

/* false: the message has ended (a dot), or is too large; do not go on. */
bool mail_lines_add(struct mail_lines *lines, const char *bytes, size_t len);
/* No more is to come: a last line without an end gets one. */
void mail_lines_finish(struct mail_lines *lines);

struct mail_facts {
    const char *from;        /* address for a missing From */
    const char *name;        /* for a missing From: any bytes; "" none */
    const char *domain;      /* for names without one */
    const char *date;        /* RFC 5322 date-time, for a missing Date */
    const char *message_id;  /* without angle brackets, for a missing Message-ID */
    size_t max_line;         /* without CRLF; longer lines are folded or broken, 0: never */
};

struct mail {
    struct text header;   /* with the empty line */
    struct text broken;   /* the body, when it had to be changed */
    const char *body;     /* borrowed from the lines, or from `broken` */
    size_t body_len;
    bool eightbit;
};

/* Makes mail of lines, which must live as long. recipients not NULL: those of To, Cc and Bcc are added (-t), or those of Resent-To, Resent-Cc
 * and Resent-Bcc when there are any (RFC 5322 3.6.6). */
void mail_make(struct mail *mail, const struct mail_lines *lines, const struct mail_facts *facts, struct recipients *recipients);
void mail_fini(struct mail *mail);

#endif

#ifndef WEIR_EDGE_SPOOL_DSN_H
#define WEIR_EDGE_SPOOL_DSN_H
/*
 * dsn.h - the report to a sender: what became of which recipient (RFC 3461, RFC 3464, RFC 6522; RFC 6533 for addresses beyond ASCII)
 *
 * Pure: everything it says is given. One report may hold failed, delayed and relayed recipients; its subject tells the worst.
 */
#include <stdbool.h>
#include <stddef.h>

#define DSN_RECIPIENTS_MAX 500u /* told of in one report: whatever hosts said, with 1 MiB of the message it fits a payload */

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_RELAYED, DSN_EXPANDED, DSN_DELIVERED, DSN_ACTIONS }; /* the worst first */

struct dsn_recipient {
    enum dsn_action action;
    const char *address;   /* canonical */
    const char *original;  /* ORCPT decoded, "rfc822;a@b"; "" when there was none */
    const char *enhanced;  /* "5.1.1" */
    int code;              /* of the reply; 0: none */
    const char *text;      /* its words; may have '\n'; about 1000 octets of them are told */
    const char *remote;    /* "host[192.0.2.9]:25" whose words they are; "": ours */
};

struct dsn {
    const char *id;        /* of the report itself */
    const char *about;     /* queue id of the message */
    const char *hostname;  /* of this edge */
    const char *contact;   /* whom to ask, "" */
    const char *sender;    /* of the message: who gets the report; never "" */
    const char *envid;     /* decoded, "" */
    const char *arrival;   /* RFC 5322 dates: of the message, and now */
    const char *date;
    const struct dsn_recipient *recipients;
    size_t count;          /* at least one */
    const char *returned;  /* the message, or its header as dsn_header_length() cut it */
    size_t returned_len;
    bool whole;            /* it is the message */
};

/* NOTIFY of a recipient (SMTP_NOTIFY_*) and what happened: whether its sender wants to hear of it. */
bool dsn_is_due(unsigned notify, enum dsn_action action);
/* How much of a message's first bytes is its header: up to the empty line, without it; whole lines within max. */
size_t dsn_header_length(const char *bytes, size_t len, size_t max);
/* The report as a message: strict CRLF, malloced. */
char *dsn_format(const struct dsn *dsn, size_t *len);
/* An address or the returned part has bytes beyond ASCII: its envelope needs BODY=8BITMIME; for the addresses SMTPUTF8. */
bool dsn_needs_8bit(const struct dsn *dsn);
bool dsn_needs_smtputf8(const struct dsn *dsn);

#endif

#ifndef WEIR_EDGE_SMTP_COMMAND_H
#define WEIR_EDGE_SMTP_COMMAND_H
/*
 * command.h - one command line into a verb and its checked arguments
 *
 * Pure. A wrong argument comes back as the reply to give; whether the verb is allowed in the session's state is the session's table.
 */
#include <stdbool.h>
#include <stdint.h>
#include "edge/smtp/address.h"

enum smtp_verb {
    SMTP_VERB_UNKNOWN, SMTP_VERB_EHLO, SMTP_VERB_HELO, SMTP_VERB_MAIL, SMTP_VERB_RCPT, SMTP_VERB_DATA, SMTP_VERB_BDAT,
    SMTP_VERB_RSET, SMTP_VERB_NOOP, SMTP_VERB_QUIT, SMTP_VERB_VRFY, SMTP_VERB_EXPN, SMTP_VERB_HELP, SMTP_VERB_STARTTLS,
    SMTP_VERB_AUTH, SMTP_VERB_XCLIENT,
    SMTP_VERB_HTTP, /* GET, POST, CONNECT, ...: a browser or proxy was tricked into talking to us; close */
    SMTP_VERB_COUNT
};

enum smtp_body { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };

struct smtp_command {
    enum smtp_verb verb;
    char domain[SMTP_DOMAIN_MAX + 1];   /* EHLO, HELO: as said, escaped for headers and logs by the user; always printable ASCII/UTF-8 */
    struct smtp_address address;        /* MAIL, RCPT */
    uint64_t size;                      /* MAIL SIZE=, 0 when absent; BDAT: chunk size */
    bool has_size;
    bool last;                          /* BDAT LAST */
    enum smtp_body body;                /* MAIL BODY= */
    bool smtputf8;                      /* MAIL SMTPUTF8 */
    /* RFC 3461, kept decoded: */
    char ret;                           /* 'F', 'H' or 0 */
    char envid[101];
    unsigned notify;                    /* 0: not given; SMTP_NOTIFY_* */
    char orcpt[501];                    /* "rfc822;a@b" as decoded, "" when absent */
    const char *arguments;              /* AUTH, XCLIENT: what stands behind it; borrowed from the line */
    size_t arguments_len;
    unsigned forgiven;                  /* of a lenient parse: enum smtp_leniency */
    char auth[501];                     /* MAIL AUTH= (RFC 4954 5), decoded; "" when absent */
};

enum { SMTP_NOTIFY_NEVER = 1, SMTP_NOTIFY_SUCCESS = 2, SMTP_NOTIFY_FAILURE = 4, SMTP_NOTIFY_DELAY = 8 };

struct smtp_complaint { /* the reply for a command that cannot be obeyed; code 0: none */
    int code;
    const char *enhanced;
    const char *text;
};

/* dsn: whether NOTIFY/RET/ENVID/ORCPT are offered on this listener (else they are 555 5.5.4); smtputf8: the transaction said SMTPUTF8
 * (for RCPT). Returns the complaint; command->verb is right even then. */
struct smtp_complaint smtp_command_parse(struct smtp_command *command, const char *line, size_t len, bool smtputf8, bool dsn);
/* The same for devices: what README.md lists is forgiven, an address without a domain gets `domain` (lower case), and the domain of EHLO and HELO is
 * "" when what the client said is of no use. DSN is offered. */
struct smtp_complaint smtp_command_parse_lenient(struct smtp_command *command, const char *line, size_t len, bool smtputf8,
                                                 const char *domain);
const char *smtp_verb_name(enum smtp_verb verb); /* "MAIL"; static */

#endif

#ifndef WEIR_EDGE_SMTP_SASL_H
#define WEIR_EDGE_SMTP_SASL_H
/*
 * sasl.h - the AUTH exchange: PLAIN (RFC 4616) and LOGIN, as RFC 4954 carries them
 *
 * Pure: lines in, the reply to give out. Whether name and password are right is for others to say; here they are only
 * taken apart. A struct sasl holds a password: sasl_clear() when it is no longer needed.
 */
#include <stdbool.h>
#include <stddef.h>

#define SASL_LOGIN_MAX    255 /* RFC 4616 2 */
#define SASL_PASSWORD_MAX 511

enum sasl_mechanism { SASL_NONE, SASL_PLAIN, SASL_LOGIN };

enum sasl_result {
    SASL_CHALLENGE, /* 334 with `text`, and the next line is the client's answer */
    SASL_COMPLETE,  /* login and password are here */
    SASL_REFUSED,   /* the exchange is over: reply with code, enhanced and text */
};

struct sasl {
    enum sasl_mechanism mechanism;
    bool has_login;                       /* LOGIN: the password is what comes next */
    char login[SASL_LOGIN_MAX + 1];       /* printable UTF-8 without blanks, not empty when complete */
    char password[SASL_PASSWORD_MAX + 1]; /* without NUL, not empty when complete */
    /* the reply */
    int code;
    const char *enhanced; /* NULL for 334 */
    const char *text;     /* static */
};

/* arguments: what stands behind AUTH: a mechanism, and maybe an initial response. */
enum sasl_result sasl_begin(struct sasl *sasl, const char *arguments, size_t len);
/* A line without CRLF that answers a challenge. */
enum sasl_result sasl_next(struct sasl *sasl, const char *line, size_t len);
void sasl_clear(struct sasl *sasl);
const char *sasl_mechanism_name(enum sasl_mechanism mechanism); /* "PLAIN"; static */
/* For the log: the mechanism that arguments name, known here or not: "CRAM-MD5"; "unknown" when no registered one has that name, as it may be anything
 * then, a password too. Static. */
const char *sasl_asked_name(const char *arguments, size_t len);

#endif

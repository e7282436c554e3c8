#ifndef WEIR_SENDMAIL_ADDRESSES_H
#define WEIR_SENDMAIL_ADDRESSES_H
/*
 * addresses.h - recipients, from a header's address list (RFC 5322 3.4) or a word of the command line
 *
 * Pure. Names, comments, groups and folding are taken off; what is left is parsed by edge/smtp into its one meaning. A name without a domain
 * gets the default one. What is no address is kept as it was written, as a recipient that is refused already: the others get their mail, and
 * the caller is told.
 */
#include <stdbool.h>
#include <stddef.h>

enum recipient_state {
    RECIPIENT_PENDING,  /* nobody took or refused it for good yet */
    RECIPIENT_TAKEN,    /* for now: the message is not accepted yet */
    RECIPIENT_SENT,
    RECIPIENT_DEFERRED, /* do not try again now */
    RECIPIENT_REFUSED,
};

struct recipient {
    char *address; /* owned: canonical, without brackets; or as written when it is none */
    bool utf8;
    enum recipient_state state;
    int code;          /* the last reply about it; 0: none */
    char enhanced[12];
    char *words;       /* owned: that reply's text, or what went wrong; never NULL */
};

struct recipients {
    struct recipient *items;
    size_t count;
};

/* Adds what is not there yet. domain: for names without one. */
void recipients_add(struct recipients *recipients, const char *text, size_t len, const char *domain);
/* Remembers what was said about it. words are copied. */
void recipient_settle(struct recipient *recipient, enum recipient_state state, int code, const char *enhanced, const char *words);
void recipients_fini(struct recipients *recipients);

#endif

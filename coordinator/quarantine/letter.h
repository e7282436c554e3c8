#ifndef WEIR_QUARANTINE_LETTER_H
#define WEIR_QUARANTINE_LETTER_H
/*
 * letter.h - what a recipient hears of the quarantine, as a message: digests, and answers to commands
 *
 * Pure: everything it says is given. Text and HTML, both quoted-printable; nothing of a stranger's words is in it but as text, and no picture is loaded.
 */
#include <stdbool.h>
#include <stddef.h>
#include "coordinator/quarantine/token.h"

struct letter_entry {
    char *id;
    char *when, *until;     /* "2026-11-22 14:03", "2026-12-06" */
    char *sender;           /* of the envelope; "" */
    char *subject;          /* UTF-8 as it came; "" */
    char *reason;           /* "spam" */
    char score[16];         /* "61.50", or "" */
    bool releasable;
    char token[TOKEN_LEN + 1];
};

struct letter {
    const char *id;         /* queue id of this message */
    const char *from, *to;  /* addresses */
    const char *date;       /* RFC 5322 */
    const char *url;        /* of the pages; "": no links */
    const char *mail;       /* where commands go; "": there are none */
    const char *contact;    /* whom to ask; "" */
    const char *page;       /* the token of this person's page; "" */
    const char *outcome;    /* of a command: "release released", "list "; NULL: it is a digest */
    const struct letter_entry *entries;
    size_t count, total;    /* total: those that are not among the entries, too */
};

/* Strict CRLF, malloced. */
char *letter_format(const struct letter *letter, size_t *len);
/* "looks like spam"; "" for what is not known here. */
const char *letter_reason(const char *reason);
/* "Released: it is on its way to you.", of what a function web_...() said of a command. */
const char *letter_outcome(const char *command, const char *outcome);
void letter_entries_free(struct letter_entry **entries, size_t count);

#endif

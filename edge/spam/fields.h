#ifndef WEIR_EDGE_SPAM_FIELDS_H
#define WEIR_EDGE_SPAM_FIELDS_H
/*
 * fields.h - header fields about spam: those that are added, and the edited header of a message that brings some
 *
 * Pure. The fields of a message that was checked:
 *
 *     X-Spam-Flag: YES                                      from quarantine_score on, else NO
 *     X-Spam-Score: 62.40
 *     X-Spam-Status: Yes, score=62.40 required=50.00 engines=rspamd(62.40) spamd(timeout)
 *      tests=FOO(4.20), BAR(1.00)
 *     Authentication-Results: mx.example.edu; spf=pass smtp.mailfrom=example.org; dkim=none
 *     DKIM-Signature: ...                                   of outgoing mail
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/weir.pb-c.h"

#define SPAM_FIELDS_MAX 14336 /* bytes of all of them: what a verdict may bring, in lines */

struct spam_fields {
    const Weir__SpamResult *result;
    const char *authserv_id;
    const char *sender; /* of the envelope: its domain is what SPF was asked about; "": the HELO's */
    const char *helo;
    uint32_t required;  /* hundredths; SCORE_OFF: nothing is spam */
};

#define SPAM_SYMBOLS_TEXT_MAX 512 /* of one line of text */

/* Returns the length. */
size_t spam_fields_format(char out[SPAM_FIELDS_MAX], const struct spam_fields *fields);
/* "FOO(4.20), BAR(1.00)", as many as there is room for. Returns out. */
char *spam_symbols_format(char *out, size_t cap, const Weir__SpamResult *result);

/* A domain as results of authentication name one, in ASCII. */
bool spam_is_domain(const char *text);

struct header_edit {
    bool drop_spam;          /* fields X-Spam-* */
    const char *names[2];    /* Authentication-Results of these go; NULL: none */
    const char *const *others; /* and of these, up to a NULL; NULL: none */
    const char *tags[3];     /* a Subject gets them in front, in this order, each once; NULL or "": that one not */
    bool tag_signed;         /* also where there is a DKIM-Signature */
};

/* The header of a message (its first len bytes, with the empty line where there is one) as it goes on. NULL: as it is. Else malloced, and *out_len bytes. */
char *header_edit(const struct header_edit *edit, const char *header, size_t len, size_t *out_len);
/* Where the header ends, behind its empty line; len where it does not end. */
size_t header_length(const char *bytes, size_t len);
/* The field at the beginning of a header, with the lines that continue it. */
size_t field_length(const char *text, size_t len);
/* White space in front of the colon is obsolete, and read by some (RFC 5322 4.5). Returns where the body begins; NULL: another field. */
const char *field_body(const char *field, size_t len, const char *name);

#endif

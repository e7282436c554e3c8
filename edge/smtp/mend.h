#ifndef WEIR_EDGE_SMTP_MEND_H
#define WEIR_EDGE_SMTP_MEND_H
/*
 * mend.h - a message's header made whole while it streams by: missing fields, a missing separator, fields too many
 *
 * No clock and no heap: the caller brings the words. Lines end in CRLF already (or are refused by somebody else). Everything behind the
 * header is handed on as it is.
 */
#include <stdbool.h>
#include <stddef.h>
#include "edge/smtp/parser.h"

enum smtp_field { SMTP_FIELD_DATE, SMTP_FIELD_MESSAGE_ID, SMTP_FIELD_FROM, SMTP_FIELD_COUNT };

struct smtp_mender {
    /* set by the caller, all else zero */
    const char *missing[SMTP_FIELD_COUNT]; /* whole lines with CRLF, put at the header's end where there is none; NULL: it may be missing. Borrowed */
    bool single;                           /* of Date and Message-ID only the first stays */
    void (*put)(void *arg, const char *bytes, size_t len);
    void *arg;
    unsigned forgiven; /* enum smtp_leniency, up to now */
    /* private */
    int state;
    bool seen[SMTP_FIELD_COUNT];
    bool begun, dropping; /* a field came before this line; and it goes */
    size_t held_len;
    char held[SMTP_TEXT_LINE_MAX + 2]; /* a line until it is known to be a field */
};

/* Calls put() for what is known. An mbox "From " line in front is left out. A line that is no field ends the header: a separator goes before it. */
void smtp_mender_feed(struct smtp_mender *mender, const char *bytes, size_t len);
/* The message is complete: what was held, and the header's end where it had none. */
void smtp_mender_finish(struct smtp_mender *mender);

#endif

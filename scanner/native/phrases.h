#ifndef WEIR_SCANNER_NATIVE_PHRASES_H
#define WEIR_SCANNER_NATIVE_PHRASES_H
/*
 * phrases.h - what unwanted mail has always said, in the languages that it comes in
 *
 * Written by hand from what is public knowledge. One phrase proves nothing: families are counted, and what they may add is bounded in rules_text.c.
 */
#include <stddef.h>
#include <stdint.h>
#include "scanner/mime/mime.h"

enum phrase_family {
    PHRASE_CREDENTIALS, /* log in, confirm who you are */
    PHRASE_URGENCY,     /* or else, and soon */
    PHRASE_PARCEL,
    PHRASE_PAYMENT,     /* an invoice, a refund, a payment that failed */
    PHRASE_PRIZE,
    PHRASE_FUND,        /* a dead man's millions */
    PHRASE_LOAN,
    PHRASE_INCOME,      /* money at home, without risk */
    PHRASE_MEDICINE,
    PHRASE_ADULT,
    PHRASE_GAMBLING,
    PHRASE_CRYPTO,      /* coins for nothing */
    PHRASE_GOODS,       /* replicas, cheap software, diplomas */
    PHRASE_STOCK,
    PHRASE_EXTORTION,
    PHRASE_CALL,        /* click here, order now */
    PHRASE_REMOVAL,     /* to be removed from our list */
    PHRASE_CHINESE_TRADE, /* receipts to deduct, courses, mailing lists for sale */
    PHRASE_CHINESE_BUSINESS, /* what firms say, honest ones as well */
    PHRASE_FAMILIES,
};

struct phrase_hits {
    uint8_t distinct[PHRASE_FAMILIES]; /* different phrases found, at most 255 */
    uint8_t in_subject[PHRASE_FAMILIES];
};

struct phrases;
struct phrases *phrases_new(void);
void phrases_free(struct phrases **phrases);
/* folded: as fold.h makes it; its first bytes are the subject's. */
void phrases_find(const struct phrases *phrases, struct mime_span folded, size_t subject, struct phrase_hits *hits);

#endif

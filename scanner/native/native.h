#ifndef WEIR_SCANNER_NATIVE_NATIVE_H
#define WEIR_SCANNER_NATIVE_NATIVE_H
/*
 * native.h - how much a message looks like spam, as far as its own bytes and its envelope say
 *
 * Named rules with bounded weights, and one bounded term that was learned. Pure: no sockets, files or clock after native_new(). No byte of a
 * message ends the process; work is linear in its size.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "scanner/mime/mime.h"
#include "scanner/native/model.h"

#define NATIVE_SCORE_MAX 10000 /* hundredths: 100.00 */
#define NATIVE_SPAM 5000       /* hundredths: from here on a message is called spam */
#define NATIVE_SYMBOLS_MAX 48
#define NATIVE_DETAIL_MAX 64   /* with its NUL */

enum native_direction { NATIVE_UNKNOWN_DIRECTION, NATIVE_INBOUND, NATIVE_OUTBOUND };

/*
 * The one symbol that depends on what this engine cannot know: "From" is of the site's own domain, from outside. Services that a site lets write in its
 * name do that, and forgers. So it weighs little, and counts in no composite; only where a password is asked for is a link's text of that domain not
 * believed. Who knows what DMARC says withdraws it, or lets it weigh.
 */
#define NATIVE_OWN_DOMAIN "OWN_DOMAIN_FROM_OUTSIDE"
#define NATIVE_OWN_DOMAIN_UNKNOWN 800
#define NATIVE_OWN_DOMAIN_LIST 500 /* as members of a list do */
#define NATIVE_OWN_DOMAIN_FORGED 4000

/* What is known beside the message. Strings are borrowed; NULL: not known. */
struct native_facts {
    const char *client_address; /* "192.0.2.1", "2001:db8::1" */
    const char *client_name;    /* of the reverse DNS, confirmed */
    const char *helo;
    const char *sender;         /* of the envelope; "" is the null sender */
    const char *const *recipients; /* some of them are enough */
    size_t recipient_count; /* of inbound mail: their domains are the site's own */
    enum native_direction direction;
    bool authenticated; /* the client proved who it is */
    const char *listed; /* the lists of the DNS that name the client */
    bool ill_reputed;   /* the client is throttled for what it sent before */
};

struct native_symbol {
    const char *name;               /* static: "LINK_TEXT_DIFFERS" */
    int32_t weight;                 /* hundredths; below 0 speaks for the message */
    char detail[NATIVE_DETAIL_MAX]; /* printable UTF-8, may be empty: what it was seen in */
};

struct native_result {
    uint32_t score;  /* 0..NATIVE_SCORE_MAX */
    uint64_t anomalies; /* mime.h */
    size_t symbol_count;
    struct native_symbol symbols[NATIVE_SYMBOLS_MAX]; /* in the order of the rules; their sum, bounded, is the score */
};

#define NATIVE_NOT_ALL_SEEN "NOT_ALL_SEEN" /* a limit was reached, which its detail names */
#define NATIVE_LATE "time"

struct native;

/* Opens the converters of character sets, which are files: to be made before a sandbox closes. */
struct native *native_new(const struct mime_limits *limits);
void native_free(struct native **native);

/* From now on at most so long for a message, as that clock says; 0: without an end. What was not looked at by then is told: NOT_ALL_SEEN, "time". */
void native_limit_time(struct native *native, uint64_t (*now_us)(void), uint64_t most_us);

/* model: NULL, or what native_model_open() gave. */
void native_score(struct native *native, const struct native_facts *facts, const struct native_model *model, const char *bytes, size_t len,
                  struct native_result *result);

/* A message taken apart, for who looks at its parts only; and the one that native_score() was given last. Valid until the next call of either. */
const struct mime_message *native_parse(struct native *native, const char *bytes, size_t len);
const struct mime_message *native_scored(const struct native *native);

/* What a model is to learn of that message. */
void native_take_features(struct native *native, const struct native_facts *facts, const char *bytes, size_t len, struct native_features *features);

#endif

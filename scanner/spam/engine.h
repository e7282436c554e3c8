#ifndef WEIR_SCANNER_SPAM_ENGINE_H
#define WEIR_SCANNER_SPAM_ENGINE_H
/*
 * engine.h - what a spam engine is told, what it answers, and how one that is another process is spoken to
 *
 * A protocol is pure: it writes a question and reads an answer, and knows no socket, clock or other engine.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/buffer.h>
#include "common/error.h"

#define SPAM_SYMBOLS_MAX    64
#define SPAM_NAME_MAX       63
#define SPAM_DETAIL_MAX     96
#define SPAM_AUTH_MAX       1536 /* bytes of results of authentication */
#define SPAM_SIGNATURES_MAX 4
#define SPAM_SIGNATURE_MAX  2000 /* bytes of one DKIM-Signature; what wire.h takes is a little more */

/* Of one message. One allocation: see spam_facts_new(). */
struct spam_facts {
    const char *id, *client, *client_name, *helo, *sender, *login, *edge, *listed;
    bool ill_reputed;
    const char **recipients;
    size_t recipient_count;
    bool outbound;
    bool killed; /* a worker, here or elsewhere: perhaps in the native engine */
    uint64_t size; /* of the message, once that is complete */
};

struct spam_symbol {
    char name[SPAM_NAME_MAX + 1];     /* letters, digits and _ */
    char detail[SPAM_DETAIL_MAX + 1]; /* what the engine says beside; printable ASCII */
    int32_t weight;                   /* hundredths, on the engine's own scale */
};

struct spam_answer {
    uint32_t score; /* hundredths, 0..SCORE_MAX */
    struct spam_symbol symbols[SPAM_SYMBOLS_MAX]; /* those of the greatest weight, that first */
    size_t symbol_count;
    char authentication[SPAM_AUTH_MAX]; /* "spf=pass smtp.mailfrom=example.org; dkim=none"; "": it looks at no such thing */
    char *signatures[SPAM_SIGNATURES_MAX]; /* owned */
    size_t signature_count;
};

struct spam_scale { /* the engine's scores that are 50 and 90 here, where its answer does not say its own */
    double half, most;
};

enum spam_reply { SPAM_REPLY_MORE, SPAM_REPLY_DONE, SPAM_REPLY_BAD /* why */, SPAM_REPLY_REFUSED /* why: it is an answer, and no result */ };

struct spam_protocol {
    /* What comes in front of the message's bytes. shared: the name of shared memory that has them, and nothing follows; NULL: they follow. */
    void (*ask)(struct evbuffer *out, const struct spam_facts *facts, const char *shared);
    /* Looks at what has come so far, and drains it when DONE; ended: no more will. *wanted: with MORE, the bytes of the whole answer where it says how many
     * (else it stays as it is): before those have come there is nothing new to see. *again: the connection can be asked once more. */
    enum spam_reply (*read)(struct evbuffer *in, bool ended, const struct spam_scale *scale, struct spam_answer *out, uint64_t *wanted, bool *again,
                            struct error *why);
};

extern const struct spam_protocol rspamd_protocol, spamd_protocol;

/* Keeps the heaviest symbols. Text is cleaned: what a mail's author wrote may be in it. name: "" is left out. */
void spam_answer_add(struct spam_answer *answer, const char *name, int32_t weight, const char *detail);
/* What the native engine could not know, by the results of authentication: a "From" of the site's own domain is nothing where DMARC passes, and much where it
 * fails. native: its answer; changed once, however often this is called. authentication "": nobody looked. */
void spam_answer_settle(struct spam_answer *native, const char *authentication);
void spam_answer_fini(struct spam_answer *answer);
/* Three points of the curve, on the engine's scale: nothing at 0, half at 50, most at 90; straight lines between, and on to 100 at as much again above `most`
 * as `most` is over `half`. Grows with points, or stays. 0 < half < most. */
uint32_t spam_curve(double points, double half, double most);
/* A header line of a question: without what would end it. */
void spam_add_header(struct evbuffer *out, const char *name, const char *value);

#endif

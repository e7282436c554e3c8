#ifndef WEIR_CTL_REQUEST_H
#define WEIR_CTL_REQUEST_H
/*
 * request.h - one question to the coordinators at a time, to the first that answers
 *
 * Coordinators are tried in the order of the configuration, each for REQUEST_CONNECT_MS to connect and
 * REQUEST_ANSWER_MS to answer. One that answers that its database is not there is passed over, too. The link to the one
 * that answered is kept for the next question.
 *
 * Each question has a token of its own, which goes along wherever it is asked: what it changes is changed once, even when the one who did it could not say so.
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"
#include "common/settings.h"
#include "proto/curve.h"

#define WAIT_TURN_MS 200 /* between two looks at whether what is waited for has come */

#define REQUEST_CONNECT_MS 2000
#define REQUEST_ANSWER_MS  10000
#define REQUEST_REFUSED_MS 1000 /* a key may be a moment old: refusals are tried again for so long */

struct requester;

struct request_coordinator {
    char *name, *endpoint;
    uint8_t public_key[CURVE_KEY_LEN];
};

struct request_file {
    char *name, *text;
    size_t len;
};

struct reply {
    int status;        /* 0, or an exit code of sysexits.h; EX_UNAVAILABLE when nobody answered */
    char *error;       /* owned; NULL when status is 0 */
    char *body;        /* owned JSON; may be NULL */
    char *coordinator; /* owned: who answered; NULL when nobody did */
};

/* coordinators are borrowed for the requester's life. */
struct requester *requester_new(const struct curve_keypair *pair, const struct request_coordinator *coordinators,
                                size_t count);
void requester_free(struct requester **requester);
void requester_ask(struct requester *requester, const char *verb, const char *const *args, size_t arg_count,
                   const struct request_file *files, size_t file_count, struct reply *reply);
void reply_clear(struct reply *reply);

#endif

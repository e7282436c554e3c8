#ifndef WEIR_EDGE_VERIFY_OPINION_H
#define WEIR_EDGE_VERIFY_OPINION_H
/*
 * opinion.h - what a next hop's answer to RCPT says about the recipient; pure
 */
#include <stdbool.h>
#include "edge/smtp/reply.h"

enum verify_result {
    VERIFY_EXISTS,
    VERIFY_MISSING,
    VERIFY_UNKNOWN, /* it did not say: not reached, a 4xx, or a refusal that is not about the recipient */
};

#define VERIFY_TEXT_MAX 400

struct verify_opinion {
    enum verify_result result;
    int code;          /* of the next hop's reply; 0: there was none */
    char enhanced[12];
    char text[VERIFY_TEXT_MAX]; /* its words, or why there are none; one line */
};

/* of_rcpt: the host said this to RCPT; else it is about MAIL, the connection or the DNS, which says nothing of the recipient. Of the 5xx those count
 * that deny the mailbox or its domain here (5.1.x, 5.2.1, no enhanced code, 5.0.x); a full mailbox exists, and a policy (5.7.x) may be about us. */
void verify_opinion_of(struct verify_opinion *out, const struct smtp_reply *reply, bool of_rcpt);
void verify_opinion_set(struct verify_opinion *out, enum verify_result result, int code, const char *enhanced, const char *text);

#endif

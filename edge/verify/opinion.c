/* opinion.c - see opinion.h */
#include "edge/verify/opinion.h"

#include <stdio.h>
#include <string.h>

void verify_opinion_set(struct verify_opinion *out, enum verify_result result, int code, const char *enhanced, const char *text)
{
    out->result = result;
    out->code = code;
    snprintf(out->enhanced, sizeof out->enhanced, "%.*s", (int)sizeof out->enhanced - 1, enhanced);
    snprintf(out->text, sizeof out->text, "%.*s", VERIFY_TEXT_MAX - 1, text);
    for (char *p = out->text; *p != '\0'; p++)
        if (*p == '\n')
            *p = ' ';
}

static bool denies_mailbox(const struct smtp_reply *reply)
{
    const char *enhanced = reply->enhanced;
    bool of_sender = strcmp(enhanced, "5.1.7") == 0 || strcmp(enhanced, "5.1.8") == 0; /* RFC 3463 3.2; Postfix says them at RCPT */
    if (*enhanced != '\0')
        return !of_sender && (strncmp(enhanced, "5.1.", 4) == 0 || strncmp(enhanced, "5.0.", 4) == 0 || strcmp(enhanced, "5.2.1") == 0);
    /* RFC 5321 4.2.3: 552 is a full mailbox, 500 to 504 are about the command */
    return reply->code >= 550 && reply->code <= 556 && reply->code != 552 && reply->code != 555;
}

void verify_opinion_of(struct verify_opinion *out, const struct smtp_reply *reply, bool of_rcpt)
{
    enum verify_result result = VERIFY_UNKNOWN;
    if (of_rcpt && reply->code / 100 == 2)
        result = VERIFY_EXISTS;
    else if (of_rcpt && reply->code / 100 == 5 && denies_mailbox(reply))
        result = VERIFY_MISSING;
    verify_opinion_set(out, result, reply->code, reply->enhanced, reply->text);
}

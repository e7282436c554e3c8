/*
 * spamd.c - the protocol of SpamAssassin's spamd (spamd/PROTOCOL 1.5): SYMBOLS
 *
 *     SYMBOLS SPAMC/1.5            SPAMD/1.1 0 EX_OK
 *     Content-length: N            Content-length: 27
 *                                  Spam: True ; 1000.0 / 5.0
 *     <message>
 *                                  GTUBE,NO_RECEIVED,NO_RELAYS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "scanner/spam/engine.h"

static void spamd_ask(struct evbuffer *out, const struct spam_facts *facts, const char *shared)
{
    (void)shared; /* it knows no such thing, and is never given any */
    evbuffer_add_printf(out, "SYMBOLS SPAMC/1.5\r\nContent-length: %llu\r\n", (unsigned long long)facts->size);
    evbuffer_add(out, "\r\n", 2);
}

/* "True ; 7.3 / 5.0" */
static bool parse_spam(const char *text, double *points, double *required)
{
    char word[8];
    return sscanf(text, "%7s ; %lf / %lf", word, points, required) == 3 && *points > -1e6 && *points < 1e6 && *required > 0 && *required < 1e6;
}

/* Its weights are not told, only which rules matched. */
static void take_symbols(struct spam_answer *out, char *list)
{
    char *rest = list;
    for (char *name = strtok_r(list, ", \r\n\t", &rest); name != NULL; name = strtok_r(NULL, ", \r\n\t", &rest))
        if (strlen(name) <= SPAM_NAME_MAX)
            spam_answer_add(out, name, 0, "");
}

/* The connection ends with the answer. */
static enum spam_reply spamd_read(struct evbuffer *in, bool ended, const struct spam_scale *scale, struct spam_answer *out, uint64_t *wanted, bool *again,
                                  struct error *why)
{
    double points, required;
    (void)scale, (void)wanted; /* its length is an optional field */
    *again = false;
    if (!ended)
        return SPAM_REPLY_MORE;
    size_t len = evbuffer_get_length(in);
    char *text = xmalloc(len + 1); /* nothing can be added to a connection's input, and it has no end of its own */
    evbuffer_remove(in, text, len);
    text[len] = '\0';
    char *spam = strcasestr(text, "\r\nSpam:"), *body = strstr(text, "\r\n\r\n");
    bool good = strncmp(text, "SPAMD/", 6) == 0 && strstr(text, " EX_OK") != NULL && body != NULL && spam != NULL && spam < body &&
                parse_spam(spam + strlen("\r\nSpam:"), &points, &required);
    if (!good) {
        error_set(why, "no answer of spamd: %.60s", text);
    } else {
        out->score = spam_curve(points, required, 3 * required);
        take_symbols(out, body + 4);
    }
    free(text);
    return good ? SPAM_REPLY_DONE : SPAM_REPLY_BAD;
}

const struct spam_protocol spamd_protocol = { .ask = spamd_ask, .read = spamd_read };

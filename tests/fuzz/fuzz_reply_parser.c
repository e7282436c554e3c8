/*
 * fuzz_reply_parser.c - a next hop's replies: whole and in pieces give the same, and a reply formatted anew reads the
 * same
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/reply.h"

#define SPLIT_FROM 490 /* text of fewer bytes fits one line of 512 with its codes (RFC 5321 4.5.3.1.5) */

static enum smtp_reply_status feed(struct smtp_reply_parser *parser, const uint8_t *data, size_t size, size_t step,
                                   size_t *start)
{
    enum smtp_reply_status status = SMTP_REPLY_MORE;
    smtp_reply_parser_init(parser);
    *start = 0;
    for (size_t end = 0; end < size && status == SMTP_REPLY_MORE;) {
        end = size - end < step ? size : end + step;
        char *copy = malloc(end - *start + 1);
        memcpy(copy + 1, data + *start, end - *start);
        size_t used;
        status = smtp_reply_parser_next(parser, copy + 1, end - *start, &used);
        if (used > end - *start)
            abort();
        *start += used;
        free(copy);
    }
    return status;
}

/* The words without their blanks and line ends: a line that is too long for the wire is split at one of those, or given one. */
static size_t squash(char *out, const char *text)
{
    size_t len = 0;
    for (; *text != '\0'; text++)
        if (*text != ' ' && *text != '\n')
            out[len++] = *text;
    out[len] = '\0';
    return len;
}

static void check_words(const char *before, const char *after)
{
    char a[SMTP_REPLY_TEXT_MAX], b[SMTP_REPLY_TEXT_MAX];
    size_t longest = 0;
    for (const char *line = before; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t len = strcspn(line, "\n");
        longest = len > longest ? len : longest;
    }
    if (longest < SPLIT_FROM) {
        if (strcmp(before, after) != 0)
            abort();
        return;
    }
    /* Each split makes the text a byte longer, and what then exceeds SMTP_REPLY_TEXT_MAX is cut. */
    size_t was = squash(a, before), is = squash(b, after);
    if (is > was || was - is > SMTP_REPLY_TEXT_MAX / SPLIT_FROM + 1 || memcmp(a, b, is) != 0)
        abort();
}

static void check_again(const struct smtp_reply *reply)
{
    static char text[SMTP_REPLY_LINES_MAX * 20 + 2 * SMTP_REPLY_TEXT_MAX];
    struct smtp_reply_parser again;
    size_t used;
    size_t len = smtp_reply_format(text, sizeof text, reply->code, reply->enhanced[0] != '\0' ? reply->enhanced : NULL,
                                   reply->text);
    smtp_reply_parser_init(&again);
    if (smtp_reply_parser_next(&again, text, len, &used) != SMTP_REPLY_DONE || used != len ||
        again.reply.code != reply->code)
        abort();
    if (reply->enhanced[0] != '\0') {
        if (strcmp(again.reply.enhanced, reply->enhanced) != 0)
            abort();
        check_words(reply->text, again.reply.text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct smtp_reply_parser whole, pieces;
    size_t whole_used, pieces_used;
    enum smtp_reply_status status = feed(&whole, data + 1, size - 1, size, &whole_used);
    if (feed(&pieces, data + 1, size - 1, 1u + data[0] % 16, &pieces_used) != status)
        abort();
    if (status != SMTP_REPLY_DONE)
        return 0;
    if (whole_used != pieces_used || memcmp(&whole.reply, &pieces.reply, sizeof whole.reply) != 0)
        abort();
    check_again(&whole.reply);

    char *stuffed = malloc(2 * size);
    bool at_line_start = true;
    smtp_dot_stuff(stuffed, (const char *)data, size, &at_line_start);
    free(stuffed);
    return 0;
}

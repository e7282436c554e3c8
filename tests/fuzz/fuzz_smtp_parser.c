/*
 * fuzz_smtp_parser.c - commands, DATA and BDAT in odd segmentations: the same tokens as whole
 *
 * The first byte chooses the segmentation; the rest is what a client sends. "DATA" and "BDAT n [LAST]" lines switch as
 * a session would. Each token is folded into a hash, adjacent body pieces as one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/command.h"
#include "edge/smtp/parser.h"

struct run {
    struct smtp_parser parser;
    bool in_message, in_body;
    uint64_t hash;
    size_t tokens;
};

static void fold(struct run *run, const void *bytes, size_t len)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < len; i++)
        run->hash = (run->hash ^ byte[i]) * 1099511628211u;
}

static void on_token(struct run *run, const struct smtp_token *token)
{
    if (token->event == SMTP_NEED_MORE)
        return;
    if (token->event != SMTP_BODY || !run->in_body) {
        fold(run, &token->event, sizeof token->event);
        fold(run, &token->bad, sizeof token->bad);
        run->tokens++;
    }
    run->in_body = token->event == SMTP_BODY;
    fold(run, token->bytes, token->len);
    if (token->event == SMTP_END_OF_DATA) {
        fold(run, &run->parser.violations, sizeof run->parser.violations);
        fold(run, &run->parser.ended_with_crlf, sizeof run->parser.ended_with_crlf);
    } else if (token->event == SMTP_COMMAND) {
        struct smtp_command command;
        struct smtp_complaint complaint = smtp_command_parse(&command, token->bytes, token->len, true, true);
        if (complaint.code == 0 && command.verb == SMTP_VERB_DATA) {
            smtp_parser_enter_data(&run->parser);
            run->in_message = false;
        } else if (complaint.code == 0 && command.verb == SMTP_VERB_BDAT) {
            smtp_parser_enter_bdat(&run->parser, command.size, !run->in_message);
            run->in_message = !command.last;
        }
    }
}

static void play(struct run *run, const uint8_t *data, size_t size, unsigned pattern)
{
    size_t start = 0, end = 0;
    *run = (struct run){ .hash = 14695981039346656037u };
    smtp_parser_init(&run->parser, 32, 60);
    for (unsigned turn = 0; end < size; turn++) {
        size_t step = pattern == 0 ? size : 1 + (pattern >> (turn % 4 * 2) & 3) * (pattern % 7 + 1);
        end = size - end < step ? size : end + step;
        struct smtp_token token;
        do {
            char *copy = malloc(end - start + 1); /* exact at its end, so that reading too far is seen */
            memcpy(copy + 1, data + start, end - start);
            size_t used = smtp_parser_next(&run->parser, copy + 1, end - start, &token);
            if (used > end - start || (token.event == SMTP_NEED_MORE && end - start - used > 32))
                abort();
            on_token(run, &token);
            free(copy);
            start += used;
        } while (token.event != SMTP_NEED_MORE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 8192) /* what is left is copied for each token: longer is only slower */
        return 0;
    struct run whole, pieces;
    play(&whole, data + 1, size - 1, 0);
    play(&pieces, data + 1, size - 1, data[0] | 256u);
    if (whole.hash != pieces.hash || whole.tokens != pieces.tokens)
        abort();
    return 0;
}

/*
 * fuzz_smtp_lenient.c - what devices send, made strict: only CRLF, no NUL, no long line, and no early end of data at the next hop
 *
 * The first byte chooses the segmentation. Each message goes through header repair and dot stuffing, as to a next hop, and comes back through the strict
 * parser: it must be the same, without a violation, up to its end and not further. In pieces everything must be as it is whole.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/command.h"
#include "edge/smtp/mend.h"
#include "edge/smtp/parser.h"
#include "edge/smtp/reply.h"

#define MESSAGE_MAX (64 * 1024)

struct run {
    struct smtp_parser parser;
    struct smtp_mender mender;
    bool in_message;
    char message[MESSAGE_MAX];
    size_t len;
    uint64_t hash;
};

static void fold(struct run *run, const void *bytes, size_t len)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < len; i++)
        run->hash = (run->hash ^ byte[i]) * 1099511628211u;
}

static void on_put(void *arg, const char *bytes, size_t len)
{
    struct run *run = arg;
    if (len == 0 || run->len + len > MESSAGE_MAX)
        abort();
    memcpy(run->message + run->len, bytes, len);
    run->len += len;
}

static void begin_message(struct run *run)
{
    run->len = 0;
    run->mender = (struct smtp_mender){ .missing = { "Date: d\r\n", "Message-ID: <i>\r\n", "From: <f>\r\n" }, .single = true, .put = on_put, .arg = run };
}

static void check_message(struct run *run)
{
    static char wire[2 * MESSAGE_MAX + 8], back[2 * MESSAGE_MAX];
    struct smtp_parser strict;
    struct smtp_token token;
    bool at_line_start = true;
    size_t back_len = 0;
    if (run->len < 2 || memcmp(run->message + run->len - 2, "\r\n", 2) != 0) /* BDAT may end anywhere; the client of the next hop adds it */
        on_put(run, "\r\n", 2);
    size_t len = smtp_dot_stuff(wire, run->message, run->len, &at_line_start);
    memcpy(wire + len, ".\r\n", 3);
    len += 3;
    smtp_parser_init(&strict, 64, SMTP_TEXT_LINE_MAX + 2);
    smtp_parser_enter_data(&strict);
    for (size_t pos = 0;;) {
        pos += smtp_parser_next(&strict, wire + pos, len - pos, &token);
        if (token.event == SMTP_END_OF_DATA) {
            if (pos != len)
                abort(); /* smuggled */
            break;
        }
        if (token.event != SMTP_BODY)
            abort();
        memcpy(back + back_len, token.bytes, token.len);
        back_len += token.len;
    }
    if (strict.violations != 0 || back_len != run->len || memcmp(back, run->message, back_len) != 0)
        abort();
    fold(run, run->message, run->len);
}

static void on_token(struct run *run, const struct smtp_token *token)
{
    struct smtp_command command;
    switch (token->event) {
    case SMTP_NEED_MORE:
        return;
    case SMTP_BODY:
        if (token->len == 0)
            abort();
        smtp_mender_feed(&run->mender, token->bytes, token->len);
        return;
    case SMTP_END_OF_DATA:
        if (run->parser.violations != 0)
            abort();
        fold(run, &run->parser.eightbit, 1);
        if (run->in_message)
            return;
        smtp_mender_finish(&run->mender);
        check_message(run);
        return;
    case SMTP_BAD_LINE:
        fold(run, token->bytes, token->len);
        return;
    case SMTP_COMMAND:
        fold(run, token->bytes, token->len);
        if (smtp_command_parse_lenient(&command, token->bytes, token->len, true, "site.test").code != 0)
            return;
        if (command.verb == SMTP_VERB_DATA) {
            smtp_parser_enter_data(&run->parser);
            begin_message(run);
            run->in_message = false;
        } else if (command.verb == SMTP_VERB_BDAT) {
            smtp_parser_enter_bdat(&run->parser, command.size, !run->in_message);
            if (!run->in_message)
                begin_message(run);
            run->in_message = !command.last;
        }
    }
}

static void play(struct run *run, const uint8_t *data, size_t size, unsigned pattern)
{
    size_t start = 0, end = 0;
    run->hash = 14695981039346656037u;
    run->in_message = false;
    smtp_parser_init(&run->parser, 32, 60);
    run->parser.lenient = true;
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
    static struct run whole, pieces;
    if (size == 0 || size > 8192)
        return 0;
    play(&whole, data + 1, size - 1, 0);
    play(&pieces, data + 1, size - 1, data[0] | 256u);
    if (whole.hash != pieces.hash)
        abort();
    return 0;
}

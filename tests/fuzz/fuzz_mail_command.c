/*
 * fuzz_mail_command.c - a mail with a command: a known word, a token in its one spelling, and the same bytes mean the same twice
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/web/mail_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct mail_command *command)
{
    static const char *const words[] = { "list", "release", "delete", "safe", "block", "spam", "ham" };
    char again[TOKEN_LEN + 1];
    bool known = false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        known |= strcmp(words[i], command->word) == 0;
    if (!known)
        abort();
    if (command->has_token && (!token_parse(again, command->token, strlen(command->token)) || strcmp(again, command->token) != 0))
        abort();
}

/* The first line is the address's local part. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mime_parser *parser;
    struct mail_command first, second;
    if (parser == NULL)
        parser = mime_parser_new(&(struct mime_limits){ .depth = 10, .parts = 50, .headers = 200, .header_bytes = 8192, .words = 100, .decoded = 1 << 20, .text = 1 << 15 });
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t len = end != NULL ? (size_t)(end - data) : 0, rest = end != NULL ? size - len - 1 : size;
    char *local = malloc(len + 1), *copy = malloc(rest + 1); /* exact at its end */
    if (len > 0)
        memcpy(local, data, len);
    local[len] = '\0';
    if (rest > 0)
        memcpy(copy + 1, data + size - rest, rest);
    mail_command_read(&first, parser, local, copy + 1, rest);
    size_t attached_len = first.attached.len;
    char *attached = malloc(attached_len + 1);
    if (attached_len > 0)
        memcpy(attached, first.attached.bytes, attached_len);
    mail_command_read(&second, parser, local, copy + 1, rest);
    check(&first);
    if (first.automatic != second.automatic || first.has_token != second.has_token || strcmp(first.token, second.token) != 0 || strcmp(first.word, second.word) != 0 ||
        first.unusable != second.unusable || first.attached.len != second.attached.len || (attached_len > 0 && memcmp(attached, second.attached.bytes, attached_len) != 0))
        abort();
    if (first.attached.len > rest || (first.attached.len > 0 && first.unusable))
        abort(); /* decoding makes nothing longer */
    free(attached);
    free(local);
    free(copy);
    return 0;
}

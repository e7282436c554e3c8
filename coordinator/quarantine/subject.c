/*
 * subject.c - see subject.h
 */
#include "coordinator/quarantine/subject.h"
#include <string.h>
#include "common/memory.h"
#include "coordinator/text.h"

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

char *unhex(const char *hex, size_t *len)
{
    char *bytes = xmalloc(strlen(hex) / 2 + 1);
    *len = 0;
    for (; hex_digit(hex[0]) >= 0 && hex_digit(hex[1]) >= 0; hex += 2)
        bytes[(*len)++] = (char)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
    return bytes;
}

char *subject_decode(struct mime_parser *parser, const char *raw, size_t len)
{
    struct text field;
    text_init(&field);
    text_puts(&field, "Subject: ");
    text_add(&field, raw, len);
    text_puts(&field, "\r\n\r\n");
    const struct mime_message *message = mime_parse(parser, field.data, field.len);
    const struct mime_header *subject = mime_header(message, &message->parts[0], "Subject");
    char *words = subject != NULL ? text_copy(subject->value.bytes, subject->value.len) : xstrdup("");
    text_fini(&field);
    return words;
}

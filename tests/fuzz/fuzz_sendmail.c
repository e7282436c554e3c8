/*
 * fuzz_sendmail.c - whatever a program writes: the message has strict lines and no Bcc, every recipient is an address, and pieces of any size give
 * the same
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "deploy/sendmail/mail.h"
#include "edge/smtp/address.h"

static const struct mail_facts facts = { .from = "me@here.example", .name = "N\303\266", .domain = "here.example", .date = "D", .message_id = "I",
                                         .max_line = 78 };

static void read_lines(struct mail_lines *lines, const char *bytes, size_t len, size_t step)
{
    *lines = (struct mail_lines){ .max = 100000, .dot_ends = true };
    for (size_t at = 0; at < len; at += step)
        if (!mail_lines_add(lines, bytes + at, len - at < step ? len - at : step))
            break;
    mail_lines_finish(lines);
}

static void check_lines(const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        if (end == NULL || end == text + at || end[-1] != '\r')
            abort();
        size_t line = (size_t)(end - 1 - (text + at));
        if (line > facts.max_line || memchr(text + at, '\r', line) != NULL || memchr(text + at, '\0', line) != NULL)
            abort();
        at += line + 2;
    }
}

static void check_header(const struct text *header)
{
    for (size_t at = 0; at + 4 < header->len; at++)
        if ((at == 0 || header->bytes[at - 1] == '\n') && strncasecmp(header->bytes + at, "Bcc:", 4) == 0)
            abort();
}

static void check_recipients(const struct recipients *recipients)
{
    for (size_t i = 0; i < recipients->count; i++) {
        struct smtp_address address;
        const char *text = recipients->items[i].address;
        if (recipients->items[i].state == RECIPIENT_PENDING && smtp_mailbox_parse(&address, text, strlen(text), true) != SMTP_ADDRESS_OK)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mail_lines whole, pieces;
    struct recipients recipients = { 0 };
    struct mail mail;
    read_lines(&whole, (const char *)data, size, size + 1);
    read_lines(&pieces, (const char *)data, size, 1);
    if (whole.too_large != pieces.too_large || whole.text.len != pieces.text.len ||
        (whole.text.len > 0 && memcmp(whole.text.bytes, pieces.text.bytes, whole.text.len) != 0))
        abort();
    if (!whole.too_large) {
        mail_make(&mail, &whole, &facts, &recipients);
        check_lines(mail.header.bytes, mail.header.len);
        check_lines(mail.body, mail.body_len);
        check_header(&mail.header);
        check_recipients(&recipients);
        mail_fini(&mail);
        recipients_fini(&recipients);
    }
    text_fini(&whole.text);
    text_fini(&pieces.text);
    return 0;
}

/*
 * mail_command.c - see mail_command.h
 */
#include "coordinator/web/mail_command.h"
#include <string.h>
#include <strings.h>
#include "scanner/mime/html.h"

#define LINES_MOST 20

static const char *const words[] = { "list", "release", "delete", "safe", "block", "spam", "ham" };

static struct mime_span cut_word(struct mime_span *rest)
{
    size_t len = 0;
    *rest = mime_span_trim(*rest);
    while (len < rest->len && strchr(" \t\r\n", rest->bytes[len]) == NULL)
        len++;
    struct mime_span word = { rest->bytes, len };
    rest->bytes += len;
    rest->len -= len;
    return word;
}

/* "Re:", or a tag of an edge's, as "[SPAM]". */
static bool is_before(struct mime_span word)
{
    return word.len > 1 && ((word.len <= 5 && word.bytes[word.len - 1] == ':') || (word.bytes[0] == '[' && word.bytes[word.len - 1] == ']'));
}

/* "release", perhaps with a token behind it, perhaps behind what is_before(). */
static bool read_line(struct mail_command *command, struct mime_span line)
{
    struct mime_span word = cut_word(&line);
    while (is_before(word))
        word = cut_word(&line);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!mime_span_is(word, words[i]))
            continue;
        struct mime_span token = cut_word(&line);
        strcpy(command->word, words[i]);
        if (!command->has_token)
            command->has_token = token_parse(command->token, token.bytes, token.len);
        return true;
    }
    return false;
}

static bool field_is(const struct mime_message *message, const char *name, const char *const *values)
{
    const struct mime_header *field = mime_header(message, &message->parts[0], name);
    for (; field != NULL && *values != NULL; values++)
        if (mime_span_is(mime_span_trim(field->value), *values))
            return true;
    return false;
}

/* RFC 3834 5, and what was usual before it. */
static bool is_automatic(const struct mime_message *message)
{
    static const char *const no[] = { "no", NULL }, *const bulk[] = { "bulk", "list", "junk", "auto_reply", NULL };
    const struct mime_part *top = &message->parts[0];
    bool said = mime_header(message, top, "Auto-Submitted") != NULL && !field_is(message, "Auto-Submitted", no);
    return said || mime_header(message, top, "List-Id") != NULL || mime_type_is(top, "multipart", "report") || field_is(message, "Precedence", bulk);
}

static void read_text(struct mail_command *command, struct mime_span text)
{
    for (size_t lines = 0; text.len > 0 && lines < LINES_MOST; lines++) {
        const char *end = memchr(text.bytes, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.bytes) : text.len, step = end != NULL ? len + 1 : len;
        struct mime_span line = mime_span_trim((struct mime_span){ text.bytes, len });
        if (line.len > 0 && line.bytes[0] != '>') {
            read_line(command, line);
            return;
        }
        text.bytes += step;
        text.len -= step;
    }
}

/* A message that is attached, decoded where it had to be; a multipart has no encoding (RFC 2045 6.4), so of one that says so nobody knows what it is. */
static bool is_message(const struct mime_message *message, size_t part)
{
    for (int32_t at = message->parts[part].parent; at >= 0; at = message->parts[at].parent)
        if (message->parts[at].encoding != MIME_IDENTITY)
            return false;
    return message->parts[part].message.len > 0;
}

/* Something else than what a mail says in its own words. */
static bool is_other(const struct mime_part *part)
{
    bool said = mime_type_is(part, "text", "plain") || mime_type_is(part, "text", "html");
    return mime_type_is(part, "message", NULL) || (!part->composite && (!said || part->file_name.len > 0 || mime_span_is(part->disposition, "attachment")));
}

static void find_attached(struct mail_command *command, const struct mime_message *message)
{
    for (size_t i = 0; i < message->part_count; i++)
        if (is_message(message, i)) {
            command->attached = message->parts[i].message;
            command->unusable = false;
            return;
        } else if (is_other(&message->parts[i])) {
            command->unusable = true;
        }
}

void mail_command_read(struct mail_command *command, struct mime_parser *parser, const char *local, const char *bytes, size_t len)
{
    const struct mime_message *message = mime_parse(parser, bytes, len);
    const struct mime_header *subject = mime_header(message, &message->parts[0], "Subject");
    const char *plus = strrchr(local, '+'), *token = plus != NULL ? plus + 1 : local;
    struct html html;
    *command = (struct mail_command){ .automatic = is_automatic(message), .word = "list" };
    find_attached(command, message);
    command->has_token = token_parse(command->token, token, strlen(token));
    if (subject != NULL && read_line(command, subject->value))
        return;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct mime_part *part = &message->parts[i];
        if (mime_type_is(part, "message", NULL))
            return; /* what follows is in it, and a stranger's words */
        if (part->composite || part->text.len == 0 || part->file_name.len > 0)
            continue;
        if (!mime_type_is(part, "text", "html")) {
            read_text(command, part->text);
        } else {
            html_read(parser, part->text, &html);
            read_text(command, html.text);
        }
        return;
    }
}

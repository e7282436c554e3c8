/*
 * reply.c - replies: writing ours, reading a next hop's, and what its EHLO reply offers
 */
#include "edge/smtp/reply.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "edge/smtp/text.h"

/* How much of a line of len bytes goes into one of most bytes: up to the last space where there is one, never a part of a character. */
static size_t line_that_fits(const char *text, size_t len, size_t most)
{
    if (len <= most)
        return len;
    for (size_t at = most; at > most / 2; at--)
        if (text[at] == ' ')
            return at;
    size_t at = most;
    while (at > most - 4 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

size_t smtp_reply_format(char *out, size_t cap, int code, const char *enhanced, const char *text)
{
    char prefix[32];
    int prefix_len = snprintf(prefix, sizeof prefix, "%03d-%s%s", code, enhanced != NULL ? enhanced : "",
                              enhanced != NULL ? " " : "");
    size_t head = prefix_len < (int)sizeof prefix ? (size_t)prefix_len : sizeof prefix - 1;
    size_t used = 0, last = 0;
    bool more = true;

    while (more) {
        size_t line = strcspn(text, "\n");
        size_t len = line_that_fits(text, line, SMTP_REPLY_OWN_LINE_MAX - head - 2);
        size_t room = cap - used;
        if (room < head + 2)
            break;
        bool cut = room < head + len + 2;
        if (cut && used > 0)
            break;
        size_t kept = cut ? room - head - 2 : len; /* one line is better than silence */
        last = used;
        memcpy(out + used, prefix, head);
        used += head;
        for (size_t i = 0; i < kept; i++)
            out[used++] = smtp_is_control(text[i]) ? '?' : text[i];
        out[used++] = '\r';
        out[used++] = '\n';
        more = text[len] != '\0' && !cut;
        text += len < line && text[len] != ' ' ? len : len + 1; /* the space or newline between two lines is not said */
    }
    if (used > 0)
        out[last + 3] = ' ';
    return used;
}

void smtp_reply_parser_init(struct smtp_reply_parser *parser)
{
    memset(parser, 0, sizeof *parser);
}

/* The length of "5.1.1" at the start of text when it is an enhanced code of the reply's class (RFC 2034 3), else 0. */
static size_t enhanced_len(const char *text, size_t len, int code)
{
    if (len < 5 || text[0] - '0' != code / 100 || text[0] == '3' || text[1] != '.')
        return 0;
    size_t pos = 2;
    for (int part = 0; part < 2; part++) {
        size_t digits = 0;
        while (pos + digits < len && digits < 3 && smtp_is_digit(text[pos + digits]))
            digits++;
        if (digits == 0)
            return 0;
        pos += digits;
        if (part == 0 && (pos == len || text[pos++] != '.'))
            return 0;
    }
    return pos == len || text[pos] == ' ' ? pos : 0;
}

static void extension_size(struct smtp_extensions *out, const char *value, size_t len)
{
    unsigned long long size = 0;
    for (size_t i = 0; i < len; i++) {
        if (!smtp_is_digit(value[i]))
            return;
        unsigned digit = (unsigned)(value[i] - '0');
        size = size > (UINT64_MAX - digit) / 10 ? UINT64_MAX : size * 10 + digit;
    }
    out->has_size = true;
    out->size = size;
}

static void extensions_add(struct smtp_extensions *out, const char *line, size_t len)
{
    static const struct {
        const char *keyword;
        size_t offset;
    } known[] = {
        { "PIPELINING", offsetof(struct smtp_extensions, pipelining) },
        { "8BITMIME", offsetof(struct smtp_extensions, eightbitmime) },
        { "SMTPUTF8", offsetof(struct smtp_extensions, smtputf8) },
        { "STARTTLS", offsetof(struct smtp_extensions, starttls) },
        { "CHUNKING", offsetof(struct smtp_extensions, chunking) },
        { "ENHANCEDSTATUSCODES", offsetof(struct smtp_extensions, enhanced_status) },
        { "DSN", offsetof(struct smtp_extensions, dsn) },
    };
    const char *space = memchr(line, ' ', len);
    size_t word = space != NULL ? (size_t)(space - line) : len;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (word == strlen(known[i].keyword) && strncasecmp(line, known[i].keyword, word) == 0)
            *(bool *)((char *)out + known[i].offset) = true;
    const char *value = line + (len > word ? word + 1 : word);
    size_t value_len = len > word ? len - word - 1 : 0;
    if (word == 4 && strncasecmp(line, "SIZE", 4) == 0)
        extension_size(out, value, value_len);
    if (word == 5 && strncasecmp(line, "XWEIR", 5) == 0 && value_len < sizeof out->cluster) {
        memcpy(out->cluster, value, value_len);
        out->cluster[value_len] = '\0';
    }
}

static void reply_add_line(struct smtp_reply_parser *parser, const char *text, size_t len)
{
    struct smtp_reply *reply = &parser->reply;
    size_t enhanced = enhanced_len(text, len, reply->code);
    if (enhanced > 0) {
        if (reply->enhanced[0] == '\0') {
            memcpy(reply->enhanced, text, enhanced); /* at most 1 + 1 + 3 + 1 + 3 */
            reply->enhanced[enhanced] = '\0';
        }
        size_t space = enhanced < len;
        text += enhanced + space;
        len -= enhanced + space;
    }
    if (reply->code == 250 && parser->lines > 1) /* the first one greets */
        extensions_add(&reply->extensions, text, len);
    size_t room = sizeof reply->text - 1 - parser->text_len;
    if (parser->lines > 1 && room > 0) {
        reply->text[parser->text_len++] = '\n';
        room--;
    }
    for (size_t i = 0; i < len && i < room; i++)
        reply->text[parser->text_len++] = smtp_is_control(text[i]) ? '?' : text[i];
    reply->text[parser->text_len] = '\0';
}

/* One line without its end. False: not a reply line, or not of this reply. */
static bool reply_line(struct smtp_reply_parser *parser, const char *line, size_t len, bool *last)
{
    if (len < 3 || !smtp_is_digit(line[0]) || !smtp_is_digit(line[1]) || !smtp_is_digit(line[2]))
        return false;
    int code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
    if (code < 200 || code > 599 || (parser->lines > 0 && code != parser->reply.code))
        return false;
    if (len > 3 && line[3] != ' ' && line[3] != '-')
        return false;
    if (++parser->lines > SMTP_REPLY_LINES_MAX)
        return false;
    parser->reply.code = code;
    *last = len == 3 || line[3] == ' ';
    reply_add_line(parser, len > 3 ? line + 4 : line + len, len > 3 ? len - 4 : 0);
    return true;
}

enum smtp_reply_status smtp_reply_parser_next(struct smtp_reply_parser *parser, const char *buf, size_t len,
                                              size_t *used)
{
    *used = 0;
    while (*used < len) {
        const char *line = buf + *used;
        size_t rest = len - *used;
        const char *lf = memchr(line, '\n', rest < SMTP_REPLY_LINE_MAX ? rest : SMTP_REPLY_LINE_MAX);
        if (lf == NULL)
            return rest < SMTP_REPLY_LINE_MAX ? SMTP_REPLY_MORE : SMTP_REPLY_BROKEN;
        size_t line_len = (size_t)(lf - line);
        *used += line_len + 1;
        if (line_len > 0 && line[line_len - 1] == '\r')
            line_len--;
        bool last;
        if (!reply_line(parser, line, line_len, &last))
            return SMTP_REPLY_BROKEN;
        if (last)
            return SMTP_REPLY_DONE;
    }
    return SMTP_REPLY_MORE;
}

size_t smtp_dot_stuff(char *out, const char *data, size_t len, bool *at_line_start)
{
    size_t written = 0;
    for (size_t pos = 0; pos < len;) {
        if (*at_line_start && data[pos] == '.')
            out[written++] = '.';
        const char *lf = memchr(data + pos, '\n', len - pos);
        size_t end = lf != NULL ? (size_t)(lf - data) + 1 : len;
        memcpy(out + written, data + pos, end - pos);
        written += end - pos;
        *at_line_start = lf != NULL;
        pos = end;
    }
    return written;
}

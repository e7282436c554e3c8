/* mail.c - see mail.h */
#include "deploy/sendmail/mail.h"
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/memory.h"

/* ---- lines ---- */

static bool end_line(struct mail_lines *lines)
{
    if (lines->dot_ends && lines->text.len - lines->line_start == 1 && lines->text.bytes[lines->line_start] == '.') {
        lines->text.len = lines->line_start;
        lines->ended = true;
        return false;
    }
    text_add(&lines->text, "\r\n", 2);
    lines->line_start = lines->text.len;
    return true;
}

bool mail_lines_add(struct mail_lines *lines, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t plain = 0;
        while (i + plain < len && bytes[i + plain] != '\r' && bytes[i + plain] != '\n' && bytes[i + plain] != '\0')
            plain++;
        if (plain > 0) {
            text_add(&lines->text, bytes + i, plain);
            lines->after_cr = false;
            i += plain;
        } else {
            char byte = bytes[i++];
            bool second = byte == '\n' && lines->after_cr; /* the LF of a CRLF whose CR ended the line already */
            if (byte == '\0')
                continue;
            lines->after_cr = byte == '\r';
            if (!second && !end_line(lines))
                return false;
        }
        if (lines->text.len > lines->max) {
            lines->too_large = true;
            return false;
        }
    }
    return true;
}

void mail_lines_finish(struct mail_lines *lines)
{
    if (!lines->ended && lines->text.len > lines->line_start)
        end_line(lines);
}

/* ---- long lines ---- */

/* Where a line that is too long is cut: at white space in a header, where that is folding; else anywhere but inside a character. */
static size_t cut(const char *line, size_t max, bool header)
{
    if (header)
        for (size_t at = max; at > 1; at--)
            if (line[at] == ' ' || line[at] == '\t')
                return at;
    for (size_t at = max; at > 1 && max - at < 4; at--)
        if (((unsigned char)line[at] & 0xc0) != 0x80)
            return at;
    return max;
}

/* Adds text with lines of at most max bytes. What follows a cut begins with white space, so that it is no header, dot or boundary. */
static void add_lines(struct text *out, const char *text, size_t len, size_t max, bool header)
{
    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        size_t whole = newline != NULL ? (size_t)(newline - text) + 1 : len, line = whole - 2; /* every line ends in CRLF */
        bool continued = false;
        while (max > 0 && line + continued > max) {
            size_t at = cut(text, max - continued, header);
            if (continued)
                text_add(out, " ", 1);
            text_add(out, text, at);
            text_add(out, "\r\n", 2);
            continued = text[at] != ' ' && text[at] != '\t';
            text += at, line -= at, len -= at;
        }
        if (continued)
            text_add(out, " ", 1);
        text_add(out, text, line + 2);
        text += line + 2, len -= line + 2;
    }
}

static bool has_longer_line(const char *text, size_t len, size_t max)
{
    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        size_t whole = newline != NULL ? (size_t)(newline - text) + 1 : len;
        if (whole > max + 2)
            return true;
        text += whole, len -= whole;
    }
    return false;
}

/* ---- header ---- */

enum { FROM = 1, DATE = 2, MESSAGE_ID = 4, TO = 8, RESENT_TO = 16, DROPPED = 32 };

static const struct {
    const char *name;
    unsigned is;
} fields[] = {
    { "from", FROM }, { "date", DATE }, { "message-id", MESSAGE_ID }, { "to", TO }, { "cc", TO }, { "bcc", TO | DROPPED },
    { "resent-to", RESENT_TO }, { "resent-cc", RESENT_TO }, { "resent-bcc", RESENT_TO | DROPPED }, { "return-path", DROPPED },
};

struct field {
    const char *bytes; /* with all its lines and their CRLFs */
    size_t len, value; /* value: where it begins, behind the colon */
    unsigned is;
};

/* Length of a field's name with the colon and the white space that old programs put before it; 0: no field begins here. */
static size_t name_length(const char *line, size_t len, size_t *name)
{
    size_t i = 0;
    while (i < len && line[i] > ' ' && line[i] < 0x7f && line[i] != ':')
        i++;
    *name = i;
    while (i < len && (line[i] == ' ' || line[i] == '\t'))
        i++;
    return *name > 0 && i < len && line[i] == ':' ? i + 1 : 0;
}

static unsigned kind_of(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strlen(fields[i].name) == len && strncasecmp(fields[i].name, name, len) == 0)
            return fields[i].is;
    return 0;
}

/* One field at text with its continuation lines. false: the header is over. */
static bool read_field(struct field *field, const char *text, size_t len)
{
    size_t name;
    const char *end = memchr(text, '\n', len);
    size_t line = end != NULL ? (size_t)(end - text) + 1 : len;
    field->value = name_length(text, line, &name);
    if (field->value == 0)
        return false;
    while (line < len && (text[line] == ' ' || text[line] == '\t')) {
        end = memchr(text + line, '\n', len - line);
        line = end != NULL ? (size_t)(end - text) + 1 : len;
    }
    field->bytes = text;
    field->len = line;
    field->is = kind_of(text, name);
    return true;
}

/* ---- the name in a From that we make ---- */

static bool is_plain(const char *name)
{
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < ' ' || (unsigned char)*name >= 0x7f)
            return false;
    return true;
}

static void add_quoted(struct text *out, const char *name)
{
    text_add(out, "\"", 1);
    for (; *name != '\0'; name++) {
        if (*name == '"' || *name == '\\')
            text_add(out, "\\", 1);
        text_add(out, name, 1);
    }
    text_add(out, "\"", 1);
}

/* RFC 2047, at most 45 bytes a word, whole characters; control bytes become blanks. */
static void add_encoded(struct text *out, const char *name)
{
    for (size_t len = strlen(name), at = 0; at < len;) {
        unsigned char piece[45], encoded[64];
        size_t size = len - at < sizeof piece ? len - at : sizeof piece;
        while (at + size < len && size > 1 && ((unsigned char)name[at + size] & 0xc0) == 0x80)
            size--;
        for (size_t i = 0; i < size; i++)
            piece[i] = (unsigned char)name[at + i] < ' ' || name[at + i] == 0x7f ? ' ' : (unsigned char)name[at + i];
        EVP_EncodeBlock(encoded, piece, (int)size);
        text_add_string(out, at > 0 ? "\r\n =?utf-8?B?" : "=?utf-8?B?");
        text_add_string(out, (const char *)encoded);
        text_add_string(out, "?=");
        at += size;
    }
}

static void add_from(struct text *out, const struct mail_facts *facts)
{
    text_add_string(out, "From: ");
    if (facts->name[0] != '\0') {
        if (is_plain(facts->name))
            add_quoted(out, facts->name);
        else
            add_encoded(out, facts->name);
        text_add_string(out, " ");
    }
    text_add_string(out, "<");
    text_add_string(out, facts->from);
    text_add_string(out, ">\r\n");
}

static void add_missing(struct text *out, const struct mail_facts *facts, unsigned seen)
{
    if (!(seen & FROM))
        add_from(out, facts);
    if (!(seen & DATE)) {
        text_add_string(out, "Date: ");
        text_add_string(out, facts->date);
        text_add_string(out, "\r\n");
    }
    if (!(seen & MESSAGE_ID)) {
        text_add_string(out, "Message-ID: <");
        text_add_string(out, facts->message_id);
        text_add_string(out, ">\r\n");
    }
}

/* Recipients in the header: of To, or of Resent-To. */
static void add_recipients(struct recipients *recipients, const char *text, size_t len, unsigned which, const char *domain)
{
    struct field field;
    while (len > 0 && read_field(&field, text, len)) {
        if (field.is & which)
            recipients_add(recipients, field.bytes + field.value, field.len - field.value, domain);
        text += field.len, len -= field.len;
    }
}

static bool is_eightbit(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80)
            return true;
    return false;
}

void mail_make(struct mail *mail, const struct mail_lines *lines, const struct mail_facts *facts, struct recipients *recipients)
{
    const char *text = lines->text.bytes;
    size_t len = lines->text.len;
    struct field field;
    unsigned seen = 0;

    *mail = (struct mail){ 0 };
    if (len > 5 && memcmp(text, "From ", 5) == 0) { /* as mailbox files and some programs have it */
        const char *second = (const char *)memchr(text, '\n', len) + 1;
        len -= (size_t)(second - text), text = second;
    }
    const char *header = text;
    while (len > 0 && read_field(&field, text, len)) {
        if (!(field.is & DROPPED))
            add_lines(&mail->header, field.bytes, field.len, facts->max_line, true);
        seen |= field.is;
        text += field.len, len -= field.len;
    }
    if (recipients != NULL)
        add_recipients(recipients, header, (size_t)(text - header), seen & RESENT_TO ? RESENT_TO : TO, facts->domain);
    add_missing(&mail->header, facts, seen);
    text_add_string(&mail->header, "\r\n");

    if (len >= 2 && memcmp(text, "\r\n", 2) == 0) /* the empty line; without one the body begins with what is no header */
        text += 2, len -= 2;
    if (facts->max_line > 0 && has_longer_line(text, len, facts->max_line)) {
        add_lines(&mail->broken, text, len, facts->max_line, false);
        text = mail->broken.bytes, len = mail->broken.len;
    }
    mail->body = text;
    mail->body_len = len;
    mail->eightbit = is_eightbit(mail->header.bytes, mail->header.len) || is_eightbit(text, len);
}

void mail_fini(struct mail *mail)
{
    text_fini(&mail->header);
    text_fini(&mail->broken);
    *mail = (struct mail){ 0 };
}

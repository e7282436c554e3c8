/*
 * edit.c - the header of a message without foreign fields about spam, and with a tagged Subject: see fields.h
 *
 * Fields are lines with what continues them; everything else, and their order, stays byte for byte.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/memory.h"
#include "edge/spam/fields.h"

#define SUBJECT_MAX 8192   /* of a decoded one: where the tag may stand */
#define FIRST_LINE_MAX 900 /* a longer line is not made longer (RFC 5322 2.1.1) */

size_t header_length(const char *bytes, size_t len)
{
    if (len >= 2 && bytes[0] == '\r' && bytes[1] == '\n')
        return 2;
    const char *end = memmem(bytes, len, "\r\n\r\n", 4);
    return end != NULL ? (size_t)(end - bytes) + 4 : len;
}

/* The line at the beginning, with its line end. */
static size_t line_length(const char *text, size_t len)
{
    const char *end = memmem(text, len, "\r\n", 2);
    return end != NULL ? (size_t)(end - text) + 2 : len;
}

size_t field_length(const char *text, size_t len)
{
    size_t all = line_length(text, len);
    while (all < len && (text[all] == ' ' || text[all] == '\t'))
        all += line_length(text + all, len - all);
    return all;
}

const char *field_body(const char *field, size_t len, const char *name)
{
    size_t n = strlen(name);
    if (len <= n || strncasecmp(field, name, n) != 0)
        return NULL;
    while (n < len && (field[n] == ' ' || field[n] == '\t'))
        n++;
    return n < len && field[n] == ':' ? field + n + 1 : NULL;
}

/* ---- Authentication-Results ---- */

static const char *skip_comments(const char *at, const char *end)
{
    int depth = 0;
    for (; at < end; at++) {
        if (*at == '\\' && depth > 0)
            at++;
        else if (*at == '(')
            depth++;
        else if (*at == ')' && depth > 0)
            depth--;
        else if (depth == 0 && strchr(" \t\r\n\"", *at) == NULL)
            return at;
    }
    return end;
}

/* Says that it is ours (RFC 8601 5). One that cannot be read so is not, to nobody. A quoted name may have quoted pairs (RFC 5322 3.2.4), others no backslash. */
static bool is_ours(const char *body, const char *end, const char *id)
{
    const char *at = skip_comments(body, end);
    for (; *id != '\0'; id++, at++) {
        at += at < end && *at == '\\';
        if (at >= end || strncasecmp(at, id, 1) != 0)
            return false;
    }
    return at == end || strchr("; \t\r\n\"(/", *at) != NULL;
}

/* ---- Subject ---- */

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

static int hex_value(char c)
{
    static const char digits[] = "0123456789ABCDEFabcdef";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at == NULL ? -1 : at - digits < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

static size_t decode_q(char *out, size_t room, const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < room; i++) {
        bool coded = text[i] == '=' && i + 2 < len && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0;
        out[n++] = coded ? (char)(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2])) : text[i] == '_' ? ' ' : text[i];
        i += coded ? 2 : 0;
    }
    return n;
}

static size_t decode_b(char *out, size_t room, const char *text, size_t len)
{
    size_t n = 0;
    unsigned bits = 0, have = 0;
    for (size_t i = 0; i < len && n < room; i++) {
        int value = base64_value(text[i]);
        if (value < 0)
            continue;
        bits = bits << 6 | (unsigned)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have);
        }
    }
    return n;
}

/* An encoded word at the beginning (RFC 2047 2): its length, else 0. The bytes are those of its charset: a tag is ASCII, which most have. */
static size_t decode_word(char *out, size_t room, size_t *made, const char *text, size_t len)
{
    if (len < 8 || text[0] != '=' || text[1] != '?')
        return 0;
    const char *charset = text + 2, *end = text + len, *kind = memchr(charset, '?', (size_t)(end - charset));
    if (kind == NULL || end - kind < 5 || kind[2] != '?' || strchr("bBqQ", kind[1]) == NULL)
        return 0;
    const char *data = kind + 3, *stop = memmem(data, (size_t)(end - data), "?=", 2);
    if (stop == NULL || memchr(data, ' ', (size_t)(stop - data)) != NULL)
        return 0;
    *made = (kind[1] | 0x20) == 'q' ? decode_q(out, room, data, (size_t)(stop - data)) : decode_b(out, room, data, (size_t)(stop - data));
    return (size_t)(stop + 2 - text);
}

/* It was tagged before, perhaps by another relay, and perhaps encoded since. */
static bool has_tag(const char *body, size_t len, const char *tag)
{
    char text[SUBJECT_MAX];
    size_t n = 0;
    for (size_t i = 0; i < len && n < sizeof text;) {
        size_t made = 0, word = decode_word(text + n, sizeof text - n, &made, body + i, len - i);
        if (word > 0)
            n += made, i += word;
        else if (body[i] == '\r' || body[i] == '\n')
            i++;
        else
            text[n++] = body[i++];
    }
    return memmem(text, n, tag, strlen(tag)) != NULL;
}

/* ---- the header ---- */

struct edited {
    char *bytes;
    size_t len;
};

static void append(struct edited *out, const char *bytes, size_t len)
{
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

/* The tag is a word of its own, so an encoded word behind it stays one. */
static void append_tagged(struct edited *out, const char *field, const char *body, size_t len, const char *tag)
{
    append(out, field, (size_t)(body - field));
    append(out, " ", 1);
    append(out, tag, strlen(tag));
    size_t rest = len - (size_t)(body - field);
    if (line_length(body, rest) > FIRST_LINE_MAX)
        append(out, "\r\n", 2);
    if (rest > 0 && *body != ' ' && *body != '\t' && *body != '\r') /* a header may end behind the colon */
        append(out, " ", 1);
    append(out, body, rest);
}

static bool is_dropped(const struct header_edit *edit, const char *field, size_t len)
{
    const char *body = field_body(field, len, "Authentication-Results");
    if (edit->drop_spam && len > 7 && strncasecmp(field, "X-Spam-", 7) == 0)
        return true;
    for (size_t i = 0; body != NULL && i < sizeof edit->names / sizeof *edit->names; i++)
        if (edit->names[i] != NULL && is_ours(body, field + len, edit->names[i]))
            return true;
    for (const char *const *other = edit->others; body != NULL && other != NULL && *other != NULL; other++)
        if (is_ours(body, field + len, *other))
            return true;
    return false;
}

#define TAGS (sizeof((struct header_edit *)0)->tags / sizeof *((struct header_edit *)0)->tags)

/* The tags that the Subject is to get and has not yet, as one text; malloced; NULL: none. Of several Subjects the first one is looked at: which of two counts is
 * anybody's guess. */
static char *missing_tags(const struct header_edit *edit, const char *header, size_t len, bool *has_subject)
{
    bool is_signed = false;
    const char *subject = NULL, *end = NULL;
    char *out = NULL;
    for (size_t at = 0, n; at < len; at += n) {
        n = field_length(header + at, len - at);
        const char *body = field_body(header + at, n, "Subject");
        is_signed |= field_body(header + at, n, "DKIM-Signature") != NULL;
        if (body != NULL && subject == NULL)
            subject = body, end = header + at + n;
    }
    *has_subject = subject != NULL;
    for (size_t i = 0; i < TAGS && (!is_signed || edit->tag_signed); i++) {
        const char *tag = edit->tags[i];
        if (tag == NULL || *tag == '\0' || (subject != NULL && has_tag(subject, (size_t)(end - subject), tag)))
            continue;
        char *longer = out == NULL ? xstrdup(tag) : xasprintf("%s %s", out, tag);
        free(out);
        out = longer;
    }
    return out;
}

char *header_edit(const struct header_edit *edit, const char *header, size_t len, size_t *out_len)
{
    bool has_subject;
    char *tag = missing_tags(edit, header, len, &has_subject);
    bool tags = tag != NULL, changed = tags;
    struct edited out = { .bytes = xmalloc(len + (tags ? strlen(tag) : 0) + 32) };
    if (tags && !has_subject) {
        append(&out, "Subject: ", 9);
        append(&out, tag, strlen(tag));
        append(&out, "\r\n", 2);
        tags = false;
    }
    for (size_t at = 0, n; at < len; at += n) {
        n = field_length(header + at, len - at);
        const char *field = header + at, *subject = tags ? field_body(field, n, "Subject") : NULL;
        if (is_dropped(edit, field, n)) {
            changed = true;
        } else if (subject != NULL) {
            append_tagged(&out, field, subject, n, tag);
            tags = false;
        } else {
            append(&out, field, n);
        }
    }
    free(tag);
    if (changed) {
        *out_len = out.len;
        return out.bytes;
    }
    free(out.bytes);
    return NULL;
}

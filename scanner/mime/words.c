/* words.c - the text of a header field: unfolded, and its encoded words decoded (RFC 2047) */
#include "scanner/mime/parts.h"

struct word {
    struct mime_span charset, text;
    bool base64;
    size_t len; /* of all of it, with "=?" and "?=" */
};

/* Behind the last "?=" of a field, or 0: nothing that begins later is a word, and to look for its end each time would cost the square of the field. */
static size_t last_end(struct mime_span in)
{
    size_t i = in.len;
    while (i >= 2 && !(in.bytes[i - 2] == '?' && in.bytes[i - 1] == '='))
        i--;
    return i >= 2 ? i : 0;
}

/* at stands on "=?"; last is last_end(in). Grammar of RFC 2047 2, with blanks allowed in the text: many write them. */
static bool word_read(struct mime_span in, size_t at, size_t last, struct word *word)
{
    size_t i = at + 2, start = i;
    while (i < in.len && in.bytes[i] != '?' && in.bytes[i] > ' ')
        i++;
    word->charset = (struct mime_span){ in.bytes + start, i - start };
    if (i == start || i + 3 >= in.len || in.bytes[i] != '?' || in.bytes[i + 2] != '?')
        return false;
    char encoding = lower(in.bytes[i + 1]);
    if (encoding != 'b' && encoding != 'q')
        return false;
    word->base64 = encoding == 'b';
    start = i += 3;
    if (start + 2 > last)
        return false;
    while (!(in.bytes[i] == '?' && in.bytes[i + 1] == '=')) /* it comes, before last */
        i++;
    word->text = (struct mime_span){ in.bytes + start, i - start };
    word->len = i + 2 - at;
    const char *language = memchr(word->charset.bytes, '*', word->charset.len); /* RFC 2231 5 */
    if (language != NULL)
        word->charset.len = (size_t)(language - word->charset.bytes);
    return true;
}

static struct mime_span word_bytes(struct mime_parser *parser, const struct word *word)
{
    bool bad = false;
    struct mime_span bytes;
    if (word->base64) {
        bytes = decode_base64(parser, word->text, &bad);
    } else {
        char *copy = arena_copy(&parser->arena, word->text.bytes, word->text.len);
        for (size_t i = 0; i < word->text.len; i++)
            if (copy[i] == '_')
                copy[i] = ' ';
        bytes = decode_qp(parser, (struct mime_span){ copy, word->text.len }, &bad);
    }
    if (bad)
        mime_note(parser, MIME_BAD_WORD);
    return bytes;
}

struct text {
    char *bytes;
    size_t len, room;
};

static void text_add(struct mime_parser *parser, struct text *text, struct mime_span more)
{
    if (text->room - text->len < more.len) {
        size_t room = text->room * 2 + more.len;
        char *bytes = arena_take(&parser->arena, room);
        if (text->len > 0)
            memcpy(bytes, text->bytes, text->len);
        text->bytes = bytes;
        text->room = room;
    }
    if (more.len > 0)
        memcpy(text->bytes + text->len, more.bytes, more.len);
    text->len += more.len;
}

/* The words that follow each other in one character set are one text: some encoders break within a character. */
static size_t words_run(struct mime_parser *parser, struct mime_span in, size_t at, size_t last, struct text *out)
{
    struct word word;
    struct text run = { 0 };
    struct mime_span charset = { "", 0 };
    size_t end = at;

    for (size_t next = at; next + 1 < in.len && in.bytes[next] == '=' && in.bytes[next + 1] == '?' && word_read(in, next, last, &word);) {
        if (parser->words >= parser->limits.words) {
            mime_note(parser, MIME_LIMIT_WORDS);
            break;
        }
        parser->words++;
        bool same = word.charset.len == charset.len && strncasecmp(word.charset.bytes, charset.bytes, charset.len) == 0;
        if (run.len > 0 && !same) {
            text_add(parser, out, charset_to_utf8(parser, charset, (struct mime_span){ run.bytes, run.len }, parser->limits.text));
            run.len = 0;
        }
        charset = word.charset;
        text_add(parser, &run, word_bytes(parser, &word));
        end = next = next + word.len;
        while (next < in.len && is_space(in.bytes[next])) /* white space between words is none (RFC 2047 6.2) */
            next++;
    }
    if (run.len > 0)
        text_add(parser, out, charset_to_utf8(parser, charset, (struct mime_span){ run.bytes, run.len }, parser->limits.text));
    return end - at;
}

static struct mime_span unfold(struct mime_parser *parser, struct mime_span raw)
{
    if (raw.len == 0 || memchr(raw.bytes, '\n', raw.len) == NULL)
        return raw;
    char *out = arena_take(&parser->arena, raw.len);
    size_t used = 0;
    for (size_t i = 0; i < raw.len; i++) /* the white space that begins the next line stays */
        if (raw.bytes[i] != '\n' && !(raw.bytes[i] == '\r' && i + 1 < raw.len && raw.bytes[i + 1] == '\n'))
            out[used++] = raw.bytes[i];
    arena_trim(&parser->arena, out, used);
    return (struct mime_span){ out, used };
}

struct mime_span words_decode(struct mime_parser *parser, struct mime_span raw)
{
    struct mime_span in = unfold(parser, mime_span_trim(raw));
    struct text out = { 0 };
    size_t plain = 0;

    if (!text_is_ascii(in) && !text_is_utf8(in)) {
        mime_note(parser, MIME_HEADER_8BIT);
        in = charset_to_utf8(parser, parser->default_charset, in, parser->limits.text);
    }
    const char *mark = in.len == 0 ? NULL : memmem(in.bytes, in.len, "=?", 2);
    if (mark == NULL)
        return in;
    size_t last = last_end(in);
    for (size_t i = (size_t)(mark - in.bytes); i < in.len;) {
        struct word word;
        bool begins = i + 1 < in.len && in.bytes[i] == '=' && in.bytes[i + 1] == '?' && parser->words < parser->limits.words;
        if (begins && !word_read(in, i, last, &word)) {
            mime_note(parser, MIME_BAD_WORD);
            begins = false;
        }
        if (!begins) {
            i++;
            continue;
        }
        text_add(parser, &out, (struct mime_span){ in.bytes + plain, i - plain });
        plain = i += words_run(parser, in, i, last, &out);
    }
    text_add(parser, &out, (struct mime_span){ in.bytes + plain, in.len - plain });
    return mime_span_trim((struct mime_span){ out.bytes, out.len });
}

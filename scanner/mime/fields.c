/* fields.c - a field with parameters: Content-Type and Content-Disposition (RFC 2045 5.1, 2183), long and foreign ones in pieces (RFC 2231) */
#include "scanner/mime/parts.h"

#define PIECES_MAX 64 /* of one parameter */

struct reader {
    struct mime_parser *parser;
    struct mime_span in;
    size_t at;
};

static void skip_blank(struct reader *r)
{
    while (r->at < r->in.len) {
        if (is_space(r->in.bytes[r->at])) {
            r->at++;
        } else if (r->in.bytes[r->at] == '(') { /* comments nest (RFC 5322 3.2.2) */
            size_t depth = 0;
            mime_note(r->parser, MIME_COMMENT);
            do {
                char c = r->in.bytes[r->at++];
                depth += c == '(' ? 1 : 0;
                depth -= c == ')' ? 1 : 0;
                if (c == '\\' && r->at < r->in.len)
                    r->at++;
            } while (depth > 0 && r->at < r->in.len);
        } else {
            return;
        }
    }
}

static bool is_token(char c)
{
    return (unsigned char)c > ' ' && c != 127 && memchr("()<>@,;:\\\"/[]?=", c, 15) == NULL;
}

static struct mime_span read_token(struct reader *r)
{
    size_t start = r->at;
    while (r->at < r->in.len && is_token(r->in.bytes[r->at]))
        r->at++;
    return (struct mime_span){ r->in.bytes + start, r->at - start };
}

static struct mime_span read_quoted(struct reader *r)
{
    char *out = arena_take(&r->parser->arena, r->in.len - r->at);
    size_t used = 0;
    bool closed = false;
    for (r->at++; r->at < r->in.len && !closed; r->at++) {
        char c = r->in.bytes[r->at];
        if (c == '"') {
            closed = true;
        } else if (c == '\\' && r->at + 1 < r->in.len) {
            out[used++] = r->in.bytes[++r->at];
        } else if (c != '\r' && c != '\n') {
            out[used++] = c;
        }
    }
    if (!closed)
        mime_note(r->parser, MIME_BAD_PARAMETER);
    arena_trim(&r->parser->arena, out, used);
    return (struct mime_span){ out, used };
}

/* Without quotes: a token, or whatever stands up to the next ';', as unquoted names with blanks are common. */
static struct mime_span read_bare(struct reader *r)
{
    size_t start = r->at;
    struct mime_span token = read_token(r);
    skip_blank(r);
    if (r->at == r->in.len || r->in.bytes[r->at] == ';')
        return token;
    mime_note(r->parser, MIME_BAD_PARAMETER);
    const char *stop = memchr(r->in.bytes + start, ';', r->in.len - start);
    r->at = stop == NULL ? r->in.len : (size_t)(stop - r->in.bytes);
    return mime_span_trim((struct mime_span){ r->in.bytes + start, r->at - start });
}

struct piece {
    struct mime_span name, value; /* name without its marks */
    int32_t number;               /* -1: the whole parameter */
    bool encoded;                 /* %XX */
};

/* "filename*1*": a name, the number of a piece, and whether it is encoded */
static void piece_name(struct piece *piece, struct mime_span name)
{
    piece->number = -1;
    piece->encoded = name.len > 0 && name.bytes[name.len - 1] == '*';
    name.len -= piece->encoded ? 1 : 0;
    const char *star = memrchr(name.bytes, '*', name.len);
    if (star != NULL && star > name.bytes) {
        size_t digits = (size_t)(name.bytes + name.len - star - 1);
        int32_t number = digits > 0 && digits <= 3 ? 0 : -1;
        for (size_t i = 1; number >= 0 && i <= digits; i++)
            number = star[i] >= '0' && star[i] <= '9' ? number * 10 + (star[i] - '0') : -1;
        if (number >= 0) {
            piece->number = number;
            name.len = (size_t)(star - name.bytes);
        }
    }
    piece->name = name;
}

static size_t read_pieces(struct reader *r, struct piece *pieces)
{
    size_t count = 0;
    for (;;) {
        skip_blank(r);
        while (r->at < r->in.len && r->in.bytes[r->at] == ';') {
            r->at++;
            skip_blank(r);
        }
        if (r->at == r->in.len || count == PIECES_MAX) {
            if (r->at < r->in.len)
                mime_note(r->parser, MIME_LIMIT_HEADER);
            return count;
        }
        struct mime_span name = read_token(r);
        skip_blank(r);
        if (name.len == 0 || r->at == r->in.len || r->in.bytes[r->at] != '=') {
            const char *stop = memchr(r->in.bytes + r->at, ';', r->in.len - r->at);
            mime_note(r->parser, MIME_BAD_PARAMETER);
            r->at = stop == NULL ? r->in.len : (size_t)(stop - r->in.bytes);
            continue;
        }
        r->at++;
        skip_blank(r);
        piece_name(&pieces[count], name);
        pieces[count].value = r->at < r->in.len && r->in.bytes[r->at] == '"' ? read_quoted(r) : read_bare(r);
        count++;
    }
}

static bool same_name(struct mime_span a, struct mime_span b)
{
    return a.len == b.len && strncasecmp(a.bytes, b.bytes, a.len) == 0;
}

static int hex(char c)
{
    c = lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t percent_decode(char *out, struct mime_span in)
{
    size_t used = 0;
    for (size_t i = 0; i < in.len; i++) {
        if (in.bytes[i] == '%' && i + 2 < in.len && hex(in.bytes[i + 1]) >= 0 && hex(in.bytes[i + 2]) >= 0) {
            out[used++] = (char)(hex(in.bytes[i + 1]) << 4 | hex(in.bytes[i + 2]));
            i += 2;
        } else {
            out[used++] = in.bytes[i];
        }
    }
    return used;
}

/* All pieces of a name, in the order of their numbers, become one value (RFC 2231 3, 4.1). */
static struct mime_span pieces_join(struct mime_parser *parser, const struct piece *pieces, size_t count, struct mime_span name, bool whole)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += same_name(pieces[i].name, name) ? pieces[i].value.len : 0;
    char *out = arena_take(&parser->arena, total);
    struct mime_span charset = { "", 0 };
    size_t used = 0;
    bool encoded = false;
    for (int32_t number = whole ? -1 : 0; number < PIECES_MAX; number++) {
        const struct piece *piece = NULL;
        for (size_t i = 0; i < count && piece == NULL; i++)
            if (same_name(pieces[i].name, name) && pieces[i].number == number && (!whole || pieces[i].encoded))
                piece = &pieces[i];
        if (piece == NULL)
            break;
        struct mime_span value = piece->value;
        if (piece->encoded && number <= 0) { /* charset'language'text */
            const char *first = memchr(value.bytes, '\'', value.len);
            const char *second = first == NULL ? NULL : memchr(first + 1, '\'', value.len - (size_t)(first + 1 - value.bytes));
            if (second != NULL) {
                charset = (struct mime_span){ value.bytes, (size_t)(first - value.bytes) };
                value = (struct mime_span){ second + 1, (size_t)(value.bytes + value.len - second - 1) };
            } else {
                mime_note(parser, MIME_BAD_PARAMETER);
            }
        }
        encoded |= piece->encoded;
        if (piece->encoded)
            used += percent_decode(out + used, value);
        else
            memcpy(out + used, value.bytes, value.len), used += value.len;
        if (whole)
            break;
    }
    struct mime_span text = { out, used };
    return encoded || !text_is_utf8(text) ? charset_to_utf8(parser, charset, text, parser->limits.text) : text;
}

static struct mime_span plain_value(struct mime_parser *parser, struct mime_span value)
{
    if (value.len > 3 && memmem(value.bytes, value.len, "=?", 2) != NULL)
        mime_note(parser, MIME_WORD_IN_PARAMETER);
    else if (text_is_ascii(value))
        return value;
    return words_decode(parser, value);
}

struct mime_span span_lower(struct mime_parser *parser, struct mime_span span)
{
    size_t i = 0;
    while (i < span.len && lower(span.bytes[i]) == span.bytes[i])
        i++;
    if (i == span.len)
        return span;
    char *copy = arena_copy(&parser->arena, span.bytes, span.len);
    for (; i < span.len; i++)
        copy[i] = lower(copy[i]);
    return (struct mime_span){ copy, span.len };
}

/* The forms of one parameter in order of trust: encoded whole, pieces, plain. More than one form is two names for different readers. */
static struct mime_span best_form(struct mime_parser *parser, const struct piece *pieces, size_t count, struct mime_span name)
{
    const struct piece *plain = NULL;
    bool whole = false, parts = false;
    for (size_t i = 0; i < count; i++) {
        if (!same_name(pieces[i].name, name))
            continue;
        whole |= pieces[i].number < 0 && pieces[i].encoded;
        parts |= pieces[i].number >= 0;
        if (pieces[i].number < 0 && !pieces[i].encoded && plain == NULL)
            plain = &pieces[i];
    }
    if (!whole && !parts)
        return plain_value(parser, plain->value);
    struct mime_span value = pieces_join(parser, pieces, count, name, whole);
    if ((plain != NULL || (whole && parts)) && !(plain != NULL && same_name(plain_value(parser, plain->value), value)))
        mime_note(parser, MIME_NAME_CONFLICT);
    return value;
}

static void check_duplicates(struct mime_parser *parser, const struct piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (pieces[i].number == pieces[k].number && pieces[i].encoded == pieces[k].encoded && same_name(pieces[i].name, pieces[k].name))
                mime_note(parser, MIME_DUPLICATE_PARAMETER);
}

void field_parse(struct mime_parser *parser, struct mime_span raw, struct mime_field *field)
{
    struct reader r = { .parser = parser, .in = raw };
    struct piece pieces[PIECES_MAX];
    skip_blank(&r);
    size_t start = r.at;
    while (r.at < raw.len && (is_token(raw.bytes[r.at]) || raw.bytes[r.at] == '/'))
        r.at++;
    field->value = span_lower(parser, (struct mime_span){ raw.bytes + start, r.at - start });
    field->count = 0;
    skip_blank(&r);
    if (r.at < raw.len && raw.bytes[r.at] != ';') /* read all the same: a forgotten ';' hides no boundary */
        mime_note(parser, MIME_BAD_PARAMETER);
    size_t count = read_pieces(&r, pieces);
    check_duplicates(parser, pieces, count);
    for (size_t i = 0; i < count && field->count < MIME_PARAMETERS_MAX; i++) {
        bool known = false;
        for (size_t k = 0; k < i && !known; k++)
            known = same_name(pieces[i].name, pieces[k].name);
        if (!known)
            field->parameters[field->count++] = (struct mime_parameter){ span_lower(parser, pieces[i].name), best_form(parser, pieces, count, pieces[i].name) };
    }
}

struct mime_span field_parameter(const struct mime_field *field, const char *name)
{
    for (size_t i = 0; i < field->count; i++)
        if (mime_span_is(field->parameters[i].name, name))
            return field->parameters[i].value;
    return (struct mime_span){ "", 0 };
}

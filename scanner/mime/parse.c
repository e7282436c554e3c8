/*
 * parse.c - headers and parts of a message, in one pass over its lines
 *
 * All boundaries that are open are looked for at once, so that a line is looked at once however deep the parts are. A part that was encoded and
 * holds a message is parsed from its decoded bytes, which are fewer than those that they came from.
 */
#include "common/memory.h"
#include "scanner/mime/parts.h"

#define LINE_MAX_BYTES 998
#define BOUNDARIES_MAX 128 /* the most that limits.depth can ask for */
#define RFC_BOUNDARY_MAX 70
#define END_OF_INPUT (-1)

struct boundary {
    const char *bytes;
    size_t len;
};

/* Where one buffer has been read to: the message's, or that of a decoded part. */
struct reader {
    struct mime_parser *parser;
    const char *at, *end;
    const char *stopped; /* where the line of the last boundary found begins */
    struct boundary open[BOUNDARIES_MAX];
    size_t open_count;
};

/* What ended a part: the place of its boundary among those open, or END_OF_INPUT. */
struct stop {
    int boundary;
    bool last; /* "--" behind it */
};

static struct stop parse_entity(struct reader *r, int32_t parent, uint32_t depth, struct mime_span default_type);

/* --- lines and boundaries --- */

static const char *line_end(const char *at, const char *end)
{
    const char *mark = memchr(at, '\n', (size_t)(end - at));
    return mark == NULL ? end : mark + 1;
}

static bool is_blank_line(const char *at, const char *next)
{
    return next - at == 1 ? *at == '\n' : next - at == 2 && at[0] == '\r' && at[1] == '\n';
}

/* Which open boundary a line is; innermost first. */
static bool match_boundary(struct reader *r, const char *at, const char *next, struct stop *stop)
{
    if (r->open_count == 0 || next - at < 2 || at[0] != '-' || at[1] != '-')
        return false;
    const char *end = next;
    while (end > at && is_space(end[-1])) /* RFC 2046 5.1.1: white space may follow */
        end--;
    size_t len = (size_t)(end - at) - (end - at >= 2 ? 2 : 0);
    for (size_t i = r->open_count; end - at >= 2 && i-- > 0;) {
        const struct boundary *open = &r->open[i];
        if (len < open->len || memcmp(at + 2, open->bytes, open->len) != 0)
            continue;
        if (len == open->len || (len == open->len + 2 && end[-1] == '-' && end[-2] == '-')) {
            *stop = (struct stop){ .boundary = (int)i, .last = len != open->len };
            r->stopped = at;
            return true;
        }
        mime_note(r->parser, MIME_BOUNDARY_PREFIX);
    }
    return false;
}

/* Moves to the line behind the next boundary, or to the end; body: what stands before it, without the line end that belongs to the boundary. */
static struct stop to_boundary(struct reader *r, struct mime_span *body)
{
    struct stop stop = { .boundary = END_OF_INPUT };
    const char *start = r->at, *at = r->at;
    if (r->open_count == 0)
        at = r->end;
    while (at < r->end) {
        const char *next = line_end(at, r->end);
        if (*at == '-' && match_boundary(r, at, next, &stop)) {
            r->at = next;
            const char *stop_at = at;
            if (stop_at > start)
                stop_at -= stop_at - start >= 2 && stop_at[-2] == '\r' ? 2 : 1;
            *body = (struct mime_span){ start, (size_t)(stop_at - start) };
            return stop;
        }
        at = next;
    }
    r->at = r->end;
    *body = (struct mime_span){ start, (size_t)(r->end - start) };
    return stop;
}

/* --- headers --- */

static void add_header(struct mime_parser *parser, struct mime_span name, struct mime_span raw)
{
    if (parser->message.header_count == parser->header_room) {
        parser->header_room = parser->header_room * 2 + 64;
        parser->headers = xrealloc(parser->headers, parser->header_room * sizeof *parser->headers);
    }
    parser->headers[parser->message.header_count++] = (struct mime_header){ .name = name, .raw = raw };
}

/* The end of a field: its first line and those that begin with white space. A line of nothing else ends the header for some readers. */
static const char *field_end(struct reader *r)
{
    const char *next = line_end(r->at, r->end);
    while (next < r->end && (*next == ' ' || *next == '\t')) {
        const char *after = line_end(next, r->end);
        if (mime_span_trim((struct mime_span){ next, (size_t)(after - next) }).len == 0)
            mime_note(r->parser, MIME_BAD_HEADER);
        next = after;
    }
    return next;
}

static bool is_name(struct mime_span name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.bytes[i] <= ' ' || name.bytes[i] == 127)
            return false;
    return name.len > 0;
}

/* Fields up to the empty line; a line that is no field belongs to the body, as if the empty line stood before it. true: a boundary came first. */
static bool parse_headers(struct reader *r, struct mime_part *part, struct stop *stop)
{
    struct mime_parser *parser = r->parser;
    const char *start = r->at;
    part->first_header = (uint32_t)parser->message.header_count;
    while (r->at < r->end) {
        const char *line = line_end(r->at, r->end);
        if (is_blank_line(r->at, line)) {
            r->at = line;
            return false;
        }
        if (*r->at == '-' && match_boundary(r, r->at, line, stop)) {
            mime_note(parser, MIME_NO_HEADER_END);
            r->at = line;
            return true;
        }
        const char *colon = memchr(r->at, ':', (size_t)(line - r->at));
        struct mime_span name = { r->at, colon == NULL ? 0 : (size_t)(colon - r->at) };
        while (name.len > 0 && (name.bytes[name.len - 1] == ' ' || name.bytes[name.len - 1] == '\t')) {
            mime_note(parser, MIME_BAD_HEADER);
            name.len--;
        }
        bool first = r->at == start;
        if (!is_name(name)) {
            mime_note(parser, first ? MIME_BAD_HEADER : MIME_NO_HEADER_END);
            bool envelope = first && line - r->at > 5 && (memcmp(r->at, "From ", 5) == 0 || memcmp(r->at, ">From", 5) == 0);
            if (!envelope) /* that of an mbox file is skipped */
                return false;
            r->at = line;
            continue;
        }
        const char *next = field_end(r);
        if ((size_t)(next - start) > parser->limits.header_bytes || parser->message.header_count >= parser->limits.headers) {
            mime_note(parser, MIME_LIMIT_HEADER);
            return false;
        }
        const char *end = next;
        if (end > colon + 1 && end[-1] == '\n')
            end -= end - colon > 2 && end[-2] == '\r' ? 2 : 1;
        add_header(parser, name, (struct mime_span){ colon + 1, (size_t)(end - colon - 1) });
        part->header_count++;
        r->at = next;
    }
    mime_note(parser, MIME_NO_HEADER_END);
    return false;
}

static const struct mime_header *find_once(struct mime_parser *parser, const struct mime_part *part, const char *name, enum mime_anomaly twice)
{
    const struct mime_header *found = NULL;
    size_t len = strlen(name);
    for (size_t i = 0; i < part->header_count; i++) {
        const struct mime_header *header = &parser->headers[part->first_header + i];
        if (header->name.len != len || lower(header->name.bytes[0]) != lower(name[0]) || !mime_span_is(header->name, name))
            continue;
        if (found != NULL)
            mime_note(parser, twice);
        else
            found = header;
    }
    return found;
}

static void take_type(struct mime_part *part, struct mime_span value)
{
    const char *slash = memchr(value.bytes, '/', value.len);
    size_t len = slash == NULL ? value.len : (size_t)(slash - value.bytes);
    part->type = (struct mime_span){ value.bytes, len };
    part->subtype = slash == NULL ? (struct mime_span){ "", 0 } : (struct mime_span){ slash + 1, value.len - len - 1 };
}

static bool is_type(struct mime_span value)
{
    const char *slash = value.len == 0 ? NULL : memchr(value.bytes, '/', value.len);
    return slash != NULL && slash > value.bytes && slash + 1 < value.bytes + value.len &&
           memchr(slash + 1, '/', (size_t)(value.bytes + value.len - slash - 1)) == NULL;
}

/* Content-Type, its boundary, and the file's name, which may stand in either of two fields. */
static struct mime_span describe(struct mime_parser *parser, struct mime_part *part, struct mime_span default_type)
{
    struct mime_field field = { .count = 0 };
    struct mime_span boundary = { "", 0 }, name = { "", 0 };
    const struct mime_header *type = find_once(parser, part, "Content-Type", MIME_DUPLICATE_TYPE);
    take_type(part, default_type);
    if (type != NULL) {
        field_parse(parser, type->raw, &field);
        if (is_type(field.value))
            take_type(part, field.value);
        else
            mime_note(parser, MIME_BAD_TYPE);
        boundary = field_parameter(&field, "boundary");
        part->charset = span_lower(parser, mime_span_trim(field_parameter(&field, "charset")));
        name = field_parameter(&field, "name");
    }
    const struct mime_header *disposition = find_once(parser, part, "Content-Disposition", MIME_DUPLICATE_TYPE);
    if (disposition != NULL) {
        field_parse(parser, disposition->raw, &field);
        part->disposition = field.value;
        part->file_name = field_parameter(&field, "filename");
    }
    if (name.len > 0 && part->file_name.len > 0 && (name.len != part->file_name.len || memcmp(name.bytes, part->file_name.bytes, name.len) != 0))
        mime_note(parser, MIME_NAME_CONFLICT);
    if (part->file_name.len == 0)
        part->file_name = name;
    return boundary;
}

static void take_encoding(struct mime_parser *parser, struct mime_part *part, bool *declared)
{
    static const struct {
        const char *name;
        enum mime_encoding encoding;
        bool eight_bits;
    } encodings[] = {
        { "7bit", MIME_IDENTITY, false },    { "8bit", MIME_IDENTITY, true },
        { "binary", MIME_IDENTITY, true },   { "base64", MIME_BASE64, true },
        { "quoted-printable", MIME_QP, true }, { "x-uuencode", MIME_UU, true },
        { "uuencode", MIME_UU, true },       { "x-uue", MIME_UU, true },
    };
    const struct mime_header *header = find_once(parser, part, "Content-Transfer-Encoding", MIME_DUPLICATE_TYPE);
    *declared = false;
    if (header == NULL)
        return;
    struct mime_field field;
    field_parse(parser, header->raw, &field);
    for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++)
        if (mime_span_is(field.value, encodings[i].name)) {
            part->encoding = encodings[i].encoding;
            *declared = encodings[i].eight_bits;
            return;
        }
    mime_note(parser, MIME_UNKNOWN_ENCODING);
}

static bool boundary_is_good(struct mime_span boundary)
{
    for (size_t i = 0; i < boundary.len; i++) {
        unsigned char c = (unsigned char)boundary.bytes[i];
        bool letter = (c >= '0' && c <= '9') || (lower((char)c) >= 'a' && lower((char)c) <= 'z');
        if (!letter && (c == 0 || memchr("'()+_,-./:=? ", c, 13) == NULL))
            return false;
    }
    return boundary.len <= RFC_BOUNDARY_MAX && boundary.bytes[boundary.len - 1] != ' ';
}

/* --- bodies --- */

static bool take_budget(struct mime_parser *parser, size_t bytes)
{
    if (parser->message.decoded + bytes > parser->limits.decoded) {
        mime_note(parser, MIME_LIMIT_DECODED);
        return false;
    }
    return true;
}

static void decode_body(struct mime_parser *parser, struct mime_part *part)
{
    bool bad = false;
    part->bytes = part->raw;
    if (part->encoding == MIME_IDENTITY || !take_budget(parser, part->raw.len))
        return;
    if (part->encoding == MIME_BASE64)
        part->bytes = decode_base64(parser, part->raw, &bad);
    else if (part->encoding == MIME_QP)
        part->bytes = decode_qp(parser, part->raw, &bad);
    if (bad)
        mime_note(parser, part->encoding == MIME_QP ? MIME_BAD_QP : MIME_BAD_BASE64);
    parser->message.decoded += part->encoding == MIME_UU ? 0 : part->bytes.len;
}

static struct mime_part *add_part(struct mime_parser *parser, int32_t parent, uint32_t depth)
{
    if (parser->message.part_count == parser->part_room) {
        parser->part_room = parser->part_room * 2 + 16;
        parser->parts = xrealloc(parser->parts, parser->part_room * sizeof *parser->parts);
    }
    struct mime_part *part = &parser->parts[parser->message.part_count++];
    static const struct mime_span none = { "", 0 };
    *part = (struct mime_part){ .parent = parent, .depth = depth, .charset = none, .disposition = none, .file_name = none,
                                .raw = none, .bytes = none, .text = none };
    return part;
}

/* "begin 644 name" ... "end" within a text: a part of its own, below the text. */
static void find_uuencoded(struct mime_parser *parser, int32_t index)
{
    struct mime_span body = parser->parts[index].bytes;
    const char *at = body.bytes, *end = at + body.len;
    while (at < end) {
        const char *mark = memmem(at, (size_t)(end - at), "begin ", 6);
        if (mark == NULL)
            return;
        at = mark + 6;
        if (mark != body.bytes && mark[-1] != '\n')
            continue;
        const char *line = line_end(mark, end);
        bool begins = line - mark >= 11 && mark[6] >= '0' && mark[6] <= '7' && mark[7] >= '0' &&
                      mark[7] <= '7' && mark[8] >= '0' && mark[8] <= '7' && mark[9] == ' ';
        if (!begins)
            continue;
        const char *stop = line;
        while (stop < end && !(end - stop >= 3 && memcmp(stop, "end", 3) == 0 && (end - stop == 3 || is_space(stop[3]))))
            stop = line_end(stop, end);
        mime_note(parser, MIME_UUENCODE);
        if (parser->message.part_count >= parser->limits.parts) {
            mime_note(parser, MIME_LIMIT_PARTS);
            return;
        }
        if (!take_budget(parser, (size_t)(stop - line)))
            return;
        struct mime_part *file = add_part(parser, index, parser->parts[index].depth + 1);
        take_type(file, (struct mime_span){ "application/octet-stream", 24 });
        file->disposition = (struct mime_span){ "attachment", 10 };
        file->file_name = words_decode(parser, (struct mime_span){ mark + 10, (size_t)(line - mark - 10) });
        file->raw = (struct mime_span){ line, (size_t)(stop - line) };
        file->encoding = MIME_UU;
        file->first_header = (uint32_t)parser->message.header_count;
        file->bytes = decode_uu(parser, file->raw);
        parser->message.decoded += file->bytes.len;
        at = stop;
    }
}

/* For readers that know no MIME-Version or another boundary, what looks like a part here is one. */
static void check_outside(struct mime_parser *parser, struct mime_span outside)
{
    if (outside.len > 14 && (memmem(outside.bytes, outside.len, "\n--", 3) != NULL || memmem(outside.bytes, outside.len, "ontent-", 7) != NULL))
        mime_note(parser, MIME_PREAMBLE_PART);
}

static void leaf(struct reader *r, int32_t index, bool eight_bits)
{
    struct mime_parser *parser = r->parser;
    struct mime_part *part = &parser->parts[index];
    bool text = mime_span_is(part->type, "text");
    decode_body(parser, part);
    if (!eight_bits && !text_is_ascii(part->raw))
        mime_note(parser, MIME_8BIT_AS_7BIT);
    if (mime_type_is(part, "application", "ms-tnef"))
        mime_note(parser, MIME_TNEF);
    if (mime_type_is(part, "message", "partial") || mime_type_is(part, "message", "external-body"))
        mime_note(parser, MIME_PARTIAL);
    if (part->encoding == MIME_UU) { /* declared, with its "begin" line */
        find_uuencoded(parser, index);
        return;
    }
    if (text) {
        part->text = charset_to_utf8(parser, part->charset, part->bytes, parser->limits.text);
        if (part->encoding == MIME_IDENTITY && mime_span_is(part->subtype, "plain"))
            find_uuencoded(parser, index);
    }
}

/* A message in a message: in the same bytes, or in those that decoding gave. */
static struct stop attached_message(struct reader *r, int32_t index, uint32_t depth)
{
    struct mime_parser *parser = r->parser;
    static const struct mime_span plain = { "text/plain", 10 };
    struct mime_span body;
    if (parser->parts[index].encoding == MIME_IDENTITY) {
        const char *start = r->at;
        struct stop stop = parse_entity(r, index, depth + 1, plain);
        parser->parts[index].raw = (struct mime_span){ start, (size_t)((stop.boundary == END_OF_INPUT ? r->at : r->stopped) - start) };
        parser->parts[index].message = parser->parts[index].raw;
        return stop;
    }
    mime_note(parser, MIME_ENCODED_COMPOSITE);
    struct stop stop = to_boundary(r, &body);
    parser->parts[index].raw = body;
    decode_body(parser, &parser->parts[index]);
    struct mime_span inner = parser->parts[index].bytes;
    struct reader within = { .parser = parser, .at = inner.bytes, .end = inner.bytes + inner.len };
    parser->parts[index].bytes = (struct mime_span){ "", 0 };
    parser->parts[index].message = inner;
    parse_entity(&within, index, depth + 1, plain);
    return stop;
}

static struct stop multipart(struct reader *r, int32_t index, uint32_t depth, struct mime_span boundary)
{
    static const struct mime_span plain = { "text/plain", 10 }, message = { "message/rfc822", 14 };
    struct mime_parser *parser = r->parser;
    struct mime_span part_type = mime_span_is(parser->parts[index].subtype, "digest") ? message : plain;
    const char *start = r->at;
    struct mime_span outside;
    int own = (int)r->open_count;
    for (size_t i = 0; i < r->open_count; i++)
        if (memcmp(r->open[i].bytes, boundary.bytes, r->open[i].len < boundary.len ? r->open[i].len : boundary.len) == 0)
            mime_note(parser, MIME_BOUNDARY_PREFIX);
    r->open[r->open_count++] = (struct boundary){ boundary.bytes, boundary.len };
    struct stop stop = to_boundary(r, &outside);
    check_outside(parser, outside);
    if (stop.boundary != own || stop.last) { /* readers show what is there, as nothing else is */
        mime_note(parser, MIME_EMPTY_MULTIPART);
        parser->parts[index].text = charset_to_utf8(parser, parser->parts[index].charset, outside, parser->limits.text);
    }
    while (stop.boundary == own && !stop.last) {
        if (parser->message.part_count >= parser->limits.parts) {
            mime_note(parser, MIME_LIMIT_PARTS);
            stop = to_boundary(r, &outside);
            continue;
        }
        stop = parse_entity(r, index, depth + 1, part_type);
    }
    r->open_count = (size_t)own;
    if (stop.boundary == own) {
        stop = to_boundary(r, &outside);
        check_outside(parser, outside);
    } else {
        mime_note(parser, MIME_MISSING_END);
    }
    parser->parts[index].raw = (struct mime_span){ start, (size_t)((stop.boundary == END_OF_INPUT ? r->at : r->stopped) - start) };
    return stop;
}

static struct stop parse_entity(struct reader *r, int32_t parent, uint32_t depth, struct mime_span default_type)
{
    struct mime_parser *parser = r->parser;
    struct stop stop = { .boundary = END_OF_INPUT };
    int32_t index = (int32_t)parser->message.part_count;
    struct mime_part *part = add_part(parser, parent, depth);
    bool eight_bits, ended = parse_headers(r, part, &stop);
    struct mime_span boundary = describe(parser, part, default_type);
    take_encoding(parser, part, &eight_bits);
    if (depth == 0 && parser->default_charset.len == 0)
        parser->default_charset = part->charset;
    bool parts = mime_span_is(part->type, "multipart");
    bool message = mime_type_is(part, "message", "rfc822") || mime_type_is(part, "message", "global");
    part->composite = parts || message;
    if (ended)
        return stop;
    if (part->composite && (depth >= parser->limits.depth || depth + 1 >= BOUNDARIES_MAX || parser->message.part_count >= parser->limits.parts)) {
        mime_note(parser, depth >= parser->limits.depth ? MIME_LIMIT_DEPTH : MIME_LIMIT_PARTS);
        stop = to_boundary(r, &parser->parts[index].raw);
        parser->parts[index].bytes = parser->parts[index].raw;
        return stop;
    }
    if (message)
        return attached_message(r, index, depth);
    if (parts) {
        if (part->encoding != MIME_IDENTITY)
            mime_note(parser, MIME_ENCODED_COMPOSITE);
        if (boundary.len > 0 && !boundary_is_good(boundary))
            mime_note(parser, MIME_BAD_BOUNDARY);
        if (boundary.len > 0 && boundary.len <= MIME_BOUNDARY_MAX)
            return multipart(r, index, depth, boundary);
        mime_note(parser, MIME_NO_BOUNDARY); /* what it holds is text to whoever looks */
        take_type(&parser->parts[index], (struct mime_span){ "text/plain", 10 });
        parser->parts[index].composite = false;
    }
    struct mime_span body;
    stop = to_boundary(r, &body);
    parser->parts[index].raw = body;
    leaf(r, index, eight_bits);
    return stop;
}

/* --- the whole --- */

static void check_bytes(struct mime_parser *parser, const char *bytes, size_t len)
{
    size_t returns = 0, pairs = 0, lines = 0;
    if (len > 0 && memchr(bytes, '\0', len) != NULL)
        mime_note(parser, MIME_NUL);
    for (const char *at = bytes, *end = bytes + len; at < end;) {
        const char *next = line_end(at, end);
        if (next - at > LINE_MAX_BYTES + 2)
            mime_note(parser, MIME_LONG_LINE);
        lines += next[-1] == '\n' ? 1 : 0;
        pairs += next - at > 1 && next[-1] == '\n' && next[-2] == '\r' ? 1 : 0;
        at = next;
    }
    for (size_t i = 0; i < len; i++)
        returns += bytes[i] == '\r' ? 1 : 0;
    if (returns != pairs)
        mime_note(parser, MIME_BARE_CR);
    if (pairs > 0 && lines != pairs)
        mime_note(parser, MIME_MIXED_LINE_ENDS);
}

static void check_fields(struct mime_parser *parser, const struct mime_part *top)
{
    static const char *const once[] = { "From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "MIME-Version" };
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        find_once(parser, top, once[i], MIME_DUPLICATE_FIELD);
    if (find_once(parser, top, "MIME-Version", MIME_DUPLICATE_FIELD) == NULL &&
        (find_once(parser, top, "Content-Type", MIME_DUPLICATE_TYPE) != NULL || find_once(parser, top, "Content-Transfer-Encoding", MIME_DUPLICATE_TYPE) != NULL))
        mime_note(parser, MIME_NO_VERSION);
}

/* Bare 8-bit headers are in the character set that the first text names; known only now. */
static void decode_headers(struct mime_parser *parser)
{
    for (size_t i = 0; i < parser->message.part_count && parser->default_charset.len == 0; i++)
        parser->default_charset = parser->parts[i].charset;
    for (size_t i = 0; i < parser->message.header_count; i++)
        parser->headers[i].value = words_decode(parser, parser->headers[i].raw);
}

const struct mime_message *mime_parse(struct mime_parser *parser, const char *bytes, size_t len)
{
    arena_reset(&parser->arena);
    parser->message = (struct mime_message){ 0 };
    parser->words = 0;
    parser->default_charset = (struct mime_span){ "", 0 };
    check_bytes(parser, bytes, len);
    struct reader r = { .parser = parser, .at = bytes, .end = bytes + len };
    parse_entity(&r, -1, 0, (struct mime_span){ "text/plain", 10 });
    check_fields(parser, &parser->parts[0]);
    decode_headers(parser);
    parser->message.headers = parser->headers;
    parser->message.parts = parser->parts;
    return &parser->message;
}

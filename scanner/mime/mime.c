/* mime.c - a parser and its messages; see mime.h */
#include "scanner/mime/mime.h"
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "scanner/mime/parts.h"

struct mime_parser *mime_parser_new(const struct mime_limits *limits)
{
    struct mime_parser *parser = xcalloc(1, sizeof *parser);
    parser->limits = *limits;
    parser->charsets = charsets_new();
    return parser;
}

void mime_parser_free(struct mime_parser **parser)
{
    if (*parser != NULL) {
        charsets_free(&(*parser)->charsets);
        arena_fini(&(*parser)->arena);
        free((*parser)->headers);
        free((*parser)->parts);
    }
    free(*parser);
    *parser = NULL;
}

bool mime_is_strict(const struct mime_message *message)
{
    return message->anomalies == 0;
}

const char *mime_anomaly_name(enum mime_anomaly anomaly)
{
    static const char *const names[MIME_ANOMALIES] = {
        [MIME_NUL] = "nul",
        [MIME_BARE_CR] = "bare_cr",
        [MIME_MIXED_LINE_ENDS] = "mixed_line_ends",
        [MIME_LONG_LINE] = "long_line",
        [MIME_BAD_HEADER] = "bad_header",
        [MIME_NO_HEADER_END] = "no_header_end",
        [MIME_HEADER_8BIT] = "header_8bit",
        [MIME_DUPLICATE_FIELD] = "duplicate_field",
        [MIME_DUPLICATE_TYPE] = "duplicate_type",
        [MIME_BAD_TYPE] = "bad_type",
        [MIME_BAD_PARAMETER] = "bad_parameter",
        [MIME_DUPLICATE_PARAMETER] = "duplicate_parameter",
        [MIME_COMMENT] = "comment",
        [MIME_WORD_IN_PARAMETER] = "word_in_parameter",
        [MIME_NAME_CONFLICT] = "name_conflict",
        [MIME_BAD_WORD] = "bad_word",
        [MIME_NO_BOUNDARY] = "no_boundary",
        [MIME_BAD_BOUNDARY] = "bad_boundary",
        [MIME_BOUNDARY_PREFIX] = "boundary_prefix",
        [MIME_MISSING_END] = "missing_end",
        [MIME_EMPTY_MULTIPART] = "empty_multipart",
        [MIME_PREAMBLE_PART] = "preamble_part",
        [MIME_UNKNOWN_ENCODING] = "unknown_encoding",
        [MIME_ENCODED_COMPOSITE] = "encoded_composite",
        [MIME_BAD_BASE64] = "bad_base64",
        [MIME_BAD_QP] = "bad_qp",
        [MIME_8BIT_AS_7BIT] = "8bit_as_7bit",
        [MIME_UUENCODE] = "uuencode",
        [MIME_UNKNOWN_CHARSET] = "unknown_charset",
        [MIME_BAD_CHARSET] = "bad_charset",
        [MIME_NO_VERSION] = "no_version",
        [MIME_PARTIAL] = "partial",
        [MIME_TNEF] = "tnef",
        [MIME_LIMIT_DEPTH] = "limit_depth",
        [MIME_LIMIT_PARTS] = "limit_parts",
        [MIME_LIMIT_HEADER] = "limit_header",
        [MIME_LIMIT_WORDS] = "limit_words",
        [MIME_LIMIT_DECODED] = "limit_decoded",
        [MIME_LIMIT_TEXT] = "limit_text",
    };
    return (size_t)anomaly < MIME_ANOMALIES ? names[anomaly] : "unknown";
}

const struct mime_header *mime_header(const struct mime_message *message, const struct mime_part *part, const char *name)
{
    for (size_t i = 0; i < part->header_count; i++)
        if (mime_span_is(message->headers[part->first_header + i].name, name))
            return &message->headers[part->first_header + i];
    return NULL;
}

bool mime_type_is(const struct mime_part *part, const char *type, const char *subtype)
{
    return mime_span_is(part->type, type) && (subtype == NULL || mime_span_is(part->subtype, subtype));
}

bool mime_span_is(struct mime_span span, const char *text)
{
    size_t len = strlen(text);
    return span.len == len && strncasecmp(span.bytes, text, len) == 0;
}

struct mime_span mime_span_trim(struct mime_span span)
{
    while (span.len > 0 && is_space(span.bytes[0]))
        span.bytes++, span.len--;
    while (span.len > 0 && is_space(span.bytes[span.len - 1]))
        span.len--;
    return span;
}

void *mime_memory(struct mime_parser *parser, size_t size)
{
    return arena_take(&parser->arena, size);
}

void mime_memory_trim(struct mime_parser *parser, const void *newest, size_t len)
{
    arena_trim(&parser->arena, newest, len);
}

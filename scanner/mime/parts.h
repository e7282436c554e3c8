#ifndef WEIR_SCANNER_MIME_PARTS_H
#define WEIR_SCANNER_MIME_PARTS_H
/* parts.h - what the sources of scanner/mime share with each other, and with nobody else */
#include <string.h>
#include "scanner/mime/arena.h"
#include "scanner/mime/mime.h"

#define MIME_PARAMETERS_MAX 32
#define MIME_BOUNDARY_MAX 256 /* RFC 2046 has 70; longer ones are seen, and are an anomaly */

struct charsets;

struct mime_parser {
    struct mime_limits limits;
    struct charsets *charsets;
    struct arena arena;
    struct mime_message message;
    struct mime_header *headers; /* grown; kept for the next message */
    struct mime_part *parts;
    size_t header_room, part_room;
    uint32_t words; /* decoded so far */
    struct mime_span default_charset; /* what the message says of itself: for headers with bare 8-bit text */
};

static inline void mime_note(struct mime_parser *parser, enum mime_anomaly anomaly)
{
    parser->message.anomalies |= MIME_BIT(anomaly);
}

static inline bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* --- charset.c --- */
struct charsets *charsets_new(void);
void charsets_free(struct charsets **charsets);
/* Text in UTF-8, at most cap bytes of it: points to in where that is UTF-8 already. charset empty or unknown: guessed from the bytes.
 * Bytes that mean nothing become U+FFFD. */
struct mime_span charset_to_utf8(struct mime_parser *parser, struct mime_span charset, struct mime_span in, size_t cap);
bool text_is_ascii(struct mime_span text);
bool text_is_utf8(struct mime_span text);

/* --- decode.c: what decoding gives is never longer than in --- */
struct mime_span decode_base64(struct mime_parser *parser, struct mime_span in, bool *bad);
struct mime_span decode_qp(struct mime_parser *parser, struct mime_span in, bool *bad);
struct mime_span decode_uu(struct mime_parser *parser, struct mime_span in); /* the lines between "begin" and "end" */

/* --- words.c --- */
/* The value of a field: unfolded, encoded words decoded, UTF-8. */
struct mime_span words_decode(struct mime_parser *parser, struct mime_span raw);

/* --- fields.c --- */
struct mime_parameter {
    struct mime_span name, value; /* value decoded, UTF-8 */
};
struct mime_field {
    struct mime_span value; /* "text/plain", "attachment": lower case */
    struct mime_parameter parameters[MIME_PARAMETERS_MAX];
    size_t count;
};
/* Content-Type and -Disposition: a value and its parameters (RFC 2045 5.1, 2231). */
void field_parse(struct mime_parser *parser, struct mime_span raw, struct mime_field *field);
struct mime_span field_parameter(const struct mime_field *field, const char *name); /* len 0: none */
struct mime_span span_lower(struct mime_parser *parser, struct mime_span span);

#endif

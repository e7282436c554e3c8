#ifndef WEIR_SCANNER_MIME_MIME_H
#define WEIR_SCANNER_MIME_MIME_H
/*
 * mime.h - one message in memory, taken apart once for everybody who looks into it (RFC 5322, 2045-2047, 2231)
 *
 * Pure: no sockets, files or clock after mime_parser_new(). Bytes of a message never end the process; work and memory are bounded by
 * struct mime_limits and are linear in the size of the message. What is not copied points into the message's own bytes.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mime_span {
    const char *bytes; /* not ended by NUL; any pointer when len is 0 */
    size_t len;
};

/* Where a limit is reached the rest is left as it is, undecoded, and the message has the anomaly that says so. */
struct mime_limits {
    uint32_t depth;        /* parts within parts, attached messages included */
    uint32_t parts;        /* in all */
    uint32_t headers;      /* fields in all */
    uint32_t header_bytes; /* of one part's header */
    uint32_t words;        /* encoded words in all (RFC 2047) */
    uint64_t decoded;      /* bytes that decoding may give, of all parts together */
    uint32_t text;         /* bytes of UTF-8 made of one part's text */
};
#define MIME_LIMITS_DEFAULT \
    (struct mime_limits){ .depth = 30, .parts = 1000, .headers = 4000, .header_bytes = 256 << 10, .words = 4000, .decoded = 256 << 20, .text = 1 << 20 }

/*
 * What another parser could read differently, or does not stand in the RFCs. A message without any is strictly well-formed: its parts are
 * the same for everybody.
 */
enum mime_anomaly {
    MIME_NUL,               /* a NUL byte */
    MIME_BARE_CR,           /* CR without LF */
    MIME_MIXED_LINE_ENDS,   /* LF without CR beside CRLF */
    MIME_LONG_LINE,         /* more than 998 bytes (RFC 5322 2.1.1) */
    MIME_BAD_HEADER,        /* a line in a header that is none, or a space before the colon */
    MIME_NO_HEADER_END,     /* a header that ends without an empty line */
    MIME_HEADER_8BIT,       /* a byte above 127 in a header that is not UTF-8 */
    MIME_DUPLICATE_FIELD,   /* a field twice that RFC 5322 3.6 has once, of those that people see */
    MIME_DUPLICATE_TYPE,    /* Content-Type, -Transfer-Encoding or -Disposition twice in one header */
    MIME_BAD_TYPE,          /* a Content-Type that is none */
    MIME_BAD_PARAMETER,     /* a parameter that breaks the grammar */
    MIME_DUPLICATE_PARAMETER,
    MIME_COMMENT,           /* a comment in a MIME field */
    MIME_WORD_IN_PARAMETER, /* an encoded word where RFC 2231 was due */
    MIME_NAME_CONFLICT,     /* two different names of one file */
    MIME_BAD_WORD,          /* an encoded word that cannot be decoded */
    MIME_NO_BOUNDARY,       /* a multipart without one */
    MIME_BAD_BOUNDARY,      /* characters or length that RFC 2046 5.1.1 forbids */
    MIME_BOUNDARY_PREFIX,   /* a line that begins with a boundary and goes on, or one boundary begins with another */
    MIME_MISSING_END,       /* a multipart without its last boundary */
    MIME_EMPTY_MULTIPART,
    MIME_PREAMBLE_PART,     /* what stands before the first or after the last boundary looks like a part */
    MIME_UNKNOWN_ENCODING,
    MIME_ENCODED_COMPOSITE, /* base64 or quoted-printable over a multipart or message (RFC 2045 6.4) */
    MIME_BAD_BASE64,
    MIME_BAD_QP,
    MIME_8BIT_AS_7BIT,      /* bytes above 127 in what was declared 7bit, or without a declaration */
    MIME_UUENCODE,          /* a uuencoded file within text */
    MIME_UNKNOWN_CHARSET,
    MIME_BAD_CHARSET,       /* bytes that the declared charset does not have */
    MIME_NO_VERSION,        /* MIME fields without MIME-Version */
    MIME_PARTIAL,           /* message/partial or message/external-body: the rest is elsewhere */
    MIME_TNEF,              /* parts within a part that is not taken apart */
    MIME_LIMIT_DEPTH,
    MIME_LIMIT_PARTS,
    MIME_LIMIT_HEADER,
    MIME_LIMIT_WORDS,
    MIME_LIMIT_DECODED,
    MIME_LIMIT_TEXT,
    MIME_ANOMALIES,
};
#define MIME_BIT(anomaly) (UINT64_C(1) << (anomaly))

struct mime_header {
    struct mime_span name;  /* as written */
    struct mime_span raw;   /* behind the colon, with its folds, without the last line end */
    struct mime_span value; /* unfolded, encoded words decoded, UTF-8, no white space around it */
};

enum mime_encoding { MIME_IDENTITY, MIME_BASE64, MIME_QP, MIME_UU };

struct mime_part {
    int32_t parent; /* index, or -1 */
    uint32_t depth; /* 0: the message itself */
    uint32_t first_header, header_count;
    struct mime_span type, subtype; /* lower case; text/plain when there is none (RFC 2045 5.2) */
    struct mime_span charset;       /* lower case; empty when there is none */
    struct mime_span disposition;   /* lower case; empty when there is none */
    struct mime_span file_name;     /* UTF-8; empty when there is none */
    struct mime_span raw;           /* the body as it is in its parent's bytes */
    struct mime_span message;       /* of message/rfc822 and message/global: all of what is attached, decoded; else empty */
    struct mime_span bytes;         /* decoded; empty for multipart/(any) and message/rfc822, whose content is their parts */
    struct mime_span text;          /* text/(any), and what stands in a multipart without parts, in UTF-8, at most limits.text bytes of it; else empty */
    enum mime_encoding encoding;
    bool composite; /* has, or could have, parts of its own */
};

struct mime_message {
    const struct mime_header *headers; /* of all parts, each part's together */
    size_t header_count;
    const struct mime_part *parts; /* [0] is the message; a parent stands before its parts */
    size_t part_count;
    uint64_t anomalies; /* MIME_BIT()s */
    uint64_t decoded;   /* bytes that decoding gave */
};

struct mime_parser;

/* Opens the converters of all character sets, which are files of the C library: to be made before a sandbox closes. */
struct mime_parser *mime_parser_new(const struct mime_limits *limits);
void mime_parser_free(struct mime_parser **parser);

/* The answer, and all it points to, is valid until the next call, and as long as bytes is. */
const struct mime_message *mime_parse(struct mime_parser *parser, const char *bytes, size_t len);
bool mime_is_strict(const struct mime_message *message);
/* "bad_base64" and so on: for logs and symbols. */
const char *mime_anomaly_name(enum mime_anomaly anomaly);

/* The first field of that name (any case) of a part, or NULL. */
const struct mime_header *mime_header(const struct mime_message *message, const struct mime_part *part, const char *name);
bool mime_type_is(const struct mime_part *part, const char *type, const char *subtype); /* subtype NULL: any */

/* --- spans --- */
bool mime_span_is(struct mime_span span, const char *text);  /* any case of ASCII */
struct mime_span mime_span_trim(struct mime_span span);      /* without white space around it */
/* Memory that lives as long as the message, for who works on it. */
void *mime_memory(struct mime_parser *parser, size_t size);
void mime_memory_trim(struct mime_parser *parser, const void *newest, size_t len);

#endif

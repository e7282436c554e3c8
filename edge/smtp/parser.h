#ifndef WEIR_EDGE_SMTP_PARSER_H
#define WEIR_EDGE_SMTP_PARSER_H
/*
 * parser.h - server side: bytes of a connection into tokens
 *
 * No socket, clock, log or heap. A command line ends in CRLF and nothing else; the message ends in CRLF.CRLF and nothing else
 * (RFC 5321 2.3.8, 4.1.1.4). A bare LF, a bare CR or a NUL in the message is remembered in `violations` and the parser goes on to the
 * real end of data, so that the session can refuse with one reply and stay in step.
 *
 * A lenient parser (for devices; README.md lists what it forgives) has no violations: what it hands out is a message whose lines end in
 * CRLF, are at most SMTP_TEXT_LINE_MAX long and hold no other CR or LF and no NUL. The end of data is CRLF.CRLF as soon as a line of the message has
 * ended in CRLF, and a dot behind a bare LF is text from then on; only a message with nothing but bare LFs may end in LF.LF or LF.CRLF, and only one whose
 * lines all ended in CR CR LF in CR CR LF . CR CR LF.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum smtp_event {
    SMTP_NEED_MORE,     /* nothing whole yet: call again with more bytes after the same ones */
    SMTP_COMMAND,       /* one line without its CRLF */
    SMTP_BODY,          /* a piece of the message: dot-stuffing removed, CRLFs kept */
    SMTP_END_OF_DATA,   /* DATA: the final dot; BDAT: this chunk's bytes are all there */
    SMTP_BAD_LINE,      /* a command line that is too long, or has a bare LF/CR or NUL; `bad` says which; the whole line is consumed */
};

enum smtp_bad { SMTP_BAD_NONE, SMTP_BAD_TOO_LONG, SMTP_BAD_BARE_LF, SMTP_BAD_BARE_CR, SMTP_BAD_NUL };

enum smtp_violation {
    SMTP_VIOLATION_BARE_LF = 1,
    SMTP_VIOLATION_BARE_CR = 2,
    SMTP_VIOLATION_NUL = 4,
    SMTP_VIOLATION_LINE_TOO_LONG = 8, /* longer than max_text_line */
};

#define SMTP_TEXT_LINE_MAX 998 /* without CRLF (RFC 5321 4.5.3.1.6): a lenient parser breaks longer lines */

struct smtp_token {
    enum smtp_event event;
    const char *bytes; /* point into buf; SMTP_BODY of a lenient parser: or at a constant */
    size_t len;
    enum smtp_bad bad;
};

struct smtp_parser {
    /* set by smtp_parser_init; may be changed between messages */
    size_t max_command_line; /* with CRLF */
    size_t max_text_line;    /* with CRLF, 0: no limit; not for a lenient parser */
    bool lenient;            /* false after smtp_parser_init */
    /* read by the session after SMTP_END_OF_DATA, not before */
    unsigned violations;     /* enum smtp_violation */
    bool ended_with_crlf;    /* BDAT: the last byte pair seen was CRLF (or nothing was sent at all) */
    unsigned forgiven;       /* lenient: enum smtp_leniency, since smtp_parser_init */
    bool eightbit;           /* lenient: some byte of the message was not ASCII */
    /* private */
    int mode, state;
    unsigned ends_seen, last_end; /* lenient: enum line_end, of the message's lines up to now, and of the last one */
    bool several_crs;        /* lenient, behind a CR: it was not the first */
    unsigned seen;           /* violations up to now */
    uint64_t left;           /* BDAT: bytes still to come */
    size_t line_len;
    bool skipping, skipped_cr;
};

void smtp_parser_init(struct smtp_parser *parser, size_t max_command_line, size_t max_text_line);
/* After a DATA command was answered 354: what follows is a message. Resets violations. */
void smtp_parser_enter_data(struct smtp_parser *parser);
/* After a BDAT command line: exactly size bytes follow (0: END_OF_DATA comes at once). first: the first chunk of a message, resets
 * violations; line state (a CR at the end of one chunk, LF at the start of the next) goes over chunk borders. */
void smtp_parser_enter_bdat(struct smtp_parser *parser, uint64_t size, bool first);
/* Looks at buf, fills one token, returns the bytes used, which the caller takes away whatever the event is. SMTP_NEED_MORE: call again
 * when more has come behind what is left (at most max_command_line bytes); it uses bytes only while it skips the rest of a bad
 * line, or what a lenient parser leaves out.
 * SMTP_END_OF_DATA of BDAT uses 0 bytes. So loop on the event, not on the count:
 *     do { used = smtp_parser_next(&parser, buf, len, &token); buf += used, len -= used; ...token... } while (token.event != SMTP_NEED_MORE);
 * SMTP_BAD_BARE_LF and _TOO_LONG come at once, before the line's end has been seen, and the rest of the line up to CRLF is skipped, so
 * that nothing behind a bare LF is ever a command. The rest can be used up in the same call that finds the next command: a caller that puts
 * that command off keeps the bytes from token.bytes on and no earlier ones. */
size_t smtp_parser_next(struct smtp_parser *parser, const char *buf, size_t len, struct smtp_token *token);

#endif

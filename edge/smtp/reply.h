#ifndef WEIR_EDGE_SMTP_REPLY_H
#define WEIR_EDGE_SMTP_REPLY_H
/*
 * reply.h - replies in both directions: formatting ours, parsing a next hop's
 */
#include <stdbool.h>
#include <stddef.h>

#define SMTP_REPLY_TEXT_MAX 1024
#define SMTP_REPLY_OWN_LINE_MAX 512 /* of ours, with code and CRLF (RFC 5321 4.5.3.1.5) */
#define SMTP_REPLY_LINE_MAX 2048 /* longer lines from a next hop are an error */
#define SMTP_REPLY_LINES_MAX 128
#define SMTP_CLUSTER_MARK_MAX 33 /* with NUL */

/* "550 5.1.1 No such user\r\n"; enhanced may be NULL. '\n' in text makes a multi-line reply with the codes on each line, and so does
 * a line that would be longer than SMTP_REPLY_OWN_LINE_MAX; other control bytes and NULs become '?'. Returns the length written, cut to whole lines that fit cap. */
size_t smtp_reply_format(char *out, size_t cap, int code, const char *enhanced, const char *text);

/* What a host can do, as the lines of its EHLO reply say. */
struct smtp_extensions {
    bool pipelining, eightbitmime, smtputf8, starttls, chunking, enhanced_status, dsn;
    bool has_size;
    unsigned long long size; /* 0: no fixed limit */
    char cluster[SMTP_CLUSTER_MARK_MAX]; /* XWEIR: the mark of the cluster that the host is an edge of; "": it says none */
};

struct smtp_reply {
    int code;                         /* 200..599; 0: none (connection lost, time-out) */
    bool own;                         /* not the host's words: of whoever spoke with it, or found none */
    bool unasked;                     /* own, and not every address of the host was tried, for reasons of our own: it says nothing of the host */
    bool silent;                      /* there was none in time, whatever the code is by now */
    bool closing;                     /* the host ended the connection with it (421), whatever the code is by now */
    char enhanced[12];                /* "5.1.1", "" when the host gave none or one of the wrong class */
    char text[SMTP_REPLY_TEXT_MAX];   /* lines joined with '\n', without codes, control bytes as '?'; cut when longer */
    struct smtp_extensions extensions; /* of a 250: read from each whole line behind the first, so never cut; means something after EHLO */
};

enum smtp_reply_status { SMTP_REPLY_MORE, SMTP_REPLY_DONE, SMTP_REPLY_BROKEN };

struct smtp_reply_parser {
    struct smtp_reply reply;
    unsigned lines;
    size_t text_len;
};

void smtp_reply_parser_init(struct smtp_reply_parser *parser);
/* Uses whole lines of buf only; *used says how many bytes. DONE: parser->reply is one whole reply; init before the next.
 * A bare LF ends a line here too (some hosts send it). Differing codes in one reply: BROKEN. */
enum smtp_reply_status smtp_reply_parser_next(struct smtp_reply_parser *parser, const char *buf, size_t len, size_t *used);

/* Copies a message to the wire as the client must: dots stuffed at line starts, bytes otherwise unchanged. The input is strict already
 * (CRLF only). at_line_start is carried from call to call (start with true). out needs 2 * len. Returns the length. */
size_t smtp_dot_stuff(char *out, const char *data, size_t len, bool *at_line_start);

#endif

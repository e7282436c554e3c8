/*
 * parser.c - the server side of SMTP as bytes: command lines, the DATA stream, BDAT chunks
 *
 * In DATA a line starts after CRLF only, so a dot behind a bare LF or CR is neither the end nor stuffing: every
 * smuggling trick (LF.LF, LF.CRLF, CRLF.LF, CRLF.CR, ...) stays inside the message and leaves its violation. At a
 * line's start the parser waits for up to three bytes (".", CR, LF) without using any; everything else is handed on at
 * once, in pieces as long as the input allows.
 *
 * The lenient functions stand apart, so that the strict path has no branch of theirs in a loop. They decide about the end
 * of data on the bytes as they came, before anything is mended: what is left out or replaced never makes an end.
 */
#include "edge/smtp/parser.h"
#include <string.h>
#include "edge/smtp/leniency.h"

enum mode { MODE_COMMAND, MODE_DATA, MODE_BDAT };

/* Where in the message the next byte is; kept over the command lines between BDAT chunks. */
enum state { AT_LINE_START, IN_LINE, AFTER_CR };

/* What a lenient parser took for the end of a line. */
enum line_end { END_LF = 1, END_CRLF = 2, END_CRCRLF = 4 };

void smtp_parser_init(struct smtp_parser *parser, size_t max_command_line, size_t max_text_line)
{
    *parser = (struct smtp_parser){ .max_command_line = max_command_line, .max_text_line = max_text_line };
}

static void message_begin(struct smtp_parser *parser)
{
    parser->violations = 0;
    parser->seen = 0;
    parser->state = AT_LINE_START;
    parser->line_len = 0;
    parser->ended_with_crlf = true;
    parser->eightbit = false;
    parser->ends_seen = 0;
    parser->last_end = END_CRLF; /* the command line's */
}

void smtp_parser_enter_data(struct smtp_parser *parser)
{
    parser->mode = MODE_DATA;
    message_begin(parser);
}

void smtp_parser_enter_bdat(struct smtp_parser *parser, uint64_t size, bool first)
{
    if (first)
        message_begin(parser);
    parser->mode = MODE_BDAT;
    parser->left = size;
}

static size_t need_more(struct smtp_token *token, size_t used)
{
    *token = (struct smtp_token){ .event = SMTP_NEED_MORE };
    return used;
}

static size_t bad_line(struct smtp_parser *parser, struct smtp_token *token, enum smtp_bad bad, const char *buf,
                       size_t len)
{
    *token = (struct smtp_token){ .event = SMTP_BAD_LINE, .bytes = buf, .len = len, .bad = bad };
    parser->skipping = bad == SMTP_BAD_TOO_LONG || bad == SMTP_BAD_BARE_LF;
    parser->skipped_cr = bad == SMTP_BAD_TOO_LONG && buf[len - 1] == '\r';
    return len;
}

/* The rest of a bad line, up to its CRLF. It can be endless, so it is used up as it comes. */
static size_t skip_line(struct smtp_parser *parser, const char *buf, size_t len)
{
    size_t pos = 0;
    while (pos < len) {
        const char *lf = memchr(buf + pos, '\n', len - pos);
        if (lf == NULL)
            break;
        size_t at = (size_t)(lf - buf);
        bool crlf = at == 0 ? parser->skipped_cr : buf[at - 1] == '\r';
        pos = at + 1;
        if (crlf || parser->lenient) {
            parser->skipping = false;
            return pos;
        }
    }
    if (len > 0)
        parser->skipped_cr = buf[len - 1] == '\r';
    return len;
}

static size_t next_command(struct smtp_parser *parser, const char *buf, size_t len, struct smtp_token *token)
{
    size_t skipped = parser->skipping ? skip_line(parser, buf, len) : 0;
    if (parser->skipping || skipped == len)
        return need_more(token, skipped);
    buf += skipped;
    len -= skipped;

    size_t limit = len < parser->max_command_line ? len : parser->max_command_line;
    const char *lf = memchr(buf, '\n', limit);
    if (lf == NULL) {
        if (len < parser->max_command_line)
            return need_more(token, skipped);
        return skipped + bad_line(parser, token, SMTP_BAD_TOO_LONG, buf, limit);
    }
    size_t line = (size_t)(lf - buf), used = line + 1;
    if (line > 0 && buf[line - 1] == '\r') {
        line--;
    } else if (!parser->lenient) {
        bad_line(parser, token, SMTP_BAD_BARE_LF, buf, line);
        return skipped + used;
    } else {
        parser->forgiven |= SMTP_LENIENCY_LF;
    }
    for (; parser->lenient && line > 0 && buf[line - 1] == '\r'; line--)
        parser->forgiven |= SMTP_LENIENCY_CR;
    *token = (struct smtp_token){ .event = SMTP_COMMAND, .bytes = buf, .len = line };
    if (memchr(buf, '\0', line) != NULL)
        bad_line(parser, token, SMTP_BAD_NUL, buf, line);
    else if (memchr(buf, '\r', line) != NULL)
        bad_line(parser, token, SMTP_BAD_BARE_CR, buf, line);
    return skipped + used;
}

/* Accounts for count bytes that belong to one line; ends: the last of them is its CRLF's LF. */
static void line_grew(struct smtp_parser *parser, size_t count, bool ends)
{
    parser->line_len += count;
    if (parser->max_text_line > 0 && parser->line_len > parser->max_text_line)
        parser->seen |= SMTP_VIOLATION_LINE_TOO_LONG;
    if (ends)
        parser->line_len = 0;
}

/* Looks at text up to and with its next LF, at least one byte. Returns the bytes looked at; state says what they ended
 * in. */
static size_t scan_line(struct smtp_parser *parser, const char *text, size_t len)
{
    const char *lf = memchr(text, '\n', len);
    size_t used = lf != NULL ? (size_t)(lf - text) + 1 : len;
    size_t plain = lf != NULL ? used - 1 : used; /* bytes before the LF */

    if (parser->state == AFTER_CR && plain > 0)
        parser->seen |= SMTP_VIOLATION_BARE_CR;
    bool cr_last = plain > 0 ? text[plain - 1] == '\r' : parser->state == AFTER_CR;
    if (plain > 1 && memchr(text, '\r', plain - 1) != NULL)
        parser->seen |= SMTP_VIOLATION_BARE_CR;
    bool ends = lf != NULL && cr_last;
    if (lf != NULL && !cr_last)
        parser->seen |= SMTP_VIOLATION_BARE_LF;
    line_grew(parser, used, ends);
    parser->state = ends ? AT_LINE_START : lf == NULL && cr_last ? AFTER_CR : IN_LINE;
    return used;
}

static size_t body(struct smtp_parser *parser, struct smtp_token *token, const char *text, size_t len)
{
    if (memchr(text, '\0', len) != NULL)
        parser->seen |= SMTP_VIOLATION_NUL;
    *token = (struct smtp_token){ .event = SMTP_BODY, .bytes = text, .len = len };
    return len;
}

static void message_end(struct smtp_parser *parser, struct smtp_token *token)
{
    parser->violations = parser->seen;
    parser->ended_with_crlf = parser->state == AT_LINE_START && parser->line_len == 0;
    if (parser->state == AFTER_CR && !parser->lenient) /* bare unless the next chunk starts with LF, so it is not in `seen` */
        parser->violations |= SMTP_VIOLATION_BARE_CR;
    parser->mode = MODE_COMMAND;
    *token = (struct smtp_token){ .event = SMTP_END_OF_DATA };
}

static size_t next_data(struct smtp_parser *parser, const char *buf, size_t len, struct smtp_token *token)
{
    size_t start = 0;
    if (len == 0)
        return need_more(token, 0);
    if (parser->state == AT_LINE_START && buf[0] == '.') {
        if (len == 1 || (len == 2 && buf[1] == '\r'))
            return need_more(token, 0);
        if (buf[1] == '\r' && buf[2] == '\n') {
            message_end(parser, token);
            return 3;
        }
        start = 1; /* RFC 5321 4.5.2: the added dot goes; the byte behind it is never a dot at a line's start */
    }
    size_t pos = start;
    do
        pos += scan_line(parser, buf + pos, len - pos);
    while (pos < len && !(parser->state == AT_LINE_START && buf[pos] == '.'));
    return start + body(parser, token, buf + start, pos - start);
}

static size_t next_bdat(struct smtp_parser *parser, const char *buf, size_t len, struct smtp_token *token)
{
    if (parser->left == 0) {
        message_end(parser, token);
        return 0;
    }
    if (len > parser->left)
        len = (size_t)parser->left;
    if (len == 0)
        return need_more(token, 0);
    for (size_t pos = 0; pos < len;)
        pos += scan_line(parser, buf + pos, len - pos);
    parser->left -= len;
    return body(parser, token, buf, len);
}

/* ---- lenient ---- */

static const char line_end[] = "\r\n";
static const char line_break[] = "\r\n "; /* a header field goes on behind it, and no text becomes a field or a boundary */

/* The line is full before this byte. A character of UTF-8 is kept whole. */
static bool line_is_full(const struct smtp_parser *parser, unsigned char next)
{
    return parser->line_len >= SMTP_TEXT_LINE_MAX || (parser->line_len >= SMTP_TEXT_LINE_MAX - 3 && next >= 0xC0);
}

static void lenient_line_ends(struct smtp_parser *parser, enum line_end end)
{
    parser->state = AT_LINE_START;
    parser->line_len = 0;
    parser->ends_seen |= end;
    parser->last_end = end;
}

/* Eight at a time, how many bytes stand before one that may be CR, LF or NUL: none of those is below 0x10. all: their bits together. */
static size_t plain_words(const char *text, size_t len, uint64_t *all)
{
    const uint64_t each = UINT64_MAX / 0xFF;
    uint64_t word;
    size_t pos = 0;
    for (; len - pos >= sizeof word; pos += sizeof word) {
        memcpy(&word, text + pos, sizeof word);
        if (((word - each * 0x10) & ~word & each * 0x80) != 0)
            break;
        *all |= word;
    }
    return pos;
}

/* Most of a message is the inside of lines that are not nearly full: what nothing in it can end is passed over. */
static size_t inside_line(struct smtp_parser *parser, const char *buf, size_t len)
{
    uint64_t all = 0;
    if (parser->state != IN_LINE || parser->line_len >= SMTP_TEXT_LINE_MAX - 3)
        return 0;
    size_t room = SMTP_TEXT_LINE_MAX - 3 - parser->line_len;
    size_t plain = plain_words(buf, len < room ? len : room, &all);
    parser->eightbit |= (all & (UINT64_MAX / 0xFF * 0x80)) != 0;
    parser->line_len += plain;
    return plain;
}

/* Bytes that can be handed on as they are. dots: a dot at a line's start ends them. */
static size_t lenient_run(struct smtp_parser *parser, const char *buf, size_t len, bool dots)
{
    size_t pos = 0;
    while ((pos += inside_line(parser, buf + pos, len - pos)) < len) {
        unsigned char byte = (unsigned char)buf[pos];
        if (byte == '\r' && pos + 1 < len && buf[pos + 1] == '\n') {
            lenient_line_ends(parser, END_CRLF);
            pos += 2;
            continue;
        }
        if (byte == '\r' || byte == '\n' || byte == '\0' || line_is_full(parser, byte) ||
            (dots && pos > 0 && byte == '.' && parser->state == AT_LINE_START))
            break;
        parser->eightbit |= byte >= 0x80;
        parser->state = IN_LINE;
        parser->line_len++;
        pos++;
    }
    return pos;
}

static size_t lenient_piece(struct smtp_token *token, const char *bytes, size_t len, size_t used)
{
    *token = (struct smtp_token){ .event = SMTP_BODY, .bytes = bytes, .len = len };
    return used;
}

/* CRs are held back until it is known what follows: in front of a line's end they go, elsewhere they are a space. */
static size_t lenient_after_cr(struct smtp_parser *parser, struct smtp_token *token, char next, size_t used)
{
    if (next == '\n') {
        lenient_line_ends(parser, parser->several_crs ? END_CRCRLF : END_CRLF);
        return lenient_piece(token, line_end, 2, used + 1);
    }
    bool full = parser->line_len >= SMTP_TEXT_LINE_MAX;
    parser->forgiven |= SMTP_LENIENCY_CR | (full ? SMTP_LENIENCY_LONG_LINE : 0);
    parser->state = IN_LINE;
    parser->line_len = full ? 1 : parser->line_len + 1;
    return lenient_piece(token, full ? line_break : " ", full ? 3 : 1, used);
}

static size_t lenient_text(struct smtp_parser *parser, const char *buf, size_t len, struct smtp_token *token, bool dots)
{
    for (size_t used = 0; used < len; used++) {
        if (parser->state == AFTER_CR && buf[used] != '\r')
            return lenient_after_cr(parser, token, buf[used], used);
        if (buf[used] == '\0') { /* a dot behind it is not at the line's start */
            parser->forgiven |= SMTP_LENIENCY_NUL;
            parser->state = IN_LINE;
        } else if (buf[used] == '\n') {
            parser->forgiven |= SMTP_LENIENCY_LF;
            lenient_line_ends(parser, END_LF);
            return lenient_piece(token, line_end, 2, used + 1);
        } else if (buf[used] == '\r') {
            bool whole = parser->state != AFTER_CR && used + 1 < len && buf[used + 1] == '\n';
            if (whole) {
                size_t run = lenient_run(parser, buf + used, len - used, dots);
                return lenient_piece(token, buf + used, run, used + run);
            }
            parser->several_crs = parser->state == AFTER_CR;
            parser->forgiven |= parser->several_crs ? SMTP_LENIENCY_CR : 0;
            parser->state = AFTER_CR;
        } else if (line_is_full(parser, (unsigned char)buf[used])) {
            parser->forgiven |= SMTP_LENIENCY_LONG_LINE;
            parser->line_len = 1;
            return lenient_piece(token, line_break, 3, used);
        } else {
            size_t run = lenient_run(parser, buf + used, len - used, dots);
            return lenient_piece(token, buf + used, run, used + run);
        }
    }
    return need_more(token, len);
}

/* Whether a dot that stands alone in its line, which ends so, is the end of data. A client that ends lines in CRLF doubles each dot behind one, whatever
 * stands in front of the CRLF, so no text of others that it passes on can look like any of these. */
static bool lenient_dot_ends(struct smtp_parser *parser, enum line_end end)
{
    bool only_lf = (parser->ends_seen & ~(unsigned)END_LF) == 0;
    bool only_crcrlf = (parser->ends_seen & ~(unsigned)END_CRCRLF) == 0;
    if (end == END_CRLF && parser->last_end != END_LF)
        return true;
    parser->forgiven |= end == END_CRCRLF ? (only_crcrlf ? SMTP_LENIENCY_CR_END : 0) : (only_lf ? SMTP_LENIENCY_LF_END : 0);
    return end == END_CRCRLF ? only_crcrlf : only_lf;
}

static size_t next_lenient_data(struct smtp_parser *parser, const char *buf, size_t len, struct smtp_token *token)
{
    static const struct {
        char text[5];
        size_t len;
        enum line_end end;
    } alone[] = { { ".\r\n", 3, END_CRLF }, { ".\n", 2, END_LF }, { ".\r\r\n", 4, END_CRCRLF } };
    /* Where lines end in CRLF none begins behind a bare LF: a dot there was not doubled, so it stays. */
    bool text = parser->last_end == END_LF && (parser->ends_seen & ~(unsigned)END_LF) != 0;
    if (len == 0 || parser->state != AT_LINE_START || buf[0] != '.' || text)
        return lenient_text(parser, buf, len, token, true);
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) {
        size_t most = len < alone[i].len ? len : alone[i].len;
        if (memcmp(buf, alone[i].text, most) != 0)
            continue;
        if (len < alone[i].len)
            return need_more(token, 0);
        if (lenient_dot_ends(parser, alone[i].end)) {
            message_end(parser, token);
            return alone[i].len;
        }
    }
    parser->state = IN_LINE; /* the dot goes, and what follows is not at the line's start */
    return 1 + lenient_text(parser, buf + 1, len - 1, token, true);
}

static size_t next_lenient_bdat(struct smtp_parser *parser, const char *buf, size_t len, struct smtp_token *token)
{
    if (len > parser->left)
        len = (size_t)parser->left;
    size_t used = lenient_text(parser, buf, len, token, false);
    parser->left -= used;
    if (parser->left == 0 && token->event == SMTP_NEED_MORE)
        message_end(parser, token);
    return used;
}

size_t smtp_parser_next(struct smtp_parser *parser, const char *buf, size_t len, struct smtp_token *token)
{
    switch (parser->mode) {
    case MODE_DATA:
        return parser->lenient ? next_lenient_data(parser, buf, len, token) : next_data(parser, buf, len, token);
    case MODE_BDAT:
        return parser->lenient ? next_lenient_bdat(parser, buf, len, token) : next_bdat(parser, buf, len, token);
    default:
        return next_command(parser, buf, len, token);
    }
}

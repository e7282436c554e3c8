/* lines.c - see lines.h */
#include "common/policy/lines.h"

#include <string.h>
#include "common/utf8.h"

void lines_init(struct lines *lines, char *text, size_t len)
{
    *lines = (struct lines){ .next = text + utf8_mark(text, len), .end = text + len };
}

/* What ends a line's content, or may: nearly every byte of a large file is none of these. */
static const bool is_special[256] = { [0 ... 8] = true, [10 ... 0x1f] = true, ['"'] = true, ['#'] = true, [0x7f] = true };

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* The length of a line without comment, line end and white space before them. SIZE_MAX: a control character, *bad. */
static size_t content_length(const char *line, size_t len, unsigned char *bad)
{
    bool quoted = false;

    if (len > 0 && line[len - 1] == '\r')
        len--;
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)line[i];
        if (!is_special[byte])
            continue;
        if (byte == '"') {
            quoted = !quoted;
        } else if (byte != '#') {
            *bad = byte;
            return (size_t)-1;
        } else if (!quoted && (i == 0 || is_blank(line[i - 1]))) {
            len = i;
        }
    }
    while (len > 0 && is_blank(line[len - 1]))
        len--;
    return len;
}

enum lines_status lines_next(struct lines *lines, char **text, unsigned *number, struct error *why)
{
    char *out = NULL; /* end of the logical line so far */

    while (lines->next < lines->end) {
        char *line = lines->next, *newline = memchr(line, '\n', (size_t)(lines->end - line));
        char *line_end = newline != NULL ? newline : lines->end;
        unsigned char bad = 0;
        size_t len = content_length(line, (size_t)(line_end - line), &bad);
        if (len == (size_t)-1) {
            *number = lines->physical + 1;
            error_set(why, "the line has a control character (0x%02x)", bad);
            return LINES_ERROR;
        }
        bool continues = len > 0 && is_blank(*line);
        if (out != NULL && len > 0 && !continues)
            break; /* the next logical line */
        lines->next = newline != NULL ? newline + 1 : lines->end;
        lines->physical++;
        if (len == 0)
            continue;
        if (out == NULL && continues) {
            *number = lines->physical;
            error_set(why, "a line that begins with white space continues the one before, and there is none");
            return LINES_ERROR;
        }
        if (out == NULL) {
            *text = line;
            *number = lines->physical;
            out = line + len;
            continue;
        }
        size_t skip = strspn(line, " \t");
        *out++ = ' '; /* the line end, or white space, was here */
        memmove(out, line + skip, len - skip);
        out += len - skip;
    }
    if (out == NULL)
        return LINES_END;
    *out = '\0'; /* a line end, white space, a comment, or the text's own NUL */
    return LINES_LINE;
}

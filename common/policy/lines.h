#ifndef WEIR_COMMON_POLICY_LINES_H
#define WEIR_COMMON_POLICY_LINES_H
/*
 * lines.h - the lines of an operator's file, as Postfix and sendmail read them
 *
 * Comments ('#' at the start of a line, or behind white space outside of double quotes) and empty lines go; a line that begins with white
 * space continues the one before. The text is edited in place, so lines stay valid as long as it does.
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"

struct lines {
    char *next, *end;  /* *end is NUL */
    unsigned physical; /* number of the last line looked at */
};

enum lines_status { LINES_LINE, LINES_END, LINES_ERROR };

/* text[len] must be NUL. A byte order mark at its start is no part of the first line. */
void lines_init(struct lines *lines, char *text, size_t len);
/* LINES_LINE: *text without white space at its ends, never empty; *number is its first line's. LINES_ERROR: *number and why. */
enum lines_status lines_next(struct lines *lines, char **text, unsigned *number, struct error *why);

#endif

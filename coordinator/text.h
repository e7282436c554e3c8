#ifndef WEIR_COORDINATOR_TEXT_H
#define WEIR_COORDINATOR_TEXT_H
/*
 * text.h - a growing string, and the two ways text from elsewhere is made fit for PostgreSQL and for JSON
 *
 * data is NUL-terminated and never NULL after text_init(). Growing never fails (out of memory ends the process).
 */
#include <stdbool.h>
#include <stddef.h>

struct text {
    char *data;
    size_t len, cap;
};

void text_init(struct text *text);
void text_fini(struct text *text);
void text_reset(struct text *text); /* empty again, memory kept */
void text_add(struct text *text, const void *bytes, size_t len);
void text_puts(struct text *text, const char *string);
void text_printf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Printable ASCII without quotation marks and backslashes, as nearly all is: nothing to clean, nothing to escape. */
bool text_is_plain(const void *bytes, size_t len);
/* Appends bytes as valid UTF-8 without control characters (C0, DEL, C1): each byte of what is neither becomes \xNN. At most max bytes are added, whole
 * characters only. What PostgreSQL gets through here it never refuses as text. */
void text_add_clean(struct text *text, const void *bytes, size_t len, size_t max);
/* The same of a line that a person wrote: its tabs stay as they are. */
void text_add_clean_line(struct text *text, const void *bytes, size_t len, size_t max);
/* The same of a stranger's words for a person's eyes: without marks that change the direction of what stands around them, or end its line, as with them a text says one thing
 * in a log and another on a screen. */
void text_add_shown(struct text *text, const void *bytes, size_t len, size_t max);
/* The same as HTML, fit for an element or a quoted attribute. */
void text_add_html(struct text *text, const void *bytes, size_t len, size_t max);
/* HTML as well, but of text that comes back in a form: all of it, as it is. */
void text_add_value(struct text *text, const char *value);
/* bytes with a NUL behind, for free(). bytes may be NULL when len is 0, as an empty protobuf field is. */
char *text_copy(const void *bytes, size_t len);
/* How many of the bytes, from the first, are valid UTF-8 without NUL: all of them is what PostgreSQL takes as text. */
size_t text_valid_prefix(const void *bytes, size_t len);
/* Appends bytes, cleaned, as a JSON string with its quotes. */
void text_add_json(struct text *text, const void *bytes, size_t len);

#endif

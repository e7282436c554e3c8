#ifndef WEIR_COMMON_UTF8_H
#define WEIR_COMMON_UTF8_H
/* utf8.h - reading one character of UTF-8 (RFC 3629) */
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at text, and its code point; 0 when there is none: len is 0, a byte is missing or wrong, the form is overlong, or it
 * is a surrogate. */
size_t utf8_read(const char *text, size_t len, uint32_t *code);

/* The length of a byte order mark at the start of a text, or 0: some editors leave one, and it means nothing (RFC 3629 6). */
size_t utf8_mark(const char *text, size_t len);

#endif

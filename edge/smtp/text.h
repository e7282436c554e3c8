#ifndef WEIR_EDGE_SMTP_TEXT_H
#define WEIR_EDGE_SMTP_TEXT_H
/* text.h - what bytes are, without locale: used inside edge/smtp only */
#include <stdbool.h>
#include <stddef.h>

static inline bool smtp_is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static inline bool smtp_is_alnum(char c)
{
    return smtp_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool smtp_is_control(char c)
{
    return (unsigned char)c < 32 || c == 127;
}
static inline char smtp_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}
/* Value of a hex digit of either case, -1 for anything else. */
int smtp_hex_value(char c);
/* The character at the start of text: its length in bytes with *code set, 0 when it is not well-formed UTF-8 (RFC 3629: no overlong
 * forms, no surrogates) or len is 0. */
size_t smtp_utf8_decode(const char *text, size_t len, unsigned *code);
/* Writes one character, 1 to 4 bytes; 0 when code is not a character. */
size_t smtp_utf8_encode(char out[4], unsigned code);
/* Only 0x20 to 0x7e: RFC 3461's "printable US-ASCII". */
bool smtp_text_is_ascii(const char *text, size_t len);
/* Only printable ASCII and well-formed UTF-8 without C0 and C1 controls. */
bool smtp_text_is_printable(const char *text, size_t len);

#endif

/*
 * text.c - UTF-8 and hex, as the rest of edge/smtp needs them
 */
#include "edge/smtp/text.h"

int smtp_hex_value(char c)
{
    if (smtp_is_digit(c))
        return c - '0';
    c = smtp_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t smtp_utf8_decode(const char *text, size_t len, unsigned *code)
{
    static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (len == 0)
        return 0;
    unsigned char first = (unsigned char)text[0];
    size_t need;
    if (first < 0x80) {
        *code = first;
        return 1;
    } else if (first >= 0xc2 && first < 0xe0) {
        need = 2;
        *code = first & 0x1fu;
    } else if (first >= 0xe0 && first < 0xf0) {
        need = 3;
        *code = first & 0x0fu;
    } else if (first >= 0xf0 && first < 0xf5) {
        need = 4;
        *code = first & 0x07u;
    } else {
        return 0;
    }
    if (len < need)
        return 0;
    for (size_t i = 1; i < need; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | ((unsigned char)text[i] & 0x3fu);
    }
    bool surrogate = *code >= 0xd800 && *code < 0xe000;
    return *code < least[need] || surrogate || *code > 0x10ffff ? 0 : need;
}

size_t smtp_utf8_encode(char out[4], unsigned code)
{
    if ((code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
        return 0;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)(lead[len] | code);
    return len;
}

bool smtp_text_is_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    return true;
}

bool smtp_text_is_printable(const char *text, size_t len)
{
    for (size_t i = 0, used; i < len; i += used) {
        unsigned code;
        used = smtp_utf8_decode(text + i, len - i, &code);
        if (used == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0))
            return false;
    }
    return true;
}

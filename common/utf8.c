/* utf8.c - see utf8.h */
#include "common/utf8.h"
#include <string.h>

size_t utf8_read(const char *text, size_t len, uint32_t *code)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 }; /* less than that is an overlong form */
    size_t size;

    if (len == 0)
        return 0;
    unsigned char first = (unsigned char)text[0];
    if (first < 0x80) {
        *code = first;
        return 1;
    }
    if ((first & 0xe0) == 0xc0)
        size = 2, *code = first & 0x1f;
    else if ((first & 0xf0) == 0xe0)
        size = 3, *code = first & 0x0f;
    else if ((first & 0xf8) == 0xf0)
        size = 4, *code = first & 0x07;
    else
        return 0;
    if (size > len)
        return 0;
    for (size_t i = 1; i < size; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | ((unsigned char)text[i] & 0x3f);
    }
    return *code < least[size] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff) ? 0 : size;
}

size_t utf8_mark(const char *text, size_t len)
{
    static const char mark[] = { '\xef', '\xbb', '\xbf' };

    return len >= sizeof mark && memcmp(text, mark, sizeof mark) == 0 ? sizeof mark : 0;
}

/* decode.c - base64, quoted-printable (RFC 2045 6.7, 6.8) and uuencode: what is not theirs is skipped, and told */
#include <stdint.h>
#include "scanner/mime/parts.h"

/* One more than the value of a character of the alphabet; 0: not of it. */
#define B64_PAD 65
#define B64_SKIP 66 /* line ends */

static const uint8_t base64_value[256] = {
    ['A'] = 1, ['B'] = 2, ['C'] = 3, ['D'] = 4, ['E'] = 5, ['F'] = 6, ['G'] = 7, ['H'] = 8, ['I'] = 9, ['J'] = 10,
    ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20,
    ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30,
    ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50,
    ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60,
    ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
    ['='] = B64_PAD, ['\r'] = B64_SKIP, ['\n'] = B64_SKIP,
};

struct mime_span decode_base64(struct mime_parser *parser, struct mime_span in, bool *bad)
{
    char *out = arena_take(&parser->arena, in.len / 4 * 3 + 3);
    const uint8_t *at = (const uint8_t *)in.bytes, *end = at + in.len;
    uint32_t bits = 0, count = 0;
    size_t used = 0;
    bool padded = false, wrong = false;

    while (at < end) {
        while (count == 0 && end - at >= 4) { /* nearly all there is: four of the alphabet at a time */
            uint32_t a = base64_value[at[0]] - 1u, b = base64_value[at[1]] - 1u, c = base64_value[at[2]] - 1u, d = base64_value[at[3]] - 1u;
            if ((a | b | c | d) >= 64)
                break;
            uint32_t word = a << 18 | b << 12 | c << 6 | d;
            out[used++] = (char)(word >> 16), out[used++] = (char)(word >> 8), out[used++] = (char)word;
            wrong |= padded;
            at += 4;
        }
        if (at == end)
            break;
        uint8_t value = base64_value[*at++];
        if (value >= 1 && value <= 64) {
            wrong |= padded;
            bits = bits << 6 | (value - 1u);
            if (++count == 4) {
                out[used++] = (char)(bits >> 16), out[used++] = (char)(bits >> 8), out[used++] = (char)bits;
                bits = count = 0;
            }
        } else if (value == B64_PAD) { /* ends a group; what follows is decoded as well, as many readers do */
            wrong |= count < 2 && !(padded && count == 0);
            if (count >= 2)
                out[used++] = (char)(bits >> (count == 3 ? 10 : 4));
            if (count == 3)
                out[used++] = (char)(bits >> 2);
            padded = true;
            bits = count = 0;
        } else {
            wrong |= value == 0 && !((at[-1] == ' ' || at[-1] == '\t') && (at == end || base64_value[*at] == B64_SKIP));
        }
    }
    if (count >= 2)
        out[used++] = (char)(bits >> (count == 3 ? 10 : 4));
    if (count == 3)
        out[used++] = (char)(bits >> 2);
    *bad = wrong || count != 0;
    arena_trim(&parser->arena, out, used);
    return (struct mime_span){ out, used };
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Where the white space and line end at `at` end, if nothing else stands before the line end; else NULL. */
static const char *soft_end(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    if (at < end && *at == '\r')
        at++;
    if (at == end)
        return at;
    return *at == '\n' ? at + 1 : NULL;
}

struct mime_span decode_qp(struct mime_parser *parser, struct mime_span in, bool *bad)
{
    char *out = arena_take(&parser->arena, in.len);
    const char *at = in.bytes, *end = at + in.len;
    size_t used = 0;

    *bad = false;
    while (at < end) {
        const char *mark = memchr(at, '=', (size_t)(end - at));
        size_t plain = (size_t)((mark == NULL ? end : mark) - at);
        memcpy(out + used, at, plain);
        used += plain;
        if (mark == NULL)
            break;
        at = mark + 1;
        int high = end - at >= 2 ? hex_value(at[0]) : -1, low = high >= 0 ? hex_value(at[1]) : -1;
        if (low >= 0) {
            out[used++] = (char)(high << 4 | low);
            at += 2;
            continue;
        }
        const char *next = soft_end(at, end);
        if (next != NULL) {
            at = next;
        } else { /* RFC 2045 6.7: may be shown as it stands */
            out[used++] = '=';
            *bad = true;
        }
    }
    arena_trim(&parser->arena, out, used);
    return (struct mime_span){ out, used };
}

struct mime_span decode_uu(struct mime_parser *parser, struct mime_span in)
{
    char *out = arena_take(&parser->arena, in.len);
    const char *at = in.bytes, *end = at + in.len;
    size_t used = 0;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop == NULL ? end : stop;
        size_t want = ((size_t)(*at - ' ')) & 63;
        for (at++; want > 0 && stop - at >= 2; at += 4) {
            uint32_t word = 0;
            for (int i = 0; i < 4; i++)
                word = word << 6 | (at + i < stop ? (uint32_t)(at[i] - ' ') & 63 : 0);
            for (int shift = 16; shift >= 0 && want > 0; shift -= 8, want--)
                out[used++] = (char)(word >> shift);
        }
        at = stop < end ? stop + 1 : end;
    }
    arena_trim(&parser->arena, out, used);
    return (struct mime_span){ out, used };
}

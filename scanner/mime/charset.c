/*
 * charset.c - text of any character set as UTF-8
 *
 * glibc's iconv: kept up with the standards by others, and its converters are shared objects, so all of them are opened before a sandbox
 * closes (charsets_new), and stay open. UTF-8, ASCII and Latin-1 are most of all mail and cost no call.
 */
#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include "common/memory.h"
#include "common/utf8.h"
#include "scanner/mime/parts.h"

#define NOT_OPEN ((iconv_t)-1)
#define CHARSET_NAME_MAX 40

/* Supersets where people label wrongly: GB2312 is GBK is GB18030, Shift_JIS is Windows-31J, ISO-8859-1 is Windows-1252 (as the WHATWG has it). */
static const struct {
    const char *converter;
    const char *names; /* lower case, each followed by a space */
} charset_table[] = {
    { "CP1252", "iso-8859-1 latin1 l1 iso8859-1 iso_8859-1 windows-1252 cp1252 x-ansi cp819 ibm819 iso-8859-1-windows-3.1-latin-1 " },
    { "GB18030", "gb2312 gbk gb18030 gb_2312-80 cp936 windows-936 x-gbk euc-cn gb_2312 csgb2312 chinese " },
    { "BIG5-HKSCS", "big5 big5-hkscs cp950 x-x-big5 cn-big5 csbig5 big-5 " },
    { "ISO-2022-JP-2", "iso-2022-jp iso-2022-jp-1 iso-2022-jp-2 csiso2022jp cp50220 cp50221 cp50222 " },
    { "CP932", "shift_jis shift-jis sjis x-sjis windows-31j cp932 ms_kanji csshiftjis " },
    { "EUC-JP-MS", "euc-jp eucjp x-euc-jp cp51932 eucjp-ms " },
    { "UHC", "euc-kr ks_c_5601-1987 ksc5601 uhc cp949 windows-949 ks_c_5601 korean cseuckr " },
    { "ISO-2022-KR", "iso-2022-kr csiso2022kr " },
    { "ISO-2022-CN-EXT", "iso-2022-cn iso-2022-cn-ext " },
    { "EUC-TW", "euc-tw " },
    { "KOI8-R", "koi8-r koi8r koi cskoi8r " },
    { "KOI8-U", "koi8-u koi8-ru " },
    { "CP866", "cp866 ibm866 " },
    { "CP1250", "windows-1250 cp1250 " },
    { "CP1251", "windows-1251 cp1251 win-1251 " },
    { "CP1253", "windows-1253 cp1253 " },
    { "CP1254", "windows-1254 cp1254 iso-8859-9 latin5 " },
    { "CP1255", "windows-1255 cp1255 " },
    { "CP1256", "windows-1256 cp1256 " },
    { "CP1257", "windows-1257 cp1257 " },
    { "CP1258", "windows-1258 cp1258 " },
    { "CP874", "windows-874 cp874 tis-620 iso-8859-11 " },
    { "ISO-8859-2", "iso-8859-2 latin2 iso8859-2 " },
    { "ISO-8859-3", "iso-8859-3 " },
    { "ISO-8859-4", "iso-8859-4 " },
    { "ISO-8859-5", "iso-8859-5 cyrillic " },
    { "ISO-8859-6", "iso-8859-6 iso-8859-6-i iso-8859-6-e " },
    { "ISO-8859-7", "iso-8859-7 greek " },
    { "ISO-8859-8", "iso-8859-8 iso-8859-8-i iso-8859-8-e hebrew " },
    { "ISO-8859-10", "iso-8859-10 " },
    { "ISO-8859-13", "iso-8859-13 " },
    { "ISO-8859-14", "iso-8859-14 " },
    { "ISO-8859-15", "iso-8859-15 latin-9 iso8859-15 " },
    { "ISO-8859-16", "iso-8859-16 " },
    { "MACINTOSH", "macintosh x-mac-roman mac " },
    { "CP437", "cp437 ibm437 " },
    { "CP850", "cp850 ibm850 " },
    { "UTF-7", "utf-7 unicode-1-1-utf-7 x-unicode-2-0-utf-7 " },
    { "UTF-16", "utf-16 ucs-2 iso-10646-ucs-2 " },
    { "UTF-16LE", "utf-16le " },
    { "UTF-16BE", "utf-16be " },
    { "UTF-32", "utf-32 ucs-4 " },
};
#define CHARSETS (sizeof charset_table / sizeof charset_table[0])
#define CHARSET_1252 0 /* places in the table */
#define CHARSET_GB 1

struct charsets {
    iconv_t open[CHARSETS];
};

struct charsets *charsets_new(void)
{
    struct charsets *charsets = xmalloc(sizeof *charsets);
    for (size_t i = 0; i < CHARSETS; i++) {
        charsets->open[i] = iconv_open("UTF-8", charset_table[i].converter);
        char in[] = "a", out[16], *from = in, *to = out; /* some converters load their tables only when used */
        size_t left = 1, room = sizeof out;
        if (charsets->open[i] != NOT_OPEN)
            iconv(charsets->open[i], &from, &left, &to, &room);
    }
    return charsets;
}

void charsets_free(struct charsets **charsets)
{
    for (size_t i = 0; *charsets != NULL && i < CHARSETS; i++)
        if ((*charsets)->open[i] != NOT_OPEN)
            iconv_close((*charsets)->open[i]);
    free(*charsets);
    *charsets = NULL;
}

bool text_is_ascii(struct mime_span text)
{
    const char *at = text.bytes, *end = at + text.len;
    uint64_t word, any = 0;
    for (; end - at >= (ptrdiff_t)sizeof word; at += sizeof word) {
        memcpy(&word, at, sizeof word);
        any |= word;
    }
    for (; at < end; at++)
        any |= (unsigned char)*at;
    return (any & UINT64_C(0x8080808080808080)) == 0;
}

bool text_is_utf8(struct mime_span text)
{
    for (size_t i = 0; i < text.len;) {
        uint32_t code;
        size_t len = (unsigned char)text.bytes[i] < 0x80 ? 1 : utf8_read(text.bytes + i, text.len - i, &code);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

static bool named(struct mime_span charset, const char *const names[])
{
    for (; *names != NULL; names++)
        if (mime_span_is(charset, *names))
            return true;
    return false;
}

static int charset_find(struct mime_span charset)
{
    char name[CHARSET_NAME_MAX + 2];
    if (charset.len == 0 || charset.len > CHARSET_NAME_MAX)
        return -1;
    for (size_t i = 0; i < charset.len; i++)
        name[i] = lower(charset.bytes[i]);
    name[charset.len] = ' ';
    name[charset.len + 1] = '\0';
    for (size_t i = 0; i < CHARSETS; i++) {
        const char *found = strstr(charset_table[i].names, name);
        if (found != NULL && (found == charset_table[i].names || found[-1] == ' '))
            return (int)i;
    }
    return -1;
}

/* Bytes above 127 in pairs of GBK are Chinese; else what Western mail has most. */
static int charset_guess(struct mime_span text)
{
    size_t pairs = 0, odd = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        if (c < 0x80)
            continue;
        unsigned char next = i + 1 < text.len ? (unsigned char)text.bytes[i + 1] : 0;
        if (c >= 0xa1 && c <= 0xf7 && next >= 0xa1 && next != 0xff)
            pairs++, i++;
        else
            odd++;
    }
    return pairs > 1 && odd * 8 <= pairs ? CHARSET_GB : CHARSET_1252;
}

static size_t put_replacement(char *out, size_t room)
{
    if (room < 3)
        return 0;
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

/* A step over one byte at each error, so that the work is bounded by the bytes. */
static struct mime_span convert(struct mime_parser *parser, iconv_t converter, struct mime_span in, size_t cap, size_t *errors)
{
    size_t room = in.len * 3 + 16, left = in.len;
    room = room < cap ? room : cap;
    char *out = arena_take(&parser->arena, room), *to = out, *from = (char *)(uintptr_t)in.bytes;

    iconv(converter, NULL, NULL, NULL, NULL);
    *errors = 0;
    while (left > 0) {
        bool whole = iconv(converter, &from, &left, &to, &room) != (size_t)-1, full = !whole && errno == E2BIG;
        if (whole || left == 0)
            break;
        size_t mark = full ? 0 : put_replacement(to, room);
        if (mark == 0) {
            mime_note(parser, MIME_LIMIT_TEXT);
            break;
        }
        to += mark, room -= mark;
        from++, left--;
        ++*errors;
    }
    arena_trim(&parser->arena, out, (size_t)(to - out));
    return (struct mime_span){ out, (size_t)(to - out) };
}

/* What claims to be UTF-8 and is not: each byte that is wrong becomes U+FFFD. */
static struct mime_span repair_utf8(struct mime_parser *parser, struct mime_span in, size_t cap)
{
    size_t room = in.len * 3 < cap ? in.len * 3 : cap, used = 0;
    char *out = arena_take(&parser->arena, room);
    for (size_t i = 0; i < in.len;) {
        uint32_t code;
        size_t len = utf8_read(in.bytes + i, in.len - i, &code), need = len > 0 ? len : 3;
        if (room - used < need) {
            mime_note(parser, MIME_LIMIT_TEXT);
            break;
        }
        if (len > 0)
            memcpy(out + used, in.bytes + i, len);
        else
            put_replacement(out + used, need);
        used += need;
        i += len > 0 ? len : 1;
    }
    arena_trim(&parser->arena, out, used);
    return (struct mime_span){ out, used };
}

struct mime_span charset_to_utf8(struct mime_parser *parser, struct mime_span charset, struct mime_span in, size_t cap)
{
    static const char *const plain[] = { "", "utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "x-unknown", "unknown", NULL };
    bool like_ascii = named(charset, plain);
    int found = like_ascii ? -1 : charset_find(charset);
    size_t errors;

    if (in.len > cap) { /* not within a character of UTF-8 */
        mime_note(parser, MIME_LIMIT_TEXT);
        in.len = cap;
        while (in.len > 0 && cap - in.len < 4 && ((unsigned char)in.bytes[in.len] & 0xc0) == 0x80)
            in.len--;
    }
    if (!like_ascii && found < 0)
        mime_note(parser, MIME_UNKNOWN_CHARSET);
    bool stateful = found >= 0 && (strncmp(charset_table[found].converter, "UTF", 3) == 0 || strncmp(charset_table[found].converter, "ISO-2022", 8) == 0);
    if (!stateful && text_is_ascii(in))
        return in;
    if (found < 0) {
        if (text_is_utf8(in))
            return in;
        if (charset.len > 0)
            mime_note(parser, MIME_BAD_CHARSET);
        if (mime_span_is(charset, "utf-8") || mime_span_is(charset, "utf8"))
            return repair_utf8(parser, in, cap);
        found = charset_guess(in);
    }
    if (parser->charsets->open[found] == NOT_OPEN) /* a system without that converter */
        return repair_utf8(parser, in, cap);
    struct mime_span text = convert(parser, parser->charsets->open[found], in, cap, &errors);
    if (errors > 0)
        mime_note(parser, MIME_BAD_CHARSET);
    return text;
}

/*
 * idn.c - see idn.h
 */
#include "common/idn.h"
#include <ctype.h>
#include <idn2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "common/utf8.h"

bool idn_is_ascii(const char *name)
{
    while (*name != '\0' && (unsigned char)*name < 0x80)
        name++;
    return *name == '\0';
}

/* What UTS 46 drops silently (IdnaMappingTable.txt, "ignored"), as the zero width space and a byte order mark: two names that look the same are a mistake
 * in a file and a trick in an address. */
static bool is_dropped(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = { { 0xad, 0xad },     { 0x34f, 0x34f },   { 0x180b, 0x180f }, { 0x200b, 0x200b },   { 0x2060, 0x2060 },
                   { 0x2064, 0x2064 }, { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff }, { 0x1bca0, 0x1bca3 }, { 0xe0100, 0xe01ef } };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    return false;
}

static bool is_visible(const char *name)
{
    for (size_t left = strlen(name), size; left > 0; name += size, left -= size) {
        uint32_t code;
        size = utf8_read(name, left, &code);
        if (size == 0 || is_dropped(code))
            return false;
    }
    return true;
}

static size_t count_dots(const char *name)
{
    size_t count = 0;
    for (; *name != '\0'; name++)
        count += *name == '.';
    return count;
}

/* UTS 46 maps compatibility characters to what they look like: U+2100 to "a/c", a full stop of another script to ".". */
static bool is_name(const char *ascii)
{
    while (isalnum((unsigned char)*ascii) || (*ascii != '\0' && strchr("-_.", *ascii) != NULL))
        ascii++;
    return *ascii == '\0';
}

static bool copy(char out[IDN_NAME_MAX], const char *ascii)
{
    size_t len = strlen(ascii);
    if (len >= IDN_NAME_MAX)
        return false;
    memcpy(out, ascii, len + 1);
    return true;
}

/* U+1E9E is the capital of U+00DF and means the same (UTS 46 since Unicode 15.1). libidn2 2.3 makes "ss" of it: another domain, perhaps
 * somebody else's. */
static char *lower_sharp_s(const char *name)
{
    static const char capital[] = "\u1e9e", small[] = "\u00df";
    char *lower = xstrdup(name);
    for (char *at = lower; (at = strstr(at, capital)) != NULL;) {
        memcpy(at, small, strlen(small));
        at += strlen(small);
        memmove(at, at + strlen(capital) - strlen(small), strlen(at + strlen(capital) - strlen(small)) + 1);
    }
    return lower;
}

bool idn_to_ascii(char out[IDN_NAME_MAX], const char *name)
{
    char *made = NULL;
    if (idn_is_ascii(name))
        return copy(out, name);
    char *lower = lower_sharp_s(name);
    bool good = is_visible(name) && idn2_to_ascii_8z(lower, &made, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK && is_name(made) &&
                count_dots(made) == count_dots(name) && copy(out, made);
    idn2_free(made);
    free(lower);
    return good;
}

bool idn_to_unicode(char out[IDN_NAME_MAX], const char *name)
{
    char *made = NULL, lower[IDN_NAME_MAX], back[IDN_NAME_MAX]; /* punycode keeps the case of what is ASCII in it */
    if (!copy(lower, name))
        return false;
    for (char *at = lower; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    bool good = idn2_to_unicode_8z8z(lower, &made, 0) == IDN2_OK && copy(out, made) && idn_to_ascii(back, out) && strcmp(back, lower) == 0;
    idn2_free(made);
    return good;
}

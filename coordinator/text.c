/*
 * text.c - a growing string, and the two ways text from elsewhere is made fit for PostgreSQL and for JSON
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/text.h"

void text_init(struct text *text)
{
    *text = (struct text){ .data = xcalloc(1, 64), .cap = 64 };
}

void text_fini(struct text *text)
{
    free(text->data);
    *text = (struct text){ 0 };
}

void text_reset(struct text *text)
{
    text->len = 0;
    text->data[0] = '\0';
}

static void text_reserve(struct text *text, size_t more)
{
    if (text->len + more + 1 <= text->cap)
        return;
    while (text->len + more + 1 > text->cap)
        text->cap *= 2;
    text->data = xrealloc(text->data, text->cap);
}

void text_add(struct text *text, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    text_reserve(text, len);
    memcpy(text->data + text->len, bytes, len);
    text->len += len;
    text->data[text->len] = '\0';
}

void text_puts(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        text_reserve(text, (size_t)len);
        vsnprintf(text->data + text->len, (size_t)len + 1, format, again);
        text->len += (size_t)len;
    }
    va_end(again);
}

/* Length of the well-formed UTF-8 character (RFC 3629) at bytes, 0 when there is none. */
static size_t utf8_len(const uint8_t *bytes, size_t len)
{
    uint8_t lead = bytes[0];
    size_t want = lead < 0x80                    ? 1
                  : lead >= 0xc2 && lead <= 0xdf ? 2
                  : (lead & 0xf0) == 0xe0        ? 3
                  : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                 : 0;
    if (want == 0 || want > len)
        return 0;
    for (size_t i = 1; i < want; i++)
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (lead == 0xe0 && bytes[1] < 0xa0) || (lead == 0xf0 && bytes[1] < 0x90);
    bool surrogate = lead == 0xed && bytes[1] > 0x9f;
    bool too_high = lead == 0xf4 && bytes[1] > 0x8f;
    return overlong || surrogate || too_high ? 0 : want;
}

/* How much of it is ASCII without control characters, as nearly all text is. */
static size_t plain_len(const uint8_t *bytes, size_t len)
{
    size_t plain = 0;
    while (plain < len && bytes[plain] >= 0x20 && bytes[plain] < 0x7f)
        plain++;
    return plain;
}

/* C0, DEL, and C1 (U+0080 to U+009F), which many a terminal obeys as it does ESC and what follows. at: one character, of used bytes. */
static bool is_control(const uint8_t *at, size_t used)
{
    return (used == 1 && (at[0] < 0x20 || at[0] == 0x7f)) || (used == 2 && at[0] == 0xc2 && at[1] < 0xa0);
}

static void add_clean(struct text *text, const void *bytes, size_t len, size_t max, bool keeps_tabs)
{
    const uint8_t *at = bytes;
    size_t room = max;
    while (len > 0) {
        size_t plain = plain_len(at, len < room ? len : room);
        text_add(text, at, plain);
        at += plain;
        len -= plain;
        room -= plain;
        if (len == 0)
            return;
        size_t used = utf8_len(at, len);
        bool escaped = used == 0 || (is_control(at, used) && !(keeps_tabs && at[0] == '\t'));
        used = used == 0 ? 1 : used;
        size_t cost = escaped ? 4 * used : used;
        if (room < cost)
            return;
        for (size_t i = 0; i < used && escaped; i++)
            text_printf(text, "\\x%02X", at[i]);
        text_add(text, at, escaped ? 0 : used);
        room -= cost;
        at += used;
        len -= used;
    }
}

bool text_is_plain(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++)
        if (bytes[i] < 0x20 || bytes[i] > 0x7e || bytes[i] == '"' || bytes[i] == '\\')
            return false;
    return true;
}

void text_add_clean(struct text *text, const void *bytes, size_t len, size_t max)
{
    add_clean(text, bytes, len, max, false);
}

void text_add_clean_line(struct text *text, const void *bytes, size_t len, size_t max)
{
    add_clean(text, bytes, len, max, true);
}

/* Length of a mark that changes the direction of what stands around it (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069) or ends its line (U+2028,
 * U+2029); 0: none is there. */
static size_t direction_mark_len(const char *at, size_t left)
{
    unsigned char a = (unsigned char)at[0], b = left > 1 ? (unsigned char)at[1] : 0, c = left > 2 ? (unsigned char)at[2] : 0;
    if (a == 0xd8 && b == 0x9c)
        return 2;
    bool marks = b == 0x80 && (c == 0x8e || c == 0x8f || (c >= 0xa8 && c <= 0xae));
    bool isolates = b == 0x81 && c >= 0xa6 && c <= 0xa9;
    return a == 0xe2 && (marks || isolates) ? 3 : 0;
}

void text_add_shown(struct text *text, const void *bytes, size_t len, size_t max)
{
    const char *at = bytes;
    size_t end = text->len + (max < SIZE_MAX - text->len ? max : SIZE_MAX - text->len);
    while (len > 0 && text->len < end) {
        size_t run = 0;
        while (run < len && direction_mark_len(at + run, len - run) == 0)
            run++;
        text_add_clean(text, at, run, end - text->len);
        size_t used = run < len ? run + direction_mark_len(at + run, len - run) : run;
        at += used;
        len -= used;
    }
}

void text_add_html(struct text *text, const void *bytes, size_t len, size_t max)
{
    struct text shown;
    text_init(&shown);
    text_add_shown(&shown, bytes, len, max);
    if (shown.len > 0)
        text_add_value(text, shown.data); /* clean text has no NUL */
    text_fini(&shown);
}

void text_add_value(struct text *text, const char *value)
{
    while (*value != '\0') {
        size_t run = strcspn(value, "&<>\"'");
        text_add(text, value, run);
        value += run;
        if (*value != '\0')
            text_printf(text, "&#%d;", *value++);
    }
}

char *text_copy(const void *bytes, size_t len)
{
    return len == 0 ? xstrdup("") : xstrndup(bytes, len);
}

size_t text_valid_prefix(const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    size_t valid = 0;
    while (valid < len && at[valid] != 0) {
        size_t used = at[valid] < 0x80 ? 1 : utf8_len(at + valid, len - valid); /* a large policy is nearly all ASCII */
        if (used == 0)
            break;
        valid += used;
    }
    return valid;
}

void text_add_json(struct text *text, const void *bytes, size_t len)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, bytes, len, SIZE_MAX);
    text_add(text, "\"", 1);
    for (size_t i = 0; i < clean.len;) {
        size_t run = 1 + strcspn(clean.data + i + 1, "\"\\"); /* from one to the next that is escaped; clean text has no NUL */
        if (clean.data[i] == '"' || clean.data[i] == '\\')
            text_add(text, "\\", 1);
        text_add(text, clean.data + i, run);
        i += run;
    }
    text_add(text, "\"", 1);
    text_fini(&clean);
}

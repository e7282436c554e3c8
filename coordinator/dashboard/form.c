/*
 * form.c - see form.h
 */
#include "coordinator/dashboard/form.h"
#include <stdint.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns how many bytes it made, or SIZE_MAX: too many, or a % without two digits. */
static size_t decode(const char *from, size_t len, char *out, size_t cap)
{
    size_t made = 0;
    for (size_t i = 0; i < len; i++) {
        int value = from[i] == '+' ? ' ' : (unsigned char)from[i];
        if (from[i] == '%') {
            int high = len - i > 2 ? hex_digit(from[i + 1]) : -1, low = len - i > 2 ? hex_digit(from[i + 2]) : -1;
            if (high < 0 || low < 0)
                return SIZE_MAX;
            value = high * 16 + low;
            i += 2;
        }
        if (made + 1 >= cap)
            return SIZE_MAX;
        out[made++] = (char)value;
    }
    out[made] = '\0';
    return made;
}

static bool is_text(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)bytes[i] < ' ' || bytes[i] == 127)
            return false;
    return text_valid_prefix(bytes, len) == len;
}

bool form_field(const char *bytes, size_t len, const char *name, char *out, size_t cap)
{
    size_t name_len = strlen(name);
    bool found = false;
    *out = '\0';
    for (size_t at = 0; at < len;) {
        const char *one = bytes + at, *end = memchr(one, '&', len - at);
        size_t one_len = end != NULL ? (size_t)(end - one) : len - at;
        at += one_len + 1;
        if (one_len <= name_len || one[name_len] != '=' || memcmp(one, name, name_len) != 0)
            continue;
        size_t made = found ? SIZE_MAX : decode(one + name_len + 1, one_len - name_len - 1, out, cap);
        if (made == SIZE_MAX || !is_text(out, made)) {
            *out = '\0';
            return false;
        }
        found = true;
    }
    return found;
}

bool form_cookie(const char *header, const char *name, char *out, size_t cap)
{
    size_t name_len = strlen(name);
    *out = '\0';
    while (header != NULL && *header != '\0') {
        header += strspn(header, " \t;");
        size_t len = strcspn(header, ";");
        if (len > name_len && header[name_len] == '=' && memcmp(header, name, name_len) == 0) {
            size_t value_len = len - name_len - 1;
            while (value_len > 0 && (header[name_len + value_len] == ' ' || header[name_len + value_len] == '\t'))
                value_len--;
            if (value_len >= cap)
                return false;
            memcpy(out, header + name_len + 1, value_len);
            out[value_len] = '\0';
            return true;
        }
        header += len;
    }
    return false;
}

void form_escape(struct text *out, const char *text)
{
    struct text clean;
    text_init(&clean);
    text_add_shown(&clean, text, strlen(text), SIZE_MAX);
    for (const char *p = clean.data; *p != '\0'; p++) {
        switch (*p) {
        case '&':
            text_puts(out, "&amp;");
            break;
        case '<':
            text_puts(out, "&lt;");
            break;
        case '>':
            text_puts(out, "&gt;");
            break;
        case '"':
            text_puts(out, "&quot;");
            break;
        case '\'':
            text_puts(out, "&#39;");
            break;
        default:
            text_add(out, p, 1);
        }
    }
    text_fini(&clean);
}

bool form_is_own(const char *fetch_site, const char *origin, const char *host)
{
    if (fetch_site != NULL)
        return strcmp(fetch_site, "same-origin") == 0 || strcmp(fetch_site, "none") == 0;
    if (origin == NULL) /* no browser of today: those send one with each POST */
        return true;
    const char *rest = strncmp(origin, "http://", 7) == 0 ? origin + 7 : strncmp(origin, "https://", 8) == 0 ? origin + 8 : NULL;
    return rest != NULL && host != NULL && strcmp(rest, host) == 0;
}

bool form_same(const char *secret, const char *given)
{
    size_t len = strlen(secret), given_len = strlen(given);
    unsigned char differs = len != given_len;
    for (size_t i = 0; i < len; i++)
        differs |= (unsigned char)secret[i] ^ (unsigned char)given[given_len > 0 ? i % given_len : 0];
    return differs == 0;
}

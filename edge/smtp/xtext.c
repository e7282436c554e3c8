/*
 * xtext.c - see xtext.h
 */
#include "edge/smtp/xtext.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "edge/smtp/command.h"
#include "edge/smtp/text.h"

static bool is_plain(char c)
{
    return c > ' ' && c <= '~' && c != '+' && c != '=';
}

bool smtp_xtext_decode(char *out, size_t cap, const char *text, size_t len)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '+') {
            int high = i + 2 < len ? smtp_hex_value(text[i + 1]) : -1;
            int low = i + 2 < len ? smtp_hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '=' || (unsigned char)c < 33 || (unsigned char)c > 126) {
            return false;
        }
        if (used + 1 >= cap)
            return false;
        out[used++] = c;
    }
    out[used] = '\0';
    return smtp_text_is_printable(out, used);
}

bool smtp_xtext_encode(char *out, size_t cap, const char *text)
{
    size_t used = 0;
    for (; *text != '\0'; text++) {
        if (used + (is_plain(*text) ? 1 : 3) >= cap) {
            out[0] = '\0';
            return false;
        }
        if (is_plain(*text))
            out[used++] = *text;
        else
            used += (size_t)snprintf(out + used, 4, "+%02X", (unsigned)(unsigned char)*text);
    }
    out[used] = '\0';
    return true;
}

/* RFC 6533 3, the form that needs no SMTPUTF8. */
static bool unitext_encode(char *out, size_t cap, const char *text)
{
    size_t used = 0, len = strlen(text);
    for (size_t at = 0, step; at < len; at += step) {
        unsigned code;
        step = smtp_utf8_decode(text + at, len - at, &code);
        if (step == 0 || used + 12 > cap) {
            out[0] = '\0';
            return false;
        }
        if (step == 1 && is_plain(text[at]) && text[at] != '\\')
            out[used++] = text[at];
        else
            used += (size_t)snprintf(out + used, 12, "\\x{%02X}", code);
    }
    out[used] = '\0';
    return true;
}

bool smtp_orcpt_encode(char *out, size_t cap, const char *orcpt)
{
    const char *address = strchr(orcpt, ';');
    size_t type = address != NULL ? (size_t)(address - orcpt) + 1 : 0;
    out[0] = '\0';
    if (type == 0 || type >= cap)
        return false;
    memcpy(out, orcpt, type);
    bool utf8 = type == 6 && strncasecmp(orcpt, "utf-8;", type) == 0;
    if (utf8 ? unitext_encode(out + type, cap - type, address + 1) : smtp_xtext_encode(out + type, cap - type, address + 1))
        return true;
    out[0] = '\0';
    return false;
}

char *smtp_notify_format(char out[SMTP_NOTIFY_TEXT_MAX], unsigned notify)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {
        { SMTP_NOTIFY_NEVER, "NEVER" },
        { SMTP_NOTIFY_SUCCESS, "SUCCESS" },
        { SMTP_NOTIFY_FAILURE, "FAILURE" },
        { SMTP_NOTIFY_DELAY, "DELAY" },
    };
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (notify & words[i].bit)
            len += (size_t)snprintf(out + len, SMTP_NOTIFY_TEXT_MAX - len, "%s%s", len > 0 ? "," : "", words[i].word);
    return out;
}

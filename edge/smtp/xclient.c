/*
 * xclient.c - see xclient.h
 */
#include "edge/smtp/xclient.h"
#include <string.h>
#include <strings.h>
#include "edge/smtp/text.h"
#include "edge/smtp/xtext.h"

#define VALUE_MAX SMTP_DOMAIN_MAX /* decoded: none is longer than a name */

static bool parse_address(struct netaddr *out, const char *text)
{
    struct netaddr address;
    bool prefixed = strncasecmp(text, "IPV6:", 5) == 0;
    text += prefixed ? 5 : 0;
    if (!netaddr_parse(&address, text) || prefixed != (strchr(text, ':') != NULL))
        return false;
    address.port = out->port;
    *out = address;
    return true;
}

static bool parse_port(uint16_t *out, const char *text)
{
    unsigned value = 0;
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len > 5 || text[len] != '\0')
        return false;
    for (size_t i = 0; i < len; i++)
        value = value * 10 + (unsigned)(text[i] - '0');
    *out = (uint16_t)value;
    return value <= UINT16_MAX;
}

static bool copy_word(char *out, size_t cap, const char *text)
{
    size_t len = strlen(text);
    if (len == 0 || len >= cap || memchr(text, ' ', len) != NULL)
        return false;
    memcpy(out, text, len + 1);
    return true;
}

/* What is unavailable leaves its field as it was made: empty. */
static bool take(struct smtp_xclient *out, unsigned which, const char *value)
{
    bool unavailable = strcasecmp(value, "[UNAVAILABLE]") == 0 || strcasecmp(value, "[TEMPUNAVAIL]") == 0;
    switch (which) {
    case SMTP_XCLIENT_NAME:
        return unavailable || smtp_domain_parse(out->name, value, strlen(value), false);
    case SMTP_XCLIENT_ADDR:
        return unavailable || parse_address(&out->client, value);
    case SMTP_XCLIENT_PORT:
        return unavailable || parse_port(&out->client.port, value);
    case SMTP_XCLIENT_PROTO:
        out->esmtp = strcasecmp(value, "ESMTP") == 0;
        return out->esmtp || strcasecmp(value, "SMTP") == 0;
    case SMTP_XCLIENT_HELO:
        return unavailable || copy_word(out->helo, sizeof out->helo, value);
    case SMTP_XCLIENT_LOGIN:
        return unavailable || copy_word(out->login, sizeof out->login, value);
    case SMTP_XCLIENT_DESTADDR:
        return unavailable || parse_address(&out->server, value);
    default:
        return unavailable || parse_port(&out->server.port, value);
    }
}

/* The bit of a name; 0: none. */
static unsigned which_is(const char *name, size_t len)
{
    static const char *const names[] = { "NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT" };
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0)
            return 1u << i;
    return 0;
}

struct smtp_complaint smtp_xclient_parse(struct smtp_xclient *out, const char *arguments, size_t len)
{
    *out = (struct smtp_xclient){ .given = 0 };
    for (const char *end = arguments + len, *next; arguments < end; arguments = next) {
        const char *space = memchr(arguments, ' ', (size_t)(end - arguments));
        const char *word_end = space != NULL ? space : end;
        const char *equals = memchr(arguments, '=', (size_t)(word_end - arguments));
        next = space != NULL ? space + 1 : end;
        if (word_end == arguments)
            continue;
        unsigned which = equals != NULL ? which_is(arguments, (size_t)(equals - arguments)) : 0;
        if (which == 0)
            return (struct smtp_complaint){ 501, "5.5.4", "XCLIENT with an attribute that is none" };
        if (out->given & which)
            return (struct smtp_complaint){ 501, "5.5.4", "XCLIENT with an attribute given twice" };
        char value[VALUE_MAX + 1];
        if (!smtp_xtext_decode(value, sizeof value, equals + 1, (size_t)(word_end - equals - 1)) || !take(out, which, value))
            return (struct smtp_complaint){ 501, "5.5.4", "XCLIENT with a value that is none" };
        out->given |= which;
    }
    if (out->given == 0)
        return (struct smtp_complaint){ 501, "5.5.4", "Syntax: XCLIENT attribute=value..." };
    return (struct smtp_complaint){ 0, NULL, NULL };
}

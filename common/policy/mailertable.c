/* mailertable.c - see mailertable.h */
#include "common/policy/mailertable.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SMTP_PORT 25
#define TEXT_MAX (sizeof((struct route *)0)->text - 1)

bool mailertable_key_normalise(char **text, struct domain_spellings *made, struct error *why)
{
    const char *key = *text;

    if (strcmp(key, ".") == 0)
        return true;
    if (strchr(key, '@') != NULL) {
        error_set(why, "'%s': a key is a domain, .domain or '.'; single mailboxes cannot be routed here", key);
        return false;
    }
    if (key[0] == '*') {
        error_set(why, key[1] == '.' ? "'%s': write '%s' for all subdomains" : "'%s': write '.' for everything else", key, key + 1);
        return false;
    }
    return domain_pattern_normalise(text, made, why);
}

static bool parse_port(const char *text, uint16_t *port)
{
    size_t len = strlen(text);
    unsigned long value = len > 0 && len <= 5 && strspn(text, "0123456789") == len ? strtoul(text, NULL, 10) : 0;

    *port = (uint16_t)value;
    return value >= 1 && value <= 65535;
}

/* No top-level domain is a number (RFC 1123 2.1, RFC 3696 2): it was to be an address, which some resolvers even take it for. */
static bool ends_in_number(const char *host)
{
    size_t len = strlen(host);
    while (len > 0 && host[len - 1] == '.')
        len--;
    const char *label = host + len;
    while (label > host && label[-1] != '.')
        label--;
    size_t label_len = (size_t)(host + len - label);
    size_t hex = label_len >= 2 && strncasecmp(label, "0x", 2) == 0 ? 2 : 0;
    return label_len > 0 && strspn(label + hex, hex > 0 ? "0123456789abcdefABCDEF" : "0123456789") >= label_len - hex;
}

/* host is a domain or an address without brackets; *address says which. */
static bool check_host(char **host, bool *address, struct domain_spellings *made, struct error *why)
{
    struct netaddr parsed;

    if (strncasecmp(*host, "IPv6:", 5) == 0)
        *host += 5;
    *address = netaddr_parse(&parsed, *host);
    if (!*address && ends_in_number(*host)) {
        error_set(why, "'%.300s' is neither an address nor a name", *host);
        return false;
    }
    if (!*address)
        return domain_normalise(host, made, why);
    for (char *p = *host; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    return true;
}

static bool parse_smtp(struct mailer *out, char *host, struct domain_spellings *made, struct error *why)
{
    char *port = NULL;
    bool address;

    out->kind = ROUTE_SMTP;
    out->port = SMTP_PORT;
    out->mx = host[0] != '[';
    if (host[strcspn(host, " \t")] != '\0') {
        error_set(why, "'%s': a host has no white space in it", host);
        return false;
    }
    if (!out->mx) {
        char *close = strchr(++host, ']');
        if (close == NULL || (close[1] != '\0' && close[1] != ':')) {
            error_set(why, "'[%s': expected [host] or [host]:port", host);
            return false;
        }
        port = close[1] == ':' ? close + 2 : NULL;
        *close = '\0';
    } else if ((port = strchr(host, ':')) != NULL) {
        *port++ = '\0';
    }
    if (port != NULL && strchr(port, '[') != NULL) {
        error_set(why, "'%s': one host only; a list of hosts to fall back to is not supported", port);
        return false;
    }
    if (port != NULL && !parse_port(port, &out->port)) {
        error_set(why, "'%s': the port is a number from 1 to 65535", port);
        return false;
    }
    if (!check_host(&host, &address, made, why))
        return false;
    out->host = host;
    if (out->mx && address) {
        error_set(why, "an address is written in brackets: [%s]", host);
        return false;
    }
    return true;
}

/* sendmail's names for what happened */
static const struct {
    const char *name;
    int code;
    const char *enhanced, *text;
} conditions[] = {
    { "nouser", 550, "5.1.1", "User unknown" },
    { "nohost", 550, "5.1.2", "Host unknown" },
    { "unavailable", 550, "5.3.0", "Service unavailable" },
    { "tempfail", 450, "4.3.0", "Try again later" },
};

/* The length of an enhanced status code at text (RFC 3463: class.subject.detail), as a word of its own, or 0. */
static size_t enhanced_length(const char *text)
{
    size_t at = 1;

    if (text[0] != '4' && text[0] != '5')
        return 0;
    for (int part = 0; part < 2; part++) {
        if (text[at] != '.')
            return 0;
        size_t digits = strspn(text + at + 1, "0123456789");
        if (digits < 1 || digits > 3)
            return 0;
        at += 1 + digits;
    }
    return strchr(" \t:", text[at]) != NULL ? at : 0; /* the NUL counts too */
}

/* Behind a word of the error mailer: its colon or white space. */
static char *skip_separator(char *text)
{
    text += strspn(text, " \t");
    if (*text == ':')
        text++;
    return text + strspn(text, " \t");
}

static char *take_enhanced(struct mailer *out, char *text)
{
    size_t len = enhanced_length(text);

    if (len == 0 || out->enhanced[0] != '\0')
        return text;
    snprintf(out->enhanced, sizeof out->enhanced, "%.*s", (int)len, text);
    return skip_separator(text + len);
}

static char *take_condition(struct mailer *out, char *text)
{
    size_t len = strcspn(text, ": \t");

    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++)
        if (strlen(conditions[i].name) == len && strncasecmp(conditions[i].name, text, len) == 0) {
            out->code = conditions[i].code;
            out->text = conditions[i].text;
            snprintf(out->enhanced, sizeof out->enhanced, "%s", conditions[i].enhanced);
            return skip_separator(text + len);
        }
    return text;
}

static char *take_code(struct mailer *out, char *text)
{
    if (strspn(text, "0123456789") != 3 || strchr(" \t:", text[3]) == NULL) /* its NUL counts too */
        return text;
    out->code = atoi(text);
    return skip_separator(text + 3);
}

static bool check_error(struct mailer *out, const char *text, struct error *why)
{
    if (out->code < 400 || out->code > 599 || out->code % 100 >= 60) {
        error_set(why, "%d is not a reply code for a refusal: 4xx or 5xx, as 550", out->code);
        return false;
    }
    if (out->code == 421) {
        error_set(why, "421 would end the client's session: use 450 or 451");
        return false;
    }
    if (out->enhanced[0] - '0' != out->code / 100) {
        error_set(why, "%d and %s contradict each other: both begin with 4 (try again) or with 5 (final)", out->code, out->enhanced);
        return false;
    }
    if (isdigit((unsigned char)*text)) {
        error_set(why, "'%s': expected error:5.1.1:550 text, or error:550 5.1.1 text", text);
        return false;
    }
    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f) {
            error_set(why, "the text of a reply is printable ASCII (RFC 5321 4.2)");
            return false;
        }
    if (strlen(text) > TEXT_MAX) {
        error_set(why, "the text is longer than %zu characters", TEXT_MAX);
        return false;
    }
    return true;
}

/* sendmail writes error:5.1.1:"550 text" as well */
static char *take_quotes(char *text)
{
    size_t len = strlen(text);

    if (len < 2 || text[0] != '"' || text[len - 1] != '"')
        return text;
    text[len - 1] = '\0';
    return text + 1 + strspn(text + 1, " \t");
}

static bool parse_error(struct mailer *out, char *text, struct error *why)
{
    out->kind = ROUTE_ERROR;
    out->text = "Recipient address rejected";
    text = take_enhanced(out, take_quotes(text));
    if (out->enhanced[0] == '\0')
        text = take_condition(out, text);
    text = take_enhanced(out, take_code(out, take_quotes(text)));
    if (out->code == 0)
        out->code = out->enhanced[0] == '4' ? 450 : 550;
    if (out->enhanced[0] == '\0')
        snprintf(out->enhanced, sizeof out->enhanced, "%c.0.0", out->code / 100 == 4 ? '4' : '5');
    if (!check_error(out, text, why))
        return false;
    if (*text != '\0')
        out->text = text;
    return true;
}

bool mailer_parse(struct mailer *out, char *value, struct domain_spellings *made, struct error *why)
{
    char *colon = strchr(value, ':');
    size_t len = colon != NULL ? (size_t)(colon - value) : strlen(value);
    char *rest = colon != NULL ? colon + 1 : value + len;

    *out = (struct mailer){ .kind = ROUTE_NONE };
    if (len == 7 && strncasecmp(value, "discard", len) == 0) {
        out->kind = ROUTE_DISCARD;
        if (*rest == '\0')
            return true;
        error_set(why, "'%s' after discard: nothing may follow", rest);
        return false;
    }
    if (colon == NULL || len == 0) {
        error_set(why, "'%s': expected mailer:host, as smtp:[mail.example.edu]", value);
        return false;
    }
    if ((len == 4 && strncasecmp(value, "smtp", len) == 0) || (len == 5 && strncasecmp(value, "esmtp", len) == 0) ||
        (len == 5 && strncasecmp(value, "relay", len) == 0))
        return parse_smtp(out, rest, made, why);
    if (len == 5 && strncasecmp(value, "error", len) == 0)
        return parse_error(out, rest + strspn(rest, " \t"), why);
    error_set(why, "unknown mailer '%.*s': smtp, esmtp, relay, error or discard", (int)len, value);
    return false;
}

static bool equal_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool mailer_equal(const struct mailer *a, const struct mailer *b)
{
    return a->kind == b->kind && a->port == b->port && a->mx == b->mx && a->code == b->code && strcmp(a->enhanced, b->enhanced) == 0 &&
           equal_text(a->host, b->host) && equal_text(a->text, b->text);
}

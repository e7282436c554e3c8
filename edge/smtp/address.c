/*
 * address.c - mailboxes and domains
 *
 * One cursor walks the text once: path, source route, local part, domain. UTF-8 is parsed as if allowed and refused at
 * the end, so that a right address without SMTPUTF8 is told from a wrong one.
 */
#include "edge/smtp/address.h"
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>
#include "common/idn.h"
#include "edge/smtp/text.h"

#define LABEL_MAX 63

struct cursor {
    const char *at, *end;
};

static bool peek(const struct cursor *in, char c)
{
    return in->at < in->end && *in->at == c;
}

static bool take(struct cursor *in, char c)
{
    if (!peek(in, c))
        return false;
    in->at++;
    return true;
}

static bool is_atext(char c)
{
    return smtp_is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* The length of the non-ASCII character at text, or 0. C1 controls are none. */
static size_t utf8_nonascii(const char *text, size_t len)
{
    unsigned code;
    size_t used = smtp_utf8_decode(text, len, &code);
    return used > 1 && code >= 0xa0 ? used : 0;
}

/* "127.1", "0x7f.1", "example.123": inet_aton() reads the first two as addresses; no top-level domain is a number (RFC
 * 3696 2). */
static bool label_is_number(const char *label, size_t len)
{
    size_t pos = 0;
    if (len >= 2 && label[0] == '0' && label[1] == 'x') {
        for (pos = 2; pos < len && smtp_hex_value(label[pos]) >= 0;)
            pos++;
    } else {
        while (pos < len && smtp_is_digit(label[pos]))
            pos++;
    }
    return pos == len;
}

/* One label, already known to consist of domain characters. */
static enum smtp_address_error check_label(const char *label, size_t len)
{
    if (len == 0 || label[0] == '-' || label[len - 1] == '-')
        return SMTP_ADDRESS_SYNTAX;
    return len > LABEL_MAX ? SMTP_ADDRESS_TOO_LONG : SMTP_ADDRESS_OK;
}

/* Takes as many domain characters as there are, and one trailing dot. */
static enum smtp_address_error take_domain(char out[SMTP_DOMAIN_MAX + 1], struct cursor *in, bool *utf8)
{
    const char *start = in->at;
    bool nonascii = false;
    while (in->at < in->end) {
        if (smtp_is_alnum(*in->at) || *in->at == '.' || *in->at == '-' || *in->at == '_') {
            in->at++;
            continue;
        }
        size_t len = utf8_nonascii(in->at, (size_t)(in->end - in->at));
        if (len == 0)
            break;
        nonascii = true;
        in->at += len;
    }
    size_t len = (size_t)(in->at - start);
    if (len > 0 && start[len - 1] == '.')
        len--;
    if (len > SMTP_DOMAIN_MAX)
        return SMTP_ADDRESS_TOO_LONG;
    for (size_t i = 0; i < len; i++)
        out[i] = smtp_lower(start[i]);
    out[len] = '\0';
    *utf8 |= nonascii;

    char ascii[IDN_NAME_MAX];
    if (nonascii && !idn_to_ascii(ascii, out)) /* a name that nothing knows */
        return SMTP_ADDRESS_SYNTAX;
    for (const char *label = nonascii ? ascii : out;; label++) {
        size_t label_len = strcspn(label, ".");
        enum smtp_address_error error = check_label(label, label_len);
        if (error != SMTP_ADDRESS_OK)
            return error;
        if (label[label_len] == '\0')
            return label_is_number(label, label_len) ? SMTP_ADDRESS_SYNTAX : SMTP_ADDRESS_OK;
        label += label_len;
    }
}

bool smtp_domain_parse(char out[SMTP_DOMAIN_MAX + 1], const char *text, size_t len, bool utf8)
{
    struct cursor in = { text, text + len };
    bool nonascii = false;
    bool ok = take_domain(out, &in, &nonascii) == SMTP_ADDRESS_OK && in.at == in.end && (utf8 || !nonascii);
    if (!ok)
        out[0] = '\0';
    return ok;
}

/* IPv4-mapped IPv6 is IPv4, as everywhere (common/netaddr.h). */
static void literal_set(struct smtp_address *out, int family, const void *bytes)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    char text[INET6_ADDRSTRLEN];
    if (family == AF_INET6 && memcmp(bytes, mapped, sizeof mapped) == 0) {
        family = AF_INET;
        bytes = (const uint8_t *)bytes + sizeof mapped;
    }
    out->literal.family = (uint8_t)family;
    memcpy(out->literal.bytes, bytes, family == AF_INET ? 4 : 16);
    inet_ntop(family, bytes, text, sizeof text);
    size_t used = 0;
    out->domain[used++] = '[';
    if (family == AF_INET6) {
        memcpy(out->domain + used, "IPv6:", 5);
        used += 5;
    }
    size_t len = strlen(text);
    memcpy(out->domain + used, text, len);
    memcpy(out->domain + used + len, "]", 2);
}

/* Standardized-tag ":" 1*dcontent (RFC 5321 4.1.3): of no kind we know, kept as text. */
static enum smtp_address_error literal_unknown(struct smtp_address *out, const char *text, size_t len)
{
    const char *colon = memchr(text, ':', len);
    if (colon == NULL || colon == text || colon[-1] == '-' || colon + 1 == text + len)
        return SMTP_ADDRESS_SYNTAX;
    for (const char *c = text; c < colon; c++)
        if (!smtp_is_alnum(*c) && *c != '-')
            return SMTP_ADDRESS_SYNTAX;
    for (const char *c = colon + 1; c < text + len; c++)
        if (*c < 33 || *c > 126 || *c == '[' || *c == '\\')
            return SMTP_ADDRESS_SYNTAX;
    if (len + 2 > SMTP_DOMAIN_MAX)
        return SMTP_ADDRESS_TOO_LONG;
    out->domain[0] = '[';
    for (size_t i = 0; i < len; i++)
        out->domain[i + 1] = smtp_lower(text[i]);
    memcpy(out->domain + len + 1, "]", 2);
    return SMTP_ADDRESS_OK;
}

/* Behind "[". */
static enum smtp_address_error take_literal(struct smtp_address *out, struct cursor *in)
{
    const char *start = in->at;
    const char *close = memchr(start, ']', (size_t)(in->end - start));
    if (close == NULL)
        return SMTP_ADDRESS_SYNTAX;
    size_t len = (size_t)(close - start);
    in->at = close + 1;
    out->kind = SMTP_ADDRESS_LITERAL;

    bool ipv6 = len > 5 && strncasecmp(start, "IPv6:", 5) == 0;
    char text[INET6_ADDRSTRLEN];
    size_t skip = ipv6 ? 5 : 0;
    if (len - skip < sizeof text && memchr(start, '\0', len) == NULL) {
        uint8_t bytes[16];
        memcpy(text, start + skip, len - skip);
        text[len - skip] = '\0';
        if (inet_pton(ipv6 ? AF_INET6 : AF_INET, text, bytes) == 1) {
            literal_set(out, ipv6 ? AF_INET6 : AF_INET, bytes);
            return SMTP_ADDRESS_OK;
        }
    }
    return len >= 5 && strncasecmp(start, "IPv6:", 5) == 0 ? SMTP_ADDRESS_SYNTAX : literal_unknown(out, start, len);
}

struct local {
    char *out;
    size_t len;
    bool too_long;
};

static void local_add(struct local *local, const char *bytes, size_t len)
{
    local->too_long |= local->len + len > SMTP_LOCAL_MAX;
    if (local->too_long)
        return;
    memcpy(local->out + local->len, bytes, len);
    local->len += len;
}

/* Behind the opening quote, up to and with the closing one. */
static bool take_quoted(struct local *local, struct cursor *in, bool *utf8)
{
    while (in->at < in->end && !peek(in, '"')) {
        size_t len = 1;
        bool pair = take(in, '\\');
        if (in->at == in->end)
            return false;
        if ((unsigned char)*in->at < 32 || (unsigned char)*in->at >= 127) {
            len = pair ? 0 : utf8_nonascii(in->at, (size_t)(in->end - in->at));
            if (len == 0)
                return false;
            *utf8 = true;
        }
        local_add(local, in->at, len);
        in->at += len;
    }
    return take(in, '"');
}

static bool take_dot_string(struct local *local, struct cursor *in, bool *utf8)
{
    const char *start = in->at;
    while (in->at < in->end) {
        size_t len = 1;
        if (*in->at == '.') {
            if (in->at == start || in->at[-1] == '.')
                return false;
        } else if (!is_atext(*in->at)) {
            len = utf8_nonascii(in->at, (size_t)(in->end - in->at));
            if (len == 0)
                break;
            *utf8 = true;
        }
        local_add(local, in->at, len);
        in->at += len;
    }
    return in->at > start && in->at[-1] != '.';
}

static enum smtp_address_error take_local(struct smtp_address *out, struct cursor *in)
{
    struct local local = { .out = out->local };
    bool ok = take(in, '"') ? take_quoted(&local, in, &out->utf8) : take_dot_string(&local, in, &out->utf8);
    out->local[local.len] = '\0';
    if (!ok)
        return SMTP_ADDRESS_SYNTAX;
    return local.too_long ? SMTP_ADDRESS_TOO_LONG : SMTP_ADDRESS_OK;
}

/* The local part with the wide and the small forms of @, % and ! as these: a host that normalizes text (NFKC) behind us would see them so. */
static size_t fold_marks(char out[SMTP_LOCAL_MAX + 1], const char *local)
{
    static const char forms[][5] = { "\xef\xbc\xa0@", "\xef\xb9\xab@", "\xef\xbc\x85%", "\xef\xb9\xaa%", "\xef\xbc\x81!", "\xef\xb9\x97!" };
    size_t len = 0;

    while (*local != '\0') {
        size_t form = 0;
        while (form < sizeof forms / sizeof *forms && strncmp(local, forms[form], 3) != 0)
            form++;
        bool found = form < sizeof forms / sizeof *forms;
        out[len++] = found ? forms[form][3] : *local;
        local += found ? 3 : 1;
    }
    return len;
}

/* Old hosts look at "@" first, then "%", both from the right, then "!" from the left. What has no name on its far side
 * ("user%", "!user") asks for nothing and is passed over, as such a host would do. */
static void find_reroute(struct smtp_address *address)
{
    char folded[SMTP_LOCAL_MAX + 1];
    const char *start = folded, *end = folded + fold_marks(folded, address->local);
    const char *target = NULL;
    size_t len = 0;

    while (end > start && (end[-1] == '@' || end[-1] == '%'))
        end--;
    while (start < end && *start == '!')
        start++;
    for (const char *mark = "@%"; target == NULL && *mark != '\0'; mark++) {
        const char *found = memrchr(start, *mark, (size_t)(end - start));
        if (found != NULL) {
            target = found + 1;
            len = (size_t)(end - target);
        }
    }
    if (target == NULL) {
        const char *bang = memchr(start, '!', (size_t)(end - start));
        if (bang != NULL) {
            target = start;
            len = (size_t)(bang - start);
        }
    }
    if (len > 1 && target[len - 1] == '.')
        len--;
    for (size_t i = 0; i < len; i++)
        address->reroute[i] = smtp_lower(target[i]);
    address->reroute[len] = '\0';
}

/* local@domain; without a domain only postmaster, and only where allowed (RFC 5321 4.5.1). */
static enum smtp_address_error take_mailbox(struct smtp_address *out, struct cursor *in, bool bare_postmaster)
{
    enum smtp_address_error error = take_local(out, in);
    if (error == SMTP_ADDRESS_SYNTAX)
        return error;
    if (!take(in, '@')) {
        if (!bare_postmaster || error != SMTP_ADDRESS_OK || strcasecmp(out->local, "postmaster") != 0)
            return SMTP_ADDRESS_SYNTAX;
        memcpy(out->local, "postmaster", sizeof "postmaster");
        out->kind = SMTP_ADDRESS_POSTMASTER;
        return SMTP_ADDRESS_OK;
    }
    out->kind = SMTP_ADDRESS_MAILBOX;
    enum smtp_address_error domain = take(in, '[') ? take_literal(out, in) : take_domain(out->domain, in, &out->utf8);
    find_reroute(out);
    return domain != SMTP_ADDRESS_OK ? domain : error;
}

/* "@a,@b:" goes: the final mailbox counts (RFC 5321 appendix C). Older than UTF-8 in addresses, it has none. */
static enum smtp_address_error take_source_route(struct cursor *in)
{
    struct smtp_address hop = { 0 };
    do {
        if (!take(in, '@'))
            return SMTP_ADDRESS_SYNTAX;
        enum smtp_address_error error = take(in, '[') ? take_literal(&hop, in) : take_domain(hop.domain, in, &hop.utf8);
        if (error != SMTP_ADDRESS_OK || hop.utf8)
            return error != SMTP_ADDRESS_OK ? error : SMTP_ADDRESS_SYNTAX;
    } while (take(in, ','));
    return take(in, ':') ? SMTP_ADDRESS_OK : SMTP_ADDRESS_SYNTAX;
}

static enum smtp_address_error take_path(struct smtp_address *out, struct cursor *in)
{
    if (!take(in, '<'))
        return SMTP_ADDRESS_SYNTAX;
    if (take(in, '>'))
        return SMTP_ADDRESS_OK; /* kind is NULL already */
    enum smtp_address_error route = peek(in, '@') ? take_source_route(in) : SMTP_ADDRESS_OK;
    if (route != SMTP_ADDRESS_OK)
        return route;
    enum smtp_address_error error = take_mailbox(out, in, true);
    if (error == SMTP_ADDRESS_SYNTAX || !take(in, '>'))
        return SMTP_ADDRESS_SYNTAX;
    return error;
}

enum smtp_address_error smtp_path_parse(struct smtp_address *out, const char *text, size_t len, bool utf8, size_t *used)
{
    struct cursor in = { text, text + len };
    *out = (struct smtp_address){ 0 };
    enum smtp_address_error error = take_path(out, &in);
    *used = (size_t)(in.at - text);
    return error == SMTP_ADDRESS_OK && out->utf8 && !utf8 ? SMTP_ADDRESS_NEEDS_UTF8 : error;
}

enum smtp_address_error smtp_mailbox_parse(struct smtp_address *out, const char *text, size_t len, bool utf8)
{
    struct cursor in = { text, text + len };
    *out = (struct smtp_address){ 0 };
    enum smtp_address_error error = take_mailbox(out, &in, false);
    if (in.at != in.end)
        error = SMTP_ADDRESS_SYNTAX;
    return error == SMTP_ADDRESS_OK && out->utf8 && !utf8 ? SMTP_ADDRESS_NEEDS_UTF8 : error;
}

static bool local_needs_quotes(const char *local)
{
    bool after_dot = true; /* an empty local part, and one that starts with a dot, need them */
    for (const char *c = local; *c != '\0'; c++) {
        if ((*c == '.' && after_dot) || (*c != '.' && !is_atext(*c) && (unsigned char)*c < 0x80))
            return true;
        after_dot = *c == '.';
    }
    return after_dot;
}

char *smtp_address_format(const struct smtp_address *address, char out[SMTP_ADDRESS_MAX])
{
    size_t used = 0;
    bool quotes = address->kind != SMTP_ADDRESS_NULL && local_needs_quotes(address->local);
    if (quotes)
        out[used++] = '"';
    for (const char *c = address->local; *c != '\0'; c++) {
        if (quotes && (*c == '"' || *c == '\\'))
            out[used++] = '\\';
        out[used++] = *c;
    }
    if (quotes)
        out[used++] = '"';
    if (address->domain[0] != '\0') {
        size_t len = strlen(address->domain);
        out[used++] = '@';
        memcpy(out + used, address->domain, len);
        used += len;
    }
    out[used] = '\0';
    return out;
}

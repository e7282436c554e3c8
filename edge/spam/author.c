/* author.c - see author.h */
#include "edge/spam/author.h"
#include <string.h>
#include <strings.h>
#include "edge/spam/fields.h"

#define FROM_MAX 2048 /* of a field: a longer one has more than a name and an address */

/* ---- From ---- */

/* Behind the quoted string that begins at `at`; NULL: it does not end. */
static const char *behind_quotes(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        at += *at == '\\';
    return at < end ? at + 1 : NULL;
}

/* The same of a comment. */
static const char *behind_comment(const char *at, const char *end)
{
    int depth = 0;
    for (; at < end; at++) {
        if (*at == '\\')
            at++;
        else if (*at == '(')
            depth++;
        else if (*at == ')' && --depth == 0)
            return at + 1;
    }
    return NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool parse_trimmed(char out[SMTP_ADDRESS_MAX], const char *text, size_t len)
{
    struct smtp_address address;
    while (len > 0 && is_blank(*text))
        text++, len--;
    while (len > 0 && is_blank(text[len - 1]))
        len--;
    if (smtp_mailbox_parse(&address, text, len, true) != SMTP_ADDRESS_OK || address.kind != SMTP_ADDRESS_MAILBOX)
        return false;
    smtp_address_format(&address, out);
    return true;
}

/* One mailbox (RFC 5322 3.4): an address, or one in angle brackets with a name in front; comments anywhere between. A list or a group is none. */
static bool parse_mailbox(char out[SMTP_ADDRESS_MAX], const char *at, const char *end)
{
    char bare[FROM_MAX];
    const char *open = NULL, *close = NULL, *next;
    size_t n = 0;
    for (; at < end; at = next) {
        next = *at == '(' ? behind_comment(at, end) : *at == '"' ? behind_quotes(at, end) : at + 1;
        if (next == NULL || (close != NULL && *at != '(' && !is_blank(*at)))
            return false;
        if (*at == '(')
            continue;
        if (*at == '<' && open == NULL)
            open = next;
        else if (*at == '>' && open != NULL)
            close = at;
        else if (*at == '<' || *at == '>' || (open == NULL && strchr(",;:", *at) != NULL))
            return false;
        memcpy(bare + n, at, (size_t)(next - at)); /* no longer than the field is */
        n += (size_t)(next - at);
    }
    if (open != NULL)
        return close != NULL && parse_trimmed(out, open, (size_t)(close - open));
    return parse_trimmed(out, bare, n);
}

bool header_author(char out[SMTP_ADDRESS_MAX], const char *header, size_t len)
{
    bool has_from = false, good = false;
    for (size_t at = 0, n; at < len; at += n) {
        n = field_length(header + at, len - at);
        const char *body = field_body(header + at, n, "From"), *end = header + at + n;
        if (body == NULL)
            continue;
        if (has_from)
            return false;
        has_from = true;
        good = end - body <= FROM_MAX && parse_mailbox(out, body, end);
    }
    return good;
}

/* ---- proofs ---- */

static bool begins(const char *text, size_t len, const char *word)
{
    return len >= strlen(word) && strncasecmp(text, word, strlen(word)) == 0;
}

/* "dkim=pass header.d=example.org" and the like, of this domain. */
static bool passes_for(const char *text, size_t len, const char *method, const char *domain)
{
    size_t head = strlen(method), n = strlen(domain);
    return begins(text, len, method) && len - head >= n && strncasecmp(text + head, domain, n) == 0 &&
           (len - head == n || text[head + n] == ' ' || text[head + n] == ':');
}

/* What is behind the @; NULL: no domain that results could name. */
static const char *domain_of(const char *address)
{
    const char *at = strrchr(address, '@');
    return at != NULL && spam_is_domain(at + 1) ? at + 1 : NULL;
}

const char *spam_author(const Weir__SpamResult *result, const char *from, const char *sender)
{
    const char *text = (const char *)result->authentication.data, *domain = domain_of(from);
    size_t left = result->authentication.len;
    bool from_proved = false, sender_proved = false;
    while (left > 0) {
        const char *end = memchr(text, ';', left);
        size_t len = end != NULL ? (size_t)(end - text) : left, next = len + (end != NULL);
        while (len > 0 && *text == ' ')
            text++, len--, left--, next--;
        if (begins(text, len, "dmarc=fail"))
            return NULL;
        sender_proved |= begins(text, len, "spf=pass");
        from_proved |= domain != NULL && (passes_for(text, len, "dkim=pass header.d=", domain) || passes_for(text, len, "dmarc=pass header.from=", domain));
        text += next, left -= next;
    }
    return from_proved ? from : sender_proved && domain_of(sender) != NULL ? sender : NULL;
}

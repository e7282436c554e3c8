/*
 * sasl.c - the AUTH exchange: PLAIN and LOGIN
 *
 *     AUTH PLAIN            334             base64(authorize NUL login NUL password)
 *     AUTH PLAIN base64
 *     AUTH LOGIN            334 "Username:" base64(login)  334 "Password:" base64(password)
 *     AUTH LOGIN base64                                    334 "Password:" ...
 *
 * "=" is an empty initial response, "*" ends an exchange (RFC 4954 4). Base64 is taken strictly: padding, and no bits
 * behind the end, so that one answer has one meaning.
 */
#include "edge/smtp/sasl.h"

#include <string.h>
#include <strings.h>
#include "edge/smtp/text.h"

#define DECODED_MAX (2 * SASL_LOGIN_MAX + SASL_PASSWORD_MAX + 2)

static enum sasl_result refuse(struct sasl *sasl, int code, const char *enhanced, const char *text)
{
    explicit_bzero(sasl->password, sizeof sasl->password);
    sasl->code = code;
    sasl->enhanced = enhanced;
    sasl->text = text;
    return SASL_REFUSED;
}

static enum sasl_result challenge(struct sasl *sasl, const char *base64)
{
    sasl->code = 334;
    sasl->enhanced = NULL;
    sasl->text = base64;
    return SASL_CHALLENGE;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (smtp_is_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* false: not base64, or more than cap bytes. */
static bool base64_decode(char *out, size_t cap, size_t *out_len, const char *text, size_t len)
{
    size_t padding = 0, used = 0;
    unsigned bits = 0;

    if (len % 4 != 0)
        return false;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < len; i++) {
        int value = i < len - padding ? base64_value(text[i]) : 0;
        if (value < 0)
            return false;
        bits = bits << 6 | (unsigned)value;
        if (i % 4 != 3)
            continue;
        size_t count = i == len - 1 ? 3 - padding : 3;
        if (used + count > cap || (bits & ((1u << (8 * (3 - count))) - 1)) != 0)
            return false;
        for (size_t k = 0; k < count; k++)
            out[used++] = (char)(bits >> (16 - 8 * k));
        bits = 0;
    }
    *out_len = used;
    return true;
}

/* No account has a blank in its name, and a directory would not see it: one user, many names. */
static bool take_login(struct sasl *sasl, const char *text, size_t len)
{
    if (len == 0 || len > SASL_LOGIN_MAX || memchr(text, ' ', len) != NULL || !smtp_text_is_printable(text, len))
        return false;
    memcpy(sasl->login, text, len);
    sasl->login[len] = '\0';
    return true;
}

static bool take_password(struct sasl *sasl, const char *text, size_t len)
{
    if (len == 0 || len > SASL_PASSWORD_MAX || memchr(text, '\0', len) != NULL)
        return false;
    memcpy(sasl->password, text, len);
    sasl->password[len] = '\0';
    return true;
}

static enum sasl_result plain(struct sasl *sasl, const char *text, size_t len)
{
    const char *first = memchr(text, '\0', len);
    const char *second = first != NULL ? memchr(first + 1, '\0', len - (size_t)(first + 1 - text)) : NULL;

    if (second == NULL)
        return refuse(sasl, 501, "5.5.2", "Malformed authentication response");
    size_t authorize = (size_t)(first - text), login = (size_t)(second - first - 1);
    if (!take_login(sasl, first + 1, login) || !take_password(sasl, second + 1, len - (size_t)(second + 1 - text)))
        return refuse(sasl, 535, "5.7.8", "Authentication credentials invalid");
    /* To act as another is nobody's right here. */
    if (authorize != 0 && (authorize != login || memcmp(text, first + 1, login) != 0))
        return refuse(sasl, 535, "5.7.8", "Authentication credentials invalid");
    return SASL_COMPLETE;
}

static enum sasl_result login(struct sasl *sasl, const char *text, size_t len)
{
    if (!(sasl->has_login ? take_password(sasl, text, len) : take_login(sasl, text, len)))
        return refuse(sasl, 535, "5.7.8", "Authentication credentials invalid");
    if (sasl->has_login)
        return SASL_COMPLETE;
    sasl->has_login = true;
    return challenge(sasl, "UGFzc3dvcmQ6");
}

static enum sasl_result respond(struct sasl *sasl, const char *text, size_t len)
{
    char decoded[DECODED_MAX];
    size_t used;

    if (!base64_decode(decoded, sizeof decoded, &used, text, len))
        return refuse(sasl, 501, "5.5.2", "Malformed authentication response");
    enum sasl_result result = sasl->mechanism == SASL_PLAIN ? plain(sasl, decoded, used) : login(sasl, decoded, used);
    explicit_bzero(decoded, sizeof decoded);
    return result;
}

enum sasl_result sasl_begin(struct sasl *sasl, const char *arguments, size_t len)
{
    const char *space = memchr(arguments, ' ', len);
    size_t name = space != NULL ? (size_t)(space - arguments) : len;

    memset(sasl, 0, sizeof *sasl);
    if (name == 5 && strncasecmp(arguments, "PLAIN", name) == 0)
        sasl->mechanism = SASL_PLAIN;
    else if (name == 5 && strncasecmp(arguments, "LOGIN", name) == 0)
        sasl->mechanism = SASL_LOGIN;
    else
        return refuse(sasl, 504, "5.5.4", "Unrecognized authentication mechanism");
    if (space == NULL)
        return challenge(sasl, sasl->mechanism == SASL_LOGIN ? "VXNlcm5hbWU6" : "");
    const char *initial = space + 1;
    size_t rest = len - name - 1;
    if (rest == 1 && *initial == '=')
        rest = 0;
    return respond(sasl, initial, rest);
}

enum sasl_result sasl_next(struct sasl *sasl, const char *line, size_t len)
{
    if (len == 1 && *line == '*')
        return refuse(sasl, 501, "5.7.0", "Authentication cancelled");
    return respond(sasl, line, len);
}

void sasl_clear(struct sasl *sasl)
{
    explicit_bzero(sasl, sizeof *sasl);
}

const char *sasl_asked_name(const char *arguments, size_t len)
{
    static const char *const registered[] = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "GS2-KRB5", "GS2-KRB5-PLUS", "KERBEROS_V4", "EXTERNAL",
                                              "ANONYMOUS", "OTP", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512",
                                              "SCRAM-SHA-512-PLUS", "OAUTHBEARER", "XOAUTH2" };
    const char *space = memchr(arguments, ' ', len);
    size_t name = space != NULL ? (size_t)(space - arguments) : len;

    for (size_t i = 0; i < sizeof registered / sizeof *registered; i++)
        if (strlen(registered[i]) == name && strncasecmp(arguments, registered[i], name) == 0)
            return registered[i];
    return "unknown";
}

const char *sasl_mechanism_name(enum sasl_mechanism mechanism)
{
    return mechanism == SASL_PLAIN ? "PLAIN" : mechanism == SASL_LOGIN ? "LOGIN" : "";
}

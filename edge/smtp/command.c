/*
 * command.c - a command line's verb and arguments (RFC 5321 4.1.1, 1870, 3030, 3461, 4954, 6152, 6531)
 *
 * Stricter than liberal where leniency would give a line two meanings; lenient where it cannot: spaces after the colon
 * of MAIL and RCPT and at the end of a line are common among old clients and pass (Postfix does the same).
 */
#include "edge/smtp/command.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "edge/smtp/leniency.h"
#include "edge/smtp/text.h"
#include "edge/smtp/xtext.h"

struct slice {
    const char *at;
    size_t len;
};

static const struct smtp_complaint fine = { 0, NULL, NULL };

struct manner { /* how a line is read */
    bool smtputf8, dsn;
    const char *domain; /* NULL: strictly; else leniently, and what has no domain gets this one */
};

#define COMPLAIN(code, enhanced, text) ((struct smtp_complaint){ (code), (enhanced), (text) })

static bool slice_is(struct slice slice, const char *word)
{
    return slice.len == strlen(word) && strncasecmp(slice.at, word, slice.len) == 0;
}

static void skip_spaces(struct slice *in)
{
    while (in->len > 0 && *in->at == ' ')
        in->at++, in->len--;
}

/* Cuts off what stands before the next `end` (or all); the `end` itself goes too. */
static struct slice next_until(struct slice *in, char end)
{
    const char *found = in->len > 0 ? memchr(in->at, end, in->len) : NULL;
    struct slice word = { in->at, found != NULL ? (size_t)(found - in->at) : in->len };
    size_t gone = word.len + (found != NULL);
    in->at += gone;
    in->len -= gone;
    return word;
}

/* 1*20DIGIT; what does not fit 64 bits is as large as can be (RFC 1870 4, 3030 2). */
static bool parse_size(uint64_t *out, struct slice text)
{
    if (text.len == 0 || text.len > 20)
        return false;
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!smtp_is_digit(text.at[i]))
            return false;
        unsigned digit = (unsigned)(text.at[i] - '0');
        *out = *out > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *out * 10 + digit;
    }
    return true;
}

static bool decode_xtext(char *out, size_t cap, struct slice text)
{
    return smtp_xtext_decode(out, cap, text.at, text.len);
}

/* RFC 3461 4.2 and 4.4: before it was encoded it was printable US-ASCII; a report shows it in a part that says no other charset. */
static bool decode_ascii_xtext(char *out, size_t cap, struct slice text)
{
    return decode_xtext(out, cap, text) && smtp_text_is_ascii(out, strlen(out));
}

/* RFC 6533 3: "\x{1F600}" stands for a character; others, UTF-8 included, for themselves. */
static bool decode_unitext(char *out, size_t cap, struct slice text)
{
    size_t used = 0;
    for (size_t i = 0; i < text.len;) {
        char character[4];
        size_t len = 1;
        if (text.len - i >= 3 && memcmp(text.at + i, "\\x{", 3) == 0) {
            unsigned code = 0, digits = 0;
            for (i += 3; i < text.len && digits < 6 && smtp_hex_value(text.at[i]) >= 0; i++, digits++)
                code = code << 4 | (unsigned)smtp_hex_value(text.at[i]);
            if (digits < 2 || i == text.len || text.at[i] != '}')
                return false;
            i++;
            len = smtp_utf8_encode(character, code);
        } else {
            character[0] = text.at[i++];
        }
        if (len == 0 || used + len >= cap)
            return false;
        memcpy(out + used, character, len);
        used += len;
    }
    out[used] = '\0';
    return smtp_text_is_printable(out, used);
}

/* addr-type ";" address, decoded by its type. */
static bool parse_orcpt(char *out, size_t cap, struct slice text)
{
    struct slice type = next_until(&text, ';');
    if (type.len == 0 || type.len > 64 || text.len == 0)
        return false;
    for (size_t i = 0; i < type.len; i++)
        if (!smtp_is_alnum(type.at[i]) && type.at[i] != '-')
            return false;
    memcpy(out, type.at, type.len);
    out[type.len] = ';';
    size_t used = type.len + 1;
    bool ok = slice_is(type, "utf-8") ? decode_unitext(out + used, cap - used, text)
                                      : decode_ascii_xtext(out + used, cap - used, text);
    if (!ok)
        out[0] = '\0';
    return ok;
}

static bool parse_notify(unsigned *out, struct slice text)
{
    static const struct {
        const char *word;
        unsigned flag;
    } words[] = {
        { "NEVER", SMTP_NOTIFY_NEVER },
        { "SUCCESS", SMTP_NOTIFY_SUCCESS },
        { "FAILURE", SMTP_NOTIFY_FAILURE },
        { "DELAY", SMTP_NOTIFY_DELAY },
    };
    bool more = true;
    while (more) {
        more = memchr(text.at, ',', text.len) != NULL;
        struct slice word = next_until(&text, ',');
        unsigned flag = 0;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            if (slice_is(word, words[i].word))
                flag = words[i].flag;
        if (flag == 0 || (*out & flag) != 0)
            return false;
        *out |= flag;
    }
    return (*out & SMTP_NOTIFY_NEVER) == 0 || *out == SMTP_NOTIFY_NEVER; /* NEVER stands alone */
}

enum parameter_result { PARAMETER_OK, PARAMETER_BAD, PARAMETER_UNKNOWN };

static enum parameter_result mail_parameter(struct smtp_command *command, struct slice key, struct slice value,
                                            bool has_value, bool dsn)
{
    bool ok;
    if (slice_is(key, "SIZE")) {
        ok = parse_size(&command->size, value);
        command->has_size = true;
    } else if (slice_is(key, "BODY")) {
        ok = slice_is(value, "7BIT") || slice_is(value, "8BITMIME");
        command->body = slice_is(value, "8BITMIME") ? SMTP_BODY_8BITMIME : SMTP_BODY_7BIT;
    } else if (slice_is(key, "SMTPUTF8")) {
        ok = !has_value;
        command->smtputf8 = true;
    } else if (slice_is(key, "AUTH")) {
        ok = value.len > 0 && decode_xtext(command->auth, sizeof command->auth, value);
    } else if (dsn && slice_is(key, "RET")) {
        ok = slice_is(value, "FULL") || slice_is(value, "HDRS");
        command->ret = slice_is(value, "FULL") ? 'F' : 'H';
    } else if (dsn && slice_is(key, "ENVID")) {
        ok = value.len > 0 && value.len <= 100 && decode_ascii_xtext(command->envid, sizeof command->envid, value);
    } else {
        return PARAMETER_UNKNOWN;
    }
    return ok ? PARAMETER_OK : PARAMETER_BAD;
}

static enum parameter_result rcpt_parameter(struct smtp_command *command, struct slice key, struct slice value,
                                            bool has_value, bool dsn)
{
    (void)has_value; /* both need one, and an empty one is wrong for either */
    bool ok;
    if (dsn && slice_is(key, "NOTIFY"))
        ok = parse_notify(&command->notify, value);
    else if (dsn && slice_is(key, "ORCPT"))
        ok = value.len <= 500 && parse_orcpt(command->orcpt, sizeof command->orcpt, value);
    else
        return PARAMETER_UNKNOWN;
    return ok ? PARAMETER_OK : PARAMETER_BAD;
}

static bool keyword_is_valid(struct slice key)
{
    if (key.len == 0 || !smtp_is_alnum(key.at[0]))
        return false;
    for (size_t i = 1; i < key.len; i++)
        if (!smtp_is_alnum(key.at[i]) && key.at[i] != '-')
            return false;
    return true;
}

/* Which keywords came before: the same one twice has no one meaning. */
static bool seen_before(struct slice all, struct slice key)
{
    while (all.at < key.at) {
        struct slice word = next_until(&all, ' ');
        struct slice other = next_until(&word, '=');
        if (other.at < key.at && other.len == key.len && strncasecmp(other.at, key.at, key.len) == 0)
            return true;
    }
    return false;
}

#define PARAMETERS_MAX 16 /* more than all extensions define together */

static struct smtp_complaint parse_parameters(struct smtp_command *command, struct slice in, bool dsn)
{
    const struct slice all = in;
    enum parameter_result (*handle)(struct smtp_command *, struct slice, struct slice, bool, bool) =
        command->verb == SMTP_VERB_MAIL ? mail_parameter : rcpt_parameter;
    unsigned count = 0;

    if (in.len > 0 && *in.at != ' ')
        return COMPLAIN(501, "5.5.4", "Syntax error: no space behind the address");
    for (skip_spaces(&in); in.len > 0; skip_spaces(&in)) {
        struct slice value = next_until(&in, ' ');
        bool has_value = memchr(value.at, '=', value.len) != NULL;
        struct slice key = next_until(&value, '=');
        if (!keyword_is_valid(key) || (has_value && value.len == 0) || ++count > PARAMETERS_MAX)
            return COMPLAIN(501, "5.5.4", "Syntax error in parameters");
        if (seen_before(all, key))
            return COMPLAIN(501, "5.5.4", "Parameter given twice");
        switch (handle(command, key, value, has_value, dsn)) {
        case PARAMETER_OK:
            break;
        case PARAMETER_BAD:
            return COMPLAIN(501, "5.5.4", "Parameter value not valid");
        case PARAMETER_UNKNOWN:
            return COMPLAIN(555, "5.5.4", "Parameter not recognized");
        }
    }
    return fine;
}

/* "FROM:" or "TO:"; leniently with spaces in front of the colon. */
static bool skip_keyword(struct smtp_command *command, struct slice *in, const char *keyword, bool lenient)
{
    size_t len = strlen(keyword);
    if (in->len < len || strncasecmp(in->at, keyword, len) != 0)
        return false;
    in->at += len;
    in->len -= len;
    size_t before = in->len;
    if (lenient)
        skip_spaces(in);
    if (in->len < before)
        command->forgiven |= SMTP_LENIENCY_PATH;
    if (in->len == 0 || *in->at != ':')
        return false;
    in->at++;
    in->len--;
    skip_spaces(in);
    return true;
}

/* The end of the address: a space or, behind "<", a ">", outside of quotes. */
static size_t lenient_path_length(struct slice in, char end)
{
    bool quoted = false;
    size_t at = 0;
    for (; at < in.len && (quoted || in.at[at] != end); at++) {
        if (in.at[at] == '\\' && quoted && at + 1 < in.len)
            at++;
        else if (in.at[at] == '"')
            quoted = !quoted;
    }
    return at;
}

#define LENIENT_PATH_MAX (SMTP_ADDRESS_MAX + SMTP_DOMAIN_MAX)

/* An address without brackets, with spaces inside of them, or without a domain: written as it should have been, then parsed as strictly as any. */
static enum smtp_address_error lenient_path(struct smtp_command *command, struct slice in, const char *domain, size_t *used)
{
    char path[LENIENT_PATH_MAX + 4];
    bool brackets = in.len > 0 && *in.at == '<';
    struct slice text = { in.at + brackets, in.len - brackets };
    text.len = lenient_path_length(text, brackets ? '>' : ' ');
    *used = brackets + text.len;
    if (brackets && *used == in.len)
        return SMTP_ADDRESS_SYNTAX; /* no ">" */
    *used += brackets;
    size_t whole = text.len;
    skip_spaces(&text);
    while (text.len > 0 && text.at[text.len - 1] == ' ')
        text.len--;
    if (text.len + strlen(domain) + 3 > sizeof path)
        return SMTP_ADDRESS_TOO_LONG;
    command->forgiven |= !brackets || text.len < whole ? SMTP_LENIENCY_PATH : 0;
    bool bare = text.len > 0 && memchr(text.at, '@', text.len) == NULL && !slice_is(text, "postmaster");
    command->forgiven |= bare ? SMTP_LENIENCY_DOMAIN : 0;
    int len = snprintf(path, sizeof path, "<%.*s%s%s>", (int)text.len, text.at, bare ? "@" : "", bare ? domain : "");
    size_t parsed;
    enum smtp_address_error error = smtp_path_parse(&command->address, path, (size_t)len, true, &parsed);
    return error == SMTP_ADDRESS_OK && parsed != (size_t)len ? SMTP_ADDRESS_SYNTAX : error;
}

static struct smtp_complaint parse_path(struct smtp_command *command, struct slice in, const struct manner *manner)
{
    bool mail = command->verb == SMTP_VERB_MAIL, lenient = manner->domain != NULL;
    if (!skip_keyword(command, &in, mail ? "FROM" : "TO", lenient))
        return mail ? COMPLAIN(501, "5.5.4", "Syntax: MAIL FROM:<address>")
                    : COMPLAIN(501, "5.5.4", "Syntax: RCPT TO:<address>");
    if (in.len == 0 || (!lenient && *in.at != '<'))
        return COMPLAIN(501, "5.5.4", "Syntax error: address must be in angle brackets");

    size_t used;
    enum smtp_address_error error = lenient ? lenient_path(command, in, manner->domain, &used)
                                            : smtp_path_parse(&command->address, in.at, in.len, true, &used);
    bool unfit = mail ? command->address.kind == SMTP_ADDRESS_POSTMASTER : command->address.kind == SMTP_ADDRESS_NULL;
    if (error == SMTP_ADDRESS_TOO_LONG)
        return COMPLAIN(501, mail ? "5.1.7" : "5.1.3", "Address too long");
    if (error != SMTP_ADDRESS_OK || unfit)
        return mail ? COMPLAIN(501, "5.1.7", "Bad sender address syntax")
                    : COMPLAIN(501, "5.1.3", "Bad recipient address syntax");

    in.at += used;
    in.len -= used;
    struct smtp_complaint complaint = parse_parameters(command, in, manner->dsn);
    if (complaint.code == 0 && command->address.utf8 && !(mail ? command->smtputf8 : manner->smtputf8))
        return COMPLAIN(553, "5.6.7", "Address needs SMTPUTF8");
    return complaint;
}

/* A name that is no domain is common among honest clients (RFC 5321 4.1.4 forbids refusing them), so only its bytes are
 * checked. */
static struct smtp_complaint parse_hello(struct smtp_command *command, struct slice in, const struct manner *manner)
{
    if (manner->domain != NULL) {
        struct slice rest = in;
        in = next_until(&rest, ' ');
        if (in.len > SMTP_DOMAIN_MAX || !smtp_text_is_printable(in.at, in.len))
            in.len = 0;
        command->forgiven |= in.len == 0 || rest.len > 0 ? SMTP_LENIENCY_HELO : 0;
        memcpy(command->domain, in.at, in.len);
        return fine;
    }
    if (in.len == 0)
        return COMPLAIN(501, "5.5.4", "Syntax: EHLO hostname");
    if (in.len > SMTP_DOMAIN_MAX || memchr(in.at, ' ', in.len) != NULL || !smtp_text_is_printable(in.at, in.len))
        return COMPLAIN(501, "5.5.4", "Invalid host name");
    memcpy(command->domain, in.at, in.len);
    command->domain[in.len] = '\0';
    return fine;
}

static struct smtp_complaint parse_bdat(struct smtp_command *command, struct slice in)
{
    struct slice size = next_until(&in, ' ');
    skip_spaces(&in);
    command->last = slice_is(in, "LAST");
    command->has_size = parse_size(&command->size, size);
    if (!command->has_size || (in.len > 0 && !command->last))
        return COMPLAIN(501, "5.5.4", "Syntax: BDAT size [LAST]");
    return fine;
}

enum arguments {
    ARGUMENTS_NONE,
    ARGUMENTS_ANY,
    ARGUMENTS_NEEDED,
    ARGUMENTS_HELLO,
    ARGUMENTS_PATH,
    ARGUMENTS_BDAT,
    ARGUMENTS_HTTP
};

static const struct {
    const char *name;
    enum smtp_verb verb;
    enum arguments arguments;
} verbs[] = {
    { "EHLO", SMTP_VERB_EHLO, ARGUMENTS_HELLO },        { "HELO", SMTP_VERB_HELO, ARGUMENTS_HELLO },
    { "MAIL", SMTP_VERB_MAIL, ARGUMENTS_PATH },         { "RCPT", SMTP_VERB_RCPT, ARGUMENTS_PATH },
    { "DATA", SMTP_VERB_DATA, ARGUMENTS_NONE },         { "BDAT", SMTP_VERB_BDAT, ARGUMENTS_BDAT },
    { "RSET", SMTP_VERB_RSET, ARGUMENTS_NONE },         { "NOOP", SMTP_VERB_NOOP, ARGUMENTS_ANY },
    { "QUIT", SMTP_VERB_QUIT, ARGUMENTS_NONE },         { "VRFY", SMTP_VERB_VRFY, ARGUMENTS_NEEDED },
    { "EXPN", SMTP_VERB_EXPN, ARGUMENTS_NEEDED },       { "HELP", SMTP_VERB_HELP, ARGUMENTS_ANY },
    { "STARTTLS", SMTP_VERB_STARTTLS, ARGUMENTS_NONE }, { "AUTH", SMTP_VERB_AUTH, ARGUMENTS_NEEDED },
    { "XCLIENT", SMTP_VERB_XCLIENT, ARGUMENTS_NEEDED },
    { "GET", SMTP_VERB_HTTP, ARGUMENTS_HTTP },          { "POST", SMTP_VERB_HTTP, ARGUMENTS_HTTP },
    { "HEAD", SMTP_VERB_HTTP, ARGUMENTS_HTTP },         { "PUT", SMTP_VERB_HTTP, ARGUMENTS_HTTP },
    { "PATCH", SMTP_VERB_HTTP, ARGUMENTS_HTTP },        { "DELETE", SMTP_VERB_HTTP, ARGUMENTS_HTTP },
    { "OPTIONS", SMTP_VERB_HTTP, ARGUMENTS_HTTP },      { "TRACE", SMTP_VERB_HTTP, ARGUMENTS_HTTP },
    { "CONNECT", SMTP_VERB_HTTP, ARGUMENTS_HTTP },
};

static struct smtp_complaint command_parse(struct smtp_command *command, const char *line, size_t len,
                                           const struct manner *manner)
{
    *command = (struct smtp_command){ .verb = SMTP_VERB_UNKNOWN };
    while (len > 0 && line[len - 1] == ' ')
        len--;
    struct slice in = { line, len };
    struct slice verb = next_until(&in, ' ');
    size_t row = 0, rows = sizeof verbs / sizeof verbs[0];
    while (row < rows && !slice_is(verb, verbs[row].name))
        row++;
    if (row == rows)
        return COMPLAIN(500, "5.5.2", "Command not recognized");

    command->verb = verbs[row].verb;
    skip_spaces(&in);
    switch (verbs[row].arguments) {
    case ARGUMENTS_NONE:
        return in.len > 0 ? COMPLAIN(501, "5.5.4", "Command takes no arguments") : fine;
    case ARGUMENTS_NEEDED:
        command->arguments = in.at;
        command->arguments_len = in.len;
        return in.len == 0 ? COMPLAIN(501, "5.5.4", "Command needs an argument") : fine;
    case ARGUMENTS_HELLO:
        return parse_hello(command, in, manner);
    case ARGUMENTS_PATH:
        return parse_path(command, in, manner);
    case ARGUMENTS_BDAT:
        return parse_bdat(command, in);
    case ARGUMENTS_HTTP:
        return COMPLAIN(554, "5.5.1", "This is a mail server");
    case ARGUMENTS_ANY:
        break;
    }
    return fine;
}

struct smtp_complaint smtp_command_parse(struct smtp_command *command, const char *line, size_t len, bool smtputf8,
                                         bool dsn)
{
    return command_parse(command, line, len, &(struct manner){ smtputf8, dsn, NULL });
}

struct smtp_complaint smtp_command_parse_lenient(struct smtp_command *command, const char *line, size_t len, bool smtputf8,
                                                 const char *domain)
{
    return command_parse(command, line, len, &(struct manner){ smtputf8, true, domain });
}

const char *smtp_verb_name(enum smtp_verb verb)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (verbs[i].verb == verb && verb != SMTP_VERB_HTTP)
            return verbs[i].name;
    return verb == SMTP_VERB_HTTP ? "HTTP" : "UNKNOWN";
}

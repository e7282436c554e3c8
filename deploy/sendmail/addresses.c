/* addresses.c - see addresses.h */
#include "deploy/sendmail/addresses.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "deploy/sendmail/text.h"
#include "edge/smtp/address.h"

/* One address of the list while it is read. */
struct reading {
    struct text plain, angle; /* outside and inside of <>, without comments and white space */
    bool has_angle, in_angle;
    bool gap;                 /* white space behind plain: "a b" is two words, and no address */
    bool broken;
};

void recipient_settle(struct recipient *recipient, enum recipient_state state, int code, const char *enhanced, const char *words)
{
    recipient->state = state;
    recipient->code = code;
    snprintf(recipient->enhanced, sizeof recipient->enhanced, "%s", enhanced);
    free(recipient->words);
    recipient->words = xstrdup(words);
}

static bool is_known(const struct recipients *recipients, const char *address)
{
    for (size_t i = 0; i < recipients->count; i++)
        if (strcmp(recipients->items[i].address, address) == 0)
            return true;
    return false;
}

static void keep(struct recipients *recipients, const char *address, bool utf8, bool good)
{
    if (is_known(recipients, address))
        return;
    recipients->items = xrealloc(recipients->items, (recipients->count + 1) * sizeof *recipients->items);
    struct recipient *recipient = &recipients->items[recipients->count++];
    *recipient = (struct recipient){ .address = xstrdup(address), .utf8 = utf8, .words = xstrdup("") };
    if (!good)
        recipient_settle(recipient, RECIPIENT_REFUSED, 553, "5.1.3", "not an address");
}

/* Whether an @ separates a domain: one inside of quotes does not. */
static bool has_domain(const struct text *spec)
{
    bool quoted = false;
    for (size_t i = 0; i < spec->len; i++) {
        if (quoted && spec->bytes[i] == '\\')
            i++;
        else if (spec->bytes[i] == '"')
            quoted = !quoted;
        else if (spec->bytes[i] == '@' && !quoted)
            return true;
    }
    return false;
}

static void end_address(struct recipients *recipients, struct reading *reading, const char *domain)
{
    struct text *spec = reading->has_angle ? &reading->angle : &reading->plain;
    if (spec->len > 0 || reading->has_angle) {
        struct smtp_address address;
        char canonical[SMTP_ADDRESS_MAX];
        struct text path = { 0 };
        size_t used = 0;
        text_add_string(&path, "<");
        text_add(&path, spec->bytes, spec->len);
        if (spec->len > 0 && !reading->broken && !has_domain(spec)) {
            text_add_string(&path, "@");
            text_add_string(&path, domain);
        }
        text_add(&path, ">", 2); /* with its NUL */
        bool good = !reading->broken && !reading->in_angle &&
                    smtp_path_parse(&address, path.bytes, path.len - 1, true, &used) == SMTP_ADDRESS_OK && used == path.len - 1 &&
                    address.kind != SMTP_ADDRESS_NULL;
        if (good) {
            keep(recipients, smtp_address_format(&address, canonical), address.utf8, true);
        } else {
            path.bytes[path.len - 2] = '\0';
            keep(recipients, path.bytes + 1, false, false);
        }
        text_fini(&path);
    }
    text_fini(&reading->plain);
    text_fini(&reading->angle);
    *reading = (struct reading){ 0 };
}

/* Length of the comment at text, nested ones included; all of it when it does not end. */
static size_t comment_length(const char *text, size_t len)
{
    size_t depth = 0, i = 0;
    for (; i < len; i++) {
        if (text[i] == '\\')
            i++;
        else if (text[i] == '(')
            depth++;
        else if (text[i] == ')' && --depth == 0)
            return i + 1;
    }
    return len;
}

/* Length of the quoted string, or domain literal, at text; 0 when it does not end. */
static size_t enclosed_length(const char *text, size_t len, char end)
{
    for (size_t i = 1; i < len; i++) {
        if (text[i] == '\\')
            i++;
        else if (text[i] == end)
            return i + 1;
    }
    return 0;
}

static void take(struct reading *reading, const char *bytes, size_t len)
{
    struct text *into = reading->in_angle ? &reading->angle : &reading->plain;
    /* Around dots and the @ white space means nothing (RFC 5322 4.4); else it ends a word, which only a name may have several of. */
    bool glued = into->len == 0 || strchr(".@", bytes[0]) != NULL || strchr(".@", into->bytes[into->len - 1]) != NULL;
    if (reading->gap && !glued && !reading->in_angle) {
        reading->broken = true;
        text_add(into, " ", 1); /* it is shown as it was written */
    }
    reading->gap = false;
    text_add(into, bytes, len);
}

void recipients_add(struct recipients *recipients, const char *text, size_t len, const char *domain)
{
    struct reading reading = { 0 };
    for (size_t i = 0; i < len;) {
        size_t size = 1;
        switch (text[i]) {
        case '(':
            size = comment_length(text + i, len - i);
            reading.gap = true;
            break;
        case ' ': case '\t': case '\r': case '\n':
            reading.gap = true;
            break;
        case '"': case '[':
            size = enclosed_length(text + i, len - i, text[i] == '"' ? '"' : ']');
            if (size == 0)
                size = len - i, reading.broken = true;
            take(&reading, text + i, size);
            break;
        case '<':
            reading.broken = reading.has_angle; /* words before it are a name, whatever they look like */
            reading.has_angle = reading.in_angle = true;
            reading.gap = false;
            break;
        case '>':
            reading.broken |= !reading.in_angle;
            reading.in_angle = false;
            break;
        case ':': /* a group's name ends; in <> it ends a source route */
            if (reading.in_angle)
                take(&reading, text + i, 1);
            else if (reading.has_angle)
                reading.broken = true;
            else
                text_fini(&reading.plain), reading = (struct reading){ 0 };
            break;
        case ',': case ';':
            if (reading.in_angle)
                take(&reading, text + i, 1);
            else
                end_address(recipients, &reading, domain);
            break;
        default:
            if (!reading.has_angle || reading.in_angle)
                take(&reading, text + i, 1);
            else
                reading.broken = true;
        }
        i += size;
    }
    end_address(recipients, &reading, domain);
}

void recipients_fini(struct recipients *recipients)
{
    for (size_t i = 0; i < recipients->count; i++) {
        free(recipients->items[i].address);
        free(recipients->items[i].words);
    }
    free(recipients->items);
    *recipients = (struct recipients){ 0 };
}

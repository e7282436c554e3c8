/*
 * letter.c - see letter.h
 */
#include "coordinator/quarantine/letter.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "coordinator/text.h"

#define SUBJECT_SHOWN 200
#define QP_LINE       75 /* and the soft break's '=' */

static const struct {
    const char *command, *outcome, *words;
} outcomes[] = {
    { "release", "released", "Released: it is on its way to you." },
    { "release", "refused", "This message is not released by its recipient: an administrator has to look at it first." },
    { "", "deleted", "Deleted." },
    { "spam", "reported", "Deleted, and the spam filter is told." },
    { "spam", "queued", "Thank you: the spam filter learns that this is spam." },
    { "ham", "queued", "Thank you: the spam filter learns that this is none." },
    { "", "nothing", "Nothing was learned: forward the message as an attachment." },
    { "", "unusable", "Nothing was done: what is attached cannot be read as a message. Forward the message as an attachment, as it came." },
    { "", "known", "You have said so before." },
    { "", "limit", "You have told the spam filter as much as one person may within a day. Please go on tomorrow." },
    { "", "large", "This message is too large for the spam filter to learn of." },
    { "spam", "full", "The spam filter has too much to learn at the moment. Please try again later." },
    { "ham", "full", "The spam filter has too much to learn at the moment. Please try again later." },
    { "safe", "done", "From now on this sender's mail is delivered to you, whatever its spam score is, where it is proved to be from there. Viruses are stopped all the same." },
    { "block", "done", "From now on this sender's mail is kept from you." },
    { "forget", "done", "This sender is not on your list any more." },
    { "forget", "gone", "This sender is not on your list." },
    { "", "full", "Your list is full: take a sender from it first." },
    { "", "wrong", "This message names no sender that a list could have." },
    { "", "gone", "This message is not in your quarantine any more." },
};

const char *letter_outcome(const char *command, const char *outcome)
{
    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
        if (strcmp(outcomes[i].outcome, outcome) == 0 && (*outcomes[i].command == '\0' || strcmp(outcomes[i].command, command) == 0))
            return outcomes[i].words;
    return "Nothing was done.";
}

const char *letter_reason(const char *reason)
{
    static const char *const reasons[][2] = {
        { "spam", "looks like spam" },  { "virus", "has a virus" },        { "unscannable", "could not be checked" }, { "policy", "is not allowed here" },
        { "blocklist", "you blocked its sender" }, { "outbreak", "is held for a while: it may be part of an outbreak" },
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (strcmp(reasons[i][0], reason) == 0)
            return reasons[i][1];
    return "";
}

void letter_entries_free(struct letter_entry **entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct letter_entry *entry = &(*entries)[i];
        free(entry->id);
        free(entry->when);
        free(entry->until);
        free(entry->sender);
        free(entry->subject);
        free(entry->reason);
    }
    free(*entries);
    *entries = NULL;
}

/* ---- text ---- */

static void add_shown(struct text *out, const char *words, bool html)
{
    if (html)
        text_add_html(out, words, strlen(words), SUBJECT_SHOWN);
    else
        text_add_shown(out, words, strlen(words), SUBJECT_SHOWN);
}

/* Mail readers make links of what looks like one, and our own mail is trusted: so it does not. */
static void add_unlinked(struct text *out, const char *words)
{
    static const char *const apart[][2] = { { "://", ": //" }, { "@", " (at) " }, { "www.", "www ." }, { "mailto:", "mailto :" } };
    while (*words != '\0') {
        size_t i = 0, count = sizeof apart / sizeof *apart;
        while (i < count && strncasecmp(words, apart[i][0], strlen(apart[i][0])) != 0)
            i++;
        if (i < count)
            text_puts(out, apart[i][1]);
        else
            text_add(out, words, 1);
        words += i < count ? strlen(apart[i][0]) : 1;
    }
}

static void add_subject_shown(struct text *out, const struct letter_entry *entry, bool html)
{
    struct text shown, apart;
    text_init(&shown);
    text_init(&apart);
    add_shown(&shown, *entry->subject != '\0' ? entry->subject : "(no subject)", false); /* first: what it takes away joins what was apart */
    if (shown.len > 0)
        add_unlinked(&apart, shown.data);
    if (html)
        text_add_html(out, apart.data, apart.len, SIZE_MAX);
    else
        text_add(out, apart.data, apart.len);
    text_fini(&shown);
    text_fini(&apart);
}

/* "commands+TOKEN@example.edu", with the token that belongs to a link's; plus: as a link has it. */
static void add_command_address(struct text *out, const struct letter *letter, const char *token, const char *plus)
{
    const char *at = strrchr(letter->mail, '@');
    char mail[TOKEN_LEN + 1];
    token_mail(mail, token);
    text_printf(out, "%.*s%s%s%s", (int)(at - letter->mail), letter->mail, plus, mail, at);
}

static void add_greeting(struct text *out, const struct letter *letter)
{
    const char *space = letter->outcome != NULL ? strchr(letter->outcome, ' ') : NULL;
    if (space != NULL && strncmp(letter->outcome, "list ", 5) != 0) {
        struct text command;
        text_init(&command);
        text_add(&command, letter->outcome, (size_t)(space - letter->outcome));
        text_puts(out, letter_outcome(command.data, space + 1));
        text_fini(&command);
    } else if (letter->total == 0) {
        text_puts(out, "Nothing is kept from you.");
    } else if (letter->total == 1) {
        text_puts(out, letter->outcome == NULL ? "A message to you was kept back since your last digest." : "One message to you is kept back.");
    } else {
        text_printf(out, letter->outcome == NULL ? "%zu messages to you were kept back since your last digest." : "%zu messages to you are kept back.", letter->total);
    }
}

static void add_text_entry(struct text *out, const struct letter *letter, const struct letter_entry *entry, size_t number)
{
    text_printf(out, "\n%zu. ", number);
    add_subject_shown(out, entry, false);
    text_puts(out, "\n   From:   ");
    add_shown(out, *entry->sender != '\0' ? entry->sender : "(nobody: a report)", false);
    text_printf(out, "\n   Kept:   %s, until %s\n   Why:    ", entry->when, entry->until);
    add_shown(out, letter_reason(entry->reason), false);
    text_printf(out, "%s%s%s\n", *entry->score != '\0' ? " (" : "", entry->score, *entry->score != '\0' ? " of 100)" : "");
    if (*letter->url != '\0')
        text_printf(out, "   %s %s/m/%s\n", entry->releasable ? "Look or release:" : "Look:", letter->url, entry->token);
    if (*letter->mail != '\0') {
        text_printf(out, "   By mail: \"%s\" as the subject to ", entry->releasable ? "release" : "delete");
        add_command_address(out, letter, entry->token, "+");
        text_puts(out, "\n");
    }
}

static void add_text(struct text *out, const struct letter *letter)
{
    add_greeting(out, letter);
    text_printf(out, "\nThis is about mail to %s. Nobody has read it.\n", letter->to);
    for (size_t i = 0; i < letter->count; i++)
        add_text_entry(out, letter, &letter->entries[i], i + 1);
    if (letter->total > letter->count && letter->count > 0)
        text_printf(out, "\nand %zu more.\n", letter->total - letter->count);
    text_puts(out, "\n");
    if (*letter->url != '\0' && *letter->page != '\0')
        text_printf(out, "All of your quarantine: %s/q/%s\n", letter->url, letter->page);
    if (*letter->mail != '\0' && *letter->page != '\0') {
        text_puts(out, "By mail: \"list\" as the subject to ");
        add_command_address(out, letter, letter->page, "+");
        text_puts(out, "; to a message's own\naddress \"release\", \"delete\", \"safe\" (always let its sender through), \"block\" (never) or\n\"spam\" (delete it, and tell the spam filter). What came to you and is spam: forward it as an attachment, with \"spam\"\nas the subject (\"ham\" where it is none), to the address of \"list\".\n");
    }
    text_puts(out, "Whoever has these links and addresses can do all this: do not pass this message on.\n");
    if (*letter->contact != '\0')
        text_printf(out, "\nFor help: %s\n", letter->contact);
}

/* ---- HTML ---- */

#define CARD   "border:1px solid #d0d7de;border-radius:8px;padding:12px 14px;margin:12px 0;background:#fff"
#define BUTTON "display:inline-block;padding:9px 16px;margin:8px 8px 0 0;border-radius:6px;text-decoration:none;font-weight:600;"
#define MAIN   BUTTON "background:#0b5cad;color:#fff"
#define OTHER  BUTTON "background:#eaeef2;color:#1f2328"

static void add_mail_link(struct text *out, const struct letter *letter, const char *token, const char *word, const char *label)
{
    text_puts(out, "<a style=\"" OTHER "\" href=\"mailto:");
    add_command_address(out, letter, token, "%2B");
    text_printf(out, "?subject=%s\">%s</a>", word, label);
}

static void add_html_entry(struct text *out, const struct letter *letter, const struct letter_entry *entry)
{
    text_puts(out, "<div style=\"" CARD "\"><div style=\"font-weight:600;font-size:16px;overflow-wrap:anywhere\">");
    add_subject_shown(out, entry, true);
    text_puts(out, "</div>\n<div style=\"overflow-wrap:anywhere\">from ");
    add_shown(out, *entry->sender != '\0' ? entry->sender : "(nobody: a report)", true);
    text_printf(out, "</div>\n<div style=\"color:#57606a;font-size:13px\">%s &middot; ", entry->when);
    add_shown(out, letter_reason(entry->reason), true);
    text_printf(out, "%s%s%s &middot; kept until %s</div>\n", *entry->score != '\0' ? " (" : "", entry->score, *entry->score != '\0' ? " of 100)" : "", entry->until);
    if (*letter->url != '\0') {
        text_printf(out, "<a style=\"" MAIN "\" href=\"%s/m/%s\">Look at it</a>\n", letter->url, entry->token);
        if (entry->releasable)
            text_printf(out, "<a style=\"" OTHER "\" href=\"%s/m/%s#release\">Release</a>\n", letter->url, entry->token);
    }
    if (*letter->mail != '\0')
        add_mail_link(out, letter, entry->token, entry->releasable ? "release" : "delete", entry->releasable ? "Release by mail" : "Delete by mail");
    text_puts(out, "</div>\n");
}

static void add_html(struct text *out, const struct letter *letter)
{
    text_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                   "<title>Quarantine</title></head>\n<body style=\"margin:0;background:#f6f8fa;color:#1f2328;font:15px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif\">\n"
                   "<div style=\"max-width:620px;margin:0 auto;padding:16px\">\n<h1 style=\"font-size:20px;margin:8px 0\">Your quarantine</h1>\n<p style=\"margin:8px 0\">");
    add_greeting(out, letter);
    text_puts(out, "<br>This is about mail to ");
    add_shown(out, letter->to, true);
    text_puts(out, ". Nobody has read it.</p>\n");
    for (size_t i = 0; i < letter->count; i++)
        add_html_entry(out, letter, &letter->entries[i]);
    if (letter->total > letter->count && letter->count > 0)
        text_printf(out, "<p>and %zu more.</p>\n", letter->total - letter->count);
    text_puts(out, "<p>");
    if (*letter->url != '\0' && *letter->page != '\0')
        text_printf(out, "<a style=\"" OTHER "\" href=\"%s/q/%s\">All of your quarantine</a>\n", letter->url, letter->page);
    if (*letter->mail != '\0' && *letter->page != '\0')
        add_mail_link(out, letter, letter->page, "list", "List by mail");
    text_puts(out, "</p>\n<p style=\"color:#57606a;font-size:13px\">Whoever has these links can do all this: do not pass this message on.");
    if (*letter->contact != '\0') {
        text_puts(out, "<br>For help: ");
        text_add_html(out, letter->contact, strlen(letter->contact), SIZE_MAX);
    }
    text_puts(out, "</p>\n</div></body></html>\n");
}

/* ---- the message ---- */

static bool is_plain(unsigned char c)
{
    return (c >= ' ' && c <= '~' && c != '=') || c == '\t';
}

/* Lines end in LF: blanks at their ends are written out, as hosts may take them away, and so is what a line of SMTP begins with. */
static void add_quoted_printable(struct text *out, const struct text *in)
{
    size_t column = 0;
    for (size_t i = 0; i < in->len; i++) {
        unsigned char c = (unsigned char)in->data[i];
        if (c == '\n') {
            text_puts(out, "\r\n");
            column = 0;
            continue;
        }
        bool last = i + 1 == in->len || in->data[i + 1] == '\n';
        bool plain = is_plain(c) && !(last && (c == ' ' || c == '\t')) && !(column == 0 && (c == '.' || c == 'F'));
        size_t cost = plain ? 1 : 3;
        if (column + cost > QP_LINE) {
            text_puts(out, "=\r\n");
            column = 0;
        }
        text_printf(out, plain ? "%c" : "=%02X", c);
        column += cost;
    }
    if (column > 0)
        text_puts(out, "\r\n");
}

static void add_part(struct text *out, const struct letter *letter, const char *type, void (*add)(struct text *, const struct letter *))
{
    struct text part;
    text_init(&part);
    add(&part, letter);
    text_printf(out, "--=_%s\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", letter->id, type);
    add_quoted_printable(out, &part);
    text_fini(&part);
}

static void add_subject(struct text *out, const struct letter *letter)
{
    if (letter->outcome != NULL)
        text_puts(out, "Subject: Your quarantine: an answer\r\n");
    else
        text_printf(out, "Subject: Your quarantine: %zu new message%s\r\n", letter->total, letter->total == 1 ? "" : "s");
}

char *letter_format(const struct letter *letter, size_t *len)
{
    struct text out;
    const char *domain = strrchr(letter->from, '@');
    text_init(&out);
    text_printf(&out, "From: Mail quarantine <%s>\r\nTo: <%s>\r\n", letter->from, letter->to);
    add_subject(&out, letter);
    text_printf(&out, "Date: %s\r\nMessage-ID: <%s%s>\r\nAuto-Submitted: %s\r\nX-Auto-Response-Suppress: All\r\nMIME-Version: 1.0\r\n", letter->date, letter->id,
                domain != NULL ? domain : "@localhost", letter->outcome != NULL ? "auto-replied" : "auto-generated");
    text_printf(&out, "Content-Type: multipart/alternative; boundary=\"=_%s\"\r\n\r\n", letter->id);
    add_part(&out, letter, "plain", add_text);
    add_part(&out, letter, "html", add_html);
    text_printf(&out, "--=_%s--\r\n", letter->id);
    *len = out.len;
    return out.data;
}

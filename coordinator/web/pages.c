/*
 * pages.c - see pages.h
 */
#include "coordinator/web/pages.h"
#include <stdint.h>
#include <string.h>
#include "coordinator/quarantine/letter.h"
#include "scanner/mime/html.h"

#define WORDS_SHOWN 300
#define TEXT_SHOWN  (200 * 1024)
#define FIELD_SHOWN 2000
#define PARTS_SHOWN 200

const char page_style[] =
    ":root{color-scheme:light dark;--ink:#1f2328;--soft:#57606a;--page:#f6f8fa;--card:#fff;--line:#d0d7de;--main:#0b5cad;--on-main:#fff;--plain:#eaeef2;--bad:#b42318}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--page:#0d1117;--card:#161b22;--line:#30363d;--main:#2f81f7;--on-main:#0d1117;--plain:#21262d;--bad:#ff7b72}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;overflow-wrap:anywhere;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\n"
    "header,main,footer{max-width:860px;margin:0 auto;padding:0 16px}\n"
    "header{padding-top:20px}\nh1{font-size:1.4rem;margin:0}\nh2{font-size:1.15rem;margin:0 0 4px;overflow-wrap:anywhere}\n"
    "header p,.soft{color:var(--soft);font-size:.9rem;margin:4px 0}\nfooter{padding-top:16px;padding-bottom:32px;color:var(--soft);font-size:.9rem}\n"
    "nav{margin:12px 0;display:flex;gap:16px;flex-wrap:wrap}\na{color:var(--main)}\n"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;margin:12px 0}\n"
    ".card p{margin:4px 0;overflow-wrap:anywhere}\n"
    "form{margin:10px 0 0;display:flex;flex-wrap:wrap;gap:10px;align-items:center}\n"
    "button,input{font:inherit;min-height:44px;padding:8px 16px;border-radius:8px;border:1px solid var(--line);background:var(--plain);color:var(--ink)}\n"
    "input{background:var(--card);flex:1 1 220px;min-width:0}\nbutton{font-weight:600;cursor:pointer}\n"
    "button.main{background:var(--main);border-color:var(--main);color:var(--on-main)}\nbutton.bad{color:var(--bad)}\n"
    ":focus-visible{outline:3px solid var(--main);outline-offset:2px}\n"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:0}\n"
    "dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:4px 14px;margin:8px 0}\ndt{color:var(--soft)}\ndd{margin:0;overflow-wrap:anywhere}\n"
    "ul.plain{list-style:none;padding:0;margin:0}\nsummary{cursor:pointer;padding:10px 0}\n"
    ".all{font:.85rem/1.4 ui-monospace,monospace}\n";

static void add(struct text *out, const char *words)
{
    text_add_html(out, words, strlen(words), WORDS_SHOWN);
}

static void add_span(struct text *out, struct mime_span span, size_t most)
{
    text_add_html(out, span.bytes, span.len, most);
    if (span.len > most)
        text_puts(out, " &hellip;");
}

static void begin(struct text *out, const struct page *page, const char *title)
{
    text_printf(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                     "<title>%s</title>\n<link rel=\"stylesheet\" href=\"%s/style.css\">\n</head>\n<body>\n<header>\n<h1>%s</h1>\n", title, page->prefix, title);
    if (*page->who != '\0') {
        text_puts(out, "<p>Mail to ");
        add(out, page->who);
        text_puts(out, "</p>\n");
    }
    text_puts(out, "</header>\n<main>\n");
    if (page->whole && *page->token != '\0')
        text_printf(out, "<nav aria-label=\"Quarantine\"><a href=\"%s/q/%s\">Messages</a><a href=\"%s/q/%s/senders\">Senders</a></nav>\n", page->prefix, page->token,
                    page->prefix, page->token);
}

static void end(struct text *out, const struct page *page)
{
    text_puts(out, "</main>\n<footer>");
    if (*page->contact != '\0') {
        text_puts(out, "For help: ");
        add(out, page->contact);
    }
    text_puts(out, "</footer>\n</body>\n</html>\n");
}

/* Where a message's form is posted, and its page is. */
static void add_path(struct text *out, const struct page *page, const char *id)
{
    if (page->whole)
        text_printf(out, "%s/q/%s/m/%s", page->prefix, page->token, id);
    else
        text_printf(out, "%s/m/%s", page->prefix, page->token);
}

static void begin_form(struct text *out, const struct page *page, const char *path, const char *id)
{
    text_puts(out, "<form method=\"post\" action=\"");
    if (path != NULL)
        text_printf(out, "%s/q/%s/%s", page->prefix, page->token, path);
    else
        add_path(out, page, id);
    text_printf(out, "\"%s><input type=\"hidden\" name=\"form\" value=\"%s\">\n", path == NULL ? " id=\"release\"" : "", page->form);
}

static void add_facts(struct text *out, const struct page_entry *entry)
{
    text_puts(out, "<p>from ");
    add(out, *entry->sender != '\0' ? entry->sender : "(nobody: a report)");
    text_puts(out, "</p>\n<p class=\"soft\">");
    add(out, entry->when);
    text_puts(out, " &middot; ");
    add(out, letter_reason(entry->reason));
    if (*entry->score != '\0') {
        text_puts(out, " (");
        add(out, entry->score);
        text_puts(out, " of 100)");
    }
    text_puts(out, "</p>\n");
}

static const char *subject_of(const struct page_entry *entry)
{
    return *entry->subject != '\0' ? entry->subject : "(no subject)";
}

void page_list(struct text *out, const struct page *page, const struct page_entry *entries, size_t count, const char *after, bool first)
{
    begin(out, page, "Your quarantine");
    if (count == 0)
        text_puts(out, first ? "<p class=\"card\">Nothing is kept from you.</p>\n" : "<p class=\"card\">There is no more.</p>\n");
    text_puts(out, "<ul class=\"plain\">\n");
    for (size_t i = 0; i < count; i++) {
        text_puts(out, "<li class=\"card\"><h2><a href=\"");
        add_path(out, page, entries[i].id);
        text_puts(out, "\">");
        add(out, subject_of(&entries[i]));
        text_puts(out, "</a></h2>\n");
        add_facts(out, &entries[i]);
        text_puts(out, "<form method=\"post\" action=\"");
        add_path(out, page, entries[i].id);
        text_printf(out, "\"><input type=\"hidden\" name=\"form\" value=\"%s\">\n", page->form);
        if (entries[i].releasable)
            text_puts(out, "<button class=\"main\" name=\"act\" value=\"release\">Release</button>\n");
        text_puts(out, "<button class=\"bad\" name=\"act\" value=\"delete\">Delete</button></form></li>\n");
    }
    text_puts(out, "</ul>\n");
    if (*after != '\0') {
        text_printf(out, "<p><a href=\"%s/q/%s?after=", page->prefix, page->token);
        for (const char *at = after; *at != '\0'; at++) /* a cursor has letters, digits, and blanks */
            text_printf(out, *at == ' ' ? "%%20" : "%c", *at);
        text_puts(out, "\">Older messages</a></p>\n");
    }
    end(out, page);
}

/* ---- one message ---- */

static void add_field(struct text *out, const struct mime_message *message, const char *name)
{
    const struct mime_header *field = mime_header(message, &message->parts[0], name);
    if (field == NULL)
        return;
    text_printf(out, "<dt>%s</dt><dd>", name);
    add_span(out, field->value, FIELD_SHOWN);
    text_puts(out, "</dd>\n");
}

static void add_lines(struct text *out, struct mime_span text)
{
    size_t most = text.len < TEXT_SHOWN ? text.len : TEXT_SHOWN;
    for (size_t at = 0; at < most;) {
        const char *stop = memchr(text.bytes + at, '\n', most - at);
        size_t len = stop != NULL ? (size_t)(stop - (text.bytes + at)) : most - at;
        size_t shown = len > 0 && text.bytes[at + len - 1] == '\r' ? len - 1 : len;
        for (size_t i = 0; i < shown;) { /* tabs stay blanks, where other control characters are named */
            const char *tab = memchr(text.bytes + at + i, '\t', shown - i);
            size_t run = tab != NULL ? (size_t)(tab - (text.bytes + at + i)) : shown - i;
            text_add_html(out, text.bytes + at + i, run, SIZE_MAX);
            text_puts(out, tab != NULL ? "    " : "");
            i += run + (tab != NULL);
        }
        text_puts(out, "\n");
        at += len + 1;
    }
    if (most < text.len)
        text_puts(out, "&hellip;\n");
}

static bool is_blank(struct mime_span text)
{
    return mime_span_trim(text).len == 0;
}

/* The part that a reader would see first: plain text, or else HTML, as its text. */
static void add_body(struct text *out, struct mime_parser *parser, const struct mime_message *message)
{
    const struct mime_part *plain = NULL, *rich = NULL;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct mime_part *part = &message->parts[i];
        if (part->composite || part->file_name.len > 0 || mime_span_is(part->disposition, "attachment") || is_blank(part->text))
            continue;
        if (mime_type_is(part, "text", "html"))
            rich = rich == NULL ? part : rich;
        else
            plain = plain == NULL ? part : plain;
    }
    text_puts(out, "<section class=\"card\" aria-label=\"Text\"><pre>");
    if (plain != NULL) {
        add_lines(out, plain->text);
    } else if (rich != NULL) {
        struct html html;
        html_read(parser, rich->text, &html);
        add_lines(out, html.text);
    } else {
        text_puts(out, "(no text)");
    }
    text_puts(out, "</pre></section>\n");
}

static void add_attachments(struct text *out, const struct mime_message *message)
{
    size_t shown = 0;
    for (size_t i = 0; i < message->part_count && shown < PARTS_SHOWN; i++) {
        const struct mime_part *part = &message->parts[i];
        if (part->composite || (part->file_name.len == 0 && !mime_span_is(part->disposition, "attachment") && mime_type_is(part, "text", NULL)))
            continue;
        text_puts(out, shown++ == 0 ? "<section class=\"card\"><h2>Attachments</h2><ul>\n<li>" : "<li>");
        add_span(out, part->file_name, WORDS_SHOWN);
        text_puts(out, part->file_name.len > 0 ? " (" : "(");
        add_span(out, part->type, 40);
        text_puts(out, "/");
        add_span(out, part->subtype, 80);
        text_printf(out, ", %zu byte%s)</li>\n", part->bytes.len, part->bytes.len == 1 ? "" : "s");
    }
    if (shown > 0)
        text_puts(out, "</ul><p class=\"soft\">They are not opened here.</p></section>\n");
}

static void add_all_fields(struct text *out, const struct mime_message *message)
{
    text_puts(out, "<details class=\"card\"><summary>All header fields</summary><pre class=\"all\">");
    for (uint32_t i = 0; i < message->parts[0].header_count && i < PARTS_SHOWN; i++) {
        const struct mime_header *header = &message->headers[message->parts[0].first_header + i];
        add_span(out, header->name, WORDS_SHOWN);
        text_puts(out, ": ");
        add_span(out, header->value, FIELD_SHOWN);
        text_puts(out, "\n");
    }
    text_puts(out, "</pre></details>\n");
}

static void add_acts(struct text *out, const struct page *page, const struct page_message *message)
{
    begin_form(out, page, NULL, message->entry.id);
    if (message->entry.releasable)
        text_puts(out, "<button class=\"main\" name=\"act\" value=\"release\">Release</button>\n");
    text_puts(out, "<button class=\"bad\" name=\"act\" value=\"delete\">Delete</button>\n");
    if (message->entry.releasable)
        text_puts(out, "<button class=\"bad\" name=\"act\" value=\"spam\">Report as spam and delete</button>\n");
    if (*message->author != '\0')
        text_puts(out, "<button name=\"act\" value=\"safe\">Always let its sender through</button>\n<button name=\"act\" value=\"block\">Block its sender</button>\n");
    text_puts(out, "</form>\n");
    if (!message->entry.releasable)
        text_puts(out, "<p class=\"soft\">This message is not released by its recipient: an administrator has to look at it first.</p>\n");
    if (*message->author != '\0') {
        text_puts(out, "<p class=\"soft\">Its sender: ");
        add(out, message->author);
        text_puts(out, "</p>\n");
    }
}

void page_message(struct text *out, const struct page *page, struct mime_parser *parser, const struct page_message *message)
{
    static const char *const fields[] = { "From", "Reply-To", "To", "Cc", "Date" };
    const struct mime_message *parsed = mime_parse(parser, message->bytes, message->len);
    begin(out, page, "A message in your quarantine");
    text_puts(out, "<section class=\"card\"><h2>");
    add(out, subject_of(&message->entry));
    text_puts(out, "</h2>\n");
    add_facts(out, &message->entry);
    text_puts(out, "<dl>\n");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        add_field(out, parsed, fields[i]);
    text_puts(out, "</dl>\n");
    add_acts(out, page, message);
    text_puts(out, "</section>\n<p class=\"soft\">Shown as text: nothing of it is loaded or run, and its links cannot be followed.</p>\n");
    add_body(out, parser, parsed);
    add_attachments(out, parsed);
    if (message->cut)
        text_puts(out, "<p class=\"soft\">It is larger than what is shown here.</p>\n");
    add_all_fields(out, parsed);
    end(out, page);
}

void page_senders(struct text *out, const struct page *page, const struct page_sender *senders, size_t count)
{
    begin(out, page, "Your senders");
    text_puts(out, "<section class=\"card\"><h2>Add a sender</h2><p class=\"soft\">An address, or @ and a domain for all of it.</p>\n");
    begin_form(out, page, "senders", NULL);
    text_puts(out, "<input name=\"sender\" aria-label=\"Sender\" autocomplete=\"off\" maxlength=\"320\" required placeholder=\"somebody@example.org\">\n"
                   "<button class=\"main\" name=\"act\" value=\"safe\">Let through</button>\n<button name=\"act\" value=\"block\">Block</button></form></section>\n<ul class=\"plain\">\n");
    for (size_t i = 0; i < count; i++) {
        text_puts(out, "<li class=\"card\"><p>");
        add(out, senders[i].sender);
        text_puts(out, strcmp(senders[i].kind, "safe") == 0 ? "</p><p class=\"soft\">let through</p>\n" : "</p><p class=\"soft\">blocked</p>\n");
        begin_form(out, page, "senders", NULL);
        text_puts(out, "<input type=\"hidden\" name=\"sender\" value=\"");
        text_add_value(out, senders[i].sender);
        text_puts(out, "\"><button class=\"bad\" name=\"act\" value=\"forget\">Take off the list</button></form></li>\n");
    }
    text_puts(out, count == 0 ? "</ul>\n<p class=\"soft\">Nobody is on your list.</p>\n" : "</ul>\n");
    end(out, page);
}

void page_words(struct text *out, const struct page *page, const char *title, const char *words)
{
    begin(out, page, title);
    text_puts(out, "<p class=\"card\" role=\"status\">");
    add(out, words);
    text_puts(out, "</p>\n");
    end(out, page);
}

void page_nothing(struct text *out, const struct page *page)
{
    const struct page nobody = { .prefix = page->prefix, .token = "", .who = "", .contact = page->contact };
    page_words(out, &nobody, "Nothing here", "This link opens nothing (any more). The message may have been released or deleted, or it was kept for as long as it is; your next digest has a new link.");
}

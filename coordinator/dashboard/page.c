/*
 * page.c - what all pages have, and the short ones; overview.c is the long one
 */
#include "coordinator/dashboard/page.h"
#include <stdio.h>
#include <string.h>
#include "coordinator/dashboard/form.h"
#include "coordinator/dashboard/parts.h"

const char *part_word(const json_t *object, const char *key)
{
    const char *word = json_string_value(json_object_get(object, key));
    return word != NULL ? word : "";
}

double part_number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

void part_cell(struct text *out, const char *label, const char *text)
{
    text_printf(out, "<td data-label=\"%s\">", label);
    form_escape(out, *text != '\0' ? text : "–");
    text_puts(out, "</td>");
}

void part_moment(struct text *out, const char *label, const char *moment)
{
    char shown[32];
    snprintf(shown, sizeof shown, "%.19s", moment);
    if (strlen(shown) > 10 && shown[10] == 'T')
        shown[10] = ' ';
    part_cell(out, label, shown);
}

const char *part_span(char *out, size_t cap, double seconds)
{
    if (seconds < 120)
        snprintf(out, cap, "%.0f s", seconds < 0 ? 0 : seconds);
    else if (seconds < 7200)
        snprintf(out, cap, "%.0f min", seconds / 60);
    else if (seconds < 172800)
        snprintf(out, cap, "%.0f h", seconds / 3600);
    else
        snprintf(out, cap, "%.0f days", seconds / 86400);
    return out;
}

const char *part_amount(char *out, size_t cap, double amount)
{
    if (amount < 10 && amount != (double)(long long)amount)
        snprintf(out, cap, amount < 0.1 ? "%.2f" : "%.1f", amount);
    else if (amount < 10000)
        snprintf(out, cap, "%.0f", amount);
    else if (amount < 1e6)
        snprintf(out, cap, "%.1fk", amount / 1e3);
    else
        snprintf(out, cap, "%.1fM", amount / 1e6);
    return out;
}

void part_begin(struct text *out, const struct page_who *who, const char *title, bool live)
{
    text_puts(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                   "<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
    form_escape(out, title);
    text_puts(out, " · ");
    form_escape(out, who->cluster);
    text_puts(out, "</title>\n<link rel=\"stylesheet\" href=\"/dashboard.css\">\n<link rel=\"icon\" href=\"/dashboard.svg\" type=\"image/svg+xml\">\n");
    if (live)
        text_puts(out, "<script src=\"/dashboard.js\" defer></script>\n");
    text_puts(out, "</head>\n<body>\n<a class=\"skip\" href=\"#main\">To the content</a>\n<header>\n<p class=\"brand\"><a href=\"/\">");
    form_escape(out, who->cluster);
    text_puts(out, "</a> <span>as ");
    form_escape(out, who->coordinator);
    text_puts(out, " sees it</span></p>\n<p class=\"clock\" id=\"clock\" role=\"status\"></p>\n<nav aria-label=\"Operator\">\n");
    if (who->operator != NULL) {
        text_puts(out, "<a href=\"/spool\">Spool</a>\n<span>");
        form_escape(out, who->operator);
        text_printf(out, "</span>\n<form method=\"post\" action=\"/logout\"><input type=\"hidden\" name=\"csrf\" value=\"%s\"><button class=\"quiet\">Log out</button></form>\n", who->csrf);
    } else {
        text_puts(out, "<a href=\"/login\">Log in</a>\n");
    }
    text_puts(out, "</nav>\n</header>\n<main id=\"main\">\n");
    if (!who->database)
        text_puts(out, "<p class=\"alert bad\" role=\"alert\"><strong>The database is not there.</strong> What is shown was read before; nothing can be changed.</p>\n");
}

void part_end(struct text *out)
{
    text_puts(out, "</main>\n</body>\n</html>\n");
}

void part_form(struct text *out, const struct page_who *who, const char *verb, const char *target, const char *act, const char *back, const char *button, bool grave)
{
    text_puts(out, "<details class=\"act\"><summary>");
    text_puts(out, button);
    text_puts(out, "…<span class=\"unseen\"> ");
    form_escape(out, target);
    text_printf(out, "</span></summary>\n<form method=\"post\" action=\"/act\"><input type=\"hidden\" name=\"csrf\" value=\"%s\"><input type=\"hidden\" name=\"act\" value=\"%s\">"
                     "<input type=\"hidden\" name=\"back\" value=\"%s\"><input type=\"hidden\" name=\"verb\" value=\"%s\"><input type=\"hidden\" name=\"target\" value=\"",
                who->csrf, act, back, verb);
    form_escape(out, target);
    text_printf(out, "\"><label>Why? <input name=\"reason\" required maxlength=\"500\" autocomplete=\"off\"></label> <button%s>%s</button></form></details>", grave ? " class=\"grave\"" : "", button);
}

void page_words(struct text *out, const struct page_who *who, const char *title, const char *words)
{
    part_begin(out, who, title, false);
    text_puts(out, "<section class=\"card narrow\"><h1>");
    form_escape(out, title);
    text_puts(out, "</h1>\n<p>");
    form_escape(out, words);
    text_puts(out, "</p>\n<p><a href=\"/\">To the overview</a></p></section>\n");
    part_end(out);
}

void page_login(struct text *out, const struct page_who *who, const char *words)
{
    part_begin(out, who, "Log in", false);
    text_puts(out, "<section class=\"card narrow\"><h1>Log in</h1>\n");
    if (words != NULL) {
        text_puts(out, "<p class=\"alert bad\" role=\"alert\">");
        form_escape(out, words);
        text_puts(out, "</p>\n");
    }
    text_puts(out, "<form class=\"login\" method=\"post\" action=\"/login\">\n<label>Name <input name=\"name\" autocomplete=\"username\" autocapitalize=\"none\" required maxlength=\"63\" autofocus></label>\n"
                   "<label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required maxlength=\"511\"></label>\n<button>Log in</button>\n</form>\n"
                   "<p class=\"note\">Who may: <code>weirctl operator add NAME</code></p></section>\n");
    part_end(out);
}

void page_done(struct text *out, const struct page_who *who, const struct page_act *done, bool fine, const char *words, bool anyway)
{
    const char *title = fine ? "Done" : "Not done";
    part_begin(out, who, title, false);
    const char *back = strcmp(done->back, "/spool") == 0 ? "/spool" : "/"; /* a word of ours, whatever the form said */
    text_printf(out, "<section class=\"card narrow\"><h1>%s: ", title);
    form_escape(out, done->verb);
    text_puts(out, " ");
    form_escape(out, done->target);
    text_printf(out, "</h1>\n<p class=\"alert %s\" role=\"status\">", fine ? "good" : "bad");
    form_escape(out, words);
    text_puts(out, "</p>\n");
    if (anyway) {
        text_printf(out, "<form method=\"post\" action=\"/act\"><input type=\"hidden\" name=\"csrf\" value=\"%s\"><input type=\"hidden\" name=\"act\" value=\"%s\"><input type=\"hidden\" name=\"back\" value=\"%s\">"
                         "<input type=\"hidden\" name=\"force\" value=\"true\"><input type=\"hidden\" name=\"verb\" value=\"",
                    who->csrf, done->act, back);
        form_escape(out, done->verb);
        text_puts(out, "\"><input type=\"hidden\" name=\"target\" value=\"");
        form_escape(out, done->target);
        text_puts(out, "\"><input type=\"hidden\" name=\"reason\" value=\"");
        form_escape(out, done->reason);
        text_puts(out, "\"><button class=\"grave\">Do it anyway</button></form>\n");
    }
    text_printf(out, "<p><a href=\"%s\">Back</a></p></section>\n", back);
    part_end(out);
}

/* --- the spool --- */

static void filter(struct text *out, const char *label, const char *name, const char *value)
{
    text_printf(out, "<label>%s <input name=\"%s\" value=\"", label, name);
    form_escape(out, value);
    text_puts(out, "\" maxlength=\"320\" autocapitalize=\"none\"></label>\n");
}

static void entry_row(struct text *out, const struct page_who *who, const json_t *entry, const char *act)
{
    const char *id = part_word(entry, "id"), *state = part_word(entry, "state");
    struct text recipients;
    const json_t *one;
    size_t i;
    text_init(&recipients);
    json_array_foreach(json_object_get(entry, "recipients"), i, one)
        text_printf(&recipients, "%s%s", i > 0 ? " " : "", json_string_value(one) != NULL ? json_string_value(one) : "");
    text_puts(out, "<tr>");
    part_cell(out, "Message", id);
    part_cell(out, "State", state);
    part_cell(out, "From", *part_word(entry, "sender") != '\0' ? part_word(entry, "sender") : "<>");
    part_cell(out, "Recipients", recipients.data);
    part_cell(out, "To", part_word(entry, "destination"));
    part_moment(out, "Arrived", part_word(entry, "arrived_at"));
    part_cell(out, "Last answer", part_word(entry, "reply"));
    text_puts(out, "<td data-label=\"\">");
    bool held = strcmp(state, "held") == 0;
    part_form(out, who, held ? "queue release" : "queue hold", id, act, "/spool", held ? "Release" : "Hold", false);
    text_puts(out, "</td></tr>\n");
    text_fini(&recipients);
}

void page_spool(struct text *out, const struct page_who *who, const json_t *entries, const struct page_filters *filters, const char *problem, const char *act)
{
    static const char *const states[] = { "", "ready", "deferred", "leased", "held" };
    part_begin(out, who, "Spool", false);
    text_puts(out, "<h1>Spool</h1>\n<form class=\"filters card\" method=\"get\" action=\"/spool\">\n");
    filter(out, "Message", "id", filters->id);
    filter(out, "From", "from", filters->from);
    filter(out, "To", "to", filters->to);
    filter(out, "Destination", "destination", filters->destination);
    text_puts(out, "<label>State <select name=\"state\">");
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        text_printf(out, "<option value=\"%s\"%s>%s</option>", states[i], strcmp(states[i], filters->state) == 0 ? " selected" : "", *states[i] != '\0' ? states[i] : "any");
    text_puts(out, "</select></label>\n<button>Look</button>\n</form>\n");
    if (problem != NULL) {
        text_puts(out, "<p class=\"alert bad\" role=\"alert\">");
        form_escape(out, problem);
        text_puts(out, "</p>\n");
    }
    const json_t *entry;
    size_t i;
    text_puts(out, "<section class=\"card\"><table class=\"stack\"><thead><tr><th>Message</th><th>State</th><th>From</th><th>Recipients</th><th>To</th><th>Arrived</th><th>Last answer</th>"
                   "<th><span class=\"unseen\">What to do</span></th></tr></thead><tbody>\n");
    json_array_foreach(entries, i, entry)
        entry_row(out, who, entry, act);
    text_puts(out, "</tbody></table>\n");
    if (json_array_size(entries) == 0)
        text_puts(out, "<p class=\"note\">Nothing in the spool matches.</p>\n");
    text_puts(out, "</section>\n");
    part_end(out);
}

/* rules_links.c - links, forms and pictures, whatever they say */
#include <stdio.h>
#include <string.h>
#include "scanner/native/rules.h"

static bool same_organisation(const char *a, const char *b)
{
    return strcmp(host_organisation(a), host_organisation(b)) == 0;
}

/* Digits or random letters where names have words; "x7f3k9q2.example". */
static bool is_random(const char *host)
{
    const char *label;
    size_t len = organisation_label(host, &label), digits = 0, run = 0, longest = 0;
    for (size_t i = 0; i < len; i++) {
        char c = label[i];
        digits += c >= '0' && c <= '9' ? 1 : 0;
        run = strchr("aeiouy0123456789-", c) == NULL ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return (digits >= 3 && digits < len) || longest >= 6;
}

static void hosts(const struct view *view, struct native_result *result)
{
    const struct view_host *address = NULL, *shortener = NULL, *page = NULL, *zone = NULL, *random = NULL;
    size_t linked = 0;
    for (size_t i = 0; i < view->host_count; i++) {
        const struct view_host *host = &view->hosts[i];
        if (host->links == 0)
            continue;
        linked++;
        bool private_net = strncmp(host->host, "10.", 3) == 0 || strncmp(host->host, "192.168.", 8) == 0 || strncmp(host->host, "127.", 4) == 0;
        address = host->is_address && !private_net ? host : address;
        shortener = host->is_shortener ? host : shortener;
        page = host->is_free_page ? host : page;
        zone = host->is_odd_zone ? host : zone;
        random = !host->is_address && is_random(host->host) ? host : random;
    }
    if (address != NULL)
        symbol_text(result, "LINK_TO_ADDRESS", 2200, address->host);
    if (shortener != NULL)
        symbol_text(result, "LINK_SHORTENED", view->is_reply || view->is_list ? 100 : 1000, shortener->host);
    if (page != NULL)
        symbol_text(result, "LINK_FREE_PAGE", view->is_reply || view->is_list ? 200 : 1200, page->host);
    if (zone != NULL)
        symbol_text(result, "LINK_ODD_ZONE", view->is_reply || view->is_list ? 300 : 1200, zone->host);
    if (random != NULL)
        symbol_text(result, "LINK_RANDOM_NAME", view->is_reply || view->is_list ? 100 : 500, random->host);
}

/* A link that only sends on: another address stands in it, or it is a search engine's or a counter's that takes any. */
static bool sends_on(struct mime_span url, const char *host)
{
    const char *path = memmem(url.bytes, url.len, host, strlen(host));
    if (path == NULL) /* as when letters of the host are written in capitals or as %XX */
        return false;
    path += strlen(host);
    size_t left = (size_t)(url.bytes + url.len - path);
    bool engine = strstr(host, "google.") != NULL || strcmp(host, "www.bing.com") == 0 || strstr(host, "doubleclick.net") != NULL || strstr(host, "awin1.com") != NULL ||
                  strstr(host, "viglink.com") != NULL;
    static const char *const ways[] = { "/url?", "/amp/", "/ck/a?", "/aclk", "/ddm/", "cread.php", "/api/click", "/pcs/click" };
    for (size_t i = 0; engine && i < sizeof ways / sizeof ways[0]; i++)
        if (memmem(path, left, ways[i], strlen(ways[i])) != NULL)
            return true;
    return false;
}

static bool has_text(struct mime_span in, struct mime_span text)
{
    for (const char *at = in.bytes; text.len > 4 && in.len >= text.len && at + text.len <= in.bytes + in.len; at++)
        if (*at == *text.bytes && memcmp(at, text.bytes, text.len) == 0)
            return true;
    return false;
}

static void addressed(const struct view *view, struct native_result *result)
{
    bool sent_on = false, named = false;
    for (size_t i = 0; i < view->link_count && i < 60; i++) {
        const struct view_link *link = &view->links[i];
        if (link->host == NULL || link->kind == HTML_IMAGE)
            continue;
        if (!sent_on && sends_on(link->url, link->host->host)) {
            sent_on = true;
            symbol_text(result, "LINK_SENDS_ON", view->is_reply || view->is_list ? 200 : 1400, link->host->host);
        }
        bool foreign = view->from.host[0] != '\0' && !same_organisation(link->host->host, view->from.host);
        if (!named && foreign && !view->is_list && has_text(link->url, view->to.address)) {
            named = true;
            symbol_text(result, "LINK_NAMES_RECIPIENT", 700, link->host->host);
        }
    }
}

/* No link leads to the sender's organisation; worse when all lead to one other. */
static void all_foreign(const struct view *view, struct native_result *result)
{
    const char *only = NULL;
    bool several = false;
    for (size_t i = 0; i < view->link_count; i++) {
        const struct view_link *link = &view->links[i];
        if (link->host == NULL || !link->in_html || link->kind == HTML_IMAGE)
            continue;
        if (same_organisation(link->host->host, view->from.host))
            return;
        several |= only != NULL && !same_organisation(only, link->host->host);
        only = link->host->host;
    }
    if (only != NULL && view->from.host[0] != '\0' && !view->is_reply && !view->is_list)
        symbol_text(result, several ? "LINKS_NOT_OWN" : "LINKS_ALL_ELSEWHERE", several ? 700 : 1400, only);
}

static void forms(const struct view *view, struct native_result *result)
{
    if (view->passwords > 0)
        symbol_text(result, "FORM_ASKS_PASSWORD", 3000, "");
    else if (view->forms > 0)
        symbol_text(result, "FORM_IN_MAIL", 400, "");
    if (view->scripts > 0)
        symbol_text(result, "SCRIPT_IN_MAIL", 200, "");
    for (size_t i = 0; i < view->link_count; i++) {
        const struct view_link *link = &view->links[i];
        if (link->kind != HTML_IMAGE && link->url.len > 5 && strncasecmp(link->url.bytes, "data:", 5) == 0) {
            symbol_text(result, "LINK_DATA", 2000, "");
            return;
        }
        if (url_has_user(link->url)) {
            symbol_add(result, "LINK_WITH_USER", 2000, link->url);
            return;
        }
    }
}

/* What is to be read is in pictures, where no text tells what it is; only those of the message's own source count, so a signature's logo does not. */
static void pictures(const struct view *view, struct native_result *result)
{
    size_t attached = 0;
    for (size_t i = 0; i < view->file_count; i++)
        attached += view->files[i].inline_image ? 1 : 0;
    size_t text = view->folded.len - view->folded_subject;
    if (view->images + attached == 0 || text > 400)
        return;
    bool linked = false;
    for (size_t i = 0; i < view->link_count; i++)
        linked |= view->links[i].has_image;
    if (text < 200)
        symbol_text(result, linked ? "IMAGE_ONLY_LINKED" : "IMAGE_ONLY", linked ? 1600 : view->is_reply ? 300 : 900, "");
    else
        symbol_text(result, "IMAGE_LITTLE_TEXT", linked ? 900 : 200, "");
}

static void hiding(const struct view *view, struct native_result *result)
{
    if (view->hidden > 300 && view->hidden * 4 > view->html_seen)
        symbol_text(result, "HIDDEN_TEXT", 1000, "");
    if (view->breaks >= 8)
        symbol_text(result, "WORDS_CUT", view->breaks >= 30 ? 1500 : 600, "");
    if (view->mixed_words >= 2)
        symbol_text(result, "MIXED_SCRIPTS", 1700, "");
    if (view->styled >= 5)
        symbol_text(result, "LETTERS_STYLED", 1500, "");
    if (view->html_bytes > 4000 && view->html_seen * 40 < view->html_bytes)
        symbol_text(result, "HTML_NEARLY_EMPTY", 400, "");
}

void rules_links(const struct view *view, struct native_result *result)
{
    hosts(view, result);
    all_foreign(view, result);
    addressed(view, result);
    forms(view, result);
    pictures(view, result);
    hiding(view, result);
}

/* rules_phishing.c - who writes, who he says he is, and where his links lead */
#include <stdio.h>
#include <string.h>
#include "scanner/native/brands.h"
#include "scanner/native/rules.h"

static bool same_organisation(const char *a, const char *b)
{
    return a[0] != '\0' && b[0] != '\0' && strcasecmp(host_organisation(a), host_organisation(b)) == 0;
}

/* "From" is of the site itself; see native.h. */
static void own_domain(const struct view *view, struct native_result *result)
{
    const struct native_facts *facts = view->facts;
    if (facts->direction != NATIVE_INBOUND || facts->authenticated || !view->from_is_own || view->is_bounce)
        return;
    symbol_text(result, NATIVE_OWN_DOMAIN, view->is_list ? NATIVE_OWN_DOMAIN_LIST : NATIVE_OWN_DOMAIN_UNKNOWN, view->from.host);
}

/* An address of somebody else, the site, or a brand in what people read as the sender's name. */
static void display_name(const struct view *view, struct native_result *result)
{
    struct mime_span name = view->from.name;
    if (name.len == 0 || view->from.host[0] == '\0')
        return;
    const char *at = memchr(name.bytes, '@', name.len);
    size_t len = 0;
    while (at != NULL && at + 1 + len < name.bytes + name.len && memchr(" \t\"'>),;(", at[1 + len], 9) == NULL)
        len++;
    if (at != NULL && is_host_name(at + 1, len)) {
        char host[HOST_MAX];
        for (size_t i = 0; i < len; i++)
            host[i] = at[1 + i] >= 'A' && at[1 + i] <= 'Z' ? (char)(at[1 + i] | 0x20) : at[1 + i];
        host[len] = '\0';
        if (!same_organisation(host, view->from.host))
            symbol_add(result, "DISPLAY_NAME_OTHER_ADDRESS", view->is_list ? 300 : 2000, name);
    } else if (looks_like_host(name.bytes, name.len)) {
        char host[HOST_MAX];
        memcpy(host, name.bytes, name.len);
        host[name.len] = '\0';
        if (!same_organisation(host, view->from.host))
            symbol_add(result, "DISPLAY_NAME_OTHER_DOMAIN", 1100, name);
    }
    const struct brand *brand = brand_in(name);
    if (brand != NULL && !brand_owns(brand, view->from.host) && !view->from_is_own)
        symbol_text(result, "DISPLAY_NAME_BRAND", view->is_list ? 500 : host_is_free_mail(view->from.host) ? 4900 : 3600, brand->word);
    else if ((brand = brand_disguised(name)) != NULL && !brand_owns(brand, view->from.host))
        symbol_text(result, "DISPLAY_NAME_DISGUISED", 3000, brand->word);
}

/* More than one author where one is meant, or marks that no person has in his name. */
static void strange_from(const struct view *view, struct native_result *result)
{
    struct mime_span from = view_header(view, "From");
    size_t opens = 0;
    bool picture = false;
    for (size_t i = 0; i + 3 < from.len; i++) {
        opens += from.bytes[i] == '<' ? 1 : 0;
        picture |= (unsigned char)from.bytes[i] == 0xf0 && (unsigned char)from.bytes[i + 1] == 0x9f;
    }
    const char *comma = from.len > 0 ? memmem(from.bytes, from.len, "\", ", 3) : NULL;
    if (opens > 1 || comma != NULL)
        symbol_add(result, "FROM_SEVERAL", 1800, from);
    if (picture)
        symbol_text(result, "FROM_WITH_PICTURE", 600, "");
}

/* A brand's business from a mailbox that costs nothing. */
static void brand_of_free_mail(const struct view *view, const struct phrase_hits *hits, struct native_result *result)
{
    size_t len = view->folded.len < 500 ? view->folded.len : 500;
    if (!host_is_free_mail(view->from.host) || view->is_reply || view->is_list || hits->distinct[PHRASE_PAYMENT] + hits->distinct[PHRASE_CREDENTIALS] < 2)
        return;
    const struct brand *brand = brand_in((struct mime_span){ view->folded.bytes, len });
    if (brand != NULL && !brand_owns(brand, view->from.host))
        symbol_text(result, "BRAND_OF_FREE_MAIL", 1700, brand->word);
}

static void look_alike(const struct view *view, struct native_result *result)
{
    const char *found = NULL;
    const char *hosts[VIEW_HOSTS_MAX + 1];
    size_t count = 0;
    if (view->from.host[0] != '\0')
        hosts[count++] = view->from.host;
    for (size_t i = 0; i < view->host_count; i++)
        if (view->hosts[i].links > 0 && !view->hosts[i].is_address)
            hosts[count++] = view->hosts[i].host;
    for (size_t i = 0; i < count && i < 16 && found == NULL; i++) {
        if (brand_imitated(hosts[i]) != NULL)
            found = hosts[i];
        for (size_t k = 0; view->facts->direction == NATIVE_INBOUND && k < view->facts->recipient_count && k < 100 && found == NULL; k++) {
            const char *at = strrchr(view->facts->recipients[k], '@');
            if (at != NULL && !host_is_free_mail(at + 1) && host_resembles(hosts[i], at + 1))
                found = hosts[i];
        }
    }
    if (found != NULL)
        symbol_text(result, "LOOK_ALIKE_DOMAIN", 2800, found);
    for (size_t i = 0; i < count && i < 16; i++)
        if (strstr(hosts[i], "xn--") != NULL) {
            symbol_text(result, "PUNYCODE_DOMAIN", 300, hosts[i]);
            break;
        }
}

/*
 * The text of a link is an address, and not that to which it leads. Counters of clicks do that with the sender's own address; but who writes in the site's
 * name from outside and asks for a password is not believed to be the sender.
 */
static void link_text(const struct view *view, const struct phrase_hits *hits, struct native_result *result)
{
    bool sender_doubtful = symbol_has(result, NATIVE_OWN_DOMAIN) && hits->distinct[PHRASE_CREDENTIALS] > 0;
    for (size_t i = 0; i < view->link_count; i++) {
        const struct view_link *link = &view->links[i];
        char seen[HOST_MAX] = "";
        if (link->kind != HTML_ANCHOR || link->host == NULL || link->text.len < 4 || link->text.len > 512 || memchr(link->text.bytes, ' ', link->text.len) != NULL)
            continue;
        if (url_is_web(link->text)) {
            url_host(link->text, seen);
        } else {
            const char *slash = memchr(link->text.bytes, '/', link->text.len);
            size_t len = slash == NULL ? link->text.len : (size_t)(slash - link->text.bytes);
            if (looks_like_host(link->text.bytes, len)) {
                for (size_t k = 0; k < len; k++)
                    seen[k] = link->text.bytes[k] >= 'A' && link->text.bytes[k] <= 'Z' ? (char)(link->text.bytes[k] | 0x20) : link->text.bytes[k];
                seen[len] = '\0';
            }
        }
        if (seen[0] == '\0' || strchr(seen, '.') == NULL || same_organisation(seen, link->host->host))
            continue;
        bool sender_says = (same_organisation(seen, view->from.host) && !sender_doubtful) || same_organisation(link->host->host, view->from.host);
        if (sender_says)
            symbol_text(result, "LINK_COUNTED", 300, link->host->host);
        else
            symbol_text(result, "LINK_TEXT_DIFFERS", 2200, link->host->host);
        return;
    }
}

static void reply_to(const struct view *view, struct native_result *result)
{
    const char *from = view->from.host, *reply = view->reply_to.host;
    if (from[0] == '\0' || reply[0] == '\0' || view->is_list || same_organisation(from, reply))
        return;
    if (host_is_free_mail(reply))
        symbol_text(result, "REPLY_TO_FREE_MAIL", host_is_free_mail(from) ? 2200 : 3600, reply);
    else
        symbol_text(result, "REPLY_TO_DIFFERS", 300, reply);
}

/* A brand is spoken of where the sender and all links are others'. */
static void brand_in_subject(const struct view *view, const struct phrase_hits *hits, struct native_result *result)
{
    const struct brand *brand = brand_in(view->subject);
    if (brand == NULL || view->is_reply || view->is_list || symbol_has(result, "DISPLAY_NAME_BRAND") || brand_owns(brand, view->from.host) || view->from_is_own)
        return;
    for (size_t i = 0; i < view->host_count; i++)
        if (brand_owns(brand, view->hosts[i].host) && hits->distinct[PHRASE_CREDENTIALS] == 0)
            return;
    symbol_text(result, "SUBJECT_BRAND", hits->distinct[PHRASE_CREDENTIALS] + hits->distinct[PHRASE_PARCEL] + hits->distinct[PHRASE_PAYMENT] > 0 ? 800 : 300, brand->word);
}

void rules_phishing(const struct view *view, const struct phrase_hits *hits, struct native_result *result)
{
    own_domain(view, result);
    display_name(view, result);
    strange_from(view, result);
    brand_of_free_mail(view, hits, result);
    look_alike(view, result);
    link_text(view, hits, result);
    reply_to(view, result);
    brand_in_subject(view, hits, result);
}

/* rules_composite.c - what proves little by itself and much together */
#include <string.h>
#include "scanner/native/rules.h"

static unsigned count_of(const struct native_result *result, const char *const names[], size_t count)
{
    unsigned found = 0;
    for (size_t i = 0; i < count; i++)
        found += symbol_has(result, names[i]) ? 1 : 0;
    return found;
}
#define COUNT_OF(result, names) count_of(result, names, sizeof(names) / sizeof(names)[0])

/* What mail in bulk has, wanted or not: a newsletter with all of it is still a newsletter. */
#define BULK_MOST 4400
#define BULK_BOUNDED "BULK_BOUNDED"

int32_t rules_bulk(const struct native_result *result)
{
    static const char *const bulk[] = { "HTML_ONLY", "HTML_WITHOUT_TEXT", "HTML_NEARLY_EMPTY", "LINKS_ALL_ELSEWHERE", "LINKS_NOT_OWN", "LINK_RANDOM_NAME", "SAYS_CALL", "SAYS_REMOVAL", "SAYS_GOODS",
                                        "SAYS_PAYMENT", "SAYS_PRIZE", "IMAGE_LITTLE_TEXT", "IMAGE_ONLY_LINKED", "IMAGE_ONLY", "TEXT_IN_BASE64", "TEXT_EXCLAIMS", "TEXT_MONEY",
                                        "SUBJECT_MONEY", "SUBJECT_EXCLAIMS", "SUBJECT_PICTURES", "REPLY_TO_DIFFERS",
                                        "FROM_WITH_DIGITS", "LINK_NAMES_RECIPIENT", "FORM_IN_MAIL", "SCRIPT_IN_MAIL", BULK_BOUNDED };
    int32_t total = 0;
    for (size_t i = 0; i < result->symbol_count; i++)
        for (size_t k = 0; k < sizeof bulk / sizeof bulk[0]; k++)
            total += strcmp(result->symbols[i].name, bulk[k]) == 0 ? result->symbols[i].weight : 0;
    return total;
}

static void bound_bulk(struct native_result *result)
{
    int32_t total = rules_bulk(result);
    if (total > BULK_MOST)
        symbol_text(result, BULK_BOUNDED, BULK_MOST - total, "");
}

/* An address to answer to, in the text, that costs nothing and is not the sender's. */
static bool mentions_free_mail(const struct view *view)
{
    for (size_t i = 0; i < view->seen_count; i++) {
        const char *at = view->seen[i].bytes, *end = at + view->seen[i].len;
        for (int found = 0; found < 20 && at < end && (at = memchr(at, '@', (size_t)(end - at))) != NULL; found++) {
            char host[HOST_MAX];
            size_t len = 0;
            for (at++; at < end && len < HOST_MAX - 1 && (*at == '.' || *at == '-' || (*at >= '0' && *at <= '9') || ((*at | 0x20) >= 'a' && (*at | 0x20) <= 'z')); at++)
                host[len++] = *at >= 'A' && *at <= 'Z' ? (char)(*at | 0x20) : *at;
            while (len > 0 && host[len - 1] == '.')
                len--;
            host[len] = '\0';
            if (host_is_free_mail(host) && strcmp(host, view->from.host) != 0)
                return true;
        }
    }
    return false;
}

/* Who writes by hand from a mailbox that costs nothing may well do it in HTML alone, and be urgent; he makes no offers that way. */
static void offers_of_free_mail(const struct view *view, struct native_result *result)
{
    static const char *const offers[] = { "SAYS_CALL", "SAYS_REMOVAL", "SAYS_GOODS", "SAYS_INCOME", "SAYS_MEDICINE", "SAYS_BUSINESS", "SAYS_TRADE", "SAYS_PRIZE", "SAYS_GAMBLING" };
    static const char *const loud[] = { "SUBJECT_EXCLAIMS", "TEXT_EXCLAIMS" }, *const made[] = { "SUBJECT_MONEY", "TEXT_MONEY", "FALSE_MAILER", "IMAGE_ONLY_LINKED", "FORM_IN_MAIL" };
    unsigned says = COUNT_OF(result, offers);
    if (view->is_reply || !symbol_has(result, "HTML_ONLY") || !host_is_free_mail(view->from.host))
        return;
    if (says > 0 && says + COUNT_OF(result, made) + (COUNT_OF(result, loud) > 0 ? 1 : 0) >= 2)
        symbol_text(result, "FREE_MAIL_OFFERS", 800, view->from.host);
}

/* All links lead to one place, which is not the sender's: then it matters what that is, whether the reader is named, and what he is to believe. */
static void leads_to_one_place(const struct phrase_hits *hits, struct native_result *result)
{
    if (!symbol_has(result, "LINKS_ALL_ELSEWHERE"))
        return;
    if (symbol_has(result, "LINK_ODD_ZONE") || symbol_has(result, "LINK_FREE_PAGE") || symbol_has(result, "LINK_SHORTENED"))
        symbol_text(result, "LEADS_TO_ANYBODY", 1200, "");
    if (symbol_has(result, "UNDISCLOSED_RECIPIENTS") || symbol_has(result, "TO_IS_FROM"))
        symbol_text(result, "LEADS_UNNAMED_AWAY", 700, "");
    if (symbol_has(result, "SUBJECT_NAMES_ADDRESS"))
        symbol_text(result, "LEADS_NAMED_AWAY", 800, "");
    if (hits->distinct[PHRASE_CREDENTIALS] >= 3 && !symbol_has(result, "PHISHING_ASKS"))
        symbol_text(result, "ASKS_TO_LOG_IN", 1600, "");
    if (symbol_has(result, "FALSE_REPLY"))
        symbol_text(result, "FALSE_REPLY_LEADS_AWAY", 800, "");
    if (hits->distinct[PHRASE_PRIZE] >= 4)
        symbol_text(result, "PRIZE_LEADS_AWAY", 900, "");
    if (hits->distinct[PHRASE_PARCEL] >= 2)
        symbol_text(result, "PARCEL_LEADS_AWAY", 900, "");
}

/* Pairs that honest mail hardly has. */
static void pairs(const struct phrase_hits *hits, unsigned leads, struct native_result *result)
{
    if (symbol_has(result, "HIDDEN_TEXT") && symbol_has(result, "HTML_NEARLY_EMPTY"))
        symbol_text(result, "HIDDEN_FILLER", 900, "");
    if (symbol_has(result, "PDF_WITH_LINK") && symbol_has(result, "UNDISCLOSED_RECIPIENTS"))
        symbol_text(result, "PDF_FOR_ANYBODY", 700, "");
    if (hits->distinct[PHRASE_CRYPTO] >= 2 && leads > 0)
        symbol_text(result, "CRYPTO_LEADS_AWAY", 1200, "");
    if (symbol_has(result, "DISPLAY_NAME_BRAND") && symbol_has(result, "FALSE_REPLY"))
        symbol_text(result, "BRAND_FALSE_REPLY", 1200, "");
    if (symbol_has(result, "ADVANCE_FEE_MAILBOX") && symbol_has(result, "TO_IS_FROM"))
        symbol_text(result, "ADVANCE_FEE_UNNAMED", 600, "");
}

void rules_composite(const struct view *view, const struct phrase_hits *hits, struct native_result *result)
{
    static const char *const disguise[] = { "DISPLAY_NAME_OTHER_ADDRESS", "DISPLAY_NAME_BRAND", "DISPLAY_NAME_DISGUISED", "BRAND_OF_FREE_MAIL", "LOOK_ALIKE_DOMAIN", "LINK_TEXT_DIFFERS",
                                            "LINK_WITH_USER", "LINK_DATA", "FORM_ASKS_PASSWORD", "MIXED_SCRIPTS", "LETTERS_STYLED", "FROM_SEVERAL" };
    static const char *const lead[] = { "LINK_TO_ADDRESS", "LINK_SHORTENED", "LINK_FREE_PAGE", "LINK_ODD_ZONE", "LINK_RANDOM_NAME", "LINKS_ALL_ELSEWHERE", "LINKS_NOT_OWN",
                                        "FILE_HTML", "PDF_WITH_LINK", "FORM_IN_MAIL", "IMAGE_ONLY_LINKED", "LINK_SENDS_ON", "LINK_NAMES_RECIPIENT" };
    unsigned disguises = COUNT_OF(result, disguise), leads = COUNT_OF(result, lead);
    bool asks = hits->distinct[PHRASE_CREDENTIALS] + hits->distinct[PHRASE_CRYPTO] + hits->distinct[PHRASE_PARCEL] + hits->distinct[PHRASE_PAYMENT] + hits->distinct[PHRASE_URGENCY] +
                    hits->distinct[PHRASE_PRIZE] > 0;
    if (view->is_bounce || view->is_list) {
        bound_bulk(result);
        return;
    }
    if (disguises >= 2)
        symbol_text(result, "PHISHING_DISGUISED", 2500, "");
    else if (disguises == 1 && leads > 0 && (asks || symbol_has(result, "DISPLAY_NAME_BRAND")))
        symbol_text(result, "PHISHING_LEADS_AWAY", 1500, "");
    else if (disguises == 0 && leads >= 2 && hits->distinct[PHRASE_CREDENTIALS] > 0)
        symbol_text(result, "PHISHING_ASKS", 1100, "");
    if (symbol_has(result, "IMAGE_ONLY_LINKED") && symbol_has(result, "LINKS_ALL_ELSEWHERE") && view->plain_bytes < 200)
        symbol_text(result, "PICTURE_LEADS_AWAY", 2100, "");
    if (mentions_free_mail(view) && hits->distinct[PHRASE_FUND] + hits->distinct[PHRASE_LOAN] >= 2)
        symbol_text(result, "ADVANCE_FEE_MAILBOX", 1500, "");
    if (symbol_has(result, "REPLY_TO_FREE_MAIL") && (symbol_has(result, "UNDISCLOSED_RECIPIENTS") || symbol_has(result, "TO_IS_FROM")))
        symbol_text(result, "ANSWER_ELSEWHERE", 2000, "");
    if (symbol_has(result, "REPLY_TO_FREE_MAIL") && (hits->distinct[PHRASE_FUND] >= 2 || hits->distinct[PHRASE_LOAN] >= 2))
        symbol_text(result, "ADVANCE_FEE", 2100, "");
    offers_of_free_mail(view, result);
    leads_to_one_place(hits, result);
    pairs(hits, leads, result);
    bound_bulk(result);
}

/* rules_text.c - what the text says, and how loud */
#include <string.h>
#include "scanner/native/rules.h"

/* first: for one phrase; more: for each further one; most: in all. In the subject phrases count twice. */
static const struct {
    const char *name;
    int32_t first, more, most;
} families[PHRASE_FAMILIES] = {
    [PHRASE_CREDENTIALS] = { "SAYS_CREDENTIALS", 450, 600, 2650 },
    [PHRASE_URGENCY] = { "SAYS_URGENT", 150, 300, 1250 },
    [PHRASE_PARCEL] = { "SAYS_PARCEL", 350, 450, 1650 },
    [PHRASE_PAYMENT] = { "SAYS_PAYMENT", 100, 250, 1100 },
    [PHRASE_PRIZE] = { "SAYS_PRIZE", 400, 550, 2450 },
    [PHRASE_FUND] = { "SAYS_FUND", 150, 800, 4500 },
    [PHRASE_LOAN] = { "SAYS_LOAN", 300, 750, 3800 },
    [PHRASE_INCOME] = { "SAYS_INCOME", 450, 900, 4500 },
    [PHRASE_MEDICINE] = { "SAYS_MEDICINE", 400, 1000, 4500 },
    [PHRASE_ADULT] = { "SAYS_ADULT", 450, 1100, 4500 },
    [PHRASE_GAMBLING] = { "SAYS_GAMBLING", 350, 750, 3100 },
    [PHRASE_CRYPTO] = { "SAYS_CRYPTO", 500, 700, 3000 },
    [PHRASE_GOODS] = { "SAYS_GOODS", 200, 500, 2900 },
    [PHRASE_STOCK] = { "SAYS_STOCK", 0, 450, 2750 },
    [PHRASE_EXTORTION] = { "SAYS_EXTORTION", 350, 1000, 4400 },
    [PHRASE_CALL] = { "SAYS_CALL", 500, 750, 4500 },
    [PHRASE_REMOVAL] = { "SAYS_REMOVAL", 150, 250, 1550 },
    [PHRASE_CHINESE_TRADE] = { "SAYS_TRADE", 200, 900, 4500 },
    [PHRASE_CHINESE_BUSINESS] = { "SAYS_BUSINESS", 0, 300, 1800 },
};

#define SHORT_TEXT 2500 /* bytes: in a longer one words come by chance, so they count by how dense they are */

static int32_t dense(const struct view *view, int32_t value)
{
    int64_t len = (int64_t)(view->folded.len - view->folded_subject);
    return len <= SHORT_TEXT ? value : (int32_t)(value * SHORT_TEXT / len);
}

static void phrases(const struct view *view, const struct phrase_hits *hits, struct native_result *result)
{
    for (size_t i = 0; i < PHRASE_FAMILIES; i++) {
        if (hits->distinct[i] == 0)
            continue;
        int32_t in_text = hits->distinct[i] - hits->in_subject[i], in_subject = 2 * hits->in_subject[i];
        int32_t weight = families[i].first - families[i].more + in_subject * families[i].more + dense(view, in_text * families[i].more);
        weight = weight < families[i].most ? weight : families[i].most;
        if (view->is_reply || view->is_list)
            weight /= 3;
        if (weight > 0)
            symbol_text(result, families[i].name, weight, "");
    }
}

static void loudness(const struct view *view, struct native_result *result)
{
    int32_t marks = 0, money = 0;
    for (size_t i = view->folded_subject; i < view->folded.len; i++) {
        marks += view->folded.bytes[i] == '!' ? 1 : 0;
        money += view->folded.bytes[i] == '$' && i + 1 < view->folded.len && view->folded.bytes[i + 1] >= '0' && view->folded.bytes[i + 1] <= '9' ? 1 : 0;
    }
    if (view->is_reply || view->is_list)
        return;
    marks = dense(view, marks);
    money = dense(view, money);
    if (view->letters > 100 && view->capitals * 10 > view->letters * 3)
        symbol_text(result, "TEXT_CAPITALS", 800, "");
    if (marks >= 5)
        symbol_text(result, "TEXT_EXCLAIMS", marks >= 12 ? 1300 : 700, "");
    if (money >= 2)
        symbol_text(result, "TEXT_MONEY", money >= 5 ? 1600 : 900, "");
    if (view->folded.len - view->folded_subject < 20 && view->link_count == 0 && view->file_count == 0)
        symbol_text(result, "TEXT_EMPTY", 400, "");
}

/* People who answer each other quote; who sends in bulk does not. */
static void conversation(const struct view *view, struct native_result *result)
{
    size_t quoted = 0;
    for (size_t i = 0; i < view->seen_count; i++) {
        const char *at = view->seen[i].bytes, *end = at + view->seen[i].len;
        for (; at < end && quoted < 3; at++) {
            const char *line = memchr(at, '\n', (size_t)(end - at));
            quoted += *at == '>' ? 1 : 0;
            if (line == NULL)
                break;
            at = line;
        }
    }
    if (view->is_reply)
        symbol_text(result, "IS_REPLY", quoted >= 2 ? -500 : -200, "");
    else if (quoted >= 3)
        symbol_text(result, "QUOTES", -500, "");
    if (view->is_list)
        symbol_text(result, "IS_LIST", -200, "");
}

void rules_text(const struct view *view, const struct phrase_hits *hits, struct native_result *result)
{
    if (view->is_bounce)
        return;
    phrases(view, hits, result);
    loudness(view, result);
    conversation(view, result);
}

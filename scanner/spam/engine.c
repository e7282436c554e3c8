/* engine.c - see engine.h */
#include "scanner/spam/engine.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/score.h"
#include "scanner/native/native.h"

static int32_t heaviness(int32_t weight)
{
    return weight < 0 ? -weight : weight;
}

static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Brackets would end the comment, and commas the entry, in which X-Spam-Status has it. */
static void clean(char *out, size_t cap, const char *text, bool name)
{
    size_t len = 0;
    for (; *text != '\0' && len + 1 < cap; text++) {
        bool good = name ? is_name_char(*text) : *text >= ' ' && *text <= '~' && strchr("()[]\\\"", *text) == NULL;
        out[len++] = good ? *text : name ? '_' : '?';
    }
    out[len] = '\0';
}

void spam_answer_add(struct spam_answer *answer, const char *name, int32_t weight, const char *detail)
{
    size_t at = answer->symbol_count;
    if (*name == '\0')
        return;
    while (at > 0 && heaviness(answer->symbols[at - 1].weight) < heaviness(weight))
        at--;
    if (at == SPAM_SYMBOLS_MAX)
        return;
    if (answer->symbol_count < SPAM_SYMBOLS_MAX)
        answer->symbol_count++;
    memmove(&answer->symbols[at + 1], &answer->symbols[at], (answer->symbol_count - at - 1) * sizeof answer->symbols[0]);
    struct spam_symbol *symbol = &answer->symbols[at];
    clean(symbol->name, sizeof symbol->name, name, true);
    clean(symbol->detail, sizeof symbol->detail, detail, false);
    symbol->weight = weight;
}

void spam_answer_settle(struct spam_answer *native, const char *authentication)
{
    bool passes = strstr(authentication, "dmarc=pass") != NULL, fails = strstr(authentication, "dmarc=fail") != NULL; /* no value of a property has '=' */
    size_t at = 0;
    while (at < native->symbol_count && strcmp(native->symbols[at].name, NATIVE_OWN_DOMAIN) != 0)
        at++;
    if (at == native->symbol_count || passes == fails)
        return;
    struct spam_symbol own = native->symbols[at];
    int32_t weight = passes ? 0 : own.weight == NATIVE_OWN_DOMAIN_UNKNOWN ? NATIVE_OWN_DOMAIN_FORGED : own.weight;
    memmove(&native->symbols[at], &native->symbols[at + 1], (--native->symbol_count - at) * sizeof own);
    if (fails)
        spam_answer_add(native, own.name, weight, own.detail);
    int64_t score = (int64_t)native->score + weight - own.weight;
    native->score = score < 0 ? 0 : score > SCORE_MAX ? SCORE_MAX : (uint32_t)score;
}

void spam_answer_fini(struct spam_answer *answer)
{
    for (size_t i = 0; i < answer->signature_count; i++)
        free(answer->signatures[i]);
    answer->signature_count = 0;
}

uint32_t spam_curve(double points, double half, double most)
{
    double score;
    if (!(points > 0)) /* not a number is nothing, too */
        return 0;
    if (points < half)
        score = 5000 * points / half;
    else if (points < most)
        score = 5000 + 4000 * (points - half) / (most - half);
    else
        score = 9000 + 1000 * (points - most) / (most - half);
    return score >= SCORE_MAX ? SCORE_MAX : (uint32_t)(score + 0.5);
}

void spam_add_header(struct evbuffer *out, const char *name, const char *value)
{
    size_t len = strcspn(value, "\r\n");
    if (len > 0)
        evbuffer_add_printf(out, "%s: %.*s\r\n", name, (int)len, value);
}

/* fields.c - what is added: see fields.h */
#include "edge/spam/fields.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "common/score.h"

#define LINE_MAX_BYTES 76

struct out {
    char *bytes;
    size_t len, cap;
    size_t line; /* bytes of the present line */
    bool full;
};

/* All of it, or nothing: half a field would be another one. */
static void __attribute__((format(printf, 2, 3))) put(struct out *out, const char *format, ...)
{
    va_list args;
    if (out->full)
        return;
    va_start(args, format);
    int len = vsnprintf(out->bytes + out->len, out->cap - out->len, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= out->cap - out->len) {
        out->full = true;
        return;
    }
    const char *newline = memrchr(out->bytes + out->len, '\n', (size_t)len);
    out->line = newline != NULL ? (size_t)(out->bytes + out->len + len - newline - 1) : out->line + (size_t)len;
    out->len += (size_t)len;
}

/* One word of a field, behind a blank or in the next line. */
static void put_word(struct out *out, const char *word)
{
    put(out, "%s%s", out->line + strlen(word) + 1 > LINE_MAX_BYTES ? "\r\n " : " ", word);
}

static void put_words(struct out *out, const char *text, size_t len)
{
    char word[400];
    while (len > 0) {
        const char *end = memchr(text, ' ', len);
        size_t n = end != NULL ? (size_t)(end - text) : len;
        snprintf(word, sizeof word, "%.*s", (int)n, text);
        if (n > 0)
            put_word(out, word);
        n += end != NULL;
        text += n, len -= n;
    }
}

static const char *state_name(Weir__SpamState state)
{
    switch (state) {
    case WEIR__SPAM_STATE__SPAM_TIMEOUT:
        return "timeout";
    case WEIR__SPAM_STATE__SPAM_PAUSED:
        return "paused";
    case WEIR__SPAM_STATE__SPAM_SIZE:
        return "size";
    default:
        return "error";
    }
}

static void put_engines(struct out *out, const Weir__SpamResult *result)
{
    for (size_t i = 0; i < result->n_engines; i++) {
        const Weir__SpamEngine *engine = result->engines[i];
        char word[160], score[SCORE_TEXT_MAX];
        snprintf(word, sizeof word, "%s%.*s(%s)", i == 0 ? "engines=" : "", (int)engine->name.len, (const char *)engine->name.data,
                 engine->state == WEIR__SPAM_STATE__SPAM_OK ? score_format(score, (int32_t)engine->score) : state_name(engine->state));
        put_word(out, word);
    }
}

static size_t symbol_format(char out[128], const Weir__SpamSymbol *symbol)
{
    char weight[SCORE_TEXT_MAX];
    return (size_t)snprintf(out, 128, "%.*s(%s)", (int)symbol->name.len, (const char *)symbol->name.data, score_format(weight, symbol->weight));
}

char *spam_symbols_format(char *out, size_t cap, const Weir__SpamResult *result)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < result->n_symbols; i++) {
        char word[128];
        size_t n = symbol_format(word, result->symbols[i]);
        if (len + n + 3 > cap)
            break;
        len += (size_t)snprintf(out + len, cap - len, "%s%s", len > 0 ? ", " : "", word);
    }
    return out;
}

static void put_tests(struct out *out, const Weir__SpamResult *result)
{
    if (result->n_symbols == 0)
        put_word(out, "tests=none");
    for (size_t i = 0; i < result->n_symbols; i++) {
        char test[128], word[140];
        symbol_format(test, result->symbols[i]);
        snprintf(word, sizeof word, "%s%s%s", i == 0 ? "tests=" : "", test, i + 1 < result->n_symbols ? "," : "");
        put_word(out, word);
    }
}

bool spam_is_domain(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= 253 && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == len;
}

static bool begins(const char *text, size_t len, const char *word)
{
    while (len > 0 && *text == ' ')
        text++, len--;
    return len >= strlen(word) && strncasecmp(text, word, strlen(word)) == 0;
}

/* SPF's result stands first where there is one, and what it is about only the envelope says. */
static void put_authentication(struct out *out, const struct spam_fields *fields)
{
    const char *text = (const char *)fields->result->authentication.data, *at = strrchr(fields->sender, '@');
    size_t len = fields->result->authentication.len;
    put(out, "Authentication-Results: %s;", fields->authserv_id);
    while (len > 0) {
        const char *end = memchr(text, ';', len);
        size_t n = end != NULL ? (size_t)(end - text) : len;
        put_words(out, text, n);
        if (begins(text, n, "spf=")) {
            char word[300] = "";
            if (at != NULL && spam_is_domain(at + 1))
                snprintf(word, sizeof word, "smtp.mailfrom=%s", at + 1);
            else if (at == NULL && spam_is_domain(fields->helo))
                snprintf(word, sizeof word, "smtp.helo=%s", fields->helo);
            if (*word != '\0')
                put_word(out, word);
        }
        if (end != NULL)
            put(out, ";");
        n += end != NULL;
        text += n, len -= n;
    }
    put(out, "\r\n");
}

size_t spam_fields_format(char buffer[SPAM_FIELDS_MAX], const struct spam_fields *fields)
{
    const Weir__SpamResult *result = fields->result;
    struct out out = { .bytes = buffer, .cap = SPAM_FIELDS_MAX };
    char score[SCORE_TEXT_MAX], required[SCORE_TEXT_MAX] = "off", word[64];
    bool spam = result->score >= fields->required;
    score_format(score, (int32_t)result->score);
    if (fields->required != SCORE_OFF)
        score_format(required, (int32_t)fields->required);
    put(&out, "X-Spam-Flag: %s\r\nX-Spam-Score: %s\r\nX-Spam-Status: %s,", spam ? "YES" : "NO", score, spam ? "Yes" : "No");
    snprintf(word, sizeof word, "score=%s", score);
    put_word(&out, word);
    snprintf(word, sizeof word, "required=%s", required);
    put_word(&out, word);
    put_engines(&out, result);
    put_tests(&out, result);
    put(&out, "\r\n");
    size_t whole = out.len;
    if (result->authentication.len > 0)
        put_authentication(&out, fields);
    for (size_t i = 0; i < result->n_signatures; i++) {
        whole = out.full ? whole : out.len;
        put(&out, "DKIM-Signature: %.*s\r\n", (int)result->signatures[i].len, (const char *)result->signatures[i].data);
    }
    return out.full ? whole : out.len;
}

/* native.c - one message's score: the rules, and what has been learned; see native.h */
#include "scanner/native/native.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "scanner/native/features.h"
#include "scanner/native/rules.h"

#define GTUBE "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

#define LEARNED_MOST 2   /* symbols of a model */
#define BULK_LEARNED 0.35 /* of what speaks against mail in bulk is taken back where a model knows such mail better */

struct native {
    struct mime_parser *parser;
    const struct mime_message *message; /* that was looked at last */
    struct phrases *phrases;
    struct feature_maker *maker;
    struct native_features features;
    uint64_t (*now_us)(void); /* NULL: it may take as long as it takes */
    uint64_t most_us;
    struct watch watch; /* of the message that is looked at */
    struct view view; /* large, and made again for each message */
};

struct native *native_new(const struct mime_limits *limits)
{
    struct native *native = xcalloc(1, sizeof *native);
    native->parser = mime_parser_new(limits);
    native->phrases = phrases_new();
    native->maker = feature_maker_new();
    return native;
}

void native_limit_time(struct native *native, uint64_t (*now_us)(void), uint64_t most_us)
{
    native->now_us = most_us > 0 ? now_us : NULL;
    native->most_us = most_us;
}

void native_free(struct native **native)
{
    if (*native != NULL) {
        mime_parser_free(&(*native)->parser);
        phrases_free(&(*native)->phrases);
        feature_maker_free(&(*native)->maker);
    }
    free(*native);
    *native = NULL;
}

/* --- symbols --- */

static bool is_printable(unsigned char c)
{
    return c >= ' ' && c != 127;
}

void symbol_add(struct native_result *result, const char *name, int32_t weight, struct mime_span detail)
{
    if (result->symbol_count >= NATIVE_SYMBOLS_MAX - LEARNED_MOST && strncmp(name, "LEARNED_", 8) != 0)
        return; /* the last places are for what was learned */
    struct native_symbol *symbol = &result->symbols[result->symbol_count++];
    size_t len = detail.len < NATIVE_DETAIL_MAX - 1 ? detail.len : NATIVE_DETAIL_MAX - 1;
    while (len < detail.len && len > 0 && ((unsigned char)detail.bytes[len] & 0xc0) == 0x80) /* not within a character */
        len--;
    symbol->name = name;
    symbol->weight = weight;
    for (size_t i = 0; i < len; i++)
        symbol->detail[i] = is_printable((unsigned char)detail.bytes[i]) ? detail.bytes[i] : ' ';
    symbol->detail[len] = '\0';
}

void symbol_text(struct native_result *result, const char *name, int32_t weight, const char *detail)
{
    symbol_add(result, name, weight, (struct mime_span){ detail, strlen(detail) });
}

bool symbol_has(const struct native_result *result, const char *name)
{
    for (size_t i = 0; i < result->symbol_count; i++)
        if (strcmp(result->symbols[i].name, name) == 0)
            return true;
    return false;
}

static uint32_t sum(const struct native_result *result)
{
    int64_t total = 0;
    for (size_t i = 0; i < result->symbol_count; i++)
        total += result->symbols[i].weight;
    return total < 0 ? 0 : total > NATIVE_SCORE_MAX ? NATIVE_SCORE_MAX : (uint32_t)total;
}

static bool has_gtube(const struct mime_message *message)
{
    for (size_t i = 0; i < message->part_count; i++) {
        struct mime_span text = message->parts[i].text;
        if (text.len > 0 && memmem(text.bytes, text.len, GTUBE, sizeof GTUBE - 1) != NULL)
            return true;
    }
    return false;
}

/* Parts that were left as they are were not judged: said, but no sign of anything. */
static void tell_limits(const struct view *view, struct native_result *result)
{
    static const enum mime_anomaly limits[] = { MIME_LIMIT_DEPTH, MIME_LIMIT_PARTS, MIME_LIMIT_HEADER, MIME_LIMIT_WORDS, MIME_LIMIT_DECODED, MIME_LIMIT_TEXT };
    uint64_t reached = result->anomalies | (view->text_cut ? MIME_BIT(MIME_LIMIT_TEXT) : 0);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if ((reached & MIME_BIT(limits[i])) != 0) {
            symbol_text(result, NATIVE_NOT_ALL_SEEN, 0, mime_anomaly_name(limits[i]));
            return;
        }
}

/* Each is bounded by itself; what comes after the end of the message's time is left out. */
static void apply_families(struct native *native, struct native_result *result)
{
    const struct view *view = &native->view;
    struct watch *watch = &native->watch;
    struct phrase_hits hits;
    phrases_find(native->phrases, view->folded, view->folded_subject, &hits);
    rules_phishing(view, &hits, result);
    if (!watch_is_late(watch))
        rules_files(view, result);
    if (!watch_is_late(watch))
        rules_links(view, result);
    if (!watch_is_late(watch)) {
        rules_headers(view, result);
        rules_text(view, &hits, result);
    }
    rules_client(view, result);
    if (!watch_is_late(watch))
        rules_composite(view, &hits, result);
}

static void apply_rules(struct native *native, const struct native_facts *facts, const char *bytes, size_t len, struct native_result *result)
{
    native->watch = (struct watch){ .now_us = native->now_us, .end_us = native->now_us != NULL ? native->now_us() + native->most_us : 0 };
    const struct mime_message *message = native->message = mime_parse(native->parser, bytes, len);
    struct view *view = &native->view;
    result->symbol_count = 0;
    result->anomalies = message->anomalies;
    view_make(view, native->parser, message, facts, &native->watch);
    if (has_gtube(message))
        symbol_text(result, "GTUBE", NATIVE_SCORE_MAX, "");
    tell_limits(view, result);
    apply_families(native, result);
    if (native->watch.late)
        symbol_text(result, NATIVE_NOT_ALL_SEEN, 0, NATIVE_LATE);
}

static void apply_model(struct native *native, const struct native_model *model, struct native_result *result)
{
    double p;
    char detail[NATIVE_DETAIL_MAX];
    int32_t bulk = rules_bulk(result);
    features_make(native->maker, &native->view, result, &native->features);
    int32_t weight = native_model_weigh(model, &native->features, &p);
    snprintf(detail, sizeof detail, "p=%.3f", p);
    if (weight != 0 && !(native->view.is_bounce && weight > 0)) /* what a bounce returns is not its own */
        symbol_text(result, weight > 0 ? "LEARNED_SPAM" : "LEARNED_HAM", weight, detail);
    bulk = (int32_t)(bulk * BULK_LEARNED * native_model_reach(model, &native->features));
    if (bulk > 0)
        symbol_text(result, "LEARNED_BULK", -bulk, "");
}

void native_score(struct native *native, const struct native_facts *facts, const struct native_model *model, const char *bytes, size_t len,
                  struct native_result *result)
{
    apply_rules(native, facts, bytes, len, result);
    if (model != NULL && !watch_is_late(&native->watch))
        apply_model(native, model, result);
    result->score = symbol_has(result, "GTUBE") ? NATIVE_SCORE_MAX : sum(result);
}

const struct mime_message *native_parse(struct native *native, const char *bytes, size_t len)
{
    return mime_parse(native->parser, bytes, len);
}

const struct mime_message *native_scored(const struct native *native)
{
    return native->message;
}

void native_take_features(struct native *native, const struct native_facts *facts, const char *bytes, size_t len, struct native_features *features)
{
    struct native_result rules;
    apply_rules(native, facts, bytes, len, &rules);
    features_make(native->maker, &native->view, &rules, features);
}

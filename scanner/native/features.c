/*
 * features.c - see features.h
 *
 * Nothing of headers but the subject: their names, and hosts that received, tell sites apart and not spam.
 */
#include "scanner/native/features.h"
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

#define WORD_MIN 3
#define WORD_MAX 24
#define WORDS_MAX (NATIVE_FEATURES_MAX - 200) /* the rest is for what is no word */
#define STOP_TABLE 1024

struct feature_maker {
    uint64_t seen[NATIVE_BUCKETS / 64]; /* cleared by the message's own features */
    struct {
        uint32_t hash;
        uint8_t language;
    } stop[STOP_TABLE];
};

/* The commonest words, folded; those that two of the languages share are left out. */
static const char *const stop_words[NATIVE_LANGUAGES] = {
    [LANGUAGE_ENGLISH] = "the and you for this that with your are have not will from was which would there been",
    [LANGUAGE_GERMAN] = "und der die das sie nicht mit ist ihre ihr auf eine werden wir haben sich durch wird ihnen einen",
    [LANGUAGE_FRENCH] = "vous les des est votre pour dans une nous avec sur vos sont etre cette aux mais",
    [LANGUAGE_SPANISH] = "los las usted una por con para su del el pero muy este esta sus tiene",
    [LANGUAGE_PORTUGUESE] = "voce nao uma sua seu para com dos das pelo mais ao seus suas pela",
    [LANGUAGE_ITALIAN] = "il che per non gli sono della questo con suo alla nel piu anche",
    [LANGUAGE_DUTCH] = "het een van uw niet voor zijn met deze wij naar ook worden hebben bij",
};

static uint32_t hash(uint32_t start, const char *bytes, size_t len)
{
    uint32_t value = start;
    for (size_t i = 0; i < len; i++)
        value = (value ^ (unsigned char)bytes[i]) * UINT32_C(16777619);
    return value;
}
#define HASH_WORD UINT32_C(2166136261)

static uint32_t mixed(uint32_t value)
{
    value ^= value >> 16;
    value *= UINT32_C(0x7feb352d);
    value ^= value >> 15;
    value *= UINT32_C(0x846ca68b);
    return value ^ value >> 16;
}

struct feature_maker *feature_maker_new(void)
{
    struct feature_maker *maker = xcalloc(1, sizeof *maker);
    for (size_t language = 0; language < NATIVE_LANGUAGES; language++)
        for (const char *at = stop_words[language]; at != NULL && *at != '\0';) {
            size_t len = strcspn(at, " ");
            uint32_t value = hash(HASH_WORD, at, len), place = value % STOP_TABLE;
            while (maker->stop[place].hash != 0 && maker->stop[place].hash != value)
                place = (place + 1) % STOP_TABLE;
            maker->stop[place].hash = value;
            maker->stop[place].language = (uint8_t)language;
            at += len + (at[len] == ' ' ? 1 : 0);
        }
    return maker;
}

void feature_maker_free(struct feature_maker **maker)
{
    free(*maker);
    *maker = NULL;
}

static void add(struct feature_maker *maker, struct native_features *features, uint32_t value)
{
    uint32_t bucket = mixed(value) % NATIVE_BUCKETS;
    uint64_t bit = UINT64_C(1) << bucket % 64;
    if ((maker->seen[bucket / 64] & bit) != 0 || features->count == NATIVE_FEATURES_MAX)
        return;
    maker->seen[bucket / 64] |= bit;
    features->buckets[features->count++] = bucket;
}

static void add_text(struct feature_maker *maker, struct native_features *features, char kind, struct mime_span text)
{
    add(maker, features, hash(hash(HASH_WORD, &kind, 1), text.bytes, text.len));
}

static size_t character(const char *at, const char *end)
{
    unsigned char c = (unsigned char)*at;
    size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return len < (size_t)(end - at) ? len : (size_t)(end - at);
}

static bool is_wide(const char *at)
{
    return (unsigned char)*at >= 0xe2;
}

struct tally {
    uint32_t language[NATIVE_LANGUAGES];
    uint32_t kana, hangul, han, cyrillic;
};

static void tally_character(struct tally *tally, const char *at)
{
    unsigned char a = (unsigned char)at[0], b = (unsigned char)at[1];
    if (a == 0xe3 && (b == 0x81 || b == 0x82 || b == 0x83))
        tally->kana++;
    else if (a >= 0xea && a <= 0xed)
        tally->hangul++;
    else
        tally->han++;
}

static enum native_language decide(const struct tally *tally)
{
    enum native_language best = LANGUAGE_OTHER;
    if (tally->kana > 5 && tally->kana * 10 > tally->han)
        return LANGUAGE_JAPANESE;
    if (tally->hangul > 10)
        return LANGUAGE_KOREAN;
    if (tally->han > 10)
        return LANGUAGE_CHINESE;
    if (tally->cyrillic > 10)
        return LANGUAGE_CYRILLIC;
    for (int i = 0; i < NATIVE_LANGUAGES; i++)
        if (tally->language[i] > tally->language[best])
            best = (enum native_language)i;
    return best;
}

static void take_words(struct feature_maker *maker, const struct view *view, struct native_features *features)
{
    struct tally tally = { .kana = 0 };
    const char *start = view->folded.bytes, *at = start, *end = start + view->folded.len;
    uint32_t before = 0; /* the word before, or 0 */
    while (at < end && features->count < WORDS_MAX) {
        if (*at == ' ') {
            at++;
            continue;
        }
        if (is_wide(at)) { /* a pair of characters stands for a word */
            size_t first = character(at, end);
            if (first >= 3)
                tally_character(&tally, at);
            if (at + first < end && is_wide(at + first))
                add_text(maker, features, 'c', (struct mime_span){ at, first + character(at + first, end) });
            at += first;
            continue;
        }
        const char *word = at;
        uint32_t value = HASH_WORD;
        while (at < end && *at != ' ' && !is_wide(at))
            value = (value ^ (unsigned char)*at++) * UINT32_C(16777619);
        size_t len = (size_t)(at - word);
        tally.cyrillic += (unsigned char)*word >= 0xd0 && (unsigned char)*word <= 0xd3 ? 1 : 0;
        for (uint32_t place = value % STOP_TABLE; maker->stop[place].hash != 0; place = (place + 1) % STOP_TABLE)
            if (maker->stop[place].hash == value) {
                tally.language[maker->stop[place].language]++;
                break;
            }
        if (len >= WORD_MIN && len <= WORD_MAX)
            add(maker, features, value);
        if (before != 0)
            add(maker, features, before * UINT32_C(31) + value);
        before = value;
        if (len >= WORD_MIN && word < start + view->folded_subject)
            add(maker, features, value ^ UINT32_C(0x5bd1e995));
    }
    for (size_t i = 0; i < view->message->part_count && i < 16; i++) /* of the language, as words are */
        if (view->message->parts[i].charset.len > 0)
            add_text(maker, features, 'e', view->message->parts[i].charset);
    features->words = features->count;
    features->language = decide(&tally);
}

/* What each part is and how it was written. */
static void take_parts(struct feature_maker *maker, const struct view *view, struct native_features *features)
{
    for (size_t i = 0; i < view->message->part_count && i < 16; i++) {
        const struct mime_part *part = &view->message->parts[i];
        char kind = (char)('A' + part->encoding);
        add(maker, features, hash(hash(hash(HASH_WORD, &kind, 1), part->type.bytes, part->type.len), part->subtype.bytes, part->subtype.len));
    }
}

/* Who writes: his organisation, or himself where anybody can have an address. */
static void take_sender(struct feature_maker *maker, const struct view *view, struct native_features *features)
{
    const char *host = view->from.host;
    if (host[0] == '\0')
        return;
    if (host_is_free_mail(host))
        add_text(maker, features, 'm', view->from.address);
    const char *organisation = host_organisation(host);
    add_text(maker, features, 'd', (struct mime_span){ organisation, strlen(organisation) });
}

static void take_structure(struct feature_maker *maker, const struct view *view, const struct native_result *rules, struct native_features *features)
{
    for (size_t i = 0; i < view->host_count; i++)
        if (view->hosts[i].links > 0)
            add_text(maker, features, 'u', (struct mime_span){ view->hosts[i].organisation, strlen(view->hosts[i].organisation) });
    for (size_t i = 0; i < rules->symbol_count; i++)
        add_text(maker, features, 'r', (struct mime_span){ rules->symbols[i].name, strlen(rules->symbols[i].name) });
    for (size_t i = 0; i < view->file_count && i < 16; i++)
        add_text(maker, features, 'f', (struct mime_span){ view->files[i].extension, strlen(view->files[i].extension) });
    take_parts(maker, view, features);
    take_sender(maker, view, features);
    uint32_t links = view->link_count < 1 ? 0 : view->link_count < 4 ? 1 : view->link_count < 12 ? 2 : 3;
    uint32_t shape = (view->html_bytes > 0 ? 1u : 0) | (view->plain_bytes > 0 ? 2u : 0) | (view->images > 0 ? 4u : 0) | links << 3;
    add_text(maker, features, 's', (struct mime_span){ (const char *)&shape, sizeof shape });
}

void features_make(struct feature_maker *maker, const struct view *view, const struct native_result *rules, struct native_features *features)
{
    features->count = 0;
    take_words(maker, view, features);
    take_structure(maker, view, rules, features);
    for (size_t i = 0; i < features->count; i++)
        maker->seen[features->buckets[i] / 64] = 0;
}

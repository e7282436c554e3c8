/*
 * features.c - see features.h
 *
 * Of headers the subject, the sender, whether it is an answer or a list's, and what his program made of fields that every program writes.
 * Their names, and hosts that received, tell sites apart and not spam.
 */
#include "scanner/native/features.h"
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

#define WORD_MIN 3
#define WORD_MAX 24
#define WORDS_MAX (NATIVE_FEATURES_MAX - 400) /* the rest is for what is no word of the text */
#define STOP_TABLE 1024
#define SHAPE_MAX 24
#define PROGRAM_MAX 30
#define LINKS_MAX 30
#define LINK_WORDS_MAX 12
#define NAME_WORDS_MAX 8
#define CAPITALS_MAX 120        /* words, of the whole message */
#define CAPITALS_IN ((size_t)8 << 10) /* of each text */

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

static void add_bucket(struct feature_maker *maker, struct native_features *features, uint32_t bucket)
{
    uint64_t bit = UINT64_C(1) << bucket % 64;
    if ((maker->seen[bucket / 64] & bit) != 0 || features->count == NATIVE_FEATURES_MAX)
        return;
    maker->seen[bucket / 64] |= bit;
    features->buckets[features->count++] = bucket;
}

static void add(struct feature_maker *maker, struct native_features *features, uint32_t value)
{
    add_bucket(maker, features, mixed(value) % NATIVE_PAIRS);
}

static void add_pair(struct feature_maker *maker, struct native_features *features, uint32_t value)
{
    add_bucket(maker, features, NATIVE_PAIRS + mixed(value) % (NATIVE_BUCKETS - NATIVE_PAIRS));
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
                add_pair(maker, features, hash(HASH_WORD, at, first + character(at + first, end)));
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
            add_pair(maker, features, before * UINT32_C(31) + value);
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

static bool is_letter(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
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

/* --- how it was written: what the sender's program does alike in all its messages --- */

/* Which kinds of characters stand there, a run of one kind once: "20020831132152.964A" is "0.0A". */
static void add_shape(struct feature_maker *maker, struct native_features *features, char kind, struct mime_span text)
{
    char shape[SHAPE_MAX];
    size_t len = 0;
    for (size_t i = 0; i < text.len && len < sizeof shape; i++) {
        char c = text.bytes[i], of = c >= '0' && c <= '9' ? '0' : c >= 'a' && c <= 'z' ? 'a' : c >= 'A' && c <= 'Z' ? 'A' : c;
        if (len == 0 || shape[len - 1] != of)
            shape[len++] = of;
    }
    add_text(maker, features, kind, (struct mime_span){ shape, len });
}

/* To a power of two. */
static void add_size(struct feature_maker *maker, struct native_features *features, char kind, size_t size)
{
    char bits = 0;
    for (; size > 0; size >>= 1)
        bits++;
    add_text(maker, features, kind, (struct mime_span){ &bits, 1 });
}

static void add_answer(struct feature_maker *maker, struct native_features *features, char kind, char answer)
{
    add_text(maker, features, kind, (struct mime_span){ &answer, 1 });
}

/* Whose name the message's own has, and how its beginning looks. Not which host it names: that tells sites apart. */
static void take_message_id(struct feature_maker *maker, const struct view *view, struct native_features *features)
{
    struct mime_span id = view_header(view, "Message-ID");
    if (id.len > 0 && id.bytes[0] == '<')
        id.bytes++, id.len--;
    const char *at = id.len > 0 ? memchr(id.bytes, '@', id.len) : NULL;
    char host[HOST_MAX] = "";
    size_t len = 0;
    for (const char *c = at; c != NULL && ++c < id.bytes + id.len && *c != '>' && len < HOST_MAX - 1;)
        host[len++] = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
    host[len] = '\0';
    bool same = host[0] != '\0' && strcmp(host_organisation(host), host_organisation(view->from.host)) == 0;
    add_answer(maker, features, 'i', id.len == 0 ? '0' : strchr(host, '.') == NULL ? '1' : same ? '2' : '3');
    add_shape(maker, features, 'I', (struct mime_span){ id.bytes, at != NULL ? (size_t)(at - id.bytes) : id.len });
}

static size_t addresses(struct mime_span field)
{
    size_t found = 0;
    for (size_t i = 0; i < field.len; i++)
        found += field.bytes[i] == '@' ? 1 : 0;
    return found;
}

static void take_program(struct feature_maker *maker, const struct view *view, struct native_features *features)
{
    static const char boundary[] = "boundary=";
    struct mime_span type = view_header(view, "Content-Type"), program = view_header(view, "X-Mailer");
    const char *at = type.len > 0 ? memmem(type.bytes, type.len, boundary, sizeof boundary - 1) : NULL;
    if (at != NULL)
        add_shape(maker, features, 'B', (struct mime_span){ at + sizeof boundary - 1, (size_t)(type.bytes + type.len - at) - (sizeof boundary - 1) });
    if (program.len == 0)
        program = view_header(view, "User-Agent");
    size_t len = 0; /* up to its version */
    while (len < program.len && len < PROGRAM_MAX && (program.bytes[len] == ' ' || (unsigned char)program.bytes[len] > '9'))
        len++;
    add_text(maker, features, 'X', (struct mime_span){ program.bytes, len });
    size_t to = addresses(view_header(view, "To")) + addresses(view_header(view, "Cc"));
    add_size(maker, features, 'T', to < 8 ? to : 8);
    add_answer(maker, features, 'N', view->to.name.len > 0 ? '1' : '0');
    add_answer(maker, features, 'n', view->from.name.len > 0 ? '1' : '0');
    add_size(maker, features, 'L', view->link_count);
    add_size(maker, features, 'H', view->html_bytes);
    add_size(maker, features, 'V', view->folded.len);
    add_size(maker, features, 'G', view->images);
}

/* Whether links lead to the sender's, the zones they are in, and the words of which they are made. */
static void take_links(struct feature_maker *maker, const struct view *view, struct native_features *features)
{
    bool own = false, other = false;
    for (size_t i = 0; i < view->host_count; i++)
        if (view->hosts[i].links > 0) {
            bool same = strcmp(view->hosts[i].organisation, host_organisation(view->from.host)) == 0;
            own |= same, other |= !same;
        }
    add_answer(maker, features, 'o', (char)('0' + (own ? 1 : 0) + (other ? 2 : 0)));
    for (size_t i = 0; i < view->link_count && i < LINKS_MAX; i++) {
        const struct view_link *link = &view->links[i];
        const char *zone = link->host != NULL ? strrchr(link->host->host, '.') : NULL;
        if (zone == NULL)
            continue;
        add_text(maker, features, 'z', (struct mime_span){ zone, strlen(zone) });
        const char *at = link->url.bytes, *end = at + link->url.len;
        for (int found = 0; at < end && found < LINK_WORDS_MAX; at++) {
            const char *word = at;
            while (at < end && is_letter(*at))
                at++;
            if (at - word >= WORD_MIN && at - word < 16) {
                add_text(maker, features, 'P', (struct mime_span){ word, (size_t)(at - word) });
                found++;
            }
        }
    }
}

/* What stands before the "@": how it looks, and its words ("newsletter", "support"). */
static void take_mailbox(struct feature_maker *maker, struct mime_span address, struct native_features *features)
{
    const char *at = address.len > 0 ? memchr(address.bytes, '@', address.len) : NULL, *end = at != NULL ? at : address.bytes + address.len;
    add_shape(maker, features, 'l', (struct mime_span){ address.bytes, (size_t)(end - address.bytes) });
    at = address.bytes;
    for (int found = 0; at < end && found < NAME_WORDS_MAX; at++) {
        const char *word = at;
        while (at < end && is_letter(*at))
            at++;
        if (at - word >= WORD_MIN) {
            add_text(maker, features, 'k', (struct mime_span){ word, (size_t)(at - word) });
            found++;
        }
    }
}

/* Who writes: his organisation, its host and zone, or himself where anybody can have an address. */
static void take_sender(struct feature_maker *maker, const struct view *view, struct native_features *features)
{
    const char *host = view->from.host, *zone = strrchr(host, '.');
    if (view->from.address.len > 0)
        take_mailbox(maker, view->from.address, features);
    if (host[0] == '\0')
        return;
    add_text(maker, features, 'h', (struct mime_span){ host, strlen(host) });
    if (zone != NULL)
        add_text(maker, features, 'Z', (struct mime_span){ zone, strlen(zone) });
    if (host_is_free_mail(host))
        add_text(maker, features, 'm', view->from.address);
    const char *organisation = host_organisation(host);
    add_text(maker, features, 'd', (struct mime_span){ organisation, strlen(organisation) });
}

/* What kind of mail it says it is: an answer, a list's, with a way out. Not which list. */
static void take_kind(struct feature_maker *maker, const struct view *view, struct native_features *features)
{
    const char *answers = view->reply_to.host;
    bool same = strcmp(host_organisation(answers), host_organisation(view->from.host)) == 0;
    add_answer(maker, features, 'q', (char)('0' + (view->is_reply ? 1 : 0) + (view->is_list ? 2 : 0)));
    add_answer(maker, features, 'Q', answers[0] == '\0' ? '0' : same ? '1' : '2');
    add_answer(maker, features, 'U', view_header(view, "List-Unsubscribe").len > 0 ? '1' : '0');
    add_text(maker, features, 'p', view_header(view, "Precedence"));
}

/* Words in capitals, which in the folded text are as all others. */
static size_t take_capitals(struct feature_maker *maker, struct mime_span text, size_t most, struct native_features *features)
{
    const char *at = text.bytes, *end = at + (text.len < CAPITALS_IN ? text.len : CAPITALS_IN);
    size_t found = 0;
    while (at < end && found < most) {
        const char *word = at;
        bool capitals = true;
        for (; at < end && is_letter(*at); at++)
            capitals &= *at <= 'Z';
        if (capitals && at - word >= WORD_MIN && at - word <= WORD_MAX) {
            add_text(maker, features, '5', (struct mime_span){ word, (size_t)(at - word) });
            found++;
        }
        at += at == word ? 1 : 0;
    }
    return found;
}

static void take_all_capitals(struct feature_maker *maker, const struct view *view, struct native_features *features)
{
    size_t found = view->subject.len > 0 ? take_capitals(maker, view->subject, CAPITALS_MAX, features) : 0;
    for (size_t i = 0; i < view->seen_count; i++)
        if (view->seen[i].len > 0)
            found += take_capitals(maker, view->seen[i], CAPITALS_MAX - found, features);
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
    take_message_id(maker, view, features);
    take_program(maker, view, features);
    take_links(maker, view, features);
    take_kind(maker, view, features);
    take_all_capitals(maker, view, features);
}

void features_make(struct feature_maker *maker, const struct view *view, const struct native_result *rules, struct native_features *features)
{
    features->count = 0;
    take_words(maker, view, features);
    take_structure(maker, view, rules, features);
    for (size_t i = 0; i < features->count; i++)
        maker->seen[features->buckets[i] / 64] = 0;
}

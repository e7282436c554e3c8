/*
 * kept.c - see kept.h
 *
 *     magic | u64 wall clock, ms | u32 entries | entries | u64 FNV-1a of all before (host order)
 *     entry: u8 flags | u8 action | u16 length of the key | u64 ms left | u64 override | key
 */
#include "edge/reputation/kept.h"

#include <stdlib.h>
#include <string.h>
#include "common/kept_file.h"
#include "common/memory.h"
#include "proto/wire.h"

#define MAGIC      "weir-reputation-1\n"
#define MAGIC_LEN  (sizeof MAGIC - 1)
#define HEAD_LEN   (MAGIC_LEN + 8 + 4)
#define ENTRY_LEN  (1 + 1 + 2 + 8 + 8)
#define SUM_LEN    8
#define KEPT_MAX   (HEAD_LEN + (size_t)BOOK_ENTRIES_MAX * (ENTRY_LEN + WIRE_LOGIN_MAX) + SUM_LEN)

enum flag { FLAG_LOGIN = 1, FLAG_OPERATOR = 2 };

struct writer {
    uint8_t *bytes;
    size_t len, room, count, most;
    uint64_t now_ms;
    int rank;
};

static void put(struct writer *out, const void *bytes, size_t len)
{
    if (out->len + len > out->room) {
        out->room = 2 * (out->len + len);
        out->bytes = xrealloc(out->bytes, out->room);
    }
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

static int rank_of(const struct book_entry *entry)
{
    return entry->by_operator ? 0 : entry->action == REPUTATION_REJECT ? 1 : 2;
}

static void put_entry(void *arg, const struct book_entry *entry)
{
    struct writer *out = arg;
    size_t len = strlen(entry->key);
    if (rank_of(entry) != out->rank || entry->until_ms <= out->now_ms || out->count == out->most || len > WIRE_LOGIN_MAX)
        return;
    put(out, &(uint8_t){ (uint8_t)((entry->login ? FLAG_LOGIN : 0) | (entry->by_operator ? FLAG_OPERATOR : 0)) }, 1);
    put(out, &(uint8_t){ (uint8_t)entry->action }, 1);
    put(out, &(uint16_t){ (uint16_t)len }, 2);
    put(out, &(uint64_t){ entry->until_ms - out->now_ms }, 8);
    put(out, &entry->override, 8);
    put(out, entry->key, len);
    out->count++;
}

bool kept_write(const char *path, const struct book *book, size_t most, uint64_t now_ms, uint64_t wall_ms, struct error *why)
{
    struct writer out = { .most = most, .now_ms = now_ms };
    put(&out, MAGIC, MAGIC_LEN);
    put(&out, &wall_ms, sizeof wall_ms);
    put(&out, &(uint32_t){ 0 }, sizeof(uint32_t));
    for (out.rank = 0; out.rank <= 2; out.rank++)
        book_each(book, put_entry, &out);
    memcpy(out.bytes + MAGIC_LEN + sizeof wall_ms, &(uint32_t){ (uint32_t)out.count }, sizeof(uint32_t));
    uint64_t sum = kept_file_sum(out.bytes, out.len);
    put(&out, &sum, sizeof sum);

    bool ok = kept_file_write(path, out.bytes, out.len, why);
    free(out.bytes);
    return ok;
}

static const uint8_t *take(void *value, const uint8_t *at, size_t len)
{
    memcpy(value, at, len);
    return at + len;
}

/* NULL: it does not end where its entry ends. */
static const uint8_t *take_entry(struct book *book, const uint8_t *at, const uint8_t *end, uint64_t now_ms, uint64_t age_ms)
{
    uint8_t flags, action;
    uint16_t len;
    uint64_t left, override;
    char key[WIRE_LOGIN_MAX + 1];
    if ((size_t)(end - at) < ENTRY_LEN)
        return NULL;
    at = take(&flags, at, 1);
    at = take(&action, at, 1);
    at = take(&len, at, 2);
    at = take(&left, at, 8);
    at = take(&override, at, 8);
    if (action > REPUTATION_REJECT || len == 0 || len > WIRE_LOGIN_MAX || (size_t)(end - at) < len || left > WIRE_TIME_MAX)
        return NULL;
    at = take(key, at, len);
    key[len] = '\0';
    if (left > age_ms)
        book_put(book, key, flags & FLAG_LOGIN, flags & FLAG_OPERATOR, (enum reputation_action)action, now_ms + left - age_ms, override, now_ms);
    return at;
}

static struct book *parse(const uint8_t *bytes, size_t len, uint64_t now_ms, uint64_t wall_ms, uint64_t *age_ms)
{
    uint64_t sum, written_ms;
    uint32_t count;
    if (len < HEAD_LEN + SUM_LEN || memcmp(bytes, MAGIC, MAGIC_LEN) != 0)
        return NULL;
    const uint8_t *at = bytes + MAGIC_LEN, *end = bytes + len - SUM_LEN;
    memcpy(&sum, end, sizeof sum);
    if (sum != kept_file_sum(bytes, len - SUM_LEN))
        return NULL;
    at = take(&written_ms, at, sizeof written_ms);
    at = take(&count, at, sizeof count);
    *age_ms = wall_ms > written_ms ? wall_ms - written_ms : 0;
    struct book *book = book_new();
    for (uint32_t i = 0; i < count && at != NULL; i++)
        at = take_entry(book, at, end, now_ms, *age_ms);
    if (at != end)
        book_free(&book);
    return book;
}

struct book *kept_read(const char *path, uint64_t now_ms, uint64_t wall_ms, uint64_t *age_ms, struct error *why)
{
    size_t len;
    uint8_t *bytes = kept_file_read(path, KEPT_MAX, &len, why);
    if (bytes == NULL)
        return NULL;
    struct book *book = parse(bytes, len, now_ms, wall_ms, age_ms);
    if (book == NULL)
        error_set(why, "damaged");
    free(bytes);
    return book;
}

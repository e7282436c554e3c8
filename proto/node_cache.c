/*
 * node_cache.c - one message of a coordinator, kept in a file
 *
 *     magic | u32 frame length | u32 count | u32 length of each payload | frame | payloads | u64 FNV-1a of all before
 * (host order)
 *
 * No fsync: the loop must not wait for a disk, and a file that a power cut spoilt is seen by its checksum and fetched
 * anew.
 */
#include "proto/node_cache.h"

#include <stdlib.h>
#include <string.h>
#include "common/kept_file.h"
#include "common/memory.h"

#define MAGIC     "weir-cache-1\n"
#define MAGIC_LEN (sizeof MAGIC - 1)
#define FILE_MAX                                                                                                       \
    (MAGIC_LEN + 4 * (2 + WIRE_PAYLOADS_MAX) + WIRE_STATE_MAX + (size_t)WIRE_PAYLOADS_MAX * WIRE_PAYLOAD_MAX + 8)

static uint8_t *put(uint8_t *at, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(at, bytes, len);
    return at + len;
}

static uint8_t *put_u32(uint8_t *at, size_t value)
{
    return put(at, &(uint32_t){ (uint32_t)value }, sizeof(uint32_t));
}

static uint8_t *build(Weir__Frame *frame, const struct link_payload *payloads, size_t count, size_t *len)
{
    size_t frame_len = wire_packed_size(frame);

    if (frame_len == 0 || count > WIRE_PAYLOADS_MAX)
        return NULL;
    *len = MAGIC_LEN + 4 * (2 + count) + frame_len + sizeof(uint64_t);
    for (size_t i = 0; i < count; i++)
        *len += payloads[i].len;
    uint8_t *bytes = xmalloc(*len);
    uint8_t *at = put(bytes, MAGIC, MAGIC_LEN);
    at = put_u32(at, frame_len);
    at = put_u32(at, count);
    for (size_t i = 0; i < count; i++)
        at = put_u32(at, payloads[i].len);
    wire_pack(frame, at);
    at += frame_len;
    for (size_t i = 0; i < count; i++)
        at = put(at, payloads[i].data, payloads[i].len);
    uint64_t sum = kept_file_sum(bytes, (size_t)(at - bytes));
    put(at, &sum, sizeof sum);
    return bytes;
}

bool node_cache_write(const char *path, Weir__Frame *frame, const struct link_payload *payloads, size_t count,
                      struct error *why)
{
    size_t len;
    uint8_t *bytes = build(frame, payloads, count, &len);

    if (bytes == NULL) {
        error_set(why, "%s: too large to keep", path);
        return false;
    }
    bool ok = kept_file_write(path, bytes, len, why);
    free(bytes);
    return ok;
}

static bool take_u32(const uint8_t **at, const uint8_t *end, uint32_t *value)
{
    if ((size_t)(end - *at) < sizeof *value)
        return false;
    memcpy(value, *at, sizeof *value);
    *at += sizeof *value;
    return true;
}

static bool take_bytes(const uint8_t **at, const uint8_t *end, size_t len, const void **bytes)
{
    if ((size_t)(end - *at) < len)
        return false;
    *bytes = *at;
    *at += len;
    return true;
}

static bool parse(struct node_cache_file *file, size_t len, struct error *why)
{
    const uint8_t *at = file->bytes, *end = file->bytes + len;
    const void *frame = NULL;
    uint32_t frame_len, count, lens[WIRE_PAYLOADS_MAX];
    uint64_t sum;

    error_set(why, "damaged");
    if (len < MAGIC_LEN + sizeof sum || memcmp(at, MAGIC, MAGIC_LEN) != 0)
        return false;
    end -= sizeof sum;
    memcpy(&sum, end, sizeof sum);
    if (sum != kept_file_sum(file->bytes, len - sizeof sum))
        return false;
    at += MAGIC_LEN;
    if (!take_u32(&at, end, &frame_len) || !take_u32(&at, end, &count) || count > WIRE_PAYLOADS_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!take_u32(&at, end, &lens[i]))
            return false;
    if (!take_bytes(&at, end, frame_len, &frame))
        return false;
    file->message.payload_count = count;
    for (uint32_t i = 0; i < count; i++) {
        file->message.payloads[i].len = lens[i];
        if (!take_bytes(&at, end, lens[i], &file->message.payloads[i].data))
            return false;
    }
    file->frame = at == end ? wire_decode(frame, frame_len, count, why) : NULL;
    file->message.frame = file->frame;
    return file->frame != NULL;
}

bool node_cache_read(struct node_cache_file *file, const char *path, struct error *why)
{
    size_t len;

    file->frame = NULL;
    file->bytes = kept_file_read(path, FILE_MAX, &len, why);
    if (file->bytes == NULL)
        return false;
    if (!parse(file, len, why)) {
        node_cache_clear(file);
        return false;
    }
    return true;
}

void node_cache_clear(struct node_cache_file *file)
{
    wire_free(&file->frame);
    free(file->bytes);
    file->bytes = NULL;
}

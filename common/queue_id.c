/* queue_id.c - see queue_id.h: 100 bits, most significant first, five to a character */
#include "common/queue_id.h"

#include <string.h>

#define PROCESS_BITS 28
#define COUNTER_BITS 24
#define COUNTER_MASK ((1u << COUNTER_BITS) - 1)

static const char digits[33] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* splitmix64's finisher: every input bit reaches every output bit */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t hash_of(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (const char *p = text; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    return hash;
}

void queue_id_source_init(struct queue_id_source *source, const char *node, unsigned worker, uint64_t nonce)
{
    uint64_t hash = mix(hash_of(node) ^ mix(nonce + worker));

    /* The counter starts anywhere: two processes with the same 28 bits still have different ids. */
    *source = (struct queue_id_source){
        .process = (uint32_t)(hash >> 36),
        .counter = (uint32_t)hash & COUNTER_MASK,
    };
}

struct queue_id queue_id_next(struct queue_id_source *source, uint64_t wall_ms)
{
    struct queue_id id;

    source->counter = (source->counter + 1) & COUNTER_MASK;
    if (wall_ms > source->last_ms)
        source->last_ms = wall_ms;
    else if (source->counter == 0)
        source->last_ms++; /* so that ids always grow */

    uint64_t ms = source->last_ms & 0xffffffffffffu;
    /* ms:48 process:28 counter:24 as two halves of 50 bits */
    uint64_t low = ((uint64_t)source->process << COUNTER_BITS | source->counter) & ((1ull << 50) - 1);
    uint64_t high = ms << 2 | source->process >> (50 - COUNTER_BITS);
    for (int i = 9; i >= 0; i--, high >>= 5, low >>= 5) {
        id.text[i] = digits[high & 31];
        id.text[10 + i] = digits[low & 31];
    }
    id.text[QUEUE_ID_LEN] = '\0';
    return id;
}

bool queue_id_is_valid(const char *text, size_t len)
{
    if (len != QUEUE_ID_LEN)
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\0' || strchr(digits, text[i]) == NULL)
            return false;
    return true;
}

uint64_t queue_id_wall_ms(const struct queue_id *id)
{
    uint64_t high = 0;

    for (int i = 0; i < 10; i++) {
        const char *digit = id->text[i] != '\0' ? strchr(digits, id->text[i]) : NULL;
        high = high << 5 | (digit != NULL ? (uint64_t)(digit - digits) : 0);
    }
    return high >> 2;
}

uint64_t queue_id_scatter(const struct queue_id *id)
{
    return mix(hash_of(id->text));
}

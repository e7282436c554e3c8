/* result.c - a result that outlives its scan */
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "edge/scan/state.h"

struct scan_result *scan_result_copy(const struct scan_result *result)
{
    struct scan_result *copy = xmemdup(result, sizeof *result);
    if (copy->spam != NULL)
        copy->spam = wire_copy(&result->spam->base);
    return copy;
}

void scan_result_free(struct scan_result **result_at)
{
    struct scan_result *result = *result_at;
    *result_at = NULL;
    if (result == NULL)
        return;
    if (result->spam != NULL)
        weir__spam_result__free_unpacked(result->spam, NULL);
    free(result);
}

size_t scan_pack_attachments(const struct scan_result *result, uint8_t out[WIRE_ATTACHMENTS_MAX * WIRE_ATTACHMENT_LEN])
{
    uint8_t *at = out;
    for (unsigned i = 0; i < result->attachment_count; i++, at += WIRE_ATTACHMENT_LEN) {
        memcpy(at, result->attachments[i].hash, WIRE_HASH_LEN);
        at[WIRE_HASH_LEN] = (uint8_t)result->attachments[i].kind;
    }
    return (size_t)(at - out);
}

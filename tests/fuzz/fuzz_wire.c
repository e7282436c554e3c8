/*
 * fuzz_wire.c - any bytes as a control frame, or as a payload that is a packed list
 *
 * The first byte says which list, or how many payloads came with the frame. What is accepted must survive a round trip:
 * packed again it is accepted again, and packs to the same bytes.
 */
#include <stdlib.h>
#include <string.h>
#include "proto/wire.h"

#define NO_ROOM "unpacks to more" /* packed anew it may be shorter, and so have a smaller budget */

#define RECIPIENTS 0xff
#define OUTCOMES   0xfe

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A list that was taken, packed: the caller frees it. NULL: it was not taken. */
static uint8_t *repack(uint8_t which, const uint8_t *data, size_t size, size_t *len, struct error *why)
{
    Weir__SpoolRecipients *recipients = which == RECIPIENTS ? wire_recipients_decode(data, size, why) : NULL;
    Weir__SpoolOutcomes *outcomes = which == OUTCOMES ? wire_outcomes_decode(data, size, why) : NULL;
    uint8_t *bytes = NULL;

    if (recipients != NULL)
        bytes = wire_recipients_encode(recipients, len);
    if (outcomes != NULL)
        bytes = wire_outcomes_encode(outcomes, len);
    weir_assert(bytes != NULL || why->text[0] != '\0');
    wire_recipients_free(&recipients);
    wire_outcomes_free(&outcomes);
    return bytes;
}

static void fuzz_list(uint8_t which, const uint8_t *data, size_t size)
{
    struct error why = { "" };
    size_t len, again_len;
    uint8_t *bytes = repack(which, data, size, &len, &why);

    if (bytes == NULL)
        return;
    uint8_t *again = repack(which, bytes, len, &again_len, &why);
    if (again != NULL)
        weir_assert(again_len == len && memcmp(again, bytes, len) == 0);
    else
        weir_assert(strstr(why.text, NO_ROOM) != NULL);
    free(again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error why;
    size_t len, again_len;

    if (size == 0)
        return 0;
    if (data[0] == RECIPIENTS || data[0] == OUTCOMES) {
        fuzz_list(data[0], data + 1, size - 1);
        return 0;
    }
    size_t payloads = data[0] % (WIRE_PAYLOADS_MAX + 1);
    Weir__Frame *frame = wire_decode(data + 1, size - 1, payloads, &why);
    if (frame == NULL) {
        weir_assert(why.text[0] != '\0');
        return 0;
    }
    uint8_t *bytes = wire_encode(frame, &len);
    wire_free(&frame);
    if (bytes == NULL) /* a few bytes longer in canonical form, and so over the limit */
        return 0;
    frame = wire_decode(bytes, len, payloads, &why);
    if (frame != NULL) {
        uint8_t *again = wire_encode(frame, &again_len);
        weir_assert(again != NULL && again_len == len && memcmp(again, bytes, len) == 0);
        free(again);
    } else {
        weir_assert(strstr(why.text, NO_ROOM) != NULL);
    }
    wire_free(&frame);
    free(bytes);
    return 0;
}

/*
 * fuzz_wire.c - any bytes as a control frame
 *
 * The first byte says how many payloads came with it. What is accepted must survive a round trip: packed again it is
 * accepted again, and packs to the same bytes.
 */
#include <stdlib.h>
#include <string.h>
#include "proto/wire.h"

#define NO_ROOM "unpacks to more" /* packed anew it may be shorter, and so have a smaller budget */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error why;
    size_t len, again_len;

    if (size == 0)
        return 0;
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

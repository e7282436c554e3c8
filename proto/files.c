/* files.c - see files.h */
#include "proto/files.h"

#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

size_t wire_files_split(const struct wire_file *files, size_t count, ProtobufCBinaryData *names, struct link_payload *payloads)
{
    size_t pieces = 0;

    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        do { /* an empty file has a payload, too */
            size_t len = files[i].len - at < WIRE_PAYLOAD_MAX ? files[i].len - at : WIRE_PAYLOAD_MAX;
            if (pieces == WIRE_PAYLOADS_MAX)
                return 0;
            names[pieces] = wire_text(files[i].name);
            payloads[pieces++] = (struct link_payload){ files[i].text + at, len };
            at += len;
        } while (at < files[i].len);
    }
    return pieces;
}

static bool same_name(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

void wire_files_join(struct wire_files *out, const ProtobufCBinaryData *names, const struct link_payload *payloads, size_t count)
{
    out->count = out->bytes = 0;
    for (size_t first = 0, next; first < count; first = next) {
        size_t len = 0, at = 0;
        for (next = first; next < count && same_name(&names[next], &names[first]); next++)
            len += payloads[next].len;
        char *text = xmalloc(len + 1);
        for (size_t i = first; i < next; i++) {
            if (payloads[i].len > 0)
                memcpy(text + at, payloads[i].data, payloads[i].len);
            at += payloads[i].len;
        }
        text[len] = '\0';
        out->items[out->count++] =
            (struct wire_file){ .name = xstrndup((const char *)names[first].data, names[first].len), .text = text, .len = len };
        out->bytes += len;
    }
}

void wire_files_free(struct wire_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        free((void *)(uintptr_t)files->items[i].name);
        free((void *)(uintptr_t)files->items[i].text);
    }
    files->count = files->bytes = 0;
}

#ifndef WEIR_PROTO_WIRE_H
#define WEIR_PROTO_WIRE_H
/*
 * wire.h - bytes of a control frame <-> Weir__Frame, with every limit applied before and right after unpacking
 *
 * Pure: no socket, no clock. wire_decode() refuses a frame over WIRE_FRAME_MAX, one with many unknown fields, one whose unpacked form
 * would need more than a fixed multiple of its size (own allocator with a budget), and one whose validator says no. What it returns
 * can be used without further checks of presence, lengths or enum ranges.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "proto/weir.pb-c.h"

#define PROTO_VERSION 1
#define WIRE_FRAME_MAX (64u * 1024)
#define WIRE_PAYLOAD_MAX (4u * 1024 * 1024) /* one raw frame; scan chunks are at most 1 MiB */
#define WIRE_PAYLOADS_MAX 64                /* raw frames in one message */

/* Unpacks and validates. payloads: how many raw frames came with it. NULL: why says what is wrong. Free with wire_free(). */
Weir__Frame *wire_decode(const void *bytes, size_t len, size_t payloads, struct error *why);
void wire_free(Weir__Frame **frame);

/* Packs into a malloced buffer; the caller frees it. Sets version. NULL when it would exceed WIRE_FRAME_MAX. */
uint8_t *wire_encode(Weir__Frame *frame, size_t *len);

/* A borrowed view of text as protobuf bytes. */
static inline ProtobufCBinaryData wire_bytes(const void *data, size_t len)
{
    return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)data };
}
ProtobufCBinaryData wire_text(const char *text); /* NULL gives empty */
/* Copies bytes into a NUL-terminated string (cut at cap - 1, stopped at a NUL). Returns out. */
char *wire_string(char *out, size_t cap, const ProtobufCBinaryData *bytes);
bool wire_equal(const ProtobufCBinaryData *bytes, const char *text);

#endif

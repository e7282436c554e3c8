#ifndef WEIR_PROTO_FILES_H
#define WEIR_PROTO_FILES_H
/*
 * files.h - files of any size in a message whose payloads have a limit
 *
 * A file larger than WIRE_PAYLOAD_MAX goes in several payloads, one after the other, each under its name: names[i] belongs to payload i. So a
 * message with small files only looks as if there were no pieces.
 */
#include "proto/link.h"

struct wire_file {
    const char *name;
    const char *text;
    size_t len;
};

/* Fills names and payloads, both of WIRE_PAYLOADS_MAX, with views of files. The number of payloads; 0: they do not fit (or there are no files). */
size_t wire_files_split(const struct wire_file *files, size_t count, ProtobufCBinaryData *names, struct link_payload *payloads);

/* Files put together from a message's payloads; each text is NUL-terminated. */
struct wire_files {
    struct wire_file items[WIRE_PAYLOADS_MAX];
    size_t count;
    size_t bytes; /* of all texts */
};

/* Copies. End with wire_files_free(). */
void wire_files_join(struct wire_files *out, const ProtobufCBinaryData *names, const struct link_payload *payloads, size_t count);
void wire_files_free(struct wire_files *files);

#endif

#ifndef WEIR_PROTO_NODE_CACHE_H
#define WEIR_PROTO_NODE_CACHE_H
/*
 * node_cache.h - one message of a coordinator, kept in a file for a start without coordinators (internal to node.c)
 *
 * With a checksum over all of it (common/kept_file.h): after a crash there is the old file, the new one, or
 * one that is not taken. What comes out has been through wire_decode() like what comes from a link.
 */
#include <stdbool.h>
#include "proto/link.h"

struct node_cache_file {
    uint8_t *bytes;
    Weir__Frame *frame;
    struct link_message message; /* borrows from the two above */
};

bool node_cache_write(const char *path, Weir__Frame *frame, const struct link_payload *payloads, size_t count,
                      struct error *why);
/* false: why says what is wrong, or is empty when there is no file. True: end with node_cache_clear(). */
bool node_cache_read(struct node_cache_file *file, const char *path, struct error *why);
void node_cache_clear(struct node_cache_file *file);

#endif

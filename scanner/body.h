#ifndef WEIR_SCANNER_BODY_H
#define WEIR_SCANNER_BODY_H
/*
 * body.h - the bytes of one message, as a worker can take them
 *
 * A small one that came whole is plain memory, to be sent to the worker; others have a descriptor, of memory (memfd) or of an unlinked file,
 * to be handed over. All start with ENGINE_MAIL_PREFIX. A memfd is made per message and never used again: a
 * worker that a message has taken over may still hold it, and must not see the next one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

struct body {
    int fd;      /* -1: none */
    char *bytes; /* NULL: in fd */
    bool on_disk;
    uint64_t len; /* without the prefix */
};

enum body_chunk {
    BODY_CHUNK_OK,
    BODY_CHUNK_GAP,      /* not where the last one ended */
    BODY_CHUNK_OVERFLOW, /* beyond what the sender was allowed */
};

/* Whether a chunk may be appended to len bytes that are there. Pure. */
enum body_chunk body_check_chunk(uint64_t len, uint64_t allowed, uint64_t offset, uint64_t chunk);

/* A complete message. spool_dir: for files. false: why, and the body is closed. */
bool body_keep(struct body *body, const void *data, size_t len, bool on_disk, const char *spool_dir, struct error *why);
/* One that comes in pieces. spool_dir: for files. false: why (no room, no descriptors), and the body is closed. */
bool body_open(struct body *body, bool on_disk, const char *spool_dir, struct error *why);
bool body_append(struct body *body, const void *data, size_t len, struct error *why);
bool body_move_to_disk(struct body *body, const char *spool_dir, struct error *why);
void body_close(struct body *body); /* also when there is none */
uint64_t body_size(const struct body *body); /* with the prefix: what a worker is told */

#endif

#ifndef WEIR_EDGE_REPUTATION_KEPT_H
#define WEIR_EDGE_REPUTATION_KEPT_H
/*
 * kept.h - the list in a file, for a start while no coordinator is there
 *
 * Replaced by rename, mode 0600, with a checksum over all of it: after a crash there is the old file, the new one, or one that is not taken. No fsync: the loop
 * must not wait for a disk. What an entry had left is of the moment that the file names by the wall clock; where that went back nothing of it has passed.
 */
#include <stdbool.h>
#include "common/error.h"
#include "edge/reputation/book.h"

/* At most `most` entries: operators' words first, then who is refused, then who is throttled. false: why. */
bool kept_write(const char *path, const struct book *book, size_t most, uint64_t now_ms, uint64_t wall_ms, struct error *why);
/* A new book with what has not ended since, and how old it is. NULL: why says what is wrong with the file, or is empty when there is none. */
struct book *kept_read(const char *path, uint64_t now_ms, uint64_t wall_ms, uint64_t *age_ms, struct error *why);

#endif

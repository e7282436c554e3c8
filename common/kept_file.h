#ifndef WEIR_COMMON_KEPT_FILE_H
#define WEIR_COMMON_KEPT_FILE_H
/*
 * kept_file.h - a file in which a node keeps something small over its restart
 *
 * Replaced by rename, mode 0600, without fsync: a loop must not wait for a disk. So whoever keeps something puts its sum at the end, and does not
 * take what has another.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

bool kept_file_write(const char *path, const uint8_t *bytes, size_t len, struct error *why);
/* All of a file of at most max bytes: the caller's. NULL: why, which is empty when there is none. */
uint8_t *kept_file_read(const char *path, size_t max, size_t *len, struct error *why);
/* FNV-1a: against disks and power cuts, not against people. */
uint64_t kept_file_sum(const uint8_t *bytes, size_t len);

#endif

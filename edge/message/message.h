#ifndef WEIR_EDGE_MESSAGE_H
#define WEIR_EDGE_MESSAGE_H
/*
 * message.h - the bytes of one message in flight: in memory up to a threshold, then in an unlinked temporary file
 *
 * A budget counts what all messages of a worker hold, in memory and on disk, and refuses the append that would exceed it (I4). An append
 * that fails, for the budget or the disk, leaves message and budget as they were; why then has the words.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "common/error.h"

struct message_budget {
    uint64_t memory_max, disk_max;   /* bytes */
    uint64_t memory_used, disk_used; /* kept by message.c */
    uint64_t threshold;              /* bytes of one message kept in memory */
    const char *tmp_dir;             /* borrowed */
};

struct message;

enum message_status { MESSAGE_OK, MESSAGE_OVER_BUDGET, MESSAGE_DISK_ERROR };

struct message *message_new(struct message_budget *budget); /* budget must outlive it */
void message_free(struct message **message);
enum message_status message_append(struct message *message, const void *data, size_t len, struct error *why);
uint64_t message_size(const struct message *message);
/* Copies up to len bytes from offset; returns how many (0 at the end), or -1 with why at a disk error. */
ssize_t message_read(const struct message *message, uint64_t offset, void *out, size_t len, struct error *why);
/* The bytes at offset without a copy where they are in memory (then *len is set, at most max); NULL where they are in the file. */
const void *message_peek(const struct message *message, uint64_t offset, size_t max, size_t *len);

#endif

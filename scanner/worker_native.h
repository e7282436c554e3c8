#ifndef WEIR_SCANNER_WORKER_NATIVE_H
#define WEIR_SCANNER_WORKER_NATIVE_H
/*
 * worker_native.h - the native spam engine in a worker: it sees the bytes that were just found clean, and what the master says of their envelope
 */
#include "scanner/channel.h"
#include "scanner/native/native.h"

/* bytes: the message without ENGINE_MAIL_PREFIX. */
void worker_native_score(struct native *native, const struct packet_facts *facts, const char *bytes, size_t len, struct packet_native *out);
/* The same for a descriptor; bytes begin at offset. false: they cannot be read. */
bool worker_native_score_file(struct native *native, const struct packet_facts *facts, int fd, uint64_t offset, uint64_t size, struct packet_native *out);

#endif

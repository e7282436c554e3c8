#ifndef WEIR_SCANNER_WORKER_NATIVE_H
#define WEIR_SCANNER_WORKER_NATIVE_H
/*
 * worker_native.h - the native spam engine in a worker: it sees the bytes that were just found clean, and what the master says of their envelope
 */
#include "scanner/channel.h"
#include "scanner/native/native.h"

/* bytes: the message without ENGINE_MAIL_PREFIX. model: NULL, there is none. features: filled where the facts want that; else it may be NULL. */
void worker_native_score(struct native *native, const struct packet_facts *facts, const struct native_model *model, const char *bytes, size_t len,
                         struct packet_native *out, struct packet_features *features);
/* Takes a model's descriptor (-1: none) in place of *model, which is NULL or one that this gave. */
void worker_native_take_model(const struct native_model **model, int fd);

#endif

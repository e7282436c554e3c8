#ifndef WEIR_SCANNER_FINDINGS_H
#define WEIR_SCANNER_FINDINGS_H
/*
 * findings.h - what a worker says of a message beside libclamav's verdict: how the native spam engine scores it, and which files it brings
 */
#include "scanner/channel.h"
#include "scanner/native/native.h"

/* bytes: the message without ENGINE_MAIL_PREFIX. model: NULL, there is none. scores: it is to be scored, where
 * the facts want that. features: filled where they want those of a message that is. */
void findings_make(struct native *native, const struct packet_facts *facts, const struct native_model *model, bool scores, const char *bytes, size_t len,
                   struct packet_findings *out, struct packet_features *features);
/* The same for a descriptor; bytes begin at offset. false: they cannot be read. */
bool findings_make_file(struct native *native, const struct packet_facts *facts, const struct native_model *model, bool scores, int fd, uint64_t offset, uint64_t size,
                        struct packet_findings *out, struct packet_features *features);

#endif

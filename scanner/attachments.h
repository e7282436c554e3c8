#ifndef WEIR_SCANNER_ATTACHMENTS_H
#define WEIR_SCANNER_ATTACHMENTS_H
/*
 * attachments.h - which files a message brings: what each is, and what its decoded bytes hash to
 *
 * Names say nothing: who sends one file under a thousand names sends one file. What is a text without a name that everybody reads is no file.
 */
#include "scanner/channel.h"

/* Before a sandbox closes: libcrypto reads its configuration. */
void attachments_begin(void);
/* Those of the most dangerous kinds first, CHANNEL_ATTACHMENTS_MAX at most; each content once. Returns how many. */
uint32_t attachments_find(const struct mime_message *message, struct packet_attachment out[CHANNEL_ATTACHMENTS_MAX]);

#endif

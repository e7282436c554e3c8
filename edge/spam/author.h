#ifndef WEIR_EDGE_SPAM_AUTHOR_H
#define WEIR_EDGE_SPAM_AUTHOR_H
/*
 * author.h - who is proved to have written a mail: what its recipients' own lists go by
 *
 * Pure. DKIM and DMARC prove a domain, which answers for the address in From (RFC 6376 1.1, RFC 7489 3.1); it says nothing of the envelope's sender, whom anybody
 * who passes the mail on may name. That one SPF proves.
 */
#include <stdbool.h>
#include <stddef.h>
#include "edge/smtp/address.h"
#include "proto/weir.pb-c.h"

/* The address in From, canonical; false: there is no From, or more than one, or not just one address in it, so readers differ about who it is. header: see
 * header_edit(). */
bool header_author(char out[SMTP_ADDRESS_MAX], const char *header, size_t len);
/* from, where a signature of its own domain or DMARC passes; else the envelope's sender, where SPF does; NULL: nobody, and always where DMARC says that From is
 * forged. from may be "". Borrowed. */
const char *spam_author(const Weir__SpamResult *result, const char *from, const char *sender);

#endif

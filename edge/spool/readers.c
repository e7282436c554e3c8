/*
 * readers.c - see readers.h
 */
#include "edge/spool/readers.h"
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "edge/smtp/command.h"

#define PACKED_EXTRA 32 /* of one recipient, besides its texts */

static ProtobufCBinaryData copy_of(const char *text)
{
    return wire_text(xstrdup(text));
}

void readers_add(struct readers *readers, const char *address, const char *destination)
{
    size_t packed = strlen(address) + strlen(destination) + PACKED_EXTRA;
    if (readers->packed + packed > WIRE_LIST_MAX)
        return;
    Weir__SpoolRecipient *recipient = xcalloc(1, sizeof *recipient);
    weir__spool_recipient__init(recipient);
    recipient->index = (uint32_t)readers->count;
    recipient->address = copy_of(address);
    recipient->destination = copy_of(destination);
    recipient->notify = SMTP_NOTIFY_NEVER; /* nobody is told of mail that tells */
    readers->recipients = xrealloc(readers->recipients, (readers->count + 1) * sizeof *readers->recipients);
    readers->recipients[readers->count++] = recipient;
    readers->packed += packed;
}

Weir__SpoolRecipients readers_list(const struct readers *readers)
{
    Weir__SpoolRecipients list = WEIR__SPOOL_RECIPIENTS__INIT;
    list.recipients = readers->recipients;
    list.n_recipients = readers->count;
    return list;
}

void readers_fini(struct readers *readers)
{
    for (size_t i = 0; i < readers->count; i++) {
        free(readers->recipients[i]->address.data);
        free(readers->recipients[i]->destination.data);
        free(readers->recipients[i]);
    }
    free(readers->recipients);
    *readers = (struct readers){ 0 };
}

/* told.c - see told.h */
#include "edge/spam/told.h"

void spam_told_init(struct spam_told *told)
{
    weir__spam_facts__init(&told->facts);
    told->facts.recipients = told->recipients;
    told->bytes = 0;
}

bool spam_told_add(struct spam_told *told, ProtobufCBinaryData recipient)
{
    if (told->facts.n_recipients == WIRE_SPAM_TO_MAX || told->bytes + recipient.len > WIRE_SPAM_TO_BYTES)
        return false;
    told->bytes += recipient.len;
    told->recipients[told->facts.n_recipients++] = recipient;
    return true;
}

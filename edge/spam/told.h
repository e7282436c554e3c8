#ifndef WEIR_EDGE_SPAM_TOLD_H
#define WEIR_EDGE_SPAM_TOLD_H
/* told.h - what spam engines are told of a message beside its bytes */
#include <stdbool.h>
#include "proto/wire.h"

/* Borrows all texts. */
struct spam_told {
    Weir__SpamFacts facts;
    ProtobufCBinaryData recipients[WIRE_SPAM_TO_MAX];
    size_t bytes; /* of recipients */
};

void spam_told_init(struct spam_told *told);
/* false: there is no room for it, nor for more. */
bool spam_told_add(struct spam_told *told, ProtobufCBinaryData recipient);

#endif

#ifndef WEIR_EDGE_SPOOL_READERS_H
#define WEIR_EDGE_SPOOL_READERS_H
/*
 * readers.h - whom mail that we write ourselves goes to: an address, or all that it stands for as an alias
 *
 * One list of recipients of the spool, each with its destination. What would not fit a coordinator's list is left out: an alias of so many that its
 * first ones fill a mebibyte.
 */
#include <stdbool.h>
#include <stddef.h>
#include "proto/wire.h"

enum readers_found {
    READERS_NOWHERE, /* for good: refused, discarded, no address */
    READERS_LATER,   /* no policy yet, or it says 4xx */
    READERS_FOUND,
};

struct readers { /* all zeros: empty */
    Weir__SpoolRecipient **recipients;
    size_t count, packed; /* packed: bytes at most */
};

/* Copies both. Nobody is told of what becomes of this mail. */
void readers_add(struct readers *readers, const char *address, const char *destination);
/* Borrowed from it. */
Weir__SpoolRecipients readers_list(const struct readers *readers);
void readers_fini(struct readers *readers);

#endif

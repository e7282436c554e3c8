/*
 * lineage.c - the newest primary that this process has written to
 */
#include <stdio.h>
#include "coordinator/lineage.h"
#include "proto/identity.h"

bool lineage_is_past(const struct lineage *lineage, const char *identity)
{
    return identity_is_behind(identity, lineage->newest);
}

bool lineage_accept(struct lineage *lineage, const char *identity)
{
    if (lineage_is_past(lineage, identity))
        return false;
    snprintf(lineage->newest, sizeof lineage->newest, "%s", identity);
    return true;
}

bool lineage_hear(struct lineage *lineage, const char *identity)
{
    return identity_is_behind(lineage->newest, identity) && lineage_accept(lineage, identity);
}

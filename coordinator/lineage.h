#ifndef WEIR_COORDINATOR_LINEAGE_H
#define WEIR_COORDINATOR_LINEAGE_H
/*
 * lineage.h - the newest primary that this process has written to
 *
 * A conninfo names several servers, and a former primary that comes back, or was cut off with some coordinators when its standby was promoted, takes
 * writes as ever. Whoever has seen its successor goes back to it no more: see proto/identity.h. Shared by all connections of a process.
 * Kept in memory: a coordinator that was started anew believes the first it meets, until a node that knows better does not believe the coordinator, and says why.
 */
#include <stdbool.h>

struct lineage {
    char newest[128]; /* of cluster_identity(); "": none was seen */
};

/* Whether a server with this identity may be used; then nothing before it may from now on. One of another database is taken as it is. */
bool lineage_accept(struct lineage *lineage, const char *identity);
/* What a node has heard of. Whether it is a later one of the database that this process writes to: then that one is not written to any more. */
bool lineage_hear(struct lineage *lineage, const char *identity);
/* Whether a later one than this was seen since. */
bool lineage_is_past(const struct lineage *lineage, const char *identity);

#endif

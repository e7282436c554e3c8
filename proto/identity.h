#ifndef WEIR_PROTO_IDENTITY_H
#define WEIR_PROTO_IDENTITY_H
/*
 * identity.h - which of two databases comes from the other
 *
 * A coordinator names its database as UUID/SYSTEM/TIMELINE (ClusterState.identity, cluster_identity() in SQL): what Weir made it as, which initdb its
 * files come from, and on which of PostgreSQL's timelines it writes. A standby that is promoted begins the next timeline. So who writes on an
 * earlier one after that is a former primary that nobody told, and what it takes is in no database that will be gone on with.
 */
#include <stdbool.h>

/* Whether the one is of an earlier timeline of the same database. false where either does not say, as a coordinator of before. */
bool identity_is_behind(const char *identity, const char *than);

#endif

#ifndef WEIR_COORDINATOR_MIGRATE_H
#define WEIR_COORDINATOR_MIGRATE_H
/*
 * migrate.h - the database's schema: numbered migrations from coordinator/sql, embedded in the program
 *
 * A migration is never changed once released; what is applied is in schema_migration. All run in one transaction under
 * an advisory lock, so coordinators that start together do not meet. A database that is newer than this program is
 * fine: migrations only add (the version before must be able to go on).
 */
#include <stdbool.h>
#include <libpq-fe.h>
#include "common/error.h"

struct migration {
    int version;
    const char *name; /* "base" */
    const char *sql;
};

extern const struct migration migrations[]; /* generated; ends with version 0 */

/* One script for the simple query protocol that applies what is missing; does nothing, and needs no rights, when all is
 * applied. The caller frees. */
char *migrate_script(void);

/* Blocking, for the command line. check: only says what is missing, exit status 1 when something is. */
int migrate_command(const char *conninfo, bool check);

#endif

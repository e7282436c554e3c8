#ifndef WEIR_COORDINATOR_MIGRATE_H
#define WEIR_COORDINATOR_MIGRATE_H
/*
 * migrate.h - the database's schema: numbered migrations and files of functions from coordinator/sql, embedded in the
 * program
 *
 * A migration is never changed once released; what is applied is in schema_migration. A file of functions is applied
 * after them whenever the one that was applied last (schema_functions) had another digest. It runs under an advisory
 * lock, so coordinators that start together do not meet, in one transaction; only behind a migration with a line
 * "-- commit: why" there is a commit. Before anything is done a NOTICE says what.
 *
 * A database that is newer than this program is fine, and is left alone, its functions too: migrations only add, and
 * newer functions serve the version before, so that it can go on.
 */
#include <stdbool.h>
#include <libpq-fe.h>
#include "common/error.h"

struct migration {
    int version;
    const char *name; /* "base" */
    bool committed;   /* with those before it, before the next */
    const char *sql;
};

struct function_file {
    const char *name; /* "cluster" */
    const char *digest;
    const char *sql; /* may be run again: CREATE OR REPLACE */
};

/* Generated. */
extern const struct migration migrations[];         /* ends with version 0 */
extern const struct function_file function_files[]; /* in their order; ends with a NULL name */

/* One script for the simple query protocol that applies what is missing; does nothing, and needs no rights, when all is
 * applied. Outside of a transaction. The caller frees. */
char *migrate_script(void);

/* Blocking, for the command line. check: only says what is missing, exit status 1 when something is. */
int migrate_command(const char *conninfo, bool check);

#endif

#ifndef WEIR_COORDINATOR_DB_H
#define WEIR_COORDINATOR_DB_H
/*
 * db.h - one PostgreSQL connection in non-blocking pipeline mode inside a libevent loop
 *
 * Work comes in units: some queries and one sync, which PostgreSQL runs as one transaction. A unit's `done` is called
 * exactly once, when the commit's result is here (DB_OK), when PostgreSQL refused something in it (DB_FAILED: nothing
 * of it happened), or when the connection went before the result came (DB_LOST: it may or may not have happened, so
 * every unit here is one that can be repeated; also where a commit did not wait for its synchronous standby to the end). The connection comes back by itself with growing pauses. A server that
 * does not answer within answer_timeout_ms counts as gone. A unit that failed as what it was prepared for has changed (a
 * function was made anew) is sent once more by itself, unless its values are large or a rows handler was called.
 *
 * Callbacks come from the loop, never from inside db_begin()..db_commit(); they may begin new units but not free the
 * db.
 */
#include <stdbool.h>
#include <stddef.h>
#include <event2/event.h>
#include <libpq-fe.h>
#include "common/error.h"
#include "common/metrics.h"
#include "coordinator/lineage.h"

#define DB_PAUSE_MIN_MS 100 /* between attempts to connect, doubling */
#define DB_PAUSE_MAX_MS 3000

struct db;
struct db_unit;

enum db_outcome { DB_OK, DB_FAILED, DB_LOST };

struct db_error {
    char sqlstate[6]; /* "" when PostgreSQL did not say */
    bool stale;       /* what was prepared did not fit the schema any more, and is prepared anew at its next use */
    struct error why;
};

/* One query's result with rows (or without, for a command). result is borrowed. Not called for a query that failed. */
typedef void (*db_rows_handler)(void *arg, const PGresult *result);
typedef void (*db_done_handler)(void *arg, enum db_outcome outcome, const struct db_error *error);

struct db_options {
    const char *conninfo;         /* may name several hosts and target_session_attrs */
    const char *application_name; /* shown in pg_stat_activity */
    const char *setup;            /* SQL script run on each new connection before it is used: migrations, LISTEN. cluster_identity() is asked behind it */
    const char *identity;         /* SQL that asks for it, as cluster_identity, where the role may not do that; NULL: cluster_identity() itself */
    struct lineage *lineage;      /* of the process; borrowed, not NULL: no connection goes on with a former primary */
    bool later;                   /* connects only from db_start() on */
    uint64_t connect_timeout_ms;  /* per attempt; the next one begins with the next host of the conninfo */
    const char *labels;           /* of its metrics, as connection="store"; NULL: none */
    uint64_t answer_timeout_ms;   /* also of the setup, until it says by a NOTICE that it does what may take long; from then on only TCP ends it */
    /* So long after we are gone PostgreSQL ends the session, and with it its locks: where our machine does not answer TCP any more, and where we hang between two
     * units. Not where we hang in the middle of one, half sent: our machine answers then, and PostgreSQL waits for us. */
    uint64_t session_timeout_ms;
    struct metrics *metrics;
    void (*up)(void *arg);
    void (*down)(void *arg); /* was up, and is not any more; units in flight are told after this */
    void (*notified)(void *arg, const char *channel);
    void *arg;
};

struct db *db_new(struct event_base *base,
                  const struct db_options *options); /* strings are copied; begins to connect */
void db_start(struct db *db); /* again: no matter */
void db_free(struct db **db);                        /* pending units are told DB_LOST */
bool db_is_up(const struct db *db);
const char *db_last_error(const struct db *db); /* why it is not up; "" when it never failed */

/* Between db_begin() and db_commit() nothing else may use the db. When it is not up, the unit is told DB_LOST in the
 * next loop turn. */
struct db_unit *db_begin(struct db *db, db_done_handler done, void *arg);
/* sql: one statement with $1..$count, text parameters (NULL for SQL NULL), sent before this returns. A text of the program: from its second use on
 * it is prepared, and kept so until the connection ends. rows may be NULL. */
void db_query(struct db_unit *unit, const char *sql, size_t count, const char *const *values, db_rows_handler rows);
/* The same with values that may be in PostgreSQL's binary form; binary_rows: the result's columns are, too. */
struct db_value {
    const void *data; /* NULL: SQL NULL */
    size_t len;       /* of a binary one; text ends with a NUL */
    bool binary;
};
#define DB_VALUES_MAX 64
void db_query_values(struct db_unit *unit, const char *sql, size_t count, const struct db_value *values,
                     bool binary_rows, db_rows_handler rows);
void db_commit(struct db_unit *unit);

/* Whether the same unit may succeed later (deadlock, out of resources, shutdown), as opposed to being wrong. */
bool db_error_is_transient(const struct db_error *error);
/* Whether it lost to another transaction: a deadlock, a lock that was not to be had in time, or the schema was changed. The same unit is likely to succeed
 * at once. */
bool db_error_is_conflict(const struct db_error *error);
bool db_error_is_disk_full(const struct db_error *error);
/* Whether the values are what PostgreSQL refused: cardinality, data, integrity, program limits. Everything else (a
 * missing table or right, a bug of the server) may be put right, and then the same values are taken. */
bool db_error_is_of_values(const struct db_error *error);

/* The conninfo with its host, hostaddr and port lists turned left by `turns`, so that a host which swallows connections
 * does not keep an attempt from reaching the others (libpq's non-blocking connect has no time-out per host). NULL: not
 * a conninfo. Caller frees. */
char *db_conninfo_rotate(const char *conninfo, unsigned turns, struct error *why);

#endif

/*
 * migrate.c - the database's schema: numbered migrations, applied under an advisory lock
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "common/memory.h"
#include "coordinator/migrate.h"
#include "coordinator/text.h"

/* The statements of a migration are quoted with $migration$, which no migration may contain (a unit test looks). */
char *migrate_script(void)
{
    struct text script;
    text_init(&script);
    /* A statement of its own: what follows must see what the lock's last holder did. */
    text_puts(
        &script,
        "SELECT pg_advisory_xact_lock(hashtextextended('weir migrate', 0));\n"
        "DO $all$ BEGIN\n"
        "IF NOT EXISTS (SELECT FROM pg_class WHERE relname = 'schema_migration' AND pg_table_is_visible(oid)) THEN\n"
        "    CREATE TABLE schema_migration (version integer PRIMARY KEY, name text NOT NULL,\n"
        "        applied_at timestamptz NOT NULL DEFAULT now());\n"
        "END IF;\n");
    for (const struct migration *m = migrations; m->version != 0; m++)
        text_printf(&script,
                    "IF NOT EXISTS (SELECT FROM schema_migration WHERE version = %d) THEN\n"
                    "RAISE NOTICE 'migration %04d_%s';\n"
                    "EXECUTE $migration$%s$migration$;\n"
                    "INSERT INTO schema_migration (version, name) VALUES (%d, '%s');\n"
                    "END IF;\n",
                    m->version, m->version, m->name, m->sql, m->version, m->name);
    text_puts(&script, "END $all$;\n");
    char *result = xstrdup(script.data);
    text_fini(&script);
    return result;
}

/* Prints what is missing; returns how many, or -1. */
static int print_missing(PGconn *conn)
{
    PGresult *result = PQexec(conn, "SELECT to_regclass('schema_migration') IS NOT NULL");
    bool any = PQresultStatus(result) == PGRES_TUPLES_OK && strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    PQclear(result);
    int missing = 0;
    for (const struct migration *m = migrations; m->version != 0; m++) {
        bool applied = false;
        if (any) {
            char version[16];
            snprintf(version, sizeof version, "%d", m->version);
            const char *values[] = { version };
            result = PQexecParams(conn, "SELECT FROM schema_migration WHERE version = $1::integer", 1, NULL, values,
                                  NULL, NULL, 0);
            if (PQresultStatus(result) != PGRES_TUPLES_OK) {
                fprintf(stderr, "weir-coordinator: %s", PQerrorMessage(conn));
                PQclear(result);
                return -1;
            }
            applied = PQntuples(result) == 1;
            PQclear(result);
        }
        if (!applied) {
            printf("%04d_%s\n", m->version, m->name);
            missing++;
        }
    }
    return missing;
}

int migrate_command(const char *conninfo, bool check)
{
    PGconn *conn = PQconnectdb(conninfo);
    if (PQstatus(conn) != CONNECTION_OK) {
        fprintf(stderr, "weir-coordinator: %s", PQerrorMessage(conn));
        PQfinish(conn);
        return EX_UNAVAILABLE;
    }
    int missing = print_missing(conn);
    int status = missing < 0 ? EX_SOFTWARE : missing > 0 && check ? EXIT_FAILURE : EXIT_SUCCESS;
    if (missing > 0 && !check) {
        char *script = migrate_script();
        PGresult *result = PQexec(conn, script);
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            fprintf(stderr, "weir-coordinator: %s", PQresultErrorMessage(result));
            status = EX_SOFTWARE;
        }
        PQclear(result);
        free(script);
    }
    PQfinish(conn);
    return status;
}

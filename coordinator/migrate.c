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

/* True where the functions of a file are this program's, or newer ones. Both tables must be there. */
#define FUNCTIONS_ARE_THERE                                                                                            \
    "(EXISTS (SELECT FROM schema_migration WHERE version > %d)"                                                        \
    " OR EXISTS (SELECT FROM schema_functions WHERE name = '%s' AND digest = '%s'))"

static int newest_version(void)
{
    int version = 0;
    for (const struct migration *m = migrations; m->version != 0; m++)
        version = m->version;
    return version;
}

static void put_functions(struct text *script)
{
    int version = newest_version();
    for (const struct function_file *f = function_files; f->name != NULL; f++)
        text_printf(script,
                    "IF NOT " FUNCTIONS_ARE_THERE " THEN\n"
                    "RAISE NOTICE 'functions/%s';\n"
                    "EXECUTE $migration$%s$migration$;\n"
                    "INSERT INTO schema_functions (name, digest) VALUES ('%s', '%s') ON CONFLICT (name)\n"
                    "    DO UPDATE SET digest = EXCLUDED.digest, applied_at = now();\n"
                    "END IF;\n",
                    version, f->name, f->digest, f->name, f->sql, f->name, f->digest);
}

static void put_begin(struct text *script)
{
    /* A statement of its own: what follows must see what the lock's last holder did. */
    text_puts(script, "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('weir migrate', 0));\n"
                      "SELECT set_config('client_min_messages', 'notice', true);\n" /* what goes on is heard, whatever the role's default */
                      "DO $all$ BEGIN\n");
}

static void put_end(struct text *script)
{
    text_puts(script, "END $all$; COMMIT;\n");
}

/* What is embedded is quoted with $migration$, which no file may contain (a unit test looks). */
char *migrate_script(void)
{
    struct text script;
    text_init(&script);
    put_begin(&script);
    text_puts(
        &script,
        "IF NOT EXISTS (SELECT FROM pg_class WHERE relname = 'schema_migration' AND pg_table_is_visible(oid)) THEN\n"
        "    CREATE TABLE schema_migration (version integer PRIMARY KEY, name text NOT NULL,\n"
        "        applied_at timestamptz NOT NULL DEFAULT now());\n"
        "END IF;\n");
    for (const struct migration *m = migrations; m->version != 0; m++) {
        text_printf(&script,
                    "IF NOT EXISTS (SELECT FROM schema_migration WHERE version = %d) THEN\n"
                    "RAISE NOTICE 'migration %04d_%s';\n"
                    "EXECUTE $migration$%s$migration$;\n"
                    "INSERT INTO schema_migration (version, name) VALUES (%d, '%s');\n"
                    "END IF;\n",
                    m->version, m->version, m->name, m->sql, m->version, m->name);
        if (m->committed) {
            put_end(&script);
            put_begin(&script);
        }
    }
    put_functions(&script);
    put_end(&script);
    char *result = xstrdup(script.data);
    text_fini(&script);
    return result;
}

enum answer { NO, YES, FAILED };

static enum answer ask(PGconn *conn, const char *query)
{
    PGresult *result = PQexec(conn, query);
    enum answer answer = FAILED;
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        answer = strcmp(PQgetvalue(result, 0, 0), "t") == 0 ? YES : NO;
    else
        fprintf(stderr, "weir-coordinator: %s", PQerrorMessage(conn));
    PQclear(result);
    return answer;
}

static enum answer has_table(PGconn *conn, const char *name)
{
    char query[80];
    snprintf(query, sizeof query, "SELECT to_regclass('%s') IS NOT NULL", name);
    return ask(conn, query);
}

static enum answer has_migration(PGconn *conn, const struct migration *m)
{
    char query[80];
    snprintf(query, sizeof query, "SELECT EXISTS (SELECT FROM schema_migration WHERE version = %d)", m->version);
    return ask(conn, query);
}

static enum answer has_functions(PGconn *conn, const struct function_file *f)
{
    char query[320];
    snprintf(query, sizeof query, "SELECT " FUNCTIONS_ARE_THERE, newest_version(), f->name, f->digest);
    return ask(conn, query);
}

/* These print what is missing, and return how many, or -1. */
static int print_missing_migrations(PGconn *conn)
{
    enum answer any = has_table(conn, "schema_migration");
    int missing = 0;
    for (const struct migration *m = migrations; m->version != 0 && any != FAILED; m++) {
        enum answer has = any == YES ? has_migration(conn, m) : NO;
        if (has == FAILED)
            return -1;
        if (has == NO) {
            printf("%04d_%s\n", m->version, m->name);
            missing++;
        }
    }
    return any == FAILED ? -1 : missing;
}

static int print_missing_functions(PGconn *conn)
{
    enum answer any = has_table(conn, "schema_functions");
    int missing = 0;
    for (const struct function_file *f = function_files; f->name != NULL && any != FAILED; f++) {
        enum answer has = any == YES ? has_functions(conn, f) : NO;
        if (has == FAILED)
            return -1;
        if (has == NO) {
            printf("functions/%s\n", f->name);
            missing++;
        }
    }
    return any == FAILED ? -1 : missing;
}

static int print_missing(PGconn *conn)
{
    int count = print_missing_migrations(conn), functions = count < 0 ? -1 : print_missing_functions(conn);
    return functions < 0 ? -1 : count + functions;
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

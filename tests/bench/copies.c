/*
 * copies.c - weir-copies: how many rows a client brings into some tables, at best: COPY in binary form, many rows to a transaction, nothing else
 *
 *     weir-copies CONNINFO SCHEMA BATCH SECONDS TABLE...
 *
 * Each row is that of SCHEMA.one_TABLE with another id, which is its first column and has ID_LEN bytes; it goes into SCHEMA.TABLE. Prints how many of each there
 * were, and the seconds it took.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/memory.h"

#define HEADER_LEN 19 /* of COPY's binary form */
#define ID_AT      6  /* behind the number of columns and the id's length */
#define ID_LEN     20
#define TABLES_MAX 8

struct table {
    char *copy;    /* statement */
    char *bytes;   /* header, BATCH rows, trailer */
    size_t row_len, len;
};

static void expect(PGconn *conn, PGresult *result, ExecStatusType status)
{
    if (PQresultStatus(result) != status)
        fatal("%s", PQerrorMessage(conn));
    PQclear(result);
}

static struct table table_read(PGconn *conn, const char *schema, const char *name, size_t batch)
{
    static const char trailer[] = "\xff\xff";
    char *one = NULL, *part, *select = xasprintf("COPY (SELECT * FROM %s.one_%s LIMIT 1) TO STDOUT (FORMAT binary)", schema, name);
    size_t one_len = 0;
    int len;
    expect(conn, PQexec(conn, select), PGRES_COPY_OUT);
    while ((len = PQgetCopyData(conn, &part, 0)) > 0) {
        one = xrealloc(one, one_len + (size_t)len);
        memcpy(one + one_len, part, (size_t)len);
        one_len += (size_t)len;
        PQfreemem(part);
    }
    expect(conn, PQgetResult(conn), PGRES_COMMAND_OK);
    PQclear(PQgetResult(conn));
    uint32_t id_len = 0;
    if (one_len > HEADER_LEN + ID_AT + ID_LEN)
        memcpy(&id_len, one + HEADER_LEN + 2, sizeof id_len);
    if (ntohl(id_len) != ID_LEN)
        fatal("%s.one_%s has no row whose first column is an id of %d bytes", schema, name, ID_LEN);
    struct table table = { .row_len = one_len - HEADER_LEN - 2 };
    table.copy = xasprintf("COPY %s.%s FROM STDIN (FORMAT binary)", schema, name);
    table.len = HEADER_LEN + batch * table.row_len + 2;
    table.bytes = xmalloc(table.len);
    memcpy(table.bytes, one, HEADER_LEN);
    for (size_t i = 0; i < batch; i++)
        memcpy(table.bytes + HEADER_LEN + i * table.row_len, one + HEADER_LEN, table.row_len);
    memcpy(table.bytes + table.len - 2, trailer, 2);
    free(one);
    free(select);
    return table;
}

static void table_write(PGconn *conn, struct table *table, size_t batch, uint64_t first)
{
    char id[ID_LEN + 1];
    for (size_t i = 0; i < batch; i++) {
        snprintf(id, sizeof id, "%08x%012" PRIx64, (unsigned)getpid(), first + i);
        memcpy(table->bytes + HEADER_LEN + i * table->row_len + ID_AT, id, ID_LEN);
    }
    expect(conn, PQexec(conn, table->copy), PGRES_COPY_IN);
    if (PQputCopyData(conn, table->bytes, (int)table->len) != 1 || PQputCopyEnd(conn, NULL) != 1)
        fatal("%s", PQerrorMessage(conn));
    expect(conn, PQgetResult(conn), PGRES_COMMAND_OK);
    PQclear(PQgetResult(conn));
}

int main(int argc, char **argv)
{
    if (argc < 6 || argc > 5 + TABLES_MAX)
        fatal("usage: weir-copies CONNINFO SCHEMA BATCH SECONDS TABLE...");
    size_t batch = strtoul(argv[3], NULL, 10), count = (size_t)argc - 5;
    uint64_t rows = 0, begin, most_us = strtoull(argv[4], NULL, 10) * 1000000;
    struct table tables[TABLES_MAX];
    PGconn *conn = PQconnectdb(argv[1]);
    if (PQstatus(conn) != CONNECTION_OK || batch == 0)
        fatal("%s", PQerrorMessage(conn));
    for (size_t i = 0; i < count; i++)
        tables[i] = table_read(conn, argv[2], argv[5 + i], batch);
    for (begin = clock_us(); clock_us() - begin < most_us; rows += batch) {
        expect(conn, PQexec(conn, "BEGIN"), PGRES_COMMAND_OK);
        for (size_t i = 0; i < count; i++)
            table_write(conn, &tables[i], batch, rows);
        expect(conn, PQexec(conn, "COMMIT"), PGRES_COMMAND_OK);
    }
    printf("%" PRIu64 " %.6f\n", rows, (double)(clock_us() - begin) / 1e6);
    for (size_t i = 0; i < count; i++) {
        free(tables[i].copy);
        free(tables[i].bytes);
    }
    PQfinish(conn);
    return 0;
}

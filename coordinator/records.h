#ifndef WEIR_COORDINATOR_RECORDS_H
#define WEIR_COORDINATOR_RECORDS_H
/*
 * records.h - many rows as one array of a composite type in PostgreSQL's binary form, for "SELECT ... FROM unnest($1::TYPE[])"
 *
 * What rows.h makes has to be parsed by PostgreSQL letter by letter, and taken apart once for each column; this neither. So it is for what each message costs.
 * A row is filled field by field in the order of the type's attributes, each by the function of its type, and ended with records_end(). PostgreSQL checks that the
 * types are those; whatever bytes come in, they are valid.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/db.h"
#include "coordinator/text.h"

struct records {
    size_t fields;
    size_t count; /* rows ended */
    size_t field; /* next to fill */
    size_t row;   /* where the row that is being filled begins */
    struct text bytes;
};

void records_init(struct records *records, size_t fields);
void records_fini(struct records *records);
void records_text(struct records *records, const void *bytes, size_t len, size_t max); /* text: cleaned, at most max bytes */
void records_string(struct records *records, const char *string);                      /* text: our own, valid; NULL gives NULL */
void records_bytes(struct records *records, const void *bytes, size_t len);            /* bytea */
void records_boolean(struct records *records, bool value);
void records_smallint(struct records *records, int16_t number);
void records_integer(struct records *records, int32_t number);
void records_bigint(struct records *records, int64_t number);
void records_end(struct records *records);
/* A field of a row, as it is in PostgreSQL's form; NULL is "". Borrowed until more is added. Walks there: for a log. */
const char *records_field(const struct records *records, size_t row, size_t field, size_t *len);
/* Adds all rows of from, which has the same fields. */
void records_append(struct records *records, const struct records *from);
/* type: the OID of the composite type, as this database has it. Borrowed; more rows may be added after it. */
struct db_value records_value(struct records *records, uint32_t type);

#endif

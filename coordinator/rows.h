#ifndef WEIR_COORDINATOR_ROWS_H
#define WEIR_COORDINATOR_ROWS_H
/*
 * rows.h - many rows as one set of PostgreSQL array literals, one per column, for "SELECT ... FROM unnest($1::text[],
 * $2::int[], ...)"
 *
 * A row is filled column by column from the left and ended with rows_end(). Whatever bytes come in, the literals are
 * valid: one bad row must never fail the statement that carries its neighbours.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/text.h"

#define ROWS_COLUMNS_MAX 32

struct rows {
    size_t columns;
    size_t count;                        /* rows ended */
    size_t column;                       /* next to fill */
    bool closed;
    struct text cells[ROWS_COLUMNS_MAX]; /* "{a,b", closed by rows_values() */
    const char *values[ROWS_COLUMNS_MAX];
};

void rows_init(struct rows *rows, size_t columns);
void rows_fini(struct rows *rows);
void rows_reset(struct rows *rows);
void rows_text(struct rows *rows, const void *bytes, size_t len, size_t max); /* cleaned, at most max bytes */
void rows_string(struct rows *rows, const char *string);                      /* our own, valid text; NULL gives NULL */
void rows_number(struct rows *rows, int64_t number);
void rows_end(struct rows *rows);
/* Adds all rows of from, which has the same columns and is not closed. */
void rows_append(struct rows *rows, const struct rows *from);
/* Closes the literals. Borrowed, one per column; after this only rows_values() again, rows_reset() and rows_fini(). */
const char *const *rows_values(struct rows *rows);

#endif

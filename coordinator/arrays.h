#ifndef WEIR_COORDINATOR_ARRAYS_H
#define WEIR_COORDINATOR_ARRAYS_H
/*
 * arrays.h - arrays of PostgreSQL's own types in its binary form, to it and from it
 *
 * Beside rows.h (text, which PostgreSQL parses letter by letter) and records.h (whole rows): for a function that works on arrays, and for answers that would
 * be many short rows. PostgreSQL checks that the types are those.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/db.h"
#include "coordinator/text.h"

enum array_type { ARRAY_BOOLEAN = 16, ARRAY_BIGINT = 20, ARRAY_INTEGER = 23, ARRAY_TEXT = 25 }; /* PostgreSQL's OIDs */

struct array {
    enum array_type type;
    size_t count;
    struct text bytes;
};

void array_init(struct array *array, enum array_type type);
void array_fini(struct array *array);
void array_reset(struct array *array); /* empty again, memory kept */
/* Each for its type only. */
void array_boolean(struct array *array, bool value);
void array_integer(struct array *array, int32_t number);
void array_bigint(struct array *array, int64_t number);
void array_text(struct array *array, const void *bytes, size_t len, size_t max); /* cleaned, at most max bytes */
struct db_value array_value(struct array *array); /* borrowed until more is added */

/* Of a result with binary rows: its elements, where there are so many of that type and no NULL among them; NULL otherwise. Element n is array_at(begin, type, n). */
const char *array_elements(const PGresult *result, int row, int column, enum array_type type, size_t count);
int64_t array_at(const char *elements, enum array_type type, size_t n); /* ARRAY_BOOLEAN, _INTEGER, _BIGINT */

#endif

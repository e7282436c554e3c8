#ifndef WEIR_COORDINATOR_SPOOL_ARRAY_H
#define WEIR_COORDINATOR_SPOOL_ARRAY_H
/*
 * array.h - many byte strings as one bytea[] in PostgreSQL's binary form
 *
 * As text each byte of a body would take two, and a backslash in between.
 */
#include <stddef.h>
#include "coordinator/db.h"
#include "coordinator/text.h"

struct array {
    struct text bytes;
    size_t count;
};

void array_init(struct array *array);
void array_fini(struct array *array);
void array_add(struct array *array, const void *data, size_t len);
/* Borrowed until the array changes. */
struct db_value array_value(struct array *array);

#endif

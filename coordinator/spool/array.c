/*
 * array.c - many byte strings as one bytea[] in PostgreSQL's binary form
 *
 * The form (array_send() of PostgreSQL): dimensions, whether there are NULLs, the element type's OID; for each
 * dimension its length and lower bound; then each element's length and bytes. Integers are 32 bits, network order.
 */
#include "coordinator/spool/array.h"

#include <arpa/inet.h>
#include <string.h>

#define BYTEA_OID   17
#define HEADER_LEN  20
#define EMPTY_LEN   12 /* no dimension, so no length and bound */

static void put(char *at, uint32_t number)
{
    number = htonl(number);
    memcpy(at, &number, sizeof number);
}

void array_init(struct array *array)
{
    static const char header[HEADER_LEN];
    text_init(&array->bytes);
    text_add(&array->bytes, header, sizeof header);
    array->count = 0;
}

void array_fini(struct array *array)
{
    text_fini(&array->bytes);
    array->count = 0;
}

void array_add(struct array *array, const void *data, size_t len)
{
    char length[4];
    put(length, (uint32_t)len);
    text_add(&array->bytes, length, sizeof length);
    if (len > 0)
        text_add(&array->bytes, data, len);
    array->count++;
}

struct db_value array_value(struct array *array)
{
    char *header = array->bytes.data;
    put(header, array->count > 0 ? 1 : 0);
    put(header + 4, 0);
    put(header + 8, BYTEA_OID);
    put(header + 12, (uint32_t)array->count);
    put(header + 16, 1);
    return (struct db_value){ header, array->count > 0 ? array->bytes.len : EMPTY_LEN, true };
}

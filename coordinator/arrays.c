/*
 * arrays.c - arrays of PostgreSQL's own types in its binary form, to it and from it
 *
 * The form (array_send() of PostgreSQL): dimensions, whether there are NULLs, the OID of the elements' type, the dimension's length and lower bound; then of each
 * element its length (-1: NULL) and its bytes. All integers are in network order, those of the form itself of 32 bits.
 */
#include "coordinator/arrays.h"

#include <arpa/inet.h>
#include <endian.h>
#include <string.h>
#include "common/error.h"
#include "coordinator/binary.h"

#define HEADER_LEN 20
#define EMPTY_LEN  12 /* no dimension, so no length and bound */

void array_init(struct array *array, enum array_type type)
{
    *array = (struct array){ .type = type };
    text_init(&array->bytes);
    array_reset(array);
}

void array_fini(struct array *array)
{
    text_fini(&array->bytes);
    *array = (struct array){ 0 };
}

void array_reset(struct array *array)
{
    static const char header[HEADER_LEN];
    array->count = 0;
    text_reset(&array->bytes);
    text_add(&array->bytes, header, sizeof header);
}

static void add(struct array *array, enum array_type type, const void *bytes, uint32_t len)
{
    char head[4 + sizeof(uint64_t)];
    weir_assert(array->type == type);
    binary_put(head, len);
    if (len <= sizeof(uint64_t)) { /* in one piece */
        memcpy(head + 4, bytes, len);
        text_add(&array->bytes, head, 4 + len);
    } else {
        text_add(&array->bytes, head, 4);
        text_add(&array->bytes, bytes, len);
    }
    array->count++;
}

void array_boolean(struct array *array, bool value)
{
    add(array, ARRAY_BOOLEAN, value ? "\1" : "\0", 1);
}

void array_integer(struct array *array, int32_t number)
{
    uint32_t bytes = htonl((uint32_t)number);
    add(array, ARRAY_INTEGER, &bytes, sizeof bytes);
}

void array_bigint(struct array *array, int64_t number)
{
    uint64_t bytes = htobe64((uint64_t)number);
    add(array, ARRAY_BIGINT, &bytes, sizeof bytes);
}

void array_text(struct array *array, const void *bytes, size_t len, size_t max)
{
    if (len <= max && text_is_plain(bytes, len)) {
        add(array, ARRAY_TEXT, len > 0 ? bytes : "", (uint32_t)len);
        return;
    }
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, bytes, len, max);
    add(array, ARRAY_TEXT, clean.data, (uint32_t)clean.len);
    text_fini(&clean);
}

struct db_value array_value(struct array *array)
{
    char *header = array->bytes.data;
    binary_put(header, array->count > 0 ? 1 : 0);
    binary_put(header + 4, 0);
    binary_put(header + 8, array->type);
    binary_put(header + 12, (uint32_t)array->count);
    binary_put(header + 16, 1);
    return (struct db_value){ header, array->count > 0 ? array->bytes.len : EMPTY_LEN, true };
}

/* 0: it has no fixed length, and is not read here. */
static size_t element_len(enum array_type type)
{
    return type == ARRAY_BOOLEAN ? 1 : type == ARRAY_INTEGER ? 4 : type == ARRAY_BIGINT ? 8 : 0;
}

const char *array_elements(const PGresult *result, int row, int column, enum array_type type, size_t count)
{
    const char *at = PQgetvalue(result, row, column);
    size_t len = element_len(type);
    weir_assert(len > 0);
    if (PQgetisnull(result, row, column) || PQfformat(result, column) != 1 || count == 0 || (size_t)PQgetlength(result, row, column) != HEADER_LEN + count * (4 + len) ||
        binary_get(at) != 1 || binary_get(at + 4) != 0 || binary_get(at + 8) != (uint32_t)type || binary_get(at + 12) != count)
        return NULL;
    return at + HEADER_LEN;
}

int64_t array_at(const char *elements, enum array_type type, size_t n)
{
    size_t len = element_len(type);
    const char *at = elements + n * (4 + len) + 4;
    uint64_t bytes;
    if (type == ARRAY_BOOLEAN)
        return *at != 0;
    if (type == ARRAY_INTEGER)
        return (int32_t)binary_get(at);
    memcpy(&bytes, at, sizeof bytes);
    return (int64_t)be64toh(bytes);
}

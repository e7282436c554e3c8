/*
 * records.c - many rows as one array of a composite type
 *
 * The form (array_send() and record_send() of PostgreSQL): dimensions, whether there are NULLs, the element type's OID, the dimension's length and lower bound;
 * then of each element its length and the number of its fields, and of each field the OID of its type, its length (-1: NULL) and its bytes. Integers are
 * in network order, lengths of 32 bits.
 */
#include "coordinator/records.h"

#include <arpa/inet.h>
#include <endian.h>
#include <string.h>
#include "common/error.h"
#include "coordinator/binary.h"

#define HEADER_LEN 20
#define EMPTY_LEN  12 /* no dimension, so no length and bound */
#define NO_VALUE   UINT32_MAX

enum { BOOLEAN_OID = 16, BYTEA_OID = 17, BIGINT_OID = 20, SMALLINT_OID = 21, INTEGER_OID = 23, TEXT_OID = 25 };

void records_init(struct records *records, size_t fields)
{
    static const char header[HEADER_LEN];
    *records = (struct records){ .fields = fields };
    text_init(&records->bytes);
    text_add(&records->bytes, header, sizeof header);
}

void records_fini(struct records *records)
{
    text_fini(&records->bytes);
    *records = (struct records){ 0 };
}

static void add_field(struct records *records, uint32_t oid, const void *bytes, uint32_t len)
{
    char head[16];
    size_t begin = 8;
    weir_assert(records->field < records->fields);
    if (records->field++ == 0) {
        records->row = records->bytes.len;
        begin = 0; /* with the element's length, which is known at its end, and its number of fields */
        binary_put(head + 4, (uint32_t)records->fields);
    }
    binary_put(head + 8, oid);
    binary_put(head + 12, len);
    text_add(&records->bytes, head + begin, sizeof head - begin);
    if (len != NO_VALUE)
        text_add(&records->bytes, bytes, len);
}

void records_text(struct records *records, const void *bytes, size_t len, size_t max)
{
    if (len <= max && text_is_plain(bytes, len)) {
        add_field(records, TEXT_OID, bytes, (uint32_t)len);
        return;
    }
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, bytes, len, max);
    add_field(records, TEXT_OID, clean.data, (uint32_t)clean.len);
    text_fini(&clean);
}

void records_string(struct records *records, const char *string)
{
    add_field(records, TEXT_OID, string, string != NULL ? (uint32_t)strlen(string) : NO_VALUE);
}

void records_bytes(struct records *records, const void *bytes, size_t len)
{
    add_field(records, BYTEA_OID, bytes, (uint32_t)len);
}

void records_boolean(struct records *records, bool value)
{
    add_field(records, BOOLEAN_OID, value ? "\1" : "\0", 1);
}

void records_smallint(struct records *records, int16_t number)
{
    uint16_t bytes = htons((uint16_t)number);
    add_field(records, SMALLINT_OID, &bytes, sizeof bytes);
}

void records_integer(struct records *records, int32_t number)
{
    uint32_t bytes = htonl((uint32_t)number);
    add_field(records, INTEGER_OID, &bytes, sizeof bytes);
}

void records_bigint(struct records *records, int64_t number)
{
    uint64_t bytes = htobe64((uint64_t)number);
    add_field(records, BIGINT_OID, &bytes, sizeof bytes);
}

void records_end(struct records *records)
{
    weir_assert(records->field == records->fields);
    binary_put(records->bytes.data + records->row, (uint32_t)(records->bytes.len - records->row - 4));
    records->field = 0;
    records->count++;
}

const char *records_field(const struct records *records, size_t row, size_t field, size_t *len)
{
    const char *at = records->bytes.data + HEADER_LEN;
    weir_assert(row < records->count && field < records->fields);
    while (row-- > 0)
        at += 4 + binary_get(at);
    for (at += 8; field-- > 0;)
        at += 8 + (binary_get(at + 4) == NO_VALUE ? 0 : binary_get(at + 4));
    *len = binary_get(at + 4) == NO_VALUE ? 0 : binary_get(at + 4);
    return at + 8;
}

void records_append(struct records *records, const struct records *from)
{
    weir_assert(records->fields == from->fields && records->field == 0 && from->field == 0);
    text_add(&records->bytes, from->bytes.data + HEADER_LEN, from->bytes.len - HEADER_LEN);
    records->count += from->count;
}

struct db_value records_value(struct records *records, uint32_t type)
{
    char *header = records->bytes.data;
    weir_assert(records->field == 0);
    binary_put(header, records->count > 0 ? 1 : 0);
    binary_put(header + 4, 0);
    binary_put(header + 8, type);
    binary_put(header + 12, (uint32_t)records->count);
    binary_put(header + 16, 1);
    return (struct db_value){ header, records->count > 0 ? records->bytes.len : EMPTY_LEN, true };
}

/*
 * rows.c - many rows as one set of PostgreSQL array literals
 */
#include <string.h>
#include "common/error.h"
#include "coordinator/rows.h"

void rows_init(struct rows *rows, size_t columns)
{
    weir_assert(columns > 0 && columns <= ROWS_COLUMNS_MAX);
    *rows = (struct rows){ .columns = columns };
    for (size_t i = 0; i < columns; i++)
        text_init(&rows->cells[i]);
    rows_reset(rows);
}

void rows_fini(struct rows *rows)
{
    for (size_t i = 0; i < rows->columns; i++)
        text_fini(&rows->cells[i]);
    *rows = (struct rows){ 0 };
}

void rows_reset(struct rows *rows)
{
    rows->count = rows->column = 0;
    rows->closed = false;
    for (size_t i = 0; i < rows->columns; i++) {
        text_reset(&rows->cells[i]);
        text_puts(&rows->cells[i], "{");
    }
}

static struct text *rows_next_cell(struct rows *rows)
{
    weir_assert(rows->column < rows->columns && !rows->closed);
    struct text *cell = &rows->cells[rows->column++];
    if (rows->count > 0)
        text_add(cell, ",", 1);
    return cell;
}

static void add_quoted(struct text *cell, const char *bytes, size_t len)
{
    text_puts(cell, "\"");
    while (len > 0) {
        size_t plain = 0;
        while (plain < len && bytes[plain] != '"' && bytes[plain] != '\\')
            plain++;
        text_add(cell, bytes, plain);
        if (plain == len)
            break;
        text_puts(cell, "\\");
        text_add(cell, bytes + plain, 1);
        bytes += plain + 1;
        len -= plain + 1;
    }
    text_puts(cell, "\"");
}

void rows_text(struct rows *rows, const void *bytes, size_t len, size_t max)
{
    struct text clean;
    if (len <= max && text_is_plain(bytes, len)) {
        struct text *cell = rows_next_cell(rows);
        text_add(cell, "\"", 1);
        text_add(cell, bytes, len);
        text_add(cell, "\"", 1);
        return;
    }
    text_init(&clean);
    text_add_clean(&clean, bytes, len, max);
    add_quoted(rows_next_cell(rows), clean.data, clean.len);
    text_fini(&clean);
}

void rows_string(struct rows *rows, const char *string)
{
    struct text *cell = rows_next_cell(rows);
    if (string == NULL)
        text_puts(cell, "NULL");
    else
        add_quoted(cell, string, strlen(string));
}

void rows_number(struct rows *rows, int64_t number)
{
    char digits[24], *at = digits + sizeof digits; /* not printf: it is a good part of what a row costs */
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (number < 0)
        *--at = '-';
    text_add(rows_next_cell(rows), at, (size_t)(digits + sizeof digits - at));
}

void rows_end(struct rows *rows)
{
    weir_assert(rows->column == rows->columns);
    rows->column = 0;
    rows->count++;
}

void rows_append(struct rows *rows, const struct rows *from)
{
    weir_assert(rows->columns == from->columns && rows->column == 0 && from->column == 0);
    if (from->count == 0)
        return;
    for (size_t i = 0; i < rows->columns; i++) {
        if (rows->count > 0)
            text_puts(&rows->cells[i], ",");
        text_add(&rows->cells[i], from->cells[i].data + 1, from->cells[i].len - 1);
    }
    rows->count += from->count;
}

const char *const *rows_values(struct rows *rows)
{
    weir_assert(rows->column == 0);
    for (size_t i = 0; i < rows->columns; i++) {
        if (!rows->closed)
            text_puts(&rows->cells[i], "}");
        rows->values[i] = rows->cells[i].data;
    }
    rows->closed = true;
    return rows->values;
}

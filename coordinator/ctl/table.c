/*
 * table.c - aligned columns for people
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/error.h"
#include "common/memory.h"
#include "coordinator/ctl/table.h"
#include "coordinator/text.h"

struct table {
    size_t columns, cells, cap;
    const char *titles[TABLE_COLUMNS_MAX];
    bool right[TABLE_COLUMNS_MAX];
    char **text;
};

struct table *table_new(const char *const *titles, size_t count)
{
    weir_assert(count > 0 && count <= TABLE_COLUMNS_MAX);
    struct table *table = xcalloc(1, sizeof *table);
    table->columns = count;
    for (size_t i = 0; i < count; i++) {
        table->right[i] = titles[i][0] == '>';
        table->titles[i] = titles[i] + (table->right[i] ? 1 : 0);
    }
    return table;
}

void table_free(struct table **freed)
{
    struct table *table = *freed;
    *freed = NULL;
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->cells; i++)
        free(table->text[i]);
    free(table->text);
    free(table);
}

void table_add(struct table *table, const char *cell)
{
    if (table->cells == table->cap) {
        table->cap = table->cap == 0 ? 64 : table->cap * 2;
        table->text = xrealloc(table->text, table->cap * sizeof *table->text);
    }
    struct text clean;
    text_init(&clean);
    if (cell != NULL && cell[0] != '\0')
        text_add_clean(&clean, cell, strlen(cell), SIZE_MAX);
    else
        text_puts(&clean, "-");
    table->text[table->cells++] = xstrdup(clean.data);
    text_fini(&clean);
}

size_t table_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80; /* not the rest of a character */
    return width;
}

void table_add_clean(struct table *table, const char *text, size_t most)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, text, strlen(text), most);
    table_add(table, clean.data);
    text_fini(&clean);
}

static void print_row(const struct table *table, char *const *cells, const size_t *widths, FILE *out)
{
    for (size_t i = 0; i < table->columns; i++) {
        int pad = (int)(widths[i] - table_width(cells[i]));
        bool last = i + 1 == table->columns;
        if (table->right[i])
            fprintf(out, "%*s%s", pad, "", cells[i]);
        else
            fprintf(out, "%s%*s", cells[i], last ? 0 : pad, "");
        fputs(last ? "\n" : "  ", out);
    }
}

void table_print(const struct table *table, FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX];
    char *titles[TABLE_COLUMNS_MAX];
    weir_assert(table->cells % table->columns == 0);
    for (size_t i = 0; i < table->columns; i++) {
        titles[i] = (char *)(uintptr_t)table->titles[i];
        widths[i] = table_width(table->titles[i]);
    }
    for (size_t i = 0; i < table->cells; i++) {
        size_t width = table_width(table->text[i]), column = i % table->columns;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    print_row(table, titles, widths, out);
    for (size_t i = 0; i < table->cells; i += table->columns)
        print_row(table, table->text + i, widths, out);
}

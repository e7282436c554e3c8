#ifndef WEIR_CTL_TABLE_H
#define WEIR_CTL_TABLE_H
/*
 * table.h - aligned columns for people
 *
 * Columns are as wide as their widest cell, counted in characters, two blanks apart; a column of numbers is aligned
 * right; the last one is not padded. Bytes that would move the cursor are shown as \xNN.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table;

/* titles: count static strings. A title that begins with '>' makes a column aligned right. */
struct table *table_new(const char *const *titles, size_t count);
void table_free(struct table **table);
void table_add(struct table *table, const char *cell); /* the next cell, row by row; NULL or "" is shown as "-" */
/* The same with text of the mail world: cleaned, and at most so many bytes of it. */
void table_add_clean(struct table *table, const char *text, size_t most);
void table_print(const struct table *table, FILE *out);

/* Columns that text takes on a terminal, for UTF-8 without wide characters. */
size_t table_width(const char *text);

#endif

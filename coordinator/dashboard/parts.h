#ifndef WEIR_COORDINATOR_DASHBOARD_PARTS_H
#define WEIR_COORDINATOR_DASHBOARD_PARTS_H
/*
 * parts.h - what the pages are made of
 */
#include "coordinator/dashboard/page.h"

const char *part_word(const json_t *object, const char *key); /* "" where it is none */
double part_number(const json_t *object, const char *key);    /* 0 where it is none */
const char *part_span(char *out, size_t cap, double seconds);   /* "4 min" */
const char *part_amount(char *out, size_t cap, double amount);  /* "0.5", "12", "3.4k" */

void part_begin(struct text *out, const struct page_who *who, const char *title, bool live); /* live: the script keeps it up to date */
void part_end(struct text *out);
void part_cell(struct text *out, const char *label, const char *text); /* label: of the column, for a phone */
void part_moment(struct text *out, const char *label, const char *moment); /* ISO 8601 */
/* A button that asks for a reason first. verb, back and button are our own words. */
void part_form(struct text *out, const struct page_who *who, const char *verb, const char *target, const char *act, const char *back, const char *button, bool grave);

#endif

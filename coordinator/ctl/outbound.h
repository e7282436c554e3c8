#ifndef WEIR_CTL_OUTBOUND_H
#define WEIR_CTL_OUTBOUND_H
/*
 * outbound.h - accounts and inside hosts that are slowed down or stopped, as a person wants to read it
 */
#include <jansson.h>
#include <stdio.h>

/* Of the verbs "outbound list", "outbound show" and "outbound release". */
void outbound_print_list(const json_t *list, FILE *out);
void outbound_print_one(const json_t *body, FILE *out);
void outbound_print_pool(const json_t *body, FILE *out);
void outbound_print_release(const json_t *body, FILE *out);
/* The lines of status, where there is anything to say. */
void outbound_print_status(const json_t *counts, FILE *out);

#endif

#ifndef WEIR_CTL_OVERRIDE_H
#define WEIR_CTL_OVERRIDE_H
/*
 * override.h - what operators allow against the cluster's judgement, and who has to agree, as people read it
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Of the verbs "override list", "approve" and "refuse". */
void override_print_list(const json_t *body, FILE *out);
void override_print_decided(const json_t *body, FILE *out);
/* The answer of any verb that may need a second operator: true: it waits for one, and that was said. */
bool override_print_pending(const json_t *body, FILE *out);
/* What was said of a message, of its row of the audit; nothing where no override let it through. */
void override_print_trace(const json_t *row, FILE *out);

#endif

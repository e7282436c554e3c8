#ifndef WEIR_CTL_REPUTATION_H
#define WEIR_CTL_REPUTATION_H
/*
 * reputation.h - what coordinators counted of clients and accounts, and what edges do with them, as people read it
 */
#include <jansson.h>
#include <stdio.h>
#include "coordinator/ctl/explain.h"

/* Of the verbs "reputation show", "set" and "forget". */
void reputation_print(const json_t *body, FILE *out);
void reputation_print_set(const json_t *body, FILE *out);
void reputation_print_forgotten(const json_t *body, FILE *out);

/* body: of the verb "reputation explain". Adds "inside": the policy lets the client be whatever it did, and the line that says so. NULL: why. */
json_t *explain_reputation(const struct explained_policy *policy, const char *body, struct error *why);
void explain_reputation_print(const char *verb, const json_t *body, FILE *out);

#endif

#ifndef WEIR_CTL_REPORT_H
#define WEIR_CTL_REPORT_H
/*
 * report.h - who was turned away and where viruses came from, with what the policy says of those clients
 */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include "coordinator/ctl/explain.h"

/* body: of the verb "report". Adds to each client "network" and "line" (of `networks`, where one covers it), "inside", and "owner" (of its exception). */
void report_explain(json_t *body, const struct explained_policy *policy, int64_t now);
void report_print(const json_t *body, FILE *out);

#endif

#ifndef WEIR_COORDINATOR_CTL_OPERATORS_H
#define WEIR_COORDINATOR_CTL_OPERATORS_H
/*
 * operators.h - who may log in at the dashboard, for people
 */
#include <jansson.h>
#include <stdio.h>

/* body: of "operator list", or one of them; or that another operator has to approve it. */
void operators_print(const json_t *body, FILE *out);

#endif

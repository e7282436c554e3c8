#ifndef WEIR_CTL_REPUTATION_H
#define WEIR_CTL_REPUTATION_H
/*
 * reputation.h - what coordinators counted of clients and accounts, and what edges do with them, as people read it
 */
#include <jansson.h>
#include <stdio.h>
#include "coordinator/ctl/explain.h"
#include "coordinator/ctl/request.h"

/* Of the verbs "reputation show", "set" and "forget". */
void reputation_print(const json_t *body, FILE *out);
void reputation_print_set(const json_t *body, FILE *out);
void reputation_print_forgotten(const json_t *body, FILE *out);

/* Asks for the parts that the answer to "reputation forget-all" says are left, until none is; reply becomes the sum. span: as the first was asked, NULL: ever. */
void reputation_forget_on(struct requester *requester, const char *span, struct reply *reply);

/* What to ask "reputation explain" about: the address of a registered host is that host. Returns wanted, or out. */
#define HOST_KEY_MAX (NETADDR_TEXT_MAX + 8)
const char *explained_key(const struct explained_policy *policy, const char *wanted, char out[HOST_KEY_MAX]);
/* body: of the verb "reputation explain". Adds "inside": the policy lets the client be whatever it did, and the line that says so; of a registered host its line. NULL: why. */
json_t *explain_reputation(const struct explained_policy *policy, const char *body, struct error *why);
void explain_reputation_print(const char *verb, const json_t *body, FILE *out);

#endif

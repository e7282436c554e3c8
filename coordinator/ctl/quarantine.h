#ifndef WEIR_CTL_QUARANTINE_H
#define WEIR_CTL_QUARANTINE_H
/*
 * quarantine.h - weirctl quarantine: what is asked, and the answers as a person wants to read them
 *
 * A message in the quarantine was sent to do harm, as likely as not: nothing of it is printed but as text without control characters, and nothing of it is
 * written to a file but by --raw.
 */
#include <jansson.h>
#include <stdio.h>
#include "coordinator/ctl/options.h"
#include "coordinator/ctl/request.h"

/* One of the verbs "quarantine ...": acts go on until all that is meant is done. The caller clears the reply. */
void quarantine_ask(const struct options *options, struct requester *requester, struct reply *reply);
/* show --raw: the message as it came into the file, which must not be there. An exit status. */
int quarantine_save(const struct options *options, struct requester *requester, FILE *errors);

void quarantine_print_list(const json_t *list, FILE *out);
void quarantine_print_one(const json_t *body, FILE *out);
void quarantine_print_act(const json_t *body, FILE *out);

#endif

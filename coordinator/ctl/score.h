#ifndef WEIR_CTL_SCORE_H
#define WEIR_CTL_SCORE_H
/*
 * score.h - weirctl score --local: what the spam engines say of a message in a file, symbol by symbol
 *
 * The engines that [spam] names are asked from this machine, as a scanner asks them; nothing is delivered, and no coordinator is needed. What the cluster's scanners
 * say is asked by learn.h.
 */
#include <jansson.h>
#include <stdio.h>
#include "coordinator/ctl/options.h"
#include "coordinator/text.h"

/* Prints the result and returns an exit status of sysexits.h. options->args: the file, and perhaps the client's address. */
int score_file(const struct options *options);

/* For people: what coordinator/spam_json.h makes. */
void score_print(const json_t *said, FILE *out);
/* A message as it would come by SMTP, which the caller frees. */
char *score_with_crlf(const struct text *file, size_t *len);

#endif

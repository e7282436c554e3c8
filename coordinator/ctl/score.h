#ifndef WEIR_CTL_SCORE_H
#define WEIR_CTL_SCORE_H
/*
 * score.h - weirctl score: what the spam engines say of a message in a file, symbol by symbol
 *
 * The engines that [spam] names are asked from this machine, as a scanner asks them; nothing is delivered, and no coordinator is needed.
 */
#include "coordinator/ctl/options.h"

/* Prints the result and returns an exit status of sysexits.h. options->args: the file, and perhaps the client's address. */
int score_file(const struct options *options);

#endif

#ifndef WEIR_CTL_LEARN_H
#define WEIR_CTL_LEARN_H
/*
 * learn.h - weirctl learn: what the native spam engine is taught; and weirctl score: what a scanner of the cluster says of a message, with what was learned
 *
 * Both have a message looked at by whichever scanner has room. What returns an int returns an exit status of sysexits.h.
 */
#include "coordinator/ctl/options.h"

int learn_run(const struct options *options);
int learn_score(const struct options *options);

#endif

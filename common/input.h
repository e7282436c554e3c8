#ifndef WEIR_COMMON_INPUT_H
#define WEIR_COMMON_INPUT_H
/* input.h - opens what an operator named to be read: a file, or a pipe as the shell makes one of <(command) */
#include "common/error.h"

#define INPUT_WAIT_MS 10000 /* for the first byte of a pipe */

/* A descriptor to read to its end, which the caller closes; or -1 with the words in why and the error in errno (ETIMEDOUT: a
 * pipe into which nobody writes; a plain open() would wait for ever). */
int input_open(const char *path, struct error *why);

#endif

#ifndef WEIR_COMMON_INPUT_H
#define WEIR_COMMON_INPUT_H
/* input.h - opens what an operator named to be read: a file, or a pipe as the shell makes one of <(command) */
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"

#define INPUT_WAIT_MS 10000 /* for the first byte of a pipe */

/* A descriptor to read to its end, which the caller closes; or -1 with the words in why and the error in errno (ETIMEDOUT: a
 * pipe into which nobody writes; a plain open() would wait for ever). */
int input_open(const char *path, struct error *why);
/* The first line, without its end, of less than cap bytes. false: why. Part of it may be in out all the same, if it is a secret. */
bool input_read_line(const char *path, char *out, size_t cap, struct error *why);
/* Of what a library opens, which would wait for ever at a pipe, and what is read more than once. false: why. What cannot be looked at is fine: who
 * opens it will say so. */
bool input_is_no_pipe(const char *path, struct error *why);

#endif

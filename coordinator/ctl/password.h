#ifndef WEIR_CTL_PASSWORD_H
#define WEIR_CTL_PASSWORD_H
/*
 * password.h - a new password, from a terminal or a pipe, as a hash
 *
 * It is hashed here: it travels nowhere, and is in no command line.
 */
#include <stdbool.h>
#include "common/error.h"

#define PASSWORD_MIN 8
#define PASSWORD_MAX 511 /* libcrypt's, and what the wire takes */

/* Asks twice, without echo, when stdin is a terminal; else reads one line. hash: yescrypt, the caller frees it. */
bool password_read_hash(char **hash, struct error *why);

#endif

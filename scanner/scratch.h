#ifndef WEIR_SCANNER_SCRATCH_H
#define WEIR_SCANNER_SCRATCH_H
/*
 * scratch.h - folders for temporary files that nobody forgets
 *
 * A scanner has one run folder, locked as long as its master lives; generations and workers have folders in it. What a killed
 * scanner left behind is not locked any more, and the next scanner to start on that tmp_dir removes it.
 */
#include <limits.h>
#include <stdbool.h>
#include "common/error.h"

/* Removes what dead scanners left in tmp_dir, then makes and locks an own folder there. lock: close it to give the folder up. */
bool scratch_new(const char *tmp_dir, char out[PATH_MAX], int *lock, struct error *why);

/* Makes and locks the own folder again when somebody (systemd-tmpfiles, an operator) has removed it. */
bool scratch_keep(const char *folder, int *lock, struct error *why);

/* Removes a folder and everything in it; follows no symbolic link. */
void scratch_remove(const char *folder);

#endif

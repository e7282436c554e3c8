#ifndef WEIR_SCANNER_ZYGOTE_H
#define WEIR_SCANNER_ZYGOTE_H
/*
 * zygote.h - one generation: the process that loads the signatures once and forks workers that share them
 */
#include <stdint.h>

/*
 * The zygote's whole life, in a fresh exec of this program. channel: to the master; parent: the master's pid. Returns the exit status.
 * Reads CONFIG, loads, proves with a sandboxed child that a test virus is found and a clean mail is not, says LOADED; then forks
 * workers as asked and reports their deaths, until the channel ends. Leaves no child behind.
 */
int zygote_main(int channel, int32_t parent);

#endif

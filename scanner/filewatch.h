#ifndef WEIR_SCANNER_FILEWATCH_H
#define WEIR_SCANNER_FILEWATCH_H
/*
 * filewatch.h - whether any file operation of this process failed for want of room
 *
 * libclamav writes parts of a message to temporary files and does not look at every result: with a full folder a small part becomes an
 * empty file, and the answer is "clean". So the calls that libclamav makes for its files are taken by functions of the same names in
 * our program, which remember a failure and otherwise are the C library's.
 */

void filewatch_begin(void);   /* forgets what was */
int filewatch_failure(void);  /* errno of the first failure since, or 0 */

#endif

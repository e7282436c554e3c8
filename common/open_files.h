#ifndef WEIR_COMMON_OPEN_FILES_H
#define WEIR_COMMON_OPEN_FILES_H
/* open_files.h - how many descriptors this process may have open */
#include <stdint.h>

/* Raises the limit as far as it goes (RLIMIT_NOFILE: the soft one to the hard one). Says in the log where that is less than
 * may be needed, and which settings need them: "slots". */
void open_files_raise(uint64_t needed, const char *settings);

#endif

#ifndef WEIR_DEPLOY_TOOL_H
#define WEIR_DEPLOY_TOOL_H
/* tool.h - what the test tools share: words on stderr, numbers and endpoints from the command line */
#include <stdint.h>
#include "common/netaddr.h"

#define TOOL_USAGE 64 /* sysexits.h EX_USAGE */

extern const char *tool_name; /* set by main */

/* "NAME: words" on stderr, exit with status. */
_Noreturn void tool_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A whole decimal number in min..max, or tool_fail() with the option's name. */
uint64_t tool_number(const char *option, const char *text, uint64_t min, uint64_t max);
/* HOST:PORT, [V6]:PORT; a name is looked up (blocking), its first address counts. tool_fail() when it is none. */
struct netaddr tool_endpoint(const char *text);
/* As many descriptors as the system lets us have; SIGPIPE is ignored. */
void tool_prepare(void);

#endif

#ifndef WEIR_COMMON_CLOCK_H
#define WEIR_COMMON_CLOCK_H
/* clock.h - monotonic for intervals and deadlines, wall time for what people and other hosts read, CPU time for what work costs */
#include <stdint.h>

uint64_t clock_ms(void);      /* monotonic milliseconds; never jumps */
uint64_t clock_us(void);      /* monotonic microseconds */
uint64_t clock_cpu_us(void);  /* microseconds that this thread has run: not while others have the processor */
uint64_t clock_wall_ms(void); /* milliseconds since 1970, may jump */
/* RFC 5322 date-time in local time, e.g. "Sat, 21 Nov 2026 18:48:48 +0000"; out needs 40 bytes. Returns out. */
char *clock_rfc5322(char out[40]);

#endif

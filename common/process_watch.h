#ifndef WEIR_COMMON_PROCESS_WATCH_H
#define WEIR_COMMON_PROCESS_WATCH_H
/*
 * process_watch.h - whether a process that does nothing could do something
 *
 * One that may run and got no processor since the last look is starved: its silence says nothing about it. One that spins uses
 * the processor; one that is blocked or stopped does not want it.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process_watch {   /* zeros: not looked at yet */
    bool seen;
    uint64_t used;       /* user and system time at the last look, in clock ticks */
};

/* stat: what /proc/PID/stat, or a thread's, says (proc(5)), zero-terminated. True when the process was starved since the last look; false at the
 * first one, and where the text is not understood. */
bool process_watch_take(struct process_watch *watch, const char *stat);
/* The same with the main thread of a process of this machine (its other threads may get a processor); false when there is none. */
bool process_watch_look(struct process_watch *watch, pid_t pid);

#endif

#ifndef WEIR_SCANNER_SANDBOX_H
#define WEIR_SCANNER_SANDBOX_H
/*
 * sandbox.h - a process that parses hostile bytes can do that and nothing else
 *
 * Two steps. The zygote isolates itself once (own network namespace without any interface, where the kernel lets us); its workers
 * inherit that. Each worker then locks itself: resource limits, no capabilities, no new privileges, files only below its own
 * temporary folder and no signals to others (Landlock, where the kernel has it), and a list of system calls measured with ClamAV's own
 * test files and real mail; any other call kills it. Descriptors that were open before are not taken away: the worker does that.
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"

struct sandbox_limits {
    uint64_t memory;    /* address space above what the process has now; 0: no limit */
    uint64_t file_size; /* of one temporary file */
};

/* false: the kernel refuses; said in the debug log. */
bool sandbox_isolate(void);

/* Whether the kernel confines files; without that, only their own permissions protect them from a worker that was taken over. */
bool sandbox_has_landlock(void);

/* Resource limits only; for workers with the sandbox turned off, and the first part of sandbox_lock(). */
bool sandbox_limit(const struct sandbox_limits *limits, struct error *why);

/* tmp_dir: the only place where files can be made or opened from now on. */
bool sandbox_lock(const char *tmp_dir, struct error *why);

/* CPU seconds from now on until SIGXCPU: a clock that runs even when the master hangs. */
void sandbox_limit_cpu(uint32_t seconds);

#endif

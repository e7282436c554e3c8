#ifndef WEIR_SCANNER_WORKER_H
#define WEIR_SCANNER_WORKER_H
/*
 * worker.h - a process that scans one message after another, and owns nothing else
 */
#include <stdbool.h>
#include <stdint.h>
#include "scanner/channel.h"
#include "scanner/engine.h"

struct worker_options {
    char tmp_dir[PATH_MAX]; /* its own; must exist and be empty */
    uint64_t memory;        /* address space above the engine */
    uint64_t file_size;     /* of one temporary file */
    struct mime_limits mime;
    uint64_t native_us;     /* native's time for a message */
    bool sandbox;
    enum lane lane;         /* these two say how it is niced */
    bool spare;
    int32_t parent;         /* pid of the zygote */
};

/*
 * Runs in a fresh fork: locks itself up, says READY, then answers each SCAN with a RESULT, in order, until the channel ends. Exits with
 * status 0 at the end of the channel, 1 when it could not set itself up (its words are in the log).
 */
_Noreturn void worker_run(const struct worker_options *options, struct engine *engine, int channel);

#endif

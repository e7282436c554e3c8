#ifndef WEIR_COMMON_LOG_EVENT_H
#define WEIR_COMMON_LOG_EVENT_H
/*
 * log_event.h - what kind of event a log line tells, and of which message, for programs that read JSON
 *
 * Lines are written in Postfix's shape, whose first words say what happened; those words are always ours, so no peer decides what an event
 * is. The names are stable: a new kind of line may get a new one, none changes its meaning. `log` is any line that no name was given to.
 */
#include <stddef.h>
#include "common/queue_id.h"

struct log_event {
    const char *name;         /* "recipient"; never NULL, static */
    char id[QUEUE_ID_LEN + 1]; /* "": about no message */
};

/* message: what comes behind "[PID]: ". */
void log_event_read(struct log_event *event, const char *message, size_t len);

#endif

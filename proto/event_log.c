/* event_log.c - see event_log.h */
#include <event2/event.h>
#include "common/log.h"
#include "proto/event_log.h"

static void on_words(int severity, const char *words)
{
    int level = severity == EVENT_LOG_ERR ? LOG_ERR : severity == EVENT_LOG_WARN ? LOG_WARNING : LOG_DEBUG;
    log_write(level, "libevent: %s", words);
}

void event_log_begin(void)
{
    event_set_log_callback(on_words);
}

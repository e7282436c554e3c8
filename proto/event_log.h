#ifndef WEIR_PROTO_EVENT_LOG_H
#define WEIR_PROTO_EVENT_LOG_H
/* event_log.h - what libevent has to say is a line of our log, and not bare words on stderr */

void event_log_begin(void); /* once in each process, before its loop is made */

#endif

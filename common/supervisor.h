#ifndef WEIR_COMMON_SUPERVISOR_H
#define WEIR_COMMON_SUPERVISOR_H
/*
 * supervisor.h - what systemd is told of a process, where it started it and asked for that
 */

/* sd_notify(3) without the library: one datagram to the socket that NOTIFY_SOCKET names; without it nothing. */
void supervisor_tell(const char *text);

#endif

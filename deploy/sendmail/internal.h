#ifndef WEIR_SENDMAIL_INTERNAL_H
#define WEIR_SENDMAIL_INTERNAL_H
/* internal.h - between host.c, submit.c and through.c */
#include "deploy/sendmail/submit.h"

/* "weir-sendmail: NAME: words" on stderr, escaped. */
void host_tell(const char *name, const char *what);
/* Sends what the dialog has to say, waits for a reply; HOP_LOST when there is none (why says so). */
enum hop_event host_step(struct host *host, struct smtp_reply *reply, struct error *why);
/* Hosts in their order, each that is ready goes to visit, which owns it (host_close) and says whether to go on. What is wrong with the others is told.
 * Returns what was wrong with all of them, HOST_UNREACHABLE when not the same. */
enum host_trouble host_visit_all(const struct sendmail_settings *settings, bool (*visit)(struct host *host, void *arg), void *arg);

#endif

#ifndef WEIR_COORDINATOR_NSUPDATE_H
#define WEIR_COORDINATOR_NSUPDATE_H
/*
 * nsupdate.h - one dynamic update of a zone (RFC 2136), by nsupdate(1) as a process of its own
 *
 * Debian's bind9-dnsutils has it. It signs with the key of a file, speaks TCP, and ends; the loop goes on meanwhile.
 */
#include <event2/event.h>
#include <stdint.h>
#include "common/error.h"

struct nsupdate;

/* error: NULL: the server did it; else what nsupdate said (its server's words are in it), or why there is no answer. Called once, from the loop; the
 * nsupdate is gone when it is called. */
typedef void (*nsupdate_done_handler)(void *arg, const char *error);

/* script: what it reads. key_file: "" for updates that are not signed. timeout_ms: it is killed a while after. NULL: why it cannot be started. */
struct nsupdate *nsupdate_start(struct event_base *base, const char *script, const char *key_file, uint64_t timeout_ms, nsupdate_done_handler done, void *arg,
                                struct error *why);
/* Kills it; done is not called. What it sent may have been done all the same. Takes NULL inside. */
void nsupdate_free(struct nsupdate **nsupdate);

#endif

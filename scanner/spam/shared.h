#ifndef WEIR_SCANNER_SPAM_SHARED_H
#define WEIR_SCANNER_SPAM_SHARED_H
/*
 * shared.h - a message in shared memory, for an engine of the same machine that reads it there
 *
 * It is a copy of the message's own bytes, which have no name and may be with a worker: what a worker that a message took over does to those must not reach
 * an engine that has them mapped. It is complete before anybody can open it, is never written again, and can be read by its owner and one group. Its name
 * cannot be guessed and goes as soon as the question has ended. A scanner that is killed leaves it to the next one that starts here: it is locked while its
 * scanner lives.
 */
#include <stdbool.h>
#include <sys/types.h>
#include "common/error.h"
#include "scanner/spam/client.h"

#define SPAM_SHARED_PREFIX "weir-rspamd." /* and the process's id, for who looks at /dev/shm */
#define SPAM_SHARED_NAME_MAX 63

struct spam_shared {
    int fd; /* -1: none */
    uint64_t size;
    char name[SPAM_SHARED_NAME_MAX + 1]; /* with the slash that shm_open() wants */
};

/* The group's number; name "": our own, (gid_t)-1. false: why; there is none of that name, or this process is not in it, so it cannot give it anything. */
bool spam_shared_group(gid_t *group, const char *name, struct error *why);
/* group: who may read it beside us; (gid_t)-1: our own. false: why (no room there, a group that is not ours), and there is none. */
bool spam_shared_put(struct spam_shared *shared, const struct spam_message *message, gid_t group, struct error *why);
void spam_shared_end(struct spam_shared *shared); /* also when there is none */
/* What killed scanners left. Returns how many. */
unsigned spam_shared_sweep(void);

#endif

#ifndef WEIR_COORDINATOR_SIGNATURES_LOOK_H
#define WEIR_COORDINATOR_SIGNATURES_LOOK_H
/*
 * look.h - one look at the mirrors: a process that runs freshclam and sums up what there is
 *
 * It is this program again (fork and exec, PITFALLS: nothing of ZeroMQ's threads is taken along), in a process group of its own. It ends with the coordinator, and
 * after signature_time. What it finds is in the folder `set` of signature_work, where nobody changes it before the next look.
 */
#include <event2/event.h>
#include "common/settings.h"
#include "common/signature_set.h"

struct look;

struct look_result {
    struct signature_file files[SIGNATURE_FILES_MAX];
    size_t count;        /* 0: there is none */
    char id[SIGNATURE_HEX_LEN + 1]; /* of the set, with a count */
    char doubts[SIGNATURE_FILES_MAX][SIGNATURE_NAME_MAX + 1]; /* names (an official one ends in .cvd) whose mirror failed: theirs are of before, or missing */
    size_t doubt_count;
    char words[512];     /* what failed; "": nothing. There may be files all the same: those of other mirrors, and those of before */
};

/* Called once, from the loop; result is borrowed. look is gone then. */
typedef void (*look_done_handler)(void *arg, const struct look_result *result);

/* settings are borrowed. NULL: why. */
struct look *look_new(struct event_base *base, const struct coordinator_settings *settings, look_done_handler done, void *arg, struct error *why);
void look_free(struct look **look); /* ends it; done is not called. Takes NULL inside */

/* --- in that process --- */
#define LOOK_WORD "signatures" /* argv[2], behind HELPERS_WORD */
/* What is to be done comes on stdin, what was found goes to stdout (look.c); returns the exit status. */
int look_fetch(void);

#endif

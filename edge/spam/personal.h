#ifndef WEIR_EDGE_SPAM_PERSONAL_H
#define WEIR_EDGE_SPAM_PERSONAL_H
/*
 * personal.h - what recipients' own lists say of a message's sender, as a coordinator knows
 *
 * A safe list counts for a proved author only (author.h). A block list needs no proof: nobody gains by forging who is not wanted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/node.h"

struct personal { /* all zeros: nobody said anything */
    uint32_t *safe, *blocked; /* recipients by their index, in order */
    size_t n_safe, n_blocked;
};

struct personal_facts { /* "": not known, or not to be asked about */
    const char *sender; /* of the envelope, */
    const char *from;   /* and in From: for block lists */
    const char *author; /* for safe lists */
};

/* As node_ask(); recipients are borrowed for the call. */
struct node_question *personal_ask(struct node *node, const Weir__SpoolRecipients *recipients, const struct personal_facts *facts, uint64_t timeout_ms,
                                   node_answer_handler handler, void *arg);
/* false: it is no answer to that (answer may be NULL), and personal stays as it is. */
bool personal_take(struct personal *personal, const Weir__Answer *answer);
void personal_fini(struct personal *personal);
bool personal_is_safe(const struct personal *personal, uint32_t index);
bool personal_is_blocked(const struct personal *personal, uint32_t index);

#endif

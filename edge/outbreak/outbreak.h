#ifndef WEIR_EDGE_OUTBREAK_H
#define WEIR_EDGE_OUTBREAK_H
/*
 * outbreak.h - whether a clean message is to wait, as many send one of its attachments that nobody ever saw before
 *
 * The cluster counts (coordinator/outbreak); here is the question. A message without an attachment of `outbreak_types` asks nobody anything.
 */
#include "common/metrics.h"
#include "common/settings.h"
#include "edge/scan/scan.h"
#include "proto/node.h"

struct outbreak;
struct outbreak_question;

enum outbreak_answer {
    OUTBREAK_ANSWER_PASS,
    OUTBREAK_ANSWER_HOLD,
    OUTBREAK_ANSWER_BLOCK,      /* an operator said that it is bad */
    OUTBREAK_ANSWER_NONE,       /* no coordinator says anything */
    OUTBREAK_ANSWERS
};

struct outbreak_case {
    ProtobufCBinaryData id, sender, client, login; /* borrowed for the call */
    const struct scan_result *scan;         /* clean; NULL: found so before (held only) */
    bool held;   /* it comes from where it was held */
    bool record; /* no audit row that we write has its attachments */
};

#define OUTBREAK_NAME_MAX 48 /* "Weir.Blocked." and the beginning of the hash */

/* From the loop, never from inside outbreak_ask(); the question is gone. name: of HOLD and BLOCK, what a reply and the audit call it; else "". */
typedef void (*outbreak_handler)(void *arg, enum outbreak_answer answer, const char *name);

struct outbreak *outbreak_new(const struct edge_settings *settings, struct metrics *metrics);
void outbreak_free(struct outbreak **outbreak); /* nothing is asked any more */
void outbreak_set_node(struct outbreak *outbreak, struct node *node);
void outbreak_reload(struct outbreak *outbreak, const struct edge_settings *settings);
/* Whether any of its attachments is of outbreak_types. */
bool outbreak_concerns(const struct outbreak *outbreak, const struct scan_result *scan);
/* NULL: nobody can be asked (counted as unanswered), and no event follows. */
struct outbreak_question *outbreak_ask(struct outbreak *outbreak, const struct outbreak_case *asked, outbreak_handler answer, void *arg);
void outbreak_cancel(struct outbreak_question **question); /* NULL inside is fine */

#endif

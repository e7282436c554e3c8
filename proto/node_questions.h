#ifndef WEIR_PROTO_NODE_QUESTIONS_H
#define WEIR_PROTO_NODE_QUESTIONS_H
/*
 * node_questions.h - what a node has asked coordinators and not heard the answer of (internal to node.c; see node.h)
 *
 * Knows links only by what it is told: node.c says where to ask and which link went.
 */
#include "proto/node.h"

struct node_questions;

struct node_questions_options {
    uint64_t repeat_ms;       /* without an answer for so long: asked again, of the next coordinator */
    size_t coordinator_count; /* whom an answer "unavailable" is asked of before it is told */
    /* The next link that is up after this one (NULL: the one that node talks to): possibly the same. NULL: none is. */
    struct link *(*next)(void *arg, const struct link *after);
    void *arg;
    struct metrics *metrics;
};

struct node_questions *node_questions_new(const struct node_questions_options *options);
void node_questions_free(struct node_questions **questions); /* no answers follow */

struct node_question *node_questions_ask(struct node_questions *questions, Weir__Question *question,
                                         const struct link_payload *payloads, size_t count, uint64_t timeout_ms,
                                         node_answer_handler answer, void *arg);
/* What was asked on this link is asked again, on the next one that is up. */
void node_questions_leave(struct node_questions *questions, const struct link *link);
/* Sends what could not be sent yet: a link is up, or has room again. */
void node_questions_send(struct node_questions *questions);
void node_questions_answer(struct node_questions *questions, const struct link *from,
                           const struct link_message *message);
/* Time passes: timeouts and repeats. Call it every 100 ms or so. */
void node_questions_tick(struct node_questions *questions, uint64_t now);

#endif

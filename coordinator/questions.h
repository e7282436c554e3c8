#ifndef WEIR_COORDINATOR_QUESTIONS_H
#define WEIR_COORDINATOR_QUESTIONS_H
/*
 * questions.h - what edges ask, and who in this process answers it
 *
 * A room registers a handler for a body of Question. The handler gets a question that it owns until it has answered
 * exactly once, at once or later: the question outlives the edge that asked, whose answer then goes nowhere. An answer
 * that the edge does not read is dropped; the edge asks again with the same number, so every handler must take a
 * repeat. At most pending_max are under way; what comes more, and everything after questions_drain(), is answered
 * UNAVAILABLE, so that the edge turns to another coordinator. What lets questions stand (claims) answers them at a
 * drain.
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/metrics.h"
#include "proto/link.h"

struct questions;
struct question;

/* Takes the question. message, of which frame->question is meant, is borrowed for the call. */
typedef void (*question_handler)(void *arg, struct question *question, const struct link_message *message);

struct questions *questions_new(size_t pending_max, struct metrics *metrics);
void questions_free(struct questions **questions); /* after every question was answered */
void questions_register(struct questions *questions, Weir__Question__BodyCase body, question_handler handler,
                        void *arg);
void questions_drain(struct questions *questions);
size_t questions_pending(const struct questions *questions); /* not answered yet */

/* Answers and ends it. answer->request is filled in; a body goes with ANSWER_OK only. An answer longer than a frame is
 * a bug of the caller: it is logged and nobody hears it. Payloads are copied. */
void question_answer(struct question **taken, Weir__Answer *answer, const struct link_payload *payloads, size_t count);
/* Without a body. why: words for the edge's log, may be NULL. */
void question_settle(struct question **taken, Weir__AnswerStatus status, const char *why);
const char *question_node(const struct question *question); /* who asks, as its key says: "edge-1" */
/* Whether the edge is still connected: what stands for long need not be given to one that is not. */
bool question_is_wanted(const struct question *question);

/* For service.c: a question of an edge. asker is handed to both functions; answered is called exactly once. */
struct question_asker {
    void (*answered)(void *asker, Weir__Frame *frame, const struct link_payload *payloads, size_t count);
    bool (*is_there)(const void *asker);
};
void questions_take(struct questions *questions, const char *node, const struct link_message *message,
                    const struct question_asker *functions, void *asker);

#endif

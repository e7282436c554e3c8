/*
 * questions.c - what edges ask, and who in this process answers it
 */
#include "coordinator/questions.h"

#include <stdlib.h>
#include "common/memory.h"

#define BODIES 160 /* above the numbers of all bodies */
#define STATUSES 8  /* of AnswerStatus the same */

struct question {
    struct questions *owner;
    const struct question_asker *functions;
    void *asker;
    uint64_t request;
    Weir__Question__BodyCase body;
    char node[WIRE_NAME_MAX + 1];
};

struct registration {
    question_handler handler;
    void *arg;
};

struct questions {
    struct registration registrations[BODIES];
    size_t pending, pending_max;
    bool draining;
    struct metrics *metrics;
    struct metric *gauge;
    struct metric *answered[BODIES][STATUSES]; /* as they are first needed; NULL: not yet */
};

struct questions *questions_new(size_t pending_max, struct metrics *metrics)
{
    struct questions *questions = xcalloc(1, sizeof *questions);
    questions->pending_max = pending_max;
    questions->metrics = metrics;
    questions->gauge = metrics_gauge(metrics, "weir_questions_pending", NULL);
    return questions;
}

void questions_free(struct questions **freed)
{
    struct questions *questions = *freed;
    *freed = NULL;
    weir_assert(questions == NULL || questions->pending == 0);
    free(questions);
}

void questions_register(struct questions *questions, Weir__Question__BodyCase body, question_handler handler, void *arg)
{
    weir_assert((unsigned)body < BODIES && questions->registrations[body].handler == NULL);
    questions->registrations[body] = (struct registration){ handler, arg };
}

void questions_drain(struct questions *questions)
{
    questions->draining = true;
}

size_t questions_pending(const struct questions *questions)
{
    return questions->pending;
}

/* --- answering --- */

static const char *body_name(Weir__Question__BodyCase body)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&weir__question__descriptor, (unsigned)body);
    return field != NULL ? field->name : "unknown";
}

static const char *status_name(Weir__AnswerStatus status)
{
    switch (status) {
    case WEIR__ANSWER_STATUS__ANSWER_OK:
        return "ok";
    case WEIR__ANSWER_STATUS__ANSWER_FULL:
        return "full";
    case WEIR__ANSWER_STATUS__ANSWER_REFUSED:
        return "refused";
    default:
        return "unavailable";
    }
}

static struct metric *answered_metric(struct questions *questions, Weir__Question__BodyCase body, Weir__AnswerStatus status)
{
    struct metric *unknown = NULL;
    struct metric **known = (unsigned)body < BODIES && (unsigned)status < STATUSES ? &questions->answered[body][status] : &unknown;
    if (*known == NULL)
        *known = metrics_counter(questions->metrics, "weir_questions_answered_total", "question=\"%s\",status=\"%s\"",
                                 body_name(body), status_name(status));
    return *known;
}

void question_answer(struct question **taken, Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct question *question = *taken;
    struct questions *questions = question->owner;
    *taken = NULL;
    weir_assert(answer->status == WEIR__ANSWER_STATUS__ANSWER_OK || answer->body_case == WEIR__ANSWER__BODY__NOT_SET);
    answer->request = question->request;
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_ANSWER;
    frame.answer = answer;
    metric_add(answered_metric(questions, question->body, answer->status), 1);
    metric_set(questions->gauge, (double)--questions->pending);
    question->functions->answered(question->asker, &frame, payloads, count);
    free(question);
}

void question_settle(struct question **taken, Weir__AnswerStatus status, const char *why)
{
    Weir__Answer answer = WEIR__ANSWER__INIT;
    answer.status = status;
    answer.why = wire_text_cut(why, WIRE_REPLY_MAX);
    question_answer(taken, &answer, NULL, 0);
}

const char *question_node(const struct question *question)
{
    return question->node;
}

bool question_is_wanted(const struct question *question)
{
    return question->functions->is_there(question->asker);
}

/* --- asking --- */

void questions_take(struct questions *questions, const char *node, const struct link_message *message,
                    const struct question_asker *functions, void *asker)
{
    const Weir__Question *asked = message->frame->question;
    struct question *question = xcalloc(1, sizeof *question);
    *question = (struct question){
        .owner = questions,
        .functions = functions,
        .asker = asker,
        .request = asked->request,
        .body = asked->body_case,
    };
    ProtobufCBinaryData name = wire_text(node);
    wire_string(question->node, sizeof question->node, &name);
    metric_set(questions->gauge, (double)++questions->pending);
    const struct registration *registered =
        (unsigned)asked->body_case < BODIES ? &questions->registrations[asked->body_case] : NULL;
    if (questions->draining)
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the coordinator is stopping");
    else if (questions->pending > questions->pending_max)
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the coordinator has too many questions");
    else if (registered == NULL || registered->handler == NULL)
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "the coordinator knows no answer to that");
    else
        registered->handler(registered->arg, question, message);
}

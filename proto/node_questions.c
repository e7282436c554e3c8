/*
 * node_questions.c - questions to the coordinators until they are answered
 *
 *     unsent --a link is up and has room--> asked --answer, timeout, cancel--> gone
 *       ^------ link lost, silent for repeat_ms, "unavailable" ------'
 *
 * A question is kept packed, as it was checked when it was asked, and sent as that. Answers are
 * taken from whoever gives one first: the number is random, so an answer that fits is an answer to it.
 */
#include "proto/node_questions.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#define BUCKETS 1024u /* a power of 2 */
#define RANDOMS 32u   /* fetched together, for one system call; at most 256 bytes are sure to come in one piece */

struct node_question {
    TAILQ_ENTRY(node_question) order; /* of asking; in `questions` or, when its time is over, in `expired` */
    struct node_question *next_in_bucket;
    struct node_questions *owner;
    bool expired;
    uint64_t request;
    node_answer_handler answer;
    void *arg;
    uint64_t deadline_ms, repeat_ms, sent_ms;
    const struct link *asked; /* NULL: unsent. Only compared */
    const struct link *last;  /* whom it was sent to before: the next comes after it. Only compared */
    size_t others;            /* coordinators that may still be asked after an answer "unavailable" */
    size_t size;              /* counted against NODE_QUESTION_BYTES */
    uint8_t *frame;
    size_t frame_len, payload_count;
    struct link_payload payloads[];
};

TAILQ_HEAD(question_list, node_question);

enum result {
    RESULT_OK,
    RESULT_UNAVAILABLE,
    RESULT_FULL,
    RESULT_REFUSED,
    RESULT_TIMEOUT,
    RESULT_CANCELLED,
    RESULT_LIMIT,
    RESULT_INVALID,
    RESULTS
};

static const char *const result_names[RESULTS] = {
    [RESULT_OK] = "ok",           [RESULT_UNAVAILABLE] = "unavailable", [RESULT_FULL] = "full",
    [RESULT_REFUSED] = "refused", [RESULT_TIMEOUT] = "timeout",         [RESULT_CANCELLED] = "cancelled",
    [RESULT_LIMIT] = "limit",     [RESULT_INVALID] = "invalid",
};

struct node_questions {
    struct node_questions_options options;
    struct question_list questions, expired;
    struct node_question *buckets[BUCKETS];
    size_t count, bytes;
    bool unsent; /* some of them may be */
    uint64_t random[RANDOMS];
    size_t random_left;
    struct metric *results[RESULTS], *repeats, *in_flight;
};

struct node_questions *node_questions_new(const struct node_questions_options *options)
{
    struct node_questions *questions = xcalloc(1, sizeof *questions);

    questions->options = *options;
    TAILQ_INIT(&questions->questions);
    TAILQ_INIT(&questions->expired);
    for (int i = 0; i < RESULTS; i++)
        questions->results[i] =
            metrics_counter(options->metrics, "weir_questions_total", "result=\"%s\"", result_names[i]);
    questions->repeats = metrics_counter(options->metrics, "weir_questions_repeated_total", NULL);
    questions->in_flight = metrics_gauge(options->metrics, "weir_questions_in_flight", NULL);
    return questions;
}

/* --- keeping them --- */

static struct node_question **bucket_of(struct node_questions *questions, uint64_t request)
{
    return &questions->buckets[request & (BUCKETS - 1)];
}

static void question_unlink(struct node_question *question)
{
    struct node_questions *questions = question->owner;
    struct node_question **at = bucket_of(questions, question->request);

    while (*at != question)
        at = &(*at)->next_in_bucket;
    *at = question->next_in_bucket;
    TAILQ_REMOVE(question->expired ? &questions->expired : &questions->questions, question, order);
    questions->count--;
    questions->bytes -= question->size;
    metric_set(questions->in_flight, (double)questions->count);
}

static void question_free(struct node_question *question)
{
    explicit_bzero(question->frame, question->frame_len); /* it may be a password */
    free(question->frame);
    free(question);
}

void node_questions_free(struct node_questions **taken)
{
    struct node_questions *questions = *taken;
    struct node_question *question;

    *taken = NULL;
    if (questions == NULL)
        return;
    while ((question = TAILQ_FIRST(&questions->expired)) != NULL ||
           (question = TAILQ_FIRST(&questions->questions)) != NULL) {
        question_unlink(question);
        question_free(question);
    }
    free(questions);
}

static struct node_question *question_find(struct node_questions *questions, uint64_t request)
{
    struct node_question *question = *bucket_of(questions, request);

    while (question != NULL && question->request != request)
        question = question->next_in_bucket;
    return question;
}

/* The question and its payloads in one block. */
static struct node_question *question_new(struct node_questions *questions, const struct link_payload *payloads,
                                          size_t count, size_t size)
{
    size_t len = sizeof(struct node_question) + count * sizeof *payloads;

    for (size_t i = 0; i < count; i++)
        len += payloads[i].len;
    struct node_question *question = xmalloc(len);
    memset(question, 0, sizeof *question);
    question->owner = questions;
    question->size = size;
    question->payload_count = count;
    uint8_t *at = (uint8_t *)&question->payloads[count];
    for (size_t i = 0; i < count; i++) {
        question->payloads[i] = (struct link_payload){ at, payloads[i].len };
        if (payloads[i].len > 0)
            memcpy(at, payloads[i].data, payloads[i].len);
        at += payloads[i].len;
    }
    return question;
}

/* --- sending --- */

static void question_send(struct node_question *question, uint64_t now)
{
    struct node_questions *questions = question->owner;
    struct link *link = questions->options.next(questions->options.arg, question->last);

    question->asked = NULL;
    if (link == NULL) {
        questions->unsent = true;
        return;
    }
    if (link_send_packed(link, question->frame, question->frame_len, question->payloads, question->payload_count) == LINK_OK) {
        question->asked = question->last = link;
        question->sent_ms = now;
    } else {
        questions->unsent = true;
    }
}

void node_questions_send(struct node_questions *questions)
{
    struct node_question *question;
    uint64_t now = clock_ms();

    if (!questions->unsent)
        return;
    questions->unsent = false;
    TAILQ_FOREACH(question, &questions->questions, order)
    {
        if (question->asked == NULL)
            question_send(question, now);
        if (question->asked == NULL)
            return; /* no link, or no room on it: the others wait their turn */
    }
}

static void question_repeat(struct node_question *question, uint64_t now)
{
    metric_add(question->owner->repeats, 1);
    question_send(question, now);
}

void node_questions_leave(struct node_questions *questions, const struct link *link)
{
    struct node_question *question;
    uint64_t now = clock_ms();

    TAILQ_FOREACH(question, &questions->questions, order)
    if (question->asked == link)
        question_repeat(question, now);
}

/* --- asking --- */

static struct node_question *give_up(struct node_questions *questions, enum result result, const char *why)
{
    metric_add(questions->results[result], 1);
    log_write(result == RESULT_INVALID ? LOG_ERR : LOG_DEBUG, "node: a question is not asked: %s", why);
    return NULL;
}

static uint64_t random_request(struct node_questions *questions)
{
    uint64_t request;

    do {
        if (questions->random_left == 0) {
            if (getrandom(questions->random, sizeof questions->random, 0) != sizeof questions->random)
                fatal("node: no random numbers");
            questions->random_left = RANDOMS;
        }
        request = questions->random[--questions->random_left];
    } while (question_find(questions, request) != NULL);
    return request;
}

/* One that nobody would take is a bug of the asker; it is found here, not in the silence that follows. */
static uint8_t *pack(Weir__Question *question, size_t payload_count, size_t *len, struct error *why)
{
    Weir__Frame frame = WEIR__FRAME__INIT;

    frame.body_case = WEIR__FRAME__BODY_QUESTION;
    frame.question = question;
    uint8_t *bytes = wire_encode(&frame, len);
    if (bytes == NULL) {
        error_set(why, "longer than a frame");
        return NULL;
    }
    if (!wire_is_valid(&frame, payload_count, why)) {
        explicit_bzero(bytes, *len);
        free(bytes);
        return NULL;
    }
    return bytes;
}

/* So long its answer may take when all is well. */
static uint64_t waits_by_right(const Weir__Question *asked)
{
    if (asked->body_case == WEIR__QUESTION__BODY_SPOOL_CLAIM)
        return asked->spool_claim->wait_ms;
    return asked->body_case == WEIR__QUESTION__BODY_REPUTATION_ASK ? asked->reputation_ask->wait_ms : 0;
}

struct node_question *node_questions_ask(struct node_questions *questions, Weir__Question *asked,
                                         const struct link_payload *payloads, size_t count, uint64_t timeout_ms,
                                         node_answer_handler answer, void *arg)
{
    struct error why;
    size_t len, size = sizeof(struct node_question);
    uint64_t now = clock_ms();

    asked->request = random_request(questions);
    uint8_t *frame = pack(asked, count, &len, &why);
    if (frame == NULL)
        return give_up(questions, RESULT_INVALID, why.text);
    size += len;
    for (size_t i = 0; i < count; i++)
        size += payloads[i].len;
    if (questions->count >= NODE_QUESTIONS_MAX || size > NODE_QUESTION_BYTES - questions->bytes) {
        explicit_bzero(frame, len);
        free(frame);
        return give_up(questions, RESULT_LIMIT, "too many are under way");
    }
    struct node_question *question = question_new(questions, payloads, count, size);
    question->request = asked->request;
    question->answer = answer;
    question->arg = arg;
    question->frame = frame;
    question->frame_len = len;
    question->deadline_ms = now + timeout_ms;
    question->repeat_ms = questions->options.repeat_ms;
    question->repeat_ms += waits_by_right(asked);
    question->others = questions->options.coordinator_count > 0 ? questions->options.coordinator_count - 1 : 0;
    struct node_question **bucket = bucket_of(questions, question->request);
    question->next_in_bucket = *bucket;
    *bucket = question;
    TAILQ_INSERT_TAIL(&questions->questions, question, order);
    questions->count++;
    questions->bytes += size;
    metric_set(questions->in_flight, (double)questions->count);
    question_send(question, now);
    return question;
}

/* --- the end of a question --- */

static void question_tell(struct node_question *question, enum result result, const Weir__Answer *answer,
                          const struct link_payload *payloads, size_t count)
{
    node_answer_handler handler = question->answer;
    void *arg = question->arg;

    metric_add(question->owner->results[result], 1);
    question_unlink(question);
    question_free(question);
    handler(arg, answer, payloads, count);
}

void node_question_cancel(struct node_question **taken)
{
    struct node_question *question = *taken;

    *taken = NULL;
    if (question == NULL)
        return;
    metric_add(question->owner->results[RESULT_CANCELLED], 1);
    question_unlink(question);
    question_free(question);
}

static enum result result_of(Weir__AnswerStatus status)
{
    switch (status) {
    case WEIR__ANSWER_STATUS__ANSWER_OK:
        return RESULT_OK;
    case WEIR__ANSWER_STATUS__ANSWER_FULL:
        return RESULT_FULL;
    case WEIR__ANSWER_STATUS__ANSWER_REFUSED:
        return RESULT_REFUSED;
    default:
        return RESULT_UNAVAILABLE;
    }
}

void node_questions_answer(struct node_questions *questions, const struct link *from,
                           const struct link_message *message)
{
    const Weir__Answer *answer = message->frame->answer;
    struct node_question *question = question_find(questions, answer->request);

    if (question == NULL)
        return; /* the second of a repeated question, or a late one */
    enum result result = result_of(answer->status);
    if (result == RESULT_UNAVAILABLE && question->asked != NULL && question->asked != from)
        return; /* the one that was asked since may know */
    if (result == RESULT_UNAVAILABLE && question->others > 0 &&
        questions->options.next(questions->options.arg, from) != from) {
        question->others--;
        question_repeat(question, clock_ms());
        return;
    }
    question_tell(question, result, answer, message->payloads, message->payload_count);
}

void node_questions_tick(struct node_questions *questions, uint64_t now)
{
    struct node_question *question, *next;

    for (question = TAILQ_FIRST(&questions->questions); question != NULL; question = next) {
        next = TAILQ_NEXT(question, order);
        if (now >= question->deadline_ms) { /* set aside: whoever hears of one may ask and cancel others */
            TAILQ_REMOVE(&questions->questions, question, order);
            question->expired = true;
            TAILQ_INSERT_TAIL(&questions->expired, question, order);
        } else if (question->asked != NULL && now - question->sent_ms >= question->repeat_ms) {
            question_repeat(question, now);
        }
    }
    node_questions_send(questions);
    while ((question = TAILQ_FIRST(&questions->expired)) != NULL)
        question_tell(question, RESULT_TIMEOUT, NULL, NULL, 0);
}

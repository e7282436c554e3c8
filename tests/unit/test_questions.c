/*
 * test_questions.c - questions of edges: each is answered once, whatever becomes of its asker
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/questions.h"
#include "tests/unit/suite.h"

static struct metrics metrics;
static struct questions *questions;

static struct question *kept;
static bool present, answer_at_once;
static unsigned answers;
static uint64_t last_request;
static Weir__AnswerStatus last_status;
static char last_why[128];

static void setup(void)
{
    metrics_init(&metrics);
    questions = questions_new(2, &metrics);
    present = true;
    answer_at_once = false;
    answers = 0;
}

static void teardown(void)
{
    questions_free(&questions);
    metrics_fini(&metrics);
}

static void answered(void *asker, Weir__Frame *frame, const struct link_payload *payloads, size_t count)
{
    (void)payloads, (void)count;
    ck_assert_ptr_eq(asker, &answers);
    answers++;
    last_request = frame->answer->request;
    last_status = frame->answer->status;
    wire_string(last_why, sizeof last_why, &frame->answer->why);
    size_t len; /* the edge would take it */
    uint8_t *bytes = wire_encode(frame, &len);
    Weir__Frame *back = wire_decode(bytes, len, count, NULL);
    ck_assert_ptr_nonnull(back);
    wire_free(&back);
    free(bytes);
}

static bool is_there(const void *asker)
{
    (void)asker;
    return present;
}

static void handle(void *arg, struct question *question, const struct link_message *message)
{
    ck_assert_ptr_eq(arg, &metrics);
    ck_assert_int_eq(message->frame->question->body_case, WEIR__QUESTION__BODY_AUTH_CHECK);
    ck_assert_str_eq(question_node(question), "edge-1");
    kept = question;
    if (answer_at_once)
        question_settle(&kept, WEIR__ANSWER_STATUS__ANSWER_OK, NULL);
}

static void ask(uint64_t request, Weir__Question__BodyCase body)
{
    static const struct question_asker functions = { .answered = answered, .is_there = is_there };
    Weir__AuthCheck check = WEIR__AUTH_CHECK__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;

    question.request = request;
    question.body_case = body;
    question.auth_check = &check;
    frame.body_case = WEIR__FRAME__BODY_QUESTION;
    frame.question = &question;
    struct link_message message = { .frame = &frame };
    questions_take(questions, "edge-1", &message, &functions, &answers);
}

START_TEST(test_answered_later)
{
    questions_register(questions, WEIR__QUESTION__BODY_AUTH_CHECK, handle, &metrics);
    ask(7, WEIR__QUESTION__BODY_AUTH_CHECK);
    ck_assert_uint_eq(answers, 0);
    ck_assert_uint_eq(questions_pending(questions), 1);
    ck_assert(question_is_wanted(kept));
    present = false;
    ck_assert(!question_is_wanted(kept));
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__AuthResult result = WEIR__AUTH_RESULT__INIT;
    result.outcome = WEIR__AUTH_OUTCOME__AUTH_WRONG;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_AUTH_RESULT;
    answer.auth_result = &result;
    question_answer(&kept, &answer, NULL, 0);
    ck_assert_ptr_null(kept);
    ck_assert_uint_eq(answers, 1);
    ck_assert_uint_eq(last_request, 7);
    ck_assert_uint_eq(questions_pending(questions), 0);
}
END_TEST

START_TEST(test_answered_at_once)
{
    answer_at_once = true;
    questions_register(questions, WEIR__QUESTION__BODY_AUTH_CHECK, handle, &metrics);
    ask(7, WEIR__QUESTION__BODY_AUTH_CHECK);
    ck_assert_uint_eq(answers, 1);
    ck_assert_int_eq(last_status, WEIR__ANSWER_STATUS__ANSWER_OK);
}
END_TEST

START_TEST(test_nobody_knows)
{
    ask(7, WEIR__QUESTION__BODY_SPOOL_FETCH);
    ck_assert_int_eq(last_status, WEIR__ANSWER_STATUS__ANSWER_REFUSED);
    ask(8, (Weir__Question__BodyCase)4711); /* a newer edge's */
    ck_assert_int_eq(last_status, WEIR__ANSWER_STATUS__ANSWER_REFUSED);
    ck_assert_uint_eq(answers, 2);
}
END_TEST

START_TEST(test_limit_and_drain)
{
    questions_register(questions, WEIR__QUESTION__BODY_AUTH_CHECK, handle, &metrics);
    ask(1, WEIR__QUESTION__BODY_AUTH_CHECK);
    struct question *first = kept;
    ask(2, WEIR__QUESTION__BODY_AUTH_CHECK);
    struct question *second = kept;
    ask(3, WEIR__QUESTION__BODY_AUTH_CHECK);
    ck_assert_uint_eq(answers, 1);
    ck_assert_uint_eq(last_request, 3);
    ck_assert_int_eq(last_status, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
    question_settle(&first, WEIR__ANSWER_STATUS__ANSWER_OK, NULL);
    questions_drain(questions);
    ask(4, WEIR__QUESTION__BODY_AUTH_CHECK);
    ck_assert_int_eq(last_status, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(last_why, "stopping"));
    question_settle(&second, WEIR__ANSWER_STATUS__ANSWER_FULL, "no room"); /* what was taken is answered */
    ck_assert_uint_eq(last_request, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("questions");
    TCase *tcase = tcase_create("questions");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_answered_later);
    tcase_add_test(tcase, test_answered_at_once);
    tcase_add_test(tcase, test_nobody_knows);
    tcase_add_test(tcase, test_limit_and_drain);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

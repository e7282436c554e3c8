/*
 * test_spool_reports.c - what a result says of the recipients, and whom a report tells of it
 */
#include "edge/smtp/command.h"
#include "tests/unit/spool_doubles.h"

static const struct {
    struct grant grant;
    int code;
    const char *enhanced, *result, *dsn; /* "": none */
    bool down, unreachable, takes_dsn, unasked;
} replies[] = {
    { { .scanned = true }, 450, "4.2.2", "deferred 450", "", false, false, false, false },
    { { .scanned = true }, 451, "4.4.1", "deferred 451", "", true, true, false, false },
    { { .scanned = true }, 451, "4.4.5", "deferred 451", "", false, true, false, false },
    { { .scanned = true }, 451, "4.3.5", "deferred 451", "", false, true, false, true }, /* its pool is not there, or cannot get there */
    { { .scanned = true, .warn = true }, 450, "4.2.2", "deferred 450", "Action: delayed", false, false, false, false },
    { { .scanned = true, .warn = true, .notify = SMTP_NOTIFY_FAILURE }, 450, "4.2.2", "deferred 450", "", false, false, false, false },
    { { .scanned = true, .last = true }, 450, "4.2.2", "failed 450", "Action: failed", false, false, false, false },
    { { .scanned = true }, 550, "5.1.1", "failed 550", "Action: failed", false, false, false, false },
    { { .scanned = true, .sender = "" }, 550, "5.1.1", "failed 550", "", false, false, false, false },
    { { .scanned = true, .dsn = true }, 550, "5.1.1", "failed 550", "", false, false, false, false },
    { { .scanned = true, .notify = SMTP_NOTIFY_NEVER }, 550, "5.1.1", "failed 550", "", false, false, false, false },
    { { .scanned = true, .notify = SMTP_NOTIFY_SUCCESS }, 250, "2.1.5", "delivered 250", "Action: relayed", false, false, false, false },
    { { .scanned = true, .notify = SMTP_NOTIFY_SUCCESS }, 250, "2.1.5", "delivered 250", "", false, false, true, false },
};

START_TEST(outcome)
{
    doubles.unreachable = replies[_i].unreachable;
    doubles.takes_dsn = replies[_i].takes_dsn;
    doubles.unasked = replies[_i].unasked;
    runner_begin(true);
    grant(&replies[_i].grant);
    give_body();
    answer_rcpt(0, replies[_i].code, replies[_i].enhanced);
    if (replies[_i].code < 300)
        answer_message(replies[_i].code, false);
    ck_assert_str_eq(result_text(), replies[_i].result);
    ck_assert_msg(*replies[_i].dsn == '\0' ? *dsn_text() == '\0' : strstr(dsn_text(), replies[_i].dsn) != NULL, "%s", dsn_text());
    ck_assert_int_eq(ASKED(RESULT)->question->spool_result->destination_down, replies[_i].down);
    ck_assert_int_eq(ASKED(RESULT)->question->spool_result->reached, !replies[_i].unreachable);
    ck_assert_int_eq(ASKED(RESULT)->question->spool_result->delay_warned, replies[_i].grant.warn);
    settle();
    runner_end();
}
END_TEST

START_TEST(returned_by_an_operator)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true, .bounce = true });
    give_body();
    ck_assert_uint_eq(doubles.deliveries, 0);
    ck_assert_str_eq(result_text(), "failed 554");
    ck_assert_ptr_nonnull(strstr(dsn_text(), "body\r\n"));
    settle();
    runner_end();
}
END_TEST

/* Its edges died of it, or nothing of it could be written down, until its life was over: it ends without another try. */
START_TEST(given_up)
{
    runner_begin(true);
    grant(&(struct grant){ .last = true, .give_up = true });
    give_body();
    ck_assert(doubles.deliveries == 0 && doubles.scan == NULL);
    ck_assert_str_eq(result_text(), "failed 554");
    ck_assert_ptr_nonnull(strstr(dsn_text(), "Status: 5.4.7"));
    ck_assert_ptr_null(strstr(dsn_text(), "body\r\n"));
    settle();
    runner_end();
}
END_TEST

static size_t told_failed(size_t *deferred)
{
    struct error why;
    struct node_question *question = ASKED(RESULT);
    Weir__SpoolOutcomes *outcomes = wire_outcomes_decode(question->payloads[0], question->lens[0], &why);
    size_t failed = 0;
    *deferred = 0;
    for (size_t i = 0; i < outcomes->n_outcomes; i++) {
        failed += outcomes->outcomes[i]->disposition == WEIR__SPOOL_DISPOSITION__SPOOL_FAILED;
        *deferred += outcomes->outcomes[i]->disposition == WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED;
    }
    wire_outcomes_free(&outcomes);
    return failed;
}

static const struct {
    struct grant grant;
    unsigned failed, deferred, told;
} many[] = {
    { { .scanned = true, .bounce = true, .recipients = 500 }, 500, 0, 500 },
    { { .scanned = true, .bounce = true, .recipients = 503 }, 500, 3, 500 },
    { { .scanned = true, .bounce = true, .recipients = 503, .last = true, .warn = true }, 500, 3, 500 },
    { { .scanned = true, .bounce = true, .recipients = 503, .notify = SMTP_NOTIFY_NEVER }, 503, 0, 0 },
    { { .scanned = true, .bounce = true, .recipients = 503, .sender = "" }, 503, 0, 0 },
};

static size_t told_of(const char *action)
{
    size_t told = 0;
    for (const char *at = dsn_text(); (at = strstr(at, action)) != NULL; at++)
        told++;
    return told;
}

/* Nobody fails without a word because a DSN is full: the next lease is theirs. */
START_TEST(more_than_one_dsn_can_tell)
{
    runner_begin(true);
    grant(&many[_i].grant);
    give_body();
    size_t deferred, failed = told_failed(&deferred);
    ck_assert_uint_eq(failed, many[_i].failed);
    ck_assert_uint_eq(deferred, many[_i].deferred);
    ck_assert_uint_eq(told_of("\r\nAction: failed"), many[_i].told);
    ck_assert_uint_eq(ASKED(RESULT)->question->spool_result->retry_ms, deferred > 0 ? 1000 : 0);
    settle();
    runner_end();
}
END_TEST

/* The sender may stand for several, be out of reach for now, for longer than mail may wait for that, or for good. */
static const struct {
    unsigned readers;
    enum readers_found found;
    const char *result;
    uint64_t epoch; /* of the policy that says so */
    bool old;
    unsigned notify;
    int dropped;
} senders[] = {
    { 1, READERS_FOUND, "delivered 250, failed 550", 0, false, 0, 0 },
    { 2, READERS_FOUND, "delivered 250, failed 550", 0, false, 0, 0 },
    { 0, READERS_LATER, "delivered 250, deferred 550", 0, false, 0, 0 },
    { 0, READERS_LATER, "delivered 250, deferred 550", 0, false, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE, 1 }, /* of who is delivered */
    { 0, READERS_LATER, "delivered 250, deferred 550", 0, true, 0, 0 },
    { 0, READERS_LATER, "delivered 250, deferred 550", 6, false, 0, 0 },
    { 0, READERS_LATER, "delivered 250, failed 550", 6, true, 0, 1 },
    { 1, READERS_FOUND, "delivered 250, failed 550", 6, true, 0, 0 },
    { 0, READERS_NOWHERE, "delivered 250, failed 550", 0, false, 0, 1 },
};

START_TEST(everybody_is_told)
{
    runner_begin(true);
    running.readers = senders[_i].readers;
    running.found = senders[_i].found;
    running.epoch = senders[_i].epoch;
    grant(&(struct grant){ .scanned = true, .recipients = 2, .last = true, .warn = true, .fail_untold = senders[_i].old,
                              .routed = senders[_i].epoch, .notify = senders[_i].notify });
    give_body();
    answer_rcpt(0, 250, "2.1.5");
    answer_rcpt(1, 550, "5.1.1");
    answer_message(250, false);
    ck_assert_str_eq(result_text(), senders[_i].result);
    const struct node_question *question = ASKED(RESULT);
    ck_assert(!question->question->spool_result->delay_warned);
    ck_assert_uint_eq(question->count, senders[_i].readers > 0 ? 3 : 1);
    ck_assert_int_eq((int)metrics_counter(&running.metrics, "weir_edge_spool_dsn_dropped_total", NULL)->value, senders[_i].dropped);
    if (senders[_i].readers > 0) {
        struct error why;
        Weir__SpoolRecipients *told = wire_recipients_decode(question->payloads[1], question->lens[1], &why);
        ck_assert(told != NULL && told->n_recipients == senders[_i].readers);
        ck_assert(wire_equal(&told->recipients[0]->address, "sender@example.org") && told->recipients[0]->notify == SMTP_NOTIFY_NEVER);
        ck_assert(told->n_recipients == 1 || (told->recipients[1]->index == 1 && wire_equal(&told->recipients[1]->destination, "[other.example.edu]:25")));
        wire_recipients_free(&told);
    }
    settle();
    runner_end();
}
END_TEST

/* A full DSN tells of who failed rather than of who only waits, or was delivered, wherever they stand. */
START_TEST(failures_are_told_first)
{
    bool delayed = _i == 0;
    runner_begin(true);
    grant(&(struct grant){ .scanned = true, .recipients = 503, .warn = delayed, .notify = delayed ? 0 : SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE });
    give_body();
    for (unsigned i = 0; i < 503; i++)
        answer_rcpt(i, i >= 403 ? 550 : delayed ? 450 : 250, i >= 403 ? "5.1.1" : delayed ? "4.2.2" : "2.1.5");
    if (!delayed)
        answer_message(250, false);
    ck_assert_uint_eq(told_of("\r\nAction: failed"), 100);
    ck_assert_uint_eq(told_of(delayed ? "\r\nAction: delayed" : "\r\nAction: relayed"), 400);
    settle();
    runner_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spool_reports");
    TCase *tests = tcase_create("spool_reports");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, outcome, 0, (int)(sizeof replies / sizeof *replies));
    tcase_add_test(tests, returned_by_an_operator);
    tcase_add_test(tests, given_up);
    tcase_add_loop_test(tests, everybody_is_told, 0, (int)(sizeof senders / sizeof *senders));
    tcase_add_loop_test(tests, more_than_one_dsn_can_tell, 0, (int)(sizeof many / sizeof *many));
    tcase_add_loop_test(tests, failures_are_told_first, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/*
 * test_spool_runner.c - running leases: fetching, scanning, delivering, routes, and the end of a lease
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/score.h"
#include "edge/smtp/command.h"
#include "tests/unit/spool_doubles.h"

START_TEST(delivered)
{
    runner_begin(true);
    ck_assert(ASKED(CLAIM)->question->spool_claim->room == 2 && ASKED(CLAIM)->question->spool_claim->scanners);
    ck_assert(ASKED(CLAIM)->question->spool_claim->senders); /* else it hears of none */
    grant(&(struct grant){ .recipients = 2 });
    ck_assert_uint_eq(ASKED(CLAIM)->question->spool_claim->room, 1);
    ck_assert_uint_eq(ASKED(CLAIM)->question->spool_claim->wait_ms, 10000);
    give_body();
    ck_assert(doubles.delivery == NULL && doubles.scan != NULL);
    scanned(WEIR__VERDICT__VERDICT_CLEAN, 0);
    ck_assert_uint_eq(doubles.delivery->asked, 2);
    ck_assert_uint_eq(doubles.delivery->deadline, 1000000 + 30000 - 3750);
    answer_rcpt(0, 250, "2.1.5");
    ck_assert(!doubles.delivery->sent);
    answer_rcpt(1, 550, "5.1.1");
    ck_assert(doubles.delivery->sent && strncmp(doubles.delivery->prefix, "X-Virus-Scanned: Weir at edge-1.test (ClamAV", 40) == 0);
    answer_message(250, false);
    ck_assert_str_eq(result_text(), "delivered 250, failed 550");
    const Weir__SpoolResult *result = ASKED(RESULT)->question->spool_result;
    ck_assert(result->scanned && !result->destination_down && result->dsn != NULL && result->dsn->dsn && result->dsn->scanned);
    ck_assert(result->dsn->sender.len == 0);
    settle();
    ck_assert_uint_eq(spool_runner_jobs(running.runner), 0);
    runner_end();
}
END_TEST

static bool body_is_right(const struct message *message, uint64_t size)
{
    char part[4096];
    struct error why;
    ssize_t got;
    uint64_t offset = 0;
    while ((got = message_read(message, offset, part, sizeof part, &why)) > 0)
        for (ssize_t i = 0; i < got; i++, offset++)
            if (part[i] != (char)(offset / 1000))
                return false;
    return offset == size;
}

/* The body of a large message comes whole, in whatever order its parts do, and whatever part of them is given at a time or not at all. */
START_TEST(fetched_ahead)
{
    unsigned seed = (unsigned)_i;
    uint64_t size = 7 * SPOOL_CHUNK + 4711;
    runner_begin(true);
    grant(&(struct grant){ .recipients = 1 });
    ck_assert_uint_eq(ASKED_COUNT(FETCH), 1); /* most messages are small, and this one's size is not known */
    give_part(ASKED(FETCH), size, SPOOL_CHUNK);
    ck_assert_uint_eq(ASKED_COUNT(FETCH), 1 + AHEAD_MAX);
    for (unsigned steps = 0; doubles.scan == NULL; steps++) {
        ck_assert_uint_lt(steps, 200);
        size_t count = ASKED_COUNT(FETCH), chosen = count > 0 ? rand_r(&seed) % count : 0;
        struct node_question *question = NULL;
        if (count == 0)
            tick(0);
        for (size_t i = 0; count > 0 && question == NULL; i++)
            if (doubles.asked[i] != NULL && doubles.asked[i]->question->body_case == WEIR__QUESTION__BODY_SPOOL_FETCH && chosen-- == 0)
                question = doubles.asked[i];
        if (question == NULL)
            continue;
        uint64_t left = size - offset_of(question);
        size_t len = left < SPOOL_CHUNK ? (size_t)left : SPOOL_CHUNK;
        bool first = ASKED_AT(FETCH, offset_of(question) - SPOOL_CHUNK) == NULL;
        if (_i > 0 && (first ? steps == 3 : rand_r(&seed) % 4 == 0))
            reply_status(question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
        else
            give_part(question, size, _i > 0 && rand_r(&seed) % 8 == 0 ? len / 2 + 1 : len);
    }
    ck_assert(body_is_right(doubles.scan->message, size));
    ck_assert_uint_eq(ASKED_COUNT(FETCH), 0);
    ck_assert_uint_eq(ahead.used, 0);
    runner_end();
}
END_TEST

/* A job that ends leaves nothing under way, and a message that is not there any more is no reason to ask for the rest of it. */
START_TEST(fetched_ahead_not)
{
    uint64_t size = 7 * SPOOL_CHUNK;
    runner_begin(true);
    ahead.max = 2 * SPOOL_CHUNK;
    grant(&(struct grant){ .recipients = 1 });
    give_part(ASKED(FETCH), size, SPOOL_CHUNK);
    ck_assert_uint_eq(ASKED_COUNT(FETCH), 2);
    ck_assert_uint_eq(ahead.used, SPOOL_CHUNK);
    if (_i == 0) {
        reply_status(ASKED_AT(FETCH, 2 * SPOOL_CHUNK), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
        ck_assert(ASKED_COUNT(FETCH) == 1 && spool_runner_jobs(running.runner) == 1);
        reply_status(ASKED(FETCH), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
        ck_assert_uint_eq(spool_runner_jobs(running.runner), 0);
    } else {
        spool_runner_drain(running.runner);
        ck_assert_str_eq(result_text(), "released 0");
        settle();
    }
    ck_assert_uint_eq(ASKED_COUNT(FETCH), 0);
    runner_end();
}
END_TEST

/* S64: Postfix's orig_to, where the client named an alias. */
static const struct {
    const char *original, *given, *line;
} log_lines[] = {
    { NULL, "sysadm@example.edu", ID ": to=<a@example.edu>, orig_to=<sysadm@example.edu>, relay=" },
    { "rfc822;else@example.org", "sysadm@example.edu", ID ": to=<a@example.edu>, orig_to=<sysadm@example.edu>, relay=" },
    { "rfc822;sysadm@example.edu", NULL, ID ": to=<a@example.edu>, orig_to=<sysadm@example.edu>, relay=" },
    { "rfc822;x@y>, relay=mx[192.0.2.9]:25, status=sent", NULL, ID ": to=<a@example.edu>, relay=" },
    { "rfc822;a@example.edu", NULL, ID ": to=<a@example.edu>, relay=" },
    { NULL, NULL, ID ": to=<a@example.edu>, relay=" },
};

START_TEST(line_of_a_recipient)
{
    char path[] = "/tmp/weir-test-spool-XXXXXX", text[8192] = "";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    log_open(&(struct log_options){ .ident = "test", .node = "test", .file = path, .level = LOG_INFO });
    runner_begin(true);
    grant(&(struct grant){ .scanned = true, .original = log_lines[_i].original, .given = log_lines[_i].given });
    give_body();
    answer_rcpt(0, 250, "2.1.5");
    answer_message(250, false);
    settle();
    runner_end();
    log_open(&(struct log_options){ .ident = "test", .node = "test" });
    ck_assert_int_gt(read(fd, text, sizeof text - 1), 0);
    close(fd);
    unlink(path);
    ck_assert_msg(strstr(text, log_lines[_i].line) != NULL, "%s is not in:\n%s", log_lines[_i].line, text);
}
END_TEST

static const struct {
    Weir__Verdict verdict;
    Weir__UnknownReason reason;
    const char *result;
    bool dsn;
} verdicts[] = {
    { WEIR__VERDICT__VERDICT_BAD, 0, "discarded 550", false },
    { WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT, "deferred 451", false },
    { WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS, "failed 550", true },
    { WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE, "discarded 550", false },
    { WEIR__VERDICT__VERDICT_UNSPECIFIED, 0, "deferred 451", false },
};

START_TEST(not_clean)
{
    runner_begin(true);
    grant(&(struct grant){ 0 });
    give_body();
    scanned(verdicts[_i].verdict, verdicts[_i].reason);
    ck_assert_uint_eq(doubles.deliveries, 0);
    ck_assert_str_eq(result_text(), verdicts[_i].result);
    ck_assert_uint_eq(doubles.viruses, verdicts[_i].verdict == WEIR__VERDICT__VERDICT_BAD);
    const Weir__SpoolResult *result = ASKED(RESULT)->question->spool_result;
    ck_assert(!result->reached && !result->destination_down); /* nothing is known of the next hop */
    ck_assert_int_eq(*dsn_text() != '\0', verdicts[_i].dsn);
    if (verdicts[_i].dsn) { /* its header only, and that is not called scanned */
        ck_assert_ptr_null(strstr(dsn_text(), "body\r\n"));
        ck_assert(!ASKED(RESULT)->question->spool_result->dsn->scanned);
    }
    ck_assert(!ASKED(RESULT)->question->spool_result->scanned);
    settle();
    runner_end();
}
END_TEST

static const struct {
    int virus_action, unscannable_action;
    Weir__Verdict verdict;
    Weir__Released released;  /* of the first of two */
    const char *result;       /* without the next hop, or (none) it is asked */
    const char *prefix;
    const char *destination;  /* NULL: that next hop */
} kept[] = {
    { VIRUS_QUARANTINE, UNKNOWN_TEMPFAIL, WEIR__VERDICT__VERDICT_BAD, WEIR__RELEASED__RELEASED_NOT, "quarantined 550, quarantined 550", NULL, NULL },
    { VIRUS_QUARANTINE, UNKNOWN_TEMPFAIL, WEIR__VERDICT__VERDICT_BAD, WEIR__RELEASED__RELEASED_CHECKED, "quarantined 550, quarantined 550", NULL, NULL },
    { VIRUS_QUARANTINE, UNKNOWN_TEMPFAIL, WEIR__VERDICT__VERDICT_BAD, WEIR__RELEASED__RELEASED_NOT, "discarded 550, discarded 550", NULL, "error:550 5.1.1 User unknown" },
    { VIRUS_QUARANTINE, UNKNOWN_QUARANTINE, WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__RELEASED__RELEASED_NOT, "discarded 550, discarded 550", NULL, "error:550 5.1.1 User unknown" },
    { VIRUS_DISCARD, UNKNOWN_QUARANTINE, WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__RELEASED__RELEASED_CHECKED, "quarantined 550, quarantined 550", NULL, NULL },
    { VIRUS_QUARANTINE, UNKNOWN_TEMPFAIL, WEIR__VERDICT__VERDICT_BAD, WEIR__RELEASED__RELEASED_ANYWAY, "delivered 250, quarantined 550", "X-Weir-Released: from quarantine; reason=spam\r\n", NULL },
    { VIRUS_REJECT, UNKNOWN_TEMPFAIL, WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__RELEASED__RELEASED_ANYWAY, "delivered 250, deferred 451", "X-Weir-Released: from quarantine; reason=spam\r\n", NULL },
    { VIRUS_REJECT, UNKNOWN_TEMPFAIL, WEIR__VERDICT__VERDICT_BAD, WEIR__RELEASED__RELEASED_ANYWAY, "delivered 250, discarded 550", "X-Weir-Released: from quarantine; reason=spam\r\n", NULL },
    { VIRUS_REJECT, UNKNOWN_TAG, WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__RELEASED__RELEASED_NOT, "delivered 250, delivered 250", "X-Virus-Status: unknown:unscannable\r\n", NULL },
};

/* What was released whatever it is goes out without a word of having been scanned, to whom it was released and to nobody else. */
START_TEST(kept_and_released)
{
    runner_begin(true);
    running.settings.virus_action = kept[_i].virus_action;
    running.settings.unscannable_action = kept[_i].unscannable_action;
    grant(&(struct grant){ .recipients = 2, .released = kept[_i].released, .destination = kept[_i].destination });
    give_body();
    scanned(kept[_i].verdict, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE);
    ck_assert_uint_eq(doubles.deliveries, kept[_i].prefix != NULL);
    if (kept[_i].prefix != NULL) {
        bool all = kept[_i].unscannable_action == UNKNOWN_TAG;
        ck_assert_uint_eq(doubles.delivery->asked, all ? 2 : 1);
        answer_rcpt(0, 250, "2.1.5");
        if (all)
            answer_rcpt(1, 250, "2.1.5");
        ck_assert_str_eq(doubles.delivery->prefix, kept[_i].prefix);
        answer_message(250, false);
    }
    ck_assert_str_eq(result_text(), kept[_i].result);
    ck_assert(!ASKED(RESULT)->question->spool_result->scanned && *dsn_text() == '\0');
    settle();
    runner_end();
}
END_TEST

/* Mail that may be an outbreak is not let go by a scan without a verdict, which is to pass: the cluster is asked, and nobody answers. */
START_TEST(held_and_not_scanned)
{
    runner_begin(true);
    running.settings.unscannable_action = UNKNOWN_TAG;
    grant(&(struct grant){ .recipients = 2, .released = WEIR__RELEASED__RELEASED_CHECKED, .quarantine = WEIR__QUARANTINE__QUARANTINE_OUTBREAK });
    give_body();
    scanned(WEIR__VERDICT__VERDICT_UNKNOWN, WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE);
    ck_assert_uint_eq(doubles.deliveries, 0);
    ck_assert_str_eq(result_text(), "released 0, released 0");
    settle();
    runner_end();
}
END_TEST

#define BANDS(TAG, QUARANTINE, DISCARD, ACTION) { TAG, QUARANTINE, DISCARD, ACTION }

/* Score 70: the two recipients' bands, and what becomes of them. */
static const struct {
    struct spam_bands bands[2];
    Weir__Released released;     /* of the first one */
    int code;                    /* of the next hop, when it is asked; 0: it is not */
    const char *result, *flag;
} judged[] = {
    { { BANDS(SCORE_OFF, 8000, SCORE_OFF, SPAM_QUARANTINE), BANDS(SCORE_OFF, 8000, SCORE_OFF, SPAM_QUARANTINE) }, 0, 250, "delivered 250, delivered 250", "X-Spam-Flag: NO\r\n" },
    { { BANDS(SCORE_OFF, 5000, SCORE_OFF, SPAM_QUARANTINE), BANDS(6000, 7100, SCORE_OFF, SPAM_QUARANTINE) }, 0, 250, "quarantined 550, delivered 250", "X-Spam-Flag: YES\r\n" },
    { { BANDS(SCORE_OFF, 5000, SCORE_OFF, SPAM_REJECT), BANDS(SCORE_OFF, 5000, SCORE_OFF, SPAM_REJECT) }, 0, 0, "quarantined 550, quarantined 550", NULL },
    { { BANDS(SCORE_OFF, 5000, 6900, SPAM_QUARANTINE), BANDS(SCORE_OFF, 5000, SCORE_OFF, SPAM_TAG) }, 0, 451, "discarded 550, deferred 451", "X-Spam-Flag: YES\r\n" },
    { { BANDS(SCORE_OFF, 5000, 6900, SPAM_QUARANTINE), BANDS(SCORE_OFF, 5000, SCORE_OFF, SPAM_QUARANTINE) }, WEIR__RELEASED__RELEASED_CHECKED, 250,
      "delivered 250, quarantined 550", "X-Spam-Flag: YES\r\n" },
};

/* Mail that nobody scanned when it came has the bands of a session, but that nobody can be refused any more. */
START_TEST(judged_by_its_score)
{
    static char engine[] = "native", *engines[] = { engine };
    runner_begin(true);
    running.spam.spam_engines = (struct config_list){ engines, 1 };
    memcpy(running.bands, judged[_i].bands, sizeof running.bands);
    grant(&(struct grant){ .recipients = 2, .released = judged[_i].released });
    give_body();
    ck_assert(doubles.scan->with_spam);
    scored(7000, "");
    ck_assert_uint_eq(doubles.deliveries, judged[_i].code != 0);
    for (unsigned i = 0; doubles.delivery != NULL && i < doubles.delivery->asked; i++)
        answer_rcpt(i, 250, "2.1.5");
    if (doubles.delivery != NULL) {
        ck_assert_msg(strstr(doubles.delivery->prefix, judged[_i].flag) != NULL, "%s", doubles.delivery->prefix);
        answer_message(judged[_i].code, false);
    }
    ck_assert_str_eq(result_text(), judged[_i].result);
    const Weir__SpoolResult *result = ASKED(RESULT)->question->spool_result;
    ck_assert(result->scored && result->score == 7000 && wire_equal(&result->verdict, "clean"));
    ck_assert(!result->scanned); /* or the next lease would know nothing of its score */
    settle();
    runner_end();
}
END_TEST

/* Results in the name of any edge of the cluster are found out here, and nowhere else (RFC 8601 5). */
START_TEST(nobody_else_says_results_in_our_names)
{
    static char engine[] = "native", *engines[] = { engine };
    static const struct spam_bands all = BANDS(SCORE_OFF, SCORE_OFF, SCORE_OFF, SPAM_QUARANTINE);
    runner_begin(true);
    running.spam.spam_engines = (struct config_list){ engines, 1 };
    running.bands[0] = all;
    grant(&(struct grant){ 0 });
    give_message("Authentication-Results: edge-2.test; dkim=pass\r\nAuthentication-Results: mx.example.net; spf=pass\r\n"
                 "Authentication-Results: edge-1.test; dkim=pass\r\nX: y\r\n\r\nbody\r\n");
    scored(100, "spf=fail");
    answer_rcpt(0, 250, "2.1.5");
    const char *end = strstr(doubles.delivery->prefix, "\r\nAuthentication-Results: mx.example.net; spf=pass\r\nX: y\r\n\r\n");
    ck_assert_msg(end != NULL && strstr(doubles.delivery->prefix, "dkim=pass") == NULL, "%s", doubles.delivery->prefix);
    answer_message(250, false);
    settle();
    runner_end();
}
END_TEST

/* Whose own list has the proved author gets it in spite of its score; where nobody says so in time, nobody does. */
START_TEST(let_in_by_his_own_list)
{
    static char engine[] = "native", *engines[] = { engine };
    static const struct spam_bands keeps = BANDS(SCORE_OFF, 5000, SCORE_OFF, SPAM_QUARANTINE);
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__PersonalKnown known = WEIR__PERSONAL_KNOWN__INIT;
    runner_begin(true);
    running.spam.spam_engines = (struct config_list){ engines, 1 };
    running.bands[0] = running.bands[1] = keeps;
    grant(&(struct grant){ .recipients = 2 });
    give_body();
    scored(7000, "spf=pass smtp.mailfrom=example.org");
    struct node_question *question = asked(WEIR__QUESTION__BODY_PERSONAL_ASK);
    ck_assert(question != NULL && doubles.deliveries == 0 && ASKED(RESULT) == NULL);
    ck_assert(wire_equal(&question->question->personal_ask->author, "sender@example.org") && question->count == 1);
    known.safe = &(uint32_t){ 4 }; /* the second */
    known.n_safe = 1;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_PERSONAL_KNOWN;
    answer.personal_known = &known;
    reply(question, _i == 0 ? &answer : NULL, NULL, 0);
    if (_i == 0) {
        answer_rcpt(0, 250, "2.1.5");
        answer_message(250, false);
    }
    ck_assert_str_eq(result_text(), _i == 0 ? "quarantined 550, delivered 250" : "quarantined 550, quarantined 550");
    settle();
    runner_end();
}
END_TEST

/* Nobody asks where no engine is named, of reports of our own, and of whom the quarantine let go. */
START_TEST(not_judged)
{
    static char engine[] = "native", *engines[] = { engine };
    runner_begin(true);
    running.spam.spam_engines = (struct config_list){ engines, _i == 0 ? 0 : 1 };
    grant(&(struct grant){ .dsn = _i == 1, .released = _i == 2 ? WEIR__RELEASED__RELEASED_CHECKED : WEIR__RELEASED__RELEASED_NOT });
    give_body();
    ck_assert(!doubles.scan->with_spam);
    scanned(WEIR__VERDICT__VERDICT_CLEAN, 0);
    answer_rcpt(0, 250, "2.1.5");
    ck_assert(strncmp(doubles.delivery->prefix, "X-Virus-Scanned: ", 17) == 0 && strstr(doubles.delivery->prefix, "X-Spam") == NULL);
    answer_message(250, false);
    ck_assert(ASKED(RESULT)->question->spool_result->scanned && !ASKED(RESULT)->question->spool_result->scored);
    settle();
    runner_end();
}
END_TEST

START_TEST(busy_scanners)
{
    runner_begin(true);
    grant(&(struct grant){ 0 });
    give_body();
    struct scan *scan = doubles.scan;
    doubles.scan = NULL;
    scan->handlers->busy(scan->arg, "busy");
    free(scan);
    ck_assert_str_eq(result_text(), "released 0");
    settle();
    reply_status(ASKED(CLAIM), WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE); /* rests for a second */
    tick(500);
    ck_assert_ptr_null(ASKED(CLAIM));
    doubles.farm_dead = true;
    tick(600);
    ck_assert(!ASKED(CLAIM)->question->spool_claim->scanners && ASKED(CLAIM)->question->spool_claim->wait_ms <= 1000);
    runner_end();
}
END_TEST

/* A next hop that was reached and then leaves without a word, at RCPT or behind the dot: its mail waits for one that finds it well. */
START_TEST(silence)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    give_body();
    doubles.silent = _i == 0;
    answer_rcpt(0, doubles.silent ? 451 : 250, doubles.silent ? "4.4.2" : "2.1.5");
    doubles.silent = true;
    if (_i == 1)
        answer_message(451, true);
    ck_assert_str_eq(result_text(), "deferred 451");
    ck_assert(ASKED(RESULT)->question->spool_result->destination_down && !ASKED(RESULT)->question->spool_result->reached);
    settle();
    runner_end();
}
END_TEST

static const struct {
    int code;
    const char *enhanced;
    int message; /* the answer to it */
    bool last;
    const char *result;
    unsigned retry_ms;
} crowds[] = {
    { 452, "4.5.3", 250, false, "delivered 250, deferred 452, failed 550", 1000 },
    { 452, "", 250, false, "delivered 250, deferred 452, failed 550", 1000 },
    { 552, "5.5.3", 250, false, "delivered 250, deferred 552, failed 550", 1000 },
    { 552, "", 250, false, "delivered 250, deferred 552, failed 550", 1000 },
    { 452, "4.5.3", 250, true, "delivered 250, deferred 452, failed 550", 1000 }, /* the end of its life is not theirs */
    { 452, "4.5.3", 451, false, "deferred 451, deferred 452, failed 550", 0 },
    { 552, "5.5.3", 550, false, "failed 550, failed 552, failed 550", 0 },
    { 452, "4.2.2", 250, false, "delivered 250, deferred 452, failed 550", 0 },
    { 552, "5.2.2", 250, false, "delivered 250, failed 552, failed 550", 0 },
    { 450, "4.5.3", 250, false, "delivered 250, deferred 450, failed 550", 0 },
};

/* RFC 5321 4.5.3.1.10: whom a next hop has no room for in this transaction has the next one, at once. */
START_TEST(more_than_the_next_hop_takes)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true, .recipients = 3, .last = crowds[_i].last });
    give_body();
    answer_rcpt(0, 250, "2.1.5");
    answer_rcpt(1, crowds[_i].code, crowds[_i].enhanced);
    answer_rcpt(2, 550, "5.1.1");
    answer_message(crowds[_i].message, false);
    ck_assert_str_eq(result_text(), crowds[_i].result);
    ck_assert_uint_eq(ASKED(RESULT)->question->spool_result->retry_ms, crowds[_i].retry_ms);
    settle();
    runner_end();
}
END_TEST

#define TO(d)       { .kind = SPOOL_ROUTE_TO, .to = d }
#define HERE        TO("[next.example.edu]:25")
#define ELSEWHERE   TO("[new.example.edu]:25")
#define ERROR(code) { SPOOL_ROUTE_ERROR, "", code, "5.1.2", "gone" }

/* Where the policy is newer than the one that routed it, its recipients go where that says now. given: how many the next hop is asked to take; 0:
 * there is no delivery. untold: the sender cannot be reached for now. */
static const struct {
    struct grant grant;
    uint64_t epoch;
    struct spool_route routes[2];
    const char *result;
    bool dsn;
    unsigned given;
    bool untold;
} new_routes[] = {
    { { .routed = 5 }, 6, { ELSEWHERE, HERE }, "rerouted 0, released 0", false, 0, false },
    { { .routed = 5 }, 6, { ELSEWHERE, ELSEWHERE }, "rerouted 0, rerouted 0", false, 0, false },
    { { .routed = 5 }, 6, { HERE, ERROR(550) }, "delivered 250, failed 550", true, 1, false },
    { { .routed = 5 }, 6, { ERROR(550), HERE }, "failed 550, delivered 250", true, 1, false },
    { { .routed = 5 }, 6, { HERE, ERROR(550) }, "delivered 250, deferred 550", false, 1, true },
    { { .routed = 5 }, 6, { HERE, ERROR(450) }, "delivered 250, deferred 450", false, 1, false },
    { { .routed = 5 }, 6, { ERROR(450), HERE }, "deferred 450, delivered 250", false, 1, false },
    { { .routed = 5, .last = true }, 6, { ERROR(450), HERE }, "failed 450, delivered 250", true, 1, false },
    { { .routed = 5 }, 6, { ERROR(450), { .kind = SPOOL_ROUTE_NONE } }, "deferred 450, delivered 250", false, 1, false },
    { { .routed = 5 }, 6, { ERROR(450), ERROR(550) }, "deferred 450, failed 550", true, 0, false },
    { { .routed = 5 }, 6, { ELSEWHERE, ERROR(450) }, "rerouted 0, deferred 450", false, 0, false },
    { { .routed = 5, .last = true }, 6, { ELSEWHERE, ERROR(450) }, "rerouted 0, failed 450", true, 0, false },
    { { .routed = 5 }, 6, { { .kind = SPOOL_ROUTE_DISCARD }, ELSEWHERE }, "discarded 250, rerouted 0", false, 0, false },
    { { .routed = 5 }, 6, { HERE, { .kind = SPOOL_ROUTE_DISCARD } }, "released 0, discarded 250", false, 0, false },
    { { .routed = 0 }, 1, { ELSEWHERE, HERE }, "rerouted 0, released 0", false, 0, false },
    { { .routed = 5 }, 6, { HERE, { .kind = SPOOL_ROUTE_NONE } }, "delivered 250, delivered 250", false, 2, false },
    { { .routed = 6 }, 6, { ELSEWHERE, ERROR(450) }, "delivered 250, delivered 250", false, 2, false },
    { { .routed = 7 }, 6, { ELSEWHERE, ELSEWHERE }, "delivered 250, delivered 250", false, 2, false },
    { { .routed = 5, .routed_again = 6 }, 6, { ELSEWHERE, ELSEWHERE }, "delivered 250, delivered 250", false, 2, false },
    { { .routed = 5, .routed_newest = 7 }, 6, { ELSEWHERE, ERROR(550) }, "delivered 250, delivered 250", false, 2, false }, /* one joined by 7 */
    { { .routed = 5, .stored_newest = 7 }, 6, { ELSEWHERE, ERROR(550) }, "delivered 250, delivered 250", false, 2, false }, /* one came when it was 7 */
    { { .routed = 5, .routed_newest = 6 }, 6, { ELSEWHERE, HERE }, "rerouted 0, released 0", false, 0, false },
    { { .routed = 5, .bounce = true }, 6, { ELSEWHERE, ELSEWHERE }, "failed 554, failed 554", true, 0, false },
};

START_TEST(recipients_follow_their_route)
{
    struct grant wanted = new_routes[_i].grant;
    unsigned given = new_routes[_i].given;
    wanted.scanned = true;
    wanted.recipients = 2;
    runner_begin(true);
    running.epoch = new_routes[_i].epoch;
    memcpy(running.routes, new_routes[_i].routes, sizeof running.routes);
    if (new_routes[_i].untold) {
        running.readers = 0;
        running.found = READERS_LATER;
    }
    grant(&wanted);
    give_body();
    ck_assert_uint_eq(doubles.delivery != NULL ? doubles.delivery->asked : 0, given);
    for (unsigned i = 0; i < given; i++)
        answer_rcpt(i, 250, "2.1.5");
    if (given > 0)
        answer_message(250, false);
    ck_assert_str_eq(result_text(), new_routes[_i].result);
    const struct node_question *question = ASKED(RESULT);
    ck_assert_uint_eq(question->count, new_routes[_i].dsn ? 3 : 1);
    if (given == 0) {
        struct error why;
        Weir__SpoolOutcomes *outcomes = wire_outcomes_decode(question->payloads[0], question->lens[0], &why);
        for (size_t i = 0; i < 2; i++)
            ck_assert(outcomes->outcomes[i]->disposition != WEIR__SPOOL_DISPOSITION__SPOOL_REROUTED ||
                      wire_equal(&outcomes->outcomes[i]->text, "[new.example.edu]:25"));
        wire_outcomes_free(&outcomes);
        ck_assert(wanted.bounce || question->question->spool_result->policy_epoch == 6 || wanted.routed == 0);
        ck_assert(!question->question->spool_result->destination_down && !question->question->spool_result->reached);
    }
    settle();
    runner_end();
}
END_TEST

/* One of a list whom the policy refused: no next hop hears of it, its sender does; by a newer policy it may have a way. */
static const struct {
    struct grant grant;
    struct spool_route route;
    const char *result;
    bool dsn;
} refusals[] = {
    { { .destination = "error:550 5.1.1 User unknown" }, { .kind = SPOOL_ROUTE_NONE }, "failed 550", true },
    { { .destination = "error:550 5.1.1 User unknown", .notify = 1 }, { .kind = SPOOL_ROUTE_NONE }, "failed 550", false },
    { { .destination = "error:451 4.3.5 No route" }, { .kind = SPOOL_ROUTE_NONE }, "deferred 451", false },
    { { .destination = "error:451 4.3.5 No route", .routed = 5 }, ELSEWHERE, "rerouted 0", false },
    { { .destination = "error:550 5.1.1 User unknown", .routed = 5 }, ERROR(450), "deferred 450", false },
};

START_TEST(refused_on_a_list)
{
    struct grant wanted = refusals[_i].grant;
    wanted.scanned = true;
    runner_begin(true);
    running.epoch = wanted.routed > 0 ? 6 : 0;
    running.routes[0] = refusals[_i].route;
    grant(&wanted);
    give_body();
    ck_assert_uint_eq(doubles.deliveries, 0);
    ck_assert_str_eq(result_text(), refusals[_i].result);
    ck_assert_int_eq(*dsn_text() != '\0', refusals[_i].dsn);
    if (refusals[_i].dsn)
        ck_assert_msg(strstr(dsn_text(), "550 5.1.1 User unknown") != NULL, "%s", dsn_text());
    ck_assert(!ASKED(RESULT)->question->spool_result->destination_down && !ASKED(RESULT)->question->spool_result->reached);
    settle();
    runner_end();
}
END_TEST

/* An alias whose sender asked for success: nothing is scanned or sent, and it is no address with a route. */
static const struct {
    const char *destination, *action;
    unsigned notify;
} expansions[] = { { "expanded:", "Action: expanded\r\n", 2 }, { "expanded:list", "Action: delivered\r\n", 2 }, { "expanded:", NULL, 4 } };

START_TEST(an_alias_is_told_of)
{
    runner_begin(true);
    running.epoch = 6;
    running.routes[0] = (struct spool_route)ELSEWHERE;
    grant(&(struct grant){ .destination = expansions[_i].destination, .recipients = 1, .notify = expansions[_i].notify, .routed = 5, .original = "rfc822;list@example.edu" });
    give_body();
    ck_assert(doubles.scan == NULL && doubles.deliveries == 0);
    ck_assert_str_eq(result_text(), "delivered 250");
    if (expansions[_i].action == NULL)
        ck_assert_str_eq(dsn_text(), "");
    else
        ck_assert_msg(strstr(dsn_text(), expansions[_i].action) != NULL && strstr(dsn_text(), "To: <sender@example.org>") != NULL &&
                          strstr(dsn_text(), "Original-Recipient: rfc822; list@example.edu") != NULL,
                      "%s", dsn_text());
    settle();
    runner_end();
}
END_TEST

/* A lease is for those who were tried the least, and for one sender; the others come at once where they were not tried as often. */
static const struct {
    struct grant grant;
    const char *sender, *result;
    unsigned retry_ms;
} senders[] = {
    { { .owner = "owner-list@example.edu" }, "sender@example.org", "failed 550, released 0", 1 },
    { { .owner = "owner-list@example.edu", .tried = 1 }, "owner-list@example.edu", "released 0, failed 550", 0 },
    { { .owner = "" }, "sender@example.org", "failed 550, released 0", 1 },
    { { .owner = "sender@example.org" }, "sender@example.org", "failed 550, failed 550", 0 },
};

START_TEST(each_list_has_its_owner_as_sender)
{
    struct grant wanted = senders[_i].grant;
    wanted.scanned = true;
    wanted.recipients = 2;
    wanted.envid = "QQ+1";
    runner_begin(true);
    grant(&wanted);
    give_body();
    ck_assert_str_eq(doubles.delivery->sender, senders[_i].sender);
    for (unsigned i = 0, asked = doubles.delivery->asked; i < asked; i++)
        answer_rcpt(i, 550, "5.1.1");
    ck_assert_str_eq(result_text(), senders[_i].result);
    ck_assert_uint_eq(ASKED(RESULT)->question->spool_result->retry_ms, senders[_i].retry_ms);
    char *to = xasprintf("To: <%s>", senders[_i].sender);
    ck_assert_msg(strstr(dsn_text(), to) != NULL, "%s", dsn_text());
    bool own = strcmp(senders[_i].sender, "sender@example.org") == 0; /* what a client asked for is not for a list's owner */
    ck_assert_int_eq(strstr(dsn_text(), "\r\nOriginal-Envelope-Id: QQ+1\r\n") != NULL, own);
    free(to);
    settle();
    runner_end();
}
END_TEST

/* Who is refused by its route waits for the verdict with the others: a virus is returned to nobody, and whoever is refused by then gets no delivery. */
START_TEST(refused_by_their_route_during_a_scan)
{
    static const struct spool_route before[][2] = { { HERE, HERE }, { ERROR(550), HERE } }, after[] = { ERROR(450), ERROR(450) };
    bool bad = _i == 1;
    runner_begin(true);
    running.epoch = 6;
    memcpy(running.routes, before[_i], sizeof running.routes);
    grant(&(struct grant){ .routed = 5, .recipients = 2 });
    give_body();
    ck_assert_ptr_null(ASKED(RESULT));
    memcpy(running.routes, after, sizeof running.routes);
    scanned(bad ? WEIR__VERDICT__VERDICT_BAD : WEIR__VERDICT__VERDICT_CLEAN, 0);
    ck_assert_uint_eq(doubles.deliveries, 0);
    ck_assert_str_eq(result_text(), bad ? "discarded 550, discarded 550" : "deferred 450, deferred 450");
    ck_assert_uint_eq(ASKED(RESULT)->count, 1);
    settle();
    runner_end();
}
END_TEST

/* The process slept through the end of its lease: what comes next is not a message. */
START_TEST(overslept)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    give_body();
    doubles.now += 30000;
    answer_rcpt(0, 250, "2.1.5");
    ck_assert(doubles.delivery == NULL && ASKED(RESULT) == NULL && spool_runner_jobs(running.runner) == 0);
    runner_end();
}
END_TEST

START_TEST(lease_ends)
{
    doubles.dot_sent = _i == 2;
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    reply_status(ASKED(CLAIM), WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
    if (_i > 0) {
        give_body();
        answer_rcpt(0, 250, "2.1.5");
    }
    tick(27000);
    if (_i < 2) {
        ck_assert(doubles.delivery == NULL && spool_runner_jobs(running.runner) == 0 && ASKED(RESULT) == NULL);
    } else { /* the next hop has it: its word is still passed on, and refused */
        answer_message(250, false);
        ck_assert_str_eq(result_text(), "delivered 250");
        reply_status(ASKED(RESULT), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
        ck_assert_uint_eq(spool_runner_jobs(running.runner), 0);
    }
    runner_end();
}
END_TEST

/* Granted: the deadline moves. Not granted: the delivery is broken off. */
START_TEST(renewed)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    give_body();
    tick(9000);
    ck_assert_ptr_null(ASKED(RENEW));
    tick(1000);
    struct node_question *question = ASKED(RENEW);
    ck_assert(question->question->spool_renew->n_held == 1 && question->question->spool_renew->held[0]->token == 7);
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__SpoolRenewed body = WEIR__SPOOL_RENEWED__INIT;
    body.lease_ms = 16000;
    body.held = question->question->spool_renew->held;
    body.n_held = _i == 0 ? 1 : 0;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_RENEWED;
    answer.spool_renewed = &body;
    reply(question, &answer, NULL, 0);
    if (_i == 0)
        ck_assert_uint_eq(doubles.delivery->deadline, 1010000 + 14000);
    else
        ck_assert(doubles.delivery == NULL && spool_runner_jobs(running.runner) == 0);
    runner_end();
}
END_TEST

/* The coordinator grants all that a renewal asks for. Returns how many those are. */
static size_t renew(void)
{
    struct node_question *question = ASKED(RENEW);
    ck_assert_ptr_nonnull(question);
    size_t count = question->question->spool_renew->n_held;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__SpoolRenewed body = WEIR__SPOOL_RENEWED__INIT;
    body.lease_ms = 30000;
    body.held = question->question->spool_renew->held;
    body.n_held = count;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_RENEWED;
    answer.spool_renewed = &body;
    reply(question, &answer, NULL, 0);
    return count;
}

/* One renewal speaks of 256 leases: those it had no room for are not lost, and are the next one's. */
START_TEST(more_leases_than_a_renewal_has_room_for)
{
    runner_begin(true);
    running.settings.spool_concurrency = 300;
    for (unsigned i = 0; i < 300; i++)
        grant(&(struct grant){ .scanned = true, .token = 100 + i });
    ck_assert_uint_eq(spool_runner_jobs(running.runner), 300);
    tick(10000);
    ck_assert_uint_eq(renew(), 256);
    ck_assert_uint_eq(spool_runner_jobs(running.runner), 300);
    tick(100);
    ck_assert_uint_eq(renew(), 44);
    tick(100);
    ck_assert_ptr_null(ASKED(RENEW));
    tick(18000); /* the first leases would be over */
    ck_assert_uint_eq(spool_runner_jobs(running.runner), 300);
    ck_assert_int_eq((int)metrics_counter(&running.metrics, "weir_edge_spool_leases_lost_total", NULL)->value, 0);
    runner_end();
}
END_TEST

static const struct {
    unsigned concurrency, ended;
} room_again[] = { { 1, 1 }, { 2, 1 }, { 3, 1 }, { 8, 4 }, { 20, 10 }, { 20, 20 } };

/* All places were taken: those that end in a loop turn make one claim right after it, not with the next tick. */
START_TEST(ended_jobs_make_room)
{
    runner_begin(true);
    running.settings.spool_concurrency = room_again[_i].concurrency;
    for (unsigned i = 0; i < room_again[_i].concurrency; i++)
        grant(&(struct grant){ .scanned = true, .token = 100 + i });
    ck_assert_ptr_null(ASKED(CLAIM));
    for (unsigned i = 0; i < room_again[_i].ended; i++)
        reply_status(ASKED(FETCH), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
    ck_assert_ptr_null(ASKED(CLAIM));
    turn(0);
    ck_assert_uint_eq(ASKED(CLAIM)->question->spool_claim->room, room_again[_i].ended);
    runner_end();
}
END_TEST

static const Weir__SpoolClaim *claim_asked(void)
{
    return ASKED(CLAIM) != NULL ? ASKED(CLAIM)->question->spool_claim : NULL;
}

static int spare_jobs(void)
{
    return (int)metrics_gauge(&running.metrics, "weir_edge_spool_spare_jobs", NULL)->value;
}

/* All places are taken and nothing ends: there are a few more for other destinations, and with them nothing is claimed for these. */
START_TEST(places_of_others)
{
    runner_begin(true);
    running.settings.spool_spare = 2;
    for (unsigned i = 0; i < 2; i++)
        grant(&(struct grant){ .scanned = true, .token = 100 + i });
    ck_assert_ptr_null(claim_asked());
    tick(100);
    ck_assert(claim_asked() != NULL && claim_asked()->others && claim_asked()->room == 2);
    grant(&(struct grant){ .scanned = true, .token = 200 });
    ck_assert(claim_asked()->others && claim_asked()->room == 1);
    grant(&(struct grant){ .scanned = true, .token = 201 });
    ck_assert(claim_asked() == NULL && spool_runner_jobs(running.runner) == 4 && spare_jobs() == 2);
    tick(100);
    ck_assert_ptr_null(claim_asked());
    for (unsigned i = 0; i < 4; i++) /* the oldest ask first: the places that one gives free are everybody's */
        reply_status(ASKED(FETCH), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
    ck_assert_int_eq(spare_jobs(), 0);
    turn(0);
    ck_assert(claim_asked() != NULL && !claim_asked()->others && claim_asked()->room == 2);
    tick(100);
    struct node_question *usual = ASKED(CLAIM);
    for (size_t i = 0; i < ASKED_MAX; i++)
        ck_assert(doubles.asked[i] == NULL || doubles.asked[i] == usual);
    runner_end();
}
END_TEST

/* Where jobs end, or there is to be no spare place, no place at all, or still one of the usual, a claim for others would be for nothing. */
START_TEST(no_places_of_others)
{
    runner_begin(true);
    running.settings.spool_spare = _i == 0 ? 0 : 2;
    running.settings.spool_concurrency = 3;
    for (unsigned i = 0; i < (_i == 1 ? 2 : 3); i++)
        grant(&(struct grant){ .scanned = true, .token = 100 + i });
    if (_i == 2) {
        running.settings.spool_concurrency = 2;
        reply_status(ASKED(FETCH), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
    }
    event_base_loop(base, EVLOOP_ONCE); /* one tick */
    ck_assert(claim_asked() == NULL || !claim_asked()->others);
    event_base_loop(base, EVLOOP_ONCE);
    ck_assert_int_eq(claim_asked() != NULL && claim_asked()->others, _i == 2); /* since then nothing has ended */
    runner_end();
}
END_TEST

START_TEST(result_is_repeated)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    give_body();
    answer_rcpt(0, 550, "5.1.1");
    char *first = xstrdup(dsn_text());
    reply(ASKED(RESULT), NULL, NULL, 0);
    while (ASKED(RESULT) == NULL)
        tick(100);
    ck_assert_str_eq(result_text(), "failed 550");
    ck_assert_str_eq(dsn_text(), first); /* the same report, with the same id */
    free(first);
    reply_status(ASKED(RESULT), WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
    while (ASKED(RESULT) == NULL)
        tick(100);
    settle();
    ck_assert_uint_eq(spool_runner_jobs(running.runner), 0);
    runner_end();
}
END_TEST

START_TEST(drained)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    if (_i == 1) {
        give_body();
        answer_rcpt(0, 250, "2.1.5");
    }
    spool_runner_drain(running.runner);
    if (_i == 1) {
        ck_assert(doubles.delivery != NULL && ASKED(RESULT) == NULL);
        answer_message(250, false);
    }
    ck_assert_str_eq(result_text(), _i == 1 ? "delivered 250" : "released 0");
    tick(100);
    ck_assert_uint_eq(doubles.idle, 0);
    settle();
    tick(100);
    ck_assert_uint_gt(doubles.idle, 0);
    grant(&(struct grant){ .scanned = true }); /* the claim that stood */
    ck_assert_str_eq(result_text(), "released 0");
    ck_assert_ptr_null(ASKED(CLAIM));
    settle();
    runner_end();
}
END_TEST

/* One recipient is refused and the other's answer still to come: the report of the first has a part of the message. */
START_TEST(drained_between_two_answers)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true, .recipients = 2 });
    give_body();
    answer_rcpt(0, 550, "5.1.1");
    spool_runner_drain(running.runner);
    ck_assert_str_eq(result_text(), "failed 550, released 0");
    ck_assert_ptr_nonnull(strstr(dsn_text(), "X: y"));
    settle();
    tick(100);
    ck_assert_uint_gt(doubles.idle, 0);
    runner_end();
}
END_TEST

START_TEST(no_room_for_the_body)
{
    budget.memory_max = budget.disk_max = 10;
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    give_body();
    ck_assert_str_eq(result_text(), "released 0");
    settle();
    runner_end();
}
END_TEST

START_TEST(body_is_gone)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    reply_status(ASKED(FETCH), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
    ck_assert_uint_eq(spool_runner_jobs(running.runner), 0);
    grant(&(struct grant){ .scanned = true });
    reply_status(ASKED(FETCH), WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
    while (ASKED(FETCH) == NULL)
        tick(100);
    runner_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spool_runner");
    TCase *tests = tcase_create("spool_runner");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, fetched_ahead, 0, 6);
    tcase_add_loop_test(tests, fetched_ahead_not, 0, 2);
    tcase_add_test(tests, delivered);
    tcase_add_loop_test(tests, line_of_a_recipient, 0, (int)(sizeof log_lines / sizeof *log_lines));
    tcase_add_test(tests, held_and_not_scanned);
    tcase_add_loop_test(tests, kept_and_released, 0, (int)(sizeof kept / sizeof *kept));
    tcase_add_loop_test(tests, judged_by_its_score, 0, (int)(sizeof judged / sizeof *judged));
    tcase_add_test(tests, nobody_else_says_results_in_our_names);
    tcase_add_loop_test(tests, not_judged, 0, 3);
    tcase_add_loop_test(tests, let_in_by_his_own_list, 0, 2);
    tcase_add_loop_test(tests, not_clean, 0, (int)(sizeof verdicts / sizeof *verdicts));
    tcase_add_test(tests, busy_scanners);
    tcase_add_loop_test(tests, silence, 0, 2);
    tcase_add_loop_test(tests, more_than_the_next_hop_takes, 0, (int)(sizeof crowds / sizeof *crowds));
    tcase_add_loop_test(tests, recipients_follow_their_route, 0, sizeof new_routes / sizeof *new_routes);
    tcase_add_loop_test(tests, an_alias_is_told_of, 0, sizeof expansions / sizeof *expansions);
    tcase_add_loop_test(tests, each_list_has_its_owner_as_sender, 0, sizeof senders / sizeof *senders);
    tcase_add_loop_test(tests, refused_on_a_list, 0, sizeof refusals / sizeof *refusals);
    tcase_add_loop_test(tests, refused_by_their_route_during_a_scan, 0, 2);
    tcase_add_test(tests, overslept);
    tcase_add_loop_test(tests, lease_ends, 0, 3);
    tcase_add_loop_test(tests, renewed, 0, 2);
    tcase_add_test(tests, more_leases_than_a_renewal_has_room_for);
    tcase_add_loop_test(tests, ended_jobs_make_room, 0, sizeof room_again / sizeof *room_again);
    tcase_add_test(tests, places_of_others);
    tcase_add_loop_test(tests, no_places_of_others, 0, 3);
    tcase_add_test(tests, result_is_repeated);
    tcase_add_loop_test(tests, drained, 0, 2);
    tcase_add_test(tests, drained_between_two_answers);
    tcase_add_test(tests, no_room_for_the_body);
    tcase_add_test(tests, body_is_gone);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

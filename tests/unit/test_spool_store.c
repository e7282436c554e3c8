/*
 * test_spool_store.c - storing a message through a coordinator
 */
#include <stdlib.h>
#include "common/memory.h"
#include "tests/unit/spool_doubles.h"

static void on_stored(void *arg, enum spool_stored stored, const char *why)
{
    struct spool_store **store = arg;
    (void)why;
    doubles.late = spool_store_is_late(*store);
    *store = NULL;
    doubles.stored = stored;
    doubles.answers++;
}

static struct spool_store *store_begin(struct message **message, size_t size, struct spool_store **store)
{
    static Weir__SpoolRecipient one = WEIR__SPOOL_RECIPIENT__INIT, *list[] = { &one };
    static Weir__SpoolRecipients recipients = WEIR__SPOOL_RECIPIENTS__INIT;
    static Weir__SpoolEnvelope envelope = WEIR__SPOOL_ENVELOPE__INIT;
    struct error why;
    one.address = wire_text("a@example.edu");
    one.destination = wire_text("[next.example.edu]:25");
    recipients.recipients = list;
    recipients.n_recipients = 1;
    envelope.id = wire_text(ID);
    *message = message_new(&budget);
    char *bytes = xmalloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    ck_assert_int_eq(message_append(*message, bytes, size, &why), MESSAGE_OK);
    free(bytes);
    *store = spool_store_new(&(struct spool_store_options){ .base = base, .ahead = &ahead, .envelope = &envelope, .recipients = &recipients, .prefix = "Received: x\r\n",
                                                            .prefix_len = 13, .message = *message, .timeout_ms = 1000 },
                             on_stored, store);
    turn(0);
    return *store;
}

START_TEST(store_small)
{
    struct message *message;
    struct spool_store *store;
    store_begin(&message, 100, &store);
    struct node_question *question = ASKED(STORE);
    ck_assert(question->question->spool_store->last && spool_store_is_late(store) && question->count == 2);
    ck_assert_uint_eq(question->question->spool_store->envelope->size, 113);
    ck_assert_uint_eq(question->lens[1], 113);
    ck_assert(memcmp(question->payloads[1], "Received: x\r\n", 13) == 0);
    reply_stored(question, ID, 113, true);
    ck_assert(doubles.answers == 1 && doubles.stored == SPOOL_STORED && store == NULL);
    message_free(&message);
}
END_TEST

/* The whole message arrives once, whatever the coordinator says it has of a chunk. */
START_TEST(store_large)
{
    struct message *message;
    struct spool_store *store;
    size_t size = 2 * SPOOL_CHUNK + 4711, have;
    store_begin(&message, size, &store);
    struct node_question *question = ASKED(STORE);
    ck_assert(!question->question->spool_store->last && !spool_store_is_late(store) && question->lens[1] == SPOOL_CHUNK);
    have = SPOOL_CHUNK - 1000;
    doubles.let_in = (uint32_t[]){ 70, 3 };
    doubles.let_in_count = 2;
    reply_stored(question, ID, have, false);
    doubles.let_in_count = 0; /* chunks are not told */
    for (unsigned chunks = 0; store != NULL; chunks++) {
        ck_assert_uint_lt(chunks, 4);
        question = ASKED(CHUNK);
        ck_assert_uint_eq(question->question->spool_chunk->offset, have);
        ck_assert(spool_store_let_in(store, 3) && spool_store_let_in(store, 70) && !spool_store_let_in(store, 4));
        /* Not ck_assert for each byte, which tells its parent process of each success. */
        for (size_t i = 0; i < question->lens[0]; i++)
            if ((unsigned char)question->payloads[0][i] != (unsigned char)((have + i - 13) * 7 + (have + i - 13) / 251))
                ck_abort_msg("byte %zu is another", have + i);
        have += question->lens[0];
        ck_assert_int_eq(question->question->spool_chunk->last, have == size + 13);
        reply_stored(question, ID, have, have == size + 13);
    }
    ck_assert(doubles.answers == 1 && doubles.stored == SPOOL_STORED && have == size + 13);
    message_free(&message);
}
END_TEST

/* As the coordinators' spool is: chunks are taken where the body ends, and the last one completes it. Answers come in any order, some chunks that were
 * sent ahead are not taken, some answers are late. */
static void coordinator_step(unsigned *seed, uint64_t *have, uint64_t size)
{
    size_t count = ASKED_COUNT(CHUNK), chosen = rand_r(seed) % count;
    struct node_question *question = NULL;
    for (size_t i = 0; question == NULL; i++)
        if (doubles.asked[i] != NULL && doubles.asked[i]->question->body_case == WEIR__QUESTION__BODY_SPOOL_CHUNK && chosen-- == 0)
            question = doubles.asked[i];
    const Weir__SpoolChunk *chunk = question->question->spool_chunk;
    bool first = ASKED_AT(CHUNK, *have) == question || chunk->offset < *have;
    ck_assert(!chunk->last || (count == 1 && chunk->offset == *have)); /* it goes alone: all others are taken */
    if (chunk->offset > *have || (!first && rand_r(seed) % 4 == 0)) {
        if (rand_r(seed) % 4 == 0)
            reply(question, NULL, NULL, 0);
        else
            reply_status(question, rand_r(seed) % 2 ? WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE : WEIR__ANSWER_STATUS__ANSWER_FULL);
        return;
    }
    if (chunk->offset == *have) {
        for (size_t i = 0; i < question->lens[0]; i++)
            if ((unsigned char)question->payloads[0][i] != (unsigned char)((*have + i - 13) * 7 + (*have + i - 13) / 251))
                ck_abort_msg("byte %zu is another", (size_t)*have + i);
        *have += question->lens[0];
        if (!chunk->last && rand_r(seed) % 3 == 0)
            return; /* taken, and its answer comes later */
    }
    reply_stored(question, ID, *have, *have == size);
}

START_TEST(store_ahead)
{
    struct message *message;
    struct spool_store *store;
    unsigned seed = (unsigned)_i;
    uint64_t size = 9 * SPOOL_CHUNK + 100, have = SPOOL_CHUNK;
    store_begin(&message, size - 13, &store);
    ck_assert_uint_eq(ASKED_COUNT(CHUNK), 0);
    reply_stored(ASKED(STORE), ID, have, false);
    ck_assert_uint_eq(ASKED_COUNT(CHUNK), 1 + AHEAD_MAX);
    ck_assert(!ASKED_AT(CHUNK, SPOOL_CHUNK)->question->spool_chunk->ahead && ASKED_AT(CHUNK, 2 * SPOOL_CHUNK)->question->spool_chunk->ahead);
    for (unsigned steps = 0; store != NULL; steps++) {
        ck_assert_uint_lt(steps, 1000);
        coordinator_step(&seed, &have, size);
    }
    ck_assert(doubles.answers == 1 && doubles.stored == SPOOL_STORED && have == size);
    message_free(&message);
}
END_TEST

/* What was not taken of those behind it says nothing; what became of the first one does, and nothing else is under way then. */
START_TEST(store_ahead_not)
{
    struct message *message;
    struct spool_store *store;
    store_begin(&message, 4 * SPOOL_CHUNK, &store);
    reply_stored(ASKED(STORE), ID, SPOOL_CHUNK, false);
    ck_assert_uint_eq(ASKED_COUNT(CHUNK), 2);
    reply_status(ASKED_AT(CHUNK, 2 * SPOOL_CHUNK), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
    ck_assert(store != NULL && ASKED_COUNT(CHUNK) == 1);
    if (_i == 0)
        reply_status(ASKED_AT(CHUNK, SPOOL_CHUNK), WEIR__ANSWER_STATUS__ANSWER_FULL);
    else
        reply(ASKED_AT(CHUNK, SPOOL_CHUNK), NULL, NULL, 0);
    ck_assert(doubles.answers == 1 && store == NULL && !doubles.late);
    ck_assert_int_eq(doubles.stored, _i == 0 ? SPOOL_FULL : SPOOL_UNAVAILABLE);
    message_free(&message);
}
END_TEST

/* A chunk that was asked ahead and is the first by now was answered as one ahead: only when it is asked as the first does its answer count. */
START_TEST(store_ahead_no_more)
{
    static const Weir__AnswerStatus statuses[] = { WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, WEIR__ANSWER_STATUS__ANSWER_REFUSED,
                                                   WEIR__ANSWER_STATUS__ANSWER_FULL };
    struct message *message;
    struct spool_store *store;
    store_begin(&message, 9 * SPOOL_CHUNK, &store);
    reply_stored(ASKED(STORE), ID, SPOOL_CHUNK, false);
    reply_stored(ASKED_AT(CHUNK, SPOOL_CHUNK), ID, 2 * SPOOL_CHUNK, false);
    if (_i < 3)
        reply_status(ASKED_AT(CHUNK, 2 * SPOOL_CHUNK), statuses[_i]);
    else
        reply(ASKED_AT(CHUNK, 2 * SPOOL_CHUNK), NULL, NULL, 0);
    ck_assert(store != NULL && ASKED_COUNT(CHUNK) == 1 && !ASKED_AT(CHUNK, 2 * SPOOL_CHUNK)->question->spool_chunk->ahead);
    reply_status(ASKED_AT(CHUNK, 2 * SPOOL_CHUNK), WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
    ck_assert(doubles.answers == 1 && store == NULL && doubles.stored == SPOOL_UNAVAILABLE);
    message_free(&message);
}
END_TEST

/* spool_ahead is shared by all messages of a worker; each has one chunk under way beside it. */
START_TEST(store_ahead_is_bounded)
{
    struct message *messages[2];
    struct spool_store *stores[2];
    ahead.max = SPOOL_CHUNK + 1;
    for (int i = 0; i < 2; i++) {
        store_begin(&messages[i], 9 * SPOOL_CHUNK, &stores[i]);
        reply_stored(ASKED(STORE), ID, SPOOL_CHUNK, false);
    }
    ck_assert_uint_eq(ASKED_COUNT(CHUNK), 2 + 1);
    ck_assert_uint_eq(ahead.used, SPOOL_CHUNK);
    spool_store_cancel(&stores[0]);
    ck_assert_uint_eq(ahead.used, 0);
    ahead.max = 0; /* as a reload may say */
    reply_stored(ASKED(CHUNK), ID, 2 * SPOOL_CHUNK, false);
    ck_assert(ASKED_COUNT(CHUNK) == 1 && ASKED_AT(CHUNK, 2 * SPOOL_CHUNK) != NULL);
    ahead.max = SPOOL_CHUNK;
    reply_stored(ASKED(CHUNK), ID, 3 * SPOOL_CHUNK, false);
    ck_assert_uint_eq(ASKED_COUNT(CHUNK), 2);
    spool_store_cancel(&stores[1]);
    for (int i = 0; i < 2; i++)
        message_free(&messages[i]);
}
END_TEST

START_TEST(store_not)
{
    struct message *message;
    struct spool_store *store;
    store_begin(&message, _i < 4 ? 100 : 2 * SPOOL_CHUNK, &store);
    struct node_question *question = ASKED(STORE);
    switch (_i) {
    case 0:
        reply_status(question, WEIR__ANSWER_STATUS__ANSWER_FULL);
        break;
    case 1:
        reply_status(question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
        break;
    case 2:
        reply_status(question, WEIR__ANSWER_STATUS__ANSWER_REFUSED);
        break;
    case 3:
        reply(question, NULL, NULL, 0);
        break;
    case 4: /* another message */
        reply_stored(question, "06GZYZYCR1PM1BG2PG4N", 10, true);
        break;
    case 5: /* nothing was taken */
        reply_stored(question, ID, 0, false);
        break;
    case 6: /* all there and not complete */
        reply_stored(question, ID, 2 * SPOOL_CHUNK + 13, false);
        break;
    case 7: /* OK without a body */
        reply_status(question, WEIR__ANSWER_STATUS__ANSWER_OK);
        break;
    }
    ck_assert(doubles.answers == 1 && store == NULL);
    ck_assert_int_eq(doubles.stored, _i == 0 ? SPOOL_FULL : SPOOL_UNAVAILABLE);
    ck_assert_msg(doubles.late == (_i == 0 || _i == 1 || _i == 3), "case %d", _i); /* whether it may be stored all the same */
    message_free(&message);
}
END_TEST

START_TEST(store_waits_for_room)
{
    struct message *message;
    struct spool_store *store;
    doubles.no_room = true;
    store_begin(&message, 100, &store);
    ck_assert(store != NULL && ASKED(STORE) == NULL && !spool_store_is_late(store));
    doubles.no_room = false;
    while (ASKED(STORE) == NULL)
        event_base_loop(base, EVLOOP_ONCE);
    spool_store_cancel(&store);
    ck_assert_uint_eq(doubles.answers, 0);
    doubles.no_room = true;
    message_free(&message);
    store_begin(&message, 100, &store);
    doubles.now += 2000;
    while (doubles.answers == 0)
        event_base_loop(base, EVLOOP_ONCE);
    ck_assert_int_eq(doubles.stored, SPOOL_UNAVAILABLE);
    message_free(&message);
}
END_TEST


int main(void)
{
    Suite *suite = suite_create("spool_store");
    TCase *tests = tcase_create("spool_store");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, store_small);
    tcase_add_test(tests, store_large);
    tcase_add_loop_test(tests, store_ahead, 0, 8);
    tcase_add_loop_test(tests, store_ahead_not, 0, 2);
    tcase_add_loop_test(tests, store_ahead_no_more, 0, 4);
    tcase_add_test(tests, store_ahead_is_bounded);
    tcase_add_loop_test(tests, store_not, 0, 8);
    tcase_add_test(tests, store_waits_for_room);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/*
 * test_spool.c - storing and running leases, with a coordinator, a scanner, a next hop and a clock that the test plays itself
 *
 * The doubles are linked in place of proto/node, edge/scan and edge/delivery.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/smtp/command.h"
#include "edge/spool/runner.h"
#include "edge/spool/store.h"
#include "tests/unit/suite.h"

#define ID "06GZYZYCR1PM1BG2PG4M"
#define ASKED_MAX 400

struct node_question {
    Weir__Question *question; /* own copy */
    char *payloads[3];
    size_t lens[3], count;
    node_answer_handler answer;
    void *arg;
};

struct delivery {
    const struct delivery_handlers *handlers;
    void *arg;
    unsigned asked;
    bool sent;
    uint64_t deadline;
    char prefix[512];
};

struct scan {
    const struct scan_handlers *handlers;
    void *arg;
    const struct message *message;
};

static struct {
    uint64_t now;
    bool disconnected, no_room, farm_dead, dot_sent, takes_dsn, unreachable, silent;
    struct node_question *asked[ASKED_MAX];
    struct delivery *delivery;
    struct scan *scan;
    unsigned deliveries, idle, viruses;
    enum spool_stored stored;
    bool late; /* it ended with the last chunk asked for, and not refused */
    unsigned answers;
} d;

/* ---- clock ---- */

uint64_t clock_ms(void)
{
    return d.now;
}
uint64_t clock_us(void)
{
    return d.now * 1000;
}
uint64_t clock_wall_ms(void)
{
    return d.now + UINT64_C(1795000000000);
}
char *clock_rfc5322(char out[40])
{
    return strcpy(out, "Sat, 21 Nov 2026 18:48:48 +0000");
}

/* ---- coordinator ---- */

bool node_is_connected(const struct node *node)
{
    (void)node;
    return !d.disconnected;
}

struct node_question *node_ask(struct node *node, Weir__Question *question, const struct link_payload *payloads, size_t count,
                               uint64_t timeout_ms, node_answer_handler answer, void *arg)
{
    (void)node, (void)timeout_ms;
    if (d.no_room)
        return NULL;
    size_t at = 0, len = weir__question__get_packed_size(question);
    while (at < ASKED_MAX && d.asked[at] != NULL)
        at++;
    ck_assert_uint_lt(at, ASKED_MAX);
    uint8_t *packed = xmalloc(len);
    weir__question__pack(question, packed);
    struct node_question *asked = xcalloc(1, sizeof *asked);
    asked->question = weir__question__unpack(NULL, len, packed);
    free(packed);
    for (size_t i = 0; i < count; i++) {
        asked->payloads[i] = xcalloc(1, payloads[i].len + 1); /* so that text in it ends */
        memcpy(asked->payloads[i], payloads[i].data, payloads[i].len);
        asked->lens[i] = payloads[i].len;
    }
    asked->count = count;
    asked->answer = answer;
    asked->arg = arg;
    return d.asked[at] = asked;
}

static void question_free(struct node_question *asked)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (d.asked[i] == asked)
            d.asked[i] = NULL;
    for (size_t i = 0; i < asked->count; i++)
        free(asked->payloads[i]);
    weir__question__free_unpacked(asked->question, NULL);
    free(asked);
}

void node_question_cancel(struct node_question **question)
{
    if (*question != NULL)
        question_free(*question);
    *question = NULL;
}

/* The question of this kind that is under way; NULL: none. */
static struct node_question *asked(Weir__Question__BodyCase kind)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (d.asked[i] != NULL && d.asked[i]->question->body_case == kind)
            return d.asked[i];
    return NULL;
}

/* How many are under way. */
static size_t asked_count(Weir__Question__BodyCase kind)
{
    size_t count = 0;
    for (size_t i = 0; i < ASKED_MAX; i++)
        count += d.asked[i] != NULL && d.asked[i]->question->body_case == kind;
    return count;
}

static uint64_t offset_of(const struct node_question *question)
{
    const Weir__Question *one = question->question;
    return one->body_case == WEIR__QUESTION__BODY_SPOOL_FETCH ? one->spool_fetch->offset : one->spool_chunk->offset;
}

/* The one that begins there; NULL: none. */
static struct node_question *asked_at(Weir__Question__BodyCase kind, uint64_t offset)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (d.asked[i] != NULL && d.asked[i]->question->body_case == kind && offset_of(d.asked[i]) == offset)
            return d.asked[i];
    return NULL;
}

#define ASKED_AT(KIND, offset) asked_at(WEIR__QUESTION__BODY_SPOOL_##KIND, offset)
#define ASKED_COUNT(KIND)      asked_count(WEIR__QUESTION__BODY_SPOOL_##KIND)
#define ASKED(KIND) asked(WEIR__QUESTION__BODY_SPOOL_##KIND)

static void reply(struct node_question *question, Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    ck_assert_ptr_nonnull(question);
    node_answer_handler handler = question->answer;
    void *arg = question->arg;
    for (size_t i = 0; i < ASKED_MAX; i++) /* it is gone when it is answered */
        if (d.asked[i] == question)
            d.asked[i] = NULL;
    handler(arg, answer, payloads, count);
    question_free(question);
}

static void reply_status(struct node_question *question, Weir__AnswerStatus status)
{
    Weir__Answer answer = WEIR__ANSWER__INIT;
    answer.status = status;
    reply(question, &answer, NULL, 0);
}

static void reply_stored(struct node_question *question, const char *id, uint64_t have, bool complete)
{
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__SpoolStored body = WEIR__SPOOL_STORED__INIT;
    body.id = wire_text(id);
    body.have = have;
    body.complete = complete;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_STORED;
    answer.spool_stored = &body;
    reply(question, &answer, NULL, 0);
}

/* ---- scanner and next hop ---- */

bool scan_farm_has_live(const struct scan_farm *farm)
{
    (void)farm;
    return !d.farm_dead;
}
struct scan *scan_start(struct scan_farm *farm, const struct queue_id *id, const struct message *message, const struct scan_facts *facts,
                        const struct scan_handlers *handlers, void *arg)
{
    (void)farm, (void)facts;
    ck_assert_str_eq(id->text, ID);
    d.scan = xcalloc(1, sizeof *d.scan);
    *d.scan = (struct scan){ handlers, arg, message };
    return d.scan;
}
void scan_finish(struct scan *scan)
{
    (void)scan;
}
void scan_cancel(struct scan **scan)
{
    free(*scan);
    *scan = d.scan = NULL;
}
static void scanned(Weir__Verdict verdict, Weir__UnknownReason reason)
{
    struct scan *scan = d.scan;
    struct scan_result result = { .verdict = verdict, .reason = reason, .engine = "ClamAV", .signatures = "42", .signature = "Eicar" };
    d.scan = NULL;
    scan->handlers->done(scan->arg, &result);
    free(scan);
}

struct delivery *delivery_new(struct delivery_pool *pool, const struct next_hop *hop, const struct delivery_envelope *envelope,
                              const struct delivery_handlers *handlers, void *arg)
{
    (void)pool, (void)envelope;
    ck_assert_str_eq(hop->host, "next.example.edu");
    d.deliveries++;
    d.delivery = xcalloc(1, sizeof *d.delivery);
    *d.delivery = (struct delivery){ .handlers = handlers, .arg = arg };
    return d.delivery;
}
void delivery_rcpt(struct delivery *delivery, const struct delivery_recipient *recipient)
{
    (void)recipient;
    delivery->asked++;
}
void delivery_send(struct delivery *delivery, const char *header_prefix, size_t prefix_len, const struct message *message)
{
    (void)message;
    delivery->sent = true;
    snprintf(delivery->prefix, sizeof delivery->prefix, "%.*s", (int)prefix_len, header_prefix);
}
void delivery_cancel(struct delivery **delivery)
{
    free(*delivery);
    if (*delivery != NULL)
        d.delivery = NULL;
    *delivery = NULL;
}
bool delivery_take_back(struct delivery **delivery)
{
    if (!d.dot_sent)
        delivery_cancel(delivery);
    return !d.dot_sent;
}
void delivery_set_deadline(struct delivery *delivery, uint64_t deadline_ms)
{
    delivery->deadline = deadline_ms;
}
const char *delivery_next_hop_text(const struct delivery *delivery)
{
    (void)delivery;
    return d.unreachable ? "" : "next.example.edu[192.0.2.9]:25";
}
bool delivery_hop_takes_dsn(const struct delivery *delivery)
{
    (void)delivery;
    return d.takes_dsn;
}
static void answer_rcpt(unsigned index, int code, const char *enhanced)
{
    struct smtp_reply says = { .code = code, .silent = d.silent, .text = "words" };
    snprintf(says.enhanced, sizeof says.enhanced, "%s", enhanced);
    d.delivery->handlers->recipient(d.delivery->arg, index, &says);
}
static void answer_message(int code, bool maybe)
{
    struct delivery *delivery = d.delivery;
    struct smtp_reply says = { .code = code, .silent = d.silent, .text = "words" };
    d.delivery = NULL;
    delivery->handlers->done(delivery->arg, &says, maybe);
    free(delivery);
}

/* ---- storing ---- */

static struct event_base *base;
static struct message_budget budget;
static struct spool_ahead ahead;

static void turn(uint64_t ms)
{
    d.now += ms;
    for (int i = 0; i < 3; i++) /* timers of the loop run in real time: the shortest is 100 ms */
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void on_stored(void *arg, enum spool_stored stored, const char *why)
{
    struct spool_store **store = arg;
    (void)why;
    d.late = spool_store_is_late(*store);
    *store = NULL;
    d.stored = stored;
    d.answers++;
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

static void setup(void)
{
    memset(&d, 0, sizeof d);
    d.now = 1000000;
    base = event_base_new();
    budget = (struct message_budget){ .memory_max = 64 << 20, .threshold = 64 << 20, .tmp_dir = "/tmp" };
    ahead = (struct spool_ahead){ .max = 100 * SPOOL_CHUNK };
}

static void teardown(void)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        ck_assert_ptr_null(d.asked[i]);
    ck_assert(d.scan == NULL && d.delivery == NULL);
    ck_assert_uint_eq(budget.memory_used, 0);
    ck_assert_uint_eq(ahead.used, 0);
    event_base_free(base);
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
    ck_assert(d.answers == 1 && d.stored == SPOOL_STORED && store == NULL);
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
    reply_stored(question, ID, have, false);
    for (unsigned chunks = 0; store != NULL; chunks++) {
        ck_assert_uint_lt(chunks, 4);
        question = ASKED(CHUNK);
        ck_assert_uint_eq(question->question->spool_chunk->offset, have);
        /* Not ck_assert for each byte, which tells its parent process of each success. */
        for (size_t i = 0; i < question->lens[0]; i++)
            if ((unsigned char)question->payloads[0][i] != (unsigned char)((have + i - 13) * 7 + (have + i - 13) / 251))
                ck_abort_msg("byte %zu is another", have + i);
        have += question->lens[0];
        ck_assert_int_eq(question->question->spool_chunk->last, have == size + 13);
        reply_stored(question, ID, have, have == size + 13);
    }
    ck_assert(d.answers == 1 && d.stored == SPOOL_STORED && have == size + 13);
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
        if (d.asked[i] != NULL && d.asked[i]->question->body_case == WEIR__QUESTION__BODY_SPOOL_CHUNK && chosen-- == 0)
            question = d.asked[i];
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
    ck_assert(d.answers == 1 && d.stored == SPOOL_STORED && have == size);
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
    ck_assert(d.answers == 1 && store == NULL && !d.late);
    ck_assert_int_eq(d.stored, _i == 0 ? SPOOL_FULL : SPOOL_UNAVAILABLE);
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
    ck_assert(d.answers == 1 && store == NULL && d.stored == SPOOL_UNAVAILABLE);
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
    ck_assert(d.answers == 1 && store == NULL);
    ck_assert_int_eq(d.stored, _i == 0 ? SPOOL_FULL : SPOOL_UNAVAILABLE);
    ck_assert_msg(d.late == (_i == 0 || _i == 1 || _i == 3), "case %d", _i); /* whether it may be stored all the same */
    message_free(&message);
}
END_TEST

START_TEST(store_waits_for_room)
{
    struct message *message;
    struct spool_store *store;
    d.no_room = true;
    store_begin(&message, 100, &store);
    ck_assert(store != NULL && ASKED(STORE) == NULL && !spool_store_is_late(store));
    d.no_room = false;
    while (ASKED(STORE) == NULL)
        event_base_loop(base, EVLOOP_ONCE);
    spool_store_cancel(&store);
    ck_assert_uint_eq(d.answers, 0);
    d.no_room = true;
    message_free(&message);
    store_begin(&message, 100, &store);
    d.now += 2000;
    while (d.answers == 0)
        event_base_loop(base, EVLOOP_ONCE);
    ck_assert_int_eq(d.stored, SPOOL_UNAVAILABLE);
    message_free(&message);
}
END_TEST

/* ---- running ---- */

static struct {
    struct spool_runner *runner;
    struct edge_settings settings;
    struct metrics metrics;
    struct queue_id_source ids;
    unsigned readers; /* whom the sender's address stands for; 0: found says why nobody */
    enum readers_found found;
    uint64_t epoch; /* of the policy, */
    struct spool_route routes[2]; /* and where it routes a@ and b@ */
} r;

static uint64_t policy_epoch(void *arg)
{
    (void)arg;
    return r.epoch;
}

static void route(void *arg, const char *address, struct spool_route *out)
{
    (void)arg;
    *out = r.routes[address[0] - 'a'];
}

static enum readers_found find_readers(void *arg, const char *address, struct readers *readers)
{
    (void)arg;
    ck_assert_str_eq(address, "sender@example.org");
    for (unsigned i = 0; i < r.readers; i++)
        readers_add(readers, i == 0 ? address : "secretary@example.org", i == 0 ? "[next.example.edu]:25" : "[other.example.edu]:25");
    return r.readers > 0 ? READERS_FOUND : r.found;
}

static void virus(void *arg, const Weir__SpoolEnvelope *envelope, const char *signature)
{
    (void)arg, (void)signature;
    ck_assert(wire_equal(&envelope->id, ID));
    d.viruses++;
}

static void idle(void *arg)
{
    (void)arg;
    d.idle++;
}

static void runner_begin(bool scanning)
{
    static int farm;
    static char name[] = "edge-1.test";
    memset(&r, 0, sizeof r);
    r.readers = 1;
    metrics_init(&r.metrics);
    queue_id_source_init(&r.ids, "edge-1", 0, 7);
    r.settings = (struct edge_settings){ .hostname = name, .spool_concurrency = 2, .dsn_return_size = 1024,
                                         .limits_action = UNKNOWN_REJECT, .unscannable_action = UNKNOWN_DISCARD };
    r.runner = spool_runner_new(&(struct spool_runner_options){
        .base = base, .farm = scanning ? (struct scan_farm *)&farm : NULL, .settings = &r.settings, .contact = "", .name = "edge-1",
        .budget = &budget, .ahead = &ahead, .ids = &r.ids, .metrics = &r.metrics, .readers = find_readers,
        .policy_epoch = policy_epoch, .route = route, .virus = virus, .idle = idle });
    ck_assert_ptr_null(ASKED(CLAIM));
    spool_runner_resume(r.runner);
}

static void runner_end(void)
{
    spool_runner_free(&r.runner);
    metrics_fini(&r.metrics);
}

/* The runner's tick, by the test's clock. */
static void tick(uint64_t ms)
{
    d.now += ms;
    struct timeval wait = { 0, 120000 };
    event_base_loopexit(base, &wait);
    event_base_loop(base, 0);
}

struct grant {
    bool scanned, warn, last, bounce, give_up, fail_untold, dsn;
    const char *sender;
    unsigned recipients, notify;
    uint64_t token; /* 0: 7 */
    const char *original, *given;
    uint64_t routed, routed_again, routed_newest; /* policies that said where it goes */
};

static void grant_to(struct node_question *claim, const struct grant *wanted)
{
    size_t count = wanted->recipients != 0 ? wanted->recipients : 1;
    Weir__SpoolRecipient *recipients = xcalloc(count, sizeof *recipients), **list = xcalloc(count, sizeof *list);
    Weir__SpoolRecipients packed = WEIR__SPOOL_RECIPIENTS__INIT;
    Weir__SpoolEnvelope envelope = WEIR__SPOOL_ENVELOPE__INIT;
    Weir__SpoolLease lease = WEIR__SPOOL_LEASE__INIT, *leases[] = { &lease };
    Weir__SpoolLeases body = WEIR__SPOOL_LEASES__INIT;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    for (unsigned i = 0; i < count; i++) {
        weir__spool_recipient__init(&recipients[i]);
        list[i] = &recipients[i];
        recipients[i].index = 3 + i;
        recipients[i].address = wire_text(i == 0 ? "a@example.edu" : "b@example.edu");
        recipients[i].destination = wire_text("[next.example.edu]:25");
        recipients[i].notify = wanted->notify;
        recipients[i].original = wire_text(wanted->original);
        recipients[i].given = wire_text(wanted->given);
    }
    packed.recipients = list;
    packed.n_recipients = count;
    envelope.id = wire_text(ID);
    envelope.sender = wire_text(wanted->sender != NULL ? wanted->sender : "sender@example.org");
    envelope.listener = wire_text("handoff");
    envelope.client = wire_text("192.0.2.1");
    envelope.scanned = wanted->scanned;
    envelope.dsn = wanted->dsn;
    envelope.size = 14;
    envelope.policy_epoch = wanted->routed;
    lease.policy_epoch = wanted->routed_again;
    lease.policy_newest = wanted->routed_newest;
    lease.envelope = &envelope;
    lease.destination = wire_text("[next.example.edu]:25");
    lease.token = wanted->token != 0 ? wanted->token : 7;
    lease.lease_ms = 30000;
    lease.last_try = wanted->last;
    lease.warn_delay = wanted->warn;
    lease.bounce = wanted->bounce;
    lease.give_up = wanted->give_up;
    lease.fail_untold = wanted->fail_untold;
    body.leases = leases;
    body.n_leases = 1;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_LEASES;
    answer.spool_leases = &body;
    struct link_payload payload;
    uint8_t *bytes = wire_recipients_encode(&packed, &payload.len);
    payload.data = bytes;
    reply(claim, &answer, &payload, 1);
    free(bytes);
    free(recipients);
    free(list);
}

static void grant(const struct grant *wanted)
{
    grant_to(ASKED(CLAIM), wanted);
}

static void give_body(void)
{
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__SpoolData body = WEIR__SPOOL_DATA__INIT;
    body.id = wire_text(ID);
    body.size = 14;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_DATA;
    answer.spool_data = &body;
    reply(ASKED(FETCH), &answer, &(struct link_payload){ "X: y\r\n\r\nbody\r\n", 14 }, 1);
}

/* A part of a body of this size, whose byte at n is n / 1000. */
static void give_part(struct node_question *question, uint64_t size, size_t len)
{
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__SpoolData body = WEIR__SPOOL_DATA__INIT;
    uint64_t offset = question->question->spool_fetch->offset;
    char *bytes = xmalloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)((offset + i) / 1000);
    body.id = wire_text(ID);
    body.size = size;
    body.offset = offset;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_DATA;
    answer.spool_data = &body;
    reply(question, &answer, &(struct link_payload){ bytes, len }, 1);
    free(bytes);
}

/* What the result says of the recipients: "delivered 250, failed 550". */
static const char *result_text(void)
{
    static const char *const names[] = { "?", "delivered", "failed", "deferred", "discarded", "released", "rerouted" };
    static char text[256];
    struct error why;
    struct node_question *question = ASKED(RESULT);
    ck_assert_ptr_nonnull(question);
    Weir__SpoolOutcomes *outcomes = wire_outcomes_decode(question->payloads[0], question->lens[0], &why);
    size_t len = 0;
    ck_assert(outcomes != NULL && question->question->spool_result->token == 7);
    for (size_t i = 0; i < outcomes->n_outcomes; i++) {
        ck_assert_uint_eq(outcomes->outcomes[i]->index, 3 + i);
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s %u", i > 0 ? ", " : "", names[outcomes->outcomes[i]->disposition],
                                outcomes->outcomes[i]->code);
    }
    wire_outcomes_free(&outcomes);
    return text;
}

static const char *dsn_text(void)
{
    struct node_question *question = ASKED(RESULT);
    return question->count == 3 ? question->payloads[2] : "";
}

static void settle(void)
{
    reply_status(ASKED(RESULT), WEIR__ANSWER_STATUS__ANSWER_OK);
}

START_TEST(delivered)
{
    runner_begin(true);
    ck_assert(ASKED(CLAIM)->question->spool_claim->room == 2 && ASKED(CLAIM)->question->spool_claim->scanners);
    grant(&(struct grant){ .recipients = 2 });
    ck_assert_uint_eq(ASKED(CLAIM)->question->spool_claim->room, 1);
    ck_assert_uint_eq(ASKED(CLAIM)->question->spool_claim->wait_ms, 10000);
    give_body();
    ck_assert(d.delivery == NULL && d.scan != NULL);
    scanned(WEIR__VERDICT__VERDICT_CLEAN, 0);
    ck_assert_uint_eq(d.delivery->asked, 2);
    ck_assert_uint_eq(d.delivery->deadline, 1000000 + 30000 - 3750);
    answer_rcpt(0, 250, "2.1.5");
    ck_assert(!d.delivery->sent);
    answer_rcpt(1, 550, "5.1.1");
    ck_assert(d.delivery->sent && strncmp(d.delivery->prefix, "X-Virus-Scanned: Weir at edge-1.test (ClamAV", 40) == 0);
    answer_message(250, false);
    ck_assert_str_eq(result_text(), "delivered 250, failed 550");
    const Weir__SpoolResult *result = ASKED(RESULT)->question->spool_result;
    ck_assert(result->scanned && !result->destination_down && result->dsn != NULL && result->dsn->dsn && result->dsn->scanned);
    ck_assert(result->dsn->sender.len == 0);
    settle();
    ck_assert_uint_eq(spool_runner_jobs(r.runner), 0);
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
    for (unsigned steps = 0; d.scan == NULL; steps++) {
        ck_assert_uint_lt(steps, 200);
        size_t count = ASKED_COUNT(FETCH), chosen = count > 0 ? rand_r(&seed) % count : 0;
        struct node_question *question = NULL;
        if (count == 0)
            tick(0);
        for (size_t i = 0; count > 0 && question == NULL; i++)
            if (d.asked[i] != NULL && d.asked[i]->question->body_case == WEIR__QUESTION__BODY_SPOOL_FETCH && chosen-- == 0)
                question = d.asked[i];
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
    ck_assert(body_is_right(d.scan->message, size));
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
        ck_assert(ASKED_COUNT(FETCH) == 1 && spool_runner_jobs(r.runner) == 1);
        reply_status(ASKED(FETCH), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
        ck_assert_uint_eq(spool_runner_jobs(r.runner), 0);
    } else {
        spool_runner_drain(r.runner);
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
    ck_assert_uint_eq(d.deliveries, 0);
    ck_assert_str_eq(result_text(), verdicts[_i].result);
    ck_assert_uint_eq(d.viruses, verdicts[_i].verdict == WEIR__VERDICT__VERDICT_BAD);
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

START_TEST(busy_scanners)
{
    runner_begin(true);
    grant(&(struct grant){ 0 });
    give_body();
    struct scan *scan = d.scan;
    d.scan = NULL;
    scan->handlers->busy(scan->arg, "busy");
    free(scan);
    ck_assert_str_eq(result_text(), "released 0");
    settle();
    reply_status(ASKED(CLAIM), WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE); /* rests for a second */
    tick(500);
    ck_assert_ptr_null(ASKED(CLAIM));
    d.farm_dead = true;
    tick(600);
    ck_assert(!ASKED(CLAIM)->question->spool_claim->scanners && ASKED(CLAIM)->question->spool_claim->wait_ms <= 1000);
    runner_end();
}
END_TEST

static const struct {
    struct grant grant;
    int code;
    const char *enhanced, *result, *dsn; /* "": none */
    bool down, unreachable, takes_dsn;
} replies[] = {
    { { .scanned = true }, 450, "4.2.2", "deferred 450", "", false, false, false },
    { { .scanned = true }, 451, "4.4.1", "deferred 451", "", true, true, false },
    { { .scanned = true }, 451, "4.4.5", "deferred 451", "", false, true, false },
    { { .scanned = true, .warn = true }, 450, "4.2.2", "deferred 450", "Action: delayed", false, false, false },
    { { .scanned = true, .warn = true, .notify = SMTP_NOTIFY_FAILURE }, 450, "4.2.2", "deferred 450", "", false, false, false },
    { { .scanned = true, .last = true }, 450, "4.2.2", "failed 450", "Action: failed", false, false, false },
    { { .scanned = true }, 550, "5.1.1", "failed 550", "Action: failed", false, false, false },
    { { .scanned = true, .sender = "" }, 550, "5.1.1", "failed 550", "", false, false, false },
    { { .scanned = true, .dsn = true }, 550, "5.1.1", "failed 550", "", false, false, false },
    { { .scanned = true, .notify = SMTP_NOTIFY_NEVER }, 550, "5.1.1", "failed 550", "", false, false, false },
    { { .scanned = true, .notify = SMTP_NOTIFY_SUCCESS }, 250, "2.1.5", "delivered 250", "Action: relayed", false, false, false },
    { { .scanned = true, .notify = SMTP_NOTIFY_SUCCESS }, 250, "2.1.5", "delivered 250", "", false, false, true },
};

START_TEST(outcome)
{
    d.unreachable = replies[_i].unreachable;
    d.takes_dsn = replies[_i].takes_dsn;
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

/* A next hop that was reached and then leaves without a word, at RCPT or behind the dot: its mail waits for one that finds it well. */
START_TEST(silence)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    give_body();
    d.silent = _i == 0;
    answer_rcpt(0, d.silent ? 451 : 250, d.silent ? "4.4.2" : "2.1.5");
    d.silent = true;
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

START_TEST(returned_by_an_operator)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true, .bounce = true });
    give_body();
    ck_assert_uint_eq(d.deliveries, 0);
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
    ck_assert(d.deliveries == 0 && d.scan == NULL);
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
    r.readers = senders[_i].readers;
    r.found = senders[_i].found;
    r.epoch = senders[_i].epoch;
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
    ck_assert_int_eq((int)metrics_counter(&r.metrics, "weir_edge_spool_dsn_dropped_total", NULL)->value, senders[_i].dropped);
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
    r.epoch = new_routes[_i].epoch;
    memcpy(r.routes, new_routes[_i].routes, sizeof r.routes);
    if (new_routes[_i].untold) {
        r.readers = 0;
        r.found = READERS_LATER;
    }
    grant(&wanted);
    give_body();
    ck_assert_uint_eq(d.delivery != NULL ? d.delivery->asked : 0, given);
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

/* Who is refused by its route waits for the verdict with the others: a virus is returned to nobody, and whoever is refused by then gets no delivery. */
START_TEST(refused_by_their_route_during_a_scan)
{
    static const struct spool_route before[][2] = { { HERE, HERE }, { ERROR(550), HERE } }, after[] = { ERROR(450), ERROR(450) };
    bool bad = _i == 1;
    runner_begin(true);
    r.epoch = 6;
    memcpy(r.routes, before[_i], sizeof r.routes);
    grant(&(struct grant){ .routed = 5, .recipients = 2 });
    give_body();
    ck_assert_ptr_null(ASKED(RESULT));
    memcpy(r.routes, after, sizeof r.routes);
    scanned(bad ? WEIR__VERDICT__VERDICT_BAD : WEIR__VERDICT__VERDICT_CLEAN, 0);
    ck_assert_uint_eq(d.deliveries, 0);
    ck_assert_str_eq(result_text(), bad ? "discarded 550, discarded 550" : "deferred 450, deferred 450");
    ck_assert_uint_eq(ASKED(RESULT)->count, 1);
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

/* The process slept through the end of its lease: what comes next is not a message. */
START_TEST(overslept)
{
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    give_body();
    d.now += 30000;
    answer_rcpt(0, 250, "2.1.5");
    ck_assert(d.delivery == NULL && ASKED(RESULT) == NULL && spool_runner_jobs(r.runner) == 0);
    runner_end();
}
END_TEST

START_TEST(lease_ends)
{
    d.dot_sent = _i == 2;
    runner_begin(true);
    grant(&(struct grant){ .scanned = true });
    reply_status(ASKED(CLAIM), WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
    if (_i > 0) {
        give_body();
        answer_rcpt(0, 250, "2.1.5");
    }
    tick(27000);
    if (_i < 2) {
        ck_assert(d.delivery == NULL && spool_runner_jobs(r.runner) == 0 && ASKED(RESULT) == NULL);
    } else { /* the next hop has it: its word is still passed on, and refused */
        answer_message(250, false);
        ck_assert_str_eq(result_text(), "delivered 250");
        reply_status(ASKED(RESULT), WEIR__ANSWER_STATUS__ANSWER_REFUSED);
        ck_assert_uint_eq(spool_runner_jobs(r.runner), 0);
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
        ck_assert_uint_eq(d.delivery->deadline, 1010000 + 14000);
    else
        ck_assert(d.delivery == NULL && spool_runner_jobs(r.runner) == 0);
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
    r.settings.spool_concurrency = 300;
    for (unsigned i = 0; i < 300; i++)
        grant(&(struct grant){ .scanned = true, .token = 100 + i });
    ck_assert_uint_eq(spool_runner_jobs(r.runner), 300);
    tick(10000);
    ck_assert_uint_eq(renew(), 256);
    ck_assert_uint_eq(spool_runner_jobs(r.runner), 300);
    tick(100);
    ck_assert_uint_eq(renew(), 44);
    tick(100);
    ck_assert_ptr_null(ASKED(RENEW));
    tick(18000); /* the first leases would be over */
    ck_assert_uint_eq(spool_runner_jobs(r.runner), 300);
    ck_assert_int_eq((int)metrics_counter(&r.metrics, "weir_edge_spool_leases_lost_total", NULL)->value, 0);
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
    r.settings.spool_concurrency = room_again[_i].concurrency;
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
    return (int)metrics_gauge(&r.metrics, "weir_edge_spool_spare_jobs", NULL)->value;
}

/* All places are taken and nothing ends: there are a few more for other destinations, and with them nothing is claimed for these. */
START_TEST(places_of_others)
{
    runner_begin(true);
    r.settings.spool_spare = 2;
    for (unsigned i = 0; i < 2; i++)
        grant(&(struct grant){ .scanned = true, .token = 100 + i });
    ck_assert_ptr_null(claim_asked());
    tick(100);
    ck_assert(claim_asked() != NULL && claim_asked()->others && claim_asked()->room == 2);
    grant(&(struct grant){ .scanned = true, .token = 200 });
    ck_assert(claim_asked()->others && claim_asked()->room == 1);
    grant(&(struct grant){ .scanned = true, .token = 201 });
    ck_assert(claim_asked() == NULL && spool_runner_jobs(r.runner) == 4 && spare_jobs() == 2);
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
        ck_assert(d.asked[i] == NULL || d.asked[i] == usual);
    runner_end();
}
END_TEST

/* Where jobs end, or there is to be no spare place, no place at all, or still one of the usual, a claim for others would be for nothing. */
START_TEST(no_places_of_others)
{
    runner_begin(true);
    r.settings.spool_spare = _i == 0 ? 0 : 2;
    r.settings.spool_concurrency = 3;
    for (unsigned i = 0; i < (_i == 1 ? 2 : 3); i++)
        grant(&(struct grant){ .scanned = true, .token = 100 + i });
    if (_i == 2) {
        r.settings.spool_concurrency = 2;
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
    ck_assert_uint_eq(spool_runner_jobs(r.runner), 0);
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
    spool_runner_drain(r.runner);
    if (_i == 1) {
        ck_assert(d.delivery != NULL && ASKED(RESULT) == NULL);
        answer_message(250, false);
    }
    ck_assert_str_eq(result_text(), _i == 1 ? "delivered 250" : "released 0");
    tick(100);
    ck_assert_uint_eq(d.idle, 0);
    settle();
    tick(100);
    ck_assert_uint_gt(d.idle, 0);
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
    spool_runner_drain(r.runner);
    ck_assert_str_eq(result_text(), "failed 550, released 0");
    ck_assert_ptr_nonnull(strstr(dsn_text(), "X: y"));
    settle();
    tick(100);
    ck_assert_uint_gt(d.idle, 0);
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
    ck_assert_uint_eq(spool_runner_jobs(r.runner), 0);
    grant(&(struct grant){ .scanned = true });
    reply_status(ASKED(FETCH), WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE);
    while (ASKED(FETCH) == NULL)
        tick(100);
    runner_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("spool");
    TCase *tests = tcase_create("spool");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, store_small);
    tcase_add_test(tests, store_large);
    tcase_add_loop_test(tests, store_ahead, 0, 8);
    tcase_add_loop_test(tests, store_ahead_not, 0, 2);
    tcase_add_loop_test(tests, store_ahead_no_more, 0, 4);
    tcase_add_test(tests, store_ahead_is_bounded);
    tcase_add_loop_test(tests, fetched_ahead, 0, 6);
    tcase_add_loop_test(tests, fetched_ahead_not, 0, 2);
    tcase_add_loop_test(tests, store_not, 0, 8);
    tcase_add_test(tests, store_waits_for_room);
    tcase_add_test(tests, delivered);
    tcase_add_loop_test(tests, line_of_a_recipient, 0, (int)(sizeof log_lines / sizeof *log_lines));
    tcase_add_loop_test(tests, not_clean, 0, (int)(sizeof verdicts / sizeof *verdicts));
    tcase_add_test(tests, busy_scanners);
    tcase_add_loop_test(tests, outcome, 0, (int)(sizeof replies / sizeof *replies));
    tcase_add_loop_test(tests, silence, 0, 2);
    tcase_add_loop_test(tests, more_than_the_next_hop_takes, 0, (int)(sizeof crowds / sizeof *crowds));
    tcase_add_test(tests, returned_by_an_operator);
    tcase_add_test(tests, given_up);
    tcase_add_loop_test(tests, everybody_is_told, 0, (int)(sizeof senders / sizeof *senders));
    tcase_add_loop_test(tests, recipients_follow_their_route, 0, sizeof new_routes / sizeof *new_routes);
    tcase_add_loop_test(tests, refused_by_their_route_during_a_scan, 0, 2);
    tcase_add_loop_test(tests, more_than_one_dsn_can_tell, 0, (int)(sizeof many / sizeof *many));
    tcase_add_loop_test(tests, failures_are_told_first, 0, 2);
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

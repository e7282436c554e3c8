/*
 * spool_doubles.c - see spool_doubles.h
 */
#include "tests/unit/spool_doubles.h"
#include <stdio.h>
#include <stdlib.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/outbreak/outbreak.h"

struct spool_doubles doubles;

/* ---- clock ---- */

uint64_t clock_ms(void)
{
    return doubles.now;
}
uint64_t clock_us(void)
{
    return doubles.now * 1000;
}
uint64_t clock_wall_ms(void)
{
    return doubles.now + UINT64_C(1795000000000);
}
char *clock_rfc5322(char out[40])
{
    return strcpy(out, "Sat, 21 Nov 2026 18:48:48 +0000");
}

/* ---- coordinator ---- */

bool node_is_connected(const struct node *node)
{
    (void)node;
    return !doubles.disconnected;
}

struct node_question *node_ask(struct node *node, Weir__Question *question, const struct link_payload *payloads, size_t count,
                               uint64_t timeout_ms, node_answer_handler answer, void *arg)
{
    (void)node, (void)timeout_ms;
    if (doubles.no_room)
        return NULL;
    size_t at = 0, len = weir__question__get_packed_size(question);
    while (at < ASKED_MAX && doubles.asked[at] != NULL)
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
    return doubles.asked[at] = asked;
}

static void question_free(struct node_question *asked)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (doubles.asked[i] == asked)
            doubles.asked[i] = NULL;
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

struct node_question *asked(Weir__Question__BodyCase kind)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (doubles.asked[i] != NULL && doubles.asked[i]->question->body_case == kind)
            return doubles.asked[i];
    return NULL;
}

size_t asked_count(Weir__Question__BodyCase kind)
{
    size_t count = 0;
    for (size_t i = 0; i < ASKED_MAX; i++)
        count += doubles.asked[i] != NULL && doubles.asked[i]->question->body_case == kind;
    return count;
}

uint64_t offset_of(const struct node_question *question)
{
    const Weir__Question *one = question->question;
    return one->body_case == WEIR__QUESTION__BODY_SPOOL_FETCH ? one->spool_fetch->offset : one->spool_chunk->offset;
}

struct node_question *asked_at(Weir__Question__BodyCase kind, uint64_t offset)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (doubles.asked[i] != NULL && doubles.asked[i]->question->body_case == kind && offset_of(doubles.asked[i]) == offset)
            return doubles.asked[i];
    return NULL;
}

void reply(struct node_question *question, Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    ck_assert_ptr_nonnull(question);
    node_answer_handler handler = question->answer;
    void *arg = question->arg;
    for (size_t i = 0; i < ASKED_MAX; i++) /* it is gone when it is answered */
        if (doubles.asked[i] == question)
            doubles.asked[i] = NULL;
    handler(arg, answer, payloads, count);
    question_free(question);
}

void reply_status(struct node_question *question, Weir__AnswerStatus status)
{
    Weir__Answer answer = WEIR__ANSWER__INIT;
    answer.status = status;
    reply(question, &answer, NULL, 0);
}

void reply_stored(struct node_question *question, const char *id, uint64_t have, bool complete)
{
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__SpoolStored body = WEIR__SPOOL_STORED__INIT;
    body.id = wire_text(id);
    body.have = have;
    body.complete = complete;
    body.let_in = doubles.let_in;
    body.n_let_in = doubles.let_in_count;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_STORED;
    answer.spool_stored = &body;
    reply(question, &answer, NULL, 0);
}

/* ---- scanner and next hop ---- */

bool scan_farm_has_live(const struct scan_farm *farm)
{
    (void)farm;
    return !doubles.farm_dead;
}
struct scan *scan_start(struct scan_farm *farm, const struct queue_id *id, const struct message *message, const struct scan_facts *facts,
                        const struct scan_handlers *handlers, void *arg)
{
    (void)farm;
    ck_assert_str_eq(id->text, ID);
    doubles.scan = xcalloc(1, sizeof *doubles.scan);
    *doubles.scan = (struct scan){ handlers, arg, message, facts->spam != NULL };
    return doubles.scan;
}
void scan_finish(struct scan *scan)
{
    (void)scan;
}
void scan_cancel(struct scan **scan)
{
    free(*scan);
    *scan = doubles.scan = NULL;
}
static void scan_ends(Weir__Verdict verdict, Weir__UnknownReason reason, Weir__SpamResult *spam)
{
    struct scan *scan = doubles.scan;
    struct scan_result result = { .verdict = verdict, .reason = reason, .engine = "ClamAV", .signatures = "42", .signature = "Eicar", .spam = spam };
    doubles.scan = NULL;
    scan->handlers->done(scan->arg, &result);
    free(scan);
}
void scanned(Weir__Verdict verdict, Weir__UnknownReason reason)
{
    scan_ends(verdict, reason, NULL);
}
void scored(uint32_t score, const char *authentication)
{
    Weir__SpamResult spam = WEIR__SPAM_RESULT__INIT;
    spam.score = score;
    spam.authentication = wire_text(authentication);
    scan_ends(WEIR__VERDICT__VERDICT_CLEAN, 0, &spam);
}

struct delivery *delivery_new(struct delivery_pool *pool, const struct next_hop *hop, const struct delivery_envelope *envelope,
                              const struct delivery_handlers *handlers, void *arg)
{
    (void)pool;
    ck_assert_str_eq(hop->host, "next.example.edu");
    ck_assert_str_eq(envelope->egress, "of its sender");
    doubles.deliveries++;
    doubles.delivery = xcalloc(1, sizeof *doubles.delivery);
    *doubles.delivery = (struct delivery){ .handlers = handlers, .arg = arg };
    snprintf(doubles.delivery->sender, sizeof doubles.delivery->sender, "%s", envelope->sender);
    return doubles.delivery;
}
void delivery_rcpt(struct delivery *delivery, const struct delivery_recipient *recipient)
{
    (void)recipient;
    delivery->asked++;
}
void delivery_send(struct delivery *delivery, const char *header_prefix, size_t prefix_len, const struct message *message, uint64_t skip)
{
    (void)message, (void)skip;
    delivery->sent = true;
    snprintf(delivery->prefix, sizeof delivery->prefix, "%.*s", (int)prefix_len, header_prefix);
}
void delivery_cancel(struct delivery **delivery)
{
    free(*delivery);
    if (*delivery != NULL)
        doubles.delivery = NULL;
    *delivery = NULL;
}
bool delivery_take_back(struct delivery **delivery)
{
    if (!doubles.dot_sent)
        delivery_cancel(delivery);
    return !doubles.dot_sent;
}
void delivery_set_deadline(struct delivery *delivery, uint64_t deadline_ms)
{
    delivery->deadline = deadline_ms;
}
const char *delivery_next_hop_text(const struct delivery *delivery)
{
    (void)delivery;
    return doubles.unreachable ? "" : "next.example.edu[192.0.2.9]:25";
}
bool delivery_hop_takes_dsn(const struct delivery *delivery)
{
    (void)delivery;
    return doubles.takes_dsn;
}
void answer_rcpt(unsigned index, int code, const char *enhanced)
{
    struct smtp_reply says = { .code = code, .silent = doubles.silent, .unasked = doubles.unasked, .text = "words" };
    snprintf(says.enhanced, sizeof says.enhanced, "%s", enhanced);
    doubles.delivery->handlers->recipient(doubles.delivery->arg, index, &says);
}
void answer_message(int code, bool maybe)
{
    struct delivery *delivery = doubles.delivery;
    struct smtp_reply says = { .code = code, .silent = doubles.silent, .unasked = doubles.unasked, .text = "words" };
    doubles.delivery = NULL;
    delivery->handlers->done(delivery->arg, &says, maybe);
    free(delivery);
}

struct event_base *base;
struct message_budget budget;
struct spool_ahead ahead;

void turn(uint64_t ms)
{
    doubles.now += ms;
    for (int i = 0; i < 3; i++) /* timers of the loop run in real time: the shortest is 100 ms */
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

void setup(void)
{
    memset(&doubles, 0, sizeof doubles);
    doubles.now = 1000000;
    base = event_base_new();
    budget = (struct message_budget){ .memory_max = 64 << 20, .threshold = 64 << 20, .tmp_dir = "/tmp" };
    ahead = (struct spool_ahead){ .max = 100 * SPOOL_CHUNK };
}

void teardown(void)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        ck_assert_ptr_null(doubles.asked[i]);
    ck_assert(doubles.scan == NULL && doubles.delivery == NULL);
    ck_assert_uint_eq(budget.memory_used, 0);
    ck_assert_uint_eq(ahead.used, 0);
    event_base_free(base);
}

/* ---- running ---- */

struct spool_running running;

static uint64_t policy_epoch(void *arg)
{
    (void)arg;
    return running.epoch;
}

static const char *egress(void *arg, const Weir__SpoolEnvelope *envelope)
{
    (void)arg;
    ck_assert_uint_gt(envelope->id.len, 0);
    return "of its sender";
}

static void route(void *arg, const char *address, struct spool_route *out)
{
    (void)arg;
    *out = running.routes[address[0] - 'a'];
}

static enum readers_found find_readers(void *arg, const char *address, struct readers *readers)
{
    (void)arg;
    ck_assert_msg(strcmp(address, "sender@example.org") == 0 || strcmp(address, "owner-list@example.edu") == 0, "%s", address);
    for (unsigned i = 0; i < running.readers; i++)
        readers_add(readers, i == 0 ? address : "secretary@example.org", i == 0 ? "[next.example.edu]:25" : "[other.example.edu]:25");
    return running.readers > 0 ? READERS_FOUND : running.found;
}

static void spam_bands(void *arg, const Weir__SpoolEnvelope *envelope, const char *address, struct spam_bands *out)
{
    (void)arg, (void)envelope;
    *out = running.bands[address[0] - 'a'];
}

static void virus(void *arg, const Weir__SpoolEnvelope *envelope, const char *signature)
{
    (void)arg, (void)signature;
    ck_assert(wire_equal(&envelope->id, ID));
    doubles.viruses++;
}

static void idle(void *arg)
{
    (void)arg;
    doubles.idle++;
}

static const char *const *cluster_names(void *arg)
{
    static const char *const names[] = { "edge-1.test", "edge-2.test", NULL };
    (void)arg;
    return names;
}

void runner_begin(bool scanning)
{
    static int farm;
    static char name[] = "edge-1.test", tag[] = "[SPAM]";
    memset(&running, 0, sizeof running);
    running.readers = 1;
    metrics_init(&running.metrics);
    queue_id_source_init(&running.ids, "edge-1", 0, 7);
    running.settings = (struct edge_settings){ .hostname = name, .spool_concurrency = 2, .dsn_return_size = 1024,
                                         .limits_action = UNKNOWN_REJECT, .unscannable_action = UNKNOWN_DISCARD };
    running.spam = (struct spam_settings){ .authserv_id = name, .spam_subject = tag };
    running.outbreak = outbreak_new(&running.settings, &running.metrics);
    running.runner = spool_runner_new(&(struct spool_runner_options){
        .base = base, .farm = scanning ? (struct scan_farm *)&farm : NULL, .settings = &running.settings, .spam = &running.spam, .contact = "", .name = "edge-1",
        .budget = &budget, .ahead = &ahead, .ids = &running.ids, .metrics = &running.metrics, .readers = find_readers,
        .policy_epoch = policy_epoch, .route = route, .egress = egress, .cluster_names = cluster_names, .spam_bands = spam_bands, .virus = virus, .idle = idle, .outbreak = running.outbreak });
    ck_assert_ptr_null(ASKED(CLAIM));
    spool_runner_resume(running.runner);
}

void runner_end(void)
{
    spool_runner_free(&running.runner);
    outbreak_free(&running.outbreak);
    metrics_fini(&running.metrics);
}

void tick(uint64_t ms)
{
    doubles.now += ms;
    struct timeval wait = { 0, 120000 };
    event_base_loopexit(base, &wait);
    event_base_loop(base, 0);
}

static void grant_to(struct node_question *claim, const struct grant *wanted)
{
    size_t count = wanted->recipients != 0 ? wanted->recipients : 1;
    const char *destination = wanted->destination != NULL ? wanted->destination : "[next.example.edu]:25";
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
        recipients[i].destination = wire_text(destination);
        recipients[i].notify = wanted->notify;
        recipients[i].original = wire_text(wanted->original);
        recipients[i].given = wire_text(wanted->given);
    }
    recipients[0].released = wanted->released;
    recipients[0].quarantine = wanted->released == WEIR__RELEASED__RELEASED_NOT ? WEIR__QUARANTINE__QUARANTINE_NOT
                               : wanted->quarantine != 0                        ? wanted->quarantine
                                                                                : WEIR__QUARANTINE__QUARANTINE_SPAM;
    recipients[0].attempts = wanted->tried;
    packed.recipients = list;
    packed.n_recipients = count;
    ProtobufCBinaryData owner = wire_text(wanted->owner);
    uint32_t first = 4, one = 1;
    envelope.senders = &owner, envelope.sender_firsts = &first, envelope.sender_counts = &one;
    envelope.n_senders = envelope.n_sender_firsts = envelope.n_sender_counts = wanted->owner != NULL;
    envelope.id = wire_text(ID);
    envelope.sender = wire_text(wanted->sender != NULL ? wanted->sender : "sender@example.org");
    envelope.envid = wire_text(wanted->envid);
    envelope.listener = wire_text("handoff");
    envelope.client = wire_text("192.0.2.1");
    envelope.scanned = wanted->scanned;
    envelope.dsn = wanted->dsn;
    envelope.size = 14;
    envelope.policy_epoch = wanted->routed;
    envelope.policy_newest = wanted->stored_newest;
    lease.policy_epoch = wanted->routed_again;
    lease.policy_newest = wanted->routed_newest;
    lease.envelope = &envelope;
    lease.destination = wire_text(destination);
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

void grant(const struct grant *wanted)
{
    grant_to(ASKED(CLAIM), wanted);
}

void give_body(void)
{
    give_message("X: y\r\n\r\nbody\r\n");
}

void give_message(const char *bytes)
{
    size_t len = strlen(bytes);
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__SpoolData body = WEIR__SPOOL_DATA__INIT;
    body.id = wire_text(ID);
    body.size = len;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_DATA;
    answer.spool_data = &body;
    reply(ASKED(FETCH), &answer, &(struct link_payload){ bytes, len }, 1);
}

void give_part(struct node_question *question, uint64_t size, size_t len)
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

const char *result_text(void)
{
    static const char *const names[] = { "?", "delivered", "failed", "deferred", "discarded", "released", "rerouted", "quarantined" };
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

const char *dsn_text(void)
{
    struct node_question *question = ASKED(RESULT);
    return question->count == 3 ? question->payloads[2] : "";
}

void settle(void)
{
    reply_status(ASKED(RESULT), WEIR__ANSWER_STATUS__ANSWER_OK);
}

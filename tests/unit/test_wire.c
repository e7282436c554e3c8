/*
 * test_wire.c - control frames: what is refused before, while and after unpacking
 *
 * Frames come to wire_decode() from a heap copy of exactly their length, so that the address sanitizer sees one byte
 * read too far.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/policy/bucket.h"
#include "proto/curve.h"
#include "proto/wire.h"
#include "proto/wire_rules.h"
#include "tests/unit/suite.h"

#define ID "01HQ0000000000000000"

static Weir__Frame *decode(const void *bytes, size_t len, size_t payloads, struct error *why)
{
    uint8_t *copy = calloc(1, len > 0 ? len : 1);

    if (len > 0)
        memcpy(copy, bytes, len);
    Weir__Frame *frame = wire_decode(copy, len, payloads, why);
    free(copy);
    return frame;
}

/* Encodes, decodes, frees: whether the other side would take it. */
static bool passes(Weir__Frame *frame, size_t payloads)
{
    struct error why;
    size_t len;
    uint8_t *bytes = wire_encode(frame, &len);

    ck_assert_ptr_nonnull(bytes);
    Weir__Frame *back = decode(bytes, len, payloads, &why);
    bool ok = back != NULL;
    if (ok)
        ck_assert_int_eq(back->body_case, frame->body_case);
    else
        ck_assert_str_ne(why.text, "");
    wire_free(&back);
    free(bytes);
    return ok;
}

/* --- whole frames --- */

START_TEST(test_round_trip)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__ScanOpen open = WEIR__SCAN_OPEN__INIT;
    struct error why;
    size_t len;
    char text[16];

    open.id = wire_text(ID);
    open.attempt = UINT64_C(0xfedcba9876543210);
    open.size_hint = 4096;
    open.whole = true;
    open.client = wire_text("192.0.2.7");
    open.sender = wire_bytes("a\0b", 3);
    frame.body_case = WEIR__FRAME__BODY_SCAN_OPEN;
    frame.scan_open = &open;
    uint8_t *bytes = wire_encode(&frame, &len);
    Weir__Frame *back = decode(bytes, len, 1, &why);
    ck_assert_ptr_nonnull(back);
    ck_assert_uint_eq(back->version, PROTO_VERSION);
    ck_assert_uint_eq(back->scan_open->attempt, open.attempt);
    ck_assert(wire_equal(&back->scan_open->id, ID));
    ck_assert_uint_eq(back->scan_open->sender.len, 3);
    ck_assert_str_eq(wire_string(text, sizeof text, &back->scan_open->sender), "a");
    ck_assert_str_eq(wire_string(text, 4, &back->scan_open->client), "192");
    wire_free(&back);
    ck_assert_ptr_null(back);
    ck_assert_ptr_null(decode(bytes, len, 0, &why)); /* `whole` without its payload */
    ck_assert_ptr_null(decode(bytes, len, 2, &why));
    for (size_t cut = 0; cut < len; cut++) { /* truncated anywhere: refused or, at a field's end, incomplete */
        back = decode(bytes, cut, 1, &why);
        wire_free(&back);
    }
    free(bytes);
}
END_TEST

struct raw {
    const char *name;
    const char *bytes;
    size_t len;
    size_t payloads;
    bool ok;
};

#define RAW(text) text, sizeof text - 1
static const struct raw raws[] = {
    { "empty", RAW(""), 0, false },
    { "version only", RAW("\x08\x01"), 0, false },
    { "heartbeat ack", RAW("\x08\x01\x8a\x02\x02\x08\x05"), 0, true },
    { "empty body is all zeros", RAW("\x08\x01\x8a\x02\x00"), 0, true },
    { "no version", RAW("\x8a\x02\x02\x08\x05"), 0, false },
    { "a payload too many", RAW("\x08\x01\x8a\x02\x02\x08\x05"), 1, false },
    { "newer version", RAW("\x08\x09\x8a\x02\x02\x08\x05"), 0, true },
    { "unknown body", RAW("\x08\x01\xaa\x1f\x00"), 0, false },
    { "a few unknown fields", RAW("\x08\x01\x8a\x02\x04\x78\x01\x78\x01"), 0, true },
    { "many unknown fields",
      RAW("\x08\x01\x78\x01\x78\x01\x78\x01\x78\x01\x78\x01\x78\x01\x78\x01\x78\x01\x78\x01\x8a\x02\x02\x08\x05"), 0,
      false },
    { "length beyond the end", RAW("\x08\x01\x8a\x02\x7f\x08\x05"), 0, false },
    { "endless varint", RAW("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 0, false },
    { "tag 0", RAW("\x00\x01"), 0, false },
    { "garbage", RAW("\xff\xff\xff\xff"), 0, false },
    { "two bodies: the last counts", RAW("\x08\x01\x8a\x02\x02\x08\x05\xca\x02\x02\x08\x07"), 0, true },
};

START_TEST(test_raw)
{
    const struct raw *row = &raws[_i];
    struct error why;

    Weir__Frame *frame = decode(row->bytes, row->len, row->payloads, &why);
    ck_assert_msg((frame != NULL) == row->ok, "%s: %s", row->name, frame != NULL ? "taken" : why.text);
    wire_free(&frame);
    frame = decode(row->bytes, row->len, row->payloads, NULL); /* words are optional */
    wire_free(&frame);
}
END_TEST

/* A body of 2-byte elements that unpack to a hundred bytes each. */
START_TEST(test_budget)
{
    struct error why;
    size_t count = 20000, inner = 2 * count, len = 0;
    uint8_t *bytes = malloc(inner + 16);

    bytes[len++] = 0x08, bytes[len++] = 0x01;
    bytes[len++] = 0x92, bytes[len++] = 0x02; /* cluster_state */
    for (size_t rest = inner;; rest >>= 7) {
        bytes[len++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
        if (rest <= 0x7f)
            break;
    }
    for (size_t i = 0; i < count; i++)
        bytes[len++] = 0x1a, bytes[len++] = 0x00; /* nodes {} */
    ck_assert_ptr_null(decode(bytes, len, 0, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "unpacks to more"));
    free(bytes);
}
END_TEST

static Weir__Frame *make_state(size_t nodes, size_t keys)
{
    static const uint8_t key[CURVE_KEY_LEN];
    static Weir__Frame frame;
    static Weir__ClusterState state;
    static Weir__NodeEntry entries[WIRE_NODES_MAX + 1], *entry_pointers[WIRE_NODES_MAX + 1];
    static Weir__AllowedKey allowed[WIRE_KEYS_MAX], *key_pointers[WIRE_KEYS_MAX];

    weir__frame__init(&frame);
    weir__cluster_state__init(&state);
    for (size_t i = 0; i < nodes; i++) {
        weir__node_entry__init(&entries[i]);
        entries[i].node = wire_text("scanner-1");
        entries[i].role = WEIR__ROLE__ROLE_SCANNER;
        entries[i].endpoint = wire_text("tcp://192.0.2.1:7100");
        entries[i].public_key = wire_bytes(key, CURVE_KEY_LEN);
        entry_pointers[i] = &entries[i];
    }
    for (size_t i = 0; i < keys; i++) {
        weir__allowed_key__init(&allowed[i]);
        allowed[i].public_key = wire_bytes(key, CURVE_KEY_LEN);
        allowed[i].name = wire_text("scanner-1");
        allowed[i].role = WEIR__ROLE__ROLE_SCANNER;
        key_pointers[i] = &allowed[i];
    }
    state.epoch = 1;
    state.coordinator = wire_text("coordinator-1");
    state.nodes = entry_pointers;
    state.n_nodes = nodes;
    state.keys = key_pointers;
    state.n_keys = keys;
    frame.body_case = WEIR__FRAME__BODY_CLUSTER_STATE;
    frame.cluster_state = &state;
    return &frame;
}

START_TEST(test_large_state)
{
    ck_assert(passes(make_state(1000, 2000), 0));
    ck_assert(passes(make_state(WIRE_NODES_MAX, WIRE_KEYS_MAX), 0));
    ck_assert(!passes(make_state(WIRE_NODES_MAX + 1, 0), 0));
}
END_TEST

START_TEST(test_only_a_state_may_be_long)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__Report report = WEIR__REPORT__INIT;
    Weir__AuditRow row = WEIR__AUDIT_ROW__INIT, *rows[1000];
    static char text[WIRE_ADDRESS_MAX];
    struct error why;
    size_t len;

    row.id = wire_text(ID);
    row.disposition = wire_text("delivered");
    row.sender = wire_bytes(text, sizeof text);
    for (size_t i = 0; i < 1000; i++)
        rows[i] = &row;
    report.node = wire_text("edge-1");
    report.rows = rows;
    report.n_rows = 60;
    frame.body_case = WEIR__FRAME__BODY_REPORT;
    frame.report = &report;
    ck_assert(passes(&frame, 0));
    report.n_rows = 70;
    ck_assert_ptr_null(wire_encode(&frame, &len));
    ck_assert_uint_eq(wire_packed_size(&frame), 0);
    len = weir__frame__get_packed_size(&frame);
    uint8_t *bytes = malloc(len + WIRE_FRAME_MAX);
    wire_pack(&frame, bytes);
    ck_assert_ptr_null(decode(bytes, len, 0, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "too long"));
    free(bytes);
    /* Nor may something else hide behind a state. */
    bytes = wire_encode(make_state(2000, 0), &len);
    bytes = realloc(bytes, len + 7);
    memcpy(bytes + len, "\x8a\x02\x02\x08\x05\x08\x01", 7);
    ck_assert_ptr_null(decode(bytes, len + 7, 0, &why));
    free(bytes);
    bytes = calloc(1, WIRE_STATE_MAX + 1);
    ck_assert_ptr_null(decode(bytes, WIRE_STATE_MAX + 1, 0, &why));
    free(bytes);
}
END_TEST

/* Rows with next to nothing in them unpack to the most for their size. */
START_TEST(test_lean_rows_are_within_the_budget)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__Report report = WEIR__REPORT__INIT;
    Weir__AuditRow row = WEIR__AUDIT_ROW__INIT, *rows[WIRE_ROWS_MAX];

    row.id = wire_text(ID);
    row.disposition = wire_text("x");
    for (size_t i = 0; i < WIRE_ROWS_MAX; i++)
        rows[i] = &row;
    report.node = wire_text("edge-1");
    report.rows = rows;
    report.n_rows = WIRE_ROWS_MAX;
    frame.body_case = WEIR__FRAME__BODY_REPORT;
    frame.report = &report;
    ck_assert(passes(&frame, 0));
}
END_TEST

/* --- rules, one field at a time --- */

static Weir__Frame frame;
static Weir__ScanOpen scan_open;
static Weir__ScanVerdict verdict;
static Weir__NodeHello hello;
static Weir__Heartbeat heartbeat;
static Weir__MetricSample sample, *sample_pointer = &sample;
static Weir__Policy policy;
static Weir__AdminRequest admin;

static Weir__Frame *with_open(void)
{
    weir__frame__init(&frame);
    weir__scan_open__init(&scan_open);
    scan_open.id = wire_text(ID);
    frame.body_case = WEIR__FRAME__BODY_SCAN_OPEN;
    frame.scan_open = &scan_open;
    return &frame;
}

static Weir__Frame *with_verdict(Weir__Verdict value, const char *signature, Weir__UnknownReason reason)
{
    weir__frame__init(&frame);
    weir__scan_verdict__init(&verdict);
    verdict.id = wire_text(ID);
    verdict.scanner = wire_text("scanner-1");
    verdict.verdict = value;
    verdict.signature = wire_text(signature);
    verdict.reason = reason;
    frame.body_case = WEIR__FRAME__BODY_SCAN_VERDICT;
    frame.scan_verdict = &verdict;
    return &frame;
}

static Weir__Frame *with_hello(const char *name)
{
    weir__frame__init(&frame);
    weir__node_hello__init(&hello);
    hello.node = wire_text(name);
    hello.role = WEIR__ROLE__ROLE_SCANNER;
    frame.body_case = WEIR__FRAME__BODY_NODE_HELLO;
    frame.node_hello = &hello;
    return &frame;
}

static Weir__Frame *with_sample(uint32_t kind, double value)
{
    weir__frame__init(&frame);
    weir__heartbeat__init(&heartbeat);
    weir__metric_sample__init(&sample);
    sample.name = wire_text("weir_x_total");
    sample.kind = kind;
    sample.value = value;
    heartbeat.node = wire_text("edge-1");
    heartbeat.role = WEIR__ROLE__ROLE_EDGE;
    heartbeat.state = WEIR__NODE_STATE__NODE_ACTIVE;
    heartbeat.metrics = &sample_pointer;
    heartbeat.n_metrics = 1;
    frame.body_case = WEIR__FRAME__BODY_HEARTBEAT;
    frame.heartbeat = &heartbeat;
    return &frame;
}

START_TEST(test_ids)
{
    static const char *const bad[] = { "", "01HQ", "01HQ00000000000000000", "01HQ000000000000000I",
                                       "01HQ 000000000000000" };

    ck_assert(passes(with_open(), 0));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        with_open();
        scan_open.id = wire_text(bad[i]);
        ck_assert_msg(!passes(&frame, 0), "%s", bad[i]);
    }
}
END_TEST

START_TEST(test_lengths_and_numbers)
{
    static char text[WIRE_ADDRESS_MAX + 1];

    with_open();
    scan_open.sender = wire_bytes(text, WIRE_ADDRESS_MAX);
    ck_assert(passes(&frame, 0));
    scan_open.sender = wire_bytes(text, WIRE_ADDRESS_MAX + 1);
    ck_assert(!passes(&frame, 0));
    with_open();
    scan_open.size_hint = WIRE_SIZE_MAX;
    ck_assert(passes(&frame, 0));
    scan_open.size_hint++;
    ck_assert(!passes(&frame, 0));
    with_open();
    scan_open.client = wire_text("192.0.2.1 x"); /* a token has no blanks */
    ck_assert(!passes(&frame, 0));
}
END_TEST

START_TEST(test_names)
{
    static const char *const bad[] = { "",
                                       "a b",
                                       "a\"b",
                                       "a\nb",
                                       "\xc3\xa4",
                                       "a{b}",
                                       "0123456789012345678901234567890123456789012345678901234567890123" };

    ck_assert(passes(with_hello("edge-1/0"), 0));
    ck_assert(passes(with_hello("012345678901234567890123456789012345678901234567890123456789012"), 0));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!passes(with_hello(bad[i]), 0), "%s", bad[i]);
}
END_TEST

START_TEST(test_enums_and_keys)
{
    static const uint8_t key[CURVE_KEY_LEN + 1];

    with_hello("scanner-1");
    hello.public_key = wire_bytes(key, CURVE_KEY_LEN);
    ck_assert(passes(&frame, 0));
    hello.public_key.len = CURVE_KEY_LEN - 1;
    ck_assert(!passes(&frame, 0));
    hello.public_key.len = CURVE_KEY_LEN + 1;
    ck_assert(!passes(&frame, 0));
    for (int role = -1; role <= 6; role++) {
        with_hello("scanner-1");
        hello.role = (Weir__Role)role;
        ck_assert_int_eq(passes(&frame, 0), role >= WEIR__ROLE__ROLE_EDGE && role <= WEIR__ROLE__ROLE_OPERATOR);
    }
}
END_TEST

struct verdict_row {
    int verdict;
    const char *signature;
    int reason;
    bool ok;
};

static const struct verdict_row verdict_rows[] = {
    { 1, "", 0, true },   { 2, "Eicar", 0, true },  { 3, "", 1, true },  { 3, "words", 2, true },
    { 0, "", 0, false },  { 4, "", 0, false },      { 1, "", 1, false }, { 1, "Eicar", 0, false },
    { 2, "", 0, false },  { 2, "Eicar", 1, false }, { 3, "", 0, false }, { 3, "", 7, false },
    { -1, "", 0, false },
};

START_TEST(test_a_verdict_says_one_thing)
{
    const struct verdict_row *row = &verdict_rows[_i];

    ck_assert_int_eq(
        passes(with_verdict((Weir__Verdict)row->verdict, row->signature, (Weir__UnknownReason)row->reason), 0),
        row->ok);
}
END_TEST

START_TEST(test_metrics)
{
    double bounds[] = { 1, 2, 3 }, backwards[] = { 2, 1, 3 }, infinite[] = { 1, 2, INFINITY };
    uint64_t buckets[] = { 1, 0, 5 };

    ck_assert(passes(with_sample(0, 1e300), 0));
    ck_assert(!passes(with_sample(0, NAN), 0));
    ck_assert(!passes(with_sample(1, INFINITY), 0));
    ck_assert(!passes(with_sample(3, 0), 0));
    with_sample(2, 1);
    sample.bounds = bounds, sample.n_bounds = 3;
    ck_assert(!passes(&frame, 0));
    sample.buckets = buckets, sample.n_buckets = 3;
    ck_assert(passes(&frame, 0));
    sample.bounds = backwards;
    ck_assert(!passes(&frame, 0));
    sample.bounds = infinite;
    ck_assert(!passes(&frame, 0));
    with_sample(0, 1);
    sample.bounds = bounds, sample.n_bounds = 3, sample.buckets = buckets, sample.n_buckets = 3;
    ck_assert(!passes(&frame, 0)); /* a counter has none */
}
END_TEST

START_TEST(test_payload_counts)
{
    ProtobufCBinaryData names[] = { wire_text("mailertable"), wire_text("networks") };
    ProtobufCBinaryData args[] = { wire_text(""), wire_text("two words") };
    Weir__ScanChunk chunk = WEIR__SCAN_CHUNK__INIT;
    Weir__AdminReply reply = WEIR__ADMIN_REPLY__INIT;

    weir__frame__init(&frame);
    weir__policy__init(&policy);
    policy.files = names, policy.n_files = 2;
    frame.body_case = WEIR__FRAME__BODY_POLICY;
    frame.policy = &policy;
    ck_assert(passes(&frame, 2) && !passes(&frame, 1) && !passes(&frame, 3));
    weir__admin_request__init(&admin);
    admin.verb = wire_text("policy apply");
    admin.files = names, admin.n_files = 2;
    admin.args = args, admin.n_args = 2;
    frame.body_case = WEIR__FRAME__BODY_ADMIN_REQUEST;
    frame.admin_request = &admin;
    ck_assert(passes(&frame, 2) && !passes(&frame, 0));
    static const uint8_t act[WIRE_ACT_LEN + 1];
    for (size_t len = 0; len <= sizeof act; len++) {
        admin.act = wire_bytes(act, len);
        ck_assert_msg(passes(&frame, 2) == (len == 0 || len == WIRE_ACT_LEN), "a token of %zu bytes", len);
    }
    admin.act = wire_bytes(act, WIRE_ACT_LEN);
    names[1] = wire_text("../../etc passwd");
    ck_assert(!passes(&frame, 2));
    chunk.id = wire_text(ID);
    frame.body_case = WEIR__FRAME__BODY_SCAN_CHUNK;
    frame.scan_chunk = &chunk;
    ck_assert(passes(&frame, 1) && !passes(&frame, 0) && !passes(&frame, 2));
    frame.body_case = WEIR__FRAME__BODY_ADMIN_REPLY;
    frame.admin_reply = &reply;
    ck_assert(passes(&frame, 0) && passes(&frame, 1) && passes(&frame, WIRE_PAYLOADS_MAX) && !passes(&frame, WIRE_PAYLOADS_MAX + 1));
}
END_TEST

/* --- questions, answers and packed lists --- */

static Weir__Question question;
static Weir__Answer answer;
static Weir__SpoolEnvelope envelope;
static Weir__AuthCheck auth;

static Weir__Frame *with_question(Weir__Question__BodyCase body, void *message)
{
    weir__frame__init(&frame);
    weir__question__init(&question);
    weir__spool_envelope__init(&envelope);
    envelope.id = wire_text(ID);
    question.request = 7;
    question.body_case = body;
    question.auth_check = message; /* a union of pointers */
    frame.body_case = WEIR__FRAME__BODY_QUESTION;
    frame.question = &question;
    return &frame;
}

static Weir__Frame *with_answer(int status, Weir__Answer__BodyCase body, void *message)
{
    weir__frame__init(&frame);
    weir__answer__init(&answer);
    answer.request = 7;
    answer.status = (Weir__AnswerStatus)status;
    answer.body_case = body;
    answer.auth_result = message;
    frame.body_case = WEIR__FRAME__BODY_ANSWER;
    frame.answer = &answer;
    return &frame;
}

START_TEST(test_questions)
{
    Weir__SpoolStore store = WEIR__SPOOL_STORE__INIT;
    Weir__SpoolChunk chunk = WEIR__SPOOL_CHUNK__INIT;
    Weir__SpoolFetch fetch = WEIR__SPOOL_FETCH__INIT;
    Weir__SpoolResult result = WEIR__SPOOL_RESULT__INIT;
    Weir__SpoolRenew renew = WEIR__SPOOL_RENEW__INIT;
    Weir__SpoolClaim claim = WEIR__SPOOL_CLAIM__INIT;

    with_question(WEIR__QUESTION__BODY_SPOOL_STORE, &store);
    ck_assert(!passes(&frame, 2)); /* no envelope */
    store.envelope = &envelope;
    ck_assert(passes(&frame, 2) && !passes(&frame, 1) && !passes(&frame, 3));
    envelope.id = wire_text("short");
    ck_assert(!passes(&frame, 2)); /* rules hold inside */
    with_question(WEIR__QUESTION__BODY_SPOOL_CHUNK, &chunk);
    ck_assert(!passes(&frame, 1));
    chunk.id = wire_text(ID);
    ck_assert(passes(&frame, 1) && !passes(&frame, 0));
    fetch.id = wire_text(ID);
    ck_assert(passes(with_question(WEIR__QUESTION__BODY_SPOOL_FETCH, &fetch), 0));
    claim.node = wire_text("edge-1");
    claim.room = WIRE_LEASES_MAX;
    ck_assert(passes(with_question(WEIR__QUESTION__BODY_SPOOL_CLAIM, &claim), 0));
    claim.room++;
    ck_assert(!passes(&frame, 0));
    ck_assert(!passes(with_question(WEIR__QUESTION__BODY_SPOOL_RENEW, &renew), 0)); /* of nothing */
    result.id = wire_text(ID);
    result.destination = wire_text("example.org");
    with_question(WEIR__QUESTION__BODY_SPOOL_RESULT, &result);
    ck_assert(passes(&frame, 1) && !passes(&frame, 3));
    result.dsn = &envelope;
    ck_assert(passes(&frame, 3) && !passes(&frame, 1) && !passes(&frame, 2));
    envelope.ret = 3;
    ck_assert(!passes(&frame, 3));
    ck_assert(!passes(with_question(WEIR__QUESTION__BODY__NOT_SET, NULL), 0)); /* or one that only a newer peer knows */
}
END_TEST

START_TEST(test_verify_questions)
{
    Weir__VerifyAsk ask = WEIR__VERIFY_ASK__INIT;
    Weir__VerifyTell tell = WEIR__VERIFY_TELL__INIT;
    Weir__VerifyKnown known = WEIR__VERIFY_KNOWN__INIT;

    ask.address = wire_text("u@example.edu");
    ck_assert(!passes(with_question(WEIR__QUESTION__BODY_VERIFY_ASK, &ask), 0)); /* of no next hop */
    ask.destination = wire_text("[mail.example.edu]:25");
    ck_assert(passes(&frame, 0) && !passes(&frame, 1));
    tell.address = ask.address;
    tell.destination = ask.destination;
    tell.code = 599;
    ck_assert(passes(with_question(WEIR__QUESTION__BODY_VERIFY_TELL, &tell), 0));
    tell.code = 600;
    ck_assert(!passes(&frame, 0));
    known.code = 550;
    ck_assert(passes(with_answer(WEIR__ANSWER_STATUS__ANSWER_OK, WEIR__ANSWER__BODY_VERIFY_KNOWN, &known), 0));
    ck_assert(passes(with_answer(WEIR__ANSWER_STATUS__ANSWER_OK, WEIR__ANSWER__BODY__NOT_SET, NULL), 0)); /* of what was told */
}
END_TEST

START_TEST(test_personal_questions)
{
    Weir__PersonalAsk ask = WEIR__PERSONAL_ASK__INIT;
    Weir__PersonalKnown known = WEIR__PERSONAL_KNOWN__INIT;
    ProtobufCBinaryData senders[] = { wire_text("a@example.org"), wire_text("b@example.org"), wire_text("c@example.org") };
    uint32_t *many = calloc(WIRE_PERSONAL_MAX + 1, sizeof *many);

    ask.senders = senders;
    ask.n_senders = WIRE_AUTHORS_MAX;
    ck_assert(passes(with_question(WEIR__QUESTION__BODY_PERSONAL_ASK, &ask), 1) && !passes(&frame, 0)); /* the recipients */
    ask.n_senders++;
    ck_assert(!passes(&frame, 1));
    for (uint32_t i = 0; i <= WIRE_PERSONAL_MAX; i++)
        many[i] = 50000 - i;
    known.safe = known.blocked = many;
    known.n_safe = known.n_blocked = WIRE_PERSONAL_MAX;
    ck_assert(passes(with_answer(WEIR__ANSWER_STATUS__ANSWER_OK, WEIR__ANSWER__BODY_PERSONAL_KNOWN, &known), 0)); /* in one frame */
    known.n_blocked++;
    ck_assert(!passes(&frame, 0));
    free(many);
}
END_TEST

START_TEST(test_limit_questions)
{
    Weir__LimitCost cost = WEIR__LIMIT_COST__INIT, *costs[WIRE_COSTS_MAX + 1];
    Weir__LimitAsk ask = WEIR__LIMIT_ASK__INIT;
    Weir__LimitState state = WEIR__LIMIT_STATE__INIT, *states[1] = { &state };
    Weir__LimitTaken taken = WEIR__LIMIT_TAKEN__INIT;

    for (size_t i = 0; i <= WIRE_COSTS_MAX; i++)
        costs[i] = &cost;
    ask.costs = costs;
    ck_assert(!passes(with_question(WEIR__QUESTION__BODY_LIMIT_ASK, &ask), 0)); /* for nothing */
    ask.n_costs = 1;
    cost.bucket = wire_text("inbound client messages/60 192.0.2.7");
    cost.amount = BUCKET_AMOUNT_MAX;
    cost.period_ms = BUCKET_PERIOD_MAX;
    ck_assert(!passes(&frame, 0)); /* a bucket of nothing */
    cost.burst = BUCKET_AMOUNT_MAX;
    ck_assert(passes(&frame, 0) && !passes(&frame, 1));
    ask.n_costs = WIRE_COSTS_MAX;
    ck_assert(passes(&frame, 0));
    ask.n_costs++;
    ck_assert(!passes(&frame, 0));
    ask.n_costs = 1;
    cost.amount++; /* would not fit the database's numbers */
    ck_assert(!passes(&frame, 0));
    taken.states = states;
    ck_assert(!passes(with_answer(WEIR__ANSWER_STATUS__ANSWER_OK, WEIR__ANSWER__BODY_LIMIT_TAKEN, &taken), 0));
    taken.n_states = 1;
    ck_assert(passes(&frame, 0));
}
END_TEST

START_TEST(test_reputation_questions)
{
    static char login[WIRE_LOGIN_MAX];
    static Weir__ReputationEntry entries[WIRE_STANDINGS_MAX + 1], *pointers[WIRE_STANDINGS_MAX + 1];
    Weir__ReputationAsk ask = WEIR__REPUTATION_ASK__INIT;
    Weir__ReputationNews news = WEIR__REPUTATION_NEWS__INIT;

    ck_assert(passes(with_question(WEIR__QUESTION__BODY_REPUTATION_ASK, &ask), 0) && !passes(&frame, 1));
    ask.have = UINT64_MAX; /* no number of a database */
    ck_assert(!passes(&frame, 0));
    for (size_t i = 0; i <= WIRE_STANDINGS_MAX; i++) {
        weir__reputation_entry__init(pointers[i] = &entries[i]);
        entries[i].key = wire_text("192.0.2.7");
        entries[i].action = WEIR__REPUTATION_ACTION__REPUTATION_REJECT;
        entries[i].left_ms = WIRE_TIME_MAX;
    }
    news.entries = pointers;
    ck_assert(!passes(with_answer(WEIR__ANSWER_STATUS__ANSWER_OK, WEIR__ANSWER__BODY_REPUTATION_NEWS, &news), 0)); /* of no source */
    news.source = wire_text("weir/1/1");
    ck_assert(passes(&frame, 0));
    news.n_entries = WIRE_STANDINGS_MAX;
    ck_assert(passes(&frame, 0)); /* short keys: they unpack to much more than they take */
    memset(login, 'x', sizeof login);
    for (size_t i = 0; i < WIRE_STANDINGS_MAX; i++)
        entries[i].key = wire_bytes(login, sizeof login);
    ck_assert(passes(&frame, 0));
    news.n_entries++;
    ck_assert(!passes(&frame, 0));
    news.n_entries = 1;
    entries[0].action = WEIR__REPUTATION_ACTION__REPUTATION_UNSPECIFIED;
    ck_assert(!passes(&frame, 0));
    entries[0].action = WEIR__REPUTATION_ACTION__REPUTATION_ALLOW;
    entries[0].key = wire_text("");
    ck_assert(!passes(&frame, 0));
}
END_TEST

START_TEST(test_auth_questions)
{
    static char text[WIRE_PASSWORD_MAX + 1];

    weir__auth_check__init(&auth);
    with_question(WEIR__QUESTION__BODY_AUTH_CHECK, &auth);
    ck_assert(!passes(&frame, 0));
    auth.login = wire_text("alice");
    ck_assert(!passes(&frame, 0)); /* an empty password asks for an unauthenticated bind */
    auth.password = wire_bytes(text, WIRE_PASSWORD_MAX);
    ck_assert(passes(&frame, 0) && !passes(&frame, 1));
    auth.password = wire_bytes(text, WIRE_PASSWORD_MAX + 1);
    ck_assert(!passes(&frame, 0));
    auth.password = wire_text("x");
    auth.login = wire_bytes(text, WIRE_LOGIN_MAX + 1);
    ck_assert(!passes(&frame, 0));
}
END_TEST

START_TEST(test_answers)
{
    Weir__SpoolLeases leases = WEIR__SPOOL_LEASES__INIT;
    Weir__SpoolLease lease = WEIR__SPOOL_LEASE__INIT, *pointers[WIRE_LEASES_MAX + 1];
    Weir__SpoolStored stored = WEIR__SPOOL_STORED__INIT;
    Weir__SpoolData data = WEIR__SPOOL_DATA__INIT;
    Weir__AuthResult result = WEIR__AUTH_RESULT__INIT;

    ck_assert(passes(with_answer(1, WEIR__ANSWER__BODY__NOT_SET, NULL), 0));
    ck_assert(passes(with_answer(4, WEIR__ANSWER__BODY__NOT_SET, NULL), 0));
    ck_assert(!passes(with_answer(0, WEIR__ANSWER__BODY__NOT_SET, NULL), 0));
    ck_assert(!passes(with_answer(5, WEIR__ANSWER__BODY__NOT_SET, NULL), 0));
    ck_assert(!passes(with_answer(1, WEIR__ANSWER__BODY__NOT_SET, NULL), 1));
    stored.id = wire_text(ID);
    ck_assert(passes(with_answer(1, WEIR__ANSWER__BODY_SPOOL_STORED, &stored), 0));
    ck_assert(!passes(with_answer(2, WEIR__ANSWER__BODY_SPOOL_STORED, &stored), 0)); /* two things at once */
    stored.n_let_in = WIRE_LET_IN_MAX;
    stored.let_in = calloc(WIRE_LET_IN_MAX + 1, sizeof *stored.let_in);
    for (size_t i = 0; i <= WIRE_LET_IN_MAX; i++)
        stored.let_in[i] = 49999; /* of WIRE_LISTED_MAX recipients the last */
    ck_assert(passes(with_answer(1, WEIR__ANSWER__BODY_SPOOL_STORED, &stored), 0));
    stored.n_let_in++;
    ck_assert(!passes(with_answer(1, WEIR__ANSWER__BODY_SPOOL_STORED, &stored), 0));
    free(stored.let_in);
    data.id = wire_text(ID);
    ck_assert(passes(with_answer(1, WEIR__ANSWER__BODY_SPOOL_DATA, &data), 1));
    for (size_t i = 0; i <= WIRE_LEASES_MAX; i++)
        pointers[i] = &lease;
    weir__spool_envelope__init(&envelope);
    envelope.id = wire_text(ID);
    lease.envelope = &envelope;
    lease.destination = wire_text("example.org");
    leases.leases = pointers;
    ck_assert(passes(with_answer(1, WEIR__ANSWER__BODY_SPOOL_LEASES, &leases), 0)); /* nothing is due */
    leases.n_leases = WIRE_LEASES_MAX;
    ck_assert(passes(&frame, WIRE_LEASES_MAX) && !passes(&frame, 1));
    leases.n_leases++;
    ck_assert(!passes(&frame, leases.n_leases));
    for (int outcome = -1; outcome <= 5; outcome++) {
        result.outcome = (Weir__AuthOutcome)outcome;
        result.account = wire_text("");
        ck_assert_int_eq(passes(with_answer(1, WEIR__ANSWER__BODY_AUTH_RESULT, &result), 0),
                         outcome >= WEIR__AUTH_OUTCOME__AUTH_WRONG && outcome <= WEIR__AUTH_OUTCOME__AUTH_UNAVAILABLE);
        result.account = wire_text("alice@example.edu");
        ck_assert_int_eq(passes(&frame, 0), outcome == WEIR__AUTH_OUTCOME__AUTH_ACCEPTED);
    }
}
END_TEST

START_TEST(test_packed_lists)
{
    Weir__SpoolRecipients list = WEIR__SPOOL_RECIPIENTS__INIT;
    Weir__SpoolRecipient recipient = WEIR__SPOOL_RECIPIENT__INIT, *recipients[WIRE_LISTED_MAX + 1];
    Weir__SpoolOutcomes outcomes = WEIR__SPOOL_OUTCOMES__INIT;
    Weir__SpoolOutcome outcome = WEIR__SPOOL_OUTCOME__INIT, *pointers[WIRE_LISTED_MAX + 1];
    static char text[WIRE_ADDRESS_MAX];
    struct error why;
    size_t len;

    recipient.address = wire_text("a"); /* the leanest: most memory for its size */
    recipient.destination = wire_text("b");
    outcome.disposition = WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED;
    for (size_t i = 0; i <= WIRE_LISTED_MAX; i++)
        recipients[i] = &recipient, pointers[i] = &outcome;
    list.recipients = recipients;
    outcomes.outcomes = pointers;
    for (size_t count = 0; count <= WIRE_LISTED_MAX + 1; count += count < WIRE_LISTED_MAX ? WIRE_LISTED_MAX : 1) {
        list.n_recipients = outcomes.n_outcomes = count;
        uint8_t *bytes = wire_recipients_encode(&list, &len);
        ck_assert_ptr_nonnull(bytes);
        Weir__SpoolRecipients *back = wire_recipients_decode(bytes, len, &why);
        ck_assert_msg((back != NULL) == (count <= WIRE_LISTED_MAX), "%s", why.text);
        ck_assert(back == NULL || (back->n_recipients == count &&
                                   (count == 0 || wire_equal(&back->recipients[count - 1]->address, "a"))));
        wire_recipients_free(&back);
        free(bytes);
        bytes = wire_outcomes_encode(&outcomes, &len);
        ck_assert_ptr_nonnull(bytes);
        Weir__SpoolOutcomes *back_outcomes = wire_outcomes_decode(bytes, len, &why);
        ck_assert_msg((back_outcomes != NULL) == (count <= WIRE_LISTED_MAX), "%s", why.text);
        wire_outcomes_free(&back_outcomes);
        ck_assert_ptr_null(wire_outcomes_decode(bytes, len > 0 ? len - 1 : WIRE_LIST_MAX + 1, &why));
        free(bytes);
    }
    recipient.address = wire_bytes(text, sizeof text);
    list.n_recipients = WIRE_LISTED_MAX;
    ck_assert_ptr_null(wire_recipients_encode(&list, &len)); /* over a MiB */
    list.n_recipients = 1;
    recipient.destination = wire_text("");
    uint8_t *bytes = wire_recipients_encode(&list, &len);
    ck_assert_ptr_null(wire_recipients_decode(bytes, len, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "destination"));
    free(bytes);
    outcome.disposition = WEIR__SPOOL_DISPOSITION__SPOOL_UNSPECIFIED;
    outcomes.n_outcomes = 1;
    bytes = wire_outcomes_encode(&outcomes, &len);
    ck_assert_ptr_null(wire_outcomes_decode(bytes, len, NULL));
    free(bytes);
    for (size_t size = 0; size <= WIRE_WORDS_MAX + 1; size += WIRE_WORDS_MAX / 2) { /* rerouted, and to where */
        memset(text, 'a', sizeof text);
        outcome.disposition = WEIR__SPOOL_DISPOSITION__SPOOL_REROUTED;
        outcome.text = wire_bytes(text, size);
        bytes = wire_outcomes_encode(&outcomes, &len);
        Weir__SpoolOutcomes *moved = wire_outcomes_decode(bytes, len, &why);
        ck_assert((moved != NULL) == (size > 0));
        wire_outcomes_free(&moved);
        free(bytes);
    }
}
END_TEST

/* --- the tables against the descriptors --- */

static void check_depth(const ProtobufCMessageDescriptor *message, int depth)
{
    ck_assert_msg(depth < 6, "%s is too deep, or contains itself", message->name);
    for (unsigned i = 0; i < message->n_fields; i++)
        if (message->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            check_depth(message->fields[i].descriptor, depth + 1);
}

/* As many as an older peer counts of fields that it does not know in a whole list are soon reached: recipients have no new ones but where they are, or
 * were, in the quarantine, of which an older peer must not take many. */
START_TEST(test_lists_of_many_get_no_new_fields)
{
    const ProtobufCMessageDescriptor *recipient = &weir__spool_recipient__descriptor, *outcome = &weir__spool_outcome__descriptor;
    Weir__SpoolRecipient plain = WEIR__SPOOL_RECIPIENT__INIT;
    for (unsigned i = 0; i < recipient->n_fields; i++)
        ck_assert(recipient->fields[i].id <= 7 || strcmp(recipient->fields[i].name, "quarantine") == 0 || strcmp(recipient->fields[i].name, "released") == 0);
    ck_assert_uint_eq(weir__spool_recipient__get_packed_size(&plain), 0);
    ck_assert_uint_eq(outcome->fields[outcome->n_fields - 1].id, 7);
}
END_TEST

static const struct {
    const char *original, *given, *kept, *told; /* kept: as `given` of its own */
} names[] = {
    { "rfc822;list@example.org", "list@example.org", "", "list@example.org" },
    { "RFC822;list@example.org", "list@example.org", "", "list@example.org" },
    { "rfc822;other@example.org", "list@example.org", "list@example.org", "list@example.org" },
    { "utf-8;list@example.org", "list@example.org", "list@example.org", "list@example.org" },
    { "rfc822;", "list@example.org", "list@example.org", "list@example.org" },
    { NULL, "list@example.org", "list@example.org", "list@example.org" },
    { "rfc822;list@example.org", NULL, "", "list@example.org" },
    { "rfc822;a@example.org", NULL, "", "" },
    { "rfc822;x>, relay=mx[192.0.2.9]:25, status=sent (250 ok) @", NULL, "", "" },
    { "rfc822;nobody", NULL, "", "" },
    { "rfc822;\"a b\"@example.org", "\"a b\"@example.org", "\"a b\"@example.org", "\"a b\"@example.org" },
    { "utf-8;list@example.org", NULL, "", "" },
    { "rfc822;", NULL, "", "" },
    { NULL, NULL, "", "" },
};

START_TEST(test_names_of_recipients)
{
    Weir__SpoolRecipient recipient = WEIR__SPOOL_RECIPIENT__INIT, *recipients[] = { &recipient };
    Weir__SpoolRecipients list = WEIR__SPOOL_RECIPIENTS__INIT;
    struct error why;
    size_t len;
    list.recipients = recipients, list.n_recipients = 1;
    recipient.address = wire_text("a@example.org"), recipient.destination = wire_text("example.org");
    wire_recipient_name(&recipient, names[_i].original, names[_i].given);
    ck_assert(wire_equal(&recipient.given, names[_i].kept));
    uint8_t *bytes = wire_recipients_encode(&list, &len);
    Weir__SpoolRecipients *back = wire_recipients_decode(bytes, len, &why);
    ck_assert_ptr_nonnull(back);
    ProtobufCBinaryData given = wire_recipient_given(back->recipients[0]);
    ck_assert(wire_equal(&given, names[_i].told));
    ck_assert(wire_equal(&back->recipients[0]->original, names[_i].original != NULL ? names[_i].original : ""));
    wire_recipients_free(&back);
    free(bytes);
}
END_TEST

START_TEST(test_no_message_contains_itself)
{
    check_depth(&weir__frame__descriptor, 0);
}
END_TEST

static const struct wire_rule *rule_of(const struct wire_table *table, const char *field)
{
    for (const struct wire_rule *rule = table->rules; rule->field != NULL; rule++)
        if (strcmp(rule->field, field) == 0)
            return rule;
    return NULL;
}

static void check_table(const struct wire_table *table)
{
    for (unsigned i = 0; i < table->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &table->descriptor->fields[i];
        const struct wire_rule *rule = rule_of(table, field->name);
        ck_assert_msg(field->type != PROTOBUF_C_TYPE_STRING, "%s.%s is a string", table->descriptor->name, field->name);
        bool needs = field->type == PROTOBUF_C_TYPE_BYTES || field->type == PROTOBUF_C_TYPE_ENUM ||
                     field->type == PROTOBUF_C_TYPE_MESSAGE || field->label == PROTOBUF_C_LABEL_REPEATED;
        ck_assert_msg(rule != NULL || !needs, "%s.%s has no rule", table->descriptor->name, field->name);
        if (rule == NULL)
            continue;
        ck_assert_uint_eq(rule->offset, field->offset);
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            ck_assert_uint_eq(rule->count_offset, field->quantifier_offset);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            ck_assert_ptr_eq(rule->each->descriptor, field->descriptor);
            bool oneof = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
            ck_assert_int_eq(rule->kind == WIRE_RULE_CASE, oneof);
            if (oneof) {
                ck_assert_uint_eq(rule->min, field->id);
                ck_assert_uint_eq(rule->count_offset, field->quantifier_offset);
            }
            check_table(rule->each);
        }
    }
}

START_TEST(test_every_field_has_its_rule)
{
    unsigned bodies = 0;

    for (const struct wire_body *body = wire_bodies; body->table != NULL; body++, bodies++) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(&weir__frame__descriptor, body->body);
        ck_assert_ptr_nonnull(field);
        ck_assert_ptr_eq(field->descriptor, body->table->descriptor);
        check_table(body->table);
    }
    ck_assert_uint_eq(bodies, weir__frame__descriptor.n_fields - 1); /* all but the version */
    check_table(&wire_recipients_table);
    check_table(&wire_outcomes_table);
}
END_TEST

START_TEST(test_an_older_peer_hears_of_no_senders)
{
    ProtobufCBinaryData owners[] = { wire_text("one@example.org"), wire_text("two@example.org") };
    uint32_t firsts[] = { 0, 3 }, counts[] = { 1, 2 };
    Weir__SpoolRecipient recipient = WEIR__SPOOL_RECIPIENT__INIT;
    Weir__SpoolEnvelope shown = WEIR__SPOOL_ENVELOPE__INIT;
    shown.sender = wire_text("alice@example.edu");
    size_t plain = weir__spool_envelope__get_packed_size(&shown);
    shown.senders = owners, shown.sender_firsts = firsts, shown.sender_counts = counts;
    shown.n_senders = shown.n_sender_firsts = shown.n_sender_counts = 2;
    Weir__SpoolSenders more = WEIR__SPOOL_SENDERS__INIT;
    ProtobufCBinaryData three = wire_text("three@example.org");
    uint32_t sixth = 6, one = 1;
    more.senders = &three, more.firsts = &sixth, more.counts = &one;
    more.n_senders = more.n_firsts = more.n_counts = 1;
    shown.owners = &more;
    recipient.index = 6;
    ProtobufCBinaryData sender = wire_recipient_sender(&shown, &recipient);
    ck_assert(wire_equal(&sender, "three@example.org"));
    recipient.index = 4;
    sender = wire_recipient_sender(&shown, &recipient);
    ck_assert(wire_equal(&sender, "two@example.org") && weir__spool_envelope__get_packed_size(&shown) > plain);
    wire_envelope_forget_senders(&shown);
    sender = wire_recipient_sender(&shown, &recipient);
    ck_assert(wire_equal(&sender, "alice@example.edu"));
    ck_assert_uint_eq(weir__spool_envelope__get_packed_size(&shown), plain);
}
END_TEST

START_TEST(test_text)
{
    char out[4];
    ProtobufCBinaryData none = wire_text(NULL);

    ck_assert_uint_eq(none.len, 0);
    ck_assert_str_eq(wire_string(out, sizeof out, &none), "");
    ck_assert(wire_equal(&none, ""));
    ck_assert(!wire_equal(&none, "x"));
    ck_assert_uint_eq(wire_text_cut("abcdef", 3).len, 3);
    ck_assert_uint_eq(wire_text_cut("ab", 3).len, 2);
    ck_assert_uint_eq(wire_text_cut(NULL, 3).len, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire");
    TCase *tcase = tcase_create("frames");

    tcase_add_test(tcase, test_round_trip);
    tcase_add_loop_test(tcase, test_raw, 0, sizeof raws / sizeof *raws);
    tcase_add_test(tcase, test_budget);
    tcase_add_test(tcase, test_large_state);
    tcase_add_test(tcase, test_only_a_state_may_be_long);
    tcase_add_test(tcase, test_lean_rows_are_within_the_budget);
    tcase_add_test(tcase, test_ids);
    tcase_add_test(tcase, test_lengths_and_numbers);
    tcase_add_test(tcase, test_names);
    tcase_add_test(tcase, test_enums_and_keys);
    tcase_add_loop_test(tcase, test_a_verdict_says_one_thing, 0, sizeof verdict_rows / sizeof *verdict_rows);
    tcase_add_test(tcase, test_metrics);
    tcase_add_test(tcase, test_payload_counts);
    tcase_add_test(tcase, test_questions);
    tcase_add_test(tcase, test_auth_questions);
    tcase_add_test(tcase, test_verify_questions);
    tcase_add_test(tcase, test_personal_questions);
    tcase_add_test(tcase, test_limit_questions);
    tcase_add_test(tcase, test_reputation_questions);
    tcase_add_test(tcase, test_answers);
    tcase_add_test(tcase, test_packed_lists);
    tcase_add_test(tcase, test_lists_of_many_get_no_new_fields);
    tcase_add_loop_test(tcase, test_names_of_recipients, 0, sizeof names / sizeof *names);
    tcase_add_test(tcase, test_no_message_contains_itself);
    tcase_add_test(tcase, test_every_field_has_its_rule);
    tcase_add_test(tcase, test_an_older_peer_hears_of_no_senders);
    tcase_add_test(tcase, test_text);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

/* wire_rules.c - the tables of wire_rules.h: one per message type of weir.proto, in its order */
#include "proto/wire_rules.h"

#include <math.h>
#include "common/metrics.h"
#include "common/policy/bucket.h"
#include "common/queue_id.h"
#include "proto/curve.h"
#include "proto/wire.h"

#define FIELD(type, name)   .field = #name, .offset = offsetof(type, name)
#define COUNTED(type, name) FIELD(type, name), .count_offset = offsetof(type, n_##name)
#define ID(type, name)                                                                                                 \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_ID, .max = QUEUE_ID_LEN                                                   \
    }
#define NAME(type, name)                                                                                               \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_NAME, .min = 1, .max = WIRE_NAME_MAX                                      \
    }
#define MAYBE_NAME(type, name)                                                                                         \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_NAME, .max = WIRE_NAME_MAX                                                \
    }
#define TOKEN(type, name, top)                                                                                         \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_TOKEN, .max = (top)                                                       \
    }
#define TEXT(type, name, top)                                                                                          \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_TEXT, .max = (top)                                                        \
    }
#define SOME_TEXT(type, name, top)                                                                                     \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_TEXT, .min = 1, .max = (top)                                              \
    }
#define KEY(type, name)                                                                                                \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_KEY, .min = CURVE_KEY_LEN, .max = CURVE_KEY_LEN                           \
    }
#define MAYBE_KEY(type, name)                                                                                          \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_KEY, .max = CURVE_KEY_LEN                                                 \
    }
#define MAYBE_ACT(type, name)                                                                                          \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_KEY, .max = WIRE_ACT_LEN                                                  \
    }
#define HASH(type, name)                                                                                               \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_KEY, .min = WIRE_HASH_LEN, .max = WIRE_HASH_LEN                           \
    }
#define MAYBE_HASH(type, name)                                                                                         \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_KEY, .max = WIRE_HASH_LEN                                                 \
    }
#define ENUM(type, name, low, top)                                                                                     \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_ENUM, .min = (low), .max = (top)                                          \
    }
#define U32(type, name, top)                                                                                           \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_U32, .max = (top)                                                         \
    }
#define U64(type, name, top)                                                                                           \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_U64, .max = (top)                                                         \
    }
#define EACH(type, name, low, top, t)                                                                                  \
    {                                                                                                                  \
        COUNTED(type, name), .kind = WIRE_RULE_EACH, .min = (low), .max = (top), .each = &(t)                          \
    }
#define NAMES(type, name, top)                                                                                         \
    {                                                                                                                  \
        COUNTED(type, name), .kind = WIRE_RULE_LIST, .max = (top), .item_min = 1, .item_max = WIRE_NAME_MAX            \
    }
#define TEXTS(type, name, top, item)                                                                                   \
    {                                                                                                                  \
        COUNTED(type, name), .kind = WIRE_RULE_LIST, .max = (top), .item_max = (item)                                  \
    }
#define ONE(type, name, t)                                                                                             \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_ONE, .min = 1, .each = &(t)                                               \
    }
#define MAYBE_ONE(type, name, t)                                                                                       \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_ONE, .each = &(t)                                                         \
    }
#define CASE(type, tag, name)                                                                                          \
    {                                                                                                                  \
        FIELD(type, name), .kind = WIRE_RULE_CASE, .count_offset = offsetof(type, body_case), .min = (tag),            \
                           .each = &name##_table                                                                       \
    }
#define COUNT(type, name, top)                                                                                         \
    {                                                                                                                  \
        COUNTED(type, name), .kind = WIRE_RULE_COUNT, .max = (top)                                                     \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        .field = NULL                                                                                                  \
    }

#define TABLE(name, d, check)                                                                                          \
    static const struct wire_table name##_table = { .descriptor = &weir__##d##__descriptor,                            \
                                                    .rules = name##_rules,                                             \
                                                    .extra = (check) }

#define STATE_LAST       WEIR__NODE_STATE__NODE_DRAINED
#define ORIGIN_LAST      WEIR__ORIGIN__ORIGIN_LOGIN
#define ROLE_LAST        WEIR__ROLE__ROLE_OPERATOR
#define BUSY_LAST        WEIR__BUSY_REASON__BUSY_STARTING
#define VERDICT_LAST     WEIR__VERDICT__VERDICT_UNKNOWN
#define DISPOSITION_LAST WEIR__SPOOL_DISPOSITION__SPOOL_QUARANTINED
#define UNKNOWN_LAST     WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL
#define ATTACHMENT_LAST  WEIR__ATTACHMENT_KIND__ATTACHMENT_PDF

#define CRASHES_MAX    16
#define RECIPIENTS_MAX 1000000
#define SLOTS_MAX      1000000
#define WORKERS_MAX    4096
#define USE_MAX        (1ull << 53) /* what JSON has exactly */
#define ARGS_MAX       256
#define WAIT_MS_MAX    600000 /* of what stands until there is an answer */
#define LEASE_MS_MAX   3600000
#define RETRY_MS_MAX   604800000 /* 7 days */
#define ENVID_MAX      100       /* RFC 3461, section 4.4 */

/* --- scan --- */

static const struct wire_rule scan_hello_rules[] = { NAME(Weir__ScanHello, node), END };
TABLE(scan_hello, scan_hello, NULL);

static bool spam_facts_are_few(const void *message, struct error *why)
{
    const Weir__SpamFacts *facts = message;
    size_t bytes = 0;
    for (size_t i = 0; i < facts->n_recipients; i++)
        bytes += facts->recipients[i].len;
    if (bytes > WIRE_SPAM_TO_BYTES)
        error_set(why, "too many bytes of recipients");
    return bytes <= WIRE_SPAM_TO_BYTES;
}

static const struct wire_rule spam_facts_rules[] = {
    TEXT(Weir__SpamFacts, client_name, WIRE_ADDRESS_MAX),
    TEXTS(Weir__SpamFacts, recipients, WIRE_SPAM_TO_MAX, WIRE_ADDRESS_MAX),
    TEXT(Weir__SpamFacts, login, WIRE_LOGIN_MAX),
    ENUM(Weir__SpamFacts, direction, WEIR__DIRECTION__DIRECTION_INBOUND, WEIR__DIRECTION__DIRECTION_OUTBOUND),
    TOKEN(Weir__SpamFacts, edge, WIRE_ENDPOINT_MAX),
    TEXT(Weir__SpamFacts, listed, WIRE_WORDS_MAX),
    END,
};
TABLE(spam_facts, spam_facts, spam_facts_are_few);

static const struct wire_rule scan_open_rules[] = {
    ID(Weir__ScanOpen, id),
    U64(Weir__ScanOpen, size_hint, WIRE_SIZE_MAX),
    U32(Weir__ScanOpen, crashes, CRASHES_MAX),
    TOKEN(Weir__ScanOpen, client, WIRE_CLIENT_MAX),
    TEXT(Weir__ScanOpen, helo, WIRE_ADDRESS_MAX),
    TEXT(Weir__ScanOpen, sender, WIRE_ADDRESS_MAX),
    U32(Weir__ScanOpen, recipients, RECIPIENTS_MAX),
    MAYBE_ONE(Weir__ScanOpen, spam, spam_facts_table),
    END,
};
TABLE(scan_open, scan_open, NULL);

static const struct wire_rule scan_chunk_rules[] = {
    ID(Weir__ScanChunk, id),
    U64(Weir__ScanChunk, offset, WIRE_SIZE_MAX),
    END,
};
TABLE(scan_chunk, scan_chunk, NULL);

static const struct wire_rule scan_cancel_rules[] = { ID(Weir__ScanCancel, id), END };
TABLE(scan_cancel, scan_cancel, NULL);

static const struct wire_rule scan_grant_rules[] = {
    ID(Weir__ScanGrant, id),
    U64(Weir__ScanGrant, allowed, WIRE_SIZE_MAX),
    END,
};
TABLE(scan_grant, scan_grant, NULL);

static const struct wire_rule scan_credit_rules[] = {
    ID(Weir__ScanCredit, id),
    U64(Weir__ScanCredit, allowed, WIRE_SIZE_MAX),
    END,
};
TABLE(scan_credit, scan_credit, NULL);

static const struct wire_rule scan_busy_rules[] = {
    ID(Weir__ScanBusy, id),
    ENUM(Weir__ScanBusy, reason, WEIR__BUSY_REASON__BUSY_SLOTS, BUSY_LAST),
    END,
};
TABLE(scan_busy, scan_busy, NULL);

/* A field body as it may stand in a header: no line in it but folded ones (RFC 5322 2.2.3), as its words come from who wrote the mail. */
static bool is_field_body(const ProtobufCBinaryData *text)
{
    for (size_t i = 0; i < text->len; i++) {
        uint8_t c = text->data[i];
        if (c == '\r' && i + 2 < text->len && text->data[i + 1] == '\n' && (text->data[i + 2] == ' ' || text->data[i + 2] == '\t'))
            i++;
        else if ((c < ' ' && c != '\t') || c > '~')
            return false;
    }
    return true;
}

static bool spam_fits_a_header(const void *message, struct error *why)
{
    const Weir__SpamResult *result = message;
    bool ok = is_field_body(&result->authentication);
    for (size_t i = 0; i < result->n_signatures; i++)
        ok = ok && is_field_body(&result->signatures[i]);
    if (!ok)
        error_set(why, "text that may not stand in a header");
    return ok;
}

static const struct wire_rule spam_engine_rules[] = {
    NAME(Weir__SpamEngine, name),
    ENUM(Weir__SpamEngine, state, WEIR__SPAM_STATE__SPAM_OK, WEIR__SPAM_STATE__SPAM_SIZE),
    U32(Weir__SpamEngine, score, WIRE_SCORE_MAX),
    END,
};
TABLE(spam_engine, spam_engine, NULL);

static const struct wire_rule spam_symbol_rules[] = {
    NAME(Weir__SpamSymbol, name),
    TEXT(Weir__SpamSymbol, detail, WIRE_WORD_MAX),
    NAME(Weir__SpamSymbol, engine),
    END,
};
TABLE(spam_symbol, spam_symbol, NULL);

static const struct wire_rule spam_result_rules[] = {
    U32(Weir__SpamResult, score, WIRE_SCORE_MAX),
    EACH(Weir__SpamResult, engines, 1, WIRE_SPAM_ENGINES_MAX, spam_engine_table),
    EACH(Weir__SpamResult, symbols, 0, WIRE_SPAM_SYMBOLS_MAX, spam_symbol_table),
    TEXT(Weir__SpamResult, authentication, WIRE_REPLY_MAX),
    TEXTS(Weir__SpamResult, signatures, WIRE_SPAM_SIGNATURES_MAX, WIRE_REPLY_MAX),
    END,
};
TABLE(spam_result, spam_result, spam_fits_a_header);

static const struct wire_rule attachment_rules[] = {
    HASH(Weir__Attachment, hash),
    ENUM(Weir__Attachment, kind, WEIR__ATTACHMENT_KIND__ATTACHMENT_OTHER, ATTACHMENT_LAST),
    U64(Weir__Attachment, size, WIRE_SIZE_MAX),
    END,
};
TABLE(attachment, attachment, NULL);

/* A verdict that says two things is none: clean with a reason or a signature, bad without a name (I2). */
static bool verdict_is_one(const void *message, struct error *why)
{
    const Weir__ScanVerdict *verdict = message;
    bool has_reason = verdict->reason != WEIR__UNKNOWN_REASON__UNKNOWN_UNSPECIFIED;
    bool ok = false;

    switch (verdict->verdict) {
    case WEIR__VERDICT__VERDICT_CLEAN:
        ok = !has_reason && verdict->signature.len == 0;
        break;
    case WEIR__VERDICT__VERDICT_BAD:
        ok = !has_reason && verdict->signature.len > 0;
        break;
    default:
        ok = has_reason;
        break;
    }
    ok = ok && (verdict->spam == NULL || verdict->verdict == WEIR__VERDICT__VERDICT_CLEAN) && (verdict->n_attachments == 0 || verdict->verdict != WEIR__VERDICT__VERDICT_UNKNOWN);
    if (!ok)
        error_set(why, "verdict, reason, signature, score and attachments contradict each other");
    return ok;
}

static const struct wire_rule scan_verdict_rules[] = {
    ID(Weir__ScanVerdict, id),
    ENUM(Weir__ScanVerdict, verdict, WEIR__VERDICT__VERDICT_CLEAN, VERDICT_LAST),
    TEXT(Weir__ScanVerdict, signature, WIRE_WORDS_MAX),
    ENUM(Weir__ScanVerdict, reason, 0, UNKNOWN_LAST),
    U64(Weir__ScanVerdict, size, WIRE_SIZE_MAX),
    TEXT(Weir__ScanVerdict, engine, WIRE_WORD_MAX),
    TEXT(Weir__ScanVerdict, signatures, WIRE_WORD_MAX),
    NAME(Weir__ScanVerdict, scanner),
    MAYBE_ONE(Weir__ScanVerdict, spam, spam_result_table),
    EACH(Weir__ScanVerdict, attachments, 0, WIRE_ATTACHMENTS_MAX, attachment_table),
    END,
};
TABLE(scan_verdict, scan_verdict, verdict_is_one);

static const struct wire_rule scanner_load_rules[] = {
    NAME(Weir__ScannerLoad, node),
    ENUM(Weir__ScannerLoad, state, WEIR__NODE_STATE__NODE_STARTING, STATE_LAST),
    U32(Weir__ScannerLoad, slots, SLOTS_MAX),
    U32(Weir__ScannerLoad, slots_used, SLOTS_MAX),
    TEXT(Weir__ScannerLoad, signatures, WIRE_WORD_MAX),
    END,
};
TABLE(scanner_load, scanner_load, NULL);

/* --- node --- */

static const struct wire_rule node_hello_rules[] = {
    NAME(Weir__NodeHello, node),
    ENUM(Weir__NodeHello, role, WEIR__ROLE__ROLE_EDGE, ROLE_LAST),
    U32(Weir__NodeHello, worker, WORKERS_MAX),
    TOKEN(Weir__NodeHello, endpoint, WIRE_ENDPOINT_MAX),
    MAYBE_KEY(Weir__NodeHello, public_key),
    TEXT(Weir__NodeHello, version, WIRE_WORD_MAX),
    TEXT(Weir__NodeHello, database, WIRE_WORD_MAX),
    END,
};
TABLE(node_hello, node_hello, NULL);

static const struct wire_rule node_welcome_rules[] = { NAME(Weir__NodeWelcome, coordinator), END };
TABLE(node_welcome, node_welcome, NULL);

/* One infinite value would spoil the sum over the cluster for ever. */
static bool sample_is_sound(const void *message, struct error *why)
{
    const Weir__MetricSample *sample = message;
    size_t expected = sample->kind == METRIC_HISTOGRAM ? sample->n_bounds : 0;
    bool ok = isfinite(sample->value) && sample->n_bounds == expected && sample->n_buckets == expected;

    for (size_t i = 0; ok && i < sample->n_bounds; i++)
        ok = isfinite(sample->bounds[i]) && (i == 0 || sample->bounds[i] > sample->bounds[i - 1]);
    if (!ok)
        error_set(why, "metric with an unusable value or buckets");
    return ok;
}

static const struct wire_rule metric_sample_rules[] = {
    { FIELD(Weir__MetricSample, name), .kind = WIRE_RULE_NAME, .min = 1, .max = WIRE_WORD_MAX },
    TEXT(Weir__MetricSample, labels, WIRE_WORDS_MAX),
    U32(Weir__MetricSample, kind, METRIC_HISTOGRAM),
    COUNT(Weir__MetricSample, bounds, METRIC_BUCKETS_MAX),
    COUNT(Weir__MetricSample, buckets, METRIC_BUCKETS_MAX),
    END,
};
TABLE(metric_sample, metric_sample, sample_is_sound);

static const struct wire_rule listener_rules[] = {
    TEXT(Weir__Listener, name, WIRE_NAME_MAX),
    TOKEN(Weir__Listener, endpoint, WIRE_ENDPOINT_MAX),
    END,
};
TABLE(listener, listener, NULL);

static const struct wire_rule scanner_use_rules[] = {
    U32(Weir__ScannerUse, small_workers, WORKERS_MAX),
    U32(Weir__ScannerUse, large_workers, WORKERS_MAX),
    U32(Weir__ScannerUse, small_busy, 100 * WORKERS_MAX),
    U32(Weir__ScannerUse, large_busy, 100 * WORKERS_MAX),
    U64(Weir__ScannerUse, memory, USE_MAX),
    U64(Weir__ScannerUse, memory_loaded, USE_MAX),
    U64(Weir__ScannerUse, scanned, USE_MAX),
    U64(Weir__ScannerUse, serving_ms, USE_MAX),
    END,
};
TABLE(scanner_use, scanner_use, NULL);

static const struct wire_rule signature_state_rules[] = {
    MAYBE_HASH(Weir__SignatureState, set),
    MAYBE_HASH(Weir__SignatureState, wanted),
    TEXT(Weir__SignatureState, why, WIRE_WORDS_MAX),
    END,
};
TABLE(signature_state, signature_state, NULL);

static const struct wire_rule heartbeat_rules[] = {
    NAME(Weir__Heartbeat, node),
    ENUM(Weir__Heartbeat, role, WEIR__ROLE__ROLE_EDGE, ROLE_LAST),
    U32(Weir__Heartbeat, worker, WORKERS_MAX),
    ENUM(Weir__Heartbeat, state, WEIR__NODE_STATE__NODE_STARTING, STATE_LAST),
    TEXT(Weir__Heartbeat, signatures, WIRE_WORD_MAX),
    EACH(Weir__Heartbeat, metrics, 0, WIRE_METRICS_MAX, metric_sample_table),
    EACH(Weir__Heartbeat, listeners, 0, WIRE_LISTENERS_MAX, listener_table),
    MAYBE_ONE(Weir__Heartbeat, use, scanner_use_table),
    TEXTS(Weir__Heartbeat, addresses, WIRE_ADDRESSES_MAX, WIRE_CLIENT_MAX),
    TOKEN(Weir__Heartbeat, endpoint, WIRE_ENDPOINT_MAX),
    MAYBE_KEY(Weir__Heartbeat, public_key),
    TEXT(Weir__Heartbeat, version, WIRE_WORD_MAX),
    MAYBE_ONE(Weir__Heartbeat, signature_state, signature_state_table),
    END,
};
TABLE(heartbeat, heartbeat, NULL);

static const struct wire_rule heartbeat_ack_rules[] = { END };
TABLE(heartbeat_ack, heartbeat_ack, NULL);

static const struct wire_rule node_entry_rules[] = {
    NAME(Weir__NodeEntry, node),
    ENUM(Weir__NodeEntry, role, WEIR__ROLE__ROLE_EDGE, ROLE_LAST),
    ENUM(Weir__NodeEntry, state, 0, STATE_LAST), /* unspecified: registered, never heard */
    TOKEN(Weir__NodeEntry, endpoint, WIRE_ENDPOINT_MAX),
    MAYBE_KEY(Weir__NodeEntry, public_key),
    END,
};
TABLE(node_entry, node_entry, NULL);

static const struct wire_rule allowed_key_rules[] = {
    KEY(Weir__AllowedKey, public_key),
    NAME(Weir__AllowedKey, name),
    ENUM(Weir__AllowedKey, role, WEIR__ROLE__ROLE_EDGE, ROLE_LAST),
    END,
};
TABLE(allowed_key, allowed_key, NULL);

static const struct wire_rule signature_target_rules[] = {
    NAME(Weir__SignatureTarget, node),
    HASH(Weir__SignatureTarget, set),
    END,
};
TABLE(signature_target, signature_target, NULL);

static const struct wire_rule signature_targets_rules[] = {
    EACH(Weir__SignatureTargets, targets, 0, WIRE_NODES_MAX, signature_target_table),
    END,
};
TABLE(signature_targets, signature_targets, NULL);

static const struct wire_rule outbound_stop_rules[] = {
    SOME_TEXT(Weir__OutboundStop, subject, WIRE_SUBJECT_MAX),
    ENUM(Weir__OutboundStop, state, WEIR__OUTBOUND_STATE__OUTBOUND_THROTTLED, WEIR__OUTBOUND_STATE__OUTBOUND_FULL),
    U64(Weir__OutboundStop, amount, WIRE_SIZE_MAX),
    END,
};
TABLE(outbound_stop, outbound_stop, NULL);

static const struct wire_rule outbound_stops_rules[] = {
    EACH(Weir__OutboundStops, stops, 0, WIRE_STOPS_MAX, outbound_stop_table),
    COUNT(Weir__OutboundStops, beyond, WIRE_BEYOND_MAX),
    TEXT(Weir__OutboundStops, beyond_states, WIRE_BEYOND_MAX),
    END,
};
TABLE(outbound_stops, outbound_stops, NULL);

static const struct wire_rule outbound_pool_rules[] = {
    SOME_TEXT(Weir__OutboundPool, subject, WIRE_SUBJECT_MAX),
    SOME_TEXT(Weir__OutboundPool, pool, WIRE_NAME_MAX),
    END,
};
TABLE(outbound_pool, outbound_pool, NULL);

static const struct wire_rule outbound_pools_rules[] = {
    EACH(Weir__OutboundPools, pools, 0, WIRE_STOPS_MAX, outbound_pool_table),
    END,
};
TABLE(outbound_pools, outbound_pools, NULL);

static const struct wire_rule cluster_state_rules[] = {
    MAYBE_ONE(Weir__ClusterState, signature_targets, signature_targets_table),
    NAME(Weir__ClusterState, coordinator),
    TEXT(Weir__ClusterState, identity, WIRE_WORD_MAX),
    TEXT(Weir__ClusterState, policy_digest, WIRE_WORD_MAX),
    EACH(Weir__ClusterState, nodes, 0, WIRE_NODES_MAX, node_entry_table),
    EACH(Weir__ClusterState, keys, 0, WIRE_KEYS_MAX, allowed_key_table),
    MAYBE_ONE(Weir__ClusterState, outbound, outbound_stops_table),
    MAYBE_ONE(Weir__ClusterState, pools, outbound_pools_table),
    END,
};
TABLE(cluster_state, cluster_state, NULL);

static const struct wire_rule policy_request_rules[] = { TEXT(Weir__PolicyRequest, have_digest, WIRE_WORD_MAX), END };
TABLE(policy_request, policy_request, NULL);

static const struct wire_rule policy_rules[] = {
    NAMES(Weir__Policy, files, WIRE_PAYLOADS_MAX),
    TEXT(Weir__Policy, digest, WIRE_WORD_MAX),
    END,
};
TABLE(policy, policy, NULL);

/* --- report --- */

static const struct wire_rule wire_audit_row_rules[] = {
    ID(Weir__AuditRow, id),
    U32(Weir__AuditRow, recipient_index, RECIPIENTS_MAX),
    TEXT(Weir__AuditRow, recipient, WIRE_ADDRESS_MAX),
    TEXT(Weir__AuditRow, sender, WIRE_ADDRESS_MAX),
    SOME_TEXT(Weir__AuditRow, disposition, WIRE_WORD_MAX),
    U32(Weir__AuditRow, reply_code, 999),
    TEXT(Weir__AuditRow, reply, WIRE_REPLY_MAX),
    TEXT(Weir__AuditRow, client, WIRE_CLIENT_MAX),
    TEXT(Weir__AuditRow, helo, WIRE_ADDRESS_MAX),
    TEXT(Weir__AuditRow, listener, WIRE_NAME_MAX),
    TEXT(Weir__AuditRow, message_id, WIRE_ADDRESS_MAX),
    U64(Weir__AuditRow, size, WIRE_SIZE_MAX),
    TEXT(Weir__AuditRow, verdict, WIRE_WORD_MAX),
    TEXT(Weir__AuditRow, signature, WIRE_WORDS_MAX),
    TEXT(Weir__AuditRow, scanner, WIRE_NAME_MAX),
    TEXT(Weir__AuditRow, engine, WIRE_WORD_MAX),
    TEXT(Weir__AuditRow, signatures, WIRE_WORD_MAX),
    TEXT(Weir__AuditRow, next_hop, WIRE_WORDS_MAX),
    TEXT(Weir__AuditRow, next_hop_reply, WIRE_REPLY_MAX),
    U64(Weir__AuditRow, time_ms, WIRE_TIME_MAX),
    TEXT(Weir__AuditRow, tls, WIRE_WORD_MAX),
    U64(Weir__AuditRow, policy_epoch, INT64_MAX),
    TEXT(Weir__AuditRow, rule, WIRE_WORD_MAX),
    TEXT(Weir__AuditRow, login, WIRE_LOGIN_MAX),
    TEXT(Weir__AuditRow, given, WIRE_ADDRESS_MAX),
    ENUM(Weir__AuditRow, origin, 0, ORIGIN_LAST),
    TEXT(Weir__AuditRow, host, WIRE_CLIENT_MAX),
    U64(Weir__AuditRow, override, INT64_MAX),
    TEXT(Weir__AuditRow, attachments, WIRE_ATTACHMENTS_MAX * WIRE_ATTACHMENT_LEN),
    END,
};
const struct wire_table wire_audit_row_table = {
    .descriptor = &weir__audit_row__descriptor,
    .rules = wire_audit_row_rules,
};

static const struct wire_rule report_rules[] = {
    NAME(Weir__Report, node),
    U32(Weir__Report, worker, WORKERS_MAX),
    EACH(Weir__Report, rows, 1, WIRE_ROWS_MAX, wire_audit_row_table),
    END,
};
TABLE(report, report, NULL);

static const struct wire_rule report_ack_rules[] = { END };
TABLE(report_ack, report_ack, NULL);

/* --- admin --- */

static const struct wire_rule admin_request_rules[] = {
    SOME_TEXT(Weir__AdminRequest, verb, WIRE_WORD_MAX),
    TEXTS(Weir__AdminRequest, args, ARGS_MAX, WIRE_ARG_MAX),
    NAMES(Weir__AdminRequest, files, WIRE_PAYLOADS_MAX),
    MAYBE_ACT(Weir__AdminRequest, act),
    END,
};
TABLE(admin_request, admin_request, NULL);

static const struct wire_rule admin_reply_rules[] = {
    U32(Weir__AdminReply, status, 255),
    TEXT(Weir__AdminReply, error, WIRE_REPLY_MAX),
    END,
};
TABLE(admin_reply, admin_reply, NULL);

/* --- spool --- */

static const struct wire_rule spool_senders_rules[] = {
    TEXTS(Weir__SpoolSenders, senders, WIRE_SPOOL_OWNERS_MAX, WIRE_ADDRESS_MAX),
    COUNT(Weir__SpoolSenders, firsts, WIRE_SPOOL_OWNERS_MAX),
    COUNT(Weir__SpoolSenders, counts, WIRE_SPOOL_OWNERS_MAX),
    END,
};
TABLE(spool_senders, spool_senders, NULL);

static const struct wire_rule spool_envelope_rules[] = {
    ID(Weir__SpoolEnvelope, id),
    TEXT(Weir__SpoolEnvelope, sender, WIRE_ADDRESS_MAX),
    TEXT(Weir__SpoolEnvelope, listener, WIRE_NAME_MAX),
    TEXT(Weir__SpoolEnvelope, client, WIRE_CLIENT_MAX),
    TEXT(Weir__SpoolEnvelope, helo, WIRE_ADDRESS_MAX),
    TEXT(Weir__SpoolEnvelope, tls, WIRE_WORD_MAX),
    TEXT(Weir__SpoolEnvelope, login, WIRE_LOGIN_MAX),
    TEXT(Weir__SpoolEnvelope, message_id, WIRE_ADDRESS_MAX),
    U64(Weir__SpoolEnvelope, size, WIRE_SIZE_MAX),
    U32(Weir__SpoolEnvelope, ret, 2),
    TEXT(Weir__SpoolEnvelope, envid, ENVID_MAX),
    TEXT(Weir__SpoolEnvelope, verdict, WIRE_WORD_MAX),
    TEXT(Weir__SpoolEnvelope, scanner, WIRE_NAME_MAX),
    TEXT(Weir__SpoolEnvelope, engine, WIRE_WORD_MAX),
    TEXT(Weir__SpoolEnvelope, signatures, WIRE_WORD_MAX),
    U64(Weir__SpoolEnvelope, time_ms, WIRE_TIME_MAX),
    TOKEN(Weir__SpoolEnvelope, hello, WIRE_WORD_MAX),
    MAYBE_NAME(Weir__SpoolEnvelope, node),
    TEXT(Weir__SpoolEnvelope, stopped, WIRE_SUBJECT_MAX),
    U32(Weir__SpoolEnvelope, score, WIRE_SCORE_MAX),
    TEXT(Weir__SpoolEnvelope, symbols, WIRE_SYMBOLS_MAX),
    TEXT(Weir__SpoolEnvelope, signature, WIRE_WORDS_MAX),
    TEXT(Weir__SpoolEnvelope, author, WIRE_ADDRESS_MAX),
    TEXTS(Weir__SpoolEnvelope, senders, WIRE_SPOOL_SENDERS_MAX, WIRE_ADDRESS_MAX),
    COUNT(Weir__SpoolEnvelope, sender_firsts, WIRE_SPOOL_SENDERS_MAX),
    COUNT(Weir__SpoolEnvelope, sender_counts, WIRE_SPOOL_SENDERS_MAX),
    MAYBE_ONE(Weir__SpoolEnvelope, owners, spool_senders_table),
    END,
};
TABLE(spool_envelope, spool_envelope, NULL);

static const struct wire_rule spool_recipient_rules[] = {
    U32(Weir__SpoolRecipient, index, RECIPIENTS_MAX),
    SOME_TEXT(Weir__SpoolRecipient, address, WIRE_ADDRESS_MAX),
    TEXT(Weir__SpoolRecipient, original, WIRE_ADDRESS_MAX),
    U32(Weir__SpoolRecipient, notify, 15),
    SOME_TEXT(Weir__SpoolRecipient, destination, WIRE_WORDS_MAX),
    TEXT(Weir__SpoolRecipient, given, WIRE_ADDRESS_MAX),
    ENUM(Weir__SpoolRecipient, quarantine, WEIR__QUARANTINE__QUARANTINE_NOT, WEIR__QUARANTINE__QUARANTINE_OUTBREAK),
    ENUM(Weir__SpoolRecipient, released, WEIR__RELEASED__RELEASED_NOT, WEIR__RELEASED__RELEASED_ANYWAY),
    END,
};
TABLE(spool_recipient, spool_recipient, NULL);

static const struct wire_rule wire_recipients_rules[] = {
    EACH(Weir__SpoolRecipients, recipients, 0, WIRE_LISTED_MAX, spool_recipient_table),
    END,
};
const struct wire_table wire_recipients_table = {
    .descriptor = &weir__spool_recipients__descriptor,
    .rules = wire_recipients_rules,
};

static const struct wire_rule spool_store_rules[] = {
    ONE(Weir__SpoolStore, envelope, spool_envelope_table),
    END,
};
TABLE(spool_store, spool_store, NULL);

static const struct wire_rule spool_chunk_rules[] = {
    ID(Weir__SpoolChunk, id),
    U64(Weir__SpoolChunk, offset, WIRE_SIZE_MAX),
    TEXT(Weir__SpoolChunk, verdict, WIRE_WORD_MAX),
    TEXT(Weir__SpoolChunk, scanner, WIRE_NAME_MAX),
    TEXT(Weir__SpoolChunk, engine, WIRE_WORD_MAX),
    TEXT(Weir__SpoolChunk, signatures, WIRE_WORD_MAX),
    END,
};
TABLE(spool_chunk, spool_chunk, NULL);

static const struct wire_rule spool_stored_rules[] = {
    ID(Weir__SpoolStored, id),
    U64(Weir__SpoolStored, have, WIRE_SIZE_MAX),
    COUNT(Weir__SpoolStored, let_in, WIRE_LET_IN_MAX),
    END,
};
TABLE(spool_stored, spool_stored, NULL);

static const struct wire_rule spool_claim_rules[] = {
    NAME(Weir__SpoolClaim, node),
    U32(Weir__SpoolClaim, worker, WORKERS_MAX),
    U32(Weir__SpoolClaim, room, WIRE_LEASES_MAX),
    U32(Weir__SpoolClaim, wait_ms, WAIT_MS_MAX),
    END,
};
TABLE(spool_claim, spool_claim, NULL);

static const struct wire_rule spool_lease_rules[] = {
    U32(Weir__SpoolLease, lease_ms, LEASE_MS_MAX),
    ONE(Weir__SpoolLease, envelope, spool_envelope_table),
    SOME_TEXT(Weir__SpoolLease, destination, WIRE_WORDS_MAX),
    U64(Weir__SpoolLease, age_ms, WIRE_TIME_MAX),
    END,
};
TABLE(spool_lease, spool_lease, NULL);

static const struct wire_rule spool_leases_rules[] = {
    EACH(Weir__SpoolLeases, leases, 0, WIRE_LEASES_MAX, spool_lease_table),
    END,
};
TABLE(spool_leases, spool_leases, NULL);

static const struct wire_rule spool_fetch_rules[] = {
    ID(Weir__SpoolFetch, id),
    U64(Weir__SpoolFetch, offset, WIRE_SIZE_MAX),
    END,
};
TABLE(spool_fetch, spool_fetch, NULL);

static const struct wire_rule spool_data_rules[] = {
    ID(Weir__SpoolData, id),
    U64(Weir__SpoolData, offset, WIRE_SIZE_MAX),
    U64(Weir__SpoolData, size, WIRE_SIZE_MAX),
    END,
};
TABLE(spool_data, spool_data, NULL);

static const struct wire_rule spool_held_rules[] = {
    ID(Weir__SpoolHeld, id),
    SOME_TEXT(Weir__SpoolHeld, destination, WIRE_WORDS_MAX),
    END,
};
TABLE(spool_held, spool_held, NULL);

static const struct wire_rule spool_renew_rules[] = {
    EACH(Weir__SpoolRenew, held, 1, WIRE_HELD_MAX, spool_held_table),
    END,
};
TABLE(spool_renew, spool_renew, NULL);

static const struct wire_rule spool_renewed_rules[] = {
    EACH(Weir__SpoolRenewed, held, 0, WIRE_HELD_MAX, spool_held_table),
    U32(Weir__SpoolRenewed, lease_ms, LEASE_MS_MAX),
    END,
};
TABLE(spool_renewed, spool_renewed, NULL);

static const struct wire_rule spool_settled_rules[] = {
    END,
};
TABLE(spool_settled, spool_settled, NULL);

static const struct wire_rule spool_outcome_rules[] = {
    U32(Weir__SpoolOutcome, index, RECIPIENTS_MAX),
    ENUM(Weir__SpoolOutcome, disposition, WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED, DISPOSITION_LAST),
    U32(Weir__SpoolOutcome, code, 999),
    TEXT(Weir__SpoolOutcome, enhanced, WIRE_WORD_MAX),
    TEXT(Weir__SpoolOutcome, text, WIRE_REPLY_MAX),
    TEXT(Weir__SpoolOutcome, reason, WIRE_WORD_MAX),
    END,
};

static bool outcome_is_sound(const void *message, struct error *why)
{
    const Weir__SpoolOutcome *outcome = message;
    if (outcome->disposition != WEIR__SPOOL_DISPOSITION__SPOOL_REROUTED || (outcome->text.len > 0 && outcome->text.len <= WIRE_WORDS_MAX))
        return true;
    error_set(why, "rerouted to no destination");
    return false;
}
TABLE(spool_outcome, spool_outcome, outcome_is_sound);

static const struct wire_rule wire_outcomes_rules[] = {
    EACH(Weir__SpoolOutcomes, outcomes, 0, WIRE_LISTED_MAX, spool_outcome_table),
    END,
};
const struct wire_table wire_outcomes_table = {
    .descriptor = &weir__spool_outcomes__descriptor,
    .rules = wire_outcomes_rules,
};

static const struct wire_rule spool_result_rules[] = {
    ID(Weir__SpoolResult, id),
    SOME_TEXT(Weir__SpoolResult, destination, WIRE_WORDS_MAX),
    U32(Weir__SpoolResult, retry_ms, RETRY_MS_MAX),
    MAYBE_ONE(Weir__SpoolResult, dsn, spool_envelope_table),
    TEXT(Weir__SpoolResult, verdict, WIRE_WORD_MAX),
    TEXT(Weir__SpoolResult, scanner, WIRE_NAME_MAX),
    TEXT(Weir__SpoolResult, engine, WIRE_WORD_MAX),
    TEXT(Weir__SpoolResult, signatures, WIRE_WORD_MAX),
    TEXT(Weir__SpoolResult, signature, WIRE_WORDS_MAX),
    U32(Weir__SpoolResult, score, WIRE_SCORE_MAX),
    TEXT(Weir__SpoolResult, symbols, WIRE_SYMBOLS_MAX),
    END,
};
TABLE(spool_result, spool_result, NULL);

/* --- auth --- */

static const struct wire_rule auth_check_rules[] = {
    SOME_TEXT(Weir__AuthCheck, login, WIRE_LOGIN_MAX),
    SOME_TEXT(Weir__AuthCheck, password, WIRE_PASSWORD_MAX),
    TEXT(Weir__AuthCheck, client, WIRE_CLIENT_MAX),
    TEXT(Weir__AuthCheck, listener, WIRE_NAME_MAX),
    END,
};
TABLE(auth_check, auth_check, NULL);

/* Nobody is let in under no name. */
static bool auth_result_is_one(const void *message, struct error *why)
{
    const Weir__AuthResult *result = message;

    if ((result->outcome == WEIR__AUTH_OUTCOME__AUTH_ACCEPTED) == (result->account.len > 0))
        return true;
    error_set(why, "outcome and account contradict each other");
    return false;
}

static const struct wire_rule auth_result_rules[] = {
    ENUM(Weir__AuthResult, outcome, WEIR__AUTH_OUTCOME__AUTH_ACCEPTED, WEIR__AUTH_OUTCOME__AUTH_UNAVAILABLE),
    TEXT(Weir__AuthResult, account, WIRE_LOGIN_MAX),
    TEXTS(Weir__AuthResult, senders, WIRE_SENDERS_MAX, WIRE_ADDRESS_MAX),
    END,
};
TABLE(auth_result, auth_result, auth_result_is_one);

/* --- verify --- */

static const struct wire_rule verify_ask_rules[] = {
    SOME_TEXT(Weir__VerifyAsk, address, WIRE_ADDRESS_MAX),
    SOME_TEXT(Weir__VerifyAsk, destination, WIRE_WORDS_MAX),
    END,
};
TABLE(verify_ask, verify_ask, NULL);

static const struct wire_rule verify_tell_rules[] = {
    SOME_TEXT(Weir__VerifyTell, address, WIRE_ADDRESS_MAX),
    SOME_TEXT(Weir__VerifyTell, destination, WIRE_WORDS_MAX),
    U32(Weir__VerifyTell, code, 599),
    TEXT(Weir__VerifyTell, enhanced, WIRE_WORD_MAX),
    TEXT(Weir__VerifyTell, text, WIRE_REPLY_MAX),
    END,
};
TABLE(verify_tell, verify_tell, NULL);

static const struct wire_rule verify_known_rules[] = {
    U32(Weir__VerifyKnown, code, 599),
    TEXT(Weir__VerifyKnown, enhanced, WIRE_WORD_MAX),
    TEXT(Weir__VerifyKnown, text, WIRE_REPLY_MAX),
    END,
};
TABLE(verify_known, verify_known, NULL);

/* --- limits --- */

static bool limit_cost_is_one(const void *message, struct error *why)
{
    const Weir__LimitCost *cost = message;

    if (cost->amount > 0 && cost->period_ms > 0 && cost->burst > 0)
        return true;
    error_set(why, "a bucket of nothing");
    return false;
}

static const struct wire_rule limit_cost_rules[] = {
    SOME_TEXT(Weir__LimitCost, bucket, WIRE_BUCKET_MAX),
    U64(Weir__LimitCost, cost, WIRE_SIZE_MAX),
    U64(Weir__LimitCost, amount, BUCKET_AMOUNT_MAX),
    U64(Weir__LimitCost, period_ms, BUCKET_PERIOD_MAX),
    U64(Weir__LimitCost, burst, BUCKET_AMOUNT_MAX),
    U64(Weir__LimitCost, spare, WIRE_SIZE_MAX),
    END,
};
TABLE(limit_cost, limit_cost, limit_cost_is_one);

static const struct wire_rule limit_ask_rules[] = {
    EACH(Weir__LimitAsk, costs, 1, WIRE_COSTS_MAX, limit_cost_table),
    END,
};
TABLE(limit_ask, limit_ask, NULL);

static const struct wire_rule limit_state_rules[] = {
    U64(Weir__LimitState, wait_ms, WIRE_TIME_MAX),
    U64(Weir__LimitState, spare, WIRE_SIZE_MAX),
    END,
};
TABLE(limit_state, limit_state, NULL);

static const struct wire_rule limit_taken_rules[] = {
    EACH(Weir__LimitTaken, states, 1, WIRE_COSTS_MAX, limit_state_table),
    END,
};
TABLE(limit_taken, limit_taken, NULL);

/* --- signatures --- */

static const struct wire_rule signature_list_rules[] = {
    HASH(Weir__SignatureList, set),
    END,
};
TABLE(signature_list, signature_list, NULL);

static const struct wire_rule signature_file_rules[] = {
    NAME(Weir__SignatureFile, name),
    HASH(Weir__SignatureFile, hash),
    U64(Weir__SignatureFile, size, WIRE_SIZE_MAX),
    U64(Weir__SignatureFile, time_ms, WIRE_TIME_MAX),
    END,
};
TABLE(signature_file, signature_file, NULL);

static const struct wire_rule signature_files_rules[] = {
    EACH(Weir__SignatureFiles, files, 1, WIRE_SIGNATURE_FILES_MAX, signature_file_table),
    END,
};
TABLE(signature_files, signature_files, NULL);

static const struct wire_rule signature_fetch_rules[] = {
    HASH(Weir__SignatureFetch, hash),
    U64(Weir__SignatureFetch, offset, WIRE_SIZE_MAX),
    END,
};
TABLE(signature_fetch, signature_fetch, NULL);

static const struct wire_rule signature_data_rules[] = {
    U64(Weir__SignatureData, size, WIRE_SIZE_MAX),
    END,
};
TABLE(signature_data, signature_data, NULL);

/* --- learning --- */

static const struct wire_rule learn_ask_rules[] = { END };
TABLE(learn_ask, learn_ask, NULL);

static const struct wire_rule learn_news_rules[] = {
    MAYBE_HASH(Weir__LearnNews, model),
    U64(Weir__LearnNews, size, WIRE_SIZE_MAX),
    TEXT(Weir__LearnNews, client, WIRE_CLIENT_MAX),
    TEXT(Weir__LearnNews, helo, WIRE_ADDRESS_MAX),
    TEXT(Weir__LearnNews, sender, WIRE_ADDRESS_MAX),
    TEXT(Weir__LearnNews, recipient, WIRE_ADDRESS_MAX),
    TEXT(Weir__LearnNews, login, WIRE_ADDRESS_MAX),
    END,
};
TABLE(learn_news, learn_news, NULL);

static const struct wire_rule learn_tell_rules[] = {
    TEXT(Weir__LearnTell, why, WIRE_WORDS_MAX),
    MAYBE_ONE(Weir__LearnTell, spam, spam_result_table),
    END,
};
TABLE(learn_tell, learn_tell, NULL);

/* --- reputation --- */

static const struct wire_rule reputation_ask_rules[] = {
    TEXT(Weir__ReputationAsk, source, WIRE_WORD_MAX),
    U64(Weir__ReputationAsk, have, INT64_MAX),
    U32(Weir__ReputationAsk, wait_ms, WAIT_MS_MAX),
    END,
};
TABLE(reputation_ask, reputation_ask, NULL);

static const struct wire_rule reputation_entry_rules[] = {
    SOME_TEXT(Weir__ReputationEntry, key, WIRE_LOGIN_MAX),
    ENUM(Weir__ReputationEntry, action, WEIR__REPUTATION_ACTION__REPUTATION_ALLOW, WEIR__REPUTATION_ACTION__REPUTATION_REJECT),
    U64(Weir__ReputationEntry, left_ms, WIRE_TIME_MAX),
    U64(Weir__ReputationEntry, override, INT64_MAX),
    END,
};
TABLE(reputation_entry, reputation_entry, NULL);

static const struct wire_rule reputation_news_rules[] = {
    SOME_TEXT(Weir__ReputationNews, source, WIRE_WORD_MAX),
    U64(Weir__ReputationNews, number, INT64_MAX),
    EACH(Weir__ReputationNews, entries, 0, WIRE_STANDINGS_MAX, reputation_entry_table),
    END,
};
TABLE(reputation_news, reputation_news, NULL);

/* --- personal --- */

static const struct wire_rule personal_ask_rules[] = {
    TEXTS(Weir__PersonalAsk, senders, WIRE_AUTHORS_MAX, WIRE_ADDRESS_MAX),
    TEXT(Weir__PersonalAsk, author, WIRE_ADDRESS_MAX),
    END,
};
TABLE(personal_ask, personal_ask, NULL);

static const struct wire_rule personal_known_rules[] = {
    COUNT(Weir__PersonalKnown, safe, WIRE_PERSONAL_MAX),
    COUNT(Weir__PersonalKnown, blocked, WIRE_PERSONAL_MAX),
    END,
};
TABLE(personal_known, personal_known, NULL);

/* --- outbreak --- */

static const struct wire_rule outbreak_ask_rules[] = {
    ID(Weir__OutbreakAsk, id),
    TEXT(Weir__OutbreakAsk, sender, WIRE_ADDRESS_MAX),
    TOKEN(Weir__OutbreakAsk, client, WIRE_CLIENT_MAX),
    EACH(Weir__OutbreakAsk, attachments, 0, WIRE_ATTACHMENTS_MAX, attachment_table),
    TEXT(Weir__OutbreakAsk, signatures, WIRE_WORD_MAX),
    TEXT(Weir__OutbreakAsk, login, WIRE_LOGIN_MAX),
    END,
};
TABLE(outbreak_ask, outbreak_ask, NULL);

static const struct wire_rule outbreak_word_rules[] = {
    ENUM(Weir__OutbreakWord, action, WEIR__OUTBREAK_ACTION__OUTBREAK_PASS, WEIR__OUTBREAK_ACTION__OUTBREAK_BLOCK),
    MAYBE_HASH(Weir__OutbreakWord, hash),
    END,
};
TABLE(outbreak_word, outbreak_word, NULL);

/* --- questions and answers --- */

static bool question_has_body(const void *message, struct error *why)
{
    if (((const Weir__Question *)message)->body_case != WEIR__QUESTION__BODY__NOT_SET)
        return true;
    error_set(why, WIRE_UNKNOWN);
    return false;
}

static const struct wire_rule question_rules[] = {
    CASE(Weir__Question, WEIR__QUESTION__BODY_SPOOL_STORE, spool_store),
    CASE(Weir__Question, WEIR__QUESTION__BODY_SPOOL_CHUNK, spool_chunk),
    CASE(Weir__Question, WEIR__QUESTION__BODY_SPOOL_CLAIM, spool_claim),
    CASE(Weir__Question, WEIR__QUESTION__BODY_SPOOL_FETCH, spool_fetch),
    CASE(Weir__Question, WEIR__QUESTION__BODY_SPOOL_RENEW, spool_renew),
    CASE(Weir__Question, WEIR__QUESTION__BODY_SPOOL_RESULT, spool_result),
    CASE(Weir__Question, WEIR__QUESTION__BODY_AUTH_CHECK, auth_check),
    CASE(Weir__Question, WEIR__QUESTION__BODY_VERIFY_ASK, verify_ask),
    CASE(Weir__Question, WEIR__QUESTION__BODY_VERIFY_TELL, verify_tell),
    CASE(Weir__Question, WEIR__QUESTION__BODY_LIMIT_ASK, limit_ask),
    CASE(Weir__Question, WEIR__QUESTION__BODY_SIGNATURE_LIST, signature_list),
    CASE(Weir__Question, WEIR__QUESTION__BODY_SIGNATURE_FETCH, signature_fetch),
    CASE(Weir__Question, WEIR__QUESTION__BODY_REPUTATION_ASK, reputation_ask),
    CASE(Weir__Question, WEIR__QUESTION__BODY_PERSONAL_ASK, personal_ask),
    CASE(Weir__Question, WEIR__QUESTION__BODY_LEARN_ASK, learn_ask),
    CASE(Weir__Question, WEIR__QUESTION__BODY_LEARN_TELL, learn_tell),
    CASE(Weir__Question, WEIR__QUESTION__BODY_OUTBREAK_ASK, outbreak_ask),
    END,
};
TABLE(question, question, question_has_body);

/* Whoever reads a body may rely on its being meant. */
static bool answer_is_one(const void *message, struct error *why)
{
    const Weir__Answer *answer = message;

    if (answer->status == WEIR__ANSWER_STATUS__ANSWER_OK || answer->body_case == WEIR__ANSWER__BODY__NOT_SET)
        return true;
    error_set(why, "an answer that is not OK, with a body");
    return false;
}

static const struct wire_rule answer_rules[] = {
    ENUM(Weir__Answer, status, WEIR__ANSWER_STATUS__ANSWER_OK, WEIR__ANSWER_STATUS__ANSWER_REFUSED),
    TEXT(Weir__Answer, why, WIRE_REPLY_MAX),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_SPOOL_STORED, spool_stored),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_SPOOL_LEASES, spool_leases),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_SPOOL_DATA, spool_data),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_SPOOL_RENEWED, spool_renewed),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_SPOOL_SETTLED, spool_settled),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_AUTH_RESULT, auth_result),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_VERIFY_KNOWN, verify_known),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_LIMIT_TAKEN, limit_taken),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_SIGNATURE_FILES, signature_files),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_SIGNATURE_DATA, signature_data),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_REPUTATION_NEWS, reputation_news),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_PERSONAL_KNOWN, personal_known),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_LEARN_NEWS, learn_news),
    CASE(Weir__Answer, WEIR__ANSWER__BODY_OUTBREAK_WORD, outbreak_word),
    END,
};
TABLE(answer, answer, answer_is_one);

#define BODY(name, payload_rule, t)                                                                                    \
    {                                                                                                                  \
        WEIR__FRAME__BODY_##name, WIRE_PAYLOADS_##payload_rule, &t##_table                                             \
    }

const struct wire_body wire_bodies[] = {
    BODY(SCAN_HELLO, NONE, scan_hello),
    BODY(SCAN_OPEN, WHOLE, scan_open),
    BODY(SCAN_CHUNK, ONE, scan_chunk),
    BODY(SCAN_CANCEL, NONE, scan_cancel),
    BODY(SCAN_GRANT, NONE, scan_grant),
    BODY(SCAN_BUSY, NONE, scan_busy),
    BODY(SCAN_CREDIT, NONE, scan_credit),
    BODY(SCAN_VERDICT, NONE, scan_verdict),
    BODY(SCANNER_LOAD, NONE, scanner_load),
    BODY(NODE_HELLO, NONE, node_hello),
    BODY(NODE_WELCOME, NONE, node_welcome),
    BODY(HEARTBEAT, NONE, heartbeat),
    BODY(HEARTBEAT_ACK, NONE, heartbeat_ack),
    BODY(CLUSTER_STATE, NONE, cluster_state),
    BODY(POLICY_REQUEST, NONE, policy_request),
    BODY(POLICY, POLICY_FILES, policy),
    BODY(REPORT, NONE, report),
    BODY(REPORT_ACK, NONE, report_ack),
    BODY(ADMIN_REQUEST, ADMIN_FILES, admin_request),
    BODY(ADMIN_REPLY, PIECES, admin_reply),
    BODY(QUESTION, QUESTION, question),
    BODY(ANSWER, ANSWER, answer),
    { WEIR__FRAME__BODY__NOT_SET, WIRE_PAYLOADS_NONE, NULL },
};

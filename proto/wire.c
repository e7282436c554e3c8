/*
 * wire.c - bytes of a control frame <-> Weir__Frame
 *
 * protobuf-c has no limit of its own: depth is bounded because no type contains itself, size by the frame limit, memory
 * by an arena that is a fixed multiple of the frame and is given back in one piece, and sense by the tables in
 * wire_rules.c.
 */
#include "proto/wire.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/config.h"
#include "common/memory.h"
#include "common/queue_id.h"
#include "proto/curve.h"
#include "proto/wire_rules.h"

/* The leanest AuditRow (an id and a disposition) unpacks to 14 times its size; what needs much more is made to hurt. */
#define ARENA_BASE     2048
#define ARENA_MULTIPLE 24
#define LIST_MULTIPLE  48 /* an outcome may be 4 bytes long */
#define ARENA_ALIGN    16
#define ARENA_COMMON   16384 /* nearly all need no more: one of these is kept, as getting and giving back so much costs malloc a walk through what is free */
#define UNKNOWN_MAX    8 /* fields we do not know, in all of the frame: a newer peer has a few */

_Static_assert(CONFIG_NAME_MAX <= WIRE_NAME_MAX, "nodes can tell each other of every named section");

struct arena {
    size_t used, size; /* may be less than what it has: a limit */
    bool common;       /* of ARENA_COMMON bytes */
    _Alignas(ARENA_ALIGN) uint8_t bytes[];
};

/* In a sanitizer's or a fuzzer's build each is as large as it may be used, and is new, so that what is read behind it or too late is seen. */
#if defined(__SANITIZE_ADDRESS__) || defined(FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)
#define ARENA_KEEPS false
#else
#define ARENA_KEEPS true
#endif

static _Thread_local struct arena *kept_arena; /* or NULL */

static struct arena *arena_new(size_t size)
{
    bool common = ARENA_KEEPS && size <= ARENA_COMMON;
    struct arena *arena = common ? kept_arena : NULL;

    if (arena == NULL)
        arena = xmalloc(sizeof *arena + (common ? ARENA_COMMON : size));
    else
        kept_arena = NULL;
    arena->used = 0;
    arena->size = size;
    arena->common = common;
    return arena;
}

static void arena_free(struct arena *arena)
{
    if (arena->common && kept_arena == NULL)
        kept_arena = arena;
    else
        free(arena);
}

static void *arena_alloc(void *allocator_data, size_t size)
{
    struct arena *arena = allocator_data;

    if (size > arena->size - arena->used)
        return NULL;
    void *block = arena->bytes + arena->used;
    size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    arena->used += rounded < arena->size - arena->used ? rounded : arena->size - arena->used;
    return block;
}

static void arena_free_nothing(void *allocator_data, void *block)
{
    (void)allocator_data, (void)block;
}

/* --- before unpacking --- */

static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return true;
    }
    return false;
}

/* The frame is a version and one ClusterState: what may be longer than the others. Strict: anything else at the top
 * level is a no. */
static bool is_cluster_state(const uint8_t *at, size_t len)
{
    const uint8_t *end = at + len;
    unsigned states = 0;

    while (at < end) {
        uint64_t tag, value;
        if (!read_varint(&at, end, &tag) || !read_varint(&at, end, &value))
            return false;
        if (tag == (1 << 3 | 0)) /* version, a varint */
            continue;
        if (tag != (WEIR__FRAME__BODY_CLUSTER_STATE << 3 | 2) || value > (uint64_t)(end - at))
            return false;
        at += value;
        states++;
    }
    return states == 1;
}

/* --- after unpacking --- */

static const void *at_offset(const void *message, size_t offset)
{
    return (const uint8_t *)message + offset;
}

static bool is_name_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._/:@-", c) != NULL);
}

static bool all_name_chars(const ProtobufCBinaryData *bytes)
{
    for (size_t i = 0; i < bytes->len; i++)
        if (!is_name_char(bytes->data[i]))
            return false;
    return true;
}

static bool all_visible(const ProtobufCBinaryData *bytes)
{
    for (size_t i = 0; i < bytes->len; i++)
        if (bytes->data[i] <= ' ' || bytes->data[i] > '~')
            return false;
    return true;
}

static bool bytes_are_valid(const struct wire_rule *rule, const ProtobufCBinaryData *bytes)
{
    if (bytes->len < rule->min || bytes->len > rule->max)
        return false;
    switch (rule->kind) {
    case WIRE_RULE_ID:
        return bytes->len == QUEUE_ID_LEN && queue_id_is_valid((const char *)bytes->data, bytes->len);
    case WIRE_RULE_NAME:
        return all_name_chars(bytes);
    case WIRE_RULE_TOKEN:
        return all_visible(bytes);
    case WIRE_RULE_KEY:
        return bytes->len == rule->max || bytes->len == 0;
    default:
        return true;
    }
}

static bool list_is_valid(const struct wire_rule *rule, const ProtobufCBinaryData *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].len < rule->item_min || items[i].len > rule->item_max)
            return false;
        if (rule->item_min > 0 && !all_name_chars(&items[i]))
            return false;
    }
    return true;
}

static bool message_is_valid(const struct wire_table *table, const ProtobufCMessage *message, unsigned *unknown,
                             struct error *why);

static bool each_is_valid(const struct wire_rule *rule, ProtobufCMessage *const *messages, size_t count,
                          unsigned *unknown, struct error *why)
{
    for (size_t i = 0; i < count; i++)
        if (!message_is_valid(rule->each, messages[i], unknown, why))
            return false;
    return true;
}

/* Of a oneof only the member that the case names is there. */
static bool one_is_valid(const struct wire_rule *rule, const void *message, const ProtobufCMessage *member,
                         unsigned *unknown, struct error *why)
{
    if (rule->kind == WIRE_RULE_CASE && *(const uint32_t *)at_offset(message, rule->count_offset) != rule->min)
        return true;
    if (member == NULL)
        return rule->kind == WIRE_RULE_ONE && rule->min == 0;
    return message_is_valid(rule->each, member, unknown, why);
}

static bool field_is_valid(const struct wire_rule *rule, const void *message, unsigned *unknown, struct error *why)
{
    const void *field = at_offset(message, rule->offset);
    uint64_t number;

    switch (rule->kind) {
    case WIRE_RULE_ID:
    case WIRE_RULE_NAME:
    case WIRE_RULE_TOKEN:
    case WIRE_RULE_TEXT:
    case WIRE_RULE_KEY:
        return bytes_are_valid(rule, field);
    case WIRE_RULE_ENUM: /* protobuf-c enums are ints, and a peer may send a negative one */
        if (*(const int *)field < 0)
            return false;
        number = (uint64_t) * (const int *)field;
        break;
    case WIRE_RULE_U32:
        number = *(const uint32_t *)field;
        break;
    case WIRE_RULE_U64:
        number = *(const uint64_t *)field;
        break;
    case WIRE_RULE_ONE:
    case WIRE_RULE_CASE:
        return one_is_valid(rule, message, *(const ProtobufCMessage *const *)field, unknown, why);
    default:
        number = *(const size_t *)at_offset(message, rule->count_offset);
        break;
    }
    if (number < rule->min || number > rule->max)
        return false;
    if (rule->kind == WIRE_RULE_EACH)
        return each_is_valid(rule, *(ProtobufCMessage *const *const *)field, (size_t)number, unknown, why);
    if (rule->kind == WIRE_RULE_LIST)
        return list_is_valid(rule, *(const ProtobufCBinaryData *const *)field, (size_t)number);
    return true;
}

static bool count_unknown(const ProtobufCMessage *message, unsigned *unknown, struct error *why)
{
    *unknown += message->n_unknown_fields;
    if (*unknown <= UNKNOWN_MAX)
        return true;
    error_set(why, "too many unknown fields");
    return false;
}

static bool message_is_valid(const struct wire_table *table, const ProtobufCMessage *message, unsigned *unknown,
                             struct error *why)
{
    if (!count_unknown(message, unknown, why))
        return false;
    for (const struct wire_rule *rule = table->rules; rule->field != NULL; rule++)
        if (!field_is_valid(rule, message, unknown, why)) {
            if (why != NULL && why->text[0] == '\0')
                error_set(why, "%s: bad %s", table->descriptor->short_name, rule->field);
            return false;
        }
    return table->extra == NULL || table->extra(message, why);
}

static const struct wire_body *find_body(Weir__Frame__BodyCase body)
{
    for (const struct wire_body *entry = wire_bodies; entry->table != NULL; entry++)
        if (entry->body == body)
            return entry;
    return NULL;
}

static size_t question_payloads(const Weir__Question *question)
{
    switch (question->body_case) {
    case WEIR__QUESTION__BODY_SPOOL_STORE:
        return 2;
    case WEIR__QUESTION__BODY_SPOOL_CHUNK:
    case WEIR__QUESTION__BODY_PERSONAL_ASK:
    case WEIR__QUESTION__BODY_LEARN_TELL:
        return 1;
    case WEIR__QUESTION__BODY_SPOOL_RESULT:
        return question->spool_result->dsn != NULL ? 3 : 1;
    default:
        return 0;
    }
}

static size_t answer_payloads(const Weir__Answer *answer)
{
    switch (answer->body_case) {
    case WEIR__ANSWER__BODY_SPOOL_LEASES:
        return answer->spool_leases->n_leases;
    case WEIR__ANSWER__BODY_SPOOL_DATA:
    case WEIR__ANSWER__BODY_SIGNATURE_DATA:
        return 1;
    case WEIR__ANSWER__BODY_LEARN_NEWS:
        return answer->learn_news->job != 0 ? 1 : 0;
    default:
        return 0;
    }
}

static bool payloads_fit(const struct wire_body *entry, const Weir__Frame *frame, size_t payloads)
{
    switch (entry->payloads) {
    case WIRE_PAYLOADS_NONE:
        return payloads == 0;
    case WIRE_PAYLOADS_ONE:
        return payloads == 1;
    case WIRE_PAYLOADS_PIECES:
        return payloads <= WIRE_PAYLOADS_MAX;
    case WIRE_PAYLOADS_WHOLE:
        return payloads == (frame->scan_open->whole ? 1 : 0);
    case WIRE_PAYLOADS_POLICY_FILES:
        return payloads == frame->policy->n_files;
    case WIRE_PAYLOADS_ADMIN_FILES:
        return payloads == frame->admin_request->n_files;
    case WIRE_PAYLOADS_QUESTION:
        return payloads == question_payloads(frame->question);
    case WIRE_PAYLOADS_ANSWER:
        return payloads == answer_payloads(frame->answer);
    }
    return false;
}

static bool frame_is_valid(const Weir__Frame *frame, size_t payloads, struct error *why)
{
    unsigned unknown = 0;

    if (frame->version == 0) {
        error_set(why, "no version");
        return false;
    }
    const struct wire_body *entry = find_body(frame->body_case);
    if (entry == NULL) {
        error_set(why, WIRE_UNKNOWN);
        return false;
    }
    /* A oneof is a union of pointers: any member is the message. */
    const ProtobufCMessage *message = &frame->scan_hello->base;
    if (!count_unknown(&frame->base, &unknown, why) || !message_is_valid(entry->table, message, &unknown, why))
        return false;
    if (!payloads_fit(entry, frame, payloads)) {
        error_set(why, "%s with %zu payloads", entry->table->descriptor->short_name, payloads);
        return false;
    }
    return true;
}

/* Into an arena of its own, which message_free() finds by the message. */
static void *unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t len, size_t multiple,
                    struct error *why)
{
    size_t size = ARENA_BASE + multiple * len;
    struct arena *arena = arena_new(size);

    ProtobufCAllocator allocator = { arena_alloc, arena_free_nothing, arena };
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, len, bytes);
    if (message == NULL) {
        error_set(why, "not a %s, or one that unpacks to more than %zu bytes", type->short_name, size);
        arena_free(arena);
        return NULL;
    }
    weir_assert((void *)message == arena->bytes); /* unpack makes the message first */
    return message;
}

/* Wiped where it may hold a password. */
static void message_free(void *message, bool wipe)
{
    struct arena *arena = (struct arena *)((uint8_t *)message - offsetof(struct arena, bytes));

    if (wipe)
        explicit_bzero(arena->bytes, arena->used);
    arena_free(arena);
}

bool wire_is_valid(const Weir__Frame *frame, size_t payloads, struct error *why)
{
    if (why != NULL)
        why->text[0] = '\0';
    return frame_is_valid(frame, payloads, why);
}

Weir__Frame *wire_decode(const void *bytes, size_t len, size_t payloads, struct error *why)
{
    if (why != NULL)
        why->text[0] = '\0';
    if (len == 0) {
        error_set(why, WIRE_UNKNOWN);
        return NULL;
    }
    if (len > WIRE_STATE_MAX || (len > WIRE_FRAME_MAX && !is_cluster_state(bytes, len))) {
        error_set(why, "frame of %zu bytes is too long", len);
        return NULL;
    }
    Weir__Frame *frame = unpack(&weir__frame__descriptor, bytes, len, ARENA_MULTIPLE, why);
    if (frame != NULL && !frame_is_valid(frame, payloads, why))
        wire_free(&frame);
    return frame;
}

void wire_free(Weir__Frame **frame)
{
    if (*frame != NULL)
        message_free(*frame, (*frame)->body_case == WEIR__FRAME__BODY_QUESTION);
    *frame = NULL;
}

/* --- packed lists --- */

static void *list_decode(const struct wire_table *table, const void *bytes, size_t len, struct error *why)
{
    unsigned unknown = 0;

    if (why != NULL)
        why->text[0] = '\0';
    if (len > WIRE_LIST_MAX) {
        error_set(why, "list of %zu bytes is too long", len);
        return NULL;
    }
    void *list = unpack(table->descriptor, bytes, len, LIST_MULTIPLE, why);
    if (list != NULL && !message_is_valid(table, list, &unknown, why)) {
        message_free(list, false);
        return NULL;
    }
    return list;
}

Weir__SpoolRecipients *wire_recipients_decode(const void *bytes, size_t len, struct error *why)
{
    return list_decode(&wire_recipients_table, bytes, len, why);
}

Weir__SpoolOutcomes *wire_outcomes_decode(const void *bytes, size_t len, struct error *why)
{
    return list_decode(&wire_outcomes_table, bytes, len, why);
}

void wire_recipients_free(Weir__SpoolRecipients **recipients)
{
    if (*recipients != NULL)
        message_free(*recipients, false);
    *recipients = NULL;
}

void wire_outcomes_free(Weir__SpoolOutcomes **outcomes)
{
    if (*outcomes != NULL)
        message_free(*outcomes, false);
    *outcomes = NULL;
}

void *wire_copy(const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = xmalloc(len + 1);
    protobuf_c_message_pack(message, packed);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, len, packed);
    free(packed);
    weir_assert(copy != NULL); /* it was just packed */
    return copy;
}

static uint8_t *list_encode(const ProtobufCMessage *list, size_t *len)
{
    *len = protobuf_c_message_get_packed_size(list);
    if (*len > WIRE_LIST_MAX)
        return NULL;
    uint8_t *bytes = xmalloc(*len > 0 ? *len : 1);
    protobuf_c_message_pack(list, bytes);
    return bytes;
}

uint8_t *wire_recipients_encode(const Weir__SpoolRecipients *recipients, size_t *len)
{
    return list_encode(&recipients->base, len);
}

uint8_t *wire_outcomes_encode(const Weir__SpoolOutcomes *outcomes, size_t *len)
{
    return list_encode(&outcomes->base, len);
}

#define RFC822 "rfc822;"

/* It is free text of the client (RFC 3461 4.2): what is in no address without quotes says nothing of whom it named. */
static bool is_plain_address(ProtobufCBinaryData text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == '\0' || strchr(" <>,()\"", text.data[i]) != NULL)
            return false;
    return text.len > 0 && memchr(text.data, '@', text.len) != NULL;
}

/* The address that `original` has behind its type; empty: it is of another one, or no address. */
static ProtobufCBinaryData address_of_original(ProtobufCBinaryData original)
{
    size_t type = strlen(RFC822);
    if (original.len <= type || strncasecmp((const char *)original.data, RFC822, type) != 0) /* RFC 3461 4.2: in any case */
        return wire_bytes(NULL, 0);
    ProtobufCBinaryData address = wire_bytes(original.data + type, original.len - type);
    return is_plain_address(address) ? address : wire_bytes(NULL, 0);
}

static bool is_same(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

ProtobufCBinaryData wire_recipient_given(const Weir__SpoolRecipient *recipient)
{
    ProtobufCBinaryData named = recipient->given.len > 0 ? recipient->given : address_of_original(recipient->original);
    return is_same(named, recipient->address) ? wire_bytes(NULL, 0) : named;
}

static bool is_among(uint32_t index, uint32_t first, uint32_t count)
{
    return index >= first && index - first < count;
}

ProtobufCBinaryData wire_recipient_sender(const Weir__SpoolEnvelope *envelope, const Weir__SpoolRecipient *recipient)
{
    for (size_t i = 0; i < envelope->n_senders && i < envelope->n_sender_firsts && i < envelope->n_sender_counts; i++)
        if (is_among(recipient->index, envelope->sender_firsts[i], envelope->sender_counts[i]))
            return envelope->senders[i];
    const Weir__SpoolSenders *owners = envelope->owners;
    for (size_t i = 0; owners != NULL && i < owners->n_senders && i < owners->n_firsts && i < owners->n_counts; i++)
        if (is_among(recipient->index, owners->firsts[i], owners->counts[i]))
            return owners->senders[i];
    return envelope->sender;
}

void wire_envelope_forget_senders(Weir__SpoolEnvelope *envelope)
{
    envelope->n_senders = envelope->n_sender_firsts = envelope->n_sender_counts = 0;
    envelope->owners = NULL;
}

void wire_recipient_name(Weir__SpoolRecipient *recipient, const char *original, const char *given)
{
    recipient->original = wire_text(original);
    recipient->given = wire_text(given);
    if (is_same(address_of_original(recipient->original), recipient->given))
        recipient->given = wire_bytes(NULL, 0);
}

bool wire_audit_row_is_valid(const Weir__AuditRow *row, struct error *why)
{
    unsigned unknown = 0;

    if (why != NULL)
        why->text[0] = '\0';
    return message_is_valid(&wire_audit_row_table, &row->base, &unknown, why);
}

/* --- encoding --- */

size_t wire_packed_size(Weir__Frame *frame)
{
    frame->version = PROTO_VERSION;
    size_t len = weir__frame__get_packed_size(frame);
    size_t limit = frame->body_case == WEIR__FRAME__BODY_CLUSTER_STATE ? WIRE_STATE_MAX : WIRE_FRAME_MAX;
    return len <= limit ? len : 0;
}

void wire_pack(const Weir__Frame *frame, uint8_t *out)
{
    weir__frame__pack(frame, out);
}

uint8_t *wire_encode(Weir__Frame *frame, size_t *len)
{
    *len = wire_packed_size(frame);
    if (*len == 0)
        return NULL;
    uint8_t *bytes = xmalloc(*len);
    wire_pack(frame, bytes);
    return bytes;
}

/* --- text --- */

ProtobufCBinaryData wire_text(const char *text)
{
    return text == NULL ? wire_bytes(NULL, 0) : wire_bytes(text, strlen(text));
}

ProtobufCBinaryData wire_text_cut(const char *text, size_t max)
{
    return text == NULL ? wire_bytes(NULL, 0) : wire_bytes(text, strnlen(text, max));
}

char *wire_string(char *out, size_t cap, const ProtobufCBinaryData *bytes)
{
    size_t len = bytes->len < cap - 1 ? bytes->len : cap - 1;

    if (len > 0) {
        const uint8_t *nul = memchr(bytes->data, '\0', len);
        if (nul != NULL)
            len = (size_t)(nul - bytes->data);
        memcpy(out, bytes->data, len);
    }
    out[len] = '\0';
    return out;
}

bool wire_equal(const ProtobufCBinaryData *bytes, const char *text)
{
    size_t len = strlen(text);

    return bytes->len == len && (len == 0 || memcmp(bytes->data, text, len) == 0);
}

const char *wire_quarantine_name(Weir__Quarantine reason)
{
    static const char *const names[] = {
        [WEIR__QUARANTINE__QUARANTINE_NOT] = "",
        [WEIR__QUARANTINE__QUARANTINE_SPAM] = "spam",
        [WEIR__QUARANTINE__QUARANTINE_VIRUS] = "virus",
        [WEIR__QUARANTINE__QUARANTINE_UNSCANNABLE] = "unscannable",
        [WEIR__QUARANTINE__QUARANTINE_POLICY] = "policy",
        [WEIR__QUARANTINE__QUARANTINE_BLOCKLIST] = "blocklist",
        [WEIR__QUARANTINE__QUARANTINE_OUTBREAK] = "outbreak",
    };
    return (size_t)reason < sizeof names / sizeof *names ? names[reason] : "policy";
}

uint64_t wire_subject_digest(const char *subject)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (const char *at = subject; *at != '\0'; at++)
        hash = (hash ^ (uint8_t)*at) * UINT64_C(1099511628211);
    return hash;
}

#ifndef WEIR_PROTO_WIRE_H
#define WEIR_PROTO_WIRE_H
/*
 * wire.h - bytes of a control frame <-> Weir__Frame, with every limit applied before and right after unpacking
 *
 * Pure: no socket, no clock. wire_decode() refuses a frame over WIRE_FRAME_MAX (WIRE_STATE_MAX where its only body is a
 * ClusterState, which is looked at before anything is unpacked), one with many unknown fields, one whose unpacked form
 * would need more than a fixed multiple of its size (own allocator with a budget), and one whose validator says no.
 * What it returns can be used without further checks of presence, lengths or enum ranges.
 *
 * Senders keep to the same limits: a frame that the other side refuses is never answered. Cut text from the mail world
 * with wire_text_cut() to the lengths below.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "proto/weir.pb-c.h"

#define PROTO_VERSION     3
#define WIRE_VERSION_RULE 2 /* from here on AuditRow has policy_epoch and rule */
#define WIRE_VERSION_ATTACHMENTS 3 /* and attachments */
#define WIRE_FRAME_MAX    (64u * 1024)
#define WIRE_STATE_MAX    (1024u * 1024)     /* a frame with a ClusterState: some thousands of nodes */
#define WIRE_PAYLOAD_MAX  (4u * 1024 * 1024) /* one raw frame; scan chunks are at most 1 MiB */
#define WIRE_PAYLOADS_MAX 64                 /* raw frames in one message */
#define WIRE_LIST_MAX     (1024u * 1024)     /* a payload that is a packed list: SpoolRecipients, SpoolOutcomes */

/* Longest bytes fields, by what they hold. */
#define WIRE_NAME_MAX     63   /* nodes, files, listeners: 1 or more of A-Z a-z 0-9 . _ / : @ - */
#define WIRE_CLIENT_MAX   64   /* an IP address */
#define WIRE_LISTENERS_MAX 64 /* of one heartbeat */
#define WIRE_ADDRESSES_MAX 16 /* of one edge: PUBLIC_ADDRESSES_MAX */
#define WIRE_ENDPOINT_MAX 255  /* printable ASCII without blanks */
#define WIRE_WORD_MAX     128  /* versions, dispositions, TLS facts, verbs */
#define WIRE_WORDS_MAX    512  /* signature names, reasons, labels, next hops */
#define WIRE_ADDRESS_MAX  1024 /* sender, recipient, HELO, Message-ID */
#define WIRE_SPOOL_SENDERS_MAX 5  /* SpoolEnvelope.senders: lists with owners of their own in one transaction; more are in `owners`: */
#define WIRE_SPOOL_OWNERS_MAX 100
#define WIRE_SPOOL_OWNERS_SIZE (32u * 1024) /* of their addresses: an envelope is sure to fit a frame with leases */
#define WIRE_REPLY_MAX    2048 /* SMTP replies, error texts */
#define WIRE_ARG_MAX      4096 /* one argument of weirctl */
#define WIRE_SCORE_MAX    10000 /* hundredths */
#define WIRE_SYMBOLS_MAX  4096 /* of one message */
#define WIRE_ACT_LEN      16   /* the token of an operator's act */
#define WIRE_NODES_MAX    4096
#define WIRE_KEYS_MAX     8192
#define WIRE_BEYOND_MAX   20000 /* of stopped senders that are told by their digest only */
#define WIRE_STOPS_MAX    1000
#define WIRE_SUBJECT_MAX  (WIRE_LOGIN_MAX + 8)
#define WIRE_ROWS_MAX     2048
#define WIRE_METRICS_MAX  2048
#define WIRE_LEASES_MAX   WIRE_PAYLOADS_MAX /* one payload each */
#define WIRE_HELD_MAX     256
#define WIRE_LISTED_MAX   50000 /* recipients or outcomes of one list */
#define WIRE_LET_IN_MAX   16384 /* of one SpoolStored: they fit a frame */
#define WIRE_AUTHORS_MAX  2    /* who one message says it is from: the envelope, and From */
#define WIRE_PERSONAL_MAX 8192 /* recipients of each kind in one PersonalKnown: they fit a frame */
#define WIRE_SENDERS_MAX  256
#define WIRE_COSTS_MAX    64 /* of one LimitAsk */
#define WIRE_BUCKET_MAX   512
#define WIRE_HASH_LEN     32   /* SHA-256 */
#define WIRE_ATTACHMENTS_MAX 16 /* of one message, */
#define WIRE_ATTACHMENT_LEN (WIRE_HASH_LEN + 1) /* each in an AuditRow */
#define WIRE_SIGNATURE_FILES_MAX 256 /* of one set */
#define WIRE_SIGNATURE_CHUNK (1024u * 1024)
#define WIRE_STANDINGS_MAX 200 /* entries of one ReputationNews: all of them logins of full length, it still fits a frame */
#define WIRE_SPAM_TO_MAX  64   /* recipients that spam engines are told, */
#define WIRE_SPAM_TO_BYTES 16384 /* and their bytes */
#define WIRE_SPAM_ENGINES_MAX 4
#define WIRE_SPAM_SYMBOLS_MAX 64
#define WIRE_SPAM_SIGNATURES_MAX 4
#define WIRE_SCORE_MAX    10000 /* hundredths */
#define WIRE_LOGIN_MAX    255                 /* RFC 4616, section 2 */
#define WIRE_PASSWORD_MAX 511                 /* libcrypt takes 512 with the NUL */
#define WIRE_SIZE_MAX     (UINT64_C(1) << 40) /* of a message, and offsets in it: sums cannot overflow */
#define WIRE_TIME_MAX     (UINT64_C(1) << 47) /* wall clock ms: fits a queue id and any database time */

/* The words of wire_decode() for a frame that says nothing this version knows: not its sender's fault, it may be newer.
 */
#define WIRE_UNKNOWN "no message of a known type"

/* Unpacks and validates. payloads: how many raw frames came with it. NULL: why says what is wrong. Free with
 * wire_free(). */
Weir__Frame *wire_decode(const void *bytes, size_t len, size_t payloads, struct error *why);
void wire_free(Weir__Frame **frame);

/* The same for payloads that are packed lists, of at most WIRE_LIST_MAX bytes. NULL: why says what is wrong. An empty
 * payload is an empty list. */
Weir__SpoolRecipients *wire_recipients_decode(const void *bytes, size_t len, struct error *why);
Weir__SpoolOutcomes *wire_outcomes_decode(const void *bytes, size_t len, struct error *why);
void wire_recipients_free(Weir__SpoolRecipients **recipients);
void wire_outcomes_free(Weir__SpoolOutcomes **outcomes);
/* Pack into a malloced buffer; the caller frees it. NULL when the list would exceed WIRE_LIST_MAX. */
uint8_t *wire_recipients_encode(const Weir__SpoolRecipients *recipients, size_t *len);
uint8_t *wire_outcomes_encode(const Weir__SpoolOutcomes *outcomes, size_t *len);

/* Whom the client named, by `given` or, where that is left out, by `original`; empty: the address itself. Borrowed from it. */
ProtobufCBinaryData wire_recipient_given(const Weir__SpoolRecipient *recipient);
/* As from whom its copy goes out: of `senders` or `owners`, or the message's. Borrowed. */
ProtobufCBinaryData wire_recipient_sender(const Weir__SpoolEnvelope *envelope, const Weir__SpoolRecipient *recipient);
/* As for a peer of before them: the message's for all. Frees nothing. */
void wire_envelope_forget_senders(Weir__SpoolEnvelope *envelope);
/* Sets `original` and `given`, borrowed; NULL: none. All members of a list have its name in both, so it is written down once. */
void wire_recipient_name(Weir__SpoolRecipient *recipient, const char *original, const char *given);

/* Packs into a malloced buffer; the caller frees it. Sets version. NULL when it would exceed the limit of its type. */
uint8_t *wire_encode(Weir__Frame *frame, size_t *len);
/* The same in two steps, for a sender with a buffer of its own: sets version and returns the length, 0 when it would
 * exceed the limit; then wire_pack() writes exactly that many bytes. */
size_t wire_packed_size(Weir__Frame *frame);
void wire_pack(const Weir__Frame *frame, uint8_t *out);

/* Whether wire_decode() would take it from the wire, as far as its sense goes: for a frame that we made ourselves, with the version that packing sets. */
bool wire_is_valid(const Weir__Frame *frame, size_t payloads, struct error *why);

/* What wire_decode() asks of a row in a report, for those who make rows: one bad row would spoil its whole batch. */
bool wire_audit_row_is_valid(const Weir__AuditRow *row, struct error *why);

/* By which a sender is told of whose name there is no room for. Two with the same one are both spooled, which does no harm. */
uint64_t wire_subject_digest(const char *subject);

/* A message that outlives the frame it came in, of the same type; ends with that type's free_unpacked(). */
void *wire_copy(const ProtobufCMessage *message);

/* A borrowed view of text as protobuf bytes. */
static inline ProtobufCBinaryData wire_bytes(const void *data, size_t len)
{
    return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)data };
}
ProtobufCBinaryData wire_text(const char *text);                 /* NULL gives empty */
ProtobufCBinaryData wire_text_cut(const char *text, size_t max); /* the first max bytes of it */
/* Copies bytes into a NUL-terminated string (cut at cap - 1, stopped at a NUL). Returns out. */
char *wire_string(char *out, size_t cap, const ProtobufCBinaryData *bytes);
bool wire_equal(const ProtobufCBinaryData *bytes, const char *text);

/* "spam", ...: as it is in the database, in dispositions and in what operators say; "" for QUARANTINE_NOT. Static. */
const char *wire_quarantine_name(Weir__Quarantine reason);

#endif

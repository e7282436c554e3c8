#ifndef WEIR_PROTO_WIRE_RULES_H
#define WEIR_PROTO_WIRE_RULES_H
/*
 * wire_rules.h - what each message type must look like, as tables (internal to wire.c; tests read them too)
 *
 * Every bytes, enum, message and repeated field of weir.proto has a rule in the table of its message, so that none is
 * forgotten; a unit test compares the tables with the descriptors.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "proto/weir.pb-c.h"

enum wire_rule_kind {
    WIRE_RULE_ID,    /* bytes: a valid queue id */
    WIRE_RULE_NAME,  /* bytes: name characters, min to max of them */
    WIRE_RULE_TOKEN, /* bytes: printable ASCII without blanks */
    WIRE_RULE_TEXT,  /* bytes: anything */
    WIRE_RULE_KEY,   /* bytes: max of them, or none where min is 0 */
    WIRE_RULE_ENUM,
    WIRE_RULE_U32,
    WIRE_RULE_U64,
    WIRE_RULE_EACH, /* repeated message: count in range, each keeps to its own table */
    WIRE_RULE_ONE,  /* message: keeps to its own table; may be absent where min is 0 */
    WIRE_RULE_CASE, /* message in a oneof: when it is the one (the case, at count_offset, is min), it keeps to its table
                     */
    WIRE_RULE_LIST, /* repeated bytes: count in range, each a NAME (item_min > 0) or TEXT of at most item_max */
    WIRE_RULE_COUNT, /* repeated number: count in range */
};

struct wire_rule {
    const char *field; /* NULL ends a table */
    enum wire_rule_kind kind;
    size_t offset;       /* of the field; repeated: of the pointer */
    size_t count_offset; /* repeated: of the count; oneof: of the case */
    uint64_t min, max;   /* length, value or count */
    size_t item_min, item_max;
    const struct wire_table *each;
};

struct wire_table {
    const ProtobufCMessageDescriptor *descriptor;
    const struct wire_rule *rules;
    bool (*extra)(const void *message, struct error *why); /* what a table cannot say; may be NULL */
};

enum wire_payloads {
    WIRE_PAYLOADS_NONE,
    WIRE_PAYLOADS_ONE,
    WIRE_PAYLOADS_PIECES, /* of one text, any number of them */
    WIRE_PAYLOADS_WHOLE, /* ScanOpen: one when `whole` */
    WIRE_PAYLOADS_POLICY_FILES,
    WIRE_PAYLOADS_ADMIN_FILES,
    WIRE_PAYLOADS_QUESTION, /* by its body */
    WIRE_PAYLOADS_ANSWER,
};

struct wire_body {
    Weir__Frame__BodyCase body;
    enum wire_payloads payloads;
    const struct wire_table *table;
};

extern const struct wire_body wire_bodies[]; /* ends with table == NULL */
extern const struct wire_table wire_audit_row_table;
extern const struct wire_table wire_recipients_table; /* of payloads: SpoolRecipients */
extern const struct wire_table wire_outcomes_table;   /* SpoolOutcomes */

#endif

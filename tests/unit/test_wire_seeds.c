/*
 * test_wire_seeds.c - the fuzzer of the wire begins with every field of every message
 *
 * A seed is one file of tests/fuzz/corpus/wire, in the form that fuzz_wire.c reads: how many payloads, or which list, and then its bytes. One that
 * has a message field by field is written as text and encoded:
 *
 *     (printf '\0'; protoc -I proto --encode=weir.Frame weir.proto <seed.txt) >tests/fuzz/corpus/wire/NAME
 */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "proto/wire.h"
#include "tests/unit/suite.h"

#define RECIPIENTS 0xff /* as in fuzz_wire.c */
#define OUTCOMES   0xfe
#define FIELDS_MAX 1000

static const ProtobufCFieldDescriptor *seen[FIELDS_MAX];
static size_t seen_count, missing;

static bool was_seen(const ProtobufCFieldDescriptor *field)
{
    for (size_t i = 0; i < seen_count; i++)
        if (seen[i] == field)
            return true;
    return false;
}

static bool is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    static const uint8_t zeros[16];
    const uint8_t *at = (const uint8_t *)message + field->offset;
    const uint8_t *quantifier = (const uint8_t *)message + field->quantifier_offset;

    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)quantifier > 0;
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 && *(const uint32_t *)quantifier != field->id)
        return false;
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(void *const *)at != NULL;
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)at)->len > 0;
    case PROTOBUF_C_TYPE_BOOL:
        return *(const protobuf_c_boolean *)at != 0;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return memcmp(at, zeros, 8) != 0;
    default:
        return memcmp(at, zeros, 4) != 0;
    }
}

static void note_fields(const ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (!is_set(message, field))
            continue;
        if (!was_seen(field)) {
            ck_assert_uint_lt(seen_count, FIELDS_MAX);
            seen[seen_count++] = field;
        }
        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        void *const *at = (void *const *)((const uint8_t *)message + field->offset);
        size_t count = 1;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            count = *(const size_t *)((const uint8_t *)message + field->quantifier_offset);
            at = *at;
        }
        for (size_t n = 0; n < count; n++)
            note_fields(at[n]);
    }
}

static void note_seed(const char *name, const uint8_t *bytes, size_t len)
{
    struct error why = { "" };
    ck_assert_msg(len > 0, "%s is empty", name);
    Weir__SpoolRecipients *recipients = bytes[0] == RECIPIENTS ? wire_recipients_decode(bytes + 1, len - 1, &why) : NULL;
    Weir__SpoolOutcomes *outcomes = bytes[0] == OUTCOMES ? wire_outcomes_decode(bytes + 1, len - 1, &why) : NULL;
    bool list = bytes[0] == RECIPIENTS || bytes[0] == OUTCOMES;
    Weir__Frame *frame = list ? NULL : wire_decode(bytes + 1, len - 1, bytes[0] % (WIRE_PAYLOADS_MAX + 1), &why);
    const ProtobufCMessage *message = recipients != NULL ? &recipients->base : outcomes != NULL ? &outcomes->base : frame != NULL ? &frame->base : NULL;

    if (message != NULL)
        note_fields(message);
    else
        fprintf(stderr, "%s is refused: %s\n", name, why.text);
    missing += message == NULL;
    wire_recipients_free(&recipients);
    wire_outcomes_free(&outcomes);
    wire_free(&frame);
}

static void read_seeds(void)
{
    int folder_len = (int)(strrchr(__FILE__, '/') - __FILE__);
    char *folder = xasprintf("%.*s/../fuzz/corpus/wire", folder_len, __FILE__);
    static uint8_t bytes[WIRE_STATE_MAX + 1];
    DIR *dir = opendir(folder);

    ck_assert_msg(dir != NULL, "no folder %s", folder);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char *path = xasprintf("%s/%s", folder, entry->d_name);
        FILE *file = fopen(path, "rb");
        ck_assert_msg(file != NULL, "%s cannot be read", path);
        size_t len = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        uint8_t *copy = xmalloc(len + 1); /* of its own, so that the address sanitizer sees one byte read too far */
        memcpy(copy, bytes, len);
        note_seed(entry->d_name, copy, len);
        free(copy);
        free(path);
    }
    closedir(dir);
    free(folder);
}

static void check_message(const ProtobufCMessageDescriptor *message)
{
    for (unsigned i = 0; i < message->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->fields[i];
        if (!was_seen(field)) {
            fprintf(stderr, "no seed has %s.%s\n", message->name, field->name);
            missing++;
        }
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            check_message(field->descriptor);
    }
}

START_TEST(test_every_field_is_in_a_seed)
{
    read_seeds();
    check_message(&weir__frame__descriptor);
    check_message(&weir__spool_recipients__descriptor);
    check_message(&weir__spool_outcomes__descriptor);
    ck_assert_uint_eq(missing, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire seeds");
    TCase *tcase = tcase_create("corpus");

    tcase_add_test(tcase, test_every_field_is_in_a_seed);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

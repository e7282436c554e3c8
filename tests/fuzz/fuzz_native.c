/*
 * fuzz_native.c - a message taken apart and judged: parts lie where they should, and the same bytes mean the same twice
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "scanner/native/native.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_parts(const struct mime_message *message)
{
    if (message->part_count == 0)
        abort();
    for (size_t i = 0; i < message->part_count; i++) {
        const struct mime_part *part = &message->parts[i];
        bool top = i == 0;
        if (top ? part->parent != -1 || part->depth != 0 : part->parent < 0 || (size_t)part->parent >= i || part->depth != message->parts[part->parent].depth + 1)
            abort();
        if (part->first_header + part->header_count > message->header_count || part->type.len == 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mime_limits limits = { .depth = 10, .parts = 50, .headers = 200, .header_bytes = 8192, .words = 100, .decoded = 1 << 20, .text = 1 << 15 };
    static const char *const recipients[] = { "bob@oursite.example" };
    static const struct native_facts facts = { .sender = "", .recipients = recipients, .recipient_count = 1, .direction = NATIVE_INBOUND };
    static struct native *native;
    static struct mime_parser *parser;
    static struct native_result first, second;
    if (native == NULL) {
        native = native_new(&limits);
        parser = mime_parser_new(&limits);
    }
    char *copy = malloc(size + 1); /* exact at its end */
    if (size > 0)
        memcpy(copy + 1, data, size);
    check_parts(mime_parse(parser, copy + 1, size));
    native_score(native, &facts, NULL, copy + 1, size, &first);
    native_score(native, &facts, NULL, copy + 1, size, &second);
    if (first.score > NATIVE_SCORE_MAX || first.score != second.score || first.symbol_count != second.symbol_count || first.anomalies != second.anomalies)
        abort();
    free(copy);
    return 0;
}

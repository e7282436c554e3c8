/*
 * fuzz_sasl.c - any AUTH exchange: the first line is what stands behind AUTH, each further one answers a challenge
 */
#include <stdint.h>
#include <string.h>
#include "edge/smtp/sasl.h"
#include "edge/smtp/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    struct sasl sasl;
    bool first = true;
    enum sasl_result result = SASL_CHALLENGE;

    for (unsigned rounds = 0; result == SASL_CHALLENGE && at <= end; rounds++) {
        const char *line = at, *newline = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        size_t len = (size_t)((newline != NULL ? newline : end) - line);
        at = newline != NULL ? newline + 1 : end + 1;
        result = first ? sasl_begin(&sasl, line, len) : sasl_next(&sasl, line, len);
        first = false;
        if (rounds > 3)
            __builtin_trap(); /* no exchange is longer */
    }
    if (result == SASL_COMPLETE &&
        (*sasl.login == '\0' || *sasl.password == '\0' || !smtp_text_is_printable(sasl.login, strlen(sasl.login))))
        __builtin_trap();
    if (result == SASL_REFUSED && (sasl.code < 500 || sasl.text == NULL || *sasl.password != '\0'))
        __builtin_trap();
    sasl_clear(&sasl);
    return 0;
}

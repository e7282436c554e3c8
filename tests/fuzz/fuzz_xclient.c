/*
 * fuzz_xclient.c - what stands behind XCLIENT: what is believed can go into a log, a header and a policy
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "edge/smtp/text.h"
#include "edge/smtp/xclient.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_a_word(const char *text)
{
    if (!smtp_text_is_printable(text, strlen(text)) || strchr(text, ' ') != NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_xclient told;
    char *copy = malloc(size + 1); /* exact at its end */
    if (size > 0)
        memcpy(copy + 1, data, size);
    struct smtp_complaint complaint = smtp_xclient_parse(&told, copy + 1, size);
    free(copy);
    if (complaint.code == 0) {
        if (told.given == 0)
            abort();
        must_be_a_word(told.name);
        must_be_a_word(told.helo);
        must_be_a_word(told.login);
    } else if (complaint.code != 501) {
        abort();
    }
    return 0;
}

/*
 * fuzz_form.c - what browsers, and those who pretend to be one, send to the dashboard: fields of forms, cookies, text that is shown
 *
 * The first byte chooses. A field that is taken is text, and text in a page never begins an element or ends an attribute.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/error.h"
#include "common/memory.h"
#include "coordinator/dashboard/form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char out[64];
    char *line = text_copy(data + 1, size - 1);
    struct text shown;
    switch (data[0] % 4) {
    case 0:
        if (form_field((const char *)data + 1, size - 1, "reason", out, sizeof out))
            weir_assert(text_valid_prefix(out, strlen(out)) == strlen(out) && strpbrk(out, "\r\n\t\x7f") == NULL);
        else
            weir_assert(*out == '\0');
        break;
    case 1:
        if (form_cookie(line, "weir-operator", out, sizeof out))
            weir_assert(strchr(out, ';') == NULL);
        break;
    case 2:
        text_init(&shown);
        form_escape(&shown, line);
        weir_assert(strpbrk(shown.data, "<>\"'") == NULL && text_valid_prefix(shown.data, shown.len) == shown.len);
        text_fini(&shown);
        break;
    default:
        weir_assert(form_same(line, line));
        form_is_own(NULL, line, "host");
    }
    free(line);
    return 0;
}

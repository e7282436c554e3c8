/* text.c - see text.h */
#include "deploy/sendmail/text.h"
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

void text_add(struct text *text, const char *bytes, size_t len)
{
    if (len == 0)
        return;
    if (text->cap - text->len < len) {
        text->cap = text->cap * 2 > text->len + len ? text->cap * 2 : text->len + len + 256;
        text->bytes = xrealloc(text->bytes, text->cap);
    }
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
}

void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_fini(struct text *text)
{
    free(text->bytes);
    *text = (struct text){ 0 };
}

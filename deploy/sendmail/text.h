#ifndef WEIR_SENDMAIL_TEXT_H
#define WEIR_SENDMAIL_TEXT_H
/* text.h - bytes that grow; a zeroed struct is an empty one */
#include <stddef.h>

struct text {
    char *bytes; /* owned; NULL while nothing was added */
    size_t len, cap;
};

void text_add(struct text *text, const char *bytes, size_t len);
void text_add_string(struct text *text, const char *string);
void text_fini(struct text *text);

#endif

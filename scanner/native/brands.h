#ifndef WEIR_SCANNER_NATIVE_BRANDS_H
#define WEIR_SCANNER_NATIVE_BRANDS_H
/* brands.h - names that are borrowed most, and the labels of the domains that they own */
#include <stdbool.h>
#include <stddef.h>
#include "scanner/mime/mime.h"

struct brand {
    const char *word;   /* as in folded text, words apart by blanks */
    const char *labels; /* first labels of its organisations, each with a blank before and behind */
};

/* The first brand that text (any form) has as whole words, or NULL. */
const struct brand *brand_in(struct mime_span text);
/* The first brand that a word of text only looks like, or NULL. */
const struct brand *brand_disguised(struct mime_span text);
bool brand_owns(const struct brand *brand, const char *host);
/* The brand whose name host's organisation looks like, or has in it, without being its own; NULL: none. */
const struct brand *brand_imitated(const char *host);

#endif

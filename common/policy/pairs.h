#ifndef WEIR_COMMON_POLICY_PAIRS_H
#define WEIR_COMMON_POLICY_PAIRS_H
/*
 * pairs.h - key=value and key="some words" behind the first word of a line
 */
#include <stdbool.h>
#include "common/error.h"

#define PAIRS_WORDS_MAX 200 /* bytes of a value that is words for people */

/* Cuts the next pair off *text, in place, and moves *text behind it; not to be asked where *text is "". */
bool pairs_next(char **text, char **key, char **value, struct error *why);
/* A value that is words: not empty, not too long. *out is borrowed from the text. */
bool pairs_take_words(const char **out, const char *key, const char *value, struct error *why);

#endif

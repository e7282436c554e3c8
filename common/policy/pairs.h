#ifndef WEIR_COMMON_POLICY_PAIRS_H
#define WEIR_COMMON_POLICY_PAIRS_H
/*
 * pairs.h - key=value and key="some words" behind the first word of a line
 */
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"

#define PAIRS_WORDS_MAX 200 /* bytes of a value that is words for people */

/* Cuts the next pair off *text, in place, and moves *text behind it; not to be asked where *text is "". */
bool pairs_next(char **text, char **key, char **value, struct error *why);
/* A value that is words: not empty, not too long. *out is borrowed from the text. */
bool pairs_take_words(const char **out, const char *key, const char *value, struct error *why);
/* The value of expires=: the last day (of UTC) that something is in force, or a moment, as 2026-12-31T18:00:00Z. *out: seconds since 1970, from when on it is not. */
bool pairs_take_end(int64_t *out, const char *value, struct error *why);

#endif

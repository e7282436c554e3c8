#ifndef WEIR_COMMON_SCORE_H
#define WEIR_COMMON_SCORE_H
/*
 * score.h - spam scores as text
 *
 * A score is 0 to 100 with two decimals, and everywhere counted in hundredths, so that a threshold means the same number to all: 0 to SCORE_MAX.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCORE_MAX 10000
#define SCORE_OFF UINT32_MAX /* a threshold that no score reaches */

/* "50", "49.9", "0.05". false: anything else, over 100 or with a third decimal. */
bool score_parse(uint32_t *out, const char *text);
/* The same, or "off". */
bool score_threshold_parse(uint32_t *out, const char *text);
/* A number on some engine's scale, "6", "-2.5", in hundredths. false: not a number with at most two decimals between -10000 and 10000. */
bool score_points_parse(int32_t *out, const char *text);
#define SCORE_TEXT_MAX 16
/* "49.90", "-0.20". Returns out. */
const char *score_format(char out[SCORE_TEXT_MAX], int32_t hundredths);

#endif

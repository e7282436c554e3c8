/* score.c - see score.h */
#include "common/score.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 5 /* in front of the point */

/* Digits, perhaps a point and one or two more. */
static bool parse_hundredths(uint32_t *out, const char *text)
{
    size_t whole = strspn(text, "0123456789"), part = 0;
    uint32_t value = 0;
    if (whole == 0 || whole > DIGITS_MAX)
        return false;
    for (size_t i = 0; i < whole; i++)
        value = value * 10 + (uint32_t)(text[i] - '0');
    value *= 100;
    if (text[whole] == '.') {
        part = strspn(text + whole + 1, "0123456789");
        if (part == 0 || part > 2)
            return false;
        value += (uint32_t)(text[whole + 1] - '0') * 10;
        value += part == 2 ? (uint32_t)(text[whole + 2] - '0') : 0;
        part++;
    }
    *out = value;
    return text[whole + part] == '\0';
}

bool score_parse(uint32_t *out, const char *text)
{
    return parse_hundredths(out, text) && *out <= SCORE_MAX;
}

bool score_threshold_parse(uint32_t *out, const char *text)
{
    if (strcmp(text, "off") != 0)
        return score_parse(out, text);
    *out = SCORE_OFF;
    return true;
}

bool score_points_parse(int32_t *out, const char *text)
{
    uint32_t value;
    bool negative = *text == '-';
    if (!parse_hundredths(&value, text + negative) || value > 100 * SCORE_MAX)
        return false;
    *out = negative ? -(int32_t)value : (int32_t)value;
    return true;
}

const char *score_format(char out[SCORE_TEXT_MAX], int32_t hundredths)
{
    unsigned value = hundredths < 0 ? 0u - (unsigned)hundredths : (unsigned)hundredths;
    snprintf(out, SCORE_TEXT_MAX, "%s%u.%02u", hundredths < 0 ? "-" : "", value / 100, value % 100);
    return out;
}

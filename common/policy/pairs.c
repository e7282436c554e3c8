/* pairs.c - see pairs.h */
#include "common/policy/pairs.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_SECONDS 86400

bool pairs_next(char **text, char **key, char **value, struct error *why)
{
    size_t len = strcspn(*text, "= \t\"");
    char *end;

    *key = *text;
    if ((*text)[len] != '=' || len == 0) {
        error_set(why, "'%.80s': expected key=value, or key=\"some words\"", *text);
        return false;
    }
    (*text)[len] = '\0';
    *value = *text + len + 1;
    bool quoted = **value == '"';
    if (quoted)
        end = strchr(++*value, '"');
    else
        end = *value + strcspn(*value, " \t\"");
    if (end == NULL || strchr(quoted ? " \t" : " \t\"", quoted ? end[1] : *end) == NULL || (!quoted && *end == '"')) {
        error_set(why, end == NULL ? "%s=\"%.80s: the closing quote is missing" : "%s=%.80s: a value with blanks or quotes stands in quotes as a whole",
                  *key, *value);
        return false;
    }
    *text = end + (quoted || *end != '\0');
    *text += strspn(*text, " \t");
    *end = '\0';
    return true;
}

bool pairs_take_words(const char **out, const char *key, const char *value, struct error *why)
{
    size_t len = strlen(value);

    if (len == 0 || len > PAIRS_WORDS_MAX) {
        error_set(why, "%s= needs words, at most %d bytes", key, PAIRS_WORDS_MAX);
        return false;
    }
    *out = value;
    return true;
}

/* mktime(3) takes the 31st of February for the 3rd of March. */
static bool is_a_moment(const struct tm *moment)
{
    struct tm same = *moment;

    timegm(&same);
    return same.tm_mday == moment->tm_mday && same.tm_mon == moment->tm_mon && same.tm_hour == moment->tm_hour &&
           same.tm_min == moment->tm_min && same.tm_sec == moment->tm_sec;
}

static bool has_shape(const char *text, const char *shape)
{
    for (; *shape != '\0'; text++, shape++)
        if (*shape == '0' ? *text < '0' || *text > '9' : *text != *shape)
            return false;
    return *text == '\0';
}

bool pairs_take_end(int64_t *out, const char *value, struct error *why)
{
    struct tm moment = { 0 };
    bool day = has_shape(value, "0000-00-00"), second = has_shape(value, "0000-00-00T00:00:00Z");

    if (day || second) {
        sscanf(value, "%4d-%2d-%2dT%2d:%2d:%2d", &moment.tm_year, &moment.tm_mon, &moment.tm_mday, &moment.tm_hour, &moment.tm_min, &moment.tm_sec);
        moment.tm_year -= 1900;
        moment.tm_mon -= 1;
    }
    if ((!day && !second) || moment.tm_year < 70 || !is_a_moment(&moment)) {
        error_set(why, "expires=%.80s: the last day in force, as 2026-12-31, or a moment, as 2026-12-31T18:00:00Z", value);
        return false;
    }
    *out = timegm(&moment) + (day ? DAY_SECONDS : 0);
    return true;
}

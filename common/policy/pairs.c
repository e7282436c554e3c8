/* pairs.c - see pairs.h */
#include "common/policy/pairs.h"

#include <string.h>

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

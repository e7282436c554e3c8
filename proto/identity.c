/*
 * identity.c - which of two databases comes from the other
 */
#include <stdlib.h>
#include <string.h>
#include "proto/identity.h"

#define TIMELINE_DIGITS 8 /* as in the names of PostgreSQL's log files */

/* The timeline behind the last slash, and how long what is before it is; 0: none is told, as PostgreSQL counts from 1. */
static unsigned long timeline_of(const char *identity, size_t *prefix)
{
    const char *slash = strrchr(identity, '/');
    char *end;
    if (slash == NULL || strspn(slash + 1, "0123456789ABCDEF") != TIMELINE_DIGITS || slash[1 + TIMELINE_DIGITS] != '\0')
        return 0;
    *prefix = (size_t)(slash - identity);
    return strtoul(slash + 1, &end, 16);
}

bool identity_is_behind(const char *identity, const char *than)
{
    size_t len = 0, than_len = 0;
    unsigned long timeline = timeline_of(identity, &len), newest = timeline_of(than, &than_len);
    return timeline != 0 && newest != 0 && len == than_len && memcmp(identity, than, len) == 0 && timeline < newest;
}

/*
 * stamp.c - see stamp.h
 */
#include "edge/scan/stamp.h"
#include <stdio.h>

size_t virus_scanned_format(char *out, size_t cap, const char *hostname, const char *engine, const char *signatures)
{
    char what[256];
    snprintf(what, sizeof what, "%s, signatures %s", engine, signatures);
    for (char *p = what; *p != '\0'; p++)
        if (*p < ' ' || *p > '~' || *p == '(' || *p == ')') /* another process's words: no line break gets out of the comment */
            *p = '?';
    int len = snprintf(out, cap, "X-Virus-Scanned: Weir at %s (%s)\r\n", hostname, what);
    return (size_t)len < cap ? (size_t)len : 0;
}

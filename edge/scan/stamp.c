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

const char *verdict_text(const struct scan_result *result)
{
    static const char *const unknown[] = {
        [WEIR__UNKNOWN_REASON__UNKNOWN_UNSPECIFIED] = "unknown:unspecified", [WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS] = "unknown:limits",
        [WEIR__UNKNOWN_REASON__UNKNOWN_TIMEOUT] = "unknown:timeout",         [WEIR__UNKNOWN_REASON__UNKNOWN_CRASH] = "unknown:crash",
        [WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE] = "unknown:unscannable", [WEIR__UNKNOWN_REASON__UNKNOWN_ENGINE] = "unknown:engine",
        [WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL] = "unknown:protocol",
    };
    if (result == NULL)
        return "none";
    if (result->verdict == WEIR__VERDICT__VERDICT_CLEAN)
        return "clean";
    if (result->verdict == WEIR__VERDICT__VERDICT_BAD)
        return "bad";
    size_t reason = (size_t)result->reason;
    return unknown[reason < sizeof unknown / sizeof *unknown ? reason : 0];
}

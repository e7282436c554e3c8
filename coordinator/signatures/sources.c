/*
 * sources.c - see sources.h
 */
#include "coordinator/signatures/sources.h"

#include <string.h>

static const char *const officials[][2] = { { "main.cvd", "main.cld" }, { "daily.cvd", "daily.cld" }, { "bytecode.cvd", "bytecode.cld" } };

const char *source_file(const char *url)
{
    return strrchr(url, '/') + 1;
}

const char *source_other_form(const char *name)
{
    for (size_t i = 0; i < sizeof officials / sizeof *officials; i++)
        for (size_t form = 0; form < 2; form++)
            if (strcmp(officials[i][form], name) == 0)
                return officials[i][1 - form];
    return NULL;
}

bool source_is_official(const char *name)
{
    return source_other_form(name) != NULL;
}

bool source_is_wanted(const char *name, bool mirrors, char *const *urls, size_t url_count)
{
    if (source_is_official(name))
        return mirrors;
    for (size_t i = 0; i < url_count; i++)
        if (strcmp(source_file(urls[i]), name) == 0)
            return true;
    return false;
}

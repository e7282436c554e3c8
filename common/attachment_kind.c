/* attachment_kind.c - see attachment_kind.h */
#include "common/attachment_kind.h"
#include <string.h>

static const char *const names[ATTACHMENT_KINDS] = { "", "other", "executable", "script", "shortcut", "macro", "archive_program", "archive_encrypted", "disk", "archive", "html", "pdf" };

const char *attachment_kind_name(unsigned kind)
{
    return kind < ATTACHMENT_KINDS ? names[kind] : "";
}

unsigned attachment_kind_find(const char *name)
{
    for (unsigned kind = 1; kind < ATTACHMENT_KINDS; kind++)
        if (strcmp(names[kind], name) == 0)
            return kind;
    return 0;
}

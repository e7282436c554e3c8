/* memory.c - see memory.h */
#include "common/memory.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/error.h"

#define KEEP_FREE   (8 << 20)
#define OWN_MAPPING (1 << 20)

static void *or_fatal(void *memory, size_t size)
{
    if (memory == NULL)
        fatal("out of memory: %zu bytes", size);
    return memory;
}

void *xmalloc(size_t size)
{
    return or_fatal(malloc(size > 0 ? size : 1), size);
}

void *xcalloc(size_t count, size_t size)
{
    size_t all;

    if (__builtin_mul_overflow(count, size, &all))
        fatal("out of memory: %zu times %zu bytes", count, size);
    return or_fatal(calloc(all > 0 ? all : 1, 1), all);
}

void *xrealloc(void *old, size_t size)
{
    /* realloc(p, 0) frees p on some systems */
    return or_fatal(realloc(old, size > 0 ? size : 1), size);
}

char *xstrdup(const char *text)
{
    return xmemdup(text, strlen(text) + 1);
}

char *xstrndup(const char *text, size_t len)
{
    size_t real = len > 0 ? strnlen(text, len) : 0;
    char *copy = xmalloc(real + 1);

    if (real > 0)
        memcpy(copy, text, real);
    copy[real] = '\0';
    return copy;
}

void *xmemdup(const void *data, size_t len)
{
    void *copy = xmalloc(len);

    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

char *xasprintf(const char *format, ...)
{
    char *text;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        fatal("out of memory: formatting a text");
    return text;
}

void memory_keep_free(void)
{
    /* Both or neither: by itself the first would also freeze the second at 128 KiB. A C library without them is slower, no more. */
    if (mallopt(M_MMAP_THRESHOLD, OWN_MAPPING) == 1)
        mallopt(M_TRIM_THRESHOLD, KEEP_FREE);
}

#ifndef WEIR_COMMON_MEMORY_H
#define WEIR_COMMON_MEMORY_H
/* memory.h - allocation that never fails: out of memory ends the process (fatal). Free with free(). */
#include <stddef.h>

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t len); /* copies at most len bytes, adds NUL */
void *xmemdup(const void *data, size_t len);  /* len 0 gives a valid pointer to nothing */
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

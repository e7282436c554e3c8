#ifndef WEIR_COMMON_MEMORY_H
#define WEIR_COMMON_MEMORY_H
/* memory.h - allocation that never fails: out of memory ends the process (fatal). Free with free(). */
#include <stddef.h>

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t len); /* copies at most len bytes, adds NUL; len 0: text may be NULL */
void *xmemdup(const void *data, size_t len);  /* len 0 gives a valid pointer to nothing */
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on up to 8 MiB of freed memory stay with the process (and each thread's heap) instead of going back to the system at once, where
 * the next message would make the kernel find and clear the same pages again. Blocks of 1 MiB or more do go back. */
void memory_keep_free(void);

#endif

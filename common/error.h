#ifndef WEIR_COMMON_ERROR_H
#define WEIR_COMMON_ERROR_H
/*
 * error.h - words for an expected failure, and the two ways to end a process
 *
 * Three kinds of trouble: an expected one is an enum value returned to the caller, with `struct error` holding the words;
 * "cannot go on" (no memory, cannot bind) is fatal(); a bug in this program is weir_assert(). Bytes from a network, disk,
 * database or peer never decide an assert.
 */
#include <stdarg.h>
#include <stddef.h>

struct error {
    char text[512]; /* always NUL-terminated, one line, no trailing newline */
};

/* Formats the words; error may be NULL (then nothing happens). Too long a text is cut. */
void error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Logs at LOG_CRIT and exits with status 1. */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

_Noreturn void weir_assert_failed(const char *expression, const char *file, int line);
#define weir_assert(e) ((e) ? (void)0 : weir_assert_failed(#e, __FILE__, __LINE__))

#endif

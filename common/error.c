/* error.c - see error.h. The words are formatted aside first, so that old words may be part of new ones. */
#include "common/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"

static void one_line(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

void error_set(struct error *error, const char *format, ...)
{
    char text[sizeof error->text];
    va_list args;

    if (error == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == '\n')
        text[--len] = '\0';
    one_line(text);
    memcpy(error->text, text, len + 1);
}

void fatal(const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_write(LOG_CRIT, "fatal: %s", text);
    exit(1);
}

void weir_assert_failed(const char *expression, const char *file, int line)
{
    log_write(LOG_CRIT, "panic: %s:%d: assertion failed: %s", file, line, expression);
    abort();
}

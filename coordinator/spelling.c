/*
 * spelling.c - see spelling.h
 */
#include "coordinator/spelling.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "common/idn.h"
#include "common/memory.h"
#include "coordinator/text.h"

#define BETWEEN_LABELS ".[]:<>" /* in addresses in brackets and without, and in destinations */

typedef bool converter(char out[IDN_NAME_MAX], const char *name);

/* Label by label: one that cannot be converted keeps nobody else from it. */
static void add_domain(struct text *out, const char *domain, converter *convert)
{
    while (*domain != '\0') {
        size_t len = strcspn(domain, BETWEEN_LABELS);
        char *label = xstrndup(domain, len), converted[IDN_NAME_MAX];
        text_puts(out, convert(converted, label) ? converted : label);
        free(label);
        domain += len;
        if (*domain != '\0')
            text_add(out, domain++, 1);
    }
}

char *destination_spelling(const char *given)
{
    struct text out;
    text_init(&out);
    add_domain(&out, given, idn_to_ascii);
    return out.data;
}

/* No address has a line feed, so what is typed with one matches nothing: also not in parts. */
static void keep_one_line(char *line)
{
    for (; *line != '\0'; line++)
        if (*line == '\n')
            *line = '\r';
}

char *address_spellings(const char *given)
{
    char *typed = xstrdup(given);
    keep_one_line(typed);
    const char *at = strrchr(typed, '@'), *domain = at != NULL ? at + 1 : typed;
    struct text all, ascii, unicode;
    text_init(&all), text_init(&ascii), text_init(&unicode);
    text_add(&ascii, typed, (size_t)(domain - typed));
    text_add(&unicode, typed, (size_t)(domain - typed));
    add_domain(&ascii, domain, idn_to_ascii);
    add_domain(&unicode, ascii.data + (domain - typed), idn_to_unicode);
    text_puts(&all, typed);
    if (strcmp(ascii.data, typed) != 0)
        text_printf(&all, "\n%s", ascii.data);
    if (strcasecmp(unicode.data, typed) != 0 && strcasecmp(unicode.data, ascii.data) != 0)
        text_printf(&all, "\n%s", unicode.data);
    text_fini(&ascii), text_fini(&unicode);
    free(typed);
    return all.data;
}

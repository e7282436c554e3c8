/*
 * leniency.c - see leniency.h
 */
#include "edge/smtp/leniency.h"

const char *smtp_leniency_name(unsigned index)
{
    static const char *const names[SMTP_LENIENCY_COUNT] = {
        "lf", "lf-end", "cr", "nul", "long-line", "8bit", "helo", "path", "domain", "missing-field", "repeated-field", "separator", "mbox",
        "cr-end", "no-wait",
    };
    return names[index];
}

#ifndef WEIR_EDGE_SMTP_LENIENCY_H
#define WEIR_EDGE_SMTP_LENIENCY_H
/*
 * leniency.h - what was forgiven: a bit for each row of the table in README.md
 *
 * The lenient functions of this room add bits where they met one; whoever asked them says it to operators.
 */
enum smtp_leniency {
    SMTP_LENIENCY_LF = 1 << 0,             /* a line that ended in LF */
    SMTP_LENIENCY_LF_END = 1 << 1,         /* data that ended so */
    SMTP_LENIENCY_CR = 1 << 2,
    SMTP_LENIENCY_NUL = 1 << 3,
    SMTP_LENIENCY_LONG_LINE = 1 << 4,
    SMTP_LENIENCY_8BIT = 1 << 5,
    SMTP_LENIENCY_HELO = 1 << 6,           /* none, or none of use */
    SMTP_LENIENCY_PATH = 1 << 7,           /* brackets or spaces */
    SMTP_LENIENCY_DOMAIN = 1 << 8,         /* an address without one */
    SMTP_LENIENCY_MISSING_FIELD = 1 << 9,
    SMTP_LENIENCY_REPEATED_FIELD = 1 << 10,
    SMTP_LENIENCY_SEPARATOR = 1 << 11,     /* no empty line behind the header */
    SMTP_LENIENCY_MBOX = 1 << 12,
    SMTP_LENIENCY_CR_END = 1 << 13,        /* data that ended in CR CR LF . CR CR LF */
    SMTP_LENIENCY_NO_WAIT = 1 << 14,       /* not for the banner, or the answer to EHLO or DATA */
};

#define SMTP_LENIENCY_COUNT 15

const char *smtp_leniency_name(unsigned index); /* "lf"; static */

#endif

#ifndef WEIR_SENDMAIL_OPTIONS_H
#define WEIR_SENDMAIL_OPTIONS_H
/* options.h - sendmail's command line, as programs of forty years write it */
#include <stdbool.h>

enum sendmail_mode { MODE_MAIL, MODE_SMTP, MODE_QUEUE, MODE_ALIASES };

struct sendmail_options {
    enum sendmail_mode mode;
    bool from_header;    /* -t */
    bool dot_is_data;    /* -i, -oi */
    const char *sender;  /* -f, -r; NULL: the user */
    const char *name;    /* -F; NULL: the user's */
    unsigned notify;     /* -N: SMTP_NOTIFY_*; 0: not given */
    char ret;            /* -R: 'F', 'H' or 0 */
    const char *envid;   /* -V; "" */
    char *const *words;  /* recipients; borrowed from argv */
    int word_count;
};

/* false: *status is the exit status to end with; what is wrong was said. */
bool sendmail_options_parse(struct sendmail_options *options, int argc, char **argv, int *status);

#endif

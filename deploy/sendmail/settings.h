#ifndef WEIR_SENDMAIL_SETTINGS_H
#define WEIR_SENDMAIL_SETTINGS_H
/* settings.h - the keys of sendmail.conf, in the grammar of common/config.h. Sizes are bytes, durations milliseconds. */
#include "common/config.h"

#define SENDMAIL_TLS_IMPLICIT 3 /* behind those of enum next_hop_tls: from the first byte, and verified as with require */

struct sendmail_settings {      /* [sendmail] */
    struct config_list hosts;   /* NAME:PORT or ADDRESS:PORT of edges, tried in this order; PORT a number, a service's name, or none: 25 */
    char *hostname;             /* EHLO, Message-ID; "": the system's */
    char *domain;               /* for addresses without one; "": hostname */
    int tls;                    /* enum next_hop_tls: none|may|require; or implicit */
    char *ca_file;              /* to verify hosts when TLS is required; "": the system's */
    char *login_file;           /* "": no AUTH; else one line NAME:PASSWORD, and TLS is required */
    uint64_t connect_timeout;   /* 10s per address */
    uint64_t reply_timeout;     /* 5m */
    uint64_t max_message_size;  /* 50MiB */
    uint64_t max_line;          /* 998 bytes without CRLF; longer lines are broken; 0: never */
};

extern const struct config_section sendmail_tables[];

/* Reads $WEIR_SENDMAIL_CONF (not when this program runs with a group or user of its own: whoever calls it could have it send the password to a
 * host of theirs), else /etc/weir/sendmail.conf. Owned by the caller, who calls sendmail_settings_fini(). */
bool sendmail_settings_load(struct sendmail_settings *settings, struct error *why);
void sendmail_settings_fini(struct sendmail_settings *settings);

#endif

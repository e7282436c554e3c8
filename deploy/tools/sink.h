#ifndef WEIR_DEPLOY_SINK_H
#define WEIR_DEPLOY_SINK_H
/*
 * sink.h - weir-sink: a next hop that takes everything, keeps it, and misbehaves when told to
 *
 * sink.c the command line and the process, sink_session.c the SMTP conversation, sink_store.c the files.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>
#include "edge/net/net.h"
#include "edge/smtp/address.h"

struct sink_options {
    int dir;                  /* open folder, -1: discard */
    uint64_t delay_ms;        /* before every final answer */
    uint64_t greeting_delay_ms;
    uint64_t close_idle_ms;   /* 0: never */
    bool pipelining, eightbitmime, smtputf8, chunking, helo_only;
    bool moods;               /* recipients' names ask for misbehaviour; false: everybody's mail is taken */
    struct net_tls *tls;      /* NULL: no STARTTLS */
};

struct sink_counts {
    uint64_t sessions, sessions_open, messages, recipients, bytes, refused_recipients, refused_messages, dropped, violations, store_errors;
};

struct sink_session;

struct sink {
    struct event_base *base;
    struct sink_session *first;
    struct sink_options options;
    struct sink_counts counts;
};

void sink_session_start(struct sink *sink, int fd, const struct netaddr *peer); /* takes fd */
void sink_sessions_end(struct sink *sink); /* all of them, now; half messages leave no file */

/* ---- one message on its way to a file ---- */

struct sink_message {
    char name[64];            /* unique in the folder; "" when there is none */
    int fd;                   /* the temporary file; -1: none */
    uint64_t size;
    bool failed;              /* a write failed; said on stderr */
};

struct sink_envelope {
    const char *sender;       /* as between the brackets */
    const char *mail_params;  /* what stood behind them */
    char *const *recipients, *const *rcpt_params;
    size_t recipient_count;
    const char *client, *helo, *protocol, *tls;
    bool bdat;
    unsigned violations;      /* enum smtp_violation */
};

/* dir -1: nothing is kept, but sizes are counted. */
void sink_message_begin(struct sink_message *message, int dir);
void sink_message_add(struct sink_message *message, const char *bytes, size_t len);
/* The envelope's file first, then the message's: who finds an .eml finds its .json. False: not stored (said on stderr). */
bool sink_message_store(struct sink_message *message, int dir, const struct sink_envelope *envelope);
void sink_message_drop(struct sink_message *message, int dir);

#endif

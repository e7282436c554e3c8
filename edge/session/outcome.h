#ifndef WEIR_EDGE_SESSION_OUTCOME_H
#define WEIR_EDGE_SESSION_OUTCOME_H
/*
 * outcome.h - what became of a message, and the one reply that says so
 *
 * Pure. Every way a message can end is made here, so that reply, log, audit row and counters never differ.
 */
#include <stdbool.h>
#include "common/queue_id.h"
#include "common/settings.h"
#include "edge/scan/scan.h"
#include "edge/smtp/reply.h"
#include "edge/spool/store.h"

enum disposition { DISPOSITION_DELIVERED, DISPOSITION_SPOOLED, DISPOSITION_QUARANTINED, DISPOSITION_DISCARDED, DISPOSITION_REFUSED, DISPOSITION_DEFERRED, DISPOSITION_COUNT };

struct outcome {
    enum disposition disposition;
    const char *why;      /* static; "" for delivered. The audit row says "refused:virus" */
    Weir__Quarantine quarantine; /* QUARANTINED: why */
    int code;
    char enhanced[12];
    char text[SMTP_REPLY_TEXT_MAX];
    bool close;           /* the reply is the last word of the session (421) */
};

/* Why a message is refused for what it is; the first reason found counts. */
enum refusal {
    REFUSAL_NONE,
    REFUSAL_SIZE,         /* 552 5.3.4 */
    REFUSAL_HEADER_SIZE,  /* 552 5.3.4 */
    REFUSAL_HOPS,         /* 554 5.4.6 */
    REFUSAL_CONTENT,      /* 550 5.6.0: bare LF, bare CR, NUL, line too long */
    REFUSAL_STORAGE,      /* 452 4.3.1: our budget or disk */
};

/* Why a message that had begun was not brought to its end. */
enum farewell {
    FAREWELL_NONE,
    FAREWELL_CLIENT_GONE,
    FAREWELL_RESET,       /* RSET, EHLO or QUIT between two chunks */
    FAREWELL_TIMEOUT,     /* idle_timeout, session_timeout */
    FAREWELL_TOO_SLOW,
    FAREWELL_DRAIN,
    FAREWELL_REFUSED,     /* max_errors and the like */
    FAREWELL_STOP,        /* the worker ends: nothing was said to the client */
};

const char *disposition_name(enum disposition disposition); /* "delivered"; static */

/* There is no verdict, and the operator said by name that such mail goes on all the same, tagged (limits_action, unscannable_action = tag). result may be NULL. */
bool outcome_is_doubt(const struct scan_result *result, const struct edge_settings *settings);
/* true: the verdict lets the message go on, and out is untouched. It must be an explicit clean (I2), or outcome_is_doubt(). result NULL: scanning is turned
 * off by name. QUARANTINED is a wish: only what the spool says makes it one. */
bool outcome_of_verdict(struct outcome *out, const struct scan_result *result, const struct edge_settings *settings, bool inside,
                        const struct queue_id *id);
void outcome_of_busy_farm(struct outcome *out);
/* violations: enum smtp_violation, for REFUSAL_CONTENT. */
void outcome_of_refusal(struct outcome *out, enum refusal refusal, unsigned violations, const struct listener_settings *limits,
                        uint64_t max_message_size, const struct queue_id *id);
/* Spam engines say nothing, and spam_failure = tempfail. */
void outcome_of_spam_engines(struct outcome *out, const struct queue_id *id);
/* By its score: refused, else discarded. */
void outcome_of_spam(struct outcome *out, const struct queue_id *id);
/* text: which limit of the policy was reached. */
void outcome_of_limit(struct outcome *out, const char *text);
/* All recipients' routes say discard. */
void outcome_of_discard(struct outcome *out, const char *why, const struct queue_id *id);
/* handed_over: the next hop may have it. */
void outcome_of_farewell(struct outcome *out, enum farewell farewell, bool handed_over);
/* The next hop's final word. */
void outcome_of_next_hop(struct outcome *out, const struct smtp_reply *reply, bool maybe_delivered, const struct queue_id *id);

/* What the spool said. */
void outcome_of_spool(struct outcome *out, enum spool_stored stored, const struct queue_id *id);

/* A next hop's answer made fit for the client: an enhanced code of the right class is added where it gave none, a code that no SMTP
 * reply may have here becomes 451 4.3.0. */
void reply_normalize(struct smtp_reply *reply, const char *enhanced_when_ok);

#endif

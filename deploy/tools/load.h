#ifndef WEIR_DEPLOY_LOAD_H
#define WEIR_DEPLOY_LOAD_H
/*
 * load.h - weir-load: messages at a speed, and what became of each
 *
 * load.c the command line, the schedule and the report; load_session.c one client's conversation; load_message.c what is sent;
 * load_stats.c what is counted. One event loop; a session holds at most one message at a time.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <event2/event.h>
#include "edge/net/net.h"

#define LOAD_TOKEN_MAX 40
#define LOAD_PREFIX_MAX 2048
#define LOAD_FILLER_MAX 80

/* ---- what is sent ---- */

struct load_file { /* of --mail: with CRLF line ends, as it is, and with dots stuffed */
    char *raw, *stuffed;
    size_t raw_len, stuffed_len;
};

/* Where generated messages come from: lines of words, none of them with a dot at its start. */
struct load_source {
    char *pool;
    struct load_file *files;
    size_t file_count, next_file;
    bool mix;
    size_t size;
    uint64_t nonce, counter, random;
    char date[40];            /* made once: it costs more than the rest */
};

/* One message: prefix, then `len` bytes of `data` from `start` on, going round, then the filler. */
struct load_message {
    char token[LOAD_TOKEN_MAX];
    char prefix[LOAD_PREFIX_MAX];
    size_t prefix_len;
    const char *data;         /* borrowed from the source */
    size_t data_len, start, len;
    const struct load_file *file; /* NULL: generated */
    char filler[LOAD_FILLER_MAX];
    size_t filler_len;
};

void load_source_init(struct load_source *source, size_t size, bool mix);
/* Every file of the folder; how many. -1: cannot be read (errno). */
long load_source_add_folder(struct load_source *source, const char *folder);
void load_source_fini(struct load_source *source);
/* A number from least to most, both possible. */
uint64_t load_source_pick(struct load_source *source, uint64_t least, uint64_t most);
/* tag: put X-Weir-Load on top of a file's message too. */
void load_message_make(struct load_message *message, struct load_source *source, const char *from, const char *to, bool tag);
/* For BDAT: the bytes as they are; for DATA: dots stuffed. To be called before size and read. */
void load_message_form(struct load_message *message, bool bdat);
size_t load_message_size(const struct load_message *message);
/* SHA-256 in hex of the message without its dot-stuffing: what the other end should keep. */
#define LOAD_DIGEST_LEN 64
void load_message_digest(struct load_message *message, char out[LOAD_DIGEST_LEN + 1]);
/* Copies bytes from `offset` on to out, at most cap; how many. */
size_t load_message_read(const struct load_message *message, size_t offset, char *out, size_t cap);

/* ---- what is counted ---- */

struct load_stats {
    uint64_t replies[1000];   /* by final code; 0: no answer */
    uint64_t bytes, connect_errors, lost, timeouts, retries, recipients_refused;
    uint32_t *latency_us, *wait_us; /* of messages answered 250; of all messages in the open loop: from when it was due to MAIL */
    size_t latency_count, wait_count;
    uint64_t *under_way_us; /* for how long so many transactions were under way, [0] to [under_way_cap] */
    size_t under_way, under_way_cap;
    uint64_t under_way_since; /* when their number changed; 0: not counted any more */
};

/* cap: how many there can be at most. */
void load_stats_init(struct load_stats *stats, size_t cap, uint64_t now);
/* A transaction begins with MAIL and ends with the message's answer, or with its connection. */
void load_stats_transaction(struct load_stats *stats, uint64_t now, bool begins);
/* The last message was given out: from here on transactions only get fewer, which says nothing. */
void load_stats_transactions_last(struct load_stats *stats, uint64_t now);
/* How many were under way for at least `share` of the time: 0.5 is the median, 0 the peak. */
size_t load_stats_transactions(const struct load_stats *stats, double share);

void load_stats_latency(struct load_stats *stats, uint64_t us);
void load_stats_wait(struct load_stats *stats, uint64_t us);
/* Sorts; the value below which `share` of them are. 0 when there are none. */
uint32_t load_percentile(uint32_t *values, size_t count, double share);
void load_report(struct load_stats *stats, double seconds, double cpu_seconds, uint64_t unsent, bool json);
void load_stats_fini(struct load_stats *stats);

/* ---- who sends ---- */

struct load_options {
    struct netaddr *targets;
    size_t target_count;
    uint64_t sessions, messages, milliseconds, per_session, recipients_min, recipients_max, timeout_ms, retry_ms;
    double rate;              /* messages a second, 0: closed loop */
    const char *from, *to;
    bool bdat, pipeline, unique, own_recipients, retry, json, greet_only, digests;
    struct net_tls *tls;      /* NULL: in clear */
    struct netaddr source_first, source_last; /* family 0: the system's choice */
    FILE *ids;
};

struct load_session;

struct load {
    struct event_base *base;
    struct load_options options;
    struct load_source source;
    struct load_stats stats;
    struct load_session *sessions;
    struct load_session *free_first, *free_last; /* without a message, the longest so first */
    uint64_t started_us;
    uint64_t issued;          /* messages given to sessions */
    uint64_t busy;            /* sessions that hold one */
    size_t next_target;
    uint32_t next_source;
    bool ending;              /* no new messages */
    bool finished;            /* and the last one was answered */
};

void load_sessions_init(struct load *load);
void load_sessions_fini(struct load *load);
/* Gives what is due to sessions that hold no message. */
void load_sessions_wake(struct load *load);
/* Messages without an answer yet are written down as unanswered. */
void load_sessions_give_up(struct load *load);
/* QUIT on the connections that are still open. */
void load_sessions_quit(struct load *load);

/* load.c, called by sessions: */
/* Whether a message is due now; then it counts as issued, and *due_us says since when. */
bool load_take(struct load *load, uint64_t *due_us);
/* A session is done with its message. */
void load_done(struct load *load);

#endif

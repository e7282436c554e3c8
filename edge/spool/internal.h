#ifndef WEIR_EDGE_SPOOL_INTERNAL_H
#define WEIR_EDGE_SPOOL_INTERNAL_H
/*
 * internal.h - what runner.c, job.c and notify.c know of each other
 *
 * runner.c  the claim, the renewals, the clock; which jobs there are
 * job.c     one lease: fetch, scan, deliver
 * settle.c  its end: the result, repeated until it is taken, and the log lines
 * notify.c  the DSN that goes with it
 * judge.c   what spam engines hear and say of it
 * outbreak.c  whether it is to wait
 */
#include "common/clock.h"
#include "edge/spam/personal.h"
#include "edge/spam/told.h"
#include "edge/spool/lease.h"
#include "edge/spool/runner.h"

/*   FETCHING -> [SCANNING ->] DELIVERING -> REPORTING -> gone
 *   FETCHING, SCANNING, DELIVERING -> REPORTING   released, failed, deferred
 *   any -> gone                                   the lease is over */
enum job_state { JOB_FETCHING, JOB_SCANNING, JOB_DELIVERING, JOB_REPORTING };

struct job_outcome { /* of one recipient */
    Weir__SpoolDisposition disposition;
    int code;
    char enhanced[12];
    char *text;            /* never NULL once settled. REROUTED: the new destination */
    bool remote;           /* the next hop's words */
    const char *reason;    /* why it came to this end, where the next hop's words do not say: "virus"; "" they do. Static */
};

/* Payloads of the result, kept for its repeats. */
struct job_result {
    uint8_t *outcomes, *dsn_recipients;
    char *dsn_text;
    size_t outcomes_len, dsn_recipients_len, dsn_len;
    struct queue_id dsn_id; /* "" when there is none */
    uint64_t dsn_epoch;     /* of the policy that routed it */
    bool dsn_8bit, dsn_smtputf8, dsn_scanned;
    bool delay_warned;
    bool others;                       /* recipients with another sender, who are not tried yet */
    bool untold;                       /* the sender cannot be reached for now */
    bool surplus;                      /* more have failed than one DSN can tell of, or the next hop took a part of them: the rest come soon */
};

struct job {
    struct job *next, **link;
    struct spool_runner *runner;
    Weir__SpoolLease *lease;           /* own copy */
    Weir__SpoolRecipients *recipients; /* own */
    char id[QUEUE_ID_LEN + 1];
    char destination[WIRE_WORDS_MAX + 1];
    char *sender;                      /* of those whom this lease is for: the others are released, as a transaction has one */
    struct lease_time time;
    enum job_state state;
    struct node_question *question;    /* the result; or what recipients' own lists say */
    struct ahead_window window;        /* of the body: what was asked for */
    uint64_t body_size;                /* 0: not known yet */
    struct event *again;               /* a question that got no answer is asked once more */
    struct message *message;
    struct scan *scan;
    struct scan_result *verdict;       /* found here */
    struct personal personal;          /* recipients who want it in spite of its score */
    bool doubtful;                     /* nobody knows whether it has a virus, and it goes on all the same, as configured */
    struct outbreak_question *outbreak; /* under way */
    bool tagged;                       /* as spam: its Subject says so */
    uint32_t required;                 /* hundredths: from it on X-Spam-Flag says YES */
    struct delivery *delivery;
    struct job_outcome *outcomes;      /* by recipient */
    size_t *given, n_given;            /* whom the next hop is asked to take: places in recipients, in the delivery's order */
    size_t answered, accepted;         /* of those */
    bool sending;                      /* the next hop is being given the message */
    bool destination_down, takes_dsn, lost;
    bool asked;                        /* in the renewal under way */
    bool spare;                        /* of a claim for other destinations: has one of the spool_spare places */
    struct job_result result;
    struct readers readers;            /* of the DSN; empty: none is due, or nobody can be told */
    char next_hop[NEXT_HOP_TEXT_MAX + 64]; /* "host[192.0.2.9]:25", once connected */
    uint64_t began_ms, delivering_ms;
    uint64_t policy_epoch;             /* by which it was looked whether recipients go elsewhere now; 0: that was not needed */
};

struct runner_metrics {
    struct metric *leases, *lost, *maybe_duplicates, *jobs, *spare_jobs, *dsn, *dsn_dropped;
    struct metric *recipients[WEIR__SPOOL_DISPOSITION__SPOOL_QUARANTINED + 1];
    struct metric *spam_fates[SPAM_FATES], *spam_incomplete; /* those of sessions, too */
};

struct runner_claim {
    struct spool_runner *runner;
    struct node_question *question;    /* NULL: none stands */
    uint64_t sent_ms;
    bool others;                       /* for destinations that nothing is held of here: its jobs are spare */
};

struct spool_runner {
    struct spool_runner_options options;
    struct runner_metrics metrics;
    struct job *jobs;
    unsigned count, spares;            /* spares: of count, those that are spare */
    uint64_t boot;                     /* names this process to the coordinators */
    struct runner_claim claim, spare;
    struct node_question *renewal;
    uint64_t renewal_ms;               /* when it was sent */
    uint64_t lease_ms;                 /* of the last lease: a claim waits for a part of it */
    uint64_t rest_until_ms;            /* no claim before: the last one failed, or there was no room for a body */
    uint64_t no_scan_until_ms;         /* the farm said busy */
    struct event *tick, *freed;        /* freed: jobs have ended, there is room for more */
    bool running;
    bool moved;                        /* a job that is not spare has ended since the last tick */
};

/* ---- runner.c ---- */

void runner_rest(struct spool_runner *runner);      /* claims nothing for a second */
void runner_remove(struct spool_runner *runner, struct job *job);

/* ---- job.c ---- */

/* lease and recipients: taken. */
void job_begin(struct spool_runner *runner, Weir__SpoolLease *lease, Weir__SpoolRecipients *recipients, const struct lease_time *time, bool spare);
void job_free(struct job *job);
/* The lease was renewed: the delivery may go on for longer. */
void job_renewed(struct job *job, const struct lease_time *time);
/* The lease is over, or somebody else's. true: the job is gone; false: the next hop has the message, and its answer is awaited. */
bool job_end_lease(struct job *job);
/* Gives back what no next hop was given. */
void job_release(struct job *job, const char *why);
/* Explicitly clean, here or before, or scanning is turned off by name. */
bool job_is_clean(const struct job *job);

/* To the next hop, who has no outcome yet. */
void job_deliver(struct job *job);
/* Its copies go out as from the client, not as from the owner of a list: for whom what the client asked for is not (RFC 3461 5.2.7.3). */
bool job_is_from_client(const struct job *job);
/* With a verdict that is not clean. */
void job_settle_verdict(struct job *job);

/* ---- outbreak.c ---- */

/* Of a clean message. true: the cluster was asked whether it is to wait, and the job goes on with the answer; or it was given back, as nobody could be asked and
 * it was held before. */
bool job_ask_outbreak(struct job *job);
/* It comes from where an outbreak is held. */
bool job_was_held(const struct job *job, size_t index);

/* ---- settle.c ---- */

/* reason: a word for the audit, static; NULL: these are the next hop's words. */
void job_settle_recipient(struct job *job, size_t index, Weir__SpoolDisposition disposition, const char *reason, int code, const char *enhanced,
                          const char *text);
/* The same for all that have no outcome yet, in our own words. */
void job_settle_rest(struct job *job, Weir__SpoolDisposition disposition, const char *reason, int code, const char *enhanced, const char *text);
/* Every recipient has its outcome: logs, and reports until it is taken. */
void job_report(struct job *job);

/* ---- notify.c ---- */

/* Who has failed and is one too many for the DSN is deferred instead: the next lease's DSN tells of them. So is everybody while the sender cannot be
 * reached for now. Sets job->readers, where a DSN is due. Before anything is logged. */
void job_defer_untold(struct job *job);
/* Makes the DSN that the outcomes ask for into job->result; nothing where none is due. */
void job_notify(struct job *job);

/* ---- judge.c ---- */

/* Borrowed from both; NULL: no engine is to be asked. */
const Weir__SpamFacts *job_spam_facts(const struct job *job, struct spam_told *told);
/* The same: whether those whose copy would be kept as spam want it all the same. true: asked is called once, unless job->question is cancelled. */
bool job_ask_personal(struct job *job, node_answer_handler asked);
/* Of a message just found clean: settles whose copy is spam, notes what is to be said in its header. Nothing where no engine was asked. */
void job_judge_spam(struct job *job);
/* What stands in front of the message, last at its end; malloced. See message_dress(). */
char *job_dress(const struct job *job, const char *last, size_t last_len, size_t *len, uint64_t *skip);

#endif

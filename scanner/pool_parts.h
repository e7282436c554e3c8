#ifndef WEIR_SCANNER_POOL_PARTS_H
#define WEIR_SCANNER_POOL_PARTS_H
/* pool_parts.h - what pool.c, pool_generation.c and pool_worker.c share; nobody else's business. pool.c says how the states follow each other. */
#include <sys/types.h>
#include "scanner/pool.h"

#define REFILL_DELAY_MS 200 /* between forks after a worker died before READY */
#define RETRY_FIRST_S 1

enum generation_state { GENERATION_LOADING, GENERATION_FILLING, GENERATION_SERVING, GENERATION_RETIRING, GENERATION_DOOMED };
enum worker_state { WORKER_FORKING, WORKER_STARTING, WORKER_IDLE, WORKER_BUSY, WORKER_LEAVING };
enum death { DEATH_NONE, DEATH_TIMEOUT, DEATH_CANCELLED };

struct worker {
    struct generation *generation;
    struct worker *next;
    uint32_t number;
    enum lane lane;
    bool spare; /* for newcomers */
    enum worker_state state;
    bool aged; /* has done worker_scans: leaves when its replacement is ready */
    int32_t pid;
    int pidfd;
    int channel;
    struct event *readable;
    struct event *clock; /* until job_until_us */
    uint64_t scans;
    uint64_t ready_bytes; /* of memory, when it was READY */
    uint64_t serial; /* of the scan under way */
    uint64_t model;  /* number of the one that it has; 0: none */
    void *job;
    uint64_t job_since_us, job_until_us;
    bool abandoned; /* nobody waits for the job any more */
    enum death killed_for;
};

struct generation {
    struct pool *pool;
    struct generation *next;
    uint64_t number;
    uint64_t gc; /* request number that it fulfils */
    char set[SIGNATURE_HEX_LEN + 1]; /* of signatures */
    bool damaged;
    enum generation_state state;
    pid_t pid;
    int channel;
    struct event *readable;
    struct event *clock;
    char run_dir[PATH_MAX];
    struct engine_info info;
    struct sandbox_layers layers;
    uint64_t wanted[LANES][2]; /* [1]: spare ones */
    uint32_t last_worker;
    unsigned early_deaths;
    struct worker *workers;
    uint64_t served_ms;    /* since when it serves */
    uint64_t loaded_bytes; /* of memory, then */
    uint64_t scanned;
};

struct pool_metrics {
    struct metric *workers[LANES];
    struct metric *death_crash, *death_timeout, *death_cancelled, *death_sandbox, *death_start;
    struct metric *generation, *failures, *suspicions;
    struct metric *version; /* the one that is 1 */
    struct metric *age, *count;
    struct metric *huge;
    struct metric *seccomp, *landlock, *namespace;
};

struct pool_use_state {
    uint64_t ended_us[LANES];      /* that jobs which are over took of workers */
    uint64_t looked_us;            /* what follows is of then */
    uint64_t busy_us[LANES];       /* with those under way */
    double mean[LANES];            /* workers at work */
    uint64_t memory, weighed_ms;   /* of the generation `generation` */
    uint64_t generation;
    struct metric *loaded, *now, *scanned, *busy[LANES];
};

struct pool {
    struct event_base *base;
    struct pool_options options;
    struct pool_handlers handlers;
    void *arg;
    struct metrics *metrics;
    struct pool_metrics m;
    struct generation *generations; /* all that have a process */
    struct generation *serving;     /* NULL: none */
    uint64_t last_generation, last_serial;
    int model; /* memory of what was learned; -1: none */
    uint64_t model_number; /* grows with each */
    uint64_t gc_wanted, gc_done;
    bool gc_heard; /* a request number, since the start of this process */
    bool renew;
    struct pool_failure failure; /* the last one, */
    uint64_t failures;           /* of how many of its set in a row */
    bool suspected; /* the generation that serves, until another has taken over */
    uint64_t suspected_us;
    unsigned retry_s;
    struct pool_use_state use;
    struct event *retry;  /* pending: wait before the next attempt */
    struct event *refill;
    struct event *again;  /* calls `changed` from the loop, and makes the next generation */
    struct event *child;  /* SIGCHLD */
    struct event *minute; /* signatures grow older */
};

/* pool.c */
void pool_soon(struct pool *pool); /* what follows from a change is done from the loop */
void pool_failed(struct pool *pool, const struct generation *generation, const char *why); /* one that never served is gone, or will be */
void pool_keep_folder(struct pool *pool);
void pool_show_serving(struct pool *pool);
void descriptor_close(int *fd); /* -1 afterwards; may be -1 */

/* pool_use.c */
void pool_use_begin(struct pool *pool); /* makes its metrics */
void pool_use_took_over(struct generation *generation);
void pool_use_ready(struct worker *worker);
void pool_use_job_done(const struct worker *worker, bool answered); /* before its next job */

/* pool_generation.c */
void generation_new(struct pool *pool);
void generation_fill(struct generation *generation); /* forks the workers that are missing */
void generation_check(struct generation *generation); /* after any change in its workers: what follows from it */
void generation_gone(struct generation *generation); /* its zygote is reaped; frees it */
size_t generation_count(const struct generation *generation, enum lane lane, bool spare, bool ready_only); /* workers that are not leaving */

/* pool_worker.c */
struct worker *worker_new(struct generation *generation, enum lane lane, bool spare);
void worker_free(struct worker *worker);
void worker_started(struct worker *worker, int32_t pid, int channel, int pidfd); /* takes both descriptors */
void worker_died(struct worker *worker, int status); /* frees it */
void worker_receive(struct worker *worker); /* takes one packet, if there is one */
void worker_job_done(struct worker *worker, struct pool_outcome *outcome);
void worker_dismiss(struct worker *worker); /* it has nothing to do */
void worker_replace(struct worker *worker); /* kills it; another is forked */
void worker_abandon(struct worker *worker); /* nobody waits for its job any more */
bool worker_has_folder(const struct worker *worker);
/* Gives it the job; false: it is dying. */
bool worker_scan(struct worker *worker, const struct packet_scan *scan, const struct pool_message *message, uint32_t wall_ms, void *job);

#endif

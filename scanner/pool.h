#ifndef WEIR_SCANNER_POOL_H
#define WEIR_SCANNER_POOL_H
/*
 * pool.h - generations of workers, seen from the master
 *
 * There is at most one generation that serves, one that is being made, and one that finishes its last scans. A new one is made when
 * none serves, when asked for (pool_renew), and while a gc request number is above gc_done. It takes over when it has loaded, passed
 * its self-test and all its workers are ready; if it fails, the old one goes on as if nothing had happened. No scan ever waits for that.
 */
#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>
#include "common/metrics.h"
#include "common/signature_set.h"
#include "proto/weir.pb-c.h"
#include "scanner/channel.h"

struct pool;

struct pool_options {
    const char *run_dir;              /* generations make their folders in it */
    int *run_lock;                    /* see scratch.h; borrowed */
    struct packet_config config;      /* for zygotes; generation and run_dir are filled in by the pool */
    uint64_t workers[LANES];
    uint64_t spare;                   /* of each lane's workers, so many are for newcomers (admission.h) and no capacity */
    uint64_t worker_scans;            /* 0: a worker is never replaced for its age */
};

enum pool_end {
    POOL_ANSWERED, /* by the worker: verdict, reason, name are its answer */
    POOL_CRASHED,  /* the worker died on it */
    POOL_TIMEOUT,  /* its time was over and the worker was killed */
    POOL_LOST,     /* the whole generation died: not this message's doing */
};

/* Behind ENGINE_MAIL_PREFIX. Borrowed. */
struct pool_message {
    const void *bytes; /* at most CHANNEL_BODY_MAX; NULL: in fd */
    int fd;
    uint64_t size;
    const struct packet_facts *facts; /* for the native spam engine, and whether its attachments are to be named; NULL: neither */
};

struct pool_outcome {
    enum pool_end end;
    Weir__Verdict verdict;
    Weir__UnknownReason reason;
    char name[256];
    uint32_t scan_us;
    uint64_t generation;
    const struct engine_info *info; /* borrowed for the call */
    const struct packet_native *native; /* the same; NULL: it was not asked, or says nothing */
    const struct packet_features *features; /* the same; NULL: they were not wanted */
    const struct packet_findings *findings; /* the same; NULL: nothing was asked, or said */
};

struct pool_handlers {
    /* The job's end. Called once for every pool_run() that returned true, never from inside it. */
    void (*done)(void *arg, void *job, const struct pool_outcome *outcome);
    /* A worker is free, a generation serves or does not serve any more, or gc_done has grown. */
    void (*changed)(void *arg);
};

struct pool *pool_new(struct event_base *base, const struct pool_options *options, struct metrics *metrics,
                      const struct pool_handlers *handlers, void *arg);
/* Kills and reaps whatever runs. Jobs under way get no `done`. */
void pool_free(struct pool **pool);

/* For the generations made from now on. run_dir is borrowed. */
void pool_configure(struct pool *pool, const struct pool_options *options);

/* The folder of signatures, and the name of their set (common/signature_set.h; "": none), for the generations made from now on. */
void pool_use_signatures(struct pool *pool, const char *folder, const char *set);
const char *pool_signature_set(const struct pool *pool); /* of the generation that serves; "": none, or without a name. Borrowed */
struct pool_failure {
    char set[SIGNATURE_HEX_LEN + 1];
    char why[512];
    bool damaged; /* the folder's files are not those of the set */
};
/* How many generations of this set have failed before they served; failure (may be NULL) is the last one, and borrowed. */
uint64_t pool_failures(const struct pool *pool, const char *set, const struct pool_failure **failure);

/* What was learned, for all scans from now on: a descriptor of sealed memory with a model, which the pool takes. */
void pool_use_model(struct pool *pool, int fd);

void pool_renew(struct pool *pool);
/*
 * The engine fails on one message after the other: a new generation is made, and when that does not pass its self-test, the one that
 * serves is not trusted either. At most once a minute, because mail could be made to look like that.
 */
void pool_suspect(struct pool *pool);
/* Requests up to the first number heard are older than this process: its first generation fulfils them. */
void pool_want_gc(struct pool *pool, uint64_t request);
uint64_t pool_gc_done(const struct pool *pool);

bool pool_is_serving(const struct pool *pool);
uint64_t pool_generation(const struct pool *pool);            /* 0 while none serves */
const struct engine_info *pool_info(const struct pool *pool); /* NULL while none serves; borrowed */
/* How much the generation that serves has to do, and how it has grown since it took over. */
struct pool_use {
    uint32_t workers[LANES];
    uint32_t busy[LANES];           /* hundredths of a worker at work, the mean of about ten seconds */
    uint64_t memory, memory_loaded; /* bytes: see pool_use.c */
    uint64_t scanned;               /* messages */
    uint64_t serving_ms;            /* 0: none serves, and all but busy is 0 */
};
void pool_use(struct pool *pool, struct pool_use *use); /* to be called at least every few seconds */

bool pool_has_idle(const struct pool *pool, enum lane lane, bool spare);

/* Gives the job to an idle worker of the lane, one of its spare ones or another. After wall_ms the worker is killed. false: none idle (or it just died). */
bool pool_run(struct pool *pool, enum lane lane, bool spare, const struct pool_message *message, uint32_t wall_ms, void *job);
/*
 * Nobody waits for this running job any more: its worker is killed, at once if it has been at it for more than a second, else a second
 * from now. `done` still comes.
 */
void pool_abandon(struct pool *pool, void *job);

#endif

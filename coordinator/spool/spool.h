#ifndef WEIR_COORDINATOR_SPOOL_H
#define WEIR_COORDINATOR_SPOOL_H
/*
 * spool.h - mail at rest: storing it, leasing it to edges, taking what became of it
 *
 * Answers the Spool* questions of weir.proto. What is asked while a transaction runs is the next one, and an answer follows
 * the commit's result. Everything may be repeated: stores and chunks by id and offset, results by lease token. All
 * times are the database's. Claims stand until something is due; nobody polls.
 *
 * Four connections of its own: stores wait for the disk, and those of who floods must not keep others waiting, results must not wait behind stores, and a
 * claim's answer waits for none of them.
 */
#include <event2/event.h>
#include <jansson.h>
#include "common/settings.h"
#include "coordinator/exposition.h"
#include "coordinator/questions.h"

struct spool;

/* So long edges are told not to take mail after a statement found the database's disk full, and nothing is leased after a
 * result did; what comes then finds out whether it still is. No key, as it is only how often that is tried. */
#define SPOOL_DISK_FULL_MS 5000

struct spool_options {
    struct event_base *base;
    const char *conninfo;                         /* as db_options; borrowed */
    struct lineage *lineage;                      /* as db_options; borrowed */
    const char *name;                             /* this coordinator; borrowed */
    const struct coordinator_settings *settings;  /* borrowed */
    struct questions *questions;
    struct metrics *metrics;
    void (*disk_full)(void *arg); /* the database's disk was found full; called each time, before who asked is answered */
    void *arg;
};

struct spool *spool_new(const struct spool_options *options);
/* The schema is there: its connections may be made. Again: no matter. */
void spool_database_up(struct spool *spool);
bool spool_is_up(const struct spool *spool); /* all its connections are */
void spool_drain(struct spool *spool); /* standing claims are answered UNAVAILABLE */
/* Ends its connections: every question is answered. */
void spool_free(struct spool **spool);
/* weir_spool_messages and the like: gauges of the database, the same at all coordinators. */
void spool_expose(const struct spool *spool, struct exposition *exposition);
/* The same as JSON: {"messages", "bytes", "states": {"ready": {"count", "oldest"}, ...}}. NULL: not counted yet. The caller frees it. */
json_t *spool_counts(const struct spool *spool);

#endif

#ifndef WEIR_COORDINATOR_HTTP_H
#define WEIR_COORDINATOR_HTTP_H
/*
 * http.h - GET or HEAD /metrics, /livez, /readyz, and the dashboard's pages
 *
 * /livez is 200 while the loop runs; /readyz is 503 while the database is gone, for the spool's connections as well, or this
 * coordinator is stopping.
 * /metrics asks the database for the series of all nodes (one query for all scrapes that wait); while it is gone the
 * last ones known are given.
 */
#include <event2/event.h>
#include "common/metrics.h"
#include "coordinator/cluster.h"
#include "coordinator/dashboard/dashboard.h"
#include "coordinator/db.h"
#include "coordinator/spool/spool.h"

#define HTTP_HEADERS_MAX 8192
#define HTTP_BODY_MAX    DASHBOARD_BODY_MAX
#define HTTP_TIMEOUT_S   10

struct http;

struct http_options {
    struct event_base *base;
    const char *listen; /* "127.0.0.1:7080" */
    const char *name;   /* this coordinator; borrowed */
    struct db *db, *desk; /* desk: only asked whether it is up */
    struct db *const *deciders; /* LIMITS_CONNECTIONS; the same */
    const struct cluster *cluster;
    const struct spool *spool;
    struct dashboard *dashboard;
    uint64_t node_timeout_ms;
    size_t connections_max;  /* open at once; over it the oldest one is ended */
    size_t waiting_max;      /* scrapes waiting for the database; over it 503 */
    struct metrics *metrics; /* this process's own series, given with node="NAME" */
};

struct http *http_new(const struct http_options *options, struct error *why);
void http_free(struct http **http); /* after the db */
/* Heartbeats do not wait for the disk: after a crash the database may have older counters than were shown. So for a
 * moment the last ones known are given still. */
void http_database_up(struct http *http);
void http_drain(struct http *http); /* /readyz says 503 from now on */

#endif

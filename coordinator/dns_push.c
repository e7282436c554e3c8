/*
 * dns_push.c - see dns_push.h
 *
 *     look (a query) --due--> nsupdate --its end--> result (a query) --> look
 *       |'--a name of before is to go--> nsupdate --its end--> result of that --> look
 *       '--not due: LOOK_MS later
 */
#include "coordinator/dns_push.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/dns_records.h"
#include "coordinator/nsupdate.h"

#define LOOK_MS  500
#define IDLE_MS  5000  /* with nothing to push */
#define PAUSE_MS 10000 /* after a push that failed; less where dns_interval is */

/* What the database said at the last look. */
struct found {
    char *addresses, *nodes; /* JSON arrays; NULL: it did not say */
    bool differs, adds, known;
    uint64_t age_ms; /* of the last push, where one is known */
    uint64_t asked, done;
};

/* A name that the edges had before. */
struct former {
    char *name, *zone, *server; /* NULL: none is to go */
    json_t *addresses;          /* that are to */
};

struct dns_push {
    struct dns_push_options options;
    struct event *timer;
    struct nsupdate *nsupdate; /* NULL: none under way */
    struct found found;        /* of the look that led to the push, while one is under way */
    struct former former;      /* of that look */
    char *failed_addresses;    /* what the last push, if it failed, was of; NULL: it did not */
    uint64_t failed_ms;
    bool leads, asking, pushed_once, kept;
    struct metric *pushed, *failed, *addresses, *keeps, *pushed_at;
};

static void on_timer(evutil_socket_t fd, short what, void *arg);

struct dns_push *dns_push_new(const struct dns_push_options *options)
{
    struct dns_push *push = xcalloc(1, sizeof *push);
    push->options = *options;
    push->timer = evtimer_new(options->base, on_timer, push);
    push->pushed = metrics_counter(options->metrics, "weir_dns_pushes_total", "result=\"done\"");
    push->failed = metrics_counter(options->metrics, "weir_dns_pushes_total", "result=\"failed\"");
    push->addresses = metrics_gauge(options->metrics, "weir_dns_addresses", NULL);
    push->keeps = metrics_gauge(options->metrics, "weir_dns_kept", NULL);
    push->pushed_at = metrics_gauge(options->metrics, "weir_dns_pushed_timestamp_seconds", NULL);
    return push;
}

static void forget_found(struct dns_push *push)
{
    free(push->found.addresses);
    free(push->found.nodes);
    push->found = (struct found){ 0 };
}

static void forget_former(struct dns_push *push)
{
    free(push->former.name);
    free(push->former.zone);
    free(push->former.server);
    json_decref(push->former.addresses);
    push->former = (struct former){ 0 };
}

static void forget_failure(struct dns_push *push)
{
    free(push->failed_addresses);
    push->failed_addresses = NULL;
}

void dns_push_free(struct dns_push **freed)
{
    struct dns_push *push = *freed;
    *freed = NULL;
    if (push == NULL)
        return;
    nsupdate_free(&push->nsupdate);
    forget_found(push);
    forget_former(push);
    forget_failure(push);
    event_free(push->timer);
    free(push);
}

static void look_later(struct dns_push *push, unsigned ms)
{
    if (ms == LOOK_MS && *push->options.settings->dns_server == '\0')
        ms = IDLE_MS;
    if (push->leads && !push->asking && push->nsupdate == NULL)
        event_add(push->timer, &(struct timeval){ ms / 1000, ms % 1000 * 1000 });
}

void dns_push_lead(struct dns_push *push, bool leads)
{
    bool begins = leads && !push->leads;
    push->leads = leads;
    if (begins) {
        push->pushed_once = push->kept = false;
        forget_failure(push);
        look_later(push, 0);
    } else if (!leads) {
        nsupdate_free(&push->nsupdate);
        if (!push->asking)
            forget_found(push);
        event_del(push->timer);
        metric_set(push->addresses, 0);
        metric_set(push->keeps, 0);
        metric_set(push->pushed_at, 0);
    }
}

/* ---- what came of it ---- */

static void on_told(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct dns_push *push = arg;
    push->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: dns: %s", error->why.text);
    if (outcome != DB_OK) /* nobody knows of the push: once more */
        push->pushed_once = false;
    forget_found(push);
    look_later(push, LOOK_MS);
}

static void tell(struct dns_push *push, const char *failure)
{
    char asked[24];
    snprintf(asked, sizeof asked, "%llu", (unsigned long long)push->found.asked);
    const char *const values[] = { push->options.name, asked, push->options.settings->dns_server, push->found.addresses, push->found.nodes, failure };
    push->asking = true;
    struct db_unit *unit = db_begin(push->options.db, on_told, push);
    db_query(unit, "SELECT dns_result($1, $2::bigint, $3, $4::json, $5::json, $6)", sizeof values / sizeof *values, values, NULL);
    db_commit(unit);
}

static void note_failure(struct dns_push *push, const char *failure)
{
    const struct dns_settings *settings = push->options.settings;
    metric_add(push->failed, 1);
    log_write(LOG_ERR, "dns: %s was not updated at %s: %s", settings->dns_name, settings->dns_server, failure);
    forget_failure(push);
    push->failed_addresses = xstrdup(push->found.addresses);
    push->failed_ms = clock_ms();
}

static void on_pushed(void *arg, const char *failure)
{
    struct dns_push *push = arg;
    const struct dns_settings *settings = push->options.settings;
    push->nsupdate = NULL;
    if (failure != NULL) {
        note_failure(push, failure);
    } else {
        metric_add(push->pushed, 1);
        metric_set(push->pushed_at, (double)clock_wall_ms() / 1000);
        log_write(push->found.differs ? LOG_NOTICE : LOG_DEBUG, "dns: %s has %s, at %s", settings->dns_name, push->found.addresses, settings->dns_server);
        forget_failure(push);
        push->pushed_once = true;
    }
    tell(push, failure);
}

/* ---- names of before ---- */

static void on_former_told(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct dns_push *push = arg;
    push->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: dns: %s", error->why.text);
    look_later(push, LOOK_MS);
}

static void on_removed(void *arg, const char *failure)
{
    struct dns_push *push = arg;
    const char *const values[] = { push->former.name, failure };
    push->nsupdate = NULL;
    metric_add(failure == NULL ? push->pushed : push->failed, 1);
    if (failure == NULL)
        log_write(LOG_NOTICE, "dns: %s, the edges' name of before, has no addresses of theirs any more, at %s", push->former.name, push->former.server);
    else
        log_write(LOG_ERR, "dns: the addresses of %s, the edges' name of before, were not taken away at %s: %s", push->former.name, push->former.server, failure);
    push->asking = true;
    struct db_unit *unit = db_begin(push->options.db, on_former_told, push);
    db_query(unit, "SELECT dns_former_result($1, $2)", 2, values, NULL);
    db_commit(unit);
    forget_former(push);
}

static void remove_former(struct dns_push *push)
{
    const struct dns_settings *settings = push->options.settings;
    struct dns_update update = { push->former.server, push->former.zone, push->former.name, 0 };
    struct text script;
    struct error why;
    text_init(&script);
    if (dns_removal_script(&script, &update, push->former.addresses))
        push->nsupdate = nsupdate_start(push->options.base, script.data, settings->dns_tsig_file, settings->dns_push_timeout, on_removed, push, &why);
    else
        error_set(&why, "this is no server");
    if (push->nsupdate == NULL)
        on_removed(push, why.text);
    text_fini(&script);
}

static void on_former(void *arg, const PGresult *result)
{
    struct dns_push *push = arg;
    forget_former(push);
    if (PQntuples(result) == 1)
        push->former = (struct former){ xstrdup(PQgetvalue(result, 0, 0)), xstrdup(PQgetvalue(result, 0, 1)), xstrdup(PQgetvalue(result, 0, 2)),
                                        json_loads(PQgetvalue(result, 0, 3), 0, NULL) };
}

/* ---- looking ---- */

/* The script is never without an address: then nothing is pushed. */
static void begin(struct dns_push *push, const json_t *addresses)
{
    const struct dns_settings *settings = push->options.settings;
    struct dns_update update = { settings->dns_server, settings->dns_zone, settings->dns_name, settings->dns_ttl / 1000 };
    struct text script;
    struct error why;
    text_init(&script);
    if (!dns_update_script(&script, &update, addresses))
        error_set(&why, "no edge is healthy, and a name without addresses would take the site off: the last ones stay");
    else
        push->nsupdate =
            nsupdate_start(push->options.base, script.data, settings->dns_tsig_file, settings->dns_push_timeout, on_pushed, push, &why);
    if (push->nsupdate == NULL) {
        note_failure(push, why.text);
        tell(push, why.text);
    }
    text_fini(&script);
}

static bool is_due(const struct dns_push *push)
{
    const struct dns_settings *settings = push->options.settings;
    const struct found *found = &push->found;
    uint64_t pause = settings->dns_interval < PAUSE_MS ? settings->dns_interval : PAUSE_MS;
    if (found->asked > found->done)
        return true;
    if (push->failed_addresses != NULL && strcmp(push->failed_addresses, found->addresses) == 0 && clock_ms() - push->failed_ms < pause)
        return false;
    if (!push->pushed_once || push->failed_addresses != NULL || !found->known || found->age_ms >= settings->dns_interval)
        return true;
    return found->differs && (!found->adds || found->age_ms >= settings->dns_ttl);
}

static void set_kept(struct dns_push *push, bool kept)
{
    if (kept && !push->kept)
        log_write(LOG_ERR, "dns: no edge is healthy: %s keeps the addresses it has", push->options.settings->dns_name);
    push->kept = kept;
    metric_set(push->keeps, kept ? 1 : 0);
}

static void on_found(void *arg, const PGresult *result)
{
    struct dns_push *push = arg;
    forget_found(push);
    if (PQntuples(result) != 1)
        return;
    push->found = (struct found){
        .addresses = xstrdup(PQgetvalue(result, 0, 0)),
        .nodes = xstrdup(PQgetvalue(result, 0, 1)),
        .differs = strcmp(PQgetvalue(result, 0, 2), "t") == 0,
        .adds = strcmp(PQgetvalue(result, 0, 3), "t") == 0,
        .known = !PQgetisnull(result, 0, 4),
        .age_ms = strtoull(PQgetvalue(result, 0, 4), NULL, 10),
        .asked = strtoull(PQgetvalue(result, 0, 5), NULL, 10),
        .done = strtoull(PQgetvalue(result, 0, 6), NULL, 10),
    };
}

static void on_look_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct dns_push *push = arg;
    json_error_t why;
    push->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: dns: %s", error->why.text);
    json_t *addresses = outcome == DB_OK && push->leads && push->found.addresses != NULL && *push->options.settings->dns_server != '\0'
                            ? json_loads(push->found.addresses, 0, &why)
                            : NULL;
    if (addresses != NULL) {
        size_t count = json_array_size(addresses);
        metric_set(push->addresses, (double)count);
        set_kept(push, count == 0);
        if (is_due(push) && (count > 0 || push->found.asked > push->found.done))
            begin(push, addresses);
        if (push->nsupdate == NULL && !push->asking && push->former.name != NULL)
            remove_former(push);
    }
    json_decref(addresses);
    if (push->nsupdate == NULL && !push->asking)
        forget_found(push);
    look_later(push, LOOK_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dns_push *push = arg;
    const struct dns_settings *settings = push->options.settings;
    char silence[32], wait[32], ttl[24], former_wait[32], pause[32];
    snprintf(former_wait, sizeof former_wait, "%llu ms", (unsigned long long)settings->dns_former_wait);
    snprintf(pause, sizeof pause, "%llu ms", (unsigned long long)settings->dns_interval);
    snprintf(silence, sizeof silence, "%llu ms", (unsigned long long)push->options.node_timeout_ms);
    snprintf(wait, sizeof wait, "%llu ms", (unsigned long long)settings->drain_dns_wait);
    snprintf(ttl, sizeof ttl, "%llu", (unsigned long long)settings->dns_ttl / 1000);
    const char *const values[] = { silence, settings->dns_name, settings->dns_zone, settings->dns_server, ttl, wait };
    push->asking = true;
    struct db_unit *unit = db_begin(push->options.db, on_look_done, push);
    db_query(unit,
             "SELECT addresses, nodes, differs, adds, age_ms, asked, done FROM dns_look($1::interval, $2, $3, $4, $5::bigint, $6::interval)",
             sizeof values / sizeof *values, values, on_found);
    const char *const waits[] = { former_wait, pause };
    db_query(unit, "SELECT name, zone, server, addresses FROM dns_former_due($1::interval, $2::interval)", 2, waits, on_former);
    db_commit(unit);
}

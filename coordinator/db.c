/*
 * db.c - one PostgreSQL connection in non-blocking pipeline mode inside a libevent loop
 *
 *     PAUSED --timer--> CONNECTING --polled ok--> SETTING_UP --script done, pipeline on--> UP
 *        ^                  |                          |                                    |
 *        +---- db_lost -----+--------------------------+------------------------------------+
 *
 * libpq names neither the query nor the sync a result belongs to, so `sent` holds one entry for each in the order they
 * were sent. Only db_enter() writes the state. Handlers only queue; db_pump runs from the loop.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/db.h"
#include "coordinator/text.h"

/* Unless the conninfo has others: a host that is gone while a setup takes long is noticed within a minute. */
#define KEEPALIVES "keepalives_idle=30 keepalives_interval=10 keepalives_count=3"
#define KEPT_MAX   65536 /* bytes of a unit's values: copying larger ones, as bodies, would cost more than it helps */

enum db_state { DB_PAUSED, DB_CONNECTING, DB_SETTING_UP, DB_UP };

/* A query as it was asked for, with its values behind it: to be sent once more. */
struct db_call {
    struct db_statement *statement;
    size_t count;
    bool binary_rows;
    db_rows_handler rows;
    STAILQ_ENTRY(db_call) link;
    struct db_value values[];
};

struct db_unit {
    struct db *db;
    db_done_handler done;
    void *arg;
    uint64_t begun_us;
    bool dead; /* the connection was not there: nothing is sent, done says DB_LOST */
    bool failed;
    bool alone; /* committed, and maybe not at the standby */
    struct db_error error;
    STAILQ_HEAD(, db_call) calls; /* empty: not kept, as they are large */
    size_t kept;                  /* bytes of them, or what they would be */
    unsigned call_count, repeats;
    bool told;                    /* a rows handler was called, which may not be twice */
};

/* A text that was sent before. In use by name only when it is known to have that name: a unit that failed may have been
 * refused before it came to the naming. */
struct db_statement {
    char *sql, name[16];
    enum { STATEMENT_NEW, STATEMENT_SEEN, STATEMENT_ASKED, STATEMENT_READY } state;
    SLIST_ENTRY(db_statement) link;
};

struct db_entry {
    struct db_unit *unit;
    bool sync;
    struct db_statement *named;    /* it was ready, and sent as this; NULL: as a text */
    char name[16];                 /* that it had then */
    struct db_statement *prepares; /* what gets its name here; NULL: a query or sync */
    db_rows_handler rows;
    struct db_entry *next;
};

struct db_queue {
    struct db_entry *first, **last;
};

struct db {
    struct event_base *base;
    struct db_options options;
    char *conninfo, *application_name, *setup;
    char identity[sizeof ((struct lineage *)0)->newest]; /* of the server that is connected */
    enum db_state state;
    PGconn *conn;
    struct event *readable, *writable, *pump, *timer, *watch;
    uint64_t state_since_ms; /* monotonic */
    uint64_t answered_ms;    /* last time the head of `sent` moved, or the setup went on */
    bool at_work;            /* the setup said what it does, which takes as long as it takes */
    uint64_t pause_ms;
    unsigned turns;           /* how far the host list is turned */
    struct db_queue sent;     /* in flight */
    struct db_queue stranded; /* entries of units that were begun while not up, or lost: told in the next turn */
    struct db_unit *open;     /* between begin and commit */
    SLIST_HEAD(, db_statement) statements;
    unsigned statement_count;
    bool lost_soon;           /* a send failed: the pump ends the connection */
    char last_error[512];
    struct metric *up, *reconnects, *connect_timeouts, *setup_timeouts, *answer_timeouts, *ok, *failed, *lost, *stale, *former, *pending,
        *seconds;
};

static void on_ready(evutil_socket_t fd, short what, void *arg);
static void on_pump(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);
static void on_watch(evutil_socket_t fd, short what, void *arg);
static void db_lost(struct db *db, const char *why);

static void queue_push(struct db_queue *queue, struct db_entry *entry)
{
    entry->next = NULL;
    *queue->last = entry;
    queue->last = &entry->next;
}

static struct db_entry *queue_pop(struct db_queue *queue)
{
    struct db_entry *entry = queue->first;
    queue->first = entry->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    return entry;
}

static void kick(struct db *db)
{
    event_add(db->pump, &(struct timeval){ 0, 0 });
}

static void on_notice(void *arg, const PGresult *notice)
{
    struct db *db = arg;
    const char *function = PQresultErrorField(notice, PG_DIAG_SOURCE_FUNCTION);
    /* Somebody cancelled a commit's wait for its standby. PostgreSQL says that it is committed, and only in this warning, whose text is in any
     * language, that it may be here alone: a standby that is promoted would not have what we acknowledge. */
    if (function != NULL && strcmp(function, "SyncRepWaitForLSN") == 0 && db->sent.first != NULL)
        db->sent.first->unit->alone = true;
    db->answered_ms = clock_ms();
    /* Migrations say which one runs. One that is left is rolled back and begun again, so one that takes long would never end. */
    db->at_work = db->state == DB_SETTING_UP;
    log_write(LOG_DEBUG, "database: %s", PQresultErrorMessage(notice));
}

/* A process has one connection without labels, and maybe others with some. */
static void make_metrics(struct db *db)
{
    struct metrics *metrics = db->options.metrics;
    const char *own = db->options.labels != NULL ? db->options.labels : "", *comma = *own != '\0' ? "," : "";
    db->up = metrics_gauge(metrics, "weir_db_up", "%s", own);
    db->reconnects = metrics_counter(metrics, "weir_db_connections_total", "%s", own);
    db->connect_timeouts = metrics_counter(metrics, "weir_db_timeouts_total", "%s%swaiting_for=\"connection\"", own, comma);
    db->setup_timeouts = metrics_counter(metrics, "weir_db_timeouts_total", "%s%swaiting_for=\"setup\"", own, comma);
    db->answer_timeouts = metrics_counter(metrics, "weir_db_timeouts_total", "%s%swaiting_for=\"answer\"", own, comma);
    db->ok = metrics_counter(metrics, "weir_db_units_total", "%s%soutcome=\"ok\"", own, comma);
    db->failed = metrics_counter(metrics, "weir_db_units_total", "%s%soutcome=\"failed\"", own, comma);
    db->lost = metrics_counter(metrics, "weir_db_units_total", "%s%soutcome=\"lost\"", own, comma);
    db->stale = metrics_counter(metrics, "weir_db_statements_stale_total", "%s", own);
    db->former = metrics_counter(metrics, "weir_db_former_primaries_total", "%s", own);
    db->pending = metrics_gauge(metrics, "weir_db_units_pending", "%s", own);
    db->seconds = metrics_histogram(metrics, "weir_db_unit_seconds", metrics_seconds_bounds, metrics_seconds_count, "%s", own);
}

struct db *db_new(struct event_base *base, const struct db_options *options)
{
    struct db *db = xcalloc(1, sizeof *db);
    db->base = base;
    db->options = *options;
    db->conninfo = xstrdup(options->conninfo);
    db->application_name = xstrdup(options->application_name);
    /* Its idle timers run only after a unit's end: of a machine that is gone in the middle of one PostgreSQL hears from TCP alone, by default after two hours. */
    unsigned long long session_ms = options->session_timeout_ms, part_s = session_ms / 8000 > 0 ? session_ms / 8000 : 1;
    db->setup = xasprintf("SET idle_in_transaction_session_timeout = %llu; SET tcp_keepalives_idle = %llu; SET tcp_keepalives_interval = %llu; SET tcp_keepalives_count = 4;"
                          " SET tcp_user_timeout = %llu; %s %s;",
                          session_ms, part_s * 4, part_s, session_ms, options->setup, options->identity != NULL ? options->identity : "SELECT cluster_identity()");
    db->sent.last = &db->sent.first;
    db->stranded.last = &db->stranded.first;
    db->pump = evtimer_new(base, on_pump, db);
    db->timer = evtimer_new(base, on_timer, db);
    db->watch = event_new(base, -1, EV_PERSIST, on_watch, db);
    event_add(db->watch, &(struct timeval){ 1, 0 });
    make_metrics(db);
    if (!options->later)
        db_start(db);
    return db;
}

void db_start(struct db *db)
{
    if (db->state == DB_PAUSED && !evtimer_pending(db->timer, NULL))
        event_add(db->timer, &(struct timeval){ 0, 0 });
}

bool db_is_up(const struct db *db)
{
    return db->state == DB_UP;
}

const char *db_last_error(const struct db *db)
{
    return db->last_error;
}

static void db_enter(struct db *db, enum db_state state)
{
    db->state = state;
    db->at_work = false;
    db->state_since_ms = db->answered_ms = clock_ms();
    metric_set(db->up, state == DB_UP ? 1 : 0);
}

/* --- connecting --- */

static void db_watch_socket(struct db *db, short what)
{
    if (db->readable != NULL)
        event_free(db->readable);
    if (db->writable != NULL)
        event_free(db->writable);
    db->writable = NULL;
    /* Made anew each time: PQconnectPoll may have changed the socket. */
    db->readable = event_new(db->base, PQsocket(db->conn), (short)(what | EV_PERSIST), on_ready, db);
    event_add(db->readable, NULL);
}

static void db_connect(struct db *db)
{
    struct error why = { "" };
    char *rotated = db_conninfo_rotate(db->conninfo, db->turns, &why);
    if (rotated == NULL) {
        db_lost(db, why.text);
        return;
    }
    char *conninfo = xasprintf(KEEPALIVES " %s fallback_application_name='%s'", rotated, db->application_name);
    free(rotated);
    db_enter(db, DB_CONNECTING);
    metric_add(db->reconnects, 1);
    db->conn = PQconnectStart(conninfo);
    free(conninfo);
    if (db->conn == NULL)
        fatal("out of memory");
    if (PQstatus(db->conn) == CONNECTION_BAD) {
        db_lost(db, PQerrorMessage(db->conn));
        return;
    }
    PQsetNoticeReceiver(db->conn, on_notice, db);
    db_watch_socket(db, EV_WRITE);
}

static void db_set_up(struct db *db)
{
    /* The setup script has many statements, which only the simple protocol takes: it runs before pipeline mode. */
    db_enter(db, DB_SETTING_UP);
    if (PQsetnonblocking(db->conn, 1) != 0 || PQsendQuery(db->conn, db->setup) != 1) {
        db_lost(db, PQerrorMessage(db->conn));
        return;
    }
    db_watch_socket(db, EV_READ);
    kick(db);
}

static void db_poll_connect(struct db *db)
{
    switch (PQconnectPoll(db->conn)) {
    case PGRES_POLLING_READING:
        db_watch_socket(db, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        db_watch_socket(db, EV_WRITE);
        break;
    case PGRES_POLLING_OK:
        db_set_up(db);
        break;
    default:
        db_lost(db, PQerrorMessage(db->conn));
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    kick(arg);
}

/* Sends what libpq holds; false when the connection is gone. */
static bool db_flush(struct db *db)
{
    int left = PQflush(db->conn); /* 0 sent, 1 socket full, -1 broken */
    if (left < 0) {
        db_lost(db, PQerrorMessage(db->conn));
        return false;
    }
    if (left > 0) {
        if (db->writable == NULL)
            db->writable = event_new(db->base, PQsocket(db->conn), EV_WRITE, on_writable, db);
        event_add(db->writable, NULL);
    }
    return true;
}

/* Result of the setup: of cluster_identity(), its last. */
static bool db_take_identity(struct db *db, const PGresult *result)
{
    if (PQntuples(result) != 1 || strcmp(PQfname(result, 0), "cluster_identity") != 0)
        return true;
    snprintf(db->identity, sizeof db->identity, "%s", PQgetvalue(result, 0, 0));
    return lineage_accept(db->options.lineage, db->identity);
}

static void db_leave_former_primary(struct db *db)
{
    struct error why;
    metric_add(db->former, 1);
    error_set(&why, "%s is a former primary (%s): %s was seen since", PQhost(db->conn), db->identity, db->options.lineage->newest);
    db_lost(db, why.text);
}

static void db_pump_setup(struct db *db)
{
    while (!PQisBusy(db->conn)) {
        PGresult *result = PQgetResult(db->conn);
        db->answered_ms = clock_ms();
        if (PQstatus(db->conn) == CONNECTION_BAD) {
            PQclear(result);
            db_lost(db, PQerrorMessage(db->conn));
            return;
        }
        if (result == NULL) {
            if (PQenterPipelineMode(db->conn) != 1) {
                db_lost(db, PQerrorMessage(db->conn));
                return;
            }
            db_enter(db, DB_UP);
            db->pause_ms = 0;
            db->last_error[0] = '\0';
            log_write(LOG_NOTICE, "database: connected to %s", PQhost(db->conn));
            db->options.up(db->options.arg);
            return;
        }
        ExecStatusType status = PQresultStatus(result);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
            char *why = xasprintf("setup: %s", PQresultErrorMessage(result));
            PQclear(result);
            db_lost(db, why);
            free(why);
            return;
        }
        bool usable = db_take_identity(db, result);
        PQclear(result);
        if (!usable) {
            db_leave_former_primary(db);
            return;
        }
    }
    db_flush(db);
}

/* --- running --- */

static void unit_forget_calls(struct db_unit *unit)
{
    while (!STAILQ_EMPTY(&unit->calls)) {
        struct db_call *call = STAILQ_FIRST(&unit->calls);
        STAILQ_REMOVE_HEAD(&unit->calls, link);
        free(call);
    }
}

static void unit_finish(struct db_unit *unit, enum db_outcome outcome)
{
    struct db *db = unit->db;
    metric_add(outcome == DB_OK ? db->ok : outcome == DB_FAILED ? db->failed : db->lost, 1);
    metric_add(db->pending, -1);
    if (outcome == DB_OK)
        metric_observe(db->seconds, (double)(clock_us() - unit->begun_us) / 1e6);
    if (unit->done != NULL)
        unit->done(unit->arg, outcome, &unit->error);
    unit_forget_calls(unit);
    free(unit);
}

static void unit_send(struct db_unit *unit, struct db_statement *statement, size_t count, const struct db_value *values, bool binary_rows,
                      db_rows_handler rows);

/* Once for each of its queries at most, as each may be stale. */
static bool unit_repeat(struct db_unit *unit)
{
    if (!unit->error.stale || unit->told || STAILQ_EMPTY(&unit->calls) || unit->repeats++ == unit->call_count)
        return false;
    unit->failed = false;
    unit->error = (struct db_error){ 0 };
    unit->db->open = unit;
    const struct db_call *call;
    STAILQ_FOREACH(call, &unit->calls, link)
    {
        unit_send(unit, call->statement, call->count, call->values, call->binary_rows, call->rows);
    }
    db_commit(unit);
    return true;
}

static bool is_of_class(const struct db_error *error, const char *const *classes)
{
    for (; *classes != NULL; classes++)
        if (strncmp(error->sqlstate, *classes, strlen(*classes)) == 0)
            return true;
    return false;
}

/* The schema changed behind a statement's back, as in a rolling upgrade: its result has other columns, it is gone, what it names has other types of
 * parameters, or one of these is gone and was made anew by its name. With a position in its own text, as what a function does may be wrong for good. */
static bool is_stale(const struct db_error *error, const PGresult *result)
{
    static const char *const states[] = { "0A000", "26000", NULL };
    static const char lost_type[] = "cache lookup failed for type"; /* PostgreSQL has no better word for it, and no translation */
    return is_of_class(error, states) ||
           (strcmp(error->sqlstate, "XX000") == 0 && strncmp(error->why.text, lost_type, strlen(lost_type)) == 0) ||
           (strncmp(error->sqlstate, "42", 2) == 0 && PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION) != NULL);
}

static void statement_rename(struct db *db, struct db_statement *statement)
{
    snprintf(statement->name, sizeof statement->name, "weir_%u", ++db->statement_count);
}

/* By another name, as units behind this one may still go to the old one, and that it is there is not certain. */
static void statement_prepare_anew(struct db *db, const struct db_entry *entry)
{
    struct db_statement *statement = entry->named;
    if (strcmp(entry->name, statement->name) != 0)
        return; /* another unit saw it first */
    metric_add(db->stale, 1);
    log_write(LOG_NOTICE, "database: prepared anew, as it does not fit any more: %.100s: %s %s", statement->sql, entry->unit->error.sqlstate, entry->unit->error.why.text);
    statement_rename(db, statement);
    statement->state = STATEMENT_SEEN;
}

static void entry_failed(struct db *db, struct db_entry *entry, const PGresult *result)
{
    struct db_unit *unit = entry->unit;
    if (unit->failed || PQresultStatus(result) == PGRES_PIPELINE_ABORTED)
        return;
    unit->failed = true;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (sqlstate != NULL)
        memcpy(unit->error.sqlstate, sqlstate, strnlen(sqlstate, 5));
    error_set(&unit->error.why, "%s", message != NULL ? message : PQresultErrorMessage(result));
    if (strcmp(unit->error.sqlstate, "25006") == 0)
        db->lost_soon = true; /* the server became a standby: the new primary is another host of the conninfo */
    unit->error.stale = entry->named != NULL && is_stale(&unit->error, result);
    if (unit->error.stale)
        statement_prepare_anew(db, entry);
}

static void db_take_result(struct db *db, PGresult *result)
{
    struct db_entry *entry = db->sent.first;
    db->answered_ms = clock_ms();
    if (result == NULL) {
        free(queue_pop(&db->sent)); /* NULL ends one query, not the pipeline */
        return;
    }
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        queue_pop(&db->sent);
        if (!entry->unit->failed)
            unit_finish(entry->unit, entry->unit->alone ? DB_LOST : DB_OK);
        else if (!unit_repeat(entry->unit))
            unit_finish(entry->unit, DB_FAILED);
        free(entry);
        break;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (entry->prepares != NULL)
            entry->prepares->state = STATEMENT_READY;
        if (entry->rows != NULL) {
            entry->unit->told = true;
            entry->rows(entry->unit->arg, result);
        }
        break;
    default:
        if (entry->prepares != NULL)
            entry->prepares->state = STATEMENT_SEEN;
        entry_failed(db, entry, result);
    }
    PQclear(result);
}

static void db_take_notifications(struct db *db)
{
    PGnotify *notify;
    while (db->state == DB_UP && (notify = PQnotifies(db->conn)) != NULL) {
        db->options.notified(db->options.arg, notify->relname);
        PQfreemem(notify);
    }
}

static void db_pump(struct db *db)
{
    /* Results first: an aborted pipeline makes them itself, with no byte to wake us. */
    while (db->sent.first != NULL && !PQisBusy(db->conn)) {
        PGresult *result = PQgetResult(db->conn);
        if (PQstatus(db->conn) == CONNECTION_BAD) {
            char *why = xstrdup(result != NULL ? PQresultErrorMessage(result) : PQerrorMessage(db->conn));
            PQclear(result);
            db_lost(db, why); /* else this loop may never end */
            free(why);
            return;
        }
        if (result == NULL && db->sent.first->sync)
            break; /* nothing ends here: the sync's result is not in yet */
        db_take_result(db, result);
    }
    if (db->lost_soon) {
        db_lost(db, "the connection cannot be used any more");
        return;
    }
    db_take_notifications(db);
    db_flush(db);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct db *db = arg;
    if (db->state == DB_CONNECTING) {
        db_poll_connect(db);
        return;
    }
    if (PQconsumeInput(db->conn) != 1) {
        db_lost(db, PQerrorMessage(db->conn));
        return;
    }
    if (db->state == DB_SETTING_UP)
        db_pump_setup(db);
    else
        db_pump(db);
}

static void tell_stranded(struct db *db)
{
    while (db->stranded.first != NULL) {
        struct db_entry *entry = queue_pop(&db->stranded);
        if (entry->sync)
            unit_finish(entry->unit, DB_LOST);
        free(entry);
    }
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct db *db = arg;
    tell_stranded(db);
    if (db->state == DB_UP)
        db_pump(db);
    else if (db->state == DB_SETTING_UP)
        db_pump_setup(db);
}

/* Ends the connection; what was in flight is told in the next loop turn, as callbacks may be running now. */
static void db_lost(struct db *db, const char *why)
{
    bool was_up = db->state == DB_UP;
    char line[sizeof db->last_error];
    snprintf(line, sizeof line, "%s", why);
    for (char *at = line; *at != '\0'; at++)
        if (*at == '\n' || *at == '\t')
            *at = ' ';
    for (size_t len = strlen(line); len > 0 && line[len - 1] == ' '; len--)
        line[len - 1] = '\0';
    if (was_up || strcmp(line, db->last_error) != 0)
        log_write(LOG_WARNING, "database: %s", line);
    memcpy(db->last_error, line, sizeof line);

    if (db->readable != NULL)
        event_free(db->readable);
    if (db->writable != NULL)
        event_free(db->writable);
    db->readable = db->writable = NULL;
    if (db->conn != NULL)
        PQfinish(db->conn);
    db->conn = NULL;
    db->lost_soon = false;
    if (db->open != NULL)
        db->open->dead = true;
    while (db->sent.first != NULL)
        queue_push(&db->stranded, queue_pop(&db->sent));
    struct db_statement *statement;
    SLIST_FOREACH(statement, &db->statements, link)
    {
        statement->state = statement->state == STATEMENT_NEW ? STATEMENT_NEW : STATEMENT_SEEN; /* names are the connection's */
    }

    db->turns++;
    db->pause_ms = db->pause_ms == 0                    ? DB_PAUSE_MIN_MS
                   : db->pause_ms * 2 > DB_PAUSE_MAX_MS ? DB_PAUSE_MAX_MS
                                                        : db->pause_ms * 2;
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (uint32_t)clock_us();
    uint64_t pause =
        db->pause_ms / 2 + random % (db->pause_ms / 2 + 1); /* so that coordinators do not come back in step */
    db_enter(db, DB_PAUSED);
    event_add(db->timer, &(struct timeval){ (time_t)(pause / 1000), (suseconds_t)(pause % 1000 * 1000) });
    kick(db);
    if (was_up)
        db->options.down(db->options.arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct db *db = arg;
    if (db->state == DB_PAUSED)
        db_connect(db);
}

/* A hung server or network gives no event at all, so time-outs are looked at every second. */
static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct db *db = arg;
    uint64_t now = clock_ms();
    if (db->state == DB_CONNECTING && now - db->state_since_ms > db->options.connect_timeout_ms) {
        metric_add(db->connect_timeouts, 1);
        db_lost(db, "connecting timed out");
    } else if (db->state == DB_SETTING_UP && !db->at_work && now - db->answered_ms > db->options.answer_timeout_ms) {
        metric_add(db->setup_timeouts, 1);
        db_lost(db, "setup: no answer in time");
    } else if (db->state == DB_UP && db->sent.first != NULL && now - db->answered_ms > db->options.answer_timeout_ms) {
        metric_add(db->answer_timeouts, 1);
        db_lost(db, "no answer in time");
    } else if (db->state == DB_UP && lineage_is_past(db->options.lineage, db->identity)) {
        db_leave_former_primary(db);
    }
}

struct db_unit *db_begin(struct db *db, db_done_handler done, void *arg)
{
    weir_assert(db->open == NULL);
    struct db_unit *unit = xcalloc(1, sizeof *unit);
    *unit = (struct db_unit){ .db = db, .done = done, .arg = arg, .begun_us = clock_us(), .dead = db->state != DB_UP };
    STAILQ_INIT(&unit->calls);
    metric_add(db->pending, 1);
    return db->open = unit;
}

static void unit_push(struct db_unit *unit, struct db_entry made)
{
    struct db *db = unit->db;
    struct db_entry *entry = xmalloc(sizeof *entry);
    *entry = made;
    entry->unit = unit;
    if (!unit->dead && db->sent.first == NULL)
        db->answered_ms = clock_ms();
    queue_push(unit->dead ? &db->stranded : &db->sent, entry);
}

static struct db_statement *statement_of(struct db *db, const char *sql)
{
    struct db_statement *statement;
    SLIST_FOREACH(statement, &db->statements, link)
    {
        if (strcmp(statement->sql, sql) == 0)
            return statement;
    }
    statement = xcalloc(1, sizeof *statement);
    statement->sql = xstrdup(sql);
    statement_rename(db, statement);
    SLIST_INSERT_HEAD(&db->statements, statement, link);
    return statement;
}

/* Whether it is sent by its name. What is sent a second time gets one, so that PostgreSQL parses and plans it once for each connection; until that
 * is known to have worked it is sent as a text. */
static bool statement_has_name(struct db_unit *unit, struct db_statement *statement)
{
    struct db *db = unit->db;
    if (statement->state == STATEMENT_NEW || statement->state == STATEMENT_ASKED) {
        statement->state = statement->state == STATEMENT_NEW ? STATEMENT_SEEN : STATEMENT_ASKED;
        return false;
    }
    if (statement->state == STATEMENT_SEEN) {
        if (PQsendPrepare(db->conn, statement->name, statement->sql, 0, NULL) != 1)
            db->lost_soon = true;
        statement->state = STATEMENT_ASKED;
        unit_push(unit, (struct db_entry){ .prepares = statement });
    }
    return true;
}

static void unit_send(struct db_unit *unit, struct db_statement *statement, size_t count, const struct db_value *values, bool binary_rows,
                      db_rows_handler rows)
{
    struct db *db = unit->db;
    const char *data[DB_VALUES_MAX];
    int lens[DB_VALUES_MAX], formats[DB_VALUES_MAX];
    struct db_entry entry = { .rows = rows };
    weir_assert(db->open == unit && count <= DB_VALUES_MAX);
    for (size_t i = 0; i < count; i++) {
        weir_assert(values[i].len <= INT_MAX);
        data[i] = values[i].data;
        lens[i] = (int)values[i].len;
        formats[i] = values[i].binary ? 1 : 0;
    }
    if (!unit->dead && !db->lost_soon) {
        bool ready = statement->state == STATEMENT_READY;
        int sent = statement_has_name(unit, statement)
                     ? PQsendQueryPrepared(db->conn, statement->name, (int)count, data, lens, formats, binary_rows)
                     : PQsendQueryParams(db->conn, statement->sql, (int)count, NULL, data, lens, formats, binary_rows);
        if (ready) {
            entry.named = statement;
            memcpy(entry.name, statement->name, sizeof entry.name);
        }
        if (sent != 1)
            db->lost_soon = true;
    }
    unit_push(unit, entry);
}

static size_t value_size(const struct db_value *value)
{
    return value->data == NULL ? 0 : value->binary ? value->len : strlen(value->data) + 1;
}

static void unit_keep(struct db_unit *unit, struct db_statement *statement, size_t count, const struct db_value *values, bool binary_rows,
                      db_rows_handler rows)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += value_size(&values[i]);
    unit->kept += size;
    unit->call_count++;
    if (unit->kept > KEPT_MAX) {
        unit_forget_calls(unit);
        return;
    }
    struct db_call *call = xmalloc(sizeof *call + count * sizeof *values + size);
    *call = (struct db_call){ .statement = statement, .count = count, .binary_rows = binary_rows, .rows = rows };
    char *room = (char *)&call->values[count];
    for (size_t i = 0; i < count; i++) {
        call->values[i] = values[i];
        if (values[i].data == NULL)
            continue;
        size_t len = value_size(&values[i]);
        call->values[i].data = memcpy(room, values[i].data, len);
        room += len;
    }
    STAILQ_INSERT_TAIL(&unit->calls, call, link);
}

void db_query_values(struct db_unit *unit, const char *sql, size_t count, const struct db_value *values,
                     bool binary_rows, db_rows_handler rows)
{
    struct db_statement *statement = statement_of(unit->db, sql);
    unit_send(unit, statement, count, values, binary_rows, rows);
    if (!unit->dead)
        unit_keep(unit, statement, count, values, binary_rows, rows);
}

void db_query(struct db_unit *unit, const char *sql, size_t count, const char *const *values, db_rows_handler rows)
{
    struct db_value texts[DB_VALUES_MAX];
    weir_assert(count <= DB_VALUES_MAX);
    for (size_t i = 0; i < count; i++)
        texts[i] = (struct db_value){ .data = values[i] };
    db_query_values(unit, sql, count, texts, false, rows);
}

void db_commit(struct db_unit *unit)
{
    struct db *db = unit->db;
    weir_assert(db->open == unit);
    db->open = NULL;
    if (!unit->dead && !db->lost_soon && PQpipelineSync(db->conn) != 1)
        db->lost_soon = true;
    unit_push(unit, (struct db_entry){ .sync = true });
    kick(db);
}

bool db_error_is_transient(const struct db_error *error)
{
    static const char *const classes[] = { "08", "40", "53", "55", "57", "58", NULL };
    return error->stale || is_of_class(error, classes) || error->sqlstate[0] == '\0' || strcmp(error->sqlstate, "25006") == 0;
}

bool db_error_is_conflict(const struct db_error *error)
{
    static const char *const states[] = { "40001", "40P01", "55P03", NULL };
    return error->stale || is_of_class(error, states);
}

bool db_error_is_disk_full(const struct db_error *error)
{
    return strcmp(error->sqlstate, "53100") == 0;
}

bool db_error_is_of_values(const struct db_error *error)
{
    static const char *const classes[] = { "21", "22", "23", "54", NULL };
    return is_of_class(error, classes);
}

void db_free(struct db **freed)
{
    struct db *db = *freed;
    *freed = NULL;
    if (db == NULL)
        return;
    if (db->conn != NULL) {
        if (db->readable != NULL)
            event_free(db->readable);
        if (db->writable != NULL)
            event_free(db->writable);
        PQfinish(db->conn);
    }
    db_enter(db, DB_PAUSED);
    while (db->sent.first != NULL)
        queue_push(&db->stranded, queue_pop(&db->sent));
    tell_stranded(db);
    event_free(db->pump);
    event_free(db->timer);
    event_free(db->watch);
    while (!SLIST_EMPTY(&db->statements)) {
        struct db_statement *statement = SLIST_FIRST(&db->statements);
        SLIST_REMOVE_HEAD(&db->statements, link);
        free(statement->sql);
        free(statement);
    }
    free(db->conninfo);
    free(db->application_name);
    free(db->setup);
    free(db);
}

/* --- conninfo --- */

static void add_turned(struct text *out, const char *list, unsigned turns)
{
    size_t count = 1;
    for (const char *at = list; *at != '\0'; at++)
        count += *at == ',';
    for (size_t i = 0; i < count; i++) {
        const char *item = list;
        for (size_t skip = (i + turns) % count; skip > 0; skip--)
            item = strchr(item, ',') + 1;
        text_add(out, i > 0 ? "," : "", i > 0 ? 1 : 0);
        text_add(out, item, strcspn(item, ","));
    }
}

static void add_value(struct text *out, const char *value)
{
    text_puts(out, "'");
    for (; *value != '\0'; value++) {
        if (*value == '\'' || *value == '\\')
            text_puts(out, "\\");
        text_add(out, value, 1);
    }
    text_puts(out, "'");
}

char *db_conninfo_rotate(const char *conninfo, unsigned turns, struct error *why)
{
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &message);
    if (options == NULL) {
        error_set(why, "database: %s", message != NULL ? message : "out of memory");
        PQfreemem(message);
        return NULL;
    }
    struct text out, turned;
    text_init(&out);
    text_init(&turned);
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
        if (option->val == NULL)
            continue;
        bool list = strcmp(option->keyword, "host") == 0 || strcmp(option->keyword, "hostaddr") == 0 ||
                    strcmp(option->keyword, "port") == 0;
        text_reset(&turned);
        add_turned(&turned, option->val, list ? turns : 0);
        text_printf(&out, "%s%s=", out.len > 0 ? " " : "", option->keyword);
        add_value(&out, list ? turned.data : option->val);
    }
    PQconninfoFree(options);
    text_fini(&turned);
    char *result = xstrdup(out.data);
    text_fini(&out);
    return result;
}

/*
 * http.c - GET or HEAD /metrics, /livez, /readyz; all else is the dashboard's
 *
 * A scrape waits in `waiting` for the query in flight. Its connection may close meanwhile, and takes the evhttp_request
 * with it: the close callback forgets it.
 */
#include <event2/buffer.h>
#include <event2/http.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/netaddr.h"
#include "coordinator/exposition.h"
#include "coordinator/http.h"
#include "coordinator/http_door.h"
#include "coordinator/limits.h"
#include "common/process_stats.h"

struct scrape {
    struct http *http;
    struct evhttp_request *request;
    TAILQ_ENTRY(scrape) link;
};

struct known { /* one process's series, as last read */
    char *node, *metrics;
    bool live;
};

struct series { /* a gauge of the cluster as a whole, as last read */
    const char *name;
    char *labels;
    double value;
};

struct tested { /* what the leader's test for open relays said of a listener, as last read */
    char *node, *listener, *endpoint, *verdict;
    double at; /* seconds since 1970 */
};

struct http {
    struct http_options options;
    struct evhttp *server;
    struct http_door *door;
    bool draining, asking;
    uint64_t trust_after_ms; /* until then what was known is newer than what the database has */
    TAILQ_HEAD(, scrape) waiting;
    size_t waiting_count;
    struct known *known;
    size_t known_count;
    struct tested *tested;
    size_t tested_count;
    struct series *series;
    size_t series_count;
    struct process_stats *stats;
    struct metric *ok, *unavailable, *other, *busy;
};

static void reply(struct http *http, struct evhttp_request *request, int code, const char *type, const char *body,
                  size_t len)
{
    metric_add(code == 200 ? http->ok : code == 503 ? http->unavailable : http->other, 1);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evbuffer_add(evhttp_request_get_output_buffer(request), body, len);
    evhttp_send_reply(request, code, NULL, NULL);
}

static void reply_text(struct http *http, struct evhttp_request *request, int code, const char *text)
{
    reply(http, request, code, "text/plain; charset=utf-8", text, strlen(text));
}

/* Forms go to the dashboard only. */
static bool is_read(struct http *http, struct evhttp_request *request)
{
    bool read = evhttp_request_get_command(request) != EVHTTP_REQ_POST;
    if (!read)
        reply_text(http, request, 405, "GET or HEAD\n");
    return read;
}

static void on_livez(struct evhttp_request *request, void *arg)
{
    if (is_read(arg, request))
        reply_text(arg, request, 200, "ok\n");
}

static void on_readyz(struct evhttp_request *request, void *arg)
{
    struct http *http = arg;
    /* One that would tell edges "not now" is not ready: the spool's connections are made after the first one, and may
     * be back later. */
    bool up = db_is_up(http->options.db) && db_is_up(http->options.desk) && spool_is_up(http->options.spool) &&
              cluster_view(http->options.cluster)->epoch != 0;
    for (size_t i = 0; i < LIMITS_CONNECTIONS; i++)
        up = up && db_is_up(http->options.deciders[i]);
    if (!is_read(http, request))
        return;
    if (http->draining)
        reply_text(http, request, 503, "stopping\n");
    else if (!up)
        reply_text(http, request, 503, "the database is not there\n");
    else
        reply_text(http, request, 200, "ok\n");
}

static void on_other(struct evhttp_request *request, void *arg)
{
    struct http *http = arg;
    if (!dashboard_serve(http->options.dashboard, request))
        reply_text(http, request, 404, "there are /, /metrics, /livez and /readyz\n");
}

/* --- metrics --- */

static void add_nodes(struct http *http, struct exposition *exposition)
{
    static const char *const states[] = { "starting", "active", "draining", "drained", "lost" };
    static const char *const roles[] = { "edge", "scanner", "coordinator" };
    const struct cluster_view *view = cluster_view(http->options.cluster);
    unsigned counts[3][5] = { { 0 } };
    for (size_t i = 0; i < view->node_count; i++) {
        const struct cluster_node *node = &view->nodes[i];
        const char *state = node->lost ? "lost" : state_text(node->state);
        for (size_t s = 0; s < 5; s++) {
            bool is = strcmp(state, states[s]) == 0;
            exposition_add_gauge(exposition, "weir_node_state", is ? 1 : 0, "node=\"%s\",state=\"%s\"", node->name,
                                 states[s]);
            for (size_t r = 0; is && r < 3; r++)
                counts[r][s] += strcmp(role_text(node->role), roles[r]) == 0;
        }
    }
    for (size_t r = 0; r < 3; r++)
        for (size_t s = 0; s < 5; s++)
            exposition_add_gauge(exposition, "weir_nodes", counts[r][s], "role=\"%s\",state=\"%s\"", roles[r],
                                 states[s]);
}

static void add_label(struct text *labels, const char *name, const char *value)
{
    text_printf(labels, "%s%s=\"", labels->len > 0 ? "," : "", name);
    for (; *value != '\0'; value++)
        text_printf(labels, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    text_puts(labels, "\"");
}

static void add_tested(const struct http *http, struct exposition *exposition)
{
    static const char *const verdicts[] = { "closed", "open", "unknown" };
    struct text labels;
    text_init(&labels);
    for (size_t i = 0; i < http->tested_count; i++) {
        const struct tested *tested = &http->tested[i];
        text_reset(&labels);
        add_label(&labels, "node", tested->node);
        add_label(&labels, "listener", tested->listener);
        add_label(&labels, "address", tested->endpoint);
        exposition_add_gauge(exposition, "weir_relay_test_timestamp_seconds", tested->at, "%s", labels.data);
        for (size_t v = 0; v < sizeof verdicts / sizeof *verdicts; v++)
            exposition_add_gauge(exposition, "weir_relay_test", strcmp(tested->verdict, verdicts[v]) == 0, "%s,verdict=\"%s\"", labels.data, verdicts[v]);
    }
    text_fini(&labels);
}

static void answer_scrapes(struct http *http)
{
    process_stats_update(http->stats);
    http_door_count(http->door);
    struct exposition *exposition = exposition_new();
    struct text out;
    text_init(&out);
    exposition_add_own(exposition, http->options.name, http->options.metrics);
    for (size_t i = 0; i < http->known_count; i++) {
        struct error why;
        if (!exposition_add_json(exposition, http->known[i].node, http->known[i].live, http->known[i].metrics, &why))
            log_write(LOG_WARNING, "%s", why.text);
    }
    add_nodes(http, exposition);
    add_tested(http, exposition);
    for (size_t i = 0; i < http->series_count; i++)
        exposition_add_gauge(exposition, http->series[i].name, http->series[i].value, "%s", http->series[i].labels);
    exposition_add_conservation(exposition);
    exposition_add_versions(exposition);
    spool_expose(http->options.spool, exposition);
    exposition_render(exposition, &out);
    if (exposition_conflicts(exposition) > 0)
        log_write(LOG_INFO, "%zu samples contradict others in kind or buckets and are left out",
                  exposition_conflicts(exposition));
    exposition_free(&exposition);

    while (!TAILQ_EMPTY(&http->waiting)) {
        struct scrape *scrape = TAILQ_FIRST(&http->waiting);
        TAILQ_REMOVE(&http->waiting, scrape, link);
        evhttp_connection_set_closecb(evhttp_request_get_connection(scrape->request), NULL, NULL);
        reply(http, scrape->request, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
        free(scrape);
    }
    http->waiting_count = 0;
    text_fini(&out);
}

static void forget_known(struct http *http)
{
    for (size_t i = 0; i < http->known_count; i++) {
        free(http->known[i].node);
        free(http->known[i].metrics);
    }
    free(http->known);
    http->known = NULL;
    http->known_count = 0;
}

static void forget_tested(struct http *http)
{
    for (size_t i = 0; i < http->tested_count; i++) {
        free(http->tested[i].node);
        free(http->tested[i].listener);
        free(http->tested[i].endpoint);
        free(http->tested[i].verdict);
    }
    free(http->tested);
    http->tested = NULL;
    http->tested_count = 0;
}

static void on_tested(void *arg, const PGresult *result)
{
    struct http *http = arg;
    forget_tested(http);
    http->tested = xcalloc((size_t)PQntuples(result) + 1, sizeof *http->tested);
    for (int row = 0; row < PQntuples(result); row++)
        http->tested[http->tested_count++] = (struct tested){ .node = xstrdup(PQgetvalue(result, row, 0)),
                                                              .listener = xstrdup(PQgetvalue(result, row, 1)),
                                                              .endpoint = xstrdup(PQgetvalue(result, row, 2)),
                                                              .verdict = xstrdup(PQgetvalue(result, row, 3)),
                                                              .at = strtod(PQgetvalue(result, row, 4), NULL) };
}

static void forget_series(struct http *http)
{
    for (size_t i = 0; i < http->series_count; i++)
        free(http->series[i].labels);
    free(http->series);
    http->series = NULL;
    http->series_count = 0;
}

/* What functions of the database call them. */
static const char *series_name(const char *word)
{
    static const char *const names[][2] = {
        { "canary_ends", "weir_signature_canary_ends" },        { "look_at", "weir_signature_look_timestamp_seconds" },
        { "loading", "weir_signature_loading" },                { "look_failed", "weir_signature_look_failed" },        { "pinned", "weir_signature_pinned" },
        { "refused", "weir_signature_refused" },                { "sets", "weir_signature_sets" },
        { "own_listed", "weir_own_address_listed" },            { "own_checked", "weir_own_address_check_timestamp_seconds" },
        { "dns_drains", "weir_dns_drains_waiting" },            { "dns_former", "weir_dns_former_names" },
        { "own_left_out", "weir_own_addresses_left_out" },
        { "quarantined", "weir_quarantine_messages" },          { "quarantine_oldest", "weir_quarantine_oldest_age_seconds" },
        { "quarantine_bytes", "weir_quarantine_bytes" },        { "quarantine_bodies", "weir_quarantine_bodies" },
        { "quarantine_held", "weir_quarantine_held" },          { "quarantine_left", "weir_quarantine_left" },
        { "conservation", "weir_conservation_difference" },
        { "learn_messages", "weir_learn_messages" },            { "learn_waiting", "weir_learn_waiting" },
        { "learn_refused", "weir_learn_refused" },              { "learn_behind", "weir_learn_behind" },
        { "learn_outdated", "weir_learn_outdated" },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], word) == 0)
            return names[i][1];
    return NULL;
}

static void on_series(void *arg, const PGresult *result)
{
    struct http *http = arg;
    forget_series(http);
    http->series = xcalloc((size_t)PQntuples(result) + 1, sizeof *http->series);
    for (int row = 0; row < PQntuples(result); row++) {
        const char *name = series_name(PQgetvalue(result, row, 0));
        if (name != NULL)
            http->series[http->series_count++] = (struct series){ .name = name, .labels = xstrdup(PQgetvalue(result, row, 1)),
                                                                  .value = strtod(PQgetvalue(result, row, 2), NULL) };
    }
}

static void on_rows(void *arg, const PGresult *result)
{
    struct http *http = arg;
    forget_known(http);
    http->known = xcalloc((size_t)PQntuples(result) + 1, sizeof *http->known);
    for (int row = 0; row < PQntuples(result); row++)
        http->known[http->known_count++] = (struct known){ .node = xstrdup(PQgetvalue(result, row, 0)),
                                                           .live = strcmp(PQgetvalue(result, row, 1), "t") == 0,
                                                           .metrics = xstrdup(PQgetvalue(result, row, 2)) };
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct http *http = arg;
    http->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: metrics: %s", error->why.text);
    answer_scrapes(http);
}

static void on_scrape_closed(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    struct scrape *scrape = arg;
    TAILQ_REMOVE(&scrape->http->waiting, scrape, link);
    scrape->http->waiting_count--;
    free(scrape);
}

static void on_metrics(struct evhttp_request *request, void *arg)
{
    struct http *http = arg;
    if (!is_read(http, request))
        return;
    if (http->waiting_count >= http->options.waiting_max) {
        metric_add(http->busy, 1);
        reply_text(http, request, 503, "too many scrapes at once\n");
        return;
    }
    struct scrape *scrape = xcalloc(1, sizeof *scrape);
    *scrape = (struct scrape){ .http = http, .request = request };
    TAILQ_INSERT_TAIL(&http->waiting, scrape, link);
    http->waiting_count++;
    evhttp_connection_set_closecb(evhttp_request_get_connection(request), on_scrape_closed, scrape);
    if (!db_is_up(http->options.db) || (http->known_count > 0 && clock_ms() < http->trust_after_ms)) {
        answer_scrapes(http);
        return;
    }
    if (http->asking)
        return;
    http->asking = true;
    char silence[32];
    snprintf(silence, sizeof silence, "%llu ms", (unsigned long long)http->options.node_timeout_ms);
    const char *const values[] = { silence };
    struct db_unit *unit = db_begin(http->options.db, on_done, http);
    db_query(unit,
             "SELECT m.node, coalesce(w.boot = m.boot AND w.seen_at > clock_timestamp() - $1::interval, false), "
             "m.metrics::text"
             " FROM node_metrics m JOIN node_known k ON k.name = m.node LEFT JOIN node_worker w ON w.node = m.node AND "
             "w.worker = m.worker"
             " ORDER BY 2 DESC, m.node, m.worker, m.boot",
             1, values, on_rows);
    db_query(unit, "SELECT node, listener, endpoint, verdict, extract(epoch FROM tested_at) FROM relay_test WHERE tested_at IS NOT NULL ORDER BY 1, 2, 3", 0,
             NULL, on_tested);
    db_query(unit, "SELECT name, labels, value FROM signature_gauges() UNION ALL SELECT name, labels, value FROM blocklist_gauges()"
             " UNION ALL SELECT name, labels, value FROM quarantine_gauges() UNION ALL SELECT name, labels, value FROM dns_gauges() UNION ALL SELECT name, labels, value FROM learn_gauges()", 0, NULL, on_series);
    db_commit(unit);
}

/* --- server --- */

struct http *http_new(const struct http_options *options, struct error *why)
{
    struct netaddr address;
    if (!netaddr_parse_endpoint(&address, options->listen, why))
        return NULL;
    struct http *http = xcalloc(1, sizeof *http);
    http->options = *options;
    TAILQ_INIT(&http->waiting);
    http->ok = metrics_counter(options->metrics, "weir_http_requests_total", "code=\"200\"");
    http->unavailable = metrics_counter(options->metrics, "weir_http_requests_total", "code=\"503\"");
    http->other = metrics_counter(options->metrics, "weir_http_requests_total", "code=\"other\"");
    http->busy = metrics_counter(options->metrics, "weir_http_scrapes_refused_total", NULL);
    http->stats = process_stats_new(options->metrics);
    http->server = evhttp_new(options->base);
    evhttp_set_max_headers_size(http->server, HTTP_HEADERS_MAX);
    evhttp_set_max_body_size(http->server, HTTP_BODY_MAX);
    evhttp_set_timeout(http->server, HTTP_TIMEOUT_S);
    evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST);
    evhttp_set_cb(http->server, "/livez", on_livez, http);
    evhttp_set_cb(http->server, "/readyz", on_readyz, http);
    evhttp_set_cb(http->server, "/metrics", on_metrics, http);
    evhttp_set_gencb(http->server, on_other, http);
    char host[NETADDR_TEXT_MAX];
    netaddr_format(&address, host);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http->server, host, address.port);
    if (bound == NULL) {
        error_set(why, "http = %s: cannot listen: %s", options->listen, strerror(errno));
        http_free(&http);
        return NULL;
    }
    http->door = http_door_new(options->base, http->server, bound, options->connections_max, options->metrics);
    return http;
}

void http_free(struct http **freed)
{
    struct http *http = *freed;
    *freed = NULL;
    if (http == NULL)
        return;
    http_door_free(&http->door);
    evhttp_free(http->server);
    while (!TAILQ_EMPTY(&http->waiting)) { /* those whose connection had no close callback called */
        struct scrape *scrape = TAILQ_FIRST(&http->waiting);
        TAILQ_REMOVE(&http->waiting, scrape, link);
        free(scrape);
    }
    forget_known(http);
    forget_tested(http);
    forget_series(http);
    process_stats_free(&http->stats);
    free(http);
}

void http_database_up(struct http *http)
{
    http->trust_after_ms = clock_ms() + http->options.node_timeout_ms;
}

void http_drain(struct http *http)
{
    http->draining = true;
}

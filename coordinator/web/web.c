/*
 * web.c - see web.h: configuration, servers, signals, life
 */
#include "coordinator/web/web.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/input.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/open_files.h"
#include "common/process_stats.h"
#include "common/supervisor.h"
#include "coordinator/exposition.h"
#include "edge/net/net.h"
#include "proto/event_log.h"

#define HEADERS_MAX 16384
#define BODY_MAX    8192
#define TIMEOUT_S   30
#define OTHER_FILES 64
#define DATABASE_CONNECT_MS 3000
#define DATABASE_ANSWER_MS  10000
#define DATABASE_SESSION_MS 60000

enum { ON_TERM, ON_INT, ON_HUP, ON_USR1, SIGNALS };

/* --- configuration --- */

static char *read_conninfo(const struct web_config *config, struct error *why)
{
    char line[4096];
    struct error reason;
    if (*config->own.web_database_file == '\0') {
        if (*config->own.web_database == '\0')
            config_blame(config->source, "web", NULL, "web_database", why,
                         "is empty: it, or web_database_file, must say where PostgreSQL is, as host=/run/postgresql dbname=weir user=weir_web");
        return *config->own.web_database != '\0' ? xstrdup(config->own.web_database) : NULL;
    }
    bool fine = input_read_line(config->own.web_database_file, line, sizeof line, &reason);
    char *conninfo = fine ? xstrdup(line) : NULL;
    if (!fine)
        config_blame(config->source, "web", NULL, "web_database_file", why, "%s: %s", config->own.web_database_file, reason.text);
    explicit_bzero(line, sizeof line);
    return conninfo;
}

static bool load(struct web_config *out, struct error *why)
{
    struct error reason;
    if (!config_fill(out->source, "web", NULL, &out->own, why) || !config_fill(out->source, "cluster", NULL, &out->cluster, why) ||
        !config_fill(out->source, "log", NULL, &out->log, why))
        return false;
    if ((out->conninfo = read_conninfo(out, why)) == NULL)
        return false;
    char *turned = db_conninfo_rotate(out->conninfo, 0, &reason);
    if (turned == NULL)
        config_blame(out->source, "web", NULL, *out->own.web_database_file != '\0' ? "web_database_file" : "web_database", why, "%s", reason.text);
    free(turned);
    return turned != NULL;
}

bool web_config_load(struct web_config *out, const struct command *command, struct error *why)
{
    *out = (struct web_config){ 0 };
    out->source = settings_load(command->config_path, command->overrides, command->override_count, why);
    bool fine = out->source != NULL && load(out, why);
    if (!fine)
        web_config_clear(out);
    return fine;
}

void web_config_clear(struct web_config *config)
{
    config_clear(settings_table("web"), &config->own);
    config_clear(settings_table("cluster"), &config->cluster);
    config_clear(settings_table("log"), &config->log);
    free(config->conninfo);
    config_free(&config->source);
    *config = (struct web_config){ 0 };
}

/* What a start would say of them, with their lines. */
static bool check_certificate(const struct web_config *config, struct error *why)
{
    const struct web_settings *own = &config->own;
    struct error reason;
    if (*own->web_certificate == '\0')
        return true;
    struct net_tls *tls = net_tls_server(own->web_certificate, own->web_key, &reason);
    if (tls == NULL) {
        config_blame(config->source, "web", NULL, strncmp(reason.text, "key ", 4) == 0 ? "web_key" : "web_certificate", why, "%s", reason.text);
        return false;
    }
    net_tls_unref(&tls);
    return settings_check_private(config->source, "web", "web_key", own->web_key, why);
}

bool web_config_files(const struct web_config *config, struct error *why)
{
    return check_certificate(config, why) && settings_check_log(config->source, config->log.file, why);
}

/* --- pages --- */

void web_reply(struct web *web, struct evhttp_request *request, int code, const char *what, const struct text *body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    bool style = strcmp(what, "style") == 0;
    metric_add(metrics_counter(&web->metrics, "weir_web_requests_total", "page=\"%s\",code=\"%d\"", what, code), 1);
    evhttp_add_header(headers, "Content-Type", style ? "text/css; charset=utf-8" : "text/html; charset=utf-8");
    evhttp_add_header(headers, "Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'");
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    evhttp_add_header(headers, "X-Frame-Options", "DENY");
    evhttp_add_header(headers, "Referrer-Policy", "same-origin");
    evhttp_add_header(headers, "Cross-Origin-Opener-Policy", "same-origin");
    evhttp_add_header(headers, "Cross-Origin-Resource-Policy", "same-origin");
    evhttp_add_header(headers, "X-Robots-Tag", "noindex, nofollow");
    evhttp_add_header(headers, "Cache-Control", style ? "public, max-age=3600" : "no-store");
    if (*web->config->own.web_certificate != '\0')
        evhttp_add_header(headers, "Strict-Transport-Security", "max-age=31536000");
    if (code == 503 || code == 429)
        evhttp_add_header(headers, "Retry-After", "30");
    evbuffer_add(evhttp_request_get_output_buffer(request), body->data, body->len);
    evhttp_send_reply(request, code, NULL, NULL);
}

static struct bufferevent *make_secured(struct event_base *base, void *arg)
{
    ERR_clear_error();
    SSL *ssl = SSL_new(arg);
    struct bufferevent *made = ssl != NULL ? bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE) : NULL;
    if (made != NULL)
        bufferevent_openssl_set_allow_dirty_shutdown(made, 1);
    return made;
}

static SSL_CTX *make_tls(const struct web_settings *own, struct error *why)
{
    ERR_clear_error();
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls != NULL && SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 && SSL_CTX_use_certificate_chain_file(tls, own->web_certificate) == 1 &&
        SSL_CTX_use_PrivateKey_file(tls, own->web_key, SSL_FILETYPE_PEM) == 1 && SSL_CTX_check_private_key(tls) == 1)
        return tls;
    error_set(why, "web_certificate = %s, web_key = %s: %s", own->web_certificate, own->web_key, ERR_reason_error_string(ERR_peek_error()));
    ERR_clear_error();
    SSL_CTX_free(tls);
    return NULL;
}

static struct evhttp_bound_socket *listen_at(struct evhttp *server, const char *key, const char *endpoint, struct error *why)
{
    struct netaddr address;
    char host[NETADDR_TEXT_MAX];
    if (!netaddr_parse_endpoint(&address, endpoint, why))
        return NULL;
    netaddr_format(&address, host);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(server, host, address.port);
    if (bound == NULL)
        error_set(why, "%s = %s: cannot listen: %s", key, endpoint, strerror(errno));
    return bound;
}

static struct evhttp *make_server(struct web *web, size_t body, unsigned methods)
{
    struct evhttp *server = evhttp_new(web->base);
    evhttp_set_max_headers_size(server, HEADERS_MAX);
    evhttp_set_max_body_size(server, (ssize_t)body);
    evhttp_set_timeout(server, TIMEOUT_S);
    evhttp_set_allowed_methods(server, (unsigned short)methods);
    return server;
}

/* --- for operators --- */

static void reply_text(struct evhttp_request *request, int code, const char *body, size_t len)
{
    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "text/plain; charset=utf-8");
    evhttp_add_header(evhttp_request_get_output_headers(request), "Cache-Control", "no-store");
    evbuffer_add(evhttp_request_get_output_buffer(request), body, len);
    evhttp_send_reply(request, code, NULL, NULL);
}

static void on_operator(struct evhttp_request *request, void *arg)
{
    struct web *web = arg;
    const char *path = evhttp_request_get_uri(request);
    bool ready = db_is_up(web->db) && !web->stopping;
    if (path != NULL && strcmp(path, "/metrics") == 0) {
        struct exposition *exposition = exposition_new();
        struct text out;
        text_init(&out);
        http_door_count(web->door);
        process_stats_update(web->stats);
        metric_set(web->clients, (double)rate_count(web->rate));
        exposition_add_own(exposition, web->command->name, &web->metrics);
        exposition_render(exposition, &out);
        reply_text(request, 200, out.data, out.len);
        text_fini(&out);
        exposition_free(&exposition);
    } else if (path != NULL && strcmp(path, "/livez") == 0) {
        reply_text(request, 200, "ok\n", 3);
    } else if (path != NULL && strcmp(path, "/readyz") == 0) {
        const char *words = ready ? "ok\n" : "the database is not there, or this process is stopping\n";
        reply_text(request, ready ? 200 : 503, words, strlen(words));
    } else {
        const char *words = "there are /metrics, /livez and /readyz\n";
        reply_text(request, 404, words, strlen(words));
    }
}

/* --- signals --- */

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct web *web = arg;
    web->stopping = true;
    log_write(LOG_NOTICE, "stopping");
    event_base_loopexit(web->base, &(struct timeval){ 0, web->pending > 0 ? 500000 : 0 });
}

static void on_reload(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct web *web = arg;
    struct web_config config;
    struct error why;
    if (!web_config_load(&config, web->command, &why)) {
        log_write(LOG_ERR, "reload: %s; going on as before", why.text);
        return;
    }
    command_open_log(&config.log, web->command->name, "");
    log_write(LOG_NOTICE, "reloaded: [log] is in force; other keys need a restart");
    web_config_clear(&config);
}

static void on_reopen(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    log_reopen();
}

/* --- life --- */

static void on_down(void *arg)
{
    (void)arg; /* whoever uses it asks whether it is up */
}

static void on_rights(void *arg, const PGresult *result)
{
    struct web *web = arg;
    if (PQntuples(result) != 1 || *PQgetvalue(result, 0, 0) == '\0')
        return;
    if (!web->said_rights)
        log_write(LOG_WARNING, "web_database: the role %s may %s; it is to be one that may do what web_grant() gives and nothing else", PQgetvalue(result, 0, 1), PQgetvalue(result, 0, 0));
    web->said_rights = true;
}

static void on_rights_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    (void)arg, (void)outcome, (void)error; /* it is asked with each connection */
}

static void on_up(void *arg)
{
    struct web *web = arg;
    struct db_unit *unit = db_begin(web->db, on_rights_done, web);
    db_query(unit,
             "SELECT CASE WHEN has_table_privilege('web_token', 'SELECT') OR has_table_privilege('quarantine_copy', 'SELECT') THEN 'read tables of the cluster'"
             " WHEN has_schema_privilege(current_schema(), 'CREATE') THEN 'make functions in the cluster''s schema' ELSE '' END, current_user",
             0, NULL, on_rights);
    db_commit(unit);
}

static void make_database(struct web *web)
{
    char *application = xasprintf("weir web %s", web->command->name);
    struct db_options options = {
        .conninfo = web->config->conninfo,
        .application_name = application,
        .setup = "SET jit = off; SET statement_timeout = 9000; SET lock_timeout = 500;",
        .identity = "SELECT web_identity() AS cluster_identity",
        .lineage = &web->lineage,
        .metrics = &web->metrics,
        .connect_timeout_ms = DATABASE_CONNECT_MS,
        .answer_timeout_ms = DATABASE_ANSWER_MS,
        .session_timeout_ms = DATABASE_SESSION_MS,
        .arg = web,
        .up = on_up,
        .down = on_down,
    };
    web->db = db_new(web->base, &options);
    free(application);
}

static void read_url(struct web *web)
{
    const char *url = web->config->own.web_url, *host = strstr(url, "://");
    size_t len = host != NULL ? (size_t)(host + 3 - url) + strcspn(host + 3, "/") : strlen(url);
    web->origin = xstrndup(url, len);
    web->prefix = xstrdup(url + len);
}

static void read_proxies(struct web *web)
{
    const struct config_list *list = &web->config->own.web_proxies;
    web->proxies = xcalloc(list->count + 1, sizeof *web->proxies);
    for (size_t i = 0; i < list->count; i++)
        web->proxy_count += netaddr_prefix_parse(&web->proxies[web->proxy_count], list->items[i], NULL);
}

static bool make(struct web *web, SSL_CTX **tls, struct error *why)
{
    const struct web_settings *own = &web->config->own;
    if (*own->web_certificate != '\0' && (*tls = make_tls(own, why)) == NULL)
        return false;
    read_url(web);
    read_proxies(web);
    snprintf(web->list_entries, sizeof web->list_entries, "%llu", (unsigned long long)own->web_list_entries);
    web->rate = rate_new(own->web_clients, own->web_rate);
    web->parser = mime_parser_new(&MIME_LIMITS_DEFAULT);
    web->stats = process_stats_new(&web->metrics);
    web->limited = metrics_counter(&web->metrics, "weir_web_limited_total", NULL);
    web->busy = metrics_counter(&web->metrics, "weir_web_busy_total", NULL);
    web->refused = metrics_counter(&web->metrics, "weir_web_refused_total", NULL);
    web->cut = metrics_counter(&web->metrics, "weir_web_cut_total", NULL);
    web->clients = metrics_gauge(&web->metrics, "weir_web_clients", NULL);
    web->waiting = metrics_gauge(&web->metrics, "weir_web_requests_pending", NULL);
    make_database(web);
    web->server = make_server(web, BODY_MAX, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST);
    evhttp_set_gencb(web->server, web_visit, web);
    struct evhttp_bound_socket *bound = listen_at(web->server, "web_listen", own->web_listen, why);
    if (bound == NULL)
        return false;
    web->door = http_door_new(web->base, web->server, bound, own->web_connections, &web->metrics);
    if (*tls != NULL)
        http_door_make_by(web->door, make_secured, *tls);
    web->metrics_server = make_server(web, 0, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_gencb(web->metrics_server, on_operator, web);
    if (listen_at(web->metrics_server, "web_metrics", own->web_metrics, why) == NULL)
        return false;
    return *own->web_mail_listen == '\0' || (web->mail = web_mail_new(web, why)) != NULL;
}

static void unmake(struct web *web, SSL_CTX *tls)
{
    if (web->db != NULL)
        db_free(&web->db); /* tells whoever waits for it, while they are there */
    web_mail_free(&web->mail);
    http_door_free(&web->door);
    if (web->server != NULL)
        evhttp_free(web->server);
    if (web->metrics_server != NULL)
        evhttp_free(web->metrics_server);
    rate_free(&web->rate);
    if (web->parser != NULL)
        mime_parser_free(&web->parser);
    if (web->stats != NULL)
        process_stats_free(&web->stats);
    free(web->proxies);
    free(web->prefix);
    free(web->origin);
    SSL_CTX_free(tls);
    metrics_fini(&web->metrics);
    event_base_free(web->base);
}

int web_run(const struct command *command, const struct web_config *config)
{
    static void (*const handlers[SIGNALS])(evutil_socket_t, short, void *) = { on_stop, on_stop, on_reload, on_reopen };
    static const int numbers[SIGNALS] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
    struct event *signals[SIGNALS];
    struct error why;
    SSL_CTX *tls = NULL;
    command_open_log(&config->log, command->name, "");
    open_files_raise(config->own.web_connections + config->own.web_mail_sessions + OTHER_FILES, "web_connections");
    event_log_begin();
    struct web web = { .command = command, .config = config, .base = event_base_new() };
    metrics_init(&web.metrics);
    for (size_t i = 0; i < SIGNALS; i++) {
        signals[i] = evsignal_new(web.base, numbers[i], handlers[i], &web);
        event_add(signals[i], NULL);
    }
    command_take_signals();
    bool made = make(&web, &tls, &why);
    if (made) {
        log_write(LOG_NOTICE, "started: pages at %s", config->own.web_listen);
        supervisor_tell("READY=1");
        event_base_dispatch(web.base);
    } else {
        log_write(LOG_ERR, "%s", why.text);
    }
    for (size_t i = 0; i < SIGNALS; i++)
        event_free(signals[i]);
    unmake(&web, tls);
    return made ? EXIT_SUCCESS : EXIT_FAILURE;
}

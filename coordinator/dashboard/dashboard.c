/*
 * dashboard.c - see dashboard.h: which page, who asks, and the overview
 */
#include "coordinator/dashboard/dashboard.h"
#include <event2/buffer.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/netaddr.h"
#include "coordinator/dashboard/assets.h"
#include "coordinator/dashboard/form.h"
#include "coordinator/dashboard/internal.h"
#include "coordinator/forwarded.h"

#define COOKIE    "weir-operator"
#define FRESH_MS  1000 /* so old an overview may be that another one is given */
#define SAMPLE_MS 5000
#define TIDY_MS   60000

enum needs { ANYBODY, READER, OPERATOR, FORM, OPERATOR_FORM };

static void overview_show(struct visit *visit);
static void login_show(struct visit *visit);
static void asset_show(struct visit *visit);

struct route {
    const char *path;
    enum evhttp_cmd_type method;
    enum needs needs;
    void (*serve)(struct visit *visit);
};

static const struct route routes[] = {
    { "/", EVHTTP_REQ_GET, READER, overview_show },
    { "/dashboard.json", EVHTTP_REQ_GET, READER, overview_show },
    { "/dashboard.css", EVHTTP_REQ_GET, ANYBODY, asset_show },
    { "/dashboard.js", EVHTTP_REQ_GET, ANYBODY, asset_show },
    { "/dashboard.svg", EVHTTP_REQ_GET, ANYBODY, asset_show },
    { "/login", EVHTTP_REQ_GET, ANYBODY, login_show },
    { "/login", EVHTTP_REQ_POST, FORM, login_begin },
    { "/logout", EVHTTP_REQ_POST, OPERATOR_FORM, logout },
    { "/act", EVHTTP_REQ_POST, OPERATOR_FORM, act_do },
    { "/spool", EVHTTP_REQ_GET, OPERATOR, spool_show },
};

void random_hex(char *out, size_t digits)
{
    uint8_t bytes[TOKEN_LEN / 2];
    if (getrandom(bytes, digits / 2, 0) != (ssize_t)(digits / 2))
        fatal("getrandom: no random bytes");
    for (size_t i = 0; i < digits / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    explicit_bzero(bytes, sizeof bytes);
}

void token_digest(char out[TOKEN_LEN + 1], const char *purpose, const char *token)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    char *text = xasprintf("weir dashboard %s %s", purpose, token);
    unsigned len = 0;
    if (EVP_Digest(text, strlen(text), digest, &len, EVP_sha256(), NULL) != 1 || len != TOKEN_LEN / 2)
        fatal("libcrypto has no SHA-256");
    for (unsigned i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    explicit_bzero(text, strlen(text));
    free(text);
}

/* --- a visit's end --- */

static void visit_end(struct visit **taken)
{
    struct visit *visit = *taken;
    *taken = NULL;
    TAILQ_REMOVE(&visit->dashboard->visits, visit, link);
    if (visit->password != NULL)
        explicit_bzero(visit->password, strlen(visit->password));
    free(visit->password);
    free(visit->hash);
    explicit_bzero(visit->token, sizeof visit->token);
    free(visit);
}

static void on_closed(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    struct visit *visit = arg;
    visit->request = NULL; /* whoever works for it finds out when he is done */
}

static void add_headers(struct evhttp_request *request, const char *type)
{
    static const char *const headers[][2] = {
        { "Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'" },
        { "X-Content-Type-Options", "nosniff" },
        { "X-Frame-Options", "DENY" },
        { "Referrer-Policy", "same-origin" },
        { "Cross-Origin-Opener-Policy", "same-origin" },
        { "Cross-Origin-Resource-Policy", "same-origin" },
        { "Cache-Control", "no-store" },
    };
    struct evkeyvalq *out = evhttp_request_get_output_headers(request);
    evhttp_add_header(out, "Content-Type", type);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        evhttp_add_header(out, headers[i][0], headers[i][1]);
}

void visit_reply(struct visit **taken, int code, const char *type, const char *body, size_t len)
{
    struct visit *visit = *taken;
    struct evhttp_request *request = visit->request;
    metric_add(code == 200 ? visit->dashboard->pages : code == 503 ? visit->dashboard->full : visit->dashboard->refused, 1);
    if (request != NULL) {
        evhttp_connection_set_closecb(evhttp_request_get_connection(request), NULL, NULL);
        add_headers(request, type);
        evbuffer_add(evhttp_request_get_output_buffer(request), body, len);
        evhttp_send_reply(request, code, NULL, NULL);
    }
    visit_end(taken);
}

void visit_reply_text(struct visit **visit, int code, struct text *html)
{
    visit_reply(visit, code, "text/html; charset=utf-8", html->data, html->len);
    text_fini(html);
}

void visit_redirect(struct visit **visit, const char *where)
{
    if ((*visit)->request != NULL)
        evhttp_add_header(evhttp_request_get_output_headers((*visit)->request), "Location", where);
    visit_reply(visit, 303, "text/plain; charset=utf-8", "see there\n", 10);
}

void visit_cookie(struct visit *visit, const char *value, bool end)
{
    if (visit->request == NULL)
        return;
    char *cookie = xasprintf(COOKIE "=%s; Path=/; HttpOnly; SameSite=Strict%s%s", value, visit->dashboard->options.settings->dashboard_proxy ? "; Secure" : "", end ? "; Max-Age=0" : "");
    evhttp_add_header(evhttp_request_get_output_headers(visit->request), "Set-Cookie", cookie);
    explicit_bzero(cookie, strlen(cookie));
    free(cookie);
}

void visit_page_who(const struct visit *visit, struct page_who *who)
{
    const struct dashboard_options *options = &visit->dashboard->options;
    *who = (struct page_who){ .cluster = options->cluster, .coordinator = options->name, .operator = *visit->operator != '\0' ? visit->operator : NULL, .csrf = visit->csrf,
                              .database = !visit->dashboard->resting && db_is_up(options->desk) };
}

void visit_words(struct visit **visit, int code, const char *title, const char *words)
{
    struct page_who who;
    struct text html;
    visit_page_who(*visit, &who);
    text_init(&html);
    page_words(&html, &who, title, words);
    visit_reply_text(visit, code, &html);
}

const char *visit_body(const struct visit *visit, size_t *len)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(visit->request);
    *len = evbuffer_get_length(body);
    return *len > 0 ? (const char *)evbuffer_pullup(body, -1) : "";
}

/* --- pages --- */

static const char *const personal[] = { "actions", "overrides", "stopped" }; /* for operators' eyes */

static void reply_json(struct visit *visit, const json_t *doc)
{
    json_t *shown = doc != NULL ? json_copy((json_t *)(uintptr_t)doc) : json_object();
    for (size_t i = 0; *visit->operator == '\0' && i < sizeof personal / sizeof *personal; i++)
        json_object_del(shown, personal[i]);
    char *text = json_dumps(shown, JSON_COMPACT);
    json_decref(shown);
    visit_reply(&visit, doc != NULL ? 200 : 503, "application/json", text != NULL ? text : "{}", text != NULL ? strlen(text) : 2);
    free(text);
}

static void reply_overview(struct visit *visit)
{
    const json_t *doc = visit->dashboard->doc;
    struct page_who who;
    struct text html;
    char act[PAGE_TOKEN_LEN + 1];
    if (strcmp(visit->path, "/dashboard.json") == 0) {
        reply_json(visit, doc);
        return;
    }
    visit_page_who(visit, &who);
    random_hex(act, PAGE_TOKEN_LEN);
    text_init(&html);
    page_overview(&html, &who, doc, act);
    visit_reply_text(&visit, doc != NULL ? 200 : 503, &html);
}

static void on_overview(void *arg, const PGresult *result)
{
    struct dashboard *dashboard = arg;
    json_error_t why;
    json_t *doc = PQntuples(result) == 1 ? json_loads(PQgetvalue(result, 0, 0), 0, &why) : NULL;
    if (doc == NULL)
        return;
    json_t *spool = spool_counts(dashboard->options.spool);
    if (spool != NULL)
        json_object_set_new(doc, "spool", spool);
    json_decref(dashboard->doc);
    dashboard->doc = doc;
    dashboard->read_ms = clock_ms();
}

static void on_overview_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct dashboard *dashboard = arg;
    struct visit *visit;
    dashboard->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "dashboard: %s %s", error->sqlstate, error->why.text);
    while ((visit = TAILQ_FIRST(&dashboard->waiting)) != NULL) {
        TAILQ_REMOVE(&dashboard->waiting, visit, link);
        TAILQ_INSERT_TAIL(&dashboard->visits, visit, link);
        reply_overview(visit);
    }
}

/* One question for all who wait for it. */
static void overview_show(struct visit *visit)
{
    struct dashboard *dashboard = visit->dashboard;
    bool fresh = dashboard->doc != NULL && dashboard->read_ms != 0 && clock_ms() < dashboard->read_ms + FRESH_MS;
    if (fresh || !db_is_up(dashboard->options.desk)) {
        reply_overview(visit);
        return;
    }
    TAILQ_REMOVE(&dashboard->visits, visit, link);
    TAILQ_INSERT_TAIL(&dashboard->waiting, visit, link);
    if (dashboard->asking)
        return;
    dashboard->asking = true;
    const char *values[] = { dashboard->silence };
    struct db_unit *unit = db_begin(dashboard->options.desk, on_overview_done, dashboard);
    db_query(unit, "SELECT dashboard_overview($1::interval)", 1, values, on_overview);
    db_commit(unit);
}

static void login_show(struct visit *visit)
{
    struct page_who who;
    struct text html;
    visit_page_who(visit, &who);
    text_init(&html);
    page_login(&html, &who, NULL);
    visit_reply_text(&visit, 200, &html);
}

static void asset_show(struct visit *visit)
{
    for (const struct dashboard_asset *asset = dashboard_assets; asset->name != NULL; asset++)
        if (strcmp(asset->name, visit->path + 1) == 0) {
            const char *dot = strrchr(asset->name, '.');
            const char *type = strcmp(dot, ".js") == 0 ? "text/javascript; charset=utf-8" : strcmp(dot, ".svg") == 0 ? "image/svg+xml" : "text/css; charset=utf-8";
            visit_reply(&visit, 200, type, asset->text, strlen(asset->text));
            return;
        }
    visit_words(&visit, 404, "Not here", "There is no such file.");
}

/* --- who it is --- */

bool visit_form_is_ours(struct visit **taken, bool with_token)
{
    struct visit *visit = *taken;
    struct evkeyvalq *headers = evhttp_request_get_input_headers(visit->request);
    const char *type = evhttp_find_header(headers, "Content-Type");
    char csrf[TOKEN_LEN + 1];
    size_t len;
    const char *body = visit_body(visit, &len);
    bool form = type != NULL && strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0;
    bool own = form_is_own(evhttp_find_header(headers, "Sec-Fetch-Site"), evhttp_find_header(headers, "Origin"), evhttp_find_header(headers, "Host"));
    bool token = !with_token || (form_field(body, len, "csrf", csrf, sizeof csrf) && form_same(visit->csrf, csrf));
    if (form && own && token)
        return true;
    visit_words(taken, form ? 403 : 400, "Not done", "That did not come from a form of this dashboard. Please go back, reload the page, and try again.");
    return false;
}

static void route(struct visit *visit)
{
    const struct dashboard *dashboard = visit->dashboard;
    enum needs needs = visit->route->needs;
    bool known = *visit->operator != '\0', may_read = known || dashboard->options.settings->dashboard_read == 0;
    if (visit->request == NULL) {
        visit_end(&visit);
        return;
    }
    if ((needs == READER && !may_read) || ((needs == OPERATOR || needs == OPERATOR_FORM) && !known)) {
        if (!db_is_up(dashboard->options.desk))
            visit_words(&visit, 503, "Not now", "The database is not there, so nobody can be let in.");
        else if (strcmp(visit->path, "/dashboard.json") == 0)
            visit_reply(&visit, 403, "application/json", "{\"error\": \"log in\"}", 19);
        else
            visit_redirect(&visit, "/login");
        return;
    }
    if ((needs == FORM || needs == OPERATOR_FORM) && !visit_form_is_ours(&visit, needs == OPERATOR_FORM))
        return;
    visit->route->serve(visit);
}

static void on_operator(void *arg, const PGresult *result)
{
    struct visit *visit = arg;
    if (PQntuples(result) == 1 && !PQgetisnull(result, 0, 0))
        snprintf(visit->operator, sizeof visit->operator, "%s", PQgetvalue(result, 0, 0));
}

static void on_operator_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct visit *visit = arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "dashboard: %s %s", error->sqlstate, error->why.text);
    if (outcome != DB_OK)
        *visit->operator = '\0';
    if (visit->dashboard->resting)
        visit_end(&visit);
    else
        route(visit);
}

static void find_operator(struct visit *visit)
{
    struct dashboard *dashboard = visit->dashboard;
    const char *cookies = evhttp_find_header(evhttp_request_get_input_headers(visit->request), "Cookie");
    if (visit->route->needs == ANYBODY && visit->route->serve == asset_show) {
        route(visit);
        return;
    }
    bool has = form_cookie(cookies, COOKIE, visit->token, sizeof visit->token) && strlen(visit->token) == TOKEN_LEN && strspn(visit->token, "0123456789abcdef") == TOKEN_LEN;
    if (!has || !db_is_up(dashboard->options.desk)) {
        route(visit);
        return;
    }
    token_digest(visit->digest, "session", visit->token);
    token_digest(visit->csrf, "form", visit->token);
    const char *values[] = { visit->digest, dashboard->idle, dashboard->longest, visit->live ? "false" : "true" };
    struct db_unit *unit = db_begin(dashboard->options.desk, on_operator_done, visit);
    db_query(unit, "SELECT operator_of($1, $2::interval, $3::interval, $4::boolean)", 4, values, on_operator);
    db_commit(unit);
}

static void find_client(struct visit *visit)
{
    char *peer = NULL, last[NETADDR_TEXT_MAX];
    ev_uint16_t port;
    evhttp_connection_get_peer(evhttp_request_get_connection(visit->request), &peer, &port);
    const char *client = peer;
    if (visit->dashboard->options.settings->dashboard_proxy && forwarded_client(visit->request, last, sizeof last))
        client = last;
    auth_client_text(visit->client, sizeof visit->client, client != NULL ? client : "");
}

bool dashboard_serve(struct dashboard *dashboard, struct evhttp_request *request)
{
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request)), *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
    enum evhttp_cmd_type method = evhttp_request_get_command(request);
    const struct route *found = NULL;
    bool known = false;
    for (size_t i = 0; path != NULL && i < sizeof routes / sizeof *routes; i++) {
        if (strcmp(routes[i].path, path) != 0)
            continue;
        known = true;
        if (routes[i].method == method || (routes[i].method == EVHTTP_REQ_GET && method == EVHTTP_REQ_HEAD))
            found = &routes[i];
    }
    if (!known)
        return false;
    struct visit *visit = xcalloc(1, sizeof *visit);
    *visit = (struct visit){ .dashboard = dashboard, .request = request, .route = found, .began_ms = clock_ms(), .live = query != NULL && strcmp(query, "live") == 0 };
    snprintf(visit->path, sizeof visit->path, "%s", path);
    TAILQ_INSERT_TAIL(&dashboard->visits, visit, link);
    evhttp_connection_set_closecb(evhttp_request_get_connection(request), on_closed, visit);
    if (found == NULL) {
        visit_words(&visit, 405, "Not so", "This page is not asked for in that way.");
        return true;
    }
    find_client(visit);
    find_operator(visit);
    return true;
}

/* --- the leader's turn --- */

static void on_sampled(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct dashboard *dashboard = arg;
    dashboard->sampling = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "dashboard: %s %s", error->sqlstate, error->why.text);
}

void dashboard_turn(struct dashboard *dashboard)
{
    uint64_t now = clock_ms();
    if (dashboard->sampling || now < dashboard->sampled_ms + SAMPLE_MS || !db_is_up(dashboard->options.desk))
        return;
    dashboard->sampling = true;
    dashboard->sampled_ms = now;
    struct db_unit *unit = db_begin(dashboard->options.desk, on_sampled, dashboard);
    db_query(unit, "SELECT dashboard_sample_take()", 0, NULL, NULL);
    if (now >= dashboard->tidied_ms + TIDY_MS) {
        const char *values[] = { dashboard->idle, dashboard->longest };
        db_query(unit, "SELECT operator_tidy($1::interval, $2::interval)", 2, values, NULL);
        dashboard->tidied_ms = now;
    }
    db_commit(unit);
}

/* --- beginning and end --- */

struct dashboard *dashboard_new(const struct dashboard_options *options)
{
    struct dashboard *dashboard = xcalloc(1, sizeof *dashboard);
    struct metrics *metrics = options->metrics;
    dashboard->options = *options;
    TAILQ_INIT(&dashboard->visits);
    TAILQ_INIT(&dashboard->waiting);
    snprintf(dashboard->silence, sizeof dashboard->silence, "%llu ms", (unsigned long long)options->node_timeout_ms);
    snprintf(dashboard->idle, sizeof dashboard->idle, "%llu ms", (unsigned long long)options->settings->dashboard_idle);
    snprintf(dashboard->longest, sizeof dashboard->longest, "%llu ms", (unsigned long long)options->settings->dashboard_session);
    dashboard->pages = metrics_counter(metrics, "weir_http_requests_total", "code=\"200\"");
    dashboard->full = metrics_counter(metrics, "weir_http_requests_total", "code=\"503\"");
    dashboard->refused = metrics_counter(metrics, "weir_http_requests_total", "code=\"other\"");
    dashboard->accepted = metrics_counter(metrics, "weir_dashboard_logins_total", "result=\"accepted\"");
    dashboard->wrong = metrics_counter(metrics, "weir_dashboard_logins_total", "result=\"wrong\"");
    dashboard->limited = metrics_counter(metrics, "weir_dashboard_logins_total", "result=\"limited\"");
    dashboard->failed = metrics_counter(metrics, "weir_dashboard_logins_total", "result=\"failed\"");
    dashboard->done = metrics_counter(metrics, "weir_dashboard_acts_total", "result=\"done\"");
    dashboard->not_done = metrics_counter(metrics, "weir_dashboard_acts_total", "result=\"not_done\"");
    return dashboard;
}

static void let_go(struct visits *visits)
{
    struct visit *visit;
    TAILQ_FOREACH(visit, visits, link)
    {
        if (visit->request != NULL)
            evhttp_connection_set_closecb(evhttp_request_get_connection(visit->request), NULL, NULL);
        visit->request = NULL;
    }
}

void dashboard_rest(struct dashboard *dashboard)
{
    dashboard->resting = true;
    let_go(&dashboard->visits);
    let_go(&dashboard->waiting);
}

void dashboard_free(struct dashboard **freed)
{
    struct dashboard *dashboard = *freed;
    struct visit *visit;
    *freed = NULL;
    if (dashboard == NULL)
        return;
    while ((visit = TAILQ_FIRST(&dashboard->waiting)) != NULL) {
        TAILQ_REMOVE(&dashboard->waiting, visit, link);
        TAILQ_INSERT_TAIL(&dashboard->visits, visit, link);
    }
    while ((visit = TAILQ_FIRST(&dashboard->visits)) != NULL)
        visit_end(&visit);
    json_decref(dashboard->doc);
    free(dashboard);
}

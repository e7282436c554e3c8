/*
 * visit.c - one request for a page
 *
 *     path --> token (web_open) --> what it asks for, or does (a transaction) --> the page
 *
 * GET changes nothing. POST needs what is in our forms, and where a browser says whence it comes, that it is one of our pages. Whatever is wrong with a link or a form has one
 * answer. A connection that closes takes its request with it: the visit goes on, and nobody is answered.
 */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/fair.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/queue_id.h"
#include "coordinator/forwarded.h"
#include "coordinator/quarantine/letter.h"
#include "coordinator/quarantine/subject.h"
#include "coordinator/web/web.h"

#define LIST_ROWS   "50"
#define LIST_MOST   50
#define CURSOR_MAX  200
#define SENDER_MAX  1280 /* bytes of 320 characters */

enum subject { ON_LIST, ON_MESSAGE, ON_SENDERS };

struct visit {
    struct web *web;
    struct evhttp_request *request; /* NULL: its connection is gone */
    enum subject subject;
    bool post, whole, opened;
    char token[TOKEN_LEN + 1], link[TOKEN_HASH_LEN + 1], form[TOKEN_HASH_LEN + 1];
    char id[QUEUE_ID_LEN + 1];
    char after[CURSOR_MAX + 1], next[CURSOR_MAX + 1];
    char act[16], sender[SENDER_MAX + 1], outcome[16];
    char *who;
    struct text page, body;
    struct page_message message;    /* its words are in facts */
    char *facts[6];
    unsigned long long size;
    bool found, more;
};

static const char *page_name(const struct visit *visit)
{
    return visit->subject == ON_LIST ? "list" : visit->subject == ON_MESSAGE ? "message" : "senders";
}

static void visit_free(struct visit *visit)
{
    visit->web->pending--;
    metric_set(visit->web->waiting, (double)visit->web->pending);
    for (size_t i = 0; i < sizeof visit->facts / sizeof *visit->facts; i++)
        free(visit->facts[i]);
    free(visit->who);
    text_fini(&visit->page);
    text_fini(&visit->body);
    free(visit);
}

static struct page page_of(const struct visit *visit)
{
    struct page page = { .prefix = visit->web->prefix, .token = visit->token, .whole = visit->whole, .who = visit->who != NULL ? visit->who : "",
                         .contact = visit->web->config->cluster.contact };
    token_form(page.form, visit->token);
    return page;
}

/* The end of the visit. */
static void finish(struct visit *visit, int code)
{
    if (visit->request != NULL) {
        evhttp_connection_set_closecb(evhttp_request_get_connection(visit->request), NULL, NULL);
        web_reply(visit->web, visit->request, code, code == 404 ? "nothing" : page_name(visit), &visit->page);
    }
    visit_free(visit);
}

static void reply_nothing(struct web *web, struct evhttp_request *request)
{
    struct text out;
    const struct page page = { .prefix = web->prefix, .contact = web->config->cluster.contact };
    text_init(&out);
    page_nothing(&out, &page);
    metric_add(web->refused, 1);
    web_reply(web, request, 404, "nothing", &out);
    text_fini(&out);
}

static void reply_words(struct web *web, struct evhttp_request *request, int code, const char *what, const char *words)
{
    struct text out;
    const struct page page = { .prefix = web->prefix, .token = "", .who = "", .contact = web->config->cluster.contact };
    text_init(&out);
    page_words(&out, &page, "Not now", words);
    web_reply(web, request, code, what, &out);
    text_fini(&out);
}

static void finish_nothing(struct visit *visit)
{
    const struct page page = page_of(visit);
    metric_add(visit->web->refused, 1);
    text_reset(&visit->page);
    page_nothing(&visit->page, &page);
    finish(visit, 404);
}

static void finish_later(struct visit *visit, enum db_outcome outcome, const struct db_error *error)
{
    struct page page = page_of(visit);
    page.token = page.who = "";
    if (outcome == DB_FAILED && db_error_is_of_values(error)) { /* a cursor that is none */
        finish_nothing(visit);
        return;
    }
    if (outcome == DB_FAILED)
        log_write(db_error_is_conflict(error) ? LOG_INFO : LOG_ERR, "database: %s %s", error->sqlstate, error->why.text);
    text_reset(&visit->page);
    page_words(&visit->page, &page, "Not now", "Your quarantine cannot be had at the moment. Please try again in a while.");
    finish(visit, 503);
}

/* ---- what was asked for ---- */

static void on_listed(void *arg, const PGresult *result)
{
    struct visit *visit = arg;
    int rows = PQntuples(result);
    struct page page = page_of(visit);
    struct page_entry entries[LIST_MOST];
    char scores[LIST_MOST][16], *subjects[LIST_MOST];
    size_t count = 0;
    for (int row = 0; row < rows && row < LIST_MOST; row++, count++) {
        size_t len;
        char *raw = unhex(PQgetvalue(result, row, 4), &len);
        subjects[count] = subject_decode(visit->web->parser, raw, len);
        free(raw);
        *scores[count] = '\0';
        if (!PQgetisnull(result, row, 6))
            snprintf(scores[count], sizeof scores[count], "%.2f", atoi(PQgetvalue(result, row, 6)) / 100.0);
        entries[count] = (struct page_entry){
            .id = PQgetvalue(result, row, 1), .when = PQgetvalue(result, row, 2), .sender = PQgetvalue(result, row, 3), .reason = PQgetvalue(result, row, 5),
            .score = scores[count], .subject = subjects[count], .releasable = PQgetvalue(result, row, 7)[0] == 't',
        };
    }
    page_list(&visit->page, &page, entries, count, rows >= LIST_MOST ? PQgetvalue(result, rows - 1, 0) : "", *visit->after == '\0');
    for (size_t i = 0; i < count; i++)
        free(subjects[i]);
}

static void on_senders(void *arg, const PGresult *result)
{
    struct visit *visit = arg;
    size_t count = (size_t)PQntuples(result);
    struct page page = page_of(visit);
    struct page_sender *senders = xcalloc(count + 1, sizeof *senders);
    for (size_t i = 0; i < count; i++)
        senders[i] = (struct page_sender){ PQgetvalue(result, (int)i, 0), PQgetvalue(result, (int)i, 1) };
    page_senders(&visit->page, &page, senders, count);
    free(senders);
}

static void on_page_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct visit *visit = arg;
    if (outcome != DB_OK)
        finish_later(visit, outcome, error);
    else
        finish(visit, 200);
}

static void on_shown(void *arg, const PGresult *result)
{
    struct visit *visit = arg;
    visit->found = PQntuples(result) == 1;
    if (!visit->found)
        return;
    size_t len;
    char *raw = unhex(PQgetvalue(result, 0, 2), &len), score[16] = "";
    if (!PQgetisnull(result, 0, 4))
        snprintf(score, sizeof score, "%.2f", atoi(PQgetvalue(result, 0, 4)) / 100.0);
    const char *const words[] = { PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 1), PQgetvalue(result, 0, 3), score, PQgetvalue(result, 0, 7) };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        visit->facts[i] = xstrdup(words[i]);
    visit->facts[5] = subject_decode(visit->web->parser, raw, len);
    free(raw);
    visit->size = strtoull(PQgetvalue(result, 0, 5), NULL, 10);
    visit->message.entry = (struct page_entry){ .id = visit->id, .when = visit->facts[0], .sender = visit->facts[1], .reason = visit->facts[2], .score = visit->facts[3],
                                                .subject = visit->facts[5], .releasable = PQgetvalue(result, 0, 6)[0] == 't' };
    visit->message.author = visit->facts[4];
}

static void on_body(void *arg, const PGresult *result)
{
    struct visit *visit = arg;
    visit->more = PQntuples(result) == 1 && PQgetlength(result, 0, 0) > 0;
    if (visit->more)
        text_add(&visit->body, PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0));
}

static void ask_body(struct visit *visit);

static void show(struct visit *visit)
{
    struct page page = page_of(visit);
    uint64_t most = visit->web->config->own.web_view_size;
    visit->message.bytes = visit->body.data;
    visit->message.len = visit->body.len < most ? visit->body.len : (size_t)most;
    visit->message.cut = visit->message.len < visit->size;
    metric_add(visit->web->cut, visit->message.cut);
    page_message(&visit->page, &page, visit->web->parser, &visit->message);
    finish(visit, 200);
}

static void on_part_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct visit *visit = arg;
    if (outcome != DB_OK)
        finish_later(visit, outcome, error);
    else if (!visit->found)
        finish_nothing(visit); /* it left meanwhile, or is nobody's business here */
    else if (visit->more && visit->body.len < visit->size && visit->body.len < visit->web->config->own.web_view_size)
        ask_body(visit);
    else
        show(visit);
}

static void ask_body(struct visit *visit)
{
    char start[24];
    snprintf(start, sizeof start, "%zu", visit->body.len);
    const struct db_value values[] = { { .data = visit->link }, { .data = visit->id }, { .data = start } };
    struct db_unit *unit = db_begin(visit->web->db, on_part_done, visit);
    visit->more = false;
    db_query_values(unit, "SELECT data FROM web_link_body($1, $2, $3::bigint)", 3, values, true, on_body);
    db_commit(unit);
}

static void on_shown_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct visit *visit = arg;
    if (outcome == DB_OK && visit->found)
        ask_body(visit);
    else
        on_part_done(visit, outcome, error);
}

static void ask_page(struct visit *visit)
{
    struct web *web = visit->web;
    if (visit->subject == ON_MESSAGE) {
        const char *const values[] = { visit->link, visit->id };
        struct db_unit *unit = db_begin(web->db, on_shown_done, visit);
        db_query(unit, "SELECT to_char(kept_at, 'YYYY-MM-DD HH24:MI TZ'), sender, encode(subject, 'hex'), reason, score, size, releasable, author"
                       " FROM web_link_show($1, $2)", 2, values, on_shown);
        db_commit(unit);
        return;
    }
    struct db_unit *unit = db_begin(web->db, on_page_done, visit);
    const char *const values[] = { visit->link, visit->after };
    if (visit->subject == ON_LIST)
        db_query(unit, "SELECT cursor, id, to_char(kept_at, 'YYYY-MM-DD HH24:MI TZ'), sender, encode(subject, 'hex'), reason, score, reason IN ('spam', 'blocklist')"
                       " FROM web_link_list($1, $2, " LIST_ROWS ")", 2, values, on_listed);
    else
        db_query(unit, "SELECT sender, kind FROM web_link_senders($1)", 1, values, on_senders);
    db_commit(unit);
}

/* ---- what is done ---- */

static void on_acted(void *arg, const PGresult *result)
{
    struct visit *visit = arg;
    snprintf(visit->outcome, sizeof visit->outcome, "%s", PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "");
}

static void on_act_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct visit *visit = arg;
    struct page page = page_of(visit);
    if (outcome != DB_OK) {
        finish_later(visit, outcome, error);
        return;
    }
    metric_add(metrics_counter(&visit->web->metrics, "weir_web_acts_total", "act=\"%s\",outcome=\"%s\"", visit->act, visit->outcome), 1);
    log_write(LOG_INFO, "%s: %s %s: %s", *visit->id != '\0' ? visit->id : "senders", visit->who, visit->act, visit->outcome);
    if (strcmp(visit->outcome, "gone") == 0 && !visit->whole) {
        finish_nothing(visit);
        return;
    }
    page_words(&visit->page, &page, "Your quarantine", letter_outcome(visit->act, visit->outcome));
    finish(visit, 200);
}

/* What each act is called in the database; NULL: there is no such act on this page. */
static const char *act_word(const struct visit *visit)
{
    static const struct {
        const char *name, *word;
        enum subject subject;
    } acts[] = {
        { "release", "release", ON_MESSAGE }, { "delete", "delete", ON_MESSAGE }, { "safe", "safe", ON_MESSAGE }, { "block", "block", ON_MESSAGE },
        { "spam", "spam", ON_MESSAGE },
        { "safe", "safe", ON_SENDERS },       { "block", "block", ON_SENDERS },   { "forget", "", ON_SENDERS },
    };
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (acts[i].subject == visit->subject && strcmp(acts[i].name, visit->act) == 0)
            return acts[i].word;
    return NULL;
}

static void act(struct visit *visit)
{
    const char *word = act_word(visit);
    if (word == NULL) {
        finish_nothing(visit);
        return;
    }
    bool senders = visit->subject == ON_SENDERS;
    const char *const values[] = { visit->link, senders ? visit->sender : visit->id, word, visit->web->list_entries };
    struct db_unit *unit = db_begin(visit->web->db, on_act_done, visit);
    db_query(unit, senders ? "SELECT web_link_sender($1, $2, $3, $4::integer)" : "SELECT web_link_act($1, $2, $3, $4::integer)", 4, values, on_acted);
    db_commit(unit);
}

/* ---- the link ---- */

static void on_opened(void *arg, const PGresult *result)
{
    struct visit *visit = arg;
    if (PQntuples(result) != 1)
        return;
    const char *id = PQgetvalue(result, 0, 1);
    if ((*id == '\0') != visit->whole) /* a message's token opens no list, and that of a list no message's page */
        return;
    visit->opened = true;
    visit->who = xstrdup(PQgetvalue(result, 0, 0));
    if (!visit->whole)
        snprintf(visit->id, sizeof visit->id, "%s", id);
}

static void on_open_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct visit *visit = arg;
    char form[TOKEN_HASH_LEN + 1];
    token_form(form, visit->token);
    if (outcome != DB_OK)
        finish_later(visit, outcome, error);
    else if (!visit->opened || (visit->post && strcmp(form, visit->form) != 0))
        finish_nothing(visit);
    else if (visit->post)
        act(visit);
    else
        ask_page(visit);
}

static void open_link(struct visit *visit)
{
    token_hash(visit->link, visit->token);
    const char *const values[] = { visit->link };
    struct db_unit *unit = db_begin(visit->web->db, on_open_done, visit);
    db_query(unit, "SELECT who, id FROM web_open($1)", 1, values, on_opened);
    db_commit(unit);
}

/* ---- the request ---- */

/* "/m/TOKEN", "/q/TOKEN", "/q/TOKEN/m/ID", "/q/TOKEN/senders"; false: there is no such page. */
static bool read_path(struct visit *visit, const char *path)
{
    const char *prefix = visit->web->prefix, *rest = path;
    size_t len = strlen(prefix);
    if (len > 0 && strncmp(rest, prefix, len) == 0 && rest[len] == '/')
        rest += len;
    if (strncmp(rest, "/m/", 3) != 0 && strncmp(rest, "/q/", 3) != 0)
        return false;
    visit->whole = rest[1] == 'q';
    visit->subject = visit->whole ? ON_LIST : ON_MESSAGE;
    rest += 3;
    size_t token = strcspn(rest, "/");
    if (!token_parse(visit->token, rest, token))
        return false;
    rest += token;
    if (*rest == '\0')
        return true;
    if (visit->whole && strcmp(rest, "/senders") == 0) {
        visit->subject = ON_SENDERS;
        return true;
    }
    if (!visit->whole || strncmp(rest, "/m/", 3) != 0 || !queue_id_is_valid(rest + 3, strlen(rest + 3)))
        return false;
    visit->subject = ON_MESSAGE;
    snprintf(visit->id, sizeof visit->id, "%s", rest + 3);
    return true;
}

static void take_field(const struct evkeyvalq *fields, const char *name, char *out, size_t cap)
{
    const char *value = evhttp_find_header(fields, name);
    if (value != NULL && strlen(value) < cap && text_valid_prefix(value, strlen(value)) == strlen(value))
        snprintf(out, cap, "%s", value);
}

/* Where a browser says whence a form comes, it must be one of our pages. */
static bool is_from_here(const struct web *web, const struct evkeyvalq *headers)
{
    const char *site = evhttp_find_header(headers, "Sec-Fetch-Site"), *origin = evhttp_find_header(headers, "Origin");
    if (site != NULL && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return false;
    return site != NULL || origin == NULL || *web->origin == '\0' || strcmp(origin, web->origin) == 0;
}

static bool read_form(struct visit *visit)
{
    struct evkeyvalq fields, *headers = evhttp_request_get_input_headers(visit->request);
    struct evbuffer *input = evhttp_request_get_input_buffer(visit->request);
    const char *type = evhttp_find_header(headers, "Content-Type");
    if (type == NULL || strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0 || !is_from_here(visit->web, headers))
        return false;
    char *body = text_copy(evbuffer_pullup(input, -1), evbuffer_get_length(input));
    bool fine = evhttp_parse_query_str(body, &fields) == 0;
    if (fine) {
        take_field(&fields, "form", visit->form, sizeof visit->form);
        take_field(&fields, "act", visit->act, sizeof visit->act);
        take_field(&fields, "sender", visit->sender, sizeof visit->sender);
    }
    evhttp_clear_headers(&fields);
    free(body);
    return fine;
}

/* A cursor as the list gives it: a time, an id and a number. */
static bool is_cursor(const char *text)
{
    return strspn(text, "0123456789ABCDEFGHJKMNPQRSTVWXYZ:.+- T") == strlen(text) && strlen(text) < 80 && strlen(text) > 30;
}

static bool read_query(struct visit *visit, const char *query)
{
    struct evkeyvalq fields;
    if (query == NULL)
        return true;
    bool fine = evhttp_parse_query_str(query, &fields) == 0;
    if (fine)
        take_field(&fields, "after", visit->after, sizeof visit->after);
    evhttp_clear_headers(&fields);
    return fine && (*visit->after == '\0' || is_cursor(visit->after));
}

static bool is_proxy(const struct web *web, const struct netaddr *address)
{
    for (size_t i = 0; i < web->proxy_count; i++)
        if (netaddr_prefix_contains(&web->proxies[i], address))
            return true;
    return false;
}

/* Who asks: the connection's address, or where that is a proxy of ours, whom it names last. */
static uint64_t client_of(const struct web *web, struct evhttp_request *request)
{
    char *peer = NULL, text[64];
    unsigned short port;
    struct netaddr address;
    evhttp_connection_get_peer(evhttp_request_get_connection(request), &peer, &port);
    snprintf(text, sizeof text, "%s", peer != NULL ? peer : "");
    if (netaddr_parse(&address, text) && is_proxy(web, &address))
        forwarded_client(request, text, sizeof text);
    return fair_source(text, strlen(text));
}

static void on_closed(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    struct visit *visit = arg;
    visit->request = NULL;
}

static void begin(struct web *web, struct evhttp_request *request, const char *path, const char *query)
{
    struct visit *visit = xcalloc(1, sizeof *visit);
    *visit = (struct visit){ .web = web, .request = request, .post = evhttp_request_get_command(request) == EVHTTP_REQ_POST };
    bool fine = read_path(visit, path) && (visit->post ? read_form(visit) : read_query(visit, query));
    if (!fine) {
        free(visit);
        reply_nothing(web, request);
        return;
    }
    text_init(&visit->page);
    text_init(&visit->body);
    web->pending++;
    metric_set(web->waiting, (double)web->pending);
    evhttp_connection_set_closecb(evhttp_request_get_connection(request), on_closed, visit);
    open_link(visit);
}

static void reply_style(struct web *web, struct evhttp_request *request)
{
    struct text out;
    text_init(&out);
    text_puts(&out, page_style);
    web_reply(web, request, 200, "style", &out);
    text_fini(&out);
}

void web_visit(struct evhttp_request *request, void *arg)
{
    struct web *web = arg;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL;
    size_t len = strlen(web->prefix);
    if (!rate_take(web->rate, client_of(web, request), clock_ms())) {
        metric_add(web->limited, 1);
        reply_words(web, request, 429, "limited", "Too many requests. Please try again in a minute.");
    } else if (path == NULL) {
        reply_nothing(web, request);
    } else if (strcmp(path, "/style.css") == 0 || (len > 0 && strncmp(path, web->prefix, len) == 0 && strcmp(path + len, "/style.css") == 0)) {
        reply_style(web, request);
    } else if (web->pending >= web->config->own.web_requests || web->stopping) {
        metric_add(web->busy, 1);
        reply_words(web, request, 503, "busy", "There is too much to do at the moment. Please try again in a while.");
    } else {
        begin(web, request, path, evhttp_uri_get_query(uri));
    }
}

/*
 * login.c - an operator logs in and out
 *
 * A name that does not exist takes as long as a wrong password, and both are answered auth_failure_delay after they were asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/dashboard/form.h"
#include "coordinator/dashboard/internal.h"

static void answer(struct visit *visit, int code, const char *words)
{
    struct page_who who;
    struct text html;
    visit_page_who(visit, &who);
    text_init(&html);
    page_login(&html, &who, words);
    visit_reply_text(&visit, code, &html);
}

static void could_not(struct visit *visit)
{
    metric_add(visit->dashboard->failed, 1);
    answer(visit, 503, "The password could not be checked now. Please try again.");
}

static void on_forgiven(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    (void)arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "dashboard: %s %s", error->sqlstate, error->why.text);
}

static void forgive(struct visit *visit)
{
    const char *values[] = { visit->guess };
    struct db_unit *unit = db_begin(visit->dashboard->options.desk, on_forgiven, NULL);
    db_query(unit, "SELECT operator_forgive($1)", 1, values, NULL);
    db_commit(unit);
}

static void on_delay(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    answer(arg, 403, "The name or the password is wrong.");
}

static void refuse(struct visit *visit)
{
    struct dashboard *dashboard = visit->dashboard;
    uint64_t due = visit->began_ms + dashboard->options.auth_settings->auth_failure_delay, now = clock_ms();
    uint64_t ms = due > now ? due - now : 0;
    metric_add(dashboard->wrong, 1);
    log_write(LOG_NOTICE, "dashboard: a wrong name or password from %s", visit->client);
    if (event_base_once(dashboard->options.base, -1, EV_TIMEOUT, on_delay, visit, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) }) != 0)
        fatal("out of memory");
}

static void on_entered(void *arg, const PGresult *result)
{
    struct visit *visit = arg;
    visit->entered = PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "t") == 0;
}

static void on_enter_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct visit *visit = arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "dashboard: %s %s", error->sqlstate, error->why.text);
    if (outcome != DB_OK) {
        could_not(visit);
    } else if (!visit->entered) { /* another password since it was read */
        refuse(visit);
    } else {
        metric_add(visit->dashboard->accepted, 1);
        visit->dashboard->read_ms = 0;
        log_write(LOG_NOTICE, "dashboard: %s has logged in from %s", visit->name, visit->client);
        visit_cookie(visit, visit->token, false);
        visit_redirect(&visit, "/");
    }
}

static void on_compared(void *arg, const char *const *fields, size_t count)
{
    struct visit *visit = arg;
    if (visit->dashboard->resting) {
        could_not(visit);
    } else if (count == 0) {
        forgive(visit);
        could_not(visit);
    } else if (visit->hash == NULL || strcmp(fields[0], "yes") != 0) {
        refuse(visit);
    } else {
        random_hex(visit->token, TOKEN_LEN); /* never one that was there before the login */
        token_digest(visit->digest, "session", visit->token);
        const char *values[] = { visit->guess, visit->name, visit->hash, visit->digest, visit->client };
        struct db_unit *unit = db_begin(visit->dashboard->options.desk, on_enter_done, visit);
        db_query(unit, "SELECT operator_enter($1, $2, $3, $4, $5)", 5, values, on_entered);
        db_commit(unit);
    }
}

static void on_begun(void *arg, const PGresult *result)
{
    struct visit *visit = arg;
    if (PQntuples(result) != 1)
        return;
    snprintf(visit->guess, sizeof visit->guess, "%s", PQgetvalue(result, 0, 0));
    visit->limited = strcmp(PQgetvalue(result, 0, 1), "t") == 0;
    if (!PQgetisnull(result, 0, 2))
        visit->hash = xstrdup(PQgetvalue(result, 0, 2));
}

static void on_begin_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct visit *visit = arg;
    struct dashboard *dashboard = visit->dashboard;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "dashboard: %s %s", error->sqlstate, error->why.text);
    if (outcome != DB_OK) {
        could_not(visit);
    } else if (visit->limited) {
        metric_add(dashboard->limited, 1);
        log_write(LOG_WARNING, "dashboard: too many wrong passwords, now from %s", visit->client);
        answer(visit, 429, "There were too many wrong passwords. Please wait; or have another operator say: weirctl operator passwd NAME");
    } else if (dashboard->resting || !auth_compare(dashboard->options.auth, visit->hash, visit->password, on_compared, visit)) {
        forgive(visit);
        could_not(visit);
    }
}

void login_begin(struct visit *visit)
{
    struct dashboard *dashboard = visit->dashboard;
    const struct auth_settings *limits = dashboard->options.auth_settings;
    char password[FORM_FIELD_MAX], by_name[24], by_client[24], span[32], place_span[32];
    size_t len;
    const char *body = visit_body(visit, &len);
    /* A name that is none is looked for all the same: it takes as long as any. */
    if (!form_field(body, len, "name", visit->name, sizeof visit->name))
        snprintf(visit->name, sizeof visit->name, "?");
    if (!form_field(body, len, "password", password, sizeof password) || strlen(password) > WIRE_PASSWORD_MAX)
        snprintf(password, sizeof password, "?");
    visit->password = xstrdup(password);
    explicit_bzero(password, sizeof password);
    snprintf(by_name, sizeof by_name, "%llu", (unsigned long long)limits->auth_account_failures);
    snprintf(by_client, sizeof by_client, "%llu", (unsigned long long)limits->auth_client_failures);
    snprintf(span, sizeof span, "%llu ms", (unsigned long long)limits->auth_failure_window);
    snprintf(place_span, sizeof place_span, "%llu ms", (unsigned long long)limits->auth_place_memory);
    const char *values[] = { visit->name, visit->client, by_name, by_client, span, place_span };
    struct db_unit *unit = db_begin(dashboard->options.desk, on_begin_done, visit);
    db_query(unit, "SELECT guess, limited, hash FROM operator_begin($1, $2, $3, $4, $5::interval, $6::interval)", 6,
             values, on_begun);
    db_commit(unit);
}

/* --- and out --- */

static void on_left(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct visit *visit = arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "dashboard: %s %s", error->sqlstate, error->why.text);
    if (outcome != DB_OK) {
        visit_words(&visit, 503, "Not done", "The database is not there: this login goes on.");
        return;
    }
    visit_cookie(visit, "", true);
    visit_redirect(&visit, "/");
}

void logout(struct visit *visit)
{
    const char *values[] = { visit->digest };
    struct db_unit *unit = db_begin(visit->dashboard->options.desk, on_left, visit);
    db_query(unit, "SELECT operator_leave($1)", 1, values, NULL);
    db_commit(unit);
}

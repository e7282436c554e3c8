/*
 * auth.c - whether a login and its password are right
 *
 *     question --auth_begin--> limited: answered
 *                              busy:    begun again in a moment, as those under way may turn out right
 *                              account: a helper compares its hash
 *                              none:    a helper asks the directory, or hashes for nothing
 *     right or not to be known: auth_forgive; wrong: auth_wrong, and the answer waits until auth_failure_delay is over
 */
#include "coordinator/auth/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/input.h"
#include "common/memory.h"
#include "common/netaddr.h"
#include "coordinator/auth/helpers.h"
#include "coordinator/auth/kinds.h"
#include "coordinator/rows.h"
#include "coordinator/text.h"

#define BUSY_MS      100 /* from the first try to begin to the second; each pause is twice the one before */
#define BUSY_DOUBLED 5   /* times: then they stay as long */

struct check {
    TAILQ_ENTRY(check) all;
    struct auth *auth;
    struct question *question;
    struct event *delay;
    uint64_t began_ms;
    char request[32], login[WIRE_LOGIN_MAX + 1], client[NETADDR_TEXT_MAX + 4];
    char against[NETADDR_TEXT_MAX]; /* whose reputation a wrong password is about; "": nobody's */
    char password[WIRE_PASSWORD_MAX + 1];   /* wiped when it was handed on */
    char *account, *limited, *hash;         /* from the database; NULL: not said, not so, none */
    bool disabled;                          /* the account: then it has no hash either */
    bool known;                             /* the account: there is one, or somebody logged in so; else its name may be anything */
    unsigned turns;                         /* tries to begin that found others under way */
    char **senders;
    size_t sender_count;
};

TAILQ_HEAD(check_list, check);

struct auth {
    struct event_base *base;
    struct db *db;
    const struct auth_settings *settings;
    struct helpers *passwords, *directory; /* directory NULL: none is configured */
    bool directory_cuts;                   /* it looks only at what stands before the @ of a login */
    struct check_list checks;
    size_t count;
    struct metrics *metrics;
    struct metric *limited_account, *limited_client, *busy, *checks_now;
};

/* --- the answer --- */

static const char *outcome_name(Weir__AuthOutcome outcome)
{
    switch (outcome) {
    case WEIR__AUTH_OUTCOME__AUTH_ACCEPTED:
        return "accepted";
    case WEIR__AUTH_OUTCOME__AUTH_WRONG:
        return "wrong";
    case WEIR__AUTH_OUTCOME__AUTH_LIMITED:
        return "limited";
    default:
        return "unavailable";
    }
}

static void count_check(struct auth *auth, const char *result)
{
    metric_add(metrics_counter(auth->metrics, "weir_auth_checks_total", "result=\"%s\"", result), 1);
}

static void check_free(struct check *check)
{
    struct auth *auth = check->auth;

    TAILQ_REMOVE(&auth->checks, check, all);
    metric_set(auth->checks_now, (double)--auth->count);
    if (check->delay != NULL)
        event_free(check->delay);
    for (size_t i = 0; i < check->sender_count; i++)
        free(check->senders[i]);
    free(check->senders);
    free(check->account);
    free(check->limited);
    free(check->hash);
    explicit_bzero(check->password, sizeof check->password);
    free(check);
}

static void answer(struct check *check, Weir__AuthOutcome outcome)
{
    Weir__Answer reply = WEIR__ANSWER__INIT;
    Weir__AuthResult result = WEIR__AUTH_RESULT__INIT;
    bool accepted = outcome == WEIR__AUTH_OUTCOME__AUTH_ACCEPTED;
    ProtobufCBinaryData *senders = xcalloc(check->sender_count + 1, sizeof *senders);

    result.outcome = outcome;
    if (accepted) {
        result.account = wire_text(check->account);
        for (size_t i = 0; i < check->sender_count; i++)
            senders[i] = wire_text(check->senders[i]);
        result.senders = senders;
        result.n_senders = check->sender_count;
    }
    reply.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    reply.body_case = WEIR__ANSWER__BODY_AUTH_RESULT;
    reply.auth_result = &result;
    count_check(check->auth, outcome_name(outcome));
    question_answer(&check->question, &reply, NULL, 0);
    free(senders);
    check_free(check);
}

/* Another coordinator may be able to. */
static void give_up(struct check *check, const char *why)
{
    count_check(check->auth, "given-up");
    question_settle(&check->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, why);
    check_free(check);
}

static void after(struct check *check, uint64_t ms, event_callback_fn then)
{
    if (check->delay != NULL)
        event_free(check->delay);
    check->delay = event_new(check->auth->base, -1, 0, then, check);
    if (check->delay == NULL ||
        event_add(check->delay, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) }) != 0)
        fatal("out of memory");
}

/* --- the guess --- */

static void on_settled(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    (void)arg;
    if (outcome == DB_FAILED) /* it counts as wrong, and ages out by itself */
        log_write(LOG_WARNING, "auth: a guess stays counted: %s", error->why.text);
}

static void forgive(const struct check *check, bool used)
{
    const char *values[] = { check->request, check->account, check->client, used ? "true" : "false" };
    struct db_unit *unit = db_begin(check->auth->db, on_settled, NULL);

    db_query(unit, "SELECT auth_forgive($1, $2, $3, $4)", 4, values, NULL);
    db_commit(unit);
}

static void on_delay(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    answer(arg, WEIR__AUTH_OUTCOME__AUTH_WRONG);
}

/* The answer need not wait for the commit: until then the guess counts as one under way. */
static void answer_wrong(struct check *check)
{
    uint64_t due = check->began_ms + check->auth->settings->auth_failure_delay, now = clock_ms();
    const char *values[] = { check->request, check->account, check->client, check->against };
    struct db_unit *unit = db_begin(check->auth->db, on_settled, NULL);

    db_query(unit, "SELECT auth_wrong($1, $2, $3, $4)", 4, values, NULL);
    db_commit(unit);
    after(check, due > now ? due - now : 0, on_delay);
}

static void add_sender(struct check *check, const char *sender)
{
    if (check->sender_count == WIRE_SENDERS_MAX || strlen(sender) > WIRE_ADDRESS_MAX)
        return;
    check->senders = xrealloc(check->senders, (check->sender_count + 1) * sizeof *check->senders);
    check->senders[check->sender_count++] = xstrdup(sender);
}

/* --- what the helpers say --- */

static void on_compared(void *arg, const char *const *fields, size_t count)
{
    struct check *check = arg;

    if (count == 0) {
        if (check->auth->db != NULL)
            forgive(check, false);
        give_up(check, "the password could not be checked");
    } else if (check->hash != NULL && strcmp(fields[0], "yes") == 0) {
        forgive(check, true);
        answer(check, WEIR__AUTH_OUTCOME__AUTH_ACCEPTED);
    } else {
        answer_wrong(check);
    }
}

static void on_directory(void *arg, const char *const *fields, size_t count)
{
    struct check *check = arg;

    if (count > 0 && strcmp(fields[0], "accepted") == 0) {
        if (strchr(check->login, '@') != NULL && !check->auth->directory_cuts) /* else anybody made up its domain */
            add_sender(check, check->login);
        for (size_t i = 1; i < count; i++)
            add_sender(check, fields[i]);
        forgive(check, true);
        answer(check, WEIR__AUTH_OUTCOME__AUTH_ACCEPTED);
    } else if (count > 0 && strcmp(fields[0], "wrong") == 0) {
        answer_wrong(check);
    } else {
        log_write(LOG_WARNING, "auth: the directory does not say: %s", count > 1 ? fields[1] : "no answer");
        if (check->auth->db != NULL)
            forgive(check, false);
        give_up(check, "the directory does not say"); /* another coordinator may reach it */
    }
}

/* A directory takes many spellings for one (RFC 4518: compatibility forms, accents, case), so none but these may be
 * told to it: each would have guesses of its own. */
static bool is_ascii(const char *login)
{
    for (const char *p = login; *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80)
            return false;
    return true;
}

static bool ask_directory(struct check *check)
{
    struct packet job = { .len = 0 };

    packet_add(&job, check->login);
    packet_add(&job, check->password);
    bool taken = helpers_ask(check->auth->directory, &job, on_directory, check);
    packet_clear(&job);
    return taken;
}

bool auth_compare(struct auth *auth, const char *hash, const char *password, helpers_done_handler done, void *arg)
{
    struct packet job = { .len = 0 };

    packet_add(&job, hash != NULL ? "check" : "make");
    if (hash != NULL)
        packet_add(&job, hash);
    packet_add(&job, password);
    bool taken = helpers_ask(auth->passwords, &job, done, arg);
    packet_clear(&job);
    return taken;
}

static void compare(struct check *check)
{
    bool directory = check->hash == NULL && !check->disabled && check->auth->directory != NULL && is_ascii(check->login);
    bool taken = directory ? ask_directory(check) : auth_compare(check->auth, check->hash, check->password, on_compared, check);

    explicit_bzero(check->password, sizeof check->password);
    if (!taken) {
        forgive(check, false);
        give_up(check, "too many passwords to check");
    }
}

/* --- what the database says --- */

enum { BEGUN_ACCOUNT, BEGUN_LIMITED, BEGUN_HASH, BEGUN_SENDERS, BEGUN_KNOWN, BEGUN_FIELDS };

static void on_begun(void *arg, const PGresult *result)
{
    struct check *check = arg;

    if (PQntuples(result) != 1 || PQnfields(result) != BEGUN_FIELDS)
        return;
    check->account = xstrdup(PQgetvalue(result, 0, BEGUN_ACCOUNT));
    if (!PQgetisnull(result, 0, BEGUN_LIMITED))
        check->limited = xstrdup(PQgetvalue(result, 0, BEGUN_LIMITED));
    check->known = PQgetvalue(result, 0, BEGUN_KNOWN)[0] == 't';
    check->disabled = PQgetvalue(result, 0, BEGUN_HASH)[0] == '!';
    if (!PQgetisnull(result, 0, BEGUN_HASH) && !check->disabled)
        check->hash = xstrdup(PQgetvalue(result, 0, BEGUN_HASH));
    if (PQgetisnull(result, 0, BEGUN_SENDERS))
        return;
    char *list = xstrdup(PQgetvalue(result, 0, BEGUN_SENDERS)), *rest = list, *sender;
    while ((sender = strsep(&rest, " ")) != NULL)
        if (*sender != '\0')
            add_sender(check, sender);
    free(list);
}

static void begin(struct check *check);

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    begin(arg);
}

static void begin_later(struct check *check)
{
    free(check->account);
    free(check->limited);
    check->account = check->limited = NULL;
    metric_add(check->auth->busy, 1);
    uint64_t spent = clock_ms() - check->began_ms, most = check->auth->settings->auth_check_timeout;
    uint64_t pause = (uint64_t)BUSY_MS << (check->turns < BUSY_DOUBLED ? check->turns++ : BUSY_DOUBLED);
    if (spent >= most)
        give_up(check, "too many checks of this account or client are under way");
    else
        after(check, pause < most - spent ? pause : most - spent, on_again);
}

static void say_limited(struct check *check)
{
    bool account = strcmp(check->limited, "account") == 0;

    metric_add(account ? check->auth->limited_account : check->auth->limited_client, 1);
    if (account && check->known)
        log_write(LOG_NOTICE, "auth: too many wrong passwords: account %s, now from %s", check->account, check->client);
    else if (account) /* what was typed where the name belongs may be the password */
        log_write(LOG_NOTICE, "auth: too many wrong passwords: an unknown account, now from %s", check->client);
    else
        log_write(LOG_NOTICE, "auth: too many wrong passwords: client %s", check->client);
    answer(check, WEIR__AUTH_OUTCOME__AUTH_LIMITED);
}

static void on_begin_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct check *check = arg;

    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "auth: %s %s", error->sqlstate, error->why.text);
    if (outcome != DB_OK || check->account == NULL)
        give_up(check, "the database is away");
    else if (check->limited == NULL)
        compare(check);
    else if (strcmp(check->limited, "busy") == 0)
        begin_later(check);
    else
        say_limited(check);
}

static void begin(struct check *check)
{
    const struct auth_settings *settings = check->auth->settings;
    uint64_t longest = settings->auth_check_timeout > settings->ldap_timeout ? settings->auth_check_timeout
                                                                             : settings->ldap_timeout;
    char account[24], client[24], span[32], check_span[32], place_span[32];

    snprintf(account, sizeof account, "%llu", (unsigned long long)settings->auth_account_failures);
    snprintf(client, sizeof client, "%llu", (unsigned long long)settings->auth_client_failures);
    snprintf(span, sizeof span, "%llu ms", (unsigned long long)settings->auth_failure_window);
    snprintf(check_span, sizeof check_span, "%llu ms", (unsigned long long)(2 * longest));
    snprintf(place_span, sizeof place_span, "%llu ms", (unsigned long long)settings->auth_place_memory);
    const char *values[] = { check->request, check->login, check->auth->directory_cuts ? "true" : "false",
                             check->client, account, client, span, check_span, place_span };
    struct db_unit *unit = db_begin(check->auth->db, on_begin_done, check);
    db_query(unit,
             "SELECT account, limited, hash, array_to_string(senders, ' '), known"
             " FROM auth_begin($1, $2, $3, $4, $5, $6, $7, $8, $9)",
             sizeof values / sizeof *values, values, on_begun);
    db_commit(unit);
}

/* --- the question --- */

void auth_client_text(char *out, size_t cap, const char *given)
{
    char formatted[NETADDR_TEXT_MAX];
    struct netaddr address;

    if (!netaddr_parse(&address, given)) {
        snprintf(out, cap, "unknown");
        return;
    }
    if (address.family == AF_INET6)
        memset(address.bytes + 8, 0, 8);
    snprintf(out, cap, address.family == AF_INET6 ? "%s/64" : "%s", netaddr_format(&address, formatted));
}

/* "" where it is none. */
static void address_text(char out[NETADDR_TEXT_MAX], const ProtobufCBinaryData *text)
{
    char given[NETADDR_TEXT_MAX];
    struct netaddr address;

    *out = '\0';
    if (netaddr_parse(&address, wire_string(given, sizeof given, text)))
        netaddr_format(&address, out);
}

static bool is_text(const ProtobufCBinaryData *bytes)
{
    return memchr(bytes->data, '\0', bytes->len) == NULL;
}

/* Blanks and control bytes mean nothing to a directory (RFC 4518 2), so each would make another name of the same user. */
static bool is_login(const ProtobufCBinaryData *bytes)
{
    for (size_t i = 0; i < bytes->len; i++)
        if (bytes->data[i] <= ' ' || bytes->data[i] == 127)
            return false;
    return text_valid_prefix(bytes->data, bytes->len) == bytes->len;
}

static void on_question(void *arg, struct question *question, const struct link_message *message)
{
    struct auth *auth = arg;
    const Weir__AuthCheck *asked = message->frame->question->auth_check;

    if (!is_login(&asked->login) || !is_text(&asked->password)) {
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "not a login and a password");
        return;
    }
    struct check *check = xcalloc(1, sizeof *check);
    check->auth = auth;
    check->question = question;
    check->began_ms = clock_ms();
    snprintf(check->request, sizeof check->request, "%lld", (long long)message->frame->question->request);
    wire_string(check->login, sizeof check->login, &asked->login);
    for (char *p = check->login; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p | 0x20);
    wire_string(check->password, sizeof check->password, &asked->password);
    char client[NETADDR_TEXT_MAX];
    auth_client_text(check->client, sizeof check->client, wire_string(client, sizeof client, &asked->client));
    if (!asked->inside)
        address_text(check->against, &asked->client);
    TAILQ_INSERT_TAIL(&auth->checks, check, all);
    metric_set(auth->checks_now, (double)++auth->count);
    begin(check);
}

/* --- beginning and end --- */

static bool read_secret(char *out, size_t cap, const char *path, struct error *why)
{
    struct error reason;

    if (!input_read_line(path, out, cap, &reason)) {
        error_set(why, "[auth] ldap_service_password_file %s: %s", path, reason.text);
        return false;
    }
    if (*out == '\0')
        error_set(why, "[auth] ldap_service_password_file %s: holds no password in its first line", path);
    return *out != '\0';
}

static bool check_ca(const char *path, struct error *why)
{
    struct error reason;

    if (*path == '\0' || input_is_no_pipe(path, &reason))
        return true;
    error_set(why, "[auth] ldap_ca_file %s: %s", path, reason.text);
    return false;
}

static bool make_directory(struct auth *auth, struct error *why)
{
    const struct auth_settings *settings = auth->settings;
    char secret[512] = "", limit[24];
    struct packet setup = { .len = 0 };

    if (*settings->ldap_uri == '\0')
        return true;
    const char *names_user = *settings->ldap_dn != '\0' ? settings->ldap_dn : settings->ldap_filter; /* settings_load() saw to it that it does */
    auth->directory_cuts = directory_login_of(names_user) == DIRECTORY_LOGIN_USER;
    if (!check_ca(settings->ldap_ca_file, why))
        return false;
    if (*settings->ldap_service_password_file != '\0' &&
        !read_secret(secret, sizeof secret, settings->ldap_service_password_file, why))
        return false;
    snprintf(limit, sizeof limit, "%llu", (unsigned long long)settings->ldap_timeout);
    const char *fields[DIRECTORY_FIELDS] = {
        [DIRECTORY_URI] = settings->ldap_uri,
        [DIRECTORY_STARTTLS] = settings->ldap_starttls ? "on" : "off",
        [DIRECTORY_CA_FILE] = settings->ldap_ca_file,
        [DIRECTORY_DN] = settings->ldap_dn,
        [DIRECTORY_BASE] = settings->ldap_base,
        [DIRECTORY_FILTER] = settings->ldap_filter,
        [DIRECTORY_SERVICE_DN] = settings->ldap_service_dn,
        [DIRECTORY_SERVICE_PASSWORD] = secret,
        [DIRECTORY_SENDER_ATTRIBUTE] = settings->ldap_sender_attribute,
        [DIRECTORY_TIMEOUT_MS] = limit,
    };
    for (size_t i = 0; i < DIRECTORY_FIELDS; i++)
        packet_add(&setup, fields[i]);
    struct helpers_options options = {
        .base = auth->base,
        .kind = "directory",
        .count = (unsigned)settings->ldap_workers,
        .queue_max = settings->auth_queue,
        .timeout_ms = settings->ldap_timeout,
        .setup = &setup,
        .metrics = auth->metrics,
    };
    auth->directory = helpers_new(&options);
    packet_clear(&setup);
    explicit_bzero(secret, sizeof secret);
    return true;
}

struct auth *auth_new(struct event_base *base, struct db *db, struct questions *questions,
                      const struct auth_settings *settings, struct metrics *metrics, struct error *why)
{
    struct auth *auth = xcalloc(1, sizeof *auth);
    struct packet nothing = { .len = 0 };

    *auth = (struct auth){ .base = base, .db = db, .settings = settings, .metrics = metrics };
    TAILQ_INIT(&auth->checks);
    if (!make_directory(auth, why)) {
        free(auth);
        return NULL;
    }
    packet_add(&nothing, "");
    struct helpers_options options = {
        .base = base,
        .kind = "passwords",
        .count = (unsigned)settings->auth_workers,
        .queue_max = settings->auth_queue,
        .timeout_ms = settings->auth_check_timeout,
        .setup = &nothing,
        .metrics = metrics,
    };
    auth->passwords = helpers_new(&options);
    auth->limited_account = metrics_counter(metrics, "weir_auth_limited_total", "limit=\"account\"");
    auth->limited_client = metrics_counter(metrics, "weir_auth_limited_total", "limit=\"client\"");
    auth->busy = metrics_counter(metrics, "weir_auth_busy_total", NULL);
    auth->checks_now = metrics_gauge(metrics, "weir_auth_checks_pending", NULL);
    questions_register(questions, WEIR__QUESTION__BODY_AUTH_CHECK, on_question, auth);
    return auth;
}

void auth_free(struct auth **taken)
{
    struct auth *auth = *taken;
    struct check *check;

    *taken = NULL;
    if (auth == NULL)
        return;
    auth->db = NULL; /* it is gone: nobody is forgiven any more */
    helpers_free(&auth->passwords);
    helpers_free(&auth->directory);
    while ((check = TAILQ_FIRST(&auth->checks)) != NULL) /* those that wait for their delay, or to begin */
        if (check->account != NULL)
            answer(check, WEIR__AUTH_OUTCOME__AUTH_WRONG);
        else
            give_up(check, "the coordinator is stopping");
    free(auth);
}

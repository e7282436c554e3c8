/*
 * result.c - what became of leases: results and renewals, one transaction for what comes while another is under way
 *
 * A transaction costs nearly the same for one result and for many, so a second one is in flight only when it is large.
 * A transaction has either results that say "delivered" of all their recipients, which are one statement together, or
 * others, each its own. They go in the order of their ids, so that two coordinators do not wait for each other in
 * circles. Where the database refuses a transaction, its results are tried again one by one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/spool/internal.h"

#define BATCHES_MAX   2
#define BATCH_LARGE    32 /* enough to be sent behind another one */
#define BATCH_RESULTS 256
#define RESULT_VALUES  27
#define PLAIN_VALUES   19
#define PLAIN_OUTCOMES 100 /* of one result that goes with others */
#define REPEATS_MAX    5   /* of one result whose statement did not fit the schema any more */

enum { TAKEN = 0, TAKEN_BEFORE = 1 }; /* of spool_result(); everything else is an AnswerStatus */

struct item {
    struct question *question;
    char id[SPOOL_ID_MAX];
    Weir__SpoolResult *result;
    Weir__SpoolOutcomes *outcomes;
    Weir__SpoolRecipients *recipients; /* of the DSN */
    char *body;                        /* of the DSN */
    size_t body_len;
    char *who;
    bool plain; /* everything was delivered */
    bool alone, removed;
    unsigned repeats;
    int status;
    TAILQ_ENTRY(item) link;
};
TAILQ_HEAD(items, item);

struct batch {
    struct results *results;
    struct items items;
    struct item *told;
    size_t count;
};

struct results {
    struct spool *spool;
    struct db *db;
    struct event *timer;
    struct items waiting;
    size_t in_flight, waiting_count;
    char *sql, *sql_with_dsn;
    struct metric *taken, *late, *failed, *renewed;
};

static void item_free(struct item *item)
{
    weir__spool_result__free_unpacked(item->result, NULL);
    wire_outcomes_free(&item->outcomes);
    wire_recipients_free(&item->recipients);
    free(item->body);
    free(item->who);
    free(item);
}

static void item_answer(struct results *results, struct item *item, int status, const char *why)
{
    if (status == WEIR__ANSWER_STATUS__ANSWER_OK) {
        metric_add(results->taken, 1);
        Weir__SpoolSettled settled = WEIR__SPOOL_SETTLED__INIT;
        settled.removed = item->removed;
        Weir__Answer answer = WEIR__ANSWER__INIT;
        answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
        answer.body_case = WEIR__ANSWER__BODY_SPOOL_SETTLED;
        answer.spool_settled = &settled;
        question_answer(&item->question, &answer, NULL, 0);
    } else {
        metric_add(results->late, status == WEIR__ANSWER_STATUS__ANSWER_REFUSED ? 1 : 0);
        question_settle(&item->question, (Weir__AnswerStatus)status, why);
    }
    item_free(item);
}

/* --- sending --- */

static void kick(struct results *results)
{
    event_add(results->timer, &(struct timeval){ 0, 0 });
}

static void wait_in_line(struct results *results, struct item *item)
{
    TAILQ_INSERT_TAIL(&results->waiting, item, link);
    results->waiting_count++;
}

/* One row for each result, in their order. */
static void on_plain_results(void *arg, const PGresult *result)
{
    struct batch *batch = arg;
    for (int row = 0; row < PQntuples(result) && batch->told != NULL; row++, batch->told = TAILQ_NEXT(batch->told, link)) {
        batch->told->status = atoi(PQgetvalue(result, row, 0));
        batch->told->removed = PQgetvalue(result, row, 1)[0] == 't';
    }
}

static void on_result(void *arg, const PGresult *result)
{
    struct batch *batch = arg;
    if (batch->told == NULL)
        return;
    if (PQntuples(result) == 1) {
        batch->told->status = atoi(PQgetvalue(result, 0, 0));
        batch->told->removed = PQgetvalue(result, 0, 1)[0] == 't';
    }
    batch->told = TAILQ_NEXT(batch->told, link);
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct batch *batch = arg;
    struct results *results = batch->results;
    bool several = batch->count > 1;
    results->in_flight--;
    bool disk = outcome == DB_FAILED && db_error_is_disk_full(error);
    if (outcome != DB_OK)
        metric_add(results->failed, 1);
    if (disk) {
        leases_disk_full(results->spool->leases);
        spool_disk_full(results->spool);
    }
    bool other_types = outcome == DB_FAILED && spool_types_are_others(results->spool, error);
    if (other_types)
        stores_ask_types(results->spool->stores);
    if (outcome == DB_FAILED)
        log_write(several ? LOG_WARNING : LOG_ERR, "spool: %zu results not taken: %s %s", batch->count, error->sqlstate,
                  error->why.text);
    while (!TAILQ_EMPTY(&batch->items)) {
        struct item *item = TAILQ_FIRST(&batch->items);
        TAILQ_REMOVE(&batch->items, item, link);
        if (outcome == DB_FAILED && (several || ((other_types || error->stale) && ++item->repeats <= REPEATS_MAX))) {
            item->alone = true;
            wait_in_line(results, item);
        } else if (outcome != DB_OK) {
            item_answer(results, item,
                        disk ? WEIR__ANSWER_STATUS__ANSWER_FULL : WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE,
                        disk ? "the database's disk is full" : "the database did not take it");
        } else if (item->status == TAKEN || item->status == TAKEN_BEFORE) {
            log_write(LOG_DEBUG, "%s: settled by %s%s", item->id, item->who,
                      item->removed ? ", and nothing is left of the message" : "");
            item_answer(results, item, WEIR__ANSWER_STATUS__ANSWER_OK, NULL);
        } else {
            log_write(LOG_NOTICE, "%s: the result of %s came after its lease", item->id, item->who);
            item_answer(results, item, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "the lease is lost");
        }
    }
    free(batch);
    if (outcome == DB_OK)
        leases_changed(results->spool->leases);
    kick(results);
}

static struct db_value text_value(const char *text)
{
    return (struct db_value){ .data = text };
}

/* What the reply was, in one text; of who goes elsewhere, where to. */
static void add_said(struct rows *rows, const Weir__SpoolOutcome *outcome)
{
    char code[16];
    struct text said;
    if (outcome->disposition == WEIR__SPOOL_DISPOSITION__SPOOL_REROUTED) {
        rows_text(rows, outcome->text.data, outcome->text.len, SPOOL_TEXT_MAX);
        return;
    }
    text_init(&said);
    snprintf(code, sizeof code, "%u ", outcome->code);
    if (outcome->code > 0)
        text_puts(&said, code);
    text_add_clean(&said, outcome->enhanced.data, outcome->enhanced.len, SPOOL_TEXT_MAX);
    if (outcome->enhanced.len > 0)
        text_puts(&said, " ");
    text_add_clean(&said, outcome->text.data, outcome->text.len, SPOOL_TEXT_MAX);
    rows_string(rows, said.data);
    text_fini(&said);
}

static void add_outcomes(struct rows *rows, const Weir__SpoolOutcomes *outcomes)
{
    for (size_t i = 0; i < outcomes->n_outcomes; i++) {
        const Weir__SpoolOutcome *outcome = outcomes->outcomes[i];
        rows_number(rows, (int32_t)outcome->index);
        rows_number(rows, (int32_t)outcome->disposition);
        rows_number(rows, (int32_t)outcome->code);
        add_said(rows, outcome);
        rows_string(rows, outcome->own ? "t" : "f");
        rows_text(rows, outcome->reason.data, outcome->reason.len, SPOOL_TEXT_MAX);
        rows_end(rows);
    }
}

static void add_plain(struct rows *results, struct rows *outcomes, const struct item *item)
{
    const Weir__SpoolResult *result = item->result;
    const ProtobufCBinaryData *const texts[] = { &result->verdict, &result->scanner, &result->engine, &result->signatures };
    rows_string(results, item->id);
    rows_text(results, result->destination.data, result->destination.len, SPOOL_TEXT_MAX);
    rows_number(results, (int64_t)result->token);
    rows_string(results, item->who);
    rows_string(results, result->scanned ? "t" : "f");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        rows_text(results, texts[i]->data, texts[i]->len, SPOOL_TEXT_MAX);
    rows_number(results, (int64_t)outcomes->count + 1);
    rows_number(results, (int64_t)item->outcomes->n_outcomes);
    rows_end(results);
    for (size_t i = 0; i < item->outcomes->n_outcomes; i++) {
        const Weir__SpoolOutcome *outcome = item->outcomes->outcomes[i];
        rows_number(outcomes, (int64_t)results->count);
        rows_number(outcomes, (int32_t)outcome->index);
        rows_number(outcomes, (int32_t)outcome->code);
        add_said(outcomes, outcome);
        rows_end(outcomes);
    }
}

/* The one statement of results that say "delivered". */
static void send_plain(struct results *results, struct db_unit *unit, const struct batch *batch)
{
    const struct spool_words *words = &results->spool->words;
    const struct item *item;
    struct rows rows, outcomes;
    rows_init(&rows, 11);
    rows_init(&outcomes, 4);
    TAILQ_FOREACH(item, &batch->items, link)
    {
        add_plain(&rows, &outcomes, item);
    }
    const char *values[PLAIN_VALUES] = { words->retry_min, words->retry_max, words->warning, words->life };
    memcpy(values + 4, rows_values(&rows), 11 * sizeof *values);
    memcpy(values + 15, rows_values(&outcomes), 4 * sizeof *values);
    db_query(unit,
             "SELECT status, removed FROM spool_delivered($1::interval, $2::interval, $3::interval, $4::interval, $5::text[], $6::text[],"
             " $7::bigint[], $8::text[], $9::boolean[], $10::text[], $11::text[], $12::text[], $13::text[], $14::integer[], $15::integer[],"
             " $16::integer[], $17::integer[], $18::integer[], $19::text[]) ORDER BY place",
             PLAIN_VALUES, values, on_plain_results);
    rows_fini(&rows);
    rows_fini(&outcomes);
}

/* The statement of one result. A DSN is stored only where the result is taken now. */
static void send_item(struct results *results, struct db_unit *unit, const struct item *item)
{
    const struct spool_words *words = &results->spool->words;
    const Weir__SpoolResult *result = item->result;
    char token[24], epoch[24], pause[32], score[16];
    snprintf(token, sizeof token, "%llu", (unsigned long long)result->token);
    snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)result->policy_epoch);
    snprintf(pause, sizeof pause, "%u ms", result->retry_ms);
    snprintf(score, sizeof score, "%u", result->score);
    char *destination = spool_clean(&result->destination), *verdict = spool_clean(&result->verdict);
    char *scanner = spool_clean(&result->scanner), *engine = spool_clean(&result->engine);
    char *signatures = spool_clean(&result->signatures), *signature = spool_clean(&result->signature);
    char *symbols = spool_clean(&result->symbols);
    struct rows outcomes;
    struct store_rows dsn;
    rows_init(&outcomes, 6);
    store_rows_init(&dsn);
    add_outcomes(&outcomes, item->outcomes);
    const char *const *columns = rows_values(&outcomes);
    struct db_value values[RESULT_VALUES + STORE_VALUES] = {
        text_value(words->retry_min), text_value(words->retry_max), text_value(words->warning), text_value(words->life),
        text_value(item->id), text_value(destination), text_value(token), text_value(item->who),
        text_value(result->destination_down ? "t" : "f"), text_value(pause), text_value(result->delay_warned ? "t" : "f"),
        text_value(result->scanned ? "t" : "f"), text_value(verdict), text_value(scanner), text_value(engine),
        text_value(signatures), text_value(columns[0]), text_value(columns[1]), text_value(columns[2]), text_value(columns[3]),
        text_value(result->reached ? "t" : "f"), text_value(columns[4]), text_value(columns[5]), text_value(signature),
        text_value(epoch), text_value(result->scored ? score : NULL), text_value(symbols),
    };
    struct link_payload body = { item->body, item->body_len };
    const Weir__SpoolStore report = { .envelope = result->dsn, .last = true };
    bool with_dsn = result->dsn != NULL && store_rows_add(&dsn, &report, item->recipients, &body);
    if (with_dsn)
        store_rows_values(&dsn, results->spool, false, values + RESULT_VALUES);
    db_query_values(unit, with_dsn ? results->sql_with_dsn : results->sql, RESULT_VALUES + (with_dsn ? STORE_VALUES : 0),
                    values, false, on_result);
    rows_fini(&outcomes);
    store_rows_fini(&dsn);
    free(destination);
    free(verdict);
    free(scanner);
    free(engine);
    free(signatures);
    free(signature);
    free(symbols);
}

/* In the order of ids. */
static void batch_insert(struct batch *batch, struct item *item)
{
    struct item *before = TAILQ_LAST(&batch->items, items);
    while (before != NULL && strcmp(before->id, item->id) > 0)
        before = TAILQ_PREV(before, items, link);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&batch->items, before, item, link);
    else
        TAILQ_INSERT_HEAD(&batch->items, item, link);
    batch->count++;
}

/* The longest waiting result, and those that can go with it. */
static void fill_batch(struct batch *batch, struct items *waiting)
{
    struct item *next, *item = TAILQ_FIRST(waiting);
    bool plain = item->plain, alone = item->alone;
    for (; item != NULL && batch->count < (alone ? 1 : BATCH_RESULTS); item = next) {
        next = TAILQ_NEXT(item, link);
        if (item->plain != plain || item->alone != alone)
            continue;
        TAILQ_REMOVE(waiting, item, link);
        batch_insert(batch, item);
    }
}

static void send_batch(struct results *results)
{
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->results = results;
    TAILQ_INIT(&batch->items);
    fill_batch(batch, &results->waiting);
    results->waiting_count -= batch->count;
    results->in_flight++;
    batch->told = TAILQ_FIRST(&batch->items);
    struct db_unit *unit = db_begin(results->db, on_done, batch);
    struct item *item;
    if (batch->told->plain) {
        send_plain(results, unit, batch);
    } else {
        TAILQ_FOREACH(item, &batch->items, link)
        {
            send_item(results, unit, item);
        }
    }
    db_commit(unit);
}

static bool may_send(const struct results *results)
{
    return results->in_flight == 0 || (results->waiting_count >= BATCH_LARGE && results->in_flight < BATCHES_MAX);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct results *results = arg;
    if (!results->spool->types_known)
        return; /* a report may be among them; results_go_on() */
    while (!TAILQ_EMPTY(&results->waiting) && may_send(results))
        send_batch(results);
}

/* --- questions --- */

/* false: its payloads are not what they must be. */
static bool take_payloads(struct item *item, const struct link_message *message)
{
    struct error why;
    item->outcomes = wire_outcomes_decode(message->payloads[0].data, message->payloads[0].len, &why);
    if (item->outcomes == NULL || item->outcomes->n_outcomes == 0)
        return false;
    if (item->result->dsn == NULL)
        return true;
    item->recipients = wire_recipients_decode(message->payloads[1].data, message->payloads[1].len, &why);
    item->body_len = message->payloads[2].len;
    item->body = xmalloc(item->body_len + 1);
    if (item->body_len > 0)
        memcpy(item->body, message->payloads[2].data, item->body_len);
    return item->recipients != NULL && item->recipients->n_recipients > 0;
}

static bool is_plain(const struct item *item)
{
    const Weir__SpoolResult *result = item->result;
    const Weir__SpoolOutcomes *outcomes = item->outcomes;
    bool plain = result->dsn == NULL && !result->destination_down && !result->delay_warned && outcomes->n_outcomes <= PLAIN_OUTCOMES;
    for (size_t i = 0; i < outcomes->n_outcomes && plain; i++)
        plain = outcomes->outcomes[i]->disposition == WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED;
    return plain;
}

static void on_result_asked(void *arg, struct question *question, const struct link_message *message)
{
    struct results *results = arg;
    struct item *item = xcalloc(1, sizeof *item);
    item->question = question;
    item->result = wire_copy(&message->frame->question->spool_result->base);
    item->who = xstrdup(question_node(question));
    item->status = -1;
    wire_string(item->id, sizeof item->id, &item->result->id);
    if (!take_payloads(item, message)) {
        item_answer(results, item, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "its outcomes or recipients make no sense");
        return;
    }
    if (!db_is_up(results->db)) {
        item_answer(results, item, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database is not there");
        return;
    }
    item->plain = is_plain(item);
    wait_in_line(results, item);
    kick(results);
}

struct renewal {
    struct results *results;
    struct question *question;
    PGresult *rows; /* ours; NULL: none came */
};

static void on_renewed(void *arg, const PGresult *result)
{
    struct renewal *renewal = arg;
    renewal->rows = PQcopyResult(result, PG_COPYRES_TUPLES);
    if (renewal->rows == NULL)
        fatal("out of memory");
}

static void renewal_answer(struct renewal *renewal)
{
    const PGresult *rows = renewal->rows;
    size_t count = (size_t)PQntuples(rows);
    Weir__SpoolHeld *held = xcalloc(count + 1, sizeof *held);
    Weir__SpoolHeld **pointers = xcalloc(count + 1, sizeof *pointers);
    for (size_t i = 0; i < count; i++) {
        weir__spool_held__init(&held[i]);
        held[i].id = wire_text(PQgetvalue(rows, (int)i, 0));
        held[i].destination = wire_text(PQgetvalue(rows, (int)i, 1));
        held[i].token = strtoull(PQgetvalue(rows, (int)i, 2), NULL, 10);
        pointers[i] = &held[i];
    }
    Weir__SpoolRenewed renewed = WEIR__SPOOL_RENEWED__INIT;
    renewed.held = pointers;
    renewed.n_held = count;
    renewed.lease_ms = (uint32_t)renewal->results->spool->options.settings->spool_lease;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_RENEWED;
    answer.spool_renewed = &renewed;
    metric_add(renewal->results->renewed, (double)count);
    question_answer(&renewal->question, &answer, NULL, 0);
    free(held);
    free(pointers);
}

/* Not with the rows: a lease whose end was only said may be another's after the database's fall. */
static void on_renewal_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct renewal *renewal = arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "spool: leases not renewed: %s %s", error->sqlstate, error->why.text);
    if (outcome == DB_OK && renewal->rows != NULL)
        renewal_answer(renewal);
    else
        question_settle(&renewal->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database did not answer");
    PQclear(renewal->rows);
    free(renewal);
}

static void on_renew(void *arg, struct question *question, const struct link_message *message)
{
    struct results *results = arg;
    const Weir__SpoolRenew *asked = message->frame->question->spool_renew;
    struct renewal *renewal = xcalloc(1, sizeof *renewal);
    *renewal = (struct renewal){ .results = results, .question = question };
    struct rows held;
    rows_init(&held, 3);
    for (size_t i = 0; i < asked->n_held; i++) {
        rows_text(&held, asked->held[i]->id.data, asked->held[i]->id.len, SPOOL_TEXT_MAX);
        rows_text(&held, asked->held[i]->destination.data, asked->held[i]->destination.len, SPOOL_TEXT_MAX);
        rows_number(&held, (int64_t)asked->held[i]->token);
        rows_end(&held);
    }
    const char *const *columns = rows_values(&held);
    const char *const values[] = { columns[0], columns[1], columns[2], results->spool->words.lease };
    struct db_unit *unit = db_begin(results->db, on_renewal_done, renewal);
    db_query(unit, "SELECT id, destination, token FROM spool_renew($1::text[], $2::text[], $3::bigint[], $4::interval)", 4, values, on_renewed);
    db_commit(unit);
    rows_fini(&held);
}

static void on_up(void *arg)
{
    (void)arg;
}

struct results *results_new(struct spool *spool)
{
    struct results *results = xcalloc(1, sizeof *results);
    struct metrics *metrics = spool->options.metrics;
    static const char call[] =
        "spool_result($1::interval, $2::interval, $3::interval, $4::interval, $5::text, $6::text, $7::bigint, $8::text, $9::boolean, "
        "$10::interval, $11::boolean, $12::boolean, $13::text, $14::text, $15::text, $16::text, $17::integer[], $18::integer[], "
        "$19::integer[], $20::text[], $21::boolean, $22::boolean[], $23::text[], $24::text, $25::bigint, $26::integer, $27::text)";
    results->spool = spool;
    TAILQ_INIT(&results->waiting);
    results->timer = evtimer_new(spool->options.base, on_timer, results);
    results->db = spool_connect(spool, "result", on_up, on_up, NULL, results);
    char *store = store_call(RESULT_VALUES + 1);
    results->sql = xasprintf("SELECT status, removed FROM %s", call);
    results->sql_with_dsn = xasprintf("SELECT r.status, r.removed, CASE WHEN r.status = 0 THEN (SELECT s.status FROM %s AS s) END"
                                      " FROM (SELECT * FROM %s OFFSET 0) AS r",
                                      store, call);
    free(store);
    results->taken = metrics_counter(metrics, "weir_spool_results_total", "result=\"taken\"");
    results->late = metrics_counter(metrics, "weir_spool_results_total", "result=\"late\"");
    results->failed = metrics_counter(metrics, "weir_spool_batches_failed_total", "kind=\"result\"");
    results->renewed = metrics_counter(metrics, "weir_spool_renewals_total", NULL);
    questions_register(spool->options.questions, WEIR__QUESTION__BODY_SPOOL_RESULT, on_result_asked, results);
    questions_register(spool->options.questions, WEIR__QUESTION__BODY_SPOOL_RENEW, on_renew, results);
    return results;
}

void results_go_on(struct results *results)
{
    event_add(results->timer, &(struct timeval){ 0, 0 });
}

void results_free(struct results **freed)
{
    struct results *results = *freed;
    *freed = NULL;
    if (results == NULL)
        return;
    db_free(&results->db);
    while (!TAILQ_EMPTY(&results->waiting)) {
        struct item *item = TAILQ_FIRST(&results->waiting);
        TAILQ_REMOVE(&results->waiting, item, link);
        item_answer(results, item, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "stopping");
    }
    event_free(results->timer);
    free(results->sql);
    free(results->sql_with_dsn);
    free(results);
}

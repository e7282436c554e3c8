/*
 * limits.c - see limits.h
 *
 * One statement at a time: what comes meanwhile is the next one, so the more is asked the more go together, and nobody waits for a timer.
 */
#include "coordinator/limits.h"

#include <stdlib.h>
#include <sys/queue.h>
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/rows.h"

#define COLUMNS    9
#define COSTS_MOST 512 /* of one statement: each is a lock of the database until it ends */

struct asked {
    STAILQ_ENTRY(asked) order;
    struct question *question;
    size_t count;
    bool answered; /* all its states are here */
    Weir__LimitState *states;
    struct rows rows;
};

STAILQ_HEAD(asked_list, asked);

struct limits_room {
    struct db *db;
    struct event *soon;
    struct asked_list waiting, under_way;
    bool busy;
    uint32_t number; /* of the last question: tells neighbours apart */
    struct metric *statements, *costs, *refused, *spare;
};

static void asked_free(struct asked *asked)
{
    rows_fini(&asked->rows);
    free(asked->states);
    free(asked);
}

/* ---- answered ---- */

static void answer(struct asked *asked)
{
    Weir__Answer reply = WEIR__ANSWER__INIT;
    Weir__LimitTaken taken = WEIR__LIMIT_TAKEN__INIT;
    Weir__LimitState **states = xcalloc(asked->count, sizeof *states);
    for (size_t i = 0; i < asked->count; i++)
        states[i] = &asked->states[i];
    taken.n_states = asked->count;
    taken.states = states;
    reply.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    reply.body_case = WEIR__ANSWER__BODY_LIMIT_TAKEN;
    reply.limit_taken = &taken;
    question_answer(&asked->question, &reply, NULL, 0);
    free(states);
}

static uint64_t column(const PGresult *result, int row, int at, uint64_t most)
{
    unsigned long long value = strtoull(PQgetvalue(result, row, at), NULL, 10);
    return value < most ? value : most;
}

static void on_rows(void *arg, const PGresult *result)
{
    struct limits_room *room = arg;
    struct asked *asked;
    int row = 0;
    STAILQ_FOREACH(asked, &room->under_way, order)
    {
        if (PQnfields(result) != 3 || row + (int)asked->count > PQntuples(result))
            return;
        for (size_t i = 0; i < asked->count; i++, row++) {
            Weir__LimitState *state = &asked->states[i];
            weir__limit_state__init(state);
            state->fits = PQgetvalue(result, row, 0)[0] == 't';
            state->wait_ms = column(result, row, 1, WIRE_TIME_MAX);
            state->spare = column(result, row, 2, WIRE_SIZE_MAX);
            metric_add(room->refused, !state->fits);
            metric_add(room->spare, (double)state->spare);
        }
        asked->answered = true;
    }
}

static void schedule(struct limits_room *room)
{
    if (!room->busy && !STAILQ_EMPTY(&room->waiting))
        event_add(room->soon, &(struct timeval){ 0, 0 });
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct limits_room *room = arg;
    struct asked *asked;
    room->busy = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "limits: %s %s", error->sqlstate, error->why.text);
    while ((asked = STAILQ_FIRST(&room->under_way)) != NULL) {
        STAILQ_REMOVE_HEAD(&room->under_way, order);
        if (outcome == DB_OK && asked->answered)
            answer(asked);
        else
            question_settle(&asked->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database is away");
        asked_free(asked);
    }
    schedule(room);
}

/* ---- asked ---- */

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct limits_room *room = arg;
    struct rows rows;
    struct asked *asked;
    if (room->busy)
        return;
    rows_init(&rows, COLUMNS);
    while ((asked = STAILQ_FIRST(&room->waiting)) != NULL && rows.count + asked->count <= COSTS_MOST) {
        STAILQ_REMOVE_HEAD(&room->waiting, order);
        STAILQ_INSERT_TAIL(&room->under_way, asked, order);
        rows_append(&rows, &asked->rows);
    }
    metric_add(room->statements, 1);
    metric_add(room->costs, (double)rows.count);
    room->busy = true;
    struct db_unit *unit = db_begin(room->db, on_done, room);
    db_query(unit,
             "SELECT took, wait, given FROM limit_take($1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],"
             " $8::boolean[], $9::boolean[])",
             COLUMNS, rows_values(&rows), on_rows);
    db_commit(unit);
    rows_fini(&rows);
}

static void on_ask(void *arg, struct question *question, const struct link_message *message)
{
    struct limits_room *room = arg;
    const Weir__LimitAsk *ask = message->frame->question->limit_ask;
    struct asked *asked = xcalloc(1, sizeof *asked);
    *asked = (struct asked){ .question = question, .count = ask->n_costs, .states = xcalloc(ask->n_costs, sizeof *asked->states) };
    rows_init(&asked->rows, COLUMNS);
    room->number = (room->number + 1) & INT32_MAX;
    for (size_t i = 0; i < ask->n_costs; i++) {
        const Weir__LimitCost *cost = ask->costs[i];
        rows_number(&asked->rows, room->number);
        rows_text(&asked->rows, cost->bucket.data, cost->bucket.len, 2 * WIRE_BUCKET_MAX);
        rows_number(&asked->rows, (int64_t)cost->cost);
        rows_number(&asked->rows, (int64_t)cost->amount);
        rows_number(&asked->rows, (int64_t)cost->period_ms);
        rows_number(&asked->rows, (int64_t)cost->burst);
        rows_number(&asked->rows, (int64_t)cost->spare);
        rows_string(&asked->rows, cost->debt ? "t" : "f");
        rows_string(&asked->rows, cost->dry_run ? "t" : "f");
        rows_end(&asked->rows);
    }
    STAILQ_INSERT_TAIL(&room->waiting, asked, order);
    schedule(room);
}

/* ---- beginning and end ---- */

struct limits_room *limits_new(struct event_base *base, struct db *db, struct questions *questions, struct metrics *metrics)
{
    struct limits_room *room = xcalloc(1, sizeof *room);
    room->db = db;
    STAILQ_INIT(&room->waiting);
    STAILQ_INIT(&room->under_way);
    room->soon = evtimer_new(base, on_soon, room);
    if (room->soon == NULL)
        fatal("out of memory");
    room->statements = metrics_counter(metrics, "weir_limit_statements_total", NULL);
    room->costs = metrics_counter(metrics, "weir_limit_costs_total", NULL);
    room->refused = metrics_counter(metrics, "weir_limit_costs_refused_total", NULL);
    room->spare = metrics_counter(metrics, "weir_limit_lots_tokens_total", NULL);
    questions_register(questions, WEIR__QUESTION__BODY_LIMIT_ASK, on_ask, room);
    return room;
}

void limits_free(struct limits_room **freed)
{
    struct limits_room *room = *freed;
    struct asked *asked;
    *freed = NULL;
    if (room == NULL)
        return;
    while ((asked = STAILQ_FIRST(&room->waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&room->waiting, order);
        question_settle(&asked->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the coordinator is stopping");
        asked_free(asked);
    }
    event_free(room->soon);
    free(room);
}

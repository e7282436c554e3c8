/*
 * limits.c - see limits.h
 *
 * Two connections of its own, so that no decision waits behind what else a coordinator asks, and the database works on one statement while the answers of
 * another are told. What comes while a statement is under way is the next one, so the more is asked the more go together, and nobody waits for a timer. The
 * second connection is for what has become many meanwhile, or has waited for longer than a statement takes: it costs as much as ten decisions before it makes
 * the first.
 */
#include "coordinator/limits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/rows.h"

#define COLUMNS    9
#define COSTS_MOST 256 /* of one statement: each is a lock of the database until it ends */
#define COSTS_MANY 32  /* enough for the second connection */
#define LATE_MS    5   /* the same, of a statement under way: somebody else has its buckets */

struct cost {
    const char *bucket; /* behind the costs */
    size_t len;
    int64_t cost, amount, period_ms, burst, spare;
    bool debt, dry_run;
};

struct asked {
    STAILQ_ENTRY(asked) order;
    struct question *question;
    uint32_t number; /* tells neighbours apart */
    size_t count;
    bool answered; /* all its states are here */
    Weir__LimitState *states;
    struct cost costs[];
};

STAILQ_HEAD(asked_list, asked);

struct lane {
    struct limits_room *room;
    struct db *db;
    struct rows rows;
    struct asked_list under_way;
    uint64_t begun_ms;
    bool busy;
};

struct limits_room {
    struct event *soon;
    struct asked_list waiting;
    size_t waiting_costs;
    struct lane lanes[LIMITS_CONNECTIONS];
    uint32_t number; /* of the last question */
    struct metric *statements, *costs, *refused, *spare;
};

static void asked_free(struct asked *asked)
{
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
    struct lane *lane = arg;
    struct limits_room *room = lane->room;
    struct asked *asked;
    int row = 0;
    STAILQ_FOREACH(asked, &lane->under_way, order)
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
    if (!STAILQ_EMPTY(&room->waiting))
        event_add(room->soon, &(struct timeval){ 0, 0 });
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct lane *lane = arg;
    struct asked *asked;
    lane->busy = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "limits: %s %s", error->sqlstate, error->why.text);
    schedule(lane->room);
    while ((asked = STAILQ_FIRST(&lane->under_way)) != NULL) {
        STAILQ_REMOVE_HEAD(&lane->under_way, order);
        if (outcome == DB_OK && asked->answered)
            answer(asked);
        else
            question_settle(&asked->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database is away");
        asked_free(asked);
    }
}

/* ---- asked ---- */

static void add_rows(struct rows *rows, const struct asked *asked)
{
    for (size_t i = 0; i < asked->count; i++) {
        const struct cost *cost = &asked->costs[i];
        rows_number(rows, asked->number);
        rows_text(rows, cost->bucket, cost->len, 2 * WIRE_BUCKET_MAX);
        rows_number(rows, cost->cost);
        rows_number(rows, cost->amount);
        rows_number(rows, cost->period_ms);
        rows_number(rows, cost->burst);
        rows_number(rows, cost->spare);
        rows_string(rows, cost->debt ? "t" : "f");
        rows_string(rows, cost->dry_run ? "t" : "f");
        rows_end(rows);
    }
}

static void send_waiting(struct lane *lane)
{
    struct limits_room *room = lane->room;
    struct asked *asked;
    rows_reset(&lane->rows);
    while ((asked = STAILQ_FIRST(&room->waiting)) != NULL && lane->rows.count + asked->count <= COSTS_MOST) {
        STAILQ_REMOVE_HEAD(&room->waiting, order);
        STAILQ_INSERT_TAIL(&lane->under_way, asked, order);
        room->waiting_costs -= asked->count;
        add_rows(&lane->rows, asked);
    }
    metric_add(room->statements, 1);
    metric_add(room->costs, (double)lane->rows.count);
    lane->busy = true;
    lane->begun_ms = clock_ms();
    struct db_unit *unit = db_begin(lane->db, on_done, lane);
    db_query(unit,
             "SELECT took, wait, given FROM limit_take($1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],"
             " $8::boolean[], $9::boolean[])",
             COLUMNS, rows_values(&lane->rows), on_rows);
    db_commit(unit);
}

/* NULL: what waits is to wait. One that is not up says at once that the database is away, so it is asked where there is no other. */
static struct lane *free_lane(struct limits_room *room)
{
    struct lane *found = NULL;
    bool busy = false, enough = room->waiting_costs >= COSTS_MANY;
    for (size_t i = 0; i < LIMITS_CONNECTIONS; i++) {
        struct lane *lane = &room->lanes[i];
        busy |= lane->busy;
        enough |= lane->busy && clock_ms() - lane->begun_ms >= LATE_MS;
        if (!lane->busy && (found == NULL || (!db_is_up(found->db) && db_is_up(lane->db))))
            found = lane;
    }
    if (!busy || found == NULL || !db_is_up(found->db))
        return busy ? NULL : found;
    if (!enough)
        event_add(room->soon, &(struct timeval){ 0, LATE_MS * 1000 });
    return enough ? found : NULL;
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct limits_room *room = arg;
    struct lane *lane;
    while (!STAILQ_EMPTY(&room->waiting) && (lane = free_lane(room)) != NULL)
        send_waiting(lane);
}

static struct asked *asked_new(const Weir__LimitAsk *ask)
{
    size_t bytes = 0;
    for (size_t i = 0; i < ask->n_costs; i++)
        bytes += ask->costs[i]->bucket.len;
    struct asked *asked = xcalloc(1, sizeof *asked + ask->n_costs * sizeof *asked->costs + bytes);
    char *names = (char *)&asked->costs[ask->n_costs];
    asked->count = ask->n_costs;
    asked->states = xcalloc(ask->n_costs, sizeof *asked->states);
    for (size_t i = 0; i < ask->n_costs; i++) {
        const Weir__LimitCost *cost = ask->costs[i];
        asked->costs[i] = (struct cost){ names, cost->bucket.len, (int64_t)cost->cost, (int64_t)cost->amount, (int64_t)cost->period_ms, (int64_t)cost->burst,
                                         (int64_t)cost->spare, cost->debt, cost->dry_run };
        if (cost->bucket.len > 0)
            memcpy(names, cost->bucket.data, cost->bucket.len);
        names += cost->bucket.len;
    }
    return asked;
}

static void on_ask(void *arg, struct question *question, const struct link_message *message)
{
    struct limits_room *room = arg;
    struct asked *asked = asked_new(message->frame->question->limit_ask);
    asked->question = question;
    asked->number = room->number = (room->number + 1) & INT32_MAX;
    room->waiting_costs += asked->count;
    STAILQ_INSERT_TAIL(&room->waiting, asked, order);
    schedule(room);
}

/* ---- beginning and end ---- */

struct limits_room *limits_new(struct event_base *base, struct db *const dbs[LIMITS_CONNECTIONS], struct questions *questions, struct metrics *metrics)
{
    struct limits_room *room = xcalloc(1, sizeof *room);
    STAILQ_INIT(&room->waiting);
    for (size_t i = 0; i < LIMITS_CONNECTIONS; i++) {
        struct lane *lane = &room->lanes[i];
        *lane = (struct lane){ .room = room, .db = dbs[i] };
        STAILQ_INIT(&lane->under_way);
        rows_init(&lane->rows, COLUMNS);
    }
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
    for (size_t i = 0; i < LIMITS_CONNECTIONS; i++)
        rows_fini(&room->lanes[i].rows);
    event_free(room->soon);
    free(room);
}

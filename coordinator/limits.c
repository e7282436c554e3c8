/*
 * limits.c - see limits.h
 *
 * Two connections of its own, so that no decision waits behind what else a coordinator asks, and the database works on one statement while the answers of
 * another are told. What comes while a statement is under way is the next one, so the more is asked the more go together, and nobody waits for a timer. The
 * second connection is for what has become many meanwhile, or has waited for longer than a statement takes: it costs as much as ten decisions before it makes
 * the first. What needs a bucket that a statement under way has is held until that is done: it would wait in the database with all that is in its statement.
 */
#include "coordinator/limits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/arrays.h"

#define COSTS_MOST 256 /* of one statement: each is a lock of the database until it ends */
#define COSTS_MANY 32  /* enough for the second connection */
#define LATE_MS    5   /* the same, of a statement under way: somebody else has its buckets */
#define PLACES     1024 /* a power of two, above COSTS_MOST: most are free */
#define HELD_MOST  50   /* so often one is held: others may have one of its buckets by turns for ever */

struct cost {
    const char *bucket; /* behind the costs, as the database has it */
    size_t len;
    uint32_t hash;
    int64_t cost, amount, period_ms, burst, spare;
    bool debt, dry_run;
};

struct asked {
    STAILQ_ENTRY(asked) order;
    struct question *question;
    uint32_t number; /* tells neighbours apart */
    size_t count;
    unsigned held;
    bool answered; /* all its states are here */
    Weir__LimitState *states; /* behind the costs */
    struct cost costs[];
};

/* Of a bucket among those of a statement. */
struct place {
    const struct cost *cost; /* the first that is of it; NULL: nobody's */
    unsigned number;
};

STAILQ_HEAD(asked_list, asked);

/* Parameters of limit_decide(), in its order: what each cost has, and the names of buckets. */
enum { REQUEST, PLACE, COST, AMOUNT, PERIOD, BURST, SPARE, DEBT, DRY_RUN, NAMES, COLUMNS };

static const enum array_type column_types[COLUMNS] = {
    ARRAY_INTEGER, ARRAY_INTEGER, ARRAY_BIGINT, ARRAY_BIGINT, ARRAY_BIGINT, ARRAY_BIGINT, ARRAY_BIGINT, ARRAY_BOOLEAN, ARRAY_BOOLEAN, ARRAY_TEXT,
};

struct lane {
    struct limits_room *room;
    struct db *db;
    size_t count; /* costs of the statement */
    struct array columns[COLUMNS];
    struct place places[PLACES]; /* by hash of the name; what they point to lives while it is busy */
    struct asked_list under_way;
    uint64_t begun_ms;
    bool busy;
};

struct limits_room {
    struct event *soon;
    struct asked_list waiting, held; /* those that are held were asked before those that wait */
    size_t waiting_costs;            /* of those that are not held */
    struct lane lanes[LIMITS_CONNECTIONS];
    uint32_t number;                 /* of the last question */
    struct text names;               /* of one question */
    struct metric *statements, *costs, *refused, *spare, *held_back;
};

/* ---- answered ---- */

static void answer(struct asked *asked)
{
    Weir__Answer reply = WEIR__ANSWER__INIT;
    Weir__LimitTaken taken = WEIR__LIMIT_TAKEN__INIT;
    Weir__LimitState *states[WIRE_COSTS_MAX];
    for (size_t i = 0; i < asked->count; i++)
        states[i] = &asked->states[i];
    taken.n_states = asked->count;
    taken.states = states;
    reply.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    reply.body_case = WEIR__ANSWER__BODY_LIMIT_TAKEN;
    reply.limit_taken = &taken;
    question_answer(&asked->question, &reply, NULL, 0);
}

static uint64_t number_at(const char *numbers, size_t at, uint64_t most)
{
    int64_t number = array_at(numbers, ARRAY_BIGINT, at);
    return number < 0 ? 0 : (uint64_t)number < most ? (uint64_t)number : most;
}

static void on_rows(void *arg, const PGresult *result)
{
    struct lane *lane = arg;
    struct limits_room *room = lane->room;
    struct asked *asked;
    size_t at = 0;
    if (PQnfields(result) != 3 || PQntuples(result) != 1)
        return;
    const char *took = array_elements(result, 0, 0, ARRAY_BOOLEAN, lane->count), *wait = array_elements(result, 0, 1, ARRAY_BIGINT, lane->count),
               *given = array_elements(result, 0, 2, ARRAY_BIGINT, lane->count);
    if (took == NULL || wait == NULL || given == NULL)
        return;
    STAILQ_FOREACH(asked, &lane->under_way, order)
    {
        for (size_t i = 0; i < asked->count; i++, at++) {
            Weir__LimitState *state = &asked->states[i];
            weir__limit_state__init(state);
            state->fits = array_at(took, ARRAY_BOOLEAN, at) != 0;
            state->wait_ms = number_at(wait, at, WIRE_TIME_MAX);
            state->spare = number_at(given, at, WIRE_SIZE_MAX);
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

/* A statement is done, so their buckets may be free. They go first. */
static void let_held_wait(struct limits_room *room)
{
    struct asked *asked;
    STAILQ_FOREACH(asked, &room->held, order)
        room->waiting_costs += asked->count;
    STAILQ_CONCAT(&room->held, &room->waiting);
    STAILQ_CONCAT(&room->waiting, &room->held);
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct lane *lane = arg;
    struct asked *asked;
    lane->busy = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "limits: %s %s", error->sqlstate, error->why.text);
    let_held_wait(lane->room);
    schedule(lane->room);
    while ((asked = STAILQ_FIRST(&lane->under_way)) != NULL) {
        STAILQ_REMOVE_HEAD(&lane->under_way, order);
        if (outcome == DB_OK && asked->answered)
            answer(asked);
        else
            question_settle(&asked->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database is away");
        free(asked);
    }
}

/* ---- asked ---- */

static uint32_t hash_of(const char *name, size_t len)
{
    uint32_t hash = 2166136261u; /* FNV-1a; who makes names share places makes a statement slower by what COSTS_MOST comparisons cost, each */
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)name[i]) * 16777619u;
    return hash ^ hash >> 15;
}

/* Where that bucket is among those of the statement, or would be. */
static struct place *place_of(struct lane *lane, const struct cost *cost)
{
    for (uint32_t at = cost->hash;; at++) {
        struct place *place = &lane->places[at % PLACES];
        const struct cost *found = place->cost;
        if (found == NULL || (found->hash == cost->hash && found->len == cost->len && memcmp(found->bucket, cost->bucket, cost->len) == 0))
            return place;
    }
}

static unsigned place_number(struct lane *lane, const struct cost *cost)
{
    struct place *place = place_of(lane, cost);
    if (place->cost != NULL)
        return place->number;
    array_text(&lane->columns[NAMES], cost->bucket, cost->len, 2 * WIRE_BUCKET_MAX);
    *place = (struct place){ cost, (unsigned)lane->columns[NAMES].count };
    return place->number;
}

/* Whether a statement under way has one of its buckets. */
static bool is_in_use(struct limits_room *room, const struct asked *asked)
{
    for (size_t at = 0; at < LIMITS_CONNECTIONS; at++)
        for (size_t i = 0; room->lanes[at].busy && i < asked->count; i++)
            if (place_of(&room->lanes[at], &asked->costs[i])->cost != NULL)
                return true;
    return false;
}

static void add_costs(struct lane *lane, const struct asked *asked)
{
    struct array *columns = lane->columns;
    for (size_t i = 0; i < asked->count; i++) {
        const struct cost *cost = &asked->costs[i];
        array_integer(&columns[REQUEST], (int32_t)asked->number);
        array_integer(&columns[PLACE], (int32_t)place_number(lane, cost));
        array_bigint(&columns[COST], cost->cost);
        array_bigint(&columns[AMOUNT], cost->amount);
        array_bigint(&columns[PERIOD], cost->period_ms);
        array_bigint(&columns[BURST], cost->burst);
        array_bigint(&columns[SPARE], cost->spare);
        array_boolean(&columns[DEBT], cost->debt);
        array_boolean(&columns[DRY_RUN], cost->dry_run);
    }
    lane->count += asked->count;
}

/* Takes those that wait, but for those whose buckets are in use: these are held. */
static void take_waiting(struct lane *lane)
{
    struct limits_room *room = lane->room;
    struct asked *asked;
    lane->count = 0;
    for (size_t i = 0; i < COLUMNS; i++)
        array_reset(&lane->columns[i]);
    memset(lane->places, 0, sizeof lane->places);
    while ((asked = STAILQ_FIRST(&room->waiting)) != NULL && lane->count + asked->count <= COSTS_MOST) {
        STAILQ_REMOVE_HEAD(&room->waiting, order);
        room->waiting_costs -= asked->count;
        if (asked->held < HELD_MOST && is_in_use(room, asked)) {
            asked->held++;
            metric_add(room->held_back, 1);
            STAILQ_INSERT_TAIL(&room->held, asked, order);
            continue;
        }
        STAILQ_INSERT_TAIL(&lane->under_way, asked, order);
        add_costs(lane, asked);
    }
}

static void send_waiting(struct lane *lane)
{
    struct limits_room *room = lane->room;
    take_waiting(lane);
    if (lane->count == 0)
        return;
    metric_add(room->statements, 1);
    metric_add(room->costs, (double)lane->count);
    lane->busy = true;
    lane->begun_ms = clock_ms();
    struct db_unit *unit = db_begin(lane->db, on_done, lane);
    struct db_value values[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++)
        values[i] = array_value(&lane->columns[i]);
    db_query_values(unit, "SELECT took, wait, given FROM limit_decide($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", COLUMNS, values, true, on_rows);
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

static struct asked *asked_new(struct limits_room *room, const Weir__LimitAsk *ask)
{
    size_t ends[WIRE_COSTS_MAX], count = ask->n_costs, fixed = sizeof(struct asked) + count * (sizeof(struct cost) + sizeof(Weir__LimitState));
    text_reset(&room->names);
    for (size_t i = 0; i < count; i++) {
        text_add_clean(&room->names, ask->costs[i]->bucket.data, ask->costs[i]->bucket.len, 2 * WIRE_BUCKET_MAX);
        ends[i] = room->names.len;
    }
    struct asked *asked = xmalloc(fixed + room->names.len);
    *asked = (struct asked){ .count = count, .states = (Weir__LimitState *)&asked->costs[count] };
    char *names = (char *)&asked->states[count];
    memcpy(names, room->names.data, room->names.len);
    for (size_t i = 0, begin = 0; i < count; begin = ends[i++]) {
        const Weir__LimitCost *cost = ask->costs[i];
        asked->costs[i] = (struct cost){ names + begin, ends[i] - begin, hash_of(names + begin, ends[i] - begin), (int64_t)cost->cost, (int64_t)cost->amount,
                                         (int64_t)cost->period_ms, (int64_t)cost->burst, (int64_t)cost->spare, cost->debt, cost->dry_run };
    }
    return asked;
}

static void on_ask(void *arg, struct question *question, const struct link_message *message)
{
    struct limits_room *room = arg;
    struct asked *asked = asked_new(room, message->frame->question->limit_ask);
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
    STAILQ_INIT(&room->held);
    text_init(&room->names);
    for (size_t i = 0; i < LIMITS_CONNECTIONS; i++) {
        struct lane *lane = &room->lanes[i];
        *lane = (struct lane){ .room = room, .db = dbs[i] };
        STAILQ_INIT(&lane->under_way);
        for (size_t at = 0; at < COLUMNS; at++)
            array_init(&lane->columns[at], column_types[at]);
    }
    room->soon = evtimer_new(base, on_soon, room);
    if (room->soon == NULL)
        fatal("out of memory");
    room->statements = metrics_counter(metrics, "weir_limit_statements_total", NULL);
    room->costs = metrics_counter(metrics, "weir_limit_costs_total", NULL);
    room->refused = metrics_counter(metrics, "weir_limit_costs_refused_total", NULL);
    room->spare = metrics_counter(metrics, "weir_limit_lots_tokens_total", NULL);
    room->held_back = metrics_counter(metrics, "weir_limit_questions_held_total", NULL);
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
    let_held_wait(room);
    while ((asked = STAILQ_FIRST(&room->waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&room->waiting, order);
        question_settle(&asked->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the coordinator is stopping");
        free(asked);
    }
    for (size_t i = 0; i < LIMITS_CONNECTIONS; i++)
        for (size_t at = 0; at < COLUMNS; at++)
            array_fini(&room->lanes[i].columns[at]);
    text_fini(&room->names);
    event_free(room->soon);
    free(room);
}

/*
 * outbreak.c - see outbreak.h
 */
#include "coordinator/outbreak/outbreak.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/rows.h"

#define COLUMNS   12
#define ROWS_MOST 512 /* of one statement */
#define MOST      200 /* messages of a turn: others wait for their rows */
#define TIDY_MS   60000
#define TIDY_MOST 5000

struct asked {
    STAILQ_ENTRY(asked) order;
    struct question *question;
    bool answered;
    enum { WORD_PASS, WORD_HOLD, WORD_BLOCK } word;
    uint8_t hash[WIRE_HASH_LEN];
    size_t hash_len;
    struct rows rows;
};

STAILQ_HEAD(asked_list, asked);

struct outbreak_room {
    struct db *db, *desk;
    const struct coordinator_settings *settings;
    struct event *soon;
    struct asked_list waiting, under_way;
    bool busy, turning, tidying;
    uint32_t number; /* of the last question: tells neighbours apart */
    uint64_t tidy_at_ms;
    struct metric *statements, *words[3], *released, *looked, *dropped, *active, *known, *forgotten;
};

/* The configuration, as JSON: numbers and words of ours, so nothing has to be escaped. */
static char *outbreak_by(const struct coordinator_settings *s)
{
    static const char *const modes[] = { [OUTBREAK_HOLD] = "hold", [OUTBREAK_WATCH] = "watch", [OUTBREAK_OFF] = "off" };
    return xasprintf("{\"mode\": \"%s\", \"senders\": %llu, \"prefixes\": %llu, \"window\": \"%llu ms\", \"known\": \"%llu ms\", \"hold\": \"%llu ms\", \"release_on_clean\": %s,"
                     " \"memory\": \"%llu ms\", \"entries\": %llu, \"hunt\": %s, \"hunt_time\": \"%llu days\"}",
                     modes[s->outbreak], (unsigned long long)s->outbreak_senders, (unsigned long long)s->outbreak_prefixes, (unsigned long long)s->outbreak_window,
                     (unsigned long long)s->outbreak_known, (unsigned long long)s->outbreak_hold, s->outbreak_release_on_clean ? "true" : "false",
                     (unsigned long long)s->outbreak_memory, (unsigned long long)s->outbreak_entries, s->hunt_days > 0 ? "true" : "false", (unsigned long long)s->hunt_days);
}

static void asked_free(struct asked *asked)
{
    rows_fini(&asked->rows);
    free(asked);
}

/* ---- answered ---- */

static void answer(struct outbreak_room *room, struct asked *asked)
{
    static const Weir__OutbreakAction actions[] = { [WORD_PASS] = WEIR__OUTBREAK_ACTION__OUTBREAK_PASS, [WORD_HOLD] = WEIR__OUTBREAK_ACTION__OUTBREAK_HOLD, [WORD_BLOCK] = WEIR__OUTBREAK_ACTION__OUTBREAK_BLOCK };
    Weir__Answer reply = WEIR__ANSWER__INIT;
    Weir__OutbreakWord word = WEIR__OUTBREAK_WORD__INIT;
    word.action = actions[asked->word];
    word.hash = wire_bytes(asked->hash, asked->hash_len);
    reply.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    reply.body_case = WEIR__ANSWER__BODY_OUTBREAK_WORD;
    reply.outbreak_word = &word;
    metric_add(room->words[asked->word], 1);
    question_answer(&asked->question, &reply, NULL, 0);
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

static void on_rows(void *arg, const PGresult *result)
{
    struct outbreak_room *room = arg;
    struct asked *asked;
    int row = 0;
    STAILQ_FOREACH(asked, &room->under_way, order)
    {
        if (PQnfields(result) != 2 || row >= PQntuples(result))
            return;
        const char *word = PQgetvalue(result, row, 0), *hash = PQgetvalue(result, row, 1);
        asked->word = strcmp(word, "hold") == 0 ? WORD_HOLD : strcmp(word, "block") == 0 ? WORD_BLOCK : WORD_PASS;
        asked->hash_len = strlen(hash) == 2 * WIRE_HASH_LEN ? WIRE_HASH_LEN : 0;
        for (size_t i = 0; i < asked->hash_len; i++)
            asked->hash[i] = (uint8_t)(hex_digit(hash[2 * i]) << 4 | hex_digit(hash[2 * i + 1]));
        asked->answered = true;
        row++;
    }
}

static void schedule(struct outbreak_room *room)
{
    if (!room->busy && !STAILQ_EMPTY(&room->waiting))
        event_add(room->soon, &(struct timeval){ 0, 0 });
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct outbreak_room *room = arg;
    struct asked *asked;
    room->busy = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "outbreak: %s %s", error->sqlstate, error->why.text);
    while ((asked = STAILQ_FIRST(&room->under_way)) != NULL) {
        STAILQ_REMOVE_HEAD(&room->under_way, order);
        if (outcome == DB_OK && asked->answered)
            answer(room, asked);
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
    struct outbreak_room *room = arg;
    struct rows rows;
    struct asked *asked;
    if (room->busy)
        return;
    rows_init(&rows, COLUMNS);
    while ((asked = STAILQ_FIRST(&room->waiting)) != NULL && rows.count + asked->rows.count <= ROWS_MOST) {
        STAILQ_REMOVE_HEAD(&room->waiting, order);
        STAILQ_INSERT_TAIL(&room->under_way, asked, order);
        rows_append(&rows, &asked->rows);
    }
    metric_add(room->statements, 1);
    room->busy = true;
    char *by = outbreak_by(room->settings);
    const char *const *columns = rows_values(&rows);
    const char *values[COLUMNS + 1] = { by };
    for (size_t i = 0; i < COLUMNS; i++)
        values[i + 1] = columns[i];
    struct db_unit *unit = db_begin(room->db, on_done, room);
    db_query(unit,
             "SELECT action, hash FROM outbreak_ask($1::jsonb, $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::bigint[], $9::boolean[],"
             " $10::text[], $11::boolean[], $12::boolean[], $13::text[])",
             COLUMNS + 1, values, on_rows);
    db_commit(unit);
    free(by);
    rows_fini(&rows);
}

static void add_row(struct rows *rows, uint32_t number, const Weir__OutbreakAsk *ask, const Weir__Attachment *attachment)
{
    char hash[2 * WIRE_HASH_LEN + 1] = "";
    for (size_t i = 0; attachment != NULL && i < WIRE_HASH_LEN; i++)
        sprintf(hash + 2 * i, "%02x", attachment->hash.data[i]);
    rows_number(rows, number);
    rows_text(rows, ask->id.data, ask->id.len, WIRE_NAME_MAX);
    rows_text(rows, ask->sender.data, ask->sender.len, WIRE_ADDRESS_MAX);
    rows_text(rows, ask->client.data, ask->client.len, WIRE_CLIENT_MAX);
    rows_string(rows, hash);
    rows_number(rows, attachment != NULL ? attachment->kind : 0);
    rows_number(rows, attachment != NULL ? (int64_t)attachment->size : 0);
    rows_string(rows, attachment != NULL && attachment->counts ? "t" : "f");
    rows_text(rows, ask->signatures.data, ask->signatures.len, WIRE_WORD_MAX);
    rows_string(rows, ask->held ? "t" : "f");
    rows_string(rows, ask->record ? "t" : "f");
    rows_text(rows, ask->login.data, ask->login.len, WIRE_LOGIN_MAX);
    rows_end(rows);
}

static void on_ask(void *arg, struct question *question, const struct link_message *message)
{
    struct outbreak_room *room = arg;
    const Weir__OutbreakAsk *ask = message->frame->question->outbreak_ask;
    struct asked *asked = xcalloc(1, sizeof *asked);
    *asked = (struct asked){ .question = question };
    rows_init(&asked->rows, COLUMNS);
    if (room->settings->outbreak == OUTBREAK_OFF && !ask->held && !ask->record) {
        answer(room, asked);
        asked_free(asked);
        return;
    }
    room->number = (room->number + 1) & INT32_MAX;
    for (size_t i = 0; i < ask->n_attachments; i++)
        add_row(&asked->rows, room->number, ask, ask->attachments[i]);
    if (ask->n_attachments == 0)
        add_row(&asked->rows, room->number, ask, NULL);
    STAILQ_INSERT_TAIL(&room->waiting, asked, order);
    schedule(room);
}

/* ---- the leader's turns ---- */

static double number(const PGresult *result, int column)
{
    return strtod(PQgetvalue(result, 0, column), NULL);
}

static void on_turned(void *arg, const PGresult *result)
{
    struct outbreak_room *room = arg;
    double released = number(result, 0), looked = number(result, 1), dropped = number(result, 2);
    metric_add(room->released, released);
    metric_add(room->looked, looked);
    metric_add(room->dropped, dropped);
    metric_set(room->active, number(result, 3));
    if (released + looked + dropped > 0)
        log_write(LOG_NOTICE, "outbreak: %.0f copies have waited long enough, %.0f are scanned with new signatures, %.0f are dropped", released, looked, dropped);
}

static void on_tidied(void *arg, const PGresult *result)
{
    struct outbreak_room *room = arg;
    metric_add(room->forgotten, number(result, 0));
    metric_set(room->known, number(result, 1));
    room->tidy_at_ms = PQgetvalue(result, 0, 2)[0] == 't' ? 0 : clock_ms() + TIDY_MS;
}

static void on_turn_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct outbreak_room *room = arg;
    room->turning = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "outbreak: %s %s", error->sqlstate, error->why.text);
}

static void on_tidy_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct outbreak_room *room = arg;
    room->tidying = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "outbreak: %s %s", error->sqlstate, error->why.text);
}

/* On the desk: nodes wait for answers on the other one. A session that has lost the lead meanwhile tidies what another does, too, and nothing comes of it. */
static void tidy(struct outbreak_room *room, const char *by)
{
    char most[16];
    if (room->tidying || clock_ms() < room->tidy_at_ms || !db_is_up(room->desk))
        return;
    room->tidying = true;
    room->tidy_at_ms = clock_ms() + TIDY_MS;
    snprintf(most, sizeof most, "%d", TIDY_MOST);
    const char *values[] = { by, most };
    struct db_unit *unit = db_begin(room->desk, on_tidy_done, room);
    db_query(unit, "SELECT forgotten, known, more FROM outbreak_tidy($1::jsonb, $2::integer)", 2, values, on_tidied);
    db_commit(unit);
}

void outbreak_turn(struct outbreak_room *room)
{
    char most[16];
    if (room->turning)
        return;
    room->turning = true;
    char *by = outbreak_by(room->settings);
    snprintf(most, sizeof most, "%d", MOST);
    const char *values[] = { by, most };
    struct db_unit *unit = db_begin(room->db, on_turn_done, room);
    db_query(unit, "SELECT released, looked, dropped, active FROM outbreak_turn($1::jsonb, $2::integer)", 2, values, on_turned);
    db_commit(unit);
    tidy(room, by);
    free(by);
}

void outbreak_lead(struct outbreak_room *room, bool leads)
{
    if (!leads)
        metric_set(room->active, 0), metric_set(room->known, 0); /* whoever leads now has them */
}

/* ---- beginning and end ---- */

struct outbreak_room *outbreak_room_new(struct event_base *base, struct db *db, struct db *desk, struct questions *questions, const struct coordinator_settings *settings, struct metrics *metrics)
{
    static const char *const words[] = { [WORD_PASS] = "pass", [WORD_HOLD] = "hold", [WORD_BLOCK] = "block" };
    struct outbreak_room *room = xcalloc(1, sizeof *room);
    room->db = db;
    room->desk = desk;
    room->settings = settings;
    STAILQ_INIT(&room->waiting);
    STAILQ_INIT(&room->under_way);
    room->soon = evtimer_new(base, on_soon, room);
    if (room->soon == NULL)
        fatal("out of memory");
    room->statements = metrics_counter(metrics, "weir_outbreak_statements_total", NULL);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        room->words[i] = metrics_counter(metrics, "weir_outbreak_answers_total", "answer=\"%s\"", words[i]);
    room->released = metrics_counter(metrics, "weir_outbreak_copies_total", "what=\"released\"");
    room->looked = metrics_counter(metrics, "weir_outbreak_copies_total", "what=\"scanned_again\"");
    room->dropped = metrics_counter(metrics, "weir_outbreak_copies_total", "what=\"dropped\"");
    room->active = metrics_gauge(metrics, "weir_outbreak_active", NULL);
    room->known = metrics_gauge(metrics, "weir_outbreak_attachments_known", NULL);
    room->forgotten = metrics_counter(metrics, "weir_outbreak_attachments_forgotten_total", NULL);
    questions_register(questions, WEIR__QUESTION__BODY_OUTBREAK_ASK, on_ask, room);
    return room;
}

void outbreak_room_free(struct outbreak_room **freed)
{
    struct outbreak_room *room = *freed;
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

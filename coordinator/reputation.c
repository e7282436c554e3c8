/*
 * reputation.c - see reputation.h
 *
 *     asked --> waiting --read--> told what is newer, or --nothing is--> standing --NOTIFY--> waiting
 *
 * A read begins from the number that the first one waiting has, and serves all who have that or more of what it found: those who are far behind and those who
 * have all but the last change take turns.
 */
#include "coordinator/reputation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/text.h"

#define TICK_MS   500
#define TIDY_ROWS 5000    /* of one unit */
#define COUNTS_ROWS 20000 /* so of what was counted: each looks at all there is */
#define TIDY_MS   60000 /* what was counted is looked at so often, while there is nothing to delete */

struct asked {
    STAILQ_ENTRY(asked) order;
    struct question *question;
    char source[WIRE_WORD_MAX + 1];
    uint64_t have, until_ms;
    bool loading;
};

STAILQ_HEAD(asked_list, asked);

struct news { /* of the read under way */
    char source[WIRE_WORD_MAX + 1];
    uint64_t since, number;
    bool known, whole, more;
    size_t count;
    Weir__ReputationEntry entries[WIRE_STANDINGS_MAX], *pointers[WIRE_STANDINGS_MAX];
    uint64_t numbers[WIRE_STANDINGS_MAX];
    char keys[WIRE_STANDINGS_MAX][WIRE_LOGIN_MAX + 1];
};

struct reputation_room {
    struct db *db, *desk;
    const struct coordinator_settings *settings;
    struct event *soon, *tick;
    struct asked_list waiting, standing;
    struct asked *first; /* whom the read under way began with: still in `waiting` */
    bool busy, again, draining; /* again: something changed since the read began */
    struct news news;
    bool tidying, tidying_counts; /* the leader's units are under way */
    bool more_counts, more_standings; /* there was more to do than fitted into the last of each */
    uint64_t tidy_at_ms;   /* when what was counted is looked at next */
    struct metric *reads, *told, *standing_gauge, *counted, *listed, *faded, *over, *untold;
};

static void schedule(struct reputation_room *room)
{
    if (!room->busy && !STAILQ_EMPTY(&room->waiting))
        event_add(room->soon, &(struct timeval){ 0, 0 });
}

static void asked_settle(struct asked *asked, const char *why)
{
    question_settle(&asked->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, why);
    free(asked);
}

static void settle_all(struct asked_list *list, const char *why)
{
    struct asked *asked;
    while ((asked = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, order);
        asked_settle(asked, why);
    }
}

static void count_standing(struct reputation_room *room)
{
    const struct asked *asked;
    unsigned count = 0;
    STAILQ_FOREACH(asked, &room->standing, order)
    count++;
    metric_set(room->standing_gauge, count);
}

/* ---- answers ---- */

/* Up to where it has everything then. What is left of long ago, in the last part of all there is, may be older than what was forgotten: asked from there, all
 * would be told again, and again. */
static uint64_t number_of(const struct news *found, const struct asked *asked, bool whole)
{
    uint64_t last = found->count > 0 ? found->numbers[found->count - 1] : 0;
    bool complete = (whole || asked->loading) && !found->more;
    return found->count == 0 || (complete && found->number > last) ? found->number : last;
}

/* Those entries that are newer than what it has. */
static void tell(struct reputation_room *room, struct asked *asked, bool whole)
{
    struct news *found = &room->news;
    Weir__Answer reply = WEIR__ANSWER__INIT;
    Weir__ReputationNews news = WEIR__REPUTATION_NEWS__INIT;
    size_t from = 0;
    while (!whole && from < found->count && found->numbers[from] <= asked->have)
        from++;
    news.source = wire_text(found->source);
    news.n_entries = found->count - from;
    news.entries = found->pointers + from;
    news.number = number_of(found, asked, whole);
    news.whole = whole;
    news.more = found->more;
    reply.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    reply.body_case = WEIR__ANSWER__BODY_REPUTATION_NEWS;
    reply.reputation_news = &news;
    metric_add(room->told, (double)news.n_entries);
    question_answer(&asked->question, &reply, NULL, 0);
    free(asked);
}

/* Nothing is newer: without a word of how many there are, as nobody looked from there. */
static void tell_nothing(struct asked *asked)
{
    Weir__Answer reply = WEIR__ANSWER__INIT;
    Weir__ReputationNews news = WEIR__REPUTATION_NEWS__INIT;
    news.source = wire_text(asked->source);
    news.number = asked->have;
    reply.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    reply.body_case = WEIR__ANSWER__BODY_REPUTATION_NEWS;
    reply.reputation_news = &news;
    question_answer(&asked->question, &reply, NULL, 0);
    free(asked);
}

/* The one it was read for is told what was found, and so are others who have the same database's changes up to there or beyond. Where it was read for one that
 * is loading, whose number may be older than what was forgotten, only for others that are. Who is loading is told at once that it has everything. */
static void hand_out(struct reputation_room *room)
{
    const struct news *found = &room->news;
    struct asked_list left = STAILQ_HEAD_INITIALIZER(left);
    uint64_t last = found->count > 0 ? found->numbers[found->count - 1] : found->since;
    bool of_loading = room->first->loading;
    struct asked *asked;
    while ((asked = STAILQ_FIRST(&room->waiting)) != NULL) {
        bool first = asked == room->first, done = asked->loading && !found->more;
        bool same = strcmp(asked->source, found->source) == 0 && asked->have >= found->since && !found->whole && (asked->loading || !of_loading);
        STAILQ_REMOVE_HEAD(&room->waiting, order);
        if (first ? found->whole || found->count > 0 || done : same && (asked->have < last || done))
            tell(room, asked, first && found->whole);
        else if ((first || (same && asked->have == last)) && !found->more && !room->again)
            STAILQ_INSERT_TAIL(&room->standing, asked, order);
        else
            STAILQ_INSERT_TAIL(&left, asked, order);
    }
    STAILQ_CONCAT(&room->waiting, &left);
}

/* ---- reading ---- */

static void on_source(void *arg, const PGresult *result)
{
    struct reputation_room *room = arg;
    struct news *news = &room->news;
    if (PQntuples(result) != 1 || PQnfields(result) != 4)
        return;
    news->known = true;
    snprintf(news->source, sizeof news->source, "%s", PQgetvalue(result, 0, 0));
    news->since = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
    news->whole = PQgetvalue(result, 0, 2)[0] == 't';
    news->number = strtoull(PQgetvalue(result, 0, 3), NULL, 10);
}

static Weir__ReputationAction action_of(const char *word)
{
    return strcmp(word, "reject") == 0     ? WEIR__REPUTATION_ACTION__REPUTATION_REJECT
           : strcmp(word, "throttle") == 0 ? WEIR__REPUTATION_ACTION__REPUTATION_THROTTLE
                                           : WEIR__REPUTATION_ACTION__REPUTATION_ALLOW;
}

static void on_entries(void *arg, const PGresult *result)
{
    struct reputation_room *room = arg;
    struct news *news = &room->news;
    for (int row = 0; row < PQntuples(result) && PQnfields(result) == 7 && news->count < WIRE_STANDINGS_MAX; row++) {
        Weir__ReputationEntry *entry = news->pointers[news->count] = &news->entries[news->count];
        char *key = news->keys[news->count];
        uint64_t left = strtoull(PQgetvalue(result, row, 5), NULL, 10);
        snprintf(key, WIRE_LOGIN_MAX + 1, "%s", PQgetvalue(result, row, 1));
        weir__reputation_entry__init(entry);
        entry->key = wire_text(key);
        entry->login = PQgetvalue(result, row, 2)[0] == 't';
        entry->by_operator = PQgetvalue(result, row, 3)[0] == 't';
        entry->action = action_of(PQgetvalue(result, row, 4));
        entry->left_ms = left < WIRE_TIME_MAX ? left : WIRE_TIME_MAX;
        entry->override = strtoull(PQgetvalue(result, row, 6), NULL, 10);
        news->numbers[news->count++] = strtoull(PQgetvalue(result, row, 0), NULL, 10);
    }
    news->more = news->count == WIRE_STANDINGS_MAX;
}

static void on_read(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct reputation_room *room = arg;
    room->busy = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "reputation: %s %s", error->sqlstate, error->why.text);
    if (outcome == DB_OK && room->news.known)
        hand_out(room);
    else /* whoever asked may know more at another coordinator */
        settle_all(&room->waiting, "the database is away");
    room->first = NULL;
    room->again = false;
    count_standing(room);
    schedule(room);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct reputation_room *room = arg;
    char have[24], most[16];
    if (room->busy || STAILQ_EMPTY(&room->waiting))
        return;
    struct asked *first = room->first = STAILQ_FIRST(&room->waiting);
    snprintf(have, sizeof have, "%llu", (unsigned long long)first->have);
    snprintf(most, sizeof most, "%d", WIRE_STANDINGS_MAX);
    const char *loading = first->loading ? "t" : "f";
    const char *const from[] = { first->source, have, loading }, *const part[] = { first->source, have, loading, most };
    room->news.known = room->news.more = false;
    room->news.count = 0;
    room->busy = true;
    metric_add(room->reads, 1);
    struct db_unit *unit = db_begin(room->db, on_read, room);
    db_query(unit, "SELECT s.source, s.since, s.whole, c.number FROM standing_source($1, $2::bigint, $3::boolean) AS s, standing_change AS c", 3, from, on_source);
    db_query(unit,
             "SELECT n.number, n.key, n.login, n.by_operator, n.action, n.left_ms, n.override FROM standing_source($1, $2::bigint, $3::boolean) AS s,"
             " LATERAL standing_news(s.since, $4::integer) AS n ORDER BY n.number",
             4, part, on_entries);
    db_commit(unit);
}

/* ---- questions ---- */

static void on_ask(void *arg, struct question *question, const struct link_message *message)
{
    struct reputation_room *room = arg;
    const Weir__ReputationAsk *ask = message->frame->question->reputation_ask;
    if (room->draining) {
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the coordinator is stopping");
        return;
    }
    struct asked *asked = xcalloc(1, sizeof *asked);
    *asked = (struct asked){ .question = question, .have = ask->have, .until_ms = clock_ms() + ask->wait_ms, .loading = ask->loading };
    wire_string(asked->source, sizeof asked->source, &ask->source);
    if (text_valid_prefix(asked->source, strlen(asked->source)) < strlen(asked->source)) /* no database of ours has such a name */
        asked->source[0] = '\0';
    STAILQ_INSERT_TAIL(&room->waiting, asked, order);
    schedule(room);
}

void reputation_changed(struct reputation_room *room)
{
    room->again = room->busy;
    STAILQ_CONCAT(&room->waiting, &room->standing);
    schedule(room);
}

/* Those whose time is over, and those that nobody waits for any more. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct reputation_room *room = arg;
    struct asked_list left = STAILQ_HEAD_INITIALIZER(left);
    struct asked *asked;
    uint64_t now = clock_ms();
    while ((asked = STAILQ_FIRST(&room->standing)) != NULL) {
        STAILQ_REMOVE_HEAD(&room->standing, order);
        if (now >= asked->until_ms)
            tell_nothing(asked);
        else if (!question_is_wanted(asked->question))
            asked_settle(asked, "nobody is there");
        else
            STAILQ_INSERT_TAIL(&left, asked, order);
    }
    STAILQ_CONCAT(&room->standing, &left);
    count_standing(room);
}

void reputation_drain(struct reputation_room *room)
{
    room->draining = true;
    settle_all(&room->standing, "the coordinator is stopping");
}

/* ---- the leader's part ---- */

static void on_counts(void *arg, const PGresult *result)
{
    struct reputation_room *room = arg;
    if (PQntuples(result) != 1 || PQnfields(result) != 4)
        return;
    double faded = strtod(PQgetvalue(result, 0, 0), NULL), over = strtod(PQgetvalue(result, 0, 1), NULL);
    metric_add(room->faded, faded);
    metric_add(room->over, over);
    metric_set(room->counted, strtod(PQgetvalue(result, 0, 2), NULL));
    metric_set(room->listed, strtod(PQgetvalue(result, 0, 3), NULL));
    room->more_counts = faded >= COUNTS_ROWS || over >= COUNTS_ROWS;
    room->tidy_at_ms = room->more_counts ? 0 : clock_ms() + TIDY_MS;
}

static void on_standings(void *arg, const PGresult *result)
{
    struct reputation_room *room = arg;
    if (PQntuples(result) != 1 || PQnfields(result) != 2)
        return;
    room->more_standings = PQgetvalue(result, 0, 0)[0] == 't';
    metric_add(room->untold, strtod(PQgetvalue(result, 0, 1), NULL));
}

static void on_counts_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct reputation_room *room = arg;
    room->tidying_counts = false;
    if (outcome != DB_OK)
        room->more_counts = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "reputation: what was counted: %s %s", error->sqlstate, error->why.text);
}

static void on_standings_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct reputation_room *room = arg;
    room->tidying = false;
    if (outcome != DB_OK)
        room->more_standings = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "reputation: who is judged anew: %s %s", error->sqlstate, error->why.text);
}

/* On the desk: a session that has lost the lead meanwhile tidies what another does, too, and nothing comes of it. */
static void tidy_counts(struct reputation_room *room)
{
    char entries[24], most[16];
    if (room->tidying_counts || clock_ms() < room->tidy_at_ms || !db_is_up(room->desk))
        return;
    room->tidying_counts = true;
    snprintf(entries, sizeof entries, "%llu", (unsigned long long)room->settings->reputation_entries);
    snprintf(most, sizeof most, "%d", COUNTS_ROWS);
    const char *const values[] = { entries, most };
    struct db_unit *unit = db_begin(room->desk, on_counts_done, room);
    db_query(unit, "SELECT faded, over, counted, listed FROM reputation_tidy($1::bigint, $2::integer)", 2, values, on_counts);
    db_commit(unit);
}

static void judge_anew(struct reputation_room *room)
{
    char most[16];
    if (room->tidying)
        return;
    room->tidying = true;
    snprintf(most, sizeof most, "%d", TIDY_ROWS);
    const char *const values[] = { most };
    struct db_unit *unit = db_begin(room->db, on_standings_done, room);
    db_query(unit, "SELECT more, untold FROM standing_tidy($1::integer)", 1, values, on_standings);
    db_commit(unit);
}

void reputation_turn(struct reputation_room *room)
{
    tidy_counts(room);
    judge_anew(room);
}

bool reputation_has_more(const struct reputation_room *room)
{
    return room->more_counts || room->more_standings;
}

/* ---- beginning and end ---- */

char *reputation_setup(const struct coordinator_settings *settings)
{
    return xasprintf("SET weir.reputation_half_life = '%.3f'; SET weir.reputation_throttle = '%llu'; SET weir.reputation_reject = '%llu';"
                     " SET weir.reputation_listed = '%llu'; SET weir.approvals = '%llu'; SET weir.approval_wait = '%llu ms';",
                     (double)settings->reputation_half_life / 1000, (unsigned long long)settings->reputation_throttle,
                     (unsigned long long)settings->reputation_reject, (unsigned long long)settings->reputation_listed,
                     (unsigned long long)settings->approvals, (unsigned long long)settings->approval_wait);
}

struct reputation_room *reputation_new(struct event_base *base, struct db *db, struct db *desk, struct questions *questions, const struct coordinator_settings *settings,
                                       struct metrics *metrics)
{
    struct reputation_room *room = xcalloc(1, sizeof *room);
    room->db = db;
    room->desk = desk;
    room->settings = settings;
    STAILQ_INIT(&room->waiting);
    STAILQ_INIT(&room->standing);
    room->soon = evtimer_new(base, on_soon, room);
    room->tick = event_new(base, -1, EV_PERSIST, on_tick, room);
    if (room->soon == NULL || room->tick == NULL || event_add(room->tick, &(struct timeval){ 0, TICK_MS * 1000 }) != 0)
        fatal("out of memory");
    room->reads = metrics_counter(metrics, "weir_reputation_reads_total", NULL);
    room->told = metrics_counter(metrics, "weir_reputation_told_total", NULL);
    room->standing_gauge = metrics_gauge(metrics, "weir_reputation_questions_standing", NULL);
    room->counted = metrics_gauge(metrics, "weir_reputation_rows", NULL);
    room->listed = metrics_gauge(metrics, "weir_reputation_standings", NULL);
    room->faded = metrics_counter(metrics, "weir_reputation_rows_deleted_total", "why=\"faded\"");
    room->over = metrics_counter(metrics, "weir_reputation_rows_deleted_total", "why=\"limit\"");
    room->untold = metrics_counter(metrics, "weir_reputation_untold_total", NULL);
    questions_register(questions, WEIR__QUESTION__BODY_REPUTATION_ASK, on_ask, room);
    return room;
}

void reputation_free(struct reputation_room **freed)
{
    struct reputation_room *room = *freed;
    *freed = NULL;
    if (room == NULL)
        return;
    settle_all(&room->waiting, "the coordinator is stopping");
    settle_all(&room->standing, "the coordinator is stopping");
    event_free(room->soon);
    event_free(room->tick);
    free(room);
}

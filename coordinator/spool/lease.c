/*
 * lease.c - claims that stand until something is due, and the bodies of what was leased
 *
 * One claim is with the database at a time; the others stand in the order they came. After each the database says how
 * long it is until something is due, and a timer is set for that. What wakes claims earlier: a commit of this
 * coordinator (leases_changed()), or a NOTIFY of another whose own claims could not take what got due there. A slow
 * look (spool_look) is behind all that, for a coordinator that died before it could say so.
 *
 * An edge counts a lease from the moment it sent its claim, so lease_ms is spool_lease and the time the claim stood here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/spool/internal.h"

#define AGAIN_MIN_MS   5 /* something is due, but locked by another coordinator; doubles up to: */
#define AGAIN_MAX_MS   100
#define EMPTY_MS       20   /* a claim that got nothing: the next, if something changes, comes so much later, */
#define EMPTY_MAX_MS   200  /* up to so much where the database is slow: it has better to do then, */
#define EMPTY_TIMES    10   /* and so many times what the look took */
#define NOTIFY_MS      20          /* at most one NOTIFY in that time */
#define AWAY_MS        1000        /* without a database, claims are answered so late that edges do not ask in circles */
#define LEASES_BYTES   (56 * 1024) /* of packed leases in one frame */
#define OWNERS_MAX     8 /* leases with `owners` in one frame: an edge of the version before, which does not know them, refuses more unknown fields */
#define WAIT_MAX_MS    600000
#define FETCH_BATCH    16   /* chunks of bodies in one statement */
#define EXPIRIES_SUSPECT 2    /* leases in a row that ended without a word: the mail may be what its edges die of */

struct claim {
    struct leases *leases;
    struct question *question;
    uint32_t room;
    bool scanners;
    bool others; /* only of destinations that who holds no lease of */
    bool senders; /* who knows those of an envelope */
    char who[96];
    uint64_t since_ms;
    struct event *timer;
    TAILQ_ENTRY(claim) link;
};

struct leases {
    struct spool *spool;
    struct db *db;
    TAILQ_HEAD(, claim) standing;
    struct claim *asking; /* with the database; not in standing */
    bool again;           /* something changed while one was asking */
    bool untold;          /* something changed that a claim here was to take: where none does, others are told */
    bool draining;
    uint64_t sent_ms;        /* when the one asking was sent to the database */
    uint64_t back_off_ms;
    uint64_t full_until_ms;
    uint64_t empty_ms;       /* when a claim last got nothing; 0: the last one got some */
    uint64_t empty_pause_ms; /* behind it */
    int64_t due_any, due_scanned; /* ms, as the database just said; -1: nothing */
    PGresult *rows;               /* of the one asking */
    struct event *look, *tell, *fetch;
    TAILQ_HEAD(, fetch) fetching;
    struct metric *claims, *leased, *duplicates, *given_back, *fetches, *standing_gauge, *paused, *notified, *claim_seconds;
};

static void run(struct leases *leases);

static void set_timer(struct event *timer, uint64_t ms)
{
    event_add(timer, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
}

/* --- claims that stand --- */

static void count_standing(struct leases *leases, int change)
{
    metric_add(leases->standing_gauge, change);
}

/* Ends a claim that does not stand any more. */
static void claim_end(struct claim *claim, Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    count_standing(claim->leases, -1);
    if (answer != NULL)
        question_answer(&claim->question, answer, payloads, count);
    else
        question_settle(&claim->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database is not there");
    event_free(claim->timer);
    free(claim);
}

static void claim_end_empty(struct claim *claim)
{
    Weir__SpoolLeases none = WEIR__SPOOL_LEASES__INIT;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_LEASES;
    answer.spool_leases = &none;
    claim_end(claim, &answer, NULL, 0);
}

static void on_claim_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct claim *claim = arg;
    struct leases *leases = claim->leases;
    if (claim == leases->asking)
        return; /* its answer is on its way */
    TAILQ_REMOVE(&leases->standing, claim, link);
    if (db_is_up(leases->db))
        claim_end_empty(claim);
    else
        claim_end(claim, NULL, NULL, 0);
}

static void on_claim(void *arg, struct question *question, const struct link_message *message)
{
    struct leases *leases = arg;
    const Weir__SpoolClaim *asked = message->frame->question->spool_claim;
    if (asked->room == 0) {
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "a claim without room");
        return;
    }
    if (leases->draining) {
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "stopping");
        return;
    }
    struct claim *claim = xcalloc(1, sizeof *claim);
    claim->leases = leases;
    claim->question = question;
    claim->room = asked->room < WIRE_LEASES_MAX ? asked->room : WIRE_LEASES_MAX;
    claim->scanners = asked->scanners;
    claim->others = asked->others;
    claim->senders = asked->senders;
    claim->since_ms = clock_ms();
    snprintf(claim->who, sizeof claim->who, "%s/%u", question_node(question), asked->worker);
    claim->timer = evtimer_new(leases->spool->options.base, on_claim_timer, claim);
    uint64_t wait = asked->wait_ms < WAIT_MAX_MS ? asked->wait_ms : WAIT_MAX_MS;
    set_timer(claim->timer, db_is_up(leases->db) || wait < AWAY_MS ? wait : AWAY_MS);
    count_standing(leases, 1);
    TAILQ_INSERT_TAIL(&leases->standing, claim, link);
    run(leases);
}

/* --- what a claim got --- */

enum column {
    COL_FIRST,
    COL_ID,
    COL_DESTINATION,
    COL_TOKEN,
    COL_ENVELOPE,
    COL_ATTEMPTS,
    COL_EXPIRIES,
    COL_AGE,
    COL_MAYBE_DUPLICATE,
    COL_DELAY_WARNED,
    COL_BOUNCE,
    COL_DSN,
    COL_SCANNED,
    COL_VERDICT,
    COL_SCANNER,
    COL_ENGINE,
    COL_SIGNATURES,
    COL_SIZE,
    COL_TRIES,
    COL_PACKED,
    COL_ROUTED_EPOCH,
    COL_ROUTED_NEWEST,
};

static ProtobufCBinaryData cell(const PGresult *rows, int row, enum column column)
{
    return wire_bytes(PQgetvalue(rows, row, (int)column), (size_t)PQgetlength(rows, row, (int)column));
}

static uint64_t cell_number(const PGresult *rows, int row, enum column column)
{
    return strtoull(PQgetvalue(rows, row, (int)column), NULL, 10);
}

static bool cell_is(const PGresult *rows, int row, enum column column)
{
    return PQgetvalue(rows, row, (int)column)[0] == 't';
}

/* bytea comes as text here, \x and hex digits. Caller frees. */
static uint8_t *cell_bytes(const PGresult *rows, int row, enum column column, size_t *len)
{
    return PQunescapeBytea((const unsigned char *)PQgetvalue(rows, row, (int)column), len);
}

static Weir__SpoolEnvelope *unpack_envelope(const PGresult *rows, int row)
{
    size_t len = 0;
    uint8_t *bytes = cell_bytes(rows, row, COL_ENVELOPE, &len);
    Weir__SpoolEnvelope *envelope = bytes != NULL ? weir__spool_envelope__unpack(NULL, len, bytes) : NULL;
    PQfreemem(bytes);
    return envelope;
}

/* The rows of one lease, packed. end: the row behind its last. NULL: what is stored is no list of recipients. */
static uint8_t *pack_recipients(const PGresult *rows, int row, int end, size_t *len)
{
    Weir__SpoolRecipients list = WEIR__SPOOL_RECIPIENTS__INIT;
    list.recipients = xcalloc((size_t)(end - row), sizeof *list.recipients);
    bool fine = true;
    for (; row < end; row++) {
        size_t size = 0;
        uint8_t *bytes = cell_bytes(rows, row, COL_PACKED, &size);
        Weir__SpoolRecipient *recipient = bytes != NULL ? weir__spool_recipient__unpack(NULL, size, bytes) : NULL;
        PQfreemem(bytes);
        fine = fine && recipient != NULL;
        if (recipient == NULL)
            continue;
        recipient->attempts = (uint32_t)cell_number(rows, row, COL_TRIES);
        list.recipients[list.n_recipients++] = recipient;
    }
    uint8_t *packed = fine ? wire_recipients_encode(&list, len) : NULL;
    for (size_t i = 0; i < list.n_recipients; i++)
        weir__spool_recipient__free_unpacked(list.recipients[i], NULL);
    free(list.recipients);
    return packed;
}

static void fill_lease(struct leases *leases, Weir__SpoolLease *lease, const PGresult *rows, int row, uint64_t stood_ms)
{
    const struct coordinator_settings *settings = leases->spool->options.settings;
    bool warned = cell_is(rows, row, COL_DELAY_WARNED) || cell_is(rows, row, COL_DSN);
    lease->token = cell_number(rows, row, COL_TOKEN);
    lease->lease_ms = (uint32_t)(settings->spool_lease + stood_ms);
    lease->destination = cell(rows, row, COL_DESTINATION);
    lease->attempts = (uint32_t)cell_number(rows, row, COL_ATTEMPTS);
    lease->age_ms = cell_number(rows, row, COL_AGE);
    lease->maybe_duplicate = cell_is(rows, row, COL_MAYBE_DUPLICATE);
    lease->delay_warned = cell_is(rows, row, COL_DELAY_WARNED);
    lease->last_try = lease->age_ms >= settings->spool_life;
    lease->fail_untold = lease->age_ms / 2 >= settings->spool_life;
    lease->warn_delay = !warned && settings->spool_delay_warning > 0 && lease->age_ms >= settings->spool_delay_warning;
    lease->bounce = cell_is(rows, row, COL_BOUNCE);
    lease->policy_epoch = cell_number(rows, row, COL_ROUTED_EPOCH);
    lease->policy_newest = cell_number(rows, row, COL_ROUTED_NEWEST);
    lease->give_up = lease->last_try && cell_number(rows, row, COL_EXPIRIES) >= EXPIRIES_SUSPECT;
}

/* What was found since it was stored. The texts are the result's. */
static void fill_envelope(Weir__SpoolEnvelope *shown, const Weir__SpoolEnvelope *stored, bool senders, const PGresult *rows, int row)
{
    *shown = *stored;
    if (!senders)
        wire_envelope_forget_senders(shown);
    shown->size = cell_number(rows, row, COL_SIZE);
    shown->scanned = cell_is(rows, row, COL_SCANNED);
    shown->verdict = cell(rows, row, COL_VERDICT);
    shown->scanner = cell(rows, row, COL_SCANNER);
    shown->engine = cell(rows, row, COL_ENGINE);
    shown->signatures = cell(rows, row, COL_SIGNATURES);
}

struct answer {
    Weir__SpoolLease leases[WIRE_LEASES_MAX];
    Weir__SpoolLease *pointers[WIRE_LEASES_MAX];
    Weir__SpoolEnvelope *stored[WIRE_LEASES_MAX], shown[WIRE_LEASES_MAX];
    struct link_payload payloads[WIRE_LEASES_MAX];
    size_t count, bytes, owners;
};

enum added { ADDED, NO_ROOM, UNREADABLE };

/* One lease more, if it fits. */
static enum added answer_add(struct leases *leases, const struct claim *claim, struct answer *answer, const PGresult *rows, int row, int end)
{
    size_t at = answer->count, len = 0;
    if (at == WIRE_LEASES_MAX)
        return NO_ROOM;
    Weir__SpoolEnvelope *stored = unpack_envelope(rows, row);
    uint8_t *packed = stored != NULL ? pack_recipients(rows, row, end, &len) : NULL;
    if (packed == NULL)
        log_write(LOG_ERR, "%s: what is stored of it cannot be read", PQgetvalue(rows, row, COL_ID));
    else {
        Weir__SpoolLease *lease = answer->pointers[at] = &answer->leases[at];
        weir__spool_lease__init(lease);
        fill_lease(leases, lease, rows, row, leases->sent_ms - claim->since_ms);
        fill_envelope(&answer->shown[at], stored, claim->senders, rows, row);
        lease->envelope = &answer->shown[at];
        size_t size = weir__spool_lease__get_packed_size(lease) + 8;
        size_t owners = answer->shown[at].owners != NULL;
        if (answer->bytes + size <= LEASES_BYTES && answer->owners + owners <= OWNERS_MAX) {
            answer->bytes += size;
            answer->owners += owners;
            answer->stored[at] = stored;
            answer->payloads[at] = (struct link_payload){ packed, len };
            answer->count++;
            metric_add(leases->duplicates, lease->maybe_duplicate ? 1 : 0);
            return ADDED;
        }
    }
    enum added added = packed != NULL ? NO_ROOM : UNREADABLE;
    if (stored != NULL)
        weir__spool_envelope__free_unpacked(stored, NULL);
    free(packed);
    return added;
}

static void answer_clear(struct answer *answer)
{
    for (size_t i = 0; i < answer->count; i++) {
        weir__spool_envelope__free_unpacked(answer->stored[i], NULL);
        free((void *)(uintptr_t)answer->payloads[i].data);
    }
    free(answer);
}

static void give_back(struct leases *leases, struct rows *back)
{
    if (back->count == 0)
        return;
    metric_add(leases->given_back, (double)back->count);
    struct db_unit *unit = db_begin(leases->db, NULL, NULL); /* where it is lost the leases run out */
    db_query(unit, "SELECT spool_give_back($1::text[], $2::text[], $3::bigint[])", 3, rows_values(back), NULL);
    db_commit(unit);
}

static void back_add(struct rows *back, const PGresult *rows, int row)
{
    rows_string(back, PQgetvalue(rows, row, COL_ID));
    rows_string(back, PQgetvalue(rows, row, COL_DESTINATION));
    rows_number(back, (int64_t)cell_number(rows, row, COL_TOKEN));
    rows_end(back);
}

/* Answers the claim with what it got; what does not fit, or cannot reach who asked, is given back. What cannot be read
 * is not: given back it would be due at once, for ever; so its lease runs out, and it waits longer each time. */
static void hand_out(struct leases *leases, struct claim *claim, const PGresult *rows)
{
    struct answer *answer = xcalloc(1, sizeof *answer);
    struct rows back;
    rows_init(&back, 3);
    bool wanted = question_is_wanted(claim->question);
    for (int row = 0, end; row < PQntuples(rows); row = end) {
        for (end = row + 1; end < PQntuples(rows) && !cell_is(rows, end, COL_FIRST); end++)
            ;
        if (!wanted || answer_add(leases, claim, answer, rows, row, end) == NO_ROOM)
            back_add(&back, rows, row);
    }
    Weir__SpoolLeases given = WEIR__SPOOL_LEASES__INIT;
    given.leases = answer->pointers;
    given.n_leases = answer->count;
    Weir__Answer frame = WEIR__ANSWER__INIT;
    frame.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    frame.body_case = WEIR__ANSWER__BODY_SPOOL_LEASES;
    frame.spool_leases = &given;
    metric_add(leases->leased, (double)answer->count);
    claim_end(claim, &frame, answer->payloads, answer->count);
    answer_clear(answer);
    give_back(leases, &back);
    rows_fini(&back);
}

/* --- asking the database --- */

static bool wants_unscanned(const struct leases *leases)
{
    const struct claim *claim;
    TAILQ_FOREACH(claim, &leases->standing, link)
    {
        if (claim->scanners)
            return true;
    }
    return false;
}

static void schedule(struct leases *leases, bool got_some)
{
    int64_t due = wants_unscanned(leases) ? leases->due_any : leases->due_scanned;
    uint64_t look = leases->spool->options.settings->spool_look;
    uint64_t wait = due < 0 || (uint64_t)due > look ? look : (uint64_t)due;
    if (due == 0 && !got_some) {
        leases->back_off_ms = leases->back_off_ms == 0                  ? AGAIN_MIN_MS
                              : leases->back_off_ms * 2 > AGAIN_MAX_MS ? AGAIN_MAX_MS
                                                                        : leases->back_off_ms * 2;
        wait = leases->back_off_ms;
    } else {
        leases->back_off_ms = 0;
    }
    set_timer(leases->look, wait);
}

static void on_rows(void *arg, const PGresult *result)
{
    struct leases *leases = arg;
    PQclear(leases->rows);
    leases->rows = PQcopyResult(result, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
}

static void on_due(void *arg, const PGresult *result)
{
    struct leases *leases = arg;
    if (PQntuples(result) != 1)
        return;
    leases->due_any = PQgetisnull(result, 0, 0) ? -1 : strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    leases->due_scanned = PQgetisnull(result, 0, 1) ? -1 : strtoll(PQgetvalue(result, 0, 1), NULL, 10);
}

/* Something may be due. Where little is, as all of it is for destinations that wait, each commit would cost a claim. */
static uint64_t empty_pause(uint64_t took_ms)
{
    uint64_t pause = EMPTY_TIMES * took_ms;
    return pause < EMPTY_MS ? EMPTY_MS : pause > EMPTY_MAX_MS ? EMPTY_MAX_MS : pause;
}

static void run_soon(struct leases *leases)
{
    uint64_t now = clock_ms();
    if (leases->asking == NULL && leases->empty_ms != 0 && now - leases->empty_ms < leases->empty_pause_ms)
        set_timer(leases->look, leases->empty_pause_ms - (now - leases->empty_ms));
    else
        run(leases);
}

static void on_claimed(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct leases *leases = arg;
    struct claim *claim = leases->asking;
    leases->asking = NULL;
    bool got_some = outcome == DB_OK && PQntuples(leases->rows) > 0;
    leases->empty_ms = got_some ? 0 : clock_ms();
    leases->empty_pause_ms = empty_pause(clock_ms() - leases->sent_ms);
    if (outcome == DB_OK)
        metric_observe(leases->claim_seconds, (double)(clock_ms() - leases->sent_ms) / 1e3);
    bool conflict = outcome == DB_FAILED && db_error_is_conflict(error);
    if (outcome == DB_FAILED && db_error_is_disk_full(error))
        spool_disk_full(leases->spool);
    if (outcome == DB_FAILED)
        log_write(conflict ? LOG_WARNING : LOG_ERR, "spool: nothing can be leased: %s %s", error->sqlstate, error->why.text);
    if (got_some) {
        hand_out(leases, claim, leases->rows);
    } else if ((outcome == DB_OK || conflict) && !leases->draining && clock_ms() - claim->since_ms < WAIT_MAX_MS &&
               evtimer_pending(claim->timer, NULL)) {
        if (claim->others) /* what is due may be nothing for this one, but for the next */
            TAILQ_INSERT_TAIL(&leases->standing, claim, link);
        else
            TAILQ_INSERT_HEAD(&leases->standing, claim, link);
    } else if (outcome == DB_OK || conflict) {
        claim_end_empty(claim);
    } else {
        claim_end(claim, NULL, NULL, 0); /* what was leased to it, if anything was, runs out */
    }
    PQclear(leases->rows);
    leases->rows = NULL;
    leases->untold |= got_some && leases->due_any == 0; /* there was more than it had room for */
    if (outcome != DB_OK)
        set_timer(leases->look, conflict ? AGAIN_MAX_MS : AWAY_MS);
    else if (leases->again || (got_some && leases->due_any == 0))
        run_soon(leases);
    else
        schedule(leases, got_some);
}

static bool takes_more(const struct claim *one, const struct claim *other)
{
    return one->scanners != other->scanners ? one->scanners : other->others && !one->others;
}

/* The next claim, if one stands: one that can take unscanned mail rather than one that cannot, one for any destination rather than one that is
 * not, then the oldest. */
static struct claim *next_claim(struct leases *leases)
{
    struct claim *claim = NULL, *one, *next;
    for (one = TAILQ_FIRST(&leases->standing); one != NULL; one = next) {
        next = TAILQ_NEXT(one, link);
        if (!question_is_wanted(one->question)) {
            TAILQ_REMOVE(&leases->standing, one, link);
            claim_end_empty(one);
        } else if (claim == NULL || takes_more(one, claim)) {
            claim = one;
        }
    }
    return claim;
}

/* Claims stand, or end empty, while results find no room: what would be delivered now could not be written down. */
static bool disk_is_full(struct leases *leases)
{
    uint64_t now = clock_ms();
    bool full = now < leases->full_until_ms;
    metric_set(leases->paused, full);
    if (full)
        set_timer(leases->look, leases->full_until_ms - now);
    return full;
}

void leases_disk_full(struct leases *leases)
{
    if (clock_ms() >= leases->full_until_ms)
        log_write(LOG_WARNING, "spool: the database's disk is full: nothing is leased for %d s", SPOOL_DISK_FULL_MS / 1000);
    leases->full_until_ms = clock_ms() + SPOOL_DISK_FULL_MS;
    disk_is_full(leases);
}

/* A NOTIFY takes a lock of the whole database until it is committed, so stores and results have none: it goes
 * alone, and only where this coordinator's own claims cannot take what is due. */
static void tell_others(struct leases *leases)
{
    if (!evtimer_pending(leases->tell, NULL))
        set_timer(leases->tell, NOTIFY_MS);
}

static void run(struct leases *leases)
{
    if (leases->asking != NULL) {
        leases->again = true;
        return;
    }
    leases->again = false;
    struct claim *claim = !disk_is_full(leases) && db_is_up(leases->db) ? next_claim(leases) : NULL;
    if (leases->untold && (claim == NULL || !claim->scanners || claim->others) && db_is_up(leases->db))
        tell_others(leases);
    leases->untold &= !db_is_up(leases->db);
    if (claim == NULL)
        return;
    TAILQ_REMOVE(&leases->standing, claim, link);
    leases->asking = claim;
    leases->sent_ms = clock_ms();
    leases->due_any = leases->due_scanned = -1;
    metric_add(leases->claims, 1);
    char room[16];
    snprintf(room, sizeof room, "%u", claim->room);
    const struct spool_words *words = &leases->spool->words;
    const char *const values[] = { claim->who,   room, claim->scanners ? "t" : "f", words->per_destination, words->lease,
                                   words->retry_min, words->retry_max, claim->others ? "t" : "f" };
    struct db_unit *unit = db_begin(leases->db, on_claimed, leases);
    db_query(unit,
             "SELECT first, id, destination, token, envelope, attempts, expiries, age_ms, maybe_duplicate, delay_warned, bounce, dsn, scanned, verdict,"
             " scanner, engine, signatures, size, tries, packed, routed_epoch, routed_newest"
             " FROM spool_claim($1::text, $2::integer, $3::boolean, $4::integer, $5::interval, $6::interval, $7::interval, $8::boolean)",
             8, values, on_rows);
    db_query(unit, "SELECT due_any, due_scanned FROM spool_due()", 0, NULL, on_due);
    db_commit(unit);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    run(arg);
}

static void on_tell(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct leases *leases = arg;
    metric_add(leases->notified, 1);
    struct db_unit *unit = db_begin(leases->db, NULL, NULL);
    db_query(unit, "SELECT pg_notify('weir_spool', '')", 0, NULL, NULL);
    db_commit(unit);
}

void leases_changed(struct leases *leases)
{
    leases->untold = true; /* until the next claim goes, which may take what is due, or until there is none to go */
    run_soon(leases);
}

/* --- bodies: what is asked for in a loop turn is one statement --- */

struct fetch {
    struct question *question;
    char id[SPOOL_ID_MAX];
    uint64_t offset;
    bool alone; /* one that was asked for with it, or this one, cannot be read */
    TAILQ_ENTRY(fetch) link;
};

struct fetch_batch {
    struct leases *leases;
    struct fetch *fetches[FETCH_BATCH]; /* NULL: answered */
    size_t count;
};

static uint64_t network_number(const PGresult *rows, int row, int column)
{
    const unsigned char *bytes = (const unsigned char *)PQgetvalue(rows, row, column);
    uint64_t number = 0;
    for (int i = 0; i < PQgetlength(rows, row, column); i++)
        number = number << 8 | bytes[i];
    return number;
}

static void answer_fetch(struct fetch *fetch, uint64_t size, const struct link_payload *payload)
{
    Weir__SpoolData data = WEIR__SPOOL_DATA__INIT;
    data.id = wire_text(fetch->id);
    data.offset = fetch->offset;
    data.size = size;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SPOOL_DATA;
    answer.spool_data = &data;
    question_answer(&fetch->question, &answer, payload, 1);
    free(fetch);
}

static void on_bodies(void *arg, const PGresult *rows)
{
    struct fetch_batch *batch = arg;
    for (int row = 0; row < PQntuples(rows); row++) {
        uint64_t place = network_number(rows, row, 0);
        struct link_payload payload = { PQgetvalue(rows, row, 2), (size_t)PQgetlength(rows, row, 2) };
        if (place < 1 || place > batch->count || batch->fetches[place - 1] == NULL)
            continue;
        answer_fetch(batch->fetches[place - 1], network_number(rows, row, 1), &payload);
        batch->fetches[place - 1] = NULL;
    }
}

static void on_fetched(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct fetch_batch *batch = arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "spool: %zu bodies cannot be read: %s %s", batch->count, error->sqlstate, error->why.text);
    for (size_t i = 0; i < batch->count; i++) {
        struct fetch *fetch = batch->fetches[i];
        if (fetch == NULL)
            continue;
        if (outcome == DB_FAILED && batch->count > 1) {
            fetch->alone = true;
            TAILQ_INSERT_TAIL(&batch->leases->fetching, fetch, link);
            event_add(batch->leases->fetch, &(struct timeval){ 0, 0 });
            continue;
        }
        if (outcome == DB_OK)
            question_settle(&fetch->question, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "no such message");
        else
            question_settle(&fetch->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database did not answer");
        free(fetch);
    }
    free(batch);
}

static void send_fetches(struct leases *leases)
{
    struct fetch_batch *batch = xcalloc(1, sizeof *batch);
    struct rows rows;
    batch->leases = leases;
    rows_init(&rows, 2);
    while (batch->count < FETCH_BATCH && !TAILQ_EMPTY(&leases->fetching)) {
        struct fetch *fetch = TAILQ_FIRST(&leases->fetching);
        if (fetch->alone && batch->count > 0)
            break;
        TAILQ_REMOVE(&leases->fetching, fetch, link);
        rows_string(&rows, fetch->id);
        rows_number(&rows, (int64_t)fetch->offset);
        rows_end(&rows);
        batch->fetches[batch->count++] = fetch;
        if (fetch->alone)
            break;
    }
    const char *const *columns = rows_values(&rows);
    const struct db_value values[] = { { .data = columns[0] }, { .data = columns[1] } };
    struct db_unit *unit = db_begin(leases->db, on_fetched, batch);
    db_query_values(unit, "SELECT place, size, data FROM spool_fetch($1::text[], $2::bigint[])", 2, values, true, on_bodies);
    db_commit(unit);
    rows_fini(&rows);
}

static void on_fetch_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct leases *leases = arg;
    while (!TAILQ_EMPTY(&leases->fetching))
        send_fetches(leases);
}

static void on_fetch(void *arg, struct question *question, const struct link_message *message)
{
    struct leases *leases = arg;
    const Weir__SpoolFetch *asked = message->frame->question->spool_fetch;
    struct fetch *fetch = xcalloc(1, sizeof *fetch);
    fetch->question = question;
    fetch->offset = asked->offset;
    wire_string(fetch->id, sizeof fetch->id, &asked->id);
    metric_add(leases->fetches, 1);
    TAILQ_INSERT_TAIL(&leases->fetching, fetch, link);
    event_add(leases->fetch, &(struct timeval){ 0, 0 });
}

/* --- life --- */

static void on_up(void *arg)
{
    run(arg);
}

static void on_down(void *arg)
{
    struct leases *leases = arg;
    while (!TAILQ_EMPTY(&leases->standing)) {
        struct claim *claim = TAILQ_FIRST(&leases->standing);
        TAILQ_REMOVE(&leases->standing, claim, link);
        claim_end(claim, NULL, NULL, 0);
    }
}

static void on_notified(void *arg, const char *channel)
{
    (void)channel; /* there is one */
    run(arg);
}

struct leases *leases_new(struct spool *spool)
{
    struct leases *leases = xcalloc(1, sizeof *leases);
    struct metrics *metrics = spool->options.metrics;
    leases->spool = spool;
    TAILQ_INIT(&leases->standing);
    TAILQ_INIT(&leases->fetching);
    leases->fetch = evtimer_new(spool->options.base, on_fetch_timer, leases);
    leases->look = evtimer_new(spool->options.base, on_look, leases);
    leases->tell = evtimer_new(spool->options.base, on_tell, leases);
    leases->db = spool_connect(spool, "lease", on_up, on_down, on_notified, leases);
    leases->claims = metrics_counter(metrics, "weir_spool_claims_total", NULL);
    leases->leased = metrics_counter(metrics, "weir_spool_leases_total", NULL);
    leases->duplicates = metrics_counter(metrics, "weir_spool_leases_expired_total", NULL);
    leases->given_back = metrics_counter(metrics, "weir_spool_leases_given_back_total", NULL);
    leases->fetches = metrics_counter(metrics, "weir_spool_fetches_total", NULL);
    leases->notified = metrics_counter(metrics, "weir_spool_notifications_total", NULL);
    leases->standing_gauge = metrics_gauge(metrics, "weir_spool_claims_standing", NULL);
    leases->paused = metrics_gauge(metrics, "weir_spool_claims_paused", NULL);
    leases->claim_seconds =
        metrics_histogram(metrics, "weir_spool_claim_seconds", metrics_seconds_bounds, metrics_seconds_count, NULL);
    questions_register(spool->options.questions, WEIR__QUESTION__BODY_SPOOL_CLAIM, on_claim, leases);
    questions_register(spool->options.questions, WEIR__QUESTION__BODY_SPOOL_FETCH, on_fetch, leases);
    return leases;
}

struct db *leases_db(struct leases *leases)
{
    return leases->db;
}

void leases_drain(struct leases *leases)
{
    leases->draining = true;
    on_down(leases);
}

void leases_free(struct leases **freed)
{
    struct leases *leases = *freed;
    *freed = NULL;
    if (leases == NULL)
        return;
    leases_drain(leases);
    while (!TAILQ_EMPTY(&leases->fetching)) {
        struct fetch *fetch = TAILQ_FIRST(&leases->fetching);
        TAILQ_REMOVE(&leases->fetching, fetch, link);
        question_settle(&fetch->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "stopping");
        free(fetch);
    }
    db_free(&leases->db);
    event_free(leases->fetch);
    event_free(leases->look);
    event_free(leases->tell);
    PQclear(leases->rows);
    free(leases);
}

/*
 * store.c - messages and chunks of bodies into the database: one transaction for what comes while another is under way
 *
 * Where commits are slow a transaction costs nearly the same for one message and for many, so a second one is in flight
 * only when it is large. For the same reason the next one waits a part of the last one's time for those that were just
 * answered: a client that has more to send does so at once, and would else come right behind a transaction of half of
 * them, for ever. But that has the database idle while clients send, and clients while it works: where its work takes
 * longer than the commit, half of them make a transaction, which is sent behind the one that has the other half, and not before it has it, however
 * large: two hundred messages cost a fifth less of its work than forty and then the rest.
 * A batch has new messages, which are one statement, and chunks, each its own; both in the order of ids, so that two
 * coordinators do not wait for each other in circles. A message may be in a batch once; a repeat waits for the next. A
 * batch that lost to another transaction all the same (a deadlock) is sent again as it was. After a batch that the
 * database refused for a reason of its own, batches have one message each for a while, so that one that will never be
 * taken fails alone.
 *
 * Who floods fills batches, and others would wait for those. So there are two lines, each with a connection of its own: while one is at work for
 * somebody, a message of a client of whom nothing is under way goes by the other, the spare one.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include "common/clock.h"
#include "common/fair.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/netaddr.h"
#include "common/policy/limits.h"
#include "coordinator/spool/internal.h"
#include "coordinator/spool/pace.h"

#define BATCHES_MAX    2
#define BATCH_LARGE    32         /* messages and chunks: enough to be sent behind another one */
#define BATCH_HEAVY    (1u << 20) /* bytes: the same */
#define BATCH_MESSAGES 256
#define BATCH_PLACES   (2 * BATCH_MESSAGES) /* a power of two */
#define BATCH_BYTES    (8u * 1024 * 1024)
#define CAREFUL_MS     10000
#define TYPES_AGAIN_S  1
#define CONFLICTS_MAX  5 /* of one batch: then its stores are refused and clients come again. No key: a database in which that happens is what is to be mended */
#define SLOTS 64 /* places of sources in a lane, as functions/spool_store.sql has them */
#define KEPT_COLUMNS   8
#define LEASE_EXTRA    9 /* bytes that a recipient is longer in a lease than in its store: attempts, released */

struct item {
    struct question *question;
    char id[SPOOL_ID_MAX];
    bool chunk, last;
    char *payload; /* of a chunk */
    size_t len;    /* of the bytes that came, of a message, too */
    Weir__SpoolChunk *facts; /* of a chunk */
    size_t place;            /* of a message: its client's in newcomers */
    int status;              /* AnswerStatus; 0: the database said nothing */
    uint64_t have;
    bool complete;
    uint32_t *let_in;        /* of a message: recipients whom the quarantine did not take; NULL: none */
    size_t let_in_count;
    STAILQ_ENTRY(item) link;
};

struct batch {
    struct stores *stores;
    struct store_rows rows;
    STAILQ_HEAD(, item) items;
    struct item *by_id[BATCH_PLACES]; /* messages, by open addressing */
    struct item *told; /* the next the database speaks of: messages first, then chunks */
    size_t messages, chunks, bytes;
    bool completes; /* some message: then its commit is on disk before anybody hears of it */
    unsigned conflicts;
    uint64_t begun_us, work_us; /* work: what the statement of the new messages took; 0: there was none */
    TAILQ_ENTRY(batch) link;
};
TAILQ_HEAD(batches, batch);

/* What both lines share. */
struct store_house {
    size_t bytes;
    struct fair fair;                     /* for its seed: clients' places */
    uint32_t under_way[FAIR_PLACES];      /* messages of each client */
    struct stores *spare;
    struct metric *by_spare;
};

struct stores { /* one line */
    struct spool *spool;
    struct store_house *house;
    struct db *db;
    struct event *timer;
    struct batches waiting;
    size_t in_flight;
    size_t sent; /* messages and chunks in flight */
    struct store_pace pace;
    uint64_t gather_until_us, done_us;
    uint64_t careful_until_ms;
    bool asking; /* for the types */
    char *sql;
    struct metric *stored, *chunks, *full, *busy, *failed, *bytes_gauge, *seconds;
};

/* --- rows --- */

void store_rows_init(struct store_rows *rows)
{
    records_init(&rows->messages, 20);
    records_init(&rows->parts, 3);
    records_init(&rows->recipients, 5);
    records_init(&rows->entries, 5);
    rows_init(&rows->kept, KEPT_COLUMNS);
    text_init(&rows->bodies);
}

void store_rows_fini(struct store_rows *rows)
{
    records_fini(&rows->messages);
    records_fini(&rows->parts);
    records_fini(&rows->recipients);
    records_fini(&rows->entries);
    rows_fini(&rows->kept);
    text_fini(&rows->bodies);
}

static int compare_indexes(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;
    return one < other ? -1 : one > other;
}

static bool recipients_make_sense(const Weir__SpoolRecipients *recipients)
{
    size_t count = recipients->n_recipients;
    if (count == 0)
        return false;
    uint32_t *indexes = xmalloc(count * sizeof *indexes);
    for (size_t i = 0; i < count; i++)
        indexes[i] = recipients->recipients[i]->index;
    qsort(indexes, count, sizeof *indexes, compare_indexes);
    bool fine = indexes[count - 1] <= INT_MAX;
    for (size_t i = 1; i < count; i++)
        fine = fine && indexes[i - 1] != indexes[i];
    for (size_t i = 0; i < count; i++)
        fine = fine && recipients->recipients[i]->destination.len > 0;
    free(indexes);
    return fine;
}

static void add_text(struct records *records, const ProtobufCBinaryData *bytes)
{
    records_text(records, bytes->data, bytes->len, SPOOL_TEXT_MAX);
}

static void add_packed(struct records *records, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = xmalloc(len + 1);
    protobuf_c_message_pack(message, packed);
    records_bytes(records, packed, len);
    free(packed);
}

static void add_recipient(struct records *recipients, const ProtobufCBinaryData *id, const Weir__SpoolRecipient *recipient)
{
    add_text(recipients, id);
    records_integer(recipients, (int32_t)recipient->index);
    add_text(recipients, &recipient->destination);
    add_text(recipients, &recipient->address);
    add_packed(recipients, &recipient->base);
    records_end(recipients);
}

static void add_kept(struct rows *kept, const Weir__SpoolStore *store, const Weir__SpoolRecipient *recipient)
{
    const Weir__SpoolEnvelope *envelope = store->envelope;
    if (recipient->quarantine == WEIR__QUARANTINE__QUARANTINE_NOT)
        return;
    rows_text(kept, envelope->id.data, envelope->id.len, SPOOL_TEXT_MAX);
    rows_number(kept, recipient->index);
    rows_string(kept, wire_quarantine_name(recipient->quarantine));
    if (envelope->scored)
        rows_number(kept, envelope->score);
    else
        rows_string(kept, NULL);
    rows_text(kept, envelope->symbols.data, envelope->symbols.len, WIRE_SYMBOLS_MAX);
    rows_text(kept, envelope->signature.data, envelope->signature.len, SPOOL_TEXT_MAX);
    rows_text(kept, envelope->author.data, envelope->author.len, SPOOL_TEXT_MAX);
    rows_string(kept, store->always ? "t" : "f");
    rows_end(kept);
}

static int compare_destinations(const void *a, const void *b)
{
    const ProtobufCBinaryData *one = *(ProtobufCBinaryData *const *)a, *other = *(ProtobufCBinaryData *const *)b;
    int order = memcmp(one->data, other->data, one->len < other->len ? one->len : other->len);
    return order != 0 ? order : (one->len > other->len) - (one->len < other->len);
}

/* The same for all coordinators, so no secret: who makes himself the place of another is one of two there. */
static int16_t slot_of(const Weir__SpoolEnvelope *envelope)
{
    const ProtobufCBinaryData *who = envelope->login.len > 0 ? &envelope->login : &envelope->client;
    uint64_t source = fair_source((const char *)who->data, who->len);
    return (int16_t)((source ^ source >> 32) % SLOTS);
}

static void add_entries(struct records *entries, const Weir__SpoolEnvelope *envelope, const Weir__SpoolRecipients *recipients)
{
    size_t count = recipients->n_recipients;
    const ProtobufCBinaryData **destinations = xmalloc(count * sizeof *destinations);
    for (size_t i = 0; i < count; i++)
        destinations[i] = &recipients->recipients[i]->destination;
    qsort(destinations, count, sizeof *destinations, compare_destinations);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && compare_destinations(&destinations[i - 1], &destinations[i]) == 0)
            continue;
        add_text(entries, &envelope->id);
        add_text(entries, destinations[i]);
        records_boolean(entries, envelope->scanned);
        records_boolean(entries, envelope->dsn);
        records_smallint(entries, slot_of(envelope));
        records_end(entries);
    }
    free(destinations);
}

/* As functions/outbound.sql names it: who is stopped is asked of the database, as the edge may not have heard of it. */
static void add_subject(struct records *messages, const Weir__SpoolEnvelope *envelope)
{
    struct netaddr client;
    char host[LIMIT_SUBJECT_MAX] = "", *client_text = xstrndup((const char *)envelope->client.data, envelope->client.len), *subject = NULL;
    if (envelope->stopped.len > 0)
        subject = xstrndup((const char *)envelope->stopped.data, envelope->stopped.len);
    else if (!envelope->dsn && envelope->login.len > 0)
        subject = xasprintf("account %.*s", (int)envelope->login.len, (const char *)envelope->login.data);
    else if (!envelope->dsn && netaddr_parse(&client, client_text) && limit_subject_of_client(host, LIMIT_BY_CLIENT, &client, NULL))
        subject = xasprintf("host %s", host);
    if (subject != NULL)
        records_text(messages, subject, strlen(subject), SPOOL_TEXT_MAX);
    else
        records_string(messages, NULL);
    free(client_text);
    free(subject);
}

bool store_rows_add(struct store_rows *rows, const Weir__SpoolStore *store, const Weir__SpoolRecipients *recipients, const struct link_payload *body)
{
    const Weir__SpoolEnvelope *envelope = store->envelope;
    if (!recipients_make_sense(recipients))
        return false;
    const ProtobufCBinaryData *const texts[] = {
        &envelope->node,       &envelope->listener, &envelope->client,  &envelope->helo,   &envelope->tls,        &envelope->sender,
        &envelope->message_id, &envelope->verdict,  &envelope->scanner, &envelope->engine, &envelope->signatures,
    };
    struct records *messages = &rows->messages, *parts = &rows->parts;
    add_text(messages, &envelope->id);
    records_boolean(messages, store->last);
    records_bigint(messages, (int64_t)body->len);
    records_integer(messages, (int32_t)recipients->n_recipients);
    records_boolean(messages, envelope->scanned);
    records_boolean(messages, envelope->dsn);
    add_packed(messages, &envelope->base);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        add_text(messages, texts[i]);
    add_subject(messages, envelope);
    records_smallint(messages, slot_of(envelope));
    records_end(messages);
    add_text(parts, &envelope->id);
    records_integer(parts, (int32_t)rows->bodies.len);
    records_integer(parts, (int32_t)body->len);
    records_end(parts);
    text_add(&rows->bodies, body->data, body->len);
    for (size_t i = 0; i < recipients->n_recipients; i++) {
        add_recipient(&rows->recipients, &envelope->id, recipients->recipients[i]);
        add_kept(&rows->kept, store, recipients->recipients[i]);
    }
    if (store->last)
        add_entries(&rows->entries, envelope, recipients);
    return true;
}

static struct db_value text_value(const char *text)
{
    return (struct db_value){ .data = text };
}

void store_rows_values(struct store_rows *rows, const struct spool *spool, bool limits,
                       struct db_value values[STORE_VALUES])
{
    const struct spool_words *words = &spool->words;
    values[0] = text_value(limits ? words->max_messages : "9223372036854775807");
    values[1] = text_value(limits ? words->max_bytes : "9223372036854775807");
    values[2] = text_value(words->warning);
    values[3] = text_value(words->life);
    values[4] = records_value(&rows->messages, spool->types[SPOOL_NEW_MESSAGE]);
    values[5] = records_value(&rows->parts, spool->types[SPOOL_NEW_PART]);
    values[6] = (struct db_value){ rows->bodies.data, rows->bodies.len, true };
    values[7] = records_value(&rows->recipients, spool->types[SPOOL_NEW_RECIPIENT]);
    values[8] = records_value(&rows->entries, spool->types[SPOOL_NEW_ENTRY]);
}

char *store_call(size_t first)
{
    return xasprintf("spool_add($%zu::bigint, $%zu::bigint, $%zu::interval, $%zu::interval, $%zu::spool_new_message[], $%zu::spool_new_part[], $%zu::bytea, "
                     "$%zu::spool_new_recipient[], $%zu::spool_new_entry[])",
                     first, first + 1, first + 2, first + 3, first + 4, first + 5, first + 6, first + 7, first + 8);
}

/* --- answers --- */

static void item_free(struct stores *stores, struct item *item)
{
    if (!item->chunk)
        stores->house->under_way[item->place]--;
    free(item->payload);
    free(item->let_in);
    if (item->facts != NULL)
        weir__spool_chunk__free_unpacked(item->facts, NULL);
    free(item);
}

static void item_answer(struct stores *stores, struct item *item, int failure, const char *why)
{
    int status = failure != 0 ? failure : item->status != 0 ? item->status : WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE;
    if (status == WEIR__ANSWER_STATUS__ANSWER_OK) {
        Weir__SpoolStored stored = WEIR__SPOOL_STORED__INIT;
        stored.id = wire_text(item->id);
        stored.have = item->have;
        stored.complete = item->complete;
        stored.let_in = item->let_in;
        stored.n_let_in = item->let_in_count;
        Weir__Answer answer = WEIR__ANSWER__INIT;
        answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
        answer.body_case = WEIR__ANSWER__BODY_SPOOL_STORED;
        answer.spool_stored = &stored;
        metric_add(item->chunk ? stores->chunks : stores->stored, 1);
        if (item->complete)
            log_write(LOG_DEBUG, "%s: stored for %s", item->id, question_node(item->question));
        question_answer(&item->question, &answer, NULL, 0);
    } else {
        if (status == WEIR__ANSWER_STATUS__ANSWER_FULL)
            metric_add(stores->full, 1);
        question_settle(&item->question, (Weir__AnswerStatus)status,
                        why != NULL ? why
                        : status == WEIR__ANSWER_STATUS__ANSWER_FULL ? "the spool or the quarantine is full"
                                                                      : "no such message");
    }
    item_free(stores, item);
}

/* --- batches --- */

static void kick(struct stores *stores)
{
    event_add(stores->timer, &(struct timeval){ 0, 0 });
}

static void count_bytes(struct stores *stores, size_t added, size_t removed)
{
    struct store_house *house = stores->house;
    house->bytes = house->bytes + added - removed;
    metric_set(stores->bytes_gauge, (double)house->bytes);
}

/* All messages of the batch were new, and are here as they came. */
static void all_stored(struct batch *batch)
{
    for (; batch->told != NULL && !batch->told->chunk; batch->told = STAILQ_NEXT(batch->told, link)) {
        batch->told->status = WEIR__ANSWER_STATUS__ANSWER_OK;
        batch->told->have = batch->told->len;
        batch->told->complete = batch->told->last;
    }
}

static void on_stored(void *arg, const PGresult *result)
{
    struct batch *batch = arg;
    if (PQntuples(result) == 1 && PQgetisnull(result, 0, 0)) {
        batch->work_us = strtoull(PQgetvalue(result, 0, 4), NULL, 10);
        all_stored(batch);
        return;
    }
    for (int row = 0; row < PQntuples(result) && batch->told != NULL; row++, batch->told = STAILQ_NEXT(batch->told, link)) {
        struct item *item = batch->told;
        item->status = atoi(PQgetvalue(result, row, 1));
        item->have = strtoull(PQgetvalue(result, row, 2), NULL, 10);
        item->complete = PQgetvalue(result, row, 3)[0] == 't';
        uint64_t work_us = strtoull(PQgetvalue(result, row, 4), NULL, 10); /* a chunk tells none */
        if (work_us > batch->work_us)
            batch->work_us = work_us;
    }
}

/* list: PostgreSQL's text of an array of numbers, such as {0,2}. */
static void item_let_in(struct item *item, const char *list)
{
    free(item->let_in); /* the batch may be sent again */
    item->let_in = xcalloc(strlen(list), sizeof *item->let_in);
    item->let_in_count = 0;
    for (const char *at = list + 1; *at >= '0' && *at <= '9' && item->let_in_count < WIRE_LET_IN_MAX;) {
        char *end;
        item->let_in[item->let_in_count++] = (uint32_t)strtoul(at, &end, 10);
        at = *end == ',' ? end + 1 : end;
    }
}

/* Those for which the quarantine has no room, or of which it took not all it was to have. */
static void on_kept(void *arg, const PGresult *result)
{
    struct batch *batch = arg;
    struct item *item;
    for (int row = 0; row < PQntuples(result); row++) {
        STAILQ_FOREACH(item, &batch->items, link)
        {
            if (item->chunk || strcmp(item->id, PQgetvalue(result, row, 0)) != 0)
                continue;
            if (PQgetvalue(result, row, 1)[0] == 't')
                item->status = WEIR__ANSWER_STATUS__ANSWER_FULL;
            else
                item_let_in(item, PQgetvalue(result, row, 2));
        }
    }
}

static const char *refusal(const struct db_error *error, enum db_outcome outcome, int *status)
{
    bool disk = outcome == DB_FAILED && db_error_is_disk_full(error);
    *status = disk ? WEIR__ANSWER_STATUS__ANSWER_FULL : WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE;
    return disk ? "the database's disk is full" : "the database did not take it";
}

/* As if it had not been sent. */
static void send_again(struct stores *stores, struct batch *batch)
{
    struct item *item;
    STAILQ_FOREACH(item, &batch->items, link)
    {
        item->status = 0;
    }
    TAILQ_INSERT_HEAD(&stores->waiting, batch, link);
    stores->in_flight--;
    stores->sent -= batch->messages + batch->chunks;
    kick(stores);
}

static void gather(struct stores *stores, const struct batch *done)
{
    const struct batch *next = TAILQ_FIRST(&stores->waiting);
    bool careful = clock_ms() < stores->careful_until_ms; /* then none grows */
    uint64_t now = clock_us(), began = done->begun_us > stores->done_us ? done->begun_us : stores->done_us; /* not while it was behind another */
    stores->pace = store_pace(done->messages + done->chunks, next != NULL ? next->messages + next->chunks : 0, stores->sent, done->work_us, now - began);
    stores->gather_until_us = careful ? 0 : now + stores->pace.wait_us;
    stores->done_us = now;
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct batch *batch = arg;
    struct stores *stores = batch->stores;
    int failure = 0;
    bool other_types = outcome == DB_FAILED && spool_types_are_others(stores->spool, error);
    if (outcome == DB_FAILED && (db_error_is_conflict(error) || other_types) && ++batch->conflicts <= CONFLICTS_MAX) {
        metric_add(stores->failed, 1);
        log_write(LOG_WARNING, "spool: %zu messages and %zu chunks are sent again: %s %s", batch->messages, batch->chunks,
                  error->sqlstate, error->why.text);
        send_again(stores, batch);
        return;
    }
    const char *why = outcome == DB_OK ? NULL : refusal(error, outcome, &failure);
    stores->in_flight--;
    stores->sent -= batch->messages + batch->chunks;
    count_bytes(stores, 0, batch->bytes);
    if (outcome == DB_OK)
        metric_observe(stores->seconds, (double)(clock_us() - batch->begun_us) / 1e6);
    else
        metric_add(stores->failed, 1);
    if (outcome == DB_FAILED) {
        log_write(LOG_ERR, "spool: %zu messages and %zu chunks not stored: %s %s", batch->messages, batch->chunks,
                  error->sqlstate, error->why.text);
        if (failure == WEIR__ANSWER_STATUS__ANSWER_FULL)
            spool_disk_full(stores->spool);
        if (!db_error_is_transient(error))
            stores->careful_until_ms = clock_ms() + CAREFUL_MS;
    }
    gather(stores, batch);
    bool due = false;
    while (!STAILQ_EMPTY(&batch->items)) {
        struct item *item = STAILQ_FIRST(&batch->items);
        STAILQ_REMOVE_HEAD(&batch->items, link);
        due |= failure == 0 && item->complete;
        item_answer(stores, item, failure, why);
    }
    store_rows_fini(&batch->rows);
    free(batch);
    if (due)
        leases_changed(stores->spool->leases);
    kick(stores);
}

static void send_chunk(struct batch *batch, struct db_unit *unit, const struct item *item)
{
    const Weir__SpoolChunk *facts = item->facts;
    const struct spool_words *words = &batch->stores->spool->words;
    char offset[24];
    snprintf(offset, sizeof offset, "%llu", (unsigned long long)facts->offset);
    char *verdict = spool_clean(&facts->verdict), *scanner = spool_clean(&facts->scanner);
    char *engine = spool_clean(&facts->engine), *signatures = spool_clean(&facts->signatures);
    const struct db_value values[] = {
        text_value(words->max_bytes),
        text_value(words->warning),
        text_value(words->life),
        text_value(item->id),
        text_value(offset),
        { item->payload, item->len, true },
        text_value(facts->last ? "t" : "f"),
        text_value(facts->scanned ? "t" : "f"),
        text_value(verdict),
        text_value(scanner),
        text_value(engine),
        text_value(signatures),
    };
    db_query_values(unit,
                    "SELECT '', *, 0 FROM spool_chunk($1::bigint, $2::interval, $3::interval, $4::text, $5::bigint, "
                    "$6::bytea, $7::boolean, $8::boolean, $9::text, $10::text, $11::text, $12::text)",
                    sizeof values / sizeof *values, values, false, on_stored);
    free(verdict);
    free(scanner);
    free(engine);
    free(signatures);
}

static void send_batch(struct stores *stores, struct batch *batch)
{
    struct item *item;
    stores->in_flight++;
    stores->sent += batch->messages + batch->chunks;
    batch->begun_us = clock_us();
    batch->work_us = 0;
    batch->told = STAILQ_FIRST(&batch->items);
    struct db_unit *unit = db_begin(stores->db, on_done, batch);
    /* A part of a message needs no disk: the commit of the last one brings all before it there, and without them it is refused. */
    if (!batch->completes)
        db_query(unit, "SELECT set_config('synchronous_commit', 'off', true)", 0, NULL, NULL);
    if (batch->messages > 0) {
        struct db_value values[STORE_VALUES];
        store_rows_values(&batch->rows, stores->spool, true, values);
        db_query_values(unit, stores->sql, STORE_VALUES, values, false, on_stored);
    }
    if (batch->rows.kept.count > 0) {
        const struct spool_words *words = &stores->spool->words;
        const char *values[2 + KEPT_COLUMNS] = { words->quarantine_messages, words->quarantine_bytes };
        memcpy(values + 2, rows_values(&batch->rows.kept), KEPT_COLUMNS * sizeof *values);
        db_query(unit, "SELECT * FROM quarantine_take($1::bigint, $2::bigint, $3::text[], $4::integer[], $5::text[], $6::integer[], $7::text[], $8::text[], $9::text[],"
                       " $10::boolean[])", 2 + KEPT_COLUMNS, values, on_kept);
    }
    STAILQ_FOREACH(item, &batch->items, link)
    {
        if (item->chunk)
            send_chunk(batch, unit, item);
    }
    db_commit(unit);
}

/* Otherwise there is a reason to look again: more that comes, an answer, or the timer. */
static bool may_send(struct stores *stores, const struct batch *batch)
{
    size_t count = batch->messages + batch->chunks;
    uint64_t now = clock_us();
    bool full = count >= BATCH_MESSAGES || batch->bytes >= BATCH_HEAVY || batch != TAILQ_LAST(&stores->waiting, batches); /* it grows no more */
    if (stores->in_flight > 0)
        return stores->in_flight < BATCHES_MAX && (full || count >= (stores->pace.halves ? stores->pace.gather : BATCH_LARGE));
    if (full || count >= BATCH_LARGE)
        return true;
    if (count >= stores->pace.gather || now >= stores->gather_until_us)
        return true;
    event_add(stores->timer, &(struct timeval){ 0, (suseconds_t)(stores->gather_until_us - now) });
    return false;
}

/* --- the types of what is stored --- */

static void on_types(void *arg, const PGresult *result)
{
    struct stores *stores = arg;
    spool_types_take(stores->spool, result);
}

static void on_types_asked(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct stores *stores = arg;
    stores->asking = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "spool: the types of what is stored are not to be had: %s %s", error->sqlstate, error->why.text);
    if (outcome != DB_LOST)
        event_add(stores->timer, &(struct timeval){ outcome == DB_FAILED ? TYPES_AGAIN_S : 0, 0 });
}

static void ask_types(struct stores *stores)
{
    if (stores->asking || !db_is_up(stores->db))
        return;
    stores->asking = true;
    spool_types_ask(stores->db, on_types, on_types_asked, stores);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stores *stores = arg;
    if (!stores->spool->types_known) {
        ask_types(stores);
        return;
    }
    while (!TAILQ_EMPTY(&stores->waiting) && may_send(stores, TAILQ_FIRST(&stores->waiting))) {
        struct batch *batch = TAILQ_FIRST(&stores->waiting);
        TAILQ_REMOVE(&stores->waiting, batch, link);
        send_batch(stores, batch);
    }
}

/* Where the message with that id is, or belongs. There is always a free place, as a batch has half as many messages. */
static struct item **batch_place(struct batch *batch, const char *id)
{
    size_t at = wire_subject_digest(id) % BATCH_PLACES;
    while (batch->by_id[at] != NULL && strcmp(batch->by_id[at]->id, id) != 0)
        at = (at + 1) % BATCH_PLACES;
    return &batch->by_id[at];
}

static bool batch_has_chunks(const struct batch *batch)
{
    return batch->chunks > 0;
}

/* The batch that takes one more. Messages of a batch go before its chunks, so none joins behind one; nothing joins what goes again as it was. */
static struct batch *batch_for(struct stores *stores, const struct item *item)
{
    struct batch *last = TAILQ_LAST(&stores->waiting, batches);
    size_t most = clock_ms() < stores->careful_until_ms ? 1 : BATCH_MESSAGES;
    if (last != NULL && last->conflicts == 0 && last->messages + last->chunks < most && last->bytes < BATCH_BYTES &&
        (item->chunk || (!batch_has_chunks(last) && *batch_place(last, item->id) == NULL)))
        return last;
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->stores = stores;
    store_rows_init(&batch->rows);
    STAILQ_INIT(&batch->items);
    TAILQ_INSERT_TAIL(&stores->waiting, batch, link);
    return batch;
}

/* In the order of ids, and behind others of its message. */
static void insert_chunk(struct batch *batch, struct item *item)
{
    struct item *before = NULL, *one;
    STAILQ_FOREACH(one, &batch->items, link)
    {
        if (one->chunk && strcmp(one->id, item->id) > 0)
            break;
        before = one;
    }
    if (before != NULL)
        STAILQ_INSERT_AFTER(&batch->items, before, item, link);
    else
        STAILQ_INSERT_HEAD(&batch->items, item, link);
}

/* Messages as they come: there is no chunk yet that they would be behind. */
static void batch_add(struct stores *stores, struct batch *batch, struct item *item, size_t bytes)
{
    if (item->chunk) {
        insert_chunk(batch, item);
    } else {
        *batch_place(batch, item->id) = item;
        STAILQ_INSERT_TAIL(&batch->items, item, link);
    }
    *(item->chunk ? &batch->chunks : &batch->messages) += 1;
    batch->completes |= item->last;
    batch->bytes += bytes;
    count_bytes(stores, bytes, 0);
    kick(stores);
}

/* --- questions --- */

/* NULL: it was answered, as there is no room for it. What was sent ahead has half of the room, so that it takes none from what has to come. */
static struct item *item_new(struct stores *stores, struct question *question, const ProtobufCBinaryData *id, size_t bytes, bool ahead)
{
    uint64_t room = stores->spool->options.settings->spool_memory / (ahead ? 2 : 1);
    if (!db_is_up(stores->db) || stores->house->bytes + bytes > room) {
        metric_add(stores->busy, 1);
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE,
                        db_is_up(stores->db) ? "too much mail waits for the database" : "the database is not there");
        return NULL;
    }
    struct item *item = xcalloc(1, sizeof *item);
    item->question = question;
    wire_string(item->id, sizeof item->id, id);
    return item;
}

/* The line that the message stands in. Chunks have the first one: what is large waits for its own other parts, too. */
static struct stores *line_for(struct stores *stores, struct item *item, const ProtobufCBinaryData *client)
{
    struct store_house *house = stores->house;
    item->place = fair_place(&house->fair, fair_source((const char *)client->data, client->len));
    bool newcomer = house->under_way[item->place]++ == 0, busy = stores->in_flight > 0 || !TAILQ_EMPTY(&stores->waiting);
    if (!newcomer || !busy || !db_is_up(house->spare->db))
        return stores;
    metric_add(house->by_spare, 1);
    return house->spare;
}

static void on_store(void *arg, struct question *question, const struct link_message *message)
{
    struct stores *stores = arg;
    const Weir__SpoolStore *store = message->frame->question->spool_store;
    struct error why;
    size_t bytes = message->payloads[0].len + message->payloads[1].len;
    struct item *item = item_new(stores, question, &store->envelope->id, bytes, false);
    if (item == NULL)
        return;
    stores = line_for(stores, item, &store->envelope->client);
    Weir__SpoolRecipients *recipients =
        wire_recipients_decode(message->payloads[0].data, message->payloads[0].len, &why);
    if (recipients == NULL || !recipients_make_sense(recipients)) {
        item_answer(stores, item, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "its recipients make no sense");
    } else if (message->payloads[0].len + LEASE_EXTRA * recipients->n_recipients > WIRE_LIST_MAX) {
        item_answer(stores, item, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "its recipients would not fit a lease");
    } else {
        struct batch *batch = batch_for(stores, item);
        item->last = store->last;
        item->len = message->payloads[1].len;
        store_rows_add(&batch->rows, store, recipients, &message->payloads[1]);
        batch_add(stores, batch, item, bytes);
    }
    wire_recipients_free(&recipients);
}

static void on_chunk(void *arg, struct question *question, const struct link_message *message)
{
    struct stores *stores = arg;
    const Weir__SpoolChunk *chunk = message->frame->question->spool_chunk;
    size_t bytes = message->payloads[0].len;
    struct item *item = item_new(stores, question, &chunk->id, bytes, chunk->ahead);
    if (item == NULL)
        return;
    item->chunk = true;
    item->last = chunk->last;
    item->facts = wire_copy(&chunk->base);
    item->payload = xmalloc(bytes + 1);
    if (bytes > 0)
        memcpy(item->payload, message->payloads[0].data, bytes);
    item->len = bytes;
    batch_add(stores, batch_for(stores, item), item, bytes);
}

static void on_up(void *arg)
{
    struct stores *stores = arg;
    stores->spool->types_known = false; /* they may be those of another database */
    ask_types(stores);
}

static void on_down(void *arg)
{
    (void)arg;
}

static struct stores *line_new(struct spool *spool, struct store_house *house, const char *role)
{
    struct stores *stores = xcalloc(1, sizeof *stores);
    struct metrics *metrics = spool->options.metrics;
    stores->spool = spool;
    stores->house = house;
    TAILQ_INIT(&stores->waiting);
    stores->timer = evtimer_new(spool->options.base, on_timer, stores);
    stores->db = spool_connect(spool, role, on_up, on_down, NULL, stores);
    char *call = store_call(1);
    stores->sql = xasprintf("SELECT * FROM %s", call);
    free(call);
    stores->stored = metrics_counter(metrics, "weir_spool_stores_total", "kind=\"message\"");
    stores->chunks = metrics_counter(metrics, "weir_spool_stores_total", "kind=\"chunk\"");
    stores->full = metrics_counter(metrics, "weir_spool_full_total", NULL);
    stores->busy = metrics_counter(metrics, "weir_spool_stores_refused_total", NULL);
    stores->failed = metrics_counter(metrics, "weir_spool_batches_failed_total", "kind=\"store\"");
    stores->bytes_gauge = metrics_gauge(metrics, "weir_spool_memory_bytes", NULL);
    stores->seconds = metrics_histogram(metrics, "weir_spool_store_seconds", metrics_seconds_bounds, metrics_seconds_count, NULL);
    return stores;
}

void stores_ask_types(struct stores *stores)
{
    kick(stores);
}

struct stores *stores_new(struct spool *spool)
{
    struct store_house *house = xcalloc(1, sizeof *house);
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        fatal("getrandom: %m");
    fair_init(&house->fair, seed);
    house->by_spare = metrics_counter(spool->options.metrics, "weir_spool_stores_spare_total", NULL);
    struct stores *stores = line_new(spool, house, "store");
    house->spare = line_new(spool, house, "spare");
    questions_register(spool->options.questions, WEIR__QUESTION__BODY_SPOOL_STORE, on_store, stores);
    questions_register(spool->options.questions, WEIR__QUESTION__BODY_SPOOL_CHUNK, on_chunk, stores);
    return stores;
}

static void line_free(struct stores *stores)
{
    db_free(&stores->db);
    while (!TAILQ_EMPTY(&stores->waiting)) {
        struct batch *batch = TAILQ_FIRST(&stores->waiting);
        TAILQ_REMOVE(&stores->waiting, batch, link);
        store_rows_fini(&batch->rows);
        while (!STAILQ_EMPTY(&batch->items)) {
            struct item *item = STAILQ_FIRST(&batch->items);
            STAILQ_REMOVE_HEAD(&batch->items, link);
            item_answer(stores, item, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "stopping");
        }
        free(batch);
    }
    event_free(stores->timer);
    free(stores->sql);
    free(stores);
}

void stores_free(struct stores **freed)
{
    struct stores *stores = *freed;
    *freed = NULL;
    if (stores == NULL)
        return;
    struct store_house *house = stores->house;
    line_free(house->spare);
    line_free(stores);
    free(house);
}

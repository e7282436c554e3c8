/*
 * learn.c - see learn.h
 *
 * A turn: what changed? -> events that count, some hundreds at a time, those already in the model left out -> where its threshold stands is looked at with some of what it
 * learned, left out (model.h) -> the new model is tried on what it was taught -> stored in chunks -> published. One unit of work after the other; where one fails the next turn begins anew. The model in memory is only a cache of the events.
 */
#include "coordinator/learn/learn.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/signature_set.h"
#include "coordinator/learn/answer.h"
#include "proto/wire.h"
#include "scanner/native/model.h"
#include "scanner/native/native.h"

#define EVENTS_MOST 500      /* of one query: some hundred KiB */
#define HEAD_LEN    8        /* language and words, in front of the buckets */
#define TRIED_LEAST 20       /* messages of operators' ham, below which nothing can be said of how many of them a model calls spam */

enum stage { STAGE_COUNTING, STAGE_TRIAL, STAGE_JUDGING };

struct learn {
    struct db *db;
    const struct coordinator_settings *settings;
    struct answers *answers;
    const char *name;
    struct native_model *model; /* NULL: nothing is in memory */
    int64_t changes;            /* learn_control.changes that it was made of */
    int64_t counted, last;      /* the last event in it */
    int64_t target;             /* `changes` when the turn began */
    bool busy, again;
    enum stage stage;
    struct native_trial trial;
    uint64_t made_ms;
    size_t ham, called_spam;
    char hash[SIGNATURE_HEX_LEN + 1], used[SIGNATURE_HEX_LEN + 1]; /* of the model; what came of it: where there is none, one of another version stays */
    size_t chunk;
    struct metric *models, *refusals;
};

/* --- units of work --- */

static void forget_model(struct learn *learn)
{
    free(learn->model);
    learn->model = NULL;
    learn->changes = learn->counted = learn->last = 0;
}

static bool succeeded(struct learn *learn, enum db_outcome outcome, const struct db_error *error)
{
    if (outcome == DB_OK)
        return true;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "learn: %s %s", error->sqlstate, error->why.text);
    learn->busy = false;
    forget_model(learn);
    return false;
}

static const char *number(char out[24], int64_t value)
{
    snprintf(out, 24, "%lld", (long long)value);
    return out;
}

/* --- publishing --- */

static uint32_t messages(const struct native_model *model, enum native_class class)
{
    uint32_t sum = 0;
    for (unsigned part = 0; part < NATIVE_PARTS; part++)
        sum += model->messages[part][class];
    return sum;
}

static void on_published(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct learn *learn = arg;
    if (!succeeded(learn, outcome, error))
        return;
    learn->busy = false;
    learn->changes = learn->target;
    log_write(LOG_NOTICE, "learn: model %.12s is the one to use: %u messages of ham, %u of spam, moved by %+.2f", learn->used[0] != '\0' ? learn->used : "none",
              messages(learn->model, CLASS_HAM), messages(learn->model, CLASS_SPAM), learn->model->offset / 1000.0);
    metric_add(learn->models, 1);
}

static void on_used(void *arg, const PGresult *rows)
{
    struct learn *learn = arg;
    snprintf(learn->used, sizeof learn->used, "%s", PQgetvalue(rows, 0, 0));
}

static void publish(struct learn *learn)
{
    char changes[24];
    const char *const values[] = { learn->hash, number(changes, learn->target) };
    struct db_unit *unit = db_begin(learn->db, on_published, learn);
    db_query(unit, "SELECT learn_publish($1, $2::bigint)", 2, values, NULL);
    db_query(unit, "SELECT model FROM learn_control", 0, NULL, on_used);
    db_commit(unit);
}

static void on_stored(void *arg, enum db_outcome outcome, const struct db_error *error);

static void store_chunk(struct learn *learn)
{
    char place[24];
    size_t at = learn->chunk * WIRE_SIGNATURE_CHUNK, left = sizeof *learn->model - at;
    const struct db_value values[] = { { .data = learn->hash }, { .data = number(place, (int64_t)learn->chunk) },
                                       { .data = (const char *)learn->model + at, .len = left < WIRE_SIGNATURE_CHUNK ? left : WIRE_SIGNATURE_CHUNK, .binary = true } };
    learn->chunk++;
    struct db_unit *unit = db_begin(learn->db, on_stored, learn);
    db_query_values(unit, "SELECT learn_model_put($1, $2::integer, $3)", 3, values, false, NULL);
    db_commit(unit);
}

static void on_stored(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct learn *learn = arg;
    if (!succeeded(learn, outcome, error))
        return;
    if (learn->chunk * WIRE_SIGNATURE_CHUNK < sizeof *learn->model)
        store_chunk(learn);
    else
        publish(learn);
}

static void store(struct learn *learn)
{
    char size[24], version[24], ham[24], spam[24];
    struct signature_sum *sum = signature_sum_new();
    signature_sum_add(sum, learn->model, sizeof *learn->model);
    signature_sum_end(&sum, learn->hash);
    learn->chunk = 0;
    const char *const values[] = { learn->hash, number(size, sizeof *learn->model), number(version, NATIVE_MODEL_VERSION), learn->name, number(ham, messages(learn->model, CLASS_HAM)),
                                   number(spam, messages(learn->model, CLASS_SPAM)) };
    struct db_unit *unit = db_begin(learn->db, on_stored, learn);
    db_query(unit, "SELECT learn_model_begin($1, $2::integer, $3::integer, $4, $5::integer, $6::integer)", 6, values, NULL);
    db_commit(unit);
}

/* --- trying it --- */

static void on_refused(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct learn *learn = arg;
    if (!succeeded(learn, outcome, error))
        return;
    learn->busy = false;
    learn->changes = learn->target;
    metric_add(learn->refusals, 1);
}

static void refuse(struct learn *learn)
{
    char words[160], changes[24];
    snprintf(words, sizeof words, "it calls %zu of %zu messages spam that operators taught it as ham: more than learn_refuse (%llu %%)", learn->called_spam, learn->ham,
             (unsigned long long)learn->settings->learn_refuse);
    log_write(LOG_ERR, "learn: the new model is not published: %s", words);
    const char *const values[] = { words, number(changes, learn->target) };
    struct db_unit *unit = db_begin(learn->db, on_refused, learn);
    db_query(unit, "SELECT learn_refuse($1, $2::bigint)", 2, values, NULL);
    db_commit(unit);
}

/* Whether what operators taught as ham is spam to it: then what was taught contradicts itself, by mistake or on purpose. */
static void judge(struct learn *learn)
{
    if (messages(learn->model, CLASS_HAM) + messages(learn->model, CLASS_SPAM) == 0) {
        learn->hash[0] = '\0';
        publish(learn);
    } else if (learn->ham >= TRIED_LEAST && learn->called_spam * 100 > learn->ham * learn->settings->learn_refuse) {
        refuse(learn);
    } else {
        store(learn);
    }
}

/* --- events --- */

static uint32_t little(const char *bytes)
{
    const unsigned char *b = (const unsigned char *)bytes;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* As it came from a scanner, which may be another one tomorrow: looked at again. */
static bool read_features(const char *bytes, size_t len, struct native_features *out)
{
    if (len < HEAD_LEN || len % 4 != 0 || (len - HEAD_LEN) / 4 > NATIVE_FEATURES_MAX)
        return false;
    *out = (struct native_features){ .language = (enum native_language)little(bytes), .words = little(bytes + 4), .count = (len - HEAD_LEN) / 4 };
    for (size_t i = 0; i < out->count; i++)
        out->buckets[i] = little(bytes + HEAD_LEN + 4 * i) % NATIVE_BUCKETS;
    return (uint32_t)out->language < NATIVE_LANGUAGES && out->words <= out->count;
}

static uint64_t network(const PGresult *rows, int row, int column)
{
    uint64_t value = 0;
    for (int i = 0; i < PQgetlength(rows, row, column); i++)
        value = value << 8 | (unsigned char)PQgetvalue(rows, row, column)[i];
    return value;
}

static void on_events(void *arg, const PGresult *rows)
{
    static struct native_features features;
    struct learn *learn = arg;
    learn->again = PQntuples(rows) == EVENTS_MOST;
    for (int row = 0; row < PQntuples(rows); row++) {
        uint64_t part = network(rows, row, 2);
        enum native_class class = PQgetvalue(rows, row, 3)[0] == 's' ? CLASS_SPAM : CLASS_HAM;
        double p;
        if (learn->stage == STAGE_COUNTING) {
            learn->counted = (int64_t)network(rows, row, 0);
            learn->last = (int64_t)network(rows, row, 1);
        }
        if (part >= NATIVE_PARTS || !read_features(PQgetvalue(rows, row, 4), (size_t)PQgetlength(rows, row, 4), &features))
            continue;
        if (learn->stage == STAGE_COUNTING) {
            native_model_learn(learn->model, &features, (unsigned)part, class);
        } else if (learn->stage == STAGE_TRIAL) {
            native_trial_add(&learn->trial, learn->model, &features, class);
        } else if (class == CLASS_HAM) {
            learn->ham++;
            learn->called_spam += native_model_weigh(learn->model, &features, &p) >= NATIVE_SPAM ? 1 : 0;
        }
    }
}

static void ask_events(struct learn *learn);

static void on_events_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct learn *learn = arg;
    if (!succeeded(learn, outcome, error))
        return;
    if (learn->stage == STAGE_COUNTING) {
        learn->stage = learn->again ? STAGE_COUNTING : STAGE_TRIAL;
        learn->trial.count[CLASS_HAM] = learn->trial.count[CLASS_SPAM] = 0;
        ask_events(learn);
    } else if (learn->stage == STAGE_TRIAL) {
        native_trial_end(&learn->trial, learn->model);
        learn->stage = STAGE_JUDGING;
        learn->ham = learn->called_spam = 0;
        ask_events(learn);
    } else {
        judge(learn);
    }
}

/* To judge it: some by chance. */
static void ask_events(struct learn *learn)
{
    char most[24], version[24], counted[24], last[24];
    const struct db_value values[] = { { .data = number(most, learn->stage == STAGE_TRIAL ? NATIVE_TRIAL_MOST : EVENTS_MOST) }, { .data = number(version, NATIVE_MODEL_VERSION) },
                                       { .data = number(counted, learn->counted) }, { .data = number(last, learn->last) } };
    struct db_unit *unit = db_begin(learn->db, on_events_done, learn);
    if (learn->stage == STAGE_TRIAL)
        db_query_values(unit, "SELECT counted, id, part, label, features FROM learn_trial($1::integer, $2::integer, $3::bigint, $4::bigint)", 4, values, true, on_events);
    else if (learn->stage == STAGE_JUDGING)
        db_query_values(unit, "SELECT counted, id, part, label, features FROM learn_sample($1::integer, $2::integer)", 2, values, true, on_events);
    else
        db_query_values(unit, "SELECT counted, id, part, label, features FROM learn_events($3::bigint, $4::bigint, $1::integer, $2::integer)", 4, values, true, on_events);
    db_commit(unit);
}

/* --- a turn --- */

static void on_where(void *arg, const PGresult *rows)
{
    struct learn *learn = arg;
    int64_t changes = strtoll(PQgetvalue(rows, 0, 0), NULL, 10), ceased = strtoll(PQgetvalue(rows, 0, 1), NULL, 10), built = strtoll(PQgetvalue(rows, 0, 2), NULL, 10);
    learn->target = changes == built ? 0 : changes;
    if (learn->model != NULL && (ceased > learn->changes || learn->changes > changes))
        forget_model(learn); /* made of something that does not count any more */
}

static void on_turn(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct learn *learn = arg;
    if (!succeeded(learn, outcome, error))
        return;
    learn->busy = learn->target != 0 && clock_ms() - learn->made_ms >= learn->settings->learn_interval;
    if (!learn->busy)
        return;
    learn->made_ms = clock_ms();
    if (learn->model == NULL) {
        learn->model = xmalloc(sizeof *learn->model);
        native_model_init(learn->model);
        learn->counted = learn->last = 0;
    }
    learn->model->personal_most = (uint32_t)(learn->settings->learn_user_score * 100);
    learn->stage = STAGE_COUNTING;
    ask_events(learn);
}

void learn_turn(struct learn *learn)
{
    const struct coordinator_settings *settings = learn->settings;
    char queue[24], size[24], daily[24], most[24], version[24];
    if (learn->busy)
        return;
    const char *const values[] = { number(queue, (int64_t)settings->learn_queue), number(size, (int64_t)settings->learn_message_size),
                                   number(daily, (int64_t)settings->learn_user_daily), number(most, (int64_t)settings->learn_messages),
                                   number(version, NATIVE_MODEL_VERSION) };
    learn->busy = true;
    struct db_unit *unit = db_begin(learn->db, on_turn, learn);
    db_query(unit, "SELECT changes, ceased, built FROM learn_turn($1::integer, $2::integer, $3::integer, $4::integer, $5::integer)", 5, values, on_where);
    db_commit(unit);
}

/* --- life --- */

struct learn *learn_new(struct db *db, struct questions *questions, const struct coordinator_settings *settings, const char *name, struct metrics *metrics)
{
    struct learn *learn = xcalloc(1, sizeof *learn);
    learn->db = db;
    learn->settings = settings;
    learn->name = name;
    learn->answers = answers_new(db, questions, metrics);
    learn->models = metrics_counter(metrics, "weir_learn_models_total", "result=\"published\"");
    learn->refusals = metrics_counter(metrics, "weir_learn_models_total", "result=\"refused\"");
    return learn;
}

void learn_free(struct learn **freed)
{
    struct learn *learn = *freed;
    *freed = NULL;
    if (learn == NULL)
        return;
    answers_free(&learn->answers);
    free(learn->model);
    free(learn);
}

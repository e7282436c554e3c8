/* answer.c - see answer.h */
#include "coordinator/learn/answer.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/signature_set.h"
#include "coordinator/spam_json.h"
#include "coordinator/text.h"
#include "proto/wire.h"
#include "scanner/native/model.h"

struct answers {
    struct db *db;
    struct metric *given, *told;
};

struct asked {
    struct answers *answers;
    struct question *question;
    bool has_model;
    uint8_t model[SIGNATURE_HASH_LEN];
    uint64_t size, job;
    bool score;
    json_t *facts;
    char *body;
    size_t body_len;
};

static struct asked *asked_new(struct answers *answers, struct question *question)
{
    struct asked *asked = xcalloc(1, sizeof *asked);
    asked->answers = answers;
    asked->question = question;
    return asked;
}

static void asked_free(struct asked *asked)
{
    json_decref(asked->facts);
    free(asked->body);
    free(asked);
}

static bool failed(struct asked *asked, enum db_outcome outcome, const struct db_error *error)
{
    if (outcome == DB_OK)
        return false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "learn: %s %s", error->sqlstate, error->why.text);
    question_settle(&asked->question, outcome == DB_LOST ? WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE : WEIR__ANSWER_STATUS__ANSWER_REFUSED,
                    outcome == DB_LOST ? "the database is away" : "the database refuses it");
    asked_free(asked);
    return true;
}

/* --- what is new --- */

static void on_model(void *arg, const PGresult *rows)
{
    struct asked *asked = arg;
    if (PQntuples(rows) != 1)
        return;
    asked->has_model = signature_unhex(asked->model, PQgetvalue(rows, 0, 0));
    asked->size = strtoull(PQgetvalue(rows, 0, 1), NULL, 10);
}

static void on_job(void *arg, const PGresult *rows)
{
    struct asked *asked = arg;
    json_error_t error;
    if (PQntuples(rows) != 1)
        return;
    for (int i = 0; i < PQgetlength(rows, 0, 0); i++)
        asked->job = asked->job << 8 | (unsigned char)PQgetvalue(rows, 0, 0)[i];
    asked->score = strcmp(PQgetvalue(rows, 0, 1), "score") == 0;
    asked->facts = json_loadb(PQgetvalue(rows, 0, 2), (size_t)PQgetlength(rows, 0, 2), 0, &error);
    asked->body_len = (size_t)PQgetlength(rows, 0, 3);
    asked->body = memcpy(xmalloc(asked->body_len + 1), PQgetvalue(rows, 0, 3), asked->body_len);
}

static ProtobufCBinaryData fact(const struct asked *asked, const char *name)
{
    const char *value = json_string_value(json_object_get(asked->facts, name));
    return wire_text_cut(value != NULL ? value : "", strcmp(name, "client") == 0 ? WIRE_CLIENT_MAX : WIRE_ADDRESS_MAX);
}

static void on_news(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct asked *asked = arg;
    if (failed(asked, outcome, error))
        return;
    Weir__LearnNews news = WEIR__LEARN_NEWS__INIT;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    struct link_payload body = { asked->body, asked->body_len };
    if (asked->has_model) {
        news.model = wire_bytes(asked->model, sizeof asked->model);
        news.size = asked->size;
    }
    news.job = asked->job;
    news.score = asked->score;
    news.client = fact(asked, "client");
    news.helo = fact(asked, "helo");
    news.sender = fact(asked, "sender");
    news.recipient = fact(asked, "recipient");
    news.login = fact(asked, "login");
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_LEARN_NEWS;
    answer.learn_news = &news;
    metric_add(asked->answers->given, asked->job != 0 ? 1 : 0);
    question_answer(&asked->question, &answer, &body, asked->job != 0 ? 1 : 0);
    asked_free(asked);
}

static void on_ask(void *arg, struct question *question, const struct link_message *message)
{
    struct answers *answers = arg;
    struct asked *asked = asked_new(answers, question);
    const struct db_value values[] = { { .data = question_node(question) } };
    struct db_unit *unit = db_begin(answers->db, on_news, asked);
    db_query(unit, "SELECT m.hash, m.size FROM learn_control c JOIN learn_model m ON m.hash = c.model", 0, NULL, on_model);
    if (message->frame->question->learn_ask->room)
        db_query_values(unit, "SELECT job, kind, facts::text, body FROM learn_claim($1)", 1, values, true, on_job);
    db_commit(unit);
}

/* --- what was seen --- */

static void on_told(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct asked *asked = arg;
    if (failed(asked, outcome, error))
        return;
    metric_add(asked->answers->told, 1);
    question_settle(&asked->question, WEIR__ANSWER_STATUS__ANSWER_OK, NULL);
    asked_free(asked);
}

static void put_little(char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (char)(value >> 8 * i);
}

static void on_tell(void *arg, struct question *question, const struct link_message *message)
{
    struct answers *answers = arg;
    const Weir__LearnTell *tell = message->frame->question->learn_tell;
    const struct link_payload *features = &message->payloads[0];
    if (features->len > NATIVE_FEATURES_MAX * sizeof(uint32_t) || features->len % sizeof(uint32_t) != 0) {
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "those are no features");
        return;
    }
    size_t len = 8 + features->len;
    char job[24], version[16], *packed = xmalloc(len), *why = text_copy(tell->why.data, tell->why.len);
    put_little(packed, tell->language);
    put_little(packed + 4, tell->words);
    if (features->len > 0)
        memcpy(packed + 8, features->data, features->len);
    json_t *spam = tell->spam != NULL ? spam_json(tell->spam) : NULL;
    char *result = spam != NULL ? json_dumps(spam, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    snprintf(job, sizeof job, "%llu", (unsigned long long)tell->job);
    snprintf(version, sizeof version, "%u", tell->version);
    const struct db_value values[] = { { .data = question_node(question) }, { .data = job }, { .data = version }, { .data = packed, .len = len, .binary = true }, { .data = result }, { .data = why }, { .data = tell->again ? "t" : "f" } };
    struct db_unit *unit = db_begin(answers->db, on_told, asked_new(answers, question));
    db_query_values(unit, "SELECT learn_told($1, $2::bigint, $3::integer, $4, $5::jsonb, $6, $7::boolean)", 7, values, false, NULL);
    db_commit(unit);
    json_decref(spam);
    free(result);
    free(packed);
    free(why);
}

/* --- life --- */

struct answers *answers_new(struct db *db, struct questions *questions, struct metrics *metrics)
{
    struct answers *answers = xcalloc(1, sizeof *answers);
    answers->db = db;
    answers->given = metrics_counter(metrics, "weir_learn_given_total", NULL);
    answers->told = metrics_counter(metrics, "weir_learn_told_total", NULL);
    questions_register(questions, WEIR__QUESTION__BODY_LEARN_ASK, on_ask, answers);
    questions_register(questions, WEIR__QUESTION__BODY_LEARN_TELL, on_tell, answers);
    return answers;
}

void answers_free(struct answers **answers)
{
    free(*answers);
    *answers = NULL;
}

/*
 * serve.c - see serve.h
 */
#include "coordinator/signatures/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/signature_set.h"
#include "proto/wire.h"

struct serve {
    struct db *db;
    struct metric *chunks;
};

struct asked {
    struct serve *serve;
    struct question *question; /* NULL: answered */
};

static struct asked *asked_new(struct serve *serve, struct question *question)
{
    struct asked *asked = xmalloc(sizeof *asked);
    *asked = (struct asked){ .serve = serve, .question = question };
    return asked;
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct asked *asked = arg;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "signatures: %s %s", error->sqlstate, error->why.text);
    if (asked->question != NULL && outcome == DB_OK)
        question_settle(&asked->question, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "there is no such set or file");
    else if (asked->question != NULL)
        question_settle(&asked->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database is away");
    free(asked);
}

/* --- which files --- */

static void on_files(void *arg, const PGresult *result)
{
    struct asked *asked = arg;
    static Weir__SignatureFile files[WIRE_SIGNATURE_FILES_MAX];
    static Weir__SignatureFile *pointers[WIRE_SIGNATURE_FILES_MAX];
    static uint8_t hashes[WIRE_SIGNATURE_FILES_MAX][SIGNATURE_HASH_LEN];
    Weir__SignatureFiles list = WEIR__SIGNATURE_FILES__INIT;
    for (int row = 0; row < PQntuples(result) && row < WIRE_SIGNATURE_FILES_MAX; row++) {
        Weir__SignatureFile *file = pointers[row] = &files[row];
        weir__signature_file__init(file);
        if (!signature_unhex(hashes[row], PQgetvalue(result, row, 1)))
            return;
        file->name = wire_text(PQgetvalue(result, row, 0));
        file->hash = wire_bytes(hashes[row], SIGNATURE_HASH_LEN);
        file->size = strtoull(PQgetvalue(result, row, 2), NULL, 10);
        file->time_ms = strtoull(PQgetvalue(result, row, 3), NULL, 10);
        list.n_files++;
    }
    if (list.n_files == 0)
        return;
    list.files = pointers;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SIGNATURE_FILES;
    answer.signature_files = &list;
    question_answer(&asked->question, &answer, NULL, 0);
}

static void on_list(void *arg, struct question *question, const struct link_message *message)
{
    struct serve *serve = arg;
    char set[SIGNATURE_HEX_LEN + 1];
    signature_hex(message->frame->question->signature_list->set.data, set);
    const char *const values[] = { set };
    struct db_unit *unit = db_begin(serve->db, on_done, asked_new(serve, question));
    db_query(unit, "SELECT name, hash, size, time_ms FROM signature_list($1)", 1, values, on_files);
    db_commit(unit);
}

/* --- their bytes --- */

static uint64_t network_number(const PGresult *rows, int row, int column)
{
    const unsigned char *bytes = (const unsigned char *)PQgetvalue(rows, row, column);
    uint64_t number = 0;
    for (int i = 0; i < PQgetlength(rows, row, column); i++)
        number = number << 8 | bytes[i];
    return number;
}

static void on_chunk(void *arg, const PGresult *rows)
{
    struct asked *asked = arg;
    if (PQntuples(rows) != 1)
        return;
    struct link_payload payload = { PQgetvalue(rows, 0, 1), (size_t)PQgetlength(rows, 0, 1) };
    Weir__SignatureData data = WEIR__SIGNATURE_DATA__INIT;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    data.size = network_number(rows, 0, 0);
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_SIGNATURE_DATA;
    answer.signature_data = &data;
    metric_add(asked->serve->chunks, 1);
    question_answer(&asked->question, &answer, &payload, 1);
}

static void on_fetch(void *arg, struct question *question, const struct link_message *message)
{
    struct serve *serve = arg;
    const Weir__SignatureFetch *fetch = message->frame->question->signature_fetch;
    char hash[SIGNATURE_HEX_LEN + 1], place[24];
    if (fetch->offset % WIRE_SIGNATURE_CHUNK != 0) {
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_REFUSED, "no chunk begins there");
        return;
    }
    signature_hex(fetch->hash.data, hash);
    snprintf(place, sizeof place, "%llu", (unsigned long long)(fetch->offset / WIRE_SIGNATURE_CHUNK));
    const struct db_value values[] = { { .data = hash }, { .data = place } };
    struct db_unit *unit = db_begin(serve->db, on_done, asked_new(serve, question));
    db_query_values(unit, "SELECT size, data FROM signature_fetch($1, $2::integer)", 2, values, true, on_chunk);
    db_commit(unit);
}

/* --- beginning and end --- */

struct serve *serve_new(struct db *db, struct questions *questions, struct metrics *metrics)
{
    struct serve *serve = xcalloc(1, sizeof *serve);
    *serve = (struct serve){ .db = db, .chunks = metrics_counter(metrics, "weir_signature_chunks_total", NULL) };
    questions_register(questions, WEIR__QUESTION__BODY_SIGNATURE_LIST, on_list, serve);
    questions_register(questions, WEIR__QUESTION__BODY_SIGNATURE_FETCH, on_fetch, serve);
    return serve;
}

void serve_free(struct serve **serve)
{
    free(*serve);
    *serve = NULL;
}

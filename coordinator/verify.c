/*
 * verify.c - see verify.h
 *
 * Each question is one row of one table, so there is nothing to gather: the pipeline carries them one behind the other.
 */
#include "coordinator/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/text.h"

struct verify {
    struct db *db;
    const struct coordinator_settings *settings;
    struct metric *known, *not_known, *told;
};

struct lookup {
    struct verify *verify;
    struct question *question;
    bool known, exists, refresh;
    unsigned code;
    char *enhanced, *words;
};

static void lookup_free(struct lookup *lookup)
{
    free(lookup->enhanced);
    free(lookup->words);
    free(lookup);
}

static struct lookup *lookup_new(struct verify *verify, struct question *question)
{
    struct lookup *lookup = xcalloc(1, sizeof *lookup);
    *lookup = (struct lookup){ .verify = verify, .question = question };
    return lookup;
}

static char *clean(const ProtobufCBinaryData *bytes)
{
    struct text text;
    text_init(&text);
    text_add_clean(&text, bytes->data, bytes->len, WIRE_REPLY_MAX);
    return text.data;
}

/* false: it did not work, and the edge has been told. */
static bool succeeded(struct lookup *lookup, enum db_outcome outcome, const struct db_error *error)
{
    if (outcome == DB_OK)
        return true;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "verify: %s %s", error->sqlstate, error->why.text);
    question_settle(&lookup->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database is away");
    lookup_free(lookup);
    return false;
}

/* --- asked --- */

static void on_row(void *arg, const PGresult *result)
{
    struct lookup *lookup = arg;
    if (PQntuples(result) != 1 || PQnfields(result) != 5)
        return;
    lookup->known = true;
    lookup->exists = PQgetvalue(result, 0, 0)[0] == 't';
    lookup->code = (unsigned)strtoul(PQgetvalue(result, 0, 1), NULL, 10);
    lookup->enhanced = xstrdup(PQgetvalue(result, 0, 2));
    lookup->words = xstrdup(PQgetvalue(result, 0, 3));
    lookup->refresh = PQgetvalue(result, 0, 4)[0] == 't';
}

static void on_looked_up(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct lookup *lookup = arg;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__VerifyKnown known = WEIR__VERIFY_KNOWN__INIT;
    if (!succeeded(lookup, outcome, error))
        return;
    known.known = lookup->known;
    known.exists = lookup->exists;
    known.code = lookup->code;
    known.refresh = lookup->refresh;
    known.enhanced = wire_text_cut(lookup->enhanced, WIRE_WORD_MAX);
    known.text = wire_text_cut(lookup->words, WIRE_REPLY_MAX);
    answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
    answer.body_case = WEIR__ANSWER__BODY_VERIFY_KNOWN;
    answer.verify_known = &known;
    metric_add(lookup->known ? lookup->verify->known : lookup->verify->not_known, 1);
    question_answer(&lookup->question, &answer, NULL, 0);
    lookup_free(lookup);
}

static void on_ask(void *arg, struct question *question, const struct link_message *message)
{
    struct verify *verify = arg;
    const Weir__VerifyAsk *asked = message->frame->question->verify_ask;
    char *address = clean(&asked->address), *hop = clean(&asked->destination);
    const char *values[] = { address, hop };
    struct db_unit *unit = db_begin(verify->db, on_looked_up, lookup_new(verify, question));
    db_query(unit, "SELECT known, code, enhanced, words, refresh FROM verify_ask($1, $2)", 2, values, on_row);
    db_commit(unit);
    free(address);
    free(hop);
}

/* --- told --- */

static void on_taken(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct lookup *lookup = arg;
    if (!succeeded(lookup, outcome, error))
        return;
    metric_add(lookup->verify->told, 1);
    question_settle(&lookup->question, WEIR__ANSWER_STATUS__ANSWER_OK, NULL);
    lookup_free(lookup);
}

static void on_tell(void *arg, struct question *question, const struct link_message *message)
{
    struct verify *verify = arg;
    const struct coordinator_settings *settings = verify->settings;
    const Weir__VerifyTell *told = message->frame->question->verify_tell;
    char *address = clean(&told->address), *hop = clean(&told->destination), *enhanced = clean(&told->enhanced), *words = clean(&told->text);
    char code[16], expire[32], refresh[32];
    snprintf(code, sizeof code, "%u", told->code);
    snprintf(expire, sizeof expire, "%llu ms",
             (unsigned long long)(told->exists ? settings->verify_positive_expire : settings->verify_negative_expire));
    snprintf(refresh, sizeof refresh, "%llu ms",
             (unsigned long long)(told->exists ? settings->verify_positive_refresh : settings->verify_negative_refresh));
    const char *values[] = { address, hop, told->exists ? "true" : "false", code, enhanced, words, question_node(question), expire, refresh };
    struct db_unit *unit = db_begin(verify->db, on_taken, lookup_new(verify, question));
    db_query(unit, "SELECT verify_tell($1, $2, $3, $4, $5, $6, $7, $8, $9)", 9, values, NULL);
    db_commit(unit);
    free(address);
    free(hop);
    free(enhanced);
    free(words);
}

/* --- beginning and end --- */

struct verify *verify_new(struct db *db, struct questions *questions, const struct coordinator_settings *settings, struct metrics *metrics)
{
    struct verify *verify = xcalloc(1, sizeof *verify);
    *verify = (struct verify){ .db = db, .settings = settings };
    verify->known = metrics_counter(metrics, "weir_verify_lookups_total", "result=\"known\"");
    verify->not_known = metrics_counter(metrics, "weir_verify_lookups_total", "result=\"not-known\"");
    verify->told = metrics_counter(metrics, "weir_verify_told_total", NULL);
    questions_register(questions, WEIR__QUESTION__BODY_VERIFY_ASK, on_ask, verify);
    questions_register(questions, WEIR__QUESTION__BODY_VERIFY_TELL, on_tell, verify);
    return verify;
}

void verify_free(struct verify **verify)
{
    free(*verify);
    *verify = NULL;
}

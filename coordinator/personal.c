/* personal.c - see personal.h */
#include "coordinator/personal.h"

#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/rows.h"

struct personal {
    struct db *db;
    struct metric *asked;
};

struct lookup {
    struct question *question;
    uint32_t *safe, *blocked;
    size_t n_safe, n_blocked;
};

static void lookup_free(struct lookup *lookup)
{
    free(lookup->safe);
    free(lookup->blocked);
    free(lookup);
}

static void on_rows(void *arg, const PGresult *result)
{
    struct lookup *lookup = arg;
    int rows = PQnfields(result) == 3 ? PQntuples(result) : 0;
    free(lookup->safe); /* the statement may be sent again */
    free(lookup->blocked);
    lookup->safe = xcalloc((size_t)rows + 1, sizeof *lookup->safe);
    lookup->blocked = xcalloc((size_t)rows + 1, sizeof *lookup->blocked);
    lookup->n_safe = lookup->n_blocked = 0;
    for (int row = 0; row < rows; row++) {
        uint32_t number = (uint32_t)strtoul(PQgetvalue(result, row, 0), NULL, 10);
        if (PQgetvalue(result, row, 1)[0] == 't' && lookup->n_safe < WIRE_PERSONAL_MAX)
            lookup->safe[lookup->n_safe++] = number;
        if (PQgetvalue(result, row, 2)[0] == 't' && lookup->n_blocked < WIRE_PERSONAL_MAX)
            lookup->blocked[lookup->n_blocked++] = number;
    }
}

static void on_looked_up(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct lookup *lookup = arg;
    Weir__Answer answer = WEIR__ANSWER__INIT;
    Weir__PersonalKnown known = WEIR__PERSONAL_KNOWN__INIT;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "personal lists: %s %s", error->sqlstate, error->why.text);
    if (outcome == DB_OK) {
        known.safe = lookup->safe;
        known.n_safe = lookup->n_safe;
        known.blocked = lookup->blocked;
        known.n_blocked = lookup->n_blocked;
        answer.status = WEIR__ANSWER_STATUS__ANSWER_OK;
        answer.body_case = WEIR__ANSWER__BODY_PERSONAL_KNOWN;
        answer.personal_known = &known;
        question_answer(&lookup->question, &answer, NULL, 0);
    } else {
        question_settle(&lookup->question, WEIR__ANSWER_STATUS__ANSWER_UNAVAILABLE, "the database is away");
    }
    lookup_free(lookup);
}

static void on_ask(void *arg, struct question *question, const struct link_message *message)
{
    struct personal *personal = arg;
    const Weir__PersonalAsk *asked = message->frame->question->personal_ask;
    struct error why;
    struct rows recipients, senders;
    struct text author;
    Weir__SpoolRecipients *list = wire_recipients_decode(message->payloads[0].data, message->payloads[0].len, &why);
    if (list == NULL) {
        question_settle(&question, WEIR__ANSWER_STATUS__ANSWER_REFUSED, why.text);
        return;
    }
    rows_init(&recipients, 2);
    rows_init(&senders, 1);
    text_init(&author);
    text_add_clean(&author, asked->author.data, asked->author.len, WIRE_ADDRESS_MAX);
    for (size_t i = 0; i < list->n_recipients; i++) {
        rows_number(&recipients, list->recipients[i]->index);
        rows_text(&recipients, list->recipients[i]->address.data, list->recipients[i]->address.len, WIRE_ADDRESS_MAX);
        rows_end(&recipients);
    }
    for (size_t i = 0; i < asked->n_senders; i++) {
        rows_text(&senders, asked->senders[i].data, asked->senders[i].len, WIRE_ADDRESS_MAX);
        rows_end(&senders);
    }
    struct lookup *lookup = xcalloc(1, sizeof *lookup);
    lookup->question = question;
    const char *const *columns = rows_values(&recipients);
    const char *values[] = { columns[0], columns[1], rows_values(&senders)[0], author.data };
    struct db_unit *unit = db_begin(personal->db, on_looked_up, lookup);
    db_query(unit, "SELECT * FROM personal_ask($1::integer[], $2::text[], $3::text[], $4)", 4, values, on_rows);
    db_commit(unit);
    metric_add(personal->asked, 1);
    rows_fini(&recipients);
    rows_fini(&senders);
    text_fini(&author);
    wire_recipients_free(&list);
}

struct personal *personal_new(struct db *db, struct questions *questions, struct metrics *metrics)
{
    struct personal *personal = xcalloc(1, sizeof *personal);
    *personal = (struct personal){ .db = db, .asked = metrics_counter(metrics, "weir_personal_lookups_total", NULL) };
    questions_register(questions, WEIR__QUESTION__BODY_PERSONAL_ASK, on_ask, personal);
    return personal;
}

void personal_free(struct personal **personal)
{
    free(*personal);
    *personal = NULL;
}

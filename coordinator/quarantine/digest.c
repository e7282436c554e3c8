/*
 * digest.c - see digest.h
 *
 *     look: who is due, and which commands wait --> for some of them: rows (queries) --> their messages --> store (one transaction)
 *
 * A transaction has several letters, as each commit costs more than a letter does. Where PostgreSQL refuses one of them they are tried again one by one, so that one that cannot be stored keeps nobody else's.
 * What is found is forgotten when the connection goes: another look finds it again, or that another coordinator was there.
 */
#include "coordinator/quarantine/digest.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include "common/clock.h"
#include "common/config_form.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/policy/policy.h"
#include "common/queue_id.h"
#include "coordinator/quarantine/letter.h"
#include "coordinator/quarantine/subject.h"
#include "coordinator/rows.h"
#include "proto/wire.h"

#define LOOK_MS 2000
#define REST    20   /* times as long as it took to find that nobody is due, it is not looked again; but a slot is not to begin much later */
#define REST_MS 20000
#define MOST    50   /* letters of one look */
#define BATCH   25   /* of one transaction */
#define BATCH_BYTES (1u << 20) /* and their bytes, behind which no other one is added */
#define TIDIED  5000 /* and rows that are over */

/* DUE_NOTHING: what was new is gone by now. */
enum due_fate { DUE_STRANGER, DUE_LETTER, DUE_NOTHING };

struct due {
    char *slot, *upto;            /* of a digest; NULL: it is an answer */
    char *number, *outcome;       /* of an answer */
    char *recipient, *address, *destination;
    enum due_fate fate;
    struct letter_entry *entries;
    size_t entry_count, total;
    bool stored;                  /* nobody else had */
};

struct digest {
    struct digest_options options;
    struct queue_id_source ids;
    struct mime_parser *parser;
    struct policy *policy;        /* of the newest epoch seen: which domains are ours */
    uint64_t policy_epoch, look_at_ms, turn_ms;
    uint64_t asked_ms, due_at_ms; /* when it was asked who is due, and is again */
    bool busy, said_wrong, said_none;
    bool trouble;                 /* a letter of this look was not stored */
    char *after;                  /* the recipient that a look goes on behind */
    struct due due[2 * MOST];
    size_t due_count, due_next;
    size_t batch_end, store_end;  /* of what is asked for, and of what is stored, from due_next on */
    size_t heard;                 /* whose result comes next, at least */
    size_t alone_end;             /* up to here each has a transaction of its own */
    const char *times;
    struct rows time_rows;
    char life[32], warning[32], keep[32];
    struct metric *sent, *answered, *strangers, *failed, *looked;
};

struct digest *digest_new(const struct digest_options *options)
{
    struct digest *digest = xcalloc(1, sizeof *digest);
    uint64_t nonce = 0;
    digest->options = *options;
    if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce)
        fatal("getrandom: no random bytes");
    queue_id_source_init(&digest->ids, options->name, 0, nonce);
    if (*options->settings->digest_from != '\0')
        digest->parser = mime_parser_new(&MIME_LIMITS_DEFAULT); /* reads many files */
    digest->after = xstrdup("");
    snprintf(digest->life, sizeof digest->life, "%llu ms", (unsigned long long)options->own->spool_life);
    snprintf(digest->warning, sizeof digest->warning, "%llu ms", (unsigned long long)options->own->spool_delay_warning);
    snprintf(digest->keep, sizeof digest->keep, "%llu days", (unsigned long long)options->own->quarantine_days);
    rows_init(&digest->time_rows, 1);
    for (size_t i = 0; i < options->settings->digest_times.count; i++) {
        unsigned minutes;
        char text[8];
        weir_assert(form_time_of_day(&minutes, options->settings->digest_times.items[i])); /* its form was checked */
        snprintf(text, sizeof text, "%02u:%02u", minutes / 60 % 24, minutes % 60);
        rows_string(&digest->time_rows, text);
        rows_end(&digest->time_rows);
    }
    digest->times = rows_values(&digest->time_rows)[0];
    digest->sent = metrics_counter(options->metrics, "weir_digest_sent_total", NULL);
    digest->answered = metrics_counter(options->metrics, "weir_digest_answers_total", NULL);
    digest->strangers = metrics_counter(options->metrics, "weir_digest_strangers_total", NULL);
    digest->failed = metrics_counter(options->metrics, "weir_digest_failed_total", NULL);
    digest->looked = metrics_gauge(options->metrics, "weir_digest_looked_timestamp_seconds", NULL);
    metric_set(metrics_gauge(options->metrics, "weir_digest_configured", NULL), *options->settings->digest_from != '\0');
    return digest;
}

static void due_clear(struct due *due)
{
    free(due->slot);
    free(due->upto);
    free(due->number);
    free(due->outcome);
    free(due->recipient);
    free(due->address);
    free(due->destination);
    letter_entries_free(&due->entries, due->entry_count);
    *due = (struct due){ 0 };
}

static void forget(struct digest *digest)
{
    for (size_t i = 0; i < digest->due_count; i++)
        due_clear(&digest->due[i]);
    digest->due_count = digest->due_next = digest->alone_end = 0;
}

void digest_free(struct digest **freed)
{
    struct digest *digest = *freed;
    *freed = NULL;
    if (digest == NULL)
        return;
    forget(digest);
    free(digest->after);
    rows_fini(&digest->time_rows);
    policy_free(&digest->policy);
    if (digest->parser != NULL)
        mime_parser_free(&digest->parser);
    free(digest);
}

/* ---- whose domain ---- */

/* Of the policy only what says which domains are ours: its aliases may be many. */
static void read_policy(struct digest *digest)
{
    const struct cluster_policy *known = cluster_policy(digest->options.cluster);
    struct policy_file files[2];
    size_t count = 0;
    struct error why;
    if (known->epoch == 0 || known->epoch == digest->policy_epoch)
        return;
    for (size_t i = 0; i < known->count; i++) {
        const struct wire_file *file = &known->files[i];
        if (count < 2 && (strcmp(file->name, "mailertable") == 0 || strcmp(file->name, "local-host-names") == 0))
            files[count++] = (struct policy_file){ file->name, file->text, file->len };
    }
    policy_free(&digest->policy);
    digest->policy = policy_parse(files, count, &why);
    digest->policy_epoch = known->epoch;
    if (digest->policy == NULL)
        log_write(LOG_ERR, "digest: policy %llu: %s", (unsigned long long)known->epoch, why.text);
}

static bool is_ours(const struct digest *digest, const char *address)
{
    const char *at = strrchr(address, '@');
    return digest->policy != NULL && at != NULL && policy_is_own_domain(digest->policy, at + 1);
}

/* web_mail, with anything behind a "+" of its local part: nobody reads what is sent there. */
static bool is_for_commands(const struct digest *digest, const char *address)
{
    const char *own = digest->options.settings->web_mail, *domain = strrchr(address, '@');
    size_t len = strcspn(own, "@");
    return len > 0 && domain != NULL && strcasecmp(domain, own + len) == 0 && strncasecmp(address, own, len) == 0 && (address[len] == '@' || address[len] == '+');
}

/* Where his mail goes, who has no copy any more that says so. The edge that gets the letter looks it up once more. */
static bool find_destination(const struct digest *digest, struct due *due)
{
    if (*due->destination != '\0')
        return true;
    struct route route = policy_route(digest->policy, strrchr(due->address, '@') + 1);
    if (route.kind != ROUTE_SMTP)
        return false;
    free(due->destination);
    due->destination = xasprintf(route.mx ? "%s:%u" : "[%s]:%u", route.host, route.port);
    return true;
}

/* ---- some letters ---- */

static void next(struct digest *digest);

static void on_stored(void *arg, const PGresult *result)
{
    struct digest *digest = arg;
    while (digest->due[digest->heard].fate != DUE_LETTER)
        digest->heard++;
    digest->due[digest->heard++].stored = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
}

static void count_stored(const struct digest *digest, const struct due *due)
{
    if (due->fate == DUE_STRANGER)
        metric_add(digest->strangers, 1);
    if (due->fate != DUE_LETTER)
        return;
    if (due->stored)
        metric_add(due->slot != NULL ? digest->sent : digest->answered, 1);
    log_write(LOG_DEBUG, "digest: %s %s%s", due->recipient, due->slot != NULL ? due->slot : "answer", due->stored ? "" : ": another coordinator was first");
}

/* Of one or of several: which of these it was PostgreSQL does not say. */
static void batch_failed(struct digest *digest, size_t end, const struct db_error *error)
{
    if (end - digest->due_next > 1) {
        digest->alone_end = digest->batch_end;
    } else {
        digest->trouble = true;
        metric_add(digest->failed, 1);
        log_write(LOG_ERR, "digest: %s: %s %s", digest->due[digest->due_next].recipient, error->sqlstate, error->why.text);
        digest->due_next++;
    }
    next(digest);
}

static void store(struct digest *digest);

static void on_store_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct digest *digest = arg;
    digest->busy = false;
    if (outcome == DB_LOST) {
        forget(digest); /* whether they were stored the next look finds out */
        return;
    }
    if (outcome == DB_FAILED) {
        batch_failed(digest, digest->store_end, error);
        return;
    }
    for (; digest->due_next < digest->store_end; digest->due_next++)
        count_stored(digest, &digest->due[digest->due_next]);
    if (digest->due_next < digest->batch_end)
        store(digest);
    else
        next(digest);
}

static uint8_t *pack_envelope(const struct digest *digest, const struct queue_id *id, size_t size, bool utf8, size_t *len)
{
    Weir__SpoolEnvelope envelope = WEIR__SPOOL_ENVELOPE__INIT;
    envelope.id = wire_text(id->text);
    envelope.size = size;
    envelope.eightbit = envelope.smtputf8 = utf8;
    envelope.scanned = true; /* it is ours: no scan keeps it back */
    envelope.verdict = wire_text("none");
    envelope.time_ms = queue_id_wall_ms(id);
    envelope.dsn = true; /* it never causes another message */
    envelope.node = wire_text(digest->options.name);
    *len = weir__spool_envelope__get_packed_size(&envelope);
    uint8_t *packed = xmalloc(*len + 1);
    weir__spool_envelope__pack(&envelope, packed);
    return packed;
}

static uint8_t *pack_recipient(const struct due *due, size_t *len)
{
    Weir__SpoolRecipient recipient = WEIR__SPOOL_RECIPIENT__INIT;
    recipient.address = wire_text(due->address);
    recipient.notify = 1; /* NEVER */
    recipient.destination = wire_text(due->destination);
    *len = weir__spool_recipient__get_packed_size(&recipient);
    uint8_t *packed = xmalloc(*len + 1);
    weir__spool_recipient__pack(&recipient, packed);
    return packed;
}

static bool is_ascii(const char *text)
{
    while (*text != '\0' && (unsigned char)*text < 0x80)
        text++;
    return *text == '\0';
}

static void list_token(struct rows *tokens, const char *token, const char *id)
{
    char hash[TOKEN_HASH_LEN + 1], mail[TOKEN_LEN + 1], mail_hash[TOKEN_HASH_LEN + 1];
    token_hash(hash, token);
    token_mail(mail, token);
    token_hash(mail_hash, mail);
    rows_string(tokens, hash);
    rows_string(tokens, id);
    rows_string(tokens, mail_hash);
    rows_end(tokens);
}

/* The tokens that are in the letter, as the database has them. */
static void list_tokens(const struct due *due, const char *page, struct rows *tokens)
{
    rows_init(tokens, 3);
    list_token(tokens, page, "");
    for (size_t i = 0; i < due->entry_count; i++)
        list_token(tokens, due->entries[i].token, due->entries[i].id);
}

static char *write_letter(struct digest *digest, const struct due *due, const struct queue_id *id, const char *page, size_t *len)
{
    const struct web_settings *settings = digest->options.settings;
    char date[40];
    struct letter letter = {
        .id = id->text,
        .from = settings->digest_from,
        .to = due->address,
        .date = clock_rfc5322(date),
        .url = settings->web_url,
        .mail = settings->web_mail,
        .contact = digest->options.contact,
        .page = page,
        .outcome = due->outcome,
        .entries = due->entries,
        .count = due->entry_count,
        .total = due->total,
    };
    return letter_format(&letter, len);
}

/* Returns the bytes of its message. */
static size_t store_letter(struct digest *digest, struct db_unit *unit, const struct due *due)
{
    struct queue_id id = queue_id_next(&digest->ids, clock_wall_ms());
    char page[TOKEN_LEN + 1], most[24], total[24];
    struct rows tokens;
    size_t body_len, envelope_len, recipient_len;
    token_make(page);
    char *body = write_letter(digest, due, &id, page, &body_len);
    uint8_t *envelope = pack_envelope(digest, &id, body_len, !is_ascii(due->address), &envelope_len);
    uint8_t *recipient = pack_recipient(due, &recipient_len);
    list_tokens(due, page, &tokens);
    const char *const *columns = rows_values(&tokens);
    snprintf(most, sizeof most, "%llu", (unsigned long long)digest->options.settings->digest_messages);
    snprintf(total, sizeof total, "%zu", due->total);
    const struct db_value links[] = { { .data = digest->keep }, { .data = columns[0] }, { .data = columns[1] } };
    const struct db_value common[] = {
        { .data = id.text },
        { .data = body, .len = body_len, .binary = true }, { .data = envelope, .len = envelope_len, .binary = true },
        { .data = recipient, .len = recipient_len, .binary = true }, { .data = "" }, { .data = due->address }, { .data = due->destination },
        { .data = digest->options.name }, { .data = columns[2] },
    };
    const size_t shared = sizeof common / sizeof *common;
    struct db_value values[10 + sizeof common / sizeof *common] = { { .data = digest->warning }, { .data = digest->life } };
    if (due->slot != NULL) {
        values[2].data = due->recipient;
        values[3].data = due->slot;
        values[4].data = due->upto;
        values[5].data = most;
        memcpy(values + 6, links, sizeof links);
        values[9].data = total;
        memcpy(values + 10, common, sizeof common);
        db_query_values(unit, "SELECT digest_store($1::interval, $2::interval, $3, $4, $5::timestamptz, $6::integer, $7::interval, $8::text[], $9::text[], $10::bigint, $11,"
                              " $12::bytea, $13::bytea, $14::bytea, $15, $16, $17, $18, $19::text[])", 10 + shared, values, false, on_stored);
    } else {
        values[2].data = due->number;
        memcpy(values + 3, links, sizeof links);
        memcpy(values + 6, common, sizeof common);
        db_query_values(unit, "SELECT answer_store($1::interval, $2::interval, $3::bigint, $4::interval, $5::text[], $6::text[], $7, $8::bytea, $9::bytea, $10::bytea,"
                              " $11, $12, $13, $14, $15::text[])", 6 + shared, values, false, on_stored);
    }
    rows_fini(&tokens);
    free(body);
    free(envelope);
    free(recipient);
    return body_len;
}

/* Nobody is written to outside of our domains. What would be told is done with, so it is not looked at again. */
static void pass_over(struct db_unit *unit, const struct due *due)
{
    if (due->slot != NULL) {
        const char *const values[] = { due->recipient, due->slot, due->upto };
        db_query(unit, "SELECT digest_begin($1, $2, $3::timestamptz, '', 0)", 3, values, NULL);
    } else {
        const char *const values[] = { due->number };
        db_query(unit, "DELETE FROM web_answer WHERE number = $1::bigint", 1, values, NULL);
    }
}

static void store(struct digest *digest)
{
    size_t bytes = 0, at = digest->due_next;
    struct db_unit *unit = db_begin(digest->options.db, on_store_done, digest);
    digest->busy = true;
    digest->heard = at;
    for (; at < digest->batch_end && bytes < BATCH_BYTES; at++) {
        const struct due *due = &digest->due[at];
        if (due->fate == DUE_STRANGER)
            pass_over(unit, due);
        else if (due->fate == DUE_LETTER)
            bytes += store_letter(digest, unit, due);
    }
    digest->store_end = at;
    db_commit(unit);
}

static void on_rows(void *arg, const PGresult *result)
{
    struct digest *digest = arg;
    size_t count = (size_t)PQntuples(result);
    while (digest->due[digest->heard].fate == DUE_STRANGER)
        digest->heard++;
    struct due *due = &digest->due[digest->heard++];
    letter_entries_free(&due->entries, due->entry_count);
    due->entries = xcalloc(count + 1, sizeof *due->entries);
    due->entry_count = count;
    due->total = count > 0 ? strtoul(PQgetvalue(result, 0, 8), NULL, 10) : 0;
    due->fate = count > 0 || due->slot == NULL ? DUE_LETTER : DUE_NOTHING;
    for (size_t i = 0; i < count; i++) {
        struct letter_entry *entry = &due->entries[i];
        int row = (int)i;
        size_t len;
        char *raw = unhex(PQgetvalue(result, row, 4), &len);
        entry->id = xstrdup(PQgetvalue(result, row, 0));
        entry->when = xstrdup(PQgetvalue(result, row, 1));
        entry->until = xstrdup(PQgetvalue(result, row, 2));
        entry->sender = xstrdup(PQgetvalue(result, row, 3));
        entry->subject = subject_decode(digest->parser, raw, len);
        entry->reason = xstrdup(PQgetvalue(result, row, 5));
        entry->releasable = PQgetvalue(result, row, 7)[0] == 't';
        if (!PQgetisnull(result, row, 6))
            snprintf(entry->score, sizeof entry->score, "%.2f", atoi(PQgetvalue(result, row, 6)) / 100.0);
        token_make(entry->token);
        free(raw);
    }
}

static void on_rows_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct digest *digest = arg;
    digest->busy = false;
    if (outcome == DB_OK)
        store(digest);
    else if (outcome == DB_FAILED)
        batch_failed(digest, digest->batch_end, error);
    else
        forget(digest);
}

static void ask_rows(struct digest *digest, struct db_unit *unit, const struct due *due)
{
    char most[24];
    bool listing = due->slot != NULL || strncmp(due->outcome, "list", 4) == 0;
    snprintf(most, sizeof most, "%llu", listing ? (unsigned long long)digest->options.settings->digest_messages : 0ull);
    const char *const values[] = { due->recipient, due->slot != NULL ? due->upto : "infinity", due->slot != NULL ? "t" : "f", digest->options.settings->digest_timezone,
                                   digest->keep, most };
    db_query(unit, "SELECT id, kept, ends, sender, subject, reason, score, releasable, total FROM digest_rows($1, $2::timestamptz, $3::boolean, $4, $5::interval, $6::integer)", 6,
             values, on_rows);
}

static void look(struct digest *digest);

static void next(struct digest *digest)
{
    if (digest->due_next == digest->due_count) {
        forget(digest);
        if (*digest->after != '\0' && !digest->trouble && clock_ms() < digest->turn_ms + 3 * LOOK_MS) /* there are more, and we lead: no turn is waited for */
            look(digest);
        return;
    }
    size_t at = digest->due_next, most = at < digest->alone_end ? 1 : BATCH;
    struct db_unit *unit = db_begin(digest->options.db, on_rows_done, digest);
    digest->busy = true;
    digest->heard = at;
    digest->batch_end = digest->due_count - at < most ? digest->due_count : at + most;
    for (; at < digest->batch_end; at++) {
        struct due *due = &digest->due[at];
        bool told = is_ours(digest, due->address) && !is_for_commands(digest, due->address) && find_destination(digest, due);
        due->fate = told ? DUE_LETTER : DUE_STRANGER;
        if (told)
            ask_rows(digest, unit, due);
    }
    db_commit(unit);
}

/* ---- looking ---- */

static void on_due(void *arg, const PGresult *result)
{
    struct digest *digest = arg;
    int count = PQntuples(result);
    uint64_t rest = REST * (clock_ms() - digest->asked_ms);
    if (count == 0) /* all that is not told yet was looked at, and is of the next slot */
        digest->due_at_ms = clock_ms() + (rest < REST_MS ? rest : REST_MS);
    free(digest->after);
    digest->after = xstrdup(count == MOST ? PQgetvalue(result, count - 1, 2) : "");
    for (int row = 0; row < count && row < MOST; row++)
        digest->due[digest->due_count++] = (struct due){
            .slot = xstrdup(PQgetvalue(result, row, 0)), .upto = xstrdup(PQgetvalue(result, row, 1)), .recipient = xstrdup(PQgetvalue(result, row, 2)),
            .address = xstrdup(PQgetvalue(result, row, 3)), .destination = xstrdup(PQgetvalue(result, row, 4)),
        };
}

static void on_answers(void *arg, const PGresult *result)
{
    struct digest *digest = arg;
    for (int row = 0; row < PQntuples(result) && row < MOST; row++)
        digest->due[digest->due_count++] = (struct due){
            .number = xstrdup(PQgetvalue(result, row, 0)), .recipient = xstrdup(PQgetvalue(result, row, 1)), .address = xstrdup(PQgetvalue(result, row, 2)),
            .destination = xstrdup(PQgetvalue(result, row, 3)),
            .outcome = xasprintf("%s %s", PQgetvalue(result, row, 4), PQgetvalue(result, row, 5)),
        };
}

static void on_look_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct digest *digest = arg;
    digest->busy = false;
    if (outcome == DB_FAILED && !digest->said_wrong)
        log_write(LOG_ERR, "digest: cannot be made (digest_timezone = %s): %s %s", digest->options.settings->digest_timezone, error->sqlstate, error->why.text);
    digest->said_wrong = outcome == DB_FAILED;
    digest->look_at_ms = clock_ms() + (outcome == DB_FAILED ? 30 * LOOK_MS : LOOK_MS);
    if (outcome == DB_FAILED)
        metric_add(digest->failed, 1);
    if (outcome == DB_OK) {
        metric_set(digest->looked, (double)(clock_wall_ms() / 1000));
        next(digest);
    } else {
        forget(digest);
    }
}

/* Everybody would be a stranger, and what is kept from them done with. */
static void wait_for_policy(struct digest *digest)
{
    const struct cluster_view *view = cluster_view(digest->options.cluster);
    if (digest->policy_epoch != 0) {
        metric_add(digest->failed, 1); /* it cannot be read, which was said */
    } else if (!digest->said_none && view->epoch != 0 && view->policy_epoch == 0) {
        log_write(LOG_WARNING, "digest: nobody is told, as no policy says which domains are ours");
        digest->said_none = true;
    }
    digest->look_at_ms = clock_ms() + (digest->policy_epoch != 0 ? 30 * LOOK_MS : LOOK_MS);
}

static void look(struct digest *digest)
{
    forget(digest);
    read_policy(digest);
    if (digest->policy == NULL) {
        wait_for_policy(digest);
        return;
    }
    char most[16], tidied[16];
    snprintf(most, sizeof most, "%d", MOST);
    snprintf(tidied, sizeof tidied, "%d", TIDIED);
    const char *const values[] = { digest->times, digest->options.settings->digest_timezone, digest->after, most, tidied };
    struct db_unit *unit = db_begin(digest->options.db, on_look_done, digest);
    digest->busy = true;
    digest->trouble = false;
    digest->asked_ms = clock_ms();
    if (digest->asked_ms >= digest->due_at_ms)
        db_query(unit, "SELECT slot, at, recipient, address, destination FROM digest_due($1::text[], $2, $3, $4::integer)", 4, values, on_due);
    db_query(unit, "SELECT number, recipient, address, destination, command, outcome FROM answer_due($1::integer)", 1, values + 3, on_answers);
    db_query(unit, "SELECT digest_tidy('30 days', $1::integer)", 1, values + 4, NULL);
    db_commit(unit);
}

void digest_turn(struct digest *digest)
{
    digest->turn_ms = clock_ms();
    if (digest->busy || *digest->options.settings->digest_from == '\0' || clock_ms() < digest->look_at_ms)
        return;
    look(digest);
}

/*
 * admin.c - what operators may ask: a fixed list of verbs, each one function of the database
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/policy/policy.h"
#include "coordinator/admin.h"
#include "coordinator/rows.h"
#include "coordinator/spelling.h"

#define PARAMS_MAX     10
#define ADMIN_BODY_MAX ((size_t)WIRE_PAYLOADS_MAX * WIRE_PAYLOAD_MAX) /* it goes in pieces */

enum verb_kind {
    PLAIN,
    TAKES_POLICY,
    TAKES_MAIL, /* one file, whatever bytes it has */
    ADDS_KEY, /* answered when the new list is in force here: a key may be used at once. A revocation is answered
                 before, as it ends connections (link_hub_allow()) */
    TAKES_EPOCH, /* of the policy, which is checked as one that is applied; a second argument, "true": what was taken when it was stored is enough */
};

/* params says where $1, $2, ... come from: w who asks, t the act's token (NULL when absent), a the next argument (NULL when absent), A the same as
 * address_spellings(), d as a destination_spelling(), s the node time-out, b the file's bytes as hex, n and c the names and contents of the files. */
struct verb {
    const char *name;
    size_t min_args, max_args;
    enum verb_kind kind;
    const char *params;
    const char *sql;
};

/* What changes something: $1 and $2 are w and t. Asked for again with the same token it is not called, and answered as before; act_begin() waits for one
 * that is under way. CASE keeps the order. */
#define ACT(call) "SELECT * FROM act_end($1, $2, CASE WHEN act_begin($1, $2) THEN " call " END)"

/* Arguments: a message's id, sender, recipient, state, age, destination, each may be empty; whether all are meant; where to go on. */
#define QUEUE_ACT(act) ACT("admin_queue_act($1, '" act "', $3, $4, $5, $6, $7, $8, $9::boolean, coalesce($10, ''))")

/* Arguments: a copy's name, sender, recipient, state, age, reason, score, each may be empty; how, as JSON. */
#define QUARANTINE_ACT(act) ACT("admin_quarantine_act($1, '" act "', $3, $4, $5, $6, $7, $8, $9, $10::jsonb)")

static const struct verb verbs[] = {
    { "account add", 2, 3, PLAIN, "wtaaa", ACT("admin_account_add($1, $3, $4, $5)") },
    { "account delete", 1, 1, PLAIN, "wta", ACT("admin_account_delete($1, $3)") },
    { "account disable", 1, 1, PLAIN, "wta", ACT("admin_account_disable($1, $3, true)") },
    { "account enable", 1, 1, PLAIN, "wta", ACT("admin_account_disable($1, $3, false)") },
    { "account list", 0, 0, PLAIN, "", "SELECT * FROM admin_account_list()" },
    { "account passwd", 2, 2, PLAIN, "wtaa", ACT("admin_account_passwd($1, $3, $4)") },
    { "account senders", 2, 2, PLAIN, "wtaa", ACT("admin_account_senders($1, $3, $4)") },
    { "blocklist check", 0, 0, PLAIN, "wt", ACT("admin_blocklist_check($1)") },
    { "blocklist status", 0, 0, PLAIN, "", "SELECT * FROM admin_blocklist_status()" },
    { "dashboard act", 4, 4, PLAIN, "wtaaaas", ACT("admin_dashboard_act($1, $3, $4, $5, coalesce($6::boolean, false), $7::interval)") },
    { "dns", 0, 0, PLAIN, "s", "SELECT * FROM admin_dns($1::interval)" },
    { "dns push", 0, 0, PLAIN, "wts", ACT("admin_dns_push($1, $3::interval)") },
    { "drain", 1, 3, PLAIN, "wtaaas", ACT("admin_drain($1, $3, true, coalesce($4::boolean, false), $6::interval, coalesce($5::boolean, false))") },
    { "gc", 1, 1, PLAIN, "wtas", ACT("admin_gc($1, $3, $4::interval)") },
    { "gc ask", 1, 1, PLAIN, "wtas", ACT("admin_turns_ask($1, $3, $4::interval)") },
    { "gc cancel", 0, 0, PLAIN, "wts", ACT("admin_turns_cancel($1, $3::interval)") },
    { "gc status", 0, 0, PLAIN, "s", "SELECT * FROM admin_turns_status($1::interval)" },
    { "history", 0, 1, PLAIN, "a", "SELECT * FROM admin_history(least(coalesce($1::integer, 100), 2000))" },
    { "hosts list", 0, 0, PLAIN, "", "SELECT * FROM admin_hosts_list(10000)" },
    { "hosts show", 1, 1, PLAIN, "a", "SELECT * FROM admin_hosts_show($1)" },
    { "hunt", 3, 4, PLAIN, "aaaa", "SELECT * FROM admin_hunt($1, $2, $3, least(coalesce($4::integer, 500), 20000))" },
    { "keys add", 3, 4, ADDS_KEY, "wtaaaa", ACT("admin_keys_add($1, $3, $4, $5, coalesce($6, ''))") },
    { "keys list", 0, 0, PLAIN, "", "SELECT * FROM admin_keys_list()" },
    { "keys revoke", 1, 2, PLAIN, "wtaa", ACT("admin_keys_revoke($1, $3, coalesce($4::boolean, false))") },
    { "learn add", 2, 2, TAKES_MAIL, "wtaab", ACT("admin_learn_add($1, $3, $4, $5)") },
    { "learn list", 0, 2, PLAIN, "aa", "SELECT * FROM admin_learn_list(coalesce($1, ''), least(coalesce($2::integer, 100), 2000))" },
    { "learn score", 1, 1, PLAIN, "wa", "SELECT * FROM admin_score($1, $2::bigint)" },
    { "learn status", 0, 0, PLAIN, "", "SELECT * FROM admin_learn_status()" },
    { "learn undo", 2, 2, PLAIN, "wtaa", ACT("admin_learn_undo($1, $3, $4)") },
    { "limit reset", 1, 5, PLAIN, "wtaaaaa", ACT("admin_limit_reset($1, ARRAY[$3, $4, $5, $6, $7])") },
    { "limit show", 1, 5, PLAIN, "aaaaa", "SELECT * FROM admin_limit_show(ARRAY[$1, $2, $3, $4, $5])" },
    { "node list", 0, 0, PLAIN, "s", "SELECT * FROM admin_node_list($1::interval)" },
    { "node show", 1, 1, PLAIN, "as", "SELECT * FROM admin_node_show($1, $2::interval)" },
    { "operator add", 2, 2, PLAIN, "wtaa", ACT("admin_operator_password($1, 'operator add', $3, $4)") },
    { "operator delete", 1, 1, PLAIN, "wta", ACT("admin_operator_delete($1, $3)") },
    { "operator list", 0, 0, PLAIN, "", "SELECT * FROM admin_operator_list()" },
    { "operator passwd", 2, 2, PLAIN, "wtaa", ACT("admin_operator_password($1, 'operator passwd', $3, $4)") },
    { "outbound list", 0, 0, PLAIN, "", "SELECT * FROM admin_outbound_list()" },
    { "outbound pool", 2, 3, PLAIN, "wtaaa", ACT("admin_outbound_pool($1, $3, $4, coalesce($5, ''))") },
    { "outbound release", 1, 3, PLAIN, "wtaaa", ACT("admin_outbound_release($1, $3, coalesce($4::boolean, false), coalesce($5, ''))") },
    { "outbound show", 1, 1, PLAIN, "a", "SELECT * FROM admin_outbound_show($1)" },
    { "outbreak drop", 2, 3, PLAIN, "wtaaa", ACT("admin_outbreak_drop($1, $3, $4, $5::interval)") },
    { "outbreak list", 0, 0, PLAIN, "", "SELECT * FROM admin_outbreak_list()" },
    { "outbreak release", 2, 2, PLAIN, "wtaa", ACT("admin_outbreak_release($1, $3, $4)") },
    { "outbreak show", 1, 1, PLAIN, "a", "SELECT * FROM admin_outbreak_show($1)" },
    { "override approve", 1, 1, PLAIN, "wta", ACT("admin_override_decide($1, $3::bigint, true)") },
    { "override list", 0, 2, PLAIN, "aa", "SELECT * FROM admin_override_list(coalesce($1::boolean, false), least(coalesce($2::integer, 100), 2000))" },
    { "override refuse", 1, 1, PLAIN, "wta", ACT("admin_override_decide($1, $3::bigint, false)") },
    { "policy apply", 0, 1, TAKES_POLICY, "wtanc", ACT("admin_policy_apply($1, coalesce($3, ''), $4::text[], $5::text[])") },
    { "policy history", 0, 0, PLAIN, "", "SELECT * FROM admin_policy_history()" },
    { "policy rollback", 1, 2, TAKES_EPOCH, "wta", ACT("admin_policy_rollback($1, $3::bigint)") },
    { "policy show", 0, 1, PLAIN, "a", "SELECT * FROM admin_policy_show($1::bigint)" },
    { "quarantine delete", 8, 8, PLAIN, "wtaAAaaaaa", QUARANTINE_ACT("delete") },
    { "quarantine hold", 8, 8, PLAIN, "wtaAAaaaaa", QUARANTINE_ACT("hold") },
    { "quarantine list", 7, 8, PLAIN, "aAAaaaaa",
      "SELECT * FROM admin_quarantine_list($1, $2, $3, $4, $5, $6, $7, least(coalesce($8::integer, 100), 2000))" },
    { "quarantine raw", 3, 3, PLAIN, "waaa", "SELECT * FROM admin_quarantine_raw($1, $2, $3::bigint, $4)" },
    { "quarantine release", 8, 8, PLAIN, "wtaAAaaaaa", QUARANTINE_ACT("release") },
    { "quarantine show", 1, 1, PLAIN, "a", "SELECT * FROM admin_quarantine_show($1)" },
    { "quarantine unhold", 8, 8, PLAIN, "wtaAAaaaaa", QUARANTINE_ACT("unhold") },
    { "queue bounce", 7, 8, PLAIN, "wtaAAaadaa", QUEUE_ACT("bounce") },
    { "queue delete", 7, 8, PLAIN, "wtaAAaadaa", QUEUE_ACT("delete") },
    { "queue hold", 7, 8, PLAIN, "wtaAAaadaa", QUEUE_ACT("hold") },
    { "queue list", 6, 7, PLAIN, "aAAaada",
      "SELECT * FROM admin_queue_list($1, $2, $3, $4, $5, $6, least(coalesce($7::integer, 100), 2000))" },
    { "queue release", 7, 8, PLAIN, "wtaAAaadaa", QUEUE_ACT("release") },
    { "queue retry", 7, 8, PLAIN, "wtaAAaadaa", QUEUE_ACT("retry") },
    { "queue show", 1, 1, PLAIN, "a", "SELECT * FROM admin_queue_show($1)" },
    { "relay listeners", 0, 0, PLAIN, "s", "SELECT * FROM admin_relay_listeners($1::interval)" },
    { "report", 0, 1, PLAIN, "a", "SELECT * FROM admin_report(least(coalesce($1::integer, 24), 87600), 50)" },
    { "signatures pin", 1, 1, PLAIN, "wtas", ACT("admin_signatures_pin($1, $3, $4::interval)") },
    { "signatures rollback", 0, 1, PLAIN, "wtas", ACT("admin_signatures_rollback($1, $3, $4::interval)") },
    { "signatures status", 0, 0, PLAIN, "s", "SELECT * FROM admin_signatures_status($1::interval)" },
    { "signatures unpin", 0, 0, PLAIN, "wts", ACT("admin_signatures_pin($1, NULL, $3::interval)") },
    { "signatures update", 0, 1, PLAIN, "wtas", ACT("admin_signatures_update($1, coalesce($3::boolean, false), $4::interval)") },
    { "reputation explain", 1, 1, PLAIN, "a", "SELECT * FROM admin_reputation_explain($1)" },
    { "reputation forget", 1, 2, PLAIN, "wtaa", ACT("admin_reputation_forget($1, $3, coalesce($4, ''))") },
    { "reputation forget-all", 0, 2, PLAIN, "wtaa", ACT("admin_reputation_forget_all($1, nullif($3, '')::interval, $4)") },
    { "reputation set", 4, 5, PLAIN, "wtaaaaa", ACT("admin_reputation_set($1, $3, $4, $5, $6::interval, $7)") },
    { "reputation show", 0, 2, PLAIN, "aa", "SELECT * FROM admin_reputation_show(nullif($1, ''), least(coalesce($2::integer, 50), 2000))" },
    { "status", 0, 0, PLAIN, "s", "SELECT * FROM admin_status($1::interval)" },
    { "trace", 1, 2, PLAIN, "Aa", "SELECT * FROM admin_trace($1, least(coalesce($2::integer, 200), 2000))" },
    { "verify forget", 1, 1, PLAIN, "wtA", ACT("admin_verify_forget($1, $3)") },
    { "verify show", 1, 1, PLAIN, "A", "SELECT * FROM admin_verify_show($1)" },
    { "undrain", 1, 1, PLAIN, "wtas", ACT("admin_drain($1, $3, false, false, $4::interval)") },
};

struct admin {
    struct event_base *base;
    struct db *db, *desk;
    struct cluster *cluster;
    char silence[32];
    size_t in_flight_max, in_flight, policy_size;
    struct metric *ok, *refused, *failed, *busy, *too_large, *repeated;
};

struct question {
    struct admin *admin;
    admin_done_handler done;
    void *arg;
    uint64_t id;
    const struct verb *verb; /* NULL until it is known */
    struct db *db;           /* that it was sent to last */
    char *who;
    char token[2 * WIRE_ACT_LEN + 1]; /* the act's, as PostgreSQL reads a uuid; "": it has none */
    char *args[PARAMS_MAX];
    char *mail;              /* as hex; NULL: the verb takes none */
    bool repeated;           /* it was answered before, and is answered so again */
    unsigned status;
    char *error, *body;
};

struct admin *admin_new(struct event_base *base, struct db *db, struct db *desk, struct cluster *cluster, uint64_t node_timeout_ms,
                        size_t in_flight_max, size_t policy_size, struct metrics *metrics)
{
    struct admin *admin = xcalloc(1, sizeof *admin);
    *admin = (struct admin){ .base = base, .db = db, .desk = desk, .cluster = cluster, .in_flight_max = in_flight_max, .policy_size = policy_size };
    snprintf(admin->silence, sizeof admin->silence, "%llu ms", (unsigned long long)node_timeout_ms);
    admin->ok = metrics_counter(metrics, "weir_admin_requests_total", "result=\"ok\"");
    admin->refused = metrics_counter(metrics, "weir_admin_requests_total", "result=\"refused\"");
    admin->busy = metrics_counter(metrics, "weir_admin_busy_total", NULL);
    admin->repeated = metrics_counter(metrics, "weir_admin_repeated_total", NULL);
    admin->too_large = metrics_counter(metrics, "weir_policy_too_large_total", NULL);
    admin->failed = metrics_counter(metrics, "weir_admin_requests_total", "result=\"failed\"");
    return admin;
}

void admin_free(struct admin **freed)
{
    free(*freed);
    *freed = NULL;
}

static void set_answer(struct question *question, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void set_answer(struct question *question, unsigned status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    question->status = status;
    free(question->error);
    if (vasprintf(&question->error, format, args) < 0)
        fatal("out of memory");
    va_end(args);
}

static void answer(struct question *question)
{
    struct admin *admin = question->admin;
    bool ours =
        question->status == EX_UNAVAILABLE || question->status == EX_TEMPFAIL || question->status == EX_SOFTWARE;
    metric_add(question->status == 0 ? admin->ok : ours ? admin->failed : admin->refused, 1);
    admin->in_flight--;
    question->done(question->arg, question->id, question->status, question->error, question->body);
    free(question->who);
    for (size_t i = 0; i < PARAMS_MAX; i++)
        free(question->args[i]);
    free(question->mail);
    free(question->error);
    free(question->body);
    free(question);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    answer(arg);
}

/* Without the database's help, but not from inside admin_ask(). */
static void answer_later(struct question *question)
{
    if (event_base_once(question->admin->base, -1, EV_TIMEOUT, on_later, question, &(struct timeval){ 0, 0 }) != 0)
        fatal("out of memory");
}

/* --- from the database --- */

/* What operators ask may take seconds, which nobody else is to wait for. */
static struct db_unit *begin_unit(struct question *question, db_done_handler done)
{
    const struct admin *admin = question->admin;
    question->db = db_is_up(admin->desk) ? admin->desk : admin->db;
    return db_begin(question->db, done, question);
}

static void on_answer(void *arg, const PGresult *result)
{
    struct question *question = arg;
    if (PQntuples(result) != 1 || PQnfields(result) < 3)
        return;
    question->repeated = PQnfields(result) > 3 && strcmp(PQgetvalue(result, 0, 3), "t") == 0;
    question->status = (unsigned)strtoul(PQgetvalue(result, 0, 0), NULL, 10);
    if (!PQgetisnull(result, 0, 1))
        question->error = xstrdup(PQgetvalue(result, 0, 1));
    if (!PQgetisnull(result, 0, 2))
        question->body = xstrdup(PQgetvalue(result, 0, 2));
}

static void suggest_name(struct question *question)
{
    const char *nearest =
        question->args[0] != NULL ? cluster_nearest_name(question->admin->cluster, question->args[0]) : NULL;
    if (nearest == NULL || question->error == NULL || strncmp(question->error, "no node is called", 17) != 0)
        return;
    char *error = xasprintf("%s; did you mean %s?", question->error, nearest);
    free(question->error);
    question->error = error;
}

static void on_in_force(void *arg)
{
    answer(arg);
}

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct question *question = arg;
    if (outcome == DB_LOST)
        set_answer(question, EX_UNAVAILABLE, "the database is not there: %s", db_last_error(question->db));
    else if (outcome == DB_FAILED && strncmp(error->sqlstate, "22", 2) == 0)
        set_answer(question, EX_USAGE, "%s", error->why.text);
    else if (outcome == DB_FAILED)
        set_answer(question, db_error_is_transient(error) ? EX_TEMPFAIL : EX_SOFTWARE, "database: %s %s",
                   error->sqlstate, error->why.text);
    else if (question->status == EX_DATAERR)
        suggest_name(question);
    if (question->body != NULL && strlen(question->body) > ADMIN_BODY_MAX) {
        free(question->body);
        question->body = NULL;
        set_answer(question, EX_SOFTWARE, "the answer is larger than %zu bytes", ADMIN_BODY_MAX);
    }
    if (question->repeated && outcome == DB_OK) {
        metric_add(question->admin->repeated, 1);
        log_write(LOG_NOTICE, "%s: asked for again, and answered as when it was done", question->verb->name);
    }
    if (question->verb->kind == ADDS_KEY && question->status == 0)
        cluster_when_read(question->admin->cluster, on_in_force, question);
    else
        answer(question);
}

/* --- the policy's files --- */

static bool is_text(struct question *question, const struct wire_file *file)
{
    size_t valid = text_valid_prefix(file->text, file->len), line = 1;
    if (valid == file->len)
        return true;
    for (size_t at = 0; at < valid; at++)
        line += file->text[at] == '\n';
    set_answer(question, EX_DATAERR, "%s:%zu: error: not UTF-8 text", file->name, line);
    return false;
}

static bool check_size(struct question *question, size_t bytes)
{
    if (bytes <= question->admin->policy_size)
        return true;
    metric_add(question->admin->too_large, 1);
    set_answer(question, EX_DATAERR, "the policy's files have %zu bytes in all, and policy_size is %zu", bytes, question->admin->policy_size);
    return false;
}

/* Parsed by the code that edges parse them with: what is stored can be used. */
static bool check_files(struct question *question, const struct wire_files *files)
{
    struct policy_file parsed[WIRE_PAYLOADS_MAX];
    struct error why;
    if (!check_size(question, files->bytes))
        return false;
    for (size_t i = 0; i < files->count; i++) {
        if (!is_text(question, &files->items[i]))
            return false;
        parsed[i] = (struct policy_file){ files->items[i].name, files->items[i].text, files->items[i].len };
    }
    struct policy *policy = policy_parse(parsed, files->count, &why);
    bool fine = policy != NULL && !policy_doubt(policy, &why);
    if (!fine)
        set_answer(question, EX_DATAERR, "%s", why.text);
    policy_free(&policy);
    return fine;
}

/* Fills rows of (name) and (content). */
static bool take_files(struct question *question, const Weir__AdminRequest *request,
                       const struct link_payload *payloads, struct rows *names, struct rows *contents)
{
    struct wire_files files;
    wire_files_join(&files, request->files, payloads, request->n_files);
    bool fine = check_files(question, &files);
    for (size_t i = 0; fine && i < files.count; i++) {
        rows_string(names, files.items[i].name);
        rows_end(names);
        rows_string(contents, files.items[i].text);
        rows_end(contents);
    }
    wire_files_free(&files);
    return fine;
}

static bool take_mail(struct question *question, const Weir__AdminRequest *request, const struct link_payload *payloads)
{
    static const char digits[] = "0123456789abcdef";
    struct wire_files files;
    wire_files_join(&files, request->files, payloads, request->n_files);
    bool fine = files.count == 1;
    if (fine) {
        const struct wire_file *file = &files.items[0];
        question->mail = xmalloc(2 * file->len + 1);
        for (size_t i = 0; i < file->len; i++) {
            question->mail[2 * i] = digits[(unsigned char)file->text[i] >> 4];
            question->mail[2 * i + 1] = digits[file->text[i] & 15];
        }
        question->mail[2 * file->len] = '\0';
    } else {
        set_answer(question, EX_USAGE, "%s: one message is needed", question->verb->name);
    }
    wire_files_free(&files);
    return fine;
}

/* --- requests --- */

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* names and contents: NULL where the verb takes no files. */
static void ask_database(struct question *question, struct rows *names, struct rows *contents)
{
    struct admin *admin = question->admin;
    const char *values[PARAMS_MAX];
    char *spelled[PARAMS_MAX] = { NULL };
    size_t count = 0, next_arg = 0;
    for (const char *param = question->verb->params; *param != '\0'; param++, count++) {
        weir_assert(count < PARAMS_MAX);
        switch (*param) {
        case 'w':
            values[count] = question->who;
            break;
        case 't':
            values[count] = question->token[0] != '\0' ? question->token : NULL;
            break;
        case 's':
            values[count] = admin->silence;
            break;
        case 'b':
            values[count] = question->mail;
            break;
        case 'n':
            values[count] = rows_values(names)[0];
            break;
        case 'c':
            values[count] = rows_values(contents)[0];
            break;
        default:
            values[count] = question->args[next_arg++];
            if (*param != 'a' && values[count] != NULL)
                values[count] = spelled[count] = *param == 'A' ? address_spellings(values[count]) : destination_spelling(values[count]);
        }
    }
    struct db_unit *unit = begin_unit(question, on_done);
    db_query(unit, question->verb->sql, count, values, on_answer);
    db_commit(unit);
    for (size_t i = 0; i < count; i++)
        free(spelled[i]);
}

/* --- an epoch of before --- */

/* Its files may be from a release that took what edges of today cannot use, or what nobody can mean. */
static void on_epoch(void *arg, const PGresult *result)
{
    struct question *question = arg;
    struct policy_file files[WIRE_PAYLOADS_MAX];
    struct error why;
    const char *epoch = question->args[0];
    bool forced = question->args[1] != NULL && strcmp(question->args[1], "true") == 0;
    size_t count = (size_t)PQntuples(result), bytes = 0;
    for (size_t i = 0; i < count && i < WIRE_PAYLOADS_MAX; i++) {
        files[i] = (struct policy_file){ PQgetvalue(result, (int)i, 0), PQgetvalue(result, (int)i, 1), (size_t)PQgetlength(result, (int)i, 1) };
        bytes += files[i].len;
    }
    if (count > WIRE_PAYLOADS_MAX) {
        set_answer(question, EX_DATAERR, "epoch %s has %zu files, more than edges take", epoch, count);
        return;
    }
    if (!check_size(question, bytes))
        return;
    struct policy *policy = policy_parse(files, count, &why);
    if (policy == NULL)
        set_answer(question, EX_DATAERR, "edges could not use epoch %s: %s: mend a copy of it (policy show %s), and apply that", epoch, why.text, epoch);
    else if (!forced && policy_doubt(policy, &why))
        set_answer(question, EX_NOPERM, "epoch %s could not be applied any more: %s: mend a copy of it (policy show %s), and apply that; or give --force, to have it "
                   "used as it was", epoch, why.text, epoch);
    policy_free(&policy);
}

static void on_epoch_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct question *question = arg;
    if (outcome != DB_OK || question->status != 0)
        on_done(question, outcome, error);
    else
        ask_database(question, NULL, NULL);
}

static void check_epoch(struct question *question)
{
    const char *values[] = { question->args[0] };
    struct db_unit *unit = begin_unit(question, on_epoch_done);
    db_query(unit, "SELECT name, content FROM policy_file WHERE epoch = $1::bigint ORDER BY name", 1, values, on_epoch);
    db_commit(unit);
}

void admin_ask(struct admin *admin, const char *who, const Weir__AdminRequest *request,
               const struct link_payload *payloads, admin_done_handler done, void *arg)
{
    struct question *question = xcalloc(1, sizeof *question);
    *question = (struct question){ .admin = admin, .done = done, .arg = arg, .id = request->id, .who = xstrdup(who) };
    for (size_t i = 0; i < request->act.len; i++)
        snprintf(question->token + 2 * i, 3, "%02x", request->act.data[i]);
    admin->in_flight++;
    char name[64];
    wire_string(name, sizeof name, &request->verb);
    const struct verb *verb = question->verb = find_verb(name);
    if (verb == NULL || request->n_args < verb->min_args || request->n_args > verb->max_args ||
        (request->n_files > 0 && verb->kind != TAKES_POLICY && verb->kind != TAKES_MAIL)) {
        set_answer(question, EX_USAGE,
                   verb == NULL ? "this coordinator knows no \"%s\"" : "%s: wrong number of arguments", name);
        answer_later(question);
        return;
    }
    if (admin->in_flight > admin->in_flight_max) {
        metric_add(admin->busy, 1);
        set_answer(question, EX_TEMPFAIL, "too many requests at once");
        answer_later(question);
        return;
    }
    struct rows names, contents;
    rows_init(&names, 1);
    rows_init(&contents, 1);
    bool fine = true;
    for (size_t i = 0; i < request->n_args; i++) {
        if (text_valid_prefix(request->args[i].data, request->args[i].len) < request->args[i].len) {
            set_answer(question, EX_USAGE, "%s: argument %zu is not UTF-8 text", name, i + 1);
            fine = false;
        }
        question->args[i] = text_copy(request->args[i].data, request->args[i].len);
    }
    fine = fine && (verb->kind != TAKES_MAIL || take_mail(question, request, payloads));
    fine = fine && (verb->kind != TAKES_POLICY || take_files(question, request, payloads, &names, &contents));
    if (!fine)
        answer_later(question);
    else if (verb->kind == TAKES_EPOCH)
        check_epoch(question);
    else
        ask_database(question, &names, &contents);
    rows_fini(&names);
    rows_fini(&contents);
}

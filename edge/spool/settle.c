/*
 * settle.c - the end of a lease: what became of each recipient, in the log and at the coordinator
 *
 * The result is repeated until it is taken or refused; a coordinator answers a repeat as it answered the first. Refused means that the lease is
 * not ours any more: somebody else has it, or the message is gone.
 */
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/scan/stamp.h"
#include "edge/spam/fields.h"
#include "edge/spool/internal.h"

#define RESULT_MS 30000u
#define AGAIN_MS 500u
#define OTHERS_MS  1u    /* the same for those who have another sender: nothing speaks against them */
#define SURPLUS_MS 1000u /* until the next lease for those of whom this one's DSN, or its transaction, had no room */

static void send_result(struct job *job);

/* Of a list, the policy refuses whoever this lease is for. */
static bool is_refused(const struct job *job)
{
    struct next_hop hop;
    struct smtp_reply refusal;
    return next_hop_parse(&hop, job->destination) && next_hop_refusal(&hop, &refusal);
}

void job_settle_recipient(struct job *job, size_t index, Weir__SpoolDisposition disposition, const char *reason, int code, const char *enhanced,
                          const char *text)
{
    struct job_outcome *outcome = &job->outcomes[index];
    outcome->remote = reason == NULL;
    outcome->reason = reason != NULL ? reason : "";
    /* spool_life is over, or an operator wants an end: what would be tried again has failed. */
    if (disposition == WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED && (job->lease->last_try || job->lease->bounce)) {
        disposition = WEIR__SPOOL_DISPOSITION__SPOOL_FAILED;
        outcome->reason = job->lease->bounce ? "operator" : "expired";
    }
    /* As in a session: no copy is kept for whom the policy refuses, whose release would be a report to a sender who may well be forged. */
    if (disposition == WEIR__SPOOL_DISPOSITION__SPOOL_QUARANTINED && is_refused(job)) {
        disposition = WEIR__SPOOL_DISPOSITION__SPOOL_DISCARDED;
        outcome->reason = "refused";
    }
    outcome->disposition = disposition;
    outcome->code = code;
    snprintf(outcome->enhanced, sizeof outcome->enhanced, "%s", enhanced);
    free(outcome->text);
    outcome->text = xstrdup(text);
}

void job_settle_rest(struct job *job, Weir__SpoolDisposition disposition, const char *reason, int code, const char *enhanced, const char *text)
{
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        if (job->outcomes[i].text == NULL)
            job_settle_recipient(job, i, disposition, reason, code, enhanced, text);
}

#define SHOWN_MAX (4 * WIRE_ADDRESS_MAX)

static const char *show(char out[SHOWN_MAX], ProtobufCBinaryData address)
{
    return log_bracketed(out, SHOWN_MAX, (const char *)address.data, address.len);
}

/* delays=a/b/c/d: in the spool, fetched and scanned, 0 (connection times are the pool's), delivered. */
static void log_outcome(const struct job *job, const struct job_outcome *outcome, const Weir__SpoolRecipient *recipient)
{
    static const char *const status[] = {
        [WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED] = "sent",       [WEIR__SPOOL_DISPOSITION__SPOOL_FAILED] = "bounced",
        [WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED] = "deferred",    [WEIR__SPOOL_DISPOSITION__SPOOL_DISCARDED] = "discarded",
        [WEIR__SPOOL_DISPOSITION__SPOOL_QUARANTINED] = "quarantined",
    };
    char given[SHOWN_MAX + 16] = "", code[8] = "", to[SHOWN_MAX], named[SHOWN_MAX];
    uint64_t now = clock_ms();
    if (outcome->disposition == WEIR__SPOOL_DISPOSITION__SPOOL_RELEASED)
        return;
    if (outcome->disposition == WEIR__SPOOL_DISPOSITION__SPOOL_REROUTED) {
        log_write_as("qmgr", LOG_INFO, "%s: <%s> goes to %s now, no longer to %s (policy %llu)", job->id, show(to, recipient->address), outcome->text,
                     job->destination, (unsigned long long)job->policy_epoch);
        return;
    }
    double waited = (double)job->lease->age_ms / 1e3;
    double delivering = job->delivering_ms != 0 ? (double)(now - job->delivering_ms) / 1e3 : 0;
    double rest = (double)(now - job->began_ms) / 1e3 - delivering;
    if (*show(named, wire_recipient_given(recipient)) != '\0')
        snprintf(given, sizeof given, " orig_to=<%s>,", named);
    bool asked = *job->next_hop != '\0' && strcmp(outcome->reason, "route") != 0; /* the others of a delivery may have been */
    if (outcome->remote)
        snprintf(code, sizeof code, "%d ", outcome->code);
    log_write_as("smtp", LOG_INFO, "%s: to=<%s>,%s relay=%s, delay=%.2f, delays=%.2f/%.2f/0/%.2f, dsn=%s, status=%s (%s%s)", job->id,
                 show(to, recipient->address), given, asked ? job->next_hop : "none",
                 waited + rest + delivering, waited, rest, delivering, *outcome->enhanced ? outcome->enhanced : "4.0.0",
                 status[outcome->disposition], code, outcome->text);
}

static void pack_outcomes(struct job *job)
{
    size_t count = job->recipients->n_recipients;
    Weir__SpoolOutcomes list = WEIR__SPOOL_OUTCOMES__INIT;
    Weir__SpoolOutcome *outcomes = xcalloc(count, sizeof *outcomes);
    list.outcomes = xcalloc(count, sizeof *list.outcomes);
    list.n_outcomes = count;
    for (size_t i = 0; i < count; i++) {
        const struct job_outcome *outcome = &job->outcomes[i];
        weir__spool_outcome__init(&outcomes[i]);
        outcomes[i].index = job->recipients->recipients[i]->index;
        outcomes[i].disposition = outcome->disposition;
        outcomes[i].code = (uint32_t)outcome->code;
        outcomes[i].enhanced = wire_text(outcome->enhanced);
        outcomes[i].own = !outcome->remote;
        outcomes[i].reason = wire_text(outcome->reason);
        /* Many recipients and long replies: the words are cut so that the list fits. */
        if (outcome->disposition == WEIR__SPOOL_DISPOSITION__SPOOL_REROUTED)
            outcomes[i].text = wire_text(outcome->text); /* all of it */
        else
            outcomes[i].text = wire_text_cut(outcome->text, count > 400 ? 512 * 1024 / count : WIRE_REPLY_MAX);
        list.outcomes[i] = &outcomes[i];
    }
    job->result.outcomes = wire_outcomes_encode(&list, &job->result.outcomes_len);
    free(list.outcomes);
    free(outcomes);
}

/* 552 is what RFC 821 had for it. A mailbox that is full says so in its enhanced code, or with the next transaction, where nobody is before it. */
static bool was_one_too_many(const struct job_outcome *outcome)
{
    return outcome->remote && (outcome->code == 452 || outcome->code == 552) &&
           (strcmp(outcome->enhanced + 1, ".5.3") == 0 || strcmp(outcome->enhanced + 1, ".0.0") == 0);
}

/* A next hop that took as many recipients as it takes at once has the others in transactions of their own (RFC 5321 4.5.3.1.10): with the next
 * leases, and these come soon, as each of them delivers some. */
static void defer_the_crowd(struct job *job)
{
    bool delivered = false;
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        delivered |= job->outcomes[i].disposition == WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED;
    for (size_t i = 0; delivered && i < job->recipients->n_recipients; i++) {
        struct job_outcome *outcome = &job->outcomes[i];
        if (!was_one_too_many(outcome))
            continue;
        outcome->disposition = WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED;
        outcome->enhanced[0] = '4';
        outcome->reason = "";
        job->result.surplus = true;
    }
}

void job_report(struct job *job)
{
    if (job->state != JOB_REPORTING) {
        job->state = JOB_REPORTING;
        defer_the_crowd(job);
        job_defer_untold(job);
        for (size_t i = 0; i < job->recipients->n_recipients; i++) {
            log_outcome(job, &job->outcomes[i], job->recipients->recipients[i]);
            metric_add(job->runner->metrics.recipients[job->outcomes[i].disposition], 1);
        }
        job_notify(job);
        message_free(&job->message);
        pack_outcomes(job);
    }
    if (job->result.outcomes == NULL) { /* cannot be told: the lease runs out and the message is tried again */
        log_write(LOG_ERR, "%s: too many recipients for one result", job->id);
        event_add(job->again, &(struct timeval){ 60, 0 });
        return;
    }
    send_result(job);
}

static void fill_dsn(Weir__SpoolEnvelope *dsn, const struct job *job)
{
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    const struct spool_runner_options *options = &job->runner->options;
    dsn->id = wire_text(job->result.dsn_id.text);
    dsn->listener = envelope->listener;
    dsn->client = envelope->client;
    dsn->helo = wire_text(options->settings->hostname);
    dsn->size = job->result.dsn_len;
    dsn->eightbit = job->result.dsn_8bit;
    dsn->smtputf8 = job->result.dsn_smtputf8;
    dsn->scanned = job->result.dsn_scanned;
    dsn->verdict = wire_text(job->result.dsn_scanned ? "none" : "");
    dsn->time_ms = queue_id_wall_ms(&job->result.dsn_id);
    dsn->policy_epoch = job->result.dsn_epoch;
    dsn->dsn = true;
    dsn->node = wire_text(options->name);
}

static void on_taken(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct job *job = arg;
    (void)payloads, (void)count;
    job->question = NULL;
    if (answer != NULL && answer->status == WEIR__ANSWER_STATUS__ANSWER_OK) {
        if (answer->body_case == WEIR__ANSWER__BODY_SPOOL_SETTLED && answer->spool_settled->removed)
            log_write_as("qmgr", LOG_INFO, "%s: removed", job->id);
        job_free(job);
    } else if (answer != NULL && answer->status == WEIR__ANSWER_STATUS__ANSWER_REFUSED) {
        log_write(LOG_WARNING, "%s: the result for %s came too late: %.*s", job->id, job->destination, (int)answer->why.len,
                  (const char *)answer->why.data);
        job_free(job);
    } else {
        event_add(job->again, &(struct timeval){ 0, AGAIN_MS * 1000 });
    }
}

static void send_result(struct job *job)
{
    const struct job_result *result = &job->result;
    Weir__SpoolEnvelope dsn = WEIR__SPOOL_ENVELOPE__INIT;
    Weir__SpoolResult body = WEIR__SPOOL_RESULT__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    struct link_payload payloads[] = { { result->outcomes, result->outcomes_len },
                                       { result->dsn_recipients, result->dsn_recipients_len },
                                       { result->dsn_text, result->dsn_len } };
    body.id = wire_text(job->id);
    body.destination = wire_text(job->destination);
    body.token = job->lease->token;
    body.destination_down = job->destination_down;
    body.reached = !job->destination_down && *job->next_hop != '\0';
    body.delay_warned = result->delay_warned;
    body.policy_epoch = job->policy_epoch;
    body.retry_ms = result->surplus ? SURPLUS_MS : result->others ? OTHERS_MS : 0;
    if (result->dsn_text != NULL) {
        fill_dsn(&dsn, job);
        body.dsn = &dsn;
    }
    char symbols[SPAM_SYMBOLS_TEXT_MAX];
    if (job->verdict != NULL && job->verdict->spam != NULL) {
        body.scored = true;
        body.score = job->verdict->spam->score;
        body.symbols = wire_text_cut(spam_symbols_format(symbols, sizeof symbols, job->verdict->spam), WIRE_SYMBOLS_MAX);
    }
    if (job->verdict != NULL) {
        /* Where a score counts, the next lease asks for it again: nothing of this one's would be in the header. */
        body.scanned = job_is_clean(job) && job->verdict->spam == NULL;
        body.verdict = wire_text(verdict_text(job->verdict));
        body.signature = wire_text(job->verdict->signature);
        body.scanner = wire_text(job->verdict->scanner);
        body.engine = wire_text(job->verdict->engine);
        body.signatures = wire_text(job->verdict->signatures);
    }
    question.body_case = WEIR__QUESTION__BODY_SPOOL_RESULT;
    question.spool_result = &body;
    job->question = node_ask(job->runner->options.node, &question, payloads, result->dsn_text != NULL ? 3 : 1, RESULT_MS, on_taken, job);
    if (job->question == NULL)
        event_add(job->again, &(struct timeval){ 0, AGAIN_MS * 1000 });
}

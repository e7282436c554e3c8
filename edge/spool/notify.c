/*
 * notify.c - who is to hear of a lease's outcomes, and the DSN for it
 *
 * Never to the null sender, never about a DSN (RFC 5321 6.1), never more than one of each recipient's events. What of the message was not found
 * clean is not returned, only its header; and then the DSN is scanned itself before it leaves (I2).
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/log.h"
#include "common/memory.h"
#include "edge/smtp/command.h"
#include "edge/spool/dsn.h"
#include "edge/spool/internal.h"

static bool is_due(const struct job *job, size_t index, enum dsn_action *action)
{
    const struct job_outcome *outcome = &job->outcomes[index];
    switch (outcome->disposition) {
    case WEIR__SPOOL_DISPOSITION__SPOOL_FAILED:
        *action = DSN_FAILED;
        break;
    case WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED:
        if (!job->lease->warn_delay || job->lease->delay_warned)
            return false;
        *action = DSN_DELAYED;
        break;
    case WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED:
        if (job->takes_dsn)
            return false;
        *action = strcmp(outcome->reason, "expanded") == 0 ? DSN_EXPANDED : strcmp(outcome->reason, "list") == 0 ? DSN_DELIVERED : DSN_RELAYED;
        break;
    default:
        return false;
    }
    return dsn_is_due(job->recipients->recipients[index]->notify, *action);
}

/* The message's own text, as much as is to be returned. Caller frees. */
static char *read_returned(const struct job *job, struct dsn *dsn, bool failed)
{
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    struct error why;
    uint64_t limit = job->runner->options.settings->dsn_return_size, size = message_size(job->message);
    size_t want = size < limit ? (size_t)size : (size_t)limit;
    char *text = xmalloc(want + 1);
    ssize_t got = message_read(job->message, 0, text, want, &why);
    dsn->returned = text;
    dsn->returned_len = got > 0 ? (size_t)got : 0;
    dsn->whole = failed && (envelope->ret != 2 || !job_is_from_client(job)) && job_is_clean(job) && dsn->returned_len == size;
    if (!dsn->whole)
        dsn->returned_len = dsn_header_length(text, dsn->returned_len, want);
    return text;
}

static void date_of(char out[40], uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (localtime_r(&seconds, &tm) == NULL || strftime(out, 40, "%a, %d %b %Y %H:%M:%S %z", &tm) == 0)
        clock_rfc5322(out);
}

static void make_dsn(struct job *job, struct dsn *dsn, bool failed, const struct readers *readers)
{
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    const struct spool_runner_options *options = &job->runner->options;
    char arrival[40], date[40], envid[WIRE_ADDRESS_MAX + 1];
    struct job_result *result = &job->result;
    result->dsn_id = queue_id_next(options->ids, clock_wall_ms());
    date_of(arrival, envelope->time_ms);
    dsn->id = result->dsn_id.text;
    dsn->about = job->id;
    dsn->hostname = options->settings->hostname;
    dsn->contact = options->contact != NULL ? options->contact : "";
    dsn->envid = job_is_from_client(job) ? wire_string(envid, sizeof envid, &envelope->envid) : "";
    dsn->arrival = arrival;
    dsn->date = clock_rfc5322(date);
    char *returned = read_returned(job, dsn, failed);
    result->dsn_text = dsn_format(dsn, &result->dsn_len);
    result->dsn_8bit = dsn_needs_8bit(dsn);
    result->dsn_smtputf8 = dsn_needs_smtputf8(dsn);
    result->dsn_scanned = job_is_clean(job);
    Weir__SpoolRecipients list = readers_list(readers);
    result->dsn_recipients = wire_recipients_encode(&list, &result->dsn_recipients_len);
    free(returned);
    metric_add(job->runner->metrics.dsn, 1);
    log_write_as("bounce", LOG_INFO, "%s: sender %s notification: %s", job->id, failed ? "non-delivery" : "delivery status", dsn->id);
}

static void tell_of(const struct job *job, size_t index, struct dsn_recipient *told, char texts[2][WIRE_ADDRESS_MAX + 1])
{
    const Weir__SpoolRecipient *recipient = job->recipients->recipients[index];
    const struct job_outcome *outcome = &job->outcomes[index];
    told->address = wire_string(texts[0], WIRE_ADDRESS_MAX + 1, &recipient->address);
    told->original = wire_string(texts[1], WIRE_ADDRESS_MAX + 1, &recipient->original);
    told->enhanced = outcome->enhanced;
    told->code = outcome->code;
    told->text = outcome->text;
    told->remote = outcome->remote ? job->next_hop : "";
}

/* Failures first: job_defer_untold() left as many as there is room for, and nobody else takes it from them. */
static void gather(const struct job *job, struct dsn *dsn, struct dsn_recipient *recipients, char (*texts)[2][WIRE_ADDRESS_MAX + 1])
{
    for (int others = 0; others < 2; others++) {
        for (size_t i = 0; i < job->recipients->n_recipients && dsn->count < DSN_RECIPIENTS_MAX; i++) {
            enum dsn_action action;
            if (!is_due(job, i, &action) || (action != DSN_FAILED) != others)
                continue;
            recipients[dsn->count].action = action;
            tell_of(job, i, &recipients[dsn->count], texts[dsn->count]);
            dsn->count++;
        }
    }
    dsn->recipients = recipients;
}

static bool nobody_is_told(const struct job *job)
{
    return *job->sender == '\0' || job->lease->envelope->dsn;
}

static bool somebody_is_due(const struct job *job)
{
    enum dsn_action action;
    for (size_t i = 0; !nobody_is_told(job) && i < job->recipients->n_recipients; i++)
        if (is_due(job, i, &action))
            return true;
    return false;
}

/* While the sender cannot be reached for now, nobody fails; that may be so for good, so what a policy says ends at twice the
 * mail's life. */
static void defer_untold(struct job *job)
{
    enum dsn_action action;
    for (size_t i = 0; i < job->recipients->n_recipients; i++) {
        struct job_outcome *outcome = &job->outcomes[i];
        if (outcome->disposition != WEIR__SPOOL_DISPOSITION__SPOOL_FAILED || !is_due(job, i, &action))
            continue;
        outcome->disposition = WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED;
        char *text = xasprintf("%s (its sender cannot be told for now: no route)", outcome->text);
        free(outcome->text);
        outcome->text = text;
    }
}

/* A report of success cannot wait: its message is delivered, and gone. */
static bool loses_a_report(const struct job *job)
{
    enum dsn_action action;
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        if (is_due(job, i, &action) && action >= DSN_RELAYED)
            return true;
    return false;
}

static void find_readers(struct job *job)
{
    const struct spool_runner_options *options = &job->runner->options;
    if (!somebody_is_due(job))
        return;
    enum readers_found found = options->readers(options->arg, job->sender, &job->readers);
    job->result.dsn_epoch = options->policy_epoch(options->arg);
    if (found == READERS_LATER && job->lease->fail_untold && job->result.dsn_epoch > 0)
        found = READERS_NOWHERE;
    job->result.untold = found == READERS_LATER;
    if (job->result.untold)
        defer_untold(job);
    if (found == READERS_FOUND || (found == READERS_LATER && !loses_a_report(job)))
        return;
    log_write(LOG_WARNING, "%s: its sender <%s> cannot be told: no route", job->id, job->sender);
    metric_add(job->runner->metrics.dsn_dropped, 1);
}

void job_defer_untold(struct job *job)
{
    size_t told = 0;
    enum dsn_action action;
    find_readers(job);
    if (nobody_is_told(job))
        return;
    for (size_t i = 0; i < job->recipients->n_recipients; i++) {
        struct job_outcome *outcome = &job->outcomes[i];
        if (outcome->disposition != WEIR__SPOOL_DISPOSITION__SPOOL_FAILED || !is_due(job, i, &action) || ++told <= DSN_RECIPIENTS_MAX)
            continue;
        outcome->disposition = WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED;
        job->result.surplus = true;
    }
}

void job_notify(struct job *job)
{
    bool failed = false;
    for (size_t i = 0; i < job->recipients->n_recipients; i++) {
        failed |= job->outcomes[i].disposition == WEIR__SPOOL_DISPOSITION__SPOOL_FAILED;
        job->result.delay_warned |= job->lease->warn_delay && !job->result.untold &&
                                    job->outcomes[i].disposition == WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED;
    }
    if (job->readers.count == 0)
        return;
    size_t most = job->recipients->n_recipients < DSN_RECIPIENTS_MAX ? job->recipients->n_recipients : DSN_RECIPIENTS_MAX;
    struct dsn dsn = { .sender = job->sender };
    struct dsn_recipient *recipients = xcalloc(most, sizeof *recipients);
    char(*texts)[2][WIRE_ADDRESS_MAX + 1] = xcalloc(most, sizeof *texts);
    gather(job, &dsn, recipients, texts);
    if (dsn.count > 0)
        make_dsn(job, &dsn, failed, &job->readers);
    free(recipients);
    free(texts);
}

/*
 * judge.c - spam: what engines are told of a message that nobody scanned when it came, what their score means for each copy, and what stands in front of it
 *
 * The bands are those of a session, but what a session refuses goes into the quarantine: its client had its 250. Nobody waits for an engine that says nothing
 * either, as handoff's clients do not, whose mail it is that comes here unscanned.
 */
#include <stdlib.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/score.h"
#include "edge/scan/stamp.h"
#include "edge/spam/author.h"
#include "edge/spam/dress.h"
#include "edge/spam/fields.h"
#include "edge/spool/internal.h"

/* Whoever was in the quarantine is not judged by a score again. */
static bool is_judged(const struct job *job, size_t index)
{
    return job->outcomes[index].text == NULL && job->recipients->recipients[index]->released == WEIR__RELEASED__RELEASED_NOT;
}

const Weir__SpamFacts *job_spam_facts(const struct job *job, struct spam_told *told)
{
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    spam_told_init(told);
    told->facts.login = envelope->login;
    told->facts.direction = envelope->inside ? WEIR__DIRECTION__DIRECTION_OUTBOUND : WEIR__DIRECTION__DIRECTION_INBOUND;
    told->facts.edge = wire_text_cut(job->runner->options.settings->hostname, WIRE_ENDPOINT_MAX);
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        if (is_judged(job, i) && !spam_told_add(told, job->recipients->recipients[i]->address))
            break;
    /* Our own reports are no spam, and what a session scored says so in its header. */
    bool wanted = job->runner->options.spam->spam_engines.count > 0 && told->facts.n_recipients > 0 && !envelope->dsn && !envelope->scored;
    return wanted ? &told->facts : NULL;
}

static enum spam_fate fate_of(const struct job *job, size_t index, struct spam_bands *bands)
{
    const struct spool_runner *runner = job->runner;
    const Weir__SpoolRecipient *recipient = job->recipients->recipients[index];
    char address[WIRE_ADDRESS_MAX + 1];
    runner->options.spam_bands(runner->options.arg, job->lease->envelope, wire_string(address, sizeof address, &recipient->address), bands);
    enum spam_fate fate = spam_fate(bands, job->verdict->spam->score);
    bool kept = fate == SPAM_FATE_QUARANTINE || fate == SPAM_FATE_REJECT;
    return kept && personal_is_safe(&job->personal, recipient->index) ? SPAM_FATE_DELIVER : fate;
}

bool job_ask_personal(struct job *job, node_answer_handler asked)
{
    const struct spool_runner_options *options = &job->runner->options;
    char from[SMTP_ADDRESS_MAX], sender[WIRE_ADDRESS_MAX + 1];
    struct spam_bands bands;
    size_t kept = 0;
    if (job->verdict->spam == NULL || !node_is_connected(options->node))
        return false;
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        if (is_judged(job, i)) {
            enum spam_fate fate = fate_of(job, i, &bands);
            kept += fate == SPAM_FATE_QUARANTINE || fate == SPAM_FATE_REJECT;
        }
    if (kept == 0)
        return false;
    message_from(job->message, from);
    const char *author = spam_author(job->verdict->spam, from, wire_string(sender, sizeof sender, &job->lease->envelope->sender));
    if (author == NULL)
        return false;
    struct personal_facts facts = { .sender = "", .from = "", .author = author };
    job->question = personal_ask(options->node, job->recipients, &facts, options->spam->personal_timeout, asked, job);
    return job->question != NULL;
}

static void settle_spam(struct job *job, size_t index, enum spam_fate fate)
{
    char score[SCORE_TEXT_MAX], text[64];
    snprintf(text, sizeof text, "spam, score %s", score_format(score, (int32_t)job->verdict->spam->score));
    metric_add(job->runner->metrics.spam_fates[fate], 1);
    switch (fate) {
    case SPAM_FATE_DELIVER:
        break;
    case SPAM_FATE_TAG:
        job->tagged = true;
        break;
    case SPAM_FATE_REJECT: /* its client is gone */
    case SPAM_FATE_QUARANTINE:
        job_settle_recipient(job, index, WEIR__SPOOL_DISPOSITION__SPOOL_QUARANTINED, "spam", 550, "5.7.1", text);
        break;
    case SPAM_FATE_DISCARD:
        job_settle_recipient(job, index, WEIR__SPOOL_DISPOSITION__SPOOL_DISCARDED, "spam", 550, "5.7.1", text);
        break;
    }
}

void job_judge_spam(struct job *job)
{
    const struct spool_runner *runner = job->runner;
    const Weir__SpamResult *result = job->verdict->spam;
    char score[SCORE_TEXT_MAX], symbols[SPAM_SYMBOLS_TEXT_MAX];
    job->required = SCORE_OFF;
    if (result == NULL)
        return;
    log_write(LOG_INFO, "%s: spam: score=%s tests=%s", job->id, score_format(score, (int32_t)result->score), spam_symbols_format(symbols, sizeof symbols, result));
    metric_add(runner->metrics.spam_incomplete, spam_is_incomplete(result));
    for (size_t i = 0; i < job->recipients->n_recipients; i++) {
        struct spam_bands bands;
        if (!is_judged(job, i))
            continue;
        enum spam_fate fate = fate_of(job, i, &bands);
        job->required = bands.quarantine < job->required ? bands.quarantine : job->required;
        settle_spam(job, i, fate);
    }
}

/* Whose scan it is that the message is called clean by; NULL: nobody vouches for it, or scanning is turned off by name. */
static const struct scan_result *vouching_scan(const struct job *job, struct scan_result *stored)
{
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    if (!job_is_clean(job) || (job->verdict == NULL && envelope->engine.len == 0))
        return NULL;
    if (job->verdict != NULL)
        return job->verdict;
    *stored = (struct scan_result){ .verdict = WEIR__VERDICT__VERDICT_CLEAN };
    wire_string(stored->engine, sizeof stored->engine, &envelope->engine);
    wire_string(stored->signatures, sizeof stored->signatures, &envelope->signatures);
    return stored;
}

char *job_dress(const struct job *job, const char *last, size_t last_len, size_t *len, uint64_t *skip)
{
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    char sender[WIRE_ADDRESS_MAX + 1], helo[WIRE_ADDRESS_MAX + 1];
    struct scan_result stored;
    struct dress dress = {
        .settings = job->runner->options.spam,
        .hostname = job->runner->options.settings->hostname,
        .cluster_names = job->runner->options.cluster_names(job->runner->options.arg),
        .scan = vouching_scan(job, &stored),
        .virus_line = true,
        .outbound = envelope->inside,
        .tag = job->tagged,
        .doubt = job->doubtful ? verdict_text(job->verdict) : NULL,
        .required = job->required,
        .sender = wire_string(sender, sizeof sender, &envelope->sender),
        .helo = wire_string(helo, sizeof helo, &envelope->helo),
        .received = last,
        .received_len = last_len,
    };
    return message_dress(&dress, job->message, len, skip);
}

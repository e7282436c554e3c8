/*
 * outbreak.c - mail of the spool that is to be delivered and brings what may be an outbreak waits for the cluster's word
 *
 * Asked are mail that nobody scanned when it came, and what comes from where it was held: at the end of its time, or because new signatures are to look at it.
 * Then it goes back until its time is over. Nobody who answers: what was never held goes on, as in a session; what was is given back, and asked about again.
 */
#include "edge/outbreak/outbreak.h"
#include <stdio.h>
#include "common/log.h"
#include "edge/spool/internal.h"

bool job_was_held(const struct job *job, size_t index)
{
    const Weir__SpoolRecipient *recipient = job->recipients->recipients[index];
    return recipient->released == WEIR__RELEASED__RELEASED_CHECKED && recipient->quarantine == WEIR__QUARANTINE__QUARANTINE_OUTBREAK;
}

static bool is_held(const struct job *job)
{
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        if (job->outcomes[i].text == NULL && job_was_held(job, i))
            return true;
    return false;
}

/* But for whom an operator released it whatever it is. */
static void hold(struct job *job, const char *name)
{
    log_write(LOG_NOTICE, "%s: held: %s, which many suddenly send", job->id, name);
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        if (job->outcomes[i].text == NULL && job->recipients->recipients[i]->released != WEIR__RELEASED__RELEASED_ANYWAY)
            job_settle_recipient(job, i, WEIR__SPOOL_DISPOSITION__SPOOL_QUARANTINED, "outbreak", 250, "2.0.0", name);
}

static void give_back(struct job *job)
{
    scan_result_free(&job->verdict); /* it is not to pass by what this scan found clean: the next lease scans and asks again */
    job_release(job, "nobody says whether it is to be held any longer");
}

static void on_answer(void *arg, enum outbreak_answer answer, const char *name)
{
    struct job *job = arg;
    job->outbreak = NULL; /* gone */
    if (answer == OUTBREAK_ANSWER_BLOCK && job->verdict != NULL) {
        job->verdict->verdict = WEIR__VERDICT__VERDICT_BAD;
        job->doubtful = false;
        snprintf(job->verdict->signature, sizeof job->verdict->signature, "%s", name);
        job_settle_verdict(job);
    } else if (answer == OUTBREAK_ANSWER_NONE && is_held(job)) {
        give_back(job);
    } else {
        if (answer == OUTBREAK_ANSWER_HOLD || answer == OUTBREAK_ANSWER_BLOCK)
            hold(job, name);
        job_deliver(job);
    }
}

bool job_ask_outbreak(struct job *job)
{
    struct outbreak *outbreak = job->runner->options.outbreak;
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    bool held = is_held(job), brings = job->verdict != NULL && job->verdict->attachment_count > 0;
    if (outbreak == NULL || (!held && !brings) || envelope->dsn)
        return false;
    struct outbreak_case asked = {
        .id = envelope->id,
        .sender = envelope->sender,
        .client = envelope->client,
        .login = envelope->login,
        .scan = job->verdict,
        .held = held,
        .record = true,
    };
    job->outbreak = outbreak_ask(outbreak, &asked, on_answer, job);
    if (job->outbreak != NULL)
        return true;
    if (held)
        give_back(job);
    return held;
}

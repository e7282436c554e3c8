/*
 * job.c - one lease: the body is fetched, scanned where nobody has found it clean, and delivered to its destination
 *
 * Invariants: delivery_send() is called only for a message with an explicit clean, or with scanning turned off by name (I2), or for those to whom an
 * operator released it from the quarantine whatever a scan finds (RELEASED_ANYWAY), or where he said by name that what cannot be scanned goes on tagged, and only while the
 * lease is live; the delivery has the lease's end as its deadline, so no final dot leaves after it. What a next hop was given is never released.
 */
#include <stdlib.h>
#include <string.h>
#include "common/fair.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/outbreak/outbreak.h"
#include "edge/scan/stamp.h"
#include "edge/spool/internal.h"

#define FETCH_MS 30000u
#define AGAIN_MS 500u
#define RELEASED_MAX 96 /* of X-Weir-Released */

static void fetch(struct job *job);
static void deliver_unless_held(struct job *job);
static void on_verdict(void *arg, const struct scan_result *result);
static void on_busy(void *arg, const char *why);
static void on_recipient(void *arg, unsigned index, const struct smtp_reply *reply);
static void on_delivered(void *arg, const struct smtp_reply *reply, bool maybe_delivered);

static const struct scan_handlers scan_handlers = { .done = on_verdict, .busy = on_busy };
static const struct delivery_handlers delivery_handlers = { .recipient = on_recipient, .done = on_delivered };

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct job *job = arg;
    if (job->state == JOB_FETCHING)
        fetch(job);
    else
        job_report(job);
}

/* A transaction has one sender: of recipients who have several, those that were tried the least are first, and the others come with leases of their own. */
static void choose_sender(struct job *job)
{
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    Weir__SpoolRecipient *const *recipients = job->recipients->recipients;
    size_t count = job->recipients->n_recipients, first = 0;
    for (size_t i = 1; i < count; i++)
        if (recipients[i]->attempts < recipients[first]->attempts)
            first = i;
    ProtobufCBinaryData sender = count > 0 ? wire_recipient_sender(envelope, recipients[first]) : envelope->sender;
    job->sender = xstrndup((const char *)sender.data, sender.len);
    for (size_t i = 0; i < count; i++) {
        ProtobufCBinaryData other = wire_recipient_sender(envelope, recipients[i]);
        if (wire_equal(&other, job->sender))
            continue;
        job->result.others |= recipients[i]->attempts <= recipients[first]->attempts;
        job_settle_recipient(job, i, WEIR__SPOOL_DISPOSITION__SPOOL_RELEASED, "released", 0, "", "another sender");
    }
}

void job_begin(struct spool_runner *runner, Weir__SpoolLease *lease, Weir__SpoolRecipients *recipients, const struct lease_time *time, bool spare)
{
    const Weir__SpoolEnvelope *envelope = lease->envelope;
    struct job *job = xcalloc(1, sizeof *job);
    job->runner = runner;
    job->lease = lease;
    job->recipients = recipients;
    job->time = *time;
    job->spare = spare;
    job->began_ms = clock_ms();
    wire_string(job->id, sizeof job->id, &envelope->id);
    wire_string(job->destination, sizeof job->destination, &lease->destination);
    job->outcomes = xcalloc(recipients->n_recipients, sizeof *job->outcomes);
    job->message = message_new(runner->options.budget);
    ahead_window_init(&job->window, runner->options.ahead, job);
    job->again = event_new(runner->options.base, -1, 0, on_again, job);
    job->link = &runner->jobs;
    job->next = runner->jobs;
    if (job->next != NULL)
        job->next->link = &job->next;
    runner->jobs = job;
    runner->count++;
    runner->spares += spare;
    metric_set(runner->metrics.jobs, runner->count);
    metric_set(runner->metrics.spare_jobs, runner->spares);

    choose_sender(job);
    char sender[4 * WIRE_ADDRESS_MAX];
    log_write_as("qmgr", LOG_INFO, "%s: from=<%s>, size=%llu, nrcpt=%zu (queue active)", job->id,
                 log_bracketed(sender, sizeof sender, job->sender, strlen(job->sender)),
                 (unsigned long long)envelope->size, recipients->n_recipients);
    if (lease->maybe_duplicate) {
        metric_add(runner->metrics.maybe_duplicates, 1);
        log_write(LOG_WARNING, "%s: an earlier delivery to %s ended without a word: this may become a second copy", job->id, job->destination);
    }
    fetch(job);
}

static void stop_work(struct job *job)
{
    node_question_cancel(&job->question);
    outbreak_cancel(&job->outbreak);
    ahead_window_clear(&job->window);
    event_del(job->again);
    if (job->scan != NULL)
        scan_cancel(&job->scan);
    delivery_cancel(&job->delivery);
}

void job_free(struct job *job)
{
    stop_work(job);
    message_free(&job->message); /* last: scan and delivery borrow it */
    runner_remove(job->runner, job);
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        free(job->outcomes[i].text);
    free(job->outcomes);
    free(job->sender);
    free(job->given);
    readers_fini(&job->readers);
    free(job->result.outcomes);
    free(job->result.dsn_recipients);
    free(job->result.dsn_text);
    scan_result_free(&job->verdict);
    personal_fini(&job->personal);
    event_free(job->again);
    wire_recipients_free(&job->recipients);
    weir__spool_lease__free_unpacked(job->lease, NULL);
    free(job);
}

void job_renewed(struct job *job, const struct lease_time *time)
{
    job->time = *time;
    if (job->delivery != NULL)
        delivery_set_deadline(job->delivery, lease_end(time));
}

bool job_end_lease(struct job *job)
{
    metric_add(job->runner->metrics.lost, 1);
    if (job->sending && !delivery_take_back(&job->delivery)) {
        job->lost = true; /* its answer is still written down; the report may come too late to count */
        log_write(LOG_WARNING, "%s: the lease is over while %s has the message: a second copy may follow", job->id, job->destination);
        return false;
    }
    log_write(LOG_WARNING, "%s: the lease is over, not delivered to %s by this edge", job->id, job->destination);
    job_free(job);
    return true;
}

void job_release(struct job *job, const char *why)
{
    if (job->state == JOB_REPORTING || job->sending)
        return;
    stop_work(job); /* the message stays: what the next hop said of some recipients may be due a report with a part of it */
    job_settle_rest(job, WEIR__SPOOL_DISPOSITION__SPOOL_RELEASED, "released", 0, "", why);
    job_report(job);
}

bool job_is_clean(const struct job *job)
{
    if (job->verdict != NULL)
        return job->verdict->verdict == WEIR__VERDICT__VERDICT_CLEAN;
    return job->lease->envelope->scanned || job->runner->options.farm == NULL;
}

/* ---- its route ---- */

#define MOVED_MAX (WIRE_LIST_MAX / 8) /* bytes of new destinations in one result: those of whom there is no room to tell are looked at with the next lease */

static void look_up_route(const struct job *job, size_t index, struct spool_route *route)
{
    const struct spool_runner_options *options = &job->runner->options;
    char address[WIRE_ADDRESS_MAX + 1];
    options->route(options->arg, wire_string(address, sizeof address, &job->recipients->recipients[index]->address), route);
}

static void settle_route(struct job *job, size_t index, const struct spool_route *route, size_t *room)
{
    switch (route->kind) {
    case SPOOL_ROUTE_TO:
        if (strcmp(route->to, job->destination) == 0 || strlen(route->to) > *room)
            break;
        *room -= strlen(route->to);
        job_settle_recipient(job, index, WEIR__SPOOL_DISPOSITION__SPOOL_REROUTED, "rerouted", 0, "", route->to);
        break;
    case SPOOL_ROUTE_DISCARD:
        job_settle_recipient(job, index, WEIR__SPOOL_DISPOSITION__SPOOL_DISCARDED, "route", 250, "2.0.0", "Discarded by its route");
        break;
    case SPOOL_ROUTE_ERROR: /* settle_errors() */
    case SPOOL_ROUTE_NONE:  /* it was accepted: it goes where it was to go, rather than back because a line is missing */
        break;
    }
}

/* Who is refused by a route keeps its place in the entry where that says 4xx, or where the sender cannot be told for now, and the entry then waits.
 * So the others are not released next to it: they would wait with it, lease for lease. They are delivered. */
static void settle_errors(struct job *job)
{
    for (size_t i = 0; i < job->recipients->n_recipients; i++) {
        struct spool_route route;
        if (job->outcomes[i].text != NULL)
            continue;
        look_up_route(job, i, &route);
        if (route.kind == SPOOL_ROUTE_ERROR)
            job_settle_recipient(job, i, route.code / 100 == 5 ? WEIR__SPOOL_DISPOSITION__SPOOL_FAILED : WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED,
                                 "route", route.code, route.enhanced, route.text);
    }
}

/* The policy is newer than the one that said where it goes (and not older than any that said so of one of its recipients), and sends some recipients elsewhere, or nobody stays. The others are left for a lease
 * of their own. */
static bool is_routed_elsewhere(struct job *job)
{
    const struct spool_runner_options *options = &job->runner->options;
    uint64_t known = job->lease->policy_epoch != 0 ? job->lease->policy_epoch : job->lease->envelope->policy_epoch;
    uint64_t epoch = options->policy_epoch(options->arg);
    size_t room = MOVED_MAX;
    bool elsewhere = false, here = false;
    if (epoch <= known || epoch < job->lease->policy_newest || epoch < job->lease->envelope->policy_newest)
        return false;
    job->policy_epoch = epoch;
    for (size_t i = 0; i < job->recipients->n_recipients; i++) {
        struct spool_route route;
        if (job->outcomes[i].text != NULL)
            continue;
        look_up_route(job, i, &route);
        settle_route(job, i, &route, &room);
        elsewhere |= job->outcomes[i].text != NULL;
        here |= job->outcomes[i].text == NULL && route.kind != SPOOL_ROUTE_ERROR;
    }
    if (!here)
        settle_errors(job);
    return elsewhere || !here;
}

/* ---- lists ---- */

/* An alias for several addresses, or a list, whose sender asked to hear that it was reached: that is all there is to do. */
static bool settle_expansion(struct job *job)
{
    struct next_hop hop;
    bool list;
    if (!next_hop_parse(&hop, job->destination) || !next_hop_is_expansion(&hop, &list))
        return false;
    job_settle_rest(job, WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED, list ? "list" : "expanded", 250, "2.0.0",
                    list ? "Delivered to the mailing list, whose owner hears of its members" : "Goes to the members of this alias, who are not reported of one by one");
    job_report(job);
    return true;
}

/* ---- the body ---- */

static void have_body(struct job *job)
{
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    struct spool_runner *runner = job->runner;
    char client[WIRE_CLIENT_MAX + 1], helo[WIRE_ADDRESS_MAX + 1], sender[WIRE_ADDRESS_MAX + 1];
    if (job->lease->give_up) {
        job_settle_rest(job, WEIR__SPOOL_DISPOSITION__SPOOL_FAILED, "unknown-end", 554, "5.4.7",
                        "Given up: what became of earlier deliveries, which may have succeeded, is not known");
        job_report(job);
        return;
    }
    if (job->lease->bounce) {
        job_settle_rest(job, WEIR__SPOOL_DISPOSITION__SPOOL_FAILED, "operator", 554, "5.0.0", "Returned by the postmaster before it was delivered");
        job_report(job);
        return;
    }
    if (settle_expansion(job))
        return;
    if (is_routed_elsewhere(job)) {
        job_release(job, "others of this message are routed elsewhere now");
        return;
    }
    if (job_is_clean(job)) {
        deliver_unless_held(job);
        return;
    }
    struct spam_told told;
    struct scan_facts facts = {
        .client = wire_string(client, sizeof client, &envelope->client),
        .helo = wire_string(helo, sizeof helo, &envelope->helo),
        .sender = wire_string(sender, sizeof sender, &envelope->sender),
        .recipients = (unsigned)job->recipients->n_recipients,
        .size_hint = message_size(job->message),
        .spam = job_spam_facts(job, &told),
        .attachments = runner->options.settings->hash_attachments,
    };
    struct queue_id id;
    memcpy(id.text, job->id, sizeof id.text);
    job->state = JOB_SCANNING;
    job->scan = scan_start(runner->options.farm, &id, job->message, &facts, &scan_handlers, job);
    scan_finish(job->scan);
}

static void fetch_again(struct job *job)
{
    job->window.single = true;
    ahead_window_clear(&job->window);
    event_add(job->again, &(struct timeval){ 0, AGAIN_MS * 1000 }); /* until the lease is over */
}

static void on_fetched(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct ahead_piece *piece = arg;
    struct job *job = piece->window->owner;
    struct error why;
    piece->question = NULL;
    if (piece != TAILQ_FIRST(&job->window.pieces)) { /* what is in front of it got no answer yet, and will be asked for again: so is this */
        job->window.single = true;
        ahead_window_cut(&job->window, piece);
        return;
    }
    if (answer != NULL && answer->status == WEIR__ANSWER_STATUS__ANSWER_REFUSED) {
        metric_add(job->runner->metrics.lost, 1);
        log_write(LOG_WARNING, "%s: its body is not to be had: %.*s", job->id, (int)answer->why.len, (const char *)answer->why.data);
        job_free(job);
        return;
    }
    const Weir__SpoolData *data = answer != NULL && answer->body_case == WEIR__ANSWER__BODY_SPOOL_DATA ? answer->spool_data : NULL;
    uint64_t have = message_size(job->message);
    if (data == NULL || answer->status != WEIR__ANSWER_STATUS__ANSWER_OK || count != 1 || !wire_equal(&data->id, job->id) ||
        data->offset != have || (payloads[0].len == 0 && have < data->size)) {
        fetch_again(job);
        return;
    }
    if (message_append(job->message, payloads[0].data, payloads[0].len, &why) != MESSAGE_OK) {
        log_write(LOG_WARNING, "%s: no room for it now: %s", job->id, why.text);
        runner_rest(job->runner);
        job_release(job, why.text);
        return;
    }
    job->body_size = data->size;
    if (have + payloads[0].len < data->size) {
        ahead_window_advance(&job->window, have + payloads[0].len);
        fetch(job);
    } else {
        ahead_window_clear(&job->window);
        have_body(job);
    }
}

/* false: there is no room to ask. */
static bool fetch_piece(struct job *job, struct ahead_piece *piece)
{
    Weir__SpoolFetch body = WEIR__SPOOL_FETCH__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    body.id = wire_text(job->id);
    body.offset = piece->offset;
    question.body_case = WEIR__QUESTION__BODY_SPOOL_FETCH;
    question.spool_fetch = &body;
    piece->question = node_ask(job->runner->options.node, &question, NULL, 0, FETCH_MS, on_fetched, piece);
    return piece->question != NULL;
}

/* Asks for all that may be under way. Until the first answer the body's size is not known. */
static void fetch(struct job *job)
{
    struct ahead_piece *last = TAILQ_LAST(&job->window.pieces, ahead_pieces), *piece;
    uint64_t next = last != NULL ? last->end : message_size(job->message);
    while ((last == NULL || next < job->body_size) && (piece = ahead_window_add(&job->window, next, next + SPOOL_CHUNK)) != NULL) {
        if (!fetch_piece(job, piece)) {
            ahead_window_cut(&job->window, piece);
            break;
        }
        last = piece;
        next = piece->end;
    }
    if (last == NULL)
        event_add(job->again, &(struct timeval){ 0, AGAIN_MS * 1000 });
}

/* ---- the scan ---- */

/* How many wait for an outcome still: to them an operator released it whatever it is. */
static size_t settle_found(struct job *job, Weir__SpoolDisposition disposition, const char *reason, int code, const char *enhanced, const char *text)
{
    size_t anyway = 0;
    for (size_t i = 0; i < job->recipients->n_recipients; i++) {
        if (job->outcomes[i].text != NULL)
            continue;
        if (job->recipients->recipients[i]->released == WEIR__RELEASED__RELEASED_ANYWAY)
            anyway++;
        else
            job_settle_recipient(job, i, disposition, reason, code, enhanced, text);
    }
    return anyway;
}

/* The message was accepted: there is no session to refuse it in, so what would be refused there is discarded when it is bad; without a verdict it
 * waits for one, unless the operator said that waiting cannot help (limits_action, unscannable_action). */
void job_settle_verdict(struct job *job)
{
    const struct scan_result *verdict = job->verdict;
    const struct edge_settings *settings = job->runner->options.settings;
    int action = verdict->reason == WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS        ? settings->limits_action
                 : verdict->reason == WEIR__UNKNOWN_REASON__UNKNOWN_UNSCANNABLE ? settings->unscannable_action
                                                                                : settings->unknown_action;
    const char *name = *verdict->signature != '\0' ? verdict->signature : "(unnamed)";
    bool keeps_viruses = virus_action_for(settings, job->lease->envelope->inside) == VIRUS_QUARANTINE;
    size_t anyway;
    if (verdict->verdict == WEIR__VERDICT__VERDICT_BAD) {
        anyway = settle_found(job, keeps_viruses ? WEIR__SPOOL_DISPOSITION__SPOOL_QUARANTINED : WEIR__SPOOL_DISPOSITION__SPOOL_DISCARDED, "virus", 550,
                              "5.7.1", name);
        job->runner->options.virus(job->runner->options.arg, job->lease->envelope, verdict->signature);
    } else if (action == UNKNOWN_REJECT) {
        anyway = settle_found(job, WEIR__SPOOL_DISPOSITION__SPOOL_FAILED, "not-scanned", 550, "5.7.1", "Message refused: it cannot be scanned for viruses");
    } else if (action == UNKNOWN_DISCARD) {
        anyway = settle_found(job, WEIR__SPOOL_DISPOSITION__SPOOL_DISCARDED, "not-scanned", 550, "5.7.1", "not scanned");
    } else if (action == UNKNOWN_TAG) { /* the operator said so by name */
        job->doubtful = true;
        anyway = job->recipients->n_recipients;
    } else if (action == UNKNOWN_QUARANTINE) {
        anyway = settle_found(job, WEIR__SPOOL_DISPOSITION__SPOOL_QUARANTINED, "unscannable", 550, "5.7.1", "not scanned");
        if (anyway < job->recipients->n_recipients)
            log_write(LOG_WARNING, "%s: not scanned for viruses (%s), to be kept in the quarantine", job->id, verdict_text(verdict));
    } else {
        anyway = settle_found(job, WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED, "not-scanned", 451, "4.3.0", "Message not scanned for viruses, try again later");
    }
    if (anyway == 0)
        job_report(job);
    else if (job->doubtful) /* what it brings, and whether it was held, is known without a verdict, too */
        deliver_unless_held(job);
    else
        job_deliver(job);
}

static void on_personal(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct job *job = arg;
    (void)payloads, (void)count;
    job->question = NULL;
    personal_take(&job->personal, answer);
    job_judge_spam(job);
    deliver_unless_held(job);
}

static void on_verdict(void *arg, const struct scan_result *result)
{
    struct job *job = arg;
    job->scan = NULL; /* freed right after this */
    job->verdict = scan_result_copy(result);
    if (!job_is_clean(job)) {
        job_settle_verdict(job);
    } else if (!job_ask_personal(job, on_personal)) {
        job_judge_spam(job);
        deliver_unless_held(job);
    }
}

static void on_busy(void *arg, const char *why)
{
    struct job *job = arg;
    job->scan = NULL;
    job->runner->no_scan_until_ms = clock_ms() + 1000;
    job_release(job, why);
}

/* ---- delivery ---- */

static void deliver_unless_held(struct job *job)
{
    if (!job_ask_outbreak(job))
        job_deliver(job);
}

bool job_is_from_client(const struct job *job)
{
    return wire_equal(&job->lease->envelope->sender, job->sender);
}

void job_deliver(struct job *job)
{
    const Weir__SpoolEnvelope *envelope = job->lease->envelope;
    bool own = job_is_from_client(job);
    char envid[WIRE_ADDRESS_MAX + 1] = "";
    struct next_hop hop;
    if (job->policy_epoch != 0)
        settle_errors(job);
    if (!next_hop_parse(&hop, job->destination)) {
        job_settle_rest(job, WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED, "destination", 451, "4.3.5", "This edge cannot deliver to such a destination");
        job_report(job);
        return;
    }
    struct smtp_reply refusal;
    if (next_hop_refusal(&hop, &refusal)) { /* one of a list whose others take the message */
        job_settle_rest(job, refusal.code / 100 == 5 ? WEIR__SPOOL_DISPOSITION__SPOOL_FAILED : WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED, "route",
                        refusal.code, refusal.enhanced, refusal.text);
        job_report(job);
        return;
    }
    struct delivery_envelope to_hop = {
        .class = DELIVERY_SPOOL,
        .sender = job->sender,
        .size = message_size(job->message),
        .eightbit = envelope->eightbit,
        .smtputf8 = envelope->smtputf8,
        .ret = !own ? 0 : envelope->ret == 1 ? 'F' : envelope->ret == 2 ? 'H' : 0,
        .envid = own ? wire_string(envid, sizeof envid, &envelope->envid) : envid,
        .egress = job->runner->options.egress(job->runner->options.arg, envelope),
        .source = fair_source((const char *)envelope->client.data, envelope->client.len),
    };
    job->given = xcalloc(job->recipients->n_recipients, sizeof *job->given);
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        if (job->outcomes[i].text == NULL)
            job->given[job->n_given++] = i;
    if (job->n_given == 0) { /* by a policy that came during the scan, or by its score */
        job_report(job);
        return;
    }
    job->state = JOB_DELIVERING;
    job->delivering_ms = clock_ms();
    job->delivery = delivery_new(job->runner->options.pool, &hop, &to_hop, &delivery_handlers, job);
    delivery_set_deadline(job->delivery, lease_end(&job->time));
    for (size_t i = 0; i < job->n_given; i++) {
        const Weir__SpoolRecipient *recipient = job->recipients->recipients[job->given[i]];
        char address[WIRE_ADDRESS_MAX + 1], orcpt[WIRE_ADDRESS_MAX + 1];
        delivery_rcpt(job->delivery, &(struct delivery_recipient){ wire_string(address, sizeof address, &recipient->address), recipient->notify,
                                                                   wire_string(orcpt, sizeof orcpt, &recipient->original) });
    }
}

/* Its recipient may be the one who asked for it, or wonder why it comes so late. */
static size_t released_format(const struct job *job, char *out, size_t cap)
{
    const char *reason = "";
    for (size_t i = 0; i < job->n_given; i++) {
        const Weir__SpoolRecipient *recipient = job->recipients->recipients[job->given[i]];
        if (recipient->released == WEIR__RELEASED__RELEASED_NOT)
            return 0;
        reason = wire_quarantine_name(recipient->quarantine);
    }
    return (size_t)snprintf(out, cap, "X-Weir-Released: from quarantine%s%s\r\n", *reason != '\0' ? "; reason=" : "", reason);
}

static void send_message(struct job *job)
{
    char released[RELEASED_MAX];
    size_t len;
    uint64_t skip;
    char *prefix = job_dress(job, released, released_format(job, released, sizeof released), &len, &skip);
    job->sending = true;
    delivery_send(job->delivery, prefix, len, job->message, skip);
    free(prefix);
}

static void settle_reply(struct job *job, size_t index, const struct smtp_reply *reply)
{
    int class = reply->code / 100;
    Weir__SpoolDisposition disposition = class == 2   ? WEIR__SPOOL_DISPOSITION__SPOOL_DELIVERED
                                         : class == 5 ? WEIR__SPOOL_DISPOSITION__SPOOL_FAILED
                                                      : WEIR__SPOOL_DISPOSITION__SPOOL_DEFERRED;
    const char *enhanced = *reply->enhanced != '\0' ? reply->enhanced : class == 2 ? "2.0.0" : class == 5 ? "5.0.0" : "4.0.0";
    job_settle_recipient(job, index, disposition, reply->own ? "next-hop" : NULL, reply->code, enhanced, reply->text);
}

static void note_next_hop(struct job *job)
{
    snprintf(job->next_hop, sizeof job->next_hop, "%s", delivery_next_hop_text(job->delivery));
    job->takes_dsn = delivery_hop_takes_dsn(job->delivery);
}

/* A host that says nothing holds a place of everybody's for as long as its time-outs: one message at a time finds out how it is, as with one that
 * cannot be reached. One that hangs up holds none, and may do so for the sake of this one message. */
static void note_silence(struct job *job, const struct smtp_reply *reply)
{
    job->destination_down |= reply->silent;
}

static void on_recipient(void *arg, unsigned index, const struct smtp_reply *reply)
{
    struct job *job = arg;
    note_next_hop(job);
    note_silence(job, reply);
    job->answered++;
    if (reply->code / 100 == 2)
        job->accepted++;
    else
        settle_reply(job, job->given[index], reply);
    /* No connection was ever ready, and not because all of ours are in use, or this mail's pool cannot get there: nobody else needs to try. */
    if (*job->next_hop == '\0' && !reply->unasked && reply->code / 100 == 4 && strcmp(reply->enhanced, "4.4.5") != 0)
        job->destination_down = true;
    if (job->answered < job->n_given)
        return;
    if (job->accepted == 0) {
        delivery_cancel(&job->delivery);
        job_report(job);
    } else if (lease_is_live(&job->time, clock_ms())) {
        send_message(job);
    } else {
        job_end_lease(job);
    }
}

static void on_delivered(void *arg, const struct smtp_reply *reply, bool maybe_delivered)
{
    struct job *job = arg;
    note_next_hop(job);
    note_silence(job, reply);
    job->delivery = NULL; /* freed right after this */
    if (maybe_delivered) {
        metric_add(job->runner->metrics.maybe_duplicates, 1);
        log_write(LOG_WARNING, "%s: %s may have the message: a second copy may follow", job->id, job->next_hop);
    }
    for (size_t i = 0; i < job->recipients->n_recipients; i++)
        if (job->outcomes[i].text == NULL)
            settle_reply(job, i, reply);
    job_report(job);
}

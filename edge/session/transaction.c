/*
 * transaction.c - one message's way: recipients to the next hop, bytes to the scanner, verdict, hand-over, outcome
 *
 *   RCPT   recipients.c
 *   bytes  into the message and the scan; the first reason to refuse frees both, and the rest is only counted
 *   end    refused | discarded | scan -> verdict -> next hop -> its answer
 *                                             (-> outbreak's word, where it brings what may be one)
 *                                scan -> verdict -> spool, with the quarantine (spooled.c) -> committed
 *
 * Invariants: a 250 for the message is said only in transaction_finish(), with an outcome made from the next hop's 250, the spool's commit, or a policy
 * that discards (I1). transaction_deliver() is reached only with an explicit clean, or with scanning turned off by name, or with what it could not find out named (I2).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/outbreak/outbreak.h"
#include "edge/session/notice.h"
#include "edge/session/transaction.h"
#include "edge/smtp/leniency.h"

static void on_delivered(void *arg, const struct smtp_reply *reply, bool maybe_delivered);
static void on_verdict(void *arg, const struct scan_result *result);
static void on_busy(void *arg, const char *why);
static void on_pressure(void *arg, bool full);

const struct delivery_handlers transaction_delivery_handlers = { .recipient = transaction_on_recipient, .done = on_delivered };
static const struct scan_handlers scan_handlers = { .done = on_verdict, .busy = on_busy, .pressure = on_pressure };

struct transaction *transaction_new(struct session *session, const struct smtp_command *mail, const struct allowance *allowance)
{
    char sender[SMTP_ADDRESS_MAX];
    struct transaction *tx = xcalloc(1, sizeof *tx);
    tx->session = session;
    tx->allowance = *allowance;
    tx->id = queue_id_next(&session->server->ids, clock_wall_ms());
    tx->sender = xstrdup(smtp_address_format(&mail->address, sender));
    tx->declared = mail->size;
    tx->eightbit = mail->body == SMTP_BODY_8BITMIME;
    tx->smtputf8 = mail->smtputf8;
    tx->ret = mail->ret;
    tx->envid = *mail->envid != '\0' ? xstrdup(mail->envid) : NULL;
    tx->began_ms = clock_ms();
    header_scan_init(&tx->header);
    return tx;
}

static void drop_message(struct transaction *tx)
{
    if (tx->scan != NULL)
        scan_cancel(&tx->scan);
    message_free(&tx->message);
    tx->session->pressed = false;
}

bool session_is_inside(const struct session *session)
{
    const struct policy *policy = session->server->policy;
    return session_login(session) != NULL || (policy != NULL && policy_is_inside(policy, &session->client));
}

static void write_down(struct transaction *tx, const struct outcome *outcome);

static bool is_with_next_hop(const struct transaction *tx)
{
    return tx->direct != NULL && tx->direct->delivery != NULL;
}

/* A message that has begun is written down and counted however it ends. */
void transaction_free(struct transaction **transaction, enum farewell farewell)
{
    struct transaction *tx = *transaction;
    struct outcome outcome;
    *transaction = NULL;
    if (tx == NULL)
        return;
    if (tx->began && !tx->finished) {
        bool out = tx->store != NULL ? spool_store_is_late(tx->store) : is_with_next_hop(tx); /* else it is taken back */
        outcome_of_farewell(&outcome, farewell, tx->handed_over && out);
        write_down(tx, &outcome);
    }
    limits_cancel(tx->session);
    node_question_cancel(&tx->personal_question);
    personal_fini(&tx->personal);
    outbreak_cancel(&tx->outbreak);
    spool_store_cancel(&tx->store); /* before the message, which these two borrow */
    legs_free(tx);
    drop_message(tx);
    if (tx->handed_over)
        server_answered(tx->session->server);
    for (unsigned i = 0; i < tx->count; i++)
        entry_fini(&tx->entries[i]);
    free(tx->entries);
    free(tx->repair);
    scan_result_free(&tx->verdict);
    free(tx->next_hop_text);
    free(tx->next_hop_reply);
    free(tx->sender);
    free(tx->owner);
    free(tx->envid);
    free(tx->stopped);
    free(tx->symbols);
    free(tx->author);
    free(tx);
}

unsigned transaction_unanswered(const struct transaction *tx)
{
    return tx->count - tx->replied;
}

bool transaction_has_recipients(const struct transaction *tx)
{
    return tx->replied > 0;
}

bool transaction_is_utf8(const struct transaction *tx)
{
    return tx->smtputf8;
}

uint64_t transaction_max_recipients(const struct transaction *tx)
{
    return tx->allowance.max_recipients;
}

uint64_t transaction_size(const struct transaction *tx)
{
    return tx->size;
}

struct report transaction_report(const struct transaction *tx)
{
    return (struct report){
        .session = tx->session,
        .id = tx->id.text,
        .sender = tx->sender,
        .message_id = tx->header.message_id,
        .size = tx->size,
        .began_ms = tx->began_ms,
        .received_ms = tx->complete_ms,
        .scan = tx->verdict,
        .verdict = tx->verdict != NULL                                    ? verdict_text(tx->verdict)
                   : tx->handed_over && tx->session->server->farm == NULL ? verdict_text(NULL)
                                                                          : "",
        .next_hop = tx->next_hop_text != NULL ? tx->next_hop_text : is_with_next_hop(tx) ? delivery_next_hop_text(tx->direct->delivery) : "",
        .next_hop_reply = tx->next_hop_reply != NULL ? tx->next_hop_reply : "",
        .rcpt_count = tx->replied,
    };
}

/* ---- bytes ---- */

static void refuse(struct transaction *tx, enum refusal refusal)
{
    tx->refusal = refusal;
    drop_message(tx);
}

void transaction_begin_message(struct transaction *tx)
{
    struct session *session = tx->session;
    tx->began = true;
    tx->window_ms = clock_ms();
    report_message_begins(session, tx->id.text);
    if (session->limits->profile != PROFILE_RELAY)
        tx->repair = repair_new(tx);
    if (tx->to_deliver == 0)
        return; /* all recipients are discarded: nothing to keep */
    transaction_choose_way(tx);
    tx->message = message_new(&session->server->budget);
    if (session->server->farm != NULL && session->limits->profile == PROFILE_HANDOFF && !scan_farm_has_live(session->server->farm)) {
        tx->farm_busy = true;
    } else if (session->server->farm != NULL) {
        struct spam_told told;
        struct scan_facts facts = { session->client_text, session->helo, tx->sender, tx->replied, tx->declared, transaction_spam_facts(tx, &told), session->config->edge.hash_attachments };
        tx->scan = scan_start(session->server->farm, &tx->id, tx->message, &facts, &scan_handlers, tx);
    }
}

static void keep_bytes(struct transaction *tx, const char *bytes, size_t len)
{
    struct error why;
    enum message_status status = message_append(tx->message, bytes, len, &why);
    if (status == MESSAGE_OK) {
        /* A small message goes in one frame when it is complete, and needs no nudges before. */
        if (tx->scan != NULL && message_size(tx->message) > tx->session->config->edge.scan_chunk)
            scan_feed(tx->scan);
        return;
    }
    log_write(LOG_WARNING, "%s: message cannot be kept: %s", tx->id.text, why.text);
    refuse(tx, REFUSAL_STORAGE);
}

void transaction_take(struct transaction *tx, const char *bytes, size_t len)
{
    const struct listener_settings *limits = tx->session->limits;
    if (tx->refusal != REFUSAL_NONE)
        return;
    if (!tx->header.ended) {
        header_scan_feed(&tx->header, bytes, len);
        if (tx->header.hops > limits->max_hops) {
            refuse(tx, REFUSAL_HOPS);
            return;
        }
        if (tx->header.size > limits->max_header_size) {
            refuse(tx, REFUSAL_HEADER_SIZE);
            return;
        }
    }
    if (tx->message != NULL)
        keep_bytes(tx, bytes, len);
}

void transaction_body(struct transaction *tx, const char *bytes, size_t len)
{
    tx->size += len;
    if (tx->refusal != REFUSAL_NONE)
        return;
    if (tx->size > tx->allowance.max_message_size) {
        server_count_limit(tx->session->server, LIMIT_SIZE);
        refuse(tx, REFUSAL_SIZE);
    } else if (tx->repair != NULL) {
        repair_feed(tx->repair, bytes, len);
    } else {
        transaction_take(tx, bytes, len);
    }
}

bool transaction_is_slow(struct transaction *tx, uint64_t now_ms, uint64_t *look_again_ms)
{
    const struct listener_settings *limits = tx->session->limits;
    bool slow = false;
    if (tx->session->pressed) { /* it is we who hold the client back */
        tx->window_ms = now_ms;
        tx->window_size = tx->size;
    }
    uint64_t elapsed = now_ms - tx->window_ms;
    if (limits->min_data_rate > 0 && elapsed >= limits->data_rate_grace && elapsed > 0) {
        slow = (tx->size - tx->window_size) * 1000 / elapsed < limits->min_data_rate;
        tx->window_ms = now_ms;
        tx->window_size = tx->size;
    }
    *look_again_ms = tx->window_ms + limits->data_rate_grace;
    return slow;
}

bool transaction_is_refused(const struct transaction *tx)
{
    return tx->refusal != REFUSAL_NONE;
}

static void on_pressure(void *arg, bool full)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    if (session->pressed && !full)
        session->input_ms = tx->window_ms = clock_ms(), tx->window_size = tx->size;
    session->pressed = full;
    session_settle(session);
}

/* ---- the end ---- */

/* The rule that is written down with a recipient: what decided where it goes, and by which exception it came at all. */
static const char *rule_with_exception(const struct transaction *tx, const struct entry *entry, char *out, size_t cap)
{
    if (!allowance_was_needed(&tx->allowance, tx->session->limits, tx->size, tx->replied))
        return entry->rule;
    snprintf(out, cap, "%s%sexceptions:%u", entry->rule, *entry->rule != '\0' ? ", " : "", tx->allowance.line);
    return out;
}

static void count_exceptions(const struct transaction *tx, const struct outcome *outcome)
{
    const struct listener_settings *limits = tx->session->limits;
    struct server *server = tx->session->server;
    if (outcome->code / 100 != 2 || !allowance_was_needed(&tx->allowance, limits, tx->size, tx->replied))
        return;
    metric_add(server->exceptions_used[0], tx->size > limits->max_message_size);
    metric_add(server->exceptions_used[1], tx->replied > limits->max_recipients);
}

static void write_down(struct transaction *tx, const struct outcome *outcome)
{
    char rule[RELAY_RULE_MAX + 24];
    struct server *server = tx->session->server;
    struct report report = transaction_report(tx);

    tx->finished = true;
    count_exceptions(tx, outcome);
    report_message(&report, outcome);
    for (unsigned i = 0; i < tx->replied; i++) {
        struct outcome own = *outcome;
        bool stored = outcome->disposition == DISPOSITION_SPOOLED || outcome->disposition == DISPOSITION_QUARANTINED;
        bool gone = outcome->disposition == DISPOSITION_DISCARDED && tx->entries[i].discard_why != NULL; /* each for a reason of its own */
        if (tx->entries[i].discard && (outcome->disposition == DISPOSITION_DELIVERED || stored || gone)) {
            own.disposition = DISPOSITION_DISCARDED;
            own.why = tx->entries[i].discard_why != NULL ? tx->entries[i].discard_why : "route";
        } else if (tx->entries[i].quarantine != WEIR__QUARANTINE__QUARANTINE_NOT && stored) {
            own.disposition = DISPOSITION_QUARANTINED;
            own.why = wire_quarantine_name(tx->entries[i].quarantine);
        }
        if (own.disposition != DISPOSITION_DELIVERED) /* those were counted when the next hop said so */
            metric_add(server->recipients[own.disposition], 1);
        report.policy_epoch = tx->entries[i].policy_epoch;
        report.rule = rule_with_exception(tx, &tx->entries[i], rule, sizeof rule);
        report.given = tx->entries[i].given;
        report.first = i == 0;
        report_recipient(&report, tx->entries[i].index, tx->entries[i].address, &own);
    }
    metric_add(server->messages[session_is_inside(tx->session)][outcome->disposition], 1);
}

void transaction_finish(struct transaction *tx, const struct outcome *outcome)
{
    struct session *session = tx->session;
    struct server *server = session->server;

    if (outcome->code / 100 == 2) { /* what the client is told, whatever we think became of it (I9) */
        metric_add(server->recipients_accepted, tx->replied);
        session->errors = session->unknown = 0; /* whoever brings real mail starts anew */
    }
    write_down(tx, outcome);
    if (tx->verdict != NULL && tx->verdict->verdict == WEIR__VERDICT__VERDICT_BAD) {
        server_count_stopped(server, LAYER_CONTENT);
        notice_of_virus(server, &session->client, session->port->name, tx->id.text, tx->sender, tx->verdict->signature);
    }
    metric_observe(server->message_size, (double)tx->size);
    metric_observe(server->relay_seconds, (double)(clock_us() - tx->complete_us) / 1e6);

    if (outcome->close)
        session_reply(session, STAGE_MESSAGE, outcome->code, outcome->enhanced, "%s %s", session->config->hostname, outcome->text);
    else
        session_reply(session, STAGE_MESSAGE, outcome->code, outcome->enhanced, "%s", outcome->text);
    transaction_free(&session->tx, FAREWELL_NONE);
    session->input_ms = clock_ms();
    if (session->conn == NULL)
        session_enter(session, ST_CLOSED);
    else if (outcome->close)
        session_close(session);
    else
        session_enter(session, ST_READY);
}

size_t transaction_received(struct transaction *tx, char out[RECEIVED_MAX])
{
    struct session *session = tx->session;
    char date[40];
    struct received received = {
        .helo = session->helo,
        .client = &session->client,
        .client_name = session_client_name(session),
        .tls = session_tls(session),
        .hostname = session->config->hostname,
        .id = tx->id.text,
        .recipient = tx->replied == 1 ? tx->entries[0].address : NULL,
        .date = clock_rfc5322(date),
        .esmtp = session->esmtp,
        .smtputf8 = tx->smtputf8,
        .authenticated = session_login(session) != NULL,
    };
    return received_format(out, &received);
}

void transaction_deliver(struct transaction *tx)
{
    struct session *session = tx->session;
    size_t len;
    uint64_t skip;
    char *prefix = transaction_dress(tx, true, &len, &skip);
    if (!tx->handed_over) /* else it was counted when it was given to the spool */
        census_hand_over(session->server->census, session->server->worker);
    tx->handed_over = true;
    delivery_send(tx->direct->delivery, prefix, len, tx->message, skip);
    free(prefix);
}

void transaction_hand_over(struct transaction *tx)
{
    struct outcome outcome;
    if (!transaction_drop_refused(tx, &outcome)) {
        transaction_finish(tx, &outcome);
        return;
    }
    if (!tx->spool && tx->kept > 0)
        transaction_leave_hops(tx);
    if (tx->spool)
        transaction_spool(tx);
    else
        transaction_deliver(tx);
}

/* Handoff: its clients cannot come again, so what nobody can scan now is scanned in the spool, before delivery. */
static void hand_over_unscanned(struct transaction *tx)
{
    struct outcome outcome;
    scan_result_free(&tx->verdict);
    tx->unscanned = true;
    if (transaction_apply_personal(tx, &outcome) && transaction_drop_refused(tx, &outcome))
        transaction_spool(tx);
    else
        transaction_finish(tx, &outcome);
}

void transaction_judge(struct transaction *tx)
{
    struct outcome outcome;
    if (outcome_of_verdict(&outcome, tx->verdict, &tx->session->config->edge, session_is_inside(tx->session), &tx->id)) {
        if (!transaction_judge_spam(tx, &outcome) || !transaction_apply_personal(tx, &outcome))
            transaction_finish(tx, &outcome);
        else if (!transaction_ask_outbreak(tx))
            transaction_hand_over(tx);
    } else if (outcome.disposition == DISPOSITION_QUARANTINED) {
        for (unsigned i = 0; i < tx->replied; i++)
            transaction_quarantine(tx, &tx->entries[i], outcome.quarantine);
        if (outcome.quarantine == WEIR__QUARANTINE__QUARANTINE_UNSCANNABLE)
            log_write(LOG_WARNING, "%s: not scanned for viruses (%s), to be kept in the quarantine", tx->id.text, verdict_text(tx->verdict));
        transaction_hand_over(tx);
    } else if (outcome.disposition == DISPOSITION_DEFERRED && tx->session->limits->profile == PROFILE_HANDOFF) {
        hand_over_unscanned(tx);
    } else {
        transaction_finish(tx, &outcome);
    }
}

static void end_without_scanner(struct transaction *tx)
{
    struct outcome outcome;
    if (tx->session->limits->profile == PROFILE_HANDOFF) {
        hand_over_unscanned(tx);
        return;
    }
    outcome_of_busy_farm(&outcome);
    transaction_finish(tx, &outcome);
}

void transaction_conclude(struct transaction *tx)
{
    if (tx->personal_question != NULL)
        tx->waits = true;
    else if (tx->farm_busy)
        end_without_scanner(tx);
    else
        transaction_judge(tx);
}

static void refuse_message(struct transaction *tx)
{
    struct outcome outcome;
    outcome_of_refusal(&outcome, tx->refusal, tx->session->parser.violations, tx->session->limits,
                       tx->allowance.max_message_size, &tx->id);
    transaction_finish(tx, &outcome);
}

bool transaction_chunk(struct transaction *tx)
{
    if (tx->refusal == REFUSAL_NONE)
        return true;
    tx->complete_ms = clock_ms();
    tx->complete_us = clock_us();
    refuse_message(tx);
    return false;
}

void transaction_limited(struct transaction *tx, const struct limit_verdict *verdict)
{
    struct session *session = tx->session;
    struct outcome outcome;
    tx->complete = true;
    tx->complete_ms = clock_ms();
    tx->complete_us = clock_us();
    if (tx->refusal == REFUSAL_NONE && session->parser.violations != 0)
        tx->refusal = REFUSAL_CONTENT;
    if (tx->repair != NULL)
        repair_finish(tx->repair);
    if (session->parser.eightbit && !tx->eightbit)
        session_forgive(session, SMTP_LENIENCY_8BIT);
    tx->eightbit |= session->parser.eightbit; /* of a client that did not say so */

    if (tx->refusal != REFUSAL_NONE) {
        refuse_message(tx);
    } else if (verdict->refused) {
        char text[SMTP_REPLY_TEXT_MAX];
        outcome_of_limit(&outcome, limits_text(text, verdict));
        transaction_finish(tx, &outcome);
    } else if (tx->to_deliver == 0) {
        outcome_of_discard(&outcome, "route", &tx->id);
        transaction_finish(tx, &outcome);
    } else {
        transaction_ask_personal(tx);
        if (session->server->farm == NULL || tx->verdict != NULL || tx->farm_busy)
            transaction_conclude(tx);
        else
            scan_finish(tx->scan);
    }
}

/* Not complete before the limits let it pass: until then the scanner is not told of the end, and what it says already waits. */
void transaction_complete(struct transaction *tx)
{
    struct session *session = tx->session;
    struct limit_verdict verdict = { .refused = false };
    session_enter(session, ST_VERDICT);
    if (tx->refusal != REFUSAL_NONE || session->parser.violations != 0 || !limits_at_end(session, &verdict))
        transaction_limited(tx, &verdict);
}

static void on_verdict(void *arg, const struct scan_result *result)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    tx->scan = NULL; /* freed right after this */
    session->pressed = false;
    tx->verdict = scan_result_copy(result);
    if (!tx->complete && result->verdict == WEIR__VERDICT__VERDICT_CLEAN) {
        /* Nobody can have seen the bytes that are still to come (I2). */
        tx->verdict->verdict = WEIR__VERDICT__VERDICT_UNKNOWN;
        tx->verdict->reason = WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL;
    }
    if (tx->complete)
        transaction_conclude(tx);
    session_settle(session);
}

static void on_busy(void *arg, const char *why)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    tx->scan = NULL;
    session->pressed = false;
    tx->farm_busy = true;
    log_write(LOG_WARNING, "%s: no scanner takes the message: %s", tx->id.text, why);
    if (tx->complete)
        transaction_conclude(tx);
    session_settle(session);
}

static void on_delivered(void *arg, const struct smtp_reply *reply, bool maybe_delivered)
{
    struct leg *leg = arg;
    struct transaction *tx = leg->tx;
    struct session *session = tx->session;
    struct outcome outcome;
    tx->next_hop_text = xstrdup(delivery_next_hop_text(leg->delivery));
    if (!reply->own)
        tx->next_hop_reply = xasprintf("%d %s%s%s", reply->code, reply->enhanced, *reply->enhanced ? " " : "", reply->text);
    leg->delivery = NULL; /* freed right after this */
    if (reply->code / 100 == 2)
        metric_add(session->server->recipients[DISPOSITION_DELIVERED], tx->to_deliver);
    outcome_of_next_hop(&outcome, reply, maybe_delivered, &tx->id);
    transaction_finish(tx, &outcome);
    session_settle(session);
}

bool transaction_outlives_client(struct transaction *tx)
{
    /* It has no 250 and will send the message again: what the next hop does not have yet it shall not get twice. */
    if (tx->store != NULL ? spool_store_is_late(tx->store)
                          : tx->handed_over && (!is_with_next_hop(tx) || !delivery_take_back(&tx->direct->delivery)))
        return true;
    transaction_free(&tx->session->tx, FAREWELL_CLIENT_GONE);
    return false;
}

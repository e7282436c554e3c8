/*
 * transaction.c - one message's way: recipients to the next hop, bytes to the scanner, verdict, hand-over, outcome
 *
 *   RCPT   each recipient goes into `entries`; the next hop's answers arrive in their order, and replies are given in order of the commands
 *   bytes  into the message and the scan; the first reason to refuse frees both, and the rest is only counted
 *   end    refused | discarded | scan -> verdict -> next hop -> its answer
 *
 * Invariants: a 250 for the message is said only in finish(), with an outcome made from the next hop's 250 or from a policy that discards (I1).
 * hand_over() is reached only with an explicit clean, or with scanning turned off by name (I2).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/session/internal.h"

struct answer {
    unsigned stage;
    int code;
    char enhanced[12];
    const char *why;      /* static: "relay", "next-hop", ...: written to the audit; NULL: a reply to another command */
    bool next_hop;        /* these are the next hop's words */
    char text[];
};

struct entry { /* a recipient; or, while replies are owed, something else that has to be answered in its turn */
    char *address;         /* canonical; NULL: no recipient */
    struct answer *answer; /* NULL: accepted, or still asked */
    unsigned index;        /* of the RCPT command in the transaction */
    bool asked;            /* the next hop has not answered yet */
    bool discard;          /* its route says discard */
    uint64_t policy_epoch; /* what decided: the policy, */
    char rule[32];         /* and its line, as in struct relay_answer */
    unsigned notify;       /* SMTP_NOTIFY_*, 0: not said */
    char *orcpt;           /* decoded; NULL: none */
};

struct transaction {
    struct session *session;
    struct queue_id id;
    char *sender;
    uint64_t declared;                 /* SIZE= */
    bool eightbit, smtputf8;
    char ret, *envid;                  /* RFC 3461; envid NULL: none */
    struct entry *entries;             /* accepted ones first, then those whose reply is owed */
    unsigned count, cap, replied;      /* entries[0 .. replied) are accepted recipients */
    unsigned rcpts;                    /* RCPT commands so far */
    unsigned to_deliver, to_discard;   /* among the accepted */
    struct next_hop *hop;              /* of the first recipient that has one */
    struct delivery *delivery;
    struct message *message;
    struct scan *scan;
    struct scan_result *verdict;       /* NULL: none yet */
    bool began, complete, farm_busy, handed_over, finished;
    enum refusal refusal;
    struct header_scan header;
    uint64_t size;                     /* bytes that came, kept or not */
    uint64_t began_ms, complete_ms, complete_us;
    uint64_t window_ms, window_size;   /* the present window of min_data_rate */
    char *next_hop_text, *next_hop_reply;
};

static void on_recipient(void *arg, unsigned index, const struct smtp_reply *reply);
static void on_delivered(void *arg, const struct smtp_reply *reply, bool maybe_delivered);
static void on_verdict(void *arg, const struct scan_result *result);
static void on_busy(void *arg, const char *why);
static void on_pressure(void *arg, bool full);

static const struct delivery_handlers delivery_handlers = { .recipient = on_recipient, .done = on_delivered };
static const struct scan_handlers scan_handlers = { .done = on_verdict, .busy = on_busy, .pressure = on_pressure };

struct transaction *transaction_new(struct session *session, const struct smtp_command *mail)
{
    char sender[SMTP_ADDRESS_MAX];
    struct transaction *tx = xcalloc(1, sizeof *tx);
    tx->session = session;
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

static struct report report_of(const struct transaction *tx);
static void write_down(struct transaction *tx, const struct outcome *outcome);

static void entry_fini(struct entry *entry)
{
    free(entry->address);
    free(entry->orcpt);
    free(entry->answer);
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
        outcome_of_farewell(&outcome, farewell, tx->handed_over && tx->delivery != NULL); /* NULL: taken back */
        write_down(tx, &outcome);
    }
    if (tx->delivery != NULL) /* before the message, which it borrows */
        delivery_cancel(&tx->delivery);
    drop_message(tx);
    if (tx->handed_over)
        server_answered(tx->session->server);
    for (unsigned i = 0; i < tx->count; i++)
        entry_fini(&tx->entries[i]);
    free(tx->entries);
    free(tx->hop);
    free(tx->verdict);
    free(tx->next_hop_text);
    free(tx->next_hop_reply);
    free(tx->sender);
    free(tx->envid);
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

uint64_t transaction_size(const struct transaction *tx)
{
    return tx->size;
}

static struct report report_of(const struct transaction *tx)
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
        .verdict = tx->verdict != NULL                              ? verdict_text(tx->verdict)
                   : tx->handed_over && tx->session->server->farm == NULL ? verdict_text(NULL)
                                                                    : "",
        .next_hop = tx->next_hop_text != NULL ? tx->next_hop_text : tx->delivery != NULL ? delivery_next_hop_text(tx->delivery) : "",
        .next_hop_reply = tx->next_hop_reply != NULL ? tx->next_hop_reply : "",
        .rcpt_count = tx->replied,
    };
}

/* ---- recipients ---- */

static struct entry *entry_add(struct transaction *tx)
{
    if (tx->count == tx->cap) {
        tx->cap = tx->cap == 0 ? 1 : 2 * tx->cap;
        tx->entries = xrealloc(tx->entries, tx->cap * sizeof *tx->entries);
    }
    struct entry *entry = &tx->entries[tx->count++];
    *entry = (struct entry){ .index = tx->rcpts };
    return entry;
}

static void entry_refuse(struct entry *entry, unsigned stage, int code, const char *enhanced, const char *why, bool next_hop,
                         const char *text)
{
    size_t len = strlen(text);
    struct answer *answer = xmalloc(sizeof *answer + len + 1);
    *answer = (struct answer){ .stage = stage, .code = code, .why = why, .next_hop = next_hop };
    snprintf(answer->enhanced, sizeof answer->enhanced, "%s", enhanced);
    memcpy(answer->text, text, len + 1);
    entry->answer = answer;
}

static void report_refused_recipient(const struct transaction *tx, const struct entry *entry)
{
    const struct answer *answer = entry->answer;
    struct outcome outcome = {
        .disposition = answer->code / 100 == 5 ? DISPOSITION_REFUSED : DISPOSITION_DEFERRED,
        .why = answer->why,
        .code = answer->code,
    };
    snprintf(outcome.enhanced, sizeof outcome.enhanced, "%s", answer->enhanced);
    snprintf(outcome.text, sizeof outcome.text, "%s", answer->text);
    struct report report = report_of(tx);
    report.policy_epoch = entry->policy_epoch;
    report.rule = entry->rule;
    if (!answer->next_hop)
        report.next_hop = "";
    else
        report.next_hop_reply = answer->text;
    report_reject(tx->session, tx->replied > 0 ? tx->id.text : NULL, "RCPT", answer->code, answer->enhanced, answer->text,
                  tx->sender, entry->address);
    report_recipient_refused(&report, entry->index, entry->address, &outcome);
    metric_add(tx->session->server->recipients[outcome.disposition], 1);
}

/* Gives the replies that are due, in the order of the commands, up to the first that is still to come from the next hop. */
static void give_replies(struct transaction *tx)
{
    unsigned keep = tx->replied, at = tx->replied;
    for (; at < tx->count && !tx->entries[at].asked; at++) {
        struct entry entry = tx->entries[at];
        if (entry.answer == NULL) {
            session_reply(tx->session, SMTP_VERB_RCPT, 250, "2.1.5", "Ok");
            tx->entries[keep++] = entry;
            continue;
        }
        session_reply(tx->session, entry.answer->stage, entry.answer->code, entry.answer->enhanced, "%s", entry.answer->text);
        if (entry.address != NULL)
            report_refused_recipient(tx, &entry);
        entry_fini(&entry);
    }
    if (keep < at)
        memmove(&tx->entries[keep], &tx->entries[at], (tx->count - at) * sizeof *tx->entries);
    tx->count -= at - keep;
    tx->replied = keep;
    if (tx->session->leaving && tx->count == tx->replied)
        session_close(tx->session);
}

void transaction_answer(struct transaction *tx, unsigned stage, int code, const char *enhanced, const char *text)
{
    entry_refuse(entry_add(tx), stage, code, enhanced, NULL, false, text);
    give_replies(tx);
}

/* true: this recipient can go with those that are there already. The first decides the next hop; until there is a spool, a recipient for another
 * one has to come in a transaction of its own. */
static bool same_hop(struct transaction *tx, const struct next_hop *hop)
{
    if (tx->hop != NULL && (tx->hop->port != hop->port || strcmp(tx->hop->host, hop->host) != 0)) {
        bool any = tx->to_deliver > 0;
        for (unsigned i = tx->replied; i < tx->count; i++)
            any |= tx->entries[i].asked;
        if (any)
            return false;
        if (tx->delivery != NULL)
            delivery_cancel(&tx->delivery); /* the other hop has refused all it was offered */
        free(tx->hop);
        tx->hop = NULL;
    }
    if (tx->hop == NULL)
        tx->hop = xmemdup(hop, sizeof *hop);
    return true;
}

static void offer_to_next_hop(struct transaction *tx, struct entry *entry)
{
    if (tx->delivery == NULL) {
        struct delivery_envelope envelope = { tx->sender, tx->declared, tx->eightbit, tx->smtputf8, tx->ret, tx->envid };
        tx->delivery = delivery_new(tx->session->server->pool, tx->hop, &envelope, &delivery_handlers, tx);
    }
    delivery_rcpt(tx->delivery, &(struct delivery_recipient){ entry->address, entry->notify, entry->orcpt });
    entry->asked = true;
}

/* Recipients that were accepted or may still be. */
static unsigned transaction_valid(const struct transaction *tx)
{
    unsigned valid = tx->replied;
    for (unsigned i = tx->replied; i < tx->count; i++)
        valid += tx->entries[i].address != NULL && tx->entries[i].answer == NULL;
    return valid;
}

bool transaction_may_be_full(const struct transaction *tx)
{
    return transaction_unanswered(tx) > 0 && transaction_valid(tx) >= tx->session->limits->max_recipients;
}

void transaction_rcpt(struct transaction *tx, const struct smtp_command *rcpt)
{
    struct session *session = tx->session;
    struct relay_answer relay;
    relay_decide(&relay, session->server->policy, &session->client, &rcpt->address);

    struct entry *entry = entry_add(tx);
    tx->rcpts++;
    entry->address = xstrdup(relay.address);
    entry->policy_epoch = session->server->policy_epoch;
    memcpy(entry->rule, relay.rule, sizeof entry->rule);
    entry->notify = rcpt->notify;
    entry->orcpt = *rcpt->orcpt != '\0' ? xstrdup(rcpt->orcpt) : NULL;
    if (relay.result == RELAY_REFUSED) {
        session->errors += relay.code / 100 == 5;
        entry_refuse(entry, SMTP_VERB_RCPT, relay.code, relay.enhanced, relay.why, false, relay.text);
    } else if (transaction_valid(tx) > session->limits->max_recipients) {
        server_count_limit(session->server, LIMIT_RECIPIENTS);
        entry_refuse(entry, SMTP_VERB_RCPT, 452, "4.5.3", "recipients", false, "Too many recipients");
    } else if (relay.result == RELAY_DISCARD) {
        entry->discard = true;
        tx->to_discard++;
    } else if (!same_hop(tx, &relay.hop)) {
        entry_refuse(entry, SMTP_VERB_RCPT, 451, "4.3.0", "other-hop", false,
                     "This recipient's next hop differs: send it in another transaction");
    } else {
        offer_to_next_hop(tx, entry);
    }
    give_replies(tx);
}

static void on_recipient(void *arg, unsigned index, const struct smtp_reply *reply)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    (void)index; /* answers come in the order of the questions: this is the first one asked */
    unsigned at = tx->replied;
    while (at < tx->count && !tx->entries[at].asked)
        at++;
    if (at == tx->count)
        return;
    struct entry *entry = &tx->entries[at];
    entry->asked = false;
    if (reply->code / 100 == 2) {
        tx->to_deliver++;
    } else {
        struct smtp_reply answer = *reply;
        reply_normalize(&answer, "2.1.5");
        if (answer.code == 421) /* would close a session that has nothing wrong with it */
            answer.code = 450;
        session->unknown += answer.code / 100 == 5;
        entry_refuse(entry, SMTP_VERB_RCPT, answer.code, answer.enhanced, "next-hop", true, answer.text);
    }
    session->input_ms = clock_ms(); /* until now the client waited for us */
    give_replies(tx);
    session_settle(session);
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
    if (tx->to_deliver == 0)
        return; /* all recipients are discarded: nothing to keep */
    tx->message = message_new(&session->server->budget);
    if (session->server->farm != NULL) {
        struct scan_facts facts = { session->client_text, session->helo, tx->sender, tx->replied, tx->declared };
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

void transaction_body(struct transaction *tx, const char *bytes, size_t len)
{
    const struct listener_settings *limits = tx->session->limits;
    tx->size += len;
    if (tx->refusal != REFUSAL_NONE)
        return;
    if (tx->size > limits->max_message_size) {
        server_count_limit(tx->session->server, LIMIT_SIZE);
        refuse(tx, REFUSAL_SIZE);
        return;
    }
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

static void write_down(struct transaction *tx, const struct outcome *outcome)
{
    struct server *server = tx->session->server;
    struct report report = report_of(tx);

    tx->finished = true;
    report_message(&report, outcome);
    for (unsigned i = 0; i < tx->replied; i++) {
        struct outcome own = *outcome;
        if (tx->entries[i].discard && outcome->disposition == DISPOSITION_DELIVERED) {
            own.disposition = DISPOSITION_DISCARDED;
            own.why = "route";
        }
        if (own.disposition != DISPOSITION_DELIVERED) /* those were counted when the next hop said so */
            metric_add(server->recipients[own.disposition], 1);
        report.policy_epoch = tx->entries[i].policy_epoch;
        report.rule = tx->entries[i].rule;
        report_recipient(&report, tx->entries[i].index, tx->entries[i].address, &own);
    }
    metric_add(server->messages[outcome->disposition], 1);
}

/* Writes down and says what became of the message, once, and ends the transaction. */
static void finish(struct transaction *tx, const struct outcome *outcome)
{
    struct session *session = tx->session;
    struct server *server = session->server;

    if (outcome->code / 100 == 2) { /* what the client is told, whatever we think became of it (I9) */
        metric_add(server->recipients_accepted, tx->replied);
        session->errors = session->unknown = 0; /* whoever brings real mail starts anew */
    }
    write_down(tx, outcome);
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

static void hand_over(struct transaction *tx)
{
    struct session *session = tx->session;
    char date[40], prefix[RECEIVED_MAX + VIRUS_SCANNED_MAX];
    struct received received = {
        .helo = session->helo,
        .client = &session->client,
        .tls = session_tls(session),
        .hostname = session->config->hostname,
        .id = tx->id.text,
        .recipient = tx->replied == 1 ? tx->entries[0].address : NULL,
        .date = clock_rfc5322(date),
        .esmtp = session->esmtp,
        .smtputf8 = tx->smtputf8,
    };
    size_t len = 0;
    /* Received comes last: a message whose first line begins with white space goes on with the field above it, and must not be able to add
     * words to the one that says what we found. */
    if (tx->verdict != NULL)
        len = virus_scanned_format(prefix, VIRUS_SCANNED_MAX, session->config->hostname, tx->verdict->engine, tx->verdict->signatures);
    len += received_format(prefix + len, &received);
    tx->handed_over = true;
    census_hand_over(session->server->census, session->server->worker);
    delivery_send(tx->delivery, prefix, len, tx->message);
}

static void judge(struct transaction *tx)
{
    struct outcome outcome;
    const char *contact = tx->session->config->cluster.contact;
    if (outcome_of_verdict(&outcome, tx->verdict, &tx->session->config->edge, contact != NULL ? contact : "", &tx->id))
        hand_over(tx);
    else
        finish(tx, &outcome);
}

static void refuse_message(struct transaction *tx)
{
    struct outcome outcome;
    outcome_of_refusal(&outcome, tx->refusal, tx->session->parser.violations, tx->session->limits, &tx->id);
    finish(tx, &outcome);
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

void transaction_complete(struct transaction *tx)
{
    struct session *session = tx->session;
    struct outcome outcome;
    tx->complete = true;
    tx->complete_ms = clock_ms();
    tx->complete_us = clock_us();
    if (tx->refusal == REFUSAL_NONE && session->parser.violations != 0)
        tx->refusal = REFUSAL_CONTENT;

    session_enter(session, ST_VERDICT);
    if (tx->refusal != REFUSAL_NONE) {
        refuse_message(tx);
    } else if (tx->to_deliver == 0) {
        outcome_of_discard(&outcome, &tx->id);
        finish(tx, &outcome);
    } else if (session->server->farm == NULL || tx->verdict != NULL) {
        judge(tx);
    } else if (tx->farm_busy) {
        outcome_of_busy_farm(&outcome);
        finish(tx, &outcome);
    } else {
        scan_finish(tx->scan);
    }
}

static void on_verdict(void *arg, const struct scan_result *result)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    tx->scan = NULL; /* freed right after this */
    session->pressed = false;
    tx->verdict = xmemdup(result, sizeof *result);
    if (!tx->complete && result->verdict == WEIR__VERDICT__VERDICT_CLEAN) {
        /* Nobody can have seen the bytes that are still to come (I2). */
        tx->verdict->verdict = WEIR__VERDICT__VERDICT_UNKNOWN;
        tx->verdict->reason = WEIR__UNKNOWN_REASON__UNKNOWN_PROTOCOL;
    }
    if (tx->complete)
        judge(tx);
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
    if (tx->complete) {
        struct outcome outcome;
        outcome_of_busy_farm(&outcome);
        finish(tx, &outcome);
    }
    session_settle(session);
}

static void on_delivered(void *arg, const struct smtp_reply *reply, bool maybe_delivered)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    struct outcome outcome;
    tx->next_hop_text = xstrdup(delivery_next_hop_text(tx->delivery));
    tx->next_hop_reply = xasprintf("%d %s%s%s", reply->code, reply->enhanced, *reply->enhanced ? " " : "", reply->text);
    tx->delivery = NULL; /* freed right after this */
    if (reply->code / 100 == 2)
        metric_add(session->server->recipients[DISPOSITION_DELIVERED], tx->to_deliver);
    outcome_of_next_hop(&outcome, reply, maybe_delivered, &tx->id);
    finish(tx, &outcome);
    session_settle(session);
}

bool transaction_outlives_client(struct transaction *tx)
{
    /* It has no 250 and will send the message again: what the next hop does not have yet it shall not get twice. */
    if (tx->handed_over && (tx->delivery == NULL || !delivery_take_back(&tx->delivery)))
        return true;
    transaction_free(&tx->session->tx, FAREWELL_CLIENT_GONE);
    return false;
}

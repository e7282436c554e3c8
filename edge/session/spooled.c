/*
 * spooled.c - a transaction's way into the spool, and what happens when there is no way
 *
 * The message stored is Received and the client's bytes; X-Virus-Scanned comes in front at delivery. 250 follows SPOOL_STORED only (I1). Where no
 * coordinator or database can be had, a handoff listener's message with a verdict and one next hop is delivered within the session: its clients
 * cannot come again (DESIGN: degraded, not down).
 */
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/scan/stamp.h"
#include "edge/session/transaction.h"

#define EXPANSION_EXTRA 64 /* of a list that is told of, besides its name: destination, numbers, what a lease adds */

Weir__SpoolRecipients *transaction_recipients(const struct transaction *tx)
{
    Weir__SpoolRecipients *list = xmalloc(sizeof *list);
    weir__spool_recipients__init(list);
    list->recipients = xcalloc(2 * (size_t)tx->replied, sizeof *list->recipients); /* and lists that are told of */
    for (unsigned i = 0; i < tx->replied; i++) {
        const struct entry *entry = &tx->entries[i];
        char destination[NEXT_HOP_TEXT_MAX];
        if (entry->leg == NULL)
            continue;
        Weir__SpoolRecipient *recipient = xmalloc(sizeof *recipient);
        weir__spool_recipient__init(recipient);
        next_hop_format(destination, &entry->leg->hop);
        recipient->index = entry->index;
        recipient->address = wire_text(entry->address);
        wire_recipient_name(recipient, entry->orcpt, entry->given);
        recipient->notify = entry_notify(entry);
        recipient->destination = wire_text(xstrdup(destination));
        recipient->quarantine = entry->quarantine;
        list->recipients[list->n_recipients++] = recipient;
    }
    return list;
}

/* Says as from whom the recipient's copy goes out, where that is not the message's sender. With no place left it is all the same. */
static void add_sender(Weir__SpoolEnvelope *envelope, const char *address, unsigned index)
{
    Weir__SpoolSenders *owners = envelope->owners;
    size_t last = owners->n_senders;
    if (wire_equal(&envelope->sender, address))
        return;
    if (last > 0 && wire_equal(&owners->senders[last - 1], address) && owners->firsts[last - 1] + owners->counts[last - 1] == index) {
        owners->counts[last - 1]++;
    } else if (last < WIRE_SPOOL_OWNERS_MAX) {
        owners->senders[last] = wire_text(address);
        owners->firsts[last] = index;
        owners->counts[last] = 1;
        owners->n_senders = owners->n_firsts = owners->n_counts = last + 1;
    }
}

/* Of aliases for several addresses, of which somebody asked to hear that they were reached (RFC 3461 5.2.7.2, 5.2.7.3): the spool reports it, as one recipient more. What is on them does
 * not say so itself. */
static void add_expansions(const struct transaction *tx, Weir__SpoolRecipients *list, Weir__SpoolEnvelope *envelope)
{
    const char *before = NULL;
    unsigned index = tx->rcpts;
    size_t room = WIRE_LIST_MAX - tx->packed;
    for (unsigned i = 0; i < tx->replied; i++) {
        const struct entry *entry = &tx->entries[i];
        if (!entry->expands || entry->leg == NULL || entry->leg->hop.port == 0 || entry->quarantine != WEIR__QUARANTINE__QUARANTINE_NOT || (before != NULL && strcmp(before, entry->given) == 0))
            continue;
        before = entry->given;
        size_t size = EXPANSION_EXTRA + strlen(entry->given) + (entry->orcpt != NULL ? strlen(entry->orcpt) : 0);
        if (*tx->sender == '\0' || size > room)
            continue;
        room -= size;
        struct next_hop hop;
        char destination[NEXT_HOP_TEXT_MAX];
        next_hop_set_expansion(&hop, entry->owner != NULL);
        next_hop_format(destination, &hop);
        Weir__SpoolRecipient *recipient = xmalloc(sizeof *recipient);
        weir__spool_recipient__init(recipient);
        recipient->index = index++;
        recipient->address = wire_text(entry->given);
        wire_recipient_name(recipient, entry->orcpt, NULL);
        recipient->notify = SMTP_NOTIFY_SUCCESS;
        recipient->destination = wire_text(xstrdup(destination));
        list->recipients[list->n_recipients++] = recipient;
        add_sender(envelope, tx->sender, recipient->index);
    }
}

static void add_senders(const struct transaction *tx, Weir__SpoolEnvelope *envelope)
{
    for (unsigned i = 0; i < tx->replied; i++) {
        const struct entry *entry = &tx->entries[i];
        if (entry->leg != NULL)
            add_sender(envelope, entry->owner != NULL ? entry->owner : tx->sender, entry->index);
    }
}

/* A few are told in a way that peers of before know. */
static void tell_senders(Weir__SpoolEnvelope *envelope)
{
    Weir__SpoolSenders *owners = envelope->owners;
    if (owners->n_senders > WIRE_SPOOL_SENDERS_MAX)
        return;
    envelope->owners = NULL;
    envelope->senders = owners->senders, envelope->sender_firsts = owners->firsts, envelope->sender_counts = owners->counts;
    envelope->n_senders = envelope->n_sender_firsts = envelope->n_sender_counts = owners->n_senders;
}

/* The report that the list was reached is the client's own, and has its ENVID: the envelope is the client's, the owner is told of beside it. */
static bool reports_to_client(const struct transaction *tx)
{
    bool expands = false;
    for (unsigned i = 0; i < tx->replied; i++)
        expands |= tx->entries[i].expands && tx->entries[i].leg != NULL;
    return expands && tx->envid != NULL;
}

/* The oldest and the newest policy that routed one of them. */
static void tell_policies(const struct transaction *tx, Weir__SpoolEnvelope *envelope)
{
    envelope->policy_epoch = tx->session->server->policy_epoch;
    for (unsigned i = 0; i < tx->replied; i++) {
        uint64_t epoch = tx->entries[i].policy_epoch;
        if (tx->entries[i].leg == NULL)
            continue;
        if (epoch < envelope->policy_epoch)
            envelope->policy_epoch = epoch;
        if (epoch > envelope->policy_newest)
            envelope->policy_newest = epoch;
    }
}

void transaction_quarantine(struct transaction *tx, struct entry *entry, Weir__Quarantine reason)
{
    if (entry->leg == NULL)
        return;
    tx->kept += entry->quarantine == WEIR__QUARANTINE__QUARANTINE_NOT;
    entry->quarantine = reason;
}

bool transaction_drop_refused(struct transaction *tx, struct outcome *outcome)
{
    bool stopped = false, taken = false;
    unsigned dropped = 0;
    const char *why = "refused";
    for (unsigned i = 0; i < tx->replied; i++) {
        const struct entry *entry = &tx->entries[i];
        bool kept = entry->quarantine != WEIR__QUARANTINE__QUARANTINE_NOT;
        stopped |= kept || entry->discard_why != NULL;
        taken |= entry->leg != NULL && entry->leg->hop.port != 0 && !kept;
        why = entry->discard_why != NULL ? entry->discard_why : why;
    }
    for (unsigned i = 0; i < tx->replied; i++) {
        struct entry *entry = &tx->entries[i];
        if (entry->leg == NULL || entry->leg->hop.port != 0 || (entry->quarantine == WEIR__QUARANTINE__QUARANTINE_NOT && (taken || !stopped)))
            continue;
        transaction_discard(tx, entry, "refused"); /* by the policy: not as what a route says `discard:` to */
        dropped++;
    }
    return transaction_is_left(tx, dropped, why, outcome);
}

void transaction_recipients_free(Weir__SpoolRecipients *list)
{
    for (size_t i = 0; i < list->n_recipients; i++) {
        free(list->recipients[i]->destination.data);
        free(list->recipients[i]);
    }
    free(list->recipients);
    free(list);
}

/* The one next hop of those whom the policy does not refuse for good; NULL: they have several, none, or one whose mail may pass in a while. */
static struct leg *only_hop(const struct transaction *tx)
{
    struct leg *only = NULL;
    struct smtp_reply refusal;
    for (struct leg *leg = tx->legs; leg != NULL; leg = leg->next) {
        if (next_hop_refusal(&leg->hop, &refusal) && refusal.code / 100 == 5)
            continue;
        if (only != NULL || leg->hop.port == 0)
            return NULL;
        only = leg;
    }
    return only;
}

/* The next hop is asked about all recipients now, before the message: the client has its 250 for them. Whom the policy refuses on a list is left out, as there is nobody to
 * report it: better than to keep the message from all others. true: under way. maybe_stored: a commit
 * whose answer never came; this client cannot come again, so a second copy is better than none, but it is said. */
static bool deliver_in_session(struct transaction *tx, bool maybe_stored)
{
    struct leg *leg = only_hop(tx);
    if (tx->session->limits->profile != PROFILE_HANDOFF || tx->stopped != NULL || tx->unscanned || tx->kept > 0 || leg == NULL)
        return false;
    for (unsigned i = 0; i < tx->replied; i++)
        if (tx->entries[i].leg != NULL && tx->entries[i].leg != leg)
            transaction_discard(tx, &tx->entries[i], "refused");
    log_write(LOG_WARNING, "%s: cannot be stored, delivering within the session%s", tx->id.text,
              maybe_stored ? "; it may be stored all the same: a second copy may follow" : "");
    metric_add(tx->session->server->maybe_stored, maybe_stored);
    metric_add(tx->session->server->in_session, 1);
    tx->in_session = true;
    tx->spool = false;
    tx->direct = leg;
    for (unsigned i = 0; i < tx->replied; i++)
        if (tx->entries[i].leg == leg)
            leg_offer(leg, &tx->entries[i]);
    return true;
}

void transaction_late_answer(struct transaction *tx, const struct smtp_reply *reply)
{
    struct leg *leg = tx->direct;
    struct outcome outcome;
    tx->refused_late += reply->code / 100 != 2;
    tx->deferred_late |= reply->code / 100 == 4;
    if (leg->asked > 0)
        return;
    if (tx->refused_late == 0) {
        transaction_deliver(tx);
        return;
    }
    /* One answer for all: where some were accepted it cannot be a final one. */
    struct smtp_reply answer = *reply;
    if ((tx->refused_late < leg->accepted || tx->deferred_late) && answer.code / 100 != 4)
        answer = (struct smtp_reply){ .code = 451, .enhanced = "4.3.0", .text = "The next hop refuses some of the recipients" };
    delivery_cancel(&leg->delivery);
    outcome_of_next_hop(&outcome, &answer, false, &tx->id);
    transaction_finish(tx, &outcome);
}

static const char *first_reason(const struct transaction *tx)
{
    for (unsigned i = 0; i < tx->replied; i++)
        if (tx->entries[i].quarantine != WEIR__QUARANTINE__QUARANTINE_NOT)
            return wire_quarantine_name(tx->entries[i].quarantine);
    return "";
}

/* Who wants it in spite of its score, as the coordinator knows: it is on its way, and said so. */
static void let_in(struct transaction *tx)
{
    for (unsigned i = 0; i < tx->replied; i++) {
        struct entry *entry = &tx->entries[i];
        if (entry->quarantine == WEIR__QUARANTINE__QUARANTINE_NOT || !spool_store_let_in(tx->store, entry->index))
            continue;
        entry->quarantine = WEIR__QUARANTINE__QUARANTINE_NOT;
        tx->kept--;
    }
}

static void on_stored(void *arg, enum spool_stored stored, const char *why)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    struct server *server = session->server;
    struct outcome outcome;
    bool maybe_stored = tx->store != NULL && spool_store_is_late(tx->store);
    if (stored == SPOOL_STORED)
        let_in(tx);
    tx->store = NULL; /* freed right after this */
    metric_add(server->stores[stored], 1);
    metric_observe(server->store_seconds, (double)(clock_us() - tx->store_us) / 1e6);
    if (stored != SPOOL_STORED)
        log_write(LOG_WARNING, "%s: not stored: %s", tx->id.text, why);
    if (stored == SPOOL_UNAVAILABLE && session->conn != NULL && deliver_in_session(tx, maybe_stored)) {
        session_settle(session);
        return;
    }
    outcome_of_spool(&outcome, stored, &tx->id);
    if (stored == SPOOL_STORED && tx->kept == tx->to_deliver) { /* nobody's is in the spool */
        outcome.disposition = DISPOSITION_QUARANTINED;
        outcome.why = first_reason(tx);
    }
    transaction_finish(tx, &outcome);
    session_settle(session);
}

/*
 * No event may come from inside: a transaction that cannot even ask ends on the spot, its caller does the rest. false: it is asked for all the same, as
 * a device does not come again and its mail can go no other way: a coordinator that was silent for a second is mostly back, or another one, in its time.
 */
static bool not_asked(struct transaction *tx)
{
    struct server *server = tx->session->server;
    struct outcome outcome;
    if (server->node != NULL && node_is_connected(server->node))
        return false;
    if (deliver_in_session(tx, false)) {
        metric_add(server->stores[SPOOL_UNAVAILABLE], 1);
        log_write(LOG_WARNING, "%s: not stored: no coordinator can be reached", tx->id.text);
        return true;
    }
    if (server->node != NULL && tx->session->limits->profile == PROFILE_HANDOFF)
        return false;
    metric_add(server->stores[SPOOL_UNAVAILABLE], 1);
    log_write(LOG_WARNING, "%s: not stored: no coordinator can be reached", tx->id.text);
    outcome_of_spool(&outcome, SPOOL_UNAVAILABLE, &tx->id);
    transaction_finish(tx, &outcome);
    return true;
}

void transaction_spool(struct transaction *tx)
{
    struct session *session = tx->session;
    struct server *server = session->server;
    const struct scan_result *verdict = tx->verdict;
    size_t prefix_len;
    uint64_t skip;
    Weir__SpoolEnvelope envelope = WEIR__SPOOL_ENVELOPE__INIT;

    tx->store_us = clock_us();
    if (not_asked(tx))
        return;
    envelope.id = wire_text(tx->id.text);
    const char *owner = reports_to_client(tx) ? NULL : tx->owner;
    envelope.sender = wire_text(owner != NULL ? owner : tx->sender);
    envelope.listener = wire_text(session->port->name);
    envelope.client = wire_text(session->client_text);
    envelope.helo = wire_text(session->helo);
    envelope.tls = wire_text(session_tls(session));
    envelope.message_id = wire_text(tx->header.message_id);
    envelope.eightbit = tx->eightbit;
    envelope.smtputf8 = tx->smtputf8;
    if (owner == NULL) {
        envelope.ret = tx->ret == 'F' ? 1 : tx->ret == 'H' ? 2 : 0;
        envelope.envid = wire_text(tx->envid);
    }
    /* What is not clean is scanned before it goes anywhere, whoever releases it. */
    bool doubtful = transaction_doubt(tx) != NULL; /* another scan would know no more; its header says so, and nobody vouches for it: no engine is named */
    envelope.scanned = !tx->unscanned && (verdict == NULL || verdict->verdict == WEIR__VERDICT__VERDICT_CLEAN || doubtful);
    envelope.inside = session_is_inside(session);
    envelope.scored = tx->scored;
    envelope.score = tx->score;
    envelope.author = wire_text(tx->author != NULL ? tx->author : "");
    envelope.symbols = wire_text_cut(tx->symbols != NULL ? tx->symbols : "", WIRE_SYMBOLS_MAX);
    envelope.verdict = wire_text(tx->unscanned ? "" : verdict_text(verdict));
    if (verdict != NULL) {
        envelope.scanner = wire_text(verdict->scanner);
        envelope.engine = wire_text(doubtful ? "" : verdict->engine);
        envelope.signatures = wire_text(verdict->signatures);
        envelope.signature = wire_text(verdict->signature);
    }
    envelope.time_ms = clock_wall_ms();
    envelope.hello = wire_text(
        received_protocol(session->esmtp, *session_tls(session) != '\0', tx->smtputf8, session_login(session) != NULL));
    envelope.login = wire_text(session_login(session));
    envelope.node = wire_text(server->node_name);
    tell_policies(tx, &envelope);
    envelope.stopped = wire_text(tx->stopped != NULL ? tx->stopped : "");
    metric_add(server->stopped[1], tx->stopped != NULL);

    Weir__SpoolRecipients *recipients = transaction_recipients(tx);
    ProtobufCBinaryData senders[WIRE_SPOOL_OWNERS_MAX];
    uint32_t firsts[WIRE_SPOOL_OWNERS_MAX], counts[WIRE_SPOOL_OWNERS_MAX];
    Weir__SpoolSenders owners = WEIR__SPOOL_SENDERS__INIT;
    owners.senders = senders, owners.firsts = firsts, owners.counts = counts;
    envelope.owners = &owners;
    add_senders(tx, &envelope);
    add_expansions(tx, recipients, &envelope);
    tell_senders(&envelope);
    char *prefix = transaction_dress(tx, false, &prefix_len, &skip);
    struct spool_store_options options = {
        .base = server->base,
        .node = server->node,
        .ahead = &server->ahead,
        .envelope = &envelope,
        .recipients = recipients,
        .prefix = prefix,
        .prefix_len = prefix_len,
        .skip = skip,
        .always = session->limits->profile == PROFILE_HANDOFF,
        .message = tx->message,
        .timeout_ms = session->config->edge.spool_timeout,
    };
    tx->store = spool_store_new(&options, on_stored, tx);
    transaction_recipients_free(recipients);
    free(prefix);
    tx->handed_over = true;
    census_hand_over(server->census, server->worker);
}

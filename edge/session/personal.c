/*
 * personal.c - recipients' own block lists: who wants nothing from this sender does not get it, and nobody else notices
 *
 * A coordinator is asked once the message is complete, beside its scan, and only where the cluster says that anybody has such a list. Where none answers within
 * personal_timeout the mail goes on as if there were none: a list is a convenience, and no reason to keep mail from anybody else.
 */
#include "edge/session/transaction.h"
#include "edge/spam/dress.h"

static void on_known(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    (void)payloads, (void)count;
    tx->personal_question = NULL;
    metric_add(session->server->personal_questions[personal_take(&tx->personal, answer)], 1);
    if (!tx->waits)
        return;
    tx->waits = false;
    transaction_conclude(tx);
    session_settle(session);
}

void transaction_ask_personal(struct transaction *tx)
{
    const struct session *session = tx->session;
    struct node *node = session->server->node;
    char from[SMTP_ADDRESS_MAX];
    if (!session->server->personal_blocks || node == NULL || !node_is_connected(node))
        return;
    message_from(tx->message, from);
    struct personal_facts facts = { .sender = tx->sender, .from = from, .author = "" };
    Weir__SpoolRecipients *recipients = transaction_recipients(tx);
    tx->personal_question = personal_ask(node, recipients, &facts, session->config->spam.personal_timeout, on_known, tx);
    transaction_recipients_free(recipients);
}

void transaction_discard(struct transaction *tx, struct entry *entry, const char *why)
{
    tx->kept -= entry->quarantine != WEIR__QUARANTINE__QUARANTINE_NOT;
    entry->quarantine = WEIR__QUARANTINE__QUARANTINE_NOT;
    entry->discard = true;
    entry->discard_why = why;
    entry->leg = NULL;
    tx->to_deliver--;
    tx->to_discard++;
}

bool transaction_is_left(struct transaction *tx, unsigned discarded, const char *why, struct outcome *outcome)
{
    if (discarded == 0)
        return true;
    if (tx->to_deliver == 0)
        outcome_of_discard(outcome, why, &tx->id);
    else if (!tx->spool)
        transaction_leave_hops(tx); /* its next hop was told of all of them */
    return tx->to_deliver > 0;
}

bool transaction_apply_personal(struct transaction *tx, struct outcome *outcome)
{
    const struct session *session = tx->session;
    bool discards = session->config->spam.block_action == BLOCK_DISCARD;
    unsigned discarded = 0;
    for (unsigned i = 0; i < tx->replied && tx->personal.n_blocked > 0; i++) {
        struct entry *entry = &tx->entries[i];
        if (entry->leg == NULL || !personal_is_blocked(&tx->personal, entry->index))
            continue;
        metric_add(session->server->personal_blocked[discards], 1);
        discarded += discards;
        if (discards)
            transaction_discard(tx, entry, "blocklist");
        else
            transaction_quarantine(tx, entry, WEIR__QUARANTINE__QUARANTINE_BLOCKLIST);
    }
    return transaction_is_left(tx, discarded, "blocklist", outcome);
}

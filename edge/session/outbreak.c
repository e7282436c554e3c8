/*
 * outbreak.c - a clean message that brings what may be an outbreak waits for the cluster's word, before it goes anywhere
 *
 * Held copies go into the quarantine by the store's transaction, so a 250 says that they are kept (I1). Who is for the quarantine for another reason stays so.
 */
#include "edge/outbreak/outbreak.h"
#include <string.h>
#include "common/log.h"
#include "edge/session/transaction.h"

static void hold(struct transaction *tx, const char *name)
{
    log_write(LOG_NOTICE, "%s: held: %s, which many suddenly send, from=<%s>", tx->id.text, name, tx->sender);
    for (unsigned i = 0; i < tx->replied; i++) {
        struct entry *entry = &tx->entries[i];
        if (!entry->discard && entry->quarantine == WEIR__QUARANTINE__QUARANTINE_NOT)
            transaction_quarantine(tx, entry, WEIR__QUARANTINE__QUARANTINE_OUTBREAK);
    }
}

static void block(struct transaction *tx, const char *name)
{
    struct scan_result *verdict = tx->verdict;
    verdict->verdict = WEIR__VERDICT__VERDICT_BAD;
    snprintf(verdict->signature, sizeof verdict->signature, "%s", name);
}

static void on_answer(void *arg, enum outbreak_answer answer, const char *name)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    tx->outbreak = NULL; /* gone */
    if (answer == OUTBREAK_ANSWER_BLOCK) {
        block(tx, name);
        transaction_judge(tx);
    } else {
        if (answer == OUTBREAK_ANSWER_HOLD)
            hold(tx, name);
        transaction_hand_over(tx);
    }
    session_settle(session);
}

bool transaction_ask_outbreak(struct transaction *tx)
{
    struct outbreak *outbreak = tx->session->server->outbreak;
    if (outbreak == NULL || tx->verdict == NULL || !outbreak_concerns(outbreak, tx->verdict))
        return false;
    struct outbreak_case asked = {
        .id = wire_text(tx->id.text),
        .sender = wire_text_cut(tx->sender, WIRE_ADDRESS_MAX),
        .client = wire_text(tx->session->client_text),
        .login = wire_text(session_login(tx->session)),
        .scan = tx->verdict,
    };
    tx->outbreak = outbreak_ask(outbreak, &asked, on_answer, tx);
    return tx->outbreak != NULL;
}

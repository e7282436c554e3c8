/*
 * spam.c - what spam engines are told of a message, and what their score means for each recipient's copy
 *
 * One message has one header, so it is tagged for all who get it when it is for one. Its copies go their own ways: who is to be refused together with others
 * that are not gets his into the quarantine, as SMTP has one answer for all.
 */
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/memory.h"
#include "common/score.h"
#include "edge/scan/stamp.h"
#include "edge/session/transaction.h"
#include "edge/spam/author.h"
#include "edge/spam/bands.h"
#include "edge/spam/dress.h"
#include "edge/spam/fields.h"

static bool is_asked(const struct session *session)
{
    return session->config->spam.spam_engines.count > 0;
}

/* ---- facts ---- */

/* Who logs in may do so from anywhere. */
static const char *listed(const struct session *session)
{
    return session->listed != NULL && session_login(session) == NULL ? session->listed : "";
}

const Weir__SpamFacts *transaction_spam_facts(const struct transaction *tx, struct spam_told *told)
{
    const struct session *session = tx->session;
    if (!is_asked(session))
        return NULL;
    spam_told_init(told);
    told->facts.client_name = wire_text_cut(session_client_name(session), WIRE_ADDRESS_MAX);
    if (strcmp(session_client_name(session), "unknown") == 0)
        told->facts.client_name = wire_text("");
    told->facts.login = wire_text_cut(session_login(session), WIRE_LOGIN_MAX);
    told->facts.direction = session_is_inside(session) ? WEIR__DIRECTION__DIRECTION_OUTBOUND : WEIR__DIRECTION__DIRECTION_INBOUND;
    told->facts.edge = wire_text_cut(session->config->hostname, WIRE_ENDPOINT_MAX);
    told->facts.listed = wire_text_cut(listed(session), WIRE_WORDS_MAX);
    told->facts.ill_reputed = reputation_is_ill(session);
    for (unsigned i = 0; i < tx->replied && spam_told_add(told, wire_text_cut(tx->entries[i].address, WIRE_ADDRESS_MAX));)
        i++;
    return &told->facts;
}

/* ---- fates ---- */

static const char *domain_of(const char *address)
{
    const char *at = strrchr(address, '@');
    return at != NULL ? at + 1 : "";
}

static void bands_of(const struct transaction *tx, const struct entry *entry, struct spam_bands *bands)
{
    const struct session *session = tx->session;
    spam_bands_of(bands, &session->config->spam, session->server->policy, session_is_inside(session), domain_of(tx->sender), domain_of(entry->address));
}

void server_spam_bands(const struct server *server, const Weir__SpoolEnvelope *envelope, const char *address, struct spam_bands *out)
{
    char sender[WIRE_ADDRESS_MAX + 1];
    wire_string(sender, sizeof sender, &envelope->sender);
    spam_bands_of(out, &server->config->spam, server->policy, envelope->inside, domain_of(sender), domain_of(address));
}

static enum spam_fate fate_of(const struct transaction *tx, const struct entry *entry)
{
    struct spam_bands bands;
    bands_of(tx, entry, &bands);
    return spam_fate(&bands, tx->verdict->spam->score);
}

static bool is_judged(const struct entry *entry)
{
    return entry->leg != NULL && !entry->discard;
}

/* The lowest score from which on somebody's copy is spam: what X-Spam-Flag goes by. */
static uint32_t required_score(const struct transaction *tx)
{
    uint32_t required = SCORE_OFF;
    for (unsigned i = 0; i < tx->replied; i++) {
        struct spam_bands bands;
        if (!is_judged(&tx->entries[i]))
            continue;
        bands_of(tx, &tx->entries[i], &bands);
        required = bands.quarantine < required ? bands.quarantine : required;
    }
    return required;
}

static void apply(struct transaction *tx, struct entry *entry, enum spam_fate fate, bool refuses_all)
{
    metric_add(tx->session->server->spam_fates[fate], 1);
    switch (fate) {
    case SPAM_FATE_DELIVER:
        break;
    case SPAM_FATE_TAG:
        tx->tagged = true;
        break;
    case SPAM_FATE_REJECT:
        if (refuses_all)
            break;
        /* fall through */
    case SPAM_FATE_QUARANTINE:
        transaction_quarantine(tx, entry, WEIR__QUARANTINE__QUARANTINE_SPAM);
        break;
    case SPAM_FATE_DISCARD:
        transaction_discard(tx, entry, "spam");
        break;
    }
}

static void note_score(struct transaction *tx)
{
    const Weir__SpamResult *result = tx->verdict->spam;
    char score[SCORE_TEXT_MAX], symbols[SPAM_SYMBOLS_TEXT_MAX];
    spam_symbols_format(symbols, sizeof symbols, result);
    log_write(LOG_INFO, "%s: spam: score=%s tests=%s", tx->id.text, score_format(score, (int32_t)result->score), symbols);
    tx->scored = true;
    tx->score = result->score;
    tx->symbols = xstrdup(symbols);
}

/* Their own lists are asked about it, when it is stored. */
static void note_author(struct transaction *tx)
{
    char from[SMTP_ADDRESS_MAX];
    message_from(tx->message, from);
    const char *author = spam_author(tx->verdict->spam, from, tx->sender);
    tx->author = author != NULL ? xstrdup(author) : NULL;
}

static bool is_refused_for_want_of_engines(struct transaction *tx)
{
    const struct session *session = tx->session;
    if (!spam_is_incomplete(tx->verdict->spam))
        return false;
    metric_add(session->server->spam_incomplete, 1);
    /* Handoff's clients cannot come again. */
    return session->config->spam.spam_failure == SPAM_FAILURE_TEMPFAIL && session->limits->profile != PROFILE_HANDOFF;
}

bool transaction_judge_spam(struct transaction *tx, struct outcome *outcome)
{
    unsigned judged = 0, rejected = 0, discarded = 0;
    if (tx->verdict == NULL || tx->verdict->spam == NULL)
        return true;
    note_score(tx);
    if (is_refused_for_want_of_engines(tx)) {
        outcome_of_spam_engines(outcome, &tx->id);
        return false;
    }
    tx->required = required_score(tx);
    for (unsigned i = 0; i < tx->replied; i++) {
        if (!is_judged(&tx->entries[i]))
            continue;
        judged++;
        rejected += fate_of(tx, &tx->entries[i]) == SPAM_FATE_REJECT;
    }
    bool refuses_all = judged > 0 && rejected == judged;
    if (!refuses_all)
        note_author(tx);
    for (unsigned i = 0; i < tx->replied; i++) {
        if (!is_judged(&tx->entries[i]))
            continue;
        enum spam_fate fate = fate_of(tx, &tx->entries[i]);
        discarded += fate == SPAM_FATE_DISCARD;
        apply(tx, &tx->entries[i], fate, refuses_all);
    }
    if (refuses_all)
        outcome_of_spam(outcome, &tx->id);
    return !refuses_all && transaction_is_left(tx, discarded, "spam", outcome);
}

const char *transaction_doubt(const struct transaction *tx)
{
    return outcome_is_doubt(tx->verdict, &tx->session->config->edge) ? verdict_text(tx->verdict) : NULL;
}

/* Another MTA of the site, as far as can be told: results in our name may be what this cluster found when it had the mail before (RFC 8601 5). Mail clients and
 * devices find none, wherever they are; nor does whoever logs in. */
static bool is_site_mta(const struct session *session)
{
    return session->limits->profile == PROFILE_RELAY && session_login(session) == NULL && session_is_inside(session);
}

char *transaction_dress(struct transaction *tx, bool virus_line, size_t *len, uint64_t *skip)
{
    const struct session *session = tx->session;
    char received[RECEIVED_MAX];
    struct dress dress = {
        .settings = &session->config->spam,
        .hostname = session->config->hostname,
        .cluster_names = server_names(session->server),
        .scan = tx->verdict,
        .virus_line = virus_line,
        .distrusted = !is_site_mta(session),
        .from_outside = !session_is_inside(session),
        .outbound = session_is_inside(session),
        .tag = tx->tagged,
        .doubt = transaction_doubt(tx),
        .listed = *listed(session) != '\0' ? session->listed : NULL,
        .required = tx->required,
        .sender = tx->sender,
        .helo = session->helo,
        .received = received,
        .received_len = transaction_received(tx, received),
    };
    return message_dress(&dress, tx->message, len, skip);
}

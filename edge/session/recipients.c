/*
 * recipients.c - the recipients of a transaction: may they be reached, through whom, and what their next hops say
 *
 * Each recipient goes into `entries`; answers of one next hop arrive in their order, and replies are given in the order of the commands. Recipients of
 * several next hops are fine: then the message goes into the spool.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/fair.h"
#include "common/memory.h"
#include "edge/session/transaction.h"
#include "edge/spam/dress.h"

#define EXPANDED_MAX 5000 /* recipients of one message, with all that aliases stand for: each is a row, and most go in one statement */
#define PACKED_MAX   WIRE_LIST_MAX
#define PACKED_EXTRA 36 /* of one recipient, besides its texts: their heads, numbers, why it is in quarantine, and what a lease adds */

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

/* next_hop: whose words these are; NULL: ours. */
static void entry_refuse(struct entry *entry, unsigned stage, int code, const char *enhanced, const char *why, const char *next_hop,
                         const char *text)
{
    size_t len = strlen(text);
    struct answer *answer = xmalloc(sizeof *answer + len + 1);
    *answer = (struct answer){ .stage = stage, .code = code, .why = why };
    snprintf(answer->enhanced, sizeof answer->enhanced, "%s", enhanced);
    memcpy(answer->text, text, len + 1);
    answer->next_hop = next_hop != NULL ? xstrdup(next_hop) : NULL;
    entry->answer = answer;
}

static void answer_free(struct answer *answer)
{
    if (answer != NULL)
        free(answer->next_hop);
    free(answer);
}

void entry_fini(struct entry *entry)
{
    verify_wait_cancel(&entry->verified);
    free(entry->address);
    free(entry->given);
    free(entry->orcpt);
    free(entry->owner);
    answer_free(entry->answer);
}

unsigned entry_notify(const struct entry *entry)
{
    return entry->owner != NULL ? 0 : entry->notify;
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
    struct report report = transaction_report(tx);
    report.policy_epoch = entry->policy_epoch;
    report.rule = entry->rule;
    report.given = entry->given;
    char said[SMTP_REPLY_TEXT_MAX + 32] = "";
    if (answer->next_hop != NULL)
        snprintf(said, sizeof said, "%d %s %s", answer->code, answer->enhanced, answer->text);
    report.next_hop = answer->next_hop != NULL ? answer->next_hop : "";
    report.next_hop_reply = said;
    if (!entry->silent)
        report_reject(tx->session, tx->replied > 0 ? tx->id.text : NULL, "RCPT", answer->code, answer->enhanced, answer->text,
                      tx->sender, entry->given != NULL ? entry->given : entry->address);
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
            if (!entry.silent)
                session_reply(tx->session, SMTP_VERB_RCPT, 250, "2.1.5", "Ok");
            tx->entries[keep++] = entry;
            continue;
        }
        if (!entry.silent)
            session_reply(tx->session, entry.answer->stage, entry.answer->code, entry.answer->enhanced, "%s", entry.answer->text);
        if (entry.address != NULL)
            report_refused_recipient(tx, &entry);
        tx->packed -= entry.packed;
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
    entry_refuse(entry_add(tx), stage, code, enhanced, NULL, NULL, text);
    give_replies(tx);
}

static void leg_free(struct leg **link)
{
    struct leg *leg = *link;
    *link = leg->next;
    delivery_cancel(&leg->delivery);
    free(leg->owner);
    free(leg);
}

void legs_free(struct transaction *tx)
{
    while (tx->legs != NULL)
        leg_free(&tx->legs);
    tx->direct = NULL;
}

/* Those whose next hop has refused all it was offered. */
static void free_idle_legs(struct transaction *tx)
{
    for (struct leg **link = &tx->legs; *link != NULL;) {
        if ((*link)->asked == 0 && (*link)->accepted == 0)
            leg_free(link);
        else
            link = &(*link)->next;
    }
}

static bool is_same_owner(const char *one, const char *other)
{
    return strcmp(one != NULL ? one : "", other != NULL ? other : "") == 0;
}

/* owner: of the list that the recipient is on; NULL: none. Next hops are asked in a transaction, which has one sender: as from each by itself. */
static struct leg *leg_to(struct transaction *tx, const struct next_hop *hop, const char *owner)
{
    if (tx->session->limits->profile != PROFILE_RELAY)
        owner = NULL; /* nobody is asked */
    for (struct leg *leg = tx->legs; leg != NULL; leg = leg->next)
        if (next_hop_is_same(&leg->hop, hop) && is_same_owner(leg->owner, owner))
            return leg;
    free_idle_legs(tx);
    struct leg *leg = xcalloc(1, sizeof *leg);
    leg->tx = tx;
    leg->hop = *hop;
    leg->owner = owner != NULL ? xstrdup(owner) : NULL;
    leg->next = tx->legs;
    tx->legs = leg;
    return leg;
}

/* Its questions are answered. Those who are asked as from another sender may be waiting for its connection, as a next hop has only so many: the message is for the spool now. */
static void leg_give_back(struct leg *leg)
{
    if (leg->delivery != NULL)
        leg->size_limit = delivery_size_limit(leg->delivery);
    delivery_cancel(&leg->delivery);
}

static void give_back_others(const struct leg *leg)
{
    for (struct leg *other = leg->tx->legs; other != NULL; other = other->next)
        if (other != leg && other->asked == 0 && next_hop_is_same(&other->hop, &leg->hop))
            leg_give_back(other);
}

static void give_back_if_others_ask(struct leg *leg)
{
    bool waits = false;
    for (const struct leg *other = leg->tx->legs; other != NULL; other = other->next)
        waits |= other != leg && other->asked > 0 && next_hop_is_same(&other->hop, &leg->hop);
    if (waits && leg->asked == 0)
        leg_give_back(leg);
}

void leg_offer(struct leg *leg, struct entry *entry)
{
    struct transaction *tx = leg->tx;
    const char *owner = leg->owner != NULL ? leg->owner : tx->owner;
    if (leg->delivery == NULL) {
        give_back_others(leg);
        struct delivery_envelope envelope = { owner != NULL ? owner : tx->sender, tx->declared, tx->eightbit, tx->smtputf8, owner != NULL ? 0 : tx->ret, owner != NULL ? NULL : tx->envid,
                                              DELIVERY_SESSION, session_egress(tx->session), fair_source(tx->session->client_text, strlen(tx->session->client_text)) };
        leg->delivery = delivery_new(tx->session->server->pool, &leg->hop, &envelope, &transaction_delivery_handlers, leg);
        leg->first += leg->offered; /* who is on a list that others are still asked for has an ordinal of an earlier delivery */
        leg->offered = 0;
    }
    delivery_rcpt(leg->delivery, &(struct delivery_recipient){ entry->address, entry_notify(entry), entry->orcpt });
    leg->asked++;
    entry->ordinal = leg->first + leg->offered++;
    entry->asked = true;
}

/* The entry for the same address that the same next hop was asked about already, wanting the same reports; NULL: none. It may be a later one, which was verified
 * sooner. Not of a list: that has its own course. */
static const struct entry *asked_before(const struct transaction *tx, const struct entry *entry)
{
    for (const struct entry *other = tx->entries, *end = tx->entries + tx->count; other < end; other++)
        if (other != entry && other->leg == entry->leg && other->answer == NULL && other->verified == NULL && !other->listed &&
            entry_notify(other) == entry_notify(entry) && strcmp(other->address, entry->address) == 0)
            return other;
    return NULL;
}

/* One copy for whoever is named twice: the next hop hears of him once, and what it says is the answer to both. */
static bool follow_other(struct leg *leg, struct entry *entry)
{
    const struct entry *other = asked_before(leg->tx, entry);
    if (other == NULL)
        return false;
    entry->asked = entry->follows = other->asked;
    if (!other->asked) {
        leg->tx->to_deliver++;
        leg->accepted++;
    }
    return true;
}

/* The relay profile lets the next hop say what it thinks of the recipient: nothing is accepted that would have to be bounced to somebody who may
 * never have sent it. The others know who their clients are. */
static void entry_follow(struct entry *entry, struct leg *leg)
{
    entry->leg = leg;
    if (leg->tx->session->limits->profile == PROFILE_RELAY) {
        if (!follow_other(leg, entry))
            leg_offer(leg, entry);
    } else {
        leg->accepted++;
        leg->tx->to_deliver++;
    }
}

/* ---- verification ---- */

static void entry_refuse_unverified(struct leg *leg, struct entry *entry, const struct verify_opinion *opinion)
{
    bool missing = opinion->result == VERIFY_MISSING;
    char *text = missing ? xasprintf("<%s>: Recipient address rejected: %s", entry->address, opinion->text)
                         : xasprintf("<%s>: Recipient address cannot be verified now, try again later", entry->address);
    leg->tx->session->unknown += missing;
    entry->leg = NULL;
    entry_refuse(entry, SMTP_VERB_RCPT, missing ? 550 : 450, missing ? "5.1.1" : "4.1.1", "verify", NULL, text);
    free(text);
}

static void entry_use_opinion(struct leg *leg, struct entry *entry, const struct verify_opinion *opinion)
{
    bool defer = leg->tx->session->config->edge.verify_unknown == VERIFY_UNKNOWN_DEFER;
    if (opinion->result == VERIFY_MISSING || (opinion->result == VERIFY_UNKNOWN && defer))
        entry_refuse_unverified(leg, entry, opinion);
    else
        entry_follow(entry, leg);
}

static void on_verified(void *arg, const struct verify_wait *wait, const struct verify_opinion *opinion)
{
    struct transaction *tx = arg;
    struct session *session = tx->session;
    unsigned at = tx->replied;
    while (at < tx->count && tx->entries[at].verified != wait)
        at++;
    weir_assert(at < tx->count); /* an entry that goes cancels its wait */
    struct entry *entry = &tx->entries[at];
    entry->verified = NULL;
    entry->asked = false;
    entry->leg->asked--;
    entry_use_opinion(entry->leg, entry, opinion);
    session->input_ms = clock_ms(); /* until now the client waited for us */
    give_replies(tx);
    session_settle(session);
}

/* The leg counts it as asked meanwhile, so that it stays. */
static void entry_verify(struct entry *entry, struct leg *leg)
{
    struct transaction *tx = leg->tx;
    struct verify_opinion opinion;
    entry->leg = leg;
    entry->verified = verifier_ask(tx->session->server->verifier, &leg->hop, entry->address, &opinion, on_verified, tx);
    entry->asked = entry->verified != NULL;
    if (entry->asked)
        leg->asked++;
    else
        entry_use_opinion(leg, entry, &opinion);
}

/* RFC 3461 5.2.2: a next hop that does not know DSN leaves the report about success to us, and only the spool makes reports. */
static bool wants_relayed_report(const struct transaction *tx, const struct leg *leg)
{
    bool wanted = false;
    for (unsigned i = 0; i < tx->replied; i++)
        wanted |= tx->entries[i].leg == leg && (entry_notify(&tx->entries[i]) & SMTP_NOTIFY_SUCCESS) != 0;
    return wanted && *tx->sender != '\0' && !delivery_hop_takes_dsn(leg->delivery);
}

/* What a next hop that was asked said that it takes at most is a limit of ours, so that the client hears of it and no report goes to a sender who may
 * never have sent it. Of a list, one next hop says nothing for the others. */
static void take_limits_of_hops(struct transaction *tx)
{
    uint64_t added = RECEIVED_MAX + message_dress_max(&tx->session->config->spam); /* bytes that we write in front of a message */
    for (unsigned i = 0; i < tx->replied; i++) {
        const struct leg *leg = tx->entries[i].leg;
        uint64_t most = leg == NULL || tx->entries[i].listed ? 0 : leg->delivery != NULL ? delivery_size_limit(leg->delivery) : leg->size_limit;
        if (most == 0)
            continue;
        most = most > added ? most - added : 1;
        if (most < tx->allowance.max_message_size)
            tx->allowance.max_message_size = most;
    }
}

/* Whose mail is held goes into the spool whatever its way would be: the message is taken, and rests there. */
static void look_for_stop(struct transaction *tx)
{
    const struct stop *stop = session_stop(tx->session);
    if (stop != NULL && stop->state != WEIR__OUTBOUND_STATE__OUTBOUND_THROTTLED)
        tx->stopped = xstrdup(stop->subject);
}

/* ---- recipients that were named more than once ---- */

/* All that somebody asked to hear of the same recipient. */
static unsigned notify_merge(unsigned one, unsigned other)
{
    const unsigned by_default = SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY;
    if (one == other || other == SMTP_NOTIFY_NEVER)
        return one;
    if (one == SMTP_NOTIFY_NEVER)
        return other;
    return (one != 0 ? one : by_default) | (other != 0 ? other : by_default);
}

static void mark_repeated(struct transaction *tx, struct domains *seen, bool by_alias)
{
    for (unsigned i = 0; i < tx->replied; i++) {
        struct entry *entry = &tx->entries[i];
        if (entry->leg == NULL || (entry->given != NULL) != by_alias)
            continue;
        uint32_t first = domains_add(seen, entry->address, i);
        if (first == DOMAINS_NONE)
            continue;
        tx->entries[first].notify = notify_merge(tx->entries[first].notify, entry->notify);
        entry->repeated = true;
    }
}

static void drop_repeated_entry(struct transaction *tx, struct entry *entry)
{
    entry->leg->accepted--;
    tx->to_deliver--;
    tx->kept -= entry->quarantine != WEIR__QUARANTINE__QUARANTINE_NOT;
    tx->silent -= entry->silent;
    tx->packed -= entry->packed;
    entry_fini(entry);
}

/* One copy for each, as the spool would make two where a next hop takes so many recipients at once and no more. Who was named himself stays before who
 * is on a list: a report that is about both must not say who is on it. */
static void drop_repeated(struct transaction *tx)
{
    struct domains seen = { 0 };
    unsigned keep = 0;
    mark_repeated(tx, &seen, false);
    mark_repeated(tx, &seen, true);
    domains_fini(&seen);
    for (unsigned i = 0; i < tx->replied; i++) {
        if (tx->entries[i].repeated)
            drop_repeated_entry(tx, &tx->entries[i]);
        else
            tx->entries[keep++] = tx->entries[i];
    }
    memmove(&tx->entries[keep], &tx->entries[tx->replied], (tx->count - tx->replied) * sizeof *tx->entries);
    tx->count -= tx->replied - keep;
    tx->replied = keep;
}

void transaction_leave_hops(struct transaction *tx)
{
    tx->spool = true;
    tx->direct = NULL;
    for (struct leg *leg = tx->legs; leg != NULL; leg = leg->next)
        delivery_cancel(&leg->delivery); /* its recipients are accepted; the message comes from the spool */
}

/* With others that have another owner, or none, none is the sender of them all: then it is the client's own, and the spool is told of theirs. */
static void find_owner(struct transaction *tx)
{
    const struct entry *first = NULL;
    for (unsigned i = 0; i < tx->replied; i++) {
        const struct entry *entry = &tx->entries[i];
        if (entry->leg == NULL)
            continue;
        if (first == NULL)
            first = entry;
        else if (!is_same_owner(first->owner, entry->owner))
            return;
    }
    if (first != NULL && first->owner != NULL)
        tx->owner = xstrdup(first->owner);
}

void transaction_choose_way(struct transaction *tx)
{
    free_idle_legs(tx);
    look_for_stop(tx);
    bool lists = tx->silent > 0; /* most on them were not asked, whoever of them was named besides */
    drop_repeated(tx);
    find_owner(tx);
    tx->spool = tx->stopped != NULL || tx->session->limits->profile != PROFILE_RELAY || lists || tx->legs->next != NULL || tx->legs->delivery == NULL ||
                wants_relayed_report(tx, tx->legs);
    if (!tx->spool) {
        tx->direct = tx->legs;
        return;
    }
    if (tx->session->limits->profile == PROFILE_RELAY)
        take_limits_of_hops(tx);
    transaction_leave_hops(tx);
}

/* Recipients that were accepted or may still be: of a list whose first addresses are refused, too. */
static unsigned transaction_valid(const struct transaction *tx)
{
    unsigned valid = tx->replied;
    for (unsigned i = tx->replied; i < tx->count; i++)
        valid += tx->entries[i].address != NULL && (tx->entries[i].answer == NULL || tx->entries[i].asked);
    return valid - tx->silent;
}

bool transaction_may_be_full(const struct transaction *tx)
{
    return transaction_unanswered(tx) > 0 && transaction_valid(tx) >= tx->allowance.max_recipients;
}

static void entry_name(struct transaction *tx, struct entry *entry, const struct relay_answer *relay, const struct smtp_command *rcpt)
{
    bool aliased = strcmp(relay->address, relay->asked) != 0;
    free(entry->address);
    free(entry->given);
    free(entry->orcpt);
    entry->address = xstrdup(relay->address);
    entry->given = aliased ? xstrdup(relay->asked) : NULL;
    entry->policy_epoch = tx->session->server->policy_epoch;
    memcpy(entry->rule, relay->rule, sizeof entry->rule);
    entry->notify = rcpt->notify;
    entry->orcpt = *rcpt->orcpt != '\0' ? xstrdup(rcpt->orcpt) : NULL;
    if (entry->orcpt == NULL && aliased) /* a report is about the name that its reader knows */
        entry->orcpt = xasprintf("rfc822;%s", relay->asked);
}

/* What the spool has to keep of the recipient, in bytes: so many at most. What is accepted must be sure to fit its list. */
static size_t packed_size(const struct relay_answer *relay, const struct smtp_command *rcpt)
{
    char destination[NEXT_HOP_TEXT_MAX];
    if (relay->result != RELAY_TO_NEXT_HOP)
        return 0;
    size_t size = strlen(relay->address) + strlen(next_hop_format(destination, &relay->hop)) + PACKED_EXTRA;
    if (strcmp(relay->address, relay->asked) != 0) /* the name in front of it: in `original`, or beside the client's */
        size += strlen("rfc822;") + strlen(relay->asked);
    if (strchr(relay->asked, '"') != NULL) /* in both: wire_recipient_name() leaves out a plain one only */
        size += strlen(relay->asked);
    return size + strlen(rcpt->orcpt);
}

static void entry_count_packed(struct transaction *tx, struct entry *entry, const struct relay_answer *relay, const struct smtp_command *rcpt)
{
    entry->packed = packed_size(relay, rcpt);
    tx->packed += entry->packed;
}

/* For now: the client may come again with them in a transaction of their own (RFC 5321 4.5.3.1.10). */
static void entry_refuse_too_many(const struct transaction *tx, struct entry *entry)
{
    server_count_limit(tx->session->server, LIMIT_RECIPIENTS);
    entry_refuse(entry, SMTP_VERB_RCPT, 452, "4.5.3", "recipients", NULL, "Too many recipients");
}

static void entry_refuse_by_hop(struct entry *entry, const struct leg *leg, const struct smtp_reply *reply)
{
    struct smtp_reply answer = *reply;
    reply_normalize(&answer, "2.1.5");
    if (answer.code == 421) /* would close a session that has nothing wrong with it */
        answer.code = 450;
    entry_refuse(entry, SMTP_VERB_RCPT, answer.code, answer.enhanced, "next-hop", reply->own ? NULL : delivery_next_hop_text(leg->delivery), answer.text);
}

/* ---- aliases for several addresses ---- */

struct expansion {
    struct transaction *tx;
    const struct smtp_command *rcpt;
    const char *owner;           /* NULL: none */
    unsigned first, count;       /* entries */
    unsigned refusals;           /* of them, by the policy */
    size_t packed;               /* bytes of their list */
    struct relay_answer refused; /* the first of these, of those that are refused for now where there is one */
};

/* Who is refused by the policy, on a list whose others are not: the spool has its words in place of a next hop, and tells the sender or the list's owner.
 * `asked` is left out of them, so that all who are refused for one reason are one destination. */
static const struct relay_answer *for_spool(struct relay_answer *kept, const struct relay_answer *target)
{
    if (target->result != RELAY_REFUSED)
        return target;
    const char *text = strstr(target->text, ">: ");
    *kept = *target;
    kept->result = RELAY_TO_NEXT_HOP;
    next_hop_set_refusal(&kept->hop, target->code, target->enhanced, text != NULL ? text + strlen(">: ") : target->text);
    return kept;
}

static void look_for_refused(void *arg, const struct relay_answer *target)
{
    struct expansion *expansion = arg;
    struct relay_answer kept;
    expansion->count++;
    expansion->packed += packed_size(for_spool(&kept, target), expansion->rcpt);
    if (target->result == RELAY_REFUSED && (expansion->refusals++ == 0 || (target->code / 100 == 4 && expansion->refused.code / 100 == 5)))
        expansion->refused = *target;
}

/* RFC 3461 5.2.7.2 lets an alias for several addresses keep success to itself: reports of it would tell any stranger who all its members are. */
static unsigned notify_of_several(unsigned notify)
{
    unsigned kept = notify & ~(unsigned)SMTP_NOTIFY_SUCCESS;
    return notify != 0 && kept == 0 ? SMTP_NOTIFY_NEVER : kept;
}

static void entry_own(struct entry *entry, const char *owner)
{
    free(entry->owner);
    entry->owner = owner != NULL ? xstrdup(owner) : NULL;
}

static void add_expanded(void *arg, const struct relay_answer *decided)
{
    struct expansion *expansion = arg;
    struct relay_answer kept;
    const struct relay_answer *target = for_spool(&kept, decided);
    struct transaction *tx = expansion->tx;
    bool first = expansion->count == 0;
    struct entry *entry = first ? &tx->entries[expansion->first] : entry_add(tx);
    expansion->count++;
    entry->listed = true;
    if (!first) {
        tx->rcpts++;
        tx->silent++;
        entry->silent = true;
    }
    entry_name(tx, entry, target, expansion->rcpt);
    entry->notify = notify_of_several(expansion->rcpt->notify);
    entry->expands = (expansion->rcpt->notify & SMTP_NOTIFY_SUCCESS) != 0;
    entry_own(entry, expansion->owner);
    entry_count_packed(tx, entry, target, expansion->rcpt);
    if (target->result == RELAY_DISCARD) {
        entry->discard = true;
        tx->to_discard++;
        return;
    }
    entry->leg = leg_to(tx, &target->hop, entry->owner);
    entry->leg->accepted++;
    tx->to_deliver++;
}

/* Behind the last of those that one RCPT command stands for; first: its own entry. */
static unsigned list_end(const struct transaction *tx, unsigned first)
{
    unsigned end = first + 1;
    while (end < tx->count && tx->entries[end].silent)
        end++;
    return end;
}

/* Each goes on to the spool: the client gets one answer for all of them, so what a next hop refuses later is told by a report. */
static void list_accept(struct transaction *tx, unsigned first)
{
    for (unsigned i = first, end = list_end(tx, first); i < end; i++) {
        struct entry *entry = &tx->entries[i];
        answer_free(entry->answer);
        entry->answer = NULL;
        entry->asked = false;
    }
}

/* Nobody is left who would take the message, and the report would go to a sender who may never have sent it. The first one's answer is the client's.
 * For now only, where some are refused and the others could not be asked: accepted, a dead list would be one that is only long. */
static void list_refuse(struct transaction *tx, unsigned first)
{
    for (unsigned i = first, end = list_end(tx, first); i < end; i++) {
        struct entry *entry = &tx->entries[i];
        struct smtp_reply refusal;
        if (entry->answer == NULL && next_hop_refusal(&entry->leg->hop, &refusal))
            entry_refuse(entry, SMTP_VERB_RCPT, refusal.code, refusal.enhanced, "route", NULL, refusal.text);
        entry->leg->accepted--;
        tx->to_deliver--;
        tx->silent -= entry->silent;
        entry->leg = NULL;
        entry->asked = false;
    }
}

#define NOT_OFFERED UINT_MAX

/* `at`, or the next one behind it, and around, who has a next hop that can be asked. There is one. */
static unsigned list_askable(const struct transaction *tx, unsigned first, unsigned end, unsigned at)
{
    struct smtp_reply refusal;
    while (next_hop_refusal(&tx->entries[at].leg->hop, &refusal))
        at = at + 1 < end ? at + 1 : first;
    return at;
}

/* Who of entries [first, end) is asked first: somebody else at each try. A list whose first members have all left would be refused for ever by a
 * host that hears no more than so many of them. */
static unsigned list_start(const struct transaction *tx, unsigned first, unsigned end)
{
    return list_askable(tx, first, end, first + (unsigned)(queue_id_scatter(&tx->id) % (end - first)));
}

/* Whom the policy refuses for now may be reached in a while: the list lives. refusal: the first one's. */
static bool list_has_deferred(const struct transaction *tx, unsigned first, unsigned end, struct smtp_reply *refusal)
{
    for (unsigned i = first; i < end; i++)
        if (next_hop_refusal(&tx->entries[i].leg->hop, refusal) && refusal->code / 100 == 4)
            return true;
    return false;
}

/* All of them hear the same: what is only for now is so for the whole command. */
static void list_refuse_as(struct transaction *tx, unsigned first, const struct smtp_reply *refusal)
{
    for (unsigned i = first, end = list_end(tx, first); i < end; i++) {
        answer_free(tx->entries[i].answer);
        entry_refuse(&tx->entries[i], SMTP_VERB_RCPT, refusal->code, refusal->enhanced, "route", NULL, refusal->text);
    }
    list_refuse(tx, first);
}

/* With the relay profile their next hops are asked in turn, until one does not refuse for good: a list that lives costs one question. */
static void list_follow(struct transaction *tx, unsigned first)
{
    unsigned end = list_end(tx, first);
    for (unsigned i = first; i < end; i++)
        if (tx->entries[i].discard)
            return;
    for (unsigned i = first; i < end; i++) {
        tx->entries[i].asked = true;
        tx->entries[i].ordinal = NOT_OFFERED;
    }
    struct entry *start = &tx->entries[list_start(tx, first, end)];
    leg_offer(start->leg, start);
}

/* The questions have ended without an answer: the host is lost, or has heard enough of them. */
static bool says_nothing_of_recipient(const struct smtp_reply *reply)
{
    return reply->closing || (reply->own && reply->code / 100 == 4);
}

/* The next hop of the one at `at` has answered. Those that were asked before it were refused for good. */
static void list_answered(struct transaction *tx, unsigned at, const struct smtp_reply *reply)
{
    unsigned first = at;
    while (tx->entries[first].silent)
        first--;
    unsigned end = list_end(tx, first), start = list_start(tx, first, end), next = list_askable(tx, first, end, at + 1 < end ? at + 1 : first);
    const struct leg *asked = tx->entries[at].leg;
    if (reply->code / 100 == 5) {
        entry_refuse_by_hop(&tx->entries[at], asked, reply);
        if (next != start) {
            leg_offer(tx->entries[next].leg, &tx->entries[next]);
            return;
        }
        struct smtp_reply refusal;
        if (list_has_deferred(tx, first, end, &refusal)) { /* accepted, those who are refused would be told of to a sender who may never have sent it */
            list_refuse_as(tx, first, &refusal);
            return;
        }
        tx->session->unknown++;
        list_refuse(tx, first);
    } else if (at != start && says_nothing_of_recipient(reply)) {
        for (unsigned i = first; i < end; i++) {
            answer_free(tx->entries[i].answer);
            entry_refuse_by_hop(&tx->entries[i], asked, reply);
        }
        list_refuse(tx, first);
    } else {
        list_accept(tx, first);
    }
}

static const char *owner_for(const struct transaction *tx, const struct relay_answer *relay)
{
    return *tx->sender == '\0' ? "" : relay->owner; /* what comes from nobody must not come back to anybody (RFC 5321 6.1) */
}

/* The last entry is the RCPT command's. It is refused where the policy refuses them all. */
static void expand(struct transaction *tx, const struct relay_answer *several, const struct smtp_command *rcpt)
{
    struct session *session = tx->session;
    const struct policy *policy = session->server->policy;
    bool mx_delivery = session->config->edge.mx_delivery;
    char *owner = tx->entries[tx->count - 1].owner != NULL ? xstrdup(tx->entries[tx->count - 1].owner) : NULL;
    struct expansion expansion = { .tx = tx, .rcpt = rcpt, .owner = owner, .first = tx->count - 1 };
    relay_expand(several, policy, mx_delivery, &rcpt->address, look_for_refused, &expansion);
    if (expansion.refusals == expansion.count) {
        const struct relay_answer *refused = &expansion.refused;
        memcpy(tx->entries[expansion.first].rule, refused->rule, sizeof refused->rule);
        entry_refuse(&tx->entries[expansion.first], SMTP_VERB_RCPT, refused->code, refused->enhanced, refused->why, NULL, refused->text);
    } else if (tx->count + expansion.count > EXPANDED_MAX || tx->packed + expansion.packed > PACKED_MAX) {
        entry_refuse_too_many(tx, &tx->entries[expansion.first]);
    } else {
        expansion.count = 0;
        relay_expand(several, policy, mx_delivery, &rcpt->address, add_expanded, &expansion);
        if (session->limits->profile == PROFILE_RELAY)
            list_follow(tx, expansion.first);
    }
    free(owner);
}

/* What the client of this listener hears about the recipient, before anybody else is asked. */
static void decide(const struct transaction *tx, const struct smtp_command *rcpt, struct relay_answer *relay)
{
    const struct session *session = tx->session;
    struct relay_client client = { &session->client, session->limits, session_login(session) != NULL, (int64_t)(clock_wall_ms() / 1000) };
    relay_decide(relay, session->server->policy, session->config->edge.mx_delivery, &client, &rcpt->address);
}

static bool has_room_for(const struct transaction *tx, const char *owner)
{
    return *owner == '\0' || (tx->owners < WIRE_SPOOL_OWNERS_MAX && tx->owners_size + strlen(owner) <= WIRE_SPOOL_OWNERS_SIZE);
}

enum obstacle { OBSTACLE_NONE, OBSTACLE_POLICY, OBSTACLE_LISTED, OBSTACLE_FULL };

/* Why we refuse the recipient ourselves. It is none of the transaction's yet. */
static enum obstacle obstacle_to(const struct transaction *tx, const struct relay_answer *relay, const struct smtp_command *rcpt)
{
    const struct session *session = tx->session;
    bool role = rcpt->address.kind == SMTP_ADDRESS_POSTMASTER || relay_is_role(rcpt->address.local);
    unsigned valid = transaction_valid(tx);
    if (relay->result == RELAY_REFUSED)
        return OBSTACLE_POLICY;
    if (session->listed != NULL && session->listed_refused && session_login(session) == NULL && !role)
        return OBSTACLE_LISTED;
    bool full = valid >= tx->allowance.max_recipients || (session->limits->profile == PROFILE_RELAY && !has_room_for(tx, owner_for(tx, relay)));
    return full ? OBSTACLE_FULL : OBSTACLE_NONE;
}

bool transaction_may_take(const struct transaction *tx, const struct smtp_command *rcpt)
{
    struct relay_answer relay;
    decide(tx, rcpt, &relay);
    return obstacle_to(tx, &relay, rcpt) == OBSTACLE_NONE;
}

static void entry_refuse_listed(struct entry *entry, const struct session *session)
{
    const char *own = session->config->edge.dnsbl_text;
    bool named = own == NULL || *own == '\0';
    char text[SMTP_REPLY_TEXT_MAX];
    snprintf(text, sizeof text, "Service unavailable; client [%s] blocked%s%s", session->client_text, named ? " using " : ": ",
             named ? session->listed : own);
    entry_refuse(entry, SMTP_VERB_RCPT, session->listed_surely ? 550 : 450, session->listed_surely ? "5.7.1" : "4.7.1", "dnsbl", NULL, text);
}

/* Counted even where the message may never see the spool: only the last recipient tells. */
static void to_next_hop(struct transaction *tx, struct entry *entry, const struct relay_answer *relay, const struct smtp_command *rcpt)
{
    if (tx->packed + packed_size(relay, rcpt) > PACKED_MAX) {
        entry_refuse_too_many(tx, entry);
        return;
    }
    entry_count_packed(tx, entry, relay, rcpt);
    if (relay->verify)
        entry_verify(entry, leg_to(tx, &relay->hop, entry->owner));
    else
        entry_follow(entry, leg_to(tx, &relay->hop, entry->owner));
}

static void entry_refuse_limited(struct entry *entry, const struct limit_verdict *verdict)
{
    char text[SMTP_REPLY_TEXT_MAX];
    entry_refuse(entry, SMTP_VERB_RCPT, 450, "4.7.1", "limit", NULL, limits_text(text, verdict));
}

static void entry_refuse_by_policy(struct session *session, struct entry *entry, const struct relay_answer *relay)
{
    session->errors += relay->code / 100 == 5;
    if (strcmp(relay->why, "relay") == 0)
        metric_add(session->port->relay_refused, 1);
    if (strcmp(relay->why, "unregistered") == 0)
        metric_add(session->port->unregistered[1], 1);
    entry_refuse(entry, SMTP_VERB_RCPT, relay->code, relay->enhanced, relay->why, NULL, relay->text);
}

static void entry_accept(struct transaction *tx, struct entry *entry, const struct relay_answer *relay, const struct smtp_command *rcpt)
{
    if (session_origin(tx->session) == WEIR__ORIGIN__ORIGIN_INSIDE)
        metric_add(tx->session->port->unregistered[0], 1);
    const char *owner = owner_for(tx, relay);
    if (*owner != '\0' && has_room_for(tx, owner)) { /* where not: its clients may not come again, so that the sender stays the client's */
        tx->owners++;
        tx->owners_size += strlen(owner);
        entry_own(entry, owner);
    }
    if (relay->result == RELAY_SEVERAL) {
        expand(tx, relay, rcpt);
    } else if (relay->result == RELAY_DISCARD) {
        entry->discard = true;
        tx->to_discard++;
    } else {
        to_next_hop(tx, entry, relay, rcpt);
    }
}

void transaction_rcpt(struct transaction *tx, const struct smtp_command *rcpt, const struct limit_verdict *verdict)
{
    struct session *session = tx->session;
    struct relay_answer relay;
    decide(tx, rcpt, &relay);
    enum obstacle obstacle = obstacle_to(tx, &relay, rcpt);

    struct entry *entry = entry_add(tx);
    tx->rcpts++;
    entry_name(tx, entry, &relay, rcpt);
    switch (obstacle) {
    case OBSTACLE_POLICY:
        entry_refuse_by_policy(session, entry, &relay);
        break;
    case OBSTACLE_LISTED:
        session->errors++;
        server_count_stopped(session->server, LAYER_DNS_LIST);
        entry_refuse_listed(entry, session);
        break;
    case OBSTACLE_FULL:
        entry_refuse_too_many(tx, entry);
        break;
    case OBSTACLE_NONE:
        if (verdict->refused)
            entry_refuse_limited(entry, verdict);
        else
            entry_accept(tx, entry, &relay, rcpt);
        break;
    }
    give_replies(tx);
}

static void entry_answered(struct leg *leg, struct entry *entry, const struct smtp_reply *reply)
{
    entry->asked = false;
    if (reply->code / 100 == 2) {
        leg->tx->to_deliver++;
        leg->accepted++;
        return;
    }
    entry_refuse_by_hop(entry, leg, reply);
    leg->tx->session->unknown += entry->answer->code / 100 == 5;
    entry->leg = NULL;
}

void transaction_on_recipient(void *arg, unsigned index, const struct smtp_reply *reply)
{
    struct leg *leg = arg;
    struct transaction *tx = leg->tx;
    struct session *session = tx->session;
    leg->asked--;
    if (tx->in_session) {
        transaction_late_answer(tx, reply);
        session_settle(session);
        return;
    }
    unsigned at = tx->replied;
    /* Not just the first one of its that is asked: one before it may still be verified. */
    while (at < tx->count && !(tx->entries[at].asked && !tx->entries[at].follows && tx->entries[at].leg == leg && tx->entries[at].verified == NULL && tx->entries[at].ordinal == leg->first + index))
        at++;
    if (at == tx->count)
        return;
    struct entry *entry = &tx->entries[at];
    if (entry->listed) {
        list_answered(tx, at, reply);
    } else {
        for (unsigned i = tx->replied; i < tx->count; i++)
            if (tx->entries[i].follows && tx->entries[i].asked && tx->entries[i].leg == leg && strcmp(tx->entries[i].address, entry->address) == 0)
                entry_answered(leg, &tx->entries[i], reply);
        entry_answered(leg, entry, reply);
    }
    give_back_if_others_ask(leg);
    session->input_ms = clock_ms(); /* until now the client waited for us */
    give_replies(tx);
    session_settle(session);
}

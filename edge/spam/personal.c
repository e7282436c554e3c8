/* personal.c - see personal.h */
#include "edge/spam/personal.h"
#include <stdlib.h>
#include "common/memory.h"
#include "proto/wire.h"

struct node_question *personal_ask(struct node *node, const Weir__SpoolRecipients *recipients, const struct personal_facts *facts, uint64_t timeout_ms,
                                   node_answer_handler handler, void *arg)
{
    Weir__PersonalAsk ask = WEIR__PERSONAL_ASK__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    ProtobufCBinaryData senders[WIRE_AUTHORS_MAX];
    struct link_payload payload;
    ask.senders = senders;
    if (*facts->sender != '\0')
        senders[ask.n_senders++] = wire_text_cut(facts->sender, WIRE_ADDRESS_MAX);
    if (*facts->from != '\0')
        senders[ask.n_senders++] = wire_text_cut(facts->from, WIRE_ADDRESS_MAX);
    ask.author = wire_text_cut(facts->author, WIRE_ADDRESS_MAX);
    question.body_case = WEIR__QUESTION__BODY_PERSONAL_ASK;
    question.personal_ask = &ask;
    uint8_t *list = wire_recipients_encode(recipients, &payload.len);
    payload.data = list;
    struct node_question *asked = node_ask(node, &question, &payload, 1, timeout_ms, handler, arg);
    free(list);
    return asked;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t *sorted(const uint32_t *indexes, size_t count)
{
    uint32_t *copy = xcalloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = indexes[i];
    qsort(copy, count, sizeof *copy, compare);
    return copy;
}

bool personal_take(struct personal *personal, const Weir__Answer *answer)
{
    if (answer == NULL || answer->body_case != WEIR__ANSWER__BODY_PERSONAL_KNOWN)
        return false;
    const Weir__PersonalKnown *known = answer->personal_known;
    personal_fini(personal);
    personal->safe = sorted(known->safe, known->n_safe);
    personal->n_safe = known->n_safe;
    personal->blocked = sorted(known->blocked, known->n_blocked);
    personal->n_blocked = known->n_blocked;
    return true;
}

void personal_fini(struct personal *personal)
{
    free(personal->safe);
    free(personal->blocked);
    *personal = (struct personal){ 0 };
}

bool personal_is_safe(const struct personal *personal, uint32_t index)
{
    return personal->n_safe > 0 && bsearch(&index, personal->safe, personal->n_safe, sizeof index, compare) != NULL;
}

bool personal_is_blocked(const struct personal *personal, uint32_t index)
{
    return personal->n_blocked > 0 && bsearch(&index, personal->blocked, personal->n_blocked, sizeof index, compare) != NULL;
}

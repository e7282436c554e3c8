/*
 * store.c - see store.h
 */
#include "edge/spool/store.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/memory.h"
#include "common/queue_id.h"

#define AGAIN_MS 100u

struct spool_store {
    struct node *node;
    struct ahead_window window;   /* what is under way */
    Weir__SpoolEnvelope *envelope; /* own copy, until the first chunk was taken */
    uint8_t *recipients;
    size_t recipients_len;
    struct event *again;          /* there was no room for the question */
    uint64_t patience_ms;         /* until when it may wait for that */
    char id[QUEUE_ID_LEN + 1];
    char *prefix;
    size_t prefix_len;
    uint64_t skip;
    const struct message *message;
    uint64_t size, offset;        /* of prefix and message together; what is taken */
    uint64_t asked;               /* where the next chunk begins: behind what is taken or under way */
    uint64_t timeout_ms;
    bool always;                  /* as in the options */
    bool late;                    /* the last chunk is under way, and nothing else */
    bool scanned;                 /* these five go with the last chunk, too */
    char verdict[64], scanner[64], engine[64], signatures[64];
    uint32_t *let_in;             /* as the answer to the first chunk has it, in order; NULL: none */
    size_t let_in_count;
    spool_stored_handler stored;
    void *arg;
};

static void on_answer(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count);

static void store_free(struct spool_store *store)
{
    if (store->envelope != NULL)
        weir__spool_envelope__free_unpacked(store->envelope, NULL);
    ahead_window_clear(&store->window);
    event_free(store->again);
    free(store->recipients);
    free(store->prefix);
    free(store->let_in);
    free(store);
}

void spool_store_cancel(struct spool_store **storep)
{
    struct spool_store *store = *storep;
    *storep = NULL;
    if (store == NULL)
        return;
    store_free(store);
}

bool spool_store_is_late(const struct spool_store *store)
{
    return store->late;
}

static int compare_indexes(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;
    return (one > other) - (one < other);
}

bool spool_store_let_in(const struct spool_store *store, uint32_t index)
{
    return store->let_in_count > 0 && bsearch(&index, store->let_in, store->let_in_count, sizeof index, compare_indexes) != NULL;
}

static void take_let_in(struct spool_store *store, const Weir__SpoolStored *stored)
{
    if (stored->n_let_in == 0)
        return;
    free(store->let_in);
    store->let_in_count = stored->n_let_in;
    store->let_in = xmemdup(stored->let_in, stored->n_let_in * sizeof *stored->let_in);
    qsort(store->let_in, store->let_in_count, sizeof *store->let_in, compare_indexes);
}

static void store_end(struct spool_store *store, enum spool_stored stored, const char *why)
{
    store->stored(store->arg, stored, why);
    store_free(store);
}

/* The bytes of one: prefix first, then the message. NULL: why. */
static char *read_chunk(const struct spool_store *store, const struct ahead_piece *piece, struct error *why)
{
    size_t want = (size_t)(piece->end - piece->offset), have = 0;
    char *chunk = xmalloc(want > 0 ? want : 1);
    if (piece->offset < store->prefix_len) {
        have = store->prefix_len - (size_t)piece->offset;
        have = have < want ? have : want;
        memcpy(chunk, store->prefix + piece->offset, have);
    }
    while (have < want) {
        ssize_t got = message_read(store->message, store->skip + piece->offset + have - store->prefix_len, chunk + have, want - have, why);
        if (got <= 0) {
            if (got == 0)
                error_set(why, "the message is shorter than it was");
            free(chunk);
            return NULL;
        }
        have += (size_t)got;
    }
    return chunk;
}

static void fill_chunk(const struct spool_store *store, const struct ahead_piece *piece, Weir__SpoolChunk *body)
{
    body->id = wire_text(store->id);
    body->offset = piece->offset;
    body->last = piece->end == store->size;
    body->ahead = piece->asked_ahead;
    body->scanned = store->scanned;
    body->verdict = wire_text(store->verdict);
    body->scanner = wire_text(store->scanner);
    body->engine = wire_text(store->engine);
    body->signatures = wire_text(store->signatures);
}

enum asked { ASKED, ASKED_LATER, ASKED_NEVER };

/* ASKED_LATER: there is no room to ask. ASKED_NEVER: why. */
static enum asked ask_piece(struct spool_store *store, struct ahead_piece *piece, struct error *why)
{
    Weir__SpoolStore first = WEIR__SPOOL_STORE__INIT;
    Weir__SpoolChunk next = WEIR__SPOOL_CHUNK__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    struct link_payload payloads[2] = { { store->recipients, store->recipients_len } };
    size_t count = 0;
    if (store->recipients == NULL) {
        error_set(why, "too many recipients for one message");
        return ASKED_NEVER;
    }
    char *chunk = read_chunk(store, piece, why);
    if (chunk == NULL)
        return ASKED_NEVER;
    piece->asked_ahead = piece != TAILQ_FIRST(&store->window.pieces);
    if (store->envelope != NULL) {
        first.envelope = store->envelope;
        first.last = piece->end == store->size;
        first.always = store->always;
        question.body_case = WEIR__QUESTION__BODY_SPOOL_STORE;
        question.spool_store = &first;
        count = 1;
    } else {
        fill_chunk(store, piece, &next);
        question.body_case = WEIR__QUESTION__BODY_SPOOL_CHUNK;
        question.spool_chunk = &next;
    }
    payloads[count++] = (struct link_payload){ chunk, (size_t)(piece->end - piece->offset) };
    piece->question = node_ask(store->node, &question, payloads, count, store->timeout_ms, on_answer, piece);
    free(chunk);
    if (piece->question == NULL)
        return ASKED_LATER;
    store->asked = piece->end;
    return ASKED;
}

/* Neither the first one, without which others are of no message, nor the last one, which makes it visible: that goes when all others were taken. */
static void ask_ahead(struct spool_store *store)
{
    struct ahead_piece *piece;
    struct error why;
    while (store->envelope == NULL && store->asked + SPOOL_CHUNK < store->size &&
           (piece = ahead_window_add(&store->window, store->asked, store->asked + SPOOL_CHUNK)) != NULL)
        if (ask_piece(store, piece, &why) != ASKED) { /* it is asked for when it is the next one */
            ahead_window_cut(&store->window, piece);
            return;
        }
}

/* Nothing is under way: asks for what comes next. Where too much of other messages is, it waits for room: a burst of large messages is no reason
 * to refuse any. */
static void ask(struct spool_store *store)
{
    struct error why;
    uint64_t left = store->size - store->offset;
    struct ahead_piece *piece = ahead_window_add(&store->window, store->offset, store->offset + (left < SPOOL_CHUNK ? left : SPOOL_CHUNK));
    enum asked asked = ask_piece(store, piece, &why);
    if (asked == ASKED) {
        store->late = store->asked == store->size;
        ask_ahead(store);
        return;
    }
    ahead_window_clear(&store->window);
    if (asked == ASKED_NEVER)
        store_end(store, SPOOL_UNAVAILABLE, why.text);
    else if (clock_ms() >= store->patience_ms)
        store_end(store, SPOOL_UNAVAILABLE, "too many questions to the coordinators are under way");
    else
        event_add(store->again, &(struct timeval){ 0, AGAIN_MS * 1000 });
}

static void begin(struct spool_store *store)
{
    store->patience_ms = clock_ms() + store->timeout_ms;
    ask(store);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct spool_store *store = arg;
    if (store->patience_ms == 0)
        begin(store);
    else
        ask(store);
}

static void on_taken(struct spool_store *store, uint64_t have)
{
    store->offset = have;
    ahead_window_advance(&store->window, have);
    if (store->envelope != NULL)
        weir__spool_envelope__free_unpacked(store->envelope, NULL);
    store->envelope = NULL;
    if (store->window.count > 0)
        ask_ahead(store);
    else
        begin(store);
}

static void on_answer(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct ahead_piece *piece = arg;
    struct spool_store *store = piece->window->owner;
    struct error why = { "" };
    (void)payloads, (void)count;
    piece->question = NULL;
    bool taken = answer != NULL && answer->status == WEIR__ANSWER_STATUS__ANSWER_OK;
    if (!taken && piece->asked_ahead) { /* for want of one in front of it, of room or of time that those took: as the first it is asked once more */
        store->asked = piece->offset;
        store->window.single = true;
        ahead_window_cut(&store->window, piece);
        if (store->window.count == 0)
            begin(store);
        return;
    }
    if (answer == NULL) {
        store_end(store, SPOOL_UNAVAILABLE, "no answer in time; it may be stored");
        return;
    }
    if (!taken) {
        wire_string(why.text, sizeof why.text, &answer->why);
        if (answer->status == WEIR__ANSWER_STATUS__ANSWER_REFUSED)
            store->late = false; /* it was not taken, for certain */
        store_end(store, answer->status == WEIR__ANSWER_STATUS__ANSWER_FULL ? SPOOL_FULL : SPOOL_UNAVAILABLE, why.text);
        return;
    }
    const Weir__SpoolStored *stored = answer->body_case == WEIR__ANSWER__BODY_SPOOL_STORED ? answer->spool_stored : NULL;
    if (stored != NULL && wire_equal(&stored->id, store->id))
        take_let_in(store, stored);
    if (stored != NULL && wire_equal(&stored->id, store->id) && stored->complete) {
        store_end(store, SPOOL_STORED, "");
        return;
    }
    if (stored == NULL || !wire_equal(&stored->id, store->id) || stored->have <= piece->offset || stored->have >= store->size) {
        store_end(store, SPOOL_UNAVAILABLE, "the coordinator's answer does not fit the question");
        return;
    }
    on_taken(store, stored->have);
}

static Weir__SpoolEnvelope *copy_envelope(const Weir__SpoolEnvelope *envelope)
{
    size_t len = weir__spool_envelope__get_packed_size(envelope);
    uint8_t *packed = xmalloc(len);
    weir__spool_envelope__pack(envelope, packed);
    Weir__SpoolEnvelope *copy = weir__spool_envelope__unpack(NULL, len, packed);
    free(packed);
    weir_assert(copy != NULL); /* it was just packed */
    return copy;
}

struct spool_store *spool_store_new(const struct spool_store_options *options, spool_stored_handler stored, void *arg)
{
    struct spool_store *store = xcalloc(1, sizeof *store);
    store->node = options->node;
    ahead_window_init(&store->window, options->ahead, store);
    store->message = options->message;
    store->prefix = xmemdup(options->prefix, options->prefix_len);
    store->prefix_len = options->prefix_len;
    store->skip = options->skip;
    store->always = options->always;
    store->size = options->prefix_len + message_size(options->message) - options->skip;
    store->timeout_ms = options->timeout_ms;
    store->stored = stored;
    store->arg = arg;
    options->envelope->size = store->size;
    store->envelope = copy_envelope(options->envelope);
    store->scanned = options->envelope->scanned;
    wire_string(store->id, sizeof store->id, &options->envelope->id);
    wire_string(store->verdict, sizeof store->verdict, &options->envelope->verdict);
    wire_string(store->scanner, sizeof store->scanner, &options->envelope->scanner);
    wire_string(store->engine, sizeof store->engine, &options->envelope->engine);
    wire_string(store->signatures, sizeof store->signatures, &options->envelope->signatures);
    store->recipients = wire_recipients_encode(options->recipients, &store->recipients_len);
    store->again = event_new(options->base, -1, 0, on_again, store);
    event_add(store->again, &(struct timeval){ 0, 0 });
    return store;
}

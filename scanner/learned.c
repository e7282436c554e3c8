/*
 * learned.c - see learned.h
 *
 * One question at a time: news, or a chunk of the model that is wanted; and one message at a time, which is told of behind it.
 */
#include "scanner/learned.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/kept_file.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/queue_id.h"
#include "common/signature_set.h"
#include "proto/wire.h"
#include "scanner/native/model.h"

#define ASK_EVERY_MS 1000
#define ANSWER_MS    30000
#define AGAIN_MS     60000 /* what was refused is tried again */
#define NO_ID "00000000000000000000"

struct learned {
    struct node *node;
    struct service *service;
    char *path; /* NULL: the model is not kept */
    char model[SIGNATURE_HEX_LEN + 1]; /* in use; "": none */
    char wanted[SIGNATURE_HEX_LEN + 1], refused[SIGNATURE_HEX_LEN + 1];
    uint64_t refused_ms;
    char *bytes; /* of the wanted one; NULL: nothing is fetched */
    size_t have;
    struct node_question *question, *telling;
    bool examining;
    struct examination *examination;
    uint64_t job;
    struct event *turn;
    struct metric *m_refused, *m_failures, *m_used, *m_looked_at;
};

static void turn_in(struct learned *learned, uint64_t ms)
{
    event_add(learned->turn, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
}

/* --- a model --- */

static void sum(const char *bytes, size_t len, char out[SIGNATURE_HEX_LEN + 1])
{
    struct signature_sum *sum = signature_sum_new();
    signature_sum_add(sum, bytes, len);
    signature_sum_end(&sum, out);
}

/* Memory that no process can change any more, not even one with the descriptor. -1: errno. */
static int sealed(const char *bytes, size_t len)
{
    int fd = memfd_create("weir-model", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && (write(fd, bytes, len) != (ssize_t)len || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool use(struct learned *learned, const char *bytes, size_t len, const char *name, struct error *why)
{
    char is[SIGNATURE_HEX_LEN + 1];
    const char *words;
    sum(bytes, len, is);
    if (strcmp(is, name) != 0) {
        error_set(why, "what came is not what was asked for");
        return false;
    }
    if (native_model_open(bytes, len, &words) == NULL) {
        error_set(why, "%s", words);
        return false;
    }
    int fd = sealed(bytes, len);
    if (fd < 0) {
        error_set(why, "memory for it: %s", strerror(errno));
        return false;
    }
    pool_use_model(service_pool(learned->service), fd);
    memcpy(learned->model, name, sizeof learned->model);
    metric_set(learned->m_used, 1);
    return true;
}

/* What was in use last: its name, and its bytes. */
static void take_kept(struct learned *learned)
{
    struct error why;
    size_t len;
    uint8_t *kept = learned->path != NULL ? kept_file_read(learned->path, SIGNATURE_HEX_LEN + sizeof(struct native_model), &len, &why) : NULL;
    char name[SIGNATURE_HEX_LEN + 1];
    if (kept == NULL)
        return;
    snprintf(name, sizeof name, "%.*s", (int)(len < SIGNATURE_HEX_LEN ? len : SIGNATURE_HEX_LEN), (const char *)kept);
    size_t model_len = len > SIGNATURE_HEX_LEN ? len - SIGNATURE_HEX_LEN : 0;
    char *bytes = memcpy(xmalloc(model_len + 1), kept + len - model_len, model_len); /* aligned */
    if (use(learned, bytes, model_len, name, &why))
        log_write(LOG_INFO, "learned: model %.12s is in use, as before", learned->model);
    else
        log_write(LOG_WARNING, "learned: %s: %s: it is fetched anew", learned->path, why.text);
    free(bytes);
    free(kept);
}

static void keep(const struct learned *learned)
{
    struct error why;
    if (learned->path == NULL)
        return;
    uint8_t *kept = xmalloc(SIGNATURE_HEX_LEN + learned->have);
    memcpy(kept, learned->model, SIGNATURE_HEX_LEN);
    memcpy(kept + SIGNATURE_HEX_LEN, learned->bytes, learned->have);
    if (!kept_file_write(learned->path, kept, SIGNATURE_HEX_LEN + learned->have, &why))
        log_write(LOG_WARNING, "learned: %s", why.text);
    free(kept);
}

/* The cluster knows nothing any more: all was undone. */
static void use_none(struct learned *learned)
{
    pool_use_model(service_pool(learned->service), -1);
    learned->model[0] = '\0';
    metric_set(learned->m_used, 0);
    if (learned->path != NULL)
        unlink(learned->path);
}

/* --- fetching it --- */

static void end_fetch(struct learned *learned)
{
    free(learned->bytes);
    learned->bytes = NULL;
    turn_in(learned, ASK_EVERY_MS);
}

static void refuse(struct learned *learned, const char *why)
{
    log_write(LOG_ERR, "learned: model %.12s is not used: %s", learned->wanted, why);
    memcpy(learned->refused, learned->wanted, sizeof learned->refused);
    learned->refused_ms = clock_ms();
    metric_set(learned->m_refused, 1);
    metric_add(learned->m_failures, 1);
    end_fetch(learned);
}

static void on_whole(struct learned *learned)
{
    struct error why;
    if (!use(learned, learned->bytes, learned->have, learned->wanted, &why)) {
        refuse(learned, why.text);
        return;
    }
    log_write(LOG_INFO, "learned: model %.12s is in use", learned->model);
    learned->refused[0] = '\0';
    metric_set(learned->m_refused, 0);
    keep(learned);
    end_fetch(learned);
}

static void ask_chunk(struct learned *learned);

static void on_chunk(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct learned *learned = arg;
    learned->question = NULL;
    if (answer == NULL || answer->status != WEIR__ANSWER_STATUS__ANSWER_OK || answer->body_case != WEIR__ANSWER__BODY_SIGNATURE_DATA || count != 1) {
        end_fetch(learned); /* a coordinator that is away, or a newer one has taken its place */
        return;
    }
    size_t size = sizeof(struct native_model);
    if (answer->signature_data->size != size || payloads[0].len == 0 || payloads[0].len > size - learned->have) {
        refuse(learned, "it has another size than models of this version");
        return;
    }
    memcpy(learned->bytes + learned->have, payloads[0].data, payloads[0].len);
    learned->have += payloads[0].len;
    if (learned->have == size)
        on_whole(learned);
    else
        ask_chunk(learned);
}

static void ask_chunk(struct learned *learned)
{
    uint8_t hash[SIGNATURE_HASH_LEN];
    Weir__SignatureFetch fetch = WEIR__SIGNATURE_FETCH__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    signature_unhex(hash, learned->wanted);
    fetch.hash = wire_bytes(hash, sizeof hash);
    fetch.offset = learned->have;
    question.body_case = WEIR__QUESTION__BODY_SIGNATURE_FETCH;
    question.signature_fetch = &fetch;
    learned->question = node_ask(learned->node, &question, NULL, 0, ANSWER_MS, on_chunk, learned);
    if (learned->question == NULL)
        end_fetch(learned);
}

static bool wants(const struct learned *learned, const char *model)
{
    bool again = strcmp(model, learned->refused) != 0 || clock_ms() - learned->refused_ms >= AGAIN_MS;
    return model[0] != '\0' && strcmp(model, learned->model) != 0 && again;
}

/* --- a message --- */

static void on_told(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    (void)answer, (void)payloads, (void)count; /* what nobody heard is given to another scanner in a minute */
    struct learned *learned = arg;
    learned->telling = NULL;
    if (learned->bytes == NULL)
        turn_in(learned, 0); /* there may be more */
}

static void on_examined(void *arg, const struct examined *examined)
{
    struct learned *learned = arg;
    Weir__LearnTell tell = WEIR__LEARN_TELL__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    struct link_payload features = { "", 0 };
    learned->examining = false;
    learned->examination = NULL;
    tell.job = learned->job;
    tell.version = NATIVE_MODEL_VERSION;
    tell.why = wire_text_cut(examined->why == NULL ? "" : examined->why[0] != '\0' ? examined->why : "it was not found clean", WIRE_WORDS_MAX);
    tell.again = examined->again;
    if (examined->why == NULL && examined->features != NULL) {
        tell.language = examined->features->language;
        tell.words = examined->features->words;
        features = (struct link_payload){ examined->features->buckets, examined->features->count * sizeof examined->features->buckets[0] };
    } else if (examined->why == NULL && examined->spam == NULL) {
        tell.why = wire_text("no spam engine is configured at this scanner ([spam] spam_engines)");
    }
    tell.spam = examined->why == NULL ? (Weir__SpamResult *)(uintptr_t)examined->spam : NULL;
    question.body_case = WEIR__QUESTION__BODY_LEARN_TELL;
    question.learn_tell = &tell;
    metric_add(learned->m_looked_at, 1);
    learned->telling = node_ask(learned->node, &question, &features, 1, ANSWER_MS, on_told, learned);
}

static void examine(struct learned *learned, const Weir__LearnNews *news, const struct link_payload *message)
{
    Weir__ScanOpen open = WEIR__SCAN_OPEN__INIT;
    Weir__SpamFacts facts = WEIR__SPAM_FACTS__INIT;
    ProtobufCBinaryData recipient = news->recipient;
    open.id = wire_text(NO_ID);
    open.attempt = news->job;
    open.client = news->client;
    open.helo = news->helo;
    open.sender = news->sender;
    open.whole = true;
    open.spam = &facts;
    facts.login = news->login;
    facts.direction = news->login.len > 0 ? WEIR__DIRECTION__DIRECTION_OUTBOUND : WEIR__DIRECTION__DIRECTION_INBOUND;
    facts.recipients = &recipient;
    facts.n_recipients = recipient.len > 0 ? 1 : 0;
    facts.edge = wire_text("weir");
    learned->job = news->job;
    learned->examining = true;
    struct examination *examination = service_examine(learned->service, &open, message->data, message->len, !news->score, on_examined, learned);
    if (learned->examining)
        learned->examination = examination;
    learned->examining = learned->examination != NULL; /* not now: it is another scanner's in a minute */
}

/* --- what is new --- */

static void on_news(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    struct learned *learned = arg;
    learned->question = NULL;
    turn_in(learned, ASK_EVERY_MS);
    if (answer == NULL || answer->status != WEIR__ANSWER_STATUS__ANSWER_OK || answer->body_case != WEIR__ANSWER__BODY_LEARN_NEWS)
        return;
    const Weir__LearnNews *news = answer->learn_news;
    char model[SIGNATURE_HEX_LEN + 1] = "";
    if (news->model.len == SIGNATURE_HASH_LEN)
        signature_hex(news->model.data, model);
    if (news->job != 0 && count == 1 && !learned->examining)
        examine(learned, news, &payloads[0]);
    if (model[0] == '\0' && learned->model[0] != '\0') {
        use_none(learned);
    } else if (wants(learned, model)) {
        memcpy(learned->wanted, model, sizeof learned->wanted);
        learned->bytes = xmalloc(sizeof(struct native_model));
        learned->have = 0;
        event_del(learned->turn);
        ask_chunk(learned);
    }
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct learned *learned = arg;
    Weir__LearnAsk ask = WEIR__LEARN_ASK__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    if (learned->question != NULL)
        return;
    ask.room = !learned->examining && learned->telling == NULL && service_state(learned->service) == WEIR__NODE_STATE__NODE_ACTIVE;
    question.body_case = WEIR__QUESTION__BODY_LEARN_ASK;
    question.learn_ask = &ask;
    learned->question = node_ask(learned->node, &question, NULL, 0, ANSWER_MS, on_news, learned);
    if (learned->question == NULL)
        turn_in(learned, ASK_EVERY_MS);
}

/* --- life --- */

struct learned *learned_new(struct event_base *base, struct node *node, struct service *service, const char *name, const char *state_dir, struct metrics *metrics)
{
    struct learned *learned = xcalloc(1, sizeof *learned);
    learned->node = node;
    learned->service = service;
    learned->path = state_dir != NULL && state_dir[0] != '\0' ? xasprintf("%s/%s.learned", state_dir, name) : NULL;
    learned->m_refused = metrics_gauge(metrics, "weir_learned_refused", NULL);
    learned->m_failures = metrics_counter(metrics, "weir_learned_refusals_total", NULL);
    learned->m_used = metrics_gauge(metrics, "weir_learned_used", NULL);
    learned->m_looked_at = metrics_counter(metrics, "weir_learned_examined_total", NULL);
    learned->turn = evtimer_new(base, on_turn, learned);
    take_kept(learned);
    turn_in(learned, ASK_EVERY_MS);
    return learned;
}

void learned_free(struct learned **freed)
{
    struct learned *learned = *freed;
    *freed = NULL;
    if (learned == NULL)
        return;
    node_question_cancel(&learned->question);
    node_question_cancel(&learned->telling);
    service_forget(&learned->examination);
    event_free(learned->turn);
    free(learned->bytes);
    free(learned->path);
    free(learned);
}

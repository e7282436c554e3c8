/*
 * node.c - what an edge worker or a scanner says to the coordinators, and hears from them
 *
 * Links to all coordinators are open all the time, so that changing to another is a matter of saying hello there. One
 * tick every 100 ms looks whether another one is to be talked to (node_choice.c decides), sends reports and asks for a
 * policy; heartbeats have a timer of their own.
 *
 *     nobody --a link is up--> asking (hello sent) --any answer--> connected --silent, down, or it lost its database
 *     while another has not--> asking that, or nobody
 */
#include "proto/node.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "proto/identity.h"
#include "proto/node_cache.h"
#include "proto/node_choice.h"
#include "proto/node_kept.h"
#include "proto/node_policy.h"
#include "proto/node_questions.h"
#include "proto/node_reports.h"

#define TICK_MS         100
#define SILENCE_MS      1000 /* no answer to heartbeats for so long: another coordinator */
#define REPORT_AGAIN_MS 2000 /* a batch that nobody acknowledged is sent again */
#define METRICS_MS      1000
#define METRICS_BYTES   (WIRE_FRAME_MAX - 8192u) /* the rest of a heartbeat takes less than that */
#define SAMPLE_HEAD     8u
#define OLDER_EPOCHS_MS 10000
#define FULL_MS         120000 /* twice what lies between two states of one coordinator at most (publish_interval) */
#define CACHE_NAME      "cache" /* the coordinator of a state kept in memory or in a file: nobody's in particular */

struct conversation { /* with one coordinator */
    struct node *node;
    const struct node_coordinator *coordinator;
    struct link *link;
    struct link_subscriber *subscriber;
    uint32_t version; /* of its last answer */
    uint64_t full_ms; /* when it last said that the spool is full; 0: it has said otherwise since, or nothing */
    bool behind;      /* what it last said comes from a former primary of our database */
    bool welcomes;    /* it has said something to who we say we are; questions are answered to whoever has the key */
};

struct node {
    struct event_base *base;
    struct link_hub *hub;
    struct node_handlers handlers;
    void *arg;
    char *name, *endpoint;
    Weir__Role role;
    unsigned worker;
    uint64_t boot, sequence;
    uint64_t heartbeat_ms;
    const struct metrics *metrics;
    char *state_path, *policy_path;

    struct conversation *conversations;
    size_t conversation_count;
    struct node_choice choice;
    struct conversation *current; /* as choice says; NULL: no link is up */
    bool connected;               /* current has answered */
    bool introduced;              /* somebody has answered once, or the log says that nobody does */

    uint64_t epoch;
    char identity[WIRE_WORD_MAX + 1]; /* of the database the state is from; "": a coordinator that does not say */
    uint8_t *state;                   /* as last told, packed with CACHE_NAME; NULL: none */
    size_t state_len;
    uint64_t drain_number;   /* of our entry, when the owner had heard it */
    uint64_t older_since_ms; /* since when only older epochs of another database came; 0: not so */
    struct node_policy *policy;

    char *folder; /* state_dir; NULL: none */
    struct node_reports *reports;
    struct node_kept *kept; /* NULL: rows are not kept over an end */
    uint64_t report_sent_ms; /* the batch under way; 0: none, or to be sent again */
    uint64_t report_last_ms;
    struct node_questions *questions;

    uint64_t metrics_ms;
    const struct metric *metrics_next; /* the first that did not fit the last heartbeat */
    struct event *tick, *beat, *soon, *start;
    struct metric *connected_gauge, *failovers, *epoch_gauge, *behind;
};

/* --- heartbeats --- */

static void fill_sample(Weir__MetricSample *sample, const struct metric *metric)
{
    weir__metric_sample__init(sample);
    sample->name = wire_text_cut(metric->name, WIRE_WORD_MAX);
    sample->labels = wire_text_cut(metric->labels, WIRE_WORDS_MAX);
    sample->kind = metric->kind;
    sample->value = metric->value;
    sample->count = metric->count;
    if (metric->kind == METRIC_HISTOGRAM) { /* borrowed: packing only reads */
        sample->n_bounds = sample->n_buckets = metric->bound_count;
        sample->bounds = (double *)(uintptr_t)metric->bounds;
        sample->buckets = (uint64_t *)(uintptr_t)metric->buckets;
    }
}

static size_t count_series(const struct node *node)
{
    size_t count = 0;

    for (const struct metric *metric = node->metrics->first; metric != NULL && count < WIRE_METRICS_MAX;
         metric = metric->next)
        count++;
    return count;
}

/* As many samples as fit, from where the last heartbeat stopped. */
static size_t fill_samples(struct node *node, Weir__MetricSample *samples, Weir__MetricSample **pointers)
{
    const struct metric *metric = node->metrics_next != NULL ? node->metrics_next : node->metrics->first;
    size_t count = 0, bytes = 0;

    for (; metric != NULL && count < WIRE_METRICS_MAX; metric = metric->next) {
        fill_sample(&samples[count], metric);
        bytes += weir__metric_sample__get_packed_size(&samples[count]) + SAMPLE_HEAD;
        if (bytes > METRICS_BYTES)
            break;
        pointers[count] = &samples[count];
        count++;
    }
    node->metrics_next = metric;
    return count;
}

static void fill_heartbeat(struct node *node, Weir__Heartbeat *beat)
{
    beat->node = wire_text(node->name);
    beat->role = node->role;
    beat->worker = node->worker;
    beat->boot = node->boot;
    beat->sequence = ++node->sequence;
    beat->state = WEIR__NODE_STATE__NODE_STARTING; /* until the handler says better */
    beat->policy_epoch = node_policy_epoch(node->policy);
    beat->drain_number = node->drain_number;
    beat->version = wire_text(WEIR_VERSION);
    beat->pid = (uint32_t)getpid();
    beat->time_ms = clock_wall_ms();
    if (node->endpoint != NULL) {
        beat->endpoint = wire_text(node->endpoint);
        beat->public_key = wire_bytes(link_hub_public_key(node->hub), CURVE_KEY_LEN);
    }
    node->handlers.heartbeat(node->arg, beat);
}

static void send_heartbeat(struct node *node)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__Heartbeat beat = WEIR__HEARTBEAT__INIT;
    Weir__MetricSample *samples = NULL, **pointers = NULL;
    uint64_t now = clock_ms();

    if (node->current == NULL)
        return;
    fill_heartbeat(node, &beat);
    if (node->metrics_next != NULL || node->metrics_ms == 0 || now - node->metrics_ms >= METRICS_MS) {
        size_t most = count_series(node);
        samples = xmalloc(most * sizeof *samples);
        pointers = xmalloc(most * sizeof *pointers);
        if (node->metrics_next == NULL)
            node->metrics_ms = now;
        bool begins = node->metrics_next == NULL;
        beat.n_metrics = fill_samples(node, samples, pointers);
        beat.metrics_partial = !begins || node->metrics_next != NULL;
        beat.metrics = pointers;
    }
    frame.body_case = WEIR__FRAME__BODY_HEARTBEAT;
    frame.heartbeat = &beat;
    (void)link_send(node->current->link, &frame, NULL, 0); /* absolute values: a lost one does not matter */
    free(samples);
    free(pointers);
}

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    send_heartbeat(arg);
}

void node_heartbeat_soon(struct node *node)
{
    event_add(node->soon, &(struct timeval){ 0, 0 });
}

/* --- reports --- */

static void send_reports(struct node *node)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__Report report = WEIR__REPORT__INIT;

    if (!node->connected || node->report_sent_ms != 0 ||
        !node_reports_batch(node->reports, node->current->version, &report))
        return;
    report.node = wire_text(node->name);
    report.worker = node->worker;
    report.boot = node->boot;
    frame.body_case = WEIR__FRAME__BODY_REPORT;
    frame.report = &report;
    if (link_send(node->current->link, &frame, NULL, 0) == LINK_OK)
        node->report_sent_ms = node->report_last_ms = clock_ms();
}

static void look_at_reports(struct node *node, uint64_t now)
{
    if (node->report_sent_ms != 0 && now - node->report_sent_ms >= REPORT_AGAIN_MS)
        node->report_sent_ms = 0;
    if (now - node->report_last_ms >= TICK_MS || node_reports_are_full(node->reports))
        send_reports(node);
}

static void on_report_ack(struct node *node, const Weir__ReportAck *ack)
{
    if (!node_reports_acknowledge(node->reports, ack->batch))
        return;
    if (node->kept != NULL)
        node_kept_look(node->kept);
    node->report_sent_ms = 0;
    if (node_reports_are_full(node->reports))
        send_reports(node);
}

void node_report(struct node *node, const Weir__AuditRow *row)
{
    node_reports_add(node->reports, row);
    if (node->report_sent_ms == 0 && node_reports_are_full(node->reports))
        send_reports(node);
}

size_t node_reports_pending(const struct node *node)
{
    return node_reports_pending_count(node->reports);
}

bool node_keep_reports(struct node *node, struct error *why)
{
    if (node->kept != NULL)
        return node_kept_write(node->kept, why);
    error_set(why, "there is no state_dir");
    return false;
}

/* --- policy --- */

static void ask_for_policy(struct node *node, uint64_t now)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__PolicyRequest request = WEIR__POLICY_REQUEST__INIT;

    if (!node->connected || !node_policy_is_due(node->policy, now, &request))
        return;
    frame.body_case = WEIR__FRAME__BODY_POLICY_REQUEST;
    frame.policy_request = &request;
    if (link_send(node->current->link, &frame, NULL, 0) == LINK_OK)
        node_policy_asked(node->policy, now);
}

/* One is in force, or was refused: people are to see soon who has it, and there may be a newer one by now. */
static void on_policy_told(void *arg)
{
    struct node *node = arg;

    node_heartbeat_soon(node);
    ask_for_policy(node, clock_ms());
}

/* --- cluster state --- */

static void keep_state(const struct node *node, const struct link_message *message)
{
    struct error why;

    /* One worker is enough, and packing only reads. */
    if (node->worker == 0 && node->state_path != NULL &&
        !node_cache_write(node->state_path, (Weir__Frame *)(uintptr_t)message->frame, message->payloads, message->payload_count,
                          &why))
        log_write(LOG_WARNING, "node: cannot keep what the coordinators said: %s", why.text);
}

static void allow_keys(struct node *node, const Weir__ClusterState *state)
{
    struct link_allowed_key *keys = xcalloc(state->n_keys > 0 ? state->n_keys : 1, sizeof *keys);

    for (size_t i = 0; i < state->n_keys; i++) {
        memcpy(keys[i].key, state->keys[i]->public_key.data, CURVE_KEY_LEN);
        wire_string(keys[i].name, sizeof keys[i].name, &state->keys[i]->name);
        keys[i].role = state->keys[i]->role;
    }
    link_hub_allow(node->hub, keys, state->n_keys);
    free(keys);
}

static void tell_state(struct node *node, const Weir__ClusterState *state)
{
    const Weir__NodeEntry *entry = NULL;

    node->epoch = state->epoch;
    wire_string(node->identity, sizeof node->identity, &state->identity);
    metric_set(node->epoch_gauge, (double)state->epoch);
    node_policy_want(node->policy, state->policy_epoch, &state->policy_digest);
    for (size_t i = 0; i < state->n_nodes && entry == NULL; i++)
        if (wire_equal(&state->nodes[i]->node, node->name))
            entry = state->nodes[i];
    allow_keys(node, state);
    node->handlers.state(node->arg, state, entry);
    if (entry != NULL && entry->drain_number != node->drain_number) {
        node->drain_number = entry->drain_number;
        node_heartbeat_soon(node); /* somebody may be waiting for it */
    }
}

/* Whether the state is news. A coordinator that lost its database goes on with what it read last, so
 * an older epoch says nothing by itself: only a database that is another one, and is being read, may be behind. */
static bool is_news(struct node *node, const Weir__ClusterState *state, const char *identity, const struct conversation *from)
{
    uint64_t now = clock_ms();
    bool other = identity[0] != '\0' && node->identity[0] != '\0' && strcmp(identity, node->identity) != 0;

    if (node->state == NULL)
        return true;
    if (from->behind || (other && !state->fresh))
        return false;
    if (state->epoch >= node->epoch)
        node->older_since_ms = 0;
    if (state->epoch > node->epoch)
        return true;
    if (!other)
        return state->epoch == node->epoch && (!node->connected || from == node->current);
    if (state->epoch == node->epoch && identity_is_behind(node->identity, identity))
        return true; /* its standby was promoted, and had all */
    if (node->older_since_ms == 0)
        node->older_since_ms = now;
    if (now - node->older_since_ms < OLDER_EPOCHS_MS)
        return false;
    log_write(LOG_WARNING, "node: the database is another one: from epoch %llu to %llu",
              (unsigned long long)node->epoch, (unsigned long long)state->epoch);
    node->older_since_ms = 0;
    return true;
}

static void say_hello(const struct node *node, const struct conversation *to)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__NodeHello hello = WEIR__NODE_HELLO__INIT;

    hello.node = wire_text(node->name);
    hello.role = node->role;
    hello.worker = node->worker;
    hello.boot = node->boot;
    hello.version = wire_text(WEIR_VERSION);
    hello.pid = (uint32_t)getpid();
    hello.database = wire_text(node->identity);
    if (node->endpoint != NULL) {
        hello.endpoint = wire_text(node->endpoint);
        hello.public_key = wire_bytes(link_hub_public_key(node->hub), CURVE_KEY_LEN);
    }
    frame.body_case = WEIR__FRAME__BODY_NODE_HELLO;
    frame.node_hello = &hello;
    (void)link_send(to->link, &frame, NULL, 0);
}

/* Two that write at the same time: the standby was promoted while its primary could not be reached. */
static void note_primary(struct node *node, const char *identity, struct conversation *from)
{
    bool behind = identity_is_behind(identity, node->identity);
    if (behind)
        metric_add(node->behind, 1);
    if (behind != from->behind)
        log_write(LOG_WARNING, "node: coordinator %s is %s: it speaks of %s, and we heard of %s", from->coordinator->listen,
                  behind ? "not believed, its database is a former primary" : "believed again", identity, node->identity);
    from->behind = behind;
    if (behind) /* it may be started anew, and know of no other primary */
        say_hello(node, from);
}

static void on_state(struct node *node, const struct link_message *message, struct conversation *from)
{
    Weir__ClusterState *state = message->frame->cluster_state;
    char identity[WIRE_WORD_MAX + 1];
    size_t len;

    wire_string(identity, sizeof identity, &state->identity);
    note_primary(node, identity, from);
    from->full_ms = state->spool_full ? clock_ms() : 0; /* of itself, so its epoch does not matter */
    if (!is_news(node, state, identity, from))
        return;
    /* The same state from another coordinator, or read again, is no news; nor is what one says of itself. */
    ProtobufCBinaryData coordinator = state->coordinator;
    bool fresh = state->fresh, spool_full = state->spool_full;
    state->coordinator = wire_text(CACHE_NAME);
    state->fresh = state->spool_full = false;
    uint8_t *bytes = wire_encode((Weir__Frame *)(uintptr_t)message->frame, &len);
    bool same = bytes == NULL || (len == node->state_len && memcmp(bytes, node->state, len) == 0);
    if (!same) {
        free(node->state);
        node->state = bytes;
        node->state_len = len;
        keep_state(node, message);
    } else {
        free(bytes);
    }
    state->coordinator = coordinator;
    state->fresh = fresh;
    state->spool_full = spool_full;
    if (same)
        return;
    tell_state(node, state);
    ask_for_policy(node, clock_ms());
}

static size_t index_of(const struct conversation *conversation)
{
    return (size_t)(conversation - conversation->node->conversations);
}

static void on_published(void *arg, const struct link_message *message)
{
    struct conversation *from = arg;

    if (message->frame->body_case == WEIR__FRAME__BODY_CLUSTER_STATE) {
        on_state(from->node, message, from);
        node_choice_published(&from->node->choice, index_of(from), message->frame->cluster_state->fresh && !from->behind, clock_ms());
    }
}

/* --- which coordinator --- */

static void set_connected(struct node *node, bool connected)
{
    if (node->connected == connected)
        return;
    node->connected = connected;
    metric_set(node->connected_gauge, connected ? 1 : 0);
    node->introduced |= connected;
    log_write(LOG_NOTICE, "node: coordinator %s %s", node->current->coordinator->listen,
              connected             ? "answers"
              : node->choice.lagged ? "lost its database"
                                    : "does not answer");
}

/* The first one asked is silent: it hangs, or refuses what we say of ourselves, of which only its own log has more. */
static void tell_silence(struct node *node)
{
    if (node->introduced)
        return;
    node->introduced = true;
    log_write(LOG_WARNING, "node: coordinator %s does not answer %s: is that the name our key is registered under?",
              node->current->coordinator->listen, node->name);
}

/* Begins to talk to whom the choice says. */
static void turn(struct node *node)
{
    size_t chosen = node->choice.current;
    struct conversation *to = chosen == NODE_CHOICE_NOBODY ? NULL : &node->conversations[chosen];

    if (node->current != NULL && to != NULL && node->current != to)
        metric_add(node->failovers, 1);
    const struct conversation *left = node->current;
    if (left != NULL)
        set_connected(node, false);
    node->current = to;
    node->report_sent_ms = 0; /* the new one has not seen the batch under way */
    node_policy_asked(node->policy, 0);
    if (to == NULL)
        return;
    say_hello(node, node->current);
    send_heartbeat(node);
    if (left != NULL && left != to)
        node_questions_leave(node->questions, left->link);
    node_questions_send(node->questions);
}

/* The next one in the list whose link is up: possibly the same again, NULL when none is. */
static struct conversation *next_up_after(const struct node *node, size_t from)
{
    for (size_t i = 1; i <= node->conversation_count; i++) {
        struct conversation *candidate = &node->conversations[(from + i) % node->conversation_count];
        if (link_is_up(candidate->link))
            return candidate;
    }
    return NULL;
}

static void on_link_up(void *arg, struct link *link)
{
    struct conversation *conversation = arg;

    (void)link;
    if (node_choice_up(&conversation->node->choice, index_of(conversation), clock_ms()))
        turn(conversation->node);
}

static void on_link_down(void *arg, struct link *link)
{
    struct conversation *conversation = arg;

    (void)link;
    conversation->full_ms = 0;
    if (node_choice_down(&conversation->node->choice, index_of(conversation), clock_ms()))
        turn(conversation->node);
    node_questions_leave(conversation->node->questions, conversation->link);
}

static void on_link_writable(void *arg, struct link *link)
{
    struct conversation *conversation = arg;

    (void)link;
    node_questions_send(conversation->node->questions);
}

/* Whom to ask: the one we talk to, or who comes after somebody. */
static struct link *next_to_ask(void *arg, const struct link *after)
{
    const struct node *node = arg;
    size_t from = 0;

    if (after == NULL)
        return node->current != NULL ? node->current->link : NULL;
    while (node->conversations[from].link != after)
        from++;
    const struct conversation *next = next_up_after(node, from);
    return next != NULL ? next->link : NULL;
}

static void on_answer(void *arg, struct link *link, const struct link_message *message)
{
    struct conversation *conversation = arg;
    struct node *node = conversation->node;

    conversation->version = message->frame->version;
    conversation->welcomes |= message->frame->body_case != WEIR__FRAME__BODY_ANSWER;
    if (conversation->welcomes)
        node_choice_answered(&node->choice, index_of(conversation), clock_ms());
    if (conversation->welcomes && conversation == node->current)
        set_connected(node, true);
    switch (message->frame->body_case) {
    case WEIR__FRAME__BODY_NODE_WELCOME:
        ask_for_policy(node, clock_ms());
        break;
    case WEIR__FRAME__BODY_REPORT_ACK: /* from a former coordinator too: the rows are committed */
        on_report_ack(node, message->frame->report_ack);
        break;
    case WEIR__FRAME__BODY_POLICY:
        node_policy_take(node->policy, message, false);
        break;
    case WEIR__FRAME__BODY_CLUSTER_STATE:
        on_state(node, message, conversation);
        break;
    case WEIR__FRAME__BODY_ANSWER:
        node_questions_answer(node->questions, link, message);
        break;
    default: /* HeartbeatAck: that it came is what it says */
        break;
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct node *node = arg;
    uint64_t now = clock_ms();

    (void)fd, (void)what;
    if (node_choice_tick(&node->choice, now)) {
        if (!node->choice.lagged)
            tell_silence(node);
        turn(node);
    }
    ask_for_policy(node, now);
    look_at_reports(node, now);
    node_questions_tick(node->questions, now);
}

struct node_question *node_ask(struct node *node, Weir__Question *question, const struct link_payload *payloads,
                               size_t count, uint64_t timeout_ms, node_answer_handler answer, void *arg)
{
    return node_questions_ask(node->questions, question, payloads, count, timeout_ms, answer, arg);
}

/* --- start and end --- */

static bool take_cached(struct node_cache_file *file, const char *path, Weir__Frame__BodyCase expected)
{
    struct error why;

    if (path == NULL)
        return false;
    if (!node_cache_read(file, path, &why)) {
        if (why.text[0] != '\0')
            log_write(LOG_WARNING, "node: %s is of no use: %s", path, why.text);
        return false;
    }
    if (file->frame->body_case == expected)
        return true;
    log_write(LOG_WARNING, "node: %s holds something else", path);
    node_cache_clear(file);
    return false;
}

/* In the loop's first turn: what a former process heard, unless a coordinator was faster. */
static void on_start(evutil_socket_t fd, short what, void *arg)
{
    struct node *node = arg;
    struct node_cache_file file;

    (void)fd, (void)what;
    if (node->handlers.policy != NULL && node_policy_epoch(node->policy) == 0 &&
        take_cached(&file, node->policy_path, WEIR__FRAME__BODY_POLICY)) {
        node_policy_take(node->policy, &file.message, true);
        node_cache_clear(&file);
    }
    if (node->state == NULL && take_cached(&file, node->state_path, WEIR__FRAME__BODY_CLUSTER_STATE)) {
        node->state = wire_encode(file.frame, &node->state_len);
        tell_state(node, file.frame->cluster_state);
        node_cache_clear(&file);
    }
}

static struct event *timer(struct node *node, short what, event_callback_fn callback, uint64_t milliseconds)
{
    struct event *event = event_new(node->base, -1, what, callback, node);
    struct timeval interval = { (time_t)(milliseconds / 1000), (suseconds_t)(milliseconds % 1000 * 1000) };

    if (event == NULL || ((what & EV_PERSIST) != 0 && event_add(event, &interval) != 0))
        fatal("out of memory");
    return event;
}

static void make_metrics(struct node *node, struct metrics *metrics)
{
    node->connected_gauge = metrics_gauge(metrics, "weir_node_coordinator_connected", NULL);
    node->behind = metrics_counter(metrics, "weir_node_states_of_former_primary_total", NULL);
    node->failovers = metrics_counter(metrics, "weir_node_coordinator_failovers_total", NULL);
    node->epoch_gauge = metrics_gauge(metrics, "weir_node_epoch", NULL);
}

static void open_conversations(struct node *node, const struct node_options *options)
{
    static const struct link_handlers handlers = {
        .up = on_link_up, .down = on_link_down, .message = on_answer, .writable = on_link_writable
    };

    node->conversation_count = options->coordinator_count;
    node->conversations = xcalloc(node->conversation_count + 1, sizeof *node->conversations);
    for (size_t i = 0; i < node->conversation_count; i++) {
        struct conversation *conversation = &node->conversations[i];
        conversation->node = node;
        conversation->coordinator = &options->coordinators[i];
        conversation->link = link_new(node->hub, conversation->coordinator->listen,
                                      conversation->coordinator->public_key, &handlers, conversation);
        conversation->subscriber =
            link_subscriber_new(node->hub, conversation->coordinator->publish, conversation->coordinator->public_key,
                                on_published, conversation);
    }
}

struct node *node_new(struct event_base *base, const struct node_options *options, const struct node_handlers *handlers,
                      void *arg)
{
    struct node *node = xcalloc(1, sizeof *node);
    const char *state_dir = options->cluster->state_dir;

    node->base = base;
    node->hub = options->hub;
    node->handlers = *handlers;
    node->arg = arg;
    node->name = xstrdup(options->name);
    node->endpoint = options->endpoint != NULL ? xstrdup(options->endpoint) : NULL;
    node->role = options->role;
    node->worker = options->worker;
    if (getrandom(&node->boot, sizeof node->boot, 0) != sizeof node->boot)
        fatal("node: no random numbers");
    node->heartbeat_ms = options->cluster->heartbeat_interval > 0 ? options->cluster->heartbeat_interval : 1;
    node_choice_init(&node->choice, options->coordinator_count,
                     2 * node->heartbeat_ms > SILENCE_MS ? 2 * node->heartbeat_ms : SILENCE_MS, node->boot);
    node->metrics = options->metrics;
    if (state_dir != NULL && state_dir[0] != '\0') {
        node->folder = xstrdup(state_dir);
        node->state_path = xasprintf("%s/%s.state", state_dir, node->name);
        node->policy_path = xasprintf("%s/%s.policy", state_dir, node->name);
    }
    make_metrics(node, options->metrics);
    node->policy = node_policy_new(base, handlers, arg, node->worker == 0 ? node->policy_path : NULL, options->metrics, on_policy_told, node);
    node->reports = node_reports_new(options->report_buffer, options->metrics);
    if (node->folder != NULL && options->report_buffer > 0)
        node->kept = node_kept_new(node->folder, node->name, node->worker, options->workers, node->reports, options->metrics);
    node->questions = node_questions_new(&(struct node_questions_options){
        .repeat_ms = options->cluster->question_repeat,
        .coordinator_count = options->coordinator_count,
        .next = next_to_ask,
        .arg = node,
        .metrics = options->metrics,
    });
    node->tick = timer(node, EV_PERSIST, on_tick, TICK_MS);
    node->beat = timer(node, EV_PERSIST, on_beat, node->heartbeat_ms);
    node->soon = timer(node, 0, on_beat, 0);
    node->start = timer(node, 0, on_start, 0);
    event_add(node->start, &(struct timeval){ 0, 0 });
    open_conversations(node, options);
    return node;
}

void node_free(struct node **taken)
{
    struct node *node = *taken;

    *taken = NULL;
    if (node == NULL)
        return;
    for (size_t i = 0; i < node->conversation_count; i++) {
        link_free(&node->conversations[i].link);
        link_subscriber_free(&node->conversations[i].subscriber);
    }
    event_free(node->tick);
    event_free(node->beat);
    event_free(node->soon);
    event_free(node->start);
    node_policy_free(&node->policy);
    node_kept_free(&node->kept);
    node_reports_free(&node->reports);
    node_questions_free(&node->questions);
    node_choice_fini(&node->choice);
    free(node->conversations);
    free(node->state);
    free(node->folder);
    free(node->state_path);
    free(node->policy_path);
    free(node->name);
    free(node->endpoint);
    free(node);
}

bool node_is_connected(const struct node *node)
{
    return node->connected;
}

bool node_spool_is_full(const struct node *node)
{
    return node->connected && node->current->full_ms != 0 && clock_ms() - node->current->full_ms < FULL_MS;
}

/*
 * service.c - the conversations with nodes and operators: who may say what, and to whom it goes
 *
 * A client is a peer and what is in flight for it. It outlives the peer until the last answer came, which then goes
 * nowhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/service.h"

#define POLICY_ON_ITS_WAY_MS 10000 /* who asks for a policy again so soon may have it in its queue */

struct client {
    struct service *service; /* not looked at when peer is NULL */
    struct link_peer *peer;  /* NULL when gone */
    struct beat *beat;
    size_t in_flight;
    bool greeted;
    bool told_refused; /* in the log: it goes on asking, several times a second */
    struct {
        uint64_t at_ms; /* 0: nothing since its last hello */
        uint64_t epoch, have;
        char digest[WIRE_WORD_MAX + 1], have_digest[WIRE_WORD_MAX + 1];
    } policy; /* what it was sent last, and what it had then */
};

struct service {
    struct service_options options;
    struct link_server *server;
    bool draining;
    struct metric *refused_role, *refused_name, *told_former;
};

static void client_release(struct client *client)
{
    if (client->peer == NULL && client->in_flight == 0)
        free(client);
}

static bool client_send(struct client *client, Weir__Frame *frame, const struct link_payload *payloads, size_t count)
{
    if (client->peer == NULL)
        return false;
    /* Nothing is kept when a peer does not read: acknowledgements and answers are repeated when it asks again. */
    enum link_status status = link_server_send(client->service->server, client->peer, frame, payloads, count);
    if (status == LINK_FULL)
        log_write(LOG_DEBUG, "%s does not read: an answer is dropped", link_peer_name(client->peer));
    return status == LINK_OK;
}

/* --- nodes --- */

static bool is_node(const struct link_peer *peer)
{
    return link_peer_role(peer) == WEIR__ROLE__ROLE_EDGE || link_peer_role(peer) == WEIR__ROLE__ROLE_SCANNER;
}

/* What a node says of itself must be what its key says (the key is proven, words are not). */
static bool is_itself(struct service *service, struct client *client, const ProtobufCBinaryData *name, Weir__Role role,
                      const ProtobufCBinaryData *public_key)
{
    const struct link_peer *peer = client->peer;
    bool key_fits =
        public_key == NULL || public_key->len == 0 ||
        (public_key->len == CURVE_KEY_LEN && memcmp(public_key->data, link_peer_key(peer), CURVE_KEY_LEN) == 0);
    if (wire_equal(name, link_peer_name(peer)) && role == link_peer_role(peer) && key_fits)
        return true;
    metric_add(service->refused_name, 1);
    if (client->told_refused)
        return false;
    client->told_refused = true;
    char said[WIRE_NAME_MAX + 1];
    log_write(LOG_WARNING, "%s (%s) says it is %s (%s)%s: refused", link_peer_name(peer),
              role_text(link_peer_role(peer)), wire_string(said, sizeof said, name), role_text(role),
              key_fits ? "" : " with another key");
    return false;
}

/* It has seen the primary that took over from ours. One that lies can keep coordinators from their database, as it could mail from the cluster: the log names it,
 * and once its key is revoked coordinators that are started again believe their database. */
static void hear_of_database(struct service *service, const struct client *client, const Weir__NodeHello *hello)
{
    char heard[WIRE_WORD_MAX + 1];
    if (!lineage_hear(service->options.lineage, wire_string(heard, sizeof heard, &hello->database)))
        return;
    metric_add(service->told_former, 1);
    log_write(LOG_WARNING, "node=%s has heard of %s: the database that this coordinator uses is a former primary", link_peer_name(client->peer), heard);
}

static void on_hello(struct service *service, struct client *client, const Weir__NodeHello *hello)
{
    if (!is_itself(service, client, &hello->node, hello->role, &hello->public_key))
        return;
    if (!client->greeted) {
        char version[WIRE_WORD_MAX + 1];
        log_write(LOG_NOTICE, "node=%s worker=%u connected pid=%u version=%s", link_peer_name(client->peer),
                  hello->worker, hello->pid, wire_string(version, sizeof version, &hello->version));
    }
    client->greeted = true;
    hear_of_database(service, client, hello);
    client->policy.at_ms = 0;
    Weir__NodeWelcome welcome = WEIR__NODE_WELCOME__INIT;
    welcome.coordinator = wire_text(service->options.name);
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_NODE_WELCOME;
    frame.node_welcome = &welcome;
    client_send(client, &frame, NULL, 0);
}

static void on_heartbeat(struct service *service, struct client *client, const Weir__Heartbeat *heartbeat)
{
    if (!is_itself(service, client, &heartbeat->node, heartbeat->role, &heartbeat->public_key))
        return;
    beats_hear(service->options.beats, &client->beat, heartbeat);
    /* Answered from memory: a node stays with us while the database is away from all; else the state that we publish
     * sends it to another. */
    Weir__HeartbeatAck ack = WEIR__HEARTBEAT_ACK__INIT;
    ack.sequence = heartbeat->sequence;
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_HEARTBEAT_ACK;
    frame.heartbeat_ack = &ack;
    client_send(client, &frame, NULL, 0);
}

/* A large policy takes longer than a node waits until it asks again: a second copy behind the first would only delay both. */
static bool is_on_its_way(const struct client *client, const struct cluster_policy *policy, const Weir__PolicyRequest *request)
{
    return client->policy.at_ms != 0 && clock_ms() - client->policy.at_ms < POLICY_ON_ITS_WAY_MS && client->policy.epoch == policy->epoch &&
           strcmp(client->policy.digest, policy->digest) == 0 && client->policy.have == request->have &&
           wire_equal(&request->have_digest, client->policy.have_digest);
}

static void on_policy_request(struct service *service, struct client *client, const Weir__PolicyRequest *request)
{
    const struct cluster_policy *policy = cluster_policy(service->options.cluster);
    if (policy->epoch == 0 || (policy->epoch == request->have && wire_equal(&request->have_digest, policy->digest)) ||
        is_on_its_way(client, policy, request))
        return;
    ProtobufCBinaryData names[WIRE_PAYLOADS_MAX];
    struct link_payload payloads[WIRE_PAYLOADS_MAX];
    size_t count = wire_files_split(policy->files, policy->count, names, payloads);
    if (count == 0 && policy->count > 0) {
        log_write(LOG_ERR, "policy %llu is larger than a message can be: nobody is given it", (unsigned long long)policy->epoch);
        return;
    }
    Weir__Policy answer = WEIR__POLICY__INIT;
    answer.epoch = policy->epoch;
    answer.digest = wire_text(policy->digest);
    answer.files = names;
    answer.n_files = count;
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_POLICY;
    frame.policy = &answer;
    if (!client_send(client, &frame, payloads, count))
        return;
    client->policy.epoch = policy->epoch;
    client->policy.have = request->have;
    wire_string(client->policy.have_digest, sizeof client->policy.have_digest, &request->have_digest);
    client->policy.at_ms = clock_ms();
    snprintf(client->policy.digest, sizeof client->policy.digest, "%s", policy->digest);
}

static void on_report_done(void *arg, uint64_t batch, bool committed)
{
    struct client *client = arg;
    client->in_flight--;
    if (committed) {
        Weir__ReportAck ack = WEIR__REPORT_ACK__INIT;
        ack.batch = batch;
        Weir__Frame frame = WEIR__FRAME__INIT;
        frame.body_case = WEIR__FRAME__BODY_REPORT_ACK;
        frame.report_ack = &ack;
        client_send(client, &frame, NULL, 0);
    }
    client_release(client);
}

static void on_report(struct service *service, struct client *client, const Weir__Report *report)
{
    if (service->draining || !is_itself(service, client, &report->node, WEIR__ROLE__ROLE_EDGE, NULL))
        return;
    client->in_flight++;
    audit_take(service->options.audit, report, on_report_done, client);
}

static void on_answered(void *asker, Weir__Frame *frame, const struct link_payload *payloads, size_t count)
{
    struct client *client = asker;
    client->in_flight--;
    client_send(client, frame, payloads, count);
    client_release(client);
}

static bool is_there(const void *asker)
{
    return ((const struct client *)asker)->peer != NULL;
}

static void on_question(struct service *service, struct client *client, const struct link_message *message)
{
    static const struct question_asker functions = { .answered = on_answered, .is_there = is_there };
    client->in_flight++;
    questions_take(service->options.questions, link_peer_name(client->peer), message, &functions, client);
}

/* --- operators --- */

static void on_answer(void *arg, uint64_t id, unsigned status, const char *error, const char *body)
{
    struct client *client = arg;
    client->in_flight--;
    Weir__AdminReply reply = WEIR__ADMIN_REPLY__INIT;
    char *cut = xstrndup(error != NULL ? error : "", WIRE_REPLY_MAX);
    reply.id = id;
    reply.status = status;
    reply.error = wire_text(cut);
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_ADMIN_REPLY;
    frame.admin_reply = &reply;
    struct link_payload pieces[WIRE_PAYLOADS_MAX];
    size_t count = 0, len = body != NULL ? strlen(body) : 0;
    for (size_t at = 0; at < len && count < WIRE_PAYLOADS_MAX; at += pieces[count++].len)
        pieces[count] = (struct link_payload){ body + at, len - at < WIRE_PAYLOAD_MAX ? len - at : WIRE_PAYLOAD_MAX };
    client_send(client, &frame, pieces, count);
    free(cut);
    client_release(client);
}

static void on_admin_request(struct service *service, struct client *client, const struct link_message *message)
{
    client->in_flight++;
    admin_ask(service->options.admin, link_peer_name(client->peer), message->frame->admin_request, message->payloads,
              on_answer, client);
}

/* --- everybody --- */

static void refuse(struct service *service, const struct link_peer *peer, int body)
{
    metric_add(service->refused_role, 1);
    log_write(LOG_WARNING, "%s (%s) may not ask for what it asked for (frame %d)", link_peer_name(peer),
              role_text(link_peer_role(peer)), body);
}

/* Scanners ask for signatures and about learning, edges for everything else. */
static bool may_ask(const struct link_peer *peer, const Weir__Question *question)
{
    bool scanners = question->body_case == WEIR__QUESTION__BODY_SIGNATURE_LIST || question->body_case == WEIR__QUESTION__BODY_SIGNATURE_FETCH ||
                    question->body_case == WEIR__QUESTION__BODY_LEARN_ASK || question->body_case == WEIR__QUESTION__BODY_LEARN_TELL;
    return link_peer_role(peer) == (scanners ? WEIR__ROLE__ROLE_SCANNER : WEIR__ROLE__ROLE_EDGE);
}

static void on_message(void *arg, struct link_peer *peer, const struct link_message *message)
{
    struct service *service = arg;
    struct client *client = link_peer_data(peer);
    if (client == NULL) {
        client = xcalloc(1, sizeof *client);
        *client = (struct client){ .service = service, .peer = peer };
        link_peer_set_data(peer, client);
    }
    const Weir__Frame *frame = message->frame;
    bool node = is_node(peer), operator= link_peer_role(peer) == WEIR__ROLE__ROLE_OPERATOR;
    if (frame->body_case == WEIR__FRAME__BODY_NODE_HELLO && node)
        on_hello(service, client, frame->node_hello);
    else if (frame->body_case == WEIR__FRAME__BODY_HEARTBEAT && node)
        on_heartbeat(service, client, frame->heartbeat);
    else if (frame->body_case == WEIR__FRAME__BODY_POLICY_REQUEST && node)
        on_policy_request(service, client, frame->policy_request);
    else if (frame->body_case == WEIR__FRAME__BODY_REPORT && node)
        on_report(service, client, frame->report);
    else if (frame->body_case == WEIR__FRAME__BODY_QUESTION && may_ask(peer, frame->question))
        on_question(service, client, message);
    else if (frame->body_case == WEIR__FRAME__BODY_ADMIN_REQUEST && operator)
        on_admin_request(service, client, message);
    else
        refuse(service, peer, (int)frame->body_case);
}

static void client_gone(struct service *service, struct link_peer *peer)
{
    struct client *client = link_peer_data(peer);
    if (client == NULL)
        return;
    link_peer_set_data(peer, NULL);
    beats_forget(service->options.beats, &client->beat);
    client->peer = NULL;
    client_release(client);
}

static void on_gone(void *arg, struct link_peer *peer)
{
    struct service *service = arg;
    if (is_node(peer))
        log_write(LOG_INFO, "node=%s disconnected", link_peer_name(peer));
    client_gone(service, peer);
}

struct service *service_new(const struct service_options *options, struct error *why)
{
    static const struct link_server_handlers handlers = { .message = on_message, .gone = on_gone };
    struct service *service = xcalloc(1, sizeof *service);
    service->options = *options;
    service->refused_role = metrics_counter(options->metrics, "weir_refused_peers_total", "reason=\"role\"");
    service->refused_name = metrics_counter(options->metrics, "weir_refused_peers_total", "reason=\"name\"");
    service->told_former = metrics_counter(options->metrics, "weir_db_former_primaries_told_total", NULL);
    service->server = link_server_new(options->hub, options->endpoint, &handlers, service, why);
    if (service->server == NULL) {
        free(service);
        return NULL;
    }
    return service;
}

static void let_go(void *arg, struct link_peer *peer)
{
    client_gone(arg, peer);
}

void service_free(struct service **freed)
{
    struct service *service = *freed;
    *freed = NULL;
    if (service == NULL)
        return;
    link_server_each(service->server, let_go, service);
    link_server_free(&service->server);
    free(service);
}

void service_drain(struct service *service)
{
    service->draining = true;
    questions_drain(service->options.questions);
}

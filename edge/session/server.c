/*
 * server.c - the sessions of one worker: coming in, deadlines, draining, and the end
 *
 * Nothing here speaks SMTP. A session that is over is put into a list and freed on the loop's next turn, because the end is often found inside a
 * callback of what the session owns (a delivery, a scan, its connection).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/fair.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/session/internal.h"
#include "edge/session/notice.h"
#include "edge/spool/runner.h"

/* So long a farm has to be full before new clients hear of it at once. No key: it is how scanners' news are told from noise (load_interval, a busy
 * moment), and who comes meanwhile loses nothing: scan_wait is what limits its waiting. Looks further apart than the second say nothing of what was between. */
#define FULL_MS 1000
#define FULL_LOOK_MS 500

struct denial {
    enum { REFUSED_LIMIT, REFUSED_CLIENT_LIMIT, REFUSED_BUSY, REFUSED_DRAINING, REFUSED_MEMORY, REFUSED_REPUTATION } result; /* of weir_smtp_sessions_total */
    const char *enhanced, *words;
};

static void on_tick(evutil_socket_t fd, short what, void *arg);
static void on_bury(evutil_socket_t fd, short what, void *arg);
static void on_answers(evutil_socket_t fd, short what, void *arg);

static void make_metrics(struct server *server, struct metrics *metrics)
{
    static const char *const limits[] = { "recipients", "size", "commands", "errors", "time", "rate", "unknown-recipients",
                                         "spool" };
    server->sessions_now = metrics_gauge(metrics, "weir_smtp_sessions", NULL);
    server->recipients_accepted = metrics_counter(metrics, "weir_recipients_accepted_total", NULL);
    for (int d = 0; d < DISPOSITION_COUNT; d++) {
        const char *name = disposition_name((enum disposition)d);
        server->recipients[d] = metrics_counter(metrics, "weir_recipients_total", "disposition=\"%s\"", name);
        server->messages[0][d] = metrics_counter(metrics, "weir_messages_total", "direction=\"inbound\",disposition=\"%s\"", name);
        server->messages[1][d] = metrics_counter(metrics, "weir_messages_total", "direction=\"outbound\",disposition=\"%s\"", name);
    }
    static const char *const layers[LAYERS] = { "reputation", "throttle", "dns-list", "content" };
    for (int l = 0; l < LAYERS; l++)
        server->layers[l] = metrics_counter(metrics, "weir_refusals_total", "layer=\"%s\"", layers[l]);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        server->limits_hit[i] = metrics_counter(metrics, "weir_smtp_limits_total", "limit=\"%s\"", limits[i]);
    static const char *const stored[SPOOL_STORED_COUNT] = {
        [SPOOL_STORED] = "stored", [SPOOL_FULL] = "full", [SPOOL_UNAVAILABLE] = "unavailable"
    };
    for (int s = 0; s < SPOOL_STORED_COUNT; s++)
        server->stores[s] = metrics_counter(metrics, "weir_edge_spool_stores_total", "result=\"%s\"", stored[s]);
    server->store_seconds =
        metrics_histogram(metrics, "weir_edge_spool_store_seconds", metrics_seconds_bounds, metrics_seconds_count, NULL);
    server->notices_stored = metrics_counter(metrics, "weir_virus_notices_total", NULL);
    server->stopped[0] = metrics_counter(metrics, "weir_outbound_messages_total", "result=\"refused\"");
    server->stopped[1] = metrics_counter(metrics, "weir_outbound_messages_total", "result=\"held\"");
    server->in_session = metrics_counter(metrics, "weir_edge_spool_bypassed_total", NULL);
    server->maybe_stored = metrics_counter(metrics, "weir_edge_spool_bypassed_maybe_duplicates_total", NULL);
    for (size_t i = 0; i < SPAM_FATES; i++)
        server->spam_fates[i] = metrics_counter(metrics, "weir_spam_recipients_total", "fate=\"%s\"", spam_fate_name((enum spam_fate)i));
    for (size_t i = 0; i < 2; i++) {
        server->personal_questions[i] = metrics_counter(metrics, "weir_personal_questions_total", "result=\"%s\"", i == 0 ? "unavailable" : "known");
        server->personal_blocked[i] = metrics_counter(metrics, "weir_personal_blocked_total", "fate=\"%s\"", i == 0 ? "quarantine" : "discard");
    }
    server->spam_incomplete = metrics_counter(metrics, "weir_spam_incomplete_total", NULL);
    server->exceptions_used[0] = metrics_counter(metrics, "weir_exceptions_used_total", "limit=\"size\"");
    server->exceptions_used[1] = metrics_counter(metrics, "weir_exceptions_used_total", "limit=\"recipients\"");
    server->message_size =
        metrics_histogram(metrics, "weir_message_size_bytes", metrics_bytes_bounds, metrics_bytes_count, NULL);
    server->relay_seconds =
        metrics_histogram(metrics, "weir_relay_duration_seconds", metrics_seconds_bounds, metrics_seconds_count, NULL);
    server->memory_used = metrics_gauge(metrics, "weir_message_bytes", "kind=\"memory\"");
    server->disk_used = metrics_gauge(metrics, "weir_message_bytes", "kind=\"disk\"");
    server->memory_max = metrics_gauge(metrics, "weir_message_budget_bytes", "kind=\"memory\"");
    server->disk_max = metrics_gauge(metrics, "weir_message_budget_bytes", "kind=\"disk\"");
    server->ahead_bytes = metrics_gauge(metrics, "weir_edge_spool_ahead_bytes", NULL);
}

static void apply_budget(struct server *server)
{
    const struct edge_settings *edge = &server->config->edge;
    server->budget.memory_max = edge->message_memory;
    server->budget.disk_max = edge->message_disk;
    server->budget.threshold = edge->memory_threshold;
    server->ahead.max = edge->spool_ahead;
}

struct server *server_new(const struct server_options *options)
{
    struct server *server = xcalloc(1, sizeof *server);
    server->base = options->base;
    server->config = edge_config_ref(options->config);
    server->farm = options->farm;
    server->pool = options->pool;
    server->dns = options->dns;
    server->verifier = options->verifier;
    server->limiter = options->limiter;
    server->outbreak = options->outbreak;
    server->feed = options->feed;
    server->census = options->census;
    server->node_name = options->node;
    server->worker = options->worker;
    server->metrics = options->metrics;
    server->budget.tmp_dir = xstrdup(options->config->edge.tmp_dir);
    apply_budget(server);
    make_metrics(server, options->metrics);

    uint64_t nonce;
    if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce)
        fatal("getrandom: %m");
    queue_id_source_init(&server->ids, options->node, options->worker, nonce);
    census_begin(server->census, server->worker);

    wheel_init(&server->wheel, clock_ms());
    server->tick = event_new(server->base, -1, EV_PERSIST, on_tick, server);
    server->bury = event_new(server->base, -1, 0, on_bury, server);
    server->answers = event_new(server->base, -1, 0, on_answers, server);
    event_add(server->tick, &(struct timeval){ 0, WHEEL_SLOT_MS * 1000 });
    return server;
}

void server_set_node(struct server *server, struct node *node)
{
    server->node = node;
}

void server_set_stops(struct server *server, const Weir__OutboundStops *told, const Weir__OutboundPools *pools)
{
    stops_set(&server->stops, told, pools);
}

static void free_names(struct server *server)
{
    for (char **name = server->cluster_names; name != NULL && *name != NULL; name++)
        free(*name);
    free(server->cluster_names);
    server->cluster_names = NULL;
}

void server_set_names(struct server *server, const Weir__ClusterState *state)
{
    size_t count = 0;
    free_names(server);
    server->cluster_names = xcalloc(state->n_nodes + 1, sizeof *server->cluster_names);
    for (size_t i = 0; i < state->n_nodes; i++) {
        const Weir__NodeEntry *entry = state->nodes[i];
        char *name = entry->role == WEIR__ROLE__ROLE_EDGE && entry->endpoint.len > 0 ? xstrndup((const char *)entry->endpoint.data, entry->endpoint.len) : NULL;
        bool known = name == NULL;
        for (size_t k = 0; k < count && !known; k++)
            known = strcmp(server->cluster_names[k], name) == 0;
        if (known)
            free(name);
        else
            server->cluster_names[count++] = name;
    }
}

const char *const *server_names(const struct server *server)
{
    return (const char *const *)server->cluster_names;
}

void server_set_personal(struct server *server, bool blocks)
{
    server->personal_blocks = blocks;
}

void server_set_cluster(struct server *server, const char *mark)
{
    snprintf(server->cluster, sizeof server->cluster, "%s", mark);
}

struct port *server_port(struct server *server, const char *name)
{
    static const char *const results[] = { "limit", "client-limit", "busy", "draining", "memory", "reputation" };
    static const char *const proxied[PROXIED_COUNT] = {
        [PROXIED_CLIENT] = "client", [PROXIED_LOCAL] = "local", [PROXIED_BAD] = "bad", [PROXIED_LATE] = "late"
    };
    for (struct port *port = server->ports; port != NULL; port = port->next)
        if (strcmp(port->name, name) == 0)
            return port;
    struct port *port = xcalloc(1, sizeof *port);
    port->server = server;
    port->name = xstrdup(name);
    port->accepted =
        metrics_counter(server->metrics, "weir_smtp_sessions_total", "listener=\"%s\",result=\"accepted\"", name);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        port->refused[i] = metrics_counter(server->metrics, "weir_smtp_sessions_total", "listener=\"%s\",result=\"%s\"", name,
                                           results[i]);
    port->relay_refused = metrics_counter(server->metrics, "weir_relay_refused_total", "listener=\"%s\"", name);
    for (size_t i = 0; i < 2; i++)
        port->unregistered[i] = metrics_counter(server->metrics, "weir_unregistered_recipients_total", "listener=\"%s\",result=\"%s\"", name, i == 0 ? "accepted" : "refused");
    for (size_t i = 0; i < PROXIED_COUNT; i++)
        port->proxied[i] = metrics_counter(server->metrics, "weir_proxy_headers_total", "listener=\"%s\",result=\"%s\"", name, proxied[i]);
    port->next = server->ports;
    server->ports = port;
    return port;
}

/* ---- coming in ---- */

static struct session *session_new(struct port *port, int fd, const struct netaddr *peer)
{
    struct server *server = port->server;
    const struct edge_listener *listener = edge_config_listener(server->config, port->name);
    struct session *session = xcalloc(1, sizeof *session);
    session->server = server;
    session->port = port;
    session->config = edge_config_ref(server->config);
    session->limits = &listener->settings;
    session->client = *peer;
    netaddr_format(peer, session->client_text);
    session->began_ms = session->entered_ms = session->input_ms = clock_ms();
    smtp_parser_init(&session->parser, (size_t)session->limits->max_command_line, (size_t)session->limits->max_text_line);
    session->parser.lenient = session_is_lenient(session);
    session->conn = net_accept(server->base, fd, &session_net_handlers, session);
    net_set_source(session->conn, fair_source(session->client_text, strlen(session->client_text)));
    census_enter(server->census, server->worker, peer);
    server->sessions++;
    metric_set(server->sessions_now, server->sessions);
    return session;
}

/* Those who are here need the last eighth to finish: whoever came now would hear 452 after it sent its message. */
static bool memory_is_scarce(const struct message_budget *budget)
{
    return budget->memory_used > budget->memory_max - budget->memory_max / 8;
}

bool server_is_full(const struct server *server)
{
    return census_sessions(server->census) >= server->config->edge.max_sessions || memory_is_scarce(&server->budget);
}

/* The local view of a farm that is full: all who came in the last second found it so. A scan takes a few milliseconds and what we know of the scanners is up
 * to 200 ms old, so one look would turn clients away whose message finds a slot. */
static bool farm_stays_full(struct server *server)
{
    uint64_t now = clock_ms();
    bool room = scan_farm_has_room(server->farm);
    if (room || server->full_since_ms == 0 || now - server->full_seen_ms > FULL_LOOK_MS)
        server->full_since_ms = room ? 0 : now;
    server->full_seen_ms = now;
    return !room && now - server->full_since_ms >= FULL_MS;
}

/* Why a client may not come in now; NULL: it may. */
static const struct denial *server_denial(const struct port *port, const struct netaddr *client)
{
    static const struct denial draining = { REFUSED_DRAINING, "4.3.2", "Service is being drained, try another host" },
                                full = { REFUSED_LIMIT, "4.3.2", "Too many sessions, try again later" },
                                scarce = { REFUSED_MEMORY, "4.3.1", "Insufficient memory, try another host" },
                                one_client = { REFUSED_CLIENT_LIMIT, "4.7.0", "Too many sessions from your address" },
                                starting = { REFUSED_BUSY, "4.3.0", "Starting up, try again later" },
                                busy = { REFUSED_BUSY, "4.7.0", "I'm busy, try again later" },
                                ill = { REFUSED_REPUTATION, "5.7.1", "Service unavailable; client blocked for its reputation" };
    struct server *server = port->server;
    const struct listener_settings *settings = &edge_config_listener(server->config, port->name)->settings;

    if (reputation_against(port, client) != NULL) /* first: it needs no room, and is not to come again */
        return &ill;
    if (census_sessions(server->census) >= server->config->edge.max_sessions)
        return &full;
    if (server->draining)
        return &draining;
    if (memory_is_scarce(&server->budget))
        return &scarce;
    if (settings->sessions_per_client > 0 && census_of_client(server->census, client) >= settings->sessions_per_client)
        return &one_client;
    if (server->policy == NULL)
        return &starting;
    if (server->farm != NULL && settings->profile != PROFILE_HANDOFF && (!scan_farm_has_live(server->farm) || farm_stays_full(server)))
        return &busy;
    return NULL;
}

static int denial_code(const struct denial *denial)
{
    return denial->result == REFUSED_REPUTATION ? 554 : 421;
}

static void count_denial(const struct port *port, const struct denial *denial, const struct netaddr *client)
{
    char text[NETADDR_TEXT_MAX];
    metric_add(port->refused[denial->result], 1);
    if (denial->result != REFUSED_REPUTATION)
        return;
    server_count_stopped(port->server, LAYER_REPUTATION);
    reputation_note(port, reputation_against(port, client), netaddr_format(client, text), denial->words);
}

/* Whom we refuse at once gets no session: the reply is tried once, and the descriptor is free again. So is who is refused for good, though RFC 5321 3.1 would
 * wait for his QUIT: those who send floods must cost nothing, and all of the reply has been given to the kernel. */
static void turn_away(struct port *port, int fd, const struct netaddr *peer, const struct denial *denial)
{
    char line[512], client[NETADDR_TEXT_MAX];
    int code = denial_code(denial);
    const char *contact = port->server->config->cluster.contact;
    bool told = code >= 500 && contact != NULL && *contact != '\0';
    int len = snprintf(line, sizeof line, "%d %s %s %s%s%.256s\r\n", code, denial->enhanced, port->server->config->hostname, denial->words, told ? " " : "",
                       told ? contact : "");
    if (!edge_config_listener(port->server->config, port->name)->settings.implicit_tls) { /* where no word can be said in clear */
        ssize_t sent = write(fd, line, (size_t)len);
        (void)sent; /* a fresh socket has room, and a client that is gone needs no reply */
    }
    close(fd);
    count_denial(port, denial, peer);
    log_write(LOG_INFO, "NOQUEUE: reject: CONNECT from unknown[%s]: %d %s %s", netaddr_format(peer, client), code, denial->enhanced, denial->words);
}

void server_refuse(struct session *session, const char *enhanced, const char *words)
{
    if (session->limits->implicit_tls && !net_is_tls(session->conn))
        session_close(session);
    else
        session_dismiss(session, FAREWELL_REFUSED, enhanced, words);
}

static void refuse_for_good(struct session *session, const struct denial *denial)
{
    bool silent = session->limits->implicit_tls && !net_is_tls(session->conn);
    session->farewell = FAREWELL_REFUSED;
    if (!silent)
        session_reply(session, STAGE_CONNECT, denial_code(denial), denial->enhanced, "%s %s", session->config->hostname, denial->words);
    session_close(session);
}

bool server_readmit(struct session *session, const struct netaddr *client)
{
    struct server *server = session->server;
    census_leave(server->census, server->worker, &session->client);
    const struct denial *denial = server_denial(session->port, client);
    session->client = *client;
    netaddr_format(client, session->client_text);
    net_set_source(session->conn, fair_source(session->client_text, strlen(session->client_text)));
    census_enter(server->census, server->worker, client);
    if (denial == NULL)
        return true;
    count_denial(session->port, denial, client);
    session_stop_lookup(session);
    if (!session->unnamed)
        report_reject(session, NULL, "CONNECT", denial_code(denial), denial->enhanced, denial->words, NULL, NULL);
    if (denial->result == REFUSED_REPUTATION)
        refuse_for_good(session, denial);
    else
        server_refuse(session, denial->enhanced, denial->words);
    return false;
}

/* A load balancer's connections wait for the header: until then nobody knows who is to be counted, or told anything. */
void server_accept(struct port *port, int fd, const struct netaddr *peer)
{
    struct server *server = port->server;
    bool balancer = edge_peers_contain(&edge_config_listener(server->config, port->name)->balancers, peer);
    const struct denial *denial = server_denial(port, peer);
    if (denial != NULL && (!balancer || denial->result == REFUSED_LIMIT)) {
        turn_away(port, fd, peer, denial);
        return;
    }
    struct session *session = session_new(port, fd, peer);
    if (balancer) {
        balancer_begin(session);
        return;
    }
    metric_add(port->accepted, 1);
    session_begin(session);
}

/* ---- deadlines ---- */

void server_schedule(struct session *session, uint64_t due_ms)
{
    wheel_set(&session->server->wheel, &session->timer, due_ms);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct server *server = arg;
    uint64_t now = clock_ms();
    struct wheel_entry *entry;
    census_tick(server->census, server->worker);
    while ((entry = wheel_pop(&server->wheel, now)) != NULL)
        session_on_time((struct session *)entry, now);
}

void server_count_limit(struct server *server, enum limit limit)
{
    metric_add(server->limits_hit[limit], 1);
}

void server_count_stopped(struct server *server, enum layer layer)
{
    metric_add(server->layers[layer], 1);
}

static void on_answers(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct server *server = arg;
    census_answered(server->census, server->worker, server->answered);
    server->answered = 0;
}

void server_answered(struct server *server)
{
    if (server->answered++ == 0)
        event_add(server->answers, &(struct timeval){ 0, 0 });
}

/* ---- the end of a session ---- */

void server_bury(struct session *session)
{
    struct server *server = session->server;
    if (session->dead)
        return;
    session->dead = true;
    session->next_dead = server->dead;
    if (server->dead == NULL)
        event_add(server->bury, &(struct timeval){ 0, 0 });
    server->dead = session;
}

static void session_free(struct session *session)
{
    struct server *server = session->server;
    transaction_free(&session->tx, session->farewell);
    limits_cancel(session);
    auth_free(&session->auth);
    net_free(&session->conn);
    wheel_remove(&session->timer);
    session_stop_lookup(session);
    dnsbl_cancel(&session->dnsbl_query);
    report_disconnect(session);
    census_leave(server->census, server->worker, &session->client);
    edge_config_unref(&session->config);
    free(session->helo);
    free(session->client_name);
    free(session->listed);
    free(session->overrun);
    free(session->told_helo);
    free(session);
    server->sessions--;
    metric_set(server->sessions_now, server->sessions);
}

static void say_drained(struct server *server)
{
    void (*drained)(void *arg) = server->drained;
    server->drained = NULL;
    if (drained != NULL)
        drained(server->drained_arg);
}

static void on_bury(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct server *server = arg;
    while (server->dead != NULL) {
        struct session *session = server->dead;
        server->dead = session->next_dead;
        session_free(session);
    }
    if (server->draining && server->sessions == 0)
        say_drained(server);
}

static void visit_break_off(void *arg, struct wheel_entry *entry)
{
    (void)arg;
    struct session *session = (struct session *)entry;
    if (session->farewell == FAREWELL_NONE)
        session->farewell = FAREWELL_STOP;
    server_bury(session);
}

void server_break_off(struct server *server)
{
    wheel_each(&server->wheel, visit_break_off, NULL);
    on_bury(-1, 0, server);
}

void server_free(struct server **serverp)
{
    struct server *server = *serverp;
    *serverp = NULL;
    if (server == NULL)
        return;
    server->draining = false;
    server_break_off(server);
    notices_cancel(server);
    for (struct port *port = server->ports, *next; port != NULL; port = next) {
        next = port->next;
        free(port->name);
        free(port);
    }
    event_free(server->tick);
    event_free(server->answers);
    event_free(server->bury);
    policy_free(&server->policy);
    stops_fini(&server->stops);
    free_names(server);
    edge_config_unref(&server->config);
    free((char *)(uintptr_t)server->budget.tmp_dir);
    free(server);
}

/* ---- what changes while it runs ---- */

bool server_accepts_config(const struct server *server, const struct edge_config *config, struct error *why)
{
    for (const struct port *port = server->ports; port != NULL; port = port->next)
        if (edge_config_listener(config, port->name) == NULL) {
            error_set(why, "[listener \"%s\"] is missing but its sockets are open: that needs a restart", port->name);
            return false;
        }
    return true;
}

void server_set_config(struct server *server, struct edge_config *config)
{
    edge_config_ref(config);
    edge_config_unref(&server->config);
    server->config = config;
    apply_budget(server);
}

void server_set_policy(struct server *server, struct policy **taken, uint64_t epoch)
{
    server->policy_epoch = epoch;
    policy_free(&server->policy);
    server->policy = *taken;
    *taken = NULL;
}

static void visit_drain(void *arg, struct wheel_entry *entry)
{
    struct server *server = arg;
    server_schedule((struct session *)entry, server->drain_since_ms + WHEEL_SLOT_MS);
}

void server_drain(struct server *server, void (*drained)(void *arg), void *arg)
{
    server->drained = drained;
    server->drained_arg = arg;
    if (!server->draining) {
        server->draining = true;
        server->drain_since_ms = clock_ms();
        wheel_each(&server->wheel, visit_drain, server);
    }
    if (server->sessions == 0)
        event_add(server->bury, &(struct timeval){ 0, 0 });
}

void server_undrain(struct server *server)
{
    server->draining = false;
    server->drained = NULL;
}

unsigned server_sessions(const struct server *server)
{
    return server->sessions;
}

bool server_drain_is_over(const struct session *session, uint64_t now_ms, uint64_t *look_again_ms)
{
    const struct server *server = session->server;
    uint64_t idle_since = session->input_ms > session->entered_ms ? session->input_ms : session->entered_ms;
    uint64_t last = server->drain_since_ms + session->config->edge.drain_timeout;
    uint64_t idle = session->config->edge.drain_idle, due = idle_since + idle < last ? idle_since + idle : last;
    if (!session_between_messages(session))
        due = last;
    *look_again_ms = due;
    return now_ms >= due;
}

struct message_budget *server_budget(struct server *server)
{
    return &server->budget;
}

struct spool_ahead *server_ahead(struct server *server)
{
    return &server->ahead;
}

struct queue_id_source *server_ids(struct server *server)
{
    return &server->ids;
}

struct reading {
    struct readers *readers;
    bool later;
};

static void on_reader(void *arg, const struct relay_answer *target)
{
    struct reading *reading = arg;
    char destination[NEXT_HOP_TEXT_MAX];
    if (target->result == RELAY_TO_NEXT_HOP)
        readers_add(reading->readers, target->address, next_hop_format(destination, &target->hop));
    else
        reading->later |= target->result == RELAY_REFUSED && target->code < 500;
}

enum readers_found server_readers(const struct server *server, const char *address, struct readers *readers)
{
    struct smtp_address parsed;
    struct reading reading = { .readers = readers };
    struct relay_answer answer;
    if (smtp_mailbox_parse(&parsed, address, strlen(address), true) != SMTP_ADDRESS_OK)
        return READERS_NOWHERE;
    if (server->policy == NULL)
        return READERS_LATER;
    relay_route(&answer, server->policy, server->config->edge.mx_delivery, &parsed);
    if (answer.result == RELAY_SEVERAL)
        relay_expand(&answer, server->policy, server->config->edge.mx_delivery, &parsed, on_reader, &reading);
    else
        on_reader(&reading, &answer);
    return readers->count > 0 ? READERS_FOUND : reading.later ? READERS_LATER : READERS_NOWHERE;
}

uint64_t server_policy_epoch(const struct server *server)
{
    return server->policy_epoch;
}

void server_route(const struct server *server, const char *address, struct spool_route *out)
{
    struct smtp_address parsed;
    struct relay_answer answer;
    *out = (struct spool_route){ .kind = SPOOL_ROUTE_NONE };
    if (server->policy == NULL || smtp_mailbox_parse(&parsed, address, strlen(address), true) != SMTP_ADDRESS_OK)
        return;
    relay_route_again(&answer, server->policy, server->config->edge.mx_delivery, &parsed);
    if (answer.result == RELAY_TO_NEXT_HOP) {
        out->kind = SPOOL_ROUTE_TO;
        next_hop_format(out->to, &answer.hop);
    } else if (answer.result == RELAY_DISCARD) {
        out->kind = SPOOL_ROUTE_DISCARD;
    } else if (strcmp(answer.why, "route") == 0) {
        out->kind = SPOOL_ROUTE_ERROR;
        out->code = answer.code;
        memcpy(out->enhanced, answer.enhanced, sizeof out->enhanced);
        snprintf(out->text, sizeof out->text, "%s", answer.text);
    }
}

void server_observe(struct server *server)
{
    metric_set(server->sessions_now, server->sessions);
    metric_set(server->memory_used, (double)server->budget.memory_used);
    metric_set(server->disk_used, (double)server->budget.disk_used);
    metric_set(server->memory_max, (double)server->budget.memory_max);
    metric_set(server->disk_max, (double)server->budget.disk_max);
    metric_set(server->ahead_bytes, (double)server->ahead.used);
}

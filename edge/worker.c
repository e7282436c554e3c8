/*
 * worker.c - one worker process: puts the rooms of the edge together on one event loop
 *
 * Each worker has its own link to the coordinators, its own links to the scanners and its own next-hop connections; only the census is shared
 * with the others. The cluster state says what this node should be (active or drained) and the worker makes it so; what it
 * reports says how far it is.
 */
#include <ifaddrs.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/evp.h>
#include "common/clock.h"
#include "common/fair.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/process_stats.h"
#include "edge/edge.h"
#include "edge/handover.h"
#include "edge/outbreak/outbreak.h"
#include "edge/session/notice.h"
#include "edge/session/session.h"
#include "edge/spool/runner.h"
#include "proto/event_log.h"

#define START_LOOK_MS 10u
#define START_PATIENCE_MS 3000u /* a new worker lets clients wait that long for its policy and scanners; then they are answered 421 */
#define LAST_REPORTS_MS 5000u  /* at the end: for audit rows to be acknowledged */
#define CLUSTER_MARK_BYTES 8u /* in hex; enough for clusters that do not choose theirs */
#define STOP_LOOK_MS 20u
#define STOP_EXTRA_MS 30000u   /* beyond drain_timeout, for messages whose last answer is still awaited */

struct door { /* one listening socket */
    struct port *port;
    struct worker *worker;
    const char *name; /* of its listener's section */
    struct net_listener *listener; /* NULL: closed while draining */
    int fd;
};

struct doorplate { /* one address on which others reach a listener of the relay profile */
    Weir__Listener listener;
    char endpoint[NETADDR_TEXT_MAX];
};

struct worker {
    const struct edge_process *process;
    struct edge_config *config;  /* what farm and node took at start */
    struct edge_config *current; /* of the last reload */
    struct event_base *base;
    struct metrics metrics;
    struct link_hub *hub;
    struct scan_farm *farm;
    struct dns *dns;
    struct netaddr *own_addresses;
    size_t own_address_count;
    struct doorplate *doorplates; /* of worker 0: what the cluster is told of our listeners */
    Weir__Listener **listeners;
    size_t listener_count;
    char address_texts[WIRE_ADDRESSES_MAX][NETADDR_TEXT_MAX]; /* where the world reaches this edge */
    ProtobufCBinaryData addresses[WIRE_ADDRESSES_MAX];
    size_t address_count;
    struct delivery_pool *pool;
    struct verifier *verifier;
    struct limiter *limiter;
    struct outbreak *outbreak;
    struct feed *feed;
    struct server *server;
    struct node *node;
    struct spool_runner *runner;
    struct handovers *handovers;
    struct door *doors;
    struct event *signals[4], *reload_soon, *start_timer, *stop_timer;
    struct process_stats *process_stats;
    bool has_policy, serving, draining, no_sessions, drained, stopping;
    uint64_t started_ms;
    uint64_t stop_at_ms, reports_until_ms;
};

static bool is_own(const struct worker *worker, const struct netaddr *endpoint)
{
    for (size_t i = 0; i < worker->own_address_count; i++)
        if (worker->own_addresses[i].port == endpoint->port && netaddr_equal(&worker->own_addresses[i], endpoint))
            return true;
    return false;
}

/* Draining, for those who have nowhere else to go. A load balancer has; and what another edge passes on goes no further, or it could go in circles.
 * One weir.conf for all edges names this one in drain_to, too. */
static bool pass_on(struct door *door, int fd, const struct netaddr *peer)
{
    struct worker *worker = door->worker;
    const struct edge_config *config = worker->current;
    const struct edge_listener *listener = edge_config_listener(config, door->name);
    if (!worker->draining || worker->stopping || listener->drain_to_count == 0 || edge_peers_contain(&listener->balancers, peer) ||
        handovers_count(worker->handovers) >= edge_config_handovers(config, worker->process->workers))
        return false;
    struct netaddr *others = xcalloc(listener->drain_to_count, sizeof *others);
    size_t count = 0;
    for (size_t i = 0; i < listener->drain_to_count; i++)
        if (!is_own(worker, &listener->drain_to[i]))
            others[count++] = listener->drain_to[i];
    if (count > 0)
        handovers_take(worker->handovers, fd, peer, others, count, listener->settings.implicit_tls ? NULL : config->hostname);
    free(others);
    return count > 0;
}

static void on_accepted(void *arg, int fd, const struct netaddr *peer, const struct netaddr *local)
{
    (void)local;
    struct door *door = arg;
    if (!pass_on(door, fd, peer))
        server_accept(door->port, fd, peer);
}

/* ---- what the cluster is told of our listeners ---- */

static void add_doorplate(struct worker *worker, const struct edge_listener *listener, const struct netaddr *address)
{
    if (worker->listener_count == WIRE_LISTENERS_MAX)
        return;
    struct doorplate *plate = &worker->doorplates[worker->listener_count];
    weir__listener__init(&plate->listener);
    plate->listener.name = wire_text(listener->name);
    plate->listener.endpoint = wire_text(netaddr_format_endpoint(address, plate->endpoint));
    plate->listener.outbound = listener->settings.direction == DIRECTION_OUTBOUND;
    worker->listeners[worker->listener_count++] = &plate->listener;
}

static bool is_everywhere(const struct netaddr *address)
{
    return netaddr_equal(address, &(struct netaddr){ .family = address->family });
}

/* No host but this one has a way to it: the same address means another host elsewhere. */
static bool is_local_only(const struct netaddr *address)
{
    const uint8_t *bytes = address->bytes;
    static const uint8_t loopback[16] = { [15] = 1 };
    if (address->family == AF_INET)
        return bytes[0] == 127;
    return memcmp(bytes, loopback, sizeof loopback) == 0 || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
}

/* All on this host, as with a cluster for trials: then they have the same way to it. */
static bool is_local_cluster(const struct edge_config *config)
{
    bool local = true;
    for (size_t i = 0; i < config->coordinator_count; i++) {
        struct netaddr address;
        struct error why;
        const char *text = config->coordinators[i].listen;
        local &= strncmp(text, "tcp://", 6) == 0 && netaddr_parse_endpoint(&address, text + 6, &why) && is_local_only(&address);
    }
    return local;
}

/* own_addresses has every address of this host for a listener on all of them, but not whose it is: by its port, which nobody else has. */
static void tell_listeners(struct worker *worker)
{
    const struct edge_process *process = worker->process;
    worker->listener_count = 0;
    for (size_t i = 0; i < process->socket_count && process->worker == 0; i++) {
        const struct netaddr *bound = &process->sockets[i].address;
        const struct edge_listener *listener = edge_config_listener(worker->current, process->sockets[i].listener);
        if (listener == NULL || listener->settings.profile != PROFILE_RELAY)
            continue;
        if (!is_everywhere(bound) && (!is_local_only(bound) || is_local_cluster(worker->current)))
            add_doorplate(worker, listener, bound);
        for (size_t k = 0; k < worker->own_address_count && is_everywhere(bound); k++) {
            const struct netaddr *own = &worker->own_addresses[k];
            if (own->family == bound->family && own->port == bound->port && !is_everywhere(own) && !is_local_only(own))
                add_doorplate(worker, listener, own);
        }
    }
}

static void add_address(struct worker *worker, const struct netaddr *address)
{
    char text[NETADDR_TEXT_MAX];
    netaddr_format(address, text);
    for (size_t i = 0; i < worker->address_count; i++)
        if (strcmp(worker->address_texts[i], text) == 0)
            return;
    if (worker->address_count == WIRE_ADDRESSES_MAX)
        return;
    memcpy(worker->address_texts[worker->address_count], text, sizeof text);
    worker->addresses[worker->address_count] = wire_text(worker->address_texts[worker->address_count]);
    worker->address_count++;
}

/* What the DNS is to have of us. Every worker tells it: one that is being replaced does not take the edge out. */
static void tell_addresses(struct worker *worker)
{
    const struct edge_process *process = worker->process;
    const struct config_list *named = &worker->current->edge.public_addresses;
    struct netaddr address;
    worker->address_count = 0;
    for (size_t i = 0; i < named->count; i++)
        if (netaddr_parse(&address, named->items[i]))
            add_address(worker, &address);
    for (size_t i = 0; i < process->socket_count && named->count == 0; i++) {
        const struct netaddr *bound = &process->sockets[i].address;
        const struct edge_listener *listener = edge_config_listener(worker->current, process->sockets[i].listener);
        if (listener != NULL && listener->settings.profile == PROFILE_RELAY && listener->settings.direction != DIRECTION_OUTBOUND && !is_everywhere(bound) &&
            (!is_local_only(bound) || is_local_cluster(worker->current)))
            add_address(worker, bound);
    }
}

/* ---- doors ---- */

static void open_door(struct worker *worker, struct door *door)
{
    int fd = dup(door->fd); /* the listener closes its own */
    if (fd < 0 || (door->listener = net_listen(worker->base, fd, on_accepted, door)) == NULL)
        fatal("cannot listen: %m");
}

/* The master holds the socket too, so closing it here would let clients wait in its queue for ever. shutdown() ends listening for all
 * holders: clients are refused at once, and listen() begins again. Without a listener of ours, too: a worker that died may have left the
 * socket listening. */
static void close_door(struct door *door)
{
    net_listener_free(&door->listener);
    net_stop_listening(door->fd);
}

static void set_doors(struct worker *worker, bool open)
{
    for (size_t i = 0; i < worker->process->socket_count; i++) {
        struct door *door = &worker->doors[i];
        if (open && door->listener == NULL)
            open_door(worker, door);
        else if (!open)
            close_door(door);
    }
}

/* Clients wait in the socket's queue (their connection is made, no banner yet) until there is somebody to serve them: a worker that
 * replaces a dead one would else answer 421 until its links are up. */
static void on_start_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct worker *worker = arg;
    bool able = worker->has_policy && (worker->farm == NULL || scan_farm_has_live(worker->farm));
    if (!able && clock_ms() - worker->started_ms < START_PATIENCE_MS)
        return;
    event_del(worker->start_timer);
    if (worker->stopping)
        return;
    worker->serving = true;
    if (!worker->draining)
        spool_runner_resume(worker->runner);
    if (!worker->draining || worker->current->edge.drain_mode == DRAIN_ANSWER)
        set_doors(worker, true);

    unsigned char index = (unsigned char)worker->process->worker;
    ssize_t told = write(worker->process->ready_fd, &index, 1);
    (void)told; /* the pipe is far from full; without it only READY=1 would be late */
    log_write(LOG_INFO, "worker %u accepts sessions", worker->process->worker);
}

/* ---- draining ---- */

static void look_drained(struct worker *worker)
{
    if (worker->drained || !worker->draining || !worker->no_sessions || spool_runner_jobs(worker->runner) > 0 || node_reports_pending(worker->node) > 0)
        return;
    worker->drained = true;
    log_write(LOG_NOTICE, "drained: no session and no lease of the spool is left, and every audit row is acknowledged");
    node_heartbeat_soon(worker->node);
}

static void on_drained(void *arg)
{
    struct worker *worker = arg;
    worker->no_sessions = true;
    look_drained(worker);
}

static void on_runner_idle(void *arg)
{
    look_drained(arg);
}

static void begin_drain(struct worker *worker)
{
    if (worker->draining)
        return;
    worker->draining = true;
    worker->no_sessions = worker->drained = false;
    log_write(LOG_NOTICE, "draining: %u sessions", server_sessions(worker->server));
    if (worker->current->edge.drain_mode == DRAIN_CLOSE)
        set_doors(worker, false);
    spool_runner_drain(worker->runner);
    server_drain(worker->server, on_drained, worker);
    if (worker->node != NULL)
        node_heartbeat_soon(worker->node);
}

static void end_drain(struct worker *worker)
{
    if (!worker->draining || worker->stopping)
        return;
    worker->draining = worker->drained = false;
    log_write(LOG_NOTICE, "active again");
    server_undrain(worker->server);
    if (worker->serving) {
        set_doors(worker, true);
        spool_runner_resume(worker->runner);
    }
    if (worker->node != NULL)
        node_heartbeat_soon(worker->node);
}

/* After TERM: ends when the sessions are gone and the audit rows are with a coordinator, or in a file. From then on the other workers' sockets get all
 * clients; one that still listened would get its share of them (SO_REUSEPORT) and answer nobody. */
static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct worker *worker = arg;
    uint64_t now = clock_ms();
    bool busy = server_sessions(worker->server) > 0 || handovers_count(worker->handovers) > 0 || spool_runner_jobs(worker->runner) > 0;
    if (busy && now < worker->stop_at_ms)
        return;
    if (worker->reports_until_ms == 0) {
        set_doors(worker, false);
        server_break_off(worker->server); /* those that drain_timeout did not end; their messages are written down, too */
        worker->reports_until_ms = now + LAST_REPORTS_MS;
    }
    if (node_reports_pending(worker->node) > 0 && now < worker->reports_until_ms)
        return;
    struct error why;
    census_say_last(worker->process->census, worker->process->worker);
    if (node_reports_pending(worker->node) > 0 && !node_keep_reports(worker->node, &why))
        log_write(LOG_ERR, "%zu audit rows were not acknowledged and are lost; the log has them: %s", node_reports_pending(worker->node),
                  why.text);
    event_base_loopbreak(worker->base);
}

static void begin_stop(struct worker *worker)
{
    if (worker->stopping)
        return;
    worker->stopping = true;
    worker->stop_at_ms = clock_ms() + worker->current->edge.drain_timeout + STOP_EXTRA_MS;
    begin_drain(worker);
    event_add(worker->stop_timer, &(struct timeval){ 0, STOP_LOOK_MS * 1000 });
}

/* ---- what the cluster says ---- */

/* By its mark an edge knows the others, and itself behind a load balancer, when a route leads there. Only a hash, as strangers read it; without
 * the last part, the timeline, which is another one after a failover. */
static void tell_cluster(struct worker *worker, const ProtobufCBinaryData *identity)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[WIRE_WORD_MAX + 1], mark[2 * CLUSTER_MARK_BYTES + 1] = "";
    wire_string(text, sizeof text, identity);
    char *timeline = strrchr(text, '/');
    if (timeline != NULL)
        *timeline = '\0';
    if (*text == '\0' || EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL) != 1)
        return; /* what is known stays */
    for (size_t i = 0; i < CLUSTER_MARK_BYTES; i++)
        snprintf(mark + 2 * i, 3, "%02x", digest[i]);
    server_set_cluster(worker->server, mark);
    delivery_pool_set_cluster(worker->pool, mark);
}

static void on_state(void *arg, const Weir__ClusterState *state, const Weir__NodeEntry *entry)
{
    struct worker *worker = arg;
    if (worker->farm != NULL)
        scan_farm_update(worker->farm, state);
    tell_cluster(worker, &state->identity);
    server_set_stops(worker->server, state->outbound, state->pools);
    server_set_personal(worker->server, state->personal_blocks);
    server_set_names(worker->server, state);
    if (entry == NULL) /* not registered yet: nobody has said what we should be */
        return;
    if (entry->drain)
        begin_drain(worker);
    else
        end_drain(worker);
}

/* In a thread of the node's: a hundred thousand aliases take longer than the loop may stand still. */
static void *parse_policy(const struct wire_file *files, size_t count, struct error *why)
{
    struct policy_file copy[WIRE_PAYLOADS_MAX];
    for (size_t i = 0; i < count; i++)
        copy[i] = (struct policy_file){ files[i].name, files[i].text, files[i].len };
    return policy_parse(copy, count, why);
}

static void drop_policy(void *parsed)
{
    struct policy *policy = parsed;
    policy_free(&policy);
}

static void on_policy(void *arg, uint64_t epoch, void *parsed)
{
    struct worker *worker = arg;
    struct policy *policy = parsed;
    struct error why;
    if (policy_doubt(policy, &why))
        log_write(LOG_WARNING, "policy %llu is used as it was stored, and could not be applied any more: %s", (unsigned long long)epoch, why.text);
    server_set_policy(worker->server, &policy, epoch);
    worker->has_policy = true;
    log_write(LOG_NOTICE, "policy %llu is in force", (unsigned long long)epoch);
}

static void on_heartbeat(void *arg, Weir__Heartbeat *beat)
{
    struct worker *worker = arg;
    look_drained(worker); /* the last audit row is acknowledged without a word to us */
    beat->state = worker->drained      ? WEIR__NODE_STATE__NODE_DRAINED
                  : worker->draining   ? WEIR__NODE_STATE__NODE_DRAINING
                  : worker->has_policy ? WEIR__NODE_STATE__NODE_ACTIVE
                                       : WEIR__NODE_STATE__NODE_STARTING;
    beat->in_flight = server_sessions(worker->server);
    beat->endpoint = wire_text_cut(*worker->current->spam.authserv_id != '\0' ? worker->current->spam.authserv_id : worker->current->hostname, WIRE_ENDPOINT_MAX);
    beat->listeners = worker->listeners;
    beat->n_listeners = worker->listener_count;
    beat->leases = spool_runner_jobs(worker->runner);
    beat->reports = (uint32_t)node_reports_pending(worker->node);
    beat->passed_on = handovers_count(worker->handovers);
    beat->full = server_is_full(worker->server);
    beat->addresses = worker->addresses;
    beat->n_addresses = worker->address_count;
    server_observe(worker->server);
    process_stats_update(worker->process_stats);
}

static enum readers_found on_readers(void *arg, const char *address, struct readers *readers)
{
    const struct worker *worker = arg;
    return server_readers(worker->server, address, readers);
}

static uint64_t on_policy_epoch(void *arg)
{
    const struct worker *worker = arg;
    return server_policy_epoch(worker->server);
}

static void on_route(void *arg, const char *address, struct spool_route *out)
{
    const struct worker *worker = arg;
    server_route(worker->server, address, out);
}

static const char *on_egress(void *arg, const Weir__SpoolEnvelope *envelope)
{
    const struct worker *worker = arg;
    return server_egress(worker->server, envelope);
}

static const char *const *on_cluster_names(void *arg)
{
    const struct worker *worker = arg;
    return server_names(worker->server);
}

static void on_spam_bands(void *arg, const Weir__SpoolEnvelope *envelope, const char *address, struct spam_bands *out)
{
    const struct worker *worker = arg;
    server_spam_bands(worker->server, envelope, address, out);
}

/* A message of our own has no client, and no owner to tell. */
static void on_spooled_virus(void *arg, const Weir__SpoolEnvelope *envelope, const char *signature)
{
    const struct worker *worker = arg;
    struct netaddr client;
    char id[QUEUE_ID_LEN + 1], address[WIRE_CLIENT_MAX + 1], listener[WIRE_NAME_MAX + 1], sender[WIRE_ADDRESS_MAX + 1];
    if (netaddr_parse(&client, wire_string(address, sizeof address, &envelope->client)))
        notice_of_virus(worker->server, &client, wire_string(listener, sizeof listener, &envelope->listener),
                        wire_string(id, sizeof id, &envelope->id), wire_string(sender, sizeof sender, &envelope->sender), signature);
}

static const struct node_handlers node_handlers = {
    .state = on_state, .policy_parse = parse_policy, .policy = on_policy, .policy_free = drop_policy, .heartbeat = on_heartbeat
};

/* ---- signals ---- */

static void on_reload(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct worker *worker = arg;
    struct error why;
    const struct command *command = worker->process->command;
    struct edge_config *config =
        edge_config_load(command->config_path, command->overrides, command->override_count, &why);
    if (config == NULL) {
        log_write(LOG_ERR, "reload: %s; the last configuration stays", why.text);
        return;
    }
    if (!server_accepts_config(worker->server, config, &why) ||
        !delivery_pool_reload(worker->pool, &config->edge, &config->tls, &why)) {
        log_write(LOG_ERR, "reload: %s; the last configuration stays", why.text);
        edge_config_unref(&config);
        return;
    }
    delivery_pool_set_egresses(worker->pool, config->egresses, config->egress_count);
    edge_config_unref(&worker->current);
    worker->current = edge_config_ref(config);
    tell_listeners(worker);
    tell_addresses(worker);
    if (worker->farm != NULL)
        scan_farm_reload(worker->farm, &config->edge);
    verifier_reload(worker->verifier, &config->edge);
    limiter_reload(worker->limiter, &config->edge);
    outbreak_reload(worker->outbreak, &config->edge);
    spool_runner_reload(worker->runner, &config->edge, &config->spam, config->cluster.contact);
    fair_set_prefixes(config->cluster.source_prefix4, config->cluster.source_prefix6);
    command_open_log(&config->log, command->name, "smtpd");
    server_set_config(worker->server, config);
    edge_config_unref(&config);
    log_write(LOG_NOTICE, "reloaded: new sessions use the new configuration and certificate");
}

static void on_signal(evutil_socket_t signal, short what, void *arg)
{
    (void)what;
    struct worker *worker = arg;
    switch (signal) {
    case SIGHUP: /* one for all that came: libevent calls us once for each, before it looks at anything else */
        event_add(worker->reload_soon, &(struct timeval){ 0, 0 });
        break;
    case SIGUSR1:
        log_reopen();
        break;
    case SIGTERM:
        begin_stop(worker);
        break;
    default: /* INT from a terminal goes to the whole group: the master decides */
        break;
    }
}

/* ---- beginning and end ---- */

/* A worker that replaces a dead one reads the file anew, so that it has what the others got by HUP; a file that is broken now is
 * no reason to be without a worker. */
static struct edge_config *newest_config(const struct edge_process *process)
{
    struct error why;
    const struct command *command = process->command;
    struct edge_config *config =
        edge_config_load(command->config_path, command->overrides, command->override_count, &why);
    if (config == NULL) {
        log_write(LOG_ERR, "%s; going on with the configuration this edge was started with", why.text);
        return edge_config_ref(process->config);
    }
    for (size_t i = 0; i < process->socket_count; i++)
        if (edge_config_listener(config, process->sockets[i].listener) == NULL) {
            edge_config_unref(&config);
            return edge_config_ref(process->config);
        }
    return config;
}

static void add_own_address(struct worker *worker, const struct netaddr *address)
{
    worker->own_addresses = xrealloc(worker->own_addresses, (worker->own_address_count + 1) * sizeof *worker->own_addresses);
    worker->own_addresses[worker->own_address_count++] = *address;
}

/* A listener on all addresses is on those of each interface, too. */
static void tell_own_addresses(struct worker *worker)
{
    const struct edge_process *process = worker->process;
    struct ifaddrs *interfaces = NULL;
    if (getifaddrs(&interfaces) != 0)
        log_write(LOG_WARNING, "the addresses of this host cannot be listed: %m");
    for (size_t i = 0; i < process->socket_count; i++) {
        const struct netaddr *bound = &process->sockets[i].address;
        struct netaddr any = { .family = bound->family }, address;
        add_own_address(worker, bound);
        for (const struct ifaddrs *at = interfaces; at != NULL && netaddr_equal(bound, &any); at = at->ifa_next) {
            if (at->ifa_addr == NULL || !netaddr_from_sockaddr(&address, at->ifa_addr))
                continue;
            address.port = bound->port;
            add_own_address(worker, &address);
        }
    }
    freeifaddrs(interfaces);
    delivery_pool_set_own_addresses(worker->pool, worker->own_addresses, worker->own_address_count);
}

/* Next to the policy and the state that the node keeps. */
static void keep_reputation(struct worker *worker, const char *name)
{
    const char *folder = worker->config->cluster.state_dir;
    uint64_t most = worker->config->edge.reputation_kept;
    if (folder == NULL || *folder == '\0' || most == 0)
        return;
    char *path = xasprintf("%s/%s.reputation", folder, name);
    feed_keep(worker->feed, path, (size_t)most, worker->process->worker == 0);
    free(path);
}

static void worker_begin(struct worker *worker)
{
    static const int signals[] = { SIGHUP, SIGUSR1, SIGTERM, SIGINT };
    const struct edge_process *process = worker->process;
    const char *name = process->command->name;
    struct curve_keypair pair;
    struct error why;

    memory_keep_free();
    event_log_begin();
    worker->base = event_base_new();
    if (worker->base == NULL)
        fatal("no event loop");
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        worker->signals[i] = evsignal_new(worker->base, signals[i], on_signal, worker);
        event_add(worker->signals[i], NULL);
    }
    sigprocmask(SIG_SETMASK, process->mask, NULL); /* a HUP or USR1 before this would have ended us */
    worker->reload_soon = event_new(worker->base, -1, 0, on_reload, worker);
    worker->start_timer = event_new(worker->base, -1, EV_PERSIST, on_start_timer, worker);
    worker->stop_timer = event_new(worker->base, -1, EV_PERSIST, on_stop_timer, worker);
    metrics_init(&worker->metrics);
    worker->process_stats = process_stats_new(&worker->metrics);
    metric_add(metrics_counter(&worker->metrics, "weir_worker_deaths_total", "reason=\"died\""),
               census_take_ends(process->census, process->worker, CENSUS_DIED));
    metric_add(metrics_counter(&worker->metrics, "weir_worker_deaths_total", "reason=\"hung\""),
               census_take_ends(process->census, process->worker, CENSUS_HUNG));
    metric_add(metrics_counter(&worker->metrics, "weir_messages_orphaned_total", NULL),
               census_take_orphans(process->census, process->worker));

    if (!curve_keypair_read(&pair, worker->config->cluster.key_file, &why))
        fatal("[cluster] key_file: %s", why.text);
    worker->hub = link_hub_new(worker->base, &pair, &worker->metrics);
    link_hub_configure(worker->hub, &worker->config->cluster);
    fair_set_prefixes(worker->config->cluster.source_prefix4, worker->config->cluster.source_prefix6);
    explicit_bzero(&pair, sizeof pair);
    if (worker->config->edge.scan)
        worker->farm =
            scan_farm_new(worker->base, worker->hub, &worker->config->edge, name, process->worker, &worker->metrics);
    else
        log_write(LOG_WARNING, "scan = off: mail passes unscanned");
    worker->dns = dns_new(worker->base, &worker->config->edge, &worker->metrics, &why);
    if (worker->dns == NULL)
        fatal("%s", why.text);
    worker->pool = delivery_pool_new(worker->base, worker->dns, &worker->config->edge, &worker->config->tls, &worker->metrics, &why);
    if (worker->pool == NULL)
        fatal("delivery: %s", why.text);
    delivery_pool_set_egresses(worker->pool, worker->config->egresses, worker->config->egress_count);
    tell_own_addresses(worker);
    worker->handovers = handovers_new(worker->base, &worker->metrics);
    worker->current = edge_config_ref(worker->config);
    worker->doorplates = xcalloc(WIRE_LISTENERS_MAX, sizeof *worker->doorplates);
    worker->listeners = xcalloc(WIRE_LISTENERS_MAX, sizeof(Weir__Listener *));
    tell_listeners(worker);
    tell_addresses(worker);
    worker->verifier = verifier_new(worker->base, worker->pool, &worker->config->edge, &worker->metrics);
    worker->limiter = limiter_new(&worker->config->edge, &worker->metrics);
    worker->outbreak = outbreak_new(&worker->config->edge, &worker->metrics);
    worker->feed = feed_new(worker->base, &worker->metrics);
    worker->server = server_new(&(struct server_options){
        .base = worker->base,
        .config = worker->config,
        .node = name,
        .worker = process->worker,
        .census = process->census,
        .metrics = &worker->metrics,
        .farm = worker->farm,
        .pool = worker->pool,
        .dns = worker->dns,
        .verifier = worker->verifier,
        .limiter = worker->limiter,
        .feed = worker->feed,
        .outbreak = worker->outbreak,
    });
    worker->node = node_new(worker->base,
                            &(struct node_options){
                                .name = name,
                                .role = WEIR__ROLE__ROLE_EDGE,
                                .worker = process->worker,
                                .workers = process->workers,
                                .cluster = &worker->config->cluster,
                                .coordinators = worker->config->coordinators,
                                .coordinator_count = worker->config->coordinator_count,
                                .report_buffer = (size_t)worker->config->edge.report_buffer,
                                .hub = worker->hub,
                                .metrics = &worker->metrics,
                            },
                            &node_handlers, worker);
    server_set_node(worker->server, worker->node);
    verifier_set_node(worker->verifier, worker->node);
    limiter_set_node(worker->limiter, worker->node);
    outbreak_set_node(worker->outbreak, worker->node);
    keep_reputation(worker, name);
    feed_set_node(worker->feed, worker->node);
    worker->runner = spool_runner_new(&(struct spool_runner_options){
        .base = worker->base,
        .node = worker->node,
        .farm = worker->farm,
        .pool = worker->pool,
        .settings = &worker->config->edge,
        .spam = &worker->config->spam,
        .contact = worker->config->cluster.contact,
        .name = name,
        .worker = process->worker,
        .budget = server_budget(worker->server),
        .ahead = server_ahead(worker->server),
        .outbreak = worker->outbreak,
        .ids = server_ids(worker->server),
        .metrics = &worker->metrics,
        .readers = on_readers,
        .policy_epoch = on_policy_epoch,
        .route = on_route,
        .egress = on_egress,
        .cluster_names = on_cluster_names,
        .spam_bands = on_spam_bands,
        .virus = on_spooled_virus,
        .idle = on_runner_idle,
        .arg = worker,
    });

    worker->doors = xcalloc(process->socket_count, sizeof *worker->doors);
    for (size_t i = 0; i < process->socket_count; i++) {
        worker->doors[i].fd = process->sockets[i].fds[process->worker];
        worker->doors[i].worker = worker;
        worker->doors[i].name = process->sockets[i].listener;
        worker->doors[i].port = server_port(worker->server, process->sockets[i].listener);
    }
    worker->started_ms = clock_ms();
    event_add(worker->start_timer, &(struct timeval){ 0, START_LOOK_MS * 1000 });
}

static void worker_end(struct worker *worker)
{
    for (size_t i = 0; i < worker->process->socket_count; i++)
        net_listener_free(&worker->doors[i].listener);
    free(worker->doors);
    handovers_free(&worker->handovers);
    spool_runner_free(&worker->runner);
    server_set_node(worker->server, NULL);
    server_free(&worker->server);
    verifier_free(&worker->verifier);
    limiter_free(&worker->limiter);
    outbreak_free(&worker->outbreak);
    feed_free(&worker->feed);
    node_free(&worker->node);
    if (worker->farm != NULL)
        scan_farm_free(&worker->farm);
    delivery_pool_free(&worker->pool);
    dns_free(&worker->dns);
    free(worker->own_addresses);
    free(worker->doorplates);
    free(worker->listeners);
    link_hub_free(&worker->hub);
    for (size_t i = 0; i < sizeof worker->signals / sizeof *worker->signals; i++)
        event_free(worker->signals[i]);
    event_free(worker->reload_soon);
    event_free(worker->start_timer);
    event_free(worker->stop_timer);
    process_stats_free(&worker->process_stats);
    metrics_fini(&worker->metrics);
    net_fini();
    event_base_free(worker->base);
    edge_config_unref(&worker->current);
    edge_config_unref(&worker->config);
}

void worker_run(const struct edge_process *process)
{
    struct worker worker = { .process = process };
    command_open_log(&process->config->log, process->command->name, "smtpd");
    worker.config = newest_config(process);
    command_open_log(&worker.config->log, process->command->name, "smtpd");
    worker_begin(&worker);
    event_base_dispatch(worker.base);
    worker_end(&worker);
    exit(EXIT_SUCCESS);
}

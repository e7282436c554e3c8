/*
 * coordinator.c - one weir-coordinator process: everything put together on one loop
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/fair.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/open_files.h"
#include "common/supervisor.h"
#include "coordinator/admin.h"
#include "coordinator/audit.h"
#include "coordinator/auth/auth.h"
#include "coordinator/limits.h"
#include "coordinator/verify.h"
#include "coordinator/beats.h"
#include "coordinator/blocklist.h"
#include "coordinator/cluster.h"
#include "coordinator/coordinator.h"
#include "coordinator/dashboard/dashboard.h"
#include "coordinator/db.h"
#include "coordinator/dns_push.h"
#include "coordinator/http.h"
#include "coordinator/leader.h"
#include "coordinator/learn/learn.h"
#include "coordinator/migrate.h"
#include "coordinator/personal.h"
#include "coordinator/questions.h"
#include "coordinator/outbound.h"
#include "coordinator/relay_test.h"
#include "coordinator/reputation.h"
#include "coordinator/service.h"
#include "coordinator/signatures/signatures.h"
#include "coordinator/spool/spool.h"
#include "proto/event_log.h"

#define OTHER_FILES 256 /* the database, helpers, ZeroMQ's own, the log */

enum { ON_TERM, ON_INT, ON_HUP, ON_USR1, SIGNALS };

struct coordinator {
    const struct command *command;
    const struct coordinator_config *config;
    struct event_base *base;
    struct metrics metrics;
    struct link_hub *hub;
    struct link_publisher *publisher;
    struct db *db, *desk; /* desk: for what takes long, which nodes must not wait for */
    struct db *deciders[LIMITS_CONNECTIONS];
    struct cluster *cluster;
    struct beats *beats;
    struct audit *audit;
    struct admin *admin;
    struct questions *questions;
    struct lineage lineage;
    struct spool *spool;
    struct auth *auth;
    struct verify *verify;
    struct personal *personal;
    struct limits_room *limits;
    struct reputation_room *reputation;
    struct relay_test *relay_test;
    struct turns *turns;
    struct signatures *signatures;
    struct outbound *outbound;
    struct dns_push *dns_push;
    struct blocklist *blocklist;
    struct quarantine *quarantine;
    struct learn *learn;
    struct digest *digest;
    struct outbreak_room *outbreak;
    struct leader *leader;
    struct service *service;
    struct dashboard *dashboard;
    struct http *http;
    struct beat *own_beat;
    uint64_t boot, pulses, stop_at_ms; /* stop_at_ms: 0 while running */
    struct event *signals[SIGNALS], *pulse, *stopping;
};

/* A coordinator is in the registry like the others, by a heartbeat to itself. */
static void on_pulse(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct coordinator *coordinator = arg;
    Weir__Heartbeat beat = WEIR__HEARTBEAT__INIT;
    beat.node = wire_text(coordinator->command->name);
    beat.role = WEIR__ROLE__ROLE_COORDINATOR;
    beat.boot = coordinator->boot;
    beat.sequence = ++coordinator->pulses;
    beat.state = coordinator->stop_at_ms == 0 ? WEIR__NODE_STATE__NODE_ACTIVE : WEIR__NODE_STATE__NODE_DRAINING;
    beat.policy_epoch = cluster_policy(coordinator->cluster)->epoch;
    beat.endpoint = wire_text(coordinator->config->own.listen);
    beat.public_key = wire_bytes(link_hub_public_key(coordinator->hub), CURVE_KEY_LEN);
    beat.version = wire_text(WEIR_VERSION);
    beat.pid = (uint32_t)getpid();
    beats_hear(coordinator->beats, &coordinator->own_beat, &beat);
}

static void on_database_up(void *arg)
{
    struct coordinator *coordinator = arg;
    cluster_database_up(coordinator->cluster);
    http_database_up(coordinator->http);
    spool_database_up(coordinator->spool);
    db_start(coordinator->desk);
    for (size_t i = 0; i < LIMITS_CONNECTIONS; i++)
        db_start(coordinator->deciders[i]);
    reputation_changed(coordinator->reputation);
    on_pulse(-1, 0, coordinator); /* what was told before was written nowhere */
}

static void on_database_down(void *arg)
{
    struct coordinator *coordinator = arg;
    leader_database_down(coordinator->leader);
    cluster_database_down(coordinator->cluster);
}

static void on_notified(void *arg, const char *channel)
{
    struct coordinator *coordinator = arg;
    if (strcmp(channel, "weir_reputation") == 0)
        reputation_changed(coordinator->reputation);
    else
        cluster_changed(coordinator->cluster);
}

/* --- signals --- */

static void on_reload(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct coordinator *coordinator = arg;
    struct coordinator_config config;
    struct error why;
    if (!coordinator_config_load(&config, coordinator->command, &why)) {
        log_write(LOG_ERR, "reload: %s; going on as before", why.text);
        return;
    }
    command_open_log(&config.log, coordinator->command->name, "");
    log_write(LOG_NOTICE, "reloaded: [log] is in force; other keys need a restart");
    coordinator_config_clear(&config);
}

static void on_reopen(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    log_reopen();
}

static void on_stopping(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct coordinator *coordinator = arg;
    bool idle = audit_pending(coordinator->audit) == 0 && questions_pending(coordinator->questions) == 0;
    if (idle || clock_ms() >= coordinator->stop_at_ms)
        event_base_loopbreak(coordinator->base);
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct coordinator *coordinator = arg;
    if (coordinator->stop_at_ms != 0) {
        event_base_loopbreak(coordinator->base);
        return;
    }
    log_write(LOG_NOTICE, "stopping");
    supervisor_tell("STOPPING=1");
    coordinator->stop_at_ms = clock_ms() + STOP_TIMEOUT_MS;
    service_drain(coordinator->service);
    spool_drain(coordinator->spool);
    reputation_drain(coordinator->reputation);
    http_drain(coordinator->http);
    event_add(coordinator->stopping, &(struct timeval){ 0, 20000 });
}

static void watch_signals(struct coordinator *coordinator)
{
    static const struct {
        int number;
        void (*handler)(evutil_socket_t, short, void *);
    } table[SIGNALS] = {
        [ON_TERM] = { SIGTERM, on_stop },
        [ON_INT] = { SIGINT, on_stop },
        [ON_HUP] = { SIGHUP, on_reload },
        [ON_USR1] = { SIGUSR1, on_reopen },
    };
    for (size_t i = 0; i < SIGNALS; i++) {
        coordinator->signals[i] = evsignal_new(coordinator->base, table[i].number, table[i].handler, coordinator);
        event_add(coordinator->signals[i], NULL);
    }
    command_take_signals();
}

/* --- life --- */

static void make_database(struct coordinator *coordinator)
{
    char *schema = migrate_script(), *reputation = reputation_setup(&coordinator->config->own);
    /* Whoever waits for another's migration gives up before the db gives it up: the backend of a connection that was
     * left would go on waiting. Plans are not compiled (jit): that takes seconds for what takes a third of one, as looking for an address in a spool of
     * 100,000 messages. The leader's lock is this session's, and TCP may take hours to find that a machine is gone, and never finds that a process hangs:
     * PostgreSQL ends the session that asks nothing (publish_interval, and the leader's turns, are far less), and another coordinator leads. */
    char *setup = xasprintf("SET jit = off; SET idle_session_timeout = %llu; SET lock_timeout = %llu; %s RESET lock_timeout; SET weir.node_timeout = '%llu ms'; %s LISTEN weir_cluster; LISTEN weir_reputation;",
                            (unsigned long long)coordinator->config->own.database_session,
                            (unsigned long long)coordinator->config->own.database_timeout / 2 + 1, schema,
                            (unsigned long long)coordinator->config->cluster.node_timeout, reputation);
    char *application = xasprintf("weir %s", coordinator->command->name);
    struct db_options options = {
        .conninfo = coordinator->config->conninfo,
        .application_name = application,
        .setup = setup,
        .lineage = &coordinator->lineage,
        .metrics = &coordinator->metrics,
        .connect_timeout_ms = coordinator->config->own.database_connect_timeout,
        .answer_timeout_ms = coordinator->config->own.database_timeout,
        .session_timeout_ms = coordinator->config->own.database_session,
        .up = on_database_up,
        .down = on_database_down,
        .notified = on_notified,
        .arg = coordinator,
    };
    coordinator->db = db_new(coordinator->base, &options);
    free(schema);
    free(reputation);
    free(setup);
    free(application);
}

static void on_desk(void *arg)
{
    (void)arg; /* whoever uses it asks whether it is up */
}

/* What operators ask, and what looks through whole tables. */
static void make_desk(struct coordinator *coordinator)
{
    const struct coordinator_settings *own = &coordinator->config->own;
    char *application = xasprintf("weir %s admin", coordinator->command->name), *reputation = reputation_setup(own);
    /* A question that takes too long ends before the connection does, so those behind it are answered. */
    char *setup = xasprintf("SET jit = off; SET lock_timeout = %llu; SET statement_timeout = %llu; SET weir.node_timeout = '%llu ms'; %s",
                            (unsigned long long)own->database_timeout / 2 + 1, (unsigned long long)own->database_timeout * 9 / 10 + 1,
                            (unsigned long long)coordinator->config->cluster.node_timeout, reputation);
    struct db_options options = {
        .conninfo = coordinator->config->conninfo,
        .application_name = application,
        .setup = setup,
        .lineage = &coordinator->lineage,
        .later = true,
        .labels = "connection=\"admin\"",
        .metrics = &coordinator->metrics,
        .connect_timeout_ms = own->database_connect_timeout,
        .answer_timeout_ms = own->database_timeout,
        .session_timeout_ms = own->database_session,
        .up = on_desk,
        .down = on_desk,
    };
    coordinator->desk = db_new(coordinator->base, &options);
    free(application);
    free(reputation);
    free(setup);
}

/* Sessions wait for decisions of limits, so those wait for nothing else. */
static void make_deciders(struct coordinator *coordinator)
{
    const struct coordinator_settings *own = &coordinator->config->own;
    for (size_t i = 0; i < LIMITS_CONNECTIONS; i++) {
        char *application = xasprintf("weir %s limits%zu", coordinator->command->name, i + 1), *labels = xasprintf("connection=\"limits%zu\"", i + 1);
        struct db_options options = {
            .conninfo = coordinator->config->conninfo,
            .application_name = application,
            .setup = "SET synchronous_commit = off;",
            .lineage = &coordinator->lineage,
            .later = true,
            .labels = labels,
            .metrics = &coordinator->metrics,
            .connect_timeout_ms = own->database_connect_timeout,
            .answer_timeout_ms = own->database_timeout,
            .session_timeout_ms = own->database_session,
            .up = on_desk,
            .down = on_desk,
        };
        coordinator->deciders[i] = db_new(coordinator->base, &options);
        free(application);
        free(labels);
    }
}

static void on_disk_full(void *arg)
{
    struct coordinator *coordinator = arg;
    cluster_disk_full(coordinator->cluster, SPOOL_DISK_FULL_MS);
}

static void make_spool(struct coordinator *coordinator)
{
    struct spool_options options = {
        .base = coordinator->base,
        .conninfo = coordinator->config->conninfo,
        .lineage = &coordinator->lineage,
        .name = coordinator->command->name,
        .settings = &coordinator->config->own,
        .questions = coordinator->questions,
        .metrics = &coordinator->metrics,
        .disk_full = on_disk_full,
        .arg = coordinator,
    };
    coordinator->spool = spool_new(&options);
}

/* false: a socket cannot be bound. */
static bool make(struct coordinator *coordinator, const struct curve_keypair *pair, struct error *why)
{
    const struct coordinator_config *config = coordinator->config;
    const char *name = coordinator->command->name;
    uint64_t silence = config->cluster.node_timeout;
    struct metrics *metrics = &coordinator->metrics;
    coordinator->hub = link_hub_new(coordinator->base, pair, metrics);
    link_hub_configure(coordinator->hub, &config->cluster);
    fair_set_prefixes(config->cluster.source_prefix4, config->cluster.source_prefix6);
    coordinator->publisher = link_publisher_new(coordinator->hub, config->own.publish, why);
    if (coordinator->publisher == NULL)
        return false;
    make_database(coordinator);
    make_desk(coordinator);
    make_deciders(coordinator);
    struct cluster_options cluster = {
        .base = coordinator->base,
        .db = coordinator->db,
        .hub = coordinator->hub,
        .publisher = coordinator->publisher,
        .name = name,
        .publish_interval_ms = config->own.publish_interval,
        .node_timeout_ms = silence,
        .spool_max_messages = config->own.spool_max_messages,
        .spool_max_bytes = config->own.spool_max_bytes,
        .outbound_throttle = config->own.outbound_throttle,
        .metrics = metrics,
    };
    coordinator->cluster = cluster_new(&cluster);
    coordinator->beats = beats_new(coordinator->base, coordinator->db, name, silence, metrics);
    coordinator->audit = audit_new(coordinator->base, coordinator->db, config->own.audit_pending, config->own.hunt_days > 0, metrics);
    coordinator->admin = admin_new(coordinator->base, coordinator->db, coordinator->desk, coordinator->cluster, silence,
                                   config->own.admin_requests, config->own.policy_size, metrics);
    coordinator->questions = questions_new(config->own.questions_pending, metrics);
    make_spool(coordinator);
    coordinator->auth =
        auth_new(coordinator->base, coordinator->db, coordinator->questions, &config->auth, metrics, why);
    if (coordinator->auth == NULL)
        return false;
    coordinator->personal = personal_new(coordinator->db, coordinator->questions, metrics);
    coordinator->verify = verify_new(coordinator->db, coordinator->questions, &config->own, metrics);
    coordinator->limits = limits_new(coordinator->base, coordinator->deciders, coordinator->questions, metrics);
    coordinator->outbreak = outbreak_room_new(coordinator->base, coordinator->db, coordinator->desk, coordinator->questions, &config->own, metrics);
    coordinator->reputation = reputation_new(coordinator->base, coordinator->db, coordinator->desk, coordinator->questions, &config->own, metrics);
    struct relay_test_options relay_test = {
        .base = coordinator->base,
        .db = coordinator->db,
        .cluster = coordinator->cluster,
        .name = name,
        .settings = &config->own,
        .node_timeout_ms = silence,
        .metrics = metrics,
    };
    coordinator->relay_test = relay_test_new(&relay_test);
    struct turns_options turns = {
        .base = coordinator->base,
        .db = coordinator->db,
        .settings = &config->own,
        .node_timeout_ms = silence,
        .metrics = metrics,
    };
    coordinator->turns = turns_new(&turns);
    struct signatures_options signatures = {
        .base = coordinator->base,
        .db = coordinator->db,
        .questions = coordinator->questions,
        .name = name,
        .settings = &config->own,
        .node_timeout_ms = silence,
        .metrics = metrics,
    };
    coordinator->signatures = signatures_new(&signatures);
    coordinator->outbound = outbound_new(coordinator->base, coordinator->db, &config->own, metrics);
    struct dns_push_options dns_push = {
        .base = coordinator->base,
        .db = coordinator->db,
        .name = name,
        .settings = &config->dns,
        .node_timeout_ms = silence,
        .metrics = metrics,
    };
    coordinator->dns_push = dns_push_new(&dns_push);
    struct blocklist_options blocklist = {
        .base = coordinator->base,
        .db = coordinator->db,
        .name = name,
        .settings = &config->own,
        .node_timeout_ms = silence,
        .metrics = metrics,
    };
    coordinator->blocklist = blocklist_new(&blocklist);
    struct digest_options digest = {
        .db = coordinator->db,
        .cluster = coordinator->cluster,
        .name = name,
        .contact = config->cluster.contact,
        .settings = &config->web,
        .own = &config->own,
        .metrics = metrics,
    };
    coordinator->digest = digest_new(&digest);
    coordinator->quarantine = quarantine_new(coordinator->db, &config->own, coordinator->digest, metrics);
    coordinator->learn = learn_new(coordinator->desk, coordinator->questions, &config->own, name, metrics);
    struct dashboard_options dashboard = {
        .base = coordinator->base,
        .desk = coordinator->desk,
        .admin = coordinator->admin,
        .auth = coordinator->auth,
        .spool = coordinator->spool,
        .name = name,
        .cluster = config->cluster.name,
        .settings = &config->own,
        .auth_settings = &config->auth,
        .node_timeout_ms = silence,
        .metrics = metrics,
    };
    coordinator->dashboard = dashboard_new(&dashboard);
    coordinator->leader = leader_new(coordinator->base, coordinator->db, &config->own, coordinator->relay_test, coordinator->reputation, coordinator->turns,
                                     coordinator->signatures, coordinator->outbound, coordinator->dns_push, coordinator->blocklist, coordinator->quarantine, coordinator->dashboard, coordinator->learn, coordinator->outbreak, metrics);
    struct service_options service = {
        .hub = coordinator->hub,
        .endpoint = config->own.listen,
        .name = name,
        .cluster = coordinator->cluster,
        .beats = coordinator->beats,
        .audit = coordinator->audit,
        .admin = coordinator->admin,
        .questions = coordinator->questions,
        .lineage = &coordinator->lineage,
        .metrics = metrics,
    };
    coordinator->service = service_new(&service, why);
    if (coordinator->service == NULL)
        return false;
    struct http_options http = {
        .spool = coordinator->spool,
        .dashboard = coordinator->dashboard,
        .base = coordinator->base,
        .listen = config->own.http,
        .name = name,
        .db = coordinator->db,
        .desk = coordinator->desk,
        .deciders = coordinator->deciders,
        .cluster = coordinator->cluster,
        .node_timeout_ms = silence,
        .connections_max = config->own.http_connections,
        .waiting_max = config->own.scrapes,
        .metrics = metrics,
    };
    coordinator->http = http_new(&http, why);
    return coordinator->http != NULL;
}

/* The database first: it tells what is in flight, while those who asked are still there. */
static void unmake(struct coordinator *coordinator)
{
    service_free(&coordinator->service);
    if (coordinator->signatures != NULL)
        signatures_rest(coordinator->signatures);
    if (coordinator->dashboard != NULL)
        dashboard_rest(coordinator->dashboard);
    db_free(&coordinator->db);
    db_free(&coordinator->desk);
    for (size_t i = 0; i < LIMITS_CONNECTIONS; i++)
        db_free(&coordinator->deciders[i]);
    if (coordinator->beats != NULL)
        beats_forget(coordinator->beats, &coordinator->own_beat);
    http_free(&coordinator->http);
    leader_free(&coordinator->leader);
    relay_test_free(&coordinator->relay_test);
    turns_free(&coordinator->turns);
    signatures_free(&coordinator->signatures);
    outbound_free(&coordinator->outbound);
    dns_push_free(&coordinator->dns_push);
    blocklist_free(&coordinator->blocklist);
    quarantine_free(&coordinator->quarantine);
    learn_free(&coordinator->learn);
    digest_free(&coordinator->digest);
    spool_free(&coordinator->spool);
    auth_free(&coordinator->auth);
    dashboard_free(&coordinator->dashboard);
    verify_free(&coordinator->verify);
    personal_free(&coordinator->personal);
    limits_free(&coordinator->limits);
    outbreak_room_free(&coordinator->outbreak);
    reputation_free(&coordinator->reputation);
    questions_free(&coordinator->questions);
    admin_free(&coordinator->admin);
    audit_free(&coordinator->audit);
    beats_free(&coordinator->beats);
    cluster_free(&coordinator->cluster);
    link_publisher_free(&coordinator->publisher);
    link_hub_free(&coordinator->hub);
    for (size_t i = 0; i < SIGNALS; i++)
        if (coordinator->signals[i] != NULL)
            event_free(coordinator->signals[i]);
    if (coordinator->pulse != NULL)
        event_free(coordinator->pulse);
    if (coordinator->stopping != NULL)
        event_free(coordinator->stopping);
    metrics_fini(&coordinator->metrics);
    event_base_free(coordinator->base);
}

int coordinator_run(const struct command *command, const struct coordinator_config *config)
{
    struct curve_keypair pair;
    struct error why;
    command_open_log(&config->log, command->name, "");
    if (!coordinator_config_keys(config, command->name, &pair, &why))
        fatal("%s", why.text);
    open_files_raise(config->cluster.link_peers + config->own.http_connections + OTHER_FILES, "link_peers");
    event_log_begin();
    struct coordinator coordinator = { .command = command, .config = config, .base = event_base_new() };
    metrics_init(&coordinator.metrics);
    if (getrandom(&coordinator.boot, sizeof coordinator.boot, 0) != sizeof coordinator.boot)
        fatal("getrandom: no random bytes");
    watch_signals(&coordinator); /* before there are helpers, who would inherit that HUP waits; obeyed when the loop runs */
    bool made = make(&coordinator, &pair, &why);
    explicit_bzero(&pair, sizeof pair);
    if (made) {
        coordinator.stopping = event_new(coordinator.base, -1, EV_PERSIST, on_stopping, &coordinator);
        coordinator.pulse = event_new(coordinator.base, -1, EV_PERSIST, on_pulse, &coordinator);
        uint64_t ms = config->cluster.heartbeat_interval;
        event_add(coordinator.pulse, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
        on_pulse(-1, 0, &coordinator);
        log_write(LOG_NOTICE, "weir-coordinator %s: listen=%s publish=%s http=%s", WEIR_VERSION, config->own.listen,
                  config->own.publish, config->own.http);
        supervisor_tell("READY=1");
        event_base_dispatch(coordinator.base);
        log_write(LOG_NOTICE, "stopped");
    } else {
        log_write(LOG_CRIT, "%s", why.text);
    }
    unmake(&coordinator);
    return made ? EXIT_SUCCESS : EXIT_FAILURE;
}

/*
 * main.c - weir-scanner: command line, configuration, signals, and the life of the master
 *
 *     weir-scanner -c FILE --name NAME [--set key=value]... [-t]
 *
 * TERM, INT: drain, then exit 0 (1 when drain_timeout ends it). HUP: read the configuration again and make a new generation.
 * USR1: reopen the log file.
 */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/command.h"
#include "common/config.h"
#include "common/fair.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "common/open_files.h"
#include "common/process_stats.h"
#include "common/settings.h"
#include "common/spam_engine.h"
#include "proto/curve.h"
#include "proto/event_log.h"
#include "proto/link.h"
#include "proto/node.h"
#include "scanner/learned.h"
#include "scanner/scratch.h"
#include "scanner/service.h"
#include "scanner/signatures.h"
#include "scanner/spam/shared.h"
#include "scanner/zygote.h"

#define ZYGOTE_FD 3
#define WORKER_FILES 2    /* descriptors in the master: channel and pidfd */
#define GENERATIONS_MAX 3 /* one serves, one is made, one retires */
#define OTHER_FILES 256   /* edges, coordinators, ZeroMQ's own, the log */
#define FAREWELL_MS 200 /* at the end: for the last answers to leave, and for edges to hear that we drain */

struct settings {
    struct config *source; /* where the values come from, for errors that are found later */
    struct log_settings log;
    struct cluster_settings cluster;
    struct scanner_settings scanner;
    struct spam_settings spam;
    struct node_coordinator *coordinators;
    size_t coordinator_count;
};

struct scanner {
    struct command command;
    struct settings settings;
    char run_dir[PATH_MAX];
    int run_lock;
    struct event_base *base;
    struct metrics metrics;
    struct process_stats *process_stats;
    struct link_hub *hub;
    struct service *service;
    struct signatures *signatures; /* NULL: a folder of its own */
    struct learned *learned;
    struct node *node;
    Weir__ScannerUse use; /* as the last heartbeat tells it */
    struct event *drain_limit, *farewell;
    struct event *signals[4];
    bool drain_wanted; /* by operators */
    bool ending;
    int status;
};

/* --- configuration --- */

static void settings_fini(struct settings *settings)
{
    config_clear(settings_table("log"), &settings->log);
    config_clear(settings_table("cluster"), &settings->cluster);
    config_clear(settings_table("scanner"), &settings->scanner);
    config_clear(settings_table("spam"), &settings->spam);
    for (size_t i = 0; i < settings->coordinator_count; i++) {
        free(settings->coordinators[i].listen);
        free(settings->coordinators[i].publish);
    }
    free(settings->coordinators);
    config_free(&settings->source);
    memset(settings, 0, sizeof *settings);
}

static bool add_coordinator(struct settings *settings, const struct config *config, const char *name, struct error *why)
{
    struct coordinator_settings read = { 0 };
    struct node_coordinator *to = &settings->coordinators[settings->coordinator_count];
    if (!config_fill(config, "coordinator", name, &read, why))
        return false;
    curve_key_parse(to->public_key, read.public_key);
    to->listen = xstrdup(read.listen);
    to->publish = xstrdup(read.publish);
    settings->coordinator_count++;
    config_clear(settings_table("coordinator"), &read);
    return true;
}

/* What the configuration names must be there. Not asked at HUP, which is for what can be had at once; and signatures may come later
 * (freshclam), and state and log be done without, so only -t asks for them. */
static bool files_check(const struct settings *settings, bool test, struct curve_keypair *pair, struct error *why)
{
    const struct scanner_settings *scanner = &settings->scanner;
    const struct config *source = settings->source;
    struct error reason;
    if (!curve_keypair_read(pair, settings->cluster.key_file, &reason)) {
        config_blame(source, "cluster", NULL, "key_file", why, "%s", reason.text);
        return false;
    }
    if (!settings_check_folder(source, "scanner", "tmp_dir", scanner->tmp_dir, why) ||
        !settings_check_folder(source, "scanner", "spool_dir", scanner->spool_dir, why))
        return false;
    gid_t group;
    if (settings->spam.rspamd_shared_memory > 0 && !spam_shared_group(&group, settings->spam.rspamd_shared_memory_group, &reason)) {
        config_blame(source, "spam", NULL, "rspamd_shared_memory_group", why, "%s", reason.text);
        return false;
    }
    if (!test)
        return true;
    if (access(scanner->signatures, R_OK) != 0) {
        config_blame(source, "scanner", NULL, "signatures", why, "%s: %s", scanner->signatures, strerror(errno));
        return false;
    }
    return settings_check_folder(source, "cluster", "state_dir", settings->cluster.state_dir, why) && settings_check_log(source, settings->log.file, why);
}

static bool settings_read(struct settings *settings, const struct command *command, struct error *why)
{
    memset(settings, 0, sizeof *settings);
    struct config *config = settings->source = settings_load(command->config_path, command->overrides, command->override_count, why);
    if (config == NULL)
        return false;
    bool done = config_fill(config, "log", NULL, &settings->log, why) &&
                config_fill(config, "cluster", NULL, &settings->cluster, why) &&
                config_fill(config, "scanner", NULL, &settings->scanner, why) &&
                config_fill(config, "spam", NULL, &settings->spam, why);
    const char *name;
    size_t count = 0;
    while (config_instance(config, "coordinator", count) != NULL)
        count++;
    settings->coordinators = xcalloc(count + 1, sizeof *settings->coordinators);
    for (size_t i = 0; done && (name = config_instance(config, "coordinator", i)) != NULL; i++)
        done = add_coordinator(settings, config, name, why);
    if (done && count == 0) {
        error_set(why, "%s: error: no [coordinator \"NAME\"] section: the scanner has nobody to be known by", command->config_path);
        done = false;
    }
    if (!done)
        settings_fini(settings);
    return done;
}

static struct service_options service_options(struct scanner *scanner)
{
    const struct scanner_settings *s = &scanner->settings.scanner;
    struct service_options options = { .node = scanner->command.name, .endpoint = s->listen, .settings = s, .spam = &scanner->settings.spam };
    struct packet_config *config = &options.pool.config;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t workers = s->workers != 0 ? s->workers : (uint64_t)(cores > 0 ? cores : 1);
    options.pool.run_dir = scanner->run_dir;
    options.pool.run_lock = &scanner->run_lock;
    options.pool.spare = s->spare_workers;
    options.pool.workers[LANE_SMALL] = workers + s->spare_workers;
    options.pool.workers[LANE_LARGE] = (s->large_workers != 0 ? s->large_workers : (workers + 1) / 2) + s->spare_workers;
    options.pool.worker_scans = s->worker_scans;
    snprintf(config->node, sizeof config->node, "%s", scanner->command.name);
    snprintf(config->log_file, sizeof config->log_file, "%s", scanner->settings.log.file);
    config->log_format = scanner->settings.log.format;
    config->log_level = command_log_level(&scanner->settings.log);
    config->worker_memory = s->worker_memory;
    config->sandbox = s->sandbox;
    config->huge_pages = s->huge_pages;
    const char *folder = scanner->signatures != NULL ? signatures_folder(scanner->signatures) : NULL;
    snprintf(config->engine.signatures, sizeof config->engine.signatures, "%s", folder != NULL ? folder : s->signatures);
    snprintf(config->engine.set, sizeof config->engine.set, "%s", folder != NULL ? signatures_set(scanner->signatures) : "");
    snprintf(config->clean, sizeof config->clean, "%s", s->signature_clean);
    config->engine.max_scan_size = s->max_scan_size;
    config->engine.max_file_size = s->max_file_size;
    config->engine.max_files = (uint32_t)s->max_files;
    config->engine.max_recursion = (uint32_t)s->max_recursion;
    config->engine.detect_phishing = s->detect_phishing_heuristics;
    config->engine.block_encrypted = s->block_encrypted;
    config->engine.block_partial = s->block_partial;
    config->mime = (struct mime_limits){ .depth = (uint32_t)s->mime_depth, .parts = (uint32_t)s->mime_parts, .headers = (uint32_t)s->mime_headers,
                                         .header_bytes = (uint32_t)s->mime_header_size, .words = (uint32_t)s->mime_words,
                                         .decoded = s->mime_decoded_size, .text = (uint32_t)s->mime_text_size };
    config->native_us = s->native_time * 1000;
    return options;
}

/* --- the node --- */

static void on_state(void *arg, const Weir__ClusterState *state, const Weir__NodeEntry *entry)
{
    struct scanner *scanner = arg;
    if (scanner->signatures != NULL)
        signatures_on_state(scanner->signatures, state);
    if (entry == NULL)
        return;
    scanner->drain_wanted = entry->drain;
    service_drain(scanner->service, scanner->drain_wanted || scanner->ending);
    pool_want_gc(service_pool(scanner->service), entry->gc);
}

static void fill_use(struct scanner *scanner, Weir__Heartbeat *beat)
{
    struct pool_use use;
    pool_use(service_pool(scanner->service), &use);
    Weir__ScannerUse *told = &scanner->use;
    weir__scanner_use__init(told);
    told->small_workers = use.workers[LANE_SMALL];
    told->large_workers = use.workers[LANE_LARGE];
    told->small_busy = use.busy[LANE_SMALL];
    told->large_busy = use.busy[LANE_LARGE];
    told->memory = use.memory;
    told->memory_loaded = use.memory_loaded;
    told->scanned = use.scanned;
    told->serving_ms = use.serving_ms;
    beat->use = told;
}

static void on_heartbeat(void *arg, Weir__Heartbeat *beat)
{
    struct scanner *scanner = arg;
    const struct pool *pool = service_pool(scanner->service);
    const struct engine_info *info = pool_info(pool);
    beat->state = service_state(scanner->service);
    beat->gc_done = pool_gc_done(pool);
    beat->generation = pool_generation(pool);
    beat->in_flight = (uint32_t)service_in_flight(scanner->service);
    fill_use(scanner, beat);
    if (info != NULL)
        beat->signatures = wire_text(info->signatures);
    if (scanner->signatures != NULL) {
        static Weir__SignatureState told; /* until the heartbeat is packed */
        weir__signature_state__init(&told);
        signatures_tell(scanner->signatures, &told);
        beat->signature_state = &told;
    }
    process_stats_update(scanner->process_stats);
}

static void on_signatures_changed(void *arg)
{
    struct scanner *scanner = arg;
    if (scanner->node != NULL)
        node_heartbeat_soon(scanner->node);
}

static void on_service_changed(void *arg)
{
    struct scanner *scanner = arg;
    if (scanner->node != NULL)
        node_heartbeat_soon(scanner->node);
    if (scanner->ending && service_state(scanner->service) == WEIR__NODE_STATE__NODE_DRAINED)
        event_add(scanner->farewell, &(struct timeval){ 0, FAREWELL_MS * 1000 });
}

/* --- signals --- */

static void on_farewell(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct scanner *scanner = arg;
    event_base_loopbreak(scanner->base);
}

static void on_drain_limit(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct scanner *scanner = arg;
    log_write(LOG_WARNING, "drain_timeout is over with %zu scans unfinished", service_in_flight(scanner->service));
    scanner->status = 1;
    event_base_loopbreak(scanner->base);
}

static void on_terminate(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct scanner *scanner = arg;
    if (scanner->ending)
        return;
    uint64_t ms = scanner->settings.scanner.drain_timeout;
    scanner->ending = true;
    event_add(scanner->drain_limit, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000 });
    service_drain(scanner->service, true);
    on_service_changed(scanner);
}

/* An operator who changed one of these would wait for it for ever. */
static void tell_restart(const struct scanner_settings *was, const struct scanner_settings *now)
{
    const struct {
        const char *key, *before, *after;
    } keys[] = {
        { "listen", was->listen, now->listen },
        { "advertise", was->advertise, now->advertise },
        { "tmp_dir", was->tmp_dir, now->tmp_dir },
        { "signature_store", was->signature_store, now->signature_store },
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i].before, keys[i].after) != 0)
            log_write(LOG_WARNING, "reload: %s has changed: that counts from the next start on", keys[i].key);
}

static void on_hangup(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct scanner *scanner = arg;
    struct settings fresh;
    struct error why;
    if (settings_read(&fresh, &scanner->command, &why)) {
        /* The node keeps pointing to the cluster settings and coordinators it started with: those need a restart. */
        struct log_settings old_log = scanner->settings.log;
        struct scanner_settings old_scanner = scanner->settings.scanner;
        struct spam_settings old_spam = scanner->settings.spam;
        scanner->settings.log = fresh.log;
        scanner->settings.scanner = fresh.scanner;
        scanner->settings.spam = fresh.spam;
        fresh.log = old_log;
        fresh.scanner = old_scanner;
        fresh.spam = old_spam;
        tell_restart(&old_scanner, &scanner->settings.scanner);
        if (scanner->signatures != NULL)
            signatures_fall_back(scanner->signatures, scanner->settings.scanner.signatures);
        struct service_options options = service_options(scanner);
        service_configure(scanner->service, &options);
        command_open_log(&scanner->settings.log, scanner->command.name, "scanner");
        settings_fini(&fresh);
    } else {
        log_write(LOG_ERR, "configuration not read again: %s", why.text);
    }
    pool_renew(service_pool(scanner->service));
}

static void on_reopen(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    log_reopen();
}

/* --- life --- */

/* Each scan may have its message in a descriptor; uploads, complete ones and those on their way to a spam engine are counted apart. */
static void raise_file_limit(const struct service_options *options)
{
    const struct pool_options *pool = &options->pool;
    uint64_t workers = pool->workers[LANE_SMALL] + pool->workers[LANE_LARGE];
    uint64_t needed = 3 * options->settings->slots + options->spam->spam_connections * SPAM_ENGINE_KINDS + WORKER_FILES * GENERATIONS_MAX * workers + OTHER_FILES;
    open_files_raise(needed, "slots");
}

static void scanner_start(struct scanner *scanner, const struct curve_keypair *pair)
{
    static const struct node_handlers node_handlers = { .state = on_state, .heartbeat = on_heartbeat };
    static const struct {
        int number;
        event_callback_fn handler;
    } signals[] = { { SIGTERM, on_terminate }, { SIGINT, on_terminate }, { SIGHUP, on_hangup }, { SIGUSR1, on_reopen } };
    struct error why;
    const struct scanner_settings *s = &scanner->settings.scanner;
    spam_shared_sweep();
    if (!scratch_new(s->tmp_dir, scanner->run_dir, &scanner->run_lock, &why))
        fatal("%s", why.text);
    memory_keep_free();
    event_log_begin();
    scanner->base = event_base_new();
    if (scanner->base == NULL)
        fatal("libevent makes no loop");
    metrics_init(&scanner->metrics);
    scanner->process_stats = process_stats_new(&scanner->metrics);
    scanner->drain_limit = evtimer_new(scanner->base, on_drain_limit, scanner);
    scanner->farewell = evtimer_new(scanner->base, on_farewell, scanner);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        scanner->signals[i] = evsignal_new(scanner->base, signals[i].number, signals[i].handler, scanner);
        event_add(scanner->signals[i], NULL);
    }
    command_take_signals();
    scanner->hub = link_hub_new(scanner->base, pair, &scanner->metrics);
    link_hub_configure(scanner->hub, &scanner->settings.cluster);
    fair_set_prefixes(scanner->settings.cluster.source_prefix4, scanner->settings.cluster.source_prefix6);
    if (s->signature_source == SIGNATURES_CLUSTER) {
        scanner->signatures = signatures_new(&(struct signatures_options){ .base = scanner->base, .node = scanner->command.name, .store = s->signature_store,
                                                                           .metrics = &scanner->metrics, .changed = on_signatures_changed, .arg = scanner }, &why);
        if (scanner->signatures == NULL)
            fatal("%s", why.text);
    }
    struct service_options options = service_options(scanner);
    raise_file_limit(&options);
    scanner->service = service_new(scanner->base, scanner->hub, &options, &scanner->metrics, on_service_changed, scanner, &why);
    if (scanner->service == NULL)
        fatal("%s", why.text);
    scanner->node = node_new(scanner->base,
                             &(struct node_options){ .name = scanner->command.name, .role = WEIR__ROLE__ROLE_SCANNER,
                                                     .endpoint = s->advertise[0] != '\0' ? s->advertise : s->listen,
                                                     .cluster = &scanner->settings.cluster,
                                                     .coordinators = scanner->settings.coordinators,
                                                     .coordinator_count = scanner->settings.coordinator_count,
                                                     .hub = scanner->hub, .metrics = &scanner->metrics },
                             &node_handlers, scanner);
    if (scanner->signatures != NULL)
        signatures_start(scanner->signatures, scanner->node, service_pool(scanner->service), s->signatures);
    scanner->learned = learned_new(scanner->base, scanner->node, scanner->service, scanner->command.name, scanner->settings.cluster.state_dir, &scanner->metrics);
}

static void scanner_stop(struct scanner *scanner)
{
    signatures_free(&scanner->signatures);
    learned_free(&scanner->learned);
    node_free(&scanner->node);
    service_free(&scanner->service);
    link_hub_free(&scanner->hub);
    for (size_t i = 0; i < sizeof scanner->signals / sizeof scanner->signals[0]; i++)
        event_free(scanner->signals[i]);
    event_free(scanner->drain_limit);
    event_free(scanner->farewell);
    event_base_free(scanner->base);
    process_stats_free(&scanner->process_stats);
    metrics_fini(&scanner->metrics);
    scratch_remove(scanner->run_dir);
    close(scanner->run_lock);
    settings_fini(&scanner->settings);
    command_fini(&scanner->command);
}

static const struct command_syntax syntax = {
    .program = "weir-scanner",
    .forms = "",
    .name = "this node's name, as its key is registered: scanner-1",
    .help = "",
    .signals = "HUP reads the configuration and makes a new generation, TERM drains and ends, USR1 reopens the log",
};

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--zygote") == 0)
        _exit(zygote_main(ZYGOTE_FD, (int32_t)strtol(argv[2], NULL, 10))); /* freeing an engine takes longer than ending */
    struct scanner scanner = { .run_lock = -1 };
    struct curve_keypair pair;
    struct error why;
    signal(SIGPIPE, SIG_IGN);
    command_hold_signals();
    int status;
    if (!command_parse(&scanner.command, &syntax, argc, argv, &status))
        return status;
    if (!settings_read(&scanner.settings, &scanner.command, &why)) {
        fprintf(stderr, "weir-scanner: %s\n", why.text);
        command_fini(&scanner.command);
        return 1;
    }
    if (!files_check(&scanner.settings, scanner.command.test, &pair, &why)) {
        fprintf(stderr, "weir-scanner: %s\n", why.text);
        settings_fini(&scanner.settings);
        command_fini(&scanner.command);
        return 1;
    }
    if (scanner.command.test) {
        explicit_bzero(&pair, sizeof pair);
        printf("weir-scanner: %s: ok\n", scanner.command.config_path);
        settings_fini(&scanner.settings);
        command_fini(&scanner.command);
        return 0;
    }
    command_open_log(&scanner.settings.log, scanner.command.name, "scanner");
    scanner_start(&scanner, &pair);
    explicit_bzero(&pair, sizeof pair);
    event_base_dispatch(scanner.base);
    status = scanner.status;
    scanner_stop(&scanner);
    log_write(LOG_INFO, "ended");
    return status;
}

/*
 * edge_config.c - see edge_config.h
 */
#include "edge/session/edge_config.h"
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/memory.h"
#include "edge/smtp/address.h"

/* The items were checked when the file was read. */
static void load_peers(struct edge_peers *out, const struct config_list *list)
{
    out->prefixes = xcalloc(list->count > 0 ? list->count : 1, sizeof *out->prefixes);
    for (size_t i = 0; i < list->count; i++)
        out->count += netaddr_prefix_parse(&out->prefixes[out->count], list->items[i], NULL);
}

bool edge_peers_contain(const struct edge_peers *peers, const struct netaddr *address)
{
    for (size_t i = 0; i < peers->count; i++)
        if (netaddr_prefix_contains(&peers->prefixes[i], address))
            return true;
    return false;
}

static void load_drain_to(struct edge_listener *listener)
{
    const struct config_list *list = &listener->settings.drain_to;
    listener->drain_to = xcalloc(list->count > 0 ? list->count : 1, sizeof *listener->drain_to);
    for (size_t i = 0; i < list->count; i++)
        listener->drain_to_count += netaddr_parse_endpoint(&listener->drain_to[listener->drain_to_count], list->items[i], NULL);
}

static bool load_listeners(struct edge_config *out, const struct config *config, const char *path, struct error *why)
{
    const char *name;
    for (size_t i = 0; (name = config_instance(config, "listener", i)) != NULL; i++) {
        out->listeners = xrealloc(out->listeners, (i + 1) * sizeof *out->listeners);
        struct edge_listener *listener = &out->listeners[i];
        memset(listener, 0, sizeof *listener);
        listener->name = xstrdup(name);
        out->listener_count = i + 1;
        if (!config_fill(config, "listener", name, &listener->settings, why))
            return false;
        load_peers(&listener->balancers, &listener->settings.proxy_from);
        load_peers(&listener->speakers, &listener->settings.xclient_from);
        load_drain_to(listener);
    }
    if (out->listener_count == 0) {
        error_set(why, "%s: error: no [listener \"NAME\"] section: an edge needs at least one, such as [listener \"relay\"]", path);
        return false;
    }
    return true;
}

static bool load_egresses(struct edge_config *out, const struct config *config, struct error *why)
{
    const char *name;
    while (config_instance(config, "egress", out->egress_count) != NULL)
        out->egress_count++;
    out->egresses = xcalloc(out->egress_count + 1, sizeof *out->egresses);
    for (size_t i = 0; (name = config_instance(config, "egress", i)) != NULL; i++) {
        struct egress_settings settings = { 0 };
        if (!config_fill(config, "egress", name, &settings, why))
            return false;
        egress_init(&out->egresses[i], name, *settings.hostname != '\0' ? settings.hostname : out->hostname, &settings.addresses);
        for (size_t k = 0; k < settings.use_for.count; k++)
            out->egress_for[egress_class_find(settings.use_for.items[k])] = &out->egresses[i];
        config_clear(settings_table("egress"), &settings);
    }
    return true;
}

static bool load_coordinators(struct edge_config *out, const struct config *config, const char *path, struct error *why)
{
    const char *name;
    for (size_t i = 0; (name = config_instance(config, "coordinator", i)) != NULL; i++) {
        struct coordinator_settings settings = { 0 };
        if (!config_fill(config, "coordinator", name, &settings, why))
            return false;
        out->coordinators = xrealloc(out->coordinators, (i + 1) * sizeof *out->coordinators);
        struct node_coordinator *coordinator = &out->coordinators[i];
        coordinator->listen = xstrdup(settings.listen);
        coordinator->publish = xstrdup(settings.publish);
        out->coordinator_count = i + 1;
        curve_key_parse(coordinator->public_key, settings.public_key);
        config_clear(settings_table("coordinator"), &settings);
    }
    if (out->coordinator_count == 0) {
        error_set(why, "%s: error: no [coordinator \"NAME\"] section: the edge has nobody to get its policy and scanners from", path);
        return false;
    }
    return true;
}

static void load_hostname(struct edge_config *out)
{
    char name[HOST_NAME_MAX + 1] = "", domain[SMTP_DOMAIN_MAX + 1];
    if (*out->edge.hostname == '\0') {
        gethostname(name, sizeof name - 1);
        free(out->edge.hostname);
        out->edge.hostname = xstrdup(smtp_domain_parse(domain, name, strlen(name), false) ? name : "localhost");
    }
    out->hostname = out->edge.hostname;
}

/* It is read again with every reload: a new certificate counts then. */
static bool load_certificate(struct edge_config *out, const struct config *config, struct error *why)
{
    const char *certificate = out->tls.certificate, *key = *out->tls.key != '\0' ? out->tls.key : certificate;
    struct error reason;
    if (*certificate == '\0')
        return true;
    out->server_tls = net_tls_server(certificate, key, &reason);
    if (out->server_tls != NULL)
        return settings_check_private(config, "tls", key == certificate ? "certificate" : "key", key, why);
    /* The words begin with whose fault it is, where both are in files of their own. */
    config_blame(config, "tls", NULL, key != certificate && strncmp(reason.text, "key ", 4) == 0 ? "key" : "certificate", why, "%s", reason.text);
    return false;
}

static bool load_sections(struct edge_config *out, const struct config *config, const char *path, struct error *why)
{
    if (!config_fill(config, "cluster", NULL, &out->cluster, why) || !config_fill(config, "edge", NULL, &out->edge, why) ||
        !config_fill(config, "tls", NULL, &out->tls, why) || !config_fill(config, "log", NULL, &out->log, why) ||
        !config_fill(config, "spam", NULL, &out->spam, why) ||
        !load_listeners(out, config, path, why) || !load_coordinators(out, config, path, why))
        return false;
    load_hostname(out);
    if (!load_egresses(out, config, why))
        return false;
    out->dnsbl = dnsbl_new(&out->edge.dnsbl, out->edge.dnsbl_pause, why);
    return out->dnsbl != NULL && load_certificate(out, config, why);
}

struct edge_config *edge_config_load(const char *path, char *const *overrides, size_t override_count, struct error *why)
{
    struct config *config = settings_load(path, overrides, override_count, why);
    if (config == NULL)
        return NULL;
    struct edge_config *out = xcalloc(1, sizeof *out);
    out->refs = 1;
    out->source = config;
    if (!load_sections(out, config, path, why))
        edge_config_unref(&out);
    return out;
}

struct edge_config *edge_config_ref(struct edge_config *config)
{
    config->refs++;
    return config;
}

void edge_config_unref(struct edge_config **config)
{
    struct edge_config *c = *config;
    *config = NULL;
    if (c == NULL || --c->refs > 0)
        return;
    for (size_t i = 0; i < c->listener_count; i++) {
        config_clear(settings_table("listener"), &c->listeners[i].settings);
        free(c->listeners[i].balancers.prefixes);
        free(c->listeners[i].speakers.prefixes);
        free(c->listeners[i].drain_to);
        free(c->listeners[i].name);
    }
    for (size_t i = 0; i < c->coordinator_count; i++) {
        free(c->coordinators[i].listen);
        free(c->coordinators[i].publish);
    }
    for (size_t i = 0; i < c->egress_count; i++)
        egress_fini(&c->egresses[i]);
    free(c->egresses);
    dnsbl_free(&c->dnsbl);
    config_clear(settings_table("cluster"), &c->cluster);
    config_clear(settings_table("edge"), &c->edge);
    config_clear(settings_table("tls"), &c->tls);
    config_clear(settings_table("log"), &c->log);
    config_clear(settings_table("spam"), &c->spam);
    if (c->server_tls != NULL)
        net_tls_unref(&c->server_tls);
    free(c->listeners);
    free(c->coordinators);
    config_free(&c->source);
    free(c);
}

const struct edge_listener *edge_config_listener(const struct edge_config *config, const char *name)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (strcmp(config->listeners[i].name, name) == 0)
            return &config->listeners[i];
    return NULL;
}

unsigned edge_config_workers(const struct edge_config *config)
{
    if (config->edge.workers > 0)
        return (unsigned)config->edge.workers;
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0)
        return 1;
    int count = CPU_COUNT(&cpus);
    return count > 0 ? (unsigned)count : 1;
}

uint64_t edge_config_handovers(const struct edge_config *config, unsigned workers)
{
    uint64_t most = config->edge.max_sessions / workers / 2;
    return most > 0 ? most : 1;
}

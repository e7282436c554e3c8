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
#include "edge/session/relay.h"
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

/* Whoever is listed may say of itself what it wants: listed as a whole, the internet could relay. */
static bool nobody_is_everybody(const struct edge_peers *peers, const char *listener, const char *key, struct error *why)
{
    for (size_t i = 0; i < peers->count; i++)
        if (peers->prefixes[i].bits == 0) {
            error_set(why, "[listener \"%s\"] %s: a prefix of length 0 is everybody, who could then send as anybody; list the peers themselves", listener, key);
            return false;
        }
    return true;
}

static bool load_drain_to(struct edge_listener *listener, struct error *why)
{
    const struct config_list *list = &listener->settings.drain_to;
    listener->drain_to = xcalloc(list->count > 0 ? list->count : 1, sizeof *listener->drain_to);
    for (size_t i = 0; i < list->count; i++) {
        struct error parse;
        if (!netaddr_parse_endpoint(&listener->drain_to[i], list->items[i], &parse)) {
            error_set(why, "[listener \"%s\"] drain_to: %s", listener->name, parse.text);
            return false;
        }
        listener->drain_to_count++;
    }
    return true;
}

static bool load_listeners(struct edge_config *out, const struct config *config, struct error *why)
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
        if (!nobody_is_everybody(&listener->balancers, name, "proxy_from", why) || !nobody_is_everybody(&listener->speakers, name, "xclient_from", why) ||
            !load_drain_to(listener, why))
            return false;
        char domain[SMTP_DOMAIN_MAX + 1], *qualify = listener->settings.qualify_domain;
        if (qualify != NULL && *qualify != '\0' && !smtp_domain_parse(domain, qualify, strlen(qualify), false)) {
            error_set(why, "[listener \"%s\"] qualify_domain: \"%s\" is not a domain", name, qualify);
            return false;
        }
        for (size_t k = 0; k < listener->settings.listen.count; k++) {
            struct netaddr address;
            struct error parse;
            if (!netaddr_parse_endpoint(&address, listener->settings.listen.items[k], &parse)) {
                error_set(why, "[listener \"%s\"] listen: %s", name, parse.text);
                return false;
            }
        }
    }
    if (out->listener_count == 0) {
        error_set(why, "no [listener \"NAME\"] section: an edge needs at least one, such as [listener \"relay\"]");
        return false;
    }
    return true;
}

static bool load_coordinators(struct edge_config *out, const struct config *config, struct error *why)
{
    const char *name;
    for (size_t i = 0; (name = config_instance(config, "coordinator", i)) != NULL; i++) {
        struct coordinator_settings settings = { 0 };
        if (!config_fill(config, "coordinator", name, &settings, why))
            return false;
        out->coordinators = xrealloc(out->coordinators, (i + 1) * sizeof *out->coordinators);
        struct node_coordinator *coordinator = &out->coordinators[i];
        coordinator->listen = xstrdup(settings.listen ? settings.listen : "");
        coordinator->publish = xstrdup(settings.publish ? settings.publish : "");
        out->coordinator_count = i + 1;
        bool key_is_good = settings.public_key != NULL && curve_key_parse(coordinator->public_key, settings.public_key);
        config_clear(settings_table("coordinator"), &settings);
        if (!key_is_good) {
            error_set(why, "[coordinator \"%s\"] public_key: needs 64 hex digits, as `weirctl keys generate` prints them", name);
            return false;
        }
    }
    if (out->coordinator_count == 0) {
        error_set(why, "no [coordinator \"NAME\"] section: the edge has nobody to get its policy and scanners from");
        return false;
    }
    return true;
}

/* It goes into the banner, EHLO and Received as it is: a blank there makes a reply that no client understands. */
static bool load_hostname(struct edge_config *out, struct error *why)
{
    char name[HOST_NAME_MAX + 1] = "", domain[SMTP_DOMAIN_MAX + 1];
    if (out->edge.hostname == NULL || *out->edge.hostname == '\0') {
        gethostname(name, sizeof name - 1);
        free(out->edge.hostname);
        out->edge.hostname = xstrdup(smtp_domain_parse(domain, name, strlen(name), false) ? name : "localhost");
    } else if (!smtp_domain_parse(domain, out->edge.hostname, strlen(out->edge.hostname), false)) {
        error_set(why, "[edge] hostname: \"%s\" is not the name of a host", out->edge.hostname);
        return false;
    }
    out->hostname = out->edge.hostname;
    return true;
}

/* Empty is the null sender. */
static bool check_verify_sender(const struct edge_config *config, struct error *why)
{
    const char *sender = config->edge.verify_sender;
    struct smtp_address parsed;
    size_t used = 0;
    char *path = xasprintf("<%s>", sender);
    bool fine = *sender == '\0' || (smtp_path_parse(&parsed, path, strlen(path), false, &used) == SMTP_ADDRESS_OK && path[used] == '\0' &&
                                   parsed.kind != SMTP_ADDRESS_POSTMASTER);
    if (!fine)
        error_set(why, "[edge] verify_sender: \"%s\" is not an address: write verify@example.edu, or nothing for the null sender", sender);
    free(path);
    return fine;
}

/* Without a certificate there is no TLS: nobody could speak to the one, or log in at the other, unless a peer did that for its clients (XCLIENT). */
static bool needs_no_tls(const struct edge_listener *listener, const struct config *config, struct error *why)
{
    const char *key = listener->settings.implicit_tls ? "implicit_tls" : "auth", *more = "";
    if (!listener->settings.implicit_tls && (listener_auth(&listener->settings) == AUTH_OFF || listener->settings.xclient_from.count > 0))
        return true;
    if (!listener->settings.implicit_tls)
        more = listener->settings.auth != AUTH_PROFILE ? ", and AUTH is under TLS only"
                                                       : ", and AUTH, which submission requires unless auth = off, is under TLS only";
    error_set(why, "%s: error: [listener \"%s\"] %s: [tls] has no certificate%s",
              config_origin(config, "listener", listener->name, key), listener->name, key, more);
    return false;
}

static bool load_sections(struct edge_config *out, const struct config *config, struct error *why)
{
    if (!config_fill(config, "cluster", NULL, &out->cluster, why) || !config_fill(config, "edge", NULL, &out->edge, why) ||
        !config_fill(config, "tls", NULL, &out->tls, why) || !config_fill(config, "log", NULL, &out->log, why) ||
        !load_hostname(out, why) || !check_verify_sender(out, why) || !load_listeners(out, config, why) || !load_coordinators(out, config, why))
        return false;
    if ((out->dnsbl = dnsbl_new(&out->edge.dnsbl, why)) == NULL)
        return false;
    if (out->tls.certificate == NULL || *out->tls.certificate == '\0') {
        for (size_t i = 0; i < out->listener_count; i++)
            if (!needs_no_tls(&out->listeners[i], config, why))
                return false;
        return true;
    }
    const char *key = out->tls.key != NULL && *out->tls.key != '\0' ? out->tls.key : out->tls.certificate;
    out->server_tls = net_tls_server(out->tls.certificate, key, why);
    return out->server_tls != NULL;
}

struct edge_config *edge_config_load(const char *path, char *const *overrides, size_t override_count, struct error *why)
{
    struct config *config = config_load(path, settings_tables, overrides, override_count, why);
    if (config == NULL)
        return NULL;
    struct edge_config *out = xcalloc(1, sizeof *out);
    out->refs = 1;
    if (!load_sections(out, config, why))
        edge_config_unref(&out);
    config_free(&config);
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
    dnsbl_free(&c->dnsbl);
    config_clear(settings_table("cluster"), &c->cluster);
    config_clear(settings_table("edge"), &c->edge);
    config_clear(settings_table("tls"), &c->tls);
    config_clear(settings_table("log"), &c->log);
    if (c->server_tls != NULL)
        net_tls_unref(&c->server_tls);
    free(c->listeners);
    free(c->coordinators);
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

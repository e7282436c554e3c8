#ifndef WEIR_EDGE_SESSION_EDGE_CONFIG_H
#define WEIR_EDGE_SESSION_EDGE_CONFIG_H
/*
 * edge_config.h - everything weir.conf says to an edge, as one counted object
 *
 * A reload makes a new one; sessions keep the one they began with until they end. What the scan farm and the delivery pool took at
 * start stays theirs until the process is replaced.
 */
#include "common/config.h"
#include "common/error.h"
#include "common/netaddr.h"
#include "common/settings.h"
#include "edge/delivery/egress.h"
#include "edge/dns/dnsbl.h"
#include "edge/net/net.h"
#include "proto/node.h"

struct edge_peers { /* who is listed */
    struct netaddr_prefix *prefixes;
    size_t count;
};

struct edge_listener {
    char *name; /* "relay": the instance of [listener "relay"], and the metrics' label */
    struct listener_settings settings;
    struct edge_peers balancers; /* settings.proxy_from */
    struct edge_peers speakers;  /* settings.xclient_from */
    struct netaddr *drain_to;    /* settings.drain_to */
    size_t drain_to_count;
};

struct edge_config {
    unsigned refs;
    struct config *source; /* where its values come from, for errors that are found later */
    struct cluster_settings cluster;
    struct edge_settings edge;
    struct tls_settings tls;
    struct spam_settings spam;
    struct log_settings log;
    const char *hostname; /* edge.hostname, which is the system's name where none is configured */
    struct edge_listener *listeners;
    size_t listener_count;
    struct egress *egresses;
    size_t egress_count;
    const struct egress *egress_for[EGRESS_CLASSES]; /* in egresses; NULL: the kernel chooses the address */
    struct node_coordinator *coordinators;
    size_t coordinator_count;
    struct dnsbl *dnsbl;        /* never NULL; which lists are silent is remembered in it */
    struct net_tls *server_tls; /* NULL: no certificate is configured, STARTTLS is not offered */
};

/* Reads and checks everything, the certificate included. The caller has the one reference. NULL: why. */
struct edge_config *edge_config_load(const char *path, char *const *overrides, size_t override_count, struct error *why);
struct edge_config *edge_config_ref(struct edge_config *config);
void edge_config_unref(struct edge_config **config);
/* Borrowed; NULL when there is no such listener. */
const struct edge_listener *edge_config_listener(const struct edge_config *config, const char *name);
bool edge_peers_contain(const struct edge_peers *peers, const struct netaddr *address);
/* 0 in the configuration means one worker per core that this process may use. */
unsigned edge_config_workers(const struct edge_config *config);
/* Connections that one of so many workers may pass on (drain_to) at once: half its share of max_sessions, as each has two sockets; at least 1. */
uint64_t edge_config_handovers(const struct edge_config *config, unsigned workers);

#endif

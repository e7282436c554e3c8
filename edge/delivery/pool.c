/*
 * pool.c - which delivery gets which connection
 *
 * Per next hop at most next_hop_connections connections; deliveries beyond that wait in line, in which clients take turns. A connection is given
 * from delivery to delivery directly while somebody waits, else it becomes idle and is closed after next_hop_idle. A new connection is made
 * for one delivery; should that leave meanwhile, the first in line gets it.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/delivery/internal.h"

static void metrics_make(struct delivery_metrics *m, struct metrics *metrics)
{
    static const char *const classes[DELIVERY_CLASSES] = { "session", "spool", "probe" };
    static const char *const results[ATTEMPT_RESULTS] = { "delivered", "deferred", "rejected", "unreachable", "cancelled" };
    static const char tls[] = "weir_next_hop_tls_total", connections[] = "weir_next_hop_connections";
    for (size_t class = 0; class < DELIVERY_CLASSES; class++)
        for (size_t i = 0; i < ATTEMPT_RESULTS; i++)
            m->attempts[class][i] =
                metrics_counter(metrics, "weir_delivery_attempts_total", "class=\"%s\",result=\"%s\"", classes[class], results[i]);
    m->duration = metrics_histogram(metrics, "weir_delivery_duration_seconds", metrics_seconds_bounds, metrics_seconds_count, NULL);
    m->connections[HOPCONN_CONNECTING] = metrics_gauge(metrics, connections, "state=\"connecting\"");
    m->connections[HOPCONN_BUSY] = metrics_gauge(metrics, connections, "state=\"busy\"");
    m->connections[HOPCONN_IDLE] = metrics_gauge(metrics, connections, "state=\"idle\"");
    m->tls_established = metrics_counter(metrics, tls, "result=\"established\"");
    m->tls_failed = metrics_counter(metrics, tls, "result=\"failed\"");
    m->tls_declined = metrics_counter(metrics, tls, "result=\"declined\"");
    m->tls_not_offered = metrics_counter(metrics, tls, "result=\"not_offered\"");
    m->dane_verified = metrics_counter(metrics, "weir_next_hop_dane_total", "result=\"verified\"");
    m->dane_encrypted = metrics_counter(metrics, "weir_next_hop_dane_total", "result=\"encrypted\"");
    m->dane_failed = metrics_counter(metrics, "weir_next_hop_dane_total", "result=\"failed\"");
    m->maybe_duplicates = metrics_counter(metrics, "weir_delivery_maybe_duplicates_total", NULL);
    m->egress_unknown = metrics_counter(metrics, "weir_egress_unknown_total", NULL);
    m->waited_too_long = metrics_counter(metrics, "weir_next_hop_wait_exceeded_total", NULL);
    m->found_down = metrics_counter(metrics, "weir_next_hop_down_total", NULL);
    m->given_back = metrics_counter(metrics, "weir_next_hop_given_back_total", NULL);
    m->replayed = metrics_counter(metrics, "weir_delivery_replays_total", NULL);
}

struct delivery_pool *delivery_pool_new(struct event_base *base, struct dns *dns, const struct edge_settings *settings,
                                        const struct tls_settings *tls, struct metrics *metrics, struct error *why)
{
    struct delivery_pool *pool = xcalloc(1, sizeof *pool);
    pool->base = base;
    pool->settings = settings;
    pool->dns = dns;
    pool->registry = metrics;
    if (getrandom(&pool->seed, sizeof pool->seed, 0) != sizeof pool->seed)
        fatal("getrandom: %m");
    metrics_make(&pool->metrics, metrics);
    pool->mx.hosts_cut = metrics_counter(metrics, "weir_dns_mx_limited_total", "limit=\"hosts\"");
    pool->mx.addresses_cut = metrics_counter(metrics, "weir_dns_mx_limited_total", "limit=\"addresses\"");
    if (!delivery_pool_reload(pool, settings, tls, why))
        delivery_pool_free(&pool);
    return pool;
}

/* Those in use are closed when they are given back (pool_give). */
static void pool_close_idle(struct delivery_pool *pool)
{
    for (size_t i = 0; i < HOP_BUCKETS; i++) {
        for (struct hop *hop = pool->buckets[i], *next; hop != NULL; hop = next) {
            next = hop->next;
            hop->deliveries++; /* it stays while its last connection is closed */
            while (hop->idle != NULL)
                hopconn_close(hop->idle);
            pool_hop_leave(hop);
        }
    }
}

bool delivery_pool_reload(struct delivery_pool *pool, const struct edge_settings *settings, const struct tls_settings *tls,
                          struct error *why)
{
    struct net_tls *made = NULL;
    const char *ca_file = tls->ca_file != NULL ? tls->ca_file : "";
    if (settings->next_hop_tls != NEXT_HOP_TLS_NONE) {
        made = net_tls_client(tls->ca_file, settings->next_hop_tls == NEXT_HOP_TLS_REQUIRE, why);
        if (made == NULL)
            return false;
    }
    /* With `require` the file may hold others than before. */
    bool same = pool->made_hostname != NULL && settings->next_hop_tls != NEXT_HOP_TLS_REQUIRE &&
                settings->next_hop_tls == (int)pool->made_tls && strcmp(settings->hostname, pool->made_hostname) == 0 &&
                strcmp(ca_file, pool->made_ca_file) == 0;
    net_tls_unref(&pool->tls);
    pool->tls = made;
    pool->settings = settings;
    pool->mx.self.hostname = settings->hostname;
    pool->mx.self.names = &settings->own_names;
    pool->mx.host_limit = (size_t)settings->mx_host_limit;
    pool->mx.address_limit = (size_t)settings->mx_address_limit;
    pool->mx.dane = settings->next_hop_dane && made != NULL;
    if (same)
        return true;
    pool->generation++;
    pool->made_tls = (enum next_hop_tls)settings->next_hop_tls;
    free(pool->made_ca_file);
    free(pool->made_hostname);
    pool->made_ca_file = xstrdup(ca_file);
    pool->made_hostname = xstrdup(settings->hostname);
    pool_close_idle(pool);
    return true;
}

const struct egress *pool_egress(const struct delivery_pool *pool, const char *name)
{
    for (size_t i = 0; i < pool->egress_count; i++)
        if (strcmp(pool->egresses[i].name, name) == 0)
            return &pool->egresses[i];
    return NULL;
}

static struct metric *egress_gauge(const struct delivery_pool *pool, const char *name)
{
    return metrics_gauge(pool->registry, "weir_egress_addresses", "pool=\"%s\"", name);
}

static void forget_egresses(struct delivery_pool *pool)
{
    for (size_t i = 0; i < pool->egress_count; i++)
        egress_fini(&pool->egresses[i]);
    free(pool->egresses);
    pool->egresses = NULL;
    pool->egress_count = 0;
}

void delivery_pool_set_egresses(struct delivery_pool *pool, const struct egress *egresses, size_t count)
{
    bool same = count == pool->egress_count;
    for (size_t i = 0; same && i < count; i++)
        same = egress_is_same(&pool->egresses[i], &egresses[i]);
    if (same)
        return;
    for (size_t i = 0; i < pool->egress_count; i++)
        metric_set(egress_gauge(pool, pool->egresses[i].name), 0);
    forget_egresses(pool);
    pool->egresses = xcalloc(count + 1, sizeof *pool->egresses);
    for (size_t i = 0; i < count; i++) {
        egress_copy(&pool->egresses[pool->egress_count++], &egresses[i]);
        metric_set(egress_gauge(pool, egresses[i].name), (double)egresses[i].count);
    }
    pool->generation++;
    pool_close_idle(pool);
}

void delivery_pool_set_own_addresses(struct delivery_pool *pool, const struct netaddr *addresses, size_t count)
{
    pool->mx.self.addresses = addresses;
    pool->mx.self.address_count = count;
}

void delivery_pool_set_cluster(struct delivery_pool *pool, const char *mark)
{
    snprintf(pool->cluster, sizeof pool->cluster, "%s", strlen(mark) < sizeof pool->cluster ? mark : "");
}

static void on_forget(evutil_socket_t fd, short what, void *arg);

static void hop_destroy(struct hop **link)
{
    struct hop *hop = *link;
    *link = hop->next;
    event_del(&hop->forget);
    free(hop->egress);
    free(hop->down);
    free(hop->fair);
    free(hop);
}

void delivery_pool_free(struct delivery_pool **poolp)
{
    struct delivery_pool *pool = *poolp;
    *poolp = NULL;
    if (pool == NULL)
        return;
    for (size_t i = 0; i < HOP_BUCKETS; i++) {
        for (struct hop *hop = pool->buckets[i]; hop != NULL; hop = hop->next) {
            weir_assert(hop->deliveries == 0); /* cancelled before, by contract */
            hop->deliveries = 1;               /* it stays while its last connection is closed */
            while (hop->connections != NULL)
                hopconn_close(hop->connections);
        }
        while (pool->buckets[i] != NULL)
            hop_destroy(&pool->buckets[i]);
    }
    net_tls_unref(&pool->tls);
    forget_egresses(pool);
    free(pool->made_ca_file);
    free(pool->made_hostname);
    free(pool);
}

static struct hop **hop_bucket(struct delivery_pool *pool, const struct next_hop *name)
{
    uint32_t hash = 2166136261u ^ name->port;
    for (const char *p = name->host; *p != '\0'; p++)
        hash = (hash ^ (uint32_t)tolower((unsigned char)*p)) * 16777619u;
    return &pool->buckets[hash % HOP_BUCKETS];
}

/* Where a hop is reached from other addresses it is another one: what it thinks of them is its own. */
struct hop *pool_hop(struct delivery_pool *pool, const struct next_hop *name, const char *egress)
{
    struct hop **bucket = hop_bucket(pool, name), *hop = *bucket;
    while (hop != NULL &&
           (hop->name.port != name->port || hop->name.mx != name->mx || strcasecmp(hop->name.host, name->host) != 0 || strcmp(hop->egress, egress) != 0))
        hop = hop->next;
    if (hop == NULL) {
        hop = xcalloc(1, sizeof *hop);
        hop->pool = pool;
        hop->name = *name;
        hop->egress = xstrdup(egress);
        event_assign(&hop->forget, pool->base, -1, 0, on_forget, hop);
        hop->next = *bucket;
        *bucket = hop;
    }
    hop->deliveries++;
    return hop;
}

/* Forgets a next hop nobody has to do with. One that is down or whose TLS is broken is kept as long as that is to be remembered. */
static void hop_tidy(struct hop *hop)
{
    uint64_t now = clock_ms();
    if (hop->deliveries > 0 || hop->count > 0)
        return;
    uint64_t until = hop->down != NULL && hop->down_until > hop->no_tls_until ? hop->down_until : hop->no_tls_until;
    if (until > now) {
        event_add(&hop->forget, &(struct timeval){ (time_t)((until - now) / 1000), (suseconds_t)((until - now) % 1000 * 1000) });
        return;
    }
    struct hop **link = hop_bucket(hop->pool, &hop->name);
    while (*link != hop)
        link = &(*link)->next;
    hop_destroy(link);
}

static void on_forget(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    hop_tidy(arg);
}

void pool_hop_leave(struct hop *hop)
{
    hop->deliveries--;
    hop_tidy(hop);
}

void pool_count(struct hopconn *conn, enum hopconn_use use)
{
    struct metric **gauges = conn->hop->pool->metrics.connections;
    if (conn->use != HOPCONN_USES)
        metric_add(gauges[conn->use], -1);
    if (use != HOPCONN_USES)
        metric_add(gauges[use], 1);
    conn->use = use;
}

/* ---- the line of those who wait for a connection ---- */

static void line_up(struct hop *hop, struct delivery *delivery)
{
    if (hop->fair == NULL) {
        hop->fair = xmalloc(sizeof *hop->fair);
        fair_init(hop->fair, hop->pool->seed);
    }
    delivery->turn = fair_turn(hop->fair, delivery->source, 1);
    struct delivery **link = &hop->waiting;
    while (*link != NULL && (*link)->turn <= delivery->turn)
        link = &(*link)->line_next;
    delivery->line_next = *link;
    *link = delivery;
}

static void line_remove(struct hop *hop, struct delivery **link)
{
    *link = (*link)->line_next;
    if (hop->waiting == NULL) {
        free(hop->fair);
        hop->fair = NULL;
    }
}

void pool_leave_line(struct hop *hop, struct delivery *delivery)
{
    struct delivery **link = &hop->waiting;
    while (*link != NULL && *link != delivery)
        link = &(*link)->line_next;
    if (*link == NULL)
        return; /* it was the first, and is being told why there is no connection */
    fair_give_back(hop->fair, delivery->source, delivery->turn, 1);
    line_remove(hop, link);
}

static struct delivery *line_first(struct hop *hop)
{
    struct delivery *first = hop->waiting;
    if (first != NULL) {
        fair_serve(hop->fair, first->turn);
        line_remove(hop, &hop->waiting);
    }
    return first;
}

struct hopconn *pool_acquire(struct hop *hop, struct delivery *delivery, bool fresh)
{
    struct hopconn *conn = hop->idle;
    if (conn != NULL && !fresh) {
        pool_take_idle(conn);
        hopconn_take(conn, delivery);
        return conn;
    }
    if (conn != NULL && hop->count >= hop->pool->settings->next_hop_connections)
        hopconn_close(conn); /* makes room for the fresh one */
    if (hop->count < hop->pool->settings->next_hop_connections) {
        delivery->state = DELIVERY_CONNECTING;
        delivery->conn = hopconn_new(hop, delivery);
        return NULL;
    }
    delivery->state = DELIVERY_WAITING;
    line_up(hop, delivery);
    pool_press(hop);
    return NULL;
}

static struct delivery *held_longest(const struct hop *hop)
{
    struct delivery *longest = NULL;
    for (const struct hopconn *conn = hop->connections; conn != NULL; conn = conn->next) {
        struct delivery *owner = conn->owner;
        if (owner != NULL && owner->held_since != 0 && (longest == NULL || owner->held_since < longest->held_since))
            longest = owner;
    }
    return longest;
}

static bool more_wait_than_come(const struct hop *hop)
{
    unsigned coming = 0;
    for (const struct hopconn *conn = hop->connections; conn != NULL; conn = conn->next)
        coming += conn->owner == NULL && conn->use != HOPCONN_IDLE;
    const struct delivery *waiting = hop->waiting;
    while (waiting != NULL && coming > 0) {
        waiting = waiting->line_next;
        coming--;
    }
    return waiting != NULL;
}

void pool_press(struct hop *hop)
{
    const struct edge_settings *settings = hop->pool->settings;
    struct delivery *longest;
    while (more_wait_than_come(hop) && (longest = held_longest(hop)) != NULL) {
        uint64_t held = clock_ms() - longest->held_since;
        if (held < settings->next_hop_hold_pressed) {
            if (held < settings->next_hop_hold)
                delivery_press(longest, settings->next_hop_hold_pressed - held);
            return; /* the others were not held longer */
        }
        delivery_give_back(longest);
    }
}

static unsigned hop_connections(const struct hop *hop, enum hopconn_use use)
{
    unsigned count = 0;
    for (const struct hopconn *conn = hop->connections; conn != NULL; conn = conn->next)
        count += conn->use == use;
    return count;
}

const struct smtp_reply *pool_down(const struct hop *hop)
{
    if (hop->down == NULL || hop->idle != NULL)
        return NULL;
    return clock_ms() < hop->down_until || hop_connections(hop, HOPCONN_CONNECTING) > 0 ? hop->down : NULL;
}

/* What was found out at once costs nothing to find out again, and the host may be back any moment; who has waited for a host that hangs
 * waited for all. A host that refuses one more connection beside those it serves is not down. */
void pool_unreachable(struct hopconn *conn, const struct smtp_reply *reply)
{
    struct hop *hop = conn->hop;
    uint64_t now = clock_ms(), took = now - conn->began_ms, longest = hop->pool->settings->next_hop_down;
    if (longest == 0 || hop_connections(hop, HOPCONN_BUSY) + hop_connections(hop, HOPCONN_IDLE) > 0)
        return;
    if (hop->down == NULL)
        hop->down = xmalloc(sizeof *hop->down);
    *hop->down = *reply;
    hop->down_until = now + (took < longest ? took : longest);
    for (struct delivery *first; hop->down != NULL && (first = line_first(hop)) != NULL;)
        delivery_on_unreachable(first, hop->down);
}

void pool_reached(struct hop *hop)
{
    free(hop->down);
    hop->down = NULL;
}

void pool_give(struct hopconn *conn)
{
    struct hop *hop = conn->hop;
    const struct edge_settings *settings = hop->pool->settings;
    if (conn->transactions >= settings->next_hop_messages || conn->generation != hop->pool->generation) {
        hopconn_close(conn);
        return;
    }
    struct delivery *first = line_first(hop);
    if (first != NULL) {
        hopconn_take(conn, first);
        delivery_on_ready(first, conn);
        pool_press(hop);
        return;
    }
    pool_count(conn, HOPCONN_IDLE);
    conn->idle_next = hop->idle;
    hop->idle = conn;
    event_add(&conn->timer, &(struct timeval){ (time_t)(settings->next_hop_idle / 1000),
                                               (suseconds_t)(settings->next_hop_idle % 1000 * 1000) });
}

void pool_take_idle(struct hopconn *conn)
{
    struct hopconn **link = &conn->hop->idle;
    while (*link != conn)
        link = &(*link)->idle_next;
    *link = conn->idle_next;
}

void pool_closed(struct hop *hop)
{
    hop->count--;
    if (hop->count < hop->pool->settings->next_hop_connections) {
        struct delivery *first = line_first(hop);
        if (first != NULL) {
            first->state = DELIVERY_CONNECTING;
            first->conn = hopconn_new(hop, first);
        }
    }
    hop_tidy(hop);
}

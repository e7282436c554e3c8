/*
 * cluster.c - the cluster state and the policy: read from the database, kept, published
 *
 * One read is in flight at a time; what changes meanwhile makes one more. A read is one unit: who fell silent, the
 * state in one snapshot, and the policy if it is newer than ours, so that a state is never published whose policy we
 * could not give.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/cluster.h"

#define READ_SOON_MS 20   /* changes come in groups */
#define FRESH_MS     3000 /* a state counts as fresh so long after its read began, or three publish_intervals; no longer
                           * once the connection is known to be lost */

struct waiter {
    cluster_read_handler done;
    void *arg;
    STAILQ_ENTRY(waiter) link;
};

struct cluster {
    struct cluster_options options;
    struct cluster_view view, read; /* read: of the unit in flight */
    struct cluster_policy policy, read_policy;
    bool reading, again;
    STAILQ_HEAD(, waiter) waiting, soon_told; /* for the next read; for the one in flight */
    uint64_t sweep_after_ms;
    uint64_t read_began_ms, read_ms; /* of the read in flight; of the last that succeeded */
    struct event *tick, *soon, *ages;
    struct event *disk_full; /* pending: the disk counts as full */
    struct metric *epoch, *policy_epoch, *spool_full;
};

static void policy_clear(struct cluster_policy *policy)
{
    for (size_t i = 0; i < policy->count; i++) {
        free((char *)(uintptr_t)policy->files[i].name);
        free((char *)(uintptr_t)policy->files[i].text);
    }
    free(policy->digest);
    *policy = (struct cluster_policy){ 0 };
}

static uint64_t fresh_ms(const struct cluster *cluster)
{
    uint64_t limit = 3 * cluster->options.publish_interval_ms;
    return limit > FRESH_MS ? limit : FRESH_MS;
}

static bool is_fresh(const struct cluster *cluster)
{
    return db_is_up(cluster->options.db) && clock_ms() - cluster->read_ms <= fresh_ms(cluster);
}

/* Without a database the spool is away, which edges answer otherwise. A full disk may be why reads fail: so that is known without one. */
static bool spool_is_full(const struct cluster *cluster)
{
    return (is_fresh(cluster) && cluster->view.spool_full) ||
           (db_is_up(cluster->options.db) && evtimer_pending(cluster->disk_full, NULL));
}

/* items has room for all; the caller frees out->stops. NULL: nobody is stopped. */
static Weir__OutboundStops *make_stops(const struct cluster *cluster, Weir__OutboundStops *out, Weir__OutboundStop *items)
{
    const struct cluster_view *view = &cluster->view;
    weir__outbound_stops__init(out);
    out->stops = xcalloc(view->stop_count + 1, sizeof *out->stops);
    for (size_t i = 0; i < view->stop_count; i++) {
        Weir__OutboundStop *stop = out->stops[i] = &items[i];
        weir__outbound_stop__init(stop);
        stop->subject = wire_text(view->stops[i].subject);
        stop->state = view->stops[i].state;
        stop->amount = stop->state == WEIR__OUTBOUND_STATE__OUTBOUND_THROTTLED ? cluster->options.outbound_throttle : 0;
    }
    out->n_stops = view->stop_count;
    out->beyond = view->beyond;
    out->n_beyond = view->beyond_count;
    out->beyond_states = wire_bytes(view->beyond_states, view->beyond_count);
    return view->stop_count > 0 ? out : NULL;
}

/* The same of those who were moved to an egress pool. */
static Weir__OutboundPools *make_pools(const struct cluster_view *view, Weir__OutboundPools *out, Weir__OutboundPool *items)
{
    weir__outbound_pools__init(out);
    out->pools = xcalloc(view->pool_count + 1, sizeof *out->pools);
    for (size_t i = 0; i < view->pool_count; i++) {
        weir__outbound_pool__init(out->pools[i] = &items[i]);
        items[i].subject = wire_text(view->pools[i].subject);
        items[i].pool = wire_text(view->pools[i].pool);
    }
    out->n_pools = view->pool_count;
    return view->pool_count > 0 ? out : NULL;
}

static void publish(struct cluster *cluster)
{
    const struct cluster_view *view = &cluster->view;
    if (view->epoch == 0)
        return;
    Weir__ClusterState state = WEIR__CLUSTER_STATE__INIT;
    state.epoch = view->epoch;
    state.policy_epoch = view->policy_epoch;
    state.policy_digest = wire_text(view->policy_digest);
    state.coordinator = wire_text(cluster->options.name);
    state.identity = wire_text(view->identity);
    state.fresh = is_fresh(cluster);
    state.personal_blocks = view->personal_blocks;
    state.spool_full = spool_is_full(cluster);
    metric_set(cluster->spool_full, state.spool_full);

    Weir__NodeEntry *entries = xcalloc(view->node_count + 1, sizeof *entries);
    Weir__AllowedKey *keys = xcalloc(view->key_count + 1, sizeof *keys);
    state.nodes = xcalloc(view->node_count + 1, sizeof *state.nodes);
    Weir__SignatureTargets targets = WEIR__SIGNATURE_TARGETS__INIT;
    Weir__SignatureTarget *told = xcalloc(view->node_count + 1, sizeof *told);
    targets.targets = xcalloc(view->node_count + 1, sizeof *targets.targets);
    state.keys = xcalloc(view->key_count + 1, sizeof *state.keys);
    for (size_t i = 0; i < view->node_count; i++) {
        const struct cluster_node *node = &view->nodes[i];
        Weir__NodeEntry *entry = state.nodes[i] = &entries[i];
        weir__node_entry__init(entry);
        entry->node = wire_text(node->name);
        entry->role = node->role;
        entry->state = node->state;
        entry->drain = node->drain;
        entry->drain_number = node->drain_number;
        entry->gc = node->gc;
        entry->lost = node->lost;
        entry->endpoint = wire_text(node->endpoint);
        if (node->has_key)
            entry->public_key = wire_bytes(node->public_key, CURVE_KEY_LEN);
        if (!node->has_signatures)
            continue;
        Weir__SignatureTarget *target = targets.targets[targets.n_targets++] = &told[i];
        weir__signature_target__init(target);
        target->node = entry->node;
        target->set = wire_bytes(node->signature_set, SIGNATURE_HASH_LEN);
        target->number = node->signature_number;
    }
    if (targets.n_targets > 0)
        state.signature_targets = &targets;
    for (size_t i = 0; i < view->key_count; i++) {
        Weir__AllowedKey *key = state.keys[i] = &keys[i];
        weir__allowed_key__init(key);
        key->public_key = wire_bytes(view->keys[i].key, CURVE_KEY_LEN);
        key->name = wire_text(view->keys[i].name);
        key->role = view->keys[i].role;
    }
    Weir__OutboundStops outbound;
    Weir__OutboundStop *stops = xcalloc(view->stop_count + 1, sizeof *stops);
    state.outbound = make_stops(cluster, &outbound, stops);
    Weir__OutboundPools pools;
    Weir__OutboundPool *pooled = xcalloc(view->pool_count + 1, sizeof *pooled);
    state.pools = make_pools(view, &pools, pooled);
    state.n_nodes = view->node_count;
    state.n_keys = view->key_count;
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_CLUSTER_STATE;
    frame.cluster_state = &state;
    link_publish(cluster->options.publisher, &frame);
    free(state.nodes);
    free(state.keys);
    free(targets.targets);
    free(told);
    free(outbound.stops);
    free(stops);
    free(pools.pools);
    free(pooled);
    free(entries);
    free(keys);
}

static void on_state(void *arg, const PGresult *result)
{
    struct cluster *cluster = arg;
    struct error why;
    cluster_view_clear(&cluster->read);
    if (PQntuples(result) != 1 || !cluster_view_parse(&cluster->read, PQgetvalue(result, 0, 0), &why))
        log_write(LOG_ERR, "database: %s", PQntuples(result) == 1 ? why.text : "no cluster state");
}

static void on_spool(void *arg, const PGresult *result)
{
    struct cluster *cluster = arg;
    cluster->read.spool_full = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
}

static void on_policy(void *arg, const PGresult *result)
{
    struct cluster *cluster = arg;
    struct cluster_policy *policy = &cluster->read_policy;
    policy_clear(policy);
    for (int row = 0; row < PQntuples(result); row++) {
        if (row == 0) {
            policy->epoch = strtoull(PQgetvalue(result, row, 0), NULL, 10);
            policy->digest = xstrdup(PQgetvalue(result, row, 1));
        }
        if (PQgetisnull(result, row, 2) || policy->count == WIRE_PAYLOADS_MAX)
            continue;
        size_t len = (size_t)PQgetlength(result, row, 3);
        policy->files[policy->count++] = (struct wire_file){
            .name = xstrdup(PQgetvalue(result, row, 2)), .text = xmemdup(PQgetvalue(result, row, 3), len + 1), .len = len
        };
    }
}

static void log_node_changes(const struct cluster_view *old, const struct cluster_view *new)
{
    for (size_t i = 0; i < new->node_count; i++) {
        const struct cluster_node *node = &new->nodes[i], *before = NULL;
        for (size_t j = 0; j < old->node_count && before == NULL; j++)
            if (strcmp(old->nodes[j].name, node->name) == 0)
                before = &old->nodes[j];
        if (before != NULL &&
            (before->state != node->state || before->lost != node->lost || before->drain != node->drain))
            log_write(node->lost && !before->lost ? LOG_WARNING : LOG_NOTICE, "node=%s state=%s drain=%s", node->name,
                      node->lost ? "lost" : state_text(node->state), node->drain ? "yes" : "no");
    }
}

static void take_read(struct cluster *cluster)
{
    if (cluster->read.epoch == 0)
        return;
    cluster->read_ms = cluster->read_began_ms;
    uint64_t age = clock_ms() - cluster->read_ms, left = age < fresh_ms(cluster) ? fresh_ms(cluster) - age + 1 : 1;
    event_add(cluster->ages, &(struct timeval){ (time_t)(left / 1000), (suseconds_t)(left % 1000 * 1000) });
    bool changed = cluster->read.epoch != cluster->view.epoch ||
                   strcmp(cluster->read.identity, cluster->view.identity) != 0 || /* a view with an epoch has one */
                   strcmp(cluster->read.policy_digest, cluster->view.policy_digest) != 0 ||
                   cluster->read.spool_full != cluster->view.spool_full;
    if (cluster->read_policy.epoch != 0) {
        policy_clear(&cluster->policy);
        cluster->policy = cluster->read_policy;
        cluster->read_policy = (struct cluster_policy){ 0 };
        log_write(LOG_NOTICE, "policy epoch=%llu", (unsigned long long)cluster->policy.epoch);
    }
    if (changed) {
        log_node_changes(&cluster->view, &cluster->read);
        if (cluster->read.spool_full != cluster->view.spool_full)
            log_write(cluster->read.spool_full ? LOG_WARNING : LOG_NOTICE, "spool: %s",
                      cluster->read.spool_full ? "full: listeners that always spool refuse mail" : "there is room again");
        cluster_view_clear(&cluster->view);
        cluster->view = cluster->read;
        cluster->read = (struct cluster_view){ 0 };
        metric_set(cluster->epoch, (double)cluster->view.epoch);
        metric_set(cluster->policy_epoch, (double)cluster->view.policy_epoch);
        if (link_hub_allow(cluster->options.hub, cluster->view.keys, cluster->view.key_count))
            log_write(LOG_NOTICE, "a key was revoked: its connections are ended");
        publish(cluster);
    }
}

static void read_soon(struct cluster *cluster)
{
    if (!evtimer_pending(cluster->soon, NULL))
        event_add(cluster->soon, &(struct timeval){ 0, READ_SOON_MS * 1000 });
}

static void tell_waiters(struct cluster *cluster)
{
    while (!STAILQ_EMPTY(&cluster->soon_told)) {
        struct waiter *waiter = STAILQ_FIRST(&cluster->soon_told);
        STAILQ_REMOVE_HEAD(&cluster->soon_told, link);
        waiter->done(waiter->arg);
        free(waiter);
    }
}

static void on_read(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct cluster *cluster = arg;
    cluster->reading = false;
    if (outcome == DB_OK)
        take_read(cluster);
    else if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: cannot read the cluster state: %s", error->why.text);
    if (outcome == DB_LOST) /* the next read may be far */
        STAILQ_CONCAT(&cluster->soon_told, &cluster->waiting);
    tell_waiters(cluster);
    if (cluster->again) {
        cluster->again = false;
        read_soon(cluster);
    }
}

static void begin_read(struct cluster *cluster)
{
    if (cluster->reading) {
        cluster->again = true;
        return;
    }
    if (!db_is_up(cluster->options.db) && STAILQ_EMPTY(&cluster->waiting))
        return;
    STAILQ_CONCAT(&cluster->soon_told, &cluster->waiting);
    cluster->reading = true;
    cluster->read_began_ms = clock_ms();
    char silence[32], have[24], most_messages[24], most_bytes[24];
    const char *digest = cluster->policy.digest != NULL ? cluster->policy.digest : "";
    snprintf(silence, sizeof silence, "%llu ms", (unsigned long long)cluster->options.node_timeout_ms);
    snprintf(have, sizeof have, "%llu", (unsigned long long)cluster->policy.epoch);
    snprintf(most_messages, sizeof most_messages, "%llu", (unsigned long long)cluster->options.spool_max_messages);
    snprintf(most_bytes, sizeof most_bytes, "%llu", (unsigned long long)cluster->options.spool_max_bytes);
    const char *const limits[] = { most_messages, most_bytes };
    const char *const silence_values[] = { silence }, *const have_values[] = { have, digest };
    struct db_unit *unit = db_begin(cluster->options.db, on_read, cluster);
    if (clock_ms() >= cluster->sweep_after_ms)
        db_query(unit, "SELECT node_refresh(NULL, $1::interval)", 1, silence_values, NULL);
    db_query(unit, "SELECT cluster_state()", 0, NULL, on_state);
    db_query(unit, "SELECT spool_is_full($1::bigint, $2::bigint)", 2, limits, on_spool);
    db_query(unit,
             "SELECT p.epoch, p.digest, f.name, f.content FROM policy p LEFT JOIN policy_file f USING (epoch)"
             " WHERE p.epoch = (SELECT max(epoch) FROM policy) AND (p.epoch, p.digest) <> ($1::bigint, $2) ORDER BY f.name",
             2, have_values, on_policy);
    db_commit(unit);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    publish(arg);
    begin_read(arg);
}

/* What is published is not fresh any more. Said at once, not at the next tick: coordinators that lost the same database
 * are to say so as nearly together as they can, or nodes run from one to the other. */
static void on_aged(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    publish(arg);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    begin_read(arg);
}

/* The next message that is taken finds out. */
static void on_disk_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    log_write(LOG_NOTICE, "spool: mail is taken again, to see whether the database's disk has room");
    publish(arg);
}

struct cluster *cluster_new(const struct cluster_options *options)
{
    struct cluster *cluster = xcalloc(1, sizeof *cluster);
    cluster->options = *options;
    STAILQ_INIT(&cluster->waiting);
    STAILQ_INIT(&cluster->soon_told);
    cluster->tick = event_new(options->base, -1, EV_PERSIST, on_tick, cluster);
    cluster->soon = evtimer_new(options->base, on_soon, cluster);
    cluster->ages = evtimer_new(options->base, on_aged, cluster);
    cluster->disk_full = evtimer_new(options->base, on_disk_again, cluster);
    cluster->epoch = metrics_gauge(options->metrics, "weir_epoch", NULL);
    cluster->policy_epoch = metrics_gauge(options->metrics, "weir_policy_epoch", NULL);
    cluster->spool_full = metrics_gauge(options->metrics, "weir_spool_full", NULL);
    uint64_t ms = options->publish_interval_ms;
    event_add(cluster->tick, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
    return cluster;
}

void cluster_free(struct cluster **freed)
{
    struct cluster *cluster = *freed;
    *freed = NULL;
    if (cluster == NULL)
        return;
    event_free(cluster->tick);
    event_free(cluster->soon);
    event_free(cluster->ages);
    event_free(cluster->disk_full);
    cluster_view_clear(&cluster->view);
    cluster_view_clear(&cluster->read);
    policy_clear(&cluster->policy);
    policy_clear(&cluster->read_policy);
    free(cluster);
}

void cluster_database_up(struct cluster *cluster)
{
    /* All rows are old now, whoever was heard meanwhile. */
    cluster->sweep_after_ms = clock_ms() + cluster->options.node_timeout_ms + 1000;
    begin_read(cluster);
}

void cluster_database_down(struct cluster *cluster)
{
    publish(cluster);
}

void cluster_changed(struct cluster *cluster)
{
    read_soon(cluster);
}

void cluster_disk_full(struct cluster *cluster, uint64_t ms)
{
    bool known = evtimer_pending(cluster->disk_full, NULL);
    event_add(cluster->disk_full, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
    if (known)
        return;
    log_write(LOG_WARNING, "spool: the database's disk is full: listeners that always spool refuse mail for %llu ms", (unsigned long long)ms);
    publish(cluster);
}

void cluster_when_read(struct cluster *cluster, cluster_read_handler done, void *arg)
{
    struct waiter *waiter = xmalloc(sizeof *waiter);
    *waiter = (struct waiter){ .done = done, .arg = arg };
    STAILQ_INSERT_TAIL(&cluster->waiting, waiter, link);
    begin_read(cluster); /* where the database is gone, the unit says so in the next turn */
}

const struct cluster_view *cluster_view(const struct cluster *cluster)
{
    return &cluster->view;
}

const struct cluster_policy *cluster_policy(const struct cluster *cluster)
{
    return &cluster->policy;
}

/* Levenshtein's distance of two short names. */
static size_t name_distance(const char *a, const char *b)
{
    size_t row[65], len = strlen(b);
    if (len >= 64)
        return SIZE_MAX;
    for (size_t j = 0; j <= len; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]), add = row[j - 1] + 1, drop = row[j] + 1;
            diagonal = row[j];
            row[j] = change < add ? change : add;
            row[j] = row[j] < drop ? row[j] : drop;
        }
    }
    return row[len];
}

const char *cluster_nearest_name(const struct cluster *cluster, const char *name)
{
    const char *nearest = NULL;
    size_t best = strlen(name) / 3 + 2; /* farther than that is no misspelling */
    for (size_t i = 0; i < cluster->view.node_count; i++) {
        size_t distance = name_distance(name, cluster->view.nodes[i].name);
        if (distance < best) {
            best = distance;
            nearest = cluster->view.nodes[i].name;
        }
    }
    return nearest;
}

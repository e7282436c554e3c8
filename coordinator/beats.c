/*
 * beats.c - heartbeats of many processes, written to the database in batches
 *
 * A beat is in the list `dirty` while it has something that was not handed to the database.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "common/netaddr.h"
#include "common/signature_set.h"
#include "coordinator/beats.h"
#include "coordinator/cluster.h"
#include "coordinator/exposition.h"
#include "coordinator/rows.h"

#define TEXT_MAX 512
#define SKEW_MAX_MS (100ull * 365 * 86400 * 1000)
#define METRICS_HELD_MAX                                                                                               \
    (1u << 20) /* bytes of JSON waiting for the database; over it the older are dropped: they come again */

struct beat {
    char *node, *signatures, *endpoint, *version;
    char public_key[CURVE_HEX_LEN + 1];
    Weir__Role role;
    Weir__NodeState state;
    uint32_t worker, pid;
    int64_t skew_ms; /* its wall clock, less ours */
    uint64_t boot, sequence, drain_number, gc_done, policy_epoch, generation, in_flight;
    struct text listeners, addresses; /* JSON arrays */
    struct text use;                  /* of a scanner: JSON object */
    struct text signatures_told;      /* JSON object; empty: {} */
    uint32_t leases, reports, passed_on;
    bool full;
    struct text metrics; /* JSON without its brackets; empty: none since the last batch */
    bool partial;        /* metrics are to be merged with those in the database */
    bool dirty, forgotten;
    TAILQ_ENTRY(beat) link;
};
TAILQ_HEAD(beat_list, beat);

struct beats {
    struct db *db;
    char *coordinator;
    uint64_t node_timeout_ms, flushed_ms;
    bool flushing;
    struct beat_list dirty;
    struct event *timer;
    struct metric *heard, *bad_samples;
};

static void on_timer(evutil_socket_t fd, short what, void *arg);

struct beats *beats_new(struct event_base *base, struct db *db, const char *coordinator, uint64_t node_timeout_ms,
                        struct metrics *metrics)
{
    struct beats *beats = xcalloc(1, sizeof *beats);
    beats->db = db;
    beats->coordinator = xstrdup(coordinator);
    beats->node_timeout_ms = node_timeout_ms;
    TAILQ_INIT(&beats->dirty);
    beats->timer = evtimer_new(base, on_timer, beats);
    beats->heard = metrics_counter(metrics, "weir_heartbeats_total", NULL);
    beats->bad_samples = metrics_counter(metrics, "weir_node_samples_dropped_total", NULL);
    return beats;
}

static void beat_free(struct beat *beat)
{
    free(beat->node);
    free(beat->signatures);
    free(beat->endpoint);
    free(beat->version);
    text_fini(&beat->metrics);
    text_fini(&beat->listeners);
    text_fini(&beat->use);
    text_fini(&beat->signatures_told);
    text_fini(&beat->addresses);
    free(beat);
}

static void beat_clean(struct beats *beats, struct beat *beat)
{
    TAILQ_REMOVE(&beats->dirty, beat, link);
    beat->dirty = false;
    text_reset(&beat->metrics);
    if (beat->forgotten)
        beat_free(beat);
}

void beats_free(struct beats **freed)
{
    struct beats *beats = *freed;
    *freed = NULL;
    if (beats == NULL)
        return;
    while (!TAILQ_EMPTY(&beats->dirty))
        beat_clean(beats, TAILQ_FIRST(&beats->dirty));
    event_free(beats->timer);
    free(beats->coordinator);
    free(beats);
}

static void schedule(struct beats *beats)
{
    if (beats->flushing || TAILQ_EMPTY(&beats->dirty) || evtimer_pending(beats->timer, NULL))
        return;
    uint64_t since = clock_ms() - beats->flushed_ms;
    uint64_t wait = since >= BEATS_INTERVAL_MS ? 0 : BEATS_INTERVAL_MS - since;
    event_add(beats->timer, &(struct timeval){ 0, (suseconds_t)(wait * 1000) });
}

/* --- what was said --- */

static void take_text(char **out, const ProtobufCBinaryData *bytes)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, bytes->data, bytes->len, TEXT_MAX);
    free(*out);
    *out = xstrdup(clean.data);
    text_fini(&clean);
}

static void add_sample(struct text *json, const Weir__MetricSample *sample)
{
    text_puts(json, json->len > 0 ? ",{\"n\":" : "{\"n\":");
    text_add_json(json, sample->name.data, sample->name.len);
    text_puts(json, ",\"l\":");
    text_add_json(json, sample->labels.data, sample->labels.len);
    text_printf(json, ",\"k\":%u,\"v\":%.17g", sample->kind, sample->value);
    if (sample->kind == METRIC_HISTOGRAM) {
        text_printf(json, ",\"c\":%llu,\"b\":[", (unsigned long long)sample->count);
        for (size_t i = 0; i < sample->n_bounds; i++)
            text_printf(json, "%s%.17g", i > 0 ? "," : "", sample->bounds[i]);
        text_puts(json, "],\"u\":[");
        for (size_t i = 0; i < sample->n_buckets; i++)
            text_printf(json, "%s%llu", i > 0 ? "," : "", (unsigned long long)sample->buckets[i]);
        text_puts(json, "]");
    }
    text_puts(json, "}");
}

static void take_listeners(struct beat *beat, const Weir__Heartbeat *heartbeat)
{
    struct text *json = &beat->listeners;
    text_reset(json);
    text_puts(json, "[");
    for (size_t i = 0; i < heartbeat->n_listeners; i++) {
        const Weir__Listener *listener = heartbeat->listeners[i];
        text_puts(json, i > 0 ? ",{\"name\":" : "{\"name\":");
        text_add_json(json, listener->name.data, listener->name.len);
        text_puts(json, ",\"endpoint\":");
        text_add_json(json, listener->endpoint.data, listener->endpoint.len);
        text_puts(json, listener->outbound ? ",\"outbound\":true}" : ",\"outbound\":false}");
    }
    text_puts(json, "]");
}

static void add_hash(struct text *json, const char *key, const ProtobufCBinaryData *hash)
{
    char hex[SIGNATURE_HEX_LEN + 1] = "";
    if (hash->len == SIGNATURE_HASH_LEN)
        signature_hex(hash->data, hex);
    text_printf(json, "\"%s\":\"%s\",", key, hex);
}

static void take_signatures(struct beat *beat, const Weir__SignatureState *state)
{
    struct text *json = &beat->signatures_told;
    text_reset(json);
    text_puts(json, "{");
    if (state != NULL) {
        add_hash(json, "set", &state->set);
        add_hash(json, "wanted", &state->wanted);
        text_printf(json, "\"number\":%llu,\"failed\":%s,\"why\":", (unsigned long long)(state->number > INT64_MAX ? INT64_MAX : state->number),
                    state->failed ? "true" : "false");
        text_add_json(json, state->why.data, state->why.len);
    }
    text_puts(json, "}");
}

static void take_use(struct beat *beat, const Weir__ScannerUse *use)
{
    text_reset(&beat->use);
    if (use == NULL)
        text_puts(&beat->use, "{}");
    else
        text_printf(&beat->use,
                    "{\"small_workers\":%u,\"large_workers\":%u,\"small_busy\":%u,\"large_busy\":%u,\"memory\":%llu,\"memory_loaded\":%llu,"
                    "\"scanned\":%llu,\"serving_ms\":%llu}",
                    use->small_workers, use->large_workers, use->small_busy, use->large_busy, (unsigned long long)use->memory,
                    (unsigned long long)use->memory_loaded, (unsigned long long)use->scanned, (unsigned long long)use->serving_ms);
}

/* What is none is left out: these become records. */
static void take_addresses(struct beat *beat, const Weir__Heartbeat *heartbeat)
{
    struct text *json = &beat->addresses;
    text_reset(json);
    text_puts(json, "[");
    for (size_t i = 0; i < heartbeat->n_addresses; i++) {
        struct netaddr address;
        char told[WIRE_CLIENT_MAX + 1], text[NETADDR_TEXT_MAX];
        if (netaddr_parse(&address, wire_string(told, sizeof told, &heartbeat->addresses[i])))
            text_printf(json, "%s\"%s\"", json->len > 1 ? "," : "", netaddr_format(&address, text));
    }
    text_puts(json, "]");
}

/* A node may say any time; the sum with our own skew must be one that a bigint holds. */
static int64_t skew_of(const Weir__Heartbeat *heartbeat)
{
    if (heartbeat->time_ms == 0)
        return 0;
    uint64_t now = clock_wall_ms(), told = heartbeat->time_ms;
    uint64_t apart = told > now ? told - now : now - told;
    int64_t kept = (int64_t)(apart > SKEW_MAX_MS ? SKEW_MAX_MS : apart);
    return told > now ? kept : -kept;
}

static void take_metrics(struct beats *beats, struct beat *beat, const Weir__Heartbeat *heartbeat)
{
    if (!heartbeat->metrics_partial || beat->metrics.len > METRICS_HELD_MAX)
        text_reset(&beat->metrics);
    beat->partial = heartbeat->metrics_partial;
    for (size_t i = 0; i < heartbeat->n_metrics; i++) {
        const Weir__MetricSample *sample = heartbeat->metrics[i];
        if (exposition_name_is_valid((const char *)sample->name.data, sample->name.len) &&
            exposition_labels_are_valid((const char *)sample->labels.data, sample->labels.len))
            add_sample(&beat->metrics, sample);
        else
            metric_add(beats->bad_samples, 1);
    }
}

void beats_hear(struct beats *beats, struct beat **known, const Weir__Heartbeat *heartbeat)
{
    struct beat *beat = *known;
    if (beat != NULL && (beat->boot != heartbeat->boot || beat->worker != heartbeat->worker))
        beats_forget(beats, known); /* a link that changes what process it is begins anew */
    if (*known == NULL) {
        *known = xcalloc(1, sizeof **known);
        text_init(&(*known)->metrics);
        text_init(&(*known)->listeners);
        text_init(&(*known)->use);
        text_init(&(*known)->signatures_told);
        text_init(&(*known)->addresses);
    }
    beat = *known;
    metric_add(beats->heard, 1);
    take_text(&beat->node, &heartbeat->node);
    take_text(&beat->signatures, &heartbeat->signatures);
    take_text(&beat->endpoint, &heartbeat->endpoint);
    take_text(&beat->version, &heartbeat->version);
    beat->public_key[0] = '\0';
    if (heartbeat->public_key.len == CURVE_KEY_LEN)
        curve_key_format(heartbeat->public_key.data, beat->public_key);
    beat->role = heartbeat->role;
    beat->state = heartbeat->state;
    beat->worker = heartbeat->worker;
    beat->pid = heartbeat->pid;
    beat->boot = heartbeat->boot;
    beat->sequence = heartbeat->sequence;
    beat->drain_number = heartbeat->drain_number;
    beat->gc_done = heartbeat->gc_done;
    beat->policy_epoch = heartbeat->policy_epoch;
    beat->generation = heartbeat->generation;
    beat->in_flight = heartbeat->in_flight;
    beat->skew_ms = skew_of(heartbeat);
    beat->leases = heartbeat->leases;
    beat->reports = heartbeat->reports;
    beat->passed_on = heartbeat->passed_on;
    beat->full = heartbeat->full;
    take_listeners(beat, heartbeat);
    take_use(beat, heartbeat->use);
    take_signatures(beat, heartbeat->signature_state);
    take_addresses(beat, heartbeat);
    if (heartbeat->n_metrics > 0)
        take_metrics(beats, beat, heartbeat);
    if (!beat->dirty) {
        beat->dirty = true;
        TAILQ_INSERT_TAIL(&beats->dirty, beat, link);
    }
    schedule(beats);
}

void beats_forget(struct beats *beats, struct beat **forgotten)
{
    struct beat *beat = *forgotten;
    *forgotten = NULL;
    if (beat == NULL)
        return;
    beat->forgotten = true;
    if (!beat->dirty)
        beat_free(beat);
    else
        schedule(beats);
}

/* --- the batch --- */

#define PROCESS_COLUMNS 24

/* The same process may be in a batch twice, when it changed its link: the later one counts (PostgreSQL refuses to
 * upsert a row twice). */
static const char process_sql[] =
    "INSERT INTO node_process AS p (node, worker, boot, seen_at, state, version, pid, in_flight, gc_done, "
    "policy_epoch, generation,"
    " signatures, endpoint, public_key, sequence, drain_number, listeners, scanner_use, signature_state, leases, reports, passed_on, over_budget, addresses, coordinator, skew_ms)"
    " SELECT DISTINCT ON (node, worker, boot) node, worker, boot, clock_timestamp(), state, version, pid, in_flight, "
    "gc_done,"
    " policy_epoch, generation, signatures, endpoint, public_key, sequence, drain_number, listeners::jsonb, scanner_use::jsonb, signature_state::jsonb,"
    " leases, reports, passed_on, over_budget,"
    " addresses::jsonb, $25, skew_ms + $26::bigint - (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    " FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::integer[], $7::bigint[], "
    "$8::bigint[],"
    " $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::bigint[], $17::text[],"
    " $18::text[], $19::text[], $20::bigint[], $21::bigint[], $22::bigint[], $23::boolean[], $24::text[])"
    " AS b(node, worker, boot, state, version, pid, in_flight, gc_done, policy_epoch, generation, signatures, "
    "endpoint, public_key, sequence, drain_number, skew_ms, listeners, scanner_use, signature_state, leases, reports, passed_on, over_budget, addresses)"
    " ORDER BY node, worker, boot, sequence DESC"
    " ON CONFLICT (node, worker, boot) DO UPDATE SET seen_at = EXCLUDED.seen_at, state = EXCLUDED.state, version = "
    "EXCLUDED.version,"
    " pid = EXCLUDED.pid, in_flight = EXCLUDED.in_flight, gc_done = EXCLUDED.gc_done, policy_epoch = "
    "EXCLUDED.policy_epoch,"
    " generation = EXCLUDED.generation, signatures = EXCLUDED.signatures, endpoint = EXCLUDED.endpoint,"
    " public_key = EXCLUDED.public_key, coordinator = EXCLUDED.coordinator, sequence = EXCLUDED.sequence,"
    " drain_number = EXCLUDED.drain_number, skew_ms = EXCLUDED.skew_ms, listeners = EXCLUDED.listeners,"
    " scanner_use = EXCLUDED.scanner_use, signature_state = EXCLUDED.signature_state,"
    " leases = EXCLUDED.leases, reports = EXCLUDED.reports, passed_on = EXCLUDED.passed_on, over_budget = EXCLUDED.over_budget,"
    " addresses = EXCLUDED.addresses"
    " WHERE p.sequence < EXCLUDED.sequence";

static const char metrics_sql[] =
    "INSERT INTO node_metrics AS m (node, worker, boot, metrics, sequence)"
    " SELECT DISTINCT ON (node, worker, boot) node, worker, boot, metrics::jsonb, sequence"
    " FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::bigint[])"
    " AS b(node, worker, boot, metrics, sequence)"
    " ORDER BY node, worker, boot, sequence DESC"
    " ON CONFLICT (node, worker, boot) DO UPDATE SET metrics = EXCLUDED.metrics, sequence = EXCLUDED.sequence"
    " WHERE m.sequence < EXCLUDED.sequence";

static const char partial_metrics_sql[] =
    "INSERT INTO node_metrics AS m (node, worker, boot, metrics, sequence)"
    " SELECT DISTINCT ON (node, worker, boot) node, worker, boot, metrics_merge('[]', metrics::jsonb), sequence"
    " FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::bigint[])"
    " AS b(node, worker, boot, metrics, sequence)"
    " ORDER BY node, worker, boot, sequence DESC"
    " ON CONFLICT (node, worker, boot) DO UPDATE SET metrics = metrics_merge(m.metrics, EXCLUDED.metrics), sequence = "
    "EXCLUDED.sequence"
    " WHERE m.sequence < EXCLUDED.sequence";

/* Coordinators have no row made by `keys add`. */
static const char node_sql[] =
    "INSERT INTO node (name, role) SELECT DISTINCT name, role FROM unnest($1::text[], $2::text[]) AS b(name, role)"
    " WHERE NOT EXISTS (SELECT FROM node n WHERE n.name = b.name) ORDER BY name ON CONFLICT DO NOTHING";

static void on_done(void *arg, enum db_outcome outcome, const struct db_error *error)
{
    struct beats *beats = arg;
    beats->flushing = false;
    if (outcome == DB_FAILED)
        log_write(LOG_ERR, "database: heartbeats not written: %s", error->why.text);
    schedule(beats);
}

static int64_t to_bigint(uint64_t value)
{
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

static void add_beat(struct rows *processes, struct rows *whole, struct rows *partial, struct rows *nodes,
                     const struct beat *beat)
{
    rows_string(processes, beat->node);
    rows_number(processes, beat->worker);
    rows_number(processes, (int64_t)beat->boot); /* random bits: the sign does not matter */
    rows_string(processes, state_text(beat->state));
    rows_string(processes, beat->version);
    rows_number(processes, (int32_t)beat->pid);
    rows_number(processes, to_bigint(beat->in_flight));
    rows_number(processes, to_bigint(beat->gc_done));
    rows_number(processes, to_bigint(beat->policy_epoch));
    rows_number(processes, to_bigint(beat->generation));
    rows_string(processes, beat->signatures);
    rows_string(processes, beat->endpoint);
    rows_string(processes, beat->public_key);
    rows_number(processes, to_bigint(beat->sequence));
    rows_number(processes, to_bigint(beat->drain_number));
    rows_number(processes, beat->skew_ms);
    rows_string(processes, beat->listeners.data);
    rows_string(processes, beat->use.data);
    rows_string(processes, beat->signatures_told.data);
    rows_number(processes, beat->leases);
    rows_number(processes, beat->reports);
    rows_number(processes, beat->passed_on);
    rows_string(processes, beat->full ? "true" : "false");
    rows_string(processes, beat->addresses.data);
    rows_end(processes);
    rows_string(nodes, beat->node);
    rows_string(nodes, role_text(beat->role));
    rows_end(nodes);
    if (beat->metrics.len == 0)
        return;
    struct rows *metrics = beat->partial ? partial : whole;
    char *array = xasprintf("[%s]", beat->metrics.data);
    rows_string(metrics, beat->node);
    rows_number(metrics, beat->worker);
    rows_number(metrics, (int64_t)beat->boot);
    rows_string(metrics, array);
    rows_number(metrics, to_bigint(beat->sequence));
    rows_end(metrics);
    free(array);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct beats *beats = arg;
    struct rows processes, metrics, partial, nodes;
    rows_init(&processes, PROCESS_COLUMNS);
    rows_init(&metrics, 5);
    rows_init(&partial, 5);
    rows_init(&nodes, 2);
    while (!TAILQ_EMPTY(&beats->dirty)) {
        struct beat *beat = TAILQ_FIRST(&beats->dirty);
        add_beat(&processes, &metrics, &partial, &nodes, beat);
        beat_clean(beats, beat);
    }
    beats->flushed_ms = clock_ms();
    beats->flushing = true;
    char silence[32], now[24];
    snprintf(silence, sizeof silence, "%llu ms", (unsigned long long)beats->node_timeout_ms);
    snprintf(now, sizeof now, "%llu", (unsigned long long)clock_wall_ms());

    struct db_unit *unit = db_begin(beats->db, on_done, beats);
    /* What is heard again in half a second need not wait for the disk. */
    db_query(unit, "SELECT set_config('synchronous_commit', 'off', true)", 0, NULL, NULL);
    const char *const *columns = rows_values(&processes);
    const char *values[PROCESS_COLUMNS + 2];
    memcpy(values, columns, PROCESS_COLUMNS * sizeof *values);
    values[PROCESS_COLUMNS] = beats->coordinator;
    values[PROCESS_COLUMNS + 1] = now;
    db_query(unit, process_sql, PROCESS_COLUMNS + 2, values, NULL);
    if (metrics.count > 0)
        db_query(unit, metrics_sql, 5, rows_values(&metrics), NULL);
    if (partial.count > 0)
        db_query(unit, partial_metrics_sql, 5, rows_values(&partial), NULL);
    db_query(unit, node_sql, 2, rows_values(&nodes), NULL);
    const char *refresh[] = { columns[0], silence };
    db_query(unit, "SELECT node_refresh($1::text[], $2::interval)", 2, refresh, NULL);
    db_commit(unit);
    rows_fini(&processes);
    rows_fini(&metrics);
    rows_fini(&partial);
    rows_fini(&nodes);
}

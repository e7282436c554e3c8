#ifndef WEIR_COMMON_METRICS_H
#define WEIR_COMMON_METRICS_H
/*
 * metrics.h - counters, gauges and histograms of one process
 *
 * A process keeps absolute values; they travel to a coordinator in heartbeats (proto/weir.proto MetricSample) and are summed per node
 * and rendered there in Prometheus form. Series are made once at start and kept by pointer: adding is one addition. Labels are
 * written as in Prometheus, without braces: "listener=\"relay\",result=\"ok\"". Few labels: never addresses, domains or ids.
 * Histograms: durations in seconds and sizes in bytes, with fixed bucket bounds given at creation.
 */
#include <stddef.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_BUCKETS_MAX 16

struct metric {
    enum metric_kind kind;
    const char *name;   /* "weir_smtp_sessions_total"; static string */
    char *labels;       /* owned; "" for none */
    double value;       /* counter, gauge; histogram: sum */
    uint64_t count;     /* histogram: observations */
    const double *bounds; /* histogram: upper bounds, ascending; static */
    size_t bound_count;
    uint64_t buckets[METRIC_BUCKETS_MAX]; /* not cumulative; observations above the last bound are only in count */
    struct metric *next;
};

struct metrics {
    struct metric *first, **last;
};

extern const double metrics_seconds_bounds[]; /* 0.0005 .. 120 */
extern const size_t metrics_seconds_count;
extern const double metrics_bytes_bounds[];   /* 1 KiB .. 64 MiB, powers of 4 */
extern const size_t metrics_bytes_count;

void metrics_init(struct metrics *metrics);
void metrics_fini(struct metrics *metrics);
/* labels: printf form, NULL for none. Never NULL. The same name and labels twice give the same series. */
struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *labels, ...)
    __attribute__((format(printf, 3, 4)));
struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *labels, ...)
    __attribute__((format(printf, 3, 4)));
struct metric *metrics_histogram(struct metrics *metrics, const char *name, const double *bounds, size_t count,
                                 const char *labels, ...) __attribute__((format(printf, 5, 6)));

static inline void metric_add(struct metric *metric, double amount)
{
    metric->value += amount;
}
static inline void metric_set(struct metric *metric, double value)
{
    metric->value = value;
}
/* The same series under other labels, for one whose labels are its value (an _info gauge): the old ones are gone. */
void metric_relabel(struct metric *metric, const char *labels, ...) __attribute__((format(printf, 2, 3)));
void metric_observe(struct metric *histogram, double value);

#endif

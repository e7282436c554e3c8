/* metrics.c - see metrics.h */
#include "common/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/error.h"
#include "common/memory.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

const double metrics_seconds_bounds[] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                          0.25,   0.5,   1,      2.5,   5,    10,    30,   120 };
const size_t metrics_seconds_count = COUNT(metrics_seconds_bounds);
const double metrics_bytes_bounds[] = { 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864 };
const size_t metrics_bytes_count = COUNT(metrics_bytes_bounds);

_Static_assert(COUNT(metrics_seconds_bounds) <= METRIC_BUCKETS_MAX, "buckets");
_Static_assert(COUNT(metrics_bytes_bounds) <= METRIC_BUCKETS_MAX, "buckets");

void metrics_init(struct metrics *metrics)
{
    metrics->first = NULL;
    metrics->last = &metrics->first;
}

void metrics_fini(struct metrics *metrics)
{
    for (struct metric *metric = metrics->first, *next; metric != NULL; metric = next) {
        next = metric->next;
        free(metric->labels);
        free(metric);
    }
    metrics_init(metrics);
}

static char *format_labels(const char *format, va_list args)
{
    char *labels;

    if (format == NULL)
        return xstrdup("");
    if (vasprintf(&labels, format, args) < 0)
        fatal("out of memory: formatting metric labels");
    return labels;
}

/* Takes labels. One name has one kind in a process: two kinds would be two meanings in one family. */
static struct metric *find_or_add(struct metrics *metrics, enum metric_kind kind, const char *name, char *labels)
{
    for (struct metric *metric = metrics->first; metric != NULL; metric = metric->next) {
        if (strcmp(metric->name, name) != 0)
            continue;
        weir_assert(metric->kind == kind);
        if (strcmp(metric->labels, labels) == 0) {
            free(labels);
            return metric;
        }
    }
    struct metric *metric = xcalloc(1, sizeof *metric);
    metric->kind = kind;
    metric->name = name;
    metric->labels = labels;
    *metrics->last = metric;
    metrics->last = &metric->next;
    return metric;
}

struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *labels, ...)
{
    va_list args;

    va_start(args, labels);
    char *text = format_labels(labels, args);
    va_end(args);
    return find_or_add(metrics, METRIC_COUNTER, name, text);
}

struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *labels, ...)
{
    va_list args;

    va_start(args, labels);
    char *text = format_labels(labels, args);
    va_end(args);
    return find_or_add(metrics, METRIC_GAUGE, name, text);
}

struct metric *metrics_histogram(struct metrics *metrics, const char *name, const double *bounds, size_t count,
                                 const char *labels, ...)
{
    va_list args;

    weir_assert(count <= METRIC_BUCKETS_MAX);
    va_start(args, labels);
    char *text = format_labels(labels, args);
    va_end(args);
    struct metric *metric = find_or_add(metrics, METRIC_HISTOGRAM, name, text);
    metric->bounds = bounds;
    metric->bound_count = count;
    return metric;
}

void metric_relabel(struct metric *metric, const char *labels, ...)
{
    va_list args;

    va_start(args, labels);
    char *text = format_labels(labels, args);
    va_end(args);
    free(metric->labels);
    metric->labels = text;
}

void metric_observe(struct metric *histogram, double value)
{
    histogram->value += value;
    histogram->count++;
    for (size_t i = 0; i < histogram->bound_count; i++)
        if (value <= histogram->bounds[i]) {
            histogram->buckets[i]++;
            return;
        }
}

/*
 * exposition.c - everybody's series, summed per node and written as Prometheus text
 *
 * Samples are collected in one array; sorting it by name, node and labels brings those together that make one series.
 */
#include <ctype.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"
#include "coordinator/exposition.h"

struct sample {
    enum metric_kind kind;
    char *name, *node, *labels; /* node: "" for none; all owned */
    size_t order;               /* of adding: the first decides about kind and bounds */
    double value;
    double count; /* double: sums of a cluster's life; exact up to 2^53 */
    size_t bound_count;
    double bounds[METRIC_BUCKETS_MAX];
    double buckets[METRIC_BUCKETS_MAX];
};

struct exposition {
    struct sample *samples;
    size_t count, cap, added, conflicts;
};

struct exposition *exposition_new(void)
{
    return xcalloc(1, sizeof(struct exposition));
}

static void sample_clear(struct sample *sample)
{
    free(sample->name);
    free(sample->node);
    free(sample->labels);
}

void exposition_free(struct exposition **freed)
{
    struct exposition *exposition = *freed;
    *freed = NULL;
    if (exposition == NULL)
        return;
    for (size_t i = 0; i < exposition->count; i++)
        sample_clear(&exposition->samples[i]);
    free(exposition->samples);
    free(exposition);
}

static struct sample *sample_new(struct exposition *exposition, enum metric_kind kind, const char *name,
                                 const char *node, const char *labels)
{
    if (exposition->count == exposition->cap) {
        exposition->cap = exposition->cap == 0 ? 256 : exposition->cap * 2;
        exposition->samples = xrealloc(exposition->samples, exposition->cap * sizeof *exposition->samples);
    }
    struct sample *sample = &exposition->samples[exposition->count++];
    *sample = (struct sample){ .kind = kind,
                               .name = xstrdup(name),
                               .node = xstrdup(node),
                               .labels = xstrdup(labels),
                               .order = exposition->added++ };
    return sample;
}

bool exposition_name_is_valid(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!(isalpha((unsigned char)name[i]) || name[i] == '_' || (i > 0 && isdigit((unsigned char)name[i]))))
            return false;
    return len > 0;
}

bool exposition_labels_are_valid(const char *labels, size_t len)
{
    const char *at = labels, *end = labels + len;
    while (at < end) {
        const char *equals = memchr(at, '=', (size_t)(end - at));
        if (equals == NULL || !exposition_name_is_valid(at, (size_t)(equals - at)) || end - equals < 3 ||
            equals[1] != '"')
            return false;
        if (equals - at == 4 && memcmp(at, "node", 4) == 0)
            return false;
        for (at = equals + 2; at < end && *at != '"'; at++) {
            if ((unsigned char)*at < 0x20)
                return false;
            if (*at == '\\' && (++at == end || strchr("\\\"n", *at) == NULL))
                return false;
        }
        if (at == end)
            return false;
        at++;
        if (at == end)
            return true;
        if (*at++ != ',' || at == end)
            return false;
    }
    return true;
}

static bool add_numbers(double *out, size_t *count, const json_t *array)
{
    *count = json_array_size(array);
    if (*count > METRIC_BUCKETS_MAX)
        return false;
    for (size_t i = 0; i < *count; i++)
        out[i] = json_number_value(json_array_get(array, i));
    return true;
}

static bool add_json_sample(struct exposition *exposition, const char *node, bool live, const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "n"));
    const char *labels = json_string_value(json_object_get(entry, "l"));
    json_int_t kind = json_integer_value(json_object_get(entry, "k"));
    if (name == NULL || labels == NULL || kind < METRIC_COUNTER || kind > METRIC_HISTOGRAM ||
        !exposition_name_is_valid(name, strlen(name)) || !exposition_labels_are_valid(labels, strlen(labels)))
        return false;
    if (kind == METRIC_GAUGE && !live)
        return true;
    struct sample *sample = sample_new(exposition, (enum metric_kind)kind, name, node, labels);
    sample->value = json_number_value(json_object_get(entry, "v"));
    if (kind != METRIC_HISTOGRAM)
        return true;
    sample->count = json_number_value(json_object_get(entry, "c"));
    size_t buckets = 0;
    bool fits = add_numbers(sample->bounds, &sample->bound_count, json_object_get(entry, "b")) &&
                add_numbers(sample->buckets, &buckets, json_object_get(entry, "u")) && buckets == sample->bound_count;
    if (!fits) {
        sample_clear(sample);
        exposition->count--;
    }
    return fits;
}

bool exposition_add_json(struct exposition *exposition, const char *node, bool live, const char *metrics,
                         struct error *why)
{
    json_error_t error;
    json_t *array = json_loads(metrics, 0, &error);
    if (!json_is_array(array)) {
        error_set(why, "metrics of %s: %s", node, array == NULL ? error.text : "not an array");
        json_decref(array);
        return false;
    }
    bool all = true;
    size_t i;
    json_t *entry;
    json_array_foreach(array, i, entry) all &= add_json_sample(exposition, node, live, entry);
    json_decref(array);
    if (!all)
        error_set(why, "metrics of %s: a sample is not usable", node);
    return all;
}

void exposition_add_own(struct exposition *exposition, const char *node, const struct metrics *metrics)
{
    for (const struct metric *metric = metrics->first; metric != NULL; metric = metric->next) {
        struct sample *sample = sample_new(exposition, metric->kind, metric->name, node, metric->labels);
        sample->value = metric->value;
        sample->count = (double)metric->count;
        sample->bound_count = metric->bound_count;
        for (size_t i = 0; i < metric->bound_count; i++) {
            sample->bounds[i] = metric->bounds[i];
            sample->buckets[i] = (double)metric->buckets[i];
        }
    }
}

void exposition_add_gauge(struct exposition *exposition, const char *name, double value, const char *format, ...)
{
    char labels[512];
    va_list args;
    va_start(args, format);
    vsnprintf(labels, sizeof labels, format, args);
    va_end(args);
    sample_new(exposition, METRIC_GAUGE, name, "", labels)->value = value;
}

/* --- sums --- */

static int compare_series(const struct sample *a, const struct sample *b)
{
    int by = strcmp(a->name, b->name);
    if (by == 0)
        by = strcmp(a->node, b->node);
    return by != 0 ? by : strcmp(a->labels, b->labels);
}

static int compare_samples(const void *one, const void *other)
{
    const struct sample *a = one, *b = other;
    int by = compare_series(a, b);
    return by != 0 ? by : (a->order > b->order) - (a->order < b->order);
}

static bool same_bounds(const struct sample *a, const struct sample *b)
{
    return a->bound_count == b->bound_count && memcmp(a->bounds, b->bounds, a->bound_count * sizeof *a->bounds) == 0;
}

/* The kind of each name is that of its earliest sample; after sorting, a name's samples are neighbours. */
static void drop_conflicting_kinds(struct exposition *exposition)
{
    size_t kept = 0;
    for (size_t begin = 0, end; begin < exposition->count; begin = end) {
        size_t first = begin;
        for (end = begin;
             end < exposition->count && strcmp(exposition->samples[end].name, exposition->samples[begin].name) == 0;
             end++)
            if (exposition->samples[end].order < exposition->samples[first].order)
                first = end;
        enum metric_kind kind = exposition->samples[first].kind;
        for (size_t i = begin; i < end; i++) {
            if (exposition->samples[i].kind == kind) {
                exposition->samples[kept++] = exposition->samples[i];
            } else {
                sample_clear(&exposition->samples[i]);
                exposition->conflicts++;
            }
        }
    }
    exposition->count = kept;
}

static void merge(struct exposition *exposition)
{
    if (exposition->count == 0)
        return;
    qsort(exposition->samples, exposition->count, sizeof *exposition->samples, compare_samples);
    drop_conflicting_kinds(exposition);
    size_t kept = 0;
    for (size_t i = 1; i < exposition->count; i++) {
        struct sample *into = &exposition->samples[kept], *from = &exposition->samples[i];
        if (compare_series(into, from) != 0) {
            exposition->samples[++kept] = *from;
            continue;
        }
        if (into->kind == METRIC_GAUGE && exposition_is_least(into->name)) {
            into->value = from->value < into->value ? from->value : into->value;
        } else if (same_bounds(into, from)) {
            into->value += from->value;
            into->count += from->count;
            for (size_t b = 0; b < into->bound_count; b++)
                into->buckets[b] += from->buckets[b];
        } else {
            exposition->conflicts++;
        }
        sample_clear(from);
    }
    exposition->count = kept + 1;
}

/* disposition="delivered" or "refused:virus" in labels: what is before the colon. */
static bool disposition_is(const char *labels, const char *wanted)
{
    const char *at = strstr(labels, "disposition=\"");
    size_t len = strlen(wanted);
    return at != NULL && strncmp(at + 13, wanted, len) == 0 && (at[13 + len] == '"' || at[13 + len] == ':');
}

void exposition_add_conservation(struct exposition *exposition)
{
    static const char *const settled[] = { "delivered", "bounced", "discarded", "quarantined", "spooled" };
    merge(exposition);
    size_t count = exposition->count; /* samples of the result are added behind, and grow the array */
    for (size_t i = 0; i < count; i++) {
        if (strcmp(exposition->samples[i].name, "weir_recipients_accepted_total") != 0)
            continue;
        bool first = i == 0 || strcmp(exposition->samples[i - 1].name, exposition->samples[i].name) != 0 ||
                     strcmp(exposition->samples[i - 1].node, exposition->samples[i].node) != 0;
        if (!first)
            continue;
        const char *node = exposition->samples[i].node;
        double difference = 0;
        for (size_t j = 0; j < count; j++) {
            const struct sample *sample = &exposition->samples[j];
            if (strcmp(sample->node, node) != 0)
                continue;
            if (strcmp(sample->name, "weir_recipients_accepted_total") == 0)
                difference += sample->value;
            for (size_t s = 0; s < sizeof settled / sizeof *settled; s++)
                if (strcmp(sample->name, "weir_recipients_total") == 0 && disposition_is(sample->labels, settled[s]))
                    difference -= sample->value;
        }
        char *owner = xstrdup(node);
        sample_new(exposition, METRIC_GAUGE, "weir_conservation_difference", owner, "")->value = difference;
        free(owner);
    }
}

void exposition_add_versions(struct exposition *exposition)
{
    const char **seen = NULL;
    size_t versions = 0;
    for (size_t i = 0; i < exposition->count; i++) {
        const struct sample *sample = &exposition->samples[i];
        if (strcmp(sample->name, "weir_build_info") != 0)
            continue;
        size_t at = 0;
        while (at < versions && strcmp(seen[at], sample->labels) != 0)
            at++;
        if (at < versions)
            continue;
        seen = xrealloc(seen, (versions + 1) * sizeof *seen);
        seen[versions++] = sample->labels;
    }
    free(seen);
    sample_new(exposition, METRIC_GAUGE, "weir_versions", "", "")->value = (double)versions;
}

/* --- text --- */

static void put_number(struct text *out, double value)
{
    char number[40];
    snprintf(number, sizeof number, "%.15g", value);
    if (strtod(number, NULL) != value)
        snprintf(number, sizeof number, "%.17g", value);
    text_puts(out, number);
}

static void put_line(struct text *out, const struct sample *sample, const char *suffix, const char *le, double value)
{
    text_printf(out, "%s%s", sample->name, suffix);
    const char *separator = "{";
    if (sample->node[0] != '\0') {
        text_printf(out, "%snode=\"%s\"", separator, sample->node);
        separator = ",";
    }
    if (sample->labels[0] != '\0') {
        text_printf(out, "%s%s", separator, sample->labels);
        separator = ",";
    }
    if (le != NULL) {
        text_printf(out, "%sle=\"%s\"", separator, le);
        separator = ",";
    }
    text_puts(out, separator[0] == ',' ? "} " : " ");
    put_number(out, value);
    text_puts(out, "\n");
}

static void put_histogram(struct text *out, const struct sample *sample)
{
    double so_far = 0;
    for (size_t i = 0; i < sample->bound_count; i++) {
        char le[40];
        snprintf(le, sizeof le, "%.15g", sample->bounds[i]);
        put_line(out, sample, "_bucket", le, so_far += sample->buckets[i]);
    }
    put_line(out, sample, "_bucket", "+Inf", sample->count);
    put_line(out, sample, "_sum", NULL, sample->value);
    put_line(out, sample, "_count", NULL, sample->count);
}

void exposition_render(struct exposition *exposition, struct text *out)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    merge(exposition);
    for (size_t i = 0; i < exposition->count; i++) {
        const struct sample *sample = &exposition->samples[i];
        if (i == 0 || strcmp(exposition->samples[i - 1].name, sample->name) != 0)
            text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", sample->name, exposition_help(sample->name), sample->name,
                        kinds[sample->kind]);
        if (sample->kind == METRIC_HISTOGRAM)
            put_histogram(out, sample);
        else
            put_line(out, sample, "", NULL, sample->value);
    }
}

size_t exposition_conflicts(const struct exposition *exposition)
{
    return exposition->conflicts;
}

#ifndef WEIR_COORDINATOR_EXPOSITION_H
#define WEIR_COORDINATOR_EXPOSITION_H
/*
 * exposition.h - everybody's series, summed per node and written as Prometheus text
 *
 * Samples of one node's processes with the same name and labels become one series with the label node="NAME" in front:
 * their sum, or for gauges that each process has the same of (an epoch) the least.
 * Counters and histograms of ended processes count, their gauges do not. A name has one kind, and a histogram one set
 * of bounds: what contradicts the sample that was added first is left out and counted (exposition_conflicts). Pure: no
 * database, no clock.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "common/metrics.h"
#include "coordinator/text.h"

struct exposition;

struct exposition *exposition_new(void);
void exposition_free(struct exposition **exposition);

/* metrics: the JSON array of node_metrics.metrics. live: gauges count. false: not such an array (what was fine of it is
 * in). */
bool exposition_add_json(struct exposition *exposition, const char *node, bool live, const char *metrics,
                         struct error *why);
void exposition_add_own(struct exposition *exposition, const char *node, const struct metrics *metrics);
/* A gauge with exactly these labels ("a=\"b\"", or ""): no node is put in front. */
void exposition_add_gauge(struct exposition *exposition, const char *name, double value, const char *labels, ...)
    __attribute__((format(printf, 4, 5)));
/* weir_conservation_difference per node (I9): accepted recipients that are neither delivered, bounced, discarded,
 * quarantined nor in the spool. Call it after all samples are in. */
void exposition_add_conservation(struct exposition *exposition);
/* weir_versions: how many different ones run now, of all nodes whose weir_build_info is here. Call it after all samples are in. */
void exposition_add_versions(struct exposition *exposition);
void exposition_render(struct exposition *exposition, struct text *out);
size_t exposition_conflicts(const struct exposition *exposition);

/* What may be put between braces: name="value" pairs, comma between, Prometheus escapes, no label called node. */
bool exposition_labels_are_valid(const char *labels, size_t len);
bool exposition_name_is_valid(const char *name, size_t len);
/* What a series means; for one that is not known here a sentence that says so. */
const char *exposition_help(const char *name);
/* Whether a node's gauge is the least of its processes' instead of their sum. */
bool exposition_is_least(const char *name);

#endif

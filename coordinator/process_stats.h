#ifndef WEIR_COORDINATOR_PROCESS_STATS_H
#define WEIR_COORDINATOR_PROCESS_STATS_H
/* process_stats.h - the process_* series that Prometheus users expect, about this process, from /proc/self */
#include "common/metrics.h"

struct process_stats;

struct process_stats *process_stats_new(struct metrics *metrics);
void process_stats_free(struct process_stats **stats);
void process_stats_update(struct process_stats *stats); /* at a scrape */

#endif

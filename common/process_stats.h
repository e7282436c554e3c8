#ifndef WEIR_COMMON_PROCESS_STATS_H
#define WEIR_COMMON_PROCESS_STATS_H
/* process_stats.h - what Prometheus users expect of each process: process_* from /proc/self, and weir_build_info */
#include "common/metrics.h"

struct process_stats;

struct process_stats *process_stats_new(struct metrics *metrics);
void process_stats_free(struct process_stats **stats);
void process_stats_update(struct process_stats *stats); /* before they are read or sent */

#endif

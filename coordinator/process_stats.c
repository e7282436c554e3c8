/*
 * process_stats.c - the process_* series that Prometheus users expect, about this process, from /proc/self
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/memory.h"
#include "coordinator/process_stats.h"

struct process_stats {
    struct metric *cpu, *resident, *fds, *max_fds;
};

struct process_stats *process_stats_new(struct metrics *metrics)
{
    struct process_stats *stats = xcalloc(1, sizeof *stats);
    stats->cpu = metrics_counter(metrics, "process_cpu_seconds_total", NULL);
    stats->resident = metrics_gauge(metrics, "process_resident_memory_bytes", NULL);
    stats->fds = metrics_gauge(metrics, "process_open_fds", NULL);
    stats->max_fds = metrics_gauge(metrics, "process_max_fds", NULL);
    metric_set(metrics_gauge(metrics, "process_start_time_seconds", NULL), (double)clock_wall_ms() / 1000);
    return stats;
}

void process_stats_free(struct process_stats **stats)
{
    free(*stats);
    *stats = NULL;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

void process_stats_update(struct process_stats *stats)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        metric_set(stats->cpu, seconds(usage.ru_utime) + seconds(usage.ru_stime));
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metric_set(stats->max_fds, (double)limit.rlim_cur);
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long size, resident;
    if (file != NULL && fscanf(file, "%lu %lu", &size, &resident) == 2)
        metric_set(stats->resident, (double)resident * (double)sysconf(_SC_PAGESIZE));
    if (file != NULL)
        fclose(file);
    DIR *dir = opendir("/proc/self/fd");
    if (dir != NULL) {
        int count = -3; /* ".", ".." and this one */
        while (readdir(dir) != NULL)
            count++;
        closedir(dir);
        metric_set(stats->fds, count);
    }
}

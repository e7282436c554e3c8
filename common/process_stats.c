/*
 * process_stats.c - what Prometheus users expect of each process: process_* from /proc/self, and weir_build_info
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/memory.h"
#include "common/process_stats.h"

/* Counting costs a microsecond for each open file, and an edge with ten thousand sessions has a heartbeat each second. */
#define COUNT_FDS_EACH_MS 5000

struct process_stats {
    struct metric *cpu, *resident, *fds, *max_fds;
    uint64_t count_fds_ms; /* when to count them again */
};

struct process_stats *process_stats_new(struct metrics *metrics)
{
    struct process_stats *stats = xcalloc(1, sizeof *stats);
    stats->cpu = metrics_counter(metrics, "process_cpu_seconds_total", NULL);
    stats->resident = metrics_gauge(metrics, "process_resident_memory_bytes", NULL);
    stats->fds = metrics_gauge(metrics, "process_open_fds", NULL);
    stats->max_fds = metrics_gauge(metrics, "process_max_fds", NULL);
    metric_set(metrics_gauge(metrics, "weir_build_info", "version=\"%s\"", WEIR_VERSION), 1);
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

static void count_fds(struct process_stats *stats)
{
    uint64_t now = clock_ms();
    DIR *dir = now >= stats->count_fds_ms ? opendir("/proc/self/fd") : NULL;
    if (dir == NULL)
        return;
    int count = -3; /* ".", ".." and this one */
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    metric_set(stats->fds, count);
    stats->count_fds_ms = now + COUNT_FDS_EACH_MS;
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
    count_fds(stats);
}

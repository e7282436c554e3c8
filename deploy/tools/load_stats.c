/*
 * load_stats.c - what is counted, and the report for people and for programs
 *
 * Every latency is kept (4 bytes), so that percentiles are exact.
 */
#include <stdlib.h>
#include "common/memory.h"
#include "deploy/tools/load.h"

static void append(uint32_t **values, size_t *count, uint64_t us)
{
    if ((*count & (*count - 1)) == 0) /* room for the next power of two */
        *values = xrealloc(*values, (*count == 0 ? 1 : 2 * *count) * sizeof **values);
    (*values)[(*count)++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

void load_stats_latency(struct load_stats *stats, uint64_t us)
{
    append(&stats->latency_us, &stats->latency_count, us);
}

void load_stats_wait(struct load_stats *stats, uint64_t us)
{
    append(&stats->wait_us, &stats->wait_count, us);
}

void load_stats_init(struct load_stats *stats, size_t cap, uint64_t now)
{
    stats->under_way_us = xcalloc(cap + 1, sizeof *stats->under_way_us);
    stats->under_way_cap = cap;
    stats->under_way_since = now;
}

static void count_under_way(struct load_stats *stats, uint64_t now)
{
    if (stats->under_way_since != 0)
        stats->under_way_us[stats->under_way] += now - stats->under_way_since;
}

void load_stats_transaction(struct load_stats *stats, uint64_t now, bool begins)
{
    count_under_way(stats, now);
    if (stats->under_way_since != 0)
        stats->under_way_since = now;
    stats->under_way += begins ? 1 : (size_t)-1;
}

void load_stats_transactions_last(struct load_stats *stats, uint64_t now)
{
    count_under_way(stats, now);
    stats->under_way_since = 0;
}

size_t load_stats_transactions(const struct load_stats *stats, double share)
{
    uint64_t all = 0, so_far = 0;
    for (size_t number = 0; number <= stats->under_way_cap; number++)
        all += stats->under_way_us[number];
    for (size_t number = stats->under_way_cap; number > 0; number--) {
        so_far += stats->under_way_us[number];
        if (so_far > 0 && (double)so_far >= share * (double)all)
            return number;
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

uint32_t load_percentile(uint32_t *values, size_t count, double share)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, compare);
    size_t at = (size_t)(share * (double)count);
    return values[at < count ? at : count - 1];
}

static double ms(uint32_t us)
{
    return (double)us / 1000;
}

static void report_json(const struct load_stats *stats, uint64_t accepted, uint64_t finished, double seconds,
                        double cpu_seconds, uint64_t unsent, const double latency[4], double wait_p99)
{
    printf("{\"messages\":%llu,\"finished\":%llu,\"seconds\":%.3f,\"rate\":%.2f,\"bytes\":%llu,",
           (unsigned long long)accepted, (unsigned long long)finished, seconds, (double)accepted / seconds,
           (unsigned long long)stats->bytes);
    printf("\"latency_p50_ms\":%.3f,\"latency_p90_ms\":%.3f,\"latency_p99_ms\":%.3f,\"latency_max_ms\":%.3f,",
           latency[0], latency[1], latency[2], latency[3]);
    printf("\"wait_p99_ms\":%.3f,", wait_p99);
    printf("\"transactions_peak\":%zu,\"transactions_median\":%zu,", load_stats_transactions(stats, 0),
           load_stats_transactions(stats, 0.5));
    printf("\"connect_errors\":%llu,\"lost\":%llu,\"timeouts\":%llu,\"retries\":%llu,",
           (unsigned long long)stats->connect_errors, (unsigned long long)stats->lost,
           (unsigned long long)stats->timeouts, (unsigned long long)stats->retries);
    printf("\"recipients_refused\":%llu,\"unsent\":%llu,\"cpu_seconds\":%.3f,\"replies\":{",
           (unsigned long long)stats->recipients_refused, (unsigned long long)unsent, cpu_seconds);
    const char *comma = "";
    for (int code = 0; code < 1000; code++) {
        if (stats->replies[code] > 0) {
            printf("%s\"%d\":%llu", comma, code, (unsigned long long)stats->replies[code]);
            comma = ",";
        }
    }
    printf("}}\n");
}

void load_report(struct load_stats *stats, double seconds, double cpu_seconds, uint64_t unsent, bool json)
{
    static const double shares[] = { 0.5, 0.9, 0.99, 1 };
    double latency[4];
    uint64_t finished = 0, accepted = stats->replies[250];
    for (int code = 0; code < 1000; code++)
        finished += stats->replies[code];
    for (int i = 0; i < 4; i++)
        latency[i] = ms(load_percentile(stats->latency_us, stats->latency_count, shares[i]));
    double wait_p99 = ms(load_percentile(stats->wait_us, stats->wait_count, 0.99));
    if (seconds <= 0)
        seconds = 1e-6;
    if (json) {
        report_json(stats, accepted, finished, seconds, cpu_seconds, unsent, latency, wait_p99);
        return;
    }
    printf("%llu of %llu messages accepted in %.2f s: %.1f msg/s, %.2f MB/s\n", (unsigned long long)accepted,
           (unsigned long long)finished, seconds, (double)accepted / seconds, (double)stats->bytes / seconds / 1e6);
    printf("latency ms: p50 %.2f  p90 %.2f  p99 %.2f  max %.2f\n", latency[0], latency[1], latency[2], latency[3]);
    if (stats->wait_count > 0)
        printf("waiting for a free session ms: p99 %.2f\n", wait_p99);
    printf("transactions at once: median %zu, at most %zu\n", load_stats_transactions(stats, 0.5),
           load_stats_transactions(stats, 0));
    printf("answers:");
    for (int code = 1; code < 1000; code++)
        if (stats->replies[code] > 0)
            printf(" %d: %llu", code, (unsigned long long)stats->replies[code]);
    if (stats->replies[0] > 0)
        printf(" none: %llu", (unsigned long long)stats->replies[0]);
    printf("\nconnections refused %llu, lost %llu, timed out %llu; retries %llu; ",
           (unsigned long long)stats->connect_errors, (unsigned long long)stats->lost,
           (unsigned long long)stats->timeouts, (unsigned long long)stats->retries);
    printf("recipients refused %llu; not sent %llu\n", (unsigned long long)stats->recipients_refused,
           (unsigned long long)unsent);
}

void load_stats_fini(struct load_stats *stats)
{
    free(stats->latency_us);
    free(stats->wait_us);
    free(stats->under_way_us);
}

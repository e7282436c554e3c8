/* series.c - the metrics of the scan conversation, by the names of their labels in enum order */
#include "edge/scan/state.h"

void machine_make_metrics(struct machine *machine, struct metrics *metrics)
{
    static const char *const verdicts[VERDICTS] = { NULL, "clean", "bad", "unknown" };
    static const char *const unknown[UNKNOWN_REASONS] = { "unspecified", "limits", "timeout", "crash",
                                                          "unscannable", "engine", "protocol" };
    static const char *const busy[BUSY_REASONS] = { "unspecified", "slots", "bytes", "draining", "starting" };
    static const char *const dropped[DROP_REASONS] = { "late", "id", "scanner", "early", "size", "state", "kind" };
    static const char *const replays[REPLAY_WHYS] = { "down",  "stall",    "unanswered", "window",
                                                      "crash", "protocol", "removed",    "outgrew",
                                                      "engine" };
    for (size_t i = 1; i < VERDICTS; i++)
        machine->duration[i] = metrics_histogram(metrics, "weir_scan_duration_seconds", metrics_seconds_bounds,
                                                 metrics_seconds_count, "engine=\"clamav\",verdict=\"%s\"", verdicts[i]);
    for (size_t i = 0; i < UNKNOWN_REASONS; i++)
        machine->unknown[i] = metrics_counter(metrics, "weir_scan_unknown_total", "reason=\"%s\"", unknown[i]);
    for (size_t i = 0; i < BUSY_REASONS; i++)
        machine->busy[i] = metrics_counter(metrics, "weir_scan_busy_total", "reason=\"%s\"", busy[i]);
    for (size_t i = 0; i < DROP_REASONS; i++)
        machine->dropped[i] = metrics_counter(metrics, "weir_scan_answers_dropped_total", "reason=\"%s\"", dropped[i]);
    for (size_t i = 0; i < REPLAY_WHYS; i++)
        machine->replays[i] = metrics_counter(metrics, "weir_scan_replays_total", "why=\"%s\"", replays[i]);
    machine->given_up_busy = metrics_counter(metrics, "weir_scan_given_up_total", "why=\"busy\"");
    machine->given_up_none = metrics_counter(metrics, "weir_scan_given_up_total", "why=\"no_scanner\"");
    machine->in_flight = metrics_gauge(metrics, "weir_scans_in_flight", NULL);
    machine->waiting_gauge = metrics_gauge(metrics, "weir_scans_waiting", NULL);
    machine->live = metrics_gauge(metrics, "weir_scanners_live", NULL);
}

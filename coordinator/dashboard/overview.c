/*
 * overview.c - the cluster at a glance, as a page
 *
 * Each section has an id: dashboard.js puts the newer one in its place.
 */
#include <stdio.h>
#include <string.h>
#include "coordinator/dashboard/form.h"
#include "coordinator/dashboard/page.h"
#include "coordinator/dashboard/parts.h"

#define SPARK_WIDTH  240
#define SPARK_HEIGHT 44

/* --- flow --- */

/* The sum of what begins so: "refused " is all layers. */
static double sum_of(const json_t *totals, const char *kind)
{
    bool prefix = kind[strlen(kind) - 1] == ' ';
    const char *key;
    json_t *value;
    double sum = 0;
    if (!prefix)
        return part_number(totals, kind);
    json_object_foreach((json_t *)totals, key, value)
        if (strncmp(key, kind, strlen(kind)) == 0)
            sum += json_number_value(value);
    return sum;
}

static void spark(struct text *out, const json_t *minutes, const char *kind, const char *label)
{
    size_t count = json_array_size(minutes);
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        double one = sum_of(json_array_get(minutes, i), kind);
        most = one > most ? one : most;
    }
    char peak[32];
    text_printf(out, "<svg class=\"spark\" viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s in the last hour, at most %s a second\">", SPARK_WIDTH, SPARK_HEIGHT, label,
                part_amount(peak, sizeof peak, most));
    if (count > 1) {
        struct text line;
        text_init(&line);
        for (size_t i = 0; i < count; i++)
            text_printf(&line, "%.1f,%.1f ", (double)i * SPARK_WIDTH / (double)(count - 1),
                        SPARK_HEIGHT - 2 - (most > 0 ? sum_of(json_array_get(minutes, i), kind) / most * (SPARK_HEIGHT - 6) : 0));
        text_printf(out, "<polygon points=\"0,%d %s%d,%d\"/><polyline points=\"%s\"/>", SPARK_HEIGHT, line.data, SPARK_WIDTH, SPARK_HEIGHT, line.data);
        text_fini(&line);
    }
    text_puts(out, "</svg>");
}

static void tile(struct text *out, const json_t *flow, const char *kind, const char *label, const char *unit, const char *class)
{
    char now[32], hour[32];
    const json_t *rates = json_object_get(flow, "now");
    bool known = json_is_object(rates);
    text_printf(out, "<div class=\"tile %s\"><h3>%s</h3><p class=\"value\">%s<span> %s</span></p>", class, label, known ? part_amount(now, sizeof now, sum_of(rates, kind)) : "–", unit);
    spark(out, json_object_get(flow, "minutes"), kind, label);
    text_printf(out, "<p class=\"note\">%s in the last hour</p></div>\n", part_amount(hour, sizeof hour, sum_of(json_object_get(flow, "hour"), kind)));
}

static void flow_section(struct text *out, const json_t *doc)
{
    const json_t *flow = json_object_get(doc, "flow");
    text_puts(out, "<section id=\"flow\" aria-labelledby=\"flow-h\"><h2 id=\"flow-h\" class=\"unseen\">Flow</h2><div class=\"tiles\">\n");
    tile(out, flow, "in", "Accepted", "recipients/s", "");
    tile(out, flow, "delivered", "Delivered", "recipients/s", "good");
    tile(out, flow, "refused ", "Refused", "/s", "");
    tile(out, flow, "busy", "Told to come again: 421", "/s", "warn");
    text_puts(out, "</div>\n");
    if (!json_is_true(json_object_get(flow, "fresh")))
        text_puts(out, "<p class=\"alert warn\">The flow is counted by the coordinator that leads, and nothing was counted in the last half minute.</p>\n");
    text_puts(out, "</section>\n");
}

/* A bar of parts, and a list that says the same in words. */
struct slice {
    const char *kind, *label, *class;
};

static void bar(struct text *out, const json_t *totals, const struct slice *slices, size_t count, const char *nothing)
{
    double all = 0, at = 0;
    char amount[32];
    for (size_t i = 0; i < count; i++)
        all += sum_of(totals, slices[i].kind);
    if (all <= 0) {
        text_printf(out, "<p class=\"note\">%s</p>", nothing);
        return;
    }
    text_puts(out, "<svg class=\"bar\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    for (size_t i = 0; i < count; i++) {
        double share = sum_of(totals, slices[i].kind) / all * 100;
        text_printf(out, "<rect class=\"%s\" x=\"%.2f\" y=\"0\" width=\"%.2f\" height=\"6\"/>", slices[i].class, at, share);
        at += share;
    }
    text_puts(out, "</svg>\n<ul class=\"legend\">");
    for (size_t i = 0; i < count; i++) {
        double part = sum_of(totals, slices[i].kind);
        text_printf(out, "<li><i class=\"%s\"></i>%s <b>%s</b> <span>%.1f %%</span></li>", slices[i].class, slices[i].label, part_amount(amount, sizeof amount, part), part / all * 100);
    }
    text_puts(out, "</ul>\n");
}

static void verdict_section(struct text *out, const json_t *doc)
{
    static const struct slice verdicts[] = { { "clean", "clean", "c1" }, { "bad", "bad", "c3" }, { "unknown", "unknown", "c2" } };
    static const struct slice layers[] = { { "refused reputation", "by reputation, at connect", "c1" }, { "refused throttle", "by reputation, throttled", "c4" },
                                           { "refused dns-list", "by DNS lists", "c2" },               { "refused content", "for their content", "c3" },
                                           { "refused relay", "as no relay", "c5" } };
    const json_t *hour = json_object_get(json_object_get(doc, "flow"), "hour");
    text_puts(out, "<section id=\"verdicts\" class=\"card\"><h2>Verdicts, last hour</h2>\n");
    bar(out, hour, verdicts, sizeof verdicts / sizeof *verdicts, "Nothing was scanned.");
    text_puts(out, "</section>\n<section id=\"refusals\" class=\"card\"><h2>Refusals, last hour</h2>\n");
    bar(out, hour, layers, sizeof layers / sizeof *layers, "Nothing was refused.");
    text_puts(out, "</section>\n");
}

/* --- what wants attention --- */

static void alert_section(struct text *out, const json_t *doc)
{
    const json_t *alerts = json_object_get(doc, "alerts"), *alert;
    size_t i;
    text_puts(out, "<section id=\"alerts\" aria-labelledby=\"alerts-h\"><h2 id=\"alerts-h\" class=\"unseen\">Alerts</h2>\n");
    json_array_foreach(alerts, i, alert)
    {
        text_printf(out, "<p class=\"alert %s\">", strcmp(part_word(alert, "level"), "bad") == 0 ? "bad" : "warn");
        form_escape(out, part_word(alert, "words"));
        text_puts(out, "</p>\n");
    }
    if (json_array_size(alerts) == 0)
        text_puts(out, "<p class=\"alert good\">Nothing wants attention.</p>\n");
    text_puts(out, "</section>\n");
}

/* --- nodes --- */

static const char *pill_class(const char *state)
{
    if (strcmp(state, "active") == 0)
        return "good";
    return strcmp(state, "lost") == 0 || strcmp(state, "never seen") == 0 ? "bad" : "warn";
}

static void load_cell(struct text *out, const json_t *node)
{
    const json_t *use = json_object_get(node, "use");
    double workers = part_number(use, "small_workers") + part_number(use, "large_workers"), busy = (part_number(use, "small_busy") + part_number(use, "large_busy")) / 100;
    double now = part_number(node, "in_flight");
    text_puts(out, "<td data-label=\"Load\">");
    if (strcmp(part_word(node, "role"), "scanner") == 0 && workers > 0)
        text_printf(out, "<meter min=\"0\" max=\"%.0f\" high=\"%.2f\" value=\"%.2f\"></meter> %.1f of %.0f workers", workers, workers * 0.8, busy, busy, workers);
    else if (strcmp(part_word(node, "role"), "edge") == 0)
        text_printf(out, "%.0f sessions, %.0f leases", now, part_number(node, "leases"));
    else
        text_puts(out, "–");
    text_puts(out, "</td>");
}

static void node_row(struct text *out, const struct page_who *who, const json_t *node, const char *act)
{
    const char *role = part_word(node, "role"), *state = part_word(node, "state"), *step = part_word(node, "drain_step");
    bool drains = json_is_true(json_object_get(node, "drain"));
    char up[32];
    text_puts(out, "<tr>");
    part_cell(out, "Node", part_word(node, "name"));
    part_cell(out, "Role", role);
    text_printf(out, "<td data-label=\"State\"><span class=\"pill %s\">", pill_class(state));
    form_escape(out, state);
    text_puts(out, "</span>");
    if (*step != '\0') {
        text_puts(out, " <span class=\"note\">");
        form_escape(out, step);
        text_puts(out, "</span>");
    }
    text_puts(out, "</td>");
    load_cell(out, node);
    part_cell(out, "Up", part_span(up, sizeof up, part_number(node, "up_seconds")));
    part_cell(out, "Version", part_word(node, "version"));
    text_puts(out, "<td data-label=\"\">");
    if (who->operator != NULL && strcmp(role, "coordinator") != 0)
        part_form(out, who, drains ? "undrain" : "drain", part_word(node, "name"), act, "/", drains ? "Undrain" : "Drain", !drains);
    text_puts(out, "</td></tr>\n");
}

static void node_section(struct text *out, const struct page_who *who, const json_t *doc, const char *act)
{
    const json_t *node;
    size_t i;
    text_puts(out, "<section id=\"nodes\" class=\"card wide\"><h2>Nodes</h2>\n<table class=\"stack\"><thead><tr><th>Node</th><th>Role</th><th>State</th><th>Load</th><th>Up</th><th>Version</th>"
                   "<th><span class=\"unseen\">What to do</span></th></tr></thead><tbody>\n");
    json_array_foreach(json_object_get(doc, "nodes"), i, node)
        node_row(out, who, node, act);
    text_puts(out, "</tbody></table></section>\n");
}

/* --- mail at rest --- */

static void spool_section(struct text *out, const json_t *doc)
{
    const json_t *spool = json_object_get(doc, "spool"), *state;
    char amount[32], age[32];
    const char *key;
    text_puts(out, "<section id=\"spool\" class=\"card\"><h2>Spool</h2>\n");
    if (!json_is_object(spool)) {
        text_puts(out, "<p class=\"note\">Not counted yet.</p></section>\n");
        return;
    }
    text_printf(out, "<p class=\"value\">%s<span> messages, %.1f MiB</span></p>\n<table><thead><tr><th>State</th><th class=\"number\">Entries</th><th class=\"number\">Oldest</th></tr></thead><tbody>\n",
                part_amount(amount, sizeof amount, part_number(spool, "messages")), part_number(spool, "bytes") / 1048576);
    json_object_foreach(json_object_get(spool, "states"), key, state)
        text_printf(out, "<tr><td>%s</td><td class=\"number\">%.0f</td><td class=\"number\">%s</td></tr>\n", key, part_number(state, "count"),
                    part_number(state, "count") > 0 ? part_span(age, sizeof age, part_number(state, "oldest")) : "–");
    text_puts(out, "</tbody></table></section>\n");
}

/* The value of reason="..." in labels. */
static void reason_of(const char *labels, char *out, size_t cap)
{
    const char *from = strstr(labels, "reason=\"");
    snprintf(out, cap, "%.*s", from != NULL ? (int)strcspn(from + 8, "\"") : 0, from != NULL ? from + 8 : "");
}

static double gauge(const json_t *gauges, const char *name, const char *reason)
{
    const json_t *one;
    size_t i;
    char found[64];
    json_array_foreach(gauges, i, one)
    {
        reason_of(part_word(one, "labels"), found, sizeof found);
        if (strcmp(part_word(one, "name"), name) == 0 && strcmp(found, reason) == 0)
            return part_number(one, "value");
    }
    return 0;
}

static void quarantine_section(struct text *out, const json_t *doc)
{
    const json_t *gauges = json_object_get(doc, "quarantine"), *one;
    size_t i, shown = 0;
    char reason[64], age[32];
    text_printf(out, "<section id=\"quarantine\" class=\"card\"><h2>Quarantine</h2>\n<p class=\"value\">%.0f<span> messages, %.1f MiB</span></p>\n", gauge(gauges, "quarantine_bodies", ""),
                gauge(gauges, "quarantine_bytes", "") / 1048576);
    text_puts(out, "<table><thead><tr><th>Reason</th><th class=\"number\">Copies</th><th class=\"number\">Oldest</th></tr></thead><tbody>\n");
    json_array_foreach(gauges, i, one)
    {
        if (strcmp(part_word(one, "name"), "quarantined") != 0)
            continue;
        reason_of(part_word(one, "labels"), reason, sizeof reason);
        double copies = part_number(one, "value");
        text_puts(out, "<tr>");
        part_cell(out, "Reason", reason);
        text_printf(out, "<td class=\"number\">%.0f</td><td class=\"number\">%s</td></tr>\n", copies, copies > 0 ? part_span(age, sizeof age, gauge(gauges, "quarantine_oldest", reason)) : "–");
        shown++;
    }
    if (shown == 0)
        text_puts(out, "<tr><td colspan=\"3\">Nothing was ever kept.</td></tr>\n");
    text_printf(out, "</tbody></table>\n<p class=\"note\">%.0f on legal hold</p></section>\n", gauge(gauges, "quarantine_held", ""));
}

/* --- signatures --- */

static void set_lines(struct text *out, const json_t *signatures)
{
    const json_t *set;
    size_t i, shown = 0;
    json_array_foreach(json_object_get(signatures, "sets"), i, set)
    {
        const char *state = part_word(set, "state");
        if (strcmp(state, "retired") == 0 || shown == 4)
            continue;
        char id[13];
        snprintf(id, sizeof id, "%.12s", part_word(set, "id"));
        bool failed = strcmp(state, "failed") == 0;
        text_printf(out, "<li><span class=\"pill %s\">%s</span> set %s", strcmp(state, "current") == 0 ? "good" : failed ? "bad" : "warn", state, id);
        if (failed) {
            text_puts(out, ": ");
            form_escape(out, part_word(set, "why"));
        }
        text_puts(out, "</li>\n");
        shown++;
    }
}

static void signature_section(struct text *out, const json_t *doc)
{
    const json_t *signatures = json_object_get(doc, "signatures"), *scanner;
    size_t i;
    char age[32];
    text_puts(out, "<section id=\"signatures\" class=\"card wide\"><h2>Signatures</h2>\n<ul class=\"plain\">\n");
    set_lines(out, signatures);
    text_puts(out, "</ul>\n<table class=\"stack\"><thead><tr><th>Scanner</th><th>Version</th><th>Age</th><th>Set</th></tr></thead><tbody>\n");
    json_array_foreach(json_object_get(signatures, "scanners"), i, scanner)
    {
        const char *loaded = part_word(scanner, "loaded"), *target = part_word(scanner, "target");
        bool follows = json_is_true(json_object_get(scanner, "follows"));
        text_puts(out, "<tr>");
        part_cell(out, "Scanner", part_word(scanner, "node"));
        part_cell(out, "Version", part_word(scanner, "version"));
        part_cell(out, "Age", json_is_number(json_object_get(scanner, "age_seconds")) ? part_span(age, sizeof age, part_number(scanner, "age_seconds")) : "");
        part_cell(out, "Set", json_is_true(json_object_get(scanner, "failed")) ? "could not load it" : !follows ? "its own files" : strcmp(loaded, target) == 0 ? "as it should" : "on its way");
        text_puts(out, "</tr>\n");
    }
    text_puts(out, "</tbody></table></section>\n");
}

/* --- who is stopped, and what waits for approval --- */

static void stopped_section(struct text *out, const struct page_who *who, const json_t *doc, const char *act)
{
    const json_t *list = json_object_get(doc, "stopped"), *one;
    size_t i;
    if (json_array_size(list) == 0) {
        text_puts(out, "<section id=\"stopped\" hidden></section>\n");
        return;
    }
    text_puts(out, "<section id=\"stopped\" class=\"card wide\"><h2>Stopped senders</h2>\n<table class=\"stack\"><thead><tr><th>Sender</th><th>State</th><th>Why</th><th></th></tr></thead><tbody>\n");
    json_array_foreach(list, i, one)
    {
        bool dry = json_is_true(json_object_get(one, "dry"));
        text_puts(out, "<tr>");
        part_cell(out, "Sender", who->operator != NULL ? part_word(one, "subject") : "(log in to see)");
        part_cell(out, "State", dry ? "would be stopped" : part_word(one, "state"));
        part_cell(out, "Why", part_word(one, "reason"));
        text_puts(out, "<td data-label=\"\">");
        if (who->operator != NULL && !dry)
            part_form(out, who, "outbound release", part_word(one, "subject"), act, "/", "Release", true);
        text_puts(out, "</td></tr>\n");
    }
    text_puts(out, "</tbody></table></section>\n");
}

static void override_section(struct text *out, const struct page_who *who, const json_t *doc, const char *act)
{
    const json_t *list = json_object_get(doc, "overrides"), *one;
    size_t i;
    char id[32];
    if (json_array_size(list) == 0 || who->operator == NULL) {
        text_puts(out, "<section id=\"overrides\" hidden></section>\n");
        return;
    }
    text_puts(out, "<section id=\"overrides\" class=\"card wide\"><h2>Waiting for a second operator</h2>\n<table class=\"stack\"><thead><tr><th>No.</th><th>What</th><th>Of whom</th><th>Asked by</th><th>Why</th><th></th></tr>"
                   "</thead><tbody>\n");
    json_array_foreach(list, i, one)
    {
        snprintf(id, sizeof id, "%lld", (long long)part_number(one, "id"));
        text_puts(out, "<tr>");
        part_cell(out, "No.", id);
        part_cell(out, "What", part_word(one, "kind"));
        part_cell(out, "Of whom", part_word(one, "subject"));
        part_cell(out, "Asked by", part_word(one, "requested_by"));
        part_cell(out, "Why", part_word(one, "reason"));
        text_puts(out, "<td data-label=\"\">");
        if (strcmp(part_word(one, "requested_by"), who->operator) != 0)
            part_form(out, who, "override approve", id, act, "/", "Approve", true);
        part_form(out, who, "override refuse", id, act, "/", "Refuse", false);
        text_puts(out, "</td></tr>\n");
    }
    text_puts(out, "</tbody></table></section>\n");
}

static void action_section(struct text *out, const struct page_who *who, const json_t *doc)
{
    const json_t *one;
    size_t i;
    if (who->operator == NULL)
        return;
    text_puts(out, "<section id=\"actions\" class=\"card wide\"><h2>What operators did</h2>\n<table class=\"stack\"><thead><tr><th>When (UTC)</th><th>Who</th><th>What</th><th>Of what</th><th>Why</th></tr></thead><tbody>\n");
    json_array_foreach(json_object_get(doc, "actions"), i, one)
    {
        text_puts(out, "<tr>");
        part_cell(out, "When (UTC)", part_word(one, "at"));
        part_cell(out, "Who", part_word(one, "who"));
        part_cell(out, "What", part_word(one, "action"));
        part_cell(out, "Of what", part_word(one, "target"));
        part_cell(out, "Why", part_word(one, "reason"));
        text_puts(out, "</tr>\n");
    }
    text_puts(out, "</tbody></table></section>\n");
}

static void about_section(struct text *out, const json_t *doc)
{
    const json_t *policy = json_object_get(doc, "policy");
    text_puts(out, "<section id=\"about\" class=\"foot\"><p>Read at <time>");
    form_escape(out, part_word(doc, "time"));
    text_printf(out, "</time> · state %.0f", part_number(doc, "epoch"));
    if (json_is_object(policy)) {
        text_printf(out, " · policy %.0f of ", part_number(policy, "epoch"));
        form_escape(out, part_word(policy, "applied_at"));
    }
    text_puts(out, " · PostgreSQL ");
    form_escape(out, part_word(doc, "database"));
    text_puts(out, " · <a href=\"/metrics\">metrics</a></p></section>\n");
}

void page_overview(struct text *out, const struct page_who *who, const json_t *doc, const char *act)
{
    part_begin(out, who, "Overview", true);
    text_puts(out, "<h1 class=\"unseen\">The cluster at a glance</h1>\n");
    if (doc == NULL) {
        text_puts(out, "<p class=\"alert bad\" role=\"alert\">Nothing is known yet.</p>\n");
        part_end(out);
        return;
    }
    alert_section(out, doc);
    flow_section(out, doc);
    text_puts(out, "<div class=\"grid\">\n");
    verdict_section(out, doc);
    node_section(out, who, doc, act);
    spool_section(out, doc);
    quarantine_section(out, doc);
    override_section(out, who, doc, act);
    stopped_section(out, who, doc, act);
    signature_section(out, doc);
    action_section(out, who, doc);
    text_puts(out, "</div>\n");
    about_section(out, doc);
    part_end(out);
}

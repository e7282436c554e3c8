/*
 * views.c - a coordinator's JSON answer, as a person wants to read it
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/memory.h"
#include "coordinator/ctl/blocklist.h"
#include "coordinator/ctl/operators.h"
#include "coordinator/ctl/outbound.h"
#include "coordinator/ctl/outbreak.h"
#include "coordinator/ctl/quarantine.h"
#include "coordinator/ctl/override.h"
#include "coordinator/ctl/signatures.h"
#include "coordinator/ctl/reputation.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/turns.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"

#define SKEW_SHOWN_MS 2000 /* less may be a heartbeat that waited on its way */
#define CELL_MAX      60   /* bytes of what a stranger wrote */

char *view_time(char out[32], const char *iso)
{
    struct tm tm = { .tm_isdst = 0 };
    char sign = '+';
    int seconds = 0, hours = 0, minutes = 0;
    if (iso == NULL || sscanf(iso, "%d-%d-%dT%d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
                              &seconds) != 6) {
        strcpy(out, "-");
        return out;
    }
    const char *zone = strpbrk(iso + 19, "+-");
    if (zone != NULL && sscanf(zone, "%c%d:%d", &sign, &hours, &minutes) < 2)
        hours = minutes = 0;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    tm.tm_sec = seconds;
    time_t at = timegm(&tm) - (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    localtime_r(&at, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
    return out;
}

const char *view_word(const json_t *object, const char *key)
{
    const char *word = json_string_value(json_object_get(object, key));
    return word != NULL ? word : "";
}

static const char *get(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static const char *get_or(const json_t *object, const char *key, const char *otherwise)
{
    const char *text = get(object, key);
    return text != NULL && text[0] != '\0' ? text : otherwise;
}

static long long number(const json_t *object, const char *key)
{
    return (long long)json_number_value(json_object_get(object, key));
}

/* Text from the mail world: control bytes are shown, not obeyed. */
static void put_clean(FILE *out, const char *text)
{
    struct text clean;
    text_init(&clean);
    text_add_clean(&clean, text, strlen(text), SIZE_MAX);
    fputs(clean.data, out);
    text_fini(&clean);
}

/* A policy file keeps its tabs. */
static void put_line(FILE *out, const char *line, size_t len)
{
    struct text clean;
    text_init(&clean);
    text_add_clean_line(&clean, line, len, SIZE_MAX);
    fprintf(out, "%s\n", clean.data);
    text_fini(&clean);
}

static void put_lines(FILE *out, const char *content)
{
    for (size_t len; *content != '\0'; content += len + (content[len] != '\0')) {
        len = strcspn(content, "\n");
        put_line(out, content, len);
    }
}

static void add_number(struct table *table, long long value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", value);
    table_add(table, text);
}

/* Returns out. */
static char *duration(char out[32], long long seconds)
{
    if (seconds < 120)
        snprintf(out, 32, "%llds", seconds);
    else if (seconds < 7200)
        snprintf(out, 32, "%lldm", seconds / 60);
    else if (seconds < 172800)
        snprintf(out, 32, "%lldh", seconds / 3600);
    else
        snprintf(out, 32, "%lldd", seconds / 86400);
    return out;
}

/* --- nodes --- */

static void print_nodes(const json_t *nodes, FILE *out)
{
    static const char *const titles[] = { "NODE",        "ROLE",    "STATE",      "WANTED", ">PROCESSES", ">IN FLIGHT",
                                          ">GENERATION", ">POLICY", "SIGNATURES", ">UP",    "HEARD BY",   "VERSION" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *node;
    json_array_foreach(nodes, i, node)
    {
        bool scanner = strcmp(get_or(node, "role", ""), "scanner") == 0;
        table_add(table, get(node, "name"));
        table_add(table, get(node, "role"));
        table_add(table, get(node, "state"));
        table_add(table, json_is_true(json_object_get(node, "drain")) ? "drained" : "active");
        add_number(table, number(node, "processes"));
        add_number(table, number(node, "in_flight"));
        if (scanner)
            add_number(table, number(node, "generation"));
        else
            table_add(table, NULL);
        if (scanner)
            table_add(table, NULL);
        else
            add_number(table, number(node, "policy_epoch"));
        table_add(table, get(node, "signatures"));
        char up[32];
        table_add(table, number(node, "processes") > 0 ? duration(up, number(node, "up_seconds")) : NULL);
        table_add(table, get(node, "coordinator"));
        table_add(table, get(node, "version"));
    }
    table_print(table, out);
    table_free(&table);
}

static void add_count(struct text *out, long long count, const char *one, const char *many)
{
    text_printf(out, "%s%lld %s", out->len > 0 ? ", " : "", count, count == 1 ? one : many);
}

char *view_drain_step(const json_t *node)
{
    const char *step = get_or(node, "drain_step", ""), *dns = get_or(node, "dns", "");
    bool drained = json_is_true(json_object_get(node, "drain")), finishing = strcmp(step, "finishing") == 0, edge = strcmp(get_or(node, "role", ""), "edge") == 0;
    struct text counts;
    char *words;
    text_init(&counts);
    if (finishing && number(node, "in_flight") > 0)
        add_count(&counts, number(node, "in_flight"), edge ? "session" : "scan", edge ? "sessions" : "scans");
    if (finishing && number(node, "leases") > 0)
        add_count(&counts, number(node, "leases"), "lease of the spool", "leases of the spool");
    if (finishing && number(node, "reports") > 0)
        add_count(&counts, number(node, "reports"), "audit row not acknowledged", "audit rows not acknowledged");
    if (*step == '\0')
        words = xasprintf("%s%s", get_or(node, "state", "unknown"), !drained && strcmp(dns, "out") == 0 ? ", not in the DNS yet" : "");
    else if (strcmp(step, "leaving the DNS") == 0)
        words = xasprintf("%s (weirctl drain --now %s does not wait for it)", step, get_or(node, "name", "NODE"));
    else
        words = xasprintf("%s%s%s", step, counts.len > 0 ? ": " : "", counts.data);
    text_fini(&counts);
    return words;
}

/* What was looked at before a drained node was called safe to stop. */
static void print_proof(const json_t *node, FILE *out)
{
    char when[32];
    long long passed_on = number(node, "passed_on");
    if (!json_is_true(json_object_get(node, "drain")) || get(node, "drain_step") == NULL)
        return;
    if (strcmp(get(node, "drain_step"), "safe to stop") != 0) {
        char *step = view_drain_step(node);
        fprintf(out, "%s\n", step);
        free(step);
        return;
    }
    if (strcmp(get_or(node, "role", ""), "edge") != 0) {
        fputs("safe to stop: no scans\n", out);
        return;
    }
    fputs("safe to stop: no sessions, no leases of the spool, every audit row acknowledged", out);
    if (get(node, "dns_out_at") != NULL)
        fprintf(out, ", out of the DNS since %s", view_time(when, get(node, "dns_out_at")));
    else if (get(node, "dns_in_at") != NULL)
        fputs(", but its addresses are in the DNS", out);
    fputs("\n", out);
    if (passed_on > 0)
        fprintf(out, "it passes %lld connection%s on to other edges, which end%s with it\n", passed_on, view_plural(passed_on), passed_on == 1 ? "s" : "");
}

static void print_node(const json_t *node, FILE *out)
{
    char when[32];
    const char *role = get_or(node, "role", "?");
    fprintf(out, "%s is %s %s, %s", get_or(node, "name", "?"), strcmp(role, "edge") == 0 ? "an" : "a", role, get_or(node, "state", "?"));
    if (!json_is_null(json_object_get(node, "silent_seconds")))
        fprintf(out, ", heard %.1f s ago", json_number_value(json_object_get(node, "silent_seconds")));
    if (get(node, "drain_by") != NULL)
        fprintf(out, "; %s by %s at %s", json_is_true(json_object_get(node, "drain")) ? "drained" : "undrained",
                get(node, "drain_by"), view_time(when, get(node, "drain_at")));
    fputs("\n", out);
    print_proof(node, out);
    json_t *one = json_pack("[O]", node);
    print_nodes(one, out);
    json_decref(one);
}

static bool is_heard(const json_t *node)
{
    const char *state = get_or(node, "state", "");
    return strcmp(state, "lost") != 0 && strcmp(state, "never seen") != 0 && get_or(node, "version", NULL) != NULL;
}

/* The version of nodes[first], and who else runs it: "0.1.0 (edge-1, edge-2)". */
static void print_version(const json_t *nodes, size_t first, bool named, FILE *out)
{
    const char *version = get(json_array_get(nodes, first), "version"), *separator = " (";
    put_clean(out, version);
    for (size_t i = first; named && i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        if (!is_heard(node) || strcmp(get(node, "version"), version) != 0)
            continue;
        fprintf(out, "%s%s", separator, get_or(node, "name", "?"));
        separator = ", ";
    }
    if (named)
        fputs(")", out);
}

/* What all nodes run that are heard; while they differ, as in a rolling upgrade, who runs what. */
static void print_versions(const json_t *nodes, FILE *out)
{
    size_t firsts[8], count = 0; /* more are not told */
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        size_t at = 0;
        if (!is_heard(node))
            continue;
        while (at < count && strcmp(get(json_array_get(nodes, firsts[at]), "version"), get(node, "version")) != 0)
            at++;
        if (at == count && count < sizeof firsts / sizeof *firsts)
            firsts[count++] = i;
    }
    if (count == 0)
        return;
    fputs(count > 1 ? "version       mixed: " : "version       ", out);
    for (size_t i = 0; i < count; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_version(nodes, firsts[i], count > 1, out);
    }
    fputs("\n", out);
}

static void print_dns_problem(const json_t *dns, FILE *out)
{
    char when[32];
    if (json_is_true(json_object_get(dns, "kept")))
        fprintf(out, "problem       no edge is healthy: %s keeps the addresses it has in the DNS\n", get_or(dns, "name", "?"));
    if (get(dns, "failed_at") != NULL)
        fprintf(out, "problem       the DNS was not updated at %s: %s\n", view_time(when, get(dns, "failed_at")), get_or(dns, "error", "?"));
}

static void print_problems(const json_t *body, FILE *out)
{
    print_dns_problem(json_object_get(body, "dns"), out);
    size_t i;
    const json_t *node;
    long long newest = number(json_object_get(body, "policy"), "epoch");
    if (newest == 0)
        fputs("problem       no policy was applied: nothing is relayed (weirctl policy apply DIR)\n", out);
    if (number(body, "unscannable") > 0)
        fprintf(out, "problem       %lld cop%s in the quarantine could not be scanned: what kills scan workers may be an attack (weirctl quarantine list --reason unscannable)\n",
                number(body, "unscannable"), number(body, "unscannable") == 1 ? "y" : "ies");
    json_array_foreach(json_object_get(body, "nodes"), i, node)
    {
        const char *state = get_or(node, "state", "");
        if (strcmp(state, "lost") == 0 || strcmp(state, "never seen") == 0)
            fprintf(out, "problem       %s: %s\n", get_or(node, "name", "?"), state);
        else if (llabs(number(node, "skew_ms")) > SKEW_SHOWN_MS)
            fprintf(out, "problem       %s: its clock is %.1f s %s the database's\n", get_or(node, "name", "?"),
                    (double)llabs(number(node, "skew_ms")) / 1000, number(node, "skew_ms") > 0 ? "ahead of" : "behind");
        else if (strcmp(get_or(node, "role", ""), "edge") == 0 && number(node, "policy_epoch") < newest)
            fprintf(out, "problem       %s has policy %lld, not %lld\n", get_or(node, "name", "?"),
                    number(node, "policy_epoch"), newest);
    }
}

static void print_drains(const json_t *body, FILE *out)
{
    char when[32];
    size_t i;
    const json_t *node;
    json_array_foreach(json_object_get(body, "nodes"), i, node)
    {
        if (!json_is_true(json_object_get(node, "drain")))
            continue;
        char *step = view_drain_step(node);
        fprintf(out, "drain         %s is %s, wanted by %s since %s\n", get_or(node, "name", "?"),
                json_is_true(json_object_get(node, "drain_held")) ? step : get_or(node, "state", "?"), get_or(node, "drain_by", "?"), view_time(when, get(node, "drain_at")));
        free(step);
    }
}

static void print_spool(const json_t *spool, FILE *out)
{
    const char *state, *separator = ": ";
    const json_t *count;
    if (spool == NULL)
        return; /* a coordinator of before */
    fprintf(out, "spool         %lld message%s, %lld bytes", number(spool, "messages"), view_plural(number(spool, "messages")),
            number(spool, "bytes"));
    json_object_foreach((json_t *)(uintptr_t)json_object_get(spool, "states"), state, count)
    {
        fprintf(out, "%s%lld %s", separator, (long long)json_number_value(count), state);
        separator = ", ";
    }
    if (number(spool, "destinations_down") > 0)
        fprintf(out, "; %lld destinations cannot be reached", number(spool, "destinations_down"));
    fputs("\n", out);
}

static void print_status(const json_t *body, const char *coordinator, FILE *out)
{
    char when[32];
    const json_t *policy = json_object_get(body, "policy"), *database = json_object_get(body, "database"), *count;
    fprintf(out, "coordinator   %s (state %lld)\n", coordinator, number(body, "epoch"));
    print_versions(json_object_get(body, "nodes"), out);
    fprintf(out, "database      PostgreSQL %s\n", get_or(database, "version", "?"));
    if (json_is_object(policy)) {
        fprintf(out, "policy        %lld, applied at %s by %s", number(policy, "epoch"),
                view_time(when, get(policy, "applied_at")), get_or(policy, "applied_by", "?"));
        if (get_or(policy, "comment", NULL) != NULL) {
            fputs(": ", out);
            put_clean(out, get(policy, "comment"));
        }
        fputs("\n", out);
    }
    fprintf(out, "last message  %s\n", view_time(when, get(body, "last_message")));
    const char *disposition;
    const json_t *counts = json_object_get(body, "messages_last_minute");
    fputs("last minute   ", out);
    if (json_object_size(counts) == 0)
        fputs("nothing", out);
    const char *separator = "";
    json_object_foreach((json_t *)(uintptr_t)counts, disposition, count)
    {
        fprintf(out, "%s%lld %s", separator, (long long)json_number_value(count), disposition);
        separator = ", ";
    }
    if (number(body, "busy_last_minute") > 0)
        fprintf(out, ", %lld of them answered 421", number(body, "busy_last_minute"));
    fputs("\n", out);
    const json_t *age = json_object_get(body, "signature_age_seconds");
    fprintf(out, "signatures    %s%s\n",
            json_is_number(age) ? duration(when, (long long)json_number_value(age)) : "no scanner",
            json_is_number(age) ? " old" : "");
    long long difference = number(body, "conservation_difference");
    fprintf(out,
            difference == 0 ? "conservation  every accepted recipient is accounted for\n"
                            : "conservation  %lld accepted recipients are not accounted for now\n",
            difference);
    print_spool(json_object_get(body, "spool"), out);
    print_drains(body, out);
    outbound_print_status(json_object_get(body, "outbound"), out);
    blocklist_print_status(json_object_get(body, "blocklist"), out);
    print_problems(body, out);
    fputs("\n", out);
    print_nodes(json_object_get(body, "nodes"), out);
}

const char *view_plural(long long count)
{
    return count == 1 ? "" : "s";
}

void view_warn_of_pinned(const json_t *node, FILE *out)
{
    const json_t *pinned = json_object_get(node, "pinned"), *one;
    size_t i;
    if (json_array_size(pinned) == 0)
        return;
    long long clients = (long long)json_array_size(pinned);
    fprintf(out, "weirctl: %lld pinned client%s came to %s only in the last hour, and may know no other edge:", clients, view_plural(clients),
            get_or(node, "name", "?"));
    json_array_foreach(pinned, i, one)
        fprintf(out, "%s %s (%lld message%s)", i > 0 ? "," : "", get_or(one, "client", "?"), number(one, "messages"),
                view_plural(number(one, "messages")));
    fputs("\n", out);
}

void view_warn_of_no_senders(const json_t *account, FILE *out)
{
    const json_t *senders = json_object_get(account, "senders");
    const char *login = get_or(account, "login", "?");
    if (json_is_array(senders) && json_array_size(senders) == 0)
        fprintf(out, "weirctl: %s may send as nobody where sender_login_match is on; name addresses or @domains: weirctl account senders %s SENDER...\n", login, login);
}

/* --- trace --- */

/* PostgreSQL writes no zeros at the end: "20:38.1+00:00" is 100 ms. */
static int milliseconds(const char *iso)
{
    const char *dot = strchr(iso, '.');
    int value = 0;
    for (int digit = 1; digit <= 3; digit++) {
        bool more = dot != NULL && dot[digit] >= '0' && dot[digit] <= '9';
        value = 10 * value + (more ? dot[digit] - '0' : 0);
        if (!more)
            dot = NULL;
    }
    return value;
}

static void print_message(const json_t *row, FILE *out)
{
    char when[32];
    fprintf(out, "%s  %s.%03d  %lld bytes\n", get_or(row, "id", "?"), view_time(when, get(row, "time")),
            milliseconds(get_or(row, "time", "")), number(row, "size"));
    fputs("  from      <", out);
    put_clean(out, get_or(row, "sender", ""));
    fputs(">  ", out);
    put_clean(out, get_or(row, "message_id", "(no Message-ID)"));
    fprintf(out, "\n  client    %s, HELO ", get_or(row, "client", "?"));
    put_clean(out, get_or(row, "helo", "-"));
    fprintf(out, ", %s; listener %s of %s/%lld\n", get_or(row, "tls", "in clear"), get_or(row, "listener", "-"),
            get_or(row, "node", "?"), number(row, "worker"));
    if (get_or(row, "login", NULL) != NULL) {
        fputs("  login     ", out);
        put_clean(out, get(row, "login"));
        fputs("\n", out);
    }
    override_print_trace(row, out);
    fprintf(out, "  verdict   %s", get_or(row, "verdict", "not reached"));
    if (get_or(row, "signature", NULL) != NULL) {
        fputs(" ", out);
        put_clean(out, get(row, "signature"));
    }
    if (get_or(row, "scanner", NULL) != NULL)
        fprintf(out, ", by %s (%s, signatures %s)", get(row, "scanner"), get_or(row, "engine", "?"),
                get_or(row, "signatures", "?"));
    fputs("\n", out);
}

/* Mail that was accepted, and came to an end that is no next hop's. What is discarded in a session is answered 250. */
static bool ended_by_us(const json_t *row)
{
    const char *disposition = get_or(row, "disposition", "");
    bool ended = strncmp(disposition, "bounced", 7) == 0 || (strncmp(disposition, "discarded", 9) == 0 && number(row, "reply_code") / 100 != 2);
    return ended && get_or(row, "next_hop_reply", NULL) == NULL;
}

/* The reply is the client's, whom the spool's later words never reach: those of a next hop that took the message from there stand in both places. */
static bool was_answered(const json_t *row)
{
    const char *disposition = get_or(row, "disposition", "");
    if (strncmp(disposition, "discarded", 9) == 0)
        return number(row, "reply_code") / 100 == 2;
    if (strcmp(disposition, "delivered") == 0)
        return strcmp(get_or(row, "reply", ""), get_or(row, "next_hop_reply", "")) != 0;
    return strncmp(disposition, "bounced", 7) != 0;
}

static void print_recipient(const json_t *row, FILE *out)
{
    fputs("  to        <", out);
    put_clean(out, get_or(row, "recipient", ""));
    fprintf(out, ">  %s after %lld ms\n", get_or(row, "disposition", "?"), number(row, "duration_ms"));
    if (get_or(row, "given", NULL) != NULL) {
        fputs("            the client named <", out);
        put_clean(out, get(row, "given"));
        fputs(">\n", out);
    }
    if (get_or(row, "next_hop", NULL) != NULL) {
        fprintf(out, "            next hop %s said: ", get(row, "next_hop"));
        put_clean(out, get_or(row, "next_hop_reply", "nothing"));
        fputs("\n", out);
    }
    if (number(row, "policy_epoch") > 0) {
        fprintf(out, "            policy %lld, ", number(row, "policy_epoch"));
        put_clean(out, get_or(row, "rule", "no rule"));
        fputs("\n", out);
    }
    if (!ended_by_us(row) && !was_answered(row))
        return;
    fputs(ended_by_us(row) ? "            no next hop said so, but this cluster: " : "            answered ", out);
    put_clean(out, get_or(row, "reply", "nothing"));
    fputs("\n", out);
}

/* What became of spooled mail, oldest first. */
static void print_attempts(const json_t *attempts, FILE *out)
{
    size_t i;
    const json_t *one;
    char when[32];
    json_array_foreach(attempts, i, one)
    {
        fprintf(out, "  %s  %s", view_time(when, get(one, "at")), get_or(one, "what", "?"));
        fprintf(out, " (%lld) by %s to ", number(one, "recipients"), get_or(one, "who", "?"));
        put_clean(out, get_or(one, "destination", "?"));
        const json_t *own = json_object_get(one, "own");
        if (json_is_false(own))
            fputs(", which said", out);
        else if (json_is_true(own))
            fprintf(out, ", by its own word");
        fputs(": ", out);
        put_clean(out, get_or(one, "reply", "nothing"));
        fputs("\n", out);
    }
}

static void print_trace(const json_t *rows, FILE *out)
{
    const char *last = "";
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        const char *id = get_or(row, "id", "");
        if (strcmp(id, last) != 0) {
            fputs(i > 0 ? "\n" : "", out);
            print_message(row, out);
        }
        print_recipient(row, out);
        print_attempts(json_object_get(row, "attempts"), out);
        last = id;
    }
}

/* --- the spool --- */

static void print_queue(const json_t *entries, FILE *out)
{
    static const char *const titles[] = { "ID", "ARRIVED", "STATE", ">SIZE", "FROM", "TO", ">MORE", "DESTINATION", ">TRIES", "NEXT", "LAST REPLY" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *entry;
    char when[32];
    json_array_foreach(entries, i, entry)
    {
        const char *sender = get_or(entry, "sender", "<>"), *state = get_or(entry, "state", "?");
        const char *first = json_string_value(json_array_get(json_object_get(entry, "recipients"), 0));
        table_add(table, get(entry, "id"));
        table_add(table, view_time(when, get(entry, "arrived_at")));
        table_add(table, state);
        add_number(table, number(entry, "size"));
        table_add_clean(table, sender, CELL_MAX);
        table_add_clean(table, first != NULL ? first : "", CELL_MAX);
        add_number(table, number(entry, "recipient_count") - (first != NULL ? 1 : 0));
        table_add_clean(table, get_or(entry, "destination", ""), CELL_MAX);
        add_number(table, number(entry, "attempts"));
        table_add(table, strcmp(state, "leased") == 0  ? get(entry, "holder")
                         : strcmp(state, "held") == 0 ? NULL
                                                       : view_time(when, get(entry, "due_at")));
        table_add_clean(table, get_or(entry, "reply", ""), CELL_MAX);
    }
    table_print(table, out);
    table_free(&table);
}

static void print_spooled_destination(const json_t *one, FILE *out)
{
    char when[32];
    fputs("  destination ", out);
    put_clean(out, get_or(one, "destination", "?"));
    fprintf(out, ": %s, %lld tries", get_or(one, "state", "?"), number(one, "attempts"));
    if (strcmp(get_or(one, "state", ""), "leased") == 0)
        fprintf(out, ", with %s until %s", get_or(one, "holder", "?"), view_time(when, get(one, "due_at")));
    else if (strcmp(get_or(one, "state", ""), "deferred") == 0)
        fprintf(out, ", next at %s", view_time(when, get(one, "due_at")));
    if (get(one, "down_until") != NULL)
        fprintf(out, "; it could not be reached and is left alone until %s", view_time(when, get(one, "down_until")));
    fprintf(out, "%s%s%s\n", json_is_true(json_object_get(one, "bounce")) ? "; goes back to its sender" : "",
            json_is_true(json_object_get(one, "delay_warned")) ? "; its sender was told of the delay" : "",
            json_is_true(json_object_get(one, "maybe_duplicate")) ? "; a lease ended without a word: a copy may arrive twice" : "");
}

static void print_spooled(const json_t *message, FILE *out)
{
    char when[32];
    size_t i;
    const json_t *one;
    fprintf(out, "%s  %s  %lld bytes%s\n", get_or(message, "id", "?"), view_time(when, get(message, "arrived_at")), number(message, "size"),
            get(message, "stored_at") == NULL ? ", still coming" : "");
    fputs("  from      <", out);
    put_clean(out, get_or(message, "sender", ""));
    fputs(">  ", out);
    put_clean(out, get_or(message, "message_id", "(no Message-ID)"));
    fprintf(out, "\n  client    %s, listener %s of %s\n", get_or(message, "client", "?"), get_or(message, "listener", "-"), get_or(message, "node", "?"));
    fprintf(out, "  verdict   %s\n", json_is_true(json_object_get(message, "scanned")) ? get_or(message, "verdict", "clean") : "not scanned yet");
    json_array_foreach(json_object_get(message, "destinations"), i, one)
    {
        print_spooled_destination(one, out);
    }
    json_array_foreach(json_object_get(message, "recipients"), i, one)
    {
        fputs("  to        <", out);
        put_clean(out, get_or(one, "address", ""));
        fprintf(out, ">  %s, %lld tries", get_or(one, "state", "?"), number(one, "attempts"));
        fputs(get_or(one, "reply", NULL) != NULL ? ": " : "", out);
        put_clean(out, get_or(one, "reply", ""));
        fputs("\n", out);
    }
    print_attempts(json_object_get(message, "attempts"), out);
}

static void print_queue_act(const json_t *body, FILE *out)
{
    fprintf(out, "%lld changed", number(body, "changed"));
    if (number(body, "busy") > 0)
        fprintf(out, ", %lld left alone, as an edge delivers them now", number(body, "busy"));
    if (number(body, "stay") > 0)
        fprintf(out, "; other recipients stay: %lld", number(body, "stay"));
    if (number(body, "along") > 0)
        fprintf(out, "; recipients that do not match go along: %lld", number(body, "along"));
    if (json_is_true(json_object_get(body, "more")))
        fputs("; more match: run it again", out);
    fputs("\n", out);
}

/* --- keys, policy, history --- */

static void print_keys(const json_t *keys, FILE *out)
{
    static const char *const titles[] = { "NAME", "ROLE", "KEY", "ADDED", "BY", "REVOKED", "BY" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *key;
    char when[32];
    json_array_foreach(keys, i, key)
    {
        table_add(table, get(key, "name"));
        table_add(table, get(key, "role"));
        table_add(table, get(key, "key"));
        table_add(table, view_time(when, get(key, "added_at")));
        table_add(table, get(key, "added_by"));
        table_add(table, view_time(when, get(key, "revoked_at")));
        table_add(table, get(key, "revoked_by"));
    }
    table_print(table, out);
    table_free(&table);
}

static void print_key(const json_t *key, FILE *out)
{
    if (override_print_pending(key, out))
        return;
    json_t *one = json_pack("[O]", key);
    print_keys(one, out);
    json_decref(one);
}

static void print_lines(const json_t *lines, const char *file, char mark, FILE *out)
{
    size_t i;
    const json_t *line;
    json_array_foreach(lines, i, line)
    {
        fprintf(out, "%s: %c ", file, mark);
        put_line(out, json_string_value(line), json_string_length(line));
    }
}

static void print_applied(const json_t *body, FILE *out)
{
    const json_t *changes = json_object_get(body, "changes"), *change;
    size_t i;
    json_array_foreach(changes, i, change)
    {
        const char *file = get_or(change, "file", "?");
        print_lines(json_object_get(change, "removed"), file, '-', out);
        print_lines(json_object_get(change, "added"), file, '+', out);
    }
    fprintf(out, json_array_size(changes) > 0 ? "policy %lld is in force\n" : "nothing changed: this is policy %lld\n",
            number(body, "epoch"));
}

static void print_policy(const json_t *body, FILE *out)
{
    char when[32];
    fprintf(out, "# policy %lld, applied at %s by %s", number(body, "epoch"), view_time(when, get(body, "applied_at")),
            get_or(body, "applied_by", "?"));
    if (get_or(body, "comment", NULL) != NULL) {
        fputs(": ", out);
        put_clean(out, get(body, "comment"));
    }
    fputs("\n", out);
    size_t i;
    const json_t *file;
    json_array_foreach(json_object_get(body, "files"), i, file)
    {
        fprintf(out, "\n# --- %s ---\n", get_or(file, "name", "?"));
        put_lines(out, get_or(file, "content", ""));
    }
}

static void print_policies(const json_t *policies, FILE *out)
{
    static const char *const titles[] = { ">POLICY", "APPLIED", "BY", "COMMENT" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *policy;
    char when[32];
    json_array_foreach(policies, i, policy)
    {
        add_number(table, number(policy, "epoch"));
        table_add(table, view_time(when, get(policy, "applied_at")));
        table_add(table, get(policy, "applied_by"));
        table_add(table, get(policy, "comment"));
    }
    table_print(table, out);
    table_free(&table);
}

static void print_history(const json_t *actions, FILE *out)
{
    static const char *const titles[] = { "WHEN", "WHO", "DID", "TO", "DETAIL" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *action;
    char when[32];
    json_array_foreach(actions, i, action)
    {
        char *detail = json_dumps(json_object_get(action, "detail"), JSON_COMPACT | JSON_ENCODE_ANY);
        table_add(table, view_time(when, get(action, "at")));
        table_add(table, get(action, "who"));
        table_add(table, get(action, "action"));
        table_add(table, get(action, "target"));
        table_add(table, detail);
        free(detail);
    }
    table_print(table, out);
    table_free(&table);
}

static void print_account_row(struct table *table, const json_t *account)
{
    struct text senders;
    char when[32];
    size_t i;
    const json_t *sender;
    text_init(&senders);
    json_array_foreach(json_object_get(account, "senders"), i, sender)
        text_printf(&senders, "%s%s", i > 0 ? " " : "", json_string_value(sender));
    table_add(table, get(account, "login"));
    table_add(table, json_is_true(json_object_get(account, "disabled")) ? "disabled" : "active");
    table_add(table, view_time(when, get(account, "password_at")));
    table_add(table, view_time(when, get(account, "last_used_at")));
    table_add(table, get(account, "created_by"));
    table_add(table, senders.data);
    text_fini(&senders);
}

static void print_accounts(const json_t *accounts, FILE *out)
{
    static const char *const titles[] = { "LOGIN", "STATE", "PASSWORD", "USED", "BY", "SENDS AS" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *account;
    if (json_is_object(accounts))
        print_account_row(table, accounts);
    json_array_foreach(accounts, i, account)
        print_account_row(table, account);
    table_print(table, out);
    table_free(&table);
}

static void print_verified(const json_t *body, FILE *out)
{
    static const char *const titles[] = { "RECIPIENT", "NEXT HOP", "EXISTS", "ASKED", "BY", "EXPIRES", "ITS WORDS" };
    const json_t *all = json_object_get(body, "recipients"), *one;
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    char when[32];
    size_t i;
    json_array_foreach(all, i, one)
    {
        char *words = xasprintf("%lld %s %s", (long long)json_integer_value(json_object_get(one, "code")), get(one, "enhanced"), get(one, "words"));
        table_add(table, get(one, "recipient"));
        table_add(table, get(one, "next_hop"));
        table_add(table, json_is_true(json_object_get(one, "exists")) ? "yes" : "no");
        table_add(table, view_time(when, get(one, "asked_at")));
        table_add(table, get(one, "asked_by"));
        table_add(table, view_time(when, get(one, "expires_at")));
        table_add(table, words);
        free(words);
    }
    table_print(table, out);
    table_free(&table);
    if ((size_t)json_integer_value(json_object_get(body, "count")) > json_array_size(all))
        fprintf(out, "and %lld more\n", (long long)json_integer_value(json_object_get(body, "count")) - (long long)json_array_size(all));
}

static void print_forgotten(const json_t *body, FILE *out)
{
    fprintf(out, "%lld forgotten\n", (long long)json_integer_value(json_object_get(body, "forgotten")));
}

static void print_reset(const json_t *body, FILE *out)
{
    long long buckets = json_integer_value(json_object_get(body, "buckets"));
    fprintf(out, buckets == 1 ? "%lld bucket of limits is full again\n" : "%lld buckets of limits are full again\n", buckets);
}

void view_print(const char *verb, const json_t *body, const char *coordinator, FILE *out)
{
    static const struct {
        const char *verb;
        void (*print)(const json_t *, FILE *);
    } views[] = {
        { "account add", print_accounts },
        { "account delete", print_accounts },
        { "account disable", print_accounts },
        { "account enable", print_accounts },
        { "account list", print_accounts },
        { "account passwd", print_accounts },
        { "account senders", print_accounts },
        { "blocklist check", blocklist_print },
        { "blocklist status", blocklist_print },
        { "node list", print_nodes },
        { "node show", print_node },
        { "drain", print_node },
        { "undrain", print_node },
        { "gc", print_node },
        { "gc cancel", turns_print },
        { "gc status", turns_print },
        { "signatures pin", signatures_print },
        { "signatures rollback", signatures_print },
        { "signatures status", signatures_print },
        { "signatures unpin", signatures_print },
        { "signatures update", signatures_print },
        { "trace", print_trace },
        { "keys add", print_key },
        { "keys list", print_keys },
        { "keys revoke", print_keys },
        { "policy apply", print_applied },
        { "policy rollback", print_applied },
        { "policy show", print_policy },
        { "policy history", print_policies },
        { "queue list", print_queue },
        { "queue show", print_spooled },
        { "queue hold", print_queue_act },
        { "queue release", print_queue_act },
        { "queue retry", print_queue_act },
        { "queue delete", print_queue_act },
        { "queue bounce", print_queue_act },
        { "operator add", operators_print },
        { "operator delete", operators_print },
        { "operator list", operators_print },
        { "operator passwd", operators_print },
        { "outbound list", outbound_print_list },
        { "outbound show", outbound_print_one },
        { "outbound pool", outbound_print_pool },
        { "outbound release", outbound_print_release },
        { "outbreak list", outbreak_print_list },
        { "outbreak show", outbreak_print_one },
        { "outbreak release", outbreak_print_act },
        { "outbreak drop", outbreak_print_act },
        { "hunt", outbreak_print_hunt },
        { "quarantine list", quarantine_print_list },
        { "quarantine show", quarantine_print_one },
        { "quarantine release", quarantine_print_act },
        { "quarantine delete", quarantine_print_act },
        { "quarantine hold", quarantine_print_act },
        { "quarantine unhold", quarantine_print_act },
        { "override approve", override_print_decided },
        { "override list", override_print_list },
        { "override refuse", override_print_decided },
        { "history", print_history },
        { "reputation forget", reputation_print_forgotten },
        { "reputation forget-all", reputation_print_forgotten },
        { "reputation set", reputation_print_set },
        { "reputation show", reputation_print },
        { "verify show", print_verified },
        { "verify forget", print_forgotten },
        { "limit reset", print_reset },
    };
    if (strcmp(verb, "status") == 0)
        print_status(body, coordinator, out);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (strcmp(verb, views[i].verb) == 0)
            views[i].print(body, out);
}

/*
 * blocklist.c - see blocklist.h
 */
#include "coordinator/ctl/blocklist.h"
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include "common/clock.h"
#include "common/memory.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"

#define SHOWN_MOST   10 /* listings in "status" */

static long long number(const json_t *object, const char *key)
{
    return (long long)json_number_value(json_object_get(object, key));
}

/* ---- waiting ---- */

void blocklist_wait(struct requester *requester, unsigned timeout_s, struct reply *reply)
{
    uint64_t deadline = clock_ms() + (uint64_t)timeout_s * 1000;
    json_error_t error;
    json_t *body = json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error);
    long long asked = number(body, "asked");
    bool done = false;
    for (;;) {
        json_decref(body);
        reply_clear(reply);
        requester_ask(requester, "blocklist status", NULL, 0, NULL, 0, reply);
        body = reply->status == 0 && reply->body != NULL ? json_loads(reply->body, 0, &error) : NULL;
        done = body != NULL && number(body, "done") >= asked;
        bool may_change = reply->status == 0 || reply->status == EX_UNAVAILABLE || reply->status == EX_TEMPFAIL;
        if (done || !may_change || clock_ms() >= deadline)
            break;
        nanosleep(&(struct timespec){ .tv_nsec = WAIT_TURN_MS * 1000000L }, NULL);
    }
    json_decref(body);
    if (reply->status == 0 && !done) {
        reply->status = EX_TEMPFAIL;
        reply->error = xasprintf("the leading coordinator has not asked the lists after %u s; it goes on by itself: weirctl blocklist status", timeout_s);
    }
}

/* ---- printing ---- */

/* What the list said last, and, where that is older than the last lookup, that this did not tell. */
static const char *said(const json_t *row)
{
    const json_t *listed = json_object_get(row, "listed");
    bool unknown = strcmp(view_word(row, "result"), "error") == 0 || strcmp(view_word(row, "result"), "failed") == 0;
    if (!json_is_boolean(listed))
        return "not known";
    if (json_is_true(listed))
        return unknown ? "LISTED, at last" : "LISTED";
    return unknown ? "clean, at last" : "clean";
}

static const char *lookup(const json_t *row)
{
    if (strcmp(view_word(row, "result"), "error") == 0)
        return "was answered with an error";
    return strcmp(view_word(row, "result"), "failed") == 0 ? "was not answered" : "was answered";
}

void blocklist_print(const json_t *body, FILE *out)
{
    static const char *const titles[] = { "ADDRESS", "LIST", "SAYS", "SINCE", "ANSWER", "LAST LOOKUP", "WHICH" };
    char when[32];
    size_t i;
    const json_t *row;
    if (json_array_size(json_object_get(body, "zones")) == 0) {
        fputs("nothing is looked up: the leading coordinator's configuration has no blocklist_zones in [coordinator]\n", out);
        return;
    }
    fprintf(out, "looked up every %lld s, ", number(body, "interval_seconds"));
    if (*view_word(body, "checked_at") != '\0')
        fprintf(out, "last at %s by %s", view_time(when, view_word(body, "checked_at")), view_word(body, "checked_by"));
    else
        fputs("never yet", out);
    fputs(*view_word(body, "checks_now") != '\0' ? "; under way now\n" : "\n", out);
    if (number(body, "left_out") > 0)
        fprintf(out, "%lld more addresses are left out: blocklist_addresses\n", number(body, "left_out"));
    if (number(body, "private") > 0)
        fprintf(out, "%lld private addresses are left out, as only lists of your own have such: blocklist_private\n", number(body, "private"));
    if (*view_word(body, "nothing") != '\0')
        fprintf(out, "nothing is looked up: %s\n", view_word(body, "nothing"));
    if (json_array_size(json_object_get(body, "addresses")) == 0)
        return;
    fputs("\n", out);
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    json_array_foreach(json_object_get(body, "addresses"), i, row) {
        table_add(table, view_word(row, "address"));
        table_add(table, view_word(row, "zone"));
        table_add(table, said(row));
        table_add(table, *view_word(row, "since") != '\0' ? view_time(when, view_word(row, "since")) : NULL);
        table_add(table, view_word(row, "answer"));
        table_add(table, view_time(when, view_word(row, "checked_at")));
        table_add(table, lookup(row));
    }
    table_print(table, out);
    table_free(&table);
}

void blocklist_print_status(const json_t *summary, FILE *out)
{
    char when[32];
    size_t i;
    const json_t *row, *listed = json_object_get(summary, "listed");
    if (!json_is_object(summary))
        return;
    if (*view_word(summary, "nothing") != '\0') {
        fprintf(out, "problem       own addresses are not looked up in blocklists: %s\n", view_word(summary, "nothing"));
        return;
    }
    fprintf(out, "blocklists    %lld own address%s in %lld list%s: ", number(summary, "addresses"), number(summary, "addresses") == 1 ? "" : "es", number(summary, "zones"),
            view_plural(number(summary, "zones")));
    if (*view_word(summary, "checked_at") == '\0')
        fputs("not looked up yet\n", out);
    else
        fprintf(out, "%zu listed, %lld lookup%s told nothing, at %s\n", json_array_size(listed), number(summary, "unknown"), view_plural(number(summary, "unknown")), view_time(when, view_word(summary, "checked_at")));
    json_array_foreach(listed, i, row) {
        if (i == SHOWN_MOST)
            break;
        fprintf(out, "problem       %s is listed in %s (%s) since %s: others may refuse its mail\n", view_word(row, "address"), view_word(row, "zone"), view_word(row, "answer"),
                view_time(when, view_word(row, "since")));
    }
    if (json_array_size(listed) > SHOWN_MOST)
        fprintf(out, "problem       and %zu more listings: weirctl blocklist status\n", json_array_size(listed) - SHOWN_MOST);
}

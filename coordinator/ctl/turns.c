/*
 * turns.c - see turns.h
 */
#include "coordinator/ctl/turns.h"
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include "common/clock.h"
#include "common/memory.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"

#define MIB          (1024.0 * 1024)

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* The row of `turns`, or NULL. */
static const json_t *find(const json_t *body, const char *node)
{
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(body, "turns"), i, row) {
        if (strcmp(view_word(row, "node"), node) == 0)
            return row;
    }
    return NULL;
}

static const char *held_text(const json_t *row)
{
    const char *held = view_word(row, "held");
    return strcmp(held, "load") == 0 ? "waits: the others could not do its work" : strcmp(held, "turn") == 0 ? "waits for its turn" : "is next";
}

/* ---- waiting ---- */

enum phase { PHASE_UNDER_WAY, PHASE_DONE, PHASE_FAILED };

/* words: what to say of it now. */
static enum phase look(const json_t *body, const json_t *asked, const char **words)
{
    const json_t *row = find(body, view_word(asked, "node"));
    bool over = row != NULL && number(row, "given") >= number(asked, "asked");
    *words = row == NULL ? "is no scanner of this cluster any more" : !over ? held_text(row) : strcmp(view_word(row, "state"), "running") == 0 ? "makes a new generation" : view_word(row, "result");
    if (row == NULL)
        return PHASE_FAILED;
    if (!over || strcmp(view_word(row, "state"), "running") == 0)
        return PHASE_UNDER_WAY;
    return strcmp(view_word(row, "result"), "done") == 0 ? PHASE_DONE : PHASE_FAILED;
}

struct tally {
    size_t under_way;
    struct text failed; /* "scanner-2 lost, scanner-3 timeout" */
};

/* told: for each that was asked for, what was last said of it. */
static void look_at_all(const json_t *body, const json_t *asked, const char **told, FILE *progress, struct tally *tally)
{
    size_t i;
    const json_t *one;
    tally->under_way = 0;
    text_reset(&tally->failed);
    json_array_foreach(asked, i, one) {
        const char *words;
        enum phase phase = look(body, one, &words);
        if (told[i] == NULL || strcmp(told[i], words) != 0) {
            fprintf(progress, "%s %s\n", view_word(one, "node"), words);
            free((char *)(uintptr_t)told[i]);
            told[i] = xstrdup(words);
        }
        tally->under_way += phase == PHASE_UNDER_WAY;
        if (phase == PHASE_FAILED)
            text_printf(&tally->failed, "%s%s %s", tally->failed.len > 0 ? ", " : "", view_word(one, "node"), words);
    }
    fflush(progress);
}

static bool may_change(const struct reply *reply)
{
    return reply->status == 0 || reply->status == EX_UNAVAILABLE || reply->status == EX_TEMPFAIL;
}

void turns_wait(struct requester *requester, unsigned timeout_s, FILE *progress, struct reply *reply)
{
    uint64_t deadline = clock_ms() + (uint64_t)timeout_s * 1000;
    json_error_t error;
    json_t *first = json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error);
    const json_t *asked = json_object_get(first, "asked");
    const char **told = xcalloc(json_array_size(asked) + 1, sizeof *told);
    struct tally tally = { .under_way = json_array_size(asked) };
    text_init(&tally.failed);
    for (;;) {
        reply_clear(reply);
        requester_ask(requester, "gc status", NULL, 0, NULL, 0, reply);
        json_t *body = reply->status == 0 && reply->body != NULL ? json_loads(reply->body, 0, &error) : NULL;
        if (body != NULL)
            look_at_all(body, asked, told, progress, &tally);
        json_decref(body);
        if (tally.under_way == 0 || !may_change(reply) || clock_ms() >= deadline)
            break;
        nanosleep(&(struct timespec){ .tv_nsec = WAIT_TURN_MS * 1000000L }, NULL);
    }
    if (reply->status == 0 && tally.under_way > 0) {
        reply->status = EX_TEMPFAIL;
        reply->error = xasprintf("%zu scanners have not had their turn after %u s; it goes on by itself: weirctl gc status", tally.under_way, timeout_s);
    } else if (reply->status == 0 && tally.failed.len > 0) {
        reply->status = EX_TEMPFAIL;
        reply->error = xasprintf("no new generation: %s", tally.failed.data);
    }
    for (size_t i = 0; i < json_array_size(asked); i++)
        free((char *)(uintptr_t)told[i]);
    free(told);
    text_fini(&tally.failed);
    json_decref(first);
}

/* ---- printing ---- */

static void add_words(struct table *table, char *taken)
{
    table_add(table, taken);
    free(taken);
}

static void add_turn(struct table *table, const json_t *body, const char *node)
{
    char *now = NULL, *last = NULL, when[32];
    const json_t *row = find(body, node);
    const char *state = view_word(row, "state"), *reason = view_word(row, "reason"), *cause = view_word(row, "cause");
    if (strcmp(state, "waiting") == 0)
        now = xasprintf("%s (%s, %s)", held_text(row), reason, cause);
    else if (strcmp(state, "running") == 0)
        now = xasprintf("since %s (%s, %s)", view_time(when, view_word(row, "began_at")), reason, cause);
    if (view_word(row, "result")[0] != '\0')
        last = xasprintf("%s at %s (%s)", view_word(row, "result"), view_time(when, view_word(row, "ended_at")), reason);
    add_words(table, now);
    add_words(table, last);
}

void turns_print(const json_t *body, FILE *out)
{
    static const char *const titles[] = { "SCANNER", "STATE", ">GENERATION", ">AGE", ">BUSY", ">MEMORY", ">GROWN", ">SCANNED", "TURN", "LAST TURN" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *s;
    json_array_foreach(json_object_get(body, "scanners"), i, s) {
        double grown = number(s, "memory") - number(s, "memory_loaded");
        table_add(table, view_word(s, "name"));
        table_add(table, json_is_true(json_object_get(s, "lost")) ? "lost" : view_word(s, "state"));
        add_words(table, xasprintf("%.0f", number(s, "generation")));
        add_words(table, xasprintf("%.0fs", number(s, "serving_ms") / 1000));
        add_words(table, xasprintf("%.2f/%.0f", (number(s, "small_busy") + number(s, "large_busy")) / 100, number(s, "small_workers") + number(s, "large_workers")));
        add_words(table, xasprintf("%.0fMiB", number(s, "memory") / MIB));
        add_words(table, xasprintf("%.0fMiB", grown > 0 ? grown / MIB : 0));
        add_words(table, xasprintf("%.0f", number(s, "scanned")));
        add_turn(table, body, view_word(s, "name"));
    }
    table_print(table, out);
    table_free(&table);
}

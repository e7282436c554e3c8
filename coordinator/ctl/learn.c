/* learn.c - see learn.h */
#include "coordinator/ctl/learn.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include "common/clock.h"
#include "common/memory.h"
#include "common/netaddr.h"
#include "coordinator/ctl/asking.h"
#include "coordinator/ctl/local.h"
#include "coordinator/ctl/score.h"
#include "coordinator/ctl/table.h"
#include "coordinator/ctl/views.h"
#include "coordinator/text.h"

#define TURN_MS 200

static void wait_a_turn(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = TURN_MS * 1000000L }, NULL);
}

static json_t *body_of(const struct reply *reply)
{
    json_error_t error;
    json_t *body = json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error);
    return body != NULL ? body : json_null();
}

/* Sends one message. Where too many wait it is asked again until the deadline. */
static void put(struct requester *requester, const char *label, const char *name, const char *bytes, size_t len, uint64_t deadline, struct reply *reply)
{
    const struct text message = { .data = (char *)(uintptr_t)bytes, .len = len };
    const char *const args[] = { label, name };
    struct request_file file = { .name = (char *)(uintptr_t)"message" };
    file.text = score_with_crlf(&message, &file.len);
    for (;;) {
        requester_ask(requester, "learn add", args, 2, &file, 1, reply);
        if (reply->status != EX_TEMPFAIL || clock_ms() >= deadline)
            break;
        reply_clear(reply);
        wait_a_turn();
    }
    free(file.text);
}

/* --- learn spam, learn ham --- */

/* The next message of an mbox file begins behind the line that this gives; NULL: there is none. */
static const char *next_message(const char *at, const char *end)
{
    while (at < end) {
        const char *line = memmem(at, (size_t)(end - at), "\nFrom ", 6);
        if (line == NULL)
            return NULL;
        if ((line > at && line[-1] == '\n') || (line > at + 1 && line[-1] == '\r' && line[-2] == '\n'))
            return line + 1;
        at = line + 1;
    }
    return NULL;
}

struct taught {
    size_t messages, queued, known, failed;
};

static int teach(const struct options *options, struct requester *requester, const struct text *file, struct taught *taught)
{
    const char *label = strcmp(options->verb->name, "learn spam") == 0 ? "spam" : "ham", *at = file->data, *end = file->data + file->len;
    bool mbox = file->len > 5 && memcmp(at, "From ", 5) == 0;
    uint64_t deadline = clock_ms() + (uint64_t)options->timeout_s * 1000;
    int status = EXIT_SUCCESS;
    while (at < end && (status == EXIT_SUCCESS || status == EX_DATAERR)) {
        const char *next = mbox ? next_message(at, end) : NULL, *stop = next != NULL ? next : end;
        const char *line = mbox ? memchr(at, '\n', (size_t)(stop - at)) : NULL;
        at = line != NULL ? line + 1 : at;
        char *name = mbox ? xasprintf("%s:%zu", options->args[0], taught->messages + 1) : xstrdup(options->args[0]);
        struct reply reply;
        put(requester, label, name, at, (size_t)(stop - at), deadline, &reply);
        taught->messages++;
        if (reply.status == 0) {
            json_t *body = body_of(&reply);
            *(strcmp(view_word(body, "became"), "known") == 0 ? &taught->known : &taught->queued) += 1;
            json_decref(body);
        } else {
            taught->failed++;
            status = print_reply(options, "learn add", &reply);
        }
        reply_clear(&reply);
        free(name);
        at = stop;
    }
    return status;
}

static int run_teach(const struct options *options, struct requester *requester)
{
    struct taught taught = { 0 };
    struct error why;
    struct text file;
    text_init(&file);
    int status = EX_NOINPUT;
    if (!local_file_read(strcmp(options->args[0], "-") == 0 ? "/dev/stdin" : options->args[0], &file, &why))
        fail(status, why.text);
    else if (file.len == 0)
        status = fail(EX_DATAERR, "there is no message in it");
    else
        status = teach(options, requester, &file, &taught);
    text_fini(&file);
    if (options->json)
        printf("{\"messages\": %zu, \"queued\": %zu, \"known\": %zu, \"failed\": %zu}\n", taught.messages, taught.queued, taught.known, taught.failed);
    else if (taught.messages > 0)
        printf("%zu of %zu messages will be learned within a minute; %zu are known already\n", taught.queued, taught.messages, taught.known);
    return status;
}

/* --- list, undo, status --- */

static void print_list(const json_t *list)
{
    static const char *const titles[] = { ">NUMBER", "AT", "WHO", "AS", "STATE", "FROM", "WHY" };
    struct table *table = table_new(titles, sizeof titles / sizeof *titles);
    size_t i;
    const json_t *one;
    json_array_foreach(list, i, one)
    {
        char number[32], when[32];
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(one, "number")));
        table_add(table, number);
        table_add(table, view_time(when, view_word(one, "at")));
        table_add(table, view_word(one, "who"));
        table_add(table, view_word(one, "label"));
        char *state = xasprintf("%s%s%s", view_word(one, "state"), view_word(one, "undone_by")[0] != '\0' ? " by " : "", view_word(one, "undone_by"));
        table_add(table, state);
        free(state);
        char *origin = xasprintf("%s %s", view_word(one, "source"), view_word(one, "origin"));
        table_add(table, origin);
        free(origin);
        table_add(table, view_word(one, "why"));
    }
    table_print(table, stdout);
    table_free(&table);
}

static void print_status(const json_t *status)
{
    char when[32];
    const char *model = view_word(status, "model"), *refused = view_word(status, "refused");
    const json_t *events = json_object_get(status, "events");
    if (model[0] == '\0')
        puts("model    none: nothing was learned");
    else
        printf("model    %.12s, made at %s by %s of %lld messages of ham and %lld of spam\n", model, view_time(when, view_word(status, "made_at")), view_word(status, "made_by"),
               (long long)json_integer_value(json_object_get(status, "ham")), (long long)json_integer_value(json_object_get(status, "spam")));
    if (refused[0] != '\0')
        printf("refused  a newer one, at %s: %s\n", view_time(when, view_word(status, "refused_at")), refused);
    printf("waiting  %lld messages, and %lld of the last two days that no scanner could look at\n", (long long)json_integer_value(json_object_get(status, "waiting")),
           (long long)json_integer_value(json_object_get(status, "failed")));
    static const char *const states[] = { "counted", "repeat", "conflict", "undone" };
    printf("words   ");
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        printf(" %lld %s%s", (long long)json_integer_value(json_object_get(events, states[i])), states[i], i + 1 < sizeof states / sizeof *states ? "," : "\n");
    long long outdated = (long long)json_integer_value(json_object_get(status, "outdated"));
    if (outdated > 0)
        printf("outdated %lld words are of the version before: teach them again\n", outdated);
}

static int run_simple(const struct options *options, struct requester *requester)
{
    const char *verb = options->verb->name, *args[2] = { "", "" };
    char limit[16];
    size_t count = 0;
    if (strcmp(verb, "learn list") == 0) {
        snprintf(limit, sizeof limit, "%u", options->limit != 0 ? options->limit : 100);
        args[0] = options->by != NULL ? options->by : "";
        args[1] = limit;
        count = 2;
    } else if (strcmp(verb, "learn undo") == 0) {
        args[0] = options->arg_count > 0 ? options->args[0] : "";
        args[1] = options->by != NULL ? options->by : "";
        count = 2;
    }
    struct reply reply;
    requester_ask(requester, verb, args, count, NULL, 0, &reply);
    int status = reply.status;
    if (status != 0 || options->json) {
        status = print_reply(options, verb, &reply);
    } else {
        json_t *body = body_of(&reply);
        if (strcmp(verb, "learn list") == 0)
            print_list(body);
        else if (strcmp(verb, "learn status") == 0)
            print_status(body);
        else
            printf("%lld words about messages are taken back\n", (long long)json_integer_value(json_object_get(body, "undone")));
        json_decref(body);
    }
    reply_clear(&reply);
    return status;
}

/* --- score --- */

static char *facts_of(const struct options *options)
{
    json_t *facts = json_pack("{s:s, s:s, s:s}", "client", options->arg_count > 1 ? options->args[1] : "127.0.0.1", "sender", options->sender != NULL ? options->sender : "",
                              "login", options->login != NULL ? options->login : "");
    char *text = json_dumps(facts, JSON_COMPACT);
    json_decref(facts);
    return text;
}

static int wait_for_score(const struct options *options, struct requester *requester, const char *number, struct reply *reply)
{
    uint64_t deadline = clock_ms() + (uint64_t)options->timeout_s * 1000;
    json_t *body = NULL;
    do {
        if (body != NULL)
            wait_a_turn();
        json_decref(body);
        reply_clear(reply);
        requester_ask(requester, "learn score", &number, 1, NULL, 0, reply);
        if (reply->status != 0)
            return print_reply(options, "learn score", reply);
        body = body_of(reply);
    } while (strcmp(view_word(body, "state"), "done") != 0 && clock_ms() < deadline);
    int status = EXIT_SUCCESS;
    const json_t *said = json_object_get(body, "result");
    if (strcmp(view_word(body, "state"), "done") != 0)
        status = fail(EX_TEMPFAIL, "no scanner has looked at it");
    else if (options->json)
        json_dumpf(said, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER), puts("");
    else
        printf("by %s\n", view_word(body, "scanner")), score_print(said, stdout);
    json_decref(body);
    return status;
}

static int ask_score(const struct options *options, struct requester *requester, const struct text *file)
{
    struct reply reply;
    char number[32], *facts = facts_of(options);
    put(requester, "score", facts, file->data, file->len, clock_ms() + (uint64_t)options->timeout_s * 1000, &reply);
    free(facts);
    int status = reply.status;
    if (status != 0) {
        status = print_reply(options, "score", &reply);
    } else {
        json_t *body = body_of(&reply);
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(json_object_get(body, "number")));
        json_decref(body);
        status = wait_for_score(options, requester, number, &reply);
    }
    reply_clear(&reply);
    return status;
}

/* --- both --- */

static int with_requester(const struct options *options, const struct text *file)
{
    struct cluster_access access;
    struct error why;
    if (!access_load(&access, options, &why))
        return fail(EX_CONFIG, why.text);
    struct requester *requester = requester_new(&access.pair, access.coordinators, access.count);
    bool teaches = strcmp(options->verb->name, "learn spam") == 0 || strcmp(options->verb->name, "learn ham") == 0;
    int status = file != NULL ? ask_score(options, requester, file) : teaches ? run_teach(options, requester) : run_simple(options, requester);
    requester_free(&requester);
    access_clear(&access);
    return status;
}

int learn_run(const struct options *options)
{
    return with_requester(options, NULL);
}

int learn_score(const struct options *options)
{
    struct netaddr client;
    struct error why;
    struct text file;
    if (options->arg_count > 1 && !netaddr_parse(&client, options->args[1]))
        return fail(EX_USAGE, "CLIENT: expected an IP address, as 192.0.2.1");
    text_init(&file);
    int status = local_file_read(options->args[0], &file, &why) ? with_requester(options, &file) : fail(EX_NOINPUT, why.text);
    text_fini(&file);
    return status;
}

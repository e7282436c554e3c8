/* asking.c - see asking.h */
#include "coordinator/ctl/asking.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include "common/clock.h"
#include "common/memory.h"
#include "common/settings.h"
#include "coordinator/ctl/blocklist.h"
#include "coordinator/ctl/local.h"
#include "coordinator/ctl/outbreak.h"
#include "coordinator/ctl/password.h"
#include "coordinator/ctl/quarantine.h"
#include "coordinator/ctl/reputation.h"
#include "coordinator/ctl/turns.h"
#include "coordinator/ctl/views.h"

/* --- who is asked, and with which key --- */

void access_clear(struct cluster_access *access)
{
    for (size_t i = 0; i < access->count; i++) {
        free(access->coordinators[i].name);
        free(access->coordinators[i].endpoint);
    }
    free(access->coordinators);
    explicit_bzero(&access->pair, sizeof access->pair);
}

static bool add_coordinator(struct cluster_access *access, const struct config *config, const char *name,
                            struct error *why)
{
    struct coordinator_settings settings = { 0 };
    if (!config_fill(config, "coordinator", name, &settings, why))
        return false;
    access->coordinators = xrealloc(access->coordinators, (access->count + 1) * sizeof *access->coordinators);
    struct request_coordinator *coordinator = &access->coordinators[access->count++];
    *coordinator = (struct request_coordinator){ .name = xstrdup(name), .endpoint = xstrdup(settings.listen) };
    bool fine = curve_key_parse(coordinator->public_key, settings.public_key);
    if (!fine)
        error_set(why, "[coordinator \"%s\"] public_key: 64 hex digits, as `weirctl keys generate` prints them", name);
    config_clear(settings_table("coordinator"), &settings);
    return fine;
}

bool access_load(struct cluster_access *access, const struct options *options, struct error *why)
{
    *access = (struct cluster_access){ 0 };
    struct config *config =
        config_load(options->config_path, settings_tables, options->overrides, options->override_count, why);
    if (config == NULL)
        return false;
    struct cluster_settings cluster = { 0 };
    const char *name;
    bool fine = config_fill(config, "cluster", NULL, &cluster, why);
    for (size_t i = 0; fine && (name = config_instance(config, "coordinator", i)) != NULL; i++)
        fine = add_coordinator(access, config, name, why);
    if (fine && access->count == 0) {
        error_set(why, "%s: there is no section [coordinator \"NAME\"]: who is to be asked?", options->config_path);
        fine = false;
    }
    fine = fine &&
           curve_keypair_read(&access->pair, options->key_file != NULL ? options->key_file : cluster.key_file, why);
    config_clear(settings_table("cluster"), &cluster);
    config_free(&config);
    if (!fine)
        access_clear(access);
    return fine;
}

/* --- asking --- */

int print_reply(const struct options *options, const char *verb, const struct reply *reply)
{
    if (reply->status != 0) {
        fprintf(stderr, "weirctl: %s\n",
                reply->error != NULL && reply->error[0] != '\0' ? reply->error : "refused without words");
        return reply->status;
    }
    if (options->json) {
        printf("%s\n", reply->body != NULL ? reply->body : "null");
        return EXIT_SUCCESS;
    }
    json_error_t error;
    json_t *body = reply->body != NULL ? json_loads(reply->body, JSON_DECODE_ANY, &error) : json_null();
    if (body == NULL) {
        fprintf(stderr, "weirctl: %s answered what is not JSON: %s\n", reply->coordinator, error.text);
        return EX_PROTOCOL;
    }
    view_print(verb, body, reply->coordinator, stdout);
    json_decref(body);
    return EXIT_SUCCESS;
}

struct wait_for {
    const char *node;
    bool gc;           /* until gc_done >= number; else until it has heard of drain number `number` and is in `state`: drained and safe to stop, or active
                          and in the DNS again */
    bool tells;        /* each step of it, to stderr */
    const char *state; /* "drained" or "active" */
    long long number;
};

/* Coordinators of before say nothing of steps, nor of the DNS. */
static bool steps_are_done(const json_t *node)
{
    const char *step = json_string_value(json_object_get(node, "drain_step")), *dns = json_string_value(json_object_get(node, "dns"));
    bool safe = step == NULL || *step == '\0' || strcmp(step, "safe to stop") == 0;
    return safe && (json_is_true(json_object_get(node, "drain")) || dns == NULL || strcmp(dns, "out") != 0);
}

/* 1 reached, 0 not yet, -1 it will never be. */
static int wait_state(const struct wait_for *wait, const char *text, char **state)
{
    json_error_t error;
    json_t *body = text != NULL ? json_loads(text, 0, &error) : NULL;
    const char *now = json_string_value(json_object_get(body, "state"));
    char *before = *state;
    *state = view_drain_step(body);
    if (wait->tells && (before == NULL || strcmp(before, *state) != 0))
        fprintf(stderr, "%s: %s\n", wait->node, *state);
    free(before);
    double done = json_number_value(json_object_get(body, wait->gc ? "gc_done" : "drain_done"));
    double newest = json_number_value(json_object_get(body, "drain_number"));
    int reached = done >= (double)wait->number && (wait->gc || (now != NULL && strcmp(now, wait->state) == 0 && steps_are_done(body)));
    if (!wait->gc && newest > (double)wait->number)
        reached = -1; /* somebody wants otherwise meanwhile */
    json_decref(body);
    return reached;
}

static int wait_until_reached(struct requester *requester, const struct options *options, const struct wait_for *wait,
                              struct reply *reply)
{
    uint64_t deadline = clock_ms() + (uint64_t)options->timeout_s * 1000;
    char *state = NULL;
    int reached = 0;
    for (;;) {
        reply_clear(reply);
        requester_ask(requester, "node show", &wait->node, 1, NULL, 0, reply);
        if (reply->status == 0)
            reached = wait_state(wait, reply->body, &state);
        bool may_change = reply->status == 0 || reply->status == EX_UNAVAILABLE || reply->status == EX_TEMPFAIL;
        if (reached != 0 || !may_change || clock_ms() >= deadline)
            break;
        nanosleep(&(struct timespec){ .tv_nsec = WAIT_TURN_MS * 1000000L }, NULL);
    }
    if (reply->status == 0 && reached <= 0) {
        reply->status = EX_TEMPFAIL;
        reply->error =
            reached < 0 ? xasprintf("%s was drained or undrained by somebody else meanwhile", wait->node)
                        : xasprintf("%s is %s after %u s; it goes on by itself", wait->node, state, options->timeout_s);
    }
    free(state);
    return print_reply(options, "node show", reply);
}

static void warn(void (*view)(const json_t *answer, FILE *out), const char *body)
{
    json_error_t error;
    json_t *answer = json_loads(body != NULL ? body : "null", JSON_DECODE_ANY, &error);
    view(answer, stderr);
    json_decref(answer);
}

/* The words from args[1] on as one, with blanks in between, which the caller frees. NULL when there are none. */
static char *joined(const char *const *args, size_t count)
{
    char *all = count > 1 ? xstrdup(args[1]) : NULL;
    for (size_t i = 2; i < count; i++) {
        char *more = xasprintf("%s %s", all, args[i]);
        free(all);
        all = more;
    }
    return all;
}

static void add_up(json_t *sum, const json_t *part, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(sum, name)) + json_integer_value(json_object_get(part, name));
    json_object_set_new(sum, name, json_integer(value));
}

/* What is done to mail of the spool is done in parts. Asks for those behind the first until none is left; the reply becomes that to all. */
static void ask_on(struct requester *requester, const char *verb, const char **args, size_t count, struct reply *reply)
{
    json_error_t error;
    json_t *sum = json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error);
    const char *next;
    while (reply->status == 0 && (next = json_string_value(json_object_get(sum, "next"))) != NULL) {
        args[count] = next;
        reply_clear(reply);
        requester_ask(requester, verb, args, count + 1, NULL, 0, reply);
        json_t *part = reply->status == 0 ? json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error) : NULL;
        if (part == NULL) {
            char *words = xasprintf("%lld changed, then: %s", (long long)json_integer_value(json_object_get(sum, "changed")),
                                    reply->error != NULL ? reply->error : error.text);
            free(reply->error);
            reply->error = words;
            reply->status = reply->status != 0 ? reply->status : EX_PROTOCOL;
            break;
        }
        add_up(sum, part, "changed");
        add_up(sum, part, "busy");
        add_up(sum, part, "stay");
        add_up(sum, part, "along");
        json_t *rest = json_object_get(part, "next");
        json_object_set(sum, "next", rest != NULL ? rest : json_null());
        json_decref(part);
    }
    if (reply->status == 0) {
        if (json_object_get(sum, "next") != NULL) /* else `more` is an older coordinator's, which does one part only */
            json_object_del(sum, "more");
        json_object_del(sum, "next");
        free(reply->body);
        reply->body = json_dumps(sum, JSON_ENCODE_ANY);
    }
    json_decref(sum);
}

/* So with held mail that is released or deleted, until nothing is left or what is cannot be done yet. Its sender stays stopped until then. */
static void release_on(struct requester *requester, const char **args, size_t count, struct reply *reply)
{
    json_error_t error;
    json_t *sum = json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error), *part = json_incref(sum);
    while (json_integer_value(json_object_get(part, "left")) > 0 &&
           json_integer_value(json_object_get(part, "released")) + json_integer_value(json_object_get(part, "deleted")) > 0) {
        json_decref(part);
        reply_clear(reply);
        requester_ask(requester, "outbound release", args, count, NULL, 0, reply);
        part = reply->status == 0 ? json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error) : NULL;
        if (part == NULL) {
            char *words = xasprintf("%lld released and %lld deleted, then: %s", (long long)json_integer_value(json_object_get(sum, "released")),
                                    (long long)json_integer_value(json_object_get(sum, "deleted")), reply->error != NULL ? reply->error : error.text);
            free(reply->error);
            reply->error = words;
            reply->status = reply->status != 0 ? reply->status : EX_PROTOCOL;
            break;
        }
        add_up(sum, part, "released");
        add_up(sum, part, "deleted");
        json_object_set(sum, "left", json_object_get(part, "left"));
    }
    if (reply->status == 0) {
        free(reply->body);
        reply->body = json_dumps(sum, JSON_ENCODE_ANY);
    }
    json_decref(part);
    json_decref(sum);
}

/* What another operator asked for is released, or forgotten, to its end by the one who approved it. */
static void approved_on(struct requester *requester, struct reply *reply)
{
    json_error_t error;
    json_t *body = json_loads(reply->body != NULL ? reply->body : "null", JSON_DECODE_ANY, &error);
    const char *subject = json_string_value(json_object_get(body, "subject"));
    const char *args[] = { subject, json_integer_value(json_object_get(body, "deleted")) > 0 ? "true" : "false" };
    if (subject != NULL)
        release_on(requester, args, 2, reply);
    else if (json_is_string(json_object_get(body, "next")))
        reputation_forget_on(requester, json_string_value(json_object_get(body, "within")), reply);
    json_decref(body);
}

/* hash: of the password that was asked for, NULL where none is needed. */
static int ask(const struct options *options, struct requester *requester, struct local_policy *policy,
               const char *hash)
{
    const char *verb = options->verb->name;
    const char *args[OPTIONS_ARGS_MAX + 1 + FILTERS + 1];
    char limit[16];
    size_t count = 0;
    while (count < options->arg_count) {
        args[count] = options->args[count];
        count++;
    }
    if (policy->count > 0)
        args[0] = options->comment != NULL ? options->comment : ""; /* the folder's name says nothing to others */
    if (options->verb->flags & OPTION_FILTERS) {
        if (count == 0)
            args[count++] = "";
        for (size_t i = 0; i < FILTERS; i++)
            args[count++] = options->filters[i] != NULL ? options->filters[i] : "";
    }
    char *senders = NULL;
    if (hash != NULL) { /* LOGIN HASH "SENDER SENDER..." */
        senders = joined(args, count);
        args[1] = hash;
        args[2] = senders;
        count = senders != NULL ? 3 : 2;
    }
    if (strcmp(verb, "account senders") == 0) {
        args[1] = senders = joined(args, count);
        count = 2;
    }
    char expires[32];
    if (options->verb->flags & OPTION_OVERRIDE) {
        uint64_t ms = 0;
        config_parse_duration(options->expires, &ms); /* which was checked */
        snprintf(expires, sizeof expires, "%llu ms", (unsigned long long)ms);
        args[count++] = options->reason;
        args[count++] = expires;
        args[count++] = options->owner != NULL ? options->owner : "";
    }
    if (strcmp(verb, "reputation show") == 0 && count == 0)
        args[count++] = "";
    if (strcmp(verb, "override list") == 0)
        args[count++] = options->all ? "true" : "false";
    bool is_new = strcmp(verb, "policy rollback") == 0; /* coordinators of before know no such argument of it */
    if ((options->verb->flags & OPTION_FORCE) && (!is_new || (options->given & OPTION_FORCE)))
        args[count++] = options->given & OPTION_FORCE ? "true" : "false";
    if (options->given & (OPTION_RETRY | OPTION_DELETE | OPTION_NOW))
        args[count++] = "true";
    if (strcmp(verb, "outbound release") == 0 && options->reason != NULL) { /* coordinators of before know no reason */
        if (count == 1)
            args[count++] = "false";
        args[count++] = options->reason;
    }
    if (options->reason != NULL && (strcmp(verb, "keys add") == 0 || strcmp(verb, "reputation forget") == 0))
        args[count++] = options->reason; /* nor here */
    if (strcmp(verb, "outbound pool") == 0) {
        args[1] = strcmp(args[1], "-") == 0 ? "" : args[1];
        args[count++] = options->reason != NULL ? options->reason : "";
    }
    if (options->given & OPTION_LIMIT) {
        snprintf(limit, sizeof limit, "%u", options->limit);
        args[count++] = limit;
    }
    char age[32];
    if ((options->verb->flags & OPTION_SINCE) && count == 0) {
        verb = "reputation forget-all";
        uint64_t ms = 0;
        if (options->since != NULL && config_parse_duration(options->since, &ms)) {
            snprintf(age, sizeof age, "%llu ms", (unsigned long long)ms);
            args[count++] = age;
        }
    }
    struct reply reply;
    requester_ask(requester, verb, args, count, policy->files, policy->count, &reply);
    free(senders);
    if (reply.status == 0 && (options->verb->flags & OPTION_FILTERS) && (options->verb->flags & OPTION_FORCE))
        ask_on(requester, verb, args, count, &reply);
    if (reply.status == 0 && strcmp(verb, "outbound release") == 0)
        release_on(requester, args, count, &reply);
    if (reply.status == 0 && strcmp(verb, "reputation forget-all") == 0)
        reputation_forget_on(requester, count > 0 ? args[0] : NULL, &reply);
    if (reply.status == 0 && strcmp(verb, "override approve") == 0)
        approved_on(requester, &reply);
    if (reply.status == 0 && strcmp(verb, "drain") == 0)
        warn(view_warn_of_pinned, reply.body);
    if (reply.status == 0 && strcmp(verb, "account add") == 0)
        warn(view_warn_of_no_senders, reply.body);
    int status;
    if (reply.status == 0 && (options->given & OPTION_WAIT)) {
        json_error_t error;
        json_t *body = json_loads(reply.body != NULL ? reply.body : "null", JSON_DECODE_ANY, &error);
        struct wait_for wait = { .node = options->args[0],
                                 .gc = strcmp(verb, "gc") == 0,
                                 .tells = strcmp(verb, "gc") != 0 && !options->json,
                                 .state = strcmp(verb, "drain") == 0 ? "drained" : "active" };
        wait.number = (long long)json_number_value(json_object_get(body, wait.gc ? "gc" : "drain_number"));
        json_decref(body);
        status = wait_until_reached(requester, options, &wait, &reply);
    } else {
        status = print_reply(options, verb, &reply);
    }
    reply_clear(&reply);
    return status;
}

/* gc of scanners that have their turn when the others can do their work. */
static int ask_turns(const struct options *options, struct requester *requester)
{
    const char *scanner = options->all ? "" : options->args[0];
    struct reply reply;
    requester_ask(requester, "gc ask", &scanner, 1, NULL, 0, &reply);
    if (reply.status == 0 && (options->given & OPTION_WAIT))
        turns_wait(requester, options->timeout_s, stderr, &reply);
    int status = print_reply(options, "gc status", &reply);
    reply_clear(&reply);
    return status;
}

static int ask_blocklists(const struct options *options, struct requester *requester)
{
    struct reply reply;
    requester_ask(requester, "blocklist check", NULL, 0, NULL, 0, &reply);
    if (reply.status == 0)
        blocklist_wait(requester, options->timeout_s, &reply);
    int status = print_reply(options, "blocklist status", &reply);
    reply_clear(&reply);
    return status;
}

static int ask_outbreak(const struct options *options, struct requester *requester)
{
    struct reply reply;
    outbreak_ask(options, requester, &reply);
    int status = print_reply(options, options->verb->name, &reply);
    reply_clear(&reply);
    return status;
}

static int ask_quarantine(const struct options *options, struct requester *requester)
{
    struct reply reply;
    if (options->raw != NULL)
        return quarantine_save(options, requester, stderr);
    quarantine_ask(options, requester, &reply);
    int status = print_reply(options, options->verb->name, &reply);
    reply_clear(&reply);
    return status;
}

int ask_remote(const struct options *options)
{
    struct cluster_access access;
    struct local_policy policy = { 0 };
    struct error why;
    if (strcmp(options->verb->name, "policy apply") == 0 && !local_policy_read(&policy, options->args[0], &why)) {
        fprintf(stderr, "weirctl: %s\n", why.text);
        return EX_DATAERR;
    }
    if (!access_load(&access, options, &why)) {
        fprintf(stderr, "weirctl: %s\n", why.text);
        local_policy_clear(&policy);
        return EX_CONFIG;
    }
    char *hash = NULL;
    const char *act = strchr(options->verb->name, ' ');
    bool needs_password = (strncmp(options->verb->name, "account ", 8) == 0 || strncmp(options->verb->name, "operator ", 9) == 0) &&
                          (strcmp(act, " add") == 0 || strcmp(act, " passwd") == 0);
    if (needs_password && !password_read_hash(&hash, &why)) {
        fprintf(stderr, "weirctl: %s\n", why.text);
        access_clear(&access);
        return EX_DATAERR;
    }
    struct requester *requester = requester_new(&access.pair, access.coordinators, access.count);
    bool in_turn = (options->all || options->rolling) && (options->verb->flags & OPTION_TURNS), blocklists = strcmp(options->verb->name, "blocklist check") == 0;
    bool quarantine = strncmp(options->verb->name, "quarantine ", 11) == 0;
    int status = in_turn ? ask_turns(options, requester) : quarantine ? ask_quarantine(options, requester) : outbreak_is_verb(options->verb->name) ? ask_outbreak(options, requester) : blocklists ? ask_blocklists(options, requester) : ask(options, requester, &policy, hash);
    requester_free(&requester);
    free(hash);
    access_clear(&access);
    local_policy_clear(&policy);
    return status;
}

int fail(int status, const char *words)
{
    fprintf(stderr, "weirctl: %s\n", words);
    return status;
}

int fetch(const struct options *options, const char *verb, const char *const *args, size_t arg_count, struct reply *reply)
{
    struct cluster_access access;
    struct error why;
    if (!access_load(&access, options, &why))
        return fail(EX_CONFIG, why.text);
    struct requester *requester = requester_new(&access.pair, access.coordinators, access.count);
    requester_ask(requester, verb, args, arg_count, NULL, 0, reply);
    int status = reply->status != 0 ? print_reply(options, verb, reply) : EXIT_SUCCESS;
    if (status != EXIT_SUCCESS)
        reply_clear(reply);
    requester_free(&requester);
    access_clear(&access);
    return status;
}


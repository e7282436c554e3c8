/*
 * main.c - weirctl: what operators type
 *
 * Exit status (sysexits.h): 0 done; 1 a case of policy test is answered otherwise, or relay test found an open relay; 2 relay test could not tell; 64 the command line is wrong; 65 it names what does not exist; 69 no coordinator
 * serves; 70 a bug; 75 --wait or blocklist check ended before what was waited for came, or an update of the DNS failed; 77 it needs --force; 78 the configuration is
 * wrong.
 */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/settings.h"
#include "coordinator/ctl/asking.h"
#include "coordinator/ctl/cases.h"
#include "coordinator/ctl/dns.h"
#include "coordinator/ctl/explain.h"
#include "coordinator/ctl/hosts.h"
#include "coordinator/ctl/learn.h"
#include "coordinator/ctl/limits.h"
#include "coordinator/ctl/local.h"
#include "coordinator/ctl/options.h"
#include "coordinator/ctl/relay_test.h"
#include "coordinator/ctl/report.h"
#include "coordinator/ctl/reputation.h"
#include "coordinator/ctl/score.h"

static void print_help(FILE *out)
{
    fputs("usage: weirctl -c FILE [--key KEYFILE] [--json] [--set KEY=VALUE]... VERB...\n"
          "  -c FILE           configuration: where the coordinators are, and whose key asks ([cluster] key_file)\n"
          "  --key KEYFILE     another key\n"
          "  --json            answers for programs\n"
          "  FILTER            --from ADDRESS, --to ADDRESS, --state STATE, --older AGE, --destination NAME; * stands for anything\n"
          "                    delete and bounce do it to the recipients that --to means; hold, release and retry to all that have the destination of\n"
          "                    such a one in the same message, and say how many others go along\n"
          "\n",
          out);
    for (const struct verb *verb = options_verbs; verb->name != NULL; verb++) {
        char *words = options_usage(verb);
        fprintf(out, "  %-50s %s\n", words, verb->help);
        free(words);
    }
}

/* --- explaining --- */

/* The policy of an epoch, or (NULL) the one in force. */
static int fetch_policy(const struct options *options, const char *epoch, struct explained_policy *out)
{
    struct error why;
    struct reply reply;
    int status = fetch(options, "policy show", &epoch, epoch != NULL, &reply);
    if (status != EXIT_SUCCESS)
        return status;
    if (!explained_policy_take(out, reply.body, &why))
        status = fail(EX_PROTOCOL, why.text);
    reply_clear(&reply);
    return status;
}

/* Whose senders are whose; where no coordinator is named, nobody knows. */
static int fetch_accounts(const struct options *options, struct explained_policy *out)
{
    json_error_t error;
    struct reply reply;
    int status = options->config_path != NULL ? fetch(options, "account list", NULL, 0, &reply) : EXIT_SUCCESS;
    if (status != EXIT_SUCCESS || options->config_path == NULL)
        return status;
    out->accounts = json_loads(reply.body != NULL ? reply.body : "[]", 0, &error);
    reply_clear(&reply);
    return out->accounts != NULL ? EXIT_SUCCESS : fail(EX_PROTOCOL, error.text);
}

static int read_policy(const char *dir, struct explained_policy *out)
{
    struct local_policy local;
    struct error why;
    if (!local_policy_read(&local, dir, &why))
        return fail(EX_DATAERR, why.text);
    bool fine = explained_policy_parse(out, local.files, local.count, &why);
    local_policy_clear(&local);
    return fine ? EXIT_SUCCESS : fail(EX_DATAERR, why.text);
}

/* [edge] mx_delivery and [cluster] contact of this configuration, or the defaults, and the listener asked for. */
static bool read_edge(const struct options *options, struct explained_policy *policy, struct listener_settings *listener, struct error *why)
{
    struct config *config = config_load(options->config_path, settings_tables, options->overrides, options->override_count, why);
    struct edge_settings edge = { 0 };
    struct cluster_settings cluster = { 0 };
    const char *name;
    bool fine = config != NULL && config_fill(config, "edge", NULL, &edge, why) && config_fill(config, "cluster", NULL, &cluster, why), known = false;
    policy->mx_delivery = edge.mx_delivery;
    policy->contact = cluster.contact != NULL ? xstrdup(cluster.contact) : NULL;
    for (size_t i = 0; fine && (name = config_instance(config, "listener", i)) != NULL; i++)
        known = known || (options->listener != NULL && strcmp(name, options->listener) == 0);
    if (fine && options->listener != NULL) {
        fine = known && config_fill(config, "listener", options->listener, listener, why);
        if (!known)
            error_set(why, "%s: there is no section [listener \"%s\"]", options->config_path, options->listener);
        policy->listener = listener;
    }
    config_clear(settings_table("edge"), &edge);
    config_clear(settings_table("cluster"), &cluster);
    config_free(&config);
    return fine;
}

static bool is_epoch(const char *word)
{
    size_t digits = strspn(word, "0123456789");
    return digits > 0 && digits <= 18 && word[digits] == '\0';
}

/* word: an epoch, a folder, or NULL for what is in force. */
static int get_policy(const struct options *options, const char *word, struct explained_policy *out)
{
    return word == NULL || is_epoch(word) ? fetch_policy(options, word, out) : read_policy(word, out);
}

static int run_diff(const struct options *options)
{
    struct explained_policy before = { 0 }, after = { 0 };
    const char *first = options->args[0], *second = options->arg_count > 1 ? options->args[1] : NULL;
    if (second == NULL && !is_epoch(first)) { /* a folder: what applying it would do */
        second = first;
        first = NULL;
    }
    int status = get_policy(options, second, &after);
    if (status == EXIT_SUCCESS)
        status = get_policy(options, first, &before);
    if (status == EXIT_SUCCESS) {
        json_t *body = explain_difference(&before, &after);
        if (options->json)
            json_dumpf(body, stdout, 0), puts("");
        else
            explain_print(options->verb->name, body, stdout);
        json_decref(body);
    }
    explained_policy_clear(&before);
    explained_policy_clear(&after);
    return status;
}

static void print_explained(const struct options *options, const json_t *body, void (*print)(const char *verb, const json_t *body, FILE *out))
{
    if (options->json) {
        json_dumpf(body, stdout, JSON_PRESERVE_ORDER);
        puts("");
    } else {
        print(options->verb->name, body, stdout);
    }
}

static int run_limits(const struct options *options)
{
    struct explained_policy policy = { 0 };
    struct limit_subjects subjects;
    struct reply reply;
    struct error why;
    const char *names[LIMIT_BYS];
    bool resets = strcmp(options->verb->name, "limit reset") == 0;
    int status = fetch_policy(options, NULL, &policy);
    if (status == EXIT_SUCCESS && !limit_subjects_parse(&subjects, policy.parsed, options->args[0], (int64_t)time(NULL), &why))
        status = fail(EX_DATAERR, why.text);
    if (status == EXIT_SUCCESS)
        status = fetch(options, resets ? "limit reset" : "limit show", names, limit_subjects_list(&subjects, names), &reply);
    if (status == EXIT_SUCCESS && resets) {
        status = print_reply(options, "limit reset", &reply);
        reply_clear(&reply);
    } else if (status == EXIT_SUCCESS) {
        json_t *body = explain_limits(&policy, &subjects, reply.body, &why);
        reply_clear(&reply);
        if (body == NULL)
            status = fail(EX_PROTOCOL, why.text);
        else
            print_explained(options, body, explain_limits_print);
        json_decref(body);
    }
    explained_policy_clear(&policy);
    return status;
}

static int run_reputation_explain(const struct options *options)
{
    struct explained_policy policy = { 0 };
    struct reply reply;
    struct error why;
    char host[HOST_KEY_MAX];
    int status = fetch_policy(options, NULL, &policy);
    const char *key = status == EXIT_SUCCESS ? explained_key(&policy, options->args[0], host) : NULL;
    if (status == EXIT_SUCCESS && (status = fetch(options, "reputation explain", &key, 1, &reply)) == EXIT_SUCCESS) {
        json_t *body = explain_reputation(&policy, reply.body, &why);
        if (body == NULL)
            status = fail(EX_PROTOCOL, why.text);
        else
            print_explained(options, body, explain_reputation_print);
        json_decref(body);
        reply_clear(&reply);
    }
    explained_policy_clear(&policy);
    return status;
}

static int explain(const struct options *options, const struct explained_policy *policy, int64_t now)
{
    const char *verb = options->verb->name;
    struct error why;
    json_t *body;
    if (strcmp(verb, "relay explain") == 0)
        body = explain_relay(policy, &(struct explained_client){ options->args[0], options->login, options->given & OPTION_AUTH, options->sender },
                             options->args[1], now, &why);
    else if (strcmp(verb, "route explain") == 0)
        body = explain_route(policy, options->args[0], &why);
    else
        body = explain_exceptions(policy, now);
    if (body == NULL)
        return fail(EX_DATAERR, why.text);
    print_explained(options, body, explain_print);
    json_decref(body);
    return EXIT_SUCCESS;
}

static void print_cases(const char *verb, const json_t *body, FILE *out)
{
    (void)verb;
    cases_print(body, out);
}

/* 1: some are not answered as the file says. */
static int test_cases(const struct options *options, const struct explained_policy *policy, int64_t now)
{
    struct text text;
    struct error why;
    text_init(&text);
    if (!local_file_read(options->args[0], &text, &why)) {
        text_fini(&text);
        return fail(EX_NOINPUT, why.text);
    }
    json_t *body = cases_run(policy, options->args[0], text.data, text.len, now, &why);
    int status = body == NULL ? fail(EX_DATAERR, why.text) : json_array_size(json_object_get(body, "failed")) > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (body != NULL)
        print_explained(options, body, print_cases);
    json_decref(body);
    text_fini(&text);
    return status;
}

static int run_explain(const struct options *options)
{
    struct explained_policy policy;
    struct listener_settings listener = { 0 };
    struct error why;
    int64_t now = (int64_t)(clock_wall_ms() / 1000);
    bool tests = strcmp(options->verb->name, "policy test") == 0;
    int status = options->policy != NULL ? read_policy(options->policy, &policy) : fetch_policy(options, NULL, &policy);
    if (status != EXIT_SUCCESS)
        return status;
    if (!read_edge(options, &policy, &listener, &why))
        status = fail(EX_CONFIG, why.text);
    if (status == EXIT_SUCCESS && (tests || options->login != NULL))
        status = fetch_accounts(options, &policy);
    if (status == EXIT_SUCCESS)
        status = tests ? test_cases(options, &policy, now) : explain(options, &policy, now);
    config_clear(settings_table("listener"), &listener);
    explained_policy_clear(&policy);
    return status;
}

/* The coordinators know what happened, the policy who these clients are. */
static int run_report(const struct options *options)
{
    struct cluster_access access;
    struct explained_policy policy;
    struct error why;
    struct reply reply;
    json_error_t error;
    int status = fetch_policy(options, NULL, &policy);
    if (status != EXIT_SUCCESS)
        return status;
    if (!access_load(&access, options, &why)) {
        explained_policy_clear(&policy);
        return fail(EX_CONFIG, why.text);
    }
    struct requester *requester = requester_new(&access.pair, access.coordinators, access.count);
    const char *hours = options->arg_count > 0 ? options->args[0] : NULL;
    requester_ask(requester, "report", &hours, options->arg_count, NULL, 0, &reply);
    json_t *body = reply.status == 0 ? json_loads(reply.body != NULL ? reply.body : "null", JSON_DECODE_ANY, &error) : NULL;
    if (body == NULL) {
        status = print_reply(options, "report", &reply);
    } else {
        report_explain(body, &policy, (int64_t)(clock_wall_ms() / 1000));
        if (options->json)
            json_dumpf(body, stdout, JSON_PRESERVE_ORDER), puts("");
        else
            report_print(body, stdout);
    }
    json_decref(body);
    reply_clear(&reply);
    requester_free(&requester);
    access_clear(&access);
    explained_policy_clear(&policy);
    return status;
}

static int export_hosts(const struct options *options, const struct explained_policy *policy)
{
    json_t *body = hosts_export(policy);
    if (options->json)
        json_dumpf(body, stdout, 0), puts("");
    else
        hosts_print_export(body, options->nftables, stdout);
    json_decref(body);
    return EXIT_SUCCESS;
}

/* The coordinators know which were seen, the policy which are registered. */
static int list_hosts(const struct options *options, const struct explained_policy *policy)
{
    bool lists = strcmp(options->verb->name, "hosts list") == 0;
    struct reply reply;
    json_error_t error;
    int status = fetch(options, options->verb->name, options->args, options->arg_count, &reply);
    if (status != EXIT_SUCCESS)
        return status;
    json_t *body = json_loads(reply.body != NULL ? reply.body : "null", JSON_DECODE_ANY, &error);
    reply_clear(&reply);
    if (body == NULL)
        return fail(EX_PROTOCOL, error.text);
    if (lists) {
        json_t *listed = hosts_list(body, policy, options->given & OPTION_UNREGISTERED, options->limit);
        json_decref(body);
        body = listed;
    } else {
        hosts_explain(body, policy);
    }
    print_explained(options, body, hosts_print);
    json_decref(body);
    return EXIT_SUCCESS;
}

static int run_hosts(const struct options *options)
{
    struct explained_policy policy = { 0 };
    int status = options->policy != NULL ? read_policy(options->policy, &policy) : fetch_policy(options, NULL, &policy);
    if (status == EXIT_SUCCESS)
        status = strcmp(options->verb->name, "hosts export") == 0 ? export_hosts(options, &policy) : list_hosts(options, &policy);
    explained_policy_clear(&policy);
    return status;
}

/* Without a configuration nothing is known of the cluster: then only what the server says. */
static int run_relay_test(const struct options *options)
{
    struct explained_policy policy = { 0 };
    struct relay_test *test = relay_test_new(options);
    struct error why;
    struct reply reply;
    int status = options->config_path != NULL ? fetch_policy(options, NULL, &policy) : EXIT_SUCCESS;
    if (status == EXIT_SUCCESS && options->arg_count > 0) {
        status = relay_test_add_host(test, options->args[0], &why) ? EXIT_SUCCESS : fail(EX_DATAERR, why.text);
    } else if (status == EXIT_SUCCESS && (status = fetch(options, "relay listeners", NULL, 0, &reply)) == EXIT_SUCCESS) {
        status = relay_test_add_listeners(test, reply.body, &why) ? EXIT_SUCCESS : fail(EX_DATAERR, why.text);
        reply_clear(&reply);
    }
    if (status == EXIT_SUCCESS) {
        json_t *body = relay_test_run(test, policy.parsed);
        print_explained(options, body, relay_test_print);
        status = relay_test_status(body);
        json_decref(body);
    }
    relay_test_free(&test);
    explained_policy_clear(&policy);
    return status;
}

/* ---- the DNS ---- */

/* The answer to a verb about the DNS; NULL: *status, and it was said why. */
static json_t *fetch_dns(const struct options *options, const char *verb, int *status)
{
    struct reply reply;
    json_error_t error;
    *status = fetch(options, verb, NULL, 0, &reply);
    if (*status != EXIT_SUCCESS)
        return NULL;
    json_t *body = json_loads(reply.body != NULL ? reply.body : "", 0, &error);
    if (body == NULL)
        *status = fail(EX_PROTOCOL, error.text);
    reply_clear(&reply);
    return body;
}

static bool is_pushed(const json_t *body, json_int_t asked)
{
    return json_integer_value(json_object_get(body, "done")) >= asked;
}

/* Has it pushed, and waits for what the name server says. */
static json_t *push_dns(const struct options *options, int *status)
{
    uint64_t deadline = clock_ms() + (uint64_t)options->timeout_s * 1000;
    json_t *body = fetch_dns(options, "dns push", status);
    json_int_t asked = json_integer_value(json_object_get(body, "asked"));
    while (body != NULL && !is_pushed(body, asked) && clock_ms() < deadline) {
        nanosleep(&(struct timespec){ .tv_nsec = WAIT_TURN_MS * 1000000L }, NULL);
        json_decref(body);
        body = fetch_dns(options, "dns", status);
    }
    const char *failed = json_string_value(json_object_get(body, "failed_at"));
    const char *server = json_string_value(json_object_get(body, "server"));
    if (body != NULL && (server == NULL || *server == '\0'))
        *status = fail(EX_CONFIG, "nothing is pushed: the leading coordinator's configuration has no dns_server in [dns] any more");
    else if (body != NULL && !is_pushed(body, asked))
        *status = fail(EX_TEMPFAIL, "no coordinator leads yet, or its push is still under way; it goes on by itself");
    else if (failed != NULL)
        *status = fail(EX_TEMPFAIL, json_string_value(json_object_get(body, "error")));
    return body;
}

static int run_dns(const struct options *options)
{
    int status;
    struct error why;
    bool dry = options->given & OPTION_DRY_RUN, push = strcmp(options->verb->name, "dns push") == 0 && !dry;
    json_t *body = push ? push_dns(options, &status) : fetch_dns(options, "dns", &status);
    if (body != NULL && status == EXIT_SUCCESS && options->json && !dry)
        json_dumpf(body, stdout, JSON_PRESERVE_ORDER), puts("");
    else if (body != NULL && status == EXIT_SUCCESS && !(dry ? dns_print_script(body, stdout, &why) : dns_print(body, stdout, &why)))
        status = fail(dry ? EX_CONFIG : EX_UNAVAILABLE, why.text);
    json_decref(body);
    return status;
}

static int run(const struct options *options)
{
    const char *verb = options->verb->name;
    if (strcmp(verb, "keys generate") == 0)
        return local_keys_generate(options->args[0], options->json);
    if (strcmp(verb, "policy check") == 0)
        return local_policy_check(options->args[0]);
    if (strcmp(verb, "config check") == 0)
        return local_config_check(options);
    if (strcmp(verb, "config show") == 0)
        return local_config_show(options);
    if (strcmp(verb, "score") == 0)
        return options->given & OPTION_LOCAL ? score_file(options) : learn_score(options);
    if (strncmp(verb, "learn ", 6) == 0)
        return learn_run(options);
    if (strcmp(verb, "policy diff") == 0)
        return run_diff(options);
    if (strcmp(verb, "limit explain") == 0 || strcmp(verb, "limit reset") == 0)
        return run_limits(options);
    if (strcmp(verb, "reputation explain") == 0)
        return run_reputation_explain(options);
    if (strcmp(verb, "report") == 0)
        return run_report(options);
    if (strncmp(verb, "hosts ", 6) == 0)
        return run_hosts(options);
    if (strcmp(verb, "dns") == 0 || strcmp(verb, "dns push") == 0)
        return run_dns(options);
    if (strcmp(verb, "relay test") == 0)
        return run_relay_test(options);
    if (options->verb->flags & OPTION_POLICY)
        return run_explain(options);
    return ask_remote(options);
}

int main(int argc, char **argv)
{
    struct options options;
    struct error why;
    signal(SIGPIPE, SIG_IGN);
    log_open(&(struct log_options){
        .ident = "weirctl", .node = "weirctl", .level = LOG_CRIT }); /* what is to be said is printed */
    if (!options_parse(&options, argc, argv, &why)) {
        fprintf(stderr, "weirctl: %s\n", why.text);
        options_clear(&options);
        return EX_USAGE;
    }
    int status = EXIT_SUCCESS;
    if (options.version)
        puts("weirctl " WEIR_VERSION);
    else if (options.help)
        print_help(stdout);
    else
        status = run(&options);
    options_clear(&options);
    return status;
}

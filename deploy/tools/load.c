/*
 * load.c - weir-load: the command line, the schedule, the report
 *
 * Closed loop: each session sends its next message when the last one was answered. Open loop (--rate): messages are due
 * at fixed times; one that finds no free session waits, and that is reported, so that a slow server does not slow the
 * load down unseen. SIGTERM or SIGINT ends the run as the end of --seconds does: what is under way is finished. A
 * second one gives that up.
 */
#include "deploy/tools/load.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "common/clock.h"
#include "common/memory.h"
#include "deploy/tools/tool.h"

static const char usage[] =
    "usage: weir-load --to HOST:PORT[,HOST:PORT...] (--messages M | --seconds S) [options]\n"
    "  --sessions N          at once (1)\n"
    "  --rate R              messages a second, whatever the answers (open loop)\n"
    "  --size BYTES          each message (4096)\n"
    "  --mix                 4 KiB to 5 MiB, as a university sees them\n"
    "  --mail DIR            the files of DIR in turn; each once unless --messages or --seconds is given\n"
    "  --unique              an X-Weir-Load header with the token on top of these, too\n"
    "  --per-session K       messages on one connection (100; 0: no limit)\n"
    "  --recipients R[-S]    in each message (1); R-S: any number between\n"
    "  --from A, --rcpt A    the envelope; further recipients are user+1@domain, user+2@domain ...\n"
    "  --own-recipients      no two messages have one in common: user+TOKEN.0@domain ...\n"
    "  --bdat                BDAT instead of DATA, where offered\n"
    "  --tls                 STARTTLS, any certificate\n"
    "  --pipeline on|off     where offered (on)\n"
    "  --greet-only          connect, EHLO, QUIT instead of messages\n"
    "  --retry               a 4xx, a refused or a lost connection: the same message again at the next target\n"
    "  --retry-for SECONDS   for that long (60)\n"
    "  --timeout SECONDS     without a byte from the server (300)\n"
    "  --bind-source A[-B]   source addresses, one after the other; they differ in the last number\n"
    "  --ids FILE            a line for each message: token, final code (0: none), tries, microseconds, queue id\n"
    "  --digests             and at its end SHA-256 of what was sent and who was accepted: A,A... (an empty word is then -)\n"
    "  --json                the report for programs\n";

#define TARGETS_MAX 64
#define TICK_US     2000 /* of the open loop's schedule */

static struct load load; /* static, so that what libevent still holds at the end can be reached */

static uint64_t issued_max(void)
{
    return load.options.messages > 0 ? load.options.messages : UINT64_MAX;
}

bool load_take(struct load *l, uint64_t *due_us)
{
    uint64_t now = clock_us();
    if (l->ending || l->issued >= issued_max()) {
        load_stats_transactions_last(&l->stats, now);
        return false;
    }
    *due_us = now;
    if (l->options.rate > 0) {
        *due_us = l->started_us + (uint64_t)((double)l->issued / l->options.rate * 1e6);
        if (*due_us > now)
            return false;
    }
    l->issued++;
    return true;
}

void load_done(struct load *l)
{
    l->finished = l->busy == 0 && (l->ending || l->issued >= issued_max());
    if (l->finished)
        event_base_loopbreak(l->base);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    load_sessions_wake(arg);
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    static unsigned signals;
    struct load *l = arg;
    if ((what & EV_SIGNAL) != 0 && ++signals > 1)
        load_sessions_give_up(l);
    l->ending = true;
    load_stats_transactions_last(&l->stats, clock_us());
    load_done(l);
}

enum {
    OPT_TO = 256,
    OPT_SESSIONS,
    OPT_MESSAGES,
    OPT_SECONDS,
    OPT_RATE,
    OPT_SIZE,
    OPT_MIX,
    OPT_MAIL,
    OPT_UNIQUE,
    OPT_PER_SESSION,
    OPT_RECIPIENTS,
    OPT_OWN_RECIPIENTS,
    OPT_FROM,
    OPT_RCPT,
    OPT_BDAT,
    OPT_TLS,
    OPT_PIPELINE,
    OPT_GREET_ONLY,
    OPT_RETRY,
    OPT_RETRY_FOR,
    OPT_TIMEOUT,
    OPT_SOURCE,
    OPT_IDS,
    OPT_DIGESTS,
    OPT_JSON,
    OPT_HELP
};

static const struct option long_options[] = {
    { "to", required_argument, NULL, OPT_TO },
    { "sessions", required_argument, NULL, OPT_SESSIONS },
    { "messages", required_argument, NULL, OPT_MESSAGES },
    { "seconds", required_argument, NULL, OPT_SECONDS },
    { "rate", required_argument, NULL, OPT_RATE },
    { "size", required_argument, NULL, OPT_SIZE },
    { "mix", no_argument, NULL, OPT_MIX },
    { "mail", required_argument, NULL, OPT_MAIL },
    { "unique", no_argument, NULL, OPT_UNIQUE },
    { "per-session", required_argument, NULL, OPT_PER_SESSION },
    { "recipients", required_argument, NULL, OPT_RECIPIENTS },
    { "own-recipients", no_argument, NULL, OPT_OWN_RECIPIENTS },
    { "from", required_argument, NULL, OPT_FROM },
    { "rcpt", required_argument, NULL, OPT_RCPT },
    { "bdat", no_argument, NULL, OPT_BDAT },
    { "tls", no_argument, NULL, OPT_TLS },
    { "pipeline", required_argument, NULL, OPT_PIPELINE },
    { "greet-only", no_argument, NULL, OPT_GREET_ONLY },
    { "retry", no_argument, NULL, OPT_RETRY },
    { "retry-for", required_argument, NULL, OPT_RETRY_FOR },
    { "timeout", required_argument, NULL, OPT_TIMEOUT },
    { "bind-source", required_argument, NULL, OPT_SOURCE },
    { "ids", required_argument, NULL, OPT_IDS },
    { "digests", no_argument, NULL, OPT_DIGESTS },
    { "json", no_argument, NULL, OPT_JSON },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

static void parse_targets(struct load_options *options, const char *list)
{
    char *copy = xstrdup(list), *rest = copy;
    for (char *one; (one = strsep(&rest, ",")) != NULL;) {
        if (options->target_count == TARGETS_MAX)
            tool_fail(TOOL_USAGE, "--to: at most %d", TARGETS_MAX);
        options->targets = xrealloc(options->targets, (options->target_count + 1) * sizeof *options->targets);
        options->targets[options->target_count++] = tool_endpoint(one);
    }
    free(copy);
}

static void parse_source(struct load_options *options, const char *text)
{
    char *copy = xstrdup(text), *last = strchr(copy, '-');
    if (last != NULL)
        *last++ = '\0';
    bool ok = netaddr_parse(&options->source_first, copy) &&
              netaddr_parse(&options->source_last, last != NULL ? last : copy) &&
              options->source_first.family == AF_INET && options->source_last.family == AF_INET &&
              memcmp(options->source_first.bytes, options->source_last.bytes, 3) == 0 &&
              options->source_first.bytes[3] <= options->source_last.bytes[3];
    if (!ok)
        tool_fail(TOOL_USAGE, "--bind-source: not 127.0.0.2 or 127.0.0.2-127.0.0.9: %s", text);
    free(copy);
}

static void parse_recipients(struct load_options *options, const char *text)
{
    char *copy = xstrdup(text), *most = strchr(copy, '-');
    if (most != NULL)
        *most++ = '\0';
    options->recipients_min = tool_number("--recipients", copy, 1, 100000);
    options->recipients_max =
        most != NULL ? tool_number("--recipients", most, options->recipients_min, 100000) : options->recipients_min;
    free(copy);
}

static bool parse_switch(const char *option, const char *text)
{
    if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
        tool_fail(TOOL_USAGE, "%s: on or off, not %s", option, text);
    return strcmp(text, "on") == 0;
}

static void use_tls(struct load_options *options)
{
    struct error why;
    options->tls = net_tls_client(NULL, false, &why);
    if (options->tls == NULL)
        tool_fail(1, "%s", why.text);
}

struct generated {
    uint64_t size;
    bool mix;
    const char *folder;
};

static void parse_option(struct load_options *options, struct generated *generated, int option)
{
    const uint64_t many = 1000000000;
    switch (option) {
    case OPT_TO:
        parse_targets(options, optarg);
        break;
    case OPT_SESSIONS:
        options->sessions = tool_number("--sessions", optarg, 1, 60000);
        break;
    case OPT_MESSAGES:
        options->messages = tool_number("--messages", optarg, 1, many);
        break;
    case OPT_SECONDS:
        options->milliseconds = 1000 * tool_number("--seconds", optarg, 1, 1000000);
        break;
    case OPT_RATE:
        options->rate = (double)tool_number("--rate", optarg, 1, 1000000);
        break;
    case OPT_SIZE:
        generated->size = tool_number("--size", optarg, 1, many);
        break;
    case OPT_MIX:
        generated->mix = true;
        break;
    case OPT_MAIL:
        generated->folder = optarg;
        break;
    case OPT_UNIQUE:
        options->unique = true;
        break;
    case OPT_PER_SESSION:
        options->per_session = tool_number("--per-session", optarg, 0, many);
        break;
    case OPT_RECIPIENTS:
        parse_recipients(options, optarg);
        break;
    case OPT_OWN_RECIPIENTS:
        options->own_recipients = true;
        break;
    case OPT_FROM:
        options->from = optarg;
        break;
    case OPT_RCPT:
        options->to = optarg;
        break;
    case OPT_BDAT:
        options->bdat = true;
        break;
    case OPT_TLS:
        use_tls(options);
        break;
    case OPT_PIPELINE:
        options->pipeline = parse_switch("--pipeline", optarg);
        break;
    case OPT_GREET_ONLY:
        options->greet_only = true;
        break;
    case OPT_RETRY:
        options->retry = true;
        break;
    case OPT_RETRY_FOR:
        options->retry_ms = 1000 * tool_number("--retry-for", optarg, 1, 1000000);
        break;
    case OPT_TIMEOUT:
        options->timeout_ms = 1000 * tool_number("--timeout", optarg, 1, 100000);
        break;
    case OPT_SOURCE:
        parse_source(options, optarg);
        break;
    case OPT_IDS:
        options->ids = fopen(optarg, "we");
        if (options->ids == NULL)
            tool_fail(1, "%s: %s", optarg, strerror(errno));
        break;
    case OPT_DIGESTS:
        options->digests = true;
        break;
    case OPT_JSON:
        options->json = true;
        break;
    case OPT_HELP:
        fputs(usage, stdout);
        exit(EXIT_SUCCESS);
    default:
        fputs(usage, stderr);
        exit(TOOL_USAGE);
    }
}

static void parse_options(int argc, char **argv)
{
    struct load_options *options = &load.options;
    struct generated generated = { .size = 4096 };
    *options = (struct load_options){ .sessions = 1,
                                      .per_session = 100,
                                      .recipients_min = 1,
                                      .recipients_max = 1,
                                      .from = "sender@example.org",
                                      .to = "alice@example.edu",
                                      .pipeline = true,
                                      .retry_ms = 60000,
                                      .timeout_ms = 300000 };
    for (int option; (option = getopt_long(argc, argv, "+", long_options, NULL)) != -1;)
        parse_option(options, &generated, option);
    load_source_init(&load.source, generated.size, generated.mix);
    if (generated.folder != NULL) {
        long count = load_source_add_folder(&load.source, generated.folder);
        if (count <= 0)
            tool_fail(1, "%s: %s", generated.folder, count < 0 ? strerror(errno) : "no files");
        if (options->messages == 0 && options->milliseconds == 0)
            options->messages = (uint64_t)count;
    }
    if (optind < argc || options->target_count == 0 || (options->messages == 0 && options->milliseconds == 0)) {
        fputs(usage, stderr);
        exit(TOOL_USAGE);
    }
}

static double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* Messages that were due and found no session until the end. */
static uint64_t count_unsent(double seconds)
{
    double run = load.options.milliseconds > 0 && (double)load.options.milliseconds / 1000 < seconds
                     ? (double)load.options.milliseconds / 1000
                     : seconds;
    uint64_t due = (uint64_t)(load.options.rate * run);
    if (due > issued_max())
        due = issued_max();
    return due > load.issued ? due - load.issued : 0;
}

static void finish(void)
{
    double seconds = (double)(clock_us() - load.started_us) / 1e6;
    load_report(&load.stats, seconds, cpu_seconds(), count_unsent(seconds), load.options.json);
    fflush(stdout);
    if (load.options.ids != NULL && fclose(load.options.ids) != 0)
        tool_fail(1, "--ids: %s", strerror(errno));
    load_sessions_quit(&load);
    event_base_loopexit(load.base, &(struct timeval){ 0, 50000 }); /* for the QUITs to leave */
    event_base_dispatch(load.base);
}

int main(int argc, char **argv)
{
    tool_name = "weir-load";
    tool_prepare();
    parse_options(argc, argv);
    load.base = event_base_new();
    if (load.base == NULL)
        tool_fail(1, "no event loop");
    struct event *terminate = evsignal_new(load.base, SIGTERM, on_end, &load);
    struct event *interrupt = evsignal_new(load.base, SIGINT, on_end, &load);
    struct event *end = evtimer_new(load.base, on_end, &load);
    struct event *tick = event_new(load.base, -1, EV_PERSIST, on_tick, &load);
    evsignal_add(terminate, NULL);
    evsignal_add(interrupt, NULL);
    uint64_t ms = load.options.milliseconds;
    if (ms > 0)
        event_add(end, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
    if (load.options.rate > 0)
        event_add(tick, &(struct timeval){ 0, TICK_US });

    load_sessions_init(&load);
    load.started_us = clock_us();
    load_stats_init(&load.stats, load.options.sessions, load.started_us);
    load_sessions_wake(&load);
    if (!load.finished) /* it is when no connection could be made: a break before the loop would not count */
        event_base_dispatch(load.base);
    finish();

    load_sessions_fini(&load);
    load_stats_fini(&load.stats);
    load_source_fini(&load.source);
    net_tls_unref(&load.options.tls);
    free(load.options.targets);
    event_free(terminate);
    event_free(interrupt);
    event_free(end);
    event_free(tick);
    return EXIT_SUCCESS;
}

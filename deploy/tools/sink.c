/*
 * sink.c - weir-sink: the next hop that takes everything
 *
 * The command line and the process. SIGTERM and SIGINT end it, SIGUSR1 writes the counts to stderr.
 */
#include "deploy/tools/sink.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "deploy/tools/tool.h"

static const char usage[] =
    "usage: weir-sink --listen HOST:PORT [--listen ...] [--dir D] [options]\n"
    "  --dir D               keep each message as D/NAME.eml (bytes as received) and D/NAME.json (envelope);\n"
    "                        without it messages are counted and forgotten\n"
    "  --tls CERT KEY        offer STARTTLS\n"
    "  --delay MS            before every final answer\n"
    "  --greeting-delay MS   before the banner\n"
    "  --close-idle MS       close a connection that is idle that long\n"
    "  --no-pipelining --no-8bitmime --no-smtputf8 --no-chunking   do not offer it\n"
    "  --helo-only           refuse EHLO\n"
    "  --moods               the start of a recipient's local part asks for misbehaviour. At RCPT: unknown- 550,\n"
    "                        full- 452, four21- 421 and close. After the message: late- 550, latedefer- 451,\n"
    "                        drop- close without an answer, slow- answer after 2 s\n";

#define LISTENERS_MAX 16
#define OPEN_MAX      60000 /* sessions; more are closed at once */

static void on_accepted(void *arg, int fd, const struct netaddr *peer, const struct netaddr *local)
{
    (void)local;
    struct sink *sink = arg;
    if (sink->counts.sessions_open >= OPEN_MAX)
        close(fd);
    else
        sink_session_start(sink, fd, peer);
}

/* Not net_bind(): its SO_REUSEPORT would let a second sink take half of the mail without anybody noticing. */
static int bind_alone(const char *text)
{
    struct netaddr address = tool_endpoint(text);
    struct sockaddr_storage sockaddr;
    socklen_t len = netaddr_to_sockaddr(&address, &sockaddr);
    int fd = socket(sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) != 0 ||
        bind(fd, (struct sockaddr *)&sockaddr, len) != 0 || listen(fd, 4096) != 0)
        tool_fail(1, "%s: %s", text, strerror(errno));
    return fd;
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    struct sink *sink = arg;
    const struct sink_counts *c = &sink->counts;
    if (number != SIGUSR1) {
        event_base_loopbreak(sink->base);
        return;
    }
    fprintf(stderr,
            "weir-sink: sessions=%llu open=%llu messages=%llu recipients=%llu bytes=%llu "
            "refused_recipients=%llu refused_messages=%llu dropped=%llu violations=%llu store_errors=%llu\n",
            (unsigned long long)c->sessions, (unsigned long long)c->sessions_open, (unsigned long long)c->messages,
            (unsigned long long)c->recipients, (unsigned long long)c->bytes, (unsigned long long)c->refused_recipients,
            (unsigned long long)c->refused_messages, (unsigned long long)c->dropped, (unsigned long long)c->violations,
            (unsigned long long)c->store_errors);
}

enum {
    OPT_LISTEN = 256,
    OPT_DIR,
    OPT_TLS,
    OPT_DELAY,
    OPT_GREETING,
    OPT_IDLE,
    OPT_NO_PIPELINING,
    OPT_NO_8BIT,
    OPT_NO_UTF8,
    OPT_NO_CHUNKING,
    OPT_HELO_ONLY,
    OPT_MOODS,
    OPT_HELP
};

static const struct option long_options[] = {
    { "listen", required_argument, NULL, OPT_LISTEN },
    { "dir", required_argument, NULL, OPT_DIR },
    { "tls", required_argument, NULL, OPT_TLS },
    { "delay", required_argument, NULL, OPT_DELAY },
    { "greeting-delay", required_argument, NULL, OPT_GREETING },
    { "close-idle", required_argument, NULL, OPT_IDLE },
    { "no-pipelining", no_argument, NULL, OPT_NO_PIPELINING },
    { "no-8bitmime", no_argument, NULL, OPT_NO_8BIT },
    { "no-smtputf8", no_argument, NULL, OPT_NO_UTF8 },
    { "no-chunking", no_argument, NULL, OPT_NO_CHUNKING },
    { "helo-only", no_argument, NULL, OPT_HELO_ONLY },
    { "moods", no_argument, NULL, OPT_MOODS },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

static void use_tls(struct sink_options *options, int argc, char **argv)
{
    struct error why;
    if (optind >= argc)
        tool_fail(TOOL_USAGE, "--tls needs a certificate and a key");
    options->tls = net_tls_server(optarg, argv[optind++], &why);
    if (options->tls == NULL)
        tool_fail(1, "%s", why.text);
}

static void use_dir(struct sink_options *options)
{
    options->dir = open(optarg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (options->dir < 0)
        tool_fail(1, "%s: %s", optarg, strerror(errno));
}

/* The addresses to listen on. */
static size_t parse_options(struct sink_options *options, const char *listen[LISTENERS_MAX], int argc, char **argv)
{
    const uint64_t hour = 3600000;
    size_t count = 0;
    *options = (struct sink_options){
        .dir = -1, .pipelining = true, .eightbitmime = true, .smtputf8 = true, .chunking = true
    };
    for (int option; (option = getopt_long(argc, argv, "+", long_options, NULL)) != -1;) {
        switch (option) {
        case OPT_LISTEN:
            if (count == LISTENERS_MAX)
                tool_fail(TOOL_USAGE, "--listen: at most %d", LISTENERS_MAX);
            listen[count++] = optarg;
            break;
        case OPT_DIR:
            use_dir(options);
            break;
        case OPT_TLS:
            use_tls(options, argc, argv);
            break;
        case OPT_DELAY:
            options->delay_ms = tool_number("--delay", optarg, 0, hour);
            break;
        case OPT_GREETING:
            options->greeting_delay_ms = tool_number("--greeting-delay", optarg, 0, hour);
            break;
        case OPT_IDLE:
            options->close_idle_ms = tool_number("--close-idle", optarg, 1, hour);
            break;
        case OPT_NO_PIPELINING:
            options->pipelining = false;
            break;
        case OPT_NO_8BIT:
            options->eightbitmime = false;
            break;
        case OPT_NO_UTF8:
            options->smtputf8 = false;
            break;
        case OPT_NO_CHUNKING:
            options->chunking = false;
            break;
        case OPT_HELO_ONLY:
            options->helo_only = true;
            break;
        case OPT_MOODS:
            options->moods = true;
            break;
        case OPT_HELP:
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        default:
            fputs(usage, stderr);
            exit(TOOL_USAGE);
        }
    }
    if (count == 0 || optind < argc) {
        fputs(usage, stderr);
        exit(TOOL_USAGE);
    }
    return count;
}

int main(int argc, char **argv)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGUSR1 };
    static struct sink sink;
    const char *listen[LISTENERS_MAX];
    struct net_listener *listeners[LISTENERS_MAX];
    struct event *events[3];
    tool_name = "weir-sink";
    tool_prepare();
    size_t count = parse_options(&sink.options, listen, argc, argv);
    sink.base = event_base_new();
    if (sink.base == NULL)
        tool_fail(1, "no event loop");
    for (size_t i = 0; i < 3; i++) {
        events[i] = evsignal_new(sink.base, signals[i], on_signal, &sink);
        evsignal_add(events[i], NULL);
    }
    for (size_t i = 0; i < count; i++)
        listeners[i] = net_listen(sink.base, bind_alone(listen[i]), on_accepted, &sink);
    event_base_dispatch(sink.base);

    for (size_t i = 0; i < count; i++)
        net_listener_free(&listeners[i]);
    sink_sessions_end(&sink);
    for (size_t i = 0; i < 3; i++)
        event_free(events[i]);
    return EXIT_SUCCESS;
}

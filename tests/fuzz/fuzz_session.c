/*
 * fuzz_session.c - a hostile client, scanner, next hop and clock against one session
 *
 * The input is client bytes; the byte 0xff begins an event, which the next byte chooses. Checked besides the sanitizers: a message goes to the
 * next hop only after an explicit clean (I2), and "queued as" is said only after the next hop's 250 (I1).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/log.h"
#include "common/memory.h"
#include "tests/unit/session_doubles.h"

static struct edge_config *config;
static struct census *census;
static struct event_base *base;
static bool clean;           /* the scan of the present message ended so */
static unsigned delivered;   /* 250s of the next hop not yet told */

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static struct policy *make_policy(void)
{
    static const char table[] = "example.edu smtp:[a.example.edu]\nother.edu smtp:[b.example.edu]\nerr.edu error:5.1.1:550 no\n";
    struct policy_file files[] = { { "mailertable", table, sizeof table - 1 },
                                   { "local-host-names", "example.edu\n", 12 },
                                   { "networks", "127.0.0.1\n", 10 } };
    return policy_parse(files, 3, NULL);
}

static void look(void)
{
    doubles_settle(base);
    must(doubles.sent_body == NULL || clean, "a message went on without an explicit clean");
    free(doubles.sent_body);
    doubles.sent_body = NULL;
    for (size_t at = 0; at + 10 < doubles.out_len; at++)
        if (memcmp(doubles.out + at, "queued as ", 10) == 0) {
            must(delivered > 0, "said 250 although the next hop did not");
            delivered--;
        }
    doubles.out_len = 0;
    doubles.rows[0] = '\0';
    doubles.hop_recipients[0] = '\0';
}

static void event(struct server *server, unsigned char which)
{
    int code = (which & 1) ? 250 : (which & 2) ? 550 : 421;
    switch (which >> 4) {
    case 0:
        if (next_hop_owes_recipients())
            next_hop_answers_rcpt(code, "", "words", code != 250 && (which & 4) != 0);
        break;
    case 1:
        if (next_hop_has_message()) {
            delivered += code == 250 && doubles.conn != NULL;
            next_hop_answers(code, "", "words", which & 4);
        }
        break;
    case 2:
    case 3:
        if (doubles.scan != NULL && doubles.scans_finished == doubles.scans_started - doubles.scans_cancelled) {
            clean = (which & 3) == 1;
            scanner_says((Weir__Verdict)(which & 3), (Weir__UnknownReason)(which >> 2 & 7), "name");
        } else if (doubles.scan != NULL) { /* before the end: never a verdict on the whole */
            scanner_says((Weir__Verdict)(which & 3), 0, "early");
            doubles.scans_cancelled++;
        }
        break;
    case 4:
        if (doubles.scan != NULL) {
            if (doubles.scans_finished != doubles.scans_started - doubles.scans_cancelled)
                doubles.scans_cancelled++;
            farm_is_busy();
        }
        break;
    case 5:
        if (doubles.scan != NULL)
            farm_presses(which & 1);
        break;
    case 6:
        doubles.now_ms += 1000u << (which & 15);
        event_active(server->tick, EV_TIMEOUT, 0);
        break;
    case 7:
        client_goes();
        break;
    default:
        server_drain(server, NULL, NULL);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char text[] = "[edge]\nhostname = edge.test\ntmp_dir = /tmp\n[tls]\ncertificate = /x\n[listener \"relay\"]\nlisten = 127.0.0.1:2525\n"
                               "max_recipients = 5\nmax_errors = 1000\n[coordinator \"c\"]\nlisten = tcp://127.0.0.1:1\npublish = tcp://127.0.0.1:2\n"
                               "public_key = 0000000000000000000000000000000000000000000000000000000000000000\n";
    char path[] = "/tmp/weir-fuzz-session-XXXXXX";
    struct error why;
    int fd = mkstemp(path);
    (void)argc, (void)argv;
    log_open(&(struct log_options){ .ident = "fuzz", .node = "fuzz", .file = "/dev/null", .level = LOG_ERR });
    must(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1, "configuration file");
    close(fd);
    config = edge_config_load(path, NULL, 0, &why);
    unlink(path);
    must(config != NULL, why.text);
    config->listeners[0].settings.max_message_size = 4096;
    config->listeners[0].settings.max_header_size = 512;
    census = census_new(1);
    base = event_base_new();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int farm, pool, node;
    struct metrics metrics;
    struct netaddr client;
    size_t at = 0;

    doubles_reset();
    clean = false;
    delivered = 0;
    metrics_init(&metrics);
    struct server *server = server_new(&(struct server_options){
        .base = base,
        .config = config,
        .node = "edge-1",
        .census = census,
        .metrics = &metrics,
        .farm = (struct scan_farm *)&farm,
        .pool = (struct delivery_pool *)&pool,
    });
    struct policy *policy = make_policy();
    server_set_policy(server, &policy, 1);
    server_set_node(server, (struct node *)&node);
    netaddr_parse(&client, size % 2 ? "127.0.0.1" : "127.0.0.2");
    server_accept(server_port(server, "relay"), -1, &client);
    while (at < size) {
        const uint8_t *mark = memchr(data + at, 0xff, size - at);
        size_t end = mark != NULL ? (size_t)(mark - data) : size;
        if (end > at) {
            unsigned before = doubles.scans_started;
            client_sends((const char *)data + at, end - at);
            if (doubles.scans_started != before)
                clean = false;
            look();
        }
        at = end + 1;
        if (at < size) {
            unsigned before = doubles.scans_started;
            event(server, data[at++]);
            doubles_settle(base); /* input that was held may begin the next message */
            if (doubles.scans_started == before)
                look();
            else
                clean = false;
        }
    }
    server_free(&server);
    must(doubles.scan == NULL && doubles.delivery == NULL && doubles.conn == NULL, "something outlives its session");
    must(census_sessions(census) == 0, "the census is not empty");
    metrics_fini(&metrics);
    doubles_reset();
    return 0;
}

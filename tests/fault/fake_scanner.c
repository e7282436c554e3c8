/*
 * fake_scanner.c - weir-fake-scanner: a scanner that misbehaves, registered with a real scanner's name and key
 *
 *     weir-fake-scanner -c FILE --name NAME [--set key=value]... MODE
 *
 * It never scans. Where it says clean, something else about the answer is wrong, so an edge that believes it is broken
 * (I2). Its side of the scan link is a bare ROUTER, because it says things that proto/link.h would not send; edges let
 * it in because they find its endpoint and key in the cluster state, where proto/node.h puts them.
 */
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <zmq.h>
#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/settings.h"
#include "proto/node.h"
#include "proto/zwatch.h"

#define LOAD_MS      100
#define HELLO_MS     5000
#define PEERS_MAX    64
#define LATE_MAX     1024
#define NAME_LEN_MAX 48

enum mode {
    MODE_BUSY = 1,
    MODE_SILENT,
    MODE_WRONG_ID,
    MODE_WRONG_SIZE,
    MODE_LATE,
    MODE_GARBAGE,
    MODE_NEVER_READ,
    MODE_DIE_AFTER,
};

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "name", required_argument, NULL, 'n' },
    { "set", required_argument, NULL, 's' },
    { "help", no_argument, NULL, 'h' },
    { "busy", no_argument, NULL, MODE_BUSY },
    { "silent", no_argument, NULL, MODE_SILENT },
    { "wrong-id", no_argument, NULL, MODE_WRONG_ID },
    { "wrong-size", no_argument, NULL, MODE_WRONG_SIZE },
    { "late", no_argument, NULL, MODE_LATE },
    { "garbage", no_argument, NULL, MODE_GARBAGE },
    { "never-read", no_argument, NULL, MODE_NEVER_READ },
    { "die-after", required_argument, NULL, MODE_DIE_AFTER },
    { NULL, 0, NULL, 0 },
};

static const char usage_text[] =
    "usage: weir-fake-scanner -c FILE --name NAME [--set key=value]... MODE\n"
    "  --busy          refuses every scan\n"
    "  --silent        looks well until it is asked, then says nothing for a while, again and again\n"
    "  --wrong-id      clean, but for another message\n"
    "  --wrong-size    clean, but for one byte more than it got\n"
    "  --late          silent for a while when asked, then clean to all it was asked, when others have taken over\n"
    "  --garbage       what is asked is answered with frames that no scanner may send, then with silence for a while\n"
    "  --never-read    looks well until it is asked, then neither reads nor says anything any more\n"
    "  --die-after N   refuses until the Nth scan, and dies in the middle of that\n";

struct late { /* asked, and to be answered when it is too late */
    size_t peer;
    char id[21];
    uint64_t attempt, size;
};

struct peer { /* a connection of an edge worker */
    uint8_t identity[255];
    size_t len;
    uint64_t hello_ms;
};

struct fake {
    const char *config_file, *name;
    char **overrides;
    size_t override_count;
    enum mode mode;
    unsigned long die_after, asked;

    struct log_settings log;
    struct cluster_settings cluster;
    struct scanner_settings scanner;
    struct edge_settings edge;
    struct node_coordinator *coordinators;
    size_t coordinator_count;

    struct event_base *base;
    struct metrics metrics;
    struct link_hub *hub;
    struct node *node;
    void *context, *router;
    struct zwatch *watch;
    struct event *loads, *signals[2];
    struct peer peers[PEERS_MAX];
    size_t peer_count;
    uint64_t quiet_until; /* milliseconds */
    struct late late[LATE_MAX];
    size_t late_count;
};

/* --- sending --- */

static void send_frames(struct fake *fake, size_t peer, const void *const *frames, const size_t *lens, size_t count)
{
    if (zmq_send(fake->router, fake->peers[peer].identity, fake->peers[peer].len, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return; /* gone, or does not read: no matter here */
    for (size_t i = 0; i < count; i++)
        zmq_send(fake->router, frames[i], lens[i], (i + 1 < count ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT);
    zwatch_kick(fake->watch);
}

static void send_body(struct fake *fake, size_t peer, Weir__Frame__BodyCase kind, void *body)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = kind;
    frame.scan_grant = body; /* the union holds one pointer, whatever its type */
    size_t len;
    uint8_t *bytes = wire_encode(&frame, &len);
    send_frames(fake, peer, &(const void *){ bytes }, &len, 1);
    free(bytes);
}

static void send_clean(struct fake *fake, size_t peer, const char *id, uint64_t attempt, uint64_t size)
{
    Weir__ScanVerdict verdict = WEIR__SCAN_VERDICT__INIT;
    verdict.id = wire_text(id);
    verdict.attempt = attempt;
    verdict.size = size;
    verdict.verdict = WEIR__VERDICT__VERDICT_CLEAN;
    verdict.engine = wire_text("none");
    verdict.scanner = wire_text(fake->name);
    send_body(fake, peer, WEIR__FRAME__BODY_SCAN_VERDICT, &verdict);
}

static void send_grant(struct fake *fake, size_t peer, const char *id, uint64_t attempt)
{
    Weir__ScanGrant grant = WEIR__SCAN_GRANT__INIT;
    grant.id = wire_text(id);
    grant.attempt = attempt;
    grant.allowed = UINT64_C(1) << 32;
    send_body(fake, peer, WEIR__FRAME__BODY_SCAN_GRANT, &grant);
}

static void send_busy(struct fake *fake, size_t peer, const char *id, uint64_t attempt)
{
    Weir__ScanBusy busy = WEIR__SCAN_BUSY__INIT;
    busy.id = wire_text(id);
    busy.attempt = attempt;
    busy.reason = WEIR__BUSY_REASON__BUSY_SLOTS;
    send_body(fake, peer, WEIR__FRAME__BODY_SCAN_BUSY, &busy);
}

/* As attractive as a scanner can look. */
static void send_load(struct fake *fake, size_t peer)
{
    Weir__ScannerLoad load = WEIR__SCANNER_LOAD__INIT;
    load.node = wire_text(fake->name);
    load.state = WEIR__NODE_STATE__NODE_ACTIVE;
    load.slots = 1000;
    load.bytes = UINT64_C(1) << 40;
    send_body(fake, peer, WEIR__FRAME__BODY_SCANNER_LOAD, &load);
}

static uint64_t dice(void)
{
    uint64_t value;
    if (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value)
        fatal("getrandom gave no randomness");
    return value;
}

static void send_rubbish_bytes(struct fake *fake, size_t peer)
{
    static const size_t sizes[] = { 0, 1, 5, 200, 5000, 70000 };
    static const size_t counts[] = { 1, 1, 2, 3, 70 };
    uint8_t bytes[70000];
    const void *frames[70];
    size_t lens[70], count = counts[dice() % 5];
    for (size_t i = 0; i < sizeof bytes; i += sizeof(uint64_t))
        memcpy(bytes + i, &(uint64_t){ dice() }, sizeof(uint64_t));
    for (size_t i = 0; i < count; i++) {
        frames[i] = bytes;
        lens[i] = sizes[dice() % 6];
    }
    send_frames(fake, peer, frames, lens, count);
}

/* Nothing of it may be taken for a verdict, though parts of it are true. */
static void send_garbage(struct fake *fake, size_t peer, const char *id, uint64_t attempt, uint64_t size)
{
    Weir__ScanVerdict verdict = WEIR__SCAN_VERDICT__INIT;
    verdict.id = wire_text(id);
    verdict.attempt = attempt;
    verdict.size = size;
    verdict.scanner = wire_text(fake->name);
    send_body(fake, peer, WEIR__FRAME__BODY_SCAN_VERDICT, &verdict); /* no verdict at all */
    verdict.verdict = WEIR__VERDICT__VERDICT_CLEAN;
    verdict.reason = WEIR__UNKNOWN_REASON__UNKNOWN_LIMITS;
    send_body(fake, peer, WEIR__FRAME__BODY_SCAN_VERDICT, &verdict); /* clean, but not quite */
    verdict.reason = WEIR__UNKNOWN_REASON__UNKNOWN_UNSPECIFIED;
    verdict.signature = wire_text("Some.Virus");
    send_body(fake, peer, WEIR__FRAME__BODY_SCAN_VERDICT, &verdict); /* clean, with a virus */
    send_clean(fake, peer, "short", attempt, size);
    send_clean(fake, peer, id, attempt ^ 1, size);
    send_clean(fake, peer, id, 0, size);
    Weir__HeartbeatAck ack = WEIR__HEARTBEAT_ACK__INIT;
    send_body(fake, peer, WEIR__FRAME__BODY_HEARTBEAT_ACK, &ack);
    for (int i = 0; i < 20; i++)
        send_rubbish_bytes(fake, peer);
}

/* --- what it is asked --- */

/* Longer than the edge waits for a sign of life. */
static void fall_silent(struct fake *fake)
{
    uint64_t now = clock_ms(), silence = fake->edge.scan_stall * 2;
    if (fake->quiet_until < now)
        fake->quiet_until = now + (silence > 1000 ? silence : 1000);
}

static void remember(struct fake *fake, size_t peer, const char *id, uint64_t attempt, uint64_t size)
{
    if (fake->late_count == LATE_MAX)
        return;
    struct late *late = &fake->late[fake->late_count++];
    *late = (struct late){ .peer = peer, .attempt = attempt, .size = size };
    snprintf(late->id, sizeof late->id, "%s", id);
}

/* The whole message is here. */
static void on_message_complete(struct fake *fake, size_t peer, const char *id, uint64_t attempt, uint64_t size)
{
    switch (fake->mode) {
    case MODE_WRONG_ID:
        send_clean(fake, peer, "01ABCDEFGHJKMNPQRSTV", attempt, size);
        break;
    case MODE_WRONG_SIZE:
        send_clean(fake, peer, id, attempt, size + 1);
        break;
    case MODE_LATE:
        remember(fake, peer, id, attempt, size);
        fall_silent(fake);
        break;
    default:
        break;
    }
}

static void on_open(struct fake *fake, size_t peer, const Weir__ScanOpen *open, uint64_t payload_len)
{
    char id[21];
    wire_string(id, sizeof id, &open->id);
    fake->asked++;
    switch (fake->mode) {
    case MODE_BUSY:
        send_busy(fake, peer, id, open->attempt);
        return;
    case MODE_DIE_AFTER:
        if (fake->asked < fake->die_after)
            send_busy(fake, peer, id, open->attempt);
        else if (open->whole)
            _exit(0);
        else
            send_grant(fake, peer, id, open->attempt); /* and dies at the first chunk */
        return;
    case MODE_GARBAGE:
        send_garbage(fake, peer, id, open->attempt, open->size_hint);
        fall_silent(fake);
        return;
    case MODE_SILENT:
    case MODE_NEVER_READ:
        fall_silent(fake);
        return;
    default:
        break;
    }
    if (open->whole)
        on_message_complete(fake, peer, id, open->attempt, payload_len);
    else if (fake->quiet_until < clock_ms())
        send_grant(fake, peer, id, open->attempt);
}

static void on_chunk(struct fake *fake, size_t peer, const Weir__ScanChunk *chunk, uint64_t payload_len)
{
    char id[21];
    if (fake->mode == MODE_DIE_AFTER && fake->asked >= fake->die_after)
        _exit(0);
    if (chunk->last)
        on_message_complete(fake, peer, wire_string(id, sizeof id, &chunk->id), chunk->attempt,
                            chunk->offset + payload_len);
}

static size_t peer_of(struct fake *fake, const uint8_t *identity, size_t len)
{
    size_t i = 0;
    while (i < fake->peer_count && (fake->peers[i].len != len || memcmp(fake->peers[i].identity, identity, len) != 0))
        i++;
    if (i == fake->peer_count) {
        if (fake->peer_count < PEERS_MAX)
            fake->peer_count++;
        else
            i = (size_t)(dice() % PEERS_MAX); /* restarted edges have new identities: most of these are gone */
        fake->peers[i].len = len;
        memcpy(fake->peers[i].identity, identity, len);
    }
    return i;
}

static void on_frame(struct fake *fake, size_t peer, const Weir__Frame *frame, uint64_t payload_len)
{
    if (frame->body_case == WEIR__FRAME__BODY_SCAN_HELLO)
        fake->peers[peer].hello_ms = clock_ms();
    else if (frame->body_case == WEIR__FRAME__BODY_SCAN_OPEN)
        on_open(fake, peer, frame->scan_open, payload_len);
    else if (frame->body_case == WEIR__FRAME__BODY_SCAN_CHUNK)
        on_chunk(fake, peer, frame->scan_chunk, payload_len);
}

static bool never_reads_again(const struct fake *fake)
{
    return fake->mode == MODE_NEVER_READ && fake->asked > 0;
}

static void on_router_message(void *arg)
{
    struct fake *fake = arg;
    struct error why;
    zmq_msg_t parts[3]; /* identity, frame, payload: what a scan has */
    size_t count = 0;
    int more = 1;
    while (more) {
        zmq_msg_t *part = &parts[count < 3 ? count : 2];
        if (count >= 3)
            zmq_msg_close(part);
        zmq_msg_init(part);
        count++;
        if (zmq_msg_recv(part, fake->router, ZMQ_DONTWAIT) < 0)
            break;
        more = zmq_msg_more(part);
    }
    size_t kept = count < 3 ? count : 3;
    if (!more && kept >= 2) {
        size_t peer = peer_of(fake, zmq_msg_data(&parts[0]), zmq_msg_size(&parts[0]));
        Weir__Frame *frame = wire_decode(zmq_msg_data(&parts[1]), zmq_msg_size(&parts[1]), count - 2, &why);
        if (frame != NULL)
            on_frame(fake, peer, frame, kept == 3 ? zmq_msg_size(&parts[2]) : 0);
        wire_free(&frame);
    }
    for (size_t i = 0; i < kept; i++)
        zmq_msg_close(&parts[i]);
    if (never_reads_again(fake))
        zwatch_free(&fake->watch);
}

static void on_router_error(void *arg, int error)
{
    (void)arg;
    fatal("ZeroMQ: %s", zmq_strerror(error));
}

static void on_load_time(evutil_socket_t fd, short events, void *arg)
{
    (void)fd, (void)events;
    struct fake *fake = arg;
    uint64_t now = clock_ms();
    if (now < fake->quiet_until || never_reads_again(fake))
        return;
    for (size_t i = 0; i < fake->late_count; i++) {
        const struct late *late = &fake->late[i];
        send_clean(fake, late->peer, late->id, late->attempt, late->size);
    }
    fake->late_count = 0;
    for (size_t i = 0; i < fake->peer_count; i++)
        if (now - fake->peers[i].hello_ms < HELLO_MS)
            send_load(fake, i);
}

/* --- life --- */

static void on_state(void *arg, const Weir__ClusterState *state, const Weir__NodeEntry *entry)
{
    (void)arg, (void)state, (void)entry;
}

static void on_heartbeat(void *arg, Weir__Heartbeat *beat)
{
    const struct fake *fake = arg;
    beat->state = WEIR__NODE_STATE__NODE_ACTIVE;
    beat->generation = 1;
    beat->in_flight = (uint32_t)fake->late_count;
}

static void on_end(evutil_socket_t fd, short events, void *arg)
{
    (void)fd, (void)events;
    event_base_loopbreak(arg);
}

static void read_settings(struct fake *fake)
{
    struct error why;
    struct config *config =
        config_load(fake->config_file, settings_tables, fake->overrides, fake->override_count, &why);
    if (config == NULL || !config_fill(config, "log", NULL, &fake->log, &why) ||
        !config_fill(config, "cluster", NULL, &fake->cluster, &why) ||
        !config_fill(config, "edge", NULL, &fake->edge, &why) ||
        !config_fill(config, "scanner", NULL, &fake->scanner, &why))
        fatal("%s", why.text);
    const char *name;
    for (size_t i = 0; (name = config_instance(config, "coordinator", i)) != NULL; i++) {
        struct coordinator_settings read = { 0 };
        fake->coordinators = xrealloc(fake->coordinators, (i + 1) * sizeof *fake->coordinators);
        struct node_coordinator *to = &fake->coordinators[i];
        if (!config_fill(config, "coordinator", name, &read, &why))
            fatal("%s", why.text);
        if (!curve_key_parse(to->public_key, read.public_key))
            fatal("coordinator \"%s\": bad public_key", name);
        to->listen = xstrdup(read.listen);
        to->publish = xstrdup(read.publish);
        fake->coordinator_count++;
        config_clear(settings_table("coordinator"), &read);
    }
    config_free(&config);
}

static void clear_settings(struct fake *fake)
{
    for (size_t i = 0; i < fake->coordinator_count; i++) {
        free(fake->coordinators[i].listen);
        free(fake->coordinators[i].publish);
    }
    free(fake->coordinators);
    config_clear(settings_table("log"), &fake->log);
    config_clear(settings_table("cluster"), &fake->cluster);
    config_clear(settings_table("edge"), &fake->edge);
    config_clear(settings_table("scanner"), &fake->scanner);
    free(fake->overrides);
}

static void open_router(struct fake *fake, const struct curve_keypair *pair)
{
    static const struct zwatch_handlers handlers = { .on_message = on_router_message, .on_error = on_router_error };
    int on = 1, off = 0;
    fake->context = zmq_ctx_new();
    fake->router = fake->context != NULL ? zmq_socket(fake->context, ZMQ_ROUTER) : NULL;
    if (fake->router == NULL || zmq_setsockopt(fake->router, ZMQ_CURVE_SERVER, &on, sizeof on) != 0 ||
        zmq_setsockopt(fake->router, ZMQ_CURVE_SECRETKEY, pair->secret_key, CURVE_KEY_LEN) != 0 ||
        zmq_setsockopt(fake->router, ZMQ_LINGER, &off, sizeof off) != 0 ||
        zmq_setsockopt(fake->router, ZMQ_ROUTER_MANDATORY, &on, sizeof on) != 0)
        fatal("ZeroMQ: %s", zmq_strerror(zmq_errno()));
    if (zmq_bind(fake->router, fake->scanner.listen) != 0)
        fatal("cannot bind %s: %s", fake->scanner.listen, zmq_strerror(zmq_errno()));
    fake->watch = zwatch_new(fake->base, fake->router, &handlers, fake);
}

static void run(struct fake *fake)
{
    static const struct node_handlers handlers = { .state = on_state, .heartbeat = on_heartbeat };
    static const int signals[2] = { SIGTERM, SIGINT };
    struct curve_keypair pair;
    struct error why;
    if (!curve_keypair_read(&pair, fake->cluster.key_file, &why))
        fatal("%s", why.text);
    fake->base = event_base_new();
    if (fake->base == NULL)
        fatal("libevent makes no loop");
    metrics_init(&fake->metrics);
    for (size_t i = 0; i < 2; i++) {
        fake->signals[i] = evsignal_new(fake->base, signals[i], on_end, fake->base);
        event_add(fake->signals[i], NULL);
    }
    fake->hub = link_hub_new(fake->base, &pair, &fake->metrics);
    open_router(fake, &pair);
    explicit_bzero(&pair, sizeof pair);
    const struct scanner_settings *scanner = &fake->scanner;
    fake->node = node_new(
        fake->base,
        &(struct node_options){ .name = fake->name,
                                .role = WEIR__ROLE__ROLE_SCANNER,
                                .endpoint = scanner->advertise[0] != '\0' ? scanner->advertise : scanner->listen,
                                .cluster = &fake->cluster,
                                .coordinators = fake->coordinators,
                                .coordinator_count = fake->coordinator_count,
                                .hub = fake->hub,
                                .metrics = &fake->metrics },
        &handlers, fake);
    fake->loads = event_new(fake->base, -1, EV_PERSIST, on_load_time, fake);
    event_add(fake->loads, &(struct timeval){ 0, LOAD_MS * 1000 });
    event_base_dispatch(fake->base);

    node_free(&fake->node);
    zwatch_free(&fake->watch);
    zmq_close(fake->router);
    zmq_ctx_term(fake->context);
    link_hub_free(&fake->hub);
    event_free(fake->loads);
    event_free(fake->signals[0]);
    event_free(fake->signals[1]);
    event_base_free(fake->base);
    metrics_fini(&fake->metrics);
}

int main(int argc, char **argv)
{
    static struct fake only;
    struct fake *fake = &only;
    signal(SIGPIPE, SIG_IGN);
    fake->overrides = xcalloc((size_t)argc, sizeof *fake->overrides);
    for (int option; (option = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            fake->config_file = optarg;
            break;
        case 'n':
            fake->name = optarg;
            break;
        case 's':
            fake->overrides[fake->override_count++] = optarg;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return 0;
        case '?':
            fputs(usage_text, stderr);
            return 64;
        default:
            fake->mode = (enum mode)option;
            if (fake->mode == MODE_DIE_AFTER)
                fake->die_after = strtoul(optarg, NULL, 10);
            break;
        }
    }
    if (optind != argc || fake->mode == 0 || fake->name == NULL || strlen(fake->name) > NAME_LEN_MAX) {
        fputs(usage_text, stderr);
        return 64;
    }
    read_settings(fake);
    char *ident = xasprintf("weir/%s/fake", fake->name);
    log_open(&(struct log_options){ .ident = ident,
                                    .node = fake->name,
                                    .file = fake->log.file,
                                    .format = (enum log_format)fake->log.format,
                                    .level = LOG_INFO });
    free(ident);
    run(fake);
    clear_settings(fake);
    return 0;
}

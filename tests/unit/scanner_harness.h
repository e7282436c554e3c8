#ifndef WEIR_TESTS_SCANNER_HARNESS_H
#define WEIR_TESTS_SCANNER_HARNESS_H
/*
 * scanner_harness.h - a coordinator and an edge in one process, and a real weir-scanner between them
 *
 * The coordinator publishes a cluster state and hears heartbeats, the edge sends mail and keeps the answers; `t` holds everything. Each
 * test starts its own scanner with its own ports and folders. A scan is held "running" by stopping the workers. With WEIR_TEST_LOG set
 * the scanner says everything.
 */
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "proto/curve.h"
#include "proto/link.h"
#include "scanner/engine.h"
#include "scanner/scratch.h"

#define PATIENCE_MS 20000
#define ANSWERS_MAX 4096
#define PIDS_MAX 64

struct answer {
    int kind; /* body_case */
    char id[21];
    uint64_t attempt;
    uint64_t allowed;
    int verdict, reason;
    char name[256];
    uint64_t size;
    uint64_t generation;
};

static struct {
    char folder[PATH_MAX];
    int lock;
    struct event_base *base;
    struct metrics metrics;
    struct curve_keypair own, scanner_key;
    struct link_hub *hub;
    struct link_server *coordinator;
    struct link_publisher *publisher;
    struct link *edge;
    struct event *beat, *deadline;
    bool late;
    pid_t scanner;
    int ports[3], held[3];
    /* what is wanted of the scanner */
    uint64_t epoch;
    bool drain;
    uint64_t gc;
    /* what it says */
    int state, load_state;
    uint64_t gc_done, generation;
    Weir__ScannerUse use; /* as last told */
    uint32_t slots_used;
    uint64_t bytes_used;
    double failures;
    bool seccomp;
    struct answer answers[ANSWERS_MAX];
    size_t answer_count;
    uint64_t attempts;
    const char *id; /* of the next messages; NULL: ID */
    const char *client;
} t;

/* --- the coordinator --- */

static void publish(void)
{
    Weir__NodeEntry entry = WEIR__NODE_ENTRY__INIT, *entries[] = { &entry };
    Weir__AllowedKey key = WEIR__ALLOWED_KEY__INIT, *keys[] = { &key };
    Weir__ClusterState state = WEIR__CLUSTER_STATE__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;
    entry.node = wire_text("scanner-1");
    entry.role = WEIR__ROLE__ROLE_SCANNER;
    entry.state = WEIR__NODE_STATE__NODE_ACTIVE;
    entry.drain = t.drain;
    entry.gc = t.gc;
    entry.public_key = wire_bytes(t.scanner_key.public_key, CURVE_KEY_LEN);
    key.public_key = wire_bytes(t.own.public_key, CURVE_KEY_LEN);
    key.name = wire_text("edge-1");
    key.role = WEIR__ROLE__ROLE_EDGE;
    state.epoch = t.epoch;
    state.coordinator = wire_text("coordinator-1");
    state.n_nodes = 1;
    state.nodes = entries;
    state.n_keys = 1;
    state.keys = keys;
    frame.body_case = WEIR__FRAME__BODY_CLUSTER_STATE;
    frame.cluster_state = &state;
    link_publish(t.publisher, &frame);
}

static void want(bool drain, uint64_t gc)
{
    t.drain = drain;
    t.gc = gc;
    t.epoch++;
    publish();
}

static void take_metrics(const Weir__Heartbeat *beat)
{
    for (size_t i = 0; i < beat->n_metrics; i++) {
        if (wire_equal(&beat->metrics[i]->name, "weir_generation_failures_total"))
            t.failures = beat->metrics[i]->value;
        if (wire_equal(&beat->metrics[i]->name, "weir_sandbox") && wire_equal(&beat->metrics[i]->labels, "layer=\"seccomp\""))
            t.seccomp = beat->metrics[i]->value == 1;
    }
}

static void on_coordinator_message(void *arg, struct link_peer *peer, const struct link_message *message)
{
    (void)arg;
    Weir__Frame frame = WEIR__FRAME__INIT;
    Weir__NodeWelcome welcome = WEIR__NODE_WELCOME__INIT;
    Weir__HeartbeatAck ack = WEIR__HEARTBEAT_ACK__INIT;
    if (message->frame->body_case == WEIR__FRAME__BODY_NODE_HELLO) {
        welcome.coordinator = wire_text("coordinator-1");
        frame.body_case = WEIR__FRAME__BODY_NODE_WELCOME;
        frame.node_welcome = &welcome;
        link_server_send(t.coordinator, peer, &frame, NULL, 0);
    } else if (message->frame->body_case == WEIR__FRAME__BODY_HEARTBEAT) {
        const Weir__Heartbeat *beat = message->frame->heartbeat;
        t.state = (int)beat->state;
        t.gc_done = beat->gc_done;
        if (beat->use != NULL)
            t.use = *beat->use;
        t.generation = beat->generation;
        take_metrics(beat);
        ack.sequence = beat->sequence;
        frame.body_case = WEIR__FRAME__BODY_HEARTBEAT_ACK;
        frame.heartbeat_ack = &ack;
        link_server_send(t.coordinator, peer, &frame, NULL, 0);
    }
}

static void on_coordinator_gone(void *arg, struct link_peer *peer)
{
    (void)arg, (void)peer;
}

/* --- the edge --- */

static void say_hello(void)
{
    Weir__ScanHello hello = WEIR__SCAN_HELLO__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;
    hello.node = wire_text("edge-1/0");
    frame.body_case = WEIR__FRAME__BODY_SCAN_HELLO;
    frame.scan_hello = &hello;
    link_send(t.edge, &frame, NULL, 0);
}

static void on_up(void *arg, struct link *link)
{
    (void)arg, (void)link;
    say_hello();
}

static void on_down(void *arg, struct link *link)
{
    (void)arg, (void)link;
    t.load_state = 0;
}

static struct answer *add_answer(Weir__Frame__BodyCase kind, const ProtobufCBinaryData *id, uint64_t attempt)
{
    ck_assert_uint_lt(t.answer_count, ANSWERS_MAX);
    struct answer *answer = &t.answers[t.answer_count++];
    memset(answer, 0, sizeof *answer);
    answer->kind = (int)kind;
    wire_string(answer->id, sizeof answer->id, id);
    answer->attempt = attempt;
    return answer;
}

static void on_edge_message(void *arg, struct link *link, const struct link_message *message)
{
    (void)arg, (void)link;
    const Weir__Frame *frame = message->frame;
    struct answer *answer;
    switch (frame->body_case) {
    case WEIR__FRAME__BODY_SCANNER_LOAD:
        t.load_state = (int)frame->scanner_load->state;
        t.slots_used = frame->scanner_load->slots_used;
        t.bytes_used = frame->scanner_load->bytes_used;
        break;
    case WEIR__FRAME__BODY_SCAN_GRANT:
        answer = add_answer(frame->body_case, &frame->scan_grant->id, frame->scan_grant->attempt);
        answer->allowed = frame->scan_grant->allowed;
        break;
    case WEIR__FRAME__BODY_SCAN_CREDIT:
        answer = add_answer(frame->body_case, &frame->scan_credit->id, frame->scan_credit->attempt);
        answer->allowed = frame->scan_credit->allowed;
        break;
    case WEIR__FRAME__BODY_SCAN_BUSY:
        answer = add_answer(frame->body_case, &frame->scan_busy->id, frame->scan_busy->attempt);
        answer->reason = (int)frame->scan_busy->reason;
        break;
    case WEIR__FRAME__BODY_SCAN_VERDICT:
        answer = add_answer(frame->body_case, &frame->scan_verdict->id, frame->scan_verdict->attempt);
        answer->verdict = (int)frame->scan_verdict->verdict;
        answer->reason = (int)frame->scan_verdict->reason;
        answer->size = frame->scan_verdict->size;
        answer->generation = frame->scan_verdict->generation;
        wire_string(answer->name, sizeof answer->name, &frame->scan_verdict->signature);
        ck_assert(wire_equal(&frame->scan_verdict->scanner, "scanner-1"));
        break;
    default:
        ck_abort_msg("a frame that no edge should get: %d", (int)frame->body_case);
    }
}

/* --- waiting --- */

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    static int beats;
    publish();
    if (beats++ % 10 == 0)
        say_hello();
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    t.late = true;
}

static void turn(int ms)
{
    t.late = false;
    event_add(t.deadline, &(struct timeval){ ms / 1000, ms % 1000 * 1000 });
    event_base_loop(t.base, EVLOOP_ONCE);
}

#define WAIT_FOR(condition)                                                                                            \
    do {                                                                                                               \
        uint64_t until_ = clock_ms() + PATIENCE_MS;                                                                    \
        while (!(condition)) {                                                                                         \
            ck_assert_msg(clock_ms() < until_, "not within %d ms: %s", PATIENCE_MS, #condition);                       \
            turn(50);                                                                                                  \
        }                                                                                                              \
    } while (0)

static void pause_ms(int ms)
{
    uint64_t until = clock_ms() + (uint64_t)ms;
    while (clock_ms() < until)
        turn(10);
}

/* --- the scanner --- */

/* A port that nobody else gets while *held is open: the kernel gives one that is bound to no connection and to no bind() that leaves the choice
 * to it, as other tests running beside this one do. With SO_REUSEADDR on both, and ours not listening, ZeroMQ still binds it. */
static int free_port(int *held)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    *held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert(*held >= 0 && setsockopt(*held, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) == 0);
    ck_assert(bind(*held, (struct sockaddr *)&address, sizeof address) == 0);
    ck_assert(getsockname(*held, (struct sockaddr *)&address, &len) == 0);
    return ntohs(address.sin_port);
}

static char *in_folder(const char *name)
{
    return xasprintf("%s/%s", t.folder, name);
}

static void write_signatures(const char *name, bool good)
{
    char *path = xasprintf("%s/set/%s", t.folder, name), eicar[256];
    size_t len;
    Weir__Verdict expected;
    FILE *file = fopen(path, "w");
    ck_assert(engine_test_message(0, eicar, sizeof eicar, &len, &expected));
    fprintf(file, good ? "Eicar-Test-Signature:0:*:" : "broken:");
    for (size_t i = 0; i < len; i++)
        fprintf(file, "%02x", (unsigned char)eicar[i]);
    fputc('\n', file);
    fclose(file);
    free(path);
}

/* Takes a moment to load. */
static void write_many_signatures(const char *name, unsigned count)
{
    char *path = xasprintf("%s/set/%s", t.folder, name);
    FILE *file = fopen(path, "w");
    for (unsigned i = 0; i < count; i++)
        fprintf(file, "%08x%024x:%u:Test-%u\n", i * 2654435761u, i, 1000 + i % 5000, i);
    fclose(file);
    free(path);
}

static void remove_signatures(const char *name)
{
    char *path = xasprintf("%s/set/%s", t.folder, name);
    ck_assert_int_eq(unlink(path), 0);
    free(path);
}

static char *program_path(void)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    ck_assert_int_gt(len, 0);
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    return xasprintf("%s/../bin/weir-scanner", self);
}

/* extra: "key=value", ends with NULL */
static void scanner_start(const char *const *extra)
{
    char *program = program_path(), *config = in_folder("weir.conf");
    char *argv[64] = { (char *)"weir-scanner", (char *)"-c", config, (char *)"--name", (char *)"scanner-1" };
    size_t argc = 5;
    for (; extra != NULL && *extra != NULL; extra++) {
        argv[argc++] = (char *)"--set";
        argv[argc++] = (char *)(uintptr_t)*extra;
    }
    t.scanner = fork();
    if (t.scanner == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(program, argv);
        _exit(127);
    }
    free(program);
    free(config);
}

static void write_config(void)
{
    char public_key[CURVE_HEX_LEN + 1];
    char *path = in_folder("weir.conf"), *key = in_folder("scanner.key");
    struct error why;
    ck_assert_msg(curve_keypair_write(&t.scanner_key, key, &why), "%s", why.text);
    FILE *file = fopen(path, "w");
    fprintf(file, "[log]\nlevel = %s\n", getenv("WEIR_TEST_LOG") != NULL ? "debug" : "error");
    fprintf(file, "[cluster]\nkey_file = %s\nstate_dir = %s\n", key, t.folder);
    fprintf(file, "[coordinator \"coordinator-1\"]\nlisten = tcp://127.0.0.1:%d\npublish = tcp://127.0.0.1:%d\npublic_key = %s\n",
            t.ports[0], t.ports[1], curve_key_format(t.own.public_key, public_key));
    fprintf(file, "[scanner]\nlisten = tcp://127.0.0.1:%d\nworkers = 2\nlarge_workers = 1\nspare_workers = 0\nload_interval = 50ms\n", t.ports[2]);
    fprintf(file, "signatures = %s/set\ntmp_dir = %s/tmp\nspool_dir = %s\n", t.folder, t.folder, t.folder);
    fclose(file);
    free(path);
    free(key);
}

static void set_up(void)
{
    static const struct link_server_handlers server_handlers = { .message = on_coordinator_message, .gone = on_coordinator_gone };
    static const struct link_handlers edge_handlers = { .up = on_up, .down = on_down, .message = on_edge_message };
    struct error why;
    memset(&t, 0, sizeof t);
    signal(SIGPIPE, SIG_IGN);
    ck_assert_msg(scratch_new("/dev/shm", t.folder, &t.lock, &why), "%s", why.text);
    char *set = in_folder("set"), *tmp = in_folder("tmp");
    ck_assert(mkdir(set, 0700) == 0 && mkdir(tmp, 0700) == 0);
    free(set);
    free(tmp);
    write_signatures("eicar.ndb", true);
    for (size_t i = 0; i < 3; i++)
        t.ports[i] = free_port(&t.held[i]);
    curve_keypair_generate(&t.own);
    curve_keypair_generate(&t.scanner_key);
    write_config();
    t.epoch = 1;
    t.base = event_base_new();
    metrics_init(&t.metrics);
    t.hub = link_hub_new(t.base, &t.own, &t.metrics);
    struct link_allowed_key allowed = { .name = "scanner-1", .role = WEIR__ROLE__ROLE_SCANNER };
    memcpy(allowed.key, t.scanner_key.public_key, CURVE_KEY_LEN);
    link_hub_allow(t.hub, &allowed, 1);
    char *listen = xasprintf("tcp://127.0.0.1:%d", t.ports[0]), *publish_at = xasprintf("tcp://127.0.0.1:%d", t.ports[1]);
    char *scanner = xasprintf("tcp://127.0.0.1:%d", t.ports[2]);
    t.coordinator = link_server_new(t.hub, listen, &server_handlers, NULL, &why);
    ck_assert_msg(t.coordinator != NULL, "%s", why.text);
    t.publisher = link_publisher_new(t.hub, publish_at, &why);
    ck_assert_msg(t.publisher != NULL, "%s", why.text);
    t.edge = link_new(t.hub, scanner, t.scanner_key.public_key, &edge_handlers, NULL);
    free(listen);
    free(publish_at);
    free(scanner);
    t.deadline = evtimer_new(t.base, on_deadline, NULL);
    t.beat = event_new(t.base, -1, EV_PERSIST, on_beat, NULL);
    event_add(t.beat, &(struct timeval){ 0, 100000 });
}

static void scanner_active(const char *const *extra)
{
    scanner_start(extra);
    WAIT_FOR(t.load_state == WEIR__NODE_STATE__NODE_ACTIVE && t.state == WEIR__NODE_STATE__NODE_ACTIVE);
}

/* Waits for the end of the scanner; gives its status. */
static int scanner_wait(void)
{
    int status;
    WAIT_FOR(waitpid(t.scanner, &status, WNOHANG) == t.scanner);
    t.scanner = 0;
    return status;
}

static void tear_down(void)
{
    if (t.scanner > 0) {
        kill(t.scanner, SIGKILL);
        waitpid(t.scanner, NULL, 0);
    }
    link_free(&t.edge);
    link_server_free(&t.coordinator);
    link_publisher_free(&t.publisher);
    link_hub_free(&t.hub);
    event_free(t.beat);
    event_free(t.deadline);
    event_base_free(t.base);
    for (size_t i = 0; i < 3; i++)
        close(t.held[i]);
    metrics_fini(&t.metrics);
    scratch_remove(t.folder);
    close(t.lock);
}

/* --- its processes --- */

static bool read_stat(pid_t pid, pid_t *parent, char name[32])
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    bool read = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    char *open = read ? strchr(line, '(') : NULL, *end = read ? strrchr(line, ')') : NULL, state;
    int ppid;
    if (open == NULL || end == NULL || sscanf(end + 1, " %c %d", &state, &ppid) != 2 || state == 'Z' || state == 'X')
        return false;
    *parent = ppid;
    snprintf(name, 32, "%.*s", (int)(end - open - 1), open + 1);
    return true;
}

static size_t children_of(pid_t parent, const char *name, pid_t pids[PIDS_MAX])
{
    size_t count = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(dir)) != NULL && count < PIDS_MAX;) {
        pid_t pid = atoi(entry->d_name), ppid;
        char its_name[32];
        if (pid > 0 && read_stat(pid, &ppid, its_name) && ppid == parent && strcmp(its_name, name) == 0)
            pids[count++] = pid;
    }
    closedir(dir);
    return count;
}

static pid_t zygote_pid(void)
{
    pid_t pids[PIDS_MAX];
    return children_of(t.scanner, "weir-zygote", pids) == 1 ? pids[0] : 0;
}

static size_t worker_pids(const char *lane, pid_t pids[PIDS_MAX])
{
    pid_t zygote = zygote_pid();
    return zygote == 0 ? 0 : children_of(zygote, lane, pids);
}

static void signal_workers(int number)
{
    pid_t pids[PIDS_MAX];
    for (int lane = 0; lane < 2; lane++) {
        size_t count = worker_pids(lane == 0 ? "weir-scan-small" : "weir-scan-large", pids);
        for (size_t i = 0; i < count; i++)
            kill(pids[i], number);
    }
}

/* --- mail --- */

#define ID "01ARYZ6S41TSV4RRFFQ6"
#define ATTEMPT_STEP UINT64_C(0x123456789abcdef)

static uint64_t send_opening(Weir__ScanOpen *open, const char *bytes, size_t len)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    struct link_payload payload = { bytes, len };
    open->id = wire_text(t.id != NULL ? t.id : ID);
    open->attempt = ++t.attempts * ATTEMPT_STEP;
    open->client = wire_text(t.client != NULL ? t.client : "192.0.2.1");
    open->recipients = 1;
    frame.body_case = WEIR__FRAME__BODY_SCAN_OPEN;
    frame.scan_open = open;
    ck_assert_int_eq(link_send(t.edge, &frame, &payload, open->whole ? 1 : 0), LINK_OK);
    return open->attempt;
}

static uint64_t send_open(uint64_t hint, bool whole, const char *bytes, size_t len, uint32_t crashes, uint32_t deadline_ms)
{
    Weir__ScanOpen open = WEIR__SCAN_OPEN__INIT;
    open.size_hint = hint;
    open.whole = whole;
    open.crashes = crashes;
    open.deadline_ms = deadline_ms;
    return send_opening(&open, bytes, len);
}

/* An upload of a message that the edge has all of. */
static uint64_t send_complete(uint64_t size)
{
    Weir__ScanOpen open = WEIR__SCAN_OPEN__INIT;
    open.size_hint = size;
    open.complete = true;
    open.deadline_ms = 60000;
    return send_opening(&open, NULL, 0);
}

static uint64_t send_whole(const char *bytes, size_t len)
{
    return send_open(len, true, bytes, len, 0, 60000);
}

static void send_chunk(uint64_t attempt, uint64_t offset, const char *bytes, size_t len, bool last)
{
    Weir__ScanChunk chunk = WEIR__SCAN_CHUNK__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;
    struct link_payload payload = { bytes, len };
    chunk.id = wire_text(ID);
    chunk.attempt = attempt;
    chunk.offset = offset;
    chunk.last = last;
    frame.body_case = WEIR__FRAME__BODY_SCAN_CHUNK;
    frame.scan_chunk = &chunk;
    ck_assert_int_eq(link_send(t.edge, &frame, &payload, 1), LINK_OK);
}

static void send_cancel(uint64_t attempt)
{
    Weir__ScanCancel cancel = WEIR__SCAN_CANCEL__INIT;
    Weir__Frame frame = WEIR__FRAME__INIT;
    cancel.id = wire_text(ID);
    cancel.attempt = attempt;
    frame.body_case = WEIR__FRAME__BODY_SCAN_CANCEL;
    frame.scan_cancel = &cancel;
    ck_assert_int_eq(link_send(t.edge, &frame, NULL, 0), LINK_OK);
}

static struct answer *answer_to(uint64_t attempt, int kind)
{
    for (size_t i = t.answer_count; i > 0; i--) {
        if (t.answers[i - 1].attempt == attempt && (kind == 0 || t.answers[i - 1].kind == kind))
            return &t.answers[i - 1];
    }
    return NULL;
}

static struct answer *wait_answer(uint64_t attempt, int kind)
{
    WAIT_FOR(answer_to(attempt, kind) != NULL);
    return answer_to(attempt, kind);
}

#define VERDICT WEIR__FRAME__BODY_SCAN_VERDICT
#define BUSY WEIR__FRAME__BODY_SCAN_BUSY
#define GRANT WEIR__FRAME__BODY_SCAN_GRANT

static void assert_unknown(uint64_t attempt, int reason)
{
    struct answer *answer = wait_answer(attempt, VERDICT);
    ck_assert_int_eq(answer->verdict, WEIR__VERDICT__VERDICT_UNKNOWN);
    ck_assert_int_eq(answer->reason, reason);
}

static void assert_busy(uint64_t attempt, int reason)
{
    ck_assert_int_eq(wait_answer(attempt, BUSY)->reason, reason);
}

static const char clean_mail[] = "From: a@example.org\r\nSubject: x\r\n\r\nHello.\r\n";

static void assert_scans(void)
{
    uint64_t attempt = send_whole(clean_mail, sizeof clean_mail - 1);
    ck_assert_int_eq(wait_answer(attempt, VERDICT)->verdict, WEIR__VERDICT__VERDICT_CLEAN);
}

/* The self-test's virus mail as an edge would send it; with pad bytes of text behind. Give it to free(). */
static char *virus_mail(size_t pad, size_t *len)
{
    char text[1024];
    size_t text_len;
    Weir__Verdict expected;
    engine_test_message(1, text, sizeof text, &text_len, &expected);
    *len = text_len - ENGINE_MAIL_PREFIX_LEN + pad;
    char *mail = xmalloc(*len);
    memcpy(mail, text + ENGINE_MAIL_PREFIX_LEN, text_len - ENGINE_MAIL_PREFIX_LEN);
    for (size_t i = *len - pad; i < *len; i++)
        mail[i] = i % 64 == 63 ? '\n' : '\r' - (i % 64 != 62) * ('\r' - '=');
    return mail;
}

/* Sends it in chunks as far as allowed, until the verdict. */
static struct answer *stream(const char *mail, size_t len, uint64_t hint, size_t chunk)
{
    uint64_t attempt = send_open(hint, false, NULL, 0, 0, 60000);
    uint64_t allowed = wait_answer(attempt, GRANT)->allowed, sent = 0;
    while (sent < len) {
        size_t next = len - sent < chunk ? len - sent : chunk;
        while (sent + next > allowed) {
            turn(20);
            struct answer *credit = answer_to(attempt, WEIR__FRAME__BODY_SCAN_CREDIT);
            if (credit != NULL && credit->allowed > allowed)
                allowed = credit->allowed;
            else if (t.late && allowed > sent)
                next = (size_t)(allowed - sent);
            ck_assert_ptr_null(answer_to(attempt, BUSY));
        }
        send_chunk(attempt, sent, mail + sent, next, false);
        sent += next;
    }
    send_chunk(attempt, sent, "", 0, true);
    return wait_answer(attempt, VERDICT);
}

#endif

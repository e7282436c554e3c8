/*
 * test_spam_shared.c - messages that are handed to an engine in shared memory, and connections that it keeps
 *
 * The engine is played by this test: it opens what it is told as rspamd does, or says that it cannot. What rspamd itself does is in tests/integration/test_spam.py.
 */
#include <check.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/memory.h"
#include "common/metrics.h"
#include "scanner/spam/client.h"
#include "scanner/spam/shared.h"
#include "tests/unit/suite.h"

#define SIZE      300000u
#define OFFSET    7 /* of the message in its file */
#define GROUP     1 /* a group that root may give a file */
#define ASKED_MAX 8
#define JSON      "{\"score\":6,\"required_score\":15,\"symbols\":{}}"
#define OK        "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n" JSON
#define CANNOT    "HTTP/1.1 503 Cannot open shm segment (/x): Permission denied\r\nConnection: close\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}"

enum how { ANSWERS, CANNOT_OPEN, SILENT, ANSWERS_AND_CLOSES };

static struct stage {
    struct event_base *base;
    struct evconnlistener *listener;
    struct metrics metrics;
    struct spam_client *client;
    struct bufferevent *conns[ASKED_MAX];
    size_t conn_count;
    enum how how;
    char *bytes; /* of the message */
    size_t size;
    int fd;
    struct spam_facts facts;
    /* what the engine saw */
    char name[SPAM_SHARED_NAME_MAX + 1];
    size_t shared, inside, held; /* questions with shared memory, with the bytes; answered by nobody yet */
    struct bufferevent *answered; /* the last one */
    /* what the client said */
    size_t ended, wanted;
    enum spam_call_end end;
} stage;

/* ---- the engine ---- */

static bool is_message_at(const char *name)
{
    struct stat st;
    int fd = shm_open(name, O_RDONLY, 0600);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_uint_eq((size_t)st.st_size, stage.size);
    ck_assert_uint_eq(st.st_mode & 07777, 0440); /* nobody writes it, and no stranger reads it */
    ck_assert_uint_eq(st.st_gid, geteuid() == 0 ? GROUP : getegid());
    char *map = mmap(NULL, stage.size, PROT_READ, MAP_SHARED, fd, 0);
    bool same = map != MAP_FAILED && memcmp(map, stage.bytes, stage.size) == 0;
    munmap(map, stage.size);
    close(fd);
    return same;
}

static void on_question(struct bufferevent *bev, void *arg)
{
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    (void)arg;
    if (end.pos < 0)
        return;
    size_t head = (size_t)end.pos + 4;
    char *bytes = (char *)evbuffer_pullup(in, -1), *shm = memmem(bytes, head, "Shm: ", 5), length[64];
    if (shm == NULL && evbuffer_get_length(in) < head + stage.size)
        return;
    if (shm != NULL) {
        stage.shared++;
        snprintf(length, sizeof length, "\r\nShm-Offset: 0\r\nShm-Length: %zu\r\n", stage.size);
        ck_assert_ptr_nonnull(memmem(bytes, head, "\r\nContent-Length: 0\r\n", 21));
        ck_assert_ptr_nonnull(memmem(bytes, head, length, strlen(length)));
        ck_assert_int_eq(sscanf(shm, "Shm: %63s", stage.name), 1);
        ck_assert_uint_eq(evbuffer_get_length(in), head);
        ck_assert(is_message_at(stage.name));
    } else {
        stage.inside++;
        ck_assert(memcmp(bytes + head, stage.bytes, stage.size) == 0);
    }
    evbuffer_drain(in, evbuffer_get_length(in));
    if (stage.how == SILENT)
        stage.held++;
    else
        bufferevent_write(stage.answered = bev, stage.how == CANNOT_OPEN && shm != NULL ? CANNOT : OK, strlen(stage.how == CANNOT_OPEN && shm != NULL ? CANNOT : OK));
}

static void on_written(struct bufferevent *bev, void *arg)
{
    size_t *at = arg;
    if (stage.how == ANSWERS_AND_CLOSES && stage.answered == bev) { /* it is called for a new one, too */
        bufferevent_free(bev);
        stage.conns[*at] = NULL;
    }
}

static void on_client(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
    static size_t places[ASKED_MAX];
    (void)listener, (void)peer, (void)len, (void)arg;
    size_t at = stage.conn_count++;
    ck_assert_uint_lt(at, ASKED_MAX);
    places[at] = at;
    stage.conns[at] = bufferevent_socket_new(stage.base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(stage.conns[at], on_question, on_written, NULL, &places[at]);
    bufferevent_enable(stage.conns[at], EV_READ | EV_WRITE);
}

/* ---- the scanner ---- */

static double value(const char *name, const char *labels)
{
    for (const struct metric *metric = stage.metrics.first; metric != NULL; metric = metric->next)
        if (strcmp(metric->name, name) == 0 && strcmp(metric->labels, labels) == 0)
            return metric->value;
    ck_abort_msg("no %s{%s}", name, labels);
}

static void expect_counts(double used, double refused, double full, double failed)
{
    ck_assert_double_eq(value("total", "used"), used);
    ck_assert_double_eq(value("total", "refused"), refused);
    ck_assert_double_eq(value("total", "full"), full);
    ck_assert_double_eq(value("total", "failed"), failed);
    ck_assert_double_eq(value("bytes", ""), 0);
}

static void expect_nothing_left(void)
{
    ck_assert(stage.name[0] == '/' && strncmp(stage.name + 1, SPAM_SHARED_PREFIX, strlen(SPAM_SHARED_PREFIX)) == 0);
    ck_assert(shm_open(stage.name, O_RDONLY, 0600) < 0 && errno == ENOENT);
}

/* from: bytes from which a message is handed over so. */
static void set_stage(enum how how, uint64_t from, uint64_t max, uint64_t timeout_ms)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;
    char server[40];
    stage = (struct stage){ .base = event_base_new(), .how = how, .size = SIZE, .bytes = xmalloc(SIZE), .fd = -1, .wanted = 1 };
    stage.facts = (struct spam_facts){ .id = "Q", .client = "192.0.2.1", .client_name = "", .helo = "a", .sender = "", .login = "", .edge = "mx", .size = SIZE };
    for (size_t i = 0; i < SIZE; i++)
        stage.bytes[i] = (char)(i * 2654435761u >> 13);
    metrics_init(&stage.metrics);
    stage.listener = evconnlistener_new_bind(stage.base, on_client, NULL, LEV_OPT_CLOSE_ON_FREE, 16, (struct sockaddr *)&in, sizeof in);
    ck_assert_ptr_nonnull(stage.listener);
    getsockname(evconnlistener_get_fd(stage.listener), (struct sockaddr *)&in, &len);
    snprintf(server, sizeof server, "127.0.0.1:%u", ntohs(in.sin_port));
    struct spam_sharing sharing = { .from = from, .max = max, .group = geteuid() == 0 ? GROUP : (gid_t)-1, .pause_ms = 3600000 };
    sharing.bytes = metrics_gauge(&stage.metrics, "bytes", NULL);
    sharing.used = metrics_counter(&stage.metrics, "total", "used");
    sharing.refused = metrics_counter(&stage.metrics, "total", "refused");
    sharing.full = metrics_counter(&stage.metrics, "total", "full");
    sharing.failed = metrics_counter(&stage.metrics, "total", "failed");
    stage.client = spam_client_new(stage.base, &(struct spam_client_options){ .server = server, .protocol = &rspamd_protocol, .scale = { 6, 15 }, .connections = 4,
                                                   .timeout_ms = timeout_ms, .reply_max = 4096, .sharing = sharing });
}

static void clear_stage(void)
{
    spam_client_free(&stage.client);
    evconnlistener_free(stage.listener);
    for (size_t i = 0; i < stage.conn_count; i++)
        if (stage.conns[i] != NULL)
            bufferevent_free(stage.conns[i]);
    event_base_loop(stage.base, EVLOOP_NONBLOCK); /* bufferevents are freed a turn later */
    event_base_free(stage.base);
    metrics_fini(&stage.metrics);
    free(stage.bytes);
    if (stage.fd >= 0)
        close(stage.fd);
}

static void on_call(void *arg, enum spam_call_end end, struct spam_answer *answer, const char *why)
{
    (void)arg, (void)why;
    stage.end = end;
    ck_assert(end != SPAM_CALL_ANSWERED || answer->score == 5000);
    if (++stage.ended == stage.wanted)
        event_base_loopbreak(stage.base);
}

static struct spam_call *ask(void)
{
    struct spam_message message = { .bytes = stage.fd < 0 ? stage.bytes : NULL, .fd = stage.fd, .offset = stage.fd < 0 ? 0 : OFFSET, .size = stage.size };
    return spam_client_ask(stage.client, &stage.facts, &message, on_call, NULL);
}

static void ask_and_wait(void)
{
    stage.ended = 0;
    ask();
    event_base_dispatch(stage.base);
    ck_assert_uint_eq(stage.ended, stage.wanted);
}

static void put_in_file(void)
{
    stage.fd = memfd_create("message", MFD_CLOEXEC);
    ck_assert(pwrite(stage.fd, stage.bytes, stage.size, OFFSET) == (ssize_t)stage.size);
}

/* From memory and from a file; one byte less goes in the question. */
START_TEST(a_large_message_is_handed_over)
{
    set_stage(ANSWERS, SIZE, SIZE, 60000);
    if (_i == 1)
        put_in_file();
    ask_and_wait();
    ck_assert(stage.end == SPAM_CALL_ANSWERED && stage.shared == 1 && stage.inside == 0);
    expect_nothing_left();
    expect_counts(1, 0, 0, 0);
    stage.size = stage.facts.size = SIZE - 1;
    ask_and_wait();
    ck_assert(stage.end == SPAM_CALL_ANSWERED && stage.shared == 1 && stage.inside == 1 && stage.conn_count == 1); /* on the same connection */
    expect_counts(1, 0, 0, 0);
    clear_stage();
}
END_TEST

START_TEST(none_is_where_it_is_off)
{
    set_stage(ANSWERS, 0, SIZE, 60000);
    ask_and_wait();
    ck_assert(stage.end == SPAM_CALL_ANSWERED && stage.shared == 0 && stage.inside == 1);
    expect_counts(0, 0, 0, 0);
    clear_stage();
}
END_TEST

/* The same message is asked about once more, and others are not tried with for a while. */
START_TEST(an_engine_that_cannot_open_it_gets_the_bytes)
{
    set_stage(CANNOT_OPEN, 1, SIZE, 60000);
    ask_and_wait();
    ck_assert(stage.end == SPAM_CALL_ANSWERED && stage.shared == 1 && stage.inside == 1);
    expect_nothing_left();
    expect_counts(0, 1, 0, 0);
    ask_and_wait();
    ck_assert(stage.end == SPAM_CALL_ANSWERED && stage.shared == 1 && stage.inside == 2);
    expect_counts(0, 1, 0, 0);
    clear_stage();
}
END_TEST

/* Two at once, and room for one. */
START_TEST(what_has_no_room_goes_in_the_question)
{
    set_stage(ANSWERS, 1, 2 * SIZE - 1, 60000);
    stage.wanted = 2;
    ask();
    ask_and_wait();
    ck_assert(stage.end == SPAM_CALL_ANSWERED && stage.shared == 1 && stage.inside == 1);
    expect_counts(1, 0, 1, 0);
    stage.wanted = 1; /* there is room again */
    ask_and_wait();
    ck_assert(stage.shared == 2 && stage.inside == 1);
    expect_counts(2, 0, 1, 0);
    clear_stage();
}
END_TEST

/* As where /dev/shm is full. */
START_TEST(what_cannot_be_written_goes_in_the_question)
{
    set_stage(ANSWERS, 1, SIZE, 60000);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ SIZE - 1, RLIM_INFINITY }), 0);
    ask_and_wait();
    ck_assert(stage.end == SPAM_CALL_ANSWERED && stage.shared == 0 && stage.inside == 1);
    expect_counts(0, 0, 0, 1);
    clear_stage();
}
END_TEST

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (stage.held > 0)
        event_base_loopbreak(stage.base);
}

/* However a question ends, its memory has no name after it. */
START_TEST(nothing_is_left_of_a_question_without_answer)
{
    set_stage(SILENT, 1, SIZE, _i == 0 ? 300 : 60000);
    struct event *look = event_new(stage.base, -1, EV_PERSIST, on_look, NULL);
    event_add(look, &(struct timeval){ 0, 1000 });
    struct spam_call *call = ask();
    event_base_dispatch(stage.base); /* it has opened it; or, on a machine where that takes so long, the time is over */
    if (_i == 1) {
        ck_assert_double_eq(value("bytes", ""), SIZE);
        spam_call_cancel(&call);
    } else if (stage.ended == 0) {
        event_free(look);
        look = NULL;
        event_base_dispatch(stage.base);
    }
    ck_assert(_i == 1 || stage.end == SPAM_CALL_TIMEOUT);
    if (stage.held > 0)
        expect_nothing_left();
    expect_counts(0, 0, 0, 0);
    if (look != NULL)
        event_free(look);
    clear_stage();
}
END_TEST

/* What a killed scanner leaves goes at the next start; what another one has there now stays. */
START_TEST(what_the_dead_left_is_swept)
{
    struct spam_message message = { .bytes = "Hello.\r\n", .fd = -1, .size = 8 };
    struct spam_shared living;
    struct error why;
    struct stat st;
    char dead[SPAM_SHARED_NAME_MAX + 1] = "", path[100];
    int told[2], status;
    ck_assert(spam_shared_put(&living, &message, (gid_t)-1, &why) && pipe(told) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct spam_shared shared;
        _exit(spam_shared_put(&shared, &message, (gid_t)-1, &why) && write(told[1], shared.name, sizeof shared.name) == sizeof shared.name && pause() == 0);
    }
    ck_assert_int_eq(read(told[0], dead, sizeof dead), sizeof dead);
    snprintf(path, sizeof path, "/dev/shm%s", dead);
    spam_shared_sweep();
    ck_assert_int_eq(stat(path, &st), 0); /* it lives */
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    spam_shared_sweep();
    ck_assert(stat(path, &st) != 0 && errno == ENOENT);
    snprintf(path, sizeof path, "/dev/shm%s", living.name);
    ck_assert_int_eq(stat(path, &st), 0);
    spam_shared_end(&living);
    ck_assert(stat(path, &st) != 0 && living.fd < 0);
    close(told[0]), close(told[1]);
}
END_TEST

START_TEST(a_group_is_one_of_ours)
{
    struct error why;
    gid_t group = 5;
    ck_assert(spam_shared_group(&group, "", &why) && group == (gid_t)-1);
    ck_assert(spam_shared_group(&group, "root", &why) == (geteuid() == 0) || getegid() == 0);
    ck_assert(!spam_shared_group(&group, "weir-no-such-group", &why));
    ck_assert_str_eq(why.text, "this machine has no group weir-no-such-group");
    if (geteuid() != 0) /* only root is in all of them */
        return;
    pid_t pid = fork();
    int status;
    if (pid == 0)
        _exit(setgid(65534) == 0 && setuid(65534) == 0 && !spam_shared_group(&group, "root", &why) && strstr(why.text, "is not in the group root") != NULL ? 0 : 1);
    waitpid(pid, &status, 0);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* One that the engine kept and then closed: nobody saw the question on it. */
START_TEST(a_kept_connection_that_was_closed_is_no_failure)
{
    set_stage(ANSWERS, 0, 0, 60000);
    ask_and_wait();
    ask_and_wait();
    ck_assert(stage.inside == 2 && stage.conn_count == 1); /* it was kept */
    bufferevent_free(stage.conns[0]);
    stage.conns[0] = NULL;
    ask_and_wait(); /* before the client has heard of the end */
    ck_assert(stage.end == SPAM_CALL_ANSWERED && stage.inside == 3 && stage.conn_count == 2);
    stage.how = ANSWERS_AND_CLOSES;
    ask_and_wait();
    event_base_loop(stage.base, EVLOOP_NONBLOCK);
    ask_and_wait(); /* and after it */
    ck_assert(stage.end == SPAM_CALL_ANSWERED && stage.inside == 5 && stage.conn_count == 3);
    clear_stage();
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("spam shared");
    TCase *tests = tcase_create("all");
    tcase_add_loop_test(tests, a_large_message_is_handed_over, 0, 2);
    tcase_add_test(tests, none_is_where_it_is_off);
    tcase_add_test(tests, an_engine_that_cannot_open_it_gets_the_bytes);
    tcase_add_test(tests, what_has_no_room_goes_in_the_question);
    tcase_add_test(tests, what_cannot_be_written_goes_in_the_question);
    tcase_add_loop_test(tests, nothing_is_left_of_a_question_without_answer, 0, 2);
    tcase_add_test(tests, what_the_dead_left_is_swept);
    tcase_add_test(tests, a_group_is_one_of_ours);
    tcase_add_test(tests, a_kept_connection_that_was_closed_is_no_failure);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

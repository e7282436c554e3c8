/*
 * test_spam_client.c - engines that are other processes: what they are sent, and every way in which one can fail
 *
 * The engine is played by this test, as no real one can be told to fail so; what real ones answer is in tests/integration/test_spam.py.
 */
#include <check.h>
#include <event2/bufferevent.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "common/memory.h"
#include "scanner/spam/client.h"
#include "tests/unit/suite.h"

#define REPLY_MAX 8192
#define SIZE      (3u << 20) /* more than any socket's buffers hold */
#define OFFSET    7          /* of the message in its file */
#define NOT_HTTP  "it is no HTTP answer with a Content-Length"

enum how { AT_ONCE, THEN_CLOSES, BYTE_BY_BYTE, WITHOUT_END, NOT_AT_ALL, KILLED };

static const struct fault {
    const struct spam_protocol *protocol;
    enum how how;
    const char *says;
    enum spam_call_end end;
    const char *why; /* how it begins */
} faults[] = {
#define JSON "{\"score\":6,\"required_score\":15,\"symbols\":{}}"
#define OK   "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"
#define SPAM "SPAMD/1.1 0 EX_OK\r\nSpam: True ; 5.0 / 5.0\r\n\r\nGTUBE\r\n"
    { &rspamd_protocol, AT_ONCE, OK JSON, SPAM_CALL_ANSWERED, "" },
    { &rspamd_protocol, THEN_CLOSES, OK JSON, SPAM_CALL_ANSWERED, "" },
    { &rspamd_protocol, KILLED, "", SPAM_CALL_FAILED, "" },
    { &rspamd_protocol, NOT_AT_ALL, "", SPAM_CALL_TIMEOUT, "no answer in time" },
    { &rspamd_protocol, AT_ONCE, "HTTP/1.1 200 OK\r\nConte", SPAM_CALL_TIMEOUT, "no answer in time" },
    { &rspamd_protocol, THEN_CLOSES, "", SPAM_CALL_FAILED, "it closed the connection without an answer" },
    { &rspamd_protocol, THEN_CLOSES, OK "{\"score\":6", SPAM_CALL_GARBAGE, "it broke off" },
    { &rspamd_protocol, THEN_CLOSES, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", SPAM_CALL_GARBAGE, "HTTP status 503" },
    { &rspamd_protocol, THEN_CLOSES, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", SPAM_CALL_GARBAGE, "no JSON" },
    { &rspamd_protocol, AT_ONCE, "220 mail.example.org ESMTP\r\n\r\n", SPAM_CALL_GARBAGE, NOT_HTTP },
    { &rspamd_protocol, AT_ONCE, "HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n", SPAM_CALL_GARBAGE, "its answer is longer than spam_reply_size" },
    { &rspamd_protocol, BYTE_BY_BYTE, OK JSON, SPAM_CALL_TIMEOUT, "no answer in time" }, /* each byte is no reprieve */
    { &rspamd_protocol, WITHOUT_END, "HTTP/1.1 200 OK\r\nX: y", SPAM_CALL_GARBAGE, "its answer is longer than spam_reply_size" },
    { &spamd_protocol, THEN_CLOSES, SPAM, SPAM_CALL_ANSWERED, "" },
    { &spamd_protocol, KILLED, "", SPAM_CALL_FAILED, "" },
    { &spamd_protocol, NOT_AT_ALL, "", SPAM_CALL_TIMEOUT, "no answer in time" },
    { &spamd_protocol, AT_ONCE, SPAM, SPAM_CALL_TIMEOUT, "no answer in time" }, /* its end is that of the connection */
    { &spamd_protocol, THEN_CLOSES, "", SPAM_CALL_FAILED, "it closed the connection without an answer" },
    { &spamd_protocol, THEN_CLOSES, "SPAMD/1.1 0 EX_OK\r\nSpam: Tr", SPAM_CALL_GARBAGE, "no answer of spamd: SPAMD/1.1 0 EX_OK" },
    { &spamd_protocol, THEN_CLOSES, "SPAMD/1.0 76 Bad header line: (Content-Length mismatch)\r\n", SPAM_CALL_GARBAGE, "no answer of spamd" },
    { &spamd_protocol, THEN_CLOSES, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", SPAM_CALL_GARBAGE, "no answer of spamd" },
    { &spamd_protocol, BYTE_BY_BYTE, SPAM, SPAM_CALL_TIMEOUT, "no answer in time" },
    { &spamd_protocol, WITHOUT_END, "SPAMD/1.1 0 EX_OK\r\n", SPAM_CALL_GARBAGE, "its answer is longer than spam_reply_size" },
};

static struct scene { /* of one question */
    const struct fault *fault;
    struct event_base *base;
    char *bytes; /* of the message */
    size_t size;
    bool came_whole, ended;
    struct bufferevent *server; /* the engine's end; NULL: it has closed it */
    enum spam_call_end end;
    uint32_t score;
    char why[200];
} scene;

struct trickle { /* an answer in drops */
    struct bufferevent *bev;
    struct event *timer;
    size_t at;
};

static void on_drop(evutil_socket_t fd, short what, void *arg)
{
    struct trickle *trickle = arg;
    (void)fd, (void)what;
    const char *says = scene.fault->says;
    if (scene.server == NULL)
        return;
    if (says[trickle->at + 1] != '\0') /* never the last one */
        bufferevent_write(trickle->bev, says + trickle->at++, 1);
    event_add(trickle->timer, &(struct timeval){ 0, 2000 });
}

static void close_server(void)
{
    if (scene.server != NULL)
        bufferevent_free(scene.server);
    scene.server = NULL;
}

static void on_written(struct bufferevent *bev, void *arg)
{
    (void)arg;
    if (!scene.came_whole) /* nothing was said yet */
        return;
    if (scene.fault->how == WITHOUT_END)
        bufferevent_write(bev, scene.fault->says, strlen(scene.fault->says));
    else if (scene.fault->how == THEN_CLOSES)
        close_server();
}

static void on_gone(struct bufferevent *bev, short what, void *arg)
{
    (void)bev, (void)what, (void)arg;
    close_server();
}

/* The question is here when the message's last byte is. */
static void on_question(struct bufferevent *bev, void *arg)
{
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer_ptr head = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    if (head.pos < 0 || evbuffer_get_length(in) < (size_t)head.pos + 4 + scene.size)
        return;
    const char *bytes = (const char *)evbuffer_pullup(in, -1);
    scene.came_whole = evbuffer_get_length(in) == (size_t)head.pos + 4 + scene.size && memcmp(bytes + head.pos + 4, scene.bytes, scene.size) == 0;
    evbuffer_drain(in, evbuffer_get_length(in));
    switch (scene.fault->how) {
    case KILLED:
        setsockopt(bufferevent_getfd(bev), SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger)); /* as a kernel does for who left bytes unread */
        close_server();
        return;
    case NOT_AT_ALL:
        return;
    case BYTE_BY_BYTE: {
        struct trickle *trickle = arg;
        trickle->bev = bev;
        trickle->timer = evtimer_new(scene.base, on_drop, trickle);
        on_drop(-1, 0, trickle);
        return;
    }
    default:
        if (*scene.fault->says == '\0')
            on_written(bev, NULL);
        else
            bufferevent_write(bev, scene.fault->says, strlen(scene.fault->says));
    }
}

static void on_client(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
    (void)listener, (void)peer, (void)len;
    scene.server = bufferevent_socket_new(scene.base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(scene.server, on_question, on_written, on_gone, arg);
    bufferevent_enable(scene.server, EV_READ | EV_WRITE);
}

static void on_call(void *arg, enum spam_call_end end, struct spam_answer *answer, const char *why)
{
    (void)arg;
    scene.ended = true;
    scene.end = end;
    scene.score = end == SPAM_CALL_ANSWERED ? answer->score : 0;
    snprintf(scene.why, sizeof scene.why, "%s", why != NULL ? why : "");
    event_base_loopbreak(scene.base);
}

/* Of a unix socket in folder, or of loopback. server: what the configuration says of it. */
static struct evconnlistener *listen_at(bool local, const char *folder, struct trickle *trickle, char *server, size_t cap)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr *address = local ? (struct sockaddr *)&un : (struct sockaddr *)&in;
    socklen_t len = sizeof in;
    snprintf(un.sun_path, sizeof un.sun_path, "%s/socket", folder);
    struct evconnlistener *listener = evconnlistener_new_bind(scene.base, on_client, trickle, LEV_OPT_CLOSE_ON_FREE, 16, address, local ? sizeof un : sizeof in);
    ck_assert_ptr_nonnull(listener);
    if (local) {
        snprintf(server, cap, "unix:%s", un.sun_path);
    } else {
        getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&in, &len);
        snprintf(server, cap, "127.0.0.1:%u", ntohs(in.sin_port));
    }
    return listener;
}

static void ask(bool local, bool in_file)
{
    char folder[] = "/tmp/weir-test-spam.XXXXXX", server[120], path[120];
    struct trickle trickle = { 0 };
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    scene.base = event_base_new();
    scene.ended = scene.came_whole = false;
    struct evconnlistener *listener = listen_at(local, folder, &trickle, server, sizeof server);
    int fd = in_file ? memfd_create("message", MFD_CLOEXEC) : -1;
    if (in_file)
        ck_assert(pwrite(fd, scene.bytes, scene.size, OFFSET) == (ssize_t)scene.size);
    bool waits = scene.fault->end == SPAM_CALL_TIMEOUT;
    struct spam_client *client = spam_client_new(scene.base, &(struct spam_client_options){ .server = server, .protocol = scene.fault->protocol, .scale = { 6, 15 },
                                                     .connections = 1, .timeout_ms = waits ? 100 : 60000, .reply_max = REPLY_MAX });
    const char *to[] = { "alice@example.edu" };
    struct spam_facts facts = { .id = "Q", .client = "192.0.2.1", .client_name = "", .helo = "a", .sender = "b@example.org", .login = "", .edge = "mx", .recipients = to,
                                .recipient_count = 1, .size = scene.size };
    struct spam_message message = { .bytes = in_file ? NULL : scene.bytes, .fd = fd, .offset = in_file ? OFFSET : 0, .size = scene.size };
    spam_client_ask(client, &facts, &message, on_call, NULL);
    ck_assert(!scene.ended); /* nothing is called from inside */
    event_base_dispatch(scene.base);
    spam_client_free(&client);
    evconnlistener_free(listener);
    if (trickle.timer != NULL)
        event_free(trickle.timer);
    close_server();
    if (fd >= 0)
        close(fd);
    event_base_loop(scene.base, EVLOOP_NONBLOCK); /* bufferevents are freed a turn later */
    event_base_free(scene.base);
    unlink(path);
    rmdir(folder);
}

START_TEST(an_engine_fails)
{
    char small[] = "From: a@example.org\r\n\r\nHello.\r\n";
    scene = (struct scene){ .fault = &faults[_i / 2], .bytes = small, .size = sizeof small - 1 };
    ask(_i % 2 == 0, false);
    ck_assert(scene.ended && (scene.came_whole || scene.end == SPAM_CALL_TIMEOUT)); /* a slow machine may do nothing at all in that time */
    ck_assert_int_eq(scene.end, scene.fault->end);
    ck_assert_msg(strncmp(scene.why, scene.fault->why, strlen(scene.fault->why)) == 0, "%s", scene.why);
    ck_assert_uint_eq(scene.score, scene.end == SPAM_CALL_ANSWERED ? 5000 : 0);
}
END_TEST

/* What a socket does not take at once goes as it has room, from memory and from a file. */
START_TEST(a_large_message_comes_whole)
{
    scene = (struct scene){ .fault = &faults[0], .bytes = xmalloc(SIZE), .size = SIZE };
    for (size_t i = 0; i < SIZE; i++)
        scene.bytes[i] = (char)(i * 2654435761u >> 13);
    ask(_i / 2 == 0, _i % 2 == 0);
    ck_assert(scene.ended && scene.came_whole && scene.end == SPAM_CALL_ANSWERED);
    free(scene.bytes);
}
END_TEST

START_TEST(an_engine_that_is_not_there_fails)
{
    static const char *const servers[] = { "unix:/tmp/weir-test-nobody/socket", "/tmp/weir-test-nobody/socket", "127.0.0.1:1" };
    struct spam_facts facts = { .id = "", .client = "", .client_name = "", .helo = "", .sender = "", .login = "", .edge = "" };
    struct spam_message message = { .bytes = "", .fd = -1 };
    scene = (struct scene){ .base = event_base_new() };
    struct spam_client *client = spam_client_new(scene.base, &(struct spam_client_options){ .server = servers[_i], .protocol = &rspamd_protocol, .scale = { 6, 15 },
                                                     .connections = 1, .timeout_ms = 60000, .reply_max = REPLY_MAX });
    spam_client_ask(client, &facts, &message, on_call, NULL);
    ck_assert(!scene.ended);
    event_base_dispatch(scene.base);
    ck_assert(scene.ended && scene.end == SPAM_CALL_FAILED);
    spam_client_free(&client);
    event_base_free(scene.base);
}
END_TEST

/* ---- more questions than connections ---- */

#define ASKED 6

static struct crowd {
    struct bufferevent *held[ASKED], *all[ASKED]; /* asked, not answered */
    size_t held_count, connections, ended, wanted;
} crowd;

/* Answered when as many wait as there may be: so many were there at once. */
static void on_crowd_question(struct bufferevent *bev, void *arg)
{
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer_ptr head = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    (void)arg;
    if (head.pos < 0 || evbuffer_get_length(in) < (size_t)head.pos + 4 + scene.size)
        return;
    evbuffer_drain(in, evbuffer_get_length(in));
    crowd.held[crowd.held_count++] = bev;
    if (crowd.held_count < crowd.wanted)
        return;
    for (size_t i = 0; i < crowd.held_count; i++)
        bufferevent_write(crowd.held[i], OK JSON, strlen(OK JSON));
    crowd.held_count = 0;
}

static void on_crowd_client(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
    (void)listener, (void)peer, (void)len, (void)arg;
    ck_assert_uint_lt(crowd.connections, ASKED);
    struct bufferevent *bev = crowd.all[crowd.connections++] = bufferevent_socket_new(scene.base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(bev, on_crowd_question, NULL, NULL, NULL);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void on_crowd_call(void *arg, enum spam_call_end end, struct spam_answer *answer, const char *why)
{
    (void)arg, (void)answer;
    ck_assert_msg(end == SPAM_CALL_ANSWERED, "%s", why);
    if (++crowd.ended == ASKED)
        event_base_loopbreak(scene.base);
}

START_TEST(questions_stand_in_line)
{
    char small[] = "From: a@example.org\r\n\r\nHello.\r\n";
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;
    char server[40];
    struct spam_facts facts = { .id = "Q", .client = "192.0.2.1", .client_name = "", .helo = "a", .sender = "", .login = "", .edge = "mx", .size = sizeof small - 1 };
    struct spam_message message = { .bytes = small, .fd = -1, .size = sizeof small - 1 };
    scene = (struct scene){ .base = event_base_new(), .size = sizeof small - 1 };
    crowd = (struct crowd){ .wanted = _i == 0 ? 1 : 3 };
    struct evconnlistener *listener = evconnlistener_new_bind(scene.base, on_crowd_client, NULL, LEV_OPT_CLOSE_ON_FREE, 16, (struct sockaddr *)&in, sizeof in);
    ck_assert_ptr_nonnull(listener);
    getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&in, &len);
    snprintf(server, sizeof server, "127.0.0.1:%u", ntohs(in.sin_port));
    struct spam_client *client = spam_client_new(scene.base, &(struct spam_client_options){ .server = server, .protocol = &rspamd_protocol, .scale = { 6, 15 },
                                                     .connections = crowd.wanted, .timeout_ms = 60000, .reply_max = REPLY_MAX });
    for (size_t i = 0; i < ASKED; i++)
        spam_client_ask(client, &facts, &message, on_crowd_call, NULL);
    event_base_dispatch(scene.base);
    ck_assert_uint_eq(crowd.ended, ASKED);
    ck_assert_uint_eq(crowd.connections, crowd.wanted);
    spam_client_free(&client);
    evconnlistener_free(listener);
    for (size_t i = 0; i < crowd.connections; i++)
        bufferevent_free(crowd.all[i]);
    event_base_loop(scene.base, EVLOOP_NONBLOCK);
    event_base_free(scene.base);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("spam client");
    TCase *tests = tcase_create("all");
    tcase_add_loop_test(tests, an_engine_fails, 0, 2 * (int)(sizeof faults / sizeof *faults));
    tcase_add_loop_test(tests, a_large_message_comes_whole, 0, 4);
    tcase_add_loop_test(tests, an_engine_that_is_not_there_fails, 0, 3);
    tcase_add_loop_test(tests, questions_stand_in_line, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/*
 * test_net.c - connections and listeners over loopback, both ends on one event loop
 */
#include <check.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/net/net.h"
#include "tests/unit/certificate.h"
#include "tests/unit/suite.h"

enum behaviour {
    KEEP,               /* uses all bytes and keeps a copy */
    LINES,              /* uses whole lines only */
    PAUSE_OFTEN,        /* uses a third of what is offered, pauses, resumes from a timer */
    USE_NOTHING,        /* neither uses nor pauses */
    ANSWER,             /* answers "ok\n" to a line; leaves those behind it and pauses */
    FREE_IN_BYTES,
    CLOSE_IN_BYTES,     /* writes "bye" and closes after the flush */
    START_TLS,          /* answers "STARTTLS\n" with "go\n" and begins */
    START_TLS_CLIENT,   /* begins when "go\n" comes */
};

struct end {
    struct net_conn *conn;
    enum behaviour behaviour;
    char *got;
    size_t got_len;
    size_t to_send, sent; /* refilled when drained */
    bool connected, secured, ended, gone;
    unsigned pauses, offers;
    enum net_end end;
    char why[256];
    struct event *resume;
};

static struct event_base *base;
static struct event *tick;
static struct net_listener *listener;
static struct netaddr at;
static struct end client, server;
static struct net_tls *tls_server, *tls_client;
static struct test_certificate certificate;
static bool accept_stops, accept_halves; /* the latter: an owner that answers who sends no more */

static void end_refill(struct end *e)
{
    char block[8192];
    while (e->sent < e->to_send && net_unsent(e->conn) < 65536) {
        size_t len = e->to_send - e->sent < sizeof block ? e->to_send - e->sent : sizeof block;
        for (size_t i = 0; i < len; i++)
            block[i] = (char)((e->sent + i) * 31 >> 3);
        net_write(e->conn, block, len);
        e->sent += len;
    }
}

static void end_keep(struct end *e, const char *buf, size_t len)
{
    e->got = xrealloc(e->got, e->got_len + len + 1);
    memcpy(e->got + e->got_len, buf, len);
    e->got_len += len;
    e->got[e->got_len] = '\0';
}

static void on_connected(void *arg)
{
    struct end *e = arg;
    e->connected = true;
    end_refill(e);
}

static void on_secured(void *arg)
{
    struct end *e = arg;
    e->secured = true;
    end_refill(e);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct end *e = arg;
    if (e->conn != NULL)
        net_resume(e->conn);
}

static size_t on_bytes(void *arg, const char *buf, size_t len)
{
    struct end *e = arg;
    size_t used = len;
    ck_assert_uint_eq(net_buffered(e->conn), len);
    e->offers++;
    switch (e->behaviour) {
    case KEEP:
        end_keep(e, buf, len);
        break;
    case LINES:
        while (used > 0 && buf[used - 1] != '\n')
            used--;
        end_keep(e, buf, used);
        break;
    case PAUSE_OFTEN:
        used = len < 3 ? len : len / 3;
        end_keep(e, buf, used);
        e->pauses++;
        net_pause(e->conn);
        if (e->resume == NULL)
            e->resume = evtimer_new(base, on_resume, e);
        event_add(e->resume, &(struct timeval){ 0, e->pauses % 5 == 0 ? 1000 : 0 });
        break;
    case USE_NOTHING:
        e->pauses++;
        used = 0;
        break;
    case ANSWER:
        used = 1 + (size_t)((const char *)memchr(buf, '\n', len) - buf);
        net_write(e->conn, "ok\n", 3);
        if (used < len)
            net_pause(e->conn);
        break;
    case FREE_IN_BYTES:
        net_free(&e->conn);
        break;
    case CLOSE_IN_BYTES:
        net_write(e->conn, "bye\n", 4);
        net_close_after_flush(&e->conn);
        break;
    case START_TLS:
        used = strlen("STARTTLS\n");
        ck_assert_uint_ge(len, used);
        net_write(e->conn, "go\n", 3);
        ck_assert(net_start_tls(e->conn, tls_server, true, NULL));
        e->behaviour = KEEP;
        break;
    case START_TLS_CLIENT:
        ck_assert(len == 3 && memcmp(buf, "go\n", 3) == 0);
        ck_assert(net_start_tls(e->conn, tls_client, false, "relay.test"));
        e->behaviour = KEEP;
        break;
    }
    return used;
}

static void on_drained(void *arg)
{
    struct end *e = arg;
    if (e->sent > 0)
        end_refill(e);
}

static void on_gone(void *arg, enum net_end end, const char *why)
{
    struct end *e = arg;
    ck_assert(!e->gone);
    e->gone = true;
    e->end = end;
    snprintf(e->why, sizeof e->why, "%s", why);
    net_free(&e->conn);
}

static void on_ended(void *arg)
{
    struct end *e = arg;
    ck_assert(!e->ended);
    e->ended = true;
}

static const struct net_handlers half_handlers = { on_connected, on_secured, on_bytes, on_drained, on_ended, on_gone };
static const struct net_handlers handlers = { on_connected, on_secured, on_bytes, on_drained, NULL, on_gone };

static void on_accepted(void *arg, int fd, const struct netaddr *peer, const struct netaddr *local)
{
    struct end *e = arg;
    e->conn = net_accept(base, fd, accept_halves ? &half_handlers : &handlers, e);
    net_set_source(e->conn, 1); /* as clients are read: in turns */
    ck_assert(netaddr_equal(net_peer(e->conn), peer) && net_peer(e->conn)->port == peer->port);
    ck_assert(netaddr_equal(net_local(e->conn), local) && local->port == at.port);
    if (accept_stops)
        net_listener_free(&listener);
}

/* One turn of the loop; a timer sees to it that it ends. */
static void run_turn(void)
{
    event_base_loop(base, EVLOOP_ONCE);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

/* Runs the loop until *what is true; fails after a minute. */
static void run_until(const bool *what)
{
    uint64_t stop = clock_ms() + 60000;
    while (!*what) {
        ck_assert_msg(clock_ms() < stop, "nothing happened");
        run_turn();
    }
}

static void run_until_got(const struct end *e, size_t len)
{
    uint64_t stop = clock_ms() + 60000;
    for (size_t had = e->got_len; e->got_len < len; had = e->got_len) {
        ck_assert_msg(clock_ms() < stop && !e->gone, "only %zu of %zu bytes came, gone: %s", e->got_len, len, e->why);
        run_turn();
        if (e->got_len > had) /* however slowly it comes */
            stop = clock_ms() + 60000;
    }
}

static void run_ms(unsigned ms)
{
    for (uint64_t stop = clock_ms() + ms; clock_ms() < stop;)
        run_turn();
}

static int listen_fd(void)
{
    struct error why;
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    struct netaddr any;
    ck_assert(netaddr_parse(&any, "127.0.0.1"));
    int fd = net_bind(&any, &why);
    ck_assert_msg(fd >= 0, "%s", why.text);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    ck_assert(netaddr_from_sockaddr(&at, (struct sockaddr *)&name));
    return fd;
}

static void setup(void)
{
    struct error why;
    base = event_base_new();
    tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    event_add(tick, &(struct timeval){ 0, 5000 });
    memset(&client, 0, sizeof client);
    memset(&server, 0, sizeof server);
    accept_stops = accept_halves = false;
    listener = net_listen(base, listen_fd(), on_accepted, &server);
    tls_server = net_tls_server(certificate.certificate, certificate.key, &why);
    ck_assert_msg(tls_server != NULL, "%s", why.text);
    tls_client = net_tls_client(certificate.certificate, true, &why);
    ck_assert_msg(tls_client != NULL, "%s", why.text);
}

static void end_fini(struct end *e)
{
    net_free(&e->conn);
    free(e->got);
    if (e->resume != NULL)
        event_free(e->resume);
}

static void teardown(void)
{
    end_fini(&client);
    end_fini(&server);
    run_ms(20); /* connections that close by themselves */
    net_listener_free(&listener);
    net_tls_unref(&tls_server);
    net_tls_unref(&tls_client);
    event_free(tick);
    event_base_free(base);
}

static void connect_both(void)
{
    client.conn = net_connect(base, &at, NULL, 5000, &handlers, &client);
    ck_assert(!client.connected);
    run_until(&client.connected);
    uint64_t stop = clock_ms() + 60000;
    while (server.conn == NULL && clock_ms() < stop)
        run_ms(5);
    ck_assert_ptr_nonnull(server.conn);
}

static void secure_both(void)
{
    server.behaviour = START_TLS;
    client.behaviour = START_TLS_CLIENT;
    connect_both();
    net_write(client.conn, "STARTTLS\n", 9);
    run_until(&client.secured);
    run_until(&server.secured);
}

static void check_pattern(const struct end *e, size_t len)
{
    size_t same = 0;
    while (same < e->got_len && e->got[same] == (char)(same * 31 >> 3))
        same++;
    ck_assert_uint_eq(same, len);
}

START_TEST(lines_in_pieces)
{
    server.behaviour = LINES;
    connect_both();
    const char *text = "EHLO a\r\nMAIL FROM:<>\r\n";
    for (const char *p = text; *p != '\0'; p++) {
        net_write(client.conn, p, 1);
        run_ms(1);
    }
    run_until_got(&server, strlen(text));
    ck_assert_str_eq(server.got, text);
    ck_assert_uint_eq(net_buffered(server.conn), 0);
    ck_assert_uint_eq(net_unsent(client.conn), 0);
}
END_TEST

/* false: the machine was too slow for it to tell anything. */
static bool answers_come_together(void)
{
    uint64_t start = clock_ms();
    client.offers = 0;
    client.got_len = 0;
    net_write(client.conn, "a\nb\n", 4);
    while (server.offers % 2 == 0)
        run_turn();
    run_ms(5); /* the first answer would have come by now */
    bool early = client.got_len > 0;
    net_write(server.conn, "and\n", 4);
    net_resume(server.conn);
    run_until_got(&client, 10);
    ck_assert_str_eq(client.got, "ok\nand\nok\n");
    if (clock_ms() - start > 150)
        return false;
    ck_assert(!early);
    ck_assert_uint_eq(client.offers, 1);
    return true;
}

START_TEST(answers_to_a_group_travel_together)
{
    int tries = 0;
    server.behaviour = ANSWER;
    connect_both();
    while (!answers_come_together() && ++tries < 50)
        ;
    ck_assert_int_lt(tries, 50);
}
END_TEST

START_TEST(an_answer_does_not_wait_long_for_the_next)
{
    server.behaviour = ANSWER;
    connect_both();
    net_write(client.conn, "a\nb\n", 4);
    run_until_got(&client, 3); /* though nobody resumes the server */
    ck_assert_str_eq(client.got, "ok\n");
}
END_TEST

/* A large upload, read by owners of every temper, in clear and under TLS. */
static const struct {
    bool tls;
    enum behaviour behaviour;
} uploads[] = { { false, KEEP }, { false, PAUSE_OFTEN }, { true, KEEP }, { true, PAUSE_OFTEN } };

START_TEST(upload)
{
    const size_t size = 4 << 20;
    if (uploads[_i].tls)
        secure_both();
    else
        connect_both();
    server.behaviour = uploads[_i].behaviour;
    client.to_send = size;
    end_refill(&client);
    run_until_got(&server, size);
    check_pattern(&server, size);
    ck_assert_int_eq(net_is_tls(server.conn), uploads[_i].tls);
    net_close_after_flush(&client.conn);
    run_until(&server.gone);
    ck_assert_int_eq(server.end, NET_CLOSED);
}
END_TEST

START_TEST(both_directions_under_tls)
{
    const size_t size = 2 << 20;
    secure_both();
    client.behaviour = server.behaviour = PAUSE_OFTEN;
    client.to_send = server.to_send = size;
    end_refill(&client);
    end_refill(&server);
    run_until_got(&server, size);
    run_until_got(&client, size);
    check_pattern(&server, size);
    check_pattern(&client, size);
}
END_TEST

START_TEST(starttls_names_and_trust)
{
    secure_both();
    ck_assert(net_tls_verified(client.conn));
    ck_assert(!net_tls_verified(server.conn));
    ck_assert(strncmp(net_tls_text(client.conn), "TLSv1.", 6) == 0 && strchr(net_tls_text(client.conn), ' ') != NULL);
    ck_assert_str_eq(net_tls_text(client.conn), net_tls_text(server.conn));
    net_write(server.conn, "hello\n", 6);
    run_until_got(&client, 6);
    ck_assert_str_eq(client.got, "hello\n");
}
END_TEST

/* Who verifies refuses a stranger's certificate; who does not goes on, and can tell. */
static const struct {
    bool verify;
} strangers[] = { { true }, { false } };

START_TEST(untrusted_certificate)
{
    struct error why;
    struct test_certificate other;
    test_certificate_make(&other, "other.test");
    net_tls_unref(&tls_client);
    tls_client = net_tls_client(other.certificate, strangers[_i].verify, &why);
    ck_assert_ptr_nonnull(tls_client);
    test_certificate_remove(&other);
    server.behaviour = START_TLS;
    client.behaviour = START_TLS_CLIENT;
    connect_both();
    net_write(client.conn, "STARTTLS\n", 9);
    if (strangers[_i].verify) {
        run_until(&client.gone);
        ck_assert_int_eq(client.end, NET_TLS_FAILED);
        ck_assert_msg(strstr(client.why, "not trusted") != NULL, "%s", client.why);
        run_until(&server.gone);
    } else {
        run_until(&client.secured);
        ck_assert(net_is_tls(client.conn) && !net_tls_verified(client.conn));
    }
}
END_TEST

START_TEST(bytes_behind_starttls_end_it)
{
    server.behaviour = START_TLS;
    connect_both();
    net_write(client.conn, "STARTTLS\nMAIL FROM:<evil@example.com>\n", 38);
    run_until(&server.gone);
    ck_assert_int_eq(server.end, NET_TLS_FAILED);
    ck_assert(!server.secured);
    ck_assert_uint_eq(server.got_len, 0);
}
END_TEST

START_TEST(garbage_instead_of_a_handshake)
{
    server.behaviour = START_TLS;
    connect_both();
    net_write(client.conn, "STARTTLS\n", 9);
    run_until_got(&client, 3);
    net_write(client.conn, "EHLO me\r\n", 9);
    run_until(&server.gone);
    ck_assert_int_eq(server.end, NET_TLS_FAILED);
    ck_assert_msg(server.why[0] != '\0', "no words");
    ck_assert(!server.secured);
    /* the error that is left in OpenSSL's queue must not end the next connection */
    end_fini(&client);
    end_fini(&server);
    memset(&client, 0, sizeof client);
    memset(&server, 0, sizeof server);
    secure_both();
}
END_TEST

START_TEST(tls_files_that_do_not_fit)
{
    struct error why;
    ck_assert_ptr_null(net_tls_server("/nonexistent.pem", certificate.key, &why));
    ck_assert_str_eq(why.text, "certificate /nonexistent.pem: No such file or directory");
    ck_assert_ptr_null(net_tls_server(certificate.certificate, "/nonexistent.key", &why));
    ck_assert_str_eq(why.text, "key /nonexistent.key: No such file or directory");
    ck_assert_ptr_null(net_tls_server(certificate.certificate, certificate.certificate, &why));
    ck_assert_ptr_null(net_tls_client("/nonexistent.pem", true, &why));
    ck_assert_str_eq(why.text, "CA file /nonexistent.pem: No such file or directory");
    struct test_certificate other;
    test_certificate_make(&other, "other.test");
    ck_assert_ptr_null(net_tls_server(certificate.certificate, other.key, &why));
    ck_assert_msg(strstr(why.text, " does not belong to certificate ") != NULL, "%s", why.text);
    test_certificate_remove(&other);
}
END_TEST

START_TEST(idle_is_a_timeout)
{
    connect_both();
    net_set_timeout(server.conn, 50, 0);
    net_write(client.conn, "x", 1);
    uint64_t start = clock_ms();
    run_until(&server.gone);
    ck_assert_int_eq(server.end, NET_TIMEOUT);
    ck_assert_uint_ge(clock_ms() - start, 45);
    run_until(&client.gone);
    ck_assert_int_eq(client.end, NET_CLOSED);
}
END_TEST

START_TEST(a_pause_is_not_idle)
{
    connect_both();
    net_set_timeout(server.conn, 40, 0);
    net_pause(server.conn);
    net_write(client.conn, "x", 1);
    run_ms(150);
    ck_assert(!server.gone);
    net_resume(server.conn);
    run_until(&server.gone);
    ck_assert_int_eq(server.end, NET_TIMEOUT);
    ck_assert_uint_eq(server.got_len, 1);
}
END_TEST

START_TEST(output_that_does_not_move_is_a_timeout)
{
    connect_both();
    net_pause(server.conn);
    net_set_timeout(client.conn, 0, 60);
    char *block = xcalloc(1, 16 << 20);
    net_write(client.conn, block, 16 << 20);
    free(block);
    run_until(&client.gone);
    ck_assert_int_eq(client.end, NET_TIMEOUT);
}
END_TEST

START_TEST(refused_connection)
{
    net_listener_free(&listener);
    client.conn = net_connect(base, &at, NULL, 1000, &handlers, &client);
    run_until(&client.gone);
    ck_assert_int_eq(client.end, NET_CONNECT_FAILED);
    ck_assert_str_eq(client.why, strerror(ECONNREFUSED));
}
END_TEST

/* In clear and under TLS: who reset the connection reads no reply any more, who closed it may. */
START_TEST(reset_is_told_from_a_close)
{
    if (_i == 0)
        connect_both();
    else
        secure_both();
    struct linger hard = { 1, 0 };
    int fd = -1;
    for (int i = 3; i < 64 && fd < 0; i++) { /* the client's descriptor: the one whose local port is the server's peer */
        struct sockaddr_storage name;
        socklen_t len = sizeof name;
        struct netaddr address;
        if (getsockname(i, (struct sockaddr *)&name, &len) == 0 && netaddr_from_sockaddr(&address, (struct sockaddr *)&name) &&
            address.port == net_peer(server.conn)->port)
            fd = i;
    }
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    net_free(&client.conn);
    run_until(&server.gone);
    ck_assert_int_eq(server.end, NET_RESET);
}
END_TEST

/* The reply is queued while the client still sends: a reset by our close must not overtake it. */
START_TEST(close_does_not_lose_the_last_reply)
{
    server.behaviour = CLOSE_IN_BYTES;
    connect_both();
    client.to_send = 1 << 20;
    end_refill(&client);
    run_until_got(&client, 4);
    ck_assert_str_eq(client.got, "bye\n");
    run_until(&client.gone);
}
END_TEST

/* The peer says why, resets, and our write fails first: its words still come. */
/* A half is closed: what was written comes first, and the other half carries on. */
START_TEST(an_end_of_output_is_behind_it_and_reading_goes_on)
{
    const size_t much = 3000000;
    accept_halves = true;
    if (_i == 1)
        secure_both();
    else
        connect_both();
    client.to_send = much;
    while (client.sent < much) {
        end_refill(&client);
        run_turn();
    }
    ck_assert(!server.ended);
    net_end_output(client.conn);
    run_until(&server.ended);
    check_pattern(&server, much);
    server.to_send = much;
    end_refill(&server);
    run_until_got(&client, much);
    check_pattern(&client, much);
    ck_assert(!client.gone && !server.gone);
    net_close_after_flush(&server.conn);
    run_until(&client.gone);
    ck_assert_int_eq(client.end, NET_CLOSED);
}
END_TEST

START_TEST(an_end_of_output_waits_for_the_connection)
{
    accept_halves = true;
    client.conn = net_connect(base, &at, NULL, 5000, &handlers, &client);
    net_end_output(client.conn);
    run_until(&server.ended);
    ck_assert(client.connected && !client.gone);
    net_close_after_flush(&client.conn);
}
END_TEST

START_TEST(last_words_are_read_when_a_write_fails)
{
    connect_both();
    net_pause(server.conn);
    client.to_send = 64 << 20;
    end_refill(&client);
    run_ms(30);
    net_write(server.conn, "552 too big\r\n", 13);
    run_ms(1);
    net_free(&server.conn); /* unread bytes: the kernel sends a reset */
    run_until(&client.gone);
    ck_assert_ptr_nonnull(client.got);
    ck_assert_str_eq(client.got, "552 too big\r\n");
}
END_TEST

START_TEST(large_reply_survives_the_close)
{
    secure_both();
    client.behaviour = PAUSE_OFTEN;
    char *block = xcalloc(1, 1 << 20);
    net_write(server.conn, block, 1 << 20);
    free(block);
    net_close_after_flush(&server.conn);
    ck_assert_ptr_null(server.conn);
    run_until_got(&client, 1 << 20);
    run_until(&client.gone);
    ck_assert_int_eq(client.end, NET_CLOSED);
}
END_TEST

/* The process ends while a close waits for a client that reads nothing: its descriptor is free again. */
START_TEST(the_end_does_not_wait_for_slow_closes)
{
    connect_both();
    net_pause(client.conn);
    char *block = xcalloc(1, 16 << 20);
    net_write(server.conn, block, 16 << 20);
    free(block);
    net_close_after_flush(&server.conn);
    run_ms(20);
    int before = dup(0);
    close(before);
    net_fini();
    int after = dup(0);
    close(after);
    ck_assert_msg(after < before, "%d, %d before", after, before);
    net_resume(client.conn);
    run_until(&client.gone);
}
END_TEST

START_TEST(free_inside_a_handler)
{
    server.behaviour = FREE_IN_BYTES;
    connect_both();
    net_write(client.conn, "x", 1);
    run_until(&client.gone);
    ck_assert_ptr_null(server.conn);
    ck_assert(!server.gone);
}
END_TEST

static void run_until_connected(void)
{
    for (uint64_t stop = clock_ms() + 60000; server.conn == NULL && clock_ms() < stop;)
        run_ms(10);
    ck_assert_ptr_nonnull(server.conn);
}

static void run_until_buffered(size_t size)
{
    run_until_connected();
    for (uint64_t stop = clock_ms() + 60000; net_buffered(server.conn) < size && clock_ms() < stop;)
        run_ms(10);
}

START_TEST(an_owner_that_uses_nothing_is_not_asked_for_ever)
{
    server.behaviour = USE_NOTHING;
    connect_both();
    client.to_send = 1 << 20;
    end_refill(&client);
    run_until_buffered(128 * 1024);
    run_ms(100);
    unsigned asked = server.pauses;
    ck_assert_uint_eq(net_buffered(server.conn), 128 * 1024);
    run_ms(50);
    ck_assert_uint_eq(server.pauses, asked);
    server.behaviour = KEEP;
    net_resume(server.conn);
    run_until_got(&server, 1 << 20);
    check_pattern(&server, 1 << 20);
}
END_TEST

START_TEST(as_much_as_is_said_is_offered_at_once)
{
    server.behaviour = USE_NOTHING;
    connect_both();
    net_offer_most(server.conn, 16 * 1024);
    client.to_send = 1 << 20;
    end_refill(&client);
    run_until_buffered(16 * 1024);
    run_ms(100);
    ck_assert_uint_eq(net_buffered(server.conn), 16 * 1024);
    server.behaviour = KEEP;
    net_resume(server.conn);
    run_until_got(&server, 1 << 20);
    check_pattern(&server, 1 << 20);
}
END_TEST

START_TEST(listener_freed_inside_accepted)
{
    accept_stops = true;
    connect_both();
    ck_assert_ptr_null(listener);
}
END_TEST

START_TEST(listener_rests_without_descriptors)
{
    struct rlimit old, none;
    client.conn = net_connect(base, &at, NULL, 5000, &handlers, &client);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    int next = dup(0);
    close(next);
    none = old;
    none.rlim_cur = (rlim_t)next;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    run_ms(60);
    ck_assert_ptr_null(server.conn);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    run_until_connected();
}
END_TEST

START_TEST(listener_off_and_on)
{
    net_listener_enable(listener, false);
    client.conn = net_connect(base, &at, NULL, 5000, &handlers, &client);
    run_ms(50);
    ck_assert_ptr_null(server.conn);
    net_listener_enable(listener, true);
    run_until_connected();
}
END_TEST

START_TEST(bind_shares_ports_and_names_errors)
{
    struct error why;
    int second = net_bind(&at, &why);
    ck_assert_msg(second >= 0, "%s", why.text);
    ck_assert(!net_is_free(&at, &why)); /* the listener of this test */
    ck_assert_msg(strstr(why.text, "in use") != NULL, "%s", why.text);

    /* Bound is not listening: no client waits in a queue that nobody looks at. */
    struct netaddr quiet, any;
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    ck_assert(netaddr_parse(&any, "127.0.0.1"));
    int third = net_bind(&any, &why);
    ck_assert_int_eq(getsockname(third, (struct sockaddr *)&name, &len), 0);
    ck_assert(netaddr_from_sockaddr(&quiet, (struct sockaddr *)&name));
    ck_assert_msg(!net_is_free(&quiet, &why), "somebody else could take it before we listen");
    int caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(caller, (struct sockaddr *)&name, len), -1);
    ck_assert_int_eq(errno, ECONNREFUSED);
    close(caller);

    /* Nor is not listening any more. (The kernel gives a port back that it chose itself, so it is named this time.) */
    close(third);
    ck_assert(net_is_free(&quiet, &why));
    third = net_bind(&quiet, &why);
    ck_assert_int_ge(third, 0);
    struct net_listener *again = net_listen(base, dup(third), on_accepted, NULL);
    ck_assert_ptr_nonnull(again);
    net_listener_free(&again);
    net_stop_listening(third);
    net_stop_listening(third);
    ck_assert(!net_is_free(&quiet, &why));
    caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(caller, (struct sockaddr *)&name, len), -1);
    close(caller);
    again = net_listen(base, dup(third), on_accepted, NULL);
    ck_assert_ptr_nonnull(again);
    net_listener_free(&again);
    close(third);
    ck_assert(net_is_free(&quiet, &why));
    close(second);
    struct netaddr elsewhere;
    ck_assert(netaddr_parse_endpoint(&elsewhere, "192.0.2.77:2525", &why));
    ck_assert_int_eq(net_bind(&elsewhere, &why), -1);
    ck_assert_msg(strstr(why.text, "192.0.2.77:2525") != NULL, "%s", why.text);
}
END_TEST

START_TEST(an_idle_connection_is_small)
{
    enum { COUNT = 200 };
    struct net_conn *conns[COUNT];
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < COUNT; i++) {
        conns[i] = net_accept(base, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &handlers, &client);
        net_set_timeout(conns[i], 300000, 300000);
    }
    struct mallinfo2 after = mallinfo2();
    size_t each = (after.uordblks - before.uordblks) / COUNT;
    for (int i = 0; i < COUNT; i++)
        net_free(&conns[i]);
    ck_assert_msg(each <= 2048, "%zu bytes", each);
}
END_TEST

static int pair_with(struct end *e, uint64_t source)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    e->conn = net_accept(base, fds[0], &handlers, e);
    net_set_source(e->conn, source);
    return fds[1];
}

static size_t got_by_all(const struct end *ends, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += ends[i].got_len;
    return sum;
}

/* However many connections of one client have bytes, a turn of the loop reads some of them, and what another sends meanwhile in the next. */
START_TEST(clients_are_read_in_turns)
{
    enum { FLOOD = 8, EACH = 65536 };
    static const char block[EACH];
    struct end flood[FLOOD] = { 0 }, other = { 0 };
    int fds[FLOOD];
    for (int i = 0; i < FLOOD; i++) {
        fds[i] = pair_with(&flood[i], 7);
        ck_assert_int_eq(write(fds[i], block, EACH), EACH);
    }
    int line = pair_with(&other, 8);
    run_turn();
    ck_assert_uint_eq(got_by_all(flood, FLOOD), 2 * EACH);
    ck_assert_int_eq(write(line, "NOOP\n", 5), 5);
    run_turn();
    ck_assert_uint_eq(other.got_len, 5);
    ck_assert_uint_le(got_by_all(flood, FLOOD), 4 * EACH);
    int last = 0; /* one that waits goes: its turn is the next one's */
    while (flood[last].got_len > 0)
        last++;
    net_free(&flood[last].conn);
    uint64_t stop = clock_ms() + 60000;
    while (got_by_all(flood, FLOOD) < (FLOOD - 1) * EACH && clock_ms() < stop)
        run_turn();
    ck_assert_uint_eq(got_by_all(flood, FLOOD), (FLOOD - 1) * EACH);
    for (int i = 0; i < FLOOD; i++) {
        end_fini(&flood[i]);
        close(fds[i]);
    }
    end_fini(&other);
    close(line);
}
END_TEST

static void make_certificate(void)
{
    test_certificate_make(&certificate, "relay.test");
}

static void remove_certificate(void)
{
    test_certificate_remove(&certificate);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("net");
    TCase *tests = tcase_create("net");
    tcase_add_unchecked_fixture(tests, make_certificate, remove_certificate);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, lines_in_pieces);
    tcase_add_test(tests, answers_to_a_group_travel_together);
    tcase_add_test(tests, an_answer_does_not_wait_long_for_the_next);
    tcase_add_loop_test(tests, upload, 0, (int)(sizeof uploads / sizeof *uploads));
    tcase_add_test(tests, both_directions_under_tls);
    tcase_add_test(tests, starttls_names_and_trust);
    tcase_add_loop_test(tests, untrusted_certificate, 0, (int)(sizeof strangers / sizeof *strangers));
    tcase_add_test(tests, bytes_behind_starttls_end_it);
    tcase_add_test(tests, garbage_instead_of_a_handshake);
    tcase_add_test(tests, tls_files_that_do_not_fit);
    tcase_add_test(tests, idle_is_a_timeout);
    tcase_add_test(tests, a_pause_is_not_idle);
    tcase_add_test(tests, output_that_does_not_move_is_a_timeout);
    tcase_add_test(tests, refused_connection);
    tcase_add_loop_test(tests, reset_is_told_from_a_close, 0, 2);
    tcase_add_test(tests, close_does_not_lose_the_last_reply);
    tcase_add_loop_test(tests, an_end_of_output_is_behind_it_and_reading_goes_on, 0, 2);
    tcase_add_test(tests, an_end_of_output_waits_for_the_connection);
    tcase_add_test(tests, last_words_are_read_when_a_write_fails);
    tcase_add_test(tests, large_reply_survives_the_close);
    tcase_add_test(tests, free_inside_a_handler);
    tcase_add_test(tests, an_owner_that_uses_nothing_is_not_asked_for_ever);
    tcase_add_test(tests, as_much_as_is_said_is_offered_at_once);
    tcase_add_test(tests, listener_freed_inside_accepted);
    tcase_add_test(tests, listener_rests_without_descriptors);
    tcase_add_test(tests, listener_off_and_on);
    tcase_add_test(tests, bind_shares_ports_and_names_errors);
    tcase_add_test(tests, the_end_does_not_wait_for_slow_closes);
    tcase_add_test(tests, an_idle_connection_is_small);
    tcase_add_test(tests, clients_are_read_in_turns);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

/*
 * test_delivery.c - deliveries to a scripted next hop on loopback, both on one event loop
 *
 * The host does as told per case: what it offers, whom it refuses, where it dies. What it heard is noted as verbs, what it took as messages.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/memory.h"
#include "edge/delivery/delivery.h"
#include "edge/delivery/internal.h"
#include "tests/unit/certificate.h"
#include "tests/unit/suite.h"

enum tls_mode { TLS_NOT_OFFERED, TLS_WORKS, TLS_DECLINED, TLS_BROKEN, TLS_INJECTS };

/* A recipient whose local part begins with three digits is answered with them. */
struct host {
    bool no_hello;                              /* 550 to EHLO and HELO */
    bool slow_ehlo;                             /* EHLO is answered later, by the test */
    bool helo_only, pipelining, eightbitmime, smtputf8;
    unsigned size;
    enum tls_mode tls;
    const char *greeting, *mail, *data, *final; /* replies other than the usual ones */
    const char *dies_at;                        /* this verb, or "GREETING", "BODY", "DOT", "IDLE": the connection ends there ... */
    unsigned deaths;                            /* ... so many times */
    const char *says_421_at;                    /* once */
    const char *silent_at;                      /* this verb is never answered */
    const char *early;                          /* the answer to a message's first bytes, "" none; the rest is not read */
    bool trickles;                              /* a byte at a time */
    const char *cluster;                        /* of which it says to be an edge */
    bool cluster_in_clear;                      /* and under TLS not any more */
    bool other_answers;                         /* from the second connection on: 550 to every recipient */
};

struct guest { /* one connection of the host */
    struct net_conn *conn;
    struct guest *next;
    bool in_data, dead;
    char slow[512];                             /* trickles: still to be said */
    char *body;
    size_t body_len;
    unsigned number;
    unsigned messages;
};

static struct event_base *base;
static struct event *tick;
static struct net_listener *listener;
static struct netaddr at;
static struct net_tls *tls_server;
static struct test_certificate certificate;
static struct host host;
static struct guest *guests;
static unsigned guest_count;
static char heard[4096];   /* verbs */
static char taken[32][64]; /* first bytes of the messages taken, after the header prefix */
static size_t taken_size;  /* of the last */
static char *last_body;
static unsigned taken_count;

static struct edge_settings settings;
static struct tls_settings tls_settings;
static struct metrics metrics;
static struct dns *dns;
static struct delivery_pool *pool;
static struct message_budget budget;

/* ---- the host ---- */

static void guest_say(struct guest *guest, const char *text)
{
    if (host.trickles) {
        size_t len = strlen(guest->slow);
        snprintf(guest->slow + len, sizeof guest->slow - len, "%s\r\n", text);
        return;
    }
    net_write(guest->conn, text, strlen(text));
    net_write(guest->conn, "\r\n", 2);
}

/* Whether the host ends the connection here. */
static bool guest_dies(struct guest *guest, const char *where)
{
    if (host.says_421_at != NULL && strcmp(host.says_421_at, where) == 0) {
        host.says_421_at = NULL;
        guest_say(guest, "421 4.3.2 going down");
        net_close_after_flush(&guest->conn);
        return guest->dead = true;
    }
    if (host.dies_at == NULL || host.deaths == 0 || strcmp(host.dies_at, where) != 0)
        return false;
    host.deaths--;
    net_free(&guest->conn);
    return guest->dead = true;
}

static void guest_ehlo(struct guest *guest)
{
    char text[512] = "250-host.test\r\n", size[64] = "";
    if (host.size != 0)
        snprintf(size, sizeof size, "250-SIZE %u\r\n", host.size);
    if (host.cluster != NULL && !(host.cluster_in_clear && net_is_tls(guest->conn)))
        snprintf(text + strlen(text), sizeof text - strlen(text), "250-XWEIR %s\r\n", host.cluster);
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%s%s%s250 HELP", host.pipelining ? "250-PIPELINING\r\n" : "",
             host.eightbitmime ? "250-8BITMIME\r\n" : "", host.smtputf8 ? "250-SMTPUTF8\r\n" : "", size,
             host.tls != TLS_NOT_OFFERED && !net_is_tls(guest->conn) ? "250-STARTTLS\r\n" : "");
    guest_say(guest, text);
}

static void guest_rcpt(struct guest *guest, const char *line)
{
    int code = atoi(line + strlen("RCPT TO:<"));
    char text[64];
    if (host.other_answers && guest->number > 0)
        code = 550;
    snprintf(text, sizeof text, "%d %d.1.%d for you", code >= 200 ? code : 250, code >= 200 ? code / 100 : 2, code >= 300 ? 1 : 5);
    guest_say(guest, text);
}

static void guest_starttls(struct guest *guest)
{
    if (host.tls == TLS_DECLINED) {
        guest_say(guest, "454 4.7.0 not now");
        return;
    }
    guest_say(guest, "220 go");
    if (host.tls == TLS_BROKEN)
        guest_say(guest, "this is no handshake");
    else if (host.tls == TLS_INJECTS)
        guest_say(guest, "250 2.0.0 injected");
    else
        net_start_tls(guest->conn, tls_server, true, NULL);
}

static void guest_command(struct guest *guest, const char *line)
{
    char verb[16];
    snprintf(verb, sizeof verb, "%.*s", (int)strcspn(line, " \r"), line);
    snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%s ", verb);
    if (guest_dies(guest, verb) || (host.silent_at != NULL && strcmp(host.silent_at, verb) == 0))
        return;
    if (host.no_hello && (strcmp(verb, "EHLO") == 0 || strcmp(verb, "HELO") == 0)) {
        guest_say(guest, "550 5.7.1 who are you");
    } else if (strcmp(verb, "EHLO") == 0 && host.slow_ehlo) {
        return;
    } else if (strcmp(verb, "EHLO") == 0 && host.helo_only) {
        guest_say(guest, "502 what?");
    } else if (strcmp(verb, "EHLO") == 0) {
        guest_ehlo(guest);
    } else if (strcmp(verb, "STARTTLS") == 0) {
        guest_starttls(guest);
    } else if (strcmp(verb, "MAIL") == 0) {
        guest_say(guest, host.mail != NULL ? host.mail : "250 2.1.0 ok");
    } else if (strcmp(verb, "RCPT") == 0) {
        guest_rcpt(guest, line);
    } else if (strcmp(verb, "DATA") == 0) {
        guest_say(guest, host.data != NULL ? host.data : "354 go on");
        guest->in_data = host.data == NULL;
        guest->body_len = 0;
    } else if (strcmp(verb, "QUIT") == 0) {
        guest_say(guest, "221 bye");
        net_close_after_flush(&guest->conn);
        guest->dead = true;
    } else {
        guest_say(guest, "250 ok");
    }
}

/* Takes the message down until CRLF.CRLF. */
static size_t guest_body(struct guest *guest, const char *buf, size_t len)
{
    guest->body = xrealloc(guest->body, guest->body_len + len + 1);
    memcpy(guest->body + guest->body_len, buf, len);
    size_t seen = guest->body_len > 4 ? guest->body_len - 4 : 0;
    guest->body_len += len;
    guest->body[guest->body_len] = '\0';
    char *end = memmem(guest->body + seen, guest->body_len - seen, "\r\n.\r\n", 5);
    if (guest_dies(guest, "BODY"))
        return len;
    if (host.early != NULL) {
        if (*host.early != '\0')
            guest_say(guest, host.early);
        net_pause(guest->conn);
        guest->in_data = false;
        return len;
    }
    if (end == NULL)
        return len;
    size_t size = (size_t)(end - guest->body) + 2;
    size_t used = len - (guest->body_len - (size + 3));
    guest->in_data = false;
    if (guest_dies(guest, "DOT") || (host.silent_at != NULL && strcmp(host.silent_at, "DOT") == 0))
        return len;
    if (host.final == NULL) {
        const char *blank = strstr(guest->body, "\r\n\r\n");
        snprintf(taken[taken_count++ % 32], sizeof *taken, "%.*s", 40, blank != NULL ? blank + 4 : "");
        taken_size = size;
        free(last_body);
        last_body = xstrndup(guest->body, size);
    }
    guest->messages++;
    guest_say(guest, host.final != NULL ? host.final : "250 2.0.0 taken");
    if (guest_dies(guest, "IDLE"))
        return len;
    return used;
}

static size_t guest_bytes(void *arg, const char *buf, size_t len)
{
    struct guest *guest = arg;
    size_t used = 0;
    while (used < len && !guest->dead) {
        if (guest->in_data) {
            used += guest_body(guest, buf + used, len - used);
            continue;
        }
        const char *end = memchr(buf + used, '\n', len - used);
        if (end == NULL)
            break;
        char line[1024];
        snprintf(line, sizeof line, "%.*s", (int)(end - (buf + used)), buf + used);
        used = (size_t)(end - buf) + 1;
        guest_command(guest, line);
    }
    return used;
}

static void guest_gone(void *arg, enum net_end end, const char *why)
{
    (void)end, (void)why;
    struct guest *guest = arg;
    net_free(&guest->conn);
    guest->dead = true;
}

static const struct net_handlers guest_handlers = { NULL, NULL, guest_bytes, NULL, NULL, guest_gone };

static char last_peer[NETADDR_TEXT_MAX]; /* who came last */

static void on_accepted(void *arg, int fd, const struct netaddr *peer, const struct netaddr *local)
{
    (void)arg, (void)local;
    netaddr_format(peer, last_peer);
    struct guest *guest = xcalloc(1, sizeof *guest);
    guest->conn = net_accept(base, fd, &guest_handlers, guest);
    guest->number = guest_count++;
    guest->next = guests;
    guests = guest;
    if (guest_dies(guest, "GREETING") || (host.silent_at != NULL && strcmp(host.silent_at, "GREETING") == 0))
        return;
    guest_say(guest, host.greeting != NULL ? host.greeting : "220 host.test ESMTP");
}

/* ---- the owner ---- */

struct owner {
    struct delivery *delivery;
    struct message *message;
    char codes[256];    /* of the recipients, with blanks, and ! where the host went with it; in the order they came */
    char enhanced[12];  /* of the last recipient */
    unsigned told, accepted, expected;
    bool unasked;       /* the last recipient's */
    bool done, maybe;
    struct smtp_reply final;
    bool send_when_told; /* the usual: as soon as all are answered */
    bool cancel_when_told;
    char tls[64], hop[400];
};

static const char prefix[] = "Received: by edge.test\r\n";

static void owner_send(struct owner *owner)
{
    delivery_send(owner->delivery, prefix, sizeof prefix - 1, owner->message, 0);
}

static void on_recipient(void *arg, unsigned index, const struct smtp_reply *reply)
{
    struct owner *owner = arg;
    ck_assert_uint_eq(index, owner->told);
    ck_assert(reply->code >= 200 && reply->code != 421);
    owner->told++;
    owner->accepted += reply->code < 300;
    snprintf(owner->codes + strlen(owner->codes), sizeof owner->codes - strlen(owner->codes), "%d%s ", reply->code,
             reply->closing ? "!" : "");
    snprintf(owner->enhanced, sizeof owner->enhanced, "%s", reply->enhanced);
    owner->unasked = reply->unasked;
    snprintf(owner->tls, sizeof owner->tls, "%s", delivery_tls_text(owner->delivery));
    snprintf(owner->hop, sizeof owner->hop, "%s", delivery_next_hop_text(owner->delivery));
    if (owner->told < owner->expected)
        return;
    if (owner->cancel_when_told || owner->accepted == 0) {
        delivery_cancel(&owner->delivery);
        owner->done = true;
    } else if (owner->send_when_told) {
        owner_send(owner);
    }
}

static void on_done(void *arg, const struct smtp_reply *reply, bool maybe)
{
    struct owner *owner = arg;
    ck_assert(!owner->done);
    owner->done = true;
    owner->final = *reply;
    owner->maybe = maybe;
    owner->delivery = NULL; /* freed right after this */
}

static const struct delivery_handlers handlers = { on_recipient, on_done };

static struct message *message_of(const char *text, size_t len)
{
    struct error why;
    struct message *message = message_new(&budget);
    ck_assert_int_eq(message_append(message, text, len, &why), MESSAGE_OK);
    return message;
}

static bool by_mx; /* the host is that of an address literal */
static const char *route;

/* recipients: local parts divided by blanks. */
static void owner_start(struct owner *owner, const char *text, const struct delivery_envelope *envelope, const char *recipients)
{
    struct next_hop hop = { "", at.port, by_mx };
    strcpy(hop.host, route);
    char *copy = xstrdup(recipients), *rest = copy, address[128];
    owner->message = message_of(text, strlen(text));
    owner->delivery = delivery_new(pool, &hop, envelope, &handlers, owner);
    for (char *name; (name = strsep(&rest, " ")) != NULL;) {
        snprintf(address, sizeof address, "%s@example.org", name);
        delivery_rcpt(owner->delivery, &(struct delivery_recipient){ .address = address });
        owner->expected++;
    }
    free(copy);
    ck_assert_uint_eq(owner->told, 0);
}

static void owner_fini(struct owner *owner)
{
    delivery_cancel(&owner->delivery);
    message_free(&owner->message);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    for (struct guest *guest = guests; guest != NULL; guest = guest->next) {
        if (guest->slow[0] == '\0' || guest->conn == NULL)
            continue;
        net_write(guest->conn, guest->slow, 1);
        memmove(guest->slow, guest->slow + 1, strlen(guest->slow));
    }
}

static void run_until(const bool *what)
{
    uint64_t stop = clock_ms() + 60000;
    while (!*what) {
        ck_assert_msg(clock_ms() < stop, "nothing happened; heard %s", heard);
        event_base_loop(base, EVLOOP_ONCE);
    }
}

static void run_until_heard(const char *words)
{
    for (uint64_t stop = clock_ms() + 60000; strstr(heard, words) == NULL;) {
        ck_assert_msg(clock_ms() < stop, "not %s; heard %s", words, heard);
        event_base_loop(base, EVLOOP_ONCE);
    }
}

static void run_until_codes(const struct owner *owner, const char *codes)
{
    for (uint64_t stop = clock_ms() + 60000; strcmp(owner->codes, codes) != 0;) {
        ck_assert_msg(clock_ms() < stop, "codes %s; heard %s", owner->codes, heard);
        event_base_loop(base, EVLOOP_ONCE);
    }
}

static void run_ms(unsigned ms)
{
    for (uint64_t stop = clock_ms() + ms; clock_ms() < stop;)
        event_base_loop(base, EVLOOP_ONCE);
}

static double value_of(const char *name, const char *labels)
{
    return metrics_counter(&metrics, name, "%s", labels)->value;
}

static void pool_make(void)
{
    struct error why;
    delivery_pool_free(&pool);
    pool = delivery_pool_new(base, dns, &settings, &tls_settings, &metrics, &why);
    ck_assert_msg(pool != NULL, "%s", why.text);
}

static void setup(void)
{
    struct error why;
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    struct netaddr any;
    base = event_base_new();
    tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    event_add(tick, &(struct timeval){ 0, 1000 });
    ck_assert(netaddr_parse(&any, "127.0.0.1"));
    int fd = net_bind(&any, &why);
    ck_assert_msg(fd >= 0, "%s", why.text);
    getsockname(fd, (struct sockaddr *)&name, &len);
    netaddr_from_sockaddr(&at, (struct sockaddr *)&name);
    listener = net_listen(base, fd, on_accepted, NULL);
    tls_server = net_tls_server(certificate.certificate, certificate.key, &why);
    ck_assert_msg(tls_server != NULL, "%s", why.text);
    memset(&host, 0, sizeof host);
    by_mx = false;
    route = "127.0.0.1";
    heard[0] = '\0';
    taken_count = guest_count = 0;
    settings = (struct edge_settings){ .hostname = "edge.test", .next_hop_connections = 20, .next_hop_wait = 2000, .next_hop_hold = 2000,
                                       .next_hop_idle = 2000, .next_hop_messages = 100, .connect_timeout = 2000, .greeting_timeout = 30000,
                                       .next_hop_hold_pressed = 2000, .reply_timeout = 30000,
                                       .data_done_timeout = 30000, .next_hop_no_tls = 600000, .next_hop_tls = NEXT_HOP_TLS_MAY,
                                       .dns_timeout = 2000, .mx_host_limit = 20, .mx_address_limit = 5 };
    tls_settings = (struct tls_settings){ .ca_file = certificate.certificate };
    budget = (struct message_budget){ .memory_max = 64 << 20, .disk_max = 64 << 20, .threshold = 256 << 10, .tmp_dir = "/tmp" };
    metrics_init(&metrics);
    dns = dns_new(base, &settings, &metrics, &why);
    ck_assert_msg(dns != NULL, "%s", why.text);
    pool_make();
}

static void teardown(void)
{
    delivery_pool_free(&pool);
    dns_free(&dns);
    run_ms(20);
    while (guests != NULL) {
        struct guest *guest = guests;
        guests = guest->next;
        net_free(&guest->conn);
        free(guest->body);
        free(guest);
    }
    run_ms(20);
    net_listener_free(&listener);
    net_tls_unref(&tls_server);
    metrics_fini(&metrics);
    free(last_body);
    last_body = NULL;
    event_free(tick);
    event_base_free(base);
}

/* ---- one delivery, many hosts ---- */

#define ENVELOPE { .sender = "a@example.com", .size = 100, .eightbit = true }

static const struct {
    const char *name;
    struct host host;
    const char *message;            /* NULL: the usual */
    const char *recipients, *codes; /* expected, with blanks; the last's enhanced code is `enhanced` where given */
    int final;                      /* 0: nothing was accepted, so nothing sent */
    bool maybe;
    unsigned taken, connections;
    const char *heard;              /* exactly; NULL: anything */
    const char *enhanced;
    struct delivery_envelope envelope; /* sender NULL: the usual */
} cases[] = {
    { .name = "good", .host = { .pipelining = true }, .recipients = "x y", .codes = "250 250 ", .final = 250, .taken = 1, .connections = 1,
      .heard = "EHLO MAIL RCPT RCPT DATA " },
    { .name = "no pipelining", .recipients = "x y", .codes = "250 250 ", .final = 250, .taken = 1, .connections = 1,
      .heard = "EHLO MAIL RCPT RCPT DATA " },
    { .name = "trickle", .host = { .pipelining = true, .trickles = true }, .recipients = "x 550y", .codes = "250 550 ", .final = 250,
      .taken = 1, .connections = 1, .heard = "EHLO MAIL RCPT RCPT DATA " },
    { .name = "HELO only", .host = { .helo_only = true }, .recipients = "x", .codes = "250 ", .final = 250, .taken = 1, .connections = 1,
      .heard = "EHLO HELO MAIL RCPT DATA " },
    { .name = "mixed answers", .host = { .pipelining = true }, .recipients = "550x y 451z w", .codes = "550 250 451 250 ", .final = 250,
      .taken = 1, .connections = 1 },
    { .name = "all refused", .host = { .pipelining = true }, .recipients = "550x 551y", .codes = "550 551 ", .connections = 1,
      .enhanced = "5.1.1" },
    { .name = "421 to one recipient", .recipients = "421x y", .codes = "450! 450! ", .connections = 1 },
    { .name = "sender refused", .host = { .mail = "553 5.1.8 no", .pipelining = true }, .recipients = "x y", .codes = "553 553 ",
      .connections = 1, .enhanced = "5.1.8" },
    { .name = "sender deferred", .host = { .mail = "450 4.7.1 later" }, .recipients = "x", .codes = "450 ", .connections = 1 },
    { .name = "DATA refused", .host = { .data = "554 5.5.1 no" }, .recipients = "x", .codes = "250 ", .final = 554, .connections = 1 },
    { .name = "message refused", .host = { .final = "554 5.7.1 spam" }, .recipients = "x", .codes = "250 ", .final = 554, .connections = 1 },
    { .name = "421 to the message", .host = { .final = "421 4.3.0 full" }, .recipients = "x", .codes = "250 ", .final = 450,
      .connections = 1 },
    { .name = "greeting 554", .host = { .greeting = "554 5.7.1 go away" }, .recipients = "x", .codes = "451 ", .connections = 1,
      .enhanced = "4.4.1" },
    { .name = "EHLO and HELO 550", .host = { .no_hello = true }, .recipients = "x", .codes = "451 ", .connections = 1, .enhanced = "4.4.1" },
    { .name = "greeting 421", .host = { .greeting = "421 4.3.2 busy" }, .recipients = "x", .codes = "450! ", .connections = 1,
      .enhanced = "4.3.2" },
    { .name = "no SMTP at all", .host = { .greeting = "SSH-2.0-OpenSSH_9" }, .recipients = "x", .codes = "451 ", .connections = 1 },
    { .name = "dies at greeting", .host = { .dies_at = "GREETING", .deaths = 9 }, .recipients = "x", .codes = "451 ", .connections = 1,
      .enhanced = "4.4.1" },
    { .name = "dies at EHLO", .host = { .dies_at = "EHLO", .deaths = 9 }, .recipients = "x", .codes = "451 ", .connections = 1 },
    { .name = "dies at MAIL once", .host = { .dies_at = "MAIL", .deaths = 1 }, .recipients = "x", .codes = "250 ", .final = 250, .taken = 1,
      .connections = 2 },
    { .name = "dies at MAIL always", .host = { .dies_at = "MAIL", .deaths = 9 }, .recipients = "x", .codes = "451 ", .connections = 2,
      .enhanced = "4.4.2" },
    { .name = "dies at RCPT once", .host = { .dies_at = "RCPT", .deaths = 1, .pipelining = true }, .recipients = "x y", .codes = "250 250 ",
      .final = 250, .taken = 1, .connections = 2 },
    { .name = "dies at DATA once", .host = { .dies_at = "DATA", .deaths = 1 }, .recipients = "x 550y z", .codes = "250 550 250 ",
      .final = 250, .taken = 1, .connections = 2, .heard = "EHLO MAIL RCPT RCPT RCPT DATA EHLO MAIL RCPT RCPT DATA " },
    { .name = "dies at DATA always", .host = { .dies_at = "DATA", .deaths = 9 }, .recipients = "x", .codes = "250 ", .final = 451,
      .connections = 2 },
    { .name = "other answers the second time", .host = { .dies_at = "DATA", .deaths = 1, .other_answers = true }, .recipients = "x",
      .codes = "250 ", .final = 451, .connections = 2 },
    { .name = "dies at the dot", .host = { .dies_at = "DOT", .deaths = 9 }, .recipients = "x", .codes = "250 ", .final = 451, .maybe = true,
      .connections = 1 },
    { .name = "silent at the dot", .host = { .silent_at = "DOT" }, .recipients = "x", .codes = "250 ", .final = 451, .maybe = true,
      .connections = 1 },
    { .name = "silent at RCPT", .host = { .silent_at = "RCPT" }, .recipients = "x", .codes = "451 ", .connections = 2 },
    { .name = "silent greeting", .host = { .silent_at = "GREETING" }, .recipients = "x", .codes = "451 ", .connections = 1 },
    { .name = "TLS", .host = { .tls = TLS_WORKS, .pipelining = true }, .recipients = "x", .codes = "250 ", .final = 250, .taken = 1,
      .connections = 1, .heard = "EHLO STARTTLS EHLO MAIL RCPT DATA " },
    { .name = "TLS declined", .host = { .tls = TLS_DECLINED }, .recipients = "x", .codes = "250 ", .final = 250, .taken = 1,
      .connections = 1, .heard = "EHLO STARTTLS MAIL RCPT DATA " },
    { .name = "TLS broken", .host = { .tls = TLS_BROKEN }, .recipients = "x", .codes = "250 ", .final = 250, .taken = 1, .connections = 2,
      .heard = "EHLO STARTTLS EHLO MAIL RCPT DATA " },
    { .name = "reply injected behind STARTTLS", .host = { .tls = TLS_INJECTS }, .recipients = "x", .codes = "250 ", .final = 250, .taken = 1,
      .connections = 2, .heard = "EHLO STARTTLS EHLO MAIL RCPT DATA " },
    { .name = "too large", .host = { .size = 99 }, .recipients = "x y", .codes = "552 552 ", .connections = 1, .enhanced = "5.3.4",
      .heard = "EHLO " },
    { .name = "large enough", .host = { .size = 100 }, .recipients = "x", .codes = "250 ", .final = 250, .taken = 1, .connections = 1 },
    { .name = "SMTPUTF8 not offered", .recipients = "x", .codes = "550 ", .connections = 1, .enhanced = "5.6.7",
      .envelope = { .sender = "\xc3\xa4@example.com", .smtputf8 = true } },
    { .name = "SMTPUTF8 not offered, and not needed", .recipients = "x y", .codes = "250 250 ", .final = 250, .taken = 1, .connections = 1,
      .envelope = { .sender = "a@example.com", .smtputf8 = true } },
    { .name = "SMTPUTF8 not offered, for one recipient", .host = { .pipelining = true }, .recipients = "x \xc3\xa4 550y z",
      .codes = "250 550 550 250 ", .final = 250, .taken = 1, .connections = 1, .heard = "EHLO MAIL RCPT RCPT RCPT DATA ",
      .envelope = { .sender = "a@example.com", .smtputf8 = true } },
    { .name = "SMTPUTF8 not offered, for the only recipient", .recipients = "\xc3\xa4", .codes = "550 ", .connections = 1, .enhanced = "5.6.7",
      .envelope = { .sender = "a@example.com", .smtputf8 = true } },
    { .name = "SMTPUTF8 not offered, and the header needs it", .message = "Subject: \xc3\xa4\r\n\r\nhello\r\n", .recipients = "x", .codes = "250 ",
      .final = 550, .connections = 1, .envelope = { .sender = "a@example.com", .smtputf8 = true } },
    { .name = "SMTPUTF8 not offered, and only the body is not ASCII", .message = "Subject: x\r\n\r\n\xc3\xa4\r\n", .recipients = "x", .codes = "250 ",
      .final = 250, .taken = 1, .connections = 1, .envelope = { .sender = "a@example.com", .smtputf8 = true } },
    { .name = "SMTPUTF8 not offered, and only the body of a message without a header is not ASCII", .message = "\r\n\xc3\xa4\r\n", .recipients = "x",
      .codes = "250 ", .final = 250, .taken = 1, .connections = 1, .envelope = { .sender = "a@example.com", .smtputf8 = true } },
    { .name = "SMTPUTF8 offered", .host = { .smtputf8 = true }, .recipients = "x", .codes = "250 ", .final = 250, .taken = 1,
      .connections = 1, .envelope = { .sender = "\xc3\xa4@example.com", .smtputf8 = true } },
    { .name = "null sender", .recipients = "x", .codes = "250 ", .final = 250, .taken = 1, .connections = 1, .envelope = { .sender = "" } },
};

START_TEST(delivery)
{
    static const struct delivery_envelope usual = ENVELOPE;
    struct owner owner = { .send_when_told = true };
    host = cases[_i].host;
    if (host.silent_at != NULL)
        settings.greeting_timeout = settings.reply_timeout = settings.data_done_timeout = 400;
    owner_start(&owner, cases[_i].message != NULL ? cases[_i].message : "Subject: x\r\n\r\nhello\r\n", cases[_i].envelope.sender != NULL ? &cases[_i].envelope : &usual, cases[_i].recipients);
    run_until(&owner.done);
    run_ms(10);
    const char *name = cases[_i].name;
    ck_assert_msg(strcmp(owner.codes, cases[_i].codes) == 0, "%s: recipients %s, heard %s", name, owner.codes, heard);
    ck_assert_msg(owner.final.code == cases[_i].final, "%s: final %d %s, heard %s", name, owner.final.code, owner.final.text, heard);
    ck_assert_msg(owner.maybe == cases[_i].maybe, "%s: maybe", name);
    ck_assert_msg(taken_count == cases[_i].taken, "%s: %u taken", name, taken_count);
    ck_assert_msg(guest_count == cases[_i].connections, "%s: %u connections, heard %s", name, guest_count, heard);
    if (cases[_i].heard != NULL) {
        size_t len = strlen(cases[_i].heard);
        ck_assert_msg(strncmp(heard, cases[_i].heard, len) == 0, "%s: heard %s", name, heard);
    }
    if (cases[_i].enhanced != NULL)
        ck_assert_str_eq(owner.enhanced, cases[_i].enhanced);
    ck_assert(cases[_i].final == 0 || value_of("weir_delivery_maybe_duplicates_total", "") == cases[_i].maybe);
    owner_fini(&owner);
    ck_assert_uint_eq(budget.memory_used, 0);
}
END_TEST

static void deliver_one(struct owner *owner, const char *recipients)
{
    static const struct delivery_envelope usual = ENVELOPE;
    memset(owner, 0, sizeof *owner);
    owner->send_when_told = true;
    owner_start(owner, "Subject: x\r\n\r\nhello\r\n", &usual, recipients);
    run_until(&owner->done);
    owner_fini(owner);
}

START_TEST(connections_are_used_again)
{
    struct owner owner;
    host.pipelining = true;
    settings.next_hop_messages = 3;
    for (int i = 0; i < 7; i++) {
        deliver_one(&owner, "x");
        ck_assert_int_eq(owner.final.code, 250);
    }
    run_ms(10);
    ck_assert_uint_eq(guest_count, 3);
    ck_assert_int_eq((int)value_of("weir_delivery_attempts_total", "class=\"session\",result=\"delivered\""), 7);
    ck_assert_int_eq((int)metrics_gauge(&metrics, "weir_next_hop_connections", "state=\"idle\"")->value, 1);
    ck_assert_int_eq((int)metrics_gauge(&metrics, "weir_next_hop_connections", "state=\"busy\"")->value, 0);
    ck_assert_msg(strstr(heard, "QUIT") != NULL, "%s", heard);
}
END_TEST

START_TEST(idle_connections_are_closed)
{
    struct owner owner;
    settings.next_hop_idle = 50;
    deliver_one(&owner, "x");
    run_until_heard("QUIT ");
    ck_assert_msg(strcmp(heard, "EHLO MAIL RCPT DATA QUIT ") == 0, "%s", heard);
    ck_assert_int_eq((int)metrics_gauge(&metrics, "weir_next_hop_connections", "state=\"idle\"")->value, 0);
}
END_TEST

/* Dead in the pool, in three ways: closed at once, at the next MAIL, with 421 at the next MAIL. None is noticed. */
static const struct host dying[] = { { .dies_at = "IDLE", .deaths = 1 }, { 0 }, { 0 } };

START_TEST(dead_connection_from_the_pool)
{
    struct owner owner;
    host = dying[_i];
    deliver_one(&owner, "x");
    if (_i == 1) {
        host.dies_at = "MAIL";
        host.deaths = 1;
    } else if (_i == 2) {
        host.says_421_at = "MAIL";
    }
    deliver_one(&owner, "x");
    ck_assert_str_eq(owner.codes, "250 ");
    ck_assert_int_eq(owner.final.code, 250);
    ck_assert_uint_eq(guest_count, 2);
}
END_TEST

START_TEST(waits_in_line_for_a_connection)
{
    struct owner owners[5] = { 0 };
    static const struct delivery_envelope usual = ENVELOPE;
    settings.next_hop_connections = 2;
    for (int i = 0; i < 5; i++) {
        owners[i].send_when_told = true;
        owner_start(&owners[i], "Subject: x\r\n\r\nhello\r\n", &usual, "x");
    }
    for (int i = 0; i < 5; i++) {
        run_until(&owners[i].done);
        ck_assert_int_eq(owners[i].final.code, 250);
        owner_fini(&owners[i]);
    }
    ck_assert_uint_eq(guest_count, 2);
    ck_assert_uint_eq(taken_count, 5);
}
END_TEST

/* Of many that one source has in line, only the next is before another source's. */
START_TEST(sources_take_turns_in_line)
{
    static const struct {
        uint64_t source;
        unsigned place;
    } rows[] = { { 1, 0 }, { 1, 1 }, { 1, 3 }, { 1, 5 }, { 1, 6 }, { 2, 2 }, { 2, 4 } }; /* the first has the connection at once */
    enum { COUNT = 7 };
    struct owner owners[COUNT] = { 0 };
    unsigned place = 0;
    settings.next_hop_connections = 1;
    for (int i = 0; i < COUNT; i++) {
        const struct delivery_envelope envelope = { .sender = "a@example.com", .size = 100, .source = rows[i].source };
        owner_start(&owners[i], "x\r\n", &envelope, "x");
        if (i == 0)
            run_until_codes(&owners[0], "250 ");
    }
    while (place < COUNT) {
        int now = 0;
        while (rows[now].place != place)
            now++;
        run_until_codes(&owners[now], "250 ");
        for (int i = 0; i < COUNT; i++)
            ck_assert_str_eq(owners[i].codes, rows[i].place <= place ? "250 " : "");
        owner_send(&owners[now]);
        run_until(&owners[now].done);
        place++;
    }
    for (int i = 0; i < COUNT; i++)
        owner_fini(&owners[i]);
}
END_TEST

START_TEST(the_line_has_an_end)
{
    struct owner owners[3] = { 0 };
    static const struct delivery_envelope usual = ENVELOPE;
    settings.next_hop_connections = 1;
    settings.next_hop_wait = 60;
    owner_start(&owners[0], "x\r\n", &usual, "x");
    run_until_codes(&owners[0], "250 ");
    owner_start(&owners[1], "x\r\n", &usual, "x y");
    owner_start(&owners[2], "x\r\n", &usual, "x");
    delivery_cancel(&owners[2].delivery); /* leaves the line */
    run_until(&owners[1].done);
    ck_assert_str_eq(owners[1].codes, "451 451 ");
    ck_assert_str_eq(owners[1].enhanced, "4.4.5");
    ck_assert_int_eq((int)value_of("weir_next_hop_wait_exceeded_total", ""), 1);
    owner_send(&owners[0]); /* the one that has it is not disturbed */
    run_until(&owners[0].done);
    ck_assert_int_eq(owners[0].final.code, 250);
    for (int i = 0; i < 3; i++)
        owner_fini(&owners[i]);
}
END_TEST

START_TEST(a_slow_client_does_not_hold_the_connection)
{
    struct owner slow = { 0 }, quick;
    static const struct delivery_envelope usual = ENVELOPE;
    settings.next_hop_connections = 1;
    settings.next_hop_wait = 30000;
    settings.next_hop_hold = 1000; /* longer than three replies take on a busy machine */
    host.pipelining = true;
    owner_start(&slow, "x\r\n", &usual, "x 550y z");
    run_until_codes(&slow, "250 550 250 ");
    deliver_one(&quick, "x");
    ck_assert_int_eq(quick.final.code, 250);
    owner_send(&slow);
    run_until(&slow.done);
    ck_assert_int_eq(slow.final.code, 250);
    ck_assert_str_eq(slow.codes, "250 550 250 ");
    ck_assert_uint_eq(guest_count, 1);
    ck_assert_msg(strcmp(heard, "EHLO MAIL RCPT RCPT RCPT RSET MAIL RCPT DATA MAIL RCPT RCPT DATA ") == 0, "%s", heard);
    owner_fini(&slow);
}
END_TEST

START_TEST(recipients_one_by_one)
{
    struct owner owner = { 0 };
    static const struct delivery_envelope usual = ENVELOPE;
    host.pipelining = true;
    owner_start(&owner, "x\r\n", &usual, "x");
    run_until_codes(&owner, "250 ");
    delivery_rcpt(owner.delivery, &(struct delivery_recipient){ .address = "550y@example.org" });
    owner.expected++;
    run_until_codes(&owner, "250 550 ");
    ck_assert_msg(strncmp(owner.hop, "127.0.0.1[127.0.0.1]:", 21) == 0, "%s", owner.hop);
    owner_send(&owner);
    run_until(&owner.done);
    ck_assert_int_eq(owner.final.code, 250);
    owner_fini(&owner);
}
END_TEST

START_TEST(cancelled_anywhere)
{
    static const struct delivery_envelope usual = ENVELOPE;
    host.pipelining = true;
    for (unsigned ms = 0; ms < 12; ms++) {
        struct owner owner = { 0 };
        owner_start(&owner, "x\r\n", &usual, "x y z");
        for (unsigned turn = 0; turn < ms; turn++)
            event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        if (ms > 8 && owner.told == 3)
            owner_send(&owner);
        owner_fini(&owner);
    }
    struct owner inside = { .cancel_when_told = true };
    owner_start(&inside, "x\r\n", &usual, "x y");
    run_until(&inside.done);
    owner_fini(&inside);
    struct owner last;
    deliver_one(&last, "x");
    ck_assert_int_eq(last.final.code, 250);
    ck_assert_int_ge((int)value_of("weir_delivery_attempts_total", "class=\"session\",result=\"cancelled\""), 12);
}
END_TEST

/* As many refusals of ours in a row as a list may have members that the host cannot take. */
START_TEST(many_recipients_that_are_not_ascii)
{
    static const struct delivery_envelope envelope = { .sender = "a@example.com", .smtputf8 = true };
    enum { MANY = 20000 };
    struct owner owner = { 0 };
    char *names = xmalloc(MANY * 4 + 1), *end = names;
    for (int i = 0; i < MANY; i++)
        end = stpcpy(end, i > 0 ? " \xc3\xa4" : "\xc3\xa4");
    host = (struct host){ 0 };
    owner_start(&owner, "Subject: x\r\n\r\nhello\r\n", &envelope, names);
    for (int i = 0; i < 1000 && owner.told < MANY; i++)
        run_ms(10);
    ck_assert_uint_eq(owner.told, MANY);
    owner_fini(&owner);
    free(names);
}
END_TEST

START_TEST(lost_while_nothing_was_asked)
{
    struct owner owner = { 0 };
    static const struct delivery_envelope usual = ENVELOPE;
    owner_start(&owner, "x\r\n", &usual, "x");
    while (guests == NULL)
        event_base_loop(base, EVLOOP_ONCE);
    run_ms(20);
    net_free(&guests->conn);
    run_ms(20);
    owner_send(&owner);
    run_until(&owner.done);
    ck_assert_int_eq(owner.final.code, 250);
    ck_assert_uint_eq(guest_count, 2);
    owner_fini(&owner);
}
END_TEST

/* A message larger than every buffer, from the file, with dots at line starts; dying once in the middle. */
START_TEST(large_message)
{
    struct owner owner = { .send_when_told = true };
    static const struct delivery_envelope usual = ENVELOPE;
    const size_t lines = 60000;
    char *text = xmalloc(lines * 80 + 100), *end = text + sprintf(text, "Subject: large\r\n\r\n");
    for (size_t i = 0; i < lines; i++)
        end += sprintf(end, "%s%060zu\r\n", i % 7 == 0 ? "." : i % 11 == 0 ? ".." : "", i);
    if (_i == 1) {
        host.dies_at = "BODY";
        host.deaths = 1;
    }
    host.tls = _i == 2 ? TLS_WORKS : TLS_NOT_OFFERED;
    settings.reply_timeout = settings.data_done_timeout = 30000; /* millions of bytes on a busy machine */
    owner_start(&owner, text, &usual, "x");
    ck_assert_uint_eq(budget.memory_used, 0);
    run_until(&owner.done);
    ck_assert_msg(owner.final.code == 250, "%d %s", owner.final.code, owner.final.text);
    ck_assert_uint_eq(guest_count, _i == 1 ? 2 : 1);
    ck_assert_int_eq(owner.tls[0] != '\0', _i == 2);
    char *stuffed = xmalloc(2 * (size_t)(end - text));
    bool at_line_start = true;
    size_t size = smtp_dot_stuff(stuffed, text, (size_t)(end - text), &at_line_start);
    ck_assert_uint_eq(taken_size, sizeof prefix - 1 + size);
    ck_assert(memcmp(last_body, prefix, sizeof prefix - 1) == 0);
    ck_assert(memcmp(last_body + sizeof prefix - 1, stuffed, size) == 0);
    free(stuffed);
    free(text);
    owner_fini(&owner);
}
END_TEST

START_TEST(refused_in_the_middle_of_the_message)
{
    struct owner owner = { .send_when_told = true };
    static const struct delivery_envelope usual = ENVELOPE;
    char *text = xmalloc(4 << 20);
    memset(text, 'x', 4 << 20);
    text[(4 << 20) - 1] = '\0';
    host.says_421_at = "BODY";
    owner_start(&owner, text, &usual, "x");
    free(text);
    run_until(&owner.done);
    ck_assert_int_eq(owner.final.code, 450);
    ck_assert(!owner.maybe);
    owner_fini(&owner);
}
END_TEST

/* A host that answers before it has the whole message: a refusal counts, a 250 does not, whatever the sizes of buffers between are. */
static const struct {
    const char *answer;
    size_t size;
    int code;
} early[] = {
    { "250 2.0.0 fine", 16 << 20, 451 },
    { "250 2.0.0 fine", 4 << 20, 451 },
    { "552 5.3.4 too large", 16 << 20, 552 },
    { "552 5.3.4 too large", 4 << 20, 552 },
};

START_TEST(answered_before_the_end)
{
    struct owner owner = { .send_when_told = true };
    static const struct delivery_envelope usual = ENVELOPE;
    char *text = xmalloc(early[_i].size);
    memset(text, 'x', early[_i].size);
    text[early[_i].size - 1] = '\0';
    host.early = early[_i].answer;
    owner_start(&owner, text, &usual, "x");
    free(text);
    run_until(&owner.done);
    ck_assert_int_eq(owner.final.code, early[_i].code);
    ck_assert(!owner.maybe);
    ck_assert_int_eq((int)metrics_gauge(&metrics, "weir_next_hop_connections", "state=\"idle\"")->value, 0);
    owner_fini(&owner);
}
END_TEST

START_TEST(a_message_without_its_last_line_end)
{
    struct owner owner = { .send_when_told = true };
    static const struct delivery_envelope usual = ENVELOPE;
    owner_start(&owner, "Subject: x\r\n\r\nend", &usual, "x");
    run_until(&owner.done);
    ck_assert_int_eq(owner.final.code, 250);
    ck_assert_str_eq(last_body, "Received: by edge.test\r\nSubject: x\r\n\r\nend\r\n");
    owner_fini(&owner);
}
END_TEST

/* TLS required: a trusted host works, everything else is deferred and nothing is said in clear. */
static const struct {
    enum tls_mode tls;
    bool stranger;
    int code;
} required[] = { { TLS_WORKS, false, 250 }, { TLS_WORKS, true, 451 }, { TLS_NOT_OFFERED, false, 451 }, { TLS_DECLINED, false, 451 },
                 { TLS_BROKEN, false, 451 } };

START_TEST(tls_required)
{
    struct owner owner;
    struct test_certificate other;
    test_certificate_make(&other, "other.test");
    if (required[_i].stranger)
        tls_settings.ca_file = other.certificate;
    settings.next_hop_tls = NEXT_HOP_TLS_REQUIRE;
    pool_make();
    test_certificate_remove(&other);
    host.tls = required[_i].tls;
    deliver_one(&owner, "x");
    char codes[8];
    snprintf(codes, sizeof codes, "%d ", required[_i].code);
    ck_assert_str_eq(owner.codes, codes);
    if (required[_i].code != 250) {
        ck_assert_str_eq(owner.enhanced, "4.7.5");
        ck_assert_ptr_null(strstr(heard, "MAIL"));
    }
}
END_TEST

START_TEST(broken_tls_is_remembered)
{
    struct owner owner;
    by_mx = _i > 0;
    host.tls = TLS_BROKEN;
    settings.next_hop_messages = 1;
    deliver_one(&owner, "x");
    deliver_one(&owner, "x");
    ck_assert_int_eq(owner.final.code, 250);
    run_ms(10);
    ck_assert_msg(strcmp(heard, "EHLO STARTTLS EHLO MAIL RCPT DATA QUIT EHLO MAIL RCPT DATA QUIT ") == 0 ||
                      strcmp(heard, "EHLO STARTTLS EHLO MAIL RCPT DATA QUIT EHLO MAIL RCPT DATA ") == 0,
                  "%s", heard);
    ck_assert_int_eq((int)value_of("weir_next_hop_tls_total", "result=\"failed\""), 1);
}
END_TEST

/* Nothing is remembered; the try that found out goes on in clear all the same. */
START_TEST(broken_tls_is_not_remembered)
{
    struct owner owner;
    host.tls = TLS_BROKEN;
    settings.next_hop_messages = 1;
    settings.next_hop_no_tls = 0;
    for (int i = 0; i < 2; i++) {
        deliver_one(&owner, "x");
        ck_assert_int_eq(owner.final.code, 250);
        run_until_heard("QUIT ");
        heard[strcspn(heard, "Q")] = '\0';
        ck_assert_str_eq(heard, "EHLO STARTTLS EHLO MAIL RCPT DATA ");
        heard[0] = '\0';
    }
    ck_assert_int_eq((int)value_of("weir_next_hop_tls_total", "result=\"failed\""), 2);
}
END_TEST

/* One client finds out that a host hangs; the next ones are told at once, and later one at a time tries again. */
START_TEST(a_host_that_hangs_is_remembered)
{
    struct owner owners[4] = { 0 };
    static const struct delivery_envelope usual = ENVELOPE;
    host.silent_at = "GREETING";
    settings.greeting_timeout = 100;
    settings.next_hop_connections = 1;
    settings.next_hop_down = 10000;
    uint64_t began = clock_ms();
    owner_start(&owners[0], "x\r\n", &usual, "x");
    owner_start(&owners[1], "x\r\n", &usual, "x"); /* in line: there is no connection to come */
    run_until(&owners[0].done);
    unsigned took = (unsigned)(clock_ms() - began);
    run_until(&owners[1].done);
    ck_assert_str_eq(owners[0].codes, "451 ");
    ck_assert_str_eq(owners[1].codes, "451 ");
    owner_start(&owners[2], "x\r\n", &usual, "x y");
    run_until_codes(&owners[2], "451 451 ");
    ck_assert_uint_eq(guest_count, 1);
    ck_assert_int_eq((int)value_of("weir_next_hop_down_total", ""), 1);

    host.silent_at = NULL;
    settings.greeting_timeout = 2000;
    settings.next_hop_connections = 9;
    run_ms(took + 50); /* as long as the attempt took, and some more */
    owners[3].send_when_told = true;
    owner_start(&owners[3], "x\r\n", &usual, "x");
    run_until(&owners[3].done);
    ck_assert_int_eq(owners[3].final.code, 250);
    ck_assert_uint_eq(guest_count, 2);
    for (int i = 0; i < 4; i++)
        owner_fini(&owners[i]);
}
END_TEST

/* What was refused at once may be tried at once, one at a time. */
START_TEST(a_host_that_is_back_is_used_at_once)
{
    struct owner owner;
    settings.next_hop_down = 10000;
    host.greeting = "421 4.3.2 starting";
    deliver_one(&owner, "x");
    ck_assert_str_eq(owner.codes, "450! ");
    host.greeting = NULL;
    run_ms(30);
    deliver_one(&owner, "x");
    ck_assert_int_eq(owner.final.code, 250);
}
END_TEST

/* One connection too many is refused: the host is not down for those it serves, nor for the next. */
START_TEST(a_full_host_is_not_down)
{
    struct owner first = { 0 }, owner;
    static const struct delivery_envelope usual = ENVELOPE;
    settings.next_hop_down = 10000;
    owner_start(&first, "x\r\n", &usual, "x");
    run_until_codes(&first, "250 ");
    host.silent_at = "GREETING";
    settings.greeting_timeout = 100;
    deliver_one(&owner, "x");
    ck_assert_str_eq(owner.codes, "451 ");
    owner_send(&first);
    run_until(&first.done);
    ck_assert_int_eq(first.final.code, 250);
    deliver_one(&owner, "x"); /* by the first one's connection */
    ck_assert_int_eq(owner.final.code, 250);
    ck_assert_int_eq((int)value_of("weir_next_hop_down_total", ""), 0);
    owner_fini(&first);
}
END_TEST

/* A reload: what begins afterwards uses it, under a connection that introduced itself with the old one. */
START_TEST(settings_are_changed)
{
    struct owner owner;
    struct error why;
    deliver_one(&owner, "x");
    struct edge_settings *other = xmemdup(&settings, sizeof settings);
    other->next_hop_messages = 1;
    ck_assert(delivery_pool_reload(pool, other, &tls_settings, &why));
    memset(&settings, 0x5a, sizeof settings); /* nobody looks there any more */
    deliver_one(&owner, "x");
    deliver_one(&owner, "x");
    ck_assert_int_eq(owner.final.code, 250);
    ck_assert_uint_eq(guest_count, 2);
    static char missing[] = "/nonexistent/ca.pem";
    struct tls_settings bad = { .ca_file = missing };
    other->next_hop_tls = NEXT_HOP_TLS_REQUIRE;
    ck_assert(!delivery_pool_reload(pool, other, &bad, &why));
    delivery_pool_free(&pool);
    free(other);
}
END_TEST

/* A reload to next_hop_tls = none while a connection waits for EHLO's answer: it still has what it needs for STARTTLS. */
START_TEST(tls_is_taken_away_while_connecting)
{
    struct owner owner = { .send_when_told = true };
    static const struct delivery_envelope usual = ENVELOPE;
    struct error why;
    host.tls = TLS_WORKS;
    host.slow_ehlo = true;
    owner_start(&owner, "x\r\n", &usual, "x");
    run_until_heard("EHLO ");
    ck_assert_str_eq(heard, "EHLO ");
    struct edge_settings *other = xmemdup(&settings, sizeof settings);
    other->next_hop_tls = NEXT_HOP_TLS_NONE;
    ck_assert(delivery_pool_reload(pool, other, &tls_settings, &why));
    host.slow_ehlo = false;
    guest_ehlo(guests);
    run_until(&owner.done);
    ck_assert_int_eq(owner.final.code, 250);
    ck_assert_msg(strncmp(owner.tls, "TLS", 3) == 0, "%s", owner.tls);
    owner_fini(&owner);
    delivery_pool_free(&pool);
    free(other);
}
END_TEST

/* What connections introduce and encrypt themselves with has changed: idle ones are closed at once, those in use after their transaction. */
START_TEST(tls_is_required_from_now_on)
{
    struct owner open = { 0 }, owner;
    static const struct delivery_envelope usual = ENVELOPE;
    static struct edge_settings same, other; /* the pool borrows them until its end */
    struct error why;
    deliver_one(&owner, "x");
    if (_i == 1) {
        owner_start(&open, "x\r\n", &usual, "x");
        run_until_codes(&open, "250 ");
    }
    same = other = settings;
    ck_assert(delivery_pool_reload(pool, &same, &tls_settings, &why)); /* nothing that matters: the connection stays */
    ck_assert_ptr_null(strstr(heard, "QUIT"));
    other.next_hop_tls = NEXT_HOP_TLS_REQUIRE;
    ck_assert(delivery_pool_reload(pool, &other, &tls_settings, &why));
    if (_i == 1) {
        owner_send(&open);
        run_until(&open.done);
        ck_assert_int_eq(open.final.code, 250); /* it began before */
        owner_fini(&open);
    }
    run_until_heard("QUIT");
    heard[0] = '\0';
    deliver_one(&owner, "x");
    ck_assert_str_eq(owner.codes, "451 ");
    ck_assert_str_eq(owner.enhanced, "4.7.5");
    ck_assert_ptr_null(strstr(heard, "MAIL"));
}
END_TEST

/* The message turned out larger than declared, and the connection was given back meanwhile: final, as it would be behind DATA. */
START_TEST(too_large_after_it_was_given_back)
{
    struct owner owner = { 0 };
    static const struct delivery_envelope usual = ENVELOPE;
    char text[400];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    host.size = 200;
    settings.next_hop_hold = 50;
    owner_start(&owner, text, &usual, "x");
    run_until_codes(&owner, "250 ");
    run_ms(120); /* beyond next_hop_hold */
    owner_send(&owner);
    run_until(&owner.done);
    ck_assert_int_eq(owner.final.code, 552);
    ck_assert_uint_eq(taken_count, 0);
    owner_fini(&owner);
}
END_TEST

/* Two connections are held for slow clients; the third client gets that of the one that was held longest, the other keeps its own. */
START_TEST(those_held_longest_are_given_back_under_pressure)
{
    struct owner slow[2] = { 0 }, quick;
    static const struct delivery_envelope usual = ENVELOPE;
    settings.next_hop_connections = 2;
    settings.next_hop_hold = 100000;
    settings.next_hop_hold_pressed = 200;
    uint64_t began = clock_ms();
    owner_start(&slow[0], "first\r\n", &usual, "x");
    run_until_codes(&slow[0], "250 ");
    owner_start(&slow[1], "second\r\n", &usual, "x");
    run_until_codes(&slow[1], "250 ");
    deliver_one(&quick, "x");
    uint64_t took = clock_ms() - began;
    ck_assert_int_eq(quick.final.code, 250);
    ck_assert_msg(took >= 190 && took < 60000, "%u ms", (unsigned)took);
    ck_assert_int_eq((int)value_of("weir_next_hop_given_back_total", ""), 1);
    run_ms(300);
    ck_assert_int_eq((int)value_of("weir_next_hop_given_back_total", ""), 1); /* nobody waits any more */
    for (int i = 0; i < 2; i++) {
        owner_send(&slow[i]);
        run_until(&slow[i].done);
        ck_assert_int_eq(slow[i].final.code, 250);
        owner_fini(&slow[i]);
    }
    ck_assert_uint_eq(guest_count, 2);
    ck_assert_uint_eq(taken_count, 3);
}
END_TEST

/* A message whose client has left: taken back while the dot has not left, in every state before; not after. */
static const struct {
    const char *silent_at;
    size_t size;
    bool back;
} left[] = { { "DATA", 100, true }, { NULL, 16 << 20, true }, { "DOT", 100, false } };

START_TEST(taken_back)
{
    struct owner owner = { .send_when_told = true };
    static const struct delivery_envelope usual = ENVELOPE;
    char *text = xmalloc(left[_i].size);
    memset(text, 'x', left[_i].size);
    text[left[_i].size - 1] = '\0';
    host.silent_at = left[_i].silent_at;
    host.early = _i == 1 ? "" : NULL; /* reads no further */
    owner_start(&owner, text, &usual, "x");
    free(text);
    if (_i == 2) {
        settings.data_done_timeout = 400;
        run_until(&owner.delivery->dot_sent);
    } else {
        run_until_heard("DATA ");
    }
    run_ms(50);
    ck_assert(delivery_take_back(&owner.delivery) == left[_i].back);
    if (left[_i].back)
        ck_assert_ptr_null(owner.delivery);
    else
        run_until(&owner.done);
    ck_assert(owner.maybe == !left[_i].back);
    run_ms(50);
    ck_assert_uint_eq(taken_count, 0);
    owner_fini(&owner);
}
END_TEST

/* The connection ends with the dot still in it: until the message is sent anew on another one, nobody has been given it. */
START_TEST(taken_back_between_two_tries)
{
    static const struct delivery_envelope usual = ENVELOPE;
    struct owner owner;
    size_t size = 128 << 10;
    char *text = xmalloc(16 << 20);
    memset(text, 'x', 16 << 20);
    host.early = ""; /* reads no further */
    settings.reply_timeout = settings.data_done_timeout = 30000; /* nobody gives up before it is told to, on a busy machine */
    for (;; size += 128 << 10) { /* until the system's buffers are full, and ours has the end of the message */
        ck_assert_uint_lt(size, 16 << 20);
        text[size] = '\0';
        owner = (struct owner){ .send_when_told = true };
        owner_start(&owner, text, &usual, "x");
        text[size] = 'x';
        run_until(&owner.delivery->dot_sent);
        run_ms(60); /* in which the system takes what it has room for */
        ck_assert(!owner.done);
        if (owner.delivery->dot_sent && net_unsent(owner.delivery->conn->net) > 0)
            break;
        delivery_cancel(&owner.delivery);
        owner_fini(&owner);
    }
    free(text);
    host.silent_at = "GREETING";
    unsigned before = guest_count;
    net_free(&guests->conn);
    guests->dead = true;
    for (uint64_t stop = clock_ms() + 10000; guest_count == before && !owner.done && clock_ms() < stop;)
        run_ms(10);
    ck_assert(!owner.done && guest_count == before + 1); /* the second try */
    ck_assert(delivery_take_back(&owner.delivery));
    ck_assert_uint_eq(taken_count, 0);
    owner_fini(&owner);
}
END_TEST

/* Slow in every step: the client's patience is spent on all of them together. */
START_TEST(getting_ready_has_one_time_limit)
{
    struct owner owner;
    settings.greeting_timeout = 200;
    settings.reply_timeout = 30000;
    host.silent_at = _i == 0 ? "GREETING" : "EHLO";
    uint64_t began = clock_ms();
    deliver_one(&owner, "x");
    ck_assert_str_eq(owner.codes, "451 ");
    ck_assert_msg(clock_ms() - began < 25000, "%u ms", (unsigned)(clock_ms() - began));
}
END_TEST

START_TEST(nobody_there)
{
    struct owner owner;
    net_listener_free(&listener);
    deliver_one(&owner, "x y");
    ck_assert_str_eq(owner.codes, "451 451 ");
    ck_assert_str_eq(owner.enhanced, "4.4.1");
    ck_assert_int_eq((int)value_of("weir_delivery_attempts_total", "class=\"session\",result=\"unreachable\""), 1);
    ck_assert_int_eq((int)metrics_gauge(&metrics, "weir_next_hop_connections", "state=\"connecting\"")->value, 0);
}
END_TEST

/* I3: an address literal may name us, and so may a route. */
START_TEST(ourselves)
{
    struct owner owner;
    struct netaddr own = at;
    by_mx = _i == 0;
    route = _i == 2 ? "0.0.0.0" : "127.0.0.1";
    if (_i == 3)
        memset(own.bytes, 0, sizeof own.bytes);
    delivery_pool_set_own_addresses(pool, &own, 1);
    deliver_one(&owner, "x y");
    ck_assert_str_eq(owner.codes, "554 554 ");
    ck_assert_str_eq(owner.enhanced, "5.4.6");
    ck_assert_uint_eq(guest_count, 0);
}
END_TEST

/* The same host, another port or the other family: a filter, or another mail server. */
START_TEST(beside_ourselves)
{
    static const struct {
        const char *own, *route;
        unsigned port; /* from the next hop's */
    } rows[] = { { "127.0.0.1", "127.0.0.1", 1 }, { "0.0.0.0", "127.0.0.1", 1 }, { "::", "127.0.0.1", 0 },
                 { "0.0.0.0", "0.0.0.0", 1 },     { "::", "0.0.0.0", 0 } };
    struct owner owner;
    struct netaddr own;
    ck_assert(netaddr_parse(&own, rows[_i].own));
    own.port = (uint16_t)(at.port + rows[_i].port);
    route = rows[_i].route;
    delivery_pool_set_own_addresses(pool, &own, 1);
    deliver_one(&owner, "x y");
    ck_assert_str_eq(owner.codes, "250 250 ");
    ck_assert_int_eq(owner.final.code, 250);
}
END_TEST

/* Another edge of this cluster sends mail to where this one does: back. It is asked nothing but who it is, under TLS where it offers that: in clear
 * somebody in between may have said so. */
START_TEST(another_edge)
{
    static const struct {
        const char *own, *theirs;
        enum tls_mode tls;
        const char *codes, *heard;
        bool in_clear;
    } rows[] = {
        { "0123456789abcdef", "0123456789abcdef", TLS_NOT_OFFERED, "554 554 ", "EHLO QUIT ", false },
        { "0123456789abcdef", "0123456789abcdef", TLS_WORKS, "554 554 ", "EHLO STARTTLS EHLO QUIT ", false },
        { "0123456789abcdef", "0123456789abcdef", TLS_WORKS, "250 250 ", "EHLO STARTTLS EHLO MAIL RCPT RCPT DATA ", true },
        { "0123456789abcdef", "fedcba9876543210", TLS_NOT_OFFERED, "250 250 ", "EHLO MAIL RCPT RCPT DATA ", false }, /* another cluster */
        { "0123456789abcdef", "0123456789abcdef0", TLS_NOT_OFFERED, "250 250 ", "EHLO MAIL RCPT RCPT DATA ", false },
        { "0123456789abcdef", "", TLS_NOT_OFFERED, "250 250 ", "EHLO MAIL RCPT RCPT DATA ", false },
        { "", "", TLS_NOT_OFFERED, "250 250 ", "EHLO MAIL RCPT RCPT DATA ", false }, /* no cluster state yet */
    };
    struct owner owner;
    delivery_pool_set_cluster(pool, rows[_i].own);
    host.cluster = rows[_i].theirs;
    host.cluster_in_clear = rows[_i].in_clear;
    host.tls = rows[_i].tls;
    deliver_one(&owner, "x y");
    for (unsigned i = 0; i < 5000 && strcmp(heard, rows[_i].heard) != 0; i++)
        run_ms(1); /* QUIT is still on its way */
    ck_assert_str_eq(owner.codes, rows[_i].codes);
    ck_assert_str_eq(heard, rows[_i].heard);
    ck_assert_uint_eq(guest_count, 1);
    if (owner.final.code == 0)
        ck_assert_str_eq(owner.enhanced, "5.4.6");
}
END_TEST

/* localhost has ::1 first, where nobody listens: the next address is tried. */
START_TEST(all_addresses_in_turn)
{
    struct owner owner = { .send_when_told = true, .expected = 1 };
    static const struct delivery_envelope usual = ENVELOPE;
    struct next_hop hop = { "localhost", at.port, false };
    owner.message = message_of("x\r\n", 3);
    owner.delivery = delivery_new(pool, &hop, &usual, &handlers, &owner);
    delivery_rcpt(owner.delivery, &(struct delivery_recipient){ .address = "x@example.org" });
    run_until(&owner.done);
    ck_assert_int_eq(owner.final.code, 250);
    ck_assert_msg(strncmp(owner.hop, "localhost[127.0.0.1]:", 21) == 0, "%s", owner.hop);
    owner_fini(&owner);
}
END_TEST

/* From the pool's address, over a connection of its own; from no pool that cannot get there, or is not there. */
START_TEST(from_a_pool_of_addresses)
{
    static char *addresses[] = { "127.0.0.81" }, *six[] = { "::1" }, *lost[] = { "192.0.2.81" };
    struct egress pools[3];
    static const struct {
        const char *pool, *peer, *codes;
        bool unasked;      /* the reason is the edge's */
        in_port_t instead; /* a port where nobody listens; 0: the host's */
    } turns[] = {
        { "", "127.0.0.1", "250", false, 0 }, { "bulk", "127.0.0.81", "250", false, 0 }, { NULL, "127.0.0.1", "250", false, 0 },
        { "six", "", "451", true, 0 }, { "lost", "", "451", true, 0 }, { "none", "", "451", true, 0 }, { "bulk", "", "451", false, 1 },
    };
    egress_init(&pools[0], "bulk", "bulk.test", &(struct config_list){ addresses, 1 });
    egress_init(&pools[1], "six", "six.test", &(struct config_list){ six, 1 });
    egress_init(&pools[2], "lost", "lost.test", &(struct config_list){ lost, 1 }); /* this machine has it not */
    delivery_pool_set_egresses(pool, pools, 3);
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        struct delivery_envelope envelope = ENVELOPE;
        struct owner owner = { .send_when_told = true, .expected = 1 };
        struct next_hop hop = { "127.0.0.1", turns[i].instead != 0 ? turns[i].instead : at.port, false };
        envelope.egress = turns[i].pool;
        owner.message = message_of("x\r\n", 3);
        owner.delivery = delivery_new(pool, &hop, &envelope, &handlers, &owner);
        if (turns[i].pool == NULL) /* the connection of before is used again */
            snprintf(last_peer, sizeof last_peer, "127.0.0.1");
        else
            *last_peer = '\0';
        delivery_rcpt(owner.delivery, &(struct delivery_recipient){ .address = "x@example.org" });
        if (strcmp(turns[i].codes, "250") == 0)
            run_until(&owner.done);
        while (owner.told == 0)
            run_ms(1);
        ck_assert_msg(strncmp(owner.codes, turns[i].codes, 3) == 0, "%zu: %s", i, owner.codes);
        ck_assert_str_eq(last_peer, turns[i].peer);
        ck_assert_msg(owner.unasked == turns[i].unasked, "%zu", i);
        delivery_cancel(&owner.delivery);
        owner_fini(&owner);
    }
    delivery_pool_set_egresses(pool, NULL, 0);
    for (size_t i = 0; i < 3; i++)
        egress_fini(&pools[i]);
}
END_TEST

START_TEST(a_pools_addresses_take_turns)
{
    static char *list[] = { "192.0.2.81", "2001:db8::81", "192.0.2.82" };
    struct egress egress;
    char text[NETADDR_TEXT_MAX];
    egress_init(&egress, "a", "a.test", &(struct config_list){ list, 3 });
    static const char *const wanted[] = { "192.0.2.81", "192.0.2.82", "192.0.2.81" };
    for (unsigned turn = 0; turn < 3; turn++) {
        ck_assert_str_eq(netaddr_format(egress_source(&egress, AF_INET, turn), text), wanted[turn]);
        ck_assert_str_eq(netaddr_format(egress_source(&egress, AF_INET6, turn), text), "2001:db8::81");
    }
    egress.count = 1;
    ck_assert_ptr_null(egress_source(&egress, AF_INET6, 7));
    egress_fini(&egress);
}
END_TEST

static void make_certificate(void)
{
    test_certificate_make(&certificate, "host.test");
}

static void remove_certificate(void)
{
    test_certificate_remove(&certificate);
}

static const struct {
    const char *text, *host;
    uint16_t port;
    bool mx;
} hops[] = {
    { "[mail.example.edu]:25", "mail.example.edu", 25, false }, { "[2001:db8::1]:587", "2001:db8::1", 587, false },
    { "example.edu:25", "example.edu", 25, true },              { "2001:db8::1:25", "2001:db8::1", 25, true },
    { "error:550 5.1.1 User unknown", "550 5.1.1 User unknown", 0, false }, { "error:25", "error", 25, true },
    { "error:250 2.0.0 fine", NULL, 0, false }, { "error:550 gone", NULL, 0, false }, { "error:", NULL, 0, false },
    { "[a]", NULL, 0, false },     { "[a]25", NULL, 0, false },  { "[]:25", NULL, 0, false }, { "a", NULL, 0, false },
    { ":25", NULL, 0, false },     { "a:0", NULL, 0, false },    { "a:x", NULL, 0, false },   { "a:65536", NULL, 0, false },
    { "[a:25", NULL, 0, false }, { "", NULL, 0, false },
};

START_TEST(next_hop_as_text)
{
    struct next_hop hop, again;
    char text[NEXT_HOP_TEXT_MAX];
    bool good = next_hop_parse(&hop, hops[_i].text);
    ck_assert_msg(good == (hops[_i].host != NULL), "%s", hops[_i].text);
    if (!good)
        return;
    ck_assert_str_eq(hop.host, hops[_i].host);
    ck_assert_uint_eq(hop.port, hops[_i].port);
    ck_assert(hop.mx == hops[_i].mx);
    ck_assert_str_eq(next_hop_format(text, &hop), hops[_i].text);
    again = hop;
    ck_assert(next_hop_is_same(&hop, &again));
    again.mx = !again.mx;
    ck_assert(!next_hop_is_same(&hop, &again));
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *suite = suite_create("delivery");
    TCase *tests = tcase_create("delivery");
    tcase_add_unchecked_fixture(tests, make_certificate, remove_certificate);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, delivery, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(tests, connections_are_used_again);
    tcase_add_test(tests, idle_connections_are_closed);
    tcase_add_loop_test(tests, dead_connection_from_the_pool, 0, 3);
    tcase_add_test(tests, waits_in_line_for_a_connection);
    tcase_add_test(tests, sources_take_turns_in_line);
    tcase_add_test(tests, the_line_has_an_end);
    tcase_add_test(tests, a_slow_client_does_not_hold_the_connection);
    tcase_add_test(tests, recipients_one_by_one);
    tcase_add_test(tests, cancelled_anywhere);
    tcase_add_test(tests, lost_while_nothing_was_asked);
    tcase_add_test(tests, many_recipients_that_are_not_ascii);
    tcase_add_loop_test(tests, large_message, 0, 3);
    tcase_add_test(tests, refused_in_the_middle_of_the_message);
    tcase_add_loop_test(tests, answered_before_the_end, 0, (int)(sizeof early / sizeof *early));
    tcase_add_test(tests, a_message_without_its_last_line_end);
    tcase_add_loop_test(tests, tls_required, 0, (int)(sizeof required / sizeof *required));
    tcase_add_loop_test(tests, broken_tls_is_remembered, 0, 2);
    tcase_add_test(tests, broken_tls_is_not_remembered);
    tcase_add_test(tests, a_host_that_hangs_is_remembered);
    tcase_add_test(tests, a_host_that_is_back_is_used_at_once);
    tcase_add_test(tests, a_full_host_is_not_down);
    tcase_add_test(tests, settings_are_changed);
    tcase_add_test(tests, tls_is_taken_away_while_connecting);
    tcase_add_loop_test(tests, tls_is_required_from_now_on, 0, 2);
    tcase_add_test(tests, too_large_after_it_was_given_back);
    tcase_add_test(tests, those_held_longest_are_given_back_under_pressure);
    tcase_add_loop_test(tests, taken_back, 0, (int)(sizeof left / sizeof *left));
    tcase_add_test(tests, taken_back_between_two_tries);
    tcase_add_loop_test(tests, getting_ready_has_one_time_limit, 0, 2);
    tcase_add_test(tests, nobody_there);
    tcase_add_loop_test(tests, ourselves, 0, 4);
    tcase_add_loop_test(tests, beside_ourselves, 0, 5);
    tcase_add_loop_test(tests, another_edge, 0, 7);
    tcase_add_test(tests, all_addresses_in_turn);
    tcase_add_test(tests, from_a_pool_of_addresses);
    tcase_add_test(tests, a_pools_addresses_take_turns);
    tcase_add_loop_test(tests, next_hop_as_text, 0, (int)(sizeof hops / sizeof *hops));
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}

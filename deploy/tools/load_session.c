/*
 * load_session.c - one client: a connection, and at most one message at a time
 *
 *   CLOSED -> BANNER -> EHLO (-> HELO, or -> STARTTLS -> HANDSHAKE -> EHLO) -> READY
 *   READY -> MAIL -> RCPT -> DATA -> BODY -> FINAL -> READY      BDAT: RCPT -> BODY -> FINAL
 *   any -> CLOSED      lost, refused, retry elsewhere, enough messages on one connection
 *
 * With PIPELINING all of MAIL, RCPT and DATA go out at once and the states only count answers. A message stays with its
 * session through retries. `code` is the message's answer so far: the first refusal, 0 for none.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/memory.h"
#include "deploy/tools/load.h"
#include "edge/smtp/reply.h"

#define WRITE_AHEAD  (128 * 1024)
#define PAUSE_MS     100 /* after a connection that came to nothing */
#define RETRY_MAX_MS 1000

enum state { CLOSED, BANNER, EHLO, HELO, STARTTLS, HANDSHAKE, READY, MAIL, RCPT, DATA, BODY, FINAL, RSET, QUIT };

struct load_session {
    struct load *load;
    struct load_session *next_free;
    struct net_conn *conn;
    struct event *timer; /* a pause before the next try */
    enum state state;
    struct smtp_reply_parser parser;
    struct smtp_extensions offers;
    size_t target;
    uint64_t sent_here; /* messages on this connection */
    bool holds;         /* a message */
    struct load_message message;
    size_t offset;
    uint64_t due_us, first_us; /* when it was due; when its first try began, 0: not yet */
    bool under_way;           /* a transaction: MAIL was sent, and no answer ended it yet */
    uint64_t recipients, recipients_answered, recipients_taken;
    uint32_t *taken;          /* the numbers of those that were accepted, room for taken_cap */
    size_t taken_cap;
    unsigned attempts;
    int code;
    char queue_id[64];
};

static void session_next(struct load_session *s);
static void session_connect(struct load_session *s);
static void message_begin(struct load_session *s);

static void say(struct load_session *s, const char *line)
{
    net_write(s->conn, line, strlen(line));
}

static bool pipelines(const struct load_session *s)
{
    return s->load->options.pipeline && s->offers.pipelining;
}

static bool chunks(const struct load_session *s)
{
    return s->load->options.bdat && s->offers.chunking;
}

static void session_hang_up(struct load_session *s)
{
    net_close_after_flush(&s->conn);
    s->state = CLOSED;
}

static void session_rest(struct load_session *s, uint64_t ms)
{
    event_add(s->timer, &(struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) });
}

/* ---- the message's end ---- */

static void recipient_address(const struct load_session *s, uint64_t index, char *out, size_t cap)
{
    const struct load_options *options = &s->load->options;
    const char *at = strrchr(options->to, '@');
    int local = at == NULL ? 0 : (int)(at - options->to);
    if (at != NULL && options->own_recipients)
        snprintf(out, cap, "%.*s+%s.%llu%.400s", local, options->to, s->message.token, (unsigned long long)index, at);
    else if (at != NULL && index > 0)
        snprintf(out, cap, "%.*s+%llu%.400s", local, options->to, (unsigned long long)index, at);
    else
        snprintf(out, cap, "%.700s", options->to);
}

static void write_line(struct load_session *s, uint64_t us)
{
    const struct load_options *options = &s->load->options;
    FILE *ids = options->ids;
    char digest[LOAD_DIGEST_LEN + 1], address[800];
    fprintf(ids, "%s %d %u %llu %s", s->message.token, s->code, s->attempts, (unsigned long long)us,
            *s->queue_id == '\0' && options->digests ? "-" : s->queue_id);
    if (options->digests) {
        load_message_digest(&s->message, digest);
        fprintf(ids, " %s %s", digest, s->recipients_taken == 0 ? "-" : "");
        for (uint64_t i = 0; i < s->recipients_taken; i++) {
            recipient_address(s, s->taken[i], address, sizeof address);
            fprintf(ids, "%s%s", i > 0 ? "," : "", address);
        }
    }
    fputc('\n', ids);
}

static void transaction_over(struct load_session *s, uint64_t now)
{
    if (s->under_way)
        load_stats_transaction(&s->load->stats, now, false);
    s->under_way = false;
}

static void message_record(struct load_session *s, uint64_t now)
{
    struct load *load = s->load;
    uint64_t us = s->first_us == 0 ? 0 : now - s->first_us;
    load->stats.replies[s->code]++;
    if (s->code == 250) {
        load_stats_latency(&load->stats, us);
        load->stats.bytes += load->options.greet_only ? 0 : load_message_size(&s->message);
    }
    if (load->options.ids != NULL)
        write_line(s, us);
    transaction_over(s, now);
    s->holds = false;
    load->busy--;
    load_done(load);
}

/* One try is over with s->code. rest: the connection came to nothing, so do not hurry. */
static void attempt_done(struct load_session *s, bool rest)
{
    const struct load_options *options = &s->load->options;
    uint64_t now = clock_us();
    s->attempts++;
    bool again = options->retry && (s->code == 0 || (s->code >= 400 && s->code < 500)) &&
                 now - s->due_us < options->retry_ms * 1000;
    if (again) {
        transaction_over(s, now);
        uint64_t rounds = s->attempts / options->target_count, pause = rounds * PAUSE_MS;
        s->load->stats.retries++;
        if (s->conn != NULL)
            session_hang_up(s);
        s->target = (s->target + 1) % options->target_count;
        session_rest(s, pause > RETRY_MAX_MS ? RETRY_MAX_MS : pause);
        return;
    }
    message_record(s, now);
    if (s->conn != NULL && (s->code == 421 || (options->per_session > 0 && ++s->sent_here >= options->per_session))) {
        if (s->code != 421)
            say(s, "QUIT\r\n");
        session_hang_up(s);
    }
    if (rest)
        session_rest(s, PAUSE_MS);
    else
        session_next(s);
}

/* The connection is of no more use. */
static void attempt_failed(struct load_session *s, int code)
{
    bool early = s->state < READY;
    if (s->conn != NULL)
        session_hang_up(s);
    s->state = CLOSED;
    if (!s->holds)
        return; /* an idle connection ended; the next message opens another */
    s->code = code;
    attempt_done(s, early);
}

/* ---- the next message ---- */

static void free_list_add(struct load_session *s)
{
    struct load *load = s->load;
    s->next_free = NULL;
    if (load->free_first == NULL)
        load->free_first = s;
    else
        load->free_last->next_free = s;
    load->free_last = s;
}

static void session_take(struct load_session *s, uint64_t due_us)
{
    const struct load_options *options = &s->load->options;
    s->holds = true;
    s->due_us = due_us;
    s->first_us = 0;
    s->attempts = 0;
    s->queue_id[0] = '\0';
    s->recipients = load_source_pick(&s->load->source, options->recipients_min, options->recipients_max);
    s->recipients_taken = 0;
    load_message_make(&s->message, &s->load->source, options->from, options->to, options->unique);
    load_message_form(&s->message, false);
    if (s->conn == NULL) {
        s->target = s->load->next_target++ % options->target_count;
        session_connect(s);
    } else if (s->state == READY) {
        message_begin(s);
    } /* else the connection is on its way to READY (RSET) */
}

static void session_next(struct load_session *s)
{
    uint64_t due_us;
    if (load_take(s->load, &due_us)) {
        s->load->busy++;
        session_take(s, due_us);
    } else {
        free_list_add(s);
    }
}

void load_sessions_wake(struct load *load)
{
    uint64_t due_us;
    while (load->free_first != NULL && load_take(load, &due_us)) {
        struct load_session *s = load->free_first;
        load->free_first = s->next_free;
        load->busy++;
        session_take(s, due_us);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct load_session *s = arg;
    if (s->holds)
        session_connect(s); /* a retry, at s->target */
    else
        session_next(s);
}

/* ---- the transaction ---- */

static void say_rcpt(struct load_session *s, uint64_t index)
{
    char address[800], line[900];
    recipient_address(s, index, address, sizeof address);
    snprintf(line, sizeof line, "RCPT TO:<%s>\r\n", address);
    say(s, line);
}

static void message_begin(struct load_session *s)
{
    const struct load_options *options = &s->load->options;
    char line[900];
    uint64_t now = clock_us();
    if (s->attempts == 0 && options->rate > 0)
        load_stats_wait(&s->load->stats, now - s->due_us);
    if (s->first_us == 0)
        s->first_us = now;
    load_stats_transaction(&s->load->stats, now, true);
    s->under_way = true;
    s->code = 0;
    s->recipients_answered = s->recipients_taken = 0;
    s->offset = 0;
    load_message_form(&s->message, chunks(s));
    int len = snprintf(line, sizeof line, "MAIL FROM:<%.700s>", options->from);
    if (s->offers.has_size)
        snprintf(line + len, sizeof line - (size_t)len, " SIZE=%zu\r\n", load_message_size(&s->message));
    else
        snprintf(line + len, sizeof line - (size_t)len, "\r\n");
    say(s, line);
    s->state = MAIL;
    if (!pipelines(s))
        return;
    for (uint64_t i = 0; i < s->recipients; i++)
        say_rcpt(s, i);
    if (!chunks(s))
        say(s, "DATA\r\n");
}

static void body_write(struct load_session *s)
{
    static char scratch[64 * 1024]; /* net_write copies */
    size_t size = load_message_size(&s->message);
    while (s->offset < size && net_unsent(s->conn) < WRITE_AHEAD) {
        size_t len = load_message_read(&s->message, s->offset, scratch, sizeof scratch - 3);
        s->offset += len;
        if (s->offset == size && !chunks(s)) {
            memcpy(scratch + len, ".\r\n", 3);
            len += 3;
        }
        net_write(s->conn, scratch, len);
    }
    if (s->offset == size)
        s->state = FINAL;
}

static void on_drained(void *arg)
{
    struct load_session *s = arg;
    if (s->state == BODY)
        body_write(s);
}

static void body_begin(struct load_session *s)
{
    s->state = BODY;
    if (chunks(s)) {
        char line[64];
        snprintf(line, sizeof line, "BDAT %zu LAST\r\n", load_message_size(&s->message));
        say(s, line);
    }
    body_write(s);
}

/* Refused before the message was sent: the envelope must go before the next MAIL. */
static void transaction_refused(struct load_session *s)
{
    say(s, "RSET\r\n");
    s->state = RSET;
    attempt_done(s, false);
}

static void note_refusal(struct load_session *s, int code)
{
    if (s->code == 0)
        s->code = code;
}

static void after_recipients(struct load_session *s)
{
    if (pipelines(s) && !chunks(s)) {
        s->state = DATA;
    } else if (s->recipients_taken == 0) {
        transaction_refused(s);
    } else if (chunks(s)) {
        body_begin(s);
    } else {
        say(s, "DATA\r\n");
        s->state = DATA;
    }
}

static void on_mail(struct load_session *s, const struct smtp_reply *reply)
{
    if (reply->code >= 400)
        note_refusal(s, reply->code);
    if (pipelines(s)) {
        s->state = RCPT;
    } else if (s->code != 0) {
        transaction_refused(s);
    } else {
        say_rcpt(s, 0);
        s->state = RCPT;
    }
}

static void on_rcpt(struct load_session *s, const struct smtp_reply *reply)
{
    uint64_t index = s->recipients_answered++;
    if (reply->code < 300) {
        if (s->recipients_taken == s->taken_cap) {
            s->taken_cap = s->taken_cap == 0 ? 8 : 2 * s->taken_cap;
            s->taken = xrealloc(s->taken, s->taken_cap * sizeof *s->taken);
        }
        s->taken[s->recipients_taken++] = (uint32_t)index;
    } else {
        s->load->stats.recipients_refused++;
        note_refusal(s, reply->code);
    }
    if (s->recipients_answered == s->recipients)
        after_recipients(s);
    else if (!pipelines(s))
        say_rcpt(s, s->recipients_answered);
}

static void on_data(struct load_session *s, const struct smtp_reply *reply)
{
    if (reply->code == 354 && s->recipients_taken > 0) {
        body_begin(s);
    } else if (reply->code == 354) {
        say(s, ".\r\n"); /* RFC 2920 3.1: the client's way out when nobody was accepted */
        s->state = FINAL;
    } else {
        note_refusal(s, reply->code);
        transaction_refused(s);
    }
}

static void on_final(struct load_session *s, const struct smtp_reply *reply)
{
    static const char mark[] = "queued as ";
    bool sent = s->recipients_taken > 0;
    if (sent)
        s->code = reply->code;
    const char *id = strstr(reply->text, mark);
    if (id != NULL && sent) {
        id += strlen(mark);
        snprintf(s->queue_id, sizeof s->queue_id, "%.*s", (int)strcspn(id, " \n,;()<>"), id);
    }
    s->state = READY;
    attempt_done(s, false);
}

/* ---- the connection ---- */

static void say_ehlo(struct load_session *s)
{
    say(s, "EHLO load.weir.invalid\r\n");
    s->state = EHLO;
}

static void on_ehlo(struct load_session *s, const struct smtp_reply *reply)
{
    const struct load_options *options = &s->load->options;
    s->offers = s->state == EHLO ? reply->extensions : (struct smtp_extensions){ 0 };
    if (options->greet_only) {
        say(s, "QUIT\r\n");
        s->code = reply->code;
        s->state = QUIT;
    } else if (options->tls != NULL && !net_is_tls(s->conn)) {
        if (!s->offers.starttls) {
            attempt_failed(s, 0);
            return;
        }
        say(s, "STARTTLS\r\n");
        s->state = STARTTLS;
    } else {
        s->state = READY;
        s->sent_here = 0;
        message_begin(s);
    }
}

static void on_secured(void *arg)
{
    say_ehlo(arg);
}

static void on_reply(struct load_session *s, const struct smtp_reply *reply)
{
    bool refused = reply->code >= 400;
    if (reply->code == 421 && s->state != QUIT) {
        attempt_failed(s, 421);
        return;
    }
    switch (s->state) {
    case BANNER:
        if (refused)
            attempt_failed(s, reply->code);
        else
            say_ehlo(s);
        break;
    case EHLO:
        if (refused && reply->code >= 500) {
            say(s, "HELO load.weir.invalid\r\n");
            s->state = HELO;
            break;
        }
        /* fall through */
    case HELO:
        if (refused)
            attempt_failed(s, reply->code);
        else
            on_ehlo(s, reply);
        break;
    case STARTTLS:
        s->state = HANDSHAKE;
        if (refused || !net_start_tls(s->conn, s->load->options.tls, false, NULL))
            attempt_failed(s, refused ? reply->code : 0);
        break;
    case MAIL:
        on_mail(s, reply);
        break;
    case RCPT:
        on_rcpt(s, reply);
        break;
    case DATA:
        on_data(s, reply);
        break;
    case FINAL:
        on_final(s, reply);
        break;
    case RSET:
        s->state = READY;
        if (s->holds)
            message_begin(s);
        break;
    case BODY: /* an answer before the message is all there: a refusal, and the rest would be taken for commands */
        attempt_failed(s, refused ? reply->code : 0);
        break;
    case QUIT:
        session_hang_up(s);
        attempt_done(s, false);
        break;
    case CLOSED:
    case HANDSHAKE:
    case READY:
        attempt_failed(s, 0); /* nothing was asked */
        break;
    }
}

static size_t on_bytes(void *arg, const char *buf, size_t len)
{
    struct load_session *s = arg;
    const struct net_conn *conn = s->conn;
    size_t total = 0;
    while (s->conn == conn && total < len) {
        size_t used;
        enum smtp_reply_status status = smtp_reply_parser_next(&s->parser, buf + total, len - total, &used);
        total += used;
        if (status == SMTP_REPLY_MORE)
            return total;
        if (status == SMTP_REPLY_BROKEN) {
            s->load->stats.lost++;
            attempt_failed(s, 0);
            break;
        }
        struct smtp_reply reply = s->parser.reply;
        smtp_reply_parser_init(&s->parser);
        on_reply(s, &reply);
    }
    return len;
}

static void on_gone(void *arg, enum net_end end, const char *why)
{
    (void)why;
    struct load_session *s = arg;
    struct load_stats *stats = &s->load->stats;
    net_free(&s->conn);
    if (s->holds && end == NET_TIMEOUT)
        stats->timeouts++;
    else if (s->holds && s->state == BANNER)
        stats->connect_errors++;
    else if (s->holds)
        stats->lost++;
    attempt_failed(s, 0);
}

/* --bind-source: each connection from the next address of the range. */
static int bind_source(struct load *load, int fd)
{
    struct netaddr source = load->options.source_first;
    struct sockaddr_storage address;
    if (source.family == 0)
        return 0;
    uint8_t last = load->options.source_last.bytes[3];
    source.bytes[3] = (uint8_t)(source.bytes[3] + load->next_source++ % (1u + last - source.bytes[3]));
    socklen_t len = netaddr_to_sockaddr(&source, &address);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int));
    return bind(fd, (struct sockaddr *)&address, len);
}

static void session_connect(struct load_session *s)
{
    static const struct net_handlers handlers = {
        .secured = on_secured, .bytes = on_bytes, .drained = on_drained, .gone = on_gone
    };
    const struct netaddr *target = &s->load->options.targets[s->target];
    struct sockaddr_storage address;
    socklen_t len = netaddr_to_sockaddr(target, &address);
    smtp_reply_parser_init(&s->parser);
    s->state = BANNER;
    s->code = 0;
    s->recipients_taken = 0;
    if (s->load->options.greet_only && s->first_us == 0)
        s->first_us = clock_us();
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind_source(s->load, fd) != 0 ||
        (connect(fd, (struct sockaddr *)&address, len) != 0 && errno != EINPROGRESS)) {
        if (fd >= 0)
            close(fd);
        s->load->stats.connect_errors++;
        attempt_failed(s, 0);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    /* Not waited for: a connection that fails shows as an error when it is read. */
    s->conn = net_accept(s->load->base, fd, &handlers, s);
    unsigned timeout = (unsigned)s->load->options.timeout_ms;
    net_set_timeout(s->conn, timeout, timeout);
}

void load_sessions_init(struct load *load)
{
    load->sessions = xcalloc(load->options.sessions, sizeof *load->sessions);
    for (uint64_t i = 0; i < load->options.sessions; i++) {
        struct load_session *s = &load->sessions[i];
        s->load = load;
        s->timer = event_new(load->base, -1, 0, on_timer, s);
        free_list_add(s);
    }
}

void load_sessions_give_up(struct load *load)
{
    for (uint64_t i = 0; i < load->options.sessions; i++) {
        struct load_session *s = &load->sessions[i];
        if (s->holds) {
            s->code = 0;
            s->attempts++;
            message_record(s, clock_us());
        }
    }
}

void load_sessions_quit(struct load *load)
{
    for (uint64_t i = 0; i < load->options.sessions; i++) {
        struct load_session *s = &load->sessions[i];
        if (s->conn == NULL)
            continue;
        if (s->state == READY)
            say(s, "QUIT\r\n");
        session_hang_up(s);
    }
}

void load_sessions_fini(struct load *load)
{
    for (uint64_t i = 0; i < load->options.sessions; i++) {
        net_free(&load->sessions[i].conn);
        event_free(load->sessions[i].timer);
        free(load->sessions[i].taken);
    }
    free(load->sessions);
}

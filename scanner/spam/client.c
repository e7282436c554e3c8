/* client.c - see client.h */
#include "scanner/spam/client.h"
#include <errno.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/netaddr.h"
#include "scanner/spam/shared.h"

#define IDLE_MAX 16 /* connections kept; more are needed only in a rush */

struct idle { /* a connection without a question */
    TAILQ_ENTRY(idle) place;
    struct spam_client *client;
    struct bufferevent *bev;
};

struct spam_call {
    TAILQ_ENTRY(spam_call) place; /* client->waiting, while it has no connection */
    struct spam_client *client;
    const struct spam_facts *facts;
    struct spam_message message;
    spam_call_handler done;
    void *arg;
    struct bufferevent *bev; /* NULL: waits */
    bool reused, heard;      /* on a connection that was used before; something has come */
    uint64_t wanted;         /* bytes of the answer, where it has said; 0: not yet */
    bool unsent;             /* the question could not even be written */
    struct spam_shared shared; /* the message, where it is handed over so */
    bool refused;            /* that could not be opened */
    struct event *timer;
};

struct spam_client {
    struct event_base *base;
    const struct spam_protocol *protocol;
    struct spam_scale scale;
    uint64_t connections, timeout_ms, reply_max;
    struct spam_sharing sharing;
    uint64_t shared_bytes, unshared_until; /* clock_ms(); 0: never refused */
    struct sockaddr_storage address;
    socklen_t address_len;
    TAILQ_HEAD(, idle) idle;
    TAILQ_HEAD(, spam_call) waiting;
    size_t idle_count, active;
};

static void call_start(struct spam_call *call);
static void on_call_readable(struct bufferevent *bev, void *arg);
static void on_call_event(struct bufferevent *bev, short what, void *arg);

static void make_address(struct spam_client *client, const char *server)
{
    struct netaddr address;
    struct error why;
    server += strncmp(server, "unix:", 5) == 0 ? 5 : 0;
    if (*server == '/') {
        struct sockaddr_un *un = (struct sockaddr_un *)&client->address;
        un->sun_family = AF_UNIX;
        strncpy(un->sun_path, server, sizeof un->sun_path - 1);
        client->address_len = sizeof *un;
    } else if (netaddr_parse_endpoint(&address, server, &why)) {
        client->address_len = netaddr_to_sockaddr(&address, &client->address);
    } else {
        fatal("%s", why.text);
    }
}

struct spam_client *spam_client_new(struct event_base *base, const struct spam_client_options *options)
{
    struct spam_client *client = xcalloc(1, sizeof *client);
    client->base = base;
    client->protocol = options->protocol;
    client->scale = options->scale;
    client->connections = options->connections;
    client->timeout_ms = options->timeout_ms;
    client->reply_max = options->reply_max;
    client->sharing = options->sharing;
    TAILQ_INIT(&client->idle);
    TAILQ_INIT(&client->waiting);
    make_address(client, options->server);
    return client;
}

/* ---- connections that are kept ---- */

static void idle_free(struct idle *idle)
{
    TAILQ_REMOVE(&idle->client->idle, idle, place);
    idle->client->idle_count--;
    if (idle->bev != NULL)
        bufferevent_free(idle->bev);
    free(idle);
}

/* It has nothing to say: whatever comes is its end. */
static void on_idle_readable(struct bufferevent *bev, void *arg)
{
    (void)bev;
    idle_free(arg);
}

static void on_idle_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev, (void)what;
    idle_free(arg);
}

static void keep(struct spam_client *client, struct bufferevent *bev)
{
    if (client->idle_count == IDLE_MAX) {
        bufferevent_free(bev);
        return;
    }
    struct idle *idle = xcalloc(1, sizeof *idle);
    idle->client = client;
    idle->bev = bev;
    TAILQ_INSERT_HEAD(&client->idle, idle, place);
    client->idle_count++;
    bufferevent_setcb(bev, on_idle_readable, NULL, on_idle_event, idle);
}

static struct bufferevent *take_kept(struct spam_client *client)
{
    struct idle *idle = TAILQ_FIRST(&client->idle);
    if (idle == NULL)
        return NULL;
    struct bufferevent *bev = idle->bev;
    idle->bev = NULL;
    idle_free(idle);
    return bev;
}

void spam_client_free(struct spam_client **client_at)
{
    struct spam_client *client = *client_at;
    *client_at = NULL;
    if (client == NULL)
        return;
    while (!TAILQ_EMPTY(&client->idle))
        idle_free(TAILQ_FIRST(&client->idle));
    free(client);
}

/* ---- calls ---- */

static void start_next(struct spam_client *client)
{
    struct spam_call *next = TAILQ_FIRST(&client->waiting);
    if (next != NULL && client->active < client->connections)
        call_start(next);
}

/* Gives its connection up, or its place in line. */
static void call_leave(struct spam_call *call, bool again)
{
    struct spam_client *client = call->client;
    if (call->bev == NULL) {
        TAILQ_REMOVE(&client->waiting, call, place);
        return;
    }
    client->active--;
    if (again && evbuffer_get_length(bufferevent_get_output(call->bev)) == 0)
        keep(client, call->bev);
    else
        bufferevent_free(call->bev);
    call->bev = NULL;
}

static void call_unshare(struct spam_call *call)
{
    struct spam_client *client = call->client;
    if (call->shared.fd < 0)
        return;
    spam_shared_end(&call->shared);
    client->shared_bytes -= call->shared.size;
    metric_add(client->sharing.bytes, -(double)call->shared.size); /* added, as after a reload another client's are there, too */
}

static void call_free(struct spam_call *call)
{
    event_free(call->timer);
    free(call);
}

static void call_end(struct spam_call *call, enum spam_call_end end, bool again, struct spam_answer *answer, const char *why)
{
    struct spam_client *client = call->client;
    call_leave(call, again);
    call_unshare(call);
    start_next(client);
    call->done(call->arg, end, answer, why);
    call_free(call); /* the client may be gone */
}

void spam_call_cancel(struct spam_call **call_at)
{
    struct spam_call *call = *call_at;
    *call_at = NULL;
    if (call == NULL)
        return;
    struct spam_client *client = call->client;
    call_leave(call, false);
    call_unshare(call);
    start_next(client);
    call_free(call);
}

/* Within its time, which began with the first try. */
static void call_again(struct spam_call *call, bool keeps)
{
    call_leave(call, keeps);
    TAILQ_INSERT_HEAD(&call->client->waiting, call, place);
    call_start(call);
}

/* What keeps messages from being shared goes on for a while, so it is not tried with each, and told once. */
static void stop_sharing(struct spam_client *client, const char *why)
{
    if (client->unshared_until == 0)
        log_write(LOG_WARNING, "messages go to a spam engine in its questions, not in shared memory: %s", why);
    client->unshared_until = clock_ms() + client->sharing.pause_ms;
}

/* The engine is in a container, or is another user and not in the group. */
static void call_refused(struct spam_call *call, bool keeps, const char *why)
{
    metric_add(call->client->sharing.refused, 1);
    stop_sharing(call->client, why);
    call->refused = true;
    call_unshare(call);
    call_again(call, keeps);
}

/* A kept connection that ends before it said anything had been closed before: nobody has seen the question. */
static void call_broken(struct spam_call *call, const char *why)
{
    if (call->reused && !call->heard) {
        call_again(call, false);
        return;
    }
    call_end(call, SPAM_CALL_FAILED, false, NULL, why);
}

static bool call_too_long(struct spam_call *call)
{
    call_end(call, SPAM_CALL_GARBAGE, false, NULL, "its answer is longer than spam_reply_size");
    return true;
}

/* true: the call has ended. */
static bool call_read(struct spam_call *call, bool ended)
{
    struct evbuffer *in = bufferevent_get_input(call->bev);
    struct spam_answer answer = { .score = 0 };
    struct error why = { "" };
    bool again = false;
    call->heard |= evbuffer_get_length(in) > 0;
    if (ended && !call->heard) {
        call_broken(call, "it closed the connection without an answer");
        return true;
    }
    if (evbuffer_get_length(in) > call->client->reply_max)
        return call_too_long(call);
    if (evbuffer_get_length(in) < call->wanted && !ended)
        return false;
    enum spam_reply reply = call->client->protocol->read(in, ended, &call->client->scale, &answer, &call->wanted, &again, &why);
    if (reply == SPAM_REPLY_MORE)
        return call->wanted > call->client->reply_max && call_too_long(call);
    again = again && !ended && evbuffer_get_length(in) == 0;
    if (reply == SPAM_REPLY_REFUSED && call->shared.fd >= 0) {
        call_refused(call, again, why.text);
        return true;
    }
    if (reply == SPAM_REPLY_DONE && call->shared.fd >= 0) {
        call->client->unshared_until = 0;
        metric_add(call->client->sharing.used, 1);
    }
    call_end(call, reply == SPAM_REPLY_DONE ? SPAM_CALL_ANSWERED : SPAM_CALL_GARBAGE, again, &answer, why.text);
    return true;
}

static void on_call_readable(struct bufferevent *bev, void *arg)
{
    (void)bev;
    call_read(arg, false);
}

static void on_call_event(struct bufferevent *bev, short what, void *arg)
{
    struct spam_call *call = arg;
    (void)bev;
    if (what & BEV_EVENT_CONNECTED)
        return;
    if (what & BEV_EVENT_EOF)
        call_read(call, true);
    else
        call_broken(call, evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
}

static void on_call_time(evutil_socket_t fd, short what, void *arg)
{
    struct spam_call *call = arg;
    (void)fd, (void)what;
    if (call->unsent)
        call_end(call, SPAM_CALL_FAILED, false, NULL, "no socket, or no descriptor for the message");
    else
        call_end(call, SPAM_CALL_TIMEOUT, false, NULL, call->bev == NULL ? "no connection was free for it" : "no answer in time");
}

/* What does not fit there goes in the question, as small messages do. */
static void call_share(struct spam_call *call)
{
    struct spam_client *client = call->client;
    const struct spam_sharing *sharing = &client->sharing;
    struct error why;
    if (sharing->from == 0 || call->message.size < sharing->from || call->refused || call->shared.fd >= 0 || clock_ms() < client->unshared_until)
        return;
    if (call->message.size > sharing->max || client->shared_bytes > sharing->max - call->message.size) {
        metric_add(sharing->full, 1);
    } else if (!spam_shared_put(&call->shared, &call->message, sharing->group, &why)) {
        metric_add(sharing->failed, 1);
        stop_sharing(client, why.text);
    } else {
        client->shared_bytes += call->shared.size;
        metric_add(sharing->bytes, (double)call->shared.size);
    }
}

static bool put_question(struct spam_call *call, struct evbuffer *out)
{
    const struct spam_message *message = &call->message;
    call_share(call);
    bool shared = call->shared.fd >= 0;
    call->client->protocol->ask(out, call->facts, shared ? call->shared.name : NULL);
    if (message->size == 0 || shared)
        return true;
    if (message->bytes != NULL)
        return evbuffer_add_reference(out, message->bytes + message->offset, (size_t)message->size, NULL, NULL) == 0;
    int fd = dup(message->fd); /* the buffer closes it */
    if (fd >= 0 && evbuffer_add_file(out, fd, (ev_off_t)message->offset, (ev_off_t)message->size) == 0)
        return true;
    if (fd >= 0)
        close(fd);
    return false;
}

/* Where the connection is there, the socket takes most questions whole: then nothing has to be heard of it but the answer. An error shows there, too. */
static bool write_question(struct spam_call *call, bool connected)
{
    struct evbuffer *question = evbuffer_new();
    evbuffer_set_flags(question, EVBUFFER_FLAG_DRAINS_TO_FD); /* so that a file is sent and not read */
    bool good = put_question(call, question);
    if (good && connected)
        evbuffer_write(question, bufferevent_getfd(call->bev));
    good = good && bufferevent_write_buffer(call->bev, question) == 0; /* the rest */
    evbuffer_free(question);
    return good;
}

/* A unix socket is connected at once, or never: there is no network to wait for. -1: it is not one, or failed, which the usual way says. */
static int connect_now(const struct spam_client *client)
{
    if (client->address.ss_family != AF_UNIX)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&client->address, client->address_len) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Takes the first free connection, or makes one. What fails at once is told by the timer. */
static void call_start(struct spam_call *call)
{
    struct spam_client *client = call->client;
    struct bufferevent *bev = take_kept(client);
    TAILQ_REMOVE(&client->waiting, call, place);
    client->active++;
    call->reused = bev != NULL;
    call->heard = false;
    call->wanted = 0;
    int fd = call->reused ? bufferevent_getfd(bev) : connect_now(client);
    call->bev = call->reused ? bev : bufferevent_socket_new(client->base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    bufferevent_setcb(call->bev, on_call_readable, NULL, on_call_event, call);
    call->unsent = !((fd >= 0 || bufferevent_socket_connect(call->bev, (struct sockaddr *)&client->address, (int)client->address_len) == 0) &&
                write_question(call, fd >= 0) && bufferevent_enable(call->bev, EV_READ) == 0); /* EV_WRITE is from the start, while there is something */
    if (call->unsent)
        event_add(call->timer, &(struct timeval){ 0, 0 });
}

struct spam_call *spam_client_ask(struct spam_client *client, const struct spam_facts *facts, const struct spam_message *message, spam_call_handler done,
                                  void *arg)
{
    struct spam_call *call = xcalloc(1, sizeof *call);
    call->client = client;
    call->facts = facts;
    call->message = *message;
    call->shared.fd = -1;
    call->done = done;
    call->arg = arg;
    call->timer = evtimer_new(client->base, on_call_time, call);
    event_add(call->timer, &(struct timeval){ (time_t)(client->timeout_ms / 1000), (suseconds_t)(client->timeout_ms % 1000) * 1000 });
    TAILQ_INSERT_TAIL(&client->waiting, call, place);
    start_next(client);
    return call;
}

/*
 * request.c - one question to the coordinators at a time, to the first that answers
 *
 * The loop runs only while a question is open. Its end is an answer, the link going down, or the timer.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <time.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "coordinator/ctl/request.h"
#include "coordinator/text.h"
#include "proto/files.h"
#include "proto/link.h"

#define REFUSED_TURN_MS 100

struct requester {
    const struct request_coordinator *coordinators;
    size_t count, current;
    char public_key[CURVE_HEX_LEN + 1]; /* ours, for the words of a refusal */
    struct event_base *base;
    struct metrics metrics;
    struct link_hub *hub;
    struct link *link;
    struct event *timer;
    uint64_t id;

    /* the open question */
    Weir__AdminRequest *request;
    const struct link_payload *payloads;
    struct reply *reply;
    bool sent, answered, refused, keyless, timed_out; /* keyless: refused as it knows no keys at all */
};

static void end_wait(struct requester *requester)
{
    event_base_loopbreak(requester->base);
}

static void send_request(struct requester *requester)
{
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_ADMIN_REQUEST;
    frame.admin_request = requester->request;
    if (link_send(requester->link, &frame, requester->payloads, requester->request->n_files) != LINK_OK) {
        end_wait(requester);
        return;
    }
    requester->sent = true;
    event_add(requester->timer, &(struct timeval){ REQUEST_ANSWER_MS / 1000, 0 });
}

static void on_up(void *arg, struct link *link)
{
    (void)link;
    struct requester *requester = arg;
    if (requester->request != NULL && !requester->sent)
        send_request(requester);
}

static void on_down(void *arg, struct link *link)
{
    struct requester *requester = arg;
    requester->refused = !requester->sent;
    requester->keyless = link_server_knows_no_keys(link);
    end_wait(requester);
}

static void on_message(void *arg, struct link *link, const struct link_message *message)
{
    (void)link;
    struct requester *requester = arg;
    const Weir__AdminReply *answer = message->frame->admin_reply;
    if (message->frame->body_case != WEIR__FRAME__BODY_ADMIN_REPLY || requester->request == NULL ||
        answer->id != requester->request->id)
        return;
    requester->answered = true;
    requester->reply->status = (int)answer->status;
    if (answer->status != 0)
        requester->reply->error = text_copy(answer->error.data, answer->error.len);
    if (message->payload_count > 0) {
        struct text body;
        text_init(&body);
        for (size_t i = 0; i < message->payload_count; i++)
            text_add(&body, message->payloads[i].data, message->payloads[i].len);
        requester->reply->body = body.data; /* a struct text holds nothing else */
    }
    requester->reply->coordinator = xstrdup(requester->coordinators[requester->current].name);
    end_wait(requester);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct requester *requester = arg;
    requester->timed_out = true;
    end_wait(requester);
}

struct requester *requester_new(const struct curve_keypair *pair, const struct request_coordinator *coordinators,
                                size_t count)
{
    struct requester *requester = xcalloc(1, sizeof *requester);
    requester->coordinators = coordinators;
    requester->count = count;
    requester->base = event_base_new();
    metrics_init(&requester->metrics);
    requester->hub = link_hub_new(requester->base, pair, &requester->metrics);
    requester->timer = evtimer_new(requester->base, on_timer, requester);
    curve_key_format(pair->public_key, requester->public_key);
    return requester;
}

void requester_free(struct requester **freed)
{
    struct requester *requester = *freed;
    *freed = NULL;
    if (requester == NULL)
        return;
    if (requester->link != NULL)
        link_free(&requester->link);
    event_free(requester->timer);
    link_hub_free(&requester->hub);
    metrics_fini(&requester->metrics);
    event_base_free(requester->base);
    free(requester);
}

static void reply_reset(struct reply *reply)
{
    reply_clear(reply);
    reply->status = EX_UNAVAILABLE;
}

void reply_clear(struct reply *reply)
{
    free(reply->error);
    free(reply->body);
    free(reply->coordinator);
    *reply = (struct reply){ 0 };
}

/* Tries the current coordinator; true when it answered. Else its words are added to why. */
static bool try_current(struct requester *requester, struct text *why)
{
    static const struct link_handlers handlers = { .up = on_up, .down = on_down, .message = on_message };
    const struct request_coordinator *coordinator = &requester->coordinators[requester->current];
    requester->sent = requester->answered = requester->refused = requester->keyless = requester->timed_out = false;
    reply_reset(requester->reply);
    event_add(requester->timer, &(struct timeval){ REQUEST_CONNECT_MS / 1000, REQUEST_CONNECT_MS % 1000 * 1000 });
    if (requester->link == NULL)
        requester->link =
            link_new(requester->hub, coordinator->endpoint, coordinator->public_key, &handlers, requester);
    if (link_is_up(requester->link))
        send_request(requester);
    event_base_dispatch(requester->base);
    event_del(requester->timer);
    if (requester->answered && requester->reply->status != EX_UNAVAILABLE)
        return true;

    text_printf(why, "%s%s (%s): ", why->len > 0 ? "; " : "", coordinator->name, coordinator->endpoint);
    if (requester->answered)
        text_puts(why, requester->reply->error);
    else if (requester->refused && requester->keyless)
        text_puts(why, "knows no keys yet: it has not reached its database since it started");
    else if (requester->refused)
        text_printf(why, "refused our key %s: is it added as an operator's, and is the coordinator's public_key right?",
                    requester->public_key);
    else
        text_puts(why, !requester->sent ? "cannot connect" : requester->timed_out ? "no answer in time" : "the connection ended before it answered");
    if (!requester->answered)
        link_free(&requester->link);
    return false;
}

/* refused: whether one of them did. */
static bool ask_each(struct requester *requester, struct text *why, bool *refused)
{
    *refused = false;
    for (size_t tried = 0; tried < requester->count; tried++) {
        if (try_current(requester, why))
            return true;
        *refused = *refused || requester->refused;
        if (requester->link != NULL)
            link_free(&requester->link);
        requester->current = (requester->current + 1) % requester->count;
    }
    return false;
}

void requester_ask(struct requester *requester, const char *verb, const char *const *args, size_t arg_count,
                   const struct request_file *files, size_t file_count, struct reply *reply)
{
    Weir__AdminRequest request = WEIR__ADMIN_REQUEST__INIT;
    ProtobufCBinaryData arg_bytes[16], names[WIRE_PAYLOADS_MAX];
    uint8_t act[WIRE_ACT_LEN];
    struct link_payload payloads[WIRE_PAYLOADS_MAX];
    weir_assert(arg_count <= 16 && file_count <= WIRE_PAYLOADS_MAX);
    for (size_t i = 0; i < arg_count; i++)
        arg_bytes[i] = wire_text(args[i]);
    struct wire_file views[WIRE_PAYLOADS_MAX];
    for (size_t i = 0; i < file_count; i++)
        views[i] = (struct wire_file){ files[i].name, files[i].text, files[i].len };
    size_t pieces = wire_files_split(views, file_count, names, payloads);
    weir_assert(pieces > 0 || file_count == 0); /* local.c reads no more than fits */
    request.id = ++requester->id;
    request.verb = wire_text(verb);
    request.args = arg_bytes;
    request.n_args = arg_count;
    request.files = names;
    request.n_files = pieces;
    if (getrandom(act, sizeof act, 0) != (ssize_t)sizeof act)
        fatal("getrandom: %m");
    request.act = wire_bytes(act, sizeof act);

    *reply = (struct reply){ .status = EX_UNAVAILABLE };
    requester->request = &request;
    requester->payloads = payloads;
    requester->reply = reply;
    struct text why;
    text_init(&why);
    bool done = false, refused = true;
    for (uint64_t until = clock_ms() + REQUEST_REFUSED_MS; !done && refused;) {
        text_reset(&why);
        done = ask_each(requester, &why, &refused);
        refused = refused && clock_ms() < until;
        if (!done && refused)
            nanosleep(&(struct timespec){ .tv_nsec = REFUSED_TURN_MS * 1000000L }, NULL);
    }
    if (!done) {
        reply_reset(reply);
        reply->error = xasprintf("no coordinator serves us: %s", why.data);
    }
    text_fini(&why);
    requester->request = NULL;
    requester->reply = NULL;
}

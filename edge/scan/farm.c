/*
 * farm.c - the farm as the rest of the edge sees it: links to the scanners, the clock, and the machine that decides
 *
 * Callbacks only translate: each tells the machine the time and what happened, then lets it tell the scans' owners what
 * that led to.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "edge/scan/machine.h"

#define HELLO_TICKS  (1000 / MACHINE_TICK_MS) /* every second */
#define RANDOM_WORDS 64

struct scan_farm;

struct farm_link { /* one scanner */
    struct scan_farm *farm;
    char name[MACHINE_NAME_MAX];
    char *endpoint;
    uint8_t key[CURVE_KEY_LEN];
    struct link *link;
    struct scanner *scanner;
    bool up;     /* as the log says; a server that refuses our key is down again and again */
    bool listed; /* while a cluster state is looked through */
    struct farm_link *next;
};

struct scan_farm {
    struct link_hub *hub;
    struct machine *machine;
    struct event *tick, *wake;
    char *node; /* "edge-1/0" */
    unsigned ticks;
    struct farm_link *links;
    uint64_t random[RANDOM_WORDS];
    size_t random_left;
};

/* --- what the machine asks for --- */

static enum link_status io_send(void *arg, void *link, Weir__Frame *frame, const struct link_payload *payloads,
                                size_t count)
{
    (void)arg;
    struct farm_link *to = link;
    return link_send(to->link, frame, payloads, count);
}

static uint64_t io_random(void *arg)
{
    struct scan_farm *farm = arg;
    if (farm->random_left == 0) {
        if (getrandom(farm->random, sizeof farm->random, 0) != (ssize_t)sizeof farm->random)
            fatal("getrandom gave no randomness");
        farm->random_left = RANDOM_WORDS;
    }
    return farm->random[--farm->random_left];
}

static void io_wake(void *arg)
{
    struct scan_farm *farm = arg;
    if (!event_pending(farm->wake, EV_TIMEOUT, NULL))
        event_add(farm->wake, &(struct timeval){ 0, 0 });
}

static const struct scan_io farm_io = { io_send, io_random, io_wake };

/* --- what the links say --- */

static void farm_hello(const struct farm_link *to)
{
    Weir__ScanHello hello = WEIR__SCAN_HELLO__INIT;
    hello.node = wire_text(to->farm->node);
    Weir__Frame frame = WEIR__FRAME__INIT;
    frame.body_case = WEIR__FRAME__BODY_SCAN_HELLO;
    frame.scan_hello = &hello;
    link_send(to->link, &frame, NULL, 0); /* not sent: the next one is a second away */
}

static void on_up(void *arg, struct link *link)
{
    (void)link;
    struct farm_link *from = arg;
    log_write(LOG_INFO, "scanner %s: link is up", from->name);
    from->up = true;
    machine_time(from->farm->machine, clock_us());
    farm_hello(from);
    machine_up(from->farm->machine, from->scanner);
    machine_deliver(from->farm->machine);
}

static void on_down(void *arg, struct link *link)
{
    (void)link;
    struct farm_link *from = arg;
    if (from->up)
        log_write(LOG_NOTICE, "scanner %s: link is down", from->name);
    from->up = false;
    machine_time(from->farm->machine, clock_us());
    machine_down(from->farm->machine, from->scanner);
    machine_deliver(from->farm->machine);
}

static void on_message(void *arg, struct link *link, const struct link_message *message)
{
    (void)link;
    struct farm_link *from = arg;
    machine_time(from->farm->machine, clock_us());
    machine_message(from->farm->machine, from->scanner, message);
    machine_deliver(from->farm->machine);
}

static void on_writable(void *arg, struct link *link)
{
    (void)link;
    struct farm_link *from = arg;
    machine_time(from->farm->machine, clock_us());
    machine_writable(from->farm->machine, from->scanner);
    machine_deliver(from->farm->machine);
}

static const struct link_handlers farm_handlers = { on_up, on_down, on_message, on_writable };

/* --- the farm --- */

static void on_tick(evutil_socket_t fd, short events, void *arg)
{
    (void)fd, (void)events;
    struct scan_farm *farm = arg;
    if (++farm->ticks % HELLO_TICKS == 0)
        for (const struct farm_link *to = farm->links; to != NULL; to = to->next)
            if (link_is_up(to->link))
                farm_hello(to);
    machine_time(farm->machine, clock_us());
    machine_tick(farm->machine);
    machine_deliver(farm->machine);
}

static void on_wake(evutil_socket_t fd, short events, void *arg)
{
    (void)fd, (void)events;
    struct scan_farm *farm = arg;
    machine_deliver(farm->machine);
}

struct scan_farm *scan_farm_new(struct event_base *base, struct link_hub *hub, const struct edge_settings *settings,
                                const char *node, unsigned worker, struct metrics *metrics)
{
    struct scan_farm *farm = xcalloc(1, sizeof *farm);
    farm->hub = hub;
    farm->node = xasprintf("%s/%u", node, worker);
    farm->machine = machine_new(settings, &farm_io, farm, metrics);
    machine_time(farm->machine, clock_us());
    farm->tick = event_new(base, -1, EV_PERSIST, on_tick, farm);
    farm->wake = event_new(base, -1, 0, on_wake, farm);
    if (farm->tick == NULL || farm->wake == NULL ||
        event_add(farm->tick, &(struct timeval){ 0, MACHINE_TICK_MS * 1000 }) != 0)
        fatal("cannot make the scan farm's timers");
    return farm;
}

void scan_farm_reload(struct scan_farm *farm, const struct edge_settings *settings)
{
    machine_set_times(farm->machine, settings);
}

static void farm_link_free(struct farm_link **ptr)
{
    struct farm_link *old = *ptr;
    *ptr = old->next;
    machine_scanner_remove(old->farm->machine, &old->scanner);
    link_free(&old->link);
    free(old->endpoint);
    free(old);
}

void scan_farm_free(struct scan_farm **ptr)
{
    struct scan_farm *farm = *ptr;
    if (farm == NULL)
        return;
    while (farm->links != NULL)
        farm_link_free(&farm->links);
    machine_free(&farm->machine);
    event_free(farm->tick);
    event_free(farm->wake);
    free(farm->node);
    free(farm);
    *ptr = NULL;
}

/* Its key may connect as a scanner: a revoked one's verdicts count no more, even while its entry is still listed. */
static bool key_is_allowed(const Weir__ClusterState *state, const ProtobufCBinaryData *key)
{
    for (size_t i = 0; i < state->n_keys; i++) {
        const Weir__AllowedKey *allowed = state->keys[i];
        if (allowed->role == WEIR__ROLE__ROLE_SCANNER && allowed->public_key.len == key->len &&
            memcmp(allowed->public_key.data, key->data, key->len) == 0)
            return true;
    }
    return false;
}

static struct farm_link *farm_find(const struct scan_farm *farm, const Weir__NodeEntry *entry)
{
    struct farm_link *at = farm->links;
    while (at != NULL && !(wire_equal(&entry->node, at->name) && wire_equal(&entry->endpoint, at->endpoint) &&
                           memcmp(entry->public_key.data, at->key, CURVE_KEY_LEN) == 0))
        at = at->next;
    return at;
}

static struct farm_link *farm_add(struct scan_farm *farm, const Weir__NodeEntry *entry)
{
    struct farm_link *new = xcalloc(1, sizeof *new);
    new->farm = farm;
    wire_string(new->name, sizeof new->name, &entry->node);
    new->endpoint = xstrndup((const char *)entry->endpoint.data, entry->endpoint.len);
    memcpy(new->key, entry->public_key.data, CURVE_KEY_LEN);
    new->scanner = machine_scanner_add(farm->machine, new->name, new);
    new->link = link_new(farm->hub, new->endpoint, new->key, &farm_handlers, new);
    new->next = farm->links;
    farm->links = new;
    log_write(LOG_INFO, "scanner %s: linking to %s", new->name, new->endpoint);
    return new;
}

void scan_farm_update(struct scan_farm *farm, const Weir__ClusterState *state)
{
    machine_time(farm->machine, clock_us());
    for (struct farm_link *at = farm->links; at != NULL; at = at->next)
        at->listed = false;
    for (size_t i = 0; i < state->n_nodes; i++) {
        const Weir__NodeEntry *entry = state->nodes[i];
        if (entry->role != WEIR__ROLE__ROLE_SCANNER || entry->endpoint.len == 0 ||
            entry->public_key.len != CURVE_KEY_LEN || entry->node.len == 0 || entry->node.len >= MACHINE_NAME_MAX ||
            !key_is_allowed(state, &entry->public_key))
            continue;
        struct farm_link *of = farm_find(farm, entry);
        if (of == NULL)
            of = farm_add(farm, entry);
        of->listed = true;
        machine_scanner_set(farm->machine, of->scanner, entry->drain, entry->lost);
    }
    for (struct farm_link **at = &farm->links; *at != NULL;)
        if ((*at)->listed) {
            at = &(*at)->next;
        } else {
            log_write(LOG_NOTICE, "scanner %s: no longer listed at %s", (*at)->name, (*at)->endpoint);
            farm_link_free(at);
        }
}

bool scan_farm_has_live(const struct scan_farm *farm)
{
    machine_time(farm->machine, clock_us());
    return machine_has_live(farm->machine);
}

bool scan_farm_has_room(const struct scan_farm *farm)
{
    machine_time(farm->machine, clock_us());
    return machine_has_room(farm->machine);
}

/* --- scans --- */

struct scan *scan_start(struct scan_farm *farm, const struct queue_id *id, const struct message *message,
                        const struct scan_facts *facts, const struct scan_handlers *handlers, void *arg)
{
    return machine_start(farm->machine, id, message, facts, handlers, arg);
}

void scan_feed(struct scan *scan)
{
    machine_time(machine_of(scan), clock_us());
    machine_feed(scan);
}

void scan_finish(struct scan *scan)
{
    machine_time(machine_of(scan), clock_us());
    machine_finish(scan);
}

void scan_cancel(struct scan **scan)
{
    if (*scan != NULL)
        machine_time(machine_of(*scan), clock_us());
    machine_cancel(scan);
}

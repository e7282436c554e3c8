/*
 * decide.c - weir-decide: how many decisions of limits an edge's worker hears from a coordinator, and how soon
 *
 * With an edge's own node (proto/node.h) and nothing else around it. Every second decision is that of a connection (one bucket: its client's), every other one
 * of a message (its client's messages and recipients, and its sender's domain), of random clients; all buckets have enough.
 *
 *     weir-decide -c weir.conf --name NAME --seconds S --buckets N (--open N | --rate N)
 *
 * --open: so many are under way, each answer is followed by the next question. --rate: so many a second, whatever the answers; a decision's time then counts
 * from when it was due. Prints one line of JSON.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/settings.h"
#include "proto/node.h"

#define WARM_MS    1000
#define TIMEOUT_MS 10000
#define COSTS_MOST 3
#define SAMPLES    (1u << 22)
#define ENOUGH     1000000000ull

struct decider {
    struct event_base *base;
    struct event *timer;
    struct node *node;
    uint64_t buckets, rate;
    uint64_t begins_us, ends_us; /* of what is measured */
    uint64_t asked, answered, failed, first_us;
    uint32_t *samples; /* microseconds, of the first SAMPLES answers */
    size_t under_way;
    bool over;
};

struct decision {
    struct decider *decider;
    uint64_t due_us;
};

static void ask(struct decider *decider, uint64_t due_us);

static void on_answer(void *arg, const Weir__Answer *answer, const struct link_payload *payloads, size_t count)
{
    (void)payloads, (void)count;
    struct decision *decision = arg;
    struct decider *decider = decision->decider;
    uint64_t now = clock_us(), took = now - decision->due_us;
    bool fine = answer != NULL && answer->status == WEIR__ANSWER_STATUS__ANSWER_OK && answer->limit_taken->states[0]->fits;
    free(decision);
    decider->under_way--;
    if (now >= decider->begins_us && now < decider->ends_us) {
        if (fine && decider->answered < SAMPLES)
            decider->samples[decider->answered] = (uint32_t)took;
        decider->answered += fine;
        decider->failed += !fine;
    }
    if (decider->rate == 0 && !decider->over)
        ask(decider, clock_us());
    if (decider->over && decider->under_way == 0)
        event_base_loopbreak(decider->base);
}

static void ask(struct decider *decider, uint64_t due_us)
{
    static const char *const whats[COSTS_MOST] = { "messages", "recipients", "mail" };
    char names[COSTS_MOST][64];
    Weir__LimitCost costs[COSTS_MOST], *pointers[COSTS_MOST];
    Weir__LimitAsk limits = WEIR__LIMIT_ASK__INIT;
    Weir__Question question = WEIR__QUESTION__INIT;
    bool message = decider->asked++ % 2 != 0;
    unsigned long long client = (unsigned long long)random() % decider->buckets;
    limits.n_costs = message ? COSTS_MOST : 1;
    limits.costs = pointers;
    for (size_t i = 0; i < limits.n_costs; i++) {
        weir__limit_cost__init(&costs[i]);
        snprintf(names[i], sizeof names[i], "bench %s %llu", message ? whats[i] : "connections", client);
        costs[i].bucket = wire_text(names[i]);
        costs[i].cost = 1;
        costs[i].amount = costs[i].burst = ENOUGH;
        costs[i].period_ms = 60000;
        pointers[i] = &costs[i];
    }
    question.body_case = WEIR__QUESTION__BODY_LIMIT_ASK;
    question.limit_ask = &limits;
    struct decision *decision = xcalloc(1, sizeof *decision);
    *decision = (struct decision){ decider, due_us };
    if (node_ask(decider->node, &question, NULL, 0, TIMEOUT_MS, on_answer, decision) != NULL) {
        decider->under_way++;
        return;
    }
    decider->failed++; /* too many under way: it would be none that an edge asks, either */
    free(decision);
}

/* Every millisecond. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct decider *decider = arg;
    uint64_t now = clock_us();
    if (decider->over)
        return;
    if (now >= decider->ends_us) {
        decider->over = true;
        if (decider->under_way == 0)
            event_base_loopbreak(decider->base);
        return;
    }
    uint64_t due = decider->rate != 0 ? (now - decider->first_us) * decider->rate / 1000000 + 1 : 0; /* the first is due at once */
    while (decider->asked < due)
        ask(decider, decider->first_us + decider->asked * 1000000 / decider->rate);
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct decider *decider = arg;
    if (!node_is_connected(decider->node))
        return;
    event_base_loopbreak(decider->base);
}

static void on_state(void *arg, const Weir__ClusterState *state, const Weir__NodeEntry *entry)
{
    (void)arg, (void)state, (void)entry;
}

static void on_heartbeat(void *arg, Weir__Heartbeat *beat)
{
    (void)arg;
    beat->state = WEIR__NODE_STATE__NODE_DRAINED; /* nobody is to send mail here */
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report(struct decider *decider)
{
    size_t count = decider->answered < SAMPLES ? decider->answered : SAMPLES;
    double seconds = (double)(decider->ends_us - decider->begins_us) / 1e6;
    qsort(decider->samples, count, sizeof *decider->samples, compare);
    printf("{\"rate\": %.1f, \"seconds\": %.3f, \"decisions\": %llu, \"failed\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
           (double)decider->answered / seconds, seconds, (unsigned long long)decider->answered, (unsigned long long)decider->failed,
           count > 0 ? decider->samples[count / 2] / 1e3 : 0, count > 0 ? decider->samples[count * 99 / 100] / 1e3 : 0);
}

static void measure(struct decider *decider, uint64_t seconds, uint64_t open)
{
    struct event *look = event_new(decider->base, -1, EV_PERSIST, on_connected, decider);
    event_add(look, &(struct timeval){ 0, 10000 });
    event_base_dispatch(decider->base);
    event_free(look);
    decider->first_us = clock_us();
    decider->begins_us = decider->first_us + WARM_MS * 1000;
    decider->ends_us = decider->begins_us + seconds * 1000000;
    decider->timer = event_new(decider->base, -1, EV_PERSIST, on_timer, decider);
    event_add(decider->timer, &(struct timeval){ 0, 1000 });
    for (uint64_t i = 0; i < open; i++)
        ask(decider, clock_us());
    event_base_dispatch(decider->base);
    event_free(decider->timer);
}

static void read_coordinator(struct node_coordinator *coordinator, const struct config *config)
{
    struct coordinator_settings settings = { 0 };
    struct error why;
    if (!config_fill(config, "coordinator", config_instance(config, "coordinator", 0), &settings, &why))
        fatal("%s", why.text);
    curve_key_parse(coordinator->public_key, settings.public_key);
    coordinator->listen = xstrdup(settings.listen);
    coordinator->publish = xstrdup(settings.publish);
    config_clear(settings_table("coordinator"), &settings);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "name", required_argument, NULL, 'n' },    { "seconds", required_argument, NULL, 's' },
                                             { "buckets", required_argument, NULL, 'b' }, { "open", required_argument, NULL, 'o' },
                                             { "rate", required_argument, NULL, 'r' },    { 0 } };
    static const struct node_handlers handlers = { .state = on_state, .heartbeat = on_heartbeat };
    const char *path = NULL, *name = NULL;
    uint64_t seconds = 5, open = 0;
    struct decider decider = { .buckets = 10000 };
    for (int option; (option = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
        switch (option) {
        case 'c': path = optarg; break;
        case 'n': name = optarg; break;
        case 's': seconds = strtoull(optarg, NULL, 10); break;
        case 'b': decider.buckets = strtoull(optarg, NULL, 10); break;
        case 'o': open = strtoull(optarg, NULL, 10); break;
        case 'r': decider.rate = strtoull(optarg, NULL, 10); break;
        default: return 64;
        }
    }
    log_open(&(struct log_options){ .ident = "weir-decide", .node = name, .level = LOG_WARNING });
    if (path == NULL || name == NULL || seconds == 0 || decider.buckets == 0 || (open == 0) == (decider.rate == 0)) {
        fprintf(stderr, "usage: weir-decide -c FILE --name NAME --seconds S --buckets N (--open N | --rate N)\n");
        return 64;
    }
    struct error why;
    struct config *config = config_load(path, settings_tables, NULL, 0, &why);
    struct cluster_settings cluster = { 0 };
    struct node_coordinator coordinator;
    struct curve_keypair pair;
    if (config == NULL || !config_fill(config, "cluster", NULL, &cluster, &why) || !curve_keypair_read(&pair, cluster.key_file, &why))
        fatal("%s", why.text);
    read_coordinator(&coordinator, config);
    struct metrics metrics;
    metrics_init(&metrics);
    decider.samples = xcalloc(SAMPLES, sizeof *decider.samples);
    struct event_config *precise = event_config_new(); /* else its clock is the kernel's tick, and what is due each millisecond comes in heaps each four */
    event_config_set_flag(precise, EVENT_BASE_FLAG_PRECISE_TIMER);
    decider.base = event_base_new_with_config(precise);
    event_config_free(precise);
    struct link_hub *hub = link_hub_new(decider.base, &pair, &metrics);
    link_hub_configure(hub, &cluster);
    decider.node = node_new(decider.base,
                            &(struct node_options){ .name = name, .role = WEIR__ROLE__ROLE_EDGE, .workers = 1, .cluster = &cluster,
                                                    .coordinators = &coordinator, .coordinator_count = 1, .hub = hub, .metrics = &metrics },
                            &handlers, &decider);
    measure(&decider, seconds, open);
    report(&decider);
    node_free(&decider.node);
    link_hub_free(&hub);
    event_base_free(decider.base);
    metrics_fini(&metrics);
    free(decider.samples);
    free(coordinator.listen);
    free(coordinator.publish);
    config_clear(settings_table("cluster"), &cluster);
    config_free(&config);
    return 0;
}

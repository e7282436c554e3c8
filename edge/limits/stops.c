/* stops.c - see stops.h */
#include "edge/limits/stops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

/* Two hours: no line of limits has such a time, so no bucket of one has such a name. */
#define THROTTLE_HOURS 2
#define BURST_PART     10

void stops_fini(struct stops *stops)
{
    for (size_t i = 0; i < stops->count; i++)
        free(stops->items[i]);
    free(stops->items);
    *stops = (struct stops){ 0 };
}

static int compare(const void *a, const void *b)
{
    return strcmp((*(struct stop *const *)a)->subject, (*(struct stop *const *)b)->subject);
}

void stops_set(struct stops *stops, const Weir__OutboundStops *told)
{
    stops_fini(stops);
    if (told == NULL || told->n_stops == 0)
        return;
    stops->items = xcalloc(told->n_stops, sizeof *stops->items);
    for (size_t i = 0; i < told->n_stops; i++) {
        const Weir__OutboundStop *one = told->stops[i];
        struct stop *stop = stops->items[stops->count++] = xcalloc(1, sizeof *stop + one->subject.len + 1);
        stop->state = one->state;
        stop->amount = one->amount;
        wire_string(stop->subject, one->subject.len + 1, &one->subject);
    }
    qsort(stops->items, stops->count, sizeof *stops->items, compare);
}

const struct stop *stops_find(const struct stops *stops, const char *login, const struct netaddr *client)
{
    size_t low = 0, high = stops->count;
    char subject[WIRE_SUBJECT_MAX + 1], host[LIMIT_SUBJECT_MAX] = "";

    if (login == NULL)
        limit_subject_of_client(host, LIMIT_BY_CLIENT, client, NULL);
    snprintf(subject, sizeof subject, "%s %s", login != NULL ? "account" : "host", login != NULL ? login : host);
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(subject, stops->items[middle]->subject);
        if (order == 0)
            return stops->items[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

void stop_rule(const struct stop *stop, struct limit_rule *rule, char subject[LIMIT_SUBJECT_MAX])
{
    const char *name = strchr(stop->subject, ' ');
    uint64_t burst = stop->amount / BURST_PART;

    *rule = (struct limit_rule){
        .direction = LIMIT_OUTBOUND,
        .by = strncmp(stop->subject, "account ", 8) == 0 ? LIMIT_BY_ACCOUNT : LIMIT_BY_CLIENT,
        .what = LIMIT_OF_RECIPIENTS,
        .rate = { THROTTLE_HOURS * (stop->amount > 0 ? stop->amount : 1), THROTTLE_HOURS * UINT64_C(3600000), burst > 0 ? burst : 1 },
    };
    snprintf(subject, LIMIT_SUBJECT_MAX, "%s", name != NULL ? name + 1 : stop->subject);
}

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
    for (size_t i = 0; i < stops->pooled_count; i++)
        free(stops->pooled[i]);
    free(stops->items);
    free(stops->beyond);
    free(stops->one_beyond);
    free(stops->pooled);
    *stops = (struct stops){ 0 };
}

static int compare(const void *a, const void *b)
{
    return strcmp((*(struct stop *const *)a)->subject, (*(struct stop *const *)b)->subject);
}

static int compare_pooled(const void *a, const void *b)
{
    return strcmp((*(struct pooled *const *)a)->subject, (*(struct pooled *const *)b)->subject);
}

static void set_pools(struct stops *stops, const Weir__OutboundPools *told)
{
    stops->pooled = xcalloc(told->n_pools + 1, sizeof *stops->pooled);
    for (size_t i = 0; i < told->n_pools; i++) {
        const Weir__OutboundPool *one = told->pools[i];
        struct pooled *pooled = stops->pooled[stops->pooled_count++] = xcalloc(1, sizeof *pooled + one->subject.len + 1);
        wire_string(pooled->pool, sizeof pooled->pool, &one->pool);
        wire_string(pooled->subject, one->subject.len + 1, &one->subject);
    }
    qsort(stops->pooled, stops->pooled_count, sizeof *stops->pooled, compare_pooled);
}

static int compare_digests(const void *a, const void *b)
{
    const struct beyond *one = a, *other = b;
    return one->digest < other->digest ? -1 : one->digest > other->digest;
}

static void set_beyond(struct stops *stops, const Weir__OutboundStops *told)
{
    stops->beyond = xcalloc(told->n_beyond + 1, sizeof *stops->beyond);
    for (size_t i = 0; i < told->n_beyond; i++) {
        Weir__OutboundState state = i < told->beyond_states.len ? told->beyond_states.data[i] : WEIR__OUTBOUND_STATE__OUTBOUND_HELD;
        bool taken = state != WEIR__OUTBOUND_STATE__OUTBOUND_REFUSED && state != WEIR__OUTBOUND_STATE__OUTBOUND_FULL;
        stops->beyond[stops->beyond_count++] = (struct beyond){ told->beyond[i], taken ? WEIR__OUTBOUND_STATE__OUTBOUND_HELD : state };
    }
    qsort(stops->beyond, stops->beyond_count, sizeof *stops->beyond, compare_digests);
}

void stops_set(struct stops *stops, const Weir__OutboundStops *told, const Weir__OutboundPools *pools)
{
    stops_fini(stops);
    if (pools != NULL)
        set_pools(stops, pools);
    if (told == NULL)
        return;
    if (told->n_beyond > 0)
        set_beyond(stops, told);
    if (told->n_stops == 0)
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

#define KEY_MAX (WIRE_SUBJECT_MAX + 1)

static const char *subject_of(char out[KEY_MAX], const char *login, const struct netaddr *client)
{
    char host[LIMIT_SUBJECT_MAX] = "";
    if (login == NULL)
        limit_subject_of_client(host, LIMIT_BY_CLIENT, client, NULL);
    snprintf(out, KEY_MAX, "%s %s", login != NULL ? "account" : "host", login != NULL ? login : host);
    return out;
}

static int compare_stop(const void *key, const void *item)
{
    return strcmp(key, (*(struct stop *const *)item)->subject);
}

static int compare_pool(const void *key, const void *item)
{
    return strcmp(key, (*(struct pooled *const *)item)->subject);
}

/* NULL: he is none of them. */
static const struct stop *find_beyond(struct stops *stops, const char *subject)
{
    struct beyond wanted = { .digest = wire_subject_digest(subject) };
    const struct beyond *found = stops->beyond_count == 0 ? NULL : bsearch(&wanted, stops->beyond, stops->beyond_count, sizeof wanted, compare_digests);
    if (found == NULL)
        return NULL;
    size_t len = strlen(subject) + 1;
    free(stops->one_beyond);
    stops->one_beyond = xcalloc(1, sizeof *stops->one_beyond + len);
    stops->one_beyond->state = found->state;
    memcpy(stops->one_beyond->subject, subject, len);
    return stops->one_beyond;
}

const struct stop *stops_find(struct stops *stops, const char *login, const struct netaddr *client)
{
    char subject[KEY_MAX];
    if (stops->count + stops->beyond_count == 0)
        return NULL;
    subject_of(subject, login, client);
    struct stop **found = stops->count == 0 ? NULL : bsearch(subject, stops->items, stops->count, sizeof *stops->items, compare_stop);
    return found != NULL ? *found : find_beyond(stops, subject);
}

const char *stops_pool(const struct stops *stops, const char *login, const struct netaddr *client)
{
    char subject[KEY_MAX];
    struct pooled **found =
        stops->pooled_count == 0 ? NULL : bsearch(subject_of(subject, login, client), stops->pooled, stops->pooled_count, sizeof *stops->pooled, compare_pool);
    return found != NULL ? (*found)->pool : NULL;
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

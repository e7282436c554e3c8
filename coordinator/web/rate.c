/*
 * rate.c - see rate.h
 */
#include "coordinator/web/rate.h"
#include <stdlib.h>
#include <sys/queue.h>
#include "common/memory.h"

struct client {
    uint64_t key, at_ms;
    double left;
    SLIST_ENTRY(client) same; /* of one place of the table */
    TAILQ_ENTRY(client) age;  /* who was seen last stands last */
};
SLIST_HEAD(place, client);

struct rate {
    size_t most, count;
    double per_minute;
    struct place *places;
    TAILQ_HEAD(, client) ages;
};

struct rate *rate_new(size_t most, uint64_t per_minute)
{
    struct rate *rate = xcalloc(1, sizeof *rate);
    rate->most = most;
    rate->per_minute = (double)per_minute;
    rate->places = xcalloc(most, sizeof *rate->places);
    TAILQ_INIT(&rate->ages);
    return rate;
}

static struct place *place_of(struct rate *rate, uint64_t key)
{
    return &rate->places[key % rate->most];
}

static void forget(struct rate *rate, struct client *client)
{
    SLIST_REMOVE(place_of(rate, client->key), client, client, same);
    TAILQ_REMOVE(&rate->ages, client, age);
    rate->count--;
    free(client);
}

void rate_free(struct rate **freed)
{
    struct rate *rate = *freed;
    *freed = NULL;
    if (rate == NULL)
        return;
    while (!TAILQ_EMPTY(&rate->ages))
        forget(rate, TAILQ_FIRST(&rate->ages));
    free(rate->places);
    free(rate);
}

static struct client *find(struct rate *rate, uint64_t key, uint64_t now_ms)
{
    struct client *client;
    SLIST_FOREACH(client, place_of(rate, key), same)
    {
        if (client->key == key) {
            TAILQ_REMOVE(&rate->ages, client, age);
            TAILQ_INSERT_TAIL(&rate->ages, client, age);
            return client;
        }
    }
    if (rate->count == rate->most)
        forget(rate, TAILQ_FIRST(&rate->ages));
    client = xcalloc(1, sizeof *client);
    *client = (struct client){ .key = key, .at_ms = now_ms, .left = rate->per_minute };
    SLIST_INSERT_HEAD(place_of(rate, key), client, same);
    TAILQ_INSERT_TAIL(&rate->ages, client, age);
    rate->count++;
    return client;
}

bool rate_take(struct rate *rate, uint64_t key, uint64_t now_ms)
{
    struct client *client = find(rate, key, now_ms);
    client->left += (double)(now_ms - client->at_ms) * rate->per_minute / 60000;
    client->at_ms = now_ms;
    if (client->left > rate->per_minute)
        client->left = rate->per_minute;
    if (client->left < 1)
        return false;
    client->left -= 1;
    return true;
}

size_t rate_count(const struct rate *rate)
{
    return rate->count;
}

/*
 * fair.c - turns among sources that want the same thing
 */
#include "common/fair.h"
#include <string.h>
#include <sys/socket.h>
#include "common/netaddr.h"

#define EACH_COST 16384u /* bytes that are scanned in the time that a message takes without its bytes, about */

void fair_init(struct fair *fair, uint64_t seed)
{
    memset(fair, 0, sizeof *fair);
    fair->seed = seed;
    fair->now = 1;
}

static uint64_t hash(uint64_t start, const void *bytes, size_t len) /* FNV-1a */
{
    for (const uint8_t *at = bytes; len > 0; at++, len--)
        start = (start ^ *at) * 1099511628211u;
    return start;
}

uint64_t fair_source(const char *client, size_t len)
{
    char text[NETADDR_TEXT_MAX] = "";
    struct netaddr address;
    if (len < sizeof text)
        memcpy(text, client, len);
    if (!netaddr_parse(&address, text))
        return hash(14695981039346656037u, client, len);
    return hash(14695981039346656037u, address.bytes, address.family == AF_INET6 ? 8 : 4);
}

/* The finalizer of MurmurHash3: with the seed in, nobody can choose a source that stands where another does. */
static size_t place_of(const struct fair *fair, uint64_t source)
{
    uint64_t mixed = source ^ fair->seed;
    mixed = (mixed ^ mixed >> 33) * 0xff51afd7ed558ccdu;
    mixed = (mixed ^ mixed >> 33) * 0xc4ceb9fe1a85ec53u;
    return (size_t)((mixed ^ mixed >> 33) % FAIR_PLACES);
}

uint64_t fair_next(const struct fair *fair, uint64_t source)
{
    uint64_t finish = fair->finish[place_of(fair, source)];
    return finish > fair->now ? finish : fair->now;
}

uint64_t fair_turn(struct fair *fair, uint64_t source, uint64_t cost)
{
    uint64_t turn = fair_next(fair, source);
    fair->finish[place_of(fair, source)] = turn + cost;
    return turn;
}

void fair_serve(struct fair *fair, uint64_t turn)
{
    if (turn > fair->now)
        fair->now = turn;
}

void fair_give_back(struct fair *fair, uint64_t source, uint64_t turn, uint64_t cost)
{
    uint64_t *finish = &fair->finish[place_of(fair, source)];
    if (*finish == turn + cost)
        *finish = turn;
}

uint64_t fair_mail_cost(uint64_t size)
{
    return EACH_COST + size;
}

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

static uint64_t prefix4 = 32, prefix6 = 64;

void fair_set_prefixes(uint64_t bits4, uint64_t bits6)
{
    prefix4 = bits4;
    prefix6 = bits6;
}

static uint64_t hash_prefix(const char *client, size_t len, uint64_t bits4, uint64_t bits6)
{
    char text[NETADDR_TEXT_MAX] = "";
    struct netaddr address;
    if (len > 0 && len < sizeof text) /* none may be told, as of mail that is taught, and be NULL then */
        memcpy(text, client, len);
    if (!netaddr_parse(&address, text))
        return hash(14695981039346656037u, client, len);
    uint64_t bits = address.family == AF_INET6 ? bits6 : bits4;
    if (bits % 8 != 0)
        address.bytes[bits / 8] &= (uint8_t)(0xff00u >> bits % 8);
    return hash(14695981039346656037u, address.bytes, (bits + 7) / 8);
}

uint64_t fair_source(const char *client, size_t len)
{
    return hash_prefix(client, len, prefix4, prefix6);
}

uint64_t fair_network(const char *client, size_t len)
{
    return hash_prefix(client, len, 24, 48);
}

/* The finalizer of MurmurHash3: with the seed in, nobody can choose a source that stands where another does. */
size_t fair_place(const struct fair *fair, uint64_t source)
{
    uint64_t mixed = source ^ fair->seed;
    mixed = (mixed ^ mixed >> 33) * 0xff51afd7ed558ccdu;
    mixed = (mixed ^ mixed >> 33) * 0xc4ceb9fe1a85ec53u;
    return (size_t)((mixed ^ mixed >> 33) % FAIR_PLACES);
}

uint64_t fair_next(const struct fair *fair, uint64_t source)
{
    uint64_t finish = fair->finish[fair_place(fair, source)];
    return finish > fair->now ? finish : fair->now;
}

uint64_t fair_turn(struct fair *fair, uint64_t source, uint64_t cost)
{
    uint64_t turn = fair_next(fair, source);
    fair->finish[fair_place(fair, source)] = turn + cost;
    return turn;
}

void fair_serve(struct fair *fair, uint64_t turn)
{
    if (turn > fair->now)
        fair->now = turn;
}

void fair_give_back(struct fair *fair, uint64_t source, uint64_t turn, uint64_t cost)
{
    uint64_t *finish = &fair->finish[fair_place(fair, source)];
    if (*finish == turn + cost)
        *finish = turn;
}

uint64_t fair_mail_cost(uint64_t size)
{
    return EACH_COST + size;
}

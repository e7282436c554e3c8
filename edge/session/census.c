/*
 * census.c - see census.h
 */
#include "edge/session/census.h"
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include "common/error.h"

/* With 20,000 sessions of as many clients, nobody's count is wrong by as little as one more often than once in a hundred. */
#define CELLS  65536 /* a power of two */
#define HASHES 4

struct census_row {
    uint32_t ticks;
    uint32_t ends[CENSUS_ENDS], orphans;
    struct {
        uint32_t sessions, handed_over, says_last;
        uint32_t cells[HASHES][CELLS];
    } now;
};

struct census {
    unsigned workers;
    uint64_t secrets[HASHES][2]; /* so that nobody can choose addresses that share a client's cells */
    struct census_row rows[];
};

static size_t census_bytes(unsigned workers)
{
    return sizeof(struct census) + workers * sizeof(struct census_row);
}

struct census *census_new(unsigned workers)
{
    void *page = mmap(NULL, census_bytes(workers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        fatal("cannot map the memory shared by the workers: %m");
    struct census *census = page;
    census->workers = workers;
    if (getrandom(census->secrets, sizeof census->secrets, 0) != (ssize_t)sizeof census->secrets)
        fatal("getrandom: %m");
    return census;
}

void census_free(struct census **census)
{
    if (*census != NULL)
        munmap(*census, census_bytes((*census)->workers));
    *census = NULL;
}

void census_begin(struct census *census, unsigned worker)
{
    memset(&census->rows[worker].now, 0, sizeof census->rows[worker].now);
}

/* The finalizer of MurmurHash3, with a secret for one of its multipliers and one in front: neighbours, as clients often are, are spread like any others, and
 * which addresses share a cell is known to nobody outside. */
static uint32_t census_cell(const uint64_t secret[2], uint64_t key)
{
    uint64_t hash = key ^ secret[0];
    hash = (hash ^ hash >> 33) * (secret[1] | 1);
    hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53u;
    return (uint32_t)((hash ^ hash >> 33) & (CELLS - 1));
}

static void census_hash(const struct census *census, const struct netaddr *client, uint32_t at[HASHES])
{
    uint64_t key = 0;
    size_t len = client->family == AF_INET6 ? 8 : 4;
    for (size_t i = 0; i < len; i++)
        key = key << 8 | client->bytes[i];
    for (int h = 0; h < HASHES; h++)
        at[h] = census_cell(census->secrets[h], key);
}

static void census_add(struct census *census, unsigned worker, const struct netaddr *client, uint32_t amount)
{
    struct census_row *row = &census->rows[worker];
    uint32_t at[HASHES];
    census_hash(census, client, at);
    __atomic_fetch_add(&row->now.sessions, amount, __ATOMIC_RELAXED);
    for (int h = 0; h < HASHES; h++)
        __atomic_fetch_add(&row->now.cells[h][at[h]], amount, __ATOMIC_RELAXED);
}

void census_enter(struct census *census, unsigned worker, const struct netaddr *client)
{
    census_add(census, worker, client, 1);
}

void census_leave(struct census *census, unsigned worker, const struct netaddr *client)
{
    census_add(census, worker, client, UINT32_MAX); /* - 1 */
}

unsigned census_sessions(const struct census *census)
{
    unsigned sum = 0;
    for (unsigned w = 0; w < census->workers; w++)
        sum += __atomic_load_n(&census->rows[w].now.sessions, __ATOMIC_RELAXED);
    return sum;
}

unsigned census_of_client(const struct census *census, const struct netaddr *client)
{
    uint32_t at[HASHES];
    unsigned least = UINT32_MAX;
    census_hash(census, client, at);
    for (int h = 0; h < HASHES; h++) {
        unsigned sum = 0;
        for (unsigned w = 0; w < census->workers; w++)
            sum += __atomic_load_n(&census->rows[w].now.cells[h][at[h]], __ATOMIC_RELAXED);
        least = sum < least ? sum : least;
    }
    return least;
}

void census_tick(struct census *census, unsigned worker)
{
    __atomic_fetch_add(&census->rows[worker].ticks, 1, __ATOMIC_RELAXED);
}

uint32_t census_ticks(const struct census *census, unsigned worker)
{
    return __atomic_load_n(&census->rows[worker].ticks, __ATOMIC_RELAXED);
}

void census_say_last(struct census *census, unsigned worker)
{
    __atomic_store_n(&census->rows[worker].now.says_last, 1, __ATOMIC_RELAXED);
}

bool census_says_last(const struct census *census, unsigned worker)
{
    return __atomic_load_n(&census->rows[worker].now.says_last, __ATOMIC_RELAXED) != 0;
}

void census_note_end(struct census *census, unsigned worker, enum census_end end)
{
    __atomic_fetch_add(&census->rows[worker].ends[end], 1, __ATOMIC_RELAXED);
}

uint32_t census_take_ends(struct census *census, unsigned worker, enum census_end end)
{
    return __atomic_exchange_n(&census->rows[worker].ends[end], 0, __ATOMIC_RELAXED);
}

void census_hand_over(struct census *census, unsigned worker)
{
    __atomic_fetch_add(&census->rows[worker].now.handed_over, 1, __ATOMIC_RELAXED);
}

void census_answered(struct census *census, unsigned worker, uint32_t messages)
{
    __atomic_fetch_sub(&census->rows[worker].now.handed_over, messages, __ATOMIC_RELAXED);
}

uint32_t census_note_orphans(struct census *census, unsigned worker)
{
    uint32_t messages = __atomic_load_n(&census->rows[worker].now.handed_over, __ATOMIC_RELAXED);
    __atomic_fetch_add(&census->rows[worker].orphans, messages, __ATOMIC_RELAXED);
    return messages;
}

uint32_t census_take_orphans(struct census *census, unsigned worker)
{
    return __atomic_exchange_n(&census->rows[worker].orphans, 0, __ATOMIC_RELAXED);
}

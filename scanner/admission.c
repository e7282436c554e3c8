/*
 * admission.c - what a scanner takes on: slots, bytes, and the two lanes of waiting scans
 */
#include "scanner/admission.h"
#include <string.h>
#include "common/error.h"

#define WINDOW_LEAST (4u * 1024) /* of each upload, or a client with many slow ones would get no other through */

void admission_init(struct admission *admission, const struct admission_limits *limits, uint64_t seed)
{
    memset(admission, 0, sizeof *admission);
    admission->limits = *limits;
    for (int lane = 0; lane < LANES; lane++)
        fair_init(&admission->fair[lane], seed);
}

/* --- bytes --- */

static bool fits(uint64_t used, uint64_t more, uint64_t limit)
{
    return used <= limit && more <= limit - used;
}

/* Its client is still sending, for as long as it likes. */
static bool is_slow(const struct admission_share *share)
{
    return share->state == ADMISSION_UPLOADING && !share->holds_slot;
}

static bool fits_on_disk(const struct admission *admission, const struct admission_share *share, uint64_t size)
{
    return fits(admission->disk, size, admission->limits.disk) &&
           (!is_slow(share) || fits(admission->slow_disk, size, admission->limits.disk / 2));
}

/*
 * Where `size` bytes of a message that may become `expected` bytes would go; false: nowhere. What the message holds already must not
 * be counted in.
 */
static bool find_room(const struct admission *admission, const struct admission_share *share, uint64_t size, uint64_t expected,
                      bool *on_disk)
{
    const struct admission_limits *limits = &admission->limits;
    bool upload = share->state == ADMISSION_UPLOADING;
    if (expected <= limits->memory_threshold && fits(admission->memory, size, limits->memory) &&
        (!upload || fits(admission->upload_memory, size, limits->memory / 2))) {
        *on_disk = false;
        return true;
    }
    /* A small whole message is refused rather than written to disk: BUSY sends it to a scanner that has room in memory. */
    *on_disk = true;
    return (upload || size > limits->memory_threshold) && fits_on_disk(admission, share, size);
}

static void reserve(struct admission *admission, struct admission_share *share, uint64_t size, bool on_disk)
{
    share->reserved = size;
    share->on_disk = on_disk;
    if (on_disk)
        admission->disk += size;
    else
        admission->memory += size;
    if (on_disk && is_slow(share))
        admission->slow_disk += size;
    else if (!on_disk && share->state == ADMISSION_UPLOADING)
        admission->upload_memory += size;
}

static void give_back(struct admission *admission, struct admission_share *share)
{
    if (share->on_disk)
        admission->disk -= share->reserved;
    else
        admission->memory -= share->reserved;
    if (share->on_disk && is_slow(share))
        admission->slow_disk -= share->reserved;
    else if (!share->on_disk && share->state == ADMISSION_UPLOADING)
        admission->upload_memory -= share->reserved;
    share->reserved = 0;
}

/* --- lanes --- */

static enum lane lane_of(const struct admission *admission, uint64_t size)
{
    return size <= admission->limits.large_message ? LANE_SMALL : LANE_LARGE;
}

/* Behind all whose turn is not later. One that floods comes last, one that comes alone is among the first: so it is looked for from both ends. */
static struct admission_share *place_for(const struct admission *admission, enum lane lane, uint64_t turn)
{
    struct admission_share *last = admission->last[lane], *next = admission->first[lane];
    if (last == NULL || last->turn <= turn)
        return last;
    while (next->turn <= turn)
        next = next->next;
    return next->previous;
}

static void enqueue(struct admission *admission, struct admission_share *share, uint64_t size)
{
    share->state = ADMISSION_QUEUED;
    share->lane = lane_of(admission, size);
    share->cost = fair_mail_cost(size);
    share->turn = fair_turn(&admission->fair[share->lane], share->source, share->cost);
    share->previous = place_for(admission, share->lane, share->turn);
    share->next = share->previous != NULL ? share->previous->next : admission->first[share->lane];
    if (share->previous != NULL)
        share->previous->next = share;
    else
        admission->first[share->lane] = share;
    if (share->next != NULL)
        share->next->previous = share;
    else
        admission->last[share->lane] = share;
    admission->queued++;
}

static void dequeue(struct admission *admission, struct admission_share *share)
{
    if (share->previous != NULL)
        share->previous->next = share->next;
    else
        admission->first[share->lane] = share->next;
    if (share->next != NULL)
        share->next->previous = share->previous;
    else
        admission->last[share->lane] = share->previous;
    share->previous = share->next = NULL;
    admission->queued--;
}

/* --- scans --- */

uint64_t admission_used(const struct admission *admission)
{
    return admission->held + admission->queued + admission->running;
}

static void count_upload(struct admission *admission, const struct admission_share *share, int change)
{
    *(share->holds_slot ? &admission->held : &admission->uploads) += (uint64_t)change;
    admission->uploading[fair_place(&admission->fair[0], share->source)] += (uint32_t)change;
}

static void end_upload(struct admission *admission, struct admission_share *share)
{
    admission_set_ahead(admission, share, 0);
    count_upload(admission, share, -1);
}

uint64_t admission_window(const struct admission *admission, const struct admission_share *share)
{
    size_t place = fair_place(&admission->fair[0], share->source);
    uint64_t many = admission->uploading[place], others = admission->ahead[place] - share->ahead;
    if (many <= 1)
        return admission->limits.window;
    uint64_t all = admission->limits.source_window < admission->limits.window ? admission->limits.source_window : admission->limits.window;
    uint64_t each = all / many, room = all > others ? all - others : 0; /* the others may have more, of when they were fewer */
    uint64_t least = all < WINDOW_LEAST ? all : WINDOW_LEAST, window = each < room ? each : room;
    return window > least ? window : least;
}

void admission_set_ahead(struct admission *admission, struct admission_share *share, uint64_t bytes)
{
    uint64_t *ahead = &admission->ahead[fair_place(&admission->fair[0], share->source)];
    *ahead = *ahead - share->ahead + bytes;
    share->ahead = bytes;
}

enum admission_answer admission_take_whole(struct admission *admission, struct admission_share *share, uint64_t size)
{
    bool on_disk;
    weir_assert(share->state == ADMISSION_NONE);
    if (admission_used(admission) >= admission->limits.slots)
        return ADMISSION_NO_SLOT;
    if (!find_room(admission, share, size, size, &on_disk))
        return ADMISSION_NO_BYTES;
    enqueue(admission, share, size);
    reserve(admission, share, size, on_disk);
    return ADMISSION_OK;
}

enum admission_answer admission_take_upload(struct admission *admission, struct admission_share *share, uint64_t size_hint,
                                            bool complete)
{
    uint64_t expected = size_hint != 0 ? size_hint : admission->limits.window;
    uint64_t size = complete || expected < admission->limits.window ? expected : admission->limits.window;
    bool on_disk;
    weir_assert(share->state == ADMISSION_NONE);
    if ((complete ? admission_used(admission) : admission->uploads) >= admission->limits.slots)
        return ADMISSION_NO_SLOT;
    share->state = ADMISSION_UPLOADING;
    share->holds_slot = complete;
    bool possible = complete || expected <= admission->limits.memory_threshold || expected <= admission->limits.disk / 2;
    if (!possible || !find_room(admission, share, size, expected, &on_disk)) {
        share->state = ADMISSION_NONE;
        return ADMISSION_NO_BYTES;
    }
    count_upload(admission, share, 1);
    reserve(admission, share, size, on_disk);
    return ADMISSION_OK;
}

bool admission_extend(struct admission *admission, struct admission_share *share)
{
    uint64_t old = share->reserved;
    bool was_on_disk = share->on_disk, on_disk = true;
    weir_assert(share->state == ADMISSION_UPLOADING);
    if (old > UINT64_MAX - admission->limits.window)
        return false;
    uint64_t size = old + admission->limits.window;
    give_back(admission, share);
    /* Bytes never move back from disk to memory. */
    bool room = was_on_disk ? fits_on_disk(admission, share, size) : find_room(admission, share, size, size, &on_disk);
    reserve(admission, share, room ? size : old, room ? on_disk : was_on_disk);
    return room;
}

bool admission_complete(struct admission *admission, struct admission_share *share, uint64_t size)
{
    weir_assert(share->state == ADMISSION_UPLOADING && size <= share->reserved);
    if (!share->holds_slot && admission_used(admission) >= admission->limits.slots)
        return false;
    bool on_disk = share->on_disk;
    give_back(admission, share);
    end_upload(admission, share);
    enqueue(admission, share, size);
    reserve(admission, share, size, on_disk);
    return true;
}

struct admission_share *admission_give_way(const struct admission *admission, const struct admission_share *share, uint64_t size)
{
    enum lane lane = lane_of(admission, size);
    struct admission_share *last = admission->last[lane];
    return last != NULL && fair_next(&admission->fair[lane], share->source) < last->turn ? last : NULL;
}

static bool is_newcomer(const struct admission *admission, const struct admission_share *share)
{
    const struct admission_share *neighbour = NULL;
    for (const struct admission_share *run = admission->runs[share->lane]; run != NULL; run = run->next) {
        if (run->source == share->source)
            return false;
        if (run->network != share->network)
            continue;
        if (neighbour != NULL && neighbour->source != run->source)
            return false;
        neighbour = run;
    }
    return true;
}

struct admission_share *admission_next(const struct admission *admission, enum lane lane, bool newcomer)
{
    struct admission_share *share = admission->first[lane];
    while (newcomer && share != NULL && !is_newcomer(admission, share))
        share = share->next;
    return share;
}

void admission_run(struct admission *admission, struct admission_share *share)
{
    weir_assert(share->state == ADMISSION_QUEUED);
    if (share == admission->first[share->lane]) /* one that overtook brings nobody's turn nearer */
        fair_serve(&admission->fair[share->lane], share->turn);
    dequeue(admission, share);
    share->state = ADMISSION_RUNNING;
    share->next = admission->runs[share->lane];
    if (share->next != NULL)
        share->next->previous = share;
    admission->runs[share->lane] = share;
    admission->running++;
}

static void stop_running(struct admission *admission, struct admission_share *share)
{
    if (share->previous != NULL)
        share->previous->next = share->next;
    else
        admission->runs[share->lane] = share->next;
    if (share->next != NULL)
        share->next->previous = share->previous;
    share->previous = share->next = NULL;
    admission->running--;
}

void admission_release(struct admission *admission, struct admission_share *share)
{
    give_back(admission, share);
    switch (share->state) {
    case ADMISSION_UPLOADING:
        end_upload(admission, share);
        break;
    case ADMISSION_QUEUED:
        dequeue(admission, share);
        fair_give_back(&admission->fair[share->lane], share->source, share->turn, share->cost);
        break;
    case ADMISSION_RUNNING:
        stop_running(admission, share);
        break;
    case ADMISSION_NONE:
        break;
    }
    share->state = ADMISSION_NONE;
}

#ifndef WEIR_SCANNER_ADMISSION_H
#define WEIR_SCANNER_ADMISSION_H
/*
 * admission.h - what a scanner takes on: slots, bytes, and the two lanes of waiting scans
 *
 * Pure: no socket, no clock. A scan is UPLOADING (its bytes still come), QUEUED in a lane, or RUNNING. There are `slots` for complete
 * messages: queued, running, or on their way here from an edge that has them whole. A message that its client is still sending holds
 * none, so that slow clients never take a slot from others; there may be as many of those as slots, and one that becomes complete
 * while no slot is free is not taken on. Bytes are reserved before they arrive: in memory up to memory_threshold a message, else
 * on disk. Uploads get at most half of the memory, and disk after that, so that they cannot crowd out the small mail either. Those
 * that their clients are still sending are reserved window by window, whatever size was promised, and get at most half of the disk:
 * a promise costs a client nothing.
 *
 * A lane is in the order of turns (common/fair.h): of many messages of one client, of whichever edge, only the next stands before another
 * client's. While all slots are taken, one whose turn is earlier than that of the last in its lane takes the slot of that. No scan can be
 * interrupted, so turns alone would have everybody wait for the large messages that a flood has with all workers: a lane's spare workers are for
 * newcomers, who have no scan running there. Of a network with two other sources at work there nobody is one: a flood of its addresses would be all newcomers.
 * The neighbours of one host that floods still are.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/fair.h"
#include "scanner/channel.h"

struct admission_limits {
    uint64_t slots;
    uint64_t memory;
    uint64_t memory_threshold;
    uint64_t disk;
    uint64_t window;        /* an upload that is not complete is reserved in steps of this */
    uint64_t source_window; /* what a source's uploads share where it has several */
    uint64_t large_message;
};

enum admission_answer { ADMISSION_OK, ADMISSION_NO_SLOT, ADMISSION_NO_BYTES };

enum admission_state { ADMISSION_NONE, ADMISSION_UPLOADING, ADMISSION_QUEUED, ADMISSION_RUNNING };

/* One scan's share of the budget; inside the owner's struct, zeroed at first. */
struct admission_share {
    enum admission_state state;
    bool on_disk;
    uint64_t reserved;
    enum lane lane;
    bool holds_slot;                         /* while uploading */
    uint64_t source;                         /* whose it is (fair_source()); its owner says so before anything else */
    uint64_t network;                        /* fair_network(), likewise */
    uint64_t ahead;                          /* bytes that may come, while uploading */
    uint64_t turn, cost;                     /* in the lane, while queued */
    struct admission_share *previous, *next; /* in the lane, while queued; among those that run in it, while running */
};

struct admission {
    struct admission_limits limits;
    uint64_t uploads, held, queued, running; /* uploads hold no slot, held ones are uploads that do */
    uint64_t memory, upload_memory; /* reserved bytes; the second is part of the first */
    uint64_t disk, slow_disk;       /* slow: of uploads that hold no slot */
    struct admission_share *first[LANES], *last[LANES], *runs[LANES];
    struct fair fair[LANES];
    uint32_t uploading[FAIR_PLACES]; /* uploads of each source, */
    uint64_t ahead[FAIR_PLACES];     /* and their bytes that may come */
};

/* seed: see fair_init(). */
void admission_init(struct admission *admission, const struct admission_limits *limits, uint64_t seed);

/* A complete message: reserved and queued. */
enum admission_answer admission_take_whole(struct admission *admission, struct admission_share *share, uint64_t size);
/*
 * An upload: size_hint 0 is "not known". reserved says how far it may go for now. complete: its sender has all of it, so that it will
 * not be slow.
 */
enum admission_answer admission_take_upload(struct admission *admission, struct admission_share *share, uint64_t size_hint,
                                            bool complete);
/* How many bytes of the upload may be under way. All of a source share a smaller window, a packet each where they are many: a link carries in order, and behind
 * what many uploads have sent others would wait for all of it. What was allowed is not taken back: until it has come there is less for those that begin. */
uint64_t admission_window(const struct admission *admission, const struct admission_share *share);
/* So many bytes of the upload may come now. */
void admission_set_ahead(struct admission *admission, struct admission_share *share, uint64_t bytes);
/* One more window for an upload that has used its reservation up. It may move to disk by that (share->on_disk turns true). */
bool admission_extend(struct admission *admission, struct admission_share *share);
/* The upload is complete with size bytes: what it has reserved beyond is given back, and it is queued. false: no slot is free. */
bool admission_complete(struct admission *admission, struct admission_share *share, uint64_t size);
/*
 * No slot is free for a complete message of so many bytes: who has to give it one, the last in its lane, where that comes after it; NULL: nobody.
 * The caller releases it, and the slot is free.
 */
struct admission_share *admission_give_way(const struct admission *admission, const struct admission_share *share, uint64_t size);
/* Who is next in a lane: the first that waits, or the first newcomer, of whose source nothing runs there, and of whose network one other at most; NULL: there is none. */
struct admission_share *admission_next(const struct admission *admission, enum lane lane, bool newcomer);
/* It waited, and is running now. */
void admission_run(struct admission *admission, struct admission_share *share);
/* Slots that are taken. */
uint64_t admission_used(const struct admission *admission);
/* Gives everything back, in any state. */
void admission_release(struct admission *admission, struct admission_share *share);

#endif

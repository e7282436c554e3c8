#ifndef WEIR_EDGE_SCAN_H
#define WEIR_EDGE_SCAN_H
/*
 * scan.h - the edge's side of the scan conversation: which scanner, streaming, replay, and the one verdict
 *
 * A farm holds a link to every scanner in the cluster state and what each last said of its load. A scan belongs to one message; it picks
 * the less loaded of two random live scanners, sends the message (in one frame, or streamed while it is still being received), and
 * starts over elsewhere when that scanner dies, stalls, drains or says BUSY. The message stays with the caller until the verdict.
 * Only an answer with this scan's id, attempt and size counts; every other is dropped and counted (I2).
 */
#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>
#include "common/metrics.h"
#include "common/queue_id.h"
#include "common/settings.h"
#include "edge/message/message.h"
#include "proto/link.h"

struct scan_farm;
struct scan;

struct scan_facts {
    const char *client;     /* IP text */
    const char *helo;
    const char *sender;
    unsigned recipients;
    uint64_t size_hint;     /* SIZE= or 0 */
    const Weir__SpamFacts *spam; /* NULL: spam engines are not asked */
    bool attachments;            /* are to be named */
};

struct scan_attachment {
    uint8_t hash[WIRE_HASH_LEN]; /* SHA-256 of its decoded bytes */
    Weir__AttachmentKind kind;
    uint64_t size;
};

struct scan_result {
    Weir__Verdict verdict;
    Weir__UnknownReason reason;  /* with VERDICT_UNKNOWN */
    char signature[128];         /* BAD: the name; UNKNOWN: words */
    char scanner[64];
    char engine[64];
    char signatures[64];
    uint32_t scan_us, queue_us;
    unsigned replays;            /* how often it was started over */
    Weir__SpamResult *spam;      /* with CLEAN, where engines were asked; else NULL */
    unsigned attachment_count;   /* with CLEAN and BAD, where they were to be named: the most dangerous kinds first */
    struct scan_attachment attachments[WIRE_ATTACHMENTS_MAX];
};

/* With a tree of its own. */
struct scan_result *scan_result_copy(const struct scan_result *result);
void scan_result_free(struct scan_result **result); /* NULL inside is fine */

/* As AuditRow.attachments has them. Returns how many bytes. */
size_t scan_pack_attachments(const struct scan_result *result, uint8_t out[WIRE_ATTACHMENTS_MAX * WIRE_ATTACHMENT_LEN]);

struct scan_handlers {
    /* Exactly one of these two, once, and only after scan_finish(); the scan is freed right after it returns. All three come from the
     * loop, never from inside one of the calls below, all of which may be made from inside them (scan_cancel() of the same scan, too). */
    void (*done)(void *arg, const struct scan_result *result);
    /* No scanner took it within scan_wait, or there has been none for a second: 421 4.7.0. */
    void (*busy)(void *arg, const char *why);
    /* The scanner's window is full (true) or open again (false): pause and resume the client. May be NULL. */
    void (*pressure)(void *arg, bool full);
};

struct scan_farm *scan_farm_new(struct event_base *base, struct link_hub *hub, const struct edge_settings *settings,
                                const char *node, unsigned worker, struct metrics *metrics);
/* Takes the times (scan_wait, scan_stall, scan_timeout) of new settings. */
void scan_farm_reload(struct scan_farm *farm, const struct edge_settings *settings);
void scan_farm_free(struct scan_farm **farm); /* its scans have ended or were cancelled; before the hub */
/* Links to new scanners, lets go of those no longer listed, or whose key is not in the state's list of scanners' keys: their scans start
 * over elsewhere. A changed endpoint or key is a new scanner. */
void scan_farm_update(struct scan_farm *farm, const Weir__ClusterState *state);
/* Some scanner is up, speaks, and does not drain, or was and did until 300 ms ago (a link that is made anew is no reason to refuse mail):
 * false is the local view in which a new client gets 421 4.7.0. A farm just made has none yet. */
bool scan_farm_has_live(const struct scan_farm *farm);
/* Some live scanner also had a free slot when last heard. */
bool scan_farm_has_room(const struct scan_farm *farm);

/* message is borrowed until the scan ends. Nothing is sent before scan_feed() or scan_finish(). */
struct scan *scan_start(struct scan_farm *farm, const struct queue_id *id, const struct message *message,
                        const struct scan_facts *facts, const struct scan_handlers *handlers, void *arg);
void scan_feed(struct scan *scan);    /* the message has grown */
void scan_finish(struct scan *scan);  /* the message is complete */
void scan_cancel(struct scan **scan); /* no event follows */

#endif

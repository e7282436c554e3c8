#ifndef WEIR_SCANNER_SCANS_H
#define WEIR_SCANNER_SCANS_H
/*
 * scans.h - every scan this scanner has taken on, found by who asked, for which message, in which attempt
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/queue_id.h"
#include "proto/weir.pb-c.h"
#include "scanner/admission.h"
#include "scanner/body.h"

struct link_peer;
struct service;
struct spam_check;
struct examination;
struct spam_facts;

#define SCANS_BUCKETS 4096

/* Answers that ZeroMQ had no room for. */
enum scan_owes { OWES_NOTHING, OWES_GRANT, OWES_CREDIT, OWES_VERDICT };

struct scan {
    struct admission_share share; /* its state is the scan's state */
    struct link_peer *peer;       /* NULL: nobody waits for the answer any more */
    char id[QUEUE_ID_LEN + 1];
    uint64_t attempt;
    uint64_t size_hint;
    uint32_t crashes;
    uint32_t deadline_ms;
    struct body body;
    uint64_t size;         /* of the complete message */
    uint64_t allowed;      /* how far the upload may go; as last told */
    uint64_t starved_ms;   /* since when the upload waits for bytes of the budget; 0: it does not */
    uint64_t complete_us;  /* when the last byte came */
    enum scan_owes owes;
    struct spam_facts *spam_facts; /* for engines, until they are asked; NULL: nobody wants to know */
    struct service *service;       /* with spam: whose it is */
    struct spam_check *spam;       /* NULL: not asked */
    struct examination *examination; /* it is one of ours, without a peer (service.h); NULL: an edge's */
    bool names_attachments;        /* the edge wants to know them: */
    uint32_t attachment_count;
    struct packet_attachment *attachments; /* NULL: none */
    bool judged;                   /* the worker has said its word, below; a clean message may still wait for spam */
    /* the answer */
    Weir__Verdict verdict;
    Weir__UnknownReason reason;
    char name[256];
    uint32_t scan_us, queue_us;
    uint64_t generation;
    char engine[32], signatures[48];
    /* scans.c's own */
    struct scan *bucket_next, *previous, *next;
};

struct scans {
    struct scan *buckets[SCANS_BUCKETS];
    struct scan *first, *last; /* in the order they came */
    size_t count;
};

/* A new one, in no admission state. NULL: there is one of that name already. id has QUEUE_ID_LEN bytes. */
struct scan *scans_add(struct scans *scans, struct link_peer *peer, const char *id, uint64_t attempt);
struct scan *scans_find(const struct scans *scans, const struct link_peer *peer, const char *id, uint64_t attempt);
/* Nobody waits for it any more: it cannot be found, but still is in the list. */
void scans_orphan(struct scans *scans, struct scan *scan);
/* Closes its body. It must hold nothing of the admission any more. */
void scans_remove(struct scans *scans, struct scan *scan);

#endif

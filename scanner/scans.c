/*
 * scans.c - every scan this scanner has taken on, found by who asked, for which message, in which attempt
 */
#include "scanner/scans.h"
#include <stdlib.h>
#include <string.h>
#include "common/error.h"
#include "common/memory.h"

/* attempt is a random number of the edge's; the buckets bound what an edge with bad ones can cost. */
static struct scan **bucket_of(struct scans *scans, uint64_t attempt)
{
    return &scans->buckets[(attempt * 0x9e3779b97f4a7c15u) >> 52];
}
_Static_assert(SCANS_BUCKETS == 1 << 12, "the shift above takes 12 bits");

struct scan *scans_find(const struct scans *scans, const struct link_peer *peer, const char *id, uint64_t attempt)
{
    struct scan *scan = *bucket_of((struct scans *)(uintptr_t)scans, attempt);
    while (scan != NULL &&
           !(scan->attempt == attempt && scan->peer == peer && memcmp(scan->id, id, QUEUE_ID_LEN) == 0))
        scan = scan->bucket_next;
    return scan;
}

struct scan *scans_add(struct scans *scans, struct link_peer *peer, const char *id, uint64_t attempt)
{
    if (scans_find(scans, peer, id, attempt) != NULL)
        return NULL;
    struct scan *scan = xcalloc(1, sizeof *scan);
    struct scan **bucket = bucket_of(scans, attempt);
    scan->peer = peer;
    memcpy(scan->id, id, QUEUE_ID_LEN);
    scan->attempt = attempt;
    scan->body.fd = -1;
    scan->bucket_next = *bucket;
    *bucket = scan;
    scan->previous = scans->last;
    if (scans->last != NULL)
        scans->last->next = scan;
    else
        scans->first = scan;
    scans->last = scan;
    scans->count++;
    return scan;
}

void scans_orphan(struct scans *scans, struct scan *scan)
{
    struct scan **at = bucket_of(scans, scan->attempt);
    while (*at != NULL && *at != scan)
        at = &(*at)->bucket_next;
    if (*at != NULL) /* else it is one already */
        *at = scan->bucket_next;
    scan->peer = NULL;
}

void scans_remove(struct scans *scans, struct scan *scan)
{
    weir_assert(scan->share.state == ADMISSION_NONE);
    scans_orphan(scans, scan);
    if (scan->previous != NULL)
        scan->previous->next = scan->next;
    else
        scans->first = scan->next;
    if (scan->next != NULL)
        scan->next->previous = scan->previous;
    else
        scans->last = scan->previous;
    scans->count--;
    body_close(&scan->body);
    free(scan);
}

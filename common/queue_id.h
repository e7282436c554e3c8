#ifndef WEIR_COMMON_QUEUE_ID_H
#define WEIR_COMMON_QUEUE_ID_H
/*
 * queue_id.h - the one id a message has for life: 20 characters of Crockford base 32 (no I L O U), sortable by time
 *
 * 48 bits of wall-clock milliseconds, 28 bits that name this process (a hash of node name, worker and boot nonce), 24 bits of a
 * counter. A clock that steps back does not: the millisecond part never decreases within a process.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE_ID_LEN 20

struct queue_id {
    char text[QUEUE_ID_LEN + 1];
};

struct queue_id_source {
    uint64_t last_ms;
    uint32_t process; /* 28 bits */
    uint32_t counter; /* 24 bits */
};

/* worker: index within the node; nonce: random per process start. */
void queue_id_source_init(struct queue_id_source *source, const char *node, unsigned worker, uint64_t nonce);
struct queue_id queue_id_next(struct queue_id_source *source, uint64_t wall_ms);
bool queue_id_is_valid(const char *text, size_t len);
uint64_t queue_id_wall_ms(const struct queue_id *id);
/* A number that is always the same of this id, and like a random one of the next: for what shall differ from try to try. */
uint64_t queue_id_scatter(const struct queue_id *id);

#endif

#ifndef WEIR_WEB_RATE_H
#define WEIR_WEB_RATE_H
/*
 * rate.h - how many requests a client may make: a bucket for each, filled by the minute
 *
 * Pure: the time is given. At most `most` clients are known; of more those not seen for longest are forgotten, and begin anew.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rate;

struct rate *rate_new(size_t most, uint64_t per_minute);
void rate_free(struct rate **rate);
/* One more request of this client: whether it may be. */
bool rate_take(struct rate *rate, uint64_t client, uint64_t now_ms);
size_t rate_count(const struct rate *rate);

#endif

#ifndef WEIR_COMMON_POLICY_BUCKET_H
#define WEIR_COMMON_POLICY_BUCKET_H
/*
 * bucket.h - a token bucket; pure: integers, and time is passed in
 *
 * A bucket holds `burst` tokens and gets `amount` of them back in each period. What is written down is how much is missing, in tokens times ms of the period, so that
 * nothing is ever rounded: however often it is asked, no more is taken than burst + amount * time / period. coordinator/sql/functions/limits.sql counts the same way.
 */
#include <stdbool.h>
#include <stdint.h>

#define BUCKET_AMOUNT_MAX UINT64_C(100000000000) /* of amount and burst: times a day in ms it fits a signed 64-bit number, as databases have */
#define BUCKET_PERIOD_MAX UINT64_C(86400000)

struct bucket_rate {
    uint64_t amount, period_ms, burst; /* none of them 0 */
};

struct bucket { /* all zeros: full */
    uint64_t missing; /* tokens * period_ms */
    uint64_t at_ms;   /* when that was so */
};

/* How a cost is taken. A debt may leave less than nothing in the bucket, where there was anything: for what is known only when it has happened. */
enum bucket_way { BUCKET_WHOLE, BUCKET_DEBT };

/* Whether it holds the cost now. A cost of 0 fits always; as a debt it asks whether there is anything. */
bool bucket_fits(const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms, uint64_t cost, enum bucket_way way);
/* How many tokens are there now, whole ones. */
uint64_t bucket_left(const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms);
/* Until so many are there, at most burst, if none is taken: ms; 0: they are. */
uint64_t bucket_wait(const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms, uint64_t tokens);
/* Takes it, whether it fits or not. A clock that goes back gives nothing. */
void bucket_take(struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms, uint64_t cost);

#endif

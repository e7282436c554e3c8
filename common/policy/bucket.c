/* bucket.c - see bucket.h */
#include "common/policy/bucket.h"

#define MISSING_MAX UINT64_C(9000000000000000000)

static uint64_t missing_now(const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms)
{
    uint64_t elapsed = now_ms > bucket->at_ms ? now_ms - bucket->at_ms : 0;

    return elapsed > bucket->missing / rate->amount ? 0 : bucket->missing - elapsed * rate->amount;
}

bool bucket_fits(const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms, uint64_t cost, enum bucket_way way)
{
    uint64_t missing = missing_now(bucket, rate, now_ms);

    if (way == BUCKET_DEBT)
        return missing < rate->burst * rate->period_ms;
    return cost <= rate->burst && missing <= (rate->burst - cost) * rate->period_ms;
}

uint64_t bucket_left(const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms)
{
    uint64_t missing = missing_now(bucket, rate, now_ms), all = rate->burst * rate->period_ms;

    return missing < all ? (all - missing) / rate->period_ms : 0;
}

uint64_t bucket_wait(const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms, uint64_t tokens)
{
    uint64_t missing = missing_now(bucket, rate, now_ms), may_miss = (rate->burst - tokens) * rate->period_ms;

    return missing > may_miss ? (missing - may_miss - 1) / rate->amount + 1 : 0;
}

void bucket_take(struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_ms, uint64_t cost)
{
    uint64_t missing = missing_now(bucket, rate, now_ms);

    bucket->missing = cost > (MISSING_MAX - missing) / rate->period_ms ? MISSING_MAX : missing + cost * rate->period_ms;
    if (now_ms > bucket->at_ms)
        bucket->at_ms = now_ms;
}

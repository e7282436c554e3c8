#ifndef WEIR_EDGE_LIMITS_LIMITER_H
#define WEIR_EDGE_LIMITS_LIMITER_H
/*
 * limiter.h - whether the limits of the policy let something pass, as the whole cluster counts
 *
 * All costs of one question pass together or not at all; a line with dry_run stops nothing. The coordinators decide, but:
 * - Who asks often about a bucket is given some more (limit_lot), which it may use for limit_lot_time: it was taken from the bucket already, so all edges together never let
 *   pass more than it gives.
 * - What was refused is refused without asking for as long as it would be, at most a second.
 * - Where no coordinator answers within limit_timeout, the worker decides by what passed here: each has buckets of its own then, so that mail flows and a flood is bounded.
 */
#include "common/metrics.h"
#include "common/policy/limits.h"
#include "common/settings.h"
#include "proto/node.h"

struct limiter;
struct limit_query;

struct limit_cost {
    const struct limit_rule *rule; /* borrowed for the call; no rule twice in one question */
    char subject[LIMIT_SUBJECT_MAX];
    uint64_t cost;
    enum bucket_way way;
};

struct limit_verdict {
    bool refused;
    struct limit_rule rule; /* refused: by which, */
    char subject[LIMIT_SUBJECT_MAX]; /* and of whom */
};

typedef void (*limit_handler)(void *arg, const struct limit_verdict *verdict);

struct limiter *limiter_new(const struct edge_settings *settings, struct metrics *metrics); /* settings borrowed until limiter_reload() */
void limiter_free(struct limiter **limiter); /* after every query */
void limiter_set_node(struct limiter *limiter, struct node *node); /* borrowed; NULL: each worker counts for itself */
void limiter_reload(struct limiter *limiter, const struct edge_settings *settings);

/* NULL: *verdict is the answer. Else handler is called once, from the loop, and the query is gone then. At most LIMITS_MOST costs. */
struct limit_query *limiter_take(struct limiter *limiter, const struct limit_cost *costs, size_t count, struct limit_verdict *verdict, limit_handler handler, void *arg);
/* No answer follows; it may be taken all the same. Accepts NULL inside. */
void limit_query_cancel(struct limit_query **query);

#endif

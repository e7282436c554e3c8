#ifndef WEIR_COORDINATOR_RELAY_TEST_H
#define WEIR_COORDINATOR_RELAY_TEST_H
/*
 * relay_test.h - the leader's test whether a listener of an edge is an open relay (I3), every relay_test_interval
 *
 * One at a time: a row of the table relay_test is claimed, its listener asked (coordinator/probes), the verdict written. The claim is committed before the
 * first connection, so however coordinators come and go, two never test the same listener at once, nor one again before its time. Every coordinator shows
 * the verdicts as metrics (http.c).
 */
#include <event2/event.h>
#include "common/settings.h"
#include "coordinator/cluster.h"
#include "coordinator/db.h"

struct relay_test;

struct relay_test_options {
    struct event_base *base;
    struct db *db;
    const struct cluster *cluster; /* for the policy in force */
    const char *name;              /* this coordinator; borrowed */
    const struct coordinator_settings *settings; /* borrowed */
    uint64_t node_timeout_ms;
    struct metrics *metrics;
};

struct relay_test *relay_test_new(const struct relay_test_options *options);
void relay_test_free(struct relay_test **test); /* after the db */
void relay_test_lead(struct relay_test *test, bool leads); /* whether this coordinator does */
/* It leads: looks whether one is due, unless one is under way or it looked lately (a hundredth of the interval, 2 s to a minute). To be called every
 * few seconds; behind a test it looks by itself. */
void relay_test_look(struct relay_test *test);

#endif

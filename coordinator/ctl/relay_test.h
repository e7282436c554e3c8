#ifndef WEIR_CTL_RELAY_TEST_H
#define WEIR_CTL_RELAY_TEST_H
/*
 * relay_test.h - weirctl relay test: the probes of coordinator/probes, asked of some servers at once, from this machine
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "common/error.h"
#include "common/policy/policy.h"
#include "coordinator/ctl/options.h"

struct relay_test;

struct relay_test *relay_test_new(const struct options *options); /* borrowed for its life */
void relay_test_free(struct relay_test **test);

/* "HOST", "HOST:PORT", "[2001:db8::1]:25": every address of it. false: there is none (of the family that is asked from). */
bool relay_test_add_host(struct relay_test *test, const char *host, struct error *why);
/* The body of "relay listeners". false: there is none. */
bool relay_test_add_listeners(struct relay_test *test, const char *body, struct error *why);

/* policy: the cluster's, NULL when it is not known. Returns when every server has answered, or --timeout was over. */
json_t *relay_test_run(struct relay_test *test, const struct policy *policy);

void relay_test_print(const char *verb, const json_t *body, FILE *out);
/* 1: one is open. 2: of one it cannot be told. Else 0. */
int relay_test_status(const json_t *body);

#endif

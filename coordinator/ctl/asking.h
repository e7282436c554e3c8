#ifndef WEIR_COORDINATOR_CTL_ASKING_H
#define WEIR_COORDINATOR_CTL_ASKING_H
/*
 * asking.h - verbs that coordinators answer: who is asked with which key, what comes with a question, --wait, and what is printed
 *
 * What returns an int returns an exit status, and has said what is wrong.
 */
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"
#include "coordinator/ctl/options.h"
#include "coordinator/ctl/request.h"
#include "proto/curve.h"

struct cluster_access {
    struct curve_keypair pair;
    struct request_coordinator *coordinators;
    size_t count;
};

/* From the configuration that options name. false: why, and nothing to clear. */
bool access_load(struct cluster_access *access, const struct options *options, struct error *why);
void access_clear(struct cluster_access *access);

/* Says words on stderr; returns status. */
int fail(int status, const char *words);
int print_reply(const struct options *options, const char *verb, const struct reply *reply);

/* The answer to a verb as JSON. With EXIT_SUCCESS reply->body is there, and reply the caller's. */
int fetch(const struct options *options, const char *verb, const char *const *args, size_t arg_count, struct reply *reply);

/* A verb that needs no more than to be asked and printed. */
int ask_remote(const struct options *options);

#endif

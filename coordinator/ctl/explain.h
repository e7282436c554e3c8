#ifndef WEIR_CTL_EXPLAIN_H
#define WEIR_CTL_EXPLAIN_H
/*
 * explain.h - what a policy would decide, and by which line of which file: the edge's own code, asked without an edge
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "common/error.h"
#include "common/policy/policy.h"
#include "common/settings.h"
#include "coordinator/ctl/request.h"

struct explained_policy {
    long long epoch; /* 0: a folder's, not applied */
    struct request_file *files;
    size_t count;
    struct policy *parsed;
    /* The caller's to set: */
    bool mx_delivery;                         /* [edge] mx_delivery: whether a domain without a route goes to its MX */
    const struct listener_settings *listener; /* NULL: one of the relay profile for both directions, which adds nothing of its own */
    char *contact;                            /* [cluster] contact, which edges say behind a final refusal; owned; NULL: none */
    json_t *accounts;                         /* "account list": which senders a login owns; NULL: not known */
};

struct explained_client {
    const char *address;
    const char *login;  /* NULL: none */
    bool authenticated; /* without a login: some login */
    const char *sender; /* NULL: not asked; "<>" or "": the null sender */
};

/* From the body of "policy show". false: why. */
bool explained_policy_take(struct explained_policy *out, const char *body, struct error *why);
/* From files of a folder, which it copies. */
bool explained_policy_parse(struct explained_policy *out, const struct request_file *files, size_t count, struct error *why);
void explained_policy_clear(struct explained_policy *policy);

/* What a client hears at RCPT, or at MAIL where its sender is refused. NULL: why says what is wrong with client, sender or recipient. */
json_t *explain_relay(const struct explained_policy *policy, const struct explained_client *client, const char *recipient, int64_t now,
                      struct error *why);
/* Where mail for an address goes, whoever may send it. */
json_t *explain_route(const struct explained_policy *policy, const char *address, struct error *why);
/* Every exception, in force or expired. */
json_t *explain_exceptions(const struct explained_policy *policy, int64_t now);

/* {"rule": "networks:3", "text": "192.0.2.0/26 printers"}, or null. */
json_t *explain_rule(const struct explained_policy *policy, const char *file, unsigned line);
/* As 2026-12-31T18:00:00Z. Returns out. */
char *explain_moment(char out[32], int64_t seconds);

/* The lines that one has and the other has not, by file, in their order: [{"file", "removed", "added"}]. */
json_t *explain_difference(const struct explained_policy *in_force, const struct explained_policy *folder);

/* verb: "policy diff", "relay explain", "route explain" or "exception list". */
void explain_print(const char *verb, const json_t *body, FILE *out);

#endif

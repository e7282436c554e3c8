#ifndef WEIR_CTL_HOSTS_H
#define WEIR_CTL_HOSTS_H
/*
 * hosts.h - the register of hosts that send mail: what was seen of them, and what the policy file hosts says
 */
#include <jansson.h>
#include <stdio.h>
#include "coordinator/ctl/explain.h"

/* body: of the verb "hosts list". {"policy", "hosts" (how many were seen), "listed": [...]}: each with "registered", "owner", "reason", "line" and "inside" as
 * the policy has it; behind those that were seen the registered ones that were not, with "client" as a prefix and no "last_seen". unregistered: only those
 * that were seen and are not. most: 0: all. The caller's. */
json_t *hosts_list(const json_t *body, const struct explained_policy *policy, bool unregistered, size_t most);
/* Adds the same to the body of "hosts show". */
void hosts_explain(json_t *body, const struct explained_policy *policy);
/* verb: "hosts list" or "hosts show". */
void hosts_print(const char *verb, const json_t *body, FILE *out);

/* {"policy", "prefixes": [...]}: the register as the file has it, in its order. The caller's. */
json_t *hosts_export(const struct explained_policy *policy);
/* One prefix a line; nftables: commands for nft -f that make the sets registered4 and registered6 of the table inet weir equal to the register. */
void hosts_print_export(const json_t *body, bool nftables, FILE *out);

#endif

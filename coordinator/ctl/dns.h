#ifndef WEIR_CTL_DNS_H
#define WEIR_CTL_DNS_H
/*
 * dns.h - weirctl dns: the edges' addresses as people, zones and nsupdate read them
 *
 * body: the answer of the coordinators to "dns".
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "common/error.h"

/* Records of the healthy edges for a zone file, with who is left out and why, and what the leader pushed, as comments. Where no edge is healthy the last
 * set that was pushed. false: there is none, or no name: why. */
bool dns_print(const json_t *body, FILE *out, struct error *why);
/* What the leader would tell nsupdate now. false: it would tell it nothing, why. */
bool dns_print_script(const json_t *body, FILE *out, struct error *why);

#endif

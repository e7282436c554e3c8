#ifndef WEIR_EDGE_DNS_CLIENT_NAME_H
#define WEIR_EDGE_DNS_CLIENT_NAME_H
/*
 * client_name.h - the name of a client's address, as far as it can be believed
 *
 * Anybody can let the PTR record of his address say anything, so a name counts only when its own addresses include the client's
 * (Postfix: "unknown" otherwise). It is for logs and Received; nobody's rights hang on it.
 */
#include "edge/dns/dns.h"

struct client_name_query;

/* done is called once, never from inside; name: lower case, letters, digits, hyphens, underscores and dots; NULL: none that is confirmed.
 * Borrowed. */
struct client_name_query *client_name_lookup(struct dns *dns, const struct netaddr *client, void (*done)(void *arg, const char *name),
                                             void *arg);
/* Before dns_free(). */
void client_name_cancel(struct client_name_query **query);
/* Pure: "7.2.0.192.in-addr.arpa", or 32 nibbles under ip6.arpa. Returns out. */
char *client_name_reverse(char out[DNS_NAME_MAX], const struct netaddr *address);

#endif

#ifndef WEIR_COMMON_NETADDR_H
#define WEIR_COMMON_NETADDR_H
/*
 * netaddr.h - IP addresses, endpoints and prefixes as values
 *
 * IPv4-mapped IPv6 addresses (::ffff:192.0.2.1) become IPv4 when made from a sockaddr, so that a rule for 192.0.2.0/24 holds on a
 * dual-stack socket. No names are resolved here.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "common/error.h"

struct netaddr {
    uint8_t family;    /* AF_INET or AF_INET6; 0: none */
    uint16_t port;     /* host order */
    uint8_t bytes[16]; /* network order; IPv4 in the first four */
};

struct netaddr_prefix {
    struct netaddr address;
    uint8_t bits;
};

#define NETADDR_TEXT_MAX 64

bool netaddr_from_sockaddr(struct netaddr *out, const struct sockaddr *address);
socklen_t netaddr_to_sockaddr(const struct netaddr *address, struct sockaddr_storage *out);
/* "192.0.2.1", "2001:db8::1"; no port. false: not an address. */
bool netaddr_parse(struct netaddr *out, const char *text);
/* "192.0.2.1:25", "[2001:db8::1]:25", "*:25" (0.0.0.0), "[::]:25". */
bool netaddr_parse_endpoint(struct netaddr *out, const char *text, struct error *why);
/* "192.0.2.0/24", "::1", host bits must be zero: 192.0.2.7/24 is an error that names 192.0.2.0/24. */
bool netaddr_prefix_parse(struct netaddr_prefix *out, const char *text, struct error *why);
bool netaddr_prefix_contains(const struct netaddr_prefix *prefix, const struct netaddr *address);
bool netaddr_equal(const struct netaddr *a, const struct netaddr *b); /* port not compared */
/* "192.0.2.1" or "2001:db8::1"; never a port. Returns out. */
char *netaddr_format(const struct netaddr *address, char out[NETADDR_TEXT_MAX]);
/* "192.0.2.0/24", and "192.0.2.1" of one address. Returns out. */
char *netaddr_prefix_format(const struct netaddr_prefix *prefix, char out[NETADDR_TEXT_MAX]);
/* "192.0.2.1:25" or "[2001:db8::1]:25". */
char *netaddr_format_endpoint(const struct netaddr *address, char out[NETADDR_TEXT_MAX]);

#endif

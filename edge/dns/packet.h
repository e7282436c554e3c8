#ifndef WEIR_EDGE_DNS_PACKET_H
#define WEIR_EDGE_DNS_PACKET_H
/*
 * packet.h - what a DNS answer in wire format holds (RFC 1035 4). Pure: any bytes are safe.
 *
 * Only the answer section is read, and of it only records of class IN and the type asked for: CNAMEs were followed by the resolver
 * already. A packet cut short or broken gives what stands before the break.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/netaddr.h"

enum { DNS_TYPE_A = 1, DNS_TYPE_CNAME = 5, DNS_TYPE_PTR = 12, DNS_TYPE_MX = 15, DNS_TYPE_AAAA = 28, DNS_TYPE_TLSA = 52 };

#define DNS_NAME_MAX 256

struct dns_mx {
    uint16_t preference;
    char host[DNS_NAME_MAX]; /* lower case, no trailing dot; "" is the root: a null MX (RFC 7505) */
};

struct dns_tlsa { /* RFC 6698 2.1 */
    uint8_t usage, selector, matching;
    const uint8_t *data; /* in the packet */
    size_t len;
};

/* Copies the addresses of one type; port 0. Returns how many, at most max. */
size_t dns_packet_addresses(const uint8_t *packet, size_t len, int type, struct netaddr *out, size_t max);
/* MX records in the packet's order, without those whose host cannot be the name of one. *more: there were others than fit. */
size_t dns_packet_mx(const uint8_t *packet, size_t len, struct dns_mx *out, size_t max, bool *more);
/* The names of PTR records, lower case, without those that cannot be a host's. */
size_t dns_packet_ptr(const uint8_t *packet, size_t len, char (*out)[DNS_NAME_MAX], size_t max);
/* TLSA records; their data is borrowed from the packet. */
size_t dns_packet_tlsa(const uint8_t *packet, size_t len, struct dns_tlsa *out, size_t max);
/* The name that owns the first record of a type: where the CNAMEs led. false: there is none. */
bool dns_packet_owner(const uint8_t *packet, size_t len, int type, char out[DNS_NAME_MAX]);

/* A TLSA record that SMTP can use: DANE-TA(2) or DANE-EE(3), with a known selector and matching type of the right length (RFC 7672 3.1). */
bool dns_tlsa_is_usable(const struct dns_tlsa *tlsa);

#endif

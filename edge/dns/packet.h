#ifndef WEIR_EDGE_DNS_PACKET_H
#define WEIR_EDGE_DNS_PACKET_H
/* packet.h - addresses out of a DNS answer in wire format (RFC 1035 4). Pure: any bytes are safe. */
#include <stddef.h>
#include <stdint.h>
#include "common/netaddr.h"

enum { DNS_TYPE_A = 1, DNS_TYPE_AAAA = 28 };

/* Copies the addresses of one type from the answer section, CNAMEs followed by the resolver already; port 0. Returns how many, at most max;
 * a packet cut short or broken gives those before the break. */
size_t dns_packet_addresses(const uint8_t *packet, size_t len, int type, struct netaddr *out, size_t max);

#endif

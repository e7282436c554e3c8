/* fuzz_dns_packet.c - any bytes as a DNS answer */
#include "edge/dns/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct netaddr out[4];
    dns_packet_addresses(data, size, DNS_TYPE_A, out, 4);
    dns_packet_addresses(data, size, DNS_TYPE_AAAA, out, 4);
    return 0;
}

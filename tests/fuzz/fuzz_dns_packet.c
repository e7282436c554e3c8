/* fuzz_dns_packet.c - any bytes as a DNS answer */
#include "edge/dns/packet.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct netaddr out[4];
    struct dns_mx mx[4];
    struct dns_tlsa tlsa[4];
    char names[4][DNS_NAME_MAX];
    bool more;
    dns_packet_addresses(data, size, DNS_TYPE_A, out, 4);
    dns_packet_addresses(data, size, DNS_TYPE_AAAA, out, 4);
    size_t count = dns_packet_mx(data, size, mx, 4, &more);
    for (size_t i = 0; i < count; i++) /* what is taken for a name can stand in a log line or in a question */
        if (mx[i].host[strcspn(mx[i].host, " \r\n\t[\\")] != '\0' || strlen(mx[i].host) >= DNS_NAME_MAX)
            abort();
    count = dns_packet_tlsa(data, size, tlsa, 4);
    for (size_t i = 0; i < count; i++)
        if (tlsa[i].data < data || tlsa[i].data + tlsa[i].len > data + size)
            abort();
    dns_packet_ptr(data, size, names, 4);
    dns_packet_owner(data, size, DNS_TYPE_MX, names[0]);
    return 0;
}
